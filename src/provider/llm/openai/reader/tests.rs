//! Whole answers, replayed from the fixtures in every cut.

use super::*;
use crate::provider::llm::{FinishReason, ToolCall, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::PathBuf;

fn fixture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/openai");
    std::fs::read(folder.join(name)).unwrap()
}

#[derive(Debug, Default, PartialEq)]
struct Answer {
    text: String,
    finished: Option<(Vec<ToolCall>, FinishReason, Option<Usage>)>,
    error: Option<ProviderError>,
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Answer {
    let mut reader = AnswerReader::new(7);
    let mut out = vec![];
    let mut result = Ok(());
    for piece in pieces {
        result = reader.push(piece, &mut out);
        if result.is_err() {
            break;
        }
    }
    let result = result.and_then(|()| reader.end(&mut out));
    let mut answer = Answer { error: result.err(), ..Answer::default() };
    for delta in out {
        assert_eq!(answer.finished, None, "nothing follows the end");
        match delta {
            ChatDelta::Text(text) => {
                assert!(!text.is_empty());
                answer.text.push_str(&text);
            }
            ChatDelta::Finished { tool_calls, reason, usage } => {
                answer.finished = Some((tool_calls, reason, usage));
            }
        }
    }
    assert_eq!(answer.finished.is_some(), answer.error.is_none(), "an end or an error, not both: {answer:?}");
    answer
}

fn text_events(chunks: &[Value], tail: &str) -> Vec<u8> {
    let mut body: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    body.push_str(tail);
    body.into_bytes()
}

fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// Pieces of tool calls in one stream, and the calls they make.
fn calls_of(deltas: &[Value]) -> Vec<(String, String, String)> {
    let mut chunks: Vec<Value> = deltas.iter().map(|one| delta(json!({"tool_calls": [one]}))).collect();
    chunks.push(finish("tool_calls"));
    let (calls, ..) = read([text_events(&chunks, "data: [DONE]\n\n").as_slice()]).finished.unwrap();
    calls.into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
}

#[test]
fn every_stream_fixture_gives_what_is_expected_however_it_is_cut() {
    let expected: Value = serde_json::from_slice(&fixture("sse.expected.json")).unwrap();
    let expected = expected.as_object().unwrap();
    for (stem, expected) in expected {
        let bytes = fixture(&format!("{stem}.sse"));
        let answer = read([bytes.as_slice()]);
        assert_eq!(read(bytes.split_inclusive(|&byte| byte == b'\n')), answer, "{stem} line by line");
        assert_eq!(read(bytes.chunks(1)), answer, "{stem} byte by byte");
        assert_eq!(read(bytes.chunks(7)), answer, "{stem} by seven bytes");

        let spoken = [&expected["text"], &expected["refusal"]].map(|text| text.as_str().unwrap_or_default());
        assert_eq!(answer.text, spoken.concat(), "{stem}");
        match expected["outcome"].as_str().unwrap() {
            "truncated_stream" => {
                assert_eq!(answer.error.unwrap().kind, ProviderErrorKind::Closed, "{stem}");
                continue;
            }
            "stream_error" => {
                let error = answer.error.unwrap();
                assert_eq!(error.kind, ProviderErrorKind::Server, "{stem}");
                assert_eq!(error.code, expected["error_code"].as_str().unwrap_or("stream_error"), "{stem}");
                continue;
            }
            _ => assert_eq!(answer.error, None, "{stem}"),
        }
        let (calls, reason, usage) = answer.finished.unwrap();
        let expected_reason = match expected["finish_reason"].as_str().unwrap() {
            "length" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            _ => FinishReason::Stop,
        };
        assert_eq!(reason, expected_reason, "{stem}");
        let tokens = |key: &str| expected["usage"][key].as_u64().map(|tokens| tokens as u32);
        assert_eq!(usage.map(|usage| usage.input_tokens), tokens("prompt_tokens"), "{stem}");
        assert_eq!(usage.map(|usage| usage.output_tokens), tokens("completion_tokens"), "{stem}");

        let expected_calls = expected["tool_calls"].as_array().unwrap();
        if expected["must_not_execute"] == true {
            assert_eq!(calls, [], "{stem}");
            continue;
        }
        assert_eq!(calls.len(), expected_calls.len(), "{stem}");
        for (call, expected) in calls.iter().zip(expected_calls) {
            match expected["id"].as_str() {
                Some(id) => assert_eq!(call.id, id, "{stem}"),
                None => assert!(call.id.starts_with("call_"), "{stem}: {}", call.id),
            }
            assert_eq!(Value::from(call.name.as_str()), expected["name"], "{stem}");
            assert_eq!(Value::from(call.arguments.as_str()), expected["arguments"], "{stem}");
        }
    }
    assert_eq!(expected.len(), 31);
}

#[test]
fn every_completion_fixture_is_read_though_a_stream_was_asked_for() {
    let one = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    let table = one("call_fxA", "find_table", r#"{"party_size":4,"date":"2026-11-22","time":"19:30"}"#);
    let weather = one("call_fxB", "get_weather", r#"{"city":"Oslo","note":"æøå \"quoted\" \n line"}"#);
    let broken = one("call_fxG", "find_table", "{party_size: 4");
    use FinishReason::*;
    use ProviderErrorKind::*;
    let usage = Some(Usage { input_tokens: 52, output_tokens: 11 });
    let table: [(&str, &str, Result<_, ProviderErrorKind>); 10] = [
        ("text", "Good evening.", Ok((vec![], Stop, usage))),
        ("tools", "", Ok((vec![table.clone(), weather], Stop, usage))),
        ("text_and_tools", "One moment.", Ok((vec![table], Stop, usage))),
        ("malformed_arguments", "", Ok((vec![broken], Stop, usage))),
        ("length", "Our soups are", Ok((vec![], Length, usage))),
        ("content_filter", "", Ok((vec![], ContentFilter, usage))),
        ("refusal", "I can't help with that.", Ok((vec![], Stop, usage))),
        ("sparse_compat", "Hi.", Ok((vec![], Stop, None))),
        ("no_choices", "", Err(Protocol)),
        ("200_with_error", "", Err(Server)),
    ];
    for (stem, text, expected) in table {
        let bytes = fixture(&format!("completion_{stem}.json"));
        let answer = read([bytes.as_slice()]);
        assert_eq!(read(bytes.chunks(1)), answer, "{stem} byte by byte");
        assert_eq!(answer.text, text, "{stem}");
        match expected {
            Ok(expected) => assert_eq!(answer.finished, Some(expected), "{stem}"),
            Err(kind) => assert_eq!(answer.error.map(|error| error.kind), Some(kind), "{stem}"),
        }
        let cut = &bytes[..bytes.len() / 2];
        assert_eq!(read([cut]).error.unwrap().kind, Closed, "{stem} cut in half");
    }
}

#[test]
fn text_comes_out_with_the_event_that_brought_it() {
    let mut reader = AnswerReader::new(0);
    let mut out = vec![];
    reader.push(&text_events(&[delta(json!({"content": "Hel"}))], ""), &mut out).unwrap();
    assert_eq!(out, [ChatDelta::Text("Hel".into())]);
    assert!(!reader.is_whole());
    reader.push(&text_events(&[finish("stop")], ""), &mut out).unwrap();
    assert!(reader.is_whole() && !reader.is_done());
    reader.push(b"data: [DONE]\n\n", &mut out).unwrap();
    assert!(reader.is_done());
    reader.push(b"data: {\"error\":{}}\n\n", &mut out).unwrap();
    assert_eq!(out.len(), 2);
}

#[test]
fn calls_are_told_apart_by_index_id_and_wholeness() {
    let own = |list: &[(&str, &str, &str)]| -> Vec<(String, String, String)> {
        list.iter().map(|&(id, name, arguments)| (id.into(), name.into(), arguments.into())).collect()
    };
    let f = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    // Indices that are neither dense nor start at 0.
    assert_eq!(
        calls_of(&[
            json!({"index": 5, "id": "a", "function": f("x", "{")}),
            json!({"index": 2, "id": "b", "function": f("y", "{")}),
            json!({"index": 5, "function": {"arguments": "}"}}),
            json!({"index": 2, "function": {"arguments": "}"}}),
        ]),
        own(&[("a", "x", "{}"), ("b", "y", "{}")])
    );
    // No index: by id, else the last call.
    assert_eq!(
        calls_of(&[
            json!({"id": "a", "function": f("x", "{")}),
            json!({"id": "b", "function": f("y", "{")}),
            json!({"id": "a", "function": f("x", "}")}),
            json!({"function": {"arguments": "}"}}),
        ]),
        own(&[("a", "x", "{}"), ("b", "y", "{}")])
    );
    // The same id under two numbers: both calls stay, and can be answered apart.
    let same_id = calls_of(&[
        json!({"index": 0, "id": "a", "function": f("x", "{}")}),
        json!({"index": 1, "id": "a", "function": f("y", "{}")}),
    ]);
    assert_eq!(same_id.len(), 2);
    assert_ne!(same_id[0].0, same_id[1].0);
    // No id at all and one number for all: a name after whole arguments begins a call.
    let nameless_ids = calls_of(&[
        json!({"index": 0, "function": f("x", "{}")}),
        json!({"index": 0, "function": f("y", "{\"a\":")}),
        json!({"index": 0, "function": f("y", "1}")}),
        json!({"index": 0, "function": f("y", "")}),
    ]);
    let named: Vec<_> = nameless_ids.iter().map(|(_, name, arguments)| (&**name, &**arguments)).collect();
    assert_eq!(named, [("x", "{}"), ("y", "{\"a\":1}")]);
    assert_ne!(nameless_ids[0].0, nameless_ids[1].0);
    // An id that comes late belongs to the call that is open.
    assert_eq!(
        calls_of(&[
            json!({"index": 0, "function": f("x", "")}),
            json!({"index": 0, "id": "a", "function": f("", "{}")})
        ]),
        own(&[("a", "x", "{}")])
    );
    // A call without a name cannot be made.
    assert_eq!(calls_of(&[json!({"index": 0, "id": "a", "function": {"arguments": "{}"}})]), own(&[]));
}

#[test]
fn synthesised_ids_differ_between_answers() {
    let id = |seed| {
        let mut reader = AnswerReader::new(seed);
        let mut out = vec![];
        reader.push(&fixture("compat_missing_id.sse"), &mut out).unwrap();
        match out.pop() {
            Some(ChatDelta::Finished { tool_calls, .. }) => tool_calls[0].id.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_ne!(id(1), id(2));
}

#[test]
fn calls_of_an_answer_that_was_cut_or_filtered_are_dropped() {
    let call = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "x", "arguments": "{}"}}]});
    for (reason, expected) in
        [("length", FinishReason::Length), ("content_filter", FinishReason::ContentFilter)]
    {
        let body = text_events(&[delta(call.clone()), finish(reason)], "data: [DONE]\n\n");
        assert_eq!(read([body.as_slice()]).finished, Some((vec![], expected, None)));
    }
}

