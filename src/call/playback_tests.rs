use super::*;
use proptest::prelude::*;

const R1: ReplyId = ReplyId(1);
const R2: ReplyId = ReplyId(2);

fn at(ms: u64) -> CallTime {
    CallTime::from_millis(ms)
}

fn playback() -> Playback {
    Playback::new(Duration::from_millis(400), 4_000)
}

#[derive(Default, Debug)]
struct Wire {
    frames: usize,
    marks: Vec<String>,
    clears: usize,
    log: Vec<char>,
}

fn pull(p: &mut Playback, now: CallTime) -> (Wire, Option<Duration>) {
    let mut wire = Wire::default();
    let next = p.pull(now, |out| match out {
        Outgoing::Frame(frame) => {
            assert_eq!(frame.len(), FRAME_BYTES);
            wire.frames += 1;
            wire.log.push('f');
        }
        Outgoing::Mark(name) => {
            wire.marks.push(name.to_owned());
            wire.log.push('m');
        }
        Outgoing::Clear => {
            wire.clears += 1;
            wire.log.push('c');
        }
    });
    (wire, next)
}

#[test]
fn audio_runs_ahead_of_the_caller_by_the_lead_and_no_more() {
    let mut p = playback();
    assert!(p.begin_sentence(R1, 0, "hello"));
    assert!(p.audio(R1, 0, vec![1; 160 * 100].into()));
    let (wire, next) = pull(&mut p, at(0));
    assert_eq!(wire.frames, 25, "400 ms and one burst");
    let next = next.expect("more is waiting");
    let (wire, _) = pull(&mut p, at(0).after(next));
    assert!((1..=6).contains(&wire.frames), "about one burst: {}", wire.frames);
}

#[test]
fn a_sentence_ends_with_a_full_frame_and_a_mark() {
    let mut p = playback();
    p.begin_sentence(R1, 0, "hi");
    p.audio(R1, 0, vec![1; 170].into());
    let (wire, _) = pull(&mut p, at(0));
    assert_eq!((wire.frames, wire.marks.len()), (1, 0), "the rest of a frame waits");
    p.end_sentence(R1, 0);
    let (wire, next) = pull(&mut p, at(0));
    assert_eq!(wire.log, ['f', 'm']);
    assert_eq!(next, None);
    let heard = p.mark(&wire.marks[0]);
    assert_eq!(heard, [Played { reply: R1, sentence: 0, text: "hi".into() }]);
    assert!(!p.is_audible());
}

#[test]
fn a_clear_goes_out_before_anything_else_and_late_audio_dies() {
    let mut p = playback();
    p.begin_sentence(R1, 0, "one two three four");
    p.audio(R1, 0, vec![1; 8 * 2_000].into());
    p.end_sentence(R1, 0);
    pull(&mut p, at(0));
    let cuts = p.clear(at(400), R1);
    assert_eq!(cuts.len(), 1);
    assert!(!p.audio(R1, 0, vec![1; 160].into()));
    assert!(!p.begin_sentence(R1, 1, "five"));
    assert!(p.begin_sentence(R2, 0, "new"));
    p.audio(R2, 0, vec![2; 160].into());
    let (wire, _) = pull(&mut p, at(401));
    assert_eq!(wire.log, ['c', 'f']);
}

#[test]
fn what_was_heard_of_a_cut_sentence_is_told_in_whole_words_by_time() {
    let mut p = playback();
    let text = "aaaa bbbb cccc dddd eeee";
    p.begin_sentence(R1, 0, text);
    p.audio(R1, 0, vec![1; 8 * 2_400].into());
    p.end_sentence(R1, 0);
    let mut now = 0;
    while now < 1_200 {
        pull(&mut p, at(now));
        now += 50;
    }
    let cuts = p.clear(at(1_200), R1);
    assert_eq!(cuts, [Cut { reply: R1, heard: "aaaa bbbb".into() }]);
}

#[test]
fn marks_flushed_by_a_clear_are_not_heard() {
    let mut p = playback();
    p.begin_sentence(R1, 0, "hello there");
    p.audio(R1, 0, vec![1; 160].into());
    p.end_sentence(R1, 0);
    let (wire, _) = pull(&mut p, at(0));
    p.clear(at(1), R1);
    assert!(p.mark(&wire.marks[0]).is_empty());
    assert_eq!(p.strays().1, 1);
}

