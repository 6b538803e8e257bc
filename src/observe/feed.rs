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
    forgotten: Forgotten,
    run: u32,
}

/// Calls of which nothing is told any more, with the number of the last event that may be about each.
type Forgotten = Arc<Mutex<Vec<(CallSid, u64)>>>;

impl Default for Feed {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(KEPT),
            last: Arc::default(),
            closing: Arc::default(),
            forgotten: Arc::default(),
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

    /// Tells nobody any more what was said in these calls, not even a watcher who has fallen behind.
    pub fn forget(&self, sids: &[CallSid]) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut forgotten = self.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        // Older events are kept for nobody.
        forgotten.retain(|(_, until)| until.saturating_add(KEPT as u64) > last);
        forgotten.extend(sids.iter().map(|sid| (sid.clone(), last)));
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
        (Watcher(self.sender.subscribe(), Arc::clone(&self.forgotten)), *last)
    }
}

/// Sees events.
#[derive(Debug)]
pub struct Watcher(broadcast::Receiver<Numbered>, Forgotten);

impl Watcher {
    /// The next event.
    pub async fn recv(&mut self) -> Result<FeedEvent, RecvError> {
        self.numbered().await.map(|numbered| numbered.event)
    }

    /// The next event with its number.
    pub async fn numbered(&mut self) -> Result<Numbered, RecvError> {
        let event = self.0.recv().await?;
        Ok(self.allowed(event))
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Result<FeedEvent, TryRecvError> {
        let event = self.0.try_recv()?;
        Ok(self.allowed(event).event)
    }

    /// An event as it may be told: without what was said in a call that was erased meanwhile.
    fn allowed(&self, Numbered { n, event }: Numbered) -> Numbered {
        let (FeedEvent::Turn { sid, .. } | FeedEvent::Event { sid, .. }) = &event else {
            return Numbered { n, event };
        };
        let forgotten = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        match forgotten.iter().any(|(erased, until)| erased == sid && n <= *until) {
            true => Numbered { n, event: FeedEvent::Changed { sid: sid.clone() } },
            false => Numbered { n, event },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn what_was_said_in_an_erased_call_reaches_nobody_any_more() {
        let feed = Feed::default();
        let mut late = feed.watch();
        let said = |sid: &str| FeedEvent::Event {
            sid: sid.into(),
            code: "x".into(),
            detail: serde_json::json!({ "said": format!("words of {sid}") }),
        };
        feed.tell(said("CA1"));
        feed.tell(said("CA2"));
        feed.forget(&["CA1".into()]);
        feed.tell(FeedEvent::Started { sid: "CA3".into() });
        let told =
            [late.recv().await, late.recv().await, late.recv().await].map(|event| format!("{event:?}"));
        assert!(!told[0].contains("words") && told[0].contains("Changed"), "{told:?}");
        assert!(told[1].contains("words of CA2") && told[2].contains("CA3"), "{told:?}");
        assert!(late.try_recv().is_err());
    }

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
