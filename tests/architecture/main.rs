//! The rules of `ARCHITECTURE.md` that the compiler does not know: which folder imports which, what is pure, where
//! Diesel and the WebSocket library live, how long a file may be.
//!
//! The sources are read as text: comments, literals and test code are taken out, then every path that begins with
//! `crate`, `self`, `super` or `std` is followed. A rule is changed in the tables at the top, and nowhere else.

mod rust;
mod source;

#[cfg(test)]
mod checks;
#[cfg(test)]
mod dashboards;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod toolchain;

use source::{Source, reached, read_sources};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

// --- the rules ------------------------------------------------------------------------------------------------------

/// Top-level modules from top to bottom. A module imports from below its own layer, never from above.
const LAYERS: &[&[&str]] = &[
    &["main", "cli", "app", "shutdown"],
    &["api", "dashboard", "session", "sim"],
    &["registry", "jobs"],
    &["call"],
    &["provider", "twilio", "db", "storage", "cluster"],
    &["observe", "net"],
    &["dialogue", "booking", "audio", "config"],
    &["domain"],
];

/// Imports within a layer; all others are refused.
const SIBLINGS: &[(&str, &str)] = &[
    ("main", "cli"),
    ("main", "app"),
    ("main", "shutdown"),
    ("cli", "app"),
    ("app", "shutdown"),
    // The stream's route starts a session.
    ("api", "session"),
];

/// Modules that import these others and nothing else of ours.
const ONLY: &[(&str, &[&str])] = &[
    // Written from the vendors' documents: with our own wire types it would prove nothing.
    ("sim", &["audio", "domain", "net", "observe"]),
    ("provider", &["audio", "config", "domain", "observe"]),
    ("twilio", &["config", "domain", "observe"]),
    ("db", &["config", "domain", "observe"]),
    ("cluster", &["config", "domain", "observe"]),
    ("storage", &["audio", "config", "domain", "observe"]),
    ("observe", &["config", "domain"]),
    ("net", &[]),
];

/// Of these modules, others see this much: an actor is reached by its messages. What puts the server together (`main`,
/// `cli`, `app`) is free to see all of it.
const NARROW: &[(&str, &str, &[&str])] = &[
    (
        "session",
        "call",
        &["call::actor", "call::media", "call::messages", "call::playback", "call::services"],
    ),
    (
        "session",
        "registry",
        &["registry::actor::Registry", "registry::messages", "registry::roster::Claimed", "registry::token"],
    ),
    ("api", "call", &[]),
    (
        "api",
        "registry",
        &[
            "registry::messages",
            "registry::token",
            "registry::roster::Admitted",
            "registry::roster::Commanded",
            "registry::roster::DialResult",
            "registry::roster::LiveCall",
            "registry::roster::NewCall",
            "registry::roster::NewOutbound",
            "registry::roster::Onward",
        ],
    ),
    ("dashboard", "call", &[]),
    ("dashboard", "registry", &["registry::messages"]),
    ("registry", "call", &["call::messages"]),
    ("jobs", "call", &[]),
];

/// Imports that break a rule, with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "dialogue/chat.rs",
    "provider::llm",
    "the history and the tools are written in the words of the model's interface: plain data, through this one door",
)];

/// Folders in which everything is pure.
const PURE_FOLDERS: &[&str] = &["domain", "audio", "booking", "dialogue"];

/// Files that are pure wherever they are, and what lies in a folder of that name.
const PURE_FILES: &[&str] = &[
    "machine",
    "turn",
    "playback",
    "reply",
    "roster",
    "reaper",
    "fallback",
    "retry",
    "breaker",
    "wire",
    "utterance",
    "scan",
];

/// Crates that stay in one folder (with whatever begins with their name), and whether tests elsewhere may use them.
const HOMES: &[(&str, &str, bool)] = &[
    ("diesel", "db", false),
    // Deprecated by its authors: the less hangs on it, the better. A test may play the vendor with it.
    ("actix_web_actors", "session", true),
];

/// Most lines of a file; sibling files of tests may be longer.
const MAX_LINES: usize = 700;

/// Files that may be longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

// --- the checks -----------------------------------------------------------------------------------------------------

