use super::*;
use crate::db::tests::{TestDb, admitted, caller_turn, facts, replica};
use crate::db::{
    BookOutcome, BookRequest, Database, HoldRequest, JobQuery, NewAppointment, NewJob, StaffOutcome, Write,
};
use crate::domain::audit::AuditEvent;
use crate::domain::call::{EndReason, Outcome};
use crate::domain::job::JobKind;
use crate::domain::turn::ResumeState;
use crate::domain::usage::{Item, Used};
use diesel::connection::SimpleConnection;
use futures_util::future::join_all;
use serde_json::json;

const LEASE: Duration = Duration::from_secs(6);
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn sid() -> CallSid {
    CallSid::from("CA1")
}

fn presence(db: &Database) -> Presence {
    Presence { id: db.replica().clone(), version: "1.2.3".into(), calls: 7, draining: false }
}

fn turn(epoch: u32, n: u32) -> Write {
    Write::Turn { sid: sid(), epoch: Epoch(epoch), turn: caller_turn(n, "hello") }
}

fn ended() -> Write {
    let (at, outcome) = (UnixMillis(1_100_000), Outcome::default());
    Write::CallEnded { sid: sid(), at, reason: EndReason::Completed, outcome }
}

fn booking(call: &str, epoch: u32, start: i64) -> BookRequest {
    BookRequest {
        call: call.into(),
        epoch: Epoch(epoch),
        customer_id: None,
        service: "Haircut".into(),
        staff: "Marcus".into(),
        starts_at: UnixMillis(NOW.0 + start * 60_000),
        minutes: 30,
        buffer_minutes: 0,
        now: NOW,
    }
}

async fn sql(db: &Database, text: String) {
    db.read(move |conn| Ok(conn.batch_execute(&text)?)).await.unwrap();
}

/// Has a replica not been heard of for longer.
async fn silence(db: &Database, of: &Database, by: Duration) {
    let set = format!("heartbeat_ms = heartbeat_ms - {}", by.as_millis());
    sql(db, format!("UPDATE replicas SET {set} WHERE id = '{}'", of.replica())).await;
}

async fn owner(db: &Database, sid: &str) -> Ownership {
    db.owner_of(sid.into()).await.unwrap().unwrap()
}

async fn close(all: impl IntoIterator<Item = Database>) {
    for db in all {
        db.shutdown().await;
    }
}

#[actix::test]
async fn replicas_hear_of_each_other_and_their_ages_are_by_the_databases_clock() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        let alone = a.heartbeat(presence(&a)).await.unwrap();
        assert_eq!(alone.iter().map(|p| &p.id).collect::<Vec<_>>(), [a.replica()]);
        silence(&a, &a, Duration::from_secs(9)).await;
        let draining = Presence { draining: true, calls: 3, ..presence(&b) };
        let peers = b.heartbeat(draining).await.unwrap();
        let of = |db: &Database| peers.iter().find(|p| p.id == *db.replica()).unwrap();
        assert_eq!((peers.len(), of(&b).calls, of(&b).draining), (2, 3, true));
        assert_eq!((of(&a).calls, of(&a).draining), (7, false));
        assert!(of(&b).age < Duration::from_secs(1), "{peers:?}");
        assert!((9..20).contains(&of(&a).age.as_secs()), "{peers:?}");

        // Heard of again, it is as young as ever, and one row still.
        let peers = a.heartbeat(presence(&a)).await.unwrap();
        assert_eq!(peers.len(), 2);
        assert!(peers.iter().all(|p| p.age < Duration::from_secs(5)), "{peers:?}");
        close([a, b]).await;
    }
}

#[actix::test]
async fn whose_a_call_is_can_be_asked_of_anybody() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        assert_eq!(b.owner_of(sid()).await.unwrap(), None);
        a.write(admitted("CA1", 1)).await.unwrap();
        let known = owner(&b, "CA1").await;
        assert_eq!(
            (known.replica.as_ref(), known.age),
            (Some(a.replica()), None),
            "it has never been heard of"
        );
        assert_eq!((known.epoch, known.ended, known.onward), (Epoch(1), false, None));

        a.heartbeat(presence(&a)).await.unwrap();
        let onward = json!({ "dial": { "say": "One moment." } });
        let decided = |onward| Write::Onward { sid: sid(), epoch: Epoch(1), onward };
        a.write(decided(Some(onward.clone()))).await.unwrap();
        let known = owner(&b, "CA1").await;
        assert!(known.age.unwrap() < Duration::from_secs(5));
        assert_eq!(known.onward, Some(onward));
        a.write(decided(None)).await.unwrap();
        assert_eq!(owner(&b, "CA1").await.onward, None);
        a.write(ended()).await.unwrap();
        assert!(owner(&b, "CA1").await.ended);
        close([a, b]).await;
    }
}

