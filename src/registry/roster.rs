//! Which calls there are and how each stands: admission, streams, suspension, the one end.
//!
//! Pure. Each call that was let in has one entry from its admission until some minutes after its end, so that late
//! and repeated requests find it. The first reason to end a call is the one that stays (CALL-4); the caller's hang-up
//! is the least of reasons and gives way to what the call's actor knows.

mod asked;
mod decided;
mod leaving;
mod moving;
mod orders;
mod placed;
mod trail;
mod types;

pub use decided::Kept;
pub use moving::Baggage;
pub use trail::known_state;

pub use types::{
    Admitted, Claimed, Commanded, DialResult, Limits, LiveCall, LiveCount, NewCall, NewOutbound, Onward,
    Refusal, RosterEffect, Standing,
};

use crate::call::messages::NextStep;
use crate::dialogue::prompt::Outbound;
use crate::domain::appointment::Customer;
use crate::domain::call::{CallFacts, EndReason, Outcome};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, StreamSid};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use crate::domain::turn::ResumeState;
use moving::Moved;
use placed::Placing;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use trail::{Trail, stage_word};

/// How long an actor that was asked to leave may take.
const LEAVING: Duration = Duration::from_secs(5);
/// How long an ended call is remembered.
const REMEMBER: Duration = Duration::from_secs(600);
/// How long a person may be rung and spoken to before the entry is given up (Twilio's own limit is 4 h).
const DIALLING: Duration = Duration::from_secs(4 * 3600 + 600);
/// How long the result of a dial is waited for once the caller has hung up: Twilio sends both at about the same time,
/// in any order, and gives a webhook 15 s.
const DIAL_RESULT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// We ring somebody.
    Placed {
        until: UnixMillis,
    },
    Reserved {
        until: UnixMillis,
    },
    Live {
        since: UnixMillis,
    },
    Suspended {
        until: UnixMillis,
    },
    Decided {
        next: NextStep,
        until: UnixMillis,
    },
    Dialling {
        say: Option<String>,
        until: UnixMillis,
        /// The caller has hung up; whether anybody was reached is not known yet.
        hung_up: bool,
    },
    Leaving {
        reason: EndReason,
        until: UnixMillis,
    },
    Ended {
        forget: UnixMillis,
        /// What Twilio was given to say, should it ask again.
        say: Option<String>,
    },
}

#[derive(Debug)]
struct Entry {
    facts: CallFacts,
    stage: Stage,
    /// The stream that claimed it last.
    stream: Option<StreamSid>,
    resume: Option<Box<ResumeState>>,
    outcome: Outcome,
    /// A dialled person was joined with the caller; nothing else makes a transfer.
    bridged: bool,
    breaks: u32,
    ended: Option<EndReason>,
    since: UnixMillis,
    /// Why we placed it.
    brief: Option<Arc<Outbound>>,
    /// Whether staff want the bot silent; not known of a call that was taken over without its state.
    muted: Option<bool>,
    /// Who is on the other end, if known.
    customer: Option<Customer>,
    /// Whom staff want rung next.
    dial_to: Option<PhoneNumber>,
    /// Who is rung where staff named nobody.
    person: Option<PhoneNumber>,
    /// Its actor was told to let go of the stream, so that another replica can go on with it: no break.
    letting_go: bool,
    /// What the database holds of the next step.
    kept: Option<Kept>,
    trail: Trail,
}

impl Entry {
    fn show(&self) -> LiveCall {
        LiveCall {
            facts: self.facts.clone(),
            since: self.since,
            state: stage_word(&self.stage),
            muted: self.muted == Some(true),
            customer: self.customer.clone(),
        }
    }

    fn add(&mut self, more: Outcome) {
        self.outcome = Outcome {
            lead_captured: self.outcome.lead_captured || more.lead_captured,
            appointment_booked: self.outcome.appointment_booked || more.appointment_booked,
            message_taken: self.outcome.message_taken || more.message_taken,
            transferred: false,
            follow_up: self.outcome.follow_up || more.follow_up,
        };
    }

