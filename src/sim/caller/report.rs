//! What became of a call.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::turns::{Turn, TurnKind};
use crate::sim::script::EndKind;

/// Violations kept word by word.
const KEPT: usize = 100;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum EndCause {
    /// The caller hung up.
    CallerHungUp,
    /// The server hung up, by `<Hangup>`, the end of a document or the REST API.
    Hangup,
    /// The caller was put through to a person, and that conversation is over.
    Dialled,
    /// `<Reject>`, with its reason.
    Rejected(String),
    /// Twilio's "application error", with the cause.
    Failed(String),
}

impl EndCause {
    /// As scripts tell ends apart.
    #[must_use]
    pub const fn kind(&self) -> EndKind {
        match self {
            Self::CallerHungUp => EndKind::Caller,
            Self::Hangup => EndKind::Hangup,
            Self::Dialled => EndKind::Dial,
            Self::Rejected(_) => EndKind::Rejected,
            Self::Failed(_) => EndKind::Failed,
        }
    }

    /// The terminal `CallStatus`.
    #[must_use]
    pub fn call_status(&self) -> &'static str {
        match self {
            Self::CallerHungUp | Self::Hangup | Self::Dialled => "completed",
            Self::Rejected(reason) if reason == "busy" => "busy",
            Self::Rejected(_) => "no-answer",
            Self::Failed(_) => "failed",
        }
    }
}

/// Rules of Twilio's that the server broke.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// How many in all.
    pub count: u64,
    /// The first hundred.
    pub first: Vec<String>,
}

impl Violations {
    /// Notes one.
    pub fn add(&mut self, what: impl Into<String>) {
        self.count += 1;
        if self.first.len() < KEPT {
            self.first.push(what.into());
        }
    }
}

/// A word the caller heard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heard {
    /// When its last sample was played, in milliseconds since the call began.
    pub at_ms: f64,
    /// The word.
    pub word: String,
}

/// A request of Twilio's to the server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebhookReport {
    /// When it was sent, in milliseconds since the call began.
    pub at_ms: f64,
    /// Path and query.
    pub path: String,
    /// HTTP status of the last attempt; 0 if none came.
    pub status: u16,
    /// Milliseconds until the whole answer was there, retries included.
    pub took_ms: f64,
    /// Attempts made.
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<String>,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum StreamEnd {
    /// The server closed it, with its close code if it gave one.
    Closed(Option<u16>),
    /// The connection broke without a close frame.
    Broken,
    /// It never started.
    NotConnected(String),
    /// The script broke it.
    Dropped,
    /// Twilio stopped it: the caller hung up or the REST API took the call elsewhere.
    Stopped,
}

/// A stream of the call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamReport {
    /// `MZ…`.
    pub sid: String,
    /// When its connection was asked for, in milliseconds since the call began.
    pub at_ms: f64,
    /// Milliseconds until the WebSocket was open.
    pub handshake_ms: f64,
    /// When `start` was sent, in milliseconds since the call began, if it came to that.
    pub up_ms: Option<f64>,
    /// When it was over, in milliseconds since the call began.
    pub ended_ms: f64,
    /// Which server took it, where a balancer tells (`x-served-by`).
    pub served_by: Option<String>,
    /// Milliseconds from `start` to the first voice received.
    pub first_voice_ms: Option<f64>,
    /// Seconds of audio sent to the server.
    pub sent_s: f64,
    /// `media` messages received.
    pub media: u64,
    /// Seconds of audio received.
    pub received_s: f64,
    /// Marks received.
    pub marks: u64,
    /// Clears received.
    pub clears: u64,
    /// Milliseconds of audio still unplayed at the end.
    pub unplayed_ms: u64,
    /// How it ended.
    pub end: StreamEnd,
}

/// A person dialled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DialReport {
    /// Whom.
    pub numbers: Vec<String>,
    /// `DialCallStatus`.
    pub status: String,
}

