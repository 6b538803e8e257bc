//! Everything a drill runs on: databases, replicas, the balancer, the vendors; and what the callers' reports say of it.

use super::crowd::{Caller, Crowd, Placed};
use super::judge::{Disturbance, Recorded, Verdict, judge};
use super::replica::{Common, Replica};
use super::services::{Balancer, Postgres, Redis};
use super::talk::{self, Item};
use crate::cli::local::free_port;
use crate::cli::simulate::Scratch;
use crate::cli::stack;
use crate::config::database::DatabaseConfig;
use crate::config::profile::{self, BARBERSHOP};
use crate::db::{Database, DbHandle};
use crate::domain::ids::{CallSid, ReplicaId};
use crate::sim::caller::CallConfig;
use crate::sim::script::Script;
use crate::sim::vendors::brain::BrainMode;
use crate::sim::vendors::{Vendors, VendorsConfig, VendorsHandle};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long the database may take to hold all that was said after the last call is over.
const WRITTEN: Duration = Duration::from_secs(60);
/// How long the balancer may take to see that a replica has come or gone: two of its looks, and some.
const LOOKED: Duration = Duration::from_millis(2_500);
/// Questions that callers have at most.
const QUESTIONS: usize = 300;

/// What a fleet is made of.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The program.
    pub program: PathBuf,
    /// How many replicas.
    pub replicas: usize,
    /// An empty PostgreSQL database; one is started if not given.
    pub database_url: Option<String>,
    /// A Redis; one is started if not given.
    pub redis_url: Option<String>,
    /// Further settings of all replicas.
    pub environment: Vec<(String, String)>,
}

/// A fleet under way. Everything goes with it.
pub struct Fleet {
    /// The simulated vendors.
    pub vendors: VendorsHandle,
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// Known to the balancer, and not running: the next one to come before one goes.
    spare: Replica,
    /// What callers may ask.
    pub items: Vec<Item>,
    /// The database, reached past all wires.
    pub db: DbHandle,
    /// Where it is.
    pub database: DatabaseConfig,
    /// Callers so far: no two have one number.
    numbers: usize,
    public: String,
    opened: Option<Database>,
    _balancer: Balancer,
    _redis: Option<Redis>,
    _postgres: Option<Postgres>,
    // Last: the files go when nobody writes them any more.
    folder: Scratch,
}

/// Something that was done to the replicas, by the clock.
#[derive(Clone, Debug)]
pub struct Deed {
    /// To which; to all if not given.
    pub replica: Option<String>,
    /// When it began.
    pub from: Instant,
    /// When it was over.
    pub until: Instant,
    /// Whether connections stayed as they were.
    pub silent: bool,
    /// Whether the replica could not say goodbye.
    pub abrupt: bool,
    /// How long a caller may be alone because of it.
    pub allowed: Duration,
}

/// A replica that went because it was told to.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Which.
    pub replica: String,
    /// When it was told.
    pub told: Instant,
    /// How long it took.
    pub took: Duration,
}

/// A call that was judged.
#[derive(Debug)]
pub struct Judged {
    /// The call.
    pub placed: Placed,
    /// What the database holds of it.
    pub recorded: Recorded,
    /// What there is to say against it.
    pub verdict: Verdict,
}

