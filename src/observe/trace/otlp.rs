//! OTLP over HTTP with protobuf bodies, by this program's own HTTP client on a thread of its own.
//!
//! The library's batches leave from the library's thread, which waits for ours; event loops are not involved. What cannot be
//! sent in time is dropped: traces are never worth a caller's wait.

use super::{Carrier, TraceError};
use crate::config::observe::ObserveConfig;
use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::layer::Layer as _;
use tracing_subscriber::registry::Registry;

/// The path of traces (OTLP specification, OTLP/HTTP).
const PATH: &str = "/v1/traces";
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// How long the end waits for the last batch.
const LAST: Duration = Duration::from_secs(6);
/// Requests that may wait for our thread: the library sends one after the other.
const WAITING: usize = 4;
/// Longest answer that is read, bytes.
const ANSWER: usize = 64 << 10;

/// What is running.
#[derive(Debug)]
pub(super) struct Sending(SdkTracerProvider);

impl Sending {
    pub(super) fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last traces may not have been sent");
        }
    }
}

/// Begins to send to a collector.
pub(super) fn start(endpoint: &str, config: &ObserveConfig) -> Result<(Carrier, Sending), TraceError> {
    let told = |error: &dyn std::fmt::Display| TraceError(error.to_string());
    let client = Client::start().map_err(|error| told(&error))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(format!("{}{PATH}", endpoint.trim_end_matches('/')))
        .with_timeout(REQUEST)
        .build()
        .map_err(|error| told(&error))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(config.otlp_queue)
        .with_max_export_batch_size(config.otlp_queue.min(512))
        .with_scheduled_delay(Duration::from_millis(config.otlp_ms))
        .build();
    let resource = Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .with_resource(resource)
        .build();
    // Spans and no events: what is logged may name what a trace is not to hold.
    let ours = Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("frontdesk", LevelFilter::INFO)
        .with_target("frontdesk::trace", LevelFilter::TRACE);
    let ours = FilterExt::<Registry>::and(ours, filter_fn(|metadata: &Metadata<'_>| metadata.is_span()));
    let layer = tracing_opentelemetry::layer::<Registry>()
        .with_tracer(provider.tracer("frontdesk"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    let carrier: Carrier = Box::new(layer.with_filter(ours));
    Ok((carrier, Sending(provider)))
}

pub(super) fn attribute(span: &Span, key: &'static str, value: &str) {
    span.set_attribute(key, value.to_owned());
}

pub(super) fn list(span: &Span, key: &'static str, values: &[&'static str]) {
    let values = values.iter().map(|value| StringValue::from(*value)).collect();
    span.set_attribute(key, Value::Array(Array::String(values)));
}

type Asked = (Request<Bytes>, oneshot::Sender<Result<Response<Bytes>, String>>);

/// The way to our thread.
#[derive(Clone, Debug)]
struct Client(mpsc::Sender<Asked>);

impl Client {
    fn start() -> std::io::Result<Self> {
        let (tell, mut told) = mpsc::channel::<Asked>(WAITING);
        std::thread::Builder::new().name("otlp".into()).spawn(move || {
            let runtime = match actix_rt::Runtime::new() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "traces cannot be sent");
                    return;
                }
            };
            runtime.block_on(async move {
                // Where several are linked the client would not know which to take, and panic.
                drop(rustls::crypto::ring::default_provider().install_default());
                let client = awc::Client::builder().timeout(REQUEST).disable_redirects().finish();
                // Ends when the last sender is dropped, with the exporter.
                while let Some((request, answer)) = told.recv().await {
                    let sent = tokio::time::timeout(REQUEST, send(&client, request)).await;
                    let _ = answer.send(sent.unwrap_or_else(|_| Err("no answer in time".to_owned())));
                }
            });
        })?;
        Ok(Self(tell))
    }
}

/// Sends one request. The library's types of HTTP are of another version than the client's.
async fn send(client: &awc::Client, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
    let (head, body) = request.into_parts();
    let mut sending = client.post(head.uri.to_string());
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            sending = sending.insert_header((name.as_str(), value));
        }
    }
    let mut answer = sending.send_body(body).await.map_err(|error| error.to_string())?;
    let body = answer.body().limit(ANSWER).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    Response::builder().status(status).body(body).map_err(|error| error.to_string())
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    // Written as the trait's own macro would write it.
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sent<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let tell = self.0.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            tell.send((request, answer))
                .await
                .map_err(|_| HttpError::from("traces are not sent any more"))?;
            let sent = answered.await.map_err(|_| HttpError::from("traces are not sent any more"))?;
            sent.map_err(HttpError::from)
        })
    }
}
