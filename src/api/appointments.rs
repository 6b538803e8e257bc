//! `/api/appointments` and `/api/availability`: the calendar.

use super::access::{Access, Act, Read};
use super::body::Json;
use super::common::{
    Clock, Shared, given, id_of, page_of, paged, parse_date, parse_start, parse_time, staff_of, text_of,
    word_of,
};
use super::page::{Items, Page, etagged};
use super::problem::{ApiResult, Problem};
use crate::booking::availability::{Unavailable, day_span, free_slots, resources};
use crate::db::{
    AppointmentChange, AppointmentDetail, AppointmentFilter, NewAppointment as Wanted, StaffOutcome,
};
use crate::domain::appointment::AppointmentStatus;
use crate::domain::profile::BusinessProfile;
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa_actix_web::service_config::ServiceConfig;

const MAX_NOTES: usize = 10_000;
/// How often a change is tried that others keep getting in the way of.
const MOVES: u32 = 5;
/// The longest appointment, minutes.
const MAX_MINUTES: u32 = 12 * 60;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(create)
        .service(one)
        .service(patch_one)
        .service(cancel)
        .service(availability);
}

/// An appointment.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Appointment)]
pub(super) struct AppointmentBody {
    pub(super) id: i64,
    #[schema(required)]
    pub(super) customer_id: Option<i64>,
    #[schema(required)]
    pub(super) customer_name: Option<String>,
    pub(super) service: String,
    pub(super) staff: String,
    /// In the business's zone.
    #[schema(format = Date)]
    pub(super) date: String,
    /// `HH:MM` in the business's zone.
    #[schema(example = "09:30")]
    pub(super) time: String,
    /// Minutes.
    pub(super) duration: u32,
    pub(super) status: AppointmentStatus,
    #[schema(required)]
    pub(super) notes: Option<String>,
    #[schema(format = DateTime)]
    pub(super) starts_at: String,
    #[schema(format = DateTime)]
    ends_at: String,
    /// The call it was booked in.
    #[schema(required)]
    call_sid: Option<String>,
    #[schema(format = DateTime)]
    pub(super) created_at: String,
    #[schema(format = DateTime)]
    pub(super) updated_at: String,
}

/// An appointment to be made. Staff may book outside the opening hours, but nobody twice and nobody who is off.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAppointment {
    #[serde(default)]
    customer_id: Option<i64>,
    /// The name of a service of the profile, or another if `duration` is given.
    #[schema(min_length = 1, max_length = 200)]
    service: String,
    /// Who serves; whoever is free if it is not given.
    #[serde(default)]
    staff: Option<String>,
    /// In the business's zone.
    #[schema(format = Date)]
    date: String,
    /// `HH:MM` in the business's zone, at a whole number of five minutes.
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][05]$", example = "09:30")]
    time: String,
    /// Minutes; as long as the service takes if it is not given.
    #[schema(minimum = 1, maximum = 720)]
    #[serde(default)]
    duration: Option<u32>,
    #[schema(max_length = 10_000)]
    #[serde(default)]
    notes: Option<String>,
}

/// What is to be changed: what is left out stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct AppointmentPatch {
    /// `null` takes the customer away.
    #[schema(value_type = Option<i64>)]
    #[serde(default, deserialize_with = "given")]
    customer_id: Option<Option<i64>>,
    #[schema(min_length = 1, max_length = 200)]
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    staff: Option<String>,
    #[schema(format = Date)]
    #[serde(default)]
    date: Option<String>,
    #[schema(pattern = "^([01][0-9]|2[0-3]):[0-5][05]$", example = "09:30")]
    #[serde(default)]
    time: Option<String>,
    #[schema(minimum = 1, maximum = 720)]
    #[serde(default)]
    duration: Option<u32>,
    /// `null` takes the notes away.
    #[schema(value_type = Option<String>, max_length = 10_000)]
    #[serde(default, deserialize_with = "given")]
    notes: Option<Option<String>>,
    /// Calls it off, or on again.
    #[serde(default)]
    status: Option<AppointmentStatus>,
}

