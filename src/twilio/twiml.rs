//! What we tell Twilio to do with a call: TwiML documents (`twilio.md` section 6).
//!
//! A [`Response`] is a list of typed verbs; one writer turns it into XML and escapes every value. Characters that
//! XML 1.0 cannot hold are taken out.

mod xml;

use crate::domain::phone::PhoneNumber;

/// The content type that goes with a document.
pub const CONTENT_TYPE: &str = "text/xml; charset=utf-8";

/// The longest document that Twilio takes as an answer, in bytes (error 11750).
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// The longest document that Twilio takes in a REST parameter, in characters (error 32018).
pub const MAX_REST_CHARS: usize = 4_000;

/// Name and value of a `<Parameter>` together must stay below this, in characters.
const PARAMETER_CHARS: usize = 500;

/// The longest text that is spoken by one `<Say>`, in characters; more is cut off.
const MAX_SAY_CHARS: usize = 3_000;

/// Why a document cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TwimlError {
    /// Name and value together have 500 characters or more.
    #[error("a stream parameter has {0} characters, 500 or more")]
    ParameterTooLong(usize),
    /// A stream's URL cannot carry a query: Twilio strips it.
    #[error("the stream's address must be ws:// or wss:// without a query")]
    StreamUrl,
}

/// A finished document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twiml(String);

impl Twiml {
    /// The document's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The document's text, as a body to send.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether it is short enough for a REST parameter ([`MAX_REST_CHARS`]).
    pub fn fits_rest(&self) -> bool {
        self.0.chars().count() <= MAX_REST_CHARS
    }
}

/// A `<Say>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    text: String,
    language: Option<String>,
}

impl Say {
    /// Words for Twilio's own voice, in American English. At most 3000 characters are spoken.
    pub fn new(text: &str) -> Self {
        Self { text: text.chars().take(MAX_SAY_CHARS).collect(), language: None }
    }

    /// Speaks another language (BCP-47, `de-DE`).
    #[must_use]
    pub fn language(mut self, tag: &str) -> Self {
        self.language = Some(tag.to_owned());
        self
    }
}

/// A bidirectional `<Stream>` within its `<Connect>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    url: String,
    action: Option<String>,
    status_callback: Option<String>,
    parameters: Vec<(String, String)>,
}

impl Connect {
    /// A stream to `url`, `wss://…` without a query.
    pub fn new(url: &str) -> Result<Self, TwimlError> {
        let scheme = url.starts_with("wss://") || url.starts_with("ws://");
        if !scheme || url.contains(['?', '#']) {
            return Err(TwimlError::StreamUrl);
        }
        Ok(Self { url: url.to_owned(), action: None, status_callback: None, parameters: Vec::new() })
    }

    /// Asks `url` (absolute) what to do when the stream is over.
    #[must_use]
    pub fn action(mut self, url: &str) -> Self {
        self.action = Some(url.to_owned());
        self
    }

    /// Reports the stream's start, end and failure to `url`.
    #[must_use]
    pub fn status_callback(mut self, url: &str) -> Self {
        self.status_callback = Some(url.to_owned());
        self
    }

    /// Gives the stream a parameter, which comes back in `start`.
    pub fn parameter(mut self, name: &str, value: &str) -> Result<Self, TwimlError> {
        let chars = name.chars().count().saturating_add(value.chars().count());
        if chars >= PARAMETER_CHARS {
            return Err(TwimlError::ParameterTooLong(chars));
        }
        self.parameters.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }
}

/// A `<Dial>` of telephone numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    numbers: Vec<PhoneNumber>,
    action: Option<String>,
    timeout_s: Option<u16>,
    caller_id: Option<PhoneNumber>,
    answer_on_bridge: bool,
    status_callback: Option<String>,
}

impl Dial {
    /// Rings a number.
    pub fn new(number: PhoneNumber) -> Self {
        Self {
            numbers: vec![number],
            action: None,
            timeout_s: None,
            caller_id: None,
            answer_on_bridge: false,
            status_callback: None,
        }
    }

    /// Rings another number at the same time; the first to answer has the call.
    #[must_use]
    pub fn and(mut self, number: PhoneNumber) -> Self {
        self.numbers.push(number);
        self
    }

    /// Asks `url` (absolute) what to do when the dialled party is gone or did not answer.
    #[must_use]
    pub fn action(mut self, url: &str) -> Self {
        self.action = Some(url.to_owned());
        self
    }

    /// How long it rings, in seconds; kept within Twilio's 5 to 600.
    #[must_use]
    pub fn timeout_s(mut self, seconds: u16) -> Self {
        self.timeout_s = Some(seconds.clamp(5, 600));
        self
    }

