//! Jobs: queued in the transaction that causes them, leased by one process at a time, done in the transaction that
//! keeps what they brought about.

mod ask;
mod callback;
mod leasing;
mod settling;
mod staff;

pub(super) use ask::ask_everything;

use super::connect::{AnyConnection, on_either, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::jobs;
use crate::domain::ids::CallSid;
use crate::domain::insight::Insight;
use crate::domain::job::{JobKind, JobState};
use crate::domain::time::UnixMillis;
use crate::domain::usage::Used;
use diesel::prelude::*;
use leasing::lease;
use serde_json::Value;
use settling::{bury, complete, release, renew, requeue};
use staff::{JobRow, list, remove, retry};

/// Longest failure that is kept, in characters.
const ERROR_CHARS: usize = 300;

const NO_OWNER: Option<&str> = None;
const NO_TIME: Option<i64> = None;

/// A job to be queued.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// What is to be done.
    pub kind: JobKind,
    /// Names the work: a second job with the same key is not queued.
    pub key: String,
    /// What the work needs to know.
    pub payload: Value,
    /// When it is due.
    pub due: UnixMillis,
    /// Now.
    pub now: UnixMillis,
    /// Where it has to be done, if not anywhere.
    pub place: Option<String>,
}

impl NewJob {
    /// A job about one call, due at once.
    pub(super) fn of_call(kind: JobKind, sid: &CallSid, now: UnixMillis) -> Self {
        let payload = serde_json::json!({ "call_sid": sid });
        Self { kind, key: format!("{kind}:{sid}"), payload, due: now, now, place: None }
    }

    /// The upload of a recording that lies at a place.
    fn upload(sid: &CallSid, location: &str, place: &str, now: UnixMillis) -> Self {
        let kind = JobKind::Upload;
        let payload = serde_json::json!({ "call_sid": sid, "location": location });
        Self {
            kind,
            key: format!("{kind}:{location}"),
            payload,
            due: now,
            now,
            place: Some(place.to_owned()),
        }
    }
}

/// One attempt at a job: whoever shows it may settle the job, until another attempt began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLease {
    /// The job.
    pub id: i64,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Who makes it.
    pub owner: String,
}

/// A job that is ours for a while.
#[derive(Clone, Debug)]
pub struct LeasedJob {
    /// The right to settle it.
    pub lease: JobLease,
    /// What is to be done.
    pub kind: JobKind,
    /// Its key.
    pub key: String,
    /// What the work needs to know.
    pub payload: Value,
}

/// What a look at the queue brought.
#[derive(Clone, Debug, Default)]
pub struct LeasedJobs {
    /// Jobs that are ours now, the longest due first.
    pub jobs: Vec<LeasedJob>,
    /// When the next one of the others is due, or its lease lapses.
    pub next_due: Option<UnixMillis>,
}

/// What a job brought about; kept in the transaction that marks it as done.
#[derive(Clone, Debug)]
pub enum JobEffect {
    /// Nothing, or it is kept already.
    Nothing,
    /// Nothing yet: it was too early. The attempt does not count.
    Later {
        /// When it is worth another look.
        at: UnixMillis,
    },
    /// A call's summary.
    Summary {
        /// Which call.
        sid: CallSid,
        /// The summary.
        text: String,
        /// What was understood beside it, if that could be told.
        insight: Option<Insight>,
        /// The model that wrote it.
        model: String,
        /// What it used.
        used: Vec<Used>,
    },
    /// A place on the staff's list, unless the call left a message or has such a place.
    CallBack {
        /// Which call.
        sid: CallSid,
        /// What to ring back about.
        text: String,
        /// Whether that repeats what the caller said.
        quotes: bool,
    },
}

/// A job as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    /// Database id.
    pub id: i64,
    /// What is to be done; a newer version may know more words than [`JobKind`] has.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// What the work needs to know.
    pub payload: Value,
    /// How it stands.
    pub state: JobState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is looked at next.
    pub next_run: UnixMillis,
    /// Who is at it.
    pub lease_owner: Option<String>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was queued.
    pub created: UnixMillis,
    /// When it was done, or given up.
    pub done: Option<UnixMillis>,
}

/// Which jobs to list, newest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobQuery {
    /// Only those that stand so.
    pub state: Option<JobState>,
    /// Only those with a smaller id.
    pub below: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// What came of a wish of the staff's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched {
    /// It is so.
    Done,
    /// There is no such job.
    Unknown,
    /// Not while it stands like this.
    Refused(JobState),
}

fn state_of(word: &str) -> Result<JobState, DbError> {
    JobState::from_word(word).ok_or(DbError::Word { column: "jobs.state" })
}

fn attempts(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}

/// Queues a job, in the transaction of whoever causes it; false if there is one with its key.
pub(super) fn enqueue(conn: &mut AnyConnection, job: &NewJob) -> Result<bool, DbError> {
    let payload = serde_json::to_string(&job.payload)?;
    let insert = diesel::insert_into(jobs::table)
        .values((
            jobs::kind.eq(job.kind.as_str()),
            jobs::key.eq(job.key.as_str()),
            jobs::payload.eq(payload.as_str()),
            jobs::state.eq(JobState::Queued.as_str()),
            jobs::next_run_ms.eq(job.due.0),
            jobs::created_ms.eq(job.now.0),
            jobs::place.eq(job.place.as_deref()),
        ))
        .on_conflict(jobs::key)
        .do_nothing();
    Ok(on_either!(conn, c => insert.execute(c))? > 0)
}

