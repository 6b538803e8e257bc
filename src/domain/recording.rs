//! Recordings as they are known: where one lies, how it stands.

use super::ids::CallSid;
use super::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// How a recording stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingState {
    /// The call goes on, or may go on.
    Recording,
    /// Complete, on this machine.
    Stored,
    /// Complete, in the object store.
    Uploaded,
    /// Nothing could be kept.
    Failed,
    /// Deleted.
    Erased,
}

impl RecordingState {
    /// The word as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Stored => "stored",
            Self::Uploaded => "uploaded",
            Self::Failed => "failed",
            Self::Erased => "erased",
        }
    }

    /// The value a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Recording, Self::Stored, Self::Uploaded, Self::Failed, Self::Erased]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// One recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The call.
    pub sid: CallSid,
    /// Its place in the folder or in the object store, `2026/11/22/CA….wav`.
    pub location: String,
    /// How it stands.
    pub state: RecordingState,
    /// Length of its file, bytes.
    pub bytes: u64,
    /// Length of its audio, ms.
    pub ms: u64,
    /// When its first sample was.
    pub started: UnixMillis,
    /// The same in milliseconds since the call's start, as turns are timed.
    pub offset_ms: u64,
    /// Frames of 20 ms that could not be kept.
    pub dropped_frames: u64,
}
