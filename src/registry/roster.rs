//! Which calls there are and how each stands: admission, streams, suspension, the one end.
//!
//! Pure. Each call that was let in has one entry from its admission until some minutes after its end, so that late
//! and repeated requests find it. The first reason to end a call is the one that stays (CALL-4).

use crate::call::messages::{CallLeft, Departure, NextStep};
use crate::domain::call::{CallFacts, CallKind, CallStatus, Direction, EndReason, Outcome};
use crate::domain::ids::{AdmissionId, CallSid, Epoch};
use crate::domain::phone::CallerId;
use crate::domain::time::UnixMillis;
use crate::domain::turn::ResumeState;
use std::collections::HashMap;
use std::time::Duration;

/// Limits and times of the roster.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls at once.
    pub max_calls: usize,
    /// How long an admission waits for its stream.
    pub reservation: Duration,
    /// How long a call whose stream is gone waits for the next.
    pub suspend: Duration,
    /// Broken streams a call survives.
    pub max_breaks: u32,
}

/// How long an actor that was asked to leave may take.
const LEAVING: Duration = Duration::from_secs(5);
/// How long an ended call is remembered.
const REMEMBER: Duration = Duration::from_secs(600);
/// How long a person may be rung and spoken to before the entry is given up (Twilio's own limit is 4 h).
const DIALLING: Duration = Duration::from_secs(4 * 3600 + 600);

/// A call that asks to be let in.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// Twilio's identifier.
    pub sid: CallSid,
    /// What carries it.
    pub kind: CallKind,
    /// Who placed it.
    pub direction: Direction,
    /// The other party.
    pub caller: CallerId,
    /// The business's number.
    pub business_number: String,
    /// A fresh identifier for the admission.
    pub admission: AdmissionId,
}

/// The answer to one.
#[derive(Clone, Debug)]
pub enum Admitted {
    /// It is in.
    New(CallFacts),
    /// It was in already: the webhook was repeated.
    Again(CallFacts),
    /// There is no room.
    Full,
    /// It is over.
    Over,
}

/// The answer to a stream that shows a token.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// The stream is the call's.
    Granted {
        /// The call, with the epoch of its new owner.
        facts: CallFacts,
        /// What went before, if the call is resumed and its state is at hand.
        resume: Option<Box<ResumeState>>,
    },
    /// It is not.
    Refused(Refusal),
}

/// Why a stream was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such call.
    Unknown,
    /// The token was used, or belongs to an earlier stream.
    Spent,
    /// The call is over.
    Over,
}

/// What a dialled person's leg came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialResult {
    /// They spoke.
    Bridged,
    /// They did not.
    Unanswered,
}

/// What Twilio is told when it asks how to go on.
#[derive(Clone, Debug)]
pub enum Onward {
    /// A new stream.
    Reconnect(CallFacts),
    /// Ring the person.
    Dial {
        /// Said first.
        say: Option<String>,
    },
    /// Hang up.
    HangUp {
        /// Said first.
        say: Option<String>,
    },
    /// The stream broke too often.
    GiveUp,
    /// We do not know this call.
    Unknown,
}

