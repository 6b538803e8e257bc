//! Who may do what: every route of the API's own description with no credential, a wrong one and a weak one; signing
//! in and what ends it; how much is let through.

use crate::support::database::on_both;
use crate::support::{Desk, barbershop};
use awc::http::header::HeaderMap;
use awc::http::{Method, StatusCode};
use frontdesk::api::secret::{fingerprint, hash_password};
use frontdesk::config::Config;
use frontdesk::domain::staff::{Role, Scope};
use frontdesk::domain::time::UnixMillis;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::Duration;

on_both!(
    every_described_route_is_closed_to_strangers_and_to_weak_keys,
    an_unknown_address_and_a_wrong_method_are_problems_and_every_answer_is_protected,
    a_user_signs_in_acts_with_the_token_and_signs_out,
    a_revoked_key_and_a_disabled_user_are_out_at_once_and_one_admin_stays,
    wrong_passwords_make_the_next_try_wait,
    too_many_requests_of_one_key_and_from_one_address_are_told_when_to_come_again,
    a_number_that_rings_too_often_hears_so_politely,
    who_asks_comes_before_whatever_is_wrong_with_what_they_ask_for,
    a_password_that_was_made_for_somebody_is_good_for_choosing_another_and_for_a_week,
);

const PASSWORD: &str = "a long enough password";

/// An answer.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Checks the status and, of an error, the form.
    fn is(self, status: u16, what: &str) -> Self {
        assert_eq!(self.status, status, "{what}: {}", self.body);
        if status >= 400 {
            assert_eq!(self.header("content-type"), "application/problem+json", "{what}");
            assert_eq!(self.body["status"], status, "{what}: {}", self.body);
        }
        self
    }
}

struct Api {
    http: awc::Client,
    base: String,
}

impl Api {
    fn of(desk: &Desk) -> Self {
        let http = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
        Self { http, base: desk.stack().base_url.clone() }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let sent = match body {
            Some(body) => request.send_json(&body).await,
            None => request.send().await,
        };
        let mut answer = sent.unwrap();
        // A stream of events has no end: only refusals are read.
        let endless = answer.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes = if endless { Default::default() } else { answer.body().limit(8 << 20).await.unwrap() };
        Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }
}

async fn desk(change: impl FnOnce(&mut Config)) -> Desk {
    Desk::with(barbershop(), VendorsConfig::default(), change).await
}

/// A key's header.
async fn key(desk: &Desk, scope: Scope) -> String {
    let key = format!("fd_test_{:032x}", rand::random::<u128>());
    desk.db().add_key("test".into(), fingerprint(&key), scope, UnixMillis(1)).await.unwrap();
    format!("Bearer {key}")
}

async fn user(desk: &Desk, name: &str, role: Role) -> i64 {
    let hash = hash_password(&SecretString::from(PASSWORD)).unwrap();
    desk.db().add_user(name.into(), hash, role, false, UnixMillis(1)).await.unwrap().unwrap().id
}

/// What only those may do who decide who may do what, or who take something away for good.
const ADMIN: [(&str, &str); 13] = [
    ("DELETE", "/api/calls/{id}/recording"),
    ("DELETE", "/api/jobs/{id}"),
    ("DELETE", "/api/keys/{id}"),
    ("DELETE", "/api/users/{id}"),
    ("GET", "/api/audit"),
    ("GET", "/api/keys"),
    ("GET", "/api/users"),
    ("PATCH", "/api/settings"),
    ("PATCH", "/api/users/{id}"),
    ("POST", "/api/customers/{id}/erase"),
    ("POST", "/api/keys"),
    ("POST", "/api/users"),
    ("PUT", "/api/profile"),
];
/// What whoever works with calls and the calendar may do.
const CALL: [(&str, &str); 17] = [
    ("DELETE", "/api/appointments/{id}"),
    ("DELETE", "/api/customers/{id}"),
    ("DELETE", "/api/time-off/{id}"),
    ("PATCH", "/api/appointments/{id}"),
    ("PATCH", "/api/customers/{id}"),
    ("PATCH", "/api/messages/{id}"),
    ("POST", "/api/appointments"),
    ("POST", "/api/calls/outbound"),
    ("POST", "/api/customers"),
    ("POST", "/api/jobs/{id}/retry"),
    ("POST", "/api/live/{call_sid}/end"),
    ("POST", "/api/live/{call_sid}/mute"),
    ("POST", "/api/live/{call_sid}/say"),
    ("POST", "/api/live/{call_sid}/transfer"),
    ("POST", "/api/test-calls"),
    ("POST", "/api/time-off"),
    // The own password is everybody's to change; a key has none.
    ("PUT", "/api/session/password"),
];

