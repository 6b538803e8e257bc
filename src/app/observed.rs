//! What the server tells of itself: collects what nobody tells, lets Prometheus read, pushes to StatsD.

use crate::api::gate::Gate;
use crate::api::metrics::{Refresh, Scrape, routes};
use crate::call::recorder::Recorder;
use crate::cluster::Cluster;
use crate::config::observe::ObserveConfig;
use crate::db::{DbHandle, DbStats};
use crate::observe::metrics::{self, Level, Share};
use crate::observe::statsd::{Dialect, Pusher, Pushing};
use crate::observe::{process, recorder};
use crate::registry::actor::Registry;
use crate::registry::messages::CountLive;
use crate::session::lag::Lags;
use crate::session::live::Live;
use actix::Addr;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use anyhow::Context as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often what nobody tells is looked at, where nobody asks.
const LOOK: Duration = Duration::from_secs(5);
/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who is asked for what nobody tells.
pub(super) struct Sources {
    pub(super) db: DbHandle,
    pub(super) registry: Addr<Registry>,
    pub(super) recorder: Option<Recorder>,
    pub(super) gate: Arc<Gate>,
    pub(super) live: Live,
    pub(super) lags: Arc<Lags>,
    pub(super) cluster: Cluster,
    pub(super) started: Instant,
}

/// What was told of counters that belong to somebody else.
#[derive(Debug, Default)]
struct Told {
    db: DbStats,
    frames: u64,
}

/// Collects it.
struct Sampler {
    sources: Sources,
    told: Mutex<Told>,
    calls: Share,
    limit: Share,
    queue: Share,
    spool: Share,
    blocks: Share,
    lagging: Share,
    ready: Share,
    cluster: Share,
}

impl Sampler {
    fn new(sources: Sources) -> Self {
        Self {
            sources,
            told: Mutex::default(),
            calls: Share::new(Level::CallsLive),
            limit: Share::new(Level::CallsLimit),
            queue: Share::new(Level::DbQueue),
            spool: Share::new(Level::Spool),
            blocks: Share::new(Level::RecorderQueue),
            lagging: Share::new(Level::Lagging),
            ready: Share::new(Level::Ready),
            cluster: Share::new(Level::Cluster),
        }
    }

    /// Brings everything up to date. Asks the registry without waiting for it, and the disk from another thread.
    async fn sample(self: Arc<Self>) {
        let s = &self.sources;
        let live = tokio::time::timeout(PATIENCE, s.registry.send(CountLive)).await;
        let live = live.ok().and_then(Result::ok);
        let limit = s.live.current().config.calls_at_once();
        let lagging = s.lags.lagging();
        self.calls.set(live.map_or(0, |live| live.open));
        self.limit.set(limit);
        self.lagging.set(usize::from(lagging));
        self.cluster.set(usize::from(*s.cluster.standing().borrow()));
        let room = live.is_some_and(|live| live.open < limit);
        self.ready.set(usize::from(room && !lagging && !s.gate.draining()));
        let asked = Arc::clone(&self);
        if web::block(move || asked.ask()).await.is_err() {
            tracing::warn!("metrics are not up to date: no thread to ask from");
        }
        recorder::tidy();
    }

    /// What needs no event loop.
    fn ask(&self) {
        let s = &self.sources;
        let stats = s.db.stats();
        let frames = s.recorder.as_ref().map_or(0, Recorder::dropped);
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            metrics::db_writes(
                stats.written.saturating_sub(told.db.written),
                stats.failed.saturating_sub(told.db.failed),
                stats.refused.saturating_sub(told.db.refused),
            );
            metrics::frames_dropped("recording", frames.saturating_sub(told.frames));
            *told = Told { db: stats, frames };
        }
        self.queue.set(stats.queued);
        self.spool.set(usize::try_from(s.db.spooled_bytes()).unwrap_or(usize::MAX));
        self.blocks.set(s.recorder.as_ref().map_or(0, Recorder::waiting));
        metrics::process(process::facts(), s.started.elapsed());
    }
}

/// Takes the port on which metrics are read. Before anything else is started: one that is taken is an error.
pub(super) fn listen(config: &ObserveConfig) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.metrics_listener() else { return Ok(None) };
    let listener = TcpListener::bind(address).with_context(|| {
        format!("METRICS_ADDR: cannot listen on {address} (`METRICS_ADDR=off` does without)")
    })?;
    Ok(Some(listener))
}

/// What runs for it.
pub(super) struct Observed {
    /// Where metrics are read.
    pub(super) address: Option<SocketAddr>,
    sampler: Arc<Sampler>,
    looking: actix_rt::task::JoinHandle<()>,
    listener: Option<ServerHandle>,
    pusher: Option<Pusher>,
}

impl Observed {
    /// Starts it.
    pub(super) fn start(
        config: &ObserveConfig,
        listener: Option<TcpListener>,
        sources: Sources,
    ) -> anyhow::Result<Self> {
        recorder::install();
        let sampler = Arc::new(Sampler::new(sources));
        let looked = Arc::clone(&sampler);
        let looking = actix_rt::spawn(async move {
            loop {
                Arc::clone(&looked).sample().await;
                tokio::time::sleep(LOOK).await;
            }
        });
        let address = listener.as_ref().map(TcpListener::local_addr).transpose().context("METRICS_ADDR")?;
        let scrape = Scrape { refresh: refresh(&sampler), token: None };
        let listener =
            listener.map(|listener| serve(listener, scrape)).transpose().context("METRICS_ADDR")?;
        if let Some(address) = address {
            tracing::info!(%address, "metrics are read at /metrics");
        }
        let pusher = match (config.statsd_addr.clone(), recorder::tap()) {
            (Some(to), Some(tap)) => {
                let dialect = Dialect::from_word(&config.statsd_format);
                let every = config.statsd_interval();
                let pushing = Pushing { to, dialect, prefix: config.statsd_prefix.clone(), every };
                Some(Pusher::start(pushing, tap).context("STATSD_ADDR: no thread to send from")?)
            }
            _ => None,
        };
        Ok(Self { address, sampler, looking, listener, pusher })
    }

    /// How metrics are read at the server's own port, if they are.
    pub(super) fn scrape(&self, config: &ObserveConfig) -> Option<Scrape> {
        let token = config.metrics_token.clone()?;
        Some(Scrape { refresh: refresh(&self.sampler), token: Some(token) })
    }

    /// Pushes what is left and ends.
    pub(super) async fn stop(self) {
        self.looking.abort();
        if let Some(listener) = self.listener {
            listener.stop(false).await;
        }
        Arc::clone(&self.sampler).sample().await;
        if let Some(pusher) = self.pusher
            && web::block(move || pusher.stop()).await.is_err()
        {
            tracing::warn!("the last metrics are not sent");
        }
    }
}

fn refresh(sampler: &Arc<Sampler>) -> Refresh {
    let sampler = Arc::downgrade(sampler);
    Arc::new(move || {
        let sampler = sampler.upgrade();
        Box::pin(async move {
            if let Some(sampler) = sampler {
                sampler.sample().await;
            }
        })
    })
}

/// A listener with a thread of its own: whoever reads metrics takes no time from calls.
fn serve(listener: TcpListener, scrape: Scrape) -> std::io::Result<ServerHandle> {
    let server = HttpServer::new(move || {
        let scrape = scrape.clone();
        App::new().configure(move |config| routes(config, scrape))
    });
    let server = server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run();
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "metrics are not read any more");
        }
    });
    Ok(handle)
}
