//! Lists for the staff: pages of bounded length along an index, never by counting off rows.

mod appointments;
mod calls;
mod cursor;
mod customers;
mod handle;
mod messages;
pub mod plans;
mod search;
mod snippet;

pub use appointments::AppointmentFilter;
pub use calls::{CallFilter, CallFlag};
pub use cursor::{BadCursor, Cursor, ListKind, Listed, Page};
pub use customers::{CustomerChange, CustomerDetail, CustomerOutcome};
pub use handle::DashboardNumbers;
pub use messages::{MessageDetail, MessageFilter, MessageState};
pub use search::{CallHit, CustomerHit, SearchWords};

use super::connect::AnyConnection;

/// The backend behind the enum of connections, for queries that are put together at run time.
type Either = <AnyConnection as diesel::Connection>::Backend;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod plan_tests;
