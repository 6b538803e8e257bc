//! Facts about the business, as the receptionist tells them. Pure.

use super::results::{listed, sentence, service_names, string};
use super::words::{day_in, says_any, services_alike, tokens};
use jiff::civil::Date;
use serde_json::Value;

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// How many prices are told at once; a caller remembers no more.
const PRICES: usize = 3;

/// What the facts say about the caller's words.
pub(super) fn spoken_info(result: &Value, words: &str) -> String {
    let said = tokens(words);
    let parts: Vec<String> = [
        hours(result, words),
        services(result, words, &said),
        service(result),
        people(result),
        place(result, &said),
        policies(result, &said),
        payment(result, &said),
    ]
    .into_iter()
    .flatten()
    .take(3)
    .collect();
    if parts.is_empty() { flat_info(result) } else { parts.join(" ") }
}

fn money(price: &Value) -> Option<String> {
    let text = format!("{:.2}", price.as_f64()?);
    let (whole, cents) = text.split_once('.')?;
    Some(if cents == "00" {
        format!("{whole} dollars")
    } else {
        format!("{whole} dollars and {cents} cents")
    })
}

fn priced(service: &Value) -> Option<String> {
    Some(format!("the {} is {}", string(service, &["name"])?, money(service.get("price")?)?))
}

fn services(result: &Value, words: &str, said: &[String]) -> Option<String> {
    let all = result.get("services")?.as_array()?;
    let names = service_names(result);
    let about_prices = says_any(said, &["price", "prices", "cost", "costs", "how much", "charge"]);
    if !about_prices {
        return (!names.is_empty()).then(|| format!("We offer {}.", listed(&names, "and")));
    }
    let wanted = services_alike(words, &names);
    let is_wanted =
        |s: &&Value| wanted.is_empty() || string(s, &["name"]).is_some_and(|n| wanted.iter().any(|w| w == n));
    let prices: Vec<String> = all.iter().filter(is_wanted).filter_map(priced).take(PRICES).collect();
    if prices.is_empty() {
        return None;
    }
    let told = sentence(&capital(&listed(&prices, "and")));
    let others: Vec<&String> = names.iter().skip(PRICES).collect();
    Some(if wanted.is_empty() && !others.is_empty() {
        format!("{told} We also offer {}. What would you like to know more about?", listed(&others, "and"))
    } else {
        format!("{told} Would you like to book an appointment?")
    })
}

fn service(result: &Value) -> Option<String> {
    let service = result.get("service").filter(|s| s.is_object())?;
    let minutes = service.get("minutes").and_then(Value::as_u64);
    let told = capital(&priced(service)?);
    Some(match minutes {
        Some(minutes) => format!("{told} and takes {minutes} minutes."),
        None => sentence(&told),
    })
}

/// The opening hours of the day the caller named, or of today and the week.
fn hours(result: &Value, words: &str) -> Option<String> {
    let week = result.get("week")?;
    let of = |day: &str| week.get(day).and_then(Value::as_str);
    let today = result.get("today");
    let weekday = today.and_then(|t| string(t, &["weekday"]));
    let asked = day_in(words).map(|day| day.to_lowercase());
    let named = match asked.as_deref() {
        None => None,
        Some("today" | "tonight") => weekday.map(|day| ("Today".to_owned(), day, 0)),
        Some("tomorrow") => ahead(weekday, 1).map(|day| (format!("Tomorrow, {day},"), day, 1)),
        Some(day) => WEEKDAYS.into_iter().zip(0_usize..).find(|(w, _)| day.ends_with(&w.to_lowercase())).map(
            |(day, n)| {
                let from = WEEKDAYS.iter().position(|w| Some(*w) == weekday).unwrap_or(n);
                (format!("On {day}"), day, n.saturating_add(7).saturating_sub(from) % 7)
            },
        ),
    };
    if let Some((label, day, days)) = named {
        let date = today.and_then(|t| string(t, &["date"])).and_then(|date| date.parse::<Date>().ok());
        if let Some(reason) = date.and_then(|date| closure(result, date, days)) {
            return Some(format!("{label} we are closed for {reason}."));
        }
        return Some(match of(day)? {
            "closed" => format!("{label} we are closed."),
            span => format!("{label} we are open from {span}."),
        });
    }
    let now = today.and_then(|t| string(t, &["hours"])).map(|hours| match hours {
        "closed" => "Today we are closed.".to_owned(),
        span => format!("Today we are open from {span}."),
    });
    // Days with the same hours are told together.
    let mut runs: Vec<(&str, &str, &str)> = Vec::new();
    for day in WEEKDAYS {
        let Some(span) = of(day) else { continue };
        match runs.last_mut() {
            Some((_, last, same)) if *same == span => *last = day,
            _ => runs.push((day, day, span)),
        }
    }
    let runs: Vec<String> = runs
        .into_iter()
        .map(|(first, last, span)| {
            let days = if first == last { first.to_owned() } else { format!("{first} to {last}") };
            format!("{days} {span}")
        })
        .collect();
    let week = format!("Our hours are {}.", listed(&runs, "and"));
    Some(now.map_or(week.clone(), |now| format!("{now} {week}")))
}

