//! Copies a prototype's SQLite file (customers, appointments, calls) into our database. The file is opened read-only
//! and never altered; what was copied before is not copied again.

use super::activity::{count, direction_counter, end_counter, flag_changes};
use super::bookings::{cover_imported, status_word};
use super::calls::caller_columns;
use super::connect::{AnyConnection, on_either, sqlite_uri, write_transaction};
use super::error::DbError;
use super::schema::{appointments, calls, customers};
use crate::domain::appointment::AppointmentStatus;
use crate::domain::call::{CallKind, CallStatus, Direction, EndReason};
use crate::domain::phone::{CallerId, PhoneNumber};
use crate::domain::time::UnixMillis;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel::sqlite::SqliteConnection;
use jiff::civil::{Date, DateTime, Time};
use std::collections::HashMap;
use std::path::Path;

/// What the prototype's file does not say by itself.
pub struct ImportRules<'a> {
    /// Where a local date and time of an appointment lies, in the business's zone.
    pub local: &'a dyn Fn(DateTime) -> Option<UnixMillis>,
    /// Reads a telephone number as the prototype stored it.
    pub phone: &'a dyn Fn(&str) -> Option<PhoneNumber>,
    /// Who serves where the prototype named nobody; never empty.
    pub default_staff: &'a str,
    /// Now: appointments that are over take no time any more.
    pub now: UnixMillis,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Customers made.
    pub customers: usize,
    /// Customers who were here already, by their number; what was missing of them was added.
    pub customers_matched: usize,
    /// Appointments made.
    pub appointments: usize,
    /// Calls made.
    pub calls: usize,
    /// Rows copied by an earlier import.
    pub copied_before: usize,
    /// Rows that were copied in part or not at all, and why.
    pub problems: Vec<ImportProblem>,
}

/// A row that could not be copied as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportProblem {
    /// The prototype's table.
    pub table: &'static str,
    /// Its row's id, as text.
    pub id: String,
    /// What was wrong.
    pub what: &'static str,
}

/// Copies the file at `old` in one transaction. Blocks.
pub fn import(
    old: &Path,
    conn: &mut AnyConnection,
    rules: &ImportRules<'_>,
) -> Result<ImportReport, DbError> {
    let mut source = SqliteConnection::establish(&sqlite_uri(old, "ro"))?;
    source.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON")?;
    // One moment of the file, even if the prototype still writes to it.
    source.transaction(|source| {
        let old_customers =
            rows(source, "customers", &["name", "phone", "email", "notes", "created_at", "updated_at"])?;
        let old_appointments = rows(
            source,
            "appointments",
            &[
                "customer_id",
                "service",
                "staff",
                "date",
                "time",
                "duration",
                "status",
                "notes",
                "created_at",
                "updated_at",
            ],
        )?;
        let old_calls = rows(
            source,
            "calls",
            &[
                "call_sid",
                "phone_number",
                "direction",
                "duration",
                "transcript",
                "summary",
                "lead_captured",
                "appointment_booked",
                "customer_id",
                "status",
                "started_at",
                "ended_at",
            ],
        )?;
        write_transaction(conn, |conn| {
            let mut copy = Copy { conn, rules, report: ImportReport::default(), people: HashMap::new() };
            old_customers.iter().try_for_each(|row| copy.customer(row))?;
            old_appointments.iter().try_for_each(|row| copy.appointment(row))?;
            old_calls.iter().try_for_each(|row| copy.call(row))?;
            Ok(copy.report)
        })
    })
}

/// A row of the prototype's, every column as text.
struct OldRow {
    id: String,
    columns: HashMap<&'static str, String>,
}

