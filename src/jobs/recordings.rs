//! What is done with recordings once their calls are over: uploaded, and deleted when their time has come.
//!
//! What is to be done stands in the database, so that nothing is forgotten by a process that ends.

use crate::db::{DbError, DbHandle};
use crate::domain::recording::{Recording, RecordingState};
use crate::domain::time::UnixMillis;
use crate::jobs::retention::Recordings;
use crate::observe::clock::unix_now;
use crate::storage::store::{Store, StoreError};
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// How often it is looked for recordings to upload.
const UPLOADS: Duration = Duration::from_secs(20);
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

/// Uploads one recording and deletes it here. Done twice, it does no harm.
pub async fn upload(db: &DbHandle, store: &Store, recording: &Recording) -> Result<(), HouseError> {
    store.upload(&recording.location).await?;
    let (at, from) = (recording.location.clone(), &[RecordingState::Stored]);
    if db.recording_moved(at, from, RecordingState::Uploaded, unix_now()).await? {
        store.forget_local(&recording.location).await?;
    }
    Ok(())
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
                        HouseError::Store(_) => "recordings.store".to_owned(),
                    })
                }
            }
        })
    }
}

/// Uploads whatever is complete, for as long as it is let; at once done where there is no object store.
pub async fn upload_all(db: DbHandle, store: Store) {
    while store.uploads() {
        upload_waiting(&db, &store).await;
        tokio::time::sleep(UPLOADS).await;
    }
}

async fn upload_waiting(db: &DbHandle, store: &Store) {
    let waiting = match db.recordings_in(RecordingState::Stored, UnixMillis(i64::MAX), BATCH).await {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::warn!(%error, "it is not known which recordings are to be uploaded");
            return;
        }
    };
    for recording in waiting {
        if let Err(error) = upload(db, store, &recording).await {
            tracing::warn!(call.id = %recording.sid, %error, "a recording is not uploaded");
        }
    }
}
