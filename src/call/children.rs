//! A call's children: their addresses, their incarnations, and how they are started, spoken to and dismissed.

use super::actor::{CallActor, ChildDown};
use super::desk::Teller;
use super::dialogue::actor::DialogueActor;
use super::dialogue::messages as mind;
use super::machine::Child;
use super::media::Media;
use super::messages::CallerKnown;
use super::services::CallServices;
use super::stt::actor::SttActor;
use super::stt::machine::EarSettings;
use super::stt::messages as ear;
use super::supervision::spawn_guarded;
use super::traced::Turns;
use super::tts::actor::TtsActor;
use super::tts::messages as voice;
use crate::dialogue::prompt::Outbound;
use crate::domain::appointment::Customer;
use crate::domain::call::CallFacts;
use crate::domain::ids::{CallSid, Generation, ReplyId};
use crate::domain::turn::ResumeState;
use crate::observe::feed::{Feed, FeedEvent};
use actix::Addr;
use actix::dev::{SendError, ToEnvelope};
use actix::{Actor, Context, Handler, Message, Recipient};
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What a child needs to be started.
pub struct Home {
    /// What all calls of this thread share.
    pub services: Rc<CallServices>,
    /// The call.
    pub facts: CallFacts,
    /// Its audio.
    pub media: Rc<Media>,
    /// Who calls, if known.
    pub customer: Option<Customer>,
    /// Why we placed it, if we did.
    pub brief: Option<Arc<Outbound>>,
    /// Who hears, in the registry, who is on the other end.
    pub known: Recipient<CallerKnown>,
    /// Which turn is being answered.
    pub turns: Turns,
    /// The parent.
    pub call: Addr<CallActor>,
}

impl Home {
    /// What the mind's desk tells who is on the other end.
    fn teller(&self) -> Teller {
        let (known, feed, sid) = (self.known.clone(), self.services.feed.clone(), self.facts.sid.clone());
        Rc::new(move |customer: &Customer| tell_known(&known, &feed, &sid, customer))
    }
}

/// Tells the registry who is on the other end of a call, and then whoever watches that the call has changed.
pub fn tell_known(registry: &Recipient<CallerKnown>, feed: &Feed, sid: &CallSid, customer: &Customer) {
    registry.do_send(CallerKnown { sid: sid.clone(), customer: customer.clone() });
    feed.tell(FeedEvent::Changed { sid: sid.clone() });
}

/// Commands and the few sentences of a reply that are handed out ahead; more than these never wait for a child.
const MAILBOX: usize = 64;

struct Slot<A: Actor> {
    generation: Generation,
    address: Option<Addr<A>>,
    task: Option<JoinHandle<()>>,
}

impl<A: Actor> Default for Slot<A> {
    fn default() -> Self {
        Self { generation: Generation::default(), address: None, task: None }
    }
}

impl<A: Actor<Context = Context<A>>> Slot<A> {
    fn next(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }

    fn start(&mut self, actor: A, child: Child, parent: Addr<CallActor>) {
        let generation = self.generation;
        let (address, task) = spawn_guarded(actor, MAILBOX, move |panicked| {
            parent.do_send(ChildDown { child, generation, panicked });
        });
        self.address = Some(address);
        self.task = Some(task);
    }

    /// Stops the child where it stands: what it was doing is dropped.
    fn stop(&mut self) {
        self.address = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Sends a message. `false` if the child's mailbox is full; a child that is gone is told of by its guard.
    fn tell<M>(&self, message: M) -> bool
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let sent = self.address.as_ref().map_or(Ok(()), |address| address.try_send(message));
        let full = matches!(sent, Err(SendError::Full(_)));
        if full {
            tracing::warn!(child = std::any::type_name::<A>(), "child does not take its messages");
        }
        !full
    }
}

