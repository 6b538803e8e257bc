//! The registry's shell: keeps the addresses of live calls, writes the end of each, sweeps.

use super::messages::*;
use super::roster::{Admitted, Claimed, Limits, LiveCall, Onward, Roster, RosterEffect};
use crate::call::messages::{CallLeft, EndCall, InjectFault, StreamEvent};
use crate::db::{DbHandle, Write};
use crate::domain::call::{CallFacts, EndReason, Outcome};
use crate::domain::ids::{CallSid, Epoch};
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, Recipient, ResponseActFuture,
    WrapFuture,
};
use std::collections::HashMap;
use std::time::Duration;

/// What is told of a call that ended, once its end was queued for the database.
pub type OnEnded = Box<dyn Fn(CallFacts, EndReason, Outcome)>;

/// How often the sweep runs.
const SWEEP: Duration = Duration::from_secs(1);
/// Turns loaded for a call that an earlier process left open.
const RESUME_TURNS: u32 = 48;

struct Lines {
    epoch: Epoch,
    end: Recipient<EndCall>,
    evict: Recipient<StreamEvent>,
    fault: Recipient<InjectFault>,
}

/// Knows which calls are live. The only one who does.
pub struct Registry {
    roster: Roster,
    lines: HashMap<CallSid, Lines>,
    db: DbHandle,
    on_ended: OnEnded,
    /// Calls found open at the start: what is still open when `suspend` has passed is closed as lost.
    orphans_due: Option<UnixMillis>,
}

impl Registry {
    /// A registry that writes ends to `db` and tells `on_ended` of each.
    pub fn new(limits: Limits, db: DbHandle, on_ended: OnEnded) -> Self {
        Self { roster: Roster::new(limits), lines: HashMap::new(), db, on_ended, orphans_due: None }
    }

