//! The shell of one call: owns its children, keeps its timers, carries out what its machine decides.
//!
//! It lives on the thread that accepted its stream. It is told of a child's end by the guard round the child's task,
//! and starts another one after the wait its restart policy names.

use super::children::{Children, Home, tell_known};
use super::machine::{CallMachine, Child, Effect, Event, Setup, Timer};
use super::media::Media;
use super::messages::{
    CallLeft, CallerKnown, CloseStream, Departure, EndCall, InjectFault, StaffOrder, StreamEvent,
};
use super::recorder::Begins;
use super::services::CallServices;
use super::supervision::{RestartPolicy, Verdict, spawn_guarded};
use super::traced::{self, Turns};
use crate::audio::wav::stereo::Side;
use crate::booking::availability::is_open_at;
use crate::booking::dates::BusinessDay;
use crate::call::dialogue::messages::{DialogueEvent, Thought};
use crate::call::stt::messages::SttEvent;
use crate::call::tts::messages::{Spoke, TtsEvent};
use crate::db::{DbError, Write};
use crate::dialogue::phrases;
use crate::dialogue::prompt::Outbound;
use crate::domain::appointment::Customer;
use crate::domain::audit::AuditEvent;
use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::{Generation, ReplyId};
use crate::domain::time::CallTime;
use crate::domain::turn::{ResumeState, Speaker};
use crate::domain::usage::{Item, Used};
use crate::observe::clock::unix_now;
use crate::observe::feed::FeedEvent;
use crate::observe::metrics::{self, Alive};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient,
    SpawnHandle, WrapFuture,
};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What a stream, three children and the registry may have waiting: marks and sentences of one reply, and control.
const MAILBOX: usize = 256;
/// The greeting does not wait longer than this for the database.
const LOOKUP: Duration = Duration::from_millis(300);
/// How often the actor looks whether its stream is still there, should the word of its end be lost.
const PULSE: Duration = Duration::from_secs(5);
/// Nor does a resumed call for its state.
const RESUME_LOOKUP: Duration = Duration::from_secs(2);

/// One child is down.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ChildDown {
    /// Which.
    pub child: Child,
    /// Which incarnation of it.
    pub generation: Generation,
    /// Whether it panicked.
    pub panicked: bool,
}

/// The streams' end of a call: whom it tells when it closes and when it leaves.
pub struct CallLines {
    /// Its stream.
    pub stream: Recipient<CloseStream>,
    /// Its registry.
    pub registry: Recipient<CallLeft>,
    /// Who hears, in the registry, who is on the other end.
    pub known: Recipient<CallerKnown>,
    /// Told once if the actor is gone without having left.
    pub died: Box<dyn FnOnce()>,
}

/// What a call begins with.
#[derive(Debug, Default)]
pub struct Opening {
    /// What went before, if it is resumed and that is at hand.
    pub resume: Option<Box<ResumeState>>,
    /// Why we placed it, if we did.
    pub brief: Option<Arc<Outbound>>,
}

/// What the actor learns before it greets.
struct Prepared {
    customer: Option<Customer>,
    resume: Option<ResumeState>,
}

/// One call.
pub struct CallActor {
    _alive: Alive,
    services: Rc<CallServices>,
    facts: CallFacts,
    media: Rc<Media>,
    stream: Recipient<CloseStream>,
    registry: Recipient<CallLeft>,
    known: Recipient<CallerKnown>,
    left: Rc<Cell<bool>>,
    machine: Option<CallMachine>,
    /// What came before the machine was there; a handful of control messages at most.
    early: Vec<Event>,
    resume: Option<Box<ResumeState>>,
    brief: Option<Arc<Outbound>>,
    customer: Option<Customer>,
    children: Children,
    policies: HashMap<Child, RestartPolicy>,
    timers: HashMap<Timer, SpawnHandle>,
    /// Turns that the audit trail knows of.
    noted: HashSet<u32>,
    /// What the call has cost so far, in millionths.
    spent: i64,
    /// What the day had cost when that was last looked at, and what this call has added to it since.
    day_spent: i64,
    /// The same of the calls with this caller's number.
    number_spent: i64,
    /// Until when the call's time on the telephone network is counted.
    counted_until: CallTime,
    /// The minute (since 1970) in which it was last looked whether the business is open.
    hour_checked: i64,
    /// Sentences that the voice's mailbox did not take.
    refused: Vec<(ReplyId, u32)>,
    turns: Turns,
}

