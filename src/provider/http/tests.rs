use super::*;
use actix_tls::accept::rustls_0_23::{Acceptor, AcceptorService, TlsStream};
use actix_web::dev::{ServerHandle, Service as _, ServiceFactory};
use actix_web::{App, HttpResponse, HttpServer, web};
use awc::http::header::{HeaderName, HeaderValue};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A throw-away authority; its key is gone.
const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBijCCAS+gAwIBAgIUJfgFX/eDAkYNR1YizeSMIwQ0UNQwCgYIKoZIzj0EAwIw\n\
GTEXMBUGA1UEAwwOVGVzdCBBdXRob3JpdHkwIBcNMjYxMTIyMDc0NDQzWhgPMjEy\n\
NjEwMjkwNzQ0NDNaMBkxFzAVBgNVBAMMDlRlc3QgQXV0aG9yaXR5MFkwEwYHKoZI\n\
zj0CAQYIKoZIzj0DAQcDQgAEsUVEmmeWc0R3ZQwkqZ/6bc7JIhM8c+lLLr1mdQTI\n\
ErVADa56cWdscNvfTTvCmyAe/cQqQ24UQ+Iq512RUT009qNTMFEwHQYDVR0OBBYE\n\
FDjK1sOg2WVooDON69A7/ZeIMQM8MB8GA1UdIwQYMBaAFDjK1sOg2WVooDON69A7\n\
/ZeIMQM8MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAOXMf9e3\n\
BApO0XEabRYdM0zwoArZvl0uthuBnsO7GwrMAiEAk1PU1cSR8+Au2TOczUqmcPSo\n\
pIUC96XDVj195ebpohY=\n\
-----END CERTIFICATE-----\n\
";

fn clients() -> HttpClients {
    build(&VendorTls::new(None).unwrap(), Duration::from_secs(2))
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    map
}

/// Answers every connection with `answer` and closes it.
async fn raw_server(answer: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer).await;
            let _ = socket.shutdown().await;
        }
    });
    format!("http://{address}/")
}

async fn collect(clients: &HttpClients, url: &str) -> (Vec<u8>, Option<ProviderError>) {
    let response = clients.http.get(url).send().await.unwrap();
    let mut body = body("vendor", response);
    let mut all = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(error) => {
                assert!(body.next().await.is_none(), "the stream ends after its first failure");
                return (all, Some(error));
            }
        }
    }
    (all, None)
}

#[test]
fn further_authorities_are_trusted_and_rubbish_is_refused() {
    let plain = VendorTls::new(None).unwrap();
    assert_eq!(plain.0.alpn_protocols, vec![b"http/1.1".to_vec()]);
    assert!(VendorTls::new(Some(AUTHORITY.as_bytes())).is_ok());
    assert!(matches!(VendorTls::new(Some(b"no certificate here")), Err(HttpSetupError::NoCertificate)));
    let broken = AUTHORITY.replace('M', "!");
    assert!(VendorTls::new(Some(broken.as_bytes())).is_err());
}

#[test]
fn retry_after_is_read_in_all_its_forms() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    type Row = (&'static [(&'static str, &'static str)], Option<u64>);
    let table: &[Row] = &[
        (&[], None),
        (&[("retry-after", "2")], Some(2_000)),
        (&[("retry-after", " 0.25 ")], Some(250)),
        (&[("retry-after", "-1")], None),
        (&[("retry-after", "NaN")], None),
        (&[("retry-after", "inf")], Some(3_600_000)),
        (&[("retry-after", "1e300")], Some(3_600_000)),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "")], None),
        (&[("retry-after-ms", "120"), ("retry-after", "9")], Some(120)),
        (&[("retry-after-ms", "x"), ("retry-after", "9")], Some(9_000)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")], Some(3_000)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")], Some(0)),
    ];
    for (pairs, expected) in table {
        let wait = retry_after(&headers(pairs), now);
        assert_eq!(wait, expected.map(Duration::from_millis), "{pairs:?}");
    }
}

#[test]
fn a_media_type_loses_its_parameters() {
    assert_eq!(media_type(&headers(&[("content-type", "Audio/MuLaw;rate=8000")])), "audio/mulaw");
    assert_eq!(media_type(&headers(&[])), "");
}

