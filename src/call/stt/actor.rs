//! The ear as an actor: a thin shell around one future that owns the socket, the timers and the machine.
//!
//! The future waits for audio, messages and the next deadline at once, so that a frame of 20 ms costs no message
//! between actors. The actor's mailbox carries wishes only; handlers set a flag and wake the future.

use super::machine::{EarMachine, EarSettings, Effect, Event, TimerId};
use super::messages::{CallerAudio, Finalize, Finish, Heard, InjectPanic, SttEvent};
use crate::domain::ids::Generation;
use crate::domain::time::CallTime;
use crate::observe::metrics::Alive;
use crate::provider::measured::lost;
use crate::provider::stt::{SttMessage, SttReceiver, SttSender, SttVendor};
use crate::provider::{ProviderError, ProviderErrorKind};
use actix::dev::SendError;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient, WrapFuture};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, pending};
use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// Most audio taken from the ring at once, bytes (1 s).
const TAKE: usize = 8_000;
/// A frame that cannot be handed to the socket within this time has no reader on the other side.
const SEND_LIMIT: Duration = Duration::from_secs(2);
/// Wait before an event that found the call's mailbox full is offered again.
const RETRY: Duration = Duration::from_millis(20);
/// Events kept for a call that does not take them; partials are never kept.
const OUTBOX: usize = 256;

/// The ear of one call.
pub struct SttActor {
    ear: Option<Ear>,
    wishes: Rc<Wishes>,
    _alive: Alive,
}

/// What others asked of the ear and it has not done yet.
#[derive(Default)]
struct Wishes {
    finalize: Cell<bool>,
    finish: Cell<bool>,
    woken: Notify,
}

impl SttActor {
    /// An ear that connects when it is started. `began` is the call's own start: the zero of its clock. `seed` spreads
    /// the waits before reconnects over the calls.
    pub fn new(
        generation: Generation,
        vendor: Rc<dyn SttVendor>,
        audio: Rc<dyn CallerAudio>,
        call: Recipient<SttEvent>,
        settings: EarSettings,
        began: Instant,
        seed: u64,
    ) -> Self {
        let wishes = Rc::new(Wishes::default());
        let ear = Ear {
            machine: EarMachine::new(settings, seed),
            vendor,
            audio,
            mouth: Mouth { generation, call, outbox: VecDeque::new(), retry_at: None, gone: false },
            wishes: Rc::clone(&wishes),
            began,
            timers: Vec::new(),
            connecting: None,
            sender: None,
            receiver: None,
            voiced: false,
        };
        Self { ear: Some(ear), wishes, _alive: Alive::new("stt") }
    }
}

impl Actor for SttActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(ear) = self.ear.take() {
            let listening = actix::ActorFutureExt::map(
                ear.listen().into_actor(self),
                |(), _, ctx: &mut Self::Context| ctx.stop(),
            );
            ctx.spawn(listening);
        }
    }
}

impl Handler<Finalize> for SttActor {
    type Result = ();

    fn handle(&mut self, _: Finalize, _: &mut Self::Context) {
        self.wishes.finalize.set(true);
        self.wishes.woken.notify_one();
    }
}

impl Handler<Finish> for SttActor {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut Self::Context) {
        self.wishes.finish.set(true);
        self.wishes.woken.notify_one();
    }
}

impl Handler<InjectPanic> for SttActor {
    type Result = ();

    #[expect(clippy::panic, reason = "fault injection: tests prove that only this actor dies")]
    fn handle(&mut self, _: InjectPanic, _: &mut Self::Context) {
        panic!("injected");
    }
}

type Halves = (Box<dyn SttSender>, Box<dyn SttReceiver>);

/// Everything the future owns.
struct Ear {
    machine: EarMachine,
    vendor: Rc<dyn SttVendor>,
    audio: Rc<dyn CallerAudio>,
    mouth: Mouth,
    wishes: Rc<Wishes>,
    began: Instant,
    timers: Vec<(TimerId, CallTime)>,
    connecting: Option<LocalBoxFuture<'static, Result<Halves, ProviderError>>>,
    sender: Option<Box<dyn SttSender>>,
    receiver: Option<Box<dyn SttReceiver>>,
    voiced: bool,
}

