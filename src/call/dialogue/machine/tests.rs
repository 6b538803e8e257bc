use super::*;
use crate::call::dialogue::messages::ToolOutcome;
use crate::config::call::CallConfig;
use crate::config::llm::{HostConfig, LlmConfig};
use crate::dialogue::prompt::CallerFacts;
use crate::dialogue::rules::{self, check, user_words};
use crate::dialogue::schema;
use crate::provider::llm::ChatMessage;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

struct Bench {
    machine: DialogueMachine,
    at: CallTime,
    last: Vec<Effect>,
    all: Vec<Effect>,
}

fn bench(fallback: bool) -> Bench {
    bench_of(LlmConfig { fallback: fallback.then(HostConfig::default), ..LlmConfig::default() })
}

fn bench_of(llm: LlmConfig) -> Bench {
    let context = PromptContext {
        profile: Arc::new(rules::profile()),
        tools: schema::specs(&rules::profile()),
        caller: CallerFacts::default(),
        outbound: None,
        resumed: false,
    };
    let settings = Settings::new(&llm, &CallConfig::default());
    let machine = DialogueMachine::new(settings, context, &ResumeState::default());
    Bench { machine, at: CallTime::ZERO, last: Vec::new(), all: Vec::new() }
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
}

fn look(id: &str) -> ToolCall {
    call(id, "check_availability", r#"{"date":"friday"}"#)
}

fn book(id: &str, time: &str) -> ToolCall {
    let arguments = json!({"service": "Haircut", "date": "friday", "time": time}).to_string();
    call(id, "book_appointment", &arguments)
}

fn fault(kind: ProviderErrorKind) -> ProviderError {
    ProviderError::new("fake", kind, "http_500")
}

impl Bench {
    fn on(&mut self, event: Event) -> &mut Self {
        self.last = self.machine.on(self.at, event);
        self.all.extend(self.last.clone());
        for effect in &self.last {
            if let Effect::Request { request, .. } = effect {
                check(&request.messages).unwrap();
            }
        }
        self
    }

    fn wait(&mut self, ms: u64) -> &mut Self {
        self.at = self.at.after(Duration::from_millis(ms));
        self
    }

    fn answer(&mut self, reply: u32, text: &str) -> &mut Self {
        self.on(Event::Answer { reply: ReplyId(reply), text: text.into() })
    }

    fn text(&mut self, text: &str) -> &mut Self {
        let req = self.machine.last_req;
        self.on(Event::Text { req, text: text.into() })
    }

    fn calls(&mut self, tool_calls: Vec<ToolCall>) -> &mut Self {
        self.finished(tool_calls, FinishReason::Stop)
    }

    fn finished(&mut self, tool_calls: Vec<ToolCall>, reason: FinishReason) -> &mut Self {
        let req = self.machine.last_req;
        self.on(Event::Finished { req, tool_calls, reason, usage: None })
    }

    fn fails(&mut self, kind: ProviderErrorKind) -> &mut Self {
        let req = self.machine.last_req;
        self.on(Event::Failed { req, error: fault(kind), jitter: 0 })
    }

    fn tool(&mut self, reply: u32, id: &str, content: Value, achieved: Outcome) -> &mut Self {
        let outcome = ToolOutcome { content, achieved, fact: None };
        self.on(Event::ToolDone { reply: ReplyId(reply), call_id: id.into(), outcome })
    }

    fn stop(&mut self, reply: u32, fate: Fate) -> &mut Self {
        self.on(Event::StopAnswer { reply: ReplyId(reply), fate })
    }

    /// The last effects in short.
    fn did(&self) -> Vec<String> {
        self.last.iter().filter_map(brief).collect()
    }

    fn request(&self) -> &ChatRequest {
        let requests = self.all.iter().rev().filter_map(|e| match e {
            Effect::Request { request, .. } => Some(request),
            _ => None,
        });
        requests.into_iter().next().expect("a request was sent")
    }

    fn tool_answers(&self) -> Vec<(String, String)> {
        let of = |m: &ChatMessage| match m {
            ChatMessage::Tool { id, content, .. } => Some((id.clone(), content.clone())),
            _ => None,
        };
        self.request().messages.iter().filter_map(of).collect()
    }

    fn audits(&self) -> Vec<&str> {
        self.all
            .iter()
            .filter_map(|e| match e {
                Effect::Emit(Thought::Audit(event)) => Some(event.code.as_str()),
                _ => None,
            })
            .collect()
    }
}

fn brief(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Request { model, request, .. } => {
            let choice = if request.tool_choice == ToolChoice::None { " no tools" } else { "" };
            format!("ask {}{choice}", model.as_str())
        }
        Effect::Abort { req } => format!("abort {req}"),
        Effect::RunTool { call_id, request, .. } => format!("run {call_id} {}", request.name()),
        Effect::SetTimer { id, after } => format!("{id:?} in {}", after.as_millis()),
        Effect::Emit(Thought::Sentence { sentence, text, .. }) => format!("{sentence}: {text}"),
        Effect::Emit(Thought::Done { then, .. }) => format!("done {then:?}"),
        Effect::Emit(Thought::Failed { code, .. }) => format!("failed {code}"),
        Effect::Emit(Thought::Fact(fact)) => format!("fact {fact}"),
        Effect::Emit(Thought::Achieved(_)) => "achieved".into(),
        Effect::Summarise { .. } => "summarise".into(),
        Effect::Emit(_) | Effect::CancelTimer(_) | Effect::Report { .. } => return None,
    })
}

