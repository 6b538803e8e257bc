//! What the desk tells the model, and what it says when something cannot be done.

use super::Present;
use crate::booking::availability::{Refusal, Unavailable};
use crate::booking::dates::DateProblem;
use crate::booking::speak::{speak_date, speak_minute, weekday_name};
use crate::call::dialogue::messages::ToolOutcome;
use crate::db::DbError;
use crate::domain::call::Outcome;
use crate::domain::phone::PhoneError;
use crate::domain::profile::{BusinessProfile, MinuteOfDay};
use jiff::civil::Date;
use serde_json::{Value, json};

/// An answer that says why a tool did nothing: an object with `error`.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Value);

impl Refused {
    /// `message` tells the model what to do about it.
    pub(super) fn new(error: &str, message: &str) -> Self {
        Self(json!({"error": error, "message": message}))
    }

    /// The database or the clock is away.
    pub(super) fn calendar() -> Self {
        Self::new(
            "the calendar cannot be reached",
            "Nothing is confirmed. Say that the calendar cannot be reached right now and offer to take a message.",
        )
    }

    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        if let Some(object) = self.0.as_object_mut() {
            object.insert(key.to_owned(), value);
        }
        self
    }
}

impl From<DbError> for Refused {
    fn from(error: DbError) -> Self {
        // The text of a database error may quote what a caller said.
        tracing::warn!(code = error.code(), "the desk cannot reach the calendar");
        Self::calendar()
    }
}

/// An answer that achieves nothing by itself.
pub(super) fn told(content: Value) -> ToolOutcome {
    ToolOutcome { content, achieved: Outcome::default(), fact: None }
}

/// A day in words and as a date.
pub(super) fn day_json(date: Date, today: Date) -> Value {
    json!({
        "date": date.to_string(),
        "weekday": weekday_name(date.weekday()),
        "spoken_date": speak_date(date, today),
    })
}

/// Adds the fields of one object to another.
pub(super) fn join(mut into: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (into.as_object_mut(), more) {
        object.extend(more);
    }
    into
}

pub(super) fn date_problem(problem: &DateProblem, present: &Present) -> Refused {
    let today = present.calendar.today;
    let day = |date: Date| day_json(date, today);
    let refused = match problem {
        DateProblem::NotUnderstood => Refused::new(
            "the date is not understood",
            "Ask the caller which day is meant, then pass it as YYYY-MM-DD.",
        ),
        DateProblem::NotADay { from, to } => {
            Refused::new("that is more than one day", "Ask the caller which day of these is meant.")
                .with("from", day(*from))
                .with("to", day(*to))
        }
        DateProblem::Several { first, second } => {
            Refused::new("two different days were named", "Ask the caller which of the two days is meant.")
                .with("first", day(*first))
                .with("second", day(*second))
        }
        DateProblem::NoSuchDay => {
            Refused::new("there is no such day in the calendar", "Ask the caller which day is meant.")
        }
        DateProblem::Contradiction { by_weekday, by_date } => Refused::new(
            "the weekday contradicts the date",
            "Ask the caller which of the two days is meant, then pass that one as YYYY-MM-DD.",
        )
        .with("by_weekday", day(*by_weekday))
        .with("by_date", day(*by_date)),
        DateProblem::Past { date } => Refused::new(
            "that day is past",
            "Tell the caller which day was understood and ask which day is meant.",
        )
        .with("understood", day(*date)),
    };
    refused.with("today", day(today))
}

/// Both readings of a time that can be read twice, or how it can be said.
pub(super) fn time_problem(readings: Option<[MinuteOfDay; 2]>) -> Refused {
    match readings {
        None => Refused::new(
            "the time is not understood",
            "Ask the caller for the time, then pass it like 3:30 PM.",
        ),
        Some(readings) => Refused::new(
            "the time can be read in two ways",
            "Ask the caller whether morning or afternoon is meant.",
        )
        .with("readings", readings.map(speak_minute).into_iter().collect()),
    }
}

pub(super) fn unavailable(why: &Unavailable, today: Date) -> Refused {
    match why {
        Unavailable::Closed { reason } => {
            let refused = Refused::new("closed on that day", "Say so and offer another day.");
            match reason {
                Some(reason) => refused.with("reason", json!(reason)),
                None => refused,
            }
        }
        Unavailable::Past => Refused::new("that day is past", "Ask the caller which day is meant."),
        Unavailable::TooLate => {
            Refused::new("it is too late to book for today", "Say so and offer another day.")
        }
        Unavailable::TooFar { last } => Refused::new(
            "that is too far ahead",
            "Tell the caller up to which day appointments can be booked.",
        )
        .with("last_day", day_json(*last, today)),
        Unavailable::TooLong => Refused::new(
            "the service takes longer than the business is open on that day",
            "Say so and offer another day.",
        ),
        Unavailable::UnknownStaff => {
            Refused::new("nobody of that name works here", "Ask whether somebody else will do.")
        }
        Unavailable::NoSuchTime => Refused::calendar(),
    }
}

/// Why one time cannot be had.
pub(super) fn refused_time(why: Refusal, profile: &BusinessProfile) -> (&'static str, String) {
    match why {
        Refusal::Past => ("that time has passed", "Offer another time.".to_owned()),
        Refusal::TooSoon => (
            "that is too soon",
            format!("Appointments need {} minutes' notice. Offer another time.", profile.lead_minutes),
        ),
        Refusal::OutsideHours => (
            "that is outside the opening hours",
            "The service must begin and end within the opening hours. Offer another time.".to_owned(),
        ),
        Refusal::OffGrid => ("appointments begin at other minutes", "Offer one of these times.".to_owned()),
        Refusal::Taken => ("that time is not free", "Offer another time.".to_owned()),
    }
}

pub(super) fn bad_phone(error: &PhoneError) -> Refused {
    Refused::new(
        "the telephone number is not valid",
        "Nothing was stored. Read the number back to the caller, ask for it again, and pass all its digits.",
    )
    .with("expected", json!(error.to_string()))
}
