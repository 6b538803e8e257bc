//! Configuration: what can be set, in which unit, and what holds when nothing is set.
//!
//! One file per section. The structs are plain values; `load` is a pure function of the variables and the file's
//! text, so that tests never touch the process's environment. Milliseconds carry the suffix `_ms`. A new setting is
//! one line in its section: loading, checking, `check-config` and the table in the README follow from it.

pub mod call;
pub mod cluster;
pub mod database;
pub mod effective;
pub mod jobs;
pub mod limits;
pub mod llm;
pub mod load;
mod mask;
pub mod observe;
pub mod outbound;
pub mod overlay;
pub mod prices;
pub mod profile;
pub mod recording;
pub mod retention;
pub mod secret_file;
pub mod server;
pub mod setting;
pub mod stt;
mod suggest;
pub mod tts;
pub mod twilio;
pub mod validate;

use secrecy::SecretString;

/// Everything that can be configured.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The HTTP server and its public address.
    pub server: server::ServerConfig,
    /// The database.
    pub database: database::DatabaseConfig,
    /// The other replicas.
    pub cluster: cluster::ClusterConfig,
    /// Twilio.
    pub twilio: twilio::TwilioConfig,
    /// Speech to text.
    pub stt: stt::SttConfig,
    /// Text to speech.
    pub tts: tts::TtsConfig,
    /// The language model.
    pub llm: llm::LlmConfig,
    /// The conversation: turn-taking, deadlines, limits.
    pub call: call::CallConfig,
    /// Calls that we place.
    pub outbound: outbound::OutboundConfig,
    /// How much anybody may ask for.
    pub limits: limits::LimitsConfig,
    /// Recording of calls.
    pub recording: recording::RecordingConfig,
    /// Work that follows calls.
    pub jobs: jobs::JobsConfig,
    /// How long data is kept.
    pub retention: retention::RetentionConfig,
    /// What vendors charge, and how much may be spent.
    pub prices: prices::PricesConfig,
    /// What the server tells of itself: metrics and traces.
    pub observe: observe::ObserveConfig,
}

impl Config {
    /// Calls at once, for the whole process: each holds a connection of the recogniser to its end.
    pub fn calls_at_once(&self) -> usize {
        self.server.max_calls.min(self.stt.max_concurrent)
    }

    /// Every secret that is set, passwords in addresses included: what must not stand in any output.
    pub fn secrets(&self) -> Vec<SecretString> {
        let mut secrets: Vec<SecretString> =
            setting::all().iter().filter_map(|setting| setting.secret(self).cloned()).collect();
        secrets.extend(self.server.secrets());
        let addresses = std::iter::once(&self.database.url).chain(&self.cluster.url);
        secrets.extend(addresses.flat_map(|address| passwords(address)).map(SecretString::from));
        secrets
    }
}

/// The passwords in an address, as they stand there and as they are meant.
fn passwords(address: &str) -> Vec<String> {
    let Ok(url) = url::Url::parse(address) else { return Vec::new() };
    let parameter =
        url.query_pairs().find(|(name, _)| name == "password").map(|(_, value)| value.into_owned());
    let written = url.password().map(str::to_owned);
    // The same decoding as a form's, but for the plus sign.
    let meant = written.as_deref().and_then(|password| {
        let escaped = password.replace('+', "%2B");
        form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned())
    });
    let meant = meant.filter(|meant| Some(meant) != written.as_ref() && !meant.is_empty());
    parameter.into_iter().chain(written).chain(meant).collect()
}