impl CallActor {
    /// Starts a call on this thread.
    pub fn start(
        services: Rc<CallServices>,
        facts: CallFacts,
        opening: Opening,
        media: Rc<Media>,
        lines: CallLines,
    ) -> Addr<Self> {
        let left = Rc::new(Cell::new(false));
        let call = &services.config.call;
        let policy = || {
            RestartPolicy::new(
                call.restarts,
                Duration::from_millis(call.restart_window_ms),
                Duration::from_millis(call.restart_ms),
            )
        };
        let policies =
            [Child::Stt, Child::Tts, Child::Dialogue].into_iter().map(|child| (child, policy())).collect();
        let stream = lines.stream.clone();
        let actor = Self {
            _alive: Alive::new("call"),
            services,
            facts,
            media,
            stream: lines.stream,
            registry: lines.registry,
            known: lines.known,
            left: Rc::clone(&left),
            machine: None,
            early: Vec::new(),
            resume: opening.resume,
            brief: opening.brief,
            customer: None,
            children: Children::default(),
            policies,
            timers: HashMap::new(),
            noted: HashSet::new(),
            spent: 0,
            day_spent: 0,
            number_spent: 0,
            counted_until: CallTime::ZERO,
            hour_checked: 0,
            refused: Vec::new(),
            turns: Turns::default(),
        };
        let _span = traced::call(&actor.facts).entered();
        let died = lines.died;
        let (address, _task) = spawn_guarded(actor, MAILBOX, move |panicked| {
            if !left.get() {
                tracing::error!(panicked, "call actor is gone without having left");
                metrics::child_down("call", panicked);
                died();
                stream.do_send(CloseStream { orderly: false });
            }
        });
        address
    }

    fn home(&self, ctx: &Context<Self>) -> Home {
        Home {
            services: Rc::clone(&self.services),
            facts: self.facts.clone(),
            media: Rc::clone(&self.media),
            customer: self.customer.clone(),
            brief: self.brief.clone(),
            known: self.known.clone(),
            turns: self.turns.clone(),
            call: ctx.address(),
        }
    }

    /// Looks up who calls and, where it is not at hand, what went before.
    fn prepare(&mut self, ctx: &mut Context<Self>) {
        let db = self.services.db.clone();
        let number = self.facts.caller.number().cloned();
        let sid = self.facts.sid.clone();
        let resumed = self.facts.epoch.0 > 1;
        let at_hand = self.resume.take();
        let keep =
            u32::try_from(self.services.config.llm.history_turns.saturating_mul(2)).unwrap_or(u32::MAX);
        let work = async move {
            let customer = match number {
                Some(number) => tokio::time::timeout(LOOKUP, db.customer_by_phone(number))
                    .await
                    .ok()
                    .and_then(Result::ok)
                    .flatten(),
                None => None,
            };
            let resume = match at_hand {
                Some(state) => Some(*state),
                None if resumed => tokio::time::timeout(RESUME_LOOKUP, async {
                    db.flush().await.ok();
                    db.resume_state(sid, keep).await
                })
                .await
                .ok()
                .and_then(Result::ok)
                .flatten(),
                None => None,
            };
            Prepared { customer, resume }
        };
        ctx.spawn(work.into_actor(self).map(|prepared, this, ctx| this.begin(prepared, ctx)));
    }

