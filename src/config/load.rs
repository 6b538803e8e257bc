//! From variables and the file's text to a configuration, and to every mistake in them at once. Pure.

use super::Config;
use super::setting::{self, FALLBACK, Setting};
use super::suggest::nearest;
use super::validate;
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where a value comes from; the later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nothing was set.
    Default,
    /// The configuration file.
    File,
    /// A variable.
    Environment,
    /// The database, where staff have changed it.
    Database,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Database => "database",
        })
    }
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot have this value.
    Wrong {
        /// What was given, masked.
        given: String,
        /// What was expected.
        expected: String,
    },
    /// It is needed; the text says what it is.
    Missing(String),
    /// There is no such setting; the nearest one that there is.
    Unknown(Option<String>),
    /// Its text or file cannot be read; the text says why.
    Unreadable(String),
    /// It contradicts another setting; the text says how.
    Clash(String),
}

/// A mistake in the configuration. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable, or the file's key, as it was written.
    pub subject: String,
    /// What is wrong with it.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match &self.fault {
            Fault::Wrong { given, expected } => {
                write!(f, "{subject}: {given} was given, expected {expected}")
            }
            Fault::Missing(what) => write!(
                f,
                "{subject} is missing: {what}; to see it work without any key, run `frontdesk demo`"
            ),
            Fault::Unknown(Some(nearest)) => {
                write!(f, "{subject} is no setting; did you mean {nearest}?")
            }
            Fault::Unknown(None) => {
                write!(f, "{subject} is no setting; `frontdesk check-config` lists all of them")
            }
            Fault::Unreadable(why) => write!(f, "{subject} cannot be read: {why}"),
            Fault::Clash(how) => write!(f, "{subject}: {how}"),
        }
    }
}

/// The configuration, what each value comes from, and everything that is wrong.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// What holds; a value that was refused has left the one before it in place.
    pub config: Config,
    /// Where values come from, by path (`call.filler_ms`); absent means default.
    pub sources: BTreeMap<String, Source>,
    /// Every mistake.
    pub problems: Vec<Problem>,
}

/// Loads the configuration: variables over the file (its path and its text) over defaults.
pub fn load(vars: &BTreeMap<String, String>, file: Option<(&str, &str)>) -> Loaded {
    let settings = setting::all();
    let mut loaded = Loaded::default();
    let table =
        file.and_then(|(path, text)| match text.trim_start_matches('\u{feff}').parse::<toml::Table>() {
            Ok(table) => Some((path, table)),
            Err(error) => {
                loaded.problems.push(Problem {
                    subject: path.to_owned(),
                    fault: Fault::Unreadable(syntax(text, &error)),
                });
                None
            }
        });
    let aliased = database_path(vars);
    for setting in &settings {
        let (key, variable) = (setting.path(), setting.variable());
        if let Some((path, table)) = &table
            && let Some(value) = lookup(table, &key)
        {
            let subject = format!("{key} in {path}");
            loaded.apply(setting.as_ref(), subject, Source::File, &plain(value), |s, c| s.set_toml(c, value));
        }
        let (subject, text) = match text_of(vars, &variable) {
            Some(text) => (variable, Some(text.to_owned())),
            None if key == "database.url" => ("DATABASE_PATH".to_owned(), aliased.clone()),
            // Set to nothing, it is off; left out, it is not.
            None if key == "observe.metrics_addr" && vars.contains_key(&variable) => {
                (variable, Some("off".to_owned()))
            }
            None => (variable, None),
        };
        if let Some(text) = text {
            loaded.apply(setting.as_ref(), subject, Source::Environment, &text, |s, c| s.set_text(c, &text));
        }
    }
    keep_key_at_home(&mut loaded);
    if let Some((path, table)) = &table {
        let known: BTreeSet<String> = settings.iter().map(|setting| setting.path()).collect();
        unknown_keys(table, "", path, &known, &mut loaded.problems);
    }
    unknown_variables(vars, &settings, &mut loaded.problems);
    let clashes = validate::relations(&loaded.config, &loaded.sources);
    loaded.problems.extend(clashes);
    loaded
}

