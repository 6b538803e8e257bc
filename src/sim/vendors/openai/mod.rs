//! OpenAI: `POST /v1/chat/completions`, streamed or whole, and `GET /v1/models`.

mod events;
mod messages;
pub mod rules;
mod tools;

use super::brain::{self, BrainMode};
use super::{Keys, Shared, elevenlabs, paced};
use crate::sim::controls::lock;
use crate::sim::faults::{Instead, Service};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, RETRY_AFTER};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use events::Completion;
use rules::Refused;
use serde_json::{Value, json};

const SERVICE: Service = Service::Openai;

/// How OpenAI behaves.
#[derive(Clone, Debug)]
pub struct OpenaiConfig {
    /// Keys accepted.
    pub keys: Keys,
    /// Milliseconds from the request to the first token.
    pub first_token_ms: u64,
    /// Milliseconds from token to token.
    pub token_ms: u64,
    /// The body is cut into pieces of this many bytes, also inside characters; whole events if 0.
    pub split_bytes: usize,
    /// Models besides OpenAI's own.
    pub models: Vec<String>,
    /// How the model behaves at first.
    pub brain: BrainMode,
}

impl Default for OpenaiConfig {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            first_token_ms: 200,
            token_ms: 10,
            split_bytes: 0,
            models: Vec::new(),
            brain: BrainMode::default(),
        }
    }
}

/// Adds the routes. The path of the model list is ElevenLabs' too: the key's header tells whose it is.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/v1/chat/completions", web::post().to(complete)).route("/v1/models", web::get().to(models));
}

