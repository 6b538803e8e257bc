//! Audio to text: finds words' codes in mu-law of any origin, as it comes.

use std::f64::consts::{PI, TAU};
use std::sync::LazyLock;

use super::code::{self, PREAMBLE, Part, Read, Reader, SYMBOL_SAMPLES, TONES};
use crate::audio::{SAMPLE_RATE_HZ, mulaw};

/// Samples of one hop, the step in which the recogniser looks at the audio: 2 ms.
const HOP: usize = 16;
/// Hops of one symbol.
const SYMBOL_HOPS: usize = SYMBOL_SAMPLES / HOP;
/// Hops whose tone powers are kept; more than a preamble lasts, and a power of two.
const KEPT: usize = 16;
/// Cosine parts of all tones and a spare zero, then sine parts likewise: an even load for vector registers.
const LANES: usize = 20;
/// Where the sine parts begin.
const SINES: usize = LANES / 2;

/// Loudness of mu-law (0 silent, 127 full scale) below which a hop is taken for silence: 62 in 16-bit units.
const QUIET: u8 = loudness(mulaw::encode(62));
/// Loudness from which a hop counts as voice: 500 in 16-bit units.
const VOICE: u8 = loudness(mulaw::encode(500));

/// Least power of a preamble's tone: an amplitude of 60, the code brought down by 24 dB.
const LEAST_POWER: f32 = 3_600.0;
/// Least share that a symbol's tone has of the power in the code's band.
const LEAST_SHARE: f32 = 0.55;
/// Most by which a symbol's power differs from its preamble's, either way.
const LEVEL_RATIO: f32 = 5.0;

/// Samples of silence after which a voice has ended: 240 ms, well above the gap between two words.
const VOICE_ENDS: u64 = 1_920;
/// Samples of a dip that still counts as voiced time: 20 ms.
const VOICE_DIP: u64 = 160;
/// Most samples between two parts of a word: 150 ms.
const PART_GAP: u64 = 1_200;

/// How loud a mu-law byte is, without its sign.
const fn loudness(byte: u8) -> u8 {
    !byte & 0x7F
}

/// One symbol's worth of every tone's cosine and sine, scaled so that a tone's power comes out as its amplitude squared.
static TABLE: LazyLock<[[[f32; LANES]; HOP]; SYMBOL_HOPS]> = LazyLock::new(|| {
    std::array::from_fn(|hop| {
        std::array::from_fn(|n| {
            std::array::from_fn(|lane| {
                let tone = lane % SINES;
                if tone >= TONES {
                    return 0.0;
                }
                let step = code::tone_hz(tone) as f64 / f64::from(SAMPLE_RATE_HZ);
                // What the second difference taken before does to this tone.
                let emphasis = (2.0 * (PI * step).sin()).powi(2);
                let scale = 2.0 / SYMBOL_SAMPLES as f64 / emphasis;
                let (sin, cos) = (TAU * step * (hop * HOP + n) as f64).sin_cos();
                (scale * if lane < SINES { cos } else { sin }) as f32
            })
        })
    })
});

/// A word heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardWord {
    /// The word, capitals and punctuation as spoken.
    pub text: String,
    /// First sample of the word, counted from the start of the stream; true to a millisecond.
    pub start_sample: u64,
    /// The sample after the word's last; true to a few milliseconds.
    pub end_sample: u64,
}

/// Powers of all tones over the last 10 ms.
type Powers = [f32; TONES];

/// A preamble found, and what was read since.
#[derive(Debug, Clone)]
struct Lock {
    /// Hops heard when the preamble ended.
    hop: u64,
    /// Summed power of the preamble's tones.
    power: f32,
    reader: Reader,
}

/// Beginning of a word of several parts.
#[derive(Debug, Clone)]
struct Held {
    word: HeardWord,
    next: u8,
}

/// Hears the words of a simulated voice in a mu-law stream, in chunks of any size.
///
/// It is a stand-in for a speech recogniser: a word is reported as soon as its last sample has come and only if all of
/// its audio is whole. It also notes when there was any voice at all, for endpointing.
#[derive(Debug, Clone)]
pub struct Recogniser {
    carry: [u8; HOP],
    carried: usize,
    hops: u64,
    /// The last two samples.
    before: (f32, f32),
    /// Each of the last five hops against the table.
    products: [[f32; LANES]; SYMBOL_HOPS],
    powers: [Powers; KEPT],
    quiet_hops: u32,
    lock: Option<Lock>,
    held: Option<Held>,
    voice: Option<(u64, u64)>,
    voiced_samples: u64,
}

