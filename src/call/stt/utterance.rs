//! Utterances out of transcripts (`deepgram.md` section 5), as a pure machine.
//!
//! An utterance is every settled transcript since the last commit, joined. What ends it is a pause the vendor
//! detected, our own flush, a word gap, our own deadline, or the end of the connection: any of them may fail to come.
//! All times are seconds of the caller's audio since the stream's first byte, whatever connection carried it.

use crate::config::call::CallConfig;
use crate::config::stt::SttConfig;
use crate::domain::card::{Group, digit_groups};
use crate::domain::time::CallTime;
use crate::provider::stt::{SttMessage, SttWord};
use std::time::Duration;

/// Added to the vendor's word gap for our own deadline, ms.
const DEADLINE_MARGIN_MS: u64 = 500;
/// How long the answer to a flush is waited for, ms.
const FINALIZE_WAIT_MS: u64 = 400;
/// Word times closer than this are the same time, s: less than a tenth of the shortest word.
const SAME_TIME: f64 = 0.01;

/// How utterances are assembled.
#[derive(Clone, Debug)]
pub struct AssemblySettings {
    /// Without a further result this long after the last one, what is there is committed.
    pub deadline: Duration,
    /// How long the answer to a flush is waited for.
    pub finalize_wait: Duration,
    /// Without a further word this long after the last new one, what is there is committed whatever comes.
    pub hard_stop: Duration,
    /// What stands between joined transcripts: nothing in languages written without spaces.
    pub separator: &'static str,
}

impl AssemblySettings {
    /// The settings a configuration implies.
    pub fn new(stt: &SttConfig, call: &CallConfig) -> Self {
        let language = stt.language.get(..2).unwrap_or("");
        let spaceless = ["zh", "ja", "th"].iter().any(|l| language.eq_ignore_ascii_case(l));
        Self {
            deadline: Duration::from_millis(
                u64::from(stt.utterance_end_ms).saturating_add(DEADLINE_MARGIN_MS),
            ),
            finalize_wait: Duration::from_millis(FINALIZE_WAIT_MS),
            hard_stop: Duration::from_millis(call.hard_turn_stop_ms),
            separator: if spaceless { "" } else { " " },
        }
    }
}

/// Why an utterance was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The vendor detected a pause.
    SpeechFinal,
    /// The vendor answered our flush.
    FromFinalize,
    /// The vendor saw a word gap.
    UtteranceEnd,
    /// Our own deadline passed, or the answer to a flush did not come.
    Deadline,
    /// No new word for so long that the turn ends whatever else comes.
    HardStop,
    /// The connection ended.
    Close,
    /// The call's audio ended.
    End,
}

/// What comes out of the assembly.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The utterance so far; never empty.
    Partial(String),
    /// A complete utterance; never empty.
    Utterance {
        /// Its words.
        text: String,
        /// Where its last word ends, s of audio, if the vendor told.
        last_word_end: Option<f64>,
        /// What ended it.
        by: Commit,
    },
    /// The digits of the utterance that comes next, with their times in s of audio.
    Digits(Vec<SttWord>),
    /// The vendor is to be asked to settle what it has.
    Finalize,
}

/// A transcript without what was given out already.
#[derive(Clone, Debug, Default)]
struct Piece {
    text: String,
    words: Vec<SttWord>,
    /// End of its span, s.
    end: f64,
}

impl Piece {
    fn last_word_end(&self) -> Option<f64> {
        self.words.last().map(|word| word.end)
    }
}

/// The assembly of one caller's utterances.
#[derive(Debug)]
pub struct Assembler {
    settings: AssemblySettings,
    finals: Vec<Piece>,
    interim: Option<Piece>,
    /// What earlier connections guessed and this one has not heard yet: it comes again or is taken as it is.
    orphan: Option<Piece>,
    /// Guesses up to here were given out as words, s.
    promoted_until: f64,
    /// The words given out as guesses last, to recognise them in a transcript without times.
    promoted_words: Vec<String>,
    last_partial: String,
    /// Most words the open utterance has had.
    most_words: usize,
    deadline: Option<CallTime>,
    hard_stop: Option<CallTime>,
    /// Until when the answer to a flush is waited for, and what asked for the flush.
    waiting: Option<(CallTime, Commit)>,
}

impl Assembler {
    /// An assembly that has heard nothing yet.
    pub fn new(settings: AssemblySettings) -> Self {
        Self {
            settings,
            finals: Vec::new(),
            interim: None,
            orphan: None,
            promoted_until: 0.0,
            promoted_words: Vec::new(),
            last_partial: String::new(),
            most_words: 0,
            deadline: None,
            hard_stop: None,
            waiting: None,
        }
    }

