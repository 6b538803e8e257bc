//! Sample rate conversion: a streaming polyphase filter, and PCM bytes to mu-law.

use super::fir;
use super::{SAMPLE_RATE_HZ, mulaw};

/// Fraction of the lower of both rates that passes unharmed: 3.4 kHz of 8 kHz.
const PASS: f64 = 0.425;

/// Coefficients are whole multiples of 2⁻¹⁴, so that a window's sum fits an `i32`.
const COEFFICIENT_BITS: u32 = 14;

/// The most filter phases a conversion may need; 22 050 to 8 000 Hz needs 160.
const MAX_PHASES: u32 = 640;

/// The highest sample rate accepted, in Hz.
const MAX_RATE_HZ: u32 = 192_000;

/// Converts 16-bit mono audio from one sample rate to another, chunk by chunk.
///
/// The filter's state stays between chunks, so the way a stream is cut changes nothing. The output lags the input by
/// [`Resampler::delay_ms`]; [`Resampler::finish`] gives the rest.
#[derive(Debug, Clone)]
pub struct Resampler {
    up: usize,
    down: usize,
    taps: usize,
    /// One row of `taps` coefficients per phase, oldest sample first.
    coefficients: Vec<i16>,
    history: Vec<i16>,
    at: usize,
    phase: usize,
    from_hz: u32,
}

impl Resampler {
    /// Makes a converter. Rates of zero, above 192 kHz or in an unwieldy ratio give `None`.
    #[must_use]
    pub fn new(from_hz: u32, to_hz: u32) -> Option<Self> {
        if from_hz == 0 || to_hz == 0 || from_hz > MAX_RATE_HZ || to_hz > MAX_RATE_HZ {
            return None;
        }
        let common = gcd(from_hz, to_hz);
        let (up, down) = (to_hz / common, from_hz / common);
        if up > MAX_PHASES || down > MAX_PHASES {
            return None;
        }
        let (up, down) = (up as usize, down as usize);
        let lower = f64::from(from_hz.min(to_hz));
        // Eight taps at a time suit the processor's vectors.
        let mut prototype = fir::lowpass(f64::from(from_hz) * up as f64, PASS * lower, 0.5 * lower, up * 8);
        // The filter lacks one tap to a multiple; a zero in front makes its delay exactly half its length.
        prototype.insert(0, 0.0);
        let taps = prototype.len() / up;
        if taps == 0 {
            return None;
        }
        let mut coefficients = Vec::with_capacity(prototype.len());
        for phase in 0..up {
            let row: Vec<f64> = prototype.iter().skip(phase).step_by(up).copied().collect();
            let gain: f64 = row.iter().sum();
            let scale = f64::from(1_u32 << COEFFICIENT_BITS) / gain;
            let row: Vec<i16> = row.iter().rev().map(|tap| (tap * scale).round() as i16).collect();
            let loudest: i64 = row.iter().map(|&tap| i64::from(tap).abs() << 15).sum();
            if loudest >= i64::from(i32::MAX) - (1 << COEFFICIENT_BITS) {
                return None;
            }
            coefficients.extend(row);
        }
        let history = vec![0; taps.saturating_sub(1)];
        Some(Self { up, down, taps, coefficients, history, at: 0, phase: 0, from_hz })
    }

    /// Converts the next samples, appending to `out`.
    pub fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        self.history.extend_from_slice(samples);
        loop {
            let first = self.phase * self.taps;
            let (Some(window), Some(row)) = (
                self.history.get(self.at..self.at + self.taps),
                self.coefficients.get(first..first + self.taps),
            ) else {
                break;
            };
            // Cannot overflow: the constructor bounds the sum of the coefficients' magnitudes.
            let sum: i32 = window.iter().zip(row).map(|(&x, &tap)| i32::from(x) * i32::from(tap)).sum();
            let rounded = (sum + (1 << (COEFFICIENT_BITS - 1))) >> COEFFICIENT_BITS;
            out.push(rounded.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16);
            self.phase += self.down;
            self.at += self.phase / self.up;
            self.phase %= self.up;
        }
        // Only now and then, so that tiny chunks do not move the whole window each time.
        if self.at >= 2 * self.taps {
            let done = self.at.min(self.history.len());
            self.history.drain(..done);
            self.at -= done;
        }
    }

    /// Ends the stream: appends what the filter still holds and makes the converter new.
    pub fn finish(&mut self, out: &mut Vec<i16>) {
        let tail = vec![0; self.delay_upsampled().div_ceil(self.up)];
        self.push(&tail, out);
        self.reset();
    }

    /// Forgets the stream so far.
    pub fn reset(&mut self) {
        self.history.clear();
        self.history.resize(self.taps.saturating_sub(1), 0);
        self.at = 0;
        self.phase = 0;
    }

    /// How far the output lags the input, in milliseconds.
    #[must_use]
    pub fn delay_ms(&self) -> f64 {
        self.delay_upsampled() as f64 * 1_000.0 / (f64::from(self.from_hz) * self.up as f64)
    }

    fn delay_upsampled(&self) -> usize {
        self.up * self.taps / 2
    }
}

