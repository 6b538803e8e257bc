//! Connections: one type over both databases, made by the address's scheme and by nothing else.

use super::error::{DbError, UrlProblem};
use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::r2d2::R2D2Connection;
use diesel::sqlite::SqliteConnection;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a SQLite connection waits for another's lock, ms.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// A process that was frozen in the middle of a transaction keeps its locks no longer than this, ms: shorter than it takes
/// until others take its calls over, which they could not while it does.
const FROZEN_MS: u32 = 4_000;

/// A connection to either database.
#[derive(diesel::MultiConnection)]
pub enum AnyConnection {
    /// A SQLite file.
    Sqlite(SqliteConnection),
    /// A PostgreSQL server.
    Postgres(PgConnection),
}

/// Runs the same query text on the connection behind the enum, where Diesel cannot go through the enum itself
/// (`returning`, `on_conflict`).
macro_rules! on_either {
    ($conn:expr, $c:ident => $body:expr) => {
        match $conn {
            $crate::db::connect::AnyConnection::Sqlite($c) => $body,
            $crate::db::connect::AnyConnection::Postgres($c) => $body,
        }
    };
}
pub(super) use on_either;

/// A checked database address. It may hold a password, so it does not print.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum DbUrl {
    /// The file's path.
    Sqlite(PathBuf),
    /// The whole URL.
    Postgres(String),
}

impl DbUrl {
    /// Reads an address. Only the two schemes are taken: a `host=… dbname=…` list would else become the name of a
    /// SQLite file.
    pub(super) fn parse(text: &str) -> Result<Self, UrlProblem> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            return match path {
                "" => Err(UrlProblem::NoPath),
                _ if path.contains(":memory:") || path.contains("mode=memory") => Err(UrlProblem::InMemory),
                _ => Ok(Self::Sqlite(PathBuf::from(path))),
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            url::Url::parse(text).map_err(|_| UrlProblem::Malformed)?;
            return Ok(Self::Postgres(with_timeouts(text)));
        }
        Err(UrlProblem::Scheme)
    }
}

/// Adds libpq's time limits unless the address sets its own: else a server that vanished holds a thread for minutes.
fn with_timeouts(url: &str) -> String {
    let mut url = url.to_owned();
    for (name, value) in [("connect_timeout", "5"), ("tcp_user_timeout", "15000")] {
        if !url.contains(&format!("{name}=")) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={value}"));
        }
    }
    url
}

/// A SQLite URI of a path. `mode` is `rwc` to create, `ro` never to write.
pub(super) fn sqlite_uri(path: &Path, mode: &str) -> String {
    let mut uri = String::from("file:");
    let text = path.to_string_lossy();
    // Two slashes at the start would name a host.
    let text =
        if text.starts_with("//") { format!("/{}", text.trim_start_matches('/')) } else { text.into() };
    for c in text.chars() {
        match c {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            c => uri.push(c),
        }
    }
    uri.push_str("?mode=");
    uri.push_str(mode);
    uri
}

/// Opens a connection and sets it up. The folder of a SQLite file must exist.
pub(super) fn connect(url: &DbUrl) -> Result<AnyConnection, DbError> {
    match url {
        DbUrl::Sqlite(path) => {
            let mut conn = SqliteConnection::establish(&sqlite_uri(path, "rwc"))?;
            conn.batch_execute(&format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}"))?;
            switch_to_wal(&mut conn)?;
            // What is deleted is overwritten: what was erased must not lie in the file.
            conn.batch_execute(
                "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON",
            )?;
            Ok(AnyConnection::Sqlite(conn))
        }
        DbUrl::Postgres(url) => {
            let mut conn = PgConnection::establish(url)?;
            conn.batch_execute(&format!(
                "SET application_name = 'frontdesk'; SET client_min_messages = warning; \
                 SET idle_in_transaction_session_timeout = {FROZEN_MS}"
            ))?;
            Ok(AnyConnection::Postgres(conn))
        }
    }
}

