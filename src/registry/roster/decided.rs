//! What is decided for Twilio's next question is kept in the database as well, so that whoever is asked can answer.
//!
//! As with the audit trail each change is told once, by comparing how the call stands with what was told last.

use super::placed::RINGING;
use super::{DIALLING, Entry, NextStep, Onward, Roster, Stage};
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// What is decided, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "next", rename_all = "snake_case")]
pub enum Kept {
    /// Twilio hangs up.
    HangUp {
        /// What it says first.
        say: Option<String>,
    },
    /// Twilio is to ring a person.
    Dial {
        /// What it says first.
        say: Option<String>,
        /// Whom, if not the business's own.
        to: Option<PhoneNumber>,
    },
    /// Twilio has been told to.
    Dialling {
        /// What it says first.
        say: Option<String>,
        /// Whom, if not the business's own.
        to: Option<PhoneNumber>,
    },
    /// Something that a newer version knows.
    #[serde(other)]
    Other,
}

impl Kept {
    /// The answer for Twilio where the call itself is over or out of reach.
    pub fn onward(self) -> Onward {
        match self {
            Self::HangUp { say } => Onward::HangUp { say },
            Self::Dial { say, to } | Self::Dialling { say, to } => Onward::Dial { say, to },
            Self::Other => Onward::HangUp { say: None },
        }
    }
}

impl Entry {
    fn to_keep(&self) -> Option<Kept> {
        match &self.stage {
            Stage::Decided { next: NextStep::HangUp { say }, .. } => Some(Kept::HangUp { say: say.clone() }),
            Stage::Decided { next: NextStep::Dial { say }, .. } => {
                Some(Kept::Dial { say: say.clone(), to: self.dial_to.clone() })
            }
            Stage::Dialling { say, .. } => {
                Some(Kept::Dialling { say: say.clone(), to: self.dial_to.clone() })
            }
            // The last words stay, should Twilio ask again.
            Stage::Ended { .. } => self.kept.clone(),
            Stage::Placed { .. }
            | Stage::Reserved { .. }
            | Stage::Live { .. }
            | Stage::Suspended { .. }
            | Stage::Leaving { .. } => None,
        }
    }

    fn change(&mut self) -> Option<(Epoch, Option<Kept>)> {
        let keep = self.to_keep();
        if keep == self.kept {
            return None;
        }
        self.kept.clone_from(&keep);
        Some((self.facts.epoch, keep))
    }
}

impl Roster {
    /// What is to be stored of a call's next step, if that has changed since this was asked last.
    pub fn to_store(&mut self, sid: &CallSid) -> Option<(Epoch, Option<Kept>)> {
        self.calls.get_mut(sid).and_then(|entry| entry.change())
    }

    /// The same of every call.
    pub fn all_to_store(&mut self) -> Vec<(CallSid, Epoch, Option<Kept>)> {
        let changes = self.calls.iter_mut().filter_map(|(sid, entry)| {
            let (epoch, kept) = entry.change()?;
            Some((sid.clone(), epoch, kept))
        });
        changes.collect()
    }

    /// What was decided of a call that was just adopted.
    pub fn recall(&mut self, now: UnixMillis, sid: &CallSid, kept: Kept) {
        let suspend = self.limits.suspend;
        let Some(entry) = self.calls.get_mut(sid) else { return };
        if !matches!(entry.stage, Stage::Suspended { .. }) {
            return;
        }
        entry.kept = Some(kept.clone());
        match kept {
            Kept::HangUp { say } => {
                entry.stage = Stage::Decided { next: NextStep::HangUp { say }, until: now.after(suspend) };
            }
            Kept::Dial { say, to } => {
                entry.dial_to = to;
                entry.stage = Stage::Decided { next: NextStep::Dial { say }, until: now.after(suspend) };
            }
            Kept::Dialling { say, to } => {
                entry.dial_to = to;
                entry.stage = Stage::Dialling { say, until: now.after(DIALLING), hung_up: false };
            }
            Kept::Other => {}
        }
        entry.settle_trail();
    }

    /// Whoever is called by a call that was just adopted has not answered yet.
    pub fn recall_ringing(&mut self, now: UnixMillis, sid: &CallSid) {
        if let Some(entry) = self.calls.get_mut(sid)
            && matches!(entry.stage, Stage::Suspended { .. })
        {
            entry.stage = Stage::Placed { until: now.after(RINGING) };
            entry.settle_trail();
        }
    }

    /// Whether nobody may ever ask about a call by himself: whoever had its stream may be gone without Twilio knowing. Where
    /// something is decided the stream was closed by us, and Twilio asks.
    pub fn is_forsaken(&self, sid: &CallSid) -> bool {
        self.calls.get(sid).is_some_and(|entry| matches!(entry.stage, Stage::Suspended { .. }))
    }
}
