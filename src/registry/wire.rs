//! What replicas ask each other and how that is written down.
//!
//! JSON, because two versions talk to each other while one takes the place of the other: what a replica does not know it
//! passes over, and a question that it does not know at all it answers as not understood. Then, as where nobody answers, the
//! database decides.

use super::roster::{
    Admitted, Baggage, Commanded, DialResult, LiveCall, LiveCount, Onward, Refusal, known_state,
};
use crate::call::messages::StaffOrder;
use crate::domain::appointment::Customer;
use crate::domain::call::{CallFacts, CallStatus, EndReason};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// A call that is yours asks to be let in again.
    Admit {
        /// The call.
        sid: CallSid,
    },
    /// Twilio asks how a call goes on.
    GoOn {
        /// The call.
        sid: CallSid,
        /// How Twilio says it stands.
        #[serde(default)]
        status: Option<CallStatus>,
        /// How a dial ended, if one did.
        #[serde(default)]
        dial: Option<DialResult>,
        /// Who is rung where nobody else is named.
        #[serde(default)]
        person: Option<PhoneNumber>,
    },
    /// A stream has come here with a token for a call of yours: hand it over.
    Claim {
        /// The call.
        sid: CallSid,
        /// Its admission.
        admission: AdmissionId,
        /// The owner the stream is to become.
        epoch: Epoch,
    },
    /// A status callback came.
    Status {
        /// The call.
        sid: CallSid,
        /// Its status.
        status: CallStatus,
    },
    /// End a call.
    Finish {
        /// The call.
        sid: CallSid,
        /// Why.
        reason: EndReason,
    },
    /// Staff want something of a call.
    Command {
        /// The call.
        sid: CallSid,
        /// What.
        order: StaffOrder,
    },
    /// A request names a call that somebody has placed; is it you?
    Placed {
        /// Its admission.
        admission: AdmissionId,
        /// Twilio's identifier.
        sid: CallSid,
    },
    /// Which calls are yours?
    List,
    /// Are you there? Whatever is answered, the answer is yes.
    There,
    /// Something that a newer version asks.
    #[serde(other)]
    Unknown,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Say {
    /// The call is not here.
    NotHere {
        /// To whom it was given.
        #[serde(default)]
        to: Option<ReplicaId>,
    },
    /// Its stream is awaited.
    Again {
        /// The call.
        facts: CallFacts,
    },
    /// It is over.
    Over,
    /// So it goes on.
    Onward {
        /// How.
        to: Onward,
    },
    /// It is yours.
    HandedOver {
        /// All there is of it.
        baggage: Box<Baggage>,
    },
    /// The stream is refused.
    Refused {
        /// Why.
        why: Refusal,
    },
    /// It is done.
    Done,
    /// The order was taken, and the call is over as far as we are concerned.
    Ended {
        /// Twilio has to be told to hang up.
        hang_up: bool,
    },
    /// The order is not possible as the call stands.
    NotNow {
        /// How it stands, in one word.
        state: String,
    },
    /// Calls that are not over.
    Live {
        /// The calls.
        calls: Vec<Listed>,
    },
    /// The question was not understood, or the answer is one that a newer version gives.
    #[serde(other)]
    Unknown,
}

/// A live call in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// The call.
    pub facts: CallFacts,
    /// Since when.
    pub since: UnixMillis,
    /// How it stands, in one word.
    pub state: String,
    /// Whether the bot is to be silent.
    #[serde(default)]
    pub muted: bool,
    /// Who is on the other end, if known.
    #[serde(default)]
    pub customer: Option<Customer>,
}

impl From<LiveCall> for Listed {
    fn from(call: LiveCall) -> Self {
        let LiveCall { facts, since, state, muted, customer } = call;
        // Notes may be long, and who wants them asks for the customer.
        let customer = customer.map(|customer| Customer { notes: None, ..customer });
        Self { facts, since, state: state.to_owned(), muted, customer }
    }
}

impl From<Listed> for LiveCall {
    fn from(call: Listed) -> Self {
        let Listed { facts, since, state, muted, customer } = call;
        Self { facts, since, state: known_state(&state), muted, customer }
    }
}

