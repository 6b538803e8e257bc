//! The voice of a call: synthesis, fallback, cancellation.

pub mod actor;
pub mod cache;
pub mod events;
pub mod machine;
pub mod messages;
mod sentence;
pub mod voices;
