//! Counts what a call uses of what has a price, on the call's own thread.

use crate::domain::usage::Item;
use crate::provider::ProviderError;
use crate::provider::llm::{
    ChatDelta, ChatMessage, ChatModel, ChatRequest, ChatStream, Completion, JsonShape, Usage,
};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Amounts by the item's word and the model or vendor.
type Amounts = BTreeMap<(&'static str, String), (Item, u64)>;

/// What a call has used and nobody has written down yet.
#[derive(Debug, Default)]
pub struct Meter(RefCell<Amounts>);

impl Meter {
    /// Counts so much more of an item, of a model or vendor.
    pub fn add(&self, item: Item, model: &str, amount: u64) {
        if amount == 0 {
            return;
        }
        let mut all = self.0.borrow_mut();
        let (_, sum) = all.entry((item.as_str(), model.to_owned())).or_insert((item, 0));
        *sum = sum.saturating_add(amount);
    }

    /// Takes what was counted: item, model or vendor, amount.
    pub fn take(&self) -> Vec<(Item, String, u64)> {
        let all = std::mem::take(&mut *self.0.borrow_mut());
        all.into_iter().map(|((_, model), (item, amount))| (item, model, amount)).collect()
    }

    fn tokens(&self, model: &str, usage: Usage) {
        self.add(Item::LlmInput, model, usage.input_tokens.into());
        self.add(Item::LlmOutput, model, usage.output_tokens.into());
    }
}

/// A language model whose tokens are counted.
pub struct Metered {
    model: Rc<dyn ChatModel>,
    meter: Rc<Meter>,
}

impl Metered {
    /// Counts what `model` uses.
    pub fn model(model: Rc<dyn ChatModel>, meter: Rc<Meter>) -> Rc<dyn ChatModel> {
        Rc::new(Self { model, meter })
    }

    fn count(
        &self,
        request: &ChatRequest,
        answer: LocalBoxFuture<'static, Result<Completion, ProviderError>>,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        let mut tally = self.tally(self.model.whole_name(), request);
        Box::pin(async move {
            let answer = answer.await;
            match &answer {
                Ok(done) => {
                    tally.text(&done.text);
                    tally.told = done.usage;
                    tally.opened = true;
                }
                Err(_) => tally.opened = false,
            }
            drop(tally);
            answer
        })
    }

    fn tally(&self, model: &str, request: &ChatRequest) -> Tally {
        Tally {
            meter: Rc::clone(&self.meter),
            model: model.to_owned(),
            opened: false,
            input: request.messages.iter().map(chars).sum(),
            output: 0,
            told: None,
        }
    }
}

impl ChatModel for Metered {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn whole_name(&self) -> &str {
        self.model.whole_name()
    }

    fn chat(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
        let answer = self.model.chat(request);
        let mut tally = self.tally(self.model.name(), request);
        Box::pin(async move {
            let stream = answer.await?;
            tally.opened = true;
            Ok(stream
                .map(move |delta| {
                    match &delta {
                        Ok(ChatDelta::Text(text)) => tally.text(text),
                        Ok(ChatDelta::Finished { usage, .. }) => tally.told = *usage,
                        Err(_) => {}
                    }
                    delta
                })
                .boxed_local())
        })
    }

    fn complete(&self, request: &ChatRequest) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        self.count(request, self.model.complete(request))
    }

    fn complete_json(
        &self,
        request: &ChatRequest,
        shape: &JsonShape,
    ) -> LocalBoxFuture<'static, Result<Completion, ProviderError>> {
        self.count(request, self.model.complete_json(request, shape))
    }

    fn warm(&self) -> LocalBoxFuture<'static, ()> {
        self.model.warm()
    }
}

/// One request's tokens, counted when it is over, however it ends. A host that says nothing of tokens, or was cut off
/// before it could, is taken to have used one for every four characters.
struct Tally {
    meter: Rc<Meter>,
    model: String,
    opened: bool,
    input: u64,
    output: u64,
    told: Option<Usage>,
}

