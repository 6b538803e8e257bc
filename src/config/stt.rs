//! Speech to text (Deepgram, `deepgram.md` sections 1 to 6).

use secrecy::SecretString;
use serde::Deserialize;

/// Speech to text.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SttConfig {
    /// HTTP base; the WebSocket address is derived (`DEEPGRAM_BASE_URL`).
    pub base_url: String,
    /// Key (`DEEPGRAM_API_KEY`); Aura uses the same.
    pub api_key: SecretString,
    /// Model.
    pub model: String,
    /// Language, BCP-47.
    pub language: String,
    /// Silence after which Deepgram says `speech_final`, ms.
    pub endpointing_ms: u32,
    /// Word gap after which Deepgram says `UtteranceEnd`, ms; at least 1,000.
    pub utterance_end_ms: u32,
    /// Punctuation.
    pub punctuate: bool,
    /// Digits for number words.
    pub numerals: bool,
    /// Holds unfinished entities back for up to 3 s: off by default.
    pub smart_format: bool,
    /// Interval of `KeepAlive` while no audio is sent, ms.
    pub keep_alive_ms: u64,
    /// Time limit of the handshake, ms.
    pub connect_timeout_ms: u64,
    /// Audio flows with voice in it, but no message comes: after this the connection is replaced, ms.
    pub stall_ms: u64,
    /// Audio kept for a reconnect, ms.
    pub gap_buffer_ms: u32,
    /// First wait before a reconnect, ms; doubles up to `reconnect_max_ms`.
    pub reconnect_ms: u64,
    /// Longest wait before a reconnect, ms.
    pub reconnect_max_ms: u64,
    /// Failed connects in a row after which the call is degraded.
    pub max_reconnects: u32,
    /// Most audio joined into one frame under load, ms.
    pub join_ms: u32,
}

impl Default for SttConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.deepgram.com".into(),
            api_key: SecretString::from(String::new()),
            model: "nova-2".into(),
            language: "en-US".into(),
            endpointing_ms: 300,
            utterance_end_ms: 1_000,
            punctuate: true,
            numerals: true,
            smart_format: false,
            keep_alive_ms: 4_000,
            connect_timeout_ms: 3_000,
            stall_ms: 3_000,
            gap_buffer_ms: 5_000,
            reconnect_ms: 250,
            reconnect_max_ms: 5_000,
            max_reconnects: 6,
            join_ms: 40,
        }
    }
}