fn ahead(weekday: Option<&str>, days: usize) -> Option<&'static str> {
    let n = WEEKDAYS.iter().position(|day| Some(*day) == weekday)?;
    WEEKDAYS.get(n.saturating_add(days) % 7).copied()
}

/// Why the business is closed so many days from today.
fn closure(result: &Value, today: Date, days: usize) -> Option<String> {
    let date = (0..days).try_fold(today, |date, _| date.tomorrow().ok())?.to_string();
    let closed = result.get("closed_on")?.as_array()?;
    let found = closed.iter().find(|c| string(c, &["date"]) == Some(&date))?;
    Some(string(found, &["reason"]).unwrap_or("the day").to_owned())
}

fn people(result: &Value) -> Option<String> {
    let told = |person: &Value| {
        let name = string(person, &["name"])?;
        Some(match string(person, &["role"]) {
            Some(role) => format!("{name}, {role}"),
            None => name.to_owned(),
        })
    };
    if let Some(one) = result.get("person").and_then(told) {
        return Some(format!("That is {one}."));
    }
    let all: Vec<String> = result.get("staff")?.as_array()?.iter().filter_map(told).collect();
    (!all.is_empty()).then(|| format!("We have {}.", all.join("; ")))
}

fn place(result: &Value, said: &[String]) -> Option<String> {
    if says_any(said, &["phone", "number", "call you"]) {
        return Some(format!("Our number is {}.", string(result, &["phone"])?));
    }
    Some(format!("We are at {}", sentence(string(result, &["address"])?)))
}

fn policies(result: &Value, said: &[String]) -> Option<String> {
    if says_any(said, &["pay", "payment", "card", "cards", "cash"]) {
        return None;
    }
    let policies = result.get("policies")?;
    let keys: &[&str] = if says_any(said, &["late"]) {
        &["lateness"]
    } else if says_any(said, &["cancel", "cancellation", "reschedule", "move"]) {
        &["cancellation"]
    } else {
        &["cancellation", "lateness"]
    };
    let told: Vec<String> = keys.iter().filter_map(|key| string(policies, &[key])).map(sentence).collect();
    (!told.is_empty()).then(|| told.join(" "))
}

