//! The queue's questions, for a look at how the database goes about them.

use super::leasing::{due, next_due};
use super::settling::{change_summary, end};
use super::*;

/// What the runner and the staff ask of the queue, none of it changing anything: for a look at how the database goes about
/// it.
pub(in crate::db) fn ask_everything(conn: &mut AnyConnection, now: UnixMillis) -> Result<(), DbError> {
    for place in [None, Some("here")] {
        for state in [JobState::Queued, JobState::Leased] {
            due(conn, state, place, now, 20)?;
        }
        next_due(conn, place)?;
    }
    for state in
        [None, Some(JobState::Queued), Some(JobState::Leased), Some(JobState::Done), Some(JobState::Dead)]
    {
        let first = list(conn, JobQuery { state, below: None, limit: 50 })?;
        let below = first.last().map(|job| job.id);
        list(conn, JobQuery { state, below, limit: 50 })?;
    }
    let nobodys = JobLease { id: -1, attempt: 1, owner: "nobody".to_owned() };
    end(conn, &nobodys, JobState::Done, None, now)?;
    requeue(conn, &nobodys, now, "")?;
    renew(conn, &nobodys, now)?;
    bury(conn, &nobodys, "", now)?;
    release(conn, Some("nobody"), now)?;
    retry(conn, -1, now)?;
    remove(conn, -1)?;
    done_by_others(conn, "summary:none")?;
    change_summary(conn, "summary:none", "failed", "pending")
}
