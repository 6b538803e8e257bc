//! Cutting audio of any chunk sizes into 20 ms frames.

use super::{FRAME_BYTES, mulaw};

/// One 20 ms frame of mu-law.
pub type Frame = [u8; FRAME_BYTES];

/// A frame of digital silence.
pub const SILENT_FRAME: Frame = [mulaw::SILENCE; FRAME_BYTES];

/// Cuts a stream of mu-law bytes into frames of 160 bytes.
///
/// Every byte is copied at most once and nothing is allocated: whole frames are handed out from the chunk itself, and
/// only what does not fill a frame is kept for the next one.
#[derive(Debug, Clone)]
pub struct Framer {
    part: Frame,
    filled: usize,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// Makes an empty framer.
    #[must_use]
    pub const fn new() -> Self {
        Self { part: SILENT_FRAME, filled: 0 }
    }

    /// Takes the next bytes and hands every frame they complete to `emit`, in order.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&Frame)) {
        let mut rest = bytes;
        if self.filled > 0 {
            rest = self.fill(rest);
            if self.filled < FRAME_BYTES {
                return;
            }
            emit(&self.part);
            self.filled = 0;
        }
        let (frames, tail) = rest.as_chunks::<FRAME_BYTES>();
        for frame in frames {
            emit(frame);
        }
        self.fill(tail);
    }

    /// Hands out what is left, padded with silence, if anything is.
    pub fn flush(&mut self, emit: impl FnOnce(&Frame)) {
        if self.filled == 0 {
            return;
        }
        if let Some(tail) = self.part.get_mut(self.filled..) {
            tail.fill(mulaw::SILENCE);
        }
        self.filled = 0;
        emit(&self.part);
    }

    /// How many bytes wait for the rest of their frame.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.filled
    }

    /// Drops what waits.
    pub const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Copies into the open frame what fits, and gives back the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let take = bytes.len().min(FRAME_BYTES.saturating_sub(self.filled));
        let end = self.filled + take;
        match (self.part.get_mut(self.filled..end), bytes.split_at_checked(take)) {
            (Some(space), Some((now, later))) => {
                space.copy_from_slice(now);
                self.filled = end;
                later
            }
            _ => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_rest_is_padded_with_silence() {
        let mut framer = Framer::new();
        framer.push(&[1; 200], |frame| assert_eq!(frame, &[1; 160]));
        assert_eq!(framer.pending(), 40);
        let mut last = None;
        framer.flush(|frame| last = Some(*frame));
        let last = last.unwrap();
        assert_eq!(last[..40], [1; 40]);
        assert_eq!(last[40..], [0xFF; 120]);
        framer.flush(|_| panic!("nothing was left"));
    }

    #[test]
    fn clearing_drops_what_waits() {
        let mut framer = Framer::new();
        framer.push(&[1; 100], |_| panic!("no frame is full"));
        framer.clear();
        let mut frames = Vec::new();
        framer.push(&[2; 160], |frame| frames.push(*frame));
        assert_eq!(frames, [[2; 160]]);
    }

    proptest! {
        #[test]
        fn the_frames_carry_every_byte_in_order(chunks in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..700), 0..12,
        )) {
            let mut framer = Framer::new();
            let mut heard = Vec::new();
            for chunk in &chunks {
                framer.push(chunk, |frame| heard.extend_from_slice(frame));
                prop_assert!(framer.pending() < FRAME_BYTES);
            }
            framer.flush(|frame| heard.extend_from_slice(frame));
            let sent = chunks.concat();
            prop_assert_eq!(heard.len(), sent.len().next_multiple_of(FRAME_BYTES));
            prop_assert_eq!(&heard[..sent.len()], &sent[..]);
            prop_assert!(heard[sent.len()..].iter().all(|&byte| byte == 0xFF));
        }
    }
}
