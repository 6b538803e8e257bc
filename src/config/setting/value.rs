//! The types that settings can have: how each is read from a variable, from the file, and shown.

use crate::config::mask;
use secrecy::{ExposeSecret as _, SecretString};

/// How a setting is written and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text that is never shown.
    Secret,
    /// A whole number.
    Number,
    /// A number with decimals.
    Decimal,
    /// `on` or `off`.
    Switch,
    /// Texts, separated by commas.
    List,
}

/// A type that settings can have.
pub trait Value: Sized {
    /// How it is written.
    const KIND: Kind;
    /// What is expected, for the message about something else.
    const EXPECTED: &'static str;
    /// Reads a variable's text, which is trimmed and not empty.
    fn parse(text: &str) -> Option<Self>;
    /// Reads a value of the file.
    fn from_toml(value: &toml::Value) -> Option<Self>;
    /// Writes the value as `parse` reads it, secrets and passwords masked; empty when there is none.
    fn show(&self) -> String;
    /// The secret, if it is one.
    fn secret(&self) -> Option<&SecretString> {
        None
    }
}

impl Value for String {
    const KIND: Kind = Kind::Text;
    const EXPECTED: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().map(|text| text.trim().to_owned())
    }
    fn show(&self) -> String {
        mask::passwords(self)
    }
}

impl Value for Option<String> {
    const KIND: Kind = Kind::Text;
    const EXPECTED: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(Some(text.to_owned()))
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        String::from_toml(value).map(|text| Some(text).filter(|text| !text.is_empty()))
    }
    fn show(&self) -> String {
        self.as_deref().map(mask::passwords).unwrap_or_default()
    }
}

impl Value for SecretString {
    const KIND: Kind = Kind::Secret;
    const EXPECTED: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_str().map(|text| Self::from(text.trim()))
    }
    fn show(&self) -> String {
        if self.expose_secret().is_empty() { String::new() } else { "[set]".to_owned() }
    }
    fn secret(&self) -> Option<&SecretString> {
        Some(self).filter(|secret| !secret.expose_secret().is_empty())
    }
}

impl Value for Option<SecretString> {
    const KIND: Kind = Kind::Secret;
    const EXPECTED: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(Some(SecretString::from(text)))
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        SecretString::from_toml(value).map(|secret| Some(secret).filter(|s| !s.expose_secret().is_empty()))
    }
    fn show(&self) -> String {
        self.as_ref().map(Value::show).unwrap_or_default()
    }
    fn secret(&self) -> Option<&SecretString> {
        self.as_ref().and_then(Value::secret)
    }
}

macro_rules! whole_number {
    ($($type:ty: $expected:literal),*) => {$(
        impl Value for $type {
            const KIND: Kind = Kind::Number;
            const EXPECTED: &'static str = $expected;
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn from_toml(value: &toml::Value) -> Option<Self> {
                value.as_integer().and_then(|number| Self::try_from(number).ok())
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_number!(
    u16: "a whole number from 0 to 65535",
    u32: "a whole number",
    u64: "a whole number",
    usize: "a whole number"
);

impl Value for Option<f64> {
    const KIND: Kind = Kind::Decimal;
    const EXPECTED: &'static str = "a number, or `none`";
    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(None),
            _ => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Some),
        }
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value {
            toml::Value::Float(number) => Some(Some(*number)).filter(|_| number.is_finite()),
            toml::Value::Integer(number) => Self::parse(&number.to_string()),
            toml::Value::String(text) if text == "none" => Some(None),
            _ => None,
        }
    }
    fn show(&self) -> String {
        self.map_or_else(|| "none".to_owned(), |number| number.to_string())
    }
}

impl Value for bool {
    const KIND: Kind = Kind::Switch;
    const EXPECTED: &'static str = "`on` or `off`";
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Some(true),
            "off" | "false" | "no" | "0" => Some(false),
            _ => None,
        }
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        match value {
            toml::Value::Boolean(on) => Some(*on),
            toml::Value::String(text) => Self::parse(text.trim()),
            _ => None,
        }
    }
    fn show(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }
}

impl Value for Vec<String> {
    const KIND: Kind = Kind::List;
    const EXPECTED: &'static str = "a list of texts";
    fn parse(text: &str) -> Option<Self> {
        Some(words(text))
    }
    fn from_toml(value: &toml::Value) -> Option<Self> {
        value.as_array()?.iter().map(String::from_toml).collect()
    }
    fn show(&self) -> String {
        self.join(", ")
    }
}

/// The texts of a list separated by commas, without blanks and empty ones.
pub(in crate::config) fn words(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
