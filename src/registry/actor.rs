//! The registry's shell: keeps the addresses of live calls, writes the end of each, sweeps.

use super::messages::*;
use super::roster::{Admitted, Claimed, Commanded, Limits, Onward, Roster, RosterEffect, Standing};
use super::unwritten::Unwritten;
use crate::call::messages::{CallLeft, EndCall, InjectFault, StaffOrder, StreamEvent};
use crate::db::{CallOverview, DbError, DbHandle, Write};
use crate::domain::audit::AuditEvent;
use crate::domain::call::{CallFacts, EndReason, Outcome};
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, Recipient,
    ResponseActFuture, WrapFuture,
};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// What is told of a call that ended, once its end was queued for the database.
pub type OnEnded = Box<dyn Fn(CallFacts, EndReason, Outcome)>;

/// How often the sweep runs.
const SWEEP: Duration = Duration::from_secs(1);
/// How long an actor may take to report after its stream's claim.
const REPORT: Duration = Duration::from_secs(5);
/// How long a shutdown waits for calls to let go.
const LEAVE: Duration = Duration::from_secs(8);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);
/// Turns loaded for a call that an earlier process left open.
const RESUME_TURNS: u32 = 48;

struct Lines {
    epoch: Epoch,
    end: Recipient<EndCall>,
    evict: Recipient<StreamEvent>,
    fault: Recipient<InjectFault>,
    staff: Recipient<StaffOrder>,
}

/// Knows which calls are live. The only one who does.
pub struct Registry {
    roster: Roster,
    lines: HashMap<CallSid, Lines>,
    unwritten: Unwritten,
    db: DbHandle,
    on_ended: OnEnded,
    started: UnixMillis,
    /// Calls found open at the start: what is still open when `suspend` has passed is closed as lost. None where other
    /// replicas share the database: open calls may be theirs.
    orphans_due: Option<UnixMillis>,
}

impl Registry {
    /// A registry that writes ends to `db` and tells `on_ended` of each. `shared`: other replicas write to the same
    /// database.
    pub fn new(limits: Limits, db: DbHandle, shared: bool, on_ended: OnEnded) -> Self {
        let started = unix_now();
        Self {
            roster: Roster::new(limits),
            lines: HashMap::new(),
            unwritten: Unwritten::new(db.clone()),
            db,
            on_ended,
            started,
            orphans_due: (!shared).then(|| started.after(limits.suspend)),
        }
    }

    /// Writes down what has happened to a call, and does what follows.
    fn follow_up(&mut self, sid: &CallSid, effects: Vec<RosterEffect>) {
        for event in self.roster.news(sid) {
            self.note(sid.clone(), event);
        }
        self.perform(effects);
    }

    /// The same where it may have happened to any call.
    fn follow_up_all(&mut self, effects: Vec<RosterEffect>) {
        for (sid, event) in self.roster.all_news() {
            self.note(sid, event);
        }
        self.perform(effects);
    }

    fn note(&mut self, sid: CallSid, event: AuditEvent) {
        self.unwritten.record(Write::Event { sid, at: unix_now(), event });
    }

    fn perform(&mut self, effects: Vec<RosterEffect>) {
        for effect in effects {
            match effect {
                RosterEffect::Ended { facts, reason, outcome } => {
                    let sid = facts.sid.clone();
                    self.lines.remove(&sid);
                    tracing::info!(call.id = %sid, reason = %reason, "call ended");
                    self.note(sid.clone(), AuditEvent::new("call.ended", json!({ "reason": reason })));
                    self.unwritten.record(Write::CallEnded {
                        sid: sid.clone(),
                        at: unix_now(),
                        reason,
                        outcome,
                    });
                    let db = self.db.clone();
                    actix_rt::spawn(async move {
                        if let Err(error) = db.release_holds(sid).await {
                            tracing::warn!(%error, "holds of an ended call not released");
                        }
                    });
                    (self.on_ended)(facts, reason, outcome);
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
                    }
                }
            }
        }
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let now = unix_now();
        self.unwritten.offer();
        let effects = self.roster.sweep(now);
        self.follow_up_all(effects);
        self.heal(now);
        if self.orphans_due.is_some_and(|due| due <= now) {
            self.orphans_due = None;
            self.close_orphans(ctx);
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

    /// Calls of an earlier process that nobody came back for.
    fn close_orphans(&mut self, ctx: &mut Context<Self>) {
        let db = self.db.clone();
        ctx.spawn(async move { db.open_calls().await }.into_actor(self).map(|open, this, _| match open {
            Ok(open) => {
                let now = unix_now();
                for call in open {
                    let sid = call.facts.sid.clone();
                    if this.roster.facts(&sid).is_none() && call.facts.admitted_at < this.started {
                        // Through the roster, so that a late callback finds it ended.
                        this.roster.adopt(now, call.facts, call.outcome, None);
                        let effects = this.roster.finish(now, &sid, EndReason::Lost);
                        this.follow_up(&sid, effects);
                    }
                }
            }
            Err(error) => tracing::error!(%error, "open calls of an earlier run not read"),
        }));
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Twilio's webhooks and every stream's end come here; none may be refused, so the bound is generous.
        ctx.set_mailbox_capacity(4_096);
        if self.orphans_due.is_none() {
            tracing::info!("the database may be shared: calls an earlier run left open wait for callbacks");
        }
        ctx.run_interval(SWEEP, Self::sweep);
    }
}

impl Handler<Admit> for Registry {
    type Result = MessageResult<Admit>;

