//! One reply of the bot, from its first sentence to the mark of its last.

use super::messages::NextStep;
use super::playback::join_words;
use crate::domain::call::EndReason;
use crate::domain::ids::ReplyId;
use crate::domain::time::CallTime;
use crate::domain::turn::{Speaker, StageLatencies, TurnRecord};

/// What kind of reply it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to a turn of the caller's.
    Answer,
    /// Greeting, notice, prompt, apology, goodbye: said of the bot's own accord, kept in the history.
    Own,
    /// A greeting for this caller alone: like the bot's own lines, but its audio is not kept.
    Named,
    /// A sentence of the staff's, in the bot's voice and name; kept in the history, its audio is not.
    Staff,
    /// Something to bridge a wait; not part of the conversation.
    Filler,
}

/// What follows once it was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// The caller's turn.
    Listen,
    /// The stream is closed.
    Leave {
        /// What Twilio does next.
        next: NextStep,
        /// Why the call ends, if it does.
        reason: Option<EndReason>,
    },
}

/// A reply on its way.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its number.
    pub id: ReplyId,
    /// What kind it is.
    pub kind: Kind,
    /// Its sentences so far.
    pub handed: Vec<String>,
    /// How many of them were given to the voice there is now.
    pub given: usize,
    /// How many of them the voice has delivered.
    pub voiced: usize,
    /// No further sentence comes.
    pub closed: bool,
    /// What is left of the sentence in progress, where a voice broke it off and another one is to go on.
    pub rest: Option<(u32, String)>,
    /// The words heard so far.
    pub heard: String,
    /// Whether any audio of it was sent.
    pub sent: bool,
    /// Whether the caller may interrupt it.
    pub interruptible: bool,
    /// Whether its words recur and their audio is worth keeping.
    pub cache: bool,
    /// The mind that made it is gone; the next one knows nothing of it.
    pub orphan: bool,
    /// What follows.
    pub after: After,
    /// When it was begun.
    pub since: CallTime,
    /// Its number in the transcript, once it has one.
    pub n: Option<u32>,
    /// How long its stages took.
    pub latency: StageLatencies,
}

impl Reply {
    /// A reply without a sentence yet.
    pub fn new(id: ReplyId, kind: Kind, since: CallTime) -> Self {
        Self {
            id,
            kind,
            handed: Vec::new(),
            given: 0,
            voiced: 0,
            closed: false,
            rest: None,
            heard: String::new(),
            sent: false,
            interruptible: true,
            cache: false,
            orphan: false,
            after: After::Listen,
            since,
            n: None,
            latency: StageLatencies::default(),
        }
    }

    /// Milliseconds since it was begun, as the latencies keep them.
    pub fn elapsed(&self, at: CallTime) -> Option<u32> {
        u32::try_from(at.since(self.since).as_millis()).ok()
    }

    /// Adds words that were heard.
    pub fn hear(&mut self, words: &str) {
        join_words(&mut self.heard, words);
    }

    /// Its row of the transcript.
    pub fn record(&self, n: u32, interrupted: bool) -> TurnRecord {
        TurnRecord {
            n,
            speaker: Speaker::Bot,
            said: self.handed.join(" "),
            heard: self.heard.clone(),
            interrupted,
            at_ms: self.since.as_millis(),
            latency: self.latency,
        }
    }
}
