//! What callers and the model of a drill say: questions that are all different, each with one word by which it is known
//! in the transcript and one by which its answer is known in the caller's ear.

use crate::sim::script::{Act, EndKind, Person, Script, Step, WaitFor};
use crate::sim::vendors::brain::{Rule, Script as Brain, ScriptedCall};
use jiff::SignedDuration;
use jiff::civil::Date;
use serde_json::{Value, json};

const CONSONANTS: [&str; 10] = ["b", "d", "f", "k", "l", "m", "n", "p", "s", "t"];
const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];
/// Questions the model knows an answer to.
const QUESTIONS: usize = 300;
/// Races for a slot it knows.
const RACES: usize = 50;
/// Longest a caller waits for anything, ms.
const WITHIN_MS: u64 = 30_000;
/// Longest a call lasts, ms.
const LIMIT_MS: u64 = 900_000;
/// Words by which a wish to book is known.
pub const BOOKING: &str = "harvest";
/// Words by which a message is known in the database.
pub const MESSAGE: &str = "wedding";

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What the caller says.
    pub question: String,
    /// The word of it that no other question has.
    pub asked_by: String,
    /// The last word of its answer, which no other answer has.
    pub answered_by: String,
}

/// A word of three syllables that begins with `first`; `n` below 2,500 tells them apart.
fn word(first: &str, n: usize) -> String {
    let syllable = |n: usize| {
        let consonant = CONSONANTS.get(n / VOWELS.len() % CONSONANTS.len()).copied().unwrap_or_default();
        let vowel = VOWELS.get(n % VOWELS.len()).copied().unwrap_or_default();
        format!("{consonant}{vowel}")
    };
    let all = CONSONANTS.len() * VOWELS.len();
    format!("{first}{}{}", syllable(n / all), syllable(n % all))
}

/// The first so many questions.
pub fn items(count: usize) -> Vec<Item> {
    (0..count.min(QUESTIONS))
        .map(|n| {
            let asked_by = word("ra", n);
            Item {
                question: format!("Tell me about {asked_by} please"),
                asked_by,
                answered_by: word("zu", n),
            }
        })
        .collect()
}

/// What a caller says who wants the slot of a race.
pub fn race_words(race: usize) -> String {
    format!("Please book me the chair {}", word("vo", race))
}

/// The day of a race: each has one of its own, for who loses one is offered, and so holds, other times of its day.
pub fn race_day(today: Date, race: usize) -> Date {
    let after = i64::try_from(race).unwrap_or_default().saturating_add(1);
    today.saturating_add(SignedDuration::from_hours(24_i64.saturating_mul(after)))
}

/// The model, on a day: each question has its answer, and for what else is said it is the usual receptionist.
pub fn brain(today: Date) -> Brain {
    let say = |when: &str, say: String| Rule {
        when_contains: when.to_owned(),
        say,
        tools: Vec::new(),
        then: None,
        endless: false,
    };
    let call = |when: &str, tool: &str, arguments: Value| Rule {
        when_contains: when.to_owned(),
        say: String::new(),
        tools: vec![ScriptedCall { name: tool.to_owned(), arguments }],
        then: None,
        endless: false,
    };
    let mut rules: Vec<Rule> = items(QUESTIONS)
        .iter()
        .map(|item| {
            let answer = format!("Gladly, all that we have about it is kept at {}.", item.answered_by);
            say(&item.asked_by, answer)
        })
        .collect();
    let mut goodbye = call("goodbye", "end_call", json!({}));
    goodbye.say = "Goodbye.".to_owned();
    rules.push(goodbye);
    let anyone = json!({ "service": "Classic Haircut", "date": "tomorrow", "time": "7:00 PM", "customer_name": "Ada Jones" });
    rules.push(call(BOOKING, "book_appointment", anyone));
    for race in 0..RACES {
        let wanted = json!({
            "service": "Classic Haircut",
            "date": race_day(today, race).to_string(),
            "time": "9:00 AM",
            "staff": "Marcus",
            "customer_name": "Ada Jones",
        });
        rules.push(call(&word("vo", race), "book_appointment", wanted));
    }
    Brain { rules, otherwise: None }
}

/// The business of the drills: the barbershop, open every day from six to ten, so that no drill depends on the day.
pub fn business(barbershop: &str) -> anyhow::Result<String> {
    let mut profile: Value = serde_json::from_str(barbershop)?;
    if let Some(profile) = profile.as_object_mut() {
        for unwanted in ["breaks", "closures", "transfer_number"] {
            profile.remove(unwanted);
        }
        if let Some(hours) = profile.get_mut("hours").and_then(Value::as_object_mut) {
            for day in hours.values_mut() {
                *day = json!({ "open": "6:00 AM", "close": "10:00 PM" });
            }
        }
    }
    Ok(profile.to_string())
}