/// One place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.what)
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether `path` is `prefix` or lies within it.
fn within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Why `from` may not import `path`, if it may not.
fn refused(from: &str, path: &str) -> Option<String> {
    let to = path.split("::").next().unwrap_or_default();
    // What is no module of ours is an item of the crate's root, or a mistake that the compiler finds.
    let (above, below) = (layer(from)?, layer(to)?);
    if from == to {
        return None;
    }
    if let Some((_, only)) = ONLY.iter().find(|(module, _)| *module == from)
        && !only.contains(&to)
    {
        return Some(format!("`{from}` imports only {}", only.join(", ")));
    }
    if below < above {
        return Some(format!("`{to}` lies above `{from}`"));
    }
    if below == above && !SIBLINGS.contains(&(from, to)) {
        return Some(format!("`{from}` and `{to}` are siblings and do not know each other"));
    }
    if let Some((_, _, only)) = NARROW.iter().find(|(a, b, _)| (*a, *b) == (from, to))
        && !only.iter().any(|prefix| within(path, prefix))
    {
        let allowed = if only.is_empty() { "nothing".to_owned() } else { only.join(", ") };
        return Some(format!("`{from}` sees of `{to}` {allowed}"));
    }
    None
}

fn exception(file: &str, path: &str) -> bool {
    EXCEPTIONS.iter().any(|(known, prefix, _)| *known == file && within(path, prefix))
}

/// (a) Imports go down.
fn import_violations(source: &Source) -> Vec<Violation> {
    let Some(from) = source.top() else { return Vec::new() };
    if layer(from).is_none() {
        let what = format!("`{from}` is in no layer: give it a place in `LAYERS`");
        return vec![Violation { file: source.file.clone(), line: 1, what }];
    }
    let paths = source.paths();
    let bad = paths.iter().filter(|(path, _)| !exception(&source.file, path));
    bad.filter_map(|(path, line)| {
        let why = refused(from, path)?;
        Some(Violation { file: source.file.clone(), line: *line, what: format!("imports `{path}`: {why}") })
    })
    .collect()
}

fn is_pure(source: &Source) -> bool {
    let file = source.file.trim_end_matches(".rs");
    source.top().is_some_and(|top| PURE_FOLDERS.contains(&top))
        || file.split('/').any(|part| PURE_FILES.contains(&part))
}

/// (b) What decides does not act: no runtime, no database, no clock, no chance, no files.
fn purity_violations(source: &Source) -> Vec<Violation> {
    if !is_pure(source) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut add = |line: usize, what: &str| {
        let what = format!("mentions `{what}`, but is pure: take it as an input, or ask for it by an effect");
        found.push(Violation { file: source.file.clone(), line, what });
    };
    for (i, token) in source.live.iter().enumerate() {
        let word = token.text.as_str();
        let after = |n: usize| source.live.get(i + n).map_or("", |t| t.text.as_str());
        let called = if after(1) == "::" { after(2) } else { "" };
        if word.starts_with("actix")
            || word.starts_with("diesel")
            || ["tokio", "awc", "thread_rng"].contains(&word)
        {
            add(token.line, word);
        } else if [("Instant", "now"), ("SystemTime", "now"), ("rand", "random"), ("rand", "rng")]
            .contains(&(word, called))
        {
            add(token.line, &format!("{word}::{called}"));
        }
    }
    for (path, line) in source.paths() {
        if ["std::fs", "std::net", "observe"].iter().any(|prefix| within(&path, prefix)) {
            add(line, &path);
        }
    }
    found
}

/// (c) Diesel only under `db`, the WebSocket library only under `session`.
fn home_violations(source: &Source) -> Vec<Violation> {
    let stray =
        HOMES.iter().filter(|(_, home, _)| source.top() != Some(home)).flat_map(|(name, home, lenient)| {
            let tokens = if *lenient { &source.live } else { &source.all };
            tokens.iter().filter(move |token| token.text.starts_with(name)).map(move |token| {
                let what = format!("mentions `{}`, which stays under src/{home}", token.text);
                Violation { file: source.file.clone(), line: token.line, what }
            })
        });
    stray.collect()
}

/// (c) A vendor's wire format is that vendor's own business.
fn wire_violations(source: &Source) -> Vec<Violation> {
    let open = source.modules.iter().filter(|m| m.name == "wire" && m.public);
    open.map(|m| Violation {
        file: source.file.clone(),
        line: m.line,
        what: "`pub mod wire`: a wire format is seen by its own folder only".to_owned(),
    })
    .collect()
}

/// (d) A file that grows too long holds two things.
fn length_violations(source: &Source) -> Vec<Violation> {
    if source.lines <= MAX_LINES || LONG_FILES.iter().any(|(file, _)| *file == source.file) {
        return Vec::new();
    }
    let what = format!("{} lines, {MAX_LINES} at most", source.lines);
    vec![Violation { file: source.file.clone(), line: 1, what }]
}

/// (e) A module says first what lives there.
fn opening_violations(source: &Source) -> Vec<Violation> {
    if source.opens_with_doc {
        return Vec::new();
    }
    let what = "does not open with `//!` and what lives there".to_owned();
    vec![Violation { file: source.file.clone(), line: 1, what }]
}

