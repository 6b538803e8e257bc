//! `check-config`: what is effective, and every mistake at once.

use super::environment::{Inputs, read_profile};
use crate::config::effective;
use crate::config::load::Loaded;
use crate::config::validate::{missing_for_serve, profile_against};
use std::io::{self, Write};
use std::path::Path;

/// Writes the effective settings and every mistake; whether there was none.
pub fn run(inputs: &Inputs, out: &mut dyn Write) -> io::Result<bool> {
    let loaded = inputs.load();
    out.write_all(effective::describe(&loaded).as_bytes())?;
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

/// Everything that keeps `serve` from starting, in the order of its sections; the profile's comes last.
pub fn mistakes(loaded: &Loaded) -> Vec<String> {
    let missing = missing_for_serve(&loaded.config);
    // A variable that was refused is not missing besides.
    let refused: Vec<&str> = loaded.problems.iter().map(|problem| problem.subject.as_str()).collect();
    let missing = missing.iter().filter(|problem| !refused.contains(&problem.subject.as_str()));
    let mut mistakes: Vec<String> = loaded.problems.iter().chain(missing).map(ToString::to_string).collect();
    if let Some(path) = &loaded.config.server.business_profile {
        let problems = match read_profile(Path::new(path)) {
            Ok(profile) => profile_against(&loaded.config, &profile),
            Err(problems) => problems,
        };
        mistakes.extend(problems.iter().map(|problem| format!("{path}: {problem}")));
    }
    mistakes
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
        let good = run(&Inputs { vars, ..Inputs::default() }, &mut out).unwrap();
        (good, String::from_utf8(out).unwrap())
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
