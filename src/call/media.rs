//! A call's audio, on the call's own thread: the caller's on its way to the ear, the bot's on its way to the stream.
//!
//! Audio is not mail: it lies in bounded buffers here and never in a mailbox, so control is never refused behind it.
//! Whoever adds audio wakes whoever takes it; a wake-up that is already on its way is not sent again.

use super::meter::Meter;
use super::playback::{FRAME_BYTES, Outgoing, Playback};
use super::recorder::tap::Tap;
use super::stt::messages::CallerAudio;
use super::tts::messages::{RUNWAY_MS, VoiceOut};
use crate::audio::vad::VadState;
use crate::audio::wav::stereo::Side;
use crate::config::call::CallConfig;
use crate::config::stt::SttConfig;
use crate::domain::ids::ReplyId;
use crate::domain::time::CallTime;
use crate::domain::usage::Item;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes of one millisecond of mu-law at 8 kHz.
const BYTES_PER_MS: usize = 8;
/// How long one frame is played.
const FRAME: Duration = Duration::from_millis((FRAME_BYTES / BYTES_PER_MS) as u64);
/// The detector and the recogniser do not agree to the frame on where a word ended: so much before a pause is as long
/// as the endpointing it may already be, ms.
const SETTLE_EARLY_MS: u32 = 100;
/// And so much after it, it may not be yet, ms.
const SETTLE_LATE_MS: u32 = 300;

/// The two directions of a call's audio.
pub struct Media {
    t0: Instant,
    caller: RefCell<VecDeque<u8>>,
    caller_limit: usize,
    caller_dropped: Cell<u64>,
    caller_ready: Rc<Notify>,
    /// Bytes that were taken and not counted yet.
    caller_taken: Cell<u64>,
    meter: Rc<Meter>,
    voiced: Cell<bool>,
    /// Silence since the last sound, bytes.
    silence: Cell<usize>,
    /// Pauses of this length, bytes, may end an utterance: every frame counts.
    ending: Range<usize>,
    /// Audio gathered before anyone is woken for it while the caller speaks, bytes.
    speech_join: usize,
    /// The same while nobody speaks.
    silence_join: usize,
    playback: RefCell<Playback>,
    room: Rc<Notify>,
    low: Rc<Notify>,
    waker: RefCell<Option<Box<dyn Fn()>>>,
    wake_sent: Cell<bool>,
    /// The stream comes back by itself for what is queued.
    pull_armed: Cell<bool>,
    /// Where the call is recorded, if it is.
    tap: RefCell<Option<Tap>>,
}

