//! `/api/calls`: what was said, and what came of it.

use super::access::{Access, Read};
use super::common::{Clock, Shared, id_of, page_of, paged, phone_of, word_of, words_of};
use super::page::{Items, Page, etagged};
use super::problem::{ApiResult, Problem};
use crate::db::{CallFilter, CallFlag, CallOverview, ListKind, Listed, Page as DbPage};
use crate::domain::call::{CallKind, CallStatus, Direction, EndReason, SummaryState};
use crate::domain::ids::CallSid;
use crate::domain::phone::CallerId;
use crate::domain::turn::{Speaker, StageLatencies, TurnRecord};
use crate::session::services::Services;
use actix_web::{HttpRequest, HttpResponse, get, web};
use serde::{Deserialize, Serialize};
use utoipa_actix_web::service_config::ServiceConfig;

/// Turns that are read for one transcript; a call has a few dozen.
const MAX_TURNS: u32 = 500;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list).service(one).service(turns_of).service(events_of);
}

/// A call.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Call)]
pub(super) struct CallBody {
    pub(super) id: i64,
    /// Twilio's identifier.
    pub(super) call_sid: String,
    /// The other party's number, if it was shown.
    #[schema(required)]
    pub(super) phone_number: Option<String>,
    /// The other party, for people to read.
    caller: String,
    pub(super) direction: Direction,
    kind: CallKind,
    pub(super) status: CallStatus,
    /// Why it ended; `null` while it goes on.
    #[schema(required)]
    pub(super) end_reason: Option<EndReason>,
    /// Seconds from answer to end; `null` while it goes on.
    #[schema(required)]
    pub(super) duration: Option<u64>,
    #[schema(required)]
    pub(super) summary: Option<String>,
    /// Whether the summary is still to come, written, or given up.
    summary_state: SummaryState,
    pub(super) lead_captured: bool,
    pub(super) appointment_booked: bool,
    pub(super) message_taken: bool,
    pub(super) transferred: bool,
    /// Whether something is left to do.
    pub(super) follow_up: bool,
    #[schema(required)]
    pub(super) customer_id: Option<i64>,
    #[schema(required)]
    customer_name: Option<String>,
    #[schema(format = DateTime)]
    pub(super) started_at: String,
    #[schema(required, format = DateTime)]
    answered_at: Option<String>,
    #[schema(required, format = DateTime)]
    pub(super) ended_at: Option<String>,
    /// How often its stream broke.
    breaks: u32,
}

/// A call with what was said.
#[derive(Serialize, utoipa::ToSchema)]
struct CallWithTranscript {
    #[serde(flatten)]
    call: CallBody,
    /// The conversation, a line a turn, as far as it was heard.
    transcript: String,
}

/// One entry of a conversation.
#[derive(Serialize, utoipa::ToSchema)]
struct Turn {
    /// Its place in the call, from 1.
    n: u32,
    speaker: Speaker,
    /// What was said; of the bot, what was handed to the voice.
    said: String,
    /// What of it was heard.
    heard: String,
    /// Whether the caller cut it short.
    interrupted: bool,
    /// When it began, in ms since the call's start.
    at_ms: u64,
    /// How long the answer took to come, by stages.
    latency: StageLatencies,
}

/// Something that happened in a call.
#[derive(Serialize, utoipa::ToSchema)]
struct CallEvent {
    id: i64,
    #[schema(format = DateTime)]
    at: String,
    /// When, in Unix ms.
    at_ms: i64,
    /// What: `tts.fallback`.
    code: String,
    detail: serde_json::Value,
}

/// Which calls; all that is given must hold.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Words that were said, stand in the summary, or begin so; digits of the number.
    #[param(required = false, max_length = 200)]
    q: Option<String>,
    /// How it stands.
    #[param(required = false, value_type = Option<CallStatus>)]
    status: Option<String>,
    /// Who placed it.
    #[param(required = false, value_type = Option<Direction>)]
    direction: Option<String>,
    /// What it achieved; several with commas: `lead_captured`, `appointment_booked`, `message_taken`, `transferred`,
    /// `follow_up`.
    #[param(required = false, example = "message_taken,follow_up")]
    outcome: Option<String>,
    /// Began then or later: a day or an instant.
    #[param(required = false, example = "2026-11-22")]
    from: Option<String>,
    /// Began before: an instant, or the last day.
    #[param(required = false, example = "2026-11-22")]
    to: Option<String>,
    /// Of this customer.
    #[param(required = false, value_type = Option<i64>)]
    customer: Option<String>,
    /// With this number.
    #[param(required = false, example = "+12025550143")]
    phone: Option<String>,
}

