//! What happens in live calls, for whoever watches: the terminal of `demo`, and dashboards.
//!
//! Events are numbered in the order in which they are told. Watchers that fall behind lose the oldest events and learn
//! how many; a call never waits for one. What is told here may be passed on to other replicas, and theirs is told here:
//! never passed on again.

use crate::domain::call::EndReason;
use crate::domain::ids::{CallSid, ReplicaId};
use crate::domain::turn::TurnRecord;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Events kept for a slow watcher.
const KEPT: usize = 1_024;

/// Something that happened in a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// What other replicas told for a while is lost.
    Missed,
    /// The server lets no more calls in: whoever watches should watch another one.
    Closing,
}

/// What is passed on to other replicas.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outbound<'e> {
    /// Something happened in a call here.
    Event(&'e FeedEvent),
    /// Nothing of what was said in these calls is to be told any more.
    Forget(&'e [CallSid]),
}

/// What another replica passed on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inbound {
    /// Something happened in a call there.
    Event(FeedEvent),
    /// Nothing of what was said in these calls is to be told any more.
    Forget(Vec<CallSid>),
}

/// How things are passed on. It must not wait.
pub trait PassOn: Send + Sync {
    /// Whether there is anybody to pass it on to.
    fn is_heard(&self) -> bool;
    /// Passes it on.
    fn pass_on(&self, what: Outbound<'_>);
}

/// An event and its number.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// From 1, without a gap.
    pub n: u64,
    /// What happened.
    pub event: FeedEvent,
    /// The replica at which it happened, if that is another one.
    pub from: Option<ReplicaId>,
}

/// Where events are told.
#[derive(Clone)]
pub struct Feed {
    sender: broadcast::Sender<Numbered>,
    /// The number of the last event.
    last: Arc<Mutex<u64>>,
    closing: Arc<AtomicBool>,
    forgotten: Forgotten,
    run: u32,
    others: Arc<OnceLock<Box<dyn PassOn>>>,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("run", &self.run).field("watchers", &self.watchers()).finish()
    }
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
            others: Arc::default(),
        }
    }
}

impl Feed {
    /// Passes on what is told from now on; the first who is named does.
    pub fn pass_on(&self, others: impl PassOn + 'static) {
        // A second one would tell everything twice.
        let _ = self.others.set(Box::new(others));
    }

    /// Who is there to pass things on to.
    fn others(&self) -> Option<&dyn PassOn> {
        self.others.get().map(AsRef::as_ref).filter(|others| others.is_heard())
    }

    /// Tells everybody who watches, here and elsewhere.
    pub fn tell(&self, event: FeedEvent) {
        if let Some(others) = self.others() {
            others.pass_on(Outbound::Event(&event));
        }
        self.tell_here(event, None);
    }

    /// Tells everybody who watches here what came from another replica.
    pub fn tell_of(&self, from: ReplicaId, what: Inbound) {
        match what {
            // These two are about a server, not about a call.
            Inbound::Event(FeedEvent::Closing | FeedEvent::Missed) => {}
            Inbound::Event(event) => self.tell_here(event, Some(from)),
            Inbound::Forget(sids) => self.forget_here(&sids),
        }
    }

    /// Tells everybody who watches here that something may have happened elsewhere that nobody knows of.
    pub fn missed(&self) {
        self.tell_here(FeedEvent::Missed, None);
    }

    fn tell_here(&self, event: FeedEvent, from: Option<ReplicaId>) {
        // Numbered and sent under one lock: else two threads could send their numbers the wrong way round.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.saturating_add(1);
        // Nobody watching is no error.
        let _ = self.sender.send(Numbered { n: *last, event, from });
    }

    /// Tells everybody that there will be no more calls here.
    pub fn close(&self) {
        if !self.closing.swap(true, Ordering::Relaxed) {
            self.tell_here(FeedEvent::Closing, None);
        }
    }

    /// Tells nobody any more what was said in these calls, not even a watcher who has fallen behind.
    pub fn forget(&self, sids: &[CallSid]) {
        if let Some(others) = self.others() {
            others.pass_on(Outbound::Forget(sids));
        }
        self.forget_here(sids);
    }

    fn forget_here(&self, sids: &[CallSid]) {
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

    /// Whether anybody watches, or may watch at another replica.
    pub fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0 || self.others().is_some()
    }

    /// How many watch here.
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
    fn allowed(&self, mut numbered: Numbered) -> Numbered {
        let (FeedEvent::Turn { sid, .. } | FeedEvent::Event { sid, .. }) = &numbered.event else {
            return numbered;
        };
        let forgotten = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        if forgotten.iter().any(|(erased, until)| erased == sid && numbered.n <= *until) {
            numbered.event = FeedEvent::Changed { sid: sid.clone() };
        }
        numbered
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
