//! What the caller hears of the bot: the queue of its audio, the pace at which it is sent, and the marks that come back.
//!
//! Pure. Twilio plays what we send at 8,000 bytes a second and returns each `mark` when everything before it was
//! played, or at once after a `clear` (`twilio.md` 3.4). So a returned mark means "played or flushed": marks sent
//! before a `clear` never count as heard. What was heard of a sentence that was cut is estimated by time.

use super::fallback::resume_at;
use crate::domain::ids::ReplyId;
use crate::domain::time::CallTime;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of one 20 ms frame of mu-law at 8 kHz.
pub const FRAME_BYTES: usize = 160;
/// Bytes of one millisecond.
const BYTES_PER_MS: usize = 8;
/// Mu-law silence.
const SILENCE: u8 = 0xFF;
/// A frame of it, for the end of a sentence.
const SILENT: &[u8] = &[SILENCE; FRAME_BYTES];
/// Speaking rate assumed while a sentence's length is not known yet, ms a character.
const MS_PER_CHAR: u64 = 66;
/// Places for pieces that an empty queue may keep.
const SPARE: usize = 32;
/// Sent in one go once the lead has fallen below its target: one write for several frames.
const BURST: Duration = Duration::from_millis(100);

/// What is to be written to the stream, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing<'a> {
    /// One frame of audio, 160 bytes.
    Frame(&'a [u8]),
    /// A mark.
    Mark(&'a str),
    /// Drop all queued audio.
    Clear,
}

/// How a reply stands when it is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which reply.
    pub reply: ReplyId,
    /// The words the caller heard of it.
    pub heard: String,
}

/// A sentence the caller has heard to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Which reply.
    pub reply: ReplyId,
    /// Which of its sentences.
    pub sentence: u32,
    /// Its words.
    pub text: String,
}

/// A sentence whose audio is queued or sent, but whose mark has not come back.
#[derive(Debug)]
struct Segment {
    reply: ReplyId,
    sentence: u32,
    text: String,
    /// Bytes still in the queue.
    queued: usize,
    /// Bytes sent.
    sent: usize,
    /// No more audio comes.
    complete: bool,
    /// When Twilio begins to play it, once its first frame was sent.
    starts_at: Option<CallTime>,
    /// Its mark, once sent, and when it is due.
    mark: Option<(String, CallTime)>,
}

impl Segment {
    /// Ends it here. Keeps the words before the place where it is taken up again, and returns those from there on.
    fn break_off(&mut self, sent_ms: u64) -> String {
        let whole = std::mem::take(&mut self.text);
        let (said, rest) = whole.split_at_checked(resume_at(&whole, sent_ms)).unwrap_or(("", &whole));
        self.text = said.trim_end().to_owned();
        self.complete = true;
        rest.to_owned()
    }

    fn heard_by(&self, now: CallTime) -> String {
        let Some(starts_at) = self.starts_at else { return String::new() };
        let played = now.since(starts_at).as_millis() as u64;
        let known = ((self.sent + self.queued) / BYTES_PER_MS) as u64;
        let total =
            if self.complete { known } else { known.max(self.text.chars().count() as u64 * MS_PER_CHAR) };
        words_within(&self.text, played.min((self.sent / BYTES_PER_MS) as u64), total)
    }
}

/// The whole words of `text` that lie within the first `played` of `total` milliseconds, by share of characters.
fn words_within(text: &str, played: u64, total: u64) -> String {
    if total == 0 || played == 0 {
        return String::new();
    }
    let chars = text.chars().count() as u64;
    let reached = chars.saturating_mul(played.min(total)) / total;
    let mut heard = String::new();
    let mut position = 0u64;
    for word in text.split_whitespace() {
        position += word.chars().count() as u64;
        if position > reached {
            break;
        }
        if !heard.is_empty() {
            heard.push(' ');
        }
        heard.push_str(word);
        position += 1;
    }
    heard
}

