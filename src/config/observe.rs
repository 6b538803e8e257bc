//! What the server tells of itself: metrics and traces.

use super::setting::settings;
use super::validate::{one_of, within};
use secrecy::{ExposeSecret as _, SecretString};
use std::time::Duration;

/// The dialects of StatsD.
const DIALECTS: &[&str] = &["dogstatsd", "statsd"];

settings! {
    /// What the server tells of itself: metrics and traces.
    pub struct ObserveConfig {
        /// Address and port at which Prometheus reads `GET /metrics`, without a credential: for the own network. Empty, or `off`: not there.
        metrics_addr: String = "127.0.0.1:9464".into(), env "METRICS_ADDR", check listener;
        /// With it, `GET /metrics` is answered at the server's own port too, to whoever shows it as bearer token.
        metrics_token: Option<SecretString> = None, env "METRICS_TOKEN", check token;
        /// Where metrics are sent by UDP, `host:port`, if anywhere.
        statsd_addr: Option<String> = None, env "STATSD_ADDR", check receiver;
        /// How they are written: `dogstatsd` (with tags) or `statsd` (labels become part of the name).
        statsd_format: String = "dogstatsd".into(), check one_of(DIALECTS);
        /// Put before each name that is sent.
        statsd_prefix: String = String::new(), check prefix;
        /// How often they are sent, ms.
        statsd_ms: u64 = 10_000, check within(100, 600_000);
        /// Where traces are sent by OTLP over HTTP, `http://collector:4318`; needs a binary built with the feature `otel`.
        otlp_endpoint: Option<String> = None, env "OTEL_EXPORTER_OTLP_ENDPOINT", check collector;
        /// The name of this service in traces.
        service_name: String = "frontdesk".into(), env "OTEL_SERVICE_NAME";
        /// Spans that may wait to be sent; more are dropped.
        otlp_queue: usize = 4_096, check within(16, 1_000_000);
        /// How often spans are sent, ms.
        otlp_ms: u64 = 2_000, check within(50, 60_000);
    }
}

impl ObserveConfig {
    /// Where metrics are read, if they are.
    pub fn metrics_listener(&self) -> Option<&str> {
        Some(self.metrics_addr.as_str()).filter(|addr| !matches!(*addr, "" | "off" | "none"))
    }

    /// How often metrics are sent.
    pub fn statsd_interval(&self) -> Duration {
        Duration::from_millis(self.statsd_ms)
    }
}

/// Whether a text is a host and a port, the port at least so high.
fn is_host_and_port(value: &str, lowest: u16) -> bool {
    let Some((host, port)) = value.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty() && !host.contains(['/', ' ', '@']) && (bracketed || !host.contains(':'));
    plain && port.parse::<u16>().is_ok_and(|port| port >= lowest)
}

fn listener(value: &str) -> Result<(), String> {
    if matches!(value, "" | "off" | "none") || is_host_and_port(value, 0) {
        return Ok(());
    }
    Err("an address and a port like 127.0.0.1:9464, or `off`".to_owned())
}

fn receiver(value: &Option<String>) -> Result<(), String> {
    match value.as_deref() {
        Some(value) if !is_host_and_port(value, 1) => Err("a host and a port like 127.0.0.1:8125".to_owned()),
        _ => Ok(()),
    }
}

/// What a client puts behind `Bearer` (RFC 6750), long enough not to be guessed.
fn token(value: &Option<SecretString>) -> Result<(), String> {
    let fine = |text: &str| text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic());
    match value.as_ref().map(|token| token.expose_secret()) {
        Some(text) if !fine(text) => Err("at least 16 characters without blanks".to_owned()),
        _ => Ok(()),
    }
}

fn prefix(value: &str) -> Result<(), String> {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if value.len() <= 64 && value.bytes().all(name) {
        return Ok(());
    }
    Err("at most 64 letters, digits, dots and underscores".to_owned())
}

fn collector(value: &Option<String>) -> Result<(), String> {
    match value {
        None => Ok(()),
        Some(_) if !cfg!(feature = "otel") => {
            Err("nothing: this binary was built without the feature `otel`".to_owned())
        }
        Some(value) => super::validate::vendor_base(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        for (value, listens, receives) in [
            ("127.0.0.1:9464", true, true),
            ("0.0.0.0:0", true, false),
            ("[::1]:9464", true, true),
            ("localhost:1", true, true),
            ("", true, false),
            ("off", true, false),
            ("9464", false, false),
            (":9464", false, false),
            ("::1:9464", false, false),
            ("h:65536", false, false),
            ("http://h:1", false, false),
        ] {
            assert_eq!(listener(value).is_ok(), listens, "{value}");
            assert_eq!(receiver(&Some(value.to_owned())).is_ok(), receives, "{value}");
        }
        let off = ObserveConfig { metrics_addr: "off".into(), ..ObserveConfig::default() };
        assert_eq!(off.metrics_listener(), None);
        assert_eq!(ObserveConfig::default().metrics_listener(), Some("127.0.0.1:9464"));
    }

    #[test]
    fn a_token_that_can_be_guessed_or_not_be_sent_is_refused() {
        for (text, fine) in
            [("0123456789abcdef", true), ("short", false), ("0123456789 abcdef", false), ("", false)]
        {
            assert_eq!(token(&Some(SecretString::from(text))).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn a_collector_needs_a_binary_that_can_reach_it() {
        let told = collector(&Some("http://127.0.0.1:4318".to_owned()));
        assert_eq!(told.is_ok(), cfg!(feature = "otel"), "{told:?}");
        if let Err(told) = told {
            assert!(told.contains("feature `otel`"), "{told}");
        }
    }
}
