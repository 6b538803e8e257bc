//! Bodies: JSON that is read strictly, so that a slip in a field's name is an error and not a silence.

use super::problem::{FieldError, Problem};
use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use std::ops::Deref;

/// The largest body that is taken, bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// A body in JSON, at most 64 KiB. `T` carries `#[serde(deny_unknown_fields)]`; what is wrong is answered with the
/// field's path.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T> Json<T> {
    /// The body.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let kind = must_be_json(request);
        let mut payload = payload.take();
        Box::pin(async move {
            kind?;
            let mut body = Vec::new();
            while let Some(piece) = payload.next().await {
                let piece = piece.map_err(|_| Problem::invalid("body", "did not arrive whole"))?;
                if body.len().saturating_add(piece.len()) > MAX_BODY_BYTES {
                    return Err(Problem::too_large(MAX_BODY_BYTES));
                }
                body.extend_from_slice(&piece);
            }
            read(&body).map(Json)
        })
    }
}

/// Refuses a body of another kind.
pub(super) fn must_be_json(request: &HttpRequest) -> Result<(), Problem> {
    let json = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if json { Ok(()) } else { Err(Problem::unsupported("the body must be application/json")) }
}

/// Reads a body.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if has_nul(body) {
        return Err(Problem::invalid("body", "holds a NUL character, which no text here can hold"));
    }
    // Serde would take a list for an object, field by field.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(Problem::invalid("body", "must be an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        Problem::invalid_all(vec![named(path, &message)])
    })?;
    json.end().map_err(|_| Problem::invalid("body", "goes on after the JSON value"))?;
    Ok(value)
}

/// Whether an escape in the JSON stands for NUL. PostgreSQL's text cannot hold one.
fn has_nul(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let Some((_, escape)) = rest.split_at_checked(at.saturating_add(1)) else { return false };
        if escape.starts_with(b"u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

/// The field a message is about: the path, and the name that serde has quoted where the path ends above it.
fn named(path: String, message: &str) -> FieldError {
    let message = message.split(" at line ").next().unwrap_or(message).to_owned();
    let quoted = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.split('`').next())
        .map(str::to_owned);
    let field = match (path.as_str(), quoted) {
        (".", None) => "body".to_owned(),
        (".", Some(name)) => name,
        // An unknown field's own name is in the path already, a missing one's is not.
        (path, Some(name)) if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => path.to_owned(),
    };
    FieldError { field, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Person {
        name: String,
        #[serde(default)]
        phones: Vec<Phone>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Phone {
        number: u32,
    }

    fn field(body: &str) -> String {
        let problem = read::<Person>(body.as_bytes()).unwrap_err();
        problem.to_string().split(": ").nth(1).unwrap_or_default().to_owned()
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (body, want) in [
            ("", "body"),
            ("[\"a\", []]", "body"),
            ("nonsense", "body"),
            ("{}", "name"),
            (r#"{"name": 1}"#, "name"),
            (r#"{"name": "a", "nmae": 1}"#, "nmae"),
            (r#"{"name": "a", "phones": [{"number": 1}, {"number": "x"}]}"#, "phones[1].number"),
            (r#"{"name": "a", "phones": [{}]}"#, "phones[0].number"),
            (r#"{"name": "a", "phones": [{"number": 1, "nubmer": 1}]}"#, "phones[0].nubmer"),
            (r#"{"name": "a"} x"#, "body"),
            (r#"{"name": "a\u0000b"}"#, "body"),
        ] {
            assert_eq!(field(body), want, "{body}");
        }
        assert_eq!(read::<Person>(br#"{"name": "a\\u0000"}"#).unwrap().name, "a\\u0000");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = read::<Person>(&bytes);
        }
    }
}
