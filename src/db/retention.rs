//! Deletes what has been kept long enough, a batch a transaction, so that nobody waits long.

use super::connect::{AnyConnection, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{appointment_slots, call_events, calls, jobs, login_sessions, messages};
use crate::domain::job::JobState;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;

/// Rows that one transaction deletes at most (calls: with all that hangs on them).
pub const BATCH: u32 = 200;

/// What can grow old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aged {
    /// Calls that ended, with turns, outcome, usage, audit trail and messages.
    Calls,
    /// Rows of the audit trail.
    Events,
    /// Jobs that are done.
    Jobs,
    /// Holds that lapsed.
    Holds,
    /// Sign-ins that expired.
    SignIns,
}

fn calls_before(conn: &mut AnyConnection, before: UnixMillis) -> Result<usize, DbError> {
    let old: Vec<(i64, String)> = calls::table
        .filter(calls::started_ms.lt(before.0))
        .filter(calls::ended_ms.lt(before.0))
        .order((calls::started_ms.asc(), calls::id.asc()))
        .limit(i64::from(BATCH))
        .select((calls::id, calls::call_sid))
        .load(conn)?;
    for (id, sid) in &old {
        diesel::delete(call_events::table.filter(call_events::call_sid.eq(sid))).execute(conn)?;
        diesel::delete(messages::table.filter(messages::call_sid.eq(sid))).execute(conn)?;
        for kind in ["summary", "callback"] {
            diesel::delete(jobs::table.filter(jobs::key.eq(format!("{kind}:{sid}")))).execute(conn)?;
        }
        // Turns, outcome and usage go with it.
        diesel::delete(calls::table.find(*id)).execute(conn)?;
    }
    Ok(old.len())
}

/// The trail has no index by time, and needs none: its oldest rows have the lowest ids.
fn events_before(conn: &mut AnyConnection, before: UnixMillis) -> Result<usize, DbError> {
    let first: Vec<(i64, i64)> = call_events::table
        .order(call_events::id.asc())
        .limit(i64::from(BATCH))
        .select((call_events::id, call_events::at_ms))
        .load(conn)?;
    let mut gone = 0;
    for (id, at) in first {
        if at < before.0 {
            gone += diesel::delete(call_events::table.find(id)).execute(conn)?;
        }
    }
    Ok(gone)
}

fn jobs_before(conn: &mut AnyConnection, before: UnixMillis) -> Result<usize, DbError> {
    let old: Vec<i64> = jobs::table
        .filter(jobs::state.eq(JobState::Done.as_str()))
        .filter(jobs::done_ms.lt(before.0))
        .order(jobs::done_ms.asc())
        .limit(i64::from(BATCH))
        .select(jobs::id)
        .load(conn)?;
    for id in &old {
        diesel::delete(jobs::table.find(*id)).execute(conn)?;
    }
    Ok(old.len())
}

fn holds_before(conn: &mut AnyConnection, before: UnixMillis) -> Result<usize, DbError> {
    // Appointments have no such word; the index of holds has nothing else in it.
    let old: Vec<(String, i64)> = appointment_slots::table
        .filter(appointment_slots::hold_call.is_not_null())
        .filter(appointment_slots::expires_ms.lt(before.0))
        .limit(i64::from(BATCH))
        .select((appointment_slots::staff, appointment_slots::slot_start_ms))
        .load(conn)?;
    let mut gone = 0;
    for (staff, start) in &old {
        // It may have been taken over in between.
        let lapsed = appointment_slots::table
            .filter(appointment_slots::staff.eq(staff))
            .filter(appointment_slots::slot_start_ms.eq(start))
            .filter(appointment_slots::expires_ms.lt(before.0));
        gone += diesel::delete(lapsed).execute(conn)?;
    }
    Ok(gone)
}

fn sign_ins_before(conn: &mut AnyConnection, before: UnixMillis) -> Result<usize, DbError> {
    let old: Vec<String> = login_sessions::table
        .filter(login_sessions::expires_ms.lt(before.0))
        .order(login_sessions::expires_ms.asc())
        .limit(i64::from(BATCH))
        .select(login_sessions::hash)
        .load(conn)?;
    for hash in &old {
        diesel::delete(login_sessions::table.find(hash)).execute(conn)?;
    }
    Ok(old.len())
}

/// What retention asks where nothing is old: for a look at how the database goes about it.
pub(super) fn ask_everything(conn: &mut AnyConnection) -> Result<(), DbError> {
    let before = UnixMillis(i64::MIN);
    calls_before(conn, before)?;
    events_before(conn, before)?;
    jobs_before(conn, before)?;
    holds_before(conn, before)?;
    sign_ins_before(conn, before)?;
    Ok(())
}

impl DbHandle {
    /// Deletes what is older than `before`, at most [`BATCH`] of it; says how much that was. Less than a batch means
    /// that no more is left.
    pub async fn delete_aged(&self, what: Aged, before: UnixMillis) -> Result<usize, DbError> {
        self.read(move |conn| {
            write_transaction(conn, |conn| match what {
                Aged::Calls => calls_before(conn, before),
                Aged::Events => events_before(conn, before),
                Aged::Jobs => jobs_before(conn, before),
                Aged::Holds => holds_before(conn, before),
                Aged::SignIns => sign_ins_before(conn, before),
            })
        })
        .await
    }
}
