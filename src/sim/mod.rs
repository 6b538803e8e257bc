//! The simulator: the vendors' protocols on loopback, and a caller who rings.

pub mod faults;
pub mod senses;
pub mod vendors;
pub mod voice;
