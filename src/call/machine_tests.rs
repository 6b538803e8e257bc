use super::*;
use crate::call::stt::messages::SpokenDigits;
use crate::config::call::CallConfig;
use crate::domain::ids::Epoch;
use crate::domain::turn::Speaker;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

#[path = "machine/handover_tests.rs"]
mod handover;

const VOICE_MS: u64 = 100;
/// Length of a spoken character in these tests.
const CHAR_MS: u64 = 50;
const TICK: u64 = 20;

fn phrases() -> Phrases {
    let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    Phrases {
        fillers: list(&["One moment.", "Nearly there."]),
        tool_fillers: BTreeMap::from([
            ("look".into(), "Let me look.".into()),
            ("write".into(), "Let me write that down.".into()),
        ]),
        idle_prompts: list(&["Still there?", "Hello?"]),
        idle_goodbye: "Nobody there, goodbye.".into(),
        goodbye: "Goodbye.".into(),
        say_again: "Say that again?".into(),
        cannot_hear: list(&["I cannot hear you.", "Still nothing."]),
        hears_again: "I hear you again.".into(),
        apology_goodbye: "Sorry, we call back.".into(),
        apology_transfer: "Sorry, a person will help.".into(),
        transfer: "Putting you through.".into(),
        max_duration: "Time is up.".into(),
        resumed: "We were cut off.".into(),
        transfer_failed: "Nobody answers.".into(),
    }
}

fn setup() -> Setup {
    Setup {
        config: CallConfig::default(),
        phrases: phrases(),
        can_transfer: false,
        zero_for_person: true,
        record: false,
        notice: None,
        named: false,
        epoch: Epoch(1),
        resume: None,
        keep_turns: 48,
    }
}

fn with_transfer() -> Setup {
    Setup { can_transfer: true, ..setup() }
}

/// A call with its timers, a voice that speaks what it is given, and a line that plays it and returns the marks.
struct Rig {
    machine: CallMachine,
    playback: Playback,
    now: u64,
    timers: HashMap<Timer, u64>,
    /// What the voice is to say, and when it does.
    speech: Vec<(u64, ReplyId, u32, String)>,
    voice: bool,
    /// Marks on their way back.
    marks: Vec<(u64, String)>,
    /// Which replies' frames went out, and `clear`s as `None`.
    wire: Vec<Option<u8>>,
    last: Vec<Effect>,
    all: Vec<Effect>,
}

impl Rig {
    fn new(setup: Setup) -> Self {
        Self {
            machine: CallMachine::new(setup),
            playback: Playback::new(Duration::from_millis(400), 4_000),
            now: 0,
            timers: HashMap::new(),
            speech: Vec::new(),
            voice: true,
            marks: Vec::new(),
            wire: Vec::new(),
            last: Vec::new(),
            all: Vec::new(),
        }
    }

    /// A call that was greeted; the greeting was heard.
    fn greeted(setup: Setup) -> Self {
        let mut rig = Self::new(setup);
        rig.begin();
        rig.wait(1_500);
        assert!(rig.machine.replies.is_empty(), "the greeting was heard");
        rig.last.clear();
        rig
    }

    fn begin(&mut self) -> &mut Self {
        self.on(Event::Begin { greeting: "Hello there.".into() })
    }

    fn on(&mut self, event: Event) -> &mut Self {
        self.last.clear();
        self.feed(event)
    }

    fn feed(&mut self, event: Event) -> &mut Self {
        let effects = self.machine.on(CallTime::from_millis(self.now), event, &mut self.playback);
        for effect in &effects {
            match effect {
                Effect::SetTimer(timer, after) => {
                    self.timers.insert(*timer, self.now + after.as_millis() as u64);
                }
                Effect::CancelTimer(timer) => {
                    self.timers.remove(timer);
                }
                Effect::Speak { reply, sentence, text, .. } => {
                    self.speech.push((self.now + VOICE_MS, *reply, *sentence, text.clone()));
                }
                Effect::StopSpeech(reply) => self.speech.retain(|s| s.1 != *reply),
                _ => {}
            }
        }
        self.last.extend(effects.clone());
        self.all.extend(effects);
        self
    }

    /// Lets time pass; `last` holds all that came of it.
    fn wait(&mut self, ms: u64) -> &mut Self {
        self.last.clear();
        let end = self.now + ms;
        while self.now < end {
            self.now += TICK;
            self.tick();
        }
        self
    }

    fn tick(&mut self) {
        while self.voice && self.speech.first().is_some_and(|s| s.0 <= self.now) {
            let (_, reply, sentence, text) = self.speech.remove(0);
            self.voiced(reply, sentence, &text);
        }
        self.pull();
        while self.marks.first().is_some_and(|m| m.0 <= self.now) {
            let (_, mark) = self.marks.remove(0);
            self.feed(Event::Stream(StreamEvent::Mark(mark)));
        }
        while let Some((&timer, _)) = self.timers.iter().find(|(_, at)| **at <= self.now) {
            self.timers.remove(&timer);
            self.feed(Event::Timer(timer));
        }
        self.pull();
    }

    fn voiced(&mut self, reply: ReplyId, sentence: u32, text: &str) {
        if self.playback.begin_sentence(reply, sentence, text) {
            let bytes = vec![reply.0 as u8; (text.len() as u64 * CHAR_MS * 8) as usize];
            self.playback.audio(reply, sentence, bytes.into());
            self.playback.end_sentence(reply, sentence);
            self.feed(Event::Spoke(Spoke::FirstAudio { reply }));
            self.feed(Event::Spoke(Spoke::SentenceDone { reply, sentence }));
        }
    }

    fn pull(&mut self) {
        let now = CallTime::from_millis(self.now);
        let (wire, marks) = (&mut self.wire, &mut self.marks);
        let mut sent = Vec::new();
        self.playback.pull(now, |out| match out {
            super::super::playback::Outgoing::Frame(frame) => wire.push(Some(frame[0])),
            super::super::playback::Outgoing::Mark(name) => sent.push(name.to_owned()),
            super::super::playback::Outgoing::Clear => {
                wire.push(None);
                marks.iter_mut().for_each(|m| m.0 = 0);
            }
        });
        let due = self.playback.tail().as_millis();
        self.marks.extend(sent.into_iter().map(|name| (due, name)));
        let first = self.playback.take_first_sent();
        if !first.is_empty() {
            self.feed(Event::Stream(StreamEvent::FirstSent(first)));
        }
    }

    fn partial(&mut self, text: &str) -> &mut Self {
        self.on(Event::Heard(Heard::Partial { text: text.into() }))
    }

    fn says(&mut self, text: &str) -> &mut Self {
        let last_word_at = Some(CallTime::from_millis(self.now.saturating_sub(300)));
        self.on(Event::Heard(Heard::Utterance { text: text.into(), last_word_at }))
    }

    fn sentence(&mut self, reply: u32, sentence: u32, text: &str) -> &mut Self {
        self.on(Event::Thought(Thought::Sentence { reply: ReplyId(reply), sentence, text: text.into() }))
    }

    fn done(&mut self, reply: u32) -> &mut Self {
        self.done_then(reply, Then::Listen)
    }

    fn done_then(&mut self, reply: u32, then: Then) -> &mut Self {
        self.on(Event::Thought(Thought::Done { reply: ReplyId(reply), then }))
    }

    /// The ear says that the caller has been waiting since then.
    fn waiting(&mut self, since: u64) -> &mut Self {
        self.on(Event::Heard(Heard::Waiting { since: CallTime::from_millis(since) }))
    }

    /// The same, again and again for so long, as the ear does.
    fn waits(&mut self, since: u64, ms: u64) -> Vec<String> {
        let (end, mut did) = (self.now + ms, Vec::new());
        while self.now < end {
            did.extend(self.wait(250 - 250 % TICK).did());
            did.extend(self.waiting(since).did());
        }
        did
    }

    fn key(&mut self, digit: char) -> &mut Self {
        self.on(Event::Stream(StreamEvent::Digit(digit)))
    }

    fn down(&mut self, child: Child) -> &mut Self {
        if child == Child::Tts {
            self.voice = false;
            self.speech.clear();
        }
        self.on(Event::ChildDown(child))
    }

    fn up(&mut self, child: Child) -> &mut Self {
        self.voice |= child == Child::Tts;
        self.on(Event::ChildUp(child))
    }

    /// The last effects in short, without timers, audit and saved states.
    fn did(&self) -> Vec<String> {
        self.last.iter().filter_map(brief).collect()
    }

    fn left(&self) -> Option<&Departure> {
        self.all.iter().find_map(|e| match e {
            Effect::Leave(departure) => Some(departure),
            _ => None,
        })
    }

    /// The transcript: the last writing of each turn.
    fn transcript(&self) -> Vec<String> {
        transcript(&self.all)
            .iter()
            .map(|t| {
                format!(
                    "{} {} {}: {}",
                    t.n,
                    t.speaker.as_str(),
                    if t.interrupted { "cut" } else { "whole" },
                    t.heard
                )
            })
            .collect()
    }

    fn timer(&self, timer: Timer) -> Option<u64> {
        self.timers.get(&timer).map(|at| at - self.now)
    }
}

fn transcript(effects: &[Effect]) -> Vec<TurnRecord> {
    let mut turns: Vec<TurnRecord> = Vec::new();
    for effect in effects {
        if let Effect::Record(turn) = effect {
            turns.retain(|t| t.n != turn.n);
            turns.push(turn.clone());
        }
    }
    turns.sort_by_key(|t| t.n);
    turns
}

