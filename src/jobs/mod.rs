//! Work that follows a call.

pub mod summary;
