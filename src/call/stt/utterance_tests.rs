use super::utterance::{Assembler, AssemblySettings, Commit, Step};
use crate::config::call::CallConfig;
use crate::config::stt::SttConfig;
use crate::domain::time::CallTime;
use crate::provider::stt::deepgram::parse;
use crate::provider::stt::{SttMessage, SttWord};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

fn assembler() -> Assembler {
    Assembler::new(AssemblySettings::new(&SttConfig::default(), &CallConfig::default()))
}

/// The recorded sessions are about the rules for messages, with pauses no recogniser would leave: without deadlines.
fn patient() -> Assembler {
    let settings = AssemblySettings::new(&SttConfig::default(), &CallConfig::default());
    let long = Duration::from_secs(60);
    Assembler::new(AssemblySettings { deadline: long, hard_stop: long, ..settings })
}

fn ms(ms: u64) -> CallTime {
    CallTime::from_millis(ms)
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/deepgram/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn cause(by: Commit) -> &'static str {
    match by {
        Commit::SpeechFinal => "speech_final",
        Commit::FromFinalize => "from_finalize",
        Commit::UtteranceEnd => "utterance_end",
        Commit::Deadline => "deadline",
        Commit::HardStop => "hard_stop",
        Commit::Close => "close",
        Commit::End => "end",
    }
}

/// Plays a session by its timeline; tells (channel, text, cause, 0-based server message) of each utterance.
fn play(name: &str) -> Vec<(u64, String, &'static str, Option<u64>)> {
    let mut ears: BTreeMap<u64, Assembler> = BTreeMap::new();
    let mut told = Vec::new();
    let mut messages = 0;
    for line in fixture(&format!("{name}.timeline.jsonl")).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let now = ms(event["at_ms"].as_u64().unwrap());
        let mut at_message = None;
        let mut steps: Vec<(u64, Step)> = Vec::new();
        for (channel, ear) in &mut ears {
            let mut out = Vec::new();
            while let Some(due) = ear.next_deadline().filter(|due| *due <= now) {
                ear.timer(due, &mut out);
            }
            steps.extend(out.into_iter().map(|s| (*channel, s)));
        }
        for (channel, step) in std::mem::take(&mut steps) {
            if let Step::Utterance { text, by, .. } = step {
                told.push((channel, text, cause(by), None));
            }
        }
        match (event["from"].as_str().unwrap(), event["kind"].as_str().unwrap()) {
            ("server", "text") => {
                at_message = Some(messages);
                messages += 1;
                if let Some(parsed) = parse(event["data"].to_string().as_bytes()) {
                    let channel = u64::from(parsed.channel);
                    let mut out = Vec::new();
                    ears.entry(channel).or_insert_with(patient).message(now, parsed.message, &mut out);
                    steps.extend(out.into_iter().map(|s| (channel, s)));
                }
            }
            ("server", "close") => {
                for (channel, ear) in &mut ears {
                    let mut out = Vec::new();
                    ear.closed(&mut out);
                    steps.extend(out.into_iter().map(|s| (*channel, s)));
                }
            }
            ("client", "text") if event["data"]["type"] == "Finalize" => {
                for ear in ears.values_mut() {
                    ear.finalize(now, &mut Vec::new());
                }
            }
            _ => {}
        }
        for (channel, step) in steps {
            if let Step::Utterance { text, by, .. } = step {
                told.push((channel, text, cause(by), at_message));
            }
        }
    }
    for (channel, ear) in &mut ears {
        let mut out = Vec::new();
        ear.end(&mut out);
        assert!(
            !out.iter().any(|s| matches!(s, Step::Utterance { .. })),
            "channel {channel} kept something back: {out:?}"
        );
    }
    told
}

#[test]
fn every_recorded_session_gives_the_utterances_its_expectation_lists() {
    for name in [
        "live_drop_net0001",
        "live_empty_final_with_speech_final",
        "live_finalize",
        "live_interim_promoted_then_late_final",
        "live_multichannel",
        "live_stale_utterance_end",
        "live_three_utterances",
        "live_unknown_and_sparse",
    ] {
        let expected: Value = serde_json::from_str(&fixture(&format!("{name}.expected.json"))).unwrap();
        let told = play(name);
        let utterances = expected["utterances"].as_array().unwrap();
        // A flush is asked for first and its answer awaited, which the expectation allows.
        let flushed = expected["must_not_emit_twice"] == true;
        assert_eq!(told.len(), utterances.len(), "{name}: {told:?}");
        for ((channel, text, by, at), want) in told.iter().zip(utterances) {
            assert_eq!(text, want["text"].as_str().unwrap(), "{name}");
            assert_eq!(*channel, want["channel"].as_u64().unwrap_or(0), "{name}");
            assert_eq!(*by, want["committed_by"].as_str().unwrap(), "{name}");
            if let (Some(want_at), false) = (want["at_server_message"].as_u64(), flushed) {
                assert_eq!(*at, Some(want_at), "{name}");
            }
        }
    }
}

