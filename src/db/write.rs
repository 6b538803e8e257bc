//! What is written in order through the writer, and how each of it is applied.

use super::access::add_staff_action;
use super::activity::{Flags, Tally, direction_counter, event_counter, flag_changes};
use super::cached::{Cached, Put, Value};
use super::calls::{caller_columns, end_call};
use super::connect::{AnyConnection, on_either};
use super::customers::keep_by_phone;
use super::error::DbError;
use super::recordings;
use super::schema::{call_events, calls, messages, turns};
use super::usage;
use crate::domain::audit::AuditEvent;
use crate::domain::call::{CallFacts, CallStatus, Direction, EndReason, Outcome};
use crate::domain::card;
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::domain::job::JobKind;
use crate::domain::recording::Recording;
use crate::domain::staff::StaffAction;
use crate::domain::time::UnixMillis;
use crate::domain::turn::{ResumeState, StageLatencies, TurnRecord};
use crate::domain::usage::Used;
use diesel::prelude::*;
use std::fmt;

#[cfg(test)]
type TestJob = std::sync::Arc<dyn Fn(&mut AnyConnection) -> Result<(), DbError> + Send + Sync>;

/// One write. Writes are applied in the order in which they were queued.
#[derive(Clone)]
pub enum Write {
    /// A call was let in, or taken over by a newer owner (then with a higher epoch): it is this replica's. Repeating it
    /// changes nothing; at the same epoch it is refused where another replica has the call.
    CallAdmitted {
        /// What is known of the call.
        facts: CallFacts,
    },
    /// A call was handed to this replica by the one that had it, at the same epoch: it is ours from now on. Makes the row
    /// where the other's own admission is not there yet, which is then refused.
    CallTaken {
        /// What is known of the call.
        facts: CallFacts,
    },
    /// What Twilio is to be told when it asks how the call goes on, for whoever is asked.
    Onward {
        /// Which call.
        sid: CallSid,
        /// The writer's epoch; an older one than the call's is refused.
        epoch: Epoch,
        /// What; none: nothing is decided.
        onward: Option<serde_json::Value>,
    },
    /// The call is up. Only the first time counts.
    CallAnswered {
        /// Which call.
        sid: CallSid,
        /// When.
        at: UnixMillis,
    },
    /// A turn, inserted or replaced by its `n`.
    Turn {
        /// Which call.
        sid: CallSid,
        /// The writer's epoch; an older one than the call's is refused.
        epoch: Epoch,
        /// The turn as it stands now.
        turn: TurnRecord,
    },
    /// A row of the audit trail. The call need not be known. Whoever writes it, it is kept.
    Event {
        /// Which call.
        sid: CallSid,
        /// When.
        at: UnixMillis,
        /// What happened.
        event: AuditEvent,
    },
    /// What is needed to go on with the call; the turns in it are ignored, they have their own writes.
    Resume {
        /// Which call.
        sid: CallSid,
        /// The writer's epoch; an older one than the call's is refused.
        epoch: Epoch,
        /// The state.
        state: ResumeState,
    },
    /// The call is over. Only the first end counts, and leaves its row in the audit trail; the status follows from the
    /// reason. Refused where another replica has the call.
    CallEnded {
        /// Which call.
        sid: CallSid,
        /// When.
        at: UnixMillis,
        /// Why.
        reason: EndReason,
        /// What it achieved, added to what is stored already.
        outcome: Outcome,
    },
    /// The caller was recognised.
    CallCustomer {
        /// Which call.
        sid: CallSid,
        /// The writer's epoch; an older one than the call's is refused.
        epoch: Epoch,
        /// Who.
        customer_id: i64,
    },
    /// The call's summary.
    Summary {
        /// Which call.
        sid: CallSid,
        /// The summary.
        text: String,
    },
    /// What a call has used, added to what is stored already.
    Usage {
        /// Which call.
        sid: CallSid,
        /// When.
        at: UnixMillis,
        /// What.
        used: Vec<Used>,
    },
    /// A message for a call-back. The call need not be known: a message is never lost for that.
    Message {
        /// Of two with the same key only one is kept.
        key: Option<String>,
        /// Which call.
        sid: CallSid,
        /// When.
        at: UnixMillis,
        /// Who left it.
        name: Option<String>,
        /// Where to ring back, as understood.
        phone: Option<String>,
        /// The message.
        text: String,
    },
    /// A row of the staff's audit trail.
    StaffAction {
        /// When.
        at: UnixMillis,
        /// What was done, and by whom.
        action: Box<StaffAction>,
    },
    /// How a recording stands now.
    Recording {
        /// The recording.
        recording: Recording,
        /// The place from which it is to be uploaded once it is complete, if it is.
        upload_from: Option<String>,
        /// When.
        at: UnixMillis,
    },
    /// Whatever a test wants to happen in the writer.
    #[cfg(test)]
    Test(TestJob),
}

