//! What Twilio posts to us: voice requests, status callbacks, results of verbs (`twilio.md` sections 1, 3.6, 4, 7).
//!
//! Unknown parameters are kept in the [`Form`] (the signature covers them) and otherwise ignored. Identifiers that are
//! too long or contain blanks are refused, because they go into keys, paths and logs; free text is cut and cleaned.

use crate::domain::call::CallStatus;
use crate::domain::ids::{CallSid, StreamSid};
use crate::domain::phone::CallerId;

/// The largest body that is read, in bytes; Twilio's are below 4 KiB.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The most parameters a body may have.
const MAX_PARAMETERS: usize = 512;

/// The longest identifier accepted, in bytes; Twilio's have 34.
pub(super) const MAX_IDENTIFIER_BYTES: usize = 128;

/// The longest free text kept, in characters.
const MAX_TEXT_CHARS: usize = 256;

/// Why a request of Twilio cannot be used; names the parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// More bytes than [`MAX_BODY_BYTES`].
    #[error("the body has {0} bytes, more than 65536")]
    BodyTooLarge(usize),
    /// More parameters than are read.
    #[error("the body has more than 512 parameters")]
    TooManyParameters,
    /// A parameter that must be there is absent or empty.
    #[error("parameter {0} is missing")]
    Missing(&'static str),
    /// An identifier is longer than 128 bytes, or has characters other than visible ASCII.
    #[error("parameter {0} is not an identifier")]
    Identifier(&'static str),
}

/// The decoded parameters of a request, in the order of arrival, empty and repeated ones included.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// Decodes a form body, or the query of a GET.
    pub fn parse(body: &[u8]) -> Result<Self, WebhookError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(WebhookError::BodyTooLarge(body.len()));
        }
        let pairs: Vec<_> =
            form_urlencoded::parse(body).into_owned().take(MAX_PARAMETERS.saturating_add(1)).collect();
        if pairs.len() > MAX_PARAMETERS { Err(WebhookError::TooManyParameters) } else { Ok(Self { pairs }) }
    }

    /// All pairs, as the signature needs them.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// The first value of a parameter; an empty one is a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, without outer blanks; none where it is absent or empty.
    fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    fn identifier(&self, name: &'static str) -> Result<Option<&str>, WebhookError> {
        match self.filled(name) {
            Some(text) if !is_identifier(text) => Err(WebhookError::Identifier(name)),
            text => Ok(text),
        }
    }

    fn required(&self, name: &'static str) -> Result<&str, WebhookError> {
        self.identifier(name)?.ok_or(WebhookError::Missing(name))
    }

    /// Free text without control characters, cut at [`MAX_TEXT_CHARS`].
    fn text(&self, name: &str) -> Option<String> {
        let text = self.filled(name)?;
        Some(text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_CHARS).collect())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.filled(name)?.parse().ok()
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values hold telephone numbers and names of people.
        f.debug_list().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

/// Whether a text may be taken for an identifier of Twilio's: 1 to 128 visible ASCII characters.
pub(super) fn is_identifier(text: &str) -> bool {
    (1..=MAX_IDENTIFIER_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Which way a call leg was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegDirection {
    /// Somebody rang one of our numbers.
    Inbound,
    /// We placed it through REST.
    OutboundApi,
    /// A `<Dial>` placed it.
    OutboundDial,
    /// A word we do not know.
    Other,
}

/// How a `<Dial>` ended (`twilio.md` section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialStatus {
    /// The called party answered, and that leg is over. See also [`VoiceRequest::dial_bridged`].
    Completed,
    /// Joined a conference.
    Answered,
    /// Engaged.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// Could not be connected.
    Failed,
    /// Given up before it was answered.
    Canceled,
    /// A word we do not know.
    Other,
}

/// Who answered an outbound call, as answering machine detection judges (`twilio.md` 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A person.
    Human,
    /// A machine, whose greeting may still be playing.
    MachineStart,
    /// A machine whose greeting ended with a tone.
    MachineEndBeep,
    /// A machine whose greeting ended in silence.
    MachineEndSilence,
    /// A machine whose greeting ended otherwise.
    MachineEndOther,
    /// A fax.
    Fax,
    /// No verdict, or a word we do not know: treated as a person.
    Unknown,
}