#[actix::test]
async fn of_many_calls_it_is_told_which_are_open_and_anothers() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        for (db, sid) in [(&a, "CA1"), (&a, "CA2"), (&b, "CA3")] {
            db.write(admitted(sid, 1)).await.unwrap();
        }
        let over = Write::CallEnded {
            sid: "CA2".into(),
            at: UnixMillis(1_100_000),
            reason: EndReason::Completed,
            outcome: Outcome::default(),
        };
        a.write(over).await.unwrap();
        let all: Vec<CallSid> = (0..1_200).map(|n| CallSid::new(format!("CA{n}"))).collect();
        let told = async |db: &Database| {
            let anothers = db.anothers(all.clone()).await.unwrap();
            anothers.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!((told(&a).await, told(&b).await), (vec!["CA3".to_owned()], vec!["CA1".to_owned()]));
        // What is nobody's is nobody else's.
        b.leave().await.unwrap();
        assert_eq!(told(&a).await, Vec::<String>::new());
        assert!(a.anothers(Vec::new()).await.unwrap().is_empty());
        close([a, b]).await;
    }
}

#[actix::test]
async fn of_many_who_take_a_call_over_at_once_one_gets_it() {
    for test in TestDb::each() {
        let all: Vec<Database> = (0..6).map(|_| test.open()).collect();
        all[0].write(admitted("CA1", 1)).await.unwrap();
        for epoch in 1..6 {
            let race = all
                .iter()
                .flat_map(|db| [db.take_over(sid(), Epoch(epoch)), db.take_over(sid(), Epoch(epoch))]);
            let won = join_all(race).await;
            let winners: Vec<usize> = won
                .iter()
                .enumerate()
                .filter(|(_, w)| w.as_ref().unwrap().is_some())
                .map(|(i, _)| i / 2)
                .collect();
            let [winner] = winners[..] else { panic!("{winners:?}") };
            let known = owner(&all[0], "CA1").await;
            assert_eq!(
                (known.epoch, known.replica.as_ref()),
                (Epoch(epoch + 1), Some(all[winner].replica()))
            );
        }
        let taken = all[3].take_over(sid(), Epoch(6)).await.unwrap().unwrap();
        assert_eq!((taken.facts.sid, taken.facts.epoch), (sid(), Epoch(7)));
        all[3].write(ended()).await.unwrap();
        assert!(all[1].take_over(sid(), Epoch(7)).await.unwrap().is_none(), "what is over stays so");
        close(all).await;
    }
}

#[actix::test]
async fn the_calls_of_a_replica_that_lapsed_go_to_one_of_many_and_its_jobs_to_anybody() {
    for test in TestDb::each() {
        let all: Vec<Database> = (0..5).map(|_| test.open()).collect();
        let (lost, others) = all.split_first().unwrap();
        lost.heartbeat(presence(lost)).await.unwrap();
        for n in 1..=20 {
            lost.write(admitted(&format!("CA{n}"), n)).await.unwrap();
        }
        lost.write(ended()).await.unwrap();
        others[0].write(admitted("CA99", 1)).await.unwrap();
        let job = NewJob {
            kind: JobKind::Retention,
            key: "retention:1".into(),
            payload: json!({}),
            due: NOW,
            now: NOW,
            place: None,
        };
        assert!(lost.enqueue_job(job).await.unwrap());
        let later = UnixMillis(NOW.0 + 120_000);
        let leased = lost.lease_jobs(lost.replica().to_string(), None, 9, NOW, later).await.unwrap();
        assert_eq!(leased.jobs.len(), 1);

        let early = others[0].take_over_lapsed(lost.replica().clone(), LEASE).await.unwrap();
        assert!(early.is_empty(), "it was heard of just now");
        silence(lost, lost, LEASE * 2).await;
        let race =
            others.iter().flat_map(|db| (0..3).map(|_| db.take_over_lapsed(lost.replica().clone(), LEASE)));
        let won: Vec<Vec<CallOverview>> = join_all(race).await.into_iter().map(Result::unwrap).collect();
        let winner = won.iter().position(|calls| !calls.is_empty()).unwrap();
        assert_eq!(won.iter().filter(|calls| !calls.is_empty()).count(), 1);
        let mut taken: Vec<(String, Epoch)> =
            won[winner].iter().map(|call| (call.facts.sid.to_string(), call.facts.epoch)).collect();
        taken.sort();
        let mut expected: Vec<(String, Epoch)> = (2..=20).map(|n| (format!("CA{n}"), Epoch(n + 1))).collect();
        expected.sort();
        assert_eq!(taken, expected, "all that are open, one epoch later");
        let winner = &others[winner / 3];
        assert_eq!(owner(winner, "CA2").await.replica.as_ref(), Some(winner.replica()));
        assert_eq!(owner(winner, "CA99").await.replica.as_ref(), Some(others[0].replica()));
        let peers = winner.heartbeat(presence(winner)).await.unwrap();
        assert!(peers.iter().all(|peer| peer.id != *lost.replica()), "{peers:?}");

        let jobs = winner.jobs(JobQuery { limit: 9, ..JobQuery::default() }).await.unwrap();
        let free = jobs.iter().find(|job| job.key == "retention:1").unwrap();
        assert_eq!((free.state, free.lease_owner.as_ref(), free.attempts), (JobState::Queued, None, 1));

        // Only thought dead, it is there again, without its calls.
        let peers = lost.heartbeat(presence(lost)).await.unwrap();
        assert!(peers.iter().any(|peer| peer.id == *lost.replica()));
        let stale = Write::Turn { sid: "CA2".into(), epoch: Epoch(2), turn: caller_turn(1, "woken") };
        assert!(matches!(lost.write(stale).await, Err(DbError::StaleEpoch { .. })));
        close(all).await;
    }
}

