//! Both bodies over a pipe instead of a socket.

use super::*;
use actix_codec::{Decoder as _, FramedParts};
use actix_service::fn_service;
use futures_util::{StreamExt as _, stream};
use std::cell::Cell;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

const HEAD: &str = "GET /stream HTTP/1.1\r\nhost: here\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

/// The request and its connection as the library hands them over, with what was read behind the head.
fn asked(io: DuplexStream, behind: &str) -> (Request, Connection<DuplexStream>) {
    let mut codec = Codec::default();
    let mut read = BytesMut::from(format!("{HEAD}{behind}").as_bytes());
    let Some(Message::Item(request)) = codec.decode(&mut read).unwrap() else { panic!("no request") };
    (request, Connection::new(Framed::from_parts(FramedParts::with_read_buf(io, codec, read))))
}

fn streaming<S>(status: StatusCode, body: S) -> Response<BoxBody>
where
    S: Stream<Item = io::Result<Bytes>> + 'static,
{
    let mut response = Response::build(status);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        response.upgrade("websocket");
    }
    response.body(actix_http::body::BodyStream::new(body)).map_into_boxed_body()
}

/// Answers with what comes.
async fn echo(mut request: Request) -> Result<Response<BoxBody>, Infallible> {
    let body = request.take_payload().map(|read| read.map_err(io::Error::other));
    Ok(streaming(StatusCode::SWITCHING_PROTOCOLS, body))
}

