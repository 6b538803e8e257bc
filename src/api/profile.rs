//! `GET` and `PUT /api/profile`: the business's profile, read as strictly as its file, applied to the next call.

use super::access::{Access, Admin, Read};
use super::body::must_be_json;
use super::page::{KEEP_BUT_ASK, not_modified};
use super::problem::{ApiResult, FieldError, Problem};
use crate::config::profile::{self, ProfileProblem};
use crate::observe::clock::unix_now;
use crate::session::live::PROFILE;
use crate::session::services::Services;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, get, put, web};
use bytes::Bytes;
use serde_json::{Value, json};
use std::rc::Rc;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
    config.service(read).service(write);
}

/// The business's profile, as its file has it.
#[derive(utoipa::ToSchema)]
#[schema(as = Profile)]
#[expect(dead_code, reason = "it describes what `config::profile` reads and writes")]
struct ProfileBody {
    name: String,
    /// What kind of business it is.
    #[schema(rename = "type", example = "barbershop")]
    kind: Option<String>,
    phone: Option<String>,
    address: Option<String>,
    /// The IANA name of the zone whose clock the hours follow.
    #[schema(example = "America/New_York")]
    timezone: String,
    #[schema(example = "en-US")]
    locale: Option<String>,
    /// By weekday, `monday` to `sunday`: `{"open": "9:00 AM", "close": "17:00"}`, or `closed`.
    #[schema(value_type = Object)]
    hours: Value,
    #[schema(min_items = 1)]
    services: Vec<ProfileService>,
    staff: Option<Vec<ProfileStaff>>,
    policies: Option<ProfilePolicies>,
    /// How the bot should sound.
    personality: Option<String>,
    /// Its first words; `{name}` and `{business}` are filled in.
    greeting: Option<String>,
    /// Its last words.
    goodbye: Option<String>,
    /// Who is rung for a caller who asks for a person, in E.164.
    #[schema(example = "+12025550177")]
    transfer_number: Option<String>,
    /// Spoken before anything is recorded.
    recording_notice: Option<String>,
    /// Whether the key `0` asks for a person.
    zero_asks_for_a_person: Option<bool>,
    /// Days on which nobody works.
    closures: Option<Vec<ProfileClosure>>,
    /// Pauses that come again every week.
    breaks: Option<Vec<ProfileBreak>>,
    /// How far ahead the earliest appointment lies, minutes.
    lead_minutes: Option<u32>,
    /// How far ahead can be booked, days.
    horizon_days: Option<u32>,
    /// Kept free after each appointment, minutes.
    buffer_minutes: Option<u32>,
}

/// A service that can be booked.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `config::profile` reads and writes")]
struct ProfileService {
    name: String,
    /// Minutes.
    #[schema(minimum = 1)]
    duration: u32,
    price: f64,
    description: Option<String>,
}

/// Somebody who serves.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `config::profile` reads and writes")]
struct ProfileStaff {
    name: String,
    role: Option<String>,
    specialties: Option<Vec<String>>,
}

/// House rules, told to whoever asks.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `config::profile` reads and writes")]
struct ProfilePolicies {
    cancellation: Option<String>,
    lateness: Option<String>,
    payment: Option<Vec<String>>,
}

/// A day on which nobody works.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `config::profile` reads and writes")]
struct ProfileClosure {
    #[schema(format = Date)]
    date: String,
    reason: Option<String>,
}

/// A pause that comes again every week.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what `config::profile` reads and writes")]
struct ProfileBreak {
    /// `monday` to `sunday`.
    weekdays: Vec<String>,
    #[schema(example = "12:30")]
    from: String,
    #[schema(example = "13:00")]
    to: String,
    /// Whose; everybody's if not given.
    staff: Option<String>,
}

/// The tag of a version of something that staff set.
pub(super) fn tag(what: &str, version: i64) -> String {
    format!("\"{what}-{version}\"")
}

