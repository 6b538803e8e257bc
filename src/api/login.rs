//! `/api/session`: a user signs in, asks who they are, changes the password, signs out.

use super::access::{Access, Read, SignIn, cookie, cookie_hash, no_cookie};
use super::body::Json;
use super::gate::Gate;
use super::problem::{ApiResult, Problem};
use super::secret::{fingerprint, hash_password, is_password, password_fault, random_text, user_name};
use crate::db::access::{NewSignIn, User, UserChange, UserChanged};
use crate::domain::staff::{Role, Who, WhoKind};
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpRequest, HttpResponse, delete, get, post, put, web};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(sign_in).service(who_am_i).service(sign_out).service(change_password);
}

/// Name and password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignIn)]
struct SignInBody {
    /// The user's name.
    name: String,
    /// The password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// The old and the new password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The password as it is.
    #[schema(value_type = String, format = Password)]
    current: SecretString,
    /// The password as it shall be.
    #[schema(value_type = String, format = Password, min_length = 10)]
    new: SecretString,
}

/// Who is signed in.
#[derive(Serialize, utoipa::ToSchema)]
struct SessionUser {
    id: i64,
    name: String,
    role: Role,
    /// Whether the password was made for them: until they choose their own, every other route answers 403.
    one_time_password: bool,
}

/// A sign-in.
#[derive(Serialize, utoipa::ToSchema)]
struct Session {
    user: SessionUser,
    /// To be sent as `X-CSRF-Token` with every changing request.
    csrf: String,
}

impl Session {
    fn new(user: &User, csrf: String) -> Self {
        let user = SessionUser {
            id: user.id,
            name: user.name.clone(),
            role: user.role,
            one_time_password: user.one_time,
        };
        Self { user, csrf }
    }
}

/// Checks a password away from the event loop, few at a time.
async fn checked(gate: &Gate, password: SecretString, hash: Option<String>) -> Result<bool, Problem> {
    let _place = gate.passwords.acquire().await.map_err(|_| Problem::internal())?;
    web::block(move || is_password(&password, hash.as_deref())).await.map_err(|_| Problem::internal())
}

/// Hashes a password away from the event loop, few at a time.
pub(super) async fn hashed(gate: &Gate, password: SecretString) -> Result<String, Problem> {
    let _place = gate.passwords.acquire().await.map_err(|_| Problem::internal())?;
    let hash = web::block(move || hash_password(&password)).await.map_err(|_| Problem::internal())?;
    hash.ok_or_else(Problem::internal)
}

/// Why nobody was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The name or the password is wrong, or the user is locked out.
    Wrong,
    /// The password was made for them, too long ago.
    Expired,
}

/// Writes down that somebody was not let in. Of a name that is nobody's nothing is kept: it may be a password that was
/// typed into the wrong field. So many a minute are written; whoever tries more often would fill the trail.
async fn refused(
    services: &Services,
    gate: &Gate,
    user: Option<User>,
    address: IpAddr,
    refusal: Refusal,
) -> Result<(), Problem> {
    if !gate.notes_refusal() {
        return Ok(());
    }
    let who = match user {
        Some(user) => Who { kind: WhoKind::User, id: user.id, name: user.name },
        None => Who { kind: WhoKind::User, id: 0, name: "unknown".to_owned() },
    };
    let why = match refusal {
        Refusal::Wrong => "wrong",
        Refusal::Expired => "expired",
    };
    let detail = serde_json::json!({ "address": address.to_string(), "why": why });
    Ok(services.staff_log(&who, "session.refused", format!("user {}", who.id), detail).await?)
}

