//! Which processes share the database, whose each open call is, and how calls change hands.
//!
//! Whoever has a call stands in its row, by its replica and by the epoch that rises whenever the call changes hands without
//! the consent of who had it. What somebody else writes of it is refused (`write.rs`), so that one who was only thought
//! dead, or cut off, can do no harm when it is back. A replica is there as long as it says so: its heartbeat is the
//! database's own time, so that no two clocks have to agree.

use super::calls::{CallOverview, CallRow, call_overview, narrow};
use super::connect::{AnyConnection, on_either, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{calls, jobs, replicas};
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::domain::job::JobState;
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often work that lost to a passing failure (a deadlock) is tried.
const TRIES: u32 = 3;
/// Calls that are read together: databases bound the parameters of a query.
const TOGETHER: usize = 500;
const NOBODY: Option<&str> = None;

/// What a replica says of itself.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Who it is.
    pub id: ReplicaId,
    /// The version it runs.
    pub version: String,
    /// Calls it has.
    pub calls: u32,
    /// Nobody is to let go of a call for it: it is about to end, or has just begun.
    pub draining: bool,
}

/// A replica as the others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub id: ReplicaId,
    /// Since its last heartbeat, by the database's clock.
    pub age: Duration,
    /// Nobody is to let go of a call for it: it is about to end, or has just begun.
    pub draining: bool,
    /// Calls it has.
    pub calls: u32,
}

/// Whose a call is.
#[derive(Clone, Debug, PartialEq)]
pub struct Ownership {
    /// Who has it, if anybody does.
    pub replica: Option<ReplicaId>,
    /// Since that replica's last heartbeat, by the database's clock; none where it has left or was found dead.
    pub age: Option<Duration>,
    /// The owner's epoch.
    pub epoch: Epoch,
    /// The call is over.
    pub ended: bool,
    /// What Twilio is to be told when it asks how the call goes on, if that is decided.
    pub onward: Option<serde_json::Value>,
}

/// An open call that a replica should know and perhaps does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Which.
    pub sid: CallSid,
    /// Its owner's epoch.
    pub epoch: Epoch,
    /// It is the asker's; else nobody's, or that of a replica that is not there any more.
    pub ours: bool,
}

#[derive(QueryableByName)]
struct Clock {
    #[diesel(sql_type = BigInt)]
    ms: i64,
}

/// What the database's clock shows now, and not when the transaction began: Unix milliseconds.
fn clock(conn: &mut AnyConnection) -> Result<i64, DbError> {
    let clock: Clock = match conn {
        AnyConnection::Sqlite(c) => {
            diesel::sql_query("SELECT CAST(round(unixepoch('subsec') * 1000) AS INTEGER) AS ms").get_result(c)
        }
        AnyConnection::Postgres(c) => {
            diesel::sql_query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms")
                .get_result(c)
        }
    }?;
    Ok(clock.ms)
}

/// How long ago something was; nothing is in the future.
fn age(now: i64, then: i64) -> Duration {
    Duration::from_millis(u64::try_from(now.saturating_sub(then)).unwrap_or(0))
}

