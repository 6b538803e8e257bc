//! Chat completions as OpenAI and compatible hosts speak them.
//!
//! `request` builds what is sent and `rules` checks it; `sse`, `wire`, `hidden`, `accumulate` and `reader` turn what
//! comes back into text and tool calls, and `errors` into a failure's meaning: all of them pure. `client` does the
//! talking.

mod accumulate;
mod client;
mod errors;
mod hidden;
pub mod reader;
mod request;
pub mod rules;
mod sse;
mod wire;

pub use client::{Limits, OpenAiModel};
