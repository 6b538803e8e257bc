//! `/api/calls/{id}/recording` and its waveform; `/api/customers/{id}/erase`.

use super::access::{Access, Admin, Read};
use super::calls::find;
use super::common::Clock;
use super::problem::{ApiResult, Problem};
use crate::db::erase::{Erasure, Traces};
use crate::domain::recording::{Recording, RecordingState};
use crate::domain::time::UnixMillis;
use crate::jobs::recordings::HouseError;
use crate::session::services::Services;
use crate::storage::peaks::Peaks;
use crate::storage::store::{PIECE, Source, StoreError};
use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue,
    IF_RANGE, RANGE,
};
use actix_web::{HttpRequest, HttpResponse, delete, get, post, web};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::ops::Range;
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(download).service(waveform).service(remove).service(erase);
}

/// What an erasure took away, or would.
#[derive(Serialize, utoipa::ToSchema)]
struct Erased {
    /// Whether nothing was changed.
    dry_run: bool,
    /// Calls that were made nameless.
    calls: u64,
    /// Turns deleted.
    turns: u64,
    /// Rows of the calls' audit trails deleted.
    events: u64,
    /// Messages deleted.
    messages: u64,
    /// Appointments that were made nameless.
    appointments: u64,
    /// Those of them that were still to come. They are called off: after the erasure nobody could be told of them.
    upcoming: Vec<UpcomingAppointment>,
    /// Actions of staff that lost their details.
    staff_actions: u64,
    /// Jobs about their calls deleted.
    jobs: u64,
    /// Recordings deleted.
    recordings: u64,
}

/// An appointment that is called off.
#[derive(Serialize, utoipa::ToSchema)]
struct UpcomingAppointment {
    id: i64,
    service: String,
    staff: String,
    #[schema(format = DateTime)]
    starts_at: String,
}

/// How an erasure is asked for.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct EraseQuery {
    /// Only tell what there is; this is the default.
    #[serde(default = "yes")]
    dry_run: bool,
}

fn yes() -> bool {
    true
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotThere => Self::not_found("recording"),
            error => {
                tracing::error!(%error, "a recording cannot be reached");
                Self::unavailable("the recordings cannot be reached")
            }
        }
    }
}

impl From<HouseError> for Problem {
    fn from(error: HouseError) -> Self {
        match error {
            HouseError::Db(error) => error.into(),
            HouseError::Store(error) => error.into(),
        }
    }
}

/// The recording of a call, by our id or by Twilio's.
async fn recording_of(services: &Services, id: &str) -> Result<Recording, Problem> {
    let call = find(services, id).await?;
    let all = services.db.recordings_of(call.facts.sid).await?;
    let complete = |r: &&Recording| matches!(r.state, RecordingState::Stored | RecordingState::Uploaded);
    match all.iter().find(complete) {
        Some(recording) => Ok(recording.clone()),
        None if all.iter().any(|r| r.state == RecordingState::Recording) => {
            Err(Problem::conflict("the call is still being recorded"))
        }
        None => Err(Problem::not_found("recording")),
    }
}

/// The recording of a call: stereo mu-law WAV, the caller left, the bot right.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17"),
           ("Range" = Option<String>, Header, description = "One range of bytes")),
    responses((status = 200, description = "The whole recording", content_type = "audio/wav", body = Vec<u8>),
              (status = 206, description = "The range asked for", content_type = "audio/wav", body = Vec<u8>),
              (status = 404, description = "There is no such call, or no recording of it"),
              (status = 409, description = "The call is still being recorded"),
              (status = 416, description = "The range lies behind the recording's end")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}/recording")]
