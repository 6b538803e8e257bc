//! The secret that keys for tokens and cookies are derived from, when nobody has set one.
//!
//! It is made once and kept beside the SQLite file, so that tokens and sessions outlive a restart. Replicas share a
//! PostgreSQL database and no folder: there it must be set (`FRONTDESK_SECRET`).

use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::SecretString;
use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Random bytes in a secret.
const BYTES: usize = 32;

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 4_096;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file or its folder cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there, but holds no secret of the right length.
    #[error("{}: holds no secret of at least 32 characters; remove it to have a new one made", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no randomness.
    #[error("no randomness from the system")]
    Random,
}

/// Where the secret of a SQLite file lies: `data/frontdesk.db.secret` for `data/frontdesk.db`.
pub fn path_beside(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".secret");
    PathBuf::from(name)
}

/// Reads the secret beside the SQLite file, or makes it, readable by its owner only. Blocks: for start-up only.
/// Processes that start at once get the same secret.
pub fn load_or_create(database: &Path) -> Result<SecretString, SecretFileError> {
    let path = path_beside(database);
    let io = |source| SecretFileError::Io { path: path.clone(), source };
    if let Some(secret) = read(&path)? {
        return Ok(secret);
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(io)?;
    }
    let secret = random(BYTES)?;
    // Whole before it has its name: nobody reads half a secret, and the first to link wins.
    let mut draft = OsString::from(&path);
    draft.push(format!(".{}", random(8)?));
    let draft = PathBuf::from(draft);
    let written = write(&draft, &secret).and_then(|()| link(&draft, &path));
    let removed = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {
            removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        }
    }
    .map_err(io)?;
    read(&path)?.ok_or(SecretFileError::TooShort { path: path.clone() })
}

/// The secret in a file; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<SecretString>, SecretFileError> {
    let io = |source| SecretFileError::Io { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(io)?;
    }
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    let secret = text.trim();
    if secret.chars().count() < BYTES {
        return Err(SecretFileError::TooShort { path: path.to_owned() });
    }
    Ok(Some(SecretString::from(secret)))
}

fn write(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

/// Gives the file its name, unless something has that name already.
fn link(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
            // A file system without links: two processes starting at once might disagree here.
            fs::rename(draft, path)
        }
        result => result,
    }
}

/// That many random bytes, in hexadecimal.
fn random(bytes: usize) -> Result<String, SecretFileError> {
    let mut buffer = vec![0; bytes];
    OsRng.try_fill_bytes(&mut buffer).map_err(|_| SecretFileError::Random)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::sync::{Arc, Barrier};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("frontdesk-{name}-{}", random(8).unwrap()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_secret_is_made_once_and_is_its_owners_only() {
        let folder = folder("secret");
        let database = folder.join("data/frontdesk.db");
        let first = load_or_create(&database).unwrap();
        assert_eq!(first.expose_secret().len(), 2 * BYTES);
        assert_eq!(load_or_create(&database).unwrap().expose_secret(), first.expose_secret());
        let path = folder.join("data/frontdesk.db.secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.join("data")).unwrap().count(), 1);
        assert!(!format!("{first:?}").contains(first.expose_secret()));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_others_can_read_is_closed_to_them() {
        let folder = folder("open");
        let path = folder.join("f.db.secret");
        fs::write(&path, "x".repeat(40)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load_or_create(&folder.join("f.db")).unwrap().expose_secret(), "x".repeat(40));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_empty_file_is_an_error_that_names_it_and_is_not_replaced() {
        let folder = folder("empty");
        let path = folder.join("f.db.secret");
        fs::write(&path, "\n").unwrap();
        let error = load_or_create(&folder.join("f.db")).unwrap_err();
        assert!(error.to_string().contains("f.db.secret"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn processes_that_start_at_once_get_the_same_secret() {
        let folder = folder("race");
        let database = Arc::new(folder.join("f.db"));
        let gate = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (database, gate) = (Arc::clone(&database), Arc::clone(&gate));
                std::thread::spawn(move || {
                    gate.wait();
                    load_or_create(&database).unwrap().expose_secret().to_owned()
                })
            })
            .collect();
        let secrets: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
