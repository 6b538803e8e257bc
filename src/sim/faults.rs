//! Faults on demand, and what the simulator counts while it serves.
//!
//! A [`Controls`] handle belongs to one running set of vendors. Tests hold it; another process reaches the same
//! things over `/_sim`.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How many violations are kept; later ones are only counted.
const KEPT_VIOLATIONS: usize = 1_000;

/// A simulated service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Deepgram `/v1/listen`.
    DeepgramListen,
    /// Deepgram `/v1/speak` and the project list.
    DeepgramSpeak,
    /// ElevenLabs.
    Elevenlabs,
    /// OpenAI.
    Openai,
    /// Twilio's REST API.
    Twilio,
}

impl Service {
    /// All of them, in the order of the counters.
    pub const ALL: [Self; 5] =
        [Self::DeepgramListen, Self::DeepgramSpeak, Self::Elevenlabs, Self::Openai, Self::Twilio];

    const fn index(self) -> usize {
        match self {
            Self::DeepgramListen => 0,
            Self::DeepgramSpeak => 1,
            Self::Elevenlabs => 2,
            Self::Openai => 3,
            Self::Twilio => 4,
        }
    }
}

/// When something happens within an answer: as soon as any of the set limits is reached; at once if none is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct After {
    /// Bytes: of audio received on `/v1/listen`, of body sent elsewhere.
    pub bytes: Option<u64>,
    /// Messages sent: WebSocket messages, server-sent events, audio chunks.
    pub messages: Option<u64>,
    /// Milliseconds since the answer began.
    pub ms: Option<u64>,
}

impl After {
    /// After this many bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> Self {
        Self { bytes: Some(n), messages: None, ms: None }
    }

    /// After this many messages.
    #[must_use]
    pub const fn messages(n: u64) -> Self {
        Self { bytes: None, messages: Some(n), ms: None }
    }

    /// After this many milliseconds.
    #[must_use]
    pub const fn ms(n: u64) -> Self {
        Self { bytes: None, messages: None, ms: Some(n) }
    }

    /// Whether the point is reached.
    #[must_use]
    pub fn reached(&self, bytes: u64, messages: u64, elapsed: Duration) -> bool {
        if self.bytes.is_none() && self.messages.is_none() && self.ms.is_none() {
            return true;
        }
        self.bytes.is_some_and(|n| bytes >= n)
            || self.messages.is_some_and(|n| messages >= n)
            || self.ms.is_some_and(|n| elapsed >= Duration::from_millis(n))
    }
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The request is refused with this status and the vendor's error body.
    Refuse {
        /// HTTP status.
        status: u16,
        /// The vendor's error code, instead of the usual one for the status.
        #[serde(default)]
        code: Option<String>,
    },
    /// 429, in the vendor's words.
    RateLimit {
        /// Sent as `retry-after` (seconds) and, by OpenAI, `retry-after-ms`.
        #[serde(default)]
        retry_after_ms: Option<u64>,
    },
    /// The request is taken and never answered.
    Hang,
    /// Every piece of the answer, the first included, comes this much later.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is dropped in the middle, without a goodbye.
    Cut {
        /// When.
        #[serde(default)]
        after: After,
    },
    /// The answer stops in the middle, and the connection stays open.
    Stall {
        /// When.
        #[serde(default)]
        after: After,
    },
    /// The answer is not what the protocol says: broken JSON, or another audio format than was asked for.
    Malformed,
}

/// When a fault strikes. Several rules may strike one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule {
    /// Whom it strikes.
    pub service: Service,
    /// What happens.
    pub fault: Fault,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests are struck then; every one if absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// Only requests with this in their text: what is to be spoken, the caller's last words, the path and form, or
    /// the query of `/v1/listen`. Case is ignored.
    #[serde(default)]
    pub contains: Option<String>,
}

impl FaultRule {
    /// Strikes every request.
    #[must_use]
    pub const fn always(service: Service, fault: Fault) -> Self {
        Self { service, fault, skip: 0, times: None, contains: None }
    }

    /// Strikes the next request only.
    #[must_use]
    pub const fn once(service: Service, fault: Fault) -> Self {
        Self { service, fault, skip: 0, times: Some(1), contains: None }
    }

    /// Lets `n` requests pass first.
    #[must_use]
    pub const fn skipping(mut self, n: u32) -> Self {
        self.skip = n;
        self
    }

