//! The ear's shell with a simulated recogniser behind it, or an ear that simply tells what the caller says.

use super::caller::WORD_MS;
use super::world::World;
use crate::call::machine::{Child, Event as CallEvent};
use crate::call::stt::machine::{EarMachine, EarSettings, Effect, Event, TimerId};
use crate::call::stt::messages::Heard;
use crate::config::call::CallConfig;
use crate::config::stt::SttConfig;
use crate::provider::stt::{SttMessage, SttWord};
use crate::provider::{ProviderError, ProviderErrorKind};
use bytes::Bytes;
use std::collections::HashMap;

/// The caller's audio is handed over in pieces of this length, ms.
const PIECE_MS: u64 = 100;
const SILENCE: u8 = 0xFF;
const SILENT: &[u8] = &[SILENCE; (PIECE_MS * 8) as usize];
const WORD_BYTES: u64 = WORD_MS * 8;

/// How a recogniser is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Away {
    Refuses,
    Hangs,
    /// It takes connections and audio, and says nothing.
    Mute,
}

/// A time without a recogniser.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    from: u64,
    until: u64,
    away: Away,
}

#[derive(Default)]
pub struct EarChild {
    pub generation: u32,
    machine: Option<EarMachine>,
    up: bool,
    timers: HashMap<TimerId, u64>,
    timer_ids: u64,
    connection: Option<Connection>,
    connections: u64,
    /// Audio that nobody has taken yet.
    ring: Vec<(Bytes, bool)>,
    /// Whether audio comes in already.
    listening: bool,
}

impl EarChild {
    pub fn is_up(&self) -> bool {
        self.up
    }

    pub fn stop(&mut self) {
        self.up = false;
        self.machine = None;
        self.connection = None;
        self.timers.clear();
    }
}

/// What a recogniser knows of the audio of one connection.
#[derive(Default)]
struct Connection {
    id: u64,
    received: u64,
    /// The run of equal bytes at the end: which word, and since when.
    run: Option<(u8, u64)>,
    /// Words since the last settled span.
    words: Vec<(u64, u64, u8)>,
    span_from: u64,
    told_words: usize,
    told_at: u64,
    last_word_end: u64,
    gap_told: bool,
    answers_at: u64,
    mute: bool,
}

impl World {
    pub fn plan_outages(&mut self) {
        if !self.troubles.ear || !self.real_ear {
            return;
        }
        for _ in 0..self.chance.between(1, 3) {
            let from = self.chance.between(0, 50_000);
            let long = match self.chance.between(0, 9) {
                0..6 => self.chance.between(100, 3_000),
                6..9 => self.chance.between(3_000, 9_000),
                _ => self.chance.between(9_000, 25_000),
            };
            let away = *self.chance.of(&[Away::Refuses, Away::Hangs, Away::Mute]);
            self.outages.push(Outage { from, until: from + long, away });
            self.at(from, move |w| w.recogniser_goes(away, long));
        }
    }

    fn recogniser_goes(&mut self, away: Away, long: u64) {
        self.tell(|| format!("-- the recogniser is away for {long} ms: {away:?}"));
        let Some(owner) = self.open_owner() else { return };
        match away {
            Away::Mute => {
                if let Some(connection) = &mut self.owners[owner].ear.connection {
                    connection.mute = true;
                }
            }
            Away::Refuses | Away::Hangs => {
                if self.owners[owner].ear.connection.take().is_some() {
                    let error = ProviderError::new("sim", ProviderErrorKind::Closed, "sim");
                    self.drive_ear(owner, Event::Closed(Some(error)));
                }
            }
        }
    }

    fn outage(&self) -> Option<Away> {
        let now = self.now;
        self.outages
            .iter()
            .find(|outage| (outage.from..outage.until).contains(&now))
            .map(|outage| outage.away)
    }

    pub fn start_ear(&mut self, owner: usize) {
        let random = self.chance.next();
        let real = self.real_ear;
        let ear = &mut self.owners[owner].ear;
        let machine = real.then(|| {
            EarMachine::new(EarSettings::new(&SttConfig::default(), &CallConfig::default()), random)
        });
        *ear = EarChild {
            generation: ear.generation + 1,
            up: true,
            machine,
            ring: std::mem::take(&mut ear.ring),
            listening: ear.listening,
            ..EarChild::default()
        };
        if real {
            self.drive_ear(owner, Event::Start);
            for (audio, voiced) in std::mem::take(&mut self.owners[owner].ear.ring) {
                self.take_audio(owner, audio, voiced);
            }
        } else {
            self.heard_from_ear(owner, Heard::Ready);
        }
    }

