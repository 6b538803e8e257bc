//! Turns as they are recorded: what was said, what was heard, and how long each stage took.

use super::call::Outcome;
use serde::{Deserialize, Serialize};

/// Who spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// The person on the line.
    Caller,
    /// The receptionist.
    Bot,
}

impl Speaker {
    /// The word as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Bot => "bot",
        }
    }

    /// The value a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "caller" => Some(Self::Caller),
            "bot" => Some(Self::Bot),
            _ => None,
        }
    }
}

/// Milliseconds each stage of one answer took; a stage that did not happen is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StageLatencies {
    /// From the end of the last word (as the recogniser timed it) to the decision that the turn is over.
    pub end_of_turn_ms: Option<u32>,
    /// From that decision to the model's first token.
    pub first_token_ms: Option<u32>,
    /// From that decision to the first sentence handed to the voice.
    pub first_sentence_ms: Option<u32>,
    /// From that decision to the first byte of the voice.
    pub first_audio_ms: Option<u32>,
    /// From that decision to the first audio frame put on Twilio's socket.
    pub first_sent_ms: Option<u32>,
}

/// One entry of the transcript. `n` is unique within a call and rises in the order of the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// Position in the call, from 1.
    pub n: u32,
    /// Who spoke.
    pub speaker: Speaker,
    /// What was said; for the bot, what was generated and handed to the voice.
    pub said: String,
    /// For the bot: the part the caller heard. For the caller: the same as `said`.
    pub heard: String,
    /// Whether the caller cut it short.
    pub interrupted: bool,
    /// When it began, in milliseconds since the call's start.
    pub at_ms: u64,
    /// How long the answer took to come; for the bot's turns.
    pub latency: StageLatencies,
}

/// Digits the caller said in one breath, or pressed as one key, and when: perhaps a part of a card number.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedDigits {
    /// The digits.
    pub digits: String,
    /// When they began, in milliseconds since the call's start.
    pub from_ms: u64,
    /// When they were over, in milliseconds since the call's start.
    pub to_ms: u64,
}

/// Shows how many they are only.
impl std::fmt::Debug for TimedDigits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} digits]", self.digits.len())
    }
}

/// How an owner of a call came to leave it to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parting {
    /// Something broke.
    #[default]
    Broke,
    /// It let go in a pause: nobody was interrupted.
    AtPause,
    /// It let go in the middle of something, because no pause came in time.
    Midway,
}

/// What a conversation needs to go on in a new actor, a new process or another replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeState {
    /// The last turns, oldest first (bounded).
    pub turns: Vec<TurnRecord>,
    /// A digest of what came before them, if anything did.
    pub summary: Option<String>,
    /// What was achieved so far.
    pub outcome: Outcome,
    /// Facts that tools established (the booked appointment, the caller's name), one line each, for the model.
    pub facts: Vec<String>,
    /// Milliseconds of call that went before.
    pub elapsed_ms: u64,
    /// How often the stream broke.
    pub breaks: u32,
    /// Whether the caller was told that the call is recorded.
    #[serde(default)]
    pub notified: bool,
    /// Whether staff want the bot silent.
    #[serde(default)]
    pub muted: bool,
    /// The last digits that were recorded: should they become a card number, they are silenced.
    #[serde(default)]
    pub digits: Vec<TimedDigits>,
    /// How the last owner came to leave.
    #[serde(default)]
    pub parting: Parting,
    /// How often a silent caller was asked whether they are there, since they last spoke.
    #[serde(default)]
    pub idle_prompts: u32,
}
