//! The ear of a call: one recogniser connection, its gap buffer, and the assembly of utterances.

pub mod actor;
pub mod buffer;
pub mod clock;
mod link;
pub mod machine;
pub mod messages;
mod signals;
pub mod utterance;

#[cfg(test)]
mod actor_tests;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod utterance_tests;
