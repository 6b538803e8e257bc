//! A stream of a call: 20 ms frames to the server without a pause, and what it sends played back in real time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use super::StreamUp;
use super::leg::{Flow, Leg, TICK, sid};
use super::phrase::{Phrase, is_voiced};
use super::playback::Playback;
use super::player::{Do, LineState};
use super::protocol::{Command, Outbox, read};
use super::report::{EndCause, Heard, StreamEnd, StreamReport};
use super::rest::Update;
use super::socket::{Inbound, Socket};
use super::twiml::Stream;
use super::webhook::Webhooks;
use crate::audio::frame::SILENT_FRAME;
use crate::audio::{BYTES_PER_MS, SAMPLE_RATE_HZ};

/// Time allowed for the 101.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time between `connected` and `start`, in which nothing may be sent to us.
const BEFORE_START: Duration = Duration::from_millis(2);
/// A silent frame in base64.
const SILENT_PAYLOAD: &str = concat!(
    "////////////////////////////////////////////////////////////////////////////////////////////////////////////",
    "/////////////////////////////////////////////////////////////////////////////////////////////////////////w=="
);
/// How long a frame lasts, in milliseconds.
const FRAME_MS: f64 = 20.0;
/// How long the bot counts as speaking after its last voiced frame, in milliseconds.
const SPEAKING_MS: f64 = 200.0;

/// How a stream's loop ended.
enum Left {
    Ended(StreamEnd),
    HungUp,
    Update(Update),
}

/// The caller's phrase on its way. Who speaks when a stream breaks hears nothing of it, and speaks on.
pub(super) struct Speaking {
    phrase: Arc<Phrase>,
    next: usize,
    /// When the frame before was due, in milliseconds since the call began.
    at_ms: f64,
}

impl Speaking {
    /// What was said while no stream was there is lost; false if that was the rest.
    fn catch_up(&mut self, now: f64) -> bool {
        let missed = ((now - self.at_ms) / FRAME_MS).max(0.0) as usize;
        self.next = self.next.saturating_add(missed);
        self.next <= self.phrase.last_voiced()
    }
}

/// One open stream.
struct Session {
    socket: Socket,
    outbox: Outbox,
    sid: String,
    playback: Playback,
    /// Voiced bytes that wait in the playback buffer, at least while there are any.
    voice_waits: bool,
    message: Vec<u8>,
    audio: Vec<u8>,
    reached: Vec<String>,
    started_ms: f64,
    report: StreamReport,
    received: u64,
}

impl Leg {
    /// Runs `<Connect><Stream>` to the stream's end; tells what follows if that is decided already.
    pub(super) async fn connect(&mut self, stream: &Stream, document: &str) -> Option<Flow> {
        let mut url = Webhooks::resolve(document, &stream.url);
        if let Some(rest) = url.strip_prefix("http") {
            url = format!("ws{rest}");
        }
        if let Some((bare, _)) = url.split_once('?') {
            url = bare.to_owned();
        }
        let local = ["ws://127.", "ws://localhost", "ws://[::1]"];
        if !url.starts_with("wss://") && !local.iter().any(|start| url.starts_with(start)) {
            self.violations.add(format!("31922 {url:?} is not wss"));
        }
        let at_ms = self.now();
        let stream_sid = sid("MZ");
        let report = StreamReport {
            sid: stream_sid.clone(),
            at_ms,
            handshake_ms: 0.0,
            up_ms: None,
            ended_ms: at_ms,
            served_by: None,
            first_voice_ms: None,
            sent_s: 0.0,
            media: 0,
            received_s: 0.0,
            marks: 0,
            clears: 0,
            unplayed_ms: 0,
            end: StreamEnd::Broken,
        };
        let signature = self.hooks.sign_stream(&url);
        let reached = self.hooks.reach(&url);
        let connected = timeout(HANDSHAKE, Socket::connect(&reached, &signature, &self.line.trust)).await;
        let socket = match connected {
            Ok(Ok(socket)) => socket,
            failed => {
                let why = match failed {
                    Ok(Err(why)) => why,
                    _ => "31901 no answer to the upgrade".to_owned(),
                };
                self.violations.add(&why);
                self.stream_event(stream, &stream_sid, "stream-error", Some(&why));
                let ended_ms = self.now();
                self.streams.push(StreamReport { end: StreamEnd::NotConnected(why), ended_ms, ..report });
                return None;
            }
        };
        let handshake_ms = self.now() - at_ms;
        let served_by = socket.served_by().map(str::to_owned);
        let mut session = Session {
            socket,
            outbox: Outbox::new(
                &self.config.account_sid,
                &self.sid,
                &stream_sid,
                100 + u64::from(rand::random::<u8>() % 80),
            ),
            sid: stream_sid,
            playback: Playback::default(),
            voice_waits: false,
            message: Vec::with_capacity(512),
            audio: Vec::with_capacity(1_024),
            reached: Vec::new(),
            started_ms: 0.0,
            report: StreamReport { handshake_ms, served_by, ..report },
            received: 0,
        };
        self.open(&mut session, stream).await;
        let left = self.converse(&mut session).await;
        let end = match &left {
            Left::Ended(end) => end.clone(),
            Left::HungUp | Left::Update(_) => StreamEnd::Stopped,
        };
        self.leave(session, stream, left, &end).await
    }

