//! Very many customers, calls and appointments, for trying out how the lists behave at that size. Written in bulk; the
//! counters are kept as they would be.

use super::super::activity::{self, Counter, quarter};
use super::super::bookings::{self, NewAppointment, StaffOutcome};
use super::super::connect::{AnyConnection, on_either, write_transaction};
use super::super::error::DbError;
use super::super::schema::{
    appointments, call_events, call_outcomes, call_usage, calls, customers, jobs, messages, staff_actions,
    turns,
};
use super::super::usage::add_spent;
use super::SeedReport;
use super::texts::{self, Kind};
use crate::domain::time::UnixMillis;
use crate::domain::turn::StageLatencies;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// Calls written by one statement of each kind: PostgreSQL takes 65,535 values at most.
const CALLS_AT_ONCE: u32 = 500;
/// Calls of one transaction.
const CALLS_A_TRANSACTION: u32 = 5_000;
/// Days back over which calls lie.
const DAYS: i64 = 365;
const DAY_MS: i64 = 24 * 3_600_000;
/// Appointments of one person on one day, each half an hour.
const APPOINTMENTS_A_DAY: u32 = 17;
/// Days ahead into which appointments are made.
const DAYS_AHEAD: i64 = 14;

/// How much there is to be in the end, and of what kind of business.
pub struct BulkPlan<'a> {
    /// Calls.
    pub calls: u32,
    /// Customers.
    pub customers: u32,
    /// Now.
    pub now: UnixMillis,
    /// Who serves; never empty.
    pub staff: Vec<String>,
    /// Names of services; never empty.
    pub services: Vec<String>,
    /// When the business opens on the day that lies so many days ahead.
    pub opens: &'a dyn Fn(i64) -> Option<UnixMillis>,
}

#[derive(Insertable)]
#[diesel(table_name = customers)]
struct NewCustomer {
    name: String,
    phone: Option<String>,
    email: String,
    import_key: String,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Insertable)]
#[diesel(table_name = calls)]
struct NewCall {
    call_sid: String,
    admission: String,
    kind: &'static str,
    direction: &'static str,
    caller_kind: &'static str,
    phone_number: Option<String>,
    business_number: &'static str,
    status: &'static str,
    end_reason: &'static str,
    lead_captured: bool,
    appointment_booked: bool,
    message_taken: bool,
    transferred: bool,
    follow_up: bool,
    customer_id: Option<i64>,
    started_ms: i64,
    answered_ms: Option<i64>,
    duration_s: i64,
    summary: Option<String>,
    summary_state: &'static str,
    epoch: i64,
}

#[derive(Insertable)]
#[diesel(table_name = turns)]
struct NewTurn {
    call_id: i64,
    n: i64,
    speaker: &'static str,
    said: String,
    heard: String,
    interrupted: bool,
    at_ms: i64,
    latencies: String,
}

#[derive(Insertable)]
#[diesel(table_name = call_events)]
struct NewEvent {
    call_sid: String,
    at_ms: i64,
    code: &'static str,
    detail: String,
}

#[derive(Insertable)]
#[diesel(table_name = messages)]
struct NewMessage {
    call_sid: String,
    name: Option<String>,
    phone: Option<String>,
    text: &'static str,
    created_ms: i64,
    done_ms: Option<i64>,
    done_by: Option<&'static str>,
    kind: &'static str,
}

#[derive(Insertable)]
#[diesel(table_name = jobs)]
struct NewJob {
    kind: &'static str,
    key: String,
    payload: String,
    state: &'static str,
    attempts: i64,
    next_run_ms: i64,
    last_error: Option<&'static str>,
    created_ms: i64,
    done_ms: Option<i64>,
}

#[derive(Insertable)]
#[diesel(table_name = call_outcomes)]
struct NewOutcome {
    call_id: i64,
    intent: &'static str,
    sentiment: &'static str,
    outcome: String,
    model: &'static str,
    created_ms: i64,
}

