//! Twilio's REST API: calls are created, changed, fetched and listed.

use super::twilio_calls::{CallUpdate, SimCall};
use super::twilio_checks::{check_create, check_urls};
use super::{Keys, Shared};
use crate::sim::faults::{Instead, Service};
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, RETRY_AFTER};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const SERVICE: Service = Service::Twilio;

/// How Twilio's REST API behaves.
#[derive(Clone, Debug, Default)]
pub struct TwilioRestConfig {
    /// The one account there is; any well-formed SID if empty.
    pub account_sid: String,
    /// Auth tokens, and secrets of API keys.
    pub keys: Keys,
}

/// Adds the routes.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    app.service(
        web::scope("/2010-04-01/Accounts/{account}")
            .route("/Calls.json", web::post().to(create))
            .route("/Calls.json", web::get().to(list))
            .route("/Calls/{sid}.json", web::post().to(update))
            .route("/Calls/{sid}.json", web::get().to(fetch))
            .default_service(web::to(elsewhere)),
    );
}

/// A refusal: HTTP status, Twilio's code, message.
pub(super) struct Refused(pub(super) u16, pub(super) u32, pub(super) String);

pub(super) fn bad(code: u32, message: impl Into<String>) -> Refused {
    Refused(400, code, message.into())
}

fn error(shared: &Shared, status: u16, code: u32, message: &str) -> HttpResponse {
    shared.controls.erred(SERVICE);
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)).json(
        json!({
            "code": code, "message": message, "status": status,
            "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        }),
    )
}

fn refusal(shared: &Shared, instead: &Instead) -> HttpResponse {
    match instead {
        Instead::RateLimit(retry_after_ms) => {
            let mut response = error(shared, 429, 20429, "Too Many Requests");
            if let Some(ms) = retry_after_ms {
                response.headers_mut().insert(RETRY_AFTER, ms.div_ceil(1_000).into());
            }
            response
        }
        Instead::Refuse(status, code) => {
            let usual = match status {
                401 => 20003,
                404 => 20404,
                429 => 20429,
                400 => 21220,
                other => u32::from(*other).saturating_add(20_000),
            };
            let code = code.as_deref().and_then(|c| c.parse().ok()).unwrap_or(usual);
            error(shared, *status, code, "Simulated failure.")
        }
        // Never answered: see `Shared::enter`.
        Instead::Hang => error(shared, 500, 20500, "Simulated failure."),
    }
}

pub(super) type Form = Vec<(String, String)>;

pub(super) fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
}

