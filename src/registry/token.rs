//! The token that binds a stream to its admission.
//!
//! It travels in `<Parameter>` and comes back in `start.customParameters`: a signed statement of the call, its parties
//! and the epoch the stream is to own. Pure but for the hash; whether it was used before is the roster's business.

use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::{AdmissionId, CallSid, Epoch};
use crate::domain::phone::CallerId;
use crate::domain::time::UnixMillis;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// What a token states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The call.
    #[serde(rename = "c")]
    pub sid: CallSid,
    /// Its admission.
    #[serde(rename = "a")]
    pub admission: AdmissionId,
    /// What carries it.
    #[serde(rename = "k")]
    pub kind: CallKind,
    /// Who placed it.
    #[serde(rename = "d")]
    pub direction: Direction,
    /// The other party as Twilio named it.
    #[serde(rename = "f")]
    pub from: String,
    /// The business's number.
    #[serde(rename = "t")]
    pub to: String,
    /// The owner the stream is to become.
    #[serde(rename = "e")]
    pub epoch: Epoch,
    /// Not good after this.
    #[serde(rename = "x")]
    pub expires: UnixMillis,
}

/// Longest foreign text taken into a token, in bytes of JSON: with identifiers of Twilio's full 128 characters and the
/// largest numbers the token has 490 characters at most, and Twilio takes 499 with the parameter's name.
const MAX_PARTY: usize = 36;

impl Claims {
    /// The statement for the next stream of a call.
    pub fn of(facts: &CallFacts, expires: UnixMillis) -> Self {
        Self {
            sid: facts.sid.clone(),
            admission: facts.admission.clone(),
            kind: facts.kind,
            direction: facts.direction,
            from: fitting(&facts.caller.as_raw()),
            to: fitting(&facts.business_number),
            epoch: facts.epoch,
            expires,
        }
    }

    /// The other party, understood.
    pub fn caller(&self) -> CallerId {
        CallerId::classify(&self.from)
    }

    /// What is known of the call by this alone. When it was let in is not stated: `now` stands for it.
    pub fn facts(&self, now: UnixMillis) -> CallFacts {
        CallFacts {
            sid: self.sid.clone(),
            admission: self.admission.clone(),
            kind: self.kind,
            direction: self.direction,
            caller: self.caller(),
            business_number: self.to.clone(),
            admitted_at: now,
            epoch: self.epoch,
        }
    }
}

/// The beginning of a text that has no more bytes than [`MAX_PARTY`] in JSON.
fn fitting(text: &str) -> String {
    let mut room = MAX_PARTY;
    text.chars()
        .take_while(|&c| {
            let bytes = match c {
                '"' | '\\' => 2,
                c if c.is_control() => 6,
                c => c.len_utf8(),
            };
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            fits
        })
        .collect()
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none, or it is not of our making.
    #[error("the token is not valid")]
    Invalid,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
}

/// Signs and reads tokens. Several secrets verify, the first signs.
#[derive(Clone)]
pub struct Tokens {
    keys: Vec<[u8; 32]>,
}

impl Tokens {
    /// Derives a key from each of the server's secrets.
    pub fn new(secrets: &[SecretString]) -> Self {
        let keys = secrets
            .iter()
            .map(|secret| secret.expose_secret().trim())
            .filter(|secret| !secret.is_empty())
            .map(|secret| tag(secret.as_bytes(), b"frontdesk stream token v1"))
            .collect();
        Self { keys }
    }

