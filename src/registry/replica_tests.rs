//! Registries of several replicas that share a database and a hub.

mod outages;

use super::actor::{Listeners, Registry, Settings};
use super::messages::*;
use super::roster::{Admitted, Claimed, Commanded, Limits, NewCall, NewOutbound, Onward, Refusal};
use crate::call::messages::{CallLeft, Departure, EndCall, InjectFault, NextStep, StaffOrder, StreamEvent};
use crate::cluster::Hub;
use crate::db::tests::support::TestDb;
use crate::db::{Database, DbHandle, Write};
use crate::dialogue::prompt::Outbound;
use crate::domain::call::{CallFacts, CallKind, CallStatus, Direction, EndReason, Outcome};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId};
use crate::domain::phone::{CallerId, PhoneNumber};
use crate::domain::turn::{Parting, ResumeState, Speaker, StageLatencies, TurnRecord};
use actix::{Actor, ActorContext as _, Addr, Context, Handler, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Long enough that nobody lapses because the machine is busy.
const NEVER: Duration = Duration::from_secs(60);
/// Short enough to wait for.
const SOON: Duration = Duration::from_secs(3);

/// The process is gone, all at once.
#[derive(Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Registry {
    type Result = ();
    fn handle(&mut self, _: Die, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// The process stands still, as far as others see it: its heart does not beat.
#[derive(Message)]
#[rtype(result = "()")]
struct Freeze(bool);

impl Handler<Freeze> for Registry {
    type Result = ();
    fn handle(&mut self, Freeze(frozen): Freeze, _: &mut Self::Context) {
        self.presence.over = frozen;
    }
}

struct Replica {
    database: Option<Database>,
    registry: Addr<Registry>,
    ended: mpsc::UnboundedReceiver<(CallSid, EndReason)>,
    forsaken: mpsc::UnboundedReceiver<CallSid>,
}

impl Replica {
    fn db(&self) -> DbHandle {
        self.database.as_ref().unwrap().handle()
    }

    fn id(&self) -> ReplicaId {
        self.db().replica().clone()
    }

    async fn admit(&self, sid: &str) -> Admitted {
        let call = NewCall {
            sid: sid.into(),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            caller: CallerId::Withheld,
            business_number: "+12025550100".into(),
            admission: AdmissionId::new(format!("{:032x}", rand::random::<u128>())),
            unaffordable: false,
            lagging: false,
        };
        self.registry.send(Admit(call)).await.unwrap()
    }

    async fn new_call(&self, sid: &str) -> CallFacts {
        let Admitted::New(facts) = self.admit(sid).await else { panic!("it is new") };
        facts
    }

    async fn claim(&self, facts: &CallFacts) -> Claimed {
        let stream = format!("MZ{}", rand::random::<u64>()).as_str().into();
        self.registry.send(ClaimStream { facts: facts.clone(), stream }).await.unwrap()
    }

    /// A stream that is let in, with an actor.
    async fn live(&self, facts: &CallFacts) -> (CallFacts, mpsc::UnboundedReceiver<Told>) {
        let claimed = self.claim(facts).await;
        let Claimed::Granted { facts, .. } = claimed else { panic!("{claimed:?}") };
        let (tell, told) = mpsc::unbounded_channel();
        let probe = Probe(tell).start();
        let report = CallStarted {
            sid: facts.sid.clone(),
            epoch: facts.epoch,
            end: probe.clone().recipient(),
            evict: probe.clone().recipient(),
            fault: probe.clone().recipient(),
            staff: probe.recipient(),
        };
        self.registry.send(report).await.unwrap();
        (facts, told)
    }

    async fn leaves(&self, facts: &CallFacts, departure: Departure, parting: Parting) {
        let resume = ResumeState { facts: vec!["known".into()], parting, ..ResumeState::default() };
        let left = CallLeft {
            sid: facts.sid.clone(),
            epoch: facts.epoch,
            departure,
            outcome: Outcome::default(),
            resume: Box::new(resume),
        };
        self.registry.send(left).await.unwrap();
    }

    async fn go_on(&self, sid: &str) -> Onward {
        let status = Some(CallStatus::InProgress);
        self.registry.send(GoOn { sid: sid.into(), status, dial: None, person: None }).await.unwrap()
    }

    async fn reconnect(&self, sid: &str) -> CallFacts {
        match self.go_on(sid).await {
            Onward::Reconnect(facts) => facts,
            onward => panic!("{onward:?}"),
        }
    }

    async fn here(&self) -> usize {
        self.registry.send(CountLive).await.unwrap().here
    }

    /// Waits until the database says that a call is this replica's.
    async fn until_ours(&self, sid: &str) {
        let me = self.id();
        until(async || {
            self.db().flush().await.unwrap();
            let owner = self.db().owner_of(sid.into()).await.unwrap();
            owner.and_then(|owner| owner.replica) == Some(me.clone())
        })
        .await;
    }

    async fn events(&self, sid: &str) -> Vec<String> {
        self.db().flush().await.unwrap();
        self.db().events(sid.into()).await.unwrap().into_iter().map(|row| row.event.code).collect()
    }

    async fn die(&mut self) {
        self.registry.send(Die).await.unwrap();
        self.database.take().unwrap().shutdown().await;
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !is_so().await {
        assert!(Instant::now() < deadline, "it does not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    End(EndReason),
    Staff(StaffOrder),
    Stream(StreamEvent),
}

/// What it is told next of its stream.
async fn stream_event(told: &mut mpsc::UnboundedReceiver<Told>) -> StreamEvent {
    loop {
        if let Told::Stream(event) = told.recv().await.expect("it lives") {
            return event;
        }
    }
}

/// Stands for a call's actor and tells what it is told.
struct Probe(mpsc::UnboundedSender<Told>);
impl Actor for Probe {
    type Context = Context<Self>;
}
impl Handler<EndCall> for Probe {
    type Result = ();
    fn handle(&mut self, EndCall(reason): EndCall, _: &mut Self::Context) {
        let _ = self.0.send(Told::End(reason));
    }
}
impl Handler<StreamEvent> for Probe {
    type Result = ();
    fn handle(&mut self, event: StreamEvent, _: &mut Self::Context) {
        let _ = self.0.send(Told::Stream(event));
    }
}
impl Handler<InjectFault> for Probe {
    type Result = ();
    fn handle(&mut self, _: InjectFault, _: &mut Self::Context) {}
}
impl Handler<StaffOrder> for Probe {
    type Result = bool;
    fn handle(&mut self, order: StaffOrder, _: &mut Self::Context) -> bool {
        let _ = self.0.send(Told::Staff(order));
        true
    }
}

struct World {
    hub: Hub,
    replicas: Vec<Replica>,
    test: TestDb,
}

impl World {
    /// So many replicas, each of which takes the others for dead after `lease`.
    async fn new(test: TestDb, n: usize, lease: Duration) -> Self {
        let hub = Hub::new();
        // Whoever opens a file takes all others for dead: nobody is to have said anything yet.
        let databases: Vec<Database> = (0..n).map(|_| test.open()).collect();
        let replicas =
            databases.into_iter().map(|database| start(database, &hub, lease, Duration::ZERO)).collect();
        let this = Self { hub, replicas, test };
        for replica in &this.replicas {
            until(async || {
                let all = replica.registry.send(Company).await.unwrap();
                all == n - 1
            })
            .await;
        }
        this
    }

    fn cut(&self, i: usize) {
        self.hub.cut(&self.replicas[i].id());
    }

    async fn close(self) {
        for replica in self.replicas {
            if let Some(database) = replica.database {
                replica.registry.send(Die).await.unwrap();
                database.shutdown().await;
            }
        }
        drop(self.test);
    }
}

/// Starts one of which whoever sends calls may not know before `notice` is over.
fn start(database: Database, hub: &Hub, lease: Duration, notice: Duration) -> Replica {
    let limits = Limits {
        max_calls: 9,
        reservation: Duration::from_secs(60),
        suspend: if lease == SOON { Duration::from_secs(3) } else { Duration::from_secs(60) },
        max_breaks: 9,
    };
    let settings = Settings {
        ask: Duration::from_millis(800),
        heartbeat: Duration::from_millis(150),
        lease,
        notice,
        exclusive: false,
    };
    let (tell_end, ended) = mpsc::unbounded_channel();
    let (tell_forsaken, forsaken) = mpsc::unbounded_channel();
    let listeners = Listeners {
        ended: Box::new(move |facts, reason, _| {
            let _ = tell_end.send((facts.sid, reason));
        }),
        forsaken: Box::new(move |calls, _| {
            for sid in calls {
                let _ = tell_forsaken.send(sid);
            }
        }),
    };
    let cluster = hub.join(database.replica().clone());
    let registry = Registry::new(limits, database.handle(), cluster, settings, listeners).start();
    Replica { database: Some(database), registry, ended, forsaken }
}

/// How many others it sees.
#[derive(Message)]
#[rtype(result = "usize")]
struct Company;

impl Handler<Company> for Registry {
    type Result = usize;
    fn handle(&mut self, _: Company, _: &mut Self::Context) -> usize {
        self.company().count()
    }
}

fn turn(n: u32, words: &str) -> TurnRecord {
    TurnRecord {
        n,
        speaker: Speaker::Caller,
        said: words.into(),
        heard: words.into(),
        interrupted: false,
        at_ms: 0,
        latency: StageLatencies::default(),
    }
}

const BROKE: Departure = Departure::Broke;

#[actix::test]
async fn a_stream_that_comes_elsewhere_brings_its_call_along() {
    for test in TestDb::each() {
        let world = World::new(test, 3, NEVER).await;
        let [a, b, c] = &world.replicas[..] else { panic!() };
        let facts = a.new_call("CA1").await;
        a.db().flush().await.unwrap();
        // The webhook is repeated, at another one: the same call, and not one more.
        let Admitted::Again(again) = b.admit("CA1").await else { panic!() };
        assert_eq!(again.admission, facts.admission);
        let (live, _told) = b.live(&again).await;
        assert_eq!((live.epoch, a.here().await, b.here().await), (Epoch(1), 0, 1));
        b.until_ours("CA1").await;
        for replica in [a, b, c] {
            let refused = replica.claim(&facts).await;
            assert!(matches!(refused, Claimed::Refused(Refusal::Spent)), "{refused:?}");
        }
        // It breaks; the next question and the next stream come to two others.
        b.db()
            .write(Write::Turn { sid: "CA1".into(), epoch: Epoch(1), turn: turn(1, "Hello.") })
            .await
            .unwrap();
        let last = Write::Turn { sid: "CA1".into(), epoch: Epoch(1), turn: turn(2, "Still there?") };
        b.db().record(last).unwrap();
        b.leaves(&live, BROKE, Parting::Broke).await;
        let onward = c.reconnect("CA1").await;
        assert_eq!(onward.epoch, Epoch(2));
        let claimed = a.claim(&onward).await;
        let Claimed::Granted { facts, resume, .. } = claimed else { panic!("{claimed:?}") };
        assert_eq!((facts.epoch, resume.unwrap().facts), (Epoch(2), vec!["known".to_owned()]));
        a.until_ours("CA1").await;
        assert_eq!(a.db().turns("CA1".into()).await.unwrap().len(), 2, "all of it was written before");
        let events = a.events("CA1").await;
        assert_eq!(events.iter().filter(|code| *code == "call.moved").count(), 2, "{events:?}");
        assert!(!events.contains(&"call.taken_over".to_owned()), "{events:?}");
        world.close().await;
    }
}

#[actix::test]
async fn what_is_decided_is_told_by_whoever_is_asked_and_outlives_who_decided() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, NEVER).await;
        let goodbye = || Departure::Decided {
            next: NextStep::HangUp { say: Some("Goodbye.".into()) },
            reason: Some(EndReason::Completed),
        };
        let dial = Departure::Decided { next: NextStep::Dial { say: None }, reason: None };
        {
            let [a, b] = &world.replicas[..] else { panic!() };
            for sid in ["CA1", "CA2", "CA3"] {
                let (facts, _told) = a.live(&a.new_call(sid).await).await;
                let departure = if sid == "CA3" { dial.clone() } else { goodbye() };
                a.leaves(&facts, departure, Parting::Broke).await;
            }
            let onward = b.go_on("CA1").await;
            assert!(matches!(onward, Onward::HangUp { say: Some(words) } if words == "Goodbye."));
            a.db().flush().await.unwrap();
        }
        world.replicas[0].die().await;
        let b = &world.replicas[1];
        for sid in ["CA1", "CA2"] {
            let onward = b.go_on(sid).await;
            assert!(
                matches!(&onward, Onward::HangUp { say: Some(words) } if words == "Goodbye."),
                "{onward:?}"
            );
        }
        assert!(matches!(b.go_on("CA3").await, Onward::Dial { .. }));
        assert!(matches!(b.go_on("CA3").await, Onward::Dial { .. }), "asked again");
        world.close().await;
    }
}

#[actix::test]
async fn the_calls_of_a_dead_replica_go_on_at_whoever_is_asked() {
    for test in TestDb::each() {
        let mut world = World::new(test, 3, NEVER).await;
        let (live, token) = {
            let a = &world.replicas[0];
            let (live, _told) = a.live(&a.new_call("CA1").await).await;
            // One whose stream has not come yet.
            let token = a.new_call("CA2").await;
            a.db()
                .write(Write::Turn { sid: "CA1".into(), epoch: Epoch(1), turn: turn(1, "Hi.") })
                .await
                .unwrap();
            (live, token)
        };
        world.replicas[0].die().await;
        let [_, b, c] = &mut world.replicas[..] else { panic!() };
        // Several ask at once: one gets it.
        let (first, second) = futures_util::future::join(b.go_on("CA1"), c.go_on("CA1")).await;
        let (Onward::Reconnect(first), Onward::Reconnect(second)) = (first, second) else { panic!() };
        assert_eq!(first, second);
        assert!(first.epoch > live.epoch);
        let (resumed, _told) = c.live(&first).await;
        assert_eq!(b.here().await + c.here().await, 1);
        c.until_ours("CA1").await;
        // Its token is still good, once.
        let claimed = b.claim(&token).await;
        assert!(matches!(claimed, Claimed::Granted { .. }), "{claimed:?}");
        assert!(matches!(c.claim(&token).await, Claimed::Refused(Refusal::Spent)));
        // It ends once, for good.
        c.leaves(&resumed, Departure::Ended { reason: EndReason::Completed }, Parting::Broke).await;
        assert_eq!(c.ended.recv().await, Some(("CA1".into(), EndReason::Completed)));
        c.db().flush().await.unwrap();
        assert!(matches!(b.go_on("CA1").await, Onward::HangUp { .. }));
        let stored = b.db().call_overview("CA1".into()).await.unwrap().unwrap();
        assert_eq!(stored.end_reason, Some(EndReason::Completed));
        assert_eq!(b.events("CA1").await.iter().filter(|code| *code == "call.taken_over").count(), 1);
        assert!(b.ended.try_recv().is_err());
        world.close().await;
    }
}

#[actix::test]
async fn a_replica_that_is_not_heard_of_is_taken_over_by_one_and_what_nobody_comes_back_for_is_closed_once() {
    for test in TestDb::each() {
        let mut world = World::new(test, 3, SOON).await;
        {
            let a = &world.replicas[0];
            a.live(&a.new_call("CA1").await).await;
            a.db().flush().await.unwrap();
        }
        world.replicas[0].die().await;
        let [_, b, c] = &mut world.replicas[..] else { panic!() };
        let by_b = tokio::select! {
            sid = b.forsaken.recv() => { assert_eq!(sid, Some("CA1".into())); true }
            sid = c.forsaken.recv() => { assert_eq!(sid, Some("CA1".into())); false }
            () = tokio::time::sleep(Duration::from_secs(40)) => panic!("nobody takes it over"),
        };
        let (taker, other) = if by_b { (b, c) } else { (c, b) };
        assert_eq!((taker.here().await, other.here().await), (1, 0));
        assert_eq!(taker.ended.recv().await, Some(("CA1".into(), EndReason::Lost)));
        taker.db().flush().await.unwrap();
        assert!(other.ended.try_recv().is_err() && other.forsaken.try_recv().is_err());
        let events = taker.events("CA1").await;
        assert_eq!(events.iter().filter(|code| *code == "call.ended").count(), 1, "{events:?}");
        world.close().await;
    }
}

#[actix::test]
async fn one_that_only_the_database_does_not_hear_keeps_its_calls() {
    for test in TestDb::each() {
        let mut world = World::new(test, 3, SOON).await;
        let mut told = {
            let [a, _, c] = &world.replicas[..] else { panic!() };
            c.live(&c.new_call("CA2").await).await;
            let (_, told) = a.live(&a.new_call("CA1").await).await;
            a.db().flush().await.unwrap();
            c.db().flush().await.unwrap();
            told
        };
        world.replicas[0].registry.send(Freeze(true)).await.unwrap();
        let b = &world.replicas[1];
        until(async || b.registry.send(Company).await.unwrap() == 1).await;
        world.replicas[2].die().await;
        // By the time that the calls of the dead one are taken over, those of the other would have been.
        let [a, b, _] = &mut world.replicas[..] else { panic!() };
        assert_eq!(b.forsaken.recv().await, Some("CA2".into()));
        let owner = b.db().owner_of("CA1".into()).await.unwrap().unwrap();
        assert_eq!(owner.replica, Some(a.id()));
        assert_eq!((a.here().await, b.here().await), (1, 1));
        a.registry.send(Freeze(false)).await.unwrap();
        until(async || b.registry.send(Company).await.unwrap() == 1).await;
        while let Ok(told) = told.try_recv() {
            assert!(matches!(told, Told::Staff(_)), "its caller has noticed {told:?}");
        }
        world.close().await;
    }
}

#[actix::test]
async fn one_that_was_only_frozen_falls_silent_when_it_wakes() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, SOON).await;
        let (live, mut told) = {
            let a = &world.replicas[0];
            a.live(&a.new_call("CA1").await).await
        };
        world.replicas[0].registry.send(Freeze(true)).await.unwrap();
        world.cut(0);
        {
            let b = &mut world.replicas[1];
            assert_eq!(b.forsaken.recv().await, Some("CA1".into()));
            b.live(&b.reconnect("CA1").await).await;
            b.until_ours("CA1").await;
        }
        world.replicas[0].registry.send(Freeze(false)).await.unwrap();
        let [a, b] = &mut world.replicas[..] else { panic!() };
        assert_eq!(stream_event(&mut told).await, StreamEvent::Broke);
        a.leaves(&live, Departure::Ended { reason: EndReason::Apology }, Parting::Broke).await;
        assert_eq!((a.here().await, b.here().await), (0, 1));
        assert!(a.ended.try_recv().is_err(), "it says nothing of a call that is another's");
        a.db().flush().await.unwrap();
        let stored = b.db().call_overview("CA1".into()).await.unwrap().unwrap();
        assert_eq!(stored.ended_at, None);
        world.close().await;
    }
}

