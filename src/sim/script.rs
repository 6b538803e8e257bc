//! A call written down: what the caller says and does, and what should come of it. TOML; pure.
//!
//! ```toml
//! name = "asks for a price"
//!
//! [[step]]
//! wait_for = "greeting"
//!
//! [[step]]
//! say = "How much is a haircut?"
//! expect_heard = ["dollars"]
//!
//! [[step]]
//! hang_up = true
//! ```
//!
//! A step waits (`wait_for`, or `interrupt_after_ms`), then does one thing (`say`, `dtmf`, `pause_ms`, `person`,
//! `drop_socket`, `hang_up`), then checks: `expect_heard` behind `say` or `dtmf` waits for the reply and looks into it,
//! without one of them it looks into what was heard last; `expect_end` waits for the end of the call. `within_ms`
//! bounds every wait of its step. A wait that fails is noted and the caller goes on. With `repeats` the caller is one
//! whom a broken stream does not put off: what was not answered before it is said again behind it, unless the answer
//! comes by itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The scripts that come with the program, by name: the demonstration's and the load test's.
pub const EMBEDDED: &[(&str, &str)] = &[
    ("booking", include_str!("scripts/booking.toml")),
    ("load", include_str!("scripts/load.toml")),
    ("soak", include_str!("scripts/soak.toml")),
];

/// Milliseconds that a wait may last unless the step says otherwise.
pub const WITHIN_MS: u64 = 15_000;

/// A script that was read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What it shows, for reports.
    pub name: String,
    /// The caller's number; the configured one if not given.
    pub from: Option<String>,
    /// The number called; the configured one if not given.
    pub to: Option<String>,
    /// Milliseconds without voice after which the bot has finished.
    pub settle_ms: u64,
    /// Milliseconds after which the caller hangs up whatever happens.
    pub limit_ms: u64,
    /// How a dialled person behaves at first.
    pub person: Person,
    /// Whether the caller says again what was not answered when a stream broke.
    pub repeats: bool,
    /// What the caller does, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// What the caller waits for first.
    pub wait_for: Option<WaitFor>,
    /// How long any wait of this step may last, in milliseconds.
    pub within_ms: u64,
    /// Acts so many milliseconds after the bot began to speak, over it.
    pub interrupt_after_ms: Option<u64>,
    /// What the caller does.
    pub act: Option<Act>,
    /// Texts that must be heard; compared word by word without case and punctuation.
    pub expect_heard: Vec<String>,
    /// How the call must end.
    pub expect_end: Option<EndKind>,
    /// Whether it is left out once the caller has talked enough.
    pub optional: bool,
}

/// What a caller waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// The first words of the bot, to their end.
    Greeting,
    /// The bot's reply to what the caller did last, to its end.
    Reply,
    /// Words of the bot.
    Heard(String),
    /// So many milliseconds without the bot's voice.
    SilenceMs(u64),
    /// The end of the call.
    End,
}

/// What a caller does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Speaks.
    Say(String),
    /// Presses keys, 200 ms apart.
    Dtmf(String),
    /// Does nothing for so many milliseconds.
    Pause(u64),
    /// Hangs up.
    HangUp,
    /// Breaks the stream's connection without a word; Twilio then asks the server how to go on.
    DropSocket,
    /// Decides how a dialled person behaves from now on.
    Person(Person),
}

/// How a dialled person behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Person {
    /// Picks up.
    #[default]
    Answers,
    /// Is on the phone.
    Busy,
    /// Does not hear it.
    NoAnswer,
    /// Cannot be reached at all.
    Failed,
}

/// How a call ends, as far as a script tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndKind {
    /// The server hung up.
    Hangup,
    /// The caller was put through to a person.
    Dial,
    /// The caller hung up.
    Caller,
    /// The server did not take the call.
    Rejected,
    /// Twilio's "application error".
    Failed,
}

impl fmt::Display for EndKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "hangup",
            Self::Dial => "dial",
            Self::Caller => "caller",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        })
    }
}

/// Why a script cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ScriptError {
    /// Where, such as `step[3].wait_for`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScript {
    #[serde(default)]
    name: String,
    from: Option<String>,
    to: Option<String>,
    #[serde(default = "settle_ms")]
    settle_ms: u64,
    #[serde(default = "limit_ms")]
    limit_ms: u64,
    #[serde(default)]
    person: Person,
    #[serde(default)]
    repeats: bool,
    step: Vec<RawStep>,
}