/// The scope that a route needs.
fn needed(method: &str, template: &str) -> Scope {
    if template == "/api/session/password" {
        return Scope::Read;
    }
    match (ADMIN.contains(&(method, template)), CALL.contains(&(method, template))) {
        (true, _) => Scope::Admin,
        (_, true) => Scope::Call,
        _ if method == "GET" => Scope::Read,
        _ => panic!("{method} {template} is in no table: which scope does it need?"),
    }
}

/// Signs in: the cookie and the token.
async fn sign_in(api: &Api, name: &str) -> (String, String) {
    let body = json!({"name": name, "password": PASSWORD});
    let answer = api.ask("POST", "/api/session", &[], Some(body)).await.is(200, "signs in");
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    (cookie, answer.body["csrf"].as_str().unwrap().to_owned())
}

/// A route of the description.
struct Operation {
    method: String,
    template: String,
    /// With its parameters filled in.
    path: String,
    /// Whether it is open to all.
    open: bool,
}

/// Every operation of the description.
fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let filled: Vec<String> = path
            .split('/')
            .map(|part| match part.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
                Some((_, rest)) => format!("1{rest}"),
                None => part.to_owned(),
            })
            .collect();
        let filled = filled.join("/");
        for (method, operation) in item.as_object().unwrap() {
            if !["get", "put", "post", "patch", "delete"].contains(&method.as_str()) {
                continue;
            }
            let security = operation["security"].as_array().expect("every operation says what it needs");
            let open = security.iter().any(|one| one.as_object().unwrap().is_empty());
            let (method, template) = (method.to_uppercase(), path.clone());
            all.push(Operation { method, template, path: filled.clone(), open });
        }
    }
    all
}

async fn every_described_route_is_closed_to_strangers_and_to_weak_keys() {
    let desk = desk(|config| {
        config.limits.who_per_minute = 1_000_000;
        config.limits.address_per_minute = 1_000_000;
    })
    .await;
    let api = Api::of(&desk);
    // The one with the id that is filled in: it is revoked on the way.
    key(&desk, Scope::Read).await;
    let (read, call, admin) =
        (key(&desk, Scope::Read).await, key(&desk, Scope::Call).await, key(&desk, Scope::Admin).await);
    let document = api.ask("GET", "/api/openapi.json", &[("authorization", &read)], None).await;
    let document = document.is(200, "the document").body;
    let all = operations(&document);
    assert!(all.len() >= 50, "{}", all.len());
    let open: Vec<&str> = all.iter().filter(|route| route.open).map(|route| route.path.as_str()).collect();
    assert_eq!(open, ["/api/health", "/api/ready", "/api/session", "/api/session"], "nothing else is open");
    for (method, template) in ADMIN.iter().chain(&CALL) {
        let there =
            all.iter().any(|route| (route.method.as_str(), route.template.as_str()) == (*method, *template));
        assert!(there, "there is no {method} {template} any more");
    }
    for Operation { method, template, path, open } in &all {
        // The path as it is, and as it is found all the same.
        for path in [path.clone(), path.replacen("/api", "/%61pi", 1)] {
            let what = format!("{method} {path}");
            let foreign = [("origin", "https://evil.example")];
            if *open {
                if template == "/api/session" {
                    let answer = api.ask(method, &path, &foreign, None).await.is(403, &what);
                    assert_eq!(answer.header("set-cookie"), "", "{what}");
                }
                continue;
            }
            let answer = api.ask(method, &path, &[], None).await.is(401, &what);
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
            assert_eq!(answer.header("cache-control"), "no-store", "{what}");
            assert_eq!(answer.body["instance"].as_str(), Some(path.as_str()), "{what}");
            for wrong in ["Bearer fd_wrong", "Bearer ", "Basic YTpi", "nonsense"] {
                api.ask(method, &path, &[("authorization", wrong)], None).await.is(401, &what);
            }
            api.ask(method, &path, &[("cookie", "frontdesk_session=wrong")], None).await.is(401, &what);
            api.ask(method, &path, &foreign, None).await.is(403, &what);
            let needed = needed(method, template);
            for (scope, key) in [(Scope::Read, &read), (Scope::Call, &call), (Scope::Admin, &admin)] {
                let answer = api.ask(method, &path, &[("authorization", key)], None).await;
                let status = answer.status.as_u16();
                if scope < needed {
                    answer.is(403, &format!("{what} with {scope:?}"));
                } else {
                    assert!(
                        !matches!(status, 401 | 403 | 429 | 500..),
                        "{what} with {scope:?}: {status} {}",
                        answer.body
                    );
                }
            }
        }
    }
    let answer = api.ask("GET", "/api/docs", &[("authorization", &admin)], None).await.is(200, "the page");
    assert!(answer.header("content-type").starts_with("text/html"));
    desk.close().await;
}

