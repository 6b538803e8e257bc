//! The ear's connection as a pure machine: when to connect, what to send, what to send again, what was heard.
//!
//! Audio is kept until it is settled (covered by a final transcript) and sent again from there after a reconnect, at
//! no more than 1.25 times the speed of speech. Positions are bytes of the caller's audio since the stream's first
//! one; messages come with times of their connection and are moved to the stream's before anything looks at them.

use super::buffer::AudioBuffer;
use super::clock::{AudioClock, BYTES_PER_MS, position, seconds};
use super::link::Link;
use super::messages::{Heard, SpokenDigits};
pub use super::signals::{EarSettings, Effect, Event, TimerId};
use super::utterance::{Assembler, Step};
use crate::domain::audit::AuditEvent;
use crate::domain::time::CallTime;
use crate::provider::stt::SttMessage;
use crate::provider::{ProviderError, ProviderErrorKind};
use bytes::Bytes;
use serde_json::json;
use std::time::Duration;

/// One frame of silence in mu-law: the real audio a fresh connection needs within 10 s.
const SILENCE: &[u8] = &[0xFF; 160];
/// How long last words are waited for.
const FINISH_LIMIT: Duration = Duration::from_secs(2);
/// How long audio that still waits is sent before the end is announced.
const FINISH_DRAIN: Duration = Duration::from_secs(1);
/// A hint that speech began is no hint any more when it is older than this.
const HINT_LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked whether the caller has to wait for the recogniser.
const WATCH: Duration = Duration::from_millis(250);
/// A first connection that takes longer is told as missing.
const LATE: Duration = Duration::from_millis(1_500);
/// Nobody is said to wait who does so for less than this.
const WAITING: Duration = Duration::from_secs(1);
/// A connection that has less to catch up with is not behind, bytes.
const BEHIND: u64 = 500 * BYTES_PER_MS;
/// Silence that is kept for a reconnect, bytes: longer than a recogniser takes to tell of a first word.
const SILENCE_KEPT: u64 = 1_000 * BYTES_PER_MS;
/// The detector of voice lets a word end later than the recogniser does, bytes.
const WORD_EDGE: u64 = 200 * BYTES_PER_MS;

#[derive(Debug)]
enum State {
    Idle,
    Connecting,
    Open(Link),
    Backoff,
    Lost,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finishing {
    No,
    /// The audio that waits is still being sent.
    Draining {
        limit: CallTime,
    },
    /// The end was announced.
    Announced,
}

/// A time without a recogniser that hears.
#[derive(Clone, Copy, Debug)]
struct Away {
    since: CallTime,
    /// Whether the call knows.
    told: bool,
}

/// The ear's connection.
#[derive(Debug)]
pub struct EarMachine {
    settings: EarSettings,
    state: State,
    finishing: Finishing,
    assembler: Assembler,
    steps: Vec<Step>,
    audio: AudioBuffer,
    clock: AudioClock,
    /// Everything before this is covered by a final transcript or was given up, bytes.
    settled: u64,
    /// Audio given up since it was last told, bytes.
    dropped: u64,
    /// Whether there was voice in it.
    hole: bool,
    voice: bool,
    /// Where the last voice so far ends, bytes.
    voice_end: u64,
    /// Up to where a recogniser has told what it heard, settled or guessed, bytes.
    covered: u64,
    /// Since when nothing is heard, if so.
    away: Option<Away>,
    /// Code of the last failure.
    last_code: String,
    /// Failures in a row.
    failures: u32,
    /// Whether there was a connection before.
    was_open: bool,
    utterance_timer: Option<CallTime>,
    pump_timer: bool,
    watching: bool,
    random: u64,
}

impl EarMachine {
    /// An ear that has not begun; `seed` spreads its waits.
    pub fn new(settings: EarSettings, seed: u64) -> Self {
        Self {
            assembler: Assembler::new(settings.assembly.clone()),
            settings,
            state: State::Idle,
            finishing: Finishing::No,
            steps: Vec::new(),
            audio: AudioBuffer::default(),
            clock: AudioClock::default(),
            settled: 0,
            dropped: 0,
            hole: false,
            voice: false,
            voice_end: 0,
            covered: 0,
            away: None,
            last_code: "no_answer".to_owned(),
            failures: 0,
            was_open: false,
            utterance_timer: None,
            pump_timer: false,
            watching: false,
            random: seed,
        }
    }

    /// Whether further audio is of use.
    pub fn wants_audio(&self) -> bool {
        self.finishing == Finishing::No && !matches!(self.state, State::Lost | State::Ended)
    }

