//! One recording's file: begun, gone on with, silenced in places, completed; repaired if nobody completed it.

use super::layout;
use crate::audio::mulaw;
use crate::audio::wav::stereo::{
    About, BYTES_PER_MS, HEADER_BYTES, SAMPLE_BYTES, Side, header, read_header, silence,
};
use crate::domain::ids::CallSid;
use crate::domain::recording::{Recording, RecordingState};
use crate::domain::time::UnixMillis;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The header is written anew after so much data (2 s).
const PATCH_EVERY: u64 = 32_000;
/// Silenced in pieces of this size, bytes.
const PIECE: usize = 64 * 1024;
/// No file is brought to more than this by silence alone, bytes (4 h).
const MOST_SILENCE: u64 = 4 * 3_600 * 16_000;

/// A recording that is being written. Locked against other processes as long as it is open.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
    about: About,
    /// Bytes of audio in it.
    data: u64,
    /// Bytes of audio its header knows of.
    patched: u64,
}

/// Why a recording could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("another process writes it")]
    Busy,
    /// The disk says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Part {
    /// Goes on with the recording at a location, or begins it. The folders are made.
    pub fn open(folder: &Path, location: &str, about: About) -> Result<Self, OpenError> {
        let whole = layout::file(folder, location)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no place for a recording"))?;
        let path = layout::part(&whole);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // A call that was taken for ended and goes on.
        if whole.exists() && !path.exists() {
            std::fs::rename(&whole, &path)?;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        lock(&file)?;
        let mut part = Self { file, path, about, data: 0, patched: 0 };
        match part.read() {
            Some((about, data)) => (part.about, part.data) = (about, data),
            None => part.file.set_len(0)?,
        }
        part.patch()?;
        Ok(part)
    }

    /// What its header says and how much audio there is; `None` if it is not a recording.
    fn read(&self) -> Option<(About, u64)> {
        let length = self.file.metadata().ok()?.len();
        let mut head = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut head, 0).ok()?;
        let about = read_header(&head)?;
        let data = length.saturating_sub(HEADER_BYTES as u64);
        Some((about, data - data % SAMPLE_BYTES as u64))
    }

    /// What it says about itself.
    pub fn about(&self) -> About {
        self.about
    }

    /// Samples of both sides in it.
    pub fn samples(&self) -> u64 {
        self.data / SAMPLE_BYTES as u64
    }

    /// Adds samples of both sides.
    pub fn append(&mut self, samples: &[u8]) -> io::Result<()> {
        self.file.write_all_at(samples, HEADER_BYTES as u64 + self.data)?;
        self.data += samples.len() as u64;
        if self.data - self.patched >= PATCH_EVERY {
            self.patch()?;
        }
        Ok(())
    }

    /// Adds silence until there are so many samples.
    pub fn fill(&mut self, samples: u64) -> io::Result<()> {
        let goal = samples.saturating_mul(SAMPLE_BYTES as u64).min(self.data.saturating_add(MOST_SILENCE));
        let piece = vec![mulaw::SILENCE; PIECE];
        while self.data < goal {
            let count = usize::try_from(goal - self.data).unwrap_or(PIECE).min(PIECE);
            self.append(piece.get(..count).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Overwrites one side with silence from sample `from` to before sample `to`.
    pub fn mute(&mut self, side: Side, from: u64, to: u64) -> io::Result<()> {
        let sample = SAMPLE_BYTES as u64;
        let (mut at, end) = (from.saturating_mul(sample), to.saturating_mul(sample).min(self.data));
        let mut piece = vec![0; PIECE];
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let Some(part) = piece.get_mut(..count) else { break };
            self.file.read_exact_at(part, HEADER_BYTES as u64 + at)?;
            silence(part, side);
            self.file.write_all_at(part, HEADER_BYTES as u64 + at)?;
            at += count as u64;
        }
        Ok(())
    }

    fn patch(&mut self) -> io::Result<()> {
        self.file.write_all_at(&header(self.about, self.data), 0)?;
        self.patched = self.data;
        Ok(())
    }

    /// Completes it: sizes, disk, name. Returns the whole file's path.
    pub fn complete(mut self) -> io::Result<PathBuf> {
        self.file.set_len(HEADER_BYTES as u64 + self.data)?;
        self.patch()?;
        self.file.sync_all()?;
        let name = self.path.as_os_str().to_string_lossy();
        let whole = PathBuf::from(name.strip_suffix(layout::PART).unwrap_or(&name));
        std::fs::rename(&self.path, &whole)?;
        if let Some(folder) = whole.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(whole)
    }

    /// Removes it.
    pub fn discard(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// How it stands.
    pub fn describe(&self, sid: CallSid, location: &str, state: RecordingState) -> Recording {
        Recording {
            sid,
            location: location.to_owned(),
            state,
            bytes: HEADER_BYTES as u64 + self.data,
            ms: self.data / BYTES_PER_MS as u64,
            started: UnixMillis(self.about.started_ms),
            offset_ms: self.about.offset_ms,
            dropped_frames: 0,
        }
    }
}

fn lock(file: &File) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::Busy),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Completes every recording under the folder that nobody writes any more. Returns what became of each.
pub fn repair(folder: &Path) -> Vec<Recording> {
    let mut parts = Vec::new();
    find_parts(folder, 0, &mut parts);
    let mut repaired = Vec::new();
    for path in parts {
        let Some((location, sid)) = layout::read_part(folder, &path) else { continue };
        match repair_one(&path, &location, sid) {
            Ok(Some(recording)) => repaired.push(recording),
            Ok(None) => {}
            Err(error) => tracing::warn!(%location, %error, "a recording cannot be repaired"),
        }
    }
    repaired
}

fn repair_one(path: &Path, location: &str, sid: CallSid) -> io::Result<Option<Recording>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if lock(&file).is_err() {
        return Ok(None); // Another process is at it.
    }
    let mut part = Part { file, path: path.to_owned(), about: About::default(), data: 0, patched: 0 };
    match part.read() {
        Some((about, data)) if data > 0 => {
            (part.about, part.data) = (about, data);
            let recording = part.describe(sid, location, RecordingState::Stored);
            part.complete()?;
            Ok(Some(recording))
        }
        _ => {
            let recording = part.describe(sid, location, RecordingState::Failed);
            part.discard()?;
            Ok(Some(recording))
        }
    }
}

