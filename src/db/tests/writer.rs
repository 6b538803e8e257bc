use super::{TestDb, admitted, caller_turn};
use crate::db::{AnyConnection, Database, DbError, DbHandle, DbRefused, Write};
use crate::domain::audit::AuditEvent;
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::time::UnixMillis;
use diesel::connection::SimpleConnection;
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use futures_util::future::join_all;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn job(job: impl Fn(&mut AnyConnection) -> Result<(), DbError> + Send + Sync + 'static) -> Write {
    Write::Test(Arc::new(job))
}

fn event(code: &str) -> Write {
    Write::Event {
        sid: CallSid::from("CA1"),
        at: UnixMillis(5),
        event: AuditEvent::new(code, serde_json::json!({"n": 1})),
    }
}

/// Keeps the writer busy until the sender is used or dropped; returns once it is.
async fn hold_up(db: &DbHandle) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (started, start) = tokio::sync::oneshot::channel();
    let inside = Mutex::new((Some(started), released));
    db.record(job(move |_| {
        let mut inside = inside.lock().unwrap();
        if let Some(started) = inside.0.take() {
            let _ = started.send(());
            let _ = inside.1.recv();
        }
        Ok(())
    }))
    .unwrap();
    start.await.unwrap();
    release
}

fn passing(text: &str) -> DbError {
    let info = Box::new(text.to_owned());
    DbError::Query(QueryError::DatabaseError(DatabaseErrorKind::SerializationFailure, info))
}

async fn codes(db: &DbHandle) -> Vec<String> {
    let events = db.events(CallSid::from("CA1")).await.unwrap();
    events.into_iter().map(|stored| stored.event.code).collect()
}

