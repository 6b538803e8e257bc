//! `X-Twilio-Signature` as Twilio makes it: HMAC-SHA1 over the URL and, for a form, its sorted parameters.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// Signs a request: `url` as requested, without fragment; `params` of a form, decoded, or none.
#[must_use]
pub fn sign<'a>(token: &str, url: &str, params: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut sorted: Vec<(&str, &str)> = params.into_iter().collect();
    sorted.sort_unstable();
    // A name that repeats counts each different value once.
    sorted.dedup();
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(token.as_bytes()) else { return String::new() };
    mac.update(url.as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_documentation_come_out() {
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        let params = [
            ("Digits", "1234"),
            ("To", "+18005551212"),
            ("From", "+14158675310"),
            ("Caller", "+14158675310"),
            ("CallSid", "CA1234567890ABCDE"),
        ];
        assert_eq!(sign("12345", url, params), "L/OH5YylLD5NRKLltdqwSvS0BnU=");
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let repeated = [
            ("Sid", "CA123"),
            ("SidAccount", "AC123"),
            ("Digits", "5678"),
            ("Digits", "1234"),
            ("Digits", "1234"),
        ];
        assert_eq!(sign("12345", url, repeated), "IK+Dwps556ElfBT0I3Rgjkr1wJU=");
    }

    #[test]
    fn a_stream_is_signed_over_its_wss_url() {
        let signed = sign("00112233445566778899aabbccddeeff", "wss://voice.example.com/twilio/stream", []);
        assert_eq!(signed, "PNhj161vO/gdleP6uPT/5FpyklI=");
    }
}
