//! Twilio's routes: `/voice/incoming`, `/voice/continue`, `/voice/status`, `/voice/stream-status`, `/voice/fallback` and
//! the stream's WebSocket.
//!
//! Every request is signed by Twilio and checked against the configured address. Answers come from memory: a webhook
//! never waits for a vendor.

use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::AdmissionId;
use crate::domain::phone::PhoneNumber;
use crate::observe::clock::unix_now;
use crate::registry::messages::{Admit, GoOn, StatusCame};
use crate::registry::roster::{Admitted, DialResult, NewCall, Onward};
use crate::registry::token::Claims;
use crate::session::actor::{StreamSession, TOKEN_PARAMETER};
use crate::session::services::Services;
use crate::twilio::signature::{SETTINGS_HEADER, SIGNATURE_HEADER, SignatureHeaders};
use crate::twilio::twiml::{self, Dial, Say, Twiml};
use crate::twilio::webhook::{Form, LegDirection, StreamStatus, VoiceRequest};
use actix_web::error::PayloadError;
use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws::WsResponseBuilder;
use bytes::Bytes;
use futures_util::stream;
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

/// Reads a signed form; an unsigned or unreadable one is answered here.
fn signed_form(services: &Services, request: &HttpRequest, body: &[u8]) -> Result<Form, HttpResponse> {
    let form = Form::parse(body).map_err(|error| {
        tracing::warn!(path = request.path(), %error, "webhook not readable");
        HttpResponse::BadRequest().finish()
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
            HttpResponse::Forbidden().finish()
        },
    )?;
    Ok(form)
}

fn voice_request(
    services: &Services,
    request: &HttpRequest,
    body: &[u8],
) -> Result<VoiceRequest, HttpResponse> {
    let form = signed_form(services, request, body)?;
    let voice = VoiceRequest::from_form(&form).map_err(|error| {
        tracing::warn!(path = request.path(), %error, "webhook not understood");
        HttpResponse::BadRequest().finish()
    })?;
    if voice.account_sid != services.config.twilio.account_sid {
        tracing::warn!(call.id = %voice.call_sid, "webhook of another account");
        return Err(HttpResponse::Forbidden().finish());
    }
    Ok(voice)
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
        None => xml(twiml::say_and_hangup(say(services, &services.phrases.apology_goodbye))),
    }
}

/// The document that rings the business's person; an apology where there is none.
fn dial_document(services: &Services, words: Option<&str>) -> HttpResponse {
    let words = words.map(|text| say(services, text));
    match &services.transfer_number {
        Some(number) => {
            let mut dial =
                Dial::new(number.clone()).action(&services.address.go_on()).timeout_s(DIAL_TIMEOUT_S);
            if let Ok(ours) = PhoneNumber::from_e164(&services.config.twilio.phone_number) {
                dial = dial.caller_id(ours);
            }
            xml(twiml::transfer(words, dial))
        }
        None => xml(twiml::say_and_hangup(
            words.unwrap_or_else(|| say(services, &services.phrases.apology_goodbye)),
        )),
    }
}

/// `POST /voice/incoming`: a call asks to be let in.
async fn incoming(services: Shared, request: HttpRequest, body: Bytes) -> HttpResponse {
    let voice = match voice_request(&services, &request, &body) {
        Ok(voice) => voice,
        Err(answer) => return answer,
    };
    let outbound = matches!(voice.direction, Some(LegDirection::OutboundApi | LegDirection::OutboundDial));
    let call = NewCall {
        sid: voice.call_sid.clone(),
        kind: CallKind::Twilio,
        direction: if outbound { Direction::Outbound } else { Direction::Inbound },
        caller: voice.other_party().clone(),
        business_number: voice.own_party().as_raw().into_owned(),
        admission: AdmissionId::new(format!("{:032x}", rand::random::<u128>())),
    };
    match services.registry.send(Admit(call)).await {
        Ok(Admitted::New(facts) | Admitted::Again(facts)) => stream_document(&services, &facts),
        Ok(Admitted::Full) => {
            tracing::warn!(call.id = %voice.call_sid, "call refused: no room");
            match &services.transfer_number {
                Some(_) => dial_document(&services, None),
                None => xml(twiml::say_and_hangup(say(&services, &services.busy_words))),
            }
        }
        Ok(Admitted::Over) => xml(twiml::hangup()),
        Err(error) => {
            tracing::error!(%error, "registry does not answer");
            dial_document(&services, Some(&services.phrases.apology_goodbye))
        }
    }
}

/// `POST /voice/continue`: a stream or a dial is over; what next?
async fn go_on(services: Shared, request: HttpRequest, body: Bytes) -> HttpResponse {
    let voice = match voice_request(&services, &request, &body) {
        Ok(voice) => voice,
        Err(answer) => return answer,
    };
    let dial = voice
        .dial_call_status
        .map(|_| if voice.was_bridged() { DialResult::Bridged } else { DialResult::Unanswered });
    let ask = GoOn { sid: voice.call_sid.clone(), status: voice.status, dial };
    match services.registry.send(ask).await {
        Ok(Onward::Reconnect(facts)) => stream_document(&services, &facts),
        Ok(Onward::Dial { say }) => dial_document(&services, say.as_deref()),
        Ok(Onward::HangUp { say: Some(words) }) => xml(twiml::say_and_hangup(say(&services, &words))),
        Ok(Onward::HangUp { say: None }) => xml(twiml::hangup()),
        Ok(Onward::GiveUp) => match &services.transfer_number {
            Some(_) => dial_document(&services, Some(&services.phrases.apology_transfer)),
            None => xml(twiml::say_and_hangup(say(&services, &services.phrases.apology_goodbye))),
        },
        Ok(Onward::Unknown) => {
            tracing::warn!(call.id = %voice.call_sid, "asked how to go on with a call we do not know");
            xml(twiml::hangup())
        }
        Err(error) => {
            tracing::error!(%error, "registry does not answer");
            dial_document(&services, Some(&services.phrases.apology_goodbye))
        }
    }
}

/// `POST /voice/status`: how a call stands.
async fn status(services: Shared, request: HttpRequest, body: Bytes) -> HttpResponse {
    let voice = match voice_request(&services, &request, &body) {
        Ok(voice) => voice,
        Err(answer) => return answer,
    };
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
        Err(answer) => return answer,
    };
    match StreamStatus::from_form(&form) {
        Ok(status) => {
            tracing::info!(call.id = %status.call_sid, event = ?status.event, "stream status");
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
            dial_document(&services, Some(&services.phrases.apology_goodbye))
        }
        Err(answer) => answer,
    }
}

/// `GET /voice/stream`: Twilio's WebSocket.
async fn open_stream(
    services: Shared,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, actix_web::Error> {
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    if let Err(error) = services.verifier.verify_handshake(target, signature_headers(request.headers())) {
        tracing::warn!(code = error.code(), "stream refused");
        return Ok(HttpResponse::Forbidden().finish());
    }
    let session = StreamSession::new(Rc::clone(&services), payload);
    // The library reads nothing: our own reader does, with back-pressure.
    let nothing = stream::pending::<Result<Bytes, PayloadError>>();
    WsResponseBuilder::new(session, &request, nothing).start()
}
