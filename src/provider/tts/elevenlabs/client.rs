//! The voice as the call uses it.

use super::wire;
use crate::config::tts::TtsConfig;
use crate::provider::tts::head::Encoding;
use crate::provider::tts::stream::{self, Limits};
use crate::provider::tts::{SpeechStream, TtsVoice};
use crate::provider::{ProviderError, http};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::StreamExt;
use secrecy::ExposeSecret;
use std::rc::Rc;
use std::time::Duration;

/// Time limit of a warm-up, which nobody waits for.
const WARM_LIMIT: Duration = Duration::from_secs(5);

/// Turns PCM of one synthesis (16 bit signed little-endian, mono, whole samples) into mu-law at 8 kHz. Called with
/// an empty slice at the end, for what the filter still holds.
pub type PcmToMulaw = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

/// Makes a converter for one synthesis at a sample rate in Hz.
pub type PcmFactory = Rc<dyn Fn(u32) -> PcmToMulaw>;

/// One voice at ElevenLabs.
pub struct ElevenLabsVoice {
    config: Rc<TtsConfig>,
    client: awc::Client,
    pcm: PcmFactory,
}

impl ElevenLabsVoice {
    /// The voice of `config`. `pcm` is asked for a converter if the format is `pcm_…`.
    pub fn new(config: Rc<TtsConfig>, client: awc::Client, pcm: PcmFactory) -> Self {
        Self { config, client, pcm }
    }
}

impl TtsVoice for ElevenLabsVoice {
    fn vendor(&self) -> &'static str {
        wire::VENDOR
    }

    fn speak(&self, text: String) -> LocalBoxFuture<'static, Result<SpeechStream, ProviderError>> {
        let config = &self.config;
        let url = wire::speak_url(&config.base_url, &config.voice_id, &config.output_format);
        let request = self.client.post(url).insert_header(("xi-api-key", config.api_key.expose_secret()));
        let body = wire::body(&text, &config.model, config.language.as_deref());
        let limits = Limits {
            first_audio: Duration::from_millis(config.first_audio_ms),
            gap: Duration::from_millis(config.gap_ms),
        };
        let rate = wire::pcm_rate(&config.output_format);
        let encoding = if rate.is_some() { Encoding::Pcm } else { Encoding::Mulaw };
        let pcm = Rc::clone(&self.pcm);
        async move {
            let audio = stream::speak(wire::VENDOR, request, body, encoding, limits, wire::refusal).await?;
            Ok(match rate {
                Some(rate) => convert(audio, pcm(rate)),
                None => audio,
            })
        }
        .boxed_local()
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        let request = self
            .client
            .get(wire::warm_url(&self.config.base_url))
            .insert_header(("xi-api-key", self.config.api_key.expose_secret()));
        http::warm(request, WARM_LIMIT).boxed_local()
    }
}

/// PCM to mu-law. Half a sample waits for its other half, and is dropped where the stream ends or breaks.
fn convert(audio: SpeechStream, converter: PcmToMulaw) -> SpeechStream {
    struct State {
        audio: SpeechStream,
        converter: PcmToMulaw,
        half: Option<u8>,
        done: bool,
    }
    let state = State { audio, converter, half: None, done: false };
    futures_util::stream::unfold(state, |mut state| async move {
        loop {
            if state.done {
                return None;
            }
            let mulaw = match state.audio.next().await {
                Some(Ok(bytes)) => {
                    let mut samples = Vec::with_capacity(bytes.len().saturating_add(1));
                    samples.extend(state.half.take());
                    samples.extend_from_slice(&bytes);
                    if samples.len() % 2 == 1 {
                        state.half = samples.pop();
                    }
                    if samples.is_empty() {
                        continue;
                    }
                    (state.converter)(&samples)
                }
                Some(Err(error)) => {
                    state.done = true;
                    return Some((Err(error), state));
                }
                None => {
                    state.done = true;
                    (state.converter)(&[])
                }
            };
            if !mulaw.is_empty() {
                return Some((Ok(Bytes::from(mulaw)), state));
            }
        }
    })
    .boxed_local()
}
