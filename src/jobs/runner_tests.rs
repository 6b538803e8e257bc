use super::*;
use crate::config::database::DatabaseConfig;
use crate::config::retention::RetentionConfig;
use crate::db::{Database, JobQuery, Presence, StoredJob, Write};
use crate::domain::call::SummaryState;
use crate::domain::call::{CallFacts, CallKind, Direction, EndReason, Outcome};
use crate::domain::ids::{Epoch, ReplicaId};
use crate::domain::job::JobState;
use crate::domain::phone::CallerId;
use crate::domain::time::UnixMillis;
use crate::domain::turn::{Speaker, StageLatencies, TurnRecord};
use crate::jobs::retention::{Recordings, Retention};
use crate::jobs::summary::Writers;
use crate::provider::llm::{ChatMessage, ChatModel, ChatRequest, ChatStream, Completion, JsonShape};
use crate::provider::{ProviderError, ProviderErrorKind};
use actix::Addr;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

const AT_ONCE: usize = 4;

/// Answers with the transcript after a few turns of the loop, or fails; counts how many ask at once.
#[derive(Default)]
struct FakeModel {
    /// Fails so often, this way.
    failures: Cell<u32>,
    kind: Option<ProviderErrorKind>,
    /// Knows nothing of shapes.
    shapeless: bool,
    panics: bool,
    now: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
    asked: Rc<Cell<usize>>,
    /// Answers come once so many are being written at the same time.
    together: Option<Rc<tokio::sync::Barrier>>,
}

impl FakeModel {
    fn failing(kind: ProviderErrorKind) -> Self {
        Self { failures: Cell::new(u32::MAX), kind: Some(kind), ..Self::default() }
    }
}

impl ChatModel for FakeModel {
    fn name(&self) -> &str {
        if self.kind.is_some() { "failing" } else { "fake" }
    }

    fn chat(&self, _: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        panic!("summaries are asked for whole")
    }

    fn complete(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let ChatMessage::User(text) = request.messages[1].clone() else { panic!() };
        let (now, most) = (Rc::clone(&self.now), Rc::clone(&self.most));
        let together = self.together.clone();
        self.asked.set(self.asked.get() + 1);
        let failure = self.kind.clone().filter(|_| self.failures.get() > 0);
        self.failures.set(self.failures.get().saturating_sub(1));
        let panics = self.panics;
        Box::pin(async move {
            assert!(!panics, "asked for");
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            if let Some(together) = together {
                together.wait().await;
            }
            now.set(now.get() - 1);
            match failure {
                Some(kind) => Err(ProviderError::new("fake", kind, "fake_error")),
                None => Ok(Completion { text, usage: None }),
            }
        })
    }

