//! What can hold: the rules of single settings, how settings bear on each other, and what `serve` cannot do without.

use super::Config;
use super::load::{Fault, Problem, Source};
use super::mask;
use super::profile::ProfileProblem;
use super::setting;
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use url::{Host, Url};

/// Shortest secret that keys are derived from, in characters.
const SECRET_CHARS: usize = 32;

/// Where a number must lie, both ends included.
pub(super) fn within<T: PartialOrd + Display>(low: T, high: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| {
        if *value < low || *value > high {
            return Err(format!("a whole number from {low} to {high}"));
        }
        Ok(())
    }
}

/// The only texts allowed.
pub(super) fn one_of(allowed: &'static [&'static str]) -> impl Fn(&String) -> Result<(), String> {
    move |value| {
        if allowed.contains(&value.as_str()) { Ok(()) } else { Err(format!("one of {}", allowed.join(", "))) }
    }
}

/// A text that cannot be empty.
pub(super) fn required(value: &str) -> Result<(), String> {
    if value.is_empty() { Err("a text that is not empty".to_owned()) } else { Ok(()) }
}

/// A sampling temperature.
pub(super) fn temperature(value: &Option<f64>) -> Result<(), String> {
    match value {
        Some(number) if !(0.0..=2.0).contains(number) => Err("a number from 0 to 2, or `none`".to_owned()),
        _ => Ok(()),
    }
}

/// An address to listen on.
pub(super) fn host(value: &str) -> Result<(), String> {
    let name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if value.parse::<IpAddr>().is_ok() || (!value.is_empty() && value.chars().all(name)) {
        return Ok(());
    }
    Err("an IP address or a host's name, without a port (that is `PORT`)".to_owned())
}

/// A base URL, in the parts that every one of them must have.
fn base(value: &str) -> Option<Url> {
    let url = Url::parse(value).ok()?;
    let plain = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.host().is_some();
    plain.then_some(url)
}

/// A vendor's base URL. Plain `http` is for simulators and for hosts on the own network.
pub(super) fn vendor_base(value: &str) -> Result<(), String> {
    match base(value).as_ref().map(Url::scheme) {
        Some("http" | "https") => Ok(()),
        Some("ws" | "wss") => {
            Err("an address with http:// or https://; that of the WebSocket is derived".to_owned())
        }
        _ => Err("an address like https://host/path, without name, password or query".to_owned()),
    }
}

/// Our own address: Twilio sends calls and signs its requests for it.
pub(super) fn public_base(value: &str) -> Result<(), String> {
    match base(value) {
        Some(url) if url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url)) => Ok(()),
        Some(url) if url.scheme() == "http" => {
            Err("an address with https://; http:// is for loopback only".to_owned())
        }
        _ => Err("an address like https://desk.example.com, without name, password or query".to_owned()),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// A telephone number, or none.
pub(super) fn e164(value: &str) -> Result<(), String> {
    if value.is_empty() || PhoneNumber::from_e164(value).is_ok() {
        return Ok(());
    }
    Err("a number in E.164, like +12025550143".to_owned())
}

/// A Twilio account, or none. An API key's id in its place is a common slip.
pub(super) fn account_sid(value: &str) -> Result<(), String> {
    let sid = value.starts_with("AC") && value.bytes().all(|b| b.is_ascii_alphanumeric());
    if value.is_empty() || sid { Ok(()) } else { Err("an account's SID, which begins with AC".to_owned()) }
}

/// An ElevenLabs voice, or none: a part of a path.
pub(super) fn voice_id(value: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if value.bytes().all(plain) && !value.starts_with("sk_") {
        return Ok(());
    }
    Err("a voice's id (letters and digits), not a name or a key".to_owned())
}

/// A key that goes into a header, or none.
pub(super) fn credential(value: &SecretString) -> Result<(), String> {
    let quoted = |c: char| matches!(c, '"' | '\'' | '`');
    let secret = value.expose_secret();
    if secret.starts_with(quoted) || secret.ends_with(quoted) {
        return Err("a key without quotes around it".to_owned());
    }
    if secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err("a key in one piece, of visible ASCII characters".to_owned())
}

/// A key that may be absent.
pub(super) fn optional_credential(value: &Option<SecretString>) -> Result<(), String> {
    value.as_ref().map_or(Ok(()), credential)
}

/// Secrets that keys are derived from.
pub(super) fn signing_secrets(value: &Option<SecretString>) -> Result<(), String> {
    let Some(secret) = value else { return Ok(()) };
    let all = setting::words(secret.expose_secret());
    if !all.is_empty() && all.iter().all(|secret| secret.chars().count() >= SECRET_CHARS) {
        return Ok(());
    }
    Err(format!(
        "secrets of at least {SECRET_CHARS} characters each, separated by commas (make one with `openssl rand -hex 32`)"
    ))
}