fn payment(result: &Value, said: &[String]) -> Option<String> {
    let ways: Vec<&str> = result.get("payment")?.as_array()?.iter().filter_map(Value::as_str).collect();
    let other = says_any(said, &["late", "cancel", "cancellation", "reschedule"]);
    (!ways.is_empty() && !other).then(|| format!("We take {}.", listed(&ways, "and")))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Anything else, read out as it comes, and not for long.
fn flat_info(result: &Value) -> String {
    let text = string(result, &["spoken", "say", "answer", "text", "info", "message"])
        .map_or_else(|| flat(result, 0), str::to_owned);
    let mut short = String::new();
    for word in text.split_whitespace() {
        if short.len().saturating_add(word.len()) > 240 {
            break;
        }
        if !short.is_empty() {
            short.push(' ');
        }
        short.push_str(word);
    }
    sentence(if short.is_empty() { "I have nothing on that" } else { &short })
}

fn flat(value: &Value, depth: u8) -> String {
    if depth > 6 {
        return String::new();
    }
    match value {
        Value::Null => String::new(),
        Value::Bool(b) => if *b { "yes" } else { "no" }.to_owned(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        Value::Array(all) => {
            let parts: Vec<String> =
                all.iter().map(|v| flat(v, depth.saturating_add(1))).filter(|s| !s.is_empty()).collect();
            parts.join(", ")
        }
        Value::Object(fields) => {
            let parts: Vec<String> = fields
                .iter()
                .filter(|(key, _)| {
                    !matches!(key.as_str(), "ok" | "success" | "topic" | "status" | "business")
                })
                .map(|(key, v)| {
                    let text = flat(v, depth.saturating_add(1));
                    if matches!(key.as_str(), "name" | "service" | "description") || text.is_empty() {
                        text
                    } else {
                        format!("{} {text}", key.replace('_', " "))
                    }
                })
                .filter(|s| !s.is_empty())
                .collect();
            parts.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prices_are_told_in_sentences_and_the_one_asked_about_alone() {
        let facts = json!({"business": "Cuts", "services": [
            {"name": "Classic Haircut", "price": 35.0, "minutes": 30}, {"name": "Fade", "price": 12.5},
            {"name": "Shave", "price": 40}, {"name": "Color", "price": 90},
        ]});
        assert_eq!(
            spoken_info(&facts, "What are your prices?"),
            "The Classic Haircut is 35 dollars, the Fade is 12 dollars and 50 cents and the Shave is 40 dollars. We \
             also offer Color. What would you like to know more about?"
        );
        assert_eq!(
            spoken_info(&facts, "How much is a haircut?"),
            "The Classic Haircut is 35 dollars. Would you like to book an appointment?"
        );
        assert_eq!(
            spoken_info(&facts, "What do you offer?"),
            "We offer Classic Haircut, Fade, Shave and Color."
        );
        let one = json!({"service": {"name": "Shave", "minutes": 40, "price": 40.0}});
        assert_eq!(spoken_info(&one, "a shave?"), "The Shave is 40 dollars and takes 40 minutes.");
    }

    #[test]
    fn hours_are_told_for_the_day_that_was_named() {
        let mut week = serde_json::Map::new();
        for day in WEEKDAYS {
            let hours = if day == "Monday" { "closed" } else { "9:00 AM to 7:00 PM" };
            week.insert(day.into(), json!(hours));
        }
        let facts = json!({
            "today": {"date": "2026-11-22", "weekday": "Sunday", "hours": "9:00 AM to 7:00 PM"}, "open_now": true,
            "week": week, "closed_on": [{"date": "2026-11-26", "reason": "Thanksgiving"}],
        });
        for (words, told) in [
            ("When do you open tomorrow?", "Tomorrow, Monday, we are closed."),
            ("Are you open on Tuesday?", "On Tuesday we are open from 9:00 AM to 7:00 PM."),
            ("Are you open on Thursday?", "On Thursday we are closed for Thanksgiving."),
            ("Are you open today?", "Today we are open from 9:00 AM to 7:00 PM."),
            (
                "When do you open?",
                "Today we are open from 9:00 AM to 7:00 PM. Our hours are Monday closed and Tuesday to Sunday 9:00 AM to \
                 7:00 PM.",
            ),
        ] {
            assert_eq!(spoken_info(&facts, words), told);
        }
    }

    #[test]
    fn place_people_policies_and_payment_are_told() {
        let place = json!({"address": "1 Main Street", "phone": "(202) 555-0100"});
        assert_eq!(spoken_info(&place, "Where are you?"), "We are at 1 Main Street.");
        assert_eq!(spoken_info(&place, "What is your number?"), "Our number is (202) 555-0100.");
        let rules = json!({"policies": {"cancellation": "A day ahead.", "lateness": "Ten minutes."},
            "payment": ["cash", "cards"]});
        assert_eq!(spoken_info(&rules, "Can I pay by card?"), "We take cash and cards.");
        assert_eq!(spoken_info(&rules, "What if I am late?"), "Ten minutes.");
        assert_eq!(spoken_info(&rules, "May I cancel?"), "A day ahead.");
        let staff = json!({"staff": [{"name": "Sam", "role": "barber"}, {"name": "Kim"}]});
        assert_eq!(spoken_info(&staff, "Who works there?"), "We have Sam, barber; Kim.");
    }

    #[test]
    fn anything_else_is_read_out_flat_and_short() {
        assert_eq!(
            spoken_info(&json!({"business": "Cuts", "parking": "behind"}), "parking?"),
            "parking behind."
        );
        assert!(spoken_info(&json!({"text": "word ".repeat(400)}), "").len() < 260);
        assert_eq!(spoken_info(&json!({}), ""), "I have nothing on that.");
    }
}
