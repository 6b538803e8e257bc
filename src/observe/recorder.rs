//! Where the numbers go: to Prometheus, which reads them, and to whoever they are pushed to.
//!
//! One recorder a process, installed by the first server and kept: counters belong to the process. Several servers in one
//! process (tests) count into the same series; gauges are sums of their shares (`metrics.rs`). A test reads differences, or
//! has a process of its own.

use super::series::{Kind, SERIES};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// The format's name (`observability.md` 3).
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Values of one histogram that are kept for one pusher between two sends; of more, a sample.
const SAMPLES: usize = 512;

/// What the process has installed.
struct Installed {
    prometheus: PrometheusHandle,
    board: Arc<Board>,
}

static INSTALLED: OnceLock<Option<Installed>> = OnceLock::new();

/// Installs the process's recorder, if that was not done yet. Says whether metrics are recorded: they are not where
/// something else in the process has taken the place.
pub fn install() -> bool {
    let installed = INSTALLED.get_or_init(|| {
        let prometheus = prometheus()?;
        let handle = prometheus.handle();
        let board = Arc::new(Board::default());
        let fan = Fan { prometheus, board: Arc::clone(&board) };
        if metrics::set_global_recorder(fan).is_err() {
            tracing::error!("metrics are not recorded: another recorder was there before");
            return None;
        }
        describe();
        super::metrics::begin();
        Some(Installed { prometheus: handle, board })
    });
    installed.is_some()
}

fn prometheus() -> Option<PrometheusRecorder> {
    let mut builder = PrometheusBuilder::new();
    for series in SERIES.iter().filter(|series| series.kind == Kind::Histogram) {
        builder = match builder.set_buckets_for_metric(Matcher::Full(series.name.to_owned()), series.buckets)
        {
            Ok(builder) => builder,
            Err(error) => {
                tracing::error!(%error, series = series.name, "metrics are not recorded: buckets refused");
                return None;
            }
        };
    }
    Some(builder.build_recorder())
}

fn describe() {
    for series in SERIES {
        match series.kind {
            Kind::Counter => metrics::describe_counter!(series.name, series.help),
            Kind::Gauge => metrics::describe_gauge!(series.name, series.help),
            Kind::Histogram => metrics::describe_histogram!(series.name, series.help),
        }
    }
}

/// Everything, in Prometheus's text format 0.0.4; empty without a recorder.
pub fn render() -> String {
    let installed = INSTALLED.get().and_then(Option::as_ref);
    installed.map(|installed| installed.prometheus.render()).unwrap_or_default()
}

/// Sorts what was measured into the histograms' buckets. To be done now and then where nobody reads them.
pub fn tidy() {
    if let Some(installed) = INSTALLED.get().and_then(Option::as_ref) {
        installed.prometheus.run_upkeep();
    }
}

/// Begins to collect for a pusher; none without a recorder.
pub fn tap() -> Option<Tap> {
    let installed = INSTALLED.get().and_then(Option::as_ref)?;
    let pile = Arc::new(Mutex::new(Pile::default()));
    installed.board.piles.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&pile));
    Some(Tap { board: Arc::clone(&installed.board), pile })
}

/// What one pusher has not sent yet.
#[derive(Debug, Default)]
struct Pile {
    counters: HashMap<Key, u64>,
    samples: HashMap<Key, Samples>,
}

/// Values of a histogram.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Those that were kept.
    pub kept: Vec<f64>,
    /// How many there were.
    pub seen: u64,
}

impl Samples {
    fn add(&mut self, value: f64) {
        self.seen = self.seen.saturating_add(1);
        if self.kept.len() < SAMPLES {
            self.kept.push(value);
            return;
        }
        // Each of those seen is as likely to be kept (Vitter's algorithm R).
        let at = rand::random_range(0..self.seen);
        if let Some(place) = usize::try_from(at).ok().and_then(|at| self.kept.get_mut(at)) {
            *place = value;
        }
    }
}

/// What is shared by the recorder and the pushers.
#[derive(Debug, Default)]
struct Board {
    gauges: Mutex<HashMap<Key, f64>>,
    piles: RwLock<Vec<Arc<Mutex<Pile>>>>,
}

