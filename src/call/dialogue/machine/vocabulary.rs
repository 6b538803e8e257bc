//! The words of the dialogue machine: what it is told, what it wants done, what it is set to.

use crate::call::dialogue::messages::{Fate, Thought, ToolOutcome};
use crate::config::call::CallConfig;
use crate::config::llm::LlmConfig;
use crate::dialogue::prompt::CallerFacts;
use crate::dialogue::tools::ToolRequest;
use crate::domain::ids::ReplyId;
use crate::provider::ProviderError;
use crate::provider::llm::{ChatRequest, FinishReason, ToolCall, Usage};
use crate::provider::retry::RetryPolicy;
use std::time::Duration;

/// Which model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// The one that answers.
    Primary,
    /// The one that answers when it does not.
    Fallback,
}

impl Model {
    /// The word in the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Fallback => "fallback",
        }
    }
}

/// The machine's timers; setting one again replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerId {
    /// The wait before a retry is over.
    Retry,
    /// The model has taken so long that another one should be asked.
    Switch,
    /// The running tool has taken too long.
    Tool,
    /// A started sentence may have to be spoken as it is.
    Flush,
}

/// What happens to the mind.
#[derive(Clone, Debug)]
pub enum Event {
    /// The caller's turn is over: answer it.
    Answer {
        /// The reply that answers.
        reply: ReplyId,
        /// All the caller said in this turn.
        text: String,
    },
    /// The bot said something of its own accord.
    Said {
        /// What was heard of it.
        heard: String,
    },
    /// The caller said something that somebody else has answered.
    Overheard {
        /// The words.
        text: String,
    },
    /// Something happened beside the words.
    Note(String),
    /// The caller was looked up.
    CallerKnown(CallerFacts),
    /// A reply is stopped.
    StopAnswer {
        /// Which one.
        reply: ReplyId,
        /// What becomes of it.
        fate: Fate,
    },
    /// All of a reply was heard.
    HeardAll {
        /// Which one.
        reply: ReplyId,
    },
    /// The head of a model's answer was checked.
    Opened {
        /// The request.
        req: u32,
    },
    /// More text has come.
    Text {
        /// The request.
        req: u32,
        /// The text.
        text: String,
    },
    /// An answer is complete.
    Finished {
        /// The request.
        req: u32,
        /// What the model calls.
        tool_calls: Vec<ToolCall>,
        /// Why it stopped.
        reason: FinishReason,
        /// Tokens used.
        usage: Option<Usage>,
    },
    /// A request failed, before or during its answer.
    Failed {
        /// The request.
        req: u32,
        /// Why.
        error: ProviderError,
        /// A random number for the back-off.
        jitter: u32,
    },
    /// A request was not sent: its model has failed so often that it is skipped for a while.
    Skipped {
        /// The request.
        req: u32,
    },
    /// A tool has answered.
    ToolDone {
        /// The reply it ran for.
        reply: ReplyId,
        /// The call.
        call_id: String,
        /// What it brought about.
        outcome: ToolOutcome,
    },
    /// A timer has gone off.
    Timer(TimerId),
    /// A summary was written, or could not be.
    Summarised(Option<String>),
}

/// What the mind wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a request.
    Request {
        /// Its number; all that comes of it carries it.
        req: u32,
        /// To whom.
        model: Model,
        /// What.
        request: ChatRequest,
    },
    /// Give a request up.
    Abort {
        /// Which one.
        req: u32,
    },
    /// It has shown how a request goes: its model's breaker is told so when it is over.
    Report {
        /// The request.
        req: u32,
        /// Whether the model answers.
        ok: bool,
    },
    /// Carry out a tool; `ToolDone` must follow.
    RunTool {
        /// The reply it runs for.
        reply: ReplyId,
        /// The call.
        call_id: String,
        /// What to do.
        request: ToolRequest,
    },
    /// Set a timer.
    SetTimer {
        /// Which one.
        id: TimerId,
        /// How long.
        after: Duration,
    },
    /// Stop a timer.
    CancelTimer(TimerId),
    /// Tell the call.
    Emit(Thought),
    /// Summarise this; `Summarised` must follow.
    Summarise {
        /// The summary so far and the turns that were dropped.
        text: String,
    },
}

/// What the machine is set to.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether a request is sent again before its first token, and when.
    pub retry: RetryPolicy,
    /// Without a first token after this, the fallback model is asked.
    pub switch: Duration,
    /// No retry is begun later than this after the first request of a round: the call gives up then.
    pub budget: Duration,
    /// Time limit of one tool.
    pub tool: Duration,
    /// Rounds of tool calls after which the model has to conclude.
    pub tool_rounds: u32,
    /// Turns kept word for word.
    pub history_turns: usize,
    /// Tokens kept, estimated.
    pub history_tokens: usize,
    /// Whether there is a fallback model.
    pub has_fallback: bool,
}

impl Settings {
    /// The settings these sections of the configuration give.
    pub fn new(llm: &LlmConfig, call: &CallConfig) -> Self {
        Self {
            retry: RetryPolicy::from(llm),
            switch: Duration::from_millis(llm.switch_ms),
            budget: Duration::from_millis(call.apology_ms),
            tool: Duration::from_millis(llm.tool_ms),
            tool_rounds: llm.tool_rounds,
            history_turns: llm.history_turns,
            history_tokens: llm.history_tokens,
            has_fallback: llm.fallback.is_some(),
        }
    }
}
