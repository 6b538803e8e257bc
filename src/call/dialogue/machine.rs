//! Decides how a turn is answered: which model is asked, when again, which tools run, what is spoken.
//!
//! One reply at a time, one request in flight, one tool running. What concerns an older request, a stopped reply or a
//! tool that was given up is told apart by its number and changes at most the history, the facts and the outcome.

mod rounds;
mod vocabulary;

pub use vocabulary::{Effect, Event, Model, Settings, TimerId};

use super::messages::{Fate, Then, Thought};
use crate::dialogue::history::{History, Limits};
use crate::dialogue::phrases;
use crate::dialogue::prompt::{self, PromptContext};
use crate::dialogue::sentences::Splitter;
use crate::dialogue::tool_loop::{self, ToolLoop};
use crate::dialogue::tools::ToolRequest;
use crate::domain::audit::AuditEvent;
use crate::domain::call::Outcome;
use crate::domain::ids::ReplyId;
use crate::domain::time::CallTime;
use crate::domain::turn::ResumeState;
use crate::provider::llm::{ChatRequest, FinishReason, ToolCall, ToolChoice, Usage};
use crate::provider::{ProviderError, ProviderErrorKind};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Silence of the model after which a piece that ends like a sentence is spoken.
const FLUSH_SENTENCE: Duration = Duration::from_millis(400);
/// Silence of the model after which a started piece is spoken as it is.
const FLUSH_PIECE: Duration = Duration::from_millis(1_000);
/// Facts kept in the prompt; the oldest go first.
const FACTS: usize = 30;
/// Tools given up whose late answer is still waited for.
const LATE: usize = 16;

/// The mind of one call.
#[derive(Debug)]
pub struct DialogueMachine {
    settings: Settings,
    context: PromptContext,
    local_time: String,
    history: History,
    tools: ToolLoop,
    facts: Vec<String>,
    outcome: Outcome,
    last_req: u32,
    last_reply: Option<ReplyId>,
    active: Option<Active>,
    /// The tool under way, perhaps of a reply that was stopped meanwhile.
    running: Option<Running>,
    /// Tools whose time was up; they may still succeed.
    late: Vec<Running>,
}

/// The reply being made.
#[derive(Debug)]
struct Active {
    reply: ReplyId,
    model: Model,
    /// Sentences given out so far.
    sentences: u32,
    token_told: bool,
    /// The model has said nothing once already.
    empty_retried: bool,
    /// No more tools in this reply.
    concluding: bool,
    then: Then,
    round_started: CallTime,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// A tool of a stopped reply is still under way: what it brings belongs into the request.
    Settling,
    /// A request is in flight.
    Asking(Asking),
    /// A request has failed and is sent again soon, for the `attempt`-th time.
    Waiting { attempt: u32 },
    /// The model's calls are carried out; `spoke` tells whether it said something with them.
    Tools { queue: VecDeque<ToolCall>, spoke: bool },
}

#[derive(Debug)]
struct Asking {
    req: u32,
    attempt: u32,
    since: CallTime,
    tokens: bool,
    spoke: bool,
    splitter: Splitter,
    flush_set: bool,
    last_text: CallTime,
}

#[derive(Debug)]
struct Running {
    reply: ReplyId,
    call_id: String,
    request: ToolRequest,
    since: CallTime,
}

impl DialogueMachine {
    /// The mind of a call that begins, or is taken up again from `resume`.
    pub fn new(settings: Settings, context: PromptContext, resume: &ResumeState) -> Self {
        let limits = Limits { turns: settings.history_turns.max(1), tokens: settings.history_tokens };
        Self {
            settings,
            context,
            local_time: String::new(),
            history: History::resume(limits, resume),
            tools: ToolLoop::new(settings.tool_rounds),
            facts: resume.facts.iter().rev().take(FACTS).rev().cloned().collect(),
            outcome: resume.outcome,
            last_req: 0,
            last_reply: None,
            active: None,
            running: None,
            late: Vec::new(),
        }
    }

    /// The date and time at the business, as text: part of the next request.
    pub fn set_local_time(&mut self, text: String) {
        self.local_time = text;
    }