#[test]
fn retries_wait_longer_each_time_and_then_the_fallback_is_asked() {
    let mut b = bench(true);
    assert_eq!(b.answer(1, "Hi").did(), ["ask primary", "Switch in 5000"]);
    assert_eq!(b.fails(ProviderErrorKind::Server).did(), ["Retry in 300"]);
    assert_eq!(b.wait(300).on(Event::Timer(TimerId::Retry)).did(), ["ask primary"]);
    assert_eq!(b.fails(ProviderErrorKind::Timeout).did(), ["Retry in 600"]);
    assert_eq!(b.wait(600).on(Event::Timer(TimerId::Retry)).did(), ["ask primary"]);
    assert_eq!(b.fails(ProviderErrorKind::Server).did(), ["ask fallback"]);
    assert_eq!(b.text("Hello there. ").calls(vec![]).did(), ["0: Hello there.", "done Listen"]);
    assert!(b.audits().contains(&"llm.fallback"));
}

#[test]
fn a_retry_waits_as_asked_unless_that_is_too_long() {
    let limited = |ms| ProviderErrorKind::RateLimited { retry_after: Some(Duration::from_millis(ms)) };
    let mut b = bench(false);
    assert_eq!(b.answer(1, "Hi").fails(limited(1_500)).did(), ["Retry in 1500"]);
    let mut b = bench(false);
    assert_eq!(b.answer(1, "Hi").fails(limited(2_500)).did(), ["failed http_500"]);
    let mut b = bench(true);
    assert_eq!(b.answer(1, "Hi").fails(limited(2_500)).did(), ["ask fallback"]);
}

#[test]
fn no_retry_is_begun_outside_the_turns_budget() {
    let mut b = bench(false);
    assert_eq!(b.answer(1, "Hi").wait(9_800).fails(ProviderErrorKind::Server).did(), ["failed http_500"]);
    let mut b = bench(true);
    assert_eq!(b.answer(1, "Hi").wait(4_800).fails(ProviderErrorKind::Server).did(), ["ask fallback"]);
}

#[test]
fn a_retry_comes_later_by_its_jitter() {
    let mut b = bench(false);
    b.answer(1, "Hi");
    let error = fault(ProviderErrorKind::Server);
    assert_eq!(b.on(Event::Failed { req: 1, error, jitter: u32::MAX }).did(), ["Retry in 450"]);
}

#[test]
fn what_will_not_get_better_is_not_retried() {
    for kind in [
        ProviderErrorKind::Auth,
        ProviderErrorKind::Quota,
        ProviderErrorKind::Refused,
        ProviderErrorKind::Protocol,
    ] {
        let mut b = bench(false);
        assert_eq!(b.answer(1, "Hi").fails(kind).did(), ["failed http_500"]);
    }
}

#[test]
fn a_slow_model_is_left_for_the_fallback_or_waited_for_without_one() {
    let mut b = bench(true);
    b.answer(1, "Hi").wait(5_000);
    assert_eq!(b.on(Event::Timer(TimerId::Switch)).did(), ["abort 1", "ask fallback"]);
    assert!(b.on(Event::Text { req: 1, text: "Late. Very late. ".into() }).did().is_empty());
    let mut b = bench(false);
    assert!(b.answer(1, "Hi").wait(5_000).on(Event::Timer(TimerId::Switch)).did().is_empty());
    assert_eq!(b.text("Here. ").calls(vec![]).did(), ["0: Here.", "done Listen"]);
}

