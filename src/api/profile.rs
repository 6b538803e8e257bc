//! `GET` and `PUT /api/profile`: the business's profile, read as strictly as its file, applied to the next call.

use super::access::{Access, Admin, Read};
use super::problem::{ApiResult, FieldError, Problem};
use crate::config::profile::{self, ProfileProblem};
use crate::observe::clock::unix_now;
use crate::session::live::PROFILE;
use crate::session::services::Services;
use actix_web::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, get, put, web};
use bytes::Bytes;
use serde_json::{Value, json};
use std::rc::Rc;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
    config.service(read).service(write);
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
        (status = 200, description = "The profile", body = Object, headers(("ETag" = String))),
        (status = 304, description = "It has not changed"),
    ),
    security(("key" = []), ("session" = []))
)]
#[get("/api/profile")]
async fn read(services: Shared, request: HttpRequest, _access: Access<Read>) -> ApiResult {
    let current = services.live.current();
    let tag = tag("profile", current.profile_version);
    if is_known(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header((ETAG, tag)).finish());
    }
    Ok(HttpResponse::Ok().insert_header((ETAG, tag)).json(profile::to_json(&current.profile)))
}

/// Changes the business's profile
///
/// The whole profile, as its file has it. It holds for calls that begin from now on.
#[utoipa::path(
    tag = "settings",
    params(("If-Match" = Option<String>, Header, description = "The ETag of the profile that is replaced")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = 200, description = "The profile as it holds now", body = Object, headers(("ETag" = String))),
        (status = 412, description = "It was changed since it was read"),
    ),
    security(("key" = []), ("session" = []))
)]
#[put("/api/profile")]
async fn write(services: Shared, request: HttpRequest, access: Access<Admin>, body: Bytes) -> ApiResult {
    let text = std::str::from_utf8(&body).map_err(|_| Problem::invalid("body", "is not UTF-8"))?;
    let profile = services.live.read_profile(text).map_err(wrong)?;
    let expected = expected(&request, "profile")?;
    let value: Value = profile::to_json(&profile);
    let who = access.who();
    let stored =
        services.db.put_setting(PROFILE, value.clone(), expected, who.name.clone(), unix_now()).await?;
    let Some(version) = stored else { return Err(Problem::precondition_failed()) };
    services.live.set_profile(profile, version);
    services.staff_log(who, "profile.change", "profile".to_owned(), json!({ "version": version }));
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
