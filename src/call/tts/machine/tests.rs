use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const R: ReplyId = ReplyId(1);
const LONG: &str = "We are open on Monday, on Tuesday until six; and on Friday as well.";

fn speak(machine: &mut VoiceMachine, sentence: u32, text: &str) -> Vec<Effect> {
    machine.on(Event::Speak { reply: R, sentence, text: text.into(), keep: false, kept: None })
}

fn audio(machine: &mut VoiceMachine, job: JobId, bytes: usize) -> Vec<Effect> {
    audio_behind(machine, job, bytes, 0)
}

/// Audio that comes while so much waits at the playback.
fn audio_behind(machine: &mut VoiceMachine, job: JobId, bytes: usize, waiting_ms: u64) -> Vec<Effect> {
    machine.on(Event::Audio { job, audio: Bytes::from(vec![0xFF; bytes]), waiting_ms })
}

fn fail(machine: &mut VoiceMachine, job: JobId) -> Vec<Effect> {
    machine.on(Event::Failed { job, code: "gap_timeout".into() })
}

fn start(job: JobId, voice: usize, text: &str, ahead: bool) -> Effect {
    Effect::Start { job, voice, text: text.into(), ahead }
}

fn played(effects: &[Effect]) -> usize {
    effects.iter().map(|e| if let Effect::Play { audio, .. } = e { audio.len() } else { 0 }).sum()
}

/// The effects as short words, for comparing whole sequences.
fn words(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Start { voice, ahead, .. } => {
                format!("start {voice}{}", if *ahead { " ahead" } else { "" })
            }
            Effect::Replay { .. } => "replay".into(),
            Effect::Await => "await".into(),
            Effect::Cancel(job) => format!("cancel {job}"),
            Effect::Pause(job) => format!("pause {job}"),
            Effect::Promote(job) => format!("promote {job}"),
            Effect::Begin { sentence, .. } => format!("begin {sentence}"),
            Effect::Play { sentence, audio, .. } => format!("play {sentence}: {}", audio.len()),
            Effect::End { sentence, .. } => format!("end {sentence}"),
            Effect::Retract { sentence, .. } => format!("retract {sentence}"),
            Effect::Keep { audio, .. } => format!("keep {}", audio.len()),
            Effect::Tell(Spoke::FirstAudio { .. }) => "first".into(),
            Effect::Tell(Spoke::SentenceDone { sentence, .. }) => format!("done {sentence}"),
            Effect::Tell(Spoke::Failed { sentence, code, .. }) => format!("failed {sentence}: {code}"),
            Effect::Tell(Spoke::Audit(event)) => format!("{} {}", event.code, event.detail),
        })
        .collect()
}

#[test]
fn a_sentence_is_announced_with_its_first_audio_and_told_when_it_is_done() {
    let mut m = VoiceMachine::new(2);
    assert_eq!(speak(&mut m, 0, "Hello."), vec![start(1, 0, "Hello.", false)]);
    assert_eq!(words(&audio(&mut m, 1, 100)), Vec::<String>::new(), "less than a frame waits");
    assert_eq!(words(&audio(&mut m, 1, 100)), ["begin 0", "first", "play 0: 160"]);
    assert_eq!(words(&audio(&mut m, 1, 500)), ["play 0: 160", "play 0: 320"]);
    assert_eq!(words(&m.on(Event::Ended { job: 1 })), ["play 0: 60", "end 0", "done 0"]);
    assert!(m.is_idle());
}

