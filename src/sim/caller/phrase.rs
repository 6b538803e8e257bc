//! What the caller says, rendered beforehand: each 20 ms frame already in base64, so that sending one costs little.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::audio::frame::SILENT_FRAME;
use crate::audio::{FRAME_BYTES, mulaw};
use crate::sim::script::Script;
use crate::sim::voice::{VoiceTone, espeak, render, render_over_speech};

/// Loudness of a mu-law byte, without its sign, from which it counts as voice: 500 in 16-bit units.
const VOICED: u8 = !mulaw::encode(500) & 0x7F;

/// Whether a stretch of mu-law holds any voice.
#[must_use]
pub fn is_voiced(audio: &[u8]) -> bool {
    audio.iter().any(|&byte| !byte & 0x7F >= VOICED)
}

/// Whose voice the caller has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallerVoice {
    /// Real speech where `espeak-ng` is installed, else the built-in tone.
    #[default]
    Auto,
    /// The built-in tone.
    Tone,
}

/// A phrase in frames.
#[derive(Debug)]
pub struct Phrase {
    frames: Vec<Box<str>>,
    first_voiced: usize,
    last_voiced: usize,
}

impl Phrase {
    /// Cuts mu-law audio into frames; silence at its end is left away.
    #[must_use]
    pub fn new(audio: &[u8]) -> Self {
        let voiced: Vec<bool> = audio.chunks(FRAME_BYTES).map(is_voiced).collect();
        let first_voiced = voiced.iter().position(|&voiced| voiced).unwrap_or_default();
        let last_voiced = voiced.iter().rposition(|&voiced| voiced).unwrap_or_default();
        let frames = audio
            .chunks(FRAME_BYTES)
            .take(last_voiced + 1)
            .map(|chunk| {
                let mut frame = SILENT_FRAME;
                for (slot, &byte) in frame.iter_mut().zip(chunk) {
                    *slot = byte;
                }
                STANDARD.encode(frame).into_boxed_str()
            })
            .collect();
        Self { frames, first_voiced, last_voiced }
    }

    /// A frame's payload; `None` behind the last one.
    #[must_use]
    pub fn frame(&self, index: usize) -> Option<&str> {
        self.frames.get(index).map(AsRef::as_ref)
    }

    /// The first frame with voice.
    #[must_use]
    pub const fn first_voiced(&self) -> usize {
        self.first_voiced
    }

    /// The last frame with voice, which is the last of all.
    #[must_use]
    pub const fn last_voiced(&self) -> usize {
        self.last_voiced
    }
}

/// All phrases of a script.
#[derive(Debug, Default)]
pub struct Phrases {
    by_text: HashMap<String, Arc<Phrase>>,
}

impl Phrases {
    /// Renders what a script says. Blocks for some milliseconds a sentence, so it never belongs on an event loop.
    #[must_use]
    pub fn render(script: &Script, voice: CallerVoice) -> Self {
        let mut by_text = HashMap::new();
        for text in script.phrases() {
            if !by_text.contains_key(text) {
                by_text.insert(text.to_owned(), Arc::new(Phrase::new(&speak(text, voice))));
            }
        }
        Self { by_text }
    }

    /// The phrase of a text.
    #[must_use]
    pub fn get(&self, text: &str) -> Option<Arc<Phrase>> {
        self.by_text.get(text).cloned()
    }
}

fn speak(text: &str, voice: CallerVoice) -> Vec<u8> {
    let speech = match voice {
        CallerVoice::Auto => espeak::speak(text, Some("en-us")),
        CallerVoice::Tone => None,
    };
    match speech {
        Some(speech) => render_over_speech(text, &speech),
        None => render(text, &VoiceTone::CALLER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::voice::Recogniser;

    #[test]
    fn the_frames_of_a_phrase_carry_its_words_and_no_silence_at_the_end() {
        let phrase = Phrase::new(&speak("I would like a haircut", CallerVoice::Tone));
        let mut recogniser = Recogniser::new();
        let mut words = Vec::new();
        let mut last = Vec::new();
        for payload in &phrase.frames {
            last = STANDARD.decode(payload.as_bytes()).unwrap();
            assert_eq!(last.len(), FRAME_BYTES);
            words.extend(recogniser.feed(&last));
        }
        let heard: Vec<String> = words.into_iter().map(|word| word.text).collect();
        assert_eq!(heard.join(" "), "I would like a haircut");
        assert!(is_voiced(&last));
        assert_eq!(phrase.last_voiced() + 1, phrase.frames.len());
        assert_eq!(phrase.first_voiced(), 0);
    }

    #[test]
    fn silence_is_not_voice() {
        assert!(!is_voiced(&SILENT_FRAME));
        assert!(!is_voiced(&[0x7F; 160]));
        assert!(is_voiced(&[0x80]));
    }
}
