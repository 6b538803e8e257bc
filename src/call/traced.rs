//! The spans of one call: its turns, what the model is asked, which tools run.
//!
//! A call is a span, in the log and in traces; so is a turn, from the decision that the caller has finished to the end of
//! the answer. What happens within a turn is shown to traces only (target `frontdesk::trace`). Names of attributes are
//! OpenTelemetry's for generative AI (`observability.md` 5); no span holds a word that was spoken.

use super::dialogue::messages::{Desk, ToolOutcome};
use crate::dialogue::tools::ToolRequest;
use crate::domain::call::CallFacts;
use crate::domain::ids::{CallSid, ReplyId};
use crate::domain::turn::{Speaker, TurnRecord};
use crate::observe::trace;
use crate::provider::ProviderError;
use crate::provider::llm::{
    ChatDelta, ChatModel, ChatRequest, ChatStream, Completion, FinishReason, JsonShape,
};
use crate::provider::measured::note;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// The span of a call, from the start of its owner to its end.
pub fn call(facts: &CallFacts) -> Span {
    let span = tracing::info_span!(parent: None, "call", call.id = %facts.sid, call.epoch = facts.epoch.0);
    trace::attribute(&span, trace::CONVERSATION, facts.sid.as_str());
    trace::attribute(&span, "frontdesk.kind", facts.kind.as_str());
    trace::attribute(&span, "frontdesk.direction", facts.direction.as_str());
    span
}

/// The turn of a call that is being answered.
#[derive(Clone, Debug, Default)]
pub struct Turns(Rc<RefCell<Option<(ReplyId, Span)>>>);

impl Turns {
    /// A turn is answered from now on.
    pub fn begin(&self, reply: ReplyId) {
        let span = tracing::info_span!(
            "turn",
            turn.reply = reply.0,
            conversation.turn = Empty,
            conversation.turn_interrupted = Empty,
            conversation.turn_latency_seconds = Empty
        );
        *self.0.borrow_mut() = Some((reply, span));
    }

    /// A turn was recorded: if it is the answer to the one that is open, what is known of it.
    pub fn recorded(&self, turn: &TurnRecord) {
        let open = self.0.borrow();
        let Some((_, span)) = open.as_ref() else { return };
        let latency = turn.latency.end_of_turn_ms.zip(turn.latency.first_sent_ms);
        if let Some((until, after)) = latency.filter(|_| turn.speaker == Speaker::Bot) {
            span.record("conversation.turn", turn.n);
            span.record("conversation.turn_interrupted", turn.interrupted);
            span.record(
                "conversation.turn_latency_seconds",
                f64::from(until.saturating_add(after)) / 1_000.0,
            );
        }
    }

    /// It is answered, or given up.
    pub fn end(&self, reply: ReplyId) {
        self.0.borrow_mut().take_if(|(open, _)| *open == reply);
    }

    /// The span of the open turn, else that of whoever asks.
    fn span(&self) -> Span {
        self.0.borrow().as_ref().map_or_else(Span::current, |(_, span)| span.clone())
    }
}

/// A language model whose requests are spans.
pub struct TracedModel {
    model: Rc<dyn ChatModel>,
    turns: Turns,
    sid: CallSid,
}

impl TracedModel {
    /// Traces `model` for a call.
    pub fn of(model: Rc<dyn ChatModel>, turns: &Turns, sid: &CallSid) -> Rc<dyn ChatModel> {
        Rc::new(Self { model, turns: turns.clone(), sid: sid.clone() })
    }

    fn request(&self, name: &str, stream: bool) -> Span {
        let turn = self.turns.span();
        let (host, model) = name.split_once('/').unwrap_or(("", name));
        tracing::trace_span!(
            target: "frontdesk::trace",
            parent: &turn,
            "model",
            otel.name = format!("chat {model}"),
            otel.kind = "client",
            gen_ai.operation.name = "chat",
            gen_ai.provider.name = provider(host),
            gen_ai.request.model = model,
            gen_ai.request.stream = stream,
            gen_ai.conversation.id = self.sid.as_str(),
            server.address = host,
            gen_ai.response.time_to_first_chunk = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            "error.type" = Empty,
            otel.status_code = Empty,
        )
    }

