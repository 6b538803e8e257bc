//! Appointments and holds, atomic by rows: each five minutes of a person's time is one row under a unique key, and
//! whoever inserts it has it. Each booking is a transaction of its own and takes its rows in rising order, so that two
//! that overlap wait for each other instead of locking each other out.

mod staff;

pub use staff::{AppointmentChange, AppointmentDetail, NewAppointment, StaffOutcome};
pub(super) use staff::{DetailRow, change, create, detail};

use super::activity::count;
use super::cached::{Put, Value};
use super::connect::{AnyConnection, on_either, write_transaction};
use super::customers;
use super::error::DbError;
use super::schema::{appointment_slots as slots, appointments};
use super::time_off;
use super::write::locked_call;
use crate::domain::appointment::{Appointment, AppointmentStatus, Busy};
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use std::ops::Range;

/// The grain of bookings: five minutes, in ms. Other starts and lengths are rounded outward.
pub const SLOT_MS: i64 = 5 * 60_000;

/// How often a booking that lost to a passing failure (a deadlock) is tried.
const TRIES: u32 = 3;

/// Keeps a slot for a call while its caller makes up their mind.
#[derive(Clone, Debug)]
pub struct HoldRequest {
    /// Whose offer it is.
    pub call: CallSid,
    /// Which owner of the call offers it; refused once somebody newer has the call.
    pub epoch: Epoch,
    /// Whose time.
    pub staff: String,
    /// First millisecond.
    pub starts_at: UnixMillis,
    /// Minutes, the buffer after the appointment included.
    pub minutes: u32,
    /// When the hold lapses.
    pub until: UnixMillis,
    /// Now, by which other holds have lapsed or not.
    pub now: UnixMillis,
}

/// Books an appointment.
#[derive(Clone, Debug)]
pub struct BookRequest {
    /// The call it is booked in.
    pub call: CallSid,
    /// Which owner of the call books; refused once somebody newer has the call.
    pub epoch: Epoch,
    /// Whose appointment, if known.
    pub customer_id: Option<i64>,
    /// Name of the service.
    pub service: String,
    /// Who serves; never empty.
    pub staff: String,
    /// When it begins.
    pub starts_at: UnixMillis,
    /// How long it lasts, in minutes.
    pub minutes: u32,
    /// Minutes kept free after it.
    pub buffer_minutes: u32,
    /// Now, by which holds have lapsed or not.
    pub now: UnixMillis,
}

/// What came of a booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookOutcome {
    /// Booked: the row as committed.
    Booked(Appointment),
    /// The same call had booked the same already.
    Already(Appointment),
    /// Somebody else has a part of that time.
    Taken,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = appointments)]
struct AppointmentRow {
    id: i64,
    customer_id: Option<i64>,
    service: String,
    staff: String,
    starts_ms: i64,
    minutes: i32,
    status: String,
    call_sid: Option<String>,
}

impl AppointmentRow {
    fn appointment(self) -> Result<Appointment, DbError> {
        Ok(Appointment {
            id: self.id,
            customer_id: self.customer_id,
            service: self.service,
            staff: self.staff,
            starts_at: UnixMillis(self.starts_ms),
            minutes: u32::try_from(self.minutes).unwrap_or(0),
            status: status_from_word(&self.status)?,
            call: self.call_sid.map(CallSid::new),
        })
    }
}

pub(super) const fn status_word(status: AppointmentStatus) -> &'static str {
    match status {
        AppointmentStatus::Confirmed => "confirmed",
        AppointmentStatus::Cancelled => "cancelled",
    }
}

fn status_from_word(word: &str) -> Result<AppointmentStatus, DbError> {
    match word {
        "confirmed" => Ok(AppointmentStatus::Confirmed),
        "cancelled" => Ok(AppointmentStatus::Cancelled),
        _ => Err(DbError::Word { column: "appointments.status" }),
    }
}

/// The rows that a stretch of time covers, as numbers of grains since 1970.
pub(super) fn grains(starts_at: UnixMillis, minutes: u32) -> Result<Range<i64>, DbError> {
    let bad = DbError::BadAppointment;
    if minutes == 0 || minutes > 24 * 60 {
        return Err(bad);
    }
    let Some(end) = starts_at.0.checked_add(i64::from(minutes) * 60_000) else { return Err(bad) };
    let Some(last) = end.checked_sub(1) else { return Err(bad) };
    let range = starts_at.0.div_euclid(SLOT_MS)..last.div_euclid(SLOT_MS).saturating_add(1);
    // Rounding outward must stay within what a time can say.
    if range.start.checked_mul(SLOT_MS).is_none() || range.end.checked_mul(SLOT_MS).is_none() {
        return Err(bad);
    }
    Ok(range)
}

