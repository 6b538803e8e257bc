//! `/_sim`: faults, counters, the model's behaviour and Twilio's calls, for whoever is in another process.

use super::Shared;
use super::brain::BrainMode;
use super::twilio_calls::SimCall;
use crate::sim::controls::lock;
use crate::sim::faults::{FaultRule, Service};
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

/// Adds the routes.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.service(
        web::scope("/_sim")
            .route("/faults", web::post().to(add_faults))
            .route("/faults", web::get().to(show_faults))
            .route("/faults", web::delete().to(clear_faults))
            .route("/cut", web::post().to(cut))
            .route("/stats", web::get().to(stats))
            .route("/seen/{service}", web::get().to(seen))
            .route("/violations", web::delete().to(clear_violations))
            .route("/brain", web::post().to(set_brain))
            .route("/calls", web::post().to(register_call))
            .route("/calls", web::get().to(show_calls))
            .route("/calls/{sid}", web::get().to(show_call)),
    );
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(FaultRule),
    Many(Vec<FaultRule>),
}

async fn add_faults(rules: web::Json<OneOrMany>, shared: web::Data<Shared>) -> HttpResponse {
    match rules.into_inner() {
        OneOrMany::One(rule) => shared.controls.add(rule),
        OneOrMany::Many(rules) => rules.into_iter().for_each(|rule| shared.controls.add(rule)),
    }
    HttpResponse::Ok().json(shared.controls.rules())
}

async fn show_faults(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(shared.controls.rules())
}

async fn clear_faults(shared: web::Data<Shared>) -> HttpResponse {
    shared.controls.clear();
    HttpResponse::NoContent().finish()
}

#[derive(Deserialize)]
struct Cut {
    service: Service,
}

async fn cut(cut: web::Json<Cut>, shared: web::Data<Shared>) -> HttpResponse {
    shared.controls.cut_now(cut.service);
    HttpResponse::NoContent().finish()
}

async fn stats(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(shared.controls.stats())
}

async fn seen(service: web::Path<Service>, shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(shared.controls.seen(service.into_inner()))
}

async fn clear_violations(shared: web::Data<Shared>) -> HttpResponse {
    shared.controls.clear_violations();
    HttpResponse::NoContent().finish()
}

async fn set_brain(mode: web::Json<BrainMode>, shared: web::Data<Shared>) -> HttpResponse {
    *lock(&shared.brain) = mode.into_inner();
    HttpResponse::NoContent().finish()
}

async fn register_call(call: web::Json<SimCall>, shared: web::Data<Shared>) -> HttpResponse {
    shared.calls.register(call.into_inner());
    HttpResponse::NoContent().finish()
}

async fn show_calls(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok().json(shared.calls.all())
}

async fn show_call(sid: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    match shared.calls.get(&sid) {
        Some(call) => HttpResponse::Ok().json(call),
        None => HttpResponse::NotFound().json(json!({"error": "no such call"})),
    }
}
