use super::*;
use crate::db::tests::{TestDb, admitted, caller_turn};
use crate::db::{DbHandle, Write};
use crate::domain::audit::AuditEvent;
use crate::domain::call::Outcome;
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::turn::{ResumeState, Speaker, TurnRecord};
use proptest::prelude::*;

/// When the test's calls are let in, to the quarter.
const BEGAN: i64 = 1_000_000;

async fn day(db: &DbHandle) -> ActivityBucket {
    let run = Run { from: UnixMillis(0), to: UnixMillis(86_400_000), step_ms: 86_400_000 };
    let mut all = db.activity(vec![run]).await.unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn bot_turn(n: u32, interrupted: bool, first_sent: Option<u32>) -> TurnRecord {
    TurnRecord {
        speaker: Speaker::Bot,
        interrupted,
        latency: StageLatencies { first_sent_ms: first_sent, ..StageLatencies::default() },
        ..caller_turn(n, "Hello")
    }
}

#[actix::test]
async fn whatever_is_written_twice_counts_once() {
    for test in TestDb::each() {
        let db = test.open();
        let sid = CallSid::from("CA1");
        let turn = |turn| Write::Turn { sid: sid.clone(), epoch: Epoch(1), turn };
        let lead = Outcome { lead_captured: true, ..Outcome::default() };
        let resume = Write::Resume {
            sid: sid.clone(),
            epoch: Epoch(1),
            state: ResumeState { outcome: lead, ..ResumeState::default() },
        };
        let ended = |reason| Write::CallEnded {
            sid: sid.clone(),
            at: UnixMillis(BEGAN + 61_000),
            reason,
            outcome: Outcome { appointment_booked: true, ..lead },
        };
        let event = |code: &str| Write::Event {
            sid: sid.clone(),
            at: UnixMillis(BEGAN),
            event: AuditEvent::new(code, serde_json::json!({})),
        };
        let writes = [
            admitted("CA1", 1),
            admitted("CA1", 1),
            Write::CallAnswered { sid: sid.clone(), at: UnixMillis(BEGAN + 1_000) },
            turn(bot_turn(1, false, None)),
            turn(bot_turn(1, false, Some(450))),
            turn(bot_turn(1, true, Some(450))),
            turn(bot_turn(1, true, Some(450))),
            turn(bot_turn(2, false, Some(9_000))),
            resume.clone(),
            resume,
            event("stt.reconnecting"),
            event("tts.failed"),
            event("call.started"),
            ended(EndReason::Completed),
            ended(EndReason::Lost),
            admitted("CA1", 2),
        ];
        for write in writes {
            db.write(write).await.unwrap();
        }
        let day = day(&db).await;
        let expected = ActivityCounts {
            inbound: 1,
            ended_completed: 1,
            leads: 1,
            calls_booked: 1,
            duration_s: 60,
            barge_ins: 1,
            errors_stt: 1,
            errors_tts: 1,
            ..ActivityCounts::default()
        };
        assert_eq!(day.counts, expected);
        let sent = &day.latencies[4];
        assert_eq!((sent.n, sent.sum_ms), (2, 9_450));
        assert_eq!((sent.classes[class_of(450)], sent.classes[LATENCY_CLASSES - 1]), (1, 1));
        assert_eq!(day.latencies[0], LatencyCounts::default());
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_write_that_is_refused_counts_nothing() {
    for test in TestDb::each() {
        let db = test.open();
        db.write(admitted("CA1", 5)).await.unwrap();
        let old =
            Write::Turn { sid: CallSid::from("CA1"), epoch: Epoch(1), turn: bot_turn(1, true, Some(100)) };
        assert!(db.write(old).await.is_err());
        assert!(db.write(admitted("CA1", 4)).await.is_err());
        let expected = ActivityCounts { inbound: 1, ..ActivityCounts::default() };
        assert_eq!(day(&db).await.counts, expected);
        db.shutdown().await;
    }
}

#[actix::test]
async fn stretches_without_anything_are_not_left_out() {
    for test in TestDb::each() {
        let db = test.open();
        db.write(admitted("CA1", 1)).await.unwrap();
        let from = quarter(BEGAN) - QUARTER_MS;
        let run = Run { from: UnixMillis(from), to: UnixMillis(from + 3 * QUARTER_MS), step_ms: QUARTER_MS };
        let longer = Run { from: run.to, to: UnixMillis(run.to.0 + 100_000_000), step_ms: 100_000_000 };
        let all = db.activity(vec![run, longer]).await.unwrap();
        let counts: Vec<(i64, i64)> = all.iter().map(|b| (b.from.0 - from, b.counts.calls())).collect();
        assert_eq!(counts, [(0, 0), (QUARTER_MS, 1), (2 * QUARTER_MS, 0), (3 * QUARTER_MS, 0)]);
        db.shutdown().await;
    }
}

#[test]
fn a_quantile_lies_in_its_class() {
    let mut count = StageCount::default();
    (0..90).for_each(|_| count.add(350));
    (0..10).for_each(|_| count.add(1_900));
    let counts = LatencyCounts { n: count.n, sum_ms: count.sum_ms, classes: count.classes.to_vec() };
    assert!((301..=400).contains(&counts.quantile(0.5).unwrap()));
    assert!((1_501..=2_000).contains(&counts.quantile(0.95).unwrap()));
    assert_eq!(LatencyCounts::default().quantile(0.5), None);
}

proptest! {
    #[test]
    fn a_quantile_errs_by_no_more_than_its_class(values in prop::collection::vec(0_u32..5_000, 1..200), share in 0.0..=1.0_f64) {
        let mut count = StageCount::default();
        values.iter().for_each(|ms| count.add(*ms));
        let counts = LatencyCounts { n: count.n, sum_ms: count.sum_ms, classes: count.classes.to_vec() };
        let mut sorted = values;
        sorted.sort_unstable();
        let rank = ((sorted.len() as f64 * share).max(1.0).ceil() as usize).min(sorted.len());
        let exact = sorted[rank - 1];
        let guess = counts.quantile(share).unwrap();
        let class = class_of(exact);
        let low = if class == 0 { 0 } else { LATENCY_BOUNDS[class - 1] };
        prop_assert!((low..=LATENCY_BOUNDS[class]).contains(&guess), "{} not with {}", guess, exact);
    }

    #[test]
    fn a_quarter_begins_at_or_before_its_times(at in -10_000_000_000_i64..10_000_000_000_000) {
        let begin = quarter(at);
        prop_assert!(begin <= at && at < begin + QUARTER_MS && begin % QUARTER_MS == 0);
    }
}
