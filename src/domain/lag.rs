//! When a thread is too late for more callers.
//!
//! Judged by the mean of its lateness over about a second, in which each sample counts for the time it stands for: one
//! hiccup is no reason to send a caller away, a thread that is late all the time is. Of one sample at most four times the
//! limit counts. Once over the limit, the mean has to fall to half of it before calls are let in again: otherwise a
//! thread at its limit would let in and refuse by turns.

use std::time::Duration;

/// How often lateness is measured.
pub const PERIOD: Duration = Duration::from_millis(100);
/// The time over which the mean forgets.
const WINDOW: Duration = Duration::from_secs(1);
/// As many limits count of one sample, and are waited for a thread that says nothing.
const WORST: u32 = 4;

/// How late one thread has been.
#[derive(Clone, Debug)]
pub struct Lateness {
    limit: Duration,
    /// ms.
    mean: f64,
    at: Duration,
    over: bool,
}

impl Lateness {
    /// A thread that was not late yet. No limit (zero): it never is.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, mean: 0.0, at: Duration::ZERO, over: false }
    }

    /// At `now`, on any clock that begins with zero, a timer was so late. Says whether the thread is too late for more
    /// callers.
    pub fn on(&mut self, now: Duration, late: Duration) -> bool {
        let since = now.saturating_sub(self.at);
        self.at = now;
        if self.limit.is_zero() {
            return false;
        }
        let weight = 1.0 - (-since.as_secs_f64() / WINDOW.as_secs_f64()).exp();
        self.mean += (ms(late.min(self.limit.saturating_mul(WORST))) - self.mean) * weight;
        let bound = if self.over { ms(self.limit) / 2.0 } else { ms(self.limit) };
        self.over = self.mean > bound;
        self.over
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64((self.mean / 1_000.0).max(0.0))
    }
}

/// Whether a thread that was last heard of so long ago is stuck now.
pub fn is_stuck(limit: Duration, silent_for: Duration) -> bool {
    !limit.is_zero() && silent_for > PERIOD.saturating_add(limit.saturating_mul(WORST))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    /// The verdicts of samples that come every 100 ms plus their lateness.
    fn verdicts(limit: Duration, late_ms: &[u64]) -> Vec<bool> {
        let (mut lateness, mut now) = (Lateness::new(limit), Duration::ZERO);
        late_ms
            .iter()
            .map(|ms| {
                let late = Duration::from_millis(*ms);
                now += PERIOD + late;
                lateness.on(now, late)
            })
            .collect()
    }

    fn first_over(late_ms: &[u64]) -> Option<usize> {
        verdicts(LIMIT, late_ms).iter().position(|over| *over)
    }

    #[test]
    fn one_hiccup_sends_nobody_away_and_steady_lateness_does() {
        // lateness of each sample, ms → the first sample after which calls are refused
        let calm = [1_u64; 40];
        let mut hiccup = calm;
        hiccup[20] = 180;
        for (samples, want) in [
            (&calm[..], None),
            (&[49; 40], None),
            (&hiccup, None),
            (&[60; 40], Some(11)),
            (&[100; 40], Some(3)),
            (&[200; 40], Some(0)),
            // Half a second without a sign of life is no hiccup any more.
            (&[1, 1, 500], Some(2)),
        ] {
            assert_eq!(first_over(samples), want, "{samples:?}");
        }
    }

    #[test]
    fn calls_are_let_in_again_only_well_below_the_limit() {
        let mut samples = vec![100; 20];
        samples.extend([40; 40]);
        let over = verdicts(LIMIT, &samples);
        assert!(over[59], "40 ms are below the limit, but not below half of it");
        samples.extend([5; 40]);
        let over = verdicts(LIMIT, &samples);
        let again = over.iter().skip(60).position(|over| !over).unwrap();
        assert!((3..15).contains(&again), "{again} samples of 105 ms later");
        assert!(over.iter().skip(60 + again).all(|over| !over), "no flapping");
    }

    #[test]
    fn however_late_once_was_it_is_forgotten_in_seconds() {
        let mut samples = vec![60_000];
        samples.extend([0; 40]);
        let over = verdicts(LIMIT, &samples);
        assert!(over[0]);
        let again = over.iter().position(|over| !over).unwrap();
        assert!(again <= 22, "{again} samples");
    }

    #[test]
    fn without_a_limit_nothing_is_too_late() {
        assert!(verdicts(Duration::ZERO, &[10_000; 20]).iter().all(|over| !over));
        assert!(!is_stuck(Duration::ZERO, Duration::from_secs(60)));
    }

    #[test]
    fn a_thread_that_says_nothing_is_stuck_after_four_limits() {
        for (silent_ms, stuck) in [(0, false), (299, false), (300, false), (301, true), (60_000, true)] {
            assert_eq!(is_stuck(LIMIT, Duration::from_millis(silent_ms)), stuck, "{silent_ms}");
        }
    }
}
