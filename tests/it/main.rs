//! Whole calls over real sockets: the server, the simulated vendors and a simulated caller in one process.

mod conversation;
mod faults;
mod panics;
mod resume;
mod support;
