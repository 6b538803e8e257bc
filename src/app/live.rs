//! One worker's services as they are now: made anew on its own thread when staff have changed something.
//!
//! Each request brings along the services that hold when it comes; a stream keeps its own until it ends.

use super::{Blueprint, busy_words, own_phrases, share_of, spent_words};
use crate::call::services::CallServices;
use crate::dialogue::schema;
use crate::domain::phone::PhoneNumber;
use crate::provider::measured::MeasuredStt;
use crate::provider::stt::deepgram::DeepgramStt;
use crate::session::live::{Current, Live};
use crate::session::services::Services;
use actix_web::dev::Extensions;
use actix_web::web::Data;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::watch;

/// The services of one worker.
pub(super) struct Workplace {
    blueprint: Blueprint,
    workers: usize,
    changes: RefCell<watch::Receiver<Arc<Current>>>,
    now: RefCell<(Rc<Services>, Rc<Extensions>)>,
}

impl Workplace {
    /// Begins with these.
    pub(super) fn new(blueprint: Blueprint, workers: usize, live: &Live, services: Services) -> Self {
        let mut changes = live.watch();
        changes.mark_changed();
        let services = Rc::new(services);
        let data = container(&services);
        Self { blueprint, workers, changes: RefCell::new(changes), now: RefCell::new((services, data)) }
    }

    /// The services that hold now, as a request carries them.
    pub(super) fn data(&self) -> Rc<Extensions> {
        if self.changes.borrow().has_changed().unwrap_or(false) {
            self.renew();
        }
        Rc::clone(&self.now.borrow().1)
    }

    fn renew(&self) {
        let current = Arc::clone(&self.changes.borrow_mut().borrow_and_update());
        let old = Rc::clone(&self.now.borrow().0);
        let services = Rc::new(Services {
            call: Rc::new(self.blueprint.changed(&old.call, &current, self.workers)),
            busy_words: busy_words(&current.profile),
            spent_words: spent_words(&current.profile),
            ..old.as_ref().clone()
        });
        let data = container(&services);
        *self.now.borrow_mut() = (services, data);
    }
}

fn container(services: &Rc<Services>) -> Rc<Extensions> {
    let mut data = Extensions::new();
    data.insert(Data::new(Rc::clone(services)));
    Rc::new(data)
}

impl Blueprint {
    /// What the calls of this thread share, after a change. Connections, breakers and caches are kept where they can be.
    fn changed(&self, old: &CallServices, current: &Current, workers: usize) -> CallServices {
        let config = Rc::new(share_of(&current.config, workers));
        let mut services = CallServices {
            profile: Arc::clone(&current.profile),
            tools: schema::specs(&current.profile),
            phrases: own_phrases(&current.profile),
            transfer_number: transfer_number(current),
            ..old.clone()
        };
        if config.tts.voice_id != old.config.tts.voice_id {
            services.voices = self.voices(&config, &self.clients());
        }
        let recogniser = DeepgramStt::new(Rc::new(config.stt.clone()), self.clients().ws);
        services.stt = MeasuredStt::of(Rc::new(recogniser), super::blueprint::RECOGNISER);
        services.config = config;
        services
    }
}

fn transfer_number(current: &Current) -> Option<PhoneNumber> {
    current.profile.transfer_number.as_deref().and_then(|n| PhoneNumber::from_e164(n).ok())
}