impl Write {
    /// A word for the kind of write, for logs.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::CallAdmitted { .. } => "call_admitted",
            Self::CallTaken { .. } => "call_taken",
            Self::Onward { .. } => "onward",
            Self::CallAnswered { .. } => "call_answered",
            Self::Turn { .. } => "turn",
            Self::Event { .. } => "event",
            Self::Resume { .. } => "resume",
            Self::CallEnded { .. } => "call_ended",
            Self::CallCustomer { .. } => "call_customer",
            Self::Summary { .. } => "summary",
            Self::Usage { .. } => "usage",
            Self::Message { .. } => "message",
            Self::StaffAction { .. } => "staff_action",
            Self::Recording { .. } => "recording",
            #[cfg(test)]
            Self::Test(_) => "test",
        }
    }

    /// The call it is about.
    pub(super) fn sid(&self) -> &str {
        match self {
            Self::CallAdmitted { facts } | Self::CallTaken { facts } => facts.sid.as_str(),
            Self::CallAnswered { sid, .. }
            | Self::Turn { sid, .. }
            | Self::Event { sid, .. }
            | Self::Resume { sid, .. }
            | Self::Onward { sid, .. }
            | Self::CallEnded { sid, .. }
            | Self::CallCustomer { sid, .. }
            | Self::Summary { sid, .. }
            | Self::Usage { sid, .. }
            | Self::Message { sid, .. } => sid.as_str(),
            Self::StaffAction { .. } => "",
            Self::Recording { recording, .. } => recording.sid.as_str(),
            #[cfg(test)]
            Self::Test(_) => "",
        }
    }
}

/// Prints the kind and the call only: the rest is what people said.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.kind(), self.sid())
    }
}

/// Applies one write of a replica. The caller wraps it in a transaction or savepoint, and writes the tally within the
/// transaction.
pub(super) fn apply(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    write: &Write,
    tally: &mut Tally,
) -> Result<(), DbError> {
    match write {
        Write::CallAdmitted { facts } => admit(conn, me, facts, By::Claim, tally),
        Write::CallTaken { facts } => admit(conn, me, facts, By::Owner, tally),
        Write::Onward { sid, epoch, onward } => put_onward(conn, me, sid, *epoch, onward.as_ref()),
        Write::CallAnswered { sid, at } => answered(conn, sid, *at),
        Write::Turn { sid, epoch, turn } => put_turn(conn, me, sid, *epoch, turn, tally),
        Write::Event { sid, at, event } => put_event(conn, sid, *at, event, tally),
        Write::Resume { sid, epoch, state } => put_resume(conn, me, sid, *epoch, state, tally),
        Write::CallEnded { sid, at, reason, outcome } => {
            end_call(conn, me, sid, *at, *reason, *outcome, tally)
        }
        Write::CallCustomer { sid, epoch, customer_id } => {
            let call = locked_call(conn, sid)?;
            call.fence(conn, me, *epoch)?;
            diesel::update(calls::table.filter(calls::id.eq(call.id)))
                .set(calls::customer_id.eq(Some(*customer_id)))
                .execute(conn)?;
            Ok(())
        }
        Write::Summary { sid, text } => {
            let text = card::mask_text(text);
            let changed = diesel::update(calls::table.filter(calls::call_sid.eq(sid.as_str())))
                .set((calls::summary.eq(Some(text.as_str())), calls::summary_state.eq("done")))
                .execute(conn)?;
            super::jobs::done_by_others(conn, &format!("{}:{sid}", JobKind::Summary))?;
            known(changed, sid)
        }
        Write::Usage { sid, at, used } => usage::add(conn, sid, *at, used),
        Write::Message { key, sid, at, name, phone, text } => {
            let text = card::mask_text(text);
            on_either!(conn, c => diesel::insert_into(messages::table)
                .values((
                    messages::call_sid.eq(sid.as_str()),
                    messages::name.eq(name.as_deref()),
                    messages::phone.eq(phone.as_deref()),
                    messages::text.eq(&*text),
                    messages::created_ms.eq(at.0),
                    messages::entry_key.eq(key.as_deref()),
                ))
                .on_conflict(messages::entry_key)
                .do_nothing()
                .execute(c))?;
            Ok(())
        }
        Write::StaffAction { at, action } => add_staff_action(conn, action, *at),
        Write::Recording { recording, upload_from, at } => {
            recordings::put(conn, recording, upload_from.as_deref(), *at)
        }
        #[cfg(test)]
        Write::Test(job) => job(conn),
    }
}