impl Ask {
    /// The call it is about, if it is about one.
    pub fn sid(&self) -> Option<&CallSid> {
        match self {
            Self::Admit { sid }
            | Self::GoOn { sid, .. }
            | Self::Claim { sid, .. }
            | Self::Status { sid, .. }
            | Self::Finish { sid, .. }
            | Self::Command { sid, .. }
            | Self::Placed { sid, .. } => Some(sid),
            Self::List | Self::There | Self::Unknown => None,
        }
    }

    /// As it is sent.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// As it came.
    pub fn decode(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or(Self::Unknown)
    }
}

impl Say {
    /// As it is sent.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// As it came.
    pub fn decode(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or(Self::Unknown)
    }

    /// Whether it settles the matter: whoever said it has the call, or knows how it ended.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::NotHere { .. } | Self::Unknown)
    }
}

fn encode(value: &impl Serialize) -> Bytes {
    // Strings for keys and plain values: there is nothing in it that JSON cannot say.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

impl From<Admitted> for Say {
    fn from(admitted: Admitted) -> Self {
        match admitted {
            Admitted::New(facts) | Admitted::Again(facts) => Self::Again { facts },
            Admitted::GoOn(onward) => Self::Onward { to: onward },
            Admitted::Over => Self::Over,
            // Nobody who has a call says so of it.
            Admitted::Full | Admitted::Unaffordable => Self::Unknown,
        }
    }
}

impl Say {
    /// What a call that asks to be let in again is told.
    pub fn admitted(self) -> Option<Admitted> {
        match self {
            Self::Again { facts } => Some(Admitted::Again(facts)),
            Self::Onward { to } => Some(Admitted::GoOn(to)),
            Self::Over => Some(Admitted::Over),
            _ => None,
        }
    }

    /// What became of an order.
    pub fn commanded(self) -> Option<Commanded> {
        match self {
            Self::Done => Some(Commanded::Done),
            Self::Ended { hang_up } => Some(Commanded::Ended { hang_up }),
            Self::NotNow { state } => Some(Commanded::NotNow { state: known_state(&state) }),
            Self::Over => Some(Commanded::Unknown),
            _ => None,
        }
    }
}

impl From<Commanded> for Say {
    fn from(commanded: Commanded) -> Self {
        match commanded {
            Commanded::Done => Self::Done,
            Commanded::Ended { hang_up } => Self::Ended { hang_up },
            Commanded::NotNow { state } => Self::NotNow { state: state.to_owned() },
            Commanded::Unknown => Self::Over,
        }
    }
}

/// Adds what another replica has said lately of the number of its calls.
pub fn with_others(mine: LiveCount, others: impl Iterator<Item = u32>) -> LiveCount {
    let theirs = others.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    LiveCount { everywhere: theirs.fold(mine.open, usize::saturating_add), ..mine }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::{CallKind, Direction, Outcome};
    use crate::domain::phone::CallerId;
    use crate::domain::turn::ResumeState;
    use serde_json::json;

    fn facts() -> CallFacts {
        CallFacts {
            sid: "CA1".into(),
            admission: "a1".into(),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            caller: CallerId::classify("+12025550143"),
            business_number: "+12025550100".into(),
            admitted_at: UnixMillis(5),
            epoch: Epoch(2),
        }
    }

    fn baggage() -> Baggage {
        Baggage {
            facts: facts(),
            resume: Some(Box::new(ResumeState { facts: vec!["known".into()], ..ResumeState::default() })),
            outcome: Outcome { lead_captured: true, ..Outcome::default() },
            bridged: false,
            breaks: 2,
            since: UnixMillis(7),
            brief: Some(crate::dialogue::prompt::Outbound { purpose: Some("why".into()), context: None }),
            muted: Some(true),
            customer: Some(Customer {
                id: 7,
                name: Some("Maria".into()),
                phone: None,
                email: None,
                notes: None,
            }),
            dial_to: PhoneNumber::from_e164("+12025550177").ok(),
            person: None,
        }
    }

    #[test]
    fn whatever_is_asked_or_said_arrives_as_it_was() {
        let sid = || CallSid::from("CA1");
        for ask in [
            Ask::Admit { sid: sid() },
            Ask::GoOn {
                sid: sid(),
                status: Some(CallStatus::InProgress),
                dial: Some(DialResult::Bridged),
                person: PhoneNumber::from_e164("+12025550177").ok(),
            },
            Ask::Claim { sid: sid(), admission: "a1".into(), epoch: Epoch(3) },
            Ask::Status { sid: sid(), status: CallStatus::NoAnswer },
            Ask::Finish { sid: sid(), reason: EndReason::Lost },
            Ask::Command { sid: sid(), order: StaffOrder::End { goodbye: true } },
            Ask::Command { sid: sid(), order: StaffOrder::Say("Hi.".into()) },
            Ask::Command { sid: sid(), order: StaffOrder::Transfer { to: None } },
            Ask::Placed { admission: "a1".into(), sid: sid() },
            Ask::List,
            Ask::There,
        ] {
            assert_eq!(Ask::decode(&ask.encode()), ask);
        }
        let onward = [
            Onward::Reconnect(facts()),
            Onward::Dial { say: Some("One moment.".into()), to: PhoneNumber::from_e164("+12025550177").ok() },
            Onward::HangUp { say: None },
            Onward::GiveUp,
            Onward::Later,
            Onward::Unknown,
        ];
        let said = onward.into_iter().map(|to| Say::Onward { to }).chain([
            Say::NotHere { to: Some(ReplicaId::from("0123456789ab")) },
            Say::Again { facts: facts() },
            Say::Over,
            Say::HandedOver { baggage: Box::new(baggage()) },
            Say::Refused { why: Refusal::Spent },
            Say::Done,
            Say::Ended { hang_up: true },
            Say::NotNow { state: "ending".into() },
            Say::Live { calls: vec![] },
        ]);
        for say in said {
            assert_eq!(Say::decode(&say.encode()), say);
        }
    }

    #[test]
    fn what_another_version_says_is_understood_as_far_as_possible() {
        let newer = json!({ "ask": "go_on", "sid": "CA1", "mood": "good" });
        let plain = Ask::GoOn { sid: "CA1".into(), status: None, dial: None, person: None };
        assert_eq!(Ask::decode(newer.to_string().as_bytes()), plain);
        for unknown in [json!({ "ask": "sing", "song": 1 }), json!({ "ask": "go_on" }), json!(7)] {
            assert_eq!(Ask::decode(unknown.to_string().as_bytes()), Ask::Unknown, "{unknown}");
        }
        assert_eq!(Ask::decode(b"\xff"), Ask::Unknown);
        for unknown in [json!({ "say": "maybe", "x": { "y": 1 } }), json!({ "say": "onward", "to": 1 })] {
            assert_eq!(Say::decode(unknown.to_string().as_bytes()), Say::Unknown, "{unknown}");
        }
        assert!(!Say::Unknown.is_definite() && !Say::NotHere { to: None }.is_definite());
        // Baggage with a field more and most fields missing.
        let facts = serde_json::to_value(facts()).unwrap();
        let sent = json!({ "say": "handed_over", "baggage": { "facts": facts, "since": 7, "hat": "blue" } });
        let Say::HandedOver { baggage } = Say::decode(sent.to_string().as_bytes()) else { panic!("{sent}") };
        assert_eq!((baggage.breaks, baggage.resume, baggage.muted), (0, None, None));
    }

    #[test]
    fn a_state_that_only_a_newer_version_knows_has_a_word() {
        let listed = |state: &str| Listed {
            facts: facts(),
            since: UnixMillis(0),
            state: state.into(),
            muted: false,
            customer: None,
        };
        assert_eq!(LiveCall::from(listed("transferring")).state, "transferring");
        assert_eq!(LiveCall::from(listed("dreaming")).state, "elsewhere");
    }

    #[test]
    fn calls_of_others_are_counted_with_ours() {
        let mine = LiveCount { open: 3, here: 2, everywhere: 3 };
        assert_eq!(with_others(mine, [4, 5].into_iter()).everywhere, 12);
    }
}
