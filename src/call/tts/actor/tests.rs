use super::*;
use crate::call::tts::messages::Spoke;
use crate::config::tts::TtsConfig;
use crate::domain::ids::ReplyId;
use crate::provider::ProviderErrorKind;
use crate::provider::breaker::BreakerState;
use crate::provider::tts::TtsVoice;
use actix::Addr;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use tokio::time::{Instant, sleep};

/// What a fake vendor does with a text.
#[derive(Clone)]
enum Piece {
    Audio(usize),
    Wait(u64),
    Hang,
    Fail,
    Refuse,
}

use Piece::{Audio, Fail, Hang, Refuse, Wait};

#[derive(Default)]
struct FakeVoice {
    /// Played for the n-th request; the last one for all further.
    scripts: Vec<Vec<Piece>>,
    asked: RefCell<Vec<(u64, String)>>,
    dropped: Rc<Cell<usize>>,
    warmed: Cell<usize>,
    born: Cell<Option<Instant>>,
}

struct DropCount(Rc<Cell<usize>>);

impl Drop for DropCount {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl TtsVoice for FakeVoice {
    fn vendor(&self) -> &'static str {
        "fake"
    }

    fn speak(&self, text: String) -> LocalBoxFuture<'static, Result<SpeechStream, ProviderError>> {
        let born = self.born.get().unwrap_or_else(Instant::now);
        self.born.set(Some(born));
        let number = self.asked.borrow().len();
        // The timer's grain is a millisecond: times are told to ten.
        let at = u64::try_from(born.elapsed().as_millis()).unwrap() / 10 * 10;
        self.asked.borrow_mut().push((at, text));
        let script = self.scripts.get(number).or(self.scripts.last()).cloned().unwrap();
        let guard = DropCount(self.dropped.clone());
        Box::pin(async move {
            let stream = stream::unfold((script.into_iter(), guard), |(mut script, guard)| async move {
                loop {
                    let piece = match script.next()? {
                        Audio(bytes) => Ok(Bytes::from(vec![0xFF; bytes])),
                        Refuse => Err(ProviderError::new("fake", ProviderErrorKind::Refused, "http_422")),
                        Fail => Err(ProviderError::new("fake", ProviderErrorKind::Closed, "body_cut")),
                        Wait(ms) => {
                            sleep(Duration::from_millis(ms)).await;
                            continue;
                        }
                        Hang => std::future::pending().await,
                    };
                    return Some((piece, (script, guard)));
                }
            });
            Ok(stream.boxed_local())
        })
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        self.warmed.set(self.warmed.get() + 1);
        Box::pin(async {})
    }
}

/// A playback that writes down what it is given.
#[derive(Default)]
struct Playback {
    log: RefCell<Vec<String>>,
    stopped: Cell<Option<ReplyId>>,
    /// Bytes that may still be taken.
    space: Option<watch::Sender<usize>>,
    sent_ms: Cell<u64>,
    /// What waits to be sent, ms.
    waiting_ms: Option<watch::Sender<u64>>,
}

impl VoiceOut for Playback {
    fn begin_sentence(&self, reply: ReplyId, sentence: u32, text: &str) -> bool {
        let taken = self.stopped.get() != Some(reply);
        if taken {
            self.log.borrow_mut().push(format!("begin {sentence} {text}"));
        }
        taken
    }

    fn audio(&self, reply: ReplyId, sentence: u32, audio: Bytes) -> bool {
        if self.stopped.get() == Some(reply) {
            return false;
        }
        if let Some(space) = &self.space {
            space.send_modify(|space| *space = space.saturating_sub(audio.len()));
        }
        self.log.borrow_mut().push(format!("audio {sentence} {}", audio.len()));
        true
    }

    fn end_sentence(&self, _: ReplyId, sentence: u32) {
        self.log.borrow_mut().push(format!("end {sentence}"));
    }

    fn retract(&self, _: ReplyId, sentence: u32) -> u64 {
        self.log.borrow_mut().push(format!("retract {sentence}"));
        self.sent_ms.get()
    }

    fn room(&self) -> LocalBoxFuture<'static, ()> {
        let Some(space) = &self.space else { return Box::pin(async {}) };
        let mut space = space.subscribe();
        Box::pin(async move {
            let _ = space.wait_for(|space| *space > 0).await;
        })
    }

    fn waiting_ms(&self) -> u64 {
        self.waiting_ms.as_ref().map_or(0, |waiting| *waiting.borrow())
    }

    fn runs_low(&self) -> LocalBoxFuture<'static, ()> {
        let Some(waiting) = &self.waiting_ms else { return Box::pin(async {}) };
        let mut waiting = waiting.subscribe();
        Box::pin(async move {
            let _ = waiting.wait_for(|waiting| *waiting < RUNWAY_MS).await;
        })
    }
}

