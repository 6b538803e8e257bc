//! `frontdesk health`: asks a server on this machine whether it lives. For a container's health check, which has no
//! other program to do so.

use super::HealthArgs;
use super::environment::Inputs;
use crate::config::Config;
use crate::provider::http::{self, VendorTls};
use anyhow::{Context as _, bail, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;
use url::Url;

/// How long the whole of it may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Most of the answer that is shown, bytes.
const SHOWN: usize = 4 * 1024;

/// Asks, and ends with 0 if the answer was yes.
pub fn run(args: &HealthArgs, inputs: &Inputs) -> anyhow::Result<ExitCode> {
    // Whether the settings are right is for `check-config` to say: the server runs.
    let config = inputs.load().config;
    let question = Question::of(args, &config)?;
    let tls = VendorTls::new(question.trust.as_deref()).context("TLS_EXTRA_CA, TLS_CERT")?;
    let answer = actix_web::rt::System::new().block_on(async {
        tokio::time::timeout(PATIENCE, ask(&question, &tls))
            .await
            .unwrap_or_else(|_| bail!("{}: no answer within {} s", question.url, PATIENCE.as_secs()))
    })?;
    println!("{answer}");
    Ok(ExitCode::SUCCESS)
}

/// What is asked, and of whom.
#[derive(Debug)]
struct Question {
    url: Url,
    /// The port of this machine, whatever the name in the URL stands for elsewhere.
    address: Option<SocketAddr>,
    /// Authorities trusted beside the usual ones, PEM.
    trust: Option<Vec<u8>>,
}

impl Question {
    fn of(args: &HealthArgs, config: &Config) -> anyhow::Result<Self> {
        let path = if args.ready { "/api/ready" } else { "/api/health" };
        let (mut url, address) = match &args.url {
            Some(given) => (Url::parse(given).with_context(|| format!("--url {given}"))?, None),
            None => {
                let address = SocketAddr::new(own_ip(&config.server.host), config.server.port);
                let url = match config.server.tls_cert {
                    // The certificate is for the public name.
                    Some(_) => {
                        let public = Url::parse(&config.server.base_url).context("BASE_URL")?;
                        format!("https://{}:{}", public.host_str().context("BASE_URL")?, address.port())
                    }
                    None => format!("http://{address}"),
                };
                (Url::parse(&url).context("BASE_URL")?, Some(address))
            }
        };
        ensure!(matches!(url.scheme(), "http" | "https"), "--url: {url} is not http:// or https://");
        let beneath = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{beneath}{path}"));
        let mut trust = Vec::new();
        // Its own certificate is what the server is to show, whoever has signed it.
        for file in [&config.server.tls_extra_ca, &config.server.tls_cert].into_iter().flatten() {
            trust.extend(std::fs::read(file).with_context(|| format!("cannot read {file}"))?);
            trust.push(b'\n');
        }
        Ok(Self { url, address, trust: (!trust.is_empty()).then_some(trust) })
    }
}

/// Where a server that listens on `host` is reached from this machine.
fn own_ip(host: &str) -> IpAddr {
    match host.parse() {
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.into(),
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) | Err(_) => Ipv4Addr::LOCALHOST.into(),
        Ok(ip) => ip,
    }
}

async fn ask(question: &Question, tls: &VendorTls) -> anyhow::Result<String> {
    let url = question.url.as_str();
    let mut request = http::build(tls, PATIENCE).http.get(url);
    if let Some(address) = question.address {
        request = request.address(address);
    }
    let mut answer = request.send().await.map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
    let status = answer.status();
    let body = answer.body().limit(SHOWN).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    ensure!(status.is_success(), "{url}: {status} {text}");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(args: &HealthArgs, change: impl FnOnce(&mut Config)) -> (String, Option<String>) {
        let mut config = Config::default();
        change(&mut config);
        let question = Question::of(args, &config).unwrap();
        (question.url.to_string(), question.address.map(|address| address.to_string()))
    }

    #[test]
    fn the_server_of_these_settings_is_asked_unless_another_is_named() {
        let usual = HealthArgs::default();
        let (asked, address) = url(&usual, |_| {});
        assert_eq!(
            (asked.as_str(), address.as_deref()),
            ("http://127.0.0.1:3100/api/health", Some("127.0.0.1:3100"))
        );
        for (host, expected) in [
            ("0.0.0.0", "127.0.0.1:80"),
            ("::", "[::1]:80"),
            ("10.0.0.7", "10.0.0.7:80"),
            ("desk", "127.0.0.1:80"),
        ] {
            let (_, address) = url(&usual, |config| {
                config.server.host = host.to_owned();
                config.server.port = 80;
            });
            assert_eq!(address.as_deref(), Some(expected), "{host}");
        }
        let other = HealthArgs { url: Some("https://desk.example.com/base/".into()), ready: true };
        assert_eq!(url(&other, |_| {}), ("https://desk.example.com/base/api/ready".into(), None));
        let wrong = HealthArgs { url: Some("ftp://x".into()), ready: false };
        assert!(Question::of(&wrong, &Config::default()).is_err());
    }
}
