//! Two who change the same thing at the same moment.

use super::{TestDb, phone};
use crate::db::access::{UserChange, UserChanged};
use crate::db::{
    AppointmentChange, BookOutcome, BookRequest, CustomerChange, CustomerOutcome, Database, NewAppointment,
    StaffOutcome,
};
use crate::domain::appointment::CustomerPatch;
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::staff::Role;
use crate::domain::time::UnixMillis;
use serde_json::json;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// A round shows a race only now and then.
const ROUNDS: i64 = 40;

async fn customer(db: &Database) -> i64 {
    let new = CustomerChange { name: Some(Some("Ann".into())), ..CustomerChange::default() };
    match db.create_customer(new, NOW).await.unwrap() {
        CustomerOutcome::Done(detail) => detail.customer.id,
        other => panic!("{other:?}"),
    }
}

fn appointment(customer_id: Option<i64>, n: i64) -> NewAppointment {
    NewAppointment {
        customer_id,
        service: "Haircut".into(),
        staff: "Marcus".into(),
        starts_at: UnixMillis(NOW.0 + n * 3_600_000),
        minutes: 30,
        buffer_minutes: 0,
        notes: None,
    }
}

#[actix::test]
async fn two_changes_to_a_customer_both_stand() {
    for test in TestDb::each() {
        let db = test.open();
        let id = customer(&db).await;
        for n in 0..ROUNDS {
            let name = CustomerChange { name: Some(Some(format!("name {n}"))), ..CustomerChange::default() };
            let email =
                CustomerChange { email: Some(Some(format!("{n}@x.com"))), ..CustomerChange::default() };
            let (a, b) = tokio::join!(db.change_customer(id, name, NOW), db.change_customer(id, email, NOW));
            assert!(matches!((a.unwrap(), b.unwrap()), (CustomerOutcome::Done(_), CustomerOutcome::Done(_))));
            let now = db.customer(id).await.unwrap().unwrap();
            assert_eq!((now.name, now.email), (Some(format!("name {n}")), Some(format!("{n}@x.com"))));
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_two_calls_learn_of_a_customer_both_stands() {
    for test in TestDb::each() {
        let db = test.open();
        let number = || Some(phone("+12025550143"));
        for n in 0..ROUNDS {
            let name = CustomerPatch { name: Some(format!("name {n}")), phone: number(), email: None };
            let email = CustomerPatch { name: None, phone: number(), email: Some(format!("{n}@x.com")) };
            let (a, b) =
                tokio::join!(db.upsert_customer(name, None, NOW), db.upsert_customer(email, None, NOW));
            assert_eq!(a.unwrap().id, b.unwrap().id);
            let now = db.customer_by_phone(phone("+12025550143")).await.unwrap().unwrap();
            assert_eq!((now.name, now.email), (Some(format!("name {n}")), Some(format!("{n}@x.com"))));
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn two_changes_to_a_user_both_stand() {
    for test in TestDb::each() {
        let db = test.open();
        let add = |name: &str, role| db.add_user(name.into(), "hash".into(), role, false, NOW);
        add("ann", Role::Admin).await.unwrap();
        let id = add("vic", Role::Viewer).await.unwrap().unwrap().id;
        for _ in 0..ROUNDS {
            let reset = UserChange { role: Some(Role::Viewer), disabled: Some(false), password: None };
            db.change_user(id, reset).await.unwrap();
            let role = UserChange { role: Some(Role::Staff), ..UserChange::default() };
            let disabled = UserChange { disabled: Some(true), ..UserChange::default() };
            let (a, b) = tokio::join!(db.change_user(id, role), db.change_user(id, disabled));
            assert!(matches!((a.unwrap(), b.unwrap()), (UserChanged::Done(_), UserChanged::Done(_))));
            let now = db.user_by_name("vic".into()).await.unwrap().unwrap().user;
            assert_eq!((now.role, now.disabled), (Role::Staff, true));
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_customer_is_removed_or_booked_for_and_never_both() {
    for test in TestDb::each() {
        let db = test.open();
        for n in 0..ROUNDS {
            let id = customer(&db).await;
            let (booked, removed) = tokio::join!(
                db.create_appointment(appointment(Some(id), n), NOW),
                db.remove_customer(id, NOW)
            );
            match (booked.unwrap(), removed.unwrap()) {
                (StaffOutcome::Done(made), CustomerOutcome::HasAppointments(1)) => {
                    let now = db.appointment(made.id).await.unwrap().unwrap();
                    assert_eq!(now.customer_id, Some(id));
                }
                (StaffOutcome::UnknownCustomer, CustomerOutcome::Done(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_caller_who_is_removed_meanwhile_is_booked_for_all_the_same() {
    for test in TestDb::each() {
        let db = test.open();
        for n in 0..ROUNDS {
            let id = customer(&db).await;
            let request = BookRequest {
                call: CallSid::from(format!("CA{n}").as_str()),
                epoch: Epoch(1),
                customer_id: Some(id),
                service: "Haircut".into(),
                staff: "Marcus".into(),
                starts_at: UnixMillis(NOW.0 + n * 3_600_000),
                minutes: 30,
                buffer_minutes: 0,
                now: NOW,
            };
            let (booked, removed) = tokio::join!(db.book(request), db.remove_customer(id, NOW));
            match (booked.unwrap(), removed.unwrap()) {
                (BookOutcome::Booked(made), CustomerOutcome::HasAppointments(1)) => {
                    assert_eq!(made.customer_id, Some(id));
                }
                (BookOutcome::Booked(made), CustomerOutcome::Done(_)) => assert_eq!(made.customer_id, None),
                other => panic!("{other:?}"),
            }
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn of_two_first_settings_one_stands_and_the_other_is_told() {
    for test in TestDb::each() {
        let db = test.open();
        // Each name is set for the first time once.
        const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        for (n, name) in NAMES.into_iter().enumerate() {
            // Odd ones name no version: both stand, one after the other.
            let expected = if n % 2 == 0 { Some(0) } else { None };
            let put = |value: i64| db.put_setting(name, json!(value), expected, "ann".into(), NOW);
            let (a, b) = tokio::join!(put(1), put(2));
            let mut versions = [a.unwrap(), b.unwrap()];
            versions.sort();
            let wanted = if expected.is_some() { [None, Some(1)] } else { [Some(1), Some(2)] };
            assert_eq!(versions, wanted);
        }
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_new_time_that_was_worked_out_from_an_old_one_counts_only_if_that_still_holds() {
    for test in TestDb::each() {
        let db = test.open();
        let StaffOutcome::Done(made) = db.create_appointment(appointment(None, 1), NOW).await.unwrap() else {
            panic!("it is free")
        };
        let to = |hours: i64, believed: UnixMillis| AppointmentChange {
            starts_at: Some(UnixMillis(NOW.0 + hours * 3_600_000)),
            started_at: Some(believed),
            ..AppointmentChange::default()
        };
        let first = db.change_appointment(made.id, to(2, made.starts_at), NOW).await.unwrap();
        assert!(matches!(first, StaffOutcome::Done(_)));
        let second = db.change_appointment(made.id, to(3, made.starts_at), NOW).await.unwrap();
        assert_eq!(second, StaffOutcome::Moved);
        let now = db.appointment(made.id).await.unwrap().unwrap();
        assert_eq!(now.starts_at, UnixMillis(NOW.0 + 2 * 3_600_000));
        db.shutdown().await;
    }
}