#[actix::test]
async fn writes_are_applied_in_the_order_they_were_queued() {
    for test in TestDb::each() {
        let db = test.open();
        for n in 0..600 {
            db.record(event(&format!("e.{n}"))).unwrap();
        }
        db.flush().await.unwrap();
        let expected: Vec<String> = (0..600).map(|n| format!("e.{n}")).collect();
        assert_eq!(codes(&db).await, expected);
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_waits_is_written_in_one_transaction() {
    for test in TestDb::each() {
        let db = test.open();
        let release = hold_up(&db).await;
        for n in 0..200 {
            db.record(event(&format!("e.{n}"))).unwrap();
        }
        assert_eq!(db.stats().queued, 201);
        release.send(()).unwrap();
        db.flush().await.unwrap();
        let stats = db.stats();
        assert_eq!((stats.batches, stats.written, stats.queued), (2, 201, 0));
        assert_eq!(codes(&db).await.len(), 200);
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_nobody_waits_for_is_gathered_and_written_by_itself() {
    for test in TestDb::each() {
        let db = test.open_with(|config| config.gather_ms = 1_000);
        for n in 0..50 {
            db.record(event(&format!("e.{n}"))).unwrap();
            // As if calls told of them one after the other.
            tokio::task::yield_now().await;
        }
        let written = async {
            while db.stats().queued > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), written).await.expect("all is written");
        let stats = db.stats();
        assert_eq!((stats.batches, stats.written), (1, 50));
        assert_eq!(codes(&db).await.len(), 50);
        db.shutdown().await;
    }
}

#[actix::test]
async fn somebody_who_waits_ends_the_gathering() {
    for test in TestDb::each() {
        let db = test.open_with(|config| config.gather_ms = 60_000);
        db.record(event("first")).unwrap();
        let began = tokio::time::Instant::now();
        db.write(event("second")).await.unwrap();
        assert!(began.elapsed() < std::time::Duration::from_secs(30));
        assert_eq!(codes(&db).await, ["first", "second"]);
        db.record(event("third")).unwrap();
        db.shutdown().await;
        assert!(began.elapsed() < std::time::Duration::from_secs(30), "nor does an end wait for it");
    }
}

#[actix::test]
async fn one_bad_write_of_a_batch_fails_alone() {
    for test in TestDb::each() {
        let db = test.open();
        let release = hold_up(&db).await;
        let answers = join_all([
            db.write(admitted("CA1", 1)),
            db.write(Write::CallCustomer { sid: CallSid::from("CA1"), epoch: Epoch(1), customer_id: 4_711 }),
            db.write(Write::Summary { sid: CallSid::from("CA-unknown"), text: "?".into() }),
            db.write(event("after")),
        ]);
        let (answers, ()) = tokio::join!(answers, async { release.send(()).unwrap() });
        assert!(answers[0].is_ok());
        assert!(matches!(
            answers[1],
            Err(DbError::Query(QueryError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)))
        ));
        assert!(matches!(&answers[2], Err(DbError::UnknownCall(sid)) if sid.as_str() == "CA-unknown"));
        assert!(answers[3].is_ok());
        let stats = db.stats();
        assert_eq!((stats.batches, stats.failed), (2, 2), "the savepoints sufficed");
        assert_eq!(codes(&db).await, ["after"]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_batch_that_fails_as_a_whole_is_replayed_and_nothing_is_written_twice() {
    for test in TestDb::each() {
        let db = test.open();
        let release = hold_up(&db).await;
        let answers = join_all([
            db.write(event("first")),
            db.write(job(|_| Err(DbError::Query(QueryError::AlreadyInTransaction)))),
            db.write(event("last")),
        ]);
        let (answers, ()) = tokio::join!(answers, async { release.send(()).unwrap() });
        assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(codes(&db).await, ["first", "last"]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_failure_that_passes_is_tried_again_before_what_comes_after_it() {
    for test in TestDb::each() {
        let db = test.open();
        let tries = Arc::new(AtomicU32::new(0));
        let counted = tries.clone();
        let write = db.write(job(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(passing("could not serialize access")),
            _ => Ok(()),
        }));
        db.record(event("after")).unwrap();
        let seen = Arc::new(Mutex::new(None));
        let note = seen.clone();
        let tried = tries.clone();
        db.record(job(move |_| {
            *note.lock().unwrap() = Some(tried.load(Ordering::SeqCst));
            Ok(())
        }))
        .unwrap();
        write.await.unwrap();
        db.flush().await.unwrap();
        assert_eq!(*seen.lock().unwrap(), Some(3));
        assert_eq!(codes(&db).await, ["after"]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_write_that_never_succeeds_is_given_up() {
    let test = TestDb::sqlite();
    let db = test.open();
    let answer = db.write(job(|_| Err(passing("deadlock detected")))).await;
    assert!(matches!(answer, Err(DbError::Query(_))));
    assert_eq!(db.stats().failed, 0, "whoever waited was told, and may offer it again");
    db.record(job(|_| Err(passing("deadlock detected")))).unwrap();
    db.flush().await.unwrap();
    assert_eq!(db.stats().failed, 1, "nobody has it any more");
    db.shutdown().await;
}

#[actix::test]
async fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
    let mut test = TestDb::sqlite();
    test.config.queue = 3;
    let db = test.open();
    let release = hold_up(&db).await;
    db.record(event("a")).unwrap();
    db.record(event("b")).unwrap();
    assert_eq!(db.record(event("c")), Err(DbRefused::Full));
    assert!(matches!(db.write(event("d")).await, Err(DbError::Full)));
    assert_eq!((db.stats().queued, db.stats().refused), (3, 1), "whoever waits is told");
    // What is kept and offered again is lost when it is given up.
    assert_eq!([db.offer(event("f")), db.offer(event("f"))], [Err(DbRefused::Full); 2]);
    assert_eq!(db.stats().refused, 1);
    db.lose(1);
    assert_eq!(db.stats().refused, 2);
    release.send(()).unwrap();
    db.flush().await.unwrap();
    db.write(event("e")).await.unwrap();
    assert_eq!(codes(&db).await, ["a", "b", "e"]);
    db.shutdown().await;
}

#[actix::test]
async fn a_panicking_write_is_answered_and_the_writer_goes_on() {
    for test in TestDb::each() {
        let db = test.open();
        let release = hold_up(&db).await;
        let answers = join_all([
            db.write(event("before")),
            db.write(job(|_| panic!("a bug in a write"))),
            db.write(event("after")),
        ]);
        let (answers, ()) = tokio::join!(answers, async { release.send(()).unwrap() });
        assert!(answers[0].is_ok() && answers[2].is_ok());
        assert!(matches!(answers[1], Err(DbError::Panicked)));
        db.write(event("later")).await.unwrap();
        assert_eq!(codes(&db).await, ["before", "after", "later"]);

        let read = db.read(|_| -> Result<(), DbError> { panic!("a bug in a read") }).await;
        assert!(matches!(read, Err(DbError::Panicked)));
        assert_eq!(db.counts().await.unwrap().events, 3);
        db.shutdown().await;
    }
}

#[actix::test]
async fn shutdown_writes_what_is_queued() {
    for test in TestDb::each() {
        let db = test.open();
        let release = hold_up(&db).await;
        for n in 0..500 {
            db.record(event(&format!("e.{n}"))).unwrap();
        }
        let handle = db.handle();
        let (..) = tokio::join!(db.shutdown(), async {
            // By now the end has begun: it was polled first.
            assert_eq!(handle.record(event("late")), Err(DbRefused::Closed));
            release.send(()).unwrap();
        });
        assert_eq!(handle.stats().queued, 0);
        let db = test.open();
        assert_eq!(codes(&db).await.len(), 500);
        db.shutdown().await;
    }
}

#[actix::test]
async fn only_the_owner_closes_and_then_everything_answers_closed() {
    let test = TestDb::sqlite();
    let db = test.open();
    let handle = db.handle();
    drop(handle.clone());
    handle.write(event("a")).await.unwrap();

    db.shutdown().await;
    assert_eq!(handle.record(event("b")), Err(DbRefused::Closed));
    assert!(matches!(handle.write(event("b")).await, Err(DbError::Closed)));
    assert!(matches!(handle.flush().await, Err(DbError::Closed)));
    assert!(matches!(handle.read(|_| Ok(())).await, Err(DbError::Closed)));
    assert!(matches!(handle.recent_calls(1).await, Err(DbError::Closed)));

    let db = test.open();
    let handle = db.handle();
    handle.write(event("c")).await.unwrap();
    drop(db);
    assert_eq!(handle.record(event("d")), Err(DbRefused::Closed));
}

#[actix::test]
async fn while_the_disk_is_full_who_waits_is_told_and_the_rest_is_kept_in_order() {
    for said in ["database or disk is full", "could not extend file: No space left on device"] {
        for test in TestDb::each() {
            let db = test.open();
            db.write(admitted("CA1", 1)).await.unwrap();
            let full = Arc::new(AtomicU32::new(1));
            let disk = Arc::clone(&full);
            db.record(job(move |_| match disk.load(Ordering::SeqCst) {
                0 => Ok(()),
                _ => {
                    let info = Box::new(said.to_owned());
                    Err(DbError::Query(QueryError::DatabaseError(DatabaseErrorKind::Unknown, info)))
                }
            }))
            .unwrap();
            db.record(event("a")).unwrap();
            db.record(event("b")).unwrap();
            // Far more often than a failure that passes is tried again.
            for _ in 0..3 {
                assert!(matches!(db.write(event("told")).await, Err(DbError::NotWritable(_))), "{said}");
                assert!(matches!(db.flush().await, Err(DbError::NotWritable(_))), "{said}");
                assert_eq!(db.stats().queued, 3);
            }
            full.store(0, Ordering::SeqCst);
            let room = async { while db.flush().await.is_err() {} };
            tokio::time::timeout(Duration::from_secs(30), room).await.expect("it goes on by itself");
            assert_eq!(codes(&db).await, ["a", "b"]);
        }
    }
}

#[actix::test]
async fn while_the_database_is_away_who_waits_is_told_and_the_rest_is_kept() {
    let mut test = TestDb::sqlite();
    test.config.wait_ms = 1_000;
    let db = test.open();
    // The writer makes its connection at its first write, and there is no such folder then.
    let (here, away) = (test.folder.join("data"), test.folder.join("away"));
    std::fs::rename(&here, &away).unwrap();
    db.record(admitted("CA1", 1)).unwrap();
    let turn = caller_turn(1, "hello");
    db.record(Write::Turn { sid: CallSid::from("CA1"), epoch: Epoch(1), turn }).unwrap();
    assert!(matches!(db.write(event("lost")).await, Err(DbError::Unavailable(_))));
    assert!(matches!(db.flush().await, Err(DbError::Unavailable(_))));
    assert_eq!((db.stats().queued, db.stats().failed), (2, 0), "nothing is lost");
    assert!(matches!(db.counts().await, Err(DbError::Unavailable(_))));

    std::fs::rename(&away, &here).unwrap();
    let back = async { while db.flush().await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
    assert_eq!(db.turns(CallSid::from("CA1")).await.unwrap().len(), 1);
    assert!(codes(&db).await.is_empty());
    assert_eq!(db.stats().queued, 0);
    db.shutdown().await;
}

#[actix::test]
async fn a_slow_read_makes_others_wait_no_longer_than_allowed() {
    let mut test = TestDb::sqlite();
    test.config.pool = 1;
    // Long enough for a connection to be made.
    test.config.wait_ms = 1_000;
    let db = test.open();
    let (release, released) = mpsc::channel::<()>();
    let (started, start) = tokio::sync::oneshot::channel();
    let slow = db.handle();
    let slow = actix::spawn(async move {
        slow.read(move |_| {
            let _ = started.send(());
            let _ = released.recv();
            Ok(())
        })
        .await
    });
    start.await.unwrap();
    assert!(matches!(db.counts().await, Err(DbError::Overloaded)));
    db.write(event("a")).await.unwrap();
    release.send(()).unwrap();
    slow.await.unwrap().unwrap();
    assert_eq!(db.counts().await.unwrap().events, 1);
    db.shutdown().await;
}

#[test]
fn without_an_actix_system_there_is_an_error_and_no_panic() {
    let test = TestDb::sqlite();
    assert!(matches!(
        Database::open(&test.config, crate::domain::ids::ReplicaId::from_bits(rand::random())),
        Err(DbError::NoSystem)
    ));
}

#[actix::test]
async fn a_connection_that_breaks_under_a_batch_costs_nothing() {
    for test in TestDb::each() {
        let db = test.open();
        let release = hold_up(&db).await;
        let tries = Arc::new(AtomicU32::new(0));
        let counted = tries.clone();
        let answers = join_all([
            db.write(event("before")),
            db.write(job(move |conn| {
                // Once in the batch and once alone; SQLite has nobody to hang up.
                if counted.fetch_add(1, Ordering::SeqCst) < 2 && matches!(conn, AnyConnection::Postgres(_)) {
                    conn.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())")?;
                }
                Ok(())
            })),
            db.write(event("after")),
        ]);
        release.send(()).unwrap();
        for answer in answers.await {
            answer.unwrap();
        }
        let expected = if test.config.url.starts_with("postgres") { 3 } else { 1 };
        assert_eq!(tries.load(Ordering::SeqCst), expected);
        assert_eq!(codes(&db).await, ["before", "after"]);
        db.shutdown().await;
    }
}
