//! `/api/analytics`: how many calls there were, what came of them and how long they had to wait for an answer.

use super::access::{Access, Read};
use super::common::{Clock, Shared, word_of};
use super::page::etagged;
use super::problem::{ApiResult, Problem};
use crate::booking::dates::plus_days;
use crate::db::{ActivityBucket, ActivityCounts, LatencyCounts, QUARTER_MS, Run, STAGES};
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use actix_web::{HttpRequest, get, web};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa_actix_web::service_config::ServiceConfig;

const HOUR_MS: i64 = 3_600_000;
/// The most hours and days that are told at once.
const MAX_HOURS: i64 = 31 * 25;
const MAX_DAYS: usize = 400;

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(analytics);
}

/// How long one stage of the answers took.
#[derive(Serialize, utoipa::ToSchema)]
struct Latency {
    /// Answers measured.
    n: i64,
    /// Mean, ms.
    #[schema(required)]
    mean_ms: Option<i64>,
    /// What half of them did not exceed, ms; within a class of latencies it is estimated.
    #[schema(required)]
    p50_ms: Option<u32>,
    #[schema(required)]
    p90_ms: Option<u32>,
    #[schema(required)]
    p95_ms: Option<u32>,
    #[schema(required)]
    p99_ms: Option<u32>,
}

/// Failures, by what failed.
#[derive(Serialize, utoipa::ToSchema)]
struct Errors {
    /// The recogniser.
    stt: i64,
    /// The voice.
    tts: i64,
    /// The model.
    llm: i64,
    /// Tools that took too long.
    tools: i64,
}

/// What happened in a stretch of time. What a call became counts when it began.
#[derive(Serialize, utoipa::ToSchema)]
struct Activity {
    calls: i64,
    inbound: i64,
    outbound: i64,
    /// Calls by why they ended.
    ended: BTreeMap<&'static str, i64>,
    leads: i64,
    /// Calls in which an appointment was booked.
    calls_booked: i64,
    /// Calls in which a message was taken.
    messages: i64,
    transfers: i64,
    follow_ups: i64,
    /// Appointments made, by whomever.
    appointments_made: i64,
    appointments_cancelled: i64,
    /// Seconds of the calls that have ended.
    duration_s: i64,
    /// Replies that were cut short.
    barge_ins: i64,
    errors: Errors,
    /// By stage, of the bot's answers.
    latency: BTreeMap<&'static str, Latency>,
}

/// A stretch of time.
#[derive(Serialize, utoipa::ToSchema)]
struct Bucket {
    #[schema(format = DateTime)]
    from: String,
    #[serde(flatten)]
    activity: Activity,
}

/// How long a stretch is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Step {
    Hour,
    Day,
}

/// What happened over time.
#[derive(Serialize, utoipa::ToSchema)]
struct Analytics {
    #[schema(format = DateTime)]
    from: String,
    #[schema(format = DateTime)]
    to: String,
    bucket: Step,
    /// None is left out.
    buckets: Vec<Bucket>,
    total: Activity,
}

/// Which time, in which steps.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// A day or an instant; 30 days ago if it is not given.
    #[param(required = false, example = "2026-11-01")]
    from: Option<String>,
    /// An instant, or the last day; today if it is not given.
    #[param(required = false, example = "2026-11-22")]
    to: Option<String>,
    /// Hours (of 31 days at most) or days (400 at most) of the business.
    #[param(required = false, value_type = Option<Step>)]
    bucket: Option<String>,
}

fn latency(counts: &LatencyCounts) -> Latency {
    Latency {
        n: counts.n,
        mean_ms: counts.sum_ms.checked_div(counts.n),
        p50_ms: counts.quantile(0.5),
        p90_ms: counts.quantile(0.9),
        p95_ms: counts.quantile(0.95),
        p99_ms: counts.quantile(0.99),
    }
}

fn activity(counts: &ActivityCounts, latencies: &[LatencyCounts; 5]) -> Activity {
    Activity {
        calls: counts.calls(),
        inbound: counts.inbound,
        outbound: counts.outbound,
        ended: counts.ends().into_iter().map(|(reason, n)| (reason.as_str(), n)).collect(),
        leads: counts.leads,
        calls_booked: counts.calls_booked,
        messages: counts.messages,
        transfers: counts.transfers,
        follow_ups: counts.follow_ups,
        appointments_made: counts.appointments_made,
        appointments_cancelled: counts.appointments_cancelled,
        duration_s: counts.duration_s,
        barge_ins: counts.barge_ins,
        errors: Errors {
            stt: counts.errors_stt,
            tts: counts.errors_tts,
            llm: counts.errors_llm,
            tools: counts.errors_tools,
        },
        latency: STAGES.into_iter().zip(latencies).map(|(stage, counts)| (stage, latency(counts))).collect(),
    }
}

