//! What is asked of the REST API and what it answers, without the network.

use crate::domain::call::CallStatus;
use crate::domain::ids::CallSid;
use crate::domain::phone::{CallerId, PhoneNumber};
use crate::twilio::twiml::Twiml;
use crate::twilio::webhook::{AnsweredBy, call_status, is_identifier};
use serde::Deserialize;
use serde_json::Value;

/// The parameters of a request; a name may come more than once.
pub(super) type Pairs = Vec<(&'static str, String)>;

/// The longest text message, in characters (error 21617).
pub const MAX_MESSAGE_CHARS: usize = 1_600;

/// Twilio's error for a change to a call that is over, or not up yet.
const CALL_NOT_IN_PROGRESS: u32 = 21_220;

/// Twilio's error for an account whose queue of calls is over 24 hours long.
const QUEUE_FULL: u32 = 22_005;

/// What kind of failure a REST request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestErrorKind {
    /// Refused before it was sent: too long, or an identifier that is none.
    Request,
    /// The credentials are wrong.
    Auth,
    /// No such call in this account and region.
    NotFound,
    /// The call is over, or not up yet (21220).
    NotInProgress,
    /// Too much at once; the request was not carried out.
    RateLimited,
    /// Refused by Twilio for what it asks.
    Refused,
    /// Twilio failed; whether the request was carried out is unknown.
    Unavailable,
    /// No connection came about; the request was not sent.
    Connect,
    /// No answer in time; whether the request was carried out is unknown.
    Timeout,
    /// The connection broke; whether the request was carried out is unknown.
    Broken,
    /// The answer cannot be read.
    Protocol,
}

/// Whether a failed request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// It would fail again.
    Never,
    /// It was not carried out: after a pause, send it again.
    Safe,
    /// It may have been carried out: look first (see `recent_calls`), unless doing it twice does no harm.
    CheckFirst,
}

/// A failed REST request. Holds neither body nor credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Twilio REST failed: {kind:?} (code {code:?}, status {status:?})")]
pub struct RestError {
    /// What kind of failure.
    pub kind: RestErrorKind,
    /// Twilio's error code.
    pub code: Option<u32>,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
}

impl RestError {
    /// A failure without an answer.
    pub(super) const fn of(kind: RestErrorKind) -> Self {
        Self { kind, code: None, status: None }
    }

    /// Understands an answer that is no success: by Twilio's code, then by status, never by its text, which need
    /// not be JSON.
    pub(super) fn from_answer(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct ErrorBody {
            code: Option<u32>,
        }
        let code = serde_json::from_slice::<ErrorBody>(body).ok().and_then(|body| body.code);
        let kind = match (code, status) {
            (Some(CALL_NOT_IN_PROGRESS), _) => RestErrorKind::NotInProgress,
            (Some(QUEUE_FULL), _) | (_, 429) => RestErrorKind::RateLimited,
            (_, 401 | 403) => RestErrorKind::Auth,
            (_, 404) => RestErrorKind::NotFound,
            (_, 408 | 500..) => RestErrorKind::Unavailable,
            (_, 400..) => RestErrorKind::Refused,
            (_, _) => RestErrorKind::Protocol,
        };
        Self { kind, code, status: Some(status) }
    }

    /// Whether the request may be sent again.
    pub const fn retry(&self) -> RetryAdvice {
        match self.kind {
            RestErrorKind::RateLimited | RestErrorKind::Connect => RetryAdvice::Safe,
            RestErrorKind::Unavailable
            | RestErrorKind::Timeout
            | RestErrorKind::Broken
            | RestErrorKind::Protocol => RetryAdvice::CheckFirst,
            RestErrorKind::Request
            | RestErrorKind::Auth
            | RestErrorKind::NotFound
            | RestErrorKind::NotInProgress
            | RestErrorKind::Refused => RetryAdvice::Never,
        }
    }

