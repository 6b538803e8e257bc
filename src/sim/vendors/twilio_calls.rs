//! Twilio's calls in memory: what the REST API changes, and what the one who plays the telephone network learns of it.

use crate::sim::controls::lock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{broadcast, mpsc};

/// Calls kept; ended ones are dropped first, oldest first.
const KEPT: usize = 10_000;

/// What the REST API did to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CallUpdate {
    /// `Status=completed`: hung up.
    Completed,
    /// `Status=canceled`: given up before an answer.
    Canceled,
    /// `Twiml=`: this document runs now.
    Twiml {
        /// The document.
        twiml: String,
    },
    /// `Url=`: the document there runs now.
    Url {
        /// Where.
        url: String,
        /// `GET` or `POST`.
        method: String,
    },
}

/// A call as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimCall {
    /// `CA` and 32 hexadecimal digits.
    pub sid: String,
    /// The account it belongs to.
    #[serde(default)]
    pub account_sid: String,
    /// Caller.
    pub from: String,
    /// Called.
    pub to: String,
    /// `inbound` or `outbound-api`.
    #[serde(default = "inbound")]
    pub direction: String,
    /// The call for which this one was dialled.
    #[serde(default)]
    pub parent_call_sid: Option<String>,
    /// Twilio's `CallStatus`.
    pub status: String,
    /// The parameters an outbound call was created with, in order.
    #[serde(default)]
    pub parameters: Vec<(String, String)>,
    /// Milliseconds since 1970 when it was created; 0 is filled in.
    #[serde(default)]
    pub created_ms: i64,
    /// What the API did to it so far.
    #[serde(default)]
    pub updates: Vec<CallUpdate>,
}

fn inbound() -> String {
    "inbound".to_owned()
}

impl SimCall {
    /// Whether it has ended, however.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "busy" | "failed" | "no-answer" | "canceled")
    }

    /// The first parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

#[derive(Default)]
struct Table {
    calls: HashMap<String, SimCall>,
    /// Newest last.
    order: Vec<String>,
    listeners: HashMap<String, Vec<mpsc::UnboundedSender<CallUpdate>>>,
}

/// The calls of one simulator. Cheap to clone; may be sent anywhere.
#[derive(Clone)]
pub struct CallUpdates {
    table: Arc<Mutex<Table>>,
    created: broadcast::Sender<SimCall>,
}

impl std::fmt::Debug for CallUpdates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallUpdates").field("calls", &lock(&self.table).calls.len()).finish_non_exhaustive()
    }
}

impl Default for CallUpdates {
    fn default() -> Self {
        Self { table: Arc::default(), created: broadcast::Sender::new(1_024) }
    }
}

impl CallUpdates {
    /// Makes a call known, or replaces what is known of it.
    pub fn register(&self, mut call: SimCall) {
        if call.created_ms == 0 {
            call.created_ms = jiff::Timestamp::now().as_millisecond();
        }
        let mut table = lock(&self.table);
        if !table.calls.contains_key(&call.sid) {
            table.order.push(call.sid.clone());
            table.drop_old();
        }
        table.calls.insert(call.sid.clone(), call);
    }

    /// What the API does to a call from now on. The channel ends when the call is over.
    pub fn subscribe(&self, sid: &str) -> mpsc::UnboundedReceiver<CallUpdate> {
        let (tx, rx) = mpsc::unbounded_channel();
        lock(&self.table).listeners.entry(sid.to_owned()).or_default().push(tx);
        rx
    }

    /// Outbound calls as they are created.
    #[must_use]
    pub fn created(&self) -> broadcast::Receiver<SimCall> {
        self.created.subscribe()
    }

    /// Sets a call's `CallStatus`; false if it is not known.
    pub fn set_status(&self, sid: &str, status: &str) -> bool {
        let mut table = lock(&self.table);
        let Some(call) = table.calls.get_mut(sid) else { return false };
        call.status = status.to_owned();
        if call.is_over() {
            table.listeners.remove(sid);
        }
        true
    }

    /// What is known of a call.
    #[must_use]
    pub fn get(&self, sid: &str) -> Option<SimCall> {
        lock(&self.table).calls.get(sid).cloned()
    }

    /// All calls, newest first.
    #[must_use]
    pub fn all(&self) -> Vec<SimCall> {
        let table = lock(&self.table);
        table.order.iter().rev().filter_map(|sid| table.calls.get(sid)).cloned().collect()
    }

    pub(crate) fn create(&self, call: &SimCall) {
        self.register(call.clone());
        // Nobody may be listening.
        let _ = self.created.send(call.clone());
    }

    /// Applies an update of the API and tells the listeners.
    pub(crate) fn apply(&self, sid: &str, update: &CallUpdate) {
        let mut table = lock(&self.table);
        if let Some(call) = table.calls.get_mut(sid) {
            match update {
                CallUpdate::Completed => call.status = "completed".to_owned(),
                CallUpdate::Canceled => call.status = "canceled".to_owned(),
                CallUpdate::Twiml { .. } | CallUpdate::Url { .. } => {}
            }
            call.updates.push(update.clone());
        }
        if let Some(listeners) = table.listeners.get_mut(sid) {
            listeners.retain(|listener| listener.send(update.clone()).is_ok());
        }
        if matches!(update, CallUpdate::Completed | CallUpdate::Canceled) {
            table.listeners.remove(sid);
        }
    }
}

impl Table {
    fn drop_old(&mut self) {
        if self.order.len() <= KEPT {
            return;
        }
        let over = self
            .order
            .iter()
            .position(|sid| self.calls.get(sid).is_none_or(SimCall::is_over))
            .unwrap_or_default();
        if over < self.order.len() {
            let sid = self.order.remove(over);
            self.calls.remove(&sid);
            self.listeners.remove(&sid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sid: &str) -> SimCall {
        serde_json::from_value(serde_json::json!({
            "sid": sid, "from": "+12025550143", "to": "+12025550100", "status": "in-progress",
        }))
        .unwrap()
    }

    #[test]
    fn a_listener_learns_of_updates_until_the_call_is_over() {
        let calls = CallUpdates::default();
        calls.register(call("CA1"));
        let mut updates = calls.subscribe("CA1");
        calls.apply("CA1", &CallUpdate::Twiml { twiml: "<Response/>".into() });
        calls.apply("CA1", &CallUpdate::Completed);
        assert_eq!(updates.blocking_recv(), Some(CallUpdate::Twiml { twiml: "<Response/>".into() }));
        assert_eq!(updates.blocking_recv(), Some(CallUpdate::Completed));
        assert_eq!(updates.blocking_recv(), None);
        assert!(calls.get("CA1").unwrap().is_over());
    }

    #[test]
    fn ended_calls_make_room_first() {
        let calls = CallUpdates::default();
        calls.register(call("CA-live"));
        calls.register(call("CA-ended"));
        calls.set_status("CA-ended", "completed");
        for n in 0..KEPT {
            calls.register(call(&format!("CA{n}")));
        }
        assert!(calls.get("CA-live").is_some());
        assert!(calls.get("CA-ended").is_none());
    }
}
