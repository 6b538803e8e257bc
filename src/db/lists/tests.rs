use super::*;
use crate::db::seed::{BulkPlan, bulk};
use crate::db::tests::{TestDb, admitted, caller_turn, phone};
use crate::db::{
    AppointmentChange, BookOutcome, BookRequest, CallOverview, Database, DbHandle, NewAppointment,
    NewTimeOff, Run, StaffOutcome, Write,
};
use crate::domain::appointment::AppointmentStatus;
use crate::domain::call::{CallStatus, Direction, EndReason, MessageKind, Outcome};
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::phone::CallerId;
use crate::domain::time::UnixMillis;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use futures_util::future::join_all;
use std::collections::BTreeSet;

/// 2027-01-15, 08:00 UTC.
pub(super) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DAY_MS: i64 = 86_400_000;
const MINUTE: i64 = 60_000;

/// Fills a database with sample calls and customers.
pub(super) fn fill(test: &TestDb, calls: u32, customers: u32) {
    let opens = |ahead: i64| Some(UnixMillis(NOW.0 + ahead * DAY_MS + 3_600_000));
    let plan = BulkPlan {
        calls,
        customers,
        now: NOW,
        staff: vec!["Marcus".into(), "Sam".into()],
        services: vec!["Haircut".into(), "Shave".into()],
        opens: &opens,
    };
    bulk(&mut test.connection(), &plan).unwrap();
}

async fn all_calls(db: &DbHandle, filter: &CallFilter, limit: u32) -> Vec<CallOverview> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = db.list_calls(filter.clone(), Page::new(limit, after)).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        all.extend(page.items);
        let Some(next) = page.next else { return all };
        // As a client would hand it back.
        after = Some(Cursor::decode(filter.kind(), &next.encode()).unwrap());
    }
}

