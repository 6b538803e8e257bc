//! What may be shown of values that were given: no password in an address, nothing that looks like a key.

/// Longest given value that is shown, in characters.
const SHOWN: usize = 60;

/// Shortest text that may be a key.
const KEY: usize = 20;

/// Stands for what is not shown.
pub(crate) const REDACTED: &str = "[REDACTED]";

/// The text without the password of an address in it (`scheme://name:password@host`, `?password=…`). Only a database's
/// address has a name to log in with and parameters worth showing: of any other, whatever stands there may be the key.
/// Masks too much rather than too little: a password may hold any sign that somebody forgot to escape.
pub(crate) fn passwords(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let is_database = matches!(scheme, "postgres" | "postgresql" | "sqlite" | "redis" | "rediss");
    let rest = match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((name, _)) => format!("{name}:{REDACTED}@{host}"),
            None if is_database => rest.to_owned(),
            None => format!("{REDACTED}@{host}"),
        },
        None => rest.to_owned(),
    };
    let rest = match rest.split_once('#') {
        Some((head, _)) if !is_database => format!("{head}#{REDACTED}"),
        _ => rest,
    };
    let Some((head, query)) = rest.split_once('?') else { return format!("{scheme}://{rest}") };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if !is_database || name.to_ascii_lowercase().contains("password") => {
                format!("{name}={REDACTED}")
            }
            None if !is_database => REDACTED.to_owned(),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{scheme}://{head}?{}", query.join("&"))
}

/// What may be shown of a value that was refused. Variables get swapped, so a key may stand anywhere.
pub(crate) fn given(text: &str) -> String {
    let may_be_key = |word: &str| {
        word.chars().count() >= KEY
            && word.chars().any(|c| c.is_ascii_digit())
            && word.chars().any(char::is_alphabetic)
    };
    let lower = text.to_ascii_lowercase();
    let dsn = !text.contains("://") && ["password", "secret", "token"].iter().any(|w| lower.contains(w));
    let masked = passwords(text);
    let signs = |c: char| !(c.is_alphanumeric() || c == '-' || c == '_' || c == '+');
    if dsn || masked.split(signs).any(may_be_key) {
        return format!("{REDACTED} ({} characters)", text.chars().count());
    }
    let mut shown: String = masked.chars().take(SHOWN).collect();
    if masked.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_password_in_an_address_is_never_shown() {
        for (text, want) in [
            ("postgres://u:geheim@h/db", "postgres://u:[REDACTED]@h/db"),
            ("postgres://u:ge/h@e?im@h/db", "postgres://u:[REDACTED]@h/db"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            ("postgres:///db?user=u&password=geheim&x=1", "postgres:///db?user=u&password=[REDACTED]&x=1"),
            ("redis://:geheim@h:6379/0", "redis://:[REDACTED]@h:6379/0"),
            ("rediss://u:ge@heim@h", "rediss://u:[REDACTED]@h"),
            ("sqlite://data/frontdesk.db", "sqlite://data/frontdesk.db"),
            ("https://h?key=geheim&v=1", "https://h?key=[REDACTED]&v=[REDACTED]"),
            ("https://h/v1?geheim", "https://h/v1?[REDACTED]"),
            ("https://h/v1#geheim", "https://h/v1#[REDACTED]"),
            ("https://geheim@h/v1", "https://[REDACTED]@h/v1"),
            ("plain text", "plain text"),
        ] {
            assert_eq!(passwords(text), want, "{text}");
        }
    }

    #[test]
    fn a_refused_value_is_shown_unless_it_may_be_a_key() {
        for (text, want) in [
            ("abc", "\"abc\""),
            ("99999", "\"99999\""),
            ("sk-1234567890abcdefghij", "[REDACTED] (23 characters)"),
            ("host=h password=geheim", "[REDACTED] (22 characters)"),
            ("ftp://u:geheim@h", "\"ftp://u:[REDACTED]@h\""),
            ("a\nb", "\"a\\nb\""),
        ] {
            assert_eq!(given(text), want, "{text}");
        }
        assert_eq!(given(&"x".repeat(100)).chars().count(), SHOWN + 3);
    }

    proptest! {
        #[test]
        fn any_text_can_be_masked(text in "\\PC{0,80}|[a-z:/@?&=]{0,30}", secret in "[a-z]{12}") {
            let _ = (passwords(&text), given(&text));
            let address = format!("postgres://u:{secret}@h/db");
            prop_assert!(!given(&address).contains(&secret));
        }
    }
}
