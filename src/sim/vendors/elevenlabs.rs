//! ElevenLabs: `POST /v1/text-to-speech/{voice}/stream` and `GET /v1/models`.

use super::speech::{self, SpeechTiming};
use super::{Keys, Shared, paced};
use crate::sim::faults::{Instead, Service};
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

const SERVICE: Service = Service::Elevenlabs;

/// Models that stream over HTTP, each with its characters a request.
const MODELS: &[(&str, usize)] = &[
    ("eleven_flash_v2_5", 40_000),
    ("eleven_flash_v2", 30_000),
    ("eleven_turbo_v2_5", 40_000),
    ("eleven_turbo_v2", 30_000),
    ("eleven_multilingual_v2", 10_000),
    ("eleven_monolingual_v1", 10_000),
    ("eleven_multilingual_v1", 10_000),
    ("eleven_v3", 3_000),
];

const BODY_FIELDS: &[&str] = &[
    "text",
    "model_id",
    "language_code",
    "voice_settings",
    "pronunciation_dictionary_locators",
    "seed",
    "previous_text",
    "next_text",
    "previous_request_ids",
    "next_request_ids",
    "apply_text_normalization",
    "apply_language_text_normalization",
    "use_pvc_as_ivc",
    "audio_effects",
];

const OUTPUT_FORMATS: &[&str] = &[
    "mp3_22050_32",
    "mp3_24000_48",
    "mp3_44100_32",
    "mp3_44100_64",
    "mp3_44100_96",
    "mp3_44100_128",
    "mp3_44100_192",
    "pcm_8000",
    "pcm_16000",
    "pcm_22050",
    "pcm_24000",
    "pcm_32000",
    "pcm_44100",
    "pcm_48000",
    "ulaw_8000",
    "alaw_8000",
    "opus_48000_32",
    "opus_48000_64",
    "opus_48000_96",
    "opus_48000_128",
    "opus_48000_192",
];

/// How ElevenLabs behaves.
#[derive(Clone, Debug)]
pub struct ElevenlabsConfig {
    /// Keys accepted.
    pub keys: Keys,
    /// When and how fast audio comes.
    pub timing: SpeechTiming,
    /// Requests at once; more are refused with 429. `None` is no limit.
    pub max_requests: Option<u64>,
    /// Voices that exist; empty is any of a plausible form.
    pub voices: Vec<String>,
    /// Errors come in the older form, with `detail.status` only.
    pub legacy_errors: bool,
}

impl Default for ElevenlabsConfig {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            timing: SpeechTiming { first_byte_ms: 100, ..SpeechTiming::default() },
            max_requests: None,
            voices: Vec::new(),
            legacy_errors: false,
        }
    }
}

/// Adds the routes.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/v1/text-to-speech/{voice}/stream", web::post().to(stream));
}

/// A refusal: HTTP status, code, message, and the parameter at fault.
struct Refused(u16, &'static str, String, Option<&'static str>);

fn bad(code: &'static str, message: impl Into<String>, param: &'static str) -> Refused {
    Refused(400, code, message.into(), Some(param))
}

fn kind(status: u16) -> &'static str {
    match status {
        400 | 422 => "validation_error",
        401 => "authentication_error",
        402 => "payment_required",
        403 => "authorization_error",
        404 => "not_found",
        409 | 425 => "conflict",
        429 => "rate_limit_error",
        503 => "service_unavailable",
        _ => "internal_error",
    }
}

fn legacy(code: &str) -> &str {
    match code {
        "text_too_long" => "max_character_limit_exceeded",
        "concurrent_limit_exceeded" => "too_many_concurrent_requests",
        "insufficient_credits" => "quota_exceeded",
        other => other,
    }
}

fn error(shared: &Shared, status: u16, code: &str, message: &str, param: Option<&str>) -> HttpResponse {
    shared.controls.erred(SERVICE);
    let id = shared.uuid();
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let detail = if status == 422 {
        json!([{"loc": ["body", param.unwrap_or("text")], "msg": message, "type": code}])
    } else if shared.config.elevenlabs.legacy_errors {
        json!({"status": legacy(code), "message": message})
    } else {
        json!({
            "type": kind(status), "code": code, "message": message, "status": legacy(code),
            "request_id": id, "param": param,
        })
    };
    HttpResponse::build(status_code)
        .insert_header(("request-id", id.clone()))
        .insert_header(("x-trace-id", id))
        .json(json!({ "detail": detail }))
}

