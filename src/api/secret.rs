//! Keys, cookies and passwords: how they are made and what is kept of them.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::sync::OnceLock;

/// What every API key begins with.
pub const KEY_PREFIX: &str = "fd_";
/// The shortest password, characters.
pub const MIN_PASSWORD: usize = 10;
/// The longest password, bytes: more would be work for nothing.
pub const MAX_PASSWORD: usize = 1_024;
/// Letters of a password that is made for somebody, without those that look alike.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789-";

/// 256 random bits as text.
pub fn random_text() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// A new API key.
pub fn new_key() -> SecretString {
    SecretString::from(format!("{KEY_PREFIX}{}", random_text()))
}

/// A password for somebody who is to change it: 100 random bits, easily read out.
pub fn new_password() -> SecretString {
    let bits = rand::random::<[u8; 20]>();
    let letters: String = bits
        .iter()
        .map(|byte| char::from(LETTERS.get(usize::from(byte % 31)).copied().unwrap_or(b'a')))
        .collect();
    SecretString::from(letters)
}

/// What is kept of a key or a cookie. They are random enough for a plain hash.
pub fn fingerprint(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is wrong with a password, if anything.
pub fn password_fault(password: &SecretString) -> Option<String> {
    let text = password.expose_secret();
    if text.chars().count() < MIN_PASSWORD {
        return Some(format!("must have at least {MIN_PASSWORD} characters"));
    }
    (text.len() > MAX_PASSWORD).then(|| format!("must have at most {MAX_PASSWORD} bytes"))
}

/// What is kept of a password. Takes tens of milliseconds and 19 MiB: never on an event loop.
pub fn hash_password(password: &SecretString) -> Option<String> {
    let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
    hash.map(|hash| hash.to_string()).ok()
}

/// Whether a password is the one of a hash. Without a hash it takes as long and says no. Never on an event loop.
pub fn is_password(password: &SecretString, hash: Option<&str>) -> bool {
    static NOBODYS: OnceLock<Option<String>> = OnceLock::new();
    let known = hash.is_some();
    let Some(hash) =
        hash.or_else(|| NOBODYS.get_or_init(|| hash_password(&SecretString::from("nobody"))).as_deref())
    else {
        return false;
    };
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    let same = Argon2::default().verify_password(password.expose_secret().as_bytes(), &hash).is_ok();
    known && same
}

/// The name somebody signs in with, in the form in which it is kept; none if it cannot be one.
pub fn user_name(text: &str) -> Option<String> {
    let name = text.trim().to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
    (!name.is_empty() && name.len() <= 64 && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_passwords_are_long_and_never_the_same() {
        let (a, b) = (new_key(), new_key());
        assert!(a.expose_secret().starts_with(KEY_PREFIX) && a.expose_secret().len() == 46);
        assert_ne!(a.expose_secret(), b.expose_secret());
        assert_eq!(fingerprint(a.expose_secret()).len(), 64);
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let password = new_password();
        assert!(password_fault(&password).is_none());
        assert_ne!(password.expose_secret(), new_password().expose_secret());
    }

    #[test]
    fn only_the_password_itself_is_taken_and_nobodys_never() {
        let password = SecretString::from("correct horse battery");
        let hash = hash_password(&password).unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(is_password(&password, Some(&hash)));
        assert!(!is_password(&SecretString::from("correct horse batterY"), Some(&hash)));
        assert!(!is_password(&SecretString::from("nobody"), None));
        assert!(!is_password(&password, Some("no hash")));
    }

    #[test]
    fn a_name_is_kept_in_one_form() {
        assert_eq!(user_name(" Maria.Diaz@x "), Some("maria.diaz@x".into()));
        for wrong in ["", "  ", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(user_name(wrong), None, "{wrong}");
        }
    }
}
