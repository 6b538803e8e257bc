//! For tests: OpenAI's rules for a list of messages (`openai.md` section 2), and a business to talk about.

use super::chat::ChatMessage;
use crate::domain::profile::{BusinessProfile, MinuteOfDay, OpenHours, Policies, Service, StaffMember};
use std::collections::BTreeMap;

/// Says which rule a conversation breaks.
pub fn check(messages: &[ChatMessage]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for (i, message) in messages.iter().enumerate() {
        match message {
            ChatMessage::Tool { id, name, content } => {
                let at = open.iter().position(|o| o == id).ok_or(format!("{i}: orphan tool message {id}"))?;
                open.remove(at);
                if name.is_empty() || content.is_empty() {
                    return Err(format!("{i}: tool message without name or content"));
                }
                continue;
            }
            _ if !open.is_empty() => return Err(format!("{i}: calls left unanswered: {open:?}")),
            ChatMessage::System(text) => {
                if i != 0 || text.trim().is_empty() {
                    return Err(format!("{i}: misplaced or empty system message"));
                }
            }
            ChatMessage::User(text) => {
                if text.trim().is_empty() {
                    return Err(format!("{i}: empty user message"));
                }
                if let Some(ChatMessage::User(_)) = i.checked_sub(1).and_then(|b| messages.get(b)) {
                    return Err(format!("{i}: two user messages in a row"));
                }
            }
            ChatMessage::Assistant { text, tool_calls } => {
                if text.trim().is_empty() && tool_calls.is_empty() {
                    return Err(format!("{i}: empty assistant message"));
                }
                for call in tool_calls {
                    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                    if call.id.is_empty() || open.contains(&call.id.as_str()) {
                        return Err(format!("{i}: empty or doubled call id"));
                    }
                    if call.name.is_empty() || call.name.len() > 64 || !call.name.chars().all(fits) {
                        return Err(format!("{i}: bad function name {:?}", call.name));
                    }
                    if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&call.arguments)
                        .is_err()
                    {
                        return Err(format!("{i}: arguments are no object: {:?}", call.arguments));
                    }
                    open.push(&call.id);
                }
            }
        }
    }
    match (messages.first(), open.is_empty()) {
        (Some(ChatMessage::System(_)), true) => Ok(()),
        (_, false) => Err(format!("calls left unanswered at the end: {open:?}")),
        _ => Err("no system message".into()),
    }
}

/// All the caller said, in the order of the conversation.
pub fn user_words(messages: &[ChatMessage]) -> Vec<String> {
    messages
        .iter()
        .filter_map(|m| match m {
            ChatMessage::User(text) => Some(text.split_whitespace().map(str::to_owned)),
            _ => None,
        })
        .flatten()
        .collect()
}

/// A barbershop.
pub fn profile() -> BusinessProfile {
    let service = |name: &str, minutes, price| Service {
        name: name.into(),
        minutes,
        price,
        description: "Cut and style".into(),
    };
    let person = |name: &str| StaffMember {
        name: name.into(),
        role: "Barber".into(),
        specialties: vec!["fades".into()],
    };
    let day = Some(OpenHours { open: MinuteOfDay(9 * 60), close: MinuteOfDay(18 * 60 + 30) });
    BusinessProfile {
        name: "Main Street Barbers".into(),
        kind: "barbershop".into(),
        phone: "202 555 0100".into(),
        address: "12 Main Street".into(),
        hours: [day, day, day, day, day, day, None],
        services: vec![service("Haircut", 30, 25.0), service("Beard Trim", 15, 12.5)],
        staff: vec![person("Marcus"), person("Jay")],
        policies: Policies {
            cancellation: "Call a day ahead".into(),
            lateness: String::new(),
            payment: vec!["cash".into(), "card".into()],
        },
        personality: "Friendly and brief".into(),
        timezone: "America/New_York".into(),
        locale: "en-US".into(),
        greeting: None,
        goodbye: None,
        transfer_number: None,
        recording_notice: None,
        zero_asks_for_a_person: true,
        closures: BTreeMap::new(),
        breaks: Vec::new(),
        lead_minutes: 0,
        horizon_days: 60,
        buffer_minutes: 0,
    }
}
