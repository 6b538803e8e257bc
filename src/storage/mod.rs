//! Recordings on disk and in an object store: where they lie, how they are written, read, moved and deleted.
//!
//! What touches a file blocks: it runs on the recorder's own thread or on the blocking pool.

pub mod layout;
pub mod part;
pub mod peaks;
pub mod store;
