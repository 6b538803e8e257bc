//! `GET /api/stream`: what happens in live calls, as server-sent events.
//!
//! At first every live call (`call`), then what happens: `call` whenever one begins or stands otherwise, `turn`,
//! `event`, `ended`. A reader that is too slow, or was away, loses the oldest events and is told so (`resync`): it then
//! asks the other routes what it missed. Whether the reader still may is asked again with every sign of life; the stream
//! ends when the answer is no, when the server is to stop, and after half an hour.

use super::access::{Access, Credential, Read};
use super::gate::{Gate, StreamPlace};
use super::keys::local;
use super::live::LiveView;
use super::problem::{ApiResult, Problem};
use crate::domain::call::EndReason;
use crate::domain::ids::CallSid;
use crate::domain::turn::TurnRecord;
use crate::observe::clock::unix_now;
use crate::observe::feed::{FeedEvent, Numbered, Watcher};
use crate::registry::messages::{ListLive, ShowLive};
use crate::session::services::Services;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, get, web};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

/// Longest life of one stream.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Streams at once.
const MOST: usize = 200;

/// Adds the routes.
pub fn routes(config: &mut utoipa_actix_web::service_config::ServiceConfig) {
    config.service(watch);
}

/// Watches live calls
#[utoipa::path(
    tag = "live",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event that was seen")),
    responses(
        (status = 200, description = "Events `call`, `turn`, `event`, `ended`, `resync`, `closing`, each with JSON data",
            content_type = "text/event-stream", body = String),
        (status = 429, description = "Too many watch already, or this key or user watches too many streams"),
        (status = 503, description = "The server is about to stop"),
    ),
    security(("key" = []), ("session" = []))
)]
#[get("/api/stream")]
async fn watch(
    services: web::Data<Rc<Services>>,
    gate: web::Data<Gate>,
    request: HttpRequest,
    access: Access<Read>,
) -> ApiResult {
    let feed = &services.feed;
    if feed.is_closing() {
        return Err(Problem::unavailable("the server is about to stop"));
    }
    if feed.watchers() >= MOST {
        return Err(Problem::too_many(30));
    }
    let gate = gate.into_inner();
    let place = gate.watch(access.who()).ok_or_else(|| Problem::too_many(30))?;
    // Watched first, listed then: what happens in between is seen twice and not never.
    let (watcher, last) = feed.watch_from();
    let seen = request.headers().get("Last-Event-ID").and_then(|value| value.to_str().ok());
    let mut reader = Reader {
        services: Rc::clone(&services),
        credential: access.credential().clone(),
        pulse: gate.pulse,
        checks: Instant::now() + gate.pulse,
        _place: place,
        watcher,
        ready: VecDeque::new(),
        ends: Instant::now() + LONGEST,
        over: false,
        last,
    };
    reader.ready.push_back(Bytes::from_static(b"retry: 2000\n\n"));
    if seen.is_some_and(|seen| seen != reader.id(last)) {
        // What was missed is not kept: it is to be asked for.
        reader.tell(last, "resync", &json!({ "reason": "gap" }));
    }
    let calls = services.registry.send(ListLive).await?;
    for call in &calls {
        reader.tell(last, "call", &LiveView::of(call, &services.profile.timezone));
    }
    let body = stream::unfold(reader, |mut reader| async move {
        reader.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), reader))
    });
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(body))
}

/// One who watches. Nothing is fetched before what was fetched last is on its way, so a slow one holds up nobody.
struct Reader {
    services: Rc<Services>,
    credential: Credential,
    /// Between two signs of life.
    pulse: Duration,
    /// When it is asked next whether the reader still may.
    checks: Instant,
    /// One of those that the reader may have open.
    _place: StreamPlace,
    watcher: Watcher,
    ready: VecDeque<Bytes>,
    ends: Instant,
    over: bool,
    /// The number of the last event told.
    last: u64,
}

