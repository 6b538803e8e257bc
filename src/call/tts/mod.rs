//! The voice of a call: synthesis, fallback, cancellation.

pub mod messages;
