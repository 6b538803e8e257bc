//! Streams that break, and calls that go on.

use crate::support::Desk;
use frontdesk::domain::call::EndReason;

#[actix::test]
async fn a_broken_stream_is_resumed_and_the_conversation_goes_on() {
    let desk = Desk::open().await;
    let call = desk
        .call(
            r#"
            name = "resume"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "What are your opening hours?"
            [[step]]
            wait_for = "reply"
            [[step]]
            drop_socket = true
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
            "#,
        )
        .await;
    call.is_sound().has_event("call.resumed");
    assert_eq!(call.report.streams.len(), 2, "{}", call.report);
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    assert_eq!(call.overview.breaks, 1);
    // The model was told what had been said before the break.
    let said = call.caller_said();
    assert!(said.contains("opening hours") && said.contains("where are you"), "{said}");
    let requests = desk.stack().vendors.faults.seen(frontdesk::sim::faults::Service::Openai);
    assert!(!requests.is_empty());
    desk.close().await;
}