impl Playback {
    fn bytes(&self, sentence: u32) -> usize {
        let prefix = format!("audio {sentence} ");
        self.log.borrow().iter().filter_map(|l| l.strip_prefix(&prefix)?.parse::<usize>().ok()).sum()
    }

    fn marks(&self) -> Vec<String> {
        self.log.borrow().iter().filter(|line| !line.starts_with("audio")).cloned().collect()
    }
}

struct Parent(Rc<RefCell<Vec<Spoke>>>);

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<TtsEvent> for Parent {
    type Result = ();

    fn handle(&mut self, event: TtsEvent, _: &mut Context<Self>) {
        assert_eq!(event.generation, Generation(7));
        self.0.borrow_mut().push(event.spoke);
    }
}

struct Stage {
    primary: Rc<FakeVoice>,
    fallback: Rc<FakeVoice>,
    voices: Rc<Voices>,
    out: Rc<Playback>,
    told: Rc<RefCell<Vec<Spoke>>>,
    parent: Addr<Parent>,
    tts: Addr<TtsActor>,
}

fn voice(scripts: &[&[Piece]]) -> FakeVoice {
    FakeVoice { scripts: scripts.iter().map(|script| script.to_vec()).collect(), ..FakeVoice::default() }
}

fn stage_with(primary: FakeVoice, fallback: FakeVoice, out: Playback, config: TtsConfig) -> Stage {
    let (primary, fallback) = (Rc::new(primary), Rc::new(fallback));
    let all: Vec<Rc<dyn TtsVoice>> = vec![primary.clone(), fallback.clone()];
    let voices = Voices::new(all, &config);
    let told = Rc::new(RefCell::new(Vec::new()));
    let parent = Parent(told.clone()).start();
    let out = Rc::new(out);
    let tts = TtsActor::new(Generation(7), voices.clone(), out.clone(), parent.clone().recipient()).start();
    Stage { primary, fallback, voices, out, told, parent, tts }
}

fn stage(primary: &[&[Piece]], fallback: &[&[Piece]]) -> Stage {
    stage_with(voice(primary), voice(fallback), Playback::default(), TtsConfig::default())
}

impl Stage {
    fn say(&self, sentence: u32, text: &str) {
        self.tts.do_send(Speak { reply: ReplyId(1), sentence, text: text.into(), cache: false });
    }

    fn done(&self) -> Vec<u32> {
        let told = self.told.borrow();
        told.iter()
            .filter_map(|s| if let Spoke::SentenceDone { sentence, .. } = s { Some(*sentence) } else { None })
            .collect()
    }

    fn audits(&self) -> Vec<String> {
        let told = self.told.borrow();
        told.iter()
            .filter_map(
                |s| if let Spoke::Audit(a) = s { Some(format!("{} {}", a.code, a.detail)) } else { None },
            )
            .collect()
    }
}

