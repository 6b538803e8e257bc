//! Whole calls over real sockets: the server, the simulated vendors and a simulated caller in one process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for; helpers of tests count as tests"
)]

mod conversation;
mod documents;
mod faults;
mod panics;
mod restart;
mod resume;
mod secrets;
mod support;
