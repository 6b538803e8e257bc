//! `GET /api/health`: whether the process lives.

use crate::observe::clock::unix_now;
use crate::registry::messages::CountLive;
use crate::session::services::Services;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use std::rc::Rc;

/// The body of the answer, in the prototype's shape.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: &'static str,
    /// Seconds since the start.
    uptime: f64,
    active_calls: usize,
    /// RFC 3339.
    timestamp: String,
}

/// Answers without a credential and without detail.
pub async fn health(services: web::Data<Rc<Services>>) -> HttpResponse {
    let Ok(live) = services.registry.send(CountLive).await else {
        return HttpResponse::ServiceUnavailable().finish();
    };
    let timestamp =
        jiff::Timestamp::from_millisecond(unix_now().0).map(|t| t.to_string()).unwrap_or_default();
    HttpResponse::Ok().json(Health {
        status: "ok",
        uptime: services.started.elapsed().as_secs_f64(),
        active_calls: live.open,
        timestamp,
    })
}