#[test]
fn the_next_sentence_is_requested_ahead_and_held_back() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    assert_eq!(words(&speak(&mut m, 1, "Two.")), Vec::<String>::new(), "not before the first is heard");
    speak(&mut m, 2, "Three.");
    let heard = words(&audio(&mut m, 1, 160));
    assert_eq!(heard, ["begin 0", "first", "play 0: 160", "start 0 ahead"], "one ahead, not two");
    assert_eq!(words(&audio(&mut m, 2, 7_000)), Vec::<String>::new());
    assert_eq!(words(&audio(&mut m, 2, 1_000)), ["pause 2"]);
    assert_eq!(words(&audio(&mut m, 2, 50)), Vec::<String>::new(), "what was on its way is kept");
    let next = words(&m.on(Event::Ended { job: 1 }));
    assert_eq!(next[..4], ["end 0", "done 0", "promote 2", "begin 1"]);
    assert_eq!(next.last().unwrap(), "start 0 ahead", "and the third is requested");
    assert_eq!(words(&m.on(Event::Ended { job: 2 })), ["play 1: 50", "end 1", "done 1", "promote 3"]);
}

#[test]
fn a_sentence_that_was_synthesised_ahead_as_a_whole_follows_at_once() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    audio(&mut m, 1, 160);
    audio(&mut m, 2, 320);
    assert_eq!(words(&m.on(Event::Ended { job: 2 })), Vec::<String>::new());
    let next = words(&m.on(Event::Ended { job: 1 }));
    assert_eq!(next, ["end 0", "done 0", "promote 2", "begin 1", "play 1: 320", "end 1", "done 1"]);
}

#[test]
fn nobody_is_asked_for_a_sentence_while_much_waits_to_be_played() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    speak(&mut m, 2, "Three.");
    let heard = words(&audio_behind(&mut m, 1, 160, 2_980));
    assert_eq!(heard, ["begin 0", "first", "play 0: 160"], "not ahead, either: it lasts for long");
    assert_eq!(words(&m.on(Event::Ended { job: 1 })), ["end 0", "done 0", "await"]);
    assert_eq!(words(&speak(&mut m, 3, "Four.")), Vec::<String>::new(), "it is told once");
    assert_eq!(words(&m.on(Event::Low)), ["start 0"]);
    // 2 s of this one, with which 2.9 s wait: as much as one may wait for while the next is asked for.
    assert_eq!(words(&audio_behind(&mut m, 2, 16_000, 900))[1..], ["play 1: 16000", "start 0 ahead"]);
}

#[test]
fn a_sentence_is_asked_for_ahead_when_little_of_the_one_before_is_left() {
    // 120 characters: 8 s.
    let long = "a".repeat(120);
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, &long);
    speak(&mut m, 1, "Two.");
    for second in 0..5 {
        let effects = words(&audio_behind(&mut m, 1, 8_000, 0));
        assert_eq!(effects.last().unwrap(), "play 0: 8000", "{second}");
    }
    let effects = words(&audio_behind(&mut m, 1, 8_160, 0));
    assert_eq!(effects, ["play 0: 8160"], "2 s left, 1 s waits");
    assert_eq!(words(&audio_behind(&mut m, 1, 160, 0)), ["play 0: 160", "start 0 ahead"], "all was sent");
}

#[test]
fn a_kept_sentence_waits_for_nobody_and_a_new_reply_is_not_kept_waiting_by_what_was_cleared() {
    let kept = Some(Bytes::from_static(&[1; 320]));
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    m.on(Event::Speak { reply: R, sentence: 1, text: "Two.".into(), keep: true, kept });
    audio_behind(&mut m, 1, 160, 9_000);
    assert_eq!(words(&m.on(Event::Ended { job: 1 })), ["end 0", "done 0", "replay"]);

    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    audio_behind(&mut m, 1, 160, 9_000);
    assert_eq!(words(&m.on(Event::Ended { job: 1 })).last().unwrap(), "await");
    assert_eq!(words(&m.on(Event::Stop(R))), Vec::<String>::new());
    let next = Event::Speak { reply: ReplyId(2), sentence: 0, text: "New.".into(), keep: false, kept: None };
    assert_eq!(words(&m.on(next)), Vec::<String>::new(), "the playback was asked already");
    assert_eq!(words(&m.on(Event::Low)), ["start 0"]);
}

