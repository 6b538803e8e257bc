//! Telephone numbers and what Twilio writes where a caller's number should be.

use super::mask::MaskedNumber;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The longest text that is looked at as a telephone number, in characters.
const MAX_NUMBER_CHARS: usize = 32;

/// The longest caller identity that is kept, in characters.
const MAX_CALLER_CHARS: usize = 128;

/// Shown in place of a number that was withheld.
const UNKNOWN_CALLER: &str = "Unknown caller";

/// Words that stand for a withheld number, in any case (`twilio.md` section 9).
const WITHHELD_WORDS: [&str; 6] = ["anonymous", "unknown", "restricted", "unavailable", "private", "blocked"];

/// The same words spelled on a telephone's keypad, without the `+` that makes them look like E.164.
const WITHHELD_KEYPAD: [&str; 6] =
    ["266696687", "7378742833", "86282452253", "8656696", "2562533", "7748283"];

/// Why a text is not a telephone number; the message says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Not of the form `+` and 7 to 15 digits, the first of them not 0.
    #[error("expected a number in E.164, like +12025550143: a plus sign and 7 to 15 digits, the first not 0")]
    NotE164,
    /// Longer than any way of writing a number.
    #[error("expected a telephone number of at most 32 characters")]
    TooLong,
    /// Something stands in it that is no part of a number.
    #[error("expected digits, spaces and the signs + ( ) . - / only, with the plus sign first")]
    Characters,
    /// A national number, and nothing says of which country.
    #[error("expected a number with its country code, like +12025550143")]
    CountryCode,
    /// The region given is not a country known to the numbering plan.
    #[error("expected a region as two letters of ISO 3166, like US")]
    Region,
    /// Well formed, but the numbering plan has no such number.
    #[error("expected a number that exists in its country's numbering plan")]
    Invalid,
}

/// A valid number in E.164 (`+12025550143`). Prints masked; `as_str` gives the number itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(Arc<str>);

impl PhoneNumber {
    /// The number in E.164.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes a number that is in E.164 already, as Twilio writes them: its form is checked, the numbering plan is not asked.
    pub fn from_e164(text: &str) -> Result<Self, PhoneError> {
        if is_e164(text) { Ok(Self(text.into())) } else { Err(PhoneError::NotE164) }
    }

    /// Reads a number as people write it. `region` (ISO 3166, `US`) says where a number without a country code
    /// belongs; without a region, the country code must stand there. The number must exist in its numbering plan.
    pub fn parse(text: &str, region: Option<&str>) -> Result<Self, PhoneError> {
        let text = text.trim();
        if text.chars().nth(MAX_NUMBER_CHARS).is_some() {
            return Err(PhoneError::TooLong);
        }
        // The parser below maps letters to keypad digits and forgives much else; none of that is wanted.
        let allowed = |c: char| c.is_ascii_digit() || matches!(c, '(' | ')' | '.' | '-' | '/' | ' ');
        let rest = text.strip_prefix('+').unwrap_or(text);
        if !rest.chars().all(allowed) || !rest.chars().any(|c| c.is_ascii_digit()) {
            return Err(PhoneError::Characters);
        }
        let country = match region {
            Some(code) => Some(
                code.trim()
                    .to_ascii_uppercase()
                    .parse::<phonenumber::country::Id>()
                    .map_err(|_| PhoneError::Region)?,
            ),
            None if text.starts_with('+') => None,
            None => return Err(PhoneError::CountryCode),
        };
        let number = phonenumber::parse(country, text).map_err(|_| PhoneError::Invalid)?;
        if !number.is_valid() {
            return Err(PhoneError::Invalid);
        }
        let e164 = number.format().mode(phonenumber::Mode::E164).to_string();
        Self::from_e164(&e164).map_err(|_| PhoneError::Invalid)
    }