async fn wait(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

#[actix::test]
async fn sentences_are_spoken_one_after_the_other_with_the_next_requested_ahead() {
    tokio::time::pause();
    let s = stage(&[&[Wait(100), Audio(160), Wait(200), Audio(160)]], &[&[Fail]]);
    s.say(0, "One.");
    s.say(1, "Two.");
    wait(1_000).await;
    assert_eq!(s.out.marks(), ["begin 0 One.", "end 0", "begin 1 Two.", "end 1"]);
    assert_eq!((s.out.bytes(0), s.out.bytes(1)), (320, 320));
    assert_eq!(*s.primary.asked.borrow(), [(0, "One.".into()), (100, "Two.".into())]);
    let told = s.told.borrow();
    assert_eq!(told[0], Spoke::FirstAudio { reply: ReplyId(1) });
    assert_eq!(told.len(), 3, "{told:?}");
}

#[actix::test]
async fn a_hang_before_the_first_byte_is_answered_by_the_other_voice_in_time() {
    tokio::time::pause();
    let s = stage(&[&[Hang]], &[&[Audio(480)]]);
    s.say(0, "One.");
    wait(1_499).await;
    assert!(s.fallback.asked.borrow().is_empty());
    wait(10).await;
    assert_eq!((s.out.bytes(0), s.done()), (480, vec![0]));
    assert!(s.audits()[0].contains("first_audio_timeout"), "{:?}", s.audits());
    assert_eq!(s.primary.dropped.get(), 1, "the hanging request is gone");
}

#[actix::test]
async fn a_hang_in_the_middle_is_taken_up_at_the_clause() {
    tokio::time::pause();
    let text = "We are open on Monday, on Tuesday until six.";
    let s = stage(&[&[Audio(16_050), Hang]], &[&[Audio(480)]]);
    s.out.sent_ms.set(1_700);
    s.say(0, text);
    wait(999).await;
    assert_eq!(s.out.bytes(0), 16_000, "whole frames only");
    wait(10).await;
    assert_eq!(s.fallback.asked.borrow()[0].1, "on Tuesday until six.");
    assert_eq!(s.out.marks(), [format!("begin 0 {text}"), "retract 0".into(), "end 0".into()]);
    assert_eq!(s.done(), [0]);
}

#[actix::test]
async fn waiting_for_room_is_no_gap_of_the_vendors_and_reads_nothing_more() {
    tokio::time::pause();
    let (space, _) = watch::channel(3_200);
    let out = Playback { space: Some(space), ..Playback::default() };
    let s = stage_with(voice(&[&[Audio(8_000), Audio(800)]]), voice(&[&[Fail]]), out, TtsConfig::default());
    s.say(0, "One.");
    wait(60_000).await;
    assert_eq!(s.out.bytes(0), 3_200, "in pieces of 1,600, no more than there is room for");
    s.out.space.as_ref().unwrap().send_replace(100_000);
    wait(10).await;
    assert_eq!((s.out.bytes(0), s.done()), (8_800, vec![0]));
    assert_eq!(s.audits(), Vec::<String>::new());
}

#[actix::test]
async fn a_sentence_is_not_asked_for_before_the_playback_runs_low() {
    tokio::time::pause();
    let (waiting, _) = watch::channel(5_000);
    let out = Playback { waiting_ms: Some(waiting), ..Playback::default() };
    let s = stage_with(voice(&[&[Audio(160)]]), voice(&[&[Fail]]), out, TtsConfig::default());
    s.say(0, "One.");
    s.say(1, "Two.");
    wait(60_000).await;
    assert_eq!((s.primary.asked.borrow().len(), s.done()), (1, vec![0]));
    s.out.waiting_ms.as_ref().unwrap().send_replace(RUNWAY_MS - 1);
    wait(10).await;
    assert_eq!((s.primary.asked.borrow().len(), s.done()), (2, vec![0, 1]));
    assert_eq!(s.audits(), Vec::<String>::new());
}

#[actix::test]
async fn stopping_a_reply_drops_its_requests_and_warms_the_vendor_again() {
    tokio::time::pause();
    let s = stage(&[&[Audio(160), Hang]], &[&[Fail]]);
    s.say(0, "One.");
    s.say(1, "Two.");
    wait(10).await;
    assert_eq!(s.primary.asked.borrow().len(), 2);
    s.tts.do_send(StopReply(ReplyId(1)));
    wait(1).await;
    assert_eq!((s.primary.dropped.get(), s.primary.warmed.get()), (2, 2));
    assert_eq!(s.voices.states()[0].2, 0, "no request is counted any more");
    s.say(2, "Late.");
    wait(5_000).await;
    assert_eq!(s.out.marks(), ["begin 0 One."]);
    assert_eq!(s.primary.asked.borrow().len(), 2);
}

#[actix::test]
async fn a_playback_that_takes_nothing_more_stops_the_reply() {
    tokio::time::pause();
    let s = stage(&[&[Audio(160), Wait(50), Audio(160), Wait(50), Audio(160)]], &[&[Fail]]);
    s.say(0, "One.");
    wait(10).await;
    s.out.stopped.set(Some(ReplyId(1)));
    wait(500).await;
    assert_eq!((s.out.bytes(0), s.done(), s.primary.dropped.get()), (160, vec![], 1));
}

#[actix::test]
async fn a_vendor_that_keeps_failing_is_skipped_for_a_while_and_then_tried_once() {
    tokio::time::pause();
    let config = TtsConfig { breaker_failures: 2, ..TtsConfig::default() };
    let primary = voice(&[&[Fail], &[Fail], &[Audio(160)]]);
    let s = stage_with(primary, voice(&[&[Audio(160)]]), Playback::default(), config);
    let say = |reply| {
        s.tts.do_send(Speak { reply: ReplyId(reply), sentence: 0, text: "One.".into(), cache: false });
    };
    for reply in 0..4 {
        say(reply);
        wait(10).await;
    }
    assert_eq!(s.primary.asked.borrow().len(), 2, "the last two replies did not ask it");
    assert!(s.audits()[3].contains("breaker_open"), "{:?}", s.audits());
    wait(15_000).await;
    say(4);
    wait(10).await;
    say(5);
    wait(10).await;
    assert_eq!((s.primary.asked.borrow().len(), s.fallback.asked.borrow().len()), (4, 4));
    assert_eq!(s.done().len(), 6);
}

#[actix::test]
async fn a_text_that_is_refused_says_nothing_of_the_vendor() {
    tokio::time::pause();
    let config = TtsConfig { breaker_failures: 2, ..TtsConfig::default() };
    let primary = voice(&[&[Refuse], &[Refuse], &[Refuse], &[Audio(160)]]);
    let s = stage_with(primary, voice(&[&[Audio(160)]]), Playback::default(), config);
    for reply in 0..4 {
        s.tts.do_send(Speak { reply: ReplyId(reply), sentence: 0, text: "One.".into(), cache: false });
        wait(10).await;
    }
    assert_eq!((s.primary.asked.borrow().len(), s.fallback.asked.borrow().len()), (4, 3));
    assert_eq!(s.voices.states()[0], ("fake", BreakerState::Closed, 0));
}

#[actix::test]
async fn over_the_cap_a_live_reply_goes_to_the_fallback_and_the_next_sentence_waits() {
    tokio::time::pause();
    let config = TtsConfig { max_concurrent: 1, ..TtsConfig::default() };
    let s =
        stage_with(voice(&[&[Audio(160), Wait(300)]]), voice(&[&[Audio(160)]]), Playback::default(), config);
    let other =
        TtsActor::new(Generation(7), s.voices.clone(), s.out.clone(), s.parent.clone().recipient()).start();
    s.say(0, "One.");
    s.say(1, "Two.");
    wait(10).await;
    other.do_send(Speak { reply: ReplyId(9), sentence: 5, text: "Other.".into(), cache: false });
    wait(10).await;
    assert_eq!(s.fallback.asked.borrow()[0].1, "Other.");
    wait(1_000).await;
    assert_eq!(s.primary.asked.borrow().iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 300]);
    assert_eq!(s.fallback.asked.borrow().len(), 1);
    assert_eq!(s.done(), [5, 0, 1]);
}

