//! Takes out what is meant for the eye: markup, bullets, links, emoji, control characters.

/// A character to be spoken, or what separates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clean {
    /// To be spoken.
    Char(char),
    /// White space.
    Space,
    /// The end of a line.
    Break,
}

/// What was seen and waits for the character after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Nothing,
    /// `-`, `+` or `•` at the beginning of a line: a bullet if white space follows.
    Bullet(char),
    /// An underscore: kept within a word ("john_doe"), else emphasis.
    Underscore,
    /// The `]` of a link's text: an address follows if `(` is next.
    Bracket,
    /// Within a link's address, so many characters deep.
    Address(usize),
}

/// Longest address that is taken out; what is longer was none.
const ADDRESS: usize = 500;

#[derive(Debug)]
pub(super) struct Cleaner {
    held: Held,
    line_start: bool,
    in_brackets: bool,
    after_word: bool,
}

impl Default for Cleaner {
    fn default() -> Self {
        Self { held: Held::Nothing, line_start: true, in_brackets: false, after_word: false }
    }
}

impl Cleaner {
    pub(super) fn step(&mut self, c: char, out: &mut Vec<Clean>) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Address(_) if c == ')' => return,
            Held::Address(n) if c != '\n' && n < ADDRESS => {
                self.held = Held::Address(n + 1);
                return;
            }
            Held::Address(_) => {}
            Held::Bracket if c == '(' => {
                self.held = Held::Address(0);
                return;
            }
            Held::Bracket => {}
            Held::Underscore => {
                if self.after_word && c.is_alphanumeric() {
                    out.push(Clean::Char('_'));
                }
            }
            Held::Bullet(_) if c.is_whitespace() => {}
            Held::Bullet(mark) => self.keep(mark, out),
        }
        match c {
            '\n' | '\r' => {
                out.push(Clean::Break);
                (self.line_start, self.after_word, self.in_brackets) = (true, false, false);
            }
            c if c.is_whitespace() || c == '|' || is_picture(c) => {
                out.push(Clean::Space);
                self.after_word = false;
            }
            c if c.is_control() || is_joiner(c) => {}
            '*' | '`' | '~' | '<' | '>' => {}
            '#' if self.line_start => {}
            '-' | '+' | '•' if self.line_start => self.held = Held::Bullet(c),
            '•' => out.push(Clean::Space),
            '[' => self.in_brackets = true,
            ']' => {
                if std::mem::take(&mut self.in_brackets) {
                    self.held = Held::Bracket;
                }
            }
            '_' => self.held = Held::Underscore,
            c => self.keep(c, out),
        }
    }

    fn keep(&mut self, c: char, out: &mut Vec<Clean>) {
        out.push(Clean::Char(c));
        self.line_start = false;
        self.after_word = c.is_alphanumeric();
    }
}

/// Emoji, arrows, dingbats.
fn is_picture(c: char) -> bool {
    matches!(u32::from(c), 0x1F000..=0x1FAFF | 0x2190..=0x21FF | 0x2300..=0x23FF | 0x25A0..=0x27BF | 0x2B00..=0x2BFF)
}

/// What glues emoji together; invisible by itself.
fn is_joiner(c: char) -> bool {
    matches!(u32::from(c), 0xFE00..=0xFE0F | 0x200B..=0x200F | 0x2060 | 0x20E3 | 0xE0020..=0xE007F | 0xFEFF)
}
