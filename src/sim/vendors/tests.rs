//! The vendors over real sockets.

use super::*;
use crate::sim::faults::{After, Fault, FaultRule};
use crate::sim::voice::{Recogniser, VoiceTone, render};
use actix_codec::Framed;
use actix_http::ws::{CloseCode, Codec, Frame, Message};
use actix_web::web::Bytes;
use awc::{BoxedSocket, Client, Connector};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Instant as Clock;

const TELEPHONY: &str = "model=nova-3&language=en-US&encoding=mulaw&sample_rate=8000&channels=1&interim_results=true\
    &endpointing=300&utterance_end_ms=1000&vad_events=true&punctuate=true&smart_format=true";

const ACCOUNT: &str = "AC00000000000000000000000000000001";

fn start(change: impl FnOnce(&mut VendorsConfig)) -> VendorsHandle {
    let mut config = VendorsConfig::immediate();
    change(&mut config);
    Vendors::start(config, None).unwrap()
}

fn client() -> Client {
    // awc wants to be told which cryptography to use, even where it uses none.
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .connector(Connector::new().limit(0))
        .max_http_version(awc::http::Version::HTTP_11)
        .timeout(Duration::from_secs(10))
        .finish()
}

type Socket = Framed<BoxedSocket, Codec>;

async fn listen(sim: &VendorsHandle, query: &str) -> Socket {
    let (response, socket) = client()
        .ws(format!("{}/v1/listen?{query}", sim.deepgram_url))
        .set_header("Authorization", "Token sim-key")
        .connect()
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("dg-request-id"));
    socket
}

async fn next(socket: &mut Socket) -> Option<Frame> {
    tokio::time::timeout(Duration::from_secs(10), socket.next())
        .await
        .expect("no frame in time")
        .and_then(Result::ok)
}

