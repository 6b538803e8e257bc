//! Calls, their turns, audit trail and messages: what is read of them, and how a call ends.

use super::activity::{Tally, end_counter, flag_changes};
use super::cached::Cached;
use super::connect::AnyConnection;
use super::error::DbError;
use super::jobs::{self, NewJob};
use super::schema::{
    appointment_slots, appointments, call_events, calls, customers, jobs as job_rows, messages, turns,
};
use super::write::{locked_call, put_event};
use crate::domain::audit::AuditEvent;
use crate::domain::call::{
    CallFacts, CallKind, CallStatus, Direction, EndReason, MessageKind, Outcome, SummaryState,
};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId};
use crate::domain::job::JobKind;
use crate::domain::phone::{CallerId, PhoneNumber};
use crate::domain::time::UnixMillis;
use crate::domain::turn::{ResumeState, Speaker, TurnRecord};
use diesel::dsl::exists;
use diesel::prelude::*;

/// A call as it is stored, without its turns.
#[derive(Clone, Debug)]
pub struct CallOverview {
    /// Database id.
    pub id: i64,
    /// What is known since its admission; `epoch` is the present owner's.
    pub facts: CallFacts,
    /// How it stands.
    pub status: CallStatus,
    /// Why it ended, once it has.
    pub end_reason: Option<EndReason>,
    /// What it achieved so far.
    pub outcome: Outcome,
    /// Who called, if known.
    pub customer_id: Option<i64>,
    /// When it was answered.
    pub answered_at: Option<UnixMillis>,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Whole seconds from answer to end, once it has ended.
    pub duration_s: Option<u64>,
    /// The summary.
    pub summary: Option<String>,
    /// How the summary stands.
    pub summary_state: SummaryState,
    /// The transcript of an imported call, which has no turns.
    pub imported_transcript: Option<String>,
    /// How often its stream broke.
    pub breaks: u32,
}

/// A message left for a call-back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Database id.
    pub id: i64,
    /// The call it was left in.
    pub call: CallSid,
    /// Whether it was left, or noted by us.
    pub kind: MessageKind,
    /// Who left it.
    pub name: Option<String>,
    /// Where to ring back.
    pub phone: Option<String>,
    /// The message.
    pub text: String,
    /// When.
    pub at: UnixMillis,
}

/// A row of the audit trail as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Database id; rises in the order of writing.
    pub id: i64,
    /// When it happened.
    pub at: UnixMillis,
    /// What happened.
    pub event: AuditEvent,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls.
    pub calls: i64,
    /// Calls that have not ended.
    pub open_calls: i64,
    /// Calls with a summary.
    pub summaries: i64,
    /// Turns.
    pub turns: i64,
    /// Audit rows.
    pub events: i64,
    /// Messages.
    pub messages: i64,
    /// Customers.
    pub customers: i64,
    /// Confirmed appointments.
    pub appointments: i64,
    /// Ends of calls in the audit trail.
    pub ends: i64,
    /// Jobs that are not done, those given up included.
    pub open_jobs: i64,
    /// Stretches of a person's time that are held for a caller.
    pub holds: i64,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = calls)]
pub(super) struct CallRow {
    pub(super) id: i64,
    call_sid: String,
    admission: String,
    kind: String,
    direction: String,
    caller_kind: String,
    phone_number: Option<String>,
    business_number: String,
    status: String,
    end_reason: Option<String>,
    lead_captured: bool,
    appointment_booked: bool,
    message_taken: bool,
    transferred: bool,
    follow_up: bool,
    customer_id: Option<i64>,
    pub(super) started_ms: i64,
    answered_ms: Option<i64>,
    ended_ms: Option<i64>,
    duration_s: Option<i64>,
    transcript: Option<String>,
    summary: Option<String>,
    summary_state: String,
    epoch: i64,
    breaks: i64,
}

