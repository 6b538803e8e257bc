//! Whole calls over real sockets: the server, the simulated vendors and a simulated caller in one process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for; helpers of tests count as tests"
)]

mod access;
mod browser;
mod connections;
mod control;
mod conversation;
mod documents;
mod drill;
mod faults;
mod jobs;
mod lists;
#[cfg(feature = "s3")]
mod objects;
mod panics;
mod recording;
mod resources;
mod restart;
mod resume;
mod secrets;
mod support;
mod tls;
mod trail;
