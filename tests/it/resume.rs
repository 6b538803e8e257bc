//! Streams that break, and calls that go on.

use crate::support::Desk;
use crate::support::database::on_both;
use frontdesk::domain::call::EndReason;
use frontdesk::domain::turn::Speaker;
use frontdesk::sim::faults::Service;
use serde_json::Value;

on_both!(a_broken_stream_is_resumed_and_the_conversation_goes_on,);

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
    let said = call.caller_said();
    assert!(said.contains("opening hours") && said.contains("where are you"), "{said}");
    // The model was told what had been said before the break, and what of its answer had been heard.
    let question =
        call.turns.iter().position(|t| t.said.contains("opening hours")).expect("the first question");
    let answer = call.turns.iter().skip(question).find(|t| t.speaker == Speaker::Bot).expect("its answer");
    assert!(!answer.heard.is_empty(), "{answer:?}");
    let requests = desk.stack().vendors.faults.seen(Service::Openai);
    let told = requests.iter().rev().map(|request| words_of(request)).find_map(|mut words| {
        let (role, last) = words.pop()?;
        // A summary is asked for with the whole transcript in one message.
        (role == "user" && last.contains("where are you") && words.len() > 1).then_some(words)
    });
    let told = told.expect("the question after the break was put to the model");
    let has = |role: &str, text: &str| told.iter().any(|(by, words)| by == role && words.contains(text));
    assert!(has("user", "opening hours"), "{told:?}");
    assert!(has("assistant", &answer.heard), "{told:?}");
    desk.close().await;
}

/// The messages of a request: whose, and the words.
fn words_of(request: &str) -> Vec<(String, String)> {
    let request: Value = serde_json::from_str(request).expect("a request is JSON");
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}
