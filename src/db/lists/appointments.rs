//! Pages of appointments.

use super::{Cursor, Either, ListKind, Listed, Page};
use crate::db::bookings::{AppointmentDetail, DetailRow, status_word};
use crate::db::connect::AnyConnection;
use crate::db::error::DbError;
use crate::db::schema::appointments;
use crate::domain::appointment::AppointmentStatus;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;

/// Which appointments; all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct AppointmentFilter {
    /// Begins then or later.
    pub from: Option<UnixMillis>,
    /// Begins before.
    pub to: Option<UnixMillis>,
    /// With whom.
    pub staff: Option<String>,
    /// Whose.
    pub customer_id: Option<i64>,
    /// How it stands.
    pub status: Option<AppointmentStatus>,
}

impl AppointmentFilter {
    /// Whether they come in the order of a calendar, earliest first, as they do when it is said from when. Else the
    /// latest comes first.
    pub const fn forward(&self) -> bool {
        self.from.is_some()
    }

    /// Which list's cursors fit.
    pub const fn kind(&self) -> ListKind {
        if self.forward() { ListKind::AppointmentsForward } else { ListKind::AppointmentsBackward }
    }
}

/// Appointments, cancelled ones too.
pub(super) fn list(
    conn: &mut AnyConnection,
    filter: &AppointmentFilter,
    page: Page,
) -> Result<Listed<AppointmentDetail>, DbError> {
    let mut query =
        appointments::table.select(DetailRow::as_select()).limit(page.fetch()).into_boxed::<Either>();
    query = if filter.forward() {
        query.order((appointments::starts_ms.asc(), appointments::id.asc()))
    } else {
        query.order((appointments::starts_ms.desc(), appointments::id.desc()))
    };
    if let Some(from) = filter.from {
        query = query.filter(appointments::starts_ms.ge(from.0));
    }
    if let Some(to) = filter.to {
        query = query.filter(appointments::starts_ms.lt(to.0));
    }
    if let Some(staff) = &filter.staff {
        query = query.filter(appointments::staff.eq(staff.clone()));
    }
    if let Some(customer) = filter.customer_id {
        query = query.filter(appointments::customer_id.eq(customer));
    }
    if let Some(status) = filter.status {
        query = query.filter(appointments::status.eq(status_word(status)));
    }
    if let Some(after) = page.after {
        query = if filter.forward() {
            query
                .filter(appointments::starts_ms.ge(after.key))
                .filter(appointments::starts_ms.gt(after.key).or(appointments::id.gt(after.id)))
        } else {
            query
                .filter(appointments::starts_ms.le(after.key))
                .filter(appointments::starts_ms.lt(after.key).or(appointments::id.lt(after.id)))
        };
    }
    let rows: Vec<DetailRow> = query.load(conn)?;
    let kind = filter.kind();
    page.cut(rows, |row| Cursor::new(kind, row.starts_ms, row.id)).try_map(DetailRow::detail)
}

/// Confirmed appointments that begin in a stretch of time, of one person or of all.
pub(super) fn confirmed(
    conn: &mut AnyConnection,
    staff: Option<&str>,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<i64, DbError> {
    let all = appointments::table
        .filter(appointments::starts_ms.ge(from.0))
        .filter(appointments::starts_ms.lt(to.0))
        .filter(appointments::status.eq(status_word(AppointmentStatus::Confirmed)));
    Ok(match staff {
        Some(staff) => all.filter(appointments::staff.eq(staff)).count().get_result(conn)?,
        None => all.count().get_result(conn)?,
    })
}
