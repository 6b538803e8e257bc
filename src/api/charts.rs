//! `GET /api/charts/….svg`: charts of the dashboard, drawn from the counters that the analytics read too.

pub mod draw;

use super::access::{Access, Read};
use super::common::parse_date;
use super::problem::{ApiResult, Problem};
use crate::db::{ActivityBucket, ActivityCounts, LatencyCounts, Run};
use crate::domain::time::UnixMillis;
use crate::session::services::Services;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, get, web};
use draw::{Chart, Series, Shape, Theme, Tone, Unit};
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::rc::Rc;
use utoipa_actix_web::service_config::ServiceConfig;

/// Most days of a chart.
const MOST_DAYS: usize = 400;
/// Up to so many days are drawn by the hour.
const DAYS_BY_HOUR: usize = 2;
/// An hour, ms.
const HOUR_MS: i64 = 3_600_000;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(chart);
}

/// Which chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// Calls that began, by direction.
    Volume,
    /// What calls achieved, and how many failed.
    Outcomes,
    /// How long answers took.
    Latency,
    /// Failures of vendors and tools.
    Errors,
}

/// For which days, and on which background.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChartQuery {
    /// The first day, `YYYY-MM-DD` in the business's zone.
    #[param(value_type = String, format = Date, example = "2026-11-09")]
    from: String,
    /// The last day.
    #[param(value_type = String, format = Date, example = "2026-11-22")]
    to: String,
    /// `light` or `dark`.
    #[serde(default)]
    theme: Option<String>,
    /// Width of the image, CSS pixels: as wide as it is to be shown, so that its letters are not scaled.
    #[serde(default)]
    #[param(minimum = 240, maximum = 1200)]
    width: Option<u32>,
}

/// Draws a chart
#[utoipa::path(
    tag = "analytics",
    params(("subject" = inline(Subject), Path, description = "What it shows"), ChartQuery),
    responses(
        (status = 200, description = "The chart", content_type = "image/svg+xml", body = String),
        (status = 400, description = "A parameter is wrong"),
        (status = 404, description = "There is no such chart"),
    ),
    security(("key" = []), ("session" = []))
)]
#[get("/api/charts/{subject}.svg")]
async fn chart(
    services: web::Data<Rc<Services>>,
    _access: Access<Read>,
    subject: web::Path<Subject>,
    query: web::Query<ChartQuery>,
) -> ApiResult {
    let theme = match query.theme.as_deref() {
        None | Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        Some(_) => return Err(Problem::invalid("theme", "must be light or dark")),
    };
    let width = query.width.unwrap_or(draw::WIDTH);
    if !draw::WIDTHS.contains(&width) {
        let message = format!("must be {} to {} pixels", draw::WIDTHS.start(), draw::WIDTHS.end());
        return Err(Problem::invalid("width", message));
    }
    let days = days(parse_date("from", &query.from)?, parse_date("to", &query.to)?)
        .map_err(|message| Problem::invalid("to", message))?;
    let zone = TimeZone::get(&services.profile.timezone).unwrap_or(TimeZone::UTC);
    let (labels, runs) = stretches(&days, &zone);
    let buckets = services.db.activity(runs).await?;
    let chart = chart_of(subject.into_inner(), labels, &buckets);
    let image = web::block(move || draw::draw(&chart, theme, width)).await;
    let image = image.ok().and_then(|drawn| drawn.map_err(|e| tracing::error!(error = %e, "no chart")).ok());
    let Some(image) = image else { return Err(Problem::unavailable("the chart cannot be drawn")) };
    Ok(HttpResponse::Ok()
        .content_type("image/svg+xml")
        .insert_header((CACHE_CONTROL, "private, max-age=30"))
        .body(image))
}

/// The days of a chart.
fn days(from: Date, to: Date) -> Result<Vec<Date>, String> {
    if to < from {
        return Err("must not be before `from`".to_owned());
    }
    let days: Vec<Date> =
        from.series(1.day()).take(MOST_DAYS.saturating_add(1)).take_while(|day| *day <= to).collect();
    if days.len() > MOST_DAYS {
        return Err(format!("must be at most {MOST_DAYS} days after `from`"));
    }
    Ok(days)
}