/// The days of a stretch of time as runs of days of equal length: the day on which the clocks change is one of its own.
pub(super) fn days(clock: &Clock, from: UnixMillis, to: UnixMillis) -> Option<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut date = clock.day_of(from);
    let mut begin = clock.start_of(date)?;
    for _ in 0..=MAX_DAYS {
        if begin >= to {
            return Some(runs);
        }
        date = plus_days(date, 1)?;
        let end = clock.start_of(date)?;
        let step_ms = end.0.saturating_sub(begin.0);
        match runs.last_mut() {
            Some(run) if run.step_ms == step_ms => run.to = end,
            _ => runs.push(Run { from: begin, to: end, step_ms }),
        }
        begin = end;
    }
    None
}

fn hours(from: UnixMillis, to: UnixMillis) -> Option<Vec<Run>> {
    let from = UnixMillis(from.0.div_euclid(QUARTER_MS).checked_mul(QUARTER_MS)?);
    let hours = to.0.checked_sub(from.0)?.checked_add(HOUR_MS - 1)? / HOUR_MS;
    let to = UnixMillis(from.0.checked_add(hours.checked_mul(HOUR_MS)?)?);
    (hours <= MAX_HOURS).then(|| vec![Run { from, to, step_ms: HOUR_MS }])
}

fn total(buckets: &[ActivityBucket]) -> Activity {
    let mut counts = ActivityCounts::default();
    let mut latencies: [LatencyCounts; 5] = Default::default();
    for bucket in buckets {
        counts.add(&bucket.counts);
        for (sum, one) in latencies.iter_mut().zip(&bucket.latencies) {
            sum.add(one);
        }
    }
    activity(&counts, &latencies)
}

/// What happened over time, by hours or days of the business.
#[utoipa::path(
    tag = "analytics",
    params(Wanted),
    responses((status = 200, description = "What happened", body = Analytics),
              (status = 304, description = "Not changed")),
    security(("key" = []), ("session" = []))
)]
#[get("/api/analytics")]
async fn analytics(
    services: Shared,
    _: Access<Read>,
    request: HttpRequest,
    wanted: web::Query<Wanted>,
) -> ApiResult {
    let clock = Clock::of(&services.profile);
    let step = |word: &str| match word {
        "hour" => Some(Step::Hour),
        "day" => Some(Step::Day),
        _ => None,
    };
    let step = word_of("bucket", wanted.bucket.as_deref(), step, &["hour", "day"])?.unwrap_or(Step::Day);
    let today = clock.day_of(unix_now());
    let tomorrow = plus_days(today, 1).and_then(|date| clock.start_of(date));
    let to = clock.to("to", wanted.to.as_deref())?.or(tomorrow).ok_or_else(Problem::internal)?;
    let usual = if step == Step::Day { 30 } else { 2 };
    let back = plus_days(clock.day_of(UnixMillis(to.0.saturating_sub(1))), 1 - usual);
    let from = clock.from("from", wanted.from.as_deref())?.or(back.and_then(|date| clock.start_of(date)));
    let from = from.ok_or_else(Problem::internal)?;
    if from >= to {
        return Err(Problem::invalid("to", "must lie after `from`"));
    }
    let runs = match step {
        Step::Hour => hours(from, to),
        Step::Day => days(&clock, from, to),
    };
    let runs = runs.ok_or_else(|| {
        Problem::invalid("from", "must lie at most 31 days (in hours) or 400 days (in days) before `to`")
    })?;
    let (first, last) = (runs.first().map_or(from, |run| run.from), runs.last().map_or(to, |run| run.to));
    let buckets = services.db.activity(runs).await?;
    let body = Analytics {
        from: clock.stamp(first),
        to: clock.stamp(last),
        bucket: step,
        total: total(&buckets),
        buckets: buckets
            .iter()
            .map(|bucket| Bucket {
                from: clock.stamp(bucket.from),
                activity: activity(&bucket.counts, &bucket.latencies),
            })
            .collect(),
    };
    Ok(etagged(&request, &body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::profile::{BARBERSHOP, parse};

    #[test]
    fn the_day_on_which_the_clocks_change_is_a_run_of_its_own() {
        let mut profile = parse(BARBERSHOP).unwrap();
        profile.timezone = "America/New_York".into();
        let clock = Clock::of(&profile);
        let from = clock.from("from", Some("2026-10-30")).unwrap().unwrap();
        let to = clock.to("to", Some("2026-11-03")).unwrap().unwrap();
        let runs = days(&clock, from, to).unwrap();
        let lengths: Vec<(i64, i64)> =
            runs.iter().map(|run| (run.step_ms / HOUR_MS, (run.to.0 - run.from.0) / run.step_ms)).collect();
        assert_eq!(lengths, [(24, 2), (25, 1), (24, 2)]);
        assert_eq!((runs[0].from, runs[2].to), (from, to));
        assert!(days(&clock, from, UnixMillis(from.0 + 500 * 24 * HOUR_MS)).is_none());
        assert!(hours(from, UnixMillis(from.0 + 40 * 24 * HOUR_MS)).is_none());
        let part = hours(from, UnixMillis(from.0 + HOUR_MS + 1)).unwrap();
        assert_eq!(part[0].to.0 - part[0].from.0, 2 * HOUR_MS);
    }
}
