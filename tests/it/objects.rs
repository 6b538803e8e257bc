//! Recordings in an object store: over a socket, with its failures, and with processes that are killed.

use crate::support::process::{Place, Process};
use crate::support::{Desk, barbershop};
use frontdesk::api::secret::fingerprint;
use frontdesk::audio::wav::stereo::HEADER_BYTES;
use frontdesk::config::Config;
use frontdesk::config::recording::RecordingConfig;
use frontdesk::db::{DbHandle, JobQuery, StoredJob};
use frontdesk::domain::appointment::CustomerPatch;
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::job::JobState;
use frontdesk::domain::phone::PhoneNumber;
use frontdesk::domain::recording::{Recording, RecordingState};
use frontdesk::domain::staff::Scope;
use frontdesk::domain::time::UnixMillis;
use frontdesk::jobs::recordings::delete_before;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::faults::{After, Fault, FaultRule, Service};
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use frontdesk::sim::vendors::s3::S3Config;
use frontdesk::storage::store::Store;
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder of a test's own, removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("frontdesk-it-s3-{:032x}", rand::random::<u128>())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Recordings go to the simulated bucket, by way of a folder.
fn to_bucket(recording: &mut RecordingConfig, s3_url: String, spool: &Path) {
    let s3 = S3Config::default();
    recording.enabled = true;
    recording.url = format!("s3://{}/calls", s3.bucket);
    recording.spool = spool.display().to_string();
    recording.s3_base_url = Some(s3_url);
    recording.s3_access_key_id = Some(SecretString::from(s3.access_key_id));
    recording.s3_secret_access_key = Some(SecretString::from(s3.secret_access_key));
}

async fn desk(spool: &Path, change: impl FnOnce(&mut Config)) -> Desk {
    let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
        let url = format!("{}/s3", config.twilio.base_url);
        to_bucket(&mut config.recording, url, spool);
        (config.jobs.poll_ms, config.jobs.retry_ms, config.jobs.retry_max_ms) = (100, 100, 400);
        change(config);
    })
    .await;
    desk.db()
        .add_key("test".into(), fingerprint("fd_test"), Scope::Admin, UnixMillis(0))
        .await
        .expect("a key");
    desk
}

const SHORT: &str = "name = \"short\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nsay = \"Never mind.\"\n\
                     [[step]]\nhang_up = true\n";