    /// Decides what an event leads to.
    pub fn on(&mut self, at: CallTime, event: Event) -> Vec<Effect> {
        let mut fx = Vec::new();
        match event {
            Event::Answer { reply, text } => self.answer(at, reply, &text, &mut fx),
            Event::Said { heard } => self.history.said(&heard),
            Event::Overheard { text } => self.history.overheard(&text),
            Event::Note(text) => self.history.note(&text),
            Event::CallerKnown(caller) => self.context.caller = caller,
            Event::StopAnswer { reply, fate } => self.stop(reply, &fate, &mut fx),
            Event::HeardAll { reply } => self.history.heard_all(reply),
            Event::Opened { req: _ } => {} // A head without a token is no answer yet.
            Event::Text { req, text } => self.text(at, req, &text, &mut fx),
            Event::Finished { req, tool_calls, reason, usage } => {
                self.finished(at, req, tool_calls, reason, usage, &mut fx);
            }
            Event::Failed { req, error, jitter } => self.failed(at, req, &error, jitter, &mut fx),
            Event::Skipped { req } => self.skipped(at, req, &mut fx),
            Event::ToolDone { reply, call_id, outcome } => {
                self.tool_done(at, reply, &call_id, outcome, &mut fx);
            }
            Event::Timer(TimerId::Retry) => self.retry(at, &mut fx),
            Event::Timer(TimerId::Switch) => self.switch(at, &mut fx),
            Event::Timer(TimerId::Tool) => self.tool_timeout(at, &mut fx),
            Event::Timer(TimerId::Flush) => self.flush(at, &mut fx),
            Event::Summarised(summary) => self.summarised(summary.as_deref(), &mut fx),
        }
        fx
    }

    fn answer(&mut self, at: CallTime, reply: ReplyId, text: &str, fx: &mut Vec<Effect>) {
        if self.last_reply.is_some_and(|last| reply <= last) {
            return; // The same order twice.
        }
        self.last_reply = Some(reply);
        self.let_go(fx);
        self.history.answer(reply, text);
        self.tools.begin_turn();
        self.active = Some(Active {
            reply,
            model: Model::Primary,
            sentences: 0,
            token_told: false,
            empty_retried: false,
            concluding: false,
            then: Then::Listen,
            round_started: at,
            stage: Stage::Settling,
        });
        if self.running.is_none() {
            self.ask(at, Model::Primary, 0, fx);
        }
    }

    fn stop(&mut self, reply: ReplyId, fate: &Fate, fx: &mut Vec<Effect>) {
        if self.active.as_ref().is_some_and(|a| a.reply == reply) {
            self.let_go(fx);
        }
        match fate {
            Fate::Withdrawn => self.history.withdraw(reply),
            Fate::Heard(prefix) => self.history.heard(reply, prefix),
        }
    }

    /// Ends the work on the reply being made. A tool that writes is let finish (its timer runs on), what stands behind
    /// it is not begun.
    fn let_go(&mut self, fx: &mut Vec<Effect>) {
        let Some(active) = self.active.take() else { return };
        if let Stage::Asking(asking) = &active.stage {
            fx.push(Effect::Abort { req: asking.req });
        }
        // What only looks is given up: the next turn need not wait for it.
        if self.running.take_if(|r| r.request.is_read()).is_some() {
            fx.push(Effect::CancelTimer(TimerId::Tool));
        }
        let running = self.running.as_ref().map(|r| r.call_id.as_str());
        self.history.abandon_calls(active.reply, running, &tool_loop::interrupted_answer());
        cancel_timers(fx);
    }

    /// Sends a request for the reply being made; attempt 0 begins a round.
    fn ask(&mut self, at: CallTime, model: Model, attempt: u32, fx: &mut Vec<Effect>) {
        let Some(active) = self.active.as_mut() else { return };
        self.history.trim();
        if let Some(text) = self.history.to_summarise() {
            fx.push(Effect::Summarise { text });
        }
        let mut system = prompt::system_prompt(&self.context, &self.local_time, &self.facts);
        let note = match active.then {
            Then::HangUp { .. } => Some(prompt::SAY_GOODBYE),
            Then::Transfer => Some(prompt::SAY_TRANSFER),
            Then::Listen => active.concluding.then_some(prompt::CONCLUDE),
        };
        if let Some(note) = note {
            system = format!("{system}\n\n{note}");
        }
        self.last_req = self.last_req.wrapping_add(1);
        let request = ChatRequest {
            messages: self.history.messages(&system),
            tools: Arc::clone(&self.context.tools),
            tool_choice: if note.is_some() { ToolChoice::None } else { ToolChoice::Auto },
        };
        fx.push(Effect::Request { req: self.last_req, model, request });
        if attempt == 0 && model == Model::Primary && self.settings.has_fallback {
            fx.push(Effect::SetTimer { id: TimerId::Switch, after: self.settings.switch });
        }
        active.model = model;
        active.stage = Stage::Asking(Asking {
            req: self.last_req,
            attempt,
            since: at,
            tokens: false,
            spoke: false,
            splitter: Splitter::default(),
            flush_set: false,
            last_text: at,
        });
    }

    /// Begins the next round of the reply being made.
    fn ask_round(&mut self, at: CallTime, fx: &mut Vec<Effect>) {
        let Some(active) = self.active.as_mut() else { return };
        active.round_started = at;
        let model = active.model;
        self.ask(at, model, 0, fx);
    }