impl<A: Actor> Drop for Slot<A> {
    fn drop(&mut self) {
        // A call that is gone without a word takes its children with it.
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// The children of one call.
#[derive(Default)]
pub struct Children {
    ear: Slot<SttActor>,
    voice: Slot<TtsActor>,
    mind: Slot<DialogueActor>,
}

impl Children {
    /// Whether a message of this incarnation is of the child there is now.
    pub fn is_current(&self, child: Child, generation: Generation) -> bool {
        generation
            == match child {
                Child::Stt => self.ear.generation,
                Child::Tts => self.voice.generation,
                Child::Dialogue => self.mind.generation,
            }
    }

    /// Forgets the address of a child that is gone.
    pub fn lost(&mut self, child: Child) {
        match child {
            Child::Stt => self.ear.address = None,
            Child::Tts => self.voice.address = None,
            Child::Dialogue => self.mind.address = None,
        }
    }

    /// Starts the ear.
    pub fn start_ear(&mut self, home: &Home) {
        let generation = self.ear.next();
        let config = &home.services.config;
        let actor = SttActor::new(
            generation,
            Rc::clone(&home.services.stt),
            Rc::<Media>::clone(&home.media),
            home.call.clone().recipient(),
            EarSettings::new(&config.stt, &config.call),
            home.media.t0(),
            rand::random(),
        );
        self.ear.start(actor, Child::Stt, home.call.clone());
    }

    /// Starts the voice.
    pub fn start_voice(&mut self, home: &Home) {
        let generation = self.voice.next();
        let actor = TtsActor::new(
            generation,
            Rc::clone(&home.services.voices),
            Rc::<Media>::clone(&home.media),
            home.call.clone().recipient(),
        );
        self.voice.start(actor, Child::Tts, home.call.clone());
    }

    /// Starts the mind, with what went before if anything did.
    pub fn start_mind(&mut self, home: &Home, state: Option<&ResumeState>) {
        let generation = self.mind.next();
        let whose = super::mind::Whose {
            services: &home.services,
            facts: &home.facts,
            customer: home.customer.as_ref(),
            brief: home.brief.as_deref(),
            known: Some(home.teller()),
            events: home.call.clone().recipient(),
            meter: home.media.meter(),
            turns: home.turns.clone(),
            t0: home.media.t0(),
        };
        let actor = super::mind::make(generation, whose, state);
        self.mind.start(actor, Child::Dialogue, home.call.clone());
    }

    /// Has a sentence spoken. `false` if the voice does not take it.
    pub fn speak(&self, reply: ReplyId, sentence: u32, text: String, cache: bool) -> bool {
        self.voice.tell(voice::Speak { reply, sentence, text, cache })
    }

    /// Has a reply forgotten by the voice.
    pub fn stop_speech(&self, reply: ReplyId) {
        self.voice.tell(voice::StopReply(reply));
    }

    /// Has a turn answered.
    pub fn answer(&self, reply: ReplyId, text: String) {
        self.mind.tell(mind::Answer { reply, text });
    }

    /// Has an answer dropped.
    pub fn stop_answer(&self, reply: ReplyId, fate: mind::Fate) {
        self.mind.tell(mind::StopAnswer { reply, fate });
    }

    /// Tells that an answer was heard.
    pub fn answer_heard(&self, reply: ReplyId, text: String) {
        self.mind.tell(mind::Heard { reply, text });
    }

    /// Tells what the bot said of its own accord.
    pub fn said(&self, reply: ReplyId, heard: String) {
        self.mind.tell(mind::Said { reply, heard });
    }

    /// Tells of something beside the words.
    pub fn note(&self, text: String) {
        self.mind.tell(mind::Note { text });
    }

    /// Tells what the caller said and somebody else has answered.
    pub fn overheard(&self, text: String) {
        self.mind.tell(mind::Overheard { text });
    }

    /// Has what was heard settled.
    pub fn finalize(&self) {
        self.ear.tell(ear::Finalize);
    }

    /// Has the last words delivered.
    pub fn finish_listening(&self) {
        self.ear.tell(ear::Finish);
    }

    /// Lets all of them go: the ear closes its connection in good order, the others stop at once.
    pub fn dismiss(&mut self) {
        self.ear.tell(ear::Finish);
        self.ear.address = None;
        // It ends by itself once its connection is closed in good order.
        drop(self.ear.task.take());
        self.voice.stop();
        self.mind.stop();
    }

    /// Breaks one.
    pub fn inject_panic(&self, child: Child) {
        match child {
            Child::Stt => self.ear.tell(ear::InjectPanic),
            Child::Tts => self.voice.tell(voice::InjectPanic),
            Child::Dialogue => self.mind.tell(mind::InjectPanic),
        };
    }
}
