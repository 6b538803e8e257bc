//! Many calls at once, against any server that speaks Media Streams, and what they cost it.
//!
//! A process of its own: [`run_load`] starts threads with a runtime each and blocks until the last call is over. What
//! the callers say is rendered once; replies are told from silence without a recogniser, except on the few calls that
//! listen.

pub mod curve;
pub mod over;
pub mod process;
pub mod report;
pub mod stats;

mod collect;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use crate::sim::authority::Trust;
use crate::sim::caller::lag::Lag;
use crate::sim::caller::phrase::Phrases;
use crate::sim::caller::{CallConfig, Line, client, run_rendered};
use crate::sim::script::Script;
use crate::sim::vendors::VendorsConfig;
use collect::Collected;
use process::Watch;
use report::{LoadReport, MAX_LAG_MS, ServerUse, VendorsUse};

/// The vendors' fixed times in a turn, as the simulated vendors are set, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VendorTimes {
    /// Silence after which speech counts as ended.
    pub endpointing_ms: f64,
    /// What the recogniser takes on top.
    pub stt_delay_ms: f64,
    /// The model, to its first token.
    pub first_token_ms: f64,
    /// From the first token to the end of the first piece that can be spoken.
    pub first_piece_ms: f64,
    /// Speech synthesis, to its first byte.
    pub tts_first_byte_ms: f64,
}

impl Default for VendorTimes {
    /// The simulated vendors as they come, asked for an endpointing of 300 ms.
    fn default() -> Self {
        Self::of(&VendorsConfig::default(), 300)
    }
}

impl VendorTimes {
    /// The times that simulated vendors are set to, with ElevenLabs as the voice. How long the first piece takes
    /// depends on the reply; it is left at 0, which is true where the model's tokens come without a pause.
    #[must_use]
    pub fn of(vendors: &VendorsConfig, endpointing_ms: u32) -> Self {
        Self {
            endpointing_ms: f64::from(endpointing_ms),
            stt_delay_ms: vendors.deepgram.listen.stt_delay_ms as f64,
            first_token_ms: vendors.openai.first_token_ms as f64,
            first_piece_ms: 0.0,
            tts_first_byte_ms: vendors.elevenlabs.timing.first_byte_ms as f64,
        }
    }

    /// All of them.
    #[must_use]
    pub fn sum_ms(&self) -> f64 {
        self.endpointing_ms
            + self.stt_delay_ms
            + self.first_token_ms
            + self.first_piece_ms
            + self.tts_first_byte_ms
    }
}

/// A load test.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// Whom to call; each call gets a caller's number and an identifier of its own.
    pub call: CallConfig,
    /// What each caller does; after its end the caller rings again.
    pub script: Script,
    /// Calls at once.
    pub calls: usize,
    /// Callers more than those, whom the server has no place for: as many have to be turned away, with words.
    pub over: usize,
    /// Time over which they begin.
    pub ramp: Duration,
    /// Calls begun a second, instead of `ramp`.
    pub rate: Option<f64>,
    /// No call begins after this; those going on end by themselves.
    pub duration: Duration,
    /// No more calls than this are begun.
    pub total: Option<usize>,
    /// The server's process, to see what it uses.
    pub pid: Option<u32>,
    /// The vendors' times, taken off each turn.
    pub vendors: VendorTimes,
    /// The simulated vendors' base URL, to ask how they fared.
    pub vendors_url: Option<String>,
    /// Every so-manieth caller listens to words; 0 is none.
    pub listen_every: usize,
    /// Threads of callers.
    pub threads: usize,
    /// Time between two calls of one caller.
    pub rest: Duration,
    /// Time after the last call before memory is read again.
    pub settle: Duration,
}

impl LoadConfig {
    /// So many calls for a minute, begun over five seconds, on one thread.
    #[must_use]
    pub fn new(call: CallConfig, script: Script, calls: usize) -> Self {
        Self {
            call,
            script,
            calls,
            over: 0,
            ramp: Duration::from_secs(5),
            rate: None,
            duration: Duration::from_secs(60),
            total: None,
            pid: None,
            vendors: VendorTimes::default(),
            vendors_url: None,
            listen_every: 50,
            threads: 1,
            rest: Duration::ZERO,
            settle: Duration::from_secs(2),
        }
    }

    /// All who ring.
    const fn callers(&self) -> usize {
        self.calls.saturating_add(self.over)
    }

    /// When a caller rings first.
    fn begin(&self, caller: usize) -> Duration {
        match self.rate {
            Some(rate) if rate > 0.0 && rate.is_finite() => Duration::from_secs_f64(caller as f64 / rate),
            _ => self.ramp.mul_f64(caller as f64 / self.callers().max(1) as f64),
        }
    }
}

/// What all threads share.
struct Shared {
    config: LoadConfig,
    script: Arc<Script>,
    phrases: Arc<Phrases>,
    begun: AtomicUsize,
    live: AtomicUsize,
    peak: AtomicUsize,
}

