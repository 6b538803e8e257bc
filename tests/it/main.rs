//! Whole calls over real sockets: the server, the simulated vendors and a simulated caller in one process.

mod conversation;
mod documents;
mod faults;
mod panics;
mod restart;
mod resume;
mod secrets;
mod support;