#[actix::test]
async fn when_no_voice_speaks_the_call_is_told() {
    tokio::time::pause();
    let s = stage(&[&[Fail]], &[&[Audio(1_600), Fail]]);
    s.say(0, "One.");
    wait(10).await;
    let told = s.told.borrow();
    assert_eq!(
        *told.last().unwrap(),
        Spoke::Failed { reply: ReplyId(1), sentence: 0, code: "body_cut".into() }
    );
    assert_eq!(s.out.marks(), ["begin 0 One.", "end 0"], "what was begun is ended");
}

#[actix::test]
async fn a_greeting_is_synthesised_once_for_all_calls() {
    tokio::time::pause();
    let s = stage(&[&[Audio(4_000)]], &[&[Fail]]);
    let other =
        TtsActor::new(Generation(7), s.voices.clone(), s.out.clone(), s.parent.clone().recipient()).start();
    let greet = |tts: &Addr<TtsActor>, sentence| {
        tts.do_send(Speak { reply: ReplyId(1), sentence, text: "Welcome.".into(), cache: true });
    };
    greet(&s.tts, 0);
    wait(10).await;
    greet(&other, 1);
    wait(10).await;
    assert_eq!(s.primary.asked.borrow().len(), 1);
    assert_eq!((s.out.bytes(0), s.out.bytes(1), s.done()), (4_000, 4_000, vec![0, 1]));
}

#[actix::test]
async fn a_panic_stays_inside_its_actor() {
    tokio::time::pause();
    let s = stage(&[&[Audio(160), Hang]], &[&[Audio(160)]]);
    let other =
        TtsActor::new(Generation(7), s.voices.clone(), s.out.clone(), s.parent.clone().recipient()).start();
    s.say(0, "One.");
    wait(10).await;
    assert!(s.tts.send(InjectPanic).await.is_err());
    assert_eq!(s.voices.states()[0].2, 0, "its requests are not counted any more");
    other.do_send(Speak { reply: ReplyId(2), sentence: 0, text: "Two.".into(), cache: false });
    wait(3_000).await;
    assert_eq!(s.done(), [0]);
}

#[actix::test]
async fn a_voice_without_a_call_ends_although_it_waits_for_room() {
    tokio::time::pause();
    let (space, _) = watch::channel(0);
    let out = Playback { space: Some(space), ..Playback::default() };
    let s = stage_with(voice(&[&[Audio(8_000)]]), voice(&[&[Fail]]), out, TtsConfig::default());
    s.say(0, "One.");
    wait(10).await;
    let Stage { tts, primary, voices, .. } = s;
    drop(tts);
    wait(2_000).await;
    assert_eq!((primary.dropped.get(), voices.states()[0].2), (1, 0));
}