async fn download(
    services: Shared,
    _: Access<Read>,
    id: web::Path<String>,
    request: HttpRequest,
) -> ApiResult {
    let recording = recording_of(&services, &id).await?;
    let source = services.recordings.open(&recording).await?;
    let length = source.length();
    let tag = format!("\"{}-{length}\"", recording.started.0);
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let range = match header(IF_RANGE) {
        Some(known) if known != tag => Asked::All,
        _ => header(RANGE).map_or(Asked::All, |value| asked(value, length)),
    };
    let (status, range) = match range {
        Asked::All => (StatusCode::OK, 0..length),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Beyond => {
            let mut answer = Problem::beyond(length).response(Some(request.path()));
            let range =
                HeaderValue::try_from(format!("bytes */{length}")).map_err(|_| Problem::internal())?;
            answer.headers_mut().insert(CONTENT_RANGE, range);
            return Ok(answer);
        }
    };
    let mut response = HttpResponse::build(status);
    response
        .insert_header((CONTENT_TYPE, "audio/wav"))
        .insert_header((ACCEPT_RANGES, "bytes"))
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, "private, no-cache"))
        .insert_header((CONTENT_DISPOSITION, format!("inline; filename=\"{}.wav\"", file_name(&recording))));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = range.end.saturating_sub(1);
        response.insert_header((CONTENT_RANGE, format!("bytes {}-{last}/{length}", range.start)));
    }
    let size = range.end.saturating_sub(range.start);
    Ok(response.body(SizedStream::new(size, pieces(source, range))))
}

/// A name that is safe in a header.
fn file_name(recording: &Recording) -> String {
    recording.sid.as_str().chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The bytes of a range, piece by piece, read off the event loop.
fn pieces(
    source: Source,
    range: Range<u64>,
) -> impl stream::Stream<Item = Result<web::Bytes, StoreError>> + 'static {
    Box::pin(stream::unfold(Some(range), move |left| {
        let source = source.clone();
        async move {
            let range = left.filter(|range| range.start < range.end)?;
            let count = usize::try_from(range.end - range.start).unwrap_or(PIECE).min(PIECE);
            match source.read(range.start, count).await {
                Ok(piece) if piece.is_empty() => None,
                Ok(piece) => {
                    let next = range.start.saturating_add(piece.len() as u64)..range.end;
                    Some((Ok(piece), Some(next)))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    }))
}

/// What a `Range` header asks for (RFC 9110, 14.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// Everything: none, or none that we understand.
    All,
    /// These bytes.
    Part(Range<u64>),
    /// Bytes that are not there.
    Beyond,
}

fn asked(header: &str, length: u64) -> Asked {
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-'))
    else {
        return Asked::All;
    };
    match (first, last) {
        ("", last) => match number(last) {
            Some(0) => Asked::Beyond,
            Some(_) if length == 0 => Asked::Beyond,
            Some(count) => Asked::Part(length.saturating_sub(count)..length),
            None => Asked::All,
        },
        (first, last) => {
            let end = if last.is_empty() { Some(length) } else { number(last).map(|n| n.saturating_add(1)) };
            match (number(first), end) {
                (Some(first), Some(end)) if end <= first && !last.is_empty() => Asked::All,
                (Some(first), Some(_)) if first >= length => Asked::Beyond,
                (Some(first), Some(end)) => Asked::Part(first..end.min(length)),
                _ => Asked::All,
            }
        }
    }
}

/// The waveform of a call's recording. A turn's `at_ms` less `offset_ms` is its place in it.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17")),
    responses((status = 200, description = "The loudest sample of each side in each stretch, in percent", body = Peaks),
              (status = 404, description = "There is no such call, or no recording of it"),
              (status = 409, description = "The call is still being recorded")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}/waveform")]
async fn waveform(services: Shared, _: Access<Read>, id: web::Path<String>) -> ApiResult {
    let recording = recording_of(&services, &id).await?;
    let json = services.recordings.peaks(&recording).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CACHE_CONTROL, "private, no-cache"))
        .body(json))
}

