//! When a byte of the caller's audio was spoken, on the call's clock.

use crate::domain::time::CallTime;
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of mu-law a millisecond.
pub const BYTES_PER_MS: u64 = 8;
/// How much audio one anchor stands for, bytes (1 s).
const SPAN: u64 = 8_000;
/// Audio this much later than expected did not just travel slowly: time passed without audio, μs.
const JUMP_US: u64 = 200_000;
/// How many anchors are kept: about two minutes.
const ANCHORS: usize = 128;

/// Maps positions in the audio to call time.
///
/// Audio is never early, only late: within each second the frame that came soonest after it was spoken tells the
/// delay of all of them.
#[derive(Debug, Default)]
pub struct AudioClock {
    anchors: VecDeque<Anchor>,
}

#[derive(Debug)]
struct Anchor {
    from: u64,
    /// Call time less audio time, μs; the smallest seen.
    offset: i64,
}

impl AudioClock {
    /// Audio up to position `end` had come by `now`; its first byte lies at `from`.
    pub fn arrived(&mut self, from: u64, end: u64, now: CallTime) {
        let offset = micros(now).saturating_sub(audio_micros(end));
        let jump = i64::try_from(JUMP_US).unwrap_or(i64::MAX);
        match self.anchors.back_mut() {
            Some(anchor)
                if from.saturating_sub(anchor.from) < SPAN
                    && offset <= anchor.offset.saturating_add(jump) =>
            {
                anchor.offset = anchor.offset.min(offset);
            }
            _ => {
                if self.anchors.len() >= ANCHORS {
                    self.anchors.pop_front();
                }
                self.anchors.push_back(Anchor { from, offset });
            }
        }
    }

    /// When the byte at `position` was spoken, as nearly as can be told; nothing before any audio came.
    pub fn at(&self, position: u64) -> Option<CallTime> {
        let index = self.anchors.partition_point(|anchor| anchor.from < position).saturating_sub(1);
        let anchor = self.anchors.get(index)?;
        let at = audio_micros(position).saturating_add(anchor.offset);
        Some(CallTime(Duration::from_micros(u64::try_from(at).unwrap_or(0))))
    }
}

fn micros(at: CallTime) -> i64 {
    i64::try_from(at.0.as_micros()).unwrap_or(i64::MAX)
}

fn audio_micros(position: u64) -> i64 {
    i64::try_from(position.saturating_mul(1_000) / BYTES_PER_MS).unwrap_or(i64::MAX)
}

/// The position of a time in the audio, s; hostile numbers end up at either end.
pub fn position(seconds: f64) -> u64 {
    if seconds.is_finite() && seconds > 0.0 { (seconds * 8_000.0).round().min(1.0e15) as u64 } else { 0 }
}

/// The time in the audio of a position, s.
pub fn seconds(position: u64) -> f64 {
    position as f64 / 8_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(clock: &mut AudioClock, frames: std::ops::Range<u64>, at: impl Fn(u64) -> u64) {
        for frame in frames {
            clock.arrived(frame * 160, (frame + 1) * 160, CallTime::from_millis(at(frame)));
        }
    }

    #[test]
    fn a_late_burst_does_not_move_the_time_it_was_spoken() {
        let mut clock = AudioClock::default();
        // Spoken from 1,000 ms on; frames 50 to 59 come together, 180 ms late at worst.
        feed(&mut clock, 0..200, |n| 1_020 + if (50..60).contains(&n) { 59 * 20 } else { n * 20 });
        assert_eq!(clock.at(55 * 160), Some(CallTime::from_millis(1_000 + 55 * 20)));
        assert_eq!(clock.at(0), Some(CallTime::from_millis(1_000)));
    }

    #[test]
    fn a_gap_in_the_stream_moves_what_comes_after_it() {
        let mut clock = AudioClock::default();
        feed(&mut clock, 0..10, |n| 20 + n * 20);
        feed(&mut clock, 10..100, |n| 3_020 + n * 20);
        assert_eq!(clock.at(5 * 160), Some(CallTime::from_millis(100)));
        assert_eq!(clock.at(20 * 160), Some(CallTime::from_millis(3_400)));
    }

    #[test]
    fn hostile_times_have_a_position() {
        for s in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            let _ = AudioClock::default().at(position(s));
        }
        assert_eq!(position(1.5), 12_000);
    }
}
