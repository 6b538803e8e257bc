//! How often we have rung whom, counted where every process counts, so that no restart and no second process begins anew.

use super::connect::{AnyConnection, write_transaction};
use super::error::DbError;
use super::handle::DbHandle;
use super::schema::tolls;
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use diesel::prelude::*;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How many calls may be placed.
#[derive(Clone, Copy, Debug)]
pub struct TollCeilings {
    /// Within an hour.
    pub per_hour: u32,
    /// Within 24 hours.
    pub per_day: u32,
    /// To one number within 24 hours.
    pub per_destination: u32,
}

/// Which ceiling is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TollCeiling {
    /// That of one number.
    Destination,
    /// The hour's.
    Hour,
    /// The day's.
    Day,
}

/// There were enough calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TollsFull {
    /// By which ceiling.
    pub ceiling: TollCeiling,
    /// When there is room again, ms.
    pub wait_ms: u64,
}

fn take(
    conn: &mut AnyConnection,
    to: &PhoneNumber,
    ceilings: TollCeilings,
    now: UnixMillis,
) -> Result<Option<TollsFull>, DbError> {
    write_transaction(conn, |conn| {
        if let AnyConnection::Postgres(c) = conn {
            // Nobody else counts meanwhile; SQLite lets one write at a time anyway.
            diesel::sql_query("LOCK TABLE tolls IN SHARE ROW EXCLUSIVE MODE").execute(c)?;
        }
        let day = now.0.saturating_sub(DAY_MS);
        diesel::delete(tolls::table.filter(tolls::at_ms.le(day))).execute(conn)?;
        // The destination first, so that the answer names what is asked for.
        for (ceiling, calls, period, of_one) in [
            (TollCeiling::Destination, ceilings.per_destination, DAY_MS, true),
            (TollCeiling::Hour, ceilings.per_hour, HOUR_MS, false),
            (TollCeiling::Day, ceilings.per_day, DAY_MS, false),
        ] {
            let Some(others) = calls.checked_sub(1) else {
                return Ok(Some(TollsFull { ceiling, wait_ms: period.unsigned_abs() }));
            };
            let mut newest = tolls::table.order(tolls::at_ms.desc()).select(tolls::at_ms).into_boxed();
            if of_one {
                newest = newest.filter(tolls::destination.eq(Some(to.as_str())));
            }
            let since = now.0.saturating_sub(period);
            // As many calls as may be lie at or after this one: there is room once it is old enough.
            let first: Option<i64> = newest
                .filter(tolls::at_ms.gt(since))
                .offset(i64::from(others))
                .limit(1)
                .first(conn)
                .optional()?;
            if let Some(first) = first {
                let wait_ms = first.saturating_sub(since).unsigned_abs();
                return Ok(Some(TollsFull { ceiling, wait_ms }));
            }
        }
        diesel::insert_into(tolls::table)
            .values((tolls::at_ms.eq(now.0), tolls::destination.eq(Some(to.as_str()))))
            .execute(conn)?;
        Ok(None)
    })
}

impl DbHandle {
    /// Counts a call that is about to be placed, unless a ceiling is reached: then that is told and nothing is counted.
    pub async fn take_toll(
        &self,
        to: PhoneNumber,
        ceilings: TollCeilings,
        now: UnixMillis,
    ) -> Result<Option<TollsFull>, DbError> {
        self.read(move |conn| take(conn, &to, ceilings, now)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::tests::{TestDb, phone};

    const MANY: TollCeilings = TollCeilings { per_hour: 100, per_day: 100, per_destination: 100 };

    fn number(n: u32) -> PhoneNumber {
        phone(&format!("+1202555{:04}", 1_000 + n))
    }

    /// Places calls: to whom, and when; tells which were refused by what, and for how long.
    async fn place(
        db: &DbHandle,
        ceilings: TollCeilings,
        calls: &[(u32, i64)],
    ) -> Vec<Option<(TollCeiling, u64)>> {
        let mut told = Vec::new();
        for (to, at) in calls {
            let taken = db.take_toll(number(*to), ceilings, UnixMillis(*at)).await.unwrap();
            told.push(taken.map(|full| (full.ceiling, full.wait_ms)));
        }
        told
    }

    #[actix::test]
    async fn each_ceiling_holds_and_says_when_to_come_again() {
        const H: i64 = HOUR_MS;
        let t = 100 * DAY_MS;
        for test in TestDb::each() {
            let db = test.open();
            let one = TollCeilings { per_destination: 2, ..MANY };
            let told = place(&db, one, &[(1, t), (1, t + H), (1, t + 2 * H), (2, t + 2 * H)]).await;
            let full = (TollCeiling::Destination, (DAY_MS - 2 * H).unsigned_abs());
            assert_eq!(told, [None, None, Some(full), None]);
            // A window, not a calendar's day.
            assert_eq!(
                place(&db, one, &[(1, t + DAY_MS - 1), (1, t + DAY_MS)]).await,
                [Some((TollCeiling::Destination, 1)), None]
            );

            let t = t + 10 * DAY_MS;
            let hour = TollCeilings { per_hour: 2, ..MANY };
            let told = place(&db, hour, &[(1, t), (2, t + 5), (3, t + 6), (3, t + H)]).await;
            assert_eq!(told, [None, None, Some((TollCeiling::Hour, (H - 6).unsigned_abs())), None]);

            let t = t + 10 * DAY_MS;
            let day = TollCeilings { per_day: 1, ..MANY };
            let told = place(&db, day, &[(1, t), (2, t + 5 * H)]).await;
            assert_eq!(told, [None, Some((TollCeiling::Day, (DAY_MS - 5 * H).unsigned_abs()))]);
            let none = TollCeilings { per_hour: 0, ..MANY };
            assert_eq!(place(&db, none, &[(7, t)]).await, [Some((TollCeiling::Hour, H.unsigned_abs()))]);
            db.shutdown().await;
        }
    }

    #[actix::test]
    async fn neither_a_restart_nor_a_second_process_counts_anew() {
        for test in TestDb::each() {
            let two = TollCeilings { per_day: 2, ..MANY };
            let db = test.open();
            assert_eq!(place(&db, two, &[(1, 1)]).await, [None]);
            db.shutdown().await;
            // Two that run side by side, and ask at the same time.
            let (one, other) = (test.open(), test.open());
            let mut taken = 0;
            let asks = (0..6).map(|n| {
                let db = if n % 2 == 0 { one.handle() } else { other.handle() };
                async move { db.take_toll(number(n), two, UnixMillis(2)).await.unwrap() }
            });
            for told in futures_util::future::join_all(asks).await {
                taken += usize::from(told.is_none());
            }
            assert_eq!(taken, 1);
            one.shutdown().await;
            other.shutdown().await;
        }
    }
}
