//! The registry's shell: keeps the addresses of live calls, writes the end of each, sweeps.

use super::measure::{Gaps, since};
use super::messages::*;
use super::peers::{Finder, Searches};
use super::presence::PresenceState;
use super::roster::{Kept, Limits, Roster, RosterEffect, Standing};
use super::unwritten::Unwritten;
use super::wire::with_others;
use crate::call::messages::{CallLeft, EndCall, InjectFault, StaffOrder, StreamEvent};
use crate::cluster::Cluster;
use crate::db::{DbHandle, Write};
use crate::domain::audit::AuditEvent;
use crate::domain::call::{CallFacts, EndReason, Outcome};
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use crate::observe::metrics;
use actix::{
    Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult, Recipient, ResponseActFuture,
    WrapFuture,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// What is told of a call that ended, once its end was queued for the database.
pub type OnEnded = Box<dyn Fn(CallFacts, EndReason, Outcome)>;

/// What is told of calls that were taken over and that nobody asks about by himself.
pub type OnForsaken = Box<dyn Fn(Vec<CallSid>, &Addr<Registry>)>;

/// How often the sweep runs.
const SWEEP: Duration = Duration::from_secs(1);
/// How long an actor may take to report after its stream's claim.
const REPORT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for calls to let go.
const LEAVE: Duration = Duration::from_secs(8);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);

/// The ways to a live call.
pub(super) struct Lines {
    pub(super) epoch: Epoch,
    pub(super) end: Recipient<EndCall>,
    pub(super) evict: Recipient<StreamEvent>,
    pub(super) fault: Recipient<InjectFault>,
    pub(super) staff: Recipient<StaffOrder>,
}

/// What is told of calls.
pub struct Listeners {
    /// A call has ended.
    pub ended: OnEnded,
    /// Calls were taken over of which nobody asks by himself: Twilio is to be told to ask.
    pub forsaken: OnForsaken,
}

/// How a registry lives with those of other replicas.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long another replica is waited for.
    pub ask: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// How long a replica may be silent before its calls are taken over.
    pub lease: Duration,
    /// How long whoever sends calls to replicas may take to notice that one is there.
    pub notice: Duration,
    /// The database is ours alone: whoever else is in it is dead.
    pub exclusive: bool,
}

/// Knows which calls are live. The only one who does.
pub struct Registry {
    pub(super) roster: Roster,
    pub(super) lines: HashMap<CallSid, Lines>,
    pub(super) unwritten: Unwritten,
    pub(super) gaps: Gaps,
    pub(super) db: DbHandle,
    pub(super) cluster: Cluster,
    pub(super) settings: Settings,
    pub(super) presence: PresenceState,
    pub(super) searches: Searches,
    listeners: Listeners,
    /// Owners that were told to leave and have not yet, and until when that is believed.
    leaving: HashMap<CallSid, (Epoch, Instant)>,
}

impl Registry {
    /// A registry of the calls at this replica, which writes to `db`.
    pub fn new(
        limits: Limits,
        db: DbHandle,
        cluster: Cluster,
        settings: Settings,
        listeners: Listeners,
    ) -> Self {
        Self {
            roster: Roster::new(limits),
            lines: HashMap::new(),
            unwritten: Unwritten::new(db.clone()),
            gaps: Gaps::default(),
            db,
            cluster,
            settings,
            presence: PresenceState::new(settings),
            searches: Searches::default(),
            listeners,
            leaving: HashMap::new(),
        }
    }

    /// Looks for calls that are not here.
    pub(super) fn finder(&self, ctx: &Context<Self>) -> Finder {
        Finder {
            db: self.db.clone(),
            cluster: self.cluster.clone(),
            ask: self.settings.ask,
            lease: self.settings.lease,
            company: self.has_company(),
            searches: Rc::clone(&self.searches),
            registry: ctx.address().recipient(),
        }
    }

    /// Whether the owner of a call was told to leave and has not yet.
    pub(super) fn is_leaving(&self, sid: &CallSid) -> bool {
        self.leaving.get(sid).is_some_and(|(_, until)| *until > Instant::now())
    }

    /// Has Twilio asked about calls.
    pub(super) fn forsaken(&self, calls: Vec<CallSid>, ctx: &Context<Self>) {
        (self.listeners.forsaken)(calls, &ctx.address());
    }

    /// Writes down what has happened to a call, and does what follows.
    pub(super) fn follow_up(&mut self, sid: &CallSid, effects: Vec<RosterEffect>) {
        for event in self.roster.news(sid) {
            self.note(sid.clone(), event);
        }
        if let Some((epoch, kept)) = self.roster.to_store(sid) {
            self.store(sid.clone(), epoch, kept);
        }
        self.perform(effects);
    }