    fn text(&mut self, at: CallTime, req: u32, text: &str, fx: &mut Vec<Effect>) {
        let Some(active) = asking_for(&mut self.active, req) else { return };
        first_token(active, fx);
        let Stage::Asking(asking) = &mut active.stage else { return };
        asking.last_text = at;
        let sentences = asking.splitter.push(text);
        asking.spoke |= !sentences.is_empty();
        if asking.splitter.has_pending() && !asking.flush_set {
            asking.flush_set = true;
            fx.push(Effect::SetTimer { id: TimerId::Flush, after: FLUSH_SENTENCE });
        }
        for sentence in sentences {
            speak(active, &mut self.history, sentence, fx);
        }
    }

    /// Speaks what is there when the model has gone silent in the middle.
    fn flush(&mut self, at: CallTime, fx: &mut Vec<Effect>) {
        let Some(active) = self.active.as_mut() else { return };
        let Stage::Asking(asking) = &mut active.stage else { return };
        asking.flush_set = false;
        if !asking.splitter.has_pending() {
            return;
        }
        let quiet = at.since(asking.last_text);
        let due = if asking.splitter.looks_complete() { FLUSH_SENTENCE } else { FLUSH_PIECE };
        if quiet < due {
            asking.flush_set = true;
            fx.push(Effect::SetTimer { id: TimerId::Flush, after: due.saturating_sub(quiet) });
        } else if let Some(piece) = asking.splitter.flush_partial() {
            asking.spoke = true;
            speak(active, &mut self.history, piece, fx);
        }
    }

    fn finished(
        &mut self,
        at: CallTime,
        req: u32,
        calls: Vec<ToolCall>,
        reason: FinishReason,
        usage: Option<Usage>,
        fx: &mut Vec<Effect>,
    ) {
        let Some(active) = asking_for(&mut self.active, req) else { return };
        first_token(active, fx);
        cancel_timers(fx);
        let Stage::Asking(asking) = &mut active.stage else { return };
        fx.push(audit(
            "llm.answered",
            json!({
                "model": active.model.as_str(),
                "ms": millis(at.since(asking.since)),
                "input_tokens": usage.map(|u| u.input_tokens),
                "output_tokens": usage.map(|u| u.output_tokens),
            }),
        ));
        let rest = asking.splitter.finish();
        let spoke = asking.spoke || rest.is_some();
        if let Some(rest) = rest {
            speak(active, &mut self.history, rest, fx);
        }
        let may_call = !active.concluding && active.then == Then::Listen;
        if !calls.is_empty() && may_call {
            self.begin_tools(at, calls, reason, spoke, fx);
        } else if spoke {
            self.done(fx);
        } else if !calls.is_empty() {
            self.give_up("tool_loop", fx);
        } else if !active.empty_retried && active.then == Then::Listen {
            active.empty_retried = true;
            fx.push(audit("llm.empty", json!({"model": active.model.as_str()})));
            self.ask_round(at, fx);
        } else {
            let filtered = reason == FinishReason::ContentFilter;
            self.give_up(if filtered { "content_filter" } else { "empty_reply" }, fx);
        }
    }

    fn failed(&mut self, at: CallTime, req: u32, error: &ProviderError, jitter: u32, fx: &mut Vec<Effect>) {
        let Some(active) = asking_for(&mut self.active, req) else { return };
        let model = active.model;
        let Stage::Asking(asking) = &mut active.stage else { return };
        // A refused request says something of the request, not of its host.
        if error.kind != ProviderErrorKind::Refused {
            fx.push(Effect::Report { req, ok: false });
        }
        fx.push(audit(
            "llm.request_failed",
            json!({
                "model": model.as_str(), "vendor": error.vendor, "code": error.code,
                "attempt": asking.attempt, "spoke": asking.spoke,
            }),
        ));
        if asking.spoke {
            // What was said is out; only the words that are whole can be added.
            if let Some(piece) = asking.splitter.flush_partial() {
                speak(active, &mut self.history, piece, fx);
            }
            self.done(fx);
            return;
        }
        let next = asking.attempt.saturating_add(1);
        let window = match model {
            Model::Primary if self.settings.has_fallback => self.settings.switch,
            Model::Primary | Model::Fallback => self.settings.budget,
        };
        let left = window.saturating_sub(at.since(active.round_started));
        let delay = self.settings.retry.wait(asking.attempt, error, jitter, left);
        if let Some(delay) = delay
            && !asking.tokens
        {
            active.stage = Stage::Waiting { attempt: next };
            fx.push(Effect::SetTimer { id: TimerId::Retry, after: delay });
        } else if model == Model::Primary && self.settings.has_fallback {
            self.fall_back(at, &error.code, fx);
        } else if let Some(piece) = asking.splitter.flush_partial() {
            speak(active, &mut self.history, piece, fx);
            self.done(fx);
        } else {
            self.give_up(&error.code, fx);
        }
    }

