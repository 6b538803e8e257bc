//! The rules of a chat completion request, as strict as the API's. Pure.

use super::super::brain::Question;
use super::messages::check_messages;
use super::tools::{check_tool_choice, check_tools, strict_fault};
use serde_json::{Map, Value};

/// A refusal: HTTP status, message, parameter and code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// `error.message`.
    pub message: String,
    /// `error.param`.
    pub param: Option<String>,
    /// `error.code`.
    pub code: Option<&'static str>,
}

pub(super) type Checked<T> = Result<T, Refused>;

pub(super) fn bad(param: impl Into<String>, message: impl Into<String>) -> Refused {
    Refused { status: 400, message: message.into(), param: Some(param.into()), code: None }
}

pub(super) fn coded(param: impl Into<String>, code: &'static str, message: impl Into<String>) -> Refused {
    Refused { code: Some(code), ..bad(param, message) }
}

/// What a valid request asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The model.
    pub model: String,
    /// Server-sent events.
    pub stream: bool,
    /// A usage chunk at the end of the stream.
    pub include_usage: bool,
    /// Padding on the deltas.
    pub obfuscation: bool,
    /// The most tokens of the answer.
    pub max_tokens: Option<u64>,
    /// Several calls in one answer.
    pub parallel: bool,
    /// The conversation.
    pub question: Question,
}

const FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "reasoning_effort",
    "verbosity",
    "stop",
    "response_format",
    "n",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "service_tier",
    "store",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "prediction",
    "modalities",
    "audio",
    "moderation",
    "web_search_options",
    "user",
    "functions",
    "function_call",
];

/// The models there are besides those of the configuration.
pub const MODELS: &[&str] = &[
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-5.4",
    "gpt-5.5",
    "gpt-5.6",
    "o3",
    "o4-mini",
];

pub(super) fn present<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|v| !v.is_null())
}

fn boolean(fields: &Map<String, Value>, name: &str) -> Checked<Option<bool>> {
    present(fields, name)
        .map(|v| {
            v.as_bool().ok_or_else(|| bad(name, format!("Invalid type for '{name}': expected a boolean.")))
        })
        .transpose()
}

fn range(fields: &Map<String, Value>, name: &str, least: f64, most: f64) -> Checked<()> {
    match present(fields, name) {
        Some(v) if !v.as_f64().is_some_and(|n| (least..=most).contains(&n)) => {
            Err(bad(name, format!("Invalid '{name}': expected a number between {least} and {most}.")))
        }
        _ => Ok(()),
    }
}

fn positive(fields: &Map<String, Value>, name: &str) -> Checked<Option<u64>> {
    present(fields, name)
        .map(|v| {
            v.as_u64()
                .filter(|n| *n > 0)
                .ok_or_else(|| bad(name, format!("Invalid '{name}': expected a positive integer.")))
        })
        .transpose()
}