    fn whole(
        &self,
        answer: LocalBoxFuture<'static, Result<Completion, ProviderError>>,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let span = self.request(self.model.whole_name(), false);
        let during = span.clone();
        let asking = async move {
            let answer = answer.await;
            match &answer {
                Ok(done) => {
                    if let Some(usage) = done.usage {
                        span.record("gen_ai.usage.input_tokens", usage.input_tokens);
                        span.record("gen_ai.usage.output_tokens", usage.output_tokens);
                    }
                }
                Err(error) => note(&span, error),
            }
            answer
        };
        Box::pin(asking.instrument(during))
    }
}

/// The vendor's name among OpenTelemetry's, by its host; whoever speaks the same protocol elsewhere counts as the first.
fn provider(host: &str) -> &'static str {
    const KNOWN: [(&str, &str); 8] = [
        ("openai.azure.com", "azure.ai.openai"),
        ("groq.com", "groq"),
        ("mistral.ai", "mistral_ai"),
        ("deepseek.com", "deepseek"),
        ("x.ai", "x_ai"),
        ("googleapis.com", "gcp.gemini"),
        ("perplexity.ai", "perplexity"),
        ("anthropic.com", "anthropic"),
    ];
    let of =
        |known: &str| host.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    KNOWN.iter().find(|(known, _)| of(known)).map_or("openai", |(_, name)| name)
}

/// Why the model stopped, in the convention's words.
const fn finish(reason: FinishReason, called: bool) -> &'static str {
    match reason {
        FinishReason::Stop if called => "tool_call",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
    }
}

impl ChatModel for TracedModel {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn whole_name(&self) -> &str {
        self.model.whole_name()
    }

    fn chat(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        let span = self.request(self.model.name(), true);
        // What is logged on the way belongs to the turn where nobody traces.
        let during = if span.is_disabled() { self.turns.span() } else { span.clone() };
        let answer = self.model.chat(request);
        let asked = Instant::now();
        let asking = async move {
            let stream = match answer.await {
                Ok(stream) => stream,
                Err(error) => {
                    note(&span, &error);
                    return Err(error);
                }
            };
            let mut first = true;
            let traced = stream.map(move |delta| {
                if std::mem::take(&mut first) && delta.is_ok() {
                    span.record("gen_ai.response.time_to_first_chunk", asked.elapsed().as_secs_f64());
                }
                match &delta {
                    Ok(ChatDelta::Text(_)) => {}
                    Ok(ChatDelta::Finished { tool_calls, reason, usage }) => {
                        let reason = finish(*reason, !tool_calls.is_empty());
                        trace::list(&span, "gen_ai.response.finish_reasons", &[reason]);
                        if let Some(usage) = usage {
                            span.record("gen_ai.usage.input_tokens", usage.input_tokens);
                            span.record("gen_ai.usage.output_tokens", usage.output_tokens);
                        }
                    }
                    Err(error) => note(&span, error),
                }
                delta
            });
            Ok(traced.boxed_local())
        };
        Box::pin(asking.instrument(during))
    }

    fn complete(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        self.whole(self.model.complete(request))
    }

    fn complete_json(
        &self,
        request: &ChatRequest,
        shape: &JsonShape,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        self.whole(self.model.complete_json(request, shape))
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        self.model.warm()
    }
}

/// A desk whose tools are spans.
pub struct TracedDesk {
    desk: Rc<dyn Desk>,
    turns: Turns,
    sid: CallSid,
}

impl TracedDesk {
    /// Traces `desk` for a call.
    pub fn of(desk: Rc<dyn Desk>, turns: &Turns, sid: &CallSid) -> Rc<dyn Desk> {
        Rc::new(Self { desk, turns: turns.clone(), sid: sid.clone() })
    }
}

impl Desk for TracedDesk {
    fn run(&self, tool: ToolRequest) -> LocalBoxFuture<'static, ToolOutcome> {
        let turn = self.turns.span();
        let span = tracing::trace_span!(
            target: "frontdesk::trace",
            parent: &turn,
            "tool",
            otel.name = format!("execute_tool {}", tool.name()),
            otel.kind = "internal",
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = tool.name(),
            "gen_ai.tool.type" = "function",
            gen_ai.conversation.id = self.sid.as_str(),
        );
        let during = if span.is_disabled() { turn } else { span };
        Box::pin(self.desk.run(tool).instrument(during))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::log;
    use crate::provider::llm::{ChatMessage, ToolChoice};
    use futures_util::stream;

