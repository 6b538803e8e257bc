//! The way from the calls' threads to the writer's: one queue in order, bounded for audio, open for control.

use super::Begins;
use crate::audio::wav::stereo::Side;
use crate::domain::ids::CallSid;
use crate::domain::time::CallTime;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What a piece of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Audio of the caller that arrived then.
    Caller {
        /// When.
        at: CallTime,
        /// Its bytes in the block.
        bytes: usize,
    },
    /// Audio of the bot that is played from then on.
    Bot {
        /// When.
        at: CallTime,
        /// Its bytes in the block.
        bytes: usize,
    },
    /// The bot was silenced then.
    Clear {
        /// When.
        at: CallTime,
    },
}

/// What came and went in a call within `recording.block_ms`.
#[derive(Debug, Default)]
pub struct Block {
    /// In order.
    pub pieces: Vec<Piece>,
    /// Their audio, one after the other.
    pub audio: Vec<u8>,
    /// The newest time in it that has passed.
    pub until: CallTime,
}

/// What the writer is to do.
#[derive(Debug)]
pub enum Job {
    /// A stream is recorded from now on.
    Begin {
        /// Whose.
        sid: CallSid,
        /// Where it lies.
        location: String,
        /// Where it lies if that is out of reach.
        second: String,
        /// Which stream; what older ones still send is dropped.
        stream: u64,
        /// When.
        begins: Begins,
    },
    /// Audio.
    Audio {
        /// Whose.
        sid: CallSid,
        /// Of which stream.
        stream: u64,
        /// The audio.
        block: Block,
    },
    /// A stretch of one side must not be heard.
    Mute {
        /// Whose.
        sid: CallSid,
        /// Of which stream.
        stream: u64,
        /// Which side.
        side: Side,
        /// From here, on the stream's clock.
        from: CallTime,
        /// To here.
        to: CallTime,
    },
    /// A stretch of one side of an earlier stream must not be heard.
    Silence {
        /// Whose.
        sid: CallSid,
        /// Where the call's first recording lies.
        location: String,
        /// Which side.
        side: Side,
        /// From here, in milliseconds since the call's start.
        from_ms: u64,
        /// To here.
        to_ms: u64,
    },
    /// A stream is over; the call may go on with another.
    Detach {
        /// Whose.
        sid: CallSid,
        /// Which stream.
        stream: u64,
        /// When.
        at: CallTime,
        /// Frames of it that found the queue full.
        dropped: u64,
    },
    /// The call is over.
    Finish {
        /// Which.
        sid: CallSid,
    },
}

/// What comes out of the queue.
#[derive(Debug)]
pub enum Taken {
    /// Something to do.
    Job(Job),
    /// Nothing for a while.
    Nothing,
    /// Nothing any more.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    blocks: usize,
    closed: bool,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
    limit: usize,
    dropped: AtomicU64,
}

impl Queue {
    /// A queue of at most so many blocks of audio.
    pub fn new(limit: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            ready: Condvar::new(),
            limit: limit.max(1),
            dropped: AtomicU64::new(0),
        }
    }

    /// Offers audio; `false`, and it is gone, if the queue is full or closed.
    pub fn offer(&self, sid: &CallSid, stream: u64, block: Block) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed || waiting.blocks >= self.limit {
            self.dropped.fetch_add(frames(&block), Ordering::Relaxed);
            return false;
        }
        waiting.blocks += 1;
        waiting.jobs.push_back(Job::Audio { sid: sid.clone(), stream, block });
        drop(waiting);
        self.ready.notify_one();
        true
    }

    /// Tells the writer something; a handful a call, so there is always room.
    pub fn tell(&self, job: Job) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return;
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.ready.notify_one();
    }

    /// Takes the oldest job, waiting for one no longer than so.
    pub fn take(&self, wait: Duration) -> Taken {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, _) = self
            .ready
            .wait_timeout_while(waiting, wait, |w| w.jobs.is_empty() && !w.closed)
            .unwrap_or_else(PoisonError::into_inner);
        match waiting.jobs.pop_front() {
            Some(job) => {
                waiting.blocks -= usize::from(matches!(job, Job::Audio { .. }));
                Taken::Job(job)
            }
            None if waiting.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }

    /// Takes nothing more; what waits is still to be done.
    pub fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.ready.notify_all();
    }

    /// Blocks of audio that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).blocks
    }

    /// Frames of 20 ms that found it full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Frames of 20 ms in a block.
pub fn frames(block: &Block) -> u64 {
    block.pieces.iter().filter(|piece| !matches!(piece, Piece::Clear { .. })).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(n: u64) -> Block {
        let at = CallTime::from_millis(n);
        Block { pieces: vec![Piece::Caller { at, bytes: 160 }], audio: vec![0; 160], until: at }
    }

    #[test]
    fn audio_is_bounded_and_control_is_not() {
        let (queue, sid) = (Queue::new(2), CallSid::from("CA1"));
        assert!(queue.offer(&sid, 1, block(1)));
        assert!(queue.offer(&sid, 1, block(2)));
        assert!(!queue.offer(&sid, 1, block(3)));
        assert_eq!(queue.dropped(), 1);
        queue.tell(Job::Finish { sid: sid.clone() });
        assert!(matches!(queue.take(Duration::ZERO), Taken::Job(Job::Audio { .. })));
        assert!(queue.offer(&sid, 1, block(4)));
        queue.close();
        assert!(!queue.offer(&sid, 1, block(5)));
        let mut left = Vec::new();
        while let Taken::Job(job) = queue.take(Duration::from_secs(9)) {
            left.push(job);
        }
        assert!(matches!(left[..], [Job::Audio { .. }, Job::Finish { .. }, Job::Audio { .. }]), "{left:?}");
        assert!(matches!(queue.take(Duration::from_secs(9)), Taken::Closed));
    }

    #[test]
    fn whoever_waits_is_woken() {
        let queue = std::sync::Arc::new(Queue::new(2));
        let there = std::sync::Arc::clone(&queue);
        let taker = std::thread::spawn(move || there.take(Duration::from_secs(20)));
        queue.tell(Job::Finish { sid: CallSid::from("CA1") });
        assert!(matches!(taker.join().unwrap(), Taken::Job(_)));
        assert!(matches!(queue.take(Duration::from_millis(1)), Taken::Nothing));
    }
}
