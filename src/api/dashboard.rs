//! `/api/dashboard`: today at a glance, in the prototype's words.

use super::access::{Access, Read};
use super::common::{Clock, Shared};
use super::page::etagged;
use super::problem::ApiResult;
use crate::booking::dates::plus_days;
use crate::domain::call::Direction;
use crate::domain::phone::CallerId;
use crate::observe::clock::unix_now;
use crate::registry::messages::ListLive;
use actix_web::{HttpRequest, get};
use serde::Serialize;
use utoipa_actix_web::service_config::ServiceConfig;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(dashboard);
}

/// A call that goes on.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct ActiveCall {
    call_sid: String,
    #[schema(required)]
    phone_number: Option<String>,
    /// The customer, once it is known who it is.
    #[schema(required)]
    customer_id: Option<i64>,
    /// Their name.
    #[schema(required)]
    customer_name: Option<String>,
    direction: Direction,
    /// Seconds since it began.
    duration: u64,
    /// How it stands, in one word.
    state: &'static str,
}

/// Today at a glance.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Dashboard {
    /// Calls that began today, by the business's clock.
    calls_today: i64,
    /// Those of them in which a name, number or address was left.
    leads_today: i64,
    /// Confirmed appointments that begin today.
    appointments_today: i64,
    total_customers: i64,
    /// Calls that go on.
    active_calls: usize,
    active_call_details: Vec<ActiveCall>,
}

/// Today's numbers and the calls that go on.
#[utoipa::path(
    tag = "calls",
    responses((status = 200, description = "The numbers", body = Dashboard),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/dashboard")]
async fn dashboard(services: Shared, _: Access<Read>, request: HttpRequest) -> ApiResult {
    let clock = Clock::of(&services.profile);
    let now = unix_now();
    let today = clock.day_of(now);
    let from = clock.start_of(today).unwrap_or(now);
    let to = plus_days(today, 1).and_then(|date| clock.start_of(date)).unwrap_or(now);
    let numbers = services.db.dashboard(from, to).await?;
    let live = services.registry.send(ListLive).await?;
    let active_call_details: Vec<ActiveCall> = live
        .into_iter()
        .map(|call| ActiveCall {
            call_sid: call.facts.sid.as_str().to_owned(),
            phone_number: match &call.facts.caller {
                CallerId::Withheld => None,
                caller => Some(caller.label().to_owned()),
            },
            customer_id: call.customer.as_ref().map(|customer| customer.id),
            customer_name: call.customer.and_then(|customer| customer.name),
            direction: call.facts.direction,
            duration: now.millis_since(call.since) / 1_000,
            state: call.state,
        })
        .collect();
    let body = Dashboard {
        calls_today: numbers.activity.calls(),
        leads_today: numbers.activity.leads,
        appointments_today: numbers.appointments,
        total_customers: numbers.customers,
        active_calls: active_call_details.len(),
        active_call_details,
    };
    Ok(etagged(&request, &body))
}
