//! The HTTP server on a listener.
//!
//! What `actix_web::HttpServer` does, with two things more: its connections are [`Gated`], so that those of streams may
//! be left unread for a while, and those of WebSockets leave HTTP behind ([`upgrade`]).

use crate::net::upgrade;
use crate::session::gated::Gated;
use actix_http::body::MessageBody;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, fn_service};
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use actix_tls::accept::{TlsError, max_concurrent_tls_connect};
use actix_web::dev::{AppConfig, Server};
use actix_web::rt::net::TcpStream;
use std::fmt::Debug;
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a peer may take to send the head of a request.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a peer may take over its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// TLS handshakes at once on one thread: peers that only begin one must not keep callers out.
const HANDSHAKES: usize = 4_096;
/// The only protocol that streams speak (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// How the server listens.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    /// Threads.
    pub workers: usize,
    /// How long written bytes may stay unacknowledged before the connection is given up.
    pub user_timeout: Duration,
    /// With TLS, as this says.
    pub tls: Option<rustls::ServerConfig>,
}

/// Serves the application that `factory` makes for each worker thread.
pub(super) fn serve<F, I, S, B>(listener: TcpListener, how: Listening, factory: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let address = listener.local_addr()?;
    let builder = Server::build().workers(how.workers).disable_signals().shutdown_timeout(1);
    let stopping = builder.graceful_shutdown_signal();
    let stopped = move || {
        let stopping = stopping.clone();
        async move { stopping.notified().await }
    };
    let guard = move |stream: TcpStream| {
        guard(&stream, how.user_timeout);
        ready(Ok::<_, io::Error>(stream))
    };
    let server = match how.tls {
        None => builder.listen("http", listener, move || {
            let http = http(factory().into_factory(), address, stopped.clone());
            fn_service(guard)
                .map_err(DispatchError::Io)
                .map(|stream: TcpStream| {
                    let peer = stream.peer_addr().ok();
                    (Gated::new(stream), Protocol::Http1, peer)
                })
                .and_then(http)
        }),
        Some(mut tls) => {
            tls.alpn_protocols = vec![ALPN.to_vec()];
            max_concurrent_tls_connect(HANDSHAKES);
            builder.listen("https", listener, move || {
                let http = http(factory().into_factory(), address, stopped.clone());
                let mut acceptor = Acceptor::new(tls.clone());
                acceptor.set_handshake_timeout(HANDSHAKE);
                fn_service(guard)
                    .map_err(TlsError::Tls)
                    .and_then(acceptor.map_err(TlsError::into_service_error))
                    .map(|stream: TlsStream<TcpStream>| {
                        let peer = stream.get_ref().0.peer_addr().ok();
                        (Gated::new(stream), Protocol::Http1, peer)
                    })
                    .map_init_err(drop)
                    .and_then(http.map_err(TlsError::Service))
            })
        }
    };
    Ok(server?.run())
}

/// The application behind HTTP/1.1 on connections of one kind.
fn http<T, S, B, Stopped, Stop>(
    application: S,
    address: SocketAddr,
    stopped: Stopped,
) -> impl ServiceFactory<
    (Gated<T>, Protocol, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
    Stopped: Fn() -> Stop + 'static,
    Stop: Future<Output = ()> + 'static,
{
    let (application, upgraded) = upgrade::both::<_, Gated<T>, B>(upgrade::application(application));
    HttpService::build()
        .graceful_shutdown_signal(stopped)
        .client_request_timeout(REQUEST)
        // A stream's connection ends with its session, which has waited for the peer's close itself. The library's own
        // wait is a second of silence for a caller, and for ever if it is made shorter than its clock ticks (0.5 s).
        .client_disconnect_timeout(Duration::ZERO)
        // A peer that closes its half is gone: the session hears it at once.
        .h1_allow_half_closed(false)
        .local_addr(address)
        .on_connect_ext(|connection: &Gated<T>, data| {
            data.insert(connection.gate());
        })
        .upgrade(upgraded)
        .finish(application)
}

/// A caller's audio has to leave at once. And a stalled reader of a stream cannot be seen from inside its actor: the
/// kernel resets its socket.
fn guard(stream: &TcpStream, user_timeout: Duration) {
    let socket = socket2::SockRef::from(stream);
    if let Err(error) = socket.set_tcp_user_timeout(Some(user_timeout)) {
        tracing::debug!(%error, "no user timeout on this socket");
    }
    if let Err(error) = socket.set_tcp_nodelay(true) {
        tracing::debug!(%error, "small frames may be held back on this socket");
    }
}
