//! The receptionist: what is said and called, from the conversation so far. Pure.

use super::results::{Offer, error_in, offers_in, sentence, spoken_booking, spoken_info, spoken_offers};
use super::words::{self, day_in, name_in, phone_in, says, says_any, service_in, staff_in, time_in, tokens};
use super::{Answer, Call, GOODBYE, Heard, Question, Script, TRANSFER, arguments, call, long_story};
use serde_json::{Value, json};

/// A call and what it brought.
#[derive(Clone, Debug)]
struct Done {
    name: String,
    arguments: Value,
    result: Value,
}

/// The conversation, sorted.
pub(super) struct Talk<'a> {
    question: &'a Question,
    /// The caller's last words.
    words: &'a str,
    /// Tool answers after the caller's last words, in order.
    results: Vec<Done>,
    /// All tool answers, oldest first.
    done: Vec<Done>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(question: &'a Question) -> Self {
        let mut words = "";
        let mut done: Vec<Done> = Vec::new();
        let mut since = 0;
        let mut open: Vec<&Call> = Vec::new();
        for message in &question.messages {
            match message {
                Heard::System(_) => {}
                Heard::User(text) => {
                    words = text;
                    since = done.len();
                }
                Heard::Assistant { calls, .. } => open = calls.iter().collect(),
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
        Self { question, words, results, done }
    }

    /// Whether the caller's last words are what is to be answered, and no tool's result.
    pub(super) fn turn_begins(&self) -> bool {
        self.results.is_empty()
    }

    fn may(&self, tool: &str) -> bool {
        self.question.tools.iter().any(|t| t == tool)
    }

    pub(super) fn scripted(&self, script: &Script) -> Answer {
        let rule = script.rule_for(self.words);
        if !self.results.is_empty() {
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

    /// The caller has spoken.
    fn of_words(&self) -> Answer {
        let said = tokens(self.words);
        if said.is_empty() {
            return Answer::say("Hello. How can I help you?");
        }
        if says_any(&said, &["long story", "long answer"]) {
            return Answer::say(long_story());
        }
        let mut calls = Vec::new();
        let name = name_in(self.words).or_else(|| self.bare_name(&said));
        let phone = phone_in(self.words);
        if (name.is_some() || phone.is_some()) && self.may("collect_customer_info") {
            calls.push(call("collect_customer_info", arguments(&[("name", name), ("phone", phone)])));
        }
        let mut answer = self.intent(&said, calls.is_empty());
        if !calls.is_empty() {
            calls.append(&mut answer.calls);
            answer = Answer { text: String::new(), calls };
        }
        answer
    }

    /// What the caller wants; without `alone`, only what needs a tool counts.
    fn intent(&self, said: &[String], alone: bool) -> Answer {
        if says_any(
            said,
            &["goodbye", "good bye", "bye", "that's all", "that is all", "nothing else", "hang up"],
        ) || says_any(said, &["no thank you", "no thanks", "that will be all", "that'll be all"])
        {
            return self.act(GOODBYE, "end_call", json!({"reason": "the caller said goodbye"}));
        }
        if says_any(
            said,
            &["person", "human", "someone", "somebody", "representative", "operator", "manager"],
        ) {
            return self.act(
                TRANSFER,
                "transfer_to_human",
                json!({"reason": "the caller asked for a person"}),
            );
        }
        if says_any(said, &["message", "call me back", "call back", "tell them"]) {
            let arguments = arguments(&[
                ("message", Some(self.words.trim().to_owned())),
                ("name", self.known_name()),
                ("phone", phone_in(self.words)),
            ]);
            return self.use_tool("take_message", arguments);
        }
        if let Some(answer) = self.pick(said) {
            return answer;
        }
        if let Some(date) = day_in(self.words) {
            let arguments = arguments(&[
                ("date", Some(date)),
                ("staff", staff_in(self.words)),
                ("service", self.service()),
            ]);
            return self.use_tool("check_availability", arguments);
        }
        if let Some(topic) = topic(said) {
            return self.use_tool("get_business_info", json!({ "topic": topic }));
        }
        if !alone {
            return Answer::default();
        }
        Answer::say(
            if says_any(said, &["appointment", "book", "haircut", "cut", "shave", "trim", "schedule"]) {
                "Of course. Which day would you like?".to_owned()
            } else if says_any(said, &["thanks", "thank you"]) {
                "You are welcome. Is there anything else I can do for you?".to_owned()
            } else if says_any(
                said,
                &["hello", "hi", "hey", "good morning", "good afternoon", "good evening"],
            ) {
                "Hello. How can I help you today?".to_owned()
            } else if says_any(said, &["yes", "sure", "okay"]) {
                "Good. What can I do for you?".to_owned()
            } else {
                format!("You said: {}", sentence(self.words))
            },
        )
    }

    /// Says something and calls a tool in the same answer.
    fn act(&self, text: &str, tool: &str, arguments: Value) -> Answer {
        let calls = if self.may(tool) { vec![call(tool, arguments)] } else { Vec::new() };
        Answer { text: text.to_owned(), calls }
    }

    fn use_tool(&self, tool: &str, arguments: Value) -> Answer {
        if self.may(tool) {
            Answer { text: String::new(), calls: vec![call(tool, arguments)] }
        } else {
            Answer::say("I am sorry, I cannot look that up now. May I take a message?")
        }
    }

    /// A time that the caller takes, of those offered or one of the caller's own.
    fn pick(&self, said: &[String]) -> Option<Answer> {
        let time = time_in(self.words);
        let (offers, asked) = self.open_offers();
        let by_place = [("first", 0), ("second", 1), ("third", 2)]
            .into_iter()
            .find(|(word, _)| says(said, word))
            .and_then(|(_, n)| offers.get(n));
        let agrees =
            says_any(said, &["yes", "yeah", "sure", "works", "okay", "ok", "perfect", "great", "fine"])
                || says_any(
                    said,
                    &["sounds good", "book it", "book", "that one", "either", "please do", "take it"],
                );
        let offer = match time {
            Some(time) => offers.iter().find(|o| o.time.is_some_and(|t| t.matches(time))),
            None => by_place.or(if agrees { offers.first() } else { None }),
        };
        if offer.is_none()
            && (time.is_none() || (offers.is_empty() && !says_any(said, &["book", "appointment"])))
        {
            return None;
        }
        // Another day is a new question, unless a time was named for it at once.
        if offer.is_none() && !offers.is_empty() && day_in(self.words).is_some() {
            return None;
        }
        let date = day_in(self.words)
            .or_else(|| asked.and_then(|a| a.get("date").and_then(Value::as_str).map(str::to_owned)))
            .unwrap_or_else(|| "tomorrow".to_owned());
        let said_time = time.map(words::SaidTime::text);
        let time = said_time
            .or_else(|| offer.map(|o| o.time.map_or_else(|| o.label.clone(), words::SaidTime::text)));
        let arguments = arguments(&[
            ("service", Some(self.service().unwrap_or_else(|| "haircut".to_owned()))),
            ("date", Some(date)),
            ("time", time),
            ("staff", staff_in(self.words).or_else(|| offer.and_then(|o| o.staff.clone()))),
            ("customer_name", self.known_name()),
            ("slot_id", offer.and_then(|o| o.slot_id.clone())),
        ]);
        Some(self.use_tool("book_appointment", arguments))
    }

    /// The times last offered that no booking has answered yet, and the question they answered.
    fn open_offers(&self) -> (Vec<Offer>, Option<&Value>) {
        for done in self.done.iter().rev() {
            match done.name.as_str() {
                "book_appointment" if error_in(&done.result).is_none() => break,
                "book_appointment" | "check_availability" => {
                    let offers = offers_in(&done.result);
                    if !offers.is_empty() {
                        return (offers, Some(&done.arguments));
                    }
                }
                _ => {}
            }
        }
        (Vec::new(), None)
    }

    /// A bare name, when a name was just asked for.
    fn bare_name(&self, said: &[String]) -> Option<String> {
        let asked = self.question.messages.iter().rev().find_map(|m| match m {
            Heard::Assistant { text, .. } => Some(text.to_lowercase().contains("name")),
            _ => None,
        })?;
        let plausible =
            (1..=3).contains(&said.len()) && !says_any(said, &["yes", "no", "bye", "goodbye", "what"]);
        (asked && plausible).then(|| self.words.trim().trim_end_matches(['.', '!', '?', ',']).to_owned())
    }

    /// The caller's name, as told in this call.
    fn known_name(&self) -> Option<String> {
        let told = self.done.iter().rev().find_map(|d| {
            let name = d.arguments.get("name").and_then(Value::as_str);
            name.filter(|_| d.name == "collect_customer_info").map(str::to_owned)
        });
        told.or_else(|| self.callers_words().rev().find_map(name_in))
    }

    fn service(&self) -> Option<String> {
        self.callers_words().rev().find_map(service_in)
    }

    fn callers_words(&self) -> impl DoubleEndedIterator<Item = &'a str> {
        self.question.messages.iter().filter_map(|m| match m {
            Heard::User(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// Tools have answered.
    fn of_results(&self) -> Answer {
        let others = self.results.iter().any(|d| d.name != "collect_customer_info");
        let mut parts: Vec<String> = Vec::new();
        for done in &self.results {
            if others && done.name == "collect_customer_info" && error_in(&done.result).is_none() {
                continue;
            }
            parts.push(spoken(done));
        }
        if !others && let Some(retry) = self.booking_that_wanted_a_name() {
            return retry;
        }
        parts.dedup();
        Answer::say(parts.join(" "))
    }

    /// The booking that failed for want of a name, now that there is one.
    fn booking_that_wanted_a_name(&self) -> Option<Answer> {
        let last = self.done.iter().rev().find(|d| d.name == "book_appointment")?;
        if !error_in(&last.result)?.to_lowercase().contains("name") || !self.may("book_appointment") {
            return None;
        }
        let mut arguments = last.arguments.as_object()?.clone();
        arguments.insert("customer_name".to_owned(), json!(self.known_name()?));
        Some(Answer { text: String::new(), calls: vec![call("book_appointment", Value::Object(arguments))] })
    }

    pub(super) fn wants_summary(&self) -> bool {
        let asks = |text: &str| text.to_lowercase().contains("summar");
        self.question.tools.is_empty()
            && (asks(self.words)
                || self.question.messages.iter().any(|m| matches!(m, Heard::System(text) if asks(text))))
    }

    pub(super) fn summary(&self) -> Answer {
        let about = if self.words.to_lowercase().contains("book") {
            "The caller asked about an appointment and a booking was discussed."
        } else {
            "The caller asked the receptionist some questions."
        };
        let text = format!("{about} The receptionist answered and the call ended.");
        match &self.question.json {
            Some(schema) => Answer::say(fill(schema, &text, 0).to_string()),
            None => Answer::say(text),
        }
    }
}

fn topic(said: &[String]) -> Option<&'static str> {
    let topics: [(&str, &[&str]); 6] = [
        ("prices", &["price", "prices", "cost", "costs", "how much", "charge"]),
        ("hours", &["hours", "open", "close", "closed", "closing", "opening"]),
        ("location", &["where", "address", "location", "located", "directions"]),
        ("staff", &["staff", "barbers", "who works", "stylists", "who is working"]),
        ("policies", &["policy", "policies", "cancellation", "pay", "payment", "card", "cash", "late"]),
        ("services", &["services", "offer", "what do you do"]),
    ];
    topics.into_iter().find(|(_, words)| says_any(said, words)).map(|(topic, _)| topic)
}

/// One tool's answer, spoken.
fn spoken(done: &Done) -> String {
    if let Some(error) = error_in(&done.result) {
        let offers = offers_in(&done.result);
        let rest = if !offers.is_empty() {
            format!(" I could offer {}. Would one of these suit you?", spoken_offers(&offers))
        } else if error.to_lowercase().contains("name") {
            " What name shall I put it under?".to_owned()
        } else if done.name == "transfer_to_human" {
            " May I take a message?".to_owned()
        } else {
            " Is there something else I can do?".to_owned()
        };
        return format!("I am sorry, {}{rest}", sentence(&error));
    }
    match done.name.as_str() {
        "check_availability" => {
            let offers = offers_in(&done.result);
            let day = done.arguments.get("date").and_then(Value::as_str).unwrap_or("that day");
            if offers.is_empty() {
                format!("I am sorry, nothing is free {day}. Would another day suit you?")
            } else {
                format!("For {day} I have {}. Which one would you like?", spoken_offers(&offers))
            }
        }
        "book_appointment" => spoken_booking(&done.result),
        "get_business_info" => spoken_info(&done.result),
        "collect_customer_info" => match done.arguments.get("name").and_then(Value::as_str) {
            Some(name) => format!("Thank you, {name}. How can I help you?"),
            None => "Thank you, I have noted that. How can I help you?".to_owned(),
        },
        "take_message" => "I have taken your message. Is there anything else?".to_owned(),
        "transfer_to_human" => TRANSFER.to_owned(),
        "end_call" => GOODBYE.to_owned(),
        _ => spoken_info(&done.result),
    }
}

/// A value that fits a JSON schema, with the text wherever a string may stand.
fn fill(schema: &Value, text: &str, depth: u8) -> Value {
    if let Some(first) = schema.get("enum").and_then(Value::as_array).and_then(|all| all.first()) {
        return first.clone();
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() => "object",
        _ => return json!({ "summary": text }),
    };
    match kind {
        "object" if depth < 8 => Value::Object(
            schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, inner)| (name.clone(), fill(inner, text, depth.saturating_add(1))))
                .collect(),
        ),
        "array" => json!([]),
        "boolean" => json!(false),
        "integer" | "number" => json!(0),
        "null" => Value::Null,
        _ => json!(text),
    }
}