/// Whose a row is to become.
enum Owner<'a> {
    Hold { call: &'a CallSid, id: String, until: UnixMillis },
    Appointment { id: i64, call: Option<&'a CallSid> },
}

/// Takes rows in rising order: free ones, lapsed holds, and holds of the same call. False as soon as one is
/// somebody else's.
fn take(
    conn: &mut AnyConnection,
    staff: &str,
    grains: Range<i64>,
    owner: &Owner<'_>,
    now: UnixMillis,
) -> Result<bool, DbError> {
    let (appointment, hold_call, hold_id, expires, call) = match owner {
        Owner::Hold { call, id, until } => {
            (None, Some(call.as_str()), Some(id.as_str()), Some(until.0), call.as_str())
        }
        // No call has the empty SID, so that an appointment without a call takes over lapsed holds only.
        Owner::Appointment { id, call } => {
            (Some(*id), None, None, None, call.map_or("", |call| call.as_str()))
        }
    };
    for grain in grains {
        let put = Put {
            sql: "INSERT INTO appointment_slots \
                  (staff, slot_start_ms, appointment_id, hold_call, hold_id, expires_ms) \
                  VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (staff, slot_start_ms) DO UPDATE \
                  SET appointment_id = excluded.appointment_id, hold_call = excluded.hold_call, \
                  hold_id = excluded.hold_id, expires_ms = excluded.expires_ms \
                  WHERE appointment_slots.appointment_id IS NULL \
                  AND (appointment_slots.expires_ms <= ? OR appointment_slots.hold_call = ?)",
            values: vec![
                Value::Text(staff),
                Value::Number(grain * SLOT_MS),
                Value::NumberOrNone(appointment),
                Value::TextOrNone(hold_call),
                Value::TextOrNone(hold_id),
                Value::NumberOrNone(expires),
                Value::Number(now.0),
                Value::Text(call),
            ],
        };
        let taken = put.run(conn)?;
        if taken == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives up a transaction whose work is not wanted, without calling it a failure.
enum Step<T> {
    Keep(T),
    Undo,
}

fn attempt<T>(
    conn: &mut AnyConnection,
    mut work: impl FnMut(&mut AnyConnection) -> Result<Step<T>, DbError>,
) -> Result<Option<T>, DbError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut undone = false;
        let result = write_transaction(conn, |conn| match work(conn)? {
            Step::Keep(value) => Ok(value),
            Step::Undo => {
                undone = true;
                Err(DbError::Query(diesel::result::Error::RollbackTransaction))
            }
        });
        match result {
            Ok(value) => return Ok(Some(value)),
            Err(_) if undone => return Ok(None),
            Err(error) if error.is_passing() && tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Refuses what is done in a call that somebody newer has: a process that was frozen must not book when it wakes. Keeps
/// the call from changing hands until the transaction ends. A call that is not known is nobody else's.
fn fence(conn: &mut AnyConnection, me: &ReplicaId, call: &CallSid, epoch: Epoch) -> Result<(), DbError> {
    match locked_call(conn, call) {
        Ok(call) => call.check(me, epoch),
        Err(DbError::UnknownCall(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Holds a slot for a call; false if somebody else has a part of it.
pub(super) fn hold(conn: &mut AnyConnection, me: &ReplicaId, request: &HoldRequest) -> Result<bool, DbError> {
    let staff = person(&request.staff)?;
    let range = grains(request.starts_at, request.minutes)?;
    let id = request.starts_at.0.to_string();
    let owner = Owner::Hold { call: &request.call, id, until: request.until };
    let held = attempt(conn, |conn| {
        fence(conn, me, &request.call, request.epoch)?;
        if time_off::blocks(conn, staff, request.starts_at, request.minutes)? {
            return Ok(Step::Undo);
        }
        Ok(if take(conn, staff, range.clone(), &owner, request.now)? { Step::Keep(()) } else { Step::Undo })
    })?;
    Ok(held.is_some())
}

/// Frees whatever a call holds, unless another replica has the call and these are its offers.
pub(super) fn release_holds(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    call: &CallSid,
) -> Result<usize, DbError> {
    let freed = attempt(conn, |conn| {
        match locked_call(conn, call).and_then(|call| call.check_replica(me)) {
            Ok(()) | Err(DbError::UnknownCall(_)) => {}
            Err(DbError::NotOurs { .. }) => return Ok(Step::Keep(0)),
            Err(error) => return Err(error),
        }
        let held = slots::table.filter(slots::hold_call.eq(call.as_str()));
        Ok(Step::Keep(diesel::delete(held).execute(conn)?))
    })?;
    Ok(freed.unwrap_or(0))
}

/// Books, if every five minutes of it can be had.
pub(super) fn book(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    request: &BookRequest,
) -> Result<BookOutcome, DbError> {
    let staff = person(&request.staff)?;
    let range = grains(request.starts_at, request.minutes.saturating_add(request.buffer_minutes))?;
    // `grains` allows a day at most; both parts fit.
    let minutes = i32::try_from(request.minutes).map_err(|_| DbError::BadAppointment)?;
    let buffer = i32::try_from(request.buffer_minutes).map_err(|_| DbError::BadAppointment)?;
    let booked = attempt(conn, |conn| {
        fence(conn, me, &request.call, request.epoch)?;
        if let Some(same) = booked_already(conn, request)? {
            return Ok(Step::Keep(BookOutcome::Already(same)));
        }
        if time_off::blocks(conn, staff, request.starts_at, request.minutes)? {
            return Ok(Step::Undo);
        }
        // Whoever was removed while they were on the telephone is booked for all the same: the call is still known.
        let customer_id = match request.customer_id {
            Some(id) if customers::keep(conn, id)? => Some(id),
            _ => None,
        };
        let row: AppointmentRow = on_either!(conn, c => diesel::insert_into(appointments::table)
            .values((
                appointments::customer_id.eq(customer_id),
                appointments::service.eq(request.service.as_str()),
                appointments::staff.eq(staff),
                appointments::starts_ms.eq(request.starts_at.0),
                appointments::minutes.eq(minutes),
                appointments::buffer_minutes.eq(buffer),
                appointments::status.eq(status_word(AppointmentStatus::Confirmed)),
                appointments::call_sid.eq(Some(request.call.as_str())),
                appointments::created_ms.eq(request.now.0),
                appointments::updated_ms.eq(request.now.0),
            ))
            .returning(AppointmentRow::as_returning())
            .get_result(c))?;
        let appointment = row.appointment()?;
        let owner = Owner::Appointment { id: appointment.id, call: Some(&request.call) };
        if !take(conn, staff, range.clone(), &owner, request.now)? {
            return Ok(Step::Undo);
        }
        count(conn, request.now.0, [("appointments_made", 1)])?;
        Ok(Step::Keep(BookOutcome::Booked(appointment)))
    })?;
    match booked {
        Some(outcome) => Ok(outcome),
        // The winner may be this call itself, asking twice at once.
        None => Ok(booked_already(conn, request)?.map_or(BookOutcome::Taken, BookOutcome::Already)),
    }
}

fn person(staff: &str) -> Result<&str, DbError> {
    let staff = staff.trim();
    if staff.is_empty() { Err(DbError::BadAppointment) } else { Ok(staff) }
}

fn booked_already(conn: &mut AnyConnection, request: &BookRequest) -> Result<Option<Appointment>, DbError> {
    appointments::table
        .filter(appointments::call_sid.eq(request.call.as_str()))
        .filter(appointments::service.eq(request.service.as_str()))
        .filter(appointments::staff.eq(request.staff.trim()))
        .filter(appointments::starts_ms.eq(request.starts_at.0))
        .filter(appointments::status.eq(status_word(AppointmentStatus::Confirmed)))
        .select(AppointmentRow::as_select())
        .first(conn)
        .optional()?
        .map(AppointmentRow::appointment)
        .transpose()
}

/// Takes whatever rows of an imported appointment are still free; true if all were.
pub(super) fn cover_imported(
    conn: &mut AnyConnection,
    id: i64,
    staff: &str,
    starts_at: UnixMillis,
    minutes: u32,
    now: UnixMillis,
) -> Result<bool, DbError> {
    let mut all = true;
    for grain in grains(starts_at, minutes)? {
        all &= take(conn, staff, grain..grain + 1, &Owner::Appointment { id, call: None }, now)?;
    }
    Ok(all)
}

/// Calls an appointment off and frees its time; false if there is none that is confirmed.
pub(super) fn cancel(conn: &mut AnyConnection, id: i64, now: UnixMillis) -> Result<bool, DbError> {
    let cancelled = attempt(conn, |conn| {
        let confirmed = appointments::table
            .filter(appointments::id.eq(id))
            .filter(appointments::status.eq(status_word(AppointmentStatus::Confirmed)));
        let changed = diesel::update(confirmed)
            .set((
                appointments::status.eq(status_word(AppointmentStatus::Cancelled)),
                appointments::updated_ms.eq(now.0),
            ))
            .execute(conn)?;
        diesel::delete(slots::table.filter(slots::appointment_id.eq(id))).execute(conn)?;
        count(conn, now.0, [("appointments_cancelled", i64::from(changed > 0))])?;
        Ok(Step::Keep(changed > 0))
    })?;
    Ok(cancelled.unwrap_or(false))
}

/// What is taken between two times: appointments with their buffers, holds that have not lapsed, those of `except` left
/// out, and time off. Slots are rounded outward to the grain, exactly as a booking would meet them.
pub(super) fn busy(
    conn: &mut AnyConnection,
    from: UnixMillis,
    to: UnixMillis,
    except: Option<&CallSid>,
    now: UnixMillis,
) -> Result<Vec<Busy>, DbError> {
    type Row = (String, i64, Option<i64>, Option<String>, Option<String>);
    let rows: Vec<Row> = slots::table
        .filter(slots::slot_start_ms.gt(from.0.saturating_sub(SLOT_MS)))
        .filter(slots::slot_start_ms.lt(to.0))
        .filter(
            slots::appointment_id
                .is_not_null()
                .or(slots::expires_ms.gt(now.0).and(slots::hold_call.ne(except.map_or("", CallSid::as_str)))),
        )
        .order((slots::staff.asc(), slots::slot_start_ms.asc()))
        .select((slots::staff, slots::slot_start_ms, slots::appointment_id, slots::hold_call, slots::hold_id))
        .load(conn)?;
    let mut taken: Vec<Busy> = Vec::new();
    let mut last_owner = (None, None, None);
    for (staff, start, appointment, hold_call, hold_id) in rows {
        let owner = (appointment, hold_call, hold_id);
        let end = UnixMillis(start.saturating_add(SLOT_MS));
        match taken.last_mut() {
            Some(last) if last.staff == staff && last.to.0 == start && last_owner == owner => last.to = end,
            _ => taken.push(Busy { staff, from: UnixMillis(start), to: end }),
        }
        last_owner = owner;
    }
    taken.extend(time_off::busy(conn, from, to)?);
    Ok(taken)
}

/// Appointments that begin in `[from, to)`, cancelled ones too, in the order of their start.
pub(super) fn between(
    conn: &mut AnyConnection,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Vec<Appointment>, DbError> {
    let rows: Vec<AppointmentRow> = appointments::table
        .filter(appointments::starts_ms.ge(from.0))
        .filter(appointments::starts_ms.lt(to.0))
        .order((appointments::starts_ms.asc(), appointments::id.asc()))
        .select(AppointmentRow::as_select())
        .load(conn)?;
    rows.into_iter().map(AppointmentRow::appointment).collect()
}

/// Appointments of a customer, latest start first.
pub(super) fn of_customer(
    conn: &mut AnyConnection,
    customer: i64,
    limit: u32,
) -> Result<Vec<Appointment>, DbError> {
    let rows: Vec<AppointmentRow> = appointments::table
        .filter(appointments::customer_id.eq(customer))
        .order((appointments::starts_ms.desc(), appointments::id.desc()))
        .limit(i64::from(limit))
        .select(AppointmentRow::as_select())
        .load(conn)?;
    rows.into_iter().map(AppointmentRow::appointment).collect()
}

/// The latest appointments by start.
pub(super) fn recent(conn: &mut AnyConnection, limit: u32) -> Result<Vec<Appointment>, DbError> {
    let rows: Vec<AppointmentRow> = appointments::table
        .order((appointments::starts_ms.desc(), appointments::id.desc()))
        .limit(i64::from(limit))
        .select(AppointmentRow::as_select())
        .load(conn)?;
    rows.into_iter().map(AppointmentRow::appointment).collect()
}

#[cfg(test)]
mod tests;
