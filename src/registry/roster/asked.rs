//! What Twilio asks and reports, and what it is told.

use super::{DIAL_RESULT, DIALLING, LEAVING, REMEMBER};
use super::{DialResult, Onward, Roster, RosterEffect, Stage};
use crate::call::messages::NextStep;
use crate::domain::call::{CallStatus, EndReason};
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;

impl Roster {
    /// Twilio asks how to go on after a stream or a dial. It may ask again what it has asked already; then the answer
    /// is the same.
    pub fn go_on(
        &mut self,
        now: UnixMillis,
        sid: &CallSid,
        status: Option<CallStatus>,
        dial: Option<DialResult>,
    ) -> (Onward, Vec<RosterEffect>) {
        let limits = self.limits;
        let Some(entry) = self.calls.get_mut(sid) else { return (Onward::Unknown, Vec::new()) };
        if dial == Some(DialResult::Bridged) {
            return (Onward::HangUp { say: None }, self.bridged(now, sid));
        }
        if let Some(status) = status.filter(|s| s.is_terminal()) {
            let effects = match dial {
                Some(_) => {
                    entry.unanswered();
                    let reason = EndReason::from_status(status).unwrap_or(EndReason::Completed);
                    self.finish(now, sid, reason)
                }
                None => self.status(now, sid, status),
            };
            return (Onward::HangUp { say: None }, effects);
        }
        let until = now.after(limits.suspend);
        let over = entry.ended.is_some();
        match entry.stage.clone() {
            Stage::Decided { next: NextStep::HangUp { say }, .. } => {
                let effects = self.end(now, sid, EndReason::Completed);
                if let Some(entry) = self.calls.get_mut(sid) {
                    entry.stage = Stage::Ended { forget: now.after(REMEMBER), say: say.clone() };
                }
                (Onward::HangUp { say }, effects)
            }
            Stage::Decided { next: NextStep::Dial { say }, .. } => {
                entry.stage =
                    Stage::Dialling { say: say.clone(), until: now.after(DIALLING), hung_up: false };
                (Onward::Dial { say, to: entry.dial_to.clone() }, Vec::new())
            }
            Stage::Dialling { say, hung_up: false, .. } if dial.is_none() => {
                (Onward::Dial { say, to: entry.dial_to.clone() }, Vec::new())
            }
            Stage::Dialling { hung_up: true, .. } if dial.is_none() => {
                (Onward::HangUp { say: None }, Vec::new())
            }
            Stage::Dialling { hung_up, .. } => {
                entry.unanswered();
                if hung_up || over {
                    let reason = entry.hang_up();
                    return (Onward::HangUp { say: None }, self.end(now, sid, reason));
                }
                if self.released {
                    return (Onward::Later, Vec::new());
                }
                (entry.reserve(until), Vec::new())
            }
            Stage::Suspended { .. } | Stage::Live { .. } | Stage::Reserved { .. } | Stage::Placed { .. }
                if self.released =>
            {
                (Onward::Later, Vec::new())
            }
            Stage::Placed { .. } => {
                entry.stage = Stage::Reserved { until };
                (Onward::Reconnect(entry.facts.clone()), Vec::new())
            }
            Stage::Reserved { .. } if dial.is_some() => {
                entry.stage = Stage::Reserved { until };
                (Onward::Reconnect(entry.facts.clone()), Vec::new())
            }
            // The stream never came up (handshake failed), or the same is asked again: the token is unspent.
            Stage::Reserved { .. } => {
                entry.breaks = entry.breaks.saturating_add(1);
                if entry.breaks > limits.max_breaks {
                    entry.outcome.follow_up = true;
                    return (Onward::GiveUp, self.end(now, sid, EndReason::Apology));
                }
                entry.stage = Stage::Reserved { until };
                (Onward::Reconnect(entry.facts.clone()), Vec::new())
            }
            stage @ (Stage::Suspended { .. } | Stage::Live { .. }) => {
                let mut effects = Vec::new();
                if let Stage::Live { .. } = stage {
                    entry.breaks = entry.breaks.saturating_add(1);
                    effects.push(RosterEffect::Evict { sid: sid.clone() });
                }
                if dial.is_some() {
                    entry.unanswered();
                }
                if entry.breaks > limits.max_breaks {
                    entry.outcome.follow_up = true;
                    effects.extend(self.end(now, sid, EndReason::Apology));
                    return (Onward::GiveUp, effects);
                }
                (entry.reserve(until), effects)
            }
            Stage::Leaving { .. } => (Onward::HangUp { say: None }, Vec::new()),
            Stage::Ended { say, .. } => (Onward::HangUp { say }, Vec::new()),
        }
    }

    /// A person was reached, whatever we thought of the call.
    fn bridged(&mut self, now: UnixMillis, sid: &CallSid) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(sid) else { return Vec::new() };
        if !entry.bridged {
            entry.tell_dial("call.transferred");
        }
        entry.bridged = entry.bridged || entry.ended.is_none();
        if let Stage::Leaving { reason, .. } = &mut entry.stage {
            *reason = EndReason::Transferred;
            return Vec::new();
        }
        self.finish(now, sid, EndReason::Transferred)
    }

    /// A status callback came.
    pub fn status(&mut self, now: UnixMillis, sid: &CallSid, status: CallStatus) -> Vec<RosterEffect> {
        let Some(reason) = EndReason::from_status(status) else { return Vec::new() };
        if reason == EndReason::Completed
            && let Some(entry) = self.calls.get_mut(sid)
            && let Stage::Dialling { until, hung_up, .. } = &mut entry.stage
        {
            if !*hung_up {
                *hung_up = true;
                *until = now.after(DIAL_RESULT);
            }
            return Vec::new();
        }
        self.finish(now, sid, reason)
    }

    /// Ends a call from outside.
    pub fn finish(&mut self, now: UnixMillis, sid: &CallSid, reason: EndReason) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(sid) else { return Vec::new() };
        match entry.stage {
            Stage::Live { .. } => {
                entry.stage = Stage::Leaving { reason, until: now.after(LEAVING) };
                vec![RosterEffect::Ask { sid: sid.clone(), reason }]
            }
            Stage::Placed { .. }
            | Stage::Reserved { .. }
            | Stage::Suspended { .. }
            | Stage::Decided { .. }
            | Stage::Dialling { .. } => {
                let reason = if reason == EndReason::Completed { entry.hang_up() } else { reason };
                self.end(now, sid, reason)
            }
            Stage::Leaving { .. } | Stage::Ended { .. } => Vec::new(),
        }
    }
}
