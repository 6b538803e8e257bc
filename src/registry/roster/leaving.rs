//! How calls leave their actors.

use super::{Roster, RosterEffect, Stage};
use crate::call::messages::{CallLeft, Departure};
use crate::domain::call::{CallKind, EndReason};
use crate::domain::ids::{CallSid, Epoch, StreamSid};
use crate::domain::time::UnixMillis;
use crate::domain::turn::Parting;

/// The reason an actor left for. Whether a person was reached is known here, not there.
fn told(departure: &Departure) -> Option<EndReason> {
    let reason = match departure {
        Departure::Ended { reason } => Some(*reason),
        Departure::Decided { reason, .. } => *reason,
        Departure::Broke => None,
    };
    reason.map(|r| if r == EndReason::Transferred { EndReason::Completed } else { r })
}

impl Roster {
    /// The process is about to end: live calls let go of their streams, so that another process can go on with them.
    pub fn release(&mut self) -> Vec<RosterEffect> {
        self.closed = true;
        self.released = true;
        let live = self.calls.iter().filter(|(_, e)| matches!(e.stage, Stage::Live { .. }));
        live.map(|(sid, _)| RosterEffect::Evict { sid: sid.clone() }).collect()
    }

    /// A call has left its actor (or its actor died: then `Broke` without a state).
    pub fn left(&mut self, now: UnixMillis, left: CallLeft) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(&left.sid) else { return Vec::new() };
        if entry.ended.is_some() {
            return Vec::new();
        }
        if entry.facts.epoch != left.epoch {
            // An earlier owner, evicted: what it knew is the newest there is until the new stream comes.
            if matches!(entry.stage, Stage::Reserved { .. }) && entry.facts.epoch == left.epoch.next() {
                entry.add(left.outcome);
                entry.keep(left.resume);
            }
            return Vec::new();
        }
        entry.add(left.outcome);
        let told = told(&left.departure);
        if let Stage::Leaving { reason: asked, .. } = entry.stage {
            let reason = match (asked, told) {
                (EndReason::Completed, Some(told)) if told != EndReason::Completed => told,
                (EndReason::Completed, _) => entry.hang_up(),
                (asked, _) => asked,
            };
            return self.end(now, &left.sid, reason);
        }
        if entry.facts.kind == CallKind::Browser {
            // Nobody asks on behalf of a browser how to go on.
            let reason = told.unwrap_or_else(|| entry.hang_up());
            return self.end(now, &left.sid, reason);
        }
        let until = now.after(self.limits.suspend);
        match left.departure {
            Departure::Ended { .. } => self.end(now, &left.sid, told.unwrap_or(EndReason::Completed)),
            Departure::Broke => {
                // One that was found dead before has been counted. One that let go did not break.
                let broke = left.resume.parting == Parting::Broke;
                if broke && !matches!(entry.stage, Stage::Suspended { .. }) {
                    entry.breaks = entry.breaks.saturating_add(1);
                }
                entry.keep(left.resume);
                entry.stage = Stage::Suspended { until };
                Vec::new()
            }
            Departure::Decided { next, .. } => {
                entry.keep(left.resume);
                let effects = told.map(|reason| self.end(now, &left.sid, reason)).unwrap_or_default();
                if let Some(entry) = self.calls.get_mut(&left.sid) {
                    entry.stage = Stage::Decided { next, until };
                }
                effects
            }
        }
    }

    /// The actor of a call died, or never came to be: its stream went while it was being asked for.
    pub fn died(
        &mut self,
        now: UnixMillis,
        sid: &CallSid,
        epoch: Epoch,
        stream: &StreamSid,
    ) -> Vec<RosterEffect> {
        let Some(entry) = self.calls.get_mut(sid) else { return Vec::new() };
        if entry.facts.epoch != epoch || entry.stream.as_ref() != Some(stream) {
            return Vec::new();
        }
        match entry.stage {
            Stage::Live { .. } => {
                entry.breaks = entry.breaks.saturating_add(1);
                entry.resume = None;
                entry.stage = Stage::Suspended { until: now.after(self.limits.suspend) };
                Vec::new()
            }
            Stage::Leaving { reason, .. } => self.end(now, sid, reason),
            Stage::Placed { .. }
            | Stage::Reserved { .. }
            | Stage::Suspended { .. }
            | Stage::Decided { .. }
            | Stage::Dialling { .. }
            | Stage::Ended { .. } => Vec::new(),
        }
    }
}
