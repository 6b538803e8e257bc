//! Talks to one host over HTTP: sends requests, bounds every wait, and hands the body to the reader as it arrives.
//!
//! The client that is passed in belongs to the worker thread and is shared by its models. Its connector decides about
//! connections (time to connect, keep-alive, how many); it should speak HTTP/1.1, follow no redirects and have no
//! limit, because a request must not queue behind other calls.

use super::errors::{self, ErrorHead, VENDOR};
use super::reader::AnswerReader;
use super::request::{self, Mode};
use super::rules;
use crate::config::llm::{HostConfig, LlmConfig};
use crate::provider::http::tls_code;
use crate::provider::llm::{ChatDelta, ChatModel, ChatRequest, ChatStream, Completion, JsonShape, gather};
use crate::provider::{ProviderError, ProviderErrorKind};
use actix_http::error::{ParseError, PayloadError};
use actix_http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use awc::error::{ConnectError, SendRequestError};
use bytes::Bytes;
use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::{self, LocalBoxStream, StreamExt as _};
use secrecy::ExposeSecret as _;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};

/// How long the last words (usage, `[DONE]`) of a whole answer are waited for: the caller waits with us.
const TAIL: Duration = Duration::from_millis(500);
/// A whole answer has its head only when it is complete. Nobody on the telephone waits for it.
const WHOLE: Duration = Duration::from_secs(60);
/// What is read of an error's body, bytes.
const ERROR_BODY: usize = 64 << 10;
/// What is read of a body only to keep its connection, bytes.
const DRAIN_BODY: usize = 1 << 20;
/// How long that may take.
const DRAIN: Duration = Duration::from_secs(2);

/// Time limits of a request. The limit to connect is the connector's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To the response's head, connecting included.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub gap: Duration,
}

impl From<&LlmConfig> for Limits {
    fn from(config: &LlmConfig) -> Self {
        Self {
            first_byte: Duration::from_millis(config.first_byte_ms),
            gap: Duration::from_millis(config.gap_ms),
        }
    }
}

/// One model at an OpenAI-compatible host.
pub struct OpenAiModel {
    name: String,
    host: HostConfig,
    summary_model: String,
    summary_name: String,
    endpoint: Rc<Endpoint>,
}

impl std::fmt::Debug for OpenAiModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiModel").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where requests go and how.
struct Endpoint {
    chat: String,
    models: String,
    /// `None` without a key: local servers want none.
    authorization: Result<Option<HeaderValue>, ProviderError>,
    limits: Limits,
    client: awc::Client,
}

type Body = LocalBoxStream<'static, Result<Bytes, PayloadError>>;

impl OpenAiModel {
    /// A model of `host`, reached through the thread's `client`. Nothing is sent yet; a base URL or key that cannot be
    /// used shows in the first request's error.
    pub fn new(host: HostConfig, limits: Limits, client: awc::Client) -> Self {
        let address = url::Url::parse(&host.base_url).ok();
        let domain = address.as_ref().and_then(url::Url::host_str);
        let name = named(domain, &host.model);
        let endpoint = Endpoint {
            chat: url_below(&host.base_url, "chat/completions"),
            models: url_below(&host.base_url, "models"),
            authorization: authorization(&host),
            limits,
            client,
        };
        Self {
            summary_name: name.clone(),
            name,
            summary_model: host.model.clone(),
            host,
            endpoint: Rc::new(endpoint),
        }
    }

    /// Lets [`ChatModel::complete`] ask another model of the same host.
    #[must_use]
    pub fn with_summary_model(mut self, model: impl Into<String>) -> Self {
        self.summary_model = model.into();
        let address = url::Url::parse(&self.host.base_url).ok();
        self.summary_name = named(address.as_ref().and_then(url::Url::host_str), &self.summary_model);
        self
    }

