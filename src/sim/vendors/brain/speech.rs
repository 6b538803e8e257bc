//! How the brain speaks of what a tool answered. Pure.

use super::info::spoken_info;
use super::results::{error_in, listed, names, offers_in, sentence, service_names, spoken_offers, string};
use super::talk::Done;
use super::{GOODBYE, TRANSFER};
use serde_json::Value;

/// One tool's answer, spoken. `words` are the caller's; `offered` tells that the caller still has times to choose from.
pub(super) fn spoken(done: &Done, words: &str, offered: bool) -> String {
    if let Some(error) = error_in(&done.result) {
        return spoken_error(done, &error);
    }
    match done.name.as_str() {
        "check_availability" => spoken_times(done),
        "book_appointment" => spoken_booking(&done.result),
        "collect_customer_info" => {
            let thanks = match done.argument("name") {
                Some(name) => format!("Thank you, {name}."),
                None => "Thank you, I have noted that.".to_owned(),
            };
            let next = if offered { "Which of the times would you like?" } else { "How can I help you?" };
            format!("{thanks} {next}")
        }
        "take_message" => "I have taken your message. Is there anything else?".to_owned(),
        "transfer_to_human" => TRANSFER.to_owned(),
        "end_call" => GOODBYE.to_owned(),
        _ => spoken_info(&done.result, words),
    }
}

/// Free times, or the next ones.
fn spoken_times(done: &Done) -> String {
    let offers = offers_in(&done.result);
    let asked = done.argument("date").unwrap_or("that day");
    let times = spoken_offers(&offers.list);
    match &offers.day {
        _ if offers.list.is_empty() => {
            format!("I am sorry, nothing is free {asked}. Would another day suit you?")
        }
        Some(day) if offers.elsewhere => {
            let full = string(&done.result, &["spoken_date"]).unwrap_or(asked);
            format!(
                "I am sorry, {full} is booked up. The next free times are on {day}, at {times}. Which one would you like?"
            )
        }
        Some(day) => format!("On {day}, I have {times}. Which one would you like?"),
        None => format!("For {asked} I have {times}. Which one would you like?"),
    }
}

/// What went wrong and what can be done about it.
fn spoken_error(done: &Done, error: &str) -> String {
    let result = &done.result;
    if error.contains("name is missing") {
        return "Gladly. What name shall I put it under?".to_owned();
    }
    let services = service_names(result);
    if !services.is_empty() {
        return format!("We offer {}. Which one would you like?", listed(&services, "and"));
    }
    let either = either_of(result);
    if !either.is_empty() {
        return format!("Do you mean {}?", listed(&either, "or"));
    }
    let what = if error.contains("closed on that day") {
        let day = result.get("day").and_then(|day| string(day, &["spoken_date"])).unwrap_or("that day");
        match string(result, &["reason"]) {
            Some(reason) => format!("we are closed on {day} for {reason}"),
            None => format!("we are closed on {day}"),
        }
    } else if error.contains("nobody available") {
        "nobody is available right now".to_owned()
    } else {
        error.to_owned()
    };
    format!("I am sorry, {} {}", sentence(&what), way_on(done, error))
}

/// The two days or times between which the caller has to decide.
fn either_of(result: &Value) -> Vec<String> {
    for (one, other) in [("by_weekday", "by_date"), ("first", "second")] {
        let day =
            |key: &str| result.get(key).and_then(|day| string(day, &["spoken_date"])).map(str::to_owned);
        if let (Some(one), Some(other)) = (day(one), day(other)) {
            return vec![one, other];
        }
    }
    names(result, "readings")
}

/// What the receptionist offers after an error.
fn way_on(done: &Done, error: &str) -> String {
    let result = &done.result;
    let offers = offers_in(result);
    let staff = names(result, "staff");
    let lower = error.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if !offers.list.is_empty() {
        let times = spoken_offers(&offers.list);
        return match &offers.day {
            Some(day) if offers.elsewhere => {
                format!("The next free times are on {day}, at {times}. Which one would you like?")
            }
            _ => format!("I could offer {times}. Would one of these suit you?"),
        };
    }
    if !staff.is_empty() {
        return format!("We have {}. Who would you like?", listed(&staff, "and"));
    }
    if let Some(last) = result.get("last_day").and_then(|day| string(day, &["spoken_date"])) {
        return format!("I can book until {last}. Which day would you like?");
    }
    if has(&["number", "digits"]) {
        "Could you tell me the number again, digit by digit?".to_owned()
    } else if has(&["calendar cannot", "could not be stored", "nobody"]) {
        let again = done.name == "take_message";
        if again { "Please call again later." } else { "May I take a message?" }.to_owned()
    } else if has(&["name"]) {
        "What name shall I put it under?".to_owned()
    } else if done.name == "transfer_to_human" {
        "May I take a message?".to_owned()
    } else if has(&["day", "date"]) {
        "Which day would you like?".to_owned()
    } else if has(&["time"]) {
        "Which time would you like?".to_owned()
    } else {
        "Is there something else I can do?".to_owned()
    }
}

/// A booking that succeeded.
fn spoken_booking(result: &Value) -> String {
    if let Some(text) = string(result, &["spoken", "confirmation", "say"]) {
        return format!("{} Is there anything else?", sentence(text));
    }
    let booking = result.get("appointment").or_else(|| result.get("booking")).unwrap_or(result);
    let service = string(booking, &["service"]).unwrap_or("appointment");
    let mut text = match string(booking, &["name", "customer_name"]) {
        Some(name) => format!("Thank you, {name}. Your {service}"),
        None => format!("Your {service}"),
    };
    if let Some(staff) = string(booking, &["staff"]) {
        text = format!("{text} with {staff}");
    }
    text.push_str(" is booked");
    for (lead, keys) in [("for", &["spoken_date", "day", "date"][..]), ("at", &["spoken_time", "time"][..])] {
        if let Some(said) = string(booking, keys) {
            text = format!("{text} {lead} {said}");
        }
    }
    format!("{text}. Is there anything else?")
}
