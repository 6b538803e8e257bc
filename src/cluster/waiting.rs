//! Questions that wait for their answers.

use super::ReplicaId;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Questions that may be open at once.
const OPEN: usize = 8_192;

/// All open questions of this replica.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: u64,
    open: HashMap<u64, Slot>,
}

/// One open question.
struct Slot {
    /// Who may answer; all, if nobody is named.
    to: Option<ReplicaId>,
    /// How many are to be heard of, once that is known.
    expected: Option<usize>,
    /// How many were heard of: answers, refusals, our own echo.
    seen: usize,
    heard: Heard,
    done: Option<oneshot::Sender<()>>,
}

/// What came of a question.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The answers, in the order in which they came.
    pub answers: Vec<(ReplicaId, Bytes)>,
    /// The engine went away meanwhile.
    pub lost: bool,
}

impl Slot {
    /// Wakes who asked, if nothing more is to come.
    fn look(&mut self) {
        let complete = self.expected.is_some_and(|expected| self.seen >= expected);
        if (complete || self.heard.lost)
            && let Some(done) = self.done.take()
        {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
    }
}

/// A question on its way; dropped, its answers are nobody's.
pub(super) struct Opened<'w> {
    waiting: &'w Waiting,
    number: u64,
    done: Option<oneshot::Receiver<()>>,
    within: Duration,
}

impl Opened<'_> {
    /// What tells this question from others of this replica.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What comes of it.
    pub async fn heard(mut self) -> Heard {
        if let Some(done) = self.done.take() {
            // Whatever ends the wait: what is there by then counts.
            let _ = tokio::time::timeout(self.within, done).await;
        }
        let slot = self.waiting.table().open.remove(&self.number);
        slot.map(|slot| slot.heard).unwrap_or_default()
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.waiting.table().open.remove(&self.number);
    }
}

impl Waiting {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a question to one, or to all; none if too many are open.
    pub fn open(&self, to: Option<&ReplicaId>, within: Duration) -> Option<Opened<'_>> {
        let mut table = self.table();
        if table.open.len() >= OPEN {
            return None;
        }
        table.last = table.last.wrapping_add(1);
        let number = table.last;
        let (tell, done) = oneshot::channel();
        let slot = Slot {
            to: to.cloned(),
            expected: to.map(|_| 1),
            seen: 0,
            heard: Heard::default(),
            done: Some(tell),
        };
        table.open.insert(number, slot);
        Some(Opened { waiting: self, number, done: Some(done), within })
    }

    fn with(&self, number: u64, change: impl FnOnce(&mut Slot)) {
        // Late: whoever asked is gone.
        if let Some(slot) = self.table().open.get_mut(&number) {
            change(slot);
            slot.look();
        }
    }

    /// Whether whoever asked still waits.
    pub fn is_open(&self, number: u64) -> bool {
        self.table().open.contains_key(&number)
    }

    /// An answer, or the word that there will be none.
    pub fn answered(&self, number: u64, from: &ReplicaId, body: Option<Bytes>) {
        self.with(number, |slot| {
            let asked = slot.to.as_ref().is_none_or(|to| to == from);
            if !asked || slot.heard.answers.iter().any(|(known, _)| known == from) {
                return;
            }
            slot.seen = slot.seen.saturating_add(1);
            slot.heard.answers.extend(body.map(|body| (from.clone(), body)));
        });
    }

    /// Our own question to all came back to us.
    pub fn echoed(&self, number: u64) {
        self.with(number, |slot| slot.seen = slot.seen.saturating_add(1));
    }

    /// The question reached so many, us included if it echoes.
    pub fn reached(&self, number: u64, listeners: usize) {
        self.with(number, |slot| {
            slot.expected = Some(if slot.to.is_some() { listeners.min(1) } else { listeners });
        });
    }

    /// The question could not be sent.
    pub fn lost(&self, number: u64) {
        self.with(number, |slot| slot.heard.lost = true);
    }

    /// Nothing more will come, for anybody.
    pub fn lose_all(&self) {
        for slot in self.table().open.values_mut() {
            slot.heard.lost = true;
            slot.look();
        }
    }

    /// How many are open.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.table().open.len()
    }
}