/// Switches a new file to WAL, which it then stays in. Of several that try at once SQLite lets one through and turns
/// the others away without minding their waiting time.
fn switch_to_wal(conn: &mut SqliteConnection) -> Result<(), DbError> {
    let end = Instant::now() + Duration::from_millis(u64::from(BUSY_TIMEOUT_MS));
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL").map_err(DbError::from) {
            Err(error) if error.is_passing() && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// Makes connections for a pool.
pub(super) struct Manager(pub(super) DbUrl);

/// A pool over either database.
pub(super) type Pool = r2d2::Pool<Manager>;

impl r2d2::ManageConnection for Manager {
    type Connection = AnyConnection;
    type Error = DbError;

    fn connect(&self) -> Result<AnyConnection, DbError> {
        connect(&self.0)
    }

    fn is_valid(&self, conn: &mut AnyConnection) -> Result<(), DbError> {
        Ok(conn.ping()?)
    }

    fn has_broken(&self, conn: &mut AnyConnection) -> bool {
        // A panic may have left a transaction open.
        std::thread::panicking() || conn.is_broken()
    }
}

/// Logs what the pool cannot tell anybody.
#[derive(Debug)]
struct LogFailures;

impl r2d2::HandleError<DbError> for LogFailures {
    fn handle_error(&self, error: DbError) {
        tracing::warn!(error.code = error.code(), error = %error, "database connection failed");
    }
}

/// A pool of at most `size` connections, made when they are wanted.
pub(super) fn pool(url: &DbUrl, size: u32, wait: Duration) -> Pool {
    r2d2::Pool::builder()
        .max_size(size.max(1))
        .min_idle(Some(0))
        .connection_timeout(wait.max(Duration::from_millis(1)))
        .error_handler(Box::new(LogFailures))
        .build_unchecked(Manager(url.clone()))
}

/// Runs `f` in a transaction that holds the right to write from its start: SQLite refuses a reader that becomes a
/// writer when another wrote in between.
pub(super) fn write_transaction<T>(
    conn: &mut AnyConnection,
    f: impl FnOnce(&mut AnyConnection) -> Result<T, DbError>,
) -> Result<T, DbError> {
    match conn {
        AnyConnection::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?,
        AnyConnection::Postgres(c) => AnsiTransactionManager::begin_transaction(c)?,
    }
    match f(conn) {
        Ok(value) => {
            on_either!(conn, c => AnsiTransactionManager::commit_transaction(c))?;
            Ok(value)
        }
        Err(error) => {
            // The first error is the one to tell; a transaction that cannot be rolled back marks its connection broken.
            let _ = on_either!(conn, c => AnsiTransactionManager::rollback_transaction(c));
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_by_its_scheme_only() {
        let sqlite = |path: &str| Ok(DbUrl::Sqlite(PathBuf::from(path)));
        assert!(DbUrl::parse("sqlite://data/frontdesk.db") == sqlite("data/frontdesk.db"));
        assert!(DbUrl::parse("sqlite:///var/lib/f.db") == sqlite("/var/lib/f.db"));
        for (text, problem) in [
            ("sqlite://", UrlProblem::NoPath),
            ("sqlite://:memory:", UrlProblem::InMemory),
            ("sqlite://x?mode=memory", UrlProblem::InMemory),
            ("host=127.0.0.1 port=1 dbname=db", UrlProblem::Scheme),
            ("data/frontdesk.db", UrlProblem::Scheme),
            ("mysql://x", UrlProblem::Scheme),
            ("", UrlProblem::Scheme),
            ("postgres://[", UrlProblem::Malformed),
        ] {
            assert!(DbUrl::parse(text) == Err(problem), "{text}");
        }
    }

    #[test]
    fn a_postgres_address_gets_time_limits_unless_it_has_its_own() {
        let Ok(DbUrl::Postgres(plain)) = DbUrl::parse("postgres://u@h/db") else { panic!() };
        assert_eq!(plain, "postgres://u@h/db?connect_timeout=5&tcp_user_timeout=15000");
        let Ok(DbUrl::Postgres(own)) = DbUrl::parse("postgres:///db?host=/run&connect_timeout=1") else {
            panic!()
        };
        assert_eq!(own, "postgres:///db?host=/run&connect_timeout=1&tcp_user_timeout=15000");
    }

    #[test]
    fn a_path_with_signs_of_a_uri_stays_a_path() {
        assert_eq!(sqlite_uri(Path::new("a b?#%.db"), "ro"), "file:a b%3f%23%25.db?mode=ro");
        assert_eq!(sqlite_uri(Path::new("//x/y.db"), "rwc"), "file:/x/y.db?mode=rwc");
    }
}