fn refusal(shared: &Shared, instead: &Instead) -> HttpResponse {
    match instead {
        Instead::RateLimit(retry_after_ms) => {
            let mut response = error(shared, 429, "rate_limit_exceeded", "Too many requests.", None);
            if let Some(ms) = retry_after_ms {
                response.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1_000).into());
            }
            response
        }
        Instead::Refuse(status, code) => {
            let usual = match status {
                401 => "invalid_api_key",
                402 => "insufficient_credits",
                403 => "insufficient_permissions",
                404 => "voice_not_found",
                429 => "system_busy",
                503 => "service_unavailable",
                500.. => "internal_error",
                _ => "invalid_parameters",
            };
            error(shared, *status, code.as_deref().unwrap_or(usual), "Simulated failure.", None)
        }
        // Never answered: see `Shared::enter`.
        Instead::Hang => error(shared, 500, "internal_error", "Simulated failure.", None),
    }
}

/// Checks `xi-api-key`; records nothing.
pub(super) fn key_of(req: &HttpRequest) -> Option<&str> {
    req.headers().get("xi-api-key").and_then(|v| v.to_str().ok())
}

fn authorised(shared: &Shared, req: &HttpRequest) -> Result<(), Refused> {
    match key_of(req) {
        None => Err(Refused(401, "missing_api_key", "Missing API key.".to_owned(), None)),
        Some(key) if shared.config.elevenlabs.keys.accept(key) => Ok(()),
        Some(_) => Err(Refused(401, "invalid_api_key", "Invalid API key.".to_owned(), None)),
    }
}

/// `GET /v1/models` for a request that carries `xi-api-key`.
pub(super) async fn models(req: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let (flight, struck) = shared.enter(&req, SERVICE, "/v1/models").await;
    if let Some(instead) = &struck.instead {
        return refusal(&shared, instead);
    }
    if let Err(Refused(status, code, message, param)) = authorised(&shared, &req) {
        shared.controls.violate(SERVICE, message.clone());
        return error(&shared, status, code, &message, param);
    }
    flight.finish();
    let models: Vec<Value> = MODELS
        .iter()
        .map(|(id, most)| {
            json!({"model_id": id, "name": id, "can_do_text_to_speech": true,
                   "maximum_text_length_per_request": most})
        })
        .collect();
    HttpResponse::Ok().insert_header(("request-id", shared.uuid())).json(models)
}

struct Wanted {
    text: String,
    format: String,
}

