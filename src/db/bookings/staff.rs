//! Appointments as the staff make and move them. A move gives up the old time and takes the new one in one transaction,
//! so that nobody gets in between and nothing is lost if the new time is taken.

use super::{
    AnyConnection, DbError, Owner, Step, attempt, grains, person, slots, status_from_word, status_word, take,
};
use crate::db::activity::count;
use crate::db::connect::on_either;
use crate::db::schema::appointments;
use crate::db::{customers, time_off};
use crate::domain::appointment::AppointmentStatus;
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;

/// An appointment with all that is stored of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppointmentDetail {
    /// Database id.
    pub id: i64,
    /// Whose it is.
    pub customer_id: Option<i64>,
    /// The service's name.
    pub service: String,
    /// Who serves.
    pub staff: String,
    /// When it begins.
    pub starts_at: UnixMillis,
    /// How long it lasts, in minutes.
    pub minutes: u32,
    /// Minutes kept free after it.
    pub buffer_minutes: u32,
    /// How it stands.
    pub status: AppointmentStatus,
    /// The staff's notes.
    pub notes: Option<String>,
    /// The call it was booked in.
    pub call: Option<CallSid>,
    /// When it was booked.
    pub created_at: UnixMillis,
    /// When it was changed last.
    pub updated_at: UnixMillis,
}

/// An appointment to be made by the staff.
#[derive(Clone, Debug)]
pub struct NewAppointment {
    /// Whose it is.
    pub customer_id: Option<i64>,
    /// The service's name.
    pub service: String,
    /// Who serves; never empty.
    pub staff: String,
    /// When it begins.
    pub starts_at: UnixMillis,
    /// How long it lasts, in minutes.
    pub minutes: u32,
    /// Minutes kept free after it.
    pub buffer_minutes: u32,
    /// Notes.
    pub notes: Option<String>,
}

/// What is to be changed of an appointment; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct AppointmentChange {
    /// Whose it is; given as none, nobody's.
    pub customer_id: Option<Option<i64>>,
    /// The service's name.
    pub service: Option<String>,
    /// Who serves.
    pub staff: Option<String>,
    /// When it begins.
    pub starts_at: Option<UnixMillis>,
    /// When it began as that was worked out: of a new day and an old hour, say. If it begins at another time by now,
    /// nothing is changed.
    pub started_at: Option<UnixMillis>,
    /// How long it lasts, in minutes.
    pub minutes: Option<u32>,
    /// Notes; given as none, there are none.
    pub notes: Option<Option<String>>,
    /// Called off, or on again.
    pub status: Option<AppointmentStatus>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaffOutcome {
    /// Done: the row as committed.
    Done(AppointmentDetail),
    /// Somebody else has a part of that time.
    Taken,
    /// The person is off in a part of that time.
    TimeOff,
    /// It begins at another time than whoever changes it believes.
    Moved,
    /// There is no such appointment.
    Unknown,
    /// There is no such customer.
    UnknownCustomer,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = appointments)]
pub(in crate::db) struct DetailRow {
    pub(in crate::db) id: i64,
    customer_id: Option<i64>,
    service: String,
    staff: String,
    pub(in crate::db) starts_ms: i64,
    minutes: i32,
    buffer_minutes: i32,
    status: String,
    notes: Option<String>,
    call_sid: Option<String>,
    created_ms: i64,
    updated_ms: i64,
}

impl DetailRow {
    pub(in crate::db) fn detail(self) -> Result<AppointmentDetail, DbError> {
        Ok(AppointmentDetail {
            id: self.id,
            customer_id: self.customer_id,
            service: self.service,
            staff: self.staff,
            starts_at: UnixMillis(self.starts_ms),
            minutes: u32::try_from(self.minutes).unwrap_or(0),
            buffer_minutes: u32::try_from(self.buffer_minutes).unwrap_or(0),
            status: status_from_word(&self.status)?,
            notes: self.notes,
            call: self.call_sid.map(CallSid::new),
            created_at: UnixMillis(self.created_ms),
            updated_at: UnixMillis(self.updated_ms),
        })
    }
}

/// An appointment.
pub(in crate::db) fn detail(conn: &mut AnyConnection, id: i64) -> Result<Option<AppointmentDetail>, DbError> {
    appointments::table
        .find(id)
        .select(DetailRow::as_select())
        .first(conn)
        .optional()?
        .map(DetailRow::detail)
        .transpose()
}

/// Whether there is such a customer, who then stays as long as the transaction lasts.
fn known_customer(conn: &mut AnyConnection, id: Option<i64>) -> Result<bool, DbError> {
    id.map_or(Ok(true), |id| customers::keep(conn, id))
}

fn stored(minutes: u32) -> Result<i32, DbError> {
    i32::try_from(minutes).map_err(|_| DbError::BadAppointment)
}