/// Audio that waits, in the pieces in which it came: nothing is copied to wait, a sentence that many callers hear is
/// there once, and what was sent is let go of.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    /// Bytes in all pieces.
    len: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len = self.len.saturating_add(piece.len());
            self.pieces.push_back(piece);
        }
    }

    /// Takes a frame from the front; what is missing of it is silence.
    fn take(&mut self, frame: &mut [u8; FRAME_BYTES]) {
        let mut rest = frame.as_mut_slice();
        while !rest.is_empty() {
            let Some(piece) = self.pieces.front_mut() else { break };
            let n = piece.len().min(rest.len());
            let (now, later) = rest.split_at_mut(n);
            piece.copy_to_slice(now);
            rest = later;
            self.len = self.len.saturating_sub(n);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        rest.fill(SILENCE);
        if self.pieces.is_empty() && self.pieces.capacity() > SPARE {
            self.pieces = VecDeque::new();
        }
    }

    /// Takes `count` bytes away from behind the first `skip` ones.
    fn remove(&mut self, mut skip: usize, mut count: usize) {
        let mut kept = VecDeque::with_capacity(self.pieces.len());
        self.len = 0;
        for mut piece in std::mem::take(&mut self.pieces) {
            let before = piece.split_to(piece.len().min(skip));
            skip = skip.saturating_sub(before.len());
            let gone = piece.split_to(piece.len().min(count));
            count = count.saturating_sub(gone.len());
            for piece in [before, piece] {
                if !piece.is_empty() {
                    self.len = self.len.saturating_add(piece.len());
                    kept.push_back(piece);
                }
            }
        }
        self.pieces = kept;
    }

    /// Keeps the first `keep` bytes.
    fn truncate(&mut self, keep: usize) {
        self.remove(keep, self.len.saturating_sub(keep));
    }
}

/// The bot's audio on its way to the caller.
#[derive(Debug)]
pub struct Playback {
    lead: Duration,
    buffer: Queue,
    segments: VecDeque<Segment>,
    /// When Twilio will have played everything sent so far.
    tail: CallTime,
    /// Replies up to this one accept no more audio, except those in `spared`.
    stopped: Vec<ReplyId>,
    floor: Option<ReplyId>,
    marks: u64,
    clear_due: bool,
    limit: usize,
    first_sent: Vec<ReplyId>,
    frame: [u8; FRAME_BYTES],
    late_audio: u64,
    unknown_marks: u64,
}

