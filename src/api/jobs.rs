//! `/api/jobs`: what is queued, done and given up, and what came of a call.

use super::access::{Access, Act, Admin, Read};
use super::calls::find;
use super::keys::local;
use super::page::{IdList, Items, Page, etagged, id_cursor};
use super::problem::{ApiResult, Problem};
use crate::db::{JobQuery, StoredJob, Touched};
use crate::domain::job::JobState;
use crate::jobs::messages::Wake;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

/// The routes of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list).service(retry).service(remove).service(outcome);
}

/// A job.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Job)]
struct JobBody {
    id: i64,
    /// `summary`, `callback`, `upload`, `retention`.
    kind: String,
    /// Names the work; unique.
    key: String,
    /// The call it is about, if it is about one.
    call_sid: Option<String>,
    /// `queued`, `leased`, `done`, `dead`.
    state: &'static str,
    /// Attempts so far.
    attempts: u32,
    /// When it is looked at next; `null` once it is over.
    #[schema(format = DateTime)]
    next_run_at: Option<String>,
    /// Stable code of the last failure.
    last_error: Option<String>,
    /// When it was queued.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was done or given up.
    #[schema(format = DateTime)]
    finished_at: Option<String>,
}

impl JobBody {
    fn new(job: StoredJob, zone: &str) -> Self {
        let over = matches!(job.state, JobState::Done | JobState::Dead);
        Self {
            id: job.id,
            kind: job.kind,
            key: job.key,
            call_sid: job.payload.get("call_sid").and_then(|sid| sid.as_str()).map(str::to_owned),
            state: job.state.as_str(),
            attempts: job.attempts,
            next_run_at: (!over).then(|| local(zone, job.next_run)),
            last_error: job.last_error,
            created_at: local(zone, job.created),
            finished_at: job.done.map(|at| local(zone, at)),
        }
    }
}

/// What came of a call.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CallOutcome)]
struct OutcomeBody {
    /// `intent`, `sentiment`, `booked`, `appointment_ids`, `lead`, `message`, `transferred`, `follow_up`. What the
    /// call's records say comes from there; the rest is the model's understanding.
    #[schema(value_type = Object)]
    outcome: serde_json::Value,
    /// The model that understood it.
    model: String,
    /// When.
    #[schema(format = DateTime)]
    created_at: String,
}

/// Which jobs.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct JobFilter {
    /// Only those that stand so: `queued`, `leased`, `done`, `dead`.
    #[param(required = false)]
    state: Option<String>,
}

/// Lists jobs, newest first; `state=dead` is the dead-letter list.
#[utoipa::path(
    tag = "jobs", params(JobFilter, Page),
    responses((status = 200, description = "A page of jobs", body = Items<JobBody>), (status = 304, description = "Nothing has changed."),
        (status = 400, description = "A parameter is wrong."), (status = 401, description = "No credential."),
        (status = 403, description = "Not allowed.")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/jobs")]
async fn list(
    _access: Access<Read>,
    request: HttpRequest,
    filter: web::Query<JobFilter>,
    page: web::Query<Page>,
    services: web::Data<Rc<Services>>,
) -> ApiResult {
    let state = match filter.state.as_deref() {
        None => None,
        Some(word) => Some(
            JobState::from_word(word)
                .ok_or_else(|| Problem::invalid("state", "must be queued, leased, done or dead"))?,
        ),
    };
    let query = JobQuery { state, below: page.after_id(IdList::Jobs)?, limit: page.limit.saturating_add(1) };
    let mut jobs = services.db.jobs(query).await?;
    let more = jobs.len() > page.limit as usize;
    jobs.truncate(page.limit as usize);
    let next_cursor = jobs.last().filter(|_| more).map(|last| id_cursor(IdList::Jobs, last.id));
    let items = jobs.into_iter().map(|job| JobBody::new(job, &services.profile.timezone)).collect();
    Ok(etagged(&request, &Items { items, next_cursor }))
}

fn touched(touched: Touched) -> Result<(), Problem> {
    match touched {
        Touched::Done => Ok(()),
        Touched::Unknown => Err(Problem::not_found("job")),
        Touched::Refused(state) => Err(Problem::conflict(format!("the job is {state}"))),
    }
}

/// Has a job that was given up, or that waits, tried anew at once.
#[utoipa::path(
    tag = "jobs", params(("id" = i64, Path, description = "The job.")),
    responses((status = 200, description = "It is queued", body = JobBody), (status = 401, description = "No credential."),
        (status = 403, description = "Not allowed."), (status = 404, description = "There is no such job."),
        (status = 409, description = "It is done, or somebody is at it.")),
    security(("key" = []), ("session" = []))
)]
#[post("/api/jobs/{id}/retry")]
async fn retry(access: Access<Act>, id: web::Path<i64>, services: web::Data<Rc<Services>>) -> ApiResult {
    let id = id.into_inner();
    touched(services.db.retry_job(id, unix_now()).await?)?;
    services.staff_log(access.who(), "job.retry", id.to_string(), serde_json::json!({})).await?;
    // A full mailbox holds such a wish already.
    let _ = services.jobs.try_send(Wake);
    let job = services.db.job(id).await?.ok_or_else(|| Problem::not_found("job"))?;
    Ok(HttpResponse::Ok().json(JobBody::new(job, &services.profile.timezone)))
}

/// Deletes a job nobody is at; what it was to do stays undone.
#[utoipa::path(
    tag = "jobs", params(("id" = i64, Path, description = "The job.")),
    responses((status = 204, description = "It is gone."), (status = 401, description = "No credential."),
        (status = 403, description = "Not allowed."), (status = 404, description = "There is no such job."),
        (status = 409, description = "Somebody is at it.")),
    security(("key" = []), ("session" = []))
)]
#[delete("/api/jobs/{id}")]
async fn remove(access: Access<Admin>, id: web::Path<i64>, services: web::Data<Rc<Services>>) -> ApiResult {
    let id = id.into_inner();
    touched(services.db.remove_job(id).await?)?;
    services.staff_log(access.who(), "job.delete", id.to_string(), serde_json::json!({})).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What came of a call, once its summary is written.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17")),
    responses((status = 200, description = "What came of it", body = OutcomeBody), (status = 401, description = "No credential."),
        (status = 403, description = "Not allowed."), (status = 404, description = "There is no such call, or none yet.")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}/outcome")]
async fn outcome(
    _access: Access<Read>,
    id: web::Path<String>,
    services: web::Data<Rc<Services>>,
) -> ApiResult {
    let call = find(&services, &id).await?;
    let stored = services.db.call_outcome(call.id).await?;
    let stored = stored.ok_or_else(|| Problem::not_found("outcome"))?;
    let created_at = local(&services.profile.timezone, stored.at);
    Ok(HttpResponse::Ok().json(OutcomeBody { outcome: stored.outcome, model: stored.model, created_at }))
}
