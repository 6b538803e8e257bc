//! Proves that a request comes from Twilio: `X-Twilio-Signature` (`twilio.md` section 2).
//!
//! The URL that was signed is built from our configured public address and the raw path and query of the request,
//! never from `Host`: a proxy, or an attacker, may have written that. Nothing here reads a socket or a clock.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// The header that carries the signature.
pub const SIGNATURE_HEADER: &str = "X-Twilio-Signature";

/// The header that names the shared key and the algorithm, where the account uses one.
pub const SETTINGS_HEADER: &str = "X-Twilio-Webhooks-Signature-Settings";

/// The query parameter in which Twilio puts the hash of a JSON body.
const BODY_HASH_PARAMETER: &str = "bodySHA256";

/// Why a [`Verifier`] cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// The public address is not `https://host…` or `http://host…`.
    #[error("the public address must look like https://host or http://host")]
    BaseUrl,
    /// Without the account's token nothing can be verified.
    #[error("the Twilio auth token is not set")]
    NoToken,
}

/// Why a request is not accepted as Twilio's. Never says what signature was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature header is absent or empty.
    #[error("the signature header is missing")]
    Missing,
    /// The signature is not that of this request.
    #[error("the signature does not match")]
    Mismatch,
    /// A JSON body without its hash in the query, or with another.
    #[error("the body does not match its hash")]
    BodyHash,
    /// Signed with a shared key that is not ours.
    #[error("the shared key is not known")]
    UnknownKey,
    /// Signed with an algorithm other than HMAC-SHA1 and HMAC-SHA256.
    #[error("the signature algorithm is not known")]
    Algorithm,
}

impl SignatureError {
    /// The stable word for logs, metrics and the audit trail.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "signature.missing",
            Self::Mismatch => "signature.mismatch",
            Self::BodyHash => "signature.body_hash",
            Self::UnknownKey => "signature.unknown_key",
            Self::Algorithm => "signature.algorithm",
        }
    }
}

/// The signature headers of a request, as received.
#[derive(Clone, Copy, Default)]
pub struct SignatureHeaders<'a> {
    /// `X-Twilio-Signature`.
    pub signature: Option<&'a str>,
    /// `X-Twilio-Webhooks-Signature-Settings`.
    pub settings: Option<&'a str>,
}

impl<'a> SignatureHeaders<'a> {
    /// Only a signature, as every account without a shared key sends it.
    pub const fn new(signature: Option<&'a str>) -> Self {
        Self { signature, settings: None }
    }
}

/// A shared webhook key (`twilio.md` 2.5), keyed for both of its algorithms.
struct SharedKey {
    id: String,
    sha1: Hmac<Sha1>,
    sha256: Hmac<Sha256>,
}

