//! Deepgram Aura, the fallback voice.

mod client;
mod wire;

pub use client::DeepgramVoice;

#[cfg(test)]
mod tests;
