use super::*;
use crate::db::schema::calls;
use crate::db::tests::{TestDb, admitted, caller_turn};
use crate::db::{Aged, Database, Write};
use crate::domain::call::{EndReason, Outcome};
use crate::domain::ids::Epoch;
use crate::domain::insight::{Intent, Sentiment};
use serde_json::json;
use std::collections::BTreeSet;

fn used(amount: u64, micros: i64) -> Used {
    Used { item: crate::domain::usage::Item::LlmInput, model: "host/m".into(), amount, micros }
}

const NOW: UnixMillis = UnixMillis(2_000_000);
const LATER: UnixMillis = UnixMillis(2_060_000);

fn job(key: &str, due: i64) -> NewJob {
    NewJob {
        kind: JobKind::Retention,
        key: key.into(),
        payload: json!({}),
        due: UnixMillis(due),
        now: NOW,
        place: None,
    }
}

async fn take(db: &Database, owner: &str, limit: u32, now: UnixMillis) -> Vec<LeasedJob> {
    let until = now.after(std::time::Duration::from_secs(60));
    db.lease_jobs(owner.into(), None, limit, now, until).await.unwrap().jobs
}

/// Queues a call that ended.
async fn call(db: &Database, sid: &str, spoke: bool, reason: EndReason, outcome: Outcome) {
    db.record(admitted(sid, 1)).unwrap();
    if spoke {
        db.record(Write::Turn { sid: sid.into(), epoch: Epoch(1), turn: caller_turn(1, "A haircut.") })
            .unwrap();
    }
    db.write(Write::CallEnded { sid: sid.into(), at: NOW, reason, outcome }).await.unwrap();
}

async fn keys(db: &Database) -> BTreeSet<String> {
    let all = JobQuery { limit: 100, ..JobQuery::default() };
    db.jobs(all).await.unwrap().into_iter().map(|job| job.key).collect()
}

