//! One call: its actor, its children, and the machines that decide for them.

pub mod actor;
pub mod children;
pub mod desk;
pub mod dialogue;
pub mod fallback;
pub mod gate;
pub mod machine;
pub mod media;
pub mod messages;
pub mod meter;
pub mod mind;
pub mod playback;
pub mod recorder;
pub mod reply;
pub mod services;
pub mod stt;
pub mod supervision;
pub mod traced;
pub mod tts;
pub mod turn;

#[cfg(test)]
mod whole;
