//! What calls and days cost, by the price table of the configuration.

use super::access::{Access, Read};
use super::analytics::days;
use super::calls::find;
use super::common::{Clock, Shared, parse_date};
use super::problem::{ApiResult, Problem};
use crate::booking::dates::plus_days;
use crate::observe::clock::unix_now;
use actix_web::{HttpResponse, get, web};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa_actix_web::service_config::ServiceConfig;

/// Days that one answer covers at most.
const MAX_DAYS: i64 = 366;
/// Days that are told when nothing is asked for.
const DAYS: i64 = 30;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(of_call).service(of_days);
}

/// A part of a call's cost.
#[derive(Serialize, utoipa::ToSchema)]
struct CostItem {
    /// `stt_ms`, `llm_input_tokens`, `llm_output_tokens`, `tts_chars`, `carrier_ms`.
    item: &'static str,
    /// The model or vendor; may be empty.
    model: String,
    /// How much, in the item's unit.
    amount: u64,
    /// In the currency.
    cost: f64,
}

/// What a call cost.
#[derive(Serialize, utoipa::ToSchema)]
struct CallCost {
    /// The currency of the price table.
    currency: String,
    /// All of it.
    total: f64,
    /// Its parts.
    items: Vec<CostItem>,
}

/// What a day cost.
#[derive(Serialize, utoipa::ToSchema)]
struct DayCost {
    /// The day, by the business's clock.
    #[schema(format = Date)]
    date: String,
    /// In the currency.
    cost: f64,
}

/// What a stretch of days cost.
#[derive(Serialize, utoipa::ToSchema)]
struct Costs {
    /// The currency of the price table.
    currency: String,
    /// All of it.
    total: f64,
    /// What one call may cost; `null` without a limit.
    call_cap: Option<f64>,
    /// What one day may cost; `null` without a limit.
    day_cap: Option<f64>,
    /// Days on which anything was spent.
    days: Vec<DayCost>,
}

/// A stretch of days.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Stretch {
    /// First day, by the business's clock; 29 days before the last one if not given.
    #[param(required = false, format = Date)]
    from: Option<String>,
    /// Last day; today if not given.
    #[param(required = false, format = Date)]
    to: Option<String>,
}

#[expect(clippy::cast_precision_loss, reason = "sums of money are far below 2^52 millionths")]
fn money(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}

/// The stretch that is asked for, first and last day.
fn asked(stretch: &Stretch, today: Date) -> Result<(Date, Date), Problem> {
    let day =
        |field: &str, text: &Option<String>| text.as_deref().map(|text| parse_date(field, text)).transpose();
    let to = day("to", &stretch.to)?.unwrap_or(today);
    let usual = || plus_days(to, 1 - DAYS).ok_or_else(|| Problem::invalid("to", "lies outside the calendar"));
    let from = day("from", &stretch.from)?.map_or_else(usual, Ok)?;
    if from > to {
        return Err(Problem::invalid("from", "must not be after `to`"));
    }
    if plus_days(from, MAX_DAYS).is_some_and(|end| end <= to) {
        return Err(Problem::invalid("from", format!("at most {MAX_DAYS} days are told at once")));
    }
    Ok((from, to))
}

/// What a call cost so far. What was not priced costs nothing.
#[utoipa::path(
    tag = "calls",
    params(("id" = String, Path, description = "The call's id, ours or Twilio's", example = "17")),
    responses((status = 200, description = "What it cost", body = CallCost),
              (status = 404, description = "There is no such call")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}/cost")]
async fn of_call(services: Shared, _: Access<Read>, id: web::Path<String>) -> ApiResult {
    let call = find(&services, &id).await?;
    let used = services.db.call_usage(call.id).await?;
    let total = used.iter().fold(0_i64, |sum, used| sum.saturating_add(used.micros));
    let items = used
        .into_iter()
        .map(|used| CostItem {
            item: used.item.as_str(),
            model: used.model,
            amount: used.amount,
            cost: money(used.micros),
        })
        .collect();
    let currency = services.config.prices.currency.clone();
    Ok(HttpResponse::Ok().json(CallCost { currency, total: money(total), items }))
}

/// What was spent day by day, and what may be.
#[utoipa::path(
    tag = "analytics", params(Stretch),
    responses((status = 200, description = "What was spent", body = Costs)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/costs")]
async fn of_days(services: Shared, _: Access<Read>, stretch: web::Query<Stretch>) -> ApiResult {
    let clock = Clock::of(&services.profile);
    let (first, last) = asked(&stretch, clock.day_of(unix_now()))?;
    let outside = || Problem::invalid("to", "lies outside the calendar");
    let from = clock.start_of(first).ok_or_else(outside)?;
    let to = plus_days(last, 1).and_then(|date| clock.start_of(date)).ok_or_else(outside)?;
    let runs = days(&clock, from, to).ok_or_else(outside)?;
    let spent = services.db.spent_in(runs).await?;
    let total = spent.iter().fold(0_i64, |sum, (_, micros)| sum.saturating_add(*micros));
    let prices = &services.config.prices;
    Ok(HttpResponse::Ok().json(Costs {
        currency: prices.currency.clone(),
        total: money(total),
        call_cap: prices.call_cap,
        day_cap: prices.day_cap,
        days: spent
            .into_iter()
            .map(|(day, micros)| DayCost { date: clock.date(day), cost: money(micros) })
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_days_has_bounds_and_thirty_days_if_nothing_is_asked_for() {
        let stretch = |from: Option<&str>, to: Option<&str>| Stretch {
            from: from.map(str::to_owned),
            to: to.map(str::to_owned),
        };
        let day = |text: &str| text.parse::<Date>().unwrap();
        let today = day("2026-11-22");
        let ask = |from, to| asked(&stretch(from, to), today);
        assert_eq!(ask(None, None).unwrap(), (day("2026-10-24"), today));
        assert_eq!(ask(Some("2026-11-22"), None).unwrap(), (today, today));
        assert_eq!(ask(None, Some("2026-01-10")).unwrap(), (day("2025-12-12"), day("2026-01-10")));
        assert!(ask(Some("2025-11-22"), None).is_ok());
        for (from, to) in [
            (Some("2025-11-21"), None),
            (Some("2026-11-23"), None),
            (Some(""), None),
            (Some(" "), None),
            (Some("x"), None),
            (None, Some("2026-13-01")),
            (None, Some("22.11.2026")),
            (None, Some("9999-12-31")),
        ] {
            assert!(ask(from, to).is_err(), "{from:?} {to:?}");
        }
    }
}