#[derive(Insertable)]
#[diesel(table_name = call_usage)]
struct NewUsage {
    call_id: i64,
    item: &'static str,
    model: &'static str,
    amount: i64,
    micros: i64,
}

#[derive(Insertable)]
#[diesel(table_name = staff_actions)]
struct NewAction {
    at_ms: i64,
    who_kind: &'static str,
    who_id: i64,
    who_name: &'static str,
    action: &'static str,
    target: String,
    detail: &'static str,
}

/// What follows a call, gathered for one statement of each kind.
#[derive(Default)]
struct After {
    jobs: Vec<NewJob>,
    outcomes: Vec<NewOutcome>,
    usage: Vec<NewUsage>,
    actions: Vec<NewAction>,
}

#[derive(Insertable)]
#[diesel(table_name = appointments)]
struct NewPast {
    customer_id: Option<i64>,
    service: String,
    staff: String,
    starts_ms: i64,
    minutes: i32,
    status: &'static str,
    call_sid: String,
    created_ms: i64,
    updated_ms: i64,
}

/// What is to be added to the counters, and to what was spent.
#[derive(Default)]
struct Sums {
    counters: activity::Tally,
    spent: BTreeMap<i64, i64>,
}

impl Sums {
    fn count(&mut self, at: i64, changes: impl IntoIterator<Item = (Counter, i64)>) {
        self.counters.count(at, changes);
    }

    fn latency(&mut self, at: i64, latency: &StageLatencies) {
        self.counters.latency(at, latency);
    }

    fn write(self, conn: &mut AnyConnection) -> Result<(), DbError> {
        self.counters.write(conn)?;
        for (at, micros) in self.spent {
            add_spent(conn, UnixMillis(at), micros)?;
        }
        Ok(())
    }
}

/// What a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Sample calls of a bulk.
    pub calls: i64,
    /// Customers.
    pub customers: i64,
    /// Whether there are calls that are no samples.
    pub real: bool,
}

/// Says what a database holds. Blocks, and may look through all of it.
pub fn samples(conn: &mut AnyConnection) -> Result<Samples, DbError> {
    let real = calls::table
        .filter(calls::kind.ne("simulated"))
        .select(calls::id)
        .first::<i64>(conn)
        .optional()?
        .is_some();
    Ok(Samples { calls: i64::from(sample_calls(conn)?), customers: activity::customers(conn)?, real })
}

/// Brings the sample customers, calls and appointments up to what is planned. Blocks.
pub fn bulk(conn: &mut AnyConnection, plan: &BulkPlan<'_>) -> Result<SeedReport, DbError> {
    let mut report = SeedReport { customers: add_customers(conn, plan)?, ..SeedReport::default() };
    let people = people(conn, plan)?;
    let there = sample_calls(conn)?;
    let mut next = there;
    while next < plan.calls {
        let end = plan.calls.min(next.saturating_add(CALLS_A_TRANSACTION));
        report.appointments += write_transaction(conn, |conn| {
            let mut tally = Sums::default();
            let mut past = 0;
            let mut from = next;
            while from < end {
                let to = end.min(from.saturating_add(CALLS_AT_ONCE));
                past += Chunk::new(plan, &people, from..to).write(conn, &mut tally)?;
                from = to;
            }
            tally.write(conn)?;
            Ok(past)
        })?;
        next = end;
    }
    report.calls = plan.calls.saturating_sub(there) as usize;
    if report.calls > 0 {
        report.appointments += add_coming(conn, plan, &people)?;
    }
    // Else the planner knows nothing of what came in.
    conn.batch_execute("ANALYZE")?;
    Ok(report)
}

fn key(n: u32) -> String {
    format!("sample-{n:07}")
}

