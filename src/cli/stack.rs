//! A whole front desk on this machine: the server with simulated vendors, on loopback. For `demo`, `chat` and tests.

use crate::app::{self, Server};
use crate::config::Config;
use crate::domain::profile::BusinessProfile;
use crate::sim::authority::Trust;
use crate::sim::caller::CallConfig;
use crate::sim::caller::callee::{Reaction, ring};
use crate::sim::script::Script;
use crate::sim::vendors::{Keys, Vendors, VendorsConfig, VendorsHandle};
use anyhow::Context as _;
use secrecy::SecretString;
use std::net::TcpListener;
use std::path::Path;

/// The account, token and key of everything simulated. Not secrets: nothing real accepts them.
const ACCOUNT: &str = "AC00000000000000000000000000000001";
const AUTH_TOKEN: &str = "00112233445566778899aabbccddeeff";
const KEY: &str = "sim-key";
/// The business's number, of the range reserved for fiction.
const BUSINESS_NUMBER: &str = "+12025550100";

/// What somebody says who is rung.
const CALLEE: &str = r#"
name = "callee"
[[step]]
wait_for = "greeting"
[[step]]
say = "Yes, what are your opening hours?"
[[step]]
wait_for = "reply"
[[step]]
say = "Thank you, that is all. Goodbye."
[[step]]
expect_end = "hangup"
"#;

/// A running front desk.
pub struct Stack {
    /// The simulated vendors.
    pub vendors: VendorsHandle,
    /// The server.
    pub server: Server,
    /// Where the server is reached.
    pub base_url: String,
    /// Whom callers trust: the vendors' authority, if they have one.
    trust: Trust,
}

/// The environment that points a server's process at simulated vendors.
#[must_use]
pub fn environment(vendors: &VendorsHandle) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("TWILIO_ACCOUNT_SID", ACCOUNT.into()),
        ("TWILIO_AUTH_TOKEN", AUTH_TOKEN.into()),
        ("TWILIO_PHONE_NUMBER", BUSINESS_NUMBER.into()),
        ("TWILIO_BASE_URL", vendors.twilio_url.clone()),
        ("DEEPGRAM_BASE_URL", vendors.deepgram_url.clone()),
        ("DEEPGRAM_API_KEY", KEY.into()),
        ("ELEVENLABS_BASE_URL", vendors.elevenlabs_url.clone()),
        ("ELEVENLABS_API_KEY", KEY.into()),
        ("ELEVENLABS_VOICE_ID", "simulated".into()),
        ("OPENAI_BASE_URL", vendors.openai_url.clone()),
        ("OPENAI_API_KEY", KEY.into()),
        // Several may run on one machine: each on a port of its own.
        ("METRICS_ADDR", "127.0.0.1:0".into()),
        // It shares the machine with whoever calls it: a thread that is late says nothing of the server.
        ("FRONTDESK_SERVER_MAX_LAG_MS", "0".into()),
    ];
    if let Some(authority) = &vendors.authority {
        environment.push(("TLS_EXTRA_CA", authority.display().to_string()));
    }
    environment
}

/// Vendors whose Twilio knows the simulated account, unless it was told of another.
#[must_use]
pub fn knowing_the_account(mut vendors: VendorsConfig) -> VendorsConfig {
    if vendors.twilio.keys.exact.is_empty() {
        vendors.twilio.keys = Keys::only(AUTH_TOKEN);
    }
    vendors
}

/// How a simulated caller reaches a server at `base_url` that was set up with that environment.
#[must_use]
pub fn caller(base_url: &str) -> CallConfig {
    let mut call = CallConfig::new(base_url, AUTH_TOKEN.to_owned());
    call.account_sid = ACCOUNT.into();
    call.to = BUSINESS_NUMBER.into();
    call
}

/// Points a configuration at simulated vendors.
pub fn use_vendors(config: &mut Config, vendors: &VendorsHandle) {
    let key = || SecretString::from(KEY.to_owned());
    config.stt.base_url = vendors.deepgram_url.clone();
    config.stt.api_key = key();
    config.tts.base_url = vendors.elevenlabs_url.clone();
    config.tts.api_key = key();
    config.tts.voice_id = "simulated".into();
    config.llm.primary.base_url = vendors.openai_url.clone();
    config.llm.primary.api_key = key();
    config.twilio.base_url = vendors.twilio_url.clone();
    config.server.tls_extra_ca = vendors.authority.as_ref().map(|path| path.display().to_string());
    config.twilio.account_sid = ACCOUNT.into();
    config.twilio.auth_token = SecretString::from(AUTH_TOKEN.to_owned());
    config.twilio.phone_number = BUSINESS_NUMBER.into();
}

/// A configuration for loopback with a SQLite file and no vendors yet.
pub fn local_config(address: &str, database: &Path) -> Config {
    let mut config = Config::default();
    config.server.base_url = format!("http://{address}");
    config.server.secret = Some(SecretString::from(format!("{:032x}", rand::random::<u128>())));
    config.database.url = format!("sqlite://{}", database.display());
    // There may be a server on this machine that has the port.
    config.observe.metrics_addr = "off".into();
    // It shares its process with the simulator: a thread that is late says nothing of the server.
    config.server.max_lag_ms = 0;
    config
}

/// Whom a caller trusts who also talks to these vendors.
pub fn trust(vendors: &VendorsHandle) -> anyhow::Result<Trust> {
    match &vendors.authority {
        Some(path) => Trust::with(path).with_context(|| format!("cannot trust {}", path.display())),
        None => Ok(Trust::default()),
    }
}

impl Stack {
    /// Starts vendors and server. `change` has the last word on the configuration.
    pub async fn start(
        listener: TcpListener,
        database: &Path,
        profile: BusinessProfile,
        mut vendors: VendorsConfig,
        change: impl FnOnce(&mut Config),
    ) -> anyhow::Result<Self> {
        if vendors.twilio.keys.exact.is_empty() {
            vendors.twilio.keys = Keys::only(AUTH_TOKEN);
        }
        let vendors = Vendors::start(knowing_the_account(vendors), None)
            .context("the simulated vendors do not start")?;
        let address = listener.local_addr().context("the listener has no address")?;
        let mut config = local_config(&address.to_string(), database);
        use_vendors(&mut config, &vendors);
        change(&mut config);
        let trust = trust(&vendors)?;
        let scheme = if config.server.tls_cert.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://{address}");
        let server = app::run(config, profile, listener).await?;
        Ok(Self { vendors, server, base_url, trust })
    }

    /// How a simulated caller reaches this server.
    pub fn caller(&self) -> CallConfig {
        let mut call = caller(&self.base_url);
        call.rest_url = Some(self.vendors.twilio_url.clone());
        call.trust = self.trust.clone();
        call
    }

    /// From now on whoever the server rings answers and has a short conversation.
    pub fn answer_calls(&self) -> anyhow::Result<()> {
        let script =
            Script::parse(CALLEE).map_err(|error| anyhow::anyhow!("the callee's script: {error}"))?;
        let mut created = self.vendors.calls.created();
        let caller = self.caller();
        actix_rt::spawn(async move {
            // A call that is missed here rings until Twilio gives it up.
            while let Ok(call) = created.recv().await {
                let (caller, script) = (caller.clone(), Box::new(script.clone()));
                actix_rt::spawn(async move { ring(&caller, &call, Reaction::Answers(script)).await });
            }
        });
        Ok(())
    }

    /// Stops server and vendors.
    pub async fn stop(self) {
        self.server.stop().await;
        self.vendors.stop();
    }
}