fn check(
    shared: &Shared,
    req: &HttpRequest,
    voice: &str,
    body: &[u8],
    complaints: &mut Vec<String>,
) -> Result<Wanted, Refused> {
    authorised(shared, req)?;
    let voices = &shared.config.elevenlabs.voices;
    let plausible = (8..=64).contains(&voice.len())
        && voice.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if (voices.is_empty() && !plausible) || (!voices.is_empty() && !voices.iter().any(|v| v == voice)) {
        let message = format!("A voice with voice_id {voice} was not found.");
        return Err(Refused(404, "voice_not_found", message, Some("voice_id")));
    }
    let mut format = "mp3_44100_128".to_owned();
    for (name, value) in form_urlencoded::parse(req.query_string().as_bytes()) {
        match name.as_ref() {
            "output_format" => {
                if !OUTPUT_FORMATS.contains(&value.as_ref()) {
                    let message = format!("Unknown output format {value}.");
                    return Err(bad("invalid_output_format", message, "output_format"));
                }
                format = value.into_owned();
            }
            "optimize_streaming_latency" => {
                complaints.push("optimize_streaming_latency is deprecated".to_owned());
                if !matches!(value.as_ref(), "0" | "1" | "2" | "3" | "4") {
                    let message = "optimize_streaming_latency must be 0 to 4";
                    return Err(bad("invalid_parameters", message, "optimize_streaming_latency"));
                }
            }
            "enable_logging" => {}
            other => complaints.push(format!("unknown query parameter {other}")),
        }
    }
    let content_type = req.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !content_type.starts_with("application/json") {
        complaints.push(format!("Content-Type is {content_type:?}, not application/json"));
    }
    let json: Value = serde_json::from_slice(body)
        .map_err(|_| bad("malformed_json", "The body is not valid JSON.", "body"))?;
    let Some(fields) = json.as_object() else {
        return Err(Refused(422, "model_attributes_type", "Input should be an object".to_owned(), None));
    };
    for name in fields.keys() {
        if name == "output_format" {
            complaints.push("output_format in the body has no effect: it belongs in the query".to_owned());
        } else if !BODY_FIELDS.contains(&name.as_str()) {
            complaints.push(format!("unknown body field {name}"));
        }
    }
    let text = match fields.get("text") {
        None => return Err(Refused(422, "missing", "Field required".to_owned(), Some("text"))),
        Some(Value::String(text)) => text,
        Some(_) => {
            let message = "Input should be a valid string".to_owned();
            return Err(Refused(422, "string_type", message, Some("text")));
        }
    };
    if text.trim().is_empty() {
        return Err(bad("empty_text", "The text is empty.", "text"));
    }
    let model = match fields.get("model_id") {
        None | Some(Value::Null) => {
            complaints.push("no model_id: the slow eleven_multilingual_v2 is used".to_owned());
            "eleven_multilingual_v2"
        }
        Some(model) => model.as_str().unwrap_or_default(),
    };
    let Some((_, most)) = MODELS.iter().find(|(id, _)| *id == model) else {
        return Err(bad("unsupported_model", format!("Model {model} is not supported."), "model_id"));
    };
    if text.chars().count() > *most {
        return Err(bad("text_too_long", format!("The text has more than {most} characters."), "text"));
    }
    check_options(fields, model)?;
    Ok(Wanted { text: text.clone(), format })
}

fn check_options(fields: &serde_json::Map<String, Value>, model: &str) -> Result<(), Refused> {
    if fields.get("language_code").is_some_and(|v| !v.is_null())
        && !(model.ends_with("_v2_5") || model == "eleven_v3")
    {
        let message = format!("language_code is not supported by {model}");
        return Err(bad("invalid_parameters", message, "language_code"));
    }
    if let Some(settings) = fields.get("voice_settings").filter(|v| !v.is_null()) {
        check_voice_settings(settings)?;
    }
    for (name, most) in
        [("previous_request_ids", 3), ("next_request_ids", 3), ("pronunciation_dictionary_locators", 3)]
    {
        if fields.get(name).and_then(Value::as_array).is_some_and(|list| list.len() > most) {
            return Err(bad("invalid_parameters", format!("{name} has more than {most} entries"), name));
        }
    }
    if fields.get("seed").is_some_and(|v| !v.is_null() && v.as_u64().is_none_or(|n| n > 4_294_967_295)) {
        return Err(bad("invalid_parameters", "seed must be 0 to 4294967295", "seed"));
    }
    let normalization = fields.get("apply_text_normalization").and_then(Value::as_str).unwrap_or("auto");
    if !matches!(normalization, "auto" | "on" | "off") {
        let message = "apply_text_normalization must be auto, on or off";
        return Err(bad("invalid_parameters", message, "apply_text_normalization"));
    }
    Ok(())
}

fn check_voice_settings(settings: &Value) -> Result<(), Refused> {
    let refuse = |message: String| Err(bad("invalid_voice_settings", message, "voice_settings"));
    let Some(fields) = settings.as_object() else {
        return refuse("voice_settings must be an object".to_owned());
    };
    for (name, value) in fields {
        let range = match name.as_str() {
            "stability" | "similarity_boost" | "style" => 0.0..=1.0,
            "speed" => 0.7..=1.2,
            "use_speaker_boost" if value.is_boolean() || value.is_null() => continue,
            other => return refuse(format!("{other} is not a valid setting")),
        };
        // A single-precision 0.7 or 1.2 may lie just outside.
        let inside = |n: f64| range.contains(&((n * 1e4).round() / 1e4));
        if !value.is_null() && !value.as_f64().is_some_and(inside) {
            return refuse(format!("{name} must be between {} and {}", range.start(), range.end()));
        }
    }
    Ok(())
}