impl OldRow {
    /// A column's text; blank counts as absent.
    fn text(&self, column: &str) -> Option<&str> {
        self.columns.get(column).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn number(&self, column: &str) -> Option<i64> {
        let text = self.text(column)?;
        text.parse().ok().or_else(|| text.split('.').next()?.parse().ok())
    }

    fn flag(&self, column: &str) -> bool {
        matches!(self.text(column), Some("1" | "true" | "TRUE"))
    }

    /// A time as `YYYY-MM-DD HH:MM:SS` in UTC, which is what SQLite's `CURRENT_TIMESTAMP` gives.
    fn time(&self, column: &str) -> Option<UnixMillis> {
        utc(self.text(column)?)
    }

    /// What a row is known by after it was copied. The time of its making tells files of two installations apart.
    fn key(&self) -> String {
        format!("{}@{}", self.id, self.text("created_at").unwrap_or_default())
    }
}

fn utc(text: &str) -> Option<UnixMillis> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(UnixMillis(instant.as_millisecond()));
    }
    let civil: DateTime = text.parse().ok()?;
    let instant = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(UnixMillis(instant.timestamp().as_millisecond()))
}

/// A time of day, `HH:MM`, with seconds or `AM`/`PM` if they are there.
fn clock(text: &str) -> Option<Time> {
    let upper = text.trim().to_ascii_uppercase();
    let (digits, half) = match (upper.strip_suffix("AM"), upper.strip_suffix("PM")) {
        (Some(digits), _) => (digits.trim_end(), Some(0)),
        (_, Some(digits)) => (digits.trim_end(), Some(12)),
        _ => (upper.as_str(), None),
    };
    let mut parts = digits.split(':').map(|part| part.parse::<i8>().ok());
    let hour = parts.next()??;
    let minute = match parts.next() {
        Some(minute) => minute?,
        None => 0,
    };
    let hour = match half {
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(offset) => hour % 12 + offset,
        None => hour,
    };
    Time::new(hour, minute, 0, 0).ok()
}

#[derive(QueryableByName)]
struct ColumnName {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Nullable<Text>)]
    value: Option<String>,
}

/// Reads a table column by column as text: the prototype's columns have whatever type a row was given. Tables and
/// columns that an older prototype lacked are read as empty.
fn rows(
    source: &mut SqliteConnection,
    table: &'static str,
    wanted: &[&'static str],
) -> Result<Vec<OldRow>, DbError> {
    let found: Vec<ColumnName> =
        diesel::sql_query(format!("SELECT name FROM pragma_table_info('{table}')")).load(source)?;
    let has = |column: &str| found.iter().any(|f| f.name == column);
    if !has("id") {
        return Ok(Vec::new());
    }
    let mut rows: Vec<OldRow> = Vec::new();
    let ids: Vec<Cell> = diesel::sql_query(format!(
        "SELECT CAST(id AS TEXT) AS id, NULL AS value FROM {table} ORDER BY rowid"
    ))
    .load(source)?;
    let mut place: HashMap<String, usize> = HashMap::new();
    for cell in ids {
        place.insert(cell.id.clone(), rows.len());
        rows.push(OldRow { id: cell.id, columns: HashMap::new() });
    }
    for column in wanted.iter().copied().filter(|column| has(column)) {
        let cells: Vec<Cell> = diesel::sql_query(format!(
            "SELECT CAST(id AS TEXT) AS id, CAST({column} AS TEXT) AS value FROM {table} WHERE {column} IS NOT NULL"
        ))
        .load(source)?;
        for cell in cells {
            let row = place.get(&cell.id).and_then(|index| rows.get_mut(*index));
            if let (Some(row), Some(value)) = (row, cell.value) {
                row.columns.insert(column, value);
            }
        }
    }
    Ok(rows)
}

struct Copy<'a> {
    conn: &'a mut AnyConnection,
    rules: &'a ImportRules<'a>,
    report: ImportReport,
    /// The prototype's customer ids and ours.
    people: HashMap<String, i64>,
}

