//! Sums of days that are over, kept so that a year is a few hundred rows and not tens of thousands of quarters. The
//! database itself forgets a day of which anything changes (triggers).

use super::{ActivityBucket, ActivityCounts, LATENCY_CLASSES, LatencyCounts, Run, sums};
use crate::db::connect::{AnyConnection, on_either, write_transaction};
use crate::db::error::DbError;
use crate::db::schema::activity_days as days;
use crate::domain::time::UnixMillis;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::upsert::excluded;
use std::collections::HashMap;

const HOUR_MS: i64 = 3_600_000;
/// How long ago a day must have ended to be kept: in one that goes on, or whose calls may, each call would undo it.
const SETTLED_MS: i64 = 48 * HOUR_MS;
/// Days that one transaction keeps: the calls' own writes wait meanwhile.
const AT_ONCE: usize = 40;

/// A stretch of time, from its beginning to its end.
type Stretch = (i64, i64);

/// Whether a stretch is a day, of whatever length the clocks made it, that is over for good.
fn is_settled((from, to): Stretch, now: UnixMillis) -> bool {
    (20 * HOUR_MS..=26 * HOUR_MS).contains(&to.saturating_sub(from)) && to <= now.0.saturating_sub(SETTLED_MS)
}

/// The stretches of runs, in order.
fn stretches(runs: &[Run]) -> Vec<Stretch> {
    let mut all = Vec::new();
    for run in runs {
        let step = run.step_ms.max(1);
        let mut from = run.from.0;
        while from < run.to.0 {
            let to = from.saturating_add(step).min(run.to.0);
            all.push((from, to));
            from = to;
        }
    }
    all
}

/// Stretches that follow each other and are equally long, as runs.
fn runs_of(stretches: impl IntoIterator<Item = Stretch>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (from, to) in stretches {
        let step_ms = to.saturating_sub(from);
        match runs.last_mut() {
            Some(run) if run.to.0 == from && run.step_ms == step_ms => run.to = UnixMillis(to),
            _ => runs.push(Run { from: UnixMillis(from), to: UnixMillis(to), step_ms }),
        }
    }
    runs
}

/// A day's numbers as they are kept.
fn written(bucket: &ActivityBucket) -> String {
    let mut numbers = bucket.counts.numbers();
    for latency in &bucket.latencies {
        numbers.extend([latency.n, latency.sum_ms]);
        // A stage that nothing was measured of has no classes.
        numbers.extend((0..LATENCY_CLASSES).map(|i| latency.classes.get(i).copied().unwrap_or(0)));
    }
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    texts.join(" ")
}

/// Reads what `written` wrote; none if another version counted other things.
fn read(from: i64, text: &str) -> Option<ActivityBucket> {
    let numbers: Option<Vec<i64>> = text.split(' ').map(|number| number.parse().ok()).collect();
    let mut numbers = numbers?.into_iter();
    let counts = ActivityCounts::read(&mut numbers)?;
    let mut latencies: [LatencyCounts; 5] = Default::default();
    for latency in &mut latencies {
        latency.n = numbers.next()?;
        latency.sum_ms = numbers.next()?;
        let classes: Vec<i64> = numbers.by_ref().take(LATENCY_CLASSES).collect();
        if classes.len() < LATENCY_CLASSES {
            return None;
        }
        if latency.n > 0 {
            latency.classes = classes;
        }
    }
    numbers.next().is_none().then_some(ActivityBucket { from: UnixMillis(from), counts, latencies })
}

/// What happened in each stretch of each run, those without anything included, in order; with it the days that are over
/// and not kept yet.
pub(in crate::db) fn activity(
    conn: &mut AnyConnection,
    runs: &[Run],
    now: UnixMillis,
) -> Result<(Vec<ActivityBucket>, Vec<Run>), DbError> {
    let wanted = stretches(runs);
    let mut settled = wanted.iter().filter(|stretch| is_settled(**stretch, now)).map(|(from, _)| *from);
    let known: HashMap<Stretch, String> = match (settled.next(), settled.next_back()) {
        (None, _) => HashMap::new(),
        (Some(first), last) => {
            let rows: Vec<(i64, i64, String)> = days::table
                .filter(days::from_ms.between(first, last.unwrap_or(first)))
                .select((days::from_ms, days::to_ms, days::counts))
                .load(conn)?;
            rows.into_iter().map(|(from, to, counts)| ((from, to), counts)).collect()
        }
    };
    let kept: Vec<Option<ActivityBucket>> =
        wanted.iter().map(|stretch| known.get(stretch).and_then(|text| read(stretch.0, text))).collect();
    let left = || wanted.iter().zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(stretch, _)| *stretch);
    let mut fresh = sums(conn, &runs_of(left()))?.into_iter();
    let missing = runs_of(left().filter(|stretch| is_settled(*stretch, now)));
    let all = kept.into_iter().filter_map(|kept| kept.or_else(|| fresh.next())).collect();
    Ok((all, missing))
}

