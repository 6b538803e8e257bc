//! Plays a script: decides, every 20 ms, what the caller does next. Pure.

use std::sync::Arc;

use super::turns::{TurnKind, Turns};
use crate::sim::script::{Act, EndKind, Person, Script, Step, WaitFor, contains_words};

/// What the caller does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Begins to speak.
    Say(String),
    /// Presses a key.
    Dtmf(char),
    /// Hangs up.
    HangUp,
    /// Breaks the stream's connection.
    DropSocket,
    /// The dialled person behaves so from now on.
    Person(Person),
}

/// How the line stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineState {
    /// A stream is open.
    pub streaming: bool,
    /// The caller's phrase is not over.
    pub speaking: bool,
    /// The bot's voice plays or waits to be played.
    pub bot_speaking: bool,
    /// Words can be heard; without, `heard` waits for a reply and expectations of words are not checked.
    pub listening: bool,
    /// Streams that came up so far.
    pub streams: usize,
    /// The caller has talked enough: optional steps are left out.
    pub enough: bool,
}

/// Milliseconds between two keys.
const KEY_GAP_MS: f64 = 200.0;
/// Milliseconds without voice behind a broken stream after which a caller who repeats says again what was not answered.
const PATIENCE_MS: f64 = 2_500.0;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Wait,
    Act,
    Keys { pressed: usize, next_ms: f64 },
    Speaking,
    Check,
    End,
}

/// Where a script is.
#[derive(Debug)]
pub struct Player {
    script: Arc<Script>,
    at: usize,
    phase: Phase,
    since_ms: f64,
    /// The stream on which the last phrase was begun.
    asked_on: usize,
    /// The stream that is up, and since when.
    stream: (usize, f64),
    hung_up: bool,
    failures: Vec<String>,
}

/// How the expectations of a step stand.
enum Checked {
    Pending,
    Settled,
    /// The stream broke, and no answer comes: the phrase is said again.
    Again,
}

enum Wait {
    Pending,
    Met,
    TimedOut(String),
}

impl Player {
    /// At the beginning.
    #[must_use]
    pub const fn new(script: Arc<Script>) -> Self {
        Self {
            script,
            at: 0,
            phase: Phase::Wait,
            since_ms: 0.0,
            asked_on: 0,
            stream: (0, 0.0),
            hung_up: false,
            failures: Vec::new(),
        }
    }

    /// The next thing to do, if it is time for one. To be asked every 20 ms until it says nothing more.
    pub fn tick(&mut self, now: f64, line: LineState, turns: &mut Turns) -> Option<Do> {
        if self.hung_up {
            return None;
        }
        if now >= self.script.limit_ms as f64 {
            self.failures.push(format!("the call was not over after {} ms", self.script.limit_ms));
            return Some(self.hang_up());
        }
        if line.streaming && line.streams != self.stream.0 {
            self.stream = (line.streams, now);
        }
        let script = Arc::clone(&self.script);
        loop {
            let Some(step) = script.steps.get(self.at) else { return Some(self.hang_up()) };
            match self.phase {
                Phase::Wait if step.optional && line.enough => self.at += 1,
                Phase::Wait => match self.first_wait(step, now, line, turns) {
                    Wait::Pending => return None,
                    Wait::Met => self.enter(Phase::Act, now),
                    Wait::TimedOut(what) => {
                        self.fail(&what);
                        self.enter(Phase::Act, now);
                    }
                },
                Phase::Act => {
                    if let Some(done) = self.act(step, now, line, turns)? {
                        return Some(done);
                    }
                }
                Phase::Keys { pressed, next_ms } => {
                    let Some(Act::Dtmf(keys)) = &step.act else {
                        self.enter(Phase::Check, now);
                        continue;
                    };
                    if now < next_ms {
                        return None;
                    }
                    let Some(key) = keys.chars().nth(pressed) else {
                        self.enter(Phase::Check, now);
                        continue;
                    };
                    turns.said(now);
                    self.phase = Phase::Keys { pressed: pressed + 1, next_ms: now + KEY_GAP_MS };
                    return Some(Do::Dtmf(key));
                }
                Phase::Speaking if line.speaking => return None,
                Phase::Speaking => self.enter(Phase::Check, now),
                Phase::Check => match self.check(step, now, line, turns) {
                    Checked::Pending => return None,
                    Checked::Again => self.again(turns, now),
                    Checked::Settled => self.enter(Phase::End, now),
                },
                Phase::End => {
                    if let Some(kind) = step.expect_end {
                        if self.is_unanswered(step, now, line, turns) {
                            self.again(turns, now);
                            continue;
                        }
                        if now - self.since_ms < step.within_ms as f64 {
                            return None;
                        }
                        self.fail(&format!("no end ({kind}) within {} ms", step.within_ms));
                    }
                    self.at += 1;
                    self.enter(Phase::Wait, now);
                }
            }
        }
    }

