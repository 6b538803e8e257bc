//! What can go wrong with the database.

use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use diesel::result::{DatabaseErrorKind, Error as QueryError};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a database address was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// Neither `sqlite://` nor `postgres://`.
    #[error("it must begin with sqlite:// or postgres:// (a list of key=value pairs is not taken)")]
    Scheme,
    /// `sqlite://` without a file.
    #[error("it names no file: write sqlite://PATH")]
    NoPath,
    /// A database in memory, of which every connection would get its own.
    #[error("a database in memory cannot be shared by several connections: name a file")]
    InMemory,
    /// Not a URL.
    #[error("it is not a valid URL")]
    Malformed,
}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The address cannot be used.
    #[error("the database URL cannot be used: {0}")]
    Url(#[from] UrlProblem),
    /// The folder of the SQLite file cannot be made.
    #[error("the folder {0} cannot be made")]
    Folder(PathBuf, #[source] std::io::Error),
    /// The first connection failed.
    #[error("the database cannot be opened: {0}")]
    Connect(#[from] diesel::ConnectionError),
    /// The file belongs to another program; it was not touched.
    #[error(
        "{0} is a database of another program and is left as it is; \
             `frontdesk import` copies a prototype's data into a database of its own"
    )]
    ForeignFile(PathBuf),
    /// There are migrations to run, and running them was not allowed.
    #[error("{0} migrations have not been run, and MIGRATE is off")]
    PendingMigrations(usize),
    /// A migration failed.
    #[error("a migration failed: {0}")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The writer needs an actix system and there is none on this thread.
    #[error("the database must be opened inside an actix system")]
    NoSystem,
    /// The writer's thread could not be started.
    #[error("the database writer cannot be started: {0}")]
    Thread(#[source] std::io::Error),
    /// No connection came free in time, or none can be made.
    #[error("no database connection: {0}")]
    Unavailable(#[source] Arc<r2d2::Error>),
    /// It can be read, but takes nothing: its disk is full, or it was made read-only.
    #[error("the database cannot be written to: {0}")]
    NotWritable(Arc<str>),
    /// Every reader's place was taken for longer than a reader waits.
    #[error("too many readers wait for the database")]
    Overloaded,
    /// The queue of writes is full.
    #[error("too many writes wait for the database")]
    Full,
    /// The database was closed by its owner.
    #[error("the database is closed")]
    Closed,
    /// Nor could a message be kept on the disk.
    #[error("a message cannot be kept on the disk: {0}")]
    Spool(#[source] std::io::Error),
    /// The work panicked; nothing of it was kept.
    #[error("the database work panicked")]
    Panicked,
    /// A query failed.
    #[error("a query failed: {0}")]
    Query(#[from] QueryError),
    /// JSON could not be written or read back.
    #[error("stored JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Somebody newer owns the call.
    #[error("the call belongs to epoch {current}; a write by epoch {given} is refused")]
    StaleEpoch {
        /// The owner's epoch.
        current: Epoch,
        /// The writer's.
        given: Epoch,
    },
    /// Another replica has the call.
    #[error("the call belongs to replica {owner} since epoch {epoch}")]
    NotOurs {
        /// Whose it is.
        owner: ReplicaId,
        /// The owner's epoch.
        epoch: Epoch,
    },
    /// The call was never admitted here.
    #[error("call {0} is unknown")]
    UnknownCall(CallSid),
    /// A stored word is not one of ours.
    #[error("column {column} holds a word that is not known")]
    Word {
        /// Table and column.
        column: &'static str,
    },
    /// A request that no calendar can hold.
    #[error("the appointment needs a person, at least one minute and at most a day")]
    BadAppointment,
}

impl DbError {
    /// Stable code, the same in logs, metrics and audit rows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Url(_) => "db.url",
            Self::Folder(..) => "db.folder",
            Self::Connect(_) => "db.connect",
            Self::ForeignFile(_) => "db.foreign_file",
            Self::PendingMigrations(_) => "db.pending_migrations",
            Self::Migration(_) => "db.migration",
            Self::NoSystem | Self::Thread(_) => "db.start",
            Self::Unavailable(_) => "db.unavailable",
            Self::NotWritable(_) => "db.not_writable",
            Self::Overloaded => "db.overloaded",
            Self::Full => "db.queue_full",
            Self::Closed => "db.closed",
            Self::Spool(_) => "db.spool",
            Self::Panicked => "db.panicked",
            Self::Query(_) => "db.query",
            Self::Json(_) => "db.json",
            Self::StaleEpoch { .. } => "db.stale_epoch",
            Self::NotOurs { .. } => "db.not_ours",
            Self::UnknownCall(_) => "db.unknown_call",
            Self::Word { .. } => "db.word",
            Self::BadAppointment => "db.bad_appointment",
        }
    }

    /// Up to which epoch whatever we hold of the call is stale, if somebody newer has it. Nothing that was refused so will
    /// ever be taken.
    pub const fn fenced(&self) -> Option<Epoch> {
        match self {
            Self::StaleEpoch { given, .. } => Some(*given),
            Self::NotOurs { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }

    /// Whether it points to something that was removed in between, or would remove what something points to.
    pub fn is_dangling(&self) -> bool {
        matches!(self, Self::Query(QueryError::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, _)))
    }

    /// Whether a write was not taken because the database is away or has no room, and may be offered again: what somebody waits
    /// for and is refused so is not counted as lost.
    pub fn may_be_offered_again(&self) -> bool {
        matches!(self, Self::Full | Self::NotWritable(_)) || self.is_passing()
    }

    /// Whether the same work may succeed in a moment: a lock, a deadlock, a connection that broke.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Query(QueryError::BrokenTransactionManager) => true,
            Self::Query(QueryError::DatabaseError(kind, info)) => match kind {
                DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::SerializationFailure => true,
                // Diesel has no kind for these; the texts are SQLite's and PostgreSQL's own.
                _ => {
                    let text = info.message();
                    text.contains("database is locked")
                        || text.contains("deadlock detected")
                        || text.contains("server closed the connection")
                        || text.contains("terminating connection")
                        || text.contains("no connection to the server")
                }
            },
            _ => false,
        }
    }

    /// What the database says if it takes no write at all, whichever it is, until somebody has made room for it.
    pub(super) fn not_writable(&self) -> Option<Arc<str>> {
        let Self::Query(QueryError::DatabaseError(kind, info)) = self else { return None };
        let text = info.message();
        let signs =
            ["database or disk is full", "No space left on device", "attempt to write a readonly database"];
        let said =
            *kind == DatabaseErrorKind::ReadOnlyTransaction || signs.iter().any(|sign| text.contains(sign));
        said.then(|| Arc::from(text))
    }

    /// Whether the failure is the fault of this one write, so that its savepoint suffices to undo it. After any
    /// other failure (SQLite may have ended the transaction by itself) the batch is not to be gone on with.
    pub(super) fn concerns_one_write(&self) -> bool {
        match self {
            Self::StaleEpoch { .. }
            | Self::NotOurs { .. }
            | Self::UnknownCall(_)
            | Self::Json(_)
            | Self::Word { .. } => true,
            Self::Query(QueryError::NotFound) => true,
            Self::Query(QueryError::DatabaseError(kind, _)) => matches!(
                kind,
                DatabaseErrorKind::UniqueViolation
                    | DatabaseErrorKind::ForeignKeyViolation
                    | DatabaseErrorKind::NotNullViolation
                    | DatabaseErrorKind::CheckViolation
            ),
            _ => false,
        }
    }
}

/// Why a write was not even queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DbRefused {
    /// As many writes wait as may.
    #[error("too many writes wait for the database")]
    Full,
    /// The database was closed by its owner.
    #[error("the database is closed")]
    Closed,
}

impl From<DbRefused> for DbError {
    fn from(refused: DbRefused) -> Self {
        match refused {
            DbRefused::Full => Self::Full,
            DbRefused::Closed => Self::Closed,
        }
    }
}
