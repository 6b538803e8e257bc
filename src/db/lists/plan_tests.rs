//! How the databases go about the staff's queries when there is much to find: along an index, never through a table.

use super::tests::{NOW, fill};
use super::*;
use crate::db::activity::{self, Run};
use crate::db::connect::AnyConnection;
use crate::db::tests::TestDb;
use crate::db::{bookings, time_off};
use crate::domain::appointment::AppointmentStatus;
use crate::domain::call::{CallStatus, Direction};
use crate::domain::time::UnixMillis;
use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use std::sync::{Arc, Mutex};

const LARGE: [&str; 10] = [
    "calls",
    "turns",
    "call_events",
    "customers",
    "appointments",
    "appointment_slots",
    "messages",
    "call_search",
    "customer_search",
    "activity",
];

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    detail: String,
}

#[derive(QueryableByName)]
struct PostgresLine {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
    detail: String,
}

/// The text of each query from now on.
fn listen(conn: &mut AnyConnection) -> Arc<Mutex<Vec<String>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    let note = move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let text = query.to_string();
            let text = text.split("-- binds").next().unwrap_or_default().trim().to_owned();
            if text.starts_with("SELECT") {
                log.lock().unwrap().push(text);
            }
        }
    };
    match conn {
        AnyConnection::Sqlite(c) => c.set_instrumentation(note),
        AnyConnection::Postgres(c) => c.set_instrumentation(note),
    }
    heard
}

/// What each list, search and page asks, on the first page and on a later one.
fn ask_everything(conn: &mut AnyConnection) {
    let first = Page::new(50, None);
    let somebody = customers::list(conn, first).unwrap().items[0].customer.id;
    let call = calls::list(conn, &CallFilter::default(), first).unwrap().items.remove(3);
    let number = calls::list(conn, &CallFilter::default(), first)
        .unwrap()
        .items
        .iter()
        .find_map(|call| call.facts.caller.number().cloned());
    let (from, to) = (UnixMillis(NOW.0 - 90 * 86_400_000), UnixMillis(NOW.0 - 60 * 86_400_000));
    let flags = [
        CallFlag::LeadCaptured,
        CallFlag::AppointmentBooked,
        CallFlag::MessageTaken,
        CallFlag::Transferred,
        CallFlag::FollowUp,
    ];
    let any = CallFilter::default;
    let mut filters = vec![
        any(),
        CallFilter { status: Some(CallStatus::Failed), ..any() },
        CallFilter { status: Some(CallStatus::Busy), ..any() },
        CallFilter { direction: Some(Direction::Outbound), ..any() },
        CallFilter { from: Some(from), to: Some(to), ..any() },
        CallFilter { customer_id: Some(somebody), ..any() },
        CallFilter { phone: number, ..any() },
        CallFilter { words: SearchWords::parse("umbrella"), ..any() },
        CallFilter {
            words: SearchWords::parse("umbrella mon"),
            status: Some(CallStatus::Completed),
            ..any()
        },
    ];
    filters.extend(flags.map(|flag| CallFilter { flags: vec![flag], ..any() }));
    for filter in &filters {
        let page = calls::list(conn, filter, first).unwrap();
        if let Some(next) = page.next {
            calls::list(conn, filter, Page::new(50, Some(next))).unwrap();
        }
    }
    calls::by_id(conn, call.id).unwrap().unwrap();
    calls::turns(conn, call.id, first).unwrap();
    calls::events(conn, &call.facts.sid, first).unwrap();
    crate::db::calls::call_overview(conn, &call.facts.sid).unwrap();
    crate::db::calls::open_calls(conn).unwrap();

    let page = customers::list(conn, first).unwrap();
    customers::list(conn, Page::new(50, page.next)).unwrap();
    customers::by_id(conn, somebody).unwrap();
    customers::names(conn, vec![somebody, 1, 2]).unwrap();
    calls::ids(conn, std::slice::from_ref(&call.facts.sid)).unwrap();
    for text in ["0143", "alvarez", "mar"] {
        search::customers(conn, &SearchWords::parse(text).unwrap(), first).unwrap();
    }
    for text in ["scarf", "lindqvist umb", "5550143"] {
        let page = search::calls(conn, &SearchWords::parse(text).unwrap(), first).unwrap();
        search::calls(conn, &SearchWords::parse(text).unwrap(), Page::new(50, page.next)).unwrap();
    }

    let any = AppointmentFilter::default;
    for filter in [
        any(),
        AppointmentFilter { from: Some(from), to: Some(to), ..any() },
        AppointmentFilter { from: Some(from), to: Some(to), staff: Some("Sam".into()), ..any() },
        AppointmentFilter { staff: Some("Sam".into()), ..any() },
        AppointmentFilter { customer_id: Some(somebody), ..any() },
        AppointmentFilter { status: Some(AppointmentStatus::Cancelled), ..any() },
    ] {
        let page = appointments::list(conn, &filter, first).unwrap();
        if let Some(next) = page.next {
            appointments::list(conn, &filter, Page::new(50, Some(next))).unwrap();
        }
    }
    bookings::detail(conn, 1).unwrap();
    bookings::busy(conn, NOW, UnixMillis(NOW.0 + 2 * 86_400_000), None, NOW).unwrap();
    time_off::list(conn, Some(from), Some(to), first).unwrap();
    for state in [None, Some(MessageState::Open), Some(MessageState::Done)] {
        let page = messages::list(conn, state, first).unwrap();
        if let Some(next) = page.next {
            messages::list(conn, state, Page::new(50, Some(next))).unwrap();
        }
    }
    handle::dashboard(conn, UnixMillis(NOW.0 - 86_400_000), NOW).unwrap();
    activity::activity(conn, &[Run { from, to, step_ms: 3_600_000 }]).unwrap();
}

