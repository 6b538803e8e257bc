//! Complete recordings: read in pieces, uploaded, deleted, wherever they lie.

use super::layout;
use super::peaks::{Peaker, Peaks};
use crate::config::recording::RecordingConfig;
use crate::domain::recording::{Recording, RecordingState};
use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Read at once, bytes.
pub const PIECE: usize = 256 * 1024;
/// What stands behind a file's name for its waveform.
const PEAKS: &str = ".peaks.json";
/// The file that names the folder.
const PLACE: &str = ".place";

/// What can go wrong with recordings.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such recording, or no more.
    #[error("the recording is not there")]
    NotThere,
    /// It lies in an object store, and none is configured.
    #[error("the recording lies in an object store, and RECORDINGS_URL names none")]
    NoRemote,
    /// The disk says no.
    #[error("recordings: {0}")]
    Io(#[from] io::Error),
    /// The object store says no.
    #[error("the object store: {0}")]
    Remote(#[from] object_store::Error),
    /// The object store took less than it was given, or something else.
    #[error("the object store has {there} bytes of {here}")]
    Incomplete {
        /// Bytes here.
        here: u64,
        /// Bytes there.
        there: u64,
    },
    /// The work was stopped.
    #[error("the work was stopped")]
    Stopped,
}

impl StoreError {
    /// Stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotThere => "recordings.not_there",
            Self::NoRemote => "recordings.no_store",
            Self::Io(_) => "recordings.disk",
            Self::Remote(_) => "recordings.store",
            Self::Incomplete { .. } => "recordings.incomplete",
            Self::Stopped => "recordings.stopped",
        }
    }
}

/// An object store, and the prefix of our keys in it.
#[derive(Clone, Debug)]
struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    /// One upload at a time: each is held in memory, whole.
    uploads: Arc<Semaphore>,
}

impl Remote {
    fn key(&self, location: &str) -> Key {
        Key::from(format!("{}/{location}", self.prefix))
    }
}

/// The recordings of a business.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    remote: Option<Remote>,
}

/// An open recording.
#[derive(Clone, Debug)]
pub struct Source {
    length: u64,
    from: From,
}

#[derive(Clone, Debug)]
enum From {
    File(Arc<File>),
    Remote(Remote, String),
}

impl Store {
    /// The recordings as configured. Touches nothing yet.
    pub fn new(config: &RecordingConfig) -> Result<Self, StoreError> {
        let remote = match config.bucket() {
            Some((bucket, prefix)) => {
                let prefix = prefix.trim_matches('/').to_owned();
                let uploads = Arc::new(Semaphore::new(1));
                Some(Remote { store: connect(config, bucket)?, prefix, uploads })
            }
            None => None,
        };
        Ok(Self { folder: PathBuf::from(config.folder()), remote })
    }

    /// The same over any object store.
    #[cfg(test)]
    pub(crate) fn over(folder: &Path, store: Arc<dyn ObjectStore>) -> Self {
        let uploads = Arc::new(Semaphore::new(1));
        Self { folder: folder.to_owned(), remote: Some(Remote { store, prefix: "calls".into(), uploads }) }
    }

    /// Whether recordings go to an object store.
    pub fn uploads(&self) -> bool {
        self.remote.is_some()
    }

    fn file(&self, location: &str) -> Result<PathBuf, StoreError> {
        layout::file(&self.folder, location).ok_or(StoreError::NotThere)
    }

    /// Opens a complete recording.
    pub async fn open(&self, recording: &Recording) -> Result<Source, StoreError> {
        match recording.state {
            RecordingState::Stored => {
                let path = self.file(&recording.location)?;
                let (file, length) = blocking(move || {
                    let file = File::open(path)?;
                    let length = file.metadata()?.len();
                    Ok((file, length))
                })
                .await?;
                Ok(Source { length, from: From::File(Arc::new(file)) })
            }
            RecordingState::Uploaded => {
                let remote = self.remote.clone().ok_or(StoreError::NoRemote)?;
                let about = remote.store.head(&remote.key(&recording.location)).await.map_err(not_there)?;
                Ok(Source { length: about.size, from: From::Remote(remote, recording.location.clone()) })
            }
            RecordingState::Recording | RecordingState::Failed | RecordingState::Erased => {
                Err(StoreError::NotThere)
            }
        }
    }

