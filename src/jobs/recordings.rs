//! What is done with recordings once their calls are over: uploaded, and deleted when their time has come.
//!
//! What is to be done stands in the database, so that nothing is forgotten by a process that ends.

use super::machine::{Again, Failure};
use super::work::db_failure;
use crate::db::{DbError, DbHandle, JobEffect};
use crate::domain::recording::{Recording, RecordingState};
use crate::domain::time::UnixMillis;
use crate::jobs::retention::Recordings;
use crate::observe::clock::unix_now;
use crate::storage::store::{Store, StoreError};
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// A call that still goes on is looked at again after this long.
const GOES_ON: Duration = Duration::from_secs(30);
/// Taken from the database at once.
const BATCH: u32 = 200;
/// States in which there is a file.
const KEPT: &[RecordingState] = &[RecordingState::Stored, RecordingState::Uploaded];

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum HouseError {
    /// The database says no.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The disk or the object store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was deleted, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Where the recordings lay.
    pub locations: Vec<String>,
    /// Their length, bytes.
    pub bytes: u64,
}

/// Uploads one recording of a call that has ended, and deletes it here once the object store has it. Whatever stops it
/// at whatever point, done again it goes on from there.
pub async fn upload(db: &DbHandle, store: &Store, location: String) -> Result<JobEffect, Failure> {
    let look = || async { db.recording_at(location.clone()).await.map_err(|error| db_failure(&error)) };
    let Some(recording) = look().await? else { return Ok(JobEffect::Nothing) };
    let goes_on = JobEffect::Later { at: unix_now().after(GOES_ON) };
    if recording.state == RecordingState::Stored {
        // A call that another process is to go on with is written behind what is there.
        let call = db.call_overview(recording.sid).await.map_err(|error| db_failure(&error))?;
        if call.is_some_and(|call| call.ended_at.is_none()) {
            return Ok(goes_on);
        }
        store.upload(&location).await.map_err(|error| store_failure(&error))?;
        let (at, from) = (location.clone(), &[RecordingState::Stored]);
        let moved = db.recording_moved(at, from, RecordingState::Uploaded, unix_now()).await;
        moved.map_err(|error| db_failure(&error))?;
    }
    // As it stands now: it may have been erased while it was on its way.
    let done = match look().await?.map(|recording| recording.state) {
        Some(RecordingState::Uploaded) => store.forget_local(&location).await,
        Some(RecordingState::Erased) => store.delete(&location).await,
        Some(RecordingState::Stored | RecordingState::Recording) => return Ok(goes_on),
        Some(RecordingState::Failed) | None => Ok(()),
    };
    done.map_err(|error| store_failure(&error))?;
    Ok(JobEffect::Nothing)
}

fn store_failure(error: &StoreError) -> Failure {
    let again = match error {
        // Nobody will bring it back; staff may have moved it.
        StoreError::NotThere => Again::Never,
        StoreError::NoRemote
        | StoreError::Io(_)
        | StoreError::Remote(_)
        | StoreError::Incomplete { .. }
        | StoreError::Stopped => Again::Later,
    };
    tracing::warn!(%error, "a recording is not uploaded");
    Failure { code: error.code().to_owned(), again }
}

/// Deletes a recording wherever it lies. A failure leaves it known, to be tried again.
pub async fn delete(db: &DbHandle, store: &Store, recording: &Recording) -> Result<(), HouseError> {
    store.delete(&recording.location).await?;
    db.recording_moved(recording.location.clone(), KEPT, RecordingState::Erased, unix_now()).await?;
    Ok(())
}

/// Deletes what was begun to be recorded before a time. A dry run deletes nothing and tells the same.
pub async fn delete_before(
    db: &DbHandle,
    store: &Store,
    before: UnixMillis,
    dry_run: bool,
) -> Result<Deleted, HouseError> {
    let mut deleted = Deleted::default();
    for state in KEPT {
        let limit = if dry_run { u32::MAX } else { BATCH };
        loop {
            let old = db.recordings_in(*state, before, limit).await?;
            let count = old.len();
            for recording in old {
                if !dry_run {
                    delete(db, store, &recording).await?;
                }
                deleted.bytes = deleted.bytes.saturating_add(recording.bytes);
                deleted.locations.push(recording.location);
            }
            if dry_run || count < BATCH as usize {
                break;
            }
        }
    }
    Ok(deleted)
}

/// The recordings, for the clean-up that runs once a day.
pub struct House {
    /// Where it stands what there is.
    pub db: DbHandle,
    /// Where it lies.
    pub store: Store,
}

impl Recordings for House {
    fn delete_before(&self, ended_before: UnixMillis) -> LocalBoxFuture<'static, Result<u64, String>> {
        let (db, store) = (self.db.clone(), self.store.clone());
        Box::pin(async move {
            match delete_before(&db, &store, ended_before, false).await {
                Ok(deleted) => Ok(deleted.locations.len() as u64),
                Err(error) => {
                    tracing::warn!(%error, "old recordings are not deleted");
                    Err(match error {
                        HouseError::Db(error) => error.code().to_owned(),
                        HouseError::Store(error) => error.code().to_owned(),
                    })
                }
            }
        })
    }
}

/// Queues the uploads of recordings that lie here and of which no version before this one has queued any.
pub async fn queue_waiting(db: DbHandle, store: Store, place: String) {
    let mut last = 0;
    loop {
        let waiting = match db.stored_recordings(last, BATCH).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::warn!(%error, "it is not known which recordings are to be uploaded");
                return;
            }
        };
        let Some((id, _)) = waiting.last() else { return };
        last = *id;
        for (_, recording) in waiting {
            if !store.is_here(&recording.location).await {
                continue;
            }
            let place = place.clone();
            let queued = db.enqueue_upload(recording.sid, recording.location, place, unix_now()).await;
            if let Err(error) = queued {
                tracing::warn!(%error, "the upload of a recording is not queued");
            }
        }
    }
}

#[cfg(test)]
mod tests;