    fn perform(&mut self, effects: Vec<RosterEffect>) {
        for effect in effects {
            match effect {
                RosterEffect::Ended { facts, reason, outcome } => {
                    let sid = facts.sid.clone();
                    self.lines.remove(&sid);
                    tracing::info!(call.id = %sid, reason = %reason, "call ended");
                    let write = Write::CallEnded { sid: sid.clone(), at: unix_now(), reason, outcome };
                    if let Err(refused) = self.db.record(write) {
                        tracing::error!(call.id = %sid, error = %refused, "end of call not recorded");
                    }
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
        let effects = self.roster.sweep(now);
        self.perform(effects);
        if self.orphans_due.is_some_and(|due| due <= now) {
            self.orphans_due = None;
            self.close_orphans(ctx);
        }
    }

    /// Calls of an earlier process that nobody came back for.
    fn close_orphans(&mut self, ctx: &mut Context<Self>) {
        let db = self.db.clone();
        let started = unix_now();
        ctx.spawn(async move { db.open_calls().await }.into_actor(self).map(
            move |open, this, _| match open {
                Ok(open) => {
                    for call in open {
                        if this.roster.facts(&call.facts.sid).is_some() || call.facts.admitted_at > started {
                            continue;
                        }
                        this.perform(vec![RosterEffect::Ended {
                            facts: call.facts,
                            reason: EndReason::Lost,
                            outcome: call.outcome,
                        }]);
                    }
                }
                Err(error) => tracing::error!(%error, "open calls of an earlier run not read"),
            },
        ));
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Twilio's webhooks and every stream's end come here; none may be refused, so the bound is generous.
        ctx.set_mailbox_capacity(4_096);
        self.orphans_due = Some(unix_now().after(self.roster.limits().suspend));
        ctx.run_interval(SWEEP, Self::sweep);
    }
}

impl Handler<Admit> for Registry {
    type Result = MessageResult<Admit>;

    fn handle(&mut self, Admit(call): Admit, _: &mut Self::Context) -> Self::Result {
        let admitted = self.roster.admit(unix_now(), call);
        if let Admitted::New(facts) = &admitted {
            tracing::info!(call.id = %facts.sid, caller = %facts.caller, "call admitted");
            if let Err(refused) = self.db.record(Write::CallAdmitted { facts: facts.clone() }) {
                tracing::error!(call.id = %facts.sid, error = %refused, "admission not recorded");
            }
        }
        MessageResult(admitted)
    }
}

impl Handler<ClaimStream> for Registry {
    type Result = MessageResult<ClaimStream>;

    fn handle(&mut self, claim: ClaimStream, _: &mut Self::Context) -> Self::Result {
        let claimed = self.roster.claim(&claim.sid, &claim.admission, claim.epoch);
        if let Claimed::Granted { facts, .. } = &claimed {
            // Also tells the database the new owner's epoch, which fences the old one.
            let writes = [
                Write::CallAdmitted { facts: facts.clone() },
                Write::CallAnswered { sid: facts.sid.clone(), at: unix_now() },
            ];
            for write in writes {
                if let Err(refused) = self.db.record(write) {
                    tracing::error!(call.id = %facts.sid, error = %refused, "start of call not recorded");
                }
            }
        }
        MessageResult(claimed)
    }
}

impl Handler<CallStarted> for Registry {
    type Result = ();

    fn handle(&mut self, call: CallStarted, _: &mut Self::Context) {
        let current = self.roster.facts(&call.sid).is_some_and(|f| f.epoch == call.epoch);
        if current {
            self.lines.insert(
                call.sid,
                Lines { epoch: call.epoch, end: call.end, evict: call.evict, fault: call.fault },
            );
        } else {
            // It was ended or taken over between its claim and its start.
            call.evict.do_send(StreamEvent::Broke);
        }
    }
}

impl Handler<CallLeft> for Registry {
    type Result = ();

    fn handle(&mut self, left: CallLeft, _: &mut Self::Context) {
        if self.lines.get(&left.sid).is_some_and(|l| l.epoch == left.epoch) {
            self.lines.remove(&left.sid);
        }
        let effects = self.roster.left(unix_now(), left);
        self.perform(effects);
    }
}

impl Handler<CallDied> for Registry {
    type Result = ();

    fn handle(&mut self, died: CallDied, _: &mut Self::Context) {
        if self.lines.get(&died.sid).is_some_and(|l| l.epoch == died.epoch) {
            self.lines.remove(&died.sid);
        }
        let effects = self.roster.died(unix_now(), &died.sid, died.epoch);
        self.perform(effects);
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
                return None;
            }
            // A call that an earlier process of ours left open.
            let call = db.call_overview(sid.clone()).await.ok().flatten()?;
            if call.ended_at.is_some() {
                return None;
            }
            let resume = db.resume_state(sid, RESUME_TURNS).await.ok().flatten();
            Some((call.facts, resume.map(Box::new)))
        };
        Box::pin(looked_up.into_actor(self).map(move |found, this, _| {
            let now = unix_now();
            if let Some((facts, resume)) = found {
                this.roster.adopt(now, facts, resume);
            }
            let (onward, effects) = this.roster.go_on(now, &ask.sid, ask.status, ask.dial);
            this.perform(effects);
            onward
        }))
    }
}

impl Handler<StatusCame> for Registry {
    type Result = ();

    fn handle(&mut self, came: StatusCame, _: &mut Self::Context) {
        let effects = self.roster.status(unix_now(), &came.sid, came.status);
        self.perform(effects);
    }
}

impl Handler<Finish> for Registry {
    type Result = bool;

    fn handle(&mut self, finish: Finish, _: &mut Self::Context) -> bool {
        let known = self.roster.facts(&finish.sid).is_some();
        let effects = self.roster.finish(unix_now(), &finish.sid, finish.reason);
        self.perform(effects);
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

impl Handler<ShutDown> for Registry {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: ShutDown, _: &mut Self::Context) -> Self::Result {
        self.roster.close();
        let live: Vec<LiveCall> = self.roster.list();
        for call in live {
            let effects = self.roster.finish(unix_now(), &call.facts.sid, EndReason::Shutdown);
            self.perform(effects);
        }
        // The sweep ends what does not leave by itself.
        Box::pin(wait_until_empty().into_actor(self).then(|(), this, _| this.check_empty()))
    }
}

async fn wait_until_empty() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

impl Registry {
    fn check_empty(&mut self) -> ResponseActFuture<Self, ()> {
        if self.roster.list().is_empty() {
            return Box::pin(async {}.into_actor(self));
        }
        Box::pin(wait_until_empty().into_actor(self).then(|(), this, _| this.check_empty()))
    }
}

/// Limits of the roster as configured.
pub fn limits(config: &crate::config::Config) -> Limits {
    Limits {
        max_calls: config.server.max_calls,
        reservation: Duration::from_millis(config.twilio.reservation_ms),
        suspend: Duration::from_millis(config.twilio.suspend_ms),
        max_breaks: config.twilio.max_breaks,
    }
}
