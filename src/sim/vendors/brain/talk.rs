//! The conversation as the receptionist remembers it, and what is said of the tools' answers. Pure.

use super::results::{Offers, error_in, offers_in, service_names};
use super::speech::spoken;
use super::words::{name_in, resolve_service, service_in};
use super::{Answer, Call, Heard, Question, Script, call};
use serde_json::{Value, json};

/// A call and what it brought.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// The tool.
    pub(super) name: String,
    /// What it was called with.
    pub(super) arguments: Value,
    /// What it answered.
    pub(super) result: Value,
}

impl Done {
    /// A text among the arguments.
    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.get(name).and_then(Value::as_str)
    }

    /// The same call again with one argument changed.
    pub(super) fn again_with(&self, name: &str, value: &str) -> Option<Answer> {
        let mut arguments = self.arguments.as_object()?.clone();
        arguments.insert(name.to_owned(), json!(value));
        Some(Answer { text: String::new(), calls: vec![call(&self.name, Value::Object(arguments))] })
    }
}

/// The conversation, sorted.
pub(super) struct Talk<'a> {
    pub(super) question: &'a Question,
    /// The caller's last words.
    pub(super) words: &'a str,
    /// The tools' answers that are to be spoken of: those to the last calls.
    results: Vec<Done>,
    /// All tool answers, oldest first.
    pub(super) done: Vec<Done>,
    /// How many times tools were called since the caller's last words.
    rounds: usize,
}

impl<'a> Talk<'a> {
    pub(super) fn new(question: &'a Question) -> Self {
        let mut words = "";
        let mut done: Vec<Done> = Vec::new();
        let mut since = 0;
        let mut rounds: usize = 0;
        let mut open: Vec<&Call> = Vec::new();
        for message in &question.messages {
            match message {
                Heard::System(_) => {}
                Heard::User(text) => {
                    words = text;
                    since = done.len();
                    rounds = 0;
                }
                Heard::Assistant { calls, .. } => {
                    open = calls.iter().collect();
                    since = done.len();
                    rounds = rounds.saturating_add(usize::from(!calls.is_empty()));
                }
                Heard::Tool { id, text } => {
                    let Some(call) = open.iter().find(|call| call.id == *id) else { continue };
                    done.push(Done {
                        name: call.name.clone(),
                        arguments: serde_json::from_str(&call.arguments).unwrap_or(Value::Null),
                        result: serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
                    });
                }
            }
        }
        // Only an answer that still stands at the end waits to be spoken of.
        let waiting = matches!(question.messages.last(), Some(Heard::Tool { .. }));
        let results = if waiting { done.iter().skip(since).cloned().collect() } else { Vec::new() };
        Self { question, words, results, done, rounds }
    }

    /// Whether this is the first answer to the caller: no tool was called yet.
    pub(super) fn call_begins(&self) -> bool {
        self.done.is_empty()
    }

    pub(super) fn may(&self, tool: &str) -> bool {
        self.question.tools.iter().any(|t| t == tool)
    }

    pub(super) fn scripted(&self, script: &Script) -> Answer {
        let rule = script.rule_for(self.words);
        let endless = rule.is_some_and(|rule| rule.endless);
        if endless && self.question.tools.is_empty() {
            return Answer::say("I could not find that out. May I take a message?");
        }
        if !self.results.is_empty() && !endless {
            return match rule.and_then(|rule| rule.then.clone()) {
                Some(then) => Answer::say(then),
                None => self.of_results(),
            };
        }
        match (rule, &script.otherwise) {
            (Some(rule), _) => Answer {
                text: rule.say.clone(),
                calls: rule
                    .tools
                    .iter()
                    .map(|c| Call { id: String::new(), name: c.name.clone(), arguments: c.text() })
                    .collect(),
            },
            (None, Some(otherwise)) => Answer::say(otherwise.clone()),
            (None, None) => self.receptionist(),
        }
    }

