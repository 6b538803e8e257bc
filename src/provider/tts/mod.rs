//! Text to speech as the call sees it: a text goes in, mu-law at 8 kHz streams out.

pub mod deepgram;
pub mod elevenlabs;
mod head;
mod stream;
#[cfg(test)]
mod testing;

use super::ProviderError;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::LocalBoxStream;

/// Audio of one sentence as it arrives: mu-law, 8 kHz, mono, headerless, in pieces of any size.
pub type SpeechStream = LocalBoxStream<'static, Result<Bytes, ProviderError>>;

/// One voice at one vendor. One per worker thread.
pub trait TtsVoice {
    /// The vendor's short name, for logs and the breaker.
    fn vendor(&self) -> &'static str;
    /// Starts to speak `text`. Resolves when the vendor has accepted it and the head of its answer was checked;
    /// the audio follows. Dropping the stream cancels the synthesis.
    fn speak(&self, text: String) -> LocalBoxFuture<'static, Result<SpeechStream, ProviderError>>;
    /// Opens a connection ahead of need, so that the first sentence finds one.
    fn warm(&self) -> LocalBoxFuture<'static, ()>;
}
