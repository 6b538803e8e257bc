//! The vendors on loopback: Deepgram, ElevenLabs, OpenAI and Twilio's REST API, on one port with their real paths; and an
//! object store below `/s3`.
//!
//! Written from the vendors' documents, never from the wire types of the server. [`Vendors::start`] runs them in a
//! thread of their own, so that a test, a demonstration or a process of its own can hold them.

pub mod brain;
pub mod deepgram;
pub mod elevenlabs;
pub mod openai;
pub mod s3;
pub mod twilio_calls;
pub mod twilio_rest;

mod admin;
mod listen;
mod paced;
pub(crate) mod speech;
mod twilio_checks;
mod ws;

#[cfg(test)]
mod tests;

use super::authority::{Authority, VendorsTls};
use super::controls::{InFlight, lock};
use super::faults::{Controls, Instead, Service, Stats, Struck, Violation};
use super::senses::{EarFactory, Mouth, RealMouth, SimEar, SimMouth};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, web};
use brain::BrainMode;
use speech::Speech;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;
use twilio_calls::CallUpdates;

/// The keys a vendor accepts.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// These and no others; if empty, any that begins with `sim-`.
    pub exact: Vec<String>,
}

impl Keys {
    /// This key only.
    #[must_use]
    pub fn only(key: impl Into<String>) -> Self {
        Self { exact: vec![key.into()] }
    }

    fn accept(&self, key: &str) -> bool {
        if self.exact.is_empty() { key.starts_with("sim-") } else { self.exact.iter().any(|k| k == key) }
    }
}

/// Deepgram's two sides.
#[derive(Clone, Debug, Default)]
pub struct DeepgramConfig {
    /// `/v1/listen`.
    pub listen: deepgram::ListenConfig,
    /// `/v1/speak`.
    pub speak: deepgram::SpeakConfig,
}

/// How the vendors behave.
#[derive(Clone)]
pub struct VendorsConfig {
    /// Deepgram.
    pub deepgram: DeepgramConfig,
    /// ElevenLabs.
    pub elevenlabs: elevenlabs::ElevenlabsConfig,
    /// OpenAI.
    pub openai: openai::OpenaiConfig,
    /// Twilio's REST API.
    pub twilio: twilio_rest::TwilioRestConfig,
    /// The object store.
    pub s3: s3::S3Config,
    /// Worker threads.
    pub workers: usize,
    /// Idle connections are kept this long, in seconds.
    pub keep_alive_s: u64,
    /// Requests remembered for [`Controls::seen`].
    pub keep_seen: usize,
    /// Who hears on `/v1/listen`.
    pub ears: EarFactory,
    /// Who speaks.
    pub mouth: Arc<dyn Mouth>,
    /// Certificate and authority, if they speak TLS.
    pub tls: Option<VendorsTls>,
}

impl Default for VendorsConfig {
    fn default() -> Self {
        Self {
            deepgram: DeepgramConfig::default(),
            elevenlabs: elevenlabs::ElevenlabsConfig::default(),
            openai: openai::OpenaiConfig::default(),
            twilio: twilio_rest::TwilioRestConfig::default(),
            s3: s3::S3Config::default(),
            workers: 1,
            keep_alive_s: 120,
            keep_seen: 256,
            ears: Arc::new(|| Box::new(SimEar::default())),
            mouth: Arc::new(SimMouth),
            tls: None,
        }
    }
}

impl std::fmt::Debug for VendorsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VendorsConfig")
            .field("deepgram", &self.deepgram)
            .field("elevenlabs", &self.elevenlabs)
            .field("openai", &self.openai)
            .field("twilio", &self.twilio)
            .field("s3", &self.s3)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl VendorsConfig {
    /// The same vendors with voices of real speech, where `espeak-ng` is installed.
    #[must_use]
    pub fn with_real_speech(self) -> Self {
        Self { mouth: Arc::new(RealMouth), ..self }
    }

    /// The same vendors over TLS, with an authority made now, whose certificate is written into `folder`.
    ///
    /// # Errors
    /// When the authority cannot be made or written.
    pub fn with_tls(self, folder: &Path) -> io::Result<Self> {
        Ok(Self { tls: Some(Authority::new()?.for_loopback(folder)?), ..self })
    }

    /// Answers as fast as they can be made: no delays anywhere. For tests that do not measure time.
    #[must_use]
    pub fn immediate() -> Self {
        let timing = speech::SpeechTiming { first_byte_ms: 0, speed: 0, ..speech::SpeechTiming::default() };
        let mut config = Self::default();
        config.deepgram.listen.stt_delay_ms = 0;
        config.deepgram.listen.burst_ms = 600_000;
        config.deepgram.speak.timing = timing;
        config.elevenlabs.timing = timing;
        config.openai.first_token_ms = 0;
        config.openai.token_ms = 0;
        config
    }
}

/// What every handler needs.
pub(crate) struct Shared {
    config: VendorsConfig,
    controls: Controls,
    calls: CallUpdates,
    objects: s3::Objects,
    speech: Speech,
    ears: EarFactory,
    brain: Arc<Mutex<BrainMode>>,
    numbers: AtomicU64,
}

/// Which services a TCP connection was used for, one bit each.
struct ConnectionUse(AtomicU8);

impl Shared {
    /// A number not given before.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// An id not given before, in the form of a UUID.
    fn uuid(&self) -> String {
        format!("51e00000-0000-4000-8000-{:012x}", self.number() & 0xffff_ffff_ffff)
    }

