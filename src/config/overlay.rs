//! Settings that staff may change while the server runs, over what file and environment say. Pure.
//!
//! What reaches to the vendors' accounts, to secrets, to the database or to the telephone bill is not among them.

use super::Config;
use super::load::{Fault, Problem};
use super::setting::{self, Kind, Setting};
use super::validate;
use serde_json::Value;
use std::collections::BTreeMap;

/// Values by path (`call.filler_ms`).
pub type Changes = BTreeMap<String, Value>;

/// Settings outside `call` that may be changed.
const MORE: &[&str] = &[
    "server.max_calls",
    "stt.endpointing_ms",
    "stt.utterance_end_ms",
    "stt.punctuate",
    "stt.numerals",
    "tts.voice_id",
];

/// One setting as staff see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its section and name.
    pub name: String,
    /// What holds.
    pub value: Value,
    /// What held if staff had not changed it.
    pub configured: Value,
    /// How it is written.
    pub kind: Kind,
    /// What it means.
    pub meaning: String,
    /// Whether staff have changed it.
    pub changed: bool,
}

/// Whether there is such a setting that staff may change.
pub fn may_change(path: &str) -> bool {
    changeable().any(|setting| setting.path() == path)
}

fn is_ours(path: &str) -> bool {
    path.starts_with("call.") || MORE.contains(&path)
}

/// The settings that may be changed, in the order of the configuration.
fn changeable() -> impl Iterator<Item = Box<dyn Setting>> {
    setting::all().into_iter().filter(|setting| is_ours(&setting.path()))
}

/// The configuration with these changes, or everything that is wrong with them; the subject is the path.
pub fn apply(config: &Config, changes: &Changes) -> Result<Config, Vec<Problem>> {
    let mut changed = config.clone();
    let mut problems = Vec::new();
    for (path, value) in changes {
        let wrong = |expected: String| Problem {
            subject: path.clone(),
            fault: Fault::Wrong { given: value.to_string().chars().take(60).collect(), expected },
        };
        let Some(setting) = changeable().find(|setting| setting.path() == *path) else {
            problems.push(Problem { subject: path.clone(), fault: Fault::Unknown(None) });
            continue;
        };
        let mut tried = changed.clone();
        let read = toml_of(value).is_some_and(|value| setting.set_toml(&mut tried, &value));
        match if read { setting.check(&tried) } else { Err(setting.expected().to_owned()) } {
            Ok(()) => changed = tried,
            Err(expected) => problems.push(wrong(expected)),
        }
    }
    if problems.is_empty() {
        // Whatever the server would not start with is refused, unless it runs with it already.
        let known = faults(config);
        problems.extend(faults(&changed).into_iter().filter(|fault| !known.contains(fault)));
        for problem in &mut problems {
            // They are called by their variables; here they have paths.
            if let Some(setting) = setting::all().iter().find(|s| s.variable() == problem.subject) {
                problem.subject = setting.path();
            }
        }
    }
    if problems.is_empty() { Ok(changed) } else { Err(problems) }
}

/// What start-up would say of a whole configuration.
fn faults(config: &Config) -> Vec<Problem> {
    let mut faults = validate::relations(config, &BTreeMap::new());
    faults.extend(validate::missing_for_serve(config));
    faults
}

/// What holds and what staff have changed of it.
pub fn show(configured: &Config, current: &Config, changes: &Changes) -> Vec<Shown> {
    let value = |setting: &dyn Setting, config: &Config| {
        setting.show(config).map_or(Value::Null, |text| json_of(setting.kind(), &text))
    };
    changeable()
        .map(|setting| {
            let name = setting.path();
            Shown {
                value: value(setting.as_ref(), current),
                configured: value(setting.as_ref(), configured),
                kind: setting.kind(),
                meaning: setting.meaning(),
                changed: changes.contains_key(&name),
                name,
            }
        })
        .collect()
}