#[actix::test]
async fn a_replica_that_is_heard_of_in_time_keeps_its_calls() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        a.write(admitted("CA1", 1)).await.unwrap();
        for _ in 0..20 {
            a.heartbeat(presence(&a)).await.unwrap();
            silence(&a, &a, LEASE * 2).await;
            let (beat, taken) =
                tokio::join!(a.heartbeat(presence(&a)), b.take_over_lapsed(a.replica().clone(), LEASE));
            beat.unwrap();
            let known = owner(&a, "CA1").await;
            match taken.unwrap().first() {
                // Too late by a hair: it is there again, and the call is not its own any more.
                Some(call) => {
                    assert_eq!(known.replica.as_ref(), Some(b.replica()));
                    b.write(ended()).await.unwrap();
                    assert_eq!(call.facts.sid, sid());
                    break;
                }
                None => assert_eq!((known.replica.as_ref(), known.epoch), (Some(a.replica()), Epoch(1))),
            }
        }
        assert!(
            a.take_over_lapsed(a.replica().clone(), Duration::ZERO).await.unwrap().is_empty(),
            "nor from itself"
        );
        close([a, b]).await;
    }
}

#[actix::test]
async fn who_leaves_lets_go_of_calls_and_jobs_once_all_is_written() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        a.heartbeat(presence(&a)).await.unwrap();
        a.record(admitted("CA1", 1)).unwrap();
        a.record(turn(1, 1)).unwrap();
        a.leave().await.unwrap();
        let known = owner(&b, "CA1").await;
        assert_eq!((known.replica, known.age, known.epoch), (None, None, Epoch(1)));
        assert_eq!(b.turns(sid()).await.unwrap().len(), 1);
        assert!(b.heartbeat(presence(&b)).await.unwrap().iter().all(|peer| peer.id != *a.replica()));
        // Nobody has to wait.
        assert!(b.take_over(sid(), Epoch(1)).await.unwrap().is_some());
        close([a, b]).await;
    }
}

