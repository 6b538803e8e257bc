//! Words of a search, and the part of a text in which they stand.

/// Letters with accents, and what each is without. The same as `search_fold` of the PostgreSQL migrations; of those that
/// SQLite's tokeniser leaves as they are, `search_words` of the SQLite migrations has the same.
const ACCENTED: &str = "àáâãäåāăąçćčďđðèéêëēėęěğħìíîïīįıłñńňòóôõöøōőřśšşťţŧùúûüūůűýÿźżž";
const PLAIN: &str = "aaaaaaaaacccdddeeeeeeeeghiiiiiiilnnnoooooooorssstttuuuuuuuyyzzz";

/// Letters that are two, in the same places.
const TWO: [(char, &str); 4] = [('æ', "ae"), ('œ', "oe"), ('ß', "ss"), ('þ', "th")];

/// Characters of a text to show on either side of a hit.
const AROUND: usize = 60;

fn fold(c: char, word: &mut String) {
    let c = c.to_lowercase().next().unwrap_or(c);
    if c.is_ascii() {
        word.push(c);
    } else if let Some((_, two)) = TWO.iter().find(|(one, _)| *one == c) {
        word.push_str(two);
    } else {
        let plain = ACCENTED.chars().zip(PLAIN.chars()).find(|(accented, _)| *accented == c);
        word.push(plain.map_or(c, |(_, plain)| plain));
    }
}

fn folded(word: impl Iterator<Item = char>) -> String {
    let mut plain = String::new();
    word.for_each(|c| fold(c, &mut plain));
    plain
}

/// A text's words, small and without accents.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| folded(word.chars()))
        .collect()
}

/// The part of a text around the first of the words, which may be the beginning of a longer one; none if none of them
/// stands in it.
pub(super) fn snippet(text: &str, wanted: &[String]) -> Option<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    for word in chars.split(|c| !c.is_alphanumeric()) {
        let folded = folded(word.iter().copied());
        if !folded.is_empty() && wanted.iter().any(|wanted| folded.starts_with(wanted.as_str())) {
            return Some(window(&chars, at, at + word.len()));
        }
        at += word.len() + 1;
    }
    None
}

fn window(chars: &[char], from: usize, to: usize) -> String {
    let mut begin = from.saturating_sub(AROUND);
    let mut end = to.saturating_add(AROUND).min(chars.len());
    // Whole words only.
    if begin > 0 {
        let skipped = chars.get(begin..from).and_then(|part| part.iter().position(|c| c.is_whitespace()));
        begin = skipped.map_or(begin, |skip| begin + skip + 1);
    }
    if end < chars.len() {
        let kept = chars.get(to..end).and_then(|part| part.iter().rposition(|c| c.is_whitespace()));
        end = kept.map_or(end, |keep| to + keep);
    }
    let middle: String = chars.get(begin..end).unwrap_or_default().iter().collect();
    let before = if begin > 0 { "…" } else { "" };
    let after = if end < chars.len() { "…" } else { "" };
    format!("{before}{}{after}", middle.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accents_and_case_make_no_difference() {
        assert_eq!(words("Café, ÉCLAIR & o'clock!"), ["cafe", "eclair", "o", "clock"]);
        assert_eq!(snippet("One Café please", &words("CAFE")).as_deref(), Some("One Café please"));
        assert_eq!(words("Ærø, STRASSE; Straße: ŁÓDŹ"), ["aero", "strasse", "strasse", "lodz"]);
        assert_eq!(ACCENTED.chars().count(), PLAIN.chars().count());
    }

    #[test]
    fn a_long_text_is_cut_at_words_around_the_hit() {
        let text = format!("{} umbrella {}", "before ".repeat(40), "after ".repeat(40));
        let cut = snippet(&text, &words("umb")).unwrap();
        assert!(
            cut.starts_with("…before ") && cut.ends_with(" after…") && cut.contains(" umbrella "),
            "{cut}"
        );
        assert!(cut.chars().count() < 140, "{cut}");
        assert_eq!(snippet(&text, &words("brella")), None);
    }

    proptest! {
        #[test]
        fn any_text_has_a_snippet_for_each_of_its_words(text in "\\PC{0,200}") {
            for word in words(&text) {
                prop_assert!(snippet(&text, &[word]).is_some());
            }
        }
    }
}
