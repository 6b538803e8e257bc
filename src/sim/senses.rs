//! The seam between the simulated vendors and the simulated voice: who hears, and who speaks.

use super::voice::{Recogniser, VoiceTone, espeak, render, render_over_speech};
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
        let lift = (number_of(voice) % 50) as f32;
        let tone = VoiceTone { pitch_hz: VoiceTone::BOT.pitch_hz + lift, ..VoiceTone::BOT };
        render(text, &tone)
    }
}

/// Speaks with `espeak-ng` where it is installed, else like [`SimMouth`]. The words are carried either way.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealMouth;

/// Speakers of `espeak-ng`, so that two voices do not sound alike.
const SPEAKERS: [&str; 4] = ["en-us+f2", "en-us+m3", "en-gb+f4", "en-gb+m1"];

impl Mouth for RealMouth {
    fn speak(&self, text: &str, voice: &str) -> Vec<u8> {
        let speaker = SPEAKERS.get(number_of(voice) as usize % SPEAKERS.len()).copied();
        match espeak::speak(text, speaker) {
            Some(speech) => render_over_speech(text, &speech),
            None => SimMouth.speak(text, voice),
        }
    }
}

fn number_of(voice: &str) -> u32 {
    voice.bytes().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mouth_is_understood_in_every_voice() {
        let text = "We have Tuesday at 3:30 PM, or Friday at noon.";
        let mouths: [&dyn Mouth; 2] = [&SimMouth, &RealMouth];
        for mouth in mouths {
            for voice in ["simulated", "aura-asteria-en", "a", "b", "c"] {
                let heard: Vec<String> = SimEar::default()
                    .hear(&mouth.speak(text, voice))
                    .into_iter()
                    .map(|word| word.text)
                    .collect();
                assert_eq!(heard.join(" "), text, "{voice}");
            }
        }
    }
}