impl Reader {
    fn id(&self, n: u64) -> String {
        format!("{:08x}-{n}", self.services.feed.run())
    }

    fn tell(&mut self, n: u64, event: &str, data: &impl Serialize) {
        self.last = n;
        // JSON in one line: serde_json escapes line breaks.
        let Ok(data) = serde_json::to_string(data) else { return };
        let mut text = String::with_capacity(data.len().saturating_add(64));
        // Writing to a String cannot fail.
        let _ = write!(text, "id: {}\nevent: {event}\ndata: {data}\n\n", self.id(n));
        self.ready.push_back(text.into());
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            if Instant::now() >= self.ends {
                return None;
            }
            if Instant::now() >= self.checks {
                self.checks = Instant::now() + self.pulse;
                if !self.still_may().await {
                    self.tell(self.last, "closing", &json!({ "reason": "signed_out" }));
                    self.over = true;
                    continue;
                }
                return Some(Bytes::from_static(b": still here\n\n"));
            }
            match timeout_at(self.checks.min(self.ends), self.watcher.numbered()).await {
                Err(_) => {}
                Ok(Ok(Numbered { n, event, .. })) => self.on_event(n, event).await,
                Ok(Err(RecvError::Lagged(lost))) => {
                    let n = self.last.saturating_add(lost);
                    self.tell(n, "resync", &json!({ "reason": "slow", "lost": lost }));
                }
                Ok(Err(RecvError::Closed)) => self.over = true,
            }
        }
    }

    /// Whether the key or the sign-in still holds. A database that is away takes nothing from anybody.
    async fn still_may(&self) -> bool {
        let asked = self.services.db.credential_holds(self.credential.clone(), unix_now());
        asked.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether a reader still may is not known");
            true
        })
    }

    async fn on_event(&mut self, n: u64, event: FeedEvent) {
        match event {
            FeedEvent::Started { sid } | FeedEvent::Changed { sid } => self.tell_call(n, &sid).await,
            FeedEvent::Turn { sid, turn } => self.tell(n, "turn", &turn_view(&sid, &turn)),
            FeedEvent::Event { sid, code, detail } => {
                let at = local(&self.services.profile.timezone, unix_now());
                let data = json!({ "call_sid": sid.as_str(), "code": code, "detail": detail, "at": at });
                self.tell(n, "event", &data);
            }
            FeedEvent::Ended { sid, reason } => self.tell(n, "ended", &ended_view(&sid, reason)),
            FeedEvent::Missed => self.tell(n, "resync", &json!({ "reason": "gap" })),
            FeedEvent::Closing => {
                self.tell(n, "closing", &json!({}));
                self.over = true;
            }
        }
    }

    /// How a call stands, if it is still there.
    async fn tell_call(&mut self, n: u64, sid: &CallSid) {
        let here = self.services.registry.send(ShowLive(sid.clone())).await;
        let call = match here {
            Ok(Some(call)) => Some(call),
            // Perhaps another replica's.
            Ok(None) => {
                let Ok(calls) = self.services.registry.send(ListLive).await else { return };
                calls.into_iter().find(|call| call.facts.sid == *sid)
            }
            Err(_) => return,
        };
        if let Some(call) = call {
            let view = LiveView::of(&call, &self.services.profile.timezone);
            self.tell(n, "call", &view);
        }
    }
}

fn turn_view(sid: &CallSid, turn: &TurnRecord) -> Value {
    json!({
        "call_sid": sid.as_str(),
        "n": turn.n,
        "speaker": turn.speaker.as_str(),
        "said": turn.said,
        "heard": turn.heard,
        "interrupted": turn.interrupted,
        "at_ms": turn.at_ms,
        "latency": turn.latency,
    })
}

fn ended_view(sid: &CallSid, reason: EndReason) -> Value {
    json!({ "call_sid": sid.as_str(), "end_reason": reason.as_str(), "status": reason.status().as_str() })
}