impl Playback {
    /// A queue that keeps `lead` of audio at Twilio's end and `limit` ms of it here.
    pub fn new(lead: Duration, limit_ms: u64) -> Self {
        Self {
            lead,
            buffer: Queue::default(),
            segments: VecDeque::new(),
            tail: CallTime::ZERO,
            stopped: Vec::new(),
            floor: None,
            marks: 0,
            clear_due: false,
            limit: usize::try_from(limit_ms).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_MS),
            first_sent: Vec::new(),
            frame: [SILENCE; FRAME_BYTES],
            late_audio: 0,
            unknown_marks: 0,
        }
    }

    fn is_dead(&self, reply: ReplyId) -> bool {
        self.floor.is_some_and(|floor| reply <= floor) || self.stopped.contains(&reply)
    }

    /// Announces a sentence. `false` if its reply was stopped.
    pub fn begin_sentence(&mut self, reply: ReplyId, sentence: u32, text: &str) -> bool {
        if self.is_dead(reply) {
            return false;
        }
        self.segments.push_back(Segment {
            reply,
            sentence,
            text: text.to_owned(),
            queued: 0,
            sent: 0,
            complete: false,
            starts_at: None,
            mark: None,
        });
        true
    }

    /// Adds audio to the sentence announced last. `false`, and nothing taken, if its reply was stopped.
    pub fn audio(&mut self, reply: ReplyId, sentence: u32, audio: Bytes) -> bool {
        if self.is_dead(reply) {
            self.late_audio += 1;
            return false;
        }
        match self.segments.back_mut() {
            Some(last) if last.reply == reply && last.sentence == sentence && !last.complete => {
                last.queued += audio.len();
                self.buffer.push(audio);
                true
            }
            _ => {
                self.late_audio += 1;
                false
            }
        }
    }

    /// The sentence announced last is complete; its last frame is filled up with silence.
    pub fn end_sentence(&mut self, reply: ReplyId, sentence: u32) {
        let Some(last) = self.segments.back_mut() else { return };
        if last.reply != reply || last.sentence != sentence || last.complete {
            return;
        }
        last.complete = true;
        let rest = (last.sent + last.queued) % FRAME_BYTES;
        if rest != 0 {
            let pad = FRAME_BYTES - rest;
            last.queued += pad;
            self.buffer.push(Bytes::from_static(SILENT.get(..pad).unwrap_or_default()));
        }
    }

    /// Takes back what of this sentence was not sent; more audio of it may follow (another voice goes on with it).
    /// Returns the milliseconds of it that were sent since it was announced or last taken back.
    pub fn retract(&mut self, reply: ReplyId, sentence: u32) -> u64 {
        let Some(sent_ms) = self.take_back(reply, sentence) else { return 0 };
        let Some(last) = self.segments.back_mut() else { return 0 };
        if last.sent > 0 {
            // What was sent stays sent and gets its own mark; its words are told with the part that says them whole.
            let rest = last.break_off(sent_ms);
            self.begin_sentence(reply, sentence, &rest);
        }
        sent_ms
    }

    /// Takes back what of this sentence was not sent and closes it: its voice is gone, and whoever speaks it next
    /// begins it anew. Returns the words of it that are still to be said, if it was begun.
    pub fn abandon(&mut self, reply: ReplyId, sentence: u32) -> Option<String> {
        let sent_ms = self.take_back(reply, sentence)?;
        let last = self.segments.back_mut()?;
        let rest = last.break_off(sent_ms);
        if last.sent == 0 {
            self.segments.pop_back();
        }
        Some(rest)
    }

    /// Empties the queue of the sentence announced last, if it is this one and still open.
    fn take_back(&mut self, reply: ReplyId, sentence: u32) -> Option<u64> {
        let last = self.segments.back_mut()?;
        if last.reply != reply || last.sentence != sentence || last.complete {
            return None;
        }
        let keep = self.buffer.len().saturating_sub(last.queued);
        self.buffer.truncate(keep);
        last.queued = 0;
        Some((last.sent / BYTES_PER_MS) as u64)
    }

    /// Audio that waits to be sent, ms.
    pub fn waiting_ms(&self) -> u64 {
        (self.buffer.len() / BYTES_PER_MS) as u64
    }

    /// Whether there is room for more audio.
    pub fn has_room(&self) -> bool {
        self.buffer.len() < self.limit
    }

    /// Whether audio waits here or plays at the caller's end.
    pub fn is_audible(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Whether anything is being played (or was sent to be played) at `now`.
    pub fn is_playing(&self, now: CallTime) -> bool {
        self.tail > now
    }

    /// When Twilio will have played what it has.
    pub fn tail(&self) -> CallTime {
        self.tail
    }

    /// Whether any sentence of `reply` is still on its way.
    pub fn holds(&self, reply: ReplyId) -> bool {
        self.segments.iter().any(|s| s.reply == reply)
    }

    /// Whether any audio of `reply` has been sent (and not yet been marked).
    pub fn has_sent(&self, reply: ReplyId) -> bool {
        self.segments.iter().any(|s| s.reply == reply && s.sent > 0)
    }

    /// Frames that came for stopped replies, and marks that nobody waited for.
    pub fn strays(&self) -> (u64, u64) {
        (self.late_audio, self.unknown_marks)
    }

    /// Writes what is due now and tells when to come back. After a `clear` that goes out first.
    pub fn pull(&mut self, now: CallTime, mut write: impl FnMut(Outgoing<'_>)) -> Option<Duration> {
        if std::mem::take(&mut self.clear_due) {
            write(Outgoing::Clear);
        }
        let target = now.after(self.lead);
        let full = target.after(BURST);
        let mut filling = self.tail < target;
        for i in 0..self.segments.len() {
            let Some(segment) = self.segments.get_mut(i) else { break };
            if segment.mark.is_some() {
                continue;
            }
            while filling && segment.queued >= FRAME_BYTES {
                self.buffer.take(&mut self.frame);
                segment.queued -= FRAME_BYTES;
                segment.sent += FRAME_BYTES;
                if self.tail < now {
                    self.tail = now;
                }
                if segment.starts_at.is_none() {
                    segment.starts_at = Some(self.tail);
                    if !self.first_sent.contains(&segment.reply) {
                        self.first_sent.push(segment.reply);
                    }
                }
                self.tail = self.tail.after(Duration::from_millis((FRAME_BYTES / BYTES_PER_MS) as u64));
                write(Outgoing::Frame(&self.frame));
                filling = self.tail < full;
            }
            if segment.complete && segment.queued == 0 {
                self.marks += 1;
                let name = format!("{}.{}.{}", segment.reply, segment.sentence, self.marks);
                write(Outgoing::Mark(&name));
                segment.mark = Some((name, self.tail.max(now)));
            } else {
                break;
            }
        }
        let waiting = self.segments.iter().any(|s| s.mark.is_none() && s.queued >= FRAME_BYTES);
        waiting.then(|| self.tail.since(target).saturating_add(Duration::from_millis(1)))
    }

    /// Replies whose first audio went out since the last look.
    pub fn take_first_sent(&mut self) -> Vec<ReplyId> {
        std::mem::take(&mut self.first_sent)
    }

    /// A mark came back. Tells the sentences that were heard with it, in order.
    pub fn mark(&mut self, name: &str) -> Vec<Played> {
        let Some(at) =
            self.segments.iter().position(|s| s.mark.as_ref().is_some_and(|(mark, _)| mark == name))
        else {
            self.unknown_marks += 1;
            return Vec::new();
        };
        // Marks come back in order: an earlier one that is missing was lost on the way, its audio was not.
        self.segments.drain(..=at).map(played).collect()
    }

    /// When the oldest mark is overdue by `grace`, if one is out.
    pub fn overdue_at(&self, grace: Duration) -> Option<CallTime> {
        self.segments.front().and_then(|s| s.mark.as_ref()).map(|(_, due)| due.after(grace))
    }

    /// Takes every mark overdue by `grace` as returned, so that a lost one holds nothing up.
    pub fn expire(&mut self, now: CallTime, grace: Duration) -> Vec<Played> {
        let mut heard = Vec::new();
        while self
            .segments
            .front()
            .and_then(|s| s.mark.as_ref())
            .is_some_and(|(_, due)| due.after(grace) <= now)
        {
            heard.extend(self.segments.pop_front().map(played));
        }
        heard
    }

    /// Stops everything: the queue is emptied, a `clear` goes out first, every reply up to `last` is dead. Tells what
    /// was heard of each reply on its way, beyond the sentences already reported by marks.
    pub fn clear(&mut self, now: CallTime, last: ReplyId) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = Vec::new();
        for segment in self.segments.drain(..) {
            let heard = segment.heard_by(now);
            match cuts.iter_mut().find(|c| c.reply == segment.reply) {
                Some(cut) => join_words(&mut cut.heard, &heard),
                None => cuts.push(Cut { reply: segment.reply, heard }),
            }
        }
        self.buffer = Queue::default();
        self.tail = now;
        self.floor = Some(self.floor.map_or(last, |floor| floor.max(last)));
        self.stopped.clear();
        self.clear_due = true;
        cuts
    }

    /// Drops a reply of which nothing was sent, without touching what plays. `false` if something was sent already.
    pub fn withdraw(&mut self, reply: ReplyId) -> bool {
        if self.has_sent(reply) {
            return false;
        }
        let mut offset = 0;
        let mut kept = VecDeque::with_capacity(self.segments.len());
        for segment in std::mem::take(&mut self.segments) {
            if segment.reply == reply {
                self.buffer.remove(offset, segment.queued);
            } else {
                offset += segment.queued;
                kept.push_back(segment);
            }
        }
        self.segments = kept;
        if !self.is_dead(reply) {
            self.stopped.push(reply);
        }
        true
    }
}

fn played(segment: Segment) -> Played {
    Played { reply: segment.reply, sentence: segment.sentence, text: segment.text }
}

/// Appends words with one space between.
pub fn join_words(to: &mut String, more: &str) {
    let more = more.trim();
    if more.is_empty() {
        return;
    }
    if !to.is_empty() {
        to.push(' ');
    }
    to.push_str(more);
}

#[cfg(test)]
#[path = "playback_tests.rs"]
mod tests;
