//! The simulated model's brain: a receptionist who follows fixed rules. Pure and deterministic: the answer depends on
//! the messages and the tools offered, and on nothing else.

mod info;
mod intent;
mod results;
mod script;
mod speech;
mod summary;
mod talk;
mod words;

#[cfg(test)]
mod tests;

pub use script::{Rule, Script, ScriptedCall};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use talk::Talk;

/// How the model behaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum BrainMode {
    /// The receptionist.
    #[default]
    Receptionist,
    /// Rules from a file.
    Script(Script),
    /// A tool is called in every answer, for ever: the first one offered.
    EndlessTools,
    /// The first answer to the caller calls a tool with arguments that are not JSON; then the receptionist goes on.
    MalformedArguments,
    /// The first answer to the caller calls two tools at once, and a third that does not exist.
    ParallelCalls,
    /// No text and no call.
    EmptyReply,
    /// Fifty sentences.
    LongReply,
    /// The same text always.
    Fixed {
        /// The text.
        text: String,
    },
}

/// A tool call in the messages or in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id; empty in an answer of the brain.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, as text.
    pub arguments: String,
}

/// A message of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// `system` or `developer`.
    System(String),
    /// The caller.
    User(String),
    /// The bot.
    Assistant {
        /// What it said.
        text: String,
        /// What it called.
        calls: Vec<Call>,
    },
    /// A tool's answer.
    Tool {
        /// The call.
        id: String,
        /// The answer.
        text: String,
    },
}

/// What is asked of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// The conversation.
    pub messages: Vec<Heard>,
    /// The tools it may call.
    pub tools: Vec<String>,
    /// The tool it must call.
    pub forced_tool: Option<String>,
    /// The answer must be JSON; the schema, if one was given.
    pub json: Option<Value>,
}

/// What the model answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Text; may be empty.
    pub text: String,
    /// Calls, in order.
    pub calls: Vec<Call>,
}

impl Answer {
    fn say(text: impl Into<String>) -> Self {
        Self { text: text.into(), calls: Vec::new() }
    }
}

const GOODBYE: &str = "Thank you for calling. Goodbye.";
const TRANSFER: &str = "One moment, please. I will put you through.";

/// Answers.
#[must_use]
pub fn answer(mode: &BrainMode, question: &Question) -> Answer {
    let talk = Talk::new(question);
    if let Some(name) = &question.forced_tool {
        return Answer { text: String::new(), calls: vec![call(name, json!({}))] };
    }
    if talk.wants_summary() {
        return talk.summary();
    }
    let first_to_caller = talk.call_begins();
    match mode {
        BrainMode::Receptionist => talk.receptionist(),
        BrainMode::Script(script) => talk.scripted(script),
        BrainMode::EndlessTools => match question.tools.first() {
            Some(name) => Answer { text: String::new(), calls: vec![call(name, json!({"topic": "hours"}))] },
            None => Answer::say("I could not find that out. May I take a message?"),
        },
        BrainMode::MalformedArguments if first_to_caller && !question.tools.is_empty() => Answer {
            text: String::new(),
            calls: vec![Call {
                id: String::new(),
                name: "check_availability".to_owned(),
                arguments: "{\"date\": \"tomorr".to_owned(),
            }],
        },
        BrainMode::ParallelCalls if first_to_caller && !question.tools.is_empty() => Answer {
            text: "Let me look that up.".to_owned(),
            calls: vec![
                call("get_business_info", json!({"topic": "hours"})),
                call("get_business_info", json!({"topic": "prices"})),
                call("order_pizza", json!({"size": "large"})),
            ],
        },
        BrainMode::MalformedArguments | BrainMode::ParallelCalls => talk.receptionist(),
        BrainMode::EmptyReply => Answer::default(),
        BrainMode::LongReply => Answer::say(long_story()),
        BrainMode::Fixed { text } => Answer::say(text.clone()),
    }
}

fn long_story() -> String {
    (1..=50)
        .map(|n| format!("This is sentence number {n} of a rather long answer."))
        .collect::<Vec<_>>()
        .join(" ")
}

fn call(name: &str, arguments: Value) -> Call {
    Call { id: String::new(), name: name.to_owned(), arguments: arguments.to_string() }
}

/// Arguments without the absent ones.
fn arguments(pairs: &[(&str, Option<String>)]) -> Value {
    Value::Object(
        pairs
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|v| ((*name).to_owned(), json!(v))))
            .collect(),
    )
}
