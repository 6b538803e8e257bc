//! The simulated voice: speech that carries its own text, and the recogniser that hears it.
//!
//! Both ends of a simulated call may live in different processes and know nothing of each other but the audio. So every
//! word is also sent as a low-rate code of tones between 2.6 and 3.4 kHz, above a voice kept below 2.4 kHz. The code
//! survives mu-law, resampling and joining; a word whose audio is damaged fails its check and is not heard at all.
//!
//! One word is a row of 10 ms symbols, one tone each, 100 Hz apart: a preamble; the length; two symbols of three bits per
//! character; an 18-bit check; and the ninth tone, which within a word is heard only in the preamble and at the end.

pub mod espeak;

mod code;
mod recogniser;
mod render;

#[cfg(test)]
mod tests;

pub use recogniser::{HeardWord, Recogniser};
pub use render::{Rendered, VoiceTone, WordAudio, render, render_over_speech, render_words};
