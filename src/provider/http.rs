//! The HTTP clients of one worker thread, and what every vendor's client needs around them.
//!
//! awc's own time limit ends at the response head; everything after it is limited here. A body whose connection ends
//! too early looks to awc like a complete one: `wire_end` tells them apart.

mod wire_end;

use super::stt::deepgram::KeepRefusals;
use super::{ProviderError, ProviderErrorKind};
use awc::ClientResponse;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use bytes::Bytes;
use futures_util::stream::{self, LocalBoxStream, Stream, StreamExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use wire_end::{OwnTls, OwnWire, WhenItEnds};

/// How long an unused connection is kept. Long enough to survive a caller who thinks.
const KEEP_ALIVE: Duration = Duration::from_secs(90);
/// How old a connection may become; vendors move their hosts.
const LIFETIME: Duration = Duration::from_secs(600);
/// Most of an error's body that is looked at, bytes.
const ERROR_BODY_MAX: usize = 8 * 1024;
/// Most of a body that is read only to get its connection back, bytes.
const DRAIN_MAX: usize = 256 * 1024;
/// How long the body of an error is waited for.
const ERROR_BODY_WAIT: Duration = Duration::from_millis(500);
/// Longest wait that a vendor may ask for; more is taken as this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// The clients of one worker thread. `Rc`-based: clones share the pool, other threads need their own.
#[derive(Clone)]
pub struct HttpClients {
    /// For requests and streamed answers.
    pub http: awc::Client,
    /// For WebSockets. Apart, so that long-lived sockets never stand before a request.
    pub ws: awc::Client,
}

/// Why TLS to the vendors cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The file of further authorities is not PEM.
    #[error("the file of further authorities is not readable as PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The file of further authorities holds no certificate.
    #[error("the file of further authorities holds no certificate")]
    NoCertificate,
}

/// TLS to the vendors: whom it trusts, and the sessions it remembers. One for all threads of the process, so that a
/// session of one is resumed by another.
#[derive(Clone, Debug)]
pub struct VendorTls(Arc<rustls::ClientConfig>);

impl VendorTls {
    /// Trusts the compiled-in roots and the authorities in `extra_ca_pem`.
    pub fn new(extra_ca_pem: Option<&[u8]>) -> Result<Self, HttpSetupError> {
        // awc builds a TLS configuration of its own, which is not used, and panics without a default provider.
        // Refused only if one is installed already, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(pem) = extra_ca_pem {
            let mut any = false;
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
                any = true;
            }
            if !any {
                return Err(HttpSetupError::NoCertificate);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Nothing else on offer: awc's HTTP/2 shares one connection's fate among all requests.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// Builds the clients of this thread: HTTP/1.1, no limit on connections, no redirects, no time limit of awc's.
/// `connect_timeout` covers name, TCP and the TLS handshake together.
pub fn build(tls: &VendorTls, connect_timeout: Duration) -> HttpClients {
    HttpClients {
        http: client(tls, connect_timeout, WhenItEnds::Fail, false),
        // A WebSocket has an end of its own, and the reason of a refused handshake is worth keeping.
        ws: client(tls, connect_timeout, WhenItEnds::End, true),
    }
}

fn client(tls: &VendorTls, connect_timeout: Duration, end: WhenItEnds, keep_refusals: bool) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(OwnWire::new(Arc::clone(&tls.0), end))
        .limit(0)
        .timeout(connect_timeout)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(LIFETIME);
    let builder =
        awc::Client::builder().connector(connector).disable_timeout().disable_redirects().wrap(OwnTls);
    if keep_refusals { builder.wrap(KeepRefusals).finish() } else { builder.finish() }
}

/// The code of a TLS handshake that failed; `None` if it was something else that failed.
pub(super) fn tls_code(error: &io::Error) -> Option<&'static str> {
    use rustls::CertificateError as Flaw;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(flaw)) => Some(match flaw {
            Flaw::UnknownIssuer => "tls_unknown_issuer",
            Flaw::NotValidForName | Flaw::NotValidForNameContext { .. } => "tls_wrong_name",
            Flaw::Expired | Flaw::ExpiredContext { .. } => "tls_expired",
            Flaw::NotValidYet | Flaw::NotValidYetContext { .. } => "tls_not_yet_valid",
            _ => "tls_certificate",
        }),
        Some(_) => Some("tls"),
        None if error.kind() == io::ErrorKind::InvalidData => Some("tls"),
        None => None,
    }
}

