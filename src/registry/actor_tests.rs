use super::*;
use crate::config::database::DatabaseConfig;
use crate::db::Database;
use crate::domain::call::{CallKind, CallStatus, Direction};
use crate::domain::ids::{AdmissionId, Epoch, ReplicaId, StreamSid};
use crate::domain::phone::CallerId;
use crate::registry::roster::{Admitted, Claimed, Commanded, NewCall, Onward};
use actix::Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

struct TestDb {
    database: Option<Database>,
    folder: PathBuf,
}

impl TestDb {
    fn open(queue: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("frontdesk-registry-{:032x}", rand::random::<u128>()));
        let url = format!("sqlite://{}/test.db", folder.display());
        let config = DatabaseConfig { url, queue, ..DatabaseConfig::default() };
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            database: Some(Database::open(&config, ReplicaId::from_bits(rand::random())).unwrap()),
            folder,
        }
    }

    fn handle(&self) -> DbHandle {
        self.database.as_ref().unwrap().handle()
    }

    async fn close(&mut self) {
        self.database.take().unwrap().shutdown().await;
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn limits(suspend: Duration) -> Limits {
    Limits { max_calls: 9, reservation: Duration::from_secs(60), suspend, max_breaks: 3 }
}

type Ended = mpsc::UnboundedReceiver<(CallSid, EndReason)>;

fn registry(db: DbHandle, suspend: Duration) -> (Registry, Ended) {
    let (tell, ended) = mpsc::unbounded_channel();
    let listeners = Listeners {
        ended: Box::new(move |facts, reason, _| tell.send((facts.sid, reason)).unwrap()),
        forsaken: Box::new(|_, _| {}),
    };
    let settings = Settings {
        ask: Duration::from_millis(500),
        heartbeat: Duration::from_secs(2),
        lease: Duration::from_secs(6),
        notice: Duration::ZERO,
        exclusive: true,
    };
    let cluster = Cluster::alone(db.replica().clone());
    (Registry::new(limits(suspend), db, cluster, settings, listeners), ended)
}

fn started(db: DbHandle) -> (Addr<Registry>, Ended) {
    let (registry, ended) = registry(db, Duration::from_secs(30));
    (registry.start(), ended)
}

fn new_call(sid: &str) -> NewCall {
    NewCall {
        sid: sid.into(),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::Withheld,
        business_number: "+12025550100".into(),
        admission: AdmissionId::from("a1"),
        unaffordable: false,
        lagging: false,
    }
}

fn facts(sid: &str, admitted_at: UnixMillis) -> CallFacts {
    CallFacts {
        sid: sid.into(),
        admission: "a1".into(),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::Withheld,
        business_number: "+12025550100".into(),
        admitted_at,
        epoch: Epoch(1),
    }
}

fn claim(sid: &str) -> ClaimStream {
    ClaimStream { facts: facts(sid, unix_now()), stream: StreamSid::new(format!("MZ{sid}")) }
}

async fn claimed(registry: &Addr<Registry>, sid: &str) {
    assert!(matches!(registry.send(Admit(new_call(sid))).await.unwrap(), Admitted::New(_)));
    assert!(matches!(registry.send(claim(sid)).await.unwrap(), Claimed::Granted { .. }));
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    End(EndReason),
    Staff(StaffOrder),
    Broke,
}

/// Stands for a call's actor and tells what it is told.
struct Probe(mpsc::UnboundedSender<Told>);
impl Actor for Probe {
    type Context = Context<Self>;
}
impl Handler<EndCall> for Probe {
    type Result = ();
    fn handle(&mut self, EndCall(reason): EndCall, _: &mut Self::Context) {
        self.0.send(Told::End(reason)).unwrap();
    }
}
impl Handler<StreamEvent> for Probe {
    type Result = ();
    fn handle(&mut self, event: StreamEvent, _: &mut Self::Context) {
        assert_eq!(event, StreamEvent::Broke);
        self.0.send(Told::Broke).unwrap();
    }
}
impl Handler<InjectFault> for Probe {
    type Result = ();
    fn handle(&mut self, _: InjectFault, _: &mut Self::Context) {}
}

impl Handler<StaffOrder> for Probe {
    type Result = bool;
    fn handle(&mut self, order: StaffOrder, _: &mut Self::Context) -> bool {
        let taken = order != StaffOrder::Say("Too late.".into());
        self.0.send(Told::Staff(order)).unwrap();
        taken
    }
}

fn report(sid: &str) -> (CallStarted, mpsc::UnboundedReceiver<Told>) {
    let (tell, told) = mpsc::unbounded_channel();
    let probe = Probe(tell).start();
    let report = CallStarted {
        sid: sid.into(),
        epoch: Epoch(1),
        end: probe.clone().recipient(),
        evict: probe.clone().recipient(),
        fault: probe.clone().recipient(),
        staff: probe.recipient(),
    };
    (report, told)
}

#[actix::test]
async fn what_a_call_does_not_do_any_more_is_told_to_whoever_ordered_it() {
    let mut db = TestDb::open(100);
    let (registry, _ended) = started(db.handle());
    claimed(&registry, "CA1").await;
    let (call, mut told) = report("CA1");
    registry.send(call).await.unwrap();
    let order = |text: &str| Command { sid: "CA1".into(), order: StaffOrder::Say(text.into()) };
    assert_eq!(registry.send(order("In time.")).await.unwrap(), Commanded::Done);
    assert_eq!(registry.send(order("Too late.")).await.unwrap(), Commanded::NotNow { state: "ending" });
    let mut said = Vec::new();
    while said.len() < 2 {
        if let Told::Staff(StaffOrder::Say(text)) = told.recv().await.unwrap() {
            said.push(text);
        }
    }
    assert_eq!(said, ["In time.", "Too late."], "the call itself was asked");
    db.close().await;
}

#[actix::test]
async fn an_end_between_claim_and_start_reaches_the_call() {
    let mut db = TestDb::open(100);
    let (registry, _ended) = started(db.handle());
    claimed(&registry, "CA1").await;
    assert!(registry.send(Finish { sid: "CA1".into(), reason: EndReason::Ended }).await.unwrap());
    let (call, mut told) = report("CA1");
    registry.send(call).await.unwrap();
    assert_eq!(told.recv().await, Some(Told::End(EndReason::Ended)));
    // Its stream was given up meanwhile: there is nothing for it to do.
    claimed(&registry, "CA2").await;
    registry.send(CallDied { sid: "CA2".into(), epoch: Epoch(1), stream: "MZCA2".into() }).await.unwrap();
    let (call, mut told) = report("CA2");
    registry.send(call).await.unwrap();
    assert_eq!(told.recv().await, Some(Told::Broke));
    db.close().await;
}

#[actix::test]
async fn a_live_call_without_an_actor_waits_for_its_next_stream() {
    let mut db = TestDb::open(100);
    let (mut registry, _ended) = registry(db.handle(), Duration::from_secs(30));
    let now = unix_now();
    for sid in ["CA1", "CA2", "CA3"] {
        registry.roster.admit(now, new_call(sid));
        let ask = claim(sid);
        registry.roster.claim(now, &ask.facts.sid, &ask.facts.admission, ask.facts.epoch, &ask.stream);
    }
    let lines = |call: CallStarted| Lines {
        epoch: call.epoch,
        end: call.end,
        evict: call.evict,
        fault: call.fault,
        staff: call.staff,
    };
    // CA1 never reported, CA2 lives, CA3 is gone.
    let (alive, _told) = report("CA2");
    registry.lines.insert("CA2".into(), lines(alive));
    let gone = {
        let (gone, told) = report("CA3");
        drop(told);
        gone
    };
    let gone = lines(gone);
    gone.end.do_send(EndCall(EndReason::Ended));
    registry.lines.insert("CA3".into(), gone);
    // The panic of the probe's task is its end.
    while registry.lines.get(&"CA3".into()).unwrap().end.connected() {
        tokio::task::yield_now().await;
    }
    registry.heal(now.after(Duration::from_secs(4)));
    assert!(registry.roster.list().iter().all(|c| c.state == "live"), "it may still report");
    registry.heal(now.after(Duration::from_secs(6)));
    let states: Vec<_> = registry.roster.list().iter().map(|c| (c.facts.sid.to_string(), c.state)).collect();
    assert_eq!(
        states,
        [("CA1".into(), "suspended"), ("CA2".into(), "live"), ("CA3".into(), "suspended")]
            .map(|(sid, state): (String, _)| (sid, state))
    );
    db.close().await;
}

#[actix::test]
async fn a_terminal_status_ends_a_call_that_only_the_database_knows_and_once() {
    let mut db = TestDb::open(100);
    let (registry, mut ended) = started(db.handle());
    db.handle().write(Write::CallAdmitted { facts: facts("CA1", UnixMillis(1)) }).await.unwrap();
    let status = |status| StatusCame { sid: "CA1".into(), status };
    registry.send(status(CallStatus::InProgress)).await.unwrap();
    registry.send(status(CallStatus::NoAnswer)).await.unwrap();
    registry.send(status(CallStatus::NoAnswer)).await.unwrap();
    assert_eq!(ended.recv().await, Some(("CA1".into(), EndReason::NoAnswer)));
    // Whoever asks afterwards has waited for both.
    let ask = GoOn { sid: "CA1".into(), status: None, dial: None, person: None };
    assert!(matches!(registry.send(ask).await.unwrap(), Onward::HangUp { .. }));
    assert!(ended.try_recv().is_err());
    db.handle().flush().await.unwrap();
    let call = db.handle().call_overview("CA1".into()).await.unwrap().unwrap();
    assert_eq!(call.end_reason, Some(EndReason::NoAnswer));
    db.close().await;
}

#[actix::test]
async fn a_caller_is_not_hung_up_on_because_the_database_is_away() {
    let mut db = TestDb::open(100);
    let (registry, _ended) = started(db.handle());
    let ask = || GoOn { sid: "CA1".into(), status: Some(CallStatus::InProgress), dial: None, person: None };
    assert!(matches!(registry.send(ask()).await.unwrap(), Onward::Unknown));
    db.close().await;
    assert!(matches!(registry.send(ask()).await.unwrap(), Onward::GiveUp));
}

#[actix::test]
async fn ends_that_the_database_refused_are_written_later_and_in_order() {
    let mut db = TestDb::open(1);
    let (mut registry, _ended) = registry(db.handle(), Duration::from_secs(30));
    // The writer is busy, and the one place in its queue is taken.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Mutex::new(released);
    let busy = db.handle().write(Write::Test(Arc::new(move |_| {
        let _ = released.lock().unwrap().recv();
        Ok(())
    })));
    let now = unix_now();
    registry.unwritten.record(Write::CallAdmitted { facts: facts("CA1", now) });
    registry.unwritten.record(Write::CallAnswered { sid: "CA1".into(), at: now });
    registry.roster.adopt(now, facts("CA1", now), Outcome::default(), None);
    let effects = registry.roster.finish(now, &"CA1".into(), EndReason::Silence);
    registry.perform(effects);
    assert_eq!(registry.unwritten.len(), 3);
    registry.unwritten.offer();
    assert_eq!(registry.unwritten.len(), 3, "still full");
    assert_eq!(db.handle().stats().refused, 0, "what is kept is not lost, however often it is offered");
    drop(release);
    busy.await.unwrap();
    while !registry.unwritten.is_empty() {
        registry.unwritten.offer();
        db.handle().flush().await.unwrap();
    }
    let call = db.handle().call_overview("CA1".into()).await.unwrap().unwrap();
    assert_eq!(call.end_reason, Some(EndReason::Silence));
    assert_eq!(call.answered_at, Some(now));
    db.close().await;
}

#[actix::test]
async fn calls_of_an_earlier_process_are_closed_if_nobody_comes_back_for_them() {
    let mut db = TestDb::open(100);
    db.handle().write(Write::CallAdmitted { facts: facts("CA1", UnixMillis(1)) }).await.unwrap();
    db.handle().write(Write::CallAdmitted { facts: facts("CA2", UnixMillis(1)) }).await.unwrap();
    db.handle().leave().await.unwrap();
    // One that is its own, and that it is about to be told of.
    db.handle().write(Write::CallAdmitted { facts: facts("CA3", UnixMillis(1)) }).await.unwrap();
    let (alone, mut ended) = registry(db.handle(), Duration::from_secs(4));
    let alone = alone.start();
    // Somebody is asked about one of them in time.
    let deadline = Instant::now() + Duration::from_secs(20);
    while alone.send(CountLive).await.unwrap().open < 2 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ask = GoOn { sid: "CA2".into(), status: Some(CallStatus::InProgress), dial: None, person: None };
    let Onward::Reconnect(facts) = alone.send(ask).await.unwrap() else { panic!() };
    let claim = ClaimStream { facts, stream: "MZ2".into() };
    assert!(matches!(alone.send(claim).await.unwrap(), Claimed::Granted { .. }));
    assert_eq!(ended.recv().await, Some(("CA1".into(), EndReason::Lost)));
    alone.send(CountLive).await.unwrap();
    assert!(ended.try_recv().is_err());
    db.handle().flush().await.unwrap();
    let open = db.handle().open_calls().await.unwrap();
    assert_eq!(open.iter().map(|c| c.facts.sid.to_string()).collect::<Vec<_>>(), ["CA2", "CA3"]);
    db.close().await;
}
