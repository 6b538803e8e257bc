//! Logs, metrics, traces: set-up, masking, secrets kept out.

pub mod clock;
pub mod feed;
pub mod log;
pub mod metrics;
pub mod process;
pub mod recorder;
pub mod secrets;
pub mod series;
pub mod statsd;
pub mod trace;
