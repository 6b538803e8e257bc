//! What the ear's machine is told and what it asks for.

use super::clock::BYTES_PER_MS;
use super::messages::Heard;
use super::utterance::AssemblySettings;
use crate::config::call::CallConfig;
use crate::config::stt::SttConfig;
use crate::domain::time::CallTime;
use crate::provider::ProviderError;
use crate::provider::stt::SttMessage;
use bytes::Bytes;
use std::time::Duration;

/// What the ear has to know.
#[derive(Clone, Debug)]
pub struct EarSettings {
    /// How utterances are assembled.
    pub assembly: AssemblySettings,
    /// Interval of keep-alives while no audio is sent.
    pub keep_alive: Duration,
    /// Audio with voice in it without an answer for this long: the connection is replaced.
    pub stall: Duration,
    /// Audio kept, bytes.
    pub keep: u64,
    /// First wait before a reconnect; doubles.
    pub reconnect: Duration,
    /// Longest wait before a reconnect.
    pub reconnect_max: Duration,
    /// After so long without a recogniser that hears, the ear gives up.
    pub give_up: Duration,
    /// Most audio in one frame, bytes; at least 1.
    pub join: usize,
    /// Most audio in one frame while nobody speaks, bytes; at least `join`.
    pub silence_join: usize,
}

impl EarSettings {
    /// The settings a configuration implies.
    pub fn new(stt: &SttConfig, call: &CallConfig) -> Self {
        let bytes = |ms: u32| u64::from(ms.clamp(1, 1_000)).saturating_mul(BYTES_PER_MS);
        let (join, silence_join) = (bytes(stt.join_ms), bytes(stt.silence_join_ms.max(stt.join_ms)));
        Self {
            assembly: AssemblySettings::new(stt, call),
            keep_alive: Duration::from_millis(stt.keep_alive_ms.max(1)),
            stall: Duration::from_millis(stt.stall_ms.max(1)),
            keep: u64::from(stt.gap_buffer_ms).saturating_mul(BYTES_PER_MS),
            reconnect: Duration::from_millis(stt.reconnect_ms),
            reconnect_max: Duration::from_millis(stt.reconnect_max_ms),
            give_up: Duration::from_millis(call.apology_ms),
            join: usize::try_from(join).unwrap_or(320),
            silence_join: usize::try_from(silence_join).unwrap_or(320),
        }
    }
}

/// A timer of the machine's; setting one replaces the one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerId {
    /// The wait before a reconnect is over.
    Reconnect,
    /// A keep-alive may be due.
    KeepAlive,
    /// More of the audio that waits may be sent.
    Pump,
    /// A deadline of the open utterance.
    Utterance,
    /// A stage of the end is over.
    Finish,
    /// It is looked whether the caller has to wait for the recogniser.
    Watch,
    /// The recogniser has been away for too long.
    GiveUp,
}

/// What happens to the ear.
#[derive(Clone, Debug)]
pub enum Event {
    /// The ear begins.
    Start,
    /// Audio of the caller came (mu-law).
    Audio(Bytes),
    /// Whether there is voice in the audio from here on, as measured on the spot.
    Voice(bool),
    /// The connection is open.
    Connected,
    /// The connection could not be opened.
    ConnectFailed(ProviderError),
    /// A message came, with times of the connection.
    Message(SttMessage),
    /// The connection ended; without an error it was an orderly close.
    Closed(Option<ProviderError>),
    /// A timer ran out.
    Timer(TimerId),
    /// What is buffered is to be settled now.
    Finalize,
    /// The audio ends: last words are to be collected.
    Finish,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Open a connection; how many failed before it in a row.
    Connect {
        /// 0 for the first.
        attempt: u32,
    },
    /// Send audio: one frame, never empty.
    SendAudio(Bytes),
    /// Send a keep-alive.
    SendKeepAlive,
    /// Ask for what is buffered to be settled.
    SendFinalize,
    /// Announce the end of the audio.
    SendFinish,
    /// Drop the connection, or the attempt at one.
    CloseSocket,
    /// Set a timer to a time on the call's clock.
    SetTimer(TimerId, CallTime),
    /// Forget a timer.
    CancelTimer(TimerId),
    /// Tell the call.
    Emit(Heard),
    /// Nothing will come any more.
    Stop,
}