impl Shared {
    /// Counts a call, if it may be begun.
    fn may_begin(&self) -> bool {
        let most = self.config.total.unwrap_or(usize::MAX);
        let more = |begun: usize| (begun < most).then(|| begun.saturating_add(1));
        self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

/// Runs a load test and waits for its end: `simulate load`.
///
/// # Errors
/// When threads cannot be had.
pub fn run_load(config: &LoadConfig) -> io::Result<LoadReport> {
    let shared = Arc::new(Shared {
        script: Arc::new(config.script.clone()),
        phrases: Arc::new(Phrases::render(&config.script, config.call.voice)),
        config: config.clone(),
        begun: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
        peak: AtomicUsize::new(0),
    });
    let watch = config.pid.and_then(Watch::start);
    let own_before = process::cpu_s(std::process::id());
    let began = std::time::Instant::now();
    let threads = config.threads.clamp(1, 64);
    let mut running = Vec::new();
    for thread in 0..threads {
        let shared = Arc::clone(&shared);
        running.push(
            std::thread::Builder::new()
                .name(format!("sim-load-{thread}"))
                .spawn(move || actix_web::rt::System::new().block_on(callers(shared, thread, threads)))?,
        );
    }
    let mut collected = Collected::default();
    let mut lag = Lag::default();
    for thread in running {
        let (more, late) = thread.join().map_err(|_| io::Error::other("a thread of callers has panicked"))?;
        collected.merge(more);
        lag.merge(&late);
    }
    let wall_s = began.elapsed().as_secs_f64();
    let cpu_s = watch.as_ref().and_then(Watch::cpu_so_far);
    let own_after = process::cpu_s(std::process::id());
    std::thread::sleep(config.settle);
    let used = watch.and_then(|watch| watch.end(cpu_s));

    let mut report = collected.report(config.vendors.sum_ms());
    report.calls = config.calls;
    report.over = config.over;
    report.peak_calls = shared.peak.load(Ordering::Relaxed);
    report.wall_s = wall_s;
    report.lag = lag.report();
    report.own_cpu_s = own_after.zip(own_before).map(|(after, before)| after - before);
    report.server = used.map(|used| ServerUse {
        used,
        cpu_s_per_call_minute: used.cpu_s / report.call_minutes.max(f64::MIN_POSITIVE),
        rss_per_call_kb: used.rss_peak_kb.saturating_sub(used.rss_before_kb) as f64
            // Whoever is turned away takes no place.
            / report.peak_calls.min(config.calls).max(1) as f64,
    });
    report.vendors = config.vendors_url.as_ref().and_then(|url| vendors(url, &config.call.trust));
    if report.lag.p99_ms > MAX_LAG_MS {
        report.void = Some(format!(
            "the simulator itself lagged by {:.1} ms (p99), more than {MAX_LAG_MS} ms",
            report.lag.p99_ms
        ));
    } else if report.begun == 0 {
        report.void = Some("no call was made".to_owned());
    }
    Ok(report)
}

/// The callers of one thread, to the end of their last calls.
async fn callers(shared: Arc<Shared>, thread: usize, threads: usize) -> (Collected, Lag) {
    let line = Line::new(&shared.config.call.trust);
    let collected = Rc::new(RefCell::new(Collected::default()));
    let began = Instant::now();
    let all = (thread..shared.config.callers()).step_by(threads).map(|caller| {
        // A task each, so that a frame wakes only its own call.
        actix_rt::spawn(one_caller(line.clone(), Arc::clone(&shared), caller, began, Rc::clone(&collected)))
    });
    join_all(all.collect::<Vec<_>>()).await;
    let lag = line.lag();
    (collected.take(), lag)
}

async fn one_caller(
    line: Line,
    shared: Arc<Shared>,
    caller: usize,
    began: Instant,
    collected: Rc<RefCell<Collected>>,
) {
    let config = &shared.config;
    let mut call = config.call.clone();
    call.sid = None;
    call.from = format!("+1{:010}", 2_025_000_000_u64.saturating_add(caller as u64));
    call.listen = config.listen_every > 0 && caller.is_multiple_of(config.listen_every);
    let first = config.begin(caller);
    let steady_ms = config.begin(config.callers()).as_secs_f64() * 1_000.0;
    sleep_until(began + first).await;
    while began.elapsed() < config.duration && shared.may_begin() {
        let at = began.elapsed();
        let live = shared.live.fetch_add(1, Ordering::Relaxed) + 1;
        shared.peak.fetch_max(live, Ordering::Relaxed);
        let report =
            run_rendered(&line, &call, Arc::clone(&shared.script), Arc::clone(&shared.phrases)).await;
        shared.live.fetch_sub(1, Ordering::Relaxed);
        let at_ms = at.as_secs_f64() * 1_000.0;
        collected.borrow_mut().add(&report, at_ms, steady_ms, call.status_path.as_deref());
        if report.duration_ms < 1_000.0 {
            // A server that refuses is not to be hammered.
            sleep(Duration::from_secs(1)).await;
        } else if !config.rest.is_zero() {
            sleep(config.rest).await;
        }
    }
}

/// Asks the simulated vendors how they fared.
fn vendors(url: &str, trust: &Trust) -> Option<VendorsUse> {
    let url = format!("{}/_sim/stats", url.trim_end_matches('/'));
    let trust = trust.clone();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let mut response = client(&trust).get(url).send().await.ok()?;
            serde_json::from_slice::<serde_json::Value>(&response.body().await.ok()?).ok()
        })
    });
    let stats = thread.join().ok()??;
    let number = |name: &str| stats.get(name).and_then(serde_json::Value::as_u64);
    Some(VendorsUse {
        worst_lag_ms: number("worst_lag_us")? as f64 / 1_000.0,
        violations: number("violation_count")?,
    })
}
