//! The handle to running vendors: faults in, counters out.
//!
//! A [`Controls`] handle belongs to one running set of vendors. Tests hold it; another process reaches the same
//! things over `/_sim`.

use super::faults::{Fault, FaultRule, Instead, Service, Struck};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How many violations are kept; later ones are only counted.
const KEPT_VIOLATIONS: usize = 1_000;

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
    /// The object store.
    pub s3: ServiceStats,
    /// The latest the simulator's own timer has come, in microseconds: its lag.
    pub worst_lag_us: u64,
    /// TLS handshakes from the beginning.
    pub tls_full: u64,
    /// TLS handshakes that took up a session from before.
    pub tls_resumed: u64,
    /// Violations in all, also those no longer kept.
    pub violation_count: u64,
    /// Rules broken by clients.
    pub violations: Vec<Violation>,
}

#[derive(Debug)]
struct Core {
    rules: Mutex<Vec<FaultRule>>,
    counters: [Counters; Service::ALL.len()],
    cuts: [watch::Sender<u64>; Service::ALL.len()],
    violations: Mutex<Vec<Violation>>,
    violation_count: AtomicU64,
    seen: Mutex<VecDeque<Seen>>,
    keep_seen: usize,
    worst_lag_us: AtomicU64,
    tls_full: AtomicU64,
    tls_resumed: AtomicU64,
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
                tls_full: AtomicU64::new(0),
                tls_resumed: AtomicU64::new(0),
            }),
        }
    }

    /// Adds a fault.
    pub fn add(&self, rule: FaultRule) {
        lock(&self.core.rules).push(rule);
    }

    /// Puts these faults in the place of all there are, between two requests.
    pub fn set(&self, rules: Vec<FaultRule>) {
        *lock(&self.core.rules) = rules;
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

    /// Counts a TLS handshake.
    pub(crate) fn shook_hands(&self, resumed: bool) {
        let count = if resumed { &self.core.tls_resumed } else { &self.core.tls_full };
        count.fetch_add(1, Ordering::Relaxed);
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
            s3: self.service(Service::S3),
            worst_lag_us: self.core.worst_lag_us.load(Ordering::Relaxed),
            tls_full: self.core.tls_full.load(Ordering::Relaxed),
            tls_resumed: self.core.tls_resumed.load(Ordering::Relaxed),
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
