//! `POST /api/test-calls`: a call from the browser's microphone, over the same stream route as Twilio's.
//!
//! Its token is bound to whoever asked for it, is good for one stream, and only for a short time. The stream's own
//! handshake carries no signature of Twilio's, so it is let in by what only our own page can show: its origin and the
//! session or key of the one the token is bound to.

use super::access::{Access, Act};
use super::gate::Gate;
use super::problem::{ApiResult, Problem};
use super::spend;
use crate::domain::call::{CallKind, Direction};
use crate::domain::ids::{AdmissionId, CallSid};
use crate::domain::phone::CallerId;
use crate::domain::staff::{Who, WhoKind};
use crate::observe::clock::unix_now;
use crate::registry::messages::Admit;
use crate::registry::roster::{Admitted, NewCall};
use crate::registry::token::Claims;
use crate::session::actor::Door;
use crate::session::services::Services;
use actix_web::http::header::{HOST, ORIGIN};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, post, web};
use serde::Serialize;
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;

/// How long the browser may take to open its stream.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// The query that marks such a stream's handshake.
pub const STREAM_QUERY: &str = "kind=browser";

/// Adds the routes.
pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
    config.service(begin);
}

/// What the browser needs for its stream.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TestCall {
    /// Goes into `start.customParameters.token`; good for one stream, for 30 s.
    pub token: String,
    /// Where the stream is opened.
    pub stream_url: String,
    /// Goes into `start.callSid`.
    #[schema(example = "test-0123456789abcdef0123456789abcdef")]
    pub call_sid: String,
}

/// What an admission of this person's begins with.
fn mark(who: &Who) -> String {
    let kind = match who.kind {
        WhoKind::User => 'u',
        WhoKind::Key => 'k',
        WhoKind::Command => 'c',
    };
    format!("{kind}{}.", who.id)
}

/// Whether a token's admission is bound to this person.
fn is_bound_to(admission: &AdmissionId, who: &Who) -> bool {
    admission.as_str().starts_with(&mark(who))
}

/// Begins a test call from the browser
#[utoipa::path(
    tag = "live",
    responses(
        (status = 201, description = "What the stream needs", body = TestCall),
        (status = 429, description = "The day has cost as much as it may"),
        (status = 503, description = "All lines are busy"),
    ),
    security(("key" = []), ("session" = []))
)]
#[post("/api/test-calls")]
async fn begin(
    services: web::Data<Rc<Services>>,
    gate: web::Data<Gate>,
    request: HttpRequest,
    access: Access<Act>,
) -> ApiResult {
    let who = access.who();
    if let Some(limit) = spend::day_limit(&services, None).await {
        return Err(spend::problem(&services, limit));
    }
    let sid = CallSid::new(format!("test-{:032x}", rand::random::<u128>()));
    let call = NewCall {
        sid: sid.clone(),
        kind: CallKind::Browser,
        direction: Direction::Inbound,
        caller: CallerId::Client(who.name.as_str().into()),
        business_number: services.config.twilio.phone_number.clone(),
        admission: AdmissionId::new(format!("{}{:016x}", mark(who), rand::random::<u64>())),
        unaffordable: false,
        lagging: services.lags.lagging(),
    };
    let Admitted::New(facts) = services.registry.send(Admit(call)).await? else {
        return Err(Problem::unavailable("all lines are busy"));
    };
    let token = services.tokens.sign(&Claims::of(&facts, unix_now().after(GOOD_FOR)));
    let token = token.ok_or_else(|| Problem::unavailable("there is no secret to sign with"))?;
    services.staff_log(who, "call.test", sid.as_str().to_owned(), json!({})).await?;
    let stream_url = format!("{}?{STREAM_QUERY}", stream_address(&services, &gate, &request));
    let answer = TestCall { token, stream_url, call_sid: sid.as_str().to_owned() };
    Ok(HttpResponse::Created().json(answer))
}

/// Where the stream is opened: at the host that the page came from, for only there the browser shows its cookie.
fn stream_address(services: &Services, gate: &Gate, request: &HttpRequest) -> String {
    let ours = services.address.stream();
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let elsewhere = format!("{}://{host}/voice/stream", if gate.secure() { "wss" } else { "ws" });
    match (url::Url::parse(&ours), url::Url::parse(&elsewhere)) {
        (Ok(public), Ok(page)) if public.origin() != page.origin() => elsewhere,
        _ => ours,
    }
}

/// Whether a handshake comes from our own page: a browser says so truly, and who has a key is no browser.
fn is_from_our_page(gate: &Gate, request: &HttpRequest, who: &Who) -> bool {
    let headers = request.headers();
    if !headers.contains_key(ORIGIN) {
        return who.kind == WhoKind::Key;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    gate.own_origin(headers, host)
}

/// The way in for a browser's stream: only tokens that are bound to whoever opens it.
pub(super) async fn gate_of(request: &HttpRequest) -> Result<Door, Problem> {
    let access = Access::<Act>::extract(request).await?;
    let gate = request.app_data::<web::Data<Gate>>().ok_or_else(Problem::internal)?;
    let who = access.who().clone();
    if !is_from_our_page(gate, request, &who) {
        return Err(Problem::forbidden("the stream is opened by another site's page"));
    }
    Ok(Door::Browser(Box::new(move |admission| is_bound_to(admission, &who))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_bound_to_one_person() {
        let who = |kind, id| Who { kind, id, name: "Ann".into() };
        let admission = AdmissionId::new(format!("{}00ff", mark(&who(WhoKind::User, 7))));
        assert!(is_bound_to(&admission, &who(WhoKind::User, 7)));
        for (kind, id) in [(WhoKind::User, 77), (WhoKind::User, 1), (WhoKind::Key, 7), (WhoKind::Command, 7)]
        {
            assert!(!is_bound_to(&admission, &who(kind, id)));
        }
        assert!(!is_bound_to(&"0123456789abcdef".into(), &who(WhoKind::User, 7)));
    }
}