    /// The same where it may have happened to any call.
    fn follow_up_all(&mut self, effects: Vec<RosterEffect>) {
        for (sid, event) in self.roster.all_news() {
            self.note(sid, event);
        }
        for (sid, epoch, kept) in self.roster.all_to_store() {
            self.store(sid, epoch, kept);
        }
        self.perform(effects);
    }

    /// Writes down what is decided for Twilio's next question.
    fn store(&mut self, sid: CallSid, epoch: Epoch, kept: Option<Kept>) {
        let onward = kept.and_then(|kept| serde_json::to_value(kept).ok());
        self.unwritten.record(Write::Onward { sid, epoch, onward });
    }

    fn note(&mut self, sid: CallSid, event: AuditEvent) {
        let at = unix_now();
        self.gaps.note(at, &sid, &event);
        self.unwritten.record(Write::Event { sid, at, event });
    }

    pub(super) fn perform(&mut self, effects: Vec<RosterEffect>) {
        for effect in effects {
            match effect {
                RosterEffect::Ended { facts, reason, outcome } => {
                    let sid = facts.sid.clone();
                    self.lines.remove(&sid);
                    tracing::info!(call.id = %sid, reason = %reason, "call ended");
                    metrics::call_ended(reason, outcome, since(facts.admitted_at, unix_now()));
                    let at = unix_now();
                    self.gaps.note(at, &sid, &AuditEvent::ended(reason));
                    self.unwritten.record(Write::CallEnded { sid: sid.clone(), at, reason, outcome });
                    let db = self.db.clone();
                    actix_rt::spawn(async move {
                        if let Err(error) = db.release_holds(sid).await {
                            tracing::warn!(%error, "holds of an ended call not released");
                        }
                    });
                    (self.listeners.ended)(facts, reason, outcome);
                }
                RosterEffect::Ask { sid, reason } => {
                    if let Some(lines) = self.lines.get(&sid) {
                        lines.end.do_send(EndCall(reason));
                    }
                }
                RosterEffect::Tell { sid, order } => {
                    if let Some(lines) = self.lines.get(&sid) {
                        lines.staff.do_send(order);
                    }
                }
                RosterEffect::Evict { sid } => {
                    if let Some(lines) = self.lines.remove(&sid) {
                        lines.evict.do_send(StreamEvent::Broke);
                        self.leaving.insert(sid, (lines.epoch, Instant::now() + REPORT));
                    }
                }
            }
        }
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now = unix_now();
        self.unwritten.offer();
        self.leaving.retain(|_, (_, until)| *until > Instant::now());
        self.look_around(ctx);
        // Whoever has slept ends nothing before it knows what is still its own.
        if !self.presence.watch.is_doubtful() {
            let effects = self.roster.sweep(now);
            self.follow_up_all(effects);
            self.heal(now);
        } else {
            self.roster.forget_ended(now);
        }
    }

    fn is_gone(&mut self, sid: &CallSid, epoch: Epoch) {
        if self.leaving.get(sid).is_some_and(|(owner, _)| *owner == epoch) {
            self.leaving.remove(sid);
        }
    }

    /// A call that was claimed and whose actor never reported, or is gone, must not stay live for ever.
    fn heal(&mut self, now: UnixMillis) {
        let then = UnixMillis(now.0.saturating_sub(i64::try_from(REPORT.as_millis()).unwrap_or(i64::MAX)));
        for (sid, epoch, stream) in self.roster.claimed_before(then) {
            if self.lines.get(&sid).is_some_and(|l| l.epoch == epoch && l.end.connected()) {
                continue;
            }
            tracing::error!(call.id = %sid, "live call without an actor: it waits for its next stream");
            self.lines.remove(&sid);
            let effects = self.roster.died(now, &sid, epoch, &stream);
            self.follow_up(&sid, effects);
        }
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Twilio's webhooks and every stream's end come here; none may be refused, so the bound is generous.
        ctx.set_mailbox_capacity(4_096);
        ctx.run_interval(SWEEP, Self::sweep);
        self.join(ctx);
    }
}

impl Handler<CallStarted> for Registry {
    type Result = ();

    fn handle(&mut self, call: CallStarted, _: &mut Self::Context) {
        let standing = self.roster.standing(&call.sid, call.epoch);
        match standing {
            Standing::Current => {}
            Standing::Leaving(reason) => call.end.do_send(EndCall(reason)),
            Standing::Gone => {
                // It was ended or taken over between its claim and its start.
                call.evict.do_send(StreamEvent::Broke);
                return;
            }
        }
        if let Some(muted) = self.roster.is_muted(&call.sid) {
            call.staff.do_send(StaffOrder::Mute(muted));
        }
        if let Some(within) = self.presence.draining.filter(|_| self.roster.is_letting_go(&call.sid)) {
            call.evict.do_send(StreamEvent::LetGo { within });
        }
        self.lines.insert(
            call.sid,
            Lines {
                epoch: call.epoch,
                end: call.end,
                evict: call.evict,
                fault: call.fault,
                staff: call.staff,
            },
        );
    }
}

