//! What the caller says and presses, and what it does to the bot.

use super::*;

impl CallMachine {
    pub(super) fn on_heard(&mut self, at: CallTime, heard: Heard, playback: &mut Playback, fx: &mut Effects) {
        match heard {
            Heard::Partial { text } => {
                fx.push(Effect::CancelTimer(Timer::Idle));
                self.partial = text.clone();
                if self.unsent_answer() && !self.speaks_beside_answer() {
                    if !self.rules.is_backchannel(&text) {
                        // The caller goes on before the answer could be heard: it waits for the rest of the turn.
                        self.withdraw_answer(playback, fx);
                    }
                } else if self.may_interrupt(playback) && self.rules.interrupts(&text, self.voice_over) {
                    self.interrupt(at, &text, playback, fx);
                } else if self.unsent_answer() && !self.rules.is_backchannel(&text) {
                    self.withdraw_answer(playback, fx);
                }
                // Words that never become an utterance must not leave the caller without an answer.
                fx.push(Effect::SetTimer(Timer::Resume, RESUME));
            }
            Heard::Utterance { text, last_word_at } => {
                fx.push(Effect::CancelTimer(Timer::Resume));
                fx.push(Effect::CancelTimer(Timer::Idle));
                self.partial.clear();
                self.idle_prompts_made = 0;
                self.asks_again = false;
                self.pending.push((text.clone(), last_word_at));
                if self.phase == Phase::New {
                    return;
                }
                if self.unsent_answer() {
                    if self.speaks_beside_answer() && self.rules.interrupts(&text, self.voice_over) {
                        self.interrupt(at, &text, playback, fx);
                    } else {
                        self.withdraw_answer(playback, fx);
                    }
                    self.begin_turn(at, fx);
                } else if self.may_go_on_with_turn() {
                    self.begin_turn(at, fx);
                } else if self.may_interrupt(playback) {
                    if self.rules.interrupts(&text, self.voice_over) {
                        self.interrupt(at, &text, playback, fx);
                        self.begin_turn(at, fx);
                    }
                } else if self.replies.is_empty() && self.answer.is_none() {
                    self.begin_turn(at, fx);
                }
                // Else: words over the bot that do not stop it wait until it has finished.
            }
            Heard::Lost { code } => self.way_out(at, "stt.lost", &code, playback, fx),
            Heard::Audit(row) => fx.push(Effect::Audit(row)),
            Heard::Digits(digits) => self.digits_heard(digits),
            Heard::Interrupted => {
                fx.push(audit("stt.interrupted", json!({})));
                self.deaf = true;
                fx.push(Effect::CancelTimer(Timer::Idle));
            }
            Heard::Ready => {
                if std::mem::take(&mut self.deaf) {
                    self.settle(at, playback, fx);
                }
            }
            Heard::Waiting { since } => self.bridge_deafness(at, since, playback, fx),
            Heard::Hole { ms } => {
                self.hole_ms = self.hole_ms.saturating_add(ms);
                self.asks_again = true;
            }
            Heard::SpeechStarted => {}
        }
    }

    /// The caller waits for words that the ear has not told: something is said in time, if nothing else is.
    fn bridge_deafness(&mut self, at: CallTime, since: CallTime, playback: &Playback, fx: &mut Effects) {
        // An answer that is under way has fillers and an apology of its own.
        let busy = !self.replies.is_empty() || playback.is_audible() || self.open.is_some();
        if self.phase != Phase::Live || self.muted || busy || !self.digits.is_empty() {
            return;
        }
        if at.since(since.max(playback.tail())) < QUIET {
            return;
        }
        let (list, made) = if self.deaf {
            (&self.setup.phrases.cannot_hear, &mut self.deaf_lines_made)
        } else {
            (&self.setup.phrases.fillers, &mut self.fillers_made)
        };
        let Some(words) = list.get(*made % list.len().max(1)).cloned() else { return };
        *made = made.wrapping_add(1);
        if self.deaf {
            self.asks_again = true;
            self.say(at, words, After::Listen, true, fx);
        } else {
            self.start_own(at, Kind::Filler, words, After::Listen, true, fx);
        }
    }

    /// Whether the caller is to be asked for words that were lost: there are ears again, and nothing else to do.
    pub(super) fn may_ask_again(&self, playback: &Playback) -> bool {
        self.asks_again
            && !self.deaf
            && !self.muted
            && self.phase == Phase::Live
            && self.replies.is_empty()
            && self.open.is_none()
            && self.pending.is_empty()
            && self.partial.is_empty()
            && self.digits.is_empty()
            && !playback.is_audible()
    }