    /// Names the disk on which recordings wait for their upload: a file in the folder, made where there is none. Blocks.
    pub fn place(&self) -> io::Result<String> {
        std::fs::create_dir_all(&self.folder)?;
        let file = self.folder.join(PLACE);
        let new = self.folder.join(format!("{PLACE}.{:032x}", rand::random::<u128>()));
        if !file.exists() {
            // Written before it has its name: another process reads it whole.
            std::fs::write(&new, format!("{:032x}", rand::random::<u128>()))?;
            let linked = std::fs::hard_link(&new, &file);
            remove(&new)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(std::fs::read_to_string(file)?.trim().to_owned())
    }

    /// Whether the file of a recording lies here.
    pub async fn is_here(&self, location: &str) -> bool {
        let Ok(path) = self.file(location) else { return false };
        blocking(move || Ok(path.exists())).await.unwrap_or(false)
    }

    /// Puts a complete recording into the object store, in one piece: there is all of it or nothing. The file here stays,
    /// until [`Store::forget_local`].
    pub async fn upload(&self, location: &str) -> Result<(), StoreError> {
        let remote = self.remote.clone().ok_or(StoreError::NoRemote)?;
        let _alone = remote.uploads.acquire().await.map_err(|_| StoreError::Stopped)?;
        let path = self.file(location)?;
        let bytes = blocking(move || std::fs::read(path)).await?;
        let (key, here) = (remote.key(location), bytes.len() as u64);
        remote.store.put(&key, Bytes::from(bytes).into()).await?;
        // What is deleted here must be there.
        let there = remote.store.head(&key).await?.size;
        if there == here { Ok(()) } else { Err(StoreError::Incomplete { here, there }) }
    }

    /// Deletes the file here of a recording that was uploaded.
    pub async fn forget_local(&self, location: &str) -> Result<(), StoreError> {
        let path = self.file(location)?;
        blocking(move || remove(&path)).await
    }

    /// Deletes a recording wherever it lies, with what was made of it. That it is gone already is no mistake.
    pub async fn delete(&self, location: &str) -> Result<(), StoreError> {
        let path = self.file(location)?;
        blocking(move || {
            remove(&path)?;
            remove(&layout::part(&path))?;
            remove(&peaks_file(&path))
        })
        .await?;
        if let Some(remote) = &self.remote {
            match remote.store.delete(&remote.key(location)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The waveform of a recording, as JSON; made once and kept beside it.
    pub async fn peaks(&self, recording: &Recording) -> Result<Bytes, StoreError> {
        let source = self.open(recording).await?;
        let kept = peaks_file(&self.file(&recording.location)?);
        let length = source.length;
        let path = kept.clone();
        let known = blocking(move || Ok(std::fs::read(path).ok())).await?;
        if let Some(known) = known.filter(|json| Peaks::is_of(json, length)) {
            return Ok(known.into());
        }
        let mut peaker = Peaker::new(length, recording.offset_ms);
        let mut at = 0;
        while at < length {
            let piece = source.read(at, PIECE).await?;
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
            peaker = blocking(move || {
                peaker.push(&piece);
                Ok(peaker)
            })
            .await?;
        }
        blocking(move || {
            let json = serde_json::to_vec(&peaker.finish()).map_err(io::Error::other)?;
            // Only kept to be quicker next time.
            if let Some(folder) = kept.parent()
                && std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&kept, &json)).is_err()
            {
                tracing::debug!("a waveform is not kept");
            }
            Ok(Bytes::from(json))
        })
        .await
    }
}

impl Source {
    /// Its length, bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads at most `count` bytes from `at` on; empty at its end.
    pub async fn read(&self, at: u64, count: usize) -> Result<Bytes, StoreError> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let count = count.min(left).min(PIECE);
        if count == 0 {
            return Ok(Bytes::new());
        }
        match &self.from {
            From::File(file) => {
                let file = Arc::clone(file);
                blocking(move || {
                    let mut piece = vec![0; count];
                    file.read_exact_at(&mut piece, at)?;
                    Ok(piece.into())
                })
                .await
            }
            From::Remote(remote, location) => {
                let range = at..at.saturating_add(count as u64);
                Ok(remote.store.get_range(&remote.key(location), range).await.map_err(not_there)?)
            }
        }
    }
}

fn peaks_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PEAKS);
    PathBuf::from(name)
}

fn not_there(error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::NotThere,
        error => StoreError::Remote(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Work with files, off the event loop.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NotThere),
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::Stopped),
    }
}

#[cfg(feature = "s3")]
fn connect(config: &RecordingConfig, bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    use object_store::{BackoffConfig, ClientOptions, RetryConfig};
    use secrecy::ExposeSecret as _;
    use std::time::Duration;
    // Somebody waits for what is read, and what is uploaded is a job, which is patient by itself.
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(10) };
    let limits = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(config.s3_timeout_s));
    let mut builder = object_store::aws::AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(&config.s3_region)
        .with_retry(retry)
        .with_client_options(limits)
        // One object at a time, which every store understands.
        .with_disable_bulk_delete(true);
    if let Some(address) = &config.s3_base_url {
        builder = builder.with_endpoint(address).with_allow_http(address.starts_with("http://"));
    }
    if let Some(id) = &config.s3_access_key_id {
        builder = builder.with_access_key_id(id.expose_secret());
    }
    if let Some(key) = &config.s3_secret_access_key {
        builder = builder.with_secret_access_key(key.expose_secret());
    }
    Ok(Arc::new(builder.build()?))
}

