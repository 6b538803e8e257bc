//! Writes verbs as XML. Every value goes through [`Xml`], and is escaped there.

use super::{Connect, Dial, RejectReason, Verb};
use crate::domain::phone::PhoneNumber;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use std::io;

/// Written should writing to memory ever fail: a document that hangs up.
const NOTHING: &str = "<Response/>";

/// The text of a document.
pub(super) fn document(verbs: &[Verb]) -> String {
    let mut xml = Xml(Writer::new(Vec::with_capacity(512)));
    match response(&mut xml, verbs) {
        Ok(()) => String::from_utf8(xml.0.into_inner()).unwrap_or_else(|_| NOTHING.to_owned()),
        Err(_) => NOTHING.to_owned(),
    }
}

fn response(xml: &mut Xml, verbs: &[Verb]) -> io::Result<()> {
    xml.0.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    if verbs.is_empty() {
        return xml.empty("Response", &[]);
    }
    xml.open("Response", &[])?;
    for verb in verbs {
        verb.write(xml)?;
    }
    xml.close("Response")
}

impl Verb {
    fn write(&self, xml: &mut Xml) -> io::Result<()> {
        match self {
            Self::Say(say) => xml.text("Say", &[("language", say.language.as_deref())], &say.text),
            Self::Pause(seconds) => xml.empty("Pause", &[("length", Some(&seconds.to_string()))]),
            Self::Play { url } => xml.text("Play", &[], url),
            Self::PlayDigits { digits } => xml.empty("Play", &[("digits", Some(digits))]),
            Self::Connect(connect) => connect.write(xml),
            Self::Dial(dial) => dial.write(xml),
            Self::Hangup => xml.empty("Hangup", &[]),
            Self::Reject(RejectReason::Rejected) => xml.empty("Reject", &[]),
            Self::Reject(RejectReason::Busy) => xml.empty("Reject", &[("reason", Some("busy"))]),
            Self::Redirect { url } => xml.text("Redirect", &[("method", Some("POST"))], url),
        }
    }
}

impl Connect {
    fn write(&self, xml: &mut Xml) -> io::Result<()> {
        let post = |url: &Option<String>| url.as_ref().map(|_| "POST");
        xml.open("Connect", &[("action", self.action.as_deref()), ("method", post(&self.action))])?;
        let attributes = [
            ("url", Some(self.url.as_str())),
            ("statusCallback", self.status_callback.as_deref()),
            ("statusCallbackMethod", post(&self.status_callback)),
        ];
        if self.parameters.is_empty() {
            xml.empty("Stream", &attributes)?;
        } else {
            xml.open("Stream", &attributes)?;
            for (name, value) in &self.parameters {
                xml.empty("Parameter", &[("name", Some(name)), ("value", Some(value))])?;
            }
            xml.close("Stream")?;
        }
        xml.close("Connect")
    }
}

impl Dial {
    fn write(&self, xml: &mut Xml) -> io::Result<()> {
        let timeout = self.timeout_s.map(|seconds| seconds.to_string());
        xml.open(
            "Dial",
            &[
                ("action", self.action.as_deref()),
                ("timeout", timeout.as_deref()),
                ("callerId", self.caller_id.as_ref().map(PhoneNumber::as_str)),
                ("answerOnBridge", self.answer_on_bridge.then_some("true")),
            ],
        )?;
        let events = self.status_callback.as_ref().map(|_| "initiated ringing answered completed");
        let attributes =
            [("statusCallback", self.status_callback.as_deref()), ("statusCallbackEvent", events)];
        for number in &self.numbers {
            xml.text("Number", &attributes, number.as_str())?;
        }
        xml.close("Dial")
    }
}

/// The one place where elements are written; an attribute without a value is left out.
struct Xml(Writer<Vec<u8>>);

type Attributes<'a> = [(&'a str, Option<&'a str>)];

impl Xml {
    fn start(name: &'static str, attributes: &Attributes<'_>) -> BytesStart<'static> {
        let mut element = BytesStart::new(name);
        for (key, value) in attributes {
            if let Some(value) = value {
                element.push_attribute((*key, legal(value).as_str()));
            }
        }
        element
    }

    fn open(&mut self, name: &'static str, attributes: &Attributes<'_>) -> io::Result<()> {
        self.0.write_event(Event::Start(Self::start(name, attributes)))
    }

    fn empty(&mut self, name: &'static str, attributes: &Attributes<'_>) -> io::Result<()> {
        self.0.write_event(Event::Empty(Self::start(name, attributes)))
    }

    fn close(&mut self, name: &'static str) -> io::Result<()> {
        self.0.write_event(Event::End(BytesEnd::new(name)))
    }

    fn text(&mut self, name: &'static str, attributes: &Attributes<'_>, text: &str) -> io::Result<()> {
        self.open(name, attributes)?;
        self.0.write_event(Event::Text(BytesText::new(&legal(text))))?;
        self.close(name)
    }
}

/// The text without the characters that XML 1.0 cannot hold, not even escaped.
pub(super) fn legal(text: &str) -> String {
    let allowed = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}');
    text.chars().filter(allowed).collect()
}
