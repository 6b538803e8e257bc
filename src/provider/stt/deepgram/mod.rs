//! Deepgram live transcription, protocol v1.

mod client;
mod refusal;
mod socket;
mod wire;

#[cfg(test)]
mod client_tests;

pub use client::DeepgramStt;
pub use refusal::{KeepRefusals, KeepRefusalsService};

pub use wire::{Parsed, parse};