    fn complete_json(
        &self,
        request: &ChatRequest,
        _: &JsonShape,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        if self.shapeless {
            self.asked.set(self.asked.get() + 100);
            let error = ProviderError::new("fake", ProviderErrorKind::Refused, "no_shapes");
            return Box::pin(async { Err(error) });
        }
        let ChatMessage::User(text) = request.messages[1].clone() else { panic!() };
        let plain = self.complete(request);
        Box::pin(async move {
            plain.await?;
            let text = serde_json::json!({
                "summary": text, "intent": "appointment", "lead_name": "Ann", "message": null, "follow_up": null,
                "sentiment": "neutral",
            });
            Ok(Completion { text: text.to_string(), usage: None })
        })
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

struct TestDb {
    database: Database,
    folder: PathBuf,
}

impl TestDb {
    fn open() -> Self {
        let folder = std::env::temp_dir().join(format!("frontdesk-jobs-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("sqlite://{}/test.db", folder.display());
        let database = Database::open(
            &DatabaseConfig { url, ..DatabaseConfig::default() },
            ReplicaId::from_bits(rand::random()),
        )
        .unwrap();
        Self { database, folder }
    }

    /// Queues a call that has ended.
    fn call(&self, sid: &str, reason: EndReason) {
        let facts = CallFacts {
            sid: sid.into(),
            admission: "a1".into(),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            caller: CallerId::Withheld,
            business_number: "+12025550100".into(),
            admitted_at: UnixMillis(1),
            epoch: Epoch(1),
        };
        let turn = TurnRecord {
            n: 1,
            speaker: Speaker::Caller,
            said: "A haircut.".into(),
            heard: "A haircut.".into(),
            interrupted: false,
            at_ms: 1,
            latency: StageLatencies::default(),
        };
        for write in [
            Write::CallAdmitted { facts },
            Write::Turn { sid: sid.into(), epoch: Epoch(1), turn },
            Write::CallEnded { sid: sid.into(), at: UnixMillis(2), reason, outcome: Outcome::default() },
        ] {
            self.database.record(write).unwrap();
        }
    }

    async fn summary(&self, sid: &str) -> (SummaryState, Option<String>) {
        let call = self.database.call_overview(sid.into()).await.unwrap().unwrap();
        (call.summary_state, call.summary)
    }

    async fn job(&self, key: &str) -> StoredJob {
        let all = self.database.jobs(JobQuery { limit: 100, ..JobQuery::default() }).await.unwrap();
        all.into_iter().find(|job| job.key == key).unwrap()
    }

    /// Waits until a job stands so.
    async fn until(&self, key: &str, state: JobState) -> StoredJob {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let job = self.job(key).await;
            if job.state == state {
                return job;
            }
            assert!(Instant::now() < deadline, "{job:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn runner(&self, models: Vec<FakeModel>) -> Addr<JobRunner> {
        self.runner_with(models, None, RetentionConfig::default())
    }

    fn runner_with(
        &self,
        models: Vec<FakeModel>,
        recordings: Option<Rc<dyn Recordings>>,
        retention: RetentionConfig,
    ) -> Addr<JobRunner> {
        let settings = Settings {
            at_once: AT_ONCE,
            attempts: 3,
            retry: Duration::from_millis(10),
            retry_max: Duration::from_millis(50),
            lease: Duration::from_secs(60),
            // Only what wakes the runner, or a job's own time, has it look.
            poll: Duration::from_secs(600),
        };
        let models = models.into_iter().map(|model| -> Rc<dyn ChatModel> { Rc::new(model) }).collect();
        let work = Work {
            db: self.database.handle(),
            writers: Writers::new(models),
            retention: Retention::new(retention, recordings),
            prices: crate::config::prices::PricesConfig::default(),
            recordings: crate::storage::store::Store::new(&Default::default()).unwrap(),
            place: None,
        };
        JobRunner::new(settings, work).start()
    }

    async fn close(self) {
        self.database.shutdown().await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn stop(runner: &Addr<JobRunner>) {
    runner.send(Stop { limit: Duration::from_secs(30) }).await.unwrap();
}

#[actix::test]
async fn a_summary_waits_for_the_turns_that_are_still_queued() {
    let db = TestDb::open();
    let runner = db.runner(vec![FakeModel::default()]);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let busy = db.database.write(Write::Test(Arc::new(move |_| {
        let _ = released.lock().unwrap().recv();
        Ok(())
    })));
    db.call("CA1", EndReason::Completed);
    runner.send(Wake).await.unwrap();
    // A reader does not wait for the writer: by now the turns would have been looked for.
    assert!(db.database.turns("CA1".into()).await.unwrap().is_empty());
    drop(release);
    busy.await.unwrap();
    db.database.flush().await.unwrap();
    db.until("summary:CA1", JobState::Done).await;
    assert_eq!(db.summary("CA1").await, (SummaryState::Done, Some("Caller: A haircut.".into())));
    let call = db.database.call_overview("CA1".into()).await.unwrap().unwrap();
    let outcome = db.database.call_outcome(call.id).await.unwrap().unwrap();
    assert_eq!((outcome.outcome["intent"].as_str(), outcome.model.as_str()), (Some("appointment"), "fake"));
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn few_jobs_run_at_once_and_the_others_follow_without_being_called() {
    let db = TestDb::open();
    // Twenty calls in groups of exactly as many as may be written at once: fewer at once would wait for ever.
    let together = Some(Rc::new(tokio::sync::Barrier::new(AT_ONCE)));
    let model = FakeModel { together, ..FakeModel::default() };
    let most = Rc::clone(&model.most);
    for n in 0..20 {
        db.call(&format!("CA{n}"), EndReason::Completed);
    }
    db.database.flush().await.unwrap();
    // The clean-up of the day may hold a place for a moment.
    let runner = db.runner(vec![model]);
    for n in 0..20 {
        db.until(&format!("summary:CA{n}"), JobState::Done).await;
    }
    assert_eq!(most.get(), AT_ONCE);
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn a_stop_does_not_wait_for_another_attempt_and_the_next_start_makes_it() {
    let db = TestDb::open();
    db.call("CA1", EndReason::Completed);
    db.database.flush().await.unwrap();
    let asked_to_wait = ProviderErrorKind::RateLimited { retry_after: Some(Duration::from_secs(120)) };
    let failing = FakeModel::failing(asked_to_wait);
    let asked = Rc::clone(&failing.asked);
    let runner = db.runner(vec![failing]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while asked.get() == 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    stop(&runner).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let job = db.job("summary:CA1").await;
    assert_eq!((asked.get(), job.state), (1, JobState::Queued));
    assert_eq!(job.last_error.as_deref(), Some("fake.fake_error"));
    assert_eq!(db.summary("CA1").await.0, SummaryState::Pending);

    db.database.retry_job(job.id, UnixMillis(3)).await.unwrap();
    let runner = db.runner(vec![FakeModel::default()]);
    db.until("summary:CA1", JobState::Done).await;
    assert_eq!(db.summary("CA1").await.0, SummaryState::Done);
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn a_job_of_a_process_that_died_is_taken_up_and_done_once() {
    let db = TestDb::open();
    db.call("CA1", EndReason::Completed);
    db.database.flush().await.unwrap();
    let far = UnixMillis(i64::MAX / 2);
    let dead =
        db.database.lease_jobs("dead".into(), None, 9, UnixMillis(3), far).await.unwrap().jobs.remove(0);
    let gone = ReplicaId::from("dead");
    let presence = Presence { id: gone.clone(), version: "1".into(), calls: 0, draining: false };
    db.database.heartbeat(presence).await.unwrap();
    let runner = db.runner(vec![FakeModel::default()]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    db.database.take_over_lapsed(gone, Duration::ZERO).await.unwrap();
    runner.do_send(Wake);
    let job = db.until("summary:CA1", JobState::Done).await;
    assert_eq!(job.attempts, 2);
    // It was not so dead after all: nothing of what it brings is kept.
    let late = crate::db::JobEffect::Summary {
        sid: "CA1".into(),
        text: "late".into(),
        insight: None,
        model: "m".into(),
        used: vec![],
    };
    assert!(!db.database.complete_job(dead.lease, late, UnixMillis(9)).await.unwrap());
    assert_eq!(db.summary("CA1").await.1.as_deref(), Some("Caller: A haircut."));
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn where_the_first_model_fails_the_next_one_writes() {
    let db = TestDb::open();
    db.call("CA1", EndReason::Completed);
    db.database.flush().await.unwrap();
    let runner = db.runner(vec![FakeModel::failing(ProviderErrorKind::Server), FakeModel::default()]);
    let job = db.until("summary:CA1", JobState::Done).await;
    assert_eq!((job.attempts, job.last_error), (1, None));
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn a_host_that_takes_no_shapes_is_asked_without_and_only_once_with() {
    let db = TestDb::open();
    let model = FakeModel { shapeless: true, ..FakeModel::default() };
    let asked = Rc::clone(&model.asked);
    let runner = db.runner(vec![model]);
    for sid in ["CA1", "CA2"] {
        db.call(sid, EndReason::Completed);
        db.database.flush().await.unwrap();
        runner.do_send(Wake);
        db.until(&format!("summary:{sid}"), JobState::Done).await;
    }
    assert_eq!(asked.get(), 102);
    assert_eq!(db.summary("CA2").await.1.as_deref(), Some("Caller: A haircut."));
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn a_failure_is_tried_again_by_itself_until_the_job_is_laid_aside_and_staff_call_for_it() {
    let db = TestDb::open();
    db.call("CA1", EndReason::Completed);
    db.database.flush().await.unwrap();
    let model = FakeModel { failures: Cell::new(3), ..FakeModel::failing(ProviderErrorKind::Server) };
    let asked = Rc::clone(&model.asked);
    let runner = db.runner(vec![model]);
    let job = db.until("summary:CA1", JobState::Dead).await;
    assert_eq!((job.attempts, asked.get()), (3, 3));
    assert_eq!(job.last_error.as_deref(), Some("fake.fake_error"));
    db.database.retry_job(job.id, crate::observe::clock::unix_now()).await.unwrap();
    runner.do_send(Wake);
    let job = db.until("summary:CA1", JobState::Done).await;
    assert_eq!((job.attempts, asked.get()), (1, 4));
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn a_refused_request_is_laid_aside_at_once() {
    let db = TestDb::open();
    db.call("CA1", EndReason::Completed);
    db.database.flush().await.unwrap();
    let runner = db.runner(vec![FakeModel::failing(ProviderErrorKind::Refused)]);
    assert_eq!(db.until("summary:CA1", JobState::Dead).await.attempts, 1);
    stop(&runner).await;
    db.close().await;
}

#[actix::test]
async fn a_job_that_panics_fails_alone() {
    let db = TestDb::open();
    db.call("CA1", EndReason::Apology);
    db.database.flush().await.unwrap();
    let runner = db.runner(vec![FakeModel { panics: true, ..FakeModel::default() }]);
    let job = db.until("summary:CA1", JobState::Dead).await;
    assert_eq!(job.last_error.as_deref(), Some("job.panicked"));
    db.until("callback:CA1", JobState::Done).await;
    let listed = db.database.messages(9).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].text.ends_with("The caller said: A haircut."), "{}", listed[0].text);
    stop(&runner).await;
    db.close().await;
}

struct FakeRecordings(RefCell<Vec<UnixMillis>>);

impl Recordings for FakeRecordings {
    fn delete_before(&self, ended_before: UnixMillis) -> LocalBoxFuture<'static, Result<u64, String>> {
        self.0.borrow_mut().push(ended_before);
        Box::pin(async { Ok(1) })
    }
}

#[actix::test]
async fn once_a_day_what_is_too_old_goes() {
    let db = TestDb::open();
    db.call("CA1", EndReason::Completed);
    db.database.flush().await.unwrap();
    let recordings = Rc::new(FakeRecordings(RefCell::default()));
    let config = RetentionConfig { calls_days: 1, recordings_days: 0, ..RetentionConfig::default() };
    let runner = db.runner_with(vec![FakeModel::default()], Some(recordings.clone()), config);
    let deadline = Instant::now() + Duration::from_secs(30);
    while db.database.counts().await.unwrap().calls > 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // By whatever day it was when the runner began.
    let all = db.database.jobs(JobQuery { limit: 100, ..JobQuery::default() }).await.unwrap();
    let retention = all.into_iter().find(|job| job.key.starts_with("retention:")).unwrap();
    db.until(&retention.key, JobState::Done).await;
    assert_eq!(recordings.0.borrow().len(), 1);
    stop(&runner).await;
    db.close().await;
}