fn brief(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Clear => "clear".into(),
        Effect::Speak { reply, sentence, text, .. } => format!("speak {reply}.{sentence} {text}"),
        Effect::StopSpeech(reply) => format!("hush {reply}"),
        Effect::Answer { reply, text } => format!("answer {reply} {text}"),
        Effect::StopAnswer { reply, fate: Fate::Withdrawn } => format!("withdraw {reply}"),
        Effect::StopAnswer { reply, fate: Fate::Heard(heard) } => format!("stop {reply} [{heard}]"),
        Effect::AnswerHeard { reply, text } => format!("heard {reply} [{text}]"),
        Effect::Said { reply, heard } => format!("said {reply} [{heard}]"),
        Effect::Note { text } => format!("note {text}"),
        Effect::Overheard { text } => format!("overheard {text}"),
        Effect::FinishListening => "finish".into(),
        Effect::Finalize => "finalize".into(),
        Effect::StartRecording { since_start_ms } => format!("record from {since_start_ms}"),
        Effect::Silence { from, to } => format!("silence {} to {}", from.as_millis(), to.as_millis()),
        Effect::SilenceBefore { from_ms, to_ms } => format!("silence before {from_ms} to {to_ms}"),
        Effect::Record(turn) => format!("record {} {} {}", turn.n, turn.speaker.as_str(), turn.heard),
        Effect::Leave(Departure::Ended { reason }) => format!("leave ended {reason}"),
        Effect::Leave(Departure::Broke) => "leave broke".into(),
        Effect::Leave(Departure::Decided { next: NextStep::HangUp { say }, reason }) => {
            format!(
                "leave hangup {} [{}]",
                reason.map_or("-", EndReason::as_str),
                say.as_deref().unwrap_or("")
            )
        }
        Effect::Leave(Departure::Decided { next: NextStep::Dial { say }, reason }) => {
            format!("leave dial {} [{}]", reason.map_or("-", EndReason::as_str), say.as_deref().unwrap_or(""))
        }
        Effect::SetTimer(..) | Effect::CancelTimer(_) | Effect::SaveState | Effect::Audit(_) => return None,
    })
}

// --- the ordinary course -----------------------------------------------------------------------------------------

#[test]
fn the_bot_greets_and_then_listens() {
    let mut rig = Rig::new(setup());
    assert_eq!(rig.begin().did(), ["speak 1.0 Hello there."]);
    rig.wait(600);
    assert_eq!(rig.wait(700).did(), ["record 1 bot Hello there.", "said 1 [Hello there.]"]);
    assert!(rig.timer(Timer::Idle).is_some(), "silence is watched from here on");
}

#[test]
fn a_notice_is_heard_before_the_greeting_and_cannot_be_interrupted() {
    let mut rig = Rig::new(Setup { record: true, notice: Some("We record.".into()), ..setup() });
    assert_eq!(rig.begin().did(), ["speak 1.0 We record.", "speak 2.0 Hello there."]);
    rig.wait(200).partial("stop stop stop");
    assert!(!rig.did().contains(&"clear".to_owned()));
    rig.wait(600).partial("stop");
    assert_eq!(rig.did()[0], "clear", "the greeting can be");
}

/// When recording began, and what had been heard by then.
fn recorded_after(rig: &Rig) -> Vec<(u64, Vec<String>)> {
    let begins = rig.all.iter().enumerate().filter_map(|(i, effect)| match effect {
        Effect::StartRecording { since_start_ms } => Some((i, *since_start_ms)),
        _ => None,
    });
    begins
        .map(|(i, ms)| (ms, transcript(&rig.all[..i]).into_iter().map(|turn| turn.heard).collect()))
        .collect()
}

#[test]
fn recording_begins_when_the_notice_was_heard_and_at_once_without_one() {
    let mut rig = Rig::new(Setup { record: true, notice: Some("We record.".into()), ..setup() });
    rig.begin().wait(3_000);
    let began = recorded_after(&rig);
    assert_eq!((began.len(), &began[0].1[..]), (1, &["We record.".to_owned()][..]));
    assert!((600..800).contains(&began[0].0), "at its mark: {began:?}");

    let mut rig = Rig::new(Setup { record: true, ..setup() });
    assert_eq!(rig.begin().did(), ["record from 0", "speak 1.0 Hello there."]);

    // A notice alone records nothing and is not spoken.
    let mut rig = Rig::new(Setup { notice: Some("We record.".into()), ..setup() });
    assert_eq!(rig.begin().did(), ["speak 1.0 Hello there."]);
    rig.wait(3_000);
    assert_eq!(recorded_after(&rig), []);
}

#[test]
fn a_notice_that_was_cut_off_has_told_nothing() {
    let setup = || Setup { record: true, notice: Some("We record.".into()), ..setup() };
    let mut rig = Rig::new(setup());
    rig.begin().wait(300);
    rig.on(Event::Stream(StreamEvent::Broke));
    assert_eq!(recorded_after(&rig), []);
    let state = rig.machine.resume_state(CallTime::from_millis(300), true);
    assert!(!state.notified);
    // It is told again, and what was not answered waits until it was heard.
    let mut state = state;
    state.turns.push(TurnRecord { said: "book a haircut".into(), n: 9, ..caller_turn(&OpenTurn::default()) });
    let resumed = || Setup { epoch: Epoch(2), ..setup() };
    let mut rig = Rig::new(Setup { resume: Some(state), ..resumed() });
    assert_eq!(rig.begin().did(), ["speak 1.0 We record.", "speak 2.0 We were cut off."]);
    rig.wait(3_000);
    let began = recorded_after(&rig);
    assert_eq!(began.len(), 1);
    assert!((900..1_100).contains(&began[0].0), "in the time of the call: {began:?}");
    assert!(rig.all.iter().filter_map(brief).any(|e| e.contains("answer") && e.contains("haircut")));
    let state = rig.machine.resume_state(CallTime::from_millis(3_000), true);
    assert!(state.notified);
    // Once told, never again.
    let mut rig = Rig::new(Setup { resume: Some(state.clone()), ..resumed() });
    assert_eq!(
        rig.begin().did()[..2],
        [format!("record from {}", state.elapsed_ms), "speak 1.0 We were cut off.".into()]
    );
    // Nobody knows whether the caller was told.
    let mut rig = Rig::new(resumed());
    assert_eq!(rig.begin().did()[0], "speak 1.0 We record.");
}

fn digits(digits: &str, from: u64, to: u64) -> SpokenDigits {
    SpokenDigits { digits: digits.into(), from: CallTime::from_millis(from), to: CallTime::from_millis(to) }
}

#[test]
fn a_card_number_said_in_two_turns_is_masked_in_both_and_silenced() {
    let mut rig = Rig::greeted(setup());
    rig.on(Event::Heard(Heard::Digits(vec![digits("4111", 1_600, 1_900), digits("1111", 2_000, 2_400)])));
    rig.says("my card is 4111 1111");
    assert_eq!(rig.did().last().unwrap(), "answer 2 my card is 4111 1111");
    rig.sentence(2, 0, "Go on.");
    rig.done(2);
    rig.wait(3_000);
    rig.on(Event::Heard(Heard::Digits(vec![digits("1111", 4_000, 4_300), digits("1111", 4_400, 4_800)])));
    rig.last.clear();
    rig.says("1111 1111 thanks");
    assert_eq!(
        rig.did(),
        [
            "silence 1350 to 5050",
            "record 2 caller my card is [card number]",
            "record 4 caller [card number] thanks",
            "answer 3 [card number] thanks",
        ]
    );
    let state = rig.machine.resume_state(CallTime::from_millis(6_000), true);
    assert!(!format!("{state:?}").contains("1111"), "{state:?}");
}

#[test]
fn a_card_number_begun_before_the_stream_broke_is_silenced_in_both_streams() {
    let recorded = || Setup { record: true, ..setup() };
    let mut rig = Rig::greeted(recorded());
    rig.on(Event::Heard(Heard::Digits(vec![digits("4111", 1_600, 1_900), digits("1111", 2_000, 2_400)])));
    rig.says("my card is 4111 1111");
    assert!(rig.last.contains(&Effect::SaveState), "a killed process leaves them behind");
    rig.on(Event::Stream(StreamEvent::Broke));
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), true);
    let began = state.elapsed_ms;
    assert_eq!(state.digits.len(), 2);
    // As it comes out of the database.
    let state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();

    let mut rig = Rig::new(Setup { epoch: Epoch(2), resume: Some(state), ..recorded() });
    rig.begin().wait(2_000);
    rig.on(Event::Heard(Heard::Digits(vec![digits("1111", 4_000, 4_300), digits("1111", 4_400, 4_800)])));
    rig.last.clear();
    rig.says("1111 1111 thanks");
    let did: Vec<String> = rig.all.iter().filter_map(brief).collect();
    for expected in [format!("silence before 1350 to {began}"), "silence 0 to 5050".to_owned()] {
        assert!(did.contains(&expected), "{expected}: {did:?}");
    }
    assert!(!rig.transcript().iter().any(|turn| turn.contains("1111")), "{:?}", rig.transcript());
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), true);
    assert_eq!(state.digits, [], "what is silenced is forgotten");
    assert!(rig.last.contains(&Effect::SaveState));
}