    async fn open(&mut self, session: &mut Session, stream: &Stream) {
        session.socket.text(&Outbox::connected());
        session.socket.push();
        if let Ok(Inbound::Text(_) | Inbound::Binary) = timeout(BEFORE_START, session.socket.recv()).await {
            self.violations.add("31951 a message before start, which gives the streamSid");
        }
        let start = session.outbox.start(&stream.parameters);
        session.socket.text(&start);
        session.socket.push();
        session.started_ms = self.now();
        session.report.up_ms = Some(session.started_ms);
        self.turns.opened(session.started_ms);
        let now = session.started_ms;
        if self.speaking.as_mut().is_some_and(|speaking| !speaking.catch_up(now)) {
            self.speaking = None;
            self.turns.said(now);
        }
        self.streams_up += 1;
        if let Some(told) = &self.config.on_stream {
            let up = StreamUp { call_sid: self.sid.clone(), served_by: session.report.served_by.clone() };
            // Whoever wanted to know may have gone.
            let _ = told.send(up);
        }
        let sid = session.sid.clone();
        self.stream_event(stream, &sid, "stream-started", None);
        if let Some(ear) = &mut self.ear {
            **ear = crate::sim::voice::Recogniser::new();
        }
    }

    /// Frames out and in until the stream ends.
    async fn converse(&mut self, session: &mut Session) -> Left {
        let mut due = Instant::now() + TICK;
        let mut alarm = std::pin::pin!(sleep_until(due));
        loop {
            let update = async {
                match &mut self.updates {
                    Some(updates) => updates.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut alarm => {
                    let now = Instant::now();
                    self.line.lag.borrow_mut().record(now.saturating_duration_since(due));
                    // Twilio leaves no frame out: what is late comes in a bunch.
                    while due <= now {
                        due += TICK;
                        if let Some(left) = self.tick(session) {
                            session.socket.push();
                            return left;
                        }
                    }
                    session.socket.push();
                    alarm.as_mut().reset(due);
                }
                inbound = session.socket.recv() => {
                    if let Some(end) = self.inbound(session, inbound) {
                        return Left::Ended(end);
                    }
                    // What else has come is taken at one go.
                    while let Some(inbound) = session.socket.recv().now_or_never() {
                        if let Some(end) = self.inbound(session, inbound) {
                            return Left::Ended(end);
                        }
                        if Instant::now() >= due {
                            break;
                        }
                    }
                }
                Some(update) = update => return Left::Update(update),
            }
        }
    }

    /// 20 ms: plays, thinks, speaks.
    fn tick(&mut self, session: &mut Session) -> Option<Left> {
        let now = self.now();
        self.play(session, now);
        let line = LineState {
            streaming: true,
            speaking: self.speaking.is_some(),
            bot_speaking: session.voice_waits
                || self.turns.last_voice_ms().is_some_and(|last| now - last < SPEAKING_MS),
            listening: self.ear.is_some(),
            streams: self.streams_up,
            enough: self.config.enough.load(Ordering::Relaxed),
        };
        match self.player.tick(now, line, &mut self.turns) {
            Some(Do::Say(text)) => {
                self.speaking =
                    self.phrases.get(&text).map(|phrase| Speaking { phrase, next: 0, at_ms: now });
            }
            Some(Do::Dtmf(key)) => {
                let message = session.outbox.dtmf(key);
                session.socket.text(&message);
            }
            Some(Do::Person(person)) => self.person = person,
            Some(Do::HangUp) => return Some(Left::HungUp),
            Some(Do::DropSocket) => return Some(Left::Ended(StreamEnd::Dropped)),
            None => {}
        }
        self.speak(session, now);
        None
    }

    fn speak(&mut self, session: &mut Session, now: f64) {
        let mut payload = SILENT_PAYLOAD;
        let mut over = false;
        if let Some(speaking) = &mut self.speaking {
            speaking.at_ms = now;
            match speaking.phrase.frame(speaking.next) {
                Some(frame) => {
                    payload = frame;
                    over = speaking.next >= speaking.phrase.last_voiced();
                    speaking.next += 1;
                }
                None => over = true,
            }
        }
        session.message.clear();
        session.outbox.media(payload, &mut session.message);
        if !session.socket.text(&session.message) {
            self.violations.add("31930 the server does not read: audio dropped");
        }
        if over {
            self.speaking = None;
            self.turns.said(now);
        }
    }

    fn play(&mut self, session: &mut Session, now: f64) {
        let mut frame = SILENT_FRAME;
        let played = session.playback.advance(&mut frame, &mut session.reached);
        if played > 0 && is_voiced(&frame) {
            self.turns.played(now);
        }
        if session.playback.is_empty() {
            session.voice_waits = false;
            if played == 0 {
                self.turns.ran_dry();
            }
        }
        if let Some(ear) = &mut self.ear {
            for word in ear.feed(&frame) {
                self.turns.heard(&word.text);
                self.heard.push(Heard { at_ms: now, word: word.text });
            }
        }
        for name in session.reached.drain(..) {
            let message = session.outbox.mark(&name);
            session.socket.text(&message);
        }
    }

    fn inbound(&mut self, session: &mut Session, inbound: Inbound) -> Option<StreamEnd> {
        match inbound {
            Inbound::Text(text) => {
                self.obey(session, &text);
                None
            }
            Inbound::Binary => {
                self.violations.add("31950 a binary frame");
                None
            }
            Inbound::Malformed(why) => {
                self.violations.add(format!("31924 protocol error: {why}"));
                Some(StreamEnd::Broken)
            }
            Inbound::Close(code) => Some(StreamEnd::Closed(code)),
            Inbound::Gone => Some(StreamEnd::Broken),
        }
    }

    fn obey(&mut self, session: &mut Session, text: &[u8]) {
        let now = self.now();
        match read(text, &session.sid, &mut session.audio) {
            Ok(Command::Media) => {
                session.report.media += 1;
                session.received += session.audio.len() as u64;
                if session.playback.push(&session.audio) > 0 {
                    self.violations.add("31931 more than 10 minutes queued: audio discarded");
                }
                if is_voiced(&session.audio) {
                    session.voice_waits = true;
                    session.report.first_voice_ms.get_or_insert(now - session.started_ms);
                    self.turns.received(session.audio.len(), now);
                }
            }
            Ok(Command::Mark(name)) => {
                session.report.marks += 1;
                if let Some(name) = session.playback.mark(name) {
                    let message = session.outbox.mark(&name);
                    session.socket.text(&message);
                    session.socket.push();
                }
            }
            Ok(Command::Clear) => {
                session.report.clears += 1;
                session.voice_waits = false;
                self.turns.cleared(now);
                for name in session.playback.clear() {
                    let message = session.outbox.mark(&name);
                    session.socket.text(&message);
                }
                session.socket.push();
            }
            Err(why) => self.violations.add(why),
        }
    }

    /// Ends the stream in the way it was left.
    async fn leave(
        &mut self,
        mut session: Session,
        stream: &Stream,
        left: Left,
        end: &StreamEnd,
    ) -> Option<Flow> {
        session.report.end = end.clone();
        session.report.ended_ms = self.now();
        session.report.sent_s = session.outbox.chunks() as f64 / 50.0;
        session.report.received_s = session.received as f64 / f64::from(SAMPLE_RATE_HZ);
        session.report.unplayed_ms = (session.playback.len() / BYTES_PER_MS) as u64;
        let sid = std::mem::take(&mut session.sid);
        self.streams.push(session.report);
        let mut socket = session.socket;
        match end {
            StreamEnd::Closed(_) => socket.answer_close().await,
            StreamEnd::Stopped => {
                socket.text(&session.outbox.stop());
                let normal = CloseReason { code: CloseCode::Normal, description: None };
                socket.close(Some(normal), Duration::from_secs(1)).await;
            }
            StreamEnd::Broken | StreamEnd::Dropped | StreamEnd::NotConnected(_) => drop(socket),
        }
        let error = matches!(end, StreamEnd::Broken | StreamEnd::Dropped).then_some("31921 closed");
        let event = if error.is_some() { "stream-error" } else { "stream-stopped" };
        self.stream_event(stream, &sid, event, error);
        match left {
            Left::Ended(_) => None,
            Left::HungUp => Some(Flow::End(EndCause::CallerHungUp)),
            Left::Update(update) => Some(self.updated(update).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn the_silent_payload_is_a_silent_frame() {
        assert_eq!(STANDARD.encode(SILENT_FRAME), SILENT_PAYLOAD);
    }
}
