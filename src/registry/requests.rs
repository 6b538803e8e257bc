//! Requests that name a call. One that is here is answered at once; for any other it is found out whose it is.

use super::actor::Registry;
use super::messages::*;
use super::peers::{Found, Knows, Take, Taken, Whereabouts};
use super::roster::{Admitted, Claimed, Commanded, Kept, LiveCall, NewCall, Onward, Refusal, RosterEffect};
use super::wire::{Ask, Say};
use crate::db::Write;
use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::{CallSid, Epoch};
use crate::observe::clock::unix_now;
use crate::observe::metrics;
use actix::{
    ActorFuture, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, ResponseActFuture,
    ResponseFuture, WrapFuture, fut,
};
use std::time::Duration;

/// How long the lists of others are waited for.
const LISTS: Duration = Duration::from_millis(300);
/// How often the owner of a call is told of its end before the call is taken from it.
const TELLINGS: u32 = 4;
/// Between two of them.
const TELL_AGAIN: Duration = Duration::from_secs(2);

type Now<T> = ResponseActFuture<Registry, T>;

fn at_once<T: 'static>(answer: T) -> Now<T> {
    Box::pin(fut::ready(answer))
}

impl Registry {
    pub(super) fn knows(&self, sid: &CallSid) -> bool {
        self.roster.facts(sid).is_some()
    }

    /// A call is ours now that another process had.
    pub(super) fn adopt(&mut self, taken: Taken) {
        let Taken { call, kept, resume, .. } = taken;
        let sid = call.facts.sid.clone();
        let now = unix_now();
        // Whatever we still hold of it is older: we were thought dead, or cut off.
        let stale = Epoch(call.facts.epoch.0.saturating_sub(1));
        let effects = self.roster.fenced(now, &sid, stale);
        self.perform(effects);
        let rings = call.facts.direction == Direction::Outbound && call.answered_at.is_none();
        self.roster.adopt(now, call.facts, call.outcome, resume);
        match kept {
            Some(kept) => self.roster.recall(now, &sid, kept),
            None if rings => self.roster.recall_ringing(now, &sid),
            None => {}
        }
        self.follow_up(&sid, Vec::new());
    }

    fn admit(&mut self, call: NewCall) -> Admitted {
        let sid = call.sid.clone();
        let (admitted, effects) = self.roster.admit(unix_now(), call);
        if let Admitted::New(facts) = &admitted {
            tracing::info!(call.id = %facts.sid, caller = %facts.caller, "call admitted");
            metrics::call_admitted(facts);
            self.unwritten.record(Write::CallAdmitted { facts: facts.clone() });
        }
        self.follow_up(&sid, effects);
        admitted
    }

    /// Lets a stream claim a call of ours. `write` makes the row of the new owner: it also tells the database the new
    /// owner's epoch, which fences the old one.
    fn claim(&mut self, claim: &ClaimStream, epoch: Epoch, write: fn(CallFacts) -> Write) -> Claimed {
        let now = unix_now();
        let facts = &claim.facts;
        let claimed = self.roster.claim(now, &facts.sid, &facts.admission, epoch, &claim.stream);
        self.claimed(claimed, write)
    }

    fn claimed(&mut self, claimed: Claimed, write: fn(CallFacts) -> Write) -> Claimed {
        if let Claimed::Granted { facts, .. } = &claimed {
            self.gaps.claimed(unix_now(), facts);
            self.unwritten.record(write(facts.clone()));
            self.unwritten.record(Write::CallAnswered { sid: facts.sid.clone(), at: unix_now() });
            let sid = facts.sid.clone();
            self.follow_up(&sid, Vec::new());
        }
        claimed
    }

    /// The stream of a call that was just taken over. Its token is good if no stream has come with it yet.
    fn claim_taken(&mut self, claim: &ClaimStream, taken: Taken) -> Claimed {
        let (sid, token) = (&claim.facts.sid, claim.facts.epoch);
        let first = token == Epoch(1) && taken.call.answered_at.is_none();
        let unspent = token > taken.before || token == taken.before && first;
        self.adopt(taken);
        if unspent {
            self.roster.expect(unix_now(), sid, token);
        }
        let epoch = if unspent { self.roster.facts(sid).map_or(token, |facts| facts.epoch) } else { token };
        self.claim(claim, epoch, admitted)
    }

