//! What chat completions look like in JSON, read so that anything survives: fields of the wrong type count as absent,
//! unknown ones are not looked at. Chunks of a stream and whole completions are read alike, because servers mix them.

use serde_json::Value;

/// One chunk, or a whole completion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Whether there was a choice at all: the usage chunk and Azure's first one have none.
    pub has_choice: bool,
    /// Text to be spoken.
    pub text: String,
    /// Why the model declines; spoken like text.
    pub refusal: String,
    /// Pieces of tool calls.
    pub calls: Vec<CallDelta>,
    /// Set once, near the end.
    pub finish: Option<Finish>,
    /// Tokens of request and answer.
    pub usage: Option<(u32, u32)>,
}

/// A piece of a tool call. Empty text stands for an absent field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CallDelta {
    /// Which call, where the host numbers them.
    pub index: Option<u64>,
    /// Id; in the call's first piece, on some hosts in all of them.
    pub id: String,
    /// Name; likewise.
    pub name: String,
    /// More of the arguments.
    pub arguments: String,
}

/// `finish_reason`. What is unknown counts as `Stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// `stop`, `tool_calls`, `function_call` and whatever else.
    Stop,
    /// `length`.
    Length,
    /// `content_filter`.
    ContentFilter,
    /// `error` (OpenRouter).
    Error,
}

/// What an error body says; prose is left out, because nothing may be decided on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorInfo {
    /// `type`.
    pub kind: String,
    /// `code`; a number is kept as its digits.
    pub code: String,
}

/// Reads a chunk or a completion.
pub(super) fn chunk(value: &Value) -> Chunk {
    let usage = usage(value.get("usage")).or_else(|| usage(value.get("x_groq").and_then(|x| x.get("usage"))));
    let choices = value.get("choices").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let first = |choice: &&Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0;
    let Some(choice) = choices.iter().find(first) else {
        return Chunk { usage, ..Chunk::default() };
    };
    let object = |key: &str| choice.get(key).filter(|value| value.is_object());
    let delta = object("delta").or_else(|| object("message")).unwrap_or(&Value::Null);
    let calls = delta.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    Chunk {
        has_choice: true,
        text: content(delta.get("content")),
        refusal: text(delta.get("refusal")),
        calls: calls.iter().filter(|call| call.is_object()).map(call).collect(),
        finish: choice.get("finish_reason").and_then(Value::as_str).and_then(finish),
        usage,
    }
}

/// Reads the error that a chunk or a 200 body may carry instead of an answer.
pub(super) fn error(value: &Value) -> Option<ErrorInfo> {
    let flat = value.get("object").and_then(Value::as_str) == Some("error");
    let nested = match value.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    };
    (flat || nested).then(|| error_info(value))
}

/// Reads a body that is known to be an error: OpenAI's nested form, vLLM's flat one, Gemini's list.
pub(super) fn error_info(value: &Value) -> ErrorInfo {
    let value = value.as_array().and_then(|list| list.first()).unwrap_or(value);
    let body = value.get("error").filter(|error| error.is_object()).unwrap_or(value);
    ErrorInfo { kind: text(body.get("type")), code: text_or_number(body.get("code")) }
}

fn call(value: &Value) -> CallDelta {
    let function = value.get("function").unwrap_or(&Value::Null);
    CallDelta {
        index: value.get("index").and_then(Value::as_u64),
        id: text_or_number(value.get("id")),
        name: text(function.get("name")),
        arguments: match function.get("arguments") {
            Some(Value::String(arguments)) => arguments.clone(),
            // Not the protocol, but what is meant is plain.
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        },
    }
}

/// Content as text, or as a list of parts of which those with text count.
fn content(value: Option<&Value>) -> String {
    match value {
        Some(Value::Array(parts)) => parts.iter().map(|part| text(part.get("text"))).collect(),
        other => text(other),
    }
}

fn finish(reason: &str) -> Option<Finish> {
    match reason {
        "" => None,
        "length" => Some(Finish::Length),
        "content_filter" => Some(Finish::ContentFilter),
        "error" => Some(Finish::Error),
        _ => Some(Finish::Stop),
    }
}

fn usage(value: Option<&Value>) -> Option<(u32, u32)> {
    let value = value.filter(|value| value.is_object())?;
    let tokens = |key| value.get(key).and_then(Value::as_u64).unwrap_or(0).try_into().unwrap_or(u32::MAX);
    Some((tokens("prompt_tokens"), tokens("completion_tokens")))
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn text_or_number(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_of_the_wrong_type_count_as_absent() {
        for value in [
            json!(null),
            json!(7),
            json!([]),
            json!({"choices": null}),
            json!({"choices": {"0": 1}}),
            json!({"choices": []}),
            json!({"usage": null, "choices": "x"}),
        ] {
            assert_eq!(chunk(&value), Chunk::default(), "{value}");
            assert_eq!(error(&value), None, "{value}");
        }
        let odd = json!({"choices": [{"index": "a", "finish_reason": 3, "delta": {
            "content": 5, "refusal": {}, "tool_calls": [1, {"index": -1, "id": 9, "function": "f"}]}}]});
        let calls = vec![CallDelta { id: "9".into(), ..CallDelta::default() }];
        assert_eq!(chunk(&odd), Chunk { has_choice: true, calls, ..Chunk::default() });
    }

    #[test]
    fn only_the_first_choice_counts() {
        let value = json!({"choices": [
            {"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}]});
        assert_eq!(chunk(&value).text, "yes");
    }

    #[test]
    fn text_parts_and_arguments_as_an_object_are_understood() {
        let value = json!({"choices": [{"message": {
            "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}],
            "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}}]});
        let chunk = chunk(&value);
        assert_eq!(chunk.text, "ab");
        assert_eq!(chunk.calls[0].arguments, r#"{"x":1}"#);
    }

    #[test]
    fn errors_are_recognised_in_every_form() {
        let info = |kind: &str, code: &str| Some(ErrorInfo { kind: kind.into(), code: code.into() });
        assert_eq!(error(&json!({"error": {"type": "t", "code": "c"}})), info("t", "c"));
        assert_eq!(error(&json!({"error": {"code": 502}, "choices": []})), info("", "502"));
        assert_eq!(error(&json!({"error": "text"})), info("", ""));
        assert_eq!(error(&json!({"object": "error", "type": "t", "code": 400})), info("t", "400"));
        assert_eq!(error(&json!({"error": null})), None);
        assert_eq!(error_info(&json!([{"error": {"code": 429, "status": "X"}}])), info("", "429").unwrap());
        assert_eq!(error_info(&json!({"detail": []})), ErrorInfo::default());
    }
}
