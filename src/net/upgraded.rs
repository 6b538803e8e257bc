//! One connection that has left HTTP: its request's body is what comes, its response's body is what goes.

use actix_codec::{Encoder as _, Framed};
use actix_http::body::{BoxBody, MessageBody};
use actix_http::error::PayloadError;
use actix_http::h1::{Codec, Message};
use actix_http::{ConnectionType, Payload, Request, Response, StatusCode};
use actix_service::Service;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

/// Most that is read at one go, in bytes.
const MOST_READ: usize = 16 << 10;
/// Most that may wait for a peer which does not read, in bytes; then nothing more is asked of whoever writes.
const MOST_WAITING: usize = 64 << 10;
/// How long a peer that was refused is read from, so that it sees why. A socket closed over unread bytes is reset.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// What is read lies here for a moment, so that no connection keeps room for what may come.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST_READ].into_boxed_slice());
}

/// A connection, and what was read of it that nobody has taken.
#[derive(Debug)]
pub(super) struct Connection<T> {
    io: T,
    codec: Codec,
    early: BytesMut,
    /// What is to be written before anything else: answers to requests that came before this one on the connection.
    before: BytesMut,
    ended: bool,
    /// Whether the answer is still waited for; until then the connection is read ahead.
    answering: bool,
    /// Whoever wants to read while it is, perhaps on another task.
    reader: Option<Waker>,
}

/// What came of looking ahead.
enum Ahead {
    Data,
    Gone,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    /// The connection of a request whose head was read.
    pub(super) fn new(framed: Framed<T, Codec>) -> Self {
        let parts = framed.into_parts();
        // A copy: what was read ahead with the head is a few bytes in a buffer of kilobytes.
        let early = BytesMut::from(parts.read_buf.as_ref());
        Self {
            io: parts.io,
            codec: parts.codec,
            early,
            before: parts.write_buf,
            ended: false,
            answering: true,
            reader: None,
        }
    }

    /// Reads once; nothing is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
        })
    }

    /// Reads what nobody has asked for yet, to learn whether the peer has gone.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Ahead> {
        if self.ended || self.early.len() >= MOST_READ {
            return Poll::Pending;
        }
        let read = ready!(self.poll_read(cx));
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        match read {
            Ok(bytes) if !bytes.is_empty() => {
                self.early.extend_from_slice(&bytes);
                Poll::Ready(Ahead::Data)
            }
            _ => {
                self.ended = true;
                Poll::Ready(Ahead::Gone)
            }
        }
    }

    /// The answer is there: from now on only the body's reader reads.
    fn answered(&mut self) {
        self.answering = false;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        if !self.early.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.early).freeze())));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(read) = self.poll_read(cx) else {
            if self.answering {
                self.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        };
        self.ended = !read.as_ref().is_ok_and(|bytes| !bytes.is_empty());
        Poll::Ready(match read {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(bytes)),
            Err(error) => Some(Err(PayloadError::Io(error))),
        })
    }

    /// Writes of `waiting` what the connection takes; ready when that is all of it.
    fn poll_write(&mut self, cx: &mut Context<'_>, waiting: &mut Waiting) -> Poll<io::Result<()>> {
        while !waiting.bytes.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &waiting.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            waiting.bytes.advance(written);
            waiting.unflushed = true;
        }
        if waiting.unflushed {
            // What TLS has made of it may wait there.
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            waiting.unflushed = false;
            waiting.bytes = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What is to be written.
#[derive(Default)]
struct Waiting {
    bytes: BytesMut,
    unflushed: bool,
}

impl Waiting {
    fn add(&mut self, bytes: Bytes) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::from(bytes);
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
    }
}

/// The request's body. It shares the connection with whoever writes, on the same task.
struct Incoming<T>(Rc<RefCell<Connection<T>>>);

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for Incoming<T> {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll_next(cx)
    }
}

/// Has the application answer a request, and carries both bodies until one side ends.
pub(super) async fn hand_over<T, S, B>(application: &S, request: Request, connection: Connection<T>)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request>,
    S::Error: Into<Response<BoxBody>>,
    S::Response: Into<Response<B>>,
    B: MessageBody + 'static,
{
    let connection = Rc::new(RefCell::new(connection));
    let incoming = Payload::Stream { payload: Box::pin(Incoming(Rc::clone(&connection))) as Pin<Box<_>> };
    let (request, _) = request.replace_payload(incoming);
    let answer = {
        let mut answering = pin!(application.call(request));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
                    return Poll::Ready(Some(answer));
                }
                // Whoever hangs up before the answer frees the request at once.
                match ready!(connection.borrow_mut().poll_ahead(cx)) {
                    Ahead::Data => {}
                    Ahead::Gone => return Poll::Ready(None),
                }
            }
        })
        .await
    };
    connection.borrow_mut().answered();
    let response = match answer {
        Some(Ok(response)) => response.into().map_into_boxed_body(),
        Some(Err(error)) => error.into(),
        None => return,
    };
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let (mut head, body) = response.into_parts();
    if !upgraded {
        head.head_mut().set_connection_type(ConnectionType::Close);
        // Its end is the connection's. The codec would announce chunks and write none: it takes the request for upgraded.
        head.head_mut().no_chunking(true);
    }
    let before = std::mem::take(&mut connection.borrow_mut().before);
    let mut waiting = Waiting { bytes: before, unflushed: false };
    let size = body.size();
    if connection.borrow_mut().codec.encode(Message::Item((head, size)), &mut waiting.bytes).is_err() {
        return;
    }
    if upgraded {
        // A connection that breaks is told by the end of the request's body.
        if carry(&connection, body, waiting, Coding::None).await.is_ok() {
            // What has come is read, and nothing is waited for: a socket closed over unread bytes is reset.
            let _ = poll_fn(|cx| read_to_the_end(&connection, cx)).now_or_never();
        }
    } else if carry(&connection, body, waiting, Coding::Http).await.is_ok() {
        let _ = timeout(LINGER, poll_fn(|cx| read_to_the_end(&connection, cx))).await;
    }
}

/// How the pieces of a body are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// As they are.
    None,
    /// As HTTP says.
    Http,
}

/// Writes a body to its end, and ends the connection's direction to the peer.
async fn carry<T>(
    connection: &RefCell<Connection<T>>,
    body: BoxBody,
    mut waiting: Waiting,
    coding: Coding,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut body = pin!(body);
    poll_fn(|cx| {
        loop {
            let written = connection.borrow_mut().poll_write(cx, &mut waiting)?;
            if written.is_pending() && waiting.bytes.len() >= MOST_WAITING {
                return Poll::Pending;
            }
            // Not borrowed here: the body reads the request's.
            match body.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) if coding == Coding::None => waiting.add(bytes),
                Poll::Ready(Some(Ok(bytes))) => {
                    let chunk = Message::Chunk(Some(bytes));
                    connection.borrow_mut().codec.encode(chunk, &mut waiting.bytes)?;
                }
                // Whoever writes wants the connection to break.
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await?;
    if coding == Coding::Http {
        connection.borrow_mut().codec.encode(Message::Chunk(None), &mut waiting.bytes)?;
    }
    poll_fn(|cx| connection.borrow_mut().poll_write(cx, &mut waiting)).await?;
    poll_fn(|cx| connection.borrow_mut().poll_shutdown(cx)).await
}

fn read_to_the_end<T: AsyncRead + AsyncWrite + Unpin>(
    connection: &RefCell<Connection<T>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        match ready!(connection.borrow_mut().poll_next(cx)) {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Poll::Ready(()),
        }
    }
}

#[cfg(test)]
mod tests;