/// Sign in.
#[utoipa::path(
    tag = "session",
    request_body = SignInBody,
    responses((status = 200, description = "Signed in; the cookie is set", body = Session),
              (status = 401, description = "Name or password is wrong, or a one-time password is too old"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON"),
              (status = 429, description = "Too many wrong sign-ins; `Retry-After` says when to try again")),
    security(())
)]
#[post("/api/session")]
async fn sign_in(
    services: Shared,
    gate: web::Data<Gate>,
    request: HttpRequest,
    body: Json<SignInBody>,
) -> ApiResult {
    let body = body.into_inner();
    let wrong = || Problem::unauthorized("name or password is wrong");
    let address = gate.address(request.peer_addr().map(|peer| peer.ip()), request.headers());
    let name = user_name(&body.name);
    let counted = name.clone().unwrap_or_default();
    gate.sign_in(&counted, address).await?;
    let found = match name {
        Some(name) => services.db.user_by_name(name).await?,
        None => None,
    };
    let hash = found.as_ref().map(|found| found.hash.clone());
    let right = checked(&gate, body.password, hash).await?;
    let refusal = match &found {
        Some(found) if right && !found.user.disabled => {
            let expired = found.good_until.is_some_and(|until| until.0 <= unix_now().0);
            expired.then_some(Refusal::Expired)
        }
        _ => Some(Refusal::Wrong),
    };
    if let Some(refusal) = refusal {
        tracing::warn!(%address, ?refusal, "sign-in refused");
        refused(&services, &gate, found.map(|found| found.user), address, refusal).await?;
        return Err(match refusal {
            Refusal::Wrong => wrong(),
            Refusal::Expired => Problem::unauthorized(
                "this password was made for you and was good for seven days: ask for a new one",
            ),
        });
    }
    let Some(found) = found else { return Err(wrong()) };
    gate.signed_in(&counted, address);
    let (value, csrf, now) = (random_text(), random_text(), unix_now());
    let new = NewSignIn {
        hash: fingerprint(&value),
        user_id: found.user.id,
        generation: found.generation,
        csrf: csrf.clone(),
        now,
        expires: now.after(super::access::IDLE),
    };
    services.db.add_sign_in(new).await?;
    // Who signs in anew leaves the sign-in before.
    if let Some(before) = cookie_hash(&request) {
        services.db.sign_out(before).await?;
    }
    let who = Who { kind: WhoKind::User, id: found.user.id, name: found.user.name.clone() };
    services.staff_log(&who, "session.begin", format!("user {}", who.id), serde_json::json!({})).await?;
    Ok(HttpResponse::Ok().cookie(cookie(value, gate.secure())).json(Session::new(&found.user, csrf)))
}

fn signed_in(access: &Access<Read>) -> Result<&SignIn, Problem> {
    access.sign_in().ok_or_else(|| Problem::not_found("sign-in: this is a key"))
}

/// Who is signed in.
#[utoipa::path(
    tag = "session",
    responses((status = 200, description = "The sign-in", body = Session),
              (status = 404, description = "A key asks, which has no sign-in")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/session")]
async fn who_am_i(access: Access<Read>) -> ApiResult {
    let known = signed_in(&access)?;
    Ok(HttpResponse::Ok().json(Session::new(&known.user, known.csrf.clone())))
}

/// Sign out.
#[utoipa::path(
    tag = "session",
    responses((status = 204, description = "Signed out; the cookie is removed")),
    security(())
)]
#[delete("/api/session")]
async fn sign_out(services: Shared, gate: web::Data<Gate>, request: HttpRequest) -> ApiResult {
    if let Some(hash) = cookie_hash(&request)
        && let Some(user) = services.db.sign_out(hash).await?
    {
        let who = Who { kind: WhoKind::User, id: user.id, name: user.name };
        services.staff_log(&who, "session.end", format!("user {}", who.id), serde_json::json!({})).await?;
    }
    Ok(HttpResponse::NoContent().cookie(no_cookie(gate.secure())).finish())
}

/// Change one's own password. Every sign-in of the user ends.
#[utoipa::path(
    tag = "session",
    request_body = PasswordChange,
    responses((status = 204, description = "Changed; sign in again"),
              (status = 404, description = "A key asks, which has no password"),
              (status = 413, description = "The body is too large"),
              (status = 415, description = "The body is no JSON")),
    security(("key" = []), ("session" = []))
)]
#[put("/api/session/password")]
async fn change_password(
    services: Shared,
    gate: web::Data<Gate>,
    access: Access<Read>,
    request: HttpRequest,
    body: Json<PasswordChange>,
) -> ApiResult {
    let body = body.into_inner();
    let user = &signed_in(&access)?.user;
    if let Some(fault) = password_fault(&body.new) {
        return Err(Problem::invalid("new", fault));
    }
    if body.new.expose_secret() == body.current.expose_secret() {
        return Err(Problem::invalid("new", "must be another than now"));
    }
    let address = gate.address(request.peer_addr().map(|peer| peer.ip()), request.headers());
    gate.sign_in(&user.name, address).await?;
    let found = services.db.user_by_name(user.name.clone()).await?;
    if !checked(&gate, body.current, found.map(|found| found.hash)).await? {
        return Err(Problem::invalid("current", "is not the password"));
    }
    gate.signed_in(&user.name, address);
    let hash = hashed(&gate, body.new).await?;
    let change = UserChange { password: Some((hash, None)), ..UserChange::default() };
    match services.db.change_user(user.id, change).await? {
        UserChanged::Done(_) => {
            let target = format!("user {}", user.id);
            services.staff_log(access.who(), "user.password", target, serde_json::json!({})).await?;
            Ok(HttpResponse::NoContent().cookie(no_cookie(gate.secure())).finish())
        }
        UserChanged::Unknown | UserChanged::LastAdmin => Err(Problem::not_found("user")),
    }
}