    pub(super) fn go_on(&mut self, ask: &GoOn) -> Onward {
        self.roster.would_ring(&ask.sid, ask.person.clone());
        let (onward, effects) = self.roster.go_on(unix_now(), &ask.sid, ask.status, ask.dial);
        self.follow_up(&ask.sid, effects);
        onward
    }

    pub(super) fn status_came(&mut self, came: &StatusCame) {
        let effects = self.roster.status(unix_now(), &came.sid, came.status);
        self.follow_up(&came.sid, effects);
    }

    pub(super) fn finish(&mut self, finish: &Finish) -> bool {
        let known = self.knows(&finish.sid);
        let effects = self.roster.finish(unix_now(), &finish.sid, finish.reason);
        self.follow_up(&finish.sid, effects);
        known
    }

    /// Takes an order for a call of ours; the call itself knows whether it is too late for it.
    pub(super) fn command(
        &mut self,
        Command { sid, order }: Command,
    ) -> impl ActorFuture<Self, Output = Commanded> + 'static {
        // Between its claim and its start a call has nobody who could say anything.
        let deaf = !matches!(order, StaffOrder::Mute(_)) && !self.lines.contains_key(&sid);
        let named_before = self.roster.named(&sid);
        let mutes = matches!(order, StaffOrder::Mute(_));
        let (mut commanded, mut effects) = self.roster.command(unix_now(), &sid, order);
        let told = effects.iter().position(|effect| matches!(effect, RosterEffect::Tell { .. }));
        let told = told.map(|at| effects.remove(at));
        if deaf && told.is_some() {
            commanded = Commanded::NotNow { state: "starting" };
        }
        if mutes && told.is_none() {
            self.keep_mute(&sid);
        }
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
        answered.into_actor(self).map(move |taken, this: &mut Self, _| {
            if taken {
                return commanded;
            }
            // Whoever was to be rung before is still who is rung.
            this.roster.name(&sid, named_before);
            Commanded::NotNow { state: "ending" }
        })
    }

    /// Writes down that staff want the bot of a call silent while nobody has the call, for whoever goes on with it.
    fn keep_mute(&mut self, sid: &CallSid) {
        let Some((epoch, muted, state)) = self.roster.waiting_state(sid) else { return };
        match state {
            Some(state) => self.unwritten.record(Write::Resume { sid: sid.clone(), epoch, state }),
            None => {
                let (db, sid) = (self.db.clone(), sid.clone());
                actix_rt::spawn(async move {
                    let Ok(Some(mut state)) = db.resume_state(sid.clone(), 0).await else { return };
                    state.muted = muted;
                    if let Err(error) = db.record(Write::Resume { sid, epoch, state }) {
                        tracing::warn!(%error, "whether the bot is to be silent is not written");
                    }
                });
            }
        }
    }

    /// Tells whoever has a call that it is over, again and again if need be.
    fn pass_status_on(&mut self, came: StatusCame, telling: u32, ctx: &mut Context<Self>) {
        let finder = self.finder(ctx);
        // One who is there and does not answer will hear of it by the call's stream: the end that it knows is the better
        // one. But some time it is to be over.
        let take = if telling >= TELLINGS { Take::Silent } else { Take::Lapsed };
        let ask = Ask::Status { sid: came.sid.clone(), status: came.status };
        let sid = came.sid.clone();
        let found = async move { finder.find(&sid, &ask, take).await };
        ctx.spawn(found.into_actor(self).map(move |search, this, ctx| match search.found {
            Found::Ours(taken) => {
                this.adopt(*taken);
                this.status_came(&came);
            }
            Found::Here => this.status_came(&came),
            Found::Said(..) | Found::Over(_) | Found::Nobody => {}
            Found::OutOfReach | Found::Away if telling >= TELLINGS => {
                tracing::error!(call.id = %came.sid, status = %came.status, "whoever has the call was not told of its end");
            }
            Found::OutOfReach | Found::Away => {
                ctx.run_later(TELL_AGAIN, move |this, ctx| this.pass_status_on(came, telling + 1, ctx));
            }
        }));
    }
}

fn admitted(facts: CallFacts) -> Write {
    Write::CallAdmitted { facts }
}

fn taken(facts: CallFacts) -> Write {
    Write::CallTaken { facts }
}

impl Handler<Knows> for Registry {
    type Result = Whereabouts;

    fn handle(&mut self, Knows(sid): Knows, _: &mut Self::Context) -> Whereabouts {
        match self.roster.moved(&sid) {
            _ if self.knows(&sid) => Whereabouts::Here,
            Some(Some(to)) => Whereabouts::Given(to.clone()),
            _ => Whereabouts::Unknown,
        }
    }
}

