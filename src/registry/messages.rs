//! What the registry accepts.

use super::roster::{Admitted, Claimed, DialResult, LiveCall, NewCall, Onward};
use crate::call::messages::{EndCall, InjectFault, StreamEvent};
use crate::domain::call::{CallStatus, EndReason};
use crate::domain::ids::{AdmissionId, CallSid, Epoch};
use actix::{Message, Recipient};

/// Lets a call in.
#[derive(Message)]
#[rtype(result = "Admitted")]
pub struct Admit(pub NewCall);

/// A stream shows its token's claims.
#[derive(Debug, Message)]
#[rtype(result = "Claimed")]
pub struct ClaimStream {
    /// The call.
    pub sid: CallSid,
    /// Its admission.
    pub admission: AdmissionId,
    /// The owner the stream is to become.
    pub epoch: Epoch,
}

/// The actor of a claimed call is there; the registry can end it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CallStarted {
    /// The call.
    pub sid: CallSid,
    /// Its owner.
    pub epoch: Epoch,
    /// Where it is told to end.
    pub end: Recipient<EndCall>,
    /// Where it is told that its stream is gone.
    pub evict: Recipient<StreamEvent>,
    /// Where something in it is broken on purpose.
    pub fault: Recipient<InjectFault>,
}

/// The actor of a call is gone without having left.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CallDied {
    /// The call.
    pub sid: CallSid,
    /// Which owner.
    pub epoch: Epoch,
}

/// Twilio asks how to go on.
#[derive(Debug, Message)]
#[rtype(result = "Onward")]
pub struct GoOn {
    /// The call.
    pub sid: CallSid,
    /// How Twilio says it stands.
    pub status: Option<CallStatus>,
    /// How a dial ended, if one did.
    pub dial: Option<DialResult>,
}

/// A status callback came.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StatusCame {
    /// The call.
    pub sid: CallSid,
    /// Its status.
    pub status: CallStatus,
}

/// Ends a call.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Finish {
    /// The call.
    pub sid: CallSid,
    /// Why.
    pub reason: EndReason,
}

/// Lists the calls that are not over.
#[derive(Debug, Message)]
#[rtype(result = "Vec<LiveCall>")]
pub struct ListLive;

/// Lets no further call in, ends those that remain, and answers when none is left.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ShutDown;

/// Lets no further call in.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CloseDoor;

/// Breaks something in a live call on purpose. Answers whether the call is there.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Inject {
    /// The call.
    pub sid: CallSid,
    /// What breaks.
    pub fault: InjectFault,
}