#[test]
fn digits_whose_times_are_lost_are_silenced_with_what_was_before_their_turns() {
    let state = ResumeState {
        turns: vec![TurnRecord {
            n: 2,
            speaker: Speaker::Caller,
            said: "my card is 4111 1111".into(),
            heard: "my card is 4111 1111".into(),
            interrupted: false,
            at_ms: 25_000,
            latency: StageLatencies::default(),
        }],
        elapsed_ms: 40_000,
        ..ResumeState::default()
    };
    let mut rig = Rig::new(Setup { record: true, epoch: Epoch(2), resume: Some(state), ..setup() });
    rig.begin().wait(2_000);
    rig.on(Event::Heard(Heard::Digits(vec![digits("11111111", 4_000, 4_800)])));
    rig.says("11111111");
    let now = 40_000 + rig.now;
    let did: Vec<String> = rig.all.iter().filter_map(brief).collect();
    let own = format!("silence before {} to 40000", now - 20_250);
    for expected in [own.as_str(), "silence before 4750 to 25250"] {
        assert!(did.iter().any(|effect| effect == expected), "{expected}: {did:?}");
    }
    assert!(!rig.transcript().iter().any(|turn| turn.contains("1111")), "{:?}", rig.transcript());
}

#[test]
fn a_card_number_without_times_is_silenced_with_what_was_before_it() {
    let mut rig = Rig::greeted(setup());
    rig.wait(30_000);
    rig.says("it is 4111 1111 1111 1111");
    let now = rig.now;
    assert!(rig.did().contains(&format!("silence {} to {}", now - 20_250, now + 250)), "{:?}", rig.did());
}

#[test]
fn a_card_number_that_is_pressed_is_masked_and_silenced() {
    let mut rig = Rig::greeted(setup());
    let began = rig.now;
    for digit in "4111111111111111#".chars() {
        rig.key(digit).wait(100);
    }
    let all: Vec<String> = rig.all.iter().filter_map(brief).collect();
    assert!(all.contains(&"record 2 caller (keys pressed: [card number])".to_owned()), "{all:?}");
    let silence = format!("silence {} to {}", began - 250, began + 1_500 + 600 + 250);
    assert!(all.contains(&silence), "{silence}: {all:?}");
    assert!(!all.iter().any(|e| e.contains("1 1 1 1")), "{all:?}");
}

#[test]
fn what_the_bot_says_of_a_card_is_not_kept_either() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Your card 4111 1111 1111 1111 works.");
    rig.done(2);
    rig.wait(4_000);
    assert!(
        rig.transcript().iter().any(|t| t.contains("whole: Your card [card number] works.")),
        "{:?}",
        rig.transcript()
    );
}

#[test]
fn an_utterance_is_answered_at_once_and_the_wait_is_timed() {
    let mut rig = Rig::greeted(setup());
    rig.says("book a haircut");
    assert_eq!(rig.did(), ["record 2 caller book a haircut", "answer 2 book a haircut"]);
    assert_eq!(rig.timer(Timer::Filler), Some(1_200));
    assert_eq!(rig.timer(Timer::Apology), Some(10_000));
    assert_eq!(rig.timer(Timer::Idle), None);
}

#[test]
fn an_answer_is_spoken_sentence_by_sentence_and_known_to_be_heard_at_its_last_mark() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    assert_eq!(rig.sentence(2, 0, "First one.").did(), ["speak 2.0 First one."]);
    assert_eq!(rig.sentence(2, 1, "Second.").did(), ["speak 2.1 Second."]);
    rig.done(2);
    rig.wait(200);
    assert_eq!(rig.timer(Timer::Filler), None, "the caller hears the answer");
    rig.wait(1_200);
    assert_eq!(
        rig.did(),
        ["record 3 bot First one.", "record 3 bot First one. Second.", "heard 2 [First one. Second.]"]
    );
    let latency = &transcript(&rig.all)[2].latency;
    assert!(latency.first_sentence_ms.is_some() && latency.first_sent_ms.is_some());
}

#[test]
fn a_sentence_of_an_older_answer_is_dropped() {
    let mut rig = Rig::greeted(setup());
    rig.says("one").says("two");
    assert_eq!(rig.sentence(2, 0, "Too late.").did(), Vec::<String>::new());
    assert_eq!(rig.sentence(3, 1, "Out of order.").did(), Vec::<String>::new());
    assert_eq!(rig.sentence(3, 0, "Now.").did(), ["speak 3.0 Now."]);
}

// --- whose turn it is --------------------------------------------------------------------------------------------

#[test]
fn words_before_the_answer_is_audible_join_the_same_turn() {
    let mut rig = Rig::greeted(setup());
    rig.says("book a haircut");
    rig.wait(300);
    assert_eq!(rig.partial("on Friday").did(), ["withdraw 2", "hush 2"]);
    assert_eq!(rig.timer(Timer::Filler), None, "nobody waits while the caller speaks");
    rig.says("on Friday please");
    assert_eq!(
        rig.did(),
        ["record 2 caller book a haircut on Friday please", "answer 3 book a haircut on Friday please"]
    );
}

#[test]
fn two_utterances_in_a_row_are_one_turn() {
    let mut rig = Rig::greeted(setup());
    rig.says("one");
    assert_eq!(
        rig.says("two").did(),
        ["withdraw 2", "hush 2", "record 2 caller one two", "answer 3 one two"]
    );
}

#[test]
fn a_backchannel_before_the_answer_does_not_hold_it_back_but_is_not_lost() {
    let mut rig = Rig::greeted(setup());
    rig.says("one");
    assert_eq!(rig.partial("okay").did(), Vec::<String>::new());
    assert_eq!(rig.says("okay").did().last().unwrap(), "answer 3 one okay");
}

#[test]
fn words_that_do_not_become_an_utterance_hold_the_answer_back_for_two_seconds() {
    let mut rig = Rig::greeted(setup());
    rig.says("one");
    rig.partial("a cough");
    rig.wait(1_900);
    assert_eq!(rig.did(), Vec::<String>::new());
    assert_eq!(rig.wait(200).did(), ["record 2 caller one", "answer 3 one"]);
}

#[test]
fn the_caller_interrupts_clear_first_and_the_mind_is_told_what_was_heard() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta.");
    rig.sentence(2, 1, "Gamma delta epsilon.");
    rig.done(2);
    rig.wait(1_200);
    rig.partial("stop");
    let before_clear = rig.last.iter().take_while(|e| **e != Effect::Clear);
    assert!(
        before_clear.clone().all(|e| matches!(e, Effect::CancelTimer(_))),
        "nothing leaves before the clear"
    );
    assert_eq!(
        rig.did(),
        ["clear", "stop 2 [Alpha beta. Gamma]", "record 3 bot Alpha beta. Gamma", "hush 2"]
    );
    let cut = rig.wire.len();
    rig.wait(1_000);
    assert_eq!(rig.wire[cut..], [None], "a clear and nothing after it");
    assert_eq!(rig.says("stop it").did(), ["record 4 caller stop it", "answer 3 stop it"]);
    assert!(rig.transcript().contains(&"3 bot cut: Alpha beta. Gamma".to_owned()));
}

#[test]
fn one_word_interrupts_only_with_voice_behind_it() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta gamma delta.");
    rig.wait(300);
    assert_eq!(rig.partial("tomorrow").did(), Vec::<String>::new());
    rig.on(Event::Stream(StreamEvent::VoiceOver(200)));
    assert_eq!(rig.did()[0], "clear");
}

#[test]
fn a_backchannel_does_not_interrupt_and_becomes_the_turn_when_the_bot_has_finished() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta gamma.");
    rig.done(2);
    rig.wait(300);
    assert_eq!(rig.partial("uh-huh").did(), Vec::<String>::new());
    assert_eq!(rig.says("uh-huh").did(), Vec::<String>::new());
    rig.wait(1_000);
    assert_eq!(
        rig.did(),
        [
            "record 3 bot Alpha beta gamma.",
            "heard 2 [Alpha beta gamma.]",
            "record 4 caller uh-huh",
            "answer 3 uh-huh"
        ]
    );
}

#[test]
fn words_over_a_filler_stop_it_and_join_the_turn() {
    let mut rig = Rig::greeted(setup());
    rig.says("book a haircut");
    rig.wait(1_500);
    assert_eq!(rig.partial("on Friday").did(), ["clear", "withdraw 2", "hush 2", "hush 3"]);
    assert_eq!(rig.says("on Friday").did().last().unwrap(), "answer 4 book a haircut on Friday");
    assert_eq!(rig.transcript().last().unwrap(), "2 caller whole: book a haircut on Friday");
}

#[test]
fn an_answer_that_went_out_is_not_taken_back_though_its_stream_has_not_said_so_yet() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta gamma.");
    rig.now += VOICE_MS;
    rig.speech.clear();
    rig.playback.begin_sentence(ReplyId(2), 0, "Alpha beta gamma.");
    rig.playback.audio(ReplyId(2), 0, vec![2; 8_000].into());
    rig.playback.pull(CallTime::from_millis(rig.now), |_| ());
    assert_eq!(rig.partial("and tomorrow").did()[..2], ["clear", "stop 2 []"]);
    assert_eq!(rig.says("and tomorrow").did(), ["record 4 caller and tomorrow", "answer 3 and tomorrow"]);
}

#[test]
fn an_empty_partial_interruption_leads_back_to_watching_for_silence() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta gamma delta epsilon.");
    rig.wait(300).partial("stop");
    rig.wait(2_100);
    assert!(rig.timer(Timer::Idle).is_some());
}

