use super::*;
use crate::audio::wav::stereo::About;
use crate::db::Write;
use crate::db::tests::{TestDb, admitted};
use crate::domain::call::{EndReason, Outcome};
use crate::domain::ids::CallSid;
use crate::storage::part::Part;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use std::path::Path;
use std::sync::Arc;

const PLACE: &str = "2026/11/22/CA1.wav";

/// A recording on the disk, known to the database as it stands.
async fn recorded(db: &DbHandle, folder: &Path, state: RecordingState) {
    let mut part = Part::open(folder, PLACE, About { started_ms: 1, offset_ms: 0 }).unwrap();
    part.append(&[7; 1_600]).unwrap();
    let recording = part.describe(CallSid::from("CA1"), PLACE, state);
    part.complete().unwrap();
    db.write(Write::Recording { recording, upload_from: None, at: UnixMillis(1) }).await.unwrap();
}

fn store(folder: &Path) -> (Store, Arc<InMemory>) {
    let remote = Arc::new(InMemory::new());
    (Store::over(folder, Arc::clone(&remote) as Arc<dyn ObjectStore>), remote)
}

async fn lies_there(remote: &InMemory) -> bool {
    remote.head(&format!("calls/{PLACE}").as_str().into()).await.is_ok()
}

async fn end(db: &DbHandle) {
    let (reason, outcome) = (EndReason::Completed, Outcome::default());
    db.write(Write::CallEnded { sid: "CA1".into(), at: UnixMillis(9), reason, outcome }).await.unwrap();
}

#[actix::test]
async fn a_recording_is_uploaded_once_its_call_has_ended_and_only_then_leaves_the_disk() {
    for test in TestDb::each() {
        let db = test.open();
        let folder = test.folder.join("rec");
        let (store, remote) = store(&folder);
        let file = folder.join(PLACE);
        let again = || upload(&db, &store, PLACE.to_owned());
        assert!(matches!(again().await, Ok(JobEffect::Nothing)), "nobody knows of it");
        db.write(admitted("CA1", 1)).await.unwrap();
        recorded(&db, &folder, RecordingState::Stored).await;
        // Another process may yet go on with the call, and write behind what is there.
        assert!(matches!(again().await, Ok(JobEffect::Later { .. })));
        assert!(!lies_there(&remote).await && file.exists());
        end(&db).await;
        assert!(matches!(again().await, Ok(JobEffect::Nothing)));
        assert!(lies_there(&remote).await && !file.exists());
        let recording = db.recording_at(PLACE.to_owned()).await.unwrap().unwrap();
        assert_eq!(recording.state, RecordingState::Uploaded);
        assert_eq!(store.open(&recording).await.unwrap().length(), recording.bytes);
        // Whoever takes the job over from a process that was killed here finds nothing left to do.
        assert!(matches!(again().await, Ok(JobEffect::Nothing)));
        db.shutdown().await;
    }
}

#[actix::test]
async fn an_upload_goes_on_wherever_it_was_stopped() {
    for (state, there, kept) in [
        // Killed before the file here was deleted.
        (RecordingState::Uploaded, true, true),
        // Erased, by staff or by age, while it was on its way.
        (RecordingState::Erased, true, false),
        (RecordingState::Erased, false, false),
        // Uploaded, and killed before that was written down.
        (RecordingState::Stored, true, true),
    ] {
        let test = TestDb::sqlite();
        let db = test.open();
        let folder = test.folder.join("rec");
        let (store, remote) = store(&folder);
        recorded(&db, &folder, state).await;
        if there {
            store.upload(PLACE).await.unwrap();
        }
        assert!(matches!(upload(&db, &store, PLACE.to_owned()).await, Ok(JobEffect::Nothing)));
        assert!(!folder.join(PLACE).exists(), "{state:?}");
        assert_eq!(lies_there(&remote).await, kept, "{state:?}");
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_recording_that_lies_nowhere_is_laid_aside_at_once() {
    let test = TestDb::sqlite();
    let db = test.open();
    let folder = test.folder.join("rec");
    let (store, _) = store(&folder);
    recorded(&db, &folder, RecordingState::Stored).await;
    std::fs::remove_file(folder.join(PLACE)).unwrap();
    let failure = upload(&db, &store, PLACE.to_owned()).await.unwrap_err();
    assert_eq!(failure, Failure { code: "recordings.not_there".into(), again: Again::Never });
    db.shutdown().await;
}

#[actix::test]
async fn recordings_of_a_version_without_jobs_are_queued_where_they_lie() {
    let test = TestDb::sqlite();
    let db = test.open();
    let folder = test.folder.join("rec");
    let (store, _) = store(&folder);
    recorded(&db, &folder, RecordingState::Stored).await;
    let mut elsewhere = db.recording_at(PLACE.to_owned()).await.unwrap().unwrap();
    elsewhere.location = "2026/11/22/CA2.wav".into();
    db.write(Write::Recording { recording: elsewhere, upload_from: None, at: UnixMillis(1) }).await.unwrap();
    for _ in 0..2 {
        queue_waiting(db.handle(), store.clone(), "disk".into()).await;
    }
    let jobs = db.jobs(crate::db::JobQuery { limit: 9, ..Default::default() }).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.key.as_str()).collect::<Vec<_>>(), [format!("upload:{PLACE}")]);
    db.shutdown().await;
}