impl Loaded {
    /// Sets one value, unless it cannot be read or cannot hold: then the one before stays.
    fn apply(
        &mut self,
        setting: &dyn Setting,
        subject: String,
        source: Source,
        given: &str,
        set: impl FnOnce(&dyn Setting, &mut Config) -> bool,
    ) {
        let mut tried = self.config.clone();
        let checked =
            if set(setting, &mut tried) { setting.check(&tried) } else { Err(setting.expected().to_owned()) };
        match checked {
            Ok(()) => {
                self.config = tried;
                self.sources.insert(setting.path(), source);
            }
            Err(expected) => {
                let given = validate::shown(setting.kind(), given);
                self.problems.push(Problem { subject, fault: Fault::Wrong { given, expected } });
            }
        }
    }
}

/// A variable's text without outer blanks; an empty one counts as not set.
fn text_of<'v>(vars: &'v BTreeMap<String, String>, name: &str) -> Option<&'v str> {
    vars.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// The address that `DATABASE_PATH` stands for. The prototype's file of that name is imported, never opened as ours.
fn database_path(vars: &BTreeMap<String, String>) -> Option<String> {
    let path = text_of(vars, "DATABASE_PATH")?;
    Some(if path.contains("://") { path.to_owned() } else { format!("sqlite://{path}") })
}

/// The fallback's settings are copies of the primary's; its key only as long as the host is the same.
fn keep_key_at_home(loaded: &mut Loaded) {
    let primary = loaded.config.llm.primary.base_url.clone();
    let own_key = loaded.sources.contains_key(&format!("{FALLBACK}.api_key"));
    if let Some(fallback) = &mut loaded.config.llm.fallback
        && !own_key
        && origin(&fallback.base_url) != origin(&primary)
    {
        fallback.api_key = SecretString::default();
    }
}

/// Scheme, host and port of an address.
fn origin(address: &str) -> Option<url::Origin> {
    url::Url::parse(address).ok().map(|url| url.origin())
}

/// Where the file is no TOML, without a word of what stands there.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let line =
        error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    match line {
        Some(line) => format!("it is no valid TOML in line {line}"),
        None => "it is no valid TOML".to_owned(),
    }
}

fn lookup<'t>(table: &'t toml::Table, path: &str) -> Option<&'t toml::Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => lookup(table.get(section)?.as_table()?, rest),
    }
}

/// A value of the file as a message shows it.
fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn unknown_keys(
    table: &toml::Table,
    above: &str,
    file: &str,
    known: &BTreeSet<String>,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in table {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        if known.contains(&path) {
            continue;
        }
        let subject = format!("{path} in {file}");
        let inside = format!("{path}.");
        let is_section = known.iter().any(|known| known.starts_with(&inside));
        match value {
            toml::Value::Table(table) if is_section => unknown_keys(table, &path, file, known, problems),
            other if is_section => problems.push(Problem {
                subject,
                fault: Fault::Wrong {
                    given: validate::shown(setting::Kind::Text, &plain(other)),
                    expected: format!("a section, [{path}]"),
                },
            }),
            _ => {
                let sections = known.iter().filter_map(|path| path.split('.').next());
                let all = known.iter().map(String::as_str).chain(sections);
                let nearest = nearest(&path, all).map(str::to_owned);
                problems.push(Problem { subject, fault: Fault::Unknown(nearest) });
            }
        }
    }
}

/// Variables that look like one of a section and are none. Others that begin with `FRONTDESK_` are left alone: an
/// orchestrator makes such variables for a service called frontdesk.
fn unknown_variables(
    vars: &BTreeMap<String, String>,
    settings: &[Box<dyn Setting>],
    problems: &mut Vec<Problem>,
) {
    let known: BTreeMap<String, String> = settings.iter().map(|s| (s.variable(), s.path())).collect();
    let sections: BTreeSet<String> = settings
        .iter()
        .filter_map(|s| {
            s.path().split('.').next().map(|section| setting::general_variable(&format!("{section}.")))
        })
        .collect();
    for (name, value) in vars {
        let of_section = sections.iter().any(|section| name.starts_with(section.as_str()));
        if known.contains_key(name) || !of_section || is_service_link(name, value) {
            continue;
        }
        let own_name = settings.iter().find(|s| setting::general_variable(&s.path()) == *name);
        let nearest = match own_name {
            Some(setting) => Some(setting.variable()),
            None => nearest(name, known.keys().map(String::as_str)).map(str::to_owned),
        };
        problems.push(Problem { subject: name.clone(), fault: Fault::Unknown(nearest) });
    }
}

/// Whether an orchestrator made the variable for a service (`FRONTDESK_DATABASE_PORT=tcp://…`).
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
}

#[cfg(test)]
mod tests;
