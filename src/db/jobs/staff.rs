//! What the staff see of the jobs and may do to them.

use super::settling::{change_summary, state};
use super::*;
use crate::db::schema::calls;

/// A job as it lies in its table.
#[derive(Queryable, Selectable)]
#[diesel(table_name = jobs)]
pub(super) struct JobRow {
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
    pub(super) fn stored(self) -> Result<StoredJob, DbError> {
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

/// Has a job tried anew at once.
pub(super) fn retry(conn: &mut AnyConnection, id: i64, now: UnixMillis) -> Result<Touched, DbError> {
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

/// Deletes a job nobody is at.
pub(super) fn remove(conn: &mut AnyConnection, id: i64) -> Result<Touched, DbError> {
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

/// A page of jobs, newest first.
pub(super) fn list(conn: &mut AnyConnection, query: JobQuery) -> Result<Vec<StoredJob>, DbError> {
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