fn is_sid(sid: &str, prefix: &str) -> bool {
    sid.len() == 34
        && sid.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Checks Basic authentication: the account with its token, or an API key with its secret.
fn authorised(shared: &Shared, req: &HttpRequest, account: &str) -> Result<(), Refused> {
    let config = &shared.config.twilio;
    let refuse = |why: &str| Err(Refused(401, 20003, format!("Authenticate: {why}")));
    let header = req.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let decoded = header.strip_prefix("Basic ").and_then(|b64| STANDARD.decode(b64).ok());
    let Some((user, secret)) = decoded.as_deref().and_then(|d| std::str::from_utf8(d).ok()?.split_once(':'))
    else {
        return refuse("no Basic authentication");
    };
    if !is_sid(user, "SK") && user != account {
        return refuse("invalid username");
    }
    if !is_sid(account, "AC") || (!config.account_sid.is_empty() && config.account_sid != account) {
        return refuse("unknown account");
    }
    if config.keys.accept(secret) { Ok(()) } else { refuse("wrong secret") }
}

/// What every handler does first: count, let faults strike, check who asks, read the form.
async fn enter(
    shared: &Shared,
    req: &HttpRequest,
    account: &str,
    body: &[u8],
) -> Result<(crate::sim::controls::InFlight, Duration, Form), HttpResponse> {
    let text = format!("{} {} {}", req.method(), req.path(), String::from_utf8_lossy(body));
    let (flight, struck) = shared.enter(req, SERVICE, &text).await;
    if let Some(instead) = &struck.instead {
        return Err(refusal(shared, instead));
    }
    // A call that is made is made before its answer comes: somebody may pick up meanwhile.
    let is_create = req.method() == actix_web::http::Method::POST && req.path().ends_with("/Calls.json");
    if !struck.slow.is_zero() && !is_create {
        tokio::time::sleep(struck.slow).await;
    }
    if let Err(refused) = authorised(shared, req, account) {
        return Err(refuse(shared, &refused));
    }
    if struck.malformed {
        return Err(HttpResponse::Ok().content_type("text/html").body("<html><body>Bad gateway"));
    }
    if struck.cut.is_some() || struck.stall.is_some() {
        // The request has no effect that the client could learn of.
        return Err(HttpResponse::Ok().streaming(super::paced::body(
            std::iter::once((std::time::Duration::ZERO, Bytes::from_static(b"{\"sid\":\"CA"))),
            &struck,
            flight,
        )));
    }
    let content_type = req.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    if req.method() == actix_web::http::Method::POST
        && !content_type.starts_with("application/x-www-form-urlencoded")
    {
        let refused = Refused(415, 20415, format!("Content-Type {content_type:?} is not a form"));
        return Err(refuse(shared, &refused));
    }
    Ok((flight, struck.slow, form_urlencoded::parse(body).into_owned().collect()))
}

fn refuse(shared: &Shared, Refused(status, code, message): &Refused) -> HttpResponse {
    // A call that is over is an answer to expect, not a broken rule.
    if !matches!(code, 21220 | 20404) {
        shared.controls.violate(SERVICE, message.clone());
    }
    error(shared, *status, *code, message)
}

async fn create(
    req: HttpRequest,
    path: web::Path<String>,
    body: Bytes,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let account = path.into_inner();
    let (flight, slow, form) = match enter(&shared, &req, &account, &body).await {
        Ok(entered) => entered,
        Err(response) => return response,
    };
    if let Err(refused) = check_create(&shared, &form) {
        return refuse(&shared, &refused);
    }
    let call = SimCall {
        sid: format!("CA{:032x}", 0xc0de_0000_0000_0000_u128.saturating_add(u128::from(shared.number()))),
        account_sid: account,
        from: field(&form, "From").unwrap_or_default().to_owned(),
        to: field(&form, "To").unwrap_or_default().to_owned(),
        direction: "outbound-api".to_owned(),
        parent_call_sid: None,
        status: "queued".to_owned(),
        parameters: form,
        created_ms: jiff::Timestamp::now().as_millisecond(),
        updates: Vec::new(),
    };
    shared.calls.create(&call);
    tokio::time::sleep(slow).await;
    flight.finish();
    HttpResponse::Created().json(show(&call))
}

async fn update(
    req: HttpRequest,
    path: web::Path<(String, String)>,
    body: Bytes,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let (account, sid) = path.into_inner();
    let (flight, _, form) = match enter(&shared, &req, &account, &body).await {
        Ok(entered) => entered,
        Err(response) => return response,
    };
    let Some(call) = shared.calls.get(&sid) else { return refuse(&shared, &not_found(&req)) };
    let change = match change(&shared, &call, &form) {
        Ok(change) => change,
        Err(refused) => return refuse(&shared, &refused),
    };
    if let Some(change) = change {
        shared.calls.apply(&sid, &change);
    }
    flight.finish();
    HttpResponse::Ok().json(shared.calls.get(&sid).as_ref().map(show))
}

fn change(shared: &Shared, call: &SimCall, form: &Form) -> Result<Option<CallUpdate>, Refused> {
    let not_in_progress = || bad(21220, "Call is not in-progress. Cannot redirect.");
    if call.is_over() {
        return Err(not_in_progress());
    }
    check_urls(shared, form)?;
    let early = matches!(call.status.as_str(), "queued" | "ringing" | "initiated");
    match (field(form, "Status"), field(form, "Twiml"), field(form, "Url")) {
        (Some("completed"), _, _) => Ok(Some(CallUpdate::Completed)),
        (Some("canceled"), _, _) if early => Ok(Some(CallUpdate::Canceled)),
        (Some("canceled"), _, _) => Err(not_in_progress()),
        (Some(other), _, _) => Err(bad(21218, format!("Status {other} is not possible"))),
        (None, Some(_), Some(_)) => Err(bad(21205, "Twiml and Url exclude each other")),
        (None, None, None) => Ok(None),
        (None, _, _) if early => Err(not_in_progress()),
        (None, Some(twiml), None) => Ok(Some(CallUpdate::Twiml { twiml: twiml.to_owned() })),
        (None, None, Some(url)) => Ok(Some(CallUpdate::Url {
            url: url.to_owned(),
            method: field(form, "Method").unwrap_or("POST").to_owned(),
        })),
    }
}

async fn fetch(
    req: HttpRequest,
    path: web::Path<(String, String)>,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let (account, sid) = path.into_inner();
    match enter(&shared, &req, &account, b"").await {
        Err(response) => response,
        Ok((flight, ..)) => match shared.calls.get(&sid) {
            None => refuse(&shared, &not_found(&req)),
            Some(call) => {
                flight.finish();
                HttpResponse::Ok().json(show(&call))
            }
        },
    }
}

async fn list(req: HttpRequest, path: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    let account = path.into_inner();
    let (flight, ..) = match enter(&shared, &req, &account, b"").await {
        Ok(entered) => entered,
        Err(response) => return response,
    };
    let query: Form = form_urlencoded::parse(req.query_string().as_bytes()).into_owned().collect();
    let size: usize = match field(&query, "PageSize").map_or(Ok(50), str::parse) {
        Ok(size) if (1..=1_000).contains(&size) => size,
        _ => return refuse(&shared, &bad(20008, "PageSize must be 1 to 1000")),
    };
    let page: usize = field(&query, "Page").and_then(|p| p.parse().ok()).unwrap_or(0);
    if let Err(refused) = check_list(&query, page) {
        return refuse(&shared, &refused);
    }
    let matching: Vec<SimCall> =
        shared.calls.all().into_iter().filter(|call| is_wanted(call, &query)).collect();
    let from = page.saturating_mul(size);
    let shown: Vec<Value> = matching.iter().skip(from).take(size).map(show).collect();
    let more = matching.len() > from.saturating_add(size);
    let uri = |page: usize| {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        let own = ["Page", "PageSize", "PageToken"];
        for (name, value) in query.iter().filter(|(n, _)| !own.contains(&n.as_str())) {
            pairs.append_pair(name, value);
        }
        pairs.append_pair("PageSize", &size.to_string()).append_pair("Page", &page.to_string());
        if page > 0 {
            pairs.append_pair("PageToken", &page_token(page));
        }
        format!("{}?{}", req.path(), pairs.finish())
    };
    flight.finish();
    HttpResponse::Ok().json(json!({
        "calls": shown, "page": page, "page_size": size, "start": from,
        "end": from.saturating_add(shown_end(size, matching.len().saturating_sub(from))),
        "uri": uri(page), "first_page_uri": uri(0),
        "next_page_uri": more.then(|| uri(page.saturating_add(1))),
        "previous_page_uri": page.checked_sub(1).map(uri),
    }))
}

/// Whoever goes through a list follows its links, which carry a token: guessed pages are refused.
fn check_list(query: &Form, page: usize) -> Result<(), Refused> {
    const STATUS: [&str; 8] =
        ["queued", "ringing", "in-progress", "canceled", "completed", "failed", "busy", "no-answer"];
    if let Some(status) = field(query, "Status").filter(|status| !STATUS.contains(status)) {
        return Err(bad(20001, format!("Status {status} is none")));
    }
    if page > 0 && field(query, "PageToken") != Some(page_token(page).as_str()) {
        return Err(bad(20006, format!("Page {page} without its PageToken")));
    }
    for (name, _, value) in days(query) {
        if value.parse::<jiff::civil::Date>().is_err() {
            return Err(bad(20001, format!("{name} {value} is no date")));
        }
    }
    Ok(())
}

fn page_token(page: usize) -> String {
    format!("PACA{page:032x}")
}

/// The days that a list is limited to, by the sign behind the parameter's name (`StartTime>=2026-11-22`).
fn days(query: &Form) -> impl Iterator<Item = (&str, &str, &str)> {
    query.iter().filter_map(|(name, value)| {
        let sign = name.strip_prefix("StartTime")?;
        ["", "<", ">"].contains(&sign).then_some((name.as_str(), sign, value.as_str()))
    })
}

/// Whether a call is in the list that was asked for.
fn is_wanted(call: &SimCall, query: &Form) -> bool {
    let started = jiff::Timestamp::from_millisecond(call.created_ms)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::UTC).date())
        .ok();
    let starts_then = days(query).all(|(_, sign, day)| {
        let (Some(started), Ok(day)) = (started, day.parse::<jiff::civil::Date>()) else { return false };
        // A call that waits for its turn has not started.
        call.status != "queued"
            && match sign {
                "<" => started <= day,
                ">" => started >= day,
                _ => started == day,
            }
    });
    starts_then
        && field(query, "Status").is_none_or(|s| s == call.status)
        && field(query, "To").is_none_or(|to| to == call.to)
        && field(query, "From").is_none_or(|from| from == call.from)
        && field(query, "ParentCallSid").is_none_or(|sid| call.parent_call_sid.as_deref() == Some(sid))
}

