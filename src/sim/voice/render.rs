//! Text to audio: a voice-like tone, or real speech, with the code above it.

use std::f64::consts::TAU;
use std::sync::LazyLock;

use super::code::{self, SYMBOL_SAMPLES, TONES};
use crate::audio::{SAMPLE_RATE_HZ, fir, mulaw};

/// Amplitude of the code, some 17 dB below the voice.
const CODE_LEVEL: f32 = 1_000.0;

/// Samples by which the voice begins before a word's code: 20 ms.
const LEAD: usize = 160;
/// Samples by which the code's last tone rings on, so that a recogniser that is a little late still finds it whole.
const RING: usize = 16;
/// Samples by which the voice ends after a word's code: 20 ms.
const TRAIL: usize = 160;
/// Silence after each word, in samples: 60 ms.
const GAP: usize = 480;
/// Samples in which the voice swells and fades: 15 ms.
const RAMP: usize = 120;

/// The voice stays below this, in Hz, and so clear of the code even when its pitch rises.
const VOICE_TOP_HZ: f32 = 2_000.0;

/// Real speech passes up to the first and is stopped from the second, in Hz.
const SPEECH_BAND_HZ: (f64, f64) = (2_150.0, 2_450.0);

/// Peak that real speech is brought down to, in 16-bit units, to leave room for the code.
const SPEECH_PEAK: f32 = 20_000.0;

/// Samples of one period of the voice in memory. With so many, reading between them adds nothing near the code.
const PERIOD: usize = 1_024;

/// How a simulated voice sounds. The words it carries do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VoiceTone {
    /// Pitch in Hz, taken between 60 and 400.
    pub pitch_hz: f32,
    /// Where the voice is strongest besides its pitch, in Hz.
    pub formant_hz: f32,
    /// Peak amplitude of the voice in 16-bit units, taken between 0 and 24 000.
    pub level: f32,
}

impl VoiceTone {
    /// The caller's voice: higher.
    pub const CALLER: Self = Self { pitch_hz: 190.0, formant_hz: 850.0, level: 7_000.0 };
    /// The bot's voice: lower.
    pub const BOT: Self = Self { pitch_hz: 120.0, formant_hz: 600.0, level: 7_000.0 };
}

/// A word's place in rendered audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordAudio {
    /// The word as it stands in the text, punctuation included.
    pub word: String,
    /// First sample that the word needs.
    pub start_sample: u64,
    /// The sample after the last one that the word needs.
    pub end_sample: u64,
}

/// Rendered speech and where its words are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Mu-law at 8 kHz.
    pub audio: Vec<u8>,
    /// The words in order.
    pub words: Vec<WordAudio>,
}

/// One cycle-true symbol of every tone. Each starts and ends at zero, so symbols join without a click.
static SYMBOLS: LazyLock<[[f32; SYMBOL_SAMPLES]; TONES]> = LazyLock::new(|| {
    std::array::from_fn(|tone| {
        let step = TAU * code::tone_hz(tone) as f64 / f64::from(SAMPLE_RATE_HZ);
        std::array::from_fn(|n| CODE_LEVEL * (step * n as f64).sin() as f32)
    })
});

/// Renders text as mu-law at 8 kHz. White space parts words; a text without words gives no audio.
#[must_use]
pub fn render(text: &str, tone: &VoiceTone) -> Vec<u8> {
    render_words(text, tone).audio
}

/// Renders text and tells where each word is.
#[must_use]
pub fn render_words(text: &str, tone: &VoiceTone) -> Rendered {
    let voice = Voice::new(tone);
    let mut mix = Vec::new();
    let words = lay_out(text, 0, &mut mix, |word| voice.speak(word));
    Rendered { audio: to_mulaw(&mix), words }
}

/// Renders text as a code over real speech of 8 kHz, which is cut off above 2.4 kHz.
///
/// The words' codes spread evenly over the speech. The result is as long as the longer of both.
#[must_use]
pub fn render_over_speech(text: &str, speech_8k: &[i16]) -> Vec<u8> {
    let mut mix = Vec::new();
    let count = lay_out(text, 0, &mut mix, |_| {}).len().max(1);
    let spare = speech_8k.len().saturating_sub(mix.len()) / count;
    mix.clear();
    lay_out(text, spare, &mut mix, |_| {});
    mix.resize(mix.len().max(speech_8k.len()), 0.0);

    let taps = fir::lowpass(f64::from(SAMPLE_RATE_HZ), SPEECH_BAND_HZ.0, SPEECH_BAND_HZ.1, 2);
    let speech = fir::filter_whole(speech_8k, &taps);
    let peak = speech.iter().fold(SPEECH_PEAK, |peak, x| peak.max(x.abs()));
    for (sample, x) in mix.iter_mut().zip(speech) {
        *sample += x * SPEECH_PEAK / peak;
    }
    to_mulaw(&mix)
}