#[actix::test]
async fn nobody_listening_is_unreachable() {
    // Bound, so that it is nobody else's, and not listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = closed.local_addr().unwrap();
    let error = clients().http.get(format!("http://{address}/")).send().await.err().unwrap();
    let error = map_send_error("vendor", &error);
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Unreachable, "connection_refused"));
}

#[actix::test]
async fn a_server_that_hangs_up_before_it_answers_is_closed() {
    let url = raw_server(b"").await;
    let error = clients().http.get(url).send().await.err().unwrap();
    let error = map_send_error("vendor", &error);
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Closed, "disconnected"));
}

/// Bodies that end before they are complete.
const CUT: [&[u8]; 5] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
];
/// Bodies that are complete where the connection ends.
const WHOLE: [&[u8]; 2] = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
];
/// A body whose end is the connection's.
const UNFRAMED: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nabc";

async fn is_cut(clients: &HttpClients, url: &str, answer: &[u8]) {
    let (bytes, error) = collect(clients, url).await;
    let answer = String::from_utf8_lossy(answer);
    assert_eq!(bytes, b"abc", "{answer}");
    let error = error.map(|error| (error.kind, error.code));
    assert_eq!(error, Some((ProviderErrorKind::Closed, "body_cut".into())), "{answer}");
}

#[actix::test]
async fn a_body_that_ends_too_early_is_cut() {
    for answer in CUT {
        is_cut(&clients(), &raw_server(answer).await, answer).await;
    }
}

#[actix::test]
async fn a_whole_body_is_no_error() {
    for answer in WHOLE.into_iter().chain([UNFRAMED]) {
        let url = raw_server(answer).await;
        assert_eq!(collect(&clients(), &url).await, (b"abc".to_vec(), None));
    }
}

/// How a server ends a connection with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    /// `close_notify`, then the end of TCP.
    Polite,
    /// `close_notify`, and TCP stays open.
    HalfPolite,
    /// The end of TCP only.
    None,
}

/// A throw-away certificate for loopback, as PEM, and a server's configuration with it.
fn throw_away() -> (String, rustls::ServerConfig) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
    (pem(certificate.der()), config)
}

/// Answers every connection with `answer` over TLS and ends it.
async fn raw_tls_server(answer: &'static [u8], goodbye: Goodbye) -> (HttpClients, String) {
    let (authority, config) = throw_away();
    let acceptor: AcceptorService =
        ServiceFactory::<actix_rt::net::TcpStream>::new_service(&Acceptor::new(config), ()).await.unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.call(socket).await else { continue };
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(answer).await;
            let _ = socket.flush().await;
            match goodbye {
                Goodbye::Polite => drop(socket.shutdown().await),
                Goodbye::HalfPolite => {
                    socket.get_mut().1.send_close_notify();
                    let _ = socket.flush().await;
                    kept.push(socket);
                }
                Goodbye::None => drop(socket),
            }
        }
    });
    let tls = VendorTls::new(Some(authority.as_bytes())).unwrap();
    (build(&tls, Duration::from_secs(2)), format!("https://{address}/"))
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[actix::test]
async fn a_body_that_ends_too_early_is_cut_however_tls_was_closed() {
    for goodbye in [Goodbye::Polite, Goodbye::HalfPolite, Goodbye::None] {
        for answer in CUT {
            let (clients, url) = raw_tls_server(answer, goodbye).await;
            is_cut(&clients, &url, answer).await;
        }
        for answer in WHOLE {
            let (clients, url) = raw_tls_server(answer, goodbye).await;
            assert_eq!(collect(&clients, &url).await, (b"abc".to_vec(), None), "{goodbye:?}");
        }
    }
}

#[actix::test]
async fn over_tls_only_a_polite_end_ends_a_body_that_has_no_other() {
    for goodbye in [Goodbye::Polite, Goodbye::HalfPolite] {
        let (clients, url) = raw_tls_server(UNFRAMED, goodbye).await;
        assert_eq!(collect(&clients, &url).await, (b"abc".to_vec(), None), "{goodbye:?}");
    }
    let (clients, url) = raw_tls_server(UNFRAMED, Goodbye::None).await;
    is_cut(&clients, &url, UNFRAMED).await;
}

