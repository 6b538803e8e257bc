//! A wire that can be cut: a TCP proxy between one replica and what it shares with the others. It needs no rights that
//! an ordinary user lacks.

use std::io;
use std::net::{SocketAddr, TcpListener};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

/// Bytes taken at once.
const PIECE: usize = 16 << 10;

/// How a wire behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Everything passes.
    Open,
    /// Connections stay as they are, new ones are taken, and no byte passes: as when packets are dropped.
    Held,
    /// Connections are broken, and new ones at once: as when nobody listens.
    Cut,
}

/// A wire. It is gone with the value.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Wire {
    /// Lays one to `target`, on a thread of its own: what it carries must not wait for whoever holds it.
    ///
    /// # Errors
    /// When the port or the thread cannot be had.
    pub fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (way, seen) = watch::channel(Way::Open);
        std::thread::Builder::new()
            .name("drill-wire".to_owned())
            .spawn(move || actix_web::rt::System::new().block_on(listen(listener, target, seen)))?;
        Ok(Self { address, way })
    }

    /// Where its near end is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves so from now on.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn listen(listener: TcpListener, target: SocketAddr, way: watch::Receiver<Way>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a wire has no runtime");
            return;
        }
    };
    let mut end = way.clone();
    loop {
        tokio::select! {
            changed = end.changed() => if changed.is_err() {
                return;
            },
            accepted = listener.accept() => if let Ok((near, _)) = accepted {
                actix_rt::spawn(carry(near, target, way.clone()));
            },
        }
    }
}

/// One connection.
async fn carry(near: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) {
    if !is_passable(&mut way).await {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    for end in [&near, &far] {
        if let Err(error) = end.set_nodelay(true) {
            tracing::debug!(%error, "a wire's end delays");
        }
    }
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::join!(pump(near_in, far_out, way.clone()), pump(far_in, near_out, way));
}

/// Waits while bytes are held; false if the wire is cut.
async fn is_passable(way: &mut watch::Receiver<Way>) -> bool {
    let passed = way.wait_for(|way| *way != Way::Held).await;
    passed.is_ok_and(|way| *way == Way::Open)
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; PIECE];
    loop {
        if !is_passable(&mut way).await {
            return;
        }
        let read = tokio::select! {
            changed = way.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            read = from.read(&mut buffer) => read,
        };
        let Ok(1..) = read else { break };
        // What was read when the wire was held does not pass either.
        if !is_passable(&mut way).await {
            return;
        }
        let piece = read.ok().and_then(|length| buffer.get(..length)).unwrap_or_default();
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
    // The other direction may still have something to say.
    if let Err(error) = to.shutdown().await {
        tracing::trace!(%error, "a wire's end was gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const LONG: Duration = Duration::from_secs(10);

    /// Answers every byte with itself.
    async fn echo() -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        actix_rt::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                actix_rt::spawn(async move {
                    let (mut read, mut write) = socket.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    #[actix::test]
    async fn a_wire_carries_then_holds_then_goes_on_where_it_was() {
        let wire = Wire::to(echo().await).unwrap();
        let mut socket = TcpStream::connect(wire.address()).await.unwrap();
        let mut got = [0; 3];
        socket.write_all(b"one").await.unwrap();
        timeout(LONG, socket.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(&got, b"one");
        wire.set(Way::Held);
        socket.write_all(b"two").await.unwrap();
        let held = timeout(Duration::from_millis(300), socket.read_exact(&mut got)).await;
        assert!(held.is_err(), "a held wire lets {got:?} pass");
        wire.set(Way::Open);
        timeout(LONG, socket.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(&got, b"two");
    }

    #[actix::test]
    async fn a_cut_wire_breaks_connections_and_takes_none_until_it_is_mended() {
        let wire = Wire::to(echo().await).unwrap();
        let mut socket = TcpStream::connect(wire.address()).await.unwrap();
        let mut got = [0; 1];
        socket.write_all(b"x").await.unwrap();
        timeout(LONG, socket.read_exact(&mut got)).await.unwrap().unwrap();
        wire.set(Way::Cut);
        assert!(matches!(timeout(LONG, socket.read(&mut got)).await.unwrap(), Ok(0) | Err(_)));
        let mut next = TcpStream::connect(wire.address()).await.unwrap();
        assert!(matches!(timeout(LONG, next.read(&mut got)).await.unwrap(), Ok(0) | Err(_)));
        wire.set(Way::Open);
        let mut mended = TcpStream::connect(wire.address()).await.unwrap();
        mended.write_all(b"y").await.unwrap();
        timeout(LONG, mended.read_exact(&mut got)).await.unwrap().unwrap();
        assert_eq!(&got, b"y");
    }
}