    /// The call is over. Notes what the script still wanted; gives all that failed.
    pub fn finish(&mut self, end: EndKind) -> Vec<String> {
        let script = Arc::clone(&self.script);
        let wanted = script.steps.get(self.at..).unwrap_or_default().iter().find_map(|step| step.expect_end);
        match wanted {
            Some(wanted) if wanted != end => {
                self.fail(&format!("the call ended by {end}, not by {wanted}"));
            }
            _ => {}
        }
        let waits_for_end = |step: &Step| {
            step.wait_for == Some(WaitFor::End)
                || (step.expect_end.is_some() && step.act.is_none() && step.wait_for.is_none())
        };
        let here = match script.steps.get(self.at) {
            Some(step) => waits_for_end(step) || self.phase == Phase::End,
            None => true,
        };
        let mut rest = script.steps.get(self.at + 1..).unwrap_or_default().iter();
        let harmless = |step: &Step| waits_for_end(step) || step.act == Some(Act::HangUp);
        let complete = here && rest.all(harmless);
        if !self.hung_up && !complete {
            self.fail("the call ended before the script was over");
        }
        std::mem::take(&mut self.failures)
    }

    fn hang_up(&mut self) -> Do {
        self.hung_up = true;
        Do::HangUp
    }

    fn enter(&mut self, phase: Phase, now: f64) {
        self.phase = phase;
        self.since_ms = now;
    }

    fn fail(&mut self, what: &str) {
        self.failures.push(format!("step[{}]: {what}", self.at));
    }

    /// `None` to wait, `Some(None)` to go on, `Some(Some(_))` to do something.
    fn act(&mut self, step: &Step, now: f64, line: LineState, turns: &mut Turns) -> Option<Option<Do>> {
        let needs_stream = matches!(step.act, Some(Act::Say(_) | Act::Dtmf(_) | Act::DropSocket));
        if needs_stream && !line.streaming {
            if now - self.since_ms < step.within_ms as f64 {
                return None;
            }
            self.fail(&format!("no stream within {} ms", step.within_ms));
            self.at += 1;
            self.enter(Phase::Wait, now);
            return Some(None);
        }
        match &step.act {
            Some(Act::Say(text)) => {
                turns.began(TurnKind::Spoken, text, now, line.bot_speaking);
                self.asked_on = line.streams;
                self.enter(Phase::Speaking, now);
                Some(Some(Do::Say(text.clone())))
            }
            Some(Act::Dtmf(keys)) => {
                turns.began(TurnKind::Keys, keys, now, line.bot_speaking);
                self.enter(Phase::Keys { pressed: 0, next_ms: now }, now);
                Some(None)
            }
            Some(Act::Pause(ms)) => {
                if now - self.since_ms < *ms as f64 {
                    return None;
                }
                self.enter(Phase::Check, now);
                Some(None)
            }
            Some(Act::HangUp) => Some(Some(self.hang_up())),
            Some(Act::DropSocket) => {
                turns.began(TurnKind::Dropped, "", now, false);
                turns.said(now);
                self.enter(Phase::Check, now);
                Some(Some(Do::DropSocket))
            }
            Some(Act::Person(person)) => {
                self.enter(Phase::Check, now);
                Some(Some(Do::Person(*person)))
            }
            None => {
                self.enter(Phase::Check, now);
                Some(None)
            }
        }
    }

