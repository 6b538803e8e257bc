//! Carries out what the voice's machine decides.

use super::events::{Effect, Event, JobId};
use super::machine::VoiceMachine;
use super::messages::{InjectPanic, RUNWAY_MS, Speak, StopReply, TtsEvent, VoiceOut};
use super::voices::{Lease, Voices};
use crate::domain::ids::Generation;
use crate::observe::metrics::Alive;
use crate::provider::tts::SpeechStream;
use crate::provider::{ProviderError, ProviderErrorKind};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, StreamHandler, WrapFuture,
};
use actix::{ActorContext, Running};
use bytes::Bytes;
use futures_util::stream::{self, LocalBoxStream, StreamExt};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// Longest piece handed over at once, bytes (200 ms): between two the playback is asked for room.
const PIECE: usize = 1_600;
/// How often it is looked whether anybody is still there.
const ORPHAN_CHECK: Duration = Duration::from_secs(1);

/// How a synthesis may be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Ahead of its turn.
    Ahead,
    /// Not now.
    Paused,
    /// As fast as the playback has room.
    Audible,
}

struct Task {
    handle: SpawnHandle,
    gate: watch::Sender<Gate>,
    /// `None` for kept audio.
    lease: Option<Lease>,
    /// Whether any audio has come: an end without is no success.
    heard: bool,
}

/// The voice of one call.
pub struct TtsActor {
    generation: Generation,
    voices: Rc<Voices>,
    out: Rc<dyn VoiceOut>,
    parent: Recipient<TtsEvent>,
    machine: VoiceMachine,
    tasks: HashMap<JobId, Task>,
    _alive: Alive,
}

impl TtsActor {
    /// A voice that hands its audio to `out` and tells `parent` what becomes of the sentences. Ends when its
    /// address or its parent is gone.
    pub fn new(
        generation: Generation,
        voices: Rc<Voices>,
        out: Rc<dyn VoiceOut>,
        parent: Recipient<TtsEvent>,
    ) -> Self {
        let machine = VoiceMachine::new(voices.len());
        let (tasks, alive) = (HashMap::new(), Alive::new("tts"));
        Self { generation, voices, out, parent, machine, tasks, _alive: alive }
    }

    fn drive(&mut self, event: Event, ctx: &mut Context<Self>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.machine.on(event) {
                events.extend(self.apply(effect, ctx));
            }
        }
    }

    /// Carries an effect out. What it answers at once is an event again.
    fn apply(&mut self, effect: Effect, ctx: &mut Context<Self>) -> Option<Event> {
        match effect {
            Effect::Start { job, voice, text, ahead } => {
                let lease = match self.voices.lease(voice) {
                    Ok(lease) => lease,
                    Err(why) => return Some(Event::Skipped { job, why }),
                };
                self.out.asked(self.voices.vendor(voice), text.chars().count());
                let audio = self.voices.speak(voice, text);
                let gate = if ahead { Gate::Ahead } else { Gate::Audible };
                self.run(job, audio, gate, Some(lease), ctx);
            }
            Effect::Replay { job, audio } => {
                let audio = stream::iter([Ok(audio)]).boxed_local();
                self.run(job, audio, Gate::Audible, None, ctx);
            }
            Effect::Await => {
                if self.out.waiting_ms() < RUNWAY_MS {
                    return Some(Event::Low);
                }
                let low = self.out.runs_low().into_actor(self);
                ctx.spawn(low.map(|(), actor, ctx| actor.drive(Event::Low, ctx)));
            }
            Effect::Cancel(job) => {
                if let Some(task) = self.tasks.remove(&job) {
                    ctx.cancel_future(task.handle);
                    // A connection with half a body on it is closed; the next sentence is to find another.
                    if let Some(lease) = task.lease {
                        ctx.spawn(self.voices.warm_one(lease.voice()).into_actor(self));
                    }
                }
            }
            Effect::Pause(job) => self.set_gate(job, Gate::Paused),
            Effect::Promote(job) => self.set_gate(job, Gate::Audible),
            Effect::Begin { reply, sentence, text } => {
                return (!self.out.begin_sentence(reply, sentence, &text)).then_some(Event::Stop(reply));
            }
            Effect::Play { reply, sentence, audio } => {
                return (!self.out.audio(reply, sentence, audio)).then_some(Event::Stop(reply));
            }
            Effect::End { reply, sentence } => self.out.end_sentence(reply, sentence),
            Effect::Retract { reply, sentence } => {
                let sent_ms = self.out.retract(reply, sentence);
                return Some(Event::Retracted { reply, sentence, sent_ms });
            }
            Effect::Keep { text, audio } => self.voices.keep(&text, audio),
            Effect::Tell(spoke) => self.parent.do_send(TtsEvent { generation: self.generation, spoke }),
        }
        None
    }

    fn run(
        &mut self,
        job: JobId,
        audio: SpeechStream,
        gate: Gate,
        lease: Option<Lease>,
        ctx: &mut Context<Self>,
    ) {
        let (gate, watched) = watch::channel(gate);
        let reports = paced(audio, watched, Rc::clone(&self.out))
            .map(move |piece| Report { job, what: Some(piece) })
            .chain(stream::iter([Report { job, what: None }]));
        let handle = ctx.add_stream(reports);
        self.tasks.insert(job, Task { handle, gate, lease, heard: false });
    }

    fn set_gate(&mut self, job: JobId, gate: Gate) {
        if let Some(task) = self.tasks.get(&job) {
            task.gate.send_replace(gate);
        }
    }

    /// Takes a finished task away and tells its vendor's breaker how it went.
    fn settle(&mut self, job: JobId, ended: bool) {
        match self.tasks.remove(&job) {
            Some(Task { lease: Some(lease), heard: true, .. }) if ended => lease.succeeded(),
            Some(Task { lease: Some(lease), .. }) => lease.failed(),
            _ => {}
        }
    }
}