/// Writes the words' code into `mix`, each word `spare` samples further from the next, and lets `speak` sound under it.
fn lay_out(text: &str, spare: usize, mix: &mut Vec<f32>, speak: impl Fn(&mut [f32])) -> Vec<WordAudio> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        let mut start = None;
        let mut end = 0;
        for symbols in code::symbols_of(word) {
            let begin = mix.len();
            mix.resize(begin + LEAD, 0.0);
            start = start.or(Some(mix.len()));
            for &symbol in &symbols {
                mix.extend(SYMBOLS.get(usize::from(symbol)).into_iter().flatten());
            }
            let last = symbols.last().and_then(|&symbol| SYMBOLS.get(usize::from(symbol)));
            mix.extend(last.into_iter().flatten().take(RING));
            end = mix.len();
            mix.resize(end + TRAIL, 0.0);
            if let Some(sounding) = mix.get_mut(begin..) {
                speak(sounding);
            }
            mix.resize(mix.len() + GAP, 0.0);
        }
        mix.resize(mix.len() + spare, 0.0);
        let start_sample = start.unwrap_or(end) as u64;
        words.push(WordAudio { word: word.to_owned(), start_sample, end_sample: end as u64 });
    }
    words
}

fn to_mulaw(mix: &[f32]) -> Vec<u8> {
    // A cast from a float to an integer saturates.
    mix.iter().map(|&x| mulaw::encode(x.round() as i16)).collect()
}

/// One period of a harmonic tone.
struct Voice {
    period: Vec<f32>,
    pitch_hz: f32,
}

impl Voice {
    fn new(tone: &VoiceTone) -> Self {
        let pitch_hz = if tone.pitch_hz.is_finite() { tone.pitch_hz.clamp(60.0, 400.0) } else { 120.0 };
        let level = if tone.level.is_finite() { tone.level.clamp(0.0, 24_000.0) } else { 0.0 };
        let harmonics = (VOICE_TOP_HZ / pitch_hz) as usize;
        let weights: Vec<f32> = (1..=harmonics)
            .map(|harmonic| {
                let away = (harmonic as f32 * pitch_hz - tone.formant_hz) / 250.0;
                (1.0 + 3.0 * (-away * away).exp()) / harmonic as f32
            })
            .collect();
        let mut period: Vec<f32> = (0..PERIOD)
            .map(|n| {
                // sin(kx) = 2 cos(x) sin((k-1)x) - sin((k-2)x)
                let (sin, cos) = (TAU as f32 * n as f32 / PERIOD as f32).sin_cos();
                let (mut before, mut now) = (0.0, sin);
                let mut sum = 0.0;
                for weight in &weights {
                    sum += weight * now;
                    (before, now) = (now, 2.0 * cos * now - before);
                }
                sum
            })
            .collect();
        let peak = period.iter().fold(f32::MIN_POSITIVE, |peak, x| peak.max(x.abs()));
        for x in &mut period {
            *x *= level / peak;
        }
        Self { period, pitch_hz }
    }

    /// Adds a word's worth of voice, its pitch falling a little.
    fn speak(&self, word: &mut [f32]) {
        let length = word.len();
        let mut phase = 0.0_f32;
        for (n, sample) in word.iter_mut().enumerate() {
            let ramp = ((n + 1).min(length - n) as f32 / RAMP as f32).min(1.0);
            *sample += self.at(phase) * ramp;
            let pitch = self.pitch_hz * (1.06 - 0.12 * n as f32 / length as f32);
            phase = (phase + pitch / SAMPLE_RATE_HZ as f32).fract();
        }
    }

    /// The voice at a fraction of its period.
    fn at(&self, phase: f32) -> f32 {
        let place = phase * PERIOD as f32;
        let index = place as usize;
        let sample = |index: usize| self.period.get(index % PERIOD).copied().unwrap_or(0.0);
        let (left, right) = (sample(index), sample(index + 1));
        left + (right - left) * place.fract()
    }
}
