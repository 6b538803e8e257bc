//! Text to speech: ElevenLabs first, Deepgram Aura when it fails.

use super::setting::settings;
use super::validate::{credential, one_of, required, vendor_base, voice_id, within};
use secrecy::SecretString;

/// Formats that are understood: mu-law as the telephone has it, or PCM to be resampled.
const FORMATS: &[&str] = &["ulaw_8000", "pcm_8000", "pcm_16000", "pcm_24000"];

settings! {
    /// Text to speech.
    pub struct TtsConfig {
        /// ElevenLabs' HTTP base.
        base_url: String = "https://api.elevenlabs.io".into(), env "ELEVENLABS_BASE_URL", check vendor_base;
        /// ElevenLabs' key.
        api_key: SecretString = SecretString::default(), env "ELEVENLABS_API_KEY", check credential;
        /// Voice.
        voice_id: String = String::new(), env "ELEVENLABS_VOICE_ID", check voice_id;
        /// Model.
        model: String = "eleven_turbo_v2".into(), check required;
        /// `ulaw_8000`, or `pcm_8000`, `pcm_16000`, `pcm_24000` for voices that cannot (then resampled here).
        output_format: String = "ulaw_8000".into(), check one_of(FORMATS);
        /// Language, ISO 639-1, where the model takes one.
        language: Option<String> = None;
        /// Aura's voice, the fallback (its base URL and key are those of `stt`).
        fallback_model: String = "aura-asteria-en".into(), check required;
        /// Time limit to the first audio byte, ms.
        first_audio_ms: u64 = 1_500, check within(200, 10_000);
        /// Longest gap within a stream, ms.
        gap_ms: u64 = 1_000, check within(100, 10_000);
        /// Requests at once to each vendor from this process; a live reply never queues, it goes to the fallback.
        max_concurrent: usize = 1_000, check within(1, 100_000);
        /// Failures within `breaker_window_ms` after which a vendor is skipped.
        breaker_failures: u32 = 5, check within(1, 1_000);
        /// Window of those failures, ms.
        breaker_window_ms: u64 = 30_000, check within(100, 3_600_000);
        /// How long a vendor is skipped before one request tries it again, ms.
        breaker_open_ms: u64 = 15_000, check within(100, 3_600_000);
    }
}