/// Puts an awc failure into the words that decide what to do about it.
pub fn map_send_error(vendor: &'static str, error: &SendRequestError) -> ProviderError {
    use ProviderErrorKind::{Closed, Protocol, Refused, Timeout, Unreachable};
    let (kind, code) = match error {
        SendRequestError::Timeout => (Timeout, "response_timeout"),
        SendRequestError::Connect(error) => match error {
            ConnectError::Timeout => (Timeout, "connect_timeout"),
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved => {
                (Unreachable, "unresolved")
            }
            // awc reports so a connection that ends before the response head.
            ConnectError::Disconnected => (Closed, "disconnected"),
            ConnectError::SslIsNotSupported => (Unreachable, "tls"),
            ConnectError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                (Unreachable, "connection_refused")
            }
            ConnectError::Io(error) => (Unreachable, tls_code(error).unwrap_or("connect_failed")),
            _ => (Unreachable, "connect_failed"),
        },
        SendRequestError::Send(_) => (Closed, "send_failed"),
        SendRequestError::Response(actix_http::error::ParseError::Io(_)) => (Closed, "disconnected"),
        SendRequestError::Response(actix_http::error::ParseError::Timeout) => (Timeout, "response_timeout"),
        SendRequestError::Body(_) => (Closed, "send_failed"),
        SendRequestError::Url(_) | SendRequestError::Http(_) => (Refused, "bad_request"),
        _ => (Protocol, "bad_response"),
    };
    ProviderError::new(vendor, kind, code)
}

/// How long the vendor asks us to wait: `retry-after-ms`, else `retry-after` in seconds or as a date.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |text: &str, unit: f64| {
        let seconds = text.parse::<f64>().ok().filter(|n| *n >= 0.0)? * unit;
        Some(Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX).min(RETRY_AFTER_MAX))
    };
    if let Some(wait) = text("retry-after-ms").and_then(|ms| number(ms, 0.001)) {
        return Some(wait);
    }
    let value = text(RETRY_AFTER.as_str())?;
    number(value, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(RETRY_AFTER_MAX))
    })
}

/// The media type without parameters, lower case; empty if there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Waits for `future` no longer than `limit`; after it, a failure of kind `Timeout` with `code`.
pub async fn within<T>(
    vendor: &'static str,
    limit: Duration,
    code: &str,
    future: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => result,
        Err(_) => Err(ProviderError::new(vendor, ProviderErrorKind::Timeout, code)),
    }
}

/// Limits the wait for each piece of `stream` to `gap` (code `gap_timeout`). The time between two reads, in which
/// the reader itself is busy, does not count. The stream ends after its first failure.
pub fn idle<S, T>(
    vendor: &'static str,
    stream: S,
    gap: Duration,
) -> LocalBoxStream<'static, Result<T, ProviderError>>
where
    S: Stream<Item = Result<T, ProviderError>> + 'static,
    T: 'static,
{
    let stream = Some(Box::pin(stream));
    stream::unfold(stream, move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(gap, stream.next()).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(_) => {
                Some((Err(ProviderError::new(vendor, ProviderErrorKind::Timeout, "gap_timeout")), None))
            }
        }
    })
    .boxed_local()
}

/// A response's body, its faults in our words: cut off or shorter than it said is `Closed` (`body_cut`).
pub fn body(
    vendor: &'static str,
    response: ClientResponse,
) -> LocalBoxStream<'static, Result<Bytes, ProviderError>> {
    let headers = response.headers();
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let missing = length.and_then(|length| length.trim().parse::<u64>().ok());
    // Without either, the end of the connection is the end of the body (HTTP/1.0).
    let framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    stream::unfold(Some((response, missing)), move |state| async move {
        let (mut response, missing) = state?;
        let (kind, code) = match response.next().await {
            Some(Ok(bytes)) => {
                let taken = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let missing = missing.map(|missing| missing.saturating_sub(taken));
                // A piece of the connection's buffer would hold all of it, for as long as the piece waits to be used.
                return Some((Ok(Bytes::copy_from_slice(&bytes)), Some((response, missing))));
            }
            None if missing.is_none_or(|missing| missing == 0) => return None,
            Some(Err(PayloadError::Io(error) | PayloadError::Incomplete(Some(error))))
                if !framed && error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                return None;
            }
            None | Some(Err(PayloadError::Io(_) | PayloadError::Incomplete(_))) => {
                (ProviderErrorKind::Closed, "body_cut")
            }
            Some(Err(_)) => (ProviderErrorKind::Protocol, "bad_body"),
        };
        Some((Err(ProviderError::new(vendor, kind, code)), None))
    })
    .boxed_local()
}

/// The beginning of an error's body, never waited for long. What follows is read as well, so that the connection
/// can be used again.
pub async fn error_body(response: &mut ClientResponse) -> Vec<u8> {
    let mut kept = Vec::new();
    let read = async {
        let mut seen = 0usize;
        while let Some(Ok(bytes)) = response.next().await {
            seen = seen.saturating_add(bytes.len());
            let room = ERROR_BODY_MAX.saturating_sub(kept.len());
            kept.extend(bytes.iter().take(room));
            if seen > DRAIN_MAX {
                break;
            }
        }
    };
    // What came in time is enough: the status decides anyway.
    drop(tokio::time::timeout(ERROR_BODY_WAIT, Pin::from(Box::new(read))).await);
    kept
}

/// Sends a request whose answer does not matter, within `limit`: afterwards a connection stands ready.
pub async fn warm(request: awc::ClientRequest, limit: Duration) {
    let exchange = async {
        let Ok(mut response) = request.send().await else { return };
        let mut seen = 0usize;
        while let Some(Ok(bytes)) = response.next().await {
            seen = seen.saturating_add(bytes.len());
            if seen > DRAIN_MAX {
                return;
            }
        }
    };
    drop(tokio::time::timeout(limit, exchange).await);
}

#[cfg(test)]
mod tests;
