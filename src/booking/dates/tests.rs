use super::*;

use jiff::civil::date;
use proptest::prelude::*;

/// Sunday, November 22, 2026.
const SUNDAY: Calendar = Calendar { today: date(2026, 11, 22), still_open: false, day_first: false };
/// Tuesday, November 24, 2026, while the business is open.
const TUESDAY: Calendar = Calendar { today: date(2026, 11, 24), still_open: true, day_first: false };

fn day(text: &str, calendar: Calendar) -> Result<Date, DateProblem> {
    resolve_date(text, calendar).map(|day| day.date)
}

#[test]
fn days_are_resolved_as_people_say_them() {
    for (text, year, month, day_) in [
        ("today", 2026, 11, 24),
        ("Tonight.", 2026, 11, 24),
        ("this afternoon", 2026, 11, 24),
        ("tomorrow", 2026, 11, 25),
        ("tomorrow morning", 2026, 11, 25),
        ("the day after tomorrow", 2026, 11, 26),
        ("in two days", 2026, 11, 26),
        ("in 3 days", 2026, 11, 27),
        ("three days from now", 2026, 11, 27),
        ("in a week", 2026, 12, 1),
        ("a week from today", 2026, 12, 1),
        ("a week from tomorrow", 2026, 12, 2),
        ("a week from Friday", 2026, 12, 4),
        ("in a fortnight", 2026, 12, 8),
        ("Friday in two weeks", 2026, 12, 11),
        ("Wednesday", 2026, 11, 25),
        ("on Thursday", 2026, 11, 26),
        ("Monday", 2026, 11, 30),
        ("this Monday", 2026, 11, 30),
        ("this coming Friday", 2026, 11, 27),
        ("next Friday", 2026, 12, 4),
        ("next Tuesday", 2026, 12, 1),
        ("next week Wednesday", 2026, 12, 2),
        ("Wednesday next week", 2026, 12, 2),
        ("Monday the week after next", 2026, 12, 7),
        ("Friday this week", 2026, 11, 27),
        ("the 3rd", 2026, 12, 3),
        ("the third", 2026, 12, 3),
        ("the twenty-fourth", 2026, 11, 24),
        ("the thirty-first", 2026, 12, 31),
        ("the 3rd of next month", 2026, 12, 3),
        ("November 25th", 2026, 11, 25),
        ("November twenty-fifth", 2026, 11, 25),
        ("Nov. 25", 2026, 11, 25),
        ("25 November", 2026, 11, 25),
        ("the 25th of November, 2026", 2026, 11, 25),
        ("January 2nd", 2027, 1, 2),
        ("May the fourth", 2027, 5, 4),
        ("June 1st twenty twenty-seven", 2027, 6, 1),
        ("February 29", 2028, 2, 29),
        ("11/25", 2026, 11, 25),
        ("12/3", 2026, 12, 3),
        ("25/11", 2026, 11, 25),
        ("12/3/2026", 2026, 12, 3),
        ("12-3-26", 2026, 12, 3),
        ("3.12.", 2026, 12, 3),
        ("2026-11-25", 2026, 11, 25),
        ("2026-11-25T15:00:00", 2026, 11, 25),
        ("2026-11-25 15:00", 2026, 11, 25),
        ("2026/11/25", 2026, 11, 25),
        ("Wednesday the 25th", 2026, 11, 25),
        ("Wednesday, November 25", 2026, 11, 25),
        ("tomorrow, Wednesday", 2026, 11, 25),
        ("Wednesday 2026-11-25", 2026, 11, 25),
        ("tomorrow at 3 PM", 2026, 11, 25),
        ("Wednesday 3pm", 2026, 11, 25),
        ("Wednesday the 25th in the afternoon", 2026, 11, 25),
    ] {
        assert_eq!(day(text, TUESDAY), Ok(date(year, month, day_)), "{text}");
    }
}

#[test]
fn a_bare_weekday_is_today_only_while_the_business_is_open() {
    let closed = Calendar { still_open: false, ..TUESDAY };
    for text in ["Tuesday", "this Tuesday"] {
        assert_eq!(day(text, TUESDAY), Ok(date(2026, 11, 24)));
        assert_eq!(day(text, closed), Ok(date(2026, 12, 1)));
    }
    assert_eq!(day("next Tuesday", closed), Ok(date(2026, 12, 1)));
    assert_eq!(day("next Tuesday", SUNDAY), Ok(date(2026, 11, 24)));
    assert_eq!(day("Tuesday", SUNDAY), Ok(date(2026, 11, 24)));
}

