//! What the sessions and routes of one worker thread share.

use crate::call::services::CallServices;
use crate::registry::actor::Registry;
use crate::registry::token::Tokens;
use crate::session::pace::Pace;
use crate::twilio::address::PublicAddress;
use crate::twilio::signature::Verifier;
use actix::Addr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What the sessions and routes of one worker thread share. Reads as the calls' own services too.
pub struct Services {
    /// What the calls share.
    pub call: Rc<CallServices>,
    /// Which calls are live.
    pub registry: Addr<Registry>,
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
    /// When the server started.
    pub started: Instant,
}

impl Deref for Services {
    type Target = CallServices;

    fn deref(&self) -> &CallServices {
        &self.call
    }
}
