//! The words in which the dialogue speaks with a model: the one door through which they come into this folder.

pub use crate::provider::llm::{ChatMessage, ToolCall, ToolSpec};