/// What the roster wants done.
#[derive(Clone, Debug)]
pub enum RosterEffect {
    /// The call is over; said once for each call.
    Ended {
        /// Which.
        facts: CallFacts,
        /// Why.
        reason: EndReason,
        /// What it achieved.
        outcome: Outcome,
    },
    /// The call's actor is asked to end it.
    Ask {
        /// Which.
        sid: CallSid,
        /// Why.
        reason: EndReason,
    },
    /// The call's actor has lost its stream without noticing: it is asked to leave.
    Evict {
        /// Which.
        sid: CallSid,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Reserved { until: UnixMillis },
    Live,
    Suspended { until: UnixMillis },
    Decided { next: NextStep, until: UnixMillis },
    Dialling { until: UnixMillis },
    Leaving { reason: EndReason, until: UnixMillis },
    Ended { forget: UnixMillis },
}

#[derive(Debug)]
struct Entry {
    facts: CallFacts,
    stage: Stage,
    resume: Option<Box<ResumeState>>,
    outcome: Outcome,
    breaks: u32,
    ended: Option<EndReason>,
    since: UnixMillis,
}

/// A live call as lists show it.
#[derive(Clone, Debug)]
pub struct LiveCall {
    /// The call.
    pub facts: CallFacts,
    /// Since when.
    pub since: UnixMillis,
    /// How it stands, in one word.
    pub state: &'static str,
}

/// Every call there is.
#[derive(Debug)]
pub struct Roster {
    limits: Limits,
    calls: HashMap<CallSid, Entry>,
    closed: bool,
}

impl Roster {
    /// An empty roster.
    pub fn new(limits: Limits) -> Self {
        Self { limits, calls: HashMap::new(), closed: false }
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// No new call is let in any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Calls that take up room.
    pub fn occupied(&self) -> usize {
        self.calls
            .values()
            .filter(|e| {
                !matches!(e.stage, Stage::Ended { .. } | Stage::Dialling { .. } | Stage::Decided { .. })
            })
            .count()
    }

    /// Calls that are not over.
    pub fn list(&self) -> Vec<LiveCall> {
        let mut list: Vec<LiveCall> = self
            .calls
            .values()
            .filter(|e| e.ended.is_none())
            .map(|e| LiveCall { facts: e.facts.clone(), since: e.since, state: stage_word(&e.stage) })
            .collect();
        list.sort_by(|a, b| (a.since, a.facts.sid.as_str()).cmp(&(b.since, b.facts.sid.as_str())));
        list
    }

    /// What is known of a call.
    pub fn facts(&self, sid: &CallSid) -> Option<&CallFacts> {
        self.calls.get(sid).map(|e| &e.facts)
    }

    /// Lets a call in, once.
    pub fn admit(&mut self, now: UnixMillis, call: NewCall) -> Admitted {
        if let Some(entry) = self.calls.get_mut(&call.sid) {
            return match entry.stage {
                Stage::Reserved { ref mut until } => {
                    *until = now.after(self.limits.reservation);
                    Admitted::Again(entry.facts.clone())
                }
                Stage::Live | Stage::Suspended { .. } => Admitted::Again(entry.facts.clone()),
                Stage::Decided { .. }
                | Stage::Dialling { .. }
                | Stage::Leaving { .. }
                | Stage::Ended { .. } => Admitted::Over,
            };
        }
        if self.closed || self.occupied() >= self.limits.max_calls {
            return Admitted::Full;
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
        Admitted::New(facts)
    }

    /// Takes a call over that an earlier process left open, so that its next stream finds it.
    pub fn adopt(&mut self, now: UnixMillis, facts: CallFacts, resume: Option<Box<ResumeState>>) {
        if self.calls.contains_key(&facts.sid) {
            return;
        }
        let sid = facts.sid.clone();
        self.insert(now, facts, Stage::Suspended { until: now.after(self.limits.suspend) });
        if let Some(entry) = self.calls.get_mut(&sid) {
            entry.outcome = resume.as_ref().map(|r| r.outcome).unwrap_or_default();
            entry.breaks = resume.as_ref().map_or(0, |r| r.breaks);
            entry.resume = resume;
        }
    }

    fn insert(&mut self, now: UnixMillis, facts: CallFacts, stage: Stage) {
        self.calls.insert(
            facts.sid.clone(),
            Entry {
                facts,
                stage,
                resume: None,
                outcome: Outcome::default(),
                breaks: 0,
                ended: None,
                since: now,
            },
        );
    }

    /// A stream shows a token for `epoch` of a call.
    pub fn claim(&mut self, sid: &CallSid, admission: &AdmissionId, epoch: Epoch) -> Claimed {
        let Some(entry) = self.calls.get_mut(sid) else { return Claimed::Refused(Refusal::Unknown) };
        if entry.facts.admission != *admission {
            return Claimed::Refused(Refusal::Unknown);
        }
        match entry.stage {
            Stage::Reserved { .. } if entry.facts.epoch == epoch => {
                entry.stage = Stage::Live;
                Claimed::Granted { facts: entry.facts.clone(), resume: entry.resume.take() }
            }
            Stage::Reserved { .. } | Stage::Live | Stage::Suspended { .. } => {
                Claimed::Refused(Refusal::Spent)
            }
            Stage::Decided { .. } | Stage::Dialling { .. } | Stage::Leaving { .. } | Stage::Ended { .. } => {
                Claimed::Refused(Refusal::Over)
            }
        }
    }

    /// A call has left its actor (or its actor died: then `Broke` without a state).
    pub fn left(&mut self, now: UnixMillis, left: CallLeft) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(&left.sid) else { return Vec::new() };
        if entry.facts.epoch != left.epoch {
            // An earlier owner, evicted: what it knew is the newest there is until the new stream comes.
            if matches!(entry.stage, Stage::Reserved { .. }) && entry.facts.epoch == left.epoch.next() {
                entry.outcome = left.outcome;
                entry.resume = Some(left.resume);
            }
            return Vec::new();
        }
        entry.outcome = left.outcome;
        match (&entry.stage, left.departure) {
            (Stage::Leaving { reason, .. }, _) => {
                let reason = *reason;
                self.end(now, &left.sid, reason)
            }
            (Stage::Ended { .. }, _) => Vec::new(),
            (_, Departure::Ended { reason }) => self.end(now, &left.sid, reason),
            (_, Departure::Broke) => {
                entry.breaks = entry.breaks.saturating_add(1);
                entry.resume = Some(left.resume);
                entry.stage = Stage::Suspended { until: now.after(self.limits.suspend) };
                Vec::new()
            }
            (_, Departure::Decided { next, reason }) => {
                entry.resume = Some(left.resume);
                let until = now.after(self.limits.suspend);
                match reason {
                    Some(reason) => {
                        let effects = self.end(now, &left.sid, reason);
                        if let Some(entry) = self.calls.get_mut(&left.sid) {
                            entry.stage = Stage::Decided { next, until };
                        }
                        effects
                    }
                    None => {
                        entry.stage = Stage::Decided { next, until };
                        Vec::new()
                    }
                }
            }
        }
    }

    /// The actor of a call died.
    pub fn died(&mut self, now: UnixMillis, sid: &CallSid, epoch: Epoch) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(sid) else { return Vec::new() };
        if entry.facts.epoch != epoch {
            return Vec::new();
        }
        match entry.stage {
            Stage::Live => {
                entry.breaks = entry.breaks.saturating_add(1);
                entry.resume = None;
                entry.stage = Stage::Suspended { until: now.after(self.limits.suspend) };
                Vec::new()
            }
            Stage::Leaving { reason, .. } => self.end(now, sid, reason),
            Stage::Reserved { .. }
            | Stage::Suspended { .. }
            | Stage::Decided { .. }
            | Stage::Dialling { .. }
            | Stage::Ended { .. } => Vec::new(),
        }
    }

