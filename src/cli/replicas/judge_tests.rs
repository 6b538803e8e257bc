use super::*;
use crate::cli::replicas::talk;
use crate::domain::turn::StageLatencies;
use crate::sim::caller::report::{Heard, LagReport, StreamEnd, StreamReport, Violations};
use crate::sim::caller::turns::Turns;

/// A stream on a replica from one moment to another; the bot speaks at once.
fn stream(by: &str, up_ms: f64, ended_ms: f64) -> StreamReport {
    StreamReport {
        sid: String::new(),
        at_ms: up_ms,
        handshake_ms: 0.0,
        up_ms: Some(up_ms),
        ended_ms,
        served_by: Some(by.to_owned()),
        first_voice_ms: Some(200.0),
        sent_s: 0.0,
        media: 0,
        received_s: 0.0,
        marks: 0,
        clears: 0,
        unplayed_ms: 0,
        end: StreamEnd::Broken,
    }
}

/// A caller who asks each question at 10 s, 20 s, …, and hears each answer 3 s later.
fn call(items: &[Item], streams: Vec<StreamReport>) -> (CallReport, Recorded) {
    let (mut turns, mut heard, mut written) = (Turns::default(), Vec::new(), Vec::new());
    for (n, item) in (1_u32..).zip(items) {
        let at = f64::from(n) * 10_000.0;
        turns.began(TurnKind::Spoken, &item.question, at, false);
        turns.said(at + 1_000.0);
        heard.push(Heard { at_ms: at + 3_000.0, word: item.answered_by.clone() });
        written.push(turn(2 * n - 1, Speaker::Caller, &item.question));
        written.push(turn(2 * n, Speaker::Bot, &format!("It is kept at {}.", item.answered_by)));
    }
    let report = CallReport {
        script: String::new(),
        call_sid: "CA1".to_owned(),
        from: String::new(),
        to: String::new(),
        duration_ms: 60_000.0,
        end: EndCause::Hangup,
        turns: turns.into_turns(),
        heard,
        said_by_twilio: Vec::new(),
        webhooks: Vec::new(),
        streams,
        dials: Vec::new(),
        replies_expected: 0,
        replies_delivered: 0,
        longest_wait_ms: 0.0,
        violations: Violations::default(),
        failures: Vec::new(),
        lag: LagReport::default(),
    };
    (report, Recorded { turns: written, end_reason: Some(EndReason::Completed), ends: 1 })
}

fn turn(n: u32, speaker: Speaker, text: &str) -> TurnRecord {
    TurnRecord {
        n,
        speaker,
        said: text.to_owned(),
        heard: text.to_owned(),
        interrupted: false,
        at_ms: 0,
        latency: StageLatencies::default(),
    }
}

fn whole(items: &[Item]) -> (CallReport, Recorded) {
    call(items, vec![stream("a", 100.0, 60_000.0)])
}

fn killed(replica: &str, from_ms: f64) -> Disturbance {
    Disturbance {
        replica: Some(replica.to_owned()),
        from_ms,
        until_ms: from_ms + 1_000.0,
        silent: false,
        abrupt: true,
        allowed_ms: 5_000.0,
    }
}

#[test]
fn a_call_without_a_flaw_is_well() {
    let items = talk::items(3);
    let (report, recorded) = whole(&items);
    let verdict = judge(&report, &items, &recorded, &[]);
    assert!(verdict.is_well() && verdict.gaps.is_empty(), "{verdict:?}");
}

#[test]
fn what_was_not_asked_need_not_be_answered() {
    let items = talk::items(9);
    let (report, recorded) = whole(items.split_at(3).0);
    assert!(judge(&report, &items, &recorded, &[]).is_well());
}

#[test]
fn an_answer_that_comes_twice_or_not_at_all_is_seen() {
    let items = talk::items(3);
    let (mut report, recorded) = whole(&items);
    let again = report.heard[0].clone();
    report.heard.push(again);
    report.heard.remove(1);
    let verdict = judge(&report, &items, &recorded, &[]);
    assert_eq!(verdict.doubled, [format!("2 answers about {}", items[0].asked_by)]);
    assert_eq!(verdict.missing, [format!("no answer about {}", items[1].asked_by)]);
}