fn add_customers(conn: &mut AnyConnection, plan: &BulkPlan<'_>) -> Result<usize, DbError> {
    let there: i64 = customers::table
        .filter(customers::import_key.ge("sample-"))
        .filter(customers::import_key.lt("sample."))
        .count()
        .get_result(conn)?;
    let there = u32::try_from(there).unwrap_or(u32::MAX);
    let mut next = there;
    while next < plan.customers {
        let end = plan.customers.min(next.saturating_add(5_000));
        let mut rng = StdRng::seed_from_u64(u64::from(next));
        let rows: Vec<NewCustomer> = (next..end)
            .map(|n| {
                let name = texts::name(&mut rng);
                let made = plan.now.0.saturating_sub(rng.random_range(0..DAYS * DAY_MS));
                NewCustomer {
                    email: format!("{}.{n}@example.com", name.to_lowercase().replace(' ', ".")),
                    name,
                    phone: texts::phone(n),
                    import_key: key(n),
                    created_ms: made,
                    updated_ms: made,
                }
            })
            .collect();
        write_transaction(conn, |conn| {
            on_either!(conn, c => diesel::insert_into(customers::table).values(&rows).execute(c))?;
            Ok(())
        })?;
        next = end;
    }
    Ok(plan.customers.saturating_sub(there) as usize)
}

/// Customers who call: id and number.
fn people(conn: &mut AnyConnection, plan: &BulkPlan<'_>) -> Result<Vec<(i64, Option<String>)>, DbError> {
    Ok(customers::table
        .filter(customers::import_key.ge("sample-"))
        .filter(customers::import_key.lt("sample."))
        .order(customers::import_key.asc())
        .limit(i64::from(plan.customers))
        .select((customers::id, customers::phone))
        .load(conn)?)
}

fn sid(n: u32) -> String {
    format!("CA5eed{n:028x}")
}