#[actix::test]
async fn calls_move_through_the_database_where_replicas_cannot_ask_each_other() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, NEVER).await;
        let (live, mut told) = {
            let a = &world.replicas[0];
            a.live(&a.new_call("CA1").await).await
        };
        world.cut(0);
        let [a, b] = &mut world.replicas[..] else { panic!() };
        a.db().flush().await.unwrap();
        // Staff are told that it is out of reach; the caller is not torn away for that.
        let mute = Command { sid: "CA1".into(), order: StaffOrder::Mute(true) };
        assert!(matches!(b.registry.send(mute).await.unwrap(), Commanded::NotNow { .. }));
        assert_eq!(a.here().await, 1);
        let (resumed, _told) = b.live(&b.reconnect("CA1").await).await;
        b.until_ours("CA1").await;
        // What the one before writes is refused, and that is how it learns of it.
        let stale = Write::Turn { sid: "CA1".into(), epoch: live.epoch, turn: turn(9, "Hello?") };
        assert!(a.db().write(stale).await.is_err());
        assert_eq!(stream_event(&mut told).await, StreamEvent::Broke);
        assert_eq!((a.here().await, b.here().await), (0, 1));
        assert!(resumed.epoch > live.epoch && a.ended.try_recv().is_err());
        world.close().await;
    }
}

