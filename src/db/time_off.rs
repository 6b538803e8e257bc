//! Time in which a person, or everybody, is not booked.

use super::connect::{AnyConnection, on_either, write_transaction};
use super::error::DbError;
use super::lists::{Cursor, ListKind, Listed, Page};
use super::schema::time_off;
use crate::domain::appointment::Busy;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;

/// A stretch of time in which nobody, or one person not, is booked.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = time_off)]
struct Row {
    id: i64,
    staff: Option<String>,
    from_ms: i64,
    to_ms: i64,
    reason: Option<String>,
    created_ms: i64,
    created_by: Option<String>,
}

/// A stretch of time in which a person is not booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeOff {
    /// Database id.
    pub id: i64,
    /// Whose; everybody's if absent.
    pub staff: Option<String>,
    /// First millisecond.
    pub from: UnixMillis,
    /// First millisecond after it.
    pub to: UnixMillis,
    /// Why.
    pub reason: Option<String>,
    /// When it was entered.
    pub created_at: UnixMillis,
    /// Who entered it.
    pub created_by: Option<String>,
}

impl From<Row> for TimeOff {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            staff: row.staff,
            from: UnixMillis(row.from_ms),
            to: UnixMillis(row.to_ms),
            reason: row.reason,
            created_at: UnixMillis(row.created_ms),
            created_by: row.created_by,
        }
    }
}

/// Time off to be entered; `from` lies before `to`.
#[derive(Clone, Debug)]
pub struct NewTimeOff {
    /// Whose; everybody's if absent.
    pub staff: Option<String>,
    /// First millisecond.
    pub from: UnixMillis,
    /// First millisecond after it.
    pub to: UnixMillis,
    /// Why.
    pub reason: Option<String>,
    /// Who enters it.
    pub by: Option<String>,
}

pub(super) fn add(conn: &mut AnyConnection, new: &NewTimeOff, now: UnixMillis) -> Result<TimeOff, DbError> {
    let row: Row = on_either!(conn, c => diesel::insert_into(time_off::table)
        .values((
            time_off::staff.eq(new.staff.as_deref()),
            time_off::from_ms.eq(new.from.0),
            time_off::to_ms.eq(new.to.0),
            time_off::reason.eq(new.reason.as_deref()),
            time_off::created_ms.eq(now.0),
            time_off::created_by.eq(new.by.as_deref()),
        ))
        .returning(Row::as_returning())
        .get_result(c))?;
    Ok(row.into())
}

/// Takes time off back; false if there is none of that id.
pub(super) fn remove(conn: &mut AnyConnection, id: i64) -> Result<bool, DbError> {
    write_transaction(conn, |conn| Ok(diesel::delete(time_off::table.find(id)).execute(conn)? > 0))
}

/// Time off that touches `[from, to)`, in the order of its beginning.
pub(super) fn list(
    conn: &mut AnyConnection,
    from: Option<UnixMillis>,
    to: Option<UnixMillis>,
    page: Page,
) -> Result<Listed<TimeOff>, DbError> {
    let mut query = time_off::table
        .select(Row::as_select())
        .order((time_off::from_ms.asc(), time_off::id.asc()))
        .limit(page.fetch())
        .into_boxed::<<AnyConnection as Connection>::Backend>();
    if let Some(from) = from {
        query = query.filter(time_off::to_ms.gt(from.0));
    }
    if let Some(to) = to {
        query = query.filter(time_off::from_ms.lt(to.0));
    }
    if let Some(after) = page.after {
        query = query
            .filter(time_off::from_ms.ge(after.key))
            .filter(time_off::from_ms.gt(after.key).or(time_off::id.gt(after.id)));
    }
    let rows: Vec<Row> = query.load(conn)?;
    let items = rows.into_iter().map(TimeOff::from).collect();
    Ok(page.cut(items, |item: &TimeOff| Cursor::new(ListKind::TimeOff, item.from.0, item.id)))
}

fn touching(conn: &mut AnyConnection, from: i64, to: i64) -> Result<Vec<Row>, DbError> {
    let rows = time_off::table
        .filter(time_off::to_ms.gt(from))
        .filter(time_off::from_ms.lt(to))
        .order((time_off::from_ms.asc(), time_off::id.asc()))
        .select(Row::as_select())
        .load(conn)?;
    Ok(rows)
}

/// What is taken between two times. Nobody's name (an empty one) is everybody's.
pub(super) fn busy(conn: &mut AnyConnection, from: UnixMillis, to: UnixMillis) -> Result<Vec<Busy>, DbError> {
    let rows = touching(conn, from.0, to.0)?;
    Ok(rows
        .into_iter()
        .map(|row| Busy {
            staff: row.staff.unwrap_or_default(),
            from: UnixMillis(row.from_ms),
            to: UnixMillis(row.to_ms),
        })
        .collect())
}

/// Whether a person is off in some part of `minutes` from a time on.
pub(super) fn blocks(
    conn: &mut AnyConnection,
    staff: &str,
    starts_at: UnixMillis,
    minutes: u32,
) -> Result<bool, DbError> {
    let end = starts_at.0.saturating_add(i64::from(minutes) * 60_000);
    let rows = touching(conn, starts_at.0, end)?;
    let whose = |row: &Row| match row.staff.as_deref() {
        Some(other) => other.trim().to_lowercase() == staff.trim().to_lowercase(),
        None => true,
    };
    Ok(rows.iter().any(whose))
}
