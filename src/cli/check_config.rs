//! `check-config`: what is effective, and every mistake at once.

use super::environment::{Inputs, read_profile};
use crate::app::tls::TlsFiles;
use crate::config::database::DatabaseConfig;
use crate::config::load::{Loaded, Source};
use crate::config::overlay::{self, Changes};
use crate::config::validate::{missing_for_serve, profile_against};
use crate::config::{effective, profile};
use crate::db::{DbError, StoredSetting, stored_settings};
use crate::session::live::{PROFILE, SETTINGS};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;

/// What staff have stored: changed settings and a profile.
type Stored = [Option<StoredSetting>; 2];

/// Writes the effective settings and every mistake; whether there was none. What staff have stored in the database is
/// read from there, if it can be reached.
pub fn run(inputs: &Inputs, out: &mut dyn Write) -> io::Result<bool> {
    report(inputs, |database| stored_settings(database, [SETTINGS, PROFILE]), out)
}

fn report(
    inputs: &Inputs,
    stored: impl FnOnce(&DatabaseConfig) -> Result<Stored, DbError>,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let loaded = inputs.load();
    let mut effective = loaded.clone();
    let notes = match stored(&loaded.config.database) {
        Ok(stored) => apply(&mut effective, stored),
        Err(error) => vec![format!("what staff have stored is not shown: {}", error.code())],
    };
    out.write_all(effective::describe(&effective).as_bytes())?;
    for note in notes {
        writeln!(out, "\n{note}")?;
    }
    let mistakes = mistakes(&loaded);
    if mistakes.is_empty() {
        writeln!(out, "\nEverything is in order.")?;
        return Ok(true);
    }
    let plural = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
    writeln!(out, "\n{} {plural}:", mistakes.len())?;
    for mistake in &mistakes {
        writeln!(out, "- {mistake}")?;
    }
    Ok(false)
}

/// Lays what staff have stored over the configuration, as `serve` does at its start; what is to be said of it.
fn apply(loaded: &mut Loaded, [settings, stored_profile]: Stored) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(stored) = settings {
        let configured = loaded.config.clone();
        let mut changes = Changes::new();
        let wanted: Changes = serde_json::from_value(stored.value).unwrap_or_default();
        for (path, value) in wanted {
            let mut tried = changes.clone();
            tried.insert(path.clone(), value);
            match overlay::apply(&configured, &tried) {
                Ok(config) => {
                    loaded.config = config;
                    loaded.sources.insert(path, Source::Database);
                    changes = tried;
                }
                Err(_) => notes.push(format!("{path} is stored in the database and cannot be used")),
            }
        }
    }
    if let Some(stored) = stored_profile {
        let by = &stored.updated_by;
        notes.push(match profile::parse(&stored.value.to_string()) {
            Ok(_) => format!("The profile is the one that is stored in the database, by {by}."),
            Err(_) => format!("A profile is stored in the database, by {by}, and cannot be used."),
        });
    }
    notes
}

/// Everything that keeps `serve` from starting, in the order of its sections; the profile's comes last.
pub fn mistakes(loaded: &Loaded) -> Vec<String> {
    let missing = missing_for_serve(&loaded.config);
    // A variable that was refused is not missing besides.
    let refused: Vec<&str> = loaded.problems.iter().map(|problem| problem.subject.as_str()).collect();
    let missing = missing.iter().filter(|problem| !refused.contains(&problem.subject.as_str()));
    let mut mistakes: Vec<String> = loaded.problems.iter().chain(missing).map(ToString::to_string).collect();
    if let Some(files) = TlsFiles::of(&loaded.config)
        && let Err(error) = files.check()
    {
        mistakes.push(error.to_string());
    }
    mistakes.extend(nowhere_to_listen(&loaded.config.server.host));
    if let Some(path) = &loaded.config.server.business_profile {
        let problems = match read_profile(Path::new(path)) {
            Ok(profile) => profile_against(&loaded.config, &profile),
            Err(problems) => problems,
        };
        mistakes.extend(problems.iter().map(|problem| format!("{path}: {problem}")));
    }
    mistakes
}

