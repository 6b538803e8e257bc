use super::machine::{EarMachine, EarSettings, Effect, Event, TimerId};
use super::messages::Heard;
use crate::config::call::CallConfig;
use crate::config::stt::SttConfig;
use crate::domain::time::CallTime;
use crate::provider::stt::{SttMessage, SttWord};
use crate::provider::{ProviderError, ProviderErrorKind};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

fn ms(ms: u64) -> CallTime {
    CallTime::from_millis(ms)
}

fn settings() -> EarSettings {
    EarSettings::new(&SttConfig::default(), &CallConfig::default())
}

fn error(kind: ProviderErrorKind) -> ProviderError {
    ProviderError::new("test", kind, "broke")
}

fn closed() -> Event {
    Event::Closed(Some(error(ProviderErrorKind::Closed)))
}

fn silence() -> Event {
    Event::Audio(Bytes::from_static(&[0xFF; 160]))
}

fn settled_to(end: f64, text: &str) -> Event {
    Event::Message(SttMessage::Results {
        start: 0.0,
        duration: end,
        is_final: true,
        speech_final: false,
        from_finalize: false,
        transcript: text.into(),
        words: Vec::new(),
    })
}

/// A machine with its timers, driven by hand.
struct Rig {
    machine: EarMachine,
    timers: HashMap<TimerId, CallTime>,
    now: u64,
    out: Vec<Effect>,
}

impl Rig {
    fn new(settings: EarSettings) -> Self {
        let mut rig =
            Self { machine: EarMachine::new(settings, 7), timers: HashMap::new(), now: 0, out: Vec::new() };
        rig.on(Event::Start);
        rig
    }

    fn open() -> Self {
        let mut rig = Self::new(settings());
        rig.on(Event::Connected);
        rig.take();
        rig
    }

    fn on(&mut self, event: Event) {
        let mut out = Vec::new();
        self.machine.on(ms(self.now), event, &mut out);
        for effect in &out {
            match effect {
                Effect::SetTimer(id, at) => {
                    assert!(*at >= ms(self.now), "{id:?} set in the past");
                    self.timers.insert(*id, *at);
                }
                Effect::CancelTimer(id) => {
                    self.timers.remove(id);
                }
                _ => {}
            }
        }
        self.out.extend(out);
    }

    /// Lets time pass, firing what is due.
    fn pass(&mut self, by: u64) {
        let until = self.now + by;
        while let Some((id, at)) = self
            .timers
            .iter()
            .map(|(id, at)| (*id, *at))
            .min_by_key(|(_, at)| *at)
            .filter(|(_, at)| *at <= ms(until))
        {
            self.timers.remove(&id);
            // Timers of the shell are as fine as a millisecond.
            self.now = self.now.max(at.0.as_micros().div_ceil(1_000) as u64);
            self.on(Event::Timer(id));
        }
        self.now = self.now.max(until);
    }

    /// Audio for `by` ms, a frame each 20 ms.
    fn speak(&mut self, by: u64) {
        for _ in 0..by / 20 {
            self.pass(20);
            self.on(silence());
        }
    }

    /// The effects since last time, timers and socket handling aside.
    fn take(&mut self) -> Vec<Effect> {
        let out = std::mem::take(&mut self.out);
        out.into_iter().filter(|e| !matches!(e, Effect::SetTimer(..) | Effect::CancelTimer(_))).collect()
    }

    fn sent(&mut self) -> usize {
        self.take().iter().map(|e| if let Effect::SendAudio(a) = e { a.len() } else { 0 }).sum()
    }
}

fn codes(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .map(|e| match e {
            Effect::Emit(Heard::Audit(row)) => row.code.clone(),
            Effect::Emit(heard) => format!("{heard:?}").split([' ', '{']).next().unwrap().to_owned(),
            other => format!("{other:?}").split([' ', '(']).next().unwrap().to_owned(),
        })
        .collect()
}

#[test]
fn a_fresh_connection_without_audio_gets_real_audio_first_and_keep_alives_after_it() {
    let mut rig = Rig::open();
    rig.pass(4_000);
    assert_eq!(rig.take(), [Effect::SendAudio(Bytes::from_static(&[0xFF; 160]))]);
    rig.pass(8_000);
    assert_eq!(rig.take(), [Effect::SendKeepAlive, Effect::SendKeepAlive]);
}