/// Pauses of callers, ms: none thinks as long as the one before.
const THINKS_MS: [u64; 5] = [900, 1_300, 700, 1_700, 1_100];

fn say(text: &str, heard: &[&str]) -> Step {
    Step {
        within_ms: WITHIN_MS,
        act: Some(Act::Say(text.to_owned())),
        expect_heard: heard.iter().map(|&text| text.to_owned()).collect(),
        ..Step::default()
    }
}

fn greeted() -> Step {
    Step { within_ms: WITHIN_MS, wait_for: Some(WaitFor::Greeting), ..Step::default() }
}

/// Says goodbye and waits for the bot to hang up.
fn goodbye() -> Step {
    let thinks = Some(WaitFor::SilenceMs(800));
    Step { wait_for: thinks, expect_end: Some(EndKind::Hangup), ..say("That is all, goodbye.", &[]) }
}

fn script(name: &str, steps: Vec<Step>) -> Script {
    Script {
        name: name.to_owned(),
        from: None,
        to: None,
        settle_ms: 700,
        limit_ms: LIMIT_MS,
        person: Person::default(),
        repeats: true,
        steps,
    }
}

/// Asks one after the other, waits for each answer, and goes on until it is enough.
pub fn asks(items: &[Item]) -> Script {
    let mut steps = vec![greeted()];
    for (item, thinks) in items.iter().zip(THINKS_MS.iter().cycle()) {
        steps.push(Step {
            wait_for: Some(WaitFor::SilenceMs(*thinks)),
            // The first one is always asked: a caller who says nothing proves nothing.
            optional: steps.len() > 1,
            ..say(&item.question, &[&item.answered_by])
        });
    }
    steps.push(goodbye());
    script("asks", steps)
}

/// Asks the first question, then wants to book; hears that it is done.
pub fn books(items: &[Item]) -> Script {
    let mut steps = vec![greeted()];
    steps.extend(items.first().map(|item| say(&item.question, &[&item.answered_by])));
    steps.push(say(&format!("Please book me the {BOOKING} cut"), &["is booked"]));
    steps.push(goodbye());
    script("books", steps)
}

/// Wants to book while that cannot be done, hears so, and leaves a message.
pub fn leaves_a_message(items: &[Item], after: u64) -> Script {
    let mut steps = vec![greeted()];
    steps.extend(items.first().map(|item| say(&item.question, &[&item.answered_by])));
    steps.push(Step { within_ms: after + WITHIN_MS, act: Some(Act::Pause(after)), ..Step::default() });
    steps.push(say(&format!("Please book me the {BOOKING} cut"), &["message"]));
    let message = format!("Please take a message: call me back about the {MESSAGE}.");
    steps.push(Step { wait_for: Some(WaitFor::SilenceMs(900)), ..say(&message, &["taken your message"]) });
    steps.push(goodbye());
    script("leaves a message", steps)
}

/// Wants the slot of a race, and hears something about it.
pub fn races(race: usize) -> Script {
    let wants = Step { wait_for: Some(WaitFor::SilenceMs(800)), ..say(&race_words(race), &[]) };
    let told = Step { within_ms: WITHIN_MS, wait_for: Some(WaitFor::Reply), ..Step::default() };
    script("races", vec![greeted(), wants, told, goodbye()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_word_by_which_something_is_known_is_part_of_anything_else() {
        let items = items(usize::MAX);
        assert_eq!(items.len(), QUESTIONS);
        let mut words: Vec<String> =
            items.iter().flat_map(|item| [item.asked_by.clone(), item.answered_by.clone()]).collect();
        words.extend((0..RACES).map(|race| word("vo", race)));
        words.extend([BOOKING.to_owned(), MESSAGE.to_owned(), "goodbye".to_owned()]);
        assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
        for rule in brain(jiff::civil::date(2026, 12, 30)).rules {
            let others = words.iter().filter(|word| rule.when_contains.contains(word.as_str())).count();
            assert_eq!(others, 1, "{}", rule.when_contains);
        }
    }

    #[test]
    fn every_race_has_a_day_of_its_own_that_can_be_booked() {
        let today = jiff::civil::date(2026, 12, 30);
        assert_eq!(race_day(today, 0), jiff::civil::date(2026, 12, 31));
        assert_eq!(race_day(today, 2), jiff::civil::date(2027, 1, 2));
        // The barbershop's horizon.
        assert!(race_day(today, RACES - 1) <= jiff::civil::date(2027, 2, 28));
    }

    #[test]
    fn the_business_is_open_every_day() {
        let text = business(crate::config::profile::BARBERSHOP).unwrap();
        let profile = crate::config::profile::parse(&text).unwrap();
        assert!(profile.hours.iter().all(Option::is_some));
        assert!(profile.closures.is_empty() && profile.breaks.is_empty());
    }
}