#[cfg(not(feature = "s3"))]
fn connect(_: &RecordingConfig, _: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    // The configuration is refused before it comes to this.
    Err(StoreError::NoRemote)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav::stereo::{About, HEADER_BYTES};
    use crate::domain::ids::CallSid;
    use crate::storage::part::Part;
    use object_store::memory::InMemory;

    const PLACE: &str = "2026/11/22/CA1.wav";

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn stored() -> (Folder, Recording) {
        let folder = std::env::temp_dir().join(format!("frontdesk-store-{:032x}", rand::random::<u128>()));
        let mut part = Part::open(&folder, PLACE, About { started_ms: 1, offset_ms: 40 }).unwrap();
        // A second of the caller, loud; the bot is silent.
        part.append(&[0x00, 0xFF].repeat(8_000)).unwrap();
        part.fill(16_000).unwrap();
        let recording = part.describe(CallSid::from("CA1"), PLACE, RecordingState::Stored);
        part.complete().unwrap();
        (Folder(folder), recording)
    }

    async fn all(source: &Source) -> usize {
        let mut at = 0;
        while let Some(piece) = Some(source.read(at, 1_000).await.unwrap()).filter(|p| !p.is_empty()) {
            at += piece.len() as u64;
        }
        assert_eq!(at, source.length());
        at as usize
    }

    #[actix::test]
    async fn a_recording_is_read_uploaded_read_again_and_deleted() {
        let (folder, mut recording) = stored();
        let store = Store::over(&folder.0, Arc::new(InMemory::new()));
        assert_eq!(all(&store.open(&recording).await.unwrap()).await, HEADER_BYTES + 32_000);
        let waveform = store.peaks(&recording).await.unwrap();

        store.upload(PLACE).await.unwrap();
        store.forget_local(PLACE).await.unwrap();
        assert!(matches!(store.open(&recording).await, Err(StoreError::NotThere)));
        recording.state = RecordingState::Uploaded;
        assert_eq!(all(&store.open(&recording).await.unwrap()).await, HEADER_BYTES + 32_000);
        assert_eq!(store.peaks(&recording).await.unwrap(), waveform);

        store.delete(PLACE).await.unwrap();
        assert!(matches!(store.open(&recording).await, Err(StoreError::NotThere)));
        assert!(!folder.0.join(format!("{PLACE}{PEAKS}")).exists());
        store.delete(PLACE).await.unwrap();
    }

    #[actix::test]
    async fn a_waveform_shows_who_spoke_when_and_is_kept() {
        let (folder, recording) = stored();
        let config = RecordingConfig { url: folder.0.display().to_string(), ..RecordingConfig::default() };
        let store = Store::new(&config).unwrap();
        let json = store.peaks(&recording).await.unwrap();
        let waveform: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!((&waveform["ms"], &waveform["offset_ms"]), (&2_000.into(), &40.into()));
        let caller = waveform["peaks"]["caller"].as_array().unwrap();
        let half = caller.len() / 2;
        assert!(caller[..half].iter().all(|p| p.as_u64() > Some(90)), "{caller:?}");
        assert!(caller[half..].iter().all(|p| p.as_u64() == Some(0)), "{caller:?}");
        assert!(waveform["peaks"]["bot"].as_array().unwrap().iter().all(|p| p.as_u64() == Some(0)));
        let kept = folder.0.join(format!("{PLACE}{PEAKS}"));
        assert_eq!(std::fs::read(&kept).unwrap(), json);
        // One of a file that has grown since is made anew.
        std::fs::write(&kept, "{\"bytes\":5}").unwrap();
        assert_eq!(store.peaks(&recording).await.unwrap(), json);
    }

    #[actix::test]
    async fn a_folder_keeps_its_name() {
        let (folder, _) = stored();
        let store = Store::over(&folder.0, Arc::new(InMemory::new()));
        let names: Vec<_> = std::thread::scope(|scope| {
            let ask = (0..4).map(|_| scope.spawn(|| store.place().unwrap())).collect::<Vec<_>>();
            ask.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert!(names.iter().all(|name| *name == names[0] && name.len() == 32), "{names:?}");
        assert_eq!(store.place().unwrap(), names[0]);
        let files = std::fs::read_dir(&folder.0).unwrap().flatten().filter(|f| f.path().is_file()).count();
        assert_eq!(files, 1, "nothing else is left");
    }

    #[actix::test]
    async fn no_location_leads_out_of_the_folder() {
        let (folder, recording) = stored();
        let store = Store::over(&folder.0, Arc::new(InMemory::new()));
        let out = Recording { location: "../x.wav".into(), ..recording };
        assert!(matches!(store.open(&out).await, Err(StoreError::NotThere)));
        assert!(matches!(store.delete("/etc/passwd").await, Err(StoreError::NotThere)));
    }
}
