//! Our end of one Media Stream: the WebSocket actor and its state machine.

pub mod actor;
pub mod gated;
pub mod lag;
pub mod live;
pub mod machine;
pub mod pace;
pub mod services;
pub mod socket;

use actix_web::error::PayloadError;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws::WsResponseBuilder;
use bytes::Bytes;
use futures_util::stream;
use std::rc::Rc;

/// Accepts a stream whose handshake was verified.
///
/// # Errors
/// When the request is no WebSocket handshake; the error answers it.
pub fn open(
    services: Rc<services::Services>,
    door: actor::Door,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, actix_web::Error> {
    let gate = request.conn_data::<Rc<pace::Gate>>().cloned().unwrap_or_default();
    let session = actor::StreamSession::new(services, door, gate, payload);
    // The library reads nothing: our own reader does, with back-pressure.
    let nothing = stream::pending::<Result<Bytes, PayloadError>>();
    WsResponseBuilder::new(session, request, nothing).start()
}