#[test]
fn the_end_of_a_stream_is_judged_by_what_came() {
    let hi = || delta(json!({"content": "Hi."}));
    let kind = |body: &[u8]| read([body]).error.map(|error| error.kind);
    use ProviderErrorKind::*;
    for (body, expected) in [
        (text_events(&[hi()], "data: [DONE]"), None),
        (text_events(&[hi()], "data: [DONE]\n"), None),
        (text_events(&[hi(), finish("stop")], "data: {\"cho"), None),
        (text_events(&[hi(), finish("stop")], "data: garbage\n\n"), None),
        (text_events(&[hi()], "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}"), None),
        (text_events(&[hi(), finish("")], ""), Some(Closed)),
        (text_events(&[hi(), finish("error")], "data: [DONE]\n\n"), Some(Server)),
        (text_events(&[hi()], "data: garbage\n\n"), Some(Protocol)),
        (text_events(&[], "data: [DONE]\n\n"), Some(Protocol)),
        (text_events(&[hi()], "data: \"ping\"\n\ndata: 7\n\ndata: [DONE]\n\n"), None),
        (b"".to_vec(), Some(Closed)),
        (b" \n\r\n".to_vec(), Some(Closed)),
        (b": still working\n\n".to_vec(), Some(Closed)),
        (b"\n<!doctype html><title>502</title>".to_vec(), Some(Protocol)),
    ] {
        assert_eq!(kind(&body), expected, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn thoughts_in_the_text_are_not_spoken() {
    let pieces = ["<thi", "nk>hm", "</think>\n\n", "Hi", " there <", "3"];
    let mut chunks: Vec<Value> = pieces.iter().map(|text| delta(json!({"content": text}))).collect();
    chunks.push(finish("stop"));
    assert_eq!(read([text_events(&chunks, "data: [DONE]\n\n").as_slice()]).text, "Hi there <3");
}

#[test]
fn an_answer_without_bounds_is_refused() {
    let mut reader = AnswerReader::new(0);
    let chunk = text_events(&[delta(json!({"content": "x".repeat(60_000)}))], "");
    let error = (0..1_000).find_map(|_| reader.push(&chunk, &mut vec![]).err()).unwrap();
    assert_eq!(error.code, "answer_too_large");

    let calls: Vec<Value> = (0..65)
        .map(|at| {
            delta(json!({"tool_calls": [{"index": at, "id": at.to_string(), "function": {"name": "x"}}]}))
        })
        .collect();
    assert_eq!(read([text_events(&calls, "").as_slice()]).error.unwrap().code, "too_many_tool_calls");

    let mut long = b"data: ".to_vec();
    long.resize(2 << 20, b'x');
    assert_eq!(read([long.as_slice()]).error.unwrap().code, "event_too_large");
}

/// JSON-like bits that meet the reader's expectations often enough to get deep into it.
fn bit() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "data: ",
        "data:",
        "\n",
        "\r\n",
        "\n\n",
        ": x\n",
        "[DONE]",
        "{\"choices\":[",
        "{\"delta\":{",
        "\"content\":\"",
        "\"tool_calls\":[{",
        "\"index\":0,",
        "\"id\":\"a\",",
        "\"function\":{\"name\":\"f\"}",
        "\"arguments\":\"{",
        "\"finish_reason\":\"stop\"",
        "\"error\":{",
        "null",
        "}]}",
        "}",
        "]",
        "\"",
        ",",
        "<think>",
        "</think>",
        "<html>",
        "Ø",
    ];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_end_in_an_answer_or_an_error(
        bits in proptest::collection::vec(bit(), 0..60), size in 1_usize..40,
    ) {
        let bytes = bits.concat();
        let answer = read(bytes.chunks(size));
        prop_assert_eq!(answer, read([bytes.as_slice()]));
    }

    #[test]
    fn a_damaged_stream_ends_in_an_answer_or_an_error(
        stem in proptest::sample::select(vec![
            "text_then_two_tools", "tools_interleaved", "compat_missing_index", "compat_azure", "refusal",
        ]),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        keep in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = fixture(&format!("{stem}.sse"));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(keep.index(bytes.len()) + 1);
        read([bytes.as_slice()]);
    }

    #[test]
    fn any_json_as_a_chunk_is_survived(
        key in proptest::sample::select(vec!["choices", "delta", "tool_calls", "function", "usage", "error", "index"]),
        value in proptest::sample::select(vec![
            json!(null), json!(-1), json!(1e300), json!("x"), json!([]), json!([null]), json!({}), json!([[{}]]),
        ]),
    ) {
        let mut chunk = json!({"choices": [{"index": 0, "delta": {"content": "a", "tool_calls": [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1}});
        fn replace(at: &mut Value, key: &str, value: &Value) {
            match at {
                Value::Object(fields) => fields.iter_mut().for_each(|(name, field)| {
                    if name == key { *field = value.clone() } else { replace(field, key, value) }
                }),
                Value::Array(items) => items.iter_mut().for_each(|item| replace(item, key, value)),
                _ => {}
            }
        }
        replace(&mut chunk, key, &value);
        read([text_events(&[chunk], "data: [DONE]\n\n").as_slice()]);
    }
}
