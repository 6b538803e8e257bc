//! The only place with Diesel: schema, ordered writes, reads, bookings.
//!
//! What belongs to a call is written in order through one writer ([`DbHandle::record`], [`DbHandle::write`]), so that
//! no call ever waits for the database. Reads and bookings run on the blocking pool with connections of their own.
//! SQLite and PostgreSQL differ in here and nowhere else.

mod actor;
mod batch;
mod bookings;
mod calls;
mod connect;
mod customers;
mod error;
mod handle;
pub mod import;
mod migrate;
mod schema;
pub mod seed;
mod write;

#[cfg(test)]
mod tests;

pub use bookings::{BookOutcome, BookRequest, HoldRequest, SLOT_MS};
pub use calls::{CallOverview, Counts, StoredEvent, StoredMessage, SummaryState};
pub use connect::AnyConnection;
pub use error::{DbError, DbRefused, UrlProblem};
pub use handle::{Database, DbHandle, DbStats};
pub use migrate::open_connection;
pub use write::Write;
