//! The WebSocket actor of one Media Stream: the thin edge between Twilio's socket and the call.
//!
//! `actix_web_actors` is kept inside this folder. Nothing is decided here: order is [`StreamMachine`]'s business, pace
//! is the playback's.

use super::machine::{Defect, Input, Output, StreamMachine};
use super::socket::Frames;
use crate::audio::vad::{Vad, VadState};
use crate::call::actor::{CallActor, CallLines, Opening};
use crate::call::media::Media;
use crate::call::messages::{CloseStream, StreamEvent};
use crate::call::playback::Outgoing;
use crate::domain::call::CallKind;
use crate::domain::ids::{AdmissionId, StreamSid};
use crate::observe::clock::unix_now;
use crate::observe::metrics::Alive;
use crate::registry::messages::{CallDied, CallStarted, ClaimStream};
use crate::registry::roster::Claimed;
use crate::registry::token::Claims;
use crate::session::pace::{Gate, Present};
use crate::session::services::Services;
use crate::twilio::stream::{FrameError, StartInfo, StreamMessage, StreamWriter, Track, decode_payload};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Handler, Message, SpawnHandle, StreamHandler,
    WrapFuture,
};
use actix_http::ws::{CloseCode, CloseReason, Frame, ProtocolError};
use actix_web::web::Payload;
use actix_web_actors::ws;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked at whether the peer has gone silent.
const PULSE: Duration = Duration::from_secs(2);
/// How long the peer's close is waited for after ours. Twilio goes on with the call when the connection is gone, so
/// this is silence for the caller.
const CLOSING: Duration = Duration::from_millis(250);
/// Keys kept until the call is there.
const EARLY_DIGITS: usize = 32;
/// The name of our token's parameter.
pub const TOKEN_PARAMETER: &str = "token";

/// There is something to send. At most one is on its way.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Whose stream it may be, as the handshake has shown.
pub enum Door {
    /// Twilio's: the handshake is signed.
    Twilio,
    /// A browser's, with a token of which this holds.
    Browser(Box<dyn Fn(&AdmissionId) -> bool>),
}

impl Door {
    /// Whether a token may come through it.
    fn lets_in(&self, claims: &Claims) -> bool {
        match self {
            Self::Twilio => claims.kind != CallKind::Browser,
            Self::Browser(is_bound) => claims.kind == CallKind::Browser && is_bound(&claims.admission),
        }
    }
}

/// One stream.
pub struct StreamSession {
    services: Rc<Services>,
    door: Door,
    machine: StreamMachine,
    frames: Option<Frames>,
    gate: Rc<Gate>,
    /// Counted on its thread once it carries a call.
    present: Option<Present>,
    media: Option<Rc<Media>>,
    call: Option<Addr<CallActor>>,
    writer: Option<StreamWriter>,
    stream_sid: Option<StreamSid>,
    /// Reused for every frame: decoded audio.
    audio: Vec<u8>,
    vad: Vad,
    voice_told: bool,
    voice_limit_ms: u64,
    last_frame: Instant,
    /// The text that goes out.
    text: String,
    /// When the next pull is due.
    pull: Option<(Instant, SpawnHandle)>,
    /// Audio and keys that came before the call was there.
    early: Vec<u8>,
    early_digits: Vec<char>,
    /// A claim whose answer has not come: should the session end before, it may have been granted.
    claiming: Option<CallDied>,
    _alive: Alive,
}

impl StreamSession {
    /// A session on an accepted socket.
    pub fn new(services: Rc<Services>, door: Door, gate: Rc<Gate>, payload: Payload) -> Self {
        let voice_limit_ms = services.config.call.barge_in_voice_ms;
        Self {
            services,
            door,
            machine: StreamMachine::default(),
            frames: Some(Frames::new(payload)),
            gate,
            present: None,
            media: None,
            call: None,
            writer: None,
            stream_sid: None,
            audio: Vec::with_capacity(256),
            vad: Vad::new(),
            voice_told: false,
            voice_limit_ms,
            last_frame: Instant::now(),
            text: String::with_capacity(384),
            pull: None,
            early: Vec::new(),
            early_digits: Vec::new(),
            claiming: None,
            _alive: Alive::new("session"),
        }
    }

