//! What an erasure has to see to beside the rows of a person's calls: appointments still to come, which would stand in the
//! calendar for nobody, and messages that were left for the person's number in calls of others.

use super::activity::count;
use super::bookings::status_word;
use super::connect::AnyConnection;
use super::error::DbError;
use super::schema::{appointment_slots, appointments, messages};
use crate::domain::appointment::AppointmentStatus;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use std::collections::HashSet;

/// An appointment that is still to come.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Upcoming {
    /// Its id.
    pub id: i64,
    /// For what.
    pub service: String,
    /// With whom.
    pub staff: String,
    /// When it begins, Unix ms.
    pub starts_ms: i64,
}

/// A customer's confirmed appointments that have not begun, earliest first.
pub(super) fn of(conn: &mut AnyConnection, customer: i64, now: UnixMillis) -> Result<Vec<Upcoming>, DbError> {
    Ok(appointments::table
        .filter(appointments::customer_id.eq(Some(customer)))
        .filter(appointments::status.eq(status_word(AppointmentStatus::Confirmed)))
        .filter(appointments::starts_ms.ge(now.0))
        .order((appointments::starts_ms.asc(), appointments::id.asc()))
        .select((appointments::id, appointments::service, appointments::staff, appointments::starts_ms))
        .load(conn)?)
}

/// Calls them off and frees their time. Runs within the erasure's transaction.
pub(super) fn call_off(conn: &mut AnyConnection, all: &[Upcoming], now: UnixMillis) -> Result<(), DbError> {
    let mut cancelled = 0_i64;
    for one in all {
        let confirmed = appointments::table
            .filter(appointments::id.eq(one.id))
            .filter(appointments::status.eq(status_word(AppointmentStatus::Confirmed)));
        let changed = diesel::update(confirmed)
            .set((
                appointments::status.eq(status_word(AppointmentStatus::Cancelled)),
                appointments::updated_ms.eq(now.0),
            ))
            .execute(conn)?;
        let slots = appointment_slots::table.filter(appointment_slots::appointment_id.eq(one.id));
        diesel::delete(slots).execute(conn)?;
        cancelled = cancelled.saturating_add(i64::from(changed > 0));
    }
    count(conn, now.0, [("appointments_cancelled", cancelled)])
}

/// Messages for a number, without those of these calls.
pub(super) fn messages_elsewhere(
    conn: &mut AnyConnection,
    phone: &str,
    sids: &[String],
) -> Result<u64, DbError> {
    let own: HashSet<&str> = sids.iter().map(String::as_str).collect();
    let calls: Vec<String> =
        messages::table.filter(messages::phone.eq(Some(phone))).select(messages::call_sid).load(conn)?;
    Ok(calls.iter().filter(|sid| !own.contains(sid.as_str())).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::erase::Erasure;
    use crate::db::tests::{TestDb, phone};
    use crate::db::{NewAppointment, StaffOutcome, Write};
    use crate::domain::appointment::CustomerPatch;
    use crate::domain::ids::CallSid;
    use crate::observe::clock::unix_now;
    use std::time::Duration;

    #[actix::test]
    async fn what_is_to_come_is_told_before_an_erasure_and_called_off_by_it() {
        for test in TestDb::each() {
            let db = test.open();
            let now = unix_now();
            let person = |name: &str, number: &str| CustomerPatch {
                name: Some(name.into()),
                phone: Some(phone(number)),
                email: None,
            };
            let one = db.upsert_customer(person("one", "+12025550143"), None, now).await.unwrap();
            let other = db.upsert_customer(person("other", "+12025550144"), None, now).await.unwrap();
            let wanted = |customer: i64, hours: u64| NewAppointment {
                customer_id: Some(customer),
                service: "Haircut".into(),
                staff: "Marcus".into(),
                starts_at: now.after(Duration::from_secs(hours * 3_600)),
                minutes: 30,
                buffer_minutes: 0,
                notes: None,
            };
            let made = |outcome| match outcome {
                StaffOutcome::Done(detail) => detail,
                other => panic!("{other:?}"),
            };
            let coming = made(db.create_appointment(wanted(one.id, 24), now).await.unwrap());
            made(db.create_appointment(wanted(other.id, 48), now).await.unwrap());
            let before = now.0 - 86_400_000;
            let past = NewAppointment { starts_at: UnixMillis(before), ..wanted(one.id, 0) };
            made(db.create_appointment(past, now).await.unwrap());
            for (sid, number) in [("CA1", "+12025550143"), ("CA2", "+12025550144")] {
                let phone = Some(number.to_owned());
                let write = Write::Message {
                    key: None,
                    sid: CallSid::from(sid),
                    at: now,
                    name: None,
                    phone,
                    text: "x".into(),
                };
                db.write(write).await.unwrap();
            }
            let Erasure::Traces(dry) = db.traces_of(one.id).await.unwrap() else {
                panic!("there are traces")
            };
            let ids: Vec<i64> = dry.upcoming.iter().map(|upcoming| upcoming.id).collect();
            assert_eq!((ids, dry.appointments, dry.messages), (vec![coming.id], 2, 1));
            assert!(matches!(
                db.create_appointment(wanted(other.id, 24), now).await.unwrap(),
                StaffOutcome::Taken
            ));
            assert_eq!(db.erase_customer(one.id).await.unwrap(), Erasure::Traces(dry));
            let after = db.appointment(coming.id).await.unwrap().unwrap();
            assert_eq!((after.status, after.customer_id), (AppointmentStatus::Cancelled, None));
            made(db.create_appointment(wanted(other.id, 24), now).await.unwrap());
            assert_eq!(db.messages(10).await.unwrap().len(), 1, "the other's");
            db.shutdown().await;
        }
    }
}
