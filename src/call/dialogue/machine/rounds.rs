//! The rounds of tool calls within a reply, and what tools bring about.

use super::{Active, DialogueMachine, Effect, FACTS, LATE, Running, Stage, TimerId, audit, millis};
use crate::call::dialogue::messages::{Then, Thought, ToolOutcome};
use crate::dialogue::tool_loop;
use crate::dialogue::tools::{self, ToolRequest, shorten};
use crate::domain::call::Outcome;
use crate::domain::ids::ReplyId;
use crate::domain::time::CallTime;
use crate::provider::llm::{FinishReason, ToolCall};
use serde_json::{Value, json};
use std::collections::VecDeque;

impl DialogueMachine {
    /// The model has called tools: they are recorded and carried out one after the other.
    pub(super) fn begin_tools(
        &mut self,
        at: CallTime,
        calls: Vec<ToolCall>,
        reason: FinishReason,
        spoke: bool,
        fx: &mut Vec<Effect>,
    ) {
        let calls = self.tools.begin_round(calls);
        let Some(active) = self.active.as_mut() else { return };
        self.history.call_tools(active.reply, &calls);
        let mut queue = VecDeque::new();
        if reason == FinishReason::Length {
            // The last of them is cut off, and nobody knows which ones are whole.
            let answer = tool_loop::truncated_answer();
            for call in &calls {
                fx.push(refused(call, &answer));
                self.history.tool_answer(&call.id, &answer);
            }
        } else {
            queue.extend(calls);
        }
        active.stage = Stage::Tools { queue, spoke };
        self.next_tool(at, fx);
    }

    /// Carries out the next call of the round; after the last one the model is asked again, or the reply is over.
    fn next_tool(&mut self, at: CallTime, fx: &mut Vec<Effect>) {
        loop {
            let Some(Active { reply, stage: Stage::Tools { queue, spoke }, then, concluding, .. }) =
                self.active.as_mut()
            else {
                return;
            };
            let (reply, spoke) = (*reply, *spoke);
            let Some(call) = queue.pop_front() else {
                if *then != Then::Listen && spoke {
                    self.done(fx);
                } else {
                    *concluding |= self.tools.must_conclude();
                    self.ask_round(at, fx);
                }
                return;
            };
            let request = match tools::parse(&call) {
                Ok(request) => request,
                Err(error) => {
                    let answer = error.to_answer();
                    fx.push(refused(&call, &answer));
                    self.history.tool_answer(&call.id, &answer);
                    continue;
                }
            };
            if let Some(answer) = self.tools.recall(&request) {
                fx.push(finished(&request, &answer, None));
                self.history.tool_answer(&call.id, &answer);
                continue;
            }
            let key = request.key();
            if !request.is_read() && self.late.iter().any(|l| l.request.key() == key) {
                let answer = tool_loop::still_running_answer();
                fx.push(refused(&call, &answer));
                self.history.tool_answer(&call.id, &answer);
                continue;
            }
            fx.push(Effect::Emit(Thought::ToolStarted { reply, name: request.name().to_owned() }));
            fx.push(audit("tool.started", json!({"tool": request.name(), "arguments": request.to_json()})));
            fx.push(Effect::RunTool { reply, call_id: call.id.clone(), request: request.clone() });
            fx.push(Effect::SetTimer { id: TimerId::Tool, after: self.settings.tool });
            self.running = Some(Running { reply, call_id: call.id, request, since: at });
            return;
        }
    }

