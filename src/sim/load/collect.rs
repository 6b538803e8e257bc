//! Adds up the reports of calls. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{LoadReport, Stages};
use super::stats::Spread;
use crate::sim::caller::report::{CallReport, EndCause, StreamEnd};
use crate::sim::caller::turns::TurnKind;

/// Samples of each kind that are kept.
const SAMPLES: usize = 10;

/// Sums and values over many calls.
#[derive(Debug, Default)]
pub(super) struct Collected {
    begun: usize,
    ended_well: usize,
    ended_badly: BTreeMap<String, usize>,
    refused: usize,
    refusals: BTreeMap<String, usize>,
    call_ms: f64,
    expected: usize,
    delivered: usize,
    interruptions: usize,
    not_cleared: usize,
    after_clear: u64,
    longest_wait_ms: f64,
    webhook: Vec<f64>,
    handshake: Vec<f64>,
    greeting: Vec<f64>,
    turn: Vec<f64>,
    barge_in: Vec<f64>,
    next_document: Vec<f64>,
    status: Vec<f64>,
    violations: u64,
    violation_samples: BTreeSet<String>,
    failures: usize,
    failure_samples: Vec<String>,
}

/// Whether a caller was turned away with words: heard something that needs no stream, and never came to one. Who hears
/// nothing at all is not refused but unanswered.
fn was_refused(call: &CallReport) -> bool {
    let politely = matches!(call.end, EndCause::CallerHungUp | EndCause::Hangup | EndCause::Dialled);
    politely && call.streams.is_empty() && call.said_by_twilio.iter().any(|words| !words.trim().is_empty())
}

/// A violation without what differs from call to call, so that each kind shows once.
fn kind_of(violation: &str) -> String {
    violation.split_whitespace().filter(|word| !word.contains("MZ") && !word.contains("CA")).fold(
        String::new(),
        |mut kind, word| {
            if !kind.is_empty() {
                kind.push(' ');
            }
            kind.push_str(word);
            kind
        },
    )
}

impl Collected {
    /// Adds a call that began `began_ms` after the run; turns that began before `steady_ms` are not measured.
    pub(super) fn add(
        &mut self,
        call: &CallReport,
        began_ms: f64,
        steady_ms: f64,
        status_path: Option<&str>,
    ) {
        self.begun += 1;
        self.violations += call.violations.count;
        for violation in &call.violations.first {
            if self.violation_samples.len() < SAMPLES {
                self.violation_samples.insert(kind_of(violation));
            }
        }
        self.add_webhooks(call, status_path);
        if was_refused(call) {
            // There was no conversation: nothing of its script was due.
            self.refused += 1;
            let words = call.said_by_twilio.join(" ");
            if self.refusals.len() < SAMPLES || self.refusals.contains_key(&words) {
                *self.refusals.entry(words).or_default() += 1;
            }
            return;
        }
        self.call_ms += call.duration_ms;
        match &call.end {
            EndCause::CallerHungUp | EndCause::Hangup | EndCause::Dialled => self.ended_well += 1,
            EndCause::Rejected(_) => *self.ended_badly.entry("rejection".to_owned()).or_default() += 1,
            EndCause::Failed(why) => {
                *self.ended_badly.entry(format!("failure: {why}")).or_default() += 1;
            }
        }
        self.expected += call.replies_expected;
        self.delivered += call.replies_delivered;
        self.longest_wait_ms = self.longest_wait_ms.max(call.longest_wait_ms);
        self.failures += call.failures.len();
        let room = SAMPLES.saturating_sub(self.failure_samples.len());
        self.failure_samples.extend(call.failures.iter().take(room).cloned());

        let steady = |at_ms: f64| began_ms + at_ms >= steady_ms;
        for turn in &call.turns {
            self.after_clear += turn.voice_after_clear_bytes;
            self.interruptions += usize::from(turn.interrupts);
            self.not_cleared += usize::from(turn.interrupts && turn.clear_ms.is_none());
            if !turn.until_ms.is_some_and(steady) {
                continue;
            }
            self.barge_in.extend(turn.barge_in_ms());
            if turn.kind == TurnKind::Spoken && turn.reply_expected {
                self.turn.extend(turn.latency_ms());
            }
        }
        for (n, stream) in call.streams.iter().enumerate() {
            if matches!(stream.end, StreamEnd::NotConnected(_)) {
                continue;
            }
            self.handshake.push(stream.handshake_ms);
            if n == 0 {
                self.greeting.extend(stream.first_voice_ms);
            }
        }
    }

    fn add_webhooks(&mut self, call: &CallReport, status_path: Option<&str>) {
        for (n, hook) in call.webhooks.iter().enumerate() {
            if status_path.is_some_and(|path| hook.path == path) {
                self.status.push(hook.took_ms);
            } else if n == 0 {
                self.webhook.push(hook.took_ms);
            } else {
                self.next_document.push(hook.took_ms);
            }
        }
    }

    /// Adds what another thread has collected.
    pub(super) fn merge(&mut self, other: Self) {
        self.begun += other.begun;
        self.ended_well += other.ended_well;
        for (kind, count) in other.ended_badly {
            *self.ended_badly.entry(kind).or_default() += count;
        }
        self.refused += other.refused;
        for (words, count) in other.refusals {
            *self.refusals.entry(words).or_default() += count;
        }
        self.call_ms += other.call_ms;
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.interruptions += other.interruptions;
        self.not_cleared += other.not_cleared;
        self.after_clear += other.after_clear;
        self.longest_wait_ms = self.longest_wait_ms.max(other.longest_wait_ms);
        self.webhook.extend(other.webhook);
        self.handshake.extend(other.handshake);
        self.greeting.extend(other.greeting);
        self.turn.extend(other.turn);
        self.barge_in.extend(other.barge_in);
        self.next_document.extend(other.next_document);
        self.status.extend(other.status);
        self.violations += other.violations;
        self.violation_samples.extend(other.violation_samples);
        self.failures += other.failures;
        self.failure_samples.extend(other.failure_samples);
        self.failure_samples.truncate(SAMPLES);
    }

    /// The report, without what only the runner knows.
    pub(super) fn report(self, vendors_ms: f64) -> LoadReport {
        let added: Vec<f64> = self.turn.iter().map(|ms| ms - vendors_ms).collect();
        LoadReport {
            calls: 0,
            over: 0,
            peak_calls: 0,
            begun: self.begun,
            ended_well: self.ended_well,
            ended_badly: self.ended_badly,
            refused: self.refused,
            refusals: self.refusals,
            call_minutes: self.call_ms / 60_000.0,
            wall_s: 0.0,
            replies_expected: self.expected,
            replies_delivered: self.delivered,
            interruptions: self.interruptions,
            not_cleared: self.not_cleared,
            voice_after_clear_bytes: self.after_clear,
            longest_wait_ms: self.longest_wait_ms,
            vendors_ms,
            stages: Stages {
                webhook: Spread::of(&self.webhook),
                handshake: Spread::of(&self.handshake),
                greeting: Spread::of(&self.greeting),
                turn: Spread::of(&self.turn),
                turn_added: Spread::of(&added),
                barge_in: Spread::of(&self.barge_in),
                next_document: Spread::of(&self.next_document),
                status: Spread::of(&self.status),
            },
            lag: crate::sim::caller::report::LagReport::default(),
            own_cpu_s: None,
            server: None,
            vendors: None,
            violations: self.violations,
            violation_samples: self.violation_samples.into_iter().take(SAMPLES).collect(),
            failures: self.failures,
            failure_samples: self.failure_samples,
            void: None,
        }
    }
}