#[test]
fn a_voice_that_fails_before_its_first_audio_is_replaced_without_a_trace() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, LONG);
    let effects = fail(&mut m, 1);
    assert_eq!(effects[1..], [start(2, 1, LONG, false)]);
    assert!(words(&effects)[0].starts_with("tts.fallback"), "{effects:?}");
    audio(&mut m, 2, 160);
    assert_eq!(words(&audio(&mut m, 1, 160)), Vec::<String>::new(), "the dead voice is not heard");
    assert_eq!(words(&m.on(Event::Ended { job: 2 })), ["end 0", "done 0"]);
}

#[test]
fn a_voice_that_breaks_off_is_followed_by_what_was_not_sent() {
    let tail = "on Tuesday until six; and on Friday as well.";
    for (sent_ms, expected) in [(0, LONG), (999, LONG), (2_000, tail)] {
        let mut m = VoiceMachine::new(2);
        speak(&mut m, 0, LONG);
        audio(&mut m, 1, 24_100);
        assert_eq!(words(&fail(&mut m, 1)), ["retract 0"], "the 100 bytes of a frame are gone");
        assert_eq!(words(&audio(&mut m, 1, 160)), Vec::<String>::new());
        let effects = m.on(Event::Retracted { reply: R, sentence: 0, sent_ms });
        assert_eq!(effects[1..], [start(2, 1, expected, false)]);
        let audit = &words(&effects)[0];
        assert!(
            audit.contains(&format!("\"sent_ms\":{sent_ms}")) && audit.contains("gap_timeout"),
            "{audit}"
        );
        assert_eq!(words(&audio(&mut m, 2, 320)), ["play 0: 320"], "no second announcement");
        assert_eq!(words(&m.on(Event::Ended { job: 2 })), ["end 0", "done 0"]);
    }
}

#[test]
fn a_reply_that_lost_its_voice_goes_on_with_the_other_and_the_next_reply_does_not() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    fail(&mut m, 1);
    assert!(audio(&mut m, 2, 160).contains(&start(3, 1, "Two.", true)));
    m.on(Event::Ended { job: 2 });
    audio(&mut m, 3, 160);
    m.on(Event::Ended { job: 3 });
    let next = Event::Speak { reply: ReplyId(2), sentence: 0, text: "New.".into(), keep: false, kept: None };
    assert_eq!(m.on(next), vec![start(4, 0, "New.", false)]);
}

#[test]
fn a_sentence_that_no_voice_can_speak_ends_its_reply_only() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    m.on(Event::Speak { reply: ReplyId(2), sentence: 0, text: "Sorry.".into(), keep: false, kept: None });
    fail(&mut m, 1);
    let effects = words(&fail(&mut m, 2));
    assert!(effects[0].starts_with("tts.failed"), "{effects:?}");
    assert_eq!(effects[1..], ["failed 0: gap_timeout", "start 0"]);
    assert_eq!(words(&speak(&mut m, 2, "Late.")), Vec::<String>::new());
}

#[test]
fn failures_of_a_sentence_requested_ahead_are_told_in_its_turn() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    audio(&mut m, 1, 160);
    assert!(words(&fail(&mut m, 2)).contains(&"start 1 ahead".into()));
    assert_eq!(words(&fail(&mut m, 3)), Vec::<String>::new());
    let effects = words(&m.on(Event::Ended { job: 1 }));
    assert_eq!(effects[..2], ["end 0", "done 0"]);
    assert_eq!(effects.last().unwrap(), "failed 1: gap_timeout");
}

#[test]
fn an_end_without_audio_is_a_failure() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    let effects = words(&m.on(Event::Ended { job: 1 }));
    assert!(effects[0].contains("empty_audio"), "{effects:?}");
    assert_eq!(effects[1], "start 1");
}

#[test]
fn what_cannot_be_spoken_asks_no_voice() {
    let mut m = VoiceMachine::new(2);
    assert_eq!(words(&speak(&mut m, 0, "… —")), ["begin 0", "end 0", "done 0"]);
}

