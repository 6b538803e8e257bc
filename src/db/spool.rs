//! Messages the database could not take: kept in a file until they stand in it.
//!
//! A line is one message in JSON, with a key of its own. The file only grows, and is emptied when every line of it is
//! settled: a process may be killed at any moment, and what it had written already is written again under the same key,
//! which changes nothing. What can never be written, or not be read, is put into a second file for a person to look at.
//! Several processes may share the files; they take turns by the system's lock on them.

use super::DbHandle;
use super::error::DbError;
use super::write::Write as DbWrite;
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// First and longest pause between attempts to bring the messages into the database.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A message for a call-back, as it was taken.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenMessage {
    /// Tells it from all others: however often it is written, it is one message.
    key: String,
    sid: CallSid,
    at: UnixMillis,
    name: Option<String>,
    phone: Option<String>,
    text: String,
}

impl TakenMessage {
    /// A message left in a call, by whom, with where to ring back.
    pub fn new(
        sid: CallSid,
        at: UnixMillis,
        name: Option<String>,
        phone: Option<String>,
        text: String,
    ) -> Self {
        Self { key: format!("{:032x}", rand::random::<u128>()), sid, at, name, phone, text }
    }

    pub(super) fn write(&self) -> DbWrite {
        let Self { key, sid, at, name, phone, text } = self.clone();
        DbWrite::Message { key: Some(key), sid, at, name, phone, text }
    }
}

/// Prints the call only: the rest is what somebody said.
impl std::fmt::Debug for TakenMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TakenMessage").field(&self.sid).finish()
    }
}

/// Where a message is that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the database.
    Written,
    /// On the disk, on its way into the database.
    Spooled,
}

/// The file.
pub(super) struct Spool {
    path: PathBuf,
    /// Longest it may become, bytes.
    limit: u64,
    /// Something was added.
    added: Notify,
}

/// What the file holds.
#[derive(Default)]
struct Contents {
    messages: Vec<TakenMessage>,
    /// Lines that are no messages: a process was killed while it wrote, or somebody had a hand in it.
    unreadable: Vec<Vec<u8>>,
    /// Bytes of all of it.
    length: u64,
}

impl Spool {
    pub(super) fn new(path: PathBuf, limit: u64) -> Self {
        Self { path, limit, added: Notify::new() }
    }

    /// Adds a message; when this returns it has reached the disk. Blocks.
    fn append(&self, message: &TakenMessage) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        add(&self.path, &line, self.limit)?;
        self.added.notify_one();
        Ok(())
    }

    /// Adds a message, away from the event loop.
    pub(super) async fn keep(self: &Arc<Self>, message: TakenMessage) -> Result<(), DbError> {
        let spool = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || spool.append(&message)).await;
        kept.map_err(|_| DbError::Panicked)?.map_err(DbError::Spool)
    }

    /// Its length, bytes. Blocks.
    pub(super) fn length(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// Reads all of it. Blocks.
    fn read(&self) -> io::Result<Contents> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
            Err(error) => return Err(error),
        };
        file.lock_shared()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut contents = Contents { length: bytes.len() as u64, ..Contents::default() };
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line) {
                Ok(message) => contents.messages.push(message),
                Err(_) => contents.unreadable.push(line.to_vec()),
            }
        }
        Ok(contents)
    }

    /// Empties the file, unless it has grown beyond what was settled. Blocks.
    fn clear(&self, settled: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.lock()?;
        if file.metadata()?.len() == settled {
            file.set_len(0)?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// Puts lines where nothing is tried with them any more. Blocks.
    fn set_aside(&self, lines: &[Vec<u8>]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut path = self.path.clone().into_os_string();
        path.push(".refused");
        tracing::error!(
            messages = lines.len(),
            path = %path.display(),
            "messages that cannot be written are kept in a file: somebody has to look at them"
        );
        let mut text = lines.join(&b'\n');
        text.push(b'\n');
        add(Path::new(&path), &text, u64::MAX)
    }

    /// Empties the file of what is settled, and keeps what cannot be. Blocks.
    fn settle(&self, contents: &Contents, refused: &HashSet<String>) -> io::Result<()> {
        let mut aside = contents.unreadable.clone();
        for message in contents.messages.iter().filter(|message| refused.contains(&message.key)) {
            aside.push(serde_json::to_vec(message)?);
        }
        self.set_aside(&aside)?;
        self.clear(contents.length)
    }
}

/// Adds whole lines to a file that only its owner can read, and waits for the disk.
fn add(path: &Path, lines: &[u8], limit: u64) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    file.lock()?;
    let length = file.metadata()?.len();
    if length.saturating_add(lines.len() as u64) > limit {
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the file of messages is full"));
    }
    let mut text = Vec::with_capacity(lines.len().saturating_add(1));
    if is_torn(&mut file, length)? {
        text.push(b'\n');
    }
    text.extend_from_slice(lines);
    let added = file.write_all(&text).and_then(|()| file.sync_all());
    if let Err(error) = added {
        // Half a line is no message, and nobody was told that it is one.
        let _ = file.set_len(length);
        return Err(error);
    }
    if length == 0
        && let Some(folder) = folder
    {
        // The name has to last as well.
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Whether the last line has no end: whoever wrote it was killed.
fn is_torn(file: &mut File, length: u64) -> io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length.saturating_sub(1)))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// How an attempt to bring the messages into the database went.
enum Attempt {
    /// There are none.
    Nothing,
    /// All are settled.
    Settled,
    /// The database does not take them now.
    Later,
    /// The database is closed.
    Closed,
}

/// Brings what the file holds into the database, whenever there is something; ends with the database.
pub(super) async fn deliver(spool: Arc<Spool>, db: DbHandle) {
    let mut written = HashSet::new();
    let mut pause = PAUSE;
    loop {
        match attempt(&spool, &db, &mut written).await {
            Ok(Attempt::Nothing) => {
                written.clear();
                pause = PAUSE;
                spool.added.notified().await;
                continue;
            }
            Ok(Attempt::Settled) => {
                pause = PAUSE;
                continue;
            }
            Ok(Attempt::Closed) => return,
            Ok(Attempt::Later) => {}
            Err(error) => tracing::error!(%error, "the file of messages cannot be used"),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// `written` holds the keys that need not be written again, as long as the file holds them.
async fn attempt(spool: &Arc<Spool>, db: &DbHandle, written: &mut HashSet<String>) -> io::Result<Attempt> {
    let from = Arc::clone(spool);
    let contents = blocking(move || from.read()).await?;
    if contents.length == 0 {
        return Ok(Attempt::Nothing);
    }
    let mut refused = HashSet::new();
    let mut left = false;
    for message in &contents.messages {
        if written.contains(&message.key) {
            continue;
        }
        match db.write(message.write()).await {
            Ok(()) => {
                written.insert(message.key.clone());
            }
            Err(DbError::Closed) => return Ok(Attempt::Closed),
            Err(error) if error.concerns_one_write() => {
                refused.insert(message.key.clone());
            }
            Err(error) if error.is_passing() || matches!(error, DbError::Full) => return Ok(Attempt::Later),
            // Whatever is the matter with this one, the others need not wait for it.
            Err(_) => left = true,
        }
    }
    if left {
        return Ok(Attempt::Later);
    }
    tracing::info!(
        messages = contents.messages.len(),
        "messages that were kept on the disk are in the database"
    );
    let into = Arc::clone(spool);
    blocking(move || into.settle(&contents, &refused)).await?;
    Ok(Attempt::Settled)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(io::Error::other("the work was given up")))
}

#[cfg(test)]
mod tests;
