//! The client's end of a stream's WebSocket.
//!
//! It is connected here, because the HTTP client leaves Nagle's algorithm on and 20 ms frames would wait for each
//! other's acknowledgement.

use std::io;
use std::time::Duration;

use actix_codec::{Decoder, Encoder};
use actix_http::ws::{CloseReason, Codec, Frame, Item, Message, hash_key};
use actix_tls::connect::rustls_0_23::TlsConnector;
use actix_tls::connect::{Connection, Host};
use actix_web::dev::Service as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::sim::authority::Trust;

/// Longest message taken, in bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// Longest answer to the upgrade request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Bytes that may wait for a server which does not read; then audio is dropped (warning 31930).
const MAX_BEHIND: usize = 256 << 10;
/// What Twilio's own client calls itself.
pub(super) const USER_AGENT: &str = "Twilio.TmeWs/1.0";

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Whose certificate is wanted.
struct Peer(String);

impl Host for Peer {
    fn hostname(&self) -> &str {
        &self.0
    }

    fn port(&self) -> Option<u16> {
        None
    }
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// A whole text message.
    Text(Bytes),
    /// A binary frame, which is not allowed here.
    Binary,
    /// The server closes.
    Close(Option<u16>),
    /// The framing was broken.
    Malformed(String),
    /// The connection is gone.
    Gone,
}

/// An open WebSocket. Dropping it breaks the connection without a close frame.
pub(super) struct Socket {
    io: Box<dyn Io>,
    codec: Codec,
    inbound: BytesMut,
    outbound: BytesMut,
    /// A message that comes in several frames.
    parts: Option<BytesMut>,
    gone: bool,
    /// What a balancer says of who took it.
    served_by: Option<String>,
}

impl Socket {
    /// Connects and upgrades, with Twilio's headers.
    pub(super) async fn connect(url: &str, signature: &str, trust: &Trust) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("31923 malformed URL: {error}"))?;
        let (secure, usual_port) = match url.scheme() {
            "ws" => (false, 80),
            "wss" => (true, 443),
            other => return Err(format!("31922 the scheme {other} is not supported")),
        };
        let host = url.host_str().ok_or("31923 malformed URL: no host")?;
        let port = url.port().unwrap_or(usual_port);
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((address, port))
            .await
            .map_err(|error| format!("31902 connection refused: {error}"))?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        if !secure {
            return Self::upgrade(Box::new(tcp), &url, signature).await;
        }
        let peer = Peer(address.to_owned());
        let secured = TlsConnector::service(trust.config()).call(Connection::new(peer, tcp)).await;
        let (tls, _) = secured.map_err(|error| format!("31910 TLS: {error}"))?.into_parts();
        Self::upgrade(Box::new(tls), &url, signature).await
    }

    fn new(io: Box<dyn Io>, inbound: BytesMut) -> Self {
        let codec = Codec::new().max_size(MAX_MESSAGE).client_mode();
        Self { io, codec, inbound, outbound: BytesMut::new(), parts: None, gone: false, served_by: None }
    }

    async fn upgrade(mut io: Box<dyn Io>, url: &Url, signature: &str) -> Result<Self, String> {
        let host = url.host_str().ok_or("31923 malformed URL: no host")?;
        let key = STANDARD.encode(rand::random::<[u8; 16]>());
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let request = format!(
            "GET {}{query} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n\
             x-twilio-signature: {signature}\r\naccept-encoding: gzip\r\n\r\n",
            url.path()
        );
        let broken = |error| format!("31903 broken connection: {error}");
        io.write_all(request.as_bytes()).await.map_err(broken)?;
        io.flush().await.map_err(broken)?;
        let mut inbound = BytesMut::with_capacity(4 << 10);
        let head = loop {
            if let Some(end) = inbound.windows(4).position(|window| window == b"\r\n\r\n") {
                break inbound.split_to(end + 4);
            }
            if inbound.len() > MAX_HEAD {
                return Err("31920 handshake: the answer has no end".to_owned());
            }
            match io.read_buf(&mut inbound).await {
                Ok(0) => return Err("31920 handshake: the server hung up".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(broken(error)),
            }
        };
        let head = String::from_utf8_lossy(&head);
        check_upgrade(&head, &key)?;
        let mut socket = Self::new(io, inbound);
        socket.served_by = header(&head, "x-served-by").map(str::to_owned);
        Ok(socket)
    }

    /// Which server took it, where a balancer tells.
    pub(super) fn served_by(&self) -> Option<&str> {
        self.served_by.as_deref()
    }

    /// Queues a text message; false when the server has not read for so long that it is dropped.
    pub(super) fn text(&mut self, message: &[u8]) -> bool {
        if self.outbound.len() > MAX_BEHIND {
            return false;
        }
        write_frame(&mut self.outbound, message, rand::random());
        true
    }

    /// Writes as much as the connection takes at once; the rest goes with the next call.
    pub(super) fn push(&mut self) {
        while !self.outbound.is_empty() && !self.gone {
            // Not in vectors: there is one piece, and the kernel takes it faster so.
            match self.io.write(&self.outbound).now_or_never() {
                Some(Ok(0) | Err(_)) => self.gone = true,
                Some(Ok(written)) => self.outbound.advance(written),
                None => break,
            }
        }
        // What TLS has made of it may still wait there.
        if !self.gone && matches!(self.io.flush().now_or_never(), Some(Err(_))) {
            self.gone = true;
        }
    }

    /// The next message. Safe to drop while it waits.
    pub(super) async fn recv(&mut self) -> Inbound {
        loop {
            match self.codec.decode(&mut self.inbound) {
                Ok(Some(frame)) => {
                    if let Some(inbound) = self.frame(frame) {
                        return inbound;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => return Inbound::Malformed(error.to_string()),
            }
            self.inbound.reserve(8 << 10);
            match self.io.read_buf(&mut self.inbound).await {
                Ok(0) | Err(_) => return Inbound::Gone,
                Ok(_) => {}
            }
        }
    }

    fn frame(&mut self, frame: Frame) -> Option<Inbound> {
        match frame {
            Frame::Text(text) => Some(Inbound::Text(text)),
            Frame::Binary(_) | Frame::Continuation(Item::FirstBinary(_)) => Some(Inbound::Binary),
            Frame::Continuation(Item::FirstText(part)) => {
                self.parts = Some(BytesMut::from(&part[..]));
                None
            }
            Frame::Continuation(Item::Continue(part)) => {
                if let Some(parts) = &mut self.parts {
                    parts.extend_from_slice(&part);
                    if parts.len() > MAX_MESSAGE {
                        return Some(Inbound::Malformed("a message over 1 MiB".to_owned()));
                    }
                }
                None
            }
            Frame::Continuation(Item::Last(part)) => {
                let mut parts = self.parts.take()?;
                parts.extend_from_slice(&part);
                Some(Inbound::Text(parts.freeze()))
            }
            Frame::Ping(data) => {
                self.control(Message::Pong(data));
                self.push();
                None
            }
            Frame::Pong(_) => None,
            Frame::Close(reason) => Some(Inbound::Close(reason.map(|reason| u16::from(reason.code)))),
        }
    }

    fn control(&mut self, message: Message) {
        // Encoding a control frame into a growing buffer does not fail.
        let _ = self.codec.encode(message, &mut self.outbound);
    }

    /// Says goodbye, or answers the server's, and waits for the end of the connection for at most `patience`.
    pub(super) async fn close(mut self, reason: Option<CloseReason>, patience: Duration) {
        self.control(Message::Close(reason));
        let end = async {
            let mut outbound = std::mem::take(&mut self.outbound);
            self.io.write_all_buf(&mut outbound).await?;
            self.io.flush().await?;
            loop {
                match self.recv().await {
                    Inbound::Gone | Inbound::Close(_) | Inbound::Malformed(_) => return io::Result::Ok(()),
                    Inbound::Text(_) | Inbound::Binary => {}
                }
            }
        };
        let _ = tokio::time::timeout(patience, end).await;
    }

    /// Answers the server's close frame.
    pub(super) async fn answer_close(mut self) {
        self.control(Message::Close(None));
        let mut outbound = std::mem::take(&mut self.outbound);
        let write = self.io.write_all_buf(&mut outbound);
        let _ = tokio::time::timeout(Duration::from_millis(500), write).await;
    }
}

/// The value of a header in the head of an answer.
fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

fn check_upgrade(head: &str, key: &str) -> Result<(), String> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(format!("31920 handshake: answered {status:?}"));
    }
    let accept = header(head, "sec-websocket-accept").unwrap_or_default();
    if accept.as_bytes() != hash_key(key.as_bytes()).as_slice() {
        return Err("31920 handshake: wrong sec-websocket-accept".to_owned());
    }
    for name in ["sec-websocket-extensions", "sec-websocket-protocol"] {
        if header(head, name).is_some() {
            return Err(format!("31920 handshake: {name} was not offered"));
        }
    }
    Ok(())
}

