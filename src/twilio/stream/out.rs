//! Writes what may be sent to Twilio: `media`, `mark` and `clear`, with exactly the documented fields.

use crate::domain::ids::StreamSid;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most mu-law that should go into one message, in bytes: 3 s, or 32 kB of base64 (`twilio.md` 3.4).
pub const MAX_MEDIA_BYTES: usize = 24_000;

/// Writes the messages of one stream into buffers of the caller's, whose content is replaced.
#[derive(Clone, Debug)]
pub struct StreamWriter {
    media: String,
    mark: String,
    clear: String,
}

impl StreamWriter {
    /// A writer for the stream that `start` named.
    pub fn new(stream_sid: &StreamSid) -> Self {
        let mut sid = String::new();
        push_string(&mut sid, stream_sid.as_str());
        Self {
            media: format!(r#"{{"event":"media","streamSid":{sid},"media":{{"payload":""#),
            mark: format!(r#"{{"event":"mark","streamSid":{sid},"mark":{{"name":"#),
            clear: format!(r#"{{"event":"clear","streamSid":{sid}}}"#),
        }
    }

    /// Audio to be played after all that was sent before: raw mu-law, 8 kHz, at most [`MAX_MEDIA_BYTES`].
    pub fn media(&self, mulaw: &[u8], out: &mut String) {
        out.clear();
        out.push_str(&self.media);
        STANDARD.encode_string(mulaw, out);
        out.push_str("\"}}");
    }

    /// A mark that comes back when all audio before it was played or dropped.
    pub fn mark(&self, name: &str, out: &mut String) {
        out.clear();
        out.push_str(&self.mark);
        push_string(out, name);
        out.push_str("}}");
    }

    /// Drops all audio not yet played.
    pub fn clear(&self) -> &str {
        &self.clear
    }
}

/// Appends a JSON string.
fn push_string(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
