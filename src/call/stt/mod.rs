//! The ear of a call: one recogniser connection, its gap buffer, and the assembly of utterances.

pub mod messages;