#[test]
fn a_skipped_voice_is_passed_over_for_a_live_sentence_but_waited_for_ahead_of_time() {
    for (why, code) in [(Skip::BreakerOpen, "breaker_open"), (Skip::AtCapacity, "at_capacity")] {
        let mut m = VoiceMachine::new(2);
        speak(&mut m, 0, "One.");
        let effects = words(&m.on(Event::Skipped { job: 1, why }));
        assert!(effects[0].starts_with("tts.fallback") && effects[0].contains(code), "{effects:?}");
        assert_eq!(effects[1], "start 1");
        let effects = words(&m.on(Event::Skipped { job: 2, why }));
        assert_eq!(effects[1], format!("failed 0: {code}"));
    }
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    audio(&mut m, 1, 160);
    assert_eq!(words(&m.on(Event::Skipped { job: 2, why: Skip::AtCapacity })), Vec::<String>::new());
    assert_eq!(words(&audio(&mut m, 1, 160)), ["play 0: 160"], "not asked again meanwhile");
    assert_eq!(words(&m.on(Event::Ended { job: 1 })), ["end 0", "done 0", "start 0"]);
}

#[test]
fn a_stopped_reply_is_silent_at_once_and_for_good() {
    let mut m = VoiceMachine::new(2);
    speak(&mut m, 0, "One.");
    speak(&mut m, 1, "Two.");
    audio(&mut m, 1, 160);
    assert_eq!(words(&m.on(Event::Stop(R))), ["cancel 1", "cancel 2"]);
    for event in [
        Event::Audio { job: 1, audio: Bytes::from_static(&[0; 160]), waiting_ms: 0 },
        Event::Ended { job: 2 },
        Event::Failed { job: 1, code: "x".into() },
        Event::Speak { reply: R, sentence: 2, text: "Three.".into(), keep: false, kept: None },
        Event::Retracted { reply: R, sentence: 0, sent_ms: 0 },
        Event::Stop(R),
    ] {
        assert_eq!(words(&m.on(event)), Vec::<String>::new());
    }
}

#[test]
fn audio_worth_keeping_is_kept_if_the_first_voice_spoke_all_of_it() {
    let ask = |kept| Event::Speak { reply: R, sentence: 0, text: "Hello.".into(), keep: true, kept };
    let mut m = VoiceMachine::new(2);
    m.on(ask(None));
    audio(&mut m, 1, 200);
    assert_eq!(words(&m.on(Event::Ended { job: 1 })).last().unwrap(), "keep 200");

    let mut m = VoiceMachine::new(2);
    m.on(ask(None));
    fail(&mut m, 1);
    audio(&mut m, 2, 200);
    assert_eq!(words(&m.on(Event::Ended { job: 2 })).last().unwrap(), "done 0");

    let mut m = VoiceMachine::new(2);
    assert_eq!(words(&m.on(ask(Some(Bytes::from_static(&[1; 320]))))), ["replay"]);
    assert_eq!(words(&audio(&mut m, 1, 320)), ["begin 0", "first", "play 0: 320"]);
    assert_eq!(words(&m.on(Event::Ended { job: 1 })), ["end 0", "done 0"]);
}

#[test]
fn without_voices_every_reply_fails() {
    let mut m = VoiceMachine::new(0);
    assert_eq!(words(&speak(&mut m, 0, "One.")).last().unwrap(), "failed 0: no_voice");
}

/// What a caller would notice, checked at every effect.
#[derive(Default)]
struct Witness {
    /// Live syntheses and whether they may still speak.
    jobs: BTreeSet<JobId>,
    asked: BTreeMap<(ReplyId, u32), Vec<usize>>,
    open: Option<(ReplyId, u32)>,
    last: BTreeMap<ReplyId, u32>,
    done: Vec<(ReplyId, u32)>,
    stopped: BTreeSet<ReplyId>,
    failed: BTreeSet<ReplyId>,
    /// Bytes of the open sentence since it was announced or retracted.
    bytes: usize,
    /// What the playback owes an answer.
    awaited: bool,
    texts: BTreeMap<(ReplyId, u32), String>,
}