fn shown_end(size: usize, left: usize) -> usize {
    size.min(left).saturating_sub(1)
}

async fn elsewhere(req: HttpRequest, path: web::Path<String>, shared: web::Data<Shared>) -> HttpResponse {
    match enter(&shared, &req, &path.into_inner(), b"").await {
        Err(response) => response,
        Ok(_) => refuse(&shared, &not_found(&req)),
    }
}

fn not_found(req: &HttpRequest) -> Refused {
    Refused(404, 20404, format!("The requested resource {} was not found", req.path()))
}

/// A call in Twilio's words; what Twilio sends as strings is a string.
fn show(call: &SimCall) -> Value {
    let created = jiff::Timestamp::from_millisecond(call.created_ms)
        .ok()
        .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string());
    let uri = format!("/2010-04-01/Accounts/{}/Calls/{}", call.account_sid, call.sid);
    json!({
        "sid": call.sid, "account_sid": call.account_sid, "api_version": "2010-04-01",
        "status": call.status, "direction": call.direction,
        "to": call.to, "to_formatted": call.to, "from": call.from, "from_formatted": call.from,
        "date_created": created, "date_updated": created,
        "start_time": (call.status != "queued").then_some(created),
        "end_time": null, "duration": call.is_over().then_some("0"),
        "price": null, "price_unit": "USD", "answered_by": null, "queue_time": "0",
        "parent_call_sid": call.parent_call_sid, "caller_name": null, "forwarded_from": null, "phone_number_sid": null,
        "trunk_sid": null, "group_sid": null, "annotation": null,
        "uri": format!("{uri}.json"),
        "subresource_uris": {"recordings": format!("{uri}/Recordings.json")},
    })
}
