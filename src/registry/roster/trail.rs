//! What of a call's standing belongs to its audit trail. Each change is told once, by comparing how the call stands with
//! how it stood when that was asked last, so that no way through the stages can be forgotten.

use super::{Entry, Roster, Stage};
use crate::call::messages::NextStep;
use crate::domain::audit::AuditEvent;
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::domain::phone::PhoneNumber;
use serde_json::{Value, json};

/// What has to be told of a call.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// The stage that was told last, by its row and its owner.
    told: Option<(&'static str, Epoch)>,
    waiting: Vec<AuditEvent>,
}

/// The row of a stage. A stream's own start and a call's end are told by those who know more of them.
fn row(stage: &Stage, epoch: Epoch) -> Option<&'static str> {
    match stage {
        Stage::Placed { .. } => Some("call.placed"),
        Stage::Reserved { .. } if epoch == Epoch(1) => Some("call.admitted"),
        Stage::Reserved { .. } => Some("call.reserved"),
        Stage::Live { .. } | Stage::Ended { .. } => None,
        Stage::Suspended { .. } => Some("call.suspended"),
        Stage::Decided { .. } => Some("call.leaving"),
        Stage::Dialling { .. } => Some("call.dialling"),
        Stage::Leaving { .. } => Some("call.ending"),
    }
}

/// How a call stands, in one word.
pub(super) fn stage_word(stage: &Stage) -> &'static str {
    match stage {
        Stage::Placed { .. } => "ringing",
        Stage::Reserved { .. } => "reserved",
        Stage::Live { .. } => "live",
        Stage::Suspended { .. } => "suspended",
        Stage::Decided { .. } => "leaving",
        Stage::Dialling { .. } => "transferring",
        Stage::Leaving { .. } => "ending",
        Stage::Ended { .. } => "ended",
    }
}

/// The same word as another replica has written it; one for whatever a newer version knows.
pub fn known_state(word: &str) -> &'static str {
    const WORDS: [&str; 8] =
        ["ringing", "reserved", "live", "suspended", "leaving", "transferring", "ending", "starting"];
    WORDS.into_iter().find(|known| *known == word).unwrap_or("elsewhere")
}

impl Entry {
    /// Whom the caller is, or was, to speak to.
    fn person_rung(&self) -> Option<&PhoneNumber> {
        self.dial_to.as_ref().or(self.person.as_ref())
    }

    fn detail(&self) -> Value {
        match &self.stage {
            Stage::Placed { .. } | Stage::Live { .. } | Stage::Ended { .. } => json!({}),
            Stage::Reserved { .. } if self.facts.epoch == Epoch(1) => {
                json!({ "kind": self.facts.kind, "direction": self.facts.direction })
            }
            Stage::Reserved { .. } => json!({ "epoch": self.facts.epoch, "breaks": self.breaks }),
            Stage::Suspended { .. } => json!({ "breaks": self.breaks }),
            Stage::Decided { next, .. } => {
                let next = match next {
                    NextStep::HangUp { .. } => "hang_up",
                    NextStep::Dial { .. } => "dial",
                };
                json!({ "next": next })
            }
            Stage::Dialling { .. } => json!({ "to": self.person_rung().map(PhoneNumber::as_str) }),
            Stage::Leaving { reason, .. } => json!({ "reason": reason }),
        }
    }

    /// The result of a dial.
    pub(super) fn tell_dial(&mut self, code: &str) {
        if self.ended.is_none() {
            let to = self.person_rung().map(PhoneNumber::as_str);
            let event = AuditEvent::new(code, json!({ "to": to }));
            self.trail.waiting.push(event);
        }
    }

    /// Another process had the call.
    pub(super) fn tell_adopted(&mut self) {
        self.trail.waiting.push(AuditEvent::new("call.taken_over", json!({})));
        self.settle_trail();
    }

    /// Another replica has given us the call.
    pub(super) fn tell_moved(&mut self, from: &ReplicaId) {
        self.trail.waiting.push(AuditEvent::new("call.moved", json!({ "from": from.as_str() })));
        self.settle_trail();
    }

    /// Nobody but its token speaks for the call.
    pub(super) fn tell_vouched(&mut self) {
        self.trail.waiting.push(AuditEvent::new("call.vouched", json!({ "epoch": self.facts.epoch })));
        self.settle_trail();
    }

    /// How it stands now is known already.
    pub(super) fn settle_trail(&mut self) {
        self.trail.told = row(&self.stage, self.facts.epoch).map(|row| (row, self.facts.epoch));
    }

    fn news(&mut self) -> Vec<AuditEvent> {
        let mut news = std::mem::take(&mut self.trail.waiting);
        let now = row(&self.stage, self.facts.epoch).map(|row| (row, self.facts.epoch));
        if now != self.trail.told {
            self.trail.told = now;
            news.extend(now.map(|(code, _)| AuditEvent::new(code, self.detail())));
        }
        news
    }
}

impl Roster {
    /// Who is rung for a call if nobody else is named.
    pub fn would_ring(&mut self, sid: &CallSid, person: Option<PhoneNumber>) {
        if let Some(entry) = self.calls.get_mut(sid) {
            entry.person = person;
        }
    }

    /// What has happened to a call since this was asked last.
    pub fn news(&mut self, sid: &CallSid) -> Vec<AuditEvent> {
        self.calls.get_mut(sid).map(|entry| entry.news()).unwrap_or_default()
    }

    /// The same of every call.
    pub fn all_news(&mut self) -> Vec<(CallSid, AuditEvent)> {
        let news = self
            .calls
            .iter_mut()
            .flat_map(|(sid, entry)| entry.news().into_iter().map(move |event| (sid.clone(), event)));
        news.collect()
    }
}
