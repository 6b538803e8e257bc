//! Spoken dates, resolved by the server: the model passes on what the caller said, and only the business's calendar
//! decides which day that is.
//!
//! The rules for weekdays: "Tuesday" and "this Tuesday" are the next Tuesday, and today if today is one and the
//! business has not closed yet. "Next Tuesday" is the Tuesday of the week after this one; weeks begin on Monday. A day
//! and month without a year are the next such day, unless this year's has only just passed (90 days): then the caller
//! is told so. A weekday that contradicts the date beside it is never resolved: the caller has to be asked.

mod reader;
#[cfg(test)]
mod tests;

use super::times::SpokenTime;
use crate::domain::profile::{BusinessProfile, MinuteOfDay};
use crate::domain::time::UnixMillis;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// How long ago a day of this year may be for its mention without a year to mean that day and not next year's.
const JUST_PASSED_DAYS: i64 = 90;

/// How many years and months are searched for a day that not every one of them has.
const SEARCHED: i16 = 12;

/// What has to be known to say which day is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// Today, at the business.
    pub today: Date,
    /// Whether the business is open later today.
    pub still_open: bool,
    /// Whether `3/11` is the third of November and not the eleventh of March.
    pub day_first: bool,
}

impl Calendar {
    /// The calendar of a business at a time.
    pub fn of(profile: &BusinessProfile, now: &Zoned) -> Self {
        let today = now.date();
        let minute = i32::from(now.hour()) * 60 + i32::from(now.minute());
        let hours = super::availability::hours_on(profile, today).ok();
        Self {
            today,
            still_open: hours.is_some_and(|hours| minute < i32::from(hours.close.0)),
            day_first: region_of(profile) != "US",
        }
    }
}

/// The business's time zone; none if the profile names one that does not exist.
pub fn zone_of(profile: &BusinessProfile) -> Option<TimeZone> {
    TimeZone::get(&profile.timezone).ok()
}

/// The country the business is in, as far as its locale says so, in two letters of ISO 3166; else the United States.
pub fn region_of(profile: &BusinessProfile) -> String {
    let mut parts = profile.locale.split(['-', '_']).skip(1);
    let region = parts.find(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_alphabetic()));
    region.unwrap_or("US").to_ascii_uppercase()
}

/// An instant on the business's clock.
pub fn local(at: UnixMillis, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(at.0).ok()?.to_zoned(zone.clone()))
}

/// The date some days later, or earlier.
pub(crate) fn plus_days(date: Date, days: i64) -> Option<Date> {
    date.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// How many days a date lies after another.
pub(crate) fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

/// A day of the business's, as money is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusinessDay {
    /// When it began.
    pub begins: UnixMillis,
    /// When the next one begins.
    pub ends: UnixMillis,
}

impl BusinessDay {
    /// The day that an instant belongs to. A business whose zone does not exist keeps UTC's days.
    pub fn of(profile: &BusinessProfile, at: UnixMillis) -> Self {
        Self::at(&zone_of(profile).unwrap_or(TimeZone::UTC), at)
    }

    fn at(zone: &TimeZone, at: UnixMillis) -> Self {
        let date = Timestamp::from_millisecond(at.0).unwrap_or_default().to_zoned(zone.clone()).date();
        let midnight = |date: Option<Date>| {
            let instant = date.and_then(|date| super::availability::instant(zone, date, MinuteOfDay(0)));
            instant.unwrap_or(at)
        };
        Self { begins: midnight(Some(date)), ends: midnight(plus_days(date, 1)) }
    }
}

/// The part of a day somebody would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Before noon.
    Morning,
    /// From noon to five.
    Afternoon,
    /// From five on.
    Evening,
    /// As near to this time as can be.
    At(SpokenTime),
}

/// A day as it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpokenDay {
    /// Which day.
    pub date: Date,
    /// When on it, if that was said in the same breath.
    pub wish: Option<Wish>,
}

/// Why a date cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DateProblem {
    /// It is no date, or has parts whose meaning is not known.
    NotUnderstood,
    /// It is several days ("next week", "in November").
    NotADay {
        /// The first of them that is not past.
        from: Date,
        /// The last.
        to: Date,
    },
    /// Two different days were named.
    Several {
        /// One.
        first: Date,
        /// The other.
        second: Date,
    },
    /// There is no such day ("February 30").
    NoSuchDay,
    /// The weekday is not that of the date.
    Contradiction {
        /// The day if the weekday is right: the nearest to the date that is not past.
        by_weekday: Date,
        /// The day if the date is right.
        by_date: Date,
    },
    /// It is past.
    Past {
        /// The day that was understood.
        date: Date,
    },
}

/// The day that is meant.
pub fn resolve_date(text: &str, calendar: Calendar) -> Result<SpokenDay, DateProblem> {
    let parts = reader::read(text, calendar)?;
    let date = parts.date(calendar)?;
    if date < calendar.today {
        return Err(DateProblem::Past { date });
    }
    Ok(SpokenDay { date, wish: parts.wish })
}

/// Which one of the days of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// "Tuesday", "this Tuesday".
    Coming,
    /// "Next Tuesday".
    Next,
    /// "Last Tuesday".
    Last,
}

/// What was said of a date, not yet put together.
#[derive(Clone, Debug, Default)]
struct Parts {
    weekday: Option<(Weekday, Which)>,
    /// A whole date or a day counted from today.
    fixed: Option<Date>,
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    /// Weeks from this one ("next week").
    week: Option<i64>,
    /// Months from this one ("of next month").
    months_ahead: Option<i64>,
    /// Days to be added ("a week from Friday").
    plus: i64,
    /// "This morning": today, if nothing else is said.
    this_part: bool,
    wish: Option<Wish>,
}

