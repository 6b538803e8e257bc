//! The gate in front of a model: its breaker and its share of requests at once.

use super::dialogue::actor::{Gate, Permit};
use crate::config::llm::LlmConfig;
use crate::observe::metrics::{BreakerGauge, Service};
use crate::provider::breaker::{Breaker, BreakerConfig, BreakerState};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// A breaker with a cap, shared by the calls of one thread.
pub struct ModelGate {
    began: Instant,
    breaker: RefCell<Breaker>,
    /// Requests whose answers are not over.
    out: Cell<usize>,
    limit: usize,
    shown: Option<BreakerGauge>,
}

impl ModelGate {
    /// A gate as configured.
    pub fn new(config: &LlmConfig) -> Self {
        Self {
            began: Instant::now(),
            breaker: RefCell::new(Breaker::new(BreakerConfig {
                failures: config.breaker_failures,
                window: Duration::from_millis(config.breaker_window_ms),
                open: Duration::from_millis(config.breaker_open_ms),
            })),
            out: Cell::new(0),
            limit: config.max_concurrent.max(1),
            shown: None,
        }
    }

    /// Shows in the metrics, under this model's name, whether it is left alone.
    pub fn shown_as(mut self, model: &str) -> Self {
        self.shown = Some(BreakerGauge::new(Service::Llm, model));
        self
    }

    fn show(&self, breaker: &Breaker) {
        if let Some(shown) = &self.shown {
            shown.tell(breaker.state() != BreakerState::Closed);
        }
    }
}

impl Gate for ModelGate {
    fn admit(self: Rc<Self>) -> Option<Permit> {
        if self.out.get() >= self.limit {
            return None;
        }
        let ticket = self.breaker.borrow_mut().admit(self.began.elapsed())?;
        self.out.set(self.out.get().saturating_add(1));
        Some(Permit::new(move |result| {
            self.out.set(self.out.get().saturating_sub(1));
            let (mut breaker, now) = (self.breaker.borrow_mut(), self.began.elapsed());
            match result {
                Some(true) => breaker.success(ticket),
                Some(false) => breaker.failure(ticket, now),
                None => breaker.cancelled(ticket, now),
            }
            self.show(&breaker);
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(config: LlmConfig) -> Rc<ModelGate> {
        Rc::new(ModelGate::new(&config))
    }

    fn ask(gate: &Rc<ModelGate>) -> Option<Permit> {
        Rc::clone(gate).admit()
    }

    #[actix::test]
    async fn a_model_that_keeps_failing_is_left_alone_and_tried_again() {
        tokio::time::pause();
        let gate = gate(LlmConfig { breaker_failures: 2, ..LlmConfig::default() });
        for _ in 0..2 {
            ask(&gate).unwrap().settle(false);
        }
        assert!(ask(&gate).is_none());
        tokio::time::advance(Duration::from_secs(15)).await;
        let trial = ask(&gate).expect("one request tries");
        assert!(ask(&gate).is_none(), "only one");
        trial.settle(true);
        assert!(ask(&gate).is_some());
    }

    #[actix::test]
    async fn requests_over_the_cap_wait_for_none() {
        let gate = gate(LlmConfig { max_concurrent: 1, ..LlmConfig::default() });
        let first = ask(&gate).unwrap();
        assert!(ask(&gate).is_none());
        drop(first);
        assert!(ask(&gate).is_some());
    }

    #[actix::test]
    async fn each_request_settles_with_its_own_ticket() {
        tokio::time::pause();
        let gate = gate(LlmConfig { breaker_failures: 1, ..LlmConfig::default() });
        let before = ask(&gate).unwrap();
        ask(&gate).unwrap().settle(false);
        tokio::time::advance(Duration::from_secs(15)).await;
        let trial = ask(&gate).unwrap();
        before.settle(true);
        assert!(ask(&gate).is_none(), "an answer from before says nothing of now: the trial is still out");
        trial.settle(true);
        assert!(ask(&gate).is_some());
    }
}
