//! Speech to text (Deepgram, `deepgram.md` sections 1 to 6).

use super::setting::settings;
use super::validate::{credential, required, vendor_base, within};
use secrecy::SecretString;

settings! {
    /// Speech to text.
    pub struct SttConfig {
        /// HTTP base; the WebSocket address is derived.
        base_url: String = "https://api.deepgram.com".into(), env "DEEPGRAM_BASE_URL", check vendor_base;
        /// Key; Aura uses the same.
        api_key: SecretString = SecretString::default(), env "DEEPGRAM_API_KEY", check credential;
        /// Model.
        model: String = "nova-2".into(), check required;
        /// Language, BCP-47.
        language: String = "en-US".into(), check required;
        /// Silence after which Deepgram says `speech_final`, ms.
        endpointing_ms: u32 = 300, check within(10, 5_000);
        /// Word gap after which Deepgram says `UtteranceEnd`, ms; at least 1,000.
        utterance_end_ms: u32 = 1_000, check within(1_000, 5_000);
        /// Punctuation.
        punctuate: bool = true;
        /// Digits for number words.
        numerals: bool = true;
        /// Holds unfinished entities back for up to 3 s: off by default.
        smart_format: bool = false;
        /// Interval of `KeepAlive` while no audio is sent, ms; Deepgram hangs up after 10 s without anything.
        keep_alive_ms: u64 = 4_000, check within(500, 9_000);
        /// Time limit of the handshake, ms.
        connect_timeout_ms: u64 = 1_500, check within(500, 10_000);
        /// Audio flows with voice in it, but no message comes: after this the connection is replaced, ms.
        stall_ms: u64 = 2_500, check within(1_500, 10_000);
        /// Connections at once, for the whole process; each call holds one, so more callers are told that all lines are
        /// busy, or are put through.
        max_concurrent: usize = 1_000, check within(1, 100_000);
        /// Audio kept for a reconnect, ms.
        gap_buffer_ms: u32 = 5_000, check within(500, 60_000);
        /// First wait before a reconnect, ms; doubles up to `reconnect_max_ms`.
        reconnect_ms: u64 = 250, check within(1, 5_000);
        /// Longest wait before a reconnect, ms: the caller's audio waits meanwhile. After `call.apology_ms` without a
        /// recogniser the call is given up with an apology.
        reconnect_max_ms: u64 = 500, check within(1, 5_000);
        /// Audio joined into one frame in the middle of the caller's speech, where nothing waits for it, ms.
        join_ms: u32 = 40, check within(20, 200);
        /// Silence sent in one frame while the caller has said nothing for longer than any utterance's end takes, ms;
        /// the frame that ends it is sent at once.
        silence_join_ms: u32 = 200, check within(20, 250);
    }
}
