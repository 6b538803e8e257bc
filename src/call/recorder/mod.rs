//! Recording of calls: what is heard on a call's thread goes in blocks to one thread that writes.
//!
//! The call hands over what came and went several times a second and never waits: when the writer cannot keep up,
//! blocks are dropped and counted. Aligning both sides, silencing, writing and completing is the writer's business.

pub mod queue;
pub mod tap;
mod writer;

use crate::audio::wav::stereo::Side;
use crate::config::recording::RecordingConfig;
use crate::domain::ids::CallSid;
use crate::domain::recording::Recording;
use crate::domain::time::{CallTime, UnixMillis};
use crate::storage::layout;
use queue::{Job, Queue};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tap::Tap;

/// Told of every recording whose standing has changed, on the writer's thread.
pub type OnChange = Box<dyn Fn(Recording) + Send>;

/// When a recording begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begins {
    /// Now.
    pub at: UnixMillis,
    /// The same on the clock of this stream.
    pub clock: CallTime,
    /// The same in milliseconds since the call's start, earlier streams included.
    pub since_start_ms: u64,
}

/// The recorder of this process; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: Arc<Queue>,
    streams: Arc<AtomicU64>,
    block: Duration,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Recorder {
    /// Starts the writer. What an earlier process left incomplete is completed first.
    pub fn start(config: &RecordingConfig, on_change: OnChange) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(config.queue));
        let folder = PathBuf::from(config.folder());
        std::fs::create_dir_all(&folder)?;
        let jobs = Arc::clone(&queue);
        let writer = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || writer::run(&folder, &jobs, on_change.as_ref()))?;
        Ok(Self {
            queue,
            streams: Arc::new(AtomicU64::new(0)),
            block: Duration::from_millis(config.block_ms),
            writer: Arc::new(Mutex::new(Some(writer))),
        })
    }

    /// Begins, or goes on with, the recording of a call that was let in at `admitted`.
    pub fn record(&self, sid: &CallSid, admitted: UnixMillis, begins: Begins) -> Tap {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        self.queue.tell(Job::Begin {
            sid: sid.clone(),
            location: layout::location(admitted, sid, None),
            second: layout::location(
                admitted,
                sid,
                Some(u32::try_from(begins.since_start_ms).unwrap_or(u32::MAX)),
            ),
            stream,
            begins,
        });
        Tap::new(Arc::clone(&self.queue), sid.clone(), stream, begins.clock, self.block)
    }

    /// Silences one side of what earlier streams of a call recorded, between two times in milliseconds since the call's
    /// start.
    pub fn silence(&self, sid: &CallSid, admitted: UnixMillis, side: Side, from_ms: u64, to_ms: u64) {
        let location = layout::location(admitted, sid, None);
        self.queue.tell(Job::Silence { sid: sid.clone(), location, side, from_ms, to_ms });
    }

    /// The call is over: its recording is complete.
    pub fn finish(&self, sid: &CallSid) {
        self.queue.tell(Job::Finish { sid: sid.clone() });
    }

    /// Blocks of audio that wait for the writer.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Frames of 20 ms that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Writes what is queued, closes every file, ends the thread. Blocks.
    pub fn close(&self) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the recorder's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