fn sample_calls(conn: &mut AnyConnection) -> Result<u32, DbError> {
    let n: i64 = calls::table
        .filter(calls::call_sid.ge("CA5eed"))
        .filter(calls::call_sid.lt("CA5eee"))
        .count()
        .get_result(conn)?;
    Ok(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Some calls with all that belongs to them.
struct Chunk<'a> {
    plan: &'a BulkPlan<'a>,
    rng: StdRng,
    range: std::ops::Range<u32>,
    people: &'a [(i64, Option<String>)],
}

impl<'a> Chunk<'a> {
    fn new(plan: &'a BulkPlan<'a>, people: &'a [(i64, Option<String>)], range: std::ops::Range<u32>) -> Self {
        Self { plan, rng: StdRng::seed_from_u64(0x5eed ^ u64::from(range.start)), range, people }
    }

    /// Calls lie in the order of their numbers, the latest last, most of them by day.
    fn start(&mut self, n: u32) -> i64 {
        let total = i64::from(self.plan.calls.max(1));
        let day = i64::from(n).saturating_mul(DAYS) / total - DAYS;
        let opened = (self.plan.opens)(day).map_or(self.plan.now.0.saturating_add(day * DAY_MS), |at| at.0);
        let within = i64::from(n).saturating_mul(DAYS) % total;
        let at = opened.saturating_add(within.saturating_mul(10 * 3_600_000) / total);
        at.saturating_add(self.rng.random_range(0..60_000)).min(self.plan.now.0.saturating_sub(600_000))
    }

    fn write(mut self, conn: &mut AnyConnection, tally: &mut Sums) -> Result<usize, DbError> {
        let mut rows = Vec::new();
        let mut kinds = Vec::new();
        for n in self.range.clone() {
            let kind = Kind::pick(&mut self.rng);
            let started = self.start(n);
            let row = self.call(n, kind, started);
            let direction = if row.direction == "inbound" { "inbound" } else { "outbound" };
            tally.count(started, [(direction, 1)]);
            tally.count(started, [(activity::end_counter(kind.reason()), 1), ("duration_s", row.duration_s)]);
            let flags = [
                row.lead_captured,
                row.appointment_booked,
                row.message_taken,
                row.transferred,
                row.follow_up,
            ];
            tally.count(started, activity::flag_changes([false; 5], flags));
            rows.push(row);
            kinds.push(kind);
        }
        on_either!(conn, c => diesel::insert_into(calls::table).values(&rows).execute(c))?;
        let ids: Vec<i64> = calls::table
            .filter(calls::call_sid.ge(sid(self.range.start)))
            .filter(calls::call_sid.lt(sid(self.range.end)))
            .order(calls::call_sid.asc())
            .select(calls::id)
            .load(conn)?;
        let (mut said, mut events, mut left, mut past) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut after = After::default();
        for ((row, kind), id) in rows.iter().zip(kinds).zip(&ids) {
            self.follow(*id, row, kind, tally, &mut after);
            self.turns(*id, row, kind, tally, &mut said);
            self.events(row, kind, tally, &mut events);
            if row.message_taken || kind == Kind::Broken {
                left.push(self.message(row, kind));
            }
            if row.appointment_booked {
                past.extend(self.past(row, tally));
            }
        }
        on_either!(conn, c => {
            diesel::insert_into(turns::table).values(&said).execute(c)?;
            diesel::insert_into(call_events::table).values(&events).execute(c)?;
            diesel::insert_into(messages::table).values(&left).execute(c)?;
            diesel::insert_into(appointments::table).values(&past).execute(c)?;
            diesel::insert_into(jobs::table).values(&after.jobs).execute(c)?;
            diesel::insert_into(call_outcomes::table).values(&after.outcomes).execute(c)?;
            diesel::insert_into(call_usage::table).values(&after.usage).execute(c)?;
            diesel::insert_into(staff_actions::table).values(&after.actions).execute(c)
        })?;
        // Only now they end, so that each is made searchable once.
        if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
            conn.batch_execute(&format!(
                "UPDATE calls SET ended_ms = coalesce(answered_ms, started_ms + 15000) + duration_s * 1000 \
                 WHERE id BETWEEN {first} AND {last} AND ended_ms IS NULL AND call_sid LIKE 'CA5eed%'"
            ))?;
        }
        Ok(past.len())
    }

    fn call(&mut self, n: u32, kind: Kind, started: i64) -> NewCall {
        let known = !self.people.is_empty() && self.rng.random_bool(0.7);
        let person = if known { self.people.get(self.rng.random_range(0..self.people.len())) } else { None };
        let phone = match person {
            Some((_, phone)) => phone.clone(),
            None => texts::phone(100_000 + self.rng.random_range(0..20_000)),
        };
        let answered = kind.is_answered();
        let speaks = kind.speaks();
        // Now and then nobody could write it.
        let summarised = speaks && n % 331 != 7;
        NewCall {
            call_sid: sid(n),
            admission: format!("sample-{n}"),
            kind: "simulated",
            direction: if self.rng.random_bool(0.88) { "inbound" } else { "outbound" },
            caller_kind: if phone.is_some() { "number" } else { "withheld" },
            phone_number: phone,
            business_number: "+12025550100",
            status: kind.reason().status().as_str(),
            end_reason: kind.reason().as_str(),
            lead_captured: kind == Kind::Booking || (speaks && self.rng.random_bool(0.3)),
            appointment_booked: kind == Kind::Booking,
            message_taken: kind == Kind::Message,
            transferred: kind == Kind::Transfer,
            follow_up: kind == Kind::Message || kind == Kind::Broken,
            customer_id: person.map(|(id, _)| *id),
            started_ms: started,
            answered_ms: answered.then_some(started + 2_000),
            duration_s: if answered { self.rng.random_range(15..240) } else { 0 },
            summary: summarised.then(|| kind.summary().to_owned()),
            summary_state: match (speaks, summarised) {
                (false, _) => "none",
                (true, true) => "done",
                (true, false) => "failed",
            },
            epoch: 1,
        }
    }

    fn turns(&mut self, id: i64, row: &NewCall, kind: Kind, tally: &mut Sums, out: &mut Vec<NewTurn>) {
        let lines = kind.lines(&mut self.rng, &self.plan.services);
        let Ok(count) = i64::try_from(lines.len()) else { return };
        let step = row.duration_s * 1_000 / count.max(1);
        for (i, (bot, text)) in (0_i64..).zip(lines) {
            let latency = if bot { texts::latency(&mut self.rng) } else { StageLatencies::default() };
            let interrupted = bot && self.rng.random_bool(0.06);
            let heard = match text.split_once(". ") {
                Some((first, _)) if interrupted => format!("{first}."),
                _ => text.clone(),
            };
            let at = row.started_ms + i * step;
            tally.latency(at, &latency);
            tally.count(at, [("barge_ins", i64::from(interrupted))]);
            out.push(NewTurn {
                call_id: id,
                n: i + 1,
                speaker: if bot { "bot" } else { "caller" },
                said: text,
                heard,
                interrupted,
                at_ms: i * step,
                latencies: serde_json::to_string(&latency).unwrap_or_default(),
            });
        }
    }

    fn events(&mut self, row: &NewCall, kind: Kind, tally: &mut Sums, out: &mut Vec<NewEvent>) {
        let mut event = |at_ms: i64, code: &'static str, detail: serde_json::Value| {
            tally.count(at_ms, activity::event_counter(code).map(|counter| (counter, 1)));
            out.push(NewEvent { call_sid: row.call_sid.clone(), at_ms, code, detail: detail.to_string() });
        };
        let at = row.started_ms;
        event(at, "call.started", serde_json::json!({ "direction": row.direction }));
        if kind == Kind::Booking {
            event(at + 30_000, "tool.finished", serde_json::json!({ "tool": "book_appointment", "ms": 12 }));
        }
        for (code, share) in
            [("stt.reconnecting", 0.01), ("tts.failed", 0.008), ("llm.request_failed", 0.012)]
        {
            if kind.is_answered() && self.rng.random_bool(share) {
                event(at + 9_000, code, serde_json::json!({ "code": "http.503" }));
            }
        }
    }

    /// What was written of a call afterwards, and what it cost.
    fn follow(&mut self, id: i64, row: &NewCall, kind: Kind, tally: &mut Sums, after: &mut After) {
        let ended = row.started_ms.saturating_add(row.duration_s.saturating_mul(1_000));
        if kind.is_answered() {
            let spoken = row.duration_s.saturating_mul(12);
            let parts = [("carrier_ms", "", row.duration_s * 1_000, 14), ("tts_chars", "aura-2", spoken, 30)];
            for (item, model, amount, price) in parts {
                let micros = amount.saturating_mul(price);
                *tally.spent.entry(quarter(row.started_ms)).or_default() += micros;
                after.usage.push(NewUsage { call_id: id, item, model, amount, micros });
            }
        }
        if kind.speaks() {
            let done = row.summary.is_some();
            after.jobs.push(NewJob {
                kind: "summary",
                key: format!("summary:{}", row.call_sid),
                payload: serde_json::json!({ "call_sid": row.call_sid }).to_string(),
                state: if done { "done" } else { "dead" },
                attempts: if done { 1 } else { 8 },
                next_run_ms: ended,
                last_error: (!done).then_some("openai.http_401"),
                created_ms: ended,
                done_ms: Some(ended + 4_000),
            });
            if done {
                after.outcomes.push(NewOutcome {
                    call_id: id,
                    intent: if kind == Kind::Booking { "book" } else { "question" },
                    sentiment: "neutral",
                    outcome: serde_json::json!({ "booked": row.appointment_booked }).to_string(),
                    model: "sample",
                    created_ms: ended + 4_000,
                });
            }
        }
        if row.message_taken {
            after.actions.push(NewAction {
                at_ms: row.started_ms + 7_200_000,
                who_kind: "user",
                who_id: 1,
                who_name: "sample",
                action: "message.change",
                target: format!("message of call {id}"),
                detail: "{\"done\":true}",
            });
        }
    }

    fn message(&mut self, row: &NewCall, kind: Kind) -> NewMessage {
        let old = row.started_ms < self.plan.now.0.saturating_sub(3 * DAY_MS);
        let done = old && self.rng.random_bool(0.98);
        NewMessage {
            call_sid: row.call_sid.clone(),
            name: Some(texts::name(&mut self.rng)),
            phone: row.phone_number.clone(),
            text: texts::message(&mut self.rng),
            created_ms: row.started_ms + 40_000,
            done_ms: done.then_some(row.started_ms + 7_200_000),
            done_by: done.then_some("sample"),
            kind: if kind == Kind::Broken { "callback" } else { "message" },
        }
    }

    /// The appointment that a call brought. They stand side by side by their numbers, so that none overlap; what would
    /// lie ahead is made by itself.
    fn past(&mut self, row: &NewCall, tally: &mut Sums) -> Option<NewPast> {
        let staff = self.plan.staff.get(self.rng.random_range(0..self.plan.staff.len().max(1)))?;
        let service = self.plan.services.get(self.rng.random_range(0..self.plan.services.len().max(1)))?;
        let ahead =
            row.started_ms.saturating_sub(self.plan.now.0).div_euclid(DAY_MS) + self.rng.random_range(1..10);
        let opens = (self.plan.opens)(ahead)?.0;
        let slot = i64::from(self.rng.random_range(0..APPOINTMENTS_A_DAY));
        let starts = opens.saturating_add(slot * 30 * 60_000);
        if starts >= self.plan.now.0 {
            return None;
        }
        tally.count(row.started_ms, [("appointments_made", 1)]);
        let cancelled = self.rng.random_bool(0.08);
        tally.count(row.started_ms, [("appointments_cancelled", i64::from(cancelled))]);
        Some(NewPast {
            customer_id: row.customer_id,
            service: service.clone(),
            staff: staff.clone(),
            starts_ms: starts,
            minutes: 30,
            status: if cancelled { "cancelled" } else { "confirmed" },
            call_sid: row.call_sid.clone(),
            created_ms: row.started_ms,
            updated_ms: row.started_ms,
        })
    }
}