#[actix::test]
async fn the_end_of_a_call_queues_what_is_owed_for_it_and_a_second_end_nothing_more() {
    let none = Outcome::default();
    let message = Outcome { message_taken: true, follow_up: true, ..none };
    let booked = Outcome { appointment_booked: true, ..none };
    let follow_up = Outcome { follow_up: true, ..none };
    for test in TestDb::each() {
        let db = test.open();
        let table = [
            (true, EndReason::Completed, none, &["summary"][..]),
            (false, EndReason::Completed, none, &[]),
            (false, EndReason::NoAnswer, none, &[]),
            (true, EndReason::Lost, none, &["summary", "callback"]),
            (false, EndReason::Lost, none, &[]),
            (true, EndReason::Lost, booked, &["summary"]),
            (true, EndReason::Shutdown, none, &["summary", "callback"]),
            (true, EndReason::Apology, none, &["summary", "callback"]),
            (false, EndReason::Apology, none, &["callback"]),
            (true, EndReason::Apology, message, &["summary"]),
            (true, EndReason::MessageTaken, message, &["summary"]),
            (true, EndReason::Completed, follow_up, &["summary", "callback"]),
        ];
        let mut expected = BTreeSet::new();
        for (n, (spoke, reason, outcome, kinds)) in table.into_iter().enumerate() {
            let sid = format!("CA{n}");
            call(&db, &sid, spoke, reason, outcome).await;
            let again = Write::CallEnded {
                sid: sid.as_str().into(),
                at: LATER,
                reason: EndReason::Lost,
                outcome: none,
            };
            db.write(again).await.unwrap();
            expected.extend(kinds.iter().map(|kind| format!("{kind}:{sid}")));
        }
        assert_eq!(keys(&db).await, expected);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_job_is_queued_once_for_its_key_and_not_taken_before_it_is_due() {
    for test in TestDb::each() {
        let db = test.open();
        assert!(db.enqueue_job(job("a", 2_000_001)).await.unwrap());
        assert!(!db.enqueue_job(job("a", 1)).await.unwrap());
        let look = db.lease_jobs("o".into(), None, 9, NOW, LATER).await.unwrap();
        assert!(look.jobs.is_empty());
        assert_eq!(look.next_due, Some(UnixMillis(2_000_001)));
        assert_eq!(take(&db, "o", 9, UnixMillis(2_000_001)).await.len(), 1);
        db.shutdown().await;
    }
}

#[actix::test]
async fn many_owners_that_take_at_once_share_the_jobs_out_and_no_job_goes_to_two() {
    for test in TestDb::each() {
        let db = test.open_with(|config| config.pool = 8);
        for n in 0..40 {
            db.enqueue_job(job(&format!("k{n}"), n)).await.unwrap();
        }
        let takers = (0..8).map(|owner| {
            let db = &db;
            async move {
                let mut mine = Vec::new();
                loop {
                    let taken = take(db, &format!("owner{owner}"), 3, NOW).await;
                    if taken.is_empty() {
                        return mine;
                    }
                    mine.extend(taken.into_iter().map(|job| job.key));
                }
            }
        });
        let taken: Vec<String> = futures_util::future::join_all(takers).await.into_iter().flatten().collect();
        assert_eq!(taken.len(), 40);
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 40);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_lapsed_lease_is_taken_by_another_and_the_first_owner_keeps_nothing() {
    for test in TestDb::each() {
        let db = test.open();
        call(&db, "CA1", true, EndReason::Completed, Outcome::default()).await;
        let first = take(&db, "one", 9, NOW).await.remove(0);
        assert!(take(&db, "two", 9, UnixMillis(NOW.0 + 59_999)).await.is_empty());
        let second = take(&db, "two", 9, UnixMillis(NOW.0 + 60_000)).await.remove(0);
        assert_eq!((first.lease.attempt, second.lease.attempt), (1, 2));
        let effect = |text: &str| JobEffect::Summary {
            sid: "CA1".into(),
            text: text.into(),
            insight: None,
            model: "m".into(),
            used: vec![],
        };
        assert!(!db.complete_job(first.lease.clone(), effect("first"), LATER).await.unwrap());
        assert!(!db.requeue_job(first.lease.clone(), LATER, "x".into()).await.unwrap());
        assert!(!db.bury_job(first.lease.clone(), "x".into(), LATER).await.unwrap());
        assert_eq!(db.renew_jobs(vec![first.lease], LATER).await.unwrap(), 0);
        assert_eq!(db.call_overview("CA1".into()).await.unwrap().unwrap().summary, None);
        assert!(db.complete_job(second.lease.clone(), effect("second"), LATER).await.unwrap());
        assert!(!db.complete_job(second.lease, effect("third"), LATER).await.unwrap());
        assert_eq!(db.call_overview("CA1".into()).await.unwrap().unwrap().summary.as_deref(), Some("second"));
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_lease_that_is_renewed_does_not_lapse() {
    for test in TestDb::each() {
        let db = test.open();
        db.enqueue_job(job("a", 0)).await.unwrap();
        let mine = take(&db, "one", 1, NOW).await.remove(0);
        assert_eq!(db.renew_jobs(vec![mine.lease], UnixMillis(NOW.0 + 90_000)).await.unwrap(), 1);
        assert!(take(&db, "two", 1, UnixMillis(NOW.0 + 60_000)).await.is_empty());
        assert_eq!(take(&db, "two", 1, UnixMillis(NOW.0 + 90_000)).await.len(), 1);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_job_that_fails_comes_back_later_is_laid_aside_and_tried_anew_by_staff() {
    for test in TestDb::each() {
        let db = test.open();
        db.enqueue_job(job("a", 0)).await.unwrap();
        let first = take(&db, "o", 1, NOW).await.remove(0);
        let id = first.lease.id;
        assert_eq!(db.retry_job(id, NOW).await.unwrap(), Touched::Refused(JobState::Leased));
        assert_eq!(db.remove_job(id).await.unwrap(), Touched::Refused(JobState::Leased));
        assert!(db.requeue_job(first.lease, LATER, "openai.http_500".into()).await.unwrap());
        let stored = db.job(id).await.unwrap().unwrap();
        assert_eq!((stored.state, stored.attempts, stored.next_run), (JobState::Queued, 1, LATER));
        assert_eq!(stored.last_error.as_deref(), Some("openai.http_500"));
        assert!(take(&db, "o", 1, NOW).await.is_empty());
        let second = take(&db, "o", 1, LATER).await.remove(0);
        assert_eq!(second.lease.attempt, 2);
        assert!(db.bury_job(second.lease, "y".repeat(999), LATER).await.unwrap());
        let dead = JobQuery { state: Some(JobState::Dead), limit: 9, ..JobQuery::default() };
        let listed = db.jobs(dead).await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].last_error.as_ref().unwrap().len(), 300);
        assert!(take(&db, "o", 1, UnixMillis(i64::MAX)).await.is_empty());
        assert_eq!(db.retry_job(id, NOW).await.unwrap(), Touched::Done);
        let third = take(&db, "o", 1, NOW).await.remove(0);
        assert_eq!(third.lease.attempt, 1);
        assert!(db.complete_job(third.lease, JobEffect::Nothing, NOW).await.unwrap());
        assert_eq!(db.retry_job(id, NOW).await.unwrap(), Touched::Refused(JobState::Done));
        assert_eq!(db.remove_job(id).await.unwrap(), Touched::Done);
        assert_eq!(db.remove_job(id).await.unwrap(), Touched::Unknown);
        assert_eq!(db.retry_job(id, NOW).await.unwrap(), Touched::Unknown);
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_is_given_back_in_good_order_does_not_count_as_an_attempt() {
    for test in TestDb::each() {
        let db = test.open();
        for key in ["a", "b"] {
            db.enqueue_job(job(key, 0)).await.unwrap();
        }
        take(&db, "one", 1, NOW).await;
        take(&db, "two", 1, NOW).await;
        assert_eq!(db.release_jobs("one".into(), NOW).await.unwrap(), 1);
        assert_eq!(take(&db, "three", 9, NOW).await[0].lease.attempt, 1);
        // After a process that died: it may have been the job that killed it.
        assert_eq!(db.reclaim_jobs(NOW).await.unwrap(), 2);
        let again = take(&db, "four", 9, NOW).await;
        assert_eq!(again.iter().map(|job| job.lease.attempt).collect::<Vec<_>>(), [2, 2]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn the_outcome_tells_facts_from_the_database_and_the_rest_from_the_model() {
    for test in TestDb::each() {
        let db = test.open();
        let booked = Outcome { appointment_booked: true, lead_captured: true, ..Outcome::default() };
        call(&db, "CA1", true, EndReason::Completed, booked).await;
        let lease = take(&db, "o", 1, NOW).await.remove(0).lease;
        let insight = Insight {
            intent: Intent::Question,
            sentiment: Sentiment::Positive,
            lead_name: Some("Ann".into()),
            message: Some("Nothing was booked.".into()),
            follow_up: None,
        };
        let effect = JobEffect::Summary {
            sid: "CA1".into(),
            text: "Ann asked.".into(),
            insight: Some(insight),
            model: "host/m".into(),
            used: vec![used(3, 5), used(4, 6)],
        };
        assert!(db.complete_job(lease, effect, LATER).await.unwrap());
        let call = db.call_overview("CA1".into()).await.unwrap().unwrap();
        let stored = db.call_outcome(call.id).await.unwrap().unwrap();
        assert_eq!(db.call_usage(call.id).await.unwrap(), [used(7, 11)]);
        assert_eq!(db.spent(UnixMillis(0), UnixMillis(86_400_000)).await.unwrap(), 11);
        assert_eq!((stored.model.as_str(), stored.at), ("host/m", LATER));
        assert_eq!(
            stored.outcome,
            json!({
                "intent": "question", "sentiment": "positive", "booked": true, "appointment_ids": [],
                "lead": {"captured": true, "customer_id": null, "name": "Ann"},
                "message": {"taken": false, "text": "Nothing was booked."},
                "transferred": false, "follow_up": {"due": false, "text": null},
            })
        );
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_call_is_put_on_the_call_back_list_once_and_not_beside_its_own_message() {
    for test in TestDb::each() {
        let db = test.open();
        for sid in ["CA1", "CA2"] {
            call(&db, sid, true, EndReason::Lost, Outcome::default()).await;
        }
        let (sid, at) = (CallSid::from("CA2"), NOW);
        let text = "Ring me.".into();
        db.write(Write::Message { key: None, sid, at, name: None, phone: None, text }).await.unwrap();
        for job in take(&db, "o", 9, NOW).await {
            if job.kind == JobKind::CallBack {
                let sid = CallSid::from(job.payload["call_sid"].as_str().unwrap());
                let effect = JobEffect::CallBack { sid, text: "It broke off.".into(), quotes: true };
                assert!(db.complete_job(job.lease, effect, LATER).await.unwrap());
            }
        }
        let listed = db.messages(9).await.unwrap();
        let mut told: Vec<(&str, &str, Option<&str>)> =
            listed.iter().map(|m| (m.call.as_str(), m.text.as_str(), m.phone.as_deref())).collect();
        told.sort_unstable();
        assert_eq!(told, [("CA1", "It broke off.", Some("+12025550143")), ("CA2", "Ring me.", None)]);
        assert!(db.call_overview("CA1".into()).await.unwrap().unwrap().outcome.follow_up);
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_was_erased_while_a_job_was_at_it_does_not_come_back() {
    for test in TestDb::each() {
        let db = test.open();
        call(&db, "CA1", true, EndReason::Lost, Outcome::default()).await;
        let taken = take(&db, "o", 9, NOW).await;
        assert_eq!(taken.len(), 2);
        db.read(|conn| {
            diesel::delete(crate::db::schema::turns::table).execute(conn)?;
            diesel::update(calls::table).set(calls::summary_state.eq("none")).execute(conn)?;
            Ok(())
        })
        .await
        .unwrap();
        for job in taken {
            let sid = CallSid::from("CA1");
            let effect = match job.kind {
                JobKind::Summary => JobEffect::Summary {
                    sid,
                    text: "Ann.".into(),
                    insight: None,
                    model: "m".into(),
                    used: vec![],
                },
                _ => JobEffect::CallBack { sid, text: "Ann said it.".into(), quotes: true },
            };
            assert!(db.complete_job(job.lease, effect, LATER).await.unwrap());
        }
        let stored = db.call_overview("CA1".into()).await.unwrap().unwrap();
        assert_eq!((stored.summary, db.messages(9).await.unwrap().len()), (None, 0));
        assert_eq!(db.call_outcome(stored.id).await.unwrap(), None);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_summary_that_is_given_up_is_failed_and_pending_again_when_it_is_retried() {
    use crate::domain::call::SummaryState;
    for test in TestDb::each() {
        let db = test.open();
        for sid in ["CA1", "CA2"] {
            call(&db, sid, true, EndReason::Lost, Outcome::default()).await;
        }
        let stands = async |sid: &str| db.call_overview(sid.into()).await.unwrap().unwrap().summary_state;
        let taken = take(&db, "o", 9, NOW).await;
        assert_eq!(taken.len(), 4);
        let old = taken.clone();
        for job in taken.into_iter().filter(|job| job.key.ends_with("CA1")) {
            assert!(db.bury_job(job.lease, "model.away".into(), LATER).await.unwrap());
        }
        assert_eq!((stands("CA1").await, stands("CA2").await), (SummaryState::Failed, SummaryState::Pending));
        let id = old.iter().find(|job| job.key == "summary:CA1").unwrap().lease.id;
        assert_eq!(db.retry_job(id, LATER).await.unwrap(), Touched::Done);
        assert_eq!(stands("CA1").await, SummaryState::Pending);
        // An attempt of before has no say any more.
        let lease = old.into_iter().find(|job| job.lease.id == id).unwrap().lease;
        assert!(!db.bury_job(lease, "late".into(), LATER).await.unwrap());
        assert_eq!(stands("CA1").await, SummaryState::Pending);
        let again = take(&db, "o", 9, LATER).await.into_iter().find(|job| job.lease.id == id).unwrap();
        let effect = JobEffect::Summary {
            sid: "CA1".into(),
            text: "A haircut.".into(),
            insight: None,
            model: "m".into(),
            used: vec![],
        };
        assert!(db.complete_job(again.lease, effect, LATER).await.unwrap());
        assert_eq!(stands("CA1").await, SummaryState::Done);
        assert_eq!(db.retry_job(id, LATER).await.unwrap(), Touched::Refused(JobState::Done));
        assert_eq!(stands("CA1").await, SummaryState::Done);
        db.shutdown().await;
    }
}

#[actix::test]
async fn deleting_the_job_of_a_summary_says_that_none_is_due() {
    for test in TestDb::each() {
        let db = test.open();
        call(&db, "CA1", true, EndReason::Completed, Outcome::default()).await;
        let id = db.jobs(JobQuery { limit: 1, ..JobQuery::default() }).await.unwrap()[0].id;
        assert_eq!(db.remove_job(id).await.unwrap(), Touched::Done);
        let call = db.call_overview("CA1".into()).await.unwrap().unwrap();
        assert_eq!(call.summary_state, crate::domain::call::SummaryState::None);
        db.shutdown().await;
    }
}

#[actix::test]
async fn jobs_are_listed_by_state_and_page_by_page() {
    for test in TestDb::each() {
        let db = test.open();
        for n in 0..5 {
            db.enqueue_job(job(&format!("k{n}"), n)).await.unwrap();
        }
        take(&db, "o", 2, NOW).await;
        let mut query = JobQuery { state: Some(JobState::Queued), limit: 2, ..JobQuery::default() };
        let first = db.jobs(query).await.unwrap();
        query.below = Some(first[1].id);
        let second = db.jobs(query).await.unwrap();
        let keys = |jobs: &[StoredJob]| jobs.iter().map(|job| job.key.clone()).collect::<Vec<_>>();
        assert_eq!((keys(&first), keys(&second)), (vec!["k4".into(), "k3".into()], vec!["k2".to_owned()]));
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_is_older_than_its_time_goes_and_the_rest_stays() {
    for test in TestDb::each() {
        let db = test.open();
        call(&db, "CA1", true, EndReason::Completed, Outcome::default()).await;
        for (sid, at) in [("CA1", 5), ("CA2", 7)] {
            let event = crate::domain::audit::AuditEvent::new("x", json!({}));
            db.write(Write::Event { sid: sid.into(), at: UnixMillis(at), event }).await.unwrap();
        }
        let old = take(&db, "o", 1, NOW).await.remove(0).lease;
        db.complete_job(old, JobEffect::Nothing, NOW).await.unwrap();
        assert_eq!(db.delete_aged(Aged::Events, UnixMillis(6)).await.unwrap(), 1);
        assert_eq!(db.delete_aged(Aged::Events, UnixMillis(6)).await.unwrap(), 0);
        assert_eq!(db.delete_aged(Aged::Jobs, NOW).await.unwrap(), 0);
        assert_eq!(db.delete_aged(Aged::Jobs, LATER).await.unwrap(), 1);
        assert_eq!(db.delete_aged(Aged::Holds, LATER).await.unwrap(), 0);
        assert_eq!(db.delete_aged(Aged::Calls, NOW).await.unwrap(), 0);
        assert_eq!(db.delete_aged(Aged::Calls, LATER).await.unwrap(), 1);
        let counts = db.counts().await.unwrap();
        assert_eq!((counts.calls, counts.turns, counts.events), (0, 0, 1));
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_hold_that_lapsed_is_cleared_away_and_a_live_one_is_not() {
    for test in TestDb::each() {
        let db = test.open();
        for (call, start, until) in [("CA1", 0, 1_000), ("CA2", 3_600_000, 9_000)] {
            let hold = crate::db::HoldRequest {
                call: call.into(),
                epoch: Epoch(1),
                staff: "Jay".into(),
                starts_at: UnixMillis(start),
                minutes: 10,
                until: UnixMillis(until),
                now: UnixMillis(0),
            };
            assert!(db.hold(hold).await.unwrap());
        }
        assert_eq!(db.delete_aged(Aged::Holds, UnixMillis(5_000)).await.unwrap(), 2);
        assert_eq!(db.release_holds("CA2".into()).await.unwrap(), 2);
        db.shutdown().await;
    }
}
