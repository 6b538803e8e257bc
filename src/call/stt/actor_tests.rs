use super::actor::SttActor;
use super::machine::EarSettings;
use super::messages::{CallerAudio, Finalize, Finish, Heard, InjectPanic, SttEvent};
use crate::config::call::CallConfig;
use crate::config::stt::SttConfig;
use crate::domain::ids::Generation;
use crate::provider::stt::{SttMessage, SttReceiver, SttSender, SttVendor, SttWord};
use crate::provider::{ProviderError, ProviderErrorKind};
use actix::{Actor, Addr, Context, Handler};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

#[derive(Default)]
struct Ring {
    queue: RefCell<VecDeque<Bytes>>,
    came: Rc<Notify>,
    voiced: Cell<bool>,
}

impl Ring {
    fn push(&self, frames: usize) {
        for _ in 0..frames {
            self.queue.borrow_mut().push_back(Bytes::from_static(&[0x55; 160]));
        }
        self.came.notify_one();
    }
}

impl CallerAudio for Ring {
    fn take(&self, max_bytes: usize) -> Option<Bytes> {
        let frame = self.queue.borrow_mut().pop_front()?;
        assert!(frame.len() <= max_bytes);
        Some(frame)
    }

    fn ready(&self) -> LocalBoxFuture<'static, ()> {
        let came = Rc::clone(&self.came);
        let waits = !self.queue.borrow().is_empty();
        Box::pin(async move {
            if !waits {
                came.notified().await;
            }
        })
    }

    fn voiced(&self) -> bool {
        self.voiced.get()
    }
}

type Said = Result<SttMessage, ProviderError>;

/// One connection as the test sees it.
#[derive(Clone)]
struct Line {
    sent: Rc<RefCell<Vec<String>>>,
    audio: Rc<Cell<usize>>,
    stuck: Rc<Cell<bool>>,
    say: mpsc::UnboundedSender<Option<Said>>,
}

struct Hearing(mpsc::UnboundedReceiver<Option<Said>>);

impl Line {
    fn note(&self, what: &str) -> LocalBoxFuture<'static, Result<(), ProviderError>> {
        self.sent.borrow_mut().push(what.to_owned());
        Box::pin(std::future::ready(Ok(())))
    }
}

impl SttSender for Line {
    fn audio(&mut self, audio: Bytes) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        if self.stuck.get() {
            return Box::pin(std::future::pending());
        }
        self.audio.set(self.audio.get() + audio.len());
        Box::pin(std::future::ready(Ok(())))
    }

    fn keep_alive(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        self.note("keep_alive")
    }

    fn finalize(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        self.note("finalize")
    }

    fn finish(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>> {
        self.note("finish")
    }
}

impl SttReceiver for Hearing {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<Said>> {
        Box::pin(async { self.0.recv().await.flatten() })
    }
}

#[derive(Default)]
struct Vendor {
    lines: RefCell<Vec<Line>>,
}

impl SttVendor for Vendor {
    fn connect(
        &self,
    ) -> LocalBoxFuture<'static, Result<(Box<dyn SttSender>, Box<dyn SttReceiver>), ProviderError>> {
        let (say, hear) = mpsc::unbounded_channel();
        let line = Line { sent: Rc::default(), audio: Rc::default(), stuck: Rc::default(), say };
        self.lines.borrow_mut().push(line.clone());
        Box::pin(async move {
            sleep(Duration::from_millis(50)).await;
            Ok((Box::new(line) as Box<dyn SttSender>, Box::new(Hearing(hear)) as Box<dyn SttReceiver>))
        })
    }
}

/// The call: keeps what it is told.
struct Call {
    told: Rc<RefCell<Vec<Heard>>>,
    capacity: usize,
}

impl Actor for Call {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.capacity);
    }
}

impl Handler<SttEvent> for Call {
    type Result = ();

    fn handle(&mut self, event: SttEvent, ctx: &mut Self::Context) {
        assert_eq!(event.generation, Generation(3));
        if event.heard == (Heard::Utterance { text: "die".into(), last_word_at: None }) {
            actix::ActorContext::stop(ctx);
        }
        self.told.borrow_mut().push(event.heard);
    }
}

struct Rig {
    ear: Addr<SttActor>,
    call: Addr<Call>,
    ring: Rc<Ring>,
    vendor: Rc<Vendor>,
    told: Rc<RefCell<Vec<Heard>>>,
}

impl Rig {
    async fn with_capacity(capacity: usize) -> Self {
        tokio::time::pause();
        let (ring, vendor) = (Rc::new(Ring::default()), Rc::new(Vendor::default()));
        let told = Rc::new(RefCell::new(Vec::new()));
        let call = Call { told: Rc::clone(&told), capacity }.start();
        let settings = EarSettings::new(&SttConfig::default(), &CallConfig::default());
        let ear = SttActor::new(
            Generation(3),
            Rc::clone(&vendor) as Rc<dyn SttVendor>,
            Rc::clone(&ring) as Rc<dyn CallerAudio>,
            call.clone().recipient(),
            settings,
            Instant::now(),
            1,
        )
        .start();
        let rig = Self { ear, call, ring, vendor, told };
        rig.pass(100).await;
        rig
    }

    async fn new() -> Self {
        Self::with_capacity(16).await
    }

    async fn pass(&self, ms: u64) {
        sleep(Duration::from_millis(ms)).await;
    }

    async fn speak(&self, ms: u64) {
        for _ in 0..ms / 20 {
            self.pass(20).await;
            self.ring.push(1);
        }
        self.pass(1).await;
    }

    fn line(&self, n: usize) -> Line {
        self.vendor.lines.borrow()[n].clone()
    }

