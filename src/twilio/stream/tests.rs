use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/", $name))
    };
}

const SID: &str = "MZ000000000000000000000000000000e1";

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter(|line| !line.trim().is_empty()).map(|line| serde_json::from_str(line).unwrap())
}

fn sid() -> Cow<'static, str> {
    Cow::Borrowed(SID)
}

/// The same message, written with its keys in another order and in a shape of its own.
fn parse_value(value: &Value) -> StreamMessage<'static> {
    let compact = value.to_string();
    let pretty = serde_json::to_string_pretty(value).unwrap();
    let from_compact = owned(StreamMessage::parse(compact.as_bytes()).unwrap());
    assert_eq!(from_compact, StreamMessage::parse(pretty.as_bytes()).unwrap(), "{compact}");
    from_compact
}

fn owned(message: StreamMessage<'_>) -> StreamMessage<'static> {
    let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    match message {
        StreamMessage::Connected => StreamMessage::Connected,
        StreamMessage::Start(start) => StreamMessage::Start(start),
        StreamMessage::Media { stream_sid, track, chunk, timestamp_ms, payload_b64 } => {
            StreamMessage::Media {
                stream_sid: own(stream_sid),
                track,
                chunk,
                timestamp_ms,
                payload_b64: own(payload_b64),
            }
        }
        StreamMessage::Dtmf { stream_sid, digit } => {
            StreamMessage::Dtmf { stream_sid: own(stream_sid), digit }
        }
        StreamMessage::Mark { stream_sid, name } => {
            StreamMessage::Mark { stream_sid: own(stream_sid), name: own(name) }
        }
        StreamMessage::Stop { stream_sid } => StreamMessage::Stop { stream_sid: own(stream_sid) },
        StreamMessage::Unknown => StreamMessage::Unknown,
    }
}

/// Compares a parsed message with the JSON it came from, field by field.
fn assert_means(message: &StreamMessage<'_>, value: &Value) {
    match message {
        StreamMessage::Connected => assert_eq!(value["event"], "connected"),
        StreamMessage::Start(start) => {
            assert_eq!(value["event"], "start");
            assert_eq!(start.stream_sid.as_str(), value["start"]["streamSid"]);
            assert_eq!(start.call_sid.as_str(), value["start"]["callSid"]);
            assert_eq!(start.account_sid, value["start"]["accountSid"].as_str().unwrap());
            assert_eq!(json!(start.custom_parameters), value["start"]["customParameters"]);
            assert!(start.is_mulaw_8k_mono());
        }
        StreamMessage::Media { track, chunk, timestamp_ms, payload_b64, .. } => {
            assert_eq!(value["event"], "media");
            assert_eq!(*track, Track::Inbound);
            assert_eq!(chunk.to_string(), value["media"]["chunk"].as_str().unwrap());
            assert_eq!(timestamp_ms.to_string(), value["media"]["timestamp"].as_str().unwrap());
            assert_eq!(payload_b64, value["media"]["payload"].as_str().unwrap());
            let mut audio = Vec::new();
            decode_payload(payload_b64, &mut audio).unwrap();
            assert_eq!(audio.len(), 160);
        }
        StreamMessage::Dtmf { digit, .. } => {
            assert_eq!(digit.to_string(), value["dtmf"]["digit"].as_str().unwrap())
        }
        StreamMessage::Mark { name, .. } => assert_eq!(name, value["mark"]["name"].as_str().unwrap()),
        StreamMessage::Stop { .. } => assert_eq!(value["event"], "stop"),
        StreamMessage::Unknown => panic!("unknown: {value}"),
    }
    if let Some(stream) = message.stream_sid() {
        assert_eq!(stream, value["streamSid"]);
    }
}

#[test]
fn a_whole_inbound_call_is_read_from_its_bytes() {
    let mut events = Vec::new();
    for line in fixture!("inbound_call_ws.jsonl").lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_means(&StreamMessage::parse(line.as_bytes()).unwrap(), &value);
        events.push(value["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(events.first().map(String::as_str), Some("connected"));
    assert_eq!(events.iter().filter(|event| *event == "media").count(), 10);
    assert_eq!(events.last().map(String::as_str), Some("stop"));
}

#[test]
fn sessions_are_read_in_one_direction_and_written_in_the_other() {
    let writer = StreamWriter::new(&SID.into());
    let (mut out, mut audio) = (String::new(), Vec::new());
    let (mut read, mut written) = (0, 0);
    let sessions = [fixture!("session_caller_hangup.jsonl"), fixture!("session_bargein_agent_hangup.jsonl")];
    for entry in sessions.iter().flat_map(|session| lines(session)) {
        let Some(msg) = entry.get("msg") else { continue };
        if entry["dir"] == "twilio_to_server" {
            assert_means(&parse_value(msg), msg);
            read += 1;
            continue;
        }
        match msg["event"].as_str().unwrap() {
            "media" => {
                decode_payload(msg["media"]["payload"].as_str().unwrap(), &mut audio).unwrap();
                writer.media(&audio, &mut out);
            }
            "mark" => writer.mark(msg["mark"]["name"].as_str().unwrap(), &mut out),
            _ => writer.clear().clone_into(&mut out),
        }
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), *msg);
        written += 1;
    }
    assert!(read > 20 && written > 6, "{read} {written}");
}

#[test]
fn what_we_write_is_byte_for_byte_what_twilio_documents() {
    let writer = StreamWriter::new(&SID.into());
    let mut out = String::from("left over");
    let mut audio = Vec::new();
    let mut kinds = 0;
    for line in fixture!("server_to_twilio_valid.jsonl").lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        match value["event"].as_str().unwrap() {
            "media" => {
                decode_payload(value["media"]["payload"].as_str().unwrap(), &mut audio).unwrap();
                writer.media(&audio, &mut out);
            }
            "mark" => writer.mark(value["mark"]["name"].as_str().unwrap(), &mut out),
            _ => writer.clear().clone_into(&mut out),
        }
        assert_eq!(out, line);
        kinds += 1;
    }
    assert_eq!(kinds, 5);
}

