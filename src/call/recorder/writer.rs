//! The writer: one thread, every recording's file.

use super::Begins;
use super::queue::{Block, Job, Piece, Queue, Taken};
use crate::audio::align::{Aligner, samples};
use crate::audio::wav::stereo::{About, Side};
use crate::domain::ids::CallSid;
use crate::domain::recording::{Recording, RecordingState};
use crate::domain::time::CallTime;
use crate::storage::layout;
use crate::storage::part::{OpenError, Part, repair};
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often recordings that nobody goes on with are looked for.
const LOOK: Duration = Duration::from_secs(5);
/// Without a stream for this long, a call whose end nobody told has ended.
const ABANDONED: Duration = Duration::from_secs(180);

/// The stream that is being recorded.
struct Live {
    stream: u64,
    aligner: Aligner,
    /// Where its recording begins, on its clock.
    clock: u64,
    /// The same place in the file.
    place: u64,
}

impl Live {
    /// Where a stretch of the clock lies in the file.
    fn in_file(&self, clock: Range<u64>) -> (u64, u64) {
        let place = |at: u64| at.saturating_sub(self.clock).saturating_add(self.place);
        (place(clock.start), place(clock.end))
    }
}

/// One call's recording.
struct Entry {
    location: String,
    /// `None` once it could not be written any more.
    part: Option<Part>,
    live: Option<Live>,
    idle_since: Instant,
    dropped: u64,
    /// How much longer than the call's own time the file has been, ms: a killed owner had recorded more than it had
    /// written down.
    ahead_ms: u64,
}

struct Writer<'a> {
    folder: &'a Path,
    on_change: &'a dyn Fn(Recording),
    entries: HashMap<CallSid, Entry>,
    /// Reused for every block.
    out: Vec<u8>,
}

/// Writes until the queue is closed.
pub(super) fn run(folder: &Path, queue: &Queue, on_change: &dyn Fn(Recording)) {
    for recording in repair(folder) {
        tracing::info!(call.id = %recording.sid, ms = recording.ms, "an incomplete recording was completed");
        on_change(recording);
    }
    let mut writer = Writer { folder, on_change, entries: HashMap::new(), out: Vec::new() };
    let mut looked = Instant::now();
    loop {
        match queue.take(LOOK) {
            Taken::Job(job) => writer.carry_out(job),
            Taken::Nothing => {}
            Taken::Closed => break,
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            writer.finish_abandoned();
        }
    }
    // Calls that another process goes on with: it finds the file complete and opens it again.
    for sid in writer.entries.keys().cloned().collect::<Vec<_>>() {
        writer.finish(&sid);
    }
}

