//! Speech to text as the call sees it.
//!
//! One connection is a pair of halves. Times in messages are seconds of audio sent on *this* connection; the STT
//! machine of the call adds what earlier connections carried.

pub mod deepgram;

use super::ProviderError;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;

/// A recognised word. Times in seconds since the connection's first audio byte.
#[derive(Clone, Debug, PartialEq)]
pub struct SttWord {
    /// The word, punctuated if the vendor does so.
    pub text: String,
    /// Where it starts.
    pub start: f64,
    /// Where it ends.
    pub end: f64,
}

/// What a recogniser says. Mirrors the distinctions of Deepgram's v1 protocol that utterance assembly needs
/// (`deepgram.md` section 5); a vendor with fewer leaves flags unset.
#[derive(Clone, Debug, PartialEq)]
pub enum SttMessage {
    /// A transcript of the span `start .. start + duration`.
    Results {
        /// Start of the span, s.
        start: f64,
        /// Length of the span, s.
        duration: f64,
        /// The span will not be transcribed again.
        is_final: bool,
        /// A pause was detected at its end.
        speech_final: bool,
        /// It answers our `Finalize`.
        from_finalize: bool,
        /// The words as text; often empty.
        transcript: String,
        /// The words with times; may be empty although the text is not.
        words: Vec<SttWord>,
    },
    /// Sound that may be speech began.
    SpeechStarted {
        /// When, s.
        at: f64,
    },
    /// No word for a while.
    UtteranceEnd {
        /// End of the last word, s; `None` where the vendor does not know.
        last_word_end: Option<f64>,
    },
    /// The vendor reports a fault of this connection but keeps it open.
    Warning {
        /// Its code.
        code: String,
    },
}

/// The sending half of a connection.
pub trait SttSender {
    /// Sends audio (mu-law, 8 kHz, mono). Empty audio is never put on the wire.
    fn audio(&mut self, audio: Bytes) -> LocalBoxFuture<'_, Result<(), ProviderError>>;
    /// Keeps an idle connection open.
    fn keep_alive(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>>;
    /// Asks for what is buffered to be settled now.
    fn finalize(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>>;
    /// Announces the end: last results follow, then the vendor closes.
    fn finish(&mut self) -> LocalBoxFuture<'_, Result<(), ProviderError>>;
}

/// The receiving half of a connection.
pub trait SttReceiver {
    /// The next message; `None` after an orderly close. Dropping the future loses no message.
    fn next(&mut self) -> LocalBoxFuture<'_, Option<Result<SttMessage, ProviderError>>>;
}

/// Opens connections to one recogniser. One per worker thread.
pub trait SttVendor {
    /// Opens a connection for one call.
    #[expect(clippy::type_complexity, reason = "the pair is taken apart at once")]
    fn connect(
        &self,
    ) -> LocalBoxFuture<'static, Result<(Box<dyn SttSender>, Box<dyn SttReceiver>), ProviderError>>;
}