impl CallRow {
    pub(super) fn overview(self) -> Result<CallOverview, DbError> {
        let unknown = |column| DbError::Word { column };
        let end_reason = match self.end_reason {
            Some(word) => Some(EndReason::from_word(&word).ok_or(unknown("calls.end_reason"))?),
            None => None,
        };
        Ok(CallOverview {
            id: self.id,
            facts: CallFacts {
                sid: CallSid::new(self.call_sid),
                admission: AdmissionId::new(self.admission),
                kind: CallKind::from_word(&self.kind).ok_or(unknown("calls.kind"))?,
                direction: Direction::from_word(&self.direction).ok_or(unknown("calls.direction"))?,
                caller: caller_from_columns(&self.caller_kind, self.phone_number),
                business_number: self.business_number,
                admitted_at: UnixMillis(self.started_ms),
                epoch: Epoch(narrow(self.epoch)),
            },
            status: CallStatus::from_word(&self.status).ok_or(unknown("calls.status"))?,
            end_reason,
            outcome: Outcome {
                lead_captured: self.lead_captured,
                appointment_booked: self.appointment_booked,
                message_taken: self.message_taken,
                transferred: self.transferred,
                follow_up: self.follow_up,
            },
            customer_id: self.customer_id,
            answered_at: self.answered_ms.map(UnixMillis),
            ended_at: self.ended_ms.map(UnixMillis),
            duration_s: self.duration_s.map(|s| u64::try_from(s).unwrap_or(0)),
            summary: self.summary,
            summary_state: SummaryState::from_word(&self.summary_state)
                .ok_or(unknown("calls.summary_state"))?,
            imported_transcript: self.transcript,
            breaks: narrow(self.breaks),
        })
    }
}

pub(super) fn narrow(stored: i64) -> u32 {
    u32::try_from(stored.max(0)).unwrap_or(u32::MAX)
}

/// How a caller is stored: a word for what it is, and the text.
pub(super) fn caller_columns(caller: &CallerId) -> (&'static str, Option<&str>) {
    match caller {
        CallerId::Number(number) => ("number", Some(number.as_str())),
        CallerId::Withheld => ("withheld", None),
        CallerId::Sip(text) => ("sip", Some(text)),
        CallerId::Client(text) => ("client", Some(text)),
        CallerId::ShortCode(text) => ("short_code", Some(text)),
        CallerId::Raw(text) => ("raw", Some(text)),
    }
}

fn caller_from_columns(kind: &str, text: Option<String>) -> CallerId {
    let Some(text) = text else { return CallerId::Withheld };
    match kind {
        "number" => match PhoneNumber::from_e164(&text) {
            Ok(number) => CallerId::Number(number),
            Err(_) => CallerId::Raw(text.into()),
        },
        "sip" => CallerId::Sip(text.into()),
        "client" => CallerId::Client(text.into()),
        "short_code" => CallerId::ShortCode(text.into()),
        _ => CallerId::Raw(text.into()),
    }
}

