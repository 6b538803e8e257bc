//! A brain that answers by rules from a file. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A tool call of a script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    /// The tool.
    pub name: String,
    /// Its arguments; a string is sent as it stands, so that it may be malformed.
    #[serde(default)]
    pub arguments: Value,
}

impl ScriptedCall {
    /// The arguments as they go over the wire.
    pub(super) fn text(&self) -> String {
        match &self.arguments {
            Value::String(raw) => raw.clone(),
            Value::Null => "{}".to_owned(),
            other => other.to_string(),
        }
    }
}

/// What is answered when the caller's last words contain something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Part of the caller's last words; case is ignored, and the empty text is always contained.
    #[serde(default)]
    pub when_contains: String,
    /// What is said.
    #[serde(default)]
    pub say: String,
    /// What is called.
    #[serde(default)]
    pub tools: Vec<ScriptedCall>,
    /// What is said when the tools have answered; without it, the receptionist speaks of the answers.
    #[serde(default)]
    pub then: Option<String>,
    /// The tools are called again however often they have answered, as long as tools are on offer.
    #[serde(default)]
    pub endless: bool,
}

/// Rules, the first that fits counting, and what is said when none does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Said when no rule fits; without it, the receptionist answers.
    pub otherwise: Option<String>,
}

impl Script {
    /// Reads a script from TOML.
    ///
    /// # Errors
    /// When the text is not a script; the message names the line.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    pub(super) fn rule_for(&self, words: &str) -> Option<&Rule> {
        let words = words.to_lowercase();
        self.rules.iter().find(|rule| words.contains(&rule.when_contains.to_lowercase()))
    }
}
