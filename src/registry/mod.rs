//! Which calls are live: admission, lookup, suspension, ending; here and, where this one is one of several replicas, at the
//! others.

pub mod actor;
mod answers;
mod measure;
pub mod messages;
mod peers;
mod presence;
pub mod reaper;
mod requests;
pub mod roster;
pub mod token;
pub mod unwritten;
mod watch;
mod wire;

#[cfg(test)]
mod replica_tests;
