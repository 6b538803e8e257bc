//! From the bytes of a response's body to pieces of an answer, whatever the host chose to send: an event stream, or
//! one JSON body although a stream was asked for (the content type is not relied on).

use super::accumulate::Accumulator;
use super::errors::VENDOR;
use super::sse::SseDecoder;
use crate::provider::llm::ChatDelta;
use crate::provider::{ProviderError, ProviderErrorKind};

/// Nothing said on a telephone is longer, bytes.
const MAX_ANSWER: usize = 8 << 20;

/// Reads one answer.
#[derive(Debug)]
pub struct AnswerReader {
    form: Form,
    answer: Accumulator,
    taken: usize,
}

#[derive(Debug)]
enum Form {
    /// Only white space came so far; it is kept, because to an event stream it means something.
    Unknown(Vec<u8>),
    Events(SseDecoder),
    Json(Vec<u8>),
}

impl AnswerReader {
    /// Begins an answer. `seed` is random (ids of calls that have none).
    pub fn new(seed: u64) -> Self {
        Self { form: Form::Unknown(vec![]), answer: Accumulator::new(seed), taken: 0 }
    }

    /// Whether `Finished` was given: the rest of the body means nothing.
    pub fn is_done(&self) -> bool {
        self.answer.is_done()
    }

    /// Whether the answer is whole although its last words (usage, `[DONE]`) are still to come.
    pub fn is_whole(&self) -> bool {
        self.answer.is_whole()
    }

    /// Takes bytes and appends what they complete; pieces appended before an error are valid.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        if self.is_done() {
            return Ok(());
        }
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > MAX_ANSWER {
            return Err(protocol("answer_too_large"));
        }
        if let Form::Unknown(seen) = &mut self.form {
            seen.extend_from_slice(bytes);
            let Some(first) = seen.iter().find(|byte| !byte.is_ascii_whitespace()) else {
                return Ok(());
            };
            match first {
                b'{' | b'[' => self.form = Form::Json(std::mem::take(seen)),
                b'<' => return Err(protocol("html_body")),
                _ => {
                    let seen = std::mem::take(seen);
                    self.form = Form::Events(SseDecoder::default());
                    return self.events(&seen, out);
                }
            }
            return Ok(());
        }
        if let Form::Json(body) = &mut self.form {
            body.extend_from_slice(bytes);
            return Ok(());
        }
        self.events(bytes, out)
    }

    /// Takes the end of the body.
    pub fn end(&mut self, out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        if self.is_done() {
            return Ok(());
        }
        match &mut self.form {
            Form::Json(body) => return self.answer.completion(&std::mem::take(body), out),
            Form::Events(decoder) => {
                let mut events = vec![];
                decoder.finish(&mut events);
                for event in events {
                    self.answer.open_event(&event, out)?;
                }
            }
            Form::Unknown(_) => {}
        }
        self.answer.end(out)
    }

    fn events(&mut self, bytes: &[u8], out: &mut Vec<ChatDelta>) -> Result<(), ProviderError> {
        let Form::Events(decoder) = &mut self.form else { return Ok(()) };
        let mut events = vec![];
        let pushed = decoder.push(bytes, &mut events);
        for event in events {
            self.answer.event(&event, out)?;
        }
        pushed.map_err(|_| protocol("event_too_large"))
    }
}

fn protocol(code: &str) -> ProviderError {
    ProviderError::new(VENDOR, ProviderErrorKind::Protocol, code)
}

#[cfg(test)]
mod tests;