    /// The stable word for logs, metrics and the audit trail.
    pub const fn event_code(&self) -> &'static str {
        match self.kind {
            RestErrorKind::Request => "twilio.request",
            RestErrorKind::Auth => "twilio.auth",
            RestErrorKind::NotFound => "twilio.not_found",
            RestErrorKind::NotInProgress => "twilio.not_in_progress",
            RestErrorKind::RateLimited => "twilio.rate_limited",
            RestErrorKind::Refused => "twilio.refused",
            RestErrorKind::Unavailable => "twilio.unavailable",
            RestErrorKind::Connect => "twilio.connect",
            RestErrorKind::Timeout => "twilio.timeout",
            RestErrorKind::Broken => "twilio.broken",
            RestErrorKind::Protocol => "twilio.protocol",
        }
    }
}

/// What a call is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallChange<'a> {
    /// Leave what runs, the stream included, and run this document; its URLs must be absolute.
    Twiml(&'a Twiml),
    /// Leave what runs and ask this URL.
    Url(&'a str),
    /// Hang up, ringing or answered.
    Complete,
    /// Give up, while it is queued or rings.
    Cancel,
}

impl CallChange<'_> {
    pub(super) fn form(&self) -> Result<Pairs, RestError> {
        Ok(match self {
            Self::Twiml(document) => vec![twiml(document)?],
            Self::Url(url) => vec![("Url", (*url).to_owned()), ("Method", "POST".into())],
            Self::Complete => vec![("Status", "completed".into())],
            Self::Cancel => vec![("Status", "canceled".into())],
        })
    }
}

/// What a new call does once it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// Asks this URL.
    Url(String),
    /// Runs this document.
    Twiml(Twiml),
}

/// A call to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCall {
    /// Who is rung.
    pub to: PhoneNumber,
    /// The number shown: ours.
    pub from: PhoneNumber,
    /// What happens once it is answered.
    pub instructions: Instructions,
    /// How long it rings, in seconds; Twilio's 60 where absent, at most 600.
    pub ring_s: Option<u16>,
    /// How long it may last, in seconds.
    pub limit_s: Option<u32>,
    /// Where every state of the call is reported.
    pub status_callback: Option<String>,
    /// Where the verdict on who answered is reported, without holding the call up; no detection where absent.
    pub detection_callback: Option<String>,
}

impl NewCall {
    /// A call with Twilio's own limits, reported nowhere.
    pub fn new(to: PhoneNumber, from: PhoneNumber, instructions: Instructions) -> Self {
        Self {
            to,
            from,
            instructions,
            ring_s: None,
            limit_s: None,
            status_callback: None,
            detection_callback: None,
        }
    }

    pub(super) fn form(&self) -> Result<Pairs, RestError> {
        let mut form: Pairs = vec![("To", self.to.as_str().into()), ("From", self.from.as_str().into())];
        match &self.instructions {
            Instructions::Url(url) => form.extend([("Url", url.clone()), ("Method", "POST".into())]),
            Instructions::Twiml(document) => form.push(twiml(document)?),
        }
        form.extend(self.ring_s.map(|seconds| ("Timeout", seconds.min(600).to_string())));
        form.extend(self.limit_s.map(|seconds| ("TimeLimit", seconds.to_string())));
        if let Some(url) = &self.detection_callback {
            form.extend([
                ("MachineDetection", "DetectMessageEnd".into()),
                ("AsyncAmd", "true".into()),
                ("AsyncAmdStatusCallback", url.clone()),
                ("AsyncAmdStatusCallbackMethod", "POST".into()),
            ]);
        }
        if let Some(url) = &self.status_callback {
            form.extend([("StatusCallback", url.clone()), ("StatusCallbackMethod", "POST".into())]);
            // One parameter an event; a list in one parameter is TwiML's way only.
            let events = ["initiated", "ringing", "answered", "completed"];
            form.extend(events.map(|event| ("StatusCallbackEvent", event.to_owned())));
        }
        Ok(form)
    }
}

/// A text message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// Who gets it.
    pub to: &'a PhoneNumber,
    /// The number shown: ours.
    pub from: &'a PhoneNumber,
    /// The text, at most [`MAX_MESSAGE_CHARS`].
    pub body: &'a str,
    /// Where its delivery is reported.
    pub status_callback: Option<&'a str>,
}