impl Writer<'_> {
    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Begin { sid, location, second, stream, begins } => {
                self.begin(sid, &location, &second, stream, begins);
            }
            Job::Audio { sid, stream, block } => {
                self.with_live(&sid, stream, |live, out| take(&mut live.aligner, &block, out));
            }
            Job::Mute { sid, stream, side, from, to } => self.mute(&sid, stream, side, from, to),
            Job::Silence { sid, location, side, from_ms, to_ms } => {
                self.silence(&sid, &location, side, from_ms..to_ms);
            }
            Job::Detach { sid, stream, at, dropped } => {
                self.with_live(&sid, stream, |live, out| live.aligner.finish(at, out));
                if let Some(entry) = self.entries.get_mut(&sid)
                    && entry.live.as_ref().is_some_and(|live| live.stream == stream)
                {
                    entry.live = None;
                    entry.dropped = entry.dropped.saturating_add(dropped);
                    entry.idle_since = Instant::now();
                }
            }
            Job::Finish { sid } => self.finish(&sid),
        }
    }

    fn begin(&mut self, sid: CallSid, location: &str, second: &str, stream: u64, begins: Begins) {
        if let Some(old) = self.entries.get(&sid).and_then(|entry| entry.live.as_ref()) {
            // A stream that was not let go of in time: its part ends here.
            let (old, at) = (old.stream, CallTime(Duration::from_micros(old.aligner.position() / 8 * 1_000)));
            self.with_live(&sid, old, |live, out| live.aligner.finish(at, out));
        }
        if !self.entries.contains_key(&sid) {
            let about = About { started_ms: begins.at.0, offset_ms: begins.since_start_ms };
            let (location, part) = match Part::open(self.folder, location, about) {
                Err(OpenError::Busy) => (second, Part::open(self.folder, second, about)),
                opened => (location, opened),
            };
            let part = match part {
                Ok(part) => Some(part),
                Err(error) => {
                    tracing::error!(call.id = %sid, %error, "a call cannot be recorded");
                    None
                }
            };
            let entry = Entry {
                location: location.to_owned(),
                part,
                live: None,
                idle_since: Instant::now(),
                dropped: 0,
                ahead_ms: 0,
            };
            self.entries.insert(sid.clone(), entry);
        }
        let Some(entry) = self.entries.get_mut(&sid) else { return };
        let Some(part) = &mut entry.part else { return };
        // On the axis of the turns; a call resumed from an older state goes on where the file ends.
        let due = begins.since_start_ms.saturating_sub(part.about().offset_ms).saturating_mul(8);
        entry.ahead_ms = entry.ahead_ms.max(part.samples().saturating_sub(due) / 8);
        let filled = part.fill(due);
        entry.live = Some(Live {
            stream,
            aligner: Aligner::new(begins.clock),
            clock: samples(begins.clock),
            place: part.samples(),
        });
        let recording = part.describe(sid.clone(), &entry.location, RecordingState::Recording);
        (self.on_change)(recording);
        self.check(&sid, filled);
    }

    /// Lets `f` at the stream that is being recorded, and writes what comes out.
    fn with_live(&mut self, sid: &CallSid, stream: u64, f: impl FnOnce(&mut Live, &mut Vec<u8>)) {
        let Some(entry) = self.entries.get_mut(sid) else { return };
        let Some(live) = entry.live.as_mut().filter(|live| live.stream == stream) else { return };
        self.out.clear();
        f(live, &mut self.out);
        let Some(part) = &mut entry.part else { return };
        let written = if self.out.is_empty() { Ok(()) } else { part.append(&self.out) };
        self.check(sid, written);
    }

    fn mute(&mut self, sid: &CallSid, stream: u64, side: Side, from: CallTime, to: CallTime) {
        let Some(entry) = self.entries.get_mut(sid) else { return };
        let Some(live) = entry.live.as_mut().filter(|live| live.stream == stream) else { return };
        let gone = live.aligner.mute(side, from, to);
        let (from, to) = live.in_file(gone);
        let Some(part) = &mut entry.part else { return };
        let muted = part.mute(side, from, to);
        self.check(sid, muted);
    }

    /// Silences what an earlier stream recorded: in the file that is being written, and in the call's first, if that
    /// is another one.
    fn silence(&mut self, sid: &CallSid, location: &str, side: Side, ms: Range<u64>) {
        let mut is_first = false;
        if let Some(entry) = self.entries.get_mut(sid) {
            is_first = entry.location == location;
            let ahead = entry.ahead_ms;
            if let Some(part) = &mut entry.part {
                let muted = mute(part, side, ms.start..ms.end.saturating_add(ahead));
                self.check(sid, muted);
            }
        }
        let file = layout::file(self.folder, location);
        let there = |path: &Path| path.exists() || layout::part(path).exists();
        if is_first || !file.is_some_and(|path| there(&path)) {
            return;
        }
        let muted = Part::open(self.folder, location, About::default()).and_then(|mut part| {
            mute(&mut part, side, ms)?;
            part.complete()?;
            Ok(())
        });
        if let Err(error) = muted {
            tracing::error!(call.id = %sid, %error, "a card number is left in a recording of this call");
        }
    }

    /// A file that cannot be written is given up; what is in it is kept.
    fn check(&mut self, sid: &CallSid, result: io::Result<()>) {
        let Err(error) = result else { return };
        tracing::error!(call.id = %sid, %error, "a recording is given up");
        if let Some(mut entry) = self.entries.remove(sid) {
            let part = entry.part.take();
            self.complete(sid, &entry, part);
            // What still comes of this call is dropped without another word.
            self.entries.insert(sid.clone(), entry);
        }
    }

    fn finish(&mut self, sid: &CallSid) {
        let Some(live) = self.entries.get(sid).and_then(|entry| entry.live.as_ref()) else {
            return self.close(sid);
        };
        // Its stream did not say when it ended.
        let (stream, at) =
            (live.stream, CallTime(Duration::from_micros(live.aligner.position() / 8 * 1_000)));
        self.with_live(sid, stream, |live, out| live.aligner.finish(at, out));
        self.close(sid);
    }

    fn close(&mut self, sid: &CallSid) {
        if let Some(mut entry) = self.entries.remove(sid) {
            let part = entry.part.take();
            self.complete(sid, &entry, part);
        }
    }

    fn complete(&self, sid: &CallSid, entry: &Entry, part: Option<Part>) {
        let Some(part) = part else { return };
        let mut recording = part.describe(sid.clone(), &entry.location, RecordingState::Stored);
        recording.dropped_frames = entry.dropped;
        let done = if recording.ms == 0 { part.discard() } else { part.complete().map(drop) };
        if let Err(error) = &done {
            tracing::error!(call.id = %sid, %error, "a recording cannot be completed");
        }
        if done.is_err() || recording.ms == 0 {
            recording.state = RecordingState::Failed;
        }
        (self.on_change)(recording);
    }

    fn finish_abandoned(&mut self) {
        let abandoned: Vec<CallSid> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.live.is_none() && entry.idle_since.elapsed() >= ABANDONED)
            .map(|(sid, _)| sid.clone())
            .collect();
        for sid in abandoned {
            self.close(&sid);
        }
    }
}

/// Silences one side of a file between two times, in milliseconds since the call's start.
fn mute(part: &mut Part, side: Side, ms: Range<u64>) -> io::Result<()> {
    let offset = part.about().offset_ms;
    let sample = |ms: u64| ms.saturating_sub(offset).saturating_mul(8);
    part.mute(side, sample(ms.start), sample(ms.end))
}

fn take(aligner: &mut Aligner, block: &Block, out: &mut Vec<u8>) {
    let mut rest = block.audio.as_slice();
    for piece in &block.pieces {
        let (Piece::Caller { bytes, .. } | Piece::Bot { bytes, .. }) = *piece else {
            if let Piece::Clear { at } = *piece {
                aligner.clear(at);
            }
            continue;
        };
        let Some((audio, after)) = rest.split_at_checked(bytes) else { return };
        rest = after;
        match *piece {
            Piece::Caller { at, .. } => aligner.caller(at, audio),
            Piece::Bot { at, .. } => aligner.bot(at, audio),
            Piece::Clear { .. } => {}
        }
    }
    aligner.advance(block.until, out);
}
