//! Traces: spans of calls, sent by OTLP where the binary was built with the feature `otel` and a collector is set.
//!
//! Spans are `tracing`'s, made where things happen; here they are carried away. Without the feature, or without a
//! collector, a span costs nothing that the log does not need anyway.

use crate::config::observe::ObserveConfig;
use tracing::Span;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::Registry;

#[cfg(feature = "otel")]
mod otlp;

/// The attribute that ties spans to a call: its `CallSid` (`observability.md` 5).
pub const CONVERSATION: &str = "gen_ai.conversation.id";

/// What is added to the log's subscriber to carry spans away.
pub type Carrier = Box<dyn Layer<Registry> + Send + Sync>;

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
pub struct TraceError(String);

/// Traces on their way.
#[derive(Debug, Default)]
pub struct Traces {
    #[cfg(feature = "otel")]
    sending: Option<otlp::Sending>,
}

impl Traces {
    /// Sends what is left and ends. Blocks, some seconds at most.
    pub fn stop(self) {
        #[cfg(feature = "otel")]
        if let Some(sending) = self.sending {
            sending.stop();
        }
    }
}

/// Begins to send traces, if a collector is set.
pub fn start(config: &ObserveConfig) -> Result<(Option<Carrier>, Traces), TraceError> {
    #[cfg(feature = "otel")]
    if let Some(endpoint) = &config.otlp_endpoint {
        let (carrier, sending) = otlp::start(endpoint, config)?;
        return Ok((Some(carrier), Traces { sending: Some(sending) }));
    }
    #[cfg(not(feature = "otel"))]
    if config.otlp_endpoint.is_some() {
        return Err(TraceError("this binary was built without the feature `otel`".to_owned()));
    }
    Ok((None, Traces::default()))
}

/// Sets an attribute that traces have and the log has no room for.
pub fn attribute(span: &Span, key: &'static str, value: &str) {
    #[cfg(feature = "otel")]
    otlp::attribute(span, key, value);
    #[cfg(not(feature = "otel"))]
    let _ = (span, key, value);
}

/// The same with several values.
pub fn list(span: &Span, key: &'static str, values: &[&'static str]) {
    #[cfg(feature = "otel")]
    otlp::list(span, key, values);
    #[cfg(not(feature = "otel"))]
    let _ = (span, key, values);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_collector_nothing_is_carried_anywhere() {
        let (carrier, traces) = start(&ObserveConfig::default()).unwrap();
        assert!(carrier.is_none());
        traces.stop();
    }

    #[cfg(not(feature = "otel"))]
    #[test]
    fn a_collector_without_the_feature_is_refused_by_its_name() {
        let config =
            ObserveConfig { otlp_endpoint: Some("http://127.0.0.1:4318".into()), ..ObserveConfig::default() };
        let told = start(&config).err().unwrap().to_string();
        assert!(told.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && told.contains("feature `otel`"), "{told}");
    }
}
