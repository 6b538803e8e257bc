//! The server: one function of a configuration and a listener, which production, `demo` and the tests call alike.

mod blueprint;
mod forsaken;
mod listen;
mod live;
mod observed;
mod reconcile;
mod relay;
pub mod tls;

use self::blueprint::Blueprint;
pub use self::blueprint::own_phrases;
use self::forsaken::Forsaken;
use self::listen::Listening;
use self::observed::{Observed, Sources};
use self::reconcile::Reconciler;
use crate::api;
use crate::api::gate::Gate;
use crate::api::openapi::Document;
use crate::call::recorder::{OnChange, Recorder};
use crate::call::services::CallServices;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::dashboard;
use crate::db::{Database, DbHandle, Presence, Write};
use crate::domain::audit::AuditEvent;
use crate::domain::ids::ReplicaId;
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use crate::domain::recording::RecordingState;
use crate::jobs::machine::Settings as JobSettings;
use crate::jobs::messages::{Stop, Wake};
use crate::jobs::recordings::House;
use crate::jobs::retention::{Recordings, Retention};
use crate::jobs::runner::JobRunner;
use crate::jobs::summary::Writers;
use crate::jobs::work::Work;
use crate::observe::clock::unix_now;
use crate::observe::feed::{Feed, FeedEvent};
use crate::provider::http::VendorTls;
use crate::registry::actor::{Listeners, OnEnded, Registry, limits, settings};
use crate::registry::messages::{CloseDoor, CountLive, LimitCalls, ShutDown};
use crate::registry::token::Tokens;
use crate::session::lag::Lags;
use crate::session::live::Live;
use crate::session::pace::Pace;
use crate::session::services::Services;
use crate::storage::store::Store;
use crate::twilio::address::PublicAddress;
use crate::twilio::rest::TwilioRest;
use crate::twilio::signature::Verifier;
use crate::twilio::tolls::TollGuard;
use actix::{Actor, Addr, Arbiter};
use actix_web::dev::ServerHandle;
use actix_web::dev::Service as _;
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use anyhow::Context as _;
use secrecy::SecretString;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tls::{Certificates, TlsFiles};
use utoipa_actix_web::AppExt as _;

/// How long a shutdown waits for calls to let go.
const LEAVE: Duration = Duration::from_secs(10);
/// How long it waits for jobs under way.
const JOBS: Duration = Duration::from_secs(5);
/// How long it waits for the database to note that we are gone.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often changes of other replicas are looked for.
const LOOK_FOR_CHANGES: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its live calls.
    pub registry: Addr<Registry>,
    /// Its database.
    pub db: DbHandle,
    /// What happens in its calls, and in those of the other replicas.
    pub feed: Feed,
    /// The other replicas.
    pub cluster: Cluster,
    /// What it tells of itself.
    observed: Observed,
    gate: Arc<Gate>,
    recorder: Option<Recorder>,
    database: Database,
    handle: ServerHandle,
    arbiter: Arbiter,
    /// Sees to it that changes are applied.
    keeper: actix_rt::task::JoinHandle<()>,
    /// Sees to it that the certificate is the one in its files.
    renewer: Option<actix_rt::task::JoinHandle<()>>,
    jobs: Addr<JobRunner>,
    jobs_arbiter: Arbiter,
    drain: Duration,
    handover: Duration,
    /// How long it takes until everybody knows that we are not ready.
    notice: Duration,
}

/// Starts the server on `listener`, with the other replicas that the configuration names. Everything it needs is checked
/// here; an error names what is wrong.
pub async fn run(config: Config, profile: BusinessProfile, listener: TcpListener) -> anyhow::Result<Server> {
    let id = ReplicaId::from_bits(rand::random());
    let cluster = Cluster::connect(&config.cluster, id).await?;
    run_among(cluster, config, profile, listener).await
}

