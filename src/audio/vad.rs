//! Voice activity by loudness, against a noise floor that follows the line.

use super::{BYTES_PER_MS, mulaw};

/// Mean square of the digital milliwatt, 0 dBm0 (ITU-T G.711, table 5): the power all levels here refer to.
const DIGITAL_MILLIWATT: u64 = 256_537_000;

/// Quieter than this is never voice: -41 dBm0. Comfort noise and a quiet line stay well below.
const QUIETEST_VOICE: u64 = DIGITAL_MILLIWATT / 12_600;

/// How far voice stands out from the noise floor, as a ratio of powers: 8 dB.
const ABOVE_FLOOR: u64 = 6;

/// The floor stops here, -37 dBm0, so that a loud voice is heard however long it has gone on.
const HIGHEST_FLOOR: u64 = DIGITAL_MILLIWATT / 5_000;

/// The floor is the quietest frame of the last one to two such spans, in samples: 0.8 s each.
const FLOOR_SPAN: u64 = 6_400;

/// Voice begins when this many samples in a row were loud: 40 ms.
const ONSET: u64 = 320;

/// Voice goes on through pauses of at most this many samples: 200 ms, as between words.
const HANGOVER: u64 = 1_600;

static POWER: [u32; 256] = power_table();

#[expect(
    clippy::indexing_slicing,
    reason = "the index stays below the table's length, and this runs at compile time"
)]
const fn power_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let sample = mulaw::decode_by_rule(byte as u8) as i32;
        table[byte] = (sample * sample) as u32;
        byte += 1;
    }
    table
}

#[inline]
#[expect(clippy::indexing_slicing, reason = "a byte cannot exceed a table of 256 entries")]
fn power(byte: u8) -> u64 {
    u64::from(POWER[usize::from(byte)])
}

/// What the detector says after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VadState {
    /// Whether someone is speaking, short pauses included.
    pub voiced: bool,
    /// Whether this very frame was louder than the line's noise.
    pub loud: bool,
}

/// Tells from mu-law frames whether someone speaks.
///
/// Meant for frames of 20 ms; other sizes work, since all times are counted in samples.
#[derive(Debug, Clone)]
pub struct Vad {
    /// Samples heard.
    now: u64,
    /// Loud samples in a row, up to now.
    loud_run: u64,
    /// First sample of the current voice, and the sample after its last loud frame.
    voice: Option<(u64, u64)>,
    quietest_now: u64,
    quietest_before: u64,
    span_end: u64,
}

impl Default for Vad {
    fn default() -> Self {
        Self::new()
    }
}

