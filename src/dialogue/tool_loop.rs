//! The bounds and the memory of the tool loop: what need not run again, and when the model has to conclude.
//!
//! Reads are remembered within their turn. A write is remembered over the call until another write of the same kind
//! takes its place: the same booking twice is one booking (TALK-4), booked anew after something else was booked.

use super::chat::ToolCall;
use super::tools::{ToolRequest, shorten};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Calls of one round that are carried out; a model that sends more has gone astray.
pub const MAX_CALLS: usize = 8;

/// The tool loop's memory, for one call.
#[derive(Debug, Default)]
pub struct ToolLoop {
    rounds_max: u32,
    rounds: u32,
    /// As JSON: as a tree an answer takes many times the room, and is hardly ever asked for again.
    reads: HashMap<String, String>,
    writes: Vec<Write>,
    last_round: Vec<String>,
    repeated: bool,
    used_ids: HashSet<String>,
    next_id: u32,
}

#[derive(Debug)]
struct Write {
    tool: &'static str,
    key: String,
    content: String,
}

impl ToolLoop {
    /// A loop that tells the model to conclude after this many rounds.
    pub fn new(rounds_max: u32) -> Self {
        Self { rounds_max, ..Self::default() }
    }

    /// A new turn of the caller: reads are stale, the rounds start again.
    pub fn begin_turn(&mut self) {
        self.rounds = 0;
        self.reads.clear();
        self.last_round.clear();
        self.repeated = false;
    }

    /// Takes the calls of one round: makes ids unique within the call and names sendable, drops what is too much.
    pub fn begin_round(&mut self, calls: Vec<ToolCall>) -> Vec<ToolCall> {
        let calls: Vec<ToolCall> = calls
            .into_iter()
            .take(MAX_CALLS)
            .map(|call| ToolCall { id: self.unique(&call.id), name: sendable_name(&call.name), ..call })
            .collect();
        let mut keys: Vec<String> = calls
            .iter()
            .map(|call| match super::tools::parse(call) {
                Ok(request) => request.key(),
                Err(_) => format!("{} {}", call.name, call.arguments),
            })
            .collect();
        keys.sort_unstable();
        self.repeated = !keys.is_empty() && keys == self.last_round;
        self.last_round = keys;
        self.rounds = self.rounds.saturating_add(1);
        calls
    }

    /// Whether the model is to conclude: all its rounds are used up, or it has asked the same twice in a row.
    pub fn must_conclude(&self) -> bool {
        self.repeated || self.rounds >= self.rounds_max
    }

    /// The remembered answer to a call, if it need not run.
    pub fn recall(&self, request: &ToolRequest) -> Option<Value> {
        let key = request.key();
        let content = if request.is_read() {
            self.reads.get(&key)
        } else {
            self.writes.iter().find(|w| w.key == key).map(|w| &w.content)
        };
        content.and_then(|content| serde_json::from_str(content).ok())
    }

    /// Remembers what a call brought. Failures are not remembered: the next try may succeed.
    pub fn remember(&mut self, request: &ToolRequest, content: &Value) {
        if content.get("error").is_some() || !request.is_remembered() {
            return;
        }
        let key = request.key();
        if request.is_read() {
            self.reads.insert(key, content.to_string());
            return;
        }
        // What was looked up before this write no longer holds, and an earlier write of this kind may be undone.
        self.reads.clear();
        self.writes.retain(|w| w.tool != request.name());
        self.writes.push(Write { tool: request.name(), key, content: content.to_string() });
    }

    fn unique(&mut self, id: &str) -> String {
        if (1..=64).contains(&id.len()) && self.used_ids.insert(id.to_owned()) {
            return id.to_owned();
        }
        loop {
            self.next_id = self.next_id.wrapping_add(1);
            let made = format!("call_{}", self.next_id);
            if self.used_ids.insert(made.clone()) {
                return made;
            }
        }
    }
}

/// A function's name as hosts accept it, `[a-zA-Z0-9_-]{1,64}`.
fn sendable_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name: String = name.chars().take(64).map(|c| if fits(c) { c } else { '_' }).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// The answer to a call that took too long.
pub fn timeout_answer() -> Value {
    json!({
        "error": "timeout",
        "message": "The tool did not answer in time. It is not known whether it succeeded: do not claim that it did. \
                    Tell the caller and offer to take a message.",
    })
}

/// The answer to a call that was not carried out because the caller spoke.
pub fn interrupted_answer() -> Value {
    json!({
        "error": "interrupted",
        "message": "Not carried out: the caller went on speaking. Call it again if it is still wanted.",
    })
}

