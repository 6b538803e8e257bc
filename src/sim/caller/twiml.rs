//! A strict reader of TwiML, from Twilio's documentation. Pure.
//!
//! What Twilio refuses (error 12100) is an error; what it only warns of (12200: unknown names) is a violation, and the
//! rest of the document runs.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Longest document, in bytes (error 11750).
pub const MAX_BYTES: usize = 65_536;

/// Most characters of a `<Parameter>`'s name and value together.
const MAX_PARAMETER: usize = 500;

/// A document as read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The verbs in order.
    pub verbs: Vec<Verb>,
    /// Unknown or misplaced elements and attributes, and values out of range.
    pub violations: Vec<String>,
}

/// A URL to ask for what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// As written, maybe relative.
    pub url: String,
    /// `GET` or `POST`.
    pub method: String,
}

/// `<Stream>` in `<Connect>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The WebSocket's URL.
    pub url: String,
    /// `name`, if given.
    pub name: Option<String>,
    /// `<Parameter>`s.
    pub parameters: BTreeMap<String, String>,
    /// Where stream events are posted.
    pub status_callback: Option<Action>,
}

/// `<Dial>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dial {
    /// Asked when the dialled leg has ended.
    pub action: Option<Action>,
    /// Ring time in seconds.
    pub timeout_s: u64,
    /// Caller ID shown, if given.
    pub caller_id: Option<String>,
    /// Whom to ring.
    pub numbers: Vec<String>,
}

/// What Twilio does, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `<Connect><Stream>`.
    Connect {
        /// Asked when the stream has ended.
        action: Option<Action>,
        /// The stream.
        stream: Stream,
    },
    /// `<Say>`.
    Say {
        /// The text, white space at its ends trimmed.
        text: String,
    },
    /// `<Pause>`, in seconds.
    Pause {
        /// How long.
        seconds: u64,
    },
    /// `<Play>`: a URL or DTMF digits.
    Play {
        /// The URL, or nothing.
        url: String,
    },
    /// `<Dial>`.
    Dial(Dial),
    /// `<Hangup>`.
    Hangup,
    /// `<Reject>`.
    Reject {
        /// `rejected` or `busy`.
        reason: String,
    },
    /// `<Redirect>`.
    Redirect(Action),
    /// A verb that Twilio knows and this simulator does not.
    Other {
        /// Its name.
        name: String,
    },
}

/// An element with what it holds.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    children: Vec<Element>,
}

/// Which attributes an element may have; `None` for an element that Twilio does not know.
fn attributes_of(element: &str) -> Option<&'static [&'static str]> {
    Some(match element {
        "Response" | "Hangup" => &[],
        "Connect" => &["action", "method"],
        "Stream" => &["url", "name", "track", "statusCallback", "statusCallbackMethod"],
        "Parameter" => &["name", "value"],
        "Say" => &["voice", "language", "loop"],
        "Pause" => &["length"],
        "Play" => &["loop", "digits"],
        "Dial" => &[
            "action",
            "method",
            "timeout",
            "timeLimit",
            "callerId",
            "answerOnBridge",
            "hangupOnStar",
            "record",
            "recordingStatusCallback",
            "recordingStatusCallbackMethod",
            "recordingStatusCallbackEvent",
            "recordingTrack",
            "ringTone",
            "sequential",
            "trim",
            "referUrl",
            "referMethod",
        ],
        "Number" => &[
            "url",
            "method",
            "sendDigits",
            "statusCallback",
            "statusCallbackEvent",
            "statusCallbackMethod",
            "machineDetection",
            "amdStatusCallback",
            "byoc",
        ],
        "Reject" => &["reason"],
        "Redirect" => &["method"],
        _ => return None,
    })
}

/// Verbs of Twilio's that are read over with a violation, since a caller cannot act them out here.
const NOT_SIMULATED: [&str; 10] =
    ["Gather", "Record", "Start", "Stop", "Enqueue", "Leave", "Pay", "Prompt", "Refer", "Sms"];

