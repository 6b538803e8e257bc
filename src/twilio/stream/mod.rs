//! The messages of a Media Stream (`twilio.md` section 3): what Twilio sends us, and the three things we may send back.
//!
//! A `media` message comes 50 times a second and call; in its usual shape it is read by `scan` without an allocation.
//! Everything else, and every odd shape of it, goes through JSON proper in `wire`. Both give the same answer.

mod out;
mod scan;
mod wire;

pub use out::{MAX_MEDIA_BYTES, StreamWriter};

use crate::domain::ids::{CallSid, StreamSid};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The largest message read, in bytes; Twilio's have about 400.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Why a message of the stream cannot be used. Holds nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes than [`MAX_MESSAGE_BYTES`].
    #[error("the message has {0} bytes, more than 65536")]
    TooLarge(usize),
    /// Not text.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// Not JSON, or JSON of another shape.
    #[error("the message is not the JSON expected, at column {column}")]
    Json {
        /// Where reading stopped, counted from 1 within the message or its part.
        column: usize,
    },
    /// The payload is not base64.
    #[error("the payload is not base64")]
    Base64(#[from] base64::DecodeError),
    /// A field that must be there is absent.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// A field has a value that cannot be used.
    #[error("field {0} has a value that cannot be used")]
    BadField(&'static str),
}

impl FrameError {
    /// The stable word for logs, metrics and the audit trail.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "stream.too_large",
            Self::NotUtf8 => "stream.not_utf8",
            Self::Json { .. } => "stream.bad_json",
            Self::Base64(_) => "stream.bad_base64",
            Self::MissingField(_) => "stream.missing_field",
            Self::BadField(_) => "stream.bad_field",
        }
    }
}

/// Whose audio a `media` message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// The caller's.
    Inbound,
    /// Ours, echoed; never documented for bidirectional streams, to be ignored.
    Outbound,
    /// A word we do not know; to be ignored.
    Other,
}

/// What `start` tells of a stream.
#[derive(Clone, PartialEq, Eq)]
pub struct StartInfo {
    /// The stream; every later message carries it.
    pub stream_sid: StreamSid,
    /// The account; to be compared with ours.
    pub account_sid: String,
    /// The call.
    pub call_sid: CallSid,
    /// The `<Parameter>`s of our TwiML; hold the admission's token, so they are not printed.
    pub custom_parameters: BTreeMap<String, String>,
    /// Encoding of the audio (`audio/x-mulaw`).
    pub encoding: String,
    /// Samples per second, Hz.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
}

impl StartInfo {
    /// Whether the audio is what we understand: mu-law, 8 kHz, one channel.
    pub fn is_mulaw_8k_mono(&self) -> bool {
        self.encoding == "audio/x-mulaw" && self.sample_rate == 8_000 && self.channels == 1
    }
}

impl std::fmt::Debug for StartInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StartInfo")
            .field("stream_sid", &self.stream_sid)
            .field("call_sid", &self.call_sid)
            .field("encoding", &self.encoding)
            .field("sample_rate", &self.sample_rate)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// One message from Twilio. Borrows from the frame it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamMessage<'a> {
    /// The socket speaks our protocol; the first message.
    Connected,
    /// The stream begins; the second message.
    Start(StartInfo),
    /// Audio.
    Media {
        /// The stream it belongs to.
        stream_sid: Cow<'a, str>,
        /// Whose audio.
        track: Track,
        /// Position among the stream's `media` messages, from 1.
        chunk: u64,
        /// When the audio begins, ms since the stream's start; the first is not 0.
        timestamp_ms: u64,
        /// Mu-law in base64, of any length; see [`decode_payload`].
        payload_b64: Cow<'a, str>,
    },
    /// The caller pressed a key.
    Dtmf {
        /// The stream it belongs to.
        stream_sid: Cow<'a, str>,
        /// `0`-`9`, `*`, `#` or `A`-`D`.
        digit: char,
    },
    /// All audio sent before the mark was played, or dropped by a `clear`.
    Mark {
        /// The stream it belongs to.
        stream_sid: Cow<'a, str>,
        /// The name we gave it.
        name: Cow<'a, str>,
    },
    /// The stream is over; Twilio closes the socket.
    Stop {
        /// The stream it belongs to.
        stream_sid: Cow<'a, str>,
    },
    /// An event we do not know; to be ignored.
    Unknown,
}

impl<'a> StreamMessage<'a> {
    /// Reads one text frame.
    pub fn parse(frame: &'a [u8]) -> Result<Self, FrameError> {
        if frame.len() > MAX_MESSAGE_BYTES {
            return Err(FrameError::TooLarge(frame.len()));
        }
        match scan::media(frame) {
            Some(media) => Ok(media),
            None => wire::parse(std::str::from_utf8(frame).map_err(|_| FrameError::NotUtf8)?),
        }
    }

    /// The stream the message belongs to; `connected` and unknown events belong to none.
    pub fn stream_sid(&self) -> Option<&str> {
        match self {
            Self::Start(start) => Some(start.stream_sid.as_str()),
            Self::Media { stream_sid, .. }
            | Self::Dtmf { stream_sid, .. }
            | Self::Mark { stream_sid, .. }
            | Self::Stop { stream_sid } => Some(stream_sid),
            Self::Connected | Self::Unknown => None,
        }
    }
}

/// Padding may be left out: that is no reason to lose audio.
const PAYLOAD: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes a payload into `audio`, whose content is replaced. After an error it is empty: half-decoded bytes
/// would be loud, since 0 is no silence in mu-law.
pub fn decode_payload(payload_b64: &str, audio: &mut Vec<u8>) -> Result<(), FrameError> {
    audio.clear();
    PAYLOAD.decode_vec(payload_b64, audio).map_err(|error| {
        audio.clear();
        FrameError::Base64(error)
    })
}

#[cfg(test)]
mod tests;
