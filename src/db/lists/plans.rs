//! How a database goes about what is asked of it where there is much to find: every query of the lists, the pages and
//! the jobs, asked once and then explained. None may go through a large table.

use super::*;
use crate::db::activity::{self, Run, days};
use crate::db::connect::AnyConnection;
use crate::db::error::DbError;
use crate::db::{access, bookings, jobs, outcomes, recordings, replicas, retention, time_off, usage};
use crate::domain::appointment::AppointmentStatus;
use crate::domain::call::{CallStatus, Direction, MessageKind};
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// Tables that grow with the calls.
const LARGE: [&str; 17] = [
    "calls",
    "turns",
    "call_events",
    "call_outcomes",
    "call_usage",
    "customers",
    "appointments",
    "appointment_slots",
    "messages",
    "recordings",
    "jobs",
    "staff_actions",
    "call_search",
    "customer_search",
    "activity",
    "latencies",
    "spend",
];

const DAY_MS: i64 = 86_400_000;

/// A query, and how the database goes about it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The query, with places for its values.
    pub query: String,
    /// The plan, line by line.
    pub plan: Vec<String>,
    /// Whether it goes through a large table.
    pub scans: bool,
}

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
    let log = Arc::clone(&heard);
    let note = move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            let text = query.to_string();
            let text = text.split("-- binds").next().unwrap_or_default().trim().to_owned();
            if ["SELECT", "UPDATE", "DELETE"].iter().any(|word| text.starts_with(word)) {
                log.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
        }
    };
    match conn {
        AnyConnection::Sqlite(c) => c.set_instrumentation(note),
        AnyConnection::Postgres(c) => c.set_instrumentation(note),
    }
    heard
}