const fn settle_ms() -> u64 {
    700
}

const fn limit_ms() -> u64 {
    180_000
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    wait_for: Option<WaitFor>,
    within_ms: Option<u64>,
    interrupt_after_ms: Option<u64>,
    say: Option<String>,
    dtmf: Option<String>,
    pause_ms: Option<u64>,
    hang_up: Option<bool>,
    drop_socket: Option<bool>,
    person: Option<Person>,
    #[serde(default)]
    expect_heard: Vec<String>,
    expect_end: Option<EndKind>,
    #[serde(default)]
    optional: bool,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// Names the first place that is wrong.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let fail = |path: String, message: &str| ScriptError { path, message: message.trim_end().to_owned() };
        let source = toml::Deserializer::parse(text)
            .map_err(|error| fail("the file".to_owned(), &error.to_string()))?;
        let raw: RawScript = serde_path_to_error::deserialize(source).map_err(|error| {
            let path = error.path().to_string();
            let path = if path == "." { "the file".to_owned() } else { path };
            fail(path, &error.into_inner().to_string())
        })?;
        if raw.step.is_empty() {
            return Err(fail("step".to_owned(), "a script needs at least one step"));
        }
        let steps = raw.step.into_iter().enumerate().map(|(index, step)| {
            step.check().map_err(|(field, message)| fail(format!("step[{index}]{field}"), message))
        });
        Ok(Self {
            name: raw.name,
            from: raw.from,
            to: raw.to,
            settle_ms: raw.settle_ms.clamp(100, 60_000),
            limit_ms: raw.limit_ms,
            person: raw.person,
            repeats: raw.repeats,
            steps: steps.collect::<Result<_, _>>()?,
        })
    }

    /// One of the scripts that come with the program.
    #[must_use]
    pub fn embedded(name: &str) -> Option<Self> {
        let (_, text) = EMBEDDED.iter().find(|(known, _)| *known == name)?;
        Self::parse(text).ok()
    }

    /// Everything the caller says.
    pub fn phrases(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.act {
            Some(Act::Say(text)) => Some(text.as_str()),
            _ => None,
        })
    }
}

impl RawStep {
    fn check(self) -> Result<Step, (&'static str, &'static str)> {
        if self.hang_up == Some(false) {
            return Err((".hang_up", "can only be true"));
        }
        if self.drop_socket == Some(false) {
            return Err((".drop_socket", "can only be true"));
        }
        if self.say.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err((".say", "needs words"));
        }
        let key = |key: char| key.is_ascii_digit() || matches!(key, '*' | '#' | 'A'..='D');
        if self.dtmf.as_ref().is_some_and(|keys| keys.is_empty() || !keys.chars().all(key)) {
            return Err((".dtmf", "needs keys of 0-9, *, # and A-D"));
        }
        if self.expect_heard.iter().any(|text| words_of(text).is_empty()) {
            return Err((".expect_heard", "needs words"));
        }
        if matches!(&self.wait_for, Some(WaitFor::Heard(text)) if words_of(text).is_empty()) {
            return Err((".wait_for.heard", "needs words"));
        }
        let mut acts = [
            self.say.map(Act::Say),
            self.dtmf.map(Act::Dtmf),
            self.pause_ms.map(Act::Pause),
            self.hang_up.map(|_| Act::HangUp),
            self.drop_socket.map(|_| Act::DropSocket),
            self.person.map(Act::Person),
        ]
        .into_iter()
        .flatten();
        let act = acts.next();
        if acts.next().is_some() {
            return Err((
                "",
                "does more than one of say, dtmf, pause_ms, hang_up, drop_socket, person: use a step for each",
            ));
        }
        let speaks = matches!(act, Some(Act::Say(_) | Act::Dtmf(_)));
        if self.interrupt_after_ms.is_some() && !speaks {
            return Err((".interrupt_after_ms", "needs say or dtmf in the same step"));
        }
        if self.interrupt_after_ms.is_some() && self.wait_for.is_some() {
            return Err((".interrupt_after_ms", "is a wait of its own: leave wait_for away"));
        }
        if act.is_none()
            && self.wait_for.is_none()
            && self.expect_heard.is_empty()
            && self.expect_end.is_none()
        {
            return Err(("", "does nothing"));
        }
        Ok(Step {
            wait_for: self.wait_for,
            within_ms: self.within_ms.unwrap_or(WITHIN_MS),
            interrupt_after_ms: self.interrupt_after_ms,
            act,
            expect_heard: self.expect_heard,
            expect_end: self.expect_end,
            optional: self.optional,
        })
    }
}

