//! What the ear accepts and tells.

use crate::domain::audit::AuditEvent;
use crate::domain::ids::Generation;
use crate::domain::time::CallTime;
use actix::Message;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

/// Where the ear takes the caller's audio from: a ring on the call's own thread.
pub trait CallerAudio {
    /// Takes the oldest audio waiting, at most `max_bytes` of it (mu-law, 8 kHz, mono; whole frames of 160 bytes);
    /// nothing if none waits.
    fn take(&self, max_bytes: usize) -> Option<Bytes>;
    /// Comes to its end when audio waits to be taken, at once if some does already. Dropping it loses nothing.
    fn ready(&self) -> LocalBoxFuture<'static, ()>;
    /// Whether there is voice in the audio that came last.
    fn voiced(&self) -> bool;
}

/// What the ear tells its call.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SttEvent {
    /// Which incarnation of the ear speaks.
    pub generation: Generation,
    /// What it tells.
    pub heard: Heard,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The recogniser hears the caller (again).
    Ready,
    /// The caller's utterance so far: settled words and the newest guess, the whole of it each time.
    Partial {
        /// The words so far, never empty.
        text: String,
    },
    /// An utterance is complete. Each settled word is in exactly one of these.
    Utterance {
        /// The words, never empty.
        text: String,
        /// When the last word ended, on the call's clock, where the recogniser told.
        last_word_at: Option<CallTime>,
    },
    /// Sound that may be speech began: a hint, never a decision.
    SpeechStarted,
    /// Nothing the caller says can be made out for now: the connection broke or has gone silent, or there is none yet.
    /// Audio is being kept and a reconnect is under way. Told once, until `Ready`.
    Interrupted,
    /// The caller may be waiting since then, for words that cannot be told yet: there is no recogniser, or it is
    /// behind. Told again and again while that lasts.
    Waiting {
        /// When the recogniser fell silent, or the caller did.
        since: CallTime,
    },
    /// Words of the caller's may be missing: so much audio with voice in it was dropped.
    Hole {
        /// How much, ms.
        ms: u64,
    },
    /// The recogniser cannot be reached any more; the call has to go on without ears.
    Lost {
        /// Stable code of the last failure.
        code: String,
    },
    /// The digits in the utterance that comes next, with their times, where the recogniser told.
    Digits(Vec<SpokenDigits>),
    /// A row for the audit trail.
    Audit(AuditEvent),
}

/// Digits said in one breath, or pressed as one key.
#[derive(Clone, PartialEq, Eq)]
pub struct SpokenDigits {
    /// The digits.
    pub digits: String,
    /// When they began, on the call's clock.
    pub from: CallTime,
    /// When they were over.
    pub to: CallTime,
}

/// Shows how many they are only.
impl std::fmt::Debug for SpokenDigits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} digits]", self.digits.len())
    }
}

/// Settles what is buffered now (the caller pressed a key, or the call is ending).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Finalize;

/// Announces the end of the audio, collects last words for at most 2 s, then stops.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Finish;

/// Panics inside the actor: fault injection of the tests.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct InjectPanic;
