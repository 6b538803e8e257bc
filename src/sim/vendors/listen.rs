//! The vendors' HTTP server on a listener: what `actix_web::HttpServer` does, but WebSockets leave HTTP behind.

use super::{ConnectionUse, Shared};
use crate::net::upgrade;
use actix_http::body::MessageBody;
use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{AppConfig, Server};
use actix_web::rt::net::TcpStream;
use std::fmt::Debug;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

/// Connections of one thread at once.
const CONNECTIONS: usize = 100_000;
/// How long a client may take to send the head of a request.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a connection that was ended may take to close.
const DISCONNECT: Duration = Duration::from_millis(500);

/// Serves the application that `factory` makes for each worker thread.
pub(super) fn serve<F, I, S, B>(listener: TcpListener, shared: &Shared, factory: F) -> io::Result<Server>
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
    let builder = Server::build()
        .workers(shared.config.workers.max(1))
        .max_concurrent_connections(CONNECTIONS)
        .disable_signals()
        .shutdown_timeout(1);
    let keep_alive = KeepAlive::Timeout(Duration::from_secs(shared.config.keep_alive_s.max(1)));
    let server = match shared.config.tls.clone() {
        None => builder.listen("vendors", listener, move || {
            let (application, upgraded) = upgrade::both::<_, TcpStream, B>(upgrade::application(factory()));
            HttpService::build()
                .keep_alive(keep_alive)
                .client_request_timeout(REQUEST)
                .client_disconnect_timeout(DISCONNECT)
                // A client that hangs up early must free its request at once.
                .h1_allow_half_closed(false)
                .on_connect_ext(|_: &TcpStream, data| {
                    data.insert(ConnectionUse(AtomicU8::new(0)));
                })
                .upgrade(upgraded)
                .finish(application)
                .tcp()
        }),
        Some(tls) => {
            let controls = shared.controls.clone();
            builder.listen("vendors", listener, move || {
                let controls = controls.clone();
                let (application, upgraded) =
                    upgrade::both::<_, TlsStream<TcpStream>, B>(upgrade::application(factory()));
                HttpService::build()
                    .keep_alive(keep_alive)
                    .client_request_timeout(REQUEST)
                    .client_disconnect_timeout(DISCONNECT)
                    .h1_allow_half_closed(false)
                    .on_connect_ext(move |stream: &TlsStream<TcpStream>, data| {
                        let kind = stream.get_ref().1.handshake_kind();
                        controls.shook_hands(kind == Some(rustls::HandshakeKind::Resumed));
                        data.insert(ConnectionUse(AtomicU8::new(0)));
                    })
                    .upgrade(upgraded)
                    .finish(application)
                    .rustls_0_23(tls.server.as_ref().clone())
            })
        }
    };
    Ok(server?.run())
}
