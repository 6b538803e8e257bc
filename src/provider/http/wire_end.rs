//! TCP whose end is not passed over in silence.
//!
//! awc takes the end of a connection in the middle of a body for the end of the body: a sentence that broke off
//! would count as spoken. So the end of a connection is made a fault of reading. A body that is complete is
//! complete before that. One case remains: a peer that closes TLS politely in the middle of a chunked body.

use actix_rt::net::{ActixStream, Ready, TcpStream};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection, Connector, ConnectorService, Resolver};
use actix_web::dev::Service;
use awc::http::Uri;
use futures_util::future::LocalBoxFuture;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What reading does when the peer has closed the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenItEnds {
    /// It fails with `UnexpectedEof`.
    Fail,
    /// It ends, as usual.
    End,
}

/// Connects as awc does, and sends small frames at once (`TCP_NODELAY`), which awc does not ask for.
#[derive(Clone)]
pub(super) struct OwnTcp {
    inner: ConnectorService,
    end: WhenItEnds,
}

impl OwnTcp {
    pub(super) fn new(end: WhenItEnds) -> Self {
        Self { inner: Connector::new(Resolver::default()).service(), end }
    }
}

impl Service<ConnectInfo<Uri>> for OwnTcp {
    type Response = Connection<Uri, Tcp>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<ConnectInfo<Uri>>::poll_ready(&self.inner, cx)
    }

    fn call(&self, request: ConnectInfo<Uri>) -> Self::Future {
        let connecting = self.inner.call(request);
        let end = self.end;
        Box::pin(async move {
            let (stream, rest) = connecting.await?.replace_io(());
            stream.set_nodelay(true).map_err(ConnectError::Io)?;
            Ok(rest.replace_io(Tcp { stream, end }).1)
        })
    }
}

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    end: WhenItEnds,
}

impl AsyncRead for Tcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let ended =
            matches!(read, Poll::Ready(Ok(()))) && buffer.filled().len() == before && buffer.remaining() > 0;
        if ended && self.end == WhenItEnds::Fail {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        read
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, data)
    }
}

impl ActixStream for Tcp {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.stream, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.stream, cx)
    }
}
