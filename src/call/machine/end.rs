//! The transcript, the caller's last words, and the one way out of a call.

use super::*;
use crate::domain::card;

impl CallMachine {
    pub(super) fn since_start(&self, at: CallTime) -> u64 {
        self.elapsed_before_ms.saturating_add(at.as_millis())
    }

    pub(super) fn take_n(&mut self) -> u32 {
        let n = self.next_n;
        self.next_n = self.next_n.saturating_add(1);
        n
    }

    pub(super) fn record(&mut self, mut turn: TurnRecord, fx: &mut Effects) {
        if turn.speaker == Speaker::Bot
            && let Some((said, heard)) = card::mask_heard(&turn.said, &turn.heard)
        {
            (turn.said, turn.heard) = (said, heard);
        }
        match self.turns.iter_mut().find(|t| t.n == turn.n) {
            Some(known) => *known = turn.clone(),
            None => self.turns.push_back(turn.clone()),
        }
        while self.turns.len() > self.setup.keep_turns.max(1) {
            self.turns.pop_front();
        }
        fx.push(Effect::Record(turn));
    }

    /// Writes down what was said of a reply so far. A filler is no part of the conversation, and must not stand
    /// between a turn and its answer.
    pub(super) fn record_reply(&mut self, reply: &mut Reply, interrupted: bool, fx: &mut Effects) {
        if reply.kind == Kind::Filler {
            return;
        }
        let n = match reply.n {
            Some(n) => n,
            None => {
                let n = self.take_n();
                reply.n = Some(n);
                n
            }
        };
        let mut turn = reply.record(n, interrupted);
        turn.at_ms = turn.at_ms.saturating_add(self.elapsed_before_ms);
        self.record(turn, fx);
    }

    /// Leaves, once: what was heard is settled, what was said is recorded.
    pub(super) fn depart(
        &mut self,
        at: CallTime,
        departure: Departure,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        if self.phase == Phase::Over {
            return;
        }
        let stopped = matches!(departure, Departure::Decided { .. });
        if stopped && playback.is_audible() {
            fx.push(Effect::Clear);
        }
        self.stop_all(at, true, playback, fx);
        // Last words and keys that were never answered still belong to the transcript.
        if let Some(keys) = self.take_digits() {
            self.pending.push((keys, None));
        }
        let added: Vec<_> = self.pending.drain(..).collect();
        if !added.is_empty() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => {
                    let n = self.take_n();
                    OpenTurn { n, text: String::new(), at_ms: self.since_start(at), last_word_at: None }
                }
            };
            for (text, _) in added {
                join_words(&mut open.text, &text);
            }
            open.text = self.without_cards(at, &open, fx);
            self.record(caller_turn(&open), fx);
            self.open = Some(open);
        }
        self.phase = Phase::Over;
        fx.push(Effect::Leave(departure));
    }

    /// The caller has hung up: nothing more is said, the last words are collected.
    pub(super) fn caller_gone(
        &mut self,
        at: CallTime,
        reason: EndReason,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        let tool_running = self.tool_running;
        self.stop_all(at, true, playback, fx);
        // A tool that writes is let finish: what it achieves belongs to the call.
        self.tool_running = tool_running;
        self.phase = Phase::Closing(reason);
        fx.push(Effect::FinishListening);
        fx.push(Effect::SetTimer(Timer::Closing, CLOSING));
    }

    pub(super) fn on_closing(
        &mut self,
        at: CallTime,
        reason: EndReason,
        event: Event,
        playback: &mut Playback,
        fx: &mut Effects,
    ) {
        match event {
            Event::Heard(Heard::Utterance { text, last_word_at }) => self.pending.push((text, last_word_at)),
            Event::Heard(Heard::Digits(digits)) => self.digits_heard(digits),
            Event::Heard(Heard::Audit(row)) | Event::Thought(Thought::Audit(row)) => {
                fx.push(Effect::Audit(row))
            }
            Event::Thought(Thought::Achieved(outcome)) => {
                self.achieve(outcome, fx);
                self.tool_running = false;
                if self.ear_done {
                    self.close(at, reason, playback, fx);
                }
            }
            Event::Thought(Thought::Fact(fact)) => self.keep_fact(fact, fx),
            Event::Heard(Heard::Lost { .. })
            | Event::ChildDown(Child::Stt)
            | Event::ChildGone(Child::Stt) => {
                self.ear_done = true;
                if !self.tool_running {
                    self.close(at, reason, playback, fx);
                }
            }
            Event::Timer(Timer::Closing) => self.close(at, reason, playback, fx),
            Event::Begin { .. }
            | Event::Heard(
                Heard::Ready
                | Heard::Partial { .. }
                | Heard::SpeechStarted
                | Heard::Interrupted
                | Heard::Waiting { .. }
                | Heard::Hole { .. },
            )
            | Event::Thought(_)
            | Event::Spoke(_)
            | Event::Stream(_)
            | Event::Timer(_)
            | Event::ChildDown(_)
            | Event::ChildUp(_)
            | Event::ChildGone(_)
            | Event::Staff(_)
            | Event::SpendCap
            | Event::End(_) => {}
        }
    }

    /// Everything that was to come has come.
    fn close(&mut self, at: CallTime, reason: EndReason, playback: &mut Playback, fx: &mut Effects) {
        let reason = if reason == EndReason::Completed && self.outcome.message_taken {
            EndReason::MessageTaken
        } else {
            reason
        };
        self.depart(at, Departure::Ended { reason }, playback, fx);
    }
}
