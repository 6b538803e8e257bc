//! Calls in which a vendor fails: each goes on, or ends politely.

use crate::support::database::on_both;
use crate::support::{Desk, barbershop};
use frontdesk::domain::call::EndReason;
use frontdesk::sim::faults::{After, Fault, FaultRule, Service};
use frontdesk::sim::vendors::VendorsConfig;
use frontdesk::sim::vendors::brain::BrainMode;

on_both!(
    the_primary_voice_cut_mid_sentence_is_replaced_and_nothing_is_lost,
    malformed_tool_arguments_go_back_to_the_model_and_the_call_goes_on,
);

/// One question.
const ASK_ONCE: &str = r#"
    name = "ask once"
    limit_ms = 90000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    hang_up = true
"#;

/// Two questions and a goodbye.
const ASK_TWICE: &str = r#"
    name = "ask twice"
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
"#;

async fn the_primary_voice_cut_mid_sentence_is_replaced_and_nothing_is_lost() {
    let desk = Desk::with(
        barbershop(),
        VendorsConfig {
            openai: frontdesk::sim::vendors::openai::OpenaiConfig {
                brain: BrainMode::Fixed {
                    text:
                        "We have plenty of room this week. Monday is quiet, Tuesday is fine. What suits you?"
                            .into(),
                },
                ..Default::default()
            },
            ..VendorsConfig::default()
        },
        |_| {},
    )
    .await;
    desk.fault(
        FaultRule::once(Service::Elevenlabs, Fault::Cut { after: After::bytes(3_000) })
            .containing("Monday is quiet"),
    );
    let call = desk
        .call(
            r#"
            name = "cut voice"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "When could I come by?"
            [[step]]
            wait_for = "reply"
            expect_heard = ["plenty of room this week", "Monday is quiet", "Tuesday is fine", "What suits you"]
            [[step]]
            hang_up = true
            "#,
        )
        .await;
    call.is_sound().has_event("tts.fallback");
    assert_eq!(call.times_heard("plenty of room this week"), 1);
    assert_eq!(call.times_heard("What suits you"), 1);
    desk.close().await;
}

#[actix::test]
async fn the_recogniser_cut_mid_utterance_costs_no_word() {
    let desk = Desk::open().await;
    // The caller's first words begin after the greeting: somewhere within them the connection breaks.
    desk.fault(FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(8 * 5_500) }));
    let call = desk
        .call(
            r#"
            name = "cut ear"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "I would like to know one two three four five six seven eight nine ten eleven twelve please"
            [[step]]
            wait_for = "reply"
            [[step]]
            hang_up = true
            "#,
        )
        .await;
    call.is_sound().has_event("stt.reconnected");
    let said = call.caller_said().to_lowercase().replace(" | ", " ");
    for word in
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    {
        assert_eq!(
            said.split_whitespace().filter(|w| w.trim_matches(',') == word).count(),
            1,
            "{word} in {said:?}"
        );
    }
    desk.close().await;
}

#[actix::test]
async fn a_rate_limited_model_is_asked_again_after_the_time_it_names() {
    let desk = Desk::open().await;
    desk.fault(
        FaultRule::once(Service::Openai, Fault::RateLimit { retry_after_ms: Some(400) })
            .containing("opening hours"),
    );
    let call = desk.call(ASK_TWICE).await;
    call.is_sound().has_event("llm.request_failed");
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    desk.close().await;
}

#[actix::test]
async fn a_model_that_hangs_leads_to_fillers_and_a_spoken_way_out() {
    let desk = Desk::open().await;
    desk.fault(FaultRule::always(Service::Openai, Fault::Hang));
    let call = desk
        .call(
            r#"
            name = "hanging model"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "What are your opening hours?"
            [[step]]
            expect_end = "hangup"
            within_ms = 40000
            "#,
        )
        .await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Apology));
    assert!(call.overview.outcome.follow_up);
    desk.close().await;
}

async fn malformed_tool_arguments_go_back_to_the_model_and_the_call_goes_on() {
    let desk = Desk::open().await;
    desk.stack().vendors.set_brain(BrainMode::MalformedArguments);
    let call = desk.call(ASK_ONCE).await;
    call.is_sound().has_event("tool.refused");
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    desk.close().await;
}