    /// Whether the open turn may be answered beside what is being said. Not beside a sentence of the staff's: the mind
    /// is to know of it first.
    pub(super) fn may_go_on_with_turn(&self) -> bool {
        self.open.is_some()
            && self.answer.is_none()
            && !self.is_bound()
            && !self.replies.iter().any(|r| r.kind == Kind::Staff)
    }

    /// Whether words may stop the bot now.
    pub(super) fn may_interrupt(&self, playback: &Playback) -> bool {
        (playback.is_audible() || !self.replies.is_empty()) && !self.is_bound()
    }

    /// Whether something is being said that may not be interrupted.
    pub(super) fn is_bound(&self) -> bool {
        self.replies.iter().any(|r| !r.interruptible)
    }

    /// Whether the last words of the call are being said.
    pub(super) fn is_leaving(&self) -> bool {
        self.replies.iter().any(|r| !r.interruptible && r.after != After::Listen)
    }

    /// Whether the call ends or is handed over once what is being said was heard, be it interruptible or not.
    pub(super) fn is_saying_goodbye(&self) -> bool {
        self.replies.iter().any(|r| r.after != After::Listen)
    }

    /// Whether an answer is under way of which the caller has heard nothing.
    pub(super) fn unsent_answer(&self) -> bool {
        self.current_answer().is_some_and(|r| !r.sent) && !self.is_bound()
    }

    /// Whether something else than the answer is on its way: a filler, a line of the bot's own.
    pub(super) fn speaks_beside_answer(&self) -> bool {
        self.replies.iter().any(|r| Some(r.id) != self.answer)
    }

    pub(super) fn current_answer(&self) -> Option<&Reply> {
        self.answer.and_then(|id| self.replies.iter().find(|r| r.id == id))
    }

    pub(super) fn reply_mut(&mut self, id: ReplyId) -> Option<&mut Reply> {
        self.replies.iter_mut().find(|r| r.id == id)
    }

    /// Takes the answer back before any of it was heard. The turn stays open.
    pub(super) fn withdraw_answer(&mut self, playback: &mut Playback, fx: &mut Effects) {
        let Some(id) = self.answer.take() else { return };
        playback.withdraw(id);
        self.replies.retain(|r| r.id != id);
        self.tool_running = false;
        fx.push(Effect::StopAnswer { reply: id, fate: Fate::Withdrawn });
        fx.push(Effect::StopSpeech(id));
        fx.push(Effect::CancelTimer(Timer::Filler));
        fx.push(Effect::CancelTimer(Timer::Apology));
    }

