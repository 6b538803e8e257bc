//! The mind of a call: the actor round the dialogue machine.

pub mod actor;
pub mod machine;
pub mod messages;
