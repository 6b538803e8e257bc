//! From a request to a checked stream of audio: what every vendor over HTTP does alike.

use super::SpeechStream;
use super::head::{self, Encoding};
use crate::provider::{ProviderError, ProviderErrorKind, http};
use awc::ClientRequest;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use std::time::{Duration, SystemTime};

/// Time limits of one synthesis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the request to the first audio.
    pub(super) first_audio: Duration,
    /// Between two pieces of audio.
    pub(super) gap: Duration,
}

/// Reads a refusal: status, the wait asked for, the beginning of the body.
pub(super) type ReadError = fn(u16, Option<Duration>, &[u8]) -> ProviderError;

/// Sends `request` with `body` (JSON); resolves once the first audio has come and was judged.
pub(super) async fn speak(
    vendor: &'static str,
    request: ClientRequest,
    body: Vec<u8>,
    wanted: Encoding,
    limits: Limits,
    read_error: ReadError,
) -> Result<SpeechStream, ProviderError> {
    let begun = begin(vendor, request, body, wanted, limits.gap, read_error);
    http::within(vendor, limits.first_audio, "first_audio_timeout", begun).await
}

async fn begin(
    vendor: &'static str,
    request: ClientRequest,
    body: Vec<u8>,
    wanted: Encoding,
    gap: Duration,
    read_error: ReadError,
) -> Result<SpeechStream, ProviderError> {
    let mut response = request
        .content_type("application/json")
        .send_body(body)
        .await
        .map_err(|error| http::map_send_error(vendor, &error))?;
    let status = response.status();
    if !status.is_success() {
        let body = http::error_body(&mut response).await;
        let retry_after = http::retry_after(response.headers(), SystemTime::now());
        return Err(read_error(status.as_u16(), retry_after, &body));
    }
    let media_type = http::media_type(response.headers());
    // Before the first byte, so that an error in JSON is not waited for as if it were audio.
    head::check(vendor, wanted, &media_type, &[])?;
    let mut body = http::body(vendor, response);
    let mut first = BytesMut::new();
    while first.len() < head::ENOUGH {
        match body.next().await {
            Some(Ok(bytes)) => first.extend_from_slice(&bytes),
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    head::check(vendor, wanted, &media_type, &first)?;
    if first.is_empty() {
        return Err(ProviderError::new(vendor, ProviderErrorKind::Protocol, "empty_audio"));
    }
    let first: Result<Bytes, ProviderError> = Ok(first.freeze());
    Ok(stream::iter([first]).chain(http::idle(vendor, body, gap)).boxed_local())
}
