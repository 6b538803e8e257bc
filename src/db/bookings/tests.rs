use super::*;
use crate::db::tests::{TestDb, replica};
use crate::db::{Database, DbError};
use futures_util::future::join_all;
use proptest::prelude::*;
use std::time::Duration;

const MINUTE: i64 = 60_000;
/// A time on the grain.
const TEN: i64 = 1_800_000_000_000;

fn at(minutes: i64) -> UnixMillis {
    UnixMillis(TEN + minutes * MINUTE)
}

fn booking(call: &str, start: i64, minutes: u32) -> BookRequest {
    BookRequest {
        call: CallSid::from(call),
        epoch: Epoch(1),
        customer_id: None,
        service: "Haircut".into(),
        staff: "Marcus".into(),
        starts_at: at(start),
        minutes,
        buffer_minutes: 0,
        now: at(-60),
    }
}

fn holding(call: &str, start: i64, minutes: u32) -> HoldRequest {
    HoldRequest {
        call: CallSid::from(call),
        epoch: Epoch(1),
        staff: "Marcus".into(),
        starts_at: at(start),
        minutes,
        until: at(-57),
        now: at(-60),
    }
}

async fn books(db: &Database, request: BookRequest) -> bool {
    matches!(db.book(request).await.unwrap(), BookOutcome::Booked(_))
}

#[actix::test]
async fn of_fifty_callers_racing_for_one_slot_exactly_one_gets_it() {
    for mut test in TestDb::each() {
        test.config.pool = 12;
        test.config.wait_ms = 30_000;
        // Two programs on one database, as two replicas are.
        let replicas = [test.open(), test.open()];
        let calls: Vec<String> = (0..50).map(|n| format!("CA{n}")).collect();
        let race = calls.iter().zip(replicas.iter().cycle()).map(|(call, db)| {
            // Different lengths and starts; every pair of them overlaps.
            let n = call.len() as i64;
            db.book(booking(call, (n % 2) * 10, 30))
        });
        let outcomes: Vec<BookOutcome> = join_all(race).await.into_iter().map(Result::unwrap).collect();
        let booked = outcomes.iter().filter(|o| matches!(o, BookOutcome::Booked(_))).count();
        let taken = outcomes.iter().filter(|o| matches!(o, BookOutcome::Taken)).count();
        assert_eq!((booked, taken), (1, 49));
        assert_eq!(replicas[0].counts().await.unwrap().appointments, 1);
        for db in replicas {
            db.shutdown().await;
        }
    }
}

