//! The append-only audit trail of a call.

use serde::{Deserialize, Serialize};

/// One row of a call's audit trail. `code` is stable and is the same word in logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Dotted lower-case code, `subject.what_happened` (`tts.fallback`, `tool.finished`).
    pub code: String,
    /// What there is to know, as a JSON object; never a key, never audio.
    pub detail: serde_json::Value,
}

impl AuditEvent {
    /// An event with its details.
    pub fn new(code: &str, detail: serde_json::Value) -> Self {
        Self { code: code.to_owned(), detail }
    }
}
