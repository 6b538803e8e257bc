use super::client::{ElevenLabsVoice, PcmFactory};
use super::wire;
use crate::config::tts::TtsConfig;
use crate::provider::ProviderErrorKind as Kind;
use crate::provider::http;
use crate::provider::tts::TtsVoice;
use crate::provider::tts::testing::{
    Step, answer, chunk, chunked, error_fixtures, hear, last_chunk, parts, replay, serve,
};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;

const ERRORS: &str = include_str!("../../../../tests/fixtures/elevenlabs/http_errors.jsonl");
const OK: &str = include_str!("../../../../tests/fixtures/elevenlabs/http_stream_ok.json");
const WRONG: &str = include_str!("../../../../tests/fixtures/elevenlabs/http_stream_wrong_format.json");

fn config(base: &str) -> TtsConfig {
    TtsConfig {
        base_url: base.into(),
        api_key: "secret-key".to_owned().into(),
        voice_id: "VOICE".into(),
        first_audio_ms: 1_500,
        gap_ms: 1_000,
        ..TtsConfig::default()
    }
}

fn voice(config: TtsConfig) -> ElevenLabsVoice {
    // Every second byte stands for a conversion; the flush is told by a byte of its own.
    let pcm: PcmFactory = Rc::new(|rate| {
        assert_eq!(rate, 16_000);
        Box::new(|samples: &[u8]| {
            assert_eq!(samples.len() % 2, 0, "whole samples only");
            if samples.is_empty() { vec![0xEE] } else { samples.chunks(2).map(|s| s[0]).collect() }
        })
    });
    let clients = http::build(&http::VendorTls::new(None).unwrap(), Duration::from_secs(1));
    ElevenLabsVoice::new(Rc::new(config), clients.http, pcm)
}

#[test]
fn every_recorded_refusal_is_understood() {
    let rows = error_fixtures(ERRORS);
    assert!(rows.len() > 15);
    for row in rows {
        let (status, retry_after, body) = parts(&row);
        let error = wire::refusal(status, retry_after, &body);
        assert_eq!(error.is_retryable(), row["expect"]["retryable"].as_bool().unwrap(), "{row}");
        match row["expect"]["code"].as_str() {
            Some(code) => assert_eq!(error.code, code),
            None => assert_eq!(error.code, format!("http_{status}")),
        }
    }
}

#[test]
fn an_empty_account_is_told_from_a_bad_key_by_its_code() {
    let expected = [
        ("legacy_quota_as_401", Kind::Quota),
        ("new_no_credits", Kind::Quota),
        ("legacy_bad_key", Kind::Auth),
        ("new_bad_key", Kind::Auth),
        ("new_voice_denied", Kind::Refused),
        ("validation_array", Kind::Refused),
        ("new_rate", Kind::RateLimited { retry_after: Some(Duration::from_secs(1)) }),
        ("system_busy", Kind::RateLimited { retry_after: None }),
        ("gateway_html", Kind::Server),
    ];
    let rows = error_fixtures(ERRORS);
    for (name, kind) in expected {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        let (status, retry_after, body) = parts(row);
        assert_eq!(wire::refusal(status, retry_after, &body).kind, kind, "{name}");
    }
}

#[test]
fn a_code_that_is_prose_or_rubbish_is_not_a_code() {
    for detail in [json!({"code": "what a long story"}), json!({"code": 7}), json!({"code": ""}), json!(null)]
    {
        let body = json!({ "detail": detail }).to_string();
        assert_eq!(wire::refusal(400, None, body.as_bytes()).code, "http_400");
    }
}

#[test]
fn the_language_goes_only_to_models_that_take_one() {
    let body = |model| serde_json::from_slice::<Value>(&wire::body("Hi", model, Some("en"))).unwrap();
    assert_eq!(body("eleven_turbo_v2"), json!({"text": "Hi", "model_id": "eleven_turbo_v2"}));
    assert_eq!(body("eleven_flash_v2_5")["language_code"], "en");
}

#[actix::test]
async fn a_recorded_answer_comes_through_byte_for_byte() {
    let fixture: Value = serde_json::from_str(OK).unwrap();
    let (_, audio) = replay(&fixture["response"]);
    let (base, seen) = serve(move |_| replay(&fixture["response"]).0).await;
    let heard = hear(voice(config(&base)).speak("Your table is booked.".into()).await).await;
    assert_eq!(heard, (audio, None));
    let (head, body) = seen.requests.borrow()[0].clone();
    assert!(
        head.starts_with("POST /v1/text-to-speech/VOICE/stream?output_format=ulaw_8000 HTTP/1.1"),
        "{head}"
    );
    assert!(head.to_ascii_lowercase().contains("xi-api-key: secret-key"), "{head}");
    assert_eq!(body, json!({"text": "Your table is booked.", "model_id": "eleven_turbo_v2"}));
}