#[test]
fn a_weekday_that_contradicts_the_date_gives_both_days() {
    for (text, weekday, by_date) in [
        ("Tuesday, November 25", date(2026, 11, 24), date(2026, 11, 25)),
        ("Tuesday the 3rd", date(2026, 12, 1), date(2026, 12, 3)),
        ("Friday, December 1st", date(2026, 12, 4), date(2026, 12, 1)),
        ("tomorrow, Tuesday", date(2026, 11, 24), date(2026, 11, 23)),
        ("Monday 2026-11-25", date(2026, 11, 23), date(2026, 11, 25)),
        ("next Friday the 26th", date(2026, 11, 27), date(2026, 11, 26)),
    ] {
        let want = Err(DateProblem::Contradiction { by_weekday: weekday, by_date });
        assert_eq!(day(text, SUNDAY), want, "{text}");
    }
    // The nearest Saturday before would be past.
    let want = DateProblem::Contradiction { by_weekday: date(2026, 11, 28), by_date: date(2026, 11, 23) };
    assert_eq!(day("Saturday the 23rd", SUNDAY), Err(want));
}

#[test]
fn days_that_are_past_are_named() {
    for (text, want) in [
        ("yesterday", date(2026, 11, 23)),
        ("last Friday", date(2026, 11, 20)),
        ("last Tuesday", date(2026, 11, 17)),
        ("November 3rd", date(2026, 11, 3)),
        ("2026-11-23", date(2026, 11, 23)),
        ("Monday this week", date(2026, 11, 23)),
        ("last week", date(2026, 11, 22)),
        ("11/3/2025", date(2025, 11, 3)),
    ] {
        assert_eq!(day(text, TUESDAY), Err(DateProblem::Past { date: want }), "{text}");
    }
}

#[test]
fn what_is_more_than_a_day_is_asked_about() {
    for (text, from, to) in [
        ("next week", date(2026, 11, 30), date(2026, 12, 6)),
        ("sometime", date(1, 1, 1), date(1, 1, 1)),
        ("this week", date(2026, 11, 24), date(2026, 11, 29)),
        ("the weekend", date(2026, 11, 28), date(2026, 11, 29)),
        ("next weekend", date(2026, 12, 5), date(2026, 12, 6)),
        ("next month", date(2026, 12, 1), date(2026, 12, 31)),
        ("in November", date(2026, 11, 24), date(2026, 11, 30)),
        ("in January", date(2027, 1, 1), date(2027, 1, 31)),
    ] {
        let want =
            if text == "sometime" { DateProblem::NotUnderstood } else { DateProblem::NotADay { from, to } };
        assert_eq!(day(text, TUESDAY), Err(want), "{text}");
    }
}

#[test]
fn what_is_not_known_is_never_skipped() {
    for text in [
        "",
        "soon",
        "not Tuesday",
        "after Tuesday",
        "Tuesday or so",
        "next",
        "next available",
        "the last",
        "the last Tuesday of December",
        "the second Tuesday of December",
        "Dienstag",
        "morning",
        "a",
        "99",
        "0",
        "Tuesday in December",
        "5 weeks ago",
        "99999 days from now",
        "tomorrow at your place",
        "2026",
    ] {
        assert_eq!(day(text, TUESDAY), Err(DateProblem::NotUnderstood), "{text}");
    }
    for text in ["February 30", "November 31st", "November 45", "13/13", "2026-02-30", "31 of next month x"] {
        let want = if text.ends_with('x') { DateProblem::NotUnderstood } else { DateProblem::NoSuchDay };
        assert_eq!(day(text, TUESDAY), Err(want), "{text}");
    }
}

#[test]
fn two_days_at_once_are_told_apart() {
    let several = |first, second| Err(DateProblem::Several { first, second });
    assert_eq!(day("Wednesday Thursday", TUESDAY), several(date(2026, 11, 25), date(2026, 11, 26)));
    assert_eq!(day("tomorrow, the 26th", TUESDAY), several(date(2026, 11, 25), date(2026, 11, 26)));
    assert_eq!(day("today tomorrow", TUESDAY), several(date(2026, 11, 24), date(2026, 11, 25)));
}

#[test]
fn the_locale_decides_the_order_of_day_and_month() {
    let abroad = Calendar { day_first: true, ..TUESDAY };
    assert_eq!(day("3/12", abroad), Ok(date(2026, 12, 3)));
    assert_eq!(day("12/3", abroad), Ok(date(2027, 3, 12)));
    assert_eq!(day("11/25", abroad), Ok(date(2026, 11, 25)));
    assert_eq!(day("2026-12-03", abroad), Ok(date(2026, 12, 3)));
}