    /// The country of the number by the numbering plan, ISO 3166 (`US`). Countries that share a code are told apart.
    pub fn region(&self) -> Option<String> {
        let number = phonenumber::parse(None, self.as_str()).ok()?;
        number.country().id().map(|id| id.as_ref().to_owned())
    }

    /// Whether a call to it costs more than a call: premium rate, shared cost and their like, which fraud lives on.
    pub fn is_costly(&self) -> bool {
        use phonenumber::Type;
        phonenumber::parse(None, self.as_str()).is_ok_and(|number| {
            matches!(
                number.number_type(&phonenumber::metadata::DATABASE),
                Type::PremiumRate | Type::SharedCost | Type::PersonalNumber | Type::Pager | Type::Uan
            )
        })
    }
}

/// Whether a text has the form `+`, a digit other than 0, and 6 to 14 digits more.
fn is_e164(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    (7..=15).contains(&digits.len())
        && !digits.starts_with('0')
        && digits.bytes().all(|digit| digit.is_ascii_digit())
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MaskedNumber(&self.0).fmt(f)
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PhoneNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PhoneNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_e164(&text).map_err(serde::de::Error::custom)
    }
}

/// Who rings, as Twilio's `From` tells it (`twilio.md` section 9). Prints masked; `label` is for people,
/// `as_raw` for storing. Serialised as the text of `as_raw`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum CallerId {
    /// A number that can be rung back.
    Number(PhoneNumber),
    /// Withheld, restricted, unknown or empty: nobody in particular, never the same person twice.
    Withheld,
    /// A SIP address; the text is its user part.
    Sip(Arc<str>),
    /// A Voice SDK identity.
    Client(Arc<str>),
    /// A short code or extension: shown, never dialled.
    ShortCode(Arc<str>),
    /// Anything else: shown, never dialled.
    Raw(Arc<str>),
}

impl CallerId {
    /// Understands a `From` or `Caller` value. Every text has a meaning; long ones are cut at 128 characters.
    pub fn classify(raw: &str) -> Self {
        let text = printable(raw);
        // Before E.164, because the words spelled on a keypad look like numbers.
        if is_withheld(&text) {
            return Self::Withheld;
        }
        if let Ok(number) = PhoneNumber::from_e164(&text) {
            return Self::Number(number);
        }
        if let Some(address) = strip_scheme(&text, "sip:").or_else(|| strip_scheme(&text, "sips:")) {
            let user = address.split(['@', ':', ';', '?']).next().unwrap_or_default().trim();
            return match user {
                "" => Self::Raw(text.as_str().into()),
                user if is_withheld(user) => Self::Withheld,
                user => Self::Sip(user.into()),
            };
        }
        if let Some(identity) = strip_scheme(&text, "client:").map(str::trim).filter(|name| !name.is_empty())
        {
            return Self::Client(identity.into());
        }
        if (3..=6).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit()) {
            return Self::ShortCode(text.as_str().into());
        }
        Self::Raw(text.as_str().into())
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<&PhoneNumber> {
        match self {
            Self::Number(number) => Some(number),
            Self::Withheld | Self::Sip(_) | Self::Client(_) | Self::ShortCode(_) | Self::Raw(_) => None,
        }
    }

    /// The text to store, which `classify` understands as the same caller again (`sip:alice`, `anonymous`).
    pub fn as_raw(&self) -> Cow<'_, str> {
        match self {
            Self::Number(number) => number.as_str().into(),
            Self::Withheld => "anonymous".into(),
            Self::Sip(user) => format!("sip:{user}").into(),
            Self::Client(identity) => format!("client:{identity}").into(),
            Self::ShortCode(text) | Self::Raw(text) => (&**text).into(),
        }
    }

    /// The text to show to staff, unmasked: the number, a name, or "Unknown caller".
    pub fn label(&self) -> &str {
        match self {
            Self::Number(number) => number.as_str(),
            Self::Withheld => UNKNOWN_CALLER,
            Self::Sip(text) | Self::Client(text) | Self::ShortCode(text) => text,
            Self::Raw(text) => strip_scheme(text, "whatsapp:").unwrap_or(text),
        }
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text): (&str, &str) = match self {
            Self::Number(number) => return number.fmt(f),
            Self::Withheld => return f.write_str("withheld"),
            // Any of these may carry a number too.
            Self::Sip(text) => ("sip:", text),
            Self::Client(text) => ("client:", text),
            Self::ShortCode(text) => ("short:", text),
            Self::Raw(text) => ("raw:", text),
        };
        write!(f, "{kind}{}", MaskedNumber(text))
    }
}

