//! Who asks: a key in the header, or a user's cookie with its token; and whether that is enough.

use super::gate::{Gate, is_below, routed_path};
use super::problem::Problem;
use super::secret::fingerprint;
use crate::domain::staff::Scope;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

pub use crate::db::access::{Credential, User};
pub use crate::domain::staff::{Role, Who, WhoKind};

/// The cookie of a sign-in.
pub const COOKIE: &str = "frontdesk_session";
/// The header in which a changing request with a cookie brings its token.
pub const CSRF_HEADER: &str = "x-csrf-token";
/// How long a sign-in lasts without use.
pub const IDLE: Duration = Duration::from_secs(12 * 3_600);
/// The longest credential that is looked at, bytes.
const MAX_CREDENTIAL: usize = 256;

/// What a route asks for.
pub trait Need: 'static {
    /// The weakest scope that is enough.
    const SCOPE: Scope;
}

/// Asks for the right to see.
pub struct Read;
/// Asks for the right to change the business's data and act on calls.
pub struct Act;
/// Asks for the right to decide who may do what.
pub struct Admin;

impl Need for Read {
    const SCOPE: Scope = Scope::Read;
}

impl Need for Act {
    const SCOPE: Scope = Scope::Call;
}

impl Need for Admin {
    const SCOPE: Scope = Scope::Admin;
}

/// Somebody who may. A handler that takes it is not reached by anybody else: 401 for nobody we know, 403 for too weak
/// a scope or a missing token, 429 for too many requests.
pub struct Access<S: Need> {
    caller: Caller,
    need: PhantomData<S>,
}

/// Somebody who was recognised. The way in leaves it with the request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    who: Who,
    scope: Scope,
    sign_in: Option<SignIn>,
    credential: Credential,
}

/// A user's sign-in.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The user.
    pub user: User,
    /// What a changing request has to bring.
    pub csrf: String,
    /// The cookie's fingerprint.
    pub hash: String,
}

impl<S: Need> Access<S> {
    /// Who asks.
    pub fn who(&self) -> &Who {
        &self.caller.who
    }

    /// What they may do.
    pub fn scope(&self) -> Scope {
        self.caller.scope
    }

    /// By what they were recognised.
    pub(super) fn credential(&self) -> &Credential {
        &self.caller.credential
    }

    /// The sign-in, if it is a user who asks and no key.
    pub fn sign_in(&self) -> Option<&SignIn> {
        self.caller.sign_in.as_ref()
    }
}

impl<S: Need> FromRequest for Access<S> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Whatever is described as closed was recognised on the way in, so this waits for nothing: a handler's other
        // arguments are looked at only for somebody who may.
        let known = request.extensions().get::<Caller>().cloned();
        let request = request.clone();
        Box::pin(async move {
            let caller = match known {
                Some(caller) => caller,
                None => admit(&request).await?,
            };
            if caller.scope < S::SCOPE {
                return Err(Problem::forbidden(format!(
                    "this needs the scope `{}`; yours is `{}`",
                    S::SCOPE.as_str(),
                    caller.scope.as_str()
                )));
            }
            Ok(Self { caller, need: PhantomData })
        })
    }
}

/// Recognises who asks, and counts it.
pub(super) async fn admit(request: &HttpRequest) -> Result<Caller, Problem> {
    let caller = recognise(request).await?;
    let gate = request.app_data::<web::Data<Gate>>().ok_or_else(Problem::internal)?;
    gate.count(&caller.who).await?;
    Ok(caller)
}

async fn recognise(request: &HttpRequest) -> Result<Caller, Problem> {
    let services = request.app_data::<web::Data<Rc<Services>>>().ok_or_else(Problem::internal)?;
    // A request with this header is never taken by its cookie: the check of the origin is left out for it.
    if let Some(value) = request.headers().get(AUTHORIZATION) {
        let unknown = || Problem::unauthorized("the key is not known, or was revoked");
        let key = value.to_str().ok().and_then(bearer).ok_or_else(unknown)?;
        let hash = fingerprint(key);
        let key = services.db.key_by_hash(hash.clone(), unix_now()).await?.ok_or_else(unknown)?;
        let who = Who { kind: WhoKind::Key, id: key.id, name: key.name };
        return Ok(Caller { who, scope: key.scope, sign_in: None, credential: Credential::Key(hash) });
    }
    let Some(hash) = cookie_hash(request) else {
        return Err(Problem::unauthorized("sign in, or send a key as `Authorization: Bearer fd_…`"));
    };
    let now = unix_now();
    let signed_in = services.db.signed_in(hash.clone(), now, now.after(IDLE)).await?;
    let signed_in = signed_in.ok_or_else(|| Problem::unauthorized("the sign-in has ended"))?;
    if !is_safe(request.method()) {
        let token = request.headers().get(CSRF_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
        if !bool::from(token.ct_eq(signed_in.csrf.as_bytes())) {
            return Err(Problem::forbidden(
                "a changing request with a cookie needs the sign-in's `X-CSRF-Token`",
            ));
        }
    }
    let user = signed_in.user;
    if user.one_time && !is_below(routed_path(request), "/api/session") {
        return Err(Problem::forbidden(
            "your password was made for you: choose your own first, with `PUT /api/session/password`",
        ));
    }
    let who = Who { kind: WhoKind::User, id: user.id, name: user.name.clone() };
    let scope = user.role.scope();
    let credential = Credential::SignIn(hash.clone());
    Ok(Caller { who, scope, sign_in: Some(SignIn { user, csrf: signed_in.csrf, hash }), credential })
}

/// The key of an `Authorization` header.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.split_once(' ')?;
    let key = key.trim();
    let sane = scheme.eq_ignore_ascii_case("bearer") && !key.is_empty() && key.len() <= MAX_CREDENTIAL;
    sane.then_some(key)
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The fingerprint of a request's cookie.
pub fn cookie_hash(request: &HttpRequest) -> Option<String> {
    let cookie = request.cookie(COOKIE)?;
    let value = cookie.value();
    (!value.is_empty() && value.len() <= MAX_CREDENTIAL).then(|| fingerprint(value))
}

/// The cookie of a sign-in: unseen by scripts, sent to us only, and only from our own pages.
pub fn cookie(value: String, secure: bool) -> Cookie<'static> {
    Cookie::build(COOKIE, value).path("/").http_only(true).same_site(SameSite::Strict).secure(secure).finish()
}

/// What removes the cookie.
pub fn no_cookie(secure: bool) -> Cookie<'static> {
    let mut gone = cookie(String::new(), secure);
    gone.set_max_age(time::Duration::ZERO);
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_from_a_bearer_header_only() {
        for (value, want) in [
            ("Bearer fd_x", Some("fd_x")),
            ("bearer  fd_x ", Some("fd_x")),
            ("Basic fd_x", None),
            ("fd_x", None),
            ("Bearer ", None),
            ("", None),
        ] {
            assert_eq!(bearer(value), want, "{value}");
        }
        assert_eq!(bearer(&format!("Bearer {}", "x".repeat(257))), None);
    }

    #[test]
    fn the_cookie_is_closed_to_scripts_and_other_sites() {
        let text = cookie("abc".into(), true).to_string();
        assert_eq!(text, "frontdesk_session=abc; HttpOnly; SameSite=Strict; Secure; Path=/");
        assert!(!cookie("abc".into(), false).to_string().contains("Secure"));
        assert!(no_cookie(false).to_string().contains("Max-Age=0"));
    }
}