// --- waiting -----------------------------------------------------------------------------------------------------

#[test]
fn a_filler_bridges_the_wait_and_is_repeated_but_is_no_part_of_the_conversation() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.wait(1_180);
    assert_eq!(rig.did(), Vec::<String>::new());
    assert_eq!(rig.wait(40).did(), ["speak 3.0 One moment."]);
    rig.wait(640);
    assert_eq!(rig.timer(Timer::Filler).map(|at| at > 2_900), Some(true), "anew once it was heard");
    assert_eq!(rig.wait(3_100).did(), ["speak 4.0 Nearly there."]);
    assert!(rig.transcript().iter().all(|t| !t.contains("moment")));
    rig.sentence(2, 0, "There.");
    assert_eq!(rig.done(2).did(), Vec::<String>::new());
    assert_eq!(rig.wait(2_000).did(), ["record 3 bot There.", "heard 2 [There.]"]);
}

#[test]
fn no_filler_comes_between_an_answer_and_its_slow_voice() {
    let mut rig = Rig::greeted(setup());
    rig.voice = false;
    rig.says("hello");
    rig.wait(1_000);
    rig.sentence(2, 0, "Alpha.");
    assert_eq!(rig.wait(1_000).did(), Vec::<String>::new());
}

#[test]
fn a_filler_bridges_a_wait_in_the_middle_of_an_answer() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Let me see.");
    rig.on(Event::Thought(Thought::ToolStarted { reply: ReplyId(2), name: "look".into() }));
    rig.wait(800);
    assert_eq!(rig.timer(Timer::Filler).map(|at| at > 2_500), Some(true));
    assert_eq!(rig.wait(3_000).did(), ["speak 3.0 Let me look."]);
    rig.wait(800).sentence(2, 1, "Found it.");
    rig.done(2);
    assert_eq!(rig.wait(800).did().last().unwrap(), "heard 2 [Let me see. Found it.]");
}

#[test]
fn a_wait_for_a_tool_is_bridged_by_its_own_words_once_and_then_by_others() {
    for (tool, words) in
        [("look", "Let me look."), ("write", "Let me write that down."), ("x", "One moment.")]
    {
        let mut rig = Rig::greeted(setup());
        rig.says("hello");
        rig.on(Event::Thought(Thought::ToolStarted { reply: ReplyId(2), name: tool.into() }));
        let mut said = Vec::new();
        for _ in 0..70 {
            said.extend(rig.wait(100).did().into_iter().filter(|did| did.starts_with("speak ")));
        }
        let next = if tool == "x" { "Nearly there." } else { "One moment." };
        assert_eq!(said, [format!("speak 3.0 {words}"), format!("speak 4.0 {next}")]);
    }
}

#[test]
fn without_an_answer_for_ten_seconds_the_bot_apologises_and_offers_a_way_out() {
    for (setup, words, leave) in [
        (setup(), "Sorry, we call back.", "leave hangup apology []"),
        (with_transfer(), "Sorry, a person will help.", "leave dial - []"),
    ] {
        let mut rig = Rig::greeted(setup);
        rig.says("hello");
        rig.wait(9_900);
        rig.wait(200);
        let did = rig.did();
        assert_eq!(
            did.iter().filter(|d| d.starts_with("speak")).filter_map(|d| d.get(10..)).collect::<Vec<_>>(),
            [words]
        );
        assert!(did.contains(&"withdraw 2".to_owned()));
        rig.partial("stop stop").says("stop stop");
        assert!(!rig.did().contains(&"clear".to_owned()), "last words are not interrupted");
        assert_eq!(rig.wait(2_000).did().last().unwrap(), leave);
        assert_eq!(rig.transcript().iter().filter(|t| t.contains("hello stop stop")).count(), 1);
    }
}

#[test]
fn silence_is_asked_about_twice_and_then_ends_the_call() {
    let mut rig = Rig::greeted(setup());
    assert_eq!(rig.wait(10_000).did()[0], "speak 2.0 Still there?");
    assert_eq!(rig.wait(10_200).did().last().unwrap(), "speak 3.0 Hello?");
    assert_eq!(rig.wait(10_400).did().last().unwrap(), "speak 4.0 Nobody there, goodbye.");
    assert_eq!(rig.wait(2_000).did().last().unwrap(), "leave hangup silence []");
}

#[test]
fn a_caller_who_speaks_again_is_asked_anew() {
    let mut rig = Rig::greeted(setup());
    rig.wait(21_500);
    assert_eq!(rig.machine.idle_prompts_made, 2);
    rig.says("yes I am");
    assert_eq!(rig.machine.idle_prompts_made, 0);
}

#[test]
fn the_longest_call_ends_with_a_word() {
    let mut rig =
        Rig::greeted(Setup { config: CallConfig { max_call_s: 5, ..CallConfig::default() }, ..setup() });
    rig.says("hello");
    rig.sentence(2, 0, &"word ".repeat(100));
    let did = rig.wait(4_000).did();
    assert_eq!(did.last().unwrap(), "speak 3.0 Time is up.");
    assert!(did.contains(&"clear".to_owned()));
    assert_eq!(rig.wait(1_500).did().last().unwrap(), "leave hangup max_duration []");
}

#[test]
fn a_call_that_costs_too_much_ends_with_a_word_and_only_one() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, &"word ".repeat(100));
    let did = rig.on(Event::SpendCap).did();
    assert_eq!(did.last().unwrap(), "speak 3.0 Time is up.");
    assert!(did.contains(&"clear".to_owned()));
    assert_eq!(rig.on(Event::SpendCap).did(), Vec::<String>::new());
    assert_eq!(rig.wait(1_500).did().last().unwrap(), "leave hangup spend_cap []");
    assert_eq!(rig.on(Event::SpendCap).did(), Vec::<String>::new());
}

#[test]
fn a_limit_that_is_reached_does_not_cut_a_goodbye_but_holds_after_it() {
    let config = CallConfig { max_call_s: 5, ..CallConfig::default() };
    let mut rig = Rig::greeted(Setup { config, ..setup() });
    rig.says("bye");
    rig.sentence(2, 0, &"goodbye ".repeat(20));
    rig.done_then(2, Then::HangUp { message_taken: false });
    let did = rig.wait(4_500).did();
    assert!(!did.contains(&"clear".to_owned()), "{did:?}");
    assert!(rig.on(Event::SpendCap).did().is_empty(), "nor does another limit");
    rig.wait(200).partial("wait one more thing");
    rig.says("wait one more thing");
    let did = rig.wait(1_500).did();
    assert!(did.contains(&"speak 4.0 Time is up.".to_owned()), "{did:?}");

    let config = CallConfig { max_call_s: 5, ..CallConfig::default() };
    let mut rig = Rig::greeted(Setup { config, ..with_transfer() });
    rig.says("a person please");
    rig.sentence(2, 0, &"of course ".repeat(12));
    rig.done_then(2, Then::Transfer);
    assert_eq!(rig.wait(8_000).did().last().unwrap(), "leave dial - []");
}

// --- the end -----------------------------------------------------------------------------------------------------

#[test]
fn a_goodbye_is_heard_before_the_call_is_hung_up() {
    let mut rig = Rig::greeted(setup());
    rig.says("bye");
    rig.sentence(2, 0, "See you.");
    assert_eq!(rig.done_then(2, Then::HangUp { message_taken: false }).did(), Vec::<String>::new());
    rig.wait(400);
    assert!(rig.left().is_none());
    assert_eq!(
        rig.wait(400).did(),
        ["record 3 bot See you.", "heard 2 [See you.]", "leave hangup completed []"]
    );
}

#[test]
fn last_words_are_heard_to_their_end_however_long_they_take() {
    for (then, leave) in [
        (Then::HangUp { message_taken: false }, "leave hangup completed []"),
        (Then::Transfer, "leave dial - []"),
    ] {
        let mut rig = Rig::greeted(with_transfer());
        rig.says("bye");
        for n in 0..14 {
            rig.sentence(2, n, &format!("This is the long sentence number {n} of a long goodbye."));
        }
        rig.done_then(2, then);
        rig.wait(36_000);
        assert!(rig.left().is_none(), "the last words are still being said");
        let did = rig.wait(4_000).did();
        assert_eq!(did.last().unwrap(), leave);
        assert!(!rig.all.contains(&Effect::Clear));
        assert!(rig.transcript().last().unwrap().contains("number 13 of a long goodbye."));
    }
}

#[test]
fn last_words_that_are_not_played_are_given_up_in_the_end() {
    let mut rig = Rig::greeted(setup());
    rig.voice = false;
    rig.staff(StaffOrder::End { goodbye: true });
    rig.wait(19_900);
    assert!(rig.left().is_none());
    assert_eq!(rig.wait(200).did().last().unwrap(), "leave hangup ended []");
}

#[test]
fn a_long_answer_is_given_to_the_voice_a_few_sentences_at_a_time() {
    let mut rig = Rig::greeted(setup());
    rig.says("tell me everything");
    rig.voice = false;
    for n in 0..100 {
        rig.sentence(2, n, &format!("S{n}."));
    }
    rig.done(2);
    assert_eq!(rig.speech.len(), AHEAD);
    // A voice that is replaced begins where the last one ended.
    rig.down(Child::Tts);
    assert_eq!(rig.up(Child::Tts).did().len(), AHEAD);
    let mut most = 0;
    for _ in 0..3_000 {
        rig.wait(TICK);
        most = most.max(rig.speech.len());
    }
    assert!(most <= AHEAD, "{most}");
    let said: Vec<String> = (0..100).map(|n| format!("S{n}.")).collect();
    assert!(rig.transcript().contains(&format!("3 bot whole: {}", said.join(" "))), "{:?}", rig.transcript());
    assert!(rig.all.iter().any(|e| matches!(e, Effect::AnswerHeard { .. })), "the reply is over");
}

