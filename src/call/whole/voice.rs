//! The voice's shell, and two simulated voices: their audio says which sentence it is of.

use super::line::Origin;
use super::world::World;
use crate::call::machine::{Child, Event as CallEvent};
use crate::call::tts::events::{Effect, Event, JobId, Skip};
use crate::call::tts::machine::VoiceMachine;
use crate::call::tts::messages::{RUNWAY_MS, Spoke};
use crate::domain::ids::ReplyId;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

/// Longest piece handed over at once, bytes.
const PIECE: usize = 1_600;
/// Length of a spoken character, ms: faster than people speak, to get through more calls.
const CHAR_MS: usize = 30;

/// How a synthesis ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ends,
    /// Breaks off after so many bytes.
    Breaks(usize),
    /// Says nothing any more after so many bytes.
    Hangs(usize),
}

struct Job {
    key: (u32, u32, u32),
    audio: Bytes,
    sent: usize,
    fate: Fate,
    ahead: bool,
    paused: bool,
    /// A piece lies there and waits for the gate.
    waits: bool,
}

#[derive(Default)]
pub struct VoiceChild {
    pub generation: u32,
    pub machine: Option<VoiceMachine>,
    mailbox: u64,
    jobs: HashMap<JobId, Job>,
    /// The sentences the machine has, in its order.
    queue: Vec<(ReplyId, u32)>,
    dead: Vec<ReplyId>,
}

impl VoiceChild {
    pub fn stop(&mut self) {
        self.machine = None;
        self.jobs.clear();
    }
}

impl World {
    pub fn start_voice(&mut self, owner: usize) {
        let voice = &mut self.owners[owner].voice;
        *voice = VoiceChild {
            generation: voice.generation + 1,
            machine: Some(VoiceMachine::new(2)),
            ..VoiceChild::default()
        };
    }

    /// A message for the voice, handled in its turn if it is still the same voice.
    pub fn tell_voice(&mut self, owner: usize, deed: impl FnOnce(&mut World) + 'static) {
        if self.owners[owner].voice.machine.is_none() {
            return;
        }
        let lag = self.lag();
        let voice = &mut self.owners[owner].voice;
        let generation = voice.generation;
        let at = (self.now + lag).max(voice.mailbox);
        voice.mailbox = at;
        self.at(at, move |w| {
            let voice = &w.owners[owner].voice;
            if voice.generation == generation && voice.machine.is_some() {
                deed(w);
            }
        });
    }

    pub fn speak(&mut self, owner: usize, reply: ReplyId, sentence: u32, text: String) {
        let voice = &mut self.owners[owner].voice;
        if !voice.dead.contains(&reply) {
            voice.queue.push((reply, sentence));
            assert!(voice.queue.len() <= 24, "more sentences than a mailbox is to hold: {:?}", voice.queue);
        }
        self.drive_voice(owner, Event::Speak { reply, sentence, text, keep: false, kept: None });
    }

    pub fn stop_speech(&mut self, owner: usize, reply: ReplyId) {
        self.drive_voice(owner, Event::Stop(reply));
    }

