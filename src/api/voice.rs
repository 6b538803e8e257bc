//! Twilio's routes: `/voice/incoming`, `/voice/continue`, `/voice/status`, `/voice/stream-status`, `/voice/fallback` and
//! the stream's WebSocket.
//!
//! Every request is signed by Twilio and checked against the configured address. Answers come from memory: a webhook
//! never waits for a vendor.

use super::gate::Gate;
use super::spend;
use super::test_calls;
use crate::config::prices::DayLimit;
use crate::db::Write;
use crate::domain::audit::AuditEvent;
use crate::domain::call::{CallFacts, CallKind, CallStatus, Direction, EndReason};
use crate::domain::ids::{AdmissionId, CallSid};
use crate::domain::phone::PhoneNumber;
use crate::observe::clock::unix_now;
use crate::observe::metrics::{self, Refused};
use crate::registry::messages::{Admit, Finish, GoOn, Placed, StatusCame};
use crate::registry::roster::{Admitted, DialResult, NewCall, Onward};
use crate::registry::token::Claims;
use crate::session;
use crate::session::actor::{Door, TOKEN_PARAMETER};
use crate::session::services::Services;
use crate::twilio::address::{ADMISSION_KEY, LAST_RESORT_QUERY};
use crate::twilio::signature::{SETTINGS_HEADER, SIGNATURE_HEADER, SignatureHeaders};
use crate::twilio::twiml::{self, Dial, Say, Twiml};
use crate::twilio::webhook::{Form, LegDirection, StreamEvent, StreamStatus, VoiceRequest};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;

/// How long a person is rung, s.
const DIAL_TIMEOUT_S: u16 = 25;

type Shared = web::Data<Rc<Services>>;

/// Adds the routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("/voice")
            .app_data(web::PayloadConfig::new(crate::twilio::webhook::MAX_BODY_BYTES))
            .route("/incoming", web::post().to(incoming))
            .route("/continue", web::post().to(go_on))
            .route("/status", web::post().to(status))
            .route("/stream-status", web::post().to(stream_status))
            .route("/fallback", web::post().to(fallback))
            .route("/stream", web::get().to(open_stream)),
    );
}

fn signature_headers(headers: &HeaderMap) -> SignatureHeaders<'_> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    SignatureHeaders { signature: text(SIGNATURE_HEADER), settings: text(SETTINGS_HEADER) }
}

/// Reads a signed form; says how an unsigned or unreadable one is answered.
fn signed_form(services: &Services, request: &HttpRequest, body: &[u8]) -> Result<Form, StatusCode> {
    let form = Form::parse(body).map_err(|error| {
        tracing::warn!(path = request.path(), %error, "webhook not readable");
        StatusCode::BAD_REQUEST
    })?;
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    services.verifier.verify_form(target, form.pairs(), signature_headers(request.headers())).map_err(
        |error| {
            tracing::warn!(
                path = request.path(),
                call.id = form.get("CallSid").unwrap_or_default().chars().take(40).collect::<String>(),
                code = error.code(),
                "webhook refused"
            );
            StatusCode::FORBIDDEN
        },
    )?;
    Ok(form)
}

/// The answer to a request that nobody of ours signed: the status, or, when there are many, when to come again.
fn refused(request: &HttpRequest, status: StatusCode) -> HttpResponse {
    let wait = request.app_data::<web::Data<Gate>>().and_then(|gate| {
        let address = gate.address(request.peer_addr().map(|peer| peer.ip()), request.headers());
        gate.unsigned_voice(address).err()
    });
    match wait {
        Some(wait) => HttpResponse::TooManyRequests().insert_header((RETRY_AFTER, wait.to_string())).finish(),
        None => HttpResponse::new(status),
    }
}

fn voice_request(
    services: &Services,
    request: &HttpRequest,
    body: &[u8],
) -> Result<VoiceRequest, StatusCode> {
    let form = signed_form(services, request, body)?;
    let voice = VoiceRequest::from_form(&form).map_err(|error| {
        tracing::warn!(path = request.path(), %error, "webhook not understood");
        StatusCode::BAD_REQUEST
    })?;
    ours(services, &voice.account_sid, &voice.call_sid)?;
    Ok(voice)
}

/// Refuses what another account sent: a shared key signs for several.
fn ours(services: &Services, account: &str, call: &CallSid) -> Result<(), StatusCode> {
    if account == services.config.twilio.account_sid {
        return Ok(());
    }
    tracing::warn!(call.id = %call, "webhook of another account");
    Err(StatusCode::FORBIDDEN)
}

fn xml(document: Twiml) -> HttpResponse {
    HttpResponse::Ok().content_type(twiml::CONTENT_TYPE).body(document.into_string())
}

fn say(services: &Services, text: &str) -> Say {
    Say::new(text).language(&services.profile.locale)
}