/// Reads a document.
///
/// # Errors
/// Says why Twilio would not run it.
pub fn read(body: &[u8]) -> Result<Document, String> {
    if body.len() > MAX_BYTES {
        return Err(format!("11750 the document has {} bytes, more than 64 kB", body.len()));
    }
    let text = std::str::from_utf8(body).map_err(|error| format!("12100 not UTF-8: {error}"))?;
    if !text.starts_with('<') {
        return Err("12100 there is something before the document".to_owned());
    }
    let root = tree(text)?;
    if root.name != "Response" {
        return Err(format!("12100 the root is <{}>, not <Response>", root.name));
    }
    let mut document = Document::default();
    check(&root, &mut document.violations);
    for child in &root.children {
        if let Some(verb) = verb(child, &mut document.violations) {
            document.verbs.push(verb);
        }
    }
    let reject = document.verbs.iter().skip(1).any(|verb| matches!(verb, Verb::Reject { .. }));
    if reject {
        document.violations.push("12200 <Reject> is not the first verb".to_owned());
    }
    Ok(document)
}

fn tree(text: &str) -> Result<Element, String> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut declared = false;
    loop {
        let event = reader.read_event().map_err(|error| format!("12100 not well-formed: {error}"))?;
        match event {
            Event::Start(start) => open.push(element(&start, &reader)?),
            Event::Empty(start) => {
                let done = element(&start, &reader)?;
                close(done, &mut open, &mut root)?;
            }
            Event::End(_) => {
                let done = open.pop().ok_or("12100 not well-formed: an end without a start")?;
                close(done, &mut open, &mut root)?;
            }
            Event::Text(part) => {
                let part = part.xml_content().map_err(|error| format!("12100 {error}"))?;
                add_text(&part, &mut open)?;
            }
            Event::CData(part) => {
                let part = part.decode().map_err(|error| format!("12100 {error}"))?;
                add_text(&part, &mut open)?;
            }
            Event::GeneralRef(entity) => {
                let part = match entity.resolve_char_ref().map_err(|error| format!("12100 {error}"))? {
                    Some(letter) => letter.to_string(),
                    None => {
                        let name = entity.decode().map_err(|error| format!("12100 {error}"))?;
                        named(&name).ok_or_else(|| format!("12100 unknown entity &{name};"))?.to_owned()
                    }
                };
                add_text(&part, &mut open)?;
            }
            Event::Decl(_) if !declared && open.is_empty() && root.is_none() => declared = true,
            Event::Decl(_) => return Err("12100 a declaration that is not at the beginning".to_owned()),
            Event::DocType(_) => return Err("12100 a document type".to_owned()),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof if open.is_empty() => return root.ok_or_else(|| "12100 no element".to_owned()),
            Event::Eof => return Err("12100 not well-formed: it ends within an element".to_owned()),
        }
    }
}

fn named(entity: &str) -> Option<&'static str> {
    Some(match entity {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => return None,
    })
}

fn element(start: &BytesStart<'_>, reader: &Reader<&[u8]>) -> Result<Element, String> {
    let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
    let mut attributes = BTreeMap::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| format!("12100 not well-formed: {error}"))?;
        let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        let value = attribute
            .decode_and_unescape_value(reader.decoder())
            .map_err(|error| format!("12100 attribute {key}: {error}"))?
            .into_owned();
        attributes.insert(key, value);
    }
    Ok(Element { name, attributes, ..Element::default() })
}

fn close(done: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), String> {
    match (open.last_mut(), &root) {
        (Some(parent), _) => parent.children.push(done),
        (None, None) => *root = Some(done),
        (None, Some(_)) => return Err("12100 two roots".to_owned()),
    }
    Ok(())
}

fn add_text(part: &str, open: &mut [Element]) -> Result<(), String> {
    let forbidden = |letter: char| letter < ' ' && !matches!(letter, '\t' | '\n' | '\r');
    if part.contains(forbidden) {
        return Err("12100 a control character".to_owned());
    }
    match open.last_mut() {
        Some(element) => element.text.push_str(part),
        None if part.trim().is_empty() => {}
        None => return Err("12100 text outside the document".to_owned()),
    }
    Ok(())
}

/// Notes unknown attributes and text where none belongs.
fn check(element: &Element, violations: &mut Vec<String>) {
    if let Some(known) = attributes_of(&element.name) {
        for name in element.attributes.keys().filter(|name| !known.contains(&name.as_str())) {
            violations.push(format!("12200 <{}> has no attribute {name}", element.name));
        }
    }
    let holds_text = matches!(element.name.as_str(), "Say" | "Play" | "Dial" | "Number" | "Redirect");
    if !holds_text && attributes_of(&element.name).is_some() && !element.text.trim().is_empty() {
        violations.push(format!("12200 text in <{}>", element.name));
    }
}

impl Element {
    fn attribute(&self, name: &str) -> Option<String> {
        self.attributes.get(name).cloned()
    }