#[test]
fn the_part_of_the_day_is_kept_as_a_wish() {
    for (text, want) in [
        ("tomorrow", None),
        ("tomorrow morning", Some(Wish::Morning)),
        ("Wednesday in the afternoon", Some(Wish::Afternoon)),
        ("tonight", Some(Wish::Evening)),
        ("tomorrow around 3", Some(Wish::At(SpokenTime::HalfDay(crate::domain::profile::MinuteOfDay(180))))),
    ] {
        assert_eq!(resolve_date(text, TUESDAY).unwrap().wish, want, "{text}");
    }
}

#[test]
fn the_year_rolls_over_at_its_end() {
    let eve = Calendar { today: date(2026, 12, 31), still_open: true, day_first: false };
    assert_eq!(day("tomorrow", eve), Ok(date(2027, 1, 1)));
    assert_eq!(day("the 1st", eve), Ok(date(2027, 1, 1)));
    assert_eq!(day("January 5th", eve), Ok(date(2027, 1, 5)));
    assert_eq!(day("next Monday", eve), Ok(date(2027, 1, 4)));
    let new_year = Calendar { today: date(2027, 1, 2), ..eve };
    assert_eq!(day("December 30", new_year), Ok(date(2027, 12, 30)));
}

#[test]
fn the_ends_of_the_calendar_are_no_panic() {
    for today in [Date::MAX, Date::MIN] {
        let calendar = Calendar { today, still_open: false, day_first: false };
        for text in [
            "tomorrow",
            "yesterday",
            "next Friday",
            "next week",
            "the 3rd",
            "in 9 weeks",
            "January 1",
            "weekend",
        ] {
            let _ = resolve_date(text, calendar);
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_no_day_is_past(text in "\\PC{0,60}", still_open in any::<bool>()) {
        for calendar in [Calendar { still_open, ..TUESDAY }, SUNDAY] {
            if let Ok(day) = resolve_date(&text, calendar) {
                prop_assert!(day.date >= calendar.today);
            }
        }
    }

    #[test]
    fn no_heap_of_known_words_panics(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "next", "this", "last", "week", "month", "tuesday", "friday", "the", "3rd", "thirty", "first", "in",
                "two", "days", "from", "a", "november", "2026", "11/3", "2026-11-24", "tomorrow", "at", "3", "pm",
                "morning", "weekend", "fortnight", "after", "9999", "45", "twenty", "of", "noon", "-", "0/0/0",
            ]),
            0..8,
        ),
    ) {
        let text = words.join(" ");
        for calendar in [TUESDAY, SUNDAY] {
            if let Ok(day) = resolve_date(&text, calendar) {
                prop_assert!(day.date >= calendar.today);
            }
        }
    }

    #[test]
    fn a_date_as_it_is_spoken_is_the_same_date(ahead in 0i64..365) {
        let want = plus_days(SUNDAY.today, ahead).unwrap();
        let spoken = crate::booking::speak::speak_date(want, SUNDAY.today);
        prop_assert_eq!(day(&spoken, SUNDAY), Ok(want));
    }

    #[test]
    fn a_weekday_beside_a_date_agrees_or_is_a_contradiction(ahead in 0i64..300, weekday in 0i8..7) {
        let by_date = plus_days(SUNDAY.today, ahead).unwrap();
        let weekday = Weekday::from_monday_zero_offset(weekday).unwrap();
        let text = format!("{}, {by_date}", crate::booking::speak::weekday_name(weekday));
        match day(&text, SUNDAY) {
            Ok(date) => prop_assert!(date == by_date && date.weekday() == weekday),
            Err(DateProblem::Contradiction { by_weekday, by_date: same }) => {
                prop_assert_eq!(same, by_date);
                prop_assert_eq!(by_weekday.weekday(), weekday);
                prop_assert!(by_weekday >= SUNDAY.today && days_between(by_date, by_weekday).abs() <= 7);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn the_business_has_days_of_its_own() {
    let zone = TimeZone::get("America/New_York").unwrap();
    let at = |text: &str| UnixMillis(text.parse::<Timestamp>().unwrap().as_millisecond());
    // Evening there is the next day in UTC; the night the clocks go back is 25 hours long.
    for (now, begins, ends) in [
        ("2026-11-22T04:59:59Z", "2026-11-21T05:00:00Z", "2026-11-22T05:00:00Z"),
        ("2026-11-22T05:00:00Z", "2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z"),
        ("2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
    ] {
        let day = BusinessDay { begins: at(begins), ends: at(ends) };
        assert_eq!(BusinessDay::at(&zone, at(now)), day, "{now}");
    }
}
