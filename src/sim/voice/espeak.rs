//! Real speech for the simulated voice, from the `espeak-ng` program where it is installed.

use std::process::{Command, Stdio};

use crate::audio::resample::resample;
use crate::audio::{SAMPLE_RATE_HZ, wav};

/// Speaks a text with `espeak-ng` and gives 16-bit samples at 8 kHz.
///
/// Blocks until the program has ended, so it never belongs on an event loop. `voice` is a name `espeak-ng --voices`
/// knows, such as `en-us`. Gives `None` where the program is missing, fails or says nothing.
#[must_use]
pub fn speak(text: &str, voice: Option<&str>) -> Option<Vec<i16>> {
    speak_with("espeak-ng", text, voice)
}

fn speak_with(program: &str, text: &str, voice: Option<&str>) -> Option<Vec<i16>> {
    let mut command = Command::new(program);
    command.arg("--stdout");
    if let Some(voice) = voice {
        command.args(["-v", voice]);
    }
    let output = command.arg("--").arg(text).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let wav = wav::read(&output.stdout)?;
    let samples = resample(&wav.samples, wav.rate_hz, SAMPLE_RATE_HZ)?;
    (!samples.is_empty()).then_some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::voice::{Recogniser, render_over_speech};

    #[test]
    fn a_missing_program_says_nothing() {
        assert_eq!(speak_with("no-such-synthesiser", "hello", None), None);
    }

    #[test]
    fn a_program_that_writes_no_sound_says_nothing() {
        assert_eq!(speak_with("echo", "hello", None), None);
    }

    #[test]
    fn real_speech_carries_the_words() {
        let text = "Yes, she sells six fresh fish on Tuesday at 3:30 PM.";
        let speech = speak(text, Some("en-us")).expect("espeak-ng speaks: `tests/run` installs it");
        let mut recogniser = Recogniser::new();
        assert_eq!(recogniser.feed(&crate::audio::mulaw::encode_slice(&speech)), []);
        let words = Recogniser::new().feed(&render_over_speech(text, &speech));
        let heard: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(heard, text.split_whitespace().collect::<Vec<_>>());
    }
}
