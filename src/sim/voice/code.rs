//! The code of a word: characters, check and symbols. No audio here.

/// Tones of the code.
pub(super) const TONES: usize = 9;

/// The lowest tone, in Hz.
const LOWEST_HZ: usize = 2_600;

/// Distance between tones, in Hz: one cycle per symbol, so that tones do not disturb each other.
const SPACING_HZ: usize = 100;

/// Samples of one symbol: 10 ms at 8 kHz.
pub(super) const SYMBOL_SAMPLES: usize = 80;

/// The tone that only preambles and the end of a word use; data uses the eight below it.
///
/// So a word that has lost or gained symbols on its way does not end where its length says, whatever its check.
const SYNC: u8 = 8;

/// What every word begins with.
pub(super) const PREAMBLE: [u8; 4] = [SYNC, 2, SYNC, 5];

/// The most codes in one part of a word; the length is sent as six bits.
const MAX_CODES: usize = 64;

/// Characters per part of a word that does not fit into one part: at five codes each and three to begin with.
const PART_CHARS: usize = 12;

/// Symbols of the length and its check.
const HEADER_SYMBOLS: usize = 3;

/// Symbols of the check: 18 bits.
const CHECK_SYMBOLS: usize = 6;

/// Symbols after the preamble of the longest part.
const MAX_SYMBOLS: usize = symbols_for(MAX_CODES);

/// Characters with a code of their own, by code.
const ALPHABET: [char; 59] = [
    'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u',
    'v', 'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '\'', '.', ',', '?', '!', ':',
    ';', '-', '$', '&', '@', '/', '(', ')', '%', '+', '#', '"', '_', '*', '=', '’', '—',
];

/// The next letter is a capital.
const CAPITAL: u8 = 59;
/// All further letters of the part are capitals.
const CAPITALS: u8 = 60;
/// The next four codes are a character's Unicode number.
const UNICODE: u8 = 61;
/// First of a part of a longer word; the part's number and whether it is the last one follow.
const PART: u8 = 62;

/// Frequency of a tone in Hz.
pub(super) const fn tone_hz(tone: usize) -> usize {
    LOWEST_HZ + SPACING_HZ * tone
}

/// Symbols after the preamble of a part with so many codes, the one at the end included.
const fn symbols_for(codes: usize) -> usize {
    HEADER_SYMBOLS + 2 * codes + CHECK_SYMBOLS + 1
}

/// Number of the part after the one of the given number. Only the first one of a word is number 0.
pub(super) const fn number_after(number: u8) -> u8 {
    if number >= 63 { 1 } else { number + 1 }
}

/// A word, or one part of a word too long for one length field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Number of the part in its word: 0, 1 to 63, and from 1 again.
    pub(super) number: u8,
    /// Whether the word ends here.
    pub(super) last: bool,
    /// The characters.
    pub(super) text: String,
}

/// The symbols of a word, preamble included: one row per part, and one part but for very long words.
pub(super) fn symbols_of(word: &str) -> Vec<Vec<u8>> {
    let whole = codes_of(word.chars());
    if whole.len() <= MAX_CODES {
        return vec![symbols(&whole)];
    }
    let chars: Vec<char> = word.chars().collect();
    let mut parts = chars.chunks(PART_CHARS).peekable();
    let mut rows = Vec::new();
    let mut number = 0;
    while let Some(part) = parts.next() {
        let mut codes = vec![PART, number, u8::from(parts.peek().is_none())];
        codes.extend(codes_of(part.iter().copied()));
        rows.push(symbols(&codes));
        number = number_after(number);
    }
    rows
}

fn codes_of(chars: impl Iterator<Item = char> + Clone) -> Vec<u8> {
    let mut codes = Vec::new();
    let mut capitals = false;
    let mut rest = chars;
    while let Some(char) = rest.next() {
        let small = char.to_ascii_lowercase();
        let Some(code) = ALPHABET.iter().position(|&known| known == small) else {
            let number = u32::from(char);
            codes.push(UNICODE);
            codes.extend([18, 12, 6, 0].map(|shift| ((number >> shift) & 63) as u8));
            continue;
        };
        if char.is_ascii_uppercase() && !capitals {
            let mut letters = rest.clone().filter(char::is_ascii_alphabetic).peekable();
            capitals = letters.peek().is_some() && letters.all(|letter| letter.is_ascii_uppercase());
            codes.push(if capitals { CAPITALS } else { CAPITAL });
        }
        codes.push(code as u8);
    }
    codes
}