    /// Sends a request and resolves when the head of its answer was checked.
    fn open(
        &self,
        request: &ChatRequest,
        mode: Mode<'_>,
    ) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        let endpoint = Rc::clone(&self.endpoint);
        let body = match rules::check(&request.messages) {
            Ok(()) => request::body(request, &self.host, mode).map_err(|_| refused("unserialisable")),
            Err(violation) => {
                tracing::error!(%violation, "messages break the rules of chat completions");
                Err(refused("invalid_messages"))
            }
        };
        let (head_limit, accept) = match mode {
            Mode::Stream => (endpoint.limits.first_byte, "text/event-stream"),
            Mode::Whole { .. } => (WHOLE, "application/json"),
        };
        Box::pin(async move {
            let body = endpoint.send(body?, head_limit, accept).await?;
            let reading = Reading {
                body: Some(body),
                reader: AnswerReader::new(rand::random()),
                queue: VecDeque::new(),
                gap: endpoint.limits.gap,
                tail_until: None,
            };
            Ok(stream::unfold(reading, Reading::next).boxed_local())
        })
    }
}

impl ChatModel for OpenAiModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn whole_name(&self) -> &str {
        &self.summary_name
    }

    fn chat(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        self.open(request, Mode::Stream)
    }

    fn complete(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let answer = self.open(request, Mode::Whole { model: &self.summary_model, shape: None });
        Box::pin(async move { gather(answer.await?).await })
    }

    fn complete_json(
        &self,
        request: &ChatRequest,
        shape: &JsonShape,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let answer = self.open(request, Mode::Whole { model: &self.summary_model, shape: Some(shape) });
        Box::pin(async move { gather(answer.await?).await })
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        let endpoint = Rc::clone(&self.endpoint);
        Box::pin(async move { endpoint.warm().await })
    }
}

impl Endpoint {
    async fn send(
        &self,
        body: Vec<u8>,
        head_limit: Duration,
        accept: &'static str,
    ) -> Result<Body, ProviderError> {
        let mut request = self
            .client
            .post(&self.chat)
            .timeout(head_limit)
            .insert_header((ACCEPT, HeaderValue::from_static(accept)))
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        if let Some(authorization) = self.authorization.clone()? {
            request = request.insert_header((AUTHORIZATION, authorization));
        }
        let response = request.send_body(body).await.map_err(|error| not_sent(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.boxed_local());
        }
        let headers = response.headers().clone();
        let body = read_up_to(response.boxed_local(), ERROR_BODY).await;
        let error = errors::in_response(
            &ErrorHead {
                status: status.as_u16(),
                retry_after_ms: text(&headers, "retry-after-ms"),
                retry_after: text(&headers, "retry-after"),
                should_retry: text(&headers, "x-should-retry"),
            },
            &body,
            SystemTime::now(),
        );
        let request_id = text(&headers, "x-request-id").unwrap_or_default();
        tracing::warn!(status = status.as_u16(), code = %error.code, request_id, "language model refused a request");
        Err(error)
    }

    /// Leaves a connection in the pool. The list of models is asked for because every host has it and it costs no
    /// tokens; what the host answers does not matter.
    async fn warm(&self) {
        let mut request = self.client.get(&self.models).timeout(self.limits.first_byte);
        if let Ok(Some(authorization)) = self.authorization.clone() {
            request = request.insert_header((AUTHORIZATION, authorization));
        }
        match request.send().await {
            Ok(response) => drain(response.boxed_local()).await,
            Err(error) => tracing::debug!(code = %not_sent(&error).code, "warming a connection failed"),
        }
    }
}

/// An answer on its way. Dropping it drops the body, which closes the connection: the host stops.
struct Reading {
    /// `None` once it ended: a body must not be asked again.
    body: Option<Body>,
    reader: AnswerReader,
    queue: VecDeque<Result<ChatDelta, ProviderError>>,
    gap: Duration,
    /// When the wait for the last words of a whole answer ends.
    tail_until: Option<Instant>,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<ChatDelta, ProviderError>, Self)> {
        loop {
            if let Some(delta) = self.queue.pop_front() {
                return Some((delta, self));
            }
            let whole = self.reader.is_whole();
            let now = Instant::now();
            let limit = if whole {
                // One limit for all of the tail: comments do not prolong it.
                let until = *self.tail_until.get_or_insert(now + TAIL);
                self.gap.min(until.saturating_duration_since(now))
            } else {
                self.gap
            };
            let piece = timeout(limit, self.body.as_mut()?.next()).await;
            let mut out = vec![];
            let ended = !matches!(piece, Ok(Some(Ok(_))));
            let result = match piece {
                Ok(Some(Ok(bytes))) => self.reader.push(&bytes, &mut out),
                // Whatever happens to the tail of a whole answer, the answer stands.
                _ if whole => self.reader.end(&mut out),
                Ok(None) => self.reader.end(&mut out),
                Ok(Some(Err(_))) => Err(failed(ProviderErrorKind::Closed, "body_cut")),
                Err(_) => Err(failed(ProviderErrorKind::Timeout, "gap_timeout")),
            };
            self.queue.extend(out.into_iter().map(Ok));
            if let Err(error) = result {
                self.queue.push_back(Err(error));
                self.body = None;
            } else if ended {
                self.body = None;
            } else if self.reader.is_done()
                && let Some(body) = self.body.take()
            {
                release(body);
            }
        }
    }
}