/// Queues the upload of a recording, in the transaction that tells of its completion; anew, if it was uploaded before.
pub(super) fn enqueue_upload(
    conn: &mut AnyConnection,
    sid: &CallSid,
    location: &str,
    place: &str,
    now: UnixMillis,
) -> Result<bool, DbError> {
    let job = NewJob::upload(sid, location, place, now);
    if enqueue(conn, &job)? {
        return Ok(true);
    }
    let over = jobs::table.filter(jobs::key.eq(&job.key)).filter(jobs::state.eq(JobState::Done.as_str()));
    let again = diesel::update(over)
        .set((
            jobs::state.eq(JobState::Queued.as_str()),
            jobs::attempts.eq(0),
            jobs::next_run_ms.eq(now.0),
            jobs::done_ms.eq(NO_TIME),
            jobs::place.eq(Some(place)),
        ))
        .execute(conn)?;
    Ok(again > 0)
}

/// Marks the job of a work as done that somebody else did.
pub(super) fn done_by_others(conn: &mut AnyConnection, key: &str) -> Result<(), DbError> {
    let open = jobs::table
        .filter(jobs::key.eq(key))
        .filter(jobs::state.ne(JobState::Done.as_str()))
        .filter(jobs::state.ne(JobState::Leased.as_str()));
    diesel::update(open)
        .set((jobs::state.eq(JobState::Done.as_str()), jobs::done_ms.eq(jobs::created_ms.nullable())))
        .execute(conn)?;
    Ok(())
}

/// A failure in the length that is kept.
fn short(error: &str) -> String {
    error.chars().take(ERROR_CHARS).collect()
}

impl DbHandle {
    /// Queues a job; false if there is one with its key already.
    pub async fn enqueue_job(&self, job: NewJob) -> Result<bool, DbError> {
        self.read(move |conn| enqueue(conn, &job)).await
    }

    /// Queues the upload of a recording that lies at a place, unless it is queued, is under way or was given up.
    pub async fn enqueue_upload(
        &self,
        sid: CallSid,
        location: String,
        place: String,
        now: UnixMillis,
    ) -> Result<bool, DbError> {
        self.read(move |conn| {
            write_transaction(conn, |conn| enqueue_upload(conn, &sid, &location, &place, now))
        })
        .await
    }

    /// Takes up to `limit` jobs that are due or whose lease lapsed, until `until`: those that can be done anywhere, and
    /// those of a place. No two owners get the same attempt.
    pub async fn lease_jobs(
        &self,
        owner: String,
        place: Option<String>,
        limit: u32,
        now: UnixMillis,
        until: UnixMillis,
    ) -> Result<LeasedJobs, DbError> {
        self.read(move |conn| lease(conn, &owner, place.as_deref(), limit, now, until)).await
    }

    /// Marks a job as done and keeps what it brought about, both or neither; false if the lease is not good any more.
    pub async fn complete_job(
        &self,
        lease: JobLease,
        effect: JobEffect,
        now: UnixMillis,
    ) -> Result<bool, DbError> {
        self.read(move |conn| complete(conn, &lease, &effect, now)).await
    }

    /// Has a job tried again at a time; false if the lease is not good any more.
    pub async fn requeue_job(&self, lease: JobLease, at: UnixMillis, error: String) -> Result<bool, DbError> {
        self.read(move |conn| requeue(conn, &lease, at, &short(&error))).await
    }

    /// Puts a job on the dead-letter list; false if the lease is not good any more.
    pub async fn bury_job(&self, lease: JobLease, error: String, now: UnixMillis) -> Result<bool, DbError> {
        self.read(move |conn| bury(conn, &lease, &short(&error), now)).await
    }

    /// Keeps jobs longer; says how many leases were still good.
    pub async fn renew_jobs(&self, leases: Vec<JobLease>, until: UnixMillis) -> Result<usize, DbError> {
        self.read(move |conn| {
            leases.iter().try_fold(0, |good, lease| Ok(good + usize::from(renew(conn, lease, until)?)))
        })
        .await
    }

    /// Gives back what an owner has, as if it had not been tried.
    pub async fn release_jobs(&self, owner: String, now: UnixMillis) -> Result<usize, DbError> {
        self.read(move |conn| release(conn, Some(&owner), now)).await
    }

    /// Gives back what anybody has: for a process that is alone with its database and finds leases of one that is gone.
    pub async fn reclaim_jobs(&self, now: UnixMillis) -> Result<usize, DbError> {
        self.read(move |conn| release(conn, None, now)).await
    }

    /// Has a job of the dead-letter list, or one that waits, tried anew at once.
    pub async fn retry_job(&self, id: i64, now: UnixMillis) -> Result<Touched, DbError> {
        self.read(move |conn| retry(conn, id, now)).await
    }

    /// Deletes a job nobody is at. What it was to do stays undone.
    pub async fn remove_job(&self, id: i64) -> Result<Touched, DbError> {
        self.read(move |conn| remove(conn, id)).await
    }

    /// Jobs, newest first.
    pub async fn jobs(&self, query: JobQuery) -> Result<Vec<StoredJob>, DbError> {
        self.read(move |conn| list(conn, query)).await
    }

    /// A job.
    pub async fn job(&self, id: i64) -> Result<Option<StoredJob>, DbError> {
        self.read(move |conn| {
            let row: Option<JobRow> =
                jobs::table.find(id).select(JobRow::as_select()).first(conn).optional()?;
            row.map(JobRow::stored).transpose()
        })
        .await
    }
}

#[cfg(test)]
mod tests;