/// An address of a route with something in the place of its parameters.
fn filled_with(path: &str, text: &str) -> String {
    let parts: Vec<String> = path
        .split('/')
        .map(|part| match part.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((_, rest)) => format!("{text}{rest}"),
            None => part.to_owned(),
        })
        .collect();
    parts.join("/")
}

async fn who_asks_comes_before_whatever_is_wrong_with_what_they_ask_for() {
    let desk = desk(|config| {
        config.limits.address_per_minute = 1_000_000;
        config.limits.who_per_minute = 1_000_000;
    })
    .await;
    let api = Api::of(&desk);
    let (read, admin) = (key(&desk, Scope::Read).await, key(&desk, Scope::Admin).await);
    let document = api.ask("GET", "/api/openapi.json", &[("authorization", &admin)], None).await.body;
    // Wrong in every part: no such id, no such page, a body that is too large, or none of ours.
    let queries = ["", "?limit=x&cursor=%25%25&offset=3&from=never", "?kind=%00&state=%FF"];
    let bodies = [None, Some(json!({"no": "such field"})), Some(json!("x".repeat(70_000)))];
    let mut walked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(security) = operation["security"].as_array() else { continue };
            if security.iter().any(|one| one.as_object().unwrap().is_empty()) {
                continue;
            }
            let method = method.to_uppercase();
            for (text, query) in ["1", "x%2Fy", "%00", "%FF", "99999999999999999999"]
                .iter()
                .flat_map(|text| queries.iter().map(move |query| (text, query)))
            {
                let address = format!("{}{query}", filled_with(path, text));
                for body in &bodies {
                    let what = format!("{method} {address} {:.40}", json!(body).to_string());
                    for headers in [
                        vec![],
                        vec![("authorization", "Bearer fd_wrong")],
                        vec![("cookie", "frontdesk_session=wrong")],
                    ] {
                        api.ask(&method, &address, &headers, body.clone()).await.is(401, &what);
                    }
                    walked += 1;
                }
            }
            // Nor does too weak a key learn what is wrong. The own password is everybody's.
            if method != "GET" && path != "/api/session/password" {
                for text in ["1", "x%2Fy", "99999999999999999999"] {
                    let address = format!("{}?limit=x", filled_with(path, text));
                    for body in &bodies {
                        let headers = [("authorization", read.as_str())];
                        api.ask(&method, &address, &headers, body.clone()).await.is(403, &address);
                    }
                }
            }
        }
    }
    assert!(walked > 600, "{walked}");
    desk.close().await;
}

/// Asks until it is refused. On a slow machine room for one may have come again meanwhile; who has an allowance of their
/// own would have room for all of these.
async fn refused(api: &Api, path: &str, headers: &[(&str, &str)]) -> Answer {
    for _ in 0..2 {
        let answer = api.ask("GET", path, headers, None).await;
        if answer.status == 429 {
            return answer.is(429, path);
        }
    }
    api.ask("GET", path, headers, None).await.is(429, path)
}