/// Converts a whole recording, without delay: the output starts where the input does and lasts as long.
///
/// Gives `None` for the rates that [`Resampler::new`] refuses.
#[must_use]
pub fn resample(samples: &[i16], from_hz: u32, to_hz: u32) -> Option<Vec<i16>> {
    let mut resampler = Resampler::new(from_hz, to_hz)?;
    let wanted = (samples.len() * resampler.up).div_ceil(resampler.down);
    let lag = (resampler.delay_upsampled() + resampler.down / 2) / resampler.down;
    let mut out = Vec::with_capacity(wanted + 2 * lag + 1);
    resampler.push(samples, &mut out);
    resampler.finish(&mut out);
    let mut whole: Vec<i16> = out.into_iter().skip(lag).take(wanted).collect();
    whole.resize(wanted, 0);
    Some(whole)
}

/// Turns little-endian 16-bit PCM bytes of any supported rate into mu-law at 8 kHz, whatever the chunks.
#[derive(Debug, Clone)]
pub struct PcmToMulaw {
    /// Absent where the PCM already is at 8 kHz.
    resampler: Option<Resampler>,
    /// The low byte of a sample that a chunk's end has split.
    odd: Option<u8>,
    input: Vec<i16>,
    output: Vec<i16>,
}

impl PcmToMulaw {
    /// Makes a converter for PCM of `rate_hz`; `None` for a rate that [`Resampler::new`] refuses.
    #[must_use]
    pub fn new(rate_hz: u32) -> Option<Self> {
        let resampler =
            if rate_hz == SAMPLE_RATE_HZ { None } else { Some(Resampler::new(rate_hz, SAMPLE_RATE_HZ)?) };
        Some(Self { resampler, odd: None, input: Vec::new(), output: Vec::new() })
    }