#[actix::test]
async fn mp3_is_refused_before_any_of_it_is_heard() {
    let fixture: Value = serde_json::from_str(WRONG).unwrap();
    let (base, _) = serve(move |number| {
        if number == 0 {
            return replay(&fixture["response"]).0;
        }
        vec![chunked("application/octet-stream"), chunk(b"I"), chunk(b"D3\x04\x00"), last_chunk()]
    })
    .await;
    let voice = voice(config(&base));
    for _ in 0..2 {
        let error = voice.speak("Hello.".into()).await.err().unwrap();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Protocol, "format_mismatch"));
    }
}

#[actix::test]
async fn a_refusal_and_an_empty_answer_are_failures() {
    let busy = r#"{"detail":{"status":"system_busy","message":"later"}}"#;
    let (base, seen) = serve(move |number| match number {
        0 => answer(429, "retry-after: 3\r\n", busy.as_bytes()),
        1 => answer(200, "content-type: application/json\r\n", b"{\"detail\":\"x\"}"),
        _ => answer(200, "content-type: audio/basic\r\n", b""),
    })
    .await;
    let voice = voice(config(&base));
    let error = voice.speak("Hello.".into()).await.err().unwrap();
    assert_eq!(error.kind, Kind::RateLimited { retry_after: Some(Duration::from_secs(3)) });
    let error = voice.speak("Hello.".into()).await.err().unwrap();
    assert_eq!(error.code, "not_audio");
    let error = voice.speak("Hello.".into()).await.err().unwrap();
    assert_eq!(error.code, "empty_audio");
    assert_eq!(seen.requests.borrow().len(), 3);
}

#[actix::test]
async fn a_hang_before_the_head_and_before_the_first_byte_times_out() {
    let (base, _) = serve(|number| match number {
        0 => vec![Step::Hang],
        _ => vec![chunked("audio/basic"), Step::Hang],
    })
    .await;
    let voice = voice(config(&base));
    for _ in 0..2 {
        let error = voice.speak("Hello.".into()).await.err().unwrap();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Timeout, "first_audio_timeout"));
    }
}

#[actix::test]
async fn a_hang_and_a_cut_in_the_middle_end_the_stream_with_a_failure() {
    let (base, _) = serve(|number| match number {
        0 => vec![chunked("audio/basic"), chunk(&[0xFF; 700]), Step::Hang],
        _ => vec![chunked("audio/basic"), chunk(&[0xFF; 700]), Step::Close],
    })
    .await;
    let voice = voice(config(&base));
    let (audio, error) = hear(voice.speak("Hello.".into()).await).await;
    assert_eq!((audio.len(), error.unwrap().code.as_str()), (700, "gap_timeout"));
    let (audio, error) = hear(voice.speak("Hello.".into()).await).await;
    assert_eq!((audio.len(), error.unwrap().code.as_str()), (700, "body_cut"));
}

#[actix::test]
async fn pcm_is_converted_without_ever_splitting_a_sample() {
    let (base, seen) = serve(|_| {
        vec![
            chunked("audio/pcm"),
            chunk(&[1, 0, 2, 0, 3]),
            chunk(&[0]),
            chunk(&[4]),
            chunk(&[0, 5, 0, 6]),
            last_chunk(),
        ]
    })
    .await;
    let config = TtsConfig { output_format: "pcm_16000".into(), ..config(&base) };
    let heard = hear(voice(config).speak("Hello.".into()).await).await;
    assert_eq!(heard, (vec![1, 2, 3, 4, 5, 0xEE], None), "half of a sixth sample is dropped");
    assert!(seen.requests.borrow()[0].0.contains("output_format=pcm_16000"));
}

#[actix::test]
async fn a_warm_connection_serves_all_sentences() {
    let (base, seen) = serve(|number| match number {
        0 => answer(200, "content-type: application/json\r\n", &[b' '; 9_000]),
        _ => vec![chunked("audio/basic"), chunk(&[0xFF; 320]), last_chunk()],
    })
    .await;
    let voice = voice(config(&base));
    voice.warm().await;
    assert!(seen.requests.borrow()[0].0.starts_with("GET /v1/models "));
    for _ in 0..3 {
        assert_eq!(hear(voice.speak("Hello.".into()).await).await.0.len(), 320);
    }
    assert_eq!((seen.requests.borrow().len(), seen.connections.get()), (4, 1));
}

#[actix::test]
async fn dropping_the_stream_cancels_the_request_and_leaves_the_voice_usable() {
    let (base, seen) = serve(|number| match number {
        0 => vec![chunked("audio/basic"), chunk(&[0xFF; 320]), Step::Hang],
        _ => vec![chunked("audio/basic"), chunk(&[0x7F; 160]), last_chunk()],
    })
    .await;
    let voice = voice(config(&base));
    drop(voice.speak("Hello.".into()).await.unwrap());
    assert_eq!(hear(voice.speak("Again.".into()).await).await, (vec![0x7F; 160], None));
    assert_eq!(seen.connections.get(), 2);
}
