//! `frontdesk simulate soak`: very many short calls, and what is left of them afterwards.

use super::SoakArgs;
use super::own_server::{OwnServer, OwnServerConfig};
use crate::config::database::DatabaseConfig;
use crate::db::{Counts, Database};
use crate::domain::ids::ReplicaId;
use crate::observe::series;
use crate::sim::load::process::{open_files, rss_kb, threads};
use crate::sim::load::report::LoadReport;
use crate::sim::load::{LoadConfig, run_load};
use crate::sim::script::Script;
use anyhow::Context as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Parts of the run; after each the server has a rest, and it is looked what is left. Fewer where a part would be too small for
/// as many calls at once.
const PARTS: usize = 10;
/// Time between the beginnings of two calls of a part, until all are there.
const BETWEEN: Duration = Duration::from_millis(25);
/// Longest wait for the server to have put everything away.
const REST: Duration = Duration::from_secs(60);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(500);
/// Open files more than at first that are no leak: connections that are kept for the next request.
const FILES: u64 = 16;
/// Threads more than at first that are no leak: those for blocking work come and go.
const THREADS: u64 = 8;
/// Memory that a call may leave behind, in bytes: what the allocator scatters, not what a call keeps.
const LEFT_BYTES: f64 = 1_024.0;
/// Calls over which memory has to be compared to tell anything of them: a thread that comes to life takes more than fewer
/// calls may leave.
const TELLING: u64 = 1_000;

/// What a server without calls has.
#[derive(Clone, Copy, Debug)]
struct Rest {
    calls: u64,
    rss_kb: u64,
    files: u64,
    threads: u64,
    actors: u64,
}

