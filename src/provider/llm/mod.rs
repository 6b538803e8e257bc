//! The language model as the dialogue sees it: messages go in, text and tool calls stream out.

pub mod openai;

use super::ProviderError;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::LocalBoxStream;
use serde_json::Value;
use std::sync::Arc;

/// A tool call the model made. `arguments` is kept exactly as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The call's id; synthesised where the host sends none.
    pub id: String,
    /// The function's name.
    pub name: String,
    /// The arguments as text; should be a JSON object, may be anything.
    pub arguments: String,
}

/// One message of a conversation (`openai.md` section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatMessage {
    /// Instructions.
    System(String),
    /// The caller's words.
    User(String),
    /// The model's words, its tool calls, or both.
    Assistant {
        /// What it said; empty if it only called tools.
        text: String,
        /// What it called; empty if it only spoke.
        tool_calls: Vec<ToolCall>,
    },
    /// The answer to one tool call.
    Tool {
        /// The call's id.
        id: String,
        /// The function's name.
        name: String,
        /// The result, as text.
        content: String,
    },
}

/// A tool the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name, `[a-zA-Z0-9_-]`, at most 64 characters.
    pub name: &'static str,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// Whether the model may call tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Not now: it has to speak.
    None,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The conversation, the system message first.
    pub messages: Vec<ChatMessage>,
    /// The tools on offer, the same for every call of a business; may be empty.
    pub tools: Arc<[ToolSpec]>,
    /// Whether they may be called.
    pub tool_choice: ToolChoice,
}

/// The shape an answer shall have (`openai.md` section 1, `response_format`).
#[derive(Clone, Debug, PartialEq)]
pub struct JsonShape {
    /// Its name, `[a-zA-Z0-9_-]`, at most 64 characters.
    pub name: &'static str,
    /// JSON Schema within the rules of strict schemas: every property required, none but those.
    pub schema: Value,
}

/// Why the model stopped. Whether there are tool calls is told by the calls alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It was done.
    Stop,
    /// It ran into the token limit: tool calls that came with it are cut off.
    Length,
    /// The host's filter stopped it.
    ContentFilter,
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ChatDelta {
    /// More text, never empty.
    Text(String),
    /// The end, in order. After it the stream yields `None`.
    Finished {
        /// The tool calls, complete, in the model's order.
        tool_calls: Vec<ToolCall>,
        /// Why it stopped.
        reason: FinishReason,
        /// Tokens used, where the host tells.
        usage: Option<Usage>,
    },
}

/// An answer as it arrives. A stream that ends without `Finished` yields an error of kind `Closed` last.
pub type ChatStream = LocalBoxStream<'static, Result<ChatDelta, ProviderError>>;

/// A whole answer, for work that nobody waits for on the telephone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The text; may be empty.
    pub text: String,
    /// Tokens used, where the host tells.
    pub usage: Option<Usage>,
}

/// One model at one host. One per worker thread.
pub trait ChatModel {
    /// `host/model`, for logs and the breaker.
    fn name(&self) -> &str;
    /// The model that whole answers come from, where it is another one.
    fn whole_name(&self) -> &str {
        self.name()
    }
    /// Sends a request; resolves when the head of the answer was checked. Dropping the stream cancels it.
    fn chat(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>>;
    /// Sends a request and waits for all of its text: summaries. Tool calls in the answer are ignored.
    fn complete(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let answer = self.chat(request);
        Box::pin(async move { gather(answer.await?).await })
    }
    /// Like `complete`, and the answer shall be JSON of a shape. Hosts that cannot see to that refuse the request, or
    /// answer as they like: the messages have to ask for it too, and what comes has to be checked.
    fn complete_json(
        &self,
        request: &ChatRequest,
        _shape: &JsonShape,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        self.complete(request)
    }
    /// Opens a connection ahead of need.
    fn warm(&self) -> LocalBoxFuture<'static, ()>;
}

/// Reads an answer to its end.
async fn gather(mut stream: ChatStream) -> Result<Completion, ProviderError> {
    let mut completion = Completion::default();
    while let Some(delta) = stream.next().await {
        match delta? {
            ChatDelta::Text(text) => completion.text.push_str(&text),
            ChatDelta::Finished { usage, .. } => completion.usage = usage,
        }
    }
    Ok(completion)
}