#[actix::test]
async fn an_address_that_is_written_with_escapes_is_the_same_address_and_counts_like_it() {
    let desk = desk(|config| {
        config.limits.address_per_minute = 10;
        config.limits.unsigned_per_minute = 3;
    })
    .await;
    let api = Api::of(&desk);
    let wrong = [("authorization", "Bearer fd_wrong")];
    let foreign = [("origin", "https://evil.example")];
    for path in ["/api/keys", "/%61pi/keys", "/api/%6beys", "/%61%70%69/keys?limit=x", "/api/call%73"] {
        api.ask("GET", path, &wrong, None).await.is(401, path);
        api.ask("GET", path, &foreign, None).await.is(403, path);
    }
    for path in ["/%61pi/keys", "/%61%70%69/calls", "/api/calls"] {
        refused(&api, path, &wrong).await;
    }
    api.ask("GET", "/%61pi/health", &[], None).await.is(200, "is never refused");
    // What Twilio asks for is counted by itself.
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = api.ask("POST", "/%76oice/incoming", &[], None).await;
        assert_eq!(answer.header("content-security-policy"), "", "as Twilio's own");
        statuses.push(answer.status.as_u16());
    }
    assert!(statuses[..3].iter().all(|status| matches!(status, 400 | 403)), "{statuses:?}");
    assert_eq!(statuses[3], 429);
    desk.close().await;
}

async fn a_password_that_was_made_for_somebody_is_good_for_choosing_another_and_for_a_week() {
    let desk = desk(|_| {}).await;
    let api = Api::of(&desk);
    let hash = hash_password(&SecretString::from(PASSWORD)).unwrap();
    let now = frontdesk::observe::clock::unix_now();
    let old = UnixMillis(now.0 - 8 * 86_400_000);
    for (name, at) in [("maria", now), ("late", old)] {
        desk.db().add_user(name.into(), hash.clone(), Role::Admin, true, at).await.unwrap().unwrap();
    }
    let body = json!({"name": "late", "password": PASSWORD});
    let refused = api.ask("POST", "/api/session", &[], Some(body)).await.is(401, "too old");
    assert!(refused.body["detail"].as_str().unwrap().contains("seven days"), "{}", refused.body);
    let (cookie, token) = sign_in(&api, "maria").await;
    let maria = [("cookie", cookie.as_str()), ("x-csrf-token", token.as_str())];
    let me = api.ask("GET", "/api/session", &maria, None).await.is(200, "who am I");
    assert_eq!(me.body["user"]["one_time_password"], true);
    for (method, path) in [
        ("GET", "/api/calls"),
        ("GET", "/api/users"),
        ("GET", "/api/stream"),
        ("GET", "/api/sessions"),
        ("POST", "/api/keys"),
    ] {
        let answer = api.ask(method, path, &maria, None).await;
        if path == "/api/sessions" {
            answer.is(404, path);
            continue;
        }
        let answer = answer.is(403, path);
        assert!(answer.body["detail"].as_str().unwrap().contains("choose your own"), "{}", answer.body);
    }
    let change = json!({"current": PASSWORD, "new": "another long password"});
    api.ask("PUT", "/api/session/password", &maria, Some(change)).await.is(204, "chosen");
    let body = json!({"name": "maria", "password": "another long password"});
    let answer = api.ask("POST", "/api/session", &[], Some(body)).await.is(200, "her own");
    assert_eq!(answer.body["user"]["one_time_password"], false);
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    api.ask("GET", "/api/calls", &[("cookie", &cookie)], None).await.is(200, "everything");
    desk.close().await;
}