impl Handler<Admit> for Registry {
    type Result = Now<Admitted>;

    fn handle(&mut self, Admit(call): Admit, ctx: &mut Self::Context) -> Self::Result {
        // A browser asks once, and nobody else is at a file of ours.
        if self.knows(&call.sid) || self.settings.exclusive || call.kind == CallKind::Browser {
            return at_once(self.admit(call));
        }
        let finder = self.finder(ctx);
        let sid = call.sid.clone();
        let found = async move { finder.find_known(&sid, &Ask::Admit { sid: sid.clone() }).await };
        Box::pin(found.into_actor(self).map(move |search, this, _| match search.found {
            Found::Said(_, say) => say.admitted().unwrap_or(Admitted::Over),
            Found::Ours(taken) => {
                this.adopt(*taken);
                this.admit(call)
            }
            Found::Over(_) => Admitted::Over,
            Found::Here | Found::Nobody | Found::OutOfReach | Found::Away => this.admit(call),
        }))
    }
}

impl Handler<ClaimStream> for Registry {
    type Result = Now<Claimed>;

    fn handle(&mut self, claim: ClaimStream, ctx: &mut Self::Context) -> Self::Result {
        let facts = claim.facts.clone();
        if self.knows(&facts.sid) {
            return at_once(self.claim(&claim, facts.epoch, admitted));
        }
        let finder = self.finder(ctx);
        let ask = Ask::Claim { sid: facts.sid, admission: facts.admission, epoch: facts.epoch };
        let sid = claim.facts.sid.clone();
        let found = async move { finder.find(&sid, &ask, Take::Silent).await };
        Box::pin(found.into_actor(self).map(move |search, this, _| match search.found {
            Found::Here => this.claim(&claim, claim.facts.epoch, admitted),
            Found::Said(by, Say::HandedOver { baggage }) => {
                this.roster.take_in(unix_now(), *baggage, &by);
                this.claim(&claim, claim.facts.epoch, taken)
            }
            Found::Said(_, Say::Refused { why }) => Claimed::Refused(why),
            Found::Ours(taken) => this.claim_taken(&claim, *taken),
            Found::Said(..) | Found::Over(_) => Claimed::Refused(Refusal::Over),
            Found::Nobody => Claimed::Refused(Refusal::Unknown),
            Found::OutOfReach => Claimed::Refused(Refusal::Spent),
            Found::Away => {
                let facts = claim.facts.clone();
                tracing::error!(call.id = %facts.sid, "nobody can be asked about a call: its token alone counts");
                let claimed = this.roster.vouch(unix_now(), facts, &claim.stream);
                this.claimed(claimed, taken)
            }
        }))
    }
}

impl Handler<GoOn> for Registry {
    type Result = Now<Onward>;

    fn handle(&mut self, ask: GoOn, ctx: &mut Self::Context) -> Self::Result {
        if self.knows(&ask.sid) {
            return at_once(self.go_on(&ask));
        }
        let finder = self.finder(ctx);
        let sid = ask.sid.clone();
        let question = Ask::GoOn {
            sid: ask.sid.clone(),
            status: ask.status,
            dial: ask.dial,
            person: ask.person.clone(),
        };
        let found = async move { finder.find(&sid, &question, Take::Silent).await };
        Box::pin(found.into_actor(self).map(move |search, this, _| match search.found {
            Found::Said(_, Say::Onward { to }) => to,
            Found::Ours(taken) => {
                this.adopt(*taken);
                this.go_on(&ask)
            }
            Found::Over(kept) => kept.map_or(Onward::HangUp { say: None }, Kept::onward),
            Found::Here | Found::Nobody => this.go_on(&ask),
            // It may well be ours, with a caller on the line.
            Found::Said(..) | Found::OutOfReach | Found::Away => match this.knows(&ask.sid) {
                true => this.go_on(&ask),
                false => Onward::GiveUp,
            },
        }))
    }
}

impl Handler<StatusCame> for Registry {
    type Result = ();

    fn handle(&mut self, came: StatusCame, ctx: &mut Self::Context) {
        if self.knows(&came.sid) || !came.status.is_terminal() {
            self.status_came(&came);
        } else {
            self.pass_status_on(came, 1, ctx);
        }
    }
}

impl Handler<Finish> for Registry {
    type Result = Now<bool>;

