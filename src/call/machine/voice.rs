//! What is given to the voice, what it delivers, and what the caller hears of it.

use super::*;

impl CallMachine {
    /// Says something of the bot's own accord.
    pub(super) fn say(
        &mut self,
        at: CallTime,
        text: String,
        after: After,
        interruptible: bool,
        fx: &mut Effects,
    ) {
        self.start_own(at, Kind::Own, text, after, interruptible, fx);
    }

    pub(super) fn start_own(
        &mut self,
        at: CallTime,
        kind: Kind,
        text: String,
        after: After,
        interruptible: bool,
        fx: &mut Effects,
    ) {
        fx.push(Effect::CancelTimer(Timer::Idle));
        self.last_reply = self.last_reply.next();
        let mut reply = Reply::new(self.last_reply, kind, at);
        reply.closed = true;
        reply.interruptible = interruptible;
        if after != After::Listen {
            fx.push(Effect::SetTimer(Timer::LeaveBy, LEAVE_BY));
        }
        reply.after = after;
        reply.cache = !matches!(kind, Kind::Staff | Kind::Named);
        reply.handed.push(text);
        let id = reply.id;
        self.replies.push_back(reply);
        self.hand_out(id, fx);
    }

    /// Hands sentences of a reply to the voice, a few at a time; none while it is being restarted.
    pub(super) fn hand_out(&mut self, reply: ReplyId, fx: &mut Effects) {
        if self.voice_down {
            return;
        }
        let Some(r) = self.reply_mut(reply) else { return };
        while r.given < r.voiced.saturating_add(AHEAD)
            && let Some(whole) = r.handed.get(r.given)
        {
            let sentence = u32::try_from(r.given).unwrap_or(u32::MAX);
            let rest = r.rest.as_ref().filter(|(of, _)| *of == sentence).map(|(_, rest)| rest);
            let text = rest.unwrap_or(whole).clone();
            fx.push(Effect::Speak { reply, sentence, text, cache: r.cache && sentence == 0 });
            r.given += 1;
        }
    }

    pub(super) fn on_spoke(&mut self, at: CallTime, spoke: Spoke, playback: &mut Playback, fx: &mut Effects) {
        match spoke {
            Spoke::FirstAudio { reply } => {
                if let Some(reply) = self.reply_mut(reply) {
                    reply.latency.first_audio_ms = reply.elapsed(at);
                }
            }
            Spoke::SentenceDone { reply, sentence } => {
                if let Some(r) = self.reply_mut(reply) {
                    r.voiced = r.voiced.max(sentence as usize + 1);
                }
                self.hand_out(reply, fx);
                self.settle(at, playback, fx);
            }
            Spoke::Failed { reply, code, .. } => {
                let Some(kind) = self.replies.iter().find(|r| r.id == reply).map(|r| r.kind) else { return };
                if kind == Kind::Filler {
                    self.replies.retain(|r| r.id != reply);
                    if self.answer.is_some() && !self.is_bound() {
                        // The wait was not bridged: it goes on.
                        fx.push(Effect::SetTimer(Timer::Filler, LOOK_AGAIN));
                    }
                    return;
                }
                self.voice_lost(at, &code, playback, fx);
            }
            Spoke::Audit(row) => fx.push(Effect::Audit(row)),
        }
    }

    /// No voice is left: Twilio says the apology.
    pub(super) fn voice_lost(&mut self, at: CallTime, code: &str, playback: &mut Playback, fx: &mut Effects) {
        fx.push(audit("tts.lost", json!({ "code": code })));
        let departure = if self.may_transfer() {
            Departure::Decided {
                next: NextStep::Dial { say: Some(self.setup.phrases.apology_transfer.clone()) },
                reason: None,
            }
        } else {
            self.outcome.follow_up = true;
            Departure::Decided {
                next: NextStep::HangUp { say: Some(self.setup.phrases.apology_goodbye.clone()) },
                reason: Some(EndReason::Apology),
            }
        };
        self.depart(at, departure, playback, fx);
    }