    /// Strikes `n` requests.
    #[must_use]
    pub const fn times(mut self, n: u32) -> Self {
        self.times = Some(n);
        self
    }

    /// Strikes only requests with this text.
    #[must_use]
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }

    fn strikes(&mut self, service: Service, text: &str) -> bool {
        if self.service != service || self.times == Some(0) {
            return false;
        }
        if let Some(wanted) = &self.contains
            && !text.to_lowercase().contains(&wanted.to_lowercase())
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some(times) = &mut self.times {
            *times = times.saturating_sub(1);
        }
        true
    }
}

/// What happens instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// An error of this status.
    Refuse(u16, Option<String>),
    /// 429.
    RateLimit(Option<u64>),
    /// Nothing at all.
    Hang,
}

/// All that strikes one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Struck {
    /// Instead of an answer.
    pub instead: Option<Instead>,
    /// Added to the time of each piece.
    pub slow: Duration,
    /// Where the connection drops.
    pub cut: Option<After>,
    /// Where the answer stops.
    pub stall: Option<After>,
    /// The answer is garbage.
    pub malformed: bool,
}

/// A rule of a protocol that a client broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Whose rule.
    pub service: Service,
    /// Which, in words.
    pub text: String,
}

/// A request the simulator took, for tests that ask what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// To whom.
    pub service: Service,
    /// What: the body, or the query of `/v1/listen`.
    pub text: String,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    requests: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    finished: AtomicU64,
    abandoned: AtomicU64,
    errors: AtomicU64,
    faults: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What one service has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceStats {
    /// TCP connections on which this service was asked.
    pub connections: u64,
    /// Requests, WebSocket handshakes included.
    pub requests: u64,
    /// Requests being answered now.
    pub in_flight: u64,
    /// The most there were at once.
    pub most_in_flight: u64,
    /// Answers given to their end.
    pub finished: u64,
    /// Answers the client did not wait for, or that a fault cut.
    pub abandoned: u64,
    /// Error answers.
    pub errors: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Bytes of audio received.
    pub bytes_in: u64,
    /// Bytes of body sent.
    pub bytes_out: u64,
}

/// What the simulator has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Deepgram `/v1/listen`.
    pub deepgram_listen: ServiceStats,
    /// Deepgram `/v1/speak`.
    pub deepgram_speak: ServiceStats,
    /// ElevenLabs.
    pub elevenlabs: ServiceStats,
    /// OpenAI.
    pub openai: ServiceStats,
    /// Twilio's REST API.
    pub twilio: ServiceStats,
    /// The latest the simulator's own timer has come, in microseconds: its lag.
    pub worst_lag_us: u64,
    /// Violations in all, also those no longer kept.
    pub violation_count: u64,
    /// Rules broken by clients.
    pub violations: Vec<Violation>,
}

#[derive(Debug)]
struct Core {
    rules: Mutex<Vec<FaultRule>>,
    counters: [Counters; 5],
    cuts: [watch::Sender<u64>; 5],
    violations: Mutex<Vec<Violation>>,
    violation_count: AtomicU64,
    seen: Mutex<VecDeque<Seen>>,
    keep_seen: usize,
    worst_lag_us: AtomicU64,
}

/// The handle to a running simulator's faults and counters. Cheap to clone; may be sent anywhere.
#[derive(Clone, Debug)]
pub struct Controls {
    core: Arc<Core>,
}

impl Default for Controls {
    fn default() -> Self {
        Self::new(256)
    }
}

