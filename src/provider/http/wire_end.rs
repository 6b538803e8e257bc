//! A connection whose end is not passed over in silence.
//!
//! awc takes the end of a connection in the middle of a body for the end of the body: a sentence that broke off
//! would count as spoken. So the end of a connection is made a fault of reading. A body that is complete is
//! complete before that.
//!
//! awc lays TLS over whatever connects, and then a peer that closes TLS politely is out of sight. So TLS is made here:
//! [`OwnTls`] gives `https` and `wss` a scheme that awc does not know and therefore leaves to [`OwnWire`], with its
//! port written out, so that awc's pool never takes a plain connection for one with TLS.

use actix_rt::net::{ActixStream, Ready, TcpStream};
use actix_tls::connect::rustls_0_23::TlsConnector;
use actix_tls::connect::rustls_0_23::reexports::AsyncTlsStream;
use actix_tls::connect::{
    ConnectError, ConnectInfo, Connection, Connector, ConnectorService, Host, Resolver,
};
use actix_web::dev::Service;
use awc::error::{InvalidUrl, SendRequestError};
use awc::http::Uri;
use awc::middleware::Transform;
use awc::{ConnectRequest, ConnectResponse};
use futures_util::future::LocalBoxFuture;
use rustls::ClientConfig;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The scheme under which awc passes on what is to be encrypted.
const TLS: &str = "tls";

/// What reading does when the peer has closed the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenItEnds {
    /// It fails with `UnexpectedEof`.
    Fail,
    /// It ends, as usual.
    End,
}

/// Layer of an awc client that takes TLS out of awc's hands.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnTls;

/// The service that `OwnTls` makes.
#[derive(Debug)]
pub(super) struct OwnTlsService<S>(S);

impl<S> Transform<S, ConnectRequest> for OwnTls
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError> + 'static,
    S::Future: 'static,
{
    type Transform = OwnTlsService<S>;

    fn new_transform(self, service: S) -> Self::Transform {
        OwnTlsService(service)
    }
}

impl<S> Service<ConnectRequest> for OwnTlsService<S>
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

    fn call(&self, mut request: ConnectRequest) -> Self::Future {
        let marked = match &mut request {
            ConnectRequest::Client(actix_http::RequestHeadType::Owned(head), ..) => mark(&mut head.uri),
            ConnectRequest::Client(actix_http::RequestHeadType::Rc(head, _), ..) => {
                mark(&mut Rc::make_mut(head).uri)
            }
            ConnectRequest::Tunnel(head, _) => mark(&mut head.uri),
        };
        match marked {
            Some(()) => Box::pin(self.0.call(request)),
            // It was made of a good address, so this does not happen; what must not is that it goes on unmarked.
            None => Box::pin(std::future::ready(Err(SendRequestError::Url(InvalidUrl::UnknownScheme)))),
        }
    }
}

/// Marks an address that wants TLS; leaves others as they are.
fn mark(uri: &mut Uri) -> Option<()> {
    if !matches!(uri.scheme_str(), Some("https" | "wss")) {
        return Some(());
    }
    let mut parts = uri.clone().into_parts();
    let authority = parts.authority.take()?;
    parts.authority = match authority.port() {
        Some(_) => Some(authority),
        None => Some(format!("{authority}:443").parse().ok()?),
    };
    parts.scheme = Some(TLS.parse().ok()?);
    *uri = Uri::from_parts(parts).ok()?;
    Some(())
}

/// Connects as awc does, with TLS where it is marked, and sends small frames at once (`TCP_NODELAY`), which awc does
/// not ask for.
#[derive(Clone)]
pub(super) struct OwnWire {
    tcp: ConnectorService,
    tls: Arc<ClientConfig>,
    end: WhenItEnds,
}

impl OwnWire {
    pub(super) fn new(tls: Arc<ClientConfig>, end: WhenItEnds) -> Self {
        Self { tcp: Connector::new(Resolver::default()).service(), tls, end }
    }
}

/// Whose certificate is wanted. An IPv6 address stands in brackets in a URL, and without them in a certificate.
struct Peer(String);

impl Host for Peer {
    fn hostname(&self) -> &str {
        &self.0
    }

    fn port(&self) -> Option<u16> {
        None
    }
}

impl Service<ConnectInfo<Uri>> for OwnWire {
    type Response = Connection<Uri, Wire>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<ConnectInfo<Uri>>::poll_ready(&self.tcp, cx)
    }

    fn call(&self, request: ConnectInfo<Uri>) -> Self::Future {
        let connecting = self.tcp.call(request);
        let tls = Arc::clone(&self.tls);
        let end = self.end;
        Box::pin(async move {
            let (stream, rest) = connecting.await?.replace_io(());
            stream.set_nodelay(true).map_err(ConnectError::Io)?;
            let io = if rest.request().scheme_str() == Some(TLS) {
                let peer = Peer(rest.hostname().trim_matches(['[', ']']).to_owned());
                let secured = TlsConnector::service(tls).call(Connection::new(peer, stream)).await;
                Io::Tls(Box::new(secured.map_err(ConnectError::Io)?.into_parts().0))
            } else {
                Io::Plain(stream)
            };
            Ok(rest.replace_io(Wire { io, end }).1)
        })
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    io: Io,
    end: WhenItEnds,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<AsyncTlsStream<TcpStream>>),
}

impl Io {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Calls a method of whichever stream it is.
macro_rules! either {
    ($wire:expr, $io:ident => $call:expr) => {
        match &mut $wire.get_mut().io {
            Io::Plain(stream) => {
                let $io = Pin::new(stream);
                $call
            }
            Io::Tls(stream) => {
                let $io = Pin::new(stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let fails = self.end == WhenItEnds::Fail;
        let secure = matches!(self.io, Io::Tls(_));
        let before = buffer.filled().len();
        let read = either!(self, io => io.poll_read(cx, buffer));
        match read {
            Poll::Ready(Ok(())) if fails && buffer.filled().len() == before && buffer.remaining() > 0 => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            // TCP ended and TLS did not: anybody on the way can do that, so it is no end even where an end is one.
            Poll::Ready(Err(error)) if secure && error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            read => read,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write(cx, data))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_shutdown(cx))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write_vectored(cx, data))
    }
}

impl ActixStream for Wire {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.io.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.io.tcp(), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wants_tls_is_marked_with_its_port_and_nothing_else_is_touched() {
        for (address, expected) in [
            ("https://api.example.com/v1?a=b", "tls://api.example.com:443/v1?a=b"),
            ("wss://api.example.com/v1/listen", "tls://api.example.com:443/v1/listen"),
            ("https://127.0.0.1:8443/", "tls://127.0.0.1:8443/"),
            ("https://[::1]/", "tls://[::1]:443/"),
            ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
            ("ws://h/x", "ws://h/x"),
        ] {
            let mut uri: Uri = address.parse().unwrap();
            assert_eq!(mark(&mut uri), Some(()));
            assert_eq!(uri.to_string(), expected);
        }
    }
}
