//! What the business's resources share: its clock, and the reading of what people send.

use super::page::{Items, Page, etagged};
use super::problem::Problem;
use crate::booking::availability::instant;
use crate::booking::dates::{plus_days, region_of};
use crate::db::{Cursor, ListKind, Page as DbPage, SearchWords};
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::{BusinessProfile, MinuteOfDay};
use crate::domain::time::UnixMillis;
use crate::session::services::Services;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Deserializer, Serialize};
use std::rc::Rc;

/// What the routes of one worker thread share.
pub(super) type Shared = web::Data<Rc<Services>>;

/// The latest year that is taken: times beyond it are slips.
const LAST_YEAR: i16 = 2200;

/// The business's clock.
pub(super) struct Clock(TimeZone);

impl Clock {
    pub(super) fn of(profile: &BusinessProfile) -> Self {
        Self(TimeZone::get(&profile.timezone).unwrap_or(TimeZone::UTC))
    }

    pub(super) const fn zone(&self) -> &TimeZone {
        &self.0
    }

    fn at(&self, at: UnixMillis) -> jiff::Zoned {
        jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_zoned(self.0.clone())
    }

    /// RFC 3339 with the offset of that day.
    pub(super) fn stamp(&self, at: UnixMillis) -> String {
        self.at(at).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// `YYYY-MM-DD`.
    pub(super) fn date(&self, at: UnixMillis) -> String {
        self.at(at).date().to_string()
    }

    /// `HH:MM`.
    pub(super) fn time(&self, at: UnixMillis) -> String {
        self.at(at).strftime("%H:%M").to_string()
    }

    pub(super) fn day_of(&self, at: UnixMillis) -> Date {
        self.at(at).date()
    }

    /// When a day begins.
    pub(super) fn start_of(&self, date: Date) -> Option<UnixMillis> {
        instant(&self.0, date, MinuteOfDay(0))
    }

    /// A date and a time of day; none if the clocks skip it that day. Of two, the first.
    pub(super) fn at_wall(&self, date: Date, time: Time) -> Option<UnixMillis> {
        let at = self.0.to_ambiguous_timestamp(date.to_datetime(time));
        if matches!(at.offset(), AmbiguousOffset::Gap { .. }) {
            return None;
        }
        Some(UnixMillis(at.compatible().ok()?.as_millisecond()))
    }

    /// The beginning of a stretch of time: an instant, or a day, which begins at midnight.
    pub(super) fn from(&self, field: &str, text: Option<&str>) -> Result<Option<UnixMillis>, Problem> {
        self.bound(field, text, 0)
    }

    /// Its end: an instant, or a day, which is meant to lie within it.
    pub(super) fn to(&self, field: &str, text: Option<&str>) -> Result<Option<UnixMillis>, Problem> {
        self.bound(field, text, 1)
    }

    fn bound(&self, field: &str, text: Option<&str>, days: i64) -> Result<Option<UnixMillis>, Problem> {
        let Some(text) = text.map(str::trim) else { return Ok(None) };
        if let Ok(date) = parse_date(field, text) {
            let at = plus_days(date, days).and_then(|date| self.start_of(date));
            return at.map(Some).ok_or_else(|| Problem::invalid(field, "lies outside the calendar"));
        }
        instant_of(field, text).map(Some)
    }
}

/// An instant in RFC 3339.
pub(super) fn instant_of(field: &str, text: &str) -> Result<UnixMillis, Problem> {
    // A plus sign that was not escaped has become a blank.
    let text = text.trim().replace(' ', "+");
    let wrong =
        || Problem::invalid(field, "must be a date, 2026-11-22, or a time, 2026-11-22T09:30:00-05:00");
    let at: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    let year = at.to_zoned(TimeZone::UTC).year();
    if (1900..LAST_YEAR).contains(&year) { Ok(UnixMillis(at.as_millisecond())) } else { Err(wrong()) }
}

/// A date, `YYYY-MM-DD` and nothing else.
pub(super) fn parse_date(field: &str, text: &str) -> Result<Date, Problem> {
    let date = if text.len() == 10 { text.parse::<Date>().ok() } else { None };
    date.filter(|date| (1900..LAST_YEAR).contains(&date.year()))
        .ok_or_else(|| Problem::invalid(field, "must be a date, 2026-11-22"))
}

/// A time of day, `HH:MM`.
pub(super) fn parse_time(field: &str, text: &str) -> Result<Time, Problem> {
    let wrong = || Problem::invalid(field, "must be a time of day, 09:30");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<i8>().ok() } else { None }
    };
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
    Time::new(hour, minute, 0, 0).map_err(|_| wrong())
}

/// A time of day at which an appointment may begin: the calendar's grain is five minutes.
pub(super) fn parse_start(field: &str, text: &str) -> Result<Time, Problem> {
    let time = parse_time(field, text)?;
    if time.minute() % 5 == 0 {
        Ok(time)
    } else {
        Err(Problem::invalid(field, "must be a whole number of five minutes, 09:30 or 09:35"))
    }
}

/// A telephone number as people write it, in the business's country if it does not say in which.
pub(super) fn phone_of(profile: &BusinessProfile, field: &str, text: &str) -> Result<PhoneNumber, Problem> {
    PhoneNumber::parse(text, Some(&region_of(profile)))
        .map_err(|error| Problem::invalid(field, error.to_string()))
}

