//! Decides what is spoken when and by which voice. Pure: events in, effects out.
//!
//! Sentences are spoken strictly in the order in which they came. The first of the queue is the audible one; the
//! second may be requested ahead, its audio held back. Nobody is asked for a sentence while what waits at the playback
//! lasts for long. Each voice is asked at most once for a sentence. Only whole frames are passed on, so that a stream that
//! breaks leaves no fraction of one behind.

use super::events::{Effect, Event, JobId, Skip};
use super::messages::{RUNWAY_MS, Spoke};
use super::sentence::{Item, Job, Recent, Stage};
use crate::audio::BYTES_PER_MS;
use crate::call::fallback;
use crate::domain::audit::AuditEvent;
use crate::domain::ids::ReplyId;
use bytes::Bytes;
use serde_json::json;
use std::collections::VecDeque;

/// Audio of the next sentence that is held back at most before its reading pauses, bytes (1 s).
const HELD_MAX: usize = 8_000;

/// The voice of one call.
#[derive(Debug)]
pub struct VoiceMachine {
    voices: usize,
    queue: VecDeque<Item>,
    jobs: JobId,
    /// Replies of which nothing more is spoken.
    dead: Recent,
    /// Replies whose first audio was told.
    announced: Recent,
    /// A reply that lost a voice goes on with another, instead of changing back and forth.
    preferred: Option<(ReplyId, usize)>,
    /// What waited at the playback at most, when that was last told, and what came to it since, ms.
    backlog_ms: u64,
    /// `Await` is not answered yet.
    awaiting: bool,
}

impl VoiceMachine {
    /// A silent voice that may choose among `voices` voices, numbered from 0 in order of preference.
    pub fn new(voices: usize) -> Self {
        Self {
            voices,
            queue: VecDeque::new(),
            jobs: 0,
            dead: Recent::default(),
            announced: Recent::default(),
            preferred: None,
            backlog_ms: 0,
            awaiting: false,
        }
    }