    /// Converts the next bytes, appending mu-law to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        self.input.clear();
        if let (Some(low), Some((&high, after))) = (self.odd, rest.split_first()) {
            self.input.push(i16::from_le_bytes([low, high]));
            self.odd = None;
            rest = after;
        }
        let (pairs, split) = rest.as_chunks::<2>();
        self.input.extend(pairs.iter().map(|&pair| i16::from_le_bytes(pair)));
        if let Some(&low) = split.first() {
            self.odd = Some(low);
        }
        match &mut self.resampler {
            Some(resampler) => {
                self.output.clear();
                resampler.push(&self.input, &mut self.output);
                mulaw::encode_into(&self.output, out);
            }
            None => mulaw::encode_into(&self.input, out),
        }
    }

    /// Ends the stream: appends what the filter still holds, drops half a sample, and makes the converter new.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.odd = None;
        if let Some(resampler) = &mut self.resampler {
            self.output.clear();
            resampler.finish(&mut self.output);
            mulaw::encode_into(&self.output, out);
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sine(rate: u32, hz: f64, samples: usize) -> Vec<i16> {
        let step = 2.0 * std::f64::consts::PI * hz / f64::from(rate);
        (0..samples).map(|n| (20_000.0 * (step * n as f64).sin()).round() as i16).collect()
    }

    /// Level of the middle of a recording relative to the sine above, in decibels.
    fn level_db(samples: &[i16]) -> f64 {
        let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
        let power = middle.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / middle.len() as f64;
        10.0 * (power.max(1e-9) / (20_000.0_f64.powi(2) / 2.0)).log10()
    }

    const DOWN: [u32; 5] = [16_000, 22_050, 24_000, 44_100, 48_000];

    #[test]
    fn the_telephone_band_is_kept_within_half_a_decibel() {
        for from in DOWN {
            for hz in [100.0, 300.0, 1_000.0, 2_000.0, 3_000.0, 3_400.0] {
                let out = resample(&sine(from, hz, from as usize / 4), from, 8_000).unwrap();
                assert!(level_db(&out).abs() < 0.5, "{from} Hz, sine of {hz} Hz: {} dB", level_db(&out));
            }
        }
        for hz in [100.0, 1_000.0, 3_400.0] {
            let out = resample(&sine(8_000, hz, 2_000), 8_000, 16_000).unwrap();
            assert!(level_db(&out).abs() < 0.5, "up, sine of {hz} Hz");
        }
    }

    #[test]
    fn what_would_fold_into_the_telephone_band_is_stopped() {
        for from in DOWN {
            for hz in [4_050.0, 4_600.0, 5_000.0, 6_500.0, 7_500.0] {
                let out = resample(&sine(from, hz, from as usize / 4), from, 8_000).unwrap();
                assert!(level_db(&out) < -55.0, "{from} Hz, sine of {hz} Hz: {} dB", level_db(&out));
            }
        }
    }

    #[test]
    fn going_up_leaves_no_image() {
        let up = resample(&sine(8_000, 1_000.0, 4_000), 8_000, 16_000).unwrap();
        let clean = sine(16_000, 1_000.0, 8_000);
        let rest: Vec<i16> = up.iter().zip(&clean).map(|(a, b)| a.saturating_sub(*b)).collect();
        assert!(level_db(&rest) < -50.0, "{} dB", level_db(&rest));
    }

    #[test]
    fn a_whole_recording_keeps_its_place_and_length() {
        for from in DOWN {
            let mut input = vec![0_i16; from as usize / 2];
            input[from as usize / 4] = 30_000;
            let out = resample(&input, from, 8_000).unwrap();
            assert_eq!(out.len(), 4_000);
            let loudest = out.iter().enumerate().max_by_key(|(_, x)| **x).unwrap().0;
            assert!((1_999..=2_001).contains(&loudest), "{from}: {loudest}");
        }
    }

    #[test]
    fn full_scale_never_overflows() {
        for (from, to) in [(16_000, 8_000), (24_000, 8_000), (8_000, 16_000), (22_050, 8_000), (8_000, 8_000)]
        {
            let square: Vec<i16> =
                (0..4_000).map(|n| if n / 3 % 2 == 0 { i16::MIN } else { i16::MAX }).collect();
            assert!(!resample(&square, from, to).unwrap().is_empty());
        }
    }

    #[test]
    fn impossible_rates_are_refused() {
        for (from, to) in [(0, 8_000), (8_000, 0), (400_000, 8_000), (8_001, 8_000), (u32::MAX, u32::MAX)] {
            assert!(Resampler::new(from, to).is_none(), "{from} to {to}");
        }
    }

    #[test]
    fn the_output_of_a_stream_lasts_as_long_as_its_input() {
        let mut resampler = Resampler::new(24_000, 8_000).unwrap();
        let mut out = Vec::new();
        for _ in 0..50 {
            resampler.push(&[0; 480], &mut out);
        }
        assert_eq!(out.len(), 8_000);
        assert!(resampler.delay_ms() < 5.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn the_way_a_stream_is_cut_changes_nothing(
            rate in prop::sample::select(vec![8_000_u32, 16_000, 24_000, 22_050]),
            bytes in prop::collection::vec(any::<u8>(), 0..3_000),
            cuts in prop::collection::vec(1_usize..700, 1..8),
        ) {
            let mut whole = Vec::new();
            let mut converter = PcmToMulaw::new(rate).unwrap();
            converter.push(&bytes, &mut whole);
            converter.finish(&mut whole);

            let mut pieces = Vec::new();
            let mut rest = bytes.as_slice();
            let mut sizes = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                converter.push(now, &mut pieces);
                rest = later;
            }
            converter.finish(&mut pieces);
            prop_assert_eq!(whole, pieces);
        }
    }
}