/// The answer to a call that is under way already.
pub fn still_running_answer() -> Value {
    json!({
        "error": "still_running",
        "message": "The same call was made before and has not answered yet. Do not claim that it succeeded.",
    })
}

/// The answer to a call that came in an answer cut off at its length.
pub fn truncated_answer() -> Value {
    json!({
        "error": "truncated",
        "message": "Your answer was cut off, so nothing was done. Make the call again, with short arguments.",
    })
}

/// A fact about a tool that finished after its answer was given up.
pub fn late_fact(request: &ToolRequest, content: &Value) -> String {
    shorten(&format!("{} finished after all: {content}", request.name()), 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(time: &str) -> ToolRequest {
        ToolRequest::BookAppointment {
            service: "Haircut".into(),
            date: "friday".into(),
            time: time.into(),
            staff: None,
            customer_name: None,
            customer_phone: None,
            slot_id: None,
        }
    }

    fn look(date: &str) -> ToolRequest {
        ToolRequest::CheckAvailability { date: date.into(), staff: None, service: None }
    }

    fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    #[test]
    fn a_read_is_remembered_within_its_turn_only() {
        let mut tools = ToolLoop::new(4);
        tools.remember(&look("friday"), &json!({"slots": 1}));
        assert!(tools.recall(&look("Friday")).is_some());
        tools.begin_turn();
        assert!(tools.recall(&look("friday")).is_none());
    }

    #[test]
    fn a_write_makes_what_was_looked_up_before_stale() {
        let mut tools = ToolLoop::new(4);
        tools.remember(&look("friday"), &json!({"slots": 1}));
        tools.remember(&book("3 PM"), &json!({"booked": 1}));
        assert!(tools.recall(&look("friday")).is_none());
    }

    #[test]
    fn a_write_is_remembered_over_turns_until_another_of_its_kind() {
        let mut tools = ToolLoop::new(4);
        tools.remember(&book("3 PM"), &json!({"booked": 1}));
        tools.begin_turn();
        let message = ToolRequest::TakeMessage { message: "call me".into(), name: None, phone: None };
        tools.remember(&message, &json!({"taken": true}));
        assert_eq!(tools.recall(&book("3 pm")), Some(json!({"booked": 1})));
        tools.remember(&book("4 PM"), &json!({"booked": 2}));
        assert_eq!(tools.recall(&book("3 PM")), None);
    }

    #[test]
    fn a_failure_and_a_hang_up_are_not_remembered() {
        let mut tools = ToolLoop::new(4);
        tools.remember(&book("3 PM"), &json!({"error": "taken"}));
        assert_eq!(tools.recall(&book("3 PM")), None);
        let end = ToolRequest::EndCall { reason: None };
        tools.remember(&end, &json!({"ok": true}));
        assert_eq!(tools.recall(&end), None);
    }

    #[test]
    fn the_model_has_to_conclude_after_its_rounds_or_a_repetition() {
        let mut tools = ToolLoop::new(3);
        tools.begin_turn();
        tools.begin_round(vec![call("a", "check_availability", r#"{"date":"friday"}"#)]);
        assert!(!tools.must_conclude());
        tools.begin_round(vec![call("b", "check_availability", r#"{ "date" : "Friday" }"#)]);
        assert!(tools.must_conclude(), "the same call twice in a row");
        tools.begin_round(vec![call("c", "check_availability", r#"{"date":"monday"}"#)]);
        assert!(tools.must_conclude(), "three rounds");
        tools.begin_turn();
        tools.begin_round(vec![call("d", "check_availability", r#"{"date":"monday"}"#)]);
        assert!(!tools.must_conclude());
    }

    #[test]
    fn ids_are_unique_and_names_sendable() {
        let mut tools = ToolLoop::new(3);
        let calls =
            tools.begin_round(vec![call("a", "x y", "{}"), call("a", "", "{}"), call("", "ok", "{}")]);
        assert_eq!(calls.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["x_y", "unknown", "ok"]);
        let again = tools.begin_round(vec![call("a", "ok", "{}")]);
        let ids: HashSet<&str> = calls.iter().chain(&again).map(|c| c.id.as_str()).collect();
        assert_eq!(ids.len(), 4);
        let many = tools.begin_round((0..20).map(|_| call("z", "ok", "{}")).collect());
        assert_eq!(many.len(), MAX_CALLS);
    }
}
