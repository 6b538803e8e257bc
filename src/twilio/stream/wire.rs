//! Reads any message of a Media Stream as JSON proper: any order of keys, unknown fields, numbers with and without quotes.

use super::{FrameError, StartInfo, StreamMessage, Track};
use crate::domain::ids::{CallSid, StreamSid};
use crate::twilio::webhook::is_identifier;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The most `<Parameter>`s that are kept; we send four at most.
const MAX_PARAMETERS: usize = 32;

/// Whose audio a word of Twilio's means.
pub(super) fn track(word: &str) -> Track {
    match word {
        "inbound" => Track::Inbound,
        "outbound" => Track::Outbound,
        _ => Track::Other,
    }
}

/// A message with its parts unread: an unknown event may use our names for parts of another shape.
#[derive(Deserialize)]
struct Envelope<'a> {
    event: Option<String>,
    #[serde(rename = "streamSid")]
    stream_sid: Option<Value>,
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    #[serde(borrow)]
    media: Option<&'a RawValue>,
    #[serde(borrow)]
    dtmf: Option<&'a RawValue>,
    #[serde(borrow)]
    mark: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    account_sid: Option<String>,
    stream_sid: Option<String>,
    call_sid: Option<String>,
    media_format: Option<MediaFormat>,
    custom_parameters: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MediaFormat {
    encoding: Option<String>,
    sample_rate: Option<Number>,
    channels: Option<Number>,
}

#[derive(Deserialize)]
struct Media {
    track: Option<String>,
    chunk: Option<Number>,
    timestamp: Option<Number>,
    payload: Option<String>,
}

#[derive(Deserialize)]
struct Dtmf {
    digit: Option<String>,
}

#[derive(Deserialize)]
struct Mark {
    name: Option<String>,
}

/// A number as Twilio writes it: mostly in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Quoted(String),
}

impl Number {
    fn value(&self, field: &'static str) -> Result<u64, FrameError> {
        match self {
            Self::Plain(number) => Ok(*number),
            Self::Quoted(text) => text.parse().map_err(|_| FrameError::BadField(field)),
        }
    }
}

/// Reads one message.
pub(super) fn parse<'a>(text: &str) -> Result<StreamMessage<'a>, FrameError> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(json_error)?;
    let event = envelope.event.as_deref().ok_or(FrameError::MissingField("event"))?;
    let top_sid = envelope.stream_sid.as_ref().and_then(Value::as_str);
    let stream_sid = || -> Result<Cow<'a, str>, FrameError> {
        top_sid.map(|sid| Cow::Owned(sid.to_owned())).ok_or(FrameError::MissingField("streamSid"))
    };
    match event {
        "connected" => Ok(StreamMessage::Connected),
        "start" => start(part(envelope.start, "start")?, top_sid).map(StreamMessage::Start),
        "media" => {
            let media: Media = part(envelope.media, "media")?;
            let chunk = media.chunk.ok_or(FrameError::MissingField("media.chunk"))?;
            let timestamp = media.timestamp.ok_or(FrameError::MissingField("media.timestamp"))?;
            let payload = media.payload.ok_or(FrameError::MissingField("media.payload"))?;
            Ok(StreamMessage::Media {
                stream_sid: stream_sid()?,
                track: media.track.as_deref().map_or(Track::Inbound, track),
                chunk: chunk.value("media.chunk")?,
                timestamp_ms: timestamp.value("media.timestamp")?,
                payload_b64: Cow::Owned(payload),
            })
        }
        "dtmf" => {
            let dtmf: Dtmf = part(envelope.dtmf, "dtmf")?;
            let digit = dtmf.digit.ok_or(FrameError::MissingField("dtmf.digit"))?;
            let mut keys = digit.chars();
            match (keys.next(), keys.next()) {
                (Some(digit @ ('0'..='9' | '*' | '#' | 'A'..='D')), None) => {
                    Ok(StreamMessage::Dtmf { stream_sid: stream_sid()?, digit })
                }
                _ => Err(FrameError::BadField("dtmf.digit")),
            }
        }
        "mark" => {
            let mark: Mark = part(envelope.mark, "mark")?;
            let name = mark.name.ok_or(FrameError::MissingField("mark.name"))?;
            Ok(StreamMessage::Mark { stream_sid: stream_sid()?, name: Cow::Owned(name) })
        }
        "stop" => Ok(StreamMessage::Stop { stream_sid: stream_sid()? }),
        _ => Ok(StreamMessage::Unknown),
    }
}

fn part<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &'static str) -> Result<T, FrameError> {
    let raw = raw.ok_or(FrameError::MissingField(name))?;
    serde_json::from_str(raw.get()).map_err(json_error)
}

fn start(start: Start, top_sid: Option<&str>) -> Result<StartInfo, FrameError> {
    let format = start.media_format.ok_or(FrameError::MissingField("start.mediaFormat"))?;
    let rate = format.sample_rate.ok_or(FrameError::MissingField("start.mediaFormat.sampleRate"))?;
    let rate = rate.value("start.mediaFormat.sampleRate")?;
    // Older streams leave the channels out; there is one.
    let channels = format.channels.map_or(Ok(1), |number| number.value("start.mediaFormat.channels"))?;
    let stream_sid = start.stream_sid.as_deref().or(top_sid);
    let mut custom_parameters = start.custom_parameters.unwrap_or_default();
    if custom_parameters.len() > MAX_PARAMETERS {
        return Err(FrameError::BadField("start.customParameters"));
    }
    Ok(StartInfo {
        stream_sid: StreamSid::from(identifier(stream_sid, "start.streamSid")?),
        account_sid: identifier(start.account_sid.as_deref(), "start.accountSid")?.to_owned(),
        call_sid: CallSid::from(identifier(start.call_sid.as_deref(), "start.callSid")?),
        custom_parameters: std::mem::take(&mut custom_parameters)
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect(),
        encoding: format.encoding.ok_or(FrameError::MissingField("start.mediaFormat.encoding"))?,
        sample_rate: u32::try_from(rate).map_err(|_| FrameError::BadField("start.mediaFormat.sampleRate"))?,
        channels: u32::try_from(channels).map_err(|_| FrameError::BadField("start.mediaFormat.channels"))?,
    })
}

fn identifier<'a>(text: Option<&'a str>, field: &'static str) -> Result<&'a str, FrameError> {
    let text = text.ok_or(FrameError::MissingField(field))?;
    if is_identifier(text) { Ok(text) } else { Err(FrameError::BadField(field)) }
}

/// Where reading stopped; the parser's own message may quote the content, and with it a token or a key pressed.
#[expect(clippy::needless_pass_by_value, reason = "used as a function of map_err")]
fn json_error(error: serde_json::Error) -> FrameError {
    FrameError::Json { column: error.column() }
}
