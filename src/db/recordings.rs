//! Recordings: where they lie and how they stand.

use super::connect::{AnyConnection, on_either};
use super::error::DbError;
use super::handle::DbHandle;
use super::jobs;
use super::schema::recordings;
use crate::domain::ids::CallSid;
use crate::domain::recording::{Recording, RecordingState};
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use diesel::upsert::excluded;

#[derive(Queryable, Selectable)]
#[diesel(table_name = recordings)]
struct Row {
    call_sid: String,
    location: String,
    state: String,
    bytes: i64,
    ms: i64,
    started_ms: i64,
    offset_ms: i64,
    dropped_frames: i64,
}

impl Row {
    fn recording(self) -> Result<Recording, DbError> {
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Recording {
            sid: CallSid::new(self.call_sid),
            location: self.location,
            state: RecordingState::from_word(&self.state)
                .ok_or(DbError::Word { column: "recordings.state" })?,
            bytes: count(self.bytes),
            ms: count(self.ms),
            started: UnixMillis(self.started_ms),
            offset_ms: count(self.offset_ms),
            dropped_frames: count(self.dropped_frames),
        })
    }
}

/// Writes down how a recording stands. One that was erased stays so. Once it is complete, its upload is owed, if there is
/// a place from which it goes anywhere.
pub(super) fn put(
    conn: &mut AnyConnection,
    recording: &Recording,
    upload_from: Option<&str>,
    now: UnixMillis,
) -> Result<(), DbError> {
    let narrow = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let upsert = diesel::insert_into(recordings::table)
        .values((
            recordings::call_sid.eq(recording.sid.as_str()),
            recordings::location.eq(recording.location.as_str()),
            recordings::state.eq(recording.state.as_str()),
            recordings::bytes.eq(narrow(recording.bytes)),
            recordings::ms.eq(narrow(recording.ms)),
            recordings::started_ms.eq(recording.started.0),
            recordings::offset_ms.eq(narrow(recording.offset_ms)),
            recordings::dropped_frames.eq(narrow(recording.dropped_frames)),
            recordings::updated_ms.eq(now.0),
        ))
        .on_conflict(recordings::location)
        .do_update()
        .set((
            recordings::state.eq(excluded(recordings::state)),
            recordings::bytes.eq(excluded(recordings::bytes)),
            recordings::ms.eq(excluded(recordings::ms)),
            recordings::dropped_frames.eq(excluded(recordings::dropped_frames)),
            recordings::updated_ms.eq(excluded(recordings::updated_ms)),
        ));
    let upsert = diesel::query_dsl::methods::FilterDsl::filter(
        upsert,
        recordings::state.ne(RecordingState::Erased.as_str()),
    );
    on_either!(conn, c => upsert.execute(c))?;
    if let Some(place) = upload_from.filter(|_| recording.state == RecordingState::Stored) {
        jobs::enqueue_upload(conn, &recording.sid, &recording.location, place, now)?;
    }
    Ok(())
}

fn at(conn: &mut AnyConnection, location: &str) -> Result<Option<Recording>, DbError> {
    let row: Option<Row> = recordings::table
        .filter(recordings::location.eq(location))
        .select(Row::as_select())
        .first(conn)
        .optional()?;
    row.map(Row::recording).transpose()
}

/// Recordings that lie on some disk, by their id.
fn stored_after(conn: &mut AnyConnection, id: i64, limit: u32) -> Result<Vec<(i64, Recording)>, DbError> {
    let rows: Vec<(i64, Row)> = recordings::table
        .filter(recordings::state.eq(RecordingState::Stored.as_str()))
        .filter(recordings::id.gt(id))
        .order(recordings::id.asc())
        .limit(i64::from(limit))
        .select((recordings::id, Row::as_select()))
        .load(conn)?;
    rows.into_iter().map(|(id, row)| Ok((id, row.recording()?))).collect()
}

pub(super) fn of_call(conn: &mut AnyConnection, sid: &CallSid) -> Result<Vec<Recording>, DbError> {
    let rows: Vec<Row> = recordings::table
        .filter(recordings::call_sid.eq(sid.as_str()))
        .order((recordings::started_ms.asc(), recordings::id.asc()))
        .select(Row::as_select())
        .load(conn)?;
    rows.into_iter().map(Row::recording).collect()
}

fn in_state(
    conn: &mut AnyConnection,
    state: RecordingState,
    started_before: UnixMillis,
    limit: u32,
) -> Result<Vec<Recording>, DbError> {
    let rows: Vec<Row> = recordings::table
        .filter(recordings::state.eq(state.as_str()))
        .filter(recordings::started_ms.lt(started_before.0))
        .order(recordings::started_ms.asc())
        .limit(i64::from(limit))
        .select(Row::as_select())
        .load(conn)?;
    rows.into_iter().map(Row::recording).collect()
}

/// Moves a recording from one state to another; false if it was in no such state.
fn move_on(
    conn: &mut AnyConnection,
    location: &str,
    from: &[RecordingState],
    to: RecordingState,
    now: UnixMillis,
) -> Result<bool, DbError> {
    let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
    let row =
        recordings::table.filter(recordings::location.eq(location)).filter(recordings::state.eq_any(from));
    let changed = diesel::update(row)
        .set((recordings::state.eq(to.as_str()), recordings::updated_ms.eq(now.0)))
        .execute(conn)?;
    Ok(changed > 0)
}

