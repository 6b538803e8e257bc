//! What the services of a thread are made of: vendors, voices, models, the bot's own words.

use crate::audio::resample::PcmToMulaw;
use crate::call::dialogue::actor::Voice;
use crate::call::gate::ModelGate;
use crate::call::machine::Phrases;
use crate::call::recorder::Recorder;
use crate::call::services::CallServices;
use crate::call::tts::voices::Voices;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::db::DbHandle;
use crate::dialogue::{phrases, schema};
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use crate::observe::feed::Feed;
use crate::provider::http::{self, HttpClients, VendorTls};
use crate::provider::llm::ChatModel;
use crate::provider::llm::openai::{Limits, OpenAiModel};
use crate::provider::measured::{MeasuredModel, MeasuredStt};
use crate::provider::stt::deepgram::DeepgramStt;
use crate::provider::tts::deepgram::DeepgramVoice;
use crate::provider::tts::elevenlabs::ElevenLabsVoice;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
/// The recogniser's vendor.
pub(super) const RECOGNISER: &str = "deepgram";

/// All that a worker's services are made of; one copy a thread.
#[derive(Clone)]
pub(super) struct Blueprint {
    pub(super) config: Config,
    pub(super) profile: Arc<BusinessProfile>,
    pub(super) tls: VendorTls,
    pub(super) db: DbHandle,
    pub(super) feed: Feed,
    pub(super) recorder: Option<Recorder>,
    pub(super) cluster: Cluster,
}

fn connect_timeout(config: &Config) -> Duration {
    Duration::from_millis(config.llm.connect_timeout_ms.max(config.stt.connect_timeout_ms))
}

/// Turns the voice's bytes into mu-law, piece by piece; an empty piece is the end.
type Converter = Box<dyn FnMut(&[u8]) -> Vec<u8>>;

/// The bot's own words for this business.
pub fn own_phrases(profile: &BusinessProfile) -> Phrases {
    Phrases {
        fillers: (0..3).map(|n| phrases::filler(n).to_owned()).collect(),
        tool_fillers: schema::names()
            .into_iter()
            .filter_map(|tool| Some((tool.to_owned(), phrases::tool_filler(tool)?.to_owned())))
            .collect(),
        idle_prompts: (0..2).map(|n| phrases::idle_prompt(n).to_owned()).collect(),
        idle_goodbye: phrases::idle_goodbye(profile),
        goodbye: phrases::goodbye(profile),
        say_again: phrases::NOT_UNDERSTOOD.to_owned(),
        cannot_hear: phrases::CANNOT_HEAR.iter().map(|words| (*words).to_owned()).collect(),
        hears_again: phrases::HEARS_AGAIN.to_owned(),
        apology_goodbye: phrases::APOLOGY_GOODBYE.to_owned(),
        apology_transfer: phrases::APOLOGY_TRANSFER.to_owned(),
        transfer: phrases::TRANSFER.to_owned(),
        max_duration: phrases::MAX_DURATION.to_owned(),
        resumed: phrases::RESUMED.to_owned(),
        transfer_failed: phrases::TRANSFER_FAILED.to_owned(),
    }
}

impl Blueprint {
    /// The HTTP clients of this thread.
    pub(super) fn clients(&self) -> HttpClients {
        http::build(&self.tls, connect_timeout(&self.config))
    }

    pub(super) fn summary_model(&self, clients: &HttpClients) -> Rc<dyn ChatModel> {
        let llm = &self.config.llm;
        let model = OpenAiModel::new(llm.primary.clone(), Limits::from(llm), clients.http.clone());
        MeasuredModel::of(Rc::new(model.with_summary_model(llm.summary_model.clone())))
    }

    /// The models that write summaries: the one for that, and where the primary host fails, the fallback's own.
    pub(super) fn summary_models(&self, clients: &HttpClients) -> Vec<Rc<dyn ChatModel>> {
        let llm = &self.config.llm;
        let fallback = llm.fallback.clone().map(|host| -> Rc<dyn ChatModel> {
            MeasuredModel::of(Rc::new(OpenAiModel::new(host, Limits::from(llm), clients.http.clone())))
        });
        std::iter::once(self.summary_model(clients)).chain(fallback).collect()
    }

    /// What the calls of this thread share.
    pub(super) fn services(&self) -> CallServices {
        let clients = self.clients();
        let config = Rc::new(self.config.clone());
        let stt = Rc::new(config.stt.clone());
        let voices = self.voices(&config, &clients);
        let voice = |host: crate::config::llm::HostConfig| {
            let model = OpenAiModel::new(host, Limits::from(&config.llm), clients.http.clone());
            let gate = ModelGate::new(&config.llm).shown_as(model.name());
            Voice { model: MeasuredModel::of(Rc::new(model)), gate: Rc::new(gate) }
        };
        CallServices {
            profile: Arc::clone(&self.profile),
            tools: schema::specs(&self.profile),
            phrases: own_phrases(&self.profile),
            transfer_number: self
                .profile
                .transfer_number
                .as_deref()
                .and_then(|n| PhoneNumber::from_e164(n).ok()),
            stt: MeasuredStt::of(Rc::new(DeepgramStt::new(stt, clients.ws.clone())), RECOGNISER),
            voices,
            primary: voice(config.llm.primary.clone()),
            fallback: config.llm.fallback.clone().map(voice),
            summary_model: self.summary_model(&clients),
            db: self.db.clone(),
            recorder: self.recorder.clone(),
            feed: self.feed.clone(),
            config: Rc::clone(&config),
        }
    }

    /// The voices of this thread.
    pub(super) fn voices(&self, config: &Config, clients: &HttpClients) -> Rc<Voices> {
        let stt = Rc::new(config.stt.clone());
        let tts = Rc::new(config.tts.clone());
        let pcm = Rc::new(|rate: u32| -> Converter {
            let mut converter = PcmToMulaw::new(rate);
            Box::new(move |bytes: &[u8]| {
                let mut out = Vec::new();
                if let Some(converter) = &mut converter {
                    if bytes.is_empty() {
                        converter.finish(&mut out);
                    } else {
                        converter.push(bytes, &mut out);
                    }
                }
                out
            })
        });
        Voices::new(
            vec![
                Rc::new(ElevenLabsVoice::new(Rc::clone(&tts), clients.http.clone(), pcm)),
                Rc::new(DeepgramVoice::new(stt, Rc::clone(&tts), clients.http.clone())),
            ],
            &config.tts,
        )
    }
}