/// Starts the server on `listener` as one of these replicas.
pub async fn run_among(
    cluster: Cluster,
    config: Config,
    profile: BusinessProfile,
    listener: TcpListener,
) -> anyhow::Result<Server> {
    let address = listener.local_addr().context("the listener has no address")?;
    let metrics_listener = observed::listen(&config.observe)?;
    let public = PublicAddress::parse(&config.server.base_url)?;
    let shared_key = config.twilio.shared_key_id.as_deref().zip(config.twilio.shared_key.as_ref());
    let verifier = Arc::new(Verifier::new(&config.server.base_url, &config.twilio.auth_token, shared_key)?);
    let mut secrets = config.server.secrets();
    if secrets.is_empty() {
        secrets.push(SecretString::from(random_secret()));
    }
    let tokens = Tokens::new(&secrets);
    let tls = vendor_tls(&config)?;
    let certificates = open_certificates(&config).await?;
    let public_tls = certificates.as_ref().map(Certificates::server).transpose().context("TLS_CERT")?;

    let database = open_database(&config, cluster.id().clone()).await?;
    let db = database.handle();
    // Before any call is let in: whose replica is not known belongs to nobody.
    let presence = Presence {
        id: cluster.id().clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        calls: 0,
        // As the registry says it then, until balancers may know of us.
        draining: config.server.notice_ms > 0,
    };
    db.heartbeat(presence).await.context("the database does not take note of this process")?;
    let feed = Feed::default();
    let profile = Arc::new(profile);
    let live = Live::new(config.clone(), Arc::clone(&profile));
    live.load(&db).await.context("the stored settings cannot be read")?;
    let tolls = Arc::new(TollGuard::new(&config.outbound, &config.twilio.phone_number));
    let recordings = Store::new(&config.recording).context("RECORDINGS_URL")?;
    let place = upload_place(&recordings).await?;
    let recorder = start_recorder(&config, &db, place.clone()).await?;
    let workers = match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let blueprint = Blueprint {
        config: share_of(&config, workers),
        profile,
        tls,
        db: db.clone(),
        feed: feed.clone(),
        recorder: recorder.clone(),
        cluster: cluster.clone(),
    };

    let arbiter = Arbiter::new();
    if let Some(place) = place.clone() {
        arbiter.spawn(crate::jobs::recordings::queue_waiting(db.clone(), recordings.clone(), place));
    }
    let jobs_arbiter = Arbiter::new();
    let jobs = start_jobs(&jobs_arbiter, blueprint.clone(), recordings.clone(), place).await?;
    let registry = start_registry(&arbiter, blueprint.clone(), jobs.clone(), public.clone()).await?;
    let started = Instant::now();
    let gate = Arc::new(Gate::new(&config, cluster.clone()));
    let factory_gate = Arc::clone(&gate);
    arbiter.spawn(Arc::clone(&gate).keep_tidy());
    arbiter.spawn(relay::share(&feed, &cluster));
    start_reconciler(&arbiter, blueprint.clone(), registry.clone(), public.go_on());
    let timeout = Duration::from_millis(config.server.tcp_user_timeout_ms);
    let keeper = keep_current(live.clone(), db.clone(), registry.clone(), &config);
    let factory_registry = registry.clone();
    let factory_jobs = jobs.clone();
    let factory_cluster = cluster.clone();
    let (busy_words, spent_words) = (busy_words(&blueprint.profile), spent_words(&blueprint.profile));
    let round = Duration::from_micros(blueprint.config.server.round_us);
    let lags = Arc::new(Lags::new(Duration::from_millis(config.server.max_lag_ms), workers));
    let sources = Sources {
        db: db.clone(),
        registry: registry.clone(),
        recorder: recorder.clone(),
        gate: Arc::clone(&gate),
        live: live.clone(),
        lags: Arc::clone(&lags),
        cluster: cluster.clone(),
        started,
    };
    let observed = Observed::start(&config.observe, metrics_listener, sources)?;
    let scrape = observed.scrape(&config.observe);
    let next_worker = Arc::new(AtomicUsize::new(0));
    let application = move || {
        let pace = Pace::new(round);
        actix_rt::spawn(Rc::clone(&pace).run());
        let worker = next_worker.fetch_add(1, Ordering::Relaxed) % workers;
        actix_rt::spawn(Lags::measure(Arc::downgrade(&lags), worker, Rc::clone(&pace)));
        let services = Services {
            call: Rc::new(blueprint.services()),
            registry: factory_registry.clone(),
            jobs: factory_jobs.clone(),
            pace,
            tokens: tokens.clone(),
            verifier: Arc::clone(&verifier),
            address: public.clone(),
            busy_words: busy_words.clone(),
            spent_words: spent_words.clone(),
            recordings: recordings.clone(),
            started,
            rest: TwilioRest::new(blueprint.clients().http, &blueprint.config.twilio),
            tolls: Arc::clone(&tolls),
            live: live.clone(),
            cluster: factory_cluster.clone(),
            lags: Arc::clone(&lags),
        };
        let workplace = Rc::new(live::Workplace::new(blueprint.clone(), workers, &live, services));
        let (app, described) = App::new()
            .into_utoipa_app()
            .openapi(api::openapi::beginning())
            .app_data(web::Data::from(Arc::clone(&factory_gate)))
            .configure(api::routes)
            .split_for_parts();
        app.app_data(web::Data::new(Document::new(described)))
            .configure(api::voice::routes)
            .configure(dashboard::routes)
            .configure(|routes| {
                if let Some(scrape) = scrape.clone() {
                    api::metrics::routes(routes, scrape);
                }
            })
            .default_service(web::to(api::openapi::no_route))
            .wrap(from_fn(api::gate::guard))
            // The outermost: nobody else has hold of the request yet.
            .wrap_fn(move |mut request, service| {
                request.add_data_container(workplace.data());
                service.call(request)
            })
    };
    let how = Listening { workers, user_timeout: timeout, tls: public_tls };
    let server = listen::serve(listener, how, application).context("the listener cannot be used")?;
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "server stopped");
        }
    });
    let look = Duration::from_millis(config.server.tls_check_ms);
    let renewer = certificates.map(|certificates| actix_rt::spawn(certificates.keep_current(look)));
    let replica = cluster.id();
    tracing::info!(%address, workers, tls = renewer.is_some(), %replica, "server is up");
    Ok(Server {
        address,
        gate,
        registry,
        db,
        feed,
        cluster,
        observed,
        recorder,
        database,
        handle,
        arbiter,
        keeper,
        renewer,
        jobs,
        jobs_arbiter,
        drain: Duration::from_millis(config.server.drain_ms),
        handover: Duration::from_millis(config.server.handover_ms),
        notice: Duration::from_millis(config.server.notice_ms),
    })
}

