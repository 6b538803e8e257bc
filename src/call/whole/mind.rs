//! The mind's shell, and a simulated model and desk.

use super::world::World;
use crate::call::dialogue::machine::{DialogueMachine, Effect, Event, Model, Settings, TimerId};
use crate::call::dialogue::messages::{Fate, Thought, ToolOutcome};
use crate::call::machine::{Child, Event as CallEvent};
use crate::config::call::CallConfig;
use crate::config::llm::{HostConfig, LlmConfig};
use crate::dialogue::prompt::{CallerFacts, PromptContext};
use crate::dialogue::schema;
use crate::dialogue::tools::ToolRequest;
use crate::domain::call::Outcome;
use crate::domain::ids::ReplyId;
use crate::domain::turn::ResumeState;
use crate::provider::llm::{ChatRequest, FinishReason, ToolCall, ToolChoice};
use crate::provider::{ProviderError, ProviderErrorKind};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct MindChild {
    pub generation: u32,
    pub machine: Option<DialogueMachine>,
    mailbox: u64,
    request: Option<u32>,
    timers: HashMap<TimerId, u64>,
    timer_ids: u64,
}

impl MindChild {
    pub fn stop(&mut self) {
        self.machine = None;
        self.request = None;
        self.timers.clear();
    }
}

impl World {
    pub fn start_mind(&mut self, owner: usize, state: Option<&ResumeState>) {
        let has_fallback = self.chance.percent(50);
        let llm = LlmConfig { fallback: has_fallback.then(HostConfig::default), ..LlmConfig::default() };
        let context = PromptContext {
            profile: Arc::clone(&self.profile),
            tools: schema::specs(&self.profile),
            caller: CallerFacts::default(),
            outbound: None,
            resumed: state.is_some(),
        };
        let settings = Settings::new(&llm, &CallConfig::default());
        let fresh = ResumeState::default();
        let mind = &mut self.owners[owner].mind;
        *mind = MindChild {
            generation: mind.generation + 1,
            machine: Some(DialogueMachine::new(settings, context, state.unwrap_or(&fresh))),
            ..MindChild::default()
        };
    }

    /// A message for the mind, handled in its turn if it is still the same mind.
    pub fn tell_mind(&mut self, owner: usize, deed: impl FnOnce(&mut World) + 'static) {
        if self.owners[owner].mind.machine.is_none() {
            return;
        }
        let lag = self.lag();
        let mind = &mut self.owners[owner].mind;
        let at = (self.now + lag).max(mind.mailbox);
        mind.mailbox = at;
        let generation = mind.generation;
        self.at(at, move |w| {
            if w.owners[owner].mind.generation == generation {
                deed(w);
            }
        });
    }

    pub fn answer(&mut self, owner: usize, reply: ReplyId, text: String) {
        self.drive_mind(owner, Event::Answer { reply, text });
    }

    pub fn stop_answer(&mut self, owner: usize, reply: ReplyId, fate: Fate) {
        self.drive_mind(owner, Event::StopAnswer { reply, fate });
    }

    pub fn answer_heard(&mut self, owner: usize, reply: ReplyId) {
        self.drive_mind(owner, Event::HeardAll { reply });
    }

    pub fn overheard(&mut self, owner: usize, text: String) {
        self.drive_mind(owner, Event::Overheard { text });
    }

    pub fn note(&mut self, owner: usize, text: String) {
        self.drive_mind(owner, Event::Note(text));
    }

    pub fn said(&mut self, owner: usize, heard: String) {
        self.drive_mind(owner, Event::Said { heard });
    }

    /// Something happens to this mind later, if it is still there.
    fn mind_after(&mut self, owner: usize, after: u64, event: Event) {
        let generation = self.owners[owner].mind.generation;
        self.after(after, move |w| {
            let mind = &w.owners[owner].mind;
            if mind.generation == generation {
                w.drive_mind(owner, event);
            }
        });
    }

