//! Deepgram: `/v1/listen` (streaming), `/v1/speak` (REST), `/v1/projects`.

pub mod listen;
pub mod query;
pub mod speak;
pub mod timeline;

use super::Shared;
use crate::sim::faults::{Instead, Service};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

pub use listen::ListenConfig;
pub use speak::SpeakConfig;

/// Adds the routes.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.route("/v1/listen", web::get().to(listen::listen))
        .route("/v1/speak", web::post().to(speak::speak))
        .route("/v1/projects", web::get().to(projects));
}

/// An error in Deepgram's words: `err_code`, `err_msg`, `request_id`, and the reason in `dg-error`.
fn error(shared: &Shared, service: Service, status: u16, code: &str, message: &str) -> HttpResponse {
    shared.controls.erred(service);
    let id = shared.uuid();
    // A 503 of the speaking side spells its key differently.
    let key = if status == 503 && service == Service::DeepgramSpeak { "error_code" } else { "err_code" };
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
        .insert_header(("dg-request-id", id.clone()))
        .insert_header(("dg-error", message))
        .json(json!({ key: code, "err_msg": message, "request_id": id }))
}

/// The answer a fault gives instead of the right one.
fn refusal(shared: &Shared, service: Service, instead: &Instead) -> HttpResponse {
    match instead {
        Instead::RateLimit(retry_after_ms) => {
            let code =
                if service == Service::DeepgramListen { "TOO_MANY_REQUESTS" } else { "Too Many Requests" };
            let mut response = error(shared, service, 429, code, "Too many requests. Please try again later");
            if let Some(ms) = retry_after_ms {
                response.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1_000).into());
            }
            response
        }
        Instead::Refuse(status, code) => {
            let usual = match status {
                401 => "INVALID_AUTH",
                402 => "ASR_PAYMENT_REQUIRED",
                403 => "INSUFFICIENT_PERMISSIONS",
                413 => "PAYLOAD_TOO_LARGE",
                429 => "TOO_MANY_REQUESTS",
                500.. => "INTERNAL_SERVER_ERROR",
                _ => "Bad Request",
            };
            error(shared, service, *status, code.as_deref().unwrap_or(usual), "Simulated failure.")
        }
        // Never answered: see `Shared::enter`.
        Instead::Hang => error(shared, service, 500, "INTERNAL_SERVER_ERROR", "Simulated failure."),
    }
}

/// Checks `Authorization: Token KEY`; the refusal if it is wrong.
fn unauthorised(shared: &Shared, service: Service, req: &HttpRequest) -> Option<HttpResponse> {
    let header = req.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let complaint = match header.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("token") => {
            if shared.config.deepgram.listen.keys.accept(key) {
                return None;
            }
            "the key in Authorization is not known"
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("bearer") => {
            "an API key goes with Token, not with Bearer"
        }
        _ => "Authorization: Token is missing",
    };
    shared.controls.violate(service, complaint);
    Some(error(shared, service, 401, "INVALID_AUTH", "Invalid credentials."))
}

/// `GET /v1/projects`: cheap, so it serves to warm a connection and to check a key.
async fn projects(req: HttpRequest, shared: web::Data<Shared>) -> HttpResponse {
    let (flight, struck) = shared.enter(&req, Service::DeepgramSpeak, "/v1/projects").await;
    if let Some(instead) = &struck.instead {
        return refusal(&shared, Service::DeepgramSpeak, instead);
    }
    if let Some(response) = unauthorised(&shared, Service::DeepgramSpeak, &req) {
        return response;
    }
    flight.finish();
    HttpResponse::Ok()
        .insert_header(("dg-request-id", shared.uuid()))
        .json(json!({"projects": [{"project_id": "00000000-0000-4000-8000-0000000000d9", "name": "sim"}]}))
}
