//! How often a worker thread looks at its sockets while many streams talk.
//!
//! Each stream sends a frame every 20 ms. With a hundred of them a thread would fall asleep and be woken several
//! thousand times a second for one frame each, and the waking costs more than the frame. So, as network cards moderate
//! their interrupts, a thread that has just handled frames of several streams rests for what is left of a millisecond
//! and then takes all that came meanwhile. It rests only when everything that was ready has been done, so no task is
//! held up; with few streams, or when it is busy anyway, it never does.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Frames in one round from which on resting pays.
const CROWD: u32 = 2;

/// Counts a thread's frames and lets it rest between them.
#[derive(Debug, Default)]
pub struct Pace {
    frames: Cell<u32>,
    waker: RefCell<Option<Waker>>,
}

impl Pace {
    /// A frame was handled.
    pub fn frame(&self) {
        self.frames.set(self.frames.get().saturating_add(1));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Rests between rounds of frames that are shorter than `round`; never ends. One a thread.
    pub async fn run(self: Rc<Self>, round: Duration) {
        if round.is_zero() {
            return;
        }
        let mut began = Instant::now();
        loop {
            self.next_frame().await;
            // Behind everything that is ready now, and what becomes ready by that.
            tokio::task::yield_now().await;
            let rest = rest(self.frames.take(), began.elapsed(), round);
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
            began = Instant::now();
        }
    }

    async fn next_frame(&self) {
        poll_fn(|cx| {
            if self.frames.get() > 0 {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// How long to rest after `frames` were handled in a round that has taken `busy`.
fn rest(frames: u32, busy: Duration, round: Duration) -> Duration {
    if frames < CROWD { Duration::ZERO } else { round.saturating_sub(busy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_crowd_is_rested_for_and_a_busy_thread_never_rests() {
        let us = Duration::from_micros;
        for (frames, busy, expected) in
            [(1, 100, 0), (2, 100, 900), (50, 999, 1), (50, 1_000, 0), (500, 20_000, 0)]
        {
            assert_eq!(rest(frames, us(busy), us(1_000)), us(expected), "{frames} frames in {busy} µs");
        }
    }

    #[actix::test]
    async fn frames_are_counted_between_rests_and_nothing_is_forgotten() {
        let pace = Rc::new(Pace::default());
        let running = actix_rt::spawn(Rc::clone(&pace).run(Duration::from_micros(200)));
        for _ in 0..20 {
            (0..5).for_each(|_| pace.frame());
            while pace.frames.get() > 0 {
                tokio::task::yield_now().await;
            }
        }
        running.abort();
    }
}
