//! A bounded queue of audio bytes that lets go of the oldest.

use std::collections::VecDeque;

/// Keeps at most a fixed number of bytes; when more come, the oldest are dropped and counted.
#[derive(Debug, Clone)]
pub struct ByteRing {
    bytes: VecDeque<u8>,
    capacity: usize,
    dropped: u64,
}

impl ByteRing {
    /// Makes a ring for `capacity` bytes and allocates them all at once.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::with_capacity(capacity), capacity, dropped: 0 }
    }

    /// Appends bytes and tells how many were dropped to make room, old ones first.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let kept = bytes.len().min(self.capacity);
        let (skipped, new) = bytes.split_at(bytes.len() - kept);
        let pushed_out = (self.bytes.len() + kept).saturating_sub(self.capacity);
        self.bytes.drain(..pushed_out);
        self.bytes.extend(new);
        let lost = skipped.len() + pushed_out;
        self.dropped = self.dropped.saturating_add(lost as u64);
        lost
    }

    /// Moves the oldest bytes into `into` and tells how many there were.
    pub fn pop(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.bytes.len());
        for (slot, byte) in into.iter_mut().zip(self.bytes.drain(..count)) {
            *slot = byte;
        }
        count
    }

    /// Moves everything to the end of `out`.
    pub fn drain_into(&mut self, out: &mut Vec<u8>) {
        let (front, back) = self.bytes.as_slices();
        out.extend_from_slice(front);
        out.extend_from_slice(back);
        self.bytes.clear();
    }

    /// The bytes held, oldest first, as two stretches of memory.
    #[must_use]
    pub fn as_slices(&self) -> (&[u8], &[u8]) {
        self.bytes.as_slices()
    }

    /// Drops everything held without counting it as lost.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// How many bytes are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The most bytes it holds.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many bytes were dropped for want of room since the beginning.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_ring_without_room_drops_everything() {
        let mut ring = ByteRing::new(0);
        assert_eq!(ring.push(&[1, 2, 3]), 3);
        assert!(ring.is_empty());
        assert_eq!(ring.dropped(), 3);
        assert_eq!(ring.pop(&mut [0; 4]), 0);
    }

    proptest! {
        #[test]
        fn the_newest_bytes_are_kept_and_the_others_counted(
            capacity in 0_usize..300,
            chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..200), 0_usize..80), 0..20),
        ) {
            let mut ring = ByteRing::new(capacity);
            let mut model: Vec<u8> = Vec::new();
            let mut lost = 0;
            for (chunk, take) in chunks {
                model.extend(&chunk);
                let over = model.len().saturating_sub(capacity);
                model.drain(..over);
                lost += over as u64;
                prop_assert_eq!(ring.push(&chunk), over);
                prop_assert_eq!(ring.dropped(), lost);
                let mut taken = vec![0; take];
                let count = ring.pop(&mut taken);
                let expected: Vec<u8> = model.drain(..take.min(model.len())).collect();
                prop_assert_eq!(&taken[..count], &expected[..]);
                prop_assert_eq!(ring.len(), model.len());
                let (front, back) = ring.as_slices();
                prop_assert_eq!([front, back].concat(), model.clone());
            }
            let mut rest = Vec::new();
            ring.drain_into(&mut rest);
            prop_assert_eq!(rest, model);
        }
    }
}