    fn begin(&mut self, prepared: Prepared, ctx: &mut Context<Self>) {
        let services = Rc::clone(&self.services);
        if let Some(customer) = &prepared.customer {
            let (sid, epoch) = (self.facts.sid.clone(), self.facts.epoch);
            self.write(Write::CallCustomer { sid, epoch, customer_id: customer.id });
            tell_known(&self.known, &services.feed, &self.facts.sid, customer);
        }
        let name = prepared.customer.as_ref().and_then(|c| c.name.clone());
        self.customer = prepared.customer;
        let resumed = self.facts.epoch.0 > 1;
        self.noted.extend(prepared.resume.iter().flat_map(|state| &state.turns).map(|turn| turn.n));
        let machine = CallMachine::new(Setup {
            config: services.config.call.clone(),
            phrases: services.phrases.clone(),
            // A browser has no line that could be put through.
            can_transfer: services.transfer_number.is_some() && self.facts.kind != CallKind::Browser,
            zero_for_person: services.profile.zero_asks_for_a_person,
            record: services.recorder.is_some(),
            notice: services.recorder.as_ref().and(services.profile.recording_notice.clone()),
            named: name.is_some() || self.brief.is_some(),
            epoch: self.facts.epoch,
            resume: prepared.resume,
            keep_turns: services.config.llm.history_turns.saturating_mul(2),
        });
        let state = resumed.then(|| machine.resume_state(self.media.now(), false));
        self.machine = Some(machine);
        let home = self.home(ctx);
        self.children.start_mind(&home, state.as_ref());
        let purpose = self.brief.as_ref().and_then(|brief| brief.purpose.as_deref());
        let greeting = match self.facts.direction {
            Direction::Inbound => phrases::greeting(&services.profile, name.as_deref()),
            Direction::Outbound => phrases::outbound_greeting(&services.profile, name.as_deref(), purpose),
        };
        let brief = self.brief.as_ref().filter(|_| !resumed).and_then(|brief| why_we_ring(brief));
        // In the order in which they came: a voice that was lost and replaced meanwhile must not greet twice.
        for event in std::mem::take(&mut self.early) {
            self.step(event, ctx);
        }
        if let Some(fact) = brief {
            // Kept with the call: another process that goes on with it has nothing else to know it by.
            self.step(Event::Thought(Thought::Fact(fact)), ctx);
        }
        self.step(Event::Begin { greeting }, ctx);
        self.watch_spending(ctx);
    }

    /// Tells the machine whether somebody can be rung now: the rule of the tool that puts callers through.
    fn look_at_the_hour(&mut self) {
        let now = unix_now();
        let minute = now.0.div_euclid(60_000);
        if let Some(machine) = &mut self.machine
            && std::mem::replace(&mut self.hour_checked, minute) != minute
        {
            machine.set_staffed(is_open_at(&self.services.profile, now));
        }
    }

