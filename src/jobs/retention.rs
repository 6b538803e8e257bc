//! Deletes what has been kept long enough.

use crate::config::retention::RetentionConfig;
use crate::db::{Aged, DbError, DbHandle, RETENTION_BATCH};
use crate::domain::time::UnixMillis;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::time::Duration;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Between two batches, so that the calls' own writes come through.
const BREATH: Duration = Duration::from_millis(20);

/// Where recordings lie, for whoever deletes old ones.
pub trait Recordings {
    /// Deletes the recordings of calls that ended before a time; says how many that were, or a stable code. Asked for
    /// before the calls themselves go.
    fn delete_before(&self, ended_before: UnixMillis) -> LocalBoxFuture<'static, Result<u64, String>>;
}

/// What is kept how long.
pub struct Retention {
    config: RetentionConfig,
    recordings: Option<Rc<dyn Recordings>>,
}

/// Why the work was not finished.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The recordings could not be deleted; a stable code.
    #[error("recordings: {0}")]
    Recordings(String),
}

/// The time before which things have been kept long enough; none if they are kept for ever.
pub fn cut_off(now: UnixMillis, days: u32) -> Option<UnixMillis> {
    (days > 0).then(|| UnixMillis(now.0.saturating_sub(i64::from(days).saturating_mul(DAY_MS))))
}

impl Retention {
    /// By these settings; without `recordings`, none are deleted.
    pub fn new(config: RetentionConfig, recordings: Option<Rc<dyn Recordings>>) -> Self {
        Self { config, recordings }
    }

    /// Deletes what is too old by now. Begun anew after a failure, it goes on where it was.
    pub async fn run(&self, db: &DbHandle, now: UnixMillis) -> Result<(), Unfinished> {
        let calls = cut_off(now, self.config.calls_days);
        // A call's recording goes with it at the latest.
        let recordings = cut_off(now, self.config.recordings_days).max(calls);
        if let (Some(store), Some(before)) = (&self.recordings, recordings) {
            let gone = store.delete_before(before).await.map_err(Unfinished::Recordings)?;
            tracing::info!(gone, "old recordings deleted");
        }
        for (what, before) in [
            (Aged::Calls, calls),
            (Aged::Events, cut_off(now, self.config.audit_days)),
            (Aged::Jobs, cut_off(now, self.config.jobs_days)),
            (Aged::Holds, Some(now)),
            (Aged::SignIns, Some(now)),
        ] {
            let Some(before) = before else { continue };
            let mut gone = 0;
            loop {
                let batch = db.delete_aged(what, before).await?;
                gone += batch;
                if batch < RETENTION_BATCH as usize {
                    break;
                }
                tokio::time::sleep(BREATH).await;
            }
            if gone > 0 {
                tracing::info!(?what, gone, "old data deleted");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_too_old_where_things_are_kept_for_ever() {
        assert_eq!(cut_off(UnixMillis(10 * DAY_MS), 0), None);
        assert_eq!(cut_off(UnixMillis(10 * DAY_MS), 3), Some(UnixMillis(7 * DAY_MS)));
        assert_eq!(cut_off(UnixMillis(i64::MIN), u32::MAX), Some(UnixMillis(i64::MIN)));
    }
}