impl DbHandle {
    /// A call's recordings, in the order in which they were begun; mostly one.
    pub async fn recordings_of(&self, sid: CallSid) -> Result<Vec<Recording>, DbError> {
        self.read(move |conn| of_call(conn, &sid)).await
    }

    /// The recording at a location.
    pub async fn recording_at(&self, location: String) -> Result<Option<Recording>, DbError> {
        self.read(move |conn| at(conn, &location)).await
    }

    /// Recordings that lie on some disk and have a greater id than this, with their ids, by these.
    pub async fn stored_recordings(&self, after: i64, limit: u32) -> Result<Vec<(i64, Recording)>, DbError> {
        self.read(move |conn| stored_after(conn, after, limit)).await
    }

    /// Recordings in a state that were begun before a time, oldest first.
    pub async fn recordings_in(
        &self,
        state: RecordingState,
        started_before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<Recording>, DbError> {
        self.read(move |conn| in_state(conn, state, started_before, limit)).await
    }

    /// Moves a recording on, if it is in one of the states `from`.
    pub async fn recording_moved(
        &self,
        location: String,
        from: &'static [RecordingState],
        to: RecordingState,
        now: UnixMillis,
    ) -> Result<bool, DbError> {
        self.read(move |conn| move_on(conn, &location, from, to, now)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::TestDb;
    use crate::db::{JobEffect, JobQuery, Write};
    use crate::domain::job::{JobKind, JobState};

    fn recording(state: RecordingState) -> Recording {
        Recording {
            sid: CallSid::from("CA1"),
            location: "2026/11/22/CA1.wav".into(),
            state,
            bytes: 82,
            ms: 0,
            started: UnixMillis(5_000),
            offset_ms: 40,
            dropped_frames: 0,
        }
    }

    #[actix::test]
    async fn a_recording_is_followed_to_its_end_and_an_erased_one_stays_erased() {
        for test in TestDb::each() {
            let db = test.open();
            let write = |recording, at| Write::Recording {
                recording,
                upload_from: Some("disk".into()),
                at: UnixMillis(at),
            };
            db.write(write(recording(RecordingState::Recording), 1)).await.unwrap();
            let stored = Recording {
                bytes: 16_082,
                ms: 1_000,
                dropped_frames: 3,
                ..recording(RecordingState::Stored)
            };
            db.write(write(stored.clone(), 2)).await.unwrap();
            assert_eq!(db.recordings_of(CallSid::from("CA1")).await.unwrap(), std::slice::from_ref(&stored));
            assert_eq!(db.recordings_of(CallSid::from("CA2")).await.unwrap(), []);
            assert_eq!(db.recording_at(stored.location.clone()).await.unwrap().as_ref(), Some(&stored));
            let waiting = db.stored_recordings(0, 9).await.unwrap();
            assert_eq!((waiting.len(), &waiting[0].1), (1, &stored));
            assert!(db.stored_recordings(waiting[0].0, 9).await.unwrap().is_empty());
            // It is owed an upload from that disk, and by nobody else.
            let lease = |place: &str| {
                let (db, place) = (db.clone(), Some(place.to_owned()));
                async move { db.lease_jobs("me".into(), place, 9, UnixMillis(9), UnixMillis(99)).await.unwrap() }
            };
            let elsewhere = lease("another disk").await;
            assert!(elsewhere.jobs.is_empty() && elsewhere.next_due.is_none());
            let mut owed = lease("disk").await.jobs;
            assert_eq!(owed.len(), 1);
            let job = owed.remove(0);
            assert_eq!(
                (job.kind, &job.payload["location"]),
                (JobKind::Upload, &stored.location.as_str().into())
            );
            // Put back: as if nobody had looked.
            let later = JobEffect::Later { at: UnixMillis(50) };
            assert!(db.complete_job(job.lease, later, UnixMillis(10)).await.unwrap());
            let again = db.job(waiting[0].0).await.unwrap().unwrap();
            assert_eq!((again.state, again.attempts, again.next_run), (JobState::Queued, 0, UnixMillis(50)));
            db.write(write(stored.clone(), 3)).await.unwrap();
            assert_eq!(db.jobs(JobQuery { limit: 9, ..JobQuery::default() }).await.unwrap().len(), 1);
            let found = |db: &DbHandle, state, before| {
                let db = db.clone();
                async move { db.recordings_in(state, UnixMillis(before), 9).await.unwrap().len() }
            };
            assert_eq!(found(&db, RecordingState::Stored, 5_001).await, 1);
            assert_eq!(found(&db, RecordingState::Stored, 5_000).await, 0);
            let at = || stored.location.clone();
            let from = &[RecordingState::Stored];
            assert!(db.recording_moved(at(), from, RecordingState::Uploaded, UnixMillis(3)).await.unwrap());
            assert!(!db.recording_moved(at(), from, RecordingState::Erased, UnixMillis(3)).await.unwrap());
            let from = &[RecordingState::Stored, RecordingState::Uploaded];
            assert!(db.recording_moved(at(), from, RecordingState::Erased, UnixMillis(4)).await.unwrap());
            db.write(write(stored, 5)).await.unwrap();
            assert_eq!(found(&db, RecordingState::Erased, 9_000).await, 1);
            db.shutdown().await;
        }
    }
}
