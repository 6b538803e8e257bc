//! ElevenLabs streaming synthesis over HTTP.

mod client;
mod wire;

pub use client::{ElevenLabsVoice, PcmFactory, PcmToMulaw};

#[cfg(test)]
mod tests;