/// A text of at most so many characters without blanks around it; blank means none.
pub(super) fn text_of(field: &str, text: Option<String>, most: usize) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let text = text.trim();
    if text.chars().count() > most {
        return Err(Problem::invalid(field, format!("must have at most {most} characters")));
    }
    if text.contains('\0') {
        return Err(Problem::invalid(field, "must not hold a NUL character"));
    }
    Ok(if text.is_empty() { None } else { Some(text.to_owned()) })
}

/// One of several words.
pub(super) fn word_of<T>(
    field: &str,
    text: Option<&str>,
    read: impl Fn(&str) -> Option<T>,
    words: &[&str],
) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    read(text)
        .map(Some)
        .ok_or_else(|| Problem::invalid(field, format!("must be one of {}", words.join(", "))))
}

/// A whole number.
pub(super) fn id_of(field: &str, text: Option<&str>) -> Result<Option<i64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Problem::invalid(field, "must be a whole number"))
}

/// What is looked for.
pub(super) fn words_of(field: &str, text: &str) -> Result<SearchWords, Problem> {
    if text.chars().count() > 200 {
        return Err(Problem::invalid(field, "must have at most 200 characters"));
    }
    SearchWords::parse(text).ok_or_else(|| Problem::invalid(field, "must have a word or number to look for"))
}

/// The person of a name, as the profile writes it; the business itself, where it names no staff.
pub(super) fn staff_of(profile: &BusinessProfile, field: &str, text: &str) -> Result<String, Problem> {
    if let Some(staff) = profile.find_staff(text) {
        return Ok(staff.name.clone());
    }
    if profile.staff.is_empty() && text.trim().eq_ignore_ascii_case(profile.name.trim()) {
        return Ok(profile.name.clone());
    }
    let mut names: Vec<&str> = profile.staff.iter().map(|staff| staff.name.as_str()).collect();
    if names.is_empty() {
        names.push(&profile.name);
    }
    Err(Problem::invalid(field, format!("must be one of {}", names.join(", "))))
}

/// The part of a list that is wanted.
pub(super) fn page_of(page: &Page, kind: ListKind) -> Result<DbPage, Problem> {
    let cursor = page.cursor.as_deref().map(|text| Cursor::decode(kind, text)).transpose();
    let cursor = cursor.map_err(|error| Problem::invalid("cursor", error.to_string()))?;
    Ok(DbPage::new(page.limit, cursor))
}

/// Where a list goes on, as the reader is told.
pub(super) fn next(cursor: Option<Cursor>) -> Option<String> {
    cursor.map(Cursor::encode)
}

/// A part of a list, for a reader who may have it already.
pub(super) fn paged<T: Serialize>(
    request: &HttpRequest,
    items: Vec<T>,
    cursor: Option<Cursor>,
) -> HttpResponse {
    etagged(request, &Items { items, next_cursor: next(cursor) })
}

/// A field that may be left out, or given as `null`: serde takes both for the same.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock(TimeZone::get("America/New_York").unwrap())
    }

    #[test]
    fn a_day_is_meant_from_midnight_to_midnight() {
        let clock = clock();
        let from = clock.from("from", Some("2026-11-01")).unwrap().unwrap();
        let to = clock.to("to", Some("2026-11-01")).unwrap().unwrap();
        assert_eq!(clock.stamp(from), "2026-11-01T00:00:00-04:00");
        assert_eq!(clock.stamp(to), "2026-11-02T00:00:00-05:00");
        assert_eq!(to.0 - from.0, 25 * 3_600_000, "the clocks go back that night");
        for text in ["2026-11-01T09:30:00-05:00", "2026-11-01T14:30:00Z", "2026-11-01T14:30:00 00:00"] {
            let at = clock.from("from", Some(text)).unwrap().unwrap();
            assert_eq!((clock.date(at), clock.time(at)), ("2026-11-01".into(), "09:30".into()), "{text}");
        }
        assert_eq!(clock.from("from", None).unwrap(), None);
    }

    #[test]
    fn what_is_no_date_or_time_is_refused_by_its_name() {
        for text in [
            "yesterday",
            "2026-13-01",
            "2026-1-1",
            "20261122",
            "9999-12-31",
            "2026-11-01T09:30",
            "-009999-01-01T00:00Z",
            "",
            " ",
        ] {
            let problem = clock().from("from", Some(text)).unwrap_err().to_string();
            assert!(problem.contains("from: "), "{text}: {problem}");
        }
        for text in ["9:30", "09:60", "24:00", "09:30:00", "0930", "+9:30", ""] {
            assert!(parse_time("time", text).is_err(), "{text}");
        }
        assert!(parse_time("time", "09:30").is_ok());
        assert!(parse_start("time", "09:35").is_ok());
        for text in ["09:33", "09:59", "9:30"] {
            let problem = parse_start("time", text).unwrap_err().to_string();
            assert!(problem.contains("time: "), "{text}: {problem}");
        }
    }

    #[test]
    fn an_hour_that_the_clocks_skip_is_none_and_of_two_it_is_the_first() {
        let at = |date: &str, time: &str| {
            clock().at_wall(parse_date("date", date).unwrap(), parse_time("time", time).unwrap())
        };
        assert_eq!(at("2027-03-14", "02:30"), None);
        let stamp = |at: Option<UnixMillis>| clock().stamp(at.unwrap());
        assert_eq!(stamp(at("2027-03-14", "03:00")), "2027-03-14T03:00:00-04:00");
        assert_eq!(stamp(at("2027-11-07", "01:30")), "2027-11-07T01:30:00-04:00");
    }
}
