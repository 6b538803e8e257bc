//! What happens between the caller's words and the bot's: turns, with their times. Pure.
//!
//! All times are milliseconds since the call began.

use serde::Serialize;

use crate::sim::script::words_of;

/// What the caller did at the beginning of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnKind {
    /// Nothing: the bot speaks first.
    Greeting,
    /// Spoke.
    Spoken,
    /// Pressed keys.
    Keys,
    /// Lost the stream.
    Dropped,
    /// Is put through to a person.
    Dialled,
}

/// A turn: what the caller did, and the bot's reply.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Turn {
    /// What began it.
    pub kind: TurnKind,
    /// The caller's words or keys.
    pub said: String,
    /// When the caller began.
    pub from_ms: f64,
    /// When the last frame with the caller's voice was sent.
    pub until_ms: Option<f64>,
    /// Whether the caller waited for a reply to it.
    pub reply_expected: bool,
    /// Whether the caller spoke over the bot.
    pub interrupts: bool,
    /// When the first `clear` came after the caller began.
    pub clear_ms: Option<f64>,
    /// Bytes of voice that came after the `clear` while the caller still spoke: the old reply's.
    pub voice_after_clear_bytes: u64,
    /// When the first voice of the reply was received.
    pub received_ms: Option<f64>,
    /// When the first voice of the reply was played.
    pub played_ms: Option<f64>,
    /// When the last voice of the reply was played.
    pub played_until_ms: Option<f64>,
    /// Longest time without the bot's voice while the caller waited, in milliseconds.
    pub longest_wait_ms: f64,
    /// The words of the reply that were played whole.
    pub heard: Vec<String>,
    #[serde(skip)]
    settled: bool,
    #[serde(skip)]
    ran_dry: bool,
}

impl Turn {
    fn new(kind: TurnKind, said: &str, from_ms: f64, interrupts: bool) -> Self {
        Self {
            kind,
            said: said.to_owned(),
            from_ms,
            until_ms: None,
            reply_expected: false,
            interrupts,
            clear_ms: None,
            voice_after_clear_bytes: 0,
            received_ms: None,
            played_ms: None,
            played_until_ms: None,
            longest_wait_ms: 0.0,
            heard: Vec::new(),
            settled: false,
            ran_dry: !interrupts,
        }
    }

    /// Whether voice that comes now belongs to this turn's reply, and not to the one before.
    fn is_answering(&self) -> bool {
        self.until_ms.is_some() && (self.clear_ms.is_some() || self.ran_dry)
    }

    /// Milliseconds from the end of the caller's words to the first voice received.
    #[must_use]
    pub fn latency_ms(&self) -> Option<f64> {
        Some(self.received_ms? - self.until_ms?)
    }

    /// Milliseconds from the caller's first sound over the bot to the `clear`.
    #[must_use]
    pub fn barge_in_ms(&self) -> Option<f64> {
        Some(self.clear_ms.filter(|_| self.interrupts)? - self.from_ms)
    }

    /// Whether a reply came.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.received_ms.is_some()
    }
}

/// The turns of a call.
#[derive(Debug)]
pub struct Turns {
    turns: Vec<Turn>,
    last_voice_ms: Option<f64>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: vec![Turn::new(TurnKind::Greeting, "", 0.0, false)], last_voice_ms: None }
    }
}

impl Turns {
    /// The line is open: from now on the bot may speak.
    pub fn opened(&mut self, now: f64) {
        if let Some(turn) = self.turns.last_mut() {
            turn.until_ms.get_or_insert(now);
        }
    }

    /// The caller begins something; `over_bot` says that the bot's voice was still playing or waiting to be played.
    pub fn began(&mut self, kind: TurnKind, said: &str, now: f64, over_bot: bool) {
        self.close(now);
        self.turns.push(Turn::new(kind, said, now, over_bot));
    }

    /// The caller's last voice or key went out. What came before it does not answer it.
    pub fn said(&mut self, now: f64) {
        if let Some(turn) = self.turns.last_mut() {
            turn.until_ms = Some(now);
            turn.received_ms = None;
            turn.played_ms = None;
            turn.played_until_ms = None;
        }
    }

    /// The caller is put through to a person, which answers what was said last.
    pub fn put_through(&mut self) {
        if let Some(turn) = self.turns.last_mut() {
            turn.reply_expected &= turn.is_answered();
            turn.settled = true;
        }
    }

    /// The caller waits no more for a reply to what was said last, and says it again.
    pub fn forgo(&mut self) {
        self.put_through();
    }

    /// The caller waits for the current turn's reply.
    pub fn expect_reply(&mut self) {
        if let Some(turn) = self.turns.last_mut() {
            turn.reply_expected = true;
        }
    }

    /// The reply is over as far as the caller is concerned: what follows is no wait.
    pub fn settle(&mut self) {
        if let Some(turn) = self.turns.last_mut() {
            turn.settled = true;
        }
    }

    /// Voice came from the server.
    pub fn received(&mut self, bytes: usize, now: f64) {
        let Some(turn) = self.turns.last_mut() else { return };
        if turn.is_answering() {
            turn.received_ms.get_or_insert(now);
        } else if turn.clear_ms.is_some() {
            turn.voice_after_clear_bytes += bytes as u64;
        }
    }

