use super::*;
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
    build(None, Duration::from_secs(2)).unwrap()
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

async fn collect(url: &str) -> (Vec<u8>, Option<ProviderError>) {
    let response = clients().http.get(url).send().await.unwrap();
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
    let plain = tls_config(None).unwrap();
    assert_eq!(plain.alpn_protocols, vec![b"http/1.1".to_vec()]);
    assert!(tls_config(Some(AUTHORITY.as_bytes())).is_ok());
    assert!(matches!(tls_config(Some(b"no certificate here")), Err(HttpSetupError::NoCertificate)));
    let broken = AUTHORITY.replace('M', "!");
    assert!(tls_config(Some(broken.as_bytes())).is_err());
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
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
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

#[actix::test]
async fn a_body_that_ends_too_early_is_cut() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".as_slice(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ] {
        let url = raw_server(answer).await;
        let (bytes, error) = collect(&url).await;
        let answer = String::from_utf8_lossy(answer);
        assert_eq!(bytes, b"abc", "{answer}");
        let error = error.map(|error| (error.kind, error.code));
        assert_eq!(error, Some((ProviderErrorKind::Closed, "body_cut".into())), "{answer}");
    }
}

#[actix::test]
async fn a_whole_body_is_no_error() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc".as_slice(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nabc",
    ] {
        let url = raw_server(answer).await;
        assert_eq!(collect(&url).await, (b"abc".to_vec(), None));
    }
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

#[actix::test]
async fn warming_leaves_a_connection_that_the_next_request_uses() {
    static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);
    let server = HttpServer::new(|| {
        App::new().default_service(web::to(|| async { HttpResponse::Unauthorized().body("no") }))
    })
    .on_connect(|_, _| {
        CONNECTIONS.fetch_add(1, Ordering::SeqCst);
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))
    .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_rt::spawn(server);

    let clients = clients();
    let url = format!("http://{address}/");
    warm(clients.http.get(&url), Duration::from_secs(2)).await;
    for _ in 0..2 {
        let mut response = clients.http.get(&url).send().await.unwrap();
        assert_eq!(error_body(&mut response).await, b"no");
    }
    assert_eq!(CONNECTIONS.load(Ordering::SeqCst), 1);
    handle.stop(false).await;
}