    /// Counts a request, remembers it, and lets faults strike. Does not return from a hang.
    async fn enter(&self, req: &HttpRequest, service: Service, text: &str) -> (InFlight, Struck) {
        self.controls.saw(service, text);
        self.enter_unseen(req, service, text).await
    }

    async fn enter_unseen(&self, req: &HttpRequest, service: Service, text: &str) -> (InFlight, Struck) {
        let bit = Service::ALL.iter().position(|s| *s == service).map_or(0, |n| 1u8 << n);
        let fresh = req
            .conn_data::<ConnectionUse>()
            .is_none_or(|used| used.0.fetch_or(bit, Ordering::Relaxed) & bit == 0);
        if fresh {
            self.controls.connected(service);
        }
        let flight = self.controls.begin(service);
        let struck = self.controls.strike(service, text);
        if struck.instead == Some(Instead::Hang) {
            // Ends when the client gives up and the request is dropped.
            std::future::pending::<()>().await;
        }
        (flight, struck)
    }
}

/// The vendors, to be started.
#[derive(Debug)]
pub struct Vendors;

/// Running vendors. Dropping it stops them.
pub struct VendorsHandle {
    /// Base URL for Deepgram, `http://` or `https://`; the WebSocket's is the same with `ws://` or `wss://`.
    pub deepgram_url: String,
    /// Base URL for ElevenLabs.
    pub elevenlabs_url: String,
    /// Base URL for OpenAI, with `/v1`.
    pub openai_url: String,
    /// Base URL for Twilio's REST API.
    pub twilio_url: String,
    /// Address of the object store, before the bucket's name.
    pub s3_url: String,
    /// Where they listen.
    pub address: SocketAddr,
    /// The file of the authority that has to be trusted, if they speak TLS.
    pub authority: Option<PathBuf>,
    /// Faults and counters.
    pub faults: Controls,
    /// Twilio's calls.
    pub calls: CallUpdates,
    /// What lies in the object store.
    pub objects: s3::Objects,
    brain: Arc<Mutex<BrainMode>>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for VendorsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VendorsHandle").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Vendors {
    /// Starts the vendors on the listener, or on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the port or the thread cannot be had.
    pub fn start(config: VendorsConfig, listener: Option<TcpListener>) -> io::Result<VendorsHandle> {
        let listener = match listener {
            Some(listener) => listener,
            None => TcpListener::bind(("127.0.0.1", 0))?,
        };
        let address = listener.local_addr()?;
        let controls = Controls::new(config.keep_seen);
        let (calls, objects) = (CallUpdates::default(), s3::Objects::default());
        let brain = Arc::new(Mutex::new(config.openai.brain.clone()));
        let tls = config.tls.clone();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = web::Data::new(Shared {
            controls: controls.clone(),
            calls: calls.clone(),
            objects: objects.clone(),
            speech: Speech::new(Arc::clone(&config.mouth)),
            ears: Arc::clone(&config.ears),
            brain: Arc::clone(&brain),
            numbers: AtomicU64::new(1),
            config,
        });
        let (ready, started) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("sim-vendors".to_owned()).spawn(move || {
            actix_web::rt::System::new().block_on(serve(listener, shared, ready));
        })?;
        let server = started
            .recv()
            .map_err(|_| io::Error::other("the vendors' thread ended before it had started"))??;
        let base = format!("{scheme}://{address}");
        Ok(VendorsHandle {
            deepgram_url: base.clone(),
            elevenlabs_url: base.clone(),
            openai_url: format!("{base}/v1"),
            s3_url: format!("{base}/s3"),
            twilio_url: base,
            address,
            authority: tls.map(|tls| tls.authority),
            faults: controls,
            calls,
            objects,
            brain,
            server,
            thread: Some(thread),
        })
    }
}

async fn serve(
    listener: TcpListener,
    shared: web::Data<Shared>,
    ready: std::sync::mpsc::Sender<io::Result<ServerHandle>>,
) {
    let for_threads = shared.clone();
    let application = move || {
        // The application is made on the worker's own thread, whose lag it is about.
        actix_web::rt::spawn(watch_lag(for_threads.controls.clone()));
        App::new()
            .app_data(for_threads.clone())
            .app_data(web::PayloadConfig::new(8 << 20))
            .app_data(web::JsonConfig::default().limit(8 << 20))
            .configure(admin::routes)
            .configure(deepgram::routes)
            .configure(elevenlabs::routes)
            .configure(openai::routes)
            .configure(twilio_rest::routes)
            .configure(s3::routes)
    };
    let server = listen::serve(listener, &shared, application);
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(server.handle()));
    if let Err(error) = server.await {
        tracing::error!(%error, "the simulated vendors have ended");
    }
}

/// Measures how late timers come, so that a load test knows whether the simulator kept up.
async fn watch_lag(controls: Controls) {
    const EVERY: Duration = Duration::from_millis(20);
    loop {
        let due = Instant::now() + EVERY;
        tokio::time::sleep_until(due).await;
        controls.lagged(Instant::now().saturating_duration_since(due));
    }
}

impl VendorsHandle {
    /// What has been counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.faults.stats()
    }

    /// The rules clients broke.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.faults.violations()
    }

    /// Changes how the model behaves from now on.
    pub fn set_brain(&self, mode: BrainMode) {
        *lock(&self.brain) = mode;
    }

    /// Stops the vendors and waits for their thread; open connections are dropped.
    pub fn stop(mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn end(&self) {
        // The command is given by the call; the future only waits for its end.
        drop(self.server.stop(false));
    }
}

impl Drop for VendorsHandle {
    fn drop(&mut self) {
        self.end();
    }
}
