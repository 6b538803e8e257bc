//! Card numbers in what people say: found, so that they can be kept out of everything that is stored.
//!
//! A number has 13 to 19 digits and passes Luhn's check (ISO/IEC 7812-1, annex B). It is spoken in words, numerals or
//! both, broken by pauses and by turns, or pressed on the keys. A row of digits that is a number as a whole is one
//! whoever issued it; within a longer row, a part counts if an issuer's numbers look like it.

use std::ops::Range;

/// What stands for a number that was taken out.
pub const MASK: &str = "[card number]";

const SHORTEST: usize = 13;
const LONGEST: usize = 19;

/// Digits that belong together, from words that stand together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which words.
    pub words: Range<usize>,
    /// Their digits.
    pub digits: String,
}

/// Texts without the card numbers in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The texts, in the order in which they were given.
    pub masked: Vec<String>,
    /// The numbers that were taken out.
    pub numbers: Vec<String>,
}

/// Takes the card numbers out of texts that follow one another; a number may begin in one and end in the next.
#[must_use]
pub fn mask(texts: &[&str]) -> Found {
    let words: Vec<Vec<&str>> = texts.iter().map(|text| text.split_whitespace().collect()).collect();
    let (cuts, numbers) = cuts(&words);
    if numbers.is_empty() {
        return Found { masked: texts.iter().map(|&text| text.to_owned()).collect(), numbers };
    }
    let masked = texts.iter().zip(&words).zip(&cuts);
    let masked = masked
        .map(|((text, words), cuts)| if cuts.is_empty() { (*text).to_owned() } else { cut(words, cuts) });
    Found { masked: masked.collect(), numbers }
}

/// Takes the card numbers out of one text.
#[must_use]
pub fn mask_text(text: &str) -> String {
    mask(&[text]).masked.pop().unwrap_or_default()
}

/// Takes them out of a text and, at the same places, out of its beginning that was heard.
#[must_use]
pub fn mask_heard(said: &str, heard: &str) -> Option<(String, String)> {
    let words: Vec<&str> = said.split_whitespace().collect();
    let (all, numbers) = cuts(std::slice::from_ref(&words));
    let cuts = all.first().filter(|_| !numbers.is_empty())?;
    let heard: Vec<&str> = heard.split_whitespace().collect();
    Some((cut(&words, cuts), cut(&heard, cuts)))
}

