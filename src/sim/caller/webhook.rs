//! Twilio's HTTP requests to the server: signed forms, with the retries that a URL's fragment asks for.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout};
use url::Url;

use super::report::WebhookReport;
use super::sign::sign;
use super::twiml::MAX_BYTES;

/// The whole exchange, retries included.
const LIMIT: Duration = Duration::from_secs(15);

/// Request parameters, in order.
pub(super) type Params = Vec<(String, String)>;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// `Content-Type`, lower case, without parameters.
    pub(super) content_type: Option<String>,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// What a failed attempt was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Connect,
    Timeout,
    Client,
    Server,
}

/// The fragment of a webhook URL: `#rc=2&rp=ct,rt,5xx`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Overrides {
    retries: u32,
    connect_ms: u64,
    read_ms: u64,
    total_ms: u64,
    policy: Vec<String>,
}

impl Overrides {
    fn parse(fragment: Option<&str>) -> Self {
        let mut overrides = Self {
            retries: 1,
            connect_ms: 5_000,
            read_ms: 15_000,
            total_ms: 15_000,
            policy: vec!["ct".to_owned()],
        };
        for pair in fragment.unwrap_or_default().split('&') {
            let Some((key, value)) = pair.split_once('=') else { continue };
            let number = || value.parse::<u64>().ok();
            match key {
                "rc" => overrides.retries = number().map_or(1, |n| n.min(5) as u32),
                "ct" => overrides.connect_ms = number().map_or(5_000, |n| n.clamp(100, 10_000)),
                "rt" => overrides.read_ms = number().map_or(15_000, |n| n.clamp(100, 15_000)),
                "tt" => overrides.total_ms = number().map_or(15_000, |n| n.clamp(100, 15_000)),
                "rp" => overrides.policy = value.split(',').map(str::to_owned).collect(),
                _ => {}
            }
        }
        overrides
    }

    fn retries(&self, trouble: Trouble) -> bool {
        let name = match trouble {
            Trouble::Connect => "ct",
            Trouble::Timeout => "rt",
            Trouble::Client => "4xx",
            Trouble::Server => "5xx",
        };
        self.policy.iter().any(|entry| entry == name || entry == "all")
    }
}

/// Sends requests for one call.
#[derive(Clone)]
pub(super) struct Webhooks {
    http: awc::Client,
    token: SecretString,
    base_url: String,
    public_url: Option<String>,
    began: Instant,
    log: Rc<RefCell<Vec<WebhookReport>>>,
}