fn error(shared: &Shared, refused: &Refused, kind: Option<&str>) -> HttpResponse {
    shared.controls.erred(SERVICE);
    let kind = kind.unwrap_or(match refused.status {
        500 | 502 | 504 => "server_error",
        503 => "service_unavailable_error",
        _ => "invalid_request_error",
    });
    HttpResponse::build(StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .insert_header(("x-request-id", format!("req_{}", shared.uuid())))
        .json(json!({"error": {
            "message": refused.message, "type": kind, "param": refused.param, "code": refused.code,
        }}))
}

fn refusal(shared: &Shared, instead: &Instead) -> HttpResponse {
    let plain =
        |status, message: &str, code| Refused { status, message: message.to_owned(), param: None, code };
    match instead {
        Instead::RateLimit(retry_after_ms) => {
            let message = "Rate limit reached for requests. Please try again later.";
            let refused = plain(429, message, Some("rate_limit_exceeded"));
            let mut response = error(shared, &refused, Some("requests"));
            if let Some(ms) = retry_after_ms {
                let headers = response.headers_mut();
                headers.insert(RETRY_AFTER, ms.div_ceil(1_000).into());
                headers
                    .insert(actix_web::http::header::HeaderName::from_static("retry-after-ms"), (*ms).into());
            }
            response
        }
        Instead::Refuse(status, code) => {
            let quota = code.as_deref().is_some_and(|c| {
                c == "insufficient_quota"
                    || c.ends_with("_exhausted")
                    || c.ends_with("limit_exceeded") && c != "rate_limit_exceeded"
            });
            let usual = match status {
                401 => Some("invalid_api_key"),
                404 => Some("model_not_found"),
                429 => Some("rate_limit_exceeded"),
                503 => Some("server_is_overloaded"),
                _ => None,
            };
            shared.controls.erred(SERVICE);
            let kind = match status {
                429 if quota => "insufficient_quota",
                429 => "requests",
                503 => "service_unavailable_error",
                500.. => "server_error",
                _ => "invalid_request_error",
            };
            HttpResponse::build(StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
                .insert_header(("x-request-id", format!("req_{}", shared.uuid())))
                .json(json!({"error": {
                    "message": "Simulated failure.", "type": kind, "param": null,
                    "code": code.as_deref().or(usual),
                }}))
        }
        // Never answered: see `Shared::enter`.
        Instead::Hang => error(shared, &plain(500, "Simulated failure.", None), None),
    }
}

fn authorised(shared: &Shared, req: &HttpRequest) -> Result<(), Refused> {
    let header = req.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let refused =
        |message: &str, code| Refused { status: 401, message: message.to_owned(), param: None, code };
    match header.strip_prefix("Bearer ") {
        None => Err(refused("You didn't provide an API key.", None)),
        Some(key) if shared.config.openai.keys.accept(key) => Ok(()),
        Some(_) => Err(refused("Incorrect API key provided.", Some("invalid_api_key"))),
    }
}

async fn models(req: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    if elevenlabs::key_of(&req).is_some() {
        return elevenlabs::models(req, shared).await;
    }
    let (flight, struck) = shared.enter(&req, SERVICE, "/v1/models").await;
    if let Some(instead) = &struck.instead {
        return refusal(&shared, instead);
    }
    if let Err(refused) = authorised(&shared, &req) {
        shared.controls.violate(SERVICE, refused.message.clone());
        return error(&shared, &refused, None);
    }
    flight.finish();
    let more = shared.config.openai.models.iter().map(String::as_str);
    let models: Vec<Value> = rules::MODELS
        .iter()
        .copied()
        .chain(more)
        .map(|id| json!({"id": id, "object": "model", "created": 1_795_000_000, "owned_by": "system"}))
        .collect();
    HttpResponse::Ok().json(json!({"object": "list", "data": models}))
}

/// The caller's last words, which fault rules look at.
fn last_words(body: &Value) -> &str {
    let messages = body.get("messages").and_then(Value::as_array);
    messages
        .into_iter()
        .flatten()
        .rev()
        .find(|m| m.get("role").and_then(Value::as_str) == Some("user"))
        .and_then(|m| m.get("content").and_then(Value::as_str))
        .unwrap_or_default()
}

async fn complete(req: HttpRequest, body: Bytes, shared: web::Data<Shared>) -> HttpResponse {
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    shared.controls.saw(SERVICE, &String::from_utf8_lossy(&body));
    let (flight, struck) = shared.enter_unseen(&req, SERVICE, last_words(&json)).await;
    if let Some(instead) = &struck.instead {
        return refusal(&shared, instead);
    }
    let config = &shared.config.openai;
    let content_type = req.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let checked = authorised(&shared, &req)
        .and_then(|()| {
            if content_type.starts_with("application/json") {
                return Ok(());
            }
            let message = format!("Unsupported Content-Type {content_type:?}: application/json is expected.");
            Err(Refused { status: 400, message, param: None, code: None })
        })
        .and_then(|()| rules::check(&json, &config.models));
    let request = match checked {
        Ok(request) => request,
        Err(refused) => {
            shared.controls.violate(SERVICE, refused.message.clone());
            return error(&shared, &refused, None);
        }
    };
    let mode = lock(&shared.brain).clone();
    let mut answer = brain::answer(&mode, &request.question);
    if !request.parallel {
        answer.calls.truncate(1);
    }
    for call in &mut answer.calls {
        call.id = format!("call_{:024x}", shared.number());
    }
    let completion = Completion::new(&request, answer, shared.number(), body.len());
    let mut response = HttpResponse::Ok();
    response
        .insert_header(("x-request-id", format!("req_{}", shared.uuid())))
        .insert_header(("openai-processing-ms", config.first_token_ms.to_string()))
        .insert_header(("x-ratelimit-limit-requests", "10000"))
        .insert_header(("x-ratelimit-remaining-requests", "9999"))
        .insert_header(("x-ratelimit-reset-requests", "6ms"));
    let pace = events::Pace { first_ms: config.first_token_ms, token_ms: config.token_ms };
    if request.stream {
        let pieces = completion.events(pace, struck.malformed);
        let pieces = events::split(pieces, config.split_bytes);
        response.content_type("text/event-stream").streaming(paced::body(pieces.into_iter(), &struck, flight))
    } else {
        let whole = if struck.malformed {
            Bytes::from_static(b"<html><body>502 Bad Gateway</body></html>")
        } else {
            Bytes::from(completion.whole().to_string())
        };
        let at = std::time::Duration::from_millis(pace.whole_ms(completion.tokens()));
        response.content_type("application/json").streaming(paced::body(
            std::iter::once((at, whole)),
            &struck,
            flight,
        ))
    }
}
