use super::*;
use crate::audio::FRAME_BYTES;
use proptest::prelude::*;

const FRAME: u64 = FRAME_BYTES as u64;

fn at(ms: u64) -> CallTime {
    CallTime::from_millis(ms)
}

/// A frame that can be told from others and from silence.
fn frame(n: u64) -> [u8; FRAME_BYTES] {
    [u8::try_from(n % 200).unwrap() + 1; FRAME_BYTES]
}

/// What is heard of one side, one number a frame of 20 ms: the tag of the frame, 0 for silence.
fn heard(out: &[u8], side: Side) -> Vec<u8> {
    let bytes: Vec<u8> = out.chunks_exact(2).map(|s| s[side.byte()]).collect();
    bytes
        .chunks(FRAME_BYTES)
        .map(|c| {
            // The middle decides: delays need not be whole frames.
            match c[c.len() / 2] {
                0xFF => 0,
                tag => tag,
            }
        })
        .collect()
}

/// Frames by arrival, ms; handed out in between and at the end.
fn caller(arrivals: &[u64], end: u64) -> Vec<u8> {
    let mut aligner = Aligner::new(at(0));
    let mut out = Vec::new();
    for (n, ms) in arrivals.iter().enumerate() {
        aligner.caller(at(*ms), &frame(n as u64));
        aligner.advance(at(*ms), &mut out);
    }
    aligner.finish(at(end), &mut out);
    assert_eq!(out.len() as u64, end * 16);
    heard(&out, Side::Caller)
}

fn tags(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|n| frame(n)[0]).collect()
}

#[test]
fn the_caller_is_laid_where_it_was_spoken() {
    // Frames come when they are over.
    let steady: Vec<u64> = (1..=100).map(|n| n * 20).collect();
    assert_eq!(caller(&steady, 2_000), tags(0..100));
    // Recording begins before the caller is heard.
    let later: Vec<u64> = (1..=100).map(|n| 400 + n * 20).collect();
    let laid = caller(&later, 2_400);
    assert_eq!((&laid[..20], &laid[20..]), (&[0; 20][..], &tags(0..100)[..]));
}

#[test]
fn a_burst_after_a_stall_is_no_hole() {
    // Frames 50 to 129 come together, up to 1.6 s late.
    let arrivals: Vec<u64> =
        (0..300_u64).map(|n| if (50..130).contains(&n) { 2_600 } else { n * 20 + 20 }).collect();
    assert_eq!(caller(&arrivals, 6_000), tags(0..300));
    // The same for four seconds.
    let arrivals: Vec<u64> =
        (0..500_u64).map(|n| if (50..250).contains(&n) { 5_000 } else { n * 20 + 20 }).collect();
    assert_eq!(caller(&arrivals, 10_000), tags(0..500));
}

#[test]
fn a_burst_that_comes_in_several_flights_is_laid_where_all_of_it_belongs() {
    // The stream stands still from 1.0 to 1.5 s; what was held up comes in three rounds.
    let arrival = |n: u64| match n {
        50..62 => 1_500,
        62..80 => 1_680,
        80..92 => 1_840,
        _ => n * 20 + 20,
    };
    assert_eq!(caller(&(0..300).map(arrival).collect::<Vec<_>>(), 6_000), tags(0..300));
}

#[test]
fn a_hole_in_the_stream_stays_a_hole() {
    let arrivals: Vec<u64> = (0..200_u64).map(|n| n * 20 + if n < 100 { 20 } else { 1_020 }).collect();
    let laid = caller(&arrivals, 5_000);
    assert_eq!(&laid[..100], &tags(0..100)[..]);
    assert_eq!(&laid[100..150], &[0; 50]);
    assert_eq!(&laid[150..], &tags(100..200)[..]);
}

