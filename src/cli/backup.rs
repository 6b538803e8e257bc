//! `frontdesk backup`: a copy of the SQLite database and of what belongs to it, while the server runs.

use super::environment::Inputs;
use crate::config::secret_file;
use crate::db::copy_sqlite;
use anyhow::{Context as _, bail};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Copies the database to `to`, and what lies beside it to the same name with the same ending.
pub fn run(to: &Path, inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let config = super::data::config(inputs)?;
    let Some(file) = config.database.sqlite_path().map(PathBuf::from) else {
        bail!("DATABASE_URL is PostgreSQL, which has commands of its own: pg_dump and pg_restore");
    };
    if !file.exists() {
        bail!("there is no {}", file.display());
    }
    let mut made = Vec::new();
    let copied = copy_all(&file, &config.database.spool_path(), to, &mut made);
    if copied.is_err() {
        // Half a back-up looks like a whole one.
        for path in &made {
            let _ = fs::remove_file(path);
        }
    }
    copied?;
    for path in made {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn copy_all(file: &Path, spool: &Path, to: &Path, made: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    // What waits for the database first: a message that gets there meanwhile is then in both, and written once.
    if let Some(waiting) = content(spool)?.filter(|waiting| !waiting.is_empty()) {
        write(&beside(to, ".messages"), &waiting, made)?;
    }
    if let Some(secret) = content(&secret_file::path_beside(file))? {
        write(&beside(to, ".secret"), &secret, made)?;
    }
    // Empty, ours alone, and never over another file.
    write(to, b"", made)?;
    copy_sqlite(file, to).with_context(|| format!("{} cannot be copied", file.display()))?;
    File::open(to)
        .and_then(|copy| copy.sync_all())
        .with_context(|| format!("{} is not on the disk", to.display()))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

fn content(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

fn write(path: &Path, content: &[u8], made: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be made", path.display()))?;
    made.push(path.to_owned());
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{} cannot be written", path.display()))
}
