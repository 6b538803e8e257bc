//! Connections below the protocols: what becomes of one that has left HTTP.
//!
//! Whose connection it is, and what is said on it, is not known here.

pub mod upgrade;
mod upgraded;