/// The labels of a chart's columns and the stretches of time they stand for. Days are as long as the clocks make them.
fn stretches(days: &[Date], zone: &TimeZone) -> (Vec<String>, Vec<Run>) {
    let begins = |day: Date| day.to_zoned(zone.clone()).ok().map(|at| at.timestamp().as_millisecond());
    let spans = days.iter().filter_map(|day| Some((*day, begins(*day)?, begins(day.tomorrow().ok()?)?)));
    let mut labels = Vec::new();
    let mut runs = Vec::new();
    for (day, from, to) in spans.filter(|(_, from, to)| from < to) {
        let by_hour = days.len() <= DAYS_BY_HOUR;
        let step_ms = if by_hour { HOUR_MS } else { to.saturating_sub(from) };
        runs.push(Run { from: UnixMillis(from), to: UnixMillis(to), step_ms });
        if !by_hour {
            labels.push(day.strftime("%b %-d").to_string());
            continue;
        }
        let mut at = from;
        while at < to {
            let hour = jiff::Timestamp::from_millisecond(at).unwrap_or_default().to_zoned(zone.clone());
            labels.push(hour.strftime("%-I %p").to_string());
            at = at.saturating_add(HOUR_MS);
        }
    }
    (labels, runs)
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^53")]
const fn number(n: i64) -> f64 {
    n as f64
}

/// What a chart shows of the counters.
fn chart_of(subject: Subject, labels: Vec<String>, buckets: &[ActivityBucket]) -> Chart {
    let counted = |name: &str, tone: Tone, of: fn(&ActivityCounts) -> i64| Series {
        name: name.to_owned(),
        tone,
        values: buckets.iter().map(|bucket| Some(number(of(&bucket.counts)))).collect(),
    };
    let timed = |name: &str, tone: Tone, stage: usize, share: f64| Series {
        name: name.to_owned(),
        tone,
        values: buckets
            .iter()
            .map(|bucket| {
                bucket.latencies.get(stage).and_then(|l: &LatencyCounts| l.quantile(share)).map(f64::from)
            })
            .collect(),
    };
    let (shape, unit, series, nothing) = match subject {
        Subject::Volume => (
            Shape::Stacked,
            Unit::Count,
            vec![
                counted("Incoming", Tone::Main, |c| c.inbound),
                counted("Outgoing", Tone::Second, |c| c.outbound),
            ],
            "No calls in this time",
        ),
        Subject::Outcomes => (
            Shape::Stacked,
            Unit::Count,
            vec![
                counted("Booked", Tone::Main, |c| c.calls_booked),
                counted("Message taken", Tone::Third, |c| c.messages),
                counted("Transferred", Tone::Second, |c| c.transfers),
                counted("Failed", Tone::Bad, |c| {
                    c.ended_apology.saturating_add(c.ended_lost).saturating_add(c.ended_failed)
                }),
            ],
            "No call achieved anything in this time",
        ),
        // The stages in the order of `db::activity::STAGES`.
        Subject::Latency => (
            Shape::Lines,
            Unit::Millis,
            vec![
                timed("95 % within", Tone::Third, 4, 0.95),
                timed("Half within", Tone::Main, 4, 0.5),
                timed("of it thinking", Tone::Fourth, 1, 0.5),
                timed("of it listening", Tone::Fifth, 0, 0.5),
            ],
            "No answer was timed in this time",
        ),
        Subject::Errors => (
            Shape::Stacked,
            Unit::Count,
            vec![
                counted("Listening", Tone::Second, |c| c.errors_stt),
                counted("Thinking", Tone::Fourth, |c| c.errors_llm),
                counted("Speaking", Tone::Third, |c| c.errors_tts),
                counted("Look-ups", Tone::Bad, |c| c.errors_tools),
            ],
            "Nothing failed in this time",
        ),
    };
    Chart { shape, unit, labels, series, nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_make_it() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let days = days(day("2026-10-30"), day("2026-11-03")).unwrap();
        let (labels, runs) = stretches(&days, &zone);
        assert_eq!(labels, ["Oct 30", "Oct 31", "Nov 1", "Nov 2", "Nov 3"]);
        let hours: Vec<i64> = runs.iter().map(|run| run.step_ms / HOUR_MS).collect();
        assert_eq!(hours, [24, 24, 25, 24, 24]);
        assert!(runs.windows(2).all(|pair| pair[0].to == pair[1].from));
    }

    #[test]
    fn few_days_are_drawn_by_the_hour() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let (labels, runs) = stretches(&days(day("2026-11-01"), day("2026-11-01")).unwrap(), &zone);
        assert_eq!((labels.len(), runs.len()), (25, 1), "the clocks go back");
        assert_eq!(labels[..4], ["12 AM", "1 AM", "1 AM", "2 AM"]);
    }

    #[test]
    fn a_range_that_is_none_is_refused() {
        assert!(days(day("2026-11-02"), day("2026-11-01")).is_err());
        assert!(days(day("2020-01-01"), day("2026-11-01")).is_err());
        assert_eq!(days(day("2026-11-01"), day("2026-11-01")).unwrap().len(), 1);
    }

    #[test]
    fn every_chart_shows_what_was_counted() {
        let mut bucket = ActivityBucket {
            from: UnixMillis(0),
            counts: ActivityCounts {
                inbound: 3,
                outbound: 2,
                calls_booked: 1,
                messages: 1,
                errors_llm: 4,
                ..ActivityCounts::default()
            },
            latencies: Default::default(),
        };
        bucket.latencies[4] = LatencyCounts {
            n: 10,
            sum_ms: 6_000,
            classes: vec![0, 0, 0, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        let of = |subject| chart_of(subject, vec!["Nov 22".into()], std::slice::from_ref(&bucket));
        let values = |subject| of(subject).series.iter().map(|s| s.values[0]).collect::<Vec<_>>();
        assert_eq!(values(Subject::Volume), [Some(3.0), Some(2.0)]);
        assert_eq!(values(Subject::Outcomes), [Some(1.0), Some(1.0), Some(0.0), Some(0.0)]);
        assert_eq!(values(Subject::Errors), [Some(0.0), Some(4.0), Some(0.0), Some(0.0)]);
        let latency = values(Subject::Latency);
        assert!(latency[0].unwrap() > latency[1].unwrap(), "{latency:?}");
        assert_eq!(latency[2..], [None, None]);
        for subject in [Subject::Volume, Subject::Outcomes, Subject::Latency, Subject::Errors] {
            assert!(draw::draw(&of(subject), Theme::Light, draw::WIDTH).unwrap().starts_with("<svg"));
        }
    }
}