    pub(super) fn tool_done(
        &mut self,
        at: CallTime,
        reply: ReplyId,
        call_id: &str,
        outcome: ToolOutcome,
        fx: &mut Vec<Effect>,
    ) {
        let is_it = |r: &Running| r.reply == reply && r.call_id == call_id;
        if let Some(run) = self.running.take_if(|r| is_it(r)) {
            fx.push(Effect::CancelTimer(TimerId::Tool));
            fx.push(finished(&run.request, &outcome.content, Some(millis(at.since(run.since)))));
            self.history.tool_answer(call_id, &outcome.content);
            self.tools.remember(&run.request, &outcome.content);
            let failed = outcome.content.get("error").is_some();
            let transferred = outcome.achieved.transferred;
            self.absorb(outcome, fx);
            if let Some(active) = self.active.as_mut().filter(|a| a.reply == reply) {
                match run.request {
                    ToolRequest::TransferToHuman { .. } if transferred && !failed => {
                        active.then = Then::Transfer;
                    }
                    ToolRequest::EndCall { .. } if !failed && active.then == Then::Listen => {
                        active.then = Then::HangUp { message_taken: self.outcome.message_taken };
                    }
                    _ => {}
                }
            }
            self.go_on(at, fx);
        } else if let Some(at_index) = self.late.iter().position(is_it) {
            let run = self.late.swap_remove(at_index);
            fx.push(audit(
                "tool.late",
                json!({
                    "tool": run.request.name(), "arguments": run.request.to_json(), "result": outcome.content,
                    "ms": millis(at.since(run.since)),
                }),
            ));
            // The model was told that nobody knows how it ended: a change that came about has to be made known.
            let mut outcome = outcome;
            if !run.request.is_read() {
                self.tools.remember(&run.request, &outcome.content);
                let fact = || tool_loop::late_fact(&run.request, &outcome.content);
                outcome.fact = Some(outcome.fact.clone().unwrap_or_else(fact));
            }
            self.absorb(outcome, fx);
        }
    }

    /// The running tool has taken too long: the model is told, the tool goes on by itself.
    pub(super) fn tool_timeout(&mut self, at: CallTime, fx: &mut Vec<Effect>) {
        let Some(run) = self.running.take() else { return };
        let arguments = run.request.to_json();
        fx.push(audit("tool.timeout", json!({"tool": run.request.name(), "arguments": arguments})));
        self.history.tool_answer(&run.call_id, &tool_loop::timeout_answer());
        self.late.push(run);
        if self.late.len() > LATE {
            self.late.remove(0);
        }
        self.go_on(at, fx);
    }

    /// No tool is under way any more: on with what waited for it.
    fn go_on(&mut self, at: CallTime, fx: &mut Vec<Effect>) {
        match self.active.as_ref().map(|a| &a.stage) {
            Some(Stage::Settling) => self.ask_round(at, fx),
            Some(Stage::Tools { .. }) => self.next_tool(at, fx),
            Some(Stage::Asking(_) | Stage::Waiting { .. }) | None => {}
        }
    }

    /// Takes over what a tool achieved and established.
    fn absorb(&mut self, outcome: ToolOutcome, fx: &mut Vec<Effect>) {
        let ToolOutcome { content: _, achieved: a, fact } = outcome;
        let before = self.outcome;
        self.outcome = Outcome {
            lead_captured: before.lead_captured || a.lead_captured,
            appointment_booked: before.appointment_booked || a.appointment_booked,
            message_taken: before.message_taken || a.message_taken,
            transferred: before.transferred || a.transferred,
            follow_up: before.follow_up || a.follow_up,
        };
        if self.outcome != before {
            fx.push(Effect::Emit(Thought::Achieved(self.outcome)));
        }
        if let Some(fact) = fact.map(|f| f.trim().to_owned()).filter(|f| !f.is_empty())
            && !self.facts.contains(&fact)
        {
            if self.facts.len() >= FACTS {
                self.facts.remove(0);
            }
            self.facts.push(fact.clone());
            fx.push(Effect::Emit(Thought::Fact(fact)));
        }
    }
}

fn refused(call: &ToolCall, answer: &Value) -> Effect {
    let arguments = shorten(&call.arguments, 1_000);
    audit("tool.refused", json!({"tool": call.name, "arguments": arguments, "answer": answer}))
}

/// A tool's answer in the audit trail; without a time it came from memory.
fn finished(request: &ToolRequest, answer: &Value, ms: Option<u64>) -> Effect {
    audit(
        "tool.finished",
        json!({
            "tool": request.name(), "arguments": request.to_json(), "result": answer,
            "ms": ms, "remembered": ms.is_none(),
        }),
    )
}