/// What is wrong with a host that nobody can listen on. The port may well be taken: by this very server.
fn nowhere_to_listen(host: &str) -> Option<String> {
    let error = TcpListener::bind((host, 0)).err()?;
    Some(format!("HOST: {host:?} is no address of this machine ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const SECRETS: [(&str, &str); 5] = [
        ("TWILIO_AUTH_TOKEN", "fedcba98765432100123456789abcdef"),
        ("DEEPGRAM_API_KEY", "dg-geheim-0123456789"),
        ("ELEVENLABS_API_KEY", "sk_geheim_0123456789"),
        ("OPENAI_API_KEY", "sk-geheim-0123456789"),
        ("FRONTDESK_SECRET", "geheim-geheim-geheim-geheim-geheim-geheim"),
    ];

    fn complete() -> BTreeMap<String, String> {
        let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/barbershop.json");
        let plain = [
            ("BASE_URL", "https://desk.example.com"),
            ("TWILIO_ACCOUNT_SID", "AC0123456789abcdef0123456789abcdef"),
            ("TWILIO_PHONE_NUMBER", "+12025550143"),
            ("ELEVENLABS_VOICE_ID", "21m00Tcm4TlvDq8ikWAM"),
            ("BUSINESS_PROFILE", profile),
            ("DATABASE_URL", "postgres://u:geheim-pass@h/db"),
        ];
        plain.iter().chain(&SECRETS).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn run_with(vars: BTreeMap<String, String>) -> (bool, String) {
        let mut out = Vec::new();
        let nothing = |_: &DatabaseConfig| Ok([None, None]);
        let good = report(&Inputs { vars, ..Inputs::default() }, nothing, &mut out).unwrap();
        (good, String::from_utf8(out).unwrap())
    }

    fn stored(value: serde_json::Value) -> Option<StoredSetting> {
        let updated_at = crate::domain::time::UnixMillis(1);
        Some(StoredSetting { value, version: 3, updated_by: "maria".into(), updated_at })
    }

    #[test]
    fn what_staff_have_stored_is_shown_with_where_it_comes_from() {
        let inputs = Inputs { vars: complete(), ..Inputs::default() };
        let text = |stored: Result<Stored, DbError>| {
            let mut out = Vec::new();
            assert!(report(&inputs, |_| stored, &mut out).unwrap(), "it keeps nobody from starting");
            String::from_utf8(out).unwrap()
        };
        let settings = serde_json::json!({ "call.filler_ms": 912, "call.gone": 1 });
        let profile = serde_json::from_str(profile::BARBERSHOP).unwrap();
        let shown = text(Ok([stored(settings), stored(profile)]));
        let line = shown.lines().find(|line| line.starts_with("call.filler_ms ")).unwrap();
        assert!(line.contains(" 912 ") && line.ends_with("database"), "{line}");
        assert!(shown.contains("call.gone is stored in the database and cannot be used"), "{shown}");
        assert!(
            shown.contains("The profile is the one that is stored in the database, by maria."),
            "{shown}"
        );
        let shown = text(Ok([None, stored(serde_json::json!({}))]));
        assert!(shown.contains("by maria, and cannot be used") && !shown.contains(" database\n"), "{shown}");
        assert!(text(Err(DbError::Overloaded)).contains("not shown: db.overloaded"));
    }

    #[test]
    fn a_complete_configuration_is_in_order_and_shows_no_secret() {
        let (good, text) = run_with(complete());
        assert!(good && text.ends_with("Everything is in order.\n"), "{text}");
        for (_, secret) in SECRETS {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(!text.contains("geheim") && text.contains("postgres://u:[REDACTED]@h/db"), "{text}");
        assert!(text.contains("[set]"), "{text}");
    }

    #[test]
    fn every_mistake_is_told_at_once_and_points_to_the_demo() {
        let folder = std::env::temp_dir().join(format!("frontdesk-check-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let profile = folder.join("profile.json");
        std::fs::write(&profile, "{\"name\": \"X\", \"hourz\": {}}").unwrap();
        let vars = [
            ("PORT", "many"),
            ("TWILIO_AUTH_TOKEN", "with blanks inside"),
            ("BUSINESS_PROFILE", profile.to_str().unwrap()),
            ("FRONTDESK_CALL_FILER_MS", "1"),
        ];
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (good, text) = run_with(vars);
        std::fs::remove_dir_all(folder).unwrap();
        assert!(!good);
        for wanted in [
            "- PORT: \"many\" was given",
            "- TWILIO_AUTH_TOKEN: [REDACTED] was given",
            "- FRONTDESK_CALL_FILER_MS is no setting; did you mean FRONTDESK_CALL_FILLER_MS?",
            "- DEEPGRAM_API_KEY is missing",
            "profile.json: hourz: is no key that is known: did you mean hours?",
            "profile.json: timezone: is missing",
            "run `frontdesk demo`",
        ] {
            assert!(text.contains(wanted), "{wanted}\n{text}");
        }
        assert!(!text.contains("TWILIO_AUTH_TOKEN is missing") && !text.contains("with blanks"), "{text}");
    }

    #[test]
    fn a_certificate_that_cannot_be_used_is_a_mistake() {
        let mut vars = complete();
        vars.insert("TLS_CERT".into(), "/nonexistent/cert.pem".into());
        vars.insert("TLS_KEY".into(), "/nonexistent/key.pem".into());
        let (good, text) = run_with(vars);
        assert!(!good && text.contains("- TLS_CERT: cannot read /nonexistent/cert.pem"), "{text}");
    }

    #[test]
    fn a_host_that_is_not_here_is_a_mistake() {
        for host in ["nonsense.invalid", "192.0.2.1"] {
            let mut vars = complete();
            vars.insert("HOST".into(), host.into());
            let (good, text) = run_with(vars);
            assert!(!good && text.contains(&format!("HOST: \"{host}\" is no address")), "{text}");
        }
        for host in ["localhost", "0.0.0.0"] {
            let mut vars = complete();
            vars.insert("HOST".into(), host.into());
            assert!(run_with(vars).0, "{host}");
        }
    }

    #[test]
    fn a_transfer_to_the_own_number_is_a_mistake() {
        let folder = std::env::temp_dir().join(format!("frontdesk-own-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("profile.json");
        let text =
            crate::config::profile::BARBERSHOP.replacen("{", "{\"transfer_number\": \"+12025550143\",", 1);
        std::fs::write(&path, text).unwrap();
        let mut vars = complete();
        vars.insert("BUSINESS_PROFILE".into(), path.to_str().unwrap().into());
        let (good, text) = run_with(vars);
        std::fs::remove_dir_all(folder).unwrap();
        assert!(!good && text.contains("transfer_number: is TWILIO_PHONE_NUMBER itself"), "{text}");
    }
}