#[test]
fn a_model_that_has_begun_is_not_left() {
    let mut b = bench(true);
    b.answer(1, "Hi").text("Well").wait(5_000);
    assert!(b.on(Event::Timer(TimerId::Switch)).did().is_empty());
}

#[test]
fn a_break_after_a_sentence_is_never_repeated() {
    let mut b = bench(true);
    b.answer(1, "Hi").text("We open at nine. Then comes the luc");
    assert_eq!(b.fails(ProviderErrorKind::Closed).did(), ["1: Then comes the", "done Listen"]);
}

#[test]
fn a_break_before_the_first_sentence_goes_to_the_fallback_or_says_what_is_there() {
    let mut b = bench(true);
    assert_eq!(b.answer(1, "Hi").text("We op").fails(ProviderErrorKind::Closed).did(), ["ask fallback"]);
    let mut b = bench(false);
    b.answer(1, "Hi").text("We open at ni");
    assert_eq!(b.fails(ProviderErrorKind::Closed).did(), ["0: We open at", "done Listen"]);
}

#[test]
fn an_open_breaker_means_the_fallback_or_failure() {
    let mut b = bench(true);
    assert_eq!(b.answer(1, "Hi").on(Event::Skipped { req: 1 }).did(), ["ask fallback"]);
    assert_eq!(b.on(Event::Skipped { req: 2 }).did(), ["failed breaker_open"]);
}

#[test]
fn an_empty_answer_is_asked_for_once_more() {
    let mut b = bench(false);
    assert_eq!(b.answer(1, "Hi").text("😀").calls(vec![]).did(), ["ask primary"]);
    assert_eq!(b.calls(vec![]).did(), ["failed empty_reply"]);
}