/// How late the simulator's own 20 ms ticks were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LagReport {
    /// Ticks measured.
    pub ticks: u64,
    /// Median, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, in milliseconds.
    pub p99_ms: f64,
    /// The latest, in milliseconds.
    pub max_ms: f64,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallReport {
    /// The script's name.
    pub script: String,
    /// `CA…`.
    pub call_sid: String,
    /// Caller.
    pub from: String,
    /// Called.
    pub to: String,
    /// Milliseconds from the first request to the end.
    pub duration_ms: f64,
    /// How it ended.
    pub end: EndCause,
    /// The turns.
    pub turns: Vec<Turn>,
    /// Every word of the bot that was played whole.
    pub heard: Vec<Heard>,
    /// Texts spoken by `<Say>`.
    pub said_by_twilio: Vec<String>,
    /// Requests.
    pub webhooks: Vec<WebhookReport>,
    /// Streams.
    pub streams: Vec<StreamReport>,
    /// Persons dialled.
    pub dials: Vec<DialReport>,
    /// Replies that the caller waited for.
    pub replies_expected: usize,
    /// Those of them that came.
    pub replies_delivered: usize,
    /// Longest time without the bot's voice while the caller waited, in milliseconds.
    pub longest_wait_ms: f64,
    /// Rules of Twilio's that the server broke.
    pub violations: Violations,
    /// Expectations of the script that were not met.
    pub failures: Vec<String>,
    /// How late the simulator itself was.
    pub lag: LagReport,
}

impl CallReport {
    /// Whether all expectations were met and no rule was broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
            && self.violations.count == 0
            && self.replies_delivered == self.replies_expected
            && self.turns.iter().all(|turn| turn.voice_after_clear_bytes == 0)
    }

    /// All the words heard, in one line.
    #[must_use]
    pub fn heard_text(&self) -> String {
        self.heard.iter().map(|heard| heard.word.as_str()).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.script.is_empty() { "call" } else { &self.script };
        writeln!(f, "{name}: {} from {} to {}", self.call_sid, self.from, self.to)?;
        for turn in &self.turns {
            let who = match turn.kind {
                TurnKind::Greeting => "(greeting)".to_owned(),
                TurnKind::Spoken => format!("caller: {}", turn.said),
                TurnKind::Keys => format!("caller presses {}", turn.said),
                TurnKind::Dropped => "(the stream broke)".to_owned(),
                TurnKind::Dialled => format!("(dialled {})", turn.said),
            };
            writeln!(f, "{:>8.1} s  {who}", turn.from_ms / 1_000.0)?;
            if turn.interrupts {
                let clear = turn.barge_in_ms().map_or("never".to_owned(), |ms| format!("after {ms:.0} ms"));
                writeln!(f, "            spoke over the bot; cleared {clear}")?;
            }
            if turn.voice_after_clear_bytes > 0 {
                let bytes = turn.voice_after_clear_bytes;
                writeln!(f, "            {bytes} bytes of the old reply came after the clear")?;
            }
            match (turn.latency_ms(), turn.reply_expected) {
                (Some(ms), _) => {
                    let mut line = format!("            bot after {ms:.0} ms");
                    if !turn.heard.is_empty() {
                        let _ = write!(line, ": {}", turn.heard.join(" "));
                    }
                    writeln!(f, "{line}")?;
                }
                (None, true) => writeln!(f, "            NO REPLY")?,
                (None, false) => {}
            }
        }
        for text in &self.said_by_twilio {
            writeln!(f, "            <Say>: {text}")?;
        }
        for dial in &self.dials {
            writeln!(f, "            dialled {}: {}", dial.numbers.join(", "), dial.status)?;
        }
        writeln!(
            f,
            "ended by {} after {:.1} s; {} of {} replies; longest wait {:.0} ms; own lag p99 {:.1} ms",
            self.end.kind(),
            self.duration_ms / 1_000.0,
            self.replies_delivered,
            self.replies_expected,
            self.longest_wait_ms,
            self.lag.p99_ms,
        )?;
        if let EndCause::Failed(why) = &self.end {
            writeln!(f, "failed: {why}")?;
        }
        for violation in &self.violations.first {
            writeln!(f, "VIOLATION: {violation}")?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        write!(f, "{}", if self.passed() { "passed" } else { "NOT PASSED" })
    }
}