#[test]
fn what_was_heard_in_the_last_moment_before_a_replica_died_may_be_said_again() {
    let items = talk::items(3);
    // The first answer is heard at 13 s.
    for (died_at, abrupt, may) in
        [(13_200.0, true, true), (14_500.0, true, false), (11_500.0, true, false), (13_200.0, false, false)]
    {
        let streams = vec![stream("a", 100.0, died_at), stream("b", died_at + 50.0, 60_000.0)];
        let (mut report, recorded) = call(&items, streams);
        let again = report.heard[0].clone();
        report.heard.insert(1, Heard { at_ms: died_at + 2_000.0, ..again });
        let deed = Disturbance { abrupt, ..killed("a", died_at) };
        let verdict = judge(&report, &items, &recorded, &[deed]);
        assert_eq!((verdict.is_well(), verdict.repeated), (may, usize::from(may)), "{died_at} {verdict:?}");
    }
}

#[test]
fn a_transcript_that_lacks_a_turn_or_has_it_twice_is_seen() {
    let items = talk::items(3);
    let (report, mut recorded) = whole(&items);
    recorded.turns.retain(|turn| turn.n != 1);
    recorded.turns.push(turn(7, Speaker::Caller, &items[2].question));
    recorded.turns.push(turn(8, Speaker::Bot, &items[2].answered_by));
    let verdict = judge(&report, &items, &recorded, &[]);
    assert_eq!(verdict.missing, [format!("{} is not in the transcript", items[0].asked_by)]);
    assert_eq!(verdict.doubled.len(), 2, "{verdict:?}");
}

#[test]
fn what_a_caller_says_again_may_be_written_again_but_is_answered_once() {
    let items = talk::items(1);
    let (mut report, mut recorded) = whole(&items);
    let mut turns = Turns::default();
    for at in [10_000.0, 20_000.0] {
        turns.began(TurnKind::Spoken, &items[0].question, at, false);
    }
    report.turns = turns.into_turns();
    recorded.turns.insert(0, turn(0, Speaker::Caller, &items[0].question));
    assert!(judge(&report, &items, &recorded, &[]).is_well());
    let again = report.heard[0].clone();
    report.heard.push(again);
    assert!(!judge(&report, &items, &recorded, &[]).is_well());
}

#[test]
fn the_order_of_the_transcript_is_that_of_the_call() {
    let items = talk::items(2);
    let (report, mut recorded) = whole(&items);
    recorded.turns[0].n = 9;
    assert_eq!(judge(&report, &items, &recorded, &[]).wrong.len(), 1);
}

#[test]
fn a_gap_is_as_long_as_the_caller_is_alone_and_has_to_have_a_reason() {
    let items = talk::items(3);
    // It breaks in a pause: the caller is heard again at once.
    let (report, recorded) =
        call(&items, vec![stream("a", 100.0, 15_000.0), stream("b", 16_000.0, 60_000.0)]);
    let verdict = judge(&report, &items, &recorded, &[killed("a", 14_900.0)]);
    assert!(verdict.is_well(), "{verdict:?}");
    assert_eq!(verdict.gaps[0].ms, 1_000.0);
    assert_eq!((verdict.gaps[0].from.as_str(), verdict.gaps[0].to.as_str()), ("a", "b"));
    // It breaks while an answer is due: the caller waits for the bot's voice.
    let (report, recorded) =
        call(&items, vec![stream("a", 100.0, 11_500.0), stream("b", 12_000.0, 60_000.0)]);
    assert_eq!(judge(&report, &items, &recorded, &[killed("a", 11_400.0)]).gaps[0].ms, 700.0);
    for wrong in [
        killed("b", 11_400.0),
        killed("a", 20_000.0),
        Disturbance { allowed_ms: 600.0, ..killed("a", 11_400.0) },
    ] {
        let verdict = judge(&report, &items, &recorded, &[wrong]);
        assert_eq!((verdict.alone.len(), verdict.is_well()), (1, false), "{verdict:?}");
        assert_eq!((verdict.harm().count(), verdict.complaints().count()), (0, 1), "{verdict:?}");
    }
}

/// A restart, as [`killed`] but with a goodbye.
fn restarted(replica: &str, from_ms: f64) -> Disturbance {
    Disturbance { abrupt: false, allowed_ms: 3_000.0, ..killed(replica, from_ms) }
}

