//! Consent before a recording, and card numbers kept out of it and out of the transcript.

use super::*;
use crate::call::stt::messages::SpokenDigits;
use crate::domain::card::{self, Found};

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

/// Digits the caller said or pressed, with their times, as far back as a number may begin.
#[derive(Debug, Default)]
pub(super) struct CardWatch {
    spoken: VecDeque<SpokenDigits>,
}

impl CardWatch {
    pub(super) fn heard(&mut self, digits: SpokenDigits) {
        if self.spoken.len() >= TIMES {
            self.spoken.pop_front();
        }
        self.spoken.push_back(digits);
    }

    /// When a number was said: from its first to its last digit, the newest time that it was.
    fn when(&self, number: &str) -> Option<(CallTime, CallTime)> {
        let all: String = self.spoken.iter().map(|s| s.digits.as_str()).collect();
        let begin = all.rfind(number)?;
        let end = begin.saturating_add(number.len());
        let mut position = 0_usize;
        let mut span: Option<(CallTime, CallTime)> = None;
        for said in &self.spoken {
            let after = position.saturating_add(said.digits.len());
            if position < end && after > begin {
                let (from, to) = span.unwrap_or((said.from, said.to));
                span = Some((from.min(said.from), to.max(said.to)));
            }
            position = after;
        }
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
        for said in digits {
            self.cards.heard(said);
        }
    }

    pub(super) fn key_pressed(&mut self, at: CallTime, digit: char) {
        if digit.is_ascii_digit() {
            self.cards.heard(SpokenDigits { digits: digit.to_string(), from: at, to: at.after(KEY) });
        }
    }

    /// Masks card numbers in the caller's turn `n` and in those before it over which one stretches. `text` is the turn's
    /// words so far. Returns them as they may be kept and passed on.
    pub(super) fn without_cards(&mut self, at: CallTime, n: u32, text: &str, fx: &mut Effects) -> String {
        let mut before: Vec<(u32, String)> = self
            .turns
            .iter()
            .filter(|t| t.speaker == Speaker::Caller && t.n < n)
            .map(|t| (t.n, t.said.clone()))
            .collect();
        before.sort_by_key(|(n, _)| *n);
        let skip = before.len().saturating_sub(TURNS - 1);
        let texts: Vec<(u32, String)> =
            before.into_iter().skip(skip).chain(std::iter::once((n, text.to_owned()))).collect();
        let words: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let Found { masked, numbers } = card::mask(&words);
        if numbers.is_empty() {
            return text.to_owned();
        }
        fx.push(audit("card.masked", json!({ "numbers": numbers.len() })));
        for number in &numbers {
            let span = self.cards.when(number);
            let (from, to) = span.unwrap_or_else(|| (CallTime(at.since(CallTime(UNTIMED))), at));
            fx.push(Effect::Silence { from: CallTime(from.0.saturating_sub(MARGIN)), to: to.after(MARGIN) });
        }
        let mut own = text.to_owned();
        for ((turn, old), new) in texts.into_iter().zip(masked) {
            if turn == n {
                own = new;
            } else if old != new
                && let Some(mut known) = self.turns.iter().find(|t| t.n == turn).cloned()
            {
                known.said.clone_from(&new);
                known.heard = new;
                self.record(known, fx);
            }
        }
        own
    }
}