/// Appointments still to come, each booked like any other: these must not overlap with what is there.
fn add_coming(
    conn: &mut AnyConnection,
    plan: &BulkPlan<'_>,
    people: &[(i64, Option<String>)],
) -> Result<usize, DbError> {
    let mut rng = StdRng::seed_from_u64(u64::from(plan.calls));
    let wanted = (plan.calls / 100).clamp(5, 500) as usize;
    let mut made = 0;
    for _ in 0..wanted.saturating_mul(3) {
        if made == wanted {
            break;
        }
        let pick = |rng: &mut StdRng, all: &[String]| all.get(rng.random_range(0..all.len().max(1))).cloned();
        let (Some(staff), Some(service)) = (pick(&mut rng, &plan.staff), pick(&mut rng, &plan.services))
        else {
            break;
        };
        let Some(opens) = (plan.opens)(rng.random_range(1..DAYS_AHEAD)) else { continue };
        let slot = i64::from(rng.random_range(0..APPOINTMENTS_A_DAY));
        let person = if people.is_empty() { None } else { people.get(rng.random_range(0..people.len())) };
        let new = NewAppointment {
            customer_id: person.map(|(id, _)| *id),
            service,
            staff,
            starts_at: UnixMillis(opens.0.saturating_add(slot * 30 * 60_000)),
            minutes: 30,
            buffer_minutes: 0,
            notes: None,
        };
        if let StaffOutcome::Done(_) = bookings::create(conn, &new, plan.now)? {
            made += 1;
        }
    }
    Ok(made)
}
