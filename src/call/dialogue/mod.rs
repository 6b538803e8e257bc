//! The mind of a call: the actor round the dialogue machine.

pub mod messages;