#[test]
fn the_bot_is_laid_where_it_is_played_and_what_was_cleared_is_not_there() {
    let mut aligner = Aligner::new(at(0));
    let mut out = Vec::new();
    for n in 0..30 {
        // Sent in one go, 600 ms ahead.
        aligner.bot(at(1_000 + n * 20), &frame(n));
    }
    aligner.advance(at(1_200), &mut out);
    aligner.clear(at(1_300));
    aligner.bot(at(1_340), &frame(90));
    aligner.advance(at(4_000), &mut out);
    aligner.finish(at(5_000), &mut out);
    let laid = heard(&out, Side::Bot);
    let mut expected = vec![0; 250];
    expected[50..65].copy_from_slice(&tags(0..15));
    expected[67] = frame(90)[0];
    assert_eq!(laid, expected);
}

#[test]
fn what_the_bot_was_still_to_say_at_the_end_was_not_heard() {
    let mut aligner = Aligner::new(at(0));
    let mut out = Vec::new();
    (0..50).for_each(|n| aligner.bot(at(n * 20), &frame(n)));
    aligner.finish(at(400), &mut out);
    assert_eq!(heard(&out, Side::Bot), tags(0..20));
}

#[test]
fn recording_begins_in_the_middle_of_what_is_said() {
    let mut aligner = Aligner::new(at(1_000));
    let mut out = Vec::new();
    for n in 0..10 {
        aligner.bot(at(900 + n * 20), &frame(n));
        aligner.caller(at(900 + n * 20), &frame(n));
    }
    aligner.finish(at(1_100), &mut out);
    assert_eq!(heard(&out, Side::Bot), tags(5..10));
    // A frame has arrived when it is over; the last one that has lies before the end.
    let mut caller = tags(6..10);
    caller.push(0);
    assert_eq!(heard(&out, Side::Caller), caller);
}

#[test]
fn silence_strikes_what_is_to_come_and_tells_what_is_gone() {
    let mut aligner = Aligner::new(at(0));
    let mut out = Vec::new();
    for n in 0..300 {
        aligner.caller(at(n * 20 + 20), &frame(n));
        aligner.bot(at(n * 20), &frame(n));
    }
    aligner.advance(at(6_000), &mut out);
    let gone = aligner.position();
    assert!((3_000 * 8..6_000 * 8).contains(&gone), "{gone}");
    assert_eq!(aligner.mute(Side::Caller, at(1_000), at(5_900)), 8_000..gone);
    aligner.finish(at(6_000), &mut out);
    let silent = (gone / FRAME + 1) as usize;
    let laid = heard(&out, Side::Caller);
    assert_eq!(&laid[silent..295], &vec![0; 295 - silent][..]);
    assert_eq!(&laid[295..], &tags(295..300)[..]);
    assert_eq!(heard(&out, Side::Bot), tags(0..300));
}

#[test]
fn hostile_times_cost_no_memory() {
    let mut aligner = Aligner::new(at(0));
    let mut out = Vec::new();
    aligner.bot(CallTime(std::time::Duration::MAX), &frame(1));
    aligner.bot(at(1_000_000_000), &frame(1));
    aligner.clear(CallTime(std::time::Duration::MAX));
    aligner.mute(Side::Bot, CallTime(std::time::Duration::MAX), at(0));
    assert!(aligner.caller.0.is_empty() && aligner.bot.0.is_empty());
    aligner.advance(CallTime(std::time::Duration::MAX), &mut out);
    assert!(out.len() < 100_000_000);
}

