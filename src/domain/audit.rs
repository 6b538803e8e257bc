//! The append-only audit trail of a call.

use super::call::EndReason;
use serde::{Deserialize, Serialize};

/// Every code that a row can have, with its meaning. What is not listed here is not written: `tests/architecture` compares
/// this table with the sources.
pub const CODES: &[(&str, &str)] = &[
    // How the call stands.
    ("call.placed", "we ring somebody"),
    ("call.admitted", "it was let in, and its stream is awaited"),
    ("call.refused", "it was not let in: as much is spent as may be"),
    ("call.started", "a stream is there, and with it an owner of the call"),
    ("call.let_go", "its owner leaves it to another process; `at_pause`: nobody was interrupted"),
    ("call.suspended", "its stream broke; `breaks` counts them"),
    ("call.taken_over", "another process had it and has left it open, or does not answer for it"),
    ("call.moved", "another replica had it and has handed it over; `from`"),
    (
        "call.vouched",
        "neither the database nor another replica could be asked: its stream was taken on its token alone",
    ),
    ("call.reserved", "its next stream is awaited"),
    ("call.resumed", "the conversation goes on over another stream"),
    ("call.leaving", "we closed the stream; `next` comes when Twilio asks"),
    ("call.dialling", "a person is rung; `to` is their number"),
    ("call.transferred", "the person spoke to the caller"),
    ("call.transfer_failed", "the person did not answer"),
    ("call.ending", "it was ended from outside, and its owner is asked to leave"),
    ("call.ended", "it is over; `reason`"),
    // What was said. The words lie in the turns, where they can be masked and erased.
    ("caller.said", "the caller began a `turn`"),
    ("bot.said", "the bot was heard for the first time in a `turn`"),
    ("call.barge_in", "the caller interrupted the bot"),
    ("call.digit", "the caller pressed a key"),
    // What the bot decided.
    ("llm.answered", "the model's answer is complete"),
    ("tool.started", "a tool runs; `arguments`"),
    ("tool.finished", "it is done; `arguments` and `result`"),
    ("tool.refused", "what the model asked for cannot be run"),
    ("tool.timeout", "it takes too long, and the conversation goes on without it"),
    ("tool.late", "it is done after that; `result`"),
    // Failures and what stood in for whatever failed.
    ("llm.request_failed", "the model's host failed"),
    ("llm.empty", "the model answered nothing"),
    ("llm.fallback", "the other model is asked"),
    ("llm.failed", "no model answered"),
    ("tts.failed", "the voice's vendor failed"),
    ("tts.fallback", "the other voice speaks on"),
    ("tts.lost", "no voice spoke"),
    ("stt.interrupted", "the recogniser is away for a moment"),
    ("stt.reconnecting", "the recogniser is connected anew"),
    ("stt.reconnected", "it is there again"),
    ("stt.warning", "the recogniser has an objection"),
    ("stt.audio_dropped", "some of what the caller said was not heard"),
    ("stt.lost", "no recogniser can be had"),
    ("stt.gone", "the ear cannot be kept alive"),
    ("dialogue.gone", "the mind cannot be kept alive"),
    ("child.down", "a part of the call died and is started again"),
    ("turn.too_slow", "the caller waited too long for an answer"),
    ("call.spend_cap", "as much is spent as may be"),
    ("call.leave_overdue", "the last words were not heard in time"),
    ("playback.mark_late", "Twilio did not say in time that something was played"),
    // The recording.
    ("recording.started", "both sides are recorded"),
    ("recording.stopped", "the recording is complete, or nothing could be kept; `state`"),
    ("card.masked", "a card's number was masked in the transcript and silenced in the recording"),
    // The staff.
    ("staff.say", "staff had the bot say something"),
    ("staff.muted", "staff silenced the bot"),
    ("staff.unmuted", "the bot may speak again"),
    ("staff.transfer", "staff put the caller through; `to`"),
    ("staff.end", "staff ended the call"),
    // Not of a real call.
    ("call.seeded", "sample data"),
];

/// One row of a call's audit trail. `code` is stable and is the same word in logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Dotted lower-case code, `subject.what_happened` (`tts.fallback`, `tool.finished`); one of [`CODES`].
    pub code: String,
    /// What there is to know, as a JSON object; never a key, never audio.
    pub detail: serde_json::Value,
}

impl AuditEvent {
    /// An event with its details.
    pub fn new(code: &str, detail: serde_json::Value) -> Self {
        Self { code: code.to_owned(), detail }
    }

    /// That a call is over.
    pub fn ended(reason: EndReason) -> Self {
        Self::new("call.ended", serde_json::json!({ "reason": reason }))
    }
}
