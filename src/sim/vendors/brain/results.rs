//! How the brain speaks of what a tool answered. Pure, and lenient about shapes: the tools are not its own.

use super::words::{SaidTime, time_in};
use serde_json::Value;

/// A time that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// As spoken.
    pub(super) label: String,
    /// When, if it can be told.
    pub(super) time: Option<SaidTime>,
    /// What the booking tool wants back.
    pub(super) slot_id: Option<String>,
    /// Who serves.
    pub(super) staff: Option<String>,
}

fn string<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| value.get(key).and_then(Value::as_str)).filter(|s| !s.trim().is_empty())
}

/// What the tool says went wrong, as a sentence's end.
pub(super) fn error_in(result: &Value) -> Option<String> {
    let error = result.get("error").filter(|e| !e.is_null() && **e != Value::Bool(false))?;
    let text = string(result, &["message", "say", "spoken", "explanation", "problem", "reason", "detail"])
        .or_else(|| string(error, &["message", "say", "code"]))
        .or_else(|| error.as_str());
    Some(text.map_or_else(
        || "that did not work".to_owned(),
        |text| {
            let text = text.trim().trim_end_matches(['.', '!']);
            if text.contains(' ') { text.to_owned() } else { text.replace('_', " ") }
        },
    ))
}

/// The free times in an answer.
pub(super) fn offers_in(result: &Value) -> Vec<Offer> {
    const LISTS: [&str; 8] =
        ["slots", "available_slots", "offers", "times", "available", "openings", "alternatives", "free"];
    let lists = LISTS.iter().filter_map(|key| result.get(key).and_then(Value::as_array));
    let Some(list) = lists.into_iter().find(|list| !list.is_empty()) else { return Vec::new() };
    list.iter()
        .filter_map(|slot| {
            if let Some(label) = slot.as_str() {
                return Some(Offer {
                    label: label.to_owned(),
                    time: time_in(label),
                    slot_id: None,
                    staff: None,
                });
            }
            let label = string(slot, &["spoken", "say", "label", "text", "time", "starts_at", "start"])?;
            let time = ["time", "start", "starts_at", "spoken", "label", "text"]
                .iter()
                .find_map(|key| slot.get(key).and_then(Value::as_str).and_then(time_in));
            Some(Offer {
                label: label.to_owned(),
                time,
                slot_id: string(slot, &["slot_id", "id"]).map(str::to_owned),
                staff: string(slot, &["staff", "with", "staff_name"]).map(str::to_owned),
            })
        })
        .collect()
}

/// "A, B or C", three at most.
pub(super) fn spoken_offers(offers: &[Offer]) -> String {
    let labels: Vec<&str> = offers.iter().take(3).map(|o| o.label.as_str()).collect();
    match labels.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => String::new(),
    }
}

/// A booking that succeeded.
pub(super) fn spoken_booking(result: &Value) -> String {
    if let Some(text) = string(result, &["spoken", "confirmation", "say"]) {
        return format!("{} Is there anything else?", sentence(text));
    }
    let booking = result.get("appointment").or_else(|| result.get("booking")).unwrap_or(result);
    let service = string(booking, &["service"]).unwrap_or("appointment");
    let mut text = format!("Your {service}");
    if let Some(staff) = string(booking, &["staff"]) {
        text = format!("{text} with {staff}");
    }
    text.push_str(" is booked");
    if let Some(day) = string(booking, &["day", "spoken_date", "date"]) {
        text = format!("{text} for {day}");
    }
    if let Some(time) = string(booking, &["spoken_time", "time"]) {
        text = format!("{text} at {time}");
    }
    format!("{text}. Is there anything else?")
}

/// Facts about the business, read out.
pub(super) fn spoken_info(result: &Value) -> String {
    let text = string(result, &["spoken", "say", "answer", "text", "info", "message"])
        .map_or_else(|| flat(result, 0), str::to_owned);
    let mut short = String::new();
    for word in text.split_whitespace() {
        if short.len().saturating_add(word.len()) > 240 {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
    }
    sentence(if short.is_empty() { "I have nothing on that" } else { &short })
}

fn flat(value: &Value, depth: u8) -> String {
    if depth > 6 {
        return String::new();
    }
    match value {
        Value::Null => String::new(),
        Value::Bool(b) => if *b { "yes" } else { "no" }.to_owned(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        Value::Array(all) => {
            let parts: Vec<String> =
                all.iter().map(|v| flat(v, depth.saturating_add(1))).filter(|s| !s.is_empty()).collect();
            parts.join(", ")
        }
        Value::Object(fields) => {
            // Names first: the order of a JSON object says nothing.
            let named = |key: &str| matches!(key, "name" | "service");
            let first = fields.iter().filter(|(key, _)| named(key));
            let parts: Vec<String> = first
                .chain(fields.iter().filter(|(key, _)| !named(key)))
                .filter(|(key, _)| !matches!(key.as_str(), "ok" | "success" | "topic" | "status"))
                .map(|(key, v)| {
                    let text = flat(v, depth.saturating_add(1));
                    if matches!(key.as_str(), "name" | "service" | "description") || text.is_empty() {
                        text
                    } else {
                        format!("{} {text}", key.replace('_', " "))
                    }
                })
                .filter(|s| !s.is_empty())
                .collect();
            parts.join(", ")
        }
    }
}

/// With a full stop at its end.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn offers_are_read_from_strings_and_objects() {
        let plain = offers_in(&json!({"slots": ["3:00 PM", "4:00 PM"]}));
        assert_eq!(spoken_offers(&plain), "3:00 PM or 4:00 PM");
        let full = offers_in(&json!({"slots": [
            {"slot_id": "s1", "time": "15:00", "spoken": "three PM with Jay", "staff": "Jay"},
        ]}));
        assert_eq!(full[0].slot_id.as_deref(), Some("s1"));
        assert_eq!(full[0].label, "three PM with Jay");
        assert!(full[0].time.unwrap().matches(time_in("3 PM").unwrap()));
        assert_eq!(offers_in(&json!({"slots": []})), []);
        assert_eq!(offers_in(&json!(7)), []);
    }

    #[test]
    fn errors_are_spoken_in_words() {
        assert_eq!(error_in(&json!({"error": "slot_taken"})).as_deref(), Some("slot taken"));
        assert_eq!(
            error_in(&json!({"error": "closed", "message": "we are closed on Sunday."})).as_deref(),
            Some("we are closed on Sunday")
        );
        assert_eq!(error_in(&json!({"ok": true})), None);
    }

    #[test]
    fn info_is_read_out_flat_and_short() {
        let prices = json!({"services": [{"name": "Haircut", "price": 25, "minutes": 30}]});
        assert_eq!(spoken_info(&prices), "services Haircut, minutes 30, price 25.");
        assert!(spoken_info(&json!({"text": "word ".repeat(400)})).len() < 260);
    }
}
