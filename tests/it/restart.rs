//! The process is killed while a call is up: what was said is kept, and the call is closed.

use crate::support::database::on_both;
use crate::support::process::{Place, Process};
use frontdesk::db::DbHandle;
use frontdesk::domain::call::EndReason;
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::turn::Speaker;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use std::path::Path;
use std::time::Duration;

on_both!(a_call_whose_process_was_killed_is_closed_at_the_next_start_with_what_was_said);

/// Waits until the caller's first turn and the bot's answer to it are on record.
async fn until_answered(db: &DbHandle, sid: &CallSid) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let turns = db.turns(sid.clone()).await.unwrap_or_default();
        let asked = turns.iter().position(|t| t.speaker == Speaker::Caller);
        if asked.is_some_and(|at| turns.iter().skip(at).any(|t| t.speaker == Speaker::Bot)) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "no answer is recorded: {turns:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_ended(db: &DbHandle, sid: &CallSid) -> EndReason {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let call = db.call_overview(sid.clone()).await.unwrap();
        if let Some(reason) = call.and_then(|c| c.end_reason) {
            return reason;
        }
        assert!(tokio::time::Instant::now() < deadline, "the call is not closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Somebody who then stays on the line, so that nothing but the kill ends the call.
const ASK: &str = r#"
    name = "killed"
    limit_ms = 60000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

async fn a_call_whose_process_was_killed_is_closed_at_the_next_start_with_what_was_said() {
    let place = Place::new();
    let short = [("FRONTDESK_TWILIO_SUSPEND_MS", "1000")];
    let server = Process::start(&place, &short);
    let sid = format!("CA{:032x}", rand::random::<u128>());
    let script = Script::parse(ASK).unwrap();
    let caller = place.caller(&sid);
    let calling = actix_rt::spawn(async move { run_call(&caller, &script).await });
    let database = place.database().await;
    let sid = CallSid::from(sid.as_str());
    until_answered(&database, &sid).await;
    server.kill();
    // Twilio finds nobody to ask and hangs up.
    calling.await.unwrap();

    let server = Process::start(&place, &short);
    assert_eq!(until_ended(&database, &sid).await, EndReason::Lost);
    let turns = database.turns(sid).await.unwrap();
    assert!(turns.iter().any(|t| t.said.contains("opening hours")), "{turns:?}");
    server.kill();
    database.shutdown().await;
}

/// Somebody who thinks for a moment before the message: by then nobody can write to the database.
const LEAVE_MESSAGE: &str = r#"
    name = "leaves a message"
    limit_ms = 60000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    pause_ms = 4000
    [[step]]
    say = "Please take a message: call me back about the wedding."
    [[step]]
    wait_for = "reply"
    [[step]]
    hang_up = true
"#;

/// Waits until a file holds something, or nothing.
async fn until_filled(path: &Path, filled: bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(path).is_ok_and(|file| file.len() > 0) != filled {
        assert!(tokio::time::Instant::now() < deadline, "{} does not become so: {filled}", path.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix::test]
async fn a_message_taken_without_a_database_outlives_the_process_and_is_written_once() {
    use diesel::connection::SimpleConnection as _;
    let place = Place::new();
    let server = Process::start(&place, &[]);
    let sid = format!("CA{:032x}", rand::random::<u128>());
    let script = Script::parse(LEAVE_MESSAGE).unwrap();
    let caller = place.caller(&sid);
    let calling = actix_rt::spawn(async move { run_call(&caller, &script).await });
    let database = place.database().await;
    until_answered(&database, &CallSid::from(sid.as_str())).await;
    // From here on nobody else can write to the database.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (locked, wait_locked) = tokio::sync::oneshot::channel();
    let handle = database.handle();
    let lock = actix_rt::spawn(async move {
        let hold = handle.read(move |connection| {
            connection.batch_execute("BEGIN IMMEDIATE")?;
            let _ = locked.send(());
            let _ = released.recv();
            connection.batch_execute("ROLLBACK")?;
            Ok(())
        });
        hold.await
    });
    wait_locked.await.expect("the lock is held");
    until_filled(&place.spool(), true).await;
    server.kill();
    calling.await.unwrap();
    release.send(()).unwrap();
    lock.await.unwrap().unwrap();
    assert!(database.messages(10).await.unwrap().is_empty(), "it stood on the disk only");
    let left = std::fs::read(place.spool()).unwrap();

    let server = Process::start(&place, &[]);
    until_filled(&place.spool(), false).await;
    let messages = database.messages(10).await.unwrap();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].text.contains("wedding") && messages[0].call.as_str() == sid, "{messages:?}");
    server.kill();

    // The same line once more, as if it had been killed before the file was emptied.
    std::fs::write(place.spool(), left).unwrap();
    let server = Process::start(&place, &[]);
    until_filled(&place.spool(), false).await;
    assert_eq!(database.messages(10).await.unwrap(), messages);
    server.kill();
    database.shutdown().await;
}