impl Server {
    /// Where its metrics are read, if they are.
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.observed.address
    }

    /// Lets no new call in and waits for those that need us, at most as long as configured; then stops. Where other
    /// replicas are there, calls let go of their streams at their next pause and go on at those. Calls that speak to a
    /// person are not waited for: another process hears how that ended. `hurry` ends the wait early; what was written is
    /// flushed all the same.
    pub async fn drain(self, hurry: impl Future<Output = ()>) {
        self.gate.drain();
        let mut hurry = std::pin::pin!(hurry);
        // A balancer learns at its next look that nothing more is to come here. Until then calls are let in, and none
        // lets go: its next stream could come back to us.
        let notice = if self.cluster.is_alone() { Duration::ZERO } else { self.notice };
        let hurried = tokio::select! {
            () = tokio::time::sleep(notice) => false,
            () = &mut hurry => true,
        };
        self.registry.send(CloseDoor { handover: self.handover }).await.ok();
        self.feed.close();
        if !hurried {
            let until_empty = async {
                while self.registry.send(CountLive).await.is_ok_and(|live| live.here > 0) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            tokio::select! {
                () = until_empty => {}
                () = tokio::time::sleep(self.drain) => tracing::warn!("the time to drain is over"),
                () = hurry => {}
            }
        }
        self.stop().await;
    }

    /// Has live calls let go of their streams, so that another process can go on with them, and stops. What was
    /// written is flushed.
    pub async fn stop(self) {
        self.feed.close();
        self.keeper.abort();
        if let Some(renewer) = &self.renewer {
            renewer.abort();
        }
        self.gate.drain();
        if tokio::time::timeout(LEAVE, self.registry.send(ShutDown)).await.is_err() {
            tracing::warn!("calls did not leave in time");
        }
        self.handle.stop(true).await;
        if let Some(recorder) = self.recorder
            && web::block(move || recorder.close()).await.is_err()
        {
            tracing::error!("the recordings could not be closed");
        }
        if self.jobs.send(Stop { limit: JOBS }).await.is_err() {
            tracing::error!("the runner of jobs is gone");
        }
        self.jobs_arbiter.stop();
        self.arbiter.stop();
        // Nobody has to wait for us to be found dead.
        match tokio::time::timeout(FAREWELL, self.database.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(code = error.code(), "the others are not told that we are gone"),
            Err(_) => tracing::warn!("the others are not told that we are gone: the database is slow"),
        }
        self.database.shutdown().await;
        // The last of all, so that nothing is missing.
        self.observed.stop().await;
        tracing::info!("server is down");
    }
}

