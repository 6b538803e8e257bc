//! What the bot says next: history, prompt, sentences, tools, the tool loop. Pure.

pub mod chat;
pub mod history;
pub mod phrases;
pub mod prompt;
#[cfg(test)]
pub(crate) mod rules;
pub mod schema;
pub mod sentences;
pub mod tool_loop;
pub mod tools;
