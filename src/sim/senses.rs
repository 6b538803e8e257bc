//! The seam between the simulated vendors and the simulated voice: who hears, and who speaks.

use super::voice::{Recogniser, VoiceTone, render};
use std::sync::Arc;

/// A word recognised from audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpokenWord {
    /// The word as it was spoken, with its case and punctuation if the ear keeps them.
    pub text: String,
    /// First sample at 8 kHz, counted from the first sample heard.
    pub start_sample: u64,
    /// First sample after it.
    pub end_sample: u64,
}

/// Recognises words in 8 kHz mu-law audio. One for each stream.
pub trait Ear: Send {
    /// Hears more audio; returns the words completed by it, in order.
    fn hear(&mut self, mulaw: &[u8]) -> Vec<SpokenWord>;
}

/// Turns text into 8 kHz mu-law audio. Called on a thread that may be busy for a while.
pub trait Mouth: Send + Sync {
    /// Speaks the text in the named voice.
    fn speak(&self, text: &str, voice: &str) -> Vec<u8>;
}

/// Makes an ear for each stream.
pub type EarFactory = Arc<dyn Fn() -> Box<dyn Ear> + Send + Sync>;

/// Hears the simulated voice.
#[derive(Debug, Default)]
pub struct SimEar {
    recogniser: Recogniser,
}

impl Ear for SimEar {
    fn hear(&mut self, mulaw: &[u8]) -> Vec<SpokenWord> {
        let words = self.recogniser.feed(mulaw).into_iter();
        words
            .map(|word| SpokenWord {
                text: word.text,
                start_sample: word.start_sample,
                end_sample: word.end_sample,
            })
            .collect()
    }
}

/// Speaks with the simulated voice, each voice at its own pitch.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimMouth;

impl Mouth for SimMouth {
    fn speak(&self, text: &str, voice: &str) -> Vec<u8> {
        let sum = voice.bytes().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b)));
        let lift = (sum % 50) as f32;
        let tone = VoiceTone { pitch_hz: VoiceTone::BOT.pitch_hz + lift, ..VoiceTone::BOT };
        render(text, &tone)
    }
}
