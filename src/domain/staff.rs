//! Those who work with the receptionist: what they may do, and who did something.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a key may do. Each scope includes those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See everything.
    Read,
    /// Change the business's data and act on calls.
    Call,
    /// Decide who may do what.
    Admin,
}

impl Scope {
    /// Every scope, weakest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Call, Self::Admin];

    /// Its word, as stored and as written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Call => "call",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// What a user is. Each role includes those before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything.
    Viewer,
    /// Works with calls, customers and appointments.
    Staff,
    /// Decides who may do what.
    Admin,
}

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Staff, Self::Admin];

    /// Its word, as stored and as written in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Staff => "staff",
            Self::Admin => "admin",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// What a user of this role may do.
    pub const fn scope(self) -> Scope {
        match self {
            Self::Viewer => Scope::Read,
            Self::Staff => Scope::Call,
            Self::Admin => Scope::Admin,
        }
    }
}

/// How long a password that was made for somebody is good: by then they have chosen their own.
pub const ONE_TIME_PASSWORD: Duration = Duration::from_secs(7 * 24 * 3_600);

/// By what somebody was recognised.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum WhoKind {
    /// An API key.
    Key,
    /// A user who signed in.
    User,
    /// The command line on the server's own machine.
    Command,
}

impl WhoKind {
    /// Its word, as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Command => "command",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Key, Self::User, Self::Command].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Who asks for something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Who {
    /// By what they were recognised.
    pub kind: WhoKind,
    /// The key's or the user's id; 0 for the command line.
    pub id: i64,
    /// The key's or the user's name.
    pub name: String,
}

/// A row of the staff's audit trail.
#[derive(Clone, Debug, PartialEq)]
pub struct StaffAction {
    /// Who did it.
    pub who: Who,
    /// What was done, in a fixed word: `appointment.cancel`.
    pub action: &'static str,
    /// What it was done to: `appointment 17`.
    pub target: String,
    /// What else is to be known.
    pub detail: serde_json::Value,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_is_written() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_word(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!((Scope::from_word("Admin"), Role::from_word("")), (None, None));
    }

    #[test]
    fn a_stronger_role_may_do_whatever_a_weaker_one_may() {
        assert!(Role::ALL.is_sorted_by(|a, b| a.scope() < b.scope()));
    }
}