impl Witness {
    /// Checks an effect and answers it.
    fn take(&mut self, effect: Effect, refuse: bool, sent_ms: u64) -> Option<Event> {
        let silent = |w: &Self, reply| !w.stopped.contains(&reply) && !w.failed.contains(&reply);
        match effect {
            Effect::Start { job, voice, text, .. } => {
                let owner = self.texts.iter().find(|(_, all)| all.ends_with(&text)).unwrap().0;
                // Texts are unique to their sentence by their ending.
                let asked = self.asked.entry(*owner).or_default();
                if refuse {
                    return Some(Event::Skipped { job, why: Skip::AtCapacity });
                }
                assert!(!asked.contains(&voice), "a voice is asked once for a sentence");
                asked.push(voice);
                self.jobs.insert(job);
                assert!(self.jobs.len() <= 2, "one audible, one ahead");
            }
            Effect::Replay { .. } | Effect::Keep { .. } => panic!("nothing is kept here"),
            Effect::Await => assert!(!std::mem::replace(&mut self.awaited, true), "asked once"),
            Effect::Cancel(job) => assert!(self.jobs.remove(&job)),
            Effect::Pause(job) | Effect::Promote(job) => assert!(job > 0),
            Effect::Begin { reply, sentence, text } => {
                assert!(silent(self, reply));
                assert_eq!(self.open.replace((reply, sentence)), None, "one sentence at a time");
                let before = self.last.insert(reply, sentence);
                assert_eq!(before.map_or(0, |last| last + 1), sentence, "in order, none lost, none twice");
                assert_eq!(text, self.texts[&(reply, sentence)]);
                self.bytes = 0;
            }
            Effect::Play { reply, sentence, audio } => {
                assert!(silent(self, reply), "nothing of a stopped reply");
                assert_eq!(self.open, Some((reply, sentence)), "never between other sentences");
                assert_eq!(self.bytes % 160, 0, "only the end of a sentence is less than a frame");
                assert!(!audio.is_empty());
                self.bytes += audio.len();
            }
            Effect::End { reply, sentence } => assert_eq!(self.open.take(), Some((reply, sentence))),
            Effect::Retract { reply, sentence } => {
                assert_eq!(self.open, Some((reply, sentence)));
                assert_eq!(self.bytes % 160, 0, "no fraction of a frame of the broken voice");
                let sent_ms = sent_ms.min(u64::try_from(self.bytes).unwrap() / 8);
                return Some(Event::Retracted { reply, sentence, sent_ms });
            }
            Effect::Tell(Spoke::SentenceDone { reply, sentence }) => self.done.push((reply, sentence)),
            Effect::Tell(Spoke::Failed { reply, .. }) => {
                self.failed.insert(reply);
            }
            Effect::Tell(Spoke::FirstAudio { .. } | Spoke::Audit(_)) => {}
        }
        None
    }
}

#[derive(Clone, Debug)]
enum Move {
    Speak,
    NewReply,
    Audio(usize, usize, u64),
    Low,
    End(usize),
    Fail(usize),
    Stop(u32),
    Stale(JobId),
}

fn moves() -> impl Strategy<Value = Vec<(Move, bool, u64)>> {
    let one = prop_oneof![
        4 => Just(Move::Speak),
        1 => Just(Move::NewReply),
        8 => (0usize..2, 1usize..3_000, 0u64..4_000)
            .prop_map(|(job, bytes, waiting)| Move::Audio(job, bytes, waiting)),
        2 => Just(Move::Low),
        4 => (0usize..2).prop_map(Move::End),
        2 => (0usize..2).prop_map(Move::Fail),
        1 => (0u32..4).prop_map(Move::Stop),
        1 => (0u64..20).prop_map(Move::Stale),
    ];
    prop::collection::vec((one, prop::bool::weighted(0.1), 0u64..3_000), 0..120)
}

