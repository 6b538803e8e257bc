//! Telephone numbers and what Twilio writes where a caller's number should be.

use super::mask::MaskedNumber;
use std::fmt;
use std::sync::Arc;

/// A valid number in E.164 (`+12025550143`). Prints masked; `as_str` gives the number itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(Arc<str>);

impl PhoneNumber {
    /// The number in E.164.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MaskedNumber(&self.0).fmt(f)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who rings, as Twilio's `From` tells it (`twilio.md` section 9).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallerId {
    /// A number that can be rung back.
    Number(PhoneNumber),
    /// Withheld, restricted, unknown or empty: nobody in particular, never the same person twice.
    Withheld,
    /// A SIP address; the text is its user part.
    Sip(Arc<str>),
    /// A Voice SDK identity.
    Client(Arc<str>),
    /// A short code or extension: shown, never dialled.
    ShortCode(Arc<str>),
    /// Anything else: shown, never dialled.
    Raw(Arc<str>),
}

impl CallerId {
    /// The number, if it is one.
    pub fn number(&self) -> Option<&PhoneNumber> {
        match self {
            Self::Number(number) => Some(number),
            Self::Withheld | Self::Sip(_) | Self::Client(_) | Self::ShortCode(_) | Self::Raw(_) => None,
        }
    }
}