/// A database's address. Lists of `key=value`, which the libraries would take as a file's name, are refused.
pub(super) fn database_url(value: &str) -> Result<(), String> {
    if let Some(path) = value.strip_prefix("sqlite://") {
        if path.is_empty() {
            return Err("a path after sqlite://, like sqlite://data/frontdesk.db".to_owned());
        }
        if path.contains(":memory:") || path.contains("mode=memory") {
            return Err("a file: a database in memory loses every booking".to_owned());
        }
        return Ok(());
    }
    let postgres = value.starts_with("postgres://") || value.starts_with("postgresql://");
    if postgres && Url::parse(value).is_ok() {
        return Ok(());
    }
    Err("sqlite://PATH or postgres://name:password@host/database".to_owned())
}

/// The address of a Redis, or none.
pub(super) fn redis_url(value: &Option<String>) -> Result<(), String> {
    let Some(value) = value else { return Ok(()) };
    let fits = Url::parse(value).is_ok_and(|url| {
        let database = url.path().trim_start_matches('/');
        matches!(url.scheme(), "redis" | "rediss")
            && url.host_str().is_some_and(|host| !matches!(host, "" | "0.0.0.0" | "[::]"))
            && (database.is_empty() || database.parse::<u16>().is_ok())
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if fits {
        return Ok(());
    }
    Err("an address like redis://name:password@host:6379/0, or rediss:// for TLS".to_owned())
}

/// What names in a shared Redis begin with.
pub(super) fn cluster_prefix(value: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if !value.is_empty() && value.len() <= 64 && value.bytes().all(plain) {
        return Ok(());
    }
    Err("1 to 64 letters, digits, `-`, `_`, `.` or `:`".to_owned())
}

/// Where recordings are kept.
pub(super) fn recordings_place(value: &str) -> Result<(), String> {
    let expected = "a folder, or s3://bucket/prefix";
    match value.split_once("://") {
        None if value.is_empty() => Err(expected.to_owned()),
        None => Ok(()),
        Some(("s3", rest)) if rest.is_empty() || rest.starts_with('/') => Err(expected.to_owned()),
        Some(("s3", _)) if !cfg!(feature = "s3") => {
            Err("a folder: this binary was built without the feature `s3`".to_owned())
        }
        Some(("s3", _)) => Ok(()),
        Some(_) => Err(expected.to_owned()),
    }
}

/// A filter of the log.
pub(super) fn log_filter(value: &str) -> Result<(), String> {
    match tracing_subscriber::EnvFilter::try_new(value) {
        Ok(_) => Ok(()),
        Err(_) => Err("a filter like info or frontdesk=debug,info".to_owned()),
    }
}

/// Settings that contradict each other.
pub(super) fn relations(config: &Config, sources: &BTreeMap<String, Source>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut clash = |path: &str, reason: String| {
        problems.push(Problem { subject: subject(path, sources), fault: Fault::Clash(reason) });
    };
    let (call, stt, llm) = (&config.call, &config.stt, &config.llm);
    for (path, low, other, high) in [
        ("call.filler_ms", call.filler_ms, "call.apology_ms", call.apology_ms),
        ("stt.reconnect_ms", stt.reconnect_ms, "stt.reconnect_max_ms", stt.reconnect_max_ms),
        ("llm.switch_ms", llm.switch_ms, "call.apology_ms", call.apology_ms),
        (
            "twilio.start_timeout_ms",
            config.twilio.start_timeout_ms,
            "twilio.reservation_ms",
            config.twilio.reservation_ms,
        ),
        (
            "cluster.heartbeat_ms",
            config.cluster.heartbeat_ms.saturating_mul(2),
            "cluster.lease_ms",
            config.cluster.lease_ms,
        ),
    ] {
        if low > high {
            clash(path, format!("{low} is more than {high}, which is {}", subject(other, sources)));
        }
    }
    for (path, ms) in [("stt.join_ms", stt.join_ms), ("stt.silence_join_ms", stt.silence_join_ms)] {
        if !ms.is_multiple_of(20) {
            clash(path, format!("{ms} is no multiple of 20, the length of a frame"));
        }
        if stt.gap_buffer_ms < ms.saturating_mul(3) {
            clash(
                "stt.gap_buffer_ms",
                format!(
                    "{} is less than three times {ms}, which is {}: audio would be dropped before it is sent",
                    stt.gap_buffer_ms,
                    subject(path, sources)
                ),
            );
        }
    }
    if call.barge_in_words > call.barge_in_words_alone {
        clash(
            "call.barge_in_words",
            format!(
                "{} is more than {}, which is {}: words with voice must not need more than words without",
                call.barge_in_words,
                call.barge_in_words_alone,
                subject("call.barge_in_words_alone", sources)
            ),
        );
    }
    if config.twilio.shared_key_id.is_some() != config.twilio.shared_key.is_some() {
        let (path, other) = match config.twilio.shared_key {
            None => ("twilio.shared_key_id", "twilio.shared_key"),
            Some(_) => ("twilio.shared_key", "twilio.shared_key_id"),
        };
        clash(path, format!("it needs {} beside it", subject(other, sources)));
    }
    let server = &config.server;
    if server.tls_cert.is_some() != server.tls_key.is_some() {
        let (path, other) = match server.tls_key {
            None => ("server.tls_cert", "server.tls_key"),
            Some(_) => ("server.tls_key", "server.tls_cert"),
        };
        clash(path, format!("it needs {} beside it", subject(other, sources)));
    } else if server.tls_cert.is_some() && !server.base_url.starts_with("https://") {
        let cert = subject("server.tls_cert", sources);
        clash("server.base_url", format!("it must begin with https://: with {cert}, that is what is spoken"));
    }
    if config.cluster.url.is_some() && config.database.sqlite_path().is_some() {
        let database = subject("database.url", sources);
        clash(
            "cluster.url",
            format!(
                "replicas share a database, and a SQLite file belongs to one process: set {database} to a postgres:// \
                 address, or take this out"
            ),
        );
    }
    let hosts = std::iter::once(("llm.primary.base_url", &llm.primary))
        .chain(llm.fallback.as_ref().map(|host| ("llm.fallback.base_url", host)));
    for (path, host) in hosts {
        let bare = Url::parse(&host.base_url)
            .is_ok_and(|url| url.host_str() == Some("api.openai.com") && url.path() == "/");
        if bare {
            clash(path, "it lacks the version: https://api.openai.com/v1".to_owned());
        }
    }
    if let Some(fallback) = &llm.fallback
        && fallback.model == llm.primary.model
        && fallback.base_url.trim_end_matches('/') == llm.primary.base_url.trim_end_matches('/')
    {
        clash(
            "llm.fallback.model",
            format!("{} is the primary model on the primary host: that is no fallback", fallback.model),
        );
    }
    problems
}

/// How a setting is called where it was set, or where it could be.
pub(super) fn subject(path: &str, sources: &BTreeMap<String, Source>) -> String {
    if sources.get(path) == Some(&Source::File) {
        return format!("{path} in the configuration file");
    }
    let all = setting::all();
    all.iter().find(|setting| setting.path() == path).map_or_else(|| path.to_owned(), |s| s.variable())
}

/// What `serve` cannot start without. Every message names the variable and says how to see the server at work anyway.
pub fn missing_for_serve(config: &Config) -> Vec<Problem> {
    let secret = |secret: &SecretString| secret.expose_secret().is_empty();
    let (twilio, server) = (&config.twilio, &config.server);
    let real_twilio = Url::parse(&twilio.base_url).is_ok_and(|url| !is_loopback(&url));
    let loopback = Url::parse(&server.base_url).is_ok_and(|url| is_loopback(&url));
    let mut missing = vec![
        ("BASE_URL", real_twilio && loopback, "the https:// address under which Twilio reaches this server"),
        ("TWILIO_ACCOUNT_SID", twilio.account_sid.is_empty(), "the account's SID, from Twilio's console"),
        (
            "TWILIO_AUTH_TOKEN",
            secret(&twilio.auth_token),
            "the account's primary token, from Twilio's console",
        ),
        (
            "TWILIO_PHONE_NUMBER",
            twilio.phone_number.is_empty(),
            "the number that callers dial, like +12025550143",
        ),
        ("DEEPGRAM_API_KEY", secret(&config.stt.api_key), "a key of Deepgram, which hears"),
        ("ELEVENLABS_API_KEY", secret(&config.tts.api_key), "a key of ElevenLabs, which speaks"),
        ("ELEVENLABS_VOICE_ID", config.tts.voice_id.is_empty(), "the id of a voice at ElevenLabs"),
        (
            "OPENAI_API_KEY",
            secret(&config.llm.primary.api_key),
            "a key of the language model's host (any text for a host that wants none)",
        ),
        (
            "BUSINESS_PROFILE",
            server.business_profile.is_none(),
            "the path of the business's profile (profiles/barbershop.json is an example)",
        ),
        (
            "FRONTDESK_SECRET",
            server.secret.is_none() && config.database.sqlite_path().is_none(),
            "with PostgreSQL, a secret that all replicas share (make one with `openssl rand -hex 32`)",
        ),
    ];
    if let Some(fallback) = &config.llm.fallback {
        missing.push((
            "FRONTDESK_LLM_FALLBACK_API_KEY",
            secret(&fallback.api_key),
            "a key of the fallback's host; the primary's is not sent to another host",
        ));
    }
    let missing = missing.into_iter().filter(|(_, is_missing, _)| *is_missing);
    missing
        .map(|(variable, _, expected)| Problem {
            subject: variable.to_owned(),
            fault: Fault::Missing(expected.to_owned()),
        })
        .collect()
}

/// What is wrong with a profile only under this configuration.
pub fn profile_against(config: &Config, profile: &BusinessProfile) -> Vec<ProfileProblem> {
    let own = &config.twilio.phone_number;
    if profile.transfer_number.as_ref().is_some_and(|number| number == own) {
        return vec![ProfileProblem::new(
            "transfer_number",
            "is TWILIO_PHONE_NUMBER itself: a transferred caller would reach the bot again",
        )];
    }
    Vec::new()
}

/// A value as a message about it may show it.
pub(super) fn shown(kind: setting::Kind, text: &str) -> String {
    match kind {
        setting::Kind::Secret => mask::REDACTED.to_owned(),
        _ => mask::given(text),
    }
}
