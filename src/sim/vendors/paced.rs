//! Response bodies that come piece by piece at their times, and break where a fault says so.

use crate::sim::controls::InFlight;
use crate::sim::faults::{After, Struck};
use actix_web::web::Bytes;
use futures_util::Stream;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// Long enough for what was sent to reach the wire before the connection is dropped.
const FLUSH: Duration = Duration::from_millis(5);

struct Body<I> {
    pieces: I,
    held: Option<(Duration, Bytes)>,
    began: Instant,
    slow: Duration,
    cut: Option<After>,
    stall: Option<After>,
    cut_now: watch::Receiver<u64>,
    flight: Option<InFlight>,
    bytes: u64,
    messages: u64,
}

enum Step {
    Piece(Bytes),
    Cut,
    End,
}

/// A body of pieces, each due at a time since now. Counts as answered when the last one is taken.
pub(crate) fn body<I>(
    pieces: I,
    struck: &Struck,
    flight: InFlight,
) -> impl Stream<Item = Result<Bytes, io::Error>> + 'static
where
    I: Iterator<Item = (Duration, Bytes)> + 'static,
{
    let body = Body {
        pieces,
        held: None,
        began: Instant::now(),
        slow: struck.slow,
        cut: struck.cut,
        stall: struck.stall,
        cut_now: flight.controls().watch_cut(flight.service()),
        flight: Some(flight),
        bytes: 0,
        messages: 0,
    };
    futures_util::stream::unfold(Some(body), async |body| {
        let mut body = body?;
        match body.step().await {
            Step::Piece(piece) => Some((Ok(piece), Some(body))),
            Step::Cut => {
                sleep(FLUSH).await;
                Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
            }
            Step::End => {
                if let Some(flight) = body.flight.take() {
                    flight.finish();
                }
                None
            }
        }
    })
}

/// Waits until the service's connections are cut.
pub(crate) async fn until_cut(cut_now: &mut watch::Receiver<u64>) {
    if cut_now.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl<I: Iterator<Item = (Duration, Bytes)>> Body<I> {
    fn reached(&self, limit: Option<After>) -> bool {
        limit.is_some_and(|limit| limit.reached(self.bytes, self.messages, self.began.elapsed()))
    }

    async fn step(&mut self) -> Step {
        loop {
            if self.reached(self.cut) {
                return Step::Cut;
            }
            if self.reached(self.stall) {
                until_cut(&mut self.cut_now).await;
                return Step::Cut;
            }
            let Some((due, piece)) = self.held.take().or_else(|| self.pieces.next()) else {
                return Step::End;
            };
            let ordinal = u32::try_from(self.messages).unwrap_or(u32::MAX).saturating_add(1);
            let at = self.began + due + self.slow.saturating_mul(ordinal).min(Duration::from_secs(86_400));
            let limit = [self.cut, self.stall]
                .into_iter()
                .flatten()
                .filter_map(|after| after.ms)
                .min()
                .map(|ms| self.began + Duration::from_millis(ms));
            let wake = limit.map_or(at, |limit| limit.min(at));
            if wake > Instant::now() {
                tokio::select! {
                    () = sleep_until(wake) => {}
                    () = until_cut(&mut self.cut_now) => return Step::Cut,
                }
            }
            if wake < at {
                self.held = Some((due, piece));
                continue;
            }
            return Step::Piece(self.take(due, piece));
        }
    }

    /// The piece, or as much of it as comes before a byte limit.
    fn take(&mut self, due: Duration, mut piece: Bytes) -> Bytes {
        let limit = [self.cut, self.stall].into_iter().flatten().filter_map(|after| after.bytes).min();
        if let Some(left) = limit.map(|limit| limit.saturating_sub(self.bytes))
            && let Ok(left) = usize::try_from(left)
            && left < piece.len()
        {
            let rest = piece.split_off(left);
            self.held = Some((due, rest));
        }
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        self.messages = self.messages.saturating_add(1);
        if let Some(flight) = &self.flight {
            flight.controls().sent(flight.service(), piece.len());
        }
        piece
    }
}