/// Cuts audio into pieces and gives each out only when its gate is open and the playback has room. Nothing more is
/// read from the vendor meanwhile, so that the wait counts as no gap of the vendor's.
fn paced(
    audio: SpeechStream,
    gate: watch::Receiver<Gate>,
    out: Rc<dyn VoiceOut>,
) -> LocalBoxStream<'static, Result<Bytes, ProviderError>> {
    stream::unfold(Some((audio, Bytes::new(), gate)), move |state| {
        let out = Rc::clone(&out);
        async move {
            let (mut audio, mut waiting, mut gate) = state?;
            while waiting.is_empty() {
                match audio.next().await {
                    Some(Ok(bytes)) => waiting = bytes,
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => return None,
                }
            }
            let open = gate.wait_for(|gate| *gate != Gate::Paused).await.map(|gate| *gate);
            if open.is_ok_and(|gate| gate == Gate::Audible) {
                out.room().await;
            }
            let piece = waiting.split_to(waiting.len().min(PIECE));
            Some((Ok(piece), Some((audio, waiting, gate))))
        }
    })
    .boxed_local()
}

/// What a synthesis brings: audio or its failure, `None` at its end.
struct Report {
    job: JobId,
    what: Option<Result<Bytes, ProviderError>>,
}

impl StreamHandler<Report> for TtsActor {
    fn handle(&mut self, Report { job, what }: Report, ctx: &mut Context<Self>) {
        // A task that was cancelled may have one more report on its way.
        let Some(task) = self.tasks.get_mut(&job) else { return };
        let event = match what {
            Some(Ok(audio)) => {
                task.heard = true;
                Event::Audio { job, audio, waiting_ms: self.out.waiting_ms() }
            }
            Some(Err(error)) => {
                if error.kind == ProviderErrorKind::Refused {
                    // That says something of the text, and nothing of how the vendor does for other calls.
                    self.tasks.remove(&job);
                } else {
                    self.settle(job, false);
                }
                tracing::warn!(vendor = error.vendor, code = %error.code, "a synthesis failed");
                Event::Failed { job, code: error.code }
            }
            None => {
                self.settle(job, true);
                Event::Ended { job }
            }
        };
        self.drive(event, ctx);
    }

    /// One synthesis is over, the voice is not.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl Actor for TtsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // A synthesis that waits for room keeps its actor alive, even if nobody is there to make room.
        ctx.run_interval(ORPHAN_CHECK, |actor, ctx| {
            if !ctx.connected() || !actor.parent.connected() {
                ctx.stop();
            }
        });
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.tasks.clear();
        Running::Stop
    }
}

impl Handler<Speak> for TtsActor {
    type Result = ();

    fn handle(&mut self, speak: Speak, ctx: &mut Context<Self>) {
        let Speak { reply, sentence, text, cache } = speak;
        let kept = if cache { self.voices.kept(&text) } else { None };
        self.drive(Event::Speak { reply, sentence, text, keep: cache, kept }, ctx);
    }
}

impl Handler<StopReply> for TtsActor {
    type Result = ();

    fn handle(&mut self, StopReply(reply): StopReply, ctx: &mut Context<Self>) {
        self.drive(Event::Stop(reply), ctx);
    }
}

impl Handler<InjectPanic> for TtsActor {
    type Result = ();

    #[expect(clippy::panic, reason = "fault injection: the panic is what is asked for")]
    fn handle(&mut self, _: InjectPanic, _: &mut Context<Self>) {
        panic!("injected");
    }
}

#[cfg(test)]
mod tests;