    fn skipped(&mut self, at: CallTime, req: u32, fx: &mut Vec<Effect>) {
        let Some(active) = asking_for(&mut self.active, req) else { return };
        if active.model == Model::Primary && self.settings.has_fallback {
            self.fall_back(at, "breaker_open", fx);
        } else {
            self.give_up("breaker_open", fx);
        }
    }

    fn fall_back(&mut self, at: CallTime, reason: &str, fx: &mut Vec<Effect>) {
        cancel_timers(fx);
        fx.push(audit("llm.fallback", json!({"reason": reason})));
        self.ask(at, Model::Fallback, 0, fx);
    }

    fn retry(&mut self, at: CallTime, fx: &mut Vec<Effect>) {
        if let Some(Active { stage: Stage::Waiting { attempt }, model, .. }) = self.active {
            self.ask(at, model, attempt, fx);
        }
    }

    /// The model has not begun to answer in time: another one is asked. Without another one, waiting is the best
    /// there is; the call gives up when its own time is over.
    fn switch(&mut self, at: CallTime, fx: &mut Vec<Effect>) {
        let Some(active) = &self.active else { return };
        if active.model != Model::Primary || !self.settings.has_fallback {
            return;
        }
        match &active.stage {
            Stage::Asking(asking) if !asking.tokens => {
                fx.push(Effect::Report { req: asking.req, ok: false });
                fx.push(Effect::Abort { req: asking.req });
                self.fall_back(at, "slow", fx);
            }
            Stage::Waiting { .. } => self.fall_back(at, "slow", fx),
            Stage::Asking(_) | Stage::Settling | Stage::Tools { .. } => {}
        }
    }

    fn done(&mut self, fx: &mut Vec<Effect>) {
        cancel_timers(fx);
        if let Some(Active { reply, mut then, .. }) = self.active.take() {
            if let Then::HangUp { message_taken } = &mut then {
                *message_taken = self.outcome.message_taken;
            }
            fx.push(Effect::Emit(Thought::Done { reply, then }));
        }
    }

    /// No model could answer. A call that is to end or to be handed over still does so, in words of our own.
    fn give_up(&mut self, code: &str, fx: &mut Vec<Effect>) {
        let Some(active) = self.active.as_mut() else { return };
        let words = match active.then {
            Then::HangUp { .. } => phrases::goodbye(&self.context.profile),
            Then::Transfer => phrases::TRANSFER.to_owned(),
            Then::Listen => {
                let reply = active.reply;
                self.active = None;
                cancel_timers(fx);
                fx.push(Effect::Emit(Thought::Failed { reply, code: code.to_owned() }));
                return;
            }
        };
        speak(active, &mut self.history, words, fx);
        self.done(fx);
    }

    fn summarised(&mut self, summary: Option<&str>, fx: &mut Vec<Effect>) {
        if let Some(digest) = self.history.summarised(summary) {
            fx.push(Effect::Emit(Thought::Summary(digest.to_owned())));
        }
        if let Some(text) = self.history.to_summarise() {
            fx.push(Effect::Summarise { text });
        }
    }
}

/// The reply being made, if it waits for this very request.
fn asking_for(active: &mut Option<Active>, req: u32) -> Option<&mut Active> {
    active.as_mut().filter(|a| matches!(&a.stage, Stage::Asking(asking) if asking.req == req))
}

/// Notes that the model has begun to answer.
fn first_token(active: &mut Active, fx: &mut Vec<Effect>) {
    let Stage::Asking(asking) = &mut active.stage else { return };
    if !std::mem::replace(&mut asking.tokens, true) {
        fx.push(Effect::CancelTimer(TimerId::Switch));
        fx.push(Effect::Report { req: asking.req, ok: true });
        if !std::mem::replace(&mut active.token_told, true) {
            fx.push(Effect::Emit(Thought::FirstToken { reply: active.reply }));
        }
    }
}

fn speak(active: &mut Active, history: &mut History, text: String, fx: &mut Vec<Effect>) {
    history.say(active.reply, &text);
    let sentence = active.sentences;
    active.sentences = sentence.saturating_add(1);
    fx.push(Effect::Emit(Thought::Sentence { reply: active.reply, sentence, text }));
}

/// Stops the timers of the reply being made. The tool's belongs to the tool.
fn cancel_timers(fx: &mut Vec<Effect>) {
    fx.extend([TimerId::Retry, TimerId::Switch, TimerId::Flush].map(Effect::CancelTimer));
}

fn audit(code: &str, detail: Value) -> Effect {
    Effect::Emit(Thought::Audit(AuditEvent::new(code, detail)))
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
