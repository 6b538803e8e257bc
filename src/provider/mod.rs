//! The vendors, each behind one narrow interface: another vendor is another folder.
//!
//! A vendor's `wire` is private to its folder and total (unknown events and fields survive); its `client` turns it
//! into the types of `stt`, `tts` and `llm`. Nothing here knows an actor. Errors never carry a body or a key.

pub mod breaker;
pub mod http;
pub mod llm;
pub mod measured;
pub mod retry;
pub mod stt;
pub mod tts;

use std::time::Duration;

/// What went wrong with a vendor, in the words that decide what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderErrorKind {
    /// No answer in time: connecting, waiting for the head, or a gap in the body.
    Timeout,
    /// The connection was refused, or the host cannot be resolved or trusted.
    Unreachable,
    /// The request was refused for good (4xx): repeating it will not help.
    Refused,
    /// Too much at once; `retry_after` as the vendor asked, if it did.
    RateLimited {
        /// How long the vendor asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Our credentials are not accepted.
    Auth,
    /// The account is out of money or quota: never retried.
    Quota,
    /// A fault of the vendor's (5xx, overload).
    Server,
    /// What came is not what the protocol says.
    Protocol,
    /// The stream ended before it was complete.
    Closed,
}

impl ProviderErrorKind {
    /// One word for it, for logs, metrics and traces.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::RateLimited { .. } => "rate_limited",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::Server => "server",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
        }
    }
}

/// A vendor's failure: who, what, and the stable code it is counted under.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{vendor} failed: {code}")]
pub struct ProviderError {
    /// The vendor's short name (`deepgram`, `elevenlabs`, `openai`).
    pub vendor: &'static str,
    /// What decides about a retry.
    pub kind: ProviderErrorKind,
    /// Stable code for logs, metrics and the audit trail (`connect_timeout`, `http_429`, `net-0001`).
    pub code: String,
}

impl ProviderError {
    /// A failure of `vendor`.
    pub fn new(vendor: &'static str, kind: ProviderErrorKind, code: impl Into<String>) -> Self {
        Self { vendor, kind, code: code.into() }
    }

    /// Whether the same request may succeed if it is sent again.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ProviderErrorKind::Timeout
            | ProviderErrorKind::Unreachable
            | ProviderErrorKind::RateLimited { .. }
            | ProviderErrorKind::Server
            | ProviderErrorKind::Closed => true,
            ProviderErrorKind::Refused
            | ProviderErrorKind::Auth
            | ProviderErrorKind::Quota
            | ProviderErrorKind::Protocol => false,
        }
    }
}