    /// A message of the ear's to its call.
    pub fn heard_from_ear(&mut self, owner: usize, heard: Heard) {
        let ear = &self.owners[owner].ear;
        if ear.up {
            let generation = ear.generation;
            self.post(owner, Some((Child::Stt, generation)), CallEvent::Heard(heard));
        }
    }

    pub fn finalize(&mut self, owner: usize) {
        self.drive_ear(owner, Event::Finalize);
    }

    pub fn finish_listening(&mut self, owner: usize) {
        if !self.owners[owner].ear.up {
            return;
        }
        if self.real_ear {
            self.drive_ear(owner, Event::Finish);
        } else {
            let wait = self.chance.between(20, 1_900);
            let generation = self.owners[owner].ear.generation;
            self.after(wait, move |w| {
                if w.owners[owner].ear.generation == generation && w.owners[owner].ear.up {
                    w.child_ended(owner, Child::Stt);
                    w.owners[owner].ear.stop();
                }
            });
        }
    }

    // --- an ear that tells what is said ------------------------------------------------------------------------

    pub fn ear_hears(&mut self, words: Vec<String>) {
        let Some(owner) = self.open_owner() else { return };
        let ear = &self.owners[owner].ear;
        if !ear.up {
            return;
        }
        let generation = ear.generation;
        let still = move |w: &World| {
            let ear = &w.owners[owner].ear;
            ear.up && ear.generation == generation
        };
        if self.chance.percent(85) {
            for n in 1..=words.len() {
                if self.chance.percent(60) {
                    let text = words[..n].join(" ");
                    let at = n as u64 * WORD_MS + self.chance.between(50, 200);
                    self.after(at, move |w| {
                        if still(w) {
                            w.heard_from_ear(owner, Heard::Partial { text });
                        }
                    });
                }
            }
        }
        let end = words.len() as u64 * WORD_MS;
        let last_word_at = Some(self.owners[owner].clock(self.now + end));
        let settles = end + self.chance.between(250, 1_600);
        let cut = if words.len() > 2 && self.chance.percent(20) { words.len() / 2 } else { words.len() };
        let early = (cut as u64 * WORD_MS + 100).min(settles);
        for (from, to, at) in
            [(0, cut, if cut < words.len() { early } else { settles }), (cut, words.len(), settles)]
        {
            if from < to {
                let text = words[from..to].join(" ");
                self.after(at, move |w| {
                    if still(w) {
                        w.heard_from_ear(owner, Heard::Utterance { text, last_word_at });
                    }
                });
            }
        }
    }

    // --- the ear's machine and its recogniser --------------------------------------------------------------------

    /// From here on the caller's audio comes in over this stream.
    pub fn hear_caller(&mut self, owner: usize) {
        if self.real_ear {
            self.after(PIECE_MS, move |w| w.caller_audio(owner));
        }
    }

    fn caller_audio(&mut self, owner: usize) {
        if !self.owners[owner].stream_open {
            return;
        }
        let (from, to) = (self.now - PIECE_MS, self.now);
        let spoken = self.caller.said.iter().enumerate().rev().take_while(|(_, w)| w.1 > from);
        let mut audio: Option<Vec<u8>> = None;
        for (i, (start, end, _)) in spoken {
            let (a, b) = ((*start).max(from), (*end).min(to));
            if a < b {
                let audio = audio.get_or_insert_with(|| SILENT.to_vec());
                audio[((a - from) * 8) as usize..((b - from) * 8) as usize].fill((i % 250) as u8);
            }
        }
        let voiced = audio.is_some();
        let audio = audio.map_or(Bytes::from_static(SILENT), Bytes::from);
        if self.owners[owner].ear.up {
            self.take_audio(owner, audio, voiced);
        } else {
            self.owners[owner].ear.ring.push((audio, voiced));
        }
        self.after(PIECE_MS, move |w| w.caller_audio(owner));
    }

    fn take_audio(&mut self, owner: usize, audio: Bytes, voiced: bool) {
        self.drive_ear(owner, Event::Voice(voiced));
        self.drive_ear(owner, Event::Audio(audio));
    }

    fn drive_ear(&mut self, owner: usize, event: Event) {
        let at = self.owners[owner].clock(self.now);
        let Some(machine) = &mut self.owners[owner].ear.machine else { return };
        let mut out = Vec::new();
        machine.on(at, event, &mut out);
        for effect in out {
            self.ear_does(owner, effect);
        }
    }

    /// Something happens to this ear later, if it is still there.
    fn ear_after(&mut self, owner: usize, after: u64, deed: impl FnOnce(&mut World) + 'static) {
        let generation = self.owners[owner].ear.generation;
        self.after(after, move |w| {
            let ear = &w.owners[owner].ear;
            if ear.up && ear.generation == generation {
                deed(w);
            }
        });
    }

