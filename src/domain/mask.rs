//! What may be written to a log of things that may not: telephone numbers and spoken words.

use std::fmt;

/// Shows a telephone number as its first two characters and last two digits (`+1********43`).
pub struct MaskedNumber<'a>(pub &'a str);

impl fmt::Display for MaskedNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.chars().count();
        for (i, c) in self.0.chars().enumerate() {
            let shown = count >= 8 && (i < 2 || i + 2 >= count);
            write!(f, "{}", if shown { c } else { '*' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for MaskedNumber<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows spoken words as their count only (`[7 words]`).
pub struct MaskedSpeech<'a>(pub &'a str);

impl fmt::Display for MaskedSpeech<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} words]", self.0.split_whitespace().count())
    }
}

impl fmt::Debug for MaskedSpeech<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_shows_its_ends_only_and_a_short_one_nothing() {
        assert_eq!(MaskedNumber("+12025550143").to_string(), "+1********43");
        assert_eq!(MaskedNumber("12345").to_string(), "*****");
    }

    #[test]
    fn speech_shows_its_length_only() {
        assert_eq!(MaskedSpeech("my card is 4111").to_string(), "[4 words]");
    }
}
