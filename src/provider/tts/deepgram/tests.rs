use super::client::DeepgramVoice;
use super::wire;
use crate::config::stt::SttConfig;
use crate::config::tts::TtsConfig;
use crate::provider::ProviderErrorKind as Kind;
use crate::provider::http;
use crate::provider::tts::TtsVoice;
use crate::provider::tts::testing::{
    Step, answer, chunk, chunked, error_fixtures, hear, last_chunk, parts, replay, serve,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;

const ERRORS: &str = include_str!("../../../../tests/fixtures/deepgram/http_errors.jsonl");
const OK: &str = include_str!("../../../../tests/fixtures/deepgram/tts_rest_response.json");

fn voice(base: &str) -> DeepgramVoice {
    let stt =
        SttConfig { base_url: base.into(), api_key: "secret-key".to_owned().into(), ..SttConfig::default() };
    let tts = TtsConfig { first_audio_ms: 1_500, gap_ms: 1_000, ..TtsConfig::default() };
    let clients = http::build(&http::VendorTls::new(None).unwrap(), Duration::from_secs(1));
    DeepgramVoice::new(Rc::new(stt), Rc::new(tts), clients.http)
}

#[test]
fn every_recorded_refusal_is_understood() {
    let rows = error_fixtures(ERRORS);
    assert!(rows.len() > 20);
    for row in rows {
        let (status, retry_after, body) = parts(&row);
        let error = wire::refusal(status, retry_after, &body);
        assert_eq!(error.is_retryable(), row["expect"]["retryable"].as_bool().unwrap(), "{row}");
    }
}

#[test]
fn codes_of_all_three_families_come_in_one_spelling() {
    let expected = [
        ("bad_json", Kind::Refused, "invalid_json"),
        ("bad_key", Kind::Auth, "invalid_auth"),
        ("no_credits", Kind::Quota, "asr_payment_required"),
        ("plain_text_404", Kind::Refused, "http_404"),
        ("rate_tts", Kind::RateLimited { retry_after: None }, "too_many_requests"),
        ("rate_stt", Kind::RateLimited { retry_after: None }, "too_many_requests"),
        ("unavailable_odd_key", Kind::Server, "service_unavailable"),
        ("timeout_408", Kind::Timeout, "http_408"),
    ];
    let rows = error_fixtures(ERRORS);
    for (name, kind, code) in expected {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        let (status, retry_after, body) = parts(row);
        let error = wire::refusal(status, retry_after, &body);
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{name}");
    }
}

#[test]
fn a_long_text_is_cut_where_it_hurts_least() {
    let table: &[(&str, usize, &[&str])] = &[
        ("", 10, &[]),
        ("   ", 10, &[]),
        ("Short.", 10, &["Short."]),
        ("One two. Three four five.", 16, &["One two.", "Three four five."]),
        ("A. Bcd efg hij klm", 12, &["A. Bcd efg", "hij klm"]),
        ("abcdefghij", 4, &["abcd", "efgh", "ij"]),
        ("ääääää ö", 6, &["ääääää", "ö"]),
    ];
    for (text, max, pieces) in table {
        assert_eq!(wire::split(text, *max), *pieces, "{text}");
    }
}

proptest! {
    #[test]
    fn no_word_is_lost_by_cutting(text in "[a-zä.!? —]{0,200}", max in 1usize..40) {
        let pieces = wire::split(&text, max);
        prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.chars().count() <= max));
        let letters = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        prop_assert_eq!(letters(&pieces.concat()), letters(&text));
    }
}

#[actix::test]
async fn a_recorded_answer_comes_through_byte_for_byte() {
    let fixture: Value = serde_json::from_str(OK).unwrap();
    let (_, audio) = replay(&fixture);
    let (base, seen) = serve(move |_| replay(&fixture).0).await;
    let heard = hear(voice(&base).speak("Your table is booked.".into()).await).await;
    assert_eq!(heard, (audio, None));
    let (head, body) = seen.requests.borrow()[0].clone();
    let line = "POST /v1/speak?model=aura-asteria-en&encoding=mulaw&sample_rate=8000&container=none HTTP/1.1";
    assert!(head.starts_with(line), "{head}");
    assert!(head.to_ascii_lowercase().contains("authorization: token secret-key"), "{head}");
    assert_eq!(body, json!({"text": "Your table is booked."}));
}

#[actix::test]
async fn a_wav_header_is_refused_before_it_is_heard_as_a_click() {
    let (base, _) =
        serve(|_| answer(200, "content-type: audio/mulaw;rate=8000\r\n", b"RIFF....WAVEfmt ")).await;
    let error = voice(&base).speak("Hello.".into()).await.err().unwrap();
    assert_eq!((error.kind, error.code.as_str()), (Kind::Protocol, "format_mismatch"));
}

#[actix::test]
async fn a_long_text_is_one_stream_of_several_requests() {
    let (base, seen) = serve(|number| {
        let audio = [u8::try_from(number).unwrap() + 0x80; 200];
        vec![chunked("audio/mulaw"), chunk(&audio), last_chunk()]
    })
    .await;
    let text = "A sentence of forty characters, or so it. ".repeat(60);
    let (audio, error) = hear(voice(&base).speak(text).await).await;
    let requests = seen.requests.borrow();
    assert_eq!((error, requests.len(), audio.len()), (None, 3, 600));
    assert!(audio.is_sorted(), "in order");
    assert!(requests.iter().all(|(_, body)| body["text"].as_str().unwrap().chars().count() <= 1_000));
    assert_eq!(seen.connections.get(), 1);
}

#[actix::test]
async fn a_refusal_in_the_middle_of_a_long_text_ends_the_stream() {
    let (base, seen) = serve(|number| match number {
        0 => vec![chunked("audio/mulaw"), chunk(&[0xFF; 200]), last_chunk()],
        _ => answer(503, "", b""),
    })
    .await;
    let (audio, error) = hear(voice(&base).speak("Many words. ".repeat(300)).await).await;
    assert_eq!((audio.len(), error.unwrap().code.as_str()), (200, "http_503"));
    assert_eq!(seen.requests.borrow().len(), 2, "nothing is asked for after a failure");
}

#[actix::test]
async fn hangs_time_out() {
    let (base, _) = serve(|number| match number {
        0 => vec![Step::Hang],
        _ => vec![chunked("audio/mulaw"), chunk(&[0xFF; 200]), Step::Hang],
    })
    .await;
    let voice = voice(&base);
    assert_eq!(voice.speak("Hello.".into()).await.err().unwrap().code, "first_audio_timeout");
    let (audio, error) = hear(voice.speak("Hello.".into()).await).await;
    assert_eq!((audio.len(), error.unwrap().code.as_str()), (200, "gap_timeout"));
}

#[actix::test]
async fn an_empty_text_asks_nobody() {
    let (base, seen) = serve(|_| vec![Step::Close]).await;
    assert_eq!(voice(&base).speak("  ".into()).await.err().unwrap().code, "empty_text");
    assert_eq!(seen.requests.borrow().len(), 0);
}

#[actix::test]
async fn a_warm_connection_serves_the_first_sentence() {
    let (base, seen) = serve(|number| match number {
        0 => answer(401, "", b"{}"),
        _ => vec![chunked("audio/mulaw"), chunk(&[0xFF; 320]), last_chunk()],
    })
    .await;
    let voice = voice(&base);
    voice.warm().await;
    assert!(seen.requests.borrow()[0].0.starts_with("GET /v1/projects "));
    assert_eq!(hear(voice.speak("Hello.".into()).await).await.0.len(), 320);
    assert_eq!(seen.connections.get(), 1);
}
