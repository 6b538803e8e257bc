//! Where settings come from in this process: its variables, `.env` in the current folder, the file of
//! `FRONTDESK_CONFIG`. The only place that looks at them. Blocks: for start-up only.

use crate::config::load::{Fault, Loaded, Problem, load};
use crate::config::profile::{self, ProfileProblem};
use crate::domain::profile::BusinessProfile;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Names the configuration file.
const CONFIG_FILE: &str = "FRONTDESK_CONFIG";

/// What was found, before it is understood.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Variables; the process's own over those of `.env`.
    pub vars: BTreeMap<String, String>,
    /// Path and text of the configuration file.
    pub file: Option<(String, String)>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

impl Inputs {
    /// The configuration of what was found, with every mistake.
    pub fn load(&self) -> Loaded {
        let file = self.file.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
        let mut loaded = load(&self.vars, file);
        loaded.problems.splice(0..0, self.problems.iter().cloned());
        loaded
    }
}

/// Reads the process's variables, `.env` and the configuration file.
pub fn read() -> Inputs {
    let vars = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    read_from(vars.collect(), Path::new("."))
}

/// The same of given variables and a folder.
pub fn read_from(mut vars: BTreeMap<String, String>, folder: &Path) -> Inputs {
    let mut problems = Vec::new();
    match text_of(&folder.join(".env")) {
        Ok(text) => add_missing(&mut vars, &text, &mut problems),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => problems.push(unreadable(".env", error.to_string())),
    }
    let path = vars.get(CONFIG_FILE).map(|path| path.trim().to_owned()).filter(|path| !path.is_empty());
    let file = path.and_then(|path| match text_of(&folder.join(&path)) {
        Ok(text) => Some((path, text)),
        Err(error) => {
            problems.push(unreadable(&format!("{CONFIG_FILE} ({path})"), error.to_string()));
            None
        }
    });
    Inputs { vars, file, problems }
}

/// Adds the variables of `.env` that are not set, or set to nothing, in the process.
fn add_missing(vars: &mut BTreeMap<String, String>, text: &str, problems: &mut Vec<Problem>) {
    let text = text.trim_start_matches('\u{feff}');
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        match item {
            Ok((name, value)) => {
                if vars.get(&name).is_none_or(|set| set.trim().is_empty()) {
                    vars.insert(name, value);
                }
            }
            // The message would quote the line, and a secret may stand in it.
            Err(dotenvy::Error::LineParse(line, _)) => {
                let number = text.lines().position(|candidate| candidate.contains(line.trim()));
                let place = number.map_or_else(|| "a line".to_owned(), |n| format!("line {}", n + 1));
                problems.push(unreadable(
                    ".env",
                    format!("{place} is not NAME=value (a value with blanks needs quotes around it)"),
                ));
            }
            Err(_) => problems.push(unreadable(".env", "it is no text".to_owned())),
        }
    }
}

fn unreadable(subject: &str, why: String) -> Problem {
    Problem { subject: subject.to_owned(), fault: Fault::Unreadable(why) }
}

/// Reads a business's profile. A file that cannot be read is a problem like those in it.
pub fn read_profile(path: &Path) -> Result<BusinessProfile, Vec<ProfileProblem>> {
    match text_of(path) {
        Ok(text) => profile::parse(&text),
        Err(error) => {
            Err(vec![ProfileProblem { path: ".".to_owned(), message: format!("cannot be read: {error}") }])
        }
    }
}

/// A file's text, of a size that a settings file can have.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limit = u64::try_from(profile::MAX_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() > profile::MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let path = std::env::temp_dir().join(format!("frontdesk-env-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            for (name, text) in files {
                std::fs::write(path.join(name), text).unwrap();
            }
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_process_wins_over_dotenv_and_both_over_the_file() {
        let env =
            "PORT=1000\nHOST=0.0.0.0\n# a comment\nexport FRONTDESK_CONFIG=f.toml\nOPENAI_API_KEY='a$b'\n";
        let file = "[server]\nport = 3000\nhost = \"::1\"\nmax_calls = 7\n";
        let folder = Folder::with("order", &[(".env", env), ("f.toml", file)]);
        let loaded = read_from(vars(&[("PORT", "2000"), ("HOST", "")]), &folder.0).load();
        assert_eq!(loaded.problems, vec![]);
        let server = &loaded.config.server;
        assert_eq!((server.port, server.host.as_str(), server.max_calls), (2000, "0.0.0.0", 7));
    }

    #[test]
    fn without_any_file_the_defaults_hold() {
        let folder = Folder::with("none", &[]);
        let inputs = read_from(BTreeMap::new(), &folder.0);
        assert_eq!(inputs.problems, vec![]);
        assert_eq!(inputs.load().config.server.port, 3100);
    }

    #[test]
    fn a_bad_line_of_dotenv_is_named_by_number_and_not_quoted() {
        let folder = Folder::with("bad", &[(".env", "PORT=1000\nTWILIO_AUTH_TOKEN=geheim 123\nHOST=::1\n")]);
        let inputs = read_from(BTreeMap::new(), &folder.0);
        let messages: Vec<String> = inputs.problems.iter().map(ToString::to_string).collect();
        assert_eq!(messages.len(), 1);
        assert!(messages[0].contains("line 2") && !messages[0].contains("geheim"), "{messages:?}");
        assert_eq!(inputs.load().config.server.host, "::1");
    }

    #[test]
    fn a_configuration_file_that_is_not_there_is_a_problem() {
        let folder = Folder::with("absent", &[]);
        let inputs = read_from(vars(&[("FRONTDESK_CONFIG", "nowhere.toml")]), &folder.0);
        assert!(inputs.problems[0].to_string().starts_with("FRONTDESK_CONFIG (nowhere.toml) cannot be read"));
        let too_large = Folder::with("large", &[("f.toml", &"#".repeat(profile::MAX_BYTES + 1))]);
        let inputs = read_from(vars(&[("FRONTDESK_CONFIG", "f.toml")]), &too_large.0);
        assert!(inputs.problems[0].to_string().contains("1 MiB"));
    }

    #[test]
    fn a_profile_that_is_not_there_is_a_problem_of_the_profile() {
        let problems = read_profile(Path::new("/nonexistent/profile.json")).unwrap_err();
        assert!(problems[0].to_string().starts_with(".: cannot be read"), "{problems:?}");
    }
}
