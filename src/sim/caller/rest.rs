//! The caller's tie to the simulated REST API in another process: the call is made known there, and what the server
//! does to it through that API (hang up, run another document) is carried out here.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::CallConfig;
use crate::sim::vendors::twilio_calls::{CallUpdate, CallUpdates};

/// How often the API is asked for updates.
const EVERY: Duration = Duration::from_millis(100);

/// What the REST API did to the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Hung up.
    Completed,
    /// This document runs now.
    Twiml(String),
    /// The document there runs now.
    Url {
        /// Where.
        url: String,
        /// `GET` or `POST`.
        method: String,
    },
}

/// Where the API is.
#[derive(Clone)]
enum Api {
    /// In another process, perhaps.
    Away { http: awc::Client, base_url: String },
    /// In this one.
    Here(CallUpdates),
}

/// A call as the API knows it.
#[derive(Clone)]
pub(super) struct RestCall {
    api: Api,
    sid: String,
}

impl RestCall {
    /// The call `sid` at the API that is configured, if one is.
    pub(super) fn of(config: &CallConfig, http: &awc::Client, sid: &str) -> Option<Self> {
        let api = match (&config.network, &config.rest_url) {
            (Some(calls), _) => Api::Here(calls.clone()),
            (None, Some(url)) => {
                Api::Away { http: http.clone(), base_url: url.trim_end_matches('/').to_owned() }
            }
            (None, None) => return None,
        };
        Some(Self { api, sid: sid.to_owned() })
    }

    /// Makes the call known, unless it is: the API itself has made outbound ones.
    pub(super) async fn register(&self, account: &str, from: &str, to: &str, direction: &str) {
        if self.fetch().await.is_some() {
            self.set_status("in-progress").await;
            return;
        }
        let call = json!({
            "sid": self.sid,
            "account_sid": account,
            "from": from,
            "to": to,
            "direction": direction,
            "status": "in-progress",
        });
        self.put(&call).await;
    }

    /// Makes the leg known that is dialled for the call `parent`, and rings.
    pub(super) async fn register_leg(&self, account: &str, from: &str, to: &str, parent: &str) {
        let call = json!({
            "sid": self.sid,
            "account_sid": account,
            "from": from,
            "to": to,
            "direction": "outbound-dial",
            "parent_call_sid": parent,
            "status": "ringing",
        });
        self.put(&call).await;
    }

    /// Whether the call has ended, however.
    pub(super) async fn is_over(&self) -> bool {
        let call = self.fetch().await;
        let status = call.as_ref().and_then(|call| call.get("status")).and_then(Value::as_str);
        matches!(status, Some("completed" | "busy" | "failed" | "no-answer" | "canceled"))
    }

    /// Changes the call's status.
    pub(super) async fn set_status(&self, status: &str) {
        if let Api::Here(calls) = &self.api {
            calls.set_status(&self.sid, status);
            return;
        }
        let Some(mut call) = self.fetch().await else { return };
        if let Some(fields) = call.as_object_mut() {
            fields.insert("status".to_owned(), json!(status));
            self.put(&call).await;
        }
    }

    /// Sends updates as they are seen, until nobody listens.
    pub(super) async fn watch(self, updates: mpsc::UnboundedSender<Update>) {
        if let Api::Here(calls) = &self.api {
            let mut learnt = calls.subscribe(&self.sid);
            while let Some(update) = learnt.recv().await {
                if updates.send(update.into()).is_err() {
                    return;
                }
            }
            return;
        }
        let mut seen = self.fetch().await.map_or(0, |call| updates_in(&call).len());
        loop {
            sleep(EVERY).await;
            if updates.is_closed() {
                return;
            }
            let Some(call) = self.fetch().await else { continue };
            let all = updates_in(&call);
            for update in all.iter().skip(seen).filter_map(update) {
                if updates.send(update).is_err() {
                    return;
                }
            }
            seen = all.len();
        }
    }

    async fn fetch(&self) -> Option<Value> {
        let (http, base_url) = match &self.api {
            Api::Away { http, base_url } => (http, base_url),
            Api::Here(calls) => return serde_json::to_value(calls.get(&self.sid)?).ok(),
        };
        let url = format!("{base_url}/_sim/calls/{}", self.sid);
        let mut response = http.get(url).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        serde_json::from_slice(&response.body().await.ok()?).ok()
    }

    async fn put(&self, call: &Value) {
        let (http, base_url) = match &self.api {
            Api::Away { http, base_url } => (http, base_url),
            Api::Here(calls) => {
                match serde_json::from_value(call.clone()) {
                    Ok(call) => calls.register(call),
                    Err(error) => tracing::warn!(%error, "the simulated REST API does not know such a call"),
                }
                return;
            }
        };
        let url = format!("{base_url}/_sim/calls");
        if let Err(error) = http.post(url).send_json(call).await {
            tracing::warn!(%error, "the simulated REST API cannot be reached");
        }
    }
}

impl From<CallUpdate> for Update {
    fn from(update: CallUpdate) -> Self {
        match update {
            CallUpdate::Completed | CallUpdate::Canceled => Self::Completed,
            CallUpdate::Twiml { twiml } => Self::Twiml(twiml),
            CallUpdate::Url { url, method } => Self::Url { url, method },
        }
    }
}

fn updates_in(call: &Value) -> Vec<Value> {
    call.get("updates").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn update(value: &Value) -> Option<Update> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match text("kind")?.as_str() {
        "completed" | "canceled" => Some(Update::Completed),
        "twiml" => Some(Update::Twiml(text("twiml")?)),
        "url" => Some(Update::Url {
            url: text("url")?,
            method: text("method").unwrap_or_else(|| "POST".to_owned()),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_read() {
        let call = json!({"updates": [
            {"kind": "twiml", "twiml": "<Response/>"},
            {"kind": "url", "url": "http://h/x", "method": "GET"},
            {"kind": "new"},
            {"kind": "completed"},
        ]});
        let read: Vec<Update> = updates_in(&call).iter().filter_map(update).collect();
        assert_eq!(
            read,
            [
                Update::Twiml("<Response/>".to_owned()),
                Update::Url { url: "http://h/x".to_owned(), method: "GET".to_owned() },
                Update::Completed,
            ]
        );
    }
}