    /// Takes a message whose times are seconds of the stream.
    pub fn message(&mut self, now: CallTime, message: SttMessage, out: &mut Vec<Step>) {
        match message {
            SttMessage::Results {
                start,
                duration,
                is_final,
                speech_final,
                from_finalize,
                transcript,
                words,
            } => {
                let piece = self.fresh(start, start + duration, transcript, words);
                if !is_final {
                    if !piece.text.is_empty() {
                        self.guess(now, piece, out);
                    }
                    return;
                }
                self.interim = None;
                self.heard_again(start + duration);
                let filled = !piece.text.is_empty();
                if filled {
                    self.finals.push(piece);
                    self.refresh(now);
                }
                if speech_final {
                    self.commit(Commit::SpeechFinal, out);
                } else if from_finalize {
                    self.commit(Commit::FromFinalize, out);
                } else if filled {
                    self.partial(out);
                }
            }
            SttMessage::UtteranceEnd { last_word_end } => self.gap(now, last_word_end, out),
            SttMessage::SpeechStarted { .. } | SttMessage::Warning { .. } => {}
        }
    }

    /// Whether there are words that are not given out yet.
    pub fn is_open(&self) -> bool {
        !self.finals.is_empty() || self.interim.is_some() || self.orphan.is_some()
    }