fn toml_of(value: &Value) -> Option<toml::Value> {
    Some(match value {
        Value::Bool(on) => toml::Value::Boolean(*on),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => toml::Value::Integer(whole),
            None => toml::Value::Float(number.as_f64()?),
        },
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Array(items) => toml::Value::Array(items.iter().map(toml_of).collect::<Option<_>>()?),
        Value::Null | Value::Object(_) => return None,
    })
}

/// A value as it is shown in text, in JSON.
fn json_of(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Number => text.parse::<i64>().map_or(Value::Null, Value::from),
        Kind::Decimal => text.parse::<f64>().map_or(Value::Null, Value::from),
        Kind::Switch => Value::Bool(text == "on"),
        Kind::List => setting::words(text).into(),
        Kind::Text => text.into(),
        Kind::Secret => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes(value: Value) -> Changes {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_change_is_checked_like_any_setting() {
        let config = Config::default();
        let good =
            json!({"call.filler_ms": 900, "stt.punctuate": false, "call.interrupt_words": ["stop", "hey"]});
        let changed = apply(&config, &changes(good)).unwrap();
        assert_eq!((changed.call.filler_ms, changed.stt.punctuate), (900, false));
        assert_eq!(changed.call.interrupt_words, ["stop", "hey"]);
        for (wrong, subject) in [
            (json!({"call.filler_ms": 1}), "call.filler_ms"),
            (json!({"call.filler_ms": "soon"}), "call.filler_ms"),
            (json!({"call.filler_ms": null}), "call.filler_ms"),
            (json!({"call.filler_ms": 20_000}), "call.filler_ms"),
            (json!({"call.interrupt_words": [1]}), "call.interrupt_words"),
            (json!({"call.nothing": 1}), "call.nothing"),
            (json!({"twilio.auth_token": "x"}), "twilio.auth_token"),
            (json!({"outbound.per_hour": 9999}), "outbound.per_hour"),
            (json!({"server.base_url": "https://evil.example"}), "server.base_url"),
        ] {
            let problems = apply(&config, &changes(wrong.clone())).unwrap_err();
            assert_eq!(problems[0].subject, subject, "{wrong}");
        }
    }

    #[test]
    fn a_change_without_which_the_server_would_not_start_is_refused() {
        let mut config = Config::default();
        config.tts.voice_id = "abc".into();
        let problems = apply(&config, &changes(json!({"tts.voice_id": ""}))).unwrap_err();
        assert_eq!(problems[0].subject, "tts.voice_id");
        assert!(matches!(problems[0].fault, Fault::Missing(_)), "{problems:?}");
        assert!(apply(&config, &changes(json!({"tts.voice_id": "def"}))).is_ok());
        // Every text, emptied alone, is either taken by start-up too or refused.
        for setting in changeable().filter(|setting| setting.kind() == Kind::Text) {
            let emptied = changes(json!({ setting.path(): "" }));
            if let Ok(changed) = apply(&config, &emptied) {
                assert_eq!(faults(&changed), faults(&config), "{}", setting.path());
            }
        }
    }

    #[test]
    fn what_is_shown_can_be_given_back_and_holds_no_secret() {
        let config = Config::default();
        let shown = show(&config, &config, &Changes::new());
        assert!(shown.iter().all(|s| s.kind != Kind::Secret && !s.changed && s.value == s.configured));
        let back: Changes = shown.into_iter().map(|s| (s.name, s.value)).collect();
        assert!(back.len() > 15);
        assert!(apply(&config, &back).is_ok());
        let one = changes(json!({"call.idle_prompts": 3}));
        let changed = apply(&config, &one).unwrap();
        let shown = show(&config, &changed, &one);
        let prompts = shown.iter().find(|s| s.name == "call.idle_prompts").unwrap();
        assert_eq!((&prompts.value, &prompts.configured, prompts.changed), (&json!(3), &json!(2), true));
    }
}