const FLAGS: [&str; 5] = ["lead_captured", "appointment_booked", "message_taken", "transferred", "follow_up"];

fn flag_of(word: &str) -> Option<CallFlag> {
    match word {
        "lead_captured" => Some(CallFlag::LeadCaptured),
        "appointment_booked" => Some(CallFlag::AppointmentBooked),
        "message_taken" => Some(CallFlag::MessageTaken),
        "transferred" => Some(CallFlag::Transferred),
        "follow_up" => Some(CallFlag::FollowUp),
        _ => None,
    }
}

impl Filter {
    /// From when to when, as it was asked for.
    pub(super) fn span(&self) -> [Option<&str>; 2] {
        [self.from.as_deref(), self.to.as_deref()]
    }

    /// The name of something that is asked for beside the time.
    pub(super) fn beside_time(&self) -> Option<&'static str> {
        let given = [
            ("q", &self.q),
            ("status", &self.status),
            ("direction", &self.direction),
            ("outcome", &self.outcome),
            ("customer", &self.customer),
            ("phone", &self.phone),
        ];
        let given = given.into_iter().find(|(_, text)| text.as_deref().is_some_and(|text| !text.is_empty()));
        given.map(|(name, _)| name)
    }

    pub(super) fn read(&self, services: &Services) -> Result<CallFilter, Problem> {
        let clock = Clock::of(&services.profile);
        let statuses: Vec<&str> = CallStatus::ALL.iter().map(|status| status.as_str()).collect();
        let words = self.outcome.as_deref().unwrap_or_default().split(',').map(str::trim);
        let flags = words
            .filter(|word| !word.is_empty())
            .map(|word| word_of("outcome", Some(word), flag_of, &FLAGS))
            .collect::<Result<Vec<_>, _>>()?;
        let phone = self.phone.as_deref().filter(|text| !text.trim().is_empty());
        let q = self.q.as_deref().filter(|text| !text.trim().is_empty());
        Ok(CallFilter {
            status: word_of("status", self.status.as_deref(), CallStatus::from_word, &statuses)?,
            direction: word_of(
                "direction",
                self.direction.as_deref(),
                Direction::from_word,
                &["inbound", "outbound"],
            )?,
            flags: flags.into_iter().flatten().collect(),
            from: clock.from("from", self.from.as_deref())?,
            to: clock.to("to", self.to.as_deref())?,
            customer_id: id_of("customer", self.customer.as_deref())?,
            phone: phone.map(|text| phone_of(&services.profile, "phone", text)).transpose()?,
            words: q.map(|text| words_of("q", text)).transpose()?,
        })
    }
}

/// The calls as they are shown, with their customers' names.
pub(super) async fn bodies(services: &Services, calls: Vec<CallOverview>) -> Result<Vec<CallBody>, Problem> {
    let ids = calls.iter().filter_map(|call| call.customer_id).collect();
    let names = services.db.customer_names(ids).await?;
    let clock = Clock::of(&services.profile);
    Ok(calls
        .into_iter()
        .map(|call| {
            let name = call.customer_id.and_then(|id| names.get(&id).cloned());
            body(&clock, call, name)
        })
        .collect())
}

fn body(clock: &Clock, call: CallOverview, customer_name: Option<String>) -> CallBody {
    let facts = call.facts;
    let phone_number = match &facts.caller {
        CallerId::Withheld => None,
        caller => Some(caller.label().to_owned()),
    };
    CallBody {
        id: call.id,
        call_sid: facts.sid.as_str().to_owned(),
        phone_number,
        caller: facts.caller.label().to_owned(),
        direction: facts.direction,
        kind: facts.kind,
        status: call.status,
        end_reason: call.end_reason,
        duration: call.duration_s,
        summary: call.summary,
        summary_state: call.summary_state,
        lead_captured: call.outcome.lead_captured,
        appointment_booked: call.outcome.appointment_booked,
        message_taken: call.outcome.message_taken,
        transferred: call.outcome.transferred,
        follow_up: call.outcome.follow_up,
        customer_id: call.customer_id,
        customer_name,
        started_at: clock.stamp(facts.admitted_at),
        answered_at: call.answered_at.map(|at| clock.stamp(at)),
        ended_at: call.ended_at.map(|at| clock.stamp(at)),
        breaks: call.breaks,
    }
}