    /// Audio that would have to be sent again if the connection broke now, bytes.
    #[cfg(test)]
    pub(super) fn unsettled(&self) -> u64 {
        self.audio.end().saturating_sub(self.settled)
    }

    /// Takes an event; what is to be done is added to `out`.
    pub fn on(&mut self, now: CallTime, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Start => {
                if matches!(self.state, State::Idle) {
                    self.state = State::Connecting;
                    out.push(Effect::Connect { attempt: 0 });
                    self.go_away(now, now, out);
                }
            }
            Event::Audio(bytes) => self.heard(now, bytes, out),
            Event::Voice(voice) => self.voice = voice,
            Event::Connected => self.connected(now, out),
            Event::ConnectFailed(error) => {
                if matches!(self.state, State::Connecting) {
                    self.failures = self.failures.saturating_add(1);
                    if error.is_retryable() && self.finishing == Finishing::No {
                        self.tell_away(out);
                    }
                    self.retry(now, error, out);
                }
            }
            Event::Message(message) => self.message(now, message, out),
            Event::Closed(error) => {
                if matches!(self.state, State::Open(_)) {
                    let error = error
                        .unwrap_or_else(|| ProviderError::new("stt", ProviderErrorKind::Closed, "closed"));
                    self.broken(now, error, out);
                }
            }
            Event::Timer(id) => self.timer(now, id, out),
            Event::Finalize => {
                if matches!(self.state, State::Open(_)) {
                    self.assembler.finalize(now, &mut self.steps);
                    self.tell(out);
                }
            }
            Event::Finish => self.finish(now, out),
        }
    }

    fn heard(&mut self, now: CallTime, bytes: Bytes, out: &mut Vec<Effect>) {
        if !self.wants_audio() {
            return;
        }
        let from = self.audio.end();
        self.audio.push(bytes, self.voice);
        self.clock.arrived(from, self.audio.end(), now);
        if self.voice {
            self.voice_end = self.audio.end();
        }
        self.audio.limit(self.settings.keep);
        self.pump(now, out);
        self.let_go_of_silence();
    }

    /// In a long silence nothing is sent again but the last moment, in which a word may have begun that nobody has told us
    /// of yet. The rest a recogniser has heard, and made no word of; and thousands of calls are silent at once.
    fn let_go_of_silence(&mut self) {
        let State::Open(link) = &self.state else { return };
        if self.voice || self.voice_end > self.settled || self.assembler.is_open() {
            return;
        }
        let until = link.next.min(self.covered).min(self.audio.end().saturating_sub(SILENCE_KEPT));
        if until > self.settled {
            self.settled = until;
            self.audio.release(until);
        }
    }

    /// Sends what waits, as far as it may be sent now.
    fn pump(&mut self, now: CallTime, out: &mut Vec<Effect>) {
        let State::Open(link) = &mut self.state else { return };
        if self.finishing == Finishing::Announced {
            return;
        }
        let unsent = link.next;
        let lost = self.audio.start().saturating_sub(unsent);
        if lost > 0 {
            link.next = self.audio.start();
            self.dropped = self.dropped.saturating_add(lost);
            self.hole |= self.audio.dropped_voice_after(unsent);
            self.tell_dropped(out);
        }
        let State::Open(link) = &mut self.state else { return };
        // While nobody speaks, several frames come at once; in one write they cost as much as one. What has piled up
        // behind a reconnect is no such silence.
        let waiting = self.audio.end().saturating_sub(link.next);
        let silence = !self.voice && waiting <= self.settings.silence_join as u64;
        let join = if silence { self.settings.silence_join } else { self.settings.join };
        while let Some(stretch) = self.audio.read(link.next, join) {
            let len = stretch.bytes.len() as u64;
            let wait = link.wait_for(now, len);
            if !wait.is_zero() {
                if !self.pump_timer {
                    self.pump_timer = true;
                    out.push(Effect::SetTimer(TimerId::Pump, now.after(wait)));
                }
                return;
            }
            link.sent_audio(now, stretch.at, len, stretch.voiced);
            out.push(Effect::SendAudio(stretch.bytes));
            if link.stalled(self.settings.stall) {
                out.push(Effect::CloseSocket);
                self.broken(now, ProviderError::new("stt", ProviderErrorKind::Timeout, "stalled"), out);
                return;
            }
        }
        if let Finishing::Draining { limit } = self.finishing {
            self.announce(limit, out);
        }
    }

