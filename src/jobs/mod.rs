//! Work that follows a call and must not be lost with the process: summaries, call-backs, clean-up.
//!
//! `machine` decides what is run when, and what follows a failure; `runner` is the actor that does it; `work` and the
//! files beside it are what there is to do. What is queued, leased and done lies in the database (`db::jobs`).

pub mod callback;
pub mod machine;
pub mod messages;
pub mod recordings;
pub mod retention;
pub mod runner;
pub mod summary;
pub mod work;
pub mod written;