#[actix::test]
async fn callers_racing_in_threads_of_their_own_neither_double_book_nor_fail() {
    for test in TestDb::each() {
        drop(test.connection());
        let config = &test.config;
        // Eight callers want four overlapping stretches each, in opposite orders.
        let booked: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8_i64)
                .map(|n| {
                    scope.spawn(move || {
                        let mut conn = crate::db::open_connection(config).unwrap();
                        let starts: Vec<i64> =
                            if n % 2 == 0 { vec![0, 20, 40, 60] } else { vec![60, 40, 20, 0] };
                        let results = starts.into_iter().map(|start| {
                            book(&mut conn, &replica(), &booking(&format!("CA{n}"), start, 20)).unwrap()
                        });
                        results.filter(|outcome| matches!(outcome, BookOutcome::Booked(_))).count()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(booked, 4);
    }
}

#[actix::test]
async fn bookings_of_different_lengths_that_overlap_conflict_and_neighbours_do_not() {
    for test in TestDb::each() {
        let db = test.open();
        assert!(books(&db, booking("CA1", 0, 30)).await);
        for (start, minutes, free) in [
            (-15, 20, false),
            (-60, 240, false),
            (10, 5, false),
            (29, 30, false),
            (27, 30, false),
            (-30, 30, true),
            (30, 15, true),
            // Rounded outward: 45..47 covers 45..50, so that 49 is taken and 50 is not.
            (45, 2, true),
            (49, 1, false),
            (50, 5, true),
        ] {
            let outcome = books(&db, booking(&format!("CA{start}.{minutes}"), start, minutes)).await;
            assert_eq!(outcome, free, "{start} {minutes}");
        }
        let other = BookRequest { staff: "Elena".into(), ..booking("CA2", 0, 30) };
        assert!(books(&db, other).await, "another person has time of their own");
        let padded = BookRequest { buffer_minutes: 10, ..booking("CA3", 90, 30) };
        assert!(books(&db, padded).await);
        assert!(!books(&db, booking("CA4", 125, 30)).await, "the buffer is taken");
        assert!(books(&db, booking("CA4", 130, 30)).await);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_lost_booking_leaves_nothing_behind() {
    for test in TestDb::each() {
        let db = test.open();
        assert!(books(&db, booking("CA1", 30, 30)).await);
        assert!(!books(&db, booking("CA2", 0, 60)).await);
        assert!(!db.hold(holding("CA2", 0, 60)).await.unwrap());
        assert!(books(&db, booking("CA3", 0, 30)).await, "the free half was not kept");
        assert_eq!(db.counts().await.unwrap().appointments, 2);
        db.shutdown().await;
    }
}

#[actix::test]
async fn the_same_booking_of_the_same_call_is_given_back() {
    for test in TestDb::each() {
        let db = test.open();
        let BookOutcome::Booked(first) = db.book(booking("CA1", 0, 30)).await.unwrap() else { panic!() };
        assert_eq!(db.book(booking("CA1", 0, 30)).await.unwrap(), BookOutcome::Already(first.clone()));
        assert_eq!(db.book(booking("CA2", 0, 30)).await.unwrap(), BookOutcome::Taken);
        let twice = join_all((0..6).map(|_| db.book(booking("CA9", 60, 30)))).await;
        let booked = twice.iter().filter(|o| matches!(o, Ok(BookOutcome::Booked(_)))).count();
        let already = twice.iter().filter(|o| matches!(o, Ok(BookOutcome::Already(_)))).count();
        assert_eq!((booked, already), (1, 5));

        // Cancelled and booked again is booked again.
        assert!(db.cancel_appointment(first.id, at(0)).await.unwrap());
        assert!(!db.cancel_appointment(first.id, at(0)).await.unwrap());
        let BookOutcome::Booked(second) = db.book(booking("CA1", 0, 30)).await.unwrap() else { panic!() };
        assert_ne!(second.id, first.id);
        let day: Vec<_> = db.appointments_between(at(0), at(30)).await.unwrap();
        let stands: Vec<_> = day.iter().map(|a| (a.id, a.status)).collect();
        assert_eq!(
            stands,
            [(first.id, AppointmentStatus::Cancelled), (second.id, AppointmentStatus::Confirmed)]
        );
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_hold_keeps_others_out_until_it_lapses_or_is_released_or_becomes_a_booking() {
    for test in TestDb::each() {
        let db = test.open();
        assert!(db.hold(holding("CA1", 0, 30)).await.unwrap());
        assert!(db.hold(holding("CA1", 15, 30)).await.unwrap(), "offers of one call may overlap");
        assert!(!db.hold(holding("CA2", 0, 30)).await.unwrap());
        assert!(!books(&db, booking("CA2", 40, 30)).await);

        let almost = at(-57).0 - 1;
        let early = BookRequest { now: UnixMillis(almost), ..booking("CA2", 0, 30) };
        assert!(!books(&db, early).await);
        let late = HoldRequest { now: at(-57), until: at(-54), ..holding("CA2", 0, 30) };
        assert!(db.hold(late).await.unwrap(), "a lapsed hold is taken over");
        assert_eq!(
            db.book(BookRequest { now: at(-56), ..booking("CA1", 0, 30) }).await.unwrap(),
            BookOutcome::Taken,
            "and is then the other's"
        );
        assert!(books(&db, BookRequest { now: at(-56), ..booking("CA2", 0, 30) }).await);

        assert!(db.hold(holding("CA3", 120, 30)).await.unwrap());
        assert_eq!(db.release_holds(CallSid::from("CA3")).await.unwrap(), 6);
        assert!(books(&db, booking("CA4", 120, 30)).await);
        assert_eq!(db.release_holds(CallSid::from("CA4")).await.unwrap(), 0, "a booking is no hold");
        assert!(!books(&db, booking("CA5", 120, 30)).await);
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_is_busy_is_what_a_booking_would_meet() {
    for test in TestDb::each() {
        let db = test.open();
        let padded = BookRequest { buffer_minutes: 10, ..booking("CA1", 0, 30) };
        assert!(books(&db, padded).await);
        assert!(books(&db, booking("CA2", 40, 33)).await);
        assert!(db.hold(holding("CA3", 90, 30)).await.unwrap());
        let busy = |except: Option<&str>, now: UnixMillis| {
            let except = except.map(CallSid::from);
            let list = db.busy(at(-60), at(600), except, now);
            async { list.await.unwrap().into_iter().map(|b| (b.from, b.to)).collect::<Vec<_>>() }
        };
        let appointments = [(at(0), at(40)), (at(40), at(75))];
        let all = [appointments[0], appointments[1], (at(90), at(120))];
        assert_eq!(busy(None, at(-60)).await, all);
        assert_eq!(busy(Some("CA2"), at(-60)).await, all);
        assert_eq!(busy(Some("CA3"), at(-60)).await, appointments, "the caller's own hold");
        assert_eq!(busy(None, at(-57)).await, appointments, "a lapsed hold");

        let inside = db.busy(at(3), at(4), None, at(-60)).await.unwrap();
        assert_eq!(inside, [Busy { staff: "Marcus".into(), from: at(0), to: at(5) }]);
        assert!(db.busy(at(75), at(90), None, at(-60)).await.unwrap().is_empty());
        db.shutdown().await;
    }
}

#[actix::test]
async fn requests_that_no_calendar_can_hold_are_refused() {
    let test = TestDb::sqlite();
    let db = test.open();
    for request in [
        booking("CA1", 0, 0),
        booking("CA1", 0, u32::MAX),
        BookRequest { buffer_minutes: u32::MAX, ..booking("CA1", 0, 30) },
        BookRequest { staff: "  ".into(), ..booking("CA1", 0, 30) },
        BookRequest { starts_at: UnixMillis(i64::MAX), ..booking("CA1", 0, 30) },
        BookRequest { starts_at: UnixMillis(i64::MIN), ..booking("CA1", 0, 30) },
    ] {
        assert!(matches!(db.book(request).await, Err(DbError::BadAppointment)));
    }
    assert!(db.busy(UnixMillis(i64::MIN), UnixMillis(i64::MAX), None, at(0)).await.unwrap().is_empty());
    db.shutdown().await;
}

#[actix::test]
async fn a_booking_waits_for_a_writer_and_is_not_lost() {
    let test = TestDb::sqlite();
    let db = test.open();
    let mut other = test.connection();
    let (locked, lock) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        write_transaction(&mut other, |_| {
            locked.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        })
        .unwrap();
    });
    lock.recv().unwrap();
    let mut booked = Box::pin(books(&db, booking("CA1", 0, 30)));
    // As long as the other one writes it can neither succeed nor give up.
    assert!(tokio::time::timeout(Duration::from_millis(150), &mut booked).await.is_err());
    release.send(()).unwrap();
    assert!(booked.await);
    writer.join().unwrap();
    db.shutdown().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Against a model that knows nothing of rows: whatever was booked never overlaps, and whatever was refused had to be.
    #[test]
    fn bookings_never_overlap_and_nothing_free_is_refused(
        wanted in proptest::collection::vec((0_i64..240, 1_u32..50, 0_u32..20, 0_u8..4), 1..40)
    ) {
        let test = TestDb::sqlite();
        let mut conn = test.connection();
        let mut model: Vec<(i64, Range<i64>)> = Vec::new();
        for (n, (start, minutes, buffer, action)) in wanted.into_iter().enumerate() {
            if action == 0 && let Some((id, _)) = model.pop() {
                prop_assert!(cancel(&mut conn, id, at(0)).unwrap());
            }
            let range = start.div_euclid(5)..(start + i64::from(minutes + buffer) + 4).div_euclid(5);
            let free = model.iter().all(|(_, taken)| taken.end <= range.start || range.end <= taken.start);
            let request = BookRequest { buffer_minutes: buffer, ..booking(&format!("CA{n}"), start, minutes) };
            match book(&mut conn, &replica(), &request).unwrap() {
                BookOutcome::Booked(appointment) => {
                    prop_assert!(free);
                    model.push((appointment.id, range));
                }
                BookOutcome::Taken => prop_assert!(!free),
                BookOutcome::Already(_) => prop_assert!(false, "every call books once"),
            }
        }
    }
}
