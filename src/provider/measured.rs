//! A vendor's interface with a meter on it: requests, failures, and how long the first answer takes.
//!
//! What a thread's calls share is wrapped once, where it is made; no client and no machine knows of it.

use super::ProviderError;
use super::llm::{ChatDelta, ChatModel, ChatRequest, ChatStream, Completion, JsonShape};
use super::stt::{SttMessage, SttReceiver, SttSender, SttVendor};
use super::tts::SpeechStream;
use crate::observe::metrics::{self, Service};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Span;

/// One request on its way.
struct Request {
    service: Service,
    provider: Arc<str>,
    asked: Instant,
    answered: bool,
}

impl Request {
    fn begin(service: Service, provider: &str) -> Self {
        metrics::provider_asked(service, provider);
        Self { service, provider: provider.into(), asked: Instant::now(), answered: false }
    }

    /// The first piece of the answer is there.
    fn answered(&mut self) {
        if !std::mem::replace(&mut self.answered, true) {
            metrics::provider_answered(self.service, &self.provider, self.asked.elapsed());
        }
    }

    fn failed(&self, error: &ProviderError) {
        metrics::provider_failed(self.service, &self.provider, error.kind.as_str());
    }
}

/// A language model with a meter.
pub struct MeasuredModel(Rc<dyn ChatModel>);

impl MeasuredModel {
    /// Measures `model`.
    pub fn of(model: Rc<dyn ChatModel>) -> Rc<dyn ChatModel> {
        Rc::new(Self(model))
    }

    fn whole(
        &self,
        answer: LocalBoxFuture<'static, Result<Completion, ProviderError>>,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let mut request = Request::begin(Service::Llm, self.0.whole_name());
        Box::pin(async move {
            let answer = answer.await;
            match &answer {
                Ok(_) => request.answered(),
                Err(error) => request.failed(error),
            }
            answer
        })
    }
}

impl ChatModel for MeasuredModel {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn whole_name(&self) -> &str {
        self.0.whole_name()
    }

    fn chat(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        let answer = self.0.chat(request);
        let mut request = Request::begin(Service::Llm, self.0.name());
        Box::pin(async move {
            let stream = match answer.await {
                Ok(stream) => stream,
                Err(error) => {
                    request.failed(&error);
                    return Err(error);
                }
            };
            let measured = stream.map(move |delta| {
                match &delta {
                    // A tool call comes whole, with the end.
                    Ok(ChatDelta::Text(_) | ChatDelta::Finished { .. }) => request.answered(),
                    Err(error) => request.failed(error),
                }
                delta
            });
            Ok(measured.boxed_local())
        })
    }

    fn complete(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        self.whole(self.0.complete(request))
    }

    fn complete_json(
        &self,
        request: &ChatRequest,
        shape: &JsonShape,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        self.whole(self.0.complete_json(request, shape))
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        self.0.warm()
    }
}

/// The audio of one sentence, with a meter.
pub fn speech(vendor: &'static str, characters: usize, audio: SpeechStream) -> SpeechStream {
    let span = tracing::trace_span!(
        target: "frontdesk::trace", "tts",
        otel.name = "speak", otel.kind = "client", gen_ai.operation.name = "generate_content",
        "gen_ai.output.type" = "speech", gen_ai.provider.name = vendor, characters,
        "error.type" = tracing::field::Empty, otel.status_code = tracing::field::Empty,
    );
    let mut request = Request::begin(Service::Tts, vendor);
    let measured = audio.map(move |audio| {
        match &audio {
            Ok(_) => request.answered(),
            Err(error) => {
                request.failed(error);
                note(&span, error);
            }
        }
        audio
    });
    measured.boxed_local()
}

/// Notes a failure in a span.
pub fn note(span: &Span, error: &ProviderError) {
    span.record("error.type", error.kind.as_str());
    span.record("otel.status_code", "ERROR");
}

/// A recogniser with a meter.
pub struct MeasuredStt {
    inner: Rc<dyn SttVendor>,
    vendor: &'static str,
}

