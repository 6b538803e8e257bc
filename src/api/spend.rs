//! Whether there is money left for another call, asked before one is let in or placed.

use super::problem::Problem;
use crate::booking::dates::BusinessDay;
use crate::config::prices::DayLimit;
use crate::db::DbError;
use crate::domain::phone::PhoneNumber;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use std::time::Duration;
use tokio::time::timeout;

/// A caller does not wait longer than this for the database.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The limit that today's calls have reached, those with one number included, if there is such a limit. What the
/// database does not tell in time holds up nobody: each call looks for itself while it goes on.
pub(super) async fn day_limit(services: &Services, number: Option<&PhoneNumber>) -> Option<DayLimit> {
    let prices = &services.config.prices;
    let number = number.filter(|_| prices.number_cap.is_some());
    if prices.day_cap.is_none() && number.is_none() {
        return None;
    }
    let day = BusinessDay::of(&services.profile, unix_now());
    let spent = async {
        let all = services.db.spent(day.begins, day.ends).await?;
        let number = match number {
            Some(number) => services.db.spent_with(number.clone(), day.begins).await?,
            None => 0,
        };
        Ok::<_, DbError>((all, number))
    };
    match timeout(PATIENCE, spent).await {
        Ok(Ok((all, number))) => prices.reached(all, number),
        Ok(Err(error)) => {
            tracing::warn!(code = error.code(), "it is not known how much was spent today");
            None
        }
        Err(_) => {
            tracing::warn!("it is not known in time how much was spent today");
            None
        }
    }
}

/// A reached limit, as whoever wanted to place a call is told.
pub(super) fn problem(services: &Services, limit: DayLimit) -> Problem {
    let what = match limit {
        DayLimit::All => "today's calls have cost as much as prices.day_cap allows",
        DayLimit::Number => "today's calls with this number have cost as much as prices.number_cap allows",
    };
    let now = unix_now();
    let left = BusinessDay::of(&services.profile, now).ends.millis_since(now);
    Problem::too_many_because(format!("{what}: no more before tomorrow"), left.div_ceil(1_000))
}