impl Parts {
    fn date(&self, calendar: Calendar) -> Result<Date, DateProblem> {
        let by_date = match (self.fixed, self.numbered(calendar)?) {
            (Some(first), Some(second)) if first != second => {
                return Err(DateProblem::Several { first, second });
            }
            (fixed, numbered) => fixed.or(numbered),
        };
        let date = match (by_date, self.weekday) {
            (Some(by_date), Some((weekday, which))) if by_date.weekday() != weekday => {
                let by_weekday = match which {
                    Which::Next => named(weekday, which, calendar),
                    Which::Coming | Which::Last => nearest(weekday, by_date, calendar),
                };
                let by_weekday = by_weekday.ok_or(DateProblem::NotUnderstood)?;
                return Err(DateProblem::Contradiction { by_weekday, by_date });
            }
            (Some(by_date), _) => {
                if self.week.is_some_and(|weeks| week_start(by_date, 0) != week_start(calendar.today, weeks))
                {
                    return Err(DateProblem::NotUnderstood);
                }
                Some(by_date)
            }
            // "The last Tuesday of November".
            (None, Some(_)) if self.month.is_some() || self.year.is_some() || self.months_ahead.is_some() => {
                None
            }
            (None, Some((weekday, which))) => match self.week {
                Some(weeks) => week_start(calendar.today, weeks)
                    .and_then(|monday| plus_days(monday, i64::from(weekday.to_monday_zero_offset()))),
                None => named(weekday, which, calendar),
            },
            (None, None) => return self.without_day(calendar),
        };
        date.and_then(|date| plus_days(date, self.plus)).ok_or(DateProblem::NotUnderstood)
    }

    /// The date given by its numbers.
    fn numbered(&self, calendar: Calendar) -> Result<Option<Date>, DateProblem> {
        let today = calendar.today;
        let Some(day) = self.day else { return Ok(None) };
        let made = |year: i16, month: i8| Date::new(year, month, day).ok();
        let found = match (self.month, self.year) {
            (Some(month), Some(year)) => made(year, month),
            (Some(month), None) => match made(today.year(), month) {
                Some(date) if date >= today || days_between(date, today) <= JUST_PASSED_DAYS => Some(date),
                _ => (1..=SEARCHED).find_map(|ahead| made(today.year().checked_add(ahead)?, month)),
            },
            (None, Some(_)) => return Err(DateProblem::NotUnderstood),
            (None, None) => match self.months_ahead {
                Some(ahead) => month_start(today, ahead).and_then(|first| made(first.year(), first.month())),
                None => (0..=i64::from(SEARCHED))
                    .filter_map(|ahead| month_start(today, ahead))
                    .filter_map(|first| made(first.year(), first.month()))
                    .find(|date| *date >= today),
            },
        };
        found.map(Some).ok_or(DateProblem::NoSuchDay)
    }

    fn without_day(&self, calendar: Calendar) -> Result<Date, DateProblem> {
        let today = calendar.today;
        let range = |from: Option<Date>, to: Option<Date>| match (from, to) {
            (Some(from), Some(to)) if to >= today => DateProblem::NotADay { from: from.max(today), to },
            (_, Some(to)) => DateProblem::Past { date: to },
            _ => DateProblem::NotUnderstood,
        };
        if let Some(weeks) = self.week {
            let monday = week_start(today, weeks);
            return Err(range(monday, monday.and_then(|monday| plus_days(monday, 6))));
        }
        let first = match (self.month, self.months_ahead) {
            (Some(month), _) => {
                let passed = i16::from(month < today.month());
                Date::new(self.year.unwrap_or(today.year().saturating_add(passed)), month, 1).ok()
            }
            (None, Some(ahead)) => month_start(today, ahead),
            (None, None) if self.this_part => return Ok(today),
            (None, None) => return Err(DateProblem::NotUnderstood),
        };
        Err(range(first, first.and_then(|first| plus_days(first, i64::from(first.days_in_month()) - 1))))
    }
}

/// The day of a name by itself.
fn named(weekday: Weekday, which: Which, calendar: Calendar) -> Option<Date> {
    let today = calendar.today;
    let ahead = i64::from(weekday.since(today.weekday()));
    match which {
        Which::Coming if ahead == 0 && !calendar.still_open => plus_days(today, 7),
        Which::Coming => plus_days(today, ahead),
        Which::Next => plus_days(week_start(today, 1)?, i64::from(weekday.to_monday_zero_offset())),
        Which::Last => plus_days(today, if ahead == 0 { -7 } else { ahead - 7 }),
    }
}

/// The day of a name nearest to a date, and not before today.
fn nearest(weekday: Weekday, date: Date, calendar: Calendar) -> Option<Date> {
    let after = plus_days(date, i64::from(weekday.since(date.weekday())))?;
    let before = plus_days(after, -7)?;
    let near = if days_between(before, date) < days_between(date, after) { before } else { after };
    if near < calendar.today { named(weekday, Which::Coming, calendar) } else { Some(near) }
}

fn week_start(today: Date, weeks: i64) -> Option<Date> {
    let monday = plus_days(today, -i64::from(today.weekday().to_monday_zero_offset()))?;
    plus_days(monday, weeks.checked_mul(7)?)
}

fn month_start(today: Date, ahead: i64) -> Option<Date> {
    today.first_of_month().checked_add(Span::new().try_months(ahead).ok()?).ok()
}
