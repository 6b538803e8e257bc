//! What calls use and cost.

use super::activity::{Run, parts, quarter, shard};
use super::cached::{Put, Value};
use super::connect::{AnyConnection, on_either};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{call_usage, calls};
use crate::domain::ids::CallSid;
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use crate::domain::usage::{Item, Used};
use diesel::prelude::*;
use diesel::sql_types::BigInt;

/// Adds to what a call has used, and to what that quarter of an hour has cost.
pub(super) fn add(
    conn: &mut AnyConnection,
    sid: &CallSid,
    at: UnixMillis,
    used: &[Used],
) -> Result<(), DbError> {
    let call: i64 = calls::table
        .filter(calls::call_sid.eq(sid.as_str()))
        .select(calls::id)
        .get_result(conn)
        .optional()?
        .ok_or_else(|| DbError::UnknownCall(sid.clone()))?;
    let mut cost = 0_i64;
    for one in used {
        cost = cost.saturating_add(one.micros);
        let put = Put {
            sql: "INSERT INTO call_usage (call_id, item, model, amount, micros) VALUES (?, ?, ?, ?, ?) \
                  ON CONFLICT (call_id, item, model) DO UPDATE \
                  SET amount = call_usage.amount + excluded.amount, micros = call_usage.micros + excluded.micros",
            values: vec![
                Value::Number(call),
                Value::Text(one.item.as_str()),
                Value::Text(one.model.as_str()),
                Value::Number(i64::try_from(one.amount).unwrap_or(i64::MAX)),
                Value::Number(one.micros),
            ],
        };
        put.run(conn)?;
    }
    if cost == 0 {
        return Ok(());
    }
    add_spent(conn, at, cost)
}

/// Adds to what a quarter of an hour has cost.
pub(super) fn add_spent(conn: &mut AnyConnection, at: UnixMillis, micros: i64) -> Result<(), DbError> {
    let put = Put {
        sql: "INSERT INTO spend (at_ms, shard, micros) VALUES (?, ?, ?) \
              ON CONFLICT (at_ms, shard) DO UPDATE SET micros = spend.micros + excluded.micros",
        values: vec![Value::Number(quarter(at.0)), Value::Number(shard()), Value::Number(micros)],
    };
    put.run(conn)?;
    Ok(())
}

/// What was spent in `[from, to)`.
pub(super) fn spent(conn: &mut AnyConnection, from: UnixMillis, to: UnixMillis) -> Result<i64, DbError> {
    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = BigInt)]
        micros: i64,
    }
    let query = format!(
        "SELECT CAST(coalesce(sum(micros), 0) AS BIGINT) AS micros FROM spend WHERE at_ms >= {} AND at_ms < {}",
        from.0, to.0
    );
    let sum: Sum = on_either!(conn, c => diesel::sql_query(query).get_result(c))?;
    Ok(sum.micros)
}

/// What was spent in each stretch of each run in which anything was: its beginning and the sum, in order.
pub(super) fn spent_in(conn: &mut AnyConnection, runs: &[Run]) -> Result<Vec<(UnixMillis, i64)>, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        bucket: i64,
        #[diesel(sql_type = BigInt)]
        micros: i64,
    }
    let mut all = Vec::new();
    for run in &parts(runs) {
        let step = run.step_ms.max(1);
        let query = format!(
            "SELECT CAST((at_ms - {from}) / {step} AS BIGINT) AS bucket, CAST(sum(micros) AS BIGINT) AS micros \
             FROM spend WHERE at_ms >= {from} AND at_ms < {to} GROUP BY 1 ORDER BY 1",
            from = run.from.0,
            to = run.to.0
        );
        let rows: Vec<Row> = on_either!(conn, c => diesel::sql_query(query).load(c))?;
        all.extend(rows.into_iter().map(|row| {
            let from = run.from.0.saturating_add(row.bucket.saturating_mul(step));
            (UnixMillis(from), row.micros)
        }));
    }
    Ok(all)
}

