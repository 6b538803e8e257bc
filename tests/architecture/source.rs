//! The files of `src`: what they import, which modules they declare, and which of them are test code only.

use crate::Violation;
use crate::rust::{Token, closed, is_test, tokens_of, without_tests};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;

/// One file of `src`.
#[derive(Debug)]
pub struct Source {
    /// Its path below `src`.
    pub file: String,
    /// Its module's path in the crate.
    module: Vec<String>,
    pub lines: usize,
    pub opens_with_doc: bool,
    /// Everything but comments.
    pub all: Vec<Token>,
    /// The same without test code.
    pub live: Vec<Token>,
    /// The modules it declares in files of their own.
    pub modules: Vec<Declared>,
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        let all = tokens_of(text);
        let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") || file == "lib.rs" {
            module.pop();
        }
        let mut modules = Vec::new();
        declarations(&all, false, &[], &mut modules);
        Self {
            file: file.to_owned(),
            module,
            lines: text.lines().count(),
            opens_with_doc: text.lines().find(|l| !l.trim().is_empty()).is_some_and(|l| l.starts_with("//!")),
            live: without_tests(&all),
            all,
            modules,
        }
    }

    /// Its top-level module; none for the crate's root.
    pub fn top(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    /// Paths in it, followed from the crate's root (or from `std`), and their lines.
    pub fn paths(&self) -> Vec<(String, usize)> {
        // The binary's own root is not the library's.
        let here: &[String] = if self.file == "main.rs" { &[] } else { &self.module };
        let mut found = Vec::new();
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut depth = 0_usize;
        let mut i = 0;
        let text = |i: usize| self.live.get(i).map_or("", |t| t.text.as_str());
        while let Some(token) = self.live.get(i) {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if inline.last().is_some_and(|(_, outside)| *outside == depth) {
                        inline.pop();
                    }
                }
                "mod" if text(i + 2) == "{" => inline.push((text(i + 1).to_owned(), depth)),
                "crate" | "self" | "super" | "frontdesk" | "std" if text(i + 1) == "::" => {
                    let base: Vec<String> =
                        here.iter().chain(inline.iter().map(|(name, _)| name)).cloned().collect();
                    i = follow(&self.live, i, base, &mut found);
                    continue;
                }
                _ => {}
            }
            i += 1;
        }
        found.into_iter().map(|(path, line)| (path.join("::"), line)).collect()
    }
}

/// Follows one tree of paths from token `i` on; returns the token behind it.
fn follow(
    tokens: &[Token],
    mut i: usize,
    mut base: Vec<String>,
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    loop {
        let line = tokens.get(i).map_or(0, |t| t.line);
        match text(i) {
            "{" => {
                i += 1;
                while i < tokens.len() && text(i) != "}" {
                    i = if text(i) == "," { i + 1 } else { follow(tokens, i, base.clone(), found) };
                }
                return i + 1;
            }
            "crate" | "frontdesk" => base.clear(),
            "std" => base = vec!["std".to_owned()],
            "self" => {}
            "super" => {
                base.pop();
            }
            word => base.push(word.to_owned()),
        }
        i += 1;
        if text(i) == "::" {
            i += 1;
        } else {
            found.push((base, line));
            return if text(i) == "as" { i + 2 } else { i };
        }
    }
}

/// `mod name;`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    /// The modules in the same file that it lies in.
    pub inside: Vec<String>,
    /// The file named by `#[path]`.
    pub path: Option<String>,
    pub test: bool,
    /// Plainly `pub`.
    pub public: bool,
    pub line: usize,
}

fn declarations(tokens: &[Token], test: bool, inside: &[String], found: &mut Vec<Declared>) {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    let mut attributes: Vec<&[Token]> = Vec::new();
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "#" if text(i + 1) == "[" => {
                let end = closed(tokens, i + 1);
                attributes.push(tokens.get(i + 1..end).unwrap_or_default());
                i = end;
                continue;
            }
            "pub" | "(" | ")" | "crate" | "super" | "in" => {}
            "mod" => {
                let name = text(i + 1).to_owned();
                let test = test || attributes.iter().any(|a| is_test(a));
                if text(i + 2) == ";" {
                    let path = attributes.iter().find_map(|a| match a.get(1..4) {
                        Some([name, _, value]) if name.text == "path" => {
                            Some(value.text.trim_start_matches('"').to_owned())
                        }
                        _ => None,
                    });
                    let public = i > 0 && text(i - 1) == "pub";
                    found.push(Declared {
                        name,
                        inside: inside.to_vec(),
                        path,
                        test,
                        public,
                        line: token.line,
                    });
                } else if text(i + 2) == "{" {
                    let end = closed(tokens, i + 2);
                    let inner: Vec<String> = inside.iter().cloned().chain([name]).collect();
                    let body = tokens.get(i + 3..end.saturating_sub(1)).unwrap_or_default();
                    declarations(body, test, &inner, found);
                    attributes.clear();
                    i = end;
                    continue;
                }
                attributes.clear();
            }
            _ => attributes.clear(),
        }
        i += 1;
    }
}

/// Which files the crate is made of, and whether each is test code only; and those that no `mod` names.
pub fn reached(sources: &[Source]) -> (BTreeMap<String, bool>, Vec<Violation>) {
    let by_file: BTreeMap<&str, &Source> = sources.iter().map(|s| (s.file.as_str(), s)).collect();
    let mut known: BTreeMap<String, bool> = BTreeMap::new();
    let mut next: VecDeque<(String, bool)> =
        ["lib.rs", "main.rs"].into_iter().map(|root| (root.to_owned(), false)).collect();
    while let Some((file, test)) = next.pop_front() {
        let Some(source) = by_file.get(file.as_str()) else { continue };
        // A file that is used both ways is live.
        if known.get(&file).is_some_and(|already| !already || test) {
            continue;
        }
        known.insert(file.clone(), test);
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", &file));
        let is_root = ["mod.rs", "lib.rs", "main.rs"].contains(&name);
        let own = if is_root { folder.to_owned() } else { file.trim_end_matches(".rs").to_owned() };
        for module in &source.modules {
            let below = [&own].into_iter().chain(&module.inside).filter(|part| !part.is_empty());
            let below: Vec<&str> = below.map(String::as_str).collect();
            let join = |last: String| {
                let parts = below.iter().copied().chain([last.as_str()]);
                parts.collect::<Vec<_>>().join("/")
            };
            let candidates = match &module.path {
                Some(path) if folder.is_empty() => vec![path.clone()],
                Some(path) => vec![format!("{folder}/{path}")],
                None => vec![join(format!("{}.rs", module.name)), join(format!("{}/mod.rs", module.name))],
            };
            next.extend(candidates.into_iter().map(|file| (file, test || module.test)));
        }
    }
    let lost = sources.iter().filter(|s| !known.contains_key(&s.file)).map(|s| Violation {
        file: s.file.clone(),
        line: 1,
        what: "no `mod` names this file: it is not compiled".to_owned(),
    });
    let lost = lost.collect();
    (known, lost)
}

/// Reads every file below `src`.
pub fn read_sources() -> Result<Vec<Source>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                let parts = path.strip_prefix(&root).unwrap_or(&path).iter();
                let file: Vec<String> = parts.map(|part| part.to_string_lossy().into_owned()).collect();
                sources.push(Source::new(&file.join("/"), &text));
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(sources)
}
