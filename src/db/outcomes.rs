//! What came of a call: what is known of it from its own rows, and what was understood beside that.

use super::connect::{AnyConnection, on_either};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{appointments, call_outcomes, calls, customers};
use crate::domain::ids::CallSid;
use crate::domain::insight::Insight;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;
use diesel::upsert::excluded;
use serde_json::{Value, json};

/// What came of a call, as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredOutcome {
    /// All of it: `intent`, `sentiment`, `booked`, `appointment_ids`, `lead`, `message`, `transferred`, `follow_up`.
    pub outcome: Value,
    /// The model that understood it.
    pub model: String,
    /// When.
    pub at: UnixMillis,
}

/// Keeps what came of a call. What the call's own rows say is taken from there, never from the model.
pub(super) fn put(
    conn: &mut AnyConnection,
    sid: &CallSid,
    insight: Option<&Insight>,
    model: &str,
    now: UnixMillis,
) -> Result<(), DbError> {
    type Row = (i64, bool, bool, bool, bool, bool, Option<i64>);
    let row: Option<Row> = calls::table
        .filter(calls::call_sid.eq(sid.as_str()))
        .select((
            calls::id,
            calls::lead_captured,
            calls::appointment_booked,
            calls::message_taken,
            calls::transferred,
            calls::follow_up,
            calls::customer_id,
        ))
        .first(conn)
        .optional()?;
    // A call that is kept no longer needs no outcome.
    let Some((id, lead, booked, message, transferred, follow_up, customer)) = row else { return Ok(()) };
    let appointment_ids: Vec<i64> = appointments::table
        .filter(appointments::call_sid.eq(sid.as_str()))
        .filter(appointments::status.eq("confirmed"))
        .order(appointments::id.asc())
        .select(appointments::id)
        .load(conn)?;
    let known_name: Option<String> = match customer {
        Some(id) => customers::table.find(id).select(customers::name).first(conn).optional()?.flatten(),
        None => None,
    };
    let intent = insight.map(|i| i.intent.as_str());
    let sentiment = insight.map(|i| i.sentiment.as_str());
    let outcome = json!({
        "intent": intent,
        "sentiment": sentiment,
        "booked": booked,
        "appointment_ids": appointment_ids,
        "lead": {
            "captured": lead,
            "customer_id": customer,
            "name": known_name.or_else(|| insight.and_then(|i| i.lead_name.clone())),
        },
        "message": { "taken": message, "text": insight.and_then(|i| i.message.as_deref()) },
        "transferred": transferred,
        "follow_up": { "due": follow_up, "text": insight.and_then(|i| i.follow_up.as_deref()) },
    });
    let insert = diesel::insert_into(call_outcomes::table)
        .values((
            call_outcomes::call_id.eq(id),
            call_outcomes::intent.eq(intent),
            call_outcomes::sentiment.eq(sentiment),
            call_outcomes::outcome.eq(outcome.to_string()),
            call_outcomes::model.eq(model),
            call_outcomes::created_ms.eq(now.0),
        ))
        .on_conflict(call_outcomes::call_id)
        .do_update()
        .set((
            call_outcomes::intent.eq(excluded(call_outcomes::intent)),
            call_outcomes::sentiment.eq(excluded(call_outcomes::sentiment)),
            call_outcomes::outcome.eq(excluded(call_outcomes::outcome)),
            call_outcomes::model.eq(excluded(call_outcomes::model)),
            call_outcomes::created_ms.eq(excluded(call_outcomes::created_ms)),
        ));
    on_either!(conn, c => insert.execute(c))?;
    Ok(())
}

pub(super) fn of_call(conn: &mut AnyConnection, call: i64) -> Result<Option<StoredOutcome>, DbError> {
    let row: Option<(String, String, i64)> = call_outcomes::table
        .find(call)
        .select((call_outcomes::outcome, call_outcomes::model, call_outcomes::created_ms))
        .first(conn)
        .optional()?;
    row.map(|(outcome, model, at)| {
        Ok(StoredOutcome { outcome: serde_json::from_str(&outcome)?, model, at: UnixMillis(at) })
    })
    .transpose()
}

impl DbHandle {
    /// What came of the call with a database id, once that was written.
    pub async fn call_outcome(&self, call: i64) -> Result<Option<StoredOutcome>, DbError> {
        self.read(move |conn| of_call(conn, call)).await
    }
}
