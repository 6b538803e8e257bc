//! The database.

use super::setting::settings;
use super::validate::{database_url, within};
use std::path::PathBuf;

settings! {
    /// The database.
    pub struct DatabaseConfig {
        /// `sqlite://PATH` or `postgres://…`; `DATABASE_PATH` names a SQLite file when this is not set.
        url: String = "sqlite://data/frontdesk.db".into(), env "DATABASE_URL", check database_url;
        /// Connections for reading.
        pool: u32 = 4, check within(1, 1_000);
        /// How long a reader waits for a connection, ms.
        wait_ms: u64 = 2_000, check within(1, 60_000);
        /// Writes that may wait; more are refused.
        queue: usize = 10_000, check within(1, 1_000_000);
        /// Writes joined into one transaction at most.
        batch: usize = 256, check within(1, 10_000);
        /// How long writes that nobody waits for are gathered before they are written together, ms.
        gather_ms: u64 = 25, check within(0, 1_000);
        /// File in which messages for a call-back wait while the database is away; beside a SQLite file, or in `data`,
        /// if not set.
        spool: Option<String> = None;
        /// Longest that file may become, kB; what does not fit is refused.
        spool_kb: u64 = 4_096, check within(16, 1_048_576);
        /// Whether `serve` migrates at start.
        migrate: bool = true, env "MIGRATE";
    }
}

impl DatabaseConfig {
    /// Where messages wait while the database is away.
    pub fn spool_path(&self) -> PathBuf {
        match (&self.spool, self.sqlite_path()) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(file)) => PathBuf::from(format!("{file}.messages")),
            (None, None) => PathBuf::from("data/frontdesk.messages"),
        }
    }

    /// The path of the SQLite file, if that is the database.
    pub fn sqlite_path(&self) -> Option<&str> {
        self.url.strip_prefix("sqlite://")
    }
}
