//! The server's end of a WebSocket, as an ordinary task: frames in, messages out, and an end without a goodbye when
//! it is dropped.

use actix_codec::{Decoder, Encoder};
use actix_http::ws::{Codec, Frame, Message, hash_key, verify_handshake};
use actix_web::error::ErrorBadRequest;
use actix_web::http::header::{HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::{Stream, StreamExt};
use std::io;
use tokio::sync::mpsc;

/// Longest frame taken, in bytes.
const MAX_FRAME: usize = 1 << 20;

/// One open WebSocket. Dropping it closes the TCP connection once what was sent is written.
pub(crate) struct Peer {
    payload: Payload,
    codec: Codec,
    inbound: BytesMut,
    outbound: BytesMut,
    out: mpsc::UnboundedSender<Result<Bytes, io::Error>>,
}

/// Takes the upgrade: the 101 to be completed with headers, the socket, and the body that carries what it sends.
pub(crate) fn accept(
    req: &HttpRequest,
    payload: Payload,
) -> Result<
    (HttpResponseBuilder, Peer, impl Stream<Item = Result<Bytes, io::Error>> + 'static),
    actix_web::Error,
> {
    verify_handshake(req.head()).map_err(ErrorBadRequest)?;
    let key = req.headers().get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut response = HttpResponse::SwitchingProtocols();
    response.upgrade("websocket").insert_header((SEC_WEBSOCKET_ACCEPT, hash_key(key).to_vec()));
    let (out, mut sent) = mpsc::unbounded_channel();
    let peer = Peer {
        payload,
        codec: Codec::new().max_size(MAX_FRAME),
        inbound: BytesMut::new(),
        outbound: BytesMut::new(),
        out,
    };
    let body = futures_util::stream::poll_fn(move |cx| sent.poll_recv(cx));
    Ok((response, peer, body))
}

impl Peer {
    /// The next frame; `None` when the client is gone or breaks the framing. Safe to drop while it waits.
    pub(crate) async fn recv(&mut self) -> Option<Frame> {
        loop {
            match self.codec.decode(&mut self.inbound) {
                Ok(Some(frame)) => return Some(frame),
                Ok(None) => {}
                Err(_) => return None,
            }
            match self.payload.next().await {
                Some(Ok(bytes)) => self.inbound.extend_from_slice(&bytes),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Sends a message; false when the client is gone.
    pub(crate) fn send(&mut self, message: Message) -> bool {
        self.codec.encode(message, &mut self.outbound).is_ok()
            && self.out.send(Ok(self.outbound.split().freeze())).is_ok()
    }

    /// Drops the TCP connection at once. An orderly end would linger for the client's close.
    pub(crate) fn abort(self) {
        // The client may be gone already.
        let _ = self.out.send(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
    }
}
