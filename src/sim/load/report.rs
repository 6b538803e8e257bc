//! The result of a load test.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::process::Used;
use super::stats::Spread;
use crate::sim::caller::report::LagReport;

/// A run in which the simulator's own ticks are later than this does not count, in milliseconds (99th percentile).
pub const MAX_LAG_MS: f64 = 10.0;

/// Times per stage, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Stages {
    /// The voice webhook, to its whole answer.
    pub webhook: Spread,
    /// The stream's handshake.
    pub handshake: Spread,
    /// From `start` to the greeting's first voice.
    pub greeting: Spread,
    /// From the caller's last voice to the reply's first, vendors included.
    pub turn: Spread,
    /// The same without the vendors' fixed times: what the server adds.
    pub turn_added: Spread,
    /// From the caller's first sound over the bot to the `clear`, recogniser included.
    pub barge_in: Spread,
    /// Requests after a stream or a dial.
    pub next_document: Spread,
    /// Status callbacks.
    pub status: Spread,
}

/// What the server used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ServerUse {
    /// The process.
    #[serde(flatten)]
    pub used: Used,
    /// CPU seconds for a minute of one call.
    pub cpu_s_per_call_minute: f64,
    /// Peak memory over the memory before, by the most calls at once, in kB.
    pub rss_per_call_kb: f64,
}

/// What the simulated vendors say of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct VendorsUse {
    /// Their worst lag, in milliseconds.
    pub worst_lag_ms: f64,
    /// Rules of theirs that the server broke.
    pub violations: u64,
}

/// The result of a load test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// Calls asked for at once.
    pub calls: usize,
    /// Callers more than those, who were to be turned away.
    pub over: usize,
    /// Most calls at once, those included that were turned away.
    pub peak_calls: usize,
    /// Calls begun.
    pub begun: usize,
    /// Calls that ended as they should: by the caller, the server's hang-up or a transfer.
    pub ended_well: usize,
    /// Other ends, by kind.
    pub ended_badly: BTreeMap<String, usize>,
    /// Calls that were turned away with words, before there was a stream.
    pub refused: usize,
    /// The words, and how many heard them.
    pub refusals: BTreeMap<String, usize>,
    /// Minutes of all calls together.
    pub call_minutes: f64,
    /// Seconds that the run took.
    pub wall_s: f64,
    /// Replies that callers waited for.
    pub replies_expected: usize,
    /// Those of them that came.
    pub replies_delivered: usize,
    /// Replies interrupted by the caller.
    pub interruptions: usize,
    /// Interruptions that the server did not answer with a `clear`.
    pub not_cleared: usize,
    /// Bytes of old replies that came after a `clear`.
    pub voice_after_clear_bytes: u64,
    /// Longest time without the bot's voice while a caller waited, in milliseconds.
    pub longest_wait_ms: f64,
    /// The vendors' fixed times that were taken off, in milliseconds.
    pub vendors_ms: f64,
    /// Times per stage.
    pub stages: Stages,
    /// The simulator's own lag.
    pub lag: LagReport,
    /// CPU seconds of the simulator itself.
    pub own_cpu_s: Option<f64>,
    /// What the server used, if its process was given.
    pub server: Option<ServerUse>,
    /// The vendors, if their address was given.
    pub vendors: Option<VendorsUse>,
    /// Rules of Twilio's that the server broke.
    pub violations: u64,
    /// Some of them, each kind once.
    pub violation_samples: Vec<String>,
    /// Expectations of scripts that were not met.
    pub failures: usize,
    /// Some of them.
    pub failure_samples: Vec<String>,
    /// Why the run does not count, if it does not.
    pub void: Option<String>,
}

