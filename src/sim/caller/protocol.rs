//! Media Streams messages, from Twilio's side: what it sends, and a strict reading of what it is sent. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::audio::FRAME_MS;

/// Writes the messages of one stream, numbering them as Twilio does.
#[derive(Debug)]
pub struct Outbox {
    account_sid: String,
    call_sid: String,
    stream_sid: String,
    sequence: u64,
    chunk: u64,
    first_timestamp_ms: u64,
}

impl Outbox {
    /// Makes the outbox of a new stream. Twilio's first `timestamp` is above 0; captures show 102, 155 and 171.
    #[must_use]
    pub fn new(account_sid: &str, call_sid: &str, stream_sid: &str, first_timestamp_ms: u64) -> Self {
        Self {
            account_sid: account_sid.to_owned(),
            call_sid: call_sid.to_owned(),
            stream_sid: stream_sid.to_owned(),
            sequence: 0,
            chunk: 0,
            first_timestamp_ms,
        }
    }

    /// The `connected` message, which has no number.
    #[must_use]
    pub fn connected() -> Vec<u8> {
        br#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#.to_vec()
    }

    /// The `start` message.
    pub fn start(&mut self, parameters: &BTreeMap<String, String>) -> Vec<u8> {
        let message = json!({
            "event": "start",
            "sequenceNumber": self.number(),
            "start": {
                "accountSid": self.account_sid,
                "streamSid": self.stream_sid,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": parameters,
            },
            "streamSid": self.stream_sid,
        });
        message.to_string().into_bytes()
    }

    /// Appends a `media` message with 20 ms of audio, already in base64.
    pub fn media(&mut self, payload: &str, into: &mut Vec<u8>) {
        self.sequence += 1;
        self.chunk += 1;
        let timestamp = self.first_timestamp_ms + (self.chunk - 1) * u64::from(FRAME_MS);
        // Writing to a vector cannot fail.
        let _ = write!(
            into,
            r#"{{"event":"media","sequenceNumber":"{}","media":{{"track":"inbound","chunk":"{}","timestamp":"{}","payload":""#,
            self.sequence, self.chunk, timestamp
        );
        into.extend_from_slice(payload.as_bytes());
        into.extend_from_slice(br#""},"streamSid":""#);
        into.extend_from_slice(self.stream_sid.as_bytes());
        into.extend_from_slice(br#""}"#);
    }

    /// A `dtmf` message for one key.
    pub fn dtmf(&mut self, digit: char) -> Vec<u8> {
        let message = json!({
            "event": "dtmf",
            "streamSid": self.stream_sid,
            "sequenceNumber": self.number(),
            "dtmf": {"track": "inbound_track", "digit": digit.to_string()},
        });
        message.to_string().into_bytes()
    }

    /// A `mark` message: the mark was reached or flushed.
    pub fn mark(&mut self, name: &str) -> Vec<u8> {
        let message = json!({
            "event": "mark",
            "sequenceNumber": self.number(),
            "streamSid": self.stream_sid,
            "mark": {"name": name},
        });
        message.to_string().into_bytes()
    }

    /// The `stop` message.
    pub fn stop(&mut self) -> Vec<u8> {
        let message = json!({
            "event": "stop",
            "sequenceNumber": self.number(),
            "stop": {"accountSid": self.account_sid, "callSid": self.call_sid},
            "streamSid": self.stream_sid,
        });
        message.to_string().into_bytes()
    }

    /// `media` messages written so far.
    #[must_use]
    pub const fn chunks(&self) -> u64 {
        self.chunk
    }

    fn number(&mut self) -> String {
        self.sequence += 1;
        self.sequence.to_string()
    }
}

/// What the server asks of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Audio to play; it lies in the buffer given to [`read`].
    Media,
    /// A mark behind the audio queued so far.
    Mark(String),
    /// Drop what waits.
    Clear,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, rename = "streamSid")]
    stream_sid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    media: Option<RawMedia<'a>>,
    #[serde(borrow)]
    mark: Option<RawMark<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMedia<'a> {
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMark<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

/// Beginnings of files that must not be sent as raw audio.
const FILE_HEADERS: [&[u8]; 4] = [b"RIFF", b"ID3", b"OggS", b"fLaC"];

