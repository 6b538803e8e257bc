//! What staff order live calls to do.

use super::{Commanded, Roster, RosterEffect, Stage, stage_word};
use crate::call::messages::StaffOrder;
use crate::domain::call::{CallKind, EndReason};
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;

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
                entry.muted = muted;
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

    /// Whether staff want the bot of a call silent. Its next owner does not know.
    pub fn is_muted(&self, sid: &CallSid) -> bool {
        self.calls.get(sid).is_some_and(|entry| entry.muted)
    }
}
