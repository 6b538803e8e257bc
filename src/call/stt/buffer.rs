//! The caller's audio that may still have to be sent: what waits, and what was sent but is not settled.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Audio by its position: bytes of mu-law since the stream's first one.
#[derive(Debug, Default)]
pub struct AudioBuffer {
    chunks: VecDeque<Chunk>,
    start: u64,
    end: u64,
    /// Position after the newest voice that had to go because the buffer was full.
    voice_dropped: u64,
}

#[derive(Debug)]
struct Chunk {
    at: u64,
    bytes: Bytes,
    voiced: bool,
}

/// A stretch of audio taken for sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its position.
    pub at: u64,
    /// The audio.
    pub bytes: Bytes,
    /// Whether there is voice in it.
    pub voiced: bool,
}

impl AudioBuffer {
    /// Position of the oldest byte kept.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Position after the newest byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds audio at the end.
    pub fn push(&mut self, bytes: Bytes, voiced: bool) {
        if bytes.is_empty() {
            return;
        }
        let at = self.end;
        self.end = self.end.saturating_add(bytes.len() as u64);
        self.chunks.push_back(Chunk { at, bytes, voiced });
    }

    /// Lets go of everything before `position`.
    pub fn release(&mut self, position: u64) {
        let position = position.min(self.end);
        if position <= self.start {
            return;
        }
        self.start = position;
        while let Some(chunk) = self.chunks.front_mut() {
            let passed = position.saturating_sub(chunk.at);
            let passed = usize::try_from(passed).unwrap_or(usize::MAX);
            if passed == 0 {
                break;
            }
            if passed < chunk.bytes.len() {
                chunk.bytes.advance(passed);
                chunk.at = position;
                break;
            }
            self.chunks.pop_front();
        }
    }

    /// Keeps the newest `limit` bytes at most.
    pub fn limit(&mut self, limit: u64) {
        let from = self.end.saturating_sub(limit);
        for chunk in self.chunks.iter().take_while(|chunk| chunk.at < from).filter(|chunk| chunk.voiced) {
            self.voice_dropped = chunk.at.saturating_add(chunk.bytes.len() as u64).min(from);
        }
        self.release(from);
    }

    /// Whether voice after `position` was dropped because the buffer was full.
    pub fn dropped_voice_after(&self, position: u64) -> bool {
        self.voice_dropped > position
    }

    /// Up to `most` bytes from `position` on, or from the oldest byte if that is later. Not copied unless they lie in
    /// more than one chunk.
    pub fn read(&self, position: u64, most: usize) -> Option<Stretch> {
        let at = position.max(self.start);
        if at >= self.end || most == 0 {
            return None;
        }
        // Nearly always the newest chunk; anything else is a connection that catches up.
        let newest = self.chunks.len().saturating_sub(1);
        let first = match self.chunks.back() {
            Some(chunk) if chunk.at <= at => newest,
            _ => self.chunks.partition_point(|chunk| chunk.at <= at).saturating_sub(1),
        };
        let mut chunks = self.chunks.iter().skip(first);
        let chunk = chunks.next()?;
        let mut voiced = chunk.voiced;
        let skip = usize::try_from(at.saturating_sub(chunk.at)).ok()?;
        let mut head = chunk.bytes.clone();
        head.advance(skip.min(head.len()));
        head.truncate(most);
        if head.len() == most || first + 1 >= self.chunks.len() {
            return Some(Stretch { at, bytes: head, voiced });
        }
        let mut joined = BytesMut::with_capacity(most);
        joined.extend_from_slice(&head);
        for chunk in chunks {
            let room = most.saturating_sub(joined.len());
            if room == 0 {
                break;
            }
            joined.extend_from_slice(chunk.bytes.get(..room).unwrap_or(&chunk.bytes));
            voiced |= chunk.voiced;
        }
        Some(Stretch { at, bytes: joined.freeze(), voiced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_read_is_what_was_pushed_at_that_position(
            chunks in proptest::collection::vec(1usize..50, 1..20),
            release in 0u64..400, limit in 1u64..400, from in 0u64..600, most in 0usize..100,
        ) {
            let mut buffer = AudioBuffer::default();
            let mut whole = Vec::new();
            for len in chunks {
                let chunk: Vec<u8> = (0..len).map(|i| ((whole.len() + i) % 251) as u8).collect();
                whole.extend_from_slice(&chunk);
                buffer.push(chunk.into(), false);
            }
            buffer.release(release);
            buffer.limit(limit);
            prop_assert_eq!(buffer.end(), whole.len() as u64);
            prop_assert!(buffer.end() - buffer.start() <= limit);
            match buffer.read(from, most) {
                None => prop_assert!(most == 0 || from >= buffer.end() || buffer.start() == buffer.end()),
                Some(read) => {
                    prop_assert_eq!(read.at, from.max(buffer.start()));
                    let at = read.at as usize;
                    let len = most.min(whole.len() - at);
                    prop_assert_eq!(&read.bytes[..], &whole[at..at + len]);
                }
            }
        }
    }

    #[test]
    fn voice_in_any_part_makes_a_stretch_voiced() {
        let mut buffer = AudioBuffer::default();
        buffer.push(Bytes::from_static(&[1; 160]), false);
        buffer.push(Bytes::from_static(&[2; 160]), true);
        assert!(!buffer.read(0, 160).unwrap().voiced);
        assert!(buffer.read(0, 320).unwrap().voiced);
    }

    #[test]
    fn only_voice_that_had_to_go_is_missed() {
        let mut buffer = AudioBuffer::default();
        buffer.push(Bytes::from_static(&[1; 160]), true);
        buffer.push(Bytes::from_static(&[2; 160]), false);
        buffer.release(160);
        buffer.limit(80);
        assert!(!buffer.dropped_voice_after(0), "what was settled and what was silent is not missed");
        buffer.push(Bytes::from_static(&[3; 160]), true);
        buffer.limit(100);
        assert!(buffer.dropped_voice_after(320) && !buffer.dropped_voice_after(380));
    }
}
