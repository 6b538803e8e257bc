//! What happens to the voice of a call, and what is to be done about it.

use super::messages::Spoke;
use crate::domain::ids::ReplyId;
use bytes::Bytes;

/// One synthesis.
pub type JobId = u64;

/// Why a voice was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It kept failing and is left alone for a while.
    BreakerOpen,
    /// As many requests as allowed are out.
    AtCapacity,
}

impl Skip {
    /// Stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::AtCapacity => "at_capacity",
        }
    }
}

/// What happens to the voice.
#[derive(Clone, Debug)]
pub enum Event {
    /// A sentence to be spoken.
    Speak {
        /// Its reply.
        reply: ReplyId,
        /// Its position in the reply.
        sentence: u32,
        /// The words.
        text: String,
        /// Whether its audio is worth keeping.
        keep: bool,
        /// Its audio, if it was kept before.
        kept: Option<Bytes>,
    },
    /// The reply is stopped.
    Stop(ReplyId),
    /// A voice that was to start was not asked.
    Skipped {
        /// Which synthesis.
        job: JobId,
        /// Why.
        why: Skip,
    },
    /// Audio has come.
    Audio {
        /// Of which synthesis.
        job: JobId,
        /// mu-law, 8 kHz, any length.
        audio: Bytes,
        /// What waits at the playback already, ms.
        waiting_ms: u64,
    },
    /// The answer to [`Effect::Await`].
    Low,
    /// A synthesis is complete.
    Ended {
        /// Which.
        job: JobId,
    },
    /// A synthesis broke.
    Failed {
        /// Which.
        job: JobId,
        /// Stable code.
        code: String,
    },
    /// The answer to [`Effect::Retract`].
    Retracted {
        /// Which reply.
        reply: ReplyId,
        /// Which sentence.
        sentence: u32,
        /// How much of the sentence has been sent, ms.
        sent_ms: u64,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask a voice. Answered by `Skipped` if it cannot be asked now.
    Start {
        /// The synthesis.
        job: JobId,
        /// Which voice, 0 first.
        voice: usize,
        /// The words.
        text: String,
        /// Requested ahead: not audible yet.
        ahead: bool,
    },
    /// Play kept audio as if it were synthesised.
    Replay {
        /// The synthesis it stands for.
        job: JobId,
        /// The audio.
        audio: Bytes,
    },
    /// Tell when less than [`RUNWAY_MS`](super::messages::RUNWAY_MS) of audio waits at the playback; answered by `Low`,
    /// at once or later.
    Await,
    /// Drop a synthesis.
    Cancel(JobId),
    /// Read no more of a synthesis for now.
    Pause(JobId),
    /// A synthesis requested ahead is the audible one now: read on, at the pace of the playback.
    Promote(JobId),
    /// Announce a sentence to the playback.
    Begin {
        /// Its reply.
        reply: ReplyId,
        /// Its position.
        sentence: u32,
        /// All its words.
        text: String,
    },
    /// Hand audio to the playback.
    Play {
        /// Its reply.
        reply: ReplyId,
        /// Its sentence.
        sentence: u32,
        /// Whole frames, except at the end of a sentence.
        audio: Bytes,
    },
    /// The sentence is complete.
    End {
        /// Its reply.
        reply: ReplyId,
        /// Its position.
        sentence: u32,
    },
    /// Take back what was not sent; answered by `Retracted`.
    Retract {
        /// Its reply.
        reply: ReplyId,
        /// Its position.
        sentence: u32,
    },
    /// Keep the audio of a text spoken by the first voice.
    Keep {
        /// The words.
        text: String,
        /// All its audio.
        audio: Bytes,
    },
    /// Tell the call.
    Tell(Spoke),
}