#[test]
fn a_reply_of_which_nothing_was_sent_is_withdrawn_without_a_clear() {
    let mut p = playback();
    p.begin_sentence(R1, 0, "one moment");
    p.audio(R1, 0, vec![1; 160 * 40].into());
    p.end_sentence(R1, 0);
    pull(&mut p, at(0));
    p.begin_sentence(R2, 0, "your answer");
    p.audio(R2, 0, vec![2; 320].into());
    assert!(p.withdraw(R2));
    assert!(!p.audio(R2, 0, vec![2; 160].into()));
    let mut frames = 0;
    for ms in (0..1_000).step_by(20) {
        let (wire, _) = pull(&mut p, at(ms));
        assert_eq!(wire.clears, 0);
        frames += wire.frames;
    }
    assert_eq!(frames, 15, "the filler plays to its end");
    assert!(!p.withdraw(R1), "sent audio cannot be withdrawn");
}

#[test]
fn a_retracted_sentence_goes_on_in_another_voice_and_is_told_once() {
    let mut p = playback();
    p.begin_sentence(R1, 0, "one two three");
    p.audio(R1, 0, vec![1; 8 * 3_000].into());
    pull(&mut p, at(0));
    assert_eq!(p.retract(R1, 0), 500);
    let (first, next) = pull(&mut p, at(10));
    assert_eq!(first.log, ['m'], "what was sent gets its mark");
    assert_eq!(next, None);
    assert!(
        p.audio(R1, 0, vec![1; 160].into()),
        "the other voice goes on without announcing the sentence again"
    );
    p.end_sentence(R1, 0);
    let (second, _) = pull(&mut p, at(500));
    let heard: Vec<String> =
        [&first.marks[0], &second.marks[0]].into_iter().flat_map(|m| p.mark(m)).map(|s| s.text).collect();
    assert_eq!(heard.join(" ").trim(), "one two three");
}

/// Sends `ms` of a sentence, then breaks off.
fn broken_after(ms: u64, text: &str) -> (Playback, Vec<String>, u64) {
    let mut p = playback();
    p.begin_sentence(R1, 0, text);
    p.audio(R1, 0, vec![1; 8 * 9_000].into());
    let mut marks = Vec::new();
    let mut sent = 0;
    for now in (0..).step_by(20) {
        if sent >= ms {
            break;
        }
        let (wire, _) = pull(&mut p, at(now));
        sent += wire.frames as u64 * 20;
        marks.extend(wire.marks);
    }
    (p, marks, sent)
}

const THREE_CLAUSES: &str = "first clause of this sentence, second clause of it, and the third";

#[test]
fn clauses_that_were_sent_whole_are_not_said_again_and_no_word_is_lost() {
    for (ms, rest) in [
        (0, THREE_CLAUSES),
        (900, THREE_CLAUSES),
        (2_300, "second clause of it, and the third"),
        (3_000, "second clause of it, and the third"),
        (3_800, "and the third"),
        (8_000, "and the third"),
    ] {
        let (mut p, mut marks, sent) = broken_after(ms, THREE_CLAUSES);
        assert_eq!(p.retract(R1, 0), sent);
        let other_voice = THREE_CLAUSES.split_at(resume_at(THREE_CLAUSES, sent)).1;
        assert_eq!(other_voice, rest, "{ms} ms");
        p.audio(R1, 0, vec![1; 160].into());
        p.end_sentence(R1, 0);
        for now in (0..20_000).step_by(50) {
            marks.extend(pull(&mut p, at(10_000 + now)).0.marks);
        }
        let heard: Vec<String> = marks.iter().flat_map(|m| p.mark(m)).map(|s| s.text).collect();
        assert_eq!(heard.join(" ").trim(), THREE_CLAUSES, "{ms} ms");

        let (mut p, _, _) = broken_after(ms, THREE_CLAUSES);
        assert_eq!(p.abandon(R1, 0).as_deref(), Some(rest), "a voice that is started again says the same");
    }
}