fn part_of(codes: &[u8]) -> Option<Part> {
    let (number, last, text) = match codes {
        [PART, number, last, rest @ ..] => (*number, *last == 1, rest),
        [PART, ..] => return None,
        whole => (0, true, whole),
    };
    Some(Part { number, last, text: text_of(text)? })
}

fn text_of(codes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let (mut capital, mut capitals) = (false, false);
    let mut codes = codes.iter().copied();
    while let Some(code) = codes.next() {
        match code {
            CAPITAL => capital = true,
            CAPITALS => capitals = true,
            UNICODE => {
                let mut number = 0;
                for _ in 0..4 {
                    number = number << 6 | u32::from(codes.next()?);
                }
                text.push(char::from_u32(number)?);
            }
            _ => {
                let char = *ALPHABET.get(usize::from(code))?;
                text.push(if capital || capitals { char.to_ascii_uppercase() } else { char });
                capital = false;
            }
        }
    }
    (!text.is_empty()).then_some(text)
}

fn symbols(codes: &[u8]) -> Vec<u8> {
    let length = codes.len().saturating_sub(1) as u8;
    let mut symbols = PREAMBLE.to_vec();
    symbols.extend(header(length));
    symbols.extend(codes.iter().flat_map(|code| [code >> 3, code & 7]));
    let check = codes.iter().fold(check_step(CHECK_START, length), |check, &code| check_step(check, code));
    symbols.extend([15, 12, 9, 6, 3, 0].map(|shift| ((check >> shift) & 7) as u8));
    symbols.push(SYNC);
    symbols
}

/// The symbols of the length, and one that catches every single wrong symbol among them.
const fn header(length: u8) -> [u8; HEADER_SYMBOLS] {
    let (high, low) = (length >> 3, length & 7);
    [high, low, (3 * high + 5 * low + 1) & 7]
}

const CHECK_START: u32 = 0x2_5A5A;

/// Takes six bits into the check, a remainder modulo the primitive polynomial x¹⁸ + x⁷ + 1.
fn check_step(check: u32, code: u8) -> u32 {
    (0..6).rev().fold(check, |check, bit| {
        let carry = (check >> 17) ^ u32::from(code >> bit);
        ((check << 1) & 0x3_FFFF) ^ if carry & 1 == 1 { 0x81 } else { 0 }
    })
}

/// What a word's reader says after a symbol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The part goes on.
    More,
    /// This cannot be a whole part.
    Bad,
    /// The part is complete and its check holds.
    Done(Part),
}

/// Reads the symbols that follow a preamble.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    symbols: [u8; MAX_SYMBOLS],
    count: usize,
}

impl Reader {
    pub(super) const fn new() -> Self {
        Self { symbols: [0; MAX_SYMBOLS], count: 0 }
    }

