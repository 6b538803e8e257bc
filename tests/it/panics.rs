//! A panic in one part of one call: that call goes on or is resumed, and no other notices.

use crate::support::Desk;
use frontdesk::call::machine::Child;
use frontdesk::call::messages::InjectFault;
use frontdesk::domain::call::EndReason;
use frontdesk::domain::ids::CallSid;
use frontdesk::observe::feed::FeedEvent;
use frontdesk::registry::messages::Inject;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use futures_util::future::join_all;
use std::sync::Once;

/// Calls beside the one that breaks.
const NEIGHBOURS: usize = 9;

const TALK: &str = r#"
    name = "talk"
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "And where are you?"
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "That is all, goodbye."
    [[step]]
    expect_end = "hangup"
    within_ms = 20000
"#;

/// Has injected panics print one line. With `RUST_BACKTRACE` the first of them would look up the names of a debug build,
/// for seconds, on the thread that all ten calls share.
fn spare_the_names() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let words = panic.payload().downcast_ref::<&str>().copied();
            let words = words.or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str));
            match words {
                Some(words) if words.starts_with("injected") => eprintln!("{words}"),
                _ => usual(panic),
            }
        }));
    });
}

/// Breaks `fault` in one of ten calls while its first answer is under way.
async fn break_one(fault: InjectFault) {
    spare_the_names();
    let desk = Desk::open().await;
    let script = Script::parse(TALK).unwrap();
    let mut victim_config = desk.stack().caller();
    let victim = format!("CA{:032x}", rand::random::<u128>());
    victim_config.sid = Some(victim.clone());

    let mut feed = desk.stack().server.feed.watch();
    let registry = desk.stack().server.registry.clone();
    let sid = CallSid::from(victim.as_str());
    let breaking = async {
        // The first turn of the caller's is on record: its answer is being made.
        loop {
            match feed.recv().await.expect("the feed goes on") {
                FeedEvent::Turn { sid: of, turn }
                    if of == sid && turn.speaker == frontdesk::domain::turn::Speaker::Caller =>
                {
                    break;
                }
                _ => {}
            }
        }
        assert!(registry.send(Inject { sid: sid.clone(), fault }).await.unwrap(), "the call is live");
    };
    let neighbours = join_all((0..NEIGHBOURS).map(|i| {
        let mut config = desk.stack().caller();
        config.from = format!("+1202555{:04}", 200 + i);
        let script = script.clone();
        async move { run_call(&config, &script).await }
    }));
    let (report, others, ()) = tokio::join!(run_call(&victim_config, &script), neighbours, breaking);

    for other in others {
        let call = desk.after(other).await;
        call.is_sound();
        assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
        assert!(!call.events.iter().any(|e| e == "child.down"), "{:?}", call.events);
    }
    let call = desk.after(report).await;
    assert!(call.report.violations.count == 0, "{}", call.report);
    crate::support::check_waits(&call.report);
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed), "{}", call.report);
    match fault {
        InjectFault::Child(_) => call.has_event("child.down"),
        InjectFault::Call => call.has_event("call.resumed"),
    };
    desk.close().await;
}

#[actix::test]
async fn a_panic_of_the_ear_is_survived_and_unnoticed_by_others() {
    break_one(InjectFault::Child(Child::Stt)).await;
}

#[actix::test]
async fn a_panic_of_the_voice_is_survived_and_unnoticed_by_others() {
    break_one(InjectFault::Child(Child::Tts)).await;
}

#[actix::test]
async fn a_panic_of_the_mind_is_survived_and_unnoticed_by_others() {
    break_one(InjectFault::Child(Child::Dialogue)).await;
}

#[actix::test]
async fn a_panic_of_the_call_itself_is_resumed_and_unnoticed_by_others() {
    break_one(InjectFault::Call).await;
}