/// Which appointments; all that is given must hold.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// On this day.
    #[param(required = false, example = "2026-11-23")]
    date: Option<String>,
    /// Begins then or later: a day or an instant. Then the earliest comes first.
    #[param(required = false, example = "2026-11-23")]
    from: Option<String>,
    /// Begins before: an instant, or the last day.
    #[param(required = false, example = "2026-11-29")]
    to: Option<String>,
    /// With this person, of the profile or not any more.
    #[param(required = false)]
    staff: Option<String>,
    /// Of this customer.
    #[param(required = false, value_type = Option<i64>)]
    customer: Option<String>,
    /// How it stands.
    #[param(required = false, value_type = Option<AppointmentStatus>)]
    status: Option<String>,
}

/// For what a free time is wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wish {
    /// The name of a service.
    #[param(required = true, value_type = String, example = "Haircut")]
    service: Option<String>,
    /// The day.
    #[param(required = true, value_type = String, example = "2026-11-23")]
    date: Option<String>,
    /// With this person.
    #[param(required = false)]
    staff: Option<String>,
}

/// A free time.
#[derive(Serialize, utoipa::ToSchema)]
struct FreeTime {
    staff: String,
    #[schema(format = Date)]
    date: String,
    /// `HH:MM` in the business's zone.
    time: String,
    #[schema(format = DateTime)]
    starts_at: String,
    #[schema(format = DateTime)]
    ends_at: String,
}

/// A day's free times.
#[derive(Serialize, utoipa::ToSchema)]
struct FreeTimes {
    items: Vec<FreeTime>,
    /// Always `null`: a day has one page.
    #[schema(required)]
    next_cursor: Option<String>,
    /// Why there is none, if it is not that all are taken: `closed`, `past`, `too_late`, `too_far`, `too_long`.
    #[schema(required)]
    reason: Option<&'static str>,
}

pub(super) async fn bodies(
    services: &Services,
    rows: Vec<AppointmentDetail>,
) -> Result<Vec<AppointmentBody>, Problem> {
    let ids = rows.iter().filter_map(|row| row.customer_id).collect();
    let names = services.db.customer_names(ids).await?;
    let clock = Clock::of(&services.profile);
    Ok(rows
        .into_iter()
        .map(|row| AppointmentBody {
            customer_name: row.customer_id.and_then(|id| names.get(&id).cloned()),
            date: clock.date(row.starts_at),
            time: clock.time(row.starts_at),
            starts_at: clock.stamp(row.starts_at),
            ends_at: clock.stamp(end_of(&row)),
            created_at: clock.stamp(row.created_at),
            updated_at: clock.stamp(row.updated_at),
            call_sid: row.call.map(|sid| sid.as_str().to_owned()),
            id: row.id,
            customer_id: row.customer_id,
            service: row.service,
            staff: row.staff,
            duration: row.minutes,
            status: row.status,
            notes: row.notes,
        })
        .collect())
}

fn end_of(row: &AppointmentDetail) -> UnixMillis {
    UnixMillis(row.starts_at.0.saturating_add(i64::from(row.minutes) * 60_000))
}

async fn body(services: &Services, row: AppointmentDetail) -> Result<AppointmentBody, Problem> {
    bodies(services, vec![row]).await?.pop().ok_or_else(Problem::internal)
}

fn minutes_of(minutes: u32) -> Result<u32, Problem> {
    if (1..=MAX_MINUTES).contains(&minutes) {
        Ok(minutes)
    } else {
        Err(Problem::invalid("duration", format!("must be from 1 to {MAX_MINUTES} minutes")))
    }
}

/// The service's name as the profile writes it, and how long it takes if the profile knows it.
fn service_of(profile: &BusinessProfile, text: String) -> Result<(String, Option<u32>), Problem> {
    let text = text_of("service", Some(text), 200)?;
    let text = text.ok_or_else(|| Problem::invalid("service", "must name a service"))?;
    let known = profile.services.iter().find(|service| service.name.eq_ignore_ascii_case(&text));
    Ok(known.map_or((text, None), |service| (service.name.clone(), Some(service.minutes))))
}

