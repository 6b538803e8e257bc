//! Loads of several sizes beside each other: how cost and delay grow with the number of calls. Pure.

use std::fmt;

use super::report::LoadReport;

/// One size.
#[derive(Debug, Clone, PartialEq)]
struct Point {
    calls: usize,
    /// CPU seconds of the server for a second, as long as so many calls talk.
    busy: Option<f64>,
    cpu_s_per_call_minute: Option<f64>,
    rss_per_call_kb: Option<f64>,
    /// The most memory, and the calls at once that it was for.
    peak: Option<(u64, usize)>,
    added: [f64; 3],
    barge_in_p95: f64,
    expected: usize,
    delivered: usize,
    simulator_p99: f64,
    verdict: &'static str,
}

/// Several sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve(Vec<Point>);

impl Curve {
    /// From the reports.
    #[must_use]
    pub fn of(reports: &[LoadReport]) -> Self {
        let point = |report: &LoadReport| {
            let server = report.server.as_ref();
            let per_minute = server.map(|server| server.cpu_s_per_call_minute);
            let added = report.stages.turn_added;
            Point {
                calls: report.calls,
                busy: per_minute.map(|cpu| cpu * report.peak_calls as f64 / 60.0),
                cpu_s_per_call_minute: per_minute,
                rss_per_call_kb: server.map(|server| server.rss_per_call_kb),
                peak: server.map(|server| (server.used.rss_peak_kb, report.peak_calls)),
                added: [added.p50, added.p95, added.p99],
                barge_in_p95: report.stages.barge_in.p95,
                expected: report.replies_expected,
                delivered: report.replies_delivered,
                simulator_p99: report.lag.p99_ms,
                verdict: match (&report.void, report.passed()) {
                    (Some(_), _) => "void",
                    (None, true) => "passed",
                    (None, false) => "not passed",
                },
            }
        };
        Self(reports.iter().map(point).collect())
    }

    /// How memory grows from the fewest calls to the most.
    fn each_further_call_kb(&self) -> Option<f64> {
        let peaks = || self.0.iter().filter_map(|point| point.peak);
        let (least, few) = peaks().min_by_key(|(_, calls)| *calls)?;
        let (most, many) = peaks().max_by_key(|(_, calls)| *calls)?;
        let further = many.checked_sub(few).filter(|further| *further > 0)?;
        Some((most as f64 - least as f64) / further as f64)
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "          server's processor       added to a turn, ms    barge-in, ms        replies      memory  simulator"
        )?;
        writeln!(
            f,
            "calls     cores  s a call-min      p50     p95     p99             p95  came of due   kB a call   late p99"
        )?;
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        for point in &self.0 {
            let [p50, p95, p99] = point.added;
            writeln!(
                f,
                "{:>5} {:>9} {:>13} {p50:>8.1} {p95:>7.1} {p99:>7.1} {:>15.0} {:>12} {:>11} {:>10.1}  {}",
                point.calls,
                number(point.busy, 2),
                number(point.cpu_s_per_call_minute, 3),
                point.barge_in_p95,
                format!("{}/{}", point.delivered, point.expected),
                number(point.rss_per_call_kb, 0),
                point.simulator_p99,
                point.verdict,
            )?;
        }
        if let Some(each) = self.each_further_call_kb() {
            writeln!(
                f,
                "Each further call took {each:.0} kB. (A server that has had calls keeps some memory for the next ones, which \
                 the column divides by the calls, too.)"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::load::collect::Collected;
    use crate::sim::load::process::Used;
    use crate::sim::load::report::ServerUse;

    #[test]
    fn a_size_is_a_line_and_a_run_that_does_not_count_says_so() {
        let mut alone = Collected::default().report(700.0);
        alone.calls = 100;
        let mut served = LoadReport { calls: 1_000, peak_calls: 900, ..alone.clone() };
        served.stages.turn_added.p95 = 12.34;
        served.server =
            Some(ServerUse { used: Used::default(), cpu_s_per_call_minute: 0.05, rss_per_call_kb: 99.6 });
        served.void = Some("late".to_owned());
        let mut few = served.clone();
        few.peak_calls = 100;
        let used = Used { rss_peak_kb: 40_000, ..Used::default() };
        few.server = served.server.map(|server| ServerUse { used, ..server });
        let used = Used { rss_peak_kb: 100_000, ..Used::default() };
        let many =
            LoadReport { server: served.server.map(|server| ServerUse { used, ..server }), ..served.clone() };
        assert_eq!(Curve::of(&[alone.clone(), many, few]).each_further_call_kb(), Some(75.0));
        let text = Curve::of(&[alone, served]).to_string();
        let lines: Vec<Vec<&str>> =
            text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        let want =
            ["100 - - 0.0 0.0 0.0 0 0/0 - 0.0 passed", "1000 0.75 0.050 0.0 12.3 0.0 0 0/0 100 0.0 void"];
        assert_eq!(lines, want.map(|line| line.split(' ').collect::<Vec<_>>()));
    }
}