    /// A token for these claims; none if there is no secret.
    pub fn sign(&self, claims: &Claims) -> Option<String> {
        let key = self.keys.first()?;
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).ok()?);
        let signature = URL_SAFE_NO_PAD.encode(tag(key, body.as_bytes()));
        Some(format!("{body}.{signature}"))
    }

    /// What a token states, if it is ours and still good.
    pub fn read(&self, token: &str, now: UnixMillis) -> Result<Claims, TokenError> {
        let (body, signature) = token.split_once('.').ok_or(TokenError::Invalid)?;
        let given = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Invalid)?;
        let genuine =
            self.keys.iter().any(|key| bool::from(tag(key, body.as_bytes()).as_slice().ct_eq(&given)));
        if !genuine {
            return Err(TokenError::Invalid);
        }
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Invalid)?;
        let claims: Claims = serde_json::from_slice(&bytes).map_err(|_| TokenError::Invalid)?;
        if claims.expires < now { Err(TokenError::Expired) } else { Ok(claims) }
    }
}

fn tag(key: &[u8], message: &[u8]) -> [u8; 32] {
    match <Hmac<Sha256> as KeyInit>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().into()
        }
        // HMAC takes keys of any length; the type cannot say so.
        Err(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            sid: "CA00000000000000000000000000000001".into(),
            admission: "0123456789abcdef0123456789abcdef".into(),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            from: "+12025550143".into(),
            to: "+12025550100".into(),
            epoch: Epoch(1),
            expires: UnixMillis(1_000),
        }
    }

    /// As the server makes them of its setting.
    fn tokens(secret: &str) -> Tokens {
        let config = crate::config::server::ServerConfig {
            secret: Some(SecretString::from(secret.to_owned())),
            ..Default::default()
        };
        Tokens::new(&config.secrets())
    }

    #[test]
    fn a_token_fits_a_parameter_whatever_the_parties_are_called() {
        let longest = "C".repeat(128);
        for name in [
            "+12025550143",
            &"ä€😀".repeat(50),
            &"\"\\".repeat(50),
            &"\u{1}\u{7f}".repeat(50),
            &"x".repeat(500),
        ] {
            let facts = CallFacts {
                sid: CallSid::from(longest.as_str()),
                admission: "f".repeat(32).as_str().into(),
                kind: CallKind::Simulated,
                direction: Direction::Outbound,
                caller: CallerId::Raw(name.into()),
                business_number: name.into(),
                admitted_at: UnixMillis(0),
                epoch: Epoch(u32::MAX),
            };
            let claims = Claims::of(&facts, UnixMillis(i64::MAX));
            assert!(name.starts_with(&claims.to));
            assert!(claims.to.chars().count() >= 6, "{}", claims.to);
            let token = tokens("s1").sign(&claims).unwrap();
            assert!(token.len() <= 490, "{name}: {}", token.len());
            assert_eq!(tokens("s1").read(&token, UnixMillis(0)), Ok(claims));
        }
    }

    #[test]
    fn a_token_comes_back_as_it_was_and_fits_a_parameter() {
        let token = tokens("s1").sign(&claims()).unwrap();
        assert!(token.len() < 490, "{}", token.len());
        assert_eq!(tokens("s1").read(&token, UnixMillis(1_000)), Ok(claims()));
        assert_eq!(tokens("s2, s1").read(&token, UnixMillis(0)), Ok(claims()), "an older secret verifies");
    }

    #[test]
    fn a_forged_foreign_or_old_token_is_refused() {
        let token = tokens("s1").sign(&claims()).unwrap();
        assert_eq!(tokens("s1").read(&token, UnixMillis(1_001)), Err(TokenError::Expired));
        assert_eq!(tokens("s2").read(&token, UnixMillis(0)), Err(TokenError::Invalid));
        let forged = format!("A{token}");
        assert_eq!(tokens("s1").read(&forged, UnixMillis(0)), Err(TokenError::Invalid));
        for junk in ["", ".", "a.b", "ä.ö"] {
            assert_eq!(tokens("s1").read(junk, UnixMillis(0)), Err(TokenError::Invalid));
        }
        assert_eq!(tokens("").sign(&claims()), None);
        assert_eq!(tokens("").read(&token, UnixMillis(0)), Err(TokenError::Invalid));
    }
}
