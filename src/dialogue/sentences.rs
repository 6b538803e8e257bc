//! Model text in, sentences to be spoken out, while the model is still writing (CALL-10).
//!
//! Works character by character and decides only on what has come: however the text is cut into deltas, the sentences
//! are the same. Markup that a voice would read aloud is taken out on the way.

mod cleaner;

use cleaner::{Clean, Cleaner};

/// From this many characters on the first piece may end at a clause, so that the voice starts early.
const FIRST_CLAUSE: usize = 30;
/// Longest piece, in characters; beyond it a piece is cut at a clause or a space.
const LONGEST: usize = 250;

/// Cuts one answer of a model into sentences.
#[derive(Debug)]
pub struct Splitter {
    cleaner: Cleaner,
    piece: String,
    chars: usize,
    /// White space has come after the piece; whether the piece ends there is decided by what follows.
    gap: bool,
    /// Nothing was given out yet.
    first: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { cleaner: Cleaner::default(), piece: String::new(), chars: 0, gap: false, first: true }
    }
}

impl Splitter {
    /// Takes more text; gives the sentences that are complete with it.
    pub fn push(&mut self, delta: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut cleaned = Vec::new();
        for c in delta.chars() {
            self.cleaner.step(c, &mut cleaned);
            for clean in cleaned.drain(..) {
                self.step(clean, &mut out);
            }
        }
        out
    }

    /// Gives out what is there up to the last whole word, because nothing more seems to come. The rest stays.
    pub fn flush_partial(&mut self) -> Option<String> {
        let mut rest = String::new();
        if !self.gap && !self.looks_complete() {
            rest = match self.piece.rfind(' ') {
                Some(at) => self.piece.split_off(at),
                None => std::mem::take(&mut self.piece),
            };
        }
        let mut out = Vec::new();
        if speakable(&self.piece) {
            self.emit(&mut out);
            self.set(rest.trim_start().to_owned());
        } else {
            let kept = std::mem::take(&mut self.piece) + &rest;
            self.chars = kept.chars().count();
            self.piece = kept;
        }
        out.pop()
    }

    /// The text is over: gives out what is left. The splitter is as new afterwards.
    pub fn finish(&mut self) -> Option<String> {
        let mut out = Vec::new();
        if speakable(&self.piece) {
            self.emit(&mut out);
        }
        *self = Self::default();
        out.pop()
    }

    /// Whether something waits to be given out.
    pub fn has_pending(&self) -> bool {
        !self.piece.is_empty()
    }

    /// Whether what waits ends like a sentence, though nothing has come after it yet.
    pub fn looks_complete(&self) -> bool {
        let body = self.piece.trim_end_matches(CLOSERS);
        body.ends_with(['.', '!', '?', '…']) && speakable(body)
    }

    fn step(&mut self, clean: Clean, out: &mut Vec<String>) {
        match clean {
            Clean::Space => self.gap = !self.piece.is_empty(),
            Clean::Break => {
                if speakable(&self.piece) {
                    self.emit(out);
                }
                self.set(String::new());
            }
            Clean::Char(c) => {
                let ends = if self.gap { self.ends_before(c) } else { self.ends_without_gap(c) };
                if ends && speakable(&self.piece) {
                    self.emit(out);
                } else if self.gap {
                    self.piece.push(' ');
                    self.chars += 1;
                }
                self.gap = false;
                self.piece.push(c);
                self.chars += 1;
                if self.chars > LONGEST {
                    self.cut(out);
                }
            }
        }
    }

    /// Whether the piece ends in the white space before `next`.
    fn ends_before(&self, next: char) -> bool {
        ends_sentence(&self.piece, next) || (self.may_end_at_clause() && ends_clause(&self.piece))
    }