    fn step(&mut self, event: Event, ctx: &mut Context<Self>) {
        self.look_at_the_hour();
        let at = self.media.now();
        let effects = match &mut self.machine {
            Some(machine) => {
                if machine.is_letting_go() {
                    machine.set_silent(self.media.caller_silence());
                }
                self.media.with_playback(|playback| machine.on(at, event, playback))
            }
            None => {
                self.early.push(event);
                return;
            }
        };
        for effect in effects {
            self.perform(effect, ctx);
        }
        for (reply, sentence) in std::mem::take(&mut self.refused) {
            let code = "mailbox_full".to_owned();
            self.step(Event::Spoke(Spoke::Failed { reply, sentence, code }), ctx);
        }
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Clear => self.media.wake(),
            Effect::Speak { reply, sentence, text, cache } => {
                if !self.children.speak(reply, sentence, text, cache) {
                    self.refused.push((reply, sentence));
                }
            }
            Effect::StopSpeech(reply) => self.children.stop_speech(reply),
            Effect::Answer { reply, text } => {
                self.turns.begin(reply);
                self.children.answer(reply, text);
            }
            Effect::StopAnswer { reply, fate } => {
                self.turns.end(reply);
                self.children.stop_answer(reply, fate);
            }
            Effect::AnswerHeard { reply, text } => {
                self.turns.end(reply);
                self.children.answer_heard(reply, text);
            }
            Effect::Said { reply, heard } => self.children.said(reply, heard),
            Effect::Note { text } => self.children.note(text),
            Effect::Overheard { text } => self.children.overheard(text),
            Effect::Finalize => self.children.finalize(),
            Effect::FinishListening => self.children.finish_listening(),
            Effect::SetTimer(timer, after) => {
                let handle = ctx.run_later(after, move |this, ctx| {
                    this.timers.remove(&timer);
                    this.step(Event::Timer(timer), ctx);
                });
                if let Some(old) = self.timers.insert(timer, handle) {
                    ctx.cancel_future(old);
                }
            }
            Effect::CancelTimer(timer) => {
                if let Some(handle) = self.timers.remove(&timer) {
                    ctx.cancel_future(handle);
                }
            }
            Effect::Record(turn) => {
                self.turns.recorded(&turn);
                if self.noted.insert(turn.n) {
                    // The words lie in the turn alone: what is masked or erased there is so for good.
                    let code = match turn.speaker {
                        Speaker::Caller => "caller.said",
                        Speaker::Bot => "bot.said",
                    };
                    self.audit(AuditEvent::new(code, serde_json::json!({ "turn": turn.n })));
                    metrics::turn(&turn);
                }
                self.services.feed.tell(FeedEvent::Turn { sid: self.facts.sid.clone(), turn: turn.clone() });
                self.write(Write::Turn { sid: self.facts.sid.clone(), epoch: self.facts.epoch, turn });
            }
            Effect::StartRecording { since_start_ms } => self.start_recording(since_start_ms),
            Effect::Silence { from, to } => self.media.mute_recording(Side::Caller, from, to),
            Effect::SilenceBefore { from_ms, to_ms } => {
                if let Some(recorder) = &self.services.recorder {
                    recorder.silence(&self.facts.sid, self.facts.admitted_at, Side::Caller, from_ms, to_ms);
                }
            }
            Effect::SaveState => self.save_state(),
            Effect::Audit(event) => self.audit(event),
            Effect::Leave(departure) => self.leave(departure, ctx),
        }
    }

    fn start_recording(&self, since_start_ms: u64) {
        if let Some(recorder) = &self.services.recorder {
            let begins = Begins { at: unix_now(), clock: self.media.now(), since_start_ms };
            self.media.record(recorder.record(&self.facts.sid, self.facts.admitted_at, begins));
        }
    }

    fn save_state(&self) {
        if let Some(machine) = &self.machine {
            let state = machine.resume_state(self.media.now(), true);
            self.write(Write::Resume { sid: self.facts.sid.clone(), epoch: self.facts.epoch, state });
        }
    }

    fn audit(&self, event: AuditEvent) {
        metrics::call_event(&event.code, &event.detail);
        if self.services.feed.is_watched() {
            self.services.feed.tell(FeedEvent::Event {
                sid: self.facts.sid.clone(),
                code: event.code.clone(),
                detail: event.detail.clone(),
            });
        }
        tracing::debug!(call.id = %self.facts.sid, code = %event.code, "call event");
        self.write(Write::Event { sid: self.facts.sid.clone(), at: unix_now(), event });
    }

    fn write(&self, write: Write) {
        if let Err(refused) = self.services.db.record(write) {
            tracing::error!(call.id = %self.facts.sid, error = %refused, "write refused");
        }
    }

    /// Writes down what was used since the last time. Says whether as much was spent as may be.
    fn count(&mut self) -> bool {
        let now = self.media.now();
        let meter = self.media.meter();
        let prices = &self.services.config.prices;
        if self.facts.kind == CallKind::Twilio {
            let ms = u64::try_from(now.since(self.counted_until).as_millis()).unwrap_or(u64::MAX);
            meter.add(Item::CarrierMs, "", ms);
        }
        self.counted_until = now;
        let used: Vec<Used> = meter
            .take()
            .into_iter()
            .map(|(item, model, amount)| {
                let micros = prices.micros(item, &model, amount);
                Used { item, model, amount, micros }
            })
            .collect();
        if !used.is_empty() {
            let micros = used.iter().fold(0_i64, |sum, used| sum.saturating_add(used.micros));
            self.spent = self.spent.saturating_add(micros);
            self.day_spent = self.day_spent.saturating_add(micros);
            self.number_spent = self.number_spent.saturating_add(micros);
            metrics::used(&used);
            self.write(Write::Usage { sid: self.facts.sid.clone(), at: unix_now(), used });
        }
        prices.call_cap_micros().is_some_and(|cap| self.spent >= cap) || self.day_is_spent()
    }

    /// Whether the day, or the day's calls with this number, have cost as much as they may.
    fn day_is_spent(&self) -> bool {
        let limit = self.services.config.prices.reached(self.day_spent, self.number_spent);
        limit.is_some_and(|limit| {
            tracing::debug!(call.id = %self.facts.sid, limit = limit.as_str(), "as much is spent as may be");
            true
        })
    }

    /// Counts what was used, and ends a call that costs too much. What other calls of the day cost is asked for where a
    /// day has its limit.
    fn watch_spending(&mut self, ctx: &mut Context<Self>) {
        if self.count() {
            self.step(Event::SpendCap, ctx);
        }
        let prices = &self.services.config.prices;
        let (all, one) = (prices.day_cap.is_some(), prices.number_cap.is_some());
        let number = self.facts.caller.number().cloned().filter(|_| one);
        if !all && number.is_none() {
            return;
        }
        let (db, day) = (self.services.db.clone(), BusinessDay::of(&self.services.profile, unix_now()));
        let asked = async move {
            let all = if all { db.spent(day.begins, day.ends).await? } else { 0 };
            let number = match number {
                Some(number) => db.spent_with(number, day.begins).await?,
                None => 0,
            };
            Ok::<_, DbError>((all, number))
        };
        ctx.spawn(asked.into_actor(self).map(|spent, this, ctx| {
            if let Ok(spent) = spent {
                (this.day_spent, this.number_spent) = spent;
                if this.day_is_spent() {
                    this.step(Event::SpendCap, ctx);
                }
            }
        }));
    }

    fn leave(&mut self, departure: Departure, ctx: &mut Context<Self>) {
        self.count();
        self.save_state();
        self.left.set(true);
        let (outcome, resume) = match &self.machine {
            Some(machine) => (machine.outcome(), machine.resume_state(self.media.now(), true)),
            // Ended before it began: what an earlier owner achieved still counts.
            None => {
                let before = self.resume.take().map(|state| *state).unwrap_or_default();
                (before.outcome, before)
            }
        };
        let dropped = self.media.caller_dropped();
        if dropped > 0 {
            self.audit(AuditEvent::new("stt.audio_dropped", serde_json::json!({ "bytes": dropped })));
        }
        // Before the registry hears of it: what is recorded of this stream lies before whatever comes of that.
        self.media.stop_recording();
        tracing::info!(call.id = %self.facts.sid, ?departure, "call leaves its actor");
        self.registry.do_send(CallLeft {
            sid: self.facts.sid.clone(),
            epoch: self.facts.epoch,
            departure,
            outcome,
            resume: Box::new(resume),
        });
        self.stream.do_send(CloseStream { orderly: true });
        self.children.dismiss();
        ctx.stop();
    }

    fn restart(&mut self, child: Child, ctx: &mut Context<Self>) {
        let home = self.home(ctx);
        let at = self.media.now();
        match child {
            Child::Stt => self.children.start_ear(&home),
            Child::Tts => self.children.start_voice(&home),
            Child::Dialogue => {
                let state = self.machine.as_ref().map(|m| m.resume_state(at, false));
                self.children.start_mind(&home, state.as_ref());
            }
        }
        metrics::child_restarted(child.as_str());
        self.step(Event::ChildUp(child), ctx);
    }
}

