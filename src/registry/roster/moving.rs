//! How a call changes its replica: it is handed over to the one that its next stream has come to, or another one has
//! taken it and ours is stale.

use super::{Claimed, Entry, REMEMBER, Refusal, Roster, RosterEffect, Stage};
use crate::dialogue::prompt::Outbound;
use crate::domain::appointment::Customer;
use crate::domain::call::{CallFacts, Outcome};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId, StreamSid};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use crate::domain::turn::ResumeState;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A call that is not here any more.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    /// Who has it, if we know.
    to: Option<ReplicaId>,
    pub(super) until: UnixMillis,
}

/// All that is known of a call whose next stream is awaited, for the replica that the stream has come to. Fields that are
/// missing are filled in, others passed over: the two replicas may be of different versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baggage {
    /// The call, with the epoch of the owner to be.
    pub facts: CallFacts,
    /// What went before.
    #[serde(default)]
    pub resume: Option<Box<ResumeState>>,
    /// What it has achieved.
    #[serde(default)]
    pub outcome: Outcome,
    /// A dialled person was joined with the caller.
    #[serde(default)]
    pub bridged: bool,
    /// How often its stream broke.
    #[serde(default)]
    pub breaks: u32,
    /// Since when it is there.
    pub since: UnixMillis,
    /// Why we placed it.
    #[serde(default)]
    pub brief: Option<Outbound>,
    /// Whether staff want the bot silent, if that is known.
    #[serde(default)]
    pub muted: Option<bool>,
    /// Who is on the other end.
    #[serde(default)]
    pub customer: Option<Customer>,
    /// Whom staff want rung next.
    #[serde(default)]
    pub dial_to: Option<PhoneNumber>,
    /// Who is rung where staff named nobody.
    #[serde(default)]
    pub person: Option<PhoneNumber>,
}

impl Roster {
    /// Gives a call to the replica that its stream has come to: its entry is gone then. The token has to be good, as for a
    /// stream that comes here.
    pub fn hand_over(
        &mut self,
        now: UnixMillis,
        sid: &CallSid,
        admission: &AdmissionId,
        epoch: Epoch,
        to: &ReplicaId,
    ) -> Result<Box<Baggage>, Refusal> {
        let Some(entry) = self.calls.get(sid) else {
            // Given away already: with this very token, or a newer one.
            return Err(if self.moved.contains_key(sid) { Refusal::Spent } else { Refusal::Unknown });
        };
        if let Some(refusal) = entry.refusal(admission, epoch) {
            return Err(refusal);
        }
        let Some(entry) = self.forget(now, sid, Some(to.clone())) else { return Err(Refusal::Unknown) };
        Ok(Box::new(Baggage {
            facts: entry.facts,
            resume: entry.resume,
            outcome: entry.outcome,
            bridged: entry.bridged,
            breaks: entry.breaks,
            since: entry.since,
            brief: entry.brief.map(|brief| (*brief).clone()),
            muted: entry.muted,
            customer: entry.customer,
            dial_to: entry.dial_to,
            person: entry.person,
        }))
    }

    /// Takes a call from the replica that had it; its stream claims it next.
    pub fn take_in(&mut self, now: UnixMillis, baggage: Baggage, from: &ReplicaId) {
        if self.calls.contains_key(&baggage.facts.sid) {
            return;
        }
        let until = now.after(self.limits.reservation);
        let entry = self.insert(now, baggage.facts, Stage::Reserved { until });
        entry.resume = baggage.resume;
        entry.outcome = baggage.outcome;
        entry.bridged = baggage.bridged;
        entry.breaks = baggage.breaks;
        entry.since = baggage.since;
        entry.brief = baggage.brief.map(Arc::new);
        entry.muted = baggage.muted;
        entry.customer = baggage.customer;
        entry.dial_to = baggage.dial_to;
        entry.person = baggage.person;
        entry.tell_moved(from);
    }

