//! The configuration as a table: what is effective, for `check-config`; what there is, for the README.

use super::Config;
use super::load::{Loaded, Source};
use super::setting::{self, FALLBACK, Kind, Setting};
use std::fmt::Write as _;

/// Widest value that is shown, in characters; lists of words are longer.
const WIDEST: usize = 60;

/// What is effective: setting, value (secrets as `[set]`), variable and source, a line each.
pub fn describe(loaded: &Loaded) -> String {
    let mut rows =
        vec![["setting".to_owned(), "value".to_owned(), "variable".to_owned(), "source".to_owned()]];
    for setting in setting::all() {
        let path = setting.path();
        let Some(value) = setting.show(&loaded.config) else { continue };
        let source = loaded.sources.get(&path).copied().unwrap_or(Source::Default);
        let source = match source {
            Source::Default if path.starts_with(FALLBACK) => "as llm.primary".to_owned(),
            source => source.to_string(),
        };
        rows.push([path, shorten(&value), setting.variable(), source]);
    }
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let line: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A value in one line of bearable length.
fn shorten(value: &str) -> String {
    if value.is_empty() {
        return "-".to_owned();
    }
    let mut shown: String =
        value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WIDEST).collect();
    if value.chars().nth(WIDEST).is_some() {
        shown.push('…');
    }
    shown
}

/// The README's table of all settings: setting, variable, unit, default, meaning.
pub fn markdown_table() -> String {
    let config = Config::default();
    let mut out = String::from("| Setting | Variable | Unit | Default | Meaning |\n|---|---|---|---|---|\n");
    for setting in setting::all() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} | {} | {} |",
            setting.path(),
            setting.variable(),
            unit(setting.as_ref()),
            default(setting.as_ref(), &config),
            setting.meaning().replace('|', "\\|"),
        );
    }
    out
}

fn unit(setting: &dyn Setting) -> &'static str {
    let path = setting.path();
    match setting.kind() {
        Kind::Text => "text",
        Kind::Secret => "secret",
        Kind::Number if path.ends_with("_ms") => "ms",
        Kind::Number if path.ends_with("_s") => "s",
        Kind::Number | Kind::Decimal => "number",
        Kind::Switch => "`on`, `off`",
        Kind::List => "list",
    }
}

fn default(setting: &dyn Setting, config: &Config) -> String {
    match setting.show(config) {
        None => "as `llm.primary`".to_owned(),
        Some(value) if value.is_empty() => "-".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}