#[test]
fn a_caller_may_be_moved_as_often_as_a_replica_that_held_the_call_was_restarted() {
    let items = talk::items(1);
    let streams = vec![
        stream("a", 0.0, 20_000.0),
        stream("b", 20_100.0, 30_000.0),
        stream("c", 30_100.0, 40_000.0),
        stream("a", 40_100.0, 60_000.0),
    ];
    let (report, recorded) = call(&items, streams);
    let restarts: Vec<Disturbance> =
        [("a", 19_900.0), ("b", 29_900.0), ("c", 39_900.0)].map(|(name, at)| restarted(name, at)).to_vec();
    let verdict = judge(&report, &items, &recorded, &restarts);
    assert!(verdict.is_well() && verdict.gaps.len() == 3, "{verdict:?}");
    assert_eq!(most_within_one(&verdict.gaps, &[0.0]), 3);
    assert_eq!(most_within_one(&verdict.gaps, &[0.0, 25_000.0]), 2);
    assert_eq!(most_within_one(&[], &[0.0]), 0);
    // Of these one did not hold the call.
    let other = [restarts.split_at(2).0, &[restarted("d", 39_900.0)]].concat();
    let verdict = judge(&report, &items, &recorded, &other);
    assert!(verdict.alone.len() == 1 && verdict.alone[0].ends_with("for no reason"), "{verdict:?}");
}

#[test]
fn one_restart_excuses_one_gap() {
    let items = talk::items(1);
    let streams =
        vec![stream("a", 0.0, 20_000.0), stream("a", 20_100.0, 20_500.0), stream("b", 20_600.0, 60_000.0)];
    let (report, recorded) = call(&items, streams);
    let verdict = judge(&report, &items, &recorded, &[restarted("a", 19_900.0)]);
    assert_eq!((verdict.gaps.len(), verdict.alone.len(), verdict.is_well()), (2, 1, false), "{verdict:?}");
    assert!(verdict.alone[0].contains("a second time"), "{verdict:?}");
}

#[test]
fn whoever_is_not_greeted_or_not_answered_is_harmed_and_whoever_needs_a_second_stream_is_not() {
    let items = talk::items(1);
    let (report, recorded) = call(&items, vec![stream("a", 100.0, 500.0), stream("b", 600.0, 60_000.0)]);
    let verdict = judge(&report, &items, &recorded, &[]);
    assert_eq!((verdict.harm().count(), verdict.complaints().count()), (0, 1), "{verdict:?}");
    let mut silent = report.clone();
    silent.failures.push("step 1: no greeting".to_owned());
    assert_eq!(judge(&silent, &items, &recorded, &[]).harm().count(), 1);
    let unanswered = CallReport { heard: Vec::new(), ..report.clone() };
    assert_eq!(judge(&unanswered, &items, &recorded, &[]).harm().count(), 1);
    let gone = CallReport { end: EndCause::Failed("11200 answered 503".to_owned()), ..report };
    assert_eq!(judge(&gone, &items, &recorded, &[]).harm().count(), 1);
}

#[test]
fn with_a_frozen_replica_the_caller_is_alone_from_its_first_moment() {
    let items = talk::items(3);
    let (report, recorded) =
        call(&items, vec![stream("a", 100.0, 17_000.0), stream("b", 18_000.0, 60_000.0)]);
    let frozen =
        Disturbance { silent: true, until_ms: 30_000.0, allowed_ms: 11_000.0, ..killed("a", 14_000.0) };
    let verdict = judge(&report, &items, &recorded, std::slice::from_ref(&frozen));
    assert!(verdict.is_well(), "{verdict:?}");
    assert_eq!(verdict.gaps[0].ms, 4_000.0);
}

#[test]
fn a_call_that_twilio_gave_up_or_that_is_recorded_as_lost_is_lost() {
    let items = talk::items(1);
    let (mut report, recorded) = whole(&items);
    let lost = Recorded { end_reason: Some(EndReason::Lost), ..recorded.clone() };
    assert!(judge(&report, &items, &lost, &[]).lost.is_some());
    let open = Recorded { end_reason: None, ..recorded.clone() };
    assert!(judge(&report, &items, &open, &[]).lost.is_some());
    let twice = Recorded { ends: 2, ..recorded.clone() };
    assert_eq!(judge(&report, &items, &twice, &[]).doubled.len(), 1);
    report.end = EndCause::Failed("11200 answered 503".to_owned());
    assert!(judge(&report, &items, &recorded, &[]).lost.is_some());
}