    pub(super) fn receptionist(&self) -> Answer {
        if self.results.is_empty() { self.of_words() } else { self.of_results() }
    }

    /// The times last offered that no booking has answered yet, and the day that was asked about.
    pub(super) fn open_offers(&self) -> (Offers, Option<&str>) {
        for done in self.done.iter().rev() {
            match done.name.as_str() {
                "book_appointment" if error_in(&done.result).is_none() => break,
                "book_appointment" | "check_availability" => {
                    let offers = offers_in(&done.result);
                    if !offers.list.is_empty() {
                        return (offers, done.argument("date"));
                    }
                }
                _ => {}
            }
        }
        (Offers::default(), None)
    }

    /// What the receptionist said last.
    pub(super) fn asked_last(&self) -> String {
        let last = self.question.messages.iter().rev().find_map(|m| match m {
            Heard::Assistant { text, .. } => Some(text.to_lowercase()),
            _ => None,
        });
        last.unwrap_or_default()
    }

    /// The caller's name, as told in this call.
    pub(super) fn known_name(&self) -> Option<String> {
        let told = self.done.iter().rev().find_map(|d| {
            let name = d.argument("name");
            name.filter(|_| d.name == "collect_customer_info").map(str::to_owned)
        });
        told.or_else(|| self.callers_words().rev().find_map(name_in))
    }

    /// The service the caller named last, as the business calls it if that is known.
    pub(super) fn service(&self) -> Option<String> {
        let known = self.known_services();
        self.callers_words()
            .rev()
            .find_map(|words| resolve_service(words, &known).or_else(|| service_in(words)))
    }

    /// The services the tools have told of.
    fn known_services(&self) -> Vec<String> {
        self.done.iter().rev().map(|d| service_names(&d.result)).max_by_key(Vec::len).unwrap_or_default()
    }

    pub(super) fn callers_words(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.question.messages.iter().filter_map(|m| match m {
            Heard::User(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Tools have answered.
    fn of_results(&self) -> Answer {
        let refused = |done: &Done| {
            matches!(
                done.result.get("error").and_then(Value::as_str),
                Some("unknown_tool" | "invalid_arguments")
            )
        };
        // A call that was malformed is made again as it should be, once.
        if self.results.iter().all(refused) && self.rounds == 1 {
            return self.of_words();
        }
        if let Some(retry) = self.service_by_its_name().or_else(|| self.booking_that_wanted_a_name()) {
            return retry;
        }
        let others = self.results.iter().any(|d| d.name != "collect_customer_info");
        let mut parts: Vec<String> = Vec::new();
        for done in &self.results {
            if refused(done) && self.results.len() > 1 {
                continue;
            }
            if others && done.name == "collect_customer_info" && error_in(&done.result).is_none() {
                continue;
            }
            let waiting = !others && !self.open_offers().0.list.is_empty();
            parts.push(spoken(done, self.words, waiting));
        }
        parts.dedup();
        Answer::say(parts.join(" "))
    }

    /// A call that failed because the service has another name here, with that name.
    fn service_by_its_name(&self) -> Option<Answer> {
        let [done] =
            self.results.iter().filter(|d| d.name != "collect_customer_info").collect::<Vec<_>>()[..]
        else {
            return None;
        };
        error_in(&done.result)?;
        let said = done.argument("service")?;
        let name = resolve_service(said, &service_names(&done.result)).filter(|name| name != said)?;
        done.again_with("service", &name).filter(|_| self.may(&done.name))
    }

    /// The booking that failed for want of a name, now that there is one.
    fn booking_that_wanted_a_name(&self) -> Option<Answer> {
        if self.results.iter().any(|d| d.name != "collect_customer_info" || error_in(&d.result).is_some()) {
            return None;
        }
        let last = self.done.iter().rev().find(|d| d.name == "book_appointment")?;
        if !error_in(&last.result)?.to_lowercase().contains("name") || !self.may("book_appointment") {
            return None;
        }
        last.again_with("customer_name", &self.known_name()?)
    }
}