/// Asks everything that the API and the jobs ask, changing nothing, and explains each query. The database holds sample
/// calls, of which some are searched for. Blocks.
pub fn look(conn: &mut AnyConnection, now: UnixMillis) -> Result<Vec<Finding>, DbError> {
    let heard = listen(conn);
    let asked = ask_everything(conn, now);
    match conn {
        AnyConnection::Sqlite(c) => c.set_instrumentation(|_: InstrumentationEvent<'_>| {}),
        AnyConnection::Postgres(c) => c.set_instrumentation(|_: InstrumentationEvent<'_>| {}),
    }
    asked?;
    let mut queries = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    queries.sort();
    queries.dedup();
    let mut findings = Vec::new();
    for query in queries {
        let plan = plan(conn, &query)?;
        let scans = plan.iter().any(|line| scans(line, &query));
        findings.push(Finding { query, plan, scans });
    }
    Ok(findings)
}

fn words(text: &str) -> Option<SearchWords> {
    SearchWords::parse(text)
}

/// What each list, search and page asks, on the first page and on a later one, and what the jobs ask.
fn ask_everything(conn: &mut AnyConnection, now: UnixMillis) -> Result<(), DbError> {
    ask_about_calls(conn, now)?;
    ask_about_customers(conn)?;
    ask_about_appointments(conn, now)?;
    let (from, to) = month(now);
    for state in [None, Some(MessageState::Open), Some(MessageState::Done)] {
        for kind in [None, Some(MessageKind::Message), Some(MessageKind::CallBack)] {
            let filter = MessageFilter { state, kind };
            let page = messages::list(conn, filter, first())?;
            if let Some(next) = page.next {
                messages::list(conn, filter, Page::new(50, Some(next)))?;
            }
        }
    }
    handle::dashboard(conn, UnixMillis(now.0.saturating_sub(DAY_MS)), now)?;
    let year = UnixMillis(to.0.saturating_sub(400 * DAY_MS));
    activity::sums(conn, &[Run { from, to, step_ms: 3_600_000 }])?;
    days::activity(conn, &[Run { from: year, to, step_ms: DAY_MS }], now)?;
    usage::spent(conn, from, to)?;
    usage::spent_in(conn, &[Run { from: year, to, step_ms: DAY_MS }])?;
    for before in [None, Some(1_000)] {
        access::staff_actions_before(conn, before, 50)?;
    }
    access::keys(conn, None, 50)?;
    access::list_users(conn, None, 50)?;
    jobs::ask_everything(conn, now)?;
    replicas::ask_everything(conn)?;
    retention::ask_everything(conn)
}

fn first() -> Page {
    Page::new(50, None)
}

/// A month of long ago.
fn month(now: UnixMillis) -> (UnixMillis, UnixMillis) {
    let day = now.0.div_euclid(DAY_MS).saturating_mul(DAY_MS);
    (UnixMillis(day.saturating_sub(90 * DAY_MS)), UnixMillis(day.saturating_sub(60 * DAY_MS)))
}

fn ask_about_calls(conn: &mut AnyConnection, now: UnixMillis) -> Result<(), DbError> {
    let newest = calls::list(conn, &CallFilter::default(), first())?.items;
    let number = newest.iter().find_map(|call| call.facts.caller.number().cloned());
    let customer_id = newest.iter().find_map(|call| call.customer_id).or(Some(1));
    let (from, to) = month(now);
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
        CallFilter { direction: Some(Direction::Outbound), ..any() },
        CallFilter { from: Some(from), to: Some(to), ..any() },
        CallFilter { customer_id, ..any() },
        CallFilter { phone: number.clone(), ..any() },
        CallFilter { words: words("umbrella"), ..any() },
        CallFilter { words: words("thanks"), ..any() },
        CallFilter { words: words("umbrella mon"), status: Some(CallStatus::Completed), ..any() },
        CallFilter { words: words("thanks"), status: Some(CallStatus::Failed), ..any() },
        CallFilter { words: words("the"), flags: vec![CallFlag::Transferred], ..any() },
        CallFilter { words: words("thanks"), from: Some(from), to: Some(to), ..any() },
        CallFilter { words: words("thanks"), phone: number, ..any() },
    ];
    filters.extend(CallStatus::ALL.iter().map(|status| CallFilter { status: Some(*status), ..any() }));
    filters.extend(flags.map(|flag| CallFilter { flags: vec![flag], ..any() }));
    for filter in &filters {
        let page = calls::list(conn, filter, first())?;
        if let Some(next) = page.next {
            calls::list(conn, filter, Page::new(50, Some(next)))?;
        }
    }
    for text in ["scarf", "lindqvist umb", "5550143", "thanks", "thanks for call", "202555", "nothing at all"]
    {
        let Some(wanted) = words(text) else { continue };
        let page = search::calls(conn, &wanted, first())?;
        search::calls(conn, &wanted, Page::new(50, page.next))?;
    }
    let (id, sid) =
        newest.first().map_or((1, CallSid::from("CA0")), |call| (call.id, call.facts.sid.clone()));
    calls::by_id(conn, id)?;
    calls::turns(conn, id, first())?;
    calls::events(conn, &sid, first())?;
    calls::ids(conn, std::slice::from_ref(&sid))?;
    outcomes::of_call(conn, id)?;
    usage::of_call(conn, id)?;
    recordings::of_call(conn, &sid)?;
    crate::db::calls::call_overview(conn, &sid)?;
    crate::db::calls::open_calls(conn)?;
    crate::db::calls::turns_of(conn, &sid)?;
    crate::db::calls::resume_state(conn, &sid, 40)?;
    Ok(())
}

fn ask_about_customers(conn: &mut AnyConnection) -> Result<(), DbError> {
    let page = customers::list(conn, first())?;
    customers::list(conn, Page::new(50, page.next))?;
    let id = page.items.first().map_or(1, |detail| detail.customer.id);
    customers::by_id(conn, id)?;
    customers::names(conn, vec![id, 1, 2])?;
    if let Some(phone) = page.items.iter().find_map(|detail| detail.customer.phone.clone()) {
        crate::db::customers::by_phone(conn, &phone)?;
    }
    for text in ["0143", "alvarez", "mar", "example", "nobody at all"] {
        let Some(wanted) = words(text) else { continue };
        let page = search::customers(conn, &wanted, first())?;
        search::customers(conn, &wanted, Page::new(50, page.next))?;
    }
    Ok(())
}

fn ask_about_appointments(conn: &mut AnyConnection, now: UnixMillis) -> Result<(), DbError> {
    let (from, to) = month(now);
    let sam = Some("Sam".to_owned());
    let any = AppointmentFilter::default;
    for filter in [
        any(),
        AppointmentFilter { from: Some(from), to: Some(to), ..any() },
        AppointmentFilter { from: Some(from), to: Some(to), staff: sam.clone(), ..any() },
        AppointmentFilter { staff: sam, ..any() },
        AppointmentFilter { customer_id: Some(1), ..any() },
        AppointmentFilter { status: Some(AppointmentStatus::Confirmed), ..any() },
        AppointmentFilter { status: Some(AppointmentStatus::Cancelled), ..any() },
        AppointmentFilter { status: Some(AppointmentStatus::Cancelled), from: Some(from), ..any() },
    ] {
        let page = appointments::list(conn, &filter, first())?;
        if let Some(next) = page.next {
            appointments::list(conn, &filter, Page::new(50, Some(next)))?;
        }
    }
    for staff in [None, Some("Sam")] {
        appointments::confirmed(conn, staff, from, to)?;
    }
    bookings::detail(conn, 1)?;
    bookings::busy(conn, now, UnixMillis(now.0.saturating_add(2 * DAY_MS)), None, now)?;
    time_off::list(conn, Some(from), Some(to), first())?;
    Ok(())
}

fn plan(conn: &mut AnyConnection, query: &str) -> Result<Vec<String>, DbError> {
    Ok(match conn {
        AnyConnection::Sqlite(c) => {
            let lines: Vec<Line> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {query}")).load(c)?;
            lines.into_iter().map(|line| line.detail).collect()
        }
        AnyConnection::Postgres(c) => {
            // The plan for whatever may be asked, not for one value.
            let values = (1..40).take_while(|n| query.contains(&format!("${n}"))).count();
            let values = vec!["NULL"; values].join(", ");
            let values = if values.is_empty() { values } else { format!("({values})") };
            c.batch_execute(&format!("SET plan_cache_mode = force_generic_plan; PREPARE asked AS {query}"))?;
            let lines: Vec<PostgresLine> =
                diesel::sql_query(format!("EXPLAIN EXECUTE asked{values}")).load(c)?;
            c.batch_execute("DEALLOCATE asked; RESET plan_cache_mode")?;
            lines.into_iter().map(|line| line.detail).collect()
        }
    })
}

/// Whether a line of a plan goes through a whole table.
pub(super) fn scans(line: &str, query: &str) -> bool {
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
        let by_key = query.contains("LIMIT")
            && ["DESC", "ASC"].iter().any(|way| query.contains(&format!("ORDER BY `{name}`.`id` {way}")));
        return (large(name) || name == "s" || name == "c") && !along && !by_key;
    }
    // What is known to be empty is gone through in no time.
    let empty = line.contains("(cost=0.00..0.00 ");
    line.split_once("Seq Scan on ")
        .filter(|_| !empty)
        .is_some_and(|(_, rest)| large(rest.split_whitespace().next().unwrap_or_default()))
}