/// Runs a transaction, again if it lost to another.
fn attempt<T>(
    conn: &mut AnyConnection,
    work: impl Fn(&mut AnyConnection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    let mut tries = 1;
    loop {
        match write_transaction(conn, &work) {
            Err(error) if error.is_passing() && tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

/// A file has one process at a time: whoever else stands in it is gone.
pub(super) fn bury_others(conn: &mut AnyConnection, me: &ReplicaId) -> Result<(), DbError> {
    diesel::update(replicas::table.filter(replicas::id.ne(me.as_str())))
        .set(replicas::heartbeat_ms.eq(0))
        .execute(conn)?;
    Ok(())
}

fn beat(conn: &mut AnyConnection, me: &Presence) -> Result<Vec<Peer>, DbError> {
    // Read before it is written: a process that is frozen in between only seems older than it is.
    let now = clock(conn)?;
    let says = (
        replicas::version.eq(me.version.as_str()),
        replicas::calls.eq(i64::from(me.calls)),
        replicas::draining.eq(me.draining),
        replicas::heartbeat_ms.eq(now),
    );
    let beat = diesel::insert_into(replicas::table)
        .values((replicas::id.eq(me.id.as_str()), says))
        .on_conflict(replicas::id)
        .do_update()
        .set(says);
    on_either!(conn, c => beat.execute(c))?;
    type Row = (String, i64, bool, i64);
    let rows: Vec<Row> = replicas::table
        .order(replicas::id.asc())
        .select((replicas::id, replicas::heartbeat_ms, replicas::draining, replicas::calls))
        .load(conn)?;
    let peer = |(id, then, draining, calls): Row| Peer {
        id: ReplicaId::new(id),
        age: age(now, then),
        draining,
        calls: narrow(calls),
    };
    Ok(rows.into_iter().map(peer).collect())
}

fn owner_of(conn: &mut AnyConnection, sid: &CallSid) -> Result<Option<Ownership>, DbError> {
    type Row = (Option<String>, i64, Option<i64>, Option<String>, Option<i64>);
    let row: Option<Row> = calls::table
        .left_join(replicas::table.on(calls::replica.eq(replicas::id.nullable())))
        .filter(calls::call_sid.eq(sid.as_str()))
        .select((
            calls::replica,
            calls::epoch,
            calls::ended_ms,
            calls::onward,
            replicas::heartbeat_ms.nullable(),
        ))
        .get_result(conn)
        .optional()?;
    let Some((replica, epoch, ended, onward, heartbeat)) = row else { return Ok(None) };
    Ok(Some(Ownership {
        replica: replica.map(ReplicaId::new),
        age: match heartbeat {
            Some(then) => Some(age(clock(conn)?, then)),
            None => None,
        },
        epoch: Epoch(narrow(epoch)),
        ended: ended.is_some(),
        onward: onward.as_deref().map(serde_json::from_str).transpose()?,
    }))
}

fn anothers(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    among: &[CallSid],
) -> Result<BTreeSet<CallSid>, DbError> {
    let mut found = BTreeSet::new();
    for sids in among.chunks(TOGETHER) {
        let theirs: Vec<String> = calls::table
            .filter(calls::call_sid.eq_any(sids.iter().map(CallSid::as_str)))
            .filter(calls::ended_ms.is_null())
            .filter(calls::replica.ne(Some(me.as_str())))
            .select(calls::call_sid)
            .load(conn)?;
        found.extend(theirs.into_iter().map(CallSid::new));
    }
    Ok(found)
}

fn take_over(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    sid: &CallSid,
    from: Epoch,
) -> Result<Option<CallOverview>, DbError> {
    attempt(conn, |conn| {
        let open = calls::table
            .filter(calls::call_sid.eq(sid.as_str()))
            .filter(calls::epoch.eq(i64::from(from.0)))
            .filter(calls::ended_ms.is_null());
        let taken = diesel::update(open)
            .set((calls::epoch.eq(calls::epoch + 1), calls::replica.eq(Some(me.as_str()))))
            .execute(conn)?;
        if taken == 0 { Ok(None) } else { call_overview(conn, sid) }
    })
}

/// Calls of a replica that are not over.
macro_rules! calls_of {
    ($replica:expr) => {
        calls::table.filter(calls::replica.eq(Some($replica.as_str()))).filter(calls::ended_ms.is_null())
    };
}

/// When a replica was last heard of; its row is kept from changing until the transaction ends.
fn locked_heartbeat(conn: &mut AnyConnection, id: &ReplicaId) -> Result<Option<i64>, DbError> {
    let query = replicas::table.filter(replicas::id.eq(id.as_str())).select(replicas::heartbeat_ms);
    Ok(match conn {
        AnyConnection::Sqlite(c) => query.get_result(c).optional()?,
        AnyConnection::Postgres(c) => query.for_update().get_result(c).optional()?,
    })
}

fn take_over_lapsed(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    lapsed: &ReplicaId,
    lease: Duration,
    now: UnixMillis,
) -> Result<Vec<CallOverview>, DbError> {
    if lapsed == me {
        return Ok(Vec::new());
    }
    attempt(conn, |conn| {
        let Some(heartbeat) = locked_heartbeat(conn, lapsed)? else { return Ok(Vec::new()) };
        if age(clock(conn)?, heartbeat) <= lease {
            return Ok(Vec::new());
        }
        diesel::delete(replicas::table.filter(replicas::id.eq(lapsed.as_str()))).execute(conn)?;
        // In the order of their ids, so that two who lock several do not lock each other out.
        let ids = calls_of!(lapsed).order(calls::id.asc()).select(calls::id);
        let ids: Vec<i64> = match conn {
            AnyConnection::Sqlite(c) => ids.load(c)?,
            AnyConnection::Postgres(c) => ids.for_no_key_update().load(c)?,
        };
        diesel::update(calls_of!(lapsed))
            .set((calls::epoch.eq(calls::epoch + 1), calls::replica.eq(Some(me.as_str()))))
            .execute(conn)?;
        let mut taken = Vec::with_capacity(ids.len());
        for ids in ids.chunks(TOGETHER) {
            let rows: Vec<CallRow> = calls::table
                .filter(calls::id.eq_any(ids))
                .order(calls::id.asc())
                .select(CallRow::as_select())
                .load(conn)?;
            for row in rows {
                taken.push(row.overview()?);
            }
        }
        // What it died over counts as an attempt.
        free_jobs(conn, lapsed, now)?;
        Ok(taken)
    })
}

/// Has the jobs a replica was at done by others, at once.
fn free_jobs(conn: &mut AnyConnection, owner: &ReplicaId, now: UnixMillis) -> Result<usize, DbError> {
    let held = jobs::table
        .filter(jobs::lease_owner.eq(Some(owner.as_str())))
        .filter(jobs::state.eq(JobState::Leased.as_str()));
    Ok(diesel::update(held)
        .set((
            jobs::state.eq(JobState::Queued.as_str()),
            jobs::next_run_ms.eq(now.0),
            jobs::lease_until_ms.eq(None::<i64>),
            jobs::lease_owner.eq(NOBODY),
        ))
        .execute(conn)?)
}

fn leave(conn: &mut AnyConnection, me: &ReplicaId, now: UnixMillis) -> Result<(), DbError> {
    attempt(conn, |conn| {
        diesel::delete(replicas::table.filter(replicas::id.eq(me.as_str()))).execute(conn)?;
        diesel::update(calls_of!(me)).set(calls::replica.eq(NOBODY)).execute(conn)?;
        free_jobs(conn, me, now)?;
        Ok(())
    })
}

fn strays(conn: &mut AnyConnection, me: &ReplicaId) -> Result<Vec<Stray>, DbError> {
    let rows: Vec<(String, i64, Option<String>)> = calls::table
        .left_join(replicas::table.on(calls::replica.eq(replicas::id.nullable())))
        .filter(calls::ended_ms.is_null())
        .filter(replicas::id.nullable().is_null().or(calls::replica.eq(Some(me.as_str()))))
        .order(calls::id.asc())
        .select((calls::call_sid, calls::epoch, calls::replica))
        .load(conn)?;
    let stray = |(sid, epoch, replica): (String, i64, Option<String>)| Stray {
        sid: CallSid::new(sid),
        epoch: Epoch(narrow(epoch)),
        ours: replica.as_deref() == Some(me.as_str()),
    };
    Ok(rows.into_iter().map(stray).collect())
}

/// What the replicas ask of the calls, changing nothing: for a look at how the database goes about it.
pub(super) fn ask_everything(conn: &mut AnyConnection) -> Result<(), DbError> {
    let nobody = ReplicaId::from_bits(0);
    owner_of(conn, &CallSid::from("CA0"))?;
    anothers(conn, &nobody, &[CallSid::from("CA0"), CallSid::from("CA1")])?;
    strays(conn, &nobody)?;
    take_over(conn, &nobody, &CallSid::from("CA0"), Epoch(1))?;
    let _: Vec<i64> = calls_of!(nobody).order(calls::id.asc()).select(calls::id).load(conn)?;
    leave(conn, &nobody, UnixMillis(0))
}

impl DbHandle {
    /// Says that we are here; answers who is, ourselves included.
    pub async fn heartbeat(&self, me: Presence) -> Result<Vec<Peer>, DbError> {
        self.steadily(move |conn| attempt(conn, |conn| beat(conn, &me))).await
    }

    /// Whose a call is; none if it is unknown.
    pub async fn owner_of(&self, sid: CallSid) -> Result<Option<Ownership>, DbError> {
        self.read(move |conn| owner_of(conn, &sid)).await
    }

    /// Which of these calls are open and another replica's, be it there or not.
    pub async fn anothers(&self, among: Vec<CallSid>) -> Result<BTreeSet<CallSid>, DbError> {
        let me = self.replica().clone();
        self.read(move |conn| anothers(conn, &me, &among)).await
    }

    /// Takes a call over that is open and still at epoch `from`: it is ours, one epoch later. None: somebody else was first,
    /// or the call is over.
    pub async fn take_over(&self, sid: CallSid, from: Epoch) -> Result<Option<CallOverview>, DbError> {
        let me = self.replica().clone();
        self.read(move |conn| take_over(conn, &me, &sid, from)).await
    }

    /// Takes over all open calls of a replica that was not heard of for longer than `lease`, one epoch later; frees the
    /// jobs it was at, and strikes it off. Of many who try one gets them; the others, and whoever comes while it is
    /// heard of again, get nothing.
    pub async fn take_over_lapsed(
        &self,
        lapsed: ReplicaId,
        lease: Duration,
    ) -> Result<Vec<CallOverview>, DbError> {
        let me = self.replica().clone();
        self.steadily(move |conn| take_over_lapsed(conn, &me, &lapsed, lease, unix_now())).await
    }

    /// Open calls that are nobody's, and those that are ours.
    pub async fn strays(&self) -> Result<Vec<Stray>, DbError> {
        let me = self.replica().clone();
        self.read(move |conn| strays(conn, &me)).await
    }

    /// Lets go of everything, once what is queued is written: our open calls are nobody's, our jobs are to be had, and we
    /// are not there any more. To be called last.
    pub async fn leave(&self) -> Result<(), DbError> {
        self.flush().await?;
        let me = self.replica().clone();
        self.steadily(move |conn| leave(conn, &me, unix_now())).await
    }
}

#[cfg(test)]
mod tests;