    /// Does what is due by `now`.
    pub fn timer(&mut self, now: CallTime, out: &mut Vec<Step>) {
        if self.hard_stop.is_some_and(|at| at <= now) {
            self.promote();
            self.commit(Commit::HardStop, out);
        } else if let Some((_, by)) = self.waiting.filter(|(at, _)| *at <= now) {
            self.promote();
            self.commit(by, out);
        } else if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.settle(now, Commit::Deadline, out);
        }
    }

    /// When `timer` is to be called next.
    pub fn next_deadline(&self) -> Option<CallTime> {
        let wait = self.waiting.map(|(at, _)| at);
        // While an answer is waited for, the ordinary deadline has nothing to add.
        let soft = wait.or(self.deadline);
        [soft, self.hard_stop].into_iter().flatten().min()
    }

    /// Flushes at our own wish: what is there is committed when the vendor answers, or shortly after.
    pub fn finalize(&mut self, now: CallTime, out: &mut Vec<Step>) {
        out.push(Step::Finalize);
        self.waiting = Some((now.after(self.settings.finalize_wait), Commit::Deadline));
    }

    /// The connection ended: settled words are committed, a guess is kept until its audio was heard again.
    pub fn closed(&mut self, out: &mut Vec<Step>) {
        let guess = self.interim.take();
        self.commit(Commit::Close, out);
        self.orphan = self.with_orphan(guess);
    }

    /// A new connection hears the audio again from `from` on: guessed words before it can only be taken as they are.
    pub fn reopened(&mut self, now: CallTime, from: f64) {
        let Some(mut gone) = self.orphan.take() else { return };
        if gone.words.is_empty() {
            if gone.end > from {
                self.orphan = Some(gone);
                return;
            }
        } else {
            let (before, after) = gone.words.into_iter().partition(|word| middle(word) < from);
            self.orphan = self.piece_of(after, gone.end);
            let Some(before) = self.piece_of(before, from) else { return };
            gone = before;
        }
        self.remember(&gone);
        self.finals.push(gone);
        self.refresh(now);
    }

    /// The audio ended: everything is committed, guesses too.
    pub fn end(&mut self, out: &mut Vec<Step>) {
        let guess = self.interim.take();
        self.interim = self.with_orphan(guess);
        self.promote();
        self.commit(Commit::End, out);
    }

    /// A guess, and after it what the last connection guessed and this one has not reached.
    fn with_orphan(&mut self, guess: Option<Piece>) -> Option<Piece> {
        let Some(mut guess) = guess else { return self.orphan.take() };
        self.heard_again(guess.last_word_end().unwrap_or(guess.end));
        if let Some(orphan) = self.orphan.take() {
            guess.text = self.join([guess.text.as_str(), orphan.text.as_str()].into_iter());
            guess.words.extend(orphan.words);
            guess.end = guess.end.max(orphan.end);
        }
        Some(guess)
    }

    /// What an earlier connection guessed up to `until` is of no use any more.
    fn heard_again(&mut self, until: f64) {
        let Some(orphan) = self.orphan.take() else { return };
        self.orphan = if orphan.words.is_empty() {
            Some(orphan).filter(|orphan| orphan.end > until)
        } else {
            let words = orphan.words.into_iter().filter(|word| middle(word) > until).collect();
            self.piece_of(words, orphan.end)
        };
    }

    fn piece_of(&self, words: Vec<SttWord>, end: f64) -> Option<Piece> {
        let text = self.join(words.iter().map(|word| word.text.as_str()));
        (!text.is_empty()).then_some(Piece { text, words, end })
    }

    /// What of a transcript was not given out yet.
    fn fresh(&self, start: f64, end: f64, text: String, words: Vec<SttWord>) -> Piece {
        let text = text.trim().to_owned();
        if text.is_empty() || start >= self.promoted_until {
            return Piece { text, words, end };
        }
        if words.is_empty() {
            let text = if end <= self.promoted_until { String::new() } else { self.without_promoted(text) };
            return Piece { text, words, end };
        }
        let known = words.len();
        let words: Vec<_> = words.into_iter().filter(|word| middle(word) > self.promoted_until).collect();
        let text = if words.len() == known { text } else { self.join(words.iter().map(|w| w.text.as_str())) };
        Piece { text, words, end }
    }

    /// A transcript without times, less the words given out last if it begins with them.
    fn without_promoted(&self, text: String) -> String {
        let mut words = text.split_whitespace();
        for promoted in &self.promoted_words {
            if words.next().map(plain).as_ref() != Some(promoted) {
                return text;
            }
        }
        words.collect::<Vec<_>>().join(" ")
    }

    fn guess(&mut self, now: CallTime, piece: Piece, out: &mut Vec<Step>) {
        // Further words: the caller goes on, so the flush that was under way ends nothing.
        let goes_on = piece.last_word_end().is_some_and(|end| {
            self.interim
                .as_ref()
                .and_then(Piece::last_word_end)
                .or_else(|| self.finals.last().and_then(Piece::last_word_end))
                .is_none_or(|before| end > before + SAME_TIME)
        });
        if goes_on {
            self.waiting = None;
        }
        self.interim = Some(piece);
        self.refresh(now);
        self.partial(out);
    }

    /// A result with words came: deadlines begin anew; the hard one only if a word is new.
    fn refresh(&mut self, now: CallTime) {
        self.deadline = Some(now.after(self.settings.deadline));
        let pieces = self.finals.iter().chain(&self.interim);
        let words = pieces.map(|piece| piece.text.split_whitespace().count()).sum();
        if words > self.most_words || self.hard_stop.is_none() {
            self.most_words = words;
            self.hard_stop = Some(now.after(self.settings.hard_stop));
        }
    }

    fn gap(&mut self, now: CallTime, last_word_end: Option<f64>, out: &mut Vec<Step>) {
        let newest = self.interim.as_ref().and_then(Piece::last_word_end);
        let stale = newest.zip(last_word_end).is_some_and(|(newest, reported)| newest > reported + SAME_TIME);
        if !stale {
            self.settle(now, Commit::UtteranceEnd, out);
        }
    }

    /// Commits what is settled; asks first where there is a guess.
    fn settle(&mut self, now: CallTime, by: Commit, out: &mut Vec<Step>) {
        if self.interim.is_none() {
            self.commit(by, out);
        } else if self.waiting.is_none() {
            out.push(Step::Finalize);
            self.waiting = Some((now.after(self.settings.finalize_wait), by));
        }
    }

    /// Takes the guess as words.
    fn promote(&mut self) {
        if let Some(piece) = self.interim.take() {
            self.remember(&piece);
            self.finals.push(piece);
        }
    }

    fn remember(&mut self, piece: &Piece) {
        let until = piece.last_word_end().unwrap_or(piece.end);
        self.promoted_until = self.promoted_until.max(until);
        self.heard_again(until);
        self.promoted_words = piece.text.split_whitespace().map(plain).collect();
    }

    fn commit(&mut self, by: Commit, out: &mut Vec<Step>) {
        self.deadline = None;
        self.hard_stop = None;
        self.waiting = None;
        self.most_words = 0;
        self.last_partial.clear();
        let finals = std::mem::take(&mut self.finals);
        let text = self.join(finals.iter().map(|piece| piece.text.as_str()));
        if !text.is_empty() {
            let digits = digits_in(finals.iter().flat_map(|piece| &piece.words));
            if !digits.is_empty() {
                out.push(Step::Digits(digits));
            }
            let last_word_end = finals.iter().filter_map(Piece::last_word_end).reduce(f64::max);
            out.push(Step::Utterance { text, last_word_end, by });
        }
    }

    fn partial(&mut self, out: &mut Vec<Step>) {
        let text = self.join(self.finals.iter().chain(&self.interim).map(|piece| piece.text.as_str()));
        if !text.is_empty() && text != self.last_partial {
            self.last_partial.clone_from(&text);
            out.push(Step::Partial(text));
        }
    }

    fn join<'a>(&self, texts: impl Iterator<Item = &'a str>) -> String {
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(self.settings.separator)
    }
}

/// The words that are digits, as digits.
fn digits_in<'a>(words: impl Iterator<Item = &'a SttWord>) -> Vec<SttWord> {
    let words: Vec<&SttWord> = words.collect();
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let timed = |group: Group| {
        let (first, last) = (words.get(group.words.start)?, words.get(group.words.end.checked_sub(1)?)?);
        Some(SttWord { text: group.digits, start: first.start, end: last.end })
    };
    digit_groups(&texts).into_iter().filter_map(timed).collect()
}

fn middle(word: &SttWord) -> f64 {
    f64::midpoint(word.start, word.end)
}

/// A word as it compares: without case and punctuation.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