impl AnsweredBy {
    /// The verdict a word stands for.
    pub fn from_word(word: &str) -> Self {
        match word {
            "human" => Self::Human,
            "machine_start" | "machine" => Self::MachineStart,
            "machine_end_beep" => Self::MachineEndBeep,
            "machine_end_silence" => Self::MachineEndSilence,
            "machine_end_other" => Self::MachineEndOther,
            "fax" => Self::Fax,
            _ => Self::Unknown,
        }
    }

    /// Whether a message can be left now: a machine has finished its greeting.
    pub const fn greeting_ended(self) -> bool {
        matches!(self, Self::MachineEndBeep | Self::MachineEndSilence | Self::MachineEndOther)
    }

    /// Whether it is an answering machine.
    pub const fn is_machine(self) -> bool {
        matches!(self, Self::MachineStart) || self.greeting_ended()
    }
}

/// The status a word of Twilio's stands for; `initiated` is kept as queued, an unknown word is none.
pub fn call_status(word: &str) -> Option<CallStatus> {
    match word {
        "initiated" => Some(CallStatus::Queued),
        word => CallStatus::from_word(word),
    }
}

/// A request about a call: incoming, status callback, `action` of a verb, verdict of machine detection, fallback.
/// What a request does not carry is absent.
#[derive(Clone, PartialEq, Eq)]
pub struct VoiceRequest {
    /// The call leg.
    pub call_sid: CallSid,
    /// The account; to be compared with ours.
    pub account_sid: String,
    /// `From` as understood: the caller of an inbound call, our number in an outbound one. Withheld where absent.
    pub from: CallerId,
    /// `To` as understood: our number in an inbound call, the called party of an outbound one.
    pub to: CallerId,
    /// How the call stands; none for a word we do not know (then not terminal).
    pub status: Option<CallStatus>,
    /// The word that `status` was read from, for the log.
    pub status_word: Option<String>,
    /// Which way the leg was made.
    pub direction: Option<LegDirection>,
    /// The leg that dialled this one.
    pub parent_call_sid: Option<CallSid>,
    /// Order of status callbacks, from 0.
    pub sequence_number: Option<u32>,
    /// Length of the call, seconds; in terminal callbacks.
    pub call_duration: Option<u32>,
    /// SIP's answer; in terminal callbacks.
    pub sip_response_code: Option<u32>,
    /// How a `<Dial>` ended.
    pub dial_call_status: Option<DialStatus>,
    /// Whether the dialled party was ever joined with the caller.
    pub dial_bridged: Option<bool>,
    /// The dialled leg.
    pub dial_call_sid: Option<CallSid>,
    /// Length of the dialled leg, seconds.
    pub dial_call_duration: Option<u32>,
    /// Keys pressed in a `<Gather>` or `<Record>`.
    pub digits: Option<String>,
    /// Who answered.
    pub answered_by: Option<AnsweredBy>,
    /// How long machine detection took, ms.
    pub machine_detection_ms: Option<u32>,
    /// Twilio's error, in a request to the fallback URL and in callbacks of failed calls.
    pub error_code: Option<u32>,
    /// The URL that failed, in a request to the fallback URL.
    pub error_url: Option<String>,
    /// The number that forwarded the call to us; unreliable.
    pub forwarded_from: Option<CallerId>,
    /// The caller's name from the carriers' directory.
    pub caller_name: Option<String>,
    /// Verdict on the caller's number (`TN-Validation-Passed-A`); compare by prefix.
    pub stir_verstat: Option<String>,
}

