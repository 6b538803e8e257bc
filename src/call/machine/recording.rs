//! Consent before a recording, and card numbers kept out of it and out of the transcript.

use super::*;
use crate::call::stt::messages::SpokenDigits;
use crate::domain::card::{self, Found};
use crate::domain::turn::TimedDigits;

/// Silenced before and after a card number, beside the words themselves.
const MARGIN: Duration = Duration::from_millis(250);
/// A key sounds on after it was told of.
const KEY: Duration = Duration::from_millis(600);
/// Where the recogniser told no times, so much before the words' end is silenced.
const UNTIMED: Duration = Duration::from_secs(20);
/// Turns of the caller's over which one number may stretch.
const TURNS: usize = 4;
/// Digits whose times are kept.
const TIMES: usize = 128;

/// Digits the caller said or pressed, with their times, as far back as a number may begin: in an earlier stream, too.
#[derive(Debug, Default)]
pub(super) struct CardWatch {
    spoken: VecDeque<TimedDigits>,
    /// There are some that no other owner of the call would know of.
    unsaved: bool,
}

impl CardWatch {
    /// Goes on with those of an earlier owner.
    pub(super) fn of(digits: Vec<TimedDigits>) -> Self {
        Self { spoken: digits.into(), unsaved: false }
    }

    /// What a later owner is to go on with.
    pub(super) fn digits(&self) -> Vec<TimedDigits> {
        self.spoken.iter().cloned().collect()
    }

    fn heard(&mut self, digits: TimedDigits) {
        while self.spoken.len() >= TIMES {
            self.spoken.pop_front();
        }
        self.spoken.push_back(digits);
        self.unsaved = true;
    }

    /// When a number was said, in milliseconds since the call's start: from its first to its last digit, the newest time
    /// that it was. It is forgotten, and what was before it.
    fn take(&mut self, number: &str) -> Option<(u64, u64)> {
        let all: String = self.spoken.iter().map(|s| s.digits.as_str()).collect();
        let begin = all.rfind(number)?;
        let end = begin.saturating_add(number.len());
        let mut position = 0_usize;
        let mut span: Option<(u64, u64)> = None;
        while position < end
            && let Some(said) = self.spoken.pop_front()
        {
            position = position.saturating_add(said.digits.len());
            if position > begin {
                let (from, to) = span.unwrap_or((said.from_ms, said.to_ms));
                span = Some((from.min(said.from_ms), to.max(said.to_ms)));
            }
        }
        self.unsaved = true;
        span
    }
}

impl CallMachine {
    /// Records at once where the caller knows or need not know; says so first where not.
    pub(super) fn begin_recording(&mut self, at: CallTime, fx: &mut Effects) {
        if !self.setup.record {
            return;
        }
        match self.setup.notice.clone() {
            Some(notice) if !self.notified => {
                self.say(at, notice, After::Listen, false, fx);
                self.notice = Some(self.last_reply);
            }
            _ => self.start_recording(at, fx),
        }
    }

    /// A reply was heard to its end.
    pub(super) fn notice_heard(&mut self, at: CallTime, reply: ReplyId, fx: &mut Effects) {
        if self.notice == Some(reply) {
            self.notice = None;
            self.notified = true;
            fx.push(Effect::SaveState);
            self.start_recording(at, fx);
        }
    }

    fn start_recording(&self, at: CallTime, fx: &mut Effects) {
        fx.push(Effect::StartRecording { since_start_ms: self.since_start(at) });
        fx.push(audit("recording.started", json!({})));
    }

    pub(super) fn digits_heard(&mut self, digits: Vec<SpokenDigits>) {
        for SpokenDigits { digits, from, to } in digits {
            let (from_ms, to_ms) = (self.since_start(from), self.since_start(to));
            self.cards.heard(TimedDigits { digits, from_ms, to_ms });
        }
    }

    pub(super) fn key_pressed(&mut self, at: CallTime, digit: char) {
        if digit.is_ascii_digit() {
            self.digits_heard(vec![SpokenDigits { digits: digit.to_string(), from: at, to: at.after(KEY) }]);
        }
    }

    /// Masks card numbers in the caller's open turn and in those before it over which one stretches. Returns its words so
    /// far as they may be kept and passed on.
    pub(super) fn without_cards(&mut self, at: CallTime, open: &OpenTurn, fx: &mut Effects) -> String {
        let OpenTurn { n, ref text, at_ms, .. } = *open;
        let mut before: Vec<(u32, String)> = self
            .turns
            .iter()
            .filter(|t| t.speaker == Speaker::Caller && t.n < n)
            .map(|t| (t.n, t.said.clone()))
            .collect();
        before.sort_by_key(|(n, _)| *n);
        let skip = before.len().saturating_sub(TURNS - 1);
        let texts: Vec<(u32, String)> =
            before.into_iter().skip(skip).chain(std::iter::once((n, text.clone()))).collect();
        let words: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let Found { masked, numbers } = card::mask(&words);
        if numbers.is_empty() {
            self.keep_digits(fx);
            return text.clone();
        }
        fx.push(audit("card.masked", json!({ "numbers": numbers.len() })));
        let mut untimed = false;
        for number in &numbers {
            match self.cards.take(number) {
                Some((from, to)) => self.silence(from, to, fx),
                None => untimed = true,
            }
        }
        if untimed {
            self.silence_before(self.since_start(at), fx);
            if at_ms < self.elapsed_before_ms {
                // It was begun in an earlier stream.
                self.silence_before(at_ms, fx);
            }
        }
        let mut own = text.clone();
        for ((turn, old), new) in texts.into_iter().zip(masked) {
            if turn == n {
                own = new;
            } else if old != new
                && let Some(mut known) = self.turns.iter().find(|t| t.n == turn).cloned()
            {
                if untimed {
                    self.silence_before(known.at_ms, fx);
                }
                known.said.clone_from(&new);
                known.heard = new;
                self.record(known, fx);
            }
        }
        self.keep_digits(fx);
        own
    }

    /// Silences the caller in the stretch before a time, in milliseconds since the call's start.
    fn silence_before(&self, at_ms: u64, fx: &mut Effects) {
        let untimed = u64::try_from(UNTIMED.as_millis()).unwrap_or(u64::MAX);
        self.silence(at_ms.saturating_sub(untimed), at_ms, fx);
    }

    /// Silences the caller between two times, in milliseconds since the call's start. What an earlier stream recorded
    /// is not on this stream's clock.
    fn silence(&self, from_ms: u64, to_ms: u64, fx: &mut Effects) {
        let margin = u64::try_from(MARGIN.as_millis()).unwrap_or(u64::MAX);
        let (from_ms, to_ms) = (from_ms.saturating_sub(margin), to_ms.saturating_add(margin));
        let began = self.elapsed_before_ms;
        if from_ms < began {
            fx.push(Effect::SilenceBefore { from_ms, to_ms: to_ms.min(began) });
        }
        if to_ms > began {
            let here = |ms: u64| CallTime::from_millis(ms.saturating_sub(began));
            fx.push(Effect::Silence { from: here(from_ms), to: here(to_ms) });
        }
    }

    /// Digits that may be a part of a number are kept for another owner, those of a number are not.
    fn keep_digits(&mut self, fx: &mut Effects) {
        if self.setup.record && std::mem::take(&mut self.cards.unsaved) {
            fx.push(Effect::SaveState);
        }
    }
}
