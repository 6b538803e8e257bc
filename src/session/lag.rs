//! How late each worker thread is: measured by itself, read by whoever lets calls in.

use super::pace::Pace;
use crate::domain::lag::{Lateness, PERIOD, is_stuck};
use crate::observe::metrics;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Not heard of yet.
const NEVER: u64 = u64::MAX;

/// One worker's row.
#[derive(Debug)]
struct Row {
    over: AtomicBool,
    /// When it was last heard of, ms since the table began.
    heard_ms: AtomicU64,
}

/// The table of all workers.
#[derive(Debug)]
pub struct Lags {
    limit: Duration,
    began: Instant,
    rows: Vec<Row>,
}

impl Lags {
    /// A table of so many workers. No limit (zero): none is ever too late.
    pub fn new(limit: Duration, workers: usize) -> Self {
        let row = || Row { over: AtomicBool::new(false), heard_ms: AtomicU64::new(NEVER) };
        Self { limit, began: Instant::now(), rows: (0..workers).map(|_| row()).collect() }
    }

    /// Whether a worker is too late for more callers. One is enough: a stream comes to any of them.
    pub fn lagging(&self) -> bool {
        let now = self.now();
        self.rows.iter().any(|row| {
            let heard = row.heard_ms.load(Ordering::Relaxed);
            row.over.load(Ordering::Relaxed)
                || heard != NEVER && is_stuck(self.limit, now.saturating_sub(Duration::from_millis(heard)))
        })
    }

    fn tell(&self, worker: usize, now: Duration, over: bool) {
        if let Some(row) = self.rows.get(worker) {
            if row.over.swap(over, Ordering::Relaxed) != over {
                if over {
                    tracing::warn!(worker, "a worker thread is late: no new call is let in");
                } else {
                    tracing::info!(worker, "the worker thread keeps up again");
                }
            }
            row.heard_ms.store(u64::try_from(now.as_millis()).unwrap_or(NEVER - 1), Ordering::Relaxed);
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Measures this thread, as long as the table is there; the rests of its pace are no lateness.
    pub async fn measure(table: std::sync::Weak<Self>, worker: usize, pace: Rc<Pace>) {
        let label = worker.to_string();
        let Some(limit) = table.upgrade().map(|table| table.limit) else { return };
        let mut lateness = Lateness::new(limit);
        loop {
            let due = tokio::time::Instant::now() + PERIOD;
            tokio::time::sleep_until(due).await;
            let late = due.elapsed().saturating_sub(pace.rested_since(due.into_std()));
            metrics::loop_lag(&label, late);
            let Some(table) = table.upgrade() else { return };
            let now = table.now();
            table.tell(worker, now, lateness.on(now, late));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LIMIT: Duration = Duration::from_millis(50);

    #[test]
    fn one_late_worker_is_enough_until_it_keeps_up_again() {
        let lags = Lags::new(LIMIT, 3);
        assert!(!lags.lagging(), "nobody was heard of yet");
        lags.tell(2, lags.now(), true);
        assert!(lags.lagging());
        lags.tell(2, lags.now(), false);
        assert!(!lags.lagging());
        lags.tell(7, lags.now(), true);
        assert!(!lags.lagging(), "there is no such worker");
    }

    #[test]
    fn a_worker_that_says_nothing_any_more_counts_as_late() {
        let mut lags = Lags::new(LIMIT, 2);
        lags.tell(0, Duration::ZERO, false);
        lags.tell(1, Duration::ZERO, false);
        assert!(!lags.lagging());
        lags.began -= Duration::from_secs(1);
        assert!(lags.lagging());
        lags.tell(0, lags.now(), false);
        assert!(lags.lagging(), "the other still says nothing");
        lags.tell(1, lags.now(), false);
        assert!(!lags.lagging());
        lags.limit = Duration::ZERO;
        lags.began -= Duration::from_secs(60);
        assert!(!lags.lagging(), "without a limit it is not minded");
    }

    #[actix::test]
    async fn a_thread_that_is_kept_busy_is_late_and_recovers() {
        let lags = Arc::new(Lags::new(LIMIT, 1));
        let measuring = actix_rt::spawn(Lags::measure(Arc::downgrade(&lags), 0, Pace::new(Duration::ZERO)));
        while lags.rows[0].heard_ms.load(Ordering::Relaxed) == NEVER {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while !lags.rows[0].over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(250));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(lags.lagging());
        while lags.lagging() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(lags);
        measuring.await.unwrap();
    }
}