    /// A `clear` came.
    pub fn cleared(&mut self, now: f64) {
        if let Some(turn) = self.turns.last_mut() {
            turn.clear_ms.get_or_insert(now);
        }
    }

    /// Nothing is left to be played.
    pub fn ran_dry(&mut self) {
        if let Some(turn) = self.turns.last_mut() {
            turn.ran_dry = true;
        }
    }

    /// A frame with voice was played.
    pub fn played(&mut self, now: f64) {
        let before = self.last_voice_ms.replace(now);
        let Some(turn) = self.turns.last_mut() else { return };
        if !turn.is_answering() {
            return;
        }
        turn.played_ms.get_or_insert(now);
        turn.played_until_ms = Some(now);
        if let (false, Some(until)) = (turn.settled, turn.until_ms) {
            let since = before.map_or(until, |before| before.max(until));
            turn.longest_wait_ms = turn.longest_wait_ms.max(now - since);
        }
    }

    /// A word was heard whole.
    pub fn heard(&mut self, word: &str) {
        let answering = self.turns.last().is_some_and(|turn| turn.is_answering() && turn.played_ms.is_some());
        let back = usize::from(!answering && self.turns.len() > 1);
        if let Some(turn) = self.turns.iter_mut().rev().nth(back) {
            turn.heard.push(word.to_owned());
        }
    }

    /// Notes a wait that was in vain, at the end of a turn.
    pub fn close(&mut self, now: f64) {
        let last = self.last_voice_ms;
        let Some(turn) = self.turns.last_mut() else { return };
        if let (true, false, None, Some(until)) =
            (turn.reply_expected, turn.settled, turn.played_ms, turn.until_ms)
        {
            let since = last.map_or(until, |last| last.max(until));
            turn.longest_wait_ms = turn.longest_wait_ms.max(now - since);
        }
        turn.settled = true;
    }

    /// The current turn.
    #[must_use]
    pub fn current(&self) -> Option<&Turn> {
        self.turns.last()
    }

    /// When the bot's voice was last played.
    #[must_use]
    pub const fn last_voice_ms(&self) -> Option<f64> {
        self.last_voice_ms
    }

    /// What was heard in the current turn, word by word.
    #[must_use]
    pub fn heard_words(&self) -> Vec<String> {
        self.turns.last().map(|turn| words_of(&turn.heard.join(" "))).unwrap_or_default()
    }

    /// All of them.
    #[must_use]
    pub fn into_turns(self) -> Vec<Turn> {
        self.turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_measured_from_the_callers_last_voice() {
        let mut turns = Turns::default();
        turns.opened(10.0);
        turns.received(160, 30.0);
        turns.played(40.0);
        turns.settle();
        turns.began(TurnKind::Spoken, "hello", 2_000.0, false);
        turns.said(3_000.0);
        turns.expect_reply();
        turns.received(160, 3_500.0);
        turns.played(3_520.0);
        turns.played(3_540.0);
        turns.heard("Hi");
        turns.played(4_540.0);
        let turns = turns.into_turns();
        assert_eq!(turns[0].latency_ms(), Some(20.0));
        assert_eq!(turns[1].latency_ms(), Some(500.0));
        assert_eq!(turns[1].longest_wait_ms, 1_000.0);
        assert_eq!(turns[1].heard, ["Hi"]);
    }

    #[test]
    fn an_interrupted_reply_does_not_count_as_the_answer() {
        let mut turns = Turns::default();
        turns.opened(0.0);
        turns.received(160, 10.0);
        turns.played(20.0);
        turns.began(TurnKind::Spoken, "stop", 700.0, true);
        turns.received(160, 720.0);
        turns.played(720.0);
        turns.heard("old");
        turns.cleared(800.0);
        turns.received(160, 820.0);
        turns.said(1_000.0);
        turns.received(160, 1_600.0);
        turns.played(1_620.0);
        turns.heard("new");
        let turns = turns.into_turns();
        assert_eq!(turns[0].heard, ["old"]);
        assert_eq!(turns[1].heard, ["new"]);
        assert_eq!(turns[1].barge_in_ms(), Some(100.0));
        assert_eq!(turns[1].voice_after_clear_bytes, 160);
        assert_eq!(turns[1].latency_ms(), Some(600.0));
    }

    #[test]
    fn without_a_clear_the_old_reply_must_run_out_first() {
        let mut turns = Turns::default();
        turns.opened(0.0);
        turns.played(20.0);
        turns.began(TurnKind::Spoken, "stop", 700.0, true);
        turns.said(900.0);
        turns.played(920.0);
        assert_eq!(turns.current().unwrap().played_ms, None);
        turns.ran_dry();
        turns.received(160, 1_500.0);
        assert_eq!(turns.current().unwrap().latency_ms(), Some(600.0));
    }

    #[test]
    fn waiting_in_vain_is_a_wait() {
        let mut turns = Turns::default();
        turns.opened(0.0);
        turns.began(TurnKind::Spoken, "hello", 100.0, false);
        turns.said(1_000.0);
        turns.expect_reply();
        turns.close(16_000.0);
        assert_eq!(turns.into_turns()[1].longest_wait_ms, 15_000.0);
    }
}
