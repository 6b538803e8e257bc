//! Free times: opening hours, breaks, closures, what is taken, how long a service lasts and how far ahead one may book.
//!
//! Wall-clock hours become instants by the time zone's rules of that very day, so that a day on which the clocks change
//! is neither booked an hour late nor twice. A day's hours that the clocks skip are not offered.

use super::dates::{local, plus_days, zone_of};
use crate::domain::appointment::Busy;
use crate::domain::profile::{BusinessProfile, MinuteOfDay, OpenHours, Service};
use crate::domain::time::UnixMillis;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Appointments begin at multiples of this after opening, ms.
const STEP_MS: i64 = 15 * 60_000;

const MINUTE_MS: i64 = 60_000;

/// A free time with one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Who serves: the business itself, if it names no staff.
    pub staff: String,
    /// When it begins.
    pub starts_at: UnixMillis,
    /// When the service ends; the buffer comes after.
    pub ends_at: UnixMillis,
    /// When it begins, on the business's clock.
    pub local: DateTime,
}

/// Why a day has no times at all, beside being booked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The business is closed on that day.
    Closed {
        /// Why, if it is not the weekday.
        reason: Option<String>,
    },
    /// The day is past.
    Past,
    /// It is today, and the last time that can still be booked has passed.
    TooLate,
    /// So far ahead nothing is booked yet.
    TooFar {
        /// The last day that can be booked.
        last: Date,
    },
    /// The service lasts longer than the business is open on that day.
    TooLong,
    /// Nobody of that name works here.
    UnknownStaff,
    /// The time does not exist in the calendar.
    NoSuchTime,
}

/// Why one time cannot be booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has passed.
    Past,
    /// It is too soon: fewer minutes ahead than the business asks for.
    TooSoon,
    /// It is not within the opening hours, or the service would run over their end.
    OutsideHours,
    /// Appointments begin at other minutes.
    OffGrid,
    /// It is taken, or a break.
    Taken,
}

/// The opening hours of a date.
pub fn hours_on(profile: &BusinessProfile, date: Date) -> Result<OpenHours, Unavailable> {
    if let Some(reason) = profile.closures.get(&date.to_string()) {
        let reason = Some(reason.trim()).filter(|reason| !reason.is_empty()).map(str::to_owned);
        return Err(Unavailable::Closed { reason });
    }
    let weekday = usize::from(date.weekday().to_monday_zero_offset().unsigned_abs());
    profile.hours.get(weekday).copied().flatten().ok_or(Unavailable::Closed { reason: None })
}

/// Whether the business is open at an instant.
pub fn is_open(profile: &BusinessProfile, zone: &TimeZone, at: UnixMillis) -> bool {
    let Some(now) = local(at, zone) else { return false };
    let minute = i32::from(now.hour()) * 60 + i32::from(now.minute());
    hours_on(profile, now.date())
        .is_ok_and(|hours| (i32::from(hours.open.0)..i32::from(hours.close.0)).contains(&minute))
}

/// Whether the business is open at an instant, in its own time zone; never where that is not known.
pub fn is_open_at(profile: &BusinessProfile, at: UnixMillis) -> bool {
    zone_of(profile).is_some_and(|zone| is_open(profile, &zone, at))
}

/// A wall-clock time as an instant. A time the clocks skip moves on with them, one they repeat is the first of both.
pub fn instant(zone: &TimeZone, date: Date, minute: MinuteOfDay) -> Option<UnixMillis> {
    let stamp = zone.to_ambiguous_timestamp(wall(date, minute)?).compatible().ok()?;
    Some(UnixMillis(stamp.as_millisecond()))
}

fn instant_latest(zone: &TimeZone, date: Date, minute: MinuteOfDay) -> Option<UnixMillis> {
    Some(UnixMillis(zone.to_ambiguous_timestamp(wall(date, minute)?).later().ok()?.as_millisecond()))
}

fn wall(date: Date, minute: MinuteOfDay) -> Option<DateTime> {
    let date = if minute.0 < 1_440 { date } else { plus_days(date, 1)? };
    let minute = minute.0 % 1_440;
    let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
    Some(date.to_datetime(jiff::civil::Time::new(hour, minute, 0, 0).ok()?))
}

/// The instants between which everything lies that matters for a day's times: the day and the one after, into which a
/// late appointment's buffer may run.
pub fn day_span(zone: &TimeZone, first: Date, last: Date) -> Option<(UnixMillis, UnixMillis)> {
    Some((instant(zone, first, MinuteOfDay(0))?, instant(zone, plus_days(last, 2)?, MinuteOfDay(0))?))
}

/// The names under which time is booked: the staff, or the business itself.
pub fn resources<'a>(
    profile: &'a BusinessProfile,
    wanted: Option<&'a str>,
) -> Result<Vec<&'a str>, Unavailable> {
    match wanted {
        Some(wanted) => match profile.find_staff(wanted) {
            Some(staff) => Ok(vec![staff.name.as_str()]),
            None if profile.staff.is_empty() && wanted.trim().eq_ignore_ascii_case(profile.name.trim()) => {
                Ok(vec![profile.name.as_str()])
            }
            None => Err(Unavailable::UnknownStaff),
        },
        None if profile.staff.is_empty() => Ok(vec![profile.name.as_str()]),
        None => Ok(profile.staff.iter().map(|staff| staff.name.as_str()).collect()),
    }
}

