//! What the sources say as text: every route of the API stands in its description, and every code of the audit trail in
//! its table.

use frontdesk::domain::audit::CODES;
use std::fs;
use std::path::{Path, PathBuf};

/// The sources with their places, without test files.
pub fn sources() -> Vec<(String, String)> {
    fn gather(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    gather(&root, &mut found);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
    let tests = |name: &str| name.contains("tests") || name.contains("/whole/") || name.starts_with("sim/");
    let all = found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap()));
    all.filter(|(name, _)| !tests(name)).map(|(name, text)| (name, without_tests(&text))).collect()
}

/// A file up to its own tests.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
}

/// Routes under `/api` that stand in no description: an attribute of actix without `utoipa::path` before it, or a route
/// that is registered by hand.
fn undescribed(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut described = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[utoipa::path") {
            described = true;
        } else if [
            "#[get(",
            "#[post(",
            "#[put(",
            "#[patch(",
            "#[delete(",
            "#[head(",
            "#[options(",
            "#[route(",
        ]
        .iter()
        .any(|attribute| line.starts_with(attribute))
        {
            if !described {
                wrong.push(line.to_owned());
            }
        } else if line.starts_with("async fn") || line.starts_with("pub async fn") {
            described = false;
        }
        let by_hand = ["route(\"/api", "resource(\"/api", "scope(\"/api", "service(web::resource(\"/api"];
        if by_hand.iter().any(|call| line.contains(call)) {
            wrong.push(line.to_owned());
        }
    }
    wrong
}

#[test]
fn every_route_of_the_api_is_registered_with_its_description() {
    let all = sources();
    assert!(all.len() > 100, "{} files", all.len());
    for (file, text) in &all {
        let wrong = undescribed(text);
        assert!(wrong.is_empty(), "src/{file}: {wrong:?} stands in no description");
    }
    // Written so that this file's own examples are not found by it.
    for wrong in [
        "#[get(\"/api/x\")]\nasync fn x() {}",
        "web::scope(\"/api\")",
        ".route(\"/api/x\", web::get().to(x))",
    ] {
        assert!(!undescribed(wrong).is_empty(), "{wrong}");
    }
    assert!(undescribed("#[utoipa::path(\n)]\n#[get(\"/api/x\")]\nasync fn x() {}").is_empty());
}

/// Texts of the form `subject.what_happened` of the audit trail's subjects.
fn codes_in(text: &str) -> Vec<&str> {
    let subjects: Vec<&str> = CODES.iter().filter_map(|(code, _)| code.split('.').next()).collect();
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(|quoted| {
            quoted.split_once('.').is_some_and(|(subject, rest)| subjects.contains(&subject) && plain(rest))
        })
        .collect()
}

#[test]
fn every_code_of_the_audit_trail_is_in_the_table_and_every_one_there_is_written() {
    // Where rows are written: a setting's path, an action of the staff's or a failure of a job may look the same.
    let writes = |file: &str| {
        ["call/", "registry/", "app.rs", "db/seed", "session/"].iter().any(|start| file.starts_with(start))
            || file == "api/voice.rs"
    };
    // What is recorded there stands in spans.
    let spans = "call/traced.rs";
    let all: Vec<(String, String)> =
        sources().into_iter().filter(|(file, _)| writes(file) && file != spans).collect();
    for (file, text) in &all {
        for code in codes_in(text) {
            let known = CODES.iter().any(|(known, _)| *known == code);
            assert!(known, "src/{file} has {code}, which is not in `CODES` of domain/audit.rs");
        }
    }
    let written = |code: &str| all.iter().any(|(_, text)| codes_in(text).contains(&code));
    let unwritten: Vec<&str> = CODES.iter().map(|(code, _)| *code).filter(|code| !written(code)).collect();
    assert!(unwritten.is_empty(), "nobody writes {unwritten:?}");
}