    /// Twilio asks how to go on after a stream or a dial.
    pub fn go_on(
        &mut self,
        now: UnixMillis,
        sid: &CallSid,
        status: Option<CallStatus>,
        dial: Option<DialResult>,
    ) -> (Onward, Vec<RosterEffect>) {
        let limits = self.limits;
        let Some(entry) = self.calls.get_mut(sid) else { return (Onward::Unknown, Vec::new()) };
        if status.is_some_and(CallStatus::is_terminal) {
            let effects = self.status(now, sid, status.unwrap_or(CallStatus::Completed));
            return (Onward::HangUp { say: None }, effects);
        }
        match entry.stage.clone() {
            Stage::Decided { next: NextStep::HangUp { say }, .. } => {
                entry.stage = Stage::Ended { forget: now.after(REMEMBER) };
                (Onward::HangUp { say }, Vec::new())
            }
            Stage::Decided { next: NextStep::Dial { say }, .. } => {
                entry.stage = Stage::Dialling { until: now.after(DIALLING) };
                (Onward::Dial { say }, Vec::new())
            }
            Stage::Dialling { .. } => match dial {
                Some(DialResult::Bridged) => {
                    entry.outcome.transferred = true;
                    (Onward::HangUp { say: None }, self.end(now, sid, EndReason::Transferred))
                }
                Some(DialResult::Unanswered) | None => {
                    entry.outcome.follow_up = true;
                    let mut resume = entry.resume.take().unwrap_or_default();
                    resume.outcome = entry.outcome;
                    resume.facts.push("The person the caller was being connected to did not answer.".into());
                    entry.resume = Some(resume);
                    entry.facts.epoch = entry.facts.epoch.next();
                    entry.stage = Stage::Reserved { until: now.after(limits.suspend) };
                    (Onward::Reconnect(entry.facts.clone()), Vec::new())
                }
            },
            Stage::Suspended { .. } | Stage::Live => {
                let live = entry.stage == Stage::Live;
                if live {
                    entry.breaks = entry.breaks.saturating_add(1);
                }
                let effects = if live { vec![RosterEffect::Evict { sid: sid.clone() }] } else { Vec::new() };
                if entry.breaks > limits.max_breaks {
                    entry.outcome.follow_up = true;
                    let mut effects = effects;
                    effects.extend(self.end(now, sid, EndReason::Apology));
                    return (Onward::GiveUp, effects);
                }
                entry.facts.epoch = entry.facts.epoch.next();
                entry.stage = Stage::Reserved { until: now.after(limits.suspend) };
                (Onward::Reconnect(entry.facts.clone()), effects)
            }
            // The stream never came up (handshake failed): once more.
            Stage::Reserved { .. } => {
                entry.breaks = entry.breaks.saturating_add(1);
                if entry.breaks > limits.max_breaks {
                    return (Onward::GiveUp, self.end(now, sid, EndReason::Apology));
                }
                entry.facts.epoch = entry.facts.epoch.next();
                entry.stage = Stage::Reserved { until: now.after(limits.suspend) };
                (Onward::Reconnect(entry.facts.clone()), Vec::new())
            }
            Stage::Leaving { .. } | Stage::Ended { .. } => (Onward::HangUp { say: None }, Vec::new()),
        }
    }

