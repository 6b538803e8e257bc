//! Our end of one Media Stream: the WebSocket actor and its state machine.

pub mod actor;
pub mod machine;
pub mod services;
pub mod socket;
