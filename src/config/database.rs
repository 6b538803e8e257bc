//! The database.

use serde::Deserialize;

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://PATH` or `postgres://…` (`DATABASE_URL`; `DATABASE_PATH` names a SQLite file).
    pub url: String,
    /// Connections for reading.
    pub pool: u32,
    /// How long a reader waits for a connection, ms.
    pub wait_ms: u64,
    /// Writes that may wait; more are refused.
    pub queue: usize,
    /// Writes joined into one transaction at most.
    pub batch: usize,
    /// Whether `serve` migrates at start (`MIGRATE`, `on` or `off`).
    pub migrate: bool,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "sqlite://data/frontdesk.db".into(),
            pool: 4,
            wait_ms: 2_000,
            queue: 10_000,
            batch: 256,
            migrate: true,
        }
    }
}