    fn drive_mind(&mut self, owner: usize, event: Event) {
        let at = self.owners[owner].clock(self.now);
        let Some(machine) = &mut self.owners[owner].mind.machine else { return };
        for effect in machine.on(at, event) {
            self.mind_does(owner, effect);
        }
    }

    fn mind_does(&mut self, owner: usize, effect: Effect) {
        match effect {
            Effect::Request { req, model, request } => {
                self.tally.requests += 1;
                self.promises.check_request(&request.messages, &self.database);
                self.tell(|| format!("{owner}    model: {req} {model:?} {:?}", request.messages.last()));
                self.owners[owner].mind.request = Some(req);
                self.respond(owner, req, model, &request);
            }
            Effect::Abort { req } => {
                self.owners[owner].mind.request.take_if(|r| *r == req);
            }
            Effect::Report { .. } => {}
            Effect::RunTool { reply, call_id, request } => {
                self.tally.tools += 1;
                let slow = self.troubles.mind && self.chance.percent(15);
                let after =
                    if slow { self.chance.between(2_000, 8_000) } else { self.chance.between(5, 900) };
                let outcome = self.carry_out(&request);
                self.mind_after(owner, after, Event::ToolDone { reply, call_id, outcome });
            }
            Effect::SetTimer { id, after } => {
                let mind = &mut self.owners[owner].mind;
                mind.timer_ids += 1;
                let (number, generation) = (mind.timer_ids, mind.generation);
                mind.timers.insert(id, number);
                self.after(after.as_millis() as u64, move |w| {
                    let mind = &mut w.owners[owner].mind;
                    if mind.generation == generation && mind.timers.get(&id) == Some(&number) {
                        mind.timers.remove(&id);
                        w.drive_mind(owner, Event::Timer(id));
                    }
                });
            }
            Effect::CancelTimer(id) => {
                self.owners[owner].mind.timers.remove(&id);
            }
            Effect::Emit(thought) => {
                let generation = self.owners[owner].mind.generation;
                if !matches!(thought, Thought::Audit(_)) {
                    self.post(owner, Some((Child::Dialogue, generation)), CallEvent::Thought(thought));
                }
            }
            Effect::Summarise { .. } => {
                let after = self.chance.between(100, 2_000);
                let summary = self.chance.percent(70).then(|| "They spoke.".to_owned());
                self.mind_after(owner, after, Event::Summarised(summary));
            }
        }
    }

    fn carry_out(&mut self, request: &ToolRequest) -> ToolOutcome {
        let mut achieved = Outcome::default();
        if self.chance.percent(10) {
            return ToolOutcome { content: json!({"error": "taken"}), achieved, fact: None };
        }
        let mut fact = None;
        match request {
            ToolRequest::BookAppointment { time, .. } => {
                achieved.appointment_booked = true;
                fact = Some(format!("Booked at {time}."));
            }
            ToolRequest::TakeMessage { .. } => achieved.message_taken = true,
            ToolRequest::TransferToHuman { .. } => achieved.transferred = self.can_transfer,
            _ => {}
        }
        ToolOutcome { content: json!({"ok": true}), achieved, fact }
    }

