//! What the registry accepts.

use super::roster::{
    Admitted, Claimed, Commanded, DialResult, LiveCall, LiveCount, NewCall, NewOutbound, Onward,
};
use crate::call::messages::{EndCall, InjectFault, StreamEvent};
use crate::domain::call::{CallFacts, CallStatus, EndReason};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, StreamSid};
use crate::domain::phone::PhoneNumber;
use actix::{Message, Recipient};
use std::time::Duration;

pub use crate::call::messages::{CallerKnown, StaffOrder};

/// Lets a call in.
#[derive(Message)]
#[rtype(result = "Admitted")]
pub struct Admit(pub NewCall);

/// A stream shows its token's claims.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Claimed")]
pub struct ClaimStream {
    /// The call as the token tells of it, with the owner the stream is to become.
    pub facts: CallFacts,
    /// The stream.
    pub stream: StreamSid,
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
    /// Where it is told what staff want.
    pub staff: Recipient<StaffOrder>,
}

/// The actor of a call is gone without having left, or its stream was gone before there was one.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct CallDied {
    /// The call.
    pub sid: CallSid,
    /// Which owner.
    pub epoch: Epoch,
    /// The stream that claimed it; another stream's claim is not given up with it.
    pub stream: StreamSid,
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
    /// Who is rung where nobody else is named: the business's own person.
    pub person: Option<PhoneNumber>,
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

/// Reserves a place for a call that is about to be placed. Answers whether there is one.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Place(pub NewOutbound);

/// The call was not placed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Unplace(pub AdmissionId);

/// Twilio's identifier of a placed call is known: by Twilio's answer to us, or by a request about the call that came
/// before it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Placed {
    /// Its admission.
    pub admission: AdmissionId,
    /// Twilio's identifier.
    pub sid: CallSid,
}

/// Staff want something of a call.
#[derive(Debug, Message)]
#[rtype(result = "Commanded")]
pub struct Command {
    /// The call.
    pub sid: CallSid,
    /// What.
    pub order: StaffOrder,
}

/// From now on so many calls at once.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct LimitCalls(pub usize);

/// Lists the calls that are not over, those of other replicas too.
#[derive(Debug, Message)]
#[rtype(result = "Vec<LiveCall>")]
pub struct ListLive;

/// Shows a call that is not over, if it is this replica's.
#[derive(Debug, Message)]
#[rtype(result = "Option<LiveCall>")]
pub struct ShowLive(pub CallSid);

/// Counts the calls that are not over.
#[derive(Debug, Message)]
#[rtype(result = "LiveCount")]
pub struct CountLive;

/// Lets no further call in, has the live ones let go of their streams with their state saved, and answers when all
/// have. They stay open: whoever is asked `/voice/continue` next goes on with them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ShutDown;

/// Lets no further call in. Where other replicas are there, live calls let go of their streams at their next pause, so that
/// those go on with them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CloseDoor {
    /// How long each waits for a pause.
    pub handover: Duration,
}

/// Breaks something in a live call on purpose. Answers whether the call is there.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Inject {
    /// The call.
    pub sid: CallSid,
    /// What breaks.
    pub fault: InjectFault,
}
