//! The rules that chat completions have for a list of messages, checked before anything is sent: a host answers a
//! violation with a 400 that would cost the caller a reply.

use crate::provider::llm::ChatMessage;
use serde_json::Value;

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// There is nothing to answer.
    #[error("the list of messages is empty")]
    NoMessages,
    /// A message is no object, or its role is unknown.
    #[error("a message has no known role")]
    UnknownRole,
    /// Content is missing, or neither text nor text parts.
    #[error("a message has no text")]
    NoContent,
    /// An assistant message has neither words nor tool calls.
    #[error("an assistant message is empty")]
    EmptyAssistant,
    /// `tool_calls` is there but empty, or not a list.
    #[error("tool_calls is empty or no list")]
    EmptyToolCalls,
    /// A tool call lacks its id or type, or its arguments are not text.
    #[error("a tool call is malformed")]
    MalformedCall,
    /// A function's name is not 1–64 of `[a-zA-Z0-9_-]`.
    #[error("a function name is not allowed")]
    BadName,
    /// Two calls of one message have the same id.
    #[error("two tool calls share an id")]
    DuplicateId,
    /// A tool message follows no assistant message with tool calls.
    #[error("a tool message answers nothing")]
    OrphanTool,
    /// A tool message answers an id that was not asked, or was answered already.
    #[error("a tool message answers an unknown id")]
    UnknownId,
    /// A tool message names another function than its call.
    #[error("a tool message has another name than its call")]
    WrongName,
    /// A tool call is not answered before another message, or the end, follows.
    #[error("a tool call is not answered")]
    Unanswered,
}

/// Where which rule was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {at}: {rule}")]
pub struct RuleViolation {
    /// Index of the message; the number of messages if the end is at fault.
    pub at: usize,
    /// The rule.
    pub rule: Rule,
}

/// Checks messages as the dialogue holds them.
pub fn check(messages: &[ChatMessage]) -> Result<(), RuleViolation> {
    check_all(messages.iter().map(|message| Ok(view(message))))
}

/// Checks the `messages` of a request as they are sent.
pub fn check_json(messages: &Value) -> Result<(), RuleViolation> {
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    check_all(messages.iter().map(view_json))
}

/// What the rules look at.
enum View<'v> {
    /// System or user.
    Plain,
    Assistant {
        has_text: bool,
        /// Ids and names.
        calls: Vec<(&'v str, &'v str)>,
    },
    Tool {
        id: &'v str,
        name: Option<&'v str>,
    },
}

fn check_all<'v>(views: impl Iterator<Item = Result<View<'v>, Rule>>) -> Result<(), RuleViolation> {
    // Calls of the last assistant message, and which of them still wait for an answer.
    let mut group: Option<Vec<(&str, &str)>> = None;
    let mut count = 0;
    for (at, view) in views.enumerate() {
        let step = view.and_then(|view| step(&mut group, view));
        step.map_err(|rule| RuleViolation { at, rule })?;
        count = at + 1;
    }
    let end = |rule| Err(RuleViolation { at: count, rule });
    match group {
        _ if count == 0 => end(Rule::NoMessages),
        Some(open) if !open.is_empty() => end(Rule::Unanswered),
        _ => Ok(()),
    }
}

fn step<'v>(group: &mut Option<Vec<(&'v str, &'v str)>>, view: View<'v>) -> Result<(), Rule> {
    if let View::Tool { id, name } = view {
        let open = group.as_mut().ok_or(Rule::OrphanTool)?;
        let at = open.iter().position(|&(wanted, _)| wanted == id).ok_or(Rule::UnknownId)?;
        let (_, called) = open.remove(at);
        return if name.is_some_and(|name| name != called) { Err(Rule::WrongName) } else { Ok(()) };
    }
    if group.take().is_some_and(|open| !open.is_empty()) {
        return Err(Rule::Unanswered);
    }
    if let View::Assistant { has_text, calls } = view {
        if calls.is_empty() {
            return if has_text { Ok(()) } else { Err(Rule::EmptyAssistant) };
        }
        for (at, &(id, name)) in calls.iter().enumerate() {
            if id.is_empty() {
                return Err(Rule::MalformedCall);
            }
            if !is_name(name) {
                return Err(Rule::BadName);
            }
            if calls.iter().take(at).any(|&(earlier, _)| earlier == id) {
                return Err(Rule::DuplicateId);
            }
        }
        *group = Some(calls);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn view(message: &ChatMessage) -> View<'_> {
    match message {
        ChatMessage::System(_) | ChatMessage::User(_) => View::Plain,
        ChatMessage::Assistant { text, tool_calls } => View::Assistant {
            has_text: !text.is_empty(),
            calls: tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str())).collect(),
        },
        ChatMessage::Tool { id, name, .. } => View::Tool { id, name: Some(name) },
    }
}