    fn drive_voice(&mut self, owner: usize, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let voice = &mut self.owners[owner].voice;
            if let Event::Stop(reply) = &event {
                voice.dead.push(*reply);
                voice.queue.retain(|(r, _)| r != reply);
            }
            let Some(machine) = &mut voice.machine else { return };
            for effect in machine.on(event) {
                events.extend(self.voice_does(owner, effect));
            }
        }
    }

    fn voice_does(&mut self, owner: usize, effect: Effect) -> Option<Event> {
        let playback = &mut self.owners[owner].playback;
        match effect {
            Effect::Start { job, text, ahead, .. } => return self.synthesise(owner, job, &text, ahead),
            Effect::Await => {
                if playback.waiting_ms() < RUNWAY_MS {
                    return Some(Event::Low);
                }
                self.when_low(owner);
            }
            Effect::Replay { .. } | Effect::Keep { .. } => {}
            Effect::Cancel(job) => {
                self.owners[owner].voice.jobs.remove(&job);
            }
            Effect::Pause(job) => {
                if let Some(job) = self.owners[owner].voice.jobs.get_mut(&job) {
                    job.paused = true;
                }
            }
            Effect::Promote(job) => {
                if let Some(task) = self.owners[owner].voice.jobs.get_mut(&job) {
                    (task.ahead, task.paused) = (false, false);
                    if std::mem::take(&mut task.waits) {
                        self.piece_after(owner, job, 0);
                    }
                }
            }
            Effect::Begin { reply, sentence, text } => {
                return (!playback.begin_sentence(reply, sentence, &text)).then_some(Event::Stop(reply));
            }
            Effect::Play { reply, sentence, audio } => {
                let taken = playback.audio(reply, sentence, audio);
                self.wake(owner);
                return (!taken).then_some(Event::Stop(reply));
            }
            Effect::End { reply, sentence } => {
                playback.end_sentence(reply, sentence);
                self.wake(owner);
            }
            Effect::Retract { reply, sentence } => {
                let sent_ms = playback.retract(reply, sentence);
                self.wake(owner);
                return Some(Event::Retracted { reply, sentence, sent_ms });
            }
            Effect::Tell(spoke) => {
                let voice = &mut self.owners[owner].voice;
                match &spoke {
                    Spoke::SentenceDone { reply, sentence } => {
                        assert_eq!(voice.queue.first(), Some(&(*reply, *sentence)), "out of order");
                        voice.queue.remove(0);
                    }
                    Spoke::Failed { reply, .. } => {
                        voice.dead.push(*reply);
                        voice.queue.retain(|(r, _)| r != reply);
                    }
                    Spoke::FirstAudio { .. } | Spoke::Audit(_) => {}
                }
                let generation = voice.generation;
                self.post(owner, Some((Child::Tts, generation)), CallEvent::Spoke(spoke));
            }
        }
        None
    }

    /// Tells the voice when little waits at the playback.
    fn when_low(&mut self, owner: usize) {
        let generation = self.owners[owner].voice.generation;
        self.after(20, move |w| {
            if w.owners[owner].voice.generation != generation {
                return;
            }
            if w.owners[owner].playback.waiting_ms() < RUNWAY_MS {
                w.drive_voice(owner, Event::Low);
            } else {
                w.when_low(owner);
            }
        });
    }

    /// A voice is asked for a sentence.
    fn synthesise(&mut self, owner: usize, job: JobId, text: &str, ahead: bool) -> Option<Event> {
        let trouble = self.troubles.voice;
        if trouble && self.chance.percent(4) {
            let why = *self.chance.of(&[Skip::AtCapacity, Skip::BreakerOpen]);
            return Some(Event::Skipped { job, why });
        }
        let (reply, sentence) = self.owners[owner].voice.queue[usize::from(ahead)];
        let attempts = &mut self.owners[owner].line.attempts;
        let attempt = attempts.range((reply.0, sentence, 0)..=(reply.0, sentence, u32::MAX)).count() as u32;
        let frames = (text.chars().count() * CHAR_MS / 20).max(1);
        let mut audio = Vec::with_capacity(frames * 160);
        for frame in 0..frames {
            let origin = Origin { reply: reply.0, sentence, attempt, frame: frame as u32 };
            audio.extend_from_slice(&origin.bytes().repeat(40));
        }
        // Vendors' audio does not end with a frame.
        audio.truncate(audio.len() - (self.chance.between(0, 39) * 4) as usize);
        let cut = self.chance.next() as usize % audio.len();
        let fate = match self.chance.between(0, 99) {
            0..5 if trouble => Fate::Breaks(cut),
            5..9 if trouble => Fate::Hangs(cut),
            9..12 if trouble => Fate::Breaks(0),
            _ => Fate::Ends,
        };
        let key = (reply.0, sentence, attempt);
        attempts.insert(key, (fate == Fate::Ends).then_some(frames as u32));
        self.tell(|| format!("{owner}    voice: {key:?} {frames} frames, {fate:?}, {text:?}"));
        let task = Job { key, audio: audio.into(), sent: 0, fate, ahead, paused: false, waits: false };
        self.owners[owner].voice.jobs.insert(job, task);
        let slow = trouble && self.chance.percent(6);
        let first = if slow { self.chance.between(700, 1_400) } else { self.chance.between(60, 450) };
        self.piece_after(owner, job, first);
        None
    }

    /// Every synthesis under way comes to nothing.
    pub fn break_off(&mut self, owner: usize) {
        let this = &mut self.owners[owner];
        for job in this.voice.jobs.values() {
            this.line.attempts.insert(job.key, None);
        }
    }

    fn piece_after(&mut self, owner: usize, job: JobId, after: u64) {
        let generation = self.owners[owner].voice.generation;
        self.after(after, move |w| {
            if w.owners[owner].voice.generation == generation {
                w.piece(owner, job);
            }
        });
    }

    /// The next piece of a synthesis comes, if it may.
    fn piece(&mut self, owner: usize, job: JobId) {
        let size = self.chance.between(1, PIECE as u64) as usize;
        let room = self.owners[owner].playback.has_room();
        let Some(task) = self.owners[owner].voice.jobs.get_mut(&job) else { return };
        if task.paused {
            task.waits = true;
            return;
        }
        if !task.ahead && !room {
            self.piece_after(owner, job, 30);
            return;
        }
        let limit = match task.fate {
            Fate::Ends => task.audio.len(),
            Fate::Breaks(limit) | Fate::Hangs(limit) => limit,
        };
        let end = (task.sent + size.max(PIECE / 2)).min(limit);
        if task.sent < end {
            let audio = task.audio.slice(task.sent..end);
            task.sent = end;
            let stutters = self.troubles.voice && self.chance.percent(4);
            let gap = if stutters { self.chance.between(300, 900) } else { self.chance.between(0, 60) };
            self.piece_after(owner, job, gap);
            let waiting_ms = self.owners[owner].playback.waiting_ms();
            self.drive_voice(owner, Event::Audio { job, audio, waiting_ms });
            return;
        }
        let fate = task.fate;
        let event = match fate {
            Fate::Ends => Event::Ended { job },
            Fate::Breaks(_) => Event::Failed { job, code: "closed".into() },
            Fate::Hangs(_) => {
                task.fate = Fate::Breaks(0);
                self.piece_after(owner, job, 1_000);
                return;
            }
        };
        let key = task.key;
        self.owners[owner].voice.jobs.remove(&job);
        self.tell(|| format!("{owner}    voice: {key:?} {event:?}"));
        self.drive_voice(owner, event);
    }
}
