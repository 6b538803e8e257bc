//! `POST /v1/speak`: text to audio over plain HTTP.

use super::super::speech::{self, SpeechTiming};
use super::super::{Shared, paced};
use crate::sim::faults::Service;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::Value;

const SERVICE: Service = Service::DeepgramSpeak;

/// How `/v1/speak` behaves.
#[derive(Clone, Debug)]
pub struct SpeakConfig {
    /// When and how fast audio comes.
    pub timing: SpeechTiming,
    /// Characters a request may have; more is 413 (Aura-2's documented least is 1,000).
    pub max_characters: usize,
    /// Requests at once; more are refused with 429.
    pub max_requests: Option<u64>,
}

impl Default for SpeakConfig {
    fn default() -> Self {
        Self { timing: SpeechTiming::default(), max_characters: 2_000, max_requests: None }
    }
}

const KNOWN: &[&str] = &[
    "model",
    "encoding",
    "container",
    "sample_rate",
    "bit_rate",
    "speed",
    "tag",
    "mip_opt_out",
    "callback",
    "callback_method",
];

struct Wanted {
    model: String,
    wav: bool,
    content_type: &'static str,
    mp3: bool,
}

fn bad(message: impl Into<String>) -> (u16, &'static str, String) {
    (400, "INVALID_QUERY_PARAMETER", message.into())
}

fn wanted(query: &str, complaints: &mut Vec<String>) -> Result<Wanted, (u16, &'static str, String)> {
    let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    for (name, _) in &pairs {
        if !KNOWN.contains(&name.as_str()) {
            complaints.push(format!("unknown query parameter {name}"));
        }
    }
    let get = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let model = get("model").unwrap_or("aura-asteria-en");
    if !(model.starts_with("aura-") && model.matches('-').count() >= 2) {
        return Err((400, "Bad Request", format!("No such model {model}")));
    }
    let encoding = get("encoding").unwrap_or("mp3");
    let container = get("container");
    let rate = get("sample_rate");
    if !matches!(container, None | Some("none" | "wav" | "ogg")) {
        return Err(bad("container must be none, wav or ogg"));
    }
    match encoding {
        "mp3" => {
            if container.is_some() || rate.is_some_and(|r| r != "22050") {
                return Err(bad("mp3 takes no container and only its own sample_rate"));
            }
            Ok(Wanted { model: model.to_owned(), wav: false, content_type: "audio/mpeg", mp3: true })
        }
        "mulaw" => {
            match rate {
                None | Some("8000") => {}
                Some("16000") => {
                    complaints.push("16000 Hz is valid, but the simulator speaks 8000".to_owned())
                }
                Some(other) => return Err(bad(format!("sample_rate {other} is not possible with mulaw"))),
            }
            if container == Some("ogg") {
                return Err(bad("mulaw has no ogg container"));
            }
            let wav = container != Some("none");
            if wav {
                complaints.push("mulaw without container=none begins with a WAV header".to_owned());
            }
            let content_type = if wav { "audio/wav" } else { "audio/mulaw;rate=8000" };
            Ok(Wanted { model: model.to_owned(), wav, content_type, mp3: false })
        }
        "linear16" | "alaw" | "opus" | "flac" | "aac" => Err((
            400,
            "Bad Request",
            format!("{encoding} is valid, but the simulator speaks mulaw and mp3 only"),
        )),
        other => Err(bad(format!("encoding {other} is not supported"))),
    }
}

/// The text of a request: JSON with exactly one of text and url, or the plain body.
fn text_of(req: &HttpRequest, body: &[u8]) -> Result<String, (u16, &'static str, String)> {
    let content_type = req.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("text/plain") {
        return Ok(String::from_utf8_lossy(body).into_owned());
    }
    if !content_type.starts_with("application/json") {
        return Err((415, "UNSUPPORTED_MEDIA_TYPE", format!("Content-Type {content_type} is not supported")));
    }
    let json: Value = serde_json::from_slice(body)
        .map_err(|_| (400, "INVALID_JSON", "Invalid JSON submitted.".to_owned()))?;
    let extra = json.as_object().is_some_and(|o| o.keys().any(|k| k != "text"));
    match json.get("text").and_then(Value::as_str) {
        Some(text) if !extra => Ok(text.to_owned()),
        _ => Err((400, "PAYLOAD_ERROR", "The body must hold text and nothing else.".to_owned())),
    }
}

/// Speaks.
pub(super) async fn speak(req: HttpRequest, body: Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let text = text_of(&req, &body);
    let (flight, struck) = shared.enter(&req, SERVICE, text.as_ref().map_or("", |text| text.as_str())).await;
    if let Some(instead) = &struck.instead {
        return super::refusal(&shared, SERVICE, instead);
    }
    if let Some(response) = super::unauthorised(&shared, SERVICE, &req) {
        return response;
    }
    let config = &shared.config.deepgram.speak;
    let mut complaints = Vec::new();
    let checked = text.and_then(|text| {
        let wanted = wanted(req.query_string(), &mut complaints)?;
        if text.trim().is_empty() {
            return Err((400, "PAYLOAD_ERROR", "The text is empty.".to_owned()));
        }
        if text.chars().count() > config.max_characters {
            return Err((413, "Payload Too Large", "The text is longer than the limit.".to_owned()));
        }
        Ok((text, wanted))
    });
    for complaint in complaints {
        shared.controls.violate(SERVICE, complaint);
    }
    let (text, wanted) = match checked {
        Ok(checked) => checked,
        Err((status, code, message)) => {
            shared.controls.violate(SERVICE, message.clone());
            return super::error(&shared, SERVICE, status, code, &message);
        }
    };
    if config.max_requests.is_some_and(|most| shared.controls.in_flight(SERVICE) > most) {
        return super::error(&shared, SERVICE, 429, "Too Many Requests", "Too many concurrent requests.");
    }
    let mut audio = if wanted.mp3 {
        speech::mp3_of(text.len())
    } else {
        shared.speech.render(&text, &wanted.model).await
    };
    if wanted.wav || struck.malformed {
        audio = speech::with_wav_header(&audio);
    }
    HttpResponse::Ok()
        .content_type(wanted.content_type)
        .insert_header(("dg-request-id", shared.uuid()))
        .insert_header(("dg-model-name", wanted.model))
        .insert_header(("dg-model-uuid", "e0000000-0000-4000-8000-000000000001"))
        .insert_header(("dg-char-count", text.chars().count().to_string()))
        .streaming(paced::body(config.timing.pieces(audio), &struck, flight))
}
