//! A copy of the SQLite file that is whole, made while others go on writing.

use super::connect::sqlite_uri;
use super::error::DbError;
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use std::path::Path;

/// Copies the database in `file` as it stands at one moment to `to`, which has to be empty or not there. Writers are not
/// held up: the copy is one reader. Nothing that was deleted is in it. Blocks.
pub fn copy_sqlite(file: &Path, to: &Path) -> Result<(), DbError> {
    // Not made if it is not there, unlike elsewhere.
    let mut conn = SqliteConnection::establish(&sqlite_uri(file, "rw"))?;
    conn.batch_execute("PRAGMA busy_timeout = 5000")?;
    diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(to.to_string_lossy()).execute(&mut conn)?;
    Ok(())
}