/// Which version a change is for: that of `If-Match`, none for `*` or without the header.
pub(super) fn expected(request: &HttpRequest, what: &str) -> Result<Option<i64>, Problem> {
    let Some(given) = request.headers().get(IF_MATCH) else { return Ok(None) };
    let given = given.to_str().unwrap_or_default().trim();
    if given == "*" {
        return Ok(None);
    }
    let version = given
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .and_then(|tag| tag.strip_prefix(what)?.strip_prefix('-')?.parse().ok());
    version.map(Some).ok_or_else(Problem::precondition_failed)
}

/// Whether the reader has this version already.
pub(super) fn is_known(request: &HttpRequest, tag: &str) -> bool {
    let given = request.headers().get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| {
        given
            .split(',')
            .any(|one| matches!(one.trim().trim_start_matches("W/"), known if known == tag || known == "*"))
    })
}

/// Mistakes of a profile, named by their place.
fn wrong(problems: Vec<ProfileProblem>) -> Problem {
    let field = |problem: ProfileProblem| FieldError {
        field: if problem.path == "." { "body".to_owned() } else { problem.path },
        message: problem.message,
    };
    Problem::invalid_all(problems.into_iter().map(field).collect())
}

/// Reads the business's profile
#[utoipa::path(
    tag = "settings",
    responses(
        (status = 200, description = "The profile", body = ProfileBody, headers(("ETag" = String))),
        (status = 304, description = "It has not changed"),
    ),
    security(("key" = []), ("session" = []))
)]
#[get("/api/profile")]
async fn read(services: Shared, request: HttpRequest, _access: Access<Read>) -> ApiResult {
    let current = services.live.current();
    let tag = tag("profile", current.profile_version);
    if is_known(&request, &tag) {
        return Ok(not_modified(&tag));
    }
    Ok(HttpResponse::Ok()
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, KEEP_BUT_ASK))
        .json(profile::to_json(&current.profile)))
}

/// Changes the business's profile
///
/// The whole profile, as its file has it. It holds for calls that begin from now on.
#[utoipa::path(
    tag = "settings",
    params(("If-Match" = Option<String>, Header, description = "The ETag of the profile that is replaced")),
    request_body(content = ProfileBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The profile as it holds now", body = ProfileBody, headers(("ETag" = String))),
        (status = 412, description = "It was changed since it was read"),
        (status = 415, description = "The body is no JSON"),
    ),
    security(("key" = []), ("session" = []))
)]
#[put("/api/profile")]
async fn write(services: Shared, request: HttpRequest, access: Access<Admin>, body: Bytes) -> ApiResult {
    must_be_json(&request)?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::invalid("body", "is not UTF-8"))?;
    let profile = services.live.read_profile(text).map_err(wrong)?;
    let expected = expected(&request, "profile")?;
    let value: Value = profile::to_json(&profile);
    let who = access.who();
    let stored =
        services.db.put_setting(PROFILE, value.clone(), expected, who.name.clone(), unix_now()).await?;
    let Some(version) = stored else { return Err(Problem::precondition_failed()) };
    services.live.set_profile(profile, version);
    services.staff_log(who, "profile.change", "profile".to_owned(), json!({ "version": version })).await?;
    Ok(HttpResponse::Ok().insert_header((ETAG, tag("profile", version))).json(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderName;
    use actix_web::test::TestRequest;

    fn with(header: HeaderName, value: &str) -> HttpRequest {
        TestRequest::default().insert_header((header, value)).to_http_request()
    }

    #[test]
    fn a_change_is_for_the_version_it_names() {
        assert!(matches!(expected(&TestRequest::default().to_http_request(), "profile"), Ok(None)));
        assert!(matches!(expected(&with(IF_MATCH, "*"), "profile"), Ok(None)));
        assert!(matches!(expected(&with(IF_MATCH, "\"profile-7\""), "profile"), Ok(Some(7))));
        for wrong in ["profile-7", "\"settings-7\"", "\"profile-x\"", "W/\"profile-7\""] {
            assert!(expected(&with(IF_MATCH, wrong), "profile").is_err(), "{wrong}");
        }
        assert!(is_known(&with(IF_NONE_MATCH, "\"a\", W/\"profile-7\""), "\"profile-7\""));
        assert!(!is_known(&with(IF_NONE_MATCH, "\"profile-6\""), "\"profile-7\""));
    }
}
