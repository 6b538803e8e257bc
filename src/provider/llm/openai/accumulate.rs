//! Puts an answer together from its chunks: text is passed on at once, tool calls are gathered until they are whole.

use super::errors::{self, VENDOR};
use super::hidden::HiddenText;
use super::wire::{self, CallDelta, Chunk, Finish};
use crate::provider::llm::{ChatDelta, FinishReason, ToolCall, Usage};
use crate::provider::{ProviderError, ProviderErrorKind};
use serde_json::{Map, Value};

/// More calls than this in one answer are nonsense.
const MAX_CALLS: usize = 64;

/// One answer in the making.
#[derive(Debug)]
pub(super) struct Accumulator {
    calls: Vec<Call>,
    hidden: HiddenText,
    finish: Option<Finish>,
    usage: Option<Usage>,
    /// Something that is an answer came: usage alone is none.
    has_choice: bool,
    done: bool,
    /// Makes synthesised ids differ from one answer to the next.
    seed: u64,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    call: ToolCall,
}

impl Accumulator {
    /// An empty answer. `seed` is random; ids are made of it for calls that come without one.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            calls: vec![],
            hidden: HiddenText::default(),
            finish: None,
            usage: None,
            has_choice: false,
            done: false,
            seed,
        }
    }

    /// Whether `Finished` was given.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether the answer is whole and only usage and `[DONE]` may follow.
    pub(super) fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    /// Takes the data of one event.
    pub(super) fn event(&mut self, data: &str, out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        let data = data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data.starts_with("[DONE]") {
            return self.complete(out);
        }
        match serde_json::from_str(data) {
            Ok(value) => self.value(&value, out),
            // A proxy's farewell after a whole answer harms nothing.
            Err(_) if self.is_whole() => Ok(()),
            Err(_) => Err(protocol("bad_json")),
        }
    }

    /// Takes an event that the stream's end left open: what is not whole is no event.
    pub(super) fn open_event(&mut self, data: &str, out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        let data = data.trim();
        if data.starts_with("[DONE]") || serde_json::from_str::<Value>(data).is_ok() {
            return self.event(data, out);
        }
        Ok(())
    }

    /// Takes a whole completion that came instead of a stream, and completes the answer.
    pub(super) fn completion(&mut self, body: &[u8], out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| if error.is_eof() { closed() } else { protocol("bad_json") })?;
        self.value(&value, out)?;
        self.complete(out)
    }

    /// Takes the end of the stream: without a finish reason or `[DONE]` the answer was cut off.
    pub(super) fn end(&mut self, out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        match (self.done, self.is_whole()) {
            (true, _) => Ok(()),
            (false, true) => self.complete(out),
            (false, false) => Err(closed()),
        }
    }

    fn value(&mut self, value: &Value, out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        if let Some(info) = wire::error(value) {
            return Err(errors::in_answer(&info));
        }
        let Chunk { has_choice, text, refusal, calls, finish, usage } = wire::chunk(value);
        self.has_choice |= has_choice;
        // A refusal is an answer too: the caller hears it.
        for piece in [text, refusal] {
            push_text(self.hidden.push(&piece), out);
        }
        for delta in calls {
            self.call(delta)?;
        }
        if let Some((input_tokens, output_tokens)) = usage {
            self.usage = Some(Usage { input_tokens, output_tokens });
        }
        if finish == Some(Finish::Error) {
            return Err(ProviderError::new(VENDOR, ProviderErrorKind::Server, "stream_error"));
        }
        self.finish = self.finish.or(finish);
        Ok(())
    }

    fn call(&mut self, delta: CallDelta) -> Result<(), ProviderError> {
        let at = self.calls.iter().rposition(|call| match delta.index {
            Some(_) => call.index == delta.index,
            None => delta.id.is_empty() || call.call.id == delta.id,
        });
        let known = at.and_then(|at| self.calls.get_mut(at)).filter(|known| !known.is_followed_by(&delta));
        let Some(known) = known else {
            if self.calls.len() >= MAX_CALLS {
                return Err(protocol("too_many_tool_calls"));
            }
            let CallDelta { index, id, name, arguments } = delta;
            self.calls.push(Call { index, call: ToolCall { id, name, arguments } });
            return Ok(());
        };
        // Some servers repeat id and name in every piece: only the arguments grow.
        if known.call.id.is_empty() {
            known.call.id = delta.id;
        }
        if known.call.name.is_empty() {
            known.call.name = delta.name;
        }
        known.call.arguments.push_str(&delta.arguments);
        Ok(())
    }

    fn complete(&mut self, out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        if !self.has_choice {
            return Err(protocol("no_choices"));
        }
        push_text(self.hidden.finish(), out);
        self.done = true;
        let reason = match self.finish {
            Some(Finish::Length) => FinishReason::Length,
            Some(Finish::ContentFilter) => FinishReason::ContentFilter,
            Some(Finish::Stop | Finish::Error) | None => FinishReason::Stop,
        };
        let tool_calls = match reason {
            FinishReason::Stop => self.take_calls(),
            // Arguments that were cut off may still parse, and would do the wrong thing.
            FinishReason::Length | FinishReason::ContentFilter => vec![],
        };
        out.push(ChatDelta::Finished { tool_calls, reason, usage: self.usage });
        Ok(())
    }

    /// The calls that have a name, each with an id of its own.
    fn take_calls(&mut self) -> Vec<ToolCall> {
        let mut calls: Vec<ToolCall> = vec![];
        for Call { call, .. } in std::mem::take(&mut self.calls) {
            if call.name.is_empty() {
                continue;
            }
            let taken = calls.iter().any(|earlier| earlier.id == call.id);
            let id = if call.id.is_empty() || taken {
                format!("call_{:016x}{:02x}", self.seed, calls.len())
            } else {
                call.id
            };
            calls.push(ToolCall { id, ..call });
        }
        calls
    }
}

impl Call {
    /// Whether `delta`, though it is numbered like this call, begins another one.
    fn is_followed_by(&self, delta: &CallDelta) -> bool {
        if !delta.id.is_empty() && !self.call.id.is_empty() {
            return delta.id != self.call.id;
        }
        // Servers without ids (and some number all calls 0): a new name after arguments that are whole.
        delta.id.is_empty()
            && self.call.id.is_empty()
            && !delta.name.is_empty()
            && !delta.arguments.is_empty()
            && serde_json::from_str::<Map<String, Value>>(&self.call.arguments).is_ok()
    }
}

fn push_text(text: String, out: &mut Vec<ChatDelta>) {
    if !text.is_empty() {
        out.push(ChatDelta::Text(text));
    }
}

fn protocol(code: &str) -> ProviderError {
    ProviderError::new(VENDOR, ProviderErrorKind::Protocol, code)
}

fn closed() -> ProviderError {
    ProviderError::new(VENDOR, ProviderErrorKind::Closed, "truncated")
}
