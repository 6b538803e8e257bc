//! Pages of calls, and one call's turns and events.

use super::search::{SearchWords, found_calls};
use super::{Cursor, Either, ListKind, Listed, Page};
use crate::db::calls::{CallOverview, CallRow, StoredEvent, TurnRow};
use crate::db::connect::AnyConnection;
use crate::db::error::DbError;
use crate::db::schema::{call_events, calls, turns};
use crate::domain::audit::AuditEvent;
use crate::domain::call::{CallStatus, Direction};
use crate::domain::ids::CallSid;
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use crate::domain::turn::TurnRecord;
use diesel::prelude::*;
use std::collections::HashMap;

/// Something a call achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFlag {
    /// A name, number or address was left.
    LeadCaptured,
    /// An appointment was booked.
    AppointmentBooked,
    /// A message was taken.
    MessageTaken,
    /// The caller was handed to a person.
    Transferred,
    /// Something is left to do.
    FollowUp,
}

/// Which calls; all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// How it stands.
    pub status: Option<CallStatus>,
    /// Who placed it.
    pub direction: Option<Direction>,
    /// What it achieved.
    pub flags: Vec<CallFlag>,
    /// Began then or later.
    pub from: Option<UnixMillis>,
    /// Began before.
    pub to: Option<UnixMillis>,
    /// Whose.
    pub customer_id: Option<i64>,
    /// With whom.
    pub phone: Option<PhoneNumber>,
    /// What was said in it; then calls come in the order in which they were let in, newest first, and only those that
    /// have ended.
    pub words: Option<SearchWords>,
}

impl CallFilter {
    /// Which list's cursors fit.
    pub const fn kind(&self) -> ListKind {
        if self.words.is_some() { ListKind::FoundCalls } else { ListKind::Calls }
    }
}

/// Calls, newest first.
pub(super) fn list(
    conn: &mut AnyConnection,
    filter: &CallFilter,
    page: Page,
) -> Result<Listed<CallOverview>, DbError> {
    if let Some(words) = &filter.words {
        let ids = found_calls(conn, words, filter, page)?;
        let items = by_ids(conn, &ids.items)?;
        return Ok(Listed { items, next: ids.next });
    }
    let mut query = calls::table
        .select(CallRow::as_select())
        .order((calls::started_ms.desc(), calls::id.desc()))
        .limit(page.fetch())
        .into_boxed::<Either>();
    if let Some(status) = filter.status {
        query = query.filter(calls::status.eq(status.as_str()));
    }
    if let Some(direction) = filter.direction {
        query = query.filter(calls::direction.eq(direction.as_str()));
    }
    for flag in &filter.flags {
        // The bare column, which is what the partial indexes are made for.
        query = match flag {
            CallFlag::LeadCaptured => query.filter(calls::lead_captured),
            CallFlag::AppointmentBooked => query.filter(calls::appointment_booked),
            CallFlag::MessageTaken => query.filter(calls::message_taken),
            CallFlag::Transferred => query.filter(calls::transferred),
            CallFlag::FollowUp => query.filter(calls::follow_up),
        };
    }
    if let Some(from) = filter.from {
        query = query.filter(calls::started_ms.ge(from.0));
    }
    if let Some(to) = filter.to {
        query = query.filter(calls::started_ms.lt(to.0));
    }
    if let Some(customer) = filter.customer_id {
        query = query.filter(calls::customer_id.eq(customer));
    }
    if let Some(phone) = &filter.phone {
        query = query.filter(calls::phone_number.eq(phone.as_str().to_owned()));
    }
    if let Some(after) = page.after {
        // The first half is what an index can be entered by.
        query = query
            .filter(calls::started_ms.le(after.key))
            .filter(calls::started_ms.lt(after.key).or(calls::id.lt(after.id)));
    }
    let rows: Vec<CallRow> = query.load(conn)?;
    page.cut(rows, |row| Cursor::new(ListKind::Calls, row.started_ms, row.id)).try_map(CallRow::overview)
}

/// Calls in the order of their ids, newest first.
pub(super) fn by_ids(conn: &mut AnyConnection, ids: &[i64]) -> Result<Vec<CallOverview>, DbError> {
    // Of none, a database may go through all rows to find that out.
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<CallRow> = calls::table
        .filter(calls::id.eq_any(ids.to_vec()))
        .order(calls::id.desc())
        .select(CallRow::as_select())
        .load(conn)?;
    rows.into_iter().map(CallRow::overview).collect()
}

/// Ids by Twilio's identifiers.
pub(super) fn ids(conn: &mut AnyConnection, sids: &[CallSid]) -> Result<HashMap<CallSid, i64>, DbError> {
    let texts: Vec<String> = sids.iter().map(|sid| sid.as_str().to_owned()).collect();
    let rows: Vec<(String, i64)> =
        calls::table.filter(calls::call_sid.eq_any(texts)).select((calls::call_sid, calls::id)).load(conn)?;
    Ok(rows.into_iter().map(|(sid, id)| (CallSid::new(sid), id)).collect())
}

/// One call.
pub(super) fn by_id(conn: &mut AnyConnection, id: i64) -> Result<Option<CallOverview>, DbError> {
    calls::table
        .find(id)
        .select(CallRow::as_select())
        .first(conn)
        .optional()?
        .map(CallRow::overview)
        .transpose()
}

/// A call's turns, in order.
pub(super) fn turns(
    conn: &mut AnyConnection,
    call_id: i64,
    page: Page,
) -> Result<Listed<TurnRecord>, DbError> {
    let rows: Vec<TurnRow> = turns::table
        .filter(turns::call_id.eq(call_id))
        .filter(turns::n.gt(page.after.map_or(i64::MIN, |after| after.id)))
        .order(turns::n.asc())
        .limit(page.fetch())
        .select(TurnRow::as_select())
        .load(conn)?;
    page.cut(rows, |row| Cursor::new(ListKind::Turns, 0, row.n)).try_map(TurnRow::turn)
}

/// A call's audit trail, in order.
pub(super) fn events(
    conn: &mut AnyConnection,
    sid: &CallSid,
    page: Page,
) -> Result<Listed<StoredEvent>, DbError> {
    let rows: Vec<(i64, i64, String, String)> = call_events::table
        .filter(call_events::call_sid.eq(sid.as_str()))
        .filter(call_events::id.gt(page.after.map_or(i64::MIN, |after| after.id)))
        .order(call_events::id.asc())
        .limit(page.fetch())
        .select((call_events::id, call_events::at_ms, call_events::code, call_events::detail))
        .load(conn)?;
    page.cut(rows, |row| Cursor::new(ListKind::Events, 0, row.0)).try_map(|(id, at, code, detail)| {
        let event = AuditEvent { code, detail: serde_json::from_str(&detail)? };
        Ok(StoredEvent { id, at: UnixMillis(at), event })
    })
}