    /// What the call was told since last time, audit aside.
    fn told(&self) -> Vec<Heard> {
        let told = std::mem::take(&mut *self.told.borrow_mut());
        told.into_iter().filter(|h| !matches!(h, Heard::Audit(_))).collect()
    }
}

fn settled(text: &str, start: f64, end: f64) -> Option<Said> {
    Some(Ok(SttMessage::Results {
        start,
        duration: end - start,
        is_final: true,
        speech_final: true,
        from_finalize: false,
        transcript: text.into(),
        words: vec![SttWord { text: text.into(), start, end }],
    }))
}

fn broken() -> Option<Said> {
    Some(Err(ProviderError::new("test", ProviderErrorKind::Closed, "net-0001")))
}

#[actix::test]
async fn what_the_caller_says_goes_out_and_comes_back_as_an_utterance_with_its_time() {
    let rig = Rig::new().await;
    assert_eq!(rig.told(), [Heard::Ready]);
    rig.speak(1_000).await;
    assert_eq!(rig.line(0).audio.get(), 8_000);
    rig.line(0).say.send(settled("hello", 0.2, 0.6)).unwrap();
    rig.pass(1).await;
    let told = rig.told();
    let [Heard::Utterance { text, last_word_at: Some(at) }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(text, "hello");
    // The stream's first frame was complete 120 ms into the call; timers are a millisecond or two late.
    assert!(at.as_millis().abs_diff(100 + 600) < 5, "{at:?}");
}

#[actix::test]
async fn a_break_is_told_and_the_unsettled_audio_goes_out_again() {
    let rig = Rig::new().await;
    rig.speak(2_000).await;
    rig.line(0).say.send(settled("hello", 0.0, 1.5)).unwrap();
    rig.pass(1).await;
    rig.told();
    rig.line(0).say.send(broken()).unwrap();
    rig.pass(1).await;
    assert_eq!(rig.told(), [Heard::Interrupted]);
    rig.speak(400).await;
    rig.pass(5_000).await;
    assert_eq!(rig.told(), [Heard::Ready]);
    // Half a second was not settled, 0.4 s came since; after 4 s idle nothing but keep-alives.
    assert_eq!(rig.line(1).audio.get(), 7_200);
    assert_eq!(rig.line(1).sent.borrow()[..], ["keep_alive"]);
}

#[actix::test]
async fn the_end_collects_last_words_and_stops_the_actor() {
    let rig = Rig::new().await;
    rig.speak(500).await;
    rig.ring.queue.borrow_mut().push_back(Bytes::from_static(&[0x55; 160]));
    rig.ear.do_send(Finish);
    rig.pass(100).await;
    assert_eq!(rig.line(0).sent.borrow()[..], ["finish"]);
    assert_eq!(rig.line(0).audio.get(), 26 * 160, "audio that waited goes before the end");
    rig.told();
    rig.line(0).say.send(settled("bye", 0.1, 0.5)).unwrap();
    rig.line(0).say.send(None).unwrap();
    rig.pass(1).await;
    assert!(matches!(&rig.told()[..], [Heard::Utterance { text, .. }] if text == "bye"));
    assert!(!rig.ear.connected());
}

#[actix::test]
async fn the_end_waits_two_seconds_at_most() {
    let rig = Rig::new().await;
    rig.ear.do_send(Finish);
    rig.pass(1_990).await;
    assert!(rig.ear.connected());
    rig.pass(20).await;
    assert!(!rig.ear.connected());
}

#[actix::test]
async fn a_flush_is_passed_on() {
    let rig = Rig::new().await;
    rig.ear.do_send(Finalize);
    rig.pass(1).await;
    assert_eq!(rig.line(0).sent.borrow()[..], ["finalize"]);
}

#[actix::test]
async fn a_panic_kills_this_actor_alone() {
    let rig = Rig::new().await;
    tokio::time::resume();
    let other = Rig::new().await;
    rig.ear.do_send(InjectPanic);
    rig.pass(10).await;
    assert!(!rig.ear.connected());
    assert!(rig.call.connected());
    other.line(0).say.send(settled("still here", 0.0, 0.0)).unwrap();
    other.pass(1).await;
    assert_eq!(other.told().len(), 2);
}

#[actix::test]
async fn a_socket_that_takes_nothing_is_given_up() {
    let rig = Rig::new().await;
    rig.line(0).stuck.set(true);
    rig.line(0).say.send(settled("last", 0.0, 0.0)).unwrap();
    rig.pass(1).await;
    rig.told();
    rig.speak(20).await;
    rig.pass(1_900).await;
    assert!(rig.told().is_empty());
    rig.pass(1_000).await;
    assert_eq!(rig.told(), [Heard::Interrupted, Heard::Ready]);
    assert_eq!(rig.line(1).audio.get(), 160);
}

#[actix::test]
async fn a_full_mailbox_loses_no_utterance_and_keeps_their_order() {
    let rig = Rig::with_capacity(1).await;
    rig.told();
    for n in 0..40 {
        rig.line(0).say.send(settled(&format!("u{n}"), f64::from(n), f64::from(n) + 0.5)).unwrap();
    }
    rig.pass(3_000).await;
    let told: Vec<String> = rig
        .told()
        .into_iter()
        .map(|h| match h {
            Heard::Utterance { text, .. } => text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, (0..40).map(|n| format!("u{n}")).collect::<Vec<_>>());
}

#[actix::test]
async fn an_ear_without_a_call_ends() {
    let rig = Rig::new().await;
    rig.line(0).say.send(settled("die", 0.0, 0.0)).unwrap();
    rig.pass(1).await;
    rig.line(0).say.send(settled("anyone?", 1.0, 2.0)).unwrap();
    rig.pass(1).await;
    assert!(!rig.ear.connected());
}
