//! Where a sentence that broke off is taken up again: by a second voice after the first one's failure, or by a voice that
//! was started again. One rule for both (`decisions.md`, "TTS cut mid-sentence").

/// A sentence of which less was sent is spoken again from its start, ms.
const FROM_THE_START_BELOW_MS: u64 = 1_000;

/// How fast voices speak, characters a second: the only measure there is without the vendor's alignment.
const CHARS_PER_SECOND: u64 = 15;

/// Where to go on, as a byte offset into `text`, after `sent_ms` ms of it were sent: the start of the clause in
/// which it broke off. A clause that was sent in part is spoken again, since half of it cannot be understood, and none
/// of its words may be lost.
pub fn resume_at(text: &str, sent_ms: u64) -> usize {
    if sent_ms < FROM_THE_START_BELOW_MS {
        return 0;
    }
    let spoken = usize::try_from(sent_ms.saturating_mul(CHARS_PER_SECOND) / 1_000).unwrap_or(usize::MAX);
    let mut resume = 0;
    for (chars, start) in clause_starts(text) {
        if chars > spoken {
            break;
        }
        resume = start;
    }
    resume
}

/// How long `text` takes to be spoken, ms, as far as that can be known before.
pub fn spoken_ms(text: &str) -> u64 {
    (text.chars().count() as u64).saturating_mul(1_000) / CHARS_PER_SECOND
}

/// Whether there is anything in `text` that a voice could say.
pub fn is_speakable(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Starts of the clauses after the first, as (characters before, bytes before). A mark ends a clause only before a
/// space, so that `10:30` and `1,000` stay whole.
fn clause_starts(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut ended = false;
    let mut before = ' ';
    text.char_indices().enumerate().filter_map(move |(chars, (bytes, c))| {
        if c.is_whitespace() {
            ended |= ",;:.!?".contains(before);
            before = c;
            return None;
        }
        let starts = ended && c.is_alphanumeric();
        if starts {
            ended = false;
        }
        ended |= matches!(c, '—' | '–');
        before = c;
        starts.then_some((chars, bytes))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_goes_on_at_the_clause_that_was_broken_off() {
        let long =
            "We are open on Monday, on Tuesday until six; and on Friday — but only then — at 10:30 sharp.";
        let table: &[(&str, u64, &str)] = &[
            (long, 0, long),
            (long, 999, long),
            (long, 1_000, long),
            (long, 1_500, long),
            (long, 1_600, "on Tuesday until six; and on Friday — but only then — at 10:30 sharp."),
            (long, 2_900, "on Tuesday until six; and on Friday — but only then — at 10:30 sharp."),
            (long, 3_200, "and on Friday — but only then — at 10:30 sharp."),
            (long, 4_400, "but only then — at 10:30 sharp."),
            (long, 60_000, "at 10:30 sharp."),
            (long, u64::MAX, "at 10:30 sharp."),
            ("No clause in this sentence at all", 5_000, "No clause in this sentence at all"),
            ("It costs 1,000 dollars, all in.", 2_000, "all in."),
            ("Ünïcödé wörds hére, äber ja.", 1_900, "äber ja."),
            ("Trailing, ...", 9_000, "Trailing, ..."),
            ("", 9_000, ""),
        ];
        for (text, sent_ms, rest) in table {
            assert_eq!(text.split_at(resume_at(text, *sent_ms)).1, *rest, "{text} after {sent_ms} ms");
        }
    }

    proptest! {
        #[test]
        fn the_rest_is_speakable_and_shrinks_as_more_was_sent(
            text in "[a-zäö0-9,;:.!? —]{0,80}[a-z]", sent in 0u64..9_000, more in 0u64..3_000,
        ) {
            let early = resume_at(&text, sent);
            let late = resume_at(&text, sent + more);
            prop_assert!(early <= late);
            prop_assert!(is_speakable(text.split_at(late).1));
        }
    }
}