fn plan(conn: &mut AnyConnection, query: &str) -> Vec<String> {
    match conn {
        AnyConnection::Sqlite(c) => {
            let lines: Vec<Line> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {query}")).load(c).unwrap();
            lines.into_iter().map(|line| line.detail).collect()
        }
        AnyConnection::Postgres(c) => {
            // The plan for whatever may be asked, not for one value.
            let values = (1..20).take_while(|n| query.contains(&format!("${n}"))).count();
            let values = vec!["NULL"; values].join(", ");
            let values = if values.is_empty() { values } else { format!("({values})") };
            c.batch_execute(&format!("SET plan_cache_mode = force_generic_plan; PREPARE asked AS {query}"))
                .unwrap();
            let lines: Vec<PostgresLine> =
                diesel::sql_query(format!("EXPLAIN EXECUTE asked{values}")).load(c).unwrap();
            c.batch_execute("DEALLOCATE asked; RESET plan_cache_mode").unwrap();
            lines.into_iter().map(|line| line.detail).collect()
        }
    }
}

/// Whether a line of a plan goes through a whole table.
fn scans(line: &str, query: &str) -> bool {
    let line = line.trim().trim_start_matches("->").trim();
    let large = |table: &str| LARGE.contains(&table);
    if let Some(rest) = line.strip_prefix("SCAN ") {
        let name = rest.split_whitespace().next().unwrap_or_default();
        // An index gone along from its end is left at the limit.
        let along = rest.contains("USING INDEX") && query.contains("LIMIT");
        // Of this index nothing is left out, and it holds little.
        let along = along || rest.contains("USING INDEX calls_open");
        let along = along
            || rest.contains("VIRTUAL TABLE")
            || (rest.contains("messages_") && query.contains("LIMIT"));
        // By the names used in the queries; a bare walk along the primary key shows as no index at all.
        let by_key = query.contains("LIMIT") && query.contains(&format!("ORDER BY `{name}`.`id` DESC"));
        return (large(name) || name == "s" || name == "c") && !along && !by_key;
    }
    line.split_once("Seq Scan on ")
        .is_some_and(|(_, rest)| large(rest.split_whitespace().next().unwrap_or_default()))
}

#[test]
fn no_list_search_or_page_goes_through_a_large_table() {
    for test in TestDb::each() {
        fill(&test, 20_000, 5_000);
        let mut conn = test.connection();
        let heard = listen(&mut conn);
        ask_everything(&mut conn);
        let mut asked = std::mem::take(&mut *heard.lock().unwrap());
        asked.sort();
        asked.dedup();
        assert!(asked.len() > 40, "{}", asked.len());
        let mut bad = Vec::new();
        for query in &asked {
            let lines = plan(&mut conn, query);
            if lines.iter().any(|line| scans(line, query)) {
                bad.push(format!("{query}\n    {}", lines.join("\n    ")));
            }
        }
        assert!(bad.is_empty(), "{}", bad.join("\n\n"));
    }
}

#[test]
fn a_scan_would_be_noticed() {
    for test in TestDb::each() {
        fill(&test, 3_000, 1_000);
        let mut conn = test.connection();
        for query in [
            "SELECT count(*) FROM calls",
            "SELECT id FROM calls WHERE summary = 'x' ORDER BY admission LIMIT 5",
            "SELECT call_id FROM turns WHERE said LIKE '%umbrella%'",
        ] {
            let lines = plan(&mut conn, query);
            assert!(
                lines.iter().any(|line| scans(line, query))
                    || lines.iter().any(|l| l.contains("Index Only Scan")),
                "{query}: {lines:?}"
            );
        }
    }
}
