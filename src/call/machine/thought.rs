//! What the mind comes to: sentences, tools, the end of an answer.

use super::*;

impl CallMachine {
    pub(super) fn on_thought(
        &mut self,
        at: CallTime,
        thought: Thought,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        match thought {
            Thought::FirstToken { reply } => {
                if let Some(reply) = self.reply_mut(reply) {
                    reply.latency.first_token_ms = reply.elapsed(at);
                }
            }
            Thought::Sentence { reply, sentence, text } => {
                if self.answer != Some(reply) {
                    return;
                }
                let Some(r) = self.reply_mut(reply) else { return };
                if r.closed || r.handed.len() != sentence as usize {
                    return;
                }
                if sentence == 0 {
                    r.latency.first_sentence_ms = r.elapsed(at);
                }
                r.handed.push(text);
                self.hand_out(reply, fx);
            }
            Thought::ToolStarted { reply, name } => {
                if self.answer == Some(reply) {
                    self.tool_running = true;
                    self.tool_filler = self.setup.phrases.tool_fillers.get(&name).cloned();
                }
            }
            Thought::Done { reply, then } => self.on_done(at, reply, then, playback, fx),
            Thought::Failed { reply, code } => {
                if self.answer != Some(reply) {
                    return;
                }
                let spoke = self.current_answer().is_some_and(|r| !r.handed.is_empty());
                if spoke {
                    self.on_done(at, reply, Then::Listen, playback, fx);
                } else {
                    self.answer_failed(at, &code, playback, fx);
                }
            }
            Thought::Achieved(outcome) => self.achieve(outcome, fx),
            Thought::Fact(fact) => self.keep_fact(fact, fx),
            Thought::Summary(summary) => {
                self.summary = Some(summary);
                fx.push(Effect::SaveState);
            }
            Thought::Audit(row) => fx.push(Effect::Audit(row)),
        }
    }

    pub(super) fn on_done(
        &mut self,
        at: CallTime,
        reply: ReplyId,
        then: Then,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        if self.answer != Some(reply) {
            return;
        }
        self.tool_running = false;
        let outcome = self.outcome;
        let goodbye = self.setup.phrases.goodbye.clone();
        let transfer = self.setup.phrases.transfer.clone();
        let can_transfer = self.setup.can_transfer;
        let Some(r) = self.reply_mut(reply) else { return };
        let mut say = None;
        match then {
            Then::Listen => {}
            Then::HangUp { message_taken } => {
                let reason = if message_taken || outcome.message_taken {
                    EndReason::MessageTaken
                } else {
                    EndReason::Completed
                };
                r.after = After::Leave { next: NextStep::HangUp { say: None }, reason: Some(reason) };
                say = Some(goodbye);
            }
            Then::Transfer if can_transfer => {
                r.after = After::Leave { next: NextStep::Dial { say: None }, reason: None };
                say = Some(transfer);
            }
            Then::Transfer => {}
        }
        let leaves = r.after != After::Listen;
        if leaves {
            fx.push(Effect::SetTimer(Timer::LeaveBy, LEAVE_BY));
        }
        if r.handed.is_empty() {
            match say {
                Some(text) => {
                    r.handed.push(text);
                    r.cache = true;
                    r.closed = true;
                    self.hand_out(reply, fx);
                }
                None => {
                    self.answer_failed(at, "llm.empty", playback, fx);
                    return;
                }
            }
        } else {
            r.closed = true;
        }
        self.settle(at, playback, fx);
    }

    pub(super) fn answer_failed(
        &mut self,
        at: CallTime,
        code: &str,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        self.failures += 1;
        if self.failures >= 2 {
            self.way_out(at, "llm.failed", code, playback, fx);
            return;
        }
        fx.push(audit("llm.failed", json!({ "code": code })));
        if let Some(id) = self.answer.take() {
            self.replies.retain(|r| r.id != id);
        }
        self.open = None;
        self.cancel_waits(fx);
        let words = self.setup.phrases.say_again.clone();
        self.say(at, words, After::Listen, true, fx);
    }

    pub(super) fn achieve(&mut self, more: Outcome, fx: &mut Effects) {
        self.outcome.lead_captured |= more.lead_captured;
        self.outcome.appointment_booked |= more.appointment_booked;
        self.outcome.message_taken |= more.message_taken;
        // `transferred` is not taken over: being asked to put the caller through is not yet having done it. The
        // registry knows once a person has answered.
        self.outcome.follow_up |= more.follow_up;
        fx.push(Effect::SaveState);
    }

    pub(super) fn keep_fact(&mut self, fact: String, fx: &mut Effects) {
        if self.facts.len() < MAX_FACTS && !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
        fx.push(Effect::SaveState);
    }
}