impl Webhooks {
    pub(super) fn new(
        http: awc::Client,
        token: SecretString,
        base_url: &str,
        public_url: Option<&str>,
        began: Instant,
    ) -> Self {
        let trim = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            http,
            token,
            base_url: trim(base_url),
            public_url: public_url.map(trim),
            began,
            log: Rc::default(),
        }
    }

    /// The server's public URL, which it signs and is asked by.
    pub(super) fn public(&self) -> &str {
        self.public_url.as_deref().unwrap_or(&self.base_url)
    }

    /// A URL as Twilio knows it: relative ones against the document's.
    pub(super) fn resolve(document: &str, url: &str) -> String {
        if url.contains("://") {
            return url.to_owned();
        }
        let document = document.split('#').next().unwrap_or_default();
        Url::parse(document)
            .and_then(|base| base.join(url))
            .map_or_else(|_| url.to_owned(), |joined| joined.to_string())
    }

    /// Where a public URL is really reached.
    pub(super) fn reach(&self, url: &str) -> String {
        let Some(public) = &self.public_url else { return url.to_owned() };
        let as_stream = |url: &str| {
            url.strip_prefix("http").map(|rest| format!("ws{rest}")).unwrap_or_else(|| url.to_owned())
        };
        for (public, base) in
            [(public.clone(), self.base_url.clone()), (as_stream(public), as_stream(&self.base_url))]
        {
            if let Some(rest) = url.strip_prefix(&public) {
                return format!("{base}{rest}");
            }
        }
        url.to_owned()
    }

    /// Signs a stream's URL.
    pub(super) fn sign_stream(&self, url: &str) -> String {
        sign(self.token.expose_secret(), url, [])
    }

    /// Sends a request and gives the answer, whatever its status.
    pub(super) async fn send(&self, url: &str, method: &str, params: &Params) -> Result<Answer, String> {
        let (bare, fragment) = match url.split_once('#') {
            Some((bare, fragment)) => (bare, Some(fragment)),
            None => (url, None),
        };
        let overrides = Overrides::parse(fragment);
        let asked = Instant::now();
        let total = LIMIT.min(Duration::from_millis(overrides.total_ms));
        let event = format!("{:032x}", rand::random::<u128>());
        let mut attempts = 0;
        let outcome = loop {
            attempts += 1;
            let left = total.saturating_sub(asked.elapsed());
            let attempt = self.attempt(bare, method, params, &overrides, &event);
            let result = match timeout(left, attempt).await {
                Ok(result) => result,
                Err(_) => Err((Trouble::Timeout, "11205 no answer in time".to_owned())),
            };
            let trouble = match &result {
                Ok(answer) if answer.status >= 500 => Some(Trouble::Server),
                Ok(answer) if answer.status >= 400 => Some(Trouble::Client),
                Ok(_) => None,
                Err((trouble, _)) => Some(*trouble),
            };
            let again = trouble.is_some_and(|trouble| overrides.retries(trouble));
            if !again || attempts > overrides.retries || asked.elapsed() >= total {
                break result.map_err(|(_, why)| why);
            }
        };
        let path = Url::parse(bare).map_or_else(
            |_| bare.to_owned(),
            |url| {
                let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
                format!("{}{query}", url.path())
            },
        );
        self.log.borrow_mut().push(WebhookReport {
            at_ms: asked.duration_since(self.began).as_secs_f64() * 1_000.0,
            path,
            status: outcome.as_ref().map_or(0, |answer| answer.status),
            took_ms: asked.elapsed().as_secs_f64() * 1_000.0,
            attempts,
            error: outcome.as_ref().err().cloned(),
        });
        outcome
    }

    async fn attempt(
        &self,
        url: &str,
        method: &str,
        params: &Params,
        overrides: &Overrides,
        event: &str,
    ) -> Result<Answer, (Trouble, String)> {
        let pairs = || params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs()).finish();
        let (url, signature) = if method == "GET" {
            let join = if url.contains('?') { '&' } else { '?' };
            let url = format!("{url}{join}{form}");
            let signature = sign(self.token.expose_secret(), &url, []);
            (url, signature)
        } else {
            (url.to_owned(), sign(self.token.expose_secret(), &url_to_sign(url), pairs()))
        };
        let reached = self.reach(&url);
        let request = if method == "GET" { self.http.get(&reached) } else { self.http.post(&reached) };
        let request = request
            .insert_header(("user-agent", "TwilioProxy/1.1"))
            .insert_header(("x-twilio-signature", signature))
            .insert_header(("i-twilio-idempotency-token", event));
        let sent = if method == "GET" {
            request.send()
        } else {
            request
                .insert_header(("content-type", "application/x-www-form-urlencoded; charset=UTF-8"))
                .send_body(form)
        };
        let patience = Duration::from_millis(overrides.connect_ms.saturating_add(overrides.read_ms));
        let mut response = match timeout(patience, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error @ awc::error::SendRequestError::Connect(_))) => {
                return Err((Trouble::Connect, format!("11200 connection: {error}")));
            }
            Ok(Err(error)) => return Err((Trouble::Timeout, format!("11200 {error}"))),
            Err(_) => return Err((Trouble::Timeout, "11205 no answer in time".to_owned())),
        };
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let status = response.status().as_u16();
        let patience = Duration::from_millis(overrides.read_ms);
        let body = match timeout(patience, response.body().limit(MAX_BYTES * 4)).await {
            Ok(Ok(body)) => body.to_vec(),
            Ok(Err(error)) => return Err((Trouble::Timeout, format!("11200 body: {error}"))),
            Err(_) => return Err((Trouble::Timeout, "11205 the body stopped".to_owned())),
        };
        Ok(Answer { status, content_type, body })
    }

    /// What has been sent so far.
    pub(super) fn take_log(&self) -> Vec<WebhookReport> {
        let mut log = self.log.take();
        log.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        log
    }
}

/// Voice over HTTPS is signed without the port.
fn url_to_sign(url: &str) -> String {
    let Some(rest) = url.strip_prefix("https://") else { return url.to_owned() };
    let (host, path) = match rest.find(['/', '?']) {
        Some(end) => rest.split_at(end),
        None => (rest, ""),
    };
    let bare = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    format!("https://{bare}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_overrides_the_retries() {
        let plain = Overrides::parse(None);
        assert_eq!((plain.retries, plain.read_ms), (1, 15_000));
        assert!(plain.retries(Trouble::Connect) && !plain.retries(Trouble::Server));
        let more = Overrides::parse(Some("rc=3&rt=4000&rp=ct,rt,5xx"));
        assert_eq!((more.retries, more.read_ms), (3, 4_000));
        assert!(more.retries(Trouble::Server) && more.retries(Trouble::Timeout));
        assert!(!more.retries(Trouble::Client));
        assert_eq!(Overrides::parse(Some("rc=9")).retries, 5);
        assert!(Overrides::parse(Some("rp=all")).retries(Trouble::Client));
    }

    #[test]
    fn a_port_is_not_signed_over_https() {
        assert_eq!(url_to_sign("https://h:8443/a?b=c:d"), "https://h/a?b=c:d");
        assert_eq!(url_to_sign("https://h/a"), "https://h/a");
        assert_eq!(url_to_sign("http://127.0.0.1:3100/a"), "http://127.0.0.1:3100/a");
    }

    #[test]
    fn relative_urls_are_resolved_against_the_document() {
        let resolve = |url| Webhooks::resolve("https://h/voice/incoming#rc=1", url);
        assert_eq!(resolve("/voice/continue"), "https://h/voice/continue");
        assert_eq!(resolve("continue"), "https://h/voice/continue");
        assert_eq!(resolve("https://other/x#rc=2"), "https://other/x#rc=2");
    }
}
