//! Which calls are live: admission, lookup, suspension, ending.

pub mod actor;
pub mod messages;
pub mod roster;
pub mod token;
pub mod unwritten;
