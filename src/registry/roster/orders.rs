//! What staff order live calls to do.

use super::{Commanded, Roster, RosterEffect, Stage, stage_word};
use crate::call::messages::StaffOrder;
use crate::domain::call::{CallKind, EndReason};
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use crate::domain::turn::ResumeState;

impl Roster {
    /// Takes an order for a call.
    pub fn command(
        &mut self,
        now: UnixMillis,
        sid: &CallSid,
        order: StaffOrder,
    ) -> (Commanded, Vec<RosterEffect>) {
        let Some(entry) = self.calls.get_mut(sid).filter(|e| e.ended.is_none()) else {
            return (Commanded::Unknown, Vec::new());
        };
        let live = matches!(entry.stage, Stage::Live { .. });
        let state = stage_word(&entry.stage);
        let tell = |order| (Commanded::Done, vec![RosterEffect::Tell { sid: sid.clone(), order }]);
        match order {
            StaffOrder::End { goodbye: true } if live => tell(order),
            StaffOrder::End { .. } => {
                // A live stream is closed by us, and then Twilio asks.
                let asks = matches!(entry.stage, Stage::Live { .. } | Stage::Leaving { .. });
                let hang_up = entry.facts.kind == CallKind::Twilio && !asks;
                (Commanded::Ended { hang_up }, self.finish(now, sid, EndReason::Ended))
            }
            StaffOrder::Mute(muted) => {
                entry.muted = Some(muted);
                if let Some(resume) = &mut entry.resume {
                    resume.muted = muted;
                }
                if live { tell(order) } else { (Commanded::Done, Vec::new()) }
            }
            StaffOrder::Transfer { ref to } if live && entry.facts.kind != CallKind::Browser => {
                entry.dial_to = to.clone();
                tell(order)
            }
            StaffOrder::Say(_) if live => tell(order),
            StaffOrder::Transfer { .. } | StaffOrder::Say(_) => (Commanded::NotNow { state }, Vec::new()),
        }
    }

    /// Whom staff have named to be rung next.
    pub fn named(&self, sid: &CallSid) -> Option<PhoneNumber> {
        self.calls.get(sid).and_then(|entry| entry.dial_to.clone())
    }

    /// Names whom to ring next.
    pub fn name(&mut self, sid: &CallSid, to: Option<PhoneNumber>) {
        if let Some(entry) = self.calls.get_mut(sid) {
            entry.dial_to = to;
        }
    }

    /// What is kept for the next owner of a call that nobody has right now: the epoch to write it with, whether staff want
    /// the bot silent, and the state, if it is at hand.
    pub fn waiting_state(&self, sid: &CallSid) -> Option<(Epoch, bool, Option<ResumeState>)> {
        let entry = self.calls.get(sid).filter(|e| e.ended.is_none())?;
        let waits = matches!(entry.stage, Stage::Suspended { .. } | Stage::Reserved { .. });
        let state = entry.resume.as_deref().cloned();
        // Of a call that never had an owner there is nothing to keep.
        (waits && entry.facts.epoch > Epoch(1) || state.is_some())
            .then(|| (entry.facts.epoch, entry.muted == Some(true), state))
    }

    /// Whether staff want the bot of a call silent, as far as that is known here: its next owner may know it from the
    /// call's state only, or not at all.
    pub fn is_muted(&self, sid: &CallSid) -> Option<bool> {
        self.calls.get(sid).and_then(|entry| entry.muted)
    }
}