/// Places the calls, looks at the server after each part (a tenth, where there are enough), and at its database in the end.
pub fn run(args: &SoakArgs) -> anyhow::Result<ExitCode> {
    let script = Script::embedded("soak").context("the built-in script is missing")?;
    let wanted = OwnServerConfig { calls: args.calls, tls: args.tls, record: args.record, pin: None };
    let mut server = OwnServer::start(&wanted)?;
    let mut config = LoadConfig::new(server.caller()?, script, args.calls as usize);
    config.pid = Some(server.pid());
    config.vendors_url = Some(server.vendors.deepgram_url.clone());
    config.vendors = server.times;
    config.duration = Duration::MAX;
    config.settle = Duration::ZERO;
    config.ramp = BETWEEN.saturating_mul(args.calls);
    let (total, at_once) = (args.total as usize, args.calls as usize);
    let parts = parts(total, at_once);
    println!("{total} calls, {at_once} at once\n");
    println!("   calls  memory, MB  at most, MB  open files  threads  actors  added p95, ms      replies");
    let mut complaints = Vec::new();
    let (mut rests, mut begun) = (Vec::new(), 0);
    // The first part only warms up: pools, caches and the allocator take what they keep.
    for part in 0..=parts {
        let of_all = |part: usize| total * part / parts;
        let calls = if part == 0 { at_once.saturating_mul(2) } else { of_all(part) - of_all(part - 1) };
        config.total = Some(calls);
        let report = run_load(&config)?;
        begun += report.begun;
        let rest = at_rest(&server, begun as u64)?;
        print_line(&rest, &report);
        complaints.extend(complaints_of(&report).map(|what| format!("after {begun} calls: {what}")));
        rests.push(rest);
    }
    complaints.extend(left_behind(&rests));
    if telling(&rests).is_none() {
        println!("\n(too few calls to tell what each leaves in memory: not judged)");
    }
    let summaries = until_summarised(&server, begun as u64)?;
    server.finish()?;
    let counts = counts(&server)?;
    println!("\nrows: {counts:?}");
    complaints.extend(wrong_rows(&counts, begun as i64, summaries));
    for complaint in &complaints {
        println!("WRONG: {complaint}");
    }
    println!("{}", if complaints.is_empty() { "passed" } else { "NOT PASSED" });
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// In how many parts the calls are placed: each of at least as many as there are at once.
fn parts(total: usize, at_once: usize) -> usize {
    total.checked_div(at_once).unwrap_or_default().clamp(1, PARTS)
}

fn print_line(rest: &Rest, report: &LoadReport) {
    let peak = report.server.as_ref().map_or(0, |server| server.used.rss_peak_kb);
    println!(
        "{:>8} {:>11.1} {:>12.1} {:>11} {:>8} {:>7} {:>14.1} {:>12}",
        rest.calls,
        rest.rss_kb as f64 / 1_024.0,
        peak as f64 / 1_024.0,
        rest.files,
        rest.threads,
        rest.actors,
        report.stages.turn_added.p95,
        format!("{}/{}", report.replies_delivered, report.replies_expected),
    );
}

/// What callers met with that they should not.
fn complaints_of(report: &LoadReport) -> impl Iterator<Item = String> {
    let lost = report.replies_expected - report.replies_delivered.min(report.replies_expected);
    let ends = report.ended_badly.iter().map(|(kind, count)| format!("{count} ended by {kind}"));
    let unmet = report.failure_samples.iter().map(|what| format!("a caller: {what}"));
    let broken = report.violation_samples.iter().map(|what| format!("Twilio objects: {what}"));
    (lost > 0)
        .then(|| format!("{lost} replies did not come"))
        .into_iter()
        .chain((report.refused > 0).then(|| format!("{} calls were turned away", report.refused)))
        .chain(ends)
        .chain(unmet)
        .chain(broken)
        .chain(report.vendors.iter().filter(|vendors| vendors.violations > 0).map(|vendors| {
            // Counted from the server's beginning.
            format!("its vendors have objected {} times so far", vendors.violations)
        }))
}

/// Waits until the server has nothing of calls any more, or for as long as that may take.
fn at_rest(server: &OwnServer, calls: u64) -> anyhow::Result<Rest> {
    let deadline = Instant::now() + REST;
    loop {
        let metrics = server.metrics()?;
        let actors = sum(&metrics, series::ACTORS, "") + sum(&metrics, series::CALLS_LIVE, "");
        if actors == 0 || Instant::now() > deadline {
            // The last sockets close a moment after their sessions end.
            sleep(LOOK);
            let pid = server.pid();
            return Ok(Rest {
                calls,
                rss_kb: rss_kb(pid).context("the server's memory cannot be read")?,
                files: open_files(pid).context("the server's open files cannot be read")?,
                threads: threads(pid).context("the server's threads cannot be read")?,
                actors,
            });
        }
        sleep(LOOK);
    }
}

/// What must not have grown and has.
fn left_behind(rests: &[Rest]) -> Vec<String> {
    let (Some(first), Some(last)) = (rests.first(), rests.last()) else { return Vec::new() };
    let mut left = Vec::new();
    for rest in rests.iter().filter(|rest| rest.actors > 0) {
        left.push(format!("{} actors were left after {} calls", rest.actors, rest.calls));
    }
    if let Some(each) = telling(rests).map(growth).filter(|each| *each > LEFT_BYTES) {
        left.push(format!("each call left {each:.0} bytes of memory, more than {LEFT_BYTES}"));
    }
    if last.files > first.files.saturating_add(FILES) {
        left.push(format!("{} files are open, {} were at first", last.files, first.files));
    }
    if last.threads > first.threads.saturating_add(THREADS) {
        left.push(format!("{} threads run, {} did at first", last.threads, first.threads));
    }
    left
}

/// The rests between which memory is compared, if there were calls enough between them. For some minutes it is remembered of
/// each call how it ended, for Twilio may ask again: what grows for as long is no leak. So it is compared from the middle on.
fn telling(rests: &[Rest]) -> Option<&[Rest]> {
    let compared = rests.get(rests.len() / 2..)?;
    let calls = compared.last()?.calls.saturating_sub(compared.first()?.calls);
    (calls >= TELLING).then_some(compared)
}

/// Bytes that memory has grown by with each call: the median over all pairs of rests (Theil and Sen's slope). A leak shows
/// in every pair, what the allocator happens to keep at one rest in few.
fn growth(rests: &[Rest]) -> f64 {
    let pairs =
        rests.iter().enumerate().flat_map(|(n, from)| rests.iter().skip(n + 1).map(move |to| (from, to)));
    let mut slopes: Vec<f64> = pairs
        .map(|(from, to)| {
            let calls = to.calls.saturating_sub(from.calls).max(1) as f64;
            (to.rss_kb as f64 - from.rss_kb as f64) * 1_024.0 / calls
        })
        .collect();
    slopes.sort_by(f64::total_cmp);
    let upper = slopes.get(slopes.len() / 2).copied().unwrap_or(0.0);
    let lower = slopes.get(slopes.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    f64::midpoint(lower, upper)
}

/// Waits until every call has its summary, or none is written any more; answers how many were.
fn until_summarised(server: &OwnServer, calls: u64) -> anyhow::Result<u64> {
    let (mut done, mut since) = (0, Instant::now());
    loop {
        let now = sum(&server.metrics()?, series::JOB_RUNS, "kind=\"summary\",result=\"done\"");
        if now >= calls || (now == done && since.elapsed() > REST) {
            return Ok(now);
        }
        if now > done {
            (done, since) = (now, Instant::now());
        }
        sleep(LOOK);
    }
}

/// The values of a series, of all its labels or of those in which `labels` stands, added up.
fn sum(metrics: &str, name: &str, labels: &str) -> u64 {
    let of_it = metrics.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| {
        (rest.starts_with('{') || rest.starts_with(' ')) && (labels.is_empty() || rest.contains(labels))
    });
    let values = of_it.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

/// What stands in the database of a server that has stopped.
fn counts(server: &OwnServer) -> anyhow::Result<Counts> {
    let config = DatabaseConfig {
        url: format!("sqlite://{}", server.database().display()),
        ..DatabaseConfig::default()
    };
    actix_web::rt::System::new().block_on(async move {
        let database = Database::open(&config, ReplicaId::from_bits(rand::random()))
            .context("the server's database cannot be opened")?;
        let counts = database.handle().counts().await.context("the rows cannot be counted")?;
        database.shutdown().await;
        Ok(counts)
    })
}

/// Rows that there should be and are not, and the other way round.
fn wrong_rows(counts: &Counts, calls: i64, summaries: u64) -> Vec<String> {
    let expected = [
        ("calls", counts.calls, calls),
        ("calls that are not over", counts.open_calls, 0),
        ("ends of calls in the audit trail", counts.ends, calls),
        ("summaries", counts.summaries, calls),
        (
            "summaries that the server says it has written",
            i64::try_from(summaries).unwrap_or(i64::MAX),
            calls,
        ),
        ("jobs that are not done", counts.open_jobs, 0),
        ("times held for a caller", counts.holds, 0),
    ];
    let wrong = expected.into_iter().filter(|(_, is, should)| is != should);
    wrong.map(|(what, is, should)| format!("{what}: {is} rows, not {should}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(calls: u64, rss_kb: u64, files: u64, threads: u64, actors: u64) -> Rest {
        Rest { calls, rss_kb, files, threads, actors }
    }

    #[test]
    fn what_has_grown_with_the_calls_is_told() {
        let first = rest(400, 50_000, 30, 12, 0);
        // 10,000 calls may leave 10,000 KiB.
        let middle = |actors| rest(10_400, 90_000, 30, 12, actors);
        assert_eq!(left_behind(&[first, middle(0), rest(20_400, 100_000, 46, 20, 0)]), Vec::<String>::new());
        let left = left_behind(&[first, middle(3), rest(20_400, 100_001, 47, 21, 0)]);
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(left[0].contains("3 actors"), "{left:?}");
        assert!(left_behind(&[]).is_empty());
    }

    #[test]
    fn what_few_calls_leave_in_memory_is_not_judged_and_everything_else_is() {
        let few = [rest(20, 50_000, 30, 12, 0), rest(35, 60_000, 30, 12, 0), rest(50, 70_000, 30, 12, 0)];
        assert!(telling(&few).is_none() && telling(&[]).is_none());
        assert_eq!(left_behind(&few), Vec::<String>::new());
        let [first, middle, last] = few;
        let left = left_behind(&[first, middle, Rest { files: 99, threads: 99, actors: 1, ..last }]);
        assert_eq!(left.len(), 3, "{left:?}");
        let many = [first, rest(1_000, 60_000, 30, 12, 0), rest(2_000, 70_000, 30, 12, 0)];
        assert!(telling(&many).is_some());
        assert_eq!(left_behind(&many).len(), 1);
    }

    #[test]
    fn a_part_is_never_smaller_than_the_calls_at_once() {
        assert_eq!([parts(20_000, 200), parts(30, 10), parts(30, 100), parts(0, 0)], [10, 3, 1, 1]);
    }

    #[test]
    fn one_rest_with_more_memory_is_no_leak_and_a_steady_growth_is_one() {
        let at = |n: u64, rss_kb: u64| rest(n * 2_000, rss_kb, 30, 12, 0);
        let noisy: Vec<Rest> = (5..=10).map(|n| at(n, if n == 10 { 105_000 } else { 85_000 })).collect();
        assert!(growth(&noisy).abs() < 1.0, "{}", growth(&noisy));
        let leaking: Vec<Rest> = (5..=10).map(|n| at(n, 85_000 + n * 4_000)).collect();
        assert!((growth(&leaking) - 2_048.0).abs() < 1.0, "{}", growth(&leaking));
        assert!(growth(&[]).abs() < 1.0);
    }

    #[test]
    fn rows_must_be_as_many_as_calls() {
        let right = Counts { calls: 9, ends: 9, summaries: 9, turns: 27, events: 99, ..Counts::default() };
        assert!(wrong_rows(&right, 9, 9).is_empty());
        for (wrong, summaries) in [
            (Counts { calls: 8, ..right }, 9),
            (Counts { open_calls: 1, ..right }, 9),
            (Counts { ends: 10, ..right }, 9),
            (Counts { open_jobs: 1, ..right }, 9),
            (Counts { holds: 1, ..right }, 9),
            (right, 8),
        ] {
            assert_eq!(wrong_rows(&wrong, 9, summaries).len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn a_series_is_added_up_over_its_labels() {
        let text = "# TYPE of_actors gauge\nof_actors{kind=\"call\"} 2\nof_actors{kind=\"stt\"} 3\n\
            of_actors_more 9\nlive 4\n";
        assert_eq!(sum(text, "of_actors", ""), 5);
        assert_eq!(sum(text, "of_actors", "kind=\"stt\""), 3);
        assert_eq!(sum(text, "live", ""), 4);
        assert_eq!(sum(text, "none", ""), 0);
    }
}
