use super::*;
use crate::call::dialogue::machine::Settings;
use crate::call::dialogue::messages::{Fate, Then, Thought, ToolOutcome};
use crate::config::call::CallConfig;
use crate::config::llm::{HostConfig, LlmConfig};
use crate::dialogue::prompt::{CallerFacts, PromptContext};
use crate::dialogue::tools::ToolRequest;
use crate::dialogue::{rules, schema};
use crate::domain::call::Outcome;
use crate::domain::turn::ResumeState;
use crate::provider::llm::{ChatMessage, ChatStream, FinishReason, ToolCall};
use crate::provider::{ProviderError, ProviderErrorKind};
use actix::Addr;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a scripted model does about one request.
#[derive(Clone)]
enum Act {
    Say(&'static [&'static str]),
    Call(&'static str, &'static str),
    SayThenBreak(&'static str),
    Hang,
    Fail(ProviderErrorKind),
}

/// Counts the answers that were dropped before their end.
struct Open(Rc<Cell<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[derive(Default)]
struct FakeModel {
    script: RefCell<VecDeque<Act>>,
    requests: RefCell<Vec<ChatRequest>>,
    open: Rc<Cell<usize>>,
}

impl FakeModel {
    fn new(script: impl IntoIterator<Item = Act>) -> Rc<Self> {
        Rc::new(Self { script: RefCell::new(script.into_iter().collect()), ..Self::default() })
    }
}

fn error(kind: ProviderErrorKind) -> ProviderError {
    ProviderError::new("fake", kind, "fake_error")
}

fn finish(tool_calls: Vec<ToolCall>) -> Result<ChatDelta, ProviderError> {
    Ok(ChatDelta::Finished { tool_calls, reason: FinishReason::Stop, usage: None })
}

impl ChatModel for FakeModel {
    fn name(&self) -> &str {
        "fake"
    }

    fn chat(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        rules::check(&request.messages).unwrap();
        self.requests.borrow_mut().push(request.clone());
        let act = self.script.borrow_mut().pop_front().unwrap_or(Act::Say(&["Anything else?"]));
        let say =
            |texts: &[&str]| -> Vec<_> { texts.iter().map(|t| Ok(ChatDelta::Text((*t).into()))).collect() };
        self.open.set(self.open.get() + 1);
        let open = Open(Rc::clone(&self.open));
        let deltas = match act {
            Act::Say(texts) => say(texts).into_iter().chain([finish(vec![])]).collect(),
            Act::Call(name, arguments) => {
                let call = ToolCall { id: "c1".into(), name: name.into(), arguments: arguments.into() };
                vec![finish(vec![call])]
            }
            Act::SayThenBreak(text) => {
                say(&[text]).into_iter().chain([Err(error(ProviderErrorKind::Closed))]).collect()
            }
            Act::Hang => {
                return Box::pin(async move {
                    let _open = open;
                    std::future::pending().await
                });
            }
            Act::Fail(kind) => return Box::pin(async move { Err(error(kind)) }),
        };
        Box::pin(async move {
            Ok(stream::iter(deltas)
                .map(move |delta| {
                    let _open = &open;
                    delta
                })
                .boxed_local())
        })
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

#[derive(Default)]
struct FakeGate {
    closed: Cell<bool>,
    reports: RefCell<Vec<bool>>,
    given_up: Cell<usize>,
    /// Requests that are not over.
    out: Cell<usize>,
}

impl Gate for FakeGate {
    fn admit(self: Rc<Self>) -> Option<Permit> {
        if self.closed.get() {
            return None;
        }
        self.out.set(self.out.get() + 1);
        Some(Permit::new(move |result| {
            self.out.set(self.out.get() - 1);
            match result {
                Some(ok) => self.reports.borrow_mut().push(ok),
                None => self.given_up.set(self.given_up.get() + 1),
            }
        }))
    }
}

struct FakeDesk {
    takes: Duration,
    ran: Rc<RefCell<Vec<ToolRequest>>>,
}

impl Desk for FakeDesk {
    fn run(&self, tool: ToolRequest) -> LocalBoxFuture<'static, ToolOutcome> {
        let (takes, ran) = (self.takes, Rc::clone(&self.ran));
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            let booked = matches!(tool, ToolRequest::BookAppointment { .. });
            ran.borrow_mut().push(tool);
            ToolOutcome {
                content: json!({"ok": true}),
                achieved: Outcome { appointment_booked: booked, ..Outcome::default() },
                fact: None,
            }
        })
    }
}