impl Copy<'_> {
    fn problem(&mut self, table: &'static str, row: &OldRow, what: &'static str) {
        self.report.problems.push(ImportProblem { table, id: row.id.clone(), what });
    }

    fn person(&self, row: &OldRow) -> Option<i64> {
        self.people.get(row.text("customer_id")?).copied()
    }

    fn customer(&mut self, row: &OldRow) -> Result<(), DbError> {
        let key = row.key();
        let before = customers::table
            .filter(customers::import_key.eq(key.as_str()))
            .select(customers::id)
            .first::<i64>(self.conn)
            .optional()?;
        if let Some(id) = before {
            self.people.insert(row.id.clone(), id);
            self.report.copied_before += 1;
            return Ok(());
        }
        let phone = row.text("phone").and_then(|text| (self.rules.phone)(text));
        let mut notes = row.text("notes").map(str::to_owned);
        if phone.is_none()
            && let Some(text) = row.text("phone")
        {
            // Not lost, but nobody is recognised by it.
            notes = Some(
                notes.map_or_else(|| format!("Phone: {text}"), |notes| format!("{notes}\nPhone: {text}")),
            );
            self.problem(
                "customers",
                row,
                "the telephone number is not understood; it was kept in the notes",
            );
        }
        let made = row.time("created_at").unwrap_or(self.rules.now);
        let same = match &phone {
            Some(phone) => customers::table
                .filter(customers::phone.eq(phone.as_str()))
                .select((customers::id, customers::name, customers::email, customers::notes))
                .first::<(i64, Option<String>, Option<String>, Option<String>)>(self.conn)
                .optional()?,
            None => None,
        };
        let id = match same {
            Some((id, name, email, old_notes)) => {
                diesel::update(customers::table.find(id))
                    .set((
                        customers::name.eq(name.as_deref().or(row.text("name"))),
                        customers::email.eq(email.as_deref().or(row.text("email"))),
                        customers::notes.eq(old_notes.or(notes)),
                    ))
                    .execute(self.conn)?;
                self.report.customers_matched += 1;
                id
            }
            None => {
                self.report.customers += 1;
                on_either!(&mut *self.conn, c => diesel::insert_into(customers::table)
                    .values((
                        customers::name.eq(row.text("name")),
                        customers::phone.eq(phone.as_ref().map(PhoneNumber::as_str)),
                        customers::email.eq(row.text("email")),
                        customers::notes.eq(notes.as_deref()),
                        customers::import_key.eq(Some(key.as_str())),
                        customers::created_ms.eq(made.0),
                        customers::updated_ms.eq(row.time("updated_at").unwrap_or(made).0),
                    ))
                    .returning(customers::id)
                    .get_result::<i64>(c))?
            }
        };
        self.people.insert(row.id.clone(), id);
        Ok(())
    }

    fn appointment(&mut self, row: &OldRow) -> Result<(), DbError> {
        const TABLE: &str = "appointments";
        let key = row.key();
        let before: i64 = appointments::table
            .filter(appointments::import_key.eq(key.as_str()))
            .count()
            .get_result(self.conn)?;
        if before > 0 {
            self.report.copied_before += 1;
            return Ok(());
        }
        let date = row.text("date").and_then(|text| text.parse::<Date>().ok());
        let time = row.text("time").and_then(clock);
        let (Some(date), Some(time)) = (date, time) else {
            self.problem(TABLE, row, "the date or time is not understood; not copied");
            return Ok(());
        };
        let Some(starts_at) = (self.rules.local)(date.to_datetime(time)) else {
            self.problem(TABLE, row, "the time does not exist in the business's zone; not copied");
            return Ok(());
        };
        let minutes = match row.number("duration") {
            Some(minutes) if (1..=24 * 60).contains(&minutes) => i32::try_from(minutes).unwrap_or(30),
            _ => {
                self.problem(TABLE, row, "the duration is missing or odd; taken as 30 minutes");
                30
            }
        };
        let status = match row.text("status") {
            Some("cancelled" | "canceled") => AppointmentStatus::Cancelled,
            _ => AppointmentStatus::Confirmed,
        };
        let nobody = ["any", "anyone", "any available"];
        let staff = row
            .text("staff")
            .filter(|staff| !nobody.contains(&staff.to_lowercase().as_str()))
            .unwrap_or(self.rules.default_staff);
        let made = row.time("created_at").unwrap_or(self.rules.now);
        let customer = self.person(row);
        let id = on_either!(&mut *self.conn, c => diesel::insert_into(appointments::table)
            .values((
                appointments::customer_id.eq(customer),
                appointments::service.eq(row.text("service").unwrap_or("appointment")),
                appointments::staff.eq(staff),
                appointments::starts_ms.eq(starts_at.0),
                appointments::minutes.eq(minutes),
                appointments::status.eq(status_word(status)),
                appointments::notes.eq(row.text("notes")),
                appointments::import_key.eq(Some(key.as_str())),
                appointments::created_ms.eq(made.0),
                appointments::updated_ms.eq(row.time("updated_at").unwrap_or(made).0),
            ))
            .returning(appointments::id)
            .get_result::<i64>(c))?;
        self.report.appointments += 1;
        count(self.conn, made.0, [("appointments_made", 1)])?;

        let length = u32::try_from(minutes).unwrap_or(30);
        let over = starts_at.0.saturating_add(i64::from(minutes) * 60_000) <= self.rules.now.0;
        if status == AppointmentStatus::Confirmed
            && !over
            && !cover_imported(self.conn, id, staff, starts_at, length, self.rules.now)?
        {
            self.problem(TABLE, row, "it overlaps another appointment of the same person");
        }
        Ok(())
    }

    fn call(&mut self, row: &OldRow) -> Result<(), DbError> {
        let sid = match row.text("call_sid") {
            Some(sid) => sid.to_owned(),
            None => format!("prototype-{}@{}", row.id, row.text("started_at").unwrap_or_default()),
        };
        let before: i64 =
            calls::table.filter(calls::call_sid.eq(sid.as_str())).count().get_result(self.conn)?;
        if before > 0 {
            self.report.copied_before += 1;
            return Ok(());
        }
        let Some(started) = row.time("started_at") else {
            self.problem("calls", row, "the time of its start is not understood; not copied");
            return Ok(());
        };
        let caller = match row.text("phone_number") {
            None => CallerId::Withheld,
            Some(text) => match (self.rules.phone)(text) {
                Some(number) => CallerId::Number(number),
                None => CallerId::Raw(text.into()),
            },
        };
        let (caller_kind, phone_number) = caller_columns(&caller);
        let direction = row.text("direction").and_then(Direction::from_word).unwrap_or(Direction::Inbound);
        // A call the prototype never closed was lost; nothing imported may count as still going on.
        let status = row.text("status").and_then(CallStatus::from_word);
        let closed = row.time("ended_at").is_some();
        let reason = match status.and_then(EndReason::from_status) {
            Some(reason) => reason,
            None if closed => EndReason::Completed,
            None => EndReason::Lost,
        };
        let seconds = row
            .number("duration")
            .map(|seconds| seconds.max(0))
            .or_else(|| Some(i64::try_from(row.time("ended_at")?.millis_since(started) / 1_000).unwrap_or(0)))
            .unwrap_or(0);
        let ended =
            row.time("ended_at").map_or(started.0.saturating_add(seconds.saturating_mul(1_000)), |at| at.0);
        let answered = (reason == EndReason::Completed).then_some(started.0);
        let summary_state = if row.text("summary").is_some() { "done" } else { "none" };
        let values = (
            calls::call_sid.eq(sid.as_str()),
            calls::admission.eq("imported"),
            calls::kind.eq(CallKind::Twilio.as_str()),
            calls::direction.eq(direction.as_str()),
            calls::caller_kind.eq(caller_kind),
            calls::phone_number.eq(phone_number),
            calls::business_number.eq(""),
            calls::status.eq(reason.status().as_str()),
            calls::end_reason.eq(Some(reason.as_str())),
            calls::lead_captured.eq(row.flag("lead_captured")),
            calls::appointment_booked.eq(row.flag("appointment_booked")),
            calls::customer_id.eq(self.person(row)),
            calls::started_ms.eq(started.0),
            calls::answered_ms.eq(answered),
            calls::ended_ms.eq(Some(ended)),
            calls::duration_s.eq(Some(seconds)),
            calls::transcript.eq(row.text("transcript")),
            calls::summary.eq(row.text("summary")),
            calls::summary_state.eq(summary_state),
            calls::epoch.eq(0),
        );
        diesel::insert_into(calls::table).values(values).execute(self.conn)?;
        let flags = [row.flag("lead_captured"), row.flag("appointment_booked"), false, false, false];
        let changes = [(direction_counter(direction), 1), (end_counter(reason), 1), ("duration_s", seconds)];
        count(self.conn, started.0, changes.into_iter().chain(flag_changes([false; 5], flags)))?;
        self.report.calls += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