/// Ends a call, unless it has ended already: then nothing changes, and that is no failure. Refused where another replica
/// has the call.
pub(super) fn end_call(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    sid: &CallSid,
    at: UnixMillis,
    reason: EndReason,
    outcome: Outcome,
    tally: &mut Tally,
) -> Result<(), DbError> {
    let call = locked_call(conn, sid)?;
    call.check_replica(me)?;
    // A call that was never answered lasted no time.
    let seconds = call.answered_ms.map_or(0, |answered| at.millis_since(UnixMillis(answered)) / 1_000);
    let spoke: bool = diesel::select(exists(
        turns::table.filter(turns::call_id.eq(call.id)).filter(turns::speaker.eq(Speaker::Caller.as_str())),
    ))
    .get_result(conn)?;
    // Added, not replaced: whoever sweeps up a lost call knows nothing of what it achieved.
    let stored = call.flags;
    let flags = [
        stored[0] || outcome.lead_captured,
        stored[1] || outcome.appointment_booked,
        stored[2] || outcome.message_taken,
        stored[3] || outcome.transferred,
        stored[4] || outcome.follow_up,
    ];
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let reached = Outcome {
        lead_captured: flags[0],
        appointment_booked: flags[1],
        message_taken: flags[2],
        transferred: flags[3],
        follow_up: flags[4],
    };
    let open = calls::table.filter(calls::id.eq(call.id)).filter(calls::ended_ms.is_null());
    let ended = Cached(diesel::update(open).set((
        calls::ended_ms.eq(Some(at.0)),
        calls::duration_s.eq(Some(seconds)),
        calls::status.eq(reason.status().as_str()),
        calls::end_reason.eq(Some(reason.as_str())),
        calls::summary_state.eq(if spoke { "pending" } else { "none" }),
        calls::lead_captured.eq(flags[0]),
        calls::appointment_booked.eq(flags[1]),
        calls::message_taken.eq(flags[2]),
        calls::transferred.eq(flags[3]),
        calls::follow_up.eq(flags[4]),
    )))
    .execute(conn)?;
    if ended == 0 {
        return Ok(());
    }
    let changes = [(end_counter(reason), 1), ("duration_s", seconds)];
    tally.count(call.started_ms, changes.into_iter().chain(flag_changes(stored, flags)));
    // Here, and not by whoever ends the call: a call ends once, however many believe that they have it.
    put_event(conn, sid, at, &AuditEvent::ended(reason), tally)?;
    // In this very transaction: a process that dies now still owes them.
    if spoke {
        jobs::enqueue(conn, &NewJob::of_call(JobKind::Summary, sid, at))?;
    }
    if reason.leaves_unfinished(reached, spoke) {
        jobs::enqueue(conn, &NewJob::of_call(JobKind::CallBack, sid, at))?;
    }
    Ok(())
}

pub(super) fn call_overview(
    conn: &mut AnyConnection,
    sid: &CallSid,
) -> Result<Option<CallOverview>, DbError> {
    calls::table
        .filter(calls::call_sid.eq(sid.as_str()))
        .select(CallRow::as_select())
        .get_result(conn)
        .optional()?
        .map(CallRow::overview)
        .transpose()
}

pub(super) fn open_calls(conn: &mut AnyConnection) -> Result<Vec<CallOverview>, DbError> {
    let rows: Vec<CallRow> = calls::table
        .filter(calls::ended_ms.is_null())
        .order(calls::started_ms.asc())
        .select(CallRow::as_select())
        .load(conn)?;
    rows.into_iter().map(CallRow::overview).collect()
}

pub(super) fn recent_calls(conn: &mut AnyConnection, limit: u32) -> Result<Vec<CallOverview>, DbError> {
    let rows: Vec<CallRow> = calls::table
        .order((calls::started_ms.desc(), calls::id.desc()))
        .limit(i64::from(limit))
        .select(CallRow::as_select())
        .load(conn)?;
    rows.into_iter().map(CallRow::overview).collect()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = turns)]
pub(super) struct TurnRow {
    pub(super) n: i64,
    speaker: String,
    said: String,
    heard: String,
    interrupted: bool,
    at_ms: i64,
    latencies: String,
}

impl TurnRow {
    pub(super) fn turn(self) -> Result<TurnRecord, DbError> {
        Ok(TurnRecord {
            n: narrow(self.n),
            speaker: Speaker::from_word(&self.speaker).ok_or(DbError::Word { column: "turns.speaker" })?,
            said: self.said,
            heard: self.heard,
            interrupted: self.interrupted,
            at_ms: u64::try_from(self.at_ms).unwrap_or(0),
            latency: serde_json::from_str(&self.latencies)?,
        })
    }
}

/// The last `limit` turns, oldest first.
fn last_turns(conn: &mut AnyConnection, call_id: i64, limit: i64) -> Result<Vec<TurnRecord>, DbError> {
    let rows: Vec<TurnRow> = turns::table
        .filter(turns::call_id.eq(call_id))
        .order(turns::n.desc())
        .limit(limit)
        .select(TurnRow::as_select())
        .load(conn)?;
    rows.into_iter().rev().map(TurnRow::turn).collect()
}

pub(super) fn turns_of(conn: &mut AnyConnection, sid: &CallSid) -> Result<Vec<TurnRecord>, DbError> {
    let id = calls::table
        .filter(calls::call_sid.eq(sid.as_str()))
        .select(calls::id)
        .get_result::<i64>(conn)
        .optional()?;
    match id {
        Some(id) => last_turns(conn, id, i64::MAX),
        None => Ok(Vec::new()),
    }
}