impl VoiceRequest {
    /// Reads a request about a call. Only `CallSid` and `AccountSid` must be there; a number that is none, or a word
    /// we do not know, must not cost us the rest of a callback.
    pub fn from_form(form: &Form) -> Result<Self, WebhookError> {
        let call = |name| Ok::<_, WebhookError>(form.identifier(name)?.map(CallSid::from));
        Ok(Self {
            call_sid: form.required("CallSid")?.into(),
            account_sid: form.required("AccountSid")?.to_owned(),
            from: CallerId::classify(form.get("From").unwrap_or_default()),
            to: CallerId::classify(form.get("To").unwrap_or_default()),
            status: form.filled("CallStatus").and_then(call_status),
            status_word: form.text("CallStatus"),
            direction: form.filled("Direction").map(|word| match word {
                "inbound" => LegDirection::Inbound,
                "outbound-api" => LegDirection::OutboundApi,
                "outbound-dial" => LegDirection::OutboundDial,
                _ => LegDirection::Other,
            }),
            parent_call_sid: call("ParentCallSid")?,
            sequence_number: form.number("SequenceNumber"),
            call_duration: form.number("CallDuration"),
            sip_response_code: form.number("SipResponseCode"),
            dial_call_status: form.filled("DialCallStatus").map(|word| match word {
                "completed" => DialStatus::Completed,
                "answered" => DialStatus::Answered,
                "busy" => DialStatus::Busy,
                "no-answer" => DialStatus::NoAnswer,
                "failed" => DialStatus::Failed,
                "canceled" => DialStatus::Canceled,
                _ => DialStatus::Other,
            }),
            dial_bridged: form.filled("DialBridged").and_then(|word| word.to_ascii_lowercase().parse().ok()),
            dial_call_sid: call("DialCallSid")?,
            dial_call_duration: form.number("DialCallDuration"),
            digits: form.text("Digits"),
            answered_by: form.filled("AnsweredBy").map(AnsweredBy::from_word),
            machine_detection_ms: form.number("MachineDetectionDuration"),
            error_code: form.number("ErrorCode"),
            error_url: form.text("ErrorUrl"),
            forwarded_from: form.filled("ForwardedFrom").map(CallerId::classify),
            caller_name: form.text("CallerName"),
            stir_verstat: form.text("StirVerstat"),
        })
    }

    /// The party at the other end: whoever rang us, or whom we rang.
    pub fn other_party(&self) -> &CallerId {
        match self.direction {
            Some(LegDirection::OutboundApi | LegDirection::OutboundDial) => &self.to,
            Some(LegDirection::Inbound | LegDirection::Other) | None => &self.from,
        }
    }

    /// Our own number's side of the call: the one that was rung, or that rings.
    pub fn own_party(&self) -> &CallerId {
        match self.direction {
            Some(LegDirection::OutboundApi | LegDirection::OutboundDial) => &self.from,
            Some(LegDirection::Inbound | LegDirection::Other) | None => &self.to,
        }
    }

    /// Whether a `<Dial>` joined the caller with somebody. Without Twilio's word on it, an answered dial counts as joined.
    pub fn was_bridged(&self) -> bool {
        match self.dial_call_status {
            Some(DialStatus::Completed | DialStatus::Answered) => self.dial_bridged.unwrap_or(true),
            Some(
                DialStatus::Busy
                | DialStatus::NoAnswer
                | DialStatus::Failed
                | DialStatus::Canceled
                | DialStatus::Other,
            )
            | None => false,
        }
    }
}

impl std::fmt::Debug for VoiceRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Names of people and keys they pressed stay out.
        f.debug_struct("VoiceRequest")
            .field("call_sid", &self.call_sid)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("status", &self.status_word)
            .field("direction", &self.direction)
            .field("sequence_number", &self.sequence_number)
            .field("dial_call_status", &self.dial_call_status)
            .field("answered_by", &self.answered_by)
            .field("error_code", &self.error_code)
            .finish_non_exhaustive()
    }
}

/// What happened to a Media Stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// The socket is open.
    Started,
    /// The stream is over.
    Stopped,
    /// The stream failed, or never began.
    Error,
    /// A word we do not know.
    Other,
}

/// A request to the `statusCallback` of a `<Stream>` (`twilio.md` 3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// The account; to be compared with ours.
    pub account_sid: String,
    /// The call that the stream belongs to.
    pub call_sid: CallSid,
    /// The stream.
    pub stream_sid: StreamSid,
    /// What happened.
    pub event: StreamEvent,
    /// What went wrong, in Twilio's words.
    pub error: Option<String>,
    /// When, ISO 8601 in UTC.
    pub timestamp: Option<String>,
}

impl StreamStatus {
    /// Reads a request about a stream.
    pub fn from_form(form: &Form) -> Result<Self, WebhookError> {
        Ok(Self {
            account_sid: form.required("AccountSid")?.to_owned(),
            call_sid: form.required("CallSid")?.into(),
            stream_sid: form.required("StreamSid")?.into(),
            event: match form.required("StreamEvent")? {
                "stream-started" => StreamEvent::Started,
                "stream-stopped" => StreamEvent::Stopped,
                "stream-error" => StreamEvent::Error,
                _ => StreamEvent::Other,
            },
            error: form.text("StreamError"),
            timestamp: form.text("Timestamp"),
        })
    }
}

#[cfg(test)]
mod tests;
