//! What a call promises about the caller's words: each is in the transcript once, and reaches the model once.

use super::world::Database;
use crate::dialogue::rules;
use crate::domain::turn::{ResumeState, Speaker};
use crate::provider::llm::ChatMessage;
use std::collections::HashSet;

/// How long words may wait for a request while the bot speaks, ms.
const PATIENCE: u64 = 25_000;

/// What the caller has said, as far as the call has come to know it.
#[derive(Default)]
pub struct Promises {
    pub ended: u32,
    /// When the last owner left.
    pub left_at: Option<u64>,
    /// All words of all utterances, and when the call learned of them.
    words: Vec<(String, u64)>,
    /// How many of the words in the transcript have been in a request.
    asked: usize,
    /// Words that an owner had answered when it let go.
    answered: HashSet<String>,
    /// How many of them no later request can contain.
    forgotten: usize,
}

pub fn is_numbered(word: &str) -> bool {
    word.strip_prefix('w').is_some_and(|n| n.parse::<u32>().is_ok())
}

/// The caller's words in the transcript, without keys.
fn recorded(database: &Database) -> Vec<String> {
    let mut words = Vec::new();
    for turn in database.turns.values().filter(|t| t.speaker == Speaker::Caller) {
        let mut in_keys = false;
        for word in turn.said.split_whitespace() {
            in_keys |= word.starts_with('(');
            if !in_keys {
                words.push(word.to_owned());
            }
            in_keys &= !word.ends_with(')');
        }
    }
    words
}

fn said_by_bot(message: &ChatMessage) -> std::str::SplitWhitespace<'_> {
    match message {
        ChatMessage::Assistant { text, .. } => text.split_whitespace(),
        _ => "".split_whitespace(),
    }
}

impl Promises {
    pub fn utterance(&mut self, now: u64, text: &str) {
        for word in text.split_whitespace() {
            assert!(!is_numbered(word) || !self.has(word), "{word} was heard before");
            self.words.push((word.to_owned(), now));
        }
    }

    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|(w, _)| w == word)
    }

    /// Another owner has taken over: what the last one knew and had not written yet, because it died or came too
    /// late, is lost. A state handed on in good order brings it back.
    pub fn next_owner(&mut self, database: &Database) {
        self.words.truncate(recorded(database).len());
    }

    /// The next owner could not read what went before: what was asked until here is not asked again.
    pub fn forget(&mut self, database: &Database) {
        self.forgotten = recorded(database).iter().filter(|w| is_numbered(w)).count();
    }

    /// An owner lets go. A turn of the caller's that comes last in its state is not answered yet.
    pub fn answered(&mut self, state: &ResumeState) {
        let (last, before) = match state.turns.split_last() {
            Some((last, before)) => (Some(last), before),
            None => (None, &[][..]),
        };
        let last = last.filter(|turn| turn.speaker == Speaker::Bot);
        for turn in before.iter().chain(last).filter(|turn| turn.speaker == Speaker::Caller) {
            self.answered.extend(turn.said.split_whitespace().filter(|w| is_numbered(w)).map(str::to_owned));
        }
    }

    /// A turn is to be answered: none of it was answered by an owner that let go.
    pub fn check_answer(&self, text: &str) {
        for word in text.split_whitespace() {
            assert!(!self.answered.contains(word), "{word} is answered again");
        }
    }

    /// A request contains what the caller has said, from the beginning (or the digest's end) up to some turn, without
    /// a hole and without a repetition.
    pub fn check_request(&mut self, messages: &[ChatMessage], database: &Database) {
        if let Err(broken) = rules::check(messages) {
            panic!("a request breaks the rules: {broken}: {messages:?}");
        }
        let asked: Vec<String> = rules::user_words(messages).into_iter().filter(|w| is_numbered(w)).collect();
        let all: Vec<String> = recorded(database).into_iter().filter(|w| is_numbered(w)).collect();
        let Some(first) = asked.first() else { return };
        let Some(from) = all.iter().position(|w| w == first) else {
            panic!("{first} is asked, but not in the transcript");
        };
        assert!(
            all[from..].starts_with(&asked),
            "the model is asked {asked:?}, the caller said {:?}",
            &all[from..]
        );
        let digest =
            matches!(messages.first(), Some(ChatMessage::System(s)) if s.contains("Earlier in this call"));
        assert!(from <= self.forgotten || digest, "the model is not told {:?}", &all[..from]);
        self.asked = self.asked.max(from + asked.len());
        // A resumed call answers while it still says that it was cut off: there the order is open. And in later rounds
        // of an answer the model knows of words that are still being said.
        let first_round = matches!(messages.last(), Some(ChatMessage::User(_)));
        if first_round && !digest && database.epoch == 1 {
            let known: Vec<&str> = messages.iter().flat_map(said_by_bot).collect();
            let turns = database.turns.values().filter(|t| t.speaker == Speaker::Bot);
            let heard: Vec<&str> = turns.flat_map(|t| t.heard.split_whitespace()).collect();
            assert_eq!(known, heard, "what the model thinks it said against what was heard");
        }
    }

    pub fn check_transcript(&self, database: &Database) {
        let heard: Vec<&str> = self.words.iter().map(|(w, _)| w.as_str()).collect();
        let recorded = recorded(database);
        assert_eq!(recorded, heard, "the transcript against what was heard");
        let end = self.left_at.unwrap_or(u64::MAX);
        let numbered: Vec<&(String, u64)> = self.words.iter().filter(|(w, _)| is_numbered(w)).collect();
        for (word, at) in numbered.iter().skip(self.asked.max(self.forgotten)) {
            assert!(
                at + PATIENCE > end,
                "{word}, heard at {at}, never reached the model; the call left at {end}"
            );
        }
    }
}