#[actix::test]
async fn endless_tool_calls_end_in_an_answer() {
    let desk = Desk::open().await;
    desk.stack().vendors.set_brain(BrainMode::EndlessTools);
    let call = desk.call(ASK_ONCE).await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    desk.close().await;
}

#[actix::test]
async fn parallel_tool_calls_are_each_answered() {
    let desk = Desk::open().await;
    desk.stack().vendors.set_brain(BrainMode::ParallelCalls);
    let call = desk.call(ASK_ONCE).await;
    call.is_sound().has_event("tool.refused");
    let finished = call.events.iter().filter(|e| *e == "tool.finished").count();
    assert_eq!(finished, 2, "{:?}", call.events);
    desk.close().await;
}

#[actix::test]
async fn a_call_without_any_voice_is_ended_in_twilios_own() {
    let desk = Desk::open().await;
    let down = |service| FaultRule::always(service, Fault::Refuse { status: 503, code: None });
    desk.fault(down(Service::Elevenlabs));
    desk.fault(down(Service::DeepgramSpeak));
    let call = desk.call("name = \"mute\"\n[[step]]\nexpect_end = \"hangup\"\nwithin_ms = 20000\n").await;
    assert!(call.report.failures.is_empty(), "{}", call.report);
    assert_eq!(call.report.said_by_twilio.len(), 1, "{}", call.report);
    assert_eq!(call.overview.end_reason, Some(EndReason::Apology));
    desk.close().await;
}

/// Asks something and waits to see how the call ends.
const ASK_IN_VAIN: &str = r#"
    name = "asked in vain"
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

#[actix::test]
async fn a_recogniser_that_hangs_from_the_start_leads_to_words_in_time_and_a_way_out() {
    let desk = Desk::open().await;
    desk.fault(FaultRule::always(Service::DeepgramListen, Fault::Hang));
    let call = desk.call(ASK_IN_VAIN).await;
    call.is_sound().has_event("stt.interrupted").has_event("stt.lost");
    assert_eq!(call.overview.end_reason, Some(EndReason::Apology));
    assert!(call.times_heard("I cannot hear you") >= 1, "{}", call.report);
    assert_eq!(call.times_heard("Are you still there"), 0, "{}", call.report);
    desk.close().await;
}

#[actix::test]
async fn a_recogniser_that_breaks_off_and_then_hangs_leads_to_words_in_time_and_a_way_out() {
    let desk = Desk::open().await;
    desk.fault(FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(8 * 4_500) }));
    desk.fault(FaultRule::always(Service::DeepgramListen, Fault::Hang).skipping(1));
    let call = desk.call(ASK_IN_VAIN).await;
    call.is_sound().has_event("stt.interrupted").has_event("stt.lost");
    assert_eq!(call.overview.end_reason, Some(EndReason::Apology));
    assert!(call.times_heard("I cannot hear you") >= 1, "{}", call.report);
    desk.close().await;
}

#[actix::test]
async fn a_recogniser_that_falls_silent_on_an_open_connection_costs_no_long_wait() {
    let desk = Desk::open().await;
    desk.fault(FaultRule::once(Service::DeepgramListen, Fault::Stall { after: After::bytes(8 * 4_500) }));
    let call = desk.call(ASK_TWICE).await;
    call.is_sound().has_event("stt.interrupted").has_event("stt.reconnected");
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    desk.close().await;
}

#[actix::test]
async fn a_recogniser_that_refuses_us_leads_to_a_spoken_way_out() {
    let desk = Desk::open().await;
    desk.fault(FaultRule::always(Service::DeepgramListen, Fault::Refuse { status: 401, code: None }));
    let call = desk.call("name = \"deaf\"\n[[step]]\nexpect_end = \"hangup\"\nwithin_ms = 30000\n").await;
    assert!(call.report.failures.is_empty(), "{}", call.report);
    assert_eq!(call.overview.end_reason, Some(EndReason::Apology));
    desk.close().await;
}
