//! What the bot says next: history, prompt, sentences, tools, the tool loop. Pure.

pub mod tools;