/// What the calls of one thread share, without a server: for a conversation by keyboard.
pub struct Desk {
    database: Database,
    services: Rc<CallServices>,
}

impl Desk {
    /// The services.
    pub fn services(&self) -> Rc<CallServices> {
        Rc::clone(&self.services)
    }

    /// Closes the database.
    pub async fn close(self) {
        drop(self.services);
        self.database.shutdown().await;
    }
}

/// Puts the calls' services together on this thread.
pub async fn desk(config: Config, profile: BusinessProfile) -> anyhow::Result<Desk> {
    let tls = vendor_tls(&config)?;
    let cluster = Cluster::alone(ReplicaId::from_bits(rand::random()));
    let database = open_database(&config, cluster.id().clone()).await?;
    let blueprint = Blueprint {
        config,
        profile: Arc::new(profile),
        tls,
        db: database.handle(),
        feed: Feed::default(),
        recorder: None,
        cluster,
    };
    Ok(Desk { services: Rc::new(blueprint.services()), database })
}

/// The configuration of one of so many workers: what is limited for the process is shared out among them.
fn share_of(config: &Config, workers: usize) -> Config {
    let mut share = config.clone();
    for limit in [&mut share.tts.max_concurrent, &mut share.llm.max_concurrent] {
        *limit = limit.div_ceil(workers.max(1));
    }
    share
}

/// TLS to the vendors, with the further authorities.
fn vendor_tls(config: &Config) -> anyhow::Result<VendorTls> {
    let extra_ca = match &config.server.tls_extra_ca {
        Some(path) => Some(std::fs::read(path).with_context(|| format!("TLS_EXTRA_CA: cannot read {path}"))?),
        None => None,
    };
    VendorTls::new(extra_ca.as_deref()).context("TLS_EXTRA_CA")
}

/// The certificate of the public port, if it has one.
async fn open_certificates(config: &Config) -> anyhow::Result<Option<Arc<Certificates>>> {
    let Some(files) = TlsFiles::of(config) else { return Ok(None) };
    let opened = web::block(move || Certificates::open(files)).await;
    Ok(Some(opened.context("the certificate's thread was stopped")??))
}

async fn open_database(config: &Config, me: ReplicaId) -> anyhow::Result<Database> {
    let settings = config.database.clone();
    // The database starts its writer on an arbiter of its own, which has to belong to this system.
    let system = actix::System::current();
    web::block(move || {
        actix::System::set_current(system);
        Database::open(&settings, me)
    })
    .await
    .context("the database's thread was stopped")?
    .context("the database cannot be opened")
}

/// Applies what staff change where it does not come with a request. Where other replicas share the database, what was
/// changed at them is looked for now and then.
fn keep_current(
    live: Live,
    db: DbHandle,
    registry: Addr<Registry>,
    config: &Config,
) -> actix_rt::task::JoinHandle<()> {
    let shared = config.database.sqlite_path().is_none();
    let mut changes = live.watch();
    changes.mark_changed();
    actix_rt::spawn(async move {
        loop {
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    registry.do_send(LimitCalls(live.current().config.calls_at_once()));
                }
                () = tokio::time::sleep(LOOK_FOR_CHANGES), if shared => {
                    if let Err(error) = live.load(&db).await {
                        tracing::warn!(%error, "changes of other replicas are not known");
                    }
                }
            }
        }
    })
}

/// Names the disk from which recordings are uploaded, if they are: only what lies on it can be uploaded from here.
async fn upload_place(recordings: &Store) -> anyhow::Result<Option<String>> {
    if !recordings.uploads() {
        return Ok(None);
    }
    let recordings = recordings.clone();
    let place = web::block(move || recordings.place()).await.context("the disk's thread was stopped")?;
    Ok(Some(place.context("recording.spool: recordings cannot be kept there until they are uploaded")?))
}

