use super::*;
use crate::domain::call::CallStatus;
use crate::domain::phone::CallerId;
use crate::twilio::twiml::{Connect, Dial, Response, Say, Twiml, say_and_hangup, transfer};
use crate::twilio::webhook::AnsweredBy;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const SUCCESS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/rest_success.json"));
const ERRORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/rest_errors.json"));

const ACCOUNT: &str = "AC00000000000000000000000000000001";
const BASE: &str = "https://voice.example.com/twilio";

fn number(text: &str) -> PhoneNumber {
    PhoneNumber::from_e164(text).unwrap()
}

fn exchange(name: &str) -> Value {
    let file: Value = serde_json::from_str(SUCCESS).unwrap();
    file["exchanges"].as_array().unwrap().iter().find(|e| e["name"] == name).unwrap().clone()
}

/// The form of a recorded request, without the parameters we never send.
fn recorded_form(name: &str) -> Vec<(String, String)> {
    let pairs = exchange(name)["request"]["form"].clone();
    let pairs: Vec<(String, String)> = serde_json::from_value(pairs).unwrap();
    pairs.into_iter().filter(|(key, _)| !key.starts_with("Record")).collect()
}

fn owned(form: Result<Pairs, RestError>) -> Vec<(String, String)> {
    form.unwrap().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn answer(name: &str) -> Vec<u8> {
    exchange(name)["response"]["body"].to_string().into_bytes()
}

fn new_call() -> NewCall {
    let url = Instructions::Url(format!("{BASE}/voice"));
    let mut new = NewCall::new(number("+12025550143"), number("+12025550100"), url);
    new.ring_s = Some(30);
    new.status_callback = Some(format!("{BASE}/status"));
    new
}

fn cold_transfer() -> Twiml {
    let dial = Dial::new(number("+12025550177")).action(&format!("{BASE}/dial-result")).timeout_s(20);
    let dial = dial.caller_id(number("+12025550100")).status_callback(&format!("{BASE}/status"));
    transfer(Some(Say::new("Connecting you now.")), dial)
}

#[test]
fn requests_carry_the_recorded_parameters() {
    assert_eq!(owned(new_call().form()), recorded_form("create_call_url"));
    let stream = Connect::new("wss://voice.example.com/twilio/stream").unwrap();
    let stream =
        stream.action(&format!("{BASE}/after-stream")).status_callback(&format!("{BASE}/stream-status"));
    let stream = stream.parameter("session", "s-7f3a").unwrap().parameter("token", "tok-4b1d9c0e").unwrap();
    let twiml = NewCall {
        instructions: Instructions::Twiml(Response::new().connect(stream).render()),
        ring_s: None,
        detection_callback: Some(format!("{BASE}/amd")),
        ..new_call()
    };
    assert_eq!(owned(twiml.form()), recorded_form("create_call_twiml_amd"));
    assert_eq!(owned(CallChange::Complete.form()), recorded_form("hangup"));
    assert_eq!(owned(CallChange::Cancel.form()), recorded_form("cancel_ringing"));
    assert_eq!(owned(CallChange::Twiml(&cold_transfer()).form()), recorded_form("transfer_twiml"));
    let url = format!("{BASE}/transfer?session=s-7f3a");
    assert_eq!(owned(CallChange::Url(&url).form()), recorded_form("transfer_url"));
    let (to, from, callback) = (number("+12025550143"), number("+12025550100"), format!("{BASE}/sms-status"));
    let message =
        NewMessage { to: &to, from: &from, body: "Your table is booked.", status_callback: Some(&callback) };
    assert_eq!(owned(message.form()), recorded_form("send_sms"));
    let recorded = exchange("create_call_url")["request"]["body"].clone();
    assert_eq!(encoded(&new_call().form().unwrap()), recorded.as_str().unwrap());
}

#[test]
fn what_twilio_would_refuse_for_its_length_is_not_sent() {
    let long = say_and_hangup(Say::new(&"&".repeat(3_000)));
    let refused = RestError::of(RestErrorKind::Request);
    assert_eq!(CallChange::Twiml(&long).form(), Err(refused));
    assert_eq!(NewCall { instructions: Instructions::Twiml(long), ..new_call() }.form(), Err(refused));
    let (to, from) = (number("+12025550143"), number("+12025550100"));
    for body in [String::new(), "é".repeat(MAX_MESSAGE_CHARS + 1)] {
        let message = NewMessage { to: &to, from: &from, body: &body, status_callback: None };
        assert_eq!(message.form(), Err(refused));
    }
}

#[test]
fn answers_about_calls_are_read() {
    let mut read = 0;
    let file: Value = serde_json::from_str(SUCCESS).unwrap();
    for exchange in file["exchanges"].as_array().unwrap() {
        let body = &exchange["response"]["body"];
        if body["sid"].as_str().is_some_and(|sid| sid.starts_with("CA")) {
            let call = model::call(body.to_string().as_bytes()).unwrap();
            assert_eq!(call.sid.as_str(), body["sid"]);
            assert_eq!(call.status.unwrap().as_str(), body["status"]);
            read += 1;
        }
    }
    assert!(read >= 8, "{read}");
    let over = model::call(&answer("fetch_call_completed")).unwrap();
    assert_eq!((over.duration_s, over.queue_ms), (Some(49), Some(0)));
    assert_eq!(over.answered_by, Some(AnsweredBy::Human));
    assert_eq!(over.to, CallerId::Number(number("+12025550143")));
    let queued = model::call(&answer("create_call_url")).unwrap();
    assert_eq!((queued.status, queued.duration_s), (Some(CallStatus::Queued), None));
    assert_eq!(model::message(&answer("send_sms")).unwrap(), "SM000000000000000000000000000000b1");
    let page = json!({"calls": [exchange("fetch_call_ringing")["response"]["body"]]}).to_string();
    assert_eq!(model::calls(page.as_bytes()).unwrap()[0].status, Some(CallStatus::Ringing));
    let protocol = Err(RestError::of(RestErrorKind::Protocol));
    assert_eq!(model::call(b"<html>"), protocol);
    assert_eq!(model::call(br#"{"sid":"../x y"}"#), protocol);
}

#[test]
fn every_recorded_error_gets_the_advice_of_the_table() {
    let file: Value = serde_json::from_str(ERRORS).unwrap();
    let errors = file["errors"].as_array().unwrap();
    assert!(errors.len() >= 29);
    for entry in errors {
        let status = u16::try_from(entry["status"].as_u64().unwrap()).unwrap();
        let body = entry["body"].as_str().map_or_else(|| entry["body"].to_string(), str::to_owned);
        let error = RestError::from_answer(status, body.as_bytes());
        assert_eq!(error.retry() != RetryAdvice::Never, entry["retry"].as_bool().unwrap(), "{entry}");
        assert_eq!(error.code.map(u64::from), entry["body"]["code"].as_u64(), "{entry}");
        assert_eq!(error.status, Some(status));
        assert!(!error.to_string().contains("+1202"), "{error}");
    }
}

#[test]
fn kinds_of_failure_are_told_apart_by_code_then_by_status() {
    for (status, body, kind, retry) in [
        (400, r#"{"code":21220}"#, RestErrorKind::NotInProgress, RetryAdvice::Never),
        (400, r#"{"code":22005}"#, RestErrorKind::RateLimited, RetryAdvice::Safe),
        (400, r#"{"code":21211}"#, RestErrorKind::Refused, RetryAdvice::Never),
        (401, r#"{"code":20003}"#, RestErrorKind::Auth, RetryAdvice::Never),
        (404, "", RestErrorKind::NotFound, RetryAdvice::Never),
        (429, r#"{"code":20429}"#, RestErrorKind::RateLimited, RetryAdvice::Safe),
        (503, "<html>", RestErrorKind::Unavailable, RetryAdvice::CheckFirst),
        (302, "", RestErrorKind::Protocol, RetryAdvice::CheckFirst),
    ] {
        let error = RestError::from_answer(status, body.as_bytes());
        assert_eq!((error.kind, error.retry()), (kind, retry), "{status} {body}");
    }
}

/// What the fake API was asked: method, path with query, authorization, body.
type Asked = Arc<Mutex<Vec<(String, String, String, String)>>>;

/// A fake of the API that answers each path in its own way, and notes what it was asked.
fn fake() -> (String, Asked, actix_web::dev::ServerHandle) {
    let asked = Asked::default();
    let noted = asked.clone();
    let server = HttpServer::new(move || {
        let noted = noted.clone();
        App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
            let noted = noted.clone();
            async move {
                let authorization =
                    request.headers().get("Authorization").unwrap().to_str().unwrap().to_owned();
                noted.lock().unwrap().push((
                    request.method().to_string(),
                    request.uri().to_string(),
                    authorization,
                    String::from_utf8(body.to_vec()).unwrap(),
                ));
                let path = request.path();
                let json = |status: u16, body: Vec<u8>| {
                    let status = actix_web::http::StatusCode::from_u16(status).unwrap();
                    HttpResponse::build(status).content_type("application/json").body(body)
                };
                if path.ends_with("/Calls.json") && request.method() == "GET" {
                    json(200, json!({"calls": []}).to_string().into_bytes())
                } else if path.ends_with("/Calls.json") {
                    json(201, answer("create_call_url"))
                } else if path.ends_with("/CAover.json") {
                    json(400, br#"{"code":21220,"message":"Call is not in-progress"}"#.to_vec())
                } else if path.ends_with("/CAgone.json") {
                    json(404, br#"{"code":20404}"#.to_vec())
                } else if path.ends_with("/CAlimited.json") {
                    json(429, br#"{"code":20429}"#.to_vec())
                } else if path.ends_with("/CAstuck.json") {
                    let never = futures_util::stream::pending::<Result<web::Bytes, actix_web::Error>>();
                    HttpResponse::Ok().content_type("application/json").streaming(never)
                } else if path.ends_with("/Messages.json") {
                    json(201, answer("send_sms"))
                } else {
                    json(200, answer("fetch_call_completed"))
                }
            }
        }))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    (base, asked, handle)
}

fn client(base: &str, timeout_ms: u64) -> TwilioRest {
    let config = TwilioConfig {
        account_sid: format!(" {ACCOUNT}\n"),
        auth_token: SecretString::from("00112233445566778899aabbccddeeff ".to_owned()),
        base_url: format!("{base}/"),
        timeout_ms,
        ..TwilioConfig::default()
    };
    // awc wants to be told which cryptography to use, even where it uses none.
    drop(rustls::crypto::ring::default_provider().install_default());
    TwilioRest::new(awc::Client::default(), &config)
}

#[actix::test]
async fn requests_reach_the_api_as_recorded_and_its_answers_come_back() {
    let (base, asked, server) = fake();
    let rest = client(&base, 5_000);

    let call = rest.create_call(&new_call()).await.unwrap();
    assert_eq!(call.sid.as_str(), "CA000000000000000000000000000000c3");
    rest.update_call(&"CA000000000000000000000000000000c1".into(), CallChange::Twiml(&cold_transfer()))
        .await
        .unwrap();
    let over = rest.fetch_call(&"CA000000000000000000000000000000c3".into()).await.unwrap();
    assert_eq!(over.status, Some(CallStatus::Completed));
    {
        let asked = asked.lock().unwrap();
        for (i, name) in ["create_call_url", "transfer_twiml", "fetch_call_completed"].into_iter().enumerate()
        {
            let recorded = &exchange(name)["request"];
            let (method, path, authorization, body) = &asked[i];
            assert_eq!(*method, recorded["method"], "{name}");
            assert_eq!(*path, recorded["path"], "{name}");
            assert_eq!(*authorization, recorded["headers"]["Authorization"], "{name}");
            let form = |text: &str| form_urlencoded::parse(text.as_bytes()).into_owned().collect::<Vec<_>>();
            assert_eq!(form(body), form(recorded["body"].as_str().unwrap_or_default()), "{name}");
        }
    }

    let (to, from) = (number("+12025550143"), number("+12025550100"));
    assert_eq!(rest.recent_calls(&to, &from).await.unwrap(), []);
    let message = NewMessage { to: &to, from: &from, body: "Hello.", status_callback: None };
    assert!(rest.send_message(&message).await.unwrap().starts_with("SM"));
    let query = asked.lock().unwrap()[3].1.clone();
    assert!(query.ends_with("/Calls.json?To=%2B12025550143&From=%2B12025550100&PageSize=20"), "{query}");
    server.stop(false).await;
}

#[actix::test]
async fn a_hang_up_of_a_call_that_is_over_is_done_and_other_failures_are_told() {
    let (base, asked, server) = fake();
    let rest = client(&base, 5_000);
    assert_eq!(rest.hang_up(&"CA1".into()).await, Ok(()));
    assert_eq!(rest.hang_up(&"CAover".into()).await, Ok(()));
    assert_eq!(rest.hang_up(&"CAgone".into()).await, Ok(()));
    let limited = rest.hang_up(&"CAlimited".into()).await.unwrap_err();
    assert_eq!(
        (limited.kind, limited.code, limited.status),
        (RestErrorKind::RateLimited, Some(20_429), Some(429))
    );
    let over = rest.update_call(&"CAover".into(), CallChange::Url("https://h/x")).await.unwrap_err();
    assert_eq!(over.kind, RestErrorKind::NotInProgress);
    // A foreign identifier stays one segment of the path.
    rest.hang_up(&"../Messages.json?x#".into()).await.unwrap();
    let path = asked.lock().unwrap().last().unwrap().1.clone();
    assert!(path.ends_with("/Calls/..%2FMessages.json%3Fx%23.json"), "{path}");

    let stuck = client(&base, 200).fetch_call(&"CAstuck".into()).await.unwrap_err();
    assert_eq!((stuck.kind, stuck.retry()), (RestErrorKind::Timeout, RetryAdvice::CheckFirst));
    server.stop(false).await;
}

#[actix::test]
async fn a_request_that_never_left_is_told_from_one_whose_connection_broke() {
    // Bound, so that it is nobody else's, and not listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("http://{}", closed.local_addr().unwrap());
    let error = client(&base, 5_000).hang_up(&"CA1".into()).await.unwrap_err();
    assert_eq!((error.kind, error.retry()), (RestErrorKind::Connect, RetryAdvice::Safe));

    // Read in part, the close is a reset; read whole, it is an orderly one.
    for part in [64, 4_096] {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = actix_rt::spawn(async move {
            use tokio::io::AsyncReadExt as _;
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while request.len() < part && !request.ends_with(b"=completed") {
                socket.read_buf(&mut request).await.unwrap();
            }
        });
        let error = client(&base, 5_000).create_call(&new_call()).await.unwrap_err();
        assert_eq!((error.kind, error.retry()), (RestErrorKind::Broken, RetryAdvice::CheckFirst), "{part}");
        server.await.unwrap();
    }
}

/// Answers lists of calls: two pages of those to us, one of those from us, and links that lead elsewhere.
fn lists(foreign: bool) -> (String, Arc<Mutex<Vec<String>>>, actix_web::dev::ServerHandle) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    let server = HttpServer::new(move || {
        let noted = Arc::clone(&noted);
        App::new().default_service(web::to(move |request: HttpRequest| {
            let query = request.query_string().to_owned();
            noted.lock().unwrap().push(query.clone());
            let mut call = exchange("fetch_call_ringing")["response"]["body"].clone();
            call["status"] = json!(if query.contains("CAdone") { "completed" } else { "in-progress" });
            let next = match query.contains("&To=") && !query.contains("PageToken") {
                true if foreign => Some("https://elsewhere.example/2010-04-01/x".to_owned()),
                true => Some(format!("{}?{query}&Page=1&PageToken=PA1", request.path())),
                false => None,
            };
            async move { HttpResponse::Ok().json(json!({"calls": [call], "next_page_uri": next})) }
        }))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let base = format!("http://{}", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    (base, asked, handle)
}

#[actix::test]
async fn calls_in_progress_are_read_page_by_page_within_the_account_only() {
    let (base, asked, server) = lists(false);
    let rest = client(&base, 5_000);
    let ours = number("+12025550100");
    let list = rest.calls_in_progress(&ours, 5).await.unwrap();
    assert_eq!((list.calls.len(), list.whole), (3, true));
    let first = "Status=in-progress&To=%2B12025550100&PageSize=50";
    let from = "Status=in-progress&From=%2B12025550100&PageSize=50";
    let second = format!("{first}&Page=1&PageToken=PA1");
    assert_eq!(*asked.lock().unwrap(), [first, &second, from]);
    let list = rest.calls_in_progress(&ours, 1).await.unwrap();
    assert_eq!((list.calls.len(), list.whole), (2, false), "as far as was asked for");
    assert_eq!(rest.has_other_leg(&"CA1".into()).await, Ok(true));
    assert_eq!(rest.has_other_leg(&"CAdone".into()).await, Ok(false));
    server.stop(false).await;

    let (base, asked, server) = lists(true);
    let error = client(&base, 5_000).calls_in_progress(&ours, 5).await.unwrap_err();
    assert_eq!(error.kind, RestErrorKind::Protocol);
    assert_eq!(asked.lock().unwrap().len(), 1);
    server.stop(false).await;
}
