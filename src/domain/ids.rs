//! Identifiers. Each is its own type, so that a reply's number cannot stand where a generation is wanted.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is: foreign identifiers are opaque.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The identifier's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

text_id!(
    /// Twilio's identifier of one call leg (`CA` and 32 hexadecimal digits); opaque.
    CallSid
);
text_id!(
    /// Twilio's identifier of one Media Stream (`MZ…`); a call may have several after a resume.
    StreamSid
);
text_id!(
    /// Our identifier of one admission record: one call that was let in.
    AdmissionId
);
text_id!(
    /// An opaque identifier of an offered slot; meaningful for the call it was offered in only.
    SlotId
);
text_id!(
    /// One process among those that share a database, from its start to its end; 12 hexadecimal digits.
    ReplicaId
);

impl ReplicaId {
    /// The identifier made of the lowest 48 of these bits, which have to be random.
    pub fn from_bits(bits: u64) -> Self {
        Self::new(format!("{:012x}", bits & 0xffff_ffff_ffff))
    }
}

macro_rules! counter_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The one after this.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter_id!(
    /// One reply of the bot within a call (answer, greeting, filler, goodbye); rises by one each time.
    ReplyId
);
counter_id!(
    /// Which incarnation of a child actor a message comes from; older ones are dropped.
    Generation
);
counter_id!(
    /// Fencing number of a call's owner; a write by an older epoch is refused.
    Epoch
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_has_twelve_digits_whatever_the_bits() {
        assert_eq!(ReplicaId::from_bits(0).as_str(), "000000000000");
        assert_eq!(ReplicaId::from_bits(0xabc).as_str(), "000000000abc");
        assert_eq!(ReplicaId::from_bits(u64::MAX).as_str(), "ffffffffffff");
    }
}