    fn keep(&mut self, mut resume: Box<ResumeState>) {
        resume.outcome.transferred = false;
        // What staff have said since counts.
        resume.muted = *self.muted.get_or_insert(resume.muted);
        self.resume = Some(resume);
    }

    /// Nobody answered: the bot is told, if it does not read its state from the database anyway.
    fn unanswered(&mut self) {
        self.tell_dial("call.transfer_failed");
        self.outcome.follow_up = true;
        self.dial_to = None;
        if let Some(resume) = &mut self.resume {
            resume.outcome.follow_up = true;
            let fact = "The person the caller was being connected to did not answer.";
            if !resume.facts.iter().any(|f| f == fact) {
                resume.facts.push(fact.into());
            }
        }
    }

    /// Why a call ended whose caller hung up.
    fn hang_up(&self) -> EndReason {
        if self.outcome.message_taken { EndReason::MessageTaken } else { EndReason::Completed }
    }

    /// Another stream is to come.
    fn reserve(&mut self, until: UnixMillis) -> Onward {
        self.facts.epoch = self.facts.epoch.next();
        self.stage = Stage::Reserved { until };
        Onward::Reconnect(self.facts.clone())
    }
}

/// Every call there is.
#[derive(Debug)]
pub struct Roster {
    limits: Limits,
    /// In boxes: most of them have ended, and a table has half again as much room as it uses.
    calls: HashMap<CallSid, Box<Entry>>,
    /// Calls we are placing whose identifier is not known yet.
    placing: HashMap<AdmissionId, Placing>,
    /// Calls that another replica has now.
    moved: HashMap<CallSid, Moved>,
    closed: bool,
    released: bool,
}

