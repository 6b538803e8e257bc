//! The rules of the messages in a request. Pure.

use super::super::brain::{Call, Heard};
use super::rules::{Checked, bad, coded, is_name, present};
use serde_json::{Map, Value};

/// A text, or the text parts of a list.
fn content(value: &Value, n: usize) -> Checked<String> {
    let param = format!("messages[{n}].content");
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) if !parts.is_empty() => {
            let mut text = String::new();
            for part in parts {
                match (part.get("type").and_then(Value::as_str), part.get("text").and_then(Value::as_str)) {
                    (Some("text"), Some(part)) => text.push_str(part),
                    (Some("image_url" | "input_audio" | "file" | "refusal"), _) => {}
                    _ => return Err(coded(param, "invalid_value", "Invalid content part.")),
                }
            }
            Ok(text)
        }
        other => {
            let kind = match other {
                Value::Null => "null",
                Value::Object(_) => "an object",
                _ => "something else",
            };
            let message = format!("Invalid value for 'content': expected a string, got {kind}.");
            Err(coded(param, "invalid_type", message))
        }
    }
}

/// Checks the conversation and reads it.
pub(super) fn check_messages(messages: &[Value]) -> Checked<Vec<Heard>> {
    let mut heard: Vec<Heard> = Vec::with_capacity(messages.len());
    // Ids of the last assistant message that no tool message has answered yet, and those answered.
    let (mut open, mut answered): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut in_group = false;
    for (n, message) in messages.iter().enumerate() {
        let fields = message.as_object().ok_or_else(|| {
            bad(format!("messages[{n}]"), format!("Invalid type for 'messages[{n}]': expected an object."))
        })?;
        let role = fields.get("role").and_then(Value::as_str).unwrap_or_default();
        if role != "tool" {
            unanswered(&open)?;
            in_group = false;
        }
        check_fields(fields, role, n)?;
        match role {
            "system" | "developer" => heard.push(Heard::System(required_content(fields, n)?)),
            "user" => heard.push(Heard::User(required_content(fields, n)?)),
            "assistant" => {
                let calls = check_calls(fields, n)?;
                let text = match present(fields, "content") {
                    Some(value) => content(value, n)?,
                    None if !calls.is_empty() || present(fields, "refusal").is_some() => String::new(),
                    None => {
                        let message = "Invalid value for 'content': expected a string, got null.";
                        return Err(coded(format!("messages[{n}].content"), "invalid_type", message));
                    }
                };
                open = calls.iter().map(|c| c.id.clone()).collect();
                answered.clear();
                in_group = !calls.is_empty();
                heard.push(Heard::Assistant { text, calls });
            }
            "tool" => {
                let text = required_content(fields, n)?;
                let Some(id) = fields.get("tool_call_id").and_then(Value::as_str) else {
                    let param = format!("messages[{n}].tool_call_id");
                    return Err(coded(
                        param.clone(),
                        "missing_required_parameter",
                        format!("Missing required parameter: '{param}'."),
                    ));
                };
                if !in_group {
                    let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding \
                                   message with 'tool_calls'.";
                    return Err(bad(format!("messages.[{n}].role"), message));
                }
                if let Some(at) = open.iter().position(|o| o == id) {
                    answered.push(open.remove(at));
                } else {
                    let why = if answered.iter().any(|a| a == id) { "answered twice" } else { "not found" };
                    let message = format!(
                        "Invalid parameter: 'tool_call_id' of '{id}' {why} in 'tool_calls' of previous message."
                    );
                    return Err(bad(format!("messages.[{n}].tool_call_id"), message));
                }
                heard.push(Heard::Tool { id: id.to_owned(), text });
            }
            "function" => {
                let message = "The role 'function' is deprecated and not simulated: use 'tool'.";
                return Err(bad(format!("messages[{n}].role"), message));
            }
            other => {
                let message = format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'assistant', 'user', 'function', \
                     'tool', and 'developer'."
                );
                return Err(coded(format!("messages[{n}].role"), "invalid_value", message));
            }
        }
    }
    unanswered(&open)?;
    Ok(heard)
}

fn unanswered(open: &[String]) -> Checked<()> {
    if open.is_empty() {
        return Ok(());
    }
    Err(bad(
        "messages",
        format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
             'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            open.join(", ")
        ),
    ))
}

fn required_content(fields: &Map<String, Value>, n: usize) -> Checked<String> {
    content(fields.get("content").unwrap_or(&Value::Null), n)
}

fn check_fields(fields: &Map<String, Value>, role: &str, n: usize) -> Checked<()> {
    for (key, value) in fields {
        let allowed = match key.as_str() {
            "role" | "content" => true,
            // Not in the schema of a tool message, but accepted there.
            "name" => {
                let right = value.is_null()
                    || value.as_str().is_some_and(|name| {
                        (1..=64).contains(&name.len())
                            && !name.contains(|c: char| c.is_whitespace() || "<|\\/>".contains(c))
                    });
                if !right {
                    let param = format!("messages[{n}].name");
                    let message =
                        format!("Invalid '{param}': expected a string that matches '^[^\\s<|\\\\/>]+$'.");
                    return Err(coded(param, "invalid_value", message));
                }
                true
            }
            "tool_calls" | "refusal" | "audio" | "annotations" | "function_call" => role == "assistant",
            "tool_call_id" => role == "tool",
            _ => false,
        };
        if !allowed {
            let param = format!("messages[{n}].{key}");
            return Err(coded(param.clone(), "unknown_parameter", format!("Unknown parameter: '{param}'.")));
        }
    }
    Ok(())
}

fn check_calls(fields: &Map<String, Value>, n: usize) -> Checked<Vec<Call>> {
    let Some(calls) = present(fields, "tool_calls") else { return Ok(Vec::new()) };
    let param = format!("messages[{n}].tool_calls");
    let calls = calls
        .as_array()
        .ok_or_else(|| bad(param.clone(), format!("Invalid type for '{param}': expected an array.")))?;
    if calls.is_empty() {
        let message = format!(
            "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead."
        );
        return Err(coded(param, "empty_array", message));
    }
    let mut read: Vec<Call> = Vec::with_capacity(calls.len());
    for (k, call) in calls.iter().enumerate() {
        let at = format!("{param}[{k}]");
        let text = |pointer: &str| call.pointer(pointer).and_then(Value::as_str);
        let id = text("/id").filter(|id| !id.is_empty());
        let name = text("/function/name");
        let (Some(id), Some("function"), Some(name)) = (id, text("/type"), name) else {
            let message =
                format!("Missing required parameter: '{at}' needs id, type 'function' and function.name.");
            return Err(coded(at, "missing_required_parameter", message));
        };
        if !is_name(name) {
            let message =
                format!("Invalid '{at}.function.name': expected a string that matches '^[a-zA-Z0-9_-]+$'.");
            return Err(coded(at, "invalid_value", message));
        }
        let Some(arguments) = text("/function/arguments") else {
            let message = format!("Invalid type for '{at}.function.arguments': expected a string.");
            return Err(coded(at, "invalid_type", message));
        };
        let stray = call
            .as_object()
            .is_some_and(|o| o.keys().any(|k| !matches!(k.as_str(), "id" | "type" | "function")));
        if stray {
            return Err(coded(at.clone(), "unknown_parameter", format!("Unknown parameter in '{at}'.")));
        }
        if read.iter().any(|other| other.id == id) {
            return Err(bad(at, format!("Duplicate tool call id '{id}'.")));
        }
        read.push(Call { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() });
    }
    Ok(read)
}