#[actix::test]
async fn pages_of_calls_show_each_call_once_whatever_is_asked_for() {
    for test in TestDb::each() {
        fill(&test, 400, 60);
        // Many calls that began at the same moment.
        test.connection()
            .batch_execute("UPDATE calls SET started_ms = started_ms / 86400000 * 86400000")
            .unwrap();
        let db = test.open();
        let all = all_calls(&db, &CallFilter::default(), 500).await;
        assert_eq!(all.len(), 400);
        let key = |call: &CallOverview| (call.facts.admitted_at, call.id);
        assert!(all.windows(2).all(|pair| key(&pair[0]) > key(&pair[1])));

        let middle = all[200].facts.admitted_at;
        let number = all.iter().find_map(|call| call.facts.caller.number().cloned()).unwrap();
        let customer = all.iter().find_map(|call| call.customer_id).unwrap();
        type Check = Box<dyn Fn(&CallOverview) -> bool>;
        let cases: Vec<(CallFilter, Check)> = vec![
            (CallFilter::default(), Box::new(|_| true)),
            (
                CallFilter { status: Some(CallStatus::NoAnswer), ..CallFilter::default() },
                Box::new(|call| call.status == CallStatus::NoAnswer),
            ),
            (
                CallFilter { direction: Some(Direction::Outbound), ..CallFilter::default() },
                Box::new(|call| call.facts.direction == Direction::Outbound),
            ),
            (
                CallFilter { flags: vec![CallFlag::AppointmentBooked], ..CallFilter::default() },
                Box::new(|call| call.outcome.appointment_booked),
            ),
            (
                CallFilter {
                    flags: vec![CallFlag::MessageTaken, CallFlag::LeadCaptured],
                    ..CallFilter::default()
                },
                Box::new(|call| call.outcome.message_taken && call.outcome.lead_captured),
            ),
            (
                CallFilter { flags: vec![CallFlag::Transferred], to: Some(middle), ..CallFilter::default() },
                Box::new(move |call| call.outcome.transferred && call.facts.admitted_at < middle),
            ),
            (
                CallFilter { flags: vec![CallFlag::FollowUp], from: Some(middle), ..CallFilter::default() },
                Box::new(move |call| call.outcome.follow_up && call.facts.admitted_at >= middle),
            ),
            (
                CallFilter { customer_id: Some(customer), ..CallFilter::default() },
                Box::new(move |call| call.customer_id == Some(customer)),
            ),
            (
                CallFilter { phone: Some(number.clone()), ..CallFilter::default() },
                Box::new(move |call| call.facts.caller == CallerId::Number(number.clone())),
            ),
        ];
        for (filter, check) in cases {
            let expected: Vec<i64> = all.iter().filter(|call| check(call)).map(|call| call.id).collect();
            assert!(!expected.is_empty(), "{filter:?}");
            let found: Vec<i64> = all_calls(&db, &filter, 7).await.iter().map(|call| call.id).collect();
            assert_eq!(found, expected, "{filter:?}");

            // The same among those in which a word was said; the order is that of the ids then.
            let words = SearchWords::parse("calling");
            let found: BTreeSet<i64> = all_calls(&db, &CallFilter { words, ..filter.clone() }, 7)
                .await
                .iter()
                .map(|call| call.id)
                .collect();
            let missed = |id: &i64| all.iter().any(|c| c.id == *id && c.status == CallStatus::NoAnswer);
            let expected: BTreeSet<i64> = expected.into_iter().filter(|id| !missed(id)).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn the_counters_say_what_counting_would() {
    for test in TestDb::each() {
        fill(&test, 600, 50);
        let db = test.open();
        let all = all_calls(&db, &CallFilter::default(), 500).await;
        let from = UnixMillis(NOW.0 - 400 * DAY_MS);
        let run = Run { from, to: UnixMillis(NOW.0 + DAY_MS), step_ms: DAY_MS };
        let buckets = db.activity(vec![run]).await.unwrap();
        assert_eq!(buckets.len(), 401);
        for bucket in &buckets {
            let to = UnixMillis(bucket.from.0 + DAY_MS);
            let of_day = all
                .iter()
                .filter(|call| call.facts.admitted_at >= bucket.from && call.facts.admitted_at < to);
            let day: Vec<&CallOverview> = of_day.collect();
            let n =
                |check: &dyn Fn(&CallOverview) -> bool| day.iter().filter(|call| check(call)).count() as i64;
            let counts = &bucket.counts;
            assert_eq!(counts.inbound, n(&|call| call.facts.direction == Direction::Inbound));
            assert_eq!(counts.calls(), day.len() as i64);
            assert_eq!(counts.leads, n(&|call| call.outcome.lead_captured));
            assert_eq!(counts.calls_booked, n(&|call| call.outcome.appointment_booked));
            for (reason, ended) in counts.ends() {
                assert_eq!(ended, n(&|call| call.end_reason == Some(reason)), "{reason}");
            }
            let seconds: u64 = day.iter().filter_map(|call| call.duration_s).sum();
            assert_eq!(counts.duration_s, seconds as i64);
        }
        let mut answers = 0;
        for call in &all {
            let turns = db.list_turns(call.id, Page::new(500, None)).await.unwrap().items;
            answers += turns.iter().filter(|turn| turn.latency.first_sent_ms.is_some()).count() as i64;
        }
        assert_eq!(buckets.iter().map(|bucket| bucket.latencies[4].n).sum::<i64>(), answers);
        let made: i64 = buckets.iter().map(|bucket| bucket.counts.appointments_made).sum();
        let rows: i64 =
            crate::db::schema::appointments::table.count().get_result(&mut test.connection()).unwrap();
        assert_eq!(made, rows);

        let numbers = db.dashboard(from, NOW).await.unwrap();
        assert_eq!((numbers.activity.calls(), numbers.customers), (600, 50));
        db.shutdown().await;
    }
}

#[test]
fn seeding_again_adds_only_what_is_missing() {
    for test in TestDb::each() {
        fill(&test, 30, 10);
        fill(&test, 30, 10);
        let rows = |conn: &mut AnyConnection| -> (i64, i64) {
            let calls = crate::db::schema::calls::table.count().get_result(conn).unwrap();
            (calls, crate::db::schema::customers::table.count().get_result(conn).unwrap())
        };
        assert_eq!(rows(&mut test.connection()), (30, 10));
        fill(&test, 45, 12);
        assert_eq!(rows(&mut test.connection()), (45, 12));
    }
}

#[test]
fn many_samples_go_beside_the_few() {
    for test in TestDb::each() {
        crate::db::seed::seed(&mut test.connection(), NOW, &[]).unwrap();
        fill(&test, 5, 1_000);
        let customers: i64 =
            crate::db::schema::customers::table.count().get_result(&mut test.connection()).unwrap();
        assert_eq!(customers, 1_006);
    }
}

fn words(text: &str) -> SearchWords {
    SearchWords::parse(text).unwrap()
}

async fn found(db: &DbHandle, text: &str) -> Vec<String> {
    let hits = db.search_calls(words(text), Page::new(50, None)).await.unwrap();
    hits.items.into_iter().map(|hit| hit.snippet).collect()
}

async fn said(db: &DbHandle, sid: &str, n: u32, text: &str) {
    let turn = caller_turn(n, text);
    db.write(Write::Turn { sid: CallSid::from(sid), epoch: Epoch(1), turn }).await.unwrap();
}

async fn end(db: &DbHandle, sid: &str) {
    let write = Write::CallEnded {
        sid: CallSid::from(sid),
        at: UnixMillis(2_000_000),
        reason: EndReason::Completed,
        outcome: Outcome::default(),
    };
    db.write(write).await.unwrap();
}

#[actix::test]
async fn a_call_is_found_by_what_was_said_once_it_has_ended_and_as_long_as_it_is_stored() {
    for test in TestDb::each() {
        let db = test.open();
        db.write(admitted("CA1", 1)).await.unwrap();
        db.write(admitted("CA2", 1)).await.unwrap();
        said(&db, "CA1", 1, "I left my umbrella at the Café, o'clock 10:30").await;
        said(&db, "CA1", 2, "write to maria.alvarez@example.com please").await;
        said(&db, "CA2", 1, "what does a haircut cost").await;
        assert!(found(&db, "umbrella").await.is_empty(), "it goes on");
        end(&db, "CA1").await;
        end(&db, "CA2").await;
        for text in
            ["umbrella", "UMBR", "cafe umbrella", "café", "10:30", "maria.alvarez@example", "umbrella please"]
        {
            assert_eq!(found(&db, text).await.len(), 1, "{text}");
        }
        for text in ["brella", "umbrella haircut", "um", "NOT", "\"umbrella\" OR haircut"] {
            assert!(found(&db, text).await.is_empty(), "{text}");
        }
        assert_eq!(found(&db, "haircut").await, ["what does a haircut cost"]);
        // Both were called from the same number: newest first.
        let hits = db.search_calls(words("(202) 555-0143"), Page::new(1, None)).await.unwrap();
        assert_eq!(hits.items[0].call.facts.sid.as_str(), "CA2");
        let hits = db.search_calls(words("0143"), Page::new(1, hits.next)).await.unwrap();
        assert_eq!((hits.items[0].call.facts.sid.as_str(), hits.next), ("CA1", None));

        let text = "Lost a parasol".to_owned();
        db.write(Write::Summary { sid: CallSid::from("CA2"), text }).await.unwrap();
        assert_eq!(found(&db, "parasol").await, ["Lost a parasol"]);
        said(&db, "CA1", 1, "I left my scarf").await;
        assert!(found(&db, "umbrella").await.is_empty());
        assert_eq!(found(&db, "scarf").await, ["I left my scarf"]);
        test.connection().batch_execute("DELETE FROM turns WHERE said LIKE '%scarf%'").unwrap();
        assert!(found(&db, "scarf").await.is_empty());
        test.connection().batch_execute("DELETE FROM turns; DELETE FROM calls").unwrap();
        assert!(found(&db, "parasol").await.is_empty());
        db.shutdown().await;
    }
}

async fn named(db: &DbHandle, text: &str) -> Vec<String> {
    let hits = db.search_customers(words(text), Page::new(50, None)).await.unwrap().items;
    hits.into_iter().filter_map(|hit| hit.customer.customer.name).collect()
}

#[actix::test]
async fn letters_of_all_of_latin_are_found_with_and_without_what_is_special_about_them() {
    const NAMES: [&str; 7] = [
        "Søren Jørgensen",
        "Łukasz Wałęsa",
        "Đorđe Ilić",
        "Ærøskøbing Færge",
        "Straße Weiß",
        "Ayşe Yıldız",
        "Zoë Ångström",
    ];
    for test in TestDb::each() {
        let db = test.open();
        for (n, name) in NAMES.into_iter().enumerate() {
            done(db.create_customer(customer(name, None), NOW).await.unwrap());
            let sid = format!("CA{n}");
            db.write(admitted(&sid, 1)).await.unwrap();
            said(&db, &sid, 1, &format!("my name is {name}")).await;
            end(&db, &sid).await;
        }
        for name in NAMES {
            for text in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(named(&db, &text).await, [name], "{text}");
                assert_eq!(found(&db, &text).await, [format!("my name is {name}")], "{text}");
            }
            for word in name.split(' ') {
                assert_eq!(named(&db, word).await, [name], "{word}");
            }
        }
        for (text, n) in [
            ("soren", 0),
            ("jorgensen", 0),
            ("lukasz", 1),
            ("walesa", 1),
            ("dorde", 2),
            ("aeroskobing", 3),
            ("strasse", 4),
            ("yildiz", 5),
            ("zoe angstrom", 6),
        ] {
            assert_eq!(named(&db, text).await, [NAMES[n]], "{text}");
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn names_from_before_the_letters_were_folded_are_found_after_the_migration() {
    for test in TestDb::each() {
        let db = test.open();
        done(db.create_customer(customer("Søren Weiß", None), NOW).await.unwrap());
        done(db.create_customer(customer("Tom", None), NOW).await.unwrap());
        db.shutdown().await;
        // As an earlier version would have left it.
        crate::db::migrate::take_back(&mut test.connection(), "20261122000660");
        let db = test.open();
        assert_eq!(named(&db, "soren weiss").await, ["Søren Weiß"]);
        assert_eq!(named(&db, "tom").await, ["Tom"]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_number_with_gaps_is_found_as_one_word_or_as_several() {
    for test in TestDb::each() {
        let db = test.open();
        let notes = "order 1234 5678, born 1980-05-17, lives at 10115 Berlin".to_owned();
        let new = CustomerChange { notes: Some(Some(notes)), ..customer("Gap", Some("+12025550143")) };
        done(db.create_customer(new, NOW).await.unwrap());
        done(db.create_customer(customer("Other 5678 1234", None), NOW).await.unwrap());
        for text in [
            "1980-05-17",
            "1980 05",
            "17.05.1980",
            "10115",
            "+1 (202) 555-0143",
            "555 0143",
            "order 1234 5678",
        ] {
            assert_eq!(named(&db, text).await, ["Gap"], "{text}");
        }
        assert_eq!(named(&db, "1234 5678").await.len(), 2);
        assert!(named(&db, "1980-05-18").await.is_empty());
        let hits = db.search_customers(words("1980-05-17"), Page::new(5, None)).await.unwrap().items;
        assert!(hits[0].snippet.contains("born 1980-05-17"), "{}", hits[0].snippet);
        db.shutdown().await;
    }
}

#[test]
fn what_holds_no_word_is_nothing_to_look_for() {
    for text in ["", "  ", "\"'*()", "…"] {
        assert_eq!(SearchWords::parse(text), None, "{text}");
    }
}

#[actix::test]
async fn whatever_somebody_types_is_no_error() {
    for test in TestDb::each() {
        let db = test.open();
        for text in
            ["a' OR 1=1 --", "x:*&|!", "NEAR(a b)", "ⅷ ½ ١٢٣", "क्षि", "😀 ok", "\\'\\", "col:word", "'':*"]
        {
            if let Some(words) = SearchWords::parse(text) {
                db.search_calls(words.clone(), Page::new(5, None)).await.unwrap();
                db.search_customers(words, Page::new(5, None)).await.unwrap();
            }
        }
        db.shutdown().await;
    }
}

fn customer(name: &str, number: Option<&str>) -> CustomerChange {
    CustomerChange {
        name: Some(Some(name.to_owned())),
        phone: Some(number.map(phone)),
        ..CustomerChange::default()
    }
}

fn done(outcome: CustomerOutcome) -> CustomerDetail {
    match outcome {
        CustomerOutcome::Done(detail) => detail,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn customers_are_made_found_changed_and_removed() {
    for test in TestDb::each() {
        let db = test.open();
        let maria =
            done(db.create_customer(customer("Maria Álvarez", Some("+12025550143")), NOW).await.unwrap());
        let other = done(db.create_customer(customer("Tom", None), NOW).await.unwrap());
        let again = db.create_customer(customer("Mary", Some("+12025550143")), NOW).await.unwrap();
        assert_eq!(again, CustomerOutcome::PhoneTaken);
        let id = maria.customer.id;
        for text in ["alvarez", "mar", "maria alv", "+1 202 555 0143", "555-0143", "0143"] {
            let hits = db.search_customers(words(text), Page::new(5, None)).await.unwrap().items;
            assert_eq!(hits.iter().map(|hit| hit.customer.customer.id).collect::<Vec<_>>(), [id], "{text}");
        }
        let change = CustomerChange {
            email: Some(Some("maria@example.com".into())),
            phone: Some(None),
            ..CustomerChange::default()
        };
        let later = UnixMillis(NOW.0 + 5);
        let changed = done(db.change_customer(id, change, later).await.unwrap());
        assert_eq!((changed.customer.phone.clone(), changed.updated_at), (None, later));
        assert_eq!(changed.customer.name.as_deref(), Some("Maria Álvarez"));
        assert_eq!(db.customer_detail(id).await.unwrap(), Some(changed));
        assert!(db.search_customers(words("0143"), Page::new(5, None)).await.unwrap().items.is_empty());
        assert_eq!(
            db.search_customers(words("example.com"), Page::new(5, None)).await.unwrap().items.len(),
            1
        );
        let unknown = db.change_customer(99, CustomerChange::default(), NOW).await.unwrap();
        assert_eq!(unknown, CustomerOutcome::Unknown);

        let appointment = booked(&db, new_appointment(Some(id), 60)).await;
        db.write(admitted("CA1", 1)).await.unwrap();
        db.write(Write::CallCustomer { sid: CallSid::from("CA1"), epoch: Epoch(1), customer_id: id })
            .await
            .unwrap();
        assert_eq!(db.remove_customer(id, NOW).await.unwrap(), CustomerOutcome::HasAppointments(1));
        let after = UnixMillis(NOW.0 + DAY_MS);
        done(db.remove_customer(id, after).await.unwrap());
        assert_eq!(db.remove_customer(id, after).await.unwrap(), CustomerOutcome::Unknown);
        assert_eq!(db.appointment(appointment.id).await.unwrap().unwrap().customer_id, None);
        assert_eq!(db.call_overview(CallSid::from("CA1")).await.unwrap().unwrap().customer_id, None);
        let left = db.list_customers(Page::new(50, None)).await.unwrap().items;
        assert_eq!(left, [other]);
        assert_eq!(db.dashboard(NOW, after).await.unwrap().customers, 1);
        db.shutdown().await;
    }
}

fn at(minutes: i64) -> UnixMillis {
    UnixMillis(NOW.0 + minutes * MINUTE)
}

fn new_appointment(customer_id: Option<i64>, start: i64) -> NewAppointment {
    NewAppointment {
        customer_id,
        service: "Haircut".into(),
        staff: "Marcus".into(),
        starts_at: at(start),
        minutes: 30,
        buffer_minutes: 5,
        notes: None,
    }
}

fn by_call(start: i64) -> BookRequest {
    BookRequest {
        call: CallSid::from("CA7"),
        epoch: Epoch(1),
        customer_id: None,
        service: "Haircut".into(),
        staff: "Marcus".into(),
        starts_at: at(start),
        minutes: 30,
        buffer_minutes: 0,
        now: NOW,
    }
}

fn to(start: i64) -> AppointmentChange {
    AppointmentChange { starts_at: Some(at(start)), ..AppointmentChange::default() }
}

fn set(status: AppointmentStatus) -> AppointmentChange {
    AppointmentChange { status: Some(status), ..AppointmentChange::default() }
}

async fn booked(db: &DbHandle, new: NewAppointment) -> crate::db::AppointmentDetail {
    match db.create_appointment(new, NOW).await.unwrap() {
        StaffOutcome::Done(detail) => detail,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_move_takes_the_new_time_and_frees_the_old_one_or_changes_nothing() {
    for test in TestDb::each() {
        let db = test.open();
        let one = booked(&db, new_appointment(None, 60)).await;
        let two = booked(&db, new_appointment(None, 120)).await;
        let taken = db.create_appointment(new_appointment(None, 80), NOW).await.unwrap();
        assert_eq!(taken, StaffOutcome::Taken, "the buffer counts");

        assert_eq!(db.change_appointment(one.id, to(110), NOW).await.unwrap(), StaffOutcome::Taken);
        assert_eq!(db.appointment(one.id).await.unwrap(), Some(one.clone()));
        assert!(
            matches!(db.book(by_call(60)).await.unwrap(), BookOutcome::Taken),
            "nor is the old time free"
        );

        let StaffOutcome::Done(moved) = db.change_appointment(one.id, to(75), NOW).await.unwrap() else {
            panic!("it overlaps with itself only")
        };
        assert_eq!((moved.starts_at, moved.status), (at(75), AppointmentStatus::Confirmed));
        assert!(matches!(db.book(by_call(40)).await.unwrap(), BookOutcome::Booked(_)));

        let off = db.change_appointment(two.id, set(AppointmentStatus::Cancelled), NOW).await.unwrap();
        assert!(matches!(off, StaffOutcome::Done(detail) if detail.status == AppointmentStatus::Cancelled));
        assert!(matches!(db.book(by_call(130)).await.unwrap(), BookOutcome::Booked(_)));
        let on = db.change_appointment(two.id, set(AppointmentStatus::Confirmed), NOW).await.unwrap();
        assert_eq!(on, StaffOutcome::Taken);
        assert_eq!(db.change_appointment(99, to(5), NOW).await.unwrap(), StaffOutcome::Unknown);
        let nobody = AppointmentChange { customer_id: Some(Some(99)), ..AppointmentChange::default() };
        assert_eq!(db.change_appointment(one.id, nobody, NOW).await.unwrap(), StaffOutcome::UnknownCustomer);
        let stranger = db.create_appointment(new_appointment(Some(99), 300), NOW).await.unwrap();
        assert_eq!(stranger, StaffOutcome::UnknownCustomer);

        let run = Run { from: at(-60), to: at(60), step_ms: 7_200_000 };
        let counts = db.activity(vec![run]).await.unwrap()[0].counts;
        assert_eq!((counts.appointments_made, counts.appointments_cancelled), (4, 1));
        db.shutdown().await;
    }
}

#[actix::test]
async fn of_many_moves_into_one_time_exactly_one_succeeds() {
    for mut test in TestDb::each() {
        test.config.pool = 8;
        test.config.wait_ms = 30_000;
        let db = test.open();
        let mut ids = Vec::new();
        for n in 0..12 {
            ids.push(booked(&db, new_appointment(None, n * 60)).await.id);
        }
        let moves = ids.iter().map(|id| db.change_appointment(*id, to(10_000), NOW));
        let outcomes: Vec<StaffOutcome> = join_all(moves).await.into_iter().map(Result::unwrap).collect();
        let moved = outcomes.iter().filter(|outcome| matches!(outcome, StaffOutcome::Done(_))).count();
        let refused = outcomes.iter().filter(|outcome| **outcome == StaffOutcome::Taken).count();
        assert_eq!((moved, refused), (1, 11));
        let busy = db.busy(at(-10), at(20_000), None, NOW).await.unwrap();
        assert_eq!(busy.len(), 12, "everybody has one time still");
        db.shutdown().await;
    }
}

fn off(staff: Option<&str>, from: i64, to: i64) -> NewTimeOff {
    NewTimeOff {
        staff: staff.map(str::to_owned),
        from: at(from),
        to: at(to),
        reason: Some("holiday".into()),
        by: Some("eva".into()),
    }
}

#[actix::test]
async fn nobody_is_booked_in_time_off() {
    for test in TestDb::each() {
        let db = test.open();
        let marcus = db.add_time_off(off(Some("marcus "), 60, 120), NOW).await.unwrap();
        let all = db.add_time_off(off(None, 500, 600), NOW).await.unwrap();
        let sam = |start| BookRequest { staff: "Sam".into(), ..by_call(start) };
        assert!(matches!(db.book(by_call(100)).await.unwrap(), BookOutcome::Taken));
        assert!(matches!(db.book(sam(100)).await.unwrap(), BookOutcome::Booked(_)));
        assert!(matches!(db.book(sam(590)).await.unwrap(), BookOutcome::Taken));
        assert!(
            matches!(db.book(by_call(30)).await.unwrap(), BookOutcome::Booked(_)),
            "it ends as the other begins"
        );
        assert_eq!(
            db.create_appointment(new_appointment(None, 90), NOW).await.unwrap(),
            StaffOutcome::TimeOff
        );
        let late = booked(&db, new_appointment(None, 300)).await;
        assert_eq!(db.change_appointment(late.id, to(550), NOW).await.unwrap(), StaffOutcome::TimeOff);
        assert_eq!(db.appointment(late.id).await.unwrap(), Some(late.clone()));

        let busy = db.busy(at(400), at(1_000), None, NOW).await.unwrap();
        assert_eq!(busy.len(), 1);
        assert_eq!((busy[0].staff.as_str(), busy[0].from, busy[0].to), ("", at(500), at(600)));

        // An appointment that lies in time off entered later stays, and may be altered where it is.
        db.add_time_off(off(None, 290, 310), NOW).await.unwrap();
        let notes = AppointmentChange { notes: Some(Some("early".into())), ..AppointmentChange::default() };
        assert!(matches!(db.change_appointment(late.id, notes, NOW).await.unwrap(), StaffOutcome::Done(_)));

        let listed = db.list_time_off(Some(at(120)), None, Page::new(1, None)).await.unwrap();
        assert_eq!(listed.items[0].from, at(290));
        let rest = db.list_time_off(Some(at(120)), None, Page::new(5, listed.next)).await.unwrap();
        assert_eq!((rest.items, rest.next), (vec![all.clone()], None));
        assert!(db.remove_time_off(all.id).await.unwrap() && db.remove_time_off(marcus.id).await.unwrap());
        assert!(!db.remove_time_off(all.id).await.unwrap());
        assert!(matches!(db.book(by_call(100)).await.unwrap(), BookOutcome::Booked(_)));
        db.shutdown().await;
    }
}

#[actix::test]
async fn appointments_are_listed_forward_from_a_time_on_and_else_the_latest_first() {
    for test in TestDb::each() {
        let db = test.open();
        let mut ids = Vec::new();
        for n in 0..6 {
            ids.push(booked(&db, new_appointment(None, n * 60)).await.id);
        }
        let sams = NewAppointment { staff: "Sam".into(), ..new_appointment(None, 60) };
        let sams = booked(&db, sams).await.id;
        let listed = async |filter: AppointmentFilter| {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = db.list_appointments(filter.clone(), Page::new(2, after)).await.unwrap();
                all.extend(page.items.into_iter().map(|detail| detail.id));
                after = page.next;
                if after.is_none() {
                    return all;
                }
            }
        };
        let latest_first = [ids[5], ids[4], ids[3], ids[2], sams, ids[1], ids[0]];
        assert_eq!(listed(AppointmentFilter::default()).await, latest_first);
        let range =
            AppointmentFilter { from: Some(at(60)), to: Some(at(180)), ..AppointmentFilter::default() };
        assert_eq!(listed(range.clone()).await, [ids[1], sams, ids[2]]);
        let one = AppointmentFilter { staff: Some("Sam".into()), ..range };
        assert_eq!(listed(one).await, [sams]);
        db.shutdown().await;
    }
}

async fn messages(db: &Database, state: Option<MessageState>) -> Vec<i64> {
    let filter = MessageFilter { state, kind: None };
    let page = db.list_messages(filter, Page::new(50, None)).await.unwrap();
    page.items.into_iter().map(|detail| detail.message.id).collect()
}

#[actix::test]
async fn a_message_is_dealt_with_once_and_can_be_opened_again() {
    for test in TestDb::each() {
        let db = test.open();
        for n in 0..3 {
            let write = Write::Message {
                key: None,
                sid: CallSid::from("CA1"),
                at: at(n),
                name: None,
                phone: None,
                text: format!("message {n}"),
            };
            db.write(write).await.unwrap();
        }
        let all = messages(&db, None).await;
        assert_eq!(all.len(), 3);
        test.connection()
            .batch_execute(&format!("UPDATE messages SET kind = 'callback' WHERE id = {}", all[2]))
            .unwrap();
        for (kind, state, wanted) in [
            (MessageKind::CallBack, None, vec![all[2]]),
            (MessageKind::CallBack, Some(MessageState::Open), vec![all[2]]),
            (MessageKind::CallBack, Some(MessageState::Done), vec![]),
            (MessageKind::Message, Some(MessageState::Open), vec![all[0], all[1]]),
        ] {
            let filter = MessageFilter { state, kind: Some(kind) };
            let page = db.list_messages(filter, Page::new(50, None)).await.unwrap();
            assert!(page.items.iter().all(|detail| detail.message.kind == kind));
            let ids: Vec<i64> = page.items.into_iter().map(|detail| detail.message.id).collect();
            assert_eq!(ids, wanted, "{filter:?}");
        }
        let first = db.set_message_done(all[1], true, "eva".into(), at(10)).await.unwrap().unwrap();
        let again = db.set_message_done(all[1], true, "tom".into(), at(20)).await.unwrap().unwrap();
        assert_eq!((again.done_at, again.done_by.as_deref()), (Some(at(10)), Some("eva")));
        assert_eq!(first, again);
        assert_eq!(messages(&db, Some(MessageState::Done)).await, [all[1]]);
        assert_eq!(messages(&db, Some(MessageState::Open)).await, [all[0], all[2]]);
        let open = db.set_message_done(all[1], false, "tom".into(), at(30)).await.unwrap().unwrap();
        assert_eq!((open.done_at, open.done_by), (None, None));
        assert_eq!(db.set_message_done(99, true, "tom".into(), at(30)).await.unwrap(), None);
        db.shutdown().await;
    }
}