    /// The number shown to the dialled party; must be one of the account's, or the caller's.
    #[must_use]
    pub fn caller_id(mut self, number: PhoneNumber) -> Self {
        self.caller_id = Some(number);
        self
    }

    /// Lets the caller's leg ring until somebody answers; matters only where the call is not answered yet.
    #[must_use]
    pub fn answer_on_bridge(mut self) -> Self {
        self.answer_on_bridge = true;
        self
    }

    /// Reports every state of the dialled legs to `url`.
    #[must_use]
    pub fn status_callback(mut self, url: &str) -> Self {
        self.status_callback = Some(url.to_owned());
        self
    }
}

/// Why a call is refused unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// Twilio's default: the caller hears that the number is not in service.
    Rejected,
    /// The caller hears the busy signal.
    Busy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verb {
    Say(Say),
    Pause(u16),
    Play { url: String },
    PlayDigits { digits: String },
    Connect(Connect),
    Dial(Dial),
    Hangup,
    Reject(RejectReason),
    Redirect { url: String },
}

/// A document in the making; verbs run in the order in which they are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    verbs: Vec<Verb>,
}

impl Response {
    /// A document without verbs, which does nothing; at its end the call is hung up.
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    fn with(mut self, verb: Verb) -> Self {
        self.verbs.push(verb);
        self
    }

    /// Speaks.
    #[must_use]
    pub fn say(self, say: Say) -> Self {
        self.with(Verb::Say(say))
    }

    /// Waits, in seconds; as first verb it delays answering.
    #[must_use]
    pub fn pause(self, seconds: u16) -> Self {
        self.with(Verb::Pause(seconds))
    }

    /// Plays a sound file.
    #[must_use]
    pub fn play(self, url: &str) -> Self {
        self.with(Verb::Play { url: url.to_owned() })
    }

    /// Plays key tones (`0`-`9`, `*`, `#`, `w` for half a second's pause).
    #[must_use]
    pub fn play_digits(self, digits: &str) -> Self {
        self.with(Verb::PlayDigits { digits: digits.to_owned() })
    }

    /// Connects the call to a stream.
    #[must_use]
    pub fn connect(self, connect: Connect) -> Self {
        self.with(Verb::Connect(connect))
    }

    /// Connects the call to other telephones.
    #[must_use]
    pub fn dial(self, dial: Dial) -> Self {
        self.with(Verb::Dial(dial))
    }

    /// Ends the call.
    #[must_use]
    pub fn hangup(self) -> Self {
        self.with(Verb::Hangup)
    }

    /// Refuses the call unanswered; only as first verb.
    #[must_use]
    pub fn reject(self, reason: RejectReason) -> Self {
        self.with(Verb::Reject(reason))
    }

    /// Asks another URL what to do.
    #[must_use]
    pub fn redirect(self, url: &str) -> Self {
        self.with(Verb::Redirect { url: url.to_owned() })
    }

    /// Writes the document.
    pub fn render(&self) -> Twiml {
        Twiml(xml::document(&self.verbs))
    }
}

/// A call connected to a stream; `action_url` is asked what comes after it.
pub fn connect_stream(
    action_url: &str,
    stream_url: &str,
    status_callback: &str,
    parameters: &[(&str, &str)],
) -> Result<Twiml, TwimlError> {
    let mut connect = Connect::new(stream_url)?.action(action_url).status_callback(status_callback);
    for (name, value) in parameters {
        connect = connect.parameter(name, value)?;
    }
    Ok(Response::new().connect(connect).render())
}

/// A document that does nothing: the acknowledgement of a callback.
pub fn empty() -> Twiml {
    Response::new().render()
}

/// A hang-up.
pub fn hangup() -> Twiml {
    Response::new().hangup().render()
}

/// Last words and a hang-up.
pub fn say_and_hangup(say: Say) -> Twiml {
    Response::new().say(say).hangup().render()
}

/// Words, and another URL to be asked what comes next.
pub fn say_and_redirect(say: Say, url: &str) -> Twiml {
    Response::new().say(say).redirect(url).render()
}

/// The busy signal, unanswered.
pub fn reject_busy() -> Twiml {
    Response::new().reject(RejectReason::Busy).render()
}

/// A caller put through to somebody, after some words or none.
pub fn transfer(say: Option<Say>, dial: Dial) -> Twiml {
    let response = Response::new();
    let response = match say {
        Some(say) => response.say(say),
        None => response,
    };
    response.dial(dial).render()
}

#[cfg(test)]
mod tests;
