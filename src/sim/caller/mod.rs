//! A caller on a simulated Twilio: webhooks, documents and Media Streams as the documentation has them, for any server
//! that speaks them.
//!
//! [`run_call`] plays a [`Script`] over one call leg on the current arbiter; hundreds fit on one thread. What the
//! caller hears is exactly what was played out, and is heard by the ear of the simulated voice.

pub mod callee;
pub mod lag;
pub mod phrase;
pub mod playback;
pub mod player;
pub mod protocol;
pub mod report;
pub mod rest;
pub mod sign;
pub mod turns;
pub mod twiml;

mod leg;
mod socket;
mod stream;
mod webhook;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::web;
use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::sim::authority::Trust;
use crate::sim::script::Script;
use crate::sim::vendors::twilio_calls::CallUpdates;
use lag::Lag;
use leg::Leg;
use phrase::{CallerVoice, Phrases};
use report::CallReport;

/// A stream is up: who is spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamUp {
    /// `CA…`.
    pub call_sid: String,
    /// Which server took it, where a balancer tells (`x-served-by`).
    pub served_by: Option<String>,
}

/// Whom to call, and how the simulated Twilio behaves.
#[derive(Debug, Clone)]
pub struct CallConfig {
    /// Where the server is reached, `http://…` or `https://…`, without a path.
    pub base_url: String,
    /// What the server calls itself, if that differs from where it is reached: signatures are made over it.
    pub public_url: Option<String>,
    /// The account's auth token, which signs.
    pub auth_token: SecretString,
    /// `AC…`.
    pub account_sid: String,
    /// The caller's number, unless the script has one.
    pub from: String,
    /// The number called, unless the script has one.
    pub to: String,
    /// `CA…`; a new one if not given.
    pub sid: Option<String>,
    /// Path of the voice webhook.
    pub voice_path: String,
    /// Path of the status callback, if there is one.
    pub status_path: Option<String>,
    /// Path of the fallback webhook, if there is one.
    pub fallback_path: Option<String>,
    /// An outbound call that was answered: asked instead of the voice webhook.
    pub answer_url: Option<String>,
    /// A bare Media Streams server: this stream is opened without any webhook.
    pub stream_url: Option<String>,
    /// Status callbacks sent before this leg began; the terminal one has the next number.
    pub callbacks_before: u32,
    /// How often the terminal status callback is sent; 2 tests for double ends.
    pub status_callbacks: u32,
    /// Whether the caller listens to words. Without, only voice and silence are told apart, which costs less.
    pub listen: bool,
    /// Whose certificates are trusted.
    pub trust: Trust,
    /// The caller's voice.
    pub voice: CallerVoice,
    /// Base URL of the simulated vendors, where the call is made known and whose REST API may change it.
    pub rest_url: Option<String>,
    /// The calls of simulated vendors in this process, instead of `rest_url`: for very many calls at once.
    pub network: Option<CallUpdates>,
    /// Who is told of each stream that is up.
    pub on_stream: Option<mpsc::UnboundedSender<StreamUp>>,
    /// Set once the caller has talked enough: the script's optional steps are left out from then on.
    pub enough: Arc<AtomicBool>,
    /// How long a dialled person's telephone rings, in milliseconds.
    pub ring_ms: u64,
    /// Most time that a telephone rings which nobody answers, in milliseconds; the document's timeout if shorter.
    pub no_answer_ms: u64,
    /// How long the caller talks with a dialled person, in milliseconds.
    pub person_talks_ms: u64,
}

impl CallConfig {
    /// The usual paths, made-up numbers.
    #[must_use]
    pub fn new(base_url: impl Into<String>, auth_token: impl Into<SecretString>) -> Self {
        Self {
            base_url: base_url.into(),
            public_url: None,
            auth_token: auth_token.into(),
            account_sid: "AC00000000000000000000000000000001".to_owned(),
            from: "+12025550143".to_owned(),
            to: "+12025550100".to_owned(),
            sid: None,
            voice_path: "/voice/incoming".to_owned(),
            status_path: Some("/voice/status".to_owned()),
            fallback_path: None,
            answer_url: None,
            stream_url: None,
            callbacks_before: 0,
            status_callbacks: 1,
            listen: true,
            trust: Trust::default(),
            voice: CallerVoice::default(),
            rest_url: None,
            network: None,
            on_stream: None,
            enough: Arc::default(),
            ring_ms: 300,
            no_answer_ms: 1_500,
            person_talks_ms: 1_000,
        }
    }
}

/// What calls of one thread share: the HTTP client, whom it trusts, and the measure of the simulator's own lag.
#[derive(Clone)]
pub struct Line {
    http: awc::Client,
    trust: Trust,
    lag: Rc<RefCell<Lag>>,
}

impl Line {
    /// Makes the client. To be called on the arbiter that uses it.
    #[must_use]
    pub fn new(trust: &Trust) -> Self {
        Self { http: client(trust), trust: trust.clone(), lag: Rc::default() }
    }

    /// How late ticks on this line were.
    #[must_use]
    pub fn lag(&self) -> Lag {
        self.lag.borrow().clone()
    }
}

/// An HTTP client that keeps to HTTP/1.1, as Twilio does.
pub(crate) fn client(trust: &Trust) -> awc::Client {
    // awc's `max_http_version` would put a TLS configuration of its own in the place of this one, which offers no other.
    let connector =
        awc::Connector::new().rustls_0_23(trust.config()).limit(0).timeout(Duration::from_secs(10));
    awc::Client::builder().connector(connector).disable_redirects().timeout(Duration::from_secs(15)).finish()
}

/// Plays a script over one call, on the current arbiter, and tells what became of it.
pub async fn run_call(config: &CallConfig, script: &Script) -> CallReport {
    let script = Arc::new(script.clone());
    let (rendered, voice) = (Arc::clone(&script), config.voice);
    let phrases = web::block(move || Phrases::render(&rendered, voice)).await.unwrap_or_default();
    run_rendered(&Line::new(&config.trust), config, script, Arc::new(phrases)).await
}

/// Plays a script whose phrases are rendered, on a line shared by many calls.
pub async fn run_rendered(
    line: &Line,
    config: &CallConfig,
    script: Arc<Script>,
    phrases: Arc<Phrases>,
) -> CallReport {
    Leg::new(line, config, script, phrases).run().await
}

/// Plays a script over one call, in a runtime of its own, and waits for its end: `simulate call`.
///
/// # Errors
/// When the runtime cannot be had.
pub fn simulate_call(config: &CallConfig, script: &Script) -> io::Result<CallReport> {
    let config = config.clone();
    let script = script.clone();
    std::thread::Builder::new()
        .name("sim-caller".to_owned())
        .spawn(move || actix_web::rt::System::new().block_on(async { run_call(&config, &script).await }))?
        .join()
        .map_err(|_| io::Error::other("the caller's thread has panicked"))
}
