//! What the mind accepts and tells, and the desk at which its tools are carried out.

use crate::domain::audit::AuditEvent;
use crate::domain::call::Outcome;
use crate::domain::ids::{Generation, ReplyId};
use actix::Message;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

/// The caller's turn is over: answer it.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Answer {
    /// The number of the reply that answers.
    pub reply: ReplyId,
    /// All the caller said in this turn. Replaces the words of a reply that was withdrawn before it was heard.
    pub text: String,
}

/// The bot said something of its own accord (greeting, filler, prompt, notice): it belongs into the history.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Said {
    /// The reply.
    pub reply: ReplyId,
    /// What was heard of it.
    pub heard: String,
}

/// Stops a reply: request and sentences are cancelled; a tool that writes is let finish, its result recorded.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct StopAnswer {
    /// Which reply.
    pub reply: ReplyId,
    /// What became of it.
    pub fate: Fate,
}

/// What becomes of a stopped reply in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it was heard and the caller goes on speaking: the turn is taken back, to be answered again with
    /// more words (the next `Answer` carries the whole turn).
    Withdrawn,
    /// The caller heard this much of it and cut it short.
    Heard(String),
}

/// All of a reply was heard, to the end.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Heard {
    /// Which reply.
    pub reply: ReplyId,
    /// The words.
    pub text: String,
}

/// The caller said something that somebody else has answered: the history is to know of it, no answer is wanted.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Overheard {
    /// All the caller said in this turn.
    pub text: String,
}

/// Something happened beside the words (words that were lost): the model should know of it with the next answer.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Note {
    /// One sentence about it.
    pub text: String,
}

/// Who the caller is was found out (the look-up runs while the greeting plays).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct CallerKnown(pub crate::dialogue::prompt::CallerFacts);

/// What the mind tells its call.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct DialogueEvent {
    /// Which incarnation of the mind speaks.
    pub generation: Generation,
    /// What it tells.
    pub thought: Thought,
}

/// What the mind came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Thought {
    /// The model's first token of this reply has come.
    FirstToken {
        /// Which reply.
        reply: ReplyId,
    },
    /// A sentence to be spoken, in order, numbered from 0.
    Sentence {
        /// Which reply.
        reply: ReplyId,
        /// Its position.
        sentence: u32,
        /// The words, fit to be spoken (no markup).
        text: String,
    },
    /// A tool is running; the caller may have to be told to wait.
    ToolStarted {
        /// Which reply.
        reply: ReplyId,
        /// The tool.
        name: String,
    },
    /// The reply is complete: no further sentence comes.
    Done {
        /// Which reply.
        reply: ReplyId,
        /// What is to happen once it was heard.
        then: Then,
    },
    /// No model could answer this turn.
    Failed {
        /// Which reply.
        reply: ReplyId,
        /// Stable code of the last failure.
        code: String,
    },
    /// What the call achieved so far has changed.
    Achieved(Outcome),
    /// A fact for whoever takes the call over.
    Fact(String),
    /// The digest of what was dropped from the history has changed.
    Summary(String),
    /// A row for the audit trail.
    Audit(AuditEvent),
}

/// What follows a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The caller's turn.
    Listen,
    /// The call ends.
    HangUp {
        /// Whether it ends because a message was taken.
        message_taken: bool,
    },
    /// The caller is handed to a person.
    Transfer,
}

/// Panics inside the actor: fault injection of the tests.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct InjectPanic;

/// What a tool brought about.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolOutcome {
    /// The answer for the model.
    pub content: Value,
    /// What it adds to the call's outcome; `false` fields change nothing.
    pub achieved: Outcome,
    /// A fact worth keeping over a resume, if any.
    pub fact: Option<String>,
}

/// The desk: carries out a tool call whose arguments were validated. It knows the caller from the call, never from
/// the model. Implementations are idempotent by the rules of TALK-4.
pub trait Desk {
    /// Runs one tool. Never fails: what goes wrong is told in `content` as an object with `error`.
    fn run(&self, tool: crate::dialogue::tools::ToolRequest) -> LocalBoxFuture<'static, ToolOutcome>;
}