    fn handle(&mut self, Admit(call): Admit, _: &mut Self::Context) -> Self::Result {
        let sid = call.sid.clone();
        let (admitted, effects) = self.roster.admit(unix_now(), call);
        if let Admitted::New(facts) = &admitted {
            tracing::info!(call.id = %facts.sid, caller = %facts.caller, "call admitted");
            self.unwritten.record(Write::CallAdmitted { facts: facts.clone() });
        }
        self.follow_up(&sid, effects);
        MessageResult(admitted)
    }
}

impl Handler<ClaimStream> for Registry {
    type Result = MessageResult<ClaimStream>;

    fn handle(&mut self, claim: ClaimStream, _: &mut Self::Context) -> Self::Result {
        let now = unix_now();
        let claimed = self.roster.claim(now, &claim.sid, &claim.admission, claim.epoch, &claim.stream);
        if let Claimed::Granted { facts, .. } = &claimed {
            // Also tells the database the new owner's epoch, which fences the old one.
            self.unwritten.record(Write::CallAdmitted { facts: facts.clone() });
            self.unwritten.record(Write::CallAnswered { sid: facts.sid.clone(), at: now });
        }
        MessageResult(claimed)
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
        let effects = self.roster.died(unix_now(), &died.sid, died.epoch, &died.stream);
        self.follow_up(&died.sid, effects);
        if self.roster.standing(&died.sid, died.epoch) == Standing::Gone
            && self.lines.get(&died.sid).is_some_and(|l| l.epoch == died.epoch)
        {
            self.lines.remove(&died.sid);
        }
    }
}

impl Handler<GoOn> for Registry {
    type Result = ResponseActFuture<Self, Onward>;

    fn handle(&mut self, ask: GoOn, _: &mut Self::Context) -> Self::Result {
        let known = self.roster.facts(&ask.sid).is_some();
        let db = self.db.clone();
        let sid = ask.sid.clone();
        let looked_up = async move {
            if known {
                return Ok(None);
            }
            // A call that an earlier process of ours left open.
            let Some(call) = open_call(&db, &sid).await? else { return Ok(None) };
            // Without it the call's actor looks for itself.
            let resume = db.resume_state(sid, RESUME_TURNS).await.ok().flatten();
            Ok::<_, DbError>(Some((call, resume.map(Box::new))))
        };
        Box::pin(looked_up.into_actor(self).map(move |found, this, _| {
            let now = unix_now();
            match found {
                Ok(Some((call, resume))) => this.roster.adopt(now, call.facts, call.outcome, resume),
                Ok(None) => {}
                Err(error) => {
                    // It may well be ours, with a caller on the line.
                    tracing::error!(call.id = %ask.sid, %error, "unknown call not looked up");
                    if this.roster.facts(&ask.sid).is_none() {
                        return Onward::GiveUp;
                    }
                }
            }
            this.roster.would_ring(&ask.sid, ask.person);
            let (onward, effects) = this.roster.go_on(now, &ask.sid, ask.status, ask.dial);
            this.follow_up(&ask.sid, effects);
            onward
        }))
    }
}

async fn open_call(db: &DbHandle, sid: &CallSid) -> Result<Option<CallOverview>, DbError> {
    Ok(db.call_overview(sid.clone()).await?.filter(|call| call.ended_at.is_none()))
}

impl Handler<StatusCame> for Registry {
    type Result = ();