    /// A stream shows a good token of a call that was just adopted, and it is the one that the call waits for: `epoch` is
    /// what the token says.
    pub fn expect(&mut self, now: UnixMillis, sid: &CallSid, epoch: Epoch) {
        let until = now.after(self.limits.reservation);
        if let Some(entry) = self.calls.get_mut(sid)
            && matches!(entry.stage, Stage::Suspended { .. })
        {
            entry.facts.epoch = entry.facts.epoch.max(epoch);
            entry.stage = Stage::Reserved { until };
        }
    }

    /// A stream shows a good token, and nobody who could know more of the call can be asked.
    pub fn vouch(&mut self, now: UnixMillis, facts: CallFacts, stream: &StreamSid) -> Claimed {
        let (sid, admission, epoch) = (facts.sid.clone(), facts.admission.clone(), facts.epoch);
        if !self.calls.contains_key(&sid) && !self.released {
            let until = now.after(self.limits.reservation);
            let entry = self.insert(now, facts, Stage::Reserved { until });
            entry.muted = None;
            entry.tell_vouched();
        }
        self.claim(now, &sid, &admission, epoch, stream)
    }

    /// Another replica has the call: ours is not written any more, and its actor is told to go. Even an end of ours counts
    /// for nothing.
    pub fn fenced(&mut self, now: UnixMillis, sid: &CallSid, epoch: Epoch) -> Vec<RosterEffect> {
        if self.calls.get(sid).is_none_or(|entry| entry.facts.epoch > epoch) {
            return Vec::new();
        }
        self.forget(now, sid, None);
        vec![RosterEffect::Evict { sid: sid.clone() }]
    }

    /// Whether a call was given away, and to whom, if that is known.
    pub fn moved(&self, sid: &CallSid) -> Option<Option<&ReplicaId>> {
        (!self.calls.contains_key(sid)).then(|| self.moved.get(sid)).flatten().map(|moved| moved.to.as_ref())
    }

    /// Live calls that were claimed before `then` and are now to let go of their streams, so that another replica can go
    /// on with them; each is named once.
    pub fn let_go_all(&mut self, then: UnixMillis) -> Vec<CallSid> {
        let mut going = Vec::new();
        for (sid, entry) in &mut self.calls {
            if matches!(entry.stage, Stage::Live { since } if since < then) && !entry.letting_go {
                entry.letting_go = true;
                going.push(sid.clone());
            }
        }
        going
    }

    /// Whether a call is to let go of its stream.
    pub fn is_letting_go(&self, sid: &CallSid) -> bool {
        self.calls.get(sid).is_some_and(|entry| entry.letting_go)
    }

    /// The calls that are not over, with their owners.
    pub fn open(&self) -> Vec<(CallSid, Epoch)> {
        let open = self.calls.values().filter(|entry| entry.ended.is_none());
        open.map(|entry| (entry.facts.sid.clone(), entry.facts.epoch)).collect()
    }

    fn forget(&mut self, now: UnixMillis, sid: &CallSid, to: Option<ReplicaId>) -> Option<Entry> {
        let entry = self.calls.remove(sid)?;
        self.moved.insert(sid.clone(), Moved { to, until: now.after(REMEMBER) });
        Some(*entry)
    }
}

impl Entry {
    /// Why a stream with such a token is not this call's, if it is not.
    pub(super) fn refusal(&self, admission: &AdmissionId, epoch: Epoch) -> Option<Refusal> {
        if self.facts.admission != *admission {
            return Some(Refusal::Unknown);
        }
        match self.stage {
            Stage::Reserved { .. } if self.facts.epoch == epoch => None,
            Stage::Placed { .. } | Stage::Reserved { .. } | Stage::Live { .. } | Stage::Suspended { .. } => {
                Some(Refusal::Spent)
            }
            Stage::Decided { .. } | Stage::Dialling { .. } | Stage::Leaving { .. } | Stage::Ended { .. } => {
                Some(Refusal::Over)
            }
        }
    }
}

#[cfg(test)]
#[path = "moving_tests.rs"]
mod tests;
