//! How late the simulator's own ticks are, in buckets of 0.1 ms. Pure.

use std::time::Duration;

use super::report::LagReport;

/// Buckets: two seconds; later ticks fall into the last.
const BUCKETS: usize = 20_000;
/// Microseconds of a bucket.
const BUCKET_US: u128 = 100;

/// Counts how late ticks were.
#[derive(Debug, Clone, Default)]
pub struct Lag {
    buckets: Vec<u32>,
    ticks: u64,
    max: Duration,
}

impl Lag {
    /// Notes one tick.
    pub fn record(&mut self, late: Duration) {
        if self.buckets.is_empty() {
            self.buckets.resize(BUCKETS, 0);
        }
        let index = usize::try_from(late.as_micros() / BUCKET_US).unwrap_or(BUCKETS).min(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket = bucket.saturating_add(1);
        }
        self.ticks += 1;
        self.max = self.max.max(late);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            self.buckets.resize(BUCKETS, 0);
        }
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket = bucket.saturating_add(*more);
        }
        self.ticks += other.ticks;
        self.max = self.max.max(other.max);
    }

    /// The figures; each percentile is the upper end of its bucket.
    #[must_use]
    pub fn report(&self) -> LagReport {
        let max_ms = self.max.as_secs_f64() * 1_000.0;
        let at = |share: f64| {
            let rank = (share * self.ticks as f64).ceil().max(1.0) as u64;
            let mut seen = 0;
            for (index, &count) in self.buckets.iter().enumerate() {
                seen += u64::from(count);
                if seen >= rank {
                    return ((index + 1) as f64 / 10.0).min(max_ms);
                }
            }
            0.0
        };
        LagReport { ticks: self.ticks, p50_ms: at(0.5), p99_ms: at(0.99), max_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_the_buckets() {
        let mut lag = Lag::default();
        assert_eq!(lag.report(), LagReport::default());
        for n in 0..100 {
            lag.record(Duration::from_micros(n * 1_000 + 50));
        }
        let report = lag.report();
        assert_eq!(report.ticks, 100);
        assert!((report.p50_ms - 49.1).abs() < 0.01, "{report:?}");
        assert!((report.p99_ms - 98.1).abs() < 0.01, "{report:?}");
        let mut both = Lag::default();
        both.merge(&lag);
        both.record(Duration::from_secs(60));
        assert_eq!(both.report().ticks, 101);
        assert_eq!(both.report().max_ms, 60_000.0);
    }
}
