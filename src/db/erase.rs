//! Erasure of one person's data: what there is of it, and its removal.
//!
//! Calls and appointments stay as what happened at some time, without anything that says to whom. The audit trail of
//! staff keeps who did what to which id, and nothing that was said or dialled. Every column of text, and what becomes of
//! it; a test refuses a column that stands in no row of this table:
//!
//! | Column | What it may hold of a person | What becomes of it |
//! |---|---|---|
//! | `customers.name`, `phone`, `email`, `notes`, `import_key` | who they are | the row goes |
//! | `calls.phone_number`, `transcript`, `summary`, `resume_json`, `onward` | number, words | emptied |
//! | `turns.said`, `heard` | words | the rows go |
//! | `call_events.detail` | words | the rows of their calls go |
//! | `call_outcomes.outcome` | name, words | the rows go |
//! | `messages.name`, `phone`, `text` | name, number, words | the rows of their calls and of their number go |
//! | `appointments.notes`, `call_sid` | words, the way to the call | emptied |
//! | `staff_actions.detail` | number, words (a call placed, a sentence said, a transfer) | emptied, where about them |
//! | `jobs.payload`, `last_error` | which call | the jobs of their calls go, but for uploads: one that is under way has to see that it is to delete |
//! | `tolls.destination` | number | emptied; the call still counts |
//! | `recordings.location` | which call | stays, the files go |
//! | `call_search`, `customer_search` (indexes) | words | follow their rows |
//!
//! Ids and words of our own hold nothing: `*.call_sid`, `calls.admission`, `calls.replica`, `appointment_slots.hold_*`,
//! `appointments.import_key`, `jobs.key`, `jobs.lease_owner`, `jobs.place`, `replicas`, kinds, states, codes. Nor does what is the
//! business's: staff, services, `time_off`, `settings`, keys, users, sign-ins. What somebody else said *about* the person
//! in a call of their own is that call's, and cannot be told apart.
//!
//! In SQLite's file, what is deleted is overwritten, and the log and the index of words are cleaned at once.
//! PostgreSQL keeps dead rows until it vacuums. Copies of either are outside of our reach.

use super::connect::{AnyConnection, write_transaction};
use super::customers as customers_db;
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{
    appointments, call_events, call_outcomes, calls, customers, jobs, messages, recordings, staff_actions,
    tolls, turns,
};
use super::scrub;
use super::upcoming::{self, Upcoming};
use crate::domain::ids::CallSid;
use crate::domain::job::JobKind;
use crate::domain::recording::RecordingState;
use crate::observe::clock::unix_now;
use diesel::prelude::*;

/// Calls that are looked at together: databases bound the parameters of a query.
const TOGETHER: usize = 500;
/// The detail of an action about which nothing more is known.
const NO_DETAIL: &str = "{}";

/// What there is of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Calls with this person.
    pub calls: u64,
    /// Their turns.
    pub turns: u64,
    /// Rows of their audit trails.
    pub events: u64,
    /// Messages left by this person or in these calls.
    pub messages: u64,
    /// Appointments, which lose the name and the notes.
    pub appointments: u64,
    /// Those of them that are still to come, which are called off.
    pub upcoming: Vec<Upcoming>,
    /// What staff did about them, which loses its details.
    pub staff_actions: u64,
    /// Jobs about their calls.
    pub jobs: u64,
    /// Where their recordings lie.
    pub recordings: Vec<String>,
    /// Their calls.
    pub sids: Vec<CallSid>,
}

/// What came of a wish to erase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    /// There is no such person.
    Unknown,
    /// A call with this person is up.
    Live,
    /// This is what there is, or was.
    Traces(Traces),
}

/// The person's calls.
struct Calls {
    ids: Vec<i64>,
    sids: Vec<String>,
    live: bool,
}

