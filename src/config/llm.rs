//! The language model, on any host that speaks OpenAI's chat completions.

use super::setting::settings;
use super::validate::{credential, one_of, required, temperature, vendor_base, within};
use secrecy::SecretString;

/// What the limit of a reply's tokens is called: by OpenAI, and by everybody before.
const MAX_TOKENS_FIELDS: &[&str] = &["max_completion_tokens", "max_tokens"];

settings! {
    /// One host's habits (`openai.md` sections 0, 1 and 8). The primary's base URL and key are also `OPENAI_BASE_URL`
    /// and `OPENAI_API_KEY`.
    pub struct HostConfig {
        /// Base with the version, as the SDKs have it.
        base_url: String = "https://api.openai.com/v1".into(), check vendor_base;
        /// Key.
        api_key: SecretString = SecretString::default(), check credential;
        /// Model of the conversation.
        model: String = "gpt-4o".into(), check required;
        /// Whether `tool` messages carry the function's `name`: Gemini's host needs it, Groq's refuses it.
        tool_name: bool = true;
        /// `max_completion_tokens` (OpenAI) or the older `max_tokens`.
        max_tokens_field: String = "max_completion_tokens".into(), check one_of(MAX_TOKENS_FIELDS);
        /// Tokens a reply may have.
        max_tokens: u32 = 400, check within(16, 100_000);
        /// Sampling temperature, 0 to 2; `none` for models that refuse it.
        temperature: Option<f64> = Some(0.6), check temperature;
        /// `reasoning_effort`; absent unless the model wants it.
        reasoning_effort: Option<String> = None;
        /// Whether to ask for usage figures in the stream.
        include_usage: bool = true;
    }
}

settings! {
    /// The language model.
    pub struct LlmConfig {
        /// Model of summaries, on the primary host.
        summary_model: String = "gpt-4o-mini".into(), check required;
        /// Time limit to connect, ms.
        connect_timeout_ms: u64 = 3_000, check within(100, 60_000);
        /// Time limit to the response's head, ms.
        first_byte_ms: u64 = 8_000, check within(100, 60_000);
        /// Longest gap within a stream, ms.
        gap_ms: u64 = 5_000, check within(100, 60_000);
        /// Retries of one request before its first token.
        retries: u32 = 2, check within(0, 10);
        /// First wait before a retry, ms; doubles.
        retry_ms: u64 = 300, check within(1, 60_000);
        /// Longest `Retry-After` that a live turn waits for, ms.
        retry_after_max_ms: u64 = 2_000, check within(0, 60_000);
        /// Without a first token after this, the fallback model is asked, ms.
        switch_ms: u64 = 5_000, check within(100, 60_000);
        /// Turns kept word for word.
        history_turns: usize = 24, check within(1, 1_000);
        /// Tokens kept, estimated.
        history_tokens: usize = 6_000, check within(500, 1_000_000);
        /// Time limit of one tool, ms.
        tool_ms: u64 = 5_000, check within(100, 60_000);
        /// Rounds of tool calls after which the model is told to conclude.
        tool_rounds: u32 = 4, check within(1, 50);
        /// Requests at once from this process.
        max_concurrent: usize = 1_000, check within(1, 100_000);
        /// Failures within `breaker_window_ms` after which a host is skipped.
        breaker_failures: u32 = 5, check within(1, 1_000);
        /// Window of those failures, ms.
        breaker_window_ms: u64 = 30_000, check within(100, 3_600_000);
        /// How long a host is skipped before one request tries it again, ms.
        breaker_open_ms: u64 = 15_000, check within(100, 3_600_000);
    }
    nested {
        /// The host that answers.
        primary: HostConfig = HostConfig::default();
        /// The one that answers when it does not. It is there when any of its settings is; the others are the
        /// primary's, but a key is never sent to another host.
        fallback: Option<HostConfig> = None;
    }
}