/// Why a call was placed, as a fact.
fn why_we_ring(brief: &Outbound) -> Option<String> {
    let text = [&brief.purpose, &brief.context].into_iter().flatten().map(|t| t.trim()).collect::<Vec<_>>();
    (!text.is_empty()).then(|| format!("We placed this call: {}", text.join(". ")))
}

impl Actor for CallActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let home = self.home(ctx);
        self.children.start_ear(&home);
        self.children.start_voice(&home);
        self.services.feed.tell(FeedEvent::Started { sid: self.facts.sid.clone() });
        self.audit(AuditEvent::new(
            "call.started",
            serde_json::json!({ "kind": self.facts.kind, "epoch": self.facts.epoch }),
        ));
        self.prepare(ctx);
        ctx.run_interval(PULSE, |this, ctx| {
            if this.machine.is_some() {
                this.watch_spending(ctx);
            }
            if !this.stream.connected() {
                this.step(Event::Stream(StreamEvent::Broke), ctx);
            }
        });
        // Connections are opened while the greeting plays.
        let voices = self.services.voices.warm();
        let models: Vec<_> = std::iter::once(&self.services.primary)
            .chain(&self.services.fallback)
            .map(|voice| voice.model.warm())
            .collect();
        actix_rt::spawn(async move {
            voices.await;
            for model in models {
                model.await;
            }
        });
    }
}