/// Checks Twilio's signatures against our public address and our keys. Holds keys; prints none.
pub struct Verifier {
    secure: bool,
    /// Host, without user info and port.
    host: String,
    /// Host and port; the default port where the address names none.
    host_and_port: String,
    /// What stands in the public address after the host, without a closing slash.
    prefix: String,
    token: Hmac<Sha1>,
    shared: Option<SharedKey>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("secure", &self.secure)
            .field("host", &self.host_and_port)
            .field("prefix", &self.prefix)
            .field("shared", &self.shared.as_ref().map(|key| &key.id))
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for requests to `base_url` (`https://host[:port][/prefix]`). `auth_token` is the account's primary
    /// token; `shared` the id and the secret of a shared webhook key, without which the settings header is ignored.
    pub fn new(
        base_url: &str,
        auth_token: &SecretString,
        shared: Option<(&str, &SecretString)>,
    ) -> Result<Self, VerifierError> {
        let (scheme, rest) = base_url.trim().split_once("://").ok_or(VerifierError::BaseUrl)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(VerifierError::BaseUrl),
        };
        if rest.contains(['?', '#']) {
            return Err(VerifierError::BaseUrl);
        }
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = split_port(authority);
        if host.is_empty() {
            return Err(VerifierError::BaseUrl);
        }
        let port = port.unwrap_or(if secure { "443" } else { "80" });
        let token = keyed(auth_token).ok_or(VerifierError::NoToken)?;
        let shared = match shared {
            None => None,
            Some((id, secret)) => Some(SharedKey {
                id: id.trim().to_owned(),
                sha1: keyed(secret).ok_or(VerifierError::NoToken)?,
                sha256: keyed(secret).ok_or(VerifierError::NoToken)?,
            }),
        };
        Ok(Self {
            secure,
            host: host.to_owned(),
            host_and_port: format!("{host}:{port}"),
            prefix: prefix.trim_end_matches('/').to_owned(),
            token,
            shared,
        })
    }

    /// Verifies a form POST. `params` are all decoded pairs of the body, in any order, empty and repeated ones included;
    /// `path_and_query` is the request's target as it stands on the wire.
    pub fn verify_form<N: AsRef<str>, V: AsRef<str>>(
        &self,
        path_and_query: &str,
        params: &[(N, V)],
        headers: SignatureHeaders<'_>,
    ) -> Result<(), SignatureError> {
        let mut sorted: Vec<(&str, &str)> =
            params.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        sorted.sort_unstable();
        // Of a repeated name each different value counts once.
        sorted.dedup();
        let target = without_fragment(path_and_query);
        let scheme = if self.secure { "https" } else { "http" };
        self.check(headers, scheme, &[&[self.prefix.as_str(), target]], &sorted)
    }

    /// Verifies a GET: all parameters are in the query already.
    pub fn verify_get(
        &self,
        path_and_query: &str,
        headers: SignatureHeaders<'_>,
    ) -> Result<(), SignatureError> {
        self.verify_form::<&str, &str>(path_and_query, &[], headers)
    }

    /// Verifies a POST with a JSON body: the query holds the body's hash, and the signature covers the query.
    pub fn verify_json(
        &self,
        path_and_query: &str,
        body: &[u8],
        headers: SignatureHeaders<'_>,
    ) -> Result<(), SignatureError> {
        let target = without_fragment(path_and_query);
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let claimed = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(BODY_HASH_PARAMETER)?.strip_prefix('='))
            .ok_or(SignatureError::BodyHash)?;
        let hash = hex(&Sha256::digest(body));
        if !bool::from(hash.as_bytes().ct_eq(claimed.as_bytes())) {
            return Err(SignatureError::BodyHash);
        }
        self.verify_get(target, headers)
    }

    /// Verifies the upgrade to a Media Stream (`twilio.md` 2.3): the URL is signed as `wss://`, and Twilio may have put
    /// a slash or the port after it. `path` is the request's target.
    pub fn verify_handshake(&self, path: &str, headers: SignatureHeaders<'_>) -> Result<(), SignatureError> {
        let target = without_fragment(path);
        let scheme = if self.secure { "wss" } else { "ws" };
        let prefix = self.prefix.as_str();
        self.check(headers, scheme, &[&[prefix, target], &[prefix, target, "/"]], &[])
    }

    /// Compares the signature with those of every URL that Twilio may have signed: each of `targets`, with and
    /// without the port.
    fn check(
        &self,
        headers: SignatureHeaders<'_>,
        scheme: &str,
        targets: &[&[&str]],
        params: &[(&str, &str)],
    ) -> Result<(), SignatureError> {
        let given = headers.signature.map(str::trim).filter(|text| !text.is_empty());
        let given = given.ok_or(SignatureError::Missing)?;
        let key = self.key(headers.settings)?;
        let mut equal = Choice::from(0);
        for target in targets {
            for authority in [&self.host, &self.host_and_port] {
                let mut text = vec![scheme, "://", authority];
                text.extend_from_slice(target);
                text.extend(params.iter().flat_map(|&(name, value)| [name, value]));
                equal |= key.signature(&text).as_bytes().ct_eq(given.as_bytes());
            }
        }
        if bool::from(equal) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    /// The key and hash for a request. Its header has a say only where a shared key is configured.
    fn key(&self, settings: Option<&str>) -> Result<Key<'_>, SignatureError> {
        let classic = Key::Sha1(&self.token);
        let (Some(shared), Some(settings)) = (&self.shared, settings) else { return Ok(classic) };
        let setting = |name: &str| {
            settings
                .split(',')
                .filter_map(|part| part.split_once('='))
                .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then_some(value.trim()))
        };
        let Some(algorithm) = setting("algorithm") else { return Ok(classic) };
        if setting("key") != Some(shared.id.as_str()) {
            return Err(SignatureError::UnknownKey);
        }
        match algorithm {
            "HMAC_SHA1" => Ok(Key::Sha1(&shared.sha1)),
            "HMAC_SHA256" => Ok(Key::Sha256(&shared.sha256)),
            _ => Err(SignatureError::Algorithm),
        }
    }
}

/// A key together with its hash.
enum Key<'a> {
    Sha1(&'a Hmac<Sha1>),
    Sha256(&'a Hmac<Sha256>),
}

impl Key<'_> {
    /// The signature of the parts, one after the other, in base64.
    fn signature(&self, parts: &[&str]) -> String {
        match *self {
            Self::Sha1(key) => STANDARD.encode(fed(key, parts).finalize().into_bytes()),
            Self::Sha256(key) => STANDARD.encode(fed(key, parts).finalize().into_bytes()),
        }
    }
}

fn fed<M: Mac + Clone>(key: &M, parts: &[&str]) -> M {
    let mut mac = key.clone();
    for part in parts {
        mac.update(part.as_bytes());
    }
    mac
}

/// A MAC keyed with a secret; none for a secret that is blank.
fn keyed<M: KeyInit>(secret: &SecretString) -> Option<M> {
    // Credentials pasted with a blank are a common fault.
    let secret = secret.expose_secret().trim();
    if secret.is_empty() { None } else { M::new_from_slice(secret.as_bytes()).ok() }
}

/// Splits `host:port`; the colons of an IPv6 address in brackets are not taken for a port's.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, Some(port).filter(|p| !p.is_empty()))
        }
        Some(_) | None => (authority, None),
    }
}

fn without_fragment(target: &str) -> &str {
    target.split_once('#').map_or(target, |(before, _)| before)
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