    /// Answers what the caller has said so far.
    pub(super) fn begin_turn(&mut self, at: CallTime, fx: &mut Effects) {
        let added: Vec<_> = self.pending.drain(..).collect();
        if added.is_empty() && (self.open.is_none() || self.muted) {
            return;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let n = self.take_n();
                OpenTurn { n, text: String::new(), at_ms: self.since_start(at), last_word_at: None }
            }
        };
        for (text, last_word_at) in added {
            join_words(&mut open.text, &text);
            open.last_word_at = last_word_at.or(open.last_word_at);
        }
        open.text = self.without_cards(at, &open, fx);
        self.record(caller_turn(&open), fx);
        if self.muted {
            self.open = Some(open);
            fx.push(Effect::CancelTimer(Timer::Idle));
            fx.push(Effect::CancelTimer(Timer::Resume));
            return;
        }
        self.last_reply = self.last_reply.next();
        let mut reply = Reply::new(self.last_reply, Kind::Answer, at);
        reply.latency = StageLatencies {
            end_of_turn_ms: open.last_word_at.and_then(|last| u32::try_from(at.since(last).as_millis()).ok()),
            ..StageLatencies::default()
        };
        self.answer = Some(reply.id);
        self.voice_over = Duration::ZERO;
        self.tool_running = false;
        if !self.mind_down {
            let seconds = std::mem::take(&mut self.hole_ms).div_ceil(1_000);
            if seconds > 0 {
                let text = format!(
                    "About {seconds} s of what the caller said were not heard. Ask if something seems to be missing."
                );
                fx.push(Effect::Note { text });
            }
            fx.push(Effect::Answer { reply: reply.id, text: open.text.clone() });
        }
        self.replies.push_back(reply);
        // Words that were made out late have been waited for already.
        let waited = open.last_word_at.map_or(Duration::ZERO, |last| at.since(last.max(self.bot_until)));
        let filler =
            Duration::from_millis(self.setup.config.filler_ms).min(QUIET.saturating_sub(waited)).max(SOONEST);
        self.open = Some(open);
        fx.push(Effect::CancelTimer(Timer::Idle));
        fx.push(Effect::CancelTimer(Timer::Resume));
        fx.push(Effect::SetTimer(Timer::Filler, filler));
        fx.push(Effect::SetTimer(Timer::Apology, Duration::from_millis(self.setup.config.apology_ms)));
    }

    /// The caller speaks over the bot: everything on its way stops, `clear` first.
    pub(super) fn interrupt(&mut self, at: CallTime, words: &str, playback: &mut Playback, fx: &mut Effects) {
        fx.push(Effect::Clear);
        fx.push(audit("call.barge_in", json!({ "words": words.split_whitespace().count() })));
        self.stop_all(at, true, playback, fx);
    }

    /// Stops every reply on its way; what was heard of each is recorded.
    pub(super) fn stop_all(
        &mut self,
        at: CallTime,
        interrupted: bool,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        let cuts = playback.clear(at, self.last_reply);
        for mut reply in std::mem::take(&mut self.replies) {
            if let Some(cut) = cuts.iter().find(|c| c.reply == reply.id) {
                reply.hear(&cut.heard);
            }
            let answered = self.answer == Some(reply.id);
            if answered && !reply.sent {
                fx.push(Effect::StopAnswer { reply: reply.id, fate: Fate::Withdrawn });
            } else {
                let fate = Fate::Heard(reply.heard.clone());
                if reply.kind == Kind::Answer && !reply.orphan {
                    fx.push(Effect::StopAnswer { reply: reply.id, fate });
                    self.open = None;
                } else if reply.kind != Kind::Filler && !reply.heard.is_empty() {
                    fx.push(Effect::Said { reply: reply.id, heard: reply.heard.clone() });
                }
                if reply.sent {
                    self.record_reply(&mut reply, interrupted, fx);
                }
            }
            fx.push(Effect::StopSpeech(reply.id));
        }
        self.answer = None;
        self.notice = None;
        self.tool_running = false;
        self.voice_over = Duration::ZERO;
        for timer in [Timer::Filler, Timer::Apology, Timer::Mark, Timer::Idle, Timer::LeaveBy] {
            fx.push(Effect::CancelTimer(timer));
        }
    }

    pub(super) fn on_digit(&mut self, at: CallTime, digit: char, playback: &mut Playback, fx: &mut Effects) {
        fx.push(Effect::CancelTimer(Timer::Idle));
        self.key_pressed(at, digit);
        fx.push(audit("call.digit", json!({ "count": self.digits.len() + 1 })));
        self.idle_prompts_made = 0;
        if !self.replies.is_empty() && !self.is_bound() {
            if self.unsent_answer() && !playback.is_audible() {
                self.withdraw_answer(playback, fx);
            } else {
                self.interrupt(at, "", playback, fx);
            }
        }
        if digit == '0'
            && self.digits.is_empty()
            && self.setup.zero_for_person
            && !self.muted
            && !self.is_bound()
        {
            self.ask_for_person(at, fx);
            return;
        }
        if digit != '#' && self.digits.len() < MAX_DIGITS {
            self.digits.push(digit);
        }
        if digit == '#' {
            self.digits_done(at, playback, fx);
        } else {
            fx.push(Effect::SetTimer(Timer::Digits, DIGIT_GAP));
        }
    }

    pub(super) fn digits_done(&mut self, at: CallTime, playback: &mut Playback, fx: &mut Effects) {
        fx.push(Effect::CancelTimer(Timer::Digits));
        match self.take_digits() {
            Some(text) => self.on_heard(at, Heard::Utterance { text, last_word_at: None }, playback, fx),
            None => self.settle(at, playback, fx),
        }
    }

    /// The keys pressed so far, as words of the caller's.
    pub(super) fn take_digits(&mut self) -> Option<String> {
        let digits = std::mem::take(&mut self.digits);
        let spelled: Vec<String> = digits.chars().map(String::from).collect();
        (!digits.is_empty()).then(|| format!("(keys pressed: {})", spelled.join(" ")))
    }

    pub(super) fn ask_for_person(&mut self, at: CallTime, fx: &mut Effects) {
        if self.may_transfer() {
            let words = self.setup.phrases.transfer.clone();
            let after = After::Leave { next: NextStep::Dial { say: None }, reason: None };
            self.say(at, words, after, true, fx);
        } else {
            self.pending.push(("(pressed 0: I would like to speak to a person)".into(), None));
            // Before the greeting it waits, like words.
            if self.phase == Phase::Live {
                self.begin_turn(at, fx);
            }
        }
    }
}