pub(super) fn resume_state(
    conn: &mut AnyConnection,
    sid: &CallSid,
    max_turns: u32,
) -> Result<Option<ResumeState>, DbError> {
    let row: Option<(i64, Option<String>)> = calls::table
        .filter(calls::call_sid.eq(sid.as_str()))
        .filter(calls::ended_ms.is_null())
        .select((calls::id, calls::resume_json))
        .get_result(conn)
        .optional()?;
    let Some((id, stored)) = row else { return Ok(None) };
    let mut state: ResumeState = match stored {
        Some(json) => serde_json::from_str(&json)?,
        None => ResumeState::default(),
    };
    state.turns = last_turns(conn, id, i64::from(max_turns))?;
    if let Some(last) = state.turns.last() {
        // The process may have died between a turn and the state that goes with it.
        state.elapsed_ms = state.elapsed_ms.max(last.at_ms);
    }
    Ok(Some(state))
}

pub(super) fn events_of(conn: &mut AnyConnection, sid: &CallSid) -> Result<Vec<StoredEvent>, DbError> {
    let rows: Vec<(i64, i64, String, String)> = call_events::table
        .filter(call_events::call_sid.eq(sid.as_str()))
        .order(call_events::id.asc())
        .select((call_events::id, call_events::at_ms, call_events::code, call_events::detail))
        .load(conn)?;
    rows.into_iter()
        .map(|(id, at, code, detail)| {
            let event = AuditEvent { code, detail: serde_json::from_str(&detail)? };
            Ok(StoredEvent { id, at: UnixMillis(at), event })
        })
        .collect()
}

/// How a message's kind is stored.
pub(super) const fn message_word(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Message => "message",
        MessageKind::CallBack => "callback",
    }
}

/// The kind a stored word stands for.
pub(super) fn message_kind(word: &str) -> MessageKind {
    if word == message_word(MessageKind::CallBack) { MessageKind::CallBack } else { MessageKind::Message }
}

pub(super) fn recent_messages(conn: &mut AnyConnection, limit: u32) -> Result<Vec<StoredMessage>, DbError> {
    type Row = (i64, String, String, Option<String>, Option<String>, String, i64);
    let rows: Vec<Row> = messages::table
        .order(messages::id.desc())
        .limit(i64::from(limit))
        .select((
            messages::id,
            messages::call_sid,
            messages::kind,
            messages::name,
            messages::phone,
            messages::text,
            messages::created_ms,
        ))
        .load(conn)?;
    let message = |(id, call, kind, name, phone, text, at): Row| StoredMessage {
        id,
        call: CallSid::new(call),
        kind: message_kind(&kind),
        name,
        phone,
        text,
        at: UnixMillis(at),
    };
    Ok(rows.into_iter().map(message).collect())
}

pub(super) fn counts(conn: &mut AnyConnection) -> Result<Counts, DbError> {
    let open = calls::table.filter(calls::ended_ms.is_null());
    let summarised = calls::table.filter(calls::summary.is_not_null());
    let confirmed = appointments::table.filter(appointments::status.eq("confirmed"));
    let ends = call_events::table.filter(call_events::code.eq("call.ended"));
    let undone = job_rows::table.filter(job_rows::state.ne("done"));
    let held = appointment_slots::table.filter(appointment_slots::hold_id.is_not_null());
    Ok(Counts {
        calls: calls::table.count().get_result(conn)?,
        open_calls: open.count().get_result(conn)?,
        summaries: summarised.count().get_result(conn)?,
        turns: turns::table.count().get_result(conn)?,
        events: call_events::table.count().get_result(conn)?,
        messages: messages::table.count().get_result(conn)?,
        customers: customers::table.count().get_result(conn)?,
        appointments: confirmed.count().get_result(conn)?,
        ends: ends.count().get_result(conn)?,
        open_jobs: undone.count().get_result(conn)?,
        holds: held.count().get_result(conn)?,
    })
}
