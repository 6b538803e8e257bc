//! `/api/export`: calls, customers and appointments as files, sent as they are read.

use super::access::{Access, Read};
use super::appointments::{self, AppointmentBody};
use super::calls::{self, CallBody};
use super::common::{Clock, Shared};
use super::customers::{self, CustomerBody};
use super::problem::{ApiResult, Problem};
use crate::db::{AppointmentFilter, CallFilter, Cursor, Page as DbPage};
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, get, web};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa_actix_web::service_config::ServiceConfig;

/// Rows that are read at once.
const CHUNK: u32 = 500;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(send_file);
}

/// What can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Calls,
    Customers,
    Appointments,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
}

/// The files there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
enum File {
    #[serde(rename = "calls.csv")]
    CallsCsv,
    #[serde(rename = "calls.json")]
    CallsJson,
    #[serde(rename = "customers.csv")]
    CustomersCsv,
    #[serde(rename = "customers.json")]
    CustomersJson,
    #[serde(rename = "appointments.csv")]
    AppointmentsCsv,
    #[serde(rename = "appointments.json")]
    AppointmentsJson,
}

impl File {
    const fn parts(self) -> (Table, Format) {
        match self {
            Self::CallsCsv => (Table::Calls, Format::Csv),
            Self::CallsJson => (Table::Calls, Format::Json),
            Self::CustomersCsv => (Table::Customers, Format::Csv),
            Self::CustomersJson => (Table::Customers, Format::Json),
            Self::AppointmentsCsv => (Table::Appointments, Format::Csv),
            Self::AppointmentsJson => (Table::Appointments, Format::Json),
        }
    }

    /// The file of a name.
    fn of(name: &str) -> Option<Self> {
        serde_json::from_value(Value::String(name.to_owned())).ok()
    }
}

const CALL_COLUMNS: [&str; 16] = [
    "id",
    "call_sid",
    "phone_number",
    "direction",
    "status",
    "end_reason",
    "duration",
    "summary",
    "lead_captured",
    "appointment_booked",
    "message_taken",
    "transferred",
    "follow_up",
    "customer_id",
    "started_at",
    "ended_at",
];
const CUSTOMER_COLUMNS: [&str; 7] = ["id", "name", "phone", "email", "notes", "created_at", "updated_at"];
const APPOINTMENT_COLUMNS: [&str; 12] = [
    "id",
    "customer_id",
    "customer_name",
    "service",
    "staff",
    "date",
    "time",
    "duration",
    "status",
    "notes",
    "created_at",
    "updated_at",
];

impl Table {
    const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Calls => &CALL_COLUMNS,
            Self::Customers => &CUSTOMER_COLUMNS,
            Self::Appointments => &APPOINTMENT_COLUMNS,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Customers => "customers",
            Self::Appointments => "appointments",
        }
    }
}

/// How far an export is.
struct Export {
    services: Shared,
    table: Table,
    format: Format,
    filter: CallFilter,
    after: Option<Cursor>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Beginning,
    Within,
    End,
}

impl Export {
    /// The next rows, each an object, and where to go on.
    async fn rows(&self) -> Result<(Vec<Value>, Option<Cursor>), Problem> {
        let services = &self.services;
        let page = DbPage::new(CHUNK, self.after);
        Ok(match self.table {
            Table::Calls => {
                let listed = services.db.list_calls(self.filter.clone(), page).await?;
                let bodies: Vec<CallBody> = calls::bodies(services, listed.items).await?;
                (values(&bodies), listed.next)
            }
            Table::Customers => {
                let listed = services.db.list_customers(page).await?;
                let clock = Clock::of(&services.profile);
                let bodies: Vec<CustomerBody> =
                    listed.items.into_iter().map(|detail| customers::body(&clock, detail)).collect();
                (values(&bodies), listed.next)
            }
            Table::Appointments => {
                let CallFilter { from, to, .. } = self.filter;
                let filter = AppointmentFilter { from, to, ..AppointmentFilter::default() };
                let listed = services.db.list_appointments(filter, page).await?;
                let bodies: Vec<AppointmentBody> = appointments::bodies(services, listed.items).await?;
                (values(&bodies), listed.next)
            }
        })
    }

    /// The next piece of the file.
    async fn piece(&mut self) -> Result<Bytes, Problem> {
        let (rows, next) = self.rows().await?;
        let first = self.place == Place::Beginning;
        let last = next.is_none();
        self.after = next;
        self.place = if last { Place::End } else { Place::Within };
        match self.format {
            Format::Csv => csv_piece(self.table.columns(), &rows, first),
            Format::Json => json_piece(&rows, first, last),
        }
    }
}

fn values<T: Serialize>(bodies: &[T]) -> Vec<Value> {
    bodies.iter().filter_map(|body| serde_json::to_value(body).ok()).collect()
}

