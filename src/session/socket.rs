//! Reading Twilio's WebSocket with back-pressure.
//!
//! `actix_web_actors` reads a whole connection into memory before it decodes a frame (measured: gigabytes from one fast
//! client). This stream decodes what is buffered first and reads on only when a frame is incomplete, so that TCP pushes
//! back on a fast client and its memory stays fixed.

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame, ProtocolError};
use actix_web::web::Payload;
use bytes::BytesMut;
use futures_util::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The largest frame Twilio may send us, bytes.
pub const MAX_FRAME: usize = 64 * 1024;

/// Frames of one socket.
pub struct Frames {
    payload: Payload,
    buffer: BytesMut,
    codec: Codec,
    ended: bool,
}

impl Frames {
    /// Reads frames from the body of an upgraded request.
    pub fn new(payload: Payload) -> Self {
        Self { payload, buffer: BytesMut::new(), codec: Codec::new().max_size(MAX_FRAME), ended: false }
    }
}

impl Stream for Frames {
    type Item = Result<Frame, ProtocolError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            match this.codec.decode(&mut this.buffer) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) => {}
                Err(error) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            match Pin::new(&mut this.payload).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    if this.buffer.is_empty() {
                        // Sized anew by what comes, so that a stream keeps no room for the most that ever came.
                        this.buffer = BytesMut::with_capacity(bytes.len());
                    }
                    this.buffer.extend_from_slice(&bytes);
                }
                Poll::Ready(Some(Err(_)) | None) => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
