//! The body of a request: only what is needed, no nulls, and each host's habits from its configuration.

use crate::config::llm::HostConfig;
use crate::provider::llm::{ChatMessage, ChatRequest, JsonShape, ToolCall, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{Map, Value};

/// How the answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode<'m> {
    /// From the host's model, as it is made.
    Stream,
    /// From this model, in one piece.
    Whole {
        /// The model.
        model: &'m str,
        /// Its shape, if it matters.
        shape: Option<&'m JsonShape>,
    },
}

#[derive(Serialize)]
struct Body<'b> {
    model: &'b str,
    messages: Vec<Message<'b>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'b>>,
}

#[derive(Serialize)]
struct ResponseFormat<'b> {
    r#type: &'static str,
    json_schema: NamedSchema<'b>,
}

#[derive(Serialize)]
struct NamedSchema<'b> {
    name: &'static str,
    strict: bool,
    schema: &'b Value,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Message<'b> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'b str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'b str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'b str>,
}

#[derive(Serialize)]
struct Call<'b> {
    id: &'b str,
    r#type: &'static str,
    function: CalledFunction<'b>,
}

#[derive(Serialize)]
struct CalledFunction<'b> {
    name: &'b str,
    arguments: &'b str,
}

#[derive(Serialize)]
struct Tool<'b> {
    r#type: &'static str,
    function: OfferedFunction<'b>,
}

#[derive(Serialize)]
struct OfferedFunction<'b> {
    name: &'b str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'b str,
    #[serde(skip_serializing_if = "Value::is_null")]
    parameters: &'b Value,
}

/// Builds the JSON body (`POST {base}/chat/completions`).
///
/// `parallel_tool_calls` is never sent: true is the default, without tools it is refused, and some reasoning models
/// and compatible hosts refuse it altogether.
pub(super) fn body(request: &ChatRequest, host: &HostConfig, mode: Mode<'_>) -> serde_json::Result<Vec<u8>> {
    let (model, stream, shape) = match mode {
        Mode::Stream => (host.model.as_str(), true, None),
        Mode::Whole { model, shape } => (model, false, shape),
    };
    // Temperature and effort are what the host's model takes; another model may refuse them.
    let same_model = model == host.model;
    let limit = Some(host.max_tokens).filter(|&limit| limit > 0);
    let older_field = host.max_tokens_field == "max_tokens";
    serde_json::to_vec(&Body {
        model,
        messages: request.messages.iter().map(|one| message(one, host)).collect(),
        stream,
        stream_options: (stream && host.include_usage).then_some(StreamOptions { include_usage: true }),
        tools: request.tools.iter().map(tool).collect(),
        tool_choice: (!request.tools.is_empty()).then_some(match request.tool_choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
        }),
        max_completion_tokens: limit.filter(|_| !older_field),
        max_tokens: limit.filter(|_| older_field),
        temperature: host.temperature.filter(|value| same_model && value.is_finite()),
        reasoning_effort: host.reasoning_effort.as_deref().filter(|effort| same_model && !effort.is_empty()),
        response_format: shape.map(|shape| ResponseFormat {
            r#type: "json_schema",
            json_schema: NamedSchema { name: shape.name, strict: true, schema: &shape.schema },
        }),
    })
}

fn message<'b>(message: &'b ChatMessage, host: &HostConfig) -> Message<'b> {
    let plain = |role, content| Message { role, content, tool_calls: vec![], tool_call_id: None, name: None };
    match message {
        ChatMessage::System(text) => plain("system", Some(text)),
        ChatMessage::User(text) => plain("user", Some(text)),
        ChatMessage::Assistant { text, tool_calls } => Message {
            tool_calls: tool_calls.iter().map(call).collect(),
            ..plain("assistant", Some(text.as_str()).filter(|text| !text.is_empty() || tool_calls.is_empty()))
        },
        ChatMessage::Tool { id, name, content } => Message {
            tool_call_id: Some(id),
            name: host.tool_name.then_some(name),
            ..plain("tool", Some(content))
        },
    }
}