/// Delete the recording of a call, for good.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17")),
    responses((status = 204, description = "Deleted"),
              (status = 404, description = "There is no such call, or no recording of it"),
              (status = 409, description = "The call is still being recorded")),
    security(("key" = []), ("session" = []))
)]
#[delete("/api/calls/{id}/recording")]
async fn remove(services: Shared, access: Access<Admin>, id: web::Path<String>) -> ApiResult {
    let first = recording_of(&services, &id).await?;
    for recording in services.db.recordings_of(first.sid).await? {
        if matches!(recording.state, RecordingState::Stored | RecordingState::Uploaded) {
            crate::jobs::recordings::delete(&services.db, &services.recordings, &recording).await?;
        }
    }
    services.staff_log(access.who(), "recording.delete", format!("call {id}"), json!({})).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Erase everything that is known of a person: the customer, the words, messages, summaries and recordings of their
/// calls. Calls and appointments stay without a name; appointments still to come are called off. A dry run tells what
/// there is, and whom to ring before.
#[utoipa::path(
    tag = "customers",
    params(("id" = i64, Path, description = "The customer's id"), EraseQuery),
    responses((status = 200, description = "What was erased, or would be", body = Erased),
              (status = 404, description = "There is no such customer"),
              (status = 409, description = "A call with this person is up")),
    security(("key" = []), ("session" = []))
)]
#[post("/api/customers/{id}/erase")]
async fn erase(
    services: Shared,
    access: Access<Admin>,
    id: web::Path<i64>,
    query: web::Query<EraseQuery>,
) -> ApiResult {
    let id = id.into_inner();
    // What is still on its way to the database belongs to it.
    services.db.flush().await?;
    let clock = Clock::of(&services.profile);
    let mut traces = found(services.db.traces_of(id).await?)?;
    if !query.dry_run {
        // Files first: once the rows are gone, nobody knows whose they were.
        for location in &traces.recordings {
            services.recordings.delete(location).await?;
        }
        traces = found(services.db.erase_customer(id).await?)?;
        services.feed.forget(&traces.sids);
        let called_off: Vec<i64> = traces.upcoming.iter().map(|upcoming| upcoming.id).collect();
        let detail = json!({
            "calls": traces.calls, "recordings": traces.recordings.len(), "called_off": called_off,
        });
        services.staff_log(access.who(), "customer.erase", format!("customer {id}"), detail).await?;
    }
    Ok(HttpResponse::Ok().json(Erased {
        dry_run: query.dry_run,
        calls: traces.calls,
        turns: traces.turns,
        events: traces.events,
        messages: traces.messages,
        appointments: traces.appointments,
        staff_actions: traces.staff_actions,
        jobs: traces.jobs,
        upcoming: traces
            .upcoming
            .into_iter()
            .map(|upcoming| UpcomingAppointment {
                id: upcoming.id,
                service: upcoming.service,
                staff: upcoming.staff,
                starts_at: clock.stamp(UnixMillis(upcoming.starts_ms)),
            })
            .collect(),
        recordings: traces.recordings.len() as u64,
    }))
}

fn found(erasure: Erasure) -> Result<Traces, Problem> {
    match erasure {
        Erasure::Unknown => Err(Problem::not_found("customer")),
        Erasure::Live => Err(Problem::conflict("a call with this person is up")),
        Erasure::Traces(traces) => Ok(traces),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood_and_anything_else_is_everything() {
        for (header, expected) in [
            ("bytes=0-99", Asked::Part(0..100)),
            ("bytes=100-", Asked::Part(100..1_000)),
            ("bytes=-10", Asked::Part(990..1_000)),
            ("bytes=-5000", Asked::Part(0..1_000)),
            ("bytes=900-5000", Asked::Part(900..1_000)),
            ("bytes=999-999", Asked::Part(999..1_000)),
            ("bytes=1000-", Asked::Beyond),
            ("bytes=1000-1001", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=5-4", Asked::All),
            ("bytes=0-1,5-6", Asked::All),
            ("bytes=a-b", Asked::All),
            ("bytes=+1-2", Asked::All),
            ("bytes=18446744073709551616-", Asked::All),
            ("bytes=0-18446744073709551615", Asked::Part(0..1_000)),
            ("bytes=-", Asked::All),
            ("items=0-1", Asked::All),
            ("", Asked::All),
        ] {
            assert_eq!(asked(header, 1_000), expected, "{header}");
        }
        assert_eq!(asked("bytes=0-", 0), Asked::Beyond);
        assert_eq!(asked("bytes=-1", 0), Asked::Beyond);
    }
}
