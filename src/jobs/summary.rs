//! The summary of a call, written right after its end.

use crate::db::{DbHandle, Write};
use crate::domain::ids::CallSid;
use crate::domain::turn::{Speaker, TurnRecord};
use crate::provider::llm::{ChatMessage, ChatModel, ChatRequest, ToolChoice};
use std::fmt::Write as _;
use std::time::Duration;

/// What the model is told.
const INSTRUCTIONS: &str = "You summarise phone calls for the staff of a business. In two or three sentences: who called, \
                            what they wanted, what was agreed, what is left to do. Plain text, no preamble.";
/// Attempts, and the wait before the second; doubles.
const ATTEMPTS: u32 = 3;
const WAIT: Duration = Duration::from_secs(2);

/// Writes the summary of a call that has ended. A call in which the caller said nothing needs none.
pub async fn write(db: DbHandle, model: std::rc::Rc<dyn ChatModel>, sid: CallSid) {
    let turns = match db.turns(sid.clone()).await {
        Ok(turns) => turns,
        Err(error) => {
            tracing::error!(call.id = %sid, %error, "turns not read for the summary");
            return;
        }
    };
    if !turns.iter().any(|t| t.speaker == Speaker::Caller) {
        return;
    }
    let request = request(&turns);
    for attempt in 0..ATTEMPTS {
        match model.complete(&request).await {
            Ok(done) if !done.text.trim().is_empty() => {
                let text = done.text.trim().to_owned();
                if let Err(error) = db.write(Write::Summary { sid: sid.clone(), text }).await {
                    tracing::error!(call.id = %sid, %error, "summary not stored");
                }
                return;
            }
            Ok(_) => {}
            Err(error) if !error.is_retryable() => {
                tracing::warn!(call.id = %sid, code = %error.code, "summary refused");
                return;
            }
            Err(error) => tracing::warn!(call.id = %sid, code = %error.code, attempt, "summary failed"),
        }
        tokio::time::sleep(WAIT * 2u32.pow(attempt)).await;
    }
    tracing::error!(call.id = %sid, "no summary");
}

fn request(turns: &[TurnRecord]) -> ChatRequest {
    let mut transcript = String::new();
    for turn in turns {
        let who = match turn.speaker {
            Speaker::Caller => "Caller",
            Speaker::Bot => "Receptionist",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(transcript, "{who}: {}", turn.heard);
    }
    ChatRequest {
        messages: vec![ChatMessage::System(INSTRUCTIONS.into()), ChatMessage::User(transcript)],
        tools: Vec::new(),
        tool_choice: ToolChoice::None,
    }
}