fn known(changed: usize, sid: &CallSid) -> Result<(), DbError> {
    if changed == 0 { Err(DbError::UnknownCall(sid.clone())) } else { Ok(()) }
}

/// How a replica comes to have a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// It let the call in, or a stream claimed the call from it.
    Claim,
    /// Who had it has handed it over.
    Owner,
}

fn admit(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    facts: &CallFacts,
    by: By,
    tally: &mut Tally,
) -> Result<(), DbError> {
    let (caller_kind, phone_number) = caller_columns(&facts.caller);
    let status = match facts.direction {
        Direction::Inbound => CallStatus::Ringing,
        Direction::Outbound => CallStatus::Queued,
    };
    let customer = match facts.caller.number() {
        Some(number) => keep_by_phone(conn, number.as_str())?,
        None => None,
    };
    let values = (
        calls::call_sid.eq(facts.sid.as_str()),
        calls::admission.eq(facts.admission.as_str()),
        calls::kind.eq(facts.kind.as_str()),
        calls::direction.eq(facts.direction.as_str()),
        calls::caller_kind.eq(caller_kind),
        calls::phone_number.eq(phone_number),
        calls::business_number.eq(facts.business_number.as_str()),
        calls::status.eq(status.as_str()),
        calls::customer_id.eq(customer),
        calls::started_ms.eq(facts.admitted_at.0),
        calls::epoch.eq(i64::from(facts.epoch.0)),
        calls::replica.eq(Some(me.as_str())),
    );
    let new = diesel::insert_into(calls::table).values(values).on_conflict(calls::call_sid).do_nothing();
    if on_either!(conn, c => new.execute(c))? > 0 {
        tally.count(facts.admitted_at.0, [(direction_counter(facts.direction), 1)]);
        return Ok(());
    }
    let call = locked_call(conn, &facts.sid)?;
    match call.check(me, facts.epoch) {
        Err(DbError::NotOurs { .. }) if by == By::Owner => {}
        checked => checked?,
    }
    diesel::update(calls::table.filter(calls::id.eq(call.id)))
        .set((
            calls::epoch.eq(i64::from(facts.epoch.0)),
            calls::replica.eq(Some(me.as_str())),
            calls::admission.eq(facts.admission.as_str()),
        ))
        .execute(conn)?;
    Ok(())
}

fn answered(conn: &mut AnyConnection, sid: &CallSid, at: UnixMillis) -> Result<(), DbError> {
    let call = locked_call(conn, sid)?;
    let unanswered = calls::table
        .filter(calls::id.eq(call.id))
        .filter(calls::answered_ms.is_null())
        .filter(calls::ended_ms.is_null());
    Cached(
        diesel::update(unanswered)
            .set((calls::answered_ms.eq(Some(at.0)), calls::status.eq(CallStatus::InProgress.as_str()))),
    )
    .execute(conn)?;
    Ok(())
}