impl MeasuredStt {
    /// Measures `inner`, a recogniser of this vendor's.
    pub fn of(inner: Rc<dyn SttVendor>, vendor: &'static str) -> Rc<dyn SttVendor> {
        Rc::new(Self { inner, vendor })
    }
}

type Halves = (Box<dyn SttSender>, Box<dyn SttReceiver>);

impl SttVendor for MeasuredStt {
    fn connect(&self) -> LocalBoxFuture<'static, Result<Halves, ProviderError>> {
        let span = tracing::trace_span!(
            target: "frontdesk::trace", "stt",
            otel.name = "transcribe", otel.kind = "client", gen_ai.operation.name = "transcribe",
            gen_ai.provider.name = self.vendor,
            "error.type" = tracing::field::Empty, otel.status_code = tracing::field::Empty,
        );
        let connecting = span.in_scope(|| self.inner.connect());
        let mut request = Request::begin(Service::Stt, self.vendor);
        Box::pin(async move {
            match connecting.await {
                Ok((sender, receiver)) => {
                    request.answered();
                    let receiver = Listening { receiver, _span: span };
                    Ok((sender, Box::new(receiver) as Box<dyn SttReceiver>))
                }
                Err(error) => {
                    request.failed(&error);
                    note(&span, &error);
                    Err(error)
                }
            }
        })
    }
}

/// The receiving half, for as long as the connection is used. Hands on what its inner half returns: nothing is added to a
/// message, or to the wait for one, which begins anew with each piece of audio.
struct Listening {
    receiver: Box<dyn SttReceiver>,
    _span: Span,
}

impl SttReceiver for Listening {
    fn next(&mut self) -> LocalBoxFuture<'_, Option<Result<SttMessage, ProviderError>>> {
        self.receiver.next()
    }
}

/// A connection to a recogniser that was open has failed.
pub fn lost(error: &ProviderError) {
    metrics::provider_failed(Service::Stt, error.vendor, error.kind.as_str());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderErrorKind;
    use crate::provider::llm::ToolChoice;
    use ::metrics::set_default_local_recorder;
    use futures_util::stream;
    use metrics_exporter_prometheus::PrometheusBuilder;

    struct Fake;

    fn broken() -> ProviderError {
        ProviderError::new("openai", ProviderErrorKind::Closed, "cut")
    }

    impl ChatModel for Fake {
        fn name(&self) -> &str {
            "h/m"
        }
        fn chat(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
            let refuse = request.messages.is_empty();
            Box::pin(async move {
                if refuse {
                    return Err(ProviderError::new("openai", ProviderErrorKind::Timeout, "late"));
                }
                Ok(stream::iter([
                    Ok(ChatDelta::Text("x".into())),
                    Ok(ChatDelta::Text("y".into())),
                    Err(broken()),
                ])
                .boxed_local())
            })
        }
        fn complete(&self, _: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
            Box::pin(async { Ok(Completion::default()) })
        }
        fn warm(&self) -> LocalBoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    fn request(messages: usize) -> ChatRequest {
        let one = crate::provider::llm::ChatMessage::User("x".into());
        ChatRequest { messages: vec![one; messages], tools: [].into(), tool_choice: ToolChoice::None }
    }

    #[actix::test]
    async fn requests_first_answers_and_failures_are_counted_once_each() {
        tokio::time::pause();
        let recorder: &'static _ = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let _guard = set_default_local_recorder(recorder);
        let model = MeasuredModel::of(Rc::new(Fake));
        assert!(model.chat(&request(0)).await.is_err());
        let answer: Vec<_> = model.chat(&request(1)).await.unwrap().collect().await;
        assert_eq!(answer.len(), 3);
        assert!(model.complete(&request(1)).await.is_ok());
        let text = recorder.handle().render();
        for line in [
            "frontdesk_provider_requests_total{kind=\"llm\",provider=\"h/m\"} 3",
            "frontdesk_provider_errors_total{kind=\"llm\",provider=\"h/m\",error=\"timeout\"} 1",
            "frontdesk_provider_errors_total{kind=\"llm\",provider=\"h/m\",error=\"closed\"} 1",
            "frontdesk_provider_first_answer_seconds_count{kind=\"llm\",provider=\"h/m\"} 2",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
