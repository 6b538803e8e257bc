//! `/api/time-off`: time in which a person, or nobody, is booked.

use super::access::{Access, Act, Read};
use super::body::Json;
use super::common::{Clock, Shared, instant_of, page_of, paged, parse_date, staff_of, text_of};
use super::page::{Items, Page};
use super::problem::{ApiResult, Problem};
use crate::db::{ListKind, NewTimeOff as Wanted, TimeOff};
use crate::observe::clock::unix_now;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa_actix_web::service_config::ServiceConfig;

/// The longest time off, ms: a slip in the year is no holiday.
const LONGEST_MS: i64 = 2 * 366 * 86_400_000;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list).service(create).service(remove);
}

/// A stretch of time in which a person, or nobody, is booked.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = TimeOff)]
struct TimeOffBody {
    id: i64,
    /// Whose; `null`: everybody's.
    #[schema(required)]
    staff: Option<String>,
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
    #[schema(required)]
    reason: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
    /// Who entered it.
    #[schema(required)]
    created_by: Option<String>,
}

/// Time off that was entered.
#[derive(Serialize, utoipa::ToSchema)]
struct CreatedTimeOff {
    #[serde(flatten)]
    time_off: TimeOffBody,
    /// Confirmed appointments that begin in it. They stay until somebody moves them.
    appointments: usize,
}

/// Time off to be entered: a `date`, or `from` and `to`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTimeOff {
    /// Whose; everybody's if it is not given.
    #[serde(default)]
    staff: Option<String>,
    /// The whole of this day.
    #[schema(format = Date)]
    #[serde(default)]
    date: Option<String>,
    /// A day or an instant.
    #[schema(example = "2026-12-24T13:00:00-05:00")]
    #[serde(default)]
    from: Option<String>,
    /// An instant, or the last day.
    #[schema(example = "2026-12-24T15:00:00-05:00")]
    #[serde(default)]
    to: Option<String>,
    #[schema(max_length = 500)]
    #[serde(default)]
    reason: Option<String>,
}

/// Which time off.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Ends after it: a day or an instant.
    #[param(required = false, example = "2026-11-23")]
    from: Option<String>,
    /// Begins before it: an instant, or the last day.
    #[param(required = false, example = "2026-11-29")]
    to: Option<String>,
}

fn body(clock: &Clock, row: TimeOff) -> TimeOffBody {
    TimeOffBody {
        id: row.id,
        staff: row.staff,
        from: clock.stamp(row.from),
        to: clock.stamp(row.to),
        reason: row.reason,
        created_at: clock.stamp(row.created_at),
        created_by: row.created_by,
    }
}

/// The time off that touches a stretch of time, in the order of its beginning.
#[utoipa::path(
    tag = "appointments",
    params(Filter, Page),
    responses((status = 200, description = "The time off", body = Items<TimeOffBody>),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/time-off")]
async fn list(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    filter: web::Query<Filter>,
    page: web::Query<Page>,
) -> ApiResult {
    let clock = Clock::of(&services.profile);
    let from = clock.from("from", filter.from.as_deref())?;
    let to = clock.to("to", filter.to.as_deref())?;
    let page = page_of(&page, ListKind::TimeOff)?;
    let listed = services.db.list_time_off(from, to, page).await?;
    let items: Vec<TimeOffBody> = listed.items.into_iter().map(|row| body(&clock, row)).collect();
    Ok(paged(&request, items, listed.next))
}

/// Enter time off. Appointments that lie in it stay.
#[utoipa::path(
    tag = "appointments",
    request_body = NewTimeOff,
    responses((status = 201, description = "The time off", body = CreatedTimeOff),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[post("/api/time-off")]
async fn create(services: Shared, access: Access<Act>, new: Json<NewTimeOff>) -> ApiResult {
    let new = new.into_inner();
    let clock = Clock::of(&services.profile);
    let (from, to) = match (&new.date, &new.from, &new.to) {
        (Some(date), None, None) => {
            parse_date("date", date)?;
            (clock.from("date", Some(date))?, clock.to("date", Some(date))?)
        }
        (None, Some(from), Some(to)) => {
            // What is no day has to be an instant, whose message says both.
            let instant = |field: &str, text: &str| instant_of(field, text).map(Some);
            let day = |text: &str| parse_date("", text).is_ok();
            (
                if day(from) { clock.from("from", Some(from))? } else { instant("from", from)? },
                if day(to) { clock.to("to", Some(to))? } else { instant("to", to)? },
            )
        }
        (Some(_), ..) => return Err(Problem::invalid("date", "stands alone, without `from` and `to`")),
        (None, None, _) => {
            return Err(Problem::invalid("from", "is missing: give `date`, or `from` and `to`"));
        }
        (None, _, None) => return Err(Problem::invalid("to", "is missing: give `date`, or `from` and `to`")),
    };
    let (Some(from), Some(to)) = (from, to) else {
        return Err(Problem::invalid("from", "is missing: give `date`, or `from` and `to`"));
    };
    if from >= to {
        return Err(Problem::invalid("to", "must lie after `from`"));
    }
    if to.0.saturating_sub(from.0) > LONGEST_MS {
        return Err(Problem::invalid("to", "must lie at most two years after `from`"));
    }
    let staff = match text_of("staff", new.staff, 200)? {
        Some(text) => Some(staff_of(&services.profile, "staff", &text)?),
        None => None,
    };
    let reason = text_of("reason", new.reason, 500)?;
    let who = access.who();
    let wanted = Wanted { staff: staff.clone(), from, to, reason, by: Some(who.name.clone()) };
    let row = services.db.add_time_off(wanted, unix_now()).await?;
    let appointments = services.db.confirmed_between(staff, from, to).await?;
    let body = body(&clock, row);
    let detail = json!({ "staff": body.staff, "from": body.from, "to": body.to });
    services.staff_log(who, "time_off.create", format!("time off {}", body.id), detail).await?;
    let appointments = usize::try_from(appointments).unwrap_or(0);
    Ok(HttpResponse::Created().json(CreatedTimeOff { time_off: body, appointments }))
}

/// Take time off back.
#[utoipa::path(
    tag = "appointments",
    params(("id" = i64, Path, description = "Its id")),
    responses((status = 204, description = "Removed"),
              (status = 404, description = "There is no such time off")),
    security(("key" = []), ("session" = []))
)]
#[delete("/api/time-off/{id}")]
async fn remove(services: Shared, access: Access<Act>, id: web::Path<i64>) -> ApiResult {
    if !services.db.remove_time_off(*id).await? {
        return Err(Problem::not_found("time off"));
    }
    services.staff_log(access.who(), "time_off.remove", format!("time off {id}"), json!({})).await?;
    Ok(HttpResponse::NoContent().finish())
}
