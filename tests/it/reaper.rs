//! Twilio's list of calls and ours are compared: what one side has missed is mended, what is not ours is left alone.

use crate::support::database::{on_both, use_postgres};
use crate::support::{Desk, barbershop};
use frontdesk::db::{Database, Presence, Write};
use frontdesk::domain::call::{CallFacts, CallKind, Direction, EndReason};
use frontdesk::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId};
use frontdesk::domain::phone::CallerId;
use frontdesk::domain::time::UnixMillis;
use frontdesk::observe::clock::unix_now;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::faults::{Fault, FaultRule, Service};
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use frontdesk::sim::vendors::twilio_calls::{CallUpdate, SimCall};
use serde_json::json;
use std::time::Duration;

on_both!(
    a_call_whose_stop_and_status_callback_were_both_lost_is_ended,
    a_call_that_twilio_still_holds_after_we_ended_it_is_hung_up,
    a_call_of_somebody_else_in_the_same_account_is_never_touched,
    a_call_that_is_open_and_that_nobody_has_is_asked_to_come_back,
);

/// How often is compared, ms.
const EVERY: u64 = 300;

async fn desk(person: bool) -> Desk {
    let mut profile = barbershop();
    profile.transfer_number = person.then(|| "+12025550177".to_owned());
    Desk::with(profile, VendorsConfig::default(), |config| {
        config.twilio.reaper_ms = EVERY;
        // What ends a call here is the comparison and nothing else.
        config.twilio.suspend_ms = 600_000;
        config.twilio.reservation_ms = 600_000;
        config.call.idle_prompt_ms = 600_000;
    })
    .await
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within 40 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until Twilio's list was asked for in so many rounds more: for both ends of a call each.
async fn rounds(desk: &Desk, n: usize) {
    let asked = async || {
        let mut vendors = 0;
        for request in desk.stack().vendors.faults.seen(Service::Twilio) {
            vendors += usize::from(request.starts_with("GET ") && request.contains("/Calls.json"));
        }
        vendors
    };
    let before = asked().await;
    until("rounds of comparison", async || asked().await >= before + 2 * n).await;
}

fn sid() -> String {
    format!("CA{:032x}", rand::random::<u128>())
}

/// A call that is up at Twilio with our number.
fn up(desk: &Desk, sid: &str) -> SimCall {
    let call: SimCall = serde_json::from_value(json!({
        "sid": sid, "account_sid": desk.stack().caller().account_sid,
        "from": "+12025550143", "to": desk.stack().caller().to, "status": "in-progress",
    }))
    .unwrap();
    desk.stack().vendors.calls.register(call.clone());
    call
}

fn updates(desk: &Desk, sid: &str) -> Vec<CallUpdate> {
    desk.stack().vendors.calls.get(sid).expect("Twilio knows it").updates
}

fn facts(desk: &Desk, sid: &str, kind: CallKind) -> CallFacts {
    CallFacts {
        sid: CallSid::from(sid),
        admission: AdmissionId::new(format!("{:032x}", rand::random::<u128>())),
        kind,
        direction: Direction::Inbound,
        caller: CallerId::classify("+12025550143"),
        business_number: desk.stack().caller().to,
        admitted_at: UnixMillis(unix_now().0 - 2_000),
        epoch: Epoch(1),
    }
}

const ASK: &str = r#"
    name = "asks"
    limit_ms = 60000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    pause_ms = 50000
"#;

async fn a_call_whose_stop_and_status_callback_were_both_lost_is_ended() {
    let desk = desk(false).await;
    let id = sid();
    let mut caller = desk.stack().caller();
    caller.sid = Some(id.clone());
    let script = Script::parse(ASK).unwrap();
    let calling = actix_rt::spawn(async move { run_call(&caller, &script).await });
    let call = CallSid::from(id.as_str());
    until("an answer", async || desk.db().turns(call.clone()).await.is_ok_and(|turns| turns.len() >= 3))
        .await;
    // While Twilio holds it, nothing happens to it, however often it is looked at.
    rounds(&desk, 3).await;
    assert!(desk.db().call_overview(call.clone()).await.unwrap().unwrap().ended_at.is_none());
    // The caller is gone, and neither `stop` nor a callback tells of it.
    calling.abort();
    desk.stack().vendors.calls.set_status(&id, "completed");
    desk.ended(&call).await;
    let overview = desk.db().call_overview(call).await.unwrap().unwrap();
    assert_eq!(overview.end_reason, Some(EndReason::Completed));
    assert_eq!(updates(&desk, &id), [], "there was nothing to tell Twilio");
    desk.close().await;
}

#[actix::test]
async fn a_call_that_twilio_has_never_heard_of_is_lost_unless_its_stream_is_up() {
    let desk = desk(false).await;
    let script = Script::parse(ASK).unwrap();
    let (gone, heard) = (sid(), sid());
    let mut calling = Vec::new();
    for id in [&gone, &heard] {
        let mut caller = desk.stack().caller();
        caller.sid = Some(id.clone());
        // Nobody tells the REST API of it.
        caller.rest_url = None;
        let script = script.clone();
        calling.push(actix_rt::spawn(async move { run_call(&caller, &script).await }));
    }
    for id in [&gone, &heard] {
        let call = CallSid::from(id.as_str());
        until("an answer", async || desk.db().turns(call.clone()).await.is_ok_and(|t| t.len() >= 3)).await;
    }
    calling[0].abort();
    desk.ended(&CallSid::from(gone.as_str())).await;
    let lost = desk.db().call_overview(CallSid::from(gone.as_str())).await.unwrap().unwrap();
    assert_eq!(lost.end_reason, Some(EndReason::Lost));
    rounds(&desk, 3).await;
    let other = desk.db().call_overview(CallSid::from(heard.as_str())).await.unwrap().unwrap();
    assert_eq!(other.end_reason, None);
    calling[1].abort();
    desk.close().await;
}

async fn a_call_that_twilio_still_holds_after_we_ended_it_is_hung_up() {
    let desk = desk(false).await;
    let call = desk
        .call("[[step]]\nwait_for = \"greeting\"\n[[step]]\nsay = \"That is all, goodbye.\"\n[[step]]\nexpect_end = \"hangup\"")
        .await;
    let id = call.report.call_sid.clone();
    assert_eq!(updates(&desk, &id), []);
    // The hang-up never reached the network.
    desk.stack().vendors.calls.set_status(&id, "in-progress");
    until("a hang-up", async || updates(&desk, &id) == [CallUpdate::Completed]).await;
    desk.close().await;
}

async fn a_call_of_somebody_else_in_the_same_account_is_never_touched() {
    let desk = desk(false).await;
    let (strange, browser) = (sid(), sid());
    up(&desk, &strange);
    // Of our own records, only those of telephone calls count.
    up(&desk, &browser);
    let facts = facts(&desk, &browser, CallKind::Browser);
    desk.db().write(Write::CallAdmitted { facts }).await.unwrap();
    // Another number of the account, with more calls than a page of the list has.
    for _ in 0..60 {
        let mut call = up(&desk, &sid());
        call.to = "+12025550111".to_owned();
        desk.stack().vendors.calls.register(call);
    }
    rounds(&desk, 4).await;
    let told = desk.stack().vendors.faults.seen(Service::Twilio);
    assert!(told.iter().all(|request| request.starts_with("GET ")), "{told:?}");
    assert_eq!(updates(&desk, &strange), []);
    assert_eq!(updates(&desk, &browser), []);
    desk.close().await;
}

async fn a_call_that_is_open_and_that_nobody_has_is_asked_to_come_back() {
    let desk = desk(false).await;
    let id = sid();
    up(&desk, &id);
    let facts = facts(&desk, &id, CallKind::Twilio);
    desk.db().write(Write::CallAdmitted { facts }).await.unwrap();
    until("a redirection", async || !updates(&desk, &id).is_empty()).await;
    let CallUpdate::Url { url, method } = updates(&desk, &id).remove(0) else {
        panic!("{:?}", updates(&desk, &id));
    };
    let expected = format!("{}/voice/continue", desk.stack().base_url);
    assert!(url.starts_with(&expected) && method == "POST", "{method} {url}");
    desk.close().await;
}

#[actix::test]
async fn a_call_of_another_replica_is_left_to_it() {
    if !use_postgres() {
        return;
    }
    let desk = desk(false).await;
    let (config, other) = (desk.database.clone(), ReplicaId::from_bits(7));
    let system = actix::System::current();
    let database = actix_web::web::block(move || {
        actix::System::set_current(system);
        Database::open(&config, other).expect("the database opens")
    });
    let database = database.await.unwrap();
    let (id, version) = (ReplicaId::from_bits(7), "test".to_owned());
    database.heartbeat(Presence { id, version, calls: 1, draining: false }).await.unwrap();
    let id = sid();
    up(&desk, &id);
    let facts = facts(&desk, &id, CallKind::Twilio);
    database.write(Write::CallAdmitted { facts }).await.unwrap();
    rounds(&desk, 4).await;
    assert_eq!(updates(&desk, &id), []);
    database.shutdown().await;
    desk.close().await;
}

#[actix::test]
async fn a_caller_who_speaks_to_a_person_is_left_alone_although_the_call_is_over_for_us() {
    let desk = desk(true).await;
    let mut caller = desk.stack().caller();
    let id = sid();
    caller.sid = Some(id.clone());
    // Longer than all that follows takes.
    caller.person_talks_ms = 10_000;
    let script = Script::parse(include_str!("../calls/transfer.toml")).unwrap();
    let calling = actix_rt::spawn(async move { run_call(&caller, &script).await });
    let leg = async || {
        let all = desk.stack().vendors.calls.all();
        all.into_iter().find(|call| call.parent_call_sid.as_deref() == Some(id.as_str()))
    };
    until("a person", async || leg().await.is_some_and(|leg| leg.status == "in-progress")).await;
    // As after a restart: closed here, while the two go on speaking.
    let finish =
        frontdesk::registry::messages::Finish { sid: CallSid::from(id.as_str()), reason: EndReason::Lost };
    assert!(desk.stack().server.registry.send(finish).await.unwrap());
    rounds(&desk, 4).await;
    assert_eq!(updates(&desk, &id), []);
    let report = calling.await.unwrap();
    assert!(report.failures.is_empty(), "{report}");
    assert_eq!(leg().await.unwrap().status, "completed");
    desk.close().await;
}

#[actix::test]
async fn a_twilio_that_refuses_is_asked_less_often_and_the_comparison_goes_on_afterwards() {
    let desk = desk(false).await;
    let id = sid();
    up(&desk, &id);
    desk.db().write(Write::CallAdmitted { facts: facts(&desk, &id, CallKind::Twilio) }).await.unwrap();
    desk.fault(FaultRule::once(Service::Twilio, Fault::RateLimit { retry_after_ms: None }));
    desk.fault(FaultRule::once(Service::Twilio, Fault::Refuse { status: 503, code: None }));
    until("a redirection", async || !updates(&desk, &id).is_empty()).await;
    desk.close().await;
}
