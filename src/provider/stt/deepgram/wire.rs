//! Deepgram's live protocol v1 as bytes: the address, the messages of both sides, close codes and refusals.
//!
//! Total: a message that is unknown, sparse or broken is no message; every number is made finite.

use crate::config::stt::SttConfig;
use crate::provider::stt::{SttMessage, SttWord};
use crate::provider::{ProviderError, ProviderErrorKind};
use serde::Deserialize;
use std::time::Duration;

/// The vendor's name in errors.
pub(super) const VENDOR: &str = "deepgram";
/// Keeps an idle connection open; a text frame (an empty binary frame would close it).
pub(super) const KEEP_ALIVE: &str = r#"{"type":"KeepAlive"}"#;
/// Asks for what is buffered to be settled.
pub(super) const FINALIZE: &str = r#"{"type":"Finalize"}"#;
/// Announces the end of the audio.
pub(super) const CLOSE_STREAM: &str = r#"{"type":"CloseStream"}"#;

/// No time on a connection lies beyond this, s: keeps hostile numbers out of arithmetic.
const LATEST: f64 = 1.0e7;
/// Longest vendor code taken over, characters.
const CODE_LIMIT: usize = 64;

/// The address of a connection with its settings, or nothing if the base is no HTTP address.
pub(super) fn address(config: &SttConfig) -> Option<String> {
    let base = config.base_url.trim().trim_end_matches('/');
    let rest = |scheme: &str| {
        base.get(..scheme.len())
            .filter(|head| head.eq_ignore_ascii_case(scheme))
            .and_then(|_| base.get(scheme.len()..))
    };
    let (scheme, host) = if let Some(host) = rest("https://").or_else(|| rest("wss://")) {
        ("wss", host)
    } else {
        ("ws", rest("http://").or_else(|| rest("ws://"))?)
    };
    if host.is_empty() {
        return None;
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("model", &config.model)
        .append_pair("language", &config.language)
        .append_pair("encoding", "mulaw")
        .append_pair("sample_rate", "8000")
        .append_pair("channels", "1")
        .append_pair("interim_results", "true")
        .append_pair("endpointing", &config.endpointing_ms.to_string())
        .append_pair("utterance_end_ms", &config.utterance_end_ms.to_string())
        .append_pair("vad_events", "true")
        .append_pair("punctuate", flag(config.punctuate))
        .append_pair("numerals", flag(config.numerals))
        .append_pair("smart_format", flag(config.smart_format));
    Some(format!("{scheme}://{host}/v1/listen?{}", query.finish()))
}

fn flag(on: bool) -> &'static str {
    if on { "true" } else { "false" }
}

/// A message of the recogniser's and the audio channel it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The channel; 0 where the message does not say.
    pub channel: u32,
    /// The message.
    pub message: SttMessage,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct WireResults {
    channel_index: Option<Vec<u32>>,
    start: Option<f64>,
    duration: Option<f64>,
    is_final: Option<bool>,
    speech_final: Option<bool>,
    from_finalize: Option<bool>,
    channel: Option<WireChannel>,
}

#[derive(Deserialize)]
struct WireChannel {
    alternatives: Option<Vec<WireAlternative>>,
}

#[derive(Deserialize)]
struct WireAlternative {
    transcript: Option<String>,
    words: Option<Vec<WireWord>>,
}

#[derive(Deserialize)]
struct WireWord {
    word: Option<String>,
    punctuated_word: Option<String>,
    start: Option<f64>,
    end: Option<f64>,
}

#[derive(Deserialize)]
struct WireMark {
    channel: Option<Vec<u32>>,
    timestamp: Option<f64>,
    last_word_end: Option<f64>,
}

#[derive(Deserialize)]
struct WireError {
    variant: Option<String>,
    code: Option<String>,
}

fn seconds(value: Option<f64>) -> f64 {
    value.filter(|s| s.is_finite()).map_or(0.0, |s| s.clamp(0.0, LATEST))
}

fn channel(index: Option<Vec<u32>>) -> u32 {
    index.and_then(|list| list.first().copied()).unwrap_or(0)
}