/// A person of the profile, or somebody who has left it: their appointments are still there. By the whole name, for
/// somebody who has left may be called much like somebody who has not.
fn anybody(profile: &BusinessProfile, text: &str) -> Result<String, Problem> {
    let text = text_of("staff", Some(text.to_owned()), 200)?.unwrap_or_default();
    let exact = profile.staff.iter().find(|person| person.name.eq_ignore_ascii_case(&text));
    Ok(exact.map_or(text, |person| person.name.clone()))
}

fn refused(outcome: StaffOutcome) -> Result<AppointmentDetail, Problem> {
    match outcome {
        StaffOutcome::Done(detail) => Ok(detail),
        StaffOutcome::Taken => Err(Problem::conflict("a part of this time is taken")),
        StaffOutcome::TimeOff => Err(Problem::conflict("this person is off at this time")),
        StaffOutcome::Moved => Err(Problem::conflict("it is being moved by somebody else")),
        StaffOutcome::Unknown => Err(Problem::not_found("appointment")),
        StaffOutcome::UnknownCustomer => Err(Problem::invalid("customer_id", "there is no such customer")),
    }
}

/// The appointments, cancelled ones too: with `date` or `from` the earliest first, else the latest first.
#[utoipa::path(
    tag = "appointments",
    params(Filter, Page),
    responses((status = 200, description = "The appointments", body = Items<AppointmentBody>),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/appointments")]
async fn list(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    filter: web::Query<Filter>,
    page: web::Query<Page>,
) -> ApiResult {
    let clock = Clock::of(&services.profile);
    let mut from = clock.from("from", filter.from.as_deref())?;
    let mut to = clock.to("to", filter.to.as_deref())?;
    if let Some(date) = filter.date.as_deref() {
        parse_date("date", date)?;
        let (begin, end) = (clock.from("date", Some(date))?, clock.to("date", Some(date))?);
        // Both must hold.
        from = from.max(begin);
        to = match to {
            Some(to) => end.map(|end| end.min(to)),
            None => end,
        };
    }
    let staff = filter.staff.as_deref().filter(|staff| !staff.trim().is_empty());
    let status = |word: &str| match word {
        "confirmed" => Some(AppointmentStatus::Confirmed),
        "cancelled" => Some(AppointmentStatus::Cancelled),
        _ => None,
    };
    let filter = AppointmentFilter {
        from,
        to,
        staff: staff.map(|text| anybody(&services.profile, text)).transpose()?,
        customer_id: id_of("customer", filter.customer.as_deref())?,
        status: word_of("status", filter.status.as_deref(), status, &["confirmed", "cancelled"])?,
    };
    let page = page_of(&page, filter.kind())?;
    let listed = services.db.list_appointments(filter, page).await?;
    let items = bodies(&services, listed.items).await?;
    Ok(paged(&request, items, listed.next))
}

/// Make an appointment.
#[utoipa::path(
    tag = "appointments",
    request_body = NewAppointment,
    responses((status = 201, description = "The appointment", body = AppointmentBody),
              (status = 409, description = "The time is taken, or the person is off"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[post("/api/appointments")]
async fn create(services: Shared, access: Access<Act>, new: Json<NewAppointment>) -> ApiResult {
    let new = new.into_inner();
    let profile = &services.profile;
    let (service, usual) = service_of(profile, new.service)?;
    let minutes = new.duration.or(usual).ok_or_else(|| {
        Problem::invalid("duration", "must be given for a service that the profile does not know")
    })?;
    let minutes = minutes_of(minutes)?;
    let (date, time) = (parse_date("date", &new.date)?, parse_start("time", &new.time)?);
    let starts_at = Clock::of(profile)
        .at_wall(date, time)
        .ok_or_else(|| Problem::invalid("time", "does not exist on that day"))?;
    let wanted = text_of("staff", new.staff, 200)?;
    let staff = match wanted {
        Some(text) => vec![staff_of(profile, "staff", &text)?],
        None => resources(profile, None).unwrap_or_default().into_iter().map(str::to_owned).collect(),
    };
    let notes = text_of("notes", new.notes, MAX_NOTES)?;
    let now = unix_now();
    let mut outcome = StaffOutcome::Taken;
    for staff in staff {
        let wanted = Wanted {
            customer_id: new.customer_id,
            service: service.clone(),
            staff,
            starts_at,
            minutes,
            buffer_minutes: profile.buffer_minutes,
            notes: notes.clone(),
        };
        outcome = services.db.create_appointment(wanted, now).await?;
        if !matches!(outcome, StaffOutcome::Taken | StaffOutcome::TimeOff) {
            break;
        }
    }
    let row = refused(outcome)?;
    let body = body(&services, row).await?;
    let detail = json!({ "staff": body.staff, "starts_at": body.starts_at });
    services
        .staff_log(access.who(), "appointment.create", format!("appointment {}", body.id), detail)
        .await?;
    Ok(HttpResponse::Created().json(body))
}

/// An appointment.
#[utoipa::path(
    tag = "appointments",
    params(("id" = i64, Path, description = "The appointment's id")),
    responses((status = 200, description = "The appointment", body = AppointmentBody),
              (status = 304, description = "Not changed"),
              (status = 404, description = "There is no such appointment")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/appointments/{id}")]
async fn one(services: Shared, _: Access<Read>, request: HttpRequest, id: web::Path<i64>) -> ApiResult {
    let row = services.db.appointment(*id).await?.ok_or_else(|| Problem::not_found("appointment"))?;
    Ok(etagged(&request, &body(&services, row).await?))
}

/// Move or change an appointment. It keeps its old time if the new one is taken.
#[utoipa::path(
    tag = "appointments",
    params(("id" = i64, Path, description = "The appointment's id")),
    request_body = AppointmentPatch,
    responses((status = 200, description = "The appointment as it is now", body = AppointmentBody),
              (status = 404, description = "There is no such appointment"),
              (status = 409, description = "The new time is taken, or the person is off"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[patch("/api/appointments/{id}")]
async fn patch_one(
    services: Shared,
    access: Access<Act>,
    id: web::Path<i64>,
    patch: Json<AppointmentPatch>,
) -> ApiResult {
    let patch = patch.into_inner();
    let profile = &services.profile;
    let clock = Clock::of(profile);
    let date = patch.date.as_deref().map(|text| parse_date("date", text)).transpose()?;
    let time = patch.time.as_deref().map(|text| parse_start("time", text)).transpose()?;
    let service = patch.service.map(|text| service_of(profile, text)).transpose()?;
    let minutes = patch.duration;
    let notes = match patch.notes {
        Some(notes) => Some(text_of("notes", notes, MAX_NOTES)?),
        None => None,
    };
    let staff = match text_of("staff", patch.staff, 200)? {
        Some(text) => {
            let old = services.db.appointment(*id).await?.ok_or_else(|| Problem::not_found("appointment"))?;
            // Whoever has it keeps it, even if they have left the profile since.
            Some(if text == old.staff { text } else { staff_of(profile, "staff", &text)? })
        }
        None => None,
    };
    let usual = service.as_ref().and_then(|(_, usual)| *usual);
    let minutes = minutes.or(usual).map(minutes_of).transpose()?;
    let mut change = AppointmentChange {
        customer_id: patch.customer_id,
        minutes,
        service: service.map(|(name, _)| name),
        staff,
        starts_at: None,
        started_at: None,
        notes,
        status: patch.status,
    };
    let mut tries = 0;
    let (old, row) = loop {
        let old = services.db.appointment(*id).await?.ok_or_else(|| Problem::not_found("appointment"))?;
        if date.is_some() || time.is_some() {
            let date = date.unwrap_or_else(|| clock.day_of(old.starts_at));
            let time = match time {
                Some(time) => time,
                None => parse_time("time", &clock.time(old.starts_at))?,
            };
            let at = clock.at_wall(date, time);
            change.starts_at =
                Some(at.ok_or_else(|| Problem::invalid("time", "does not exist on that day"))?);
            change.started_at = Some(old.starts_at);
        }
        tries += 1;
        match services.db.change_appointment(*id, change.clone(), unix_now()).await? {
            // Somebody else gave it another day while we kept its old one: both are meant.
            StaffOutcome::Moved if tries < MOVES => {}
            outcome => break (old, refused(outcome)?),
        }
    };
    let moved = (row.starts_at, &row.staff) != (old.starts_at, &old.staff);
    let body = body(&services, row).await?;
    let detail = json!({
        "moved": moved, "staff": body.staff, "starts_at": body.starts_at, "status": body.status,
        "before": { "staff": old.staff, "starts_at": clock.stamp(old.starts_at) },
    });
    services.staff_log(access.who(), "appointment.change", format!("appointment {id}"), detail).await?;
    Ok(HttpResponse::Ok().json(body))
}

/// Call an appointment off. It stays in the list, cancelled.
#[utoipa::path(
    tag = "appointments",
    params(("id" = i64, Path, description = "The appointment's id")),
    responses((status = 204, description = "Called off, now or before"),
              (status = 404, description = "There is no such appointment")),
    security(("key" = []), ("session" = []))
)]
#[delete("/api/appointments/{id}")]
async fn cancel(services: Shared, access: Access<Act>, id: web::Path<i64>) -> ApiResult {
    let now = unix_now();
    let change =
        AppointmentChange { status: Some(AppointmentStatus::Cancelled), ..AppointmentChange::default() };
    let old = services.db.appointment(*id).await?.ok_or_else(|| Problem::not_found("appointment"))?;
    if old.status != AppointmentStatus::Cancelled {
        refused(services.db.change_appointment(*id, change, now).await?)?;
        services
            .staff_log(access.who(), "appointment.cancel", format!("appointment {id}"), json!({}))
            .await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// The times of a day at which a service can be had, as a caller would be offered them.
#[utoipa::path(
    tag = "appointments",
    params(Wish),
    responses((status = 200, description = "The free times", body = FreeTimes)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/availability")]
async fn availability(services: Shared, _: Access<Read>, wish: web::Query<Wish>) -> ApiResult {
    let profile = &services.profile;
    let clock = Clock::of(profile);
    let service = profile.find_service(wish.service.as_deref().unwrap_or_default()).ok_or_else(|| {
        let names: Vec<&str> = profile.services.iter().map(|service| service.name.as_str()).collect();
        Problem::invalid("service", format!("must be one of {}", names.join(", ")))
    })?;
    let date = parse_date("date", wish.date.as_deref().unwrap_or_default())?;
    let staff = wish.staff.as_deref().filter(|staff| !staff.trim().is_empty());
    let staff = staff.map(|text| staff_of(profile, "staff", text)).transpose()?;
    let outside = || Problem::invalid("date", "lies outside the calendar");
    let (from, to) = day_span(clock.zone(), date, date).ok_or_else(outside)?;
    let now = unix_now();
    let busy = services.db.busy(from, to, None, now).await?;
    let (slots, reason) = match free_slots(profile, clock.zone(), service, staff.as_deref(), date, &busy, now)
    {
        Ok(slots) => (slots, None),
        Err(Unavailable::Closed { .. }) => (Vec::new(), Some("closed")),
        Err(Unavailable::Past) => (Vec::new(), Some("past")),
        Err(Unavailable::TooLate) => (Vec::new(), Some("too_late")),
        Err(Unavailable::TooFar { .. }) => (Vec::new(), Some("too_far")),
        Err(Unavailable::TooLong) => (Vec::new(), Some("too_long")),
        Err(Unavailable::UnknownStaff) => return Err(Problem::invalid("staff", "is unknown")),
        Err(Unavailable::NoSuchTime) => return Err(outside()),
    };
    let items = slots
        .into_iter()
        .map(|slot| FreeTime {
            date: clock.date(slot.starts_at),
            time: clock.time(slot.starts_at),
            starts_at: clock.stamp(slot.starts_at),
            ends_at: clock.stamp(slot.ends_at),
            staff: slot.staff,
        })
        .collect();
    Ok(HttpResponse::Ok().json(FreeTimes { items, next_cursor: None, reason }))
}
