//! Requests and refusals on the wire (`elevenlabs.md` sections 1, 2, 6).

use crate::provider::{ProviderError, ProviderErrorKind};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

pub(super) const VENDOR: &str = "elevenlabs";

#[derive(Serialize)]
struct Body<'a> {
    text: &'a str,
    model_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_code: Option<&'a str>,
}

/// The body of a synthesis. The language goes only to models that take one: others refuse the request.
pub(super) fn body(text: &str, model: &str, language: Option<&str>) -> Vec<u8> {
    let takes_language = model.contains("v2_5") || model.contains("_v3");
    let body = Body { text, model_id: model, language_code: language.filter(|_| takes_language) };
    // A map of strings always serialises; an empty body would be refused by the vendor, never spoken.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The address of a synthesis. The format belongs in the query; in the body it is ignored and MP3 comes.
pub(super) fn speak_url(base: &str, voice: &str, format: &str) -> String {
    let base = base.trim_end_matches('/');
    let voice: String = form_urlencoded::byte_serialize(voice.as_bytes()).collect();
    let format: String = form_urlencoded::byte_serialize(format.as_bytes()).collect();
    format!("{base}/v1/text-to-speech/{voice}/stream?output_format={format}")
}

/// An address that costs nothing.
pub(super) fn warm_url(base: &str) -> String {
    format!("{}/v1/models", base.trim_end_matches('/'))
}

/// Samples per second of a `pcm_…` format; `None` for any other.
pub(super) fn pcm_rate(format: &str) -> Option<u32> {
    format.strip_prefix("pcm_")?.parse().ok().filter(|rate| (8_000..=48_000).contains(rate))
}

/// What a refusal means. The code decides first: an empty account comes as 401 too.
pub(super) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
    use ProviderErrorKind::{Auth, Protocol, Quota, RateLimited, Refused, Server, Timeout};
    let code = code(body);
    let kind = match (status, code.as_deref()) {
        (402, _) | (_, Some("quota_exceeded" | "insufficient_credits")) => Quota,
        (401, _) | (403, Some("insufficient_permissions")) => Auth,
        (408, _) => Timeout,
        (429, _) => RateLimited { retry_after },
        (409 | 425 | 500..=599, _) => Server,
        (400..=499, _) => Refused,
        _ => Protocol,
    };
    let code = code.unwrap_or_else(|| format!("http_{status}"));
    ProviderError::new(VENDOR, kind, code)
}

/// `detail.code`, else `detail.status`; `detail` may also be a list or a text, which carry no code.
fn code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let detail = body.get("detail")?;
    ["code", "status"]
        .iter()
        .filter_map(|key| detail.get(key)?.as_str())
        // A code goes into logs and metrics: only what looks like one is taken for one.
        .find(|code| {
            !code.is_empty()
                && code.len() <= 64
                && code.chars().all(|c| c.is_ascii_alphanumeric() || "_-+.".contains(c))
        })
        .map(str::to_owned)
}
