//! Spoken times of day.
//!
//! A time without "AM", "PM" or a part of the day ("three thirty") has two readings; the opening hours decide between
//! them, and where they cannot, the caller has to be asked.

use super::words::{number_at, words};
use crate::domain::profile::{MinuteOfDay, OpenHours};

const HALF_DAY: u16 = 12 * 60;

/// A time as it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpokenTime {
    /// There is one reading.
    Exact(MinuteOfDay),
    /// Before or after noon: the minute of the half day, 0..720.
    HalfDay(MinuteOfDay),
}

impl SpokenTime {
    /// The readings, the earlier first; twice the same if there is one only.
    pub fn readings(self) -> [MinuteOfDay; 2] {
        match self {
            Self::Exact(time) => [time, time],
            Self::HalfDay(MinuteOfDay(minute)) => {
                [MinuteOfDay(minute), MinuteOfDay(minute.saturating_add(HALF_DAY))]
            }
        }
    }
}

/// Why a time cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeProblem {
    /// It is no time of day.
    NotUnderstood,
    /// Both readings lie within the opening hours, or nothing is known of these.
    Ambiguous {
        /// Before noon.
        am: MinuteOfDay,
        /// After noon.
        pm: MinuteOfDay,
    },
    /// Neither reading lies within the opening hours.
    Closed {
        /// Before noon.
        am: MinuteOfDay,
        /// After noon.
        pm: MinuteOfDay,
    },
}

/// The minute of the day that is meant, by the opening hours of the day in question.
pub fn resolve_time(text: &str, hours: Option<OpenHours>) -> Result<MinuteOfDay, TimeProblem> {
    let spoken = parse_time(text).ok_or(TimeProblem::NotUnderstood)?;
    let [am, pm] = spoken.readings();
    if let SpokenTime::Exact(time) = spoken {
        return Ok(time);
    }
    let Some(hours) = hours else { return Err(TimeProblem::Ambiguous { am, pm }) };
    let open = |time: MinuteOfDay| (hours.open..hours.close).contains(&time);
    match (open(am), open(pm)) {
        (true, false) => Ok(am),
        (false, true) => Ok(pm),
        (true, true) => Err(TimeProblem::Ambiguous { am, pm }),
        (false, false) => Err(TimeProblem::Closed { am, pm }),
    }
}

/// Reads a time of day as people say or write it.
pub fn parse_time(text: &str) -> Option<SpokenTime> {
    time_of_words(&words(text))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Am,
    Pm,
    Night,
}

/// The same for a text that is cut into words already.
pub(super) fn time_of_words(all: &[String]) -> Option<SpokenTime> {
    let mut part = None;
    let mut rest: Vec<String> = Vec::new();
    let mut named = None;
    for word in all {
        let said = match word.as_str() {
            "am" | "morning" => Some(Part::Am),
            "pm" | "afternoon" | "evening" | "tonight" => Some(Part::Pm),
            "night" => Some(Part::Night),
            _ => None,
        };
        match word.as_str() {
            _ if said.is_some() => {
                if part.is_some_and(|before| Some(before) != said) {
                    return None;
                }
                part = said;
            }
            "noon" | "midday" => named = Some(HALF_DAY),
            "midnight" => named = Some(0),
            "at" | "around" | "about" | "roughly" | "oclock" | "the" | "in" | "on" | "this" | "a"
            | "sharp" | "exactly" | "please" | "ish" | "minute" | "minutes" => {}
            "clock" => {
                rest.pop_if(|before| before == "o");
            }
            _ => rest.push(word.clone()),
        }
    }
    if let Some(minute) = named {
        let twelve =
            rest.is_empty() || matches!(rest.as_slice(), [h] if h == "12" || h == "twelve" || h == "12:00");
        return (twelve && part.is_none()).then_some(SpokenTime::Exact(MinuteOfDay(minute)));
    }
    clock(&rest)?.at(part)
}

/// Hour and minute as they stand on a dial.
#[derive(Clone, Copy)]
struct Dial {
    /// 0..=23.
    hour: u16,
    /// 0..=59.
    minute: u16,
    /// How many minutes are to be taken off.
    before: u16,
    /// Whether it was written with two digits ("09:00"), as on a 24-hour clock.
    padded: bool,
}

