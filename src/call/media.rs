//! A call's audio, on the call's own thread: the caller's on its way to the ear, the bot's on its way to the stream.
//!
//! Audio is not mail: it lies in bounded buffers here and never in a mailbox, so control is never refused behind it.
//! Whoever adds audio wakes whoever takes it; a wake-up that is already on its way is not sent again.

use super::playback::{Outgoing, Playback};
use super::stt::messages::CallerAudio;
use super::tts::messages::VoiceOut;
use crate::domain::ids::ReplyId;
use crate::domain::time::CallTime;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes of one millisecond of mu-law at 8 kHz.
const BYTES_PER_MS: usize = 8;

/// The two directions of a call's audio.
pub struct Media {
    t0: Instant,
    caller: RefCell<VecDeque<u8>>,
    caller_limit: usize,
    caller_dropped: Cell<u64>,
    caller_ready: Rc<Notify>,
    voiced: Cell<bool>,
    playback: RefCell<Playback>,
    room: Rc<Notify>,
    waker: RefCell<Option<Box<dyn Fn()>>>,
    wake_sent: Cell<bool>,
    /// The stream comes back by itself for what is queued.
    pull_armed: Cell<bool>,
}

impl Media {
    /// Buffers for one stream. `caller_ms`: the caller's audio kept at most; `lead` and `playback_ms`: see
    /// [`Playback::new`].
    pub fn new(caller_ms: u32, lead: Duration, playback_ms: u64) -> Rc<Self> {
        Rc::new(Self {
            t0: Instant::now(),
            caller: RefCell::new(VecDeque::new()),
            caller_limit: (caller_ms as usize).saturating_mul(BYTES_PER_MS).max(160),
            caller_dropped: Cell::new(0),
            caller_ready: Rc::new(Notify::new()),
            voiced: Cell::new(false),
            playback: RefCell::new(Playback::new(lead, playback_ms)),
            room: Rc::new(Notify::new()),
            waker: RefCell::new(None),
            wake_sent: Cell::new(false),
            pull_armed: Cell::new(false),
        })
    }

    /// The call's clock.
    pub fn now(&self) -> CallTime {
        CallTime(self.t0.elapsed())
    }

    /// The instant the call's clock began.
    pub fn t0(&self) -> Instant {
        self.t0
    }

    /// Adds the caller's audio; the oldest is dropped and counted when nobody takes it.
    pub fn hear(&self, audio: &[u8], voiced: bool) {
        self.voiced.set(voiced);
        let mut ring = self.caller.borrow_mut();
        ring.extend(audio);
        let over = ring.len().saturating_sub(self.caller_limit);
        if over > 0 {
            ring.drain(..over);
            self.caller_dropped.set(self.caller_dropped.get() + over as u64);
        }
        drop(ring);
        self.caller_ready.notify_one();
    }

    /// Bytes of the caller's audio that nobody took in time.
    pub fn caller_dropped(&self) -> u64 {
        self.caller_dropped.get()
    }

    /// Who is to be woken when there is something to send.
    pub fn set_waker(&self, waker: Option<Box<dyn Fn()>>) {
        *self.waker.borrow_mut() = waker;
        self.wake_sent.set(false);
    }

    /// Wakes the stream, unless it is being woken already.
    pub fn wake(&self) {
        if self.wake_sent.replace(true) {
            return;
        }
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker();
        }
    }

    /// The stream is awake: the next addition wakes it again. Returns what to write through [`Playback::pull`].
    pub fn pull(&self, write: impl FnMut(Outgoing<'_>)) -> (Option<Duration>, Vec<ReplyId>) {
        self.wake_sent.set(false);
        let mut playback = self.playback.borrow_mut();
        let next = playback.pull(self.now(), write);
        self.pull_armed.set(next.is_some());
        let first_sent = playback.take_first_sent();
        if playback.has_room() {
            self.room.notify_waiters();
        }
        (next, first_sent)
    }

    /// Lets `f` at the playback.
    pub fn with_playback<T>(&self, f: impl FnOnce(&mut Playback) -> T) -> T {
        let result = f(&mut self.playback.borrow_mut());
        if self.playback.borrow().has_room() {
            self.room.notify_waiters();
        }
        result
    }

    /// Whether the bot can be heard now.
    pub fn bot_is_playing(&self) -> bool {
        self.playback.borrow().is_playing(self.now())
    }
}

impl CallerAudio for Media {
    fn take(&self, max_bytes: usize) -> Option<Bytes> {
        let mut ring = self.caller.borrow_mut();
        if ring.is_empty() {
            return None;
        }
        let n = ring.len().min(max_bytes);
        Some(ring.drain(..n).collect())
    }

    fn ready(&self) -> LocalBoxFuture<'static, ()> {
        if !self.caller.borrow().is_empty() {
            return futures_util::future::ready(()).boxed_local();
        }
        let notify = Rc::clone(&self.caller_ready);
        async move { notify.notified().await }.boxed_local()
    }

    fn voiced(&self) -> bool {
        self.voiced.get()
    }
}

impl VoiceOut for Media {
    fn begin_sentence(&self, reply: ReplyId, sentence: u32, text: &str) -> bool {
        self.playback.borrow_mut().begin_sentence(reply, sentence, text)
    }

    fn audio(&self, reply: ReplyId, sentence: u32, audio: &[u8]) -> bool {
        let taken = self.playback.borrow_mut().audio(reply, sentence, audio);
        if taken && !self.pull_armed.get() {
            self.wake();
        }
        taken
    }

    fn end_sentence(&self, reply: ReplyId, sentence: u32) {
        self.playback.borrow_mut().end_sentence(reply, sentence);
        self.wake();
    }

    fn retract(&self, reply: ReplyId, sentence: u32) -> u64 {
        let sent = self.playback.borrow_mut().retract(reply, sentence);
        self.wake();
        sent
    }

    fn room(&self) -> LocalBoxFuture<'static, ()> {
        if self.playback.borrow().has_room() {
            return futures_util::future::ready(()).boxed_local();
        }
        let room = Rc::clone(&self.room);
        async move {
            // Registered before the next pull can free anything: both run on this thread.
            room.notified().await;
        }
        .boxed_local()
    }
}