#[test]
fn nothing_we_write_equals_a_message_twilio_refuses() {
    let writer = StreamWriter::new(&SID.into());
    let mut out = String::new();
    let silence = [0xFF; 160];
    let mut ours = vec![serde_json::from_str::<Value>(writer.clear()).unwrap()];
    writer.media(&silence, &mut out);
    ours.push(serde_json::from_str(&out).unwrap());
    writer.mark("m-1", &mut out);
    ours.push(serde_json::from_str(&out).unwrap());
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    for bad in lines(fixture!("server_to_twilio_invalid.jsonl")) {
        let Some(bad) = bad.get("msg") else { continue };
        assert!(!ours.contains(bad), "{bad}");
    }
    assert_eq!(keys(&ours[0]), ["event", "streamSid"]);
    assert_eq!(keys(&ours[1]), ["event", "media", "streamSid"]);
    assert_eq!(keys(&ours[1]["media"]), ["payload"]);
    assert_eq!(keys(&ours[2]), ["event", "mark", "streamSid"]);
    assert_eq!(keys(&ours[2]["mark"]), ["name"]);
}

#[test]
fn odd_messages_are_read_as_the_table_wants() {
    let mut seen = 0;
    for case in lines(fixture!("ws_edge_cases.jsonl")) {
        let name = case["name"].as_str().unwrap();
        let text = case["text"].as_str().unwrap();
        let result = StreamMessage::parse(text.as_bytes());
        let mut audio = vec![1];
        match name {
            "unknown-event" => assert_eq!(result, Ok(StreamMessage::Unknown)),
            "unknown-fields" | "no-custom-parameters" | "sample-rate-as-string" => {
                let Ok(StreamMessage::Start(start)) = result else { panic!("{name}") };
                assert!(start.is_mulaw_8k_mono(), "{name}");
                assert!(start.custom_parameters.is_empty(), "{name}");
            }
            "start-twice" => {
                let Ok(StreamMessage::Start(start)) = result else { panic!("{name}") };
                assert_eq!(start.custom_parameters["token"], "tok-4b1d9c0e");
                assert!(!format!("{start:?}").contains("tok-4b1d9c0e"));
            }
            "numbers-not-strings" | "odd-size-frame" | "sequence-gap" | "media-before-start" => {
                let Ok(StreamMessage::Media { payload_b64, track: Track::Inbound, .. }) = result else {
                    panic!("{name}")
                };
                decode_payload(&payload_b64, &mut audio).unwrap();
                assert_eq!(audio.len(), if name == "odd-size-frame" { 161 } else { 160 }, "{name}");
            }
            "empty-payload" => {
                let Ok(StreamMessage::Media { payload_b64, .. }) = result else { panic!("{name}") };
                decode_payload(&payload_b64, &mut audio).unwrap();
                assert_eq!(audio, [0_u8; 0]);
            }
            "bad-base64" => {
                let Ok(StreamMessage::Media { payload_b64, .. }) = result else { panic!("{name}") };
                let error = decode_payload(&payload_b64, &mut audio).unwrap_err();
                assert_eq!((error.code(), audio.len()), ("stream.bad_base64", 0));
            }
            "outbound-track" => {
                assert!(matches!(result, Ok(StreamMessage::Media { track: Track::Outbound, .. })));
            }
            "mark-unknown-name" => {
                assert_eq!(result, Ok(StreamMessage::Mark { stream_sid: sid(), name: "never-sent".into() }));
            }
            "dtmf-star" => assert_eq!(result, Ok(StreamMessage::Dtmf { stream_sid: sid(), digit: '*' })),
            "not-json" => assert_eq!(result, Err(FrameError::Json { column: 1 })),
            "wrong-stream-sid" => assert_ne!(result.unwrap().stream_sid(), Some(SID)),
            other => panic!("a case without a check: {other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 16);
}

#[test]
fn the_usual_media_message_takes_the_quick_way() {
    let mut quick = 0;
    for line in fixture!("inbound_call_ws.jsonl").lines() {
        let is_media = line.starts_with(r#"{"event":"media""#);
        assert_eq!(scan::media(line.as_bytes()).is_some(), is_media, "{line}");
        quick += u32::from(is_media);
        if let Some(StreamMessage::Media { payload_b64, stream_sid, .. }) = scan::media(line.as_bytes()) {
            assert!(matches!((payload_b64, stream_sid), (Cow::Borrowed(_), Cow::Borrowed(_))));
        }
    }
    assert_eq!(quick, 10);
}

#[test]
fn an_error_says_what_is_wrong_and_nothing_of_the_content() {
    let check = |text: &str| StreamMessage::parse(text.as_bytes()).unwrap_err();
    assert_eq!(check("{}"), FrameError::MissingField("event"));
    assert_eq!(check("[]").code(), "stream.bad_json");
    assert_eq!(check(r#"{"event":5}"#).code(), "stream.bad_json");
    assert_eq!(check(r#"{"event":"media","streamSid":"M"}"#), FrameError::MissingField("media"));
    let media = |body: &str| check(&format!(r#"{{"event":"media","streamSid":"M","media":{body}}}"#));
    assert_eq!(media("{}"), FrameError::MissingField("media.chunk"));
    assert_eq!(media(r#"{"chunk":"x","timestamp":"1","payload":""}"#), FrameError::BadField("media.chunk"));
    assert_eq!(media(r#"{"chunk":"-1","timestamp":"1","payload":""}"#), FrameError::BadField("media.chunk"));
    assert_eq!(media(r#"{"chunk":1.5,"timestamp":"1","payload":""}"#).code(), "stream.bad_json");
    assert_eq!(media(r#"{"chunk":1,"payload":""}"#), FrameError::MissingField("media.timestamp"));
    assert_eq!(media(r#"{"chunk":1,"timestamp":1}"#), FrameError::MissingField("media.payload"));
    assert_eq!(check(r#"{"event":"stop"}"#), FrameError::MissingField("streamSid"));
    let digit = check(r#"{"event":"dtmf","streamSid":"M","dtmf":{"digit":"42"}}"#);
    assert_eq!(digit, FrameError::BadField("dtmf.digit"));
    assert!(!digit.to_string().contains("42"));
    let secret = check(r#"{"event":"start","start":{"customParameters":"tok-secret"}}"#);
    assert!(!format!("{secret} {secret:?}").contains("secret"));
    let start = |sid: &str| {
        check(&json!({"event": "start", "start": {"streamSid": sid, "mediaFormat": {"encoding": "x", "sampleRate": 1}}}).to_string())
    };
    assert_eq!(start("a b"), FrameError::BadField("start.streamSid"));
    assert_eq!(start("M"), FrameError::MissingField("start.accountSid"));
    assert_eq!(StreamMessage::parse(b"\xff\xfe"), Err(FrameError::NotUtf8));
    let large = vec![b' '; MAX_MESSAGE_BYTES + 1];
    assert_eq!(StreamMessage::parse(&large), Err(FrameError::TooLarge(MAX_MESSAGE_BYTES + 1)));
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let deep = format!(r#"{{"event":"start","start":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
    assert!(StreamMessage::parse(deep.as_bytes()).is_err());
}

#[test]
fn padding_may_be_missing_from_a_payload() {
    let mut audio = Vec::new();
    decode_payload("//8", &mut audio).unwrap();
    assert_eq!(audio, [0xFF, 0xFF]);
    decode_payload("/w==", &mut audio).unwrap();
    assert_eq!(audio, [0xFF]);
}

/// A JSON text for a message: parts that differ in ways that JSON does not care about, and some that it does.
fn any_media() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<u64>().prop_map(|n| format!("\"{n}\"")),
        any::<u32>().prop_map(|n| n.to_string()),
        Just("\"007\"".to_owned()),
        Just("007".to_owned()),
        Just("\"+7\"".to_owned()),
        Just("-7".to_owned()),
        Just("7.0".to_owned()),
        Just("1e3".to_owned()),
        Just("\"\"".to_owned()),
        Just("null".to_owned()),
        Just("99999999999999999999999".to_owned()),
    ];
    let text = prop_oneof![
        "[A-Za-z0-9+/=]{0,12}".prop_map(|s| format!("\"{s}\"")),
        "\\PC{0,6}".prop_map(|s| Value::String(s).to_string()),
        Just("\"in\\u0062ound\"".to_owned()),
        Just("\"inbound\"".to_owned()),
        Just("null".to_owned()),
        Just("7".to_owned()),
    ];
    let field = |name: &'static str, value: BoxedStrategy<String>| {
        value.prop_map(move |value| format!("\"{name}\":{value}")).boxed()
    };
    let body = (
        proptest::sample::subsequence(vec![0, 1, 2, 3, 3], 3..=5),
        field("track", text.clone().boxed()),
        field("chunk", number.clone().boxed()),
        field("timestamp", number.clone().boxed()),
        field("payload", text.clone().boxed()),
    )
        .prop_flat_map(|(pick, a, b, c, d)| {
            let all = [a, b, c, d];
            Just(pick.iter().map(|&i| all[i].clone()).collect::<Vec<_>>()).prop_shuffle()
        })
        .prop_map(|fields| format!("{{{}}}", fields.join(",")));
    let blank = prop_oneof![3 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
    let event = prop_oneof![8 => Just("\"media\""), 1 => Just("\"mark\""), 1 => Just("\"m\\u0065dia\"")];
    (event, number, text, body, blank, any::<[bool; 2]>()).prop_flat_map(
        |(event, number, sid, body, blank, odd)| {
            let mut fields = vec![
                format!("\"event\":{blank}{event}"),
                format!("\"sequenceNumber\"{blank}:{number}"),
                format!("{blank}\"streamSid\":{sid}{blank}"),
                format!("\"media\":{body}"),
            ];
            if odd[0] && odd[1] {
                fields.push("\"new\":{\"a\":[1]}".to_owned());
            }
            Just(fields)
                .prop_shuffle()
                .prop_map(move |fields| format!("{blank}{{{}}}{blank}", fields.join(",")))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_quick_way_and_the_long_way_agree(text in any_media()) {
        let long = wire::parse(&text);
        if let Some(quick) = scan::media(text.as_bytes()) {
            prop_assert_eq!(Ok(quick), long);
        } else {
            prop_assert_eq!(StreamMessage::parse(text.as_bytes()), long);
        }
    }

    #[test]
    fn a_message_of_the_usual_shape_never_goes_the_long_way(
        sequence in any::<u64>(), chunk in any::<u64>(), timestamp in any::<u64>(), audio in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        use base64::engine::general_purpose::STANDARD;
        let payload = STANDARD.encode(&audio);
        let text = format!(
            r#"{{"event":"media","sequenceNumber":"{sequence}","media":{{"track":"inbound","chunk":"{chunk}","timestamp":"{timestamp}","payload":"{payload}"}},"streamSid":"{SID}"}}"#
        );
        let quick = scan::media(text.as_bytes());
        prop_assert!(quick.is_some());
        prop_assert_eq!(quick.clone(), wire::parse(&text).ok());
        let Some(StreamMessage::Media { payload_b64, .. }) = quick else { panic!() };
        let mut decoded = Vec::new();
        decode_payload(&payload_b64, &mut decoded).unwrap();
        prop_assert_eq!(decoded, audio);
    }

    #[test]
    fn any_bytes_give_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,60}") {
        let _ = StreamMessage::parse(&bytes);
        let _ = StreamMessage::parse(text.as_bytes());
        let mut audio = Vec::new();
        if decode_payload(&text, &mut audio).is_err() {
            prop_assert!(audio.is_empty());
        }
    }

    #[test]
    fn a_true_message_cut_or_damaged_gives_a_message_or_an_error(line in 0_usize..14, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let text = fixture!("inbound_call_ws.jsonl").lines().nth(line).unwrap();
        let at = at.index(text.len());
        let _ = StreamMessage::parse(&text.as_bytes()[..at]);
        let mut damaged = text.as_bytes().to_vec();
        damaged[at] = byte;
        let _ = StreamMessage::parse(&damaged);
    }

    #[test]
    fn any_mark_name_and_stream_survive_json(name in any::<String>(), stream in any::<String>()) {
        let writer = StreamWriter::new(&StreamSid::from(stream.as_str()));
        let mut out = String::new();
        writer.mark(&name, &mut out);
        let expected = json!({"event": "mark", "streamSid": stream, "mark": {"name": name}});
        prop_assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
    }
}