    fn first_wait(&self, step: &Step, now: f64, line: LineState, turns: &mut Turns) -> Wait {
        if let Some(after_ms) = step.interrupt_after_ms {
            turns.expect_reply();
            let Some(played) = turns.current().and_then(|turn| turn.played_ms) else {
                return self.until(step, now, "nothing to interrupt");
            };
            if now - played < after_ms as f64 {
                return Wait::Pending;
            }
            turns.settle();
            return if line.bot_speaking {
                Wait::Met
            } else {
                Wait::TimedOut("the bot had finished before it could be interrupted".to_owned())
            };
        }
        match &step.wait_for {
            None => Wait::Met,
            Some(WaitFor::Greeting | WaitFor::Reply) => self.reply(step, now, turns),
            Some(WaitFor::Heard(_)) if !line.listening => self.reply(step, now, turns),
            Some(WaitFor::Heard(text)) => {
                turns.expect_reply();
                if contains_words(&turns.heard_words(), text) {
                    turns.settle();
                    return Wait::Met;
                }
                self.until(step, now, &format!("{text:?} was not heard"))
            }
            Some(WaitFor::SilenceMs(ms)) => {
                let last = turns.last_voice_ms().unwrap_or_default().max(self.since_ms);
                if now - last >= *ms as f64 {
                    turns.settle();
                    return Wait::Met;
                }
                self.until(step, now, "no silence")
            }
            Some(WaitFor::End) => self.until(step, now, "the call did not end"),
        }
    }

    /// Waits for the reply to what the caller did last, to its end.
    fn reply(&self, step: &Step, now: f64, turns: &mut Turns) -> Wait {
        turns.expect_reply();
        let until = turns.current().and_then(|turn| turn.played_until_ms);
        match until {
            Some(until) if now - until >= self.script.settle_ms as f64 => {
                turns.settle();
                Wait::Met
            }
            // It speaks: however long it takes.
            Some(_) => Wait::Pending,
            None => self.until(step, now, "no reply"),
        }
    }

    fn until(&self, step: &Step, now: f64, what: &str) -> Wait {
        if now - self.since_ms < step.within_ms as f64 {
            return Wait::Pending;
        }
        Wait::TimedOut(format!("{what} within {} ms", step.within_ms))
    }

    /// Says the phrase of this step once more.
    fn again(&mut self, turns: &mut Turns, now: f64) {
        turns.forgo();
        self.enter(Phase::Act, now);
    }

    /// Whether a caller who repeats has waited long enough for an answer that a broken stream has swallowed.
    fn is_unanswered(&self, step: &Step, now: f64, line: LineState, turns: &Turns) -> bool {
        let broke = line.streaming && line.streams != self.asked_on;
        let quiet_since = turns.last_voice_ms().unwrap_or_default().max(self.stream.1);
        self.script.repeats
            && broke
            && matches!(step.act, Some(Act::Say(_)))
            && !line.bot_speaking
            && !line.speaking
            && now - quiet_since >= PATIENCE_MS
    }

    /// Whether the step's expectations are settled, met or not.
    fn check(&mut self, step: &Step, now: f64, line: LineState, turns: &mut Turns) -> Checked {
        if step.expect_heard.is_empty() {
            return Checked::Settled;
        }
        if self.script.repeats && line.listening && matches!(step.act, Some(Act::Say(_))) {
            return self.check_patiently(step, now, line, turns);
        }
        if matches!(step.act, Some(Act::Say(_) | Act::Dtmf(_))) {
            match self.reply(step, now, turns) {
                Wait::Pending => return Checked::Pending,
                Wait::Met => {}
                Wait::TimedOut(what) => {
                    self.fail(&what);
                    return Checked::Settled;
                }
            }
        }
        if line.listening {
            let heard = turns.heard_words();
            for text in step.expect_heard.iter().filter(|text| !contains_words(&heard, text)) {
                self.fail(&format!("{text:?} was not heard, but {:?}", heard.join(" ")));
            }
        }
        Checked::Settled
    }

