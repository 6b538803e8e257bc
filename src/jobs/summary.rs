//! Writes the summary of a call and what came of it: by the model for that, or by the next one that answers.

use super::machine::{Again, Failure};
use super::written::{self, Written};
use crate::domain::turn::TurnRecord;
use crate::provider::llm::{ChatModel, ChatRequest, Completion, JsonShape};
use crate::provider::{ProviderError, ProviderErrorKind};
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// The models that write summaries, the first one first.
pub struct Writers {
    models: Vec<Rc<dyn ChatModel>>,
    /// Those whose host does not know about shapes: they are asked without one.
    shapeless: RefCell<HashSet<usize>>,
}

/// What was written, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What.
    pub written: Written,
    /// The model's name.
    pub model: String,
    /// Tokens used, where the host tells.
    pub usage: Option<crate::provider::llm::Usage>,
}

impl Writers {
    /// These models, in this order.
    pub fn new(models: Vec<Rc<dyn ChatModel>>) -> Self {
        Self { models, shapeless: RefCell::default() }
    }

    /// Has the first model that can write about a call.
    pub async fn write(&self, turns: &[TurnRecord]) -> Result<Signed, Failure> {
        let (request, shape) = (written::request(turns), written::shape());
        let mut last: Option<Failure> = None;
        for (at, model) in self.models.iter().enumerate() {
            let failure = match self.ask(at, model.as_ref(), &request, &shape).await {
                Ok(done) => match written::read(&done.text) {
                    Ok(written) => {
                        let (model, usage) = (model.whole_name().to_owned(), done.usage);
                        return Ok(Signed { written, model, usage });
                    }
                    Err(unusable) => Failure { code: unusable.code().to_owned(), again: Again::Later },
                },
                Err(error) => failure(&error),
            };
            tracing::debug!(model = model.name(), code = %failure.code, "summary not written");
            last = Some(match last {
                Some(before) => more_hopeful(before, failure),
                None => failure,
            });
        }
        Err(last.unwrap_or_else(|| Failure { code: "summary.no_model".to_owned(), again: Again::Never }))
    }

    async fn ask(
        &self,
        at: usize,
        model: &dyn ChatModel,
        request: &ChatRequest,
        shape: &JsonShape,
    ) -> Result<Completion, ProviderError> {
        if self.shapeless.borrow().contains(&at) {
            return model.complete(request).await;
        }
        match model.complete_json(request, shape).await {
            // What is wrong may be the shape, or anything else: if the plain request is taken, it was the shape.
            Err(error) if error.kind == ProviderErrorKind::Refused => {
                let plain = model.complete(request).await?;
                tracing::info!(model = model.name(), code = %error.code, "this host takes no response_format");
                self.shapeless.borrow_mut().insert(at);
                Ok(plain)
            }
            answer => answer,
        }
    }
}

fn failure(error: &ProviderError) -> Failure {
    let again = match error.kind {
        ProviderErrorKind::Refused => Again::Never,
        ProviderErrorKind::RateLimited { retry_after: Some(wait) } => Again::NotBefore(wait),
        // Keys and bills are put right by people, in their own time.
        _ => Again::Later,
    };
    Failure { code: format!("{}.{}", error.vendor, error.code), again }
}

/// Of two failures the one after which another attempt makes the most sense; the first one's code says most.
fn more_hopeful(first: Failure, second: Failure) -> Failure {
    let again = match (first.again, second.again) {
        (Again::Never, other) | (other, Again::Never) => other,
        (Again::NotBefore(a), Again::NotBefore(b)) => Again::NotBefore(a.min(b)),
        _ => Again::Later,
    };
    Failure { code: first.code, again }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_follows_a_vendors_failure_depends_on_its_kind() {
        use ProviderErrorKind::*;
        let soon = Some(Duration::from_secs(7));
        for (kind, again) in [
            (Timeout, Again::Later),
            (Unreachable, Again::Later),
            (Server, Again::Later),
            (Closed, Again::Later),
            (Protocol, Again::Later),
            (Auth, Again::Later),
            (Quota, Again::Later),
            (RateLimited { retry_after: None }, Again::Later),
            (RateLimited { retry_after: soon }, Again::NotBefore(Duration::from_secs(7))),
            (Refused, Again::Never),
        ] {
            let told = failure(&ProviderError::new("openai", kind.clone(), "code"));
            assert_eq!(told, Failure { code: "openai.code".into(), again }, "{kind:?}");
        }
    }

    #[test]
    fn of_two_models_failures_the_more_hopeful_one_decides() {
        let at = |again| Failure { code: "x".into(), again };
        let wait = |s| Again::NotBefore(Duration::from_secs(s));
        for (a, b, expected) in [
            (Again::Never, Again::Never, Again::Never),
            (Again::Never, Again::Later, Again::Later),
            (Again::Later, Again::Never, Again::Later),
            (wait(9), Again::Never, wait(9)),
            (wait(9), wait(3), wait(3)),
            (wait(9), Again::Later, Again::Later),
        ] {
            assert_eq!(more_hopeful(at(a), at(b)).again, expected);
        }
    }
}