/// The next text message.
async fn message(socket: &mut Socket) -> Value {
    loop {
        match next(socket).await {
            Some(Frame::Text(text)) => return serde_json::from_slice(&text).unwrap(),
            Some(Frame::Ping(_) | Frame::Pong(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn send(socket: &mut Socket, text: &str) {
    socket.send(Message::Text(text.to_owned().into())).await.unwrap();
}

async fn speak(socket: &mut Socket, text: &str, silence_ms: usize) {
    let mut audio = render(text, &VoiceTone::CALLER);
    audio.extend(vec![0xFF; silence_ms * 8]);
    for frame in audio.chunks(160) {
        socket.send(Message::Binary(frame.to_vec().into())).await.unwrap();
    }
}

fn transcript(message: &Value) -> &str {
    message["channel"]["alternatives"][0]["transcript"].as_str().unwrap()
}

#[actix_web::test]
async fn what_is_spoken_is_transcribed_from_its_audio_alone() {
    let sim = start(|_| {});
    let mut socket = listen(&sim, TELEPHONY).await;
    speak(&mut socket, "I would like a haircut tomorrow", 1_500).await;
    let mut finals = Vec::new();
    let (mut started, mut interims, mut speech_final) = (false, 0, false);
    loop {
        let message = message(&mut socket).await;
        match message["type"].as_str().unwrap() {
            "SpeechStarted" => started = true,
            "UtteranceEnd" => break,
            "Results" if message["is_final"] == true => {
                speech_final |= message["speech_final"] == true;
                let words = message["channel"]["alternatives"][0]["words"].as_array().unwrap();
                assert_eq!(words.len(), transcript(&message).split_whitespace().count());
                finals.push(transcript(&message).to_owned());
            }
            "Results" => interims += usize::from(!transcript(&message).is_empty()),
            other => panic!("{other}"),
        }
    }
    finals.retain(|text| !text.is_empty());
    assert_eq!(finals.join(" "), "I would like a haircut tomorrow");
    assert!(started && speech_final && interims > 0);

    send(&mut socket, r#"{"type":"CloseStream"}"#).await;
    let mut last = message(&mut socket).await;
    while last["type"] == "Results" {
        last = message(&mut socket).await;
    }
    assert_eq!(last["type"], "Metadata");
    assert!(last["duration"].as_f64().unwrap() > 2.0);
    assert!(matches!(next(&mut socket).await, Some(Frame::Close(Some(r))) if r.code == CloseCode::Normal));
    assert_eq!(sim.violations(), []);
}

#[actix_web::test]
async fn a_handshake_that_deepgram_refuses_is_refused_with_its_reason() {
    let sim = start(|_| {});
    let good = format!("{}/v1/listen?{TELEPHONY}", sim.deepgram_url);
    let no_interim = good.replace("interim_results=true", "interim_results=false");
    for (url, authorization, status, code) in [
        (&good, "Token wrong", 401, "INVALID_AUTH"),
        (&good, "Bearer sim-key", 401, "INVALID_AUTH"),
        (&no_interim, "Token sim-key", 400, "INVALID_QUERY_PARAMETER"),
    ] {
        let mut response = client()
            .get(url)
            .insert_header(("Authorization", authorization))
            .insert_header(("Connection", "Upgrade"))
            .insert_header(("Upgrade", "websocket"))
            .insert_header(("Sec-WebSocket-Version", "13"))
            .insert_header(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        assert!(response.headers().contains_key("dg-error"));
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["err_code"], code);
    }
    assert_eq!(sim.violations().len(), 3);
}

#[actix_web::test]
async fn keep_alives_do_not_hold_a_fresh_socket() {
    let sim = start(|c| c.deepgram.listen.idle_timeout_ms = 80);
    let mut socket = listen(&sim, TELEPHONY).await;
    send(&mut socket, r#"{"type":"KeepAlive"}"#).await;
    let Some(Frame::Close(Some(reason))) = next(&mut socket).await else { panic!("not closed") };
    assert_eq!(reason.code, CloseCode::Error);
    assert!(reason.description.unwrap().contains("net0001"));
}

#[actix_web::test]
async fn an_unknown_message_is_answered_with_a_schema_error_and_an_empty_frame_ends_the_stream() {
    let sim = start(|_| {});
    let mut socket = listen(&sim, TELEPHONY).await;
    send(&mut socket, r#"{"type":"Nope"}"#).await;
    assert_eq!(message(&mut socket).await["variant"], "SchemaError");
    socket.send(Message::Binary(Bytes::new())).await.unwrap();
    assert_eq!(message(&mut socket).await["type"], "Metadata");
    assert_eq!(sim.violations().len(), 2);
}

#[actix_web::test]
async fn finalize_settles_what_was_said_so_far() {
    let sim = start(|_| {});
    let mut socket = listen(&sim, TELEPHONY).await;
    speak(&mut socket, "stop", 40).await;
    send(&mut socket, r#"{"type":"Finalize"}"#).await;
    loop {
        let message = message(&mut socket).await;
        if message["from_finalize"] == true {
            assert_eq!(transcript(&message), "stop");
            break;
        }
    }
}

#[actix_web::test]
async fn audio_faster_than_real_time_is_transcribed_late() {
    let sim = start(|c| c.deepgram.listen.burst_ms = 100);
    let mut socket = listen(&sim, TELEPHONY).await;
    let began = Clock::now();
    speak(&mut socket, "yes", 700).await;
    loop {
        let message = message(&mut socket).await;
        if message["speech_final"] == true {
            break;
        }
    }
    // "yes" and 300 ms of silence are at least 500 ms of audio: 400 ms of work, less the burst.
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
}

#[actix_web::test]
async fn a_listening_connection_is_cut_where_the_fault_says_and_on_demand() {
    let sim = start(|_| {});
    sim.faults.add(FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(1_600) }));
    let mut socket = listen(&sim, TELEPHONY).await;
    for _ in 0..20 {
        if socket.send(Message::Binary(vec![0xFF; 160].into())).await.is_err() {
            break;
        }
    }
    let end = next(&mut socket).await;
    assert!(end.is_none(), "{end:?}");

    let mut socket = listen(&sim, TELEPHONY).await;
    sim.faults.cut_now(Service::DeepgramListen);
    assert!(next(&mut socket).await.is_none());
}

#[actix_web::test]
async fn a_stalled_connection_stays_open_and_silent() {
    let sim = start(|_| {});
    sim.faults.add(FaultRule::once(Service::DeepgramListen, Fault::Stall { after: After::messages(0) }));
    let mut socket = listen(&sim, TELEPHONY).await;
    speak(&mut socket, "hello", 1_500).await;
    socket.send(Message::Ping(Bytes::from_static(b"x"))).await.unwrap();
    assert!(matches!(next(&mut socket).await, Some(Frame::Pong(_))), "nothing before the pong");
}

async fn deepgram_speak(sim: &VendorsHandle, query: &str, body: Value) -> (u16, String, Bytes) {
    let mut response = client()
        .post(format!("{}/v1/speak?{query}", sim.deepgram_url))
        .insert_header(("Authorization", "Token sim-key"))
        .send_json(&body)
        .await
        .unwrap();
    let kind = response.headers().get("content-type").map_or("", |v| v.to_str().unwrap()).to_owned();
    (response.status().as_u16(), kind, response.body().limit(4 << 20).await.unwrap())
}

#[actix_web::test]
async fn speak_gives_raw_mulaw_only_without_a_container() {
    let sim = start(|_| {});
    let raw = "model=aura-2-thalia-en&encoding=mulaw&sample_rate=8000&container=none";
    let (status, kind, audio) = deepgram_speak(&sim, raw, json!({"text": "Good morning."})).await;
    assert_eq!((status, kind.as_str()), (200, "audio/mulaw;rate=8000"));
    let heard: Vec<String> = Recogniser::new().feed(&audio).into_iter().map(|w| w.text).collect();
    assert_eq!(heard.join(" "), "Good morning.");
    assert_eq!(sim.violations(), []);

    let (_, _, wav) =
        deepgram_speak(&sim, &raw.replace("&container=none", ""), json!({"text": "Good morning."})).await;
    assert!(wav.starts_with(b"RIFF"));
    assert_eq!(sim.violations().len(), 1);
    for (query, body, wanted) in [
        (raw, json!({"text": ""}), 400),
        (raw, json!({"text": "x".repeat(3_000)}), 413),
        (raw, json!({"text": "a", "voice": "b"}), 400),
        ("model=aura-2-thalia-en&encoding=mulaw&sample_rate=44100&container=none", json!({"text": "a"}), 400),
        ("model=nova-3&encoding=mulaw&container=none", json!({"text": "a"}), 400),
    ] {
        assert_eq!(deepgram_speak(&sim, query, body).await.0, wanted, "{query}");
    }
}

async fn eleven(sim: &VendorsHandle, path: &str, key: &str, body: &str) -> (u16, String, Bytes) {
    let mut response = client()
        .post(format!("{}/v1/text-to-speech/{path}", sim.elevenlabs_url))
        .insert_header(("xi-api-key", key))
        .insert_header(("content-type", "application/json"))
        .send_body(body.to_owned())
        .await
        .unwrap();
    let kind = response.headers().get("content-type").map_or("", |v| v.to_str().unwrap()).to_owned();
    (response.status().as_u16(), kind, response.body().limit(4 << 20).await.unwrap())
}

const VOICE: &str = "21m00Tcm4TlvDq8ikWAM/stream";

#[actix_web::test]
async fn elevenlabs_speaks_in_the_format_of_the_query_and_mp3_otherwise() {
    let sim = start(|_| {});
    let body = r#"{"text":"Your table is booked.","model_id":"eleven_flash_v2_5"}"#;
    let ulaw = format!("{VOICE}?output_format=ulaw_8000");
    let (status, _, audio) = eleven(&sim, &ulaw, "sim-key", body).await;
    assert_eq!(status, 200);
    let heard: Vec<String> = Recogniser::new().feed(&audio).into_iter().map(|w| w.text).collect();
    assert_eq!(heard.join(" "), "Your table is booked.");
    assert_eq!(sim.violations(), []);

    let (_, kind, mp3) = eleven(&sim, VOICE, "sim-key", body).await;
    assert_eq!(kind, "audio/mpeg");
    assert!(mp3.starts_with(b"ID3"));
    let pcm = eleven(&sim, &format!("{VOICE}?output_format=pcm_16000"), "sim-key", body).await.2;
    assert_eq!(pcm.len(), audio.len() * 4);
}

#[actix_web::test]
async fn elevenlabs_refuses_what_breaks_its_rules() {
    let sim = start(|_| {});
    let ulaw = format!("{VOICE}?output_format=ulaw_8000");
    let text = |n: usize| json!({"text": "x".repeat(n), "model_id": "eleven_v3"}).to_string();
    let cases: Vec<(String, &str, String, u16, &str)> = vec![
        (ulaw.clone(), "wrong", r#"{"text":"a"}"#.into(), 401, "invalid_api_key"),
        ("x/stream".into(), "sim-k", r#"{"text":"a"}"#.into(), 404, "voice_not_found"),
        (
            format!("{VOICE}?output_format=mulaw"),
            "sim-k",
            r#"{"text":"a"}"#.into(),
            400,
            "invalid_output_format",
        ),
        (ulaw.clone(), "sim-k", "{".into(), 400, "malformed_json"),
        (ulaw.clone(), "sim-k", r#"{"text":" "}"#.into(), 400, "empty_text"),
        (ulaw.clone(), "sim-k", r#"{"text":"a","model_id":"eleven_v9"}"#.into(), 400, "unsupported_model"),
        (ulaw.clone(), "sim-k", text(3_001), 400, "text_too_long"),
        (
            ulaw.clone(),
            "sim-k",
            r#"{"text":"a","model_id":"eleven_turbo_v2","voice_settings":{"stability":2}}"#.into(),
            400,
            "invalid_voice_settings",
        ),
    ];
    for (path, key, body, status, code) in cases {
        let (got, _, answer) = eleven(&sim, &path, key, &body).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((got, answer["detail"]["code"].as_str()), (status, Some(code)), "{body}");
    }
    let (status, _, answer) = eleven(&sim, &ulaw, "sim-k", "{}").await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, answer["detail"][0]["loc"][1].as_str()), (422, Some("text")));
}

#[actix_web::test]
async fn elevenlabs_errors_can_have_the_older_form() {
    let sim = start(|c| c.elevenlabs.legacy_errors = true);
    sim.faults.add(FaultRule::once(
        Service::Elevenlabs,
        Fault::Refuse { status: 401, code: Some("quota_exceeded".into()) },
    ));
    let (status, _, answer) = eleven(&sim, VOICE, "sim-k", r#"{"text":"a"}"#).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(status, 401);
    assert_eq!(answer, json!({"detail": {"status": "quota_exceeded", "message": "Simulated failure."}}));
}

#[actix_web::test]
async fn elevenlabs_limits_requests_at_once() {
    let sim = start(|c| {
        c.elevenlabs.max_requests = Some(1);
        c.elevenlabs.timing.first_byte_ms = 5_000;
    });
    let body = r#"{"text":"a","model_id":"eleven_flash_v2_5"}"#;
    let first = client()
        .post(format!("{}/v1/text-to-speech/{VOICE}?output_format=ulaw_8000", sim.elevenlabs_url))
        .insert_header(("xi-api-key", "sim-key"))
        .insert_header(("content-type", "application/json"))
        .send_body(body)
        .await
        .unwrap();
    assert_eq!(first.status(), 200);
    let (status, _, answer) = eleven(&sim, VOICE, "sim-key", body).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, answer["detail"]["code"].as_str()), (429, Some("concurrent_limit_exceeded")));
    drop(first);
}

fn chat(more: Value) -> Value {
    let mut body = json!({"model": "gpt-4.1-mini", "messages": [
        {"role": "system", "content": "You are the receptionist."},
        {"role": "user", "content": "I would like a haircut tomorrow"}],
        "tools": [{"type": "function", "function": {"name": "check_availability",
            "parameters": {"type": "object", "properties": {"date": {"type": "string"}}}}}],
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

type Response = awc::ClientResponse;

async fn complete(sim: &VendorsHandle, body: &Value) -> Response {
    client()
        .post(format!("{}/chat/completions", sim.openai_url))
        .insert_header(("Authorization", "Bearer sim-key"))
        .send_json(body)
        .await
        .unwrap()
}

/// The events of a stream, and whether it ended well.
fn events(body: &[u8]) -> (Vec<Value>, bool) {
    let text = String::from_utf8_lossy(body);
    let events: Vec<&str> = text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).collect();
    let values = events.iter().filter_map(|e| serde_json::from_str(e).ok()).collect();
    (values, events.last() == Some(&"[DONE]"))
}

#[actix_web::test]
async fn the_model_streams_a_tool_call_and_speaks_of_its_result() {
    let sim = start(|c| c.openai.split_bytes = 7);
    let body = chat(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let mut response = complete(&sim, &body).await;
    assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
    let (values, done) = events(&response.body().await.unwrap());
    assert!(done);
    let calls: Vec<&Value> =
        values.iter().map(|v| &v["choices"][0]["delta"]["tool_calls"][0]).filter(|c| !c.is_null()).collect();
    let id = calls[0]["id"].as_str().unwrap();
    let arguments: String = calls.iter().filter_map(|c| c["function"]["arguments"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&arguments).unwrap()["date"], "tomorrow");
    assert_eq!(values.last().unwrap()["choices"], json!([]));

    let mut messages = body["messages"].as_array().unwrap().clone();
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
        "function": {"name": "check_availability", "arguments": arguments}}]}));
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "{\"slots\":[\"3 PM\"]}"}));
    let mut response = complete(&sim, &chat(json!({ "messages": messages }))).await;
    let whole: Value = response.json().await.unwrap();
    assert_eq!(
        whole["choices"][0]["message"]["content"],
        "For tomorrow I have 3 PM. Which one would you like?"
    );
    assert_eq!(sim.violations(), []);
    assert_eq!(sim.faults.seen(Service::Openai).len(), 2);
}

#[actix_web::test]
async fn a_broken_history_is_refused_and_written_down() {
    let sim = start(|_| {});
    let messages = json!([{"role": "user", "content": "x"},
        {"role": "tool", "tool_call_id": "a", "content": "{}"}]);
    let mut response = complete(&sim, &chat(json!({ "messages": messages }))).await;
    assert_eq!(response.status(), 400);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert!(sim.violations()[0].text.contains("preceeding message with 'tool_calls'"));
}

#[actix_web::test]
async fn model_faults_do_what_they_say() {
    let sim = start(|_| {});
    let service = Service::Openai;
    let stream = chat(json!({"stream": true}));
    sim.faults.add(FaultRule::once(service, Fault::RateLimit { retry_after_ms: Some(1_500) }));
    let response = complete(&sim, &stream).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers().get("retry-after").unwrap(), "2");
    assert_eq!(response.headers().get("retry-after-ms").unwrap(), "1500");

    let quota = Fault::Refuse { status: 429, code: Some("insufficient_quota".into()) };
    sim.faults.add(FaultRule::once(service, quota));
    let body: Value = complete(&sim, &stream).await.json().await.unwrap();
    assert_eq!(body["error"]["type"], "insufficient_quota");

    sim.faults.add(FaultRule::once(service, Fault::Malformed));
    let body = complete(&sim, &stream).await.body().await.unwrap();
    let (values, done) = events(&body);
    assert!(!done && values.len() == 1);

    sim.faults.add(FaultRule::once(service, Fault::Slow { ms: 60 }));
    let began = Clock::now();
    let mut response = complete(&sim, &stream).await;
    response.next().await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[actix_web::test]
async fn a_cut_body_ends_in_the_middle_of_its_chunks() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let sim = start(|_| {});
    sim.faults.add(FaultRule::once(Service::Openai, Fault::Cut { after: After::messages(2) }));
    let body = chat(json!({"stream": true})).to_string();
    let mut socket = tokio::net::TcpStream::connect(sim.address).await.unwrap();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sim-k\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The connection may end with a reset as well as with an orderly close.
    let _ = socket.read_to_string(&mut answer).await;
    assert_eq!(answer.matches("data: {").count(), 2, "{answer}");
    assert!(!answer.contains("\r\n0\r\n"), "the last chunk must not come");
    assert_eq!(sim.stats().openai.abandoned, 1);
}

#[actix_web::test]
async fn a_hanging_request_is_freed_when_the_client_gives_up() {
    let sim = start(|_| {});
    sim.faults.add(FaultRule::once(Service::Openai, Fault::Hang));
    let answer = client()
        .post(format!("{}/chat/completions", sim.openai_url))
        .insert_header(("Authorization", "Bearer sim-key"))
        .timeout(Duration::from_millis(100))
        .send_json(&chat(json!({})))
        .await;
    assert!(answer.is_err());
    let patience = Clock::now();
    while sim.stats().openai.in_flight > 0 {
        assert!(patience.elapsed() < Duration::from_secs(5), "still in flight");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sim.stats().openai.abandoned, 1);
}

#[actix_web::test]
async fn one_kept_connection_is_counted_once() {
    let sim = start(|_| {});
    let client = client();
    for _ in 0..3 {
        let mut response = client
            .post(format!("{}/chat/completions", sim.openai_url))
            .insert_header(("Authorization", "Bearer sim-key"))
            .send_json(&chat(json!({})))
            .await
            .unwrap();
        response.body().await.unwrap();
    }
    let stats = sim.stats().openai;
    assert_eq!((stats.connections, stats.requests, stats.finished), (1, 3, 3));
}

async fn twilio(
    sim: &VendorsHandle,
    method: &str,
    path: &str,
    secret: &str,
    form: &[(&str, &str)],
) -> (u16, Value) {
    let request = client()
        .request(method.parse().unwrap(), format!("{}/2010-04-01/Accounts/{ACCOUNT}/{path}", sim.twilio_url))
        .basic_auth(ACCOUNT, secret);
    let mut response =
        if method == "POST" { request.send_form(&form).await } else { request.send().await }.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[actix_web::test]
async fn a_call_is_created_changed_and_ended_and_its_listener_learns_of_it() {
    let sim = start(|_| {});
    let mut created = sim.calls.created();
    let form = [("To", "+12025550143"), ("From", "+12025550100"), ("Url", "https://a.example/voice")];
    let (status, call) = twilio(&sim, "POST", "Calls.json", "sim-token", &form).await;
    assert_eq!((status, call["status"].as_str()), (201, Some("queued")));
    let sid = call["sid"].as_str().unwrap();
    assert_eq!(created.recv().await.unwrap().parameter("Url"), Some("https://a.example/voice"));

    let path = format!("Calls/{sid}.json");
    let twiml = [("Twiml", "<Response><Say>One moment.</Say></Response>")];
    let (status, refused) = twilio(&sim, "POST", &path, "sim-token", &twiml).await;
    assert_eq!((status, refused["code"].as_u64()), (400, Some(21220)), "not answered yet");

    let mut updates = sim.calls.subscribe(sid);
    sim.calls.set_status(sid, "in-progress");
    assert_eq!(twilio(&sim, "POST", &path, "sim-token", &twiml).await.0, 200);
    let (_, listed) =
        twilio(&sim, "GET", "Calls.json?Status=in-progress&PageSize=20", "sim-token", &[]).await;
    assert_eq!(listed["calls"][0]["sid"], sid);
    assert_eq!(twilio(&sim, "POST", &path, "sim-token", &[("Status", "completed")]).await.0, 200);
    assert!(matches!(updates.recv().await, Some(twilio_calls::CallUpdate::Twiml { .. })));
    assert_eq!(updates.recv().await, Some(twilio_calls::CallUpdate::Completed));

    let again = twilio(&sim, "POST", &path, "sim-token", &[("Status", "completed")]).await;
    assert_eq!((again.0, again.1["code"].as_u64()), (400, Some(21220)));
    assert_eq!(twilio(&sim, "GET", &path, "sim-token", &[]).await.1["status"], "completed");
    assert_eq!(sim.violations(), []);
}

#[actix_web::test]
async fn twilio_refuses_what_breaks_its_rules() {
    let sim = start(|_| {});
    let ok = ("From", "+12025550100");
    let url = ("Url", "https://a.example/x");
    let cases: [(&[(&str, &str)], u64); 6] = [
        (&[ok, url], 21201),
        (&[("To", "12025550143"), ok, url], 21211),
        (&[("To", "+12025550143"), url], 21212),
        (&[("To", "+12025550143"), ok], 21205),
        (&[("To", "+12025550143"), ok, ("Url", "/voice")], 21205),
        (&[("To", "+15005550002"), ok, url], 21214),
    ];
    for (form, code) in cases {
        let (status, body) = twilio(&sim, "POST", "Calls.json", "sim-token", form).await;
        assert_eq!((status, body["code"].as_u64()), (400, Some(code)), "{form:?}");
    }
    assert_eq!(twilio(&sim, "POST", "Calls.json", "wrong", &[]).await.0, 401);
    let missing = "Calls/CA00000000000000000000000000000000.json";
    assert_eq!(twilio(&sim, "GET", missing, "sim-token", &[]).await.1["code"], 20404);
}

#[actix_web::test]
async fn faults_counters_and_the_brain_are_reached_over_http() {
    let sim = start(|_| {});
    let base = format!("http://{}/_sim", sim.address);
    let rule = json!({"service": "openai", "fault": {"kind": "refuse", "status": 503}, "times": 1});
    assert_eq!(client().post(format!("{base}/faults")).send_json(&rule).await.unwrap().status(), 200);
    assert_eq!(complete(&sim, &chat(json!({}))).await.status(), 503);
    let mode = json!({"mode": "fixed", "text": "Always the same."});
    assert_eq!(client().post(format!("{base}/brain")).send_json(&mode).await.unwrap().status(), 204);
    let whole: Value = complete(&sim, &chat(json!({}))).await.json().await.unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "Always the same.");
    let stats: Value = client().get(format!("{base}/stats")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&stats["openai"]["requests"], &stats["openai"]["faults"]), (&json!(2), &json!(1)));
}

#[actix_web::test]
async fn model_lists_and_projects_answer_their_own_keys() {
    let sim = start(|_| {});
    let get = |path: &'static str, header: (&'static str, &'static str)| {
        let request = client().get(format!("{}{path}", sim.deepgram_url)).insert_header(header);
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    assert_eq!(get("/v1/models", ("Authorization", "Bearer sim-k")).await["object"], "list");
    assert!(get("/v1/models", ("xi-api-key", "sim-k")).await[0]["model_id"].is_string());
    assert!(get("/v1/projects", ("Authorization", "Token sim-k")).await["projects"].is_array());
}

#[test]
fn stopping_frees_the_port() {
    let sim = start(|_| {});
    let address = sim.address;
    sim.stop();
    std::net::TcpListener::bind(address).unwrap();
}

#[actix_web::test]
async fn a_list_of_calls_is_filtered_and_its_further_pages_are_reached_by_its_links_only() {
    let sim = start(|_| {});
    let today = jiff::Timestamp::now();
    for (n, parent) in [(1, None), (2, None), (3, None), (4, Some("CA1"))] {
        sim.calls.register(
            serde_json::from_value(json!({
                "sid": format!("CA{n}"), "from": "+12025550143", "to": "+12025550100", "status": "in-progress",
                "parent_call_sid": parent, "created_ms": today.as_millisecond(),
            }))
            .unwrap(),
        );
    }
    sim.calls.set_status("CA2", "completed");
    let list = async |query: &str| {
        let (status, body) = twilio(&sim, "GET", &format!("Calls.json?{query}"), "sim-token", &[]).await;
        let calls = body["calls"].as_array().cloned().unwrap_or_default();
        let sids: Vec<String> = calls.iter().map(|call| call["sid"].as_str().unwrap().to_owned()).collect();
        (status, sids, body)
    };
    assert_eq!(list("Status=in-progress").await.1, ["CA4", "CA3", "CA1"]);
    assert_eq!(list("Status=completed").await.1, ["CA2"]);
    let (_, legs, body) = list("ParentCallSid=CA1").await;
    assert_eq!((legs, body["calls"][0]["parent_call_sid"].as_str()), (vec!["CA4".to_owned()], Some("CA1")));
    let day = today.to_zoned(jiff::tz::TimeZone::UTC).date();
    let (before, after) = (day.yesterday().unwrap(), day.tomorrow().unwrap());
    for (query, found) in [
        (format!("StartTime={day}"), 4),
        (format!("StartTime%3E={day}"), 4),
        (format!("StartTime%3C={before}"), 0),
        (format!("StartTime%3E={before}&StartTime%3C={after}"), 4),
        (format!("StartTime%3E={after}"), 0),
    ] {
        assert_eq!(list(&query).await.1.len(), found, "{query}");
    }
    let (_, first, body) = list("Status=in-progress&PageSize=2").await;
    assert_eq!(first, ["CA4", "CA3"]);
    let next = body["next_page_uri"].as_str().unwrap();
    let (_, query) = next.split_once('?').unwrap();
    let (_, second, body) = list(query).await;
    assert_eq!((second, &body["next_page_uri"]), (vec!["CA1".to_owned()], &Value::Null));
    assert_eq!(sim.violations(), []);
    for wrong in ["Status=live", "PageSize=2&Page=1", "StartTime=soon"] {
        assert_eq!(list(wrong).await.0, 400, "{wrong}");
    }
}