/// The document that connects a call to our stream.
fn stream_document(services: &Services, facts: &CallFacts) -> HttpResponse {
    let config = &services.config.twilio;
    let expires = unix_now().after(Duration::from_millis(config.reservation_ms.max(config.suspend_ms)));
    let document = services.tokens.sign(&Claims::of(facts, expires)).and_then(|token| {
        let address = &services.address;
        twiml::connect_stream(
            &address.go_on(),
            &address.stream(),
            &address.stream_status(),
            &[(TOKEN_PARAMETER, &token)],
        )
        .map_err(|error| tracing::error!(%error, "stream document not made"))
        .ok()
    });
    match document {
        Some(document) => xml(document),
        None => apology_document(services),
    }
}

/// Last words and a hang-up for a caller for whom nothing is left.
fn apology_document(services: &Services) -> HttpResponse {
    xml(twiml::say_and_hangup(say(services, &services.phrases.apology_goodbye)))
}

/// The document that rings a person, the business's own if no other is given; an apology where there is none. `action` is asked afterwards.
fn dial_document(
    services: &Services,
    to: Option<PhoneNumber>,
    words: Option<&str>,
    action: &str,
) -> HttpResponse {
    let Some(number) = to.or_else(|| services.transfer_number.clone()) else {
        return apology_document(services);
    };
    let mut dial = Dial::new(number).action(action).timeout_s(DIAL_TIMEOUT_S);
    if let Ok(ours) = PhoneNumber::from_e164(&services.config.twilio.phone_number) {
        dial = dial.caller_id(ours);
    }
    xml(twiml::transfer(words.map(|text| say(services, text)), dial))
}

/// The way out where we cannot go on: a person, else an apology.
fn last_resort_document(services: &Services) -> HttpResponse {
    let action = services.address.go_on_after_last_resort();
    dial_document(services, None, Some(&services.phrases.apology_transfer), &action)
}

/// The document for a call that was let in before.
fn onward_document(services: &Services, sid: &CallSid, onward: Onward, unanswered: bool) -> HttpResponse {
    match onward {
        Onward::Reconnect(facts) => stream_document(services, &facts),
        Onward::Dial { say, to } => dial_document(services, to, say.as_deref(), &services.address.go_on()),
        Onward::HangUp { say: Some(words) } => xml(twiml::say_and_hangup(say(services, &words))),
        // The caller waited for somebody who did not come: never without a word.
        Onward::HangUp { say: None } | Onward::Unknown if unanswered => apology_document(services),
        Onward::HangUp { say: None } => xml(twiml::hangup()),
        Onward::GiveUp => last_resort_document(services),
        Onward::Later => xml(twiml::Response::new().pause(1).redirect(&services.address.go_on()).render()),
        Onward::Unknown => {
            tracing::warn!(call.id = %sid, "asked how to go on with a call we do not know");
            xml(twiml::hangup())
        }
    }
}

/// A call that we placed is named by its admission in each request about it, for the first of them may come before
/// Twilio's answer to us.
async fn join_placed(services: &Services, request: &HttpRequest, voice: &VoiceRequest) {
    let named = form_urlencoded::parse(request.query_string().as_bytes())
        .find(|(key, _)| key == ADMISSION_KEY)
        .map(|(_, admission)| AdmissionId::new(admission.as_ref()));
    if let Some(admission) = named {
        // Another replica may have placed it. Whatever comes of this, the request itself is answered.
        let _ = services.registry.send(Placed { admission, sid: voice.call_sid.clone() }).await;
    }
}

/// `POST /voice/incoming`: a call asks to be let in.
async fn incoming(
    services: Shared,
    gate: web::Data<Gate>,
    request: HttpRequest,
    body: Bytes,
) -> HttpResponse {
    let voice = match voice_request(&services, &request, &body) {
        Ok(voice) => voice,
        Err(status) => return refused(&request, status),
    };
    join_placed(&services, &request, &voice).await;
    let outbound = matches!(voice.direction, Some(LegDirection::OutboundApi | LegDirection::OutboundDial));
    let own = voice.own_party().as_raw();
    if !outbound && !gate.lets_call(voice.other_party().number().map(PhoneNumber::as_str), &own) {
        tracing::warn!(call.id = %voice.call_sid, "call refused: too many from its number or to ours");
        metrics::call_refused(Refused::Rate);
        return xml(twiml::say_and_hangup(say(&services, &services.busy_words)));
    }
    // Whether one that we placed could be paid for was asked when it was placed.
    let limit = match outbound {
        true => None,
        false => spend::day_limit(&services, voice.other_party().number()).await,
    };
    let lagging = services.lags.lagging();
    let call = NewCall {
        sid: voice.call_sid.clone(),
        kind: CallKind::Twilio,
        direction: if outbound { Direction::Outbound } else { Direction::Inbound },
        caller: voice.other_party().clone(),
        business_number: voice.own_party().as_raw().into_owned(),
        admission: AdmissionId::new(format!("{:032x}", rand::random::<u128>())),
        unaffordable: limit.is_some(),
        lagging,
    };
    match services.registry.send(Admit(call)).await {
        Ok(Admitted::New(facts) | Admitted::Again(facts)) => stream_document(&services, &facts),
        Ok(Admitted::GoOn(onward)) => onward_document(&services, &voice.call_sid, onward, false),
        Ok(Admitted::Full) => {
            let why = Refused::no_room(lagging, gate.draining());
            tracing::warn!(call.id = %voice.call_sid, why = why.as_str(), "call refused: no room");
            metrics::call_refused(why);
            match &services.transfer_number {
                Some(_) => last_resort_document(&services),
                None => xml(twiml::say_and_hangup(say(&services, &services.busy_words))),
            }
        }
        Ok(Admitted::Unaffordable) => {
            metrics::call_refused(Refused::Spend);
            let limit = limit.map_or("day", DayLimit::as_str);
            tracing::warn!(call.id = %voice.call_sid, limit, "call refused: as much is spent today as may be");
            let event = AuditEvent::new("call.refused", json!({ "spend_limit": limit }));
            if let Err(error) =
                services.db.record(Write::Event { sid: voice.call_sid.clone(), at: unix_now(), event })
            {
                tracing::error!(call.id = %voice.call_sid, %error, "a refused call is missing from the audit trail");
            }
            xml(twiml::say_and_hangup(say(&services, &services.spent_words)))
        }
        Ok(Admitted::Over) => xml(twiml::hangup()),
        Err(error) => {
            tracing::error!(%error, "registry does not answer");
            last_resort_document(&services)
        }
    }
}

