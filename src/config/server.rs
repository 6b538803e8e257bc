//! The HTTP server and its public address.

use secrecy::SecretString;
use serde::Deserialize;

/// The HTTP server and its public address.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address to listen on (`HOST`).
    pub host: String,
    /// Port to listen on (`PORT`).
    pub port: u16,
    /// The address Twilio reaches us under, `https://…`, or `http://` on loopback (`BASE_URL`).
    pub base_url: String,
    /// Worker threads; 0 means one a core.
    pub workers: usize,
    /// Path of the business profile (`BUSINESS_PROFILE`).
    pub business_profile: Option<String>,
    /// Secrets that keys for tokens and cookies are derived from; the first signs, all verify (`FRONTDESK_SECRET`, comma-separated).
    pub secret: Option<SecretString>,
    /// A PEM file of further authorities trusted for vendors' hosts (`TLS_EXTRA_CA`).
    pub tls_extra_ca: Option<String>,
    /// Live calls at once, for the whole process; more hear a busy message.
    pub max_calls: usize,
    /// Kernel limit on unacknowledged bytes of a stalled stream, ms.
    pub tcp_user_timeout_ms: u64,
    /// How long a shutdown waits for live calls, ms.
    pub drain_ms: u64,
    /// Filter of the log, as `tracing` understands it (`RUST_LOG`).
    pub log: String,
    /// Log as JSON lines instead of text.
    pub log_json: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 3100,
            base_url: "http://127.0.0.1:3100".into(),
            workers: 0,
            business_profile: None,
            secret: None,
            tls_extra_ca: None,
            max_calls: 500,
            tcp_user_timeout_ms: 8_000,
            drain_ms: 120_000,
            log: "info".into(),
            log_json: false,
        }
    }
}
