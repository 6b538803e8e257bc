//! Keeping a call's children alive: when one is started again, and when its loss has to be lived with.
//!
//! actix's own `Supervisor` restarts only after an orderly stop, at once, and never after a panic (measured; see
//! `ARCHITECTURE.md`), so a child runs in a guarded task that tells its parent how it ended.

use crate::domain::time::CallTime;
use actix::{Actor, Addr, AsyncContext, Context};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// What to do about a child that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start another one after this long.
    Restart(Duration),
    /// It went down too often: go on without it.
    Degrade,
}

/// Decides about one child. Pure.
#[derive(Debug)]
pub struct RestartPolicy {
    limit: usize,
    window: Duration,
    first_wait: Duration,
    downs: VecDeque<CallTime>,
}

impl RestartPolicy {
    /// At most `limit` restarts within `window`, the first after `first_wait`, doubling.
    pub fn new(limit: u32, window: Duration, first_wait: Duration) -> Self {
        Self { limit: limit as usize, window, first_wait, downs: VecDeque::new() }
    }

    /// The child went down at `at`.
    pub fn down(&mut self, at: CallTime) -> Verdict {
        while self.downs.front().is_some_and(|&earlier| at.since(earlier) > self.window) {
            self.downs.pop_front();
        }
        if self.downs.len() >= self.limit {
            return Verdict::Degrade;
        }
        let doubled = u32::try_from(self.downs.len()).unwrap_or(u32::MAX).min(16);
        self.downs.push_back(at);
        Verdict::Restart(self.first_wait.saturating_mul(1u32 << doubled))
    }
}

/// Starts an actor on this thread in a task of its own, in the span of whoever starts it. `ended` runs once when it is gone, with whether it panicked;
/// a panic goes no further than that task. Aborting the task stops the actor without a word.
pub fn spawn_guarded<A>(
    actor: A,
    mailbox: usize,
    ended: impl FnOnce(bool) + 'static,
) -> (Addr<A>, JoinHandle<()>)
where
    A: Actor<Context = Context<A>>,
{
    let mut context = Context::new();
    context.set_mailbox_capacity(mailbox);
    let address = context.address();
    let life = context.into_future(actor);
    let guarded = async move {
        let panicked = AssertUnwindSafe(life).catch_unwind().await.is_err();
        ended(panicked);
    };
    let task = actix_rt::spawn(guarded.in_current_span());
    (address, task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_restarted_with_growing_waits_until_its_budget_is_spent() {
        let mut policy = RestartPolicy::new(3, Duration::from_secs(60), Duration::from_millis(100));
        let at = CallTime::from_millis;
        assert_eq!(policy.down(at(0)), Verdict::Restart(Duration::from_millis(100)));
        assert_eq!(policy.down(at(10)), Verdict::Restart(Duration::from_millis(200)));
        assert_eq!(policy.down(at(20)), Verdict::Restart(Duration::from_millis(400)));
        assert_eq!(policy.down(at(30)), Verdict::Degrade);
        assert_eq!(policy.down(at(60_021)), Verdict::Restart(Duration::from_millis(100)));
    }

    #[derive(Default)]
    struct Fragile;
    impl Actor for Fragile {
        type Context = Context<Self>;
    }
    #[derive(actix::Message)]
    #[rtype(result = "()")]
    struct Fall;
    impl actix::Handler<Fall> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Fall, _: &mut Context<Self>) {
            panic!("injected");
        }
    }

    #[actix::test]
    async fn a_panic_ends_the_child_alone_and_is_told() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let (child, _task) = spawn_guarded(Fragile, 4, move |panicked| {
            tell.send(panicked).expect("the test waits");
        });
        assert!(child.send(Fall).await.is_err());
        assert!(told.await.expect("the guard ran"));
    }
}
