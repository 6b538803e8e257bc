//! The only place with Diesel: schema, ordered writes, reads, bookings.
//!
//! What belongs to a call is written in order through one writer ([`DbHandle::record`], [`DbHandle::write`]), so that
//! no call ever waits for the database. Reads and bookings run on the blocking pool with connections of their own.
//! SQLite and PostgreSQL differ in here and nowhere else.

pub mod access;
mod activity;
mod actor;
mod backup;
mod batch;
mod bookings;
mod cached;
mod calls;
mod connect;
mod customers;
pub mod erase;
mod error;
mod handle;
pub mod import;
mod jobs;
mod lists;
mod migrate;
mod outcomes;
mod recordings;
mod replicas;
mod retention;
mod schema;
mod scrub;
pub mod seed;
mod settings;
mod spool;
mod time_off;
mod tolls;
mod upcoming;
mod usage;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use activity::{
    ActivityBucket, ActivityCounts, LATENCY_BOUNDS, LATENCY_CLASSES, LatencyCounts, QUARTER_MS, Run, STAGES,
};
pub use backup::copy_sqlite;
pub use bookings::{
    AppointmentChange, AppointmentDetail, BookOutcome, BookRequest, HoldRequest, NewAppointment, SLOT_MS,
    StaffOutcome,
};
pub use calls::{CallOverview, Counts, StoredEvent, StoredMessage};
pub use connect::AnyConnection;
pub use error::{DbError, DbRefused, UrlProblem};
pub use handle::{Database, DbHandle, DbStats};
pub use jobs::{JobEffect, JobLease, JobQuery, LeasedJob, LeasedJobs, NewJob, StoredJob, Touched};
pub use lists::plans;
pub use lists::{
    AppointmentFilter, BadCursor, CallFilter, CallFlag, CallHit, Cursor, CustomerChange, CustomerDetail,
    CustomerHit, CustomerOutcome, DashboardNumbers, ListKind, Listed, MessageDetail, MessageFilter,
    MessageState, Page, SearchWords,
};
pub use migrate::{migrate_from, open_connection};
pub use outcomes::StoredOutcome;
pub use replicas::{Ownership, Peer, Presence, Stray};
pub use retention::{Aged, BATCH as RETENTION_BATCH};
pub use settings::{StoredSetting, stored_settings};
pub use spool::{Kept, TakenMessage};
pub use time_off::{NewTimeOff, TimeOff};
pub use tolls::{TollCeiling, TollCeilings, TollsFull};
pub use upcoming::Upcoming;
pub use write::Write;
