//! What calls use and cost.

use super::connect::{AnyConnection, on_either};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::{call_usage, calls, spend_days};
use crate::domain::ids::CallSid;
use crate::domain::usage::{Item, Used};
use diesel::prelude::*;
use diesel::upsert::excluded;

/// Adds to what a call has used, and to what its day has cost.
pub(super) fn add(conn: &mut AnyConnection, sid: &CallSid, day: i64, used: &[Used]) -> Result<(), DbError> {
    let call: i64 = calls::table
        .filter(calls::call_sid.eq(sid.as_str()))
        .select(calls::id)
        .first(conn)
        .optional()?
        .ok_or_else(|| DbError::UnknownCall(sid.clone()))?;
    let mut sum = 0_i64;
    for one in used {
        sum = sum.saturating_add(one.micros);
        let insert = diesel::insert_into(call_usage::table)
            .values((
                call_usage::call_id.eq(call),
                call_usage::item.eq(one.item.as_str()),
                call_usage::model.eq(one.model.as_str()),
                call_usage::amount.eq(i64::try_from(one.amount).unwrap_or(i64::MAX)),
                call_usage::micros.eq(one.micros),
            ))
            .on_conflict((call_usage::call_id, call_usage::item, call_usage::model))
            .do_update()
            .set((
                call_usage::amount.eq(call_usage::amount + excluded(call_usage::amount)),
                call_usage::micros.eq(call_usage::micros + excluded(call_usage::micros)),
            ));
        on_either!(conn, c => insert.execute(c))?;
    }
    if sum != 0 {
        let insert = diesel::insert_into(spend_days::table)
            .values((spend_days::day.eq(day), spend_days::micros.eq(sum)))
            .on_conflict(spend_days::day)
            .do_update()
            .set(spend_days::micros.eq(spend_days::micros + excluded(spend_days::micros)));
        on_either!(conn, c => insert.execute(c))?;
    }
    Ok(())
}

fn of_call(conn: &mut AnyConnection, call: i64) -> Result<Vec<Used>, DbError> {
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

    /// What was spent on a day (counted from 1970-01-01, UTC), in millionths of the price table's currency.
    pub async fn spent_on(&self, day: i64) -> Result<i64, DbError> {
        self.read(move |conn| {
            let micros: Option<i64> =
                spend_days::table.find(day).select(spend_days::micros).first(conn).optional()?;
            Ok(micros.unwrap_or(0))
        })
        .await
    }

    /// What was spent on each day of `[from, to]` on which anything was: the day and the sum, in order.
    pub async fn spent_between(&self, from: i64, to: i64) -> Result<Vec<(i64, i64)>, DbError> {
        self.read(move |conn| {
            Ok(spend_days::table
                .filter(spend_days::day.between(from, to))
                .order(spend_days::day.asc())
                .select((spend_days::day, spend_days::micros))
                .load(conn)?)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Write;
    use crate::db::tests::{TestDb, admitted};

    #[actix::test]
    async fn what_calls_use_adds_up_by_call_item_model_and_day() {
        let used = |item, model: &str, amount, micros| Used { item, model: model.into(), amount, micros };
        for test in TestDb::each() {
            let db = test.open();
            for sid in ["CA1", "CA2"] {
                db.write(admitted(sid, 1)).await.unwrap();
            }
            let (chars, stt) = (used(Item::TtsChars, "aura", 10, 100), used(Item::SttMs, "", 40, 7));
            for (sid, day, used) in [
                ("CA1", 1, vec![chars.clone(), stt.clone()]),
                ("CA1", 2, vec![chars.clone(), used(Item::TtsChars, "other", 1, 1)]),
                ("CA2", 2, vec![stt.clone()]),
            ] {
                db.write(Write::Usage { sid: sid.into(), day, used }).await.unwrap();
            }
            let id = db.call_overview("CA1".into()).await.unwrap().unwrap().id;
            let expected = [stt, used(Item::TtsChars, "aura", 20, 200), used(Item::TtsChars, "other", 1, 1)];
            assert_eq!(db.call_usage(id).await.unwrap(), expected);
            assert_eq!(db.spent_between(0, 9).await.unwrap(), [(1, 107), (2, 108)]);
            assert_eq!((db.spent_on(2).await.unwrap(), db.spent_on(3).await.unwrap()), (108, 0));
            let unknown = db.write(Write::Usage { sid: "CA9".into(), day: 1, used: vec![chars] }).await;
            assert!(matches!(unknown, Err(DbError::UnknownCall(_))));
            db.shutdown().await;
        }
    }
}
