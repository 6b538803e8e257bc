//! `/api/keys`: the keys of programs.

use super::access::{Access, Admin};
use super::body::Json;
use super::page::{IdList, Items, Page, id_cursor, items};
use super::problem::{ApiResult, Problem};
use super::secret::{fingerprint, new_key};
use crate::db::access::ApiKey;
use crate::domain::staff::Scope;
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpResponse, delete, get, post, web};
use jiff::tz::TimeZone;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list).service(create).service(revoke);
}

/// A key, without the key itself.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ApiKey)]
struct KeyBody {
    id: i64,
    name: String,
    scope: Scope,
    #[schema(format = DateTime)]
    created_at: String,
    /// To the minute.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// A key that is wanted.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it may do.
    scope: Scope,
}

/// A key that was made.
#[derive(Serialize, utoipa::ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    about: KeyBody,
    /// The key itself. It is shown this once and not kept.
    key: String,
}

/// A time in the business's zone.
pub(super) fn local(zone: &str, at: UnixMillis) -> String {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

fn body(zone: &str, key: ApiKey) -> KeyBody {
    KeyBody {
        id: key.id,
        name: key.name,
        scope: key.scope,
        created_at: local(zone, key.created_at),
        last_used_at: key.last_used_at.map(|at| local(zone, at)),
        revoked_at: key.revoked_at.map(|at| local(zone, at)),
    }
}

/// The keys, newest first, revoked ones too.
#[utoipa::path(
    tag = "access",
    params(Page),
    responses((status = 200, description = "The keys", body = Items<KeyBody>)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/keys")]
async fn list(services: Shared, _: Access<Admin>, page: web::Query<Page>) -> ApiResult {
    let keys = services.db.api_keys(page.after_id(IdList::Keys)?, page.limit.saturating_add(1)).await?;
    let zone = &services.profile.timezone;
    let more = keys.len() > page.limit as usize;
    let keys: Vec<KeyBody> = keys.into_iter().take(page.limit as usize).map(|key| body(zone, key)).collect();
    let next = keys.last().filter(|_| more).map(|key| id_cursor(IdList::Keys, key.id));
    Ok(items(keys, next))
}

/// Make a key.
#[utoipa::path(
    tag = "access",
    request_body = NewKey,
    responses((status = 201, description = "The key, shown this once", body = CreatedKey),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[post("/api/keys")]
async fn create(services: Shared, access: Access<Admin>, wanted: Json<NewKey>) -> ApiResult {
    let name = wanted.name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 100 {
        return Err(Problem::invalid("name", "must have 1 to 100 characters"));
    }
    let key = new_key();
    let stored =
        services.db.add_key(name, fingerprint(key.expose_secret()), wanted.scope, unix_now()).await?;
    let detail = json!({"name": stored.name, "scope": stored.scope});
    services.staff_log(access.who(), "key.create", format!("key {}", stored.id), detail).await?;
    let about = body(&services.profile.timezone, stored);
    Ok(HttpResponse::Created().json(CreatedKey { about, key: key.expose_secret().to_owned() }))
}

/// Revoke a key, for good.
#[utoipa::path(
    tag = "access",
    params(("id" = i64, Path, description = "The key's id")),
    responses((status = 204, description = "Revoked"),
              (status = 404, description = "There is no such key, or it was revoked before")),
    security(("key" = []), ("session" = []))
)]
#[delete("/api/keys/{id}")]
async fn revoke(services: Shared, access: Access<Admin>, id: web::Path<i64>) -> ApiResult {
    if !services.db.revoke_key(*id, unix_now()).await? {
        return Err(Problem::not_found("key"));
    }
    services.staff_log(access.who(), "key.revoke", format!("key {id}"), json!({})).await?;
    Ok(HttpResponse::NoContent().finish())
}