#[test]
fn parallel_calls_run_one_after_the_other_and_each_is_answered() {
    let mut b = bench(false);
    b.answer(1, "Friday at three?").text("Let me see.");
    let did = b.calls(vec![look("a"), book("b", "3 PM"), call("c", "fly", "{}")]).did();
    assert_eq!(did, ["0: Let me see.", "run a check_availability", "Tool in 5000"]);
    assert_eq!(
        b.tool(1, "a", json!({"free": 1}), Outcome::default()).did(),
        ["run b book_appointment", "Tool in 5000"]
    );
    let booked = Outcome { appointment_booked: true, ..Outcome::default() };
    assert_eq!(b.tool(1, "b", json!({"booked": 1}), booked).did(), ["achieved", "ask primary"]);
    let answers = b.tool_answers();
    assert_eq!(answers.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(answers[2].1.contains("unknown_tool"));
    assert_eq!(b.text("Booked.").calls(vec![]).did(), ["1: Booked.", "done Listen"]);
    assert!(b.audits().contains(&"tool.refused"));
}

#[test]
fn a_repeated_booking_is_answered_from_memory() {
    let mut b = bench(false);
    b.answer(1, "Book").calls(vec![book("a", "3 PM"), book("b", "3 pm")]);
    assert_eq!(b.tool(1, "a", json!({"booked": 7}), Outcome::default()).did(), ["ask primary"]);
    assert_eq!(b.tool_answers()[1], ("b".into(), r#"{"booked":7}"#.into()));
    b.text("Done.").calls(vec![]).answer(2, "Again");
    assert_eq!(b.calls(vec![book("c", "3 PM")]).did(), ["ask primary"]);
}

#[test]
fn malformed_arguments_go_back_to_the_model() {
    let mut b = bench(false);
    assert_eq!(
        b.answer(1, "Hi").calls(vec![call("a", "check_availability", "{\"da")]).did(),
        ["ask primary"]
    );
    assert!(b.tool_answers()[0].1.contains("invalid_arguments"));
}

#[test]
fn calls_cut_off_at_the_length_are_not_carried_out() {
    let mut b = bench(false);
    let did = b.answer(1, "Hi").finished(vec![book("a", "3 PM")], FinishReason::Length).did();
    assert_eq!(did, ["ask primary"]);
    assert!(b.tool_answers()[0].1.contains("truncated"));
}

#[test]
fn endless_calls_end_with_an_answer_or_a_failure() {
    for says_something in [true, false] {
        let mut b = bench(false);
        b.answer(1, "Hi");
        for round in 0..4 {
            let date = json!({"date": format!("day {round}")}).to_string();
            b.calls(vec![call(&format!("c{round}"), "check_availability", &date)]);
            b.tool(1, &format!("c{round}"), json!({"free": 0}), Outcome::default());
        }
        assert_eq!(b.did(), ["ask primary no tools"]);
        assert!(matches!(&b.request().messages[0], ChatMessage::System(s) if s.ends_with(prompt::CONCLUDE)));
        if says_something {
            b.text("Nothing is free.");
            assert_eq!(b.calls(vec![look("x")]).did(), ["0: Nothing is free.", "done Listen"]);
        } else {
            assert_eq!(b.calls(vec![look("x")]).did(), ["failed tool_loop"]);
        }
    }
}

#[test]
fn the_same_call_twice_in_a_row_ends_the_loop() {
    let mut b = bench(false);
    b.answer(1, "Hi").calls(vec![look("a")]).tool(1, "a", json!({"free": 0}), Outcome::default());
    assert_eq!(b.did(), ["ask primary"]);
    assert_eq!(b.calls(vec![look("b")]).did(), ["ask primary no tools"]);
}

#[test]
fn a_tool_that_takes_too_long_is_reported_and_its_late_success_kept() {
    let mut b = bench(false);
    b.answer(1, "Book").calls(vec![book("a", "3 PM")]).wait(5_000);
    assert_eq!(b.on(Event::Timer(TimerId::Tool)).did(), ["ask primary"]);
    assert!(b.tool_answers()[0].1.contains("timeout"));
    assert_eq!(b.calls(vec![book("b", "3 PM")]).did(), ["ask primary no tools"]);
    assert!(b.tool_answers()[1].1.contains("still_running"));
    let booked = Outcome { appointment_booked: true, ..Outcome::default() };
    let did = b.tool(1, "a", json!({"booked": 7}), booked).did();
    assert_eq!(did, ["achieved", "fact book_appointment finished after all: {\"booked\":7}"]);
    assert!(b.tool(1, "a", json!({"booked": 7}), booked).did().is_empty(), "only once");
    b.text("I took a note.").calls(vec![]).answer(2, "So is it booked?");
    assert!(matches!(&b.request().messages[0], ChatMessage::System(s) if s.contains("finished after all")));
}

#[test]
fn ending_with_a_goodbye_needs_no_further_request() {
    let mut b = bench(false);
    b.answer(1, "Bye").text("Goodbye!").calls(vec![call("a", "end_call", "{}")]);
    let did = b.tool(1, "a", json!({"ok": true}), Outcome::default()).did();
    assert_eq!(did, ["done HangUp { message_taken: false }"]);
}

#[test]
fn ending_without_a_word_asks_for_a_goodbye_and_says_one_itself_if_need_be() {
    for answers in [true, false] {
        let mut b = bench(false);
        let message = call("a", "take_message", r#"{"message":"call me"}"#);
        b.answer(1, "Bye").calls(vec![call("e", "end_call", ""), message]);
        b.tool(1, "e", json!({"ok": true}), Outcome::default());
        let taken = Outcome { message_taken: true, ..Outcome::default() };
        assert_eq!(b.tool(1, "a", json!({"ok": true}), taken).did(), ["achieved", "ask primary no tools"]);
        if answers {
            b.text("Goodbye!").calls(vec![]);
            assert_eq!(b.did(), ["0: Goodbye!", "done HangUp { message_taken: true }"]);
        } else {
            b.fails(ProviderErrorKind::Auth);
            let own = "0: Thanks for calling Main Street Barbers. Goodbye!";
            assert_eq!(b.did(), [own, "done HangUp { message_taken: true }"]);
        }
    }
}

#[test]
fn a_transfer_happens_only_if_the_desk_says_so() {
    for agreed in [true, false] {
        let mut b = bench(false);
        b.answer(1, "A person!").text("One moment.").calls(vec![call("a", "transfer_to_human", "{}")]);
        let outcome = Outcome { transferred: agreed, ..Outcome::default() };
        b.tool(1, "a", json!({"ok": agreed}), outcome);
        if agreed {
            assert_eq!(b.did(), ["achieved", "done Transfer"]);
        } else {
            assert_eq!(b.did(), ["ask primary"]);
        }
    }
}

#[test]
fn a_stopped_reply_lets_its_booking_finish_and_the_next_turn_waits_for_it() {
    let mut b = bench(false);
    b.answer(1, "Book").calls(vec![book("a", "3 PM"), book("b", "4 PM")]);
    assert!(b.stop(1, Fate::Heard(String::new())).did().is_empty());
    assert!(b.answer(2, "Hello?").did().is_empty());
    assert_eq!(b.tool(1, "a", json!({"booked": 7}), Outcome::default()).did(), ["ask primary"]);
    let answers = b.tool_answers();
    assert_eq!(answers[0].1, r#"{"booked":7}"#);
    assert!(answers[1].1.contains("interrupted"));
}

#[test]
fn a_stopped_look_up_is_not_waited_for() {
    let mut b = bench(false);
    b.answer(1, "Friday?").calls(vec![look("a")]).stop(1, Fate::Heard(String::new()));
    assert_eq!(b.answer(2, "No, Monday").did(), ["ask primary"]);
    assert!(b.tool(1, "a", json!({"free": 1}), Outcome::default()).did().is_empty());
}

#[test]
fn a_long_call_is_summarised_and_facts_stay_in_the_prompt() {
    let mut b = bench_of(LlmConfig { history_turns: 2, ..LlmConfig::default() });
    b.answer(1, "My name is Ann").calls(vec![call("a", "collect_customer_info", r#"{"name":"Ann"}"#)]);
    let outcome = ToolOutcome {
        content: json!({"ok": true}),
        achieved: Outcome { lead_captured: true, ..Outcome::default() },
        fact: Some("The caller is Ann.".into()),
    };
    b.on(Event::ToolDone { reply: ReplyId(1), call_id: "a".into(), outcome }).text("Hi Ann.").calls(vec![]);
    b.answer(2, "two").text("Yes.").calls(vec![]).answer(3, "three");
    assert_eq!(b.did()[0], "summarise");
    b.on(Event::Summarised(Some("Ann rang.".into())));
    assert_eq!(b.last, [Effect::Emit(Thought::Summary("Ann rang.".into()))]);
    b.text("Yes.").calls(vec![]).answer(4, "four");
    assert!(matches!(&b.request().messages[0], ChatMessage::System(s)
        if s.contains("- The caller is Ann.") && s.contains("Earlier in this call: Ann rang.")));
}

#[derive(Clone, Debug)]
enum Op {
    Answer(usize),
    Said,
    Note,
    Stop { back: u32, heard: Option<usize> },
    HeardAll(u32),
    Text { stale: bool, text: &'static str },
    Finished { stale: bool, calls: Vec<usize>, cut: bool },
    Failed { stale: bool, kind: ProviderErrorKind },
    Skipped,
    ToolDone { which: usize, ok: bool },
    Timer(TimerId),
    Summarised(bool),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let text = prop_oneof![
        Just("Let me see. "),
        Just("I have "),
        Just("three "),
        Just("o'clock, which is really quite a good time, "),
        Just("😀"),
        Just("Yes!"),
    ];
    let kind = prop_oneof![
        Just(ProviderErrorKind::Server),
        Just(ProviderErrorKind::Auth),
        Just(ProviderErrorKind::Refused),
        Just(ProviderErrorKind::RateLimited { retry_after: Some(Duration::from_secs(1)) }),
    ];
    let timer =
        prop_oneof![Just(TimerId::Retry), Just(TimerId::Switch), Just(TimerId::Tool), Just(TimerId::Flush),];
    let stale = || proptest::bool::weighted(0.15);
    prop_oneof![
        5 => (1usize..4).prop_map(Op::Answer),
        1 => Just(Op::Said),
        1 => Just(Op::Note),
        3 => (0u32..3, proptest::option::of(0usize..8)).prop_map(|(back, heard)| Op::Stop { back, heard }),
        1 => (0u32..3).prop_map(Op::HeardAll),
        6 => (stale(), text).prop_map(|(stale, text)| Op::Text { stale, text }),
        6 => (stale(), proptest::collection::vec(0usize..9, 0..4), proptest::bool::weighted(0.1))
            .prop_map(|(stale, calls, cut)| Op::Finished { stale, calls, cut }),
        2 => (stale(), kind).prop_map(|(stale, kind)| Op::Failed { stale, kind }),
        1 => Just(Op::Skipped),
        4 => (0usize..3, any::<bool>()).prop_map(|(which, ok)| Op::ToolDone { which, ok }),
        2 => timer.prop_map(Op::Timer),
        1 => any::<bool>().prop_map(Op::Summarised),
        1 => (0u64..3_000).prop_map(Op::Wait),
    ]
}

fn some_call(n: usize) -> ToolCall {
    match n {
        0 => look("x"),
        1 => book("", "3 PM"),
        2 => book("y", "4 PM"),
        3 => call("y", "end_call", "{}"),
        4 => call("z", "transfer_to_human", ""),
        5 => call("z", "take_message", r#"{"message":"m"}"#),
        6 => call("w", "no such tool!", "{}"),
        7 => call("", "book_appointment", "{\"ser"),
        _ => call("v", "collect_customer_info", r#"{"name":"Ann"}"#),
    }
}

/// Watches what the machine does and fails where a promise is broken.
#[derive(Default)]
struct Watch {
    in_flight: Option<u32>,
    /// Tools that have not answered; the one whose timer runs.
    tools: Vec<(ReplyId, String)>,
    timed: Option<(ReplyId, String)>,
    retrying: bool,
    asked: HashSet<ReplyId>,
    over: HashSet<ReplyId>,
    sentences: HashMap<ReplyId, u32>,
    requests: Vec<ChatRequest>,
}

impl Watch {
    fn see(&mut self, effects: &[Effect]) -> Result<(), TestCaseError> {
        for effect in effects {
            match effect {
                Effect::Request { req, request, .. } => {
                    prop_assert_eq!(self.in_flight, None, "two requests in flight");
                    prop_assert_eq!(check(&request.messages), Ok(()));
                    self.in_flight = Some(*req);
                    self.requests.push(request.clone());
                }
                Effect::Abort { req } => {
                    prop_assert_eq!(self.in_flight, Some(*req));
                    self.in_flight = None;
                }
                Effect::RunTool { reply, call_id, .. } => {
                    prop_assert!(!self.over.contains(reply), "a tool begun for a stopped reply");
                    prop_assert_eq!(&self.timed, &None, "two tools at once");
                    prop_assert!(!self.tools.contains(&(*reply, call_id.clone())), "an id twice");
                    self.tools.push((*reply, call_id.clone()));
                    self.timed = Some((*reply, call_id.clone()));
                }
                Effect::CancelTimer(TimerId::Tool) => self.timed = None,
                Effect::SetTimer { id: TimerId::Retry, .. } => self.retrying = true,
                Effect::CancelTimer(TimerId::Retry) => self.retrying = false,
                Effect::Emit(Thought::Sentence { reply, sentence, text }) => {
                    prop_assert!(!self.over.contains(reply), "a sentence of a reply that is over");
                    prop_assert!(!text.trim().is_empty());
                    let next = self.sentences.entry(*reply).or_default();
                    prop_assert_eq!(*sentence, *next);
                    *next += 1;
                }
                Effect::Emit(Thought::FirstToken { reply } | Thought::ToolStarted { reply, .. }) => {
                    prop_assert!(!self.over.contains(reply));
                }
                Effect::Emit(Thought::Done { reply, .. } | Thought::Failed { reply, .. }) => {
                    prop_assert!(self.asked.contains(reply));
                    prop_assert!(self.over.insert(*reply), "a reply ended twice");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn in_every_order_of_events_the_promises_hold(
        ops in proptest::collection::vec(op(), 0..80),
        fallback in any::<bool>(),
    ) {
        let mut b = bench_of(LlmConfig {
            fallback: fallback.then(HostConfig::default),
            history_turns: 1_000,
            history_tokens: 10_000_000,
            ..LlmConfig::default()
        });
        let mut watch = Watch::default();
        let (mut reply, mut word) = (0u32, 0u32);
        let (mut turn, mut again): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let mut settled = true;
        let done_tool = |which: (ReplyId, String), ok: bool| Event::ToolDone {
            reply: which.0,
            call_id: which.1,
            outcome: ToolOutcome {
                content: if ok { json!({"ok": true}) } else { json!({"error": "no"}) },
                achieved: Outcome { transferred: ok, ..Outcome::default() },
                fact: ok.then(|| "A fact.".into()),
            },
        };
        for op in ops {
            let stale_or = |stale: bool, now: Option<u32>| if stale { now.unwrap_or(1).wrapping_sub(1) } else { now.unwrap_or(9_999) };
            let event = match op {
                Op::Answer(n) => {
                    watch.over.insert(ReplyId(reply)); // An answer that is overtaken is over.
                    reply += 1;
                    turn = std::mem::take(&mut again);
                    for _ in 0..n {
                        word += 1;
                        turn.push(format!("w{word}"));
                    }
                    settled = false;
                    watch.asked.insert(ReplyId(reply));
                    Event::Answer { reply: ReplyId(reply), text: turn.join(" ") }
                }
                Op::Said => Event::Said { heard: "One moment.".into() },
                Op::Note => Event::Note("keys".into()),
                Op::Stop { back, heard } => {
                    let which = reply.saturating_sub(back);
                    watch.over.insert(ReplyId(which));
                    if back == 0 && !settled {
                        settled = true;
                        if heard.is_none() {
                            again = turn.clone();
                        }
                    }
                    let heard = heard.map(|n| Fate::Heard(vec!["heard"; n].join(" ")));
                    Event::StopAnswer { reply: ReplyId(which), fate: heard.unwrap_or(Fate::Withdrawn) }
                }
                Op::HeardAll(back) => {
                    settled |= back == 0;
                    Event::HeardAll { reply: ReplyId(reply.saturating_sub(back)) }
                }
                Op::Text { stale, text } => {
                    Event::Text { req: stale_or(stale, watch.in_flight), text: text.into() }
                }
                Op::Finished { stale, calls, cut } => {
                    let req = stale_or(stale, watch.in_flight);
                    watch.in_flight = watch.in_flight.filter(|now| *now != req);
                    let reason = if cut { FinishReason::Length } else { FinishReason::Stop };
                    let tool_calls = calls.into_iter().map(some_call).collect();
                    Event::Finished { req, tool_calls, reason, usage: None }
                }
                Op::Failed { stale, kind } => {
                    let req = stale_or(stale, watch.in_flight);
                    watch.in_flight = watch.in_flight.filter(|now| *now != req);
                    Event::Failed { req, error: fault(kind), jitter: word }
                }
                Op::Skipped => match watch.in_flight.take() {
                    Some(req) => Event::Skipped { req },
                    None => continue,
                },
                Op::ToolDone { which, ok } => {
                    if watch.tools.is_empty() {
                        continue;
                    }
                    let which = watch.tools.remove(which % watch.tools.len());
                    watch.timed = watch.timed.take().filter(|t| *t != which);
                    done_tool(which, ok)
                }
                Op::Timer(id) => {
                    if id == TimerId::Tool {
                        watch.timed = None;
                    }
                    Event::Timer(id)
                }
                Op::Summarised(ok) => Event::Summarised(ok.then(|| "S.".into())),
                Op::Wait(ms) => {
                    b.wait(ms);
                    continue;
                }
            };
            b.on(event);
            watch.see(&b.last)?;
        }
        // Whatever the state: if models, tools and timers go on, the last answer comes to its end.
        for _ in 0..64 {
            if watch.over.contains(&ReplyId(reply)) || reply == 0 {
                break;
            }
            let event = if let Some(req) = watch.in_flight.take() {
                Event::Finished { req, tool_calls: vec![look("n")], reason: FinishReason::Stop, usage: None }
            } else if let Some(which) = watch.tools.pop() {
                watch.timed = watch.timed.take().filter(|t| *t != which);
                done_tool(which, true)
            } else if watch.retrying {
                watch.retrying = false;
                Event::Timer(TimerId::Retry)
            } else {
                watch.timed = None;
                Event::Timer(TimerId::Tool)
            };
            b.on(event);
            watch.see(&b.last)?;
        }
        prop_assert!(reply == 0 || watch.over.contains(&ReplyId(reply)), "the last answer has no end");
        // The last request knows every word of the caller, once, in order.
        again.push("end".into());
        watch.asked.insert(ReplyId(reply + 1));
        b.on(Event::Answer { reply: ReplyId(reply + 1), text: again.join(" ") });
        if watch.timed.take().is_some() {
            b.on(Event::Timer(TimerId::Tool));
        }
        watch.see(&b.last)?;
        let mut expected: Vec<String> = (1..=word).map(|n| format!("w{n}")).collect();
        expected.push("end".into());
        let words = user_words(&watch.requests.last().expect("a request").messages);
        let words: Vec<String> = words.into_iter().filter(|w| w != "(keys)").collect();
        prop_assert_eq!(words, expected);
    }
}
