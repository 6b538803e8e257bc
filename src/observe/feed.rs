//! What happens in live calls, for whoever watches: the terminal of `demo`, and dashboards.
//!
//! Events are numbered in the order in which they are told. Watchers that fall behind lose the oldest events and learn
//! how many; a call never waits for one.

use crate::domain::call::EndReason;
use crate::domain::ids::CallSid;
use crate::domain::turn::TurnRecord;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

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
    /// How a call stands has changed otherwise: it rings, it is muted.
    Changed {
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
    /// The server lets no more calls in: whoever watches should watch another one.
    Closing,
}

/// An event and its number.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// From 1, without a gap.
    pub n: u64,
    /// What happened.
    pub event: FeedEvent,
}

/// Where events are told.
#[derive(Clone, Debug)]
pub struct Feed {
    sender: broadcast::Sender<Numbered>,
    /// The number of the last event.
    last: Arc<Mutex<u64>>,
    closing: Arc<AtomicBool>,
    run: u32,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(KEPT),
            last: Arc::default(),
            closing: Arc::default(),
            run: rand::random(),
        }
    }
}

impl Feed {
    /// Tells everybody who watches.
    pub fn tell(&self, event: FeedEvent) {
        // Numbered and sent under one lock: else two threads could send their numbers the wrong way round.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.saturating_add(1);
        // Nobody watching is no error.
        let _ = self.sender.send(Numbered { n: *last, event });
    }

    /// Tells everybody that there will be no more calls here.
    pub fn close(&self) {
        if !self.closing.swap(true, Ordering::Relaxed) {
            self.tell(FeedEvent::Closing);
        }
    }

    /// Whether that was told.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.sender.receiver_count()
    }

    /// What tells the numbers of this process from another's.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Watches from now on.
    pub fn watch(&self) -> Watcher {
        self.watch_from().0
    }

    /// Watches from now on; with it the number of the last event that is not seen any more.
    pub fn watch_from(&self) -> (Watcher, u64) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (Watcher(self.sender.subscribe()), *last)
    }
}

/// Sees events.
#[derive(Debug)]
pub struct Watcher(broadcast::Receiver<Numbered>);

impl Watcher {
    /// The next event.
    pub async fn recv(&mut self) -> Result<FeedEvent, RecvError> {
        self.numbered().await.map(|numbered| numbered.event)
    }

    /// The next event with its number.
    pub async fn numbered(&mut self) -> Result<Numbered, RecvError> {
        self.0.recv().await
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Result<FeedEvent, TryRecvError> {
        self.0.try_recv().map(|numbered| numbered.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn events_are_numbered_and_a_slow_watcher_learns_what_it_lost() {
        let feed = Feed::default();
        feed.tell(FeedEvent::Started { sid: "CA1".into() });
        let (mut watcher, last) = feed.watch_from();
        assert_eq!(last, 1);
        for _ in 0..KEPT + 3 {
            feed.tell(FeedEvent::Changed { sid: "CA1".into() });
        }
        assert!(matches!(watcher.numbered().await, Err(RecvError::Lagged(3))));
        assert_eq!(watcher.numbered().await.unwrap().n, 5);
    }
}