    /// Whether nothing is being spoken and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes an event, tells what is to be done, in order.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Speak { reply, sentence, text, keep, kept } => {
                if !self.dead.contains(reply) {
                    self.queue.push_back(Item::new(reply, sentence, text, keep, kept));
                }
            }
            Event::Stop(reply) => self.kill(reply, &mut out),
            Event::Skipped { job, why } => self.skipped(job, why, &mut out),
            Event::Audio { job, audio, waiting_ms } => {
                self.backlog_ms = waiting_ms;
                self.audio(job, audio, &mut out);
            }
            Event::Low => {
                self.awaiting = false;
                self.backlog_ms = self.backlog_ms.min(RUNWAY_MS - 1);
            }
            Event::Ended { job } => self.ended(job, &mut out),
            Event::Failed { job, code } => {
                if let Some(index) = self.position(job) {
                    self.setback(index, code, true, &mut out);
                }
            }
            Event::Retracted { reply, sentence, sent_ms } => {
                self.retracted(reply, sentence, sent_ms, &mut out);
            }
        }
        self.settle(&mut out);
        out
    }

    fn position(&self, job: JobId) -> Option<usize> {
        self.queue.iter().position(|item| matches!(&item.stage, Stage::Running(running) if running.id == job))
    }

    fn audio(&mut self, job: JobId, audio: Bytes, out: &mut Vec<Effect>) {
        let Some(index) = self.position(job) else { return };
        let Some(item) = self.queue.get_mut(index) else { return };
        let Stage::Running(running) = &mut item.stage else { return };
        if running.ended || audio.is_empty() {
            return;
        }
        if running.ahead {
            running.held_bytes = running.held_bytes.saturating_add(audio.len());
            running.held.push(audio);
            if running.held_bytes >= HELD_MAX && !running.paused {
                running.paused = true;
                out.push(Effect::Pause(job));
            }
        } else {
            self.backlog_ms = self.backlog_ms.saturating_add((audio.len() / BYTES_PER_MS) as u64);
            item.play(audio, &mut self.announced, out);
        }
    }

    fn ended(&mut self, job: JobId, out: &mut Vec<Effect>) {
        let Some(index) = self.position(job) else { return };
        let Some(Item { stage: Stage::Running(running), .. }) = self.queue.get_mut(index) else { return };
        if running.delivered == 0 && running.held_bytes == 0 && running.carry.is_empty() {
            self.setback(index, "empty_audio".to_owned(), true, out);
        } else {
            running.ended = true;
        }
    }

    fn skipped(&mut self, job: JobId, why: Skip, out: &mut Vec<Effect>) {
        let Some(index) = self.position(job) else { return };
        let Some(item) = self.queue.get_mut(index) else { return };
        if index > 0 && why == Skip::AtCapacity {
            // Nobody waits for it yet: it is asked for in its turn, not handed to another voice.
            item.stage = Stage::Waiting;
            item.tried.pop();
            item.deferred = true;
            return;
        }
        self.setback(index, why.code().to_owned(), false, out);
    }

    /// An attempt came to nothing: the next voice, from where it broke off.
    fn setback(&mut self, index: usize, code: String, failed: bool, out: &mut Vec<Effect>) {
        let Some(item) = self.queue.get_mut(index) else { return };
        item.code = code;
        let Some(next) = choose(self.voices, self.preferred, item) else {
            item.stage = Stage::Doomed;
            return;
        };
        if failed {
            self.preferred = Some((item.reply, next));
        }
        if item.begun {
            item.stage = Stage::Retracting;
            out.push(Effect::Retract { reply: item.reply, sentence: item.sentence });
        } else {
            out.push(item.fell_back(0));
            self.attempt(index, out);
        }
    }

    fn retracted(&mut self, reply: ReplyId, sentence: u32, sent_ms: u64, out: &mut Vec<Effect>) {
        let Some(item) = self.queue.front_mut() else { return };
        if (item.reply, item.sentence) != (reply, sentence) || !matches!(item.stage, Stage::Retracting) {
            return;
        }
        let rest = item.text.split_at_checked(item.from).map_or("", |(_, rest)| rest);
        item.from = item.from.saturating_add(fallback::resume_at(rest, sent_ms));
        out.push(item.fell_back(sent_ms));
        self.attempt(0, out);
    }

    /// Asks the next voice for a sentence, or plays its kept audio.
    fn attempt(&mut self, index: usize, out: &mut Vec<Effect>) {
        let Some(item) = self.queue.get_mut(index) else { return };
        self.jobs = self.jobs.wrapping_add(1);
        let id = self.jobs;
        let ahead = index > 0;
        if let Some(audio) = item.kept.take() {
            item.stage = Stage::Running(Job::new(id, None, ahead, false));
            out.push(Effect::Replay { job: id, audio });
            return;
        }
        let Some(voice) = choose(self.voices, self.preferred, item) else {
            item.stage = Stage::Doomed;
            return;
        };
        item.tried.push(voice);
        let record = item.keep && voice == 0 && item.from == 0;
        item.stage = Stage::Running(Job::new(id, Some(voice), ahead, record));
        let text = item.text.split_at_checked(item.from).map_or("", |(_, rest)| rest).to_owned();
        out.push(Effect::Start { job: id, voice, text, ahead });
    }

    /// Brings the head of the queue as far as it can go now, then looks one sentence ahead.
    fn settle(&mut self, out: &mut Vec<Effect>) {
        while let Some(item) = self.queue.front_mut() {
            match &mut item.stage {
                Stage::Waiting if !fallback::is_speakable(&item.text) => {
                    item.begin(out);
                    item.finish(out);
                    self.queue.pop_front();
                }
                Stage::Waiting if item.kept.is_none() && self.backlog_ms >= RUNWAY_MS => {
                    if !std::mem::replace(&mut self.awaiting, true) {
                        out.push(Effect::Await);
                    }
                    break;
                }
                Stage::Waiting => {
                    self.attempt(0, out);
                    if matches!(self.queue.front(), Some(Item { stage: Stage::Running(_), .. })) {
                        break;
                    }
                }
                Stage::Running(job) => {
                    if job.ahead {
                        job.ahead = false;
                        out.push(Effect::Promote(job.id));
                        let held = (job.held_bytes / BYTES_PER_MS) as u64;
                        self.backlog_ms = self.backlog_ms.saturating_add(held);
                        for audio in std::mem::take(&mut job.held) {
                            item.play(audio, &mut self.announced, out);
                        }
                    }
                    if !item.complete(&mut self.announced, out) {
                        break;
                    }
                    self.queue.pop_front();
                }
                Stage::Retracting => break,
                Stage::Doomed => {
                    let (reply, sentence, code) = (item.reply, item.sentence, item.code.clone());
                    if item.begun {
                        out.push(Effect::End { reply, sentence });
                    }
                    let detail = json!({ "reply": reply, "sentence": sentence, "code": code });
                    out.push(Effect::Tell(Spoke::Audit(AuditEvent::new("tts.failed", detail))));
                    out.push(Effect::Tell(Spoke::Failed { reply, sentence, code }));
                    self.kill(reply, out);
                }
            }
        }
        self.look_ahead(out);
    }

    /// Requests the second sentence once the first is being heard and little of it is left, so that no gap comes
    /// between them.
    fn look_ahead(&mut self, out: &mut Vec<Effect>) {
        let Some(Item { stage: Stage::Running(job), text, from, .. }) = self.queue.front() else { return };
        let asked = text.split_at_checked(*from).map_or("", |(_, rest)| rest);
        let to_come = fallback::spoken_ms(asked).saturating_sub((job.delivered / BYTES_PER_MS) as u64);
        let heard = job.delivered > 0 && self.backlog_ms.saturating_add(to_come) < RUNWAY_MS;
        let wanted = self.queue.get(1).is_some_and(|next| {
            matches!(next.stage, Stage::Waiting)
                && !next.deferred
                && next.kept.is_none()
                && fallback::is_speakable(&next.text)
        });
        if heard && wanted {
            self.attempt(1, out);
        }
    }

    fn kill(&mut self, reply: ReplyId, out: &mut Vec<Effect>) {
        self.dead.insert(reply);
        self.queue.retain(|item| {
            if item.reply != reply {
                return true;
            }
            if let Stage::Running(job) = &item.stage
                && !job.ended
            {
                out.push(Effect::Cancel(job.id));
            }
            false
        });
    }
}

/// The voice to be asked next for a sentence: the reply's own first, then in order; each once.
fn choose(voices: usize, preferred: Option<(ReplyId, usize)>, item: &Item) -> Option<usize> {
    let own = preferred.filter(|(reply, _)| *reply == item.reply).map(|(_, voice)| voice);
    own.into_iter().chain(0..voices).find(|voice| !item.tried.contains(voice))
}

#[cfg(test)]
mod tests;
