//! The language model, on any host that speaks OpenAI's chat completions.

use secrecy::SecretString;
use serde::Deserialize;

/// One host's habits (`openai.md` sections 0, 1 and 8).
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostConfig {
    /// Base with the version, as the SDKs have it (`OPENAI_BASE_URL`).
    pub base_url: String,
    /// Key (`OPENAI_API_KEY`).
    pub api_key: SecretString,
    /// Model of the conversation.
    pub model: String,
    /// Whether `tool` messages carry the function's `name`: Gemini's host needs it, Groq's refuses it.
    pub tool_name: bool,
    /// `max_completion_tokens` (OpenAI) or the older `max_tokens`.
    pub max_tokens_field: String,
    /// Tokens a reply may have.
    pub max_tokens: u32,
    /// Sampling temperature; absent for models that refuse it.
    pub temperature: Option<f64>,
    /// `reasoning_effort`; absent unless the model wants it.
    pub reasoning_effort: Option<String>,
    /// Whether to ask for usage figures in the stream.
    pub include_usage: bool,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.openai.com/v1".into(),
            api_key: SecretString::from(String::new()),
            model: "gpt-4o".into(),
            tool_name: true,
            max_tokens_field: "max_completion_tokens".into(),
            max_tokens: 400,
            temperature: Some(0.6),
            reasoning_effort: None,
            include_usage: true,
        }
    }
}

/// The language model.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlmConfig {
    /// The host that answers.
    pub primary: HostConfig,
    /// The one that answers when it does not; its `base_url` and key default to the primary's when empty.
    pub fallback: Option<HostConfig>,
    /// Model of summaries, on the primary host.
    pub summary_model: String,
    /// Time limit to connect, ms.
    pub connect_timeout_ms: u64,
    /// Time limit to the response's head, ms.
    pub first_byte_ms: u64,
    /// Longest gap within a stream, ms.
    pub gap_ms: u64,
    /// Retries of one request before its first token.
    pub retries: u32,
    /// First wait before a retry, ms; doubles.
    pub retry_ms: u64,
    /// Longest `Retry-After` that a live turn waits for, ms.
    pub retry_after_max_ms: u64,
    /// Without a first token after this, the fallback model is asked, ms.
    pub switch_ms: u64,
    /// Turns kept word for word.
    pub history_turns: usize,
    /// Tokens kept, estimated.
    pub history_tokens: usize,
    /// Time limit of one tool, ms.
    pub tool_ms: u64,
    /// Rounds of tool calls after which the model is told to conclude.
    pub tool_rounds: u32,
    /// Requests at once from this process.
    pub max_concurrent: usize,
    /// Failures within `breaker_window_ms` after which a host is skipped.
    pub breaker_failures: u32,
    /// Window of those failures, ms.
    pub breaker_window_ms: u64,
    /// How long a host is skipped before one request tries it again, ms.
    pub breaker_open_ms: u64,
}

impl Default for LlmConfig {
    fn default() -> Self {
        Self {
            primary: HostConfig::default(),
            fallback: None,
            summary_model: "gpt-4o-mini".into(),
            connect_timeout_ms: 3_000,
            first_byte_ms: 8_000,
            gap_ms: 5_000,
            retries: 2,
            retry_ms: 300,
            retry_after_max_ms: 2_000,
            switch_ms: 5_000,
            history_turns: 24,
            history_tokens: 6_000,
            tool_ms: 5_000,
            tool_rounds: 4,
            max_concurrent: 1_000,
            breaker_failures: 5,
            breaker_window_ms: 30_000,
            breaker_open_ms: 15_000,
        }
    }
}
