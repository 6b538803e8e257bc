//! Takes a spoken date apart. What is not known is an error, never skipped: "not Tuesday" must not become Tuesday.

use super::{Calendar, DateProblem, Parts, Which, Wish, plus_days, week_start};
use crate::booking::times;
use crate::booking::words::{number_at, words};
use jiff::civil::{Date, Weekday};

/// Sums of days from farther off than this are not understood.
const MAX_DAYS: i64 = 3_660;

pub(super) fn read(text: &str, calendar: Calendar) -> Result<Parts, DateProblem> {
    let mut reader = Reader { words: words(text), at: 0, which: None, calendar, parts: Parts::default() };
    while reader.at < reader.words.len() {
        let used = reader.step()?;
        reader.at = reader.at.saturating_add(used.max(1));
    }
    // "next" with nothing after it that is next.
    if reader.which.is_some_and(|which| which != Which::Coming) {
        return Err(DateProblem::NotUnderstood);
    }
    Ok(reader.parts)
}

struct Reader {
    words: Vec<String>,
    at: usize,
    /// "next", "last" or "this", waiting for what it belongs to.
    which: Option<Which>,
    calendar: Calendar,
    parts: Parts,
}

impl Reader {
    fn word(&self, ahead: usize) -> &str {
        self.at.checked_add(ahead).and_then(|at| self.words.get(at)).map_or("", String::as_str)
    }

    /// Understands what begins at the present word; says how many words that was.
    fn step(&mut self) -> Result<usize, DateProblem> {
        let word = self.word(0).to_owned();
        if let Some(used) = self.relative(&word)? {
            return Ok(used);
        }
        if let Some(weekday) = weekday(&word) {
            let which = self.which.take().unwrap_or(Which::Coming);
            if let Some((before, _)) = self.parts.weekday
                && before != weekday
            {
                return Err(self.two_weekdays(before, weekday));
            }
            self.parts.weekday = Some((weekday, which));
            return Ok(1);
        }
        if let Some(month) = month(&word) {
            set(&mut self.parts.month, month)?;
            return Ok(1);
        }
        if let Some(used) = self.counted()? {
            return Ok(used);
        }
        if let Some(used) = self.time_of_day(&word)? {
            return Ok(used);
        }
        if let Some(date) = written(&word, self.calendar)? {
            self.fix(date)?;
            return Ok(1);
        }
        self.number()
    }

    fn two_weekdays(&self, first: Weekday, second: Weekday) -> DateProblem {
        let date = |weekday| super::named(weekday, Which::Coming, self.calendar);
        match (date(first), date(second)) {
            (Some(first), Some(second)) => DateProblem::Several { first, second },
            _ => DateProblem::NotUnderstood,
        }
    }

    fn fix(&mut self, date: Date) -> Result<(), DateProblem> {
        match self.parts.fixed.replace(date) {
            Some(first) if first != date => Err(DateProblem::Several { first, second: date }),
            _ => Ok(()),
        }
    }

    fn days_ahead(&mut self, days: i64) -> Result<(), DateProblem> {
        let date = plus_days(self.calendar.today, days).ok_or(DateProblem::NotUnderstood)?;
        self.fix(date)
    }

