//! How often a worker thread looks at its sockets while many streams talk.
//!
//! Each stream sends a frame every 20 ms, all through the call. One by one, a hundred streams would wake their thread
//! five thousand times a second, and the waking costs more than the frames. Two things keep that cheap; neither
//! happens on a thread with few streams:
//!
//! - A thread with many streams rests for what is left of two milliseconds, as network cards moderate their interrupts,
//!   and then takes all that came. It rests only when everything that was ready has been done; a busy thread never does.
//! - A connection is left unread for as long as its call says that nothing hinges on the next frames ([`Gate`]). They
//!   wait in the socket's buffer meanwhile and are then read together.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Streams of one thread from which on it pays.
const CROWD: usize = 8;
/// What became ready by what was ready is done before a rest, to this depth: a frame that ends a turn goes from the
/// stream to the ear, to the call, to the mind and out to the model.
const HOPS: usize = 4;
/// Ticks of the wheel; a gate is shut for less than as many.
const SLOTS: usize = 256;
/// How long a tick is.
const TICK: Duration = Duration::from_millis(1);

/// Whether a connection is to be read. Shut, it keeps whoever wants to read waiting.
#[derive(Debug, Default)]
pub struct Gate {
    shut: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl Gate {
    /// Ready when the connection may be read.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.shut.get() {
            return Poll::Ready(());
        }
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Lets it be read.
    pub fn open(&self) {
        self.shut.set(false);
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

/// Lets a thread with many streams rest between frames. One a thread.
#[derive(Debug)]
pub struct Pace {
    round: Duration,
    began: Instant,
    streams: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    /// Gates by the tick at which they open, modulo [`SLOTS`].
    wheel: RefCell<Vec<Vec<Rc<Gate>>>>,
    /// The tick whose gates were opened last.
    opened: Cell<u64>,
    /// The last rest.
    rested: Cell<(Instant, Instant)>,
}

/// A stream that is counted; as long as it lives.
#[derive(Debug)]
pub struct Present(Rc<Pace>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
    }
}

impl Pace {
    /// Rounds of this length; zero: no rest, and nothing is left unread.
    pub fn new(round: Duration) -> Rc<Self> {
        let began = Instant::now();
        Rc::new(Self {
            round,
            began,
            rested: Cell::new((began, began)),
            streams: Cell::new(0),
            waker: RefCell::new(None),
            wheel: RefCell::new(vec![Vec::new(); SLOTS]),
            opened: Cell::new(0),
        })
    }

    /// Counts one stream more.
    pub fn enter(self: &Rc<Self>) -> Present {
        self.streams.set(self.streams.get().saturating_add(1));
        if self.is_crowded()
            && let Some(waker) = self.waker.borrow_mut().take()
        {
            waker.wake();
        }
        Present(Rc::clone(self))
    }

    /// Leaves a connection unread for about so long, at most a quarter of a second; opens it if that is nothing, or if
    /// the thread has few streams. What is shut already keeps its time.
    pub fn hold(&self, gate: &Rc<Gate>, patience: Duration) {
        let ticks = patience.as_millis().min(SLOTS as u128 - 1);
        if ticks == 0 || !self.is_crowded() {
            if gate.shut.get() {
                gate.open();
            }
            return;
        }
        if gate.shut.get() {
            return;
        }
        let now = self.tick(Instant::now()).max(self.opened.get());
        let mut wheel = self.wheel.borrow_mut();
        if let Some(slot) = slot_of(&mut wheel, now.saturating_add(ticks as u64)) {
            slot.push(Rc::clone(gate));
            gate.shut.set(true);
        }
    }

    /// Rests between rounds, and opens the gates that are due; never ends. One a thread.
    pub async fn run(self: Rc<Self>) {
        if self.round.is_zero() {
            return;
        }
        let mut began = Instant::now();
        loop {
            if !self.is_crowded() {
                self.open_all();
                self.crowd().await;
                began = Instant::now();
            }
            for _ in 0..HOPS {
                // Behind everything that is ready now.
                tokio::task::yield_now().await;
            }
            let rest = self.round.saturating_sub(began.elapsed());
            let from = Instant::now();
            if !rest.is_zero() {
                std::thread::sleep(rest);
            }
            began = Instant::now();
            self.rested.set((from, began));
            self.open_due(self.tick(began));
        }
    }

    /// How much of the time since then the thread has rested. A timer that is due in a rest comes right after it, so that
    /// the last rest alone can have made it late.
    pub fn rested_since(&self, then: Instant) -> Duration {
        let (from, to) = self.rested.get();
        to.saturating_duration_since(from.max(then))
    }

    fn is_crowded(&self) -> bool {
        self.streams.get() >= CROWD && !self.round.is_zero()
    }

