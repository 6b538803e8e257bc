//! One call: its actor, its children, and the machines that decide for them.

pub mod dialogue;
pub mod stt;
pub mod tts;
