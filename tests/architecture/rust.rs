//! Reads Rust as far as it matters here: words and signs, which of them are tests, where a bracket or an item ends.

/// A word, a sign or a literal, and its line. Literals begin with `"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

pub fn tokens_of(text: &str) -> Vec<Token> {
    let mut reader = Reader { chars: text.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while reader.token() {}
    reader.tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl Reader {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek(0).filter(|&c| wanted(c)) {
            taken.push(c);
            self.take();
        }
        taken
    }

    fn push(&mut self, text: String, line: usize) {
        self.tokens.push(Token { text, line });
    }

    /// Reads one token, a blank or a comment; `false` at the end.
    fn token(&mut self) -> bool {
        let line = self.line;
        let Some(c) = self.peek(0) else { return false };
        match (c, self.peek(1)) {
            (c, _) if c.is_whitespace() => {
                self.take();
            }
            ('/', Some('/')) => {
                self.take_while(|c| c != '\n');
            }
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (':', Some(':')) => {
                self.at += 2;
                self.push("::".to_owned(), line);
            }
            (c, _) if is_word(c) => self.word(),
            (c, _) => {
                self.take();
                self.push(c.to_string(), line);
            }
        }
        true
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(c) = self.take() {
            match (c, self.peek(0)) {
                ('/', Some('*')) => {
                    self.take();
                    depth += 1;
                }
                ('*', Some('/')) => {
                    self.take();
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                _ => {}
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        let mut text = String::from(self.take().unwrap_or('"'));
        while let Some(c) = self.take() {
            match c {
                '"' => break,
                '\\' => {
                    self.take();
                }
                c => text.push(c),
            }
        }
        self.push(text, line);
    }

    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        self.at += hashes + 1;
        let mut text = String::from('"');
        while let Some(c) = self.take() {
            if c == '"' && (0..hashes).all(|n| self.peek(n) == Some('#')) {
                self.at += hashes;
                break;
            }
            text.push(c);
        }
        self.push(text, line);
    }

    /// A character, or a lifetime.
    fn quote(&mut self) {
        self.take();
        if self.peek(0) == Some('\\') {
            self.at += 2;
            self.take_while(|c| c != '\'');
            self.take();
        } else if self.peek(1) == Some('\'') {
            self.take();
            self.take();
        } else {
            self.take_while(is_word);
        }
    }

    fn word(&mut self) {
        let line = self.line;
        let word = self.take_while(is_word);
        let hashes = (0..).take_while(|&n| self.peek(n) == Some('#')).count();
        match (word.as_str(), self.peek(hashes)) {
            ("r" | "br" | "cr", Some('"')) => self.raw_string(hashes),
            ("b" | "c", Some('"')) if hashes == 0 => self.string(),
            ("r", Some(c)) if hashes == 1 && is_word(c) => {
                self.take();
                let word = self.take_while(is_word);
                self.push(word, line);
            }
            _ => self.push(word, line),
        }
    }
}

/// The token behind the bracket that closes the one at `open`.
pub fn closed(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Whether an attribute (from its bracket on) leaves what follows to tests: `#[cfg(test)]`, `#[test]`, `#[actix::test]`.
pub fn is_test(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|t| t.text.as_str()).collect();
    match words.get(1) {
        Some(&"cfg") => words.contains(&"test") && !words.contains(&"not") && !words.contains(&"any"),
        _ => words.iter().take_while(|w| !["(", "]", "="].contains(*w)).last() == Some(&"test"),
    }
}

pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut live = Vec::new();
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        let whole_file = text(i + 1) == "!";
        let open = if whole_file { i + 2 } else { i + 1 };
        if token.text == "#" && text(open) == "[" {
            let end = closed(tokens, open);
            if is_test(tokens.get(open..end).unwrap_or_default()) {
                if whole_file {
                    return Vec::new();
                }
                i = item_end(tokens, end);
                continue;
            }
        }
        live.push(token.clone());
        i += 1;
    }
    live
}

/// The token behind the item, variant, field or arm that begins at `start`.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut first = start;
    loop {
        match (text(first), text(first + 1)) {
            ("#", "[") => first = closed(tokens, first + 1),
            ("pub", "(") => first = closed(tokens, first + 1),
            ("pub", _) => first += 1,
            _ => break,
        }
    }
    // With what does it end, beside `;`: a block, or a comma?
    let (block, comma) = match text(first) {
        "const" if text(first + 1) == "fn" => (true, false),
        "use" | "let" | "type" | "static" | "const" => (false, false),
        "fn" | "mod" | "struct" | "enum" | "union" | "trait" | "impl" | "async" | "unsafe" | "extern"
        | "macro_rules" => (true, false),
        _ => (true, true),
    };
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(first) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return i,
            closing @ (")" | "]" | "}") => {
                depth -= 1;
                if depth == 0 && closing == "}" && block {
                    return i + 1;
                }
            }
            ";" if depth == 0 => return i + 1,
            "," if depth == 0 && comma => return i + 1,
            _ => {}
        }
    }
    tokens.len()
}
