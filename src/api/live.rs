//! Calls that are not over, and what staff may do to them: end, put through, say something, mute the bot.

use super::access::{Access, Act, Read};
use super::body::Json;
use super::keys::local;
use super::problem::{ApiResult, Problem};
use crate::db::{TollCeiling, TollCeilings, TollsFull};
use crate::domain::ids::CallSid;
use crate::domain::phone::PhoneNumber;
use crate::observe::clock::unix_now;
use crate::observe::feed::FeedEvent;
use crate::registry::messages::{Command, ListLive, StaffOrder};
use crate::registry::roster::{Commanded, LiveCall};
use crate::session::services::Services;
use actix_web::{HttpResponse, get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::rc::Rc;

type Shared = web::Data<Rc<Services>>;

/// Longest text that staff may have said, in characters.
const MAX_SAY: usize = 500;

/// Adds the routes.
pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
    config.service(list).service(end).service(transfer).service(say).service(mute);
}

/// A call that is not over.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct LiveView {
    /// Its identifier.
    pub call_sid: String,
    /// The other party: a number, or a word for one that is none.
    pub phone_number: String,
    /// The customer, once it is known who it is.
    #[schema(required)]
    pub customer_id: Option<i64>,
    /// Their name.
    #[schema(required)]
    pub customer_name: Option<String>,
    /// The business's number.
    pub business_number: String,
    /// `inbound` or `outbound`.
    #[schema(example = "inbound")]
    pub direction: &'static str,
    /// `twilio`, `browser` or `simulated`.
    #[schema(example = "twilio")]
    pub kind: &'static str,
    /// How it stands: `ringing`, `reserved` (its stream is awaited), `live`, `suspended`, `transferring`, `leaving`,
    /// `ending`.
    #[schema(example = "live")]
    pub state: &'static str,
    /// Whether the bot is to be silent.
    pub muted: bool,
    /// Since when it is there.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// For how long, s.
    pub duration: u64,
}

impl LiveView {
    /// A call as staff see it.
    pub fn of(call: &LiveCall, zone: &str) -> Self {
        let facts = &call.facts;
        let age = unix_now().millis_since(facts.admitted_at);
        Self {
            call_sid: facts.sid.as_str().to_owned(),
            phone_number: facts.caller.label().to_owned(),
            customer_id: call.customer.as_ref().map(|customer| customer.id),
            customer_name: call.customer.as_ref().and_then(|customer| customer.name.clone()),
            business_number: facts.business_number.clone(),
            direction: facts.direction.as_str(),
            kind: facts.kind.as_str(),
            state: call.state,
            muted: call.muted,
            started_at: local(zone, facts.admitted_at),
            duration: age / 1_000,
        }
    }
}

/// The calls that are not over.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LiveList {
    /// The calls, oldest first.
    pub items: Vec<LiveView>,
    /// There is only one page.
    pub next_cursor: Option<String>,
}

/// What became of an order.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Ordered {
    /// Always true; else there is a problem.
    pub success: bool,
    /// The call.
    #[serde(rename = "callSid")]
    pub call_sid: String,
}

/// How a call is to end.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndBody {
    /// Whether the bot says goodbye first.
    #[serde(default)]
    pub goodbye: bool,
}

/// To whom a caller is put through.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferBody {
    /// The number, in E.164 or as people write it with a country code; the business's own person if absent.
    #[schema(example = "+12025550177")]
    pub number: Option<String>,
}

/// What the bot is to say.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SayBody {
    /// At most 500 characters.
    #[schema(min_length = 1, max_length = 500)]
    pub text: String,
}

/// Whether the bot is to be silent.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MuteBody {
    /// `true`: it says and answers nothing, but goes on listening.
    pub muted: bool,
}

/// Lists the calls that are not over
#[utoipa::path(
    tag = "live",
    responses((status = 200, description = "The calls, oldest first", body = LiveList)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/live")]
async fn list(services: Shared, _access: Access<Read>) -> ApiResult {
    let calls = services.registry.send(ListLive).await?;
    let items = calls.iter().map(|call| LiveView::of(call, &services.profile.timezone)).collect();
    Ok(HttpResponse::Ok().json(LiveList { items, next_cursor: None }))
}

async fn order(
    services: &Services,
    access: &Access<Act>,
    sid: String,
    order: StaffOrder,
    detail: serde_json::Value,
) -> ApiResult {
    let sid = CallSid::new(sid);
    let action = match &order {
        StaffOrder::End { .. } => "call.end",
        StaffOrder::Transfer { .. } => "call.transfer",
        StaffOrder::Say(_) => "call.say",
        StaffOrder::Mute(true) => "call.mute",
        StaffOrder::Mute(false) => "call.unmute",
    };
    match services.registry.send(Command { sid: sid.clone(), order }).await? {
        Commanded::Unknown => return Err(Problem::not_found("live call")),
        Commanded::NotNow { state } => {
            return Err(Problem::conflict(format!("the call is {state}: that is not possible now")));
        }
        Commanded::Ended { hang_up: true } => {
            // We have given it up; Twilio would ring on.
            if let Err(error) = services.rest.hang_up(&sid).await {
                tracing::warn!(call.id = %sid, code = error.event_code(), "call not hung up");
                // It is over for us all the same, by this order.
                let detail = json!({ "order": detail, "hang_up": error.event_code() });
                services.staff_log(access.who(), action, sid.as_str().to_owned(), detail).await?;
                services.feed.tell(FeedEvent::Changed { sid });
                return Err(Problem::bad_gateway("Twilio could not be told to hang up"));
            }
        }
        Commanded::Done | Commanded::Ended { hang_up: false } => {}
    }
    services.staff_log(access.who(), action, sid.as_str().to_owned(), detail).await?;
    services.feed.tell(FeedEvent::Changed { sid: sid.clone() });
    Ok(HttpResponse::Ok().json(Ordered { success: true, call_sid: sid.as_str().to_owned() }))
}

/// Ends a call
#[utoipa::path(
    tag = "live",
    params(("call_sid" = String, Path, description = "The call")),
    request_body = EndBody,
    responses(
        (status = 200, description = "It ends", body = Ordered),
        (status = 404, description = "There is no such live call"),
        (status = 409, description = "Not as the call stands now"),
        (status = 502, description = "Twilio could not be told"),
    ),
    security(("key" = []), ("session" = []))
)]
#[post("/api/live/{call_sid}/end")]
async fn end(
    services: Shared,
    access: Access<Act>,
    sid: web::Path<String>,
    body: Json<EndBody>,
) -> ApiResult {
    let goodbye = body.goodbye;
    let detail = json!({ "goodbye": goodbye });
    order(&services, &access, sid.into_inner(), StaffOrder::End { goodbye }, detail).await
}

