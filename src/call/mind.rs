//! Puts a call's mind together: its machine, models, desk and clock.

use super::desk::{BookingDesk, Teller};
use super::dialogue::actor::{DialogueActor, Parts, Summariser, Voice};
use super::dialogue::machine::{DialogueMachine, Settings};
use super::dialogue::messages::DialogueEvent;
use super::meter::{Meter, Metered};
use super::services::CallServices;
use super::traced::{TracedDesk, TracedModel, Turns};
use crate::dialogue::prompt::{CallerFacts, Outbound, PromptContext};
use crate::domain::appointment::Customer;
use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::Generation;
use crate::domain::turn::ResumeState;
use crate::observe::clock::unix_now;
use crate::provider::llm::{ChatMessage, ChatModel, ChatRequest, ToolChoice};
use actix::Recipient;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// Instructions for the digest of what no longer fits into the history.
const DIGEST: &str = "Summarise this part of a phone conversation between a caller and a receptionist in at most five \
                      short sentences. Keep names, numbers, dates, wishes and promises. Plain text.";

/// Writes digests with the model of summaries.
struct Digest(Rc<dyn ChatModel>);

impl Summariser for Digest {
    fn summarise(&self, text: String) -> LocalBoxFuture<'static, Option<String>> {
        let request = ChatRequest {
            messages: vec![ChatMessage::System(DIGEST.into()), ChatMessage::User(text)],
            tools: [].into(),
            tool_choice: ToolChoice::None,
        };
        let answer = self.0.complete(&request);
        async move { answer.await.ok().map(|done| done.text).filter(|text| !text.trim().is_empty()) }
            .boxed_local()
    }
}

/// Whose mind it is to be.
pub struct Whose<'a> {
    /// What all calls of this thread share.
    pub services: &'a CallServices,
    /// The call.
    pub facts: &'a CallFacts,
    /// Who calls, if known.
    pub customer: Option<&'a Customer>,
    /// Why we placed it, if we did and it is known.
    pub brief: Option<&'a Outbound>,
    /// Who hears who is on the other end, if anybody.
    pub known: Option<Teller>,
    /// Who hears what it thinks.
    pub events: Recipient<DialogueEvent>,
    /// Where the tokens it uses are counted.
    pub meter: Rc<Meter>,
    /// Which turn is being answered.
    pub turns: Turns,
    /// The zero of the call's clock.
    pub t0: Instant,
}

/// A mind for this call, with what went before if anything did.
pub fn make(generation: Generation, whose: Whose<'_>, state: Option<&ResumeState>) -> DialogueActor {
    let services = whose.services;
    let mut settings = Settings::new(&services.config.llm, &services.config.call);
    settings.has_fallback = services.fallback.is_some();
    let context = PromptContext {
        profile: Arc::clone(&services.profile),
        tools: Arc::clone(&services.tools),
        caller: caller_facts(whose.facts, whose.customer),
        outbound: (whose.facts.direction == Direction::Outbound)
            .then(|| whose.brief.cloned().unwrap_or_default()),
        resumed: state.is_some(),
    };
    let desk = BookingDesk::new(
        Arc::clone(&services.profile),
        services.db.clone(),
        whose.facts.clone(),
        whose.customer.cloned(),
        services.transfer_number.clone().filter(|_| whose.facts.kind != CallKind::Browser),
        Rc::new(unix_now),
    )
    .telling(whose.known);
    let timezone = services.profile.timezone.clone();
    let fresh = ResumeState::default();
    let (turns, sid) = (&whose.turns, &whose.facts.sid);
    let counted = |model: &Rc<dyn ChatModel>| {
        TracedModel::of(Metered::model(Rc::clone(model), Rc::clone(&whose.meter)), turns, sid)
    };
    let voice = |voice: &Voice| Voice { model: counted(&voice.model), gate: Rc::clone(&voice.gate) };
    DialogueActor::new(Parts {
        machine: DialogueMachine::new(settings, context, state.unwrap_or(&fresh)),
        primary: voice(&services.primary),
        fallback: services.fallback.as_ref().map(voice),
        desk: TracedDesk::of(Rc::new(desk), turns, sid),
        summariser: Some(Rc::new(Digest(counted(&services.summary_model)))),
        local_time: Box::new(move || local_time(&timezone)),
        events: whose.events,
        generation,
        t0: whose.t0,
        life: None,
    })
}

fn caller_facts(facts: &CallFacts, customer: Option<&Customer>) -> CallerFacts {
    let number = facts.caller.number();
    CallerFacts {
        name: customer.and_then(|c| c.name.clone()),
        number_ending: number.map(|n| {
            let digits: Vec<char> = n.as_str().chars().collect();
            digits.iter().skip(digits.len().saturating_sub(4)).collect()
        }),
        returning: customer.is_some(),
        known: customer.and_then(|c| c.notes.clone()).into_iter().collect(),
    }
}

/// The date and time at the business, as the prompt has it ("Sunday, November 22, 2026, 3:05 PM").
pub fn local_time(timezone: &str) -> String {
    let now = jiff::Timestamp::from_millisecond(unix_now().0).unwrap_or_default();
    match now.in_tz(timezone) {
        Ok(local) => local.strftime("%A, %B %-d, %Y, %-I:%M %p").to_string(),
        Err(_) => now.strftime("%A, %B %-d, %Y, %-I:%M %p UTC").to_string(),
    }
}
