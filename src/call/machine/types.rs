//! What happens to a call, what it wants done, and what it is set up with.

use crate::call::dialogue::messages::{Fate, Thought};
use crate::call::messages::{Departure, StaffOrder, StreamEvent};
use crate::call::stt::messages::Heard;
use crate::call::tts::messages::Spoke;
use crate::config::call::CallConfig;
use crate::domain::audit::AuditEvent;
use crate::domain::call::EndReason;
use crate::domain::ids::{Epoch, ReplyId};
use crate::domain::time::CallTime;
use crate::domain::turn::{ResumeState, TurnRecord};
use std::collections::BTreeMap;
use std::time::Duration;

/// The children of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    /// The ear.
    Stt,
    /// The voice.
    Tts,
    /// The mind.
    Dialogue,
}

impl Child {
    /// The word for audit rows and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Dialogue => "dialogue",
        }
    }
}

/// The timers of a call. Setting one that runs replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The caller has waited long enough for something to be said.
    Filler,
    /// The caller has waited too long for the answer.
    Apology,
    /// Nobody has spoken for a while.
    Idle,
    /// The longest allowed call.
    MaxDuration,
    /// A mark should have come back.
    Mark,
    /// The caller went on, but no more words came.
    Resume,
    /// No further key was pressed.
    Digits,
    /// The ear had its time to deliver the last words.
    Closing,
    /// The last words of the call should have been heard by now.
    LeaveBy,
    /// The call is to be handed over at its next pause.
    LetGo,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its actor is ready; the customer was looked up. The greeting's words.
    Begin {
        /// What the bot says first.
        greeting: String,
    },
    /// The ear tells something.
    Heard(Heard),
    /// The mind tells something.
    Thought(Thought),
    /// The voice tells something.
    Spoke(Spoke),
    /// The stream tells something.
    Stream(StreamEvent),
    /// A timer ran out.
    Timer(Timer),
    /// A child is down and will be started again.
    ChildDown(Child),
    /// A child is there again.
    ChildUp(Child),
    /// A child cannot be kept alive.
    ChildGone(Child),
    /// Staff want something.
    Staff(StaffOrder),
    /// As much money as is allowed was spent.
    SpendCap,
    /// The call is to end now.
    End(EndReason),
}

/// What a call wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Twilio's buffer is cleared: the playback's `clear` goes on the wire now.
    Clear,
    /// The voice speaks a sentence.
    Speak {
        /// Which reply.
        reply: ReplyId,
        /// Its position.
        sentence: u32,
        /// The words.
        text: String,
        /// Whether the audio is worth keeping.
        cache: bool,
    },
    /// The voice forgets a reply.
    StopSpeech(ReplyId),
    /// The mind answers a turn.
    Answer {
        /// The answer's number.
        reply: ReplyId,
        /// The whole turn.
        text: String,
    },
    /// The mind drops an answer.
    StopAnswer {
        /// Which.
        reply: ReplyId,
        /// What becomes of it.
        fate: Fate,
    },
    /// The mind learns that an answer was heard to its end.
    AnswerHeard {
        /// Which.
        reply: ReplyId,
        /// The words.
        text: String,
    },
    /// The mind learns what the bot said of its own accord.
    Said {
        /// Which reply.
        reply: ReplyId,
        /// The words heard.
        heard: String,
    },
    /// The mind learns of something beside the words.
    Note {
        /// One sentence about it.
        text: String,
    },
    /// The mind learns what the caller said and somebody else has answered.
    Overheard {
        /// The words.
        text: String,
    },
    /// The ear settles what it has.
    Finalize,
    /// The ear delivers its last words and stops.
    FinishListening,
    /// A timer is set.
    SetTimer(Timer, Duration),
    /// A timer is dropped.
    CancelTimer(Timer),
    /// A turn is written, or written again.
    Record(TurnRecord),
    /// Both sides are recorded from now on.
    StartRecording {
        /// Milliseconds since the call's start, as turns are timed.
        since_start_ms: u64,
    },
    /// What was recorded of the caller between two times is silenced.
    Silence {
        /// From here.
        from: CallTime,
        /// To here.
        to: CallTime,
    },
    /// The same, of what was recorded of an earlier stream.
    SilenceBefore {
        /// From here, in milliseconds since the call's start.
        from_ms: u64,
        /// To here.
        to_ms: u64,
    },
    /// What is needed to resume has changed beyond the turns.
    SaveState,
    /// A row of the audit trail is written.
    Audit(AuditEvent),
    /// The call leaves its actor. The last effect there is.
    Leave(Departure),
}

/// The words the bot says of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phrases {
    /// Bridges a wait; taken in turn.
    pub fillers: Vec<String>,
    /// Bridges the wait for a tool, by its name; said once, before the others.
    pub tool_fillers: BTreeMap<String, String>,
    /// Asks whether the caller is there; taken in turn.
    pub idle_prompts: Vec<String>,
    /// Before hanging up on silence.
    pub idle_goodbye: String,
    /// At the end, where the model said none.
    pub goodbye: String,
    /// After a failure the conversation can survive.
    pub say_again: String,
    /// While nothing the caller says can be made out; taken in turn.
    pub cannot_hear: Vec<String>,
    /// Once it can be again, where words may have been lost meanwhile.
    pub hears_again: String,
    /// After one it cannot, before hanging up.
    pub apology_goodbye: String,
    /// After one it cannot, before the caller is connected to a person.
    pub apology_transfer: String,
    /// Before the caller is connected to a person.
    pub transfer: String,
    /// At the longest allowed call.
    pub max_duration: String,
    /// After a broken stream.
    pub resumed: String,
    /// After a person was rung who did not answer.
    pub transfer_failed: String,
}

/// What a call is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Times and limits.
    pub config: CallConfig,
    /// The bot's own words.
    pub phrases: Phrases,
    /// Whether a person can be rung.
    pub can_transfer: bool,
    /// Whether the key `0` asks for a person.
    pub zero_for_person: bool,
    /// Whether the call is recorded.
    pub record: bool,
    /// Spoken before anything is recorded and before the greeting, not to be interrupted.
    pub notice: Option<String>,
    /// Whether the greeting is for this caller alone: it has a name in it, or why they are rung.
    pub named: bool,
    /// Which owner of the call this is; from the second on, the call is a resumed one.
    pub epoch: Epoch,
    /// What went before, if the call is resumed and it could be read.
    pub resume: Option<ResumeState>,
    /// Turns kept for a resume.
    pub keep_turns: usize,
}
