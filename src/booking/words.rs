//! Cuts what a caller said into words, and reads numbers among them.

/// Longest text that is looked at, in characters.
const MAX_CHARS: usize = 200;

const UNITS: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const ORDINALS: [&str; 20] = [
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
];

const TENS: [(&str, &str, u32); 4] = [
    ("twenty", "twentieth", 20),
    ("thirty", "thirtieth", 30),
    ("forty", "fortieth", 40),
    ("fifty", "fiftieth", 50),
];

/// A number among words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// Its value.
    pub(super) value: u32,
    /// How many words it took.
    pub(super) words: usize,
    /// Whether it was said as a rank ("third", "3rd").
    pub(super) ordinal: bool,
}

/// The words in lower case. Signs between digits stay (`11/3`, `15:00`, `2026-11-24`), all others part words; `a.m.`
/// and `p.m.` become `am` and `pm`, words of their own even when glued to a number.
pub(super) fn words(text: &str) -> Vec<String> {
    let text: String = text.chars().take(MAX_CHARS).collect::<String>().to_lowercase();
    let text = text.replace("a.m", "am").replace("p.m", "pm");
    let chars: Vec<char> = text.chars().filter(|c| !matches!(c, '\'' | '’' | '‘' | '`')).collect();
    let digit = |at: Option<usize>| at.and_then(|i| chars.get(i)).is_some_and(char::is_ascii_digit);
    let mut cut = String::with_capacity(chars.len());
    for (i, &c) in chars.iter().enumerate() {
        let joins = matches!(c, '-' | '/' | '.' | ':') && digit(i.checked_sub(1)) && digit(Some(i + 1));
        cut.push(if c.is_alphanumeric() || joins { c } else { ' ' });
    }
    let mut words: Vec<String> = Vec::new();
    for word in cut.split_whitespace() {
        match (words.last().map(String::as_str), word) {
            // "p m" as recognisers write it.
            (Some(half @ ("a" | "p")), "m") => {
                let whole = format!("{half}m");
                words.pop();
                words.push(whole);
            }
            _ => match unglued(word) {
                Some((number, half)) => words.extend([number.to_owned(), half.to_owned()]),
                None => words.push(word.to_owned()),
            },
        }
    }
    words
}

/// `3pm` as `3` and `pm`.
fn unglued(word: &str) -> Option<(&str, &str)> {
    let (number, half) = ["am", "pm"].iter().find_map(|half| Some((word.strip_suffix(half)?, *half)))?;
    number.ends_with(|c: char| c.is_ascii_digit()).then_some((number, half))
}

/// The number that begins at a word, if one does.
pub(super) fn number_at(words: &[String], at: usize) -> Option<Number> {
    let word = words.get(at)?.as_str();
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return digits(word);
    }
    for (cardinal, ordinal, value) in TENS {
        if word == ordinal {
            return Some(Number { value, words: 1, ordinal: true });
        }
        if word == cardinal {
            let unit = words.get(at + 1).and_then(|next| small(next)).filter(|n| (1..10).contains(&n.value));
            return Some(match unit {
                Some(unit) => Number { value: value + unit.value, words: 2, ordinal: unit.ordinal },
                None => Number { value, words: 1, ordinal: false },
            });
        }
    }
    small(word)
}

fn digits(word: &str) -> Option<Number> {
    let plain = ["st", "nd", "rd", "th"].iter().find_map(|suffix| word.strip_suffix(suffix));
    let number = plain.unwrap_or(word);
    if number.len() > 4 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Number { value: number.parse().ok()?, words: 1, ordinal: plain.is_some() })
}

fn small(word: &str) -> Option<Number> {
    let find = |all: &[&str]| all.iter().position(|w| *w == word).and_then(|i| u32::try_from(i).ok());
    match find(&UNITS) {
        Some(value) => Some(Number { value, words: 1, ordinal: false }),
        None => find(&ORDINALS).map(|value| Number { value, words: 1, ordinal: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_between_digits_stay_and_all_others_part_words() {
        for (text, want) in [
            ("Tuesday, Nov. 3rd!", vec!["tuesday", "nov", "3rd"]),
            ("2026-11-24", vec!["2026-11-24"]),
            ("twenty-third", vec!["twenty", "third"]),
            ("3.11.", vec!["3.11"]),
            ("3:30 p.m.", vec!["3:30", "pm"]),
            ("3 P M", vec!["3", "pm"]),
            ("3pm", vec!["3", "pm"]),
            ("3 o’clock", vec!["3", "oclock"]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), want, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_as_digits_words_and_ranks() {
        for (text, value, count, ordinal) in [
            ("3", 3, 1, false),
            ("3rd", 3, 1, true),
            ("third", 3, 1, true),
            ("twenty-first", 21, 2, true),
            ("thirty one", 31, 2, false),
            ("thirty-first", 31, 2, true),
            ("twentieth", 20, 1, true),
            ("twenty twenty", 20, 1, false),
            ("forty five", 45, 2, false),
        ] {
            let number = number_at(&words(text), 0);
            assert_eq!(number, Some(Number { value, words: count, ordinal }), "{text}");
        }
        for text in ["", "hello", "3rdx", "11/3", "12345", "3x"] {
            assert_eq!(number_at(&words(text), 0), None, "{text}");
        }
    }
}
