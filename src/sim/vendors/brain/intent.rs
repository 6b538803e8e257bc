//! What the caller wants, and what the receptionist does about it. Pure.

use super::results::{Offer, Offers, error_in, sentence, service_names};
use super::talk::{Done, Talk};
use super::words::{
    self, day_in, name_in, part_of_day, phone_in, resolve_service, says, says_any, service_in, staff_in,
    time_in, tokens,
};
use super::{Answer, GOODBYE, TRANSFER, arguments, call, long_story};
use serde_json::{Value, json};

/// The question after which a service alone is an answer.
const WHAT_FOR: &str = "What would you like to come in for?";

const BOOKING: [&str; 13] = [
    "book",
    "booking",
    "appointment",
    "schedule",
    "reserve",
    "free",
    "available",
    "availability",
    "opening",
    "openings",
    "slot",
    "slots",
    "come in",
];

const SOON: [&str; 6] =
    ["as soon as", "earliest", "soonest", "next available", "first available", "next free"];

const YES: [&str; 7] = ["yes", "yeah", "yep", "sure", "of course", "please", "okay"];

impl Talk<'_> {
    /// The caller has spoken.
    pub(super) fn of_words(&self) -> Answer {
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
        if let Some(answer) = self.departure(said) {
            return answer;
        }
        if let Some(answer) = self.repaired(said).or_else(|| self.pick(said)) {
            return answer;
        }
        let topic = topic(said);
        if let Some(date) = self.wanted_day(said)
            && (topic.is_none() || says_any(said, &BOOKING))
        {
            let service = self.service();
            if service.is_none() && says_any(said, &["book", "appointment", "come in"]) {
                return Answer::say(format!("Gladly. {WHAT_FOR}"));
            }
            let date = match (time_in(self.words), part_of_day(said)) {
                (Some(time), _) => format!("{date} at {}", time.text()),
                (None, Some(part)) => format!("{date} {part}"),
                (None, None) => date,
            };
            let arguments =
                arguments(&[("date", Some(date)), ("staff", staff_in(self.words)), ("service", service)]);
            return self.use_tool("check_availability", arguments);
        }
        if let Some(topic) = topic {
            return self.use_tool("get_business_info", json!({ "topic": topic }));
        }
        if !alone {
            return Answer::default();
        }
        let offered = !self.open_offers().0.list.is_empty();
        Answer::say(
            if offered && says_any(said, &["no", "none", "neither", "not", "another", "other", "different"]) {
                "I see. Which other day or time would you like?".to_owned()
            } else if says_any(said, &BOOKING) || service_in(self.words).is_some() || says(said, "cut") {
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

    /// A goodbye, a wish for a person, or a message.
    fn departure(&self, said: &[String]) -> Option<Answer> {
        let asked = self.asked_last();
        let no = said.len() <= 3 && says_any(said, &["no", "nope"]);
        let bye = says_any(
            said,
            &["goodbye", "good bye", "bye", "that's all", "that is all", "nothing else", "hang up"],
        ) || says_any(said, &["no thank you", "no thanks", "that will be all", "that'll be all"]);
        if bye || (no && asked.contains("anything else")) {
            return Some(self.act(GOODBYE, "end_call", json!({"reason": "the caller said goodbye"})));
        }
        let person = says_any(said, &["person", "human", "representative", "operator", "manager"])
            || (says_any(said, &["someone", "somebody"]) && says_any(said, &["speak", "talk", "real"]));
        if person {
            return Some(self.act(
                TRANSFER,
                "transfer_to_human",
                json!({"reason": "the caller asked for a person"}),
            ));
        }
        let told = asked.contains("shall i pass on");
        if told || says_any(said, &["message", "call me back", "call back", "tell them"]) {
            let arguments = arguments(&[
                ("message", Some(self.words.trim().to_owned())),
                ("name", self.known_name()),
                ("phone", phone_in(self.words)),
            ]);
            return Some(self.use_tool("take_message", arguments));
        }
        if asked.contains("take a message") && said.len() <= 4 {
            if says_any(said, &YES) {
                return Some(Answer::say("Gladly. What shall I pass on?"));
            }
            if no {
                return Some(Answer::say("All right. Is there anything else I can do?"));
            }
        }
        None
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

    /// The day the caller wants; one named before counts when only the service was still asked for.
    fn wanted_day(&self, said: &[String]) -> Option<String> {
        let soon = says_any(said, &SOON).then(|| "today".to_owned());
        day_in(self.words).or(soon).or_else(|| {
            let asked = self.asked_last().contains(&WHAT_FOR.to_lowercase());
            self.callers_words().rev().find_map(day_in).filter(|_| asked)
        })
    }

    /// The last look-up or booking, repeated with what the receptionist asked for: a service, or a half of the day.
    fn repaired(&self, said: &[String]) -> Option<Answer> {
        let last = self.done.iter().rev().find(|d| is_about_times(d))?;
        error_in(&last.result)?;
        if !self.may(&last.name) {
            return None;
        }
        let services = service_names(&last.result);
        if !services.is_empty() && day_in(self.words).is_none() {
            let name =
                resolve_service(self.words, &services).or_else(|| by_place(said, &services).cloned())?;
            return last.again_with("service", &name);
        }
        let readings = last.result.get("readings").and_then(Value::as_array)?;
        let which = if says_any(said, &["am", "morning"]) {
            readings.first()
        } else if says_any(said, &["pm", "afternoon", "evening"]) {
            readings.last()
        } else {
            None
        };
        last.again_with("time", which?.as_str()?)
    }

    /// A time that the caller takes, of those offered or one of the caller's own.
    fn pick(&self, said: &[String]) -> Option<Answer> {
        let time = time_in(self.words);
        let (offers, asked) = self.open_offers();
        // A day that was not offered is a new question.
        let day = day_in(self.words);
        let same_day = day.as_deref().is_none_or(|day| is_offered_day(day, &offers, asked));
        let refuses =
            says_any(said, &["no", "none", "not", "don't", "doesn't", "neither", "another", "stop"]);
        let agrees =
            says_any(said, &["yes", "yeah", "sure", "works", "okay", "ok", "perfect", "great", "fine"])
                || says_any(
                    said,
                    &["sounds good", "book it", "book", "that one", "either", "please do", "take it"],
                );
        let offer: Option<&Offer> = match time {
            _ if !same_day => None,
            Some(time) => offers.list.iter().find(|o| o.time.is_some_and(|t| t.matches(time))),
            None => by_place(said, &offers.list)
                .or_else(|| offers.list.first().filter(|_| agrees && !refuses && topic(said).is_none())),
        };
        if offer.is_none() {
            // Without an offer only a time of the caller's own can be booked.
            time?;
            if (offers.list.is_empty() || !same_day) && !says_any(said, &["book", "appointment"]) {
                return None;
            }
        }
        let date = match (day, &offers.date) {
            (Some(day), _) if !same_day => day,
            (_, Some(date)) => date.clone(),
            (Some(day), None) => day,
            (None, None) => asked.unwrap_or("tomorrow").to_owned(),
        };
        let said_time = time.map(words::SaidTime::text);
        let time = said_time
            .or_else(|| offer.map(|o| o.time.map_or_else(|| o.label.clone(), words::SaidTime::text)));
        let service = service_in(self.words)
            .and_then(|_| self.service())
            .or_else(|| offers.service.clone())
            .or_else(|| self.service())
            .unwrap_or_else(|| "haircut".to_owned());
        let arguments = arguments(&[
            ("service", Some(service)),
            ("date", Some(date)),
            ("time", time),
            ("staff", staff_in(self.words).or_else(|| offer.and_then(|o| o.staff.clone()))),
            ("customer_name", self.known_name().or_else(|| self.bare_name(said))),
            ("slot_id", offer.and_then(|o| o.slot_id.clone())),
        ]);
        Some(self.use_tool("book_appointment", arguments))
    }

    /// A bare name, when a name was just asked for.
    fn bare_name(&self, said: &[String]) -> Option<String> {
        let asked = self.asked_last().contains("what name");
        let plausible = (1..=5).contains(&said.len())
            && time_in(self.words).is_none()
            && !says_any(said, &["yes", "no", "bye", "goodbye", "what", "why", "stop", "one"]);
        if !asked || !plausible {
            return None;
        }
        let mut name = self.words.trim().trim_end_matches(['.', '!', '?', ',']);
        for lead in ["It's ", "It is ", "I'm ", "I am ", "Sure, ", "it's ", "it is "] {
            name = name.strip_prefix(lead).unwrap_or(name);
        }
        (name.split_whitespace().count() <= 3 && !name.is_empty()).then(|| name.to_owned())
    }
}

fn is_about_times(done: &Done) -> bool {
    matches!(done.name.as_str(), "check_availability" | "book_appointment")
}

/// "The second one"; one place too many is the last.
fn by_place<'t, T>(said: &[String], list: &'t [T]) -> Option<&'t T> {
    let place = |words: &[&str]| says_any(said, words);
    if place(&["last", "latest"]) {
        return list.last();
    }
    let places = [("first", 0), ("earliest", 0), ("second", 1), ("third", 2), ("middle", 1)];
    let (_, n) = places.into_iter().find(|(word, _)| place(&[word]))?;
    list.get(n).or_else(|| list.last())
}

/// Whether a day the caller named is the one times were offered for.
fn is_offered_day(day: &str, offers: &Offers, asked: Option<&str>) -> bool {
    let day = day.to_lowercase();
    let is = |other: &str| {
        let other = other.to_lowercase();
        other == day || other.contains(&day)
    };
    // What was asked for says nothing about the day if another one was offered instead.
    let asked = asked.filter(|_| !offers.elsewhere);
    asked.is_some_and(is) || offers.day.as_deref().is_some_and(is) || offers.date.as_deref() == Some(&day)
}

/// What the caller asks about the business.
pub(super) fn topic(said: &[String]) -> Option<&'static str> {
    let topics: [(&str, &[&str]); 7] = [
        ("prices", &["price", "prices", "cost", "costs", "how much", "charge"]),
        ("hours", &["hours", "open", "close", "closed", "closing"]),
        ("location", &["where", "address", "location", "located", "directions", "find you"]),
        ("staff", &["staff", "barbers", "who works", "stylists", "who is working"]),
        ("payment", &["pay", "payment", "card", "cards", "cash"]),
        ("policies", &["policy", "policies", "cancellation", "cancel", "late", "reschedule"]),
        ("services", &["services", "offer", "what do you do"]),
    ];
    topics.into_iter().find(|(_, words)| says_any(said, words)).map(|(topic, _)| topic)
}