async fn an_unknown_address_and_a_wrong_method_are_problems_and_every_answer_is_protected() {
    let desk = desk(|_| {}).await;
    let api = Api::of(&desk);
    let key = key(&desk, Scope::Admin).await;
    let key = [("authorization", key.as_str())];
    api.ask("GET", "/api/nothing", &[], None).await.is(404, "unknown");
    api.ask("GET", "/api/keys/x", &key, None).await.is(405, "only DELETE");
    api.ask("DELETE", "/api/keys/x", &key, None).await.is(404, "no id");
    let answer = api.ask("PUT", "/api/health", &[], None).await.is(405, "a wrong method");
    assert_eq!(answer.header("allow"), "GET");
    // A cursor belongs to its list.
    let cursor = api.ask("GET", "/api/keys?cursor=AgAAAAAAAAAB", &key, None).await.is(400, "of the users");
    assert_eq!(cursor.body["errors"][0]["field"], "cursor", "{}", cursor.body);
    api.ask("GET", "/api/users?cursor=AgAAAAAAAAAB", &key, None).await.is(200, "their own");
    let text =
        api.http.put(format!("{}/api/profile", api.base)).insert_header(key[0]).content_type("text/plain");
    assert_eq!(text.send_body("{}").await.unwrap().status(), 415, "no JSON");
    let answer = api.ask("GET", "/api/keys?offset=3", &key, None).await.is(400, "offset");
    assert_eq!(answer.body["errors"][0]["field"], "offset", "{}", answer.body);
    let body = json!({"name": "x", "scope": "read", "extra": 1});
    let answer = api.ask("POST", "/api/keys", &key, Some(body)).await.is(400, "an unknown field");
    assert_eq!(answer.body["errors"][0]["field"], "extra", "{}", answer.body);
    api.ask("POST", "/api/keys", &key, None).await.is(415, "no JSON");
    api.ask("GET", "/api/keys?cursor=%00", &key, None).await.is(400, "NUL");
    for path in ["/api/health", "/api/nothing", "/", "/nothing/at/all"] {
        let answer = api.ask("GET", path, &[], None).await;
        assert!(answer.header("content-security-policy").starts_with("default-src 'self'"), "{path}");
        assert!(!answer.header("content-security-policy").contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
    }
    api.ask("GET", "/api/ready", &[], None).await.is(200, "ready");
    let voice = api.ask("POST", "/voice/incoming", &[], None).await;
    assert_eq!(voice.header("content-security-policy"), "", "Twilio needs none");
    desk.close().await;
}

async fn a_user_signs_in_acts_with_the_token_and_signs_out() {
    let desk = desk(|_| {}).await;
    let api = Api::of(&desk);
    user(&desk, "maria", Role::Admin).await;
    for body in [
        json!({"name": "maria", "password": "wrong"}),
        json!({"name": "nobody", "password": PASSWORD}),
        json!({"name": "", "password": ""}),
    ] {
        api.ask("POST", "/api/session", &[], Some(body)).await.is(401, "wrong");
    }
    let body = json!({"name": " Maria", "password": PASSWORD});
    let answer = api.ask("POST", "/api/session", &[], Some(body)).await.is(200, "right");
    assert_eq!(answer.body["user"]["name"], "maria");
    assert_eq!(answer.body["user"]["role"], "admin");
    let set = answer.header("set-cookie");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && set.contains("Path=/"), "{set}");
    assert!(!set.contains("Secure"), "not over http");
    assert_eq!(answer.header("cache-control"), "no-store");
    let cookie = set.split(';').next().unwrap().to_owned();
    let token = answer.body["csrf"].as_str().unwrap().to_owned();
    let session = ("cookie", cookie.as_str());

    let me = api.ask("GET", "/api/session", &[session], None).await.is(200, "who am I");
    assert_eq!(me.body["csrf"], token.as_str());
    let wanted = || Some(json!({"name": "till", "scope": "read"}));
    api.ask("POST", "/api/keys", &[session], wanted()).await.is(403, "no token");
    api.ask("POST", "/api/keys", &[session, ("x-csrf-token", "wrong")], wanted())
        .await
        .is(403, "wrong token");
    let own = ("origin", desk.stack().base_url.as_str());
    let foreign = ("origin", "https://evil.example");
    let with_token = ("x-csrf-token", token.as_str());
    api.ask("POST", "/api/keys", &[session, with_token, foreign], wanted()).await.is(403, "foreign");
    api.ask("GET", "/api/session", &[session, foreign], None).await.is(403, "foreign, even to read");
    api.ask("GET", "/api/session", &[session, ("origin", "null")], None).await.is(403, "no origin to name");
    let made = api.ask("POST", "/api/keys", &[session, with_token, own], wanted()).await.is(201, "a key");
    assert!(made.body["key"].as_str().unwrap().starts_with("fd_"));

    let trail = api.ask("GET", "/api/audit", &[session], None).await.is(200, "the trail");
    let actions: Vec<&str> =
        trail.body["items"].as_array().unwrap().iter().map(|a| a["action"].as_str().unwrap()).collect();
    let refused = ["session.refused"; 3];
    assert_eq!(actions, [&["key.create", "session.begin"][..], &refused[..]].concat(), "{}", trail.body);
    assert_eq!(trail.body["items"][0]["who"]["name"], "maria");
    let trail = trail.body.to_string();
    assert!(!trail.contains("fd_"), "no key in the trail");
    assert!(!trail.contains(PASSWORD) && !trail.contains("nobody"), "nothing of what was typed: {trail}");

    let answer = api.ask("DELETE", "/api/session", &[session], None).await.is(204, "signs out");
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    api.ask("GET", "/api/session", &[session], None).await.is(401, "signed out");
    let rows = desk.db().staff_actions(None, 1).await.unwrap();
    assert_eq!((rows[0].action.as_str(), rows[0].who.name.as_str()), ("session.end", "maria"));
    desk.close().await;
}