impl Handler<StreamEvent> for CallActor {
    type Result = ();

    fn handle(&mut self, event: StreamEvent, ctx: &mut Self::Context) {
        self.step(Event::Stream(event), ctx);
    }
}

impl Handler<EndCall> for CallActor {
    type Result = ();

    fn handle(&mut self, EndCall(reason): EndCall, ctx: &mut Self::Context) {
        if self.machine.is_some() {
            self.step(Event::End(reason), ctx);
        } else {
            self.leave(Departure::Ended { reason }, ctx);
        }
    }
}

impl Handler<StaffOrder> for CallActor {
    type Result = bool;

    fn handle(&mut self, order: StaffOrder, ctx: &mut Self::Context) -> bool {
        tracing::info!(call.id = %self.facts.sid, order = order.as_str(), "staff take part in a call");
        let taken = self.machine.as_ref().is_none_or(|machine| machine.takes(&order));
        self.step(Event::Staff(order), ctx);
        taken
    }
}

impl Handler<SttEvent> for CallActor {
    type Result = ();

    fn handle(&mut self, event: SttEvent, ctx: &mut Self::Context) {
        if self.children.is_current(Child::Stt, event.generation) {
            self.step(Event::Heard(event.heard), ctx);
        }
    }
}

impl Handler<TtsEvent> for CallActor {
    type Result = ();

    fn handle(&mut self, event: TtsEvent, ctx: &mut Self::Context) {
        if self.children.is_current(Child::Tts, event.generation) {
            self.step(Event::Spoke(event.spoke), ctx);
        }
    }
}

impl Handler<DialogueEvent> for CallActor {
    type Result = ();

    fn handle(&mut self, event: DialogueEvent, ctx: &mut Self::Context) {
        if self.children.is_current(Child::Dialogue, event.generation) {
            self.step(Event::Thought(event.thought), ctx);
        }
    }
}

impl Handler<ChildDown> for CallActor {
    type Result = ();

    fn handle(&mut self, down: ChildDown, ctx: &mut Self::Context) {
        if !self.children.is_current(down.child, down.generation) {
            return;
        }
        self.children.lost(down.child);
        metrics::child_down(down.child.as_str(), down.panicked);
        if down.panicked {
            tracing::error!(call.id = %self.facts.sid, child = down.child.as_str(), "child panicked");
        }
        let at = self.media.now();
        let verdict = self.policies.get_mut(&down.child).map_or(Verdict::Degrade, |p| p.down(at));
        self.step(Event::ChildDown(down.child), ctx);
        if self.left.get() {
            return;
        }
        match verdict {
            Verdict::Restart(after) => {
                ctx.run_later(after, move |this, ctx| this.restart(down.child, ctx));
            }
            Verdict::Degrade => self.step(Event::ChildGone(down.child), ctx),
        }
    }
}

impl Handler<InjectFault> for CallActor {
    type Result = ();

    #[expect(clippy::panic, reason = "panicking is what this message asks for")]
    fn handle(&mut self, fault: InjectFault, _: &mut Self::Context) {
        match fault {
            InjectFault::Child(child) => self.children.inject_panic(child),
            InjectFault::Call => panic!("injected into the call"),
        }
    }
}