proptest! {
    #[test]
    fn the_bots_side_is_what_was_played(
        deeds in prop::collection::vec((0_u64..400, 0_u8..10, 1_u64..40), 1..60),
    ) {
        let mut aligner = Aligner::new(at(0));
        let (mut now, mut tail, mut n) = (0_u64, 0_u64, 0_u64);
        let mut expected: Vec<u8> = Vec::new();
        let mut out = Vec::new();
        for (pause, what, count) in deeds {
            now += pause;
            if what == 0 {
                aligner.clear(at(now));
                tail = now;
                expected.truncate(now as usize);
            } else if what < 6 {
                for _ in 0..count {
                    tail = tail.max(now);
                    if tail > now + 1_000 {
                        break;
                    }
                    aligner.bot(at(tail), &frame(n));
                    expected.resize(expected.len().max(tail as usize), 0);
                    expected.truncate(tail as usize);
                    expected.extend([frame(n)[0]; 20]);
                    tail += 20;
                    n += 1;
                }
            } else {
                aligner.advance(at(now), &mut out);
            }
        }
        aligner.finish(at(now), &mut out);
        expected.resize(now as usize, 0);
        let laid: Vec<u8> =
            out.chunks_exact(16).map(|ms| if ms[1] == 0xFF { 0 } else { ms[1] }).collect();
        prop_assert_eq!(laid, expected);
        prop_assert_eq!(aligner.late(), 0);
    }

    #[test]
    fn of_a_stream_that_jitters_nothing_is_lost_and_all_is_in_order(
        delays in prop::collection::vec(0_u64..150, 50..400),
        looks in 1_u64..60,
    ) {
        let mut aligner = Aligner::new(at(0));
        let mut out = Vec::new();
        let mut arrived = 0;
        for (n, delay) in delays.iter().enumerate() {
            let n = n as u64;
            // TCP keeps the order.
            arrived = arrived.max(n * 20 + 20 + delay);
            aligner.caller(at(arrived), &frame(n));
            if n.is_multiple_of(looks) {
                aligner.advance(at(arrived), &mut out);
            }
        }
        aligner.finish(at(arrived + 1_000), &mut out);
        let left: Vec<u8> = out.chunks_exact(2).map(|s| s[0]).collect();
        let spoken: Vec<u8> = left.iter().copied().filter(|b| *b != 0xFF).collect();
        let sent: Vec<u8> = (0..delays.len() as u64).flat_map(frame).collect();
        prop_assert_eq!(spoken.len(), sent.len());
        prop_assert!(spoken == sent);
        // Where each frame lies: never before it was spoken, never later than the worst delay.
        for n in 0..delays.len() {
            let middle = n * FRAME_BYTES + 80;
            let first = left.iter().position(|b| *b != 0xFF).unwrap();
            prop_assert!(first <= 150 * 8 + 480, "{first}");
            prop_assert!(left.get(middle).is_some());
        }
    }

    #[test]
    fn nothing_that_comes_does_harm(
        deeds in prop::collection::vec((0_u8..6, 0_u64..100_000, 0_usize..400), 0..80),
        begin in 0_u64..50_000,
    ) {
        let mut aligner = Aligner::new(at(begin));
        let mut out = Vec::new();
        for (what, ms, len) in deeds {
            match what {
                0 => aligner.caller(at(ms), &vec![7; len]),
                1 => aligner.bot(at(ms), &vec![7; len]),
                2 => aligner.clear(at(ms)),
                3 => drop(aligner.mute(Side::Caller, at(ms), at(ms + len as u64))),
                4 => drop(aligner.mute(Side::Bot, at(ms + len as u64), at(ms))),
                _ => aligner.advance(at(ms), &mut out),
            }
        }
        aligner.finish(at(100_000), &mut out);
        prop_assert!(out.len() % 2 == 0);
        prop_assert_eq!(out.len() as u64, (100_000_u64 - begin) * 16);
    }
}

#[test]
fn there_is_room_for_little_more_than_what_is_open() {
    let mut aligner = Aligner::new(CallTime::ZERO);
    let (mut out, mut most) = (Vec::new(), 0);
    for frame in 0..3_000_u64 {
        let now = CallTime::from_millis(frame * 20);
        aligner.caller(now, &[1; 160]);
        aligner.bot(CallTime::from_millis(frame * 20 + 400), &[2; 160]);
        if frame % 12 == 0 {
            out.clear();
            aligner.advance(now, &mut out);
        }
        let runs: usize = aligner.runs.iter().map(|run| run.audio.capacity()).sum();
        most = most.max(aligner.caller.0.capacity() + aligner.bot.0.capacity() + runs);
    }
    // A stretch of both, a quarter of a second between two blocks, what is sent ahead, and a step for each lane and run.
    let open = 8 * (2 * 400 + 2 * 240 + 400);
    assert!((open..open + 6 * STEP).contains(&most), "{most} of {open}");
}