    /// Waits for the words themselves, whatever else is said before them and however often the stream breaks.
    fn check_patiently(&mut self, step: &Step, now: f64, line: LineState, turns: &mut Turns) -> Checked {
        turns.expect_reply();
        let heard = turns.heard_words();
        if step.expect_heard.iter().all(|text| contains_words(&heard, text)) {
            let until = turns.last_voice_ms().unwrap_or_default();
            if now - until < self.script.settle_ms as f64 {
                return Checked::Pending;
            }
            turns.settle();
            return Checked::Settled;
        }
        if self.is_unanswered(step, now, line, turns) {
            return Checked::Again;
        }
        if now - self.since_ms < step.within_ms as f64 {
            return Checked::Pending;
        }
        let wanted = step.expect_heard.join(", ");
        let within = step.within_ms;
        self.fail(&format!("{wanted:?} was not heard within {within} ms, but {:?}", heard.join(" ")));
        Checked::Settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKS: &str =
        "repeats = true\n[[step]]\nsay = \"what\"\nexpect_heard = [\"yes\"]\n[[step]]\nhang_up = true";

    fn on_stream(streams: usize) -> LineState {
        LineState { streaming: true, listening: true, streams, ..LineState::default() }
    }

    /// A caller who has asked at 1 s on the first stream, and waits.
    fn asked() -> (Player, Turns) {
        let (mut player, mut turns) = (Player::new(Arc::new(Script::parse(ASKS).unwrap())), Turns::default());
        turns.opened(0.0);
        let said = player.tick(0.0, on_stream(1), &mut turns);
        assert_eq!(said, Some(Do::Say("what".to_owned())));
        let speaking = LineState { speaking: true, ..on_stream(1) };
        assert_eq!(player.tick(500.0, speaking, &mut turns), None);
        turns.said(1_000.0);
        assert_eq!(player.tick(1_000.0, on_stream(1), &mut turns), None);
        (player, turns)
    }

    #[test]
    fn what_a_broken_stream_has_swallowed_is_said_again_after_a_silence() {
        let (mut player, mut turns) = asked();
        // However long it takes: as long as the stream is there, nothing is said twice.
        assert_eq!(player.tick(9_000.0, on_stream(1), &mut turns), None);
        assert_eq!(player.tick(10_000.0, on_stream(2), &mut turns), None);
        turns.played(11_000.0);
        assert_eq!(player.tick(13_000.0, on_stream(2), &mut turns), None);
        let again = player.tick(13_500.0, on_stream(2), &mut turns);
        assert_eq!(again, Some(Do::Say("what".to_owned())));
        assert_eq!(turns.into_turns().iter().filter(|turn| turn.said == "what").count(), 2);
    }

    #[test]
    fn an_answer_that_comes_over_the_next_stream_needs_no_second_question() {
        let (mut player, mut turns) = asked();
        assert_eq!(player.tick(2_000.0, on_stream(2), &mut turns), None);
        turns.received(160, 2_500.0);
        turns.played(2_500.0);
        turns.heard("Yes");
        assert_eq!(player.tick(3_000.0, on_stream(2), &mut turns), None);
        assert_eq!(player.tick(3_300.0, on_stream(2), &mut turns), Some(Do::HangUp));
        assert!(player.finish(EndKind::Caller).is_empty());
    }

    #[test]
    fn who_has_talked_enough_leaves_out_what_is_optional() {
        let script = "[[step]]\nsay = \"one\"\noptional = true\n[[step]]\nsay = \"two\"";
        for (enough, want) in [(false, "one"), (true, "two")] {
            let mut player = Player::new(Arc::new(Script::parse(script).unwrap()));
            let line = LineState { enough, ..on_stream(1) };
            let said = player.tick(0.0, line, &mut Turns::default());
            assert_eq!(said, Some(Do::Say(want.to_owned())));
        }
    }
}