struct Probe(mpsc::UnboundedSender<Thought>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<DialogueEvent> for Probe {
    type Result = ();

    fn handle(&mut self, event: DialogueEvent, _: &mut Self::Context) {
        let _ = self.0.send(event.thought);
    }
}

struct Mind {
    addr: Addr<DialogueActor>,
    thoughts: mpsc::UnboundedReceiver<Thought>,
    primary: Rc<FakeModel>,
    fallback: Rc<FakeModel>,
    gate: Rc<FakeGate>,
    ran: Rc<RefCell<Vec<ToolRequest>>>,
    _probe: Addr<Probe>,
}

struct Life(mpsc::UnboundedSender<Thought>);

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.0.send(Thought::Fact("gone".into()));
    }
}

fn mind(script: impl IntoIterator<Item = Act>, tool_takes_ms: u64) -> Mind {
    let (tx, thoughts) = mpsc::unbounded_channel();
    let probe = Probe(tx.clone()).start();
    let (primary, fallback) = (FakeModel::new(script), FakeModel::new([Act::Say(&["From the fallback."])]));
    let gate = Rc::new(FakeGate::default());
    let ran = Rc::new(RefCell::new(Vec::new()));
    let llm = LlmConfig { fallback: Some(HostConfig::default()), ..LlmConfig::default() };
    let context = PromptContext {
        profile: Arc::new(rules::profile()),
        tools: schema::specs(&rules::profile()),
        caller: CallerFacts::default(),
        outbound: None,
        resumed: false,
    };
    let settings = Settings::new(&llm, &CallConfig::default());
    let addr = DialogueActor::new(Parts {
        machine: DialogueMachine::new(settings, context, &ResumeState::default()),
        primary: Voice {
            model: Rc::clone(&primary) as Rc<dyn ChatModel>,
            gate: Rc::clone(&gate) as Rc<dyn Gate>,
        },
        fallback: Some(Voice {
            model: Rc::clone(&fallback) as Rc<dyn ChatModel>,
            gate: Rc::new(FakeGate::default()),
        }),
        desk: Rc::new(FakeDesk { takes: Duration::from_millis(tool_takes_ms), ran: Rc::clone(&ran) }),
        summariser: None,
        local_time: Box::new(|| "Monday, noon".into()),
        events: probe.clone().recipient(),
        generation: Generation(0),
        t0: Instant::now(),
        life: Some(Box::new(Life(tx))),
    })
    .start();
    Mind { addr, thoughts, primary, fallback, gate, ran, _probe: probe }
}

impl Mind {
    async fn answer(&self, reply: u32, text: &str) {
        self.addr.send(Answer { reply: ReplyId(reply), text: text.into() }).await.unwrap();
    }

    /// What is thought until the reply is over, without the audit trail.
    async fn until_end(&mut self) -> Vec<Thought> {
        let mut all = Vec::new();
        loop {
            let thought = tokio::time::timeout(Duration::from_secs(60), self.thoughts.recv()).await;
            let thought = thought.expect("the reply ends").unwrap();
            let over = matches!(thought, Thought::Done { .. } | Thought::Failed { .. });
            if !matches!(thought, Thought::Audit(_)) {
                all.push(thought);
            }
            if over {
                return all;
            }
        }
    }
}