    fn handle(&mut self, finish: Finish, ctx: &mut Self::Context) -> Self::Result {
        if self.knows(&finish.sid) {
            return at_once(self.finish(&finish));
        }
        let finder = self.finder(ctx);
        let (sid, reason) = (finish.sid.clone(), finish.reason);
        let found = async move {
            let ask = Ask::Finish { sid: sid.clone(), reason };
            finder.find(&sid, &ask, Take::Silent).await
        };
        Box::pin(found.into_actor(self).map(move |search, this, _| match search.found {
            Found::Said(..) => true,
            Found::Ours(taken) => {
                this.adopt(*taken);
                this.finish(&finish)
            }
            _ => this.finish(&finish),
        }))
    }
}

impl Handler<Command> for Registry {
    type Result = Now<Commanded>;

    fn handle(&mut self, command: Command, ctx: &mut Self::Context) -> Self::Result {
        if self.knows(&command.sid) {
            return Box::pin(self.command(command));
        }
        let finder = self.finder(ctx);
        let ask = Ask::Command { sid: command.sid.clone(), order: command.order.clone() };
        let sid = command.sid.clone();
        let found = async move { finder.find(&sid, &ask, Take::Lapsed).await };
        Box::pin(found.into_actor(self).then(move |search, this: &mut Self, _| -> Now<Commanded> {
            match search.found {
                Found::Said(_, say) => at_once(say.commanded().unwrap_or(Commanded::Unknown)),
                Found::Ours(taken) => {
                    this.adopt(*taken);
                    Box::pin(this.command(command))
                }
                Found::Here => Box::pin(this.command(command)),
                Found::Over(_) | Found::Nobody => at_once(Commanded::Unknown),
                Found::OutOfReach | Found::Away => at_once(Commanded::NotNow { state: "out of reach" }),
            }
        }))
    }
}

impl Handler<Placed> for Registry {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, placed: Placed, ctx: &mut Self::Context) -> Self::Result {
        if self.placed(&placed) || self.knows(&placed.sid) || !self.has_company() {
            return Box::pin(std::future::ready(()));
        }
        let finder = self.finder(ctx);
        Box::pin(async move {
            let Placed { admission, sid } = placed;
            finder.tell_placer(&sid, &Ask::Placed { admission, sid: sid.clone() }).await;
        })
    }
}

impl Registry {
    /// Joins the identifier of a call that we place to its admission.
    pub(super) fn placed(&mut self, placed: &Placed) -> bool {
        let Some(facts) = self.roster.placed(unix_now(), &placed.admission, &placed.sid) else {
            return false;
        };
        tracing::info!(call.id = %facts.sid, callee = %facts.caller, "call placed");
        self.unwritten.record(Write::CallAdmitted { facts });
        self.follow_up(&placed.sid, Vec::new());
        true
    }
}

impl Handler<ListLive> for Registry {
    type Result = ResponseFuture<Vec<LiveCall>>;

    fn handle(&mut self, _: ListLive, _: &mut Self::Context) -> Self::Result {
        let mut calls = self.roster.list();
        if !self.has_company() || self.cluster.is_alone() {
            return Box::pin(std::future::ready(calls));
        }
        let cluster = self.cluster.clone();
        let expected: Vec<_> = self.company().map(|peer| peer.id.clone()).collect();
        Box::pin(async move {
            let answers = cluster.ask_all(Ask::List.encode(), LISTS).await;
            for missing in expected.iter().filter(|id| !answers.iter().any(|(by, _)| by == *id)) {
                tracing::warn!(replica = %missing, "the calls of a replica are missing from a list");
            }
            for (_, answer) in answers {
                let Say::Live { calls: theirs } = Say::decode(&answer) else { continue };
                for call in theirs.into_iter().map(LiveCall::from) {
                    // On its way from one to the other it may be at both.
                    match calls.iter_mut().find(|known| known.facts.sid == call.facts.sid) {
                        Some(known) if known.facts.epoch < call.facts.epoch => *known = call,
                        Some(_) => {}
                        None => calls.push(call),
                    }
                }
            }
            calls.sort_by(|a, b| (a.since, a.facts.sid.as_str()).cmp(&(b.since, b.facts.sid.as_str())));
            calls
        })
    }
}

impl Handler<ShowLive> for Registry {
    type Result = MessageResult<ShowLive>;

    fn handle(&mut self, ShowLive(sid): ShowLive, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.roster.show(&sid))
    }
}