/// Checks a request.
pub fn check(body: &Value, more_models: &[String]) -> Checked<Request> {
    let fields = body.as_object().ok_or_else(|| bad("body", "The body must be a JSON object."))?;
    if let Some(unknown) = fields.keys().find(|k| !FIELDS.contains(&k.as_str())) {
        let message = format!("Unrecognized request argument supplied: {unknown}");
        return Err(coded(unknown.clone(), "unknown_parameter", message));
    }
    let Some(model) = fields.get("model").and_then(Value::as_str).filter(|m| !m.is_empty()) else {
        return Err(bad("model", "you must provide a model parameter"));
    };
    let base = MODELS.iter().any(|m| *m == model || dated(model, m));
    if !base && !more_models.iter().any(|m| m == model) {
        return Err(Refused {
            status: 404,
            message: format!("The model `{model}` does not exist or you do not have access to it."),
            param: None,
            code: Some("model_not_found"),
        });
    }
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => {
            let message = "Invalid 'messages': empty array. Expected an array with minimum length 1.";
            return Err(coded("messages", "empty_array", message));
        }
        Some(_) => return Err(bad("messages", "Invalid type for 'messages': expected an array of objects.")),
        None => {
            return Err(coded(
                "messages",
                "missing_required_parameter",
                "Missing required parameter: 'messages'.",
            ));
        }
    };
    let heard = check_messages(messages)?;
    let mut tools = check_tools(present(fields, "tools"))?;
    let forced_tool = check_tool_choice(fields, &mut tools)?;
    let parallel = boolean(fields, "parallel_tool_calls")?;
    if parallel.is_some() && present(fields, "tools").is_none() {
        let message = "Invalid value for 'parallel_tool_calls': only allowed when 'tools' are specified.";
        return Err(bad("parallel_tool_calls", message));
    }
    let stream = boolean(fields, "stream")?.unwrap_or(false);
    let (include_usage, obfuscation) = check_stream_options(fields, stream)?;
    check_numbers(fields)?;
    check_reasoning(fields, model)?;
    let json = check_format(fields)?;
    Ok(Request {
        model: model.to_owned(),
        stream,
        include_usage,
        obfuscation,
        max_tokens: positive(fields, "max_completion_tokens")?.or(positive(fields, "max_tokens")?),
        parallel: parallel.unwrap_or(true),
        question: Question { messages: heard, tools, forced_tool, json },
    })
}

/// "gpt-4o-2024-08-06" is a dated "gpt-4o".
fn dated(model: &str, base: &str) -> bool {
    model
        .strip_prefix(base)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|date| date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
}

fn check_stream_options(fields: &Map<String, Value>, stream: bool) -> Checked<(bool, bool)> {
    let Some(options) = present(fields, "stream_options") else { return Ok((false, true)) };
    if !stream {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(bad("stream_options", message));
    }
    let options =
        options.as_object().ok_or_else(|| bad("stream_options", "'stream_options' must be an object."))?;
    if let Some(unknown) =
        options.keys().find(|k| !matches!(k.as_str(), "include_usage" | "include_obfuscation"))
    {
        let param = format!("stream_options.{unknown}");
        return Err(coded(param.clone(), "unknown_parameter", format!("Unknown parameter: '{param}'.")));
    }
    Ok((
        boolean(options, "include_usage")?.unwrap_or(false),
        boolean(options, "include_obfuscation")?.unwrap_or(true),
    ))
}

fn check_numbers(fields: &Map<String, Value>) -> Checked<()> {
    range(fields, "temperature", 0.0, 2.0)?;
    range(fields, "top_p", 0.0, 1.0)?;
    range(fields, "presence_penalty", -2.0, 2.0)?;
    range(fields, "frequency_penalty", -2.0, 2.0)?;
    range(fields, "n", 1.0, 128.0)?;
    match present(fields, "stop") {
        None | Some(Value::String(_)) => {}
        Some(Value::Array(all)) if all.len() <= 4 && all.iter().all(Value::is_string) => {}
        Some(_) => return Err(bad("stop", "Invalid 'stop': expected a string or at most 4 strings.")),
    }
    if present(fields, "max_tokens").is_some() && present(fields, "max_completion_tokens").is_some() {
        let message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(bad("max_tokens", message));
    }
    Ok(())
}

