//! What becomes of an attempt: done, tried again, given up, kept, given back.

use super::*;
use crate::db::schema::calls;
use crate::db::{outcomes, usage};

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

/// Ends an attempt; false if the lease is not good any more.
pub(super) fn end(
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

/// Marks a job as done and keeps what it brought about.
pub(super) fn complete(
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
pub(super) fn bury(
    conn: &mut AnyConnection,
    lease: &JobLease,
    error: &str,
    now: UnixMillis,
) -> Result<bool, DbError> {
    write_transaction(conn, |conn| {
        let buried = end(conn, lease, JobState::Dead, Some(error), now)?;
        if buried && let Some((key, _)) = state(conn, lease.id)? {
            change_summary(conn, &key, "pending", "failed")?;
        }
        Ok(buried)
    })
}

/// Has the call of a summary's job show how the summary stands.
pub(super) fn change_summary(
    conn: &mut AnyConnection,
    key: &str,
    from: &str,
    to: &str,
) -> Result<(), DbError> {
    if let Some(sid) = key.strip_prefix("summary:") {
        let call = calls::table.filter(calls::call_sid.eq(sid)).filter(calls::summary_state.eq(from));
        diesel::update(call).set(calls::summary_state.eq(to)).execute(conn)?;
    }
    Ok(())
}

/// Has a job tried again at a time.
pub(super) fn requeue(
    conn: &mut AnyConnection,
    lease: &JobLease,
    at: UnixMillis,
    error: &str,
) -> Result<bool, DbError> {
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

/// Keeps a job longer.
pub(super) fn renew(conn: &mut AnyConnection, lease: &JobLease, until: UnixMillis) -> Result<bool, DbError> {
    let changed = diesel::update(held!(lease))
        .set((jobs::next_run_ms.eq(until.0), jobs::lease_until_ms.eq(Some(until.0))))
        .execute(conn)?;
    Ok(changed > 0)
}

/// Gives back what is leased, by one owner or by anybody. An attempt that was given back by its owner does not count.
pub(super) fn release(
    conn: &mut AnyConnection,
    owner: Option<&str>,
    now: UnixMillis,
) -> Result<usize, DbError> {
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
pub(super) fn state(conn: &mut AnyConnection, id: i64) -> Result<Option<(String, JobState)>, DbError> {
    let query = jobs::table.find(id).select((jobs::key, jobs::state));
    let row: Option<(String, String)> = match conn {
        AnyConnection::Sqlite(c) => query.first(c).optional()?,
        AnyConnection::Postgres(c) => query.for_update().first(c).optional()?,
    };
    row.map(|(key, word)| Ok((key, state_of(&word)?))).transpose()
}
