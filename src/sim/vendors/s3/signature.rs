//! AWS Signature Version 4 in the `Authorization` header, checked from the request as it came (AWS: "Create a signed AWS API
//! request", "Authenticating Requests: Using the Authorization Header").

use super::{Refused, S3Config, bad};
use actix_web::HttpRequest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// How far a request's time may lie from ours, s.
const SKEW_S: i64 = 15 * 60;

/// The digest of bytes, in hexadecimal.
pub(super) fn hex_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length will do.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn denied(message: impl Into<String>) -> Refused {
    Refused(403, "AccessDenied", message.into())
}

/// Checks who asks, when, and that nothing was changed on the way.
pub(super) fn check(config: &S3Config, req: &HttpRequest, body: &[u8]) -> Result<(), Refused> {
    check_at(config, req, body, jiff::Timestamp::now().as_second())
}

/// The same at a time, s since 1970.
pub(super) fn check_at(config: &S3Config, req: &HttpRequest, body: &[u8], now_s: i64) -> Result<(), Refused> {
    let header = |name: &str| req.headers().get(name).and_then(|value| value.to_str().ok());
    let authorization = header("authorization").ok_or_else(|| denied("the request is not signed"))?;
    let fields = authorization
        .strip_prefix(ALGORITHM)
        .ok_or_else(|| denied(format!("the algorithm must be {ALGORITHM}")))?;
    let field =
        |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let malformed = || Refused(400, "AuthorizationHeaderMalformed", authorization.to_owned());
    let (credential, signed, signature) = field("Credential")
        .zip(field("SignedHeaders"))
        .zip(field("Signature"))
        .map(|((credential, signed), signature)| (credential, signed, signature))
        .ok_or_else(malformed)?;
    let (id, scope) = credential.split_once('/').ok_or_else(malformed)?;
    if id != config.access_key_id {
        return Err(Refused(403, "InvalidAccessKeyId", id.to_owned()));
    }
    let time = header("x-amz-date").ok_or_else(|| denied("x-amz-date is missing"))?;
    check_time(time, now_s)?;
    let day = time.get(..8).unwrap_or_default();
    if scope != format!("{day}/{}/s3/aws4_request", config.region) {
        return Err(malformed());
    }
    let digest = header("x-amz-content-sha256").ok_or_else(|| denied("x-amz-content-sha256 is missing"))?;
    if digest != UNSIGNED && digest != hex_digest(body) {
        return Err(bad("XAmzContentSHA256Mismatch", "the body is not the one that was signed"));
    }
    let names: Vec<&str> = signed.split(';').collect();
    if !names.is_sorted() {
        return Err(malformed());
    }
    let amz = req.headers().keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-"));
    if let Some(unsigned) = amz.chain(["host"]).find(|name| !names.contains(name)) {
        return Err(denied(format!("{unsigned} is not signed")));
    }
    let mut headers = String::new();
    for name in &names {
        let value = header(name).ok_or_else(|| denied(format!("{name} is signed and not there")))?;
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(headers, "{name}:{value}");
    }
    let mut query: Vec<&str> = req.query_string().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let request = format!(
        "{}\n{}\n{}\n{headers}\n{signed}\n{digest}",
        req.method(),
        req.uri().path(),
        query.join("&"),
    );
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex_digest(request.as_bytes()));
    let key = format!("AWS4{}", config.secret_access_key).into_bytes();
    let key = scope.split('/').fold(key, |key, part| mac(&key, part));
    if signature != hex(&mac(&key, &text)) {
        return Err(Refused(
            403,
            "SignatureDoesNotMatch",
            "the signature is not that of this request".to_owned(),
        ));
    }
    Ok(())
}

fn check_time(text: &str, now_s: i64) -> Result<(), Refused> {
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text)
        .ok()
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok())
        .ok_or_else(|| denied(format!("x-amz-date {text:?} is no time")))?;
    let away = at.timestamp().as_second().saturating_sub(now_s);
    match away.abs() > SKEW_S {
        true => Err(Refused(403, "RequestTimeTooSkewed", text.to_owned())),
        false => Ok(()),
    }
}