/// Years, months, days and files: no deeper.
fn find_parts(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth < 3 {
                find_parts(&path, depth + 1, found);
            }
        } else if path.as_os_str().to_string_lossy().ends_with(layout::PART) {
            found.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::wav::stereo::side;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("frontdesk-part-{:032x}", rand::random::<u128>())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    const PLACE: &str = "2026/11/22/CA1.wav";
    const ABOUT: About = About { started_ms: 1_000, offset_ms: 20 };

    #[test]
    fn a_recording_is_written_silenced_in_places_and_completed() {
        let folder = Folder::new();
        let mut part = Part::open(&folder.0, PLACE, ABOUT).unwrap();
        part.append(&[7; 64_000]).unwrap();
        part.fill(32_400).unwrap();
        part.mute(Side::Caller, 100, 200).unwrap();
        part.mute(Side::Bot, 31_990, 90_000).unwrap();
        let whole = part.complete().unwrap();
        assert_eq!(whole, folder.0.join(PLACE));
        let bytes = std::fs::read(whole).unwrap();
        assert_eq!(bytes[..HEADER_BYTES], header(ABOUT, 64_800));
        let (left, right) = (side(&bytes, Side::Caller), side(&bytes, Side::Bot));
        let expected = |from: usize, to: usize| {
            (0..32_400)
                .map(|n| if (from..to).contains(&n) || n >= 32_000 { 0xFF } else { 7 })
                .collect::<Vec<u8>>()
        };
        assert!(left == expected(100, 200));
        assert!(right == expected(31_990, 32_400));
    }

    #[test]
    fn a_recording_that_was_left_is_repaired_once_nobody_writes_it() {
        let folder = Folder::new();
        let mut part = Part::open(&folder.0, PLACE, ABOUT).unwrap();
        part.append(&[7; 16_001]).unwrap();
        assert_eq!(repair(&folder.0), [], "it is being written");
        drop(part); // The process is gone; its header knows of nothing.
        let repaired = repair(&folder.0);
        assert_eq!(repaired.len(), 1);
        assert_eq!((repaired[0].sid.clone(), repaired[0].ms), (CallSid::from("CA1"), 1_000));
        assert_eq!((repaired[0].state, repaired[0].offset_ms), (RecordingState::Stored, 20));
        let bytes = std::fs::read(folder.0.join(PLACE)).unwrap();
        assert_eq!(bytes[..HEADER_BYTES], header(ABOUT, 16_000));
        assert_eq!(bytes.len(), HEADER_BYTES + 16_000);
        assert_eq!(repair(&folder.0), []);
    }

    #[test]
    fn a_call_that_goes_on_is_written_behind_what_was_there() {
        let folder = Folder::new();
        let mut part = Part::open(&folder.0, PLACE, ABOUT).unwrap();
        part.append(&[7; 160]).unwrap();
        part.complete().unwrap();
        let mut part = Part::open(&folder.0, PLACE, About { started_ms: 9, offset_ms: 9 }).unwrap();
        assert_eq!((part.about(), part.samples()), (ABOUT, 80));
        assert!(matches!(Part::open(&folder.0, PLACE, ABOUT), Err(OpenError::Busy)));
        part.append(&[8; 160]).unwrap();
        let bytes = std::fs::read(part.complete().unwrap()).unwrap();
        assert_eq!(bytes[HEADER_BYTES..], [[7; 160], [8; 160]].concat());
    }

    #[test]
    fn what_is_no_recording_is_begun_anew_or_removed() {
        let folder = Folder::new();
        let path = layout::part(&folder.0.join(PLACE));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, [1; 500]).unwrap();
        assert_eq!(Part::open(&folder.0, PLACE, ABOUT).unwrap().samples(), 0);
        std::fs::write(&path, [1; 50]).unwrap();
        assert_eq!(repair(&folder.0)[0].state, RecordingState::Failed);
        assert!(!path.exists());
    }
}
