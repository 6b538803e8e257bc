//! The waveform of a recording: the loudest sample of each side in each short stretch.

use crate::audio::mulaw;
use crate::audio::wav::stereo::{BYTES_PER_MS, HEADER_BYTES, SAMPLE_BYTES};
use serde::Serialize;

/// Most stretches of a waveform.
const MOST: u64 = 2_000;
/// Shortest stretch, ms.
const SHORTEST: u64 = 20;

/// A waveform. Peaks are percent of full scale.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Peaks {
    /// Length of the recording, ms.
    pub ms: u64,
    /// When it begins, in milliseconds since the call's start, as turns are timed.
    pub offset_ms: u64,
    /// What one peak stands for, ms.
    pub bucket_ms: u64,
    /// Length of the recording's file, bytes.
    pub bytes: u64,
    /// The peaks.
    pub peaks: Sides,
}

/// Peaks of both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Sides {
    /// The caller's.
    pub caller: Vec<u8>,
    /// The bot's.
    pub bot: Vec<u8>,
}

impl Peaks {
    /// Whether this JSON is the waveform of a file of that length.
    pub fn is_of(json: &[u8], bytes: u64) -> bool {
        serde_json::from_slice::<serde_json::Value>(json)
            .is_ok_and(|known| known.get("bytes").and_then(serde_json::Value::as_u64) == Some(bytes))
    }
}

/// Makes a waveform of a file's bytes, header included, piece by piece.
#[derive(Debug)]
pub struct Peaker {
    peaks: Peaks,
    /// Bytes seen.
    seen: u64,
    bucket_bytes: u64,
    /// Loudest so far in the open stretch, of caller and bot.
    loudest: [u16; 2],
}

impl Peaker {
    /// For a file of so many bytes.
    pub fn new(bytes: u64, offset_ms: u64) -> Self {
        let ms = bytes.saturating_sub(HEADER_BYTES as u64) / BYTES_PER_MS as u64;
        let bucket_ms = ms.div_ceil(MOST).next_multiple_of(SHORTEST).max(SHORTEST);
        Self {
            peaks: Peaks { ms, offset_ms, bucket_ms, bytes, peaks: Sides::default() },
            seen: 0,
            bucket_bytes: bucket_ms * BYTES_PER_MS as u64,
            loudest: [0; 2],
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let Some(at) = self.seen.checked_sub(HEADER_BYTES as u64) else {
                self.seen += 1;
                continue;
            };
            let side = usize::from(at % SAMPLE_BYTES as u64 == 1);
            if let Some(loudest) = self.loudest.get_mut(side) {
                *loudest = mulaw::decode(*byte).unsigned_abs().max(*loudest);
            }
            self.seen += 1;
            if (at + 1).is_multiple_of(self.bucket_bytes) {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let [caller, bot] = std::mem::take(&mut self.loudest)
            .map(|peak| u8::try_from(u32::from(peak) * 100 / 32_124).unwrap_or(100).min(100));
        self.peaks.peaks.caller.push(caller);
        self.peaks.peaks.bot.push(bot);
    }

    /// The waveform.
    pub fn finish(mut self) -> Peaks {
        let data = self.seen.saturating_sub(HEADER_BYTES as u64);
        if !data.is_multiple_of(self.bucket_bytes) {
            self.close();
        }
        self.peaks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_call_has_a_waveform_of_bounded_size() {
        for ms in [0, 19, 20, 40_000, 40_001, 24 * 3_600_000] {
            let bytes = HEADER_BYTES as u64 + ms * 16;
            let peaker = Peaker::new(bytes, 0);
            assert!(ms.div_ceil(peaker.peaks.bucket_ms) <= MOST, "{ms}");
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_waveform() {
        let mut file = vec![0; HEADER_BYTES];
        file.extend((0..5_000_u32).flat_map(|n| [(n % 251) as u8, (n % 13) as u8]));
        let of = |size: usize| {
            let mut peaker = Peaker::new(file.len() as u64, 0);
            file.chunks(size).for_each(|piece| peaker.push(piece));
            peaker.finish()
        };
        let whole = of(file.len());
        assert_eq!(whole.peaks.caller.len(), 32, "625 ms in stretches of 20");
        for size in [1, 7, 81, 82, 83, 320, 1_000] {
            assert_eq!(of(size), whole, "{size}");
        }
    }
}
