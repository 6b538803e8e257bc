//! Calls in which nothing fails.

use crate::support::database::on_both;
use crate::support::{Desk, barbershop};
use frontdesk::domain::call::{CallStatus, EndReason};
use frontdesk::domain::turn::Speaker;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;

on_both!(
    a_caller_interrupts_is_booked_and_says_goodbye,
    a_message_is_taken_and_the_call_ends_for_that,
    a_caller_who_asks_for_a_person_is_put_through,
    a_key_stops_the_bot_and_reaches_the_dialogue,
    a_silent_caller_is_asked_twice_and_then_let_go,
    an_end_that_is_told_in_several_ways_is_written_once,
    a_database_that_is_stuck_does_not_hold_the_conversation_up,
);

async fn a_caller_interrupts_is_booked_and_says_goodbye() {
    let desk = Desk::open().await;
    let call = desk.call(include_str!("../../src/sim/scripts/booking.toml")).await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    assert_eq!(call.overview.status, CallStatus::Completed);
    assert!(call.overview.outcome.appointment_booked);
    let appointments = desk.db().appointments(10).await.unwrap();
    assert_eq!(appointments.len(), 1, "{appointments:?}");
    let cut = call.turns.iter().find(|t| t.interrupted).expect("one barge-in");
    assert_eq!(cut.speaker, Speaker::Bot);
    assert!(cut.heard.len() < cut.said.len(), "{cut:?}");
    desk.close().await;
}

async fn a_message_is_taken_and_the_call_ends_for_that() {
    let desk = Desk::open().await;
    let call = desk
        .call(
            r#"
            name = "message"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "Please take a message: call me back about the wedding."
            [[step]]
            wait_for = "reply"
            [[step]]
            say = "That is all, goodbye."
            [[step]]
            expect_end = "hangup"
            "#,
        )
        .await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::MessageTaken));
    assert_eq!(desk.db().messages(10).await.unwrap().len(), 1);
    desk.close().await;
}

async fn a_caller_who_asks_for_a_person_is_put_through() {
    let mut profile = barbershop();
    profile.transfer_number = Some("+12025550177".into());
    let desk = Desk::with(profile, VendorsConfig::default().with_real_speech(), |_| {}).await;
    let call = desk
        .call(
            r#"
            name = "transfer"
            person = "answers"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "I want to speak to a person."
            [[step]]
            expect_end = "dial"
            "#,
        )
        .await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Transferred));
    assert_eq!(call.report.dials.len(), 1);
    assert_eq!(call.report.dials[0].numbers, ["+12025550177"]);
    desk.close().await;
}

async fn a_key_stops_the_bot_and_reaches_the_dialogue() {
    let desk = Desk::open().await;
    let call = desk
        .call(
            r#"
            name = "keys"
            [[step]]
            interrupt_after_ms = 600
            dtmf = "5551234#"
            [[step]]
            wait_for = "reply"
            [[step]]
            hang_up = true
            "#,
        )
        .await;
    call.is_sound();
    assert!(call.caller_said().contains("5 5 5 1 2 3 4"), "{}", call.caller_said());
    assert!(call.turns.iter().any(|t| t.speaker == Speaker::Bot && t.interrupted), "{:?}", call.turns);
    desk.close().await;
}

async fn a_silent_caller_is_asked_twice_and_then_let_go() {
    let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
        config.call.idle_prompt_ms = 1_500;
    })
    .await;
    let call = desk
        .call(
            r#"
            name = "silence"
            limit_ms = 60000
            [[step]]
            wait_for = "greeting"
            [[step]]
            expect_end = "hangup"
            within_ms = 40000
            "#,
        )
        .await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Silence));
    desk.close().await;
}

async fn an_end_that_is_told_in_several_ways_is_written_once() {
    let desk = Desk::open().await;
    let mut caller = desk.stack().caller();
    caller.status_callbacks = 3;
    let script = frontdesk::sim::script::Script::parse(
        "name = \"double end\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nhang_up = true\n",
    )
    .unwrap();
    let mut feed = desk.stack().server.feed.watch();
    let report = frontdesk::sim::caller::run_call(&caller, &script).await;
    let call = desk.after(report).await;
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    // Everything that was told of it lies in the feed by now: the registry tells before it writes.
    let mut ends = 0;
    while let Ok(event) = feed.try_recv() {
        ends += usize::from(matches!(event, frontdesk::observe::feed::FeedEvent::Ended { .. }));
    }
    assert_eq!(ends, 1, "one end for stop, close and three status callbacks");
    desk.close().await;
}

async fn a_database_that_is_stuck_does_not_hold_the_conversation_up() {
    use diesel::connection::SimpleConnection as _;
    use frontdesk::db::AnyConnection;
    let desk = Desk::open().await;
    let db = desk.db().clone();
    // Another process holds the write lock for as long as the caller is there.
    let (locked, wait_locked) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let stuck = actix_rt::spawn(async move {
        db.read(move |connection| {
            connection.batch_execute(match connection {
                AnyConnection::Sqlite(_) => "BEGIN IMMEDIATE",
                AnyConnection::Postgres(_) => {
                    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; \
                     LOCK TABLE calls, turns, call_events IN EXCLUSIVE MODE"
                }
            })?;
            locked.send(()).expect("the test waits");
            let _ = released.blocking_recv();
            connection.batch_execute("COMMIT")?;
            Ok(())
        })
        .await
    });
    wait_locked.await.expect("the lock is held");
    let script = r#"
        name = "stuck database"
        [[step]]
        wait_for = "greeting"
        [[step]]
        say = "What are your opening hours?"
        [[step]]
        wait_for = "reply"
        [[step]]
        hang_up = true
    "#;
    let report = run_call(&desk.stack().caller(), &Script::parse(script).expect("a script")).await;
    release.send(()).expect("it is held to the end");
    let call = desk.after(report).await;
    stuck.await.expect("the lock was held to its end").expect("and released");
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    assert!(call.caller_said().contains("opening hours"), "{:?}", call.turns);
    desk.close().await;
}
