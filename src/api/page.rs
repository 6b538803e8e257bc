//! Lists: bounded pages with a cursor, and answers that are sent only when they have changed.

use super::problem::Problem;
use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Rows of a page when nothing is asked for.
pub const DEFAULT_LIMIT: u32 = 50;
/// The most rows of a page.
pub const MAX_LIMIT: u32 = 500;
/// What a browser may do with an answer that has a tag: keep it for its user, and ask before it is used again.
pub const KEEP_BUT_ASK: &str = "private, no-cache";
/// The longest cursor that is looked at, bytes.
const MAX_CURSOR: usize = 512;

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, utoipa::IntoParams)]
#[serde(try_from = "RawPage")]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many, at most.
    #[param(minimum = 1, maximum = 500, default = 50, required = false)]
    pub limit: u32,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(required = false)]
    pub cursor: Option<String>,
}

/// What may stand in the query; other names belong to the list's own filters.
#[derive(Deserialize)]
struct RawPage {
    limit: Option<String>,
    cursor: Option<String>,
    offset: Option<String>,
}

impl TryFrom<RawPage> for Page {
    type Error = String;

    fn try_from(raw: RawPage) -> Result<Self, String> {
        if raw.offset.is_some() {
            return Err(
                "offset: is not taken; go on with `cursor`, the `next_cursor` of the page before".into()
            );
        }
        let limit = match raw.limit {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| format!("limit: must be a whole number from 1 to {MAX_LIMIT}"))?,
        };
        let cursor = raw.cursor.filter(|cursor| !cursor.is_empty());
        if cursor.as_ref().is_some_and(|cursor| cursor.len() > MAX_CURSOR) {
            return Err("cursor: is none of ours".into());
        }
        Ok(Self { limit, cursor })
    }
}

impl Page {
    /// The id after which the page begins, for a list whose cursor is an id.
    pub fn after_id(&self, list: IdList) -> Result<Option<i64>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let id = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| {
            let (kind, id) = bytes.split_first()?;
            (*kind == list as u8).then_some(i64::from_be_bytes(id.try_into().ok()?))
        });
        id.map(Some).ok_or_else(|| Problem::invalid("cursor", "is none of this list's"))
    }
}

/// Lists that are ordered by id. A cursor of one is refused by the others, and by those that are ordered by a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdList {
    /// Keys.
    Keys = 1,
    /// Users.
    Users = 2,
    /// The staff's audit trail.
    Audit = 3,
    /// Jobs.
    Jobs = 4,
}

/// The cursor of a list that is ordered by id.
pub fn id_cursor(list: IdList, id: i64) -> String {
    let mut bytes = vec![list as u8];
    bytes.extend_from_slice(&id.to_be_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A page of a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Items<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where to go on; `null` on the last page.
    pub next_cursor: Option<String>,
}

/// A page of a list.
pub fn items<T: Serialize>(items: Vec<T>, next_cursor: Option<String>) -> HttpResponse {
    HttpResponse::Ok().json(Items { items, next_cursor })
}

/// Answers 304 to somebody who has this body already, else the body with its tag.
pub fn etagged<T: Serialize>(request: &HttpRequest, body: &T) -> HttpResponse {
    let Ok(bytes) = serde_json::to_vec(body) else { return Problem::internal().response(None) };
    let tag = tag_of(&bytes);
    let known = request
        .headers()
        .get_all(IF_NONE_MATCH)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag.trim_start_matches("W/"));
    if known {
        return not_modified(&tag);
    }
    HttpResponse::Ok()
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, KEEP_BUT_ASK))
        .content_type("application/json")
        .body(bytes)
}

/// 304: what the reader has still holds. It says the same of its keeping as the answer that the reader has, for what it
/// says replaces that (RFC 9111, 4.3.4).
pub fn not_modified(tag: &str) -> HttpResponse {
    HttpResponse::NotModified()
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, KEEP_BUT_ASK))
        .finish()
}

/// The weak tag of a body.
fn tag_of(bytes: &[u8]) -> String {
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
    let short: String = hash.chars().take(22).collect();
    format!("W/\"{short}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use actix_web::web::Query;

    fn page(query: &str) -> Result<Page, String> {
        Query::<Page>::from_query(query).map(Query::into_inner).map_err(|error| error.to_string())
    }

    #[test]
    fn a_page_has_bounds_and_no_offset() {
        assert_eq!(page(""), Ok(Page { limit: 50, cursor: None }));
        assert_eq!(
            page("limit=500&cursor=abc&status=x"),
            Ok(Page { limit: 500, cursor: Some("abc".into()) })
        );
        for wrong in ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "offset=0"] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
        assert!(page("offset=10").unwrap_err().contains("next_cursor"));
    }

    #[test]
    fn a_cursor_is_read_as_it_was_given() {
        for id in [0, 1, i64::MAX] {
            let page = Page { limit: 1, cursor: Some(id_cursor(IdList::Keys, id)) };
            assert_eq!(page.after_id(IdList::Keys).unwrap(), Some(id));
            for other in [IdList::Users, IdList::Audit, IdList::Jobs] {
                assert!(page.after_id(other).is_err(), "{other:?} takes a cursor of the keys");
            }
        }
        for wrong in ["x", "AAAA", "%%%%", "AAAAAAAAAAA"] {
            assert!(Page { limit: 1, cursor: Some(wrong.into()) }.after_id(IdList::Keys).is_err());
        }
    }

    #[test]
    fn a_list_that_has_not_changed_is_not_sent_again() {
        let body = Items { items: vec![1, 2], next_cursor: None };
        let first = etagged(&TestRequest::get().to_http_request(), &body);
        let tag = first.headers().get(ETAG).unwrap().clone();
        let again = TestRequest::get().insert_header((IF_NONE_MATCH, tag)).to_http_request();
        let known = etagged(&again, &body);
        assert_eq!(known.status(), 304);
        assert_eq!(known.headers().get(CACHE_CONTROL), first.headers().get(CACHE_CONTROL));
        assert_eq!(etagged(&again, &Items { items: vec![1], next_cursor: None }).status(), 200);
    }
}