    /// Words that count from today, and small words.
    fn relative(&mut self, word: &str) -> Result<Option<usize>, DateProblem> {
        match (word, self.word(1), self.word(2)) {
            ("day", "after", "tomorrow") => self.days_ahead(2).map(|()| Some(3)),
            ("day", "before", "yesterday") => self.days_ahead(-2).map(|()| Some(3)),
            ("week", "after", "next") => set(&mut self.parts.week, 2).map(|()| Some(3)),
            ("today" | "now", ..) => self.days_ahead(0).map(|()| Some(1)),
            ("tonight", ..) => {
                self.parts.wish = Some(Wish::Evening);
                self.days_ahead(0).map(|()| Some(1))
            }
            ("tomorrow" | "tmrw" | "tomorow" | "tommorow" | "tommorrow", ..) => {
                self.days_ahead(1).map(|()| Some(1))
            }
            ("yesterday", ..) => self.days_ahead(-1).map(|()| Some(1)),
            ("this" | "coming", ..) => {
                self.which.get_or_insert(Which::Coming);
                Ok(Some(1))
            }
            ("next" | "following", ..) => {
                self.which = Some(Which::Next);
                Ok(Some(1))
            }
            ("last", ..) => {
                self.which = Some(Which::Last);
                Ok(Some(1))
            }
            ("weekend", ..) => Err(self.weekend()),
            ("week" | "month", ..) if self.which.is_some() => {
                let ahead = match self.which.take() {
                    Some(Which::Next) => 1,
                    Some(Which::Last) => -1,
                    Some(Which::Coming) | None => 0,
                };
                let place = if word == "week" { &mut self.parts.week } else { &mut self.parts.months_ahead };
                set(place, ahead).map(|()| Some(1))
            }
            ("on" | "the" | "of" | "for" | "in" | "day" | "date" | "please" | "um" | "uh" | "er", ..) => {
                Ok(Some(1))
            }
            _ => Ok(None),
        }
    }

    fn weekend(&self) -> DateProblem {
        let weeks = i64::from(self.which == Some(Which::Next));
        let monday = week_start(self.calendar.today, weeks);
        let day = |ahead| monday.and_then(|monday| plus_days(monday, ahead));
        match (day(5), day(6)) {
            (Some(from), Some(to)) => DateProblem::NotADay { from: from.max(self.calendar.today), to },
            _ => DateProblem::NotUnderstood,
        }
    }

    /// "in two days", "a week from Friday", "in a fortnight".
    fn counted(&mut self) -> Result<Option<usize>, DateProblem> {
        let (count, words) = match self.word(0) {
            "a" | "an" | "one" => (1, 1),
            "fortnight" => (1, 0),
            _ => match number_at(&self.words, self.at).filter(|n| !n.ordinal) {
                Some(number) => (i64::from(number.value), number.words),
                None => return Ok(None),
            },
        };
        let unit = match self.word(words) {
            "day" | "days" => 1,
            "week" | "weeks" => 7,
            "fortnight" => 14,
            _ => return Ok(None),
        };
        let days = count.saturating_mul(unit);
        if days > MAX_DAYS {
            return Err(DateProblem::NotUnderstood);
        }
        let words = words.saturating_add(1);
        match (self.word(words), self.word(words.saturating_add(1))) {
            ("from", "now" | "today") => self.days_ahead(days).map(|()| Some(words + 2)),
            ("from" | "after", _) => {
                self.parts.plus = days;
                Ok(Some(words + 1))
            }
            // "Friday in two weeks" is that week's Friday.
            _ if unit > 1 && self.names_weekday() => {
                set(&mut self.parts.week, days / 7).map(|()| Some(words))
            }
            _ => self.days_ahead(days).map(|()| Some(words)),
        }
    }

    fn names_weekday(&self) -> bool {
        self.words.iter().any(|word| weekday(word).is_some())
    }

    /// A part of the day, or a time: whatever follows "at" and the like.
    fn time_of_day(&mut self, word: &str) -> Result<Option<usize>, DateProblem> {
        let part = match word {
            "morning" | "am" => Some(Wish::Morning),
            "afternoon" | "lunchtime" | "pm" => Some(Wish::Afternoon),
            "evening" | "night" => Some(Wish::Evening),
            _ => None,
        };
        if part.is_some() {
            self.parts.this_part |= self.which.take() == Some(Which::Coming);
            self.parts.wish = part;
            return Ok(Some(1));
        }
        let timed = match word {
            "at" | "around" | "about" | "noon" | "midday" => true,
            _ => word.contains(':') && !word.contains('-') || matches!(self.word(1), "am" | "pm" | "oclock"),
        };
        if !timed {
            return Ok(None);
        }
        let rest = self.words.get(self.at..).unwrap_or_default();
        let time = times::time_of_words(rest).ok_or(DateProblem::NotUnderstood)?;
        self.parts.wish = Some(Wish::At(time));
        Ok(Some(rest.len()))
    }

