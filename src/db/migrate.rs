//! Migrations, one folder a database, run under a lock so that two processes that start together do not collide.

use super::connect::{AnyConnection, DbUrl, connect, sqlite_uri, write_transaction};
use super::error::DbError;
use crate::config::database::DatabaseConfig;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::sqlite::SqliteConnection;
use diesel_migrations::{EmbeddedMigrations, FileBasedMigrations, MigrationHarness, embed_migrations};
use std::path::Path;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Key of PostgreSQL's advisory lock: "frontdsk" in ASCII.
const LOCK: i64 = 0x6672_6f6e_7464_736b;

/// Opens the configured database for a command of its own (import, seed): checked, and migrated if that is allowed.
/// Blocks.
pub fn open_connection(config: &DatabaseConfig) -> Result<AnyConnection, DbError> {
    open_url(&DbUrl::parse(&config.url)?, config.migrate)
}

pub(super) fn open_url(url: &DbUrl, migrate: bool) -> Result<AnyConnection, DbError> {
    if let DbUrl::Sqlite(path) = url {
        refuse_foreign_file(path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| DbError::Folder(folder.to_owned(), error))?;
        }
    }
    let mut conn = connect(url)?;
    if migrate {
        run(&mut conn)?;
    } else {
        let pending = pending(&mut conn)?;
        if pending > 0 {
            return Err(DbError::PendingMigrations(pending));
        }
    }
    Ok(conn)
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Refuses a file that has tables but not our table of migrations. The file is opened read-only: even asking for
/// WAL would change it.
fn refuse_foreign_file(path: &Path) -> Result<(), DbError> {
    let empty = std::fs::metadata(path).map_or(true, |meta| meta.len() == 0);
    if empty {
        return Ok(());
    }
    let mut conn = SqliteConnection::establish(&sqlite_uri(path, "ro"))?;
    conn.batch_execute("PRAGMA busy_timeout = 5000")?;
    let mut count = |filter: &str| -> Result<i64, DbError> {
        let query = format!("SELECT count(*) AS n FROM sqlite_master WHERE {filter}");
        Ok(diesel::sql_query(query).get_result::<Count>(&mut conn)?.n)
    };
    let tables = count("type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")?;
    let ours = count("type = 'table' AND name = '__diesel_schema_migrations'")?;
    if tables > 0 && ours == 0 {
        return Err(DbError::ForeignFile(path.to_owned()));
    }
    Ok(())
}

fn pending(conn: &mut AnyConnection) -> Result<usize, DbError> {
    match conn {
        AnyConnection::Sqlite(c) => c.pending_migrations(SQLITE).map(|list| list.len()),
        AnyConnection::Postgres(c) => c.pending_migrations(POSTGRES).map(|list| list.len()),
    }
    .map_err(DbError::Migration)
}

fn run(conn: &mut AnyConnection) -> Result<(), DbError> {
    // One transaction: on SQLite it is the lock, on PostgreSQL the lock lasts as long as it does.
    write_transaction(conn, |conn| {
        match conn {
            AnyConnection::Sqlite(c) => c.run_pending_migrations(SQLITE).map(|_| ()),
            AnyConnection::Postgres(c) => {
                diesel::sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(LOCK).execute(c)?;
                c.run_pending_migrations(POSTGRES).map(|_| ())
            }
        }
        .map_err(DbError::Migration)
    })
}

/// Runs the migrations of a folder as the start of another version would, under the same lock: for drills. Blocks.
pub fn migrate_from(config: &DatabaseConfig, folder: &Path) -> Result<(), DbError> {
    let source = FileBasedMigrations::from_path(folder).map_err(|error| DbError::Migration(error.into()))?;
    let mut conn = connect(&DbUrl::parse(&config.url)?)?;
    write_transaction(&mut conn, |conn| {
        match conn {
            AnyConnection::Sqlite(c) => c.run_pending_migrations(source).map(|_| ()),
            AnyConnection::Postgres(c) => {
                diesel::sql_query("SELECT pg_advisory_xact_lock($1)").bind::<BigInt, _>(LOCK).execute(c)?;
                c.run_pending_migrations(source).map(|_| ())
            }
        }
        .map_err(DbError::Migration)
    })
}

/// Takes migrations back, up to and with the one of a version.
#[cfg(test)]
pub(super) fn take_back(conn: &mut AnyConnection, version: &str) {
    loop {
        let last = match conn {
            AnyConnection::Sqlite(c) => c.revert_last_migration(SQLITE),
            AnyConnection::Postgres(c) => c.revert_last_migration(POSTGRES),
        };
        if last.unwrap().to_string() == version {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
