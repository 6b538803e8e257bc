//! What a call uses of what has a price.

use super::call::words;
use serde::{Deserialize, Serialize};

words!(
    /// What is used, each in its own unit.
    Item {
        /// Audio sent to the recogniser, ms.
        SttMs = "stt_ms",
        /// Tokens sent to a language model.
        LlmInput = "llm_input_tokens",
        /// Tokens a language model wrote.
        LlmOutput = "llm_output_tokens",
        /// Characters sent to a voice.
        TtsChars = "tts_chars",
        /// Time on the telephone network, ms.
        CarrierMs = "carrier_ms",
    }
);

/// So much of an item, of one model or vendor, and its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// What.
    pub item: Item,
    /// Whose: a model's or vendor's name; may be empty.
    pub model: String,
    /// How much, in the item's unit.
    pub amount: u64,
    /// Its price, in millionths of the price table's currency.
    pub micros: i64,
}