#[actix::test]
async fn a_gap_in_a_body_times_out_but_the_readers_own_pause_does_not() {
    tokio::time::pause();
    let (sender, receiver) = futures_util_channel();
    let mut body = idle("vendor", receiver, Duration::from_millis(100));
    sender.send(Ok(1)).unwrap();
    assert_eq!(body.next().await, Some(Ok(1)));
    tokio::time::sleep(Duration::from_secs(60)).await;
    sender.send(Ok(2)).unwrap();
    assert_eq!(body.next().await, Some(Ok(2)));
    let error = body.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Timeout, "gap_timeout"));
    assert_eq!(body.next().await, None);
}

type Piece = Result<u8, ProviderError>;

fn futures_util_channel() -> (tokio::sync::mpsc::UnboundedSender<Piece>, impl Stream<Item = Piece>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = stream::unfold(receiver, |mut r| async move { r.recv().await.map(|piece| (piece, r)) });
    (sender, receiver)
}

/// A server that keeps connections and counts them: all, and those that took up a session from before.
struct Counting {
    url: String,
    connections: Arc<AtomicUsize>,
    resumed: Arc<AtomicUsize>,
    handle: ServerHandle,
}

fn counting_server(tls: Option<rustls::ServerConfig>) -> Counting {
    let (connections, resumed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (all, again) = (Arc::clone(&connections), Arc::clone(&resumed));
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = HttpServer::new(|| {
        App::new().default_service(web::to(|| async { HttpResponse::Unauthorized().body("no") }))
    })
    .on_connect(move |io, _| {
        all.fetch_add(1, Ordering::SeqCst);
        if let Some(tls) = io.downcast_ref::<TlsStream<actix_rt::net::TcpStream>>()
            && tls.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
        {
            again.fetch_add(1, Ordering::SeqCst);
        }
    })
    .workers(1)
    .disable_signals();
    let server = match tls {
        Some(config) => server.bind_rustls_0_23(("127.0.0.1", 0), config),
        None => server.bind(("127.0.0.1", 0)),
    }
    .unwrap();
    let url = format!("{scheme}://{}/", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);
    Counting { url, connections, resumed, handle }
}

async fn warm_then_ask_twice(clients: &HttpClients, url: &str) {
    warm(clients.http.get(url), Duration::from_secs(2)).await;
    for _ in 0..2 {
        let mut response = clients.http.get(url).send().await.unwrap();
        assert_eq!(error_body(&mut response).await, b"no");
    }
}

#[actix::test]
async fn warming_leaves_a_connection_that_the_next_request_uses() {
    let server = counting_server(None);
    warm_then_ask_twice(&clients(), &server.url).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    server.handle.stop(false).await;
}

#[actix::test]
async fn a_warm_connection_with_tls_is_used_as_well_and_another_thread_takes_up_its_session() {
    let (certificate, config) = throw_away();
    let server = counting_server(Some(config));
    let tls = VendorTls::new(Some(certificate.as_bytes())).unwrap();
    warm_then_ask_twice(&build(&tls, Duration::from_secs(2)), &server.url).await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(server.resumed.load(Ordering::SeqCst), 0);
    let url = server.url.clone();
    let other = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async {
            let clients = build(&tls, Duration::from_secs(2));
            let mut response = clients.http.get(url).send().await.unwrap();
            error_body(&mut response).await
        })
    });
    let answer = web::block(|| other.join().unwrap()).await.unwrap();
    assert_eq!(answer, b"no");
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    assert_eq!(server.resumed.load(Ordering::SeqCst), 1);
    server.handle.stop(false).await;
}

#[actix::test]
async fn a_peer_that_never_shakes_hands_is_not_waited_for_longer_than_any_other() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let clients = build(&VendorTls::new(None).unwrap(), Duration::from_millis(200));
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let error = clients.http.get(url).send().await.err().unwrap();
    let error = map_send_error("vendor", &error);
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Timeout, "connect_timeout"));
}

#[actix::test]
async fn a_peer_that_speaks_no_tls_is_unreachable() {
    let url = raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let error = clients().http.get(url.replacen("http:", "https:", 1)).send().await.err().unwrap();
    let error = map_send_error("vendor", &error);
    assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Unreachable, "tls"));
}