impl Dial {
    fn new(hour: u32, minute: u32) -> Option<Self> {
        let (hour, minute) = (u16::try_from(hour).ok()?, u16::try_from(minute).ok()?);
        (hour < 24 && minute < 60).then_some(Self { hour, minute, before: 0, padded: false })
    }

    fn at(self, part: Option<Part>) -> Option<SpokenTime> {
        if self.hour == 0 || self.hour > 12 {
            let fits = match part {
                None => true,
                Some(Part::Am) => self.hour == 0,
                Some(Part::Pm) => self.hour > 12,
                Some(Part::Night) => self.hour == 0 || self.hour >= 17,
            };
            let minute = (self.hour * 60 + self.minute + 2 * HALF_DAY - self.before) % (2 * HALF_DAY);
            return fits.then_some(SpokenTime::Exact(MinuteOfDay(minute)));
        }
        let minute = ((self.hour % 12) * 60 + self.minute + HALF_DAY - self.before) % HALF_DAY;
        let exact = |after_noon: bool| {
            SpokenTime::Exact(MinuteOfDay(if after_noon { minute + HALF_DAY } else { minute }))
        };
        Some(match part {
            Some(Part::Am) => exact(false),
            Some(Part::Pm) => exact(true),
            Some(Part::Night) => exact(minute >= 5 * 60),
            None if self.padded => exact(false),
            None => SpokenTime::HalfDay(MinuteOfDay(minute)),
        })
    }
}

fn clock(words: &[String]) -> Option<Dial> {
    match words.first()?.as_str() {
        "half" => {
            let from = if words.get(1).is_some_and(|w| w == "past" || w == "after") { 2 } else { 1 };
            let hour = only_number(words, from)?;
            Dial::new(hour, 30)
        }
        "quarter" => to_or_past(words, 1, 15),
        _ => written(words).or_else(|| spelled(words)),
    }
}

/// "… past three", "… to four".
fn to_or_past(words: &[String], at: usize, minutes: u32) -> Option<Dial> {
    let hour = only_number(words, at + 1)?;
    match words.get(at)?.as_str() {
        "past" | "after" => Dial::new(hour, minutes),
        "to" | "till" | "til" | "of" | "before" => {
            let before = u16::try_from(minutes).ok().filter(|m| *m < 60)?;
            Some(Dial { before, ..Dial::new(hour, 0)? })
        }
        _ => None,
    }
}

/// The number that is all that is left.
fn only_number(words: &[String], at: usize) -> Option<u32> {
    let number = number_at(words, at)?;
    (!number.ordinal && words.len() == at + number.words).then_some(number.value)
}

/// `15:00`, `3.30`, `1500`, `2026-11-24t15:00`.
fn written(words: &[String]) -> Option<Dial> {
    let [word] = words else { return None };
    let word =
        word.split_once('t').filter(|(date, _)| date.contains('-')).map_or(word.as_str(), |(_, time)| time);
    let mut parts = word.split([':', '.']);
    let (hour, minute, second) = (parts.next()?, parts.next(), parts.next());
    let plain = |text: &str| text.len() <= 2 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute) = match minute {
        Some(minute) if minute.len() == 2 => (hour, minute),
        Some(_) => return None,
        None if (3..=4).contains(&hour.len()) => hour.split_at_checked(hour.len() - 2)?,
        None => return None,
    };
    if parts.next().is_some() || !plain(hour) || !plain(minute) || second.is_some_and(|s| s != "00") {
        return None;
    }
    let dial = Dial::new(hour.parse().ok()?, minute.parse().ok()?)?;
    Some(Dial { padded: hour.starts_with('0'), ..dial })
}