impl Board {
    fn each(&self, mut with: impl FnMut(&mut Pile)) {
        for pile in self.piles.read().unwrap_or_else(PoisonError::into_inner).iter() {
            with(&mut pile.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn is_tapped(&self) -> bool {
        !self.piles.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// What was collected since it was taken last.
#[derive(Debug, Default)]
pub struct Collected {
    /// How much counters rose.
    pub counters: Vec<(Key, u64)>,
    /// How gauges stand.
    pub gauges: Vec<(Key, f64)>,
    /// What was measured.
    pub samples: Vec<(Key, Samples)>,
}

/// A pusher's collection; it ends when this is dropped.
#[derive(Debug)]
pub struct Tap {
    board: Arc<Board>,
    pile: Arc<Mutex<Pile>>,
}

impl Tap {
    /// Takes what was collected.
    pub fn take(&self) -> Collected {
        let pile = std::mem::take(&mut *self.pile.lock().unwrap_or_else(PoisonError::into_inner));
        let gauges = self.board.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        Collected {
            counters: pile.counters.into_iter().filter(|(_, n)| *n > 0).collect(),
            gauges: gauges.iter().map(|(key, value)| (key.clone(), *value)).collect(),
            samples: pile.samples.into_iter().collect(),
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut piles = self.board.piles.write().unwrap_or_else(PoisonError::into_inner);
        piles.retain(|pile| !Arc::ptr_eq(pile, &self.pile));
    }
}

/// The recorder: all to Prometheus, and what is pushed to the board.
struct Fan {
    prometheus: PrometheusRecorder,
    board: Arc<Board>,
}

impl Recorder for Fan {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.prometheus.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let inner = self.prometheus.register_counter(key, metadata);
        if !self.board.is_tapped() {
            return inner;
        }
        Counter::from_arc(Arc::new(Tapped { key: key.clone(), board: Arc::clone(&self.board), inner }))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let inner = self.prometheus.register_gauge(key, metadata);
        Gauge::from_arc(Arc::new(Tapped { key: key.clone(), board: Arc::clone(&self.board), inner }))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let inner = self.prometheus.register_histogram(key, metadata);
        if !self.board.is_tapped() {
            return inner;
        }
        Histogram::from_arc(Arc::new(Tapped { key: key.clone(), board: Arc::clone(&self.board), inner }))
    }
}

/// A series that is written on the board too.
struct Tapped<T> {
    key: Key,
    board: Arc<Board>,
    inner: T,
}

impl CounterFn for Tapped<Counter> {
    fn increment(&self, value: u64) {
        self.inner.increment(value);
        self.board.each(|pile| {
            let sum = pile.counters.entry(self.key.clone()).or_insert(0);
            *sum = sum.saturating_add(value);
        });
    }

    /// Nobody of ours sets a counter: how much that is more would not be known here.
    fn absolute(&self, value: u64) {
        self.inner.absolute(value);
    }
}

impl Tapped<Gauge> {
    fn change(&self, to: impl FnOnce(f64) -> f64) {
        let mut gauges = self.board.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        let value = gauges.entry(self.key.clone()).or_insert(0.0);
        *value = to(*value);
        // Under the lock, so that both agree.
        self.inner.set(*value);
    }
}

impl GaugeFn for Tapped<Gauge> {
    fn increment(&self, by: f64) {
        self.change(|value| value + by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| value - by);
    }

    fn set(&self, to: f64) {
        self.change(|_| to);
    }
}

impl HistogramFn for Tapped<Histogram> {
    fn record(&self, value: f64) {
        self.inner.record(value);
        self.board.each(|pile| pile.samples.entry(self.key.clone()).or_default().add(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::{counter, gauge, histogram, with_local_recorder};

    #[test]
    fn installing_twice_is_the_same_as_once() {
        assert!(install());
        assert!(install());
        let text = render();
        assert!(text.contains("# TYPE frontdesk_call_duration_seconds histogram"), "{text}");
        assert!(text.contains("frontdesk_call_duration_seconds_bucket{le=\"+Inf\"}"), "{text}");
        assert!(text.contains("# HELP frontdesk_calls_live Calls that are not over."), "{text}");
        assert!(text.contains("frontdesk_calls_refused_total{reason=\"lag\"}"), "it begins at zero: {text}");
        assert!(
            text.contains(&format!("frontdesk_build_info{{version=\"{}\"", env!("CARGO_PKG_VERSION"))),
            "{text}"
        );
    }

    #[test]
    fn each_pusher_gets_everything_once_and_nothing_from_before_it_began() {
        let board = Arc::new(Board::default());
        let fan = Fan { prometheus: prometheus().unwrap(), board: Arc::clone(&board) };
        let tap = || {
            let pile = Arc::new(Mutex::new(Pile::default()));
            board.piles.write().unwrap().push(Arc::clone(&pile));
            Tap { board: Arc::clone(&board), pile }
        };
        let counted = |tap: &Tap| tap.take().counters.iter().map(|(_, n)| *n).sum::<u64>();
        with_local_recorder(&fan, || {
            counter!("c").increment(5);
            gauge!("g").increment(2.0);
            let one = tap();
            counter!("c").increment(3);
            let other = tap();
            counter!("c").increment(4);
            gauge!("g").decrement(0.5);
            assert_eq!((counted(&one), counted(&other)), (7, 4));
            assert_eq!((counted(&one), counted(&other)), (0, 0));
            for value in 0..2_000 {
                histogram!("h").record(f64::from(value));
            }
            let collected = one.take();
            let (_, samples) = &collected.samples[0];
            assert_eq!((samples.kept.len(), samples.seen), (SAMPLES, 2_000));
            assert!(samples.kept.iter().any(|value| *value >= 512.0), "a sample of all, not the first ones");
            assert_eq!(collected.gauges, [(Key::from_name("g"), 1.5)], "as it stands, from the beginning on");
            drop(one);
            drop(other);
            assert!(!board.is_tapped());
        });
        let text = fan.prometheus.handle().render();
        assert!(text.contains("\nc 12") || text.contains("c 12\n"), "{text}");
    }
}