#[actix::test]
async fn where_nobody_can_be_asked_a_token_is_enough_and_that_is_noted() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, NEVER).await;
        let [_, b] = &mut world.replicas[..] else { panic!() };
        let facts = CallFacts {
            sid: "CA1".into(),
            admission: "a1".into(),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            caller: CallerId::Withheld,
            business_number: "+12025550100".into(),
            admitted_at: crate::observe::clock::unix_now(),
            epoch: Epoch(1),
        };
        // The others can be asked, and nobody has heard of it.
        assert!(matches!(b.claim(&facts).await, Claimed::Refused(Refusal::Unknown)));
        let id = b.id();
        world.hub.cut(&id);
        let [_, b] = &mut world.replicas[..] else { panic!() };
        let claimed = b.claim(&facts).await;
        assert!(matches!(claimed, Claimed::Granted { .. }), "{claimed:?}");
        assert!(matches!(b.claim(&facts).await, Claimed::Refused(Refusal::Spent)));
        b.until_ours("CA1").await;
        assert!(b.events("CA1").await.contains(&"call.vouched".to_owned()));
        world.close().await;
    }
}

#[actix::test]
async fn staff_reach_a_call_wherever_it_is_and_see_all_of_them() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, NEVER).await;
        let mut told = {
            let [a, b] = &world.replicas[..] else { panic!() };
            let (live, mut told) = a.live(&a.new_call("CA1").await).await;
            b.new_call("CA2").await;
            let order = |order| Command { sid: "CA1".into(), order };
            let say = StaffOrder::Say("Hello.".into());
            assert_eq!(b.registry.send(order(say.clone())).await.unwrap(), Commanded::Done);
            until(async || told.try_recv() == Ok(Told::Staff(say.clone()))).await;
            for replica in [a, b] {
                let list = replica.registry.send(ListLive).await.unwrap();
                let sids: Vec<&str> = list.iter().map(|call| call.facts.sid.as_str()).collect();
                assert_eq!(sids, ["CA1", "CA2"]);
                assert_eq!(list[0].state, "live");
            }
            until(async || a.registry.send(CountLive).await.unwrap().everywhere == 2).await;
            let unknown = Command { sid: "CA9".into(), order: say };
            assert_eq!(b.registry.send(unknown).await.unwrap(), Commanded::Unknown);
            // It is silenced while nobody has it, and stays so at whoever goes on with it.
            let state = ResumeState { facts: vec!["known".into()], ..ResumeState::default() };
            let saved = Write::Resume { sid: "CA1".into(), epoch: live.epoch, state };
            a.db().write(saved).await.unwrap();
            a.leaves(&live, BROKE, Parting::Broke).await;
            let mute = order(StaffOrder::Mute(true));
            assert_eq!(b.registry.send(mute).await.unwrap(), Commanded::Done);
            a.db().flush().await.unwrap();
            told
        };
        world.replicas[0].die().await;
        let b = &world.replicas[1];
        let claimed = b.claim(&b.reconnect("CA1").await).await;
        let Claimed::Granted { resume: Some(resume), .. } = claimed else { panic!("{claimed:?}") };
        assert!(resume.muted && resume.facts == ["known"]);
        told.close();
        world.close().await;
    }
}

