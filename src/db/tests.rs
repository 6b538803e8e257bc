//! The writer, the calls and the customers, on SQLite and on PostgreSQL: `TEST_POSTGRES_URL` names a server on which
//! databases may be made, or is `none`.

mod access;
mod calls;
mod races;
pub(crate) mod support;
mod writer;

pub(crate) use support::{TestDb, admitted, caller_turn, facts, phone, replica};
