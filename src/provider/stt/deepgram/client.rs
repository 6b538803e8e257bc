//! The connection: an awc WebSocket whose two halves share one [`Socket`].

use super::refusal::Refusal;
use super::socket::Socket;
use super::wire::{self, VENDOR};
use crate::config::stt::SttConfig;
use crate::provider::http::tls_code;
use crate::provider::stt::{SttMessage, SttReceiver, SttSender, SttVendor};
use crate::provider::{ProviderError, ProviderErrorKind};
use actix_http::ws::{Frame, Item, Message};
use awc::error::{ConnectError, SendRequestError, WsClientError};
use awc::http::header::{AUTHORIZATION, HeaderValue};
use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use secrecy::ExposeSecret;
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Largest frame and largest reassembled message, bytes.
const MESSAGE_LIMIT: usize = 1 << 20;

/// Deepgram's live transcription. One per worker thread.
pub struct DeepgramStt {
    config: Rc<SttConfig>,
    client: awc::Client,
}

impl DeepgramStt {
    /// A recogniser reached through `client`, which should be one for WebSockets only (each holds a connection for
    /// a whole call), speak HTTP/1.1 and be wrapped in `KeepRefusals`.
    pub fn new(config: Rc<SttConfig>, client: awc::Client) -> Self {
        Self { config, client }
    }
}

impl SttVendor for DeepgramStt {
    fn connect(
        &self,
    ) -> LocalBoxFuture<'static, Result<(Box<dyn SttSender>, Box<dyn SttReceiver>), ProviderError>> {
        let config = Rc::clone(&self.config);
        let client = self.client.clone();
        Box::pin(async move {
            let limit = Duration::from_millis(config.connect_timeout_ms);
            match tokio::time::timeout(limit, open(&config, &client)).await {
                Ok(opened) => opened,
                Err(_) => Err(ProviderError::new(VENDOR, ProviderErrorKind::Timeout, "connect_timeout")),
            }
        })
    }
}

async fn open(
    config: &SttConfig,
    client: &awc::Client,
) -> Result<(Box<dyn SttSender>, Box<dyn SttReceiver>), ProviderError> {
    let address = wire::address(config)
        .ok_or_else(|| ProviderError::new(VENDOR, ProviderErrorKind::Refused, "bad_url"))?;
    let mut key = HeaderValue::from_str(&format!("Token {}", config.api_key.expose_secret()))
        .map_err(|_| ProviderError::new(VENDOR, ProviderErrorKind::Auth, "bad_key"))?;
    key.set_sensitive(true);
    let request = client.ws(address).set_header(AUTHORIZATION, key).max_frame_size(MESSAGE_LIMIT);
    let (response, framed) = request.connect().await.map_err(failed)?;
    let request_id = response.headers().get("dg-request-id").and_then(|v| v.to_str().ok()).unwrap_or("");
    tracing::debug!(vendor = VENDOR, request_id, "recogniser connected");
    let socket = Rc::new(RefCell::new(Socket::new(framed)));
    Ok((
        Box::new(Sender { socket: Rc::clone(&socket) }),
        Box::new(Receiver { socket, partial: None, ended: false }),
    ))
}

/// What a failed handshake means.
fn failed(error: WsClientError) -> ProviderError {
    let unreachable = |code: &str| ProviderError::new(VENDOR, ProviderErrorKind::Unreachable, code);
    match error {
        WsClientError::InvalidResponseStatus(status) => wire::refused(status.as_u16(), None),
        WsClientError::SendRequest(SendRequestError::Custom(cause, _)) => {
            let Some(refusal) = cause.downcast_ref::<Refusal>() else {
                return unreachable("unreachable");
            };
            tracing::warn!(
                vendor = VENDOR,
                status = refusal.status,
                request_id = refusal.request_id,
                cause = refusal.cause,
                "the recogniser refused the connection"
            );
            wire::refused(refusal.status, refusal.retry_after)
        }
        WsClientError::SendRequest(SendRequestError::Url(_) | SendRequestError::Http(_)) => {
            ProviderError::new(VENDOR, ProviderErrorKind::Refused, "bad_url")
        }
        WsClientError::SendRequest(
            SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout),
        ) => ProviderError::new(VENDOR, ProviderErrorKind::Timeout, "connect_timeout"),
        WsClientError::SendRequest(SendRequestError::Connect(
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved,
        )) => unreachable("unresolved"),
        WsClientError::SendRequest(SendRequestError::Connect(ConnectError::Io(error))) => {
            unreachable(tls_code(&error).unwrap_or("unreachable"))
        }
        WsClientError::SendRequest(SendRequestError::Send(_) | SendRequestError::Response(_)) => {
            ProviderError::new(VENDOR, ProviderErrorKind::Closed, "handshake_broken")
        }
        WsClientError::SendRequest(_) => unreachable("unreachable"),
        WsClientError::InvalidUpgradeHeader
        | WsClientError::InvalidConnectionHeader(_)
        | WsClientError::MissingConnectionHeader
        | WsClientError::MissingWebSocketAcceptHeader
        | WsClientError::InvalidChallengeResponse(..)
        | WsClientError::Protocol(_) => {
            ProviderError::new(VENDOR, ProviderErrorKind::Protocol, "bad_handshake")
        }
    }
}