fn view_json(message: &Value) -> Result<View<'_>, Rule> {
    match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer" | "user") if is_content(message) => Ok(View::Plain),
        Some("tool") if is_content(message) => Ok(View::Tool {
            id: message.get("tool_call_id").and_then(Value::as_str).ok_or(Rule::UnknownId)?,
            name: message.get("name").and_then(Value::as_str),
        }),
        Some("system" | "developer" | "user" | "tool") => Err(Rule::NoContent),
        Some("assistant") => {
            let calls = match message.get("tool_calls") {
                None => vec![],
                Some(calls) => {
                    let calls = calls.as_array().filter(|calls| !calls.is_empty());
                    calls.ok_or(Rule::EmptyToolCalls)?.iter().map(view_call).collect::<Result<_, _>>()?
                }
            };
            let content = message.get("content").unwrap_or(&Value::Null);
            if !content.is_null() && !is_content(message) {
                return Err(Rule::NoContent);
            }
            let has_text = content.as_str().is_none_or(|text| !text.is_empty()) && !content.is_null();
            Ok(View::Assistant { has_text, calls })
        }
        _ => Err(Rule::UnknownRole),
    }
}

fn view_call(call: &Value) -> Result<(&str, &str), Rule> {
    let text = |value: Option<&'_ Value>| value.and_then(Value::as_str).map(str::len);
    let function = call.get("function").ok_or(Rule::MalformedCall)?;
    if call.get("type").and_then(Value::as_str) != Some("function")
        || text(function.get("arguments")).is_none()
    {
        return Err(Rule::MalformedCall);
    }
    let id = call.get("id").and_then(Value::as_str).ok_or(Rule::MalformedCall)?;
    let name = function.get("name").and_then(Value::as_str).ok_or(Rule::BadName)?;
    Ok((id, name))
}

