//! What the calls of one worker thread share: configuration, vendors, database. Built once a thread.

use crate::call::dialogue::actor::Voice;
use crate::call::machine::Phrases;
use crate::call::recorder::Recorder;
use crate::call::tts::voices::Voices;
use crate::config::Config;
use crate::db::DbHandle;
use crate::dialogue::chat::ToolSpec;
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use crate::observe::feed::Feed;
use crate::provider::llm::ChatModel;
use crate::provider::stt::SttVendor;
use std::rc::Rc;
use std::sync::Arc;

/// What the calls of one worker thread share.
#[derive(Clone)]
pub struct CallServices {
    /// The configuration.
    pub config: Rc<Config>,
    /// The business.
    pub profile: Arc<BusinessProfile>,
    /// The tools as the model sees them at this business.
    pub tools: Arc<[ToolSpec]>,
    /// The bot's own words.
    pub phrases: Phrases,
    /// Where a caller who needs a person is sent.
    pub transfer_number: Option<PhoneNumber>,
    /// The recogniser.
    pub stt: Rc<dyn SttVendor>,
    /// The voices, their breakers and the cache of recurring sentences.
    pub voices: Rc<Voices>,
    /// The model that answers.
    pub primary: Voice,
    /// The one that answers when it does not.
    pub fallback: Option<Voice>,
    /// The model of summaries.
    pub summary_model: Rc<dyn ChatModel>,
    /// The database.
    pub db: DbHandle,
    /// Records calls, if they are recorded.
    pub recorder: Option<Recorder>,
    /// Who watches live calls.
    pub feed: Feed,
}