impl Roster {
    /// An empty roster.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            calls: HashMap::new(),
            placing: HashMap::new(),
            moved: HashMap::new(),
            closed: false,
            released: false,
        }
    }

    /// From now on so many calls at once; those that are there stay.
    pub fn limit_calls(&mut self, max: usize) {
        self.limits.max_calls = max;
    }

    /// No new call is let in any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Calls that an actor has, or is about to leave.
    pub fn held(&self) -> usize {
        let held = |e: &Entry| matches!(e.stage, Stage::Live { .. } | Stage::Leaving { .. });
        self.calls.values().filter(|e| held(e)).count()
    }

    /// Calls that take up room.
    pub fn occupied(&self) -> usize {
        self.calls
            .values()
            .filter(|e| {
                !matches!(e.stage, Stage::Ended { .. } | Stage::Dialling { .. } | Stage::Decided { .. })
            })
            .count()
            .saturating_add(self.placing.len())
    }

    /// How many there are.
    pub fn count(&self) -> LiveCount {
        let open = self.calls.values().filter(|e| e.ended.is_none()).count();
        LiveCount { open, here: self.occupied(), everywhere: open }
    }

    /// A call that is not over.
    pub fn show(&self, sid: &CallSid) -> Option<LiveCall> {
        self.calls.get(sid).filter(|e| e.ended.is_none()).map(|e| e.show())
    }

    /// Calls that are not over.
    pub fn list(&self) -> Vec<LiveCall> {
        let mut list: Vec<LiveCall> =
            self.calls.values().filter(|e| e.ended.is_none()).map(|e| e.show()).collect();
        list.sort_by(|a, b| (a.since, a.facts.sid.as_str()).cmp(&(b.since, b.facts.sid.as_str())));
        list
    }

    /// It is known who is on the other end of a call.
    pub fn known(&mut self, sid: &CallSid, customer: Customer) {
        if let Some(entry) = self.calls.get_mut(sid) {
            entry.customer = Some(customer);
        }
    }

    /// What is known of a call.
    pub fn facts(&self, sid: &CallSid) -> Option<&CallFacts> {
        self.calls.get(sid).map(|e| &e.facts)
    }

    /// How the actor of a claimed call finds it.
    pub fn standing(&self, sid: &CallSid, epoch: Epoch) -> Standing {
        let Some(entry) = self.calls.get(sid).filter(|e| e.facts.epoch == epoch && !self.released) else {
            return Standing::Gone;
        };
        match entry.stage {
            Stage::Live { .. } => Standing::Current,
            Stage::Leaving { reason, .. } => Standing::Leaving(reason),
            Stage::Placed { .. }
            | Stage::Reserved { .. }
            | Stage::Suspended { .. }
            | Stage::Decided { .. }
            | Stage::Dialling { .. }
            | Stage::Ended { .. } => Standing::Gone,
        }
    }

    /// Calls that were claimed before `then` and are still live, with their owner and its stream.
    pub fn claimed_before(&self, then: UnixMillis) -> Vec<(CallSid, Epoch, StreamSid)> {
        let old = |e: &Entry| matches!(e.stage, Stage::Live { since } if since < then);
        let owner = |e: &Entry| Some((e.facts.sid.clone(), e.facts.epoch, e.stream.clone()?));
        self.calls.values().filter(|e| old(e)).filter_map(|e| owner(e)).collect()
    }

    /// The same call asks to be let in again; none if it is not known here.
    pub fn admit_again(&mut self, now: UnixMillis, sid: &CallSid) -> Option<(Admitted, Vec<RosterEffect>)> {
        let entry = self.calls.get_mut(sid)?;
        Some(match entry.stage {
            // Whom we rang has answered.
            Stage::Placed { .. } => {
                entry.stage = Stage::Reserved { until: now.after(self.limits.reservation) };
                (Admitted::Again(entry.facts.clone()), Vec::new())
            }
            Stage::Reserved { ref mut until } => {
                *until = now.after(self.limits.reservation);
                (Admitted::Again(entry.facts.clone()), Vec::new())
            }
            Stage::Live { .. } | Stage::Suspended { .. } => {
                let (onward, effects) = self.go_on(now, sid, None, None);
                (Admitted::GoOn(onward), effects)
            }
            Stage::Decided { .. } | Stage::Dialling { .. } | Stage::Leaving { .. } | Stage::Ended { .. } => {
                (Admitted::Over, Vec::new())
            }
        })
    }

    /// Lets a call in, once.
    pub fn admit(&mut self, now: UnixMillis, call: NewCall) -> (Admitted, Vec<RosterEffect>) {
        if let Some(again) = self.admit_again(now, &call.sid) {
            return again;
        }
        if self.closed || call.lagging || self.occupied() >= self.limits.max_calls {
            return (Admitted::Full, Vec::new());
        }
        if call.unaffordable {
            return (Admitted::Unaffordable, Vec::new());
        }
        let facts = CallFacts {
            sid: call.sid,
            admission: call.admission,
            kind: call.kind,
            direction: call.direction,
            caller: call.caller,
            business_number: call.business_number,
            admitted_at: now,
            epoch: Epoch(1),
        };
        self.insert(now, facts.clone(), Stage::Reserved { until: now.after(self.limits.reservation) });
        (Admitted::New(facts), Vec::new())
    }

    /// Takes a call over that an earlier process left open, so that its next stream finds it.
    pub fn adopt(
        &mut self,
        now: UnixMillis,
        facts: CallFacts,
        outcome: Outcome,
        resume: Option<Box<ResumeState>>,
    ) {
        if self.calls.contains_key(&facts.sid) {
            return;
        }
        let until = now.after(self.limits.suspend);
        let entry = self.insert(now, facts, Stage::Suspended { until });
        entry.tell_adopted();
        entry.add(outcome);
        if let Some(resume) = resume {
            entry.add(resume.outcome);
            entry.breaks = resume.breaks;
            entry.muted = Some(resume.muted);
            entry.keep(resume);
        } else {
            entry.muted = None;
        }
    }

    fn insert(&mut self, now: UnixMillis, facts: CallFacts, stage: Stage) -> &mut Entry {
        self.moved.remove(&facts.sid);
        let entry = Entry {
            facts,
            stage,
            stream: None,
            resume: None,
            outcome: Outcome::default(),
            bridged: false,
            breaks: 0,
            ended: None,
            since: now,
            brief: None,
            muted: Some(false),
            customer: None,
            dial_to: None,
            person: None,
            letting_go: false,
            kept: None,
            trail: Trail::default(),
        };
        self.calls.entry(entry.facts.sid.clone()).insert_entry(Box::new(entry)).into_mut()
    }

    /// A stream shows a token for `epoch` of a call.
    pub fn claim(
        &mut self,
        now: UnixMillis,
        sid: &CallSid,
        admission: &AdmissionId,
        epoch: Epoch,
        stream: &StreamSid,
    ) -> Claimed {
        let Some(entry) = self.calls.get_mut(sid) else {
            let gone = self.moved.contains_key(sid);
            return Claimed::Refused(if gone { Refusal::Spent } else { Refusal::Unknown });
        };
        if self.released && entry.facts.admission == *admission {
            return Claimed::Refused(Refusal::Closing);
        }
        if let Some(refusal) = entry.refusal(admission, epoch) {
            return Claimed::Refused(refusal);
        }
        entry.stage = Stage::Live { since: now };
        entry.stream = Some(stream.clone());
        entry.letting_go = false;
        Claimed::Granted {
            facts: entry.facts.clone(),
            resume: entry.resume.take(),
            brief: entry.brief.clone(),
        }
    }

    /// Ends what has waited too long, and forgets what ended long ago.
    pub fn sweep(&mut self, now: UnixMillis) -> Vec<RosterEffect> {
        let mut due: Vec<(CallSid, EndReason)> = Vec::new();
        let mut effects = Vec::new();
        self.forget_ended(now);
        for (sid, entry) in &mut self.calls {
            match entry.stage {
                Stage::Placed { until } if until <= now => due.push((sid.clone(), EndReason::NeverStarted)),
                Stage::Reserved { until } if until <= now => {
                    let reason =
                        if entry.facts.epoch == Epoch(1) { EndReason::NeverStarted } else { EndReason::Lost };
                    due.push((sid.clone(), reason));
                }
                Stage::Dialling { until, hung_up: true, .. } if until <= now => {
                    // Nobody told us that somebody was reached.
                    entry.outcome.follow_up = true;
                    due.push((sid.clone(), entry.hang_up()));
                }
                Stage::Suspended { until } | Stage::Decided { until, .. } | Stage::Dialling { until, .. }
                    if until <= now =>
                {
                    due.push((sid.clone(), EndReason::Lost));
                }
                Stage::Leaving { reason, until } if until <= now => {
                    // It may be stuck: at least its stream is to go.
                    effects.push(RosterEffect::Evict { sid: sid.clone() });
                    due.push((sid.clone(), reason));
                }
                Stage::Placed { .. }
                | Stage::Reserved { .. }
                | Stage::Live { .. }
                | Stage::Suspended { .. }
                | Stage::Decided { .. }
                | Stage::Dialling { .. }
                | Stage::Leaving { .. }
                | Stage::Ended { .. } => {}
            }
        }
        effects.extend(due.into_iter().flat_map(|(sid, reason)| self.end(now, &sid, reason)));
        effects
    }

    /// Forgets what ended long ago.
    pub fn forget_ended(&mut self, now: UnixMillis) {
        self.placing.retain(|_, placing| placing.until > now);
        self.moved.retain(|_, moved| moved.until > now);
        self.calls.retain(|_, entry| !matches!(entry.stage, Stage::Ended { forget, .. } if forget <= now));
    }

    /// The one place where a call ends.
    fn end(&mut self, now: UnixMillis, sid: &CallSid, reason: EndReason) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(sid) else { return Vec::new() };
        entry.stage = Stage::Ended { forget: now.after(REMEMBER), say: None };
        if entry.ended.is_some() {
            return Vec::new();
        }
        entry.ended = Some(reason);
        entry.resume = None;
        entry.outcome.transferred = entry.bridged;
        vec![RosterEffect::Ended { facts: entry.facts.clone(), reason, outcome: entry.outcome }]
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
