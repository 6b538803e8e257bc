//! Finite impulse response filters: Kaiser-windowed low-passes.

use std::f64::consts::PI;

/// Stop-band attenuation the filters are designed for, in decibels.
const ATTENUATION_DB: f64 = 65.0;

/// Designs a symmetric low-pass with unit gain at 0 Hz: flat up to `pass_hz`, at least 60 dB down from `stop_hz`.
///
/// The number of taps is one less than a multiple of `round_to`; an even one gives the filter a middle tap, and so a
/// delay of whole samples. Bands that make no sense give the identity filter.
#[must_use]
pub fn lowpass(rate_hz: f64, pass_hz: f64, stop_hz: f64, round_to: usize) -> Vec<f64> {
    let transition = 2.0 * PI * (stop_hz - pass_hz) / rate_hz;
    if !(transition.is_finite() && transition > 1e-7) {
        return vec![1.0];
    }
    let wanted = ((ATTENUATION_DB - 8.0) / (2.285 * transition)).ceil() as usize + 1;
    let count = (wanted + 1).next_multiple_of(round_to.max(2)) - 1;
    let centre = (count as f64 - 1.0) / 2.0;
    let cutoff = (pass_hz + stop_hz) / rate_hz;
    let beta = 0.1102 * (ATTENUATION_DB - 8.7);
    let mut taps: Vec<f64> = (0..count)
        .map(|index| {
            let offset = index as f64 - centre;
            let edge = offset / (centre + 1.0);
            sinc(cutoff * offset) * bessel_i0(beta * (1.0 - edge * edge).max(0.0).sqrt())
        })
        .collect();
    let gain: f64 = taps.iter().sum();
    for tap in &mut taps {
        *tap /= gain;
    }
    taps
}

/// Filters a whole recording without delaying it; the output is as long as the input.
#[must_use]
pub fn filter_whole(samples: &[i16], taps: &[f64]) -> Vec<f32> {
    let lead = taps.len() / 2;
    (0..samples.len())
        .map(|at| {
            let first = (at + lead + 1).saturating_sub(taps.len());
            let skip = taps.len().saturating_sub(at + lead + 1);
            let inputs = samples.iter().skip(first);
            inputs.zip(taps.iter().skip(skip)).map(|(&x, &tap)| f64::from(x) * tap).sum::<f64>() as f32
        })
        .collect()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-12 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// The modified Bessel function of order zero, by its series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for step in 1..40_u32 {
        term *= quarter / f64::from(step * step);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gain_db(taps: &[f64], rate: f64, hz: f64) -> f64 {
        let step = 2.0 * PI * hz / rate;
        let (re, im) = taps.iter().enumerate().fold((0.0, 0.0), |(re, im), (n, tap)| {
            (re + tap * (step * n as f64).cos(), im + tap * (step * n as f64).sin())
        });
        10.0 * (re * re + im * im).log10()
    }

    #[test]
    fn a_low_pass_keeps_the_pass_band_and_stops_the_rest() {
        let taps = lowpass(16_000.0, 3_400.0, 4_000.0, 8);
        for hz in (0..=3_400).step_by(100) {
            assert!(gain_db(&taps, 16_000.0, f64::from(hz)).abs() < 0.1, "{hz} Hz");
        }
        for hz in (4_000..=8_000).step_by(100) {
            assert!(gain_db(&taps, 16_000.0, f64::from(hz)) < -60.0, "{hz} Hz");
        }
    }

    #[test]
    fn a_senseless_band_gives_the_identity() {
        assert_eq!(lowpass(8_000.0, 3_000.0, 3_000.0, 2), vec![1.0]);
        assert_eq!(lowpass(0.0, 0.0, 0.0, 2), vec![1.0]);
    }

    #[test]
    fn filtering_a_whole_recording_does_not_delay_it() {
        let taps = lowpass(8_000.0, 1_000.0, 2_000.0, 2);
        let mut samples = vec![0_i16; 101];
        samples[50] = 30_000;
        let out = filter_whole(&samples, &taps);
        assert_eq!(out.len(), 101);
        let loudest = out.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(loudest, 50);
    }
}
