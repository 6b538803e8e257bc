//! The caller's tie to the simulated REST API in another process: the call is made known there, and what the server
//! does to it through that API (hang up, run another document) is carried out here.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

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

/// A call as the API knows it.
pub(super) struct RestCall {
    http: awc::Client,
    base_url: String,
    sid: String,
}

impl RestCall {
    pub(super) fn new(http: awc::Client, base_url: &str, sid: &str) -> Self {
        Self { http, base_url: base_url.trim_end_matches('/').to_owned(), sid: sid.to_owned() }
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

    /// Whether the call has ended, however.
    pub(super) async fn is_over(&self) -> bool {
        let call = self.fetch().await;
        let status = call.as_ref().and_then(|call| call.get("status")).and_then(Value::as_str);
        matches!(status, Some("completed" | "busy" | "failed" | "no-answer" | "canceled"))
    }

    /// Changes the call's status.
    pub(super) async fn set_status(&self, status: &str) {
        let Some(mut call) = self.fetch().await else { return };
        if let Some(fields) = call.as_object_mut() {
            fields.insert("status".to_owned(), json!(status));
            self.put(&call).await;
        }
    }

    /// Sends updates as they are seen, until nobody listens.
    pub(super) async fn watch(self, updates: mpsc::UnboundedSender<Update>) {
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
        let url = format!("{}/_sim/calls/{}", self.base_url, self.sid);
        let mut response = self.http.get(url).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        serde_json::from_slice(&response.body().await.ok()?).ok()
    }

    async fn put(&self, call: &Value) {
        let url = format!("{}/_sim/calls", self.base_url);
        if let Err(error) = self.http.post(url).send_json(call).await {
            tracing::warn!(%error, "the simulated REST API cannot be reached");
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
