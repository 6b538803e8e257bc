use super::*;
use crate::config::database::DatabaseConfig;
use crate::db::{Database, SummaryState};
use crate::domain::call::{CallFacts, CallKind, Direction, EndReason, Outcome};
use crate::domain::ids::Epoch;
use crate::domain::phone::CallerId;
use crate::domain::turn::StageLatencies;
use crate::provider::llm::{ChatStream, Completion};
use crate::provider::{ProviderError, ProviderErrorKind};
use futures_util::future::LocalBoxFuture;
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Answers after a few turns of the loop, or fails; counts how many ask at once.
#[derive(Default)]
struct FakeModel {
    fails: bool,
    now: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
    asked: Rc<Cell<usize>>,
    /// Answers come once so many are being written at the same time.
    together: Option<Rc<tokio::sync::Barrier>>,
}

impl ChatModel for FakeModel {
    fn name(&self) -> &str {
        "fake"
    }

    fn chat(&self, _: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        panic!("summaries are asked for whole")
    }

    fn complete(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let ChatMessage::User(text) = request.messages[1].clone() else { panic!() };
        let (now, most, fails) = (Rc::clone(&self.now), Rc::clone(&self.most), self.fails);
        let together = self.together.clone();
        self.asked.set(self.asked.get() + 1);
        Box::pin(async move {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            if let Some(together) = together {
                together.wait().await;
            }
            now.set(now.get() - 1);
            match fails {
                true => Err(ProviderError::new("fake", ProviderErrorKind::Server, "fake_error")),
                false => Ok(Completion { text, usage: None }),
            }
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
        let folder = std::env::temp_dir().join(format!("frontdesk-summary-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("sqlite://{}/test.db", folder.display());
        let database = Database::open(&DatabaseConfig { url, ..DatabaseConfig::default() }).unwrap();
        Self { database, folder }
    }

    /// Queues a call that has ended.
    fn call(&self, sid: &str) {
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
        let (reason, outcome) = (EndReason::Completed, Outcome::default());
        for write in [
            Write::CallAdmitted { facts },
            Write::Turn { sid: sid.into(), epoch: Epoch(1), turn },
            Write::CallEnded { sid: sid.into(), at: UnixMillis(2), reason, outcome },
        ] {
            self.database.record(write).unwrap();
        }
    }

    async fn summary(&self, sid: &str) -> (SummaryState, Option<String>) {
        let call = self.database.call_overview(sid.into()).await.unwrap().unwrap();
        (call.summary_state, call.summary)
    }

    async fn close(self) {
        self.database.shutdown().await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn summaries(db: &TestDb, model: FakeModel) -> (Summaries, SummariesEnd) {
    let (wires, end) = wires();
    (Summaries::new(db.database.handle(), Rc::new(model), wires), end)
}

#[actix::test]
async fn a_summary_waits_for_the_turns_that_are_still_queued() {
    let db = TestDb::open();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let busy = db.database.write(Write::Test(Arc::new(move |_| {
        let _ = released.lock().unwrap().recv();
        Ok(())
    })));
    db.call("CA1");
    let (summaries, end) = summaries(&db, FakeModel::default());
    summaries.write("CA1".into());
    // A reader does not wait for the writer: by now the turns would have been looked for.
    assert!(db.database.turns("CA1".into()).await.unwrap().is_empty());
    drop(release);
    busy.await.unwrap();
    end.finish(Duration::from_secs(30)).await;
    assert_eq!(db.summary("CA1").await, (SummaryState::Done, Some("Caller: A haircut.".into())));
    db.close().await;
}

#[actix::test]
async fn few_summaries_are_written_at_once_and_a_stop_waits_for_all() {
    let db = TestDb::open();
    // Twenty calls in groups of exactly as many as may be written at once: fewer at once would wait for ever.
    let together = Some(Rc::new(tokio::sync::Barrier::new(AT_ONCE)));
    let model = FakeModel { together, ..FakeModel::default() };
    let most = Rc::clone(&model.most);
    let (summaries, end) = summaries(&db, model);
    for n in 0..20 {
        db.call(&format!("CA{n}"));
        summaries.write(format!("CA{n}").as_str().into());
    }
    end.finish(Duration::from_secs(30)).await;
    for n in 0..20 {
        assert_eq!(db.summary(&format!("CA{n}")).await.0, SummaryState::Done);
    }
    assert_eq!(most.get(), AT_ONCE);
    db.close().await;
}

#[actix::test]
async fn a_stop_does_not_wait_for_another_attempt_and_the_next_start_makes_it() {
    let db = TestDb::open();
    db.call("CA1");
    let model = FakeModel { fails: true, ..FakeModel::default() };
    let asked = Rc::clone(&model.asked);
    let (failing, end) = summaries(&db, model);
    failing.write("CA1".into());
    let begun = Instant::now();
    end.finish(Duration::from_secs(30)).await;
    assert!(begun.elapsed() < WAIT, "{:?}", begun.elapsed());
    assert_eq!(asked.get(), 1);
    assert_eq!(db.summary("CA1").await.0, SummaryState::Pending);

    let (next, end) = summaries(&db, FakeModel::default());
    assert_eq!(db.database.pending_summaries(UnixMillis(2), 9).await.unwrap(), [] as [CallSid; 0]);
    let sids = db.database.pending_summaries(UnixMillis(3), 9).await.unwrap();
    assert_eq!(sids, ["CA1".into()] as [CallSid; 1]);
    let mut under_way = end.under_way.clone();
    next.take_up(UnixMillis(3));
    under_way.wait_for(|n| *n == 1).await.unwrap();
    end.finish(Duration::from_secs(30)).await;
    assert_eq!(db.summary("CA1").await.0, SummaryState::Done);
    db.close().await;
}