/// Reads one text message; nothing if it carries nothing for us.
pub fn parse(text: &[u8]) -> Option<Parsed> {
    let kind: Kind<'_> = serde_json::from_slice(text).ok()?;
    match kind.kind.as_ref() {
        "Results" => results(serde_json::from_slice(text).ok()?),
        "SpeechStarted" => {
            let mark: WireMark = serde_json::from_slice(text).ok()?;
            Some(Parsed {
                channel: channel(mark.channel),
                message: SttMessage::SpeechStarted { at: seconds(mark.timestamp) },
            })
        }
        "UtteranceEnd" => {
            let mark: WireMark = serde_json::from_slice(text).ok()?;
            // -1 stands for "not known".
            let end = mark.last_word_end.filter(|s| s.is_finite() && *s >= 0.0);
            Some(Parsed {
                channel: channel(mark.channel),
                message: SttMessage::UtteranceEnd { last_word_end: end.map(|s| s.min(LATEST)) },
            })
        }
        "Error" => {
            let error: WireError = serde_json::from_slice(text).ok()?;
            let code = error.variant.or(error.code).unwrap_or_else(|| "error".to_owned());
            Some(Parsed {
                channel: 0,
                message: SttMessage::Warning { code: code.chars().take(CODE_LIMIT).collect() },
            })
        }
        _ => None,
    }
}

fn results(wire: WireResults) -> Option<Parsed> {
    let best = wire.channel.and_then(|c| c.alternatives).and_then(|list| list.into_iter().next());
    let (transcript, words) = best.map_or_else(Default::default, |best| {
        (best.transcript.unwrap_or_default(), best.words.unwrap_or_default())
    });
    let words = words
        .into_iter()
        .filter_map(|word| {
            let text = word.punctuated_word.or(word.word)?;
            let start = seconds(word.start);
            Some(SttWord { text, start, end: seconds(word.end).max(start) })
        })
        .collect();
    let is_final = wire.is_final.unwrap_or(false);
    Some(Parsed {
        channel: channel(wire.channel_index),
        message: SttMessage::Results {
            start: seconds(wire.start),
            duration: seconds(wire.duration),
            is_final,
            speech_final: is_final && wire.speech_final.unwrap_or(false),
            from_finalize: is_final && wire.from_finalize.unwrap_or(false),
            transcript,
            words,
        },
    })
}

/// What a close of the connection means; nothing for the orderly end.
///
/// The reason is prose with a link (`… See https://dpgr.am/net0001`): only its token is looked for.
pub(super) fn closed(code: Option<u16>, reason: &str) -> Option<ProviderError> {
    if code == Some(1000) {
        return None;
    }
    let reason = reason.to_ascii_lowercase();
    let tokens = [
        ("data-0000", "data0000", ProviderErrorKind::Protocol),
        ("net-0000", "net0000", ProviderErrorKind::Closed),
        ("net-0001", "net0001", ProviderErrorKind::Closed),
    ];
    for (token, bare, kind) in tokens {
        if reason.contains(token) || reason.contains(bare) {
            return Some(ProviderError::new(VENDOR, kind, token));
        }
    }
    Some(match code {
        None | Some(1001 | 1005 | 1006) => ProviderError::new(VENDOR, ProviderErrorKind::Closed, "closed"),
        // What was sent is not what the connection was opened for: the next one would end the same way.
        Some(code @ (1003 | 1007 | 1008 | 1009)) => {
            ProviderError::new(VENDOR, ProviderErrorKind::Protocol, format!("close_{code}"))
        }
        Some(code @ 1011) => ProviderError::new(VENDOR, ProviderErrorKind::Server, format!("close_{code}")),
        Some(code) => ProviderError::new(VENDOR, ProviderErrorKind::Closed, format!("close_{code}")),
    })
}

