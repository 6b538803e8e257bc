//! Which calls are live: admission, lookup, suspension, ending.

pub mod roster;