impl LoadReport {
    /// Whether the run counts, every reply came, every interruption was heeded, every script was played to its end and nobody
    /// broke a rule; and whether somebody was turned away if, and only if, there were more callers than places.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.void.is_none()
            && self.replies_delivered == self.replies_expected
            && self.ended_badly.is_empty()
            && self.failures == 0
            && (self.refused > 0) == (self.over > 0)
            && self.violations == 0
            && self.vendors.as_ref().is_none_or(|vendors| vendors.violations == 0)
            && self.not_cleared == 0
            && self.voice_after_clear_bytes == 0
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "calls        {} asked for, {} at once, {} begun, {} ended well, {:.1} call-minutes in {:.0} s",
            self.calls, self.peak_calls, self.begun, self.ended_well, self.call_minutes, self.wall_s
        )?;
        for (kind, count) in &self.ended_badly {
            writeln!(f, "             {count} ended by {kind}")?;
        }
        if self.over > 0 || self.refused > 0 {
            writeln!(
                f,
                "refused      {} calls with words; {} callers more than places",
                self.refused, self.over
            )?;
            for (words, count) in &self.refusals {
                writeln!(f, "             {count} heard: {words}")?;
            }
        }
        writeln!(
            f,
            "replies      {} expected, {} delivered; longest wait {:.0} ms",
            self.replies_expected, self.replies_delivered, self.longest_wait_ms
        )?;
        writeln!(
            f,
            "barge-in     {} interruptions, {} not cleared, {} bytes of old replies after a clear",
            self.interruptions, self.not_cleared, self.voice_after_clear_bytes
        )?;
        writeln!(f, "\nms                  count      p50      p95      p99      max")?;
        let stages = &self.stages;
        for (name, spread) in [
            ("webhook", stages.webhook),
            ("handshake", stages.handshake),
            ("greeting", stages.greeting),
            ("turn", stages.turn),
            ("turn, added", stages.turn_added),
            ("barge-in to clear", stages.barge_in),
            ("next document", stages.next_document),
            ("status callback", stages.status),
        ] {
            if spread.count > 0 {
                writeln!(
                    f,
                    "{name:<17} {:>7} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
                    spread.count, spread.p50, spread.p95, spread.p99, spread.max
                )?;
            }
        }
        writeln!(f, "(added: without the vendors' fixed {:.0} ms)\n", self.vendors_ms)?;
        if let Some(server) = &self.server {
            let used = &server.used;
            writeln!(
                f,
                "server       {:.2} CPU s, {:.3} a call-minute; memory {:.1} MB before, {:.1} peak, {:.1} after: {:.0} kB a call",
                used.cpu_s,
                server.cpu_s_per_call_minute,
                used.rss_before_kb as f64 / 1_024.0,
                used.rss_peak_kb as f64 / 1_024.0,
                used.rss_after_kb as f64 / 1_024.0,
                server.rss_per_call_kb,
            )?;
        }
        if let Some(vendors) = &self.vendors {
            writeln!(
                f,
                "vendors      worst lag {:.1} ms, {} violations",
                vendors.worst_lag_ms, vendors.violations
            )?;
        }
        let own_cpu = self.own_cpu_s.map_or(String::new(), |cpu| format!(", {cpu:.2} CPU s"));
        writeln!(
            f,
            "simulator    lag p50 {:.1}, p99 {:.1}, max {:.1} ms over {} ticks{own_cpu}",
            self.lag.p50_ms, self.lag.p99_ms, self.lag.max_ms, self.lag.ticks
        )?;
        if self.violations > 0 {
            writeln!(f, "VIOLATIONS   {}", self.violations)?;
            for sample in &self.violation_samples {
                writeln!(f, "             {sample}")?;
            }
        }
        if self.failures > 0 {
            writeln!(f, "FAILED       {} expectations", self.failures)?;
            for sample in &self.failure_samples {
                writeln!(f, "             {sample}")?;
            }
        }
        match &self.void {
            Some(why) => write!(f, "VOID: {why}"),
            None => write!(f, "{}", if self.passed() { "passed" } else { "NOT PASSED" }),
        }
    }
}
