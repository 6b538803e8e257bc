//! `POST /api/calls/outbound`: a call is placed.

use super::access::{Access, Act};
use super::body::Json;
use super::gate::Gate;
use super::live::take_toll;
use super::problem::{ApiResult, Problem};
use super::spend;
use crate::dialogue::prompt::Outbound;
use crate::domain::ids::{AdmissionId, CallSid};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use crate::observe::feed::FeedEvent;
use crate::observe::metrics::{self, Refused};
use crate::registry::messages::{CallerKnown, Place, Placed, Unplace};
use crate::registry::roster::NewOutbound;
use crate::session::services::Services;
use crate::twilio::rest::{Instructions, NewCall, RestError, RestErrorKind, RetryAdvice};
use actix_web::{HttpResponse, post, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::rc::Rc;
use std::sync::Arc;

/// Longest purpose, in characters.
const MAX_PURPOSE: usize = 300;
/// Longest context, in characters.
const MAX_CONTEXT: usize = 2_000;

/// Adds the routes.
pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
    config.service(place);
}

/// A call to be placed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutboundBody {
    /// Who is rung, in E.164 or as people write it with a country code.
    #[schema(example = "+12025550143")]
    pub to: String,
    /// Why, as the bot is to say it after "calling about".
    #[schema(max_length = 300, example = "your appointment tomorrow")]
    pub purpose: Option<String>,
    /// What the bot should know for it.
    #[schema(max_length = 2000)]
    pub context: Option<String>,
}

/// A call that was placed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OutboundPlaced {
    /// Always true; else there is a problem.
    pub success: bool,
    /// Its identifier.
    #[serde(rename = "callSid")]
    pub call_sid: String,
}

/// Places a call
#[utoipa::path(
    tag = "calls",
    request_body = OutboundBody,
    responses(
        (status = 201, description = "It is queued", body = OutboundPlaced),
        (status = 429, description = "A ceiling of calls, or what a day may cost, is reached"),
        (status = 502, description = "Twilio did not place it"),
        (status = 503, description = "All lines are busy, or the server has no number to ring from"),
    ),
    security(("key" = []), ("session" = []))
)]
#[post("/api/calls/outbound")]
async fn place(
    services: web::Data<Rc<Services>>,
    gate: web::Data<Gate>,
    access: Access<Act>,
    body: Json<OutboundBody>,
) -> ApiResult {
    let body = body.into_inner();
    let to = PhoneNumber::parse(&body.to, None).map_err(|error| Problem::invalid("to", error.to_string()))?;
    let purpose = text("purpose", body.purpose, MAX_PURPOSE)?;
    let context = text("context", body.context, MAX_CONTEXT)?;
    let own = &services.config.twilio.phone_number;
    let from = PhoneNumber::from_e164(own).map_err(|_| {
        Problem::unavailable("TWILIO_PHONE_NUMBER is not set: there is no number to ring from")
    })?;
    if let Some(limit) = spend::day_limit(&services, Some(&to)).await {
        return Err(spend::problem(&services, limit));
    }
    if services.lags.lagging() {
        metrics::call_refused(Refused::Lag);
        return Err(Problem::unavailable("all lines are busy"));
    }
    take_toll(&services, "to", &to).await?;
    let admission = AdmissionId::new(format!("{:032x}", rand::random::<u128>()));
    let call = NewOutbound {
        admission: admission.clone(),
        to: to.clone(),
        business_number: own.clone(),
        brief: Arc::new(Outbound { purpose: purpose.clone(), context }),
    };
    if !services.registry.send(Place(call)).await? {
        metrics::call_refused(Refused::no_room(false, gate.draining()));
        return Err(Problem::unavailable("all lines are busy"));
    }
    let sid = match create(&services, &admission, &to, &from).await {
        Ok(sid) => sid,
        Err(error) => {
            // Where it may exist all the same, its requests will find the admission for two minutes.
            if error.retry() != RetryAdvice::CheckFirst {
                services.registry.do_send(Unplace(admission));
            }
            tracing::warn!(code = error.event_code(), twilio.code = error.code, "call not placed");
            return Err(problem(&error));
        }
    };
    services.registry.send(Placed { admission, sid: sid.clone() }).await?;
    // A name is a courtesy to whoever watches: without it the call rings all the same.
    if let Ok(Some(customer)) = services.db.customer_by_phone(to.clone()).await {
        services.registry.do_send(CallerKnown { sid: sid.clone(), customer });
    }
    services.feed.tell(FeedEvent::Changed { sid: sid.clone() });
    let detail = json!({ "to": to.as_str(), "purpose": purpose });
    services.staff_log(access.who(), "call.place", sid.as_str().to_owned(), detail).await?;
    Ok(HttpResponse::Created().json(OutboundPlaced { success: true, call_sid: sid.as_str().to_owned() }))
}

