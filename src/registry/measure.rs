//! What of a call's standing is measured: rows of the audit trail, and how long a caller was without a stream.

use crate::domain::audit::AuditEvent;
use crate::domain::call::CallFacts;
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use crate::observe::metrics;
use std::collections::HashMap;
use std::time::Duration;

/// Since when each call that is without a stream is so; none where that is as it should be: a person is rung, or Twilio is
/// to be told how to go on.
#[derive(Debug, Default)]
pub(super) struct Gaps(HashMap<CallSid, Option<UnixMillis>>);

impl Gaps {
    /// A row of a call's audit trail.
    pub(super) fn note(&mut self, now: UnixMillis, sid: &CallSid, event: &AuditEvent) {
        metrics::call_event(&event.code, &event.detail);
        match event.code.as_str() {
            "call.suspended" => {
                self.0.insert(sid.clone(), Some(now));
            }
            "call.leaving" | "call.dialling" => {
                self.0.insert(sid.clone(), None);
            }
            // Twilio may ask before the loss was noticed; and of a call that another process had, nobody here knows since
            // when it is without one.
            "call.reserved" | "call.taken_over" | "call.moved" => {
                self.0.entry(sid.clone()).or_insert(Some(now));
            }
            "call.ended" => {
                self.0.remove(sid);
            }
            _ => {}
        }
    }

    /// The call is another replica's now.
    pub(super) fn forget(&mut self, sid: &CallSid) {
        self.0.remove(sid);
    }

    /// A stream has claimed its call. Says how long the call was without one, if it was.
    pub(super) fn claimed(&mut self, now: UnixMillis, facts: &CallFacts) -> Option<Duration> {
        let gap = since(self.0.remove(&facts.sid).flatten()?, now);
        metrics::call_gap(gap);
        Some(gap)
    }
}

/// From one time to a later one.
pub(super) fn since(from: UnixMillis, to: UnixMillis) -> Duration {
    Duration::from_millis(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::{CallKind, Direction};
    use crate::domain::ids::{AdmissionId, Epoch};
    use crate::domain::phone::CallerId;
    use serde_json::json;

    fn facts() -> CallFacts {
        CallFacts {
            sid: CallSid::from("CA1"),
            admission: AdmissionId::new("a"),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            caller: CallerId::Client("x".into()),
            business_number: "+1".into(),
            admitted_at: UnixMillis(0),
            epoch: Epoch(2),
        }
    }

    #[test]
    fn a_gap_lasts_from_the_loss_of_a_stream_to_the_next_one_and_waiting_for_a_person_is_none() {
        /// Codes with their times, and the gap.
        type Row = (&'static [(&'static str, i64)], Option<u64>);
        let table: &[Row] = &[
            (&[("call.admitted", 0)], None),
            (&[("call.suspended", 1_000), ("call.reserved", 1_500)], Some(1_000)),
            (&[("call.reserved", 1_500)], Some(500)),
            (&[("call.leaving", 900), ("call.dialling", 1_000), ("call.reserved", 1_500)], None),
            (&[("call.suspended", 1_000), ("call.ended", 1_200)], None),
            (&[("call.taken_over", 1_200), ("call.reserved", 1_500)], Some(800)),
        ];
        for (rows, want) in table {
            let mut gaps = Gaps::default();
            for (code, at) in *rows {
                gaps.note(UnixMillis(*at), &CallSid::from("CA1"), &AuditEvent::new(code, json!({})));
            }
            let gap = gaps.claimed(UnixMillis(2_000), &facts());
            assert_eq!(gap, want.map(Duration::from_millis), "{rows:?}");
            assert!(gaps.0.is_empty(), "nothing is kept of a call that has its stream, or is over");
        }
    }
}
