//! A scripted HTTP server on a free port: it cuts, hangs and lies on demand, and counts connections.

use super::SpeechStream;
use crate::provider::ProviderError;
use base64::Engine;
use bytes::BytesMut;
use futures_util::StreamExt;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(super) enum Step {
    Write(Vec<u8>),
    /// Says nothing more, keeps the connection.
    Hang,
    Close,
}

#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) connections: Rc<Cell<usize>>,
    /// Head and body of each request.
    pub(super) requests: Rc<RefCell<Vec<(String, Value)>>>,
}

/// Answers the n-th request (from 0) with the steps of `script`.
pub(super) async fn serve(script: impl Fn(usize) -> Vec<Step> + 'static) -> (String, Seen) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let told = seen.clone();
    let script = Rc::new(script);
    actix_rt::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            told.connections.set(told.connections.get() + 1);
            actix_rt::spawn(converse(socket, told.clone(), script.clone()));
        }
    });
    (base, seen)
}

async fn converse(mut socket: TcpStream, seen: Seen, script: Rc<impl Fn(usize) -> Vec<Step>>) {
    while let Some(request) = read_request(&mut socket).await {
        let number = seen.requests.borrow().len();
        seen.requests.borrow_mut().push(request);
        for step in script(number) {
            match step {
                Step::Write(bytes) => {
                    // Whoever has heard enough hangs up.
                    if socket.write_all(&bytes).await.is_err() {
                        return;
                    }
                    // Let the reader see it as a piece of its own.
                    socket.flush().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Step::Hang => std::future::pending::<()>().await,
                Step::Close => return,
            }
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<(String, Value)> {
    let mut buffer = BytesMut::new();
    loop {
        let text = String::from_utf8_lossy(&buffer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
                })
                .unwrap_or(0);
            if body.len() >= length {
                return Some((head.to_owned(), serde_json::from_str(body).unwrap_or_default()));
            }
        }
        if socket.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A head with `content-length`, and the body.
pub(super) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<Step> {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    vec![Step::Write([head.as_bytes(), body].concat())]
}

/// The head of a chunked answer.
pub(super) fn chunked(media_type: &str) -> Step {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n");
    Step::Write(head.into_bytes())
}

pub(super) fn chunk(bytes: &[u8]) -> Step {
    Step::Write([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

pub(super) fn last_chunk() -> Step {
    Step::Write(b"0\r\n\r\n".to_vec())
}

/// The response of a fixture, as it would come over the wire, and its audio.
pub(super) fn replay(response: &Value) -> (Vec<Step>, Vec<u8>) {
    let mut steps = vec![chunked(response["headers"]["content-type"].as_str().unwrap())];
    let mut audio = Vec::new();
    for piece in response["body_b64_chunks"].as_array().unwrap() {
        let bytes = base64::prelude::BASE64_STANDARD.decode(piece.as_str().unwrap()).unwrap();
        steps.push(chunk(&bytes));
        audio.extend(bytes);
    }
    steps.push(last_chunk());
    (steps, audio)
}

/// All audio, and the failure that ended it.
pub(super) async fn hear(speech: Result<SpeechStream, ProviderError>) -> (Vec<u8>, Option<ProviderError>) {
    let mut audio = Vec::new();
    let mut stream = match speech {
        Ok(stream) => stream,
        Err(error) => return (audio, Some(error)),
    };
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(bytes) => audio.extend_from_slice(&bytes),
            Err(error) => {
                assert!(stream.next().await.is_none(), "the stream ends after its first failure");
                return (audio, Some(error));
            }
        }
    }
    (audio, None)
}

/// The lines of an `http_errors.jsonl`.
pub(super) fn error_fixtures(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Status, the wait asked for, and the body of one of them.
pub(super) fn parts(row: &Value) -> (u16, Option<Duration>, Vec<u8>) {
    let status = u16::try_from(row["status"].as_u64().unwrap()).unwrap();
    let wait = row["headers"].get("retry-after").map(|wait| wait.as_str().unwrap().parse().unwrap());
    let body = match row.get("body") {
        Some(body) => body.to_string(),
        None => row["body_text"].as_str().unwrap().to_owned(),
    };
    (status, wait.map(Duration::from_secs), body.into_bytes())
}
