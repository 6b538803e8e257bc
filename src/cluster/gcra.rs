//! A limit as the generic cell rate algorithm has it: one number a key, the time at which all of it is there again.
//! The script for Redis counts the same way.

use std::time::Duration;

/// How much of something there is for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// So many at once; at least one.
    pub units: u32,
    /// The time after which all of them are there again.
    pub per: Duration,
}

impl Quota {
    /// So many a minute.
    pub fn per_minute(units: u32) -> Self {
        Self { units, per: Duration::from_secs(60) }
    }

    /// The time after which one unit comes back, in microseconds.
    pub(super) fn interval_us(self) -> u64 {
        let per = u64::try_from(self.per.as_micros()).unwrap_or(u64::MAX);
        (per / u64::from(self.units.max(1))).max(1)
    }

    /// How far ahead of time units may be taken, in microseconds.
    pub(super) fn ahead_us(self) -> u64 {
        self.interval_us().saturating_mul(u64::from(self.units.max(1)).saturating_sub(1))
    }
}

/// Whether there was a unit left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There was; it is taken.
    Granted,
    /// There was none; the next one comes after this time.
    Refused(Duration),
}

/// Takes a unit of a key at `now`, in microseconds. `full` is when all of it is there again.
pub(super) fn take(full: &mut u64, now: u64, quota: Quota) -> Verdict {
    let from = (*full).max(now);
    let wait = from.saturating_sub(now).saturating_sub(quota.ahead_us());
    if wait > 0 {
        return Verdict::Refused(Duration::from_micros(wait));
    }
    *full = from.saturating_add(quota.interval_us());
    Verdict::Granted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_limit_is_spent_and_comes_back_one_by_one() {
        let quota = Quota { units: 3, per: Duration::from_micros(30) };
        let mut full = 0;
        let mut at = |now| take(&mut full, now, quota);
        assert_eq!([at(100), at(100), at(100)], [Verdict::Granted; 3]);
        assert_eq!(at(100), Verdict::Refused(Duration::from_micros(10)));
        assert_eq!(at(109), Verdict::Refused(Duration::from_micros(1)));
        assert_eq!(at(110), Verdict::Granted);
        assert_eq!(at(110), Verdict::Refused(Duration::from_micros(10)));
        assert_eq!([at(500), at(500), at(500)], [Verdict::Granted; 3]);
    }

    #[test]
    fn no_quota_divides_by_nothing() {
        for quota in [
            Quota { units: 0, per: Duration::ZERO },
            Quota { units: u32::MAX, per: Duration::from_micros(1) },
            Quota { units: 1, per: Duration::MAX },
        ] {
            assert_eq!(take(&mut 0, 1, quota), Verdict::Granted, "{quota:?}");
        }
    }

    proptest! {
        #[test]
        fn no_window_holds_more_than_twice_the_quota(
            units in 1_u32..20,
            steps in proptest::collection::vec(0_u64..50_000, 1..300),
        ) {
            let quota = Quota { units, per: Duration::from_millis(100) };
            let (mut full, mut now, mut granted) = (0, 1, Vec::new());
            for step in steps {
                now += step;
                if take(&mut full, now, quota) == Verdict::Granted {
                    granted.push(now);
                }
            }
            for (i, from) in granted.iter().enumerate() {
                let within = granted.iter().skip(i).take_while(|at| *at - from < 100_000).count();
                prop_assert!(within <= 2 * units as usize, "{within} of {units}");
            }
        }
    }
}