/// A call by our id or by Twilio's.
pub(super) async fn find(services: &Services, id: &str) -> Result<CallOverview, Problem> {
    let call = match id.parse::<i64>() {
        Ok(id) => services.db.call_by_id(id).await?,
        Err(_) if id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
            services.db.call_overview(CallSid::new(id)).await?
        }
        Err(_) => None,
    };
    call.ok_or_else(|| Problem::not_found("call"))
}

/// The calls, newest first. With `q` only those that have ended are found.
#[utoipa::path(
    tag = "calls",
    params(Filter, Page),
    responses((status = 200, description = "The calls", body = Items<CallBody>),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls")]
async fn list(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    filter: web::Query<Filter>,
    page: web::Query<Page>,
) -> ApiResult {
    let filter = filter.read(&services)?;
    let page = page_of(&page, filter.kind())?;
    let listed = services.db.list_calls(filter, page).await?;
    let items = bodies(&services, listed.items).await?;
    Ok(paged(&request, items, listed.next))
}

/// A call, with what was said.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17")),
    responses((status = 200, description = "The call", body = CallWithTranscript),
              (status = 304, description = "Not changed"),
              (status = 404, description = "There is no such call")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}")]
async fn one(services: Shared, _: Access<Read>, request: HttpRequest, id: web::Path<String>) -> ApiResult {
    let call = find(&services, &id).await?;
    let turns = services.db.list_turns(call.id, DbPage::new(MAX_TURNS, None)).await?.items;
    let transcript = match &call.imported_transcript {
        Some(text) => text.clone(),
        None => transcript(&turns),
    };
    let mut bodies = bodies(&services, vec![call]).await?;
    let call = bodies.pop().ok_or_else(|| Problem::not_found("call"))?;
    Ok(etagged(&request, &CallWithTranscript { call, transcript }))
}

/// A conversation as text.
pub(super) fn transcript(turns: &[TurnRecord]) -> String {
    let lines: Vec<String> = turns
        .iter()
        .filter(|turn| !turn.heard.trim().is_empty())
        .map(|turn| {
            let who = match turn.speaker {
                Speaker::Caller => "Caller",
                Speaker::Bot => "Bot",
            };
            format!("{who}: {}", turn.heard.trim())
        })
        .collect();
    lines.join("\n")
}

/// The turns of a call, in order.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17"), Page),
    responses((status = 200, description = "The turns", body = Items<Turn>),
              (status = 304, description = "Not changed"),
              (status = 404, description = "There is no such call")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}/turns")]
async fn turns_of(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    id: web::Path<String>,
    page: web::Query<Page>,
) -> ApiResult {
    let page = page_of(&page, ListKind::Turns)?;
    let call = find(&services, &id).await?;
    let Listed { items, next: cursor } = services.db.list_turns(call.id, page).await?;
    let items: Vec<Turn> = items
        .into_iter()
        .map(|turn| Turn {
            n: turn.n,
            speaker: turn.speaker,
            said: turn.said,
            heard: turn.heard,
            interrupted: turn.interrupted,
            at_ms: turn.at_ms,
            latency: turn.latency,
        })
        .collect();
    Ok(paged(&request, items, cursor))
}

/// The audit trail of a call, in order.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17"), Page),
    responses((status = 200, description = "The events", body = Items<CallEvent>),
              (status = 304, description = "Not changed"),
              (status = 404, description = "There is no such call")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}/events")]
async fn events_of(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    id: web::Path<String>,
    page: web::Query<Page>,
) -> ApiResult<HttpResponse> {
    let page = page_of(&page, ListKind::Events)?;
    let call = find(&services, &id).await?;
    let clock = Clock::of(&services.profile);
    let Listed { items, next: cursor } = services.db.list_events(call.facts.sid, page).await?;
    let items: Vec<CallEvent> = items
        .into_iter()
        .map(|stored| CallEvent {
            id: stored.id,
            at: clock.stamp(stored.at),
            at_ms: stored.at.0,
            code: stored.event.code,
            detail: stored.event.detail,
        })
        .collect();
    Ok(paged(&request, items, cursor))
}
