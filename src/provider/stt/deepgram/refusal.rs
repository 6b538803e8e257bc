//! Keeps the cause of a refused handshake.
//!
//! awc drops everything but the status when a WebSocket handshake is answered with an ordinary response. Deepgram
//! puts the cause into headers, so this layer turns such a response into an error that carries them.

use actix_web::dev::Service;
use awc::error::SendRequestError;
use awc::http::StatusCode;
use awc::http::header::{HeaderMap, RETRY_AFTER};
use awc::middleware::Transform;
use awc::{ConnectRequest, ConnectResponse};
use futures_util::future::LocalBoxFuture;
use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longest cause kept, characters.
const CAUSE_LIMIT: usize = 200;
/// Longest wait taken over from the vendor, s.
const WAIT_LIMIT: u64 = 3_600;

/// Layer of an awc client (`Client::builder().wrap(KeepRefusals)`) that keeps the cause of a refused handshake.
/// Without it a refusal is told by its status alone.
#[derive(Clone, Copy, Debug)]
pub struct KeepRefusals;

/// The service `KeepRefusals` makes.
#[derive(Debug)]
pub struct KeepRefusalsService<S>(S);

/// A handshake answered with something else than a change of protocols.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The status.
    pub(super) status: u16,
    /// What `dg-error` says, shortened; for the log only.
    pub(super) cause: String,
    /// What `dg-request-id` says.
    pub(super) request_id: String,
    /// How long the vendor asks us to wait, if it does.
    pub(super) retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handshake refused with {}", self.status)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    fn read(status: StatusCode, headers: &HeaderMap) -> Self {
        let text = |name: &str| -> String {
            headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value.as_bytes()).chars().take(CAUSE_LIMIT).collect())
                .unwrap_or_default()
        };
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse::<u64>().ok())
            .map(|s| Duration::from_secs(s.min(WAIT_LIMIT)));
        Self {
            status: status.as_u16(),
            cause: text("dg-error"),
            request_id: text("dg-request-id"),
            retry_after,
        }
    }
}

impl<S> Transform<S, ConnectRequest> for KeepRefusals
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError> + 'static,
    S::Future: 'static,
{
    type Transform = KeepRefusalsService<S>;

    fn new_transform(self, service: S) -> Self::Transform {
        KeepRefusalsService(service)
    }
}

impl<S> Service<ConnectRequest> for KeepRefusalsService<S>
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError> + 'static,
    S::Future: 'static,
{
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            match answer.await? {
                ConnectResponse::Tunnel(head, _) if head.status != StatusCode::SWITCHING_PROTOCOLS => {
                    let refusal = Refusal::read(head.status, &head.headers);
                    Err(SendRequestError::Custom(Box::new(refusal), Box::new("websocket")))
                }
                other => Ok(other),
            }
        })
    }
}