    fn on_text(&mut self, text: &[u8], ctx: &mut ws::WebsocketContext<Self>) {
        let message = match StreamMessage::parse(text) {
            Ok(message) => message,
            Err(error) => {
                self.step(Input::Bad(defect(&error)), ctx);
                return;
            }
        };
        let ours = match (&message, message.stream_sid(), &self.stream_sid) {
            // A second one breaks the rules whatever stream it names.
            (StreamMessage::Start(_), ..) => true,
            (_, Some(theirs), Some(ours)) => theirs == ours.as_str(),
            _ => true,
        };
        if !ours {
            self.step(Input::Bad(Defect::WrongStream), ctx);
            return;
        }
        match message {
            // Our own voice, should it ever come back, is nobody's words.
            StreamMessage::Media { track: Track::Outbound | Track::Other, .. } => {}
            StreamMessage::Media { payload_b64, .. } => {
                if decode_payload(&payload_b64, &mut self.audio).is_err() {
                    self.step(Input::Bad(Defect::Base64), ctx);
                } else if self.machine.takes_audio() {
                    self.hear();
                } else if self.step(Input::Media, ctx).contains(&Output::Keep) {
                    self.keep_early();
                }
            }
            StreamMessage::Connected => {
                self.step(Input::Connected, ctx);
            }
            StreamMessage::Start(start) => {
                if self.step(Input::Start, ctx).contains(&Output::Claim) {
                    self.claim(start, ctx);
                }
            }
            StreamMessage::Dtmf { digit, .. } => {
                let outputs = self.step(Input::Dtmf, ctx);
                if outputs.contains(&Output::Pass) {
                    self.tell(StreamEvent::Digit(digit));
                } else if outputs.contains(&Output::Keep) && self.early_digits.len() < EARLY_DIGITS {
                    self.early_digits.push(digit);
                }
            }
            StreamMessage::Mark { name, .. } => {
                let name = name.to_string();
                if self.step(Input::Mark, ctx).contains(&Output::Pass) {
                    self.tell(StreamEvent::Mark(name));
                }
            }
            StreamMessage::Stop { .. } => {
                self.step(Input::Stop, ctx);
            }
            StreamMessage::Unknown => {
                self.step(Input::Bad(Defect::UnknownEvent), ctx);
            }
        }
    }

    /// Audio that came while the registry was being asked; a second of it is plenty.
    fn keep_early(&mut self) {
        if self.early.len() < 16_000 {
            self.early.extend_from_slice(&self.audio);
        }
    }

    /// The hot path: one frame of the caller's audio.
    fn hear(&mut self) {
        let Some(media) = &self.media else { return };
        let sound = self.vad.on_frame(&self.audio);
        media.hear(&self.audio, sound);
        self.services.pace.hold(&self.gate, media.patience());
        if !sound.voiced {
            self.voice_told = false;
        } else if !self.voice_told
            && self.vad.voiced_run_ms() >= self.voice_limit_ms
            && media.bot_is_playing()
        {
            self.voice_told = true;
            self.tell(StreamEvent::VoiceOver(self.vad.voiced_run_ms()));
        }
    }

    /// The stream's end. It must reach the call however full its mailbox is, and is said once.
    fn tell_end(&self, event: StreamEvent) {
        if let Some(call) = &self.call {
            call.do_send(event);
        }
    }

    fn tell(&self, event: StreamEvent) {
        if let Some(call) = &self.call {
            // Marks and keys are few and bounded by what we sent; the call's mailbox is sized for them.
            if call.try_send(event).is_err() {
                tracing::warn!("call does not take its stream's events");
            }
        }
    }

    fn step(&mut self, input: Input, ctx: &mut ws::WebsocketContext<Self>) -> Vec<Output> {
        let outputs = self.machine.on(input);
        for output in &outputs {
            match output {
                Output::Tell(defect) => {
                    tracing::warn!(stream.id = ?self.stream_sid, defect = defect.as_str(), "bad frame on a stream");
                }
                Output::TellStopped => self.tell_end(StreamEvent::Stopped),
                Output::TellBroke => self.tell_end(StreamEvent::Broke),
                Output::Close(code) => self.close(*code, ctx),
                Output::Claim | Output::Pass | Output::Keep => {}
            }
        }
        outputs
    }

    fn close(&mut self, code: u16, ctx: &mut ws::WebsocketContext<Self>) {
        ctx.close(Some(CloseReason { code: CloseCode::from(code), description: None }));
        self.detach();
        // What the peer still sends is read meanwhile: a socket closed over unread bytes is reset, and the reset may
        // overtake the close frame.
        ctx.run_later(CLOSING, |_, ctx| ctx.stop());
    }

    fn detach(&mut self) {
        self.gate.open();
        self.present = None;
        if let Some(media) = self.media.take() {
            media.set_waker(None);
        }
        self.call = None;
    }