/// Books for the staff: no call, no hold.
pub(in crate::db) fn create(
    conn: &mut AnyConnection,
    new: &NewAppointment,
    now: UnixMillis,
) -> Result<StaffOutcome, DbError> {
    let staff = person(&new.staff)?;
    let range = grains(new.starts_at, new.minutes.saturating_add(new.buffer_minutes))?;
    let (minutes, buffer) = (stored(new.minutes)?, stored(new.buffer_minutes)?);
    let made = attempt(conn, |conn| {
        if !known_customer(conn, new.customer_id)? {
            return Ok(Step::Keep(StaffOutcome::UnknownCustomer));
        }
        if time_off::blocks(conn, staff, new.starts_at, new.minutes)? {
            return Ok(Step::Keep(StaffOutcome::TimeOff));
        }
        let row: DetailRow = on_either!(conn, c => diesel::insert_into(appointments::table)
            .values((
                appointments::customer_id.eq(new.customer_id),
                appointments::service.eq(new.service.as_str()),
                appointments::staff.eq(staff),
                appointments::starts_ms.eq(new.starts_at.0),
                appointments::minutes.eq(minutes),
                appointments::buffer_minutes.eq(buffer),
                appointments::status.eq(status_word(AppointmentStatus::Confirmed)),
                appointments::notes.eq(new.notes.as_deref()),
                appointments::created_ms.eq(now.0),
                appointments::updated_ms.eq(now.0),
            ))
            .returning(DetailRow::as_returning())
            .get_result(c))?;
        let owner = Owner::Appointment { id: row.id, call: None };
        if !take(conn, staff, range.clone(), &owner, now)? {
            return Ok(Step::Undo);
        }
        count(conn, now.0, [("appointments_made", 1)])?;
        Ok(Step::Keep(StaffOutcome::Done(row.detail()?)))
    })?;
    Ok(made.unwrap_or(StaffOutcome::Taken))
}

/// Changes an appointment, its time included.
pub(in crate::db) fn change(
    conn: &mut AnyConnection,
    id: i64,
    change: &AppointmentChange,
    now: UnixMillis,
) -> Result<StaffOutcome, DbError> {
    let mut refused = StaffOutcome::Taken;
    let mut refuse = |outcome| {
        refused = outcome;
        Ok(Step::Undo)
    };
    let changed = attempt(conn, |conn| {
        // Locks the row: of two moves of one appointment the second waits for the first.
        let there = diesel::update(appointments::table.filter(appointments::id.eq(id)))
            .set(appointments::updated_ms.eq(now.0))
            .execute(conn)?;
        let old = if there > 0 { detail(conn, id)? } else { None };
        let Some(old) = old else { return refuse(StaffOutcome::Unknown) };
        if change.started_at.is_some_and(|believed| believed != old.starts_at) {
            return refuse(StaffOutcome::Moved);
        }
        let new = changed(&old, change)?;
        if new.customer_id != old.customer_id && !known_customer(conn, new.customer_id)? {
            return refuse(StaffOutcome::UnknownCustomer);
        }
        let confirmed = new.status == AppointmentStatus::Confirmed;
        let was_confirmed = old.status == AppointmentStatus::Confirmed;
        let time = |a: &AppointmentDetail| (a.starts_at, a.minutes, a.staff.clone());
        let moved = time(&old) != time(&new);
        let takes_time = confirmed && (moved || !was_confirmed);
        if takes_time && time_off::blocks(conn, &new.staff, new.starts_at, new.minutes)? {
            return refuse(StaffOutcome::TimeOff);
        }
        diesel::update(appointments::table.filter(appointments::id.eq(id)))
            .set((
                appointments::customer_id.eq(new.customer_id),
                appointments::service.eq(new.service.as_str()),
                appointments::staff.eq(new.staff.as_str()),
                appointments::starts_ms.eq(new.starts_at.0),
                appointments::minutes.eq(stored(new.minutes)?),
                appointments::status.eq(status_word(new.status)),
                appointments::notes.eq(new.notes.as_deref()),
            ))
            .execute(conn)?;
        if takes_time || !confirmed {
            diesel::delete(slots::table.filter(slots::appointment_id.eq(id))).execute(conn)?;
        }
        if takes_time {
            let range = grains(new.starts_at, new.minutes.saturating_add(new.buffer_minutes))?;
            if !take(conn, &new.staff, range, &Owner::Appointment { id, call: None }, now)? {
                return refuse(StaffOutcome::Taken);
            }
        }
        let called_off = was_confirmed && !confirmed;
        count(conn, now.0, [("appointments_cancelled", i64::from(called_off))])?;
        Ok(Step::Keep(AppointmentDetail { updated_at: now, ..new }))
    })?;
    Ok(changed.map_or(refused, StaffOutcome::Done))
}

/// The appointment as it is to be.
fn changed(old: &AppointmentDetail, change: &AppointmentChange) -> Result<AppointmentDetail, DbError> {
    let staff = match &change.staff {
        Some(staff) => person(staff)?.to_owned(),
        None => old.staff.clone(),
    };
    let new = AppointmentDetail {
        customer_id: change.customer_id.unwrap_or(old.customer_id),
        service: change.service.clone().unwrap_or_else(|| old.service.clone()),
        staff,
        starts_at: change.starts_at.unwrap_or(old.starts_at),
        minutes: change.minutes.unwrap_or(old.minutes),
        status: change.status.unwrap_or(old.status),
        notes: change.notes.clone().unwrap_or_else(|| old.notes.clone()),
        ..old.clone()
    };
    // Refuses what no calendar can hold before anything is written.
    grains(new.starts_at, new.minutes.saturating_add(new.buffer_minutes))?;
    Ok(new)
}