    /// Whether the piece ends though `next` follows directly: a long dash, or a full stop of a script without spaces.
    fn ends_without_gap(&self, next: char) -> bool {
        match self.piece.chars().next_back() {
            Some('。' | '！' | '？') => !CLOSERS.contains(&next),
            Some('—') => self.may_end_at_clause() && next != '—',
            _ => false,
        }
    }

    fn may_end_at_clause(&self) -> bool {
        self.first && self.chars >= FIRST_CLAUSE
    }

    /// Gives out the beginning of a piece that has become too long.
    fn cut(&mut self, out: &mut Vec<String>) {
        let mut at = None;
        let mut clause = None;
        let mut before = ' ';
        for (n, (i, c)) in self.piece.char_indices().enumerate() {
            if c == ' ' {
                at = Some(i);
                if n > LONGEST / 2 && matches!(before, ',' | ';' | ':' | '—' | '–') {
                    clause = Some(i);
                }
            }
            before = c;
        }
        let last = self.piece.char_indices().next_back().map(|(i, _)| i);
        let rest = match clause.or(at).or(last) {
            Some(at) => self.piece.split_off(at),
            None => return,
        };
        if speakable(&self.piece) {
            self.emit(out);
        }
        self.set(rest.trim_start().to_owned());
    }

    fn emit(&mut self, out: &mut Vec<String>) {
        out.push(std::mem::take(&mut self.piece).trim_end().to_owned());
        self.chars = 0;
        self.gap = false;
        self.first = false;
    }

    fn set(&mut self, piece: String) {
        self.chars = piece.chars().count();
        self.piece = piece;
        self.gap = false;
    }
}

const CLOSERS: &[char] = &['"', '\'', '”', '’', ')', '»'];

/// Never the end of a sentence: something always follows.
const TITLES: &[&str] =
    &["dr", "mr", "mrs", "ms", "prof", "st", "mt", "rev", "gen", "capt", "sgt", "e.g", "i.e", "vs", "approx"];
/// The end of a sentence only if a capital follows.
const SHORTENED: &[&str] = &[
    "a.m", "p.m", "etc", "inc", "ltd", "corp", "jr", "sr", "ave", "blvd", "rd", "apt", "ste", "dept", "min",
    "hr", "hrs", "appt", "ext", "tel", "jan", "feb", "aug", "sept", "oct", "nov", "dec", "mon", "tue", "wed",
    "thu", "fri", "u.s",
];

/// Whether there is anything in it to be spoken.
fn speakable(piece: &str) -> bool {
    piece.chars().any(char::is_alphanumeric)
}

fn ends_sentence(piece: &str, next: char) -> bool {
    let body = piece.trim_end_matches(CLOSERS);
    match body.chars().next_back() {
        Some('!' | '?' | '。' | '！' | '？') => true,
        Some('…') => !next.is_lowercase(),
        Some('.') if body.ends_with("..") => !next.is_lowercase(),
        Some('.') => full_stop_ends(body, next),
        _ => false,
    }
}

fn full_stop_ends(body: &str, next: char) -> bool {
    let word = body.rsplit(' ').next().unwrap_or(body);
    let whole = word.len() == body.len();
    let word = word.trim_end_matches('.').trim_start_matches(['"', '\'', '(', '“', '‘']).to_lowercase();
    if TITLES.contains(&word.as_str()) {
        return false;
    }
    if SHORTENED.contains(&word.as_str()) {
        return next.is_uppercase();
    }
    if word == "no" {
        return !next.is_ascii_digit(); // "No. 5" is a number, "No. We are closed." is an answer.
    }
    let mut letters = word.chars();
    match (letters.next(), letters.next()) {
        (Some(initial), None) if initial.is_alphabetic() => false, // "J. Smith"
        _ => !(whole && word.chars().all(|c| c.is_ascii_digit())), // the "1." of a list
    }
}

fn ends_clause(piece: &str) -> bool {
    piece.trim_end_matches(CLOSERS).ends_with([',', ';', ':', '—', '–']) || piece.ends_with(" -")
}

#[cfg(test)]
mod tests;
