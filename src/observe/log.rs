//! The log: set up once at start, to standard error, as text or JSON lines.
//!
//! Libraries print headers and bodies at their lower levels, so they are capped whatever the filter says; what is
//! written passes the scrubber besides. Panics are logged by place.

use super::secrets::{ScrubbedWriter, Scrubber};
use super::trace::Carrier;
use crate::config::server::ServerConfig;
use std::io::{self, IsTerminal as _, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Our own target, the only one that may print everything.
const OURS: &str = env!("CARGO_PKG_NAME");

/// Libraries whose debug level was read and found to speak of states only.
const DEBUG: [&str; 3] = ["rustls", "actix_server", "mio"];

/// Longest part of a panic's message that is logged, in characters.
const PANIC: usize = 120;

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("RUST_LOG: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else has taken the process's log.
    #[error("the log is set up already: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets up the process's log and the panic hook.
pub fn init(config: &ServerConfig, scrubber: Scrubber) -> Result<(), LogError> {
    init_with(config, scrubber, None)
}

/// The same, with something that carries the spans away.
pub fn init_with(
    config: &ServerConfig,
    scrubber: Scrubber,
    carrier: Option<Carrier>,
) -> Result<(), LogError> {
    let ansi = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let style = Style { json: config.log_json, ansi };
    dispatch(&config.log, style, ScrubbedWriter { inner: io::stderr, scrubber }, carrier)?.try_init()?;
    log_panics();
    Ok(())
}

/// How lines look.
#[derive(Clone, Copy)]
struct Style {
    json: bool,
    ansi: bool,
}

fn dispatch<M>(filter: &str, style: Style, writer: M, carrier: Option<Carrier>) -> Result<Dispatch, LogError>
where
    M: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter)?.and(ceilings());
    let lines = tracing_subscriber::fmt::layer().with_ansi(style.ansi).with_writer(writer);
    let lines = if style.json { lines.json().boxed() } else { lines.boxed() };
    Ok(Registry::default().with(carrier).with(lines.with_filter(filter)).into())
}

/// The lowest level of each target, which no filter goes below: libraries print what they send and receive.
fn ceilings() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target(OURS, LevelFilter::TRACE)
        .with_targets(DEBUG.map(|target| (target, LevelFilter::DEBUG)))
}

/// Logs panics by place. Arguments and backtraces are left out, and all of the message that may quote a value: a panic
/// in text would quote what a caller said.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        tracing::error!(
            panic.location = %place(info),
            panic.message = %message(info),
            thread = std::thread::current().name().unwrap_or("unnamed"),
            "a thread panicked"
        );
    }));
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.map_or_else(|| "no text".to_owned(), without_values)
}

/// The beginning of a panic's message, up to where it quotes a value.
fn without_values(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let message = message.split_once(": ").map_or(message, |(what, _)| what);
    // "called `Result::unwrap()` on an `Err` value" quotes code.
    let message = match message.starts_with("called `") {
        true => message,
        false => message.split(['`', '"', '\'']).next().unwrap_or_default(),
    };
    message.trim().chars().take(PANIC).collect()
}

/// What was logged, for tests: a buffer that everything is written to.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Everything logged so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Captured {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// Captures this thread's log until the guard is dropped, as the server would write it but without the scrubber: a
/// test must see what is only scrubbed. Other threads are not captured.
pub fn capture(filter: &str) -> Result<(Captured, DefaultGuard), LogError> {
    let captured = Captured::default();
    let dispatch = dispatch(filter, Style { json: false, ansi: false }, captured.clone(), None)?;
    Ok((captured, dispatch.set_default()))
}

