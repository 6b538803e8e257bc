//! Jobs: queued in the transaction that causes them, leased by one process at a time, done in the transaction that
//! keeps what they brought about.

mod ask;
mod callback;

pub(super) use ask::ask_everything;

use super::connect::{AnyConnection, on_either, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::outcomes;
use super::schema::{calls, jobs};
use super::usage;
use crate::domain::ids::CallSid;
use crate::domain::insight::Insight;
use crate::domain::job::{JobKind, JobState};
use crate::domain::time::UnixMillis;
use crate::domain::usage::Used;
use diesel::prelude::*;
use serde_json::Value;

/// Longest failure that is kept, in characters.
const ERROR_CHARS: usize = 300;

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

#[derive(Queryable, Selectable)]
#[diesel(table_name = jobs)]
struct JobRow {
    id: i64,
    kind: String,
    key: String,
    payload: String,
    state: String,
    attempts: i64,
    next_run_ms: i64,
    lease_owner: Option<String>,
    last_error: Option<String>,
    created_ms: i64,
    done_ms: Option<i64>,
}

impl JobRow {
    fn stored(self) -> Result<StoredJob, DbError> {
        Ok(StoredJob {
            id: self.id,
            kind: self.kind,
            key: self.key,
            payload: serde_json::from_str(&self.payload)?,
            state: state_of(&self.state)?,
            attempts: attempts(self.attempts),
            next_run: UnixMillis(self.next_run_ms),
            lease_owner: self.lease_owner,
            last_error: self.last_error,
            created: UnixMillis(self.created_ms),
            done: self.done_ms.map(UnixMillis),
        })
    }
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

/// Id, kind, key, payload and attempts of a job that is due.
type DueRow = (i64, String, String, String, i64);

/// Kinds this version can do; others are left to the version that queued them.
fn kinds() -> Vec<&'static str> {
    JobKind::ALL.iter().map(|kind| kind.as_str()).collect()
}

/// Jobs that can be done anywhere, or at a place.
macro_rules! here {
    ($place:expr) => {
        jobs::place.is_null().or(jobs::place.eq($place))
    };
}

/// Jobs of one state that are due, locked: others pass over them.
fn due(
    conn: &mut AnyConnection,
    state: JobState,
    place: Option<&str>,
    now: UnixMillis,
    limit: i64,
) -> Result<Vec<DueRow>, DbError> {
    macro_rules! query {
        () => {
            jobs::table
                .filter(jobs::state.eq(state.as_str()))
                .filter(jobs::next_run_ms.le(now.0))
                .filter(jobs::kind.eq_any(kinds()))
                .filter(here!(place))
                .order((jobs::next_run_ms.asc(), jobs::id.asc()))
                .limit(limit)
                .select((jobs::id, jobs::kind, jobs::key, jobs::payload, jobs::attempts))
        };
    }
    Ok(match conn {
        AnyConnection::Sqlite(c) => query!().load(c)?,
        AnyConnection::Postgres(c) => query!().for_update().skip_locked().load(c)?,
    })
}

fn next_due(conn: &mut AnyConnection, place: Option<&str>) -> Result<Option<UnixMillis>, DbError> {
    let mut next = None;
    for state in [JobState::Queued, JobState::Leased] {
        let query = jobs::table
            .filter(jobs::state.eq(state.as_str()))
            .filter(jobs::kind.eq_any(kinds()))
            .filter(here!(place))
            .order(jobs::next_run_ms.asc())
            .select(jobs::next_run_ms)
            .limit(1);
        let found: Option<i64> = on_either!(conn, c => query.get_result(c).optional())?;
        next = match (next, found) {
            (Some(a), Some(b)) => Some(i64::min(a, b)),
            (a, b) => a.or(b),
        };
    }
    Ok(next.map(UnixMillis))
}

pub(super) fn lease(
    conn: &mut AnyConnection,
    owner: &str,
    place: Option<&str>,
    limit: u32,
    now: UnixMillis,
    until: UnixMillis,
) -> Result<LeasedJobs, DbError> {
    // Looking costs nobody the right to write.
    let first = next_due(conn, place)?;
    if limit == 0 || first.is_none_or(|first| first > now) {
        return Ok(LeasedJobs { jobs: Vec::new(), next_due: first });
    }
    let rows = write_transaction(conn, |conn| {
        let limit = i64::from(limit);
        // Those whose owner was lost have waited longest.
        let mut rows = due(conn, JobState::Leased, place, now, limit)?;
        let left = limit.saturating_sub(i64::try_from(rows.len()).unwrap_or(limit));
        rows.extend(due(conn, JobState::Queued, place, now, left)?);
        for (id, _, _, _, attempts) in &mut rows {
            *attempts = attempts.saturating_add(1);
            diesel::update(jobs::table.find(*id))
                .set((
                    jobs::state.eq(JobState::Leased.as_str()),
                    jobs::attempts.eq(*attempts),
                    jobs::next_run_ms.eq(until.0),
                    jobs::lease_until_ms.eq(Some(until.0)),
                    jobs::lease_owner.eq(Some(owner)),
                ))
                .execute(conn)?;
        }
        Ok(rows)
    })?;
    let next_due = next_due(conn, place)?;
    let jobs = rows
        .into_iter()
        .map(|(id, kind, key, payload, attempt)| {
            let lease = JobLease { id, attempt: attempts(attempt), owner: owner.to_owned() };
            let kind = JobKind::from_word(&kind).ok_or(DbError::Word { column: "jobs.kind" })?;
            // Work that needs to know what cannot be read fails for itself, and not the others with it.
            let payload = serde_json::from_str(&payload).unwrap_or(Value::Null);
            Ok(LeasedJob { lease, kind, key, payload })
        })
        .collect::<Result<_, DbError>>()?;
    Ok(LeasedJobs { jobs, next_due })
}

/// The job of a lease, if the lease is still good.
macro_rules! held {
    ($lease:expr) => {
        jobs::table
            .filter(jobs::id.eq($lease.id))
            .filter(jobs::state.eq(JobState::Leased.as_str()))
            .filter(jobs::attempts.eq(i64::from($lease.attempt)))
            .filter(jobs::lease_owner.eq(Some($lease.owner.as_str())))
    };
}

const NO_OWNER: Option<&str> = None;
const NO_TIME: Option<i64> = None;

fn end(
    conn: &mut AnyConnection,
    lease: &JobLease,
    state: JobState,
    error: Option<&str>,
    now: UnixMillis,
) -> Result<bool, DbError> {
    let changed = diesel::update(held!(lease))
        .set((
            jobs::state.eq(state.as_str()),
            jobs::lease_until_ms.eq(NO_TIME),
            jobs::lease_owner.eq(NO_OWNER),
            jobs::last_error.eq(error),
            jobs::done_ms.eq(Some(now.0)),
        ))
        .execute(conn)?;
    Ok(changed > 0)
}

fn complete(
    conn: &mut AnyConnection,
    lease: &JobLease,
    effect: &JobEffect,
    now: UnixMillis,
) -> Result<bool, DbError> {
    if let JobEffect::Later { at } = effect {
        return postpone(conn, lease, *at);
    }
    write_transaction(conn, |conn| {
        // Also locks the row: an attempt that began meanwhile has either taken the lease away or waits for us.
        if !end(conn, lease, JobState::Done, None, now)? {
            return Ok(false);
        }
        match effect {
            JobEffect::Nothing | JobEffect::Later { .. } => {}
            JobEffect::Summary { sid, text, insight, model, used } => {
                // A call that was erased while its summary was written wants none any more.
                let call = calls::table
                    .filter(calls::call_sid.eq(sid.as_str()))
                    .filter(calls::summary_state.eq("pending"));
                let changed = diesel::update(call)
                    .set((calls::summary.eq(Some(text.as_str())), calls::summary_state.eq("done")))
                    .execute(conn)?;
                if changed > 0 {
                    outcomes::put(conn, sid, insight.as_ref(), model, now)?;
                    usage::add(conn, sid, now, used)?;
                }
            }
            JobEffect::CallBack { sid, text, quotes } => callback::put(conn, sid, text, *quotes, now)?,
        }
        Ok(true)
    })
}

/// Puts a job on the dead-letter list. A summary that nobody will write any more is not pending.
fn bury(conn: &mut AnyConnection, lease: &JobLease, error: &str, now: UnixMillis) -> Result<bool, DbError> {
    write_transaction(conn, |conn| {
        let buried = end(conn, lease, JobState::Dead, Some(error), now)?;
        if buried && let Some((key, _)) = state(conn, lease.id)? {
            change_summary(conn, &key, "pending", "failed")?;
        }
        Ok(buried)
    })
}

/// Has the call of a summary's job show how the summary stands.
fn change_summary(conn: &mut AnyConnection, key: &str, from: &str, to: &str) -> Result<(), DbError> {
    if let Some(sid) = key.strip_prefix("summary:") {
        let call = calls::table.filter(calls::call_sid.eq(sid)).filter(calls::summary_state.eq(from));
        diesel::update(call).set(calls::summary_state.eq(to)).execute(conn)?;
    }
    Ok(())
}

fn requeue(conn: &mut AnyConnection, lease: &JobLease, at: UnixMillis, error: &str) -> Result<bool, DbError> {
    let changed = diesel::update(held!(lease))
        .set((
            jobs::state.eq(JobState::Queued.as_str()),
            jobs::next_run_ms.eq(at.0),
            jobs::lease_until_ms.eq(NO_TIME),
            jobs::lease_owner.eq(NO_OWNER),
            jobs::last_error.eq(Some(error)),
        ))
        .execute(conn)?;
    Ok(changed > 0)
}

/// Puts a job back as if it had not been tried.
fn postpone(conn: &mut AnyConnection, lease: &JobLease, at: UnixMillis) -> Result<bool, DbError> {
    let changed = diesel::update(held!(lease))
        .set((
            jobs::state.eq(JobState::Queued.as_str()),
            jobs::attempts.eq(jobs::attempts - 1),
            jobs::next_run_ms.eq(at.0),
            jobs::lease_until_ms.eq(NO_TIME),
            jobs::lease_owner.eq(NO_OWNER),
        ))
        .execute(conn)?;
    Ok(changed > 0)
}

fn renew(conn: &mut AnyConnection, lease: &JobLease, until: UnixMillis) -> Result<bool, DbError> {
    let changed = diesel::update(held!(lease))
        .set((jobs::next_run_ms.eq(until.0), jobs::lease_until_ms.eq(Some(until.0))))
        .execute(conn)?;
    Ok(changed > 0)
}

/// Gives back what is leased, by one owner or by anybody. An attempt that was given back by its owner does not count.
fn release(conn: &mut AnyConnection, owner: Option<&str>, now: UnixMillis) -> Result<usize, DbError> {
    macro_rules! set {
        ($query:expr, $attempts:expr) => {
            diesel::update($query)
                .set((
                    jobs::state.eq(JobState::Queued.as_str()),
                    jobs::next_run_ms.eq(now.0),
                    jobs::lease_until_ms.eq(NO_TIME),
                    jobs::lease_owner.eq(NO_OWNER),
                    jobs::attempts.eq($attempts),
                ))
                .execute(conn)?
        };
    }
    let leased = jobs::table.filter(jobs::state.eq(JobState::Leased.as_str()));
    Ok(match owner {
        Some(owner) => set!(leased.filter(jobs::lease_owner.eq(Some(owner))), jobs::attempts - 1),
        // Whatever is leased has an owner, and few jobs have one: that is how they are found.
        None => set!(leased.filter(jobs::lease_owner.is_not_null()), jobs::attempts),
    })
}

/// A job's key and how it stands, kept so until the transaction ends.
fn state(conn: &mut AnyConnection, id: i64) -> Result<Option<(String, JobState)>, DbError> {
    let query = jobs::table.find(id).select((jobs::key, jobs::state));
    let row: Option<(String, String)> = match conn {
        AnyConnection::Sqlite(c) => query.first(c).optional()?,
        AnyConnection::Postgres(c) => query.for_update().first(c).optional()?,
    };
    row.map(|(key, word)| Ok((key, state_of(&word)?))).transpose()
}

fn retry(conn: &mut AnyConnection, id: i64, now: UnixMillis) -> Result<Touched, DbError> {
    write_transaction(conn, |conn| {
        let open = jobs::table
            .filter(jobs::id.eq(id))
            .filter(jobs::state.eq(JobState::Dead.as_str()).or(jobs::state.eq(JobState::Queued.as_str())));
        let changed = diesel::update(open)
            .set((
                jobs::state.eq(JobState::Queued.as_str()),
                jobs::attempts.eq(0),
                jobs::next_run_ms.eq(now.0),
                jobs::done_ms.eq(NO_TIME),
            ))
            .execute(conn)?;
        Ok(match state(conn, id)? {
            None => Touched::Unknown,
            Some((key, _)) if changed > 0 => {
                change_summary(conn, &key, "failed", "pending")?;
                Touched::Done
            }
            Some((_, state)) => Touched::Refused(state),
        })
    })
}

fn remove(conn: &mut AnyConnection, id: i64) -> Result<Touched, DbError> {
    write_transaction(conn, |conn| {
        let Some((key, state)) = state(conn, id)? else { return Ok(Touched::Unknown) };
        let idle = jobs::table.filter(jobs::id.eq(id)).filter(jobs::state.ne(JobState::Leased.as_str()));
        if diesel::delete(idle).execute(conn)? == 0 {
            return Ok(Touched::Refused(JobState::Leased));
        }
        if state != JobState::Done
            && let Some(sid) = key.strip_prefix("summary:")
        {
            // Nobody will write it any more.
            diesel::update(calls::table.filter(calls::call_sid.eq(sid)))
                .set(calls::summary_state.eq("none"))
                .execute(conn)?;
        }
        Ok(Touched::Done)
    })
}

fn list(conn: &mut AnyConnection, query: JobQuery) -> Result<Vec<StoredJob>, DbError> {
    let mut rows = jobs::table.select(JobRow::as_select()).order(jobs::id.desc()).into_boxed();
    if let Some(state) = query.state {
        rows = rows.filter(jobs::state.eq(state.as_str()));
    }
    if let Some(below) = query.below {
        rows = rows.filter(jobs::id.lt(below));
    }
    let rows: Vec<JobRow> = rows.limit(i64::from(query.limit)).load(conn)?;
    rows.into_iter().map(JobRow::stored).collect()
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