fn calls_of(conn: &mut AnyConnection, customer: i64, phone: Option<&str>) -> Result<Calls, DbError> {
    type Row = (i64, String, Option<i64>);
    let columns = (calls::id, calls::call_sid, calls::ended_ms);
    let mut rows: Vec<Row> =
        calls::table.filter(calls::customer_id.eq(Some(customer))).select(columns).load(conn)?;
    if let Some(phone) = phone {
        // Two questions: each has an index of its own.
        rows.extend(
            calls::table.filter(calls::phone_number.eq(Some(phone))).select(columns).load::<Row>(conn)?,
        );
    }
    rows.sort();
    rows.dedup();
    Ok(Calls {
        live: rows.iter().any(|(_, _, ended)| ended.is_none()),
        ids: rows.iter().map(|(id, _, _)| *id).collect(),
        sids: rows.into_iter().map(|(_, sid, _)| sid).collect(),
    })
}

fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// What belongs to one person.
struct Person {
    calls: Calls,
    phone: Option<String>,
    actions: Vec<i64>,
}

/// What staff did to the person, their calls, appointments and messages, and whatever names their number.
fn actions_of(
    conn: &mut AnyConnection,
    customer: i64,
    phone: Option<&str>,
    sids: &[String],
) -> Result<Vec<i64>, DbError> {
    let mut targets = vec![format!("customer {customer}")];
    let ids: Vec<i64> = appointments::table
        .filter(appointments::customer_id.eq(Some(customer)))
        .select(appointments::id)
        .load(conn)?;
    targets.extend(ids.into_iter().map(|id| format!("appointment {id}")));
    targets.extend(sids.iter().cloned());
    let mut found: Vec<i64> = Vec::new();
    for targets in targets.chunks(TOGETHER) {
        let rows = staff_actions::table
            .filter(staff_actions::target.eq_any(targets))
            .filter(staff_actions::detail.ne(NO_DETAIL));
        found.extend(rows.select(staff_actions::id).load::<i64>(conn)?);
    }
    if let Some(phone) = phone {
        // A number has no sign that means anything here.
        let rows = staff_actions::table.filter(staff_actions::detail.like(format!("%{phone}%")));
        found.extend(rows.select(staff_actions::id).load::<i64>(conn)?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The jobs of calls that hold nothing but the way to what is erased.
fn job_keys(sids: &[String]) -> Vec<String> {
    let kinds = [JobKind::Summary, JobKind::CallBack];
    sids.iter().flat_map(|sid| kinds.map(|kind| format!("{kind}:{sid}"))).collect()
}

fn look(conn: &mut AnyConnection, customer: i64) -> Result<(Erasure, Option<Person>), DbError> {
    let known: Option<Option<String>> =
        customers::table.find(customer).select(customers::phone).first(conn).optional()?;
    let Some(phone) = known else { return Ok((Erasure::Unknown, None)) };
    let found = calls_of(conn, customer, phone.as_deref())?;
    if found.live {
        return Ok((Erasure::Live, None));
    }
    let sids = found.sids.iter().map(|sid| CallSid::new(sid.as_str())).collect();
    let mut traces = Traces { calls: found.ids.len() as u64, sids, ..Traces::default() };
    let actions = actions_of(conn, customer, phone.as_deref(), &found.sids)?;
    traces.staff_actions = actions.len() as u64;
    for keys in job_keys(&found.sids).chunks(TOGETHER) {
        traces.jobs += count(jobs::table.filter(jobs::key.eq_any(keys)).count().get_result(conn)?);
    }
    for ids in found.ids.chunks(TOGETHER) {
        let rows = turns::table.filter(turns::call_id.eq_any(ids));
        traces.turns += count(rows.count().get_result(conn)?);
    }
    for sids in found.sids.chunks(TOGETHER) {
        let rows = call_events::table.filter(call_events::call_sid.eq_any(sids));
        traces.events += count(rows.count().get_result(conn)?);
        let rows = messages::table.filter(messages::call_sid.eq_any(sids));
        traces.messages += count(rows.count().get_result(conn)?);
        let rows = recordings::table
            .filter(recordings::call_sid.eq_any(sids))
            .filter(recordings::state.ne(RecordingState::Erased.as_str()))
            .order(recordings::id.asc())
            .select(recordings::location);
        traces.recordings.extend(rows.load::<String>(conn)?);
    }
    let rows = appointments::table.filter(appointments::customer_id.eq(Some(customer)));
    traces.appointments = count(rows.count().get_result(conn)?);
    traces.upcoming = upcoming::of(conn, customer, unix_now())?;
    if let Some(phone) = &phone {
        traces.messages += upcoming::messages_elsewhere(conn, phone, &found.sids)?;
    }
    Ok((Erasure::Traces(traces), Some(Person { calls: found, phone, actions })))
}

fn erase(conn: &mut AnyConnection, customer: i64) -> Result<Erasure, DbError> {
    write_transaction(conn, |conn| {
        customers_db::lock(conn, customer)?;
        let (outcome, found) = look(conn, customer)?;
        let Some(Person { calls: found, phone, actions }) = found else { return Ok(outcome) };
        for ids in found.ids.chunks(TOGETHER) {
            diesel::delete(turns::table.filter(turns::call_id.eq_any(ids))).execute(conn)?;
            diesel::delete(call_outcomes::table.filter(call_outcomes::call_id.eq_any(ids))).execute(conn)?;
            diesel::update(calls::table.filter(calls::id.eq_any(ids)))
                .set((
                    calls::customer_id.eq(None::<i64>),
                    calls::caller_kind.eq("withheld"),
                    calls::phone_number.eq(None::<String>),
                    calls::transcript.eq(None::<String>),
                    calls::summary.eq(None::<String>),
                    calls::summary_state.eq("none"),
                    calls::resume_json.eq(None::<String>),
                    calls::onward.eq(None::<String>),
                ))
                .execute(conn)?;
        }
        for sids in found.sids.chunks(TOGETHER) {
            diesel::delete(call_events::table.filter(call_events::call_sid.eq_any(sids))).execute(conn)?;
            diesel::delete(messages::table.filter(messages::call_sid.eq_any(sids))).execute(conn)?;
            diesel::update(recordings::table.filter(recordings::call_sid.eq_any(sids)))
                .set(recordings::state.eq(RecordingState::Erased.as_str()))
                .execute(conn)?;
        }
        if let Some(phone) = phone {
            diesel::delete(messages::table.filter(messages::phone.eq(Some(phone.as_str())))).execute(conn)?;
            diesel::update(tolls::table.filter(tolls::destination.eq(Some(phone))))
                .set(tolls::destination.eq(None::<String>))
                .execute(conn)?;
        }
        for ids in actions.chunks(TOGETHER) {
            diesel::update(staff_actions::table.filter(staff_actions::id.eq_any(ids)))
                .set(staff_actions::detail.eq(NO_DETAIL))
                .execute(conn)?;
        }
        for keys in job_keys(&found.sids).chunks(TOGETHER) {
            diesel::delete(jobs::table.filter(jobs::key.eq_any(keys))).execute(conn)?;
        }
        for sids in found.sids.chunks(TOGETHER) {
            // Booked in their calls for somebody else.
            diesel::update(appointments::table.filter(appointments::call_sid.eq_any(sids)))
                .set((appointments::notes.eq(None::<String>), appointments::call_sid.eq(None::<String>)))
                .execute(conn)?;
        }
        if let Erasure::Traces(traces) = &outcome {
            upcoming::call_off(conn, &traces.upcoming, unix_now())?;
        }
        diesel::update(appointments::table.filter(appointments::customer_id.eq(Some(customer))))
            .set((
                appointments::customer_id.eq(None::<i64>),
                appointments::notes.eq(None::<String>),
                appointments::call_sid.eq(None::<String>),
            ))
            .execute(conn)?;
        diesel::delete(customers::table.find(customer)).execute(conn)?;
        Ok(outcome)
    })
}

impl DbHandle {
    /// What there is of a person; nothing is changed.
    pub async fn traces_of(&self, customer: i64) -> Result<Erasure, DbError> {
        self.read(move |conn| Ok(look(conn, customer)?.0)).await
    }

    /// Erases a person's data, all or nothing. The files of the recordings are to be deleted before: afterwards nobody
    /// knows whose they were.
    pub async fn erase_customer(&self, customer: i64) -> Result<Erasure, DbError> {
        self.read(move |conn| {
            let erased = erase(conn, customer)?;
            if matches!(erased, Erasure::Traces(_))
                && let Err(error) = scrub::scrub(conn)
            {
                tracing::warn!(%error, "what was erased is not overwritten yet: SQLite will do so by and by");
            }
            Ok(erased)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