fn word(n: usize) -> SttWord {
    let start = n as f64 * 0.5 + 0.1;
    SttWord { text: format!("w{n}"), start, end: start + 0.3 }
}

fn results(from: usize, count: usize, is_final: bool, speech_final: bool, from_finalize: bool) -> SttMessage {
    let words: Vec<_> = (from..from + count).map(word).collect();
    let transcript = words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" ");
    SttMessage::Results {
        start: from as f64 * 0.5,
        duration: count as f64 * 0.5,
        is_final,
        speech_final,
        from_finalize,
        transcript,
        words,
    }
}

fn guess(from: usize, count: usize) -> SttMessage {
    results(from, count, false, false, false)
}

fn settled(from: usize, count: usize) -> SttMessage {
    results(from, count, true, false, false)
}

fn utterances(steps: &[Step]) -> Vec<&str> {
    steps
        .iter()
        .filter_map(|s| match s {
            Step::Utterance { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn settled_words_are_committed_when_the_connection_closes_and_the_guess_is_not() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    ear.message(ms(0), settled(0, 2), &mut out);
    ear.message(ms(0), guess(2, 1), &mut out);
    ear.closed(&mut out);
    assert_eq!(utterances(&out), ["w0 w1"]);
    assert_eq!(ear.next_deadline(), None);
}

#[test]
fn a_guess_whose_audio_is_gone_is_taken_as_words_and_heard_again_only_after_it() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    ear.message(ms(0), guess(0, 3), &mut out);
    ear.closed(&mut out);
    ear.reopened(ms(2_000), 0.95);
    ear.message(ms(3_000), settled(2, 2), &mut out);
    ear.end(&mut out);
    assert_eq!(utterances(&out), ["w0 w1 w2 w3"]);
}

#[test]
fn a_guess_is_flushed_first_and_taken_only_when_no_answer_comes() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    ear.message(ms(0), guess(0, 2), &mut out);
    ear.message(ms(1_000), SttMessage::UtteranceEnd { last_word_end: Some(0.9) }, &mut out);
    assert_eq!(out.last(), Some(&Step::Finalize));
    assert_eq!(ear.next_deadline(), Some(ms(1_400)));
    ear.timer(ms(1_399), &mut out);
    assert!(utterances(&out).is_empty());
    ear.timer(ms(1_400), &mut out);
    assert_eq!(utterances(&out), ["w0 w1"]);
    // The final of the same words comes late, with one word more.
    ear.message(ms(1_500), results(0, 3, true, true, false), &mut out);
    assert_eq!(utterances(&out), ["w0 w1", "w2"]);
}

#[test]
fn further_words_take_back_the_flush_of_a_gap() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    ear.message(ms(0), guess(0, 2), &mut out);
    ear.message(ms(1_000), SttMessage::UtteranceEnd { last_word_end: None }, &mut out);
    ear.message(ms(1_200), guess(0, 3), &mut out);
    ear.timer(ms(1_400), &mut out);
    assert!(utterances(&out).is_empty());
    assert_eq!(ear.next_deadline(), Some(ms(2_700)));
}

#[test]
fn our_own_deadline_ends_an_utterance_nobody_else_ends() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    ear.message(ms(0), settled(0, 2), &mut out);
    ear.message(ms(500), settled(2, 0), &mut out);
    assert_eq!(ear.next_deadline(), Some(ms(1_500)));
    ear.timer(ms(1_500), &mut out);
    let Some(Step::Utterance { by: Commit::Deadline, .. }) = out.last() else { panic!("{out:?}") };
}

#[test]
fn repeating_the_same_words_does_not_put_off_the_hard_stop() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    for second in 0..5 {
        ear.message(ms(second * 1_000), guess(0, 2), &mut out);
        ear.timer(ms(second * 1_000), &mut out);
    }
    assert!(utterances(&out).is_empty());
    assert_eq!(ear.next_deadline(), Some(ms(5_000)));
    ear.timer(ms(5_000), &mut out);
    let Some(Step::Utterance { text, by, last_word_end }) = out.last() else { panic!("{out:?}") };
    assert_eq!((text.as_str(), *by), ("w0 w1", Commit::HardStop));
    assert_eq!(*last_word_end, Some(word(1).end));
}

#[test]
fn a_late_utterance_end_commits_nothing() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    ear.message(ms(0), results(0, 1, true, true, false), &mut out);
    ear.message(ms(900), SttMessage::UtteranceEnd { last_word_end: Some(0.4) }, &mut out);
    ear.message(ms(900), results(1, 0, true, true, true), &mut out);
    ear.closed(&mut out);
    ear.end(&mut out);
    assert_eq!(utterances(&out), ["w0"]);
    assert!(!out.contains(&Step::Finalize));
}

