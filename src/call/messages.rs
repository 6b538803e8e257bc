//! What a call accepts from outside, and what it tells its registry.

use crate::domain::appointment::Customer;
use crate::domain::call::{EndReason, Outcome};
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::phone::PhoneNumber;
use crate::domain::turn::ResumeState;
use actix::Message;
use serde::{Deserialize, Serialize};

/// What Twilio is to do with the caller once the stream is closed; answered by `/voice/continue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Hang up, after saying something in Twilio's own voice if our own is lost.
    HangUp {
        /// What Twilio is to say first.
        say: Option<String>,
    },
    /// Connect the caller to the business's person.
    Dial {
        /// What Twilio is to say first.
        say: Option<String>,
    },
}

/// The fact a call is resumed with after a person was rung in vain.
pub const UNANSWERED: &str = "The person the caller was being connected to did not answer.";

/// Ends a call from outside: staff, a terminal status, the sweep.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct EndCall(pub EndReason);

/// What staff want of a live call. Answered with whether it is done: not while the call's last words are being said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Message)]
#[serde(rename_all = "snake_case")]
#[rtype(result = "bool")]
pub enum StaffOrder {
    /// Hang up.
    End {
        /// After a goodbye.
        goodbye: bool,
    },
    /// Put the caller through to a person.
    Transfer {
        /// To this one and not the business's own; kept by the registry, which is asked where to ring.
        to: Option<PhoneNumber>,
    },
    /// Say this now, in the bot's voice and name.
    Say(String),
    /// Be silent and answer nothing from now on, or speak again.
    Mute(bool),
}

impl StaffOrder {
    /// The word for audit rows and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::End { .. } => "end",
            Self::Transfer { .. } => "transfer",
            Self::Say(_) => "say",
            Self::Mute(true) => "mute",
            Self::Mute(false) => "unmute",
        }
    }
}

/// How a call left its actor.
#[derive(Clone, Debug, PartialEq)]
pub enum Departure {
    /// It is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// The stream was closed by us; Twilio will ask what is next.
    Decided {
        /// What is next.
        next: NextStep,
        /// Why the call ends with it; `None` while a person is being rung.
        reason: Option<EndReason>,
    },
    /// The stream broke; the call may go on with another one.
    Broke,
}

/// A call has left its actor. Sent once, after its last turn was handed to the database.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct CallLeft {
    /// Which call.
    pub sid: CallSid,
    /// Which owner of it.
    pub epoch: Epoch,
    /// How.
    pub departure: Departure,
    /// What it achieved so far.
    pub outcome: Outcome,
    /// What another owner needs to go on.
    pub resume: Box<ResumeState>,
}

/// It is known who is on the other end of a call, or known better than before.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct CallerKnown {
    /// Which call.
    pub sid: CallSid,
    /// Their record.
    pub customer: Customer,
}

/// Something the stream tells its call.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum StreamEvent {
    /// A mark came back.
    Mark(String),
    /// A key was pressed.
    Digit(char),
    /// Twilio said `stop`: the caller hung up, or the call was redirected.
    Stopped,
    /// The socket is gone without a `stop`.
    Broke,
    /// Audio of replies went out for the first time.
    FirstSent(Vec<crate::domain::ids::ReplyId>),
    /// The caller's voice has lasted this long over the bot, ms.
    VoiceOver(u64),
    /// Another process is to go on with the call: it lets go of its stream at its next pause. Told by the registry.
    LetGo {
        /// How long a pause is waited for.
        within: std::time::Duration,
    },
}

/// The call is over or gone: its stream's socket is to be closed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct CloseStream {
    /// Whether the call's actor left in good order.
    pub orderly: bool,
}

/// Breaks something on purpose: fault injection of the tests and of operators' drills.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum InjectFault {
    /// A child panics.
    Child(super::machine::Child),
    /// The call's own actor panics.
    Call,
}
