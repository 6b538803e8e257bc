//! A completion as it goes over the wire: one JSON body, or server-sent events. Pure.

use super::super::brain::{Answer, Call};
use super::rules::Request;
use actix_web::web::Bytes;
use serde_json::{Value, json};
use std::time::Duration;

/// How fast tokens come, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// To the first.
    pub(super) first_ms: u64,
    /// From each to the next.
    pub(super) token_ms: u64,
}

impl Pace {
    fn at(self, token: u64) -> Duration {
        Duration::from_millis(self.first_ms.saturating_add(self.token_ms.saturating_mul(token)))
    }

    /// The time of a whole answer.
    pub(super) fn whole_ms(self, tokens: u64) -> u64 {
        self.first_ms.saturating_add(self.token_ms.saturating_mul(tokens))
    }
}

/// An answer with what surrounds it.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    id: String,
    model: String,
    include_usage: bool,
    obfuscation: bool,
    prompt_tokens: u64,
    tokens: Vec<String>,
    calls: Vec<Call>,
    finish: &'static str,
}

const CREATED: u64 = 1_795_000_000;

impl Completion {
    pub(super) fn new(request: &Request, answer: Answer, number: u64, prompt_bytes: usize) -> Self {
        let mut tokens = tokens_of(&answer.text);
        let mut finish = if answer.calls.is_empty() { "stop" } else { "tool_calls" };
        let most = request.max_tokens.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        if tokens.len() > most {
            tokens.truncate(most);
            finish = "length";
        }
        Self {
            id: format!("chatcmpl-sim{number:08}"),
            model: request.model.clone(),
            include_usage: request.include_usage,
            obfuscation: request.obfuscation,
            prompt_tokens: (prompt_bytes / 4) as u64,
            tokens,
            calls: if finish == "length" { Vec::new() } else { answer.calls },
            finish,
        }
    }

    /// Tokens of the answer.
    pub(super) fn tokens(&self) -> u64 {
        let calls: usize = self.calls.iter().map(|c| c.arguments.len() / 4 + 3).sum();
        self.tokens.len().saturating_add(calls) as u64
    }

    fn usage(&self) -> Value {
        let completion = self.tokens();
        json!({
            "prompt_tokens": self.prompt_tokens, "completion_tokens": completion,
            "total_tokens": self.prompt_tokens.saturating_add(completion),
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        })
    }

    /// The body of an answer that is not streamed.
    pub(super) fn whole(&self) -> Value {
        let text = self.tokens.concat();
        let content = if text.is_empty() && !self.calls.is_empty() { Value::Null } else { json!(text) };
        let mut message =
            json!({"role": "assistant", "content": content, "refusal": null, "annotations": []});
        if !self.calls.is_empty()
            && let Some(fields) = message.as_object_mut()
        {
            let calls: Vec<Value> = self
                .calls
                .iter()
                .map(|c| {
                    json!({"id": c.id, "type": "function",
                           "function": {"name": c.name, "arguments": c.arguments}})
                })
                .collect();
            fields.insert("tool_calls".to_owned(), json!(calls));
        }
        json!({
            "id": self.id, "object": "chat.completion", "created": CREATED, "model": self.model,
            "system_fingerprint": "fp_sim", "service_tier": "default",
            "choices": [{"index": 0, "logprobs": null, "finish_reason": self.finish, "message": message}],
            "usage": self.usage(),
        })
    }

    fn event(&self, choices: Value, usage: Value, padded: usize) -> Bytes {
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": CREATED, "model": self.model,
            "system_fingerprint": "fp_sim", "service_tier": "default", "choices": choices,
        });
        if let Some(fields) = chunk.as_object_mut() {
            if self.include_usage {
                fields.insert("usage".to_owned(), usage);
            }
            if self.obfuscation && padded > 0 {
                fields.insert("obfuscation".to_owned(), json!("x".repeat(padded)));
            }
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    }

    fn delta(&self, delta: Value, finish: Option<&str>) -> Bytes {
        // Padding hides the length of a delta; its own length does not matter.
        let padded = if finish.is_none() { 12usize.saturating_sub(delta.to_string().len() % 12) } else { 0 };
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        self.event(choices, Value::Null, padded)
    }

    /// The events of a streamed answer, each with its time. A malformed stream breaks off in its first text or call.
    pub(super) fn events(&self, pace: Pace, malformed: bool) -> Vec<(Duration, Bytes)> {
        let mut events = Vec::with_capacity(self.tokens.len().saturating_add(8));
        let mut token = 0u64;
        let role = if self.tokens.is_empty() && !self.calls.is_empty() {
            json!({"role": "assistant", "content": null, "refusal": null})
        } else {
            json!({"role": "assistant", "content": "", "refusal": null})
        };
        events.push((pace.at(0), self.delta(role, None)));
        if malformed {
            let broken =
                format!("data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"choi\n\n", self.id);
            events.push((pace.at(1), Bytes::from(broken)));
            return events;
        }
        for text in &self.tokens {
            events.push((pace.at(token), self.delta(json!({ "content": text }), None)));
            token = token.saturating_add(1);
        }
        for (index, call) in self.calls.iter().enumerate() {
            let start = json!({"tool_calls": [{"index": index, "id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": ""}}]});
            events.push((pace.at(token), self.delta(start, None)));
            for part in parts_of(&call.arguments) {
                token = token.saturating_add(1);
                let part = json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]});
                events.push((pace.at(token), self.delta(part, None)));
            }
            token = token.saturating_add(1);
        }
        events.push((pace.at(token), self.delta(json!({}), Some(self.finish))));
        if self.include_usage {
            events.push((pace.at(token), self.event(json!([]), self.usage(), 0)));
        }
        events.push((pace.at(token), Bytes::from_static(b"data: [DONE]\n\n")));
        events
    }
}

