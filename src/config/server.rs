//! The HTTP server and its public address.

use super::setting::{settings, words};
use super::validate::{host, log_filter, public_base, signing_secrets, within};
use secrecy::{ExposeSecret as _, SecretString};

settings! {
    /// The HTTP server and its public address.
    pub struct ServerConfig {
        /// Address to listen on.
        host: String = "127.0.0.1".into(), env "HOST", check host;
        /// Port to listen on.
        port: u16 = 3100, env "PORT", check within(1, u16::MAX);
        /// The address Twilio reaches us under, `https://…`, or `http://` on loopback.
        base_url: String = "http://127.0.0.1:3100".into(), env "BASE_URL", check public_base;
        /// Worker threads; 0 means one a core.
        workers: usize = 0, check within(0, 1_024);
        /// Path of the business profile.
        business_profile: Option<String> = None, env "BUSINESS_PROFILE";
        /// Secrets that keys for tokens and cookies are derived from; the first signs, all verify; comma-separated. Made and kept beside a SQLite file when not set.
        secret: Option<SecretString> = None, env "FRONTDESK_SECRET", check signing_secrets;
        /// A PEM file of further authorities trusted for vendors' hosts.
        tls_extra_ca: Option<String> = None, env "TLS_EXTRA_CA";
        /// A PEM file with the certificate of this server and its chain: it then speaks HTTPS itself.
        tls_cert: Option<String> = None, env "TLS_CERT";
        /// A PEM file with the key of that certificate.
        tls_key: Option<String> = None, env "TLS_KEY";
        /// How often these two files are looked at for changes, ms; SIGHUP does it at once.
        tls_check_ms: u64 = 30_000, check within(100, 86_400_000);
        /// With many streams, how long a worker thread gathers frames before it handles them together, µs; 0: never.
        round_us: u64 = 2_000, check within(0, 5_000);
        /// Live calls at once, for the whole process; more hear a busy message.
        max_calls: usize = 500, check within(1, 100_000);
        /// While a worker thread is later than this, smoothed over about a second, no new call is let in, ms; 0: never mind. Calls that are in go on.
        max_lag_ms: u64 = 50, check within(0, 10_000);
        /// Kernel limit on unacknowledged bytes of a stalled stream, ms.
        tcp_user_timeout_ms: u64 = 8_000, check within(1_000, 600_000);
        /// How long a balancer may take to learn that a replica is there, or not ready, ms. For so long a shutdown goes on as
        /// before, where others go on with our calls; and nobody lets go of a call for one that has just begun.
        notice_ms: u64 = 2_000, check within(0, 60_000);
        /// How long a shutdown waits for live calls, ms.
        drain_ms: u64 = 120_000, check within(0, 3_600_000);
        /// Where other replicas go on with them: how long a live call waits for a pause in which it lets go, ms.
        handover_ms: u64 = 10_000, check within(0, 600_000);
        /// Filter of the log, as `tracing` understands it; libraries are never shown below `info`.
        log: String = "info".into(), env "RUST_LOG", check log_filter;
        /// Log as JSON lines instead of text.
        log_json: bool = false;
    }
}

impl ServerConfig {
    /// The secrets one by one, the signing one first.
    pub fn secrets(&self) -> Vec<SecretString> {
        let all = self.secret.as_ref().map(|secret| words(secret.expose_secret())).unwrap_or_default();
        all.into_iter().map(SecretString::from).collect()
    }
}