// --- the tests ------------------------------------------------------------------------------------------------------

/// Checks every file that is not test code only.
fn check(rule: impl Fn(&Source) -> Vec<Violation>) -> Vec<Violation> {
    let sources = read_sources().unwrap_or_default();
    let (known, _) = reached(&sources);
    let live = sources.iter().filter(|s| !known.get(&s.file).is_some_and(|test| *test));
    live.flat_map(rule).collect()
}

/// Checks every file.
fn check_all(rule: impl Fn(&Source) -> Vec<Violation>) -> Vec<Violation> {
    let mut sources = read_sources().unwrap_or_default();
    let (known, _) = reached(&sources);
    for source in &mut sources {
        if known.get(&source.file).is_some_and(|test| *test) {
            source.live.clear();
        }
    }
    sources.iter().flat_map(rule).collect()
}

/// Folders whose files are looked for whatever they are called.
const FOLDERS: [&str; 6] = ["src/", "tests/", "docker/", "migrations/", "profiles/", "benches/"];

/// The files and folders that a document names between backticks, with a folder's name in them: `call/machine.rs`,
/// `sim/vendors/`, `tests/run`.
fn named_files(text: &str) -> Vec<&str> {
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let ours = |name: &str| FOLDERS.iter().any(|folder| name.starts_with(folder));
    quoted
        .filter(|name| name.contains('/') && !name.starts_with('/'))
        .filter(|name| name.ends_with(".rs") || name.ends_with('/') || ours(name))
        .filter(|name| name.chars().all(plain))
        .collect()
}

/// What a document's links lead to.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// What a link to a heading says: `#the-business-profile`.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        format!("#{}", kept.collect::<String>().replace(' ', "-"))
    };
    headings.map(anchor).collect()
}

fn told(violations: &[Violation]) -> String {
    let lines: BTreeSet<String> = violations.iter().map(ToString::to_string).collect();
    lines.into_iter().fold(String::new(), |text, line| text + "\n" + &line)
}

#[test]
fn the_sources_are_found() {
    let sources = read_sources().unwrap();
    assert!(sources.len() > 100, "{} files", sources.len());
    let (known, _) = reached(&sources);
    assert_eq!(known.get("call/machine.rs"), Some(&false));
    assert_eq!(known.get("call/dialogue/machine/tests.rs"), Some(&true));
    assert_eq!(known.get("registry/roster_tests.rs"), Some(&true));
}

#[test]
fn every_file_belongs_to_the_crate() {
    let (_, lost) = reached(&read_sources().unwrap());
    assert!(lost.is_empty(), "{}", told(&lost));
}

#[test]
fn imports_go_down() {
    let found = check(import_violations);
    assert!(found.is_empty(), "{}", told(&found));
}

#[test]
fn every_exception_is_needed() {
    let sources = read_sources().unwrap();
    for (file, prefix, reason) in EXCEPTIONS {
        let used =
            sources.iter().any(|s| s.file == *file && s.paths().iter().any(|(p, _)| within(p, prefix)));
        assert!(used, "src/{file} does not import {prefix} any more ({reason})");
    }
    for (file, reason) in LONG_FILES {
        let long = sources.iter().any(|s| s.file == *file && s.lines > MAX_LINES);
        assert!(long, "src/{file} is not that long any more ({reason})");
    }
}

#[test]
fn what_decides_does_not_act() {
    let found = check(purity_violations);
    assert!(found.is_empty(), "{}", told(&found));
}

#[test]
fn libraries_stay_where_they_belong() {
    let found = check_all(home_violations);
    assert!(found.is_empty(), "{}", told(&found));
}

#[test]
fn every_file_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let lost: Vec<&str> = named_files(&text)
            .into_iter()
            .filter(|file| !root.join("src").join(file).exists() && !root.join(file).exists())
            .collect();
        assert!(lost.is_empty(), "{document} names {lost:?}");
    }
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in ["ARCHITECTURE.md", "README.md"] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let here = anchors(&text);
        let lost: Vec<&str> = links(&text)
            .into_iter()
            .filter(|link| !link.contains("://") && !here.contains(*link) && !root.join(link).exists())
            .collect();
        assert!(lost.is_empty(), "{document} leads to {lost:?}");
    }
}

#[test]
fn wire_formats_stay_in_their_folders() {
    let found = check(wire_violations);
    assert!(found.is_empty(), "{}", told(&found));
}

#[test]
fn no_file_is_too_long() {
    let found = check(length_violations);
    assert!(found.is_empty(), "{}", told(&found));
}

#[test]
fn every_module_says_what_lives_there() {
    let found = check(opening_violations);
    assert!(found.is_empty(), "{}", told(&found));
}