/// Waits until a call's recording stands so.
async fn until(db: &DbHandle, sid: &CallSid, state: RecordingState) -> Recording {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let all = db.recordings_of(sid.clone()).await.unwrap_or_default();
        if let Some(found) = all.iter().find(|recording| recording.state == state) {
            return found.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "never {state:?}: {all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the upload of a recording stands so.
async fn until_job(db: &DbHandle, location: &str, holds: impl Fn(&StoredJob) -> bool) -> StoredJob {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let key = format!("upload:{location}");
    loop {
        let jobs = db.jobs(JobQuery { limit: 100, ..JobQuery::default() }).await.unwrap_or_default();
        if let Some(job) = jobs.iter().find(|job| job.key == key && holds(job)) {
            return job.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "{key} does not come about: {jobs:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks the API; gives the status and the body.
async fn ask(desk: &Desk, method: &str, path: &str, range: Option<&str>) -> (u16, Vec<u8>) {
    let method = awc::http::Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = awc::Client::default()
        .request(method, format!("{}{path}", desk.stack().base_url))
        .insert_header(("Authorization", "Bearer fd_test"));
    if let Some(range) = range {
        request = request.insert_header(("Range", range));
    }
    let mut response = request.timeout(Duration::from_secs(30)).send().await.expect("an answer");
    let body = response.body().limit(64 << 20).await.map(|body| body.to_vec()).unwrap_or_default();
    (response.status().as_u16(), body)
}

fn puts(fault: Fault) -> FaultRule {
    FaultRule::always(Service::S3, fault).containing("PUT /s3")
}

#[actix::test]
async fn a_recording_plays_shows_and_is_erased_from_the_bucket_as_from_the_disk() {
    let folder = Folder::new();
    let desk = desk(&folder.0, |_| {}).await;
    let call = desk.call(SHORT).await;
    let sid = call.overview.facts.sid.clone();
    let recording = until(desk.db(), &sid, RecordingState::Uploaded).await;
    let job = until_job(desk.db(), &recording.location, |job| job.state == JobState::Done).await;
    assert_eq!(job.attempts, 1);
    let objects = desk.stack().vendors.objects.clone();
    let key = format!("calls/{}", recording.location);
    let object = objects.get(&key).expect("it is there");
    assert_eq!(object.len() as u64, recording.bytes);
    assert!(!folder.0.join(&recording.location).exists(), "and not here any more");

    let path = format!("/api/calls/{}/recording", call.overview.id);
    let (status, body) = ask(&desk, "GET", &path, None).await;
    assert!(status == 200 && body == object, "{status}");
    let (status, body) = ask(&desk, "GET", &path, Some("bytes=82-1081")).await;
    assert!(status == 206 && body == object[HEADER_BYTES..HEADER_BYTES + 1_000], "{status}");
    assert_eq!(ask(&desk, "GET", &path, Some("bytes=99999999-")).await.0, 416);
    let (status, body) = ask(&desk, "GET", &path.replace("recording", "waveform"), None).await;
    let waveform: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, waveform["ms"].as_u64()), (200, Some(recording.ms)));
    assert!(waveform["peaks"]["caller"].as_array().expect("peaks").iter().any(|p| p.as_u64() > Some(5)));

    // Out of reach, it is neither lost nor forgotten.
    let number = call.overview.facts.caller.number().expect("a number").as_str().to_owned();
    let patch = CustomerPatch { phone: PhoneNumber::from_e164(&number).ok(), ..CustomerPatch::default() };
    let customer = desk.db().upsert_customer(patch, None, UnixMillis(0)).await.expect("stored").id;
    let erase = format!("/api/customers/{customer}/erase?dry_run=false");
    desk.fault(FaultRule::always(Service::S3, Fault::Refuse { status: 503, code: None }));
    assert_eq!(ask(&desk, "GET", &path, None).await.0, 503);
    assert_eq!(ask(&desk, "POST", &erase, None).await.0, 503);
    assert!(objects.get(&key).is_some());
    assert_eq!(desk.db().turns(sid.clone()).await.unwrap().len(), call.turns.len(), "nothing is half erased");
    desk.stack().vendors.faults.clear();
    assert_eq!(ask(&desk, "POST", &erase, None).await.0, 200);
    assert_eq!(objects.keys(), Vec::<String>::new());
    assert_eq!(ask(&desk, "GET", &path, None).await.0, 404);
    assert!(desk.db().turns(sid).await.unwrap().is_empty());
    desk.close().await;
}

#[actix::test]
async fn nothing_is_lost_whatever_the_bucket_does_and_old_recordings_leave_it() {
    let folder = Folder::new();
    // More attempts than there is time for before the bucket answers again.
    let desk = desk(&folder.0, |config| config.jobs.attempts = 100).await;
    let faults = desk.stack().vendors.faults.clone();
    faults.add(puts(Fault::Refuse { status: 503, code: None }));
    let call = desk.call(SHORT).await;
    let sid = call.overview.facts.sid.clone();
    let recording = until(desk.db(), &sid, RecordingState::Stored).await;
    let job = until_job(desk.db(), &recording.location, |job| job.attempts >= 2).await;
    assert_eq!(job.last_error.as_deref(), Some("recordings.store"));
    let file = folder.0.join(&recording.location);
    assert!(file.exists() && desk.stack().vendors.objects.keys().is_empty());
    let path = format!("/api/calls/{}/recording", call.overview.id);
    let (status, body) = ask(&desk, "GET", &path, None).await;
    assert!(status == 200 && body.len() as u64 == recording.bytes, "it plays from here meanwhile");

    // Cut in the middle; taken, but the answer is lost; slow. Each time it is sent again.
    faults.set(vec![
        puts(Fault::Cut { after: After::bytes(4_000) }).times(1),
        puts(Fault::Cut { after: After::bytes(u64::MAX) }).skipping(1).times(1),
        puts(Fault::Slow { ms: 300 }).skipping(2).times(1),
    ]);
    until(desk.db(), &sid, RecordingState::Uploaded).await;
    until_job(desk.db(), &recording.location, |job| job.state == JobState::Done).await;
    assert!(faults.rules().is_empty(), "all of it has happened: {:?}", faults.rules());
    let object = desk.stack().vendors.objects.get(&format!("calls/{}", recording.location)).expect("there");
    assert!(object == body && !file.exists());

    // Its time has come; a dry run only tells.
    let mut config = RecordingConfig::default();
    to_bucket(&mut config, desk.stack().vendors.s3_url.clone(), &folder.0);
    let store = Store::new(&config).expect("a store");
    let before = UnixMillis(i64::MAX);
    let dry = delete_before(desk.db(), &store, before, true).await.expect("told");
    assert_eq!((dry.locations, dry.bytes), (vec![recording.location], recording.bytes));
    assert_eq!(desk.stack().vendors.objects.keys().len(), 1);
    delete_before(desk.db(), &store, before, false).await.expect("deleted");
    assert_eq!(desk.stack().vendors.objects.keys(), Vec::<String>::new());
    assert_eq!(ask(&desk, "GET", &path, None).await.0, 404);
    desk.close().await;
}

#[actix::test]
async fn an_upload_that_keeps_failing_is_laid_aside_and_done_when_staff_ask_for_it() {
    let folder = Folder::new();
    let desk = desk(&folder.0, |config| config.jobs.attempts = 2).await;
    desk.fault(puts(Fault::Refuse { status: 403, code: None }));
    let call = desk.call(SHORT).await;
    let sid = call.overview.facts.sid.clone();
    let recording = until(desk.db(), &sid, RecordingState::Stored).await;
    let job = until_job(desk.db(), &recording.location, |job| job.state == JobState::Dead).await;
    assert!(folder.0.join(&recording.location).exists());
    desk.stack().vendors.faults.clear();
    assert_eq!(ask(&desk, "POST", &format!("/api/jobs/{}/retry", job.id), None).await.0, 200);
    until(desk.db(), &sid, RecordingState::Uploaded).await;
    until_job(desk.db(), &recording.location, |job| job.state == JobState::Done).await;
    assert!(!folder.0.join(&recording.location).exists());
    desk.close().await;
}

#[actix::test]
async fn a_process_killed_in_an_upload_owes_it_and_the_next_one_does_it_once() {
    let place = Place::new();
    place.vendors.faults.add(puts(Fault::Hang));
    let (s3, spool) = (S3Config::default(), place.folder.join("spool"));
    let (url, folder) = (place.vendors.s3_url.clone(), spool.display().to_string());
    let settings = [
        ("RECORDING", "on"),
        ("RECORDINGS_URL", "s3://recordings/calls"),
        ("FRONTDESK_RECORDING_S3_BASE_URL", url.as_str()),
        ("FRONTDESK_RECORDING_SPOOL", folder.as_str()),
        ("AWS_ACCESS_KEY_ID", s3.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", s3.secret_access_key.as_str()),
        ("FRONTDESK_JOBS_POLL_MS", "100"),
    ];
    let server = Process::start(&place, &settings);
    let text = format!("CA{:032x}", rand::random::<u128>());
    let sid = CallSid::from(text.as_str());
    run_call(&place.caller(&text), &Script::parse(SHORT).expect("a script")).await;
    let database = place.database().await;
    let recording = until(&database, &sid, RecordingState::Stored).await;
    let job = until_job(&database, &recording.location, |job| job.state == JobState::Leased).await;
    assert_eq!(job.attempts, 1);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while place.vendors.stats().s3.in_flight == 0 {
        assert!(tokio::time::Instant::now() < deadline, "nothing is on its way");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.kill();
    let file = spool.join(&recording.location);
    let bytes = std::fs::read(&file).expect("it is still here");
    assert_eq!(bytes.len() as u64, recording.bytes);
    assert!(place.vendors.objects.keys().is_empty());

    place.vendors.faults.clear();
    let server = Process::start(&place, &settings);
    let job = until_job(&database, &recording.location, |job| job.state == JobState::Done).await;
    assert_eq!(job.attempts, 2);
    until(&database, &sid, RecordingState::Uploaded).await;
    assert!(place.vendors.objects.get(&format!("calls/{}", recording.location)).expect("there") == bytes);
    assert!(!file.exists());
    server.kill();

    // A further start finds nothing to do.
    let puts =
        || place.vendors.faults.seen(Service::S3).iter().filter(|text| text.starts_with("PUT")).count();
    let before = puts();
    let server = Process::start(&place, &settings);
    let again = until_job(&database, &recording.location, |_| true).await;
    assert_eq!((again.state, again.done, puts()), (JobState::Done, job.done, before));
    server.kill();
    assert_eq!(place.vendors.violations(), []);
    database.shutdown().await;
}