fn check_reasoning(fields: &Map<String, Value>, model: &str) -> Checked<()> {
    let effort = match present(fields, "reasoning_effort") {
        None => None,
        Some(v) => match v.as_str() {
            Some(e @ ("none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max")) => Some(e),
            _ => {
                return Err(coded(
                    "reasoning_effort",
                    "invalid_value",
                    "Invalid value for 'reasoning_effort'.",
                ));
            }
        },
    };
    let reasoning = model.starts_with("gpt-5") || model.starts_with('o');
    if !reasoning {
        if effort.is_some() {
            let message = format!("Unrecognized request argument supplied: reasoning_effort (model {model})");
            return Err(coded("reasoning_effort", "unsupported_parameter", message));
        }
        return Ok(());
    }
    let with_tools = present(fields, "tools").is_some();
    let refused = if model.starts_with("gpt-5.6") {
        effort != Some("none")
    } else {
        (model.starts_with("gpt-5.4") || model.starts_with("gpt-5.5")) && effort.is_some()
    };
    if with_tools && refused {
        let message = format!(
            "Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. \
             Please use /v1/responses instead."
        );
        return Err(bad("reasoning_effort", message));
    }
    if present(fields, "max_tokens").is_some() {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                       'max_completion_tokens' instead.";
        return Err(coded("max_tokens", "unsupported_parameter", message));
    }
    for name in ["temperature", "top_p"] {
        if present(fields, name).and_then(Value::as_f64).is_some_and(|n| (n - 1.0).abs() > 1e-9) {
            let message = format!("Unsupported value: '{name}'. Only the default (1) value is supported.");
            return Err(coded(name, "unsupported_value", message));
        }
    }
    Ok(())
}