/// Reads a text message of the server. Audio replaces what `audio` held.
///
/// # Errors
/// Says which rule the message breaks, with Twilio's code.
pub fn read(text: &[u8], stream_sid: &str, audio: &mut Vec<u8>) -> Result<Command, String> {
    let raw: Raw<'_> =
        serde_json::from_slice(text).map_err(|error| format!("31951 invalid message: {error}"))?;
    match raw.stream_sid {
        Some(sid) if sid == stream_sid => {}
        Some(sid) => return Err(format!("31951 wrong streamSid {sid:?}")),
        None => return Err("31951 no streamSid".to_owned()),
    }
    match (&*raw.event, raw.media, raw.mark) {
        ("media", Some(media), None) => {
            audio.clear();
            STANDARD
                .decode_vec(media.payload.as_bytes(), audio)
                .map_err(|error| format!("31950 payload is not base64: {error}"))?;
            if FILE_HEADERS.iter().any(|header| audio.starts_with(header)) {
                return Err("payload begins with a file header: it would play as noise".to_owned());
            }
            Ok(Command::Media)
        }
        ("mark", None, Some(mark)) => Ok(Command::Mark(mark.name.into_owned())),
        ("clear", None, None) => Ok(Command::Clear),
        ("media" | "mark" | "clear", ..) => Err(format!("31951 missing or extra field in {:?}", raw.event)),
        (event, ..) => Err(format!("31951 unknown event {event:?}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const SID: &str = "MZ000000000000000000000000000000e1";

    fn lines(text: &str) -> Vec<Value> {
        text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn what_a_server_may_send_is_read() {
        for message in lines(include_str!("../../../tests/fixtures/twilio/server_to_twilio_valid.jsonl")) {
            let mut audio = Vec::new();
            read(message.to_string().as_bytes(), SID, &mut audio).unwrap();
            assert_eq!(message["event"] == "media", !audio.is_empty(), "{message}");
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_a_violation() {
        let all = lines(include_str!("../../../tests/fixtures/twilio/server_to_twilio_invalid.jsonl"));
        let texts = all.iter().filter(|line| line.get("msg").is_some());
        for line in texts {
            let result = read(line["msg"].to_string().as_bytes(), SID, &mut Vec::new());
            assert!(result.is_err(), "{line}");
        }
        assert!(read(b"hello", SID, &mut Vec::new()).is_err());
        let bad = format!(r#"{{"event":"media","streamSid":"{SID}","media":{{"payload":"%%%"}}}}"#);
        assert!(read(bad.as_bytes(), SID, &mut Vec::new()).is_err());
        let both = format!(r#"{{"event":"clear","streamSid":"{SID}","mark":{{"name":"a"}}}}"#);
        assert!(read(both.as_bytes(), SID, &mut Vec::new()).is_err());
    }

    #[test]
    fn messages_are_numbered_as_strings_from_start_on() {
        let mut outbox = Outbox::new("AC1", "CA1", SID, 102);
        let parameters = BTreeMap::from([("token".to_owned(), "t\"1".to_owned())]);
        let start: Value = serde_json::from_slice(&outbox.start(&parameters)).unwrap();
        assert_eq!(start["sequenceNumber"], "1");
        assert_eq!(start["start"]["customParameters"]["token"], "t\"1");
        assert_eq!(start["start"]["mediaFormat"]["sampleRate"], 8000);
        for expected in [("2", "1", "102"), ("3", "2", "122")] {
            let mut text = Vec::new();
            outbox.media("//8=", &mut text);
            let media: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(media["sequenceNumber"], expected.0);
            assert_eq!(media["media"]["chunk"], expected.1);
            assert_eq!(media["media"]["timestamp"], expected.2);
            assert_eq!(media["media"]["payload"], "//8=");
            assert_eq!(media["streamSid"], SID);
        }
        let dtmf: Value = serde_json::from_slice(&outbox.dtmf('#')).unwrap();
        assert_eq!((&dtmf["sequenceNumber"], &dtmf["dtmf"]["digit"]), (&json!("4"), &json!("#")));
        let mark: Value = serde_json::from_slice(&outbox.mark("ü \"x\"")).unwrap();
        assert_eq!((&mark["sequenceNumber"], &mark["mark"]["name"]), (&json!("5"), &json!("ü \"x\"")));
        let stop: Value = serde_json::from_slice(&outbox.stop()).unwrap();
        assert_eq!((&stop["sequenceNumber"], &stop["stop"]["callSid"]), (&json!("6"), &json!("CA1")));
    }
}