/// Text in token-like pieces: a word with the space before it; long words in two.
fn tokens_of(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for c in text.chars() {
        let fresh = match tokens.last() {
            None => true,
            Some(last) => (c == ' ' && !last.ends_with(' ')) || last.chars().count() >= 8,
        };
        match tokens.last_mut() {
            Some(last) if !fresh => last.push(c),
            _ => tokens.push(c.to_string()),
        }
    }
    tokens
}

/// Arguments in pieces of six characters.
fn parts_of(arguments: &str) -> Vec<String> {
    let chars: Vec<char> = arguments.chars().collect();
    chars.chunks(6).map(|part| part.iter().collect()).collect()
}

/// Cuts the pieces into smaller ones of at most `size` bytes; 0 leaves them.
pub(super) fn split(pieces: Vec<(Duration, Bytes)>, size: usize) -> Vec<(Duration, Bytes)> {
    if size == 0 {
        return pieces;
    }
    let mut out = Vec::new();
    for (at, mut piece) in pieces {
        while piece.len() > size {
            let rest = piece.split_off(size);
            out.push((at, piece));
            piece = rest;
        }
        out.push((at, piece));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let body = json!({"model": "gpt-4.1", "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "x"}]});
        super::super::rules::check(&body, &[]).unwrap()
    }

    fn values(events: &[(Duration, Bytes)]) -> Vec<Value> {
        events
            .iter()
            .filter_map(|(_, e)| {
                let text = std::str::from_utf8(e).unwrap();
                serde_json::from_str(text.strip_prefix("data: ").unwrap().trim_end()).ok()
            })
            .collect()
    }

    const PACE: Pace = Pace { first_ms: 100, token_ms: 10 };

    #[test]
    fn a_stream_is_role_deltas_finish_usage_and_done() {
        let answer = Answer { text: "Hello, what can I do for you?".into(), calls: Vec::new() };
        let completion = Completion::new(&request(), answer, 1, 400);
        let events = completion.events(PACE, false);
        assert_eq!(events.last().unwrap().1, "data: [DONE]\n\n");
        assert_eq!(events[0].0, Duration::from_millis(100));
        let values = values(&events);
        assert_eq!(values[0]["choices"][0]["delta"]["role"], "assistant");
        let text: String =
            values.iter().filter_map(|v| v["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "Hello, what can I do for you?");
        assert_eq!(values[values.len() - 2]["choices"][0]["finish_reason"], "stop");
        let usage = values.last().unwrap();
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(usage["usage"]["prompt_tokens"], 100);
        assert!(values[..values.len() - 1].iter().all(|v| v["usage"].is_null() && v.get("usage").is_some()));
    }

    #[test]
    fn a_calls_name_comes_once_and_its_arguments_in_parts() {
        let arguments = json!({"date": "tomorrow", "service": "haircut"}).to_string();
        let call =
            Call { id: "call_1".into(), name: "check_availability".into(), arguments: arguments.clone() };
        let completion = Completion::new(
            &request(),
            Answer { text: String::new(), calls: vec![call.clone(), call] },
            1,
            1,
        );
        let values = values(&completion.events(PACE, false));
        let deltas: Vec<&Value> = values
            .iter()
            .map(|v| &v["choices"][0]["delta"]["tool_calls"][0])
            .filter(|d| !d.is_null())
            .collect();
        assert_eq!(deltas.iter().filter(|d| d["id"].is_string()).count(), 2);
        for index in 0..2 {
            let joined: String = deltas
                .iter()
                .filter(|d| d["index"] == index)
                .filter_map(|d| d["function"]["arguments"].as_str())
                .collect();
            assert_eq!(joined, arguments);
        }
        assert_eq!(values[values.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn too_few_tokens_allowed_end_in_length() {
        let mut request = request();
        request.max_tokens = Some(3);
        let completion = Completion::new(
            &request,
            Answer { text: "one two three four five".into(), calls: Vec::new() },
            1,
            1,
        );
        assert_eq!(completion.whole()["choices"][0]["finish_reason"], "length");
        assert_eq!(completion.whole()["choices"][0]["message"]["content"], "one two three");
    }

    #[test]
    fn splitting_keeps_every_byte() {
        let pieces = vec![(Duration::ZERO, Bytes::from("data: é\n\n"))];
        let parts = split(pieces.clone(), 3);
        let joined: Vec<u8> = parts.iter().flat_map(|(_, p)| p.to_vec()).collect();
        assert_eq!(joined, pieces[0].1.to_vec());
        assert!(parts.iter().all(|(_, p)| p.len() <= 3));
    }

    proptest::proptest! {
        #[test]
        fn tokens_and_parts_make_the_text_again(text in "\\PC{0,60}") {
            proptest::prop_assert_eq!(&tokens_of(&text).concat(), &text);
            proptest::prop_assert_eq!(&parts_of(&text).concat(), &text);
        }
    }
}
