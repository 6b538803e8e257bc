//! The voice as the call uses it.

use super::wire;
use crate::config::stt::SttConfig;
use crate::config::tts::TtsConfig;
use crate::provider::tts::head::Encoding;
use crate::provider::tts::stream::{self, Limits};
use crate::provider::tts::{SpeechStream, TtsVoice};
use crate::provider::{ProviderError, ProviderErrorKind, http};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;
use std::rc::Rc;
use std::time::Duration;

/// Time limit of a warm-up, which nobody waits for.
const WARM_LIMIT: Duration = Duration::from_secs(5);

/// One voice at Deepgram.
pub struct DeepgramVoice {
    stt: Rc<SttConfig>,
    tts: Rc<TtsConfig>,
    client: awc::Client,
}

impl DeepgramVoice {
    /// The fallback voice of `tts`, with base URL and key of `stt`.
    pub fn new(stt: Rc<SttConfig>, tts: Rc<TtsConfig>, client: awc::Client) -> Self {
        Self { stt, tts, client }
    }
}

impl TtsVoice for DeepgramVoice {
    fn vendor(&self) -> &'static str {
        wire::VENDOR
    }

    fn speak(&self, text: String) -> LocalBoxFuture<'static, Result<SpeechStream, ProviderError>> {
        let url = wire::speak_url(&self.stt.base_url, &self.tts.fallback_model);
        let token = format!("Token {}", self.stt.api_key.expose_secret());
        let client = self.client.clone();
        let limits = Limits {
            first_audio: Duration::from_millis(self.tts.first_audio_ms),
            gap: Duration::from_millis(self.tts.gap_ms),
        };
        let ask = move |piece: String| {
            let request = client.post(url.as_str()).insert_header(("Authorization", token.as_str()));
            let body = wire::body(&piece);
            stream::speak(wire::VENDOR, request, body, Encoding::Mulaw, limits, wire::refusal)
        };
        async move {
            let mut pieces = wire::split(&text, wire::TEXT_MAX).into_iter();
            let Some(first) = pieces.next() else {
                return Err(ProviderError::new(wire::VENDOR, ProviderErrorKind::Refused, "empty_text"));
            };
            let head = ask(first).await?;
            // Each further piece is asked for when the one before is through: one request at a time. Their own limits
            // are narrower than this one; it is here because it ends the stream at its first failure.
            let rest = futures_util::stream::iter(pieces).then(ask).try_flatten();
            Ok(http::idle(wire::VENDOR, head.chain(rest), limits.first_audio.saturating_add(limits.gap)))
        }
        .boxed_local()
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        let request = self
            .client
            .get(wire::warm_url(&self.stt.base_url))
            .insert_header(("Authorization", format!("Token {}", self.stt.api_key.expose_secret())));
        http::warm(request, WARM_LIMIT).boxed_local()
    }
}