/// Why the future woke.
enum Wake {
    Wish,
    Connected(Result<Halves, ProviderError>),
    Message(Option<Result<SttMessage, ProviderError>>),
    Deadline,
    Audio,
}

impl Ear {
    async fn listen(mut self) {
        let sleep = tokio::time::sleep_until(self.began);
        tokio::pin!(sleep);
        let mut ready = self.audio.ready();
        let mut effects = Vec::new();
        let mut events = VecDeque::from([Event::Start]);
        loop {
            while let Some(event) = events.pop_front() {
                self.machine.on(self.now(), event, &mut effects);
                for effect in effects.drain(..) {
                    if matches!(effect, Effect::Stop) {
                        self.mouth.deliver().await;
                        return;
                    }
                    if let Some(error) = self.carry_out(effect).await {
                        self.drain_socket(error, &mut events);
                    }
                }
            }
            if self.mouth.gone {
                return;
            }
            match self.wake(sleep.as_mut(), &mut ready).await {
                Wake::Wish => {
                    if self.wishes.finalize.take() {
                        events.push_back(Event::Finalize);
                    }
                    if self.wishes.finish.take() {
                        self.take_audio(&mut events);
                        events.push_back(Event::Finish);
                    }
                }
                Wake::Connected(Ok((sender, receiver))) => {
                    self.connecting = None;
                    self.sender = Some(sender);
                    self.receiver = Some(receiver);
                    events.push_back(Event::Connected);
                }
                Wake::Connected(Err(error)) => {
                    self.connecting = None;
                    events.push_back(Event::ConnectFailed(error));
                }
                Wake::Message(Some(Ok(message))) => events.push_back(Event::Message(message)),
                Wake::Message(ended) => {
                    self.closed(ended.and_then(Result::err), &mut events);
                }
                Wake::Deadline => {
                    self.mouth.flush();
                    self.take_due(&mut events);
                }
                Wake::Audio => {
                    // A source that is ready without audio must not keep the thread to itself.
                    tokio::task::consume_budget().await;
                    // Asked after the audio was taken: asked before, it would be ready again for what is taken here.
                    self.take_audio(&mut events);
                    ready = self.audio.ready();
                }
            }
        }
    }

    fn now(&self) -> CallTime {
        CallTime(self.began.elapsed())
    }

