//! A server in a process of its own, with simulated vendors in this one: what loads and soaks are measured on.

use super::cores::Split;
use super::local::{free_port, get};
use super::simulate::Scratch;
use super::stack;
use crate::config::profile::BARBERSHOP;
use crate::sim::caller::CallConfig;
use crate::sim::load::VendorTimes;
use crate::sim::vendors::brain::BrainMode;
use crate::sim::vendors::{Vendors, VendorsConfig, VendorsHandle};
use anyhow::Context as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to come up.
const STARTUP: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const ANSWERING: Duration = Duration::from_secs(5);
/// How long it may take to stop when no call is live.
const STOPPING: Duration = Duration::from_secs(60);
/// The model's answer: one sentence, so that its first piece is the whole of it.
const ANSWER: &str = "We are open from nine in the morning until seven in the evening.";

/// The settings of how much may go on at once. Who rings again is counted twice for a moment.
const ROOM: [&str; 4] = [
    "FRONTDESK_SERVER_MAX_CALLS",
    "FRONTDESK_STT_MAX_CONCURRENT",
    "FRONTDESK_TTS_MAX_CONCURRENT",
    "FRONTDESK_LLM_MAX_CONCURRENT",
];

/// How the server is to be.
#[derive(Clone, Debug, Default)]
pub struct OwnServerConfig {
    /// Calls at once that it has to let in.
    pub calls: u32,
    /// Whether it reaches its vendors over TLS.
    pub tls: bool,
    /// Whether it records its calls.
    pub record: bool,
    /// Whether it has one core to itself, and everything else the others.
    pub pin: Option<Split>,
}

/// A running server. It is killed when this is dropped.
pub struct OwnServer {
    child: Child,
    /// Its vendors.
    pub vendors: VendorsHandle,
    /// How long they take.
    pub times: VendorTimes,
    url: String,
    metrics: u16,
    folder: Scratch,
}

impl OwnServer {
    /// Starts vendors and server, and waits until it answers.
    pub fn start(config: &OwnServerConfig) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        if let Some(split) = &config.pin {
            split.keep_to_rest()?;
        }
        let mut settings = VendorsConfig::default();
        if config.tls {
            settings = settings.with_tls(folder.path()).context("no authority for TLS")?;
        }
        settings.openai.brain = BrainMode::Fixed { text: ANSWER.into() };
        settings.openai.token_ms = 0;
        let times = VendorTimes::of(&settings, 300);
        let vendors = Vendors::start(stack::knowing_the_account(settings), None)?;
        let profile = folder.path().join("profile.json");
        std::fs::write(&profile, BARBERSHOP)?;
        let (port, metrics) = (free_port()?, free_port()?);
        let url = format!("http://127.0.0.1:{port}");
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let mut command = Command::new(program);
        command
            .arg("serve")
            .envs(stack::environment(&vendors))
            .env("PORT", port.to_string())
            .env("HOST", "127.0.0.1")
            .env("BASE_URL", &url)
            .env("DATABASE_URL", format!("sqlite://{}", folder.path().join("frontdesk.db").display()))
            .env("BUSINESS_PROFILE", &profile)
            .env("METRICS_ADDR", format!("127.0.0.1:{metrics}"))
            .env("RECORDING", config.record.to_string())
            .env("RECORDINGS_URL", folder.path().join("recordings"))
            .env("RUST_LOG", "warn")
            .envs(ROOM.map(|name| (name, config.calls.saturating_mul(2).max(500).to_string())))
            .current_dir(folder.path())
            .stdin(Stdio::null());
        let spawned = match &config.pin {
            Some(split) => split.on_servers_core(|| command.spawn())?,
            None => command.spawn(),
        };
        let child = spawned.context("the server's process does not start")?;
        let mut server = Self { child, vendors, times, url, metrics, folder };
        server.wait_until_up(port)?;
        Ok(server)
    }

    fn wait_until_up(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTUP;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the server ended at once: {status}");
            }
            if get(port, "/api/health", ANSWERING).is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the server does not come up")
    }

    /// How it is called.
    pub fn caller(&self) -> anyhow::Result<CallConfig> {
        let mut call = stack::caller(&self.url);
        call.network = Some(self.vendors.calls.clone());
        call.trust = stack::trust(&self.vendors)?;
        Ok(call)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has measured, in Prometheus's text format.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> anyhow::Result<String> {
        get(self.metrics, "/metrics", ANSWERING).context("the server's metrics cannot be read")
    }

    /// Its database's file.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("frontdesk.db")
    }

    /// Tells it to stop, and waits until it has.
    ///
    /// # Errors
    /// When it does not stop, or says that something went wrong.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status();
        anyhow::ensure!(told.is_ok_and(|told| told.success()), "the server cannot be told to stop");
        let deadline = Instant::now() + STOPPING;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the server does not stop")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
