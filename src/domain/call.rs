//! A call as a fact: who rang whom, how it stands, why it ended.

use super::ids::{AdmissionId, CallSid, Epoch};
use super::phone::CallerId;
use super::time::UnixMillis;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value a word stands for.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        // By hand: the derive does not see a word that comes out of a macro.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some([$($word),+]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(stringify!($name))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use words;

words!(
    /// How a call's summary stands.
    SummaryState {
        /// There is none and none is due: the call goes on, or the caller never spoke.
        None = "none",
        /// The call ended and its summary is to be written.
        Pending = "pending",
        /// Written.
        Done = "done",
        /// Given up: its job is on the dead-letter list.
        Failed = "failed",
    }
);

words!(
    /// What somebody is to be rung back about.
    MessageKind {
        /// Left by the caller.
        Message = "message",
        /// Noted by us because the conversation broke off.
        CallBack = "call-back",
    }
);

words!(
    /// What carries the call.
    CallKind {
        /// A telephone call through Twilio.
        Twilio = "twilio",
        /// A test call from the dashboard's microphone.
        Browser = "browser",
        /// A call placed by the simulator.
        Simulated = "simulated",
    }
);

words!(
    /// Who placed the call, seen from the business.
    Direction {
        /// A caller rang us.
        Inbound = "inbound",
        /// We rang somebody.
        Outbound = "outbound",
    }
);

words!(
    /// Twilio's words for how a call stands (`twilio.md` 4.1; `initiated` is kept as `queued`).
    CallStatus {
        /// Not yet dialled.
        Queued = "queued",
        /// Ringing.
        Ringing = "ringing",
        /// Answered and up.
        InProgress = "in-progress",
        /// Over, after it was answered.
        Completed = "completed",
        /// Over: it could not be connected.
        Failed = "failed",
        /// Over: engaged.
        Busy = "busy",
        /// Over: nobody answered.
        NoAnswer = "no-answer",
        /// Over: given up before it was answered.
        Canceled = "canceled",
    }
);

impl CallStatus {
    /// Whether a call with this status can never change again.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Busy | Self::NoAnswer | Self::Canceled)
    }
}

words!(
    /// Why a call ended. The first reason to arrive is the one that stays.
    EndReason {
        /// The conversation was brought to its end, by the caller's hang-up or by ours after a goodbye.
        Completed = "completed",
        /// The caller was handed to a person.
        Transferred = "transferred",
        /// A message was taken for a call-back.
        MessageTaken = "message_taken",
        /// Something failed for good; the caller heard an apology and a way out.
        Apology = "apology",
        /// Nobody spoke any more.
        Silence = "silence",
        /// The longest allowed call was reached.
        MaxDuration = "max_duration",
        /// The connection broke and nobody came back.
        Lost = "lost",
        /// It, or the day, had cost as much as was allowed.
        SpendCap = "spend_cap",
        /// Staff or an operator ended it.
        Ended = "ended",
        /// The server was shut down under it.
        Shutdown = "shutdown",
        /// Admitted, but no stream ever came.
        NeverStarted = "never_started",
        /// Twilio: could not be connected.
        Failed = "failed",
        /// Twilio: engaged.
        Busy = "busy",
        /// Twilio: nobody answered.
        NoAnswer = "no_answer",
        /// Twilio: given up before it was answered.
        Canceled = "canceled",
    }
);

impl EndReason {
    /// The call's final status that goes with this reason.
    pub const fn status(self) -> CallStatus {
        match self {
            Self::Failed | Self::Lost | Self::NeverStarted => CallStatus::Failed,
            Self::Busy => CallStatus::Busy,
            Self::NoAnswer => CallStatus::NoAnswer,
            Self::Canceled => CallStatus::Canceled,
            Self::Completed
            | Self::Transferred
            | Self::MessageTaken
            | Self::Apology
            | Self::Silence
            | Self::MaxDuration
            | Self::SpendCap
            | Self::Ended
            | Self::Shutdown => CallStatus::Completed,
        }
    }

    /// Whether a call that ended so left a caller without what they rang for, so that somebody should ring them back: it
    /// failed, broke off, or something was promised, and no message says so already. `spoke`: the caller said something.
    pub const fn leaves_unfinished(self, reached: Outcome, spoke: bool) -> bool {
        if reached.message_taken {
            return false;
        }
        let broke_off = match self {
            // Whoever has what they came for, or never said what that is, is not owed a call.
            Self::Lost | Self::Shutdown => spoke && !reached.appointment_booked,
            Self::Apology => true,
            _ => false,
        };
        broke_off || reached.follow_up
    }

    /// Whether it is one that Twilio's status callbacks give: the caller's leg is over.
    pub const fn is_from_status(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Busy | Self::NoAnswer | Self::Canceled)
    }

    /// The reason a terminal status callback gives; none for a status that is not terminal.
    pub const fn from_status(status: CallStatus) -> Option<Self> {
        match status {
            CallStatus::Completed => Some(Self::Completed),
            CallStatus::Failed => Some(Self::Failed),
            CallStatus::Busy => Some(Self::Busy),
            CallStatus::NoAnswer => Some(Self::NoAnswer),
            CallStatus::Canceled => Some(Self::Canceled),
            CallStatus::Queued | CallStatus::Ringing | CallStatus::InProgress => None,
        }
    }
}

/// What is known of a call from its admission on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFacts {
    /// Twilio's identifier of the caller's leg.
    pub sid: CallSid,
    /// The admission record that let it in.
    pub admission: AdmissionId,
    /// What carries it.
    pub kind: CallKind,
    /// Who placed it.
    pub direction: Direction,
    /// The other party, as Twilio named it and as we understand it.
    pub caller: CallerId,
    /// The business's number that was rung (or rings), as given.
    pub business_number: String,
    /// When it was admitted.
    pub admitted_at: UnixMillis,
    /// Which owner of the call this is; rises with each resume.
    pub epoch: Epoch,
}

/// What a call achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The caller left a name, number or e-mail address.
    pub lead_captured: bool,
    /// An appointment was booked.
    pub appointment_booked: bool,
    /// A message was taken.
    pub message_taken: bool,
    /// The caller was handed to a person.
    pub transferred: bool,
    /// Something was left undone and staff should call back.
    pub follow_up: bool,
}
