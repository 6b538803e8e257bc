//! What the sessions and routes of one worker thread share.

use crate::call::services::CallServices;
use crate::cluster::Cluster;
use crate::db::{DbError, Write};
use crate::domain::staff::{StaffAction, Who};
use crate::jobs::runner::JobRunner;
use crate::observe::clock::unix_now;
use crate::registry::actor::Registry;
use crate::registry::token::Tokens;
use crate::session::lag::Lags;
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
use std::time::{Duration, Instant};

/// How long a place in the database's queue is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often one is asked for.
const AGAIN: Duration = Duration::from_millis(50);

/// What was done is not in the staff's audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was done, but could not be written to the audit trail")]
pub struct NotNoted;

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
    /// Said to a caller for whose call there is no money left today.
    pub spent_words: String,
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
    /// The other replicas.
    pub cluster: Cluster,
    /// How late the worker threads are.
    pub lags: Arc<Lags>,
}

impl Services {
    /// Appends to the staff's audit trail and waits until that stands: nobody is told of something that was done before
    /// it is written who did it.
    pub async fn staff_log(
        &self,
        who: &Who,
        action: &'static str,
        target: String,
        detail: serde_json::Value,
    ) -> Result<(), NotNoted> {
        let at = unix_now();
        let action = Box::new(StaffAction { who: who.clone(), action, target, detail });
        let patient_until = Instant::now() + PATIENCE;
        loop {
            match self.db.write(Write::StaffAction { at, action: action.clone() }).await {
                Ok(()) => return Ok(()),
                Err(DbError::Full) if Instant::now() < patient_until => tokio::time::sleep(AGAIN).await,
                Err(error) => {
                    if error.may_be_offered_again() {
                        // Nobody does.
                        self.db.lose(1);
                    }
                    let (who, what, target) = (&action.who.name, action.action, &action.target);
                    tracing::error!(%error, who, what, target, "a staff action is missing from the audit trail");
                    return Err(NotNoted);
                }
            }
        }
    }
}

impl Deref for Services {
    type Target = CallServices;

    fn deref(&self) -> &CallServices {
        &self.call
    }
}