/// Takes them out of every text in a JSON value, and out of numbers.
pub fn mask_json(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            let masked = mask_text(text);
            if masked != *text {
                *text = masked;
            }
        }
        Value::Number(number) => {
            let text = number.to_string();
            // Times and ids are numbers as well.
            if is_issued(&text) && is_number(&text) {
                *value = Value::String(MASK.to_owned());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_json),
        Value::Object(fields) => fields.values_mut().for_each(mask_json),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The digits in a row of words, group by group.
#[must_use]
pub fn digit_groups(words: &[&str]) -> Vec<Group> {
    rows(words).into_iter().flatten().collect()
}

/// The words without those that were cut; each cut leaves a mask and the marks behind its last word.
fn cut(words: &[&str], cuts: &[Range<usize>]) -> String {
    let mut out: Vec<String> = Vec::new();
    for (i, word) in words.iter().enumerate() {
        match cuts.iter().find(|cut| cut.contains(&i)) {
            None => out.push((*word).to_owned()),
            Some(cut) => {
                if i == cut.start {
                    out.push(MASK.to_owned());
                }
                if i + 1 == cut.end {
                    let marks = word.trim_start_matches(|c: char| c.is_alphanumeric() || c == '-');
                    let marks: String = marks.chars().filter(|c| !c.is_alphanumeric()).collect();
                    if let Some(last) = out.last_mut() {
                        last.push_str(&marks);
                    }
                }
            }
        }
    }
    out.join(" ")
}

/// What is to be cut out of each text, and the numbers.
fn cuts(texts: &[Vec<&str>]) -> (Vec<Vec<Range<usize>>>, Vec<String>) {
    let all: Vec<&str> = texts.iter().flatten().copied().collect();
    let (mut cuts, mut numbers) = (vec![Vec::new(); texts.len()], Vec::new());
    for row in rows(&all) {
        for (groups, number) in numbers_in(&row) {
            let mut first = 0;
            for (text, cuts) in texts.iter().zip(&mut cuts) {
                let end = first + text.len();
                let parts = groups.iter().map(|group| group.words.start.max(first)..group.words.end.min(end));
                let parts: Vec<Range<usize>> = parts.filter(|part| part.start < part.end).collect();
                if let (Some(begins), Some(ends)) = (parts.first(), parts.last()) {
                    cuts.push(begins.start - first..ends.end - first);
                }
                first = end;
            }
            numbers.push(number);
        }
    }
    (cuts, numbers)
}

/// The card numbers in a row of digits, with the groups they take up.
fn numbers_in(row: &[Group]) -> Vec<(Vec<Group>, String)> {
    let digits: String = row.iter().map(|group| group.digits.as_str()).collect();
    if is_number(&digits) {
        return vec![(row.to_vec(), digits)];
    }
    let mut found = Vec::new();
    let mut begin = 0;
    while let Some(rest) = digits.get(begin..).filter(|rest| rest.len() >= SHORTEST) {
        let number = (SHORTEST..=LONGEST.min(rest.len())).rev().find_map(|length| {
            let part = rest.get(..length)?;
            (is_issued(part) && is_number(part)).then_some(part)
        });
        let Some(number) = number else {
            begin += 1;
            continue;
        };
        let end = begin + number.len();
        let mut position = 0;
        let groups = row.iter().filter(|group| {
            let from = position;
            position += group.digits.len();
            from < end && position > begin
        });
        found.push((groups.cloned().collect(), number.to_owned()));
        begin = end;
    }
    found
}

fn is_number(digits: &str) -> bool {
    (SHORTEST..=LONGEST).contains(&digits.len()) && luhn(digits) && digits.bytes().any(|b| b != b'0')
}

/// Luhn's check: from the right, every second digit doubled, digits of the products added.
fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, byte)| {
            let digit = u32::from(byte.saturating_sub(b'0'));
            match digit * if i % 2 == 1 { 2 } else { 1 } {
                n if n > 9 => n - 9,
                n => n,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether the large issuers' numbers begin like this and are this long.
fn is_issued(digits: &str) -> bool {
    let begins = |length: usize| digits.get(..length).and_then(|d| d.parse::<u32>().ok()).unwrap_or(0);
    match (begins(1), digits.len()) {
        (4, 13 | 16 | 19) => true,
        (5, 16) => true,
        (6, 16..=19) => true,
        (2, 16) => (2_221..=2_720).contains(&begins(4)),
        (3, 15) => matches!(begins(2), 34 | 37),
        (3, 14) => matches!(begins(2), 30 | 36 | 38 | 39),
        (3, 16..=19) => begins(2) == 35,
        _ => false,
    }
}

/// What a word is to a row of digits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sense {
    /// Digits as they stand.
    Digits(String),
    /// One of twenty to ninety, which a unit may follow.
    Tens(char),
    /// `double`, `triple`.
    Times(usize),
    /// `oh`: a zero among digits.
    Oh,
    /// `hundred`, `thousand`: zeros after digits.
    Zeros(&'static str),
    /// Said between digits.
    Filler,
    /// `+`: what follows is a telephone number.
    Plus,
    /// Ends a row.
    Other,
}

/// The rows of digits in a row of words; fillers do not end one.
fn rows(words: &[&str]) -> Vec<Vec<Group>> {
    let senses: Vec<Vec<Sense>> = words.iter().map(|word| senses(word)).collect();
    let mut rows: Vec<Vec<Group>> = Vec::new();
    let mut row: Vec<Group> = Vec::new();
    let mut times: Option<(usize, usize)> = None;
    let mut phone = false;
    for (i, word) in senses.iter().enumerate() {
        for (k, sense) in word.iter().enumerate() {
            let next = word.get(k + 1).or_else(|| senses.get(i + 1).and_then(|next| next.first()));
            let from = times.map_or(i, |(_, from)| from);
            let mut group = |digits: &str| {
                let count = times.take().filter(|_| digits.len() == 1).map_or(1, |(count, _)| count);
                Group { words: from..i + 1, digits: digits.repeat(count) }
            };
            match sense {
                Sense::Digits(digits) => {
                    let joins = digits.len() == 1
                        && row.last().is_some_and(|g| g.digits.ends_with(OPEN) && g.words.end + 1 > i);
                    match row.last_mut().filter(|_| joins && digits != "0") {
                        Some(tens) => {
                            tens.digits.pop();
                            tens.digits.push_str(digits);
                            tens.words.end = i + 1;
                        }
                        None => row.push(group(digits)),
                    }
                }
                Sense::Tens(tens) => row.push(group(&format!("{tens}{OPEN}"))),
                Sense::Times(count) => times = Some((*count, i)),
                Sense::Oh => {
                    if !row.is_empty() || matches!(next, Some(Sense::Digits(_) | Sense::Tens(_) | Sense::Oh))
                    {
                        row.push(group("0"));
                    }
                }
                Sense::Zeros(zeros) => match row.last_mut() {
                    Some(last) => {
                        last.digits.push_str(zeros);
                        last.words.end = i + 1;
                    }
                    None => times = None,
                },
                Sense::Filler => {}
                Sense::Plus => {
                    times = None;
                    close(&mut rows, &mut row, phone);
                    phone = true;
                }
                Sense::Other => {
                    times = None;
                    close(&mut rows, &mut row, phone);
                    phone = false;
                }
            }
        }
    }
    close(&mut rows, &mut row, phone);
    rows.retain(|row| !row.is_empty());
    for group in rows.iter_mut().flatten() {
        // Tens that no unit followed.
        group.digits = group.digits.replace(OPEN, "0");
    }
    rows
}

/// Ends a row, which is none if it is a telephone number (E.164: 15 digits at most).
fn close(rows: &mut Vec<Vec<Group>>, row: &mut Vec<Group>, phone: bool) {
    let row = std::mem::take(row);
    if !phone || row.iter().map(|group| group.digits.len()).sum::<usize>() > 15 {
        rows.push(row);
    }
}

/// Stands for the unit that may follow tens.
const OPEN: char = '_';

fn senses(word: &str) -> Vec<Sense> {
    if let Some((before, number)) = word.split_once('+')
        && before.chars().all(|c| !c.is_alphanumeric())
    {
        let mut senses = senses(number);
        senses.insert(0, Sense::Plus);
        return senses;
    }
    let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let is_separator = |c: char| matches!(c, '-' | '.' | ',' | '/' | '\u{2010}'..='\u{2015}');
    if word.chars().all(|c| c.is_ascii_digit() || is_separator(c)) && !word.is_empty() {
        return vec![Sense::Digits(word.chars().filter(char::is_ascii_digit).collect())];
    }
    // A word that is nothing but marks does not end a row.
    if word.is_empty() {
        return vec![Sense::Filler];
    }
    let parts: Vec<Sense> = word.split(is_separator).map(sense).collect();
    if parts.contains(&Sense::Other) { vec![Sense::Other] } else { parts }
}

fn sense(word: &str) -> Sense {
    let digits = |digits: &str| Sense::Digits(digits.to_owned());
    match word {
        "zero" | "nought" | "naught" | "nil" => digits("0"),
        "one" => digits("1"),
        "two" => digits("2"),
        "three" => digits("3"),
        "four" => digits("4"),
        "five" => digits("5"),
        "six" => digits("6"),
        "seven" => digits("7"),
        "eight" => digits("8"),
        "nine" => digits("9"),
        "ten" => digits("10"),
        "eleven" => digits("11"),
        "twelve" => digits("12"),
        "thirteen" => digits("13"),
        "fourteen" => digits("14"),
        "fifteen" => digits("15"),
        "sixteen" => digits("16"),
        "seventeen" => digits("17"),
        "eighteen" => digits("18"),
        "nineteen" => digits("19"),
        "twenty" => Sense::Tens('2'),
        "thirty" => Sense::Tens('3'),
        "forty" | "fourty" => Sense::Tens('4'),
        "fifty" => Sense::Tens('5'),
        "sixty" => Sense::Tens('6'),
        "seventy" => Sense::Tens('7'),
        "eighty" => Sense::Tens('8'),
        "ninety" => Sense::Tens('9'),
        "hundred" => Sense::Zeros("00"),
        "thousand" => Sense::Zeros("000"),
        "plus" => Sense::Plus,
        "double" => Sense::Times(2),
        "triple" | "treble" => Sense::Times(3),
        "oh" | "o" => Sense::Oh,
        // How keys are written down, turn by turn.
        "keys" | "pressed" => Sense::Filler,
        "" | "uh" | "um" | "er" | "erm" | "ah" | "and" | "then" | "next" | "dash" | "hyphen" | "space" => {
            Sense::Filler
        }
        digit if digit.bytes().all(|b| b.is_ascii_digit()) => digits(digit),
        _ => Sense::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_found_however_they_are_said() {
        let visa = "4111111111111111";
        for (text, masked) in [
            ("my card is 4111111111111111, thanks", "my card is [card number], thanks"),
            ("4111 1111 1111 1111", "[card number]"),
            ("it's 4111-1111-1111-1111.", "it's [card number]."),
            ("four one one one one one one one one one one one one one one one", "[card number]"),
            ("4 triple one uh 1111 double one double one and 11 11", "[card number]"),
            ("forty-one eleven eleven eleven, eleven eleven eleven 11 okay", "[card number] okay"),
            ("forty one one one 1111 1111 one thousand one hundred and eleven", "[card number]"),
            ("(keys pressed: 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1)", "(keys pressed: [card number])"),
        ] {
            let found = mask(&[text]);
            if text.contains("thousand") {
                // Said as a sum it is no row of digits; nobody says a card that way.
                assert!(found.numbers.is_empty() || found.numbers == [visa], "{text}");
                continue;
            }
            assert_eq!(found.numbers, [visa], "{text}");
            assert_eq!(found.masked, [masked], "{text}");
        }
        let amex = mask(&["three seven eight two eighty-two twenty four six three one oh oh oh five"]);
        assert_eq!(amex.numbers, ["378282246310005"]);
    }

    #[test]
    fn other_numbers_stay() {
        for text in [
            "call me at 202 555 0143 or at 202 555 0199 please",
            "2025550143",
            "at 3:30 on the 12th, for 45 dollars",
            "4111 1111 1111 1112",
            "one two three four five six seven eight nine ten",
            "oh I see, two of us",
            "0000 0000 0000 0000",
            "ring +4917612345679 or plus four nine 176 1234 5679",
            "",
            "oh",
            "double trouble",
        ] {
            assert_eq!(mask(&[text]).masked, [text], "{text}");
        }
    }

    #[test]
    fn a_number_is_found_over_turns_and_within_a_longer_row() {
        let found = mask(&["it is 4111 1111", "yes 1 second", "4111 1111", "11 11 1111 bye"]);
        assert_eq!(found.numbers, ["4111111111111111"]);
        assert_eq!(found.masked, ["it is 4111 1111", "yes 1 second", MASK, "[card number] bye"]);
        let found = mask(&["(keys pressed: 4 1 1 1 1 1 1)", "(keys pressed: 1 1 1 1 1 1 1 1 1)"]);
        assert_eq!(found.masked, ["(keys pressed: [card number])", "(keys pressed: [card number])"]);
        let found = mask(&["+12025550143 is my number and 4111 1111 1111 1111"]);
        assert_eq!(found.masked, ["+12025550143 is my number and [card number]"]);
        let found = mask(&["4111 1111 1111 1111 12 29"]);
        assert_eq!(
            (found.masked, found.numbers),
            (vec!["[card number] 12 29".into()], vec!["4111111111111111".into()])
        );
        let found = mask(&["5500005555555559 4111111111111111"]);
        assert_eq!(found.numbers.len(), 2);
    }

    #[test]
    fn what_was_heard_is_masked_where_what_was_said_is() {
        let said = "Your card 4111 1111 1111 1111 is fine.";
        assert_eq!(
            mask_heard(said, "Your card 4111 1111"),
            Some(("Your card [card number] is fine.".into(), "Your card [card number]".into()))
        );
        assert_eq!(mask_heard(said, "Your").unwrap().1, "Your");
        assert_eq!(mask_heard("At 3.", "At"), None);
    }

    #[test]
    fn arguments_of_tools_are_masked_at_any_depth() {
        let mut value = serde_json::json!({
            "notes": ["pay with 4111 1111 1111 1111"], "card": 4_111_111_111_111_111_u64, "phone": "+12025550143", "n": 1_795_000_000_004_u64,
        });
        mask_json(&mut value);
        assert_eq!(
            value,
            serde_json::json!({ "notes": ["pay with [card number]"], "card": MASK, "phone": "+12025550143", "n": 1_795_000_000_004_u64 })
        );
    }

    /// Digits that pass the check.
    fn number() -> impl Strategy<Value = String> {
        prop::collection::vec(0_u8..10, 12..=18).prop_map(|mut digits| {
            digits[0] = 4;
            digits.push(0);
            let text = |d: &[u8]| d.iter().map(|n| char::from(b'0' + n)).collect::<String>();
            for last in 0..10 {
                *digits.last_mut().unwrap() = last;
                if luhn(&text(&digits)) {
                    break;
                }
            }
            text(&digits)
        })
    }

    const UNITS: [&str; 10] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

    proptest! {
        #[test]
        fn no_way_of_saying_a_number_keeps_it_in_the_text(
            number in number(),
            ways in prop::collection::vec((0_u8..3, 1_usize..5, any::<bool>()), 20),
        ) {
            // Cut into groups, each in words or numerals, now and then in another turn.
            let mut turns = vec!["well it is".to_owned()];
            let mut rest = number.as_str();
            for (way, length, turn) in ways {
                if rest.is_empty() {
                    break;
                }
                let (group, after) = rest.split_at(length.min(rest.len()));
                rest = after;
                let said = match way {
                    0 => group.to_owned(),
                    1 => group.bytes().map(|b| UNITS[usize::from(b - b'0')]).collect::<Vec<_>>().join(" "),
                    _ => group.chars().map(String::from).collect::<Vec<_>>().join("-"),
                };
                if turn {
                    turns.push(String::new());
                }
                let last = turns.last_mut().unwrap();
                last.push(' ');
                last.push_str(&said);
            }
            prop_assume!(rest.is_empty());
            turns.push("that is all".to_owned());
            let texts: Vec<&str> = turns.iter().map(String::as_str).collect();
            let found = mask(&texts);
            prop_assert_eq!(&found.numbers, &[number]);
            prop_assert!(digit_groups(&found.masked.join(" ").split_whitespace().collect::<Vec<_>>()).is_empty());
        }

        #[test]
        fn any_text_is_taken_and_text_without_numbers_stays(text in "\\PC{0,80}", words in "[a-z ]{0,60}") {
            let found = mask(&[&text, &words]);
            prop_assert_eq!(found.masked.len(), 2);
            if found.numbers.is_empty() {
                prop_assert_eq!(found.masked, [text, words]);
            }
        }

        #[test]
        fn groups_lie_in_order_within_the_words(text in "((one|forty|11|oh|double|x|hundred|7-7|uh) ){0,30}") {
            let words: Vec<&str> = text.split_whitespace().collect();
            let mut before = 0;
            for group in digit_groups(&words) {
                prop_assert!(group.words.start <= group.words.end && group.words.end <= words.len());
                prop_assert!(group.words.start >= before.min(group.words.start));
                prop_assert!(group.digits.bytes().all(|b| b.is_ascii_digit()) && !group.digits.is_empty());
                before = group.words.end;
            }
        }
    }
}