impl Default for Recogniser {
    fn default() -> Self {
        Self::new()
    }
}

impl Recogniser {
    /// Makes a recogniser at the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            carry: [mulaw::SILENCE; HOP],
            carried: 0,
            hops: 0,
            before: (0.0, 0.0),
            products: [[0.0; LANES]; SYMBOL_HOPS],
            powers: [[0.0; TONES]; KEPT],
            quiet_hops: 0,
            lock: None,
            held: None,
            voice: None,
            voiced_samples: 0,
        }
    }

    /// Hears the next bytes and gives the words that they complete.
    pub fn feed(&mut self, mulaw: &[u8]) -> Vec<HeardWord> {
        let mut words = Vec::new();
        let mut rest = mulaw;
        if self.carried > 0 {
            rest = self.carry(rest);
            if self.carried < HOP {
                return words;
            }
            let hop = self.carry;
            self.carried = 0;
            words.extend(self.hop(&hop));
        }
        let (hops, tail) = rest.as_chunks::<HOP>();
        for hop in hops {
            words.extend(self.hop(hop));
        }
        self.carry(tail);
        words
    }

    /// Samples heard, to 2 ms.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.hops * HOP as u64
    }

    /// First sample of the voice going on, pauses up to 240 ms included; `None` while nobody speaks.
    #[must_use]
    pub fn voice_since(&self) -> Option<u64> {
        self.voice.filter(|&(_, last)| self.position() - last <= VOICE_ENDS).map(|(first, _)| first)
    }

    /// The sample after the last voiced one, or `None` if there was no voice yet.
    #[must_use]
    pub fn last_voice_sample(&self) -> Option<u64> {
        self.voice.map(|(_, last)| last)
    }

    /// Whether somebody is speaking, short pauses included.
    #[must_use]
    pub fn is_voice(&self) -> bool {
        self.voice_since().is_some()
    }

    /// Milliseconds without voice up to now; since the beginning if there was none yet.
    #[must_use]
    pub fn silence_ms(&self) -> u64 {
        (self.position() - self.last_voice_sample().unwrap_or(0)) / 8
    }

    /// Milliseconds of voice since the beginning, gaps between words left out.
    #[must_use]
    pub const fn voiced_ms(&self) -> u64 {
        self.voiced_samples / 8
    }

    /// Copies into the open hop what fits and gives back the rest.
    fn carry<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let take = bytes.len().min(HOP.saturating_sub(self.carried));
        let end = self.carried + take;
        match (self.carry.get_mut(self.carried..end), bytes.split_at_checked(take)) {
            (Some(space), Some((now, later))) => {
                space.copy_from_slice(now);
                self.carried = end;
                later
            }
            _ => bytes,
        }
    }

    fn hop(&mut self, bytes: &[u8; HOP]) -> Option<HeardWord> {
        let loudest = bytes.iter().fold(0, |loudest, &byte| loudest.max(loudness(byte)));
        let slot = (self.hops % SYMBOL_HOPS as u64) as usize;
        self.hops += 1;
        if loudest < QUIET {
            self.quiet_hops = self.quiet_hops.saturating_add(1);
            // By then everything kept is zero.
            if self.quiet_hops > (KEPT + SYMBOL_HOPS) as u32 {
                return None;
            }
            self.before = (0.0, 0.0);
            if let Some(product) = self.products.get_mut(slot) {
                *product = [0.0; LANES];
            }
        } else {
            self.quiet_hops = 0;
            if loudest >= VOICE {
                self.note_voice();
            }
            let (mut last, mut older) = self.before;
            let mut sums = [0.0; LANES];
            if let Some(rows) = TABLE.get(slot) {
                for (&byte, row) in bytes.iter().zip(rows) {
                    let x = f32::from(mulaw::decode(byte));
                    // The second difference takes the voice down, which would spill over the code's tones otherwise.
                    let sharp = x - 2.0 * last + older;
                    (last, older) = (x, last);
                    for (sum, &factor) in sums.iter_mut().zip(row) {
                        *sum += sharp * factor;
                    }
                }
            }
            self.before = (last, older);
            if let Some(product) = self.products.get_mut(slot) {
                *product = sums;
            }
        }
        let powers = self.window_powers();
        if let Some(kept) = self.powers.get_mut(self.hops as usize % KEPT) {
            *kept = powers;
        }
        self.find_preamble();
        self.read_symbol(&powers)
    }

    fn note_voice(&mut self) {
        let now = self.hops * HOP as u64;
        let began = now - HOP as u64;
        match &mut self.voice {
            Some((first, last)) => {
                let pause = began.saturating_sub(*last);
                if pause > VOICE_ENDS {
                    *first = began;
                }
                self.voiced_samples += HOP as u64 + if pause <= VOICE_DIP { pause } else { 0 };
                *last = now;
            }
            None => {
                self.voice = Some((began, now));
                self.voiced_samples += HOP as u64;
            }
        }
    }

    fn window_powers(&self) -> Powers {
        if self.quiet_hops as usize >= SYMBOL_HOPS {
            return [0.0; TONES];
        }
        let mut sums = [0.0; LANES];
        for product in &self.products {
            for (sum, part) in sums.iter_mut().zip(product) {
                *sum += part;
            }
        }
        let mut powers = [0.0; TONES];
        let (cosines, sines) = sums.split_at(SINES);
        for ((power, cosine), sine) in powers.iter_mut().zip(cosines).zip(sines) {
            *power = cosine * cosine + sine * sine;
        }
        powers
    }

    /// Begins a word where a preamble ends now. Of several places a hop apart the strongest wins.
    fn find_preamble(&mut self) {
        let mut sum = 0.0;
        // The last symbol first: it is the one that most often does not fit.
        for (back, &tone) in PREAMBLE.iter().rev().enumerate() {
            let at = self.hops.wrapping_sub((back * SYMBOL_HOPS) as u64) as usize % KEPT;
            let Some(powers) = self.powers.get(at) else { return };
            let power = powers.get(usize::from(tone)).copied().unwrap_or(0.0);
            if power < LEAST_POWER || power < LEAST_SHARE * powers.iter().sum::<f32>() {
                return;
            }
            sum += power;
        }
        let near = |lock: &&Lock| self.hops - lock.hop < SYMBOL_HOPS as u64;
        if self.lock.as_ref().filter(near).is_none_or(|lock| sum > lock.power) {
            self.lock = Some(Lock { hop: self.hops, power: sum, reader: Reader::new() });
        }
    }

    fn read_symbol(&mut self, powers: &Powers) -> Option<HeardWord> {
        let lock = self.lock.as_mut()?;
        let age = self.hops - lock.hop;
        if age == 0 || !age.is_multiple_of(SYMBOL_HOPS as u64) {
            return None;
        }
        let (mut tone, mut power, mut total) = (0, 0.0, 0.0);
        for (index, &candidate) in powers.iter().enumerate() {
            total += candidate;
            if candidate > power {
                (tone, power) = (index, candidate);
            }
        }
        let level = lock.power / PREAMBLE.len() as f32;
        let clear =
            power >= LEAST_SHARE * total && power * LEVEL_RATIO >= level && power <= level * LEVEL_RATIO;
        let read = if clear { lock.reader.push(tone as u8) } else { Read::Bad };
        match read {
            Read::More => None,
            Read::Bad => {
                self.lock = None;
                None
            }
            Read::Done(part) => {
                let symbols = lock.reader.count() as u64;
                let begin = (lock.hop * HOP as u64).saturating_sub((PREAMBLE.len() * SYMBOL_SAMPLES) as u64);
                let end = lock.hop * HOP as u64 + symbols * SYMBOL_SAMPLES as u64;
                self.lock = None;
                self.join(part, begin, end)
            }
        }
    }

    /// Puts the parts of a long word together; a word that lacks one is not heard.
    fn join(&mut self, part: Part, start_sample: u64, end_sample: u64) -> Option<HeardWord> {
        let held = self.held.take();
        let word = if part.number == 0 {
            HeardWord { text: part.text, start_sample, end_sample }
        } else {
            let held = held?;
            if held.next != part.number || start_sample.saturating_sub(held.word.end_sample) > PART_GAP {
                return None;
            }
            HeardWord { text: held.word.text + &part.text, start_sample: held.word.start_sample, end_sample }
        };
        if part.last {
            return Some(word);
        }
        self.held = Some(Held { word, next: code::number_after(part.number) });
        None
    }
}
