//! Calls that were taken over from a replica that is gone: Twilio still holds its end of their streams, or knows of none,
//! and is told to ask how they go on.

use crate::domain::call::EndReason;
use crate::domain::ids::CallSid;
use crate::registry::actor::Registry;
use crate::registry::messages::{Finish, ShowLive};
use crate::twilio::address::PublicAddress;
use crate::twilio::rest::{CallChange, RestErrorKind, RetryAdvice, TwilioRest};
use actix::Addr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Requests at once.
const AT_ONCE: usize = 8;
/// How often Twilio is told.
const TRIES: u32 = 6;
/// Before the second time; doubles with each.
const PAUSE: Duration = Duration::from_millis(300);

/// Has Twilio ask.
pub(super) struct Forsaken {
    rest: TwilioRest,
    url: Rc<str>,
    places: Rc<Semaphore>,
}

impl Forsaken {
    /// For this account, at this address.
    pub(super) fn new(rest: TwilioRest, address: &PublicAddress) -> Self {
        Self { rest, url: address.go_on().into(), places: Rc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Has Twilio ask about these calls, on this thread.
    pub(super) fn ask(&self, calls: Vec<CallSid>, registry: &Addr<Registry>) {
        for sid in calls {
            let (rest, url, places) = (self.rest.clone(), Rc::clone(&self.url), Rc::clone(&self.places));
            let registry = registry.clone();
            actix_rt::spawn(async move {
                let Ok(_place) = places.acquire().await else { return };
                ask(&rest, &url, sid, &registry).await;
            });
        }
    }
}

async fn ask(rest: &TwilioRest, url: &str, sid: CallSid, registry: &Addr<Registry>) {
    let mut pause = PAUSE;
    for attempt in 1..=TRIES {
        // Twilio may have asked by itself: a stream that is there again is not to be torn away.
        let waits = registry.send(ShowLive(sid.clone())).await.ok().flatten();
        if waits.is_none_or(|call| call.state != "suspended") {
            return;
        }
        let Err(error) = rest.update_call(&sid, CallChange::Url(url)).await else {
            tracing::info!(call.id = %sid, "Twilio is told to ask about a call that was taken over");
            return;
        };
        if matches!(error.kind, RestErrorKind::NotInProgress | RestErrorKind::NotFound) {
            tracing::warn!(call.id = %sid, "a call that was taken over is over for Twilio");
            registry.do_send(Finish { sid, reason: EndReason::Lost });
            return;
        }
        tracing::warn!(call.id = %sid, attempt, code = error.event_code(), "Twilio does not take a call up again");
        if error.retry() == RetryAdvice::Never {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    tracing::error!(call.id = %sid, "Twilio could not be told to ask about a call");
}