impl Media {
    /// Buffers for one stream: the caller's audio as the recogniser's settings say, the bot's as the call's do.
    pub fn new(stt: &SttConfig, call: &CallConfig) -> Rc<Self> {
        let bytes = |ms: u32| (ms as usize).saturating_mul(BYTES_PER_MS);
        let lead = Duration::from_millis(call.playback_lead_ms);
        Rc::new(Self {
            t0: Instant::now(),
            caller: RefCell::new(VecDeque::new()),
            caller_limit: bytes(stt.gap_buffer_ms).max(160),
            caller_dropped: Cell::new(0),
            caller_ready: Rc::new(Notify::new()),
            caller_taken: Cell::new(0),
            meter: Rc::default(),
            voiced: Cell::new(false),
            silence: Cell::new(0),
            ending: bytes(stt.endpointing_ms.saturating_sub(SETTLE_EARLY_MS))
                ..bytes(stt.endpointing_ms.saturating_add(SETTLE_LATE_MS)),
            // Never more than there is room for: nobody would be woken for it.
            speech_join: bytes(stt.join_ms).min(bytes(stt.gap_buffer_ms).max(160)),
            silence_join: bytes(stt.silence_join_ms).min(bytes(stt.gap_buffer_ms).max(160)),
            playback: RefCell::new(Playback::new(lead, call.playback_buffer_ms)),
            room: Rc::new(Notify::new()),
            low: Rc::new(Notify::new()),
            waker: RefCell::new(None),
            wake_sent: Cell::new(false),
            pull_armed: Cell::new(false),
            tap: RefCell::new(None),
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
    ///
    /// Whoever takes it is woken at once where it matters: when sound begins, when a pause is about as long as the one
    /// that ends an utterance, and when the caller speaks over the bot. In the middle of speech, and in a silence
    /// longer than any utterance's end, nothing is decided; there frames are gathered, so that they cost one write.
    pub fn hear(&self, audio: &[u8], sound: VadState) {
        if let Some(tap) = self.tap.borrow_mut().as_mut() {
            tap.caller(self.now(), audio);
        }
        self.voiced.set(sound.voiced);
        let mut ring = self.caller.borrow_mut();
        ring.extend(audio);
        let over = ring.len().saturating_sub(self.caller_limit);
        if over > 0 {
            ring.drain(..over);
            self.caller_dropped.set(self.caller_dropped.get() + over as u64);
        }
        drop(ring);
        let silence = self.silence.get();
        self.silence.set(if sound.loud { 0 } else { silence.saturating_add(audio.len()) });
        let begins = sound.loud && silence >= self.ending.start;
        if begins || self.audio_is_due() {
            self.caller_ready.notify_one();
        }
    }

    /// How long the caller's next frames may stay unread. None at all where something hinges on them: in a pause that
    /// may end an utterance, and while the caller speaks over the bot. Whatever else the stream has to tell (a key, a
    /// mark, its end) waits as long, so it is never long.
    pub fn patience(&self) -> Duration {
        let silence = self.silence.get();
        if (self.ending.start..=self.ending.end).contains(&silence) {
            return Duration::ZERO;
        }
        let bytes = match (silence > self.ending.end, self.bot_is_playing()) {
            (false, true) => return Duration::ZERO,
            (false, false) | (true, true) => self.speech_join,
            (true, false) => self.silence_join / 2,
        };
        Duration::from_millis((bytes / BYTES_PER_MS) as u64)
    }

    /// Whether what waits is to be taken now.
    fn audio_is_due(&self) -> bool {
        let silence = self.silence.get();
        let join = if silence > self.ending.end && self.bot_is_playing() {
            self.silence_join / 2
        } else if silence > self.ending.end {
            self.silence_join
        } else if silence >= self.ending.start || self.bot_is_playing() {
            1
        } else {
            self.speech_join
        };
        self.caller.borrow().len() >= join
    }

    /// How long the caller has made no sound, as far as the stream has told.
    pub fn caller_silence(&self) -> Duration {
        Duration::from_millis((self.silence.get() / BYTES_PER_MS) as u64)
    }

    /// Bytes of the caller's audio that nobody took in time.
    pub fn caller_dropped(&self) -> u64 {
        self.caller_dropped.get()
    }

    /// What the call uses is counted here.
    pub fn meter(&self) -> Rc<Meter> {
        let ms = self.caller_taken.get() / BYTES_PER_MS as u64;
        self.caller_taken.set(self.caller_taken.get() % BYTES_PER_MS as u64);
        self.meter.add(Item::SttMs, "", ms);
        Rc::clone(&self.meter)
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
    pub fn pull(&self, mut write: impl FnMut(Outgoing<'_>)) -> (Option<Duration>, Vec<ReplyId>) {
        self.wake_sent.set(false);
        let mut playback = self.playback.borrow_mut();
        let now = self.now();
        let next = match self.tap.borrow_mut().as_mut() {
            None => playback.pull(now, write),
            Some(tap) => {
                // Frames are played one after the other, behind what was sent before.
                let (mut at, cleared) = (playback.tail().max(now), playback.tail().min(now));
                playback.pull(now, |outgoing| {
                    match &outgoing {
                        Outgoing::Frame(frame) => {
                            tap.bot(now, at, frame);
                            at = at.after(FRAME);
                        }
                        Outgoing::Clear => tap.clear(now, cleared),
                        Outgoing::Mark(_) => {}
                    }
                    write(outgoing);
                })
            }
        };
        self.pull_armed.set(next.is_some());
        let first_sent = playback.take_first_sent();
        self.tell_of_room(&playback);
        (next, first_sent)
    }

    /// Wakes who waits for room, or for the audio to run low.
    fn tell_of_room(&self, playback: &Playback) {
        if playback.has_room() {
            self.room.notify_waiters();
        }
        if playback.waiting_ms() < RUNWAY_MS {
            self.low.notify_waiters();
        }
    }

    /// Lets `f` at the playback.
    pub fn with_playback<T>(&self, f: impl FnOnce(&mut Playback) -> T) -> T {
        let result = f(&mut self.playback.borrow_mut());
        self.tell_of_room(&self.playback.borrow());
        result
    }

    /// Records both sides from now on.
    pub fn record(&self, tap: Tap) {
        *self.tap.borrow_mut() = Some(tap);
    }

    /// Records nothing more; what was recorded is on its way to the disk.
    pub fn stop_recording(&self) {
        drop(self.tap.borrow_mut().take());
    }

    /// What was recorded of one side between two times is silenced.
    pub fn mute_recording(&self, side: Side, from: CallTime, to: CallTime) {
        if let Some(tap) = self.tap.borrow_mut().as_mut() {
            tap.mute(side, from, to);
        }
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
        let (head, tail) = ring.as_slices();
        let mut taken = BytesMut::with_capacity(n);
        let from_head = head.len().min(n);
        taken.extend_from_slice(head.get(..from_head).unwrap_or_default());
        taken.extend_from_slice(tail.get(..n.saturating_sub(from_head)).unwrap_or_default());
        ring.drain(..n);
        self.caller_taken.set(self.caller_taken.get().saturating_add(taken.len() as u64));
        Some(taken.freeze())
    }

    fn ready(&self) -> LocalBoxFuture<'static, ()> {
        if self.audio_is_due() {
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
    fn asked(&self, vendor: &str, chars: usize) {
        self.meter.add(Item::TtsChars, vendor, chars as u64);
    }

    fn begin_sentence(&self, reply: ReplyId, sentence: u32, text: &str) -> bool {
        self.playback.borrow_mut().begin_sentence(reply, sentence, text)
    }

    fn audio(&self, reply: ReplyId, sentence: u32, audio: Bytes) -> bool {
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

    fn waiting_ms(&self) -> u64 {
        self.playback.borrow().waiting_ms()
    }

    fn runs_low(&self) -> LocalBoxFuture<'static, ()> {
        if self.waiting_ms() < RUNWAY_MS {
            return futures_util::future::ready(()).boxed_local();
        }
        let low = Rc::clone(&self.low);
        async move { low.notified().await }.boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: VadState = VadState { voiced: false, loud: false };
    const LOUD: VadState = VadState { voiced: true, loud: true };

    fn media() -> Rc<Media> {
        Media::new(&SttConfig::default(), &CallConfig::default())
    }

    /// Hears a frame as an ear that takes what it is woken for; tells how many frames it took.
    fn hear(media: &Media, sound: VadState) -> usize {
        let mut ready = media.ready();
        media.hear(&[0xFF; 160], sound);
        match ready.as_mut().now_or_never() {
            Some(()) => media.take(usize::MAX).map_or(0, |audio| audio.len() / 160),
            None => 0,
        }
    }

    fn hear_many(media: &Media, sound: VadState, frames: usize) -> Vec<usize> {
        (0..frames).map(|_| hear(media, sound)).collect()
    }

    #[actix::test]
    async fn speech_is_joined_and_the_pause_that_may_end_it_goes_on_frame_by_frame() {
        let media = media();
        assert_eq!(hear_many(&media, LOUD, 8), [0, 2, 0, 2, 0, 2, 0, 2]);
        // A pause between words.
        assert_eq!(hear_many(&media, SILENT, 4), [0, 2, 0, 2]);
        assert_eq!(hear_many(&media, LOUD, 2), [0, 2]);
        // 300 ms of endpointing: from 200 ms to 600 ms.
        assert_eq!(hear_many(&media, SILENT, 9), [0, 2, 0, 2, 0, 2, 0, 2, 0]);
        assert_eq!(hear(&media, SILENT), 2);
        assert_eq!(hear_many(&media, SILENT, 20), [1; 20]);
        assert_eq!(hear(&media, SILENT), 0);
    }

    #[actix::test]
    async fn sound_after_a_pause_is_told_at_once() {
        let media = media();
        hear_many(&media, SILENT, 12);
        assert_eq!(hear_many(&media, LOUD, 3), [1, 0, 2]);
    }

    #[actix::test]
    async fn speech_over_the_bot_is_never_held_back() {
        let media = media();
        assert!(media.begin_sentence(ReplyId(1), 0, "Good morning."));
        assert!(media.audio(ReplyId(1), 0, Bytes::from_static(&[0x55; 8_000])));
        media.pull(|_| {});
        assert_eq!(hear_many(&media, LOUD, 20), [1; 20]);
    }

    #[actix::test]
    async fn a_stream_is_left_unread_only_while_nothing_hinges_on_its_next_frames() {
        let ms = |media: &Media| media.patience().as_millis();
        let media = media();
        hear_many(&media, LOUD, 5);
        assert_eq!(ms(&media), 40, "in the middle of speech");
        hear_many(&media, SILENT, 9);
        assert_eq!(ms(&media), 40, "between words");
        hear(&media, SILENT);
        assert_eq!(ms(&media), 0, "a pause that may end an utterance");
        hear_many(&media, SILENT, 20);
        assert_eq!(ms(&media), 0, "still");
        hear(&media, SILENT);
        assert_eq!(ms(&media), 100, "nobody speaks");
        assert!(media.begin_sentence(ReplyId(1), 0, "Good morning."));
        assert!(media.audio(ReplyId(1), 0, Bytes::from_static(&[0x55; 8_000])));
        media.pull(|_| {});
        assert_eq!(ms(&media), 40, "the bot speaks");
        hear(&media, LOUD);
        assert_eq!(ms(&media), 0, "the caller speaks over it");
    }

    #[actix::test]
    async fn a_long_silence_is_gathered_and_the_first_sound_takes_it_along() {
        let media = media();
        hear_many(&media, SILENT, 30);
        assert_eq!(hear_many(&media, SILENT, 10), [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]);
        assert_eq!(hear(&media, SILENT), 0);
        assert_eq!(hear(&media, LOUD), 2, "the sound and the frame before it, at once");
    }

    #[actix::test]
    async fn an_ear_that_comes_back_finds_what_waits() {
        let media = media();
        drop(media.ready());
        media.hear(&[0xFF; 160], LOUD);
        media.hear(&[0x00; 160], LOUD);
        assert!(media.ready().now_or_never().is_some());
        let audio = media.take(200).unwrap();
        assert_eq!((audio.len(), audio[0], audio[199]), (200, 0xFF, 0x00));
        assert_eq!(media.take(usize::MAX).unwrap().len(), 120);
        assert!(media.take(usize::MAX).is_none());
    }

    #[actix::test]
    async fn the_voice_is_told_once_little_waits_to_be_sent() {
        let media = media();
        assert!(media.runs_low().now_or_never().is_some(), "nothing waits");
        assert!(media.begin_sentence(ReplyId(1), 0, "Good morning."));
        assert!(media.audio(ReplyId(1), 0, Bytes::from_static(&[0x55; 32_000])));
        assert_eq!(media.waiting_ms(), 4_000);
        let mut low = media.runs_low();
        media.pull(|_| {});
        assert!((RUNWAY_MS..4_000).contains(&media.waiting_ms()));
        assert!(low.as_mut().now_or_never().is_none(), "the lead was sent");
        media.with_playback(|playback| playback.clear(media.now(), ReplyId(1)));
        assert!(low.now_or_never().is_some(), "and the rest cleared");
    }

    #[actix::test]
    async fn audio_nobody_takes_is_dropped_from_its_beginning() {
        let media = media();
        for _ in 0..300 {
            media.hear(&[0xFF; 160], LOUD);
        }
        assert_eq!(media.take(usize::MAX).unwrap().len(), 40_000);
        assert_eq!(media.caller_dropped(), 50 * 160);
    }
}
