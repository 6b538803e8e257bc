//! What is done when a part of the call fails.

use super::*;

impl CallMachine {
    /// The conversation cannot go on: an honest word, then a person or a call-back.
    pub(super) fn way_out(
        &mut self,
        at: CallTime,
        event: &str,
        code: &str,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        // A notice may be cut off by this, the last words of the call may not.
        if self.is_leaving() {
            return;
        }
        fx.push(audit(event, json!({ "code": code })));
        if playback.is_audible() || !self.replies.is_empty() {
            fx.push(Effect::Clear);
            self.stop_all(at, false, playback, fx);
        }
        self.cancel_waits(fx);
        let (words, next, reason) = if self.may_transfer() {
            (self.setup.phrases.apology_transfer.clone(), NextStep::Dial { say: None }, None)
        } else {
            self.outcome.follow_up = true;
            fx.push(Effect::SaveState);
            (
                self.setup.phrases.apology_goodbye.clone(),
                NextStep::HangUp { say: None },
                Some(EndReason::Apology),
            )
        };
        self.say(at, words, After::Leave { next, reason }, false, fx);
    }

    pub(super) fn on_child_down(
        &mut self,
        at: CallTime,
        child: Child,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        fx.push(audit("child.down", json!({ "child": child.as_str() })));
        match child {
            Child::Stt => {
                self.deaf = true;
                fx.push(Effect::CancelTimer(Timer::Idle));
                // What it was about to tell is gone with it.
                self.asks_again |= !std::mem::take(&mut self.partial).is_empty();
            }
            Child::Tts => self.voice_down = true,
            Child::Dialogue => {
                self.mind_down = true;
                self.tool_running = false;
                self.lose_thread(playback, fx);
                self.settle(at, playback, fx);
            }
        }
    }

    /// The mind that was answering is gone. What was begun is spoken to its end, and the next mind is told of it as of
    /// something the bot said. An answer of which nothing was heard begins anew, under another number.
    pub(super) fn lose_thread(&mut self, playback: &mut Playback, fx: &mut Effects) {
        let Some(id) = self.answer else { return };
        let fresh = self.last_reply.next();
        let Some(r) = self.reply_mut(id) else { return };
        if r.sent {
            r.closed = true;
            r.orphan = true;
            return;
        }
        r.id = fresh;
        r.handed.clear();
        r.given = 0;
        r.voiced = 0;
        r.closed = false;
        r.cache = false;
        r.after = After::Listen;
        self.answer = Some(fresh);
        self.last_reply = fresh;
        playback.withdraw(id);
        fx.push(Effect::StopSpeech(id));
    }

    pub(super) fn on_child_up(
        &mut self,
        at: CallTime,
        child: Child,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        match child {
            Child::Stt => {}
            Child::Tts => {
                self.voice_down = false;
                if self.current_answer().is_some_and(|r| !r.handed.is_empty()) {
                    // The answer is there: a filler that was cut off has nothing to bridge any more.
                    for filler in self.replies.iter_mut().filter(|r| r.kind == Kind::Filler) {
                        playback.abandon(filler.id, 0);
                        filler.voiced = filler.handed.len();
                    }
                }
                let mut again = Vec::new();
                for reply in &mut self.replies {
                    for i in reply.voiced..reply.given {
                        let sentence = u32::try_from(i).unwrap_or(u32::MAX);
                        // It may have been broken off before: by another voice, or by the end of an earlier one.
                        if let Some(rest) = playback.abandon(reply.id, sentence) {
                            reply.rest = Some((sentence, rest));
                        }
                    }
                    reply.given = reply.voiced;
                    again.push(reply.id);
                }
                for reply in again {
                    self.hand_out(reply, fx);
                }
            }
            Child::Dialogue => {
                self.mind_down = false;
                if let (Some(id), Some(open)) = (self.answer, &self.open) {
                    let text = open.text.clone();
                    if self.current_answer().is_some_and(|r| r.handed.is_empty()) {
                        fx.push(Effect::Answer { reply: id, text });
                    }
                }
                self.settle(at, playback, fx);
            }
        }
    }

    pub(super) fn on_child_gone(
        &mut self,
        at: CallTime,
        child: Child,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        match child {
            Child::Stt => self.way_out(at, "stt.gone", "restarts", playback, fx),
            Child::Dialogue => {
                self.mind_down = true;
                self.way_out(at, "dialogue.gone", "restarts", playback, fx);
            }
            Child::Tts => self.voice_lost(at, "restarts", playback, fx),
        }
    }
}