fn check_format(fields: &Map<String, Value>) -> Checked<Option<Value>> {
    let Some(format) = present(fields, "response_format") else { return Ok(None) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => {
            let said = fields.get("messages").map(Value::to_string).unwrap_or_default();
            if !said.to_lowercase().contains("json") {
                let message = "'messages' must contain the word 'json' in some form, to use 'response_format' of type \
                               'json_object'.";
                return Err(bad("messages", message));
            }
            Ok(Some(Value::Object(Map::new())))
        }
        Some("json_schema") => {
            let schema = format.get("json_schema");
            let named = schema.and_then(|s| s.get("name")).and_then(Value::as_str).is_some_and(is_name);
            let inner = schema.and_then(|s| s.get("schema"));
            if !named {
                let param = "response_format.json_schema.name";
                return Err(coded(
                    param,
                    "missing_required_parameter",
                    format!("Missing required parameter: '{param}'."),
                ));
            }
            if schema.and_then(|s| s.get("strict")) == Some(&Value::Bool(true))
                && let Some(wrong) = inner.and_then(|s| strict_fault(s, 0))
            {
                return Err(bad("response_format", format!("Invalid schema for response_format: {wrong}")));
            }
            Ok(Some(inner.cloned().unwrap_or(Value::Null)))
        }
        _ => Err(coded("response_format.type", "invalid_value", "Invalid value for 'response_format.type'.")),
    }
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(messages: Value, more: Value) -> Checked<Request> {
        let mut body = json!({"model": "gpt-4.1-mini", "messages": messages});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        check(&body, &[])
    }

    fn user() -> Value {
        json!([{"role": "user", "content": "Hi"}])
    }

    fn tool() -> Value {
        json!({"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}})
    }

    fn assistant(ids: &[&str]) -> Value {
        let calls: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": id, "type": "function", "function": {"name": "look", "arguments": "{}"}}))
            .collect();
        json!({"role": "assistant", "content": null, "tool_calls": calls})
    }

    fn answer(id: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": "{}"})
    }

    #[test]
    fn valid_histories_are_accepted() {
        let question = json!({"role": "user", "content": "Hi"});
        for messages in [
            user(),
            json!([{"role": "system", "content": "x"}, question, assistant(&["a"]), answer("a")]),
            json!([question, assistant(&["a", "b"]), answer("b"), answer("a"), question]),
            json!([{"role": "developer", "content": [{"type": "text", "text": "x"}]}, question]),
            json!([question, assistant(&["a"]), {"role": "tool", "tool_call_id": "a", "name": "look", "content": "{}"}]),
            json!([question, {"role": "assistant", "content": "Hello.", "refusal": null}, question]),
        ] {
            assert!(with(messages.clone(), json!({})).is_ok(), "{messages}");
        }
    }

    #[test]
    fn broken_histories_are_refused() {
        let question = json!({"role": "user", "content": "Hi"});
        for messages in [
            json!([]),
            json!([question, assistant(&["a"])]),
            json!([question, assistant(&["a"]), question, answer("a")]),
            json!([question, assistant(&["a", "b"]), answer("a"), question]),
            json!([question, answer("a")]),
            json!([question, assistant(&["a"]), answer("z")]),
            json!([question, assistant(&["a"]), answer("a"), answer("a")]),
            json!([question, assistant(&["a", "a"]), answer("a"), answer("a")]),
            json!([question, {"role": "assistant", "content": "x", "tool_calls": []}]),
            json!([question, {"role": "assistant", "content": null}]),
            json!([{"role": "user", "content": null}]),
            json!([{"role": "user"}]),
            json!([{"role": "caller", "content": "x"}]),
            json!([{"role": "user", "content": "x", "tool_call_id": "a"}]),
            json!([{"role": "user", "content": "x", "name": "Ann Lee"}]),
            json!([question, assistant(&["a"]), {"role": "tool", "tool_call_id": "a", "content": {"ok": true}}]),
            json!([question, assistant(&["a"]), {"role": "tool", "content": "{}"}]),
            json!([question, {"role": "assistant", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "look", "arguments": {}}}]}, answer("a")]),
        ] {
            assert!(with(messages.clone(), json!({})).is_err(), "{messages}");
        }
    }

    #[test]
    fn options_are_accepted_only_where_they_belong() {
        let tools = json!([tool()]);
        for good in [
            json!({"tools": tools, "tool_choice": "auto", "parallel_tool_calls": true}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            json!({"temperature": 0.4, "max_tokens": 200, "stop": ["a"]}),
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "look"}}}),
            json!({"model": "gpt-5.6", "tools": tools, "reasoning_effort": "none"}),
            json!({"model": "gpt-4o-2024-08-06"}),
        ] {
            assert!(with(user(), good.clone()).is_ok(), "{good}: {:?}", with(user(), good.clone()));
        }
        for wrong in [
            json!({"parallel_tool_calls": true}),
            json!({"tool_choice": "auto"}),
            json!({"stream_options": {"include_usage": true}}),
            json!({"stream": true, "stream_options": {"usage": true}}),
            json!({"tools": []}),
            json!({"tools": [tool(), tool()]}),
            json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}),
            json!({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]}),
            json!({"tools": [{"type": "function", "function": {"name": "a", "strict": true, "parameters":
                {"type": "object", "properties": {"b": {"type": "string"}}, "required": [],
                 "additionalProperties": false}}}]}),
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "other"}}}),
            json!({"temperature": 3}),
            json!({"max_tokens": 0}),
            json!({"model": "gpt-99"}),
            json!({"model": "gpt-5.6", "tools": tools}),
            json!({"model": "gpt-5.5", "tools": tools, "reasoning_effort": "low"}),
            json!({"model": "gpt-5", "max_tokens": 100}),
            json!({"model": "gpt-5", "temperature": 0.2}),
            json!({"best_of": 2}),
            json!({"response_format": {"type": "json_object"}}),
        ] {
            assert!(with(user(), wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_unanswered_ids_are_named() {
        let refused =
            with(json!([{"role": "user", "content": "x"}, assistant(&["a", "b"]), answer("a")]), json!({}));
        assert!(refused.unwrap_err().message.ends_with("did not have response messages: b"));
    }

    proptest::proptest! {
        #[test]
        fn no_body_upsets_it(role in "(user|tool|assistant|system|x)", content in "\\PC{0,10}", n in 0u8..4) {
            let call = json!([{"id": content, "type": "function", "function": {"name": "a", "arguments": content}}]);
            let message = match n {
                0 => json!({"role": role, "content": content}),
                1 => json!({"role": role, "tool_calls": call}),
                2 => json!({"role": role, "content": [content], "tool_call_id": content}),
                _ => json!(content),
            };
            let _ = with(json!([message.clone(), message]), json!({"tools": content}));
        }
    }
}
