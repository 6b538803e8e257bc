//! Audio: mu-law, framing, resampling, voice activity. Pure.
//!
//! A call's audio is mono G.711 mu-law at 8 kHz throughout: one byte per sample, eight bytes per millisecond.

pub mod align;
pub mod fir;
pub mod frame;
pub mod mulaw;
pub mod resample;
pub mod vad;
pub mod wav;

/// Samples (and so mu-law bytes) per second on the telephone.
pub const SAMPLE_RATE_HZ: u32 = 8_000;

/// Mu-law bytes per millisecond.
pub const BYTES_PER_MS: usize = 8;

/// Mu-law bytes of one 20 ms frame, the size in which the telephone side sends audio.
pub const FRAME_BYTES: usize = 160;

/// Milliseconds of one frame.
pub const FRAME_MS: u32 = 20;