#[test]
fn a_transcript_without_times_is_not_told_twice() {
    let text = |transcript: &str, end: f64, is_final| SttMessage::Results {
        start: 0.0,
        duration: end,
        is_final,
        speech_final: is_final,
        from_finalize: false,
        transcript: transcript.into(),
        words: Vec::new(),
    };
    for (last, end, want) in [
        ("Hello", 1.0, vec!["hello"]),
        ("Hello.", 2.0, vec!["hello"]),
        ("Hello, you", 2.0, vec!["hello", "you"]),
    ] {
        let (mut ear, mut out) = (assembler(), Vec::new());
        ear.message(ms(0), text("hello", 1.0, false), &mut out);
        ear.message(ms(0), SttMessage::UtteranceEnd { last_word_end: None }, &mut out);
        ear.timer(ms(400), &mut out);
        ear.message(ms(500), text(last, end, true), &mut out);
        assert_eq!(utterances(&out), want);
    }
}

#[test]
fn a_partial_is_the_whole_utterance_so_far() {
    let (mut ear, mut out) = (assembler(), Vec::new());
    ear.message(ms(0), settled(0, 2), &mut out);
    ear.message(ms(0), guess(2, 1), &mut out);
    ear.message(ms(0), guess(2, 1), &mut out);
    assert_eq!(out, [Step::Partial("w0 w1".into()), Step::Partial("w0 w1 w2".into())]);
}

#[test]
fn languages_without_spaces_are_joined_without_any() {
    let stt = SttConfig { language: "ja-JP".into(), ..SttConfig::default() };
    assert_eq!(AssemblySettings::new(&stt, &CallConfig::default()).separator, "");
    assert_eq!(AssemblySettings::new(&SttConfig::default(), &CallConfig::default()).separator, " ");
}

#[derive(Clone, Debug)]
enum Op {
    Guess(usize),
    Settle {
        words: usize,
        speech_final: bool,
        from_finalize: bool,
    },
    Gap(Option<f64>),
    Wait(u64),
    Flush,
    /// A cut; some of the audio the recogniser has not settled may be gone (words).
    Cut {
        gone: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0usize..4).prop_map(Op::Guess),
        4 => (0usize..4, any::<bool>(), any::<bool>())
            .prop_map(|(words, speech_final, from_finalize)| Op::Settle { words, speech_final, from_finalize }),
        2 => proptest::option::of(0.0f64..20.0).prop_map(Op::Gap),
        3 => (0u64..3_000).prop_map(Op::Wait),
        1 => Just(Op::Flush),
        1 => (0usize..3).prop_map(|gone| Op::Cut { gone }),
    ]
}

proptest! {
    #[test]
    fn every_settled_word_is_committed_exactly_once_and_in_order(ops in proptest::collection::vec(op(), 0..40)) {
        let (mut ear, mut out, mut now) = (assembler(), Vec::new(), 0);
        // Words before `frontier` are settled (or gone, with what was guessed of them); `guessed` of the rest are known.
        let (mut frontier, mut guessed) = (0, 0);
        for op in ops {
            match op {
                Op::Guess(words) => {
                    guessed = guessed.max(words);
                    ear.message(ms(now), guess(frontier, guessed), &mut out);
                }
                Op::Settle { words, speech_final, from_finalize } => {
                    let words = words.max(guessed);
                    let message = results(frontier, words, true, speech_final, from_finalize);
                    ear.message(ms(now), message, &mut out);
                    frontier += words;
                    guessed = 0;
                }
                Op::Gap(end) => ear.message(ms(now), SttMessage::UtteranceEnd { last_word_end: end }, &mut out),
                Op::Wait(by) => {
                    let until = now + by;
                    while let Some(due) = ear.next_deadline().filter(|due| *due <= ms(until)) {
                        prop_assert!(due >= ms(now), "a deadline in the past");
                        ear.timer(due, &mut out);
                    }
                    now = until;
                }
                Op::Flush => ear.finalize(ms(now), &mut out),
                Op::Cut { gone } => {
                    ear.closed(&mut out);
                    prop_assert_eq!(ear.next_deadline(), None);
                    // Only guessed words are rescued, so no more than those go.
                    let gone = gone.min(guessed);
                    frontier += gone;
                    guessed -= gone;
                    ear.reopened(ms(now), frontier as f64 * 0.5);
                }
            }
        }
        ear.end(&mut out);
        let told = utterances(&out);
        prop_assert!(told.iter().all(|text| !text.trim().is_empty()));
        let words: Vec<String> = told.iter().flat_map(|t| t.split_whitespace()).map(str::to_owned).collect();
        let want: Vec<String> = (0..words.len()).map(|n| format!("w{n}")).collect();
        prop_assert!(words.len() >= frontier, "lost: {words:?} of {frontier}");
        prop_assert_eq!(words, want);
        prop_assert!(!out.iter().any(|s| matches!(s, Step::Partial(text) if text.is_empty())));
    }
}
