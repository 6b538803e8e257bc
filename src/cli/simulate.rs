//! `frontdesk simulate`: the vendors alone, one call by a script, or many calls at once.

use super::stack::{self, Stack};
use super::{CallArgs, LoadArgs, VendorsArgs, data, environment};
use crate::config::profile::BARBERSHOP;
use crate::config::server::ServerConfig;
use crate::sim::authority::Trust;
use crate::sim::caller::{CallConfig, run_call};
use crate::sim::load::{LoadConfig, VendorTimes, run_load};
use crate::sim::script::Script;
use crate::sim::vendors::brain::BrainMode;
use crate::sim::vendors::{Vendors, VendorsConfig, VendorsHandle};
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long the server of a load test may take to come up.
const STARTUP: Duration = Duration::from_secs(30);
/// The model's answer in a load test: one sentence, so that its first piece is the whole of it.
const ANSWER: &str = "We are open from nine in the morning until seven in the evening.";

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
fn script(path: &Path) -> anyhow::Result<Script> {
    if let Some(script) = path.to_str().and_then(Script::embedded) {
        return Ok(script);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Script::parse(&text).with_context(|| path.display().to_string())
}

/// How to reach a running server: its account and token are this environment's, else the simulator's.
fn running(url: &str) -> anyhow::Result<CallConfig> {
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

/// Places many calls and prints what they met with.
pub fn load(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let script = match &args.script {
        Some(path) => script(path)?,
        None => Script::embedded("load").context("the built-in script is missing")?,
    };
    let mut own = None;
    let mut config = match &args.url {
        Some(url) => {
            let mut config = LoadConfig::new(running(url)?, script, args.calls as usize);
            config.pid = args.pid;
            config.vendors_url = args.vendors_url.clone();
            config
        }
        None => {
            let server = OwnServer::start(args.calls, args.tls)?;
            let mut config = LoadConfig::new(server.caller()?, script, args.calls as usize);
            config.pid = Some(server.child.id());
            config.vendors_url = Some(server.vendors.deepgram_url.clone());
            config.vendors = server.times;
            own = Some(server);
            config
        }
    };
    config.ramp = Duration::from_millis(u64::from(args.calls) * 25).max(Duration::from_secs(2));
    config.duration = Duration::from_secs(u64::from(args.seconds));
    eprintln!("{} calls at once for {} s against {} …", args.calls, args.seconds, config.call.base_url);
    let report = run_load(&config)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    if let Some(server) = own {
        server.stop();
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// A server in a process of its own, with vendors in this one.
struct OwnServer {
    child: Child,
    vendors: VendorsHandle,
    times: VendorTimes,
    url: String,
    _folder: Scratch,
}

impl OwnServer {
    fn start(calls: u32, tls: bool) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let mut settings = VendorsConfig::default();
        if tls {
            settings = settings.with_tls(folder.path()).context("no authority for TLS")?;
        }
        settings.openai.brain = BrainMode::Fixed { text: ANSWER.into() };
        settings.openai.token_ms = 0;
        let times = VendorTimes {
            endpointing_ms: 300.0,
            stt_delay_ms: settings.deepgram.listen.stt_delay_ms as f64,
            first_token_ms: settings.openai.first_token_ms as f64,
            first_piece_ms: 0.0,
            tts_first_byte_ms: settings.elevenlabs.timing.first_byte_ms as f64,
        };
        let vendors = Vendors::start(stack::knowing_the_account(settings), None)?;
        let profile = folder.0.join("profile.json");
        std::fs::File::create(&profile)?.write_all(BARBERSHOP.as_bytes())?;
        // A free port: taken by the server a moment after it is given back here.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let url = format!("http://127.0.0.1:{port}");
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let child = std::process::Command::new(program)
            .arg("serve")
            .envs(stack::environment(&vendors))
            .env("PORT", port.to_string())
            .env("HOST", "127.0.0.1")
            .env("BASE_URL", &url)
            .env("DATABASE_URL", format!("sqlite://{}", folder.0.join("frontdesk.db").display()))
            .env("BUSINESS_PROFILE", &profile)
            .env("RUST_LOG", "warn")
            .env("FRONTDESK_SERVER_MAX_CALLS", (calls.saturating_mul(2)).max(500).to_string())
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .spawn()
            .context("the server's process does not start")?;
        let mut server = Self { child, vendors, times, url, _folder: folder };
        server.wait_until_up(port)?;
        Ok(server)
    }

    fn wait_until_up(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTUP;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the server ended at once: {status}");
            }
            if is_up(port) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the server does not come up")
    }

    fn caller(&self) -> anyhow::Result<CallConfig> {
        let mut call = stack::caller(&self.url);
        call.rest_url = Some(self.vendors.twilio_url.clone());
        call.trust = stack::trust(&self.vendors)?;
        Ok(call)
    }

    /// Stops the server; dropping it does the same.
    fn stop(self) {}
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a server answers its health check.
fn is_up(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let request = "GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}
