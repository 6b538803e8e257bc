use super::*;
use proptest::prelude::*;

fn split(text: &str) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut out = splitter.push(text);
    out.extend(splitter.finish());
    out
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

#[test]
fn sentences_end_where_a_speaker_would_end_them() {
    let table: &[(&str, &[&str])] = &[
        ("Sure! We open at nine. Anything else?", &["Sure!", "We open at nine.", "Anything else?"]),
        ("Dr. Smith is in. Mr. Lee is not.", &["Dr. Smith is in.", "Mr. Lee is not."]),
        ("We are on St. Mary Street. Come in.", &["We are on St. Mary Street.", "Come in."]),
        ("We open at 9 a.m. on Monday. Fine?", &["We open at 9 a.m. on Monday.", "Fine?"]),
        ("We open at 9 a.m. Does that suit you?", &["We open at 9 a.m.", "Does that suit you?"]),
        ("A cut is $25.50 at 3.30 today. Yes?", &["A cut is $25.50 at 3.30 today.", "Yes?"]),
        ("Well... maybe. Hm… Yes.", &["Well... maybe.", "Hm…", "Yes."]),
        ("No. We are closed.", &["No.", "We are closed."]),
        ("It is No. 5 here. Yes.", &["It is No. 5 here.", "Yes."]),
        ("Ask J. Smith. He knows.", &["Ask J. Smith.", "He knows."]),
        ("He said \"Come in.\" Then he left.", &["He said \"Come in.\"", "Then he left."]),
        ("Really?! Yes (really.) Good", &["Really?!", "Yes (really.)", "Good"]),
        ("One\nTwo", &["One", "Two"]),
        ("我们开门。你好！", &["我们开门。", "你好！"]),
        ("  spaced \t out  ", &["spaced out"]),
        ("...", &[]),
        ("😀 👍🏽", &[]),
    ];
    for (text, expected) in table {
        assert_eq!(&split(text), expected, "{text:?}");
    }
}

#[test]
fn markup_is_not_read_aloud() {
    let table: &[(&str, &[&str])] = &[
        ("**Great**, `see` __you__ _soon_!", &["Great, see you soon!"]),
        ("# Prices\n- Cut\n* Trim\n• Shave\n1. First", &["Prices", "Cut", "Trim", "Shave", "1. First"]),
        ("See [our page](https://x.test/a_b) now.", &["See our page now."]),
        ("Write to john_doe@x.test please.", &["Write to john_doe@x.test please."]),
        ("Great 😀! Yes.", &["Great !", "Yes."]),
        ("-5 degrees", &["-5 degrees"]),
        ("Suite #5 is up.", &["Suite #5 is up."]),
        ("Hi<break/> there", &["Hibreak/ there"]),
        ("---\nYes", &["Yes"]),
    ];
    for (text, expected) in table {
        assert_eq!(&split(text), expected, "{text:?}");
    }
}

#[test]
fn the_first_piece_may_end_at_a_clause_and_later_ones_do_not() {
    let text = "I have an opening tomorrow at three, and one more at four. \
                If you like the later one better, I can book it right away.";
    assert_eq!(
        split(text),
        [
            "I have an opening tomorrow at three,",
            "and one more at four.",
            "If you like the later one better, I can book it right away.",
        ]
    );
    assert_eq!(split("Yes, of course, we do, and gladly so."), ["Yes, of course, we do, and gladly so."]);
}

#[test]
fn a_sentence_is_given_out_as_soon_as_the_next_begins() {
    let mut splitter = Splitter::default();
    assert!(splitter.push("We open at nine.").is_empty());
    assert!(splitter.looks_complete());
    assert_eq!(splitter.push(" A"), ["We open at nine."]);
    assert!(!splitter.looks_complete());
}

#[test]
fn an_endless_sentence_is_cut_at_a_space() {
    let text = "word ".repeat(200);
    let pieces = split(&text);
    assert!(pieces.len() >= 4);
    for piece in &pieces {
        assert!(piece.chars().count() <= LONGEST && !piece.contains("wordword"), "{piece:?}");
    }
    assert_eq!(split(&"x".repeat(600)).concat(), "x".repeat(600));
}

#[test]
fn a_partial_flush_keeps_the_unfinished_word() {
    let mut splitter = Splitter::default();
    splitter.push("I have an appoint");
    assert_eq!(splitter.flush_partial().as_deref(), Some("I have an"));
    assert_eq!(splitter.flush_partial(), None);
    splitter.push("ment.");
    assert_eq!(splitter.flush_partial().as_deref(), Some("appointment."));
    assert!(!splitter.has_pending());
}

/// Cuts a text at arbitrary characters.
fn chunks(text: &str, cuts: &[usize]) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut at: Vec<usize> = cuts.iter().map(|c| c % (chars.len() + 1)).collect();
    at.extend([0, chars.len()]);
    at.sort_unstable();
    at.windows(2).map(|w| chars[w[0]..w[1]].iter().collect()).collect()
}

const ANY_TEXT: &str =
    "([A-Za-z0-9.,;!?…—'\"() \\n*#_`\\[\\]<>|😀-]|Dr\\. |a\\.m\\. |\\$25\\.50 |\\PC){0,120}";
const PLAIN_TEXT: &str =
    "([A-Za-z0-9][a-z0-9]{0,8}(\\.|,|!|\\?|;|…|\\.\\.\\.|\\.[0-9]|:|—|)( |  |\\n| ?)){0,120}x";

proptest! {
    #[test]
    fn the_cutting_into_deltas_changes_nothing(
        text in ANY_TEXT,
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut splitter = Splitter::default();
        let mut pieces: Vec<String> = Vec::new();
        for chunk in chunks(&text, &cuts) {
            pieces.extend(splitter.push(&chunk));
        }
        pieces.extend(splitter.finish());
        prop_assert_eq!(&pieces, &split(&text));
        for piece in &pieces {
            prop_assert!(piece.chars().count() <= LONGEST + 1);
            prop_assert!(speakable(piece) && piece.trim() == piece, "{:?}", piece);
        }
    }

    #[test]
    fn no_word_is_lost_doubled_or_moved(
        text in PLAIN_TEXT,
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
        flush in any::<bool>(),
    ) {
        let mut splitter = Splitter::default();
        let mut spoken = String::new();
        for chunk in chunks(&text, &cuts) {
            spoken.extend(splitter.push(&chunk));
            if flush {
                spoken.extend(splitter.flush_partial());
            }
        }
        spoken.extend(splitter.finish());
        prop_assert_eq!(letters(&spoken), letters(&text));
        // Punctuation that a flush has parted from its word is not worth a piece of its own.
        prop_assert!(flush || bare(&spoken) == bare(&text), "{:?}", spoken);
    }

    #[test]
    fn letters_and_digits_survive_all_markup_but_links(text in "[A-Za-z0-9*#_`|<>~• .\\n-]{0,100}") {
        prop_assert_eq!(letters(&split(&text).concat()), letters(&text));
    }
}
