//! Reads the usual `media` message without allocating.
//!
//! Accepts less than JSON: strings without escapes, in visible ASCII and blanks; the known keys, in any order, once each.
//! Anything else gives nothing, and the caller goes the long way. What it accepts means the same in JSON.

use super::{StreamMessage, Track};
use std::borrow::Cow;

/// The message, if it is a `media` message of the usual shape.
pub(super) fn media(frame: &[u8]) -> Option<StreamMessage<'_>> {
    let mut cursor = Cursor { rest: frame };
    let mut event = None;
    let mut stream_sid = None;
    let mut sequence = None;
    let mut media = None;
    cursor.token(b'{')?;
    loop {
        match cursor.key()? {
            "event" => once(&mut event, cursor.string()?)?,
            "streamSid" => once(&mut stream_sid, cursor.string()?)?,
            "sequenceNumber" => once(&mut sequence, cursor.number()?)?,
            "media" => once(&mut media, body(&mut cursor)?)?,
            _ => return None,
        }
        if !cursor.more()? {
            break;
        }
    }
    cursor.blanks();
    if !cursor.rest.is_empty() || event? != "media" {
        return None;
    }
    let body = media?;
    Some(StreamMessage::Media {
        stream_sid: Cow::Borrowed(stream_sid?),
        track: body.track,
        chunk: body.chunk,
        timestamp_ms: body.timestamp_ms,
        payload_b64: Cow::Borrowed(body.payload),
    })
}

/// The inner object of a `media` message.
struct Body<'a> {
    track: Track,
    chunk: u64,
    timestamp_ms: u64,
    payload: &'a str,
}

fn body<'a>(cursor: &mut Cursor<'a>) -> Option<Body<'a>> {
    let (mut track, mut chunk, mut timestamp, mut payload) = (None, None, None, None);
    cursor.token(b'{')?;
    loop {
        match cursor.key()? {
            "track" => once(&mut track, cursor.string()?)?,
            "chunk" => once(&mut chunk, cursor.number()?)?,
            "timestamp" => once(&mut timestamp, cursor.number()?)?,
            "payload" => once(&mut payload, cursor.string()?)?,
            _ => return None,
        }
        if !cursor.more()? {
            break;
        }
    }
    Some(Body {
        track: super::wire::track(track?),
        chunk: chunk?,
        timestamp_ms: timestamp?,
        payload: payload?,
    })
}

/// Fills a place that must be empty.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn blanks(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes one punctuation character.
    fn token(&mut self, wanted: u8) -> Option<()> {
        self.blanks();
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        (first == wanted).then_some(())
    }

    /// Takes `,` (more follows) or `}` (the end).
    fn more(&mut self) -> Option<bool> {
        self.blanks();
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match first {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    fn key(&mut self) -> Option<&'a str> {
        let key = self.string()?;
        self.token(b':')?;
        Some(key)
    }

    /// Takes a string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.token(b'"')?;
        let end = self.rest.iter().position(|&byte| byte == b'"')?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        let plain = text.iter().all(|&byte| matches!(byte, b' '..=b'~') && byte != b'\\');
        if plain { std::str::from_utf8(text).ok() } else { None }
    }

    /// Takes a whole number, in quotes or not.
    fn number(&mut self) -> Option<u64> {
        self.blanks();
        if self.rest.first() == Some(&b'"') {
            let text = self.string()?;
            return if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None };
        }
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let (digits, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        // JSON knows no leading zeros.
        if digits.len() > 1 && digits.first() == Some(&b'0') {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}
