//! The gate in front of a model: its breaker and its share of requests at once.

use super::dialogue::actor::Gate;
use crate::config::llm::LlmConfig;
use crate::provider::breaker::{Breaker, BreakerConfig, Ticket};
use std::cell::RefCell;
use std::time::Duration;
use tokio::time::Instant;

/// A breaker with a cap, shared by the calls of one thread.
pub struct ModelGate {
    began: Instant,
    breaker: RefCell<Breaker>,
    /// Leave given to requests that have not reported yet. Any of them may report with any ticket, except that a
    /// trial is always reported first: it is the one the breaker waits for.
    out: RefCell<Vec<Ticket>>,
    limit: usize,
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
            out: RefCell::new(Vec::new()),
            limit: config.max_concurrent.max(1),
        }
    }
}

impl Gate for ModelGate {
    fn allows(&self) -> bool {
        let mut out = self.out.borrow_mut();
        if out.len() >= self.limit {
            return false;
        }
        match self.breaker.borrow_mut().admit(self.began.elapsed()) {
            Some(ticket) => {
                out.push(ticket);
                true
            }
            None => false,
        }
    }

    fn report(&self, ok: bool) {
        let Some(ticket) = self.out.borrow_mut().pop() else { return };
        let mut breaker = self.breaker.borrow_mut();
        if ok {
            breaker.success(ticket);
        } else {
            breaker.failure(ticket, self.began.elapsed());
        }
    }

    fn given_up(&self) {
        let Some(ticket) = self.out.borrow_mut().pop() else { return };
        self.breaker.borrow_mut().cancelled(ticket, self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix::test]
    async fn a_model_that_keeps_failing_is_left_alone_and_tried_again() {
        tokio::time::pause();
        let gate = ModelGate::new(&LlmConfig { breaker_failures: 2, ..LlmConfig::default() });
        for _ in 0..2 {
            assert!(gate.allows());
            gate.report(false);
        }
        assert!(!gate.allows());
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(gate.allows(), "one request tries");
        assert!(!gate.allows(), "only one");
        gate.report(true);
        assert!(gate.allows());
    }

    #[actix::test]
    async fn requests_over_the_cap_wait_for_none() {
        let gate = ModelGate::new(&LlmConfig { max_concurrent: 1, ..LlmConfig::default() });
        assert!(gate.allows());
        assert!(!gate.allows());
        gate.given_up();
        assert!(gate.allows());
    }
}