/// A poisoned lock only means that a test's thread panicked; the data are plain and stay usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controls {
    /// No faults; the last `keep_seen` requests are remembered.
    #[must_use]
    pub fn new(keep_seen: usize) -> Self {
        Self {
            core: Arc::new(Core {
                rules: Mutex::default(),
                counters: Default::default(),
                cuts: std::array::from_fn(|_| watch::Sender::new(0)),
                violations: Mutex::default(),
                violation_count: AtomicU64::new(0),
                seen: Mutex::default(),
                keep_seen,
                worst_lag_us: AtomicU64::new(0),
            }),
        }
    }

    /// Adds a fault.
    pub fn add(&self, rule: FaultRule) {
        lock(&self.core.rules).push(rule);
    }

    /// Takes all faults away. Answers already struck stay so.
    pub fn clear(&self) {
        lock(&self.core.rules).clear();
    }

    /// The rules that can still strike.
    #[must_use]
    pub fn rules(&self) -> Vec<FaultRule> {
        lock(&self.core.rules).clone()
    }

    /// Drops every connection on which the service is answering now.
    pub fn cut_now(&self, service: Service) {
        if let Some(cut) = self.core.cuts.get(service.index()) {
            cut.send_modify(|n| *n = n.wrapping_add(1));
        }
    }

    /// Becomes changed when [`Self::cut_now`] is called.
    pub(crate) fn watch_cut(&self, service: Service) -> watch::Receiver<u64> {
        self.core.cuts.get(service.index()).map_or_else(|| watch::channel(0).1, watch::Sender::subscribe)
    }

    /// What strikes a request with this text.
    pub(crate) fn strike(&self, service: Service, text: &str) -> Struck {
        let mut struck = Struck::default();
        let mut count = 0;
        {
            let mut rules = lock(&self.core.rules);
            for rule in rules.iter_mut() {
                // Once a request is not answered at all, further rules keep their turns.
                if struck.instead.is_some() || !rule.strikes(service, text) {
                    continue;
                }
                count += 1;
                match &rule.fault {
                    Fault::Refuse { status, code } => {
                        struck.instead = Some(Instead::Refuse(*status, code.clone()));
                    }
                    Fault::RateLimit { retry_after_ms } => {
                        struck.instead = Some(Instead::RateLimit(*retry_after_ms));
                    }
                    Fault::Hang => struck.instead = Some(Instead::Hang),
                    Fault::Slow { ms } => struck.slow += Duration::from_millis((*ms).min(3_600_000)),
                    Fault::Cut { after } => struck.cut = Some(*after),
                    Fault::Stall { after } => struck.stall = Some(*after),
                    Fault::Malformed => struck.malformed = true,
                }
            }
            rules.retain(|rule| rule.times != Some(0));
        }
        if let Some(c) = self.counters(service) {
            c.faults.fetch_add(count, Ordering::Relaxed);
        }
        struck
    }

    fn counters(&self, service: Service) -> Option<&Counters> {
        self.core.counters.get(service.index())
    }

    /// Writes down a broken rule.
    pub(crate) fn violate(&self, service: Service, text: impl Into<String>) {
        self.core.violation_count.fetch_add(1, Ordering::Relaxed);
        let text = text.into();
        tracing::debug!(?service, %text, "protocol rule broken");
        let mut violations = lock(&self.core.violations);
        if violations.len() < KEPT_VIOLATIONS {
            violations.push(Violation { service, text });
        }
    }

    /// The rules clients broke, oldest first.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        lock(&self.core.violations).clone()
    }

    /// Forgets the violations.
    pub fn clear_violations(&self) {
        lock(&self.core.violations).clear();
        self.core.violation_count.store(0, Ordering::Relaxed);
    }

    pub(crate) fn saw(&self, service: Service, text: &str) {
        if self.core.keep_seen == 0 {
            return;
        }
        let mut seen = lock(&self.core.seen);
        while seen.len() >= self.core.keep_seen {
            seen.pop_front();
        }
        seen.push_back(Seen { service, text: text.to_owned() });
    }

    /// The last requests a service took, oldest first.
    #[must_use]
    pub fn seen(&self, service: Service) -> Vec<String> {
        lock(&self.core.seen).iter().filter(|s| s.service == service).map(|s| s.text.clone()).collect()
    }

    /// One more TCP connection asks for the service.
    pub(crate) fn connected(&self, service: Service) {
        if let Some(c) = self.counters(service) {
            c.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One more request; it is in flight until the guard is dropped.
    pub(crate) fn begin(&self, service: Service) -> InFlight {
        if let Some(c) = self.counters(service) {
            c.requests.fetch_add(1, Ordering::Relaxed);
            let now = c.in_flight.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            c.most_in_flight.fetch_max(now, Ordering::Relaxed);
        }
        InFlight { controls: self.clone(), service, finished: false }
    }

    /// Requests being answered now.
    pub(crate) fn in_flight(&self, service: Service) -> u64 {
        self.counters(service).map_or(0, |c| c.in_flight.load(Ordering::Relaxed))
    }

    pub(crate) fn erred(&self, service: Service) {
        if let Some(c) = self.counters(service) {
            c.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn received(&self, service: Service, bytes: usize) {
        if let Some(c) = self.counters(service) {
            c.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn sent(&self, service: Service, bytes: usize) {
        if let Some(c) = self.counters(service) {
            c.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn lagged(&self, by: Duration) {
        let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.core.worst_lag_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Starts the measurement of the lag anew.
    pub fn reset_lag(&self) {
        self.core.worst_lag_us.store(0, Ordering::Relaxed);
    }

    /// One service's counters now.
    #[must_use]
    pub fn service(&self, service: Service) -> ServiceStats {
        self.counters(service).map_or_else(ServiceStats::default, |c| {
            let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
            ServiceStats {
                connections: get(&c.connections),
                requests: get(&c.requests),
                in_flight: get(&c.in_flight),
                most_in_flight: get(&c.most_in_flight),
                finished: get(&c.finished),
                abandoned: get(&c.abandoned),
                errors: get(&c.errors),
                faults: get(&c.faults),
                bytes_in: get(&c.bytes_in),
                bytes_out: get(&c.bytes_out),
            }
        })
    }

    /// All counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            deepgram_listen: self.service(Service::DeepgramListen),
            deepgram_speak: self.service(Service::DeepgramSpeak),
            elevenlabs: self.service(Service::Elevenlabs),
            openai: self.service(Service::Openai),
            twilio: self.service(Service::Twilio),
            worst_lag_us: self.core.worst_lag_us.load(Ordering::Relaxed),
            violation_count: self.core.violation_count.load(Ordering::Relaxed),
            violations: self.violations(),
        }
    }
}

/// Counts a request as in flight while it lives.
#[derive(Debug)]
pub(crate) struct InFlight {
    controls: Controls,
    service: Service,
    finished: bool,
}

impl InFlight {
    /// The answer was given to its end.
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }

    pub(crate) fn controls(&self) -> &Controls {
        &self.controls
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(c) = self.controls.counters(self.service) {
            c.in_flight.fetch_sub(1, Ordering::Relaxed);
            let ended = if self.finished { &c.finished } else { &c.abandoned };
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_skips_then_strikes_its_number_of_times_and_is_gone() {
        let controls = Controls::default();
        controls.add(FaultRule::always(Service::Openai, Fault::Hang).skipping(1).times(2));
        let struck: Vec<bool> =
            (0..4).map(|_| controls.strike(Service::Openai, "").instead.is_some()).collect();
        assert_eq!(struck, [false, true, true, false]);
        assert!(controls.rules().is_empty());
        assert_eq!(controls.service(Service::Openai).faults, 2);
    }

    #[test]
    fn a_rule_strikes_only_its_service_and_its_text() {
        let controls = Controls::default();
        controls.add(FaultRule::once(Service::Elevenlabs, Fault::Malformed).containing("Goodbye"));
        assert!(!controls.strike(Service::DeepgramSpeak, "goodbye").malformed);
        assert!(!controls.strike(Service::Elevenlabs, "hello").malformed);
        assert!(controls.strike(Service::Elevenlabs, "well, goodbye then").malformed);
    }

    #[test]
    fn slow_and_cut_strike_one_request_together() {
        let controls = Controls::default();
        controls.add(FaultRule::once(Service::Openai, Fault::Slow { ms: 5 }));
        controls.add(FaultRule::once(Service::Openai, Fault::Cut { after: After::messages(2) }));
        let struck = controls.strike(Service::Openai, "");
        assert_eq!(struck.slow, Duration::from_millis(5));
        assert_eq!(struck.cut, Some(After::messages(2)));
    }

    #[test]
    fn an_empty_limit_is_reached_at_once_and_any_set_one_suffices() {
        assert!(After::default().reached(0, 0, Duration::ZERO));
        assert!(!After::bytes(3).reached(2, 9, Duration::from_secs(9)));
        assert!(After { bytes: Some(3), messages: None, ms: Some(10) }.reached(0, 0, Duration::from_millis(10)));
    }

    #[test]
    fn a_rule_reads_from_json() {
        let rule: FaultRule = serde_json::from_str(
            r#"{"service":"deepgram_listen","fault":{"kind":"cut","after":{"bytes":8000}},"times":1}"#,
        )
        .unwrap();
        assert_eq!(rule, FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(8000) }));
    }

    #[test]
    fn an_unfinished_answer_counts_as_abandoned() {
        let controls = Controls::default();
        controls.begin(Service::Openai).finish();
        drop(controls.begin(Service::Openai));
        let stats = controls.service(Service::Openai);
        assert_eq!((stats.requests, stats.finished, stats.abandoned, stats.in_flight), (2, 1, 1, 0));
    }
}