#[actix::test]
async fn what_is_written_of_somebody_elses_call_is_refused_and_its_writer_hears_of_it() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        let mut fenced = a.fenced().unwrap();
        assert!(a.fenced().is_none(), "it is taken once");
        a.write(admitted("CA1", 1)).await.unwrap();
        a.write(turn(1, 1)).await.unwrap();
        // Handed over at the same epoch.
        b.write(Write::CallTaken { facts: facts("CA1", 1) }).await.unwrap();
        let resume = |epoch| {
            let state = ResumeState { breaks: 9, ..ResumeState::default() };
            Write::Resume { sid: sid(), epoch: Epoch(epoch), state }
        };
        let onward = |epoch| Write::Onward { sid: sid(), epoch: Epoch(epoch), onward: Some(json!("dial")) };
        for write in [turn(1, 2), resume(1), onward(1), ended(), admitted("CA1", 1)] {
            let kind = format!("{write:?}");
            let refused = a.write(write).await;
            let Err(DbError::NotOurs { owner, epoch: Epoch(1) }) = &refused else {
                panic!("{kind}: {refused:?}")
            };
            assert_eq!(owner, b.replica(), "{kind}");
            assert_eq!(fenced.recv().await, Some((sid(), Epoch(1))), "{kind}");
        }
        // Taken over without being asked.
        let all = [turn(1, 2), resume(1), onward(1), ended(), admitted("CA1", 1)];
        assert!(b.take_over(sid(), Epoch(1)).await.unwrap().is_some());
        for write in all {
            let kind = format!("{write:?}");
            let refused = a.write(write).await;
            let known = matches!(
                refused,
                Err(DbError::StaleEpoch { current: Epoch(2), given: Epoch(1) } | DbError::NotOurs { .. })
            );
            assert!(known, "{kind}: {refused:?}");
            assert!(fenced.recv().await.is_some_and(|(call, _)| call == sid()), "{kind}");
        }
        assert_eq!(a.stats().failed, 0, "what was another's to write is not lost");
        let call = b.call_overview(sid()).await.unwrap().unwrap();
        assert_eq!((call.ended_at, call.breaks), (None, 0));
        assert_eq!(b.turns(sid()).await.unwrap().len(), 1);
        assert_eq!(owner(&b, "CA1").await.onward, None);

        // What happened and what was said to us is kept, whoever writes it.
        let used = vec![Used { item: Item::SttMs, model: "m".into(), amount: 5, micros: 1 }];
        for write in [
            Write::Event { sid: sid(), at: NOW, event: AuditEvent::new("call.let_go", json!({})) },
            Write::Message {
                key: None,
                sid: sid(),
                at: NOW,
                name: None,
                phone: None,
                text: "Ring me.".into(),
            },
            Write::Usage { sid: sid(), at: NOW, used },
        ] {
            a.write(write).await.unwrap();
        }
        assert_eq!(b.messages(9).await.unwrap().len(), 1);
        for write in [turn(2, 2), resume(2), onward(2), ended(), ended()] {
            b.write(write).await.unwrap();
        }
        assert!(a.write(ended()).await.is_err());
        let events = b.events(sid()).await.unwrap();
        let codes: Vec<_> = events.iter().map(|stored| stored.event.code.as_str()).collect();
        assert_eq!(codes, ["call.let_go", "call.ended"], "a call ends once");
        assert!(b.fenced().unwrap().try_recv().is_err(), "who has the call is refused nothing");
        close([a, b]).await;
    }
}

#[actix::test]
async fn a_refused_write_in_a_batch_takes_no_other_with_it() {
    for test in TestDb::each() {
        let (a, b) = (test.open_with(|config| config.gather_ms = 50), test.open());
        a.write(admitted("CA1", 1)).await.unwrap();
        b.take_over(sid(), Epoch(1)).await.unwrap().unwrap();
        a.record(admitted("CA2", 1)).unwrap();
        a.record(turn(1, 1)).unwrap();
        a.record(Write::Turn { sid: "CA2".into(), epoch: Epoch(1), turn: caller_turn(1, "mine") }).unwrap();
        a.flush().await.unwrap();
        assert_eq!(a.turns("CA2".into()).await.unwrap().len(), 1);
        assert!(a.turns(sid()).await.unwrap().is_empty());
        assert_eq!((a.stats().queued, a.stats().failed), (0, 0), "it is neither tried for ever nor lost");
        close([a, b]).await;
    }
}

#[actix::test]
async fn a_call_is_handed_over_before_or_after_its_admission_is_written() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        // The owner's own write is still on its way: it comes too late, and does no harm.
        b.write(Write::CallTaken { facts: facts("CA1", 1) }).await.unwrap();
        assert!(matches!(a.write(admitted("CA1", 1)).await, Err(DbError::NotOurs { .. })));
        a.write(Write::CallAnswered { sid: sid(), at: UnixMillis(1_002_000) }).await.unwrap();
        assert_eq!(owner(&b, "CA1").await.replica.as_ref(), Some(b.replica()));
        assert_eq!(b.counts().await.unwrap().calls, 1);
        // The next stream claims it.
        b.write(admitted("CA1", 2)).await.unwrap();
        assert_eq!(owner(&b, "CA1").await.epoch, Epoch(2));
        let late = a.write(Write::CallTaken { facts: facts("CA1", 1) }).await;
        assert!(matches!(late, Err(DbError::StaleEpoch { .. })), "{late:?}");
        close([a, b]).await;
    }
}