async fn read_head(peer: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn read(peer: &mut DuplexStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    peer.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[actix_rt::test]
async fn what_came_with_the_head_and_after_it_is_the_body() {
    let (mut peer, io) = duplex(1_024);
    let (request, connection) = asked(io, "early ");
    let served = async {
        let application = fn_service(echo);
        hand_over(&application, request, connection).await;
    };
    let asking = async {
        let head = read_head(&mut peer).await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("connection: upgrade"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        assert_eq!(read(&mut peer, 6).await, "early ");
        peer.write_all(b"late").await.unwrap();
        assert_eq!(read(&mut peer, 4).await, "late");
        peer.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0, "the end is answered with the end");
    };
    tokio::join!(served, asking);
}

#[actix_rt::test]
async fn who_is_refused_sees_why_and_the_connection_closes() {
    let (mut peer, io) = duplex(1_024);
    let (request, connection) = asked(io, "something unread");
    let refuse = fn_service(|_: Request| async {
        let body: Bytes = "no".into();
        Ok::<_, Infallible>(Response::build(StatusCode::FORBIDDEN).body(body).map_into_boxed_body())
    });
    let asking = async {
        let mut all = String::new();
        peer.read_to_string(&mut all).await.unwrap();
        assert!(all.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{all}");
        let lower = all.to_ascii_lowercase();
        assert!(lower.contains("connection: close") && lower.contains("content-length: 2"), "{all}");
        assert!(all.ends_with("\r\n\r\nno"), "{all}");
        drop(peer);
    };
    tokio::join!(hand_over(&refuse, request, connection), asking);
}

#[actix_rt::test]
async fn a_stream_that_is_not_upgraded_ends_with_its_connection() {
    let (mut peer, io) = duplex(1_024);
    let (request, connection) = asked(io, "");
    let list = fn_service(|_: Request| async {
        let body = stream::iter([Ok(Bytes::from_static(b"one ")), Ok(Bytes::from_static(b"two"))]);
        Ok::<_, Infallible>(streaming(StatusCode::OK, body))
    });
    let asking = async {
        let mut all = String::new();
        peer.read_to_string(&mut all).await.unwrap();
        assert!(!all.to_ascii_lowercase().contains("transfer-encoding"), "{all}");
        assert!(all.to_ascii_lowercase().contains("connection: close"), "{all}");
        assert!(all.ends_with("\r\n\r\none two"), "{all}");
        drop(peer);
    };
    tokio::join!(hand_over(&list, request, connection), asking);
}

#[actix_rt::test]
async fn what_was_answered_before_is_written_before() {
    let (mut peer, io) = duplex(1_024);
    let (request, mut connection) = asked(io, "");
    connection.before.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
    let asking = async {
        assert!(read_head(&mut peer).await.starts_with("HTTP/1.1 204"));
        assert!(read_head(&mut peer).await.starts_with("HTTP/1.1 101"));
        peer.shutdown().await.unwrap();
    };
    let application = fn_service(echo);
    tokio::join!(hand_over(&application, request, connection), asking);
}

#[actix_rt::test]
async fn who_hangs_up_before_the_answer_frees_the_request() {
    let (mut peer, io) = duplex(1_024);
    let (request, connection) = asked(io, "");
    let (asked, mut was_asked) = mpsc::unbounded_channel();
    let hang = fn_service(move |request: Request| {
        asked.send(()).unwrap();
        async move {
            let _held = request;
            std::future::pending::<()>().await;
            Ok::<_, Infallible>(Response::<BoxBody>::internal_server_error())
        }
    });
    let hanging_up = async {
        was_asked.recv().await.unwrap();
        peer.write_all(b"not yet answered").await.unwrap();
        drop(peer);
    };
    tokio::join!(hand_over(&hang, request, connection), hanging_up);
}

#[actix_rt::test]
async fn a_reader_on_another_task_misses_nothing() {
    let (mut peer, io) = duplex(1_024);
    let (request, connection) = asked(io, "");
    let (heard, mut hears) = mpsc::unbounded_channel();
    let (answer, answered) = oneshot::channel::<()>();
    let answered = Rc::new(Cell::new(Some(answered)));
    let apart = fn_service(move |mut request: Request| {
        let (heard, answered) = (heard.clone(), answered.take());
        let mut body = request.take_payload();
        spawn_local(async move {
            while let Some(Ok(bytes)) = body.next().await {
                heard.send(bytes).unwrap();
            }
        });
        async move {
            // The connection is read ahead meanwhile.
            answered.unwrap().await.unwrap();
            Ok::<_, Infallible>(streaming(StatusCode::SWITCHING_PROTOCOLS, stream::pending()))
        }
    });
    let asking = async move {
        peer.write_all(b"before").await.unwrap();
        assert_eq!(hears.recv().await.unwrap(), "before");
        answer.send(()).unwrap();
        read_head(&mut peer).await;
        peer.write_all(b"after").await.unwrap();
        assert_eq!(hears.recv().await.unwrap(), "after");
    };
    tokio::select! {
        () = hand_over(&apart, request, connection) => panic!("nothing has ended"),
        () = asking => {}
    }
}

#[actix_rt::test]
async fn a_peer_that_does_not_read_is_not_written_for_without_end() {
    let (mut peer, io) = duplex(1_024);
    let (request, connection) = asked(io, "");
    let (made, mut makes) = mpsc::unbounded_channel();
    let flood = fn_service(move |_: Request| {
        let made = made.clone();
        let body = stream::repeat_with(move || {
            made.send(()).unwrap();
            Ok(Bytes::from_static(&[b'x'; 1_024]))
        });
        async { Ok::<_, Infallible>(streaming(StatusCode::SWITCHING_PROTOCOLS, body)) }
    });
    let asking = async move {
        read_head(&mut peer).await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let mut pieces = 0;
        while makes.try_recv().is_ok() {
            pieces += 1;
        }
        assert!((MOST_WAITING / 1_024..MOST_WAITING / 1_024 + 4).contains(&pieces), "{pieces}");
        read(&mut peer, 10 * 1_024).await;
        makes.recv().await.unwrap();
    };
    tokio::select! {
        () = hand_over(&flood, request, connection) => panic!("nothing has ended"),
        () = asking => {}
    }
}

#[actix_rt::test]
async fn a_body_that_fails_breaks_the_connection() {
    let (mut peer, io) = duplex(1_024);
    let (request, connection) = asked(io, "");
    let fail = fn_service(|_: Request| async {
        let body = stream::iter([Ok(Bytes::from_static(b"a")), Err(io::ErrorKind::ConnectionReset.into())]);
        Ok::<_, Infallible>(streaming(StatusCode::SWITCHING_PROTOCOLS, body))
    });
    let asking = async {
        read_head(&mut peer).await;
        let mut rest = String::new();
        peer.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "a");
    };
    tokio::join!(hand_over(&fail, request, connection), asking);
}
