//! Erasure of one person's data: what there is of it, and its removal.
//!
//! Calls and appointments stay as what happened at some time, without anything that says to whom. The audit trail of
//! staff keeps the id under which the person was known, and nothing else.

use super::connect::{AnyConnection, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{
    appointments, call_events, call_outcomes, calls, customers, messages, recordings, turns,
};
use crate::domain::recording::RecordingState;
use diesel::prelude::*;

/// Calls that are looked at together: databases bound the parameters of a query.
const TOGETHER: usize = 500;

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
    /// Where their recordings lie.
    pub recordings: Vec<String>,
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

/// What belongs to one person: their calls, and their number if it is known.
type Person = (Calls, Option<String>);

fn look(conn: &mut AnyConnection, customer: i64) -> Result<(Erasure, Option<Person>), DbError> {
    let known: Option<Option<String>> =
        customers::table.find(customer).select(customers::phone).first(conn).optional()?;
    let Some(phone) = known else { return Ok((Erasure::Unknown, None)) };
    let found = calls_of(conn, customer, phone.as_deref())?;
    if found.live {
        return Ok((Erasure::Live, None));
    }
    let mut traces = Traces { calls: found.ids.len() as u64, ..Traces::default() };
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
    Ok((Erasure::Traces(traces), Some((found, phone))))
}

fn erase(conn: &mut AnyConnection, customer: i64) -> Result<Erasure, DbError> {
    write_transaction(conn, |conn| {
        let (outcome, found) = look(conn, customer)?;
        let Some((found, phone)) = found else { return Ok(outcome) };
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
            diesel::delete(messages::table.filter(messages::phone.eq(Some(phone)))).execute(conn)?;
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
        self.read(move |conn| erase(conn, customer)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Write;
    use crate::db::tests::{TestDb, admitted, caller_turn, facts, phone};
    use crate::domain::appointment::CustomerPatch;
    use crate::domain::audit::AuditEvent;
    use crate::domain::call::{EndReason, Outcome};
    use crate::domain::ids::{CallSid, Epoch};
    use crate::domain::phone::CallerId;
    use crate::domain::recording::Recording;
    use crate::domain::time::UnixMillis;
    use diesel::sql_types::Text;

    #[derive(QueryableByName)]
    struct Cell {
        #[diesel(sql_type = Text)]
        text: String,
    }

    /// Everything that stands in the columns of text, all tables.
    fn everything(test: &TestDb) -> String {
        let mut conn = test.connection();
        let mut all = String::new();
        for (table, columns) in [
            ("customers", "coalesce(name,'')||coalesce(phone,'')||coalesce(email,'')||coalesce(notes,'')"),
            ("appointments", "coalesce(notes,'')||service||coalesce(call_sid,'')"),
            ("calls", "call_sid||coalesce(phone_number,'')||coalesce(summary,'')||coalesce(resume_json,'')"),
            ("turns", "said||heard"),
            ("call_events", "call_sid||detail"),
            ("messages", "call_sid||coalesce(name,'')||coalesce(phone,'')||text"),
            ("recordings", "call_sid||location||state"),
        ] {
            let query = format!("SELECT {columns} AS text FROM {table}");
            let rows: Vec<Cell> = diesel::sql_query(query).load(&mut conn).unwrap();
            all.extend(rows.into_iter().map(|cell| format!("{table}: {}\n", cell.text)));
        }
        all
    }

    async fn call_of(db: &DbHandle, sid: &str, number: &str, words: &str) {
        let at = UnixMillis(1_500_000);
        let mut facts = facts(sid, 1);
        facts.caller = CallerId::Number(phone(number));
        let id = CallSid::from(sid);
        let recording = Recording {
            sid: id.clone(),
            location: format!("2026/11/22/{sid}.wav"),
            state: RecordingState::Stored,
            bytes: 1,
            ms: 1,
            started: at,
            offset_ms: 0,
            dropped_frames: 0,
        };
        for write in [
            Write::CallAdmitted { facts },
            Write::Turn { sid: id.clone(), epoch: Epoch(1), turn: caller_turn(1, words) },
            Write::Event {
                sid: id.clone(),
                at,
                event: AuditEvent::new("x.y", serde_json::json!({ "w": words })),
            },
            Write::Message { sid: id.clone(), at, name: Some(words.into()), phone: None, text: words.into() },
            Write::Recording { recording, at },
            Write::CallEnded {
                sid: id.clone(),
                at,
                reason: EndReason::Completed,
                outcome: Outcome::default(),
            },
            Write::Summary { sid: id, text: words.into() },
        ] {
            db.write(write).await.unwrap();
        }
    }

    #[actix::test]
    async fn a_person_is_erased_everywhere_and_nobody_else() {
        for test in TestDb::each() {
            let db = test.open();
            let person = |name: &str, number: &str| CustomerPatch {
                name: Some(name.into()),
                phone: Some(phone(number)),
                email: Some(format!("{name}@example.com")),
            };
            let now = UnixMillis(1_000_000);
            let secret = db.upsert_customer(person("secretperson", "+12025550143"), None, now).await.unwrap();
            let other = db.upsert_customer(person("otherperson", "+12025550144"), None, now).await.unwrap();
            call_of(&db, "CA1", "+12025550143", "secretwords one").await;
            call_of(&db, "CA2", "+12025550143", "secretwords two").await;
            call_of(&db, "CA3", "+12025550144", "otherwords").await;
            db.flush().await.unwrap();
            let before = everything(&test);

            let Erasure::Traces(dry) = db.traces_of(secret.id).await.unwrap() else {
                panic!("there are traces")
            };
            assert_eq!((dry.calls, dry.turns, dry.events, dry.messages), (2, 2, 2, 2));
            assert_eq!(dry.recordings, ["2026/11/22/CA1.wav", "2026/11/22/CA2.wav"]);
            assert_eq!(everything(&test), before, "a look changes nothing");

            assert_eq!(db.erase_customer(secret.id).await.unwrap(), Erasure::Traces(dry));
            let after = everything(&test);
            assert!(!after.contains("secret") && !after.contains("+12025550143"), "{after}");
            assert!(
                after.contains("otherperson")
                    && after.contains("+12025550144")
                    && after.contains("otherwords")
            );
            assert_eq!(after.matches("wavstored").count(), 1, "{after}");
            // The calls are still counted.
            assert_eq!(db.counts().await.unwrap().calls, 3);
            assert_eq!(db.erase_customer(secret.id).await.unwrap(), Erasure::Unknown);

            // A call that is up is not pulled from under its owner.
            db.write(admitted("CA4", 1)).await.unwrap();
            db.write(Write::CallCustomer { sid: CallSid::from("CA4"), customer_id: other.id }).await.unwrap();
            assert_eq!(db.erase_customer(other.id).await.unwrap(), Erasure::Live);
            db.shutdown().await;
        }
    }
}
