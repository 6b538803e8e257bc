//! Writes that found the database's queue full. They are kept in order and offered again.

use crate::db::{DbHandle, DbRefused, Write};
use crate::observe::metrics::{Level, Share};
use std::collections::VecDeque;

/// As many are kept; what comes after them is lost and logged.
const KEPT: usize = 10_000;

/// Writes in their order, some of which the database has not taken yet.
pub struct Unwritten {
    db: DbHandle,
    waiting: VecDeque<Write>,
    shown: Share,
}

impl Unwritten {
    /// Nothing waits yet.
    pub fn new(db: DbHandle) -> Self {
        Self { db, waiting: VecDeque::new(), shown: Share::new(Level::Unwritten) }
    }

    /// Hands a write to the database, behind those that wait.
    pub fn record(&mut self, write: Write) {
        if self.waiting.is_empty() {
            match self.db.offer(write.clone()) {
                Ok(()) => return,
                Err(error @ DbRefused::Closed) => {
                    tracing::error!(?write, %error, "write lost");
                    return;
                }
                Err(error @ DbRefused::Full) => tracing::warn!(?write, %error, "write is kept for later"),
            }
        }
        if self.waiting.len() < KEPT {
            self.waiting.push_back(write);
            self.shown.set(self.waiting.len());
        } else {
            self.db.lose(1);
            tracing::error!(?write, "write lost: too many are kept already");
        }
    }

    /// Offers what waits, in order, until the queue is full again.
    pub fn offer(&mut self) {
        self.hand_over();
        self.shown.set(self.waiting.len());
    }

    fn hand_over(&mut self) {
        while let Some(write) = self.waiting.front() {
            match self.db.offer(write.clone()) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(DbRefused::Full) => return,
                Err(error @ DbRefused::Closed) => {
                    tracing::error!(lost = self.waiting.len(), %error, "writes lost");
                    self.waiting.clear();
                }
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