#[test]
fn a_model_that_hangs_up_without_a_word_has_one_said_for_it() {
    let mut rig = Rig::greeted(setup());
    rig.says("bye");
    assert_eq!(rig.done_then(2, Then::HangUp { message_taken: false }).did(), ["speak 2.0 Goodbye."]);
    assert_eq!(rig.wait(1_000).did().last().unwrap(), "leave hangup completed []");
}

#[test]
fn a_caller_who_speaks_over_the_goodbye_keeps_the_call() {
    let mut rig = Rig::greeted(setup());
    rig.says("bye");
    rig.sentence(2, 0, "See you then, goodbye.");
    rig.done_then(2, Then::HangUp { message_taken: false });
    rig.wait(400).partial("wait one more thing");
    assert_eq!(rig.says("wait one more thing").did().last().unwrap(), "answer 3 wait one more thing");
    rig.wait(3_000);
    assert!(rig.left().is_none());
}

#[test]
fn a_call_that_brought_a_message_says_so_in_its_reason() {
    let mut rig = Rig::greeted(setup());
    rig.says("tell them I called");
    rig.on(Event::Thought(Thought::Achieved(Outcome { message_taken: true, ..Outcome::default() })));
    rig.sentence(2, 0, "I will.");
    rig.done_then(2, Then::HangUp { message_taken: true });
    assert_eq!(rig.wait(1_000).did().last().unwrap(), "leave hangup message_taken []");
    assert!(rig.machine.outcome().message_taken);
}

#[test]
fn a_transfer_is_announced_and_then_dialled_but_is_not_yet_done() {
    let mut rig = Rig::greeted(with_transfer());
    rig.says("a person please");
    rig.on(Event::Thought(Thought::Achieved(Outcome { transferred: true, ..Outcome::default() })));
    assert_eq!(rig.done_then(2, Then::Transfer).did(), ["speak 2.0 Putting you through."]);
    assert_eq!(rig.wait(1_500).did().last().unwrap(), "leave dial - []");
    assert!(!rig.machine.outcome().transferred);
}

#[test]
fn keys_stop_the_bot_and_become_a_turn() {
    let mut rig = Rig::greeted(setup());
    rig.says("my number");
    rig.sentence(2, 0, "Please type it now.");
    rig.wait(300);
    assert_eq!(rig.key('4').did()[0], "clear");
    assert_eq!(rig.key('2').did(), Vec::<String>::new());
    rig.wait(1_900);
    assert_eq!(rig.did(), Vec::<String>::new());
    assert_eq!(rig.wait(200).did(), ["record 4 caller (keys pressed: 4 2)", "answer 3 (keys pressed: 4 2)"]);
    rig.key('7');
    assert_eq!(rig.key('#').did().last().unwrap(), "answer 4 (keys pressed: 4 2) (keys pressed: 7)");
}

#[test]
fn the_key_zero_asks_for_a_person() {
    let mut rig = Rig::greeted(with_transfer());
    assert_eq!(rig.key('0').did(), ["speak 2.0 Putting you through."]);
    assert_eq!(rig.wait(1_500).did().last().unwrap(), "leave dial - []");
    let mut rig = Rig::greeted(setup());
    assert_eq!(rig.key('0').did()[1], "answer 2 (pressed 0: I would like to speak to a person)");
    let mut rig = Rig::greeted(Setup { zero_for_person: false, ..with_transfer() });
    rig.key('0');
    assert_eq!(rig.wait(2_100).did()[1], "answer 2 (keys pressed: 0)");
    let mut rig = Rig::greeted(with_transfer());
    rig.key('1').key('0');
    assert_eq!(rig.wait(2_100).did()[1], "answer 2 (keys pressed: 1 0)");
}

#[test]
fn nobody_is_rung_while_the_business_is_closed() {
    let mut rig = Rig::greeted(with_transfer());
    rig.machine.set_staffed(false);
    assert_eq!(rig.key('0').did()[1], "answer 2 (pressed 0: I would like to speak to a person)");
    rig.on(Event::Heard(Heard::Lost { code: "x".into() }));
    assert_eq!(rig.wait(2_000).did().last().unwrap(), "leave hangup apology []");
    let mut rig = Rig::greeted(with_transfer());
    rig.machine.set_staffed(false);
    rig.on(Event::ChildGone(Child::Tts));
    assert_eq!(rig.did().last().unwrap(), "leave hangup apology [Sorry, we call back.]");
}

#[test]
fn after_a_stop_last_words_are_collected_and_the_call_ends() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta gamma delta.");
    rig.wait(600);
    rig.on(Event::Stream(StreamEvent::Stopped));
    assert_eq!(rig.did(), ["stop 2 [Alpha]", "record 3 bot Alpha", "hush 2", "finish"]);
    assert_eq!(rig.says("bye now").did(), Vec::<String>::new());
    assert_eq!(rig.down(Child::Stt).did(), ["record 4 caller bye now", "leave ended completed"]);
    assert!(rig.machine.is_over());
}

#[test]
fn an_ear_that_does_not_finish_is_waited_for_two_seconds() {
    let mut rig = Rig::greeted(setup());
    rig.key('7');
    rig.on(Event::Stream(StreamEvent::Stopped));
    rig.wait(1_900);
    assert!(rig.left().is_none());
    assert_eq!(rig.wait(200).did(), ["record 2 caller (keys pressed: 7)", "leave ended completed"]);
}

#[test]
fn ended_twice_a_call_leaves_once() {
    let mut rig = Rig::greeted(setup());
    assert_eq!(rig.on(Event::End(EndReason::Ended)).did(), ["leave ended ended"]);
    assert!(rig.on(Event::End(EndReason::Shutdown)).last.is_empty());
    assert!(rig.on(Event::Stream(StreamEvent::Broke)).last.is_empty());
    assert!(rig.says("hello").last.is_empty());
}

// --- failures ----------------------------------------------------------------------------------------------------

#[test]
fn without_ears_the_bot_apologises_even_while_a_notice_is_spoken() {
    for notice in [None, Some("We record this call for a good while.".to_owned())] {
        let mut rig = Rig::new(Setup { record: true, notice, ..setup() });
        rig.begin().wait(400);
        rig.on(Event::Heard(Heard::Lost { code: "auth".into() }));
        assert_eq!(rig.did()[0], "clear");
        assert_eq!(rig.wait(2_000).did().last().unwrap(), "leave hangup apology []");
        assert!(rig.machine.outcome().follow_up);
    }
}

#[test]
fn a_caller_who_cannot_be_heard_is_told_so_in_time_and_again() {
    let mut rig = Rig::greeted(setup());
    let since = rig.now;
    rig.on(Event::Heard(Heard::Interrupted));
    let did = rig.waits(since, 2_400);
    assert_eq!(did, Vec::<String>::new(), "a short outage is not mentioned");
    let did = rig.waits(since, 600);
    assert_eq!(did[0], "speak 2.0 I cannot hear you.");
    let did = rig.waits(since, 4_200);
    assert!(did.contains(&"speak 3.0 Still nothing.".to_owned()), "{did:?}");
    let did = rig.waits(since, 12_000);
    assert!(!did.iter().any(|d| d.contains("there?")), "nobody is asked who cannot be heard: {did:?}");
    rig.on(Event::Heard(Heard::Ready));
    let did = rig.wait(3_500).did();
    assert!(did.iter().any(|d| d.ends_with("I hear you again.")), "{did:?}");
    let silence = rig.wait(12_000).did();
    assert!(silence.iter().any(|d| d.ends_with("Still there?")), "{silence:?}");
}

#[test]
fn an_outage_that_heals_goes_on_with_the_words_that_were_kept() {
    let mut rig = Rig::greeted(setup());
    let since = rig.now;
    rig.on(Event::Heard(Heard::Interrupted));
    rig.waits(since, 3_000);
    rig.wait(1_200).on(Event::Heard(Heard::Ready));
    rig.wait(500).partial("my appointment");
    rig.wait(900);
    assert_eq!(rig.says("my appointment on Friday").did()[1], "answer 3 my appointment on Friday");
    rig.sentence(3, 0, "It is at nine.");
    rig.done(3);
    let did = rig.wait(6_000).did();
    assert!(!did.iter().any(|d| d.contains("again")), "nothing was lost: {did:?}");
}

#[test]
fn words_that_are_lost_are_noted_for_the_mind_and_asked_for() {
    let mut rig = Rig::greeted(setup());
    rig.on(Event::Heard(Heard::Interrupted));
    rig.on(Event::Heard(Heard::Hole { ms: 1_200 }));
    rig.on(Event::Heard(Heard::Ready));
    assert_eq!(rig.wait(1_500).did(), ["speak 2.0 I hear you again."]);
    rig.wait(2_000).says("I said Friday");
    let did = rig.did();
    assert!(did[1].starts_with("note About 2 s") && did[2].starts_with("answer"), "{did:?}");
    rig.says("at nine");
    assert!(!rig.did().iter().any(|d| d.starts_with("note")), "once");
}

