//! Logs: set-up, masking, secrets kept out.

pub mod clock;
pub mod feed;
pub mod log;
pub mod secrets;
