//! Keeps what is not meant for ears out of the text: thoughts that some servers leave in the content, and tool calls
//! written as text by servers that do not parse them (those are never carried out either).

/// Blocks that are dropped with all that is in them.
const BLOCKS: [(&str, &str); 3] =
    [("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<tool_call>", "</tool_call>")];

/// Filters text that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct HiddenText {
    /// Text whose end may be the beginning of a tag; shorter than a tag between two pieces.
    pending: String,
    /// The tag that ends the block we are in.
    closing: Option<&'static str>,
    /// A block has just ended: white space after it is dropped unless it is all that parts two words.
    trim: bool,
    /// The last character spoken was not white space.
    in_word: bool,
}

impl HiddenText {
    /// Takes a piece of text and returns what of it, and of earlier pieces, can be spoken.
    pub(super) fn push(&mut self, piece: &str) -> String {
        self.pending.push_str(piece);
        let mut out = String::new();
        loop {
            match self.closing {
                Some(tag) => {
                    let Some((_, after)) = self.pending.split_once(tag) else {
                        self.pending = tail(&self.pending, &[tag]).1.to_owned();
                        return out;
                    };
                    self.pending = after.to_owned();
                    self.closing = None;
                    self.trim = true;
                }
                None => match first_tag(&self.pending) {
                    Some((at, tag, closing)) => {
                        let (before, rest) = self.pending.split_at_checked(at).unwrap_or(("", ""));
                        let rest = rest.strip_prefix(tag).unwrap_or_default().to_owned();
                        let before = before.to_owned();
                        self.speak(&before, &mut out);
                        self.pending = rest;
                        // `None` for a closing tag alone: the server's template opened the block itself.
                        self.closing = closing;
                    }
                    None => {
                        let tags = BLOCKS.map(|(open, close)| [open, close]);
                        let (before, rest) = tail(&self.pending, tags.as_flattened());
                        let (before, rest) = (before.to_owned(), rest.to_owned());
                        self.speak(&before, &mut out);
                        self.pending = rest;
                        return out;
                    }
                },
            }
        }
    }

    /// Takes the end and returns what was held back in case it became a tag. An open block stays hidden.
    pub(super) fn finish(&mut self) -> String {
        let mut out = String::new();
        let rest = std::mem::take(&mut self.pending);
        if self.closing.is_none() {
            self.speak(&rest, &mut out);
        }
        out
    }

    fn speak(&mut self, text: &str, out: &mut String) {
        let text = if self.trim && !self.in_word { text.trim_start() } else { text };
        if let Some(last) = text.chars().next_back() {
            self.trim = false;
            self.in_word = !last.is_whitespace();
            out.push_str(text);
        }
    }
}

/// The first tag in `text`: where, which, and the tag that ends its block (`None` if it is a closing tag itself).
fn first_tag(text: &str) -> Option<(usize, &'static str, Option<&'static str>)> {
    let find = |tag: &'static str, closing| text.find(tag).map(|at| (at, tag, closing));
    BLOCKS
        .iter()
        .flat_map(|&(open, close)| [find(open, Some(close)), find(close, None)])
        .flatten()
        .min_by_key(|&(at, ..)| at)
}

/// Splits `text` before the longest end of it that may become one of `tags`.
fn tail<'t>(text: &'t str, tags: &[&str]) -> (&'t str, &'t str) {
    let longest = tags.iter().map(|tag| tag.len()).max().unwrap_or(0);
    let from = text.len().saturating_sub(longest);
    (from..text.len())
        .filter_map(|at| text.split_at_checked(at))
        .find(|(_, end)| tags.iter().any(|tag| tag.starts_with(end)))
        .unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filtered<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
        let mut filter = HiddenText::default();
        let mut out: String = pieces.into_iter().map(|piece| filter.push(piece)).collect();
        out.push_str(&filter.finish());
        out
    }

    #[test]
    fn thoughts_and_written_tool_calls_are_not_spoken() {
        for (text, expected) in [
            ("Hi.", "Hi."),
            ("<think>hm</think>\n\nHi.", "Hi."),
            ("<think>hm, <b>", ""),
            ("so I think</think> Hi.", "so I think Hi."),
            ("A <thinking>x</thinking> B", "A B"),
            ("A<think>x</think> B", "A B"),
            ("One moment. <tool_call>{\"name\":\"f\"}</tool_call>", "One moment. "),
            ("3 < 4 and 5 <t", "3 < 4 and 5 <t"),
            ("<<think>a</think>b", "<b"),
            ("<think></think><think>x</think>y", "y"),
            ("<thinker> is a word", "<thinker> is a word"),
            ("Øst <think>Ø</think>—", "Øst —"),
        ] {
            assert_eq!(filtered([text]), expected, "{text}");
        }
    }

    #[test]
    fn text_that_cannot_become_a_tag_is_not_held_back() {
        let mut filter = HiddenText::default();
        assert_eq!(filter.push("Hello"), "Hello");
        assert_eq!(filter.push(" <"), " ");
        assert_eq!(filter.push("th"), "");
        assert_eq!(filter.push("is>"), "<this>");
    }

    proptest! {
        #[test]
        fn cutting_the_text_differently_changes_nothing(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("<think>"), Just("</think>"), Just("<thinking>"), Just("<tool_call>"), Just("</tool_call>"),
                    Just("<th"), Just("<"), Just(" "), Just("Ø🙂"), Just("word"),
                ],
                0..20,
            ),
            size in 1_usize..5,
        ) {
            let text = parts.concat();
            let chars: Vec<String> = text.chars().map(String::from).collect();
            let pieces: Vec<String> = chars.chunks(size).map(|chunk| chunk.concat()).collect();
            prop_assert_eq!(filtered(pieces.iter().map(String::as_str)), filtered([text.as_str()]));
        }
    }
}