    fn trimmed(&self) -> String {
        self.text.trim().to_owned()
    }

    fn action(&self, url: &str, method: &str, violations: &mut Vec<String>) -> Option<Action> {
        let action = self.attribute(url).filter(|url| !url.is_empty())?;
        Some(Action { url: action, method: self.method(method, violations) })
    }

    fn method(&self, name: &str, violations: &mut Vec<String>) -> String {
        match self.attributes.get(name).map(String::as_str) {
            None | Some("POST") => "POST".to_owned(),
            Some("GET") => "GET".to_owned(),
            Some(other) => {
                violations.push(format!("12200 <{}> {name}={other:?}", self.name));
                "POST".to_owned()
            }
        }
    }

    fn number(&self, name: &str, default: u64, violations: &mut Vec<String>) -> u64 {
        match self.attributes.get(name).map(|value| value.parse()) {
            None => default,
            Some(Ok(number)) => number,
            Some(Err(_)) => {
                violations.push(format!("12200 <{}> {name} is not a whole number", self.name));
                default
            }
        }
    }
}

fn verb(element: &Element, violations: &mut Vec<String>) -> Option<Verb> {
    check(element, violations);
    let children: &[&str] = match element.name.as_str() {
        "Connect" => &["Stream"],
        "Dial" => &["Number"],
        _ => &[],
    };
    let simulated = !NOT_SIMULATED.contains(&element.name.as_str());
    for child in element.children.iter().filter(|_| simulated) {
        check(child, violations);
        if !children.contains(&child.name.as_str()) {
            violations.push(format!("12200 <{}> in <{}>", child.name, element.name));
        }
    }
    Some(match element.name.as_str() {
        "Connect" => {
            let Some(found) = element.children.iter().find(|child| child.name == "Stream") else {
                violations.push("12200 <Connect> without <Stream>".to_owned());
                return None;
            };
            Verb::Connect {
                action: element.action("action", "method", violations),
                stream: stream(found, violations),
            }
        }
        "Say" => Verb::Say { text: element.trimmed() },
        "Pause" => Verb::Pause { seconds: element.number("length", 1, violations) },
        "Play" => Verb::Play { url: element.trimmed() },
        "Dial" => {
            let timeout_s = element.number("timeout", 30, violations);
            if !(5..=600).contains(&timeout_s) {
                violations.push(format!("12200 <Dial> timeout {timeout_s} is not within 5..600"));
            }
            let own = (!element.trimmed().is_empty()).then(|| element.trimmed());
            let nouns = element.children.iter().filter(|child| child.name == "Number");
            Verb::Dial(Dial {
                action: element.action("action", "method", violations),
                timeout_s,
                caller_id: element.attribute("callerId"),
                numbers: own.into_iter().chain(nouns.map(Element::trimmed)).collect(),
            })
        }
        "Hangup" => Verb::Hangup,
        "Reject" => {
            let reason = element.attribute("reason").unwrap_or_else(|| "rejected".to_owned());
            if !matches!(reason.as_str(), "rejected" | "busy") {
                violations.push(format!("12200 <Reject> reason={reason:?}"));
            }
            Verb::Reject { reason }
        }
        "Redirect" => {
            Verb::Redirect(Action { url: element.trimmed(), method: element.method("method", violations) })
        }
        name if !simulated => {
            violations.push(format!("<{name}> is not simulated"));
            Verb::Other { name: name.to_owned() }
        }
        name => {
            violations.push(format!("12200 unknown verb <{name}>"));
            return None;
        }
    })
}