    fn claim(&mut self, start: StartInfo, ctx: &mut ws::WebsocketContext<Self>) {
        self.stream_sid = Some(start.stream_sid.clone());
        if !start.is_mulaw_8k_mono() {
            tracing::error!(stream.id = %start.stream_sid, "stream is not mu-law at 8 kHz");
            self.step(Input::Refused, ctx);
            return;
        }
        let claims = start
            .custom_parameters
            .iter()
            .find(|(name, _)| name.as_str() == TOKEN_PARAMETER)
            .map(|(_, token)| self.services.tokens.read(token, unix_now()));
        let claims = match claims {
            Some(Ok(claims)) if claims.sid == start.call_sid && self.door.lets_in(&claims) => claims,
            Some(Ok(_)) => {
                tracing::warn!(stream.id = %start.stream_sid, "stream token is of another call or of another way in");
                self.step(Input::Refused, ctx);
                return;
            }
            Some(Err(error)) => {
                tracing::warn!(stream.id = %start.stream_sid, %error, "stream token refused");
                self.step(Input::Refused, ctx);
                return;
            }
            None => {
                tracing::warn!(stream.id = %start.stream_sid, "stream without a token");
                self.step(Input::Refused, ctx);
                return;
            }
        };
        let facts = claims.facts(unix_now());
        let ask = self.services.registry.send(ClaimStream { facts, stream: start.stream_sid.clone() });
        self.claiming =
            Some(CallDied { sid: claims.sid, epoch: claims.epoch, stream: start.stream_sid.clone() });
        let stream_sid = start.stream_sid;
        ctx.spawn(ask.into_actor(self).map(move |answer, this, ctx| match answer {
            // The socket broke while we asked: `stopped` gives the call back.
            _ if this.machine.is_closed() => {}
            Ok(Claimed::Granted { facts, resume, brief }) => {
                this.claiming = None;
                this.start_call(stream_sid, facts, Opening { resume, brief }, ctx);
            }
            Ok(Claimed::Refused(why)) => {
                this.claiming = None;
                tracing::warn!(stream.id = %stream_sid, ?why, "stream refused");
                this.step(Input::Refused, ctx);
            }
            Err(error) => {
                tracing::error!(%error, "registry does not answer");
                this.step(Input::Refused, ctx);
            }
        }));
    }

    fn start_call(
        &mut self,
        stream_sid: StreamSid,
        facts: crate::domain::call::CallFacts,
        opening: Opening,
        ctx: &mut ws::WebsocketContext<Self>,
    ) {
        let config = &self.services.config;
        let media = Media::new(&config.stt, &config.call);
        let me = ctx.address();
        media.set_waker(Some(Box::new(move || me.do_send(Wake))));
        let (sid, epoch) = (facts.sid.clone(), facts.epoch);
        let registry = self.services.registry.clone();
        let dead = CallDied { sid: sid.clone(), epoch, stream: stream_sid.clone() };
        let lines = CallLines {
            stream: ctx.address().recipient(),
            registry: registry.clone().recipient(),
            known: registry.clone().recipient(),
            died: Box::new(move || registry.do_send(dead)),
        };
        tracing::info!(call.id = %sid, stream.id = %stream_sid, "stream started");
        let call = CallActor::start(Rc::clone(&self.services.call), facts, opening, Rc::clone(&media), lines);
        self.services.registry.do_send(CallStarted {
            sid,
            epoch,
            end: call.clone().recipient(),
            evict: call.clone().recipient(),
            fault: call.clone().recipient(),
            staff: call.clone().recipient(),
        });
        self.writer = Some(StreamWriter::new(&stream_sid));
        self.call = Some(call);
        self.media = Some(media);
        self.present = Some(self.services.pace.enter());
        self.step(Input::Granted, ctx);
        let early = std::mem::take(&mut self.early);
        if let Some(media) = &self.media
            && !early.is_empty()
        {
            media.hear(&early, VadState { voiced: false, loud: true });
        }
        for digit in std::mem::take(&mut self.early_digits) {
            self.tell(StreamEvent::Digit(digit));
        }
        ctx.address().do_send(Wake);
    }