#[test]
fn audio_that_flows_needs_no_keep_alive() {
    let mut rig = Rig::open();
    rig.speak(20_000);
    let out = rig.take();
    assert_eq!(out.len(), 1_000);
    assert!(out.iter().all(|e| matches!(e, Effect::SendAudio(a) if a.len() == 160)));
    rig.pass(4_100);
    assert_eq!(rig.take(), [Effect::SendKeepAlive]);
}

#[test]
fn frames_that_wait_together_are_joined_up_to_the_limit() {
    let mut rig = Rig::open();
    rig.pass(1_000);
    rig.on(Event::Voice(true));
    rig.on(Event::Audio(Bytes::from(vec![1; 160 * 5])));
    let sizes: Vec<_> =
        rig.take().iter().map(|e| if let Effect::SendAudio(a) = e { a.len() } else { 0 }).collect();
    assert_eq!(sizes, [320, 320, 160]);
}

#[test]
fn silence_goes_in_one_piece_and_what_piled_up_does_not() {
    let mut rig = Rig::open();
    rig.pass(1_000);
    rig.on(Event::Audio(Bytes::from(vec![0xFF; 160 * 10])));
    rig.on(Event::Audio(Bytes::from(vec![0xFF; 160 * 11])));
    let sizes: Vec<_> =
        rig.take().iter().map(|e| if let Effect::SendAudio(a) = e { a.len() } else { 0 }).collect();
    assert_eq!(sizes, [1_600, 320, 320, 320, 320, 320, 160]);
}

#[test]
fn audio_kept_while_connecting_is_sent_at_no_more_than_one_and_a_quarter_of_speech() {
    let mut rig = Rig::new(settings());
    rig.speak(3_000);
    assert_eq!(rig.sent(), 0);
    rig.on(Event::Connected);
    rig.pass(1_000);
    let sent = rig.sent();
    assert!((9_600..=10_000 + 320).contains(&sent), "{sent}");
    rig.pass(2_000);
    assert_eq!(rig.sent() + sent, 24_000);
}

