//! What the roster is asked and what it answers.

use crate::call::messages::StaffOrder;
use crate::dialogue::prompt::Outbound;
use crate::domain::appointment::Customer;
use crate::domain::call::{CallFacts, CallKind, Direction, EndReason, Outcome};
use crate::domain::ids::{AdmissionId, CallSid};
use crate::domain::phone::{CallerId, PhoneNumber};
use crate::domain::time::UnixMillis;
use crate::domain::turn::ResumeState;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Limits and times of the roster.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls at once.
    pub max_calls: usize,
    /// How long an admission waits for its stream.
    pub reservation: Duration,
    /// How long a call whose stream is gone waits for the next.
    pub suspend: Duration,
    /// Broken streams a call survives.
    pub max_breaks: u32,
}

/// A call that asks to be let in.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// Twilio's identifier.
    pub sid: CallSid,
    /// What carries it.
    pub kind: CallKind,
    /// Who placed it.
    pub direction: Direction,
    /// The other party.
    pub caller: CallerId,
    /// The business's number.
    pub business_number: String,
    /// A fresh identifier for the admission.
    pub admission: AdmissionId,
    /// There is no money left for it, unless it is in already.
    pub unaffordable: bool,
    /// A worker thread is too late for one more, unless it is in already.
    pub lagging: bool,
}

/// A call that we are about to place. Twilio's identifier is not known yet.
#[derive(Clone, Debug)]
pub struct NewOutbound {
    /// A fresh identifier for the admission; it comes back with every request about the call.
    pub admission: AdmissionId,
    /// Who is rung.
    pub to: PhoneNumber,
    /// The business's number that is shown.
    pub business_number: String,
    /// Why we ring.
    pub brief: Arc<Outbound>,
}

/// The answer to an order of the staff's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commanded {
    /// It is on its way to the call.
    Done,
    /// The call is over, as far as we are concerned.
    Ended {
        /// Twilio has to be told to hang up: it will not ask us by itself.
        hang_up: bool,
    },
    /// Not as the call stands now.
    NotNow {
        /// How it stands, in one word.
        state: &'static str,
    },
    /// There is no such call, or it is over.
    Unknown,
}

/// The answer to one.
#[derive(Clone, Debug)]
pub enum Admitted {
    /// It is in.
    New(CallFacts),
    /// It was in already and its stream has not come: the webhook was repeated.
    Again(CallFacts),
    /// It was in already and had its stream: it goes on as after a broken one.
    GoOn(Onward),
    /// There is no room.
    Full,
    /// There is no money left.
    Unaffordable,
    /// It is over.
    Over,
}

/// The answer to a stream that shows a token.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// The stream is the call's.
    Granted {
        /// The call, with the epoch of its new owner.
        facts: CallFacts,
        /// What went before, if the call is resumed and its state is at hand.
        resume: Option<Box<ResumeState>>,
        /// Why we placed it, if we did.
        brief: Option<Arc<Outbound>>,
    },
    /// It is not.
    Refused(Refusal),
}

/// Why a stream was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No such call.
    Unknown,
    /// The token was used, or belongs to an earlier stream.
    Spent,
    /// The call is over.
    Over,
    /// This process is about to end.
    Closing,
}

/// What a dialled person's leg came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialResult {
    /// They spoke.
    Bridged,
    /// They did not.
    Unanswered,
}

/// What Twilio is told when it asks how to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "onward", rename_all = "snake_case")]
pub enum Onward {
    /// A new stream.
    Reconnect(CallFacts),
    /// Ring the person.
    Dial {
        /// Said first.
        say: Option<String>,
        /// Whom, if not the business's own person.
        to: Option<PhoneNumber>,
    },
    /// Hang up.
    HangUp {
        /// Said first.
        say: Option<String>,
    },
    /// The stream broke too often.
    GiveUp,
    /// This process is about to end: the next one is to be asked.
    Later,
    /// We do not know this call.
    Unknown,
}

/// What the roster wants done.
#[derive(Clone, Debug)]
pub enum RosterEffect {
    /// The call is over; said once for each call.
    Ended {
        /// Which.
        facts: CallFacts,
        /// Why.
        reason: EndReason,
        /// What it achieved.
        outcome: Outcome,
    },
    /// The call's actor is asked to end it.
    Ask {
        /// Which.
        sid: CallSid,
        /// Why.
        reason: EndReason,
    },
    /// The call's actor is told what staff want.
    Tell {
        /// Which.
        sid: CallSid,
        /// What.
        order: StaffOrder,
    },
    /// The call's actor has lost its stream without noticing: it is asked to leave.
    Evict {
        /// Which.
        sid: CallSid,
    },
}

/// A live call as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCall {
    /// The call.
    pub facts: CallFacts,
    /// Since when.
    pub since: UnixMillis,
    /// How it stands, in one word.
    pub state: &'static str,
    /// Whether the bot is to be silent.
    pub muted: bool,
    /// Who is on the other end, if known.
    pub customer: Option<Customer>,
}

/// How many calls this process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveCount {
    /// Its calls that are not over.
    pub open: usize,
    /// Those of them that need this process: not those who speak to a person or are about to.
    pub here: usize,
    /// Calls that are not over at any replica, as the others said lately.
    pub everywhere: usize,
}

/// What the roster has to say to an actor that reports for duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the call's.
    Current,
    /// It is, but the call was ended before it came.
    Leaving(EndReason),
    /// The call is over or another's.
    Gone,
}