    /// A status callback came.
    pub fn status(&mut self, now: UnixMillis, sid: &CallSid, status: CallStatus) -> Vec<RosterEffect> {
        let Some(reason) = EndReason::from_status(status) else { return Vec::new() };
        self.finish(now, sid, reason)
    }

    /// Ends a call from outside.
    pub fn finish(&mut self, now: UnixMillis, sid: &CallSid, reason: EndReason) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(sid) else { return Vec::new() };
        match entry.stage {
            Stage::Live => {
                entry.stage = Stage::Leaving { reason, until: now.after(LEAVING) };
                vec![RosterEffect::Ask { sid: sid.clone(), reason }]
            }
            Stage::Dialling { .. } => {
                let reason = if reason == EndReason::Completed {
                    entry.outcome.transferred = true;
                    EndReason::Transferred
                } else {
                    reason
                };
                self.end(now, sid, reason)
            }
            Stage::Reserved { .. } | Stage::Suspended { .. } | Stage::Decided { .. } => {
                self.end(now, sid, reason)
            }
            Stage::Leaving { .. } | Stage::Ended { .. } => Vec::new(),
        }
    }

    /// Ends what has waited too long, and forgets what ended long ago.
    pub fn sweep(&mut self, now: UnixMillis) -> Vec<RosterEffect> {
        let mut due: Vec<(CallSid, EndReason)> = Vec::new();
        self.calls.retain(|sid, entry| {
            match entry.stage {
                Stage::Reserved { until } if until <= now => {
                    let reason =
                        if entry.facts.epoch == Epoch(1) { EndReason::NeverStarted } else { EndReason::Lost };
                    due.push((sid.clone(), reason));
                }
                Stage::Suspended { until } | Stage::Decided { until, .. } | Stage::Dialling { until }
                    if until <= now =>
                {
                    due.push((sid.clone(), EndReason::Lost));
                }
                Stage::Leaving { reason, until } if until <= now => due.push((sid.clone(), reason)),
                Stage::Ended { forget } if forget <= now => return false,
                Stage::Reserved { .. }
                | Stage::Live
                | Stage::Suspended { .. }
                | Stage::Decided { .. }
                | Stage::Dialling { .. }
                | Stage::Leaving { .. }
                | Stage::Ended { .. } => {}
            }
            true
        });
        due.into_iter().flat_map(|(sid, reason)| self.end(now, &sid, reason)).collect()
    }

    /// The one place where a call ends.
    fn end(&mut self, now: UnixMillis, sid: &CallSid, reason: EndReason) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(sid) else { return Vec::new() };
        entry.stage = Stage::Ended { forget: now.after(REMEMBER) };
        if entry.ended.is_some() {
            return Vec::new();
        }
        entry.ended = Some(reason);
        entry.resume = None;
        vec![RosterEffect::Ended { facts: entry.facts.clone(), reason, outcome: entry.outcome }]
    }
}

fn stage_word(stage: &Stage) -> &'static str {
    match stage {
        Stage::Reserved { .. } => "reserved",
        Stage::Live => "live",
        Stage::Suspended { .. } => "suspended",
        Stage::Decided { .. } => "leaving",
        Stage::Dialling { .. } => "transferring",
        Stage::Leaving { .. } => "ending",
        Stage::Ended { .. } => "ended",
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
