//! What the voice accepts and tells, and where its audio goes.

use crate::domain::audit::AuditEvent;
use crate::domain::ids::{Generation, ReplyId};
use actix::Message;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

/// Speaks one sentence. Sentences are spoken in the order in which they come.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Speak {
    /// The reply it belongs to.
    pub reply: ReplyId,
    /// Its position in the reply, from 0.
    pub sentence: u32,
    /// The words.
    pub text: String,
    /// Whether its audio is worth keeping for other calls: greetings, fillers, prompts.
    pub cache: bool,
}

/// Stops a reply: what is being synthesised is cancelled, what waits is forgotten.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopReply(pub ReplyId);

/// What the voice tells its call.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct TtsEvent {
    /// Which incarnation of the voice speaks.
    pub generation: Generation,
    /// What it tells.
    pub spoke: Spoke,
}

/// What became of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Spoke {
    /// The first audio of a reply has come.
    FirstAudio {
        /// Which reply.
        reply: ReplyId,
    },
    /// All audio of a sentence was handed over.
    SentenceDone {
        /// Which reply.
        reply: ReplyId,
        /// Which sentence.
        sentence: u32,
    },
    /// No voice could speak this sentence; the rest of the reply is dropped.
    Failed {
        /// Which reply.
        reply: ReplyId,
        /// Which sentence.
        sentence: u32,
        /// Stable code of the last failure.
        code: String,
    },
    /// A row for the audit trail.
    Audit(AuditEvent),
}

/// Panics inside the actor: fault injection of the tests.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct InjectPanic;

/// While this much audio or more waits to be sent, no further sentence is asked for, ms: time enough for two vendors to
/// fail to begin one after the other (`tts.first_audio_ms` each). What is asked for earlier is only held here, each with a
/// connection of its own, and paid for in vain if the caller interrupts.
pub const RUNWAY_MS: u64 = 3_000;

/// Where a voice puts its audio: the call's playback queue. On the call's own thread; audio is not mail.
pub trait VoiceOut {
    /// A vendor is asked to speak so many characters, which has its price.
    fn asked(&self, _vendor: &str, _chars: usize) {}
    /// Announces a sentence before its audio. `false` if the reply was stopped in the meantime.
    fn begin_sentence(&self, reply: ReplyId, sentence: u32, text: &str) -> bool;
    /// Adds audio (mu-law, 8 kHz, any length). `false` if the reply was stopped: nothing was taken.
    fn audio(&self, reply: ReplyId, sentence: u32, audio: Bytes) -> bool;
    /// The sentence is complete: its last frame is padded and its mark set.
    fn end_sentence(&self, reply: ReplyId, sentence: u32);
    /// Takes back what of this sentence has not been sent yet; tells how many ms of it have been, since it was announced
    /// or last taken back.
    fn retract(&self, reply: ReplyId, sentence: u32) -> u64;
    /// Resolves once there is room for more audio.
    fn room(&self) -> LocalBoxFuture<'static, ()>;
    /// How much audio waits to be sent, ms.
    fn waiting_ms(&self) -> u64;
    /// Resolves once less than [`RUNWAY_MS`] of audio waits to be sent.
    fn runs_low(&self) -> LocalBoxFuture<'static, ()>;
}
