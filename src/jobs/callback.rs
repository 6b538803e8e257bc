//! The note for a call-back about a conversation that was not finished.

use crate::domain::call::EndReason;
use crate::domain::turn::{Speaker, TurnRecord};

/// Longest note, in characters.
const CHARS: usize = 800;

/// Says why somebody should be rung back, and what they had said.
pub fn note(reason: Option<EndReason>, turns: &[TurnRecord]) -> String {
    let why = match reason {
        Some(EndReason::Apology) => "The receptionist could not go on and apologised.",
        Some(EndReason::Lost) => "The connection broke off in the middle of the conversation.",
        Some(EndReason::Shutdown) => "The server was stopped in the middle of the conversation.",
        _ => "Something was left to do when the call ended.",
    };
    let said: Vec<&str> = turns
        .iter()
        .filter(|turn| turn.speaker == Speaker::Caller)
        .map(|turn| turn.heard.trim())
        .filter(|text| !text.is_empty())
        .collect();
    if said.is_empty() {
        return format!("{why} The caller had not said anything yet.");
    }
    let said = said.join(" / ");
    let chars = said.chars().count();
    let room = CHARS.saturating_sub(why.chars().count());
    if chars <= room {
        return format!("{why} The caller said: {said}");
    }
    // What they wanted is at the beginning.
    let kept: String = said.chars().take(room).collect();
    format!("{why} The caller said: {kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::turn::StageLatencies;

    fn turn(n: u32, speaker: Speaker, text: &str) -> TurnRecord {
        TurnRecord {
            n,
            speaker,
            said: text.into(),
            heard: text.into(),
            interrupted: false,
            at_ms: 0,
            latency: StageLatencies::default(),
        }
    }

    #[test]
    fn a_note_says_why_and_what_the_caller_had_said() {
        let turns = [
            turn(1, Speaker::Bot, "Hello."),
            turn(2, Speaker::Caller, " A haircut, please. "),
            turn(3, Speaker::Bot, "When?"),
            turn(4, Speaker::Caller, "Tomorrow."),
        ];
        assert_eq!(
            note(Some(EndReason::Lost), &turns),
            "The connection broke off in the middle of the conversation. The caller said: A haircut, please. / Tomorrow."
        );
        assert!(note(Some(EndReason::Apology), &turns[..1]).ends_with("had not said anything yet."));
        assert!(note(None, &turns).starts_with("Something was left to do"));
    }

    #[test]
    fn a_note_stays_short_however_much_was_said() {
        let note = note(Some(EndReason::Lost), &[turn(1, Speaker::Caller, &"ä ".repeat(5_000))]);
        assert!(note.chars().count() < CHARS + 40 && note.ends_with('…'), "{note}");
    }
}