proptest! {
    #[test]
    fn sentences_come_in_order_whole_and_once_whatever_breaks(moves in moves()) {
        let mut machine = VoiceMachine::new(2);
        let mut witness = Witness::default();
        let (mut reply, mut sentence) = (ReplyId(1), 0);
        let drive = |machine: &mut VoiceMachine, witness: &mut Witness, event, refuse, sent| {
            let mut events = VecDeque::from([event]);
            while let Some(event) = events.pop_front() {
                if let Event::Ended { job } | Event::Failed { job, .. } = &event {
                    witness.jobs.remove(job);
                }
                if let Event::Stop(reply) = &event {
                    witness.stopped.insert(*reply);
                    witness.open = witness.open.filter(|(open, _)| open != reply);
                }
                for effect in machine.on(event) {
                    events.extend(witness.take(effect, refuse, sent));
                }
            }
        };
        for (step, refuse, sent) in moves {
            let job = |index: usize| witness.jobs.iter().nth(index).copied();
            let event = match step {
                Move::Speak => {
                    // Long enough for clauses, with an ending of its own.
                    let text = format!("This is a sentence, with clauses; and an end {}x{sentence}.", reply.0);
                    witness.texts.insert((reply, sentence), text.clone());
                    sentence += 1;
                    Some(Event::Speak { reply, sentence: sentence - 1, text, keep: false, kept: None })
                }
                Move::NewReply => {
                    (reply, sentence) = (reply.next(), 0);
                    None
                }
                Move::Audio(index, bytes, waiting_ms) => job(index)
                    .map(|job| Event::Audio { job, audio: Bytes::from(vec![0xFF; bytes]), waiting_ms }),
                Move::Low => std::mem::take(&mut witness.awaited).then_some(Event::Low),
                Move::End(index) => job(index).map(|job| Event::Ended { job }),
                Move::Fail(index) => job(index).map(|job| Event::Failed { job, code: "x".into() }),
                Move::Stop(back) => Some(Event::Stop(ReplyId(reply.0.saturating_sub(back)))),
                Move::Stale(job) if !witness.jobs.contains(&job) => {
                    Some(Event::Audio { job, audio: Bytes::from_static(&[0; 400]), waiting_ms: 0 })
                }
                Move::Stale(_) => None,
            };
            if let Some(event) = event {
                drive(&mut machine, &mut witness, event, refuse, sent);
            }
        }
        // Everything that is left is spoken without trouble.
        loop {
            if std::mem::take(&mut witness.awaited) {
                drive(&mut machine, &mut witness, Event::Low, false, 0);
            }
            let Some(job) = witness.jobs.first().copied() else { break };
            let audio = Bytes::from_static(&[0; 500]);
            drive(&mut machine, &mut witness, Event::Audio { job, audio, waiting_ms: 2_900 }, false, 0);
            drive(&mut machine, &mut witness, Event::Ended { job }, false, 0);
        }
        prop_assert!(machine.is_idle(), "nothing hangs");
        let mut done = witness.done.clone();
        done.sort();
        done.dedup();
        prop_assert_eq!(done.len(), witness.done.len(), "no sentence is told twice");
        for (reply, sentence) in witness.texts.keys() {
            let dead = witness.stopped.contains(reply) || witness.failed.contains(reply);
            prop_assert!(dead || witness.done.contains(&(*reply, *sentence)), "none is lost");
        }
    }

    #[test]
    fn audio_passes_unchanged_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 1..20),
    ) {
        let mut m = VoiceMachine::new(1);
        speak(&mut m, 0, "One.");
        let mut out = Vec::new();
        for piece in &pieces {
            out.extend(m.on(Event::Audio { job: 1, audio: Bytes::from(piece.clone()), waiting_ms: 0 }));
        }
        prop_assert_eq!(played(&out) % 160, 0);
        out.extend(m.on(Event::Ended { job: 1 }));
        let heard: Vec<u8> = out
            .iter()
            .flat_map(|e| if let Effect::Play { audio, .. } = e { audio.to_vec() } else { vec![] })
            .collect();
        prop_assert_eq!(heard, pieces.concat());
    }
}
