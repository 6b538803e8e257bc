//! Twilio's playback buffer of one stream: audio and marks in the order they came, played at 8 kHz. Pure.

use std::collections::VecDeque;

use crate::audio::SAMPLE_RATE_HZ;

/// Most audio that waits: ten minutes; what comes on top is discarded (warning 31931).
const CAPACITY: usize = 600 * SAMPLE_RATE_HZ as usize;

/// What waits to be played.
#[derive(Debug, Default)]
pub struct Playback {
    audio: VecDeque<u8>,
    /// Mark names with the number of bytes that come before them.
    marks: VecDeque<(u64, String)>,
    pushed: u64,
    played: u64,
}

impl Playback {
    /// Queues audio and tells how many bytes were discarded for want of room.
    pub fn push(&mut self, audio: &[u8]) -> usize {
        let room = CAPACITY.saturating_sub(self.audio.len());
        let kept = audio.len().min(room);
        self.audio.extend(audio.iter().take(kept));
        self.pushed += kept as u64;
        audio.len() - kept
    }

    /// Queues a mark behind the audio, or gives it back at once if nothing waits.
    pub fn mark(&mut self, name: String) -> Option<String> {
        if self.audio.is_empty() && self.marks.is_empty() {
            return Some(name);
        }
        self.marks.push_back((self.pushed, name));
        None
    }

    /// Drops the audio and gives back every mark that waited.
    pub fn clear(&mut self) -> Vec<String> {
        self.audio.clear();
        self.played = self.pushed;
        self.marks.drain(..).map(|(_, name)| name).collect()
    }

    /// Plays as much as fits `into`, from its beginning, and tells how much. Marks that are reached go to `reached`.
    pub fn advance(&mut self, into: &mut [u8], reached: &mut Vec<String>) -> usize {
        let count = into.len().min(self.audio.len());
        for (slot, byte) in into.iter_mut().zip(self.audio.drain(..count)) {
            *slot = byte;
        }
        self.played += count as u64;
        while self.marks.front().is_some_and(|&(at, _)| at <= self.played) {
            reached.extend(self.marks.pop_front().map(|(_, name)| name));
        }
        count
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.audio.len()
    }

    /// Whether no audio waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.audio.is_empty()
    }

    /// Marks that wait.
    #[must_use]
    pub fn marks(&self) -> usize {
        self.marks.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_comes_back_when_the_audio_before_it_has_played() {
        let mut playback = Playback::default();
        playback.push(&[1; 200]);
        assert_eq!(playback.mark("a".into()), None);
        playback.push(&[2; 100]);
        assert_eq!(playback.mark("b".into()), None);
        let (mut frame, mut reached) = ([0; 160], Vec::new());
        assert_eq!(playback.advance(&mut frame, &mut reached), 160);
        assert!(reached.is_empty());
        assert_eq!(playback.advance(&mut frame, &mut reached), 140);
        assert_eq!(reached, ["a", "b"]);
    }

    #[test]
    fn a_mark_with_nothing_before_it_comes_back_at_once() {
        assert_eq!(Playback::default().mark("a".into()), Some("a".to_owned()));
    }

    #[test]
    fn a_clear_drops_the_audio_and_gives_back_all_marks() {
        let mut playback = Playback::default();
        playback.push(&[1; 500]);
        playback.mark("a".into());
        playback.mark("b".into());
        assert_eq!(playback.clear(), ["a", "b"]);
        assert!(playback.is_empty());
        assert_eq!(playback.mark("c".into()), Some("c".to_owned()));
    }

    #[test]
    fn more_than_ten_minutes_are_discarded() {
        let mut playback = Playback::default();
        assert_eq!(playback.push(&vec![1; CAPACITY - 10]), 0);
        assert_eq!(playback.push(&[1; 30]), 20);
    }

    proptest! {
        #[test]
        fn every_mark_comes_back_once_and_in_order(steps in prop::collection::vec(0_u8..4, 0..200)) {
            let mut playback = Playback::default();
            let (mut sent, mut back) = (0, Vec::new());
            for step in steps {
                match step {
                    0 => { playback.push(&[7; 100]); }
                    1 => { back.extend(playback.mark(sent.to_string())); sent += 1; }
                    2 => { playback.advance(&mut [0; 160], &mut back); }
                    _ => back.extend(playback.clear()),
                }
            }
            back.extend(playback.clear());
            let expected: Vec<String> = (0..sent).map(|n: i32| n.to_string()).collect();
            prop_assert_eq!(back, expected);
        }
    }
}
