//! Calls that we place. Each has its admission before Twilio is asked, so that an answer that beats Twilio's own to us
//! finds it; Twilio's identifier is joined to it by whichever request tells it first.

use super::{NewOutbound, Roster, Stage};
use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::{AdmissionId, CallSid, Epoch};
use crate::domain::phone::CallerId;
use crate::domain::time::UnixMillis;
use std::sync::Arc;
use std::time::Duration;

/// How long Twilio's identifier is waited for.
const NAMELESS: Duration = Duration::from_secs(120);
/// How long a call may ring, or wait for its turn to ring, if the callback that ends it is lost.
pub(super) const RINGING: Duration = Duration::from_secs(3_600);

/// A call whose identifier is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Placing {
    call: NewOutbound,
    pub(super) until: UnixMillis,
}

impl Roster {
    /// Reserves a place for a call that is about to be placed; `false` if there is none.
    pub fn place(&mut self, now: UnixMillis, call: NewOutbound) -> bool {
        if self.closed || self.occupied() >= self.limits.max_calls {
            return false;
        }
        self.placing.insert(call.admission.clone(), Placing { call, until: now.after(NAMELESS) });
        true
    }

    /// Gives the place back: the call was not placed.
    pub fn unplace(&mut self, admission: &AdmissionId) {
        self.placing.remove(admission);
    }

    /// Twilio's identifier of a placed call is known. What is known of the call, the first time.
    pub fn placed(&mut self, now: UnixMillis, admission: &AdmissionId, sid: &CallSid) -> Option<CallFacts> {
        if self.calls.contains_key(sid) {
            return None;
        }
        let Placing { call, .. } = self.placing.remove(admission)?;
        let facts = CallFacts {
            sid: sid.clone(),
            admission: call.admission,
            kind: CallKind::Twilio,
            direction: Direction::Outbound,
            caller: CallerId::Number(call.to),
            business_number: call.business_number,
            admitted_at: now,
            epoch: Epoch(1),
        };
        let entry = self.insert(now, facts.clone(), Stage::Placed { until: now.after(RINGING) });
        entry.brief = Some(Arc::clone(&call.brief));
        Some(facts)
    }
}