    struct Fake;

    impl ChatModel for Fake {
        fn name(&self) -> &str {
            "api.openai.com/gpt-4o"
        }
        fn chat(&self, _: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
            Box::pin(async {
                tracing::info!("asked");
                Ok(stream::iter([Ok(ChatDelta::Text("geheim".into()))]).boxed_local())
            })
        }
        fn warm(&self) -> LocalBoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    fn request() -> ChatRequest {
        let messages = vec![ChatMessage::User("geheim".into())];
        ChatRequest { messages, tools: [].into(), tool_choice: ToolChoice::None }
    }

    /// Another test's thread may have come by a span first, without a log: then it counts as wanted by nobody.
    async fn acquainted(turns: &Turns, model: &Rc<dyn ChatModel>) {
        turns.begin(ReplyId(0));
        model.chat(&request()).await.unwrap().count().await;
        turns.end(ReplyId(0));
        tracing::callsite::rebuild_interest_cache();
    }

    #[actix::test]
    async fn a_requests_log_stands_in_its_call_and_turn_and_its_span_has_the_conventions_names_and_no_words()
    {
        // One after the other: two logs at once on two threads see each other's interest in a span.
        a_requests_log_stands_in_its_call_and_turn().await;
        a_requests_span_has_the_conventions_names().await;
    }

    async fn a_requests_log_stands_in_its_call_and_turn() {
        let (logged, _guard) = log::capture("info").unwrap();
        let call = tracing::info_span!(parent: None, "call", call.id = "CA1");
        let turns = Turns::default();
        let model = TracedModel::of(Rc::new(Fake), &turns, &CallSid::from("CA1"));
        acquainted(&turns, &model).await;
        let before = logged.text().len();
        async {
            turns.begin(ReplyId(3));
            model.chat(&request()).await.unwrap().count().await;
            turns.end(ReplyId(2));
            model.chat(&request()).await.unwrap().count().await;
            turns.end(ReplyId(3));
            model.chat(&request()).await.unwrap().count().await;
        }
        .instrument(call)
        .await;
        let text = logged.text().split_off(before);
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("asked")).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains("call{call.id=\"CA1\"}:turn{turn.reply=3}"), "{text}");
        assert!(lines[1].contains("turn.reply=3"), "another reply's end ends nothing: {text}");
        assert!(lines[2].contains("call.id=\"CA1\"") && !lines[2].contains("turn"), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }

    async fn a_requests_span_has_the_conventions_names() {
        let (logged, _guard) = log::capture("frontdesk::trace=trace,info").unwrap();
        let turns = Turns::default();
        let model = TracedModel::of(Rc::new(Fake), &turns, &CallSid::from("CA1"));
        acquainted(&turns, &model).await;
        turns.begin(ReplyId(1));
        model.chat(&request()).await.unwrap().count().await;
        let text = logged.text();
        for part in [
            "otel.name=\"chat gpt-4o\"",
            "gen_ai.operation.name=\"chat\"",
            "gen_ai.provider.name=\"openai\"",
            "gen_ai.request.model=\"gpt-4o\"",
            "gen_ai.conversation.id=\"CA1\"",
            "server.address=\"api.openai.com\"",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("geheim"), "{text}");
    }

    #[test]
    fn vendors_have_the_names_of_the_convention() {
        for (host, name) in [
            ("api.openai.com", "openai"),
            ("me.openai.azure.com", "azure.ai.openai"),
            ("api.groq.com", "groq"),
            ("api.x.ai", "x_ai"),
            ("x.ai", "x_ai"),
            ("max.ai", "openai"),
            ("127.0.0.1", "openai"),
        ] {
            assert_eq!(provider(host), name, "{host}");
        }
        assert_eq!(finish(FinishReason::Stop, true), "tool_call");
        assert_eq!(finish(FinishReason::Length, true), "length");
    }
}
