//! `/api/messages`: whom to call back.

use super::access::{Access, Act, Read};
use super::body::Json;
use super::common::{Clock, Shared, page_of, paged, word_of};
use super::page::{Items, Page};
use super::problem::{ApiResult, Problem};
use crate::db::{ListKind, MessageDetail, MessageFilter, MessageState};
use crate::domain::call::MessageKind;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpRequest, HttpResponse, get, patch, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa_actix_web::service_config::ServiceConfig;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list).service(patch_one);
}

/// A message for a call-back.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Message)]
struct MessageBody {
    id: i64,
    /// Left by the caller, or noted by us because the conversation broke off.
    kind: MessageKind,
    /// The call it was left in.
    call_sid: String,
    /// That call's id, if it is recorded.
    #[schema(required)]
    call_id: Option<i64>,
    /// Who left it.
    #[schema(required)]
    name: Option<String>,
    /// Where to ring back.
    #[schema(required)]
    phone: Option<String>,
    text: String,
    #[schema(format = DateTime)]
    created_at: String,
    done: bool,
    #[schema(required, format = DateTime)]
    done_at: Option<String>,
    #[schema(required)]
    done_by: Option<String>,
}

/// Whether a message is dealt with.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct MessagePatch {
    done: bool,
}

/// Which state a message is in.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes the words for the document only")]
enum State {
    Open,
    Done,
}

/// Which messages.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Still to be dealt with, or dealt with.
    #[param(required = false, value_type = Option<State>)]
    state: Option<String>,
    /// Left by the caller, or noted by us.
    #[param(required = false, value_type = Option<MessageKind>)]
    kind: Option<String>,
}

async fn bodies(services: &Services, rows: Vec<MessageDetail>) -> Result<Vec<MessageBody>, Problem> {
    let sids = rows.iter().map(|row| row.message.call.clone()).collect();
    let ids = services.db.call_ids(sids).await?;
    let clock = Clock::of(&services.profile);
    Ok(rows
        .into_iter()
        .map(|MessageDetail { message, done_at, done_by }| MessageBody {
            id: message.id,
            kind: message.kind,
            call_id: ids.get(&message.call).copied(),
            call_sid: message.call.as_str().to_owned(),
            name: message.name,
            phone: message.phone,
            text: message.text,
            created_at: clock.stamp(message.at),
            done: done_at.is_some(),
            done_at: done_at.map(|at| clock.stamp(at)),
            done_by,
        })
        .collect())
}

/// The messages, newest first.
#[utoipa::path(
    tag = "messages",
    params(Filter, Page),
    responses((status = 200, description = "The messages", body = Items<MessageBody>),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/messages")]
async fn list(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    filter: web::Query<Filter>,
    page: web::Query<Page>,
) -> ApiResult {
    let state = |word: &str| match word {
        "open" => Some(MessageState::Open),
        "done" => Some(MessageState::Done),
        _ => None,
    };
    let state = word_of("state", filter.state.as_deref(), state, &["open", "done"])?;
    let kinds: Vec<&str> = MessageKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let kind = word_of("kind", filter.kind.as_deref(), MessageKind::from_word, &kinds)?;
    let page = page_of(&page, ListKind::Messages)?;
    let listed = services.db.list_messages(MessageFilter { state, kind }, page).await?;
    let items = bodies(&services, listed.items).await?;
    Ok(paged(&request, items, listed.next))
}

/// Mark a message as dealt with, or as open again.
#[utoipa::path(
    tag = "messages",
    params(("id" = i64, Path, description = "The message's id")),
    request_body = MessagePatch,
    responses((status = 200, description = "The message as it is now", body = MessageBody),
              (status = 404, description = "There is no such message"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[patch("/api/messages/{id}")]
async fn patch_one(
    services: Shared,
    access: Access<Act>,
    id: web::Path<i64>,
    patch: Json<MessagePatch>,
) -> ApiResult {
    let who = access.who();
    let row = services.db.set_message_done(*id, patch.done, who.name.clone(), unix_now()).await?;
    let row = row.ok_or_else(|| Problem::not_found("message"))?;
    services.staff_log(who, "message.change", format!("message {id}"), json!({ "done": patch.done })).await?;
    let body = bodies(&services, vec![row]).await?.pop().ok_or_else(Problem::internal)?;
    Ok(HttpResponse::Ok().json(body))
}