/// `POST /voice/continue`: a stream or a dial is over; what next?
async fn go_on(services: Shared, request: HttpRequest, body: Bytes) -> HttpResponse {
    let voice = match voice_request(&services, &request, &body) {
        Ok(voice) => voice,
        Err(status) => return refused(&request, status),
    };
    let sid = voice.call_sid.clone();
    let dial = voice
        .dial_call_status
        .map(|_| if voice.was_bridged() { DialResult::Bridged } else { DialResult::Unanswered });
    let waiting = !voice.status.is_some_and(CallStatus::is_terminal);
    let unanswered = waiting && dial == Some(DialResult::Unanswered);
    if unanswered && request.query_string() == LAST_RESORT_QUERY {
        services.registry.do_send(Finish { sid, reason: EndReason::Apology });
        return apology_document(&services);
    }
    let ask = GoOn { sid, status: voice.status, dial, person: services.transfer_number.clone() };
    match services.registry.send(ask).await {
        Ok(onward) => onward_document(&services, &voice.call_sid, onward, unanswered),
        Err(error) => {
            tracing::error!(%error, "registry does not answer");
            if unanswered { apology_document(&services) } else { last_resort_document(&services) }
        }
    }
}

/// `POST /voice/status`: how a call stands.
async fn status(services: Shared, request: HttpRequest, body: Bytes) -> HttpResponse {
    let voice = match voice_request(&services, &request, &body) {
        Ok(voice) => voice,
        Err(status) => return refused(&request, status),
    };
    join_placed(&services, &request, &voice).await;
    // A dialled person's leg has a status of its own, which does not end the caller's.
    if let (Some(status), None) = (voice.status, &voice.parent_call_sid) {
        services.registry.do_send(StatusCame { sid: voice.call_sid, status });
    }
    HttpResponse::NoContent().finish()
}

/// `POST /voice/stream-status`: the only place where a failed handshake shows.
async fn stream_status(services: Shared, request: HttpRequest, body: Bytes) -> HttpResponse {
    let form = match signed_form(&services, &request, &body) {
        Ok(form) => form,
        Err(status) => return refused(&request, status),
    };
    match StreamStatus::from_form(&form) {
        Ok(status) => {
            if let Err(refused) = ours(&services, &status.account_sid, &status.call_sid) {
                return HttpResponse::new(refused);
            }
            let error = status.error.as_deref();
            if error.is_some() || status.event == StreamEvent::Error {
                tracing::warn!(call.id = %status.call_sid, stream.id = %status.stream_sid, event = ?status.event, error, "stream failed");
            } else {
                tracing::info!(call.id = %status.call_sid, event = ?status.event, "stream status");
            }
            HttpResponse::NoContent().finish()
        }
        Err(error) => {
            tracing::warn!(%error, "stream status not understood");
            HttpResponse::BadRequest().finish()
        }
    }
}

/// `POST /voice/fallback`: our own answer failed; whatever happens, the caller hears something.
async fn fallback(services: Shared, request: HttpRequest, body: Bytes) -> HttpResponse {
    match voice_request(&services, &request, &body) {
        Ok(voice) => {
            tracing::error!(call.id = %voice.call_sid, code = ?voice.error_code, "Twilio uses the fallback");
            last_resort_document(&services)
        }
        Err(status) => refused(&request, status),
    }
}

/// `GET /voice/stream`: Twilio's WebSocket, or that of a test call from a browser.
async fn open_stream(
    services: Shared,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    if request.query_string() == test_calls::STREAM_QUERY {
        let gate = test_calls::gate_of(&request).await?;
        return session::open(Rc::clone(&services), gate, &request, payload);
    }
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    if let Err(error) = services.verifier.verify_handshake(target, signature_headers(request.headers())) {
        tracing::warn!(code = error.code(), "stream refused");
        return Ok(refused(&request, StatusCode::FORBIDDEN));
    }
    session::open(Rc::clone(&services), Door::Twilio, &request, payload)
}