#[test]
fn a_sentence_that_breaks_off_twice_goes_on_from_where_it_was_taken_up() {
    let (mut p, _, _) = broken_after(2_500, THREE_CLAUSES);
    p.retract(R1, 0);
    assert!(p.audio(R1, 0, vec![1; 8 * 400].into()));
    pull(&mut p, at(60_000));
    assert_eq!(p.retract(R1, 0), 400, "of the part that was taken up");
    assert_eq!(p.abandon(R1, 0).as_deref(), Some("second clause of it, and the third"));
}

#[test]
fn an_abandoned_sentence_is_begun_anew() {
    let mut p = playback();
    p.begin_sentence(R1, 0, "one two three");
    p.audio(R1, 0, vec![1; 800].into());
    assert_eq!(p.abandon(R1, 0).as_deref(), Some("one two three"));
    assert!(!p.is_audible());
    assert!(!p.audio(R1, 0, vec![1; 160].into()), "nothing is open");
    assert!(p.begin_sentence(R1, 0, "one two three"));
}

#[test]
fn a_lost_mark_holds_nothing_up() {
    let mut p = playback();
    p.begin_sentence(R1, 0, "hi");
    p.audio(R1, 0, vec![1; 160].into());
    p.end_sentence(R1, 0);
    pull(&mut p, at(0));
    let grace = Duration::from_secs(2);
    assert_eq!(p.overdue_at(grace), Some(at(2_020)));
    assert!(p.expire(at(2_019), grace).is_empty());
    assert_eq!(p.expire(at(2_020), grace).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Audio(usize),
    End,
    Next,
    Pull(u64),
    Clear,
    Withdraw,
    Retract,
    MarkBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..5_000).prop_map(Step::Audio),
        2 => Just(Step::End),
        2 => Just(Step::Next),
        6 => (0u64..300).prop_map(Step::Pull),
        1 => Just(Step::Clear),
        1 => Just(Step::Withdraw),
        1 => Just(Step::Retract),
        3 => Just(Step::MarkBack),
    ]
}

proptest! {
    /// Whatever happens: a frame is only sent for a live reply, nothing runs further ahead than lead and burst, the
    /// byte count of queue and segments agrees, and each mark is heard at most once.
    #[test]
    fn the_queue_keeps_its_promises(steps in proptest::collection::vec(step(), 1..120)) {
        let mut p = playback();
        let mut now = at(0);
        let mut reply = ReplyId(1);
        let mut sentence = 0u32;
        let mut out: Vec<String> = Vec::new();
        let mut heard = std::collections::HashSet::new();
        p.begin_sentence(reply, sentence, "some words to say");
        for s in steps {
            match s {
                Step::Audio(n) => { p.audio(reply, sentence, vec![7; n].into()); }
                Step::End => { p.end_sentence(reply, sentence); sentence += 1; p.begin_sentence(reply, sentence, "and more"); }
                Step::Next => { p.end_sentence(reply, sentence); reply = reply.next(); sentence = 0; p.begin_sentence(reply, 0, "next one"); }
                Step::Pull(ms) => {
                    now = now.after(Duration::from_millis(ms));
                    let (wire, _) = pull(&mut p, now);
                    out.extend(wire.marks);
                    prop_assert!(p.tail().since(now) <= Duration::from_millis(520));
                }
                Step::Clear => {
                    p.clear(now, reply);
                    out.clear();
                    prop_assert!(!p.is_audible());
                    reply = reply.next();
                    sentence = 0;
                    p.begin_sentence(reply, 0, "after the clear");
                }
                Step::Withdraw => { if p.withdraw(reply) { reply = reply.next(); sentence = 0; p.begin_sentence(reply, 0, "instead"); } }
                Step::Retract => { p.retract(reply, sentence); sentence += 1; p.begin_sentence(reply, sentence, "again"); }
                Step::MarkBack => if !out.is_empty() {
                    let name = out.remove(0);
                    for played in p.mark(&name) {
                        prop_assert!(heard.insert((played.reply, played.sentence, name.clone())));
                    }
                },
            }
            let queued: usize = p.segments.iter().map(|s| s.queued).sum();
            prop_assert_eq!(queued, p.buffer.len());
        }
    }
}