/// Reads what is left behind `[DONE]`, so that the connection can be used again. Mostly it is there already; if not,
/// nobody waits for it.
fn release(mut body: Body) {
    for _ in 0..16 {
        match body.next().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(_) => return,
            None => {
                actix_rt::spawn(drain(body));
                return;
            }
        }
    }
}

async fn drain(body: Body) {
    read_within(body, DRAIN_BODY, |_| {}).await;
}

async fn read_up_to(body: Body, limit: usize) -> Vec<u8> {
    let mut read = vec![];
    read_within(body, limit, |bytes| read.extend_from_slice(bytes)).await;
    read
}

/// Reads a body to its end, up to `limit` bytes and for at most [`DRAIN`].
async fn read_within(mut body: Body, limit: usize, mut take: impl FnMut(&[u8])) {
    let mut left = limit;
    let reading = async {
        while let Some(Ok(bytes)) = body.next().await {
            let Some(rest) = left.checked_sub(bytes.len()) else { return };
            left = rest;
            take(&bytes);
        }
    };
    // What was read until then is all there is.
    let _ = timeout(DRAIN, reading).await;
}

/// Puts a path below a base URL, before its query if it has one (Azure's `api-version`).
fn url_below(base: &str, path: &str) -> String {
    let (base, query) = base.split_once('?').unwrap_or((base, ""));
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}/{path}{mark}{query}", base.trim_end_matches('/'))
}

/// `host/model`.
fn named(domain: Option<&str>, model: &str) -> String {
    match domain {
        Some(domain) => format!("{domain}/{model}"),
        None => model.to_owned(),
    }
}

fn authorization(host: &HostConfig) -> Result<Option<HeaderValue>, ProviderError> {
    let key = host.api_key.expose_secret().trim();
    if key.is_empty() {
        return Ok(None);
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| failed(ProviderErrorKind::Auth, "unusable_key"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn not_sent(error: &SendRequestError) -> ProviderError {
    use ProviderErrorKind::{Closed, Protocol, Refused, Timeout, Unreachable};
    let (kind, code) = match error {
        SendRequestError::Url(_) => (Refused, "bad_url"),
        SendRequestError::Connect(error) => match error {
            ConnectError::Timeout => (Timeout, "connect_timeout"),
            ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved => {
                (Unreachable, "dns")
            }
            ConnectError::SslIsNotSupported => (Unreachable, "no_tls"),
            // A pooled connection that the host closed just now.
            ConnectError::Disconnected => (Closed, "closed_before_head"),
            ConnectError::Io(error) => (Unreachable, tls_code(error).unwrap_or("connect_failed")),
            _ => (Unreachable, "connect_failed"),
        },
        SendRequestError::Timeout => (Timeout, "first_byte_timeout"),
        SendRequestError::Response(ParseError::Io(_) | ParseError::Incomplete) => {
            (Closed, "closed_before_head")
        }
        SendRequestError::Response(_) => (Protocol, "bad_head"),
        _ => (Closed, "closed_before_head"),
    };
    failed(kind, code)
}

fn failed(kind: ProviderErrorKind, code: &str) -> ProviderError {
    ProviderError::new(VENDOR, kind, code)
}

fn refused(code: &str) -> ProviderError {
    failed(ProviderErrorKind::Refused, code)
}

#[cfg(test)]
mod tests;