    /// Sends what is due and comes back when more is.
    fn pull(&mut self, ctx: &mut ws::WebsocketContext<Self>) {
        let (Some(media), Some(writer)) = (&self.media, &self.writer) else { return };
        let text = &mut self.text;
        let (next, first_sent) = media.pull(|outgoing| match outgoing {
            Outgoing::Frame(frame) => {
                writer.media(frame, text);
                ctx.text(text.as_str());
            }
            Outgoing::Mark(name) => {
                writer.mark(name, text);
                ctx.text(text.as_str());
            }
            Outgoing::Clear => ctx.text(writer.clear()),
        });
        if !first_sent.is_empty() {
            self.tell(StreamEvent::FirstSent(first_sent));
        }
        let Some(next) = next else { return };
        let due = Instant::now() + next;
        if let Some((armed, handle)) = self.pull.take() {
            if armed <= due {
                // It looks in time, and again if it is too early.
                self.pull = Some((armed, handle));
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(next, |this, ctx| {
            this.pull = None;
            this.pull(ctx);
        });
        self.pull = Some((due, handle));
    }

    fn pulse(&mut self, ctx: &mut ws::WebsocketContext<Self>) {
        if self.last_frame.elapsed() >= Duration::from_millis(self.services.config.twilio.silent_ms) {
            self.step(Input::Silent, ctx);
        }
    }
}

fn defect(error: &FrameError) -> Defect {
    match error {
        FrameError::TooLarge(_) => Defect::TooLarge,
        FrameError::Json { .. } | FrameError::NotUtf8 => Defect::Json,
        FrameError::Base64(_) => Defect::Base64,
        FrameError::MissingField(_) | FrameError::BadField(_) => Defect::MissingField,
    }
}

impl Actor for StreamSession {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A wake-up, a close and the registry's answer: more than these never wait.
        ctx.set_mailbox_capacity(8);
        if let Some(frames) = self.frames.take() {
            ctx.add_stream(frames);
        }
        let start_timeout = Duration::from_millis(self.services.config.twilio.start_timeout_ms);
        ctx.run_later(start_timeout, |this, ctx| {
            this.step(Input::StartTimeout, ctx);
        });
        ctx.run_interval(PULSE, Self::pulse);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // However the socket went: the call hears it once.
        if self.machine.on(Input::SocketGone).contains(&Output::TellBroke) {
            self.tell_end(StreamEvent::Broke);
        }
        if let Some(claim) = self.claiming.take() {
            // A stopped actor hears no answers: if the call was given to us, it is to wait for its next stream.
            self.services.registry.do_send(claim);
        }
        self.detach();
    }
}

impl StreamHandler<Result<Frame, ProtocolError>> for StreamSession {
    fn handle(&mut self, frame: Result<Frame, ProtocolError>, ctx: &mut Self::Context) {
        self.last_frame = Instant::now();
        if self.machine.is_closed() {
            if matches!(frame, Ok(Frame::Close(_)) | Err(_)) {
                ctx.stop();
            }
            return;
        }
        match frame {
            Ok(Frame::Text(text)) => self.on_text(&text, ctx),
            Ok(Frame::Ping(payload)) => ctx.pong(&payload),
            Ok(Frame::Pong(_)) => {}
            Ok(Frame::Binary(_)) => {
                self.step(Input::Bad(Defect::Binary), ctx);
            }
            // Twilio never fragments; a fragment is taken for an attempt to get past the size limit.
            Ok(Frame::Continuation(_)) | Err(ProtocolError::Overflow) => {
                self.step(Input::Bad(Defect::TooLarge), ctx);
            }
            Ok(Frame::Close(reason)) => {
                // RFC 6455, 5.5.1: a close is answered with the same code.
                let code = reason.map(|r| r.code);
                ctx.close(code.map(|code| CloseReason { code, description: None }));
                self.step(Input::SocketGone, ctx);
                ctx.stop();
            }
            Err(_) => {
                self.step(Input::SocketGone, ctx);
                ctx.stop();
            }
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        self.step(Input::SocketGone, ctx);
        ctx.stop();
    }
}

/// Required by the library's response builder; our frames come through [`Frames`].
impl StreamHandler<Result<ws::Message, ProtocolError>> for StreamSession {
    fn handle(&mut self, _: Result<ws::Message, ProtocolError>, _: &mut Self::Context) {}
}

impl Handler<Wake> for StreamSession {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.pull(ctx);
    }
}

impl Handler<CloseStream> for StreamSession {
    type Result = ();

    fn handle(&mut self, close: CloseStream, ctx: &mut Self::Context) {
        if close.orderly {
            // A last `clear` may still be waiting.
            self.pull(ctx);
        }
        self.step(if close.orderly { Input::CallLeft } else { Input::CallDied }, ctx);
    }
}
