//! Whole calls over real sockets: the server, the simulated vendors and a simulated caller in one process.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for; helpers of tests count as tests"
)]

mod access;
mod backup;
mod browser;
mod cluster;
mod connections;
mod control;
mod conversation;
mod deployment;
mod documents;
mod drill;
mod drills;
mod faults;
mod jobs;
mod lists;
mod load;
mod metrics;
#[cfg(feature = "s3")]
mod objects;
mod panics;
mod reaper;
mod recording;
mod replicas;
mod resources;
mod restart;
mod resume;
mod secrets;
mod soak;
mod support;
mod tls;
#[cfg(feature = "otel")]
mod traces;
mod trail;