impl Vad {
    /// Makes a detector that takes the line for silent until it has heard it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            now: 0,
            loud_run: 0,
            voice: None,
            quietest_now: u64::MAX,
            quietest_before: 0,
            span_end: FLOOR_SPAN,
        }
    }

    /// Hears one frame of mu-law.
    pub fn on_frame(&mut self, frame: &[u8]) -> VadState {
        let samples = frame.len() as u64;
        let Some(level) = frame.iter().map(|&byte| power(byte)).sum::<u64>().checked_div(samples) else {
            return VadState { voiced: self.voice.is_some(), loud: false };
        };
        let loud = level >= self.threshold();
        self.follow_floor(level, samples);
        self.now += samples;
        if loud {
            self.loud_run += samples;
            match &mut self.voice {
                Some((_, last)) => *last = self.now,
                None if self.loud_run >= ONSET => self.voice = Some((self.now - self.loud_run, self.now)),
                None => {}
            }
        } else {
            self.loud_run = 0;
            if self.voice.is_some_and(|(_, last)| self.now - last > HANGOVER) {
                self.voice = None;
            }
        }
        VadState { voiced: self.voice.is_some(), loud }
    }

    /// Whether someone is speaking, short pauses included.
    #[must_use]
    pub const fn is_voiced(&self) -> bool {
        self.voice.is_some()
    }

    /// How long the current voice has lasted, from its first to its latest loud frame, in milliseconds; else 0.
    #[must_use]
    pub fn voiced_run_ms(&self) -> u64 {
        self.voice.map_or(0, |(first, last)| (last - first) / BYTES_PER_MS as u64)
    }

    /// How long the line has been without a loud frame, within a voice; `None` when nobody speaks.
    #[must_use]
    pub fn pause_ms(&self) -> Option<u64> {
        self.voice.map(|(_, last)| (self.now - last) / BYTES_PER_MS as u64)
    }

    /// Ends the current voice, as after a barge-in was acted upon. The noise floor stays.
    pub const fn forget_voice(&mut self) {
        self.voice = None;
        self.loud_run = 0;
    }

    fn threshold(&self) -> u64 {
        let floor = self.quietest_now.min(self.quietest_before).min(HIGHEST_FLOOR);
        (floor * ABOVE_FLOOR).max(QUIETEST_VOICE)
    }

    fn follow_floor(&mut self, level: u64, samples: u64) {
        self.quietest_now = self.quietest_now.min(level);
        if self.now + samples >= self.span_end {
            self.quietest_before = self.quietest_now;
            self.quietest_now = u64::MAX;
            self.span_end = self.now + samples + FLOOR_SPAN;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audio::frame::SILENT_FRAME;

    /// Pseudo-random noise of the given level, or a harmonic tone standing in for a vowel.
    fn noise(dbm0: f64, frames: usize, seed: u64) -> Vec<Vec<u8>> {
        let rms = (DIGITAL_MILLIWATT as f64).sqrt() * 10.0_f64.powf(dbm0 / 20.0);
        let mut state = seed | 1;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        (0..frames)
            .map(|_| {
                (0..160)
                    .map(|_| {
                        let normal: f64 = (0..12).map(|_| uniform()).sum();
                        mulaw::encode((normal * rms).clamp(-32_000.0, 32_000.0) as i16)
                    })
                    .collect()
            })
            .collect()
    }

    fn vowel(dbm0: f64, frames: usize) -> Vec<Vec<u8>> {
        let peak = (2.0 * DIGITAL_MILLIWATT as f64).sqrt() * 10.0_f64.powf(dbm0 / 20.0);
        let tone = |n: usize| (peak * (0.35 * n as f64).sin()) as i16;
        (0..frames).map(|frame| (0..160).map(|n| mulaw::encode(tone(frame * 160 + n))).collect()).collect()
    }

    fn hear(vad: &mut Vad, frames: &[Vec<u8>]) -> usize {
        frames.iter().filter(|frame| vad.on_frame(frame).voiced).count()
    }

    #[test]
    fn the_reference_level_is_the_digital_milliwatt() {
        let milliwatt = [0x1E, 0x0B, 0x0B, 0x1E, 0x9E, 0x8B, 0x8B, 0x9E];
        let mean = milliwatt.iter().map(|&byte| power(byte)).sum::<u64>() / 8;
        assert!(mean.abs_diff(DIGITAL_MILLIWATT) < 100_000, "{mean}");
    }

    #[test]
    fn quiet_speech_is_heard_within_sixty_milliseconds() {
        for before in [0, 5, 200] {
            let mut vad = Vad::new();
            hear(&mut vad, &vec![SILENT_FRAME.to_vec(); before]);
            assert_eq!(hear(&mut vad, &vowel(-35.0, 3)), 2, "after {before} silent frames");
            assert_eq!(vad.voiced_run_ms(), 60);
        }
    }

    #[test]
    fn quiet_speech_is_heard_above_comfort_noise() {
        let mut vad = Vad::new();
        assert_eq!(hear(&mut vad, &noise(-50.0, 300, 7)), 0);
        assert!(hear(&mut vad, &vowel(-35.0, 3)) > 0);
    }

    #[test]
    fn a_click_is_not_voice() {
        let mut vad = Vad::new();
        hear(&mut vad, &noise(-60.0, 50, 3));
        assert_eq!(hear(&mut vad, &vowel(-5.0, 1)), 0);
        assert_eq!(hear(&mut vad, &noise(-60.0, 50, 3)), 0);
    }

    #[test]
    fn a_pause_between_words_does_not_end_the_voice_and_a_longer_one_does() {
        let mut vad = Vad::new();
        hear(&mut vad, &vowel(-20.0, 10));
        hear(&mut vad, &vec![SILENT_FRAME.to_vec(); 8]);
        assert_eq!(vad.pause_ms(), Some(160));
        hear(&mut vad, &vowel(-20.0, 10));
        assert_eq!(vad.voiced_run_ms(), 560);
        assert_eq!(hear(&mut vad, &vec![SILENT_FRAME.to_vec(); 20]), 10);
        assert_eq!((vad.voiced_run_ms(), vad.pause_ms(), vad.is_voiced()), (0, None, false));
    }

    #[test]
    fn steady_noise_becomes_the_floor_and_speech_above_it_is_still_heard() {
        let mut vad = Vad::new();
        hear(&mut vad, &noise(-38.0, 150, 11));
        assert_eq!(hear(&mut vad, &noise(-38.0, 500, 12)), 0);
        assert!(hear(&mut vad, &vowel(-20.0, 3)) > 0);
    }

    #[test]
    fn a_loud_voice_without_a_pause_is_never_taken_for_noise() {
        let mut vad = Vad::new();
        assert_eq!(hear(&mut vad, &vowel(-20.0, 500)), 499);
    }

    #[test]
    fn a_forgotten_voice_begins_anew() {
        let mut vad = Vad::new();
        hear(&mut vad, &vowel(-20.0, 50));
        vad.forget_voice();
        assert_eq!(vad.voiced_run_ms(), 0);
        hear(&mut vad, &vowel(-20.0, 2));
        assert_eq!(vad.voiced_run_ms(), 40);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn comfort_noise_never_counts_as_voice(level in -80.0_f64..-45.0, seed: u64) {
            prop_assert_eq!(hear(&mut Vad::new(), &noise(level, 150, seed)), 0);
        }

        #[test]
        fn any_bytes_are_taken_without_harm(frames in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..400), 0..40,
        )) {
            let mut vad = Vad::new();
            for frame in &frames {
                let state = vad.on_frame(frame);
                prop_assert_eq!(state.voiced, vad.is_voiced());
            }
        }
    }
}