#[actix::test]
async fn who_claims_a_call_with_a_newer_epoch_has_it_even_if_its_admission_comes_behind() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        a.write(admitted("CA1", 1)).await.unwrap();
        b.write(turn(2, 1)).await.unwrap();
        let known = owner(&a, "CA1").await;
        assert_eq!((known.epoch, known.replica.as_ref()), (Epoch(2), Some(b.replica())));
        assert!(matches!(a.write(turn(1, 2)).await, Err(DbError::StaleEpoch { .. })));
        assert!(matches!(a.write(turn(2, 2)).await, Err(DbError::NotOurs { .. })));
        b.write(admitted("CA1", 2)).await.unwrap();
        close([a, b]).await;
    }
}

#[actix::test]
async fn a_process_that_was_frozen_does_not_book_when_it_wakes() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        let mut fenced = a.fenced().unwrap();
        a.write(admitted("CA1", 1)).await.unwrap();
        let hold = |epoch, start: i64| HoldRequest {
            call: sid(),
            epoch: Epoch(epoch),
            staff: "Marcus".into(),
            starts_at: UnixMillis(NOW.0 + start * 60_000),
            minutes: 30,
            until: UnixMillis(NOW.0 + 180_000),
            now: NOW,
        };
        assert!(a.hold(hold(1, 0)).await.unwrap());
        assert!(matches!(a.book(booking("CA1", 1, 60)).await.unwrap(), BookOutcome::Booked(_)));
        b.take_over(sid(), Epoch(1)).await.unwrap().unwrap();

        assert!(matches!(a.book(booking("CA1", 1, 120)).await, Err(DbError::StaleEpoch { .. })));
        assert_eq!(fenced.recv().await, Some((sid(), Epoch(1))));
        assert!(matches!(a.book(booking("CA1", 1, 60)).await, Err(DbError::StaleEpoch { .. })), "nor again");
        assert!(matches!(a.hold(hold(1, 240)).await, Err(DbError::StaleEpoch { .. })));
        assert!(matches!(a.book(booking("CA1", 2, 120)).await, Err(DbError::NotOurs { .. })));
        assert_eq!(a.release_holds(sid()).await.unwrap(), 0, "the new owner has offered them too");
        assert_eq!(b.counts().await.unwrap().appointments, 1);

        let same = b.book(booking("CA1", 2, 60)).await.unwrap();
        assert!(matches!(same, BookOutcome::Already(_)), "{same:?}");
        assert!(b.hold(hold(2, 240)).await.unwrap());
        assert!(b.release_holds(sid()).await.unwrap() > 0);
        // Staff have no call.
        let new = NewAppointment {
            customer_id: None,
            service: "Haircut".into(),
            staff: "Marcus".into(),
            starts_at: UnixMillis(NOW.0 + 480 * 60_000),
            minutes: 30,
            buffer_minutes: 0,
            notes: None,
        };
        assert!(matches!(a.create_appointment(new, NOW).await.unwrap(), StaffOutcome::Done(_)));
        close([a, b]).await;
    }
}

#[actix::test]
async fn a_booking_and_a_takeover_at_once_leave_one_appointment_at_most_and_never_a_late_one() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        for n in 0..20 {
            let call = format!("CA{n}");
            a.write(admitted(&call, 1)).await.unwrap();
            let at = n * 60;
            let (booked, taken) =
                tokio::join!(a.book(booking(&call, 1, at)), b.take_over(call.as_str().into(), Epoch(1)));
            assert!(taken.unwrap().is_some());
            let again = b.book(booking(&call, 2, at)).await.unwrap();
            match booked {
                Ok(BookOutcome::Booked(row)) => assert_eq!(again, BookOutcome::Already(row)),
                Err(DbError::StaleEpoch { .. }) => {
                    assert!(matches!(again, BookOutcome::Booked(_)), "{again:?}")
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(a.counts().await.unwrap().appointments, 20);
        close([a, b]).await;
    }
}

#[actix::test]
async fn of_two_callers_on_two_replicas_who_want_one_time_one_gets_it() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        for n in 0..20 {
            let (one, two) = (format!("CA{n}a"), format!("CA{n}b"));
            a.write(admitted(&one, 1)).await.unwrap();
            b.write(admitted(&two, 1)).await.unwrap();
            let (x, y) =
                tokio::join!(a.book(booking(&one, 1, n * 60)), b.book(booking(&two, 1, n * 60 + 10)));
            let both = [x.unwrap(), y.unwrap()];
            assert_eq!(both.iter().filter(|o| matches!(o, BookOutcome::Booked(_))).count(), 1, "{both:?}");
            assert_eq!(both.iter().filter(|o| **o == BookOutcome::Taken).count(), 1, "{both:?}");
        }
        assert_eq!(a.counts().await.unwrap().appointments, 20);
        close([a, b]).await;
    }
}