    fn handle(&mut self, came: StatusCame, ctx: &mut Self::Context) {
        if self.roster.facts(&came.sid).is_some() || !came.status.is_terminal() {
            let effects = self.roster.status(unix_now(), &came.sid, came.status);
            self.follow_up(&came.sid, effects);
            return;
        }
        // Perhaps a call that an earlier process of ours left open.
        let db = self.db.clone();
        let sid = came.sid.clone();
        ctx.spawn(async move { open_call(&db, &sid).await }.into_actor(self).map(move |found, this, _| {
            let now = unix_now();
            match found {
                Ok(Some(call)) => this.roster.adopt(now, call.facts, call.outcome, None),
                Ok(None) => {}
                Err(error) => tracing::error!(call.id = %came.sid, %error, "unknown call not looked up"),
            }
            let effects = this.roster.status(now, &came.sid, came.status);
            this.follow_up(&came.sid, effects);
        }));
    }
}

impl Handler<Finish> for Registry {
    type Result = bool;

    fn handle(&mut self, finish: Finish, _: &mut Self::Context) -> bool {
        let known = self.roster.facts(&finish.sid).is_some();
        let effects = self.roster.finish(unix_now(), &finish.sid, finish.reason);
        self.follow_up(&finish.sid, effects);
        known
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

impl Handler<Placed> for Registry {
    type Result = ();

    fn handle(&mut self, placed: Placed, _: &mut Self::Context) {
        if let Some(facts) = self.roster.placed(unix_now(), &placed.admission, &placed.sid) {
            tracing::info!(call.id = %facts.sid, callee = %facts.caller, "call placed");
            self.unwritten.record(Write::CallAdmitted { facts });
            self.follow_up(&placed.sid, Vec::new());
        }
    }
}

impl Handler<Command> for Registry {
    type Result = ResponseActFuture<Self, Commanded>;

    fn handle(&mut self, Command { sid, order }: Command, _: &mut Self::Context) -> Self::Result {
        // Between its claim and its start a call has nobody who could say anything.
        let deaf = !matches!(order, StaffOrder::Mute(_)) && !self.lines.contains_key(&sid);
        let named_before = self.roster.named(&sid);
        let (mut commanded, mut effects) = self.roster.command(unix_now(), &sid, order);
        let told = effects.iter().position(|effect| matches!(effect, RosterEffect::Tell { .. }));
        let told = told.map(|at| effects.remove(at));
        if deaf && told.is_some() {
            commanded = Commanded::NotNow { state: "starting" };
        }
        // The call itself knows whether it is too late for it.
        let asked = match (told, self.lines.get(&sid)) {
            (Some(RosterEffect::Tell { order, .. }), Some(lines)) => Some(lines.staff.send(order)),
            _ => None,
        };
        self.follow_up(&sid, effects);
        let answered = async move {
            match asked {
                Some(asked) => asked.await.unwrap_or(false),
                None => true,
            }
        };
        Box::pin(answered.into_actor(self).map(move |taken, this, _| {
            if taken {
                return commanded;
            }
            // Whoever was to be rung before is still who is rung.
            this.roster.name(&sid, named_before);
            Commanded::NotNow { state: "ending" }
        }))
    }
}

impl Handler<LimitCalls> for Registry {
    type Result = ();

    fn handle(&mut self, LimitCalls(max): LimitCalls, _: &mut Self::Context) {
        self.roster.limit_calls(max);
    }
}

impl Handler<ListLive> for Registry {
    type Result = MessageResult<ListLive>;

    fn handle(&mut self, _: ListLive, _: &mut Self::Context) -> Self::Result {
        MessageResult::<ListLive>(self.roster.list())
    }
}

impl Handler<CloseDoor> for Registry {
    type Result = ();

    fn handle(&mut self, _: CloseDoor, _: &mut Self::Context) {
        self.roster.close();
    }
}

impl Handler<CountLive> for Registry {
    type Result = MessageResult<CountLive>;

    fn handle(&mut self, _: CountLive, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.roster.count())
    }
}

impl Handler<ShutDown> for Registry {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: ShutDown, ctx: &mut Self::Context) -> Self::Result {
        let effects = self.roster.release();
        self.follow_up_all(effects);
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

/// How many calls an actor still has.
#[derive(Message)]
#[rtype(result = "usize")]
struct Held;

impl Handler<Held> for Registry {
    type Result = usize;

    fn handle(&mut self, _: Held, _: &mut Self::Context) -> usize {
        self.roster.held()
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