/// Appends a masked text frame (RFC 6455, 5.2).
fn write_frame(into: &mut BytesMut, message: &[u8], mask: u32) {
    let mask = mask.to_be_bytes();
    into.reserve(message.len() + 14);
    into.extend_from_slice(&[0x81]);
    match (u8::try_from(message.len()), u16::try_from(message.len())) {
        (Ok(length @ 0..=125), _) => into.extend_from_slice(&[0x80 | length]),
        (_, Ok(length)) => {
            into.extend_from_slice(&[0xFE]);
            into.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            into.extend_from_slice(&[0xFF]);
            into.extend_from_slice(&(message.len() as u64).to_be_bytes());
        }
    }
    into.extend_from_slice(&mask);
    let begin = into.len();
    into.extend_from_slice(message);
    if let Some(masked) = into.get_mut(begin..) {
        // In fours, which the compiler makes wide steps of: this is done for every frame of every caller.
        let (fours, rest) = masked.as_chunks_mut::<4>();
        for four in fours {
            *four = (u32::from_ne_bytes(*four) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_read_by_a_server() {
        for length in [0, 1, 125, 126, 300, 65_535, 65_536, 70_000] {
            let message = vec![b'x'; length];
            let mut bytes = BytesMut::new();
            write_frame(&mut bytes, &message, 0x1234_5678);
            let mut server = Codec::new().max_size(MAX_MESSAGE);
            let frame = server.decode(&mut bytes).unwrap().unwrap();
            assert_eq!(frame, Frame::Text(Bytes::from(message)));
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn a_header_is_found_whatever_its_case() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nX-Served-By: b\r\n\r\n";
        assert_eq!(header(head, "x-served-by"), Some("b"));
        assert_eq!(header(head, "served-by"), None);
    }

    #[test]
    fn an_upgrade_is_checked() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        let head = |more: &str, accept: &str| {
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n{more}\r\n")
        };
        assert_eq!(check_upgrade(&head("", accept), key), Ok(()));
        assert!(check_upgrade(&head("", "nonsense"), key).is_err());
        assert!(
            check_upgrade(&head("sec-websocket-extensions: permessage-deflate\r\n", accept), key).is_err()
        );
        assert!(check_upgrade("HTTP/1.1 403 Forbidden\r\n\r\n", key).unwrap_err().contains("403"));
    }
}