/// Asks Twilio. Whether a request whose answer was lost has placed a call is looked up, for it is never sent twice.
async fn create(
    services: &Services,
    admission: &AdmissionId,
    to: &PhoneNumber,
    from: &PhoneNumber,
) -> Result<CallSid, RestError> {
    let config = &services.config;
    let limit = u32::try_from(config.call.max_call_s.saturating_add(120)).unwrap_or(u32::MAX);
    let call = NewCall {
        ring_s: Some(config.outbound.ring_s),
        limit_s: Some(limit.min(14_400)),
        status_callback: Some(services.address.placed_status(admission)),
        ..NewCall::new(to.clone(), from.clone(), Instructions::Url(services.address.answered(admission)))
    };
    let asked = unix_now();
    match services.rest.create_call(&call).await {
        Ok(placed) => Ok(placed.sid),
        Err(error) if error.retry() == RetryAdvice::CheckFirst => {
            let recent = services.rest.recent_calls(to, from).await.map_err(|_| error)?;
            let since = |created: &str| {
                jiff::fmt::rfc2822::parse(created)
                    .is_ok_and(|at| at.timestamp().as_millisecond() >= second_of(asked))
            };
            let ours = recent.into_iter().find(|call| {
                call.direction.as_deref() == Some("outbound-api")
                    && call.date_created.as_deref().is_some_and(since)
            });
            ours.map(|call| call.sid).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The beginning of a time's second: Twilio's times have no more.
fn second_of(at: UnixMillis) -> i64 {
    at.0.saturating_sub(at.0.rem_euclid(1_000))
}

fn problem(error: &RestError) -> Problem {
    let code = error.code.map(|code| format!(" (error {code})")).unwrap_or_default();
    match error.kind {
        RestErrorKind::Refused => Problem::invalid("to", format!("Twilio does not ring this number{code}")),
        RestErrorKind::RateLimited => Problem::too_many(5),
        RestErrorKind::Auth => Problem::bad_gateway(format!("Twilio does not accept our credentials{code}")),
        RestErrorKind::Timeout
        | RestErrorKind::Broken
        | RestErrorKind::Unavailable
        | RestErrorKind::Protocol => Problem::bad_gateway("Twilio did not say whether the call was placed"),
        RestErrorKind::Request
        | RestErrorKind::NotFound
        | RestErrorKind::NotInProgress
        | RestErrorKind::Connect => Problem::bad_gateway(format!("Twilio did not place the call{code}")),
    }
}

/// A text of one line; none if there is nothing in it.
fn text(field: &str, text: Option<String>, max: usize) -> Result<Option<String>, Problem> {
    let text = text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    match text {
        Some(text) if text.chars().count() > max => {
            Err(Problem::invalid(field, format!("expected at most {max} characters")))
        }
        Some(text) if text.chars().any(char::is_control) => {
            Err(Problem::invalid(field, "expected text without control characters"))
        }
        text => Ok(text.filter(|text| !text.is_empty())),
    }
}