async fn stream(
    req: HttpRequest,
    voice: web::Path<String>,
    body: Bytes,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let asked = String::from_utf8_lossy(&body).into_owned();
    let (flight, struck) = shared.enter(&req, SERVICE, &asked).await;
    if let Some(instead) = &struck.instead {
        return refusal(&shared, instead);
    }
    let mut complaints = Vec::new();
    let checked = check(&shared, &req, &voice, &body, &mut complaints);
    for complaint in complaints {
        shared.controls.violate(SERVICE, complaint);
    }
    let wanted = match checked {
        Ok(wanted) => wanted,
        Err(Refused(status, code, message, param)) => {
            shared.controls.violate(SERVICE, message.clone());
            return error(&shared, status, code, &message, param);
        }
    };
    let config = &shared.config.elevenlabs;
    let running = shared.controls.in_flight(SERVICE);
    if config.max_requests.is_some_and(|most| running > most) {
        return error(&shared, 429, "concurrent_limit_exceeded", "Too many concurrent requests.", None);
    }
    let (content_type, audio) = if struck.malformed || wanted.format.starts_with("mp3") {
        ("audio/mpeg", speech::mp3_of(wanted.text.len()))
    } else {
        let mulaw = shared.speech.render(&wanted.text, &voice).await;
        match wanted.format.as_str() {
            "ulaw_8000" => ("audio/basic", mulaw),
            "pcm_8000" => ("audio/pcm", pcm(&mulaw, 1)),
            "pcm_16000" => ("audio/pcm", pcm(&mulaw, 2)),
            "pcm_24000" => ("audio/pcm", pcm(&mulaw, 3)),
            other => {
                let message = format!("{other} is valid, but the simulator does not speak it");
                return error(&shared, 400, "invalid_output_format", &message, Some("output_format"));
            }
        }
    };
    let id = shared.uuid();
    HttpResponse::Ok()
        .content_type(content_type)
        .insert_header(("request-id", id.clone()))
        .insert_header(("x-trace-id", id.clone()))
        .insert_header(("history-item-id", id))
        .insert_header(("character-cost", wanted.text.chars().count().to_string()))
        .insert_header(("current-concurrent-requests", running.to_string()))
        .insert_header(("maximum-concurrent-requests", config.max_requests.unwrap_or(1_000).to_string()))
        .streaming(paced::body(config.timing.pieces(audio), &struck, flight))
}

/// Little-endian 16-bit samples, at `times` 8 kHz by straight lines between the samples.
fn pcm(mulaw: &[u8], times: i32) -> Bytes {
    let mut out = Vec::with_capacity(mulaw.len().saturating_mul(2 * times.unsigned_abs() as usize));
    let mut last = 0i32;
    for byte in mulaw {
        let next = linear(*byte);
        for k in 1..=times {
            let sample = last + (next - last) * k / times;
            out.extend_from_slice(&(sample.clamp(-32_768, 32_767) as i16).to_le_bytes());
        }
        last = next;
    }
    Bytes::from(out)
}

/// One mu-law byte as a 16-bit sample (G.711).
fn linear(byte: u8) -> i32 {
    let b = i32::from(!byte);
    let magnitude = ((((b & 15) << 3) + 132) << ((b >> 4) & 7)) - 132;
    if b & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voice_settings_are_held_to_their_ranges() {
        assert!(
            check_voice_settings(&json!({"stability": 0.5, "similarity_boost": 0.75, "speed": 1.2})).is_ok()
        );
        assert!(
            check_voice_settings(&json!({"speed": 1.2f32, "use_speaker_boost": true, "style": null})).is_ok()
        );
        for wrong in [json!({"stability": 1.5}), json!({"speed": 2.0}), json!({"pitch": 1}), json!([])] {
            assert!(check_voice_settings(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pcm_has_two_bytes_a_sample_at_each_rate() {
        assert_eq!(pcm(&[0xFF; 10], 1).len(), 20);
        assert_eq!(pcm(&[0x80; 10], 3).len(), 60);
        assert_eq!(linear(0x80), 32_124);
        assert_eq!(linear(0x00), -32_124);
        assert_eq!(linear(0xFF), 0);
    }
}
