//! What the sessions and routes of one worker thread share.

use crate::call::services::CallServices;
use crate::db::Write;
use crate::domain::staff::{StaffAction, Who};
use crate::jobs::runner::JobRunner;
use crate::observe::clock::unix_now;
use crate::registry::actor::Registry;
use crate::registry::token::Tokens;
use crate::session::live::Live;
use crate::session::pace::Pace;
use crate::storage::store::Store;
use crate::twilio::address::PublicAddress;
use crate::twilio::rest::TwilioRest;
use crate::twilio::signature::Verifier;
use crate::twilio::tolls::TollGuard;
use actix::Addr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What the sessions and routes of one worker thread share. Reads as the calls' own services too.
#[derive(Clone)]
pub struct Services {
    /// What the calls share.
    pub call: Rc<CallServices>,
    /// Which calls are live.
    pub registry: Addr<Registry>,
    /// Runs what follows calls.
    pub jobs: Addr<JobRunner>,
    /// Lets this thread rest between frames.
    pub pace: Rc<Pace>,
    /// Signs and reads the streams' tokens.
    pub tokens: Tokens,
    /// Checks Twilio's signatures.
    pub verifier: Arc<Verifier>,
    /// Where Twilio reaches us.
    pub address: PublicAddress,
    /// Said to a caller for whom there is no room.
    pub busy_words: String,
    /// What was recorded.
    pub recordings: Store,
    /// When the server started.
    pub started: Instant,
    /// Twilio's REST API.
    pub rest: TwilioRest,
    /// Whom we may ring, and how often.
    pub tolls: Arc<TollGuard>,
    /// What staff may change.
    pub live: Live,
}

impl Services {
    /// Appends to the staff's audit trail. It is written in order, after what was queued before.
    pub fn staff_log(&self, who: &Who, action: &'static str, target: String, detail: serde_json::Value) {
        let action = Box::new(StaffAction { who: who.clone(), action, target, detail });
        if let Err(error) = self.db.record(Write::StaffAction { at: unix_now(), action }) {
            tracing::error!(%error, who.name, "a staff action is missing from the audit trail");
        }
    }
}

impl Deref for Services {
    type Target = CallServices;

    fn deref(&self) -> &CallServices {
        &self.call
    }
}
