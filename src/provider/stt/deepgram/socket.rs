//! A WebSocket's bytes, with buffers no larger than what waits in them.
//!
//! `actix_codec::Framed` keeps 16 KiB for every connection. This one is held for a whole call, thousands at a time, and
//! carries small frames: what was read is decoded at once, what was written is flushed at once, and little is kept.

use actix_codec::{Decoder, Encoder, Framed};
use actix_http::ws::{Codec, Frame, Message, ProtocolError};
use awc::BoxedSocket;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at once, bytes: more than any usual message.
const READ: usize = 4 * 1_024;
/// While so much waits to be written, nothing more is taken, bytes.
const FULL: usize = 8 * 1_024;

/// The socket both halves of a connection use. Each borrow ends within one poll. The halves are meant to be polled by one
/// task: a socket remembers one waker a direction.
pub(super) struct Socket {
    io: BoxedSocket,
    codec: Codec,
    read: BytesMut,
    write: BytesMut,
    ended: bool,
    /// An answer of the protocol's own is still to be flushed.
    answer_waits: bool,
}

impl Socket {
    /// Goes on with a connection after its handshake.
    pub(super) fn new(framed: Framed<BoxedSocket, Codec>) -> Self {
        let parts = framed.into_parts();
        let mut read = BytesMut::new();
        read.extend_from_slice(&parts.read_buf);
        let mut write = BytesMut::new();
        write.extend_from_slice(&parts.write_buf);
        Self { io: parts.io, codec: parts.codec, read, write, ended: false, answer_waits: false }
    }

    /// Waits until little enough is waiting to be written.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write.len() < FULL { Poll::Ready(Ok(())) } else { self.poll_flush(cx) }
    }

    /// Adds a message to what is to be written.
    pub(super) fn write(&mut self, message: Message) -> Result<(), ProtocolError> {
        self.codec.encode(message, &mut self.write)
    }

    /// Writes all that waits.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.write.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.write))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.write.advance(written);
        }
        tidy(&mut self.write);
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Writes an answer of the protocol's own and begins to flush it; never waits.
    pub(super) fn answer(&mut self, message: Message, cx: &mut Context<'_>) {
        if self.write(message).is_ok() {
            self.answer_waits = self.poll_flush(cx).is_pending();
        }
    }

    /// The next frame, once it is whole; none when the other side has closed the connection.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, ProtocolError>>> {
        if self.answer_waits {
            self.answer_waits = self.poll_flush(cx).is_pending();
        }
        loop {
            if !self.read.is_empty() {
                match self.codec.decode(&mut self.read) {
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            if self.ended {
                return Poll::Ready(None);
            }
            tidy(&mut self.read);
            let mut space = [0; READ];
            let mut space = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut space)).map_err(ProtocolError::Io)?;
            self.ended = space.filled().is_empty();
            self.read.extend_from_slice(space.filled());
        }
    }
}

/// Lets go of the room of a buffer in which nothing waits.
fn tidy(buffer: &mut BytesMut) {
    if buffer.is_empty() {
        *buffer = BytesMut::new();
    }
}