impl Handler<CallLeft> for Registry {
    type Result = ();

    fn handle(&mut self, left: CallLeft, _: &mut Self::Context) {
        if self.lines.get(&left.sid).is_some_and(|l| l.epoch == left.epoch) {
            self.lines.remove(&left.sid);
        }
        self.is_gone(&left.sid, left.epoch);
        let sid = left.sid.clone();
        let effects = self.roster.left(unix_now(), left);
        self.follow_up(&sid, effects);
    }
}

impl Handler<CallerKnown> for Registry {
    type Result = ();

    fn handle(&mut self, known: CallerKnown, _: &mut Self::Context) {
        self.roster.known(&known.sid, known.customer);
    }
}

impl Handler<CallDied> for Registry {
    type Result = ();

    fn handle(&mut self, died: CallDied, _: &mut Self::Context) {
        self.is_gone(&died.sid, died.epoch);
        let effects = self.roster.died(unix_now(), &died.sid, died.epoch, &died.stream);
        self.follow_up(&died.sid, effects);
        if self.roster.standing(&died.sid, died.epoch) == Standing::Gone
            && self.lines.get(&died.sid).is_some_and(|l| l.epoch == died.epoch)
        {
            self.lines.remove(&died.sid);
        }
    }
}

impl Handler<Inject> for Registry {
    type Result = bool;

    fn handle(&mut self, inject: Inject, _: &mut Self::Context) -> bool {
        let lines = self.lines.get(&inject.sid);
        lines.is_some_and(|lines| lines.fault.try_send(inject.fault).is_ok())
    }
}

impl Handler<Place> for Registry {
    type Result = bool;

    fn handle(&mut self, Place(call): Place, _: &mut Self::Context) -> bool {
        self.roster.place(unix_now(), call)
    }
}

impl Handler<Unplace> for Registry {
    type Result = ();

    fn handle(&mut self, Unplace(admission): Unplace, _: &mut Self::Context) {
        self.roster.unplace(&admission);
    }
}

impl Handler<LimitCalls> for Registry {
    type Result = ();

    fn handle(&mut self, LimitCalls(max): LimitCalls, _: &mut Self::Context) {
        self.roster.limit_calls(max);
    }
}

impl Handler<CloseDoor> for Registry {
    type Result = ();

    fn handle(&mut self, CloseDoor { handover }: CloseDoor, ctx: &mut Self::Context) {
        self.roster.close();
        self.drain(handover, ctx);
    }
}

impl Handler<CountLive> for Registry {
    type Result = MessageResult<CountLive>;

    fn handle(&mut self, _: CountLive, _: &mut Self::Context) -> Self::Result {
        let others = self.company().map(|peer| peer.calls);
        MessageResult(with_others(self.roster.count(), others))
    }
}

impl Handler<ShutDown> for Registry {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: ShutDown, ctx: &mut Self::Context) -> Self::Result {
        let effects = self.roster.release();
        self.follow_up_all(effects);
        self.presence.over = true;
        let me = ctx.address();
        let gone = async move {
            let deadline = Instant::now() + LEAVE;
            while me.send(Held).await.is_ok_and(|held| held > 0) {
                if Instant::now() >= deadline {
                    tracing::warn!("calls did not leave in time");
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
            me.send(LastWrites).await.ok();
        };
        Box::pin(gone.into_actor(self))
    }
}

/// How many calls an actor still has, and a heartbeat on its way.
#[derive(Message)]
#[rtype(result = "usize")]
struct Held;

impl Handler<Held> for Registry {
    type Result = usize;

    fn handle(&mut self, _: Held, _: &mut Self::Context) -> usize {
        self.roster.held().saturating_add(usize::from(self.presence.beating))
    }
}

/// What the database refused is offered once more.
#[derive(Message)]
#[rtype(result = "()")]
struct LastWrites;

impl Handler<LastWrites> for Registry {
    type Result = ();

    fn handle(&mut self, _: LastWrites, _: &mut Self::Context) {
        self.unwritten.offer();
    }
}

/// How it lives with others, as configured.
pub fn settings(config: &crate::config::Config) -> Settings {
    Settings {
        ask: Duration::from_millis(config.cluster.ask_ms),
        heartbeat: Duration::from_millis(config.cluster.heartbeat_ms),
        lease: Duration::from_millis(config.cluster.lease_ms),
        notice: Duration::from_millis(config.server.notice_ms),
        exclusive: config.database.sqlite_path().is_some(),
    }
}

/// Limits of the roster as configured.
pub fn limits(config: &crate::config::Config) -> Limits {
    Limits {
        max_calls: config.calls_at_once(),
        reservation: Duration::from_millis(config.twilio.reservation_ms),
        suspend: Duration::from_millis(config.twilio.suspend_ms),
        max_breaks: config.twilio.max_breaks,
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
