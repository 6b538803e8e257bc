//! Requests and refusals on the wire (`deepgram.md` sections 1, 7, 9).

use crate::provider::{ProviderError, ProviderErrorKind};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const VENDOR: &str = "deepgram";

/// Characters that every model takes in one request.
pub(super) const TEXT_MAX: usize = 1_000;

/// The address of a synthesis. `container=none`: the default is a WAV header, heard as a click.
pub(super) fn speak_url(base: &str, model: &str) -> String {
    let base = base.trim_end_matches('/');
    let model: String = form_urlencoded::byte_serialize(model.as_bytes()).collect();
    format!("{base}/v1/speak?model={model}&encoding=mulaw&sample_rate=8000&container=none")
}

/// An address that costs nothing.
pub(super) fn warm_url(base: &str) -> String {
    format!("{}/v1/projects", base.trim_end_matches('/'))
}

/// The body of a synthesis.
pub(super) fn body(text: &str) -> Vec<u8> {
    json!({ "text": text }).to_string().into_bytes()
}

/// What a refusal means. The status decides, the codes' spelling is not stable.
pub(super) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> ProviderError {
    use ProviderErrorKind::{Auth, Protocol, Quota, RateLimited, Refused, Server, Timeout};
    let kind = match status {
        401 => Auth,
        402 => Quota,
        408 | 499 => Timeout,
        429 => RateLimited { retry_after },
        500..=599 => Server,
        400..=499 => Refused,
        _ => Protocol,
    };
    let code = code(body).unwrap_or_else(|| format!("http_{status}"));
    ProviderError::new(VENDOR, kind, code)
}

/// The code of the three families (`err_code`, once `error_code`; `category`; bare text has none), in one spelling.
fn code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let code = ["err_code", "error_code", "category"].iter().find_map(|key| body.get(key)?.as_str())?;
    let plain = code.chars().all(|c| c.is_ascii_alphanumeric() || " _-".contains(c));
    (plain && !code.is_empty() && code.len() <= 64)
        .then(|| code.to_ascii_lowercase().replace([' ', '-'], "_"))
}

/// Cuts a text into pieces of at most `max` characters: after a sentence if one ends in the second half, else at a
/// space, else where it must be.
pub(super) fn split(text: &str, max: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text.trim();
    while let Some((limit, _)) = rest.char_indices().nth(max) {
        let (window, _) = rest.split_at_checked(limit).unwrap_or((rest, ""));
        let sentence = window
            .char_indices()
            .zip(window.chars().skip(1))
            .filter(|((_, mark), next)| ".!?".contains(*mark) && next.is_whitespace())
            .map(|((at, mark), _)| at.saturating_add(mark.len_utf8()))
            .filter(|end| *end >= limit / 2)
            .last();
        let cut =
            sentence.or_else(|| window.rfind(char::is_whitespace).filter(|at| *at > 0)).unwrap_or(limit);
        let (piece, tail) = rest.split_at_checked(cut).unwrap_or((rest, ""));
        pieces.push(piece.trim_end().to_owned());
        rest = tail.trim_start();
    }
    if !rest.is_empty() {
        pieces.push(rest.to_owned());
    }
    pieces
}