/// Adds a row to the audit trail.
pub(super) fn put_event(
    conn: &mut AnyConnection,
    sid: &CallSid,
    at: UnixMillis,
    event: &AuditEvent,
    tally: &mut Tally,
) -> Result<(), DbError> {
    let mut detail = event.detail.clone();
    card::mask_json(&mut detail);
    Cached(diesel::insert_into(call_events::table).values((
        call_events::call_sid.eq(sid.as_str()),
        call_events::at_ms.eq(at.0),
        call_events::code.eq(event.code.as_str()),
        call_events::detail.eq(serde_json::to_string(&detail)?),
    )))
    .execute(conn)?;
    tally.count(at.0, event_counter(&event.code).map(|counter| (counter, 1)));
    Ok(())
}

fn put_turn(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    sid: &CallSid,
    epoch: Epoch,
    turn: &TurnRecord,
    tally: &mut Tally,
) -> Result<(), DbError> {
    let call = locked_call(conn, sid)?;
    call.fence(conn, me, epoch)?;
    let latencies = serde_json::to_string(&turn.latency)?;
    let before: Option<(String, bool)> = turns::table
        .find((call.id, i64::from(turn.n)))
        .select((turns::latencies, turns::interrupted))
        .get_result(conn)
        .optional()?;
    let put = Put {
        sql: "INSERT INTO turns (call_id, n, speaker, said, heard, interrupted, at_ms, latencies) \
              VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call_id, n) DO UPDATE \
              SET speaker = excluded.speaker, said = excluded.said, heard = excluded.heard, \
              interrupted = excluded.interrupted, at_ms = excluded.at_ms, latencies = excluded.latencies",
        values: vec![
            Value::Number(call.id),
            Value::Number(i64::from(turn.n)),
            Value::Text(turn.speaker.as_str()),
            Value::Text(turn.said.as_str()),
            Value::Text(turn.heard.as_str()),
            Value::Flag(turn.interrupted),
            Value::Number(i64::try_from(turn.at_ms).unwrap_or(i64::MAX)),
            Value::Text(latencies.as_str()),
        ],
    };
    put.run(conn)?;
    let before = match &before {
        Some((latencies, interrupted)) => {
            Some((serde_json::from_str::<StageLatencies>(latencies)?, *interrupted))
        }
        None => None,
    };
    let before = before.as_ref().map(|(latency, interrupted)| (latency, *interrupted));
    let at = call.started_ms.saturating_add(i64::try_from(turn.at_ms).unwrap_or(i64::MAX));
    tally.turn(at, before, (&turn.latency, turn.interrupted));
    Ok(())
}

fn put_onward(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    sid: &CallSid,
    epoch: Epoch,
    onward: Option<&serde_json::Value>,
) -> Result<(), DbError> {
    let call = locked_call(conn, sid)?;
    call.fence(conn, me, epoch)?;
    let text = onward.map(serde_json::to_string).transpose()?;
    diesel::update(calls::table.filter(calls::id.eq(call.id))).set(calls::onward.eq(text)).execute(conn)?;
    Ok(())
}

fn put_resume(
    conn: &mut AnyConnection,
    me: &ReplicaId,
    sid: &CallSid,
    epoch: Epoch,
    state: &ResumeState,
    tally: &mut Tally,
) -> Result<(), DbError> {
    let call = locked_call(conn, sid)?;
    call.fence(conn, me, epoch)?;
    let stored = ResumeState {
        turns: Vec::new(),
        summary: state.summary.clone(),
        outcome: state.outcome,
        facts: state.facts.clone(),
        elapsed_ms: state.elapsed_ms,
        breaks: state.breaks,
        notified: state.notified,
        muted: state.muted,
        digits: state.digits.clone(),
        parting: state.parting,
        idle_prompts: state.idle_prompts,
    };
    let update = diesel::update(calls::table.filter(calls::id.eq(call.id))).set((
        calls::resume_json.eq(Some(serde_json::to_string(&stored)?)),
        calls::breaks.eq(i64::from(state.breaks)),
        calls::lead_captured.eq(state.outcome.lead_captured),
        calls::appointment_booked.eq(state.outcome.appointment_booked),
        calls::message_taken.eq(state.outcome.message_taken),
        calls::transferred.eq(state.outcome.transferred),
        calls::follow_up.eq(state.outcome.follow_up),
    ));
    Cached(update).execute(conn)?;
    let Outcome { lead_captured, appointment_booked, message_taken, transferred, follow_up } = state.outcome;
    let flags = [lead_captured, appointment_booked, message_taken, transferred, follow_up];
    tally.count(call.started_ms, flag_changes(call.flags, flags));
    Ok(())
}

