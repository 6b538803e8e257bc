//! A circuit breaker: a vendor that keeps failing is left alone for a while, then tried by one request.

use std::collections::VecDeque;
use std::time::Duration;

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures within `window` that open it; 0 counts as 1.
    pub failures: u32,
    /// How long a failure is remembered.
    pub window: Duration,
    /// How long it stays open before one request may try.
    pub open: Duration,
}

/// A breaker's state, for metrics and the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests go through.
    Closed,
    /// Requests are refused.
    Open,
    /// One request is out to see whether the vendor is back.
    HalfOpen,
}

/// Leave to send one request. Its result is reported with it, or it is given back unused.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Ticket {
    trial: Option<u64>,
}

#[derive(Debug)]
enum State {
    Closed { failures: VecDeque<Duration> },
    Open { since: Duration },
    HalfOpen { since: Duration, trial: u64 },
}

/// The breaker of one vendor. All times are since one and the same moment, whichever it is.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    trials: u64,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, state: State::Closed { failures: VecDeque::new() }, trials: 0 }
    }

    /// Whether a request may be sent at `now`.
    pub fn admit(&mut self, now: Duration) -> Option<Ticket> {
        match self.state {
            State::Closed { .. } => Some(Ticket { trial: None }),
            // A trial that never reports back must not lock the vendor out for good.
            State::Open { since } | State::HalfOpen { since, .. } => {
                if now.saturating_sub(since) < self.config.open {
                    return None;
                }
                self.trials = self.trials.wrapping_add(1);
                self.state = State::HalfOpen { since: now, trial: self.trials };
                Some(Ticket { trial: Some(self.trials) })
            }
        }
    }

    /// The request succeeded.
    pub fn success(&mut self, ticket: Ticket) {
        // Requests from before it opened say nothing about now.
        if self.is_current_trial(&ticket) {
            self.state = State::Closed { failures: VecDeque::new() };
        }
    }

    /// The request failed.
    pub fn failure(&mut self, ticket: Ticket, now: Duration) {
        if self.is_current_trial(&ticket) {
            self.state = State::Open { since: now };
            return;
        }
        let State::Closed { failures } = &mut self.state else { return };
        failures.push_back(now);
        while failures.front().is_some_and(|at| now.saturating_sub(*at) > self.config.window) {
            failures.pop_front();
        }
        let limit = usize::try_from(self.config.failures.max(1)).unwrap_or(usize::MAX);
        if failures.len() >= limit {
            self.state = State::Open { since: now };
        }
    }

    /// The request was cancelled by us: it tells nothing, and another may be the trial at once.
    pub fn cancelled(&mut self, ticket: Ticket, now: Duration) {
        if self.is_current_trial(&ticket) {
            self.state = State::Open { since: now.saturating_sub(self.config.open) };
        }
    }

    /// The state, as far as requests have brought it.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn is_current_trial(&self, ticket: &Ticket) -> bool {
        matches!((&self.state, ticket.trial), (State::HalfOpen { trial, .. }, Some(mine)) if *trial == mine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(BreakerConfig { failures, window: ms(1_000), open: ms(500) })
    }

    fn fail(b: &mut Breaker, at: u64) {
        let ticket = b.admit(ms(at)).unwrap();
        b.failure(ticket, ms(at));
    }

    #[test]
    fn it_opens_at_the_last_failure_within_the_window() {
        // (times of failures, limit, open afterwards)
        let table: &[(&[u64], u32, bool)] = &[
            (&[], 3, false),
            (&[0, 10], 3, false),
            (&[0, 10, 20], 3, true),
            (&[0, 10, 1_000], 3, true),
            (&[0, 10, 1_001], 3, false),
            (&[0, 900, 1_800, 2_700], 3, false),
            (&[0], 1, true),
            (&[0], 0, true),
        ];
        for (times, limit, open) in table {
            let mut b = breaker(*limit);
            for at in *times {
                fail(&mut b, *at);
            }
            assert_eq!(b.state() == BreakerState::Open, *open, "{times:?} of {limit}");
        }
    }

    #[test]
    fn one_trial_goes_out_after_the_pause_and_decides() {
        let mut b = breaker(1);
        fail(&mut b, 0);
        assert!(b.admit(ms(499)).is_none());
        let trial = b.admit(ms(500)).unwrap();
        assert_eq!(b.state(), BreakerState::HalfOpen);
        assert!(b.admit(ms(501)).is_none(), "only one at a time");
        b.failure(trial, ms(600));
        assert!(b.admit(ms(1_099)).is_none(), "the pause begins anew");
        let trial = b.admit(ms(1_100)).unwrap();
        b.success(trial);
        assert_eq!(b.state(), BreakerState::Closed);
        assert!(b.admit(ms(1_101)).is_some());
    }

    #[test]
    fn a_cancelled_trial_lets_the_next_request_try() {
        let mut b = breaker(1);
        fail(&mut b, 0);
        let trial = b.admit(ms(500)).unwrap();
        b.cancelled(trial, ms(510));
        assert!(b.admit(ms(510)).is_some());
    }

    #[test]
    fn a_request_from_before_it_opened_does_not_decide_the_trial() {
        let mut b = breaker(1);
        let old = b.admit(ms(0)).unwrap();
        let older = b.admit(ms(0)).unwrap();
        fail(&mut b, 1);
        let trial = b.admit(ms(501)).unwrap();
        b.success(old);
        assert_eq!(b.state(), BreakerState::HalfOpen);
        b.failure(older, ms(502));
        assert_eq!(b.state(), BreakerState::HalfOpen);
        b.success(trial);
        assert_eq!(b.state(), BreakerState::Closed);
    }

    #[test]
    fn a_trial_that_never_reports_does_not_lock_the_vendor_out() {
        let mut b = breaker(1);
        fail(&mut b, 0);
        let lost = b.admit(ms(500)).unwrap();
        let second = b.admit(ms(1_000)).unwrap();
        b.failure(lost, ms(1_001));
        assert_eq!(b.state(), BreakerState::HalfOpen, "the lost one decides nothing any more");
        b.success(second);
        assert_eq!(b.state(), BreakerState::Closed);
    }

    proptest! {
        #[test]
        fn a_vendor_is_never_locked_out_longer_than_the_pause(
            steps in prop::collection::vec((0u64..400, 0u8..3), 1..80), limit in 0u32..5,
        ) {
            let mut b = breaker(limit);
            let mut now = 0;
            let mut held = Vec::new();
            for (wait, what) in steps {
                now += wait;
                if let Some(ticket) = b.admit(ms(now)) {
                    held.push(ticket);
                }
                match (what, held.pop()) {
                    (0, Some(ticket)) => b.failure(ticket, ms(now)),
                    (1, Some(ticket)) => b.success(ticket),
                    (_, Some(ticket)) => held.insert(0, ticket),
                    (_, None) => {}
                }
            }
            prop_assert!(b.admit(ms(now + 500)).is_some());
        }

        #[test]
        fn within_one_pause_at_most_one_request_reaches_an_open_vendor(
            gaps in prop::collection::vec(0u64..200, 1..60),
        ) {
            let mut b = breaker(1);
            fail(&mut b, 0);
            let mut now = 0;
            let mut last_trial = 0;
            for gap in gaps {
                now += gap;
                if let Some(ticket) = b.admit(ms(now)) {
                    prop_assert!(now - last_trial >= 500);
                    last_trial = now;
                    b.failure(ticket, ms(now));
                }
            }
        }
    }
}