    fn connected(&mut self, now: CallTime, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::Connecting) {
            out.push(Effect::CloseSocket);
            return;
        }
        let from = self.audio.start().max(self.settled);
        if from > self.settled {
            self.dropped = self.dropped.saturating_add(from.saturating_sub(self.settled));
            self.hole |= self.audio.dropped_voice_after(self.settled);
        }
        self.settled = from;
        self.assembler.reopened(now, seconds(from));
        // A little may go at once, so that the first frame need not wait.
        self.state = State::Open(Link::new(now, from, self.settings.join as u64));
        out.push(Effect::SetTimer(TimerId::KeepAlive, now.after(self.settings.keep_alive)));
        if self.was_open || self.failures > 0 {
            let behind = self.audio.end().saturating_sub(from) / BYTES_PER_MS;
            let detail = json!({"failures": self.failures, "behind_ms": behind});
            audit("stt.reconnected", detail, out);
        }
        self.tell_dropped(out);
        self.was_open = true;
        // With voice waiting, a connection has yet to prove that it hears.
        if self.voice_end <= self.settled {
            self.come_back(out);
        }
        self.sync_utterance_timer(out);
        self.pump(now, out);
    }

    fn message(&mut self, now: CallTime, message: SttMessage, out: &mut Vec<Effect>) {
        let State::Open(link) = &mut self.state else { return };
        link.answered();
        self.failures = 0;
        let message = link.in_stream_time(message);
        let sent = link.next;
        self.come_back(out);
        match &message {
            SttMessage::Results { start, duration, is_final, .. } => {
                let until = position(start + duration).min(sent);
                self.covered = self.covered.max(until);
                if *is_final {
                    self.settled = self.settled.max(until);
                    self.audio.release(self.settled);
                }
            }
            SttMessage::SpeechStarted { at } => {
                let fresh = self.clock.at(position(*at)).is_none_or(|at| now.since(at) <= HINT_LIMIT);
                if fresh {
                    out.push(Effect::Emit(Heard::SpeechStarted));
                }
            }
            SttMessage::Warning { code } => audit("stt.warning", json!({"code": code}), out),
            SttMessage::UtteranceEnd { .. } => {}
        }
        self.assembler.message(now, message, &mut self.steps);
        self.tell(out);
    }

    fn timer(&mut self, now: CallTime, id: TimerId, out: &mut Vec<Effect>) {
        match id {
            TimerId::Reconnect => {
                if matches!(self.state, State::Backoff) {
                    self.state = State::Connecting;
                    out.push(Effect::Connect { attempt: self.failures });
                }
            }
            TimerId::KeepAlive => self.keep_alive(now, out),
            TimerId::Pump => {
                self.pump_timer = false;
                self.pump(now, out);
            }
            TimerId::Utterance => {
                self.utterance_timer = None;
                if matches!(self.state, State::Open(_)) {
                    self.assembler.timer(now, &mut self.steps);
                    self.tell(out);
                }
            }
            TimerId::Finish => match self.finishing {
                Finishing::No => {}
                Finishing::Draining { limit } if now < limit => match self.state {
                    State::Open(_) => self.announce(limit, out),
                    _ => out.push(Effect::SetTimer(TimerId::Finish, limit)),
                },
                Finishing::Draining { .. } | Finishing::Announced => self.end(out),
            },
            TimerId::Watch => {
                self.watching = false;
                self.look_for_waiting(now, out);
            }
            TimerId::GiveUp => {
                if self.away.is_some() && self.wants_audio() {
                    out.push(Effect::CloseSocket);
                    self.lose(out);
                }
            }
        }
    }

    /// From `since` on nothing is heard.
    fn go_away(&mut self, now: CallTime, since: CallTime, out: &mut Vec<Effect>) {
        if self.away.is_none() {
            self.away = Some(Away { since, told: false });
            let at = since.after(self.settings.give_up).max(now);
            out.push(Effect::SetTimer(TimerId::GiveUp, at));
        }
        self.watch(now, out);
    }

    fn tell_away(&mut self, out: &mut Vec<Effect>) {
        if let Some(away) = &mut self.away
            && !std::mem::replace(&mut away.told, true)
        {
            out.push(Effect::Emit(Heard::Interrupted));
        }
    }

    /// The recogniser hears.
    fn come_back(&mut self, out: &mut Vec<Effect>) {
        if self.away.take().is_some() {
            out.push(Effect::CancelTimer(TimerId::GiveUp));
            out.push(Effect::Emit(Heard::Ready));
        }
    }

    fn watch(&mut self, now: CallTime, out: &mut Vec<Effect>) {
        if !self.watching {
            self.watching = true;
            out.push(Effect::SetTimer(TimerId::Watch, now.after(WATCH)));
        }
    }

    /// Tells if the caller has to wait: nobody hears what is said, or it is heard much later and the caller has fallen
    /// silent meanwhile.
    fn look_for_waiting(&mut self, now: CallTime, out: &mut Vec<Effect>) {
        if !self.wants_audio() {
            return;
        }
        // All that waited was sent, and what nobody answered was no more than a cough: silence proves nothing.
        if matches!(&self.state, State::Open(link) if link.next >= self.voice_end && link.unanswered().is_none())
        {
            self.come_back(out);
        }
        if let Some(Away { since, .. }) = self.away {
            if now.since(since) >= LATE {
                self.tell_away(out);
            }
            if now.since(since) >= WAITING && self.away.is_some_and(|away| away.told) {
                out.push(Effect::Emit(Heard::Waiting { since }));
            }
            self.watch(now, out);
            return;
        }
        let State::Open(link) = &self.state else { return };
        if self.audio.end().saturating_sub(link.next) <= BEHIND {
            return;
        }
        let unheard = self.voice_end > self.covered.saturating_add(WORD_EDGE);
        if !self.voice
            && unheard
            && let Some(since) = self.clock.at(self.voice_end)
            && now.since(since) >= WAITING
        {
            out.push(Effect::Emit(Heard::Waiting { since }));
        }
        self.watch(now, out);
    }

    /// Audio keeps the connection open by itself; without it, a message has to. A fresh one needs real audio.
    fn keep_alive(&mut self, now: CallTime, out: &mut Vec<Effect>) {
        let State::Open(link) = &mut self.state else { return };
        if self.finishing == Finishing::Announced {
            return;
        }
        if now.since(link.last_sent) >= self.settings.keep_alive {
            if link.carried_audio() {
                link.last_sent = now;
                out.push(Effect::SendKeepAlive);
            } else {
                link.filler(now, SILENCE.len() as u64);
                out.push(Effect::SendAudio(Bytes::from_static(SILENCE)));
            }
        }
        let due = link.last_sent.after(self.settings.keep_alive);
        out.push(Effect::SetTimer(TimerId::KeepAlive, due));
    }

    /// The open connection is gone.
    fn broken(&mut self, now: CallTime, error: ProviderError, out: &mut Vec<Effect>) {
        if self.finishing != Finishing::No {
            self.end(out);
            return;
        }
        // One that never said a word proves nothing, so it counts like one that could not be opened.
        let (spoke, unanswered) = match &self.state {
            State::Open(link) => (link.spoke, link.unanswered()),
            _ => (false, None),
        };
        self.failures = if spoke { 1 } else { self.failures.saturating_add(1) };
        self.state = State::Backoff;
        self.cancel_timers(out);
        // Told first: what is committed now may be the first half of something.
        if error.is_retryable() {
            // A connection that has gone silent heard nothing of the voice it did not answer.
            let unheard = (self.voice_end > self.covered.saturating_add(WORD_EDGE)).then_some(self.voice_end);
            // Noise of long ago that no recogniser took for words is nothing anybody waits for.
            let recent = self.settings.stall.saturating_mul(2);
            let unheard = unheard.and_then(|at| self.clock.at(at)).filter(|at| now.since(*at) <= recent);
            let unanswered = unanswered.and_then(|at| self.clock.at(at));
            let waiting = [unanswered, unheard].into_iter().flatten();
            let since = waiting.min().unwrap_or(now).min(now);
            self.go_away(now, since, out);
            self.tell_away(out);
        }
        self.assembler.closed(&mut self.steps);
        self.tell(out);
        self.retry(now, error, out);
    }

    /// Waits for another attempt, or gives up where none can help.
    fn retry(&mut self, now: CallTime, error: ProviderError, out: &mut Vec<Effect>) {
        if self.finishing != Finishing::No {
            self.end(out);
            return;
        }
        self.last_code.clone_from(&error.code);
        if !error.is_retryable() {
            self.lose(out);
            return;
        }
        let wait = self.backoff(&error);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let detail = json!({"code": error.code, "failures": self.failures, "wait_ms": wait_ms});
        audit("stt.reconnecting", detail, out);
        self.state = State::Backoff;
        out.push(Effect::SetTimer(TimerId::Reconnect, now.after(wait)));
    }

    /// The call has to go on without ears.
    fn lose(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Lost;
        self.assembler.end(&mut self.steps);
        self.tell(out);
        self.cancel_all_timers(out);
        self.dropped = self.dropped.saturating_add(self.audio.end().saturating_sub(self.settled));
        self.settled = self.audio.end();
        self.audio.release(self.settled);
        self.tell_dropped(out);
        audit("stt.lost", json!({"code": self.last_code, "failures": self.failures}), out);
        out.push(Effect::Emit(Heard::Lost { code: self.last_code.clone() }));
    }

    /// Half of the doubled wait, and up to as much again by chance; more if the vendor asks for it.
    fn backoff(&mut self, error: &ProviderError) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let longest = self.settings.reconnect_max;
        let full = self.settings.reconnect.saturating_mul(1 << doublings).min(longest);
        let half = u64::try_from(full.as_micros() / 2).unwrap_or(u64::MAX / 2);
        let wait = Duration::from_micros(half.saturating_add(self.chance() % half.saturating_add(1)));
        match &error.kind {
            ProviderErrorKind::RateLimited { retry_after: Some(asked) } => wait.max((*asked).min(longest)),
            _ => wait,
        }
    }

    /// SplitMix64.
    fn chance(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn finish(&mut self, now: CallTime, out: &mut Vec<Effect>) {
        if self.finishing != Finishing::No {
            return;
        }
        let limit = now.after(FINISH_LIMIT);
        match self.state {
            State::Ended => {}
            State::Idle | State::Backoff | State::Lost => self.end(out),
            State::Connecting | State::Open(_) => {
                self.finishing = Finishing::Draining { limit };
                out.push(Effect::SetTimer(TimerId::Finish, now.after(FINISH_DRAIN)));
                self.pump(now, out);
            }
        }
    }

    fn announce(&mut self, limit: CallTime, out: &mut Vec<Effect>) {
        self.finishing = Finishing::Announced;
        out.push(Effect::SendFinish);
        out.push(Effect::SetTimer(TimerId::Finish, limit));
    }

    fn end(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Ended;
        self.assembler.end(&mut self.steps);
        self.tell(out);
        self.cancel_all_timers(out);
        self.tell_dropped(out);
        out.push(Effect::CloseSocket);
        out.push(Effect::Stop);
    }

    /// Passes on what the assembly came to.
    fn tell(&mut self, out: &mut Vec<Effect>) {
        for step in self.steps.drain(..) {
            out.push(match step {
                Step::Digits(words) => {
                    let at = |s: f64| self.clock.at(position(s));
                    let timed = words.into_iter().filter_map(|word| {
                        Some(SpokenDigits { digits: word.text, from: at(word.start)?, to: at(word.end)? })
                    });
                    Effect::Emit(Heard::Digits(timed.collect()))
                }
                Step::Partial(text) => Effect::Emit(Heard::Partial { text }),
                Step::Utterance { text, last_word_end, .. } => Effect::Emit(Heard::Utterance {
                    text,
                    last_word_at: last_word_end.and_then(|end| self.clock.at(position(end))),
                }),
                Step::Finalize => Effect::SendFinalize,
            });
        }
        self.sync_utterance_timer(out);
    }

    fn sync_utterance_timer(&mut self, out: &mut Vec<Effect>) {
        let due = if matches!(self.state, State::Open(_)) { self.assembler.next_deadline() } else { None };
        if due == self.utterance_timer {
            return;
        }
        self.utterance_timer = due;
        out.push(match due {
            Some(at) => Effect::SetTimer(TimerId::Utterance, at),
            None => Effect::CancelTimer(TimerId::Utterance),
        });
    }

    fn cancel_timers(&mut self, out: &mut Vec<Effect>) {
        self.utterance_timer = None;
        self.pump_timer = false;
        for id in [TimerId::KeepAlive, TimerId::Pump, TimerId::Utterance, TimerId::Reconnect] {
            out.push(Effect::CancelTimer(id));
        }
    }

    fn cancel_all_timers(&mut self, out: &mut Vec<Effect>) {
        self.cancel_timers(out);
        self.away = None;
        self.watching = false;
        for id in [TimerId::Watch, TimerId::GiveUp] {
            out.push(Effect::CancelTimer(id));
        }
    }

    /// Tells how much audio no recogniser will hear.
    fn tell_dropped(&mut self, out: &mut Vec<Effect>) {
        let ms = std::mem::take(&mut self.dropped) / BYTES_PER_MS;
        let hole = std::mem::take(&mut self.hole);
        if ms > 0 {
            audit("stt.audio_dropped", json!({"ms": ms, "voice": hole}), out);
        }
        if hole {
            out.push(Effect::Emit(Heard::Hole { ms }));
        }
    }
}

fn audit(code: &str, detail: serde_json::Value, out: &mut Vec<Effect>) {
    out.push(Effect::Emit(Heard::Audit(AuditEvent::new(code, detail))));
}
