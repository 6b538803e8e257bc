//! Configuration: what can be set, in which unit, and what holds when nothing is set.
//!
//! One file per section. The structs are plain values; `load` is a pure function of the variables and the file's
//! text, so that tests never touch the process's environment. Milliseconds carry the suffix `_ms`.

pub mod call;
pub mod database;
pub mod llm;
pub mod server;
pub mod stt;
pub mod tts;
pub mod twilio;

use serde::Deserialize;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP server and its public address.
    pub server: server::ServerConfig,
    /// The database.
    pub database: database::DatabaseConfig,
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
}