/// Puts a caller through to a person
#[utoipa::path(
    tag = "live",
    params(("call_sid" = String, Path, description = "The call")),
    request_body = TransferBody,
    responses(
        (status = 200, description = "The bot says so, and the person is rung", body = Ordered),
        (status = 404, description = "There is no such live call"),
        (status = 409, description = "Not as the call stands now"),
        (status = 429, description = "That number was rung too often"),
    ),
    security(("key" = []), ("session" = []))
)]
#[post("/api/live/{call_sid}/transfer")]
async fn transfer(
    services: Shared,
    access: Access<Act>,
    sid: web::Path<String>,
    body: Json<TransferBody>,
) -> ApiResult {
    let to = match body.number.as_deref() {
        Some(text) => {
            Some(PhoneNumber::parse(text, None).map_err(|e| Problem::invalid("number", e.to_string()))?)
        }
        None if services.transfer_number.is_some() => None,
        None => {
            return Err(Problem::invalid("number", "the profile has no transfer_number: a number is needed"));
        }
    };
    if let Some(to) = to.as_ref().filter(|to| Some(*to) != services.transfer_number.as_ref()) {
        take_toll(&services, "number", to).await?;
    }
    // The business's own person by name of the number as it is now: the profile may change before they are rung.
    let to = to.or_else(|| services.transfer_number.clone());
    let detail = json!({ "number": to.as_ref().map(PhoneNumber::as_str) });
    order(&services, &access, sid.into_inner(), StaffOrder::Transfer { to }, detail).await
}

/// Counts a call to a number, if it may be rung at all and now.
pub(super) async fn take_toll(services: &Services, field: &str, to: &PhoneNumber) -> Result<(), Problem> {
    services.tolls.allows(to).map_err(|refusal| Problem::invalid(field, refusal.to_string()))?;
    let config = &services.config.outbound;
    let ceilings = TollCeilings {
        per_hour: config.per_hour,
        per_day: config.per_day,
        per_destination: config.per_destination,
    };
    match services.db.take_toll(to.clone(), ceilings, unix_now()).await? {
        None => Ok(()),
        Some(TollsFull { ceiling, wait_ms }) => {
            let what = match ceiling {
                TollCeiling::Destination => "to one number in a day",
                TollCeiling::Hour => "in an hour",
                TollCeiling::Day => "in a day",
            };
            let wait = wait_ms.div_ceil(1_000).max(1);
            let detail = format!("the ceiling of calls {what} is reached: try again in {wait} s");
            Err(Problem::too_many_because(detail, wait))
        }
    }
}

/// Has the bot say a sentence now
#[utoipa::path(
    tag = "live",
    params(("call_sid" = String, Path, description = "The call")),
    request_body = SayBody,
    responses(
        (status = 200, description = "It is being said", body = Ordered),
        (status = 404, description = "There is no such live call"),
        (status = 409, description = "Not as the call stands now"),
    ),
    security(("key" = []), ("session" = []))
)]
#[post("/api/live/{call_sid}/say")]
async fn say(
    services: Shared,
    access: Access<Act>,
    sid: web::Path<String>,
    body: Json<SayBody>,
) -> ApiResult {
    let text = body.text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() || text.chars().count() > MAX_SAY || text.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "text",
            format!("expected 1 to {MAX_SAY} characters that can be spoken"),
        ));
    }
    let detail = json!({ "text": text });
    order(&services, &access, sid.into_inner(), StaffOrder::Say(text), detail).await
}

/// Silences the bot, or lets it speak again
#[utoipa::path(
    tag = "live",
    params(("call_sid" = String, Path, description = "The call")),
    request_body = MuteBody,
    responses(
        (status = 200, description = "It is as wanted", body = Ordered),
        (status = 404, description = "There is no such live call"),
        (status = 409, description = "Not as the call stands now"),
    ),
    security(("key" = []), ("session" = []))
)]
#[post("/api/live/{call_sid}/mute")]
async fn mute(
    services: Shared,
    access: Access<Act>,
    sid: web::Path<String>,
    body: Json<MuteBody>,
) -> ApiResult {
    order(&services, &access, sid.into_inner(), StaffOrder::Mute(body.muted), json!({})).await
}
