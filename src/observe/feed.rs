//! What happens in live calls, for whoever watches: the terminal of `demo`, and dashboards.
//!
//! Watchers that fall behind lose the oldest events; a call never waits for one.

use crate::domain::call::EndReason;
use crate::domain::ids::CallSid;
use crate::domain::turn::TurnRecord;
use tokio::sync::broadcast;

/// Events kept for a slow watcher.
const KEPT: usize = 1_024;

/// Something that happened in a call.
#[derive(Clone, Debug)]
pub enum FeedEvent {
    /// A call was connected.
    Started {
        /// Which.
        sid: CallSid,
    },
    /// A turn was recorded, or recorded again with more of it heard.
    Turn {
        /// Which call.
        sid: CallSid,
        /// The turn as it stands.
        turn: TurnRecord,
    },
    /// A row of the audit trail.
    Event {
        /// Which call.
        sid: CallSid,
        /// Its code.
        code: String,
        /// Its details.
        detail: serde_json::Value,
    },
    /// A call is over.
    Ended {
        /// Which.
        sid: CallSid,
        /// Why.
        reason: EndReason,
    },
}

/// Where events are told.
#[derive(Clone, Debug)]
pub struct Feed(broadcast::Sender<FeedEvent>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Feed {
    /// Tells everybody who watches.
    pub fn tell(&self, event: FeedEvent) {
        // Nobody watching is no error.
        let _ = self.0.send(event);
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Watches from now on.
    pub fn watch(&self) -> broadcast::Receiver<FeedEvent> {
        self.0.subscribe()
    }
}