/// All times at which a service can be had on a day, in their order, and for each in the order of the staff. None at
/// all (an empty list) means that the day is booked up.
pub fn free_slots(
    profile: &BusinessProfile,
    zone: &TimeZone,
    service: &Service,
    staff: Option<&str>,
    date: Date,
    busy: &[Busy],
    now: UnixMillis,
) -> Result<Vec<Slot>, Unavailable> {
    let resources = resources(profile, staff)?;
    let today = local(now, zone).ok_or(Unavailable::NoSuchTime)?.date();
    if date < today {
        return Err(Unavailable::Past);
    }
    let last = plus_days(today, i64::from(profile.horizon_days)).unwrap_or(Date::MAX);
    if date > last {
        return Err(Unavailable::TooFar { last });
    }
    let grid = Grid::of(profile, zone, service, date)?;
    if grid.starts.is_empty() {
        return Err(Unavailable::TooLong);
    }
    let earliest = earliest(profile, now);
    let starts: Vec<_> = grid.starts.iter().filter(|(start, _)| *start >= earliest).collect();
    if starts.is_empty() {
        return Err(Unavailable::TooLate);
    }
    let mut slots = Vec::new();
    for &&(start, local) in &starts {
        for name in &resources {
            if grid.is_free(profile, name, start, busy) {
                let ends_at = UnixMillis(start.saturating_add(grid.length));
                slots.push(Slot { staff: (*name).to_owned(), starts_at: UnixMillis(start), ends_at, local });
            }
        }
    }
    Ok(slots)
}

/// Why a service cannot begin at a wall-clock time, for a time that is not among the free ones.
pub fn refusal(
    profile: &BusinessProfile,
    zone: &TimeZone,
    service: &Service,
    date: Date,
    minute: MinuteOfDay,
    now: UnixMillis,
) -> Refusal {
    let Some(UnixMillis(start)) = instant(zone, date, minute) else { return Refusal::OutsideHours };
    if start < now.0 {
        return Refusal::Past;
    }
    if start < earliest(profile, now) {
        return Refusal::TooSoon;
    }
    let (Ok(hours), Ok(grid)) = (hours_on(profile, date), Grid::of(profile, zone, service, date)) else {
        return Refusal::OutsideHours;
    };
    if grid.starts.iter().any(|(at, _)| *at == start) {
        return Refusal::Taken;
    }
    let length = i64::from(service.minutes);
    let fits = minute >= hours.open && i64::from(minute.0).saturating_add(length) <= i64::from(hours.close.0);
    if fits { Refusal::OffGrid } else { Refusal::OutsideHours }
}

fn earliest(profile: &BusinessProfile, now: UnixMillis) -> i64 {
    now.0.saturating_add(i64::from(profile.lead_minutes).saturating_mul(MINUTE_MS))
}

/// One day's possible starts for a service, whoever serves.
struct Grid {
    /// Start in Unix ms, and on the wall clock.
    starts: Vec<(i64, DateTime)>,
    /// The service's length, ms.
    length: i64,
    /// Breaks in Unix ms, with whose they are.
    breaks: Vec<(i64, i64, Option<String>)>,
}

impl Grid {
    fn of(
        profile: &BusinessProfile,
        zone: &TimeZone,
        service: &Service,
        date: Date,
    ) -> Result<Self, Unavailable> {
        let hours = hours_on(profile, date)?;
        let at = |minute| instant(zone, date, minute).ok_or(Unavailable::NoSuchTime);
        let (open, close) = (at(hours.open)?.0, at(hours.close)?.0);
        let length = i64::from(service.minutes.max(1)).saturating_mul(MINUTE_MS);
        let mut starts = Vec::new();
        let mut start = open;
        while start.saturating_add(length) <= close {
            let wall = |ms: i64| local(UnixMillis(ms), zone).map(|zoned| zoned.datetime());
            if let (Some(from), Some(to)) = (wall(start), wall(start.saturating_add(length)))
                && within(hours, date, from, to)
            {
                starts.push((start, from));
            }
            start = start.saturating_add(STEP_MS);
        }
        let weekday = date.weekday().to_monday_zero_offset().unsigned_abs();
        let mut breaks = Vec::new();
        for pause in profile.breaks.iter().filter(|pause| pause.weekdays.contains(&weekday)) {
            // Where the clocks repeat an hour, the break is the longer of its readings.
            let to = instant_latest(zone, date, pause.hours.close).ok_or(Unavailable::NoSuchTime)?;
            breaks.push((at(pause.hours.open)?.0, to.0, pause.staff.clone()));
        }
        Ok(Self { starts, length, breaks })
    }

    fn is_free(&self, profile: &BusinessProfile, name: &str, start: i64, busy: &[Busy]) -> bool {
        let end = start.saturating_add(self.length);
        let same = |other: &str| other.trim().eq_ignore_ascii_case(name.trim());
        let paused = self
            .breaks
            .iter()
            .any(|(from, to, whose)| *from < end && start < *to && whose.as_deref().is_none_or(same));
        let buffered = end.saturating_add(i64::from(profile.buffer_minutes).saturating_mul(MINUTE_MS));
        let theirs = |other: &str| other.is_empty() || same(other);
        !paused && !busy.iter().any(|b| b.from.0 < buffered && start < b.to.0 && theirs(&b.staff))
    }
}

/// Whether the wall clock agrees that a stretch lies in the opening hours. It may not on a day whose clocks change
/// while the business is open.
fn within(hours: OpenHours, date: Date, from: DateTime, to: DateTime) -> bool {
    let (Some(open), Some(close)) = (wall(date, hours.open), wall(date, hours.close)) else { return false };
    open <= from && to <= close
}

#[cfg(test)]
mod tests;
