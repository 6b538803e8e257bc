//! The voices of one worker thread, shared by its calls: breakers, request counters, kept audio.

use super::cache::{SpeechCache, SpeechKey};
use super::events::Skip;
use crate::config::tts::TtsConfig;
use crate::observe::metrics::{BreakerGauge, Service};
use crate::provider::breaker::{Breaker, BreakerConfig, BreakerState, Ticket};
use crate::provider::http;
use crate::provider::measured;
use crate::provider::tts::{SpeechStream, TtsVoice};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Texts kept at most.
const CACHE_ENTRIES: usize = 64;
/// Audio kept at most, bytes.
const CACHE_BYTES: usize = 4 << 20;

struct Slot {
    voice: Rc<dyn TtsVoice>,
    breaker: RefCell<Breaker>,
    in_flight: Cell<usize>,
    shown: BreakerGauge,
}

impl Slot {
    /// Tells the breaker something and shows how it stands then.
    fn breaker(&self, tell: impl FnOnce(&mut Breaker)) {
        let mut breaker = self.breaker.borrow_mut();
        tell(&mut breaker);
        self.shown.tell(breaker.state() != BreakerState::Closed);
    }
}

/// All voices of a worker, in order of preference.
pub struct Voices {
    slots: Vec<Slot>,
    cache: RefCell<SpeechCache>,
    /// The first voice, for the cache: vendor, voice, model, format.
    identity: String,
    max_concurrent: usize,
    first_audio: Duration,
    gap: Duration,
    /// The breakers' time counts from here.
    origin: Instant,
}

impl Voices {
    /// The voices `voices`, the preferred one first. `config.max_concurrent` bounds each of them on this worker.
    pub fn new(voices: Vec<Rc<dyn TtsVoice>>, config: &TtsConfig) -> Rc<Self> {
        let breaker = BreakerConfig {
            failures: config.breaker_failures,
            window: Duration::from_millis(config.breaker_window_ms),
            open: Duration::from_millis(config.breaker_open_ms),
        };
        let vendor = voices.first().map(|voice| voice.vendor()).unwrap_or_default();
        let slot = |voice: Rc<dyn TtsVoice>| Slot {
            breaker: RefCell::new(Breaker::new(breaker)),
            in_flight: Cell::new(0),
            shown: BreakerGauge::new(Service::Tts, voice.vendor()),
            voice,
        };
        Rc::new(Self {
            slots: voices.into_iter().map(slot).collect(),
            cache: RefCell::new(SpeechCache::new(CACHE_ENTRIES, CACHE_BYTES)),
            identity: format!("{vendor}/{}/{}/{}", config.voice_id, config.model, config.output_format),
            max_concurrent: config.max_concurrent,
            first_audio: Duration::from_millis(config.first_audio_ms),
            gap: Duration::from_millis(config.gap_ms),
            origin: Instant::now(),
        })
    }

    /// How many voices there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A voice's vendor.
    pub(super) fn vendor(&self, voice: usize) -> &'static str {
        self.slots.get(voice).map_or("", |slot| slot.voice.vendor())
    }

    /// Vendor, state of the breaker and requests under way of each voice, for metrics.
    pub fn states(&self) -> Vec<(&'static str, BreakerState, usize)> {
        let state = |slot: &Slot| (slot.voice.vendor(), slot.breaker.borrow().state(), slot.in_flight.get());
        self.slots.iter().map(state).collect()
    }

    /// Opens a connection to each vendor ahead of need.
    pub fn warm(&self) -> LocalBoxFuture<'static, ()> {
        let all: Vec<_> = self.slots.iter().map(|slot| slot.voice.warm()).collect();
        Box::pin(async move {
            futures_util::future::join_all(all).await;
        })
    }

    /// Opens a connection to one vendor, after one was lost to a cancelled synthesis.
    pub(super) fn warm_one(&self, voice: usize) -> LocalBoxFuture<'static, ()> {
        self.slots.get(voice).map_or_else(|| Box::pin(async {}) as _, |slot| slot.voice.warm())
    }

    /// The kept audio of a text.
    pub(super) fn kept(&self, text: &str) -> Option<Bytes> {
        self.cache.borrow_mut().get(&self.key(text))
    }

    /// Keeps the audio of a text spoken by the first voice.
    pub(super) fn keep(&self, text: &str, audio: Bytes) {
        self.cache.borrow_mut().insert(self.key(text), audio);
    }

    fn key(&self, text: &str) -> SpeechKey {
        SpeechKey { voice: self.identity.clone(), text: text.to_owned() }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Leave for one request to a voice.
    pub(super) fn lease(self: &Rc<Self>, voice: usize) -> Result<Lease, Skip> {
        let slot = self.slots.get(voice).ok_or(Skip::AtCapacity)?;
        if slot.in_flight.get() >= self.max_concurrent {
            return Err(Skip::AtCapacity);
        }
        let ticket = slot.breaker.borrow_mut().admit(self.now()).ok_or(Skip::BreakerOpen)?;
        slot.in_flight.set(slot.in_flight.get().saturating_add(1));
        Ok(Lease { voices: Rc::clone(self), voice, ticket: Some(ticket) })
    }

    /// The audio of `text`, within the limits whatever the vendor's own client does.
    pub(super) fn speak(&self, voice: usize, text: String) -> SpeechStream {
        let Some(slot) = self.slots.get(voice) else { return stream::empty().boxed_local() };
        let vendor = slot.voice.vendor();
        let gap = self.gap;
        let characters = text.chars().count();
        let opening = slot.voice.speak(text);
        let first = async move {
            let mut audio = opening.await?;
            let first = audio.next().await;
            Ok(stream::iter(first).chain(http::idle(vendor, audio, gap)))
        };
        let first = http::within(vendor, self.first_audio, "first_audio_timeout", first);
        measured::speech(vendor, characters, stream::once(first).try_flatten().boxed_local())
    }
}

/// Leave for one request; dropped without a result, it tells the breaker nothing.
pub(super) struct Lease {
    voices: Rc<Voices>,
    voice: usize,
    ticket: Option<Ticket>,
}

impl Lease {
    /// Which voice it is for.
    pub(super) fn voice(&self) -> usize {
        self.voice
    }

    /// The request came to its end.
    pub(super) fn succeeded(mut self) {
        if let Some((slot, ticket)) = self.voices.slots.get(self.voice).zip(self.ticket.take()) {
            slot.breaker(|breaker| breaker.success(ticket));
        }
    }

    /// The request failed.
    pub(super) fn failed(mut self) {
        if let Some((slot, ticket)) = self.voices.slots.get(self.voice).zip(self.ticket.take()) {
            slot.breaker(|breaker| breaker.failure(ticket, self.voices.now()));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.voices.slots.get(self.voice) else { return };
        slot.in_flight.set(slot.in_flight.get().saturating_sub(1));
        if let Some(ticket) = self.ticket.take() {
            slot.breaker(|breaker| breaker.cancelled(ticket, self.voices.now()));
        }
    }
}
