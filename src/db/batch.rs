//! Runs a batch of writes on the blocking pool: together if it can be, else one by one.

use super::activity::Tally;
use super::connect::{AnyConnection, Pool, write_transaction};
use super::error::DbError;
use super::write::{Write, apply};
use crate::domain::ids::ReplicaId;
use diesel::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What became of one write.
pub(super) enum Done {
    /// Finished, well or badly.
    Answer(Result<(), DbError>),
    /// Failed for a reason that may pass; to be tried again before anything after it.
    Again(DbError),
    /// Not tried: one before it has to be tried again first.
    NotTried,
    /// There was nothing to write it to.
    Away(Away),
}

/// Why nothing can be written at the moment, whatever it is.
#[derive(Clone)]
pub(super) enum Away {
    /// There is no connection to be had.
    NoConnection(Arc<r2d2::Error>),
    /// There is, but nothing is taken.
    NotWritable(Arc<str>),
}

impl Away {
    /// What those are told who wait.
    pub(super) fn error(&self) -> DbError {
        match self {
            Self::NoConnection(error) => DbError::Unavailable(Arc::clone(error)),
            Self::NotWritable(said) => DbError::NotWritable(Arc::clone(said)),
        }
    }
}

/// Applies writes in order. Answers as many times as there are writes.
pub(super) fn run(pool: &Pool, me: &ReplicaId, writes: &[Write]) -> Vec<Done> {
    // One write alone is its own transaction anyway.
    if writes.len() > 1
        && let Some(done) = together(pool, me, writes)
    {
        return done;
    }
    one_by_one(pool, me, writes)
}

/// One transaction. `None` if it failed as a whole and nothing of it was kept.
fn together(pool: &Pool, me: &ReplicaId, writes: &[Write]) -> Option<Vec<Done>> {
    let mut conn = match pool.get() {
        Ok(conn) => conn,
        Err(error) => return Some(no_connection(error, writes.len())),
    };
    // The connection moves in, so that it is dropped, and known to be broken, while a panic unwinds.
    let batch = AssertUnwindSafe(move || match write_transaction(&mut conn, |conn| all(conn, me, writes)) {
        Ok(()) => Ok(writes.iter().map(|_| Done::Answer(Ok(()))).collect()),
        Err(error) if error.concerns_one_write() => {
            write_transaction(&mut conn, |conn| all_but_bad_ones(conn, me, writes))
        }
        Err(error) => Err(error),
    });
    match catch_unwind(batch) {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            tracing::warn!(error.code = error.code(), error = %error, batch.writes = writes.len(),
                "batch failed, replaying it write by write");
            None
        }
        Err(_) => {
            tracing::error!(batch.writes = writes.len(), "batch panicked, replaying it write by write");
            None
        }
    }
}

/// Bad writes are rare, and a savepoint for each of the others would cost as much as the writes do.
fn all(conn: &mut AnyConnection, me: &ReplicaId, writes: &[Write]) -> Result<(), DbError> {
    let mut tally = Tally::default();
    for write in writes {
        apply(conn, me, write, &mut tally)?;
    }
    tally.write(conn)
}

/// A savepoint for each write, so that a bad one is undone alone.
fn all_but_bad_ones(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    writes: &[Write],
) -> Result<Vec<Done>, DbError> {
    let mut tally = Tally::default();
    let mut done = Vec::with_capacity(writes.len());
    for write in writes {
        let mut counted = Tally::default();
        match conn.transaction(|conn| apply(conn, me, write, &mut counted)) {
            Err(error) if !error.concerns_one_write() => return Err(error),
            Err(error) => done.push(Done::Answer(Err(error))),
            Ok(()) => {
                tally.add(counted);
                done.push(Done::Answer(Ok(())));
            }
        }
    }
    tally.write(conn)?;
    Ok(done)
}

fn one_by_one(pool: &Pool, me: &ReplicaId, writes: &[Write]) -> Vec<Done> {
    let mut done = Vec::with_capacity(writes.len());
    for write in writes {
        let mut conn = match pool.get() {
            Ok(conn) => conn,
            Err(error) => {
                done.extend(no_connection(error, writes.len() - done.len()));
                break;
            }
        };
        let alone = AssertUnwindSafe(move || {
            write_transaction(&mut conn, |conn| all(conn, me, std::slice::from_ref(write)))
        });
        let result = catch_unwind(alone).unwrap_or(Err(DbError::Panicked));
        if let Some(said) = result.as_ref().err().and_then(DbError::not_writable) {
            let away = Away::NotWritable(said);
            done.resize_with(writes.len(), || Done::Away(away.clone()));
            break;
        }
        match result {
            // Going on would reorder what belongs to one call.
            Err(error) if error.is_passing() => {
                done.push(Done::Again(error));
                done.resize_with(writes.len(), || Done::NotTried);
                break;
            }
            result => done.push(Done::Answer(result)),
        }
    }
    done
}

fn no_connection(error: r2d2::Error, count: usize) -> Vec<Done> {
    let away = Away::NoConnection(Arc::new(error));
    std::iter::repeat_with(|| Done::Away(away.clone())).take(count).collect()
}
