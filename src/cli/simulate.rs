//! `frontdesk simulate`: the vendors alone, or one call by a script; and what its other commands share.

use super::stack::{self, Stack};
use super::{CallArgs, VendorsArgs, data, environment};
use crate::config::server::ServerConfig;
use crate::sim::authority::Trust;
use crate::sim::caller::{CallConfig, run_call};
use crate::sim::script::Script;
use crate::sim::vendors::{Vendors, VendorsConfig};
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the vendors until interrupted.
pub fn vendors(args: &VendorsArgs) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(("127.0.0.1", args.port))
        .with_context(|| format!("cannot listen on 127.0.0.1:{}", args.port))?;
    let folder = Scratch::new()?;
    let mut settings = stack::knowing_the_account(VendorsConfig::default().with_real_speech());
    if args.tls {
        settings = settings.with_tls(folder.path()).context("no authority for TLS")?;
    }
    let vendors = Vendors::start(settings, Some(listener))?;
    println!("Simulated Deepgram, ElevenLabs, OpenAI and Twilio are up. Point a server at them with:");
    for (name, value) in stack::environment(&vendors) {
        println!("{name}={value}");
    }
    println!("Faults: POST {}/_sim/faults; counters: GET /_sim/stats. Ctrl-C ends it.", vendors.deepgram_url);
    actix_web::rt::System::new().block_on(async {
        tokio::signal::ctrl_c().await.context("no signal handler")?;
        vendors.stop();
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads a script: a file, or the name of a built-in one.
pub fn script(path: &Path) -> anyhow::Result<Script> {
    if let Some(script) = path.to_str().and_then(Script::embedded) {
        return Ok(script);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Script::parse(&text).with_context(|| path.display().to_string())
}

/// How to reach a running server: its account and token are this environment's, else the simulator's.
pub fn running(url: &str) -> anyhow::Result<CallConfig> {
    let config = environment::read().load().config;
    let trust = match &config.server.tls_extra_ca {
        Some(path) => {
            Trust::with(Path::new(path)).with_context(|| format!("TLS_EXTRA_CA: cannot trust {path}"))?
        }
        None => Trust::default(),
    };
    if config.twilio.auth_token.expose_secret().is_empty() {
        return Ok(CallConfig { trust, ..stack::caller(url) });
    }
    let mut call = CallConfig::new(url, config.twilio.auth_token.clone());
    call.trust = trust;
    // Signatures are made over the public address; where none is configured, it is the one that is called.
    let unset = ServerConfig::default().base_url;
    call.public_url = Some(config.server.base_url.clone()).filter(|public| public != url && *public != unset);
    call.account_sid = config.twilio.account_sid.clone();
    call.to = config.twilio.phone_number.clone();
    Ok(call)
}

/// Places one call and prints how it went.
pub fn call(args: &CallArgs) -> anyhow::Result<ExitCode> {
    let script = script(&args.script)?;
    actix_web::rt::System::new().block_on(async {
        let report = match &args.url {
            Some(url) => run_call(&running(url)?, &script).await,
            None => {
                let folder = Scratch::new()?;
                let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port on 127.0.0.1")?;
                let stack = Stack::start(
                    listener,
                    &folder.0.join("frontdesk.db"),
                    data::business(None)?,
                    VendorsConfig::default().with_real_speech(),
                    |_| {},
                )
                .await?;
                let report = run_call(&stack.caller(), &script).await;
                stack.stop().await;
                report
            }
        };
        print!("{report}");
        Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// A folder that goes when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A new one below the system's temporary folder.
    pub fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("frontdesk-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
