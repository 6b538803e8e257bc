//! The actor round the dialogue machine: models, desk, timers, the clock.
//!
//! It knows no audio: the same mind serves a telephone call and the `chat` command.

use super::machine::{DialogueMachine, Effect, Event, Model, TimerId};
use super::messages::{
    Answer, CallerKnown, Desk, DialogueEvent, Heard, InjectPanic, Note, Overheard, Said, StopAnswer,
};
use crate::domain::ids::{Generation, ReplyId};
use crate::domain::time::CallTime;
use crate::observe::metrics::{self, Alive, Service};
use crate::provider::llm::{ChatDelta, ChatModel, ChatRequest};
use actix::fut::{wrap_future, wrap_stream};
use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, ActorStreamExt as _, AsyncContext as _, Context, Handler,
    Recipient, SpawnHandle,
};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{self, StreamExt as _};
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use tokio::time::Instant;

/// Orders, facts and answers of one call: a handful at once. The call sends with `try_send` and counts what is refused.
const MAILBOX: usize = 64;

/// A model's breaker and its share of requests at once, shared by the calls of a thread.
pub trait Gate {
    /// Leave to send a request now, to be kept until its answer is over; none if it may not be sent.
    fn admit(self: Rc<Self>) -> Option<Permit>;
}

/// Leave for one request. Told once how the request went; dropped without, it was given up before that showed.
pub struct Permit(Option<Box<dyn FnOnce(Option<bool>)>>);

impl Permit {
    /// Leave whose end is told to `settle`: whether the model did well, or nothing if that is not known.
    pub fn new(settle: impl FnOnce(Option<bool>) + 'static) -> Self {
        Self(Some(Box::new(settle)))
    }

    /// The request is over.
    pub fn settle(mut self, ok: bool) {
        if let Some(settle) = self.0.take() {
            settle(Some(ok));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(settle) = self.0.take() {
            settle(None);
        }
    }
}

/// Writes the digest of what no longer fits into the history.
pub trait Summariser {
    /// A digest of `text` (the digest so far and dropped turns); none if there is none to be had.
    fn summarise(&self, text: String) -> LocalBoxFuture<'static, Option<String>>;
}

/// A model with its breaker.
#[derive(Clone)]
pub struct Voice {
    /// The model.
    pub model: Rc<dyn ChatModel>,
    /// Its breaker.
    pub gate: Rc<dyn Gate>,
}

/// All a mind needs.
pub struct Parts {
    /// What decides.
    pub machine: DialogueMachine,
    /// The model that answers.
    pub primary: Voice,
    /// The one that answers when it does not; must be there if the machine's settings say so.
    pub fallback: Option<Voice>,
    /// Where tools are carried out.
    pub desk: Rc<dyn Desk>,
    /// What writes digests; without one, the last of the dropped words have to do.
    pub summariser: Option<Rc<dyn Summariser>>,
    /// The date and time at the business, as text for the prompt.
    pub local_time: Box<dyn Fn() -> String>,
    /// Who hears of it.
    pub events: Recipient<DialogueEvent>,
    /// Which incarnation this is.
    pub generation: Generation,
    /// The call's start.
    pub t0: Instant,
    /// Dropped with the actor, however it ends: the guard of the call's supervision.
    pub life: Option<Box<dyn Any>>,
}

/// The mind of a call. Owned by the call, ends with it.
pub struct DialogueActor {
    parts: Parts,
    request: Option<InFlight>,
    timers: HashMap<TimerId, SpawnHandle>,
    /// Events that effects brought about at once, handled after the effects before them.
    pending: VecDeque<Event>,
    _alive: Alive,
}

struct InFlight {
    req: u32,
    permit: Permit,
    handle: SpawnHandle,
    /// How the model does, as far as that has shown.
    ok: Option<bool>,
}

impl InFlight {
    /// Tells the gate how it went, once.
    fn settle(self) {
        if let Some(ok) = self.ok {
            self.permit.settle(ok);
        }
    }
}

impl DialogueActor {
    /// A mind that waits for its first turn.
    pub fn new(parts: Parts) -> Self {
        let (timers, pending) = (HashMap::new(), VecDeque::new());
        Self { parts, request: None, timers, pending, _alive: Alive::new("dialogue") }
    }

    fn step(&mut self, event: Event, ctx: &mut Context<Self>) {
        self.pending.push_back(event);
        while let Some(event) = self.pending.pop_front() {
            // Text comes often and never leads to a request.
            if !matches!(event, Event::Text { .. } | Event::Opened { .. }) {
                self.parts.machine.set_local_time((self.parts.local_time)());
            }
            let at = CallTime(self.parts.t0.elapsed());
            for effect in self.parts.machine.on(at, event) {
                self.perform(effect, ctx);
            }
        }
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Request { req, model, request } => self.send(req, model, request, ctx),
            Effect::Abort { req } => {
                if self.request.as_ref().is_some_and(|r| r.req == req) {
                    self.forget_request(ctx);
                }
            }
            Effect::Report { req, ok } => {
                if let Some(request) = self.request.as_mut().filter(|r| r.req == req) {
                    request.ok = Some(ok);
                }
            }
            Effect::RunTool { reply, call_id, request } => {
                let running = wrap_future::<_, Self>(self.parts.desk.run(request));
                ctx.spawn(running.map(move |outcome, act, ctx| {
                    act.step(Event::ToolDone { reply, call_id, outcome }, ctx);
                }));
            }
            Effect::SetTimer { id, after } => {
                if id == TimerId::Retry {
                    metrics::provider_retried(Service::Llm);
                }
                let handle = ctx.run_later(after, move |act, ctx| {
                    act.timers.remove(&id);
                    act.step(Event::Timer(id), ctx);
                });
                if let Some(old) = self.timers.insert(id, handle) {
                    ctx.cancel_future(old);
                }
            }
            Effect::CancelTimer(id) => {
                if let Some(handle) = self.timers.remove(&id) {
                    ctx.cancel_future(handle);
                }
            }
            Effect::Emit(thought) => {
                let generation = self.parts.generation;
                // Past the mailbox's bound on purpose: a sentence refused would be a hole in the reply, and a mind tells
                // no faster than its model writes.
                self.parts.events.do_send(DialogueEvent { generation, thought });
            }
            Effect::Summarise { text } => match &self.parts.summariser {
                Some(summariser) => {
                    let writing = wrap_future::<_, Self>(summariser.summarise(text));
                    ctx.spawn(writing.map(|summary, act, ctx| act.step(Event::Summarised(summary), ctx)));
                }
                None => self.pending.push_back(Event::Summarised(None)),
            },
        }
    }