impl Tally {
    fn text(&mut self, text: &str) {
        self.output = self.output.saturating_add(length(text));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let estimate = |chars: u64| u32::try_from(chars.div_ceil(4)).unwrap_or(u32::MAX);
        let usage = match self.told {
            Some(told) => told,
            None if self.opened => {
                Usage { input_tokens: estimate(self.input), output_tokens: estimate(self.output) }
            }
            None => return,
        };
        self.meter.tokens(&self.model, usage);
    }
}

fn length(text: &str) -> u64 {
    text.chars().count() as u64
}

fn chars(message: &ChatMessage) -> u64 {
    match message {
        ChatMessage::System(text) | ChatMessage::User(text) | ChatMessage::Tool { content: text, .. } => {
            length(text)
        }
        ChatMessage::Assistant { text, tool_calls } => {
            tool_calls.iter().map(|call| length(&call.arguments)).sum::<u64>().saturating_add(length(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ProviderErrorKind;
    use crate::provider::llm::{FinishReason, ToolChoice};
    use futures_util::stream;

    struct Fake(Vec<Result<ChatDelta, ProviderError>>, bool);

    impl ChatModel for Fake {
        fn name(&self) -> &str {
            "h/m"
        }
        fn chat(&self, _: &ChatRequest) -> LocalBoxFuture<'static, Result<ChatStream, ProviderError>> {
            let (deltas, refuse) = (self.0.clone(), self.1);
            Box::pin(async move {
                match refuse {
                    true => Err(ProviderError::new("x", ProviderErrorKind::Server, "x")),
                    false => Ok(stream::iter(deltas).boxed_local()),
                }
            })
        }
        fn warm(&self) -> LocalBoxFuture<'static, ()> {
            Box::pin(async {})
        }
    }

    fn text(text: &str) -> Result<ChatDelta, ProviderError> {
        Ok(ChatDelta::Text(text.into()))
    }

    fn finished(usage: Option<Usage>) -> Result<ChatDelta, ProviderError> {
        Ok(ChatDelta::Finished { tool_calls: vec![], reason: FinishReason::Stop, usage })
    }

    async fn counted(deltas: Vec<Result<ChatDelta, ProviderError>>, refuse: bool, read: usize) -> (u64, u64) {
        let meter = Rc::new(Meter::default());
        let model = Metered::model(Rc::new(Fake(deltas, refuse)), Rc::clone(&meter));
        let request = ChatRequest {
            messages: vec![ChatMessage::User("12345678".into())],
            tools: [].into(),
            tool_choice: ToolChoice::None,
        };
        if let Ok(mut stream) = model.chat(&request).await {
            for _ in 0..read {
                stream.next().await;
            }
        }
        let mut sums = (0, 0);
        for (item, model, amount) in meter.take() {
            assert_eq!(model, "h/m");
            match item {
                Item::LlmInput => sums.0 += amount,
                Item::LlmOutput => sums.1 += amount,
                other => panic!("{other}"),
            }
        }
        sums
    }

    #[actix::test]
    async fn tokens_are_those_the_host_tells_or_else_estimated() {
        let told = Some(Usage { input_tokens: 70, output_tokens: 7 });
        assert_eq!(counted(vec![text("abcd"), finished(told)], false, 9).await, (70, 7));
        assert_eq!(counted(vec![text("abcde"), finished(None)], false, 9).await, (2, 2));
        // Cut off by the caller after one piece.
        assert_eq!(counted(vec![text("abcd"), text("efgh"), finished(told)], false, 1).await, (2, 1));
        assert_eq!(counted(vec![], true, 1).await, (0, 0));
    }

    #[test]
    fn amounts_add_up_until_they_are_taken() {
        let meter = Meter::default();
        meter.add(Item::TtsChars, "elevenlabs", 5);
        meter.add(Item::TtsChars, "elevenlabs", 6);
        meter.add(Item::TtsChars, "deepgram", 0);
        assert_eq!(meter.take(), [(Item::TtsChars, "elevenlabs".to_owned(), 11)]);
        assert!(meter.take().is_empty());
    }
}
