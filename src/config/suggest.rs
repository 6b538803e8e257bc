//! "Did you mean": the known name nearest to a mistyped one.

/// The candidate nearest to `wanted`, if one is near enough to be a slip of the hand.
pub(super) fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().take(64).collect();
    let allowed = (wanted.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed or replaced (Levenshtein).
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, cb) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_that_was_meant_and_nonsense_finds_none() {
        let names = ["filler_ms", "filler_repeat_ms", "apology_ms", "monday"];
        for (wanted, want) in [
            ("filer_ms", Some("filler_ms")),
            ("Monday", Some("monday")),
            ("mondya", Some("monday")),
            ("apologyms", Some("apology_ms")),
            ("zebra", None),
            ("", None),
        ] {
            assert_eq!(nearest(wanted, names), want, "{wanted}");
        }
    }

    #[test]
    fn the_distance_counts_letters() {
        for (a, b, want) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0)] {
            assert_eq!(distance(&a.chars().collect::<Vec<_>>(), b), want, "{a} {b}");
        }
    }
}
