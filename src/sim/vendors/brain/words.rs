//! What the brain picks out of a caller's words: days, times, names, services. Pure.

/// A time of day as said. `pm` is `None` when the half of the day was left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SaidTime {
    hour: u8,
    minute: u8,
    pm: Option<bool>,
}

impl SaidTime {
    /// Whether both may be meant: an open half of the day matches either.
    pub(super) fn matches(self, other: Self) -> bool {
        let halves = match (self.pm, other.pm) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        halves && self.minute == other.minute && self.hour % 12 == other.hour % 12
    }

    /// As a booking tool takes it: "3 PM", "3:30", "15:00".
    pub(super) fn text(self) -> String {
        let half = match self.pm {
            Some(true) if self.hour <= 12 => " PM",
            Some(false) if self.hour <= 12 => " AM",
            _ => "",
        };
        match (self.minute, half) {
            (0, half) if !half.is_empty() => format!("{}{half}", self.hour),
            (minute, half) => format!("{}:{minute:02}{half}", self.hour),
        }
    }
}

/// Lower-case words without outer punctuation; "p.m." becomes "pm".
pub(super) fn tokens(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| {
            let lower = word.to_lowercase().replace('’', "'");
            let bare = lower.trim_matches(|c: char| !c.is_alphanumeric());
            match bare {
                "p.m" => "pm".to_owned(),
                "a.m" => "am".to_owned(),
                other => other.to_owned(),
            }
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether the words of `phrase` stand together in `tokens`.
pub(super) fn says(tokens: &[String], phrase: &str) -> bool {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    tokens.windows(phrase.len().max(1)).any(|w| w.iter().map(String::as_str).eq(phrase.iter().copied()))
}

/// Whether any of the phrases is said.
pub(super) fn says_any(tokens: &[String], phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| says(tokens, phrase))
}

fn number(word: &str) -> Option<u8> {
    const WORDS: [&str; 13] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    WORDS.iter().position(|w| *w == word).and_then(|n| u8::try_from(n).ok()).or_else(|| word.parse().ok())
}

fn minutes(word: &str) -> Option<u8> {
    match word {
        "fifteen" | "15" => Some(15),
        "thirty" | "30" => Some(30),
        "forty-five" | "45" => Some(45),
        _ => None,
    }
}

/// "3", "3pm", "3:30", "3:30pm", "15:00".
fn clock(word: &str) -> Option<(u8, Option<u8>, Option<bool>)> {
    let (digits, pm) = if let Some(rest) = word.strip_suffix("pm") {
        (rest, Some(true))
    } else if let Some(rest) = word.strip_suffix("am") {
        (rest, Some(false))
    } else {
        (word, None)
    };
    let (hour, minute) = match digits.split_once(':') {
        Some((hour, minute)) => (hour.parse().ok()?, Some(minute.parse().ok()?)),
        None => (number(digits)?, None),
    };
    (hour <= 23 && minute.is_none_or(|m| m < 60)).then_some((hour, minute, pm))
}

/// The first time of day said.
pub(super) fn time_in(text: &str) -> Option<SaidTime> {
    let tokens = tokens(text);
    let word = |n: usize| tokens.get(n).map_or("", String::as_str);
    for n in 0..tokens.len() {
        let before = n.checked_sub(1).map_or("", word);
        let past = n >= 2 && before == "past";
        let to = n >= 2 && before == "to" && word(n.saturating_sub(2)) == "quarter";
        let Some((hour, minute, mut pm)) = clock(word(n)) else { continue };
        let mut next = n.saturating_add(1);
        let mut minute = minute;
        let mut hour = hour;
        if minute.is_none() && (1..=12).contains(&hour) && minutes(word(next)).is_some() {
            minute = minutes(word(next));
            next = next.saturating_add(1);
        }
        if past {
            minute = match word(n.saturating_sub(2)) {
                "half" => Some(30),
                "quarter" => Some(15),
                _ => minute,
            };
        } else if to {
            minute = Some(45);
            hour = if hour <= 1 { 12 } else { hour.saturating_sub(1) };
        }
        match word(next) {
            "pm" => pm = Some(true),
            "am" => pm = Some(false),
            "in" if says(&tokens, "in the morning") => pm = Some(false),
            "in" if says(&tokens, "in the afternoon") || says(&tokens, "in the evening") => pm = Some(true),
            _ => {}
        }
        let oclock = word(next) == "o'clock";
        if hour > 12 {
            pm = Some(true);
        }
        let certain = minute.is_some() || pm.is_some() || oclock || past || to;
        if certain || (before == "at" && (1..=12).contains(&hour)) {
            return Some(SaidTime { hour, minute: minute.unwrap_or(0), pm });
        }
    }
    // "2026-11-24T15:00:00-05:00"
    let (date, time) = text.split_once('T')?;
    let mut parts = time.split(':');
    let (hour, minute) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (date.len() == 10 && hour < 24u8 && minute < 60u8).then_some(SaidTime {
        hour,
        minute,
        pm: Some(hour >= 12),
    })
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const ORDINALS: [&str; 12] = [
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth",
];

fn is_day_of_month(word: &str) -> bool {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    ORDINALS.contains(&word) || digits.parse().is_ok_and(|n: u8| (1..=31).contains(&n))
}

fn is_iso_date(word: &str) -> bool {
    word.len() == 10
        && word
            .bytes()
            .enumerate()
            .all(|(n, b)| if n == 4 || n == 7 { b == b'-' } else { b.is_ascii_digit() })
}

/// The day the caller named, in the caller's words.
pub(super) fn day_in(text: &str) -> Option<String> {
    let tokens = tokens(text);
    let word = |n: usize| tokens.get(n).map_or("", String::as_str);
    if says(&tokens, "day after tomorrow") {
        return Some("the day after tomorrow".to_owned());
    }
    for n in 0..tokens.len() {
        let (this, next) = (word(n), word(n.saturating_add(1)));
        let before = n.checked_sub(1).map_or("", word);
        if matches!(this, "today" | "tonight" | "tomorrow") || is_iso_date(this) {
            return Some(this.to_owned());
        }
        if let Some(day) = WEEKDAYS.iter().find(|day| **day == this.trim_end_matches("'s")) {
            let capital: String = day
                .chars()
                .enumerate()
                .map(|(n, c)| if n == 0 { c.to_ascii_uppercase() } else { c })
                .collect();
            return Some(if matches!(before, "next" | "this") {
                format!("{before} {capital}")
            } else {
                capital
            });
        }
        if MONTHS.contains(&this) && is_day_of_month(next) {
            return Some(format!("{this} {next}"));
        }
        if this == "the" && is_day_of_month(next) && (next.starts_with(|c: char| c.is_ascii_digit())) {
            let of = word(n.saturating_add(2)) == "of";
            let month = word(n.saturating_add(3));
            return Some(if of && MONTHS.contains(&month) {
                format!("{month} {next}")
            } else {
                format!("the {next}")
            });
        }
    }
    None
}

/// The service the caller named.
pub(super) fn service_in(text: &str) -> Option<String> {
    const SERVICES: [(&str, &str); 14] = [
        ("beard trim", "beard trim"),
        ("beard", "beard trim"),
        ("hot towel shave", "hot towel shave"),
        ("shave", "shave"),
        ("kids cut", "kids cut"),
        ("haircut and beard", "haircut and beard"),
        ("haircut", "haircut"),
        ("hair cut", "haircut"),
        ("trim", "trim"),
        ("fade", "fade"),
        ("color", "color"),
        ("massage", "massage"),
        ("checkup", "checkup"),
        ("cleaning", "cleaning"),
    ];
    let tokens = tokens(text);
    SERVICES.iter().find(|(said, _)| says(&tokens, said)).map(|(_, service)| (*service).to_owned())
}

/// Words that many services have in their names, or none.
const IDLE: [&str; 9] = ["and", "the", "with", "a", "an", "or", "of", "for", "service"];

/// The service of `names` that the words mean: the one whose name was said; else the only one with a word of it, or
/// the shortest that ends in one ("haircut" is the "Classic Haircut", not the "Haircut and Beard").
pub(super) fn resolve_service(text: &str, names: &[String]) -> Option<String> {
    let said = tokens(text);
    let named = names.iter().filter(|name| {
        let name = tokens(name);
        !name.is_empty() && says(&said, &name.join(" "))
    });
    if let Some(longest) = named.max_by_key(|name| name.len()) {
        return Some(longest.clone());
    }
    let alike = services_alike(text, names);
    if let [only] = alike.as_slice() {
        return Some(only.clone());
    }
    let ends = alike.into_iter().filter(|name| tokens(name).last().is_some_and(|last| said.contains(last)));
    ends.min_by_key(String::len)
}

/// The services with a word of their name in the text.
pub(super) fn services_alike(text: &str, names: &[String]) -> Vec<String> {
    let said = tokens(text);
    let shares = |name: &&String| {
        tokens(name).iter().any(|word| !IDLE.contains(&word.as_str()) && said.contains(word))
    };
    names.iter().filter(shares).cloned().collect()
}

/// The part of the day said along with a day.
pub(super) fn part_of_day(tokens: &[String]) -> Option<&'static str> {
    ["morning", "afternoon", "evening"]
        .into_iter()
        .find(|part| says(tokens, part) && !says(tokens, &format!("good {part}")))
}

/// Whom the caller wants: "with Marcus".
pub(super) fn staff_in(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    words.find(|w| w.eq_ignore_ascii_case("with"))?;
    let name = words.next()?.trim_matches(|c: char| !c.is_alphanumeric());
    name.chars().next().is_some_and(char::is_uppercase).then(|| name.to_owned()).filter(|n| n != "I")
}

/// The name the caller told.
pub(super) fn name_in(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let lower: Vec<String> = words.iter().map(|w| w.to_lowercase().replace('’', "'")).collect();
    let leads: [&[&str]; 5] =
        [&["my", "name", "is"], &["my", "name's"], &["the", "name", "is"], &["this", "is"], &["call", "me"]];
    for lead in leads {
        let at =
            lower.windows(lead.len()).position(|w| w.iter().map(String::as_str).eq(lead.iter().copied()));
        let Some(at) = at else { continue };
        let mut name = Vec::new();
        for word in words.iter().skip(at.saturating_add(lead.len())).take(3) {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            let stop = matches!(
                bare.to_lowercase().as_str(),
                "and"
                    | "i"
                    | "i'd"
                    | "a"
                    | "the"
                    | "for"
                    | "from"
                    | "back"
                    | "not"
                    | "that"
                    | "it"
                    | "so"
                    | "on"
            );
            // A capital or the plain "my name is": otherwise "this is great" is a name.
            let capital = bare.chars().next().is_some_and(char::is_uppercase);
            if stop || bare.is_empty() || !(capital || lead.contains(&"name")) {
                break;
            }
            name.push(bare);
            if word.ends_with(['.', ',', '!', '?', ';']) {
                break;
            }
        }
        if !name.is_empty() {
            return Some(name.join(" "));
        }
    }
    None
}

/// The telephone number the caller told: at least seven digits.
pub(super) fn phone_in(text: &str) -> Option<String> {
    let mut number = String::new();
    for word in text.split_whitespace() {
        let digits: String = word.chars().filter(char::is_ascii_digit).collect();
        if !digits.is_empty() && word.chars().all(|c| c.is_ascii_digit() || "+-().,".contains(c)) {
            if word.starts_with('+') {
                number.push('+');
            }
            number.push_str(&digits);
        }
    }
    (number.chars().filter(char::is_ascii_digit).count() >= 7).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_however_they_are_said() {
        let cases = [
            ("3 PM", "3 PM"),
            ("at 3pm please", "3 PM"),
            ("three p.m.", "3 PM"),
            ("How about 3:30?", "3:30"),
            ("half past two", "2:30"),
            ("quarter to three in the afternoon", "2:45 PM"),
            ("quarter to one", "12:45"),
            ("15:00", "15:00"),
            ("at ten", "10:00"),
            ("ten thirty AM works", "10:30 AM"),
            ("nine o'clock", "9:00"),
            ("2026-11-24T15:00:00-05:00", "15:00"),
        ];
        for (said, wanted) in cases {
            assert_eq!(time_in(said).map(SaidTime::text).as_deref(), Some(wanted), "{said}");
        }
        for none in ["I would like a haircut", "for two people", "", "T", "25:00", "99"] {
            assert_eq!(time_in(none), None, "{none}");
        }
    }

    #[test]
    fn an_open_half_of_the_day_matches_either() {
        let three = time_in("at three").unwrap();
        assert!(three.matches(time_in("15:00").unwrap()));
        assert!(!time_in("3 AM").unwrap().matches(time_in("15:00").unwrap()));
        assert!(time_in("12 PM").unwrap().matches(time_in("12:00 PM").unwrap()));
    }

    #[test]
    fn days_are_passed_on_as_said() {
        let cases = [
            ("I would like a haircut tomorrow", "tomorrow"),
            ("Next Tuesday, please", "next Tuesday"),
            ("on friday", "Friday"),
            ("the 3rd of June", "june 3rd"),
            ("the 3rd", "the 3rd"),
            ("2026-11-24", "2026-11-24"),
            ("the day after tomorrow", "the day after tomorrow"),
        ];
        for (said, wanted) in cases {
            assert_eq!(day_in(said).as_deref(), Some(wanted), "{said}");
        }
        assert_eq!(day_in("the first one"), None);
    }

    #[test]
    fn a_service_is_found_by_its_name_or_a_word_of_it() {
        let names = ["Classic Haircut", "Skin Fade", "Beard Trim", "Haircut and Beard", "Kids' Cut"];
        let names: Vec<String> = names.map(str::to_owned).into();
        let cases = [
            ("book a haircut tomorrow", Some("Classic Haircut")),
            ("a haircut and beard please", Some("Haircut and Beard")),
            ("a fade", Some("Skin Fade")),
            ("the Kids' Cut", Some("Kids' Cut")),
            ("a massage and a coffee", None),
        ];
        for (said, wanted) in cases {
            assert_eq!(resolve_service(said, &names).as_deref(), wanted, "{said}");
        }
        assert_eq!(services_alike("how much is a haircut", &names), ["Classic Haircut", "Haircut and Beard"]);
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(name_in("Hi, my name is Ann Lee and I want a cut").as_deref(), Some("Ann Lee"));
        assert_eq!(name_in("This is Bob.").as_deref(), Some("Bob"));
        assert_eq!(name_in("this is great"), None);
        assert_eq!(phone_in("call 202-555-0143 please").as_deref(), Some("2025550143"));
        assert_eq!(phone_in("at 3:30"), None);
        assert_eq!(staff_in("a cut with Marcus tomorrow").as_deref(), Some("Marcus"));
    }

    proptest::proptest! {
        #[test]
        fn nothing_said_upsets_it(text in "\\PC{0,80}") {
            let _ = (resolve_service(&text, std::slice::from_ref(&text)), time_in(&text), day_in(&text), service_in(&text), staff_in(&text), name_in(&text), phone_in(&text));
        }
    }
}