impl NewMessage<'_> {
    pub(super) fn form(&self) -> Result<Pairs, RestError> {
        if self.body.is_empty() || self.body.chars().count() > MAX_MESSAGE_CHARS {
            return Err(RestError::of(RestErrorKind::Request));
        }
        let mut form: Pairs = vec![
            ("To", self.to.as_str().into()),
            ("From", self.from.as_str().into()),
            ("Body", self.body.to_owned()),
        ];
        form.extend(self.status_callback.map(|url| ("StatusCallback", url.to_owned())));
        Ok(form)
    }
}

fn twiml(document: &Twiml) -> Result<(&'static str, String), RestError> {
    if document.fits_rest() {
        Ok(("Twiml", document.as_str().to_owned()))
    } else {
        Err(RestError::of(RestErrorKind::Request))
    }
}

/// A call as the REST API tells it; not fit for live state, which lags behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResource {
    /// The call leg.
    pub sid: CallSid,
    /// How it stands; none for a word we do not know.
    pub status: Option<CallStatus>,
    /// Who is or was rung.
    pub to: CallerId,
    /// Who rings or rang.
    pub from: CallerId,
    /// Twilio's word for the direction (`outbound-api`).
    pub direction: Option<String>,
    /// Length, in seconds, once it is over.
    pub duration_s: Option<u32>,
    /// How long it waits for its turn to be dialled, ms.
    pub queue_ms: Option<u64>,
    /// Who answered, where that was to be found out.
    pub answered_by: Option<AnsweredBy>,
    /// When it was created, RFC 2822.
    pub date_created: Option<String>,
}

#[derive(Deserialize)]
struct CallBody {
    sid: String,
    status: Option<String>,
    to: Option<String>,
    from: Option<String>,
    direction: Option<String>,
    duration: Option<Value>,
    queue_time: Option<Value>,
    answered_by: Option<String>,
    date_created: Option<String>,
}

impl TryFrom<CallBody> for CallResource {
    type Error = RestError;

    fn try_from(body: CallBody) -> Result<Self, RestError> {
        if !is_identifier(&body.sid) {
            return Err(RestError::of(RestErrorKind::Protocol));
        }
        Ok(Self {
            sid: CallSid::from(body.sid.as_str()),
            status: body.status.as_deref().and_then(call_status),
            to: CallerId::classify(body.to.as_deref().unwrap_or_default()),
            from: CallerId::classify(body.from.as_deref().unwrap_or_default()),
            direction: body.direction,
            duration_s: body.duration.as_ref().and_then(number).and_then(|n| u32::try_from(n).ok()),
            queue_ms: body.queue_time.as_ref().and_then(number),
            answered_by: body.answered_by.as_deref().map(AnsweredBy::from_word),
            date_created: body.date_created,
        })
    }
}

/// A number as Twilio writes it, in quotes or not.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// Reads an answer that tells of a call.
pub(super) fn call(body: &[u8]) -> Result<CallResource, RestError> {
    read::<CallBody>(body)?.try_into()
}

/// Calls of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallList {
    /// The calls.
    pub calls: Vec<CallResource>,
    /// Whether the list ends with them.
    pub whole: bool,
}

/// One page of a list of calls.
pub(super) struct Page {
    pub(super) calls: Vec<CallResource>,
    /// Path and query of the next one.
    pub(super) next: Option<String>,
}

/// Reads an answer that tells of several calls.
pub(super) fn calls(body: &[u8]) -> Result<Vec<CallResource>, RestError> {
    Ok(page(body)?.calls)
}

/// Reads a page of a list of calls.
pub(super) fn page(body: &[u8]) -> Result<Page, RestError> {
    #[derive(Deserialize)]
    struct PageBody {
        calls: Vec<CallBody>,
        next_page_uri: Option<String>,
    }
    let body: PageBody = read(body)?;
    let calls = body.calls.into_iter().map(CallResource::try_from).collect::<Result<_, _>>()?;
    Ok(Page { calls, next: body.next_page_uri })
}

/// Reads an answer that tells of a message: its identifier.
pub(super) fn message(body: &[u8]) -> Result<String, RestError> {
    #[derive(Deserialize)]
    struct Message {
        sid: String,
    }
    Ok(read::<Message>(body)?.sid)
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(|_| RestError::of(RestErrorKind::Protocol))
}
