//! `WS /v1/listen`: the handshake, and the task that serves one connection.

use super::super::ws::{self, Peer};
use super::super::{Keys, Shared, paced};
use super::query::{self, ListenOptions};
use super::timeline::{Quirks, Rhythm, Said, Timeline};
use crate::sim::controls::InFlight;
use crate::sim::faults::{Service, Struck};
use crate::sim::senses::SpokenWord;
use actix_http::ws::{CloseCode, CloseReason, Frame, Message};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

const SERVICE: Service = Service::DeepgramListen;

/// How `/v1/listen` behaves. Times in milliseconds.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Keys accepted by Deepgram, here and on `/v1/speak`.
    pub keys: Keys,
    /// Each message comes this much after the audio that caused it.
    pub stt_delay_ms: u64,
    /// A connection without audio and text for this long is closed with NET-0001.
    pub idle_timeout_ms: u64,
    /// Audio faster than 1.25 times real time is transcribed late once it is this much ahead.
    pub burst_ms: u64,
    /// Streams at once; more are refused with 429.
    pub max_streams: Option<u64>,
    /// How results are cut.
    pub rhythm: Rhythm,
    /// Documented oddities.
    pub quirks: Quirks,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            stt_delay_ms: 100,
            idle_timeout_ms: 10_000,
            burst_ms: 2_000,
            max_streams: None,
            rhythm: Rhythm::default(),
            quirks: Quirks::default(),
        }
    }
}

