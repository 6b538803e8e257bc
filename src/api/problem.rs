//! What goes wrong, as `application/problem+json` (RFC 9457), naming the field where one is at fault.

use crate::db::DbError;
use crate::session::services::NotNoted;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use std::fmt;

/// The content type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What a handler answers.
pub type ApiResult<T = HttpResponse> = Result<T, Problem>;

/// One thing wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's path in the body or the name of the parameter: `customer.phone`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A problem, to be answered instead of what was asked for.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: Option<String>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
    allow: Option<String>,
}

/// The body of a problem.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// `about:blank`: the status says it all.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What went wrong here.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The path that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// The fields at fault.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem of a status, with nothing more to say.
    pub fn of(status: StatusCode) -> Self {
        Self { status, detail: None, errors: Vec::new(), retry_after_s: None, allow: None }
    }

    fn because(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::of(status) }
    }

    /// 404: there is no such thing.
    pub fn not_found(what: &'static str) -> Self {
        Self::because(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    /// 400: a field is wrong.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::invalid_all(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }

    /// 400: several fields are wrong.
    pub fn invalid_all(errors: Vec<FieldError>) -> Self {
        let detail = errors
            .first()
            .map(|first| format!("{}: {}", first.field, first.message))
            .unwrap_or_else(|| "the request cannot be understood".to_owned());
        Self { errors, ..Self::because(StatusCode::BAD_REQUEST, detail) }
    }

    /// 409: it contradicts what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::because(StatusCode::CONFLICT, detail)
    }

    /// 401: nobody we know.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::because(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::because(StatusCode::FORBIDDEN, detail)
    }

    /// 405: not with this method; `allow` lists those that are taken.
    pub fn method_not_allowed(allow: String) -> Self {
        let detail = format!("this address takes {allow}");
        Self { allow: Some(allow), ..Self::because(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 412: it was changed since it was read.
    pub fn precondition_failed() -> Self {
        Self::because(StatusCode::PRECONDITION_FAILED, "it was changed since it was read")
    }

    /// 413: more than is taken.
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::because(StatusCode::PAYLOAD_TOO_LARGE, format!("at most {limit_bytes} bytes are taken"))
    }

    /// 415: not JSON.
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::because(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 416: a range that is not there.
    pub fn beyond(length_bytes: u64) -> Self {
        Self::because(StatusCode::RANGE_NOT_SATISFIABLE, format!("it has {length_bytes} bytes"))
    }

    /// 429: too many requests.
    pub fn too_many(retry_after_s: u64) -> Self {
        let wait = retry_after_s.max(1);
        Self::too_many_because(format!("too many requests: try again in {wait} s"), wait)
    }

    /// 429 for another reason than many requests.
    pub fn too_many_because(detail: impl Into<String>, retry_after_s: u64) -> Self {
        let wait = Some(retry_after_s.max(1));
        Self { retry_after_s: wait, ..Self::because(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 500: our own fault; what it was stands in the log.
    pub fn internal() -> Self {
        Self::because(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here")
    }

    /// 502: somebody we asked failed.
    pub fn bad_gateway(detail: impl Into<String>) -> Self {
        Self::because(StatusCode::BAD_GATEWAY, detail)
    }

    /// 503: not now.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { retry_after_s: Some(2), ..Self::because(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// What is wrong with which field, to be told together with others.
    pub fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer; `instance` is the path that was asked for.
    pub fn response(&self, instance: Option<&str>) -> HttpResponse {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            detail: self.detail.as_deref(),
            instance,
            errors: &self.errors,
        };
        let mut response = HttpResponse::build(self.status);
        if let Some(wait) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, wait.to_string()));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_str()));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"frontdesk\""));
        }
        response.insert_header((CONTENT_TYPE, PROBLEM_JSON));
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.detail.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None)
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(_)
            | DbError::NotWritable(_)
            | DbError::Overloaded
            | DbError::Full
            | DbError::Closed => {
                tracing::warn!(error.code = error.code(), %error, "request not served");
                Self::unavailable("the database does not answer")
            }
            // What was asked for, and no fault of the database's.
            DbError::BadAppointment => Self::invalid("duration", error.to_string()),
            _ if error.is_dangling() => {
                tracing::warn!(error.code = error.code(), %error, "request contradicts another");
                Self::conflict("what this belongs to was changed at the same moment")
            }
            _ => {
                tracing::error!(error.code = error.code(), %error, "request failed");
                Self::internal()
            }
        }
    }
}

impl From<NotNoted> for Problem {
    fn from(error: NotNoted) -> Self {
        Self::because(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<actix::MailboxError> for Problem {
    fn from(error: actix::MailboxError) -> Self {
        tracing::warn!(%error, "an actor does not answer");
        Self::unavailable("the server is busy or is being shut down")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;

    async fn body(problem: &Problem) -> serde_json::Value {
        let response = problem.response(Some("/api/x"));
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap()
    }

    #[actix::test]
    async fn a_problem_names_the_field_and_the_path() {
        let body = body(&Problem::invalid("date", "is no day")).await;
        let want = serde_json::json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "date: is no day",
            "instance": "/api/x", "errors": [{"field": "date", "message": "is no day"}]
        });
        assert_eq!(body, want);
    }

    #[actix::test]
    async fn what_the_database_says_stays_in_the_log() {
        let problem = Problem::from(DbError::Word { column: "users.role" });
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!body(&problem).await.to_string().contains("users"));
        assert_eq!(Problem::from(DbError::Overloaded).status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_refusal_for_volume_says_when_to_come_again() {
        let response = Problem::too_many(0).response(None);
        assert_eq!(response.headers().get(RETRY_AFTER).unwrap(), "1");
    }
}