#[actix::test]
async fn a_status_callback_ends_a_call_where_it_is_and_once() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, NEVER).await;
        let [a, b] = &mut world.replicas[..] else { panic!() };
        a.new_call("CA1").await;
        a.db().flush().await.unwrap();
        for replica in [&*b, &*a, &*b] {
            let came = StatusCame { sid: "CA1".into(), status: CallStatus::NoAnswer };
            replica.registry.send(came).await.unwrap();
        }
        assert_eq!(a.ended.recv().await, Some(("CA1".into(), EndReason::NoAnswer)));
        assert!(matches!(b.go_on("CA1").await, Onward::HangUp { .. }));
        assert!(b.ended.try_recv().is_err() && a.ended.try_recv().is_err());
        world.close().await;
    }
}

#[actix::test]
async fn a_call_that_one_placed_is_answered_at_another() {
    for test in TestDb::each() {
        let world = World::new(test, 2, NEVER).await;
        let [a, b] = &world.replicas[..] else { panic!() };
        let call = NewOutbound {
            admission: "a1".into(),
            to: PhoneNumber::from_e164("+12025550143").unwrap(),
            business_number: "+12025550100".into(),
            brief: Arc::new(Outbound { purpose: Some("your appointment".into()), context: None }),
        };
        assert!(a.registry.send(Place(call)).await.unwrap());
        // Whoever was rung is faster than Twilio's answer to who placed it.
        b.registry.send(Placed { admission: "a1".into(), sid: "CA1".into() }).await.unwrap();
        let Admitted::Again(facts) = b.admit("CA1").await else { panic!() };
        assert_eq!((facts.admission.as_str(), facts.direction), ("a1", Direction::Outbound));
        let claimed = b.claim(&facts).await;
        let Claimed::Granted { brief: Some(brief), .. } = claimed else { panic!("{claimed:?}") };
        assert_eq!(brief.purpose.as_deref(), Some("your appointment"));
        assert_eq!((a.here().await, b.here().await), (0, 1));
        world.close().await;
    }
}

