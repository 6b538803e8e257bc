//! `GET /api/health`: whether the process lives. `GET /api/ready`: whether it can take calls.

use super::gate::Gate;
use super::problem::{ApiResult, Problem};
use crate::observe::clock::unix_now;
use crate::registry::messages::CountLive;
use crate::session::services::Services;
use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use std::rc::Rc;
use std::time::Duration;
use utoipa_actix_web::service_config::ServiceConfig;

/// How long the database and the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(health).service(ready);
}

/// The body of the answer, in the prototype's shape.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Health {
    /// `ok`.
    status: &'static str,
    /// Seconds since the start.
    uptime: f64,
    /// Calls that are not over, those of other replicas included.
    active_calls: usize,
    /// Now.
    #[schema(format = DateTime)]
    timestamp: String,
}

/// Whether calls can be taken.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Ready {
    /// `ready`.
    status: &'static str,
}

/// Whether the process lives.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "It lives", body = Health)),
    security(())
)]
#[get("/api/health")]
async fn health(services: web::Data<Rc<Services>>) -> ApiResult {
    let live = services.registry.send(CountLive).await?;
    let timestamp =
        jiff::Timestamp::from_millisecond(unix_now().0).map(|t| t.to_string()).unwrap_or_default();
    Ok(HttpResponse::Ok().json(Health {
        status: "ok",
        uptime: services.started.elapsed().as_secs_f64(),
        active_calls: live.everywhere,
        timestamp,
    }))
}

/// Whether calls can be taken: the database answers, there is room, no worker thread is late, the server is not
/// about to stop.
#[utoipa::path(
    tag = "server",
    responses((status = 200, description = "It is ready", body = Ready),
              (status = 503, description = "It is not; send calls elsewhere")),
    security(())
)]
#[get("/api/ready")]
async fn ready(services: web::Data<Rc<Services>>, gate: web::Data<Gate>) -> ApiResult {
    let not_ready = || Problem::unavailable("not ready");
    if gate.draining() || services.lags.lagging() {
        return Err(not_ready());
    }
    let database = tokio::time::timeout(PATIENCE, services.db.answers());
    let live = tokio::time::timeout(PATIENCE, services.registry.send(CountLive));
    let (database, live) = futures_util::future::join(database, live).await;
    let room = matches!(live, Ok(Ok(live)) if live.open < services.config.calls_at_once());
    if !room || !matches!(database, Ok(Ok(()))) {
        return Err(not_ready());
    }
    Ok(HttpResponse::Ok().json(Ready { status: "ready" }))
}