/// Starts the recorder, if calls are recorded.
async fn start_recorder(
    config: &Config,
    db: &DbHandle,
    upload_from: Option<String>,
) -> anyhow::Result<Option<Recorder>> {
    if !config.recording.enabled {
        return Ok(None);
    }
    let (settings, db) = (config.recording.clone(), db.clone());
    let on_change: OnChange = Box::new(move |recording| {
        if recording.state != RecordingState::Recording {
            let detail = serde_json::json!({ "state": recording.state, "ms": recording.ms });
            let event = AuditEvent::new("recording.stopped", detail);
            let stopped = Write::Event { sid: recording.sid.clone(), at: unix_now(), event };
            if let Err(refused) = db.record(stopped) {
                tracing::error!(error = %refused, "the end of a recording is missing from the audit trail");
            }
        }
        let upload_from = upload_from.clone();
        if let Err(refused) = db.record(Write::Recording { recording, upload_from, at: unix_now() }) {
            tracing::error!(error = %refused, "a recording's standing is not written");
        }
    });
    let folder = settings.folder().to_owned();
    let recorder = web::block(move || Recorder::start(&settings, on_change))
        .await
        .context("the recorder's thread was stopped")?
        .with_context(|| format!("RECORDINGS_URL: no recording can be kept in {folder}"))?;
    Ok(Some(recorder))
}

async fn start_registry(
    arbiter: &Arbiter,
    blueprint: Blueprint,
    jobs: Addr<JobRunner>,
    address: PublicAddress,
) -> anyhow::Result<Addr<Registry>> {
    let (tell, told) = tokio::sync::oneshot::channel();
    arbiter.spawn_fn(move || {
        let db = blueprint.db.clone();
        let feed = blueprint.feed.clone();
        let recorder = blueprint.recorder.clone();
        let woken = jobs.clone();
        let ended: OnEnded = Box::new(move |facts, reason, _| {
            if let Some(recorder) = &recorder {
                recorder.finish(&facts.sid);
            }
            feed.tell(FeedEvent::Ended { sid: facts.sid.clone(), reason });
            // A wish that finds the mailbox full is one of many that say the same.
            let _ = jobs.try_send(Wake);
        });
        let rest = TwilioRest::new(blueprint.clients().http, &blueprint.config.twilio);
        let twilio = Forsaken::new(rest, &address);
        let forsaken = Box::new(move |calls, registry: &Addr<Registry>| {
            twilio.ask(calls, registry);
            // Whoever had the calls had jobs too.
            let _ = woken.try_send(Wake);
        });
        let config = &blueprint.config;
        let listeners = Listeners { ended, forsaken };
        let cluster = blueprint.cluster.clone();
        let registry = Registry::new(limits(config), db, cluster, settings(config), listeners).start();
        let _ = tell.send(registry);
    });
    told.await.context("the registry's thread was stopped")
}

/// Starts comparing live calls with Twilio's, if that is wanted.
fn start_reconciler(arbiter: &Arbiter, blueprint: Blueprint, registry: Addr<Registry>, go_on: String) {
    let every = Duration::from_millis(blueprint.config.twilio.reaper_ms);
    let Ok(number) = PhoneNumber::from_e164(&blueprint.config.twilio.phone_number) else { return };
    if every.is_zero() {
        return;
    }
    arbiter.spawn_fn(move || {
        let reconciler = Reconciler {
            rest: TwilioRest::new(blueprint.clients().http, &blueprint.config.twilio),
            registry,
            db: blueprint.db.clone(),
            number,
            go_on,
        };
        actix_rt::spawn(reconciler.run(every));
    });
}

async fn start_jobs(
    arbiter: &Arbiter,
    blueprint: Blueprint,
    store: Store,
    place: Option<String>,
) -> anyhow::Result<Addr<JobRunner>> {
    let (tell, told) = tokio::sync::oneshot::channel();
    arbiter.spawn_fn(move || {
        let config = &blueprint.config;
        let house: Rc<dyn Recordings> = Rc::new(House { db: blueprint.db.clone(), store: store.clone() });
        let work = Work {
            db: blueprint.db.clone(),
            writers: Writers::new(blueprint.summary_models(&blueprint.clients())),
            retention: Retention::new(config.retention.clone(), Some(house)),
            prices: config.prices.clone(),
            recordings: store,
            place,
        };
        let runner = JobRunner::new(JobSettings::from(&config.jobs), work).start();
        let _ = tell.send(runner);
    });
    told.await.context("the jobs' thread was stopped")
}

fn random_secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

fn busy_words(profile: &BusinessProfile) -> String {
    format!(
        "Thank you for calling {}. All lines are busy right now. Please call again in a few minutes.",
        profile.name
    )
}

fn spent_words(profile: &BusinessProfile) -> String {
    format!(
        "Thank you for calling {}. We are sorry, we cannot take any more calls today. Please call again tomorrow.",
        profile.name
    )
}

#[cfg(test)]
mod tests;
