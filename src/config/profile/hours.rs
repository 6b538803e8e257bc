//! Times of the day as people write them: `9:00 AM`, `9 pm`, `09:00`, `21:30`.

use crate::domain::profile::MinuteOfDay;

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// Reads a time. Where a stretch `ends`, midnight is the end of the day and `24:00` is allowed.
pub(super) fn minute_of_day(text: &str, ends: bool) -> Option<MinuteOfDay> {
    let text = text.trim().to_ascii_lowercase();
    let (clock, noon) = match (text.strip_suffix("am"), text.strip_suffix("pm")) {
        (Some(clock), _) => (clock.trim_end(), Some(false)),
        (_, Some(clock)) => (clock.trim_end(), Some(true)),
        _ => (text.as_str(), None),
    };
    let (hour, minute) = match clock.split_once(':') {
        Some((hour, minute)) => (digits(hour, 1)?, digits(minute, 2)?),
        // An hour alone is a time only with what half of the day it is in.
        None => (digits(clock, 1).filter(|_| noon.is_some())?, 0),
    };
    let hour = match noon {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(after_noon) => hour % 12 + if after_noon { 12 } else { 0 },
    };
    if minute > 59 || hour > 24 || (hour == 24 && minute > 0) {
        return None;
    }
    match hour * 60 + minute {
        0 if ends => Some(MinuteOfDay(DAY)),
        DAY if !ends => None,
        minutes => Some(MinuteOfDay(minutes)),
    }
}

/// A number of at most two digits and no other sign.
fn digits(text: &str, at_least: usize) -> Option<u16> {
    let plain = (at_least..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, want) in [
            ("9:00 AM", 540),
            ("9:00am", 540),
            (" 9 am ", 540),
            ("09:00", 540),
            ("9:05", 545),
            ("12:00 PM", 720),
            ("12:30 pm", 750),
            ("12:15 AM", 15),
            ("7:00 PM", 1140),
            ("23:59", 1439),
        ] {
            for ends in [false, true] {
                assert_eq!(minute_of_day(text, ends), Some(MinuteOfDay(want)), "{text}");
            }
        }
    }

    #[test]
    fn midnight_begins_a_day_or_ends_it() {
        for text in ["00:00", "0:00", "12:00 AM", "12 am"] {
            assert_eq!(minute_of_day(text, false), Some(MinuteOfDay(0)), "{text}");
            assert_eq!(minute_of_day(text, true), Some(MinuteOfDay(1440)), "{text}");
        }
        assert_eq!(minute_of_day("24:00", true), Some(MinuteOfDay(1440)));
        assert_eq!(minute_of_day("24:00", false), None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "", "9", "am", "25:00", "24:01", "9:60", "13:00 PM", "0:30 AM", "9:5", "9:00:00", "-9:00",
            "+9:00", "9.00", "nine", "9:00 XM", "0009:00", "９:00",
        ] {
            assert_eq!(minute_of_day(text, true), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_minute_of_the_day_is_read_back(minute in 0_u16..1440) {
            let (hour, rest) = (minute / 60, minute % 60);
            let half = if hour < 12 { "AM" } else { "PM" };
            let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
            for text in [format!("{hour:02}:{rest:02}"), format!("{twelve}:{rest:02} {half}")] {
                prop_assert_eq!(minute_of_day(&text, false), Some(MinuteOfDay(minute)));
            }
        }

        #[test]
        fn any_text_is_a_time_of_the_day_or_none(text in "\\PC{0,12}|[0-9: apmAPM]{0,10}", ends in any::<bool>()) {
            if let Some(minute) = minute_of_day(&text, ends) {
                prop_assert!(minute.0 <= 1440);
            }
        }
    }
}
