//! One sentence in the queue of the voice: its attempts, its frames, what was handed over of it.

use super::events::{Effect, JobId};
use super::messages::Spoke;
use crate::domain::audit::AuditEvent;
use crate::domain::ids::ReplyId;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use std::collections::VecDeque;

/// Longest audio that is kept for other calls, bytes (20 s).
const RECORD_MAX: usize = 160_000;
/// Replies remembered as stopped or announced.
const REPLIES_REMEMBERED: usize = 64;
/// Bytes of a frame of 20 ms.
const FRAME: usize = 160;

/// A synthesis under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: JobId,
    /// `None` for kept audio.
    pub(super) voice: Option<usize>,
    /// Not audible yet: audio is held back.
    pub(super) ahead: bool,
    pub(super) paused: bool,
    pub(super) ended: bool,
    pub(super) held: Vec<Bytes>,
    pub(super) held_bytes: usize,
    /// Less than a frame, waiting for the rest.
    pub(super) carry: BytesMut,
    /// Bytes handed to the playback.
    pub(super) delivered: usize,
    /// All audio so far, where it is to be kept.
    pub(super) record: Option<BytesMut>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Nobody was asked yet.
    Waiting,
    Running(Job),
    /// The playback is asked how much was sent.
    Retracting,
    /// No voice is left.
    Doomed,
}

#[derive(Debug)]
pub(super) struct Item {
    pub(super) reply: ReplyId,
    pub(super) sentence: u32,
    pub(super) text: String,
    pub(super) keep: bool,
    pub(super) kept: Option<Bytes>,
    pub(super) stage: Stage,
    /// Voices asked or skipped for this sentence.
    pub(super) tried: Vec<usize>,
    /// The last setback.
    pub(super) code: String,
    /// Announced to the playback.
    pub(super) begun: bool,
    /// Where the current attempt starts, byte offset in `text`.
    pub(super) from: usize,
    /// Not to be requested ahead: there was no room.
    pub(super) deferred: bool,
}

/// The latest replies of which something is to be remembered; bounded.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<ReplyId>);

impl Recent {
    pub(super) fn contains(&self, reply: ReplyId) -> bool {
        self.0.contains(&reply)
    }

    /// `false` if it was there already.
    pub(super) fn insert(&mut self, reply: ReplyId) -> bool {
        if self.contains(reply) {
            return false;
        }
        if self.0.len() >= REPLIES_REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(reply);
        true
    }
}

impl Job {
    pub(super) fn new(id: JobId, voice: Option<usize>, ahead: bool, record: bool) -> Self {
        Self {
            id,
            voice,
            ahead,
            paused: false,
            ended: false,
            held: Vec::new(),
            held_bytes: 0,
            carry: BytesMut::with_capacity(FRAME),
            delivered: 0,
            record: record.then(BytesMut::new),
        }
    }

    /// Cuts audio into whole frames: up to one completed by what was left over, and the rest. A remainder waits.
    pub(super) fn whole_frames(&mut self, mut audio: Bytes) -> [Bytes; 2] {
        let mut completed = Bytes::new();
        if !self.carry.is_empty() {
            let need = FRAME.saturating_sub(self.carry.len()).min(audio.len());
            self.carry.extend_from_slice(&audio.split_to(need));
            if self.carry.len() == FRAME {
                completed = self.carry.split().freeze();
            }
        }
        let whole = audio.len().saturating_sub(audio.len() % FRAME);
        let rest = audio.split_off(whole);
        self.carry.extend_from_slice(&rest);
        [completed, audio]
    }
}

impl Item {
    pub(super) fn new(reply: ReplyId, sentence: u32, text: String, keep: bool, kept: Option<Bytes>) -> Self {
        Self {
            reply,
            sentence,
            text,
            keep,
            kept: kept.filter(|audio| !audio.is_empty()),
            stage: Stage::Waiting,
            tried: Vec::new(),
            code: "no_voice".to_owned(),
            begun: false,
            from: 0,
            deferred: false,
        }
    }

    pub(super) fn fell_back(&self, sent_ms: u64) -> Effect {
        let detail =
            json!({ "reply": self.reply, "sentence": self.sentence, "code": self.code, "sent_ms": sent_ms });
        Effect::Tell(Spoke::Audit(AuditEvent::new("tts.fallback", detail)))
    }

    pub(super) fn begin(&mut self, out: &mut Vec<Effect>) {
        if !self.begun {
            self.begun = true;
            out.push(Effect::Begin { reply: self.reply, sentence: self.sentence, text: self.text.clone() });
        }
    }

    pub(super) fn finish(&self, out: &mut Vec<Effect>) {
        out.push(Effect::End { reply: self.reply, sentence: self.sentence });
        out.push(Effect::Tell(Spoke::SentenceDone { reply: self.reply, sentence: self.sentence }));
    }

    /// Passes the whole frames of audio on.
    pub(super) fn play(&mut self, audio: Bytes, announced: &mut Recent, out: &mut Vec<Effect>) {
        let Stage::Running(job) = &mut self.stage else { return };
        for frames in job.whole_frames(audio) {
            self.hand_over(frames, announced, out);
        }
    }

    pub(super) fn hand_over(&mut self, audio: Bytes, announced: &mut Recent, out: &mut Vec<Effect>) {
        if audio.is_empty() {
            return;
        }
        self.begin(out);
        let Stage::Running(job) = &mut self.stage else { return };
        job.delivered = job.delivered.saturating_add(audio.len());
        if let Some(record) = &mut job.record {
            record.extend_from_slice(&audio);
        }
        if job.delivered > RECORD_MAX {
            job.record = None;
        }
        if announced.insert(self.reply) {
            out.push(Effect::Tell(Spoke::FirstAudio { reply: self.reply }));
        }
        out.push(Effect::Play { reply: self.reply, sentence: self.sentence, audio });
    }

    /// Finishes the sentence if its synthesis has ended.
    pub(super) fn complete(&mut self, announced: &mut Recent, out: &mut Vec<Effect>) -> bool {
        let Stage::Running(job) = &mut self.stage else { return false };
        if !job.ended {
            return false;
        }
        let rest = job.carry.split().freeze();
        self.hand_over(rest, announced, out);
        self.finish(out);
        if let Stage::Running(job) = &mut self.stage
            && job.voice == Some(0)
            && let Some(record) = job.record.take()
        {
            out.push(Effect::Keep { text: self.text.clone(), audio: record.freeze() });
        }
        true
    }
}