#[actix::test]
async fn one_that_is_about_to_end_gives_its_calls_away_in_their_pauses() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, NEVER).await;
        let [a, b] = &mut world.replicas[..] else { panic!() };
        let (live, mut told) = a.live(&a.new_call("CA1").await).await;
        let within = Duration::from_secs(7);
        a.registry.send(CloseDoor { handover: within }).await.unwrap();
        assert_eq!(stream_event(&mut told).await, StreamEvent::LetGo { within });
        assert!(matches!(a.admit("CA2").await, Admitted::Full));
        a.leaves(&live, BROKE, Parting::AtPause).await;
        let onward = b.reconnect("CA1").await;
        assert_eq!(a.here().await, 1, "it is waited for until its stream is there");
        let claimed = b.claim(&onward).await;
        let Claimed::Granted { resume: Some(resume), .. } = claimed else { panic!("{claimed:?}") };
        assert_eq!(resume.parting, Parting::AtPause);
        assert_eq!((a.here().await, b.here().await), (0, 1));
        // The next one that ends has nobody to give it to, and keeps what it has.
        until(async || {
            let peers = b.registry.send(Heirs).await.unwrap();
            peers == 0
        })
        .await;
        world.close().await;
    }
}

#[actix::test]
async fn one_that_is_about_to_end_and_hears_nobody_sees_in_the_database_that_its_calls_go_on() {
    for test in TestDb::each() {
        let mut world = World::new(test, 2, NEVER).await;
        let facts = world.replicas[0].new_call("CA1").await;
        let (live, mut told) = world.replicas[0].live(&facts).await;
        world.cut(0);
        let [a, b] = &mut world.replicas[..] else { panic!() };
        let within = Duration::from_secs(7);
        a.registry.send(CloseDoor { handover: within }).await.unwrap();
        assert_eq!(stream_event(&mut told).await, StreamEvent::LetGo { within });
        a.leaves(&live, BROKE, Parting::AtPause).await;
        a.db().flush().await.unwrap();
        let onward = b.reconnect("CA1").await;
        assert!(matches!(b.claim(&onward).await, Claimed::Granted { .. }));
        b.until_ours("CA1").await;
        // It is not waited for until it counts as lost.
        until(async || a.here().await == 0).await;
        assert!(a.ended.try_recv().is_err(), "it goes on");
        assert_eq!(b.here().await, 1);
        world.close().await;
    }
}

#[actix::test]
async fn nobody_lets_go_of_a_call_because_of_one_that_has_just_begun() {
    for (notice, heirs) in [(Duration::from_secs(3_600), 0), (Duration::from_millis(200), 1)] {
        for test in TestDb::each() {
            let mut world = World::new(test, 1, NEVER).await;
            let database = world.test.open();
            world.replicas.push(start(database, &world.hub, NEVER, notice));
            let a = &world.replicas[0];
            until(async || a.registry.send(Company).await.unwrap() == 1).await;
            if heirs == 0 {
                assert_eq!(a.registry.send(Heirs).await.unwrap(), 0, "the balancer does not know of it");
            }
            until(async || a.registry.send(Heirs).await.unwrap() == heirs).await;
            world.close().await;
        }
    }
}

/// How many others go on with calls.
#[derive(Message)]
#[rtype(result = "usize")]
struct Heirs;

impl Handler<Heirs> for Registry {
    type Result = usize;
    fn handle(&mut self, _: Heirs, _: &mut Self::Context) -> usize {
        self.company().filter(|peer| !peer.draining).count()
    }
}
