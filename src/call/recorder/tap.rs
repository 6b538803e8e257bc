//! The call's end of its recording: gathers what comes and goes, and hands it over in blocks.

use super::queue::{Block, Job, Piece, Queue, frames};
use crate::audio::FRAME_BYTES;
use crate::audio::wav::stereo::Side;
use crate::domain::ids::CallSid;
use crate::domain::time::CallTime;
use std::sync::Arc;
use std::time::Duration;

/// A block is handed over at the latest with so many pieces in it, however fast they come.
const MOST_PIECES: usize = 400;

/// Where a call's audio is tapped. Dropping it ends the stream's part of the recording.
#[derive(Debug)]
pub struct Tap {
    queue: Arc<Queue>,
    sid: CallSid,
    stream: u64,
    block: Block,
    /// When the block was begun.
    since: CallTime,
    /// How long one lasts.
    length: Duration,
    dropped: u64,
    /// The earliest `clear` of a block that was dropped: what it took back must not be heard.
    owed: Option<CallTime>,
    /// Nothing before this is recorded.
    begin: CallTime,
}

impl Tap {
    pub(super) fn new(
        queue: Arc<Queue>,
        sid: CallSid,
        stream: u64,
        begin: CallTime,
        length: Duration,
    ) -> Self {
        let block = Block { until: begin, ..fresh(length) };
        Self { queue, sid, stream, block, since: begin, length, dropped: 0, owed: None, begin }
    }

    /// Audio of the caller has arrived.
    pub fn caller(&mut self, now: CallTime, audio: &[u8]) {
        self.add(now, Piece::Caller { at: now, bytes: audio.len() }, audio);
    }

    /// Audio of the bot was sent, to be played from `at` on.
    pub fn bot(&mut self, now: CallTime, at: CallTime, audio: &[u8]) {
        self.add(now, Piece::Bot { at, bytes: audio.len() }, audio);
    }

    /// The bot was silenced at `at`.
    pub fn clear(&mut self, now: CallTime, at: CallTime) {
        self.add(now, Piece::Clear { at }, &[]);
    }

    /// A stretch of one side must not be heard.
    pub fn mute(&mut self, side: Side, from: CallTime, to: CallTime) {
        self.hand_over();
        let (sid, stream) = (self.sid.clone(), self.stream);
        self.queue.tell(Job::Mute { sid, stream, side, from: from.max(self.begin), to });
    }

    fn add(&mut self, now: CallTime, piece: Piece, audio: &[u8]) {
        self.block.pieces.push(piece);
        self.block.audio.extend_from_slice(audio);
        self.block.until = self.block.until.max(now);
        if now.since(self.since) >= self.length || self.block.pieces.len() >= MOST_PIECES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.block.pieces.is_empty() {
            return;
        }
        let until = self.block.until;
        let mut block = std::mem::replace(&mut self.block, Block { until, ..fresh(self.length) });
        self.since = until;
        let clears = block.pieces.iter().filter_map(|piece| match piece {
            Piece::Clear { at } => Some(*at),
            _ => None,
        });
        let earliest = clears.chain(self.owed).min();
        let count = frames(&block);
        if let Some(at) = self.owed {
            block.pieces.insert(0, Piece::Clear { at });
        }
        if self.queue.offer(&self.sid, self.stream, block) {
            self.owed = None;
        } else {
            self.dropped = self.dropped.saturating_add(count);
            self.owed = earliest;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let at = self.block.until;
        self.hand_over();
        self.queue.tell(Job::Detach {
            sid: self.sid.clone(),
            stream: self.stream,
            at,
            dropped: self.dropped,
        });
    }
}

/// A block with room for what comes of the caller in its time; the bot's makes more.
fn fresh(length: Duration) -> Block {
    let pieces = usize::try_from(length.as_millis() / 10).unwrap_or(MOST_PIECES).min(MOST_PIECES) + 8;
    Block {
        pieces: Vec::with_capacity(pieces),
        audio: Vec::with_capacity(pieces / 2 * FRAME_BYTES),
        until: CallTime::ZERO,
    }
}