#[test]
fn words_that_come_late_are_bridged_sooner() {
    let mut rig = Rig::greeted(setup());
    rig.wait(5_000);
    let said_at = CallTime::from_millis(rig.now - 2_000);
    rig.on(Event::Heard(Heard::Utterance { text: "hello".into(), last_word_at: Some(said_at) }));
    assert_eq!(rig.timer(Timer::Filler), Some(500));
}

#[test]
fn a_caller_whose_words_wait_behind_others_gets_a_filler() {
    let mut rig = Rig::greeted(setup());
    let since = rig.now;
    let did = rig.waits(since, 3_000);
    assert_eq!(did[0], "speak 2.0 One moment.");
    assert_eq!(rig.transcript().len(), 1, "which is no part of the conversation");
}

#[test]
fn an_ear_that_dies_with_words_in_it_asks_for_them_again() {
    let mut rig = Rig::greeted(setup());
    rig.partial("I would like");
    rig.down(Child::Stt);
    rig.wait(100).up(Child::Stt);
    rig.wait(200).on(Event::Heard(Heard::Ready));
    assert_eq!(rig.wait(1_500).did(), ["speak 2.0 I hear you again."]);
}

#[test]
fn without_a_voice_twilio_says_the_apology() {
    for (setup, leave) in [
        (setup(), "leave hangup apology [Sorry, we call back.]"),
        (with_transfer(), "leave dial - [Sorry, a person will help.]"),
    ] {
        let mut rig = Rig::greeted(setup);
        rig.says("hello");
        rig.sentence(2, 0, "Alpha.");
        rig.on(Event::Spoke(Spoke::Failed { reply: ReplyId(2), sentence: 0, code: "x".into() }));
        assert_eq!(rig.did().last().unwrap(), leave);
    }
}

#[test]
fn a_filler_that_fails_costs_nothing_but_itself() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.wait(1_200);
    rig.on(Event::Spoke(Spoke::Failed { reply: ReplyId(3), sentence: 0, code: "x".into() }));
    assert!(rig.left().is_none());
    assert_eq!(rig.timer(Timer::Filler), Some(1_000), "another is tried soon");
}

#[test]
fn an_answer_that_fails_once_is_asked_for_again_and_twice_ends_the_call() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    let failed = |reply| Event::Thought(Thought::Failed { reply: ReplyId(reply), code: "x".into() });
    assert_eq!(rig.on(failed(2)).did(), ["speak 3.0 Say that again?"]);
    rig.wait(1_200);
    assert_eq!(rig.says("hello again").did()[1], "answer 4 hello again");
    assert_eq!(rig.on(failed(4)).did().last().unwrap(), "speak 5.0 Sorry, we call back.");
}

#[test]
fn a_new_mind_is_asked_again_and_nothing_of_the_old_ones_answer_is_heard() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha.");
    assert_eq!(rig.down(Child::Dialogue).did(), ["hush 2"]);
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), false);
    assert!(state.turns.iter().all(|t| t.speaker == Speaker::Bot), "the open turn is asked again");
    assert_eq!(rig.up(Child::Dialogue).did(), ["answer 3 hello"]);
    assert_eq!(rig.sentence(3, 0, "Beta.").did(), ["speak 3.0 Beta."]);
    rig.done(3);
    assert_eq!(rig.wait(600).did().last().unwrap(), "heard 3 [Beta.]");
}

#[test]
fn what_was_being_said_when_the_mind_went_is_told_to_the_next_one() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha.");
    rig.sentence(2, 1, "Beta gamma.");
    rig.wait(500);
    rig.down(Child::Dialogue);
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), false);
    assert_eq!(state.turns.last().unwrap().heard, "hello", "what is under way is not told by halves");
    assert_eq!(rig.up(Child::Dialogue).did(), Vec::<String>::new());
    assert_eq!(rig.wait(800).did().last().unwrap(), "said 2 [Alpha. Beta gamma.]");
}

#[test]
fn turns_taken_while_the_mind_is_away_are_answered_when_it_is_back() {
    let mut rig = Rig::greeted(setup());
    rig.down(Child::Dialogue);
    assert_eq!(rig.says("hello").did(), ["record 2 caller hello"]);
    assert_eq!(rig.up(Child::Dialogue).did(), ["answer 2 hello"]);
}

#[test]
fn a_new_voice_says_what_the_old_one_did_not() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha.");
    rig.wait(200);
    rig.down(Child::Tts);
    assert_eq!(rig.sentence(2, 1, "Beta.").did(), Vec::<String>::new(), "kept until there is a voice");
    rig.done(2);
    assert_eq!(rig.up(Child::Tts).did(), ["speak 2.1 Beta."]);
    assert_eq!(rig.wait(1_000).did().last().unwrap(), "heard 2 [Alpha. Beta.]");
}

#[test]
fn a_sentence_that_was_cut_off_by_the_voices_end_is_said_from_where_it_broke() {
    for (ms, again) in [(400, "One two three, four five six."), (1_400, "four five six.")] {
        let mut rig = Rig::greeted(setup());
        rig.says("hello");
        rig.sentence(2, 0, "One two three, four five six.");
        rig.speech.clear();
        rig.playback.begin_sentence(ReplyId(2), 0, "One two three, four five six.");
        rig.playback.audio(ReplyId(2), 0, vec![2; ms * 8].into());
        rig.wait(ms as u64);
        rig.down(Child::Tts);
        rig.done(2);
        assert_eq!(rig.up(Child::Tts).did(), [format!("speak 2.0 {again}")]);
        assert_eq!(rig.wait(4_000).did().last().unwrap(), "heard 2 [One two three, four five six.]");
    }
}

#[test]
fn a_sentence_that_is_cut_off_twice_goes_on_where_it_broke_the_second_time_too() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "One two three, four five six.");
    rig.speech.clear();
    rig.playback.begin_sentence(ReplyId(2), 0, "One two three, four five six.");
    rig.playback.audio(ReplyId(2), 0, vec![2; 1_400 * 8].into());
    rig.wait(1_400);
    rig.down(Child::Tts);
    rig.done(2);
    assert_eq!(rig.up(Child::Tts).did(), ["speak 2.0 four five six."]);
    rig.down(Child::Tts);
    assert_eq!(rig.up(Child::Tts).did(), ["speak 2.0 four five six."], "nothing of it was begun");
    assert_eq!(rig.wait(4_000).did().last().unwrap(), "heard 2 [One two three, four five six.]");
}

#[test]
fn a_voice_that_went_and_came_back_before_the_greeting_says_it_once() {
    let mut rig = Rig::new(setup());
    rig.down(Child::Tts).up(Child::Tts);
    assert_eq!(rig.begin().did(), ["speak 1.0 Hello there."]);
    let mut rig = Rig::new(setup());
    rig.down(Child::Tts).begin();
    assert_eq!(rig.did(), Vec::<String>::new());
    assert_eq!(rig.up(Child::Tts).did(), ["speak 1.0 Hello there."]);
}

#[test]
fn without_ears_from_the_start_there_is_an_apology_and_no_greeting() {
    let mut rig = Rig::new(setup());
    rig.on(Event::Heard(Heard::Lost { code: "auth".into() }));
    assert_eq!(rig.did(), ["speak 1.0 Sorry, we call back."]);
    assert_eq!(rig.begin().did(), Vec::<String>::new());
    assert_eq!(rig.wait(2_000).did().last().unwrap(), "leave hangup apology []");
}

#[test]
fn a_new_voice_does_not_say_a_filler_after_the_answer_it_was_to_bridge() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.wait(1_200);
    assert_eq!(rig.did(), ["speak 3.0 One moment."]);
    rig.down(Child::Tts).sentence(2, 0, "Alpha.");
    rig.done(2);
    assert_eq!(rig.up(Child::Tts).did(), ["speak 2.0 Alpha."]);
    assert_eq!(rig.wait(600).did(), ["record 3 bot Alpha.", "heard 2 [Alpha.]"]);
}

#[test]
fn a_child_that_cannot_be_kept_alive_ends_the_call_politely() {
    for (child, end) in [
        (Child::Stt, "leave hangup apology []"),
        (Child::Dialogue, "leave hangup apology []"),
        (Child::Tts, "leave hangup apology [Sorry, we call back.]"),
    ] {
        let mut rig = Rig::greeted(setup());
        rig.says("hello");
        rig.down(child);
        rig.on(Event::ChildGone(child));
        if child == Child::Tts {
            assert_eq!(rig.did().last().unwrap(), end);
        } else {
            assert_eq!(rig.wait(2_000).did().last().unwrap(), end);
        }
    }
}

#[test]
fn a_mark_that_is_lost_holds_nothing_up() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha.");
    rig.done(2);
    rig.wait(200);
    rig.marks.clear();
    assert_eq!(rig.wait(3_000).did().last().unwrap(), "heard 2 [Alpha.]");
}

// --- the next stream ---------------------------------------------------------------------------------------------