fn stream(element: &Element, violations: &mut Vec<String>) -> Stream {
    let url = element.attribute("url").unwrap_or_default();
    if url.contains('?') {
        violations.push("31920 the stream's URL has a query, which Twilio does not pass on".to_owned());
    }
    if element.attributes.get("track").is_some_and(|track| track != "inbound_track") {
        violations.push("31941 track other than inbound_track".to_owned());
    }
    let mut parameters = BTreeMap::new();
    for child in &element.children {
        check(child, violations);
        if child.name != "Parameter" {
            violations.push(format!("12200 <{}> in <Stream>", child.name));
            continue;
        }
        let (Some(name), Some(value)) = (child.attribute("name"), child.attribute("value")) else {
            violations.push("12200 <Parameter> without name or value".to_owned());
            continue;
        };
        if name.chars().count() + value.chars().count() >= MAX_PARAMETER {
            violations.push(format!("<Parameter> {name:?} has 500 characters or more"));
        }
        parameters.insert(name, value);
    }
    let callback = element.action("statusCallback", "statusCallbackMethod", violations);
    Stream { url, name: element.attribute("name"), parameters, status_callback: callback }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn verbs(text: &str) -> Vec<Verb> {
        let document = read(text.as_bytes()).unwrap();
        assert_eq!(document.violations, [] as [String; 0]);
        document.verbs
    }

    #[test]
    fn documents_of_the_documentation_are_read() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/twilio/twiml_expected.json")).unwrap();
        for case in fixture["cases"].as_array().unwrap() {
            let document = read(case["xml"].as_str().unwrap().as_bytes()).unwrap();
            let beyond = ["Gather", "Record", "Start", "Sip", "Client", "Conference", "Stop", "Enqueue"];
            let xml = case["xml"].as_str().unwrap();
            if !beyond.iter().any(|name| xml.contains(&format!("<{name}"))) {
                assert_eq!(document.violations, [] as [String; 0], "{}", case["name"]);
            }
        }
    }

    #[test]
    fn a_stream_is_read_with_its_parameters_and_entities() {
        let verbs = verbs(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Connect action=\"/voice/continue#rc=2&amp;rp=5xx\">\
             <Stream url=\"wss://h/s\"><Parameter name=\"n\" value=\"a&quot;b&amp;c\"/></Stream></Connect>\
             <Say>Tom &amp; Jerry &lt;3</Say></Response>",
        );
        let Verb::Connect { action, stream } = &verbs[0] else { panic!("{verbs:?}") };
        assert_eq!(action.as_ref().unwrap().url, "/voice/continue#rc=2&rp=5xx");
        assert_eq!(stream.parameters["n"], "a\"b&c");
        assert_eq!(verbs[1], Verb::Say { text: "Tom & Jerry <3".to_owned() });
    }

    #[test]
    fn a_dial_is_read_with_its_number() {
        let verbs =
            verbs("<Response><Dial timeout=\"20\" callerId=\"+12\"><Number>+1202</Number></Dial></Response>");
        let Verb::Dial(dial) = &verbs[0] else { panic!("{verbs:?}") };
        assert_eq!((dial.timeout_s, &dial.numbers[..]), (20, &["+1202".to_owned()][..]));
    }

    #[test]
    fn unknown_names_and_bad_values_are_violations() {
        for text in [
            "<Response><Shout/></Response>",
            "<Response><say>hello</say></Response>",
            "<Response><Say tone=\"low\">hello</Say></Response>",
            "<Response>hello</Response>",
            "<Response><Connect/></Response>",
            "<Response><Connect><Stream url=\"wss://h/s?a=b\"/></Connect></Response>",
            "<Response><Connect><Stream url=\"wss://h/s\" track=\"both_tracks\"/></Connect></Response>",
            "<Response><Dial timeout=\"3\">+1</Dial></Response>",
            "<Response><Pause length=\"long\"/></Response>",
            "<Response><Say>a</Say><Reject/></Response>",
            "<Response><Gather/></Response>",
        ] {
            assert_ne!(read(text.as_bytes()).unwrap().violations, [] as [String; 0], "{text}");
        }
        let long = "x".repeat(500);
        let text = format!(
            "<Response><Connect><Stream url=\"wss://h/s\"><Parameter name=\"a\" value=\"{long}\"/></Stream></Connect></Response>"
        );
        assert_eq!(read(text.as_bytes()).unwrap().violations.len(), 1);
    }

    #[test]
    fn what_twilio_cannot_run_is_refused() {
        for text in [
            "",
            " <Response/>",
            "\u{feff}<Response/>",
            "hello",
            "<Answer/>",
            "<Response>",
            "<Response></Say></Response>",
            "<Response/><Response/>",
            "<Response/>tail",
            "<!DOCTYPE x><Response/>",
            "<Response><Say>&nbsp;</Say></Response>",
            "<Response><Say a=\"1\" a=\"2\"/></Response>",
            "<Response><Say>\u{1}</Say></Response>",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(read(&[b'<'; MAX_BYTES + 1]).is_err());
        assert_eq!(read(b"<Response/>").unwrap(), Document::default());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(<|>|/|&|;|\"|=| |Response|Say|Stream|amp|[a-z]){0,40}") {
            let _ = read(text.as_bytes());
        }
    }
}