    fn voice(&self, model: Model) -> Option<&Voice> {
        match model {
            Model::Primary => Some(&self.parts.primary),
            Model::Fallback => self.parts.fallback.as_ref(),
        }
    }

    fn send(&mut self, req: u32, model: Model, request: ChatRequest, ctx: &mut Context<Self>) {
        self.forget_request(ctx);
        let admitted = self.voice(model).cloned().and_then(|voice| Some((voice.model, voice.gate.admit()?)));
        let Some((model, permit)) = admitted else {
            self.pending.push_back(Event::Skipped { req });
            return;
        };
        let events = wrap_stream::<_, Self>(events(model, req, request));
        let handle = ctx.spawn(events.map(move |event, act, ctx| act.tell(req, event, ctx)).finish());
        self.request = Some(InFlight { req, permit, handle, ok: None });
    }

    /// Passes on what came of a request. After its last event it is in flight no more.
    fn tell(&mut self, req: u32, event: Event, ctx: &mut Context<Self>) {
        let last = matches!(event, Event::Finished { .. } | Event::Failed { .. });
        self.step(event, ctx);
        if last && let Some(over) = self.request.take_if(|r| r.req == req) {
            over.settle();
        }
    }

    /// Drops the request in flight, which cancels it.
    fn forget_request(&mut self, ctx: &mut Context<Self>) {
        if let Some(old) = self.request.take() {
            ctx.cancel_future(old.handle);
            old.settle();
        }
    }
}

/// A request and its answer as events.
fn events(
    model: Rc<dyn ChatModel>,
    req: u32,
    request: ChatRequest,
) -> stream::LocalBoxStream<'static, Event> {
    let failed = move |error| Event::Failed { req, error, jitter: rand::random() };
    let head = async move {
        match model.chat(&request).await {
            Err(error) => stream::iter([failed(error)]).boxed_local(),
            Ok(deltas) => {
                let rest = deltas.map(move |delta| match delta {
                    Ok(ChatDelta::Text(text)) => Event::Text { req, text },
                    Ok(ChatDelta::Finished { tool_calls, reason, usage }) => {
                        Event::Finished { req, tool_calls, reason, usage }
                    }
                    Err(error) => failed(error),
                });
                stream::iter([Event::Opened { req }]).chain(rest).boxed_local()
            }
        }
    };
    stream::once(head).flatten().boxed_local()
}

impl Actor for DialogueActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.spawn(wrap_future(self.parts.primary.model.warm()));
    }

    fn stopped(&mut self, ctx: &mut Self::Context) {
        self.forget_request(ctx);
    }
}

impl Handler<Answer> for DialogueActor {
    type Result = ();

    fn handle(&mut self, Answer { reply, text }: Answer, ctx: &mut Self::Context) {
        if self.parts.events.connected() {
            self.step(Event::Answer { reply, text }, ctx);
        } else {
            ctx.stop(); // Nobody would hear the answer.
        }
    }
}

impl Handler<Said> for DialogueActor {
    type Result = ();

    fn handle(&mut self, Said { reply: ReplyId(_), heard }: Said, ctx: &mut Self::Context) {
        self.step(Event::Said { heard }, ctx);
    }
}

impl Handler<Overheard> for DialogueActor {
    type Result = ();

    fn handle(&mut self, Overheard { text }: Overheard, ctx: &mut Self::Context) {
        self.step(Event::Overheard { text }, ctx);
    }
}

impl Handler<Note> for DialogueActor {
    type Result = ();

    fn handle(&mut self, Note { text }: Note, ctx: &mut Self::Context) {
        self.step(Event::Note(text), ctx);
    }
}

impl Handler<CallerKnown> for DialogueActor {
    type Result = ();

    fn handle(&mut self, CallerKnown(caller): CallerKnown, ctx: &mut Self::Context) {
        self.step(Event::CallerKnown(caller), ctx);
    }
}

impl Handler<StopAnswer> for DialogueActor {
    type Result = ();

    fn handle(&mut self, StopAnswer { reply, fate }: StopAnswer, ctx: &mut Self::Context) {
        self.step(Event::StopAnswer { reply, fate }, ctx);
    }
}

impl Handler<Heard> for DialogueActor {
    type Result = ();

    fn handle(&mut self, Heard { reply, text: _ }: Heard, ctx: &mut Self::Context) {
        self.step(Event::HeardAll { reply }, ctx);
    }
}

impl Handler<InjectPanic> for DialogueActor {
    type Result = ();

    #[expect(clippy::panic, reason = "fault injection: this is the panic the tests ask for")]
    fn handle(&mut self, _: InjectPanic, _: &mut Self::Context) {
        panic!("injected into the dialogue actor");
    }
}

#[cfg(test)]
mod tests;