    async fn crowd(&self) {
        poll_fn(|cx| {
            if self.is_crowded() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn tick(&self, at: Instant) -> u64 {
        let ticks = at.saturating_duration_since(self.began).as_nanos() / TICK.as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Opens what is due by this tick.
    fn open_due(&self, now: u64) {
        let mut tick = self.opened.replace(now.max(self.opened.get()));
        // After a long pause of the thread each slot is due, once.
        tick = tick.max(now.saturating_sub(SLOTS as u64));
        let mut wheel = self.wheel.borrow_mut();
        while tick < now {
            tick += 1;
            if let Some(slot) = slot_of(&mut wheel, tick) {
                slot.drain(..).for_each(|gate| gate.open());
            }
        }
    }

    fn open_all(&self) {
        self.wheel.borrow_mut().iter_mut().flat_map(|slot| slot.drain(..)).for_each(|gate| gate.open());
    }
}

fn slot_of(wheel: &mut [Vec<Rc<Gate>>], tick: u64) -> Option<&mut Vec<Rc<Gate>>> {
    wheel.get_mut(usize::try_from(tick % SLOTS as u64).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const MS: Duration = Duration::from_millis(1);

    fn crowd(pace: &Rc<Pace>, streams: usize) -> Vec<Present> {
        (0..streams).map(|_| pace.enter()).collect()
    }

    fn is_open(gate: &Rc<Gate>) -> bool {
        poll_fn(|cx| gate.poll(cx)).now_or_never().is_some()
    }

    #[test]
    fn a_connection_is_left_unread_only_on_a_thread_with_many_streams() {
        let pace = Pace::new(MS);
        let gate = Rc::default();
        let mut streams = crowd(&pace, CROWD - 1);
        pace.hold(&gate, 40 * MS);
        assert!(is_open(&gate), "few streams");
        streams.push(pace.enter());
        pace.hold(&gate, 40 * MS);
        assert!(!is_open(&gate), "many streams");
        pace.hold(&gate, Duration::ZERO);
        assert!(is_open(&gate), "something hinges on the next frame");
        drop(streams);
        pace.hold(&gate, 40 * MS);
        assert!(is_open(&gate), "they are gone");

        let never = Pace::new(Duration::ZERO);
        let _streams = crowd(&never, 100);
        never.hold(&gate, 40 * MS);
        assert!(is_open(&gate), "switched off");
    }

    #[test]
    fn a_gate_opens_at_its_time_however_late_the_thread_looks() {
        for (patience, late) in [(1, 0), (40, 0), (40, 1), (100, 200), (255, 0), (255, 10_000), (9_999, 0)] {
            let pace = Pace::new(MS);
            let _streams = crowd(&pace, CROWD);
            let gate = Rc::default();
            pace.hold(&gate, patience * MS);
            let shut = u64::from(patience.min(SLOTS as u32 - 1));
            let held_at = pace.tick(Instant::now());
            pace.open_due(shut.saturating_sub(1));
            assert!(!is_open(&gate), "{patience} ms");
            pace.open_due(held_at + shut + late);
            assert!(is_open(&gate), "{patience} ms, {late} ms late");
        }
    }

    #[test]
    fn a_gate_that_was_opened_early_may_be_shut_again_before_its_first_time() {
        let pace = Pace::new(MS);
        let _streams = crowd(&pace, CROWD);
        let gate = Rc::default();
        pace.hold(&gate, 40 * MS);
        pace.hold(&gate, Duration::ZERO);
        pace.hold(&gate, 100 * MS);
        assert!(!is_open(&gate));
        pace.open_due(pace.tick(Instant::now()) + 101);
        assert!(is_open(&gate));
    }

    #[test]
    fn only_the_part_of_a_rest_after_a_time_counts_from_then_on() {
        let pace = Pace::new(MS);
        let at = |ms: u32| pace.began + ms * MS;
        pace.rested.set((at(10), at(14)));
        for (then, want) in [(0, 4), (10, 4), (12, 2), (14, 0), (20, 0)] {
            assert_eq!(pace.rested_since(at(then)), want * MS, "{then}");
        }
    }

    #[actix::test]
    async fn whoever_waits_to_read_is_woken_and_nothing_stays_shut_when_the_crowd_leaves() {
        let pace = Pace::new(MS);
        let running = actix_rt::spawn(Rc::clone(&pace).run());
        let streams = crowd(&pace, CROWD);
        let gate = Rc::new(Gate::default());
        pace.hold(&gate, 5 * MS);
        poll_fn(|cx| gate.poll(cx)).await;
        pace.hold(&gate, 250 * MS);
        drop(streams);
        poll_fn(|cx| gate.poll(cx)).await;
        running.abort();
    }
}