#[test]
fn a_broken_call_leaves_with_all_that_is_needed_to_go_on() {
    let mut rig = Rig::greeted(setup());
    rig.says("book a haircut");
    rig.wait(2_000);
    rig.on(Event::Thought(Thought::Fact("The caller is Ann.".into())));
    assert_eq!(rig.on(Event::Stream(StreamEvent::Broke)).did().last().unwrap(), "leave broke");
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), true);
    assert_eq!(state.turns.last().unwrap().said, "book a haircut");
    assert_eq!(state.facts, ["The caller is Ann."]);
    assert_eq!(state.elapsed_ms, rig.now);

    let mut rig = Rig::new(Setup { epoch: Epoch(2), resume: Some(state), ..setup() });
    assert_eq!(
        rig.begin().did(),
        ["speak 1.0 We were cut off.", "record 2 caller book a haircut", "answer 2 book a haircut"]
    );
    let mind = rig.machine.resume_state(CallTime::ZERO, false);
    assert_eq!(mind.turns.len(), 1, "the greeting; the open turn is asked");
    rig.wait(1_200);
    rig.on(Event::Stream(StreamEvent::Broke));
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), true);
    assert_eq!((state.breaks, state.turns.last().unwrap().said.as_str()), (1, "book a haircut"));
    let rig = Rig::new(Setup { epoch: Epoch(2), resume: Some(state), ..setup() });
    assert!(rig.machine.open.is_some(), "a line said meanwhile does not hide that the turn is open");
}

#[test]
fn a_call_that_broke_while_the_bot_spoke_waits_for_the_caller() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta gamma delta.");
    rig.wait(700);
    rig.on(Event::Stream(StreamEvent::Broke));
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), true);
    let mut rig = Rig::new(Setup { epoch: Epoch(2), resume: Some(state), ..setup() });
    assert_eq!(rig.begin().did(), ["speak 1.0 We were cut off."]);
}

#[test]
fn words_that_waited_when_the_stream_broke_are_answered_by_the_next_one() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.sentence(2, 0, "Alpha beta gamma delta.");
    rig.wait(500).says("uh-huh");
    rig.on(Event::Stream(StreamEvent::Broke));
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), true);
    let mut rig = Rig::new(Setup { epoch: Epoch(2), resume: Some(state), ..setup() });
    assert_eq!(rig.begin().did().last().unwrap(), "answer 2 uh-huh");
}

// --- any order of events -----------------------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Partial(usize),
    Utterance(usize),
    Sentence,
    Done(u8),
    Fail,
    SpendCap,
    Tool,
    Voice,
    VoiceFails,
    VoiceOver,
    Key(char),
    Down(Child),
    Up(Child),
    Gone(Child),
    Timer(Timer),
    StrayMark,
    Stopped,
    Broke,
    End,
    Begin,
    Lost,
    Deaf,
    Waiting,
    Hole,
    Ready,
    LetGo(u64),
}

const WORDS: &[&str] = &["yes", "stop", "tomorrow", "on Friday at nine", "uh huh", "hold on"];

fn child() -> impl Strategy<Value = Child> {
    prop_oneof![Just(Child::Stt), Just(Child::Tts), Just(Child::Dialogue)]
}

fn timer() -> impl Strategy<Value = Timer> {
    prop_oneof![
        Just(Timer::Filler),
        Just(Timer::Apology),
        Just(Timer::Idle),
        Just(Timer::MaxDuration),
        Just(Timer::Mark),
        Just(Timer::Resume),
        Just(Timer::Digits),
        Just(Timer::Closing),
        Just(Timer::LeaveBy),
        Just(Timer::LetGo),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1u64..100).prop_map(|n| Step::Wait(n * TICK)),
        4 => (0..WORDS.len()).prop_map(Step::Partial),
        6 => (0..WORDS.len()).prop_map(Step::Utterance),
        10 => Just(Step::Sentence),
        4 => (0u8..12).prop_map(Step::Done),
        1 => Just(Step::Fail),
        1 => Just(Step::Tool),
        4 => Just(Step::Voice),
        1 => Just(Step::VoiceFails),
        1 => Just(Step::VoiceOver),
        2 => prop::sample::select(vec!['0', '1', '5', '#', '*']).prop_map(Step::Key),
        1 => child().prop_map(Step::Down),
        2 => child().prop_map(Step::Up),
        1 => timer().prop_map(Step::Timer),
        1 => Just(Step::StrayMark),
        1 => (0u64..5_000).prop_map(Step::LetGo),
        3 => prop_oneof![Just(Step::Deaf), Just(Step::Waiting), Just(Step::Hole), Just(Step::Ready)],
        1 => prop_oneof![
            Just(Step::Stopped), Just(Step::Broke), Just(Step::End), Just(Step::Lost), child().prop_map(Step::Gone),
            Just(Step::Begin), Just(Step::Begin), Just(Step::SpendCap),
        ],
    ]
}

proptest! {
    #[test]
    fn in_any_order_of_events_a_call_leaves_at_most_once_and_keeps_every_word(
        transfer: bool,
        notice: bool,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let notice = notice.then(|| "We record.".to_owned());
        let mut rig = Rig::new(Setup { can_transfer: transfer, record: true, notice, ..setup() });
        rig.begin();
        let (mut said, mut keys) = (Vec::new(), Vec::new());
        let (mut sentences, mut stopped) = (0, false);
        for step in steps {
            let answer = rig.machine.answer.unwrap_or(ReplyId(1)).0;
            let over = rig.machine.is_over();
            rig.last.clear();
            match step {
                Step::Wait(ms) => { rig.wait(ms); }
                Step::Partial(i) => { rig.partial(WORDS[i]); }
                Step::Utterance(i) => {
                    // The ear gives every word once; a number makes each its own.
                    let text = format!("{} w{}", WORDS[i], said.len());
                    let text = if i % 4 == 0 { WORDS[i].to_owned() } else { text };
                    rig.says(&text);
                    if !over {
                        said.extend(text.split_whitespace().map(str::to_owned));
                    }
                }
                Step::Sentence => {
                    let next = rig.machine.current_answer().map_or(0, |r| r.handed.len() as u32);
                    sentences += 1;
                    rig.sentence(answer, next, &format!("Sentence {sentences} of it."));
                }
                Step::Done(0) => { rig.done_then(answer, Then::HangUp { message_taken: false }); }
                Step::Done(1) => { rig.done_then(answer, Then::Transfer); }
                Step::Done(_) => { rig.done(answer); }
                Step::SpendCap => { rig.on(Event::SpendCap); }
                Step::Fail => {
                    rig.on(Event::Thought(Thought::Failed { reply: ReplyId(answer), code: "x".into() }));
                }
                Step::Tool => {
                    rig.on(Event::Thought(Thought::ToolStarted { reply: ReplyId(answer), name: "x".into() }));
                }
                Step::Voice => rig.speech.iter_mut().for_each(|s| s.0 = 0),
                Step::VoiceFails => {
                    if let Some((_, reply, sentence, _)) = rig.speech.first().cloned() {
                        rig.speech.retain(|s| s.1 != reply);
                        rig.on(Event::Spoke(Spoke::Failed { reply, sentence, code: "x".into() }));
                    }
                }
                Step::VoiceOver => { rig.on(Event::Stream(StreamEvent::VoiceOver(300))); }
                Step::Key(key) => {
                    let person = key == '0' && rig.machine.digits.is_empty() && !rig.machine.is_bound();
                    if !over && !stopped && key != '#' && !person {
                        keys.push(key.to_string());
                    }
                    rig.key(key);
                }
                Step::Down(child) => { rig.down(child); }
                Step::Up(child) => { rig.up(child); }
                Step::Gone(child) => { rig.on(Event::ChildGone(child)); }
                Step::Timer(timer) => { rig.on(Event::Timer(timer)); }
                Step::StrayMark => { rig.on(Event::Stream(StreamEvent::Mark("9.9.9".into()))); }
                Step::Stopped => { stopped = true; rig.on(Event::Stream(StreamEvent::Stopped)); }
                Step::Broke => { rig.on(Event::Stream(StreamEvent::Broke)); }
                Step::End => { rig.on(Event::End(EndReason::Ended)); }
                Step::Begin => { rig.begin(); }
                Step::Deaf => { rig.on(Event::Heard(Heard::Interrupted)); }
                Step::Waiting => { rig.waiting(0); }
                Step::Hole => { rig.on(Event::Heard(Heard::Hole { ms: 900 })); }
                Step::Ready => { rig.on(Event::Heard(Heard::Ready)); }
                Step::LetGo(ms) => {
                    rig.machine.set_silent(Duration::from_millis(ms));
                    rig.on(Event::Stream(StreamEvent::LetGo { within: Duration::from_millis(5_000 - ms) }));
                }
                Step::Lost => { rig.on(Event::Heard(Heard::Lost { code: "x".into() })); }
            }
            if over {
                prop_assert!(rig.last.is_empty(), "nothing after the end: {:?}", rig.last);
            }
        }
        rig.on(Event::End(EndReason::Ended));
        // A caller who hung up is waited for a little while, whatever else ends the call.
        rig.on(Event::Timer(Timer::Closing));
        let leaves = rig.all.iter().filter(|e| matches!(e, Effect::Leave(_))).count();
        prop_assert_eq!(leaves, 1);
        prop_assert!(matches!(rig.all.last(), Some(Effect::Leave(_))));

        let mut speakers: HashMap<u32, Speaker> = HashMap::new();
        for effect in &rig.all {
            match effect {
                Effect::Record(turn) => {
                    let known = *speakers.entry(turn.n).or_insert(turn.speaker);
                    prop_assert_eq!(known, turn.speaker, "turn {} changes its speaker", turn.n);
                }
                Effect::SetTimer(timer, after) => {
                    prop_assert!(!after.is_zero(), "{:?} would spin", timer);
                    prop_assert!(*after <= Duration::from_secs(1_800));
                }
                _ => {}
            }
        }
        let (mut heard, mut typed) = (Vec::new(), Vec::new());
        for turn in transcript(&rig.all).iter().filter(|t| t.speaker == Speaker::Caller) {
            let mut in_keys = false;
            for word in turn.said.split_whitespace() {
                let bare = word.trim_end_matches(')');
                match word {
                    "(keys" | "(pressed" => in_keys = true,
                    "pressed:" => {}
                    _ if in_keys => {
                        if bare.len() == 1 && bare != "I" && bare != "a" {
                            typed.push(bare.to_owned());
                        }
                        in_keys = !word.ends_with(')');
                    }
                    _ => heard.push(word.to_owned()),
                }
            }
        }
        prop_assert_eq!(heard, said);
        prop_assert_eq!(typed, keys);
        // On the wire each reply's frames stand together, unless a filler bridged a wait of its own; none is begun
        // again, and none comes back after a clear.
        let mut cleared = 0;
        let mut newest = 0;
        for sent in &rig.wire {
            match sent {
                Some(0xFF) => {}
                Some(reply) => {
                    prop_assert!(*reply > cleared, "reply {} after a clear", reply);
                    newest = newest.max(*reply);
                }
                None => cleared = newest,
            }
        }
    }
}