    /// Waits for whatever comes first; wishes and messages before audio, so that no flood of it delays them.
    async fn wake(&mut self, mut sleep: Pin<&mut Sleep>, ready: &mut LocalBoxFuture<'static, ()>) -> Wake {
        let timer = self.timers.iter().map(|(_, at)| self.began + at.0).chain(self.mouth.retry_at).min();
        if let Some(at) = timer
            && sleep.deadline() != at
        {
            sleep.as_mut().reset(at);
        }
        let connecting = async {
            match &mut self.connecting {
                Some(connecting) => connecting.await,
                None => pending().await,
            }
        };
        let message = async {
            match &mut self.receiver {
                Some(receiver) => receiver.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.wishes.woken.notified() => Wake::Wish,
            () = sleep, if timer.is_some() => Wake::Deadline,
            message = message => Wake::Message(message),
            opened = connecting => Wake::Connected(opened),
            () = ready, if self.machine.wants_audio() => Wake::Audio,
        }
    }

    fn take_audio(&mut self, events: &mut VecDeque<Event>) {
        let voiced = self.audio.voiced();
        if voiced != self.voiced {
            self.voiced = voiced;
            events.push_back(Event::Voice(voiced));
        }
        while let Some(bytes) = self.audio.take(TAKE) {
            if bytes.is_empty() {
                break;
            }
            events.push_back(Event::Audio(bytes));
        }
    }

    fn take_due(&mut self, events: &mut VecDeque<Event>) {
        let now = self.now();
        self.timers.retain(|(id, at)| {
            let due = *at <= now;
            if due {
                events.push_back(Event::Timer(*id));
            }
            !due
        });
    }

    fn hang_up(&mut self) {
        self.sender = None;
        self.receiver = None;
    }

    fn closed(&mut self, reason: Option<ProviderError>, events: &mut VecDeque<Event>) {
        self.hang_up();
        if let Some(error) = &reason {
            lost(error);
        }
        events.push_back(Event::Closed(reason));
    }

    /// The socket takes nothing any more: what it still holds is read, for the last words and the true reason.
    fn drain_socket(&mut self, error: ProviderError, events: &mut VecDeque<Event>) {
        let mut reason = Some(error);
        if let Some(receiver) = &mut self.receiver {
            while let Some(next) = receiver.next().now_or_never() {
                match next {
                    Some(Ok(message)) => events.push_back(Event::Message(message)),
                    Some(Err(error)) => {
                        reason = Some(error);
                        break;
                    }
                    None => {
                        reason = None;
                        break;
                    }
                }
            }
        }
        self.closed(reason, events);
    }

    /// Carries out one effect; tells if the socket failed over it.
    async fn carry_out(&mut self, effect: Effect) -> Option<ProviderError> {
        let sent = match effect {
            Effect::SendAudio(audio) => {
                tokio::time::timeout(SEND_LIMIT, self.sender.as_mut()?.audio(audio)).await
            }
            Effect::SendKeepAlive => {
                tokio::time::timeout(SEND_LIMIT, self.sender.as_mut()?.keep_alive()).await
            }
            Effect::SendFinalize => tokio::time::timeout(SEND_LIMIT, self.sender.as_mut()?.finalize()).await,
            Effect::SendFinish => tokio::time::timeout(SEND_LIMIT, self.sender.as_mut()?.finish()).await,
            Effect::Connect { .. } => {
                self.connecting = Some(self.vendor.connect());
                return None;
            }
            Effect::CloseSocket => {
                self.connecting = None;
                self.hang_up();
                return None;
            }
            Effect::SetTimer(id, at) => {
                self.timers.retain(|(other, _)| *other != id);
                self.timers.push((id, at));
                return None;
            }
            Effect::CancelTimer(id) => {
                self.timers.retain(|(other, _)| *other != id);
                return None;
            }
            Effect::Emit(heard) => {
                self.mouth.tell(heard);
                return None;
            }
            Effect::Stop => return None,
        };
        match sent {
            Ok(sent) => sent.err(),
            Err(_) => Some(ProviderError::new("stt", ProviderErrorKind::Timeout, "send_timeout")),
        }
    }
}

/// The way to the call. Nothing waits for a slow call, and nothing that matters is lost to it.
struct Mouth {
    generation: Generation,
    call: Recipient<SttEvent>,
    outbox: VecDeque<SttEvent>,
    retry_at: Option<Instant>,
    /// The call's actor is gone.
    gone: bool,
}

impl Mouth {
    fn tell(&mut self, heard: Heard) {
        let passing = matches!(heard, Heard::Partial { .. } | Heard::SpeechStarted | Heard::Waiting { .. });
        let event = SttEvent { generation: self.generation, heard };
        if self.outbox.is_empty() {
            self.offer(event, passing);
        } else if !passing && self.outbox.len() < OUTBOX {
            self.outbox.push_back(event);
        }
    }

    fn offer(&mut self, event: SttEvent, passing: bool) {
        match self.call.try_send(event) {
            Ok(()) => {}
            Err(SendError::Full(event)) => {
                if !passing {
                    self.outbox.push_front(event);
                    self.retry_at = Some(Instant::now() + RETRY);
                }
            }
            Err(SendError::Closed(_)) => self.gone = true,
        }
    }

    /// Hands over everything that is left, waiting a little for a slow call.
    async fn deliver(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            if tokio::time::timeout(SEND_LIMIT, self.call.send(event)).await.is_err() {
                return;
            }
        }
    }

    /// Offers again what found the mailbox full.
    fn flush(&mut self) {
        self.retry_at = None;
        while self.retry_at.is_none() && !self.gone {
            let Some(event) = self.outbox.pop_front() else { break };
            self.offer(event, false);
        }
    }
}