    /// A day of the month or a year.
    fn number(&mut self) -> Result<usize, DateProblem> {
        let number = number_at(&self.words, self.at).ok_or(DateProblem::NotUnderstood)?;
        // "The second Tuesday of May" is not the second of May.
        if number.ordinal
            && weekday(self.word(number.words)).is_some()
            && matches!(self.word(number.words.saturating_add(1)), "of" | "in")
        {
            return Err(DateProblem::NotUnderstood);
        }
        let next = number_at(&self.words, self.at.saturating_add(number.words)).filter(|n| !n.ordinal);
        let value = match (number.value, next) {
            // "Twenty twenty-six".
            (20, Some(rest)) if !number.ordinal && (10..100).contains(&rest.value) => {
                let year = i16::try_from(rest.value.saturating_add(2_000));
                set(&mut self.parts.year, year.map_err(|_| DateProblem::NotUnderstood)?)?;
                return Ok(number.words.saturating_add(rest.words));
            }
            (value, _) => value,
        };
        match value {
            1..=31 => set(&mut self.parts.day, i8::try_from(value).map_err(|_| DateProblem::NotUnderstood)?)?,
            32..=99 if number.ordinal || self.parts.month.is_some() => return Err(DateProblem::NoSuchDay),
            1900..=2999 => {
                set(&mut self.parts.year, i16::try_from(value).map_err(|_| DateProblem::NotUnderstood)?)?;
            }
            _ => return Err(DateProblem::NotUnderstood),
        }
        // "The next 3rd" is just the 3rd.
        self.which = None;
        Ok(number.words)
    }
}

/// Sets what may be said once, or twice alike.
fn set<T: PartialEq + Copy>(place: &mut Option<T>, value: T) -> Result<(), DateProblem> {
    match place.replace(value) {
        Some(before) if before != value => Err(DateProblem::NotUnderstood),
        _ => Ok(()),
    }
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" | "tues" => Weekday::Tuesday,
        "wednesday" | "wed" | "weds" => Weekday::Wednesday,
        "thursday" | "thu" | "thur" | "thurs" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

fn month(word: &str) -> Option<i8> {
    Some(match word {
        "january" | "jan" => 1,
        "february" | "feb" => 2,
        "march" | "mar" => 3,
        "april" | "apr" => 4,
        "may" => 5,
        "june" | "jun" => 6,
        "july" | "jul" => 7,
        "august" | "aug" => 8,
        "september" | "sept" | "sep" => 9,
        "october" | "oct" => 10,
        "november" | "nov" => 11,
        "december" | "dec" => 12,
        _ => return None,
    })
}

/// `2026-11-24`, `2026-11-24t15:00`, `11/24`, `24.11.2026`, `11-24-26`.
fn written(word: &str, calendar: Calendar) -> Result<Option<Date>, DateProblem> {
    let word = word.split_once('t').map_or(word, |(date, _)| date);
    let numbers: Vec<&str> = word.split(['-', '/', '.']).collect();
    let number = |text: &str| {
        let fits = text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.parse::<i16>().ok()).flatten()
    };
    let (year, first, second, day_first) = match numbers.as_slice() {
        [year, month, day] if year.len() == 4 => (number(year), number(month), number(day), false),
        [first, second] | [first, second, _] => {
            let year = numbers.get(2).and_then(|year| number(year));
            let year = year.map(|year| if year < 100 { year.saturating_add(2_000) } else { year });
            if numbers.len() == 3 && year.is_none() {
                return Ok(None);
            }
            (year, number(first), number(second), calendar.day_first || word.contains('.'))
        }
        _ => return Ok(None),
    };
    let (Some(first), Some(second)) = (first, second) else { return Ok(None) };
    let (month, day) = match (day_first, first, second) {
        // Whatever the order of the country: there is no thirteenth month.
        (false, 13.., 1..=12) if numbers.first().is_some_and(|n| n.len() < 4) => (second, first),
        (true, 1..=12, 13..) => (first, second),
        (true, ..) => (second, first),
        (false, ..) => (first, second),
    };
    let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else {
        return Err(DateProblem::NoSuchDay);
    };
    let parts = Parts { year, month: Some(month), day: Some(day), ..Parts::default() };
    parts.numbered(calendar)
}