impl fmt::Debug for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for CallerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.as_raw())
    }
}

impl<'de> Deserialize<'de> for CallerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::classify(&Cow::<'de, str>::deserialize(deserializer)?))
    }
}

fn is_withheld(text: &str) -> bool {
    text.is_empty()
        || WITHHELD_WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
        || WITHHELD_KEYPAD.contains(&text.strip_prefix('+').unwrap_or(text))
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The text without control characters and outer blanks, cut to what is kept.
fn printable(raw: &str) -> String {
    let kept: String = raw.chars().filter(|c| !c.is_control()).collect();
    let cut: String = kept.trim().chars().take(MAX_CALLER_CHARS).collect();
    cut.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    const CASES: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/twilio/caller_ids.json"));

    fn kind(caller: &CallerId) -> &'static str {
        match caller {
            CallerId::Number(_) => "e164",
            CallerId::Withheld => "withheld",
            CallerId::Sip(_) => "sip",
            CallerId::Client(_) => "client",
            CallerId::ShortCode(_) => "short_code",
            CallerId::Raw(text) if text.starts_with("whatsapp:") => "whatsapp",
            CallerId::Raw(_) => "raw",
        }
    }

    #[test]
    fn every_caller_id_of_the_table_is_understood_and_shown_as_it_says() {
        let table: Value = serde_json::from_str(CASES).unwrap();
        let cases = table["cases"].as_array().unwrap();
        assert!(cases.len() >= 30);
        for case in cases {
            let raw = case["raw"].as_str().unwrap();
            let caller = CallerId::classify(raw);
            assert_eq!(kind(&caller), case["kind"], "{raw}");
            assert_eq!(caller.label(), case["display"], "{raw}");
            assert_eq!(caller.number().is_some(), case["can_call_back"], "{raw}");
            if let Some(number) = caller.number() {
                assert_eq!(number.as_str(), case["e164"], "{raw}");
            }
        }
        for (word, keypad) in table["keypad_sentinels"].as_object().unwrap() {
            assert_eq!(CallerId::classify(keypad.as_str().unwrap()), CallerId::Withheld, "{word}");
            assert_eq!(CallerId::classify(word), CallerId::Withheld);
        }
    }

    #[test]
    fn a_sip_caller_is_its_user_part_and_may_be_withheld_too() {
        for raw in ["SIP:alice@pbx", "sips:alice:secret@pbx;transport=tls", "sip:alice", "sip:alice;x=1@pbx"]
        {
            assert_eq!(CallerId::classify(raw), CallerId::Sip("alice".into()), "{raw}");
        }
        assert_eq!(CallerId::classify("sip:Restricted@pbx"), CallerId::Withheld);
        assert_eq!(CallerId::classify("sip:@pbx"), CallerId::Raw("sip:@pbx".into()));
        assert_eq!(CallerId::classify("client:"), CallerId::Raw("client:".into()));
    }

    #[test]
    fn control_characters_and_length_are_taken_from_a_caller() {
        assert_eq!(CallerId::classify("a\r\nb"), CallerId::Raw("ab".into()));
        assert_eq!(CallerId::classify(&"x".repeat(4_000)).label().len(), 128);
    }

    #[test]
    fn nothing_printed_of_a_caller_shows_a_number() {
        for raw in [
            "+12025550143",
            "2025550143",
            "sip:+12025550143@pbx",
            "whatsapp:+12025550143",
            "client:12025550143",
        ] {
            let caller = CallerId::classify(raw);
            for shown in [format!("{caller}"), format!("{caller:?}")] {
                assert!(!shown.contains("0255501"), "{shown}");
            }
        }
        assert_eq!(CallerId::Withheld.to_string(), "withheld");
    }

    #[test]
    fn numbers_as_people_write_them_become_e164() {
        for (text, region, want) in [
            ("+1 202-555-0143", None, "+12025550143"),
            ("+1 (202) 555.0143", None, "+12025550143"),
            ("(202) 555-0143", Some("US"), "+12025550143"),
            (" 2025550143 ", Some("us"), "+12025550143"),
            ("1/202/555/0143", Some("US"), "+12025550143"),
            ("+44 20 7946 0123", Some("US"), "+442079460123"),
            ("020 7946 0123", Some("GB"), "+442079460123"),
        ] {
            assert_eq!(PhoneNumber::parse(text, region).unwrap().as_str(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused_and_the_message_says_what_was_expected() {
        for (text, region, want) in [
            ("", None, PhoneError::Characters),
            ("+", None, PhoneError::Characters),
            ("1-800-FLOWERS", Some("US"), PhoneError::Characters),
            ("++12025550143", None, PhoneError::Characters),
            ("+1202555+0143", None, PhoneError::Characters),
            ("me@example.com", None, PhoneError::Characters),
            ("+1 202 555 0143 ext. 7", None, PhoneError::Characters),
            ("+1\u{a0}2025550143", None, PhoneError::Characters),
            ("2025550143", None, PhoneError::CountryCode),
            ("2025550143", Some("Atlantis"), PhoneError::Region),
            ("+1 202 555 014", None, PhoneError::Invalid),
            ("911", Some("US"), PhoneError::Invalid),
            ("+12025550143 000000000000000000000", None, PhoneError::TooLong),
        ] {
            let error = PhoneNumber::parse(text, region).unwrap_err();
            assert_eq!(error, want, "{text}");
            assert!(error.to_string().starts_with("expected "), "{error}");
        }
    }

    #[test]
    fn the_quick_way_checks_the_form_of_e164_only() {
        for good in ["+1234567", "+123456789012345", "+12025550143"] {
            assert_eq!(PhoneNumber::from_e164(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "+",
            "12025550143",
            "+123456",
            "+1234567890123456",
            "+02025550143",
            "+1202555014x",
            "+1 2025550143",
        ] {
            assert_eq!(PhoneNumber::from_e164(bad), Err(PhoneError::NotE164), "{bad}");
        }
    }

    #[test]
    fn a_number_travels_through_json_as_its_text() {
        let number = PhoneNumber::from_e164("+12025550143").unwrap();
        let json = serde_json::to_string(&number).unwrap();
        assert_eq!(json, "\"+12025550143\"");
        assert_eq!(serde_json::from_str::<PhoneNumber>(&json).unwrap(), number);
        assert!(serde_json::from_str::<PhoneNumber>("\"2025550143\"").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_some_caller_and_storing_it_loses_nothing(raw in "\\PC{0,200}|(sip:|sips:|client:|\\+)?[ -~]{0,40}") {
            let caller = CallerId::classify(&raw);
            prop_assert_eq!(&CallerId::classify(&caller.as_raw()), &caller);
            let json = serde_json::to_string(&caller).unwrap();
            prop_assert_eq!(serde_json::from_str::<CallerId>(&json).unwrap(), caller);
        }

        #[test]
        fn any_text_is_a_number_in_e164_or_an_error(text in "\\PC{0,40}|[0-9+(). /-]{0,34}", us in any::<bool>()) {
            if let Ok(number) = PhoneNumber::parse(&text, us.then_some("US")) {
                prop_assert!(is_e164(number.as_str()));
                prop_assert_eq!(PhoneNumber::parse(number.as_str(), None), Ok(number));
            }
        }
    }
}
