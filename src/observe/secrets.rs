//! The last net under the rule that no secret is printed: known secrets are taken out of whatever is written to the log.
//!
//! Nothing should ever be caught here. A library's error or a panic's message can still carry an address with a
//! password, or a header.

use crate::config::Config;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use tracing_subscriber::fmt::MakeWriter;

/// Stands in the place of a secret.
const REDACTED: &str = "[REDACTED]";

/// Shorter ones would take ordinary words out of the log, in bytes.
const SHORTEST: usize = 8;

/// Takes secrets out of text, in the forms in which they travel: plain, in JSON, in a form, in Base64. A copy is cheap.
#[derive(Clone, Default)]
pub struct Scrubber(Arc<[String]>);

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} forms)", self.0.len())
    }
}

impl Scrubber {
    /// Knows every secret of a configuration.
    pub fn of(config: &Config) -> Self {
        let twilio = &config.twilio;
        let login = format!("{}:{}", twilio.account_sid, twilio.auth_token.expose_secret());
        let login = Some(login).filter(|_| twilio.auth_token.expose_secret().len() >= SHORTEST);
        Self::new(config.secrets().into_iter().chain(login.map(SecretString::from)))
    }

    /// Knows these secrets.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let mut forms: Vec<String> = secrets
            .into_iter()
            .filter(|secret| secret.expose_secret().len() >= SHORTEST)
            .flat_map(|secret| forms(secret.expose_secret()))
            .collect();
        // The longest first: another may be a part of it.
        forms.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(forms.into())
    }

    /// The text without the secrets.
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for form in self.0.iter() {
            if text.contains(form.as_str()) {
                text = Cow::Owned(text.replace(form.as_str(), REDACTED));
            }
        }
        text
    }
}

fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_start_matches('"').trim_end_matches('"').to_owned();
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let base64 = BASE64_STANDARD.encode(secret);
    let mut forms = vec![secret.to_owned(), json, form, base64.trim_end_matches('=').to_owned()];
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// Makes writers that scrub.
#[derive(Clone, Debug)]
pub(super) struct ScrubbedWriter<M> {
    pub(super) inner: M,
    pub(super) scrubber: Scrubber,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for ScrubbedWriter<M> {
    type Writer = Scrubbed<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Scrubbed { inner: self.inner.make_writer(), scrubber: self.scrubber.clone() }
    }
}

/// Scrubs what is written. An event is written in one piece, so no secret is cut in two.
pub(super) struct Scrubbed<W> {
    inner: W,
    scrubber: Scrubber,
}

impl<W: Write> Write for Scrubbed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.inner.write_all(self.scrubber.scrub(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber::new(secrets.iter().map(|secret| SecretString::from(*secret)))
    }

    #[test]
    fn a_secret_is_taken_out_in_every_form_it_travels_in() {
        let scrubber = scrubber(&["pa\"ss/word+1", "short"]);
        for text in ["pa\"ss/word+1", r#"pa\"ss/word+1"#, "pa%22ss%2Fword%2B1"] {
            assert_eq!(scrubber.scrub(&format!("<{text}>")), "<[REDACTED]>", "{text}");
        }
        let base64 = BASE64_STANDARD.encode("pa\"ss/word+1");
        assert!(!scrubber.scrub(&base64).contains("cGEic3Mv"), "{base64}");
        assert_eq!(scrubber.scrub("short words stay"), "short words stay");
    }

    #[test]
    fn the_longer_of_two_secrets_goes_first() {
        assert_eq!(scrubber(&["abcdefgh", "abcdefghijkl"]).scrub("abcdefghijkl"), REDACTED);
    }

    #[test]
    fn a_configurations_secrets_are_known_with_the_databases_password_and_twilios_login() {
        let mut config = Config::default();
        config.twilio.account_sid = "AC0123".into();
        config.twilio.auth_token = "twilio-token".to_owned().into();
        config.database.url = "postgres://u:database-pass@h/db".into();
        config.server.secret = Some("first-secret-of-two,second-secret-of-two".to_owned().into());
        let scrubber = Scrubber::of(&config);
        let login = BASE64_STANDARD.encode("AC0123:twilio-token");
        let text = format!("twilio-token database-pass second-secret-of-two Basic {login}");
        let scrubbed = scrubber.scrub(&text);
        assert_eq!(scrubbed.trim_end_matches('='), "[REDACTED] [REDACTED] [REDACTED] Basic [REDACTED]");
    }

    proptest! {
        #[test]
        fn no_secret_survives(before in "[ -~]{0,20}", secret in "[ -~]{8,30}", after in "[ -~]{0,20}") {
            let text = format!("{before}{secret}{after}");
            let scrubbed = scrubber(&[&secret]).scrub(&text).into_owned();
            // A secret may lie in the replacement's own word, or arise from it.
            prop_assume!(!REDACTED.contains(secret.as_str()));
            prop_assert!(scrubbed.contains(REDACTED));
        }
    }
}