    /// What the model answers, and when.
    fn respond(&mut self, owner: usize, req: u32, model: Model, request: &ChatRequest) {
        let trouble = self.troubles.mind;
        if trouble && self.chance.percent(3) {
            self.owners[owner].mind.request = None;
            self.mind_after(owner, 0, Event::Skipped { req });
            return;
        }
        let slow = trouble && self.chance.percent(12);
        let mut at = if slow { self.chance.between(1_500, 6_500) } else { self.chance.between(120, 1_300) };
        let error = |kind| Event::Failed { req, error: ProviderError::new("sim", kind, "sim"), jitter: 7 };
        let fate = self.chance.between(0, 99);
        if trouble && fate < 6 {
            let kind = self
                .chance
                .of(&[
                    ProviderErrorKind::Server,
                    ProviderErrorKind::Refused,
                    ProviderErrorKind::RateLimited { retry_after: None },
                    ProviderErrorKind::Closed,
                ])
                .clone();
            self.model_after(owner, at, req, error(kind));
            return;
        }
        if trouble && fate < 9 {
            // It never answers; the client gives up.
            self.model_after(owner, 8_000, req, error(ProviderErrorKind::Timeout));
            return;
        }
        let may_call = request.tool_choice == ToolChoice::Auto;
        let wants_tools = may_call && self.chance.percent(if model == Model::Primary { 28 } else { 10 });
        let silent = (wants_tools && self.chance.percent(50)) || (trouble && self.chance.percent(3));
        let text = if silent { String::new() } else { self.sentences(req) };
        let calls = if wants_tools { self.tool_calls(req) } else { Vec::new() };
        let breaks = trouble && self.chance.percent(4);
        let mut rest: Vec<char> = text.chars().collect();
        while !rest.is_empty() {
            let n = (self.chance.between(3, 40) as usize).min(rest.len());
            let piece: String = rest.drain(..n).collect();
            self.model_after(owner, at, req, Event::Text { req, text: piece });
            let stalls = trouble && self.chance.percent(4);
            at += if stalls { self.chance.between(500, 4_500) } else { self.chance.between(5, 120) };
            if breaks && self.chance.percent(30) {
                self.model_after(owner, at, req, error(ProviderErrorKind::Closed));
                return;
            }
        }
        let cut = trouble && self.chance.percent(2);
        let reason = if cut { FinishReason::Length } else { FinishReason::Stop };
        self.model_after(owner, at, req, Event::Finished { req, tool_calls: calls, reason, usage: None });
    }

    /// Something comes of a request, if it is still in flight.
    fn model_after(&mut self, owner: usize, after: u64, req: u32, event: Event) {
        let generation = self.owners[owner].mind.generation;
        self.after(after, move |w| {
            let mind = &mut w.owners[owner].mind;
            if mind.generation != generation || mind.request != Some(req) {
                return;
            }
            if matches!(event, Event::Finished { .. } | Event::Failed { .. }) {
                mind.request = None;
            }
            w.drive_mind(owner, event);
        });
    }

    fn sentences(&mut self, req: u32) -> String {
        // Now and then more than is handed to the voice at once.
        let count =
            if self.chance.percent(4) { self.chance.between(10, 20) } else { self.chance.between(1, 3) };
        let sentences: Vec<String> = (0..count)
            .map(|i| {
                let words = ["alpha", "beta", "gamma,", "delta", "epsilon", "zeta;", "eta", "theta"];
                let length = self.chance.between(1, 8) as usize;
                let end = *self.chance.of(&[".", "!", "?"]);
                format!("Say{req}x{i} {}{end}", words[..length].join(" ").trim_end_matches([',', ';']))
            })
            .collect();
        sentences.join(" ")
    }

    fn tool_calls(&mut self, req: u32) -> Vec<ToolCall> {
        (0..self.chance.between(1, 2))
            .map(|i| {
                let hour = self.chance.between(1, 9);
                let (name, arguments) = match self.chance.between(0, 99) {
                    0..45 => ("check_availability", json!({"date": "friday"}).to_string()),
                    45..70 => {
                        let what =
                            json!({"service": "Haircut", "date": "friday", "time": format!("{hour} PM")});
                        ("book_appointment", what.to_string())
                    }
                    70..78 => ("take_message", json!({"message": "call me"}).to_string()),
                    78..86 => ("end_call", "{}".to_owned()),
                    86..94 => ("transfer_to_human", "{}".to_owned()),
                    _ => ("no_such_tool", "{broken".to_owned()),
                };
                ToolCall { id: format!("c{req}x{i}"), name: name.to_owned(), arguments }
            })
            .collect()
    }
}
