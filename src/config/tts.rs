//! Text to speech: ElevenLabs first, Deepgram Aura when it fails.

use secrecy::SecretString;
use serde::Deserialize;

/// Text to speech.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TtsConfig {
    /// ElevenLabs' HTTP base (`ELEVENLABS_BASE_URL`).
    pub base_url: String,
    /// ElevenLabs' key (`ELEVENLABS_API_KEY`).
    pub api_key: SecretString,
    /// Voice (`ELEVENLABS_VOICE_ID`).
    pub voice_id: String,
    /// Model.
    pub model: String,
    /// `ulaw_8000`, or `pcm_16000` / `pcm_24000` for voices that cannot (then resampled here).
    pub output_format: String,
    /// Language, ISO 639-1, where the model takes one.
    pub language: Option<String>,
    /// Aura's voice, the fallback (its base URL and key are those of `stt`).
    pub fallback_model: String,
    /// Time limit to the first audio byte, ms.
    pub first_audio_ms: u64,
    /// Longest gap within a stream, ms.
    pub gap_ms: u64,
    /// Requests at once to each vendor from this process; a live reply never queues, it goes to the fallback.
    pub max_concurrent: usize,
    /// Failures within `breaker_window_ms` after which a vendor is skipped.
    pub breaker_failures: u32,
    /// Window of those failures, ms.
    pub breaker_window_ms: u64,
    /// How long a vendor is skipped before one request tries it again, ms.
    pub breaker_open_ms: u64,
}

impl Default for TtsConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.elevenlabs.io".into(),
            api_key: SecretString::from(String::new()),
            voice_id: String::new(),
            model: "eleven_turbo_v2".into(),
            output_format: "ulaw_8000".into(),
            language: None,
            fallback_model: "aura-asteria-en".into(),
            first_audio_ms: 1_500,
            gap_ms: 1_000,
            max_concurrent: 1_000,
            breaker_failures: 5,
            breaker_window_ms: 30_000,
            breaker_open_ms: 15_000,
        }
    }
}