/// Keeps days that are over.
pub(in crate::db) fn keep(conn: &mut AnyConnection, runs: &[Run]) -> Result<(), DbError> {
    for some in stretches(runs).chunks(AT_ONCE) {
        write_transaction(conn, |conn| {
            if let AnyConnection::Postgres(c) = conn {
                // Whoever counts forgets the day first: what is added up here is not changed before it is kept.
                c.batch_execute("LOCK TABLE activity_days IN SHARE ROW EXCLUSIVE MODE")?;
            }
            let rows: Vec<_> = sums(conn, &runs_of(some.iter().copied()))?
                .iter()
                .zip(some)
                .map(|(bucket, (from, to))| {
                    (days::from_ms.eq(*from), days::to_ms.eq(*to), days::counts.eq(written(bucket)))
                })
                .collect();
            for row in rows {
                let insert = diesel::insert_into(days::table)
                    .values(row)
                    .on_conflict((days::from_ms, days::to_ms))
                    .do_update()
                    .set(days::counts.eq(excluded(days::counts)));
                on_either!(conn, c => insert.execute(c))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::count;
    use super::*;
    use crate::db::tests::TestDb;
    use proptest::prelude::*;

    const DAY: i64 = 24 * HOUR_MS;

    fn some(n: i64) -> ActivityBucket {
        let mut numbers = (1..).map(|i| i * n);
        let mut bucket = ActivityBucket {
            from: UnixMillis(7),
            counts: ActivityCounts::read(&mut numbers).unwrap(),
            latencies: Default::default(),
        };
        bucket.latencies[2] = LatencyCounts { n, sum_ms: 9 * n, classes: vec![n; LATENCY_CLASSES] };
        bucket
    }

    #[test]
    fn a_day_is_read_as_it_was_kept_and_not_at_all_if_it_counts_something_else() {
        let bucket = some(3);
        let text = written(&bucket);
        assert_eq!(read(7, &text), Some(bucket));
        for other in
            [format!("{text} 1"), text.rsplit_once(' ').unwrap().0.to_owned(), String::new(), "x".into()]
        {
            assert_eq!(read(7, &other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn runs_fall_into_stretches_and_stretches_make_the_same_runs(
            from in -1_000_i64..1_000, steps in proptest::collection::vec((1_i64..50, 1_i64..6), 1..6)
        ) {
            let mut at = from;
            let mut runs = Vec::new();
            for (step_ms, n) in steps {
                runs.push(Run { from: UnixMillis(at), to: UnixMillis(at + step_ms * n), step_ms });
                at += step_ms * n;
            }
            let all = stretches(&runs);
            prop_assert!(all.windows(2).all(|pair| pair[0].1 == pair[1].0));
            prop_assert_eq!(stretches(&runs_of(all.clone())), all);
        }
    }

    #[test]
    fn days_that_are_over_are_kept_and_forgotten_as_soon_as_anything_of_them_changes() {
        for test in TestDb::each() {
            let mut conn = test.connection();
            let now = UnixMillis(100 * DAY);
            // New York: days begin at five.
            let at = |day: i64, hour: i64| day * DAY + (5 + hour) * HOUR_MS;
            for day in 89..100 {
                count(&mut conn, at(day, 3), [("inbound", day)]).unwrap();
            }
            let runs = [Run { from: UnixMillis(at(89, 0)), to: UnixMillis(at(100, 0)), step_ms: DAY }];
            let inbound = |buckets: &[ActivityBucket]| -> Vec<i64> {
                buckets.iter().map(|bucket| bucket.counts.inbound).collect()
            };
            let all: Vec<i64> = (89..100).collect();
            let (first, missing) = activity(&mut conn, &runs, now).unwrap();
            assert_eq!(inbound(&first), all);
            // The day that goes on, the one before and that which ended within two days are not kept.
            assert_eq!(missing, [Run { to: UnixMillis(at(97, 0)), ..runs[0] }]);
            keep(&mut conn, &missing).unwrap();
            keep(&mut conn, &missing).unwrap();
            let (again, missing) = activity(&mut conn, &runs, now).unwrap();
            assert_eq!((again, missing), (first, Vec::new()));
            // Other days of the same time are none of these.
            let utc = [Run { from: UnixMillis(90 * DAY), to: UnixMillis(95 * DAY), step_ms: DAY }];
            assert_eq!(activity(&mut conn, &utc, now).unwrap().1, utc);

            count(&mut conn, at(91, 0), [("inbound", 1_000)]).unwrap();
            count(&mut conn, at(92, 24) - 1, [("inbound", 1_000)]).unwrap();
            let (changed, missing) = activity(&mut conn, &runs, now).unwrap();
            let mut wanted = all;
            wanted[2] += 1_000;
            wanted[3] += 1_000;
            assert_eq!(inbound(&changed), wanted);
            assert_eq!(
                missing,
                [Run { from: UnixMillis(at(91, 0)), to: UnixMillis(at(93, 0)), step_ms: DAY }]
            );
        }
    }
}