/// Text, or a list of parts with text.
fn is_content(message: &Value) -> bool {
    match message.get("content") {
        Some(Value::String(_)) => true,
        Some(Value::Array(parts)) => {
            !parts.is_empty() && parts.iter().all(|part| part.get("text").is_some_and(Value::is_string))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::llm::ToolCall;
    use proptest::prelude::*;
    use serde_json::json;

    fn user() -> ChatMessage {
        ChatMessage::User("hello".into())
    }

    fn calls(ids: &[&str]) -> ChatMessage {
        let call = |id: &&str| ToolCall { id: (*id).into(), name: "f".into(), arguments: "{}".into() };
        ChatMessage::Assistant { text: String::new(), tool_calls: ids.iter().map(call).collect() }
    }

    fn answer(id: &str) -> ChatMessage {
        ChatMessage::Tool { id: id.into(), name: "f".into(), content: "x".into() }
    }

    /// A message of a fixture as the dialogue would hold it; `None` if it cannot be held at all.
    fn from_json(message: &Value) -> Option<ChatMessage> {
        let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        Some(match message["role"].as_str()? {
            "system" => ChatMessage::System(text("content")),
            "user" => ChatMessage::User(text("content")),
            "assistant" => {
                let call = |call: &Value| ToolCall {
                    id: call["id"].as_str().unwrap().into(),
                    name: call["function"]["name"].as_str().unwrap().into(),
                    arguments: call["function"]["arguments"].as_str().unwrap().into(),
                };
                let list = message.get("tool_calls").map(|list| list.as_array().unwrap().as_slice());
                if list == Some(&[]) {
                    return None;
                }
                let tool_calls = list.unwrap_or_default().iter().map(call).collect();
                ChatMessage::Assistant { text: text("content"), tool_calls }
            }
            "tool" => ChatMessage::Tool {
                id: text("tool_call_id"),
                name: message["name"].as_str().unwrap_or("find_table").into(),
                content: text("content"),
            },
            _ => return None,
        })
    }

    #[test]
    fn every_history_fixture_is_judged_as_it_says() {
        let fixtures: Value =
            serde_json::from_str(include_str!("../../../../tests/fixtures/openai/histories.json")).unwrap();
        for fixture in fixtures.as_array().unwrap() {
            let (name, valid) = (&fixture["name"], fixture["valid"].as_bool().unwrap());
            let judged = check_json(&fixture["messages"]);
            assert_eq!(judged.is_ok(), valid, "{name}: {judged:?}");
            let typed: Option<Vec<_>> =
                fixture["messages"].as_array().unwrap().iter().map(from_json).collect();
            if let Some(mut typed) = typed {
                // The fixtures leave the name out; our messages always have it.
                for message in &mut typed {
                    if let ChatMessage::Tool { id, name, .. } = message {
                        *name = if id == "call_fxB" { "get_weather" } else { "find_table" }.into();
                    }
                }
                assert_eq!(check(&typed), judged, "{name}");
            }
        }
        assert_eq!(fixtures.as_array().unwrap().len(), 9);
    }

    #[test]
    fn each_rule_is_told_with_its_place() {
        let nameless = ChatMessage::Assistant {
            text: String::new(),
            tool_calls: vec![ToolCall { id: "a".into(), name: "no name".into(), arguments: "{}".into() }],
        };
        let renamed = ChatMessage::Tool { id: "a".into(), name: "g".into(), content: "x".into() };
        for (messages, at, rule) in [
            (vec![], 0, Rule::NoMessages),
            (vec![user(), calls(&[])], 1, Rule::EmptyAssistant),
            (vec![user(), answer("a")], 1, Rule::OrphanTool),
            (vec![calls(&["a"]), answer("a"), user(), answer("a")], 3, Rule::OrphanTool),
            (vec![calls(&["a"]), answer("b")], 1, Rule::UnknownId),
            (vec![calls(&["a"]), answer("a"), answer("a")], 2, Rule::UnknownId),
            (vec![calls(&["a", "b"]), answer("b")], 2, Rule::Unanswered),
            (vec![calls(&["a", "b"]), answer("b"), user()], 2, Rule::Unanswered),
            (vec![calls(&["a"]), calls(&["b"])], 1, Rule::Unanswered),
            (vec![calls(&["a", "a"])], 0, Rule::DuplicateId),
            (vec![calls(&[""])], 0, Rule::MalformedCall),
            (vec![nameless], 0, Rule::BadName),
            (vec![calls(&["a"]), renamed], 1, Rule::WrongName),
        ] {
            assert_eq!(check(&messages), Err(RuleViolation { at, rule }), "{messages:?}");
        }
        assert_eq!(check(&[user(), calls(&["a", "b"]), answer("b"), answer("a"), user()]), Ok(()));
    }

    #[test]
    fn json_that_is_no_message_is_refused() {
        let call = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}]);
        for (message, rule) in [
            (json!(7), Rule::UnknownRole),
            (json!({"role": "robot", "content": "x"}), Rule::UnknownRole),
            (json!({"role": "user"}), Rule::NoContent),
            (json!({"role": "user", "content": {"a": 1}}), Rule::NoContent),
            (json!({"role": "assistant", "content": null}), Rule::EmptyAssistant),
            (json!({"role": "assistant", "content": 3}), Rule::NoContent),
            (json!({"role": "assistant", "tool_calls": null}), Rule::EmptyToolCalls),
            (json!({"role": "assistant", "tool_calls": call}), Rule::MalformedCall),
            (json!({"role": "tool", "content": "x"}), Rule::UnknownId),
        ] {
            assert_eq!(check_json(&json!([message])), Err(RuleViolation { at: 0, rule }), "{message}");
        }
        assert_eq!(check_json(&json!({})).unwrap_err().rule, Rule::NoMessages);
    }

    proptest! {
        /// Whatever passes has as many answers as calls, and each answer stands in its group.
        #[test]
        fn what_passes_has_every_call_answered_in_its_place(
            picks in proptest::collection::vec((0_u8..4, 0_usize..3, 0_usize..3), 0..8),
        ) {
            let ids = ["a", "b", "c"];
            let messages: Vec<ChatMessage> = picks.iter().map(|&(kind, one, two)| match kind {
                0 => user(),
                1 => calls(&[ids[one]]),
                2 => calls(&[ids[one], ids[two]]),
                _ => answer(ids[one]),
            }).collect();
            let mut open: Vec<String> = vec![];
            let mut fine = !messages.is_empty();
            for message in &messages {
                match message {
                    ChatMessage::Tool { id, .. } => match open.iter().position(|wanted| wanted == id) {
                        Some(at) => { open.remove(at); }
                        None => fine = false,
                    },
                    ChatMessage::Assistant { tool_calls, .. } => {
                        fine &= open.is_empty();
                        open = tool_calls.iter().map(|call| call.id.clone()).collect();
                        fine &= open.len() < 2 || open[0] != open[1];
                    }
                    _ => fine &= open.is_empty(),
                }
            }
            prop_assert_eq!(check(&messages).is_ok(), fine && open.is_empty());
        }
    }
}