/// "three", "three thirty", "three oh five", "ten past three".
fn spelled(words: &[String]) -> Option<Dial> {
    let first = number_at(words, 0).filter(|n| !n.ordinal)?;
    let at = first.words;
    match words.get(at).map(String::as_str) {
        None => Dial::new(first.value, 0),
        Some("oh" | "o" | "zero") => Dial::new(first.value, only_number(words, at + 1).filter(|m| *m < 10)?),
        Some("past" | "after" | "to" | "till" | "til" | "of" | "before") => {
            to_or_past(words, at, first.value)
        }
        Some(_) => Dial::new(first.value, only_number(words, at).filter(|m| *m >= 10)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hm(hour: u16, minute: u16) -> MinuteOfDay {
        MinuteOfDay(hour * 60 + minute)
    }

    const SHOP: OpenHours = OpenHours { open: MinuteOfDay(9 * 60), close: MinuteOfDay(19 * 60) };
    const ALL_DAY: OpenHours = OpenHours { open: MinuteOfDay(0), close: MinuteOfDay(1_440) };

    #[test]
    fn times_are_read_as_people_say_them() {
        for (text, hour, minute) in [
            ("3 PM", 15, 0),
            ("3pm", 15, 0),
            ("at 3 p.m.", 15, 0),
            ("3:30 P M", 15, 30),
            ("15:00", 15, 0),
            ("15.30", 15, 30),
            ("1500", 15, 0),
            ("330 pm", 15, 30),
            ("09:00", 9, 0),
            ("09:00 PM", 21, 0),
            ("2026-11-24T15:45", 15, 45),
            ("15:00:00", 15, 0),
            ("noon", 12, 0),
            ("12 noon", 12, 0),
            ("midnight", 0, 0),
            ("12 AM", 0, 0),
            ("12:30 pm", 12, 30),
            ("0:15", 0, 15),
            ("half past two in the afternoon", 14, 30),
            ("half two pm", 14, 30),
            ("quarter to four pm", 15, 45),
            ("a quarter past three in the afternoon", 15, 15),
            ("quarter to one PM", 12, 45),
            ("quarter of one PM", 12, 45),
            ("ten past three pm", 15, 10),
            ("twenty-five minutes to nine am", 8, 35),
            ("three thirty this afternoon", 15, 30),
            ("three oh five pm", 15, 5),
            ("3 o'clock in the afternoon", 15, 0),
            ("3 o clock in the afternoon", 15, 0),
            ("eleven forty five in the morning", 11, 45),
            ("eight at night", 20, 0),
            ("two at night", 2, 0),
            ("twenty thirty", 20, 30),
            ("fifteen thirty", 15, 30),
            ("quarter to 13", 12, 45),
            ("quarter to midnight is not read", 99, 0),
        ] {
            let want = (hour < 24).then(|| SpokenTime::Exact(hm(hour, minute)));
            assert_eq!(parse_time(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_understood() {
        for text in [
            "",
            "soon",
            "25:00",
            "3:7",
            "3:75",
            "13 am",
            "0 pm",
            "25",
            "three five",
            "half past",
            "quarter",
            "3rd",
            "3 pm am",
            "morning",
            "12:30 noon",
            "three thirty four pm x",
            "99999",
            "3 to",
            "70 past 3",
        ] {
            assert_eq!(resolve_time(text, Some(SHOP)), Err(TimeProblem::NotUnderstood), "{text}");
        }
    }

    #[test]
    fn the_opening_hours_decide_between_morning_and_afternoon() {
        for (text, want) in [
            ("3", Ok(hm(15, 0))),
            ("three thirty", Ok(hm(15, 30))),
            ("half past two", Ok(hm(14, 30))),
            ("quarter to four", Ok(hm(15, 45))),
            ("quarter to one", Ok(hm(12, 45))),
            ("10", Ok(hm(10, 0))),
            ("11:30", Ok(hm(11, 30))),
            ("12", Ok(hm(12, 0))),
            ("7", Err(TimeProblem::Closed { am: hm(7, 0), pm: hm(19, 0) })),
            ("8 o'clock", Err(TimeProblem::Closed { am: hm(8, 0), pm: hm(20, 0) })),
            ("20:00", Ok(hm(20, 0))),
        ] {
            assert_eq!(resolve_time(text, Some(SHOP)), want, "{text}");
        }
        let both = Err(TimeProblem::Ambiguous { am: hm(3, 0), pm: hm(15, 0) });
        assert_eq!(resolve_time("3", Some(ALL_DAY)), both);
        assert_eq!(resolve_time("3", None), both);
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_time_lies_in_the_day(text in "\\PC{0,60}|[0-9a-z:. ]{0,20}") {
            for hours in [None, Some(SHOP), Some(ALL_DAY)] {
                if let Ok(time) = resolve_time(&text, hours) {
                    prop_assert!(time.0 < 1_440);
                }
            }
        }

        #[test]
        fn what_is_spoken_is_understood_as_the_same_time(minute in 0u16..1_440) {
            let spoken = crate::booking::speak::speak_minute(MinuteOfDay(minute));
            prop_assert_eq!(parse_time(&spoken), Some(SpokenTime::Exact(MinuteOfDay(minute))));
        }
    }
}
