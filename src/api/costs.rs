//! What calls and days cost, by the price table of the configuration.

use super::access::{Access, Read};
use super::problem::{ApiResult, Problem};
use crate::domain::usage::day_of;
use crate::observe::clock::unix_now;
use crate::session::services::Services;
use actix_web::{HttpResponse, get, web};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

type Shared = web::Data<Rc<Services>>;

/// Days that one answer covers at most.
const MAX_DAYS: i64 = 366;
/// Days that are told when nothing is asked for.
const DAYS: i64 = 30;
/// 1970-01-01.
const EPOCH: Date = Date::constant(1970, 1, 1);

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
    /// The day, in UTC.
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
    /// First day, in UTC; 29 days before the last one if not given.
    #[param(required = false, format = Date)]
    from: Option<String>,
    /// Last day, in UTC; today if not given.
    #[param(required = false, format = Date)]
    to: Option<String>,
}

#[expect(clippy::cast_precision_loss, reason = "sums of money are far below 2^52 millionths")]
fn money(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}

fn day(field: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let date: Date = text.parse().map_err(|_| Problem::invalid(field, "must be a date like 2026-11-22"))?;
    let days = date.since(EPOCH).map_err(|_| Problem::invalid(field, "is too far away"))?;
    Ok(Some(i64::from(days.get_days())))
}

fn date(day: i64) -> String {
    let span = jiff::Span::new().try_days(day);
    span.and_then(|span| EPOCH.checked_add(span)).map(|date| date.to_string()).unwrap_or_default()
}

/// What a call cost so far. What was not priced costs nothing.
#[utoipa::path(
    tag = "calls", params(("id" = i64, Path, description = "The call.")),
    responses((status = 200, description = "What it cost", body = CallCost)),
    security(("key" = []), ("session" = []))
)]
#[get("/api/calls/{id}/cost")]
async fn of_call(services: Shared, _: Access<Read>, id: web::Path<i64>) -> ApiResult {
    let used = services.db.call_usage(id.into_inner()).await?;
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
    let to = day("to", stretch.to.as_deref())?.unwrap_or_else(|| day_of(unix_now()));
    let from = day("from", stretch.from.as_deref())?.unwrap_or_else(|| to.saturating_sub(DAYS - 1));
    if from > to {
        return Err(Problem::invalid("from", "must not be after `to`"));
    }
    if to.saturating_sub(from) >= MAX_DAYS {
        return Err(Problem::invalid("from", format!("at most {MAX_DAYS} days are told at once")));
    }
    let spent = services.db.spent_between(from, to).await?;
    let total = spent.iter().fold(0_i64, |sum, (_, micros)| sum.saturating_add(*micros));
    let prices = &services.config.prices;
    Ok(HttpResponse::Ok().json(Costs {
        currency: prices.currency.clone(),
        total: money(total),
        call_cap: prices.call_cap,
        day_cap: prices.day_cap,
        days: spent
            .into_iter()
            .map(|(day, micros)| DayCost { date: date(day), cost: money(micros) })
            .collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_as_it_is_told() {
        for text in ["1970-01-01", "2026-11-22", "1969-12-31", "9999-12-31"] {
            let number = day("from", Some(text)).unwrap().unwrap();
            assert_eq!(date(number), text);
        }
        assert_eq!(day("from", Some("2026-11-22")).unwrap(), Some(20_779));
        assert_eq!(day("from", None).unwrap(), None);
        for wrong in ["", " ", "x", "2026-13-01", "22.11.2026", "-009999-01-01x"] {
            assert!(day("from", Some(wrong)).is_err(), "{wrong}");
        }
    }
}