pub(super) fn of_call(conn: &mut AnyConnection, call: i64) -> Result<Vec<Used>, DbError> {
    let rows: Vec<(String, String, i64, i64)> = call_usage::table
        .filter(call_usage::call_id.eq(call))
        .order((call_usage::item.asc(), call_usage::model.asc()))
        .select((call_usage::item, call_usage::model, call_usage::amount, call_usage::micros))
        .load(conn)?;
    rows.into_iter()
        .map(|(item, model, amount, micros)| {
            let item = Item::from_word(&item).ok_or(DbError::Word { column: "call_usage.item" })?;
            Ok(Used { item, model, amount: u64::try_from(amount).unwrap_or(0), micros })
        })
        .collect()
}

impl DbHandle {
    /// What the call with a database id has used and cost, by item and model.
    pub async fn call_usage(&self, call: i64) -> Result<Vec<Used>, DbError> {
        self.read(move |conn| of_call(conn, call)).await
    }

    /// What was spent in `[from, to)`, in millionths of the price table's currency. Both lie on a quarter of an hour.
    pub async fn spent(&self, from: UnixMillis, to: UnixMillis) -> Result<i64, DbError> {
        self.read(move |conn| spent(conn, from, to)).await
    }

    /// What the calls with a number cost that began at a time or later, in millionths of the price table's currency.
    pub async fn spent_with(&self, number: PhoneNumber, since: UnixMillis) -> Result<i64, DbError> {
        self.read(move |conn| {
            // A handful of rows for each of a few calls.
            let micros: Vec<i64> = calls::table
                .inner_join(call_usage::table)
                .filter(calls::phone_number.eq(Some(number.as_str())))
                .filter(calls::started_ms.ge(since.0))
                .select(call_usage::micros)
                .load(conn)?;
            Ok(micros.into_iter().fold(0, i64::saturating_add))
        })
        .await
    }

    /// What was spent in each stretch of time in which anything was: its beginning and the sum, in order.
    pub async fn spent_in(&self, runs: Vec<Run>) -> Result<Vec<(UnixMillis, i64)>, DbError> {
        self.read(move |conn| spent_in(conn, &runs)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Write;
    use crate::db::tests::{TestDb, admitted};

    #[actix::test]
    async fn what_calls_use_adds_up_by_call_item_model_and_any_stretch_of_time() {
        let used = |item, model: &str, amount, micros| Used { item, model: model.into(), amount, micros };
        for test in TestDb::each() {
            let db = test.open();
            for sid in ["CA1", "CA2"] {
                db.write(admitted(sid, 1)).await.unwrap();
            }
            let (chars, stt) = (used(Item::TtsChars, "aura", 10, 100), used(Item::SttMs, "", 40, 7));
            const HOUR: i64 = 3_600_000;
            // Each an hour after a beginning of an hour, but for the last, which is a minute before one.
            for (sid, at, used) in [
                ("CA1", HOUR, vec![chars.clone(), stt.clone()]),
                ("CA1", 2 * HOUR, vec![chars.clone(), used(Item::TtsChars, "other", 1, 1)]),
                ("CA2", 3 * HOUR - 60_000, vec![stt.clone()]),
            ] {
                db.write(Write::Usage { sid: sid.into(), at: UnixMillis(at), used }).await.unwrap();
            }
            let id = db.call_overview("CA1".into()).await.unwrap().unwrap().id;
            let expected = [stt, used(Item::TtsChars, "aura", 20, 200), used(Item::TtsChars, "other", 1, 1)];
            assert_eq!(db.call_usage(id).await.unwrap(), expected);
            let run = |step_ms| Run { from: UnixMillis(0), to: UnixMillis(9 * HOUR), step_ms };
            let hours = db.spent_in(vec![run(HOUR)]).await.unwrap();
            assert_eq!(hours, [(UnixMillis(HOUR), 107), (UnixMillis(2 * HOUR), 108)]);
            assert_eq!(db.spent_in(vec![run(9 * HOUR)]).await.unwrap(), [(UnixMillis(0), 215)]);
            let quarter = UnixMillis(3 * HOUR - 900_000);
            assert_eq!(db.spent(quarter, UnixMillis(3 * HOUR)).await.unwrap(), 7);
            assert_eq!(db.spent(UnixMillis(3 * HOUR), UnixMillis(9 * HOUR)).await.unwrap(), 0);
            let at = UnixMillis(HOUR);
            let unknown = db.write(Write::Usage { sid: "CA9".into(), at, used: vec![chars] }).await;
            assert!(matches!(unknown, Err(DbError::UnknownCall(_))));
            db.shutdown().await;
        }
    }
}