#[test]
fn audio_older_than_the_buffer_is_dropped_and_told_once() {
    let mut rig = Rig::new(settings());
    rig.speak(7_000);
    rig.on(Event::Connected);
    rig.pass(10_000);
    let out = rig.take();
    let sent: usize = out.iter().map(|e| if let Effect::SendAudio(a) = e { a.len() } else { 0 }).sum();
    assert_eq!(sent, 40_000);
    let rows: Vec<_> = out
        .iter()
        .filter_map(|e| match e {
            Effect::Emit(Heard::Audit(row)) => Some((row.code.as_str(), row.detail.to_string())),
            _ => None,
        })
        .collect();
    assert_eq!(rows, [("stt.audio_dropped", r#"{"ms":2000,"voice":false}"#.to_owned())]);
    assert!(!out.iter().any(|e| matches!(e, Effect::Emit(Heard::Hole { .. }))), "silence is no loss");
}

#[test]
fn voice_that_had_to_go_is_told_as_a_hole() {
    let mut rig = Rig::new(settings());
    rig.on(Event::Voice(true));
    rig.speak(1_000);
    rig.on(Event::Voice(false));
    rig.speak(5_000);
    rig.on(Event::Connected);
    assert!(rig.take().contains(&Effect::Emit(Heard::Hole { ms: 1_000 })));
}

/// What the call is told of its ear being away, with the time since when.
fn told_away(rig: &mut Rig) -> Vec<(&'static str, u64)> {
    let out = rig.take();
    out.iter()
        .filter_map(|e| match e {
            Effect::Emit(Heard::Interrupted) => Some(("interrupted", 0)),
            Effect::Emit(Heard::Ready) => Some(("ready", 0)),
            Effect::Emit(Heard::Lost { .. }) => Some(("lost", 0)),
            Effect::Emit(Heard::Waiting { since }) => Some(("waiting", since.as_millis())),
            _ => None,
        })
        .collect()
}

#[test]
fn a_first_connection_that_hangs_is_told_in_time_and_given_up_by_time() {
    let mut rig = Rig::new(settings());
    rig.speak(1_400);
    assert!(told_away(&mut rig).is_empty());
    rig.speak(600);
    assert_eq!(told_away(&mut rig), [("interrupted", 0), ("waiting", 0), ("waiting", 0), ("waiting", 0)]);
    rig.speak(7_900);
    assert!(rig.machine.wants_audio());
    rig.take();
    rig.speak(200);
    let out = rig.take();
    assert!(out.contains(&Effect::CloseSocket), "the attempt under way is dropped: {out:?}");
    assert!(out.contains(&Effect::Emit(Heard::Lost { code: "no_answer".into() })));
    assert!(!rig.machine.wants_audio() && rig.timers.is_empty());
}

#[test]
fn a_new_connection_is_ready_at_once_only_if_no_voice_waits_for_it() {
    let mut rig = Rig::open();
    rig.speak(1_000);
    rig.on(closed());
    rig.pass(300);
    rig.on(Event::Connected);
    assert_eq!(told_away(&mut rig), [("interrupted", 0), ("ready", 0)]);
    rig.on(Event::Voice(true));
    rig.speak(600);
    rig.on(closed());
    rig.pass(600);
    rig.on(Event::Connected);
    assert!(!told_away(&mut rig).contains(&("ready", 0)));
    rig.on(settled_to(0.5, "hello"));
    assert_eq!(told_away(&mut rig), [("ready", 0)]);
}

#[test]
fn of_a_long_silence_a_moment_is_kept_for_a_reconnect_and_of_words_everything() {
    let guess = |text: &str, until: f64| {
        Event::Message(SttMessage::Results {
            start: 0.0,
            duration: until,
            is_final: false,
            speech_final: false,
            from_finalize: false,
            transcript: text.into(),
            words: Vec::new(),
        })
    };
    for (voice, guessed, until, kept_ms) in [
        (false, "", 1.5, 1_000),
        // Of the rest nobody has told us anything: the connection may hang.
        (false, "", 0.4, 1_600),
        (true, "", 1.5, 2_000),
        (false, "well", 1.5, 2_000),
    ] {
        let mut rig = Rig::open();
        rig.on(Event::Voice(voice));
        rig.speak(1_500);
        rig.on(guess(guessed, until));
        rig.speak(500);
        assert_eq!(rig.machine.unsettled() / 8, kept_ms, "voice {voice}, guessed {guessed:?}");
        rig.on(closed());
        rig.pass(600);
        rig.take();
        rig.on(Event::Connected);
        rig.pass(1_900);
        let told = codes(&rig.out);
        assert_eq!(rig.sent() as u64 / 8, kept_ms, "it is sent again");
        assert!(!told.contains(&"stt.audio_dropped".to_owned()), "nothing is told as lost: {told:?}");
    }
}

#[test]
fn a_cough_before_a_cut_does_not_make_a_silent_call_deaf() {
    let mut rig = Rig::open();
    rig.on(Event::Voice(true));
    rig.speak(100);
    rig.on(Event::Voice(false));
    rig.on(closed());
    rig.pass(600);
    rig.on(Event::Connected);
    rig.speak(4_000);
    assert!(told_away(&mut rig).contains(&("ready", 0)));
    rig.speak(12_000);
    assert!(rig.machine.wants_audio() && told_away(&mut rig).is_empty());
}

#[test]
fn noise_of_long_ago_does_not_make_an_outage_older_than_it_is() {
    let mut rig = Rig::open();
    rig.on(Event::Voice(true));
    rig.speak(280);
    rig.on(Event::Voice(false));
    rig.speak(30_000);
    rig.take();
    let cut_at = rig.now;
    rig.on(closed());
    rig.pass(1);
    assert!(rig.machine.wants_audio(), "not given up at once");
    assert!(rig.timers[&TimerId::GiveUp] >= ms(cut_at + 9_999));
}

#[test]
fn a_caller_who_fell_silent_waits_while_the_recogniser_is_behind() {
    let mut rig = Rig::open();
    rig.on(Event::Voice(true));
    rig.speak(2_000);
    rig.on(closed());
    rig.pass(300);
    rig.on(Event::Voice(false));
    rig.speak(1_000);
    rig.on(Event::Connected);
    rig.speak(1_000);
    rig.on(settled_to(0.9, "hello"));
    rig.take();
    rig.speak(600);
    let told = told_away(&mut rig);
    let Some(("waiting", since)) = told.last() else { panic!("{told:?}") };
    assert!(since.abs_diff(2_000) < 50, "since the end of the voice: {since}");
    rig.speak(1_000);
    rig.on(settled_to(2.4, "hello"));
    rig.take();
    rig.speak(2_000);
    assert!(told_away(&mut rig).is_empty(), "all that was said is heard");
}

#[test]
fn audio_a_final_covers_is_not_sent_again() {
    let mut rig = Rig::open();
    rig.speak(3_000);
    rig.on(settled_to(2.5, "hello"));
    rig.on(closed());
    rig.pass(2_000);
    rig.take();
    rig.on(Event::Connected);
    rig.pass(5_000);
    assert_eq!(rig.sent(), 4_000);
}

#[test]
fn a_break_is_told_before_what_it_commits() {
    let mut rig = Rig::open();
    rig.speak(1_000);
    rig.on(settled_to(0.9, "hello"));
    rig.take();
    rig.on(closed());
    assert_eq!(codes(&rig.take()), ["Interrupted", "Utterance", "stt.reconnecting"]);
    rig.pass(300);
    rig.on(Event::Connected);
    assert_eq!(codes(&rig.take())[..3], ["Connect", "stt.reconnected", "Ready"]);
}

#[test]
fn waits_double_with_chance_in_them_up_to_the_longest() {
    let long = Duration::from_millis(5_000);
    let mut rig = Rig::new(EarSettings { reconnect_max: long, give_up: 20 * long, ..settings() });
    for n in 0..12u32 {
        rig.take();
        rig.on(Event::ConnectFailed(error(ProviderErrorKind::Unreachable)));
        let wait = rig.timers[&TimerId::Reconnect].since(ms(rig.now)).as_millis() as u64;
        let full = (250u64 << n).min(5_000);
        assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        rig.pass(wait + 1);
        assert!(rig.take().contains(&Effect::Connect { attempt: n + 1 }));
    }
}

#[test]
fn a_vendor_that_asks_for_a_longer_wait_gets_it_within_the_longest() {
    let mut rig = Rig::new(settings());
    let kind = ProviderErrorKind::RateLimited { retry_after: Some(Duration::from_secs(60)) };
    rig.on(Event::ConnectFailed(error(kind)));
    assert_eq!(rig.timers[&TimerId::Reconnect], ms(500));
}

#[test]
fn a_permanent_refusal_loses_the_ear_at_once_and_any_number_of_failures_only_in_time() {
    let mut rig = Rig::new(settings());
    rig.speak(1_000);
    rig.on(Event::ConnectFailed(error(ProviderErrorKind::Auth)));
    assert_eq!(codes(&rig.take())[1..], ["stt.audio_dropped", "stt.lost", "Lost"]);
    assert!(!rig.machine.wants_audio());
    assert!(rig.timers.is_empty());

    let mut rig = Rig::new(settings());
    while rig.machine.wants_audio() {
        rig.on(Event::ConnectFailed(error(ProviderErrorKind::Timeout)));
        rig.pass(501);
    }
    assert!((10_000..=10_600).contains(&rig.now), "{}", rig.now);
}

#[test]
fn connections_that_break_before_a_word_of_what_waits_are_no_ears() {
    let mut rig = Rig::new(settings());
    rig.on(Event::Voice(true));
    rig.speak(500);
    while rig.machine.wants_audio() {
        rig.on(Event::Connected);
        rig.on(closed());
        rig.pass(501);
    }
    assert!((10_000..=10_600).contains(&rig.now), "{}", rig.now);
}

#[test]
fn connections_that_spoke_may_break_any_number_of_times() {
    let mut rig = Rig::new(settings());
    for _ in 0..30 {
        rig.on(Event::Connected);
        rig.on(Event::Message(SttMessage::UtteranceEnd { last_word_end: None }));
        rig.on(closed());
        rig.pass(6_000);
    }
    assert!(rig.machine.wants_audio());
}

#[test]
fn a_guess_is_told_when_the_ear_is_lost() {
    let mut rig = Rig::open();
    rig.speak(1_000);
    rig.on(Event::Message(SttMessage::Results {
        start: 0.0,
        duration: 1.0,
        is_final: false,
        speech_final: false,
        from_finalize: false,
        transcript: "help me".into(),
        words: Vec::new(),
    }));
    rig.take();
    rig.on(Event::Closed(Some(error(ProviderErrorKind::Protocol))));
    let out = rig.take();
    assert!(
        out.contains(&Effect::Emit(Heard::Utterance { text: "help me".into(), last_word_at: None })),
        "{out:?}"
    );
}

#[test]
fn voice_without_an_answer_replaces_the_connection_and_silence_does_not() {
    let mut rig = Rig::open();
    rig.speak(20_000);
    assert!(!rig.take().contains(&Effect::CloseSocket));
    rig.on(Event::Voice(true));
    rig.speak(100);
    rig.on(Event::Voice(false));
    rig.speak(6_000);
    assert!(!rig.take().contains(&Effect::CloseSocket), "a cough is not a stall");
    rig.on(Event::Voice(true));
    rig.speak(2_400);
    assert!(!rig.take().contains(&Effect::CloseSocket));
    rig.speak(200);
    let out = rig.take();
    assert!(out.contains(&Effect::CloseSocket) && out.contains(&Effect::Emit(Heard::Interrupted)));
}

#[test]
fn a_message_puts_off_the_stall() {
    let mut rig = Rig::open();
    rig.on(Event::Voice(true));
    for _ in 0..10 {
        rig.speak(2_400);
        rig.on(Event::Message(SttMessage::UtteranceEnd { last_word_end: None }));
    }
    assert!(!rig.take().contains(&Effect::CloseSocket));
}

#[test]
fn the_end_is_announced_and_waited_for_no_longer_than_two_seconds() {
    let mut rig = Rig::open();
    rig.speak(500);
    rig.take();
    rig.on(Event::Finish);
    assert_eq!(rig.take(), [Effect::SendFinish]);
    rig.pass(1_999);
    assert!(rig.take().is_empty());
    rig.pass(1);
    assert_eq!(rig.take(), [Effect::CloseSocket, Effect::Stop]);

    let mut rig = Rig::open();
    rig.on(Event::Finish);
    rig.on(settled_to(0.0, "bye"));
    rig.on(Event::Closed(None));
    assert_eq!(codes(&rig.take()), ["SendFinish", "Partial", "Utterance", "CloseSocket", "Stop"]);

    for mut rig in [Rig::new(settings()), Rig::open()] {
        rig.speak(4_000);
        rig.on(Event::Finish);
        rig.pass(2_000);
        assert_eq!(rig.take().last(), Some(&Effect::Stop));
    }
}

#[test]
fn a_hint_from_a_backlog_is_no_hint() {
    let mut rig = Rig::new(settings());
    rig.speak(4_000);
    rig.on(Event::Connected);
    rig.pass(1_000);
    rig.take();
    rig.on(Event::Message(SttMessage::SpeechStarted { at: 0.5 }));
    assert!(rig.take().is_empty());
    rig.speak(20_000);
    rig.take();
    rig.on(Event::Message(SttMessage::SpeechStarted { at: 23.5 }));
    assert_eq!(rig.take(), [Effect::Emit(Heard::SpeechStarted)]);
}

fn any_event() -> impl Strategy<Value = Event> {
    let time = prop_oneof![0.0f64..30.0, Just(1.0e7)];
    let words = proptest::collection::vec((time.clone(), time.clone()), 0..3);
    let results =
        (time.clone(), time.clone(), any::<[bool; 3]>(), words).prop_map(|(start, duration, f, words)| {
            let words: Vec<_> = words
                .into_iter()
                .map(|(start, end)| SttWord { text: "w".into(), start, end: end.max(start) })
                .collect();
            Event::Message(SttMessage::Results {
                start,
                duration,
                is_final: f[0],
                speech_final: f[1],
                from_finalize: f[2],
                transcript: words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "),
                words,
            })
        });
    prop_oneof![
        6 => (0usize..900).prop_map(|n| Event::Audio(Bytes::from(vec![9; n]))),
        1 => any::<bool>().prop_map(Event::Voice),
        2 => Just(Event::Connected),
        1 => Just(Event::ConnectFailed(error(ProviderErrorKind::Timeout))),
        1 => Just(Event::ConnectFailed(error(ProviderErrorKind::Auth))),
        3 => results,
        1 => time.prop_map(|at| Event::Message(SttMessage::SpeechStarted { at })),
        1 => Just(Event::Message(SttMessage::UtteranceEnd { last_word_end: None })),
        1 => Just(Event::Message(SttMessage::Warning { code: "x".into() })),
        1 => Just(closed()),
        1 => Just(Event::Closed(None)),
        1 => Just(Event::Timer(TimerId::Reconnect)),
        1 => Just(Event::Timer(TimerId::Utterance)),
        1 => Just(Event::Timer(TimerId::Pump)),
        1 => Just(Event::Timer(TimerId::Finish)),
        1 => Just(Event::Finalize),
        1 => Just(Event::Start),
    ]
}

proptest! {
    #[test]
    fn any_order_of_events_ends_cleanly(events in proptest::collection::vec((any_event(), 0u64..2_000), 0..80)) {
        let mut rig = Rig::new(settings());
        for (event, wait) in events {
            rig.on(event);
            rig.pass(wait);
        }
        rig.on(Event::Finish);
        rig.pass(2_000);
        let out = rig.take();
        prop_assert_eq!(out.iter().filter(|e| **e == Effect::Stop).count(), 1);
        prop_assert_eq!(out.last(), Some(&Effect::Stop));
        prop_assert!(rig.timers.is_empty() || rig.timers.keys().all(|id| *id == TimerId::Finish));
        for effect in &out {
            match effect {
                Effect::SendAudio(audio) => prop_assert!(!audio.is_empty() && audio.len() <= 1_600),
                Effect::Emit(Heard::Utterance { text, .. } | Heard::Partial { text }) => prop_assert!(!text.is_empty()),
                _ => {}
            }
        }
        rig.on(Event::Connected);
        rig.on(silence());
        prop_assert!(rig.take().iter().all(|e| matches!(e, Effect::CloseSocket)));
    }
}

// A recogniser made of arithmetic. Word n is a run of bytes of value n + 1 in audio that is otherwise 0xFF; a run is
// heard as a word only if the whole of it came, so that a byte lost, doubled or out of place loses or doubles a word.

struct Recogniser {
    opened: u64,
    heard: Vec<u8>,
    /// Silence at the end, bytes.
    quiet: usize,
    settled: usize,
    guessed_at: usize,
    gap_told: usize,
    mute: bool,
    ends: bool,
    mail: VecDeque<(u64, Option<SttMessage>)>,
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[derive(Clone, Copy)]
struct Run {
    value: u8,
    from: usize,
    to: usize,
}

impl Recogniser {
    fn new(opened: u64) -> Self {
        Self {
            opened,
            heard: Vec::new(),
            quiet: 0,
            settled: 0,
            guessed_at: 0,
            gap_told: 0,
            mute: false,
            ends: false,
            mail: VecDeque::new(),
        }
    }

    /// Whole words not settled yet, and where the run at the end begins if there is one.
    fn words(&self, lengths: &[usize]) -> (Vec<SttWord>, Option<usize>) {
        let mut runs: Vec<Run> = Vec::new();
        for (at, value) in self.heard.iter().enumerate().skip(self.settled) {
            match runs.last_mut() {
                Some(run) if run.value == *value => run.to = at + 1,
                _ => runs.push(Run { value: *value, from: at, to: at + 1 }),
            }
        }
        let open = runs.pop_if(|run| run.value != 0xFF && !self.ends).map(|run| run.from);
        let words = runs
            .into_iter()
            .filter(|run| run.value != 0xFF && run.to - run.from == lengths[usize::from(run.value) - 1])
            .map(|run| SttWord {
                text: format!("w{}", run.value - 1),
                start: run.from as f64 / 8_000.0,
                end: run.to as f64 / 8_000.0,
            })
            .collect();
        (words, open)
    }

    fn post(&mut self, now: u64, chance: &mut Chance, message: Option<SttMessage>) {
        if !self.mute {
            let at = (now + 40 + chance.below(150)).max(self.mail.back().map_or(0, |m| m.0));
            self.mail.push_back((at, message));
        }
    }

    fn results(&mut self, to: usize, words: Vec<SttWord>, flags: [bool; 3]) -> SttMessage {
        let message = SttMessage::Results {
            start: self.settled as f64 / 8_000.0,
            duration: (to - self.settled) as f64 / 8_000.0,
            is_final: flags[0],
            speech_final: flags[1],
            from_finalize: flags[2],
            transcript: words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "),
            words,
        };
        if flags[0] {
            self.settled = to;
            self.guessed_at = to;
        }
        message
    }

    fn listen(&mut self, now: u64, audio: &[u8], lengths: &[usize], chance: &mut Chance) {
        self.heard.extend_from_slice(audio);
        let end = self.heard.len();
        let tail = audio.iter().rev().take_while(|b| **b == 0xFF).count();
        self.quiet = if tail == audio.len() { self.quiet + tail } else { tail };
        let quiet = self.quiet;
        let due = end - self.guessed_at >= 8_000;
        if !(due || (quiet >= 2_400 && quiet < 2_400 + audio.len()) || end - self.settled >= 16_000) {
            if quiet >= 8_000 && self.gap_told != end - quiet {
                self.gap_told = end - quiet;
                let last_word_end = (chance.below(4) > 0).then_some((end - quiet) as f64 / 8_000.0);
                self.post(now, chance, Some(SttMessage::UtteranceEnd { last_word_end }));
            }
            return;
        }
        let (words, open) = self.words(lengths);
        let message = if quiet >= 2_400 && !words.is_empty() && chance.below(5) > 0 {
            let flagged = chance.below(4) > 0;
            self.results(end, words, [true, flagged, false])
        } else if end - self.settled >= 16_000 {
            let to = words.last().map_or(open.unwrap_or(end), |w| (w.end * 8_000.0).round() as usize);
            self.results(to, words, [true, false, false])
        } else {
            self.guessed_at = end;
            self.results(end, words, [false, false, false])
        };
        self.post(now, chance, Some(message));
    }

    fn flush(&mut self, now: u64, lengths: &[usize], chance: &mut Chance) {
        let (words, open) = self.words(lengths);
        let message = self.results(open.unwrap_or(self.heard.len()), words, [true, false, true]);
        self.post(now, chance, Some(message));
    }
}

#[derive(Clone, Debug)]
struct Cut {
    at: u64,
    down: u64,
    /// The connection stays open, but nothing comes any more.
    silent: bool,
}

fn conversation() -> impl Strategy<Value = (Vec<(u64, u64)>, Vec<Cut>, u64)> {
    let words = proptest::collection::vec((60u64..1_600, 120u64..500), 1..40);
    let cut = (1_000u64..45_000, 0u64..=3_000, any::<bool>()).prop_map(|(at, down, silent)| Cut {
        at,
        down,
        silent,
    });
    (words, proptest::collection::vec(cut, 0..6), any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_word_is_told_once_and_in_order_over_cuts_and_gaps((words, cuts, seed) in conversation()) {
        let mut chance = Chance(seed);
        // The audio of the whole call.
        let (mut line, mut ends, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        let silent = cuts.iter().any(|cut| cut.silent);
        for (n, (gap, len)) in words.iter().enumerate() {
            // A connection that went silent is found out by voice: more of it than a cough.
            let len = if silent { len.max(&340) } else { len };
            line.resize(line.len() + *gap as usize * 8, 0xFF);
            line.resize(line.len() + *len as usize * 8, n as u8 + 1);
            ends.push(line.len() / 8);
            lengths.push(*len as usize * 8);
        }
        // Last words that wait in a backlog get their time before the end.
        line.resize(line.len() + 22_000 * 8, 0xFF);
        line.resize(line.len().next_multiple_of(160), 0xFF);

        // The promise is made for the defaults; a connection that goes silent takes as long again to be found out.
        let stt = match silent {
            true => SttConfig { stall_ms: 1_500, ..SttConfig::default() },
            false => SttConfig::default(),
        };
        let mut rig = Rig::new(EarSettings::new(&stt, &CallConfig::default()));
        let mut link: Option<Recogniser> = None;
        let mut connecting: Option<u64> = Some(60);
        let (mut down_until, mut cuts_left) = (0, cuts.clone());
        cuts_left.sort_by_key(|cut| std::cmp::Reverse(cut.at));
        let mut told: Vec<String> = Vec::new();
        let mut stopped = false;
        let mut finished_at = u64::MAX;
        while !stopped {
            // 4 ms a step, a frame every fifth.
            rig.pass(4);
            let now = rig.now;
            prop_assert!(now < 200_000, "never stops");
            if let Some(recogniser) = &mut link {
                while recogniser.mail.front().is_some_and(|(at, _)| *at <= now) {
                    match recogniser.mail.pop_front().unwrap().1 {
                        Some(message) => rig.on(Event::Message(message)),
                        None => rig.on(Event::Closed(None)),
                    }
                }
            }
            if connecting.is_some_and(|at| at <= now) {
                connecting = None;
                if now < down_until {
                    rig.on(Event::ConnectFailed(error(ProviderErrorKind::Unreachable)));
                } else {
                    link = Some(Recogniser::new(now));
                    rig.on(Event::Connected);
                }
            }
            if now.is_multiple_of(20) {
                let frame = usize::try_from(now / 20 - 1).unwrap() * 160;
                match line.get(frame..frame + 160) {
                    Some(bytes) if finished_at == u64::MAX => {
                        rig.on(Event::Voice(bytes.iter().any(|b| *b != 0xFF)));
                        rig.on(Event::Audio(Bytes::copy_from_slice(bytes)));
                    }
                    None if finished_at == u64::MAX => {
                        finished_at = now;
                        rig.on(Event::Finish);
                    }
                    _ => {}
                }
            }
            if cuts_left.last().is_some_and(|cut| cut.at <= now) && link.is_some() && finished_at == u64::MAX {
                let cut = cuts_left.pop().unwrap();
                // What is kept holds 5 s: the promise holds for gaps that leave unfinished words within it.
                let gap = if cut.silent { 3_700 } else { cut.down + 600 };
                let found_out = !cut.silent || ends.last().is_some_and(|end| now + 400 < *end as u64);
                if found_out && rig.machine.unsettled() / 8 + gap < 4_900 {
                    if cut.silent {
                        let recogniser = link.as_mut().unwrap();
                        recogniser.mute = true;
                        recogniser.mail.clear();
                    } else {
                        link = None;
                        down_until = now + cut.down;
                        rig.on(closed());
                    }
                }
            }
            for effect in rig.take() {
                match effect {
                    Effect::Connect { .. } => connecting = Some(now + 20 + chance.below(80)),
                    Effect::CloseSocket => link = None,
                    Effect::SendAudio(audio) => {
                        // Cut in this very step: what was on its way is gone.
                        let Some(recogniser) = link.as_mut() else { continue };
                        recogniser.listen(now, &audio, &lengths, &mut chance);
                        let allowed = 320 + (now - recogniser.opened) * 10;
                        prop_assert!(recogniser.heard.len() as u64 <= allowed, "faster than 1.25 times");
                    }
                    Effect::SendFinalize => {
                        if let Some(recogniser) = link.as_mut().filter(|_| chance.below(3) > 0) {
                            recogniser.flush(now, &lengths, &mut chance);
                        }
                    }
                    Effect::SendFinish => {
                        let recogniser = link.as_mut().unwrap();
                        recogniser.ends = true;
                        recogniser.flush(now, &lengths, &mut chance);
                        recogniser.post(now, &mut chance, None);
                    }
                    Effect::Emit(Heard::Utterance { text, last_word_at }) => {
                        told.extend(text.split_whitespace().map(str::to_owned));
                        let last: usize = told.last().unwrap().trim_start_matches('w').parse().unwrap();
                        let at = last_word_at.expect("every word has a time").as_millis();
                        prop_assert!(at.abs_diff(ends[last] as u64) <= 2, "w{last} at {at}, not {}", ends[last]);
                    }
                    Effect::Emit(Heard::Lost { .. }) => prop_assert!(false, "lost"),
                    Effect::Emit(Heard::Audit(row)) => prop_assert!(row.code != "stt.audio_dropped", "{row:?}"),
                    Effect::Stop => stopped = true,
                    _ => {}
                }
            }
        }
        let want: Vec<String> = (0..words.len()).map(|n| format!("w{n}")).collect();
        prop_assert_eq!(told, want);
    }
}