/// What a refused handshake means: the status decides, the text beside it is for the log.
pub(super) fn refused(status: u16, retry_after: Option<Duration>) -> ProviderError {
    let kind = match status {
        401 | 403 => ProviderErrorKind::Auth,
        402 => ProviderErrorKind::Quota,
        408 | 499 => ProviderErrorKind::Timeout,
        429 => ProviderErrorKind::RateLimited { retry_after },
        400..=498 => ProviderErrorKind::Refused,
        500..=599 => ProviderErrorKind::Server,
        _ => ProviderErrorKind::Protocol,
    };
    ProviderError::new(VENDOR, kind, format!("http_{status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn fixture(name: &str) -> String {
        let path = format!("{}/tests/fixtures/deepgram/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_address_carries_the_telephony_settings_and_the_scheme_of_the_base() {
        let config = SttConfig { base_url: "http://127.0.0.1:9/x/".into(), ..SttConfig::default() };
        assert_eq!(
            address(&config).unwrap(),
            "ws://127.0.0.1:9/x/v1/listen?model=nova-2&language=en-US&encoding=mulaw&sample_rate=8000&channels=1\
             &interim_results=true&endpointing=300&utterance_end_ms=1000&vad_events=true&punctuate=true\
             &numerals=true&smart_format=false"
        );
        assert!(address(&SttConfig::default()).unwrap().starts_with("wss://api.deepgram.com/v1/listen?"));
        for base in ["", "https://", "ftp://x", "é"] {
            assert_eq!(address(&SttConfig { base_url: base.into(), ..SttConfig::default() }), None, "{base}");
        }
    }

    #[test]
    fn sparse_and_unknown_messages_survive() {
        let parsed: Vec<_> =
            fixture("live_unknown_and_sparse.jsonl").lines().map(|l| parse(l.as_bytes())).collect();
        assert_eq!(parsed.iter().filter(|p| p.is_some()).count(), 3);
        assert_eq!(parsed[3].as_ref().unwrap().message, SttMessage::Warning { code: "SchemaError".into() });
        let SttMessage::Results { is_final, transcript, .. } = &parsed[4].as_ref().unwrap().message else {
            panic!("not results")
        };
        assert!(!is_final && transcript.is_empty());
    }

    #[test]
    fn an_unknown_last_word_end_is_no_time() {
        let parsed = parse(br#"{"type":"UtteranceEnd","channel":[0,1],"last_word_end":-1}"#).unwrap();
        assert_eq!(parsed.message, SttMessage::UtteranceEnd { last_word_end: None });
    }

    #[test]
    fn close_codes_are_told_apart_by_their_token() {
        let cases: Vec<Value> = serde_json::from_str(&fixture("close_frames.json")).unwrap();
        for case in cases.iter().filter(|c| c["api"] == "stt_v1") {
            let code = u16::try_from(case["code"].as_u64().unwrap()).unwrap();
            let error = closed(Some(code), case["reason"].as_str().unwrap());
            let class = case["class"].as_str().unwrap().to_lowercase();
            match error {
                None => assert_eq!(class, "normal"),
                Some(error) => {
                    assert_eq!(error.is_retryable(), case["retry"].as_bool().unwrap(), "{case}");
                    if class.contains('-') {
                        assert_eq!(error.code, class);
                    }
                }
            }
        }
        assert_eq!(closed(None, "").unwrap().code, "closed");
        assert_eq!(closed(Some(1011), "SEE NET0001").unwrap().code, "net-0001");
    }

    #[test]
    fn the_status_decides_about_a_refused_handshake() {
        for line in fixture("http_errors.jsonl").lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            if let Some(retryable) = case["expect"]["retryable"].as_bool() {
                let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
                assert_eq!(refused(status, None).is_retryable(), retryable, "{case}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn times_are_finite_and_ordered(a in any::<f64>(), b in any::<f64>(), c in any::<f64>()) {
            let message = serde_json::json!({"type": "Results", "start": a, "duration": b, "is_final": true,
                "channel": {"alternatives": [{"transcript": "x", "words": [{"word": "x", "start": b, "end": c}]}]}});
            if let Some(Parsed { message: SttMessage::Results { start, duration, words, .. }, .. }) =
                parse(message.to_string().as_bytes())
            {
                prop_assert!((0.0..=LATEST).contains(&start) && (0.0..=LATEST).contains(&duration));
                prop_assert!(words.iter().all(|w| w.start <= w.end && w.end <= LATEST));
            }
        }
    }
}