/// A call's row, kept from changing until the transaction ends.
pub(super) struct LockedCall {
    pub(super) id: i64,
    epoch: i64,
    replica: Option<String>,
    pub(super) started_ms: i64,
    pub(super) answered_ms: Option<i64>,
    /// What it achieved so far, as it is stored.
    pub(super) flags: Flags,
}

impl LockedCall {
    fn epoch(&self) -> Epoch {
        Epoch(u32::try_from(self.epoch).unwrap_or(u32::MAX))
    }

    /// Refuses a writer older than the owner, and one of the owner's epoch that is not the owner. A newer one is let in:
    /// whoever raises an epoch has the call's stream or took the call over in here, and its admission may still be queued.
    pub(super) fn check(&self, me: &ReplicaId, given: Epoch) -> Result<(), DbError> {
        if i64::from(given.0) < self.epoch {
            return Err(DbError::StaleEpoch { current: self.epoch(), given });
        }
        if i64::from(given.0) == self.epoch { self.check_replica(me) } else { Ok(()) }
    }

    /// Refuses whoever is not the owner, where there is one.
    pub(super) fn check_replica(&self, me: &ReplicaId) -> Result<(), DbError> {
        match self.replica.as_deref() {
            Some(owner) if owner != me.as_str() => {
                Err(DbError::NotOurs { owner: ReplicaId::from(owner), epoch: self.epoch() })
            }
            _ => Ok(()),
        }
    }

    /// The same for a write; a newer writer becomes the owner.
    fn fence(&self, conn: &mut AnyConnection, me: &ReplicaId, given: Epoch) -> Result<(), DbError> {
        self.check(me, given)?;
        if i64::from(given.0) > self.epoch {
            diesel::update(calls::table.filter(calls::id.eq(self.id)))
                .set((calls::epoch.eq(i64::from(given.0)), calls::replica.eq(Some(me.as_str()))))
                .execute(conn)?;
        }
        Ok(())
    }
}

/// Reads a call's row and locks it: PostgreSQL's other replicas must not raise the epoch between the look and the
/// write. SQLite's transaction holds the whole database already.
pub(super) fn locked_call(conn: &mut AnyConnection, sid: &CallSid) -> Result<LockedCall, DbError> {
    let query = calls::table.filter(calls::call_sid.eq(sid.as_str())).select((
        calls::id,
        calls::epoch,
        calls::replica,
        calls::started_ms,
        calls::answered_ms,
        (
            calls::lead_captured,
            calls::appointment_booked,
            calls::message_taken,
            calls::transferred,
            calls::follow_up,
        ),
    ));
    type Row = (i64, i64, Option<String>, i64, Option<i64>, (bool, bool, bool, bool, bool));
    let row: Option<Row> = match conn {
        AnyConnection::Sqlite(c) => query.get_result(c).optional()?,
        AnyConnection::Postgres(c) => query.for_no_key_update().get_result(c).optional()?,
    };
    match row {
        Some((id, epoch, replica, started_ms, answered_ms, (a, b, c, d, e))) => {
            Ok(LockedCall { id, epoch, replica, started_ms, answered_ms, flags: [a, b, c, d, e] })
        }
        None => Err(DbError::UnknownCall(sid.clone())),
    }
}
