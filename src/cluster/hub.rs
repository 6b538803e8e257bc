//! Replicas of one process: what the shared engine does, without one.

use super::gcra::{self, Quota, Verdict};
use super::{Answer, Cluster, Engine, Local, Topic};
use crate::domain::ids::ReplicaId;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::time::Instant;

/// Where replicas of one process meet.
#[derive(Clone)]
pub struct Hub(Arc<Mutex<Table>>);

struct Table {
    since: Instant,
    joined: HashMap<ReplicaId, Weak<Local>>,
    /// When each limit is there again in full, in microseconds since the beginning.
    limits: HashMap<String, u64>,
}

/// A replica's end.
pub(super) struct HubEnd {
    hub: Hub,
    local: Arc<Local>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// With nobody there.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Table {
            since: Instant::now(),
            joined: HashMap::new(),
            limits: HashMap::new(),
        })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins. A replica leaves when the last copy of what is returned is dropped.
    pub fn join(&self, id: ReplicaId) -> Cluster {
        let (local, questions) = Local::new(id.clone(), true);
        self.table().joined.insert(id, Arc::downgrade(&local));
        let end = HubEnd { hub: self.clone(), local: Arc::clone(&local) };
        Cluster::new(local, questions, Engine::Hub(end))
    }

    /// Takes the engine away from one replica, as a cut cable does: it neither reaches others nor is it reached.
    pub fn cut(&self, id: &ReplicaId) {
        self.stand(id, false);
    }

    /// Gives it back.
    pub fn heal(&self, id: &ReplicaId) {
        self.stand(id, true);
    }

    fn stand(&self, id: &ReplicaId, standing: bool) {
        let local = self.table().joined.get(id).and_then(Weak::upgrade);
        if let Some(local) = local {
            local.stands(standing);
        }
    }

    /// Who can be reached, one or all, whoever asks included.
    fn listening(&self, to: Option<&ReplicaId>) -> Vec<Arc<Local>> {
        let mut table = self.table();
        table.joined.retain(|_, local| local.strong_count() > 0);
        let named = table.joined.iter().filter(|(id, _)| to.is_none_or(|to| to == *id));
        named.filter_map(|(_, local)| local.upgrade()).filter(|local| local.is_standing()).collect()
    }
}

impl HubEnd {
    fn others(&self) -> impl Iterator<Item = Arc<Local>> {
        self.hub.listening(None).into_iter().filter(|local| local.id != self.local.id)
    }

    pub fn is_heard(&self) -> bool {
        self.local.is_standing() && self.others().next().is_some()
    }

    pub fn ask(&self, to: Option<&ReplicaId>, number: u64, question: Bytes) {
        let asked: Vec<Arc<Local>> = match to {
            Some(_) => self.hub.listening(to),
            None => self.others().collect(),
        };
        self.local.waiting.reached(number, asked.len());
        for replica in asked {
            let (asker, by) = (Arc::downgrade(&self.local), Arc::downgrade(&replica));
            let answer = Answer::new(move |body| {
                let (Some(asker), Some(by)) = (asker.upgrade(), by.upgrade()) else { return };
                // Somebody who is cut off answers into the void.
                if by.is_standing() && asker.is_standing() {
                    asker.waiting.answered(number, &by.id, body);
                }
            });
            replica.ask(self.local.id.clone(), question.clone(), answer);
        }
    }

    pub fn tell(&self, topic: Topic, body: Bytes) {
        if !self.local.is_standing() {
            return;
        }
        for replica in self.others() {
            replica.hear(self.local.id.clone(), topic, body.clone());
        }
    }

    pub fn spend(&self, key: &str, per: Quota) -> Verdict {
        let mut table = self.hub.table();
        let now = u64::try_from(table.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        table.limits.retain(|_, full| *full > now);
        gcra::take(table.limits.entry(key.to_owned()).or_insert(0), now, per)
    }

    pub fn give_back(&self, key: &str, one: Option<Quota>) {
        if !self.local.is_standing() {
            return;
        }
        let mut table = self.hub.table();
        match (one, table.limits.get_mut(key)) {
            (Some(quota), Some(full)) => *full = full.saturating_sub(quota.interval_us()),
            (Some(_), None) => {}
            (None, _) => drop(table.limits.remove(key)),
        }
    }
}
