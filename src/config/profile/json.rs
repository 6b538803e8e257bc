//! JSON read strictly: a key given twice is an error, and so is every key or type that is not expected, with its path.

use super::ProfileProblem;
use crate::config::suggest::nearest;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Reads JSON text whose objects have no key twice.
pub(super) fn parse(text: &str) -> Result<Value, ProfileProblem> {
    let mut source = serde_json::Deserializer::from_str(text.trim_start_matches('\u{feff}'));
    let read = serde_path_to_error::deserialize::<_, Strict>(&mut source);
    let value = read.map_err(|error| {
        ProfileProblem::new(error.path().to_string(), format!("is no valid JSON: {}", error.inner()))
    })?;
    source.end().map_err(|error| ProfileProblem::new(".", format!("is no valid JSON: {error}")))?;
    Ok(value.0)
}

/// A JSON value whose objects have no key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} is there twice")));
            }
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// A value and its place, or a place where nothing is. `null` counts as nothing.
pub(super) struct Node<'a> {
    /// The place: `services[2].name`.
    pub path: String,
    value: Option<&'a Value>,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value: Some(value) }
    }

    /// The member of that name.
    pub(super) fn get(&self, key: &str) -> Node<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Node { path, value: self.value.and_then(|value| value.get(key)).filter(|value| !value.is_null()) }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.value.is_none()
    }

    pub(super) fn is_array(&self) -> bool {
        self.value.is_some_and(Value::is_array)
    }

    pub(super) fn is_object(&self) -> bool {
        self.value.is_some_and(Value::is_object)
    }

    pub(super) fn as_str(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }
}

/// Reads values and notes what is wrong with them. An absent value is `None` and no problem.
#[derive(Default)]
pub(super) struct Reader {
    /// What is wrong so far.
    pub problems: Vec<ProfileProblem>,
}

impl Reader {
    /// Notes a problem.
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        let path = if path.is_empty() { "." } else { path };
        self.problems.push(ProfileProblem::new(path, message));
    }

    /// Whether the value is an object; notes it if not, and every key that is not among `known`.
    pub(super) fn object(&mut self, node: &Node<'_>, known: &[&str]) -> bool {
        let Some(object) = node.value.and_then(Value::as_object) else {
            self.problem(&node.path, format!("expected an object with {}", known.join(", ")));
            return false;
        };
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = match nearest(key, known.iter().copied()) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => format!("expected one of {}", known.join(", ")),
            };
            self.problem(&node.get(key).path, format!("is no key that is known: {hint}"));
        }
        true
    }

    /// A text of at most `max` characters, without outer blanks and control characters.
    pub(super) fn text(&mut self, node: &Node<'_>, max: usize) -> Option<String> {
        let value = node.value?;
        let Some(text) = value.as_str() else {
            self.problem(&node.path, "expected a text");
            return None;
        };
        if text.chars().nth(max).is_some() {
            self.problem(&node.path, format!("is longer than {max} characters"));
            return None;
        }
        if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
            self.problem(&node.path, "has control characters in it");
        }
        Some(text.trim().to_owned())
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, node: &Node<'_>, max: usize) -> String {
        if node.is_absent() {
            self.problem(&node.path, "is missing: expected a text");
            return String::new();
        }
        let text = self.text(node, max);
        if text.as_deref() == Some("") {
            self.problem(&node.path, "is empty: expected a text");
        }
        text.unwrap_or_default()
    }

    /// A list of texts, none of them empty.
    pub(super) fn texts(&mut self, node: &Node<'_>, max: usize) -> Vec<String> {
        self.items(node, max).iter().map(|item| self.required(item, max)).collect()
    }

    /// The items of a list of at most `max`.
    pub(super) fn items<'a>(&mut self, node: &Node<'a>, max: usize) -> Vec<Node<'a>> {
        let Some(value) = node.value else { return Vec::new() };
        let Some(items) = value.as_array() else {
            self.problem(&node.path, "expected a list");
            return Vec::new();
        };
        if items.len() > max {
            self.problem(&node.path, format!("has more than {max} items"));
        }
        let place = |(n, value)| Node { path: format!("{}[{n}]", node.path), value: Some(value) };
        items.iter().take(max).enumerate().map(place).collect()
    }

    /// A whole number.
    pub(super) fn number(&mut self, node: &Node<'_>, low: u32, high: u32) -> Option<u32> {
        let number = node.value?.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.problem(&node.path, format!("expected a whole number from {low} to {high}"));
        }
        number
    }

    /// A number that is not negative.
    pub(super) fn amount(&mut self, node: &Node<'_>, high: f64) -> Option<f64> {
        let amount = node.value?.as_f64().filter(|amount| (0.0..=high).contains(amount));
        if amount.is_none() {
            self.problem(&node.path, format!("expected a number from 0 to {high}"));
        }
        amount
    }

    /// A truth value.
    pub(super) fn switch(&mut self, node: &Node<'_>) -> Option<bool> {
        let on = node.value?.as_bool();
        if on.is_none() {
            self.problem(&node.path, "expected true or false");
        }
        on
    }
}
