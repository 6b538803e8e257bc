//! A connection of our own to one page, over the browser's debugging protocol. The library's holds its socket for up to
//! 100 ms while it listens, and whatever is asked waits for that; here some thousands of questions are asked, and several
//! at once where the answer to one does not matter for the next.

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws::{Codec, Frame, Item, Message};
use bytes::BytesMut;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longest answer, bytes: a picture of a long page.
const LONGEST: usize = 64 << 20;

/// The connection.
pub struct Wire {
    socket: TcpStream,
    codec: Codec,
    inbound: BytesMut,
    /// What has come of an answer in several pieces.
    pieces: BytesMut,
    last: u64,
}

impl Wire {
    /// Opens it. `browser` is the address of the browser as a whole, `ws://HOST:PORT/…`.
    pub fn open(browser: &str, target: &str, patience: Duration) -> Self {
        let url = url::Url::parse(browser).expect("an address");
        let host = format!("{}:{}", url.host_str().expect("a host"), url.port().expect("a port"));
        let mut socket = TcpStream::connect(&host).expect("the browser listens");
        socket.set_nodelay(true).expect("it can be set");
        socket.set_read_timeout(Some(patience)).expect("it can be set");
        let request = format!(
            "GET /devtools/page/{target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).expect("the browser reads");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).expect("an answer");
            head.extend(byte);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let codec = Codec::new().client_mode().max_size(LONGEST);
        Self { socket, codec, inbound: BytesMut::new(), pieces: BytesMut::new(), last: 0 }
    }

    /// Asks all of it at once; the answers, in the order of the questions.
    pub fn ask(&mut self, questions: &[(&str, Value)]) -> Result<Vec<Value>, String> {
        let first = self.last + 1;
        let mut out = BytesMut::new();
        for (method, params) in questions {
            self.last += 1;
            let text = json!({ "id": self.last, "method": method, "params": params }).to_string();
            self.codec.encode(Message::Text(text.into()), &mut out).map_err(|error| error.to_string())?;
        }
        self.socket.write_all(&out).map_err(|error| error.to_string())?;
        let mut answers = vec![None; questions.len()];
        while answers.iter().any(Option::is_none) {
            let mut message = self.next()?;
            // Whatever has no number is an event; a smaller one answers a question that was given up.
            let Some(number) = message["id"].as_u64().and_then(|id| id.checked_sub(first)) else { continue };
            if let Some(error) = message.get("error") {
                return Err(error.to_string());
            }
            answers[usize::try_from(number).expect("small")] = Some(message["result"].take());
        }
        Ok(answers.into_iter().flatten().collect())
    }

    fn next(&mut self) -> Result<Value, String> {
        let mut piece = [0; 1 << 16];
        loop {
            let whole = match self.codec.decode(&mut self.inbound).map_err(|error| error.to_string())? {
                Some(Frame::Text(text)) => text,
                Some(Frame::Continuation(Item::FirstText(part) | Item::Continue(part))) => {
                    self.pieces.extend_from_slice(&part);
                    continue;
                }
                Some(Frame::Continuation(Item::Last(part))) => {
                    self.pieces.extend_from_slice(&part);
                    self.pieces.split().freeze()
                }
                Some(Frame::Close(_)) => return Err("the page is gone".to_owned()),
                Some(_) => continue,
                None => {
                    let read = self.socket.read(&mut piece).map_err(|error| error.to_string())?;
                    if read == 0 {
                        return Err("the page is gone".to_owned());
                    }
                    self.inbound.extend_from_slice(&piece[..read]);
                    continue;
                }
            };
            return serde_json::from_slice(&whole).map_err(|error| error.to_string());
        }
    }
}
