//! One call: its actor, its children, and the machines that decide for them.

pub mod dialogue;
pub mod machine;
pub mod messages;
pub mod playback;
pub mod reply;
pub mod stt;
pub mod tts;
pub mod turn;