    /// Symbols read so far.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Takes the next symbol.
    pub(super) fn push(&mut self, symbol: u8) -> Read {
        let Some(slot) = self.symbols.get_mut(self.count) else { return Read::Bad };
        *slot = symbol;
        self.count += 1;
        if self.count <= HEADER_SYMBOLS && symbol >= SYNC {
            return Read::Bad;
        }
        if self.count < HEADER_SYMBOLS {
            return Read::More;
        }
        let Some((&[high, low, check], rest)) = self.symbols.split_first_chunk::<HEADER_SYMBOLS>() else {
            return Read::Bad;
        };
        let length = high << 3 | low;
        if [high, low, check] != header(length) {
            return Read::Bad;
        }
        let codes = usize::from(length) + 1;
        if self.count < symbols_for(codes) {
            return if symbol < SYNC { Read::More } else { Read::Bad };
        }
        if symbol != SYNC {
            return Read::Bad;
        }
        let (pairs, _) = rest.as_chunks::<2>();
        let codes: Vec<u8> = pairs.iter().take(codes).map(|[high, low]| high << 3 | low).collect();
        let sent = rest.iter().skip(2 * codes.len()).take(CHECK_SYMBOLS);
        let sent = sent.fold(0, |check, &symbol| check << 3 | u32::from(symbol));
        let check =
            codes.iter().fold(check_step(CHECK_START, length), |check, &code| check_step(check, code));
        match part_of(&codes) {
            Some(part) if check == sent => Read::Done(part),
            _ => Read::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(symbols: &[u8]) -> Option<Part> {
        let (last, before) = symbols[PREAMBLE.len()..].split_last().unwrap();
        let mut reader = Reader::new();
        for &symbol in before {
            if reader.push(symbol) != Read::More {
                return None;
            }
        }
        match reader.push(*last) {
            Read::Done(part) => Some(part),
            _ => None,
        }
    }

    fn read_until_done(symbols: &[u8]) -> Option<Part> {
        let mut reader = Reader::new();
        for &symbol in &symbols[PREAMBLE.len()..] {
            match reader.push(symbol) {
                Read::More => {}
                Read::Bad => return None,
                Read::Done(part) => return Some(part),
            }
        }
        None
    }

    fn round_trip(word: &str) -> String {
        let parts: Vec<Part> = symbols_of(word).iter().map(|row| read(row).unwrap()).collect();
        assert!(
            parts
                .iter()
                .enumerate()
                .all(|(n, part)| usize::from(part.number) == if n == 0 { 0 } else { 1 + (n - 1) % 63 })
        );
        assert!(parts.iter().enumerate().all(|(n, part)| part.last == (n + 1 == parts.len())));
        parts.into_iter().map(|part| part.text).collect()
    }

    #[test]
    fn capitals_and_punctuation_come_back() {
        let long =
            "very-long.address_with+many-parts@SomeSubdomain.of.an.Example.museum/and/A/Path?q=".repeat(12);
        for word in [
            "Tuesday,", "3:30", "PM?", "I", "O'Brien", "iPhone", "USA-wide", "naïve", "—", "AI", "A.M.",
            &long,
        ] {
            assert_eq!(round_trip(word), word);
        }
    }

    #[test]
    fn common_words_are_short() {
        assert_eq!(symbols_of("at")[0].len(), 4 + 3 + 4 + 6 + 1);
        assert_eq!(symbols_of("Appointment")[0].len(), 4 + 3 + 24 + 6 + 1);
        assert_eq!(symbols_of("PM?")[0].len(), 4 + 3 + 8 + 6 + 1);
    }

    #[test]
    fn the_ninth_tone_is_heard_in_preambles_and_at_the_end_only() {
        for row in symbols_of("The quick brown fox jumps over 13 lazy dogs!") {
            let places: Vec<usize> = (0..row.len()).filter(|&n| row[n] == SYNC).collect();
            assert_eq!(places, [0, 2, row.len() - 1]);
        }
    }

    proptest! {
        #[test]
        fn every_word_comes_back(word in "\\PC{1,90}") {
            prop_assert_eq!(round_trip(&word), word);
        }

        #[test]
        fn up_to_two_wrong_symbols_are_noticed(
            word in "[A-Za-z0-9,.?]{1,12}", first: prop::sample::Index, second: prop::sample::Index, by in 1_u8..8, and in 0_u8..8,
        ) {
            let mut symbols = symbols_of(&word).remove(0);
            let whole = symbols.clone();
            let data = symbols.len() - PREAMBLE.len();
            for (index, change) in [(first, by), (second, and)] {
                symbols[PREAMBLE.len() + index.index(data)] ^= change;
            }
            prop_assert_eq!(read(&symbols).is_some(), symbols == whole);
        }

        #[test]
        fn a_lost_or_repeated_stretch_is_noticed(
            word in "[A-Za-z0-9,.?]{1,12}", at: prop::sample::Index, count in 1_usize..9, twice: bool,
        ) {
            let mut symbols = symbols_of(&word).remove(0);
            // Short of the symbol at the end: repeated, that follows a whole word.
            let end = symbols.len() - 1;
            let at = PREAMBLE.len() + at.index(end - PREAMBLE.len());
            let stretch = at..(at + count).min(end);
            if twice {
                symbols.splice(at..at, symbols[stretch].to_vec());
            } else {
                symbols.drain(stretch);
                // What comes next is silence, or the next word's preamble.
                symbols.extend(PREAMBLE);
            }
            prop_assert_eq!(read_until_done(&symbols), None);
        }

        #[test]
        fn any_symbols_are_taken_without_harm(symbols in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new();
            for symbol in symbols {
                let _ = reader.push(symbol);
            }
        }
    }
}