    fn ear_does(&mut self, owner: usize, effect: Effect) {
        match effect {
            Effect::Connect { .. } => self.connect(owner),
            Effect::SendAudio(audio) => self.recognise(owner, &audio),
            Effect::SendKeepAlive => {}
            Effect::SendFinalize => self.settle_span(owner, false, true),
            Effect::SendFinish => {
                self.settle_span(owner, false, false);
                self.answer_from(owner, Event::Closed(None));
            }
            Effect::CloseSocket => self.owners[owner].ear.connection = None,
            Effect::SetTimer(id, at) => {
                let ear = &mut self.owners[owner].ear;
                ear.timer_ids += 1;
                let number = ear.timer_ids;
                ear.timers.insert(id, number);
                let due = self.owners[owner].t0 + at.0.as_micros().div_ceil(1_000) as u64;
                self.ear_after(owner, due.saturating_sub(self.now), move |w| {
                    if w.owners[owner].ear.timers.get(&id) == Some(&number) {
                        w.owners[owner].ear.timers.remove(&id);
                        w.drive_ear(owner, Event::Timer(id));
                    }
                });
            }
            Effect::CancelTimer(id) => {
                self.owners[owner].ear.timers.remove(&id);
            }
            Effect::Emit(heard) => {
                match &heard {
                    Heard::Audit(row) => {
                        if row.code == "stt.audio_dropped" {
                            // Known to be lost.
                            self.lost_until = self.now;
                        }
                    }
                    _ => self.heard_from_ear(owner, heard),
                }
            }
            Effect::Stop => {
                self.child_ended(owner, Child::Stt);
                self.owners[owner].ear.stop();
            }
        }
    }

    fn connect(&mut self, owner: usize) {
        let wait = self.chance.between(40, 400);
        let outage = self.outage();
        let failure = match outage {
            Some(Away::Refuses) => Some((wait, ProviderErrorKind::Unreachable)),
            Some(Away::Hangs) => Some((SttConfig::default().connect_timeout_ms, ProviderErrorKind::Timeout)),
            Some(Away::Mute) | None => None,
        };
        if let Some((wait, kind)) = failure {
            self.ear_after(owner, wait, move |w| {
                w.drive_ear(owner, Event::ConnectFailed(ProviderError::new("sim", kind, "sim")));
            });
            return;
        }
        if self.troubles.breaks && self.chance.percent(20) {
            let fatal = self.chance.percent(4);
            let kind = if fatal { ProviderErrorKind::Auth } else { ProviderErrorKind::Unreachable };
            self.ear_after(owner, wait, move |w| {
                w.drive_ear(owner, Event::ConnectFailed(ProviderError::new("sim", kind, "sim")));
            });
            return;
        }
        self.ear_after(owner, wait, move |w| {
            let ear = &mut w.owners[owner].ear;
            ear.connections += 1;
            let mute = outage == Some(Away::Mute);
            ear.connection = Some(Connection { id: ear.connections, mute, ..Connection::default() });
            let id = ear.connections;
            if w.troubles.breaks && w.chance.percent(50) {
                let lives = w.chance.between(1_000, 30_000);
                w.ear_after(owner, lives, move |w| {
                    let ear = &mut w.owners[owner].ear;
                    if ear.connection.take_if(|c| c.id == id).is_some() {
                        w.tell(|| "-- the recogniser's connection breaks".into());
                        let error = ProviderError::new("sim", ProviderErrorKind::Closed, "sim");
                        w.drive_ear(owner, Event::Closed(Some(error)));
                    }
                });
            }
            w.drive_ear(owner, Event::Connected);
        });
    }

    /// The recogniser gets audio. A word is heard if all of it came.
    fn recognise(&mut self, owner: usize, audio: &[u8]) {
        let Some(connection) = &mut self.owners[owner].ear.connection else { return };
        let mut i = 0;
        while i < audio.len() {
            let byte = audio[i];
            let run = audio[i..].iter().take_while(|b| **b == byte).count();
            let at = connection.received;
            if connection.run.is_none_or(|(tag, _)| tag != byte) {
                connection.word_ends(at);
                connection.run = Some((byte, at));
            }
            connection.received += run as u64;
            i += run;
        }
        let (received, spoken) = (connection.received, connection.last_word_end);
        let silent = connection.run.is_some_and(|(tag, since)| tag == SILENCE && received - since >= 2_400);
        let open = !connection.words.is_empty();
        let gap = received.saturating_sub(spoken) >= 8_000 && spoken > 0 && !connection.gap_told && !open;
        let long = received - connection.span_from > 40_000;
        let news = connection.words.len() > connection.told_words && received - connection.told_at > 4_000;
        if open && silent {
            let pause = self.chance.percent(85);
            self.settle_span(owner, pause, false);
        } else if open && long {
            self.settle_span(owner, false, false);
        } else if open && news && self.chance.percent(40) {
            let connection = self.owners[owner].ear.connection.as_mut().unwrap();
            (connection.told_words, connection.told_at) = (connection.words.len(), received);
            let message = self.results(owner, false, false, false);
            self.answer_from(owner, Event::Message(message));
        } else if gap {
            self.owners[owner].ear.connection.as_mut().unwrap().gap_told = true;
            if self.chance.percent(90) {
                let last_word_end = Some(spoken as f64 / 8_000.0);
                self.answer_from(owner, Event::Message(SttMessage::UtteranceEnd { last_word_end }));
            }
        }
    }

