//! Texts as words.

pub(super) fn split_words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// The text with its white space collapsed.
pub(super) fn one_line(text: &str) -> String {
    split_words(text).collect::<Vec<_>>().join(" ")
}

/// Both texts, with a space between them where both have something to say.
pub(super) fn join(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.to_owned(),
        (_, true) => a.to_owned(),
        _ => format!("{a} {b}"),
    }
}

/// What is left after the first `n` words.
pub(super) fn skip_words(text: &str, n: usize) -> String {
    split_words(text).skip(n).collect::<Vec<_>>().join(" ")
}

/// The last characters of a text, from the beginning of a word.
pub(super) fn tail(text: &str, max: usize) -> String {
    let excess = text.chars().count().saturating_sub(max);
    if excess == 0 {
        return text.to_owned();
    }
    let rest: String = text.chars().skip(excess).collect();
    match rest.split_once(' ') {
        Some((_, whole)) => format!("…{whole}"),
        None => rest,
    }
}

/// Whether `text` begins with the words of `start`, without regard to case and punctuation: a recogniser may set a
/// full stop where it later hears the sentence go on.
pub(super) fn is_prefix(start: &str, text: &str) -> bool {
    let plain = |word: &str| {
        word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>()
    };
    let mut words = split_words(text);
    split_words(start).all(|word| words.next().is_some_and(|other| plain(word) == plain(other)))
}