async fn a_revoked_key_and_a_disabled_user_are_out_at_once_and_one_admin_stays() {
    let desk = desk(|_| {}).await;
    let api = Api::of(&desk);
    let maria = user(&desk, "maria", Role::Admin).await;
    let sam = user(&desk, "sam", Role::Viewer).await;
    let (sams, sams_token) = sign_in(&api, "sam").await;
    let sams = [("cookie", sams.as_str()), ("x-csrf-token", sams_token.as_str())];
    let (admin, token) = sign_in(&api, "maria").await;
    let admin = [("cookie", admin.as_str()), ("x-csrf-token", token.as_str())];

    let wanted = json!({"name": "till", "scope": "admin"});
    let made = api.ask("POST", "/api/keys", &admin, Some(wanted)).await.is(201, "a key").body;
    let header = format!("Bearer {}", made["key"].as_str().unwrap());
    let keyed = [("authorization", header.as_str())];
    let list = api.ask("GET", "/api/keys", &keyed, None).await.is(200, "used").body;
    assert!(list["items"][0]["last_used_at"].is_string() && list["items"][0]["key"].is_null(), "{list}");
    api.ask("GET", "/api/session", &keyed, None).await.is(404, "a key has no sign-in");
    api.ask("DELETE", &format!("/api/keys/{}", made["id"]), &admin, None).await.is(204, "revoked");
    api.ask("DELETE", &format!("/api/keys/{}", made["id"]), &admin, None).await.is(404, "once");
    api.ask("GET", "/api/keys", &keyed, None).await.is(401, "no more");

    api.ask("GET", "/api/session", &sams, None).await.is(200, "sam is in");
    api.ask("GET", "/api/users", &sams, None).await.is(403, "but sees only what viewers see");
    // A role changes what a sign-in may do without ending it.
    let role = |role: &str| Some(json!({"role": role}));
    api.ask("PATCH", &format!("/api/users/{sam}"), &admin, role("admin")).await.is(200, "promoted");
    api.ask("GET", "/api/users", &sams, None).await.is(200, "at once");
    api.ask("DELETE", &format!("/api/users/{maria}"), &sams, None).await.is(204, "maria is out");
    api.ask("GET", "/api/session", &admin, None).await.is(401, "at once");
    let body = json!({"name": "maria", "password": PASSWORD});
    api.ask("POST", "/api/session", &[], Some(body)).await.is(401, "and cannot come in");
    for (method, path, body) in [
        ("DELETE", format!("/api/users/{sam}"), None),
        ("PATCH", format!("/api/users/{sam}"), Some(json!({"role": "staff"}))),
        ("PATCH", format!("/api/users/{sam}"), Some(json!({"disabled": true}))),
    ] {
        api.ask(method, &path, &sams, body).await.is(409, "the last admin stays");
    }
    let change = |current: &str, new: &str| Some(json!({"current": current, "new": new}));
    let path = "/api/session/password";
    api.ask("PUT", path, &sams, change(PASSWORD, "short")).await.is(400, "too short");
    api.ask("PUT", path, &sams, change("wrong", "another long password")).await.is(400, "wrong");
    api.ask("PUT", path, &sams, change(PASSWORD, "another long password")).await.is(204, "changed");
    api.ask("GET", "/api/session", &sams, None).await.is(401, "a new password signs out");
    desk.close().await;
}

