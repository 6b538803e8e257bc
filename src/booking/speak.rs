//! Dates and times as they are said.

use crate::domain::profile::MinuteOfDay;
use jiff::civil::{Date, Time, Weekday};

/// "3:30 PM".
pub fn speak_time(time: Time) -> String {
    let minute = |part: i8| u16::try_from(part).unwrap_or(0);
    speak_minute(MinuteOfDay(minute(time.hour()).saturating_mul(60).saturating_add(minute(time.minute()))))
}

/// "3:30 PM", from the minute of the day; 1440 is midnight again.
pub fn speak_minute(minute: MinuteOfDay) -> String {
    let (hour, rest) = ((minute.0 / 60) % 24, minute.0 % 60);
    let half = if hour < 12 { "AM" } else { "PM" };
    let dial = if hour % 12 == 0 { 12 } else { hour % 12 };
    format!("{dial}:{rest:02} {half}")
}

/// "Tuesday, November 24", with the year if it is not `today`'s.
pub fn speak_date(date: Date, today: Date) -> String {
    let day = format!("{}, {} {}", weekday_name(date.weekday()), month_name(date.month()), date.day());
    if date.year() == today.year() { day } else { format!("{day}, {}", date.year()) }
}

/// "Tuesday".
pub const fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

const fn month_name(month: i8) -> &'static str {
    match month {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{date, time};

    #[test]
    fn dates_and_times_are_said_in_full() {
        assert_eq!(speak_time(time(15, 30, 0, 0)), "3:30 PM");
        assert_eq!(speak_time(time(0, 5, 0, 0)), "12:05 AM");
        assert_eq!(speak_minute(MinuteOfDay(720)), "12:00 PM");
        assert_eq!(speak_minute(MinuteOfDay(1_440)), "12:00 AM");
        let today = date(2026, 11, 22);
        assert_eq!(speak_date(date(2026, 11, 24), today), "Tuesday, November 24");
        assert_eq!(speak_date(date(2027, 1, 5), today), "Tuesday, January 5, 2027");
    }
}