    pub(super) fn on_first_sent(&mut self, at: CallTime, id: ReplyId, fx: &mut Effects) {
        let is_answer = self.answer == Some(id);
        let Some(r) = self.reply_mut(id) else { return };
        if r.sent {
            return;
        }
        r.sent = true;
        r.latency.first_sent_ms = r.elapsed(at);
        self.voice_over = Duration::ZERO;
        if is_answer {
            // From the first sound on, more words are a new turn.
            self.open = None;
            self.failures = 0;
            fx.push(Effect::CancelTimer(Timer::Filler));
            fx.push(Effect::CancelTimer(Timer::Apology));
        }
    }

    pub(super) fn on_played(&mut self, played: Vec<Played>, fx: &mut Effects) {
        self.handover.sentence_over(!played.is_empty());
        for sentence in played {
            let Some(position) = self.replies.iter().position(|r| r.id == sentence.reply) else { continue };
            let Some(mut reply) = self.replies.remove(position) else { continue };
            reply.hear(&sentence.text);
            reply.sent = true;
            self.record_reply(&mut reply, false, fx);
            self.replies.insert(position, reply);
        }
    }

    /// Closes every reply that was heard to its end, and goes on with what follows.
    pub(super) fn settle(&mut self, at: CallTime, playback: &mut Playback, fx: &mut Effects) {
        while let Some(position) =
            self.replies.iter().position(|r| r.closed && r.voiced >= r.handed.len() && !playback.holds(r.id))
        {
            let Some(reply) = self.replies.remove(position) else { break };
            self.notice_heard(at, reply.id, fx);
            match reply.kind {
                Kind::Answer => {
                    self.answer = None;
                    self.open = None;
                    fx.push(Effect::CancelTimer(Timer::Filler));
                    fx.push(Effect::CancelTimer(Timer::Apology));
                    fx.push(if reply.orphan {
                        Effect::Said { reply: reply.id, heard: reply.heard.clone() }
                    } else {
                        Effect::AnswerHeard { reply: reply.id, text: reply.heard.clone() }
                    });
                }
                Kind::Own | Kind::Named | Kind::Staff => {
                    fx.push(Effect::Said { reply: reply.id, heard: reply.heard.clone() })
                }
                Kind::Filler => self.arm_filler_again(fx),
            }
            if let After::Leave { next, reason } = reply.after {
                self.depart(at, Departure::Decided { next, reason }, playback, fx);
                return;
            }
        }
        // In the middle of an answer the caller may have to wait again: for a tool, for a slow model.
        if self.phase == Phase::Live
            && self.current_answer().is_some_and(|r| r.sent)
            && !playback.is_audible()
            && !self.speaks_beside_answer()
            && self.has_run_dry(playback)
        {
            self.arm_filler_again(fx);
        }
        if self.phase != Phase::Live || !self.replies.is_empty() || playback.is_audible() {
            return;
        }
        fx.push(Effect::CancelTimer(Timer::Mark));
        if !self.pending.is_empty() || (self.open.is_some() && self.partial.is_empty()) {
            self.begin_turn(at, fx);
        } else if self.may_ask_again(playback) {
            fx.push(Effect::SetTimer(Timer::Resume, ASK_AGAIN));
        } else if self.partial.is_empty() && self.digits.is_empty() && !self.muted && !self.deaf {
            let wait = Duration::from_millis(self.setup.config.idle_prompt_ms);
            fx.push(Effect::SetTimer(Timer::Idle, wait));
        }
    }

    pub(super) fn arm_filler_again(&self, fx: &mut Effects) {
        if self.answer.is_some() && !self.is_bound() {
            let wait = Duration::from_millis(self.setup.config.filler_repeat_ms);
            fx.push(Effect::SetTimer(Timer::Filler, wait));
        }
    }

    /// Whether all that there is of an unfinished answer was heard: the caller waits for more of it.
    pub(super) fn has_run_dry(&self, playback: &Playback) -> bool {
        self.current_answer()
            .is_some_and(|r| !r.closed && r.voiced >= r.handed.len() && !playback.holds(r.id))
    }
}
