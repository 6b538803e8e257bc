//! Hours, slots, availability and spoken dates. Pure.

pub mod availability;
pub mod dates;
pub mod speak;
pub mod suggest;
pub mod times;
mod words;