    fn results(&self, owner: usize, is_final: bool, speech_final: bool, from_finalize: bool) -> SttMessage {
        let connection = self.owners[owner].ear.connection.as_ref().unwrap();
        let seconds = |position: u64| position as f64 / 8_000.0;
        let words: Vec<SttWord> = connection
            .words
            .iter()
            .map(|(start, end, tag)| SttWord {
                text: self.caller.said[usize::from(*tag)].2.clone(),
                start: seconds(*start),
                end: seconds(*end),
            })
            .collect();
        // A span ends where its last word does, or later in silence.
        let until = match connection.run {
            Some((tag, since)) if tag != SILENCE => since,
            _ => connection.received,
        };
        SttMessage::Results {
            start: seconds(connection.span_from),
            duration: seconds(until.saturating_sub(connection.span_from)),
            is_final,
            speech_final,
            from_finalize,
            transcript: words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>().join(" "),
            words,
        }
    }

    /// The recogniser will not look at this span again.
    fn settle_span(&mut self, owner: usize, pause: bool, asked: bool) {
        if self.owners[owner].ear.connection.is_none() {
            return;
        }
        let message = self.results(owner, true, pause, asked);
        let SttMessage::Results { start, duration, .. } = &message else { return };
        let until = ((start + duration) * 8_000.0).round() as u64;
        if let Some(connection) = &mut self.owners[owner].ear.connection {
            connection.words.clear();
            connection.told_words = 0;
            connection.span_from = until;
        }
        self.answer_from(owner, Event::Message(message));
    }

    /// The recogniser says something; it arrives a little later, in order, unless the connection breaks before.
    fn answer_from(&mut self, owner: usize, event: Event) {
        let delay = self.chance.between(30, 250);
        let Some(connection) = &mut self.owners[owner].ear.connection else { return };
        if connection.mute {
            return;
        }
        let at = (self.now + delay).max(connection.answers_at);
        connection.answers_at = at;
        let id = connection.id;
        self.ear_after(owner, at - self.now, move |w| {
            let ear = &mut w.owners[owner].ear;
            if ear.connection.as_ref().is_some_and(|c| c.id == id) {
                if matches!(event, Event::Closed(_)) {
                    ear.connection = None;
                }
                w.drive_ear(owner, event);
            }
        });
    }

    /// Where nothing but the caller can have ended the call, each word that was wholly said is in it.
    pub fn check_ear(&self) {
        if !self.real_ear || self.troubles.breaks || self.troubles.crashes || self.owners.len() != 1 {
            return;
        }
        let Some(left_at) = self.promises.left_at else { return };
        // What was said before an outage that took too long is lost; what waits behind one takes its time.
        let patience = if self.troubles.ear { 9_000 } else { 4_000 };
        for (begun, end, word) in &self.caller.said {
            let away = |o: &Outage| o.until + patience > left_at && end + 5_000 > o.from;
            let lost = *begun < self.lost_until || end + patience > left_at || self.outages.iter().any(away);
            assert!(lost || self.promises.has(word), "{word} was not heard");
        }
    }
}

impl World {
    /// Whoever lets go in a pause has been told of all that was said to it.
    pub fn check_heard_all(&self, owner: usize) {
        let hears = self.real_ear && !self.troubles.breaks && !self.troubles.crashes && !self.troubles.ear;
        // Who has just said all of a turn may go on: the bot waits for no pause any more.
        let said = self.now.saturating_sub(1_200);
        if !hears {
            return;
        }
        for (begun, end, word) in &self.caller.said {
            let to_it = *begun >= self.owners[owner].t0 && *end <= said;
            assert!(!to_it || self.promises.has(word), "{word} is lost with the owner that let go");
        }
    }
}

impl Connection {
    fn word_ends(&mut self, at: u64) {
        let Some((tag, since)) = self.run.filter(|(tag, _)| *tag != SILENCE) else { return };
        // The very edge of a word may have been settled with the one before it.
        if at - since >= WORD_BYTES * 9 / 10 {
            self.words.push((since, at, tag));
            self.last_word_end = at;
            self.gap_told = false;
        }
    }
}