/// Captures the whole process's log from now on, as `capture` does; for a test that has its process to itself.
pub fn capture_process(filter: &str) -> Result<Captured, LogError> {
    let captured = Captured::default();
    dispatch(filter, Style { json: false, ansi: false }, captured.clone(), None)?.try_init()?;
    Ok(captured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use awc::http::header;

    #[test]
    fn our_own_lines_are_logged_as_the_filter_says() {
        let (log, _guard) = capture("frontdesk=debug").unwrap();
        tracing::debug!(call.id = "CA1", "call started");
        tracing::trace!("frame sent");
        let text = log.text();
        assert!(text.contains("call started") && text.contains("call.id=\"CA1\""), "{text}");
        assert!(!text.contains("frame sent"), "{text}");
    }

    #[test]
    fn libraries_are_capped_whatever_the_filter_says() {
        for filter in ["trace", "actix_http=trace,awc=trace,h2=trace,rustls=trace,some_new_library=trace"] {
            let (log, _guard) = capture(filter).unwrap();
            tracing::trace!(target: "actix_http::h1::dispatcher", "secret a");
            tracing::debug!(target: "actix_http", "secret b");
            tracing::debug!(target: "h2::codec::framed_write", "secret c");
            tracing::trace!(target: "rustls::client", "secret d");
            tracing::debug!(target: "some_new_library", "secret e");
            tracing::debug!(target: "rustls::client::hs", "suite chosen");
            tracing::info!(target: "actix_server", "starting");
            let text = log.text();
            assert!(!text.contains("secret"), "{filter}: {text}");
            assert!(text.contains("suite chosen"), "{filter}: {text}");
        }
    }

    #[actix::test]
    async fn a_key_in_a_header_is_not_logged_by_the_http_client_at_trace() {
        let (log, _guard) = capture("trace").unwrap();
        let server = actix_test_server();
        // It makes a TLS configuration of its own, which is not used here.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = awc::Client::default();
        let mut response = client
            .post(format!("http://{server}/v1?token=geheim-query"))
            .insert_header((header::AUTHORIZATION, "Token geheim-header"))
            .send_body("geheim-body")
            .await
            .unwrap();
        let _ = response.body().await;
        let refused =
            client.get("http://127.0.0.1:1/geheim-path").insert_header(("xi-api-key", "geheim-key"));
        assert!(refused.send().await.is_err());
        // The client tells of a wrong handshake what it got, through the other logging crate.
        let wrong =
            answering("HTTP/1.1 101 Geheim\r\nupgrade: websocket\r\nconnection: geheim-connection\r\n\r\n");
        assert!(client.ws(format!("ws://{wrong}/")).connect().await.is_err());
        tracing::info!("end of test");
        let text = log.text();
        assert!(text.contains("end of test"));
        assert!(!text.contains("geheim"), "{text}");
    }

    /// A server that gives one connection this answer.
    fn answering(answer: &'static str) -> std::net::SocketAddr {
        use std::io::Read as _;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1_024]);
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.read(&mut [0; 16]);
        });
        address
    }

    fn actix_test_server() -> std::net::SocketAddr {
        use actix_web::{App, HttpResponse, HttpServer, web};
        let server = HttpServer::new(|| {
            App::new()
                .default_service(web::to(|| async { HttpResponse::Unauthorized().body("no geheim-answer") }))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let address = server.addrs()[0];
        actix_rt::spawn(server.run());
        address
    }

    #[test]
    fn json_lines_are_json_and_scrubbed() {
        let captured = Captured::default();
        let scrubber = Scrubber::new(["very-secret-value".to_owned().into()]);
        let writer = ScrubbedWriter { inner: captured.clone(), scrubber };
        let style = Style { json: true, ansi: false };
        let _guard = dispatch("info", style, writer, None).unwrap().set_default();
        tracing::warn!(error = "refused: very-secret-value", "vendor failed");
        let line: serde_json::Value = serde_json::from_str(captured.text().trim()).unwrap();
        assert_eq!(line["fields"]["message"], "vendor failed");
        assert_eq!(line["fields"]["error"], "refused: [REDACTED]");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_an_error() {
        assert!(matches!(capture("frontdesk=loud"), Err(LogError::Filter(_))));
    }

    #[test]
    fn a_panics_message_is_logged_without_the_values_it_quotes() {
        for (message, want) in [
            ("index out of bounds: the len is 3 but the index is 5", "index out of bounds"),
            (
                "called `Result::unwrap()` on an `Err` value: Key(\"sk-1\")",
                "called `Result::unwrap()` on an `Err` value",
            ),
            (
                "byte index 1 is not a char boundary; it is inside 'é' of `my card`",
                "byte index 1 is not a char boundary; it is inside",
            ),
            ("the caller said \"yes\"", "the caller said"),
            ("two\nlines", "two"),
            ("", ""),
        ] {
            assert_eq!(without_values(message), want, "{message}");
        }
        assert_eq!(without_values(&"x".repeat(500)).len(), PANIC);
    }
}