/// Takes the handshake.
pub(super) async fn listen(
    req: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> HttpResponse {
    let text = req.query_string().to_owned();
    let (flight, struck) = shared.enter(&req, SERVICE, &text).await;
    if let Some(instead) = &struck.instead {
        return super::refusal(&shared, SERVICE, instead);
    }
    if let Some(response) = super::unauthorised(&shared, SERVICE, &req) {
        return response;
    }
    let mut complaints = Vec::new();
    let parsed = query::parse(&text, &mut complaints);
    for complaint in complaints {
        shared.controls.violate(SERVICE, complaint);
    }
    let options = match parsed {
        Ok(options) => options,
        Err(refused) => {
            shared.controls.violate(SERVICE, refused.message.clone());
            return super::error(&shared, SERVICE, refused.status, refused.code, &refused.message);
        }
    };
    let config = &shared.config.deepgram.listen;
    if config.max_streams.is_some_and(|most| shared.controls.in_flight(SERVICE) > most) {
        return super::error(&shared, SERVICE, 429, "TOO_MANY_REQUESTS", "Too many concurrent streams.");
    }
    let (mut response, peer, body) = match ws::accept(&req, payload) {
        Ok(accepted) => accepted,
        Err(_) => {
            shared.controls.violate(SERVICE, "not a WebSocket handshake");
            return super::error(&shared, SERVICE, 400, "Bad Request", "Expected a WebSocket handshake.");
        }
    };
    let id = shared.uuid();
    let now = Instant::now();
    let stream = Stream {
        timeline: Timeline::new(options.clone(), config.rhythm, config.quirks, (shared.ears)()),
        options,
        shared: shared.clone().into_inner(),
        id: id.clone(),
        struck,
        due: VecDeque::new(),
        said: Vec::new(),
        opened: now,
        last_received: now,
        backlog: Duration::ZERO,
        backlog_at: now,
        caught_up: now,
        audio_bytes: 0,
        sent: 0,
        closing: false,
    };
    // Watched from before the handshake is answered: whoever has seen the answer may cut.
    let cut_now = shared.controls.watch_cut(SERVICE);
    actix_web::rt::spawn(stream.serve(peer, flight, cut_now));
    response.insert_header(("dg-request-id", id)).streaming(body)
}

enum Out {
    Text(String),
    Close(CloseReason),
}

struct Stream {
    timeline: Timeline,
    options: ListenOptions,
    shared: std::sync::Arc<Shared>,
    id: String,
    struck: Struck,
    /// What is still to be sent, in order, each with its time.
    due: VecDeque<(Instant, Out)>,
    said: Vec<Said>,
    opened: Instant,
    last_received: Instant,
    /// Work that the audio still gave when it was last added to, and when that was.
    backlog: Duration,
    backlog_at: Instant,
    /// When the audio taken so far is transcribed.
    caught_up: Instant,
    audio_bytes: u64,
    sent: u64,
    closing: bool,
}

impl Stream {
    async fn serve(mut self, mut peer: Peer, flight: InFlight, mut cut_now: watch::Receiver<u64>) {
        loop {
            let wake = self.wake();
            let frame = tokio::select! {
                frame = peer.recv() => frame,
                () = sleep_until(wake) => {
                    if self.on_time(&mut peer) { continue }
                    break;
                }
                () = paced::until_cut(&mut cut_now) => return peer.abort(),
            };
            let Some(frame) = frame else { return };
            if self.cut() || !self.on_frame(frame, &mut peer) {
                break;
            }
        }
        if self.cut() && !self.closing {
            return peer.abort();
        }
        if self.closing {
            flight.finish();
        }
    }

    fn cut(&self) -> bool {
        self.struck.cut.is_some_and(|after| after.reached(self.audio_bytes, self.sent, self.opened.elapsed()))
    }

    fn stalled(&self) -> bool {
        self.struck
            .stall
            .is_some_and(|after| after.reached(self.audio_bytes, self.sent, self.opened.elapsed()))
    }

    fn idle_at(&self) -> Instant {
        // Text holds a connection only once real audio has come.
        let since = if self.audio_bytes == 0 { self.opened } else { self.last_received };
        since + Duration::from_millis(self.shared.config.deepgram.listen.idle_timeout_ms)
    }

    fn wake(&self) -> Instant {
        // Once the end is announced there is no idling any more; a stalled connection may wait for ever.
        let mut wake =
            if self.closing { Instant::now() + Duration::from_secs(3_600) } else { self.idle_at() };
        if let Some((at, _)) = self.due.front()
            && !self.stalled()
        {
            wake = wake.min(*at);
        }
        if let Some(ms) = self.struck.cut.and_then(|after| after.ms) {
            wake = wake.min(self.opened + Duration::from_millis(ms));
        }
        wake
    }

    /// Sends what is due; false when the connection is over.
    fn on_time(&mut self, peer: &mut Peer) -> bool {
        let now = Instant::now();
        while !self.stalled() && self.due.front().is_some_and(|(at, _)| *at <= now) {
            if self.cut() {
                return false;
            }
            let Some((_, out)) = self.due.pop_front() else { break };
            self.sent = self.sent.saturating_add(1);
            match out {
                Out::Text(text) => {
                    self.shared.controls.sent(SERVICE, text.len());
                    if !peer.send(Message::Text(text.into())) {
                        return false;
                    }
                }
                Out::Close(reason) => {
                    peer.send(Message::Close(Some(reason)));
                    return false;
                }
            }
        }
        if self.cut() {
            return false;
        }
        if self.idle_at() <= now && !self.closing {
            let text = "Deepgram did not receive audio data or a text message within the timeout window. \
                        See https://dpgr.am/net0001";
            self.shared.controls.violate(SERVICE, "nothing received for 10 s (NET-0001)");
            peer.send(Message::Close(Some(CloseReason::from((CloseCode::Error, text)))));
            return false;
        }
        true
    }

    /// Takes a frame; false when the connection is over.
    fn on_frame(&mut self, frame: Frame, peer: &mut Peer) -> bool {
        if self.closing && !matches!(frame, Frame::Close(_) | Frame::Ping(_) | Frame::Pong(_)) {
            self.shared.controls.violate(SERVICE, "data after CloseStream");
            return true;
        }
        match frame {
            Frame::Binary(audio) => return self.on_audio(&audio, peer),
            Frame::Text(text) => self.on_text(&text),
            Frame::Continuation(item) => {
                use actix_http::ws::Item;
                match item {
                    Item::FirstBinary(part) | Item::Continue(part) | Item::Last(part) if !part.is_empty() => {
                        return self.on_audio(&part, peer);
                    }
                    Item::FirstText(_) => {
                        self.shared.controls.violate(SERVICE, "a control message in fragments");
                    }
                    _ => {}
                }
            }
            Frame::Ping(data) => {
                peer.send(Message::Pong(data));
            }
            Frame::Pong(_) => {}
            Frame::Close(reason) => {
                self.closing = true;
                peer.send(Message::Close(reason));
                return false;
            }
        }
        true
    }

    fn on_audio(&mut self, audio: &[u8], peer: &mut Peer) -> bool {
        let now = Instant::now();
        self.last_received = now;
        if audio.is_empty() {
            self.shared.controls.violate(SERVICE, "an empty binary frame, which ends the stream");
            self.close_stream();
            return true;
        }
        self.shared.controls.received(SERVICE, audio.len());
        if self.audio_bytes == 0 {
            if self.options.encoding.is_none() {
                self.shared.controls.violate(SERVICE, "headerless audio without encoding (DATA-0000)");
                let text = "The payload cannot be decoded as audio. See https://dpgr.am/data0000";
                peer.send(Message::Close(Some(CloseReason::from((CloseCode::Policy, text)))));
                return false;
            }
            if audio.starts_with(b"RIFF") {
                self.shared.controls.violate(SERVICE, "a WAV header in raw mulaw audio");
            }
        }
        if audio.starts_with(b"{\"type\"") {
            self.shared.controls.violate(SERVICE, "a control message in a binary frame is heard as audio");
        }
        self.audio_bytes = self.audio_bytes.saturating_add(audio.len() as u64);

        let config = &self.shared.config.deepgram.listen;
        // 8 bytes a millisecond, taken at 1.25 times real time: 100 µs for each byte.
        let work = Duration::from_micros((audio.len() as u64).saturating_mul(100));
        let idle = now.saturating_duration_since(self.backlog_at);
        self.backlog = self.backlog.saturating_sub(idle).saturating_add(work);
        self.backlog_at = now;
        self.caught_up = now + self.backlog.saturating_sub(Duration::from_millis(config.burst_ms));
        let mut said = std::mem::take(&mut self.said);
        self.timeline.hear(audio, &mut said);
        self.say(&mut said);
        self.said = said;
        true
    }

    fn on_text(&mut self, text: &[u8]) {
        self.last_received = Instant::now();
        let message: Option<Value> = serde_json::from_slice(text).ok();
        let kind = message.as_ref().and_then(|m| m.get("type")).and_then(Value::as_str);
        match (kind, &message) {
            (Some("KeepAlive"), _) => {}
            (Some("Finalize"), _) => {
                let mut said = std::mem::take(&mut self.said);
                self.timeline.finalize(&mut said);
                self.say(&mut said);
                self.said = said;
            }
            (Some("CloseStream"), _) => self.close_stream(),
            (Some("Configure"), Some(message)) => self.configure(message),
            _ => {
                let text = String::from_utf8_lossy(text);
                self.shared.controls.violate(SERVICE, format!("unknown client message {text}"));
                self.enqueue(Out::Text(
                    json!({
                        "type": "Error", "variant": "SchemaError",
                        "description": "could not parse client message", "message": text,
                    })
                    .to_string(),
                ));
            }
        }
    }

    fn configure(&mut self, message: &Value) {
        let terms = message.get("keyterms").and_then(Value::as_array);
        let words = terms.map_or(0, |t| query::keyterm_tokens(t.iter().filter_map(Value::as_str)));
        let failure = if terms.is_some() && !self.options.model.starts_with("nova-3") {
            Some(("CONFIGURE_KEYTERMS_NOT_SUPPORTED", "keyterms are not supported by this model"))
        } else if words > 500 {
            Some(("CONFIGURE_KEYTERM_LIMIT_EXCEEDED", "too many keyterm tokens"))
        } else {
            None
        };
        let answer = match failure {
            Some((code, text)) => {
                self.shared.controls.violate(SERVICE, text);
                json!({"type": "ConfigureFailure", "request_id": self.id, "code": code, "description": text})
            }
            None => json!({"type": "ConfigureSuccess", "request_id": self.id, "keyterms": terms}),
        };
        self.enqueue(Out::Text(answer.to_string()));
    }

    fn close_stream(&mut self) {
        let mut said = std::mem::take(&mut self.said);
        self.timeline.close(&mut said);
        self.say(&mut said);
        let seconds = seconds(self.audio_bytes);
        self.enqueue(Out::Text(
            json!({
                "type": "Metadata", "transaction_key": "deprecated", "request_id": self.id,
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "created": jiff::Timestamp::now().to_string(), "duration": seconds, "channels": 1,
            })
            .to_string(),
        ));
        self.enqueue(Out::Close(CloseReason::from(CloseCode::Normal)));
        self.closing = true;
    }

    fn enqueue(&mut self, out: Out) {
        let config = &self.shared.config.deepgram.listen;
        let at = Instant::now().max(self.caught_up)
            + Duration::from_millis(config.stt_delay_ms)
            + self.struck.slow;
        let at = self.due.back().map_or(at, |(last, _)| at.max(*last));
        self.due.push_back((at, out));
    }

    fn say(&mut self, said: &mut Vec<Said>) {
        for one in said.drain(..) {
            if self.struck.malformed {
                self.enqueue(Out::Text("{\"type\":\"Results\",\"channel\":{\"altern".to_owned()));
            }
            let text = self.json(&one).to_string();
            self.enqueue(Out::Text(text));
        }
    }

    fn json(&self, said: &Said) -> Value {
        match said {
            Said::SpeechStarted { at } => {
                json!({"type": "SpeechStarted", "channel": [0, 1], "timestamp": seconds(*at)})
            }
            Said::UtteranceEnd { last_word_end } => json!({
                "type": "UtteranceEnd", "channel": [0, 1],
                "last_word_end": last_word_end.map_or(json!(-1), |at| json!(seconds(at))),
            }),
            Said::Results { start, end, is_final, speech_final, from_finalize, words } => json!({
                "type": "Results", "channel_index": [0, 1],
                "start": seconds(*start), "duration": seconds(end.saturating_sub(*start)),
                "is_final": is_final, "speech_final": speech_final, "from_finalize": from_finalize,
                "channel": {"alternatives": [{
                    "transcript": self.transcript(words),
                    "confidence": if words.is_empty() { 0.0 } else { 0.98 },
                    "words": words.iter().map(|w| self.word(w)).collect::<Vec<_>>(),
                }]},
                "metadata": {
                    "request_id": self.id, "model_uuid": "8e6d1c1a-2222-4444-8888-0f0f0f0f0f0f",
                    "model_info": {"name": self.options.model, "version": "2026-01-01.0", "arch": self.options.model},
                },
            }),
        }
    }

    fn transcript(&self, words: &[SpokenWord]) -> String {
        let texts: Vec<String> = words.iter().map(|w| self.spelled(w)).collect();
        texts.join(" ")
    }

    fn spelled(&self, word: &SpokenWord) -> String {
        if self.options.punctuate { word.text.clone() } else { bare(&word.text) }
    }

    fn word(&self, word: &SpokenWord) -> Value {
        let mut json = json!({
            "word": bare(&word.text), "start": seconds(word.start_sample), "end": seconds(word.end_sample),
            "confidence": 0.97,
        });
        if self.options.punctuate
            && let Some(fields) = json.as_object_mut()
        {
            fields.insert("punctuated_word".to_owned(), json!(word.text));
        }
        json
    }
}

/// A word without case and outer punctuation.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Seconds at 8,000 samples each.
fn seconds(samples: u64) -> f64 {
    samples as f64 / 8_000.0
}