// --- staff -------------------------------------------------------------------------------------------------------

impl Rig {
    fn staff(&mut self, order: StaffOrder) -> &mut Self {
        self.on(Event::Staff(order))
    }
}

fn say(text: &str) -> StaffOrder {
    StaffOrder::Say(text.into())
}

#[test]
fn a_sentence_of_the_staffs_is_said_at_once_and_remembered_as_the_bots() {
    let mut rig = Rig::greeted(setup());
    assert_eq!(rig.staff(say("This is Ann.")).did(), ["speak 2.0 This is Ann."]);
    assert!(matches!(
        rig.last.iter().find(|e| matches!(e, Effect::Speak { .. })),
        Some(Effect::Speak { cache: false, .. })
    ));
    rig.wait(1_500);
    assert_eq!(rig.transcript(), ["1 bot whole: Hello there.", "2 bot whole: This is Ann."]);
    assert!(rig.did().contains(&"said 2 [This is Ann.]".to_owned()));
    assert!(rig.timer(Timer::Idle).is_some());
}

#[test]
fn a_sentence_of_the_staffs_takes_the_word_from_the_bot() {
    // While the answer is being spoken: it is cut where it was heard.
    let mut rig = Rig::greeted(setup());
    rig.says("hello").sentence(2, 0, "A rather long first sentence of it.").wait(900);
    let did = rig.staff(say("Wait.")).did();
    assert_eq!(did[0], "clear");
    assert!(did[1].starts_with("stop 2 [A rather") && did.last().unwrap() == "speak 3.0 Wait.", "{did:?}");
    rig.wait(1_000);
    assert_eq!(rig.timer(Timer::Filler), None, "nothing more is owed");
    // Before anything of it was heard: the caller still gets the answer, afterwards.
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    assert_eq!(rig.staff(say("Wait.")).did(), ["clear", "withdraw 2", "hush 2", "speak 3.0 Wait."]);
    rig.wait(1_000);
    assert!(rig.all.iter().filter_map(brief).any(|did| did == "answer 4 hello"));
}

#[test]
fn what_is_added_to_a_turn_while_staff_speak_is_answered_after_them() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.staff(say("A word from Ann, if I may."));
    rig.key('5').wait(100);
    rig.staff(say("A word from Ann, if I may."));
    assert!(rig.says("mhm").did().is_empty(), "{:?}", rig.did());
    rig.wait(6_000);
    let did: Vec<String> = rig.all.iter().filter_map(brief).collect();
    let said = did.iter().rposition(|d| d.starts_with("said")).unwrap();
    let asked = did.iter().rposition(|d| d.starts_with("answer")).unwrap();
    assert!(said < asked, "{did:?}");
}

#[test]
fn a_muted_bot_hears_and_writes_down_but_says_nothing() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello").sentence(2, 0, "A rather long first sentence of it.").wait(900);
    assert_eq!(rig.staff(StaffOrder::Mute(true)).did()[0], "clear");
    assert_eq!(rig.staff(StaffOrder::Mute(true)).did(), Vec::<String>::new());
    assert_eq!(rig.says("are you there").did(), ["record 4 caller are you there"]);
    assert_eq!(rig.says("anybody").did(), ["record 4 caller are you there anybody"]);
    assert_eq!(rig.key('0').wait(3_000).did(), ["record 4 caller are you there anybody (keys pressed: 0)"]);
    rig.partial("well");
    assert_eq!(rig.wait(60_000).did(), Vec::<String>::new(), "no filler, no apology, no prompt");
    // Staff answer in its place; the mind learns of the question that way.
    let did = rig.staff(say("Ann here.")).did();
    assert_eq!(did, ["overheard are you there anybody (keys pressed: 0)", "speak 3.0 Ann here."]);
    rig.wait(1_500);
    assert_eq!(rig.says("thank you").did(), ["record 6 caller thank you"]);
    // What nobody has answered is the bot's to answer once it may speak.
    assert_eq!(rig.staff(StaffOrder::Mute(false)).did(), ["record 6 caller thank you", "answer 4 thank you"]);
}

#[test]
fn a_muted_bot_stays_so_whoever_goes_on_with_the_call() {
    let mut rig = Rig::greeted(setup());
    rig.staff(StaffOrder::Mute(true));
    assert!(rig.last.contains(&Effect::SaveState), "another process has nothing else to know it by");
    rig.says("are you there");
    rig.on(Event::Stream(StreamEvent::Broke));
    let state = rig.machine.resume_state(CallTime::from_millis(rig.now), true);
    assert!(state.muted);
    let state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    let mut rig = Rig::new(Setup { epoch: Epoch(2), resume: Some(state), ..setup() });
    assert_eq!(rig.begin().wait(30_000).did(), Vec::<String>::new(), "no line of its own, no answer");
    assert!(rig.machine.resume_state(CallTime::from_millis(rig.now), true).muted);
    let did = rig.staff(StaffOrder::Mute(false)).did();
    assert!(did.iter().any(|effect| effect.starts_with("answer")), "{did:?}");
}

#[test]
fn a_greeting_with_a_name_in_it_is_not_kept_as_audio() {
    let kept = |named| {
        let mut rig = Rig::new(Setup { named, ..setup() });
        rig.begin();
        let speak = rig.all.iter().find_map(|effect| match effect {
            Effect::Speak { cache, .. } => Some(*cache),
            _ => None,
        });
        speak.unwrap()
    };
    assert!(kept(false) && !kept(true));
}

#[test]
fn a_bot_that_may_speak_again_and_owes_nothing_listens() {
    let mut rig = Rig::greeted(setup());
    rig.staff(StaffOrder::Mute(true));
    assert_eq!(rig.timer(Timer::Idle), None);
    assert_eq!(rig.staff(StaffOrder::Mute(false)).did(), Vec::<String>::new());
    assert!(rig.timer(Timer::Idle).is_some());
    rig.says("hello");
    assert_eq!(rig.did(), ["record 2 caller hello", "answer 2 hello"]);
}

#[test]
fn muted_before_the_greeting_only_the_notice_is_said() {
    let mut rig = Rig::new(Setup { record: true, notice: Some("We record.".into()), ..setup() });
    rig.staff(StaffOrder::Mute(true));
    assert_eq!(rig.begin().did(), ["speak 1.0 We record."]);
    let mut rig = Rig::new(Setup { record: true, notice: Some("We record.".into()), ..setup() });
    rig.begin();
    assert_eq!(rig.staff(StaffOrder::Mute(true)).did(), ["hush 2"], "what waits behind it is dropped");
    assert_eq!(rig.wait(3_000).transcript(), ["1 bot whole: We record."]);
}

#[test]
fn staff_end_a_call_with_or_without_a_goodbye() {
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    rig.staff(StaffOrder::End { goodbye: false });
    assert_eq!(rig.left(), Some(&Departure::Ended { reason: EndReason::Ended }));
    let mut rig = Rig::greeted(setup());
    rig.says("hello");
    assert_eq!(rig.staff(StaffOrder::End { goodbye: true }).did().last().unwrap(), "speak 3.0 Goodbye.");
    rig.partial("wait wait wait");
    assert_eq!(rig.staff(say("Too late.")).did(), Vec::<String>::new());
    rig.wait(1_500);
    let next = NextStep::HangUp { say: None };
    assert_eq!(rig.left(), Some(&Departure::Decided { next, reason: Some(EndReason::Ended) }));
}

#[test]
fn staff_put_a_caller_through_even_where_the_bot_cannot() {
    let mut rig = Rig::greeted(setup());
    assert_eq!(rig.staff(StaffOrder::Transfer { to: None }).did(), ["speak 2.0 Putting you through."]);
    rig.wait(2_500);
    assert_eq!(rig.left(), Some(&Departure::Decided { next: NextStep::Dial { say: None }, reason: None }));
}

#[test]
fn an_order_to_a_call_that_is_over_changes_nothing() {
    for order in [
        say("x"),
        StaffOrder::Mute(true),
        StaffOrder::Transfer { to: None },
        StaffOrder::End { goodbye: true },
    ] {
        let mut rig = Rig::greeted(setup());
        rig.on(Event::Stream(StreamEvent::Stopped));
        assert_eq!(rig.staff(order).last, []);
    }
}