fn call(call: &ToolCall) -> Call<'_> {
    // Strict templates of compatible hosts parse the arguments again; what is wrong with them says the tool's answer.
    let well_formed = serde_json::from_str::<Map<String, Value>>(&call.arguments).is_ok();
    let arguments = if well_formed { call.arguments.as_str() } else { "{}" };
    Call { id: &call.id, r#type: "function", function: CalledFunction { name: &call.name, arguments } }
}

fn tool(tool: &ToolSpec) -> Tool<'_> {
    let function =
        OfferedFunction { name: tool.name, description: &tool.description, parameters: &tool.parameters };
    Tool { r#type: "function", function }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::llm::openai::rules;
    use serde_json::json;

    fn fixture() -> Value {
        serde_json::from_str(include_str!("../../../../tests/fixtures/openai/request_stream_tools.json"))
            .unwrap()
    }

    fn host() -> HostConfig {
        HostConfig {
            model: "gpt-4.1-mini".into(),
            max_tokens: 300,
            temperature: None,
            ..HostConfig::default()
        }
    }

    /// The request of the fixture.
    fn request() -> ChatRequest {
        let fixture = fixture();
        let tool = |at: usize, name| {
            let function = &fixture["tools"][at]["function"];
            ToolSpec {
                name,
                description: function["description"].as_str().unwrap().into(),
                parameters: function["parameters"].clone(),
            }
        };
        let content = |at: usize| fixture["messages"][at]["content"].as_str().unwrap().to_owned();
        ChatRequest {
            messages: vec![ChatMessage::System(content(0)), ChatMessage::User(content(1))],
            tools: [tool(0, "find_table"), tool(1, "get_weather"), tool(2, "list_menu")].into(),
            tool_choice: ToolChoice::Auto,
        }
    }

    fn built(request: &ChatRequest, host: &HostConfig, mode: Mode<'_>) -> Value {
        serde_json::from_slice(&body(request, host, mode).unwrap()).unwrap()
    }

    fn has_null(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(items) => items.iter().any(has_null),
            Value::Object(fields) => fields.values().any(has_null),
            _ => false,
        }
    }

    #[test]
    fn a_streaming_request_with_tools_has_the_fixtures_shape() {
        let mut expected = fixture();
        // True is the default, and not sent; strict schemas are not asked for.
        expected.as_object_mut().unwrap().remove("parallel_tool_calls");
        expected["tools"][0]["function"].as_object_mut().unwrap().remove("strict");
        assert_eq!(built(&request(), &host(), Mode::Stream), expected);
    }

    #[test]
    fn without_tools_nothing_about_tools_is_sent() {
        let request = ChatRequest { tools: [].into(), ..request() };
        let body = built(&request, &host(), Mode::Stream);
        for key in ["tools", "tool_choice", "parallel_tool_calls"] {
            assert!(body.get(key).is_none(), "{key}");
        }
    }

    #[test]
    fn a_request_that_forbids_tools_still_offers_those_its_history_uses() {
        let request = ChatRequest { tool_choice: ToolChoice::None, ..request() };
        let body = built(&request, &host(), Mode::Stream);
        assert_eq!(body["tool_choice"], "none");
        assert_eq!(body["tools"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn each_habit_of_a_host_shows_in_the_body() {
        let with = |change: &dyn Fn(&mut HostConfig)| {
            let mut host = host();
            change(&mut host);
            built(&request(), &host, Mode::Stream)
        };
        let body = with(&|host| host.max_tokens_field = "max_tokens".into());
        assert_eq!((&body["max_tokens"], body.get("max_completion_tokens")), (&json!(300), None));
        let body = with(&|host| host.max_tokens = 0);
        assert_eq!((body.get("max_tokens"), body.get("max_completion_tokens")), (None, None));
        assert!(with(&|host| host.include_usage = false).get("stream_options").is_none());
        assert_eq!(with(&|host| host.temperature = Some(0.6))["temperature"], 0.6);
        assert!(with(&|host| host.temperature = Some(f64::NAN)).get("temperature").is_none());
        assert!(with(&|host| host.reasoning_effort = None).get("reasoning_effort").is_none());
        assert!(with(&|host| host.reasoning_effort = Some(String::new())).get("reasoning_effort").is_none());
        assert_eq!(with(&|host| host.reasoning_effort = Some("none".into()))["reasoning_effort"], "none");
        assert_eq!(with(&|host| host.reasoning_effort = Some("low".into()))["reasoning_effort"], "low");
    }

    #[test]
    fn a_whole_answer_from_another_model_is_asked_for_without_stream_or_habits() {
        let host = HostConfig { temperature: Some(0.6), reasoning_effort: Some("none".into()), ..host() };
        let body = built(&request(), &host, Mode::Whole { model: "other", shape: None });
        assert_eq!(body["model"], "other");
        for key in ["stream", "stream_options", "temperature", "reasoning_effort", "response_format"] {
            assert!(body.get(key).is_none(), "{key}");
        }
        let body = built(&request(), &host, Mode::Whole { model: "gpt-4.1-mini", shape: None });
        assert_eq!(body["reasoning_effort"], "none");
    }

    #[test]
    fn a_shape_is_sent_as_a_strict_schema_with_its_name() {
        let shape = JsonShape { name: "call_outcome", schema: json!({"type": "object"}) };
        let body = built(&request(), &host(), Mode::Whole { model: "other", shape: Some(&shape) });
        let schema = json!({"name": "call_outcome", "strict": true, "schema": {"type": "object"}});
        assert_eq!(body["response_format"], json!({"type": "json_schema", "json_schema": schema}));
    }

    #[test]
    fn a_tool_round_is_sent_without_nulls_and_with_arguments_that_parse() {
        let call = |id: &str, arguments: &str| ToolCall {
            id: id.into(),
            name: "find_table".into(),
            arguments: arguments.into(),
        };
        let answer =
            |id: &str| ChatMessage::Tool { id: id.into(), name: "find_table".into(), content: "{}".into() };
        let exact = "{ \"a\" : null }";
        let calls = vec![
            call("1", exact),
            call("2", ""),
            call("3", "{a: four"),
            call("4", "[1]"),
            call("5", "\"x\""),
        ];
        let mut request = request();
        request.messages.push(ChatMessage::Assistant { text: String::new(), tool_calls: calls });
        request.messages.extend(["1", "2", "3", "4", "5"].map(answer));
        let assistant = |body: &Value| body["messages"][2].clone();

        let body = built(&request, &host(), Mode::Stream);
        assert!(!has_null(&body));
        assert!(assistant(&body).get("content").is_none());
        let arguments: Vec<&str> = body["messages"][2]["tool_calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|call| call["function"]["arguments"].as_str().unwrap())
            .collect();
        assert_eq!(arguments, [exact, "{}", "{}", "{}", "{}"]);
        assert_eq!(body["messages"][3]["name"], "find_table");
        assert_eq!(rules::check_json(&body["messages"]), Ok(()));

        let without_name = HostConfig { tool_name: false, ..host() };
        let body = built(&request, &without_name, Mode::Stream);
        assert!(body["messages"][3].get("name").is_none());
        assert_eq!(rules::check_json(&body["messages"]), Ok(()));
    }

    #[test]
    fn an_assistants_words_are_sent_with_and_without_calls() {
        let mut request = request();
        request.messages.push(ChatMessage::Assistant { text: "Hi.".into(), tool_calls: vec![] });
        let body = built(&request, &host(), Mode::Stream);
        assert_eq!(body["messages"][2], json!({"role": "assistant", "content": "Hi."}));
    }
}
