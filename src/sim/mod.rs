//! The simulator: the vendors' protocols on loopback, and a caller who rings.

pub mod voice;