impl Fleet {
    /// Starts everything and waits until all replicas are ready.
    pub async fn start(config: &FleetConfig) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let mut settings = VendorsConfig::default();
        settings.openai.brain = BrainMode::Script(talk::brain(today()?));
        settings.keep_seen = 4_096;
        let vendors = Vendors::start(stack::knowing_the_account(settings), None)
            .context("the simulated vendors do not start")?;
        let postgres = match &config.database_url {
            Some(_) => None,
            None => Some(Postgres::start(folder.path()).await?),
        };
        let redis = match &config.redis_url {
            Some(_) => None,
            None => Some(Redis::start(folder.path()).await?),
        };
        let own_url = |own: Option<&String>, given: &Option<String>| own.or(given.as_ref()).cloned();
        let database_url = own_url(postgres.as_ref().map(|p| &p.url), &config.database_url);
        let redis_url = own_url(redis.as_ref().map(|r| &r.url), &config.redis_url);
        let port = free_port()?;
        let public = format!("http://127.0.0.1:{port}");
        let common = Common {
            program: config.program.clone(),
            folder: folder.path().to_owned(),
            database_url: database_url.context("there is no database")?,
            redis_url: redis_url.context("there is no Redis")?,
            environment: environment(&vendors, &public, folder.path(), &config.environment)?,
        };
        let spare = Replica::new("spare", &common)?;
        let mut replicas = Vec::new();
        for name in ('a'..='z').take(config.replicas) {
            replicas.push(Replica::new(&name.to_string(), &common)?);
        }
        let servers: Vec<_> =
            replicas.iter().chain([&spare]).map(|replica| (replica.name.clone(), replica.port)).collect();
        // One after the other: the first migrates.
        for replica in &mut replicas {
            replica.start()?;
            replica.until_ready().await?;
        }
        let balancer = Balancer::start(folder.path(), port, &servers).await?;
        // The balancer takes everybody for present until it has looked twice.
        sleep(LOOKED).await;
        let database = DatabaseConfig {
            url: common.database_url.clone(),
            // What waits for the database is the replicas' business.
            spool: Some(folder.path().join("none").display().to_string()),
            migrate: false,
            ..DatabaseConfig::default()
        };
        let opened = open(&database).await?;
        Ok(Self {
            vendors,
            replicas,
            spare,
            items: talk::items(QUESTIONS),
            db: opened.handle(),
            database,
            numbers: 0,
            public,
            opened: Some(opened),
            _balancer: balancer,
            _redis: redis,
            _postgres: postgres,
            folder,
        })
    }

    /// A replica.
    pub fn replica(&mut self, index: usize) -> anyhow::Result<&mut Replica> {
        self.replicas.get_mut(index).with_context(|| format!("there is no replica {index}"))
    }

    /// The replica of this name.
    pub fn named(&mut self, name: &str) -> anyhow::Result<&mut Replica> {
        let found = self.replicas.iter_mut().find(|replica| replica.name == name);
        found.with_context(|| format!("there is no replica {name:?}"))
    }

    /// Starts what does not run, and waits until all are ready.
    pub async fn mend(&mut self) -> anyhow::Result<()> {
        self.vendors.faults.clear();
        self.vendors.faults.clear_violations();
        for replica in &mut self.replicas {
            replica.set_database(super::cable::Way::Open);
            replica.set_redis(super::cable::Way::Open);
            if !replica.is_running() {
                replica.start()?;
            }
            replica.until_ready().await?;
        }
        // The balancer believes it at its next look.
        sleep(LOOKED).await;
        Ok(())
    }

    /// Restarts a replica as Kubernetes' rolling update does (`maxSurge: 1`): its successor, of another program if one is
    /// given, is there before it is told to go. Tells who went, and when.
    pub async fn replace(&mut self, index: usize, next: Option<&Path>) -> anyhow::Result<Gone> {
        if let Some(next) = next {
            self.spare.upgrade(next);
        }
        self.spare.start()?;
        self.spare.until_ready().await?;
        sleep(LOOKED).await;
        let old = self.replicas.get_mut(index).with_context(|| format!("there is no replica {index}"))?;
        let told = Instant::now();
        let took = old.stop().await?;
        let gone = Gone { replica: old.name.clone(), told, took };
        std::mem::swap(old, &mut self.spare);
        Ok(gone)
    }

    /// How callers reach it.
    fn call(&self) -> CallConfig {
        let mut call = stack::caller(&self.public);
        call.network = Some(self.vendors.calls.clone());
        call
    }

    /// A caller who rings `after` the crowd's beginning.
    pub fn caller(&mut self, script: &Arc<Script>, after: Duration) -> Caller {
        self.numbers += 1;
        let sid = format!("CA{:032x}", rand::random::<u128>());
        Caller { script: Arc::clone(script), after, number: self.numbers, sid }
    }

    /// So many callers who ask until it is enough, begun over so long.
    pub fn askers(&mut self, calls: usize, over: Duration) -> Vec<Caller> {
        let script = Arc::new(talk::asks(&self.items));
        let each = over.checked_div(u32::try_from(calls.max(1)).unwrap_or(u32::MAX)).unwrap_or_default();
        (0..calls)
            .map(|n| self.caller(&script, each.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX))))
            .collect()
    }

    /// Has callers ring.
    pub fn ring(&self, callers: Vec<Caller>) -> anyhow::Result<Crowd> {
        Crowd::start(&self.call(), callers)
    }

    /// Waits until the database holds the end of each call, and judges them all.
    pub async fn judge(&self, placed: Vec<Placed>, deeds: &[Deed]) -> anyhow::Result<Vec<Judged>> {
        let deadline = Instant::now() + WRITTEN;
        let mut judged = Vec::new();
        for placed in placed {
            let sid = CallSid::from(placed.report.call_sid.as_str());
            let recorded = loop {
                let recorded = self.recorded(&sid).await?;
                if recorded.end_reason.is_some() || Instant::now() > deadline {
                    break recorded;
                }
                sleep(Duration::from_millis(100)).await;
            };
            let since = |at: Instant| {
                let after = at.saturating_duration_since(placed.began).as_secs_f64();
                (after - placed.began.saturating_duration_since(at).as_secs_f64()) * 1_000.0
            };
            let disturbances: Vec<Disturbance> = deeds
                .iter()
                .map(|deed| Disturbance {
                    replica: deed.replica.clone(),
                    from_ms: since(deed.from),
                    until_ms: since(deed.until),
                    silent: deed.silent,
                    abrupt: deed.abrupt,
                    allowed_ms: deed.allowed.as_secs_f64() * 1_000.0,
                })
                .collect();
            let verdict = judge(&placed.report, &self.items, &recorded, &disturbances);
            judged.push(Judged { placed, recorded, verdict });
        }
        Ok(judged)
    }

    async fn recorded(&self, sid: &CallSid) -> anyhow::Result<Recorded> {
        let overview = self.db.call_overview(sid.clone()).await.context("the calls cannot be read")?;
        let turns = self.db.turns(sid.clone()).await.context("the turns cannot be read")?;
        let events = self.db.events(sid.clone()).await.context("the audit trail cannot be read")?;
        Ok(Recorded {
            turns,
            end_reason: overview.and_then(|call| call.end_reason),
            ends: events.iter().filter(|stored| stored.event.code == "call.ended").count(),
        })
    }

    /// Copies what the programs have printed to `to`.
    pub fn keep_logs(&self, to: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
        let mut logs: Vec<(String, PathBuf)> =
            self.replicas.iter().chain([&self.spare]).map(|each| (each.name.clone(), each.log())).collect();
        for name in ["postgres", "redis", "haproxy"] {
            logs.push((name.to_owned(), self.folder.path().join(name).join("log")));
        }
        for (name, log) in logs.into_iter().filter(|(_, log)| log.exists()) {
            let kept = to.join(format!("{name}.log"));
            std::fs::copy(&log, &kept).with_context(|| format!("cannot write {}", kept.display()))?;
        }
        Ok(())
    }

    /// Ends everything.
    pub async fn stop(mut self) {
        if let Some(opened) = self.opened.take() {
            opened.shutdown().await;
        }
        for replica in self.replicas.iter_mut().chain([&mut self.spare]) {
            if let Err(error) = replica.kill() {
                tracing::warn!(%error, "a replica is left behind");
            }
        }
    }
}

