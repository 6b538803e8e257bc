//! Under which address Twilio reaches us. Made from configuration, never from what a request claims.

use crate::domain::ids::AdmissionId;
use url::{Host, Url};

/// Why a public address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL with a host.
    #[error("BASE_URL is not a URL such as https://voice.example.com")]
    NotAUrl,
    /// Has a query or a fragment.
    #[error("BASE_URL must not have a query or a fragment")]
    Query,
    /// Plain HTTP beyond this machine.
    #[error("BASE_URL must be https:// (http:// is allowed for loopback addresses only)")]
    Insecure,
}

/// The public address, in the forms in which it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    http: String,
    ws: String,
}

/// The key of the query that names a placed call's admission.
pub const ADMISSION_KEY: &str = "admission";
/// The query that marks such a request.
pub const LAST_RESORT_QUERY: &str = "last=1";

/// Twilio retries call-critical requests on connect failures and 5xx within its 15 s (`twilio.md` 1.3).
const CALL_OVERRIDES: &str = "#rc=2&rp=ct,5xx";
/// Callbacks are lost unless they are retried: three tries fit.
const CALLBACK_OVERRIDES: &str = "#rc=3&rt=4000&rp=ct,rt,5xx";

impl PublicAddress {
    /// Reads `BASE_URL`.
    pub fn parse(base_url: &str) -> Result<Self, AddressError> {
        let url = Url::parse(base_url.trim()).map_err(|_| AddressError::NotAUrl)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Query);
        }
        let loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => return Err(AddressError::NotAUrl),
        };
        let ws_scheme = match url.scheme() {
            "https" => "wss",
            "http" if loopback => "ws",
            "http" => return Err(AddressError::Insecure),
            _ => return Err(AddressError::NotAUrl),
        };
        let http = url.as_str().trim_end_matches('/').to_owned();
        let rest = http.split_once("://").map_or("", |(_, rest)| rest);
        Ok(Self { ws: format!("{ws_scheme}://{rest}"), http })
    }

    /// Where the stream is accepted.
    pub fn stream(&self) -> String {
        format!("{}/voice/stream", self.ws)
    }

    /// Where a call that we place asks what to do once it is answered. Signed like any other query.
    pub fn answered(&self, admission: &AdmissionId) -> String {
        format!("{}/voice/incoming?{ADMISSION_KEY}={admission}{CALL_OVERRIDES}", self.http)
    }

    /// Where the states of a call that we place are reported.
    pub fn placed_status(&self, admission: &AdmissionId) -> String {
        format!("{}/voice/status?{ADMISSION_KEY}={admission}{CALLBACK_OVERRIDES}", self.http)
    }

    /// Where Twilio asks how to go on.
    pub fn go_on(&self) -> String {
        format!("{}/voice/continue{CALL_OVERRIDES}", self.http)
    }

    /// Where Twilio asks how to go on after a dial that was the last resort: nothing of ours comes after it. Signed like
    /// any other query.
    pub fn go_on_after_last_resort(&self) -> String {
        format!("{}/voice/continue?{LAST_RESORT_QUERY}{CALL_OVERRIDES}", self.http)
    }

    /// Where a stream's fate is reported.
    pub fn stream_status(&self) -> String {
        format!("{}/voice/stream-status{CALLBACK_OVERRIDES}", self.http)
    }

    /// The address itself, without a closing slash.
    pub fn base(&self) -> &str {
        &self.http
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_the_urls_twilio_is_told() {
        let a = PublicAddress::parse("https://voice.example.com/desk/").unwrap();
        assert_eq!(a.stream(), "wss://voice.example.com/desk/voice/stream");
        assert_eq!(a.go_on(), "https://voice.example.com/desk/voice/continue#rc=2&rp=ct,5xx");
        assert_eq!(
            a.answered(&"ab12".into()),
            "https://voice.example.com/desk/voice/incoming?admission=ab12#rc=2&rp=ct,5xx"
        );
        assert_eq!(
            a.go_on_after_last_resort(),
            "https://voice.example.com/desk/voice/continue?last=1#rc=2&rp=ct,5xx"
        );
        let a = PublicAddress::parse("http://127.0.0.1:3100").unwrap();
        assert_eq!(a.stream(), "ws://127.0.0.1:3100/voice/stream");
    }

    #[test]
    fn an_address_twilio_cannot_use_is_refused() {
        for (text, error) in [
            ("example.com", AddressError::NotAUrl),
            ("ftp://example.com", AddressError::NotAUrl),
            ("http://example.com", AddressError::Insecure),
            ("https://example.com/?a=1", AddressError::Query),
            ("https://example.com/#x", AddressError::Query),
        ] {
            assert_eq!(PublicAddress::parse(text), Err(error), "{text}");
        }
    }
}