fn broken(code: &str) -> ProviderError {
    ProviderError::new(VENDOR, ProviderErrorKind::Closed, code)
}

/// The sending half.
struct Sender {
    socket: Rc<RefCell<Socket>>,
}

impl Sender {
    fn send(&self, message: Message) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        let mut message = Some(message);
        Box::pin(poll_fn(move |cx| {
            let mut socket = self.socket.borrow_mut();
            if message.is_some() {
                ready!(socket.poll_ready(cx)).map_err(|_| broken("closed"))?;
                if let Some(message) = message.take() {
                    socket.write(message).map_err(|_| broken("closed"))?;
                }
            }
            socket.poll_flush(cx).map_err(|_| broken("closed"))
        }))
    }
}

impl SttSender for Sender {
    fn audio(&mut self, audio: Bytes) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        // A frame without audio would close the stream.
        if audio.is_empty() {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.send(Message::Binary(audio))
    }

    fn keep_alive(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        self.send(Message::Text(wire::KEEP_ALIVE.into()))
    }

    fn finalize(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        self.send(Message::Text(wire::FINALIZE.into()))
    }

    fn finish(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        self.send(Message::Text(wire::CLOSE_STREAM.into()))
    }
}

/// The receiving half. Its state lies outside of the future `next` returns, so that dropping one loses nothing.
struct Receiver {
    socket: Rc<RefCell<Socket>>,
    /// A text message in pieces; binary pieces are of no interest.
    partial: Option<BytesMut>,
    ended: bool,
}

/// What a frame means to the reader.
enum Step {
    Deliver(SttMessage),
    Skip,
    End(Option<ProviderError>),
}

impl Receiver {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<SttMessage, ProviderError>>> {
        while !self.ended {
            let frame = ready!(self.socket.borrow_mut().poll_next(cx));
            match self.read(frame.map(|f| f.map_err(|_| broken("bad_frame"))), cx) {
                Step::Deliver(message) => return Poll::Ready(Some(Ok(message))),
                Step::Skip => {}
                Step::End(error) => {
                    self.ended = true;
                    return Poll::Ready(error.map(Err));
                }
            }
        }
        Poll::Ready(None)
    }

    fn read(&mut self, frame: Option<Result<Frame, ProviderError>>, cx: &mut Context<'_>) -> Step {
        let deliver = |text: &[u8]| match wire::parse(text) {
            Some(parsed) if parsed.channel == 0 => Step::Deliver(parsed.message),
            Some(_) | None => Step::Skip,
        };
        match frame {
            None => Step::End(wire::closed(None, "")),
            Some(Err(error)) => Step::End(Some(error)),
            Some(Ok(Frame::Text(text))) => deliver(&text),
            Some(Ok(Frame::Binary(_) | Frame::Pong(_))) => Step::Skip,
            Some(Ok(Frame::Ping(payload))) => {
                self.socket.borrow_mut().answer(Message::Pong(payload), cx);
                Step::Skip
            }
            Some(Ok(Frame::Close(reason))) => {
                let (code, text) = match reason {
                    Some(reason) => (Some(u16::from(reason.code)), reason.description.unwrap_or_default()),
                    None => (None, String::new()),
                };
                self.socket.borrow_mut().answer(Message::Close(None), cx);
                Step::End(wire::closed(code, &text))
            }
            Some(Ok(Frame::Continuation(item))) => match item {
                Item::FirstText(piece) => self.piece(Some(BytesMut::new()), &piece),
                Item::FirstBinary(piece) => self.piece(None, &piece),
                Item::Continue(piece) => {
                    let partial = self.partial.take();
                    self.piece(partial, &piece)
                }
                Item::Last(piece) => {
                    let partial = self.partial.take();
                    let step = self.piece(partial, &piece);
                    match (step, self.partial.take()) {
                        (Step::Skip, Some(text)) => deliver(&text),
                        (step, _) => step,
                    }
                }
            },
        }
    }

    /// Adds a piece to a message in pieces.
    fn piece(&mut self, partial: Option<BytesMut>, piece: &[u8]) -> Step {
        let Some(mut text) = partial else {
            self.partial = None;
            return Step::Skip;
        };
        if text.len().saturating_add(piece.len()) > MESSAGE_LIMIT {
            return Step::End(Some(broken("too_big")));
        }
        text.extend_from_slice(piece);
        self.partial = Some(text);
        Step::Skip
    }
}

impl SttReceiver for Receiver {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<Result<SttMessage, ProviderError>>> {
        Box::pin(poll_fn(move |cx| self.poll(cx)))
    }
}
