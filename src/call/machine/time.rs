//! What happens when a timer runs out.

use super::*;

impl CallMachine {
    pub(super) fn on_timer(&mut self, at: CallTime, timer: Timer, playback: &mut Playback, fx: &mut Effects) {
        match timer {
            Timer::Filler => {
                if self.answer.is_none() || self.is_bound() {
                    return;
                }
                if playback.is_audible() || self.speaks_beside_answer() || !self.has_run_dry(playback) {
                    // Something is being said, or the voice is about to: a filler would come after it, between two
                    // sentences of the answer. The wait begins anew.
                    let wait = Duration::from_millis(self.setup.config.filler_repeat_ms);
                    fx.push(Effect::SetTimer(Timer::Filler, wait));
                    return;
                }
                let about_tool = self.tool_filler.take().filter(|_| self.tool_running);
                let Some(words) = about_tool.or_else(|| self.next_filler()) else { return };
                self.start_own(at, Kind::Filler, words, After::Listen, true, fx);
            }
            Timer::Apology => {
                if self.current_answer().is_some_and(|r| !r.sent) {
                    self.way_out(at, "turn.too_slow", "deadline", playback, fx);
                }
            }
            Timer::Idle => self.on_idle(at, playback, fx),
            Timer::MaxDuration if self.is_saying_goodbye() => {
                // A caller who interrupts the goodbye keeps the call, and its limit.
                fx.push(Effect::SetTimer(Timer::MaxDuration, LOOK_AGAIN));
            }
            Timer::MaxDuration => self.time_is_up(at, EndReason::MaxDuration, playback, fx),
            Timer::Mark => {
                let grace = Duration::from_millis(self.setup.config.mark_grace_ms);
                let late = playback.expire(at, grace);
                if !late.is_empty() {
                    fx.push(audit("playback.mark_late", json!({ "marks": late.len() })));
                    self.on_played(late, fx);
                    self.settle(at, playback, fx);
                }
                if self.phase == Phase::Live && playback.is_audible() {
                    fx.push(Effect::SetTimer(Timer::Mark, self.mark_wait(at, playback)));
                }
            }
            Timer::Resume => {
                self.partial.clear();
                if self.may_go_on_with_turn() {
                    self.begin_turn(at, fx);
                } else if self.may_ask_again(playback) {
                    self.asks_again = false;
                    let words = self.setup.phrases.hears_again.clone();
                    self.say(at, words, After::Listen, true, fx);
                } else {
                    self.settle(at, playback, fx);
                }
            }
            Timer::Digits => self.digits_done(at, playback, fx),
            Timer::LeaveBy => {
                // As long as something is played, what the caller hears takes its time.
                let quiet = at.since(playback.tail());
                if quiet < LEAVE_BY && self.is_saying_goodbye() {
                    fx.push(Effect::SetTimer(Timer::LeaveBy, LEAVE_BY.saturating_sub(quiet)));
                    return;
                }
                // The stream takes nothing any more, or its marks do not come back.
                let leaving = self.replies.iter().find_map(|r| match &r.after {
                    After::Leave { next, reason } => Some((next.clone(), *reason)),
                    After::Listen => None,
                });
                if let Some((next, reason)) = leaving {
                    fx.push(audit("call.leave_overdue", json!({})));
                    self.depart(at, Departure::Decided { next, reason }, playback, fx);
                }
            }
            // Looked at after each event.
            Timer::LetGo => self.watch_for_pause(fx),
            Timer::Closing => {}
        }
    }

    /// The call may not go on: it is said, and that is the end.
    pub(super) fn time_is_up(
        &mut self,
        at: CallTime,
        reason: EndReason,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        fx.push(Effect::Clear);
        self.stop_all(at, false, playback, fx);
        let words = self.setup.phrases.max_duration.clone();
        let after = After::Leave { next: NextStep::HangUp { say: None }, reason: Some(reason) };
        self.say(at, words, after, false, fx);
    }

    pub(super) fn on_idle(&mut self, at: CallTime, playback: &Playback, fx: &mut Effects) {
        let busy = !self.replies.is_empty() || playback.is_audible() || self.answer.is_some();
        if busy || self.muted || self.deaf || self.phase != Phase::Live {
            return;
        }
        if self.idle_prompts_made >= self.setup.config.idle_prompts {
            let words = self.setup.phrases.idle_goodbye.clone();
            let after =
                After::Leave { next: NextStep::HangUp { say: None }, reason: Some(EndReason::Silence) };
            self.say(at, words, after, true, fx);
            return;
        }
        let prompts = &self.setup.phrases.idle_prompts;
        let Some(words) = prompts.get(self.idle_prompts_made as usize % prompts.len().max(1)).cloned() else {
            return;
        };
        self.idle_prompts_made += 1;
        self.say(at, words, After::Listen, true, fx);
    }

    pub(super) fn mark_wait(&self, at: CallTime, playback: &Playback) -> Duration {
        let grace = Duration::from_millis(self.setup.config.mark_grace_ms);
        playback.overdue_at(grace).map_or(grace, |due| due.since(at)).max(Duration::from_millis(100))
    }

    pub(super) fn cancel_waits(&self, fx: &mut Effects) {
        for timer in [Timer::Filler, Timer::Apology] {
            fx.push(Effect::CancelTimer(timer));
        }
    }

    /// The words that bridge the next wait; taken in turn.
    fn next_filler(&mut self) -> Option<String> {
        let list = &self.setup.phrases.fillers;
        let words = list.get(self.fillers_made % list.len().max(1)).cloned();
        self.fillers_made = self.fillers_made.wrapping_add(1);
        words
    }
}