/// The words of a text in lower case, without punctuation.
#[must_use]
pub fn words_of(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect())
        .filter(|word: &String| !word.is_empty())
        .collect()
}

/// Whether `wanted` stands in `heard`, as words in a row.
#[must_use]
pub fn contains_words(heard: &[String], wanted: &str) -> bool {
    let wanted = words_of(wanted);
    !wanted.is_empty() && heard.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Script::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_script_is_read() {
        let script = Script::parse(
            r#"
            name = "all"
            from = "+12025550143"
            person = "busy"
            [[step]]
            wait_for = "greeting"
            within_ms = 3000
            [[step]]
            say = "Hello there"
            expect_heard = ["Hi, you!"]
            [[step]]
            interrupt_after_ms = 700
            say = "Stop"
            [[step]]
            wait_for = { heard = "ready" }
            dtmf = "5#"
            [[step]]
            wait_for = { silence_ms = 1500 }
            [[step]]
            pause_ms = 300
            [[step]]
            drop_socket = true
            [[step]]
            person = "no-answer"
            [[step]]
            expect_end = "dial"
            [[step]]
            hang_up = true
            "#,
        )
        .unwrap();
        assert_eq!(script.steps.len(), 10);
        assert_eq!(script.person, Person::Busy);
        assert_eq!(script.steps[0].within_ms, 3_000);
        assert_eq!(script.steps[1].act, Some(Act::Say("Hello there".to_owned())));
        assert_eq!(script.steps[3].wait_for, Some(WaitFor::Heard("ready".to_owned())));
        assert_eq!(script.steps[4].wait_for, Some(WaitFor::SilenceMs(1_500)));
        assert_eq!(script.steps[7].act, Some(Act::Person(Person::NoAnswer)));
        assert_eq!(script.phrases().collect::<Vec<_>>(), ["Hello there", "Stop"]);
    }

    #[test]
    fn an_error_names_its_place() {
        for (text, place) in [
            ("step = []", "step: "),
            ("[[step]]\nwait_for = \"reply\"\n[[step]]\nsay = 5", "step[1].say: "),
            ("[[step]]\nwait_for = \"miracle\"", "step[0].wait_for: "),
            ("[[step]]\nshout = \"x\"", "step[0].shout: "),
            ("[[step]]\nwithin_ms = 5", "step[0]: "),
            ("[[step]]\nsay = \"a\"\ndtmf = \"1\"", "step[0]: "),
            ("[[step]]\ndtmf = \"x\"", "step[0].dtmf: "),
            ("[[step]]\nhang_up = false", "step[0].hang_up: "),
            ("[[step]]\ninterrupt_after_ms = 5\nhang_up = true", "step[0].interrupt_after_ms: "),
            ("[[step]]\nexpect_heard = [\"?\"]", "step[0].expect_heard: "),
            ("[[step]]\nexpect_end = \"boom\"", "step[0].expect_end: "),
            ("speed = 2\n[[step]]\nhang_up = true", "speed: "),
            ("[[step", "the file: "),
        ] {
            assert!(error(text).starts_with(place), "{text:?} gives {}", error(text));
        }
    }

    #[test]
    fn the_scripts_that_come_along_are_sound() {
        for (name, _) in EMBEDDED {
            assert!(Script::embedded(name).is_some(), "{name}");
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/calls");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let script = Script::parse(&std::fs::read_to_string(&path).unwrap());
            assert!(script.is_ok(), "{}: {}", path.display(), script.unwrap_err());
            count += 1;
        }
        assert!(count >= 7);
    }

    #[test]
    fn words_are_compared_without_case_and_punctuation() {
        let heard = words_of("A haircut is $35, at Joe's.");
        assert!(contains_words(&heard, "haircut is 35"));
        assert!(contains_words(&heard, "joes"));
        assert!(!contains_words(&heard, "is haircut"));
        assert!(!contains_words(&heard, ""));
    }
}
