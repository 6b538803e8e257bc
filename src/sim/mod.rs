//! The simulator: the vendors' protocols on loopback, and a caller who rings.

pub mod authority;
pub mod caller;
pub mod controls;
pub mod faults;
pub mod load;
pub mod script;
pub mod senses;
pub mod vendors;
pub mod voice;