#[actix::test]
async fn a_process_that_froze_in_the_middle_of_a_write_holds_nobody_up() {
    for test in TestDb::each().into_iter().filter(|test| test.config.sqlite_path().is_none()) {
        let (a, b) = (test.open(), test.open());
        a.heartbeat(presence(&a)).await.unwrap();
        a.write(admitted("CA1", 1)).await.unwrap();
        silence(&b, &a, LEASE * 2).await;
        let mut frozen = test.connection();
        frozen.batch_execute("BEGIN; UPDATE calls SET breaks = 1; UPDATE replicas SET calls = 9").unwrap();
        let id = a.replica().clone();
        let taken = tokio::time::timeout(Duration::from_secs(20), b.take_over_lapsed(id, LEASE)).await;
        assert_eq!(taken.unwrap().unwrap().len(), 1);
        assert!(frozen.batch_execute("COMMIT").is_err(), "what it was about to write is undone");
        close([a, b]).await;
    }
}

#[actix::test]
async fn the_version_before_writes_calls_that_are_nobodys() {
    for test in TestDb::each() {
        let (a, b) = (test.open(), test.open());
        let columns =
            "call_sid, admission, kind, direction, caller_kind, business_number, status, started_ms, epoch";
        let values = "'CA1', 'adm', 'twilio', 'inbound', 'withheld', '', 'ringing', 1000000, 1";
        sql(&a, format!("INSERT INTO calls ({columns}) VALUES ({values})")).await;
        let known = owner(&a, "CA1").await;
        assert_eq!((known.replica, known.epoch), (None, Epoch(1)));
        // It fences by epochs, and so do we where a call is nobody's.
        a.write(turn(1, 1)).await.unwrap();
        b.take_over(sid(), Epoch(1)).await.unwrap().unwrap();
        assert!(matches!(a.write(turn(1, 2)).await, Err(DbError::StaleEpoch { .. })));
        // What it claims is its own, though it does not say so: the epoch is newer.
        sql(&a, "UPDATE calls SET epoch = 3 WHERE call_sid = 'CA1' AND epoch <= 3".into()).await;
        assert!(matches!(b.write(turn(2, 2)).await, Err(DbError::StaleEpoch { .. })));
        close([a, b]).await;
    }
}

#[actix::test]
async fn a_file_has_one_server_and_the_one_before_is_gone_at_once() {
    let test = TestDb::sqlite();
    let before = test.open();
    before.heartbeat(presence(&before)).await.unwrap();
    before.write(admitted("CA1", 1)).await.unwrap();
    let id = before.replica().clone();
    // Killed.
    drop(before);
    let next = test.open();
    let peers = next.heartbeat(presence(&next)).await.unwrap();
    assert!(peers.iter().any(|peer| peer.id == id && peer.age > LEASE), "{peers:?}");
    let taken = next.take_over_lapsed(id, LEASE).await.unwrap();
    assert_eq!((taken.len(), taken[0].facts.epoch), (1, Epoch(2)));
    next.shutdown().await;
}

#[actix::test]
async fn readers_without_end_keep_nobody_from_saying_that_they_are_there() {
    for test in TestDb::each() {
        let db = test.open_with(|config| config.pool = 1);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (begun, reading) = tokio::sync::oneshot::channel();
        let handle = db.handle();
        let reader = actix_rt::spawn(async move {
            let read = move |_: &mut AnyConnection| {
                let _ = begun.send(());
                let _ = released.recv();
                Ok(())
            };
            handle.read(read).await
        });
        reading.await.unwrap();
        assert_eq!(db.heartbeat(presence(&db)).await.unwrap().len(), 1);
        release.send(()).unwrap();
        reader.await.unwrap().unwrap();
        db.shutdown().await;
    }
}

#[test]
fn a_clock_that_goes_back_makes_nobody_older() {
    assert_eq!(age(5, 9), Duration::ZERO);
    assert_eq!(age(9, 5), Duration::from_millis(4));
    assert_eq!(replica().as_str().len(), 12);
}