async fn wrong_passwords_make_the_next_try_wait() {
    let desk = desk(|config| config.limits.sign_in_failures = 3).await;
    let api = Api::of(&desk);
    user(&desk, "maria", Role::Viewer).await;
    let body = |password: &str| Some(json!({"name": "maria", "password": password}));
    for _ in 0..3 {
        api.ask("POST", "/api/session", &[], body("wrong")).await.is(401, "wrong");
    }
    // The first wait is a second, and each is twice as long as the one before: looking at a password can take a slow
    // machine longer than the first ones.
    let mut tries = 0;
    loop {
        let answer = api.ask("POST", "/api/session", &[], body("wrong")).await;
        tries += 1;
        if answer.status == 401 {
            assert!(tries < 10, "nobody has to wait");
            continue;
        }
        let wait = answer.is(429, "too often").header("retry-after").parse::<u64>().unwrap();
        if wait >= 4 {
            break;
        }
        assert!(wait >= 1 && tries < 10, "{wait} s after {tries}");
        tokio::time::sleep(Duration::from_secs(wait)).await;
    }
    let answer = api.ask("POST", "/api/session", &[], body(PASSWORD)).await.is(429, "even the right one");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    desk.close().await;
}

async fn too_many_requests_of_one_key_and_from_one_address_are_told_when_to_come_again() {
    let desk = desk(|config| {
        config.limits.who_per_minute = 3;
        config.limits.address_per_minute = 12;
        config.limits.unsigned_per_minute = 2;
    })
    .await;
    let api = Api::of(&desk);
    let (one, other) = (key(&desk, Scope::Admin).await, key(&desk, Scope::Admin).await);
    for _ in 0..3 {
        api.ask("GET", "/api/audit", &[("authorization", &one)], None).await.is(200, "let through");
    }
    let answer = api.ask("GET", "/api/audit", &[("authorization", &one)], None).await.is(429, "one key");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    api.ask("GET", "/api/audit", &[("authorization", &other)], None).await.is(200, "another key");
    for _ in 0..7 {
        api.ask("GET", "/api/audit", &[], None).await.is(401, "counted by address");
    }
    refused(&api, "/api/audit", &[("authorization", &other)]).await;
    // Who believes that a stranger's word about the address counts is wrong.
    refused(&api, "/api/audit", &[("x-forwarded-for", "198.51.100.1")]).await;
    api.ask("GET", "/api/health", &[], None).await.is(200, "is never refused");
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(api.ask("POST", "/voice/incoming", &[], None).await.status.as_u16());
    }
    assert!(statuses[..2].iter().all(|status| matches!(status, 400 | 403)), "{statuses:?}");
    assert_eq!(statuses[2], 429);
    desk.close().await;
}

async fn a_number_that_rings_too_often_hears_so_politely() {
    let desk = desk(|config| config.limits.caller_per_minute = 1).await;
    let script = Script::parse("name = \"brief\"\n[[step]]\nhang_up = true\n")
        .or_else(|_| Script::parse(include_str!("../calls/silence.toml")));
    let script = script.unwrap();
    run_call(&desk.stack().caller(), &script).await;
    let refused = run_call(&desk.stack().caller(), &script).await;
    assert!(refused.webhooks.iter().all(|hook| hook.status < 300), "{:?}", refused.webhooks);
    assert!(refused.streams.is_empty(), "it was not let in");
    assert!(refused.said_by_twilio.concat().contains("call again"), "{:?}", refused.said_by_twilio);
    desk.close().await;
}