fn json_piece(rows: &[Value], first: bool, last: bool) -> Result<Bytes, Problem> {
    let mut out = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        out.extend_from_slice(if first && i == 0 { b"[\n" } else { b",\n" });
        serde_json::to_writer(&mut out, row).map_err(|_| Problem::internal())?;
    }
    if first && rows.is_empty() {
        out.push(b'[');
    }
    if last {
        out.extend_from_slice(b"\n]\n");
    }
    Ok(out.into())
}

fn csv_piece(columns: &[&str], rows: &[Value], first: bool) -> Result<Bytes, Problem> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if first {
        writer.write_record(columns).map_err(|_| Problem::internal())?;
    }
    for row in rows {
        let cells = columns.iter().map(|column| cell(column, row.get(column)));
        writer.write_record(cells).map_err(|_| Problem::internal())?;
    }
    writer.into_inner().map(Bytes::from).map_err(|_| Problem::internal())
}

/// A cell. What callers and staff wrote must not become a formula where the file is opened; a number in E.164 keeps its
/// plus sign.
fn cell(column: &str, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => {
            let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
            let number = column.starts_with("phone")
                && text.strip_prefix('+').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
            if formula && !number { format!("'{text}") } else { text.clone() }
        }
        Some(other) => other.to_string(),
    }
}

/// A whole table as a file: calls and appointments by their start, the latest first (appointments from a time on: the
/// earliest first), customers newest first. Calls are chosen as in their list, appointments by their time only.
#[utoipa::path(
    tag = "analytics",
    params(("file" = inline(File), Path, description = "Which file"), calls::Filter),
    responses((status = 200, description = "The file", content(
                  (String = "text/csv"), (Vec<serde_json::Value> = "application/json"))),
              (status = 404, description = "There is no such file")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/export/{file}")]
async fn send_file(
    services: Shared,
    access: Access<Read>,
    file: web::Path<String>,
    filter: web::Query<calls::Filter>,
) -> ApiResult {
    // Not read by the path's extractor, which would answer before it is known who asks.
    let (table, format) = File::of(&file).ok_or_else(|| Problem::not_found("file"))?.parts();
    let other = if table == Table::Calls { None } else { filter.beside_time() };
    if let Some(name) = other {
        return Err(Problem::invalid(name, "chooses among calls only"));
    }
    let [from, to] = filter.span();
    let detail = json!({ "from": from, "to": to });
    let filter = filter.read(&services)?;
    let mut export =
        Export { services: services.clone(), table, format, filter, after: None, place: Place::Beginning };
    // A database that is away is told by a status while there still can be one.
    let beginning = export.piece().await?;
    services.staff_log(access.who(), "data.export", file.into_inner(), detail).await?;
    let rest = stream::try_unfold(export, |mut export| async move {
        if export.place == Place::End {
            return Ok::<_, actix_web::Error>(None);
        }
        let piece = export.piece().await?;
        Ok(Some((piece, export)))
    });
    let whole = futures_util::StreamExt::chain(stream::iter([Ok(beginning)]), rest);
    let (kind, ending) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Json => ("application/json", "json"),
    };
    let name = format!("attachment; filename=\"{}.{ending}\"", table.name());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, kind))
        .insert_header((CONTENT_DISPOSITION, name))
        .streaming(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_cannot_become_a_formula() {
        for (column, value, want) in [
            ("notes", json!("=HYPERLINK(\"http://x\")"), "'=HYPERLINK(\"http://x\")"),
            ("notes", json!("+1 is fine"), "'+1 is fine"),
            ("phone", json!("+12025550143"), "+12025550143"),
            ("phone_number", json!("+1=2"), "'+1=2"),
            ("duration", json!(-5), "-5"),
            ("notes", json!(null), ""),
            ("lead_captured", json!(true), "true"),
        ] {
            assert_eq!(cell(column, Some(&value)), want);
        }
    }

    #[test]
    fn the_pieces_of_a_file_make_one_file() {
        let rows =
            |n: std::ops::Range<i32>| n.map(|n| json!({"id": n, "name": "a, \"b\""})).collect::<Vec<_>>();
        let whole = [
            json_piece(&rows(0..2), true, false).unwrap(),
            json_piece(&rows(2..3), false, false).unwrap(),
            json_piece(&[], false, true).unwrap(),
        ]
        .concat();
        let read: Vec<Value> = serde_json::from_slice(&whole).unwrap();
        assert_eq!(read, rows(0..3));
        let empty: Vec<Value> = serde_json::from_slice(&json_piece(&[], true, true).unwrap()).unwrap();
        assert!(empty.is_empty());
        let whole = [
            csv_piece(&["id", "name"], &rows(0..1), true).unwrap(),
            csv_piece(&["id", "name"], &rows(1..2), false).unwrap(),
        ]
        .concat();
        assert_eq!(String::from_utf8(whole).unwrap(), "id,name\n0,\"a, \"\"b\"\"\"\n1,\"a, \"\"b\"\"\"\n");
    }
}