fn sentences(thoughts: &[Thought]) -> Vec<&str> {
    thoughts
        .iter()
        .filter_map(|t| match t {
            Thought::Sentence { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

#[actix::test]
async fn an_answer_streams_as_sentences_and_is_done() {
    tokio::time::pause();
    let mut mind = mind([Act::Say(&["We open at ni", "ne. Any", "thing else?"])], 0);
    mind.answer(1, "When do you open?").await;
    let r = ReplyId(1);
    assert_eq!(
        mind.until_end().await,
        [
            Thought::FirstToken { reply: r },
            Thought::Sentence { reply: r, sentence: 0, text: "We open at nine.".into() },
            Thought::Sentence { reply: r, sentence: 1, text: "Anything else?".into() },
            Thought::Done { reply: r, then: Then::Listen },
        ]
    );
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(*mind.gate.reports.borrow(), [true]);
    let requests = mind.primary.requests.borrow();
    assert!(matches!(&requests[0].messages[0], ChatMessage::System(s) if s.contains("Monday, noon")));
}

#[actix::test]
async fn a_tool_runs_at_the_desk_and_its_answer_reaches_the_model() {
    tokio::time::pause();
    let book = r#"{"service":"Haircut","date":"friday","time":"3 PM"}"#;
    let mut mind = mind([Act::Call("book_appointment", book), Act::Say(&["Booked."])], 800);
    mind.answer(1, "Book me.").await;
    let thoughts = mind.until_end().await;
    assert_eq!(sentences(&thoughts), ["Booked."]);
    assert!(
        thoughts.contains(&Thought::Achieved(Outcome { appointment_booked: true, ..Outcome::default() }))
    );
    let requests = mind.primary.requests.borrow();
    assert!(
        matches!(requests[1].messages.last(), Some(ChatMessage::Tool { content, .. }) if content.contains("ok"))
    );
}

#[actix::test]
async fn a_model_that_hangs_is_dropped_for_the_fallback_after_five_seconds() {
    tokio::time::pause();
    let mut mind = mind([Act::Hang], 0);
    let begun = Instant::now();
    mind.answer(1, "Hello?").await;
    let thoughts = mind.until_end().await;
    assert_eq!(sentences(&thoughts), ["From the fallback."]);
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_millis(5_200), "{took:?}");
    assert_eq!(mind.primary.open.get(), 0, "the hanging request was dropped");
    assert_eq!((mind.gate.reports.borrow().as_slice(), mind.gate.given_up.get()), (&[false][..], 0));
}

#[actix::test]
async fn a_fault_before_the_first_token_is_retried_and_a_refusal_is_not() {
    tokio::time::pause();
    let mut server = mind([Act::Fail(ProviderErrorKind::Server), Act::Say(&["Here."])], 0);
    server.answer(1, "Hello?").await;
    assert_eq!(sentences(&server.until_end().await), ["Here."]);
    assert_eq!(server.primary.requests.borrow().len(), 2);

    let mut refused = mind([Act::Fail(ProviderErrorKind::Auth)], 0);
    refused.answer(1, "Hello?").await;
    assert_eq!(sentences(&refused.until_end().await), ["From the fallback."]);
    assert_eq!(refused.primary.requests.borrow().len(), 1);

    let mut malformed = mind([Act::Fail(ProviderErrorKind::Refused)], 0);
    malformed.answer(1, "Hello?").await;
    malformed.until_end().await;
    assert_eq!((malformed.gate.reports.borrow().len(), malformed.gate.given_up.get()), (0, 1));
}

#[actix::test]
async fn an_answer_that_breaks_off_ends_with_its_last_whole_word() {
    tokio::time::pause();
    let mut mind = mind([Act::SayThenBreak("We open at nine. Then we have a pau")], 0);
    mind.answer(1, "When?").await;
    assert_eq!(sentences(&mind.until_end().await), ["We open at nine.", "Then we have a"]);
    tokio::time::sleep(Duration::from_millis(10)).await;
    // One request, one report: it broke, though it had begun well.
    assert_eq!((mind.gate.reports.borrow().as_slice(), mind.gate.out.get()), (&[false][..], 0));
    assert!(mind.fallback.requests.borrow().is_empty());
}

#[actix::test]
async fn an_open_breaker_skips_the_primary() {
    tokio::time::pause();
    let mut mind = mind([], 0);
    mind.gate.closed.set(true);
    mind.answer(1, "Hello?").await;
    assert_eq!(sentences(&mind.until_end().await), ["From the fallback."]);
    assert!(mind.primary.requests.borrow().is_empty());
}

#[actix::test]
async fn a_stopped_reply_drops_its_request_and_says_nothing_more() {
    tokio::time::pause();
    let mut mind = mind([Act::Hang, Act::Say(&["Sure."])], 0);
    mind.answer(1, "I want").await;
    assert_eq!(mind.primary.open.get(), 1);
    mind.addr.send(StopAnswer { reply: ReplyId(1), fate: Fate::Withdrawn }).await.unwrap();
    mind.answer(2, "I want a haircut").await;
    let thoughts = mind.until_end().await;
    assert_eq!(thoughts.last(), Some(&Thought::Done { reply: ReplyId(2), then: Then::Listen }));
    assert_eq!(mind.primary.open.get(), 0);
    assert_eq!(mind.gate.given_up.get(), 1);
    assert_eq!(rules::user_words(&mind.primary.requests.borrow()[1].messages).join(" "), "I want a haircut");
}

#[actix::test]
async fn a_booking_under_way_finishes_though_the_caller_speaks_and_the_next_turn_knows() {
    tokio::time::pause();
    let book = r#"{"service":"Haircut","date":"friday","time":"3 PM"}"#;
    let mut mind = mind([Act::Call("book_appointment", book), Act::Say(&["It is booked."])], 800);
    mind.answer(1, "Book me.").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    mind.addr.send(StopAnswer { reply: ReplyId(1), fate: Fate::Heard(String::new()) }).await.unwrap();
    mind.answer(2, "Hello?").await;
    assert_eq!(sentences(&mind.until_end().await), ["It is booked."]);
    assert_eq!(mind.ran.borrow().len(), 1);
    let requests = mind.primary.requests.borrow();
    assert!(requests[1].messages.contains(&ChatMessage::Tool {
        id: "c1".into(),
        name: "book_appointment".into(),
        content: r#"{"ok":true}"#.into()
    }));
}

#[actix::test]
async fn a_pause_in_the_middle_of_an_answer_speaks_what_is_there() {
    tokio::time::pause();
    struct Slow;
    impl ChatModel for Slow {
        fn name(&self) -> &str {
            "slow"
        }
        fn chat(&self, _: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
            let first = stream::iter([Ok(ChatDelta::Text("Let me see.".into()))]);
            let rest = stream::once(async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                finish(vec![])
            });
            Box::pin(async move { Ok(first.chain(rest).boxed_local()) })
        }
        fn warm(&self) -> LocalBoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }
    let (tx, mut thoughts) = mpsc::unbounded_channel();
    let probe = Probe(tx).start();
    let context = PromptContext {
        profile: Arc::new(rules::profile()),
        tools: schema::specs(&rules::profile()),
        caller: CallerFacts::default(),
        outbound: None,
        resumed: false,
    };
    let settings = Settings::new(&LlmConfig::default(), &CallConfig::default());
    let gate = || Rc::new(FakeGate::default());
    let addr = DialogueActor::new(Parts {
        machine: DialogueMachine::new(settings, context, &ResumeState::default()),
        primary: Voice { model: Rc::new(Slow), gate: gate() },
        fallback: None,
        desk: Rc::new(FakeDesk { takes: Duration::ZERO, ran: Rc::default() }),
        summariser: None,
        local_time: Box::new(String::new),
        events: probe.clone().recipient(),
        generation: Generation(0),
        t0: Instant::now(),
        life: None,
    })
    .start();
    let begun = Instant::now();
    addr.send(Answer { reply: ReplyId(1), text: "Well?".into() }).await.unwrap();
    loop {
        if let Thought::Sentence { text, .. } = thoughts.recv().await.unwrap() {
            assert_eq!(text, "Let me see.");
            break;
        }
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_millis(600), "{took:?}");
}

#[actix::test]
async fn a_panic_ends_the_actor_and_its_guard_tells() {
    tokio::time::pause();
    let mut mind = mind([], 0);
    let _ = mind.addr.send(InjectPanic).await;
    assert_eq!(mind.thoughts.recv().await, Some(Thought::Fact("gone".into())));
    assert!(!mind.addr.connected());
}