/// Today at the business of the drills.
fn today() -> anyhow::Result<jiff::civil::Date> {
    let profile = profile::parse(BARBERSHOP).map_err(|_| anyhow::anyhow!("the built-in business"))?;
    Ok(jiff::Timestamp::now().in_tz(&profile.timezone).context("the business's time zone")?.date())
}

/// The settings of all replicas.
fn environment(
    vendors: &VendorsHandle,
    public: &str,
    folder: &Path,
    more: &[(String, String)],
) -> anyhow::Result<Vec<(String, String)>> {
    let profile = folder.join("profile.json");
    let business = talk::business(BARBERSHOP).context("the built-in business")?;
    std::fs::write(&profile, business).with_context(|| format!("cannot write {}", profile.display()))?;
    let mut environment: Vec<(String, String)> =
        stack::environment(vendors).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let own = [
        ("BASE_URL", public.to_owned()),
        ("BUSINESS_PROFILE", profile.display().to_string()),
        ("FRONTDESK_SECRET", "the-replicas-of-a-drill-share-this-secret".to_owned()),
        ("FRONTDESK_CLUSTER_PREFIX", format!("drill{:08x}", rand::random::<u32>())),
        ("FRONTDESK_SERVER_WORKERS", "1".to_owned()),
        ("FRONTDESK_SERVER_MAX_CALLS", "2000".to_owned()),
        ("TRUSTED_PROXIES", "127.0.0.1".to_owned()),
        ("RUST_LOG", "info".to_owned()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    environment.extend(more.iter().cloned());
    Ok(environment)
}

/// Opens the database beside the replicas.
async fn open(config: &DatabaseConfig) -> anyhow::Result<Database> {
    let config = config.clone();
    // The database starts its writer on an arbiter of its own, which has to belong to this system.
    let system = actix::System::current();
    actix_web::web::block(move || {
        actix::System::set_current(system);
        Database::open(&config, ReplicaId::from_bits(rand::random()))
    })
    .await
    .context("the database's thread was stopped")?
    .context("the database cannot be opened")
}
