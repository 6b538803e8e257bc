//! That we are there, who else is, and what becomes of the calls of those who are not any more.
//!
//! Each replica says to the database that it is there. One that has not for a lease is taken for dead by whoever sees it
//! first: its open calls are that one's then, all in one transaction, and Twilio is told to ask about them.

use super::actor::{Registry, Settings};
use super::peers::Taken;
use super::watch::{Fate, Outage, Rhythm, Watch};
use crate::call::messages::StreamEvent;
use crate::db::{DbError, Peer, Presence};
use crate::domain::call::CallKind;
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::domain::time::UnixMillis;
use crate::observe::clock::unix_now;
use crate::observe::metrics;
use actix::fut::wrap_stream;
use actix::{ActorFutureExt, ActorStreamExt, AsyncContext, Context, StreamHandler, WrapFuture};
use futures_util::StreamExt as _;
use futures_util::stream;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Calls whose state is read at once.
const AT_ONCE: usize = 4;
/// A stream that comes while we are about to end is kept so long before it is to go again: those who send streams to us may
/// not have noticed yet.
const STAY: Duration = Duration::from_secs(5);

/// What is known of the replicas.
pub(super) struct PresenceState {
    since: Instant,
    pub(super) watch: Watch,
    peers: Vec<Peer>,
    /// Of them, those that are silent in the database and answer: that was told.
    spared: HashSet<ReplicaId>,
    /// Heartbeats fail.
    unheard: Outage,
    /// Whose our calls are cannot be looked up.
    unlooked: Outage,
    /// One is on its way.
    pub(super) beating: bool,
    /// No more of them.
    pub(super) over: bool,
    /// Whoever sends us calls may know of us by now. Before, nobody is to let go of a call because we are there.
    open: bool,
    /// We are about to end; how long calls wait for a pause to be handed over.
    pub(super) draining: Option<Duration>,
    /// Calls that nobody seems to have, and since when, ms.
    strays: HashMap<CallSid, u64>,
    /// When they are looked for next, ms.
    strays_due: u64,
    /// It is being looked up whose our calls are.
    asking: bool,
}

impl PresenceState {
    pub(super) fn new(settings: Settings) -> Self {
        let rhythm = Rhythm { heartbeat: ms(settings.heartbeat), lease: ms(settings.lease) };
        Self {
            since: Instant::now(),
            watch: Watch::new(rhythm),
            peers: Vec::new(),
            spared: HashSet::new(),
            unheard: Outage::default(),
            unlooked: Outage::default(),
            beating: false,
            over: false,
            open: settings.notice.is_zero(),
            draining: None,
            strays: HashMap::new(),
            strays_due: 0,
            asking: false,
        }
    }

    fn now(&self) -> u64 {
        ms(self.since.elapsed())
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Registry {
    /// Begins to live with others.
    pub(super) fn join(&mut self, ctx: &mut Context<Self>) {
        if let Some(mut questions) = self.cluster.questions() {
            ctx.add_stream(stream::poll_fn(move |cx| questions.poll_recv(cx)));
        }
        if let Some(mut fenced) = self.db.fenced() {
            ctx.add_stream(stream::poll_fn(move |cx| fenced.poll_recv(cx)));
        }
        self.beat(ctx);
        ctx.run_interval(self.settings.heartbeat, Self::beat);
        if !self.presence.open {
            ctx.run_later(self.settings.notice, |this, ctx| {
                this.presence.open = true;
                this.beat(ctx);
            });
        }
    }

    /// Those that are there.
    pub(super) fn company(&self) -> impl Iterator<Item = &Peer> {
        self.presence.peers.iter().filter(|peer| self.presence.watch.is_there(ms(peer.age)))
    }

    /// Whether there are any.
    pub(super) fn has_company(&self) -> bool {
        self.company().next().is_some()
    }

    /// Whether others can learn that a call of ours is to go on at theirs: from the database, or from us.
    fn can_be_found(&self) -> bool {
        self.presence.watch.is_heard(self.presence.now()) || *self.cluster.standing().borrow()
    }

    fn beat(&mut self, ctx: &mut Context<Self>) {
        if self.presence.beating || self.presence.over {
            return;
        }
        self.presence.beating = true;
        let me = Presence {
            id: self.cluster.id().clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            calls: u32::try_from(self.roster.count().open).unwrap_or(u32::MAX),
            draining: self.presence.draining.is_some() || !self.presence.open,
        };
        let (db, patience) = (self.db.clone(), self.settings.lease);
        let beat = async move {
            let beat = tokio::time::timeout(patience, db.heartbeat(me)).await;
            beat.unwrap_or(Err(DbError::Overloaded))
        };
        ctx.spawn(beat.into_actor(self).map(|heard, this, ctx| {
            this.presence.beating = false;
            metrics::database_reachable(heard.is_ok());
            match heard {
                Ok(peers) => {
                    if this.presence.unheard.ends() {
                        tracing::info!("the others can be told again that we are there");
                    }
                    this.heard_of(peers, ctx);
                }
                Err(DbError::Closed) => {}
                Err(error) => {
                    this.presence.watch.failed();
                    let code = error.code();
                    if this.presence.unheard.begins() {
                        tracing::warn!(code, "the others cannot be told that we are there");
                    } else {
                        tracing::debug!(code, "the others still cannot be told that we are there");
                    }
                }
            }
        }));
    }

    fn heard_of(&mut self, mut peers: Vec<Peer>, ctx: &mut Context<Self>) {
        peers.retain(|peer| peer.id != *self.cluster.id());
        let now = self.presence.now();
        self.presence.watch.tick(now);
        self.presence.watch.beaten(now);
        for peer in peers.iter().filter(|peer| !self.presence.peers.iter().any(|p| p.id == peer.id)) {
            tracing::info!(replica = %peer.id, "another replica is there");
        }
        self.presence.peers = peers;
        if self.presence.watch.is_doubtful() {
            self.look_what_is_ours(ctx);
        }
        let judges = !self.presence.over && self.presence.watch.judges(now, self.settings.exclusive);
        self.take_over_lapsed(judges, ctx);
        if judges {
            self.look_for_strays(now, ctx);
        }
    }

    /// Now and then.
    pub(super) fn look_around(&mut self, ctx: &mut Context<Self>) {
        let now = self.presence.now();
        self.presence.watch.tick(now);
        if self.presence.watch.is_doubtful() {
            self.beat(ctx);
        }
        if let Some(within) = self.presence.draining {
            let long_ago = unix_now().0.saturating_sub(i64::try_from(STAY.as_millis()).unwrap_or(0));
            self.let_go(UnixMillis(long_ago), within);
            // Whoever goes on with a call says so, which cannot be heard now: it stands in the database.
            if self.has_company() && !*self.cluster.standing().borrow() {
                self.look_what_is_ours(ctx);
            }
        }
    }

    fn take_over_lapsed(&mut self, judges: bool, ctx: &mut Context<Self>) {
        let (lease, watch) = (self.settings.lease, self.presence.watch);
        let PresenceState { peers, spared, .. } = &mut self.presence;
        let silent = |peer: &Peer| watch.fate(judges, ms(peer.age), None) == Fate::Asked;
        spared.retain(|id| peers.iter().any(|peer| peer.id == *id && !watch.is_there(ms(peer.age))));
        let lapsed: Vec<Peer> = peers.iter().filter(|peer| silent(peer)).cloned().collect();
        for Peer { id, age, .. } in lapsed {
            let finder = self.finder(ctx);
            let taking = async move {
                if watch.fate(judges, ms(age), Some(finder.is_there(&id).await)) == Fate::Kept {
                    return (Rc::new(finder), Err(id));
                }
                let taken = finder.db.take_over_lapsed(id.clone(), lease).await;
                let calls = match taken {
                    Ok(calls) => calls,
                    Err(error) => {
                        tracing::error!(replica = %id, code = error.code(), "calls of a dead replica not taken over");
                        Vec::new()
                    }
                };
                if !calls.is_empty() {
                    tracing::warn!(replica = %id, calls = calls.len(), "calls of a dead replica taken over");
                }
                (Rc::new(finder), Ok(calls))
            };
            ctx.spawn(taking.into_actor(self).map(|(finder, taken), this, ctx| {
                let calls = match taken {
                    Ok(calls) => calls,
                    Err(id) => return this.spared(id),
                };
                // Each as soon as its state is there: until then others ask us in vain.
                let states = stream::iter(calls).map(move |call| {
                    let finder = Rc::clone(&finder);
                    async move { finder.inherited(call).await }
                });
                let each = wrap_stream(states.buffer_unordered(AT_ONCE))
                    .map(|taken: Option<Taken>, this: &mut Self, ctx| this.inherit(taken, ctx))
                    .finish();
                // Also where there were no calls: there may be jobs.
                ctx.spawn(each.map(|(), this: &mut Self, ctx| this.forsaken(Vec::new(), ctx)));
            }));
        }
    }

    /// One that is silent in the database has answered.
    fn spared(&mut self, id: ReplicaId) {
        if self.presence.spared.contains(&id) {
            tracing::debug!(replica = %id, "a replica is still not heard of in the database, and answers");
        } else {
            tracing::warn!(replica = %id, "a replica is not heard of in the database, and answers: it keeps its calls");
            self.presence.spared.insert(id);
        }
    }

    /// Goes on with calls that others have left behind.
    fn inherit(&mut self, taken: impl IntoIterator<Item = Taken>, ctx: &Context<Self>) {
        let mut forsaken = Vec::new();
        for taken in taken {
            let sid = taken.call.facts.sid.clone();
            let twilios = taken.call.facts.kind == CallKind::Twilio;
            self.adopt(taken);
            if twilios && self.roster.is_forsaken(&sid) {
                forsaken.push(sid);
            }
        }
        self.forsaken(forsaken, ctx);
    }

    /// Looks for open calls that nobody has: whoever had them has left, or was given them and never came to say so.
    fn look_for_strays(&mut self, now: u64, ctx: &mut Context<Self>) {
        if now < self.presence.strays_due {
            return;
        }
        self.presence.strays_due = now.saturating_add(ms(self.settings.lease));
        let db = self.db.clone();
        let looking = async move { db.strays().await };
        ctx.spawn(looking.into_actor(self).map(move |found, this, ctx| match found {
            Ok(found) => {
                let seen = std::mem::take(&mut this.presence.strays);
                for stray in found {
                    let (sid, epoch) = (stray.sid, stray.epoch);
                    if this.knows(&sid) || this.roster.moved(&sid).is_some() {
                        continue;
                    }
                    let since = seen.get(&sid).copied().unwrap_or(now);
                    let buried = this.settings.exclusive && !stray.ours;
                    if this.presence.watch.is_left(since, now, buried) {
                        this.take_stray(sid, epoch, ctx);
                    } else {
                        this.presence.strays.insert(sid, since);
                    }
                }
            }
            Err(error) => tracing::warn!(code = error.code(), "calls that nobody has not looked for"),
        }));
    }

    fn take_stray(&mut self, sid: CallSid, epoch: Epoch, ctx: &mut Context<Self>) {
        let finder = self.finder(ctx);
        let taking = async move {
            match finder.db.take_over(sid, epoch).await {
                Ok(Some(call)) => finder.inherited(call).await,
                Ok(None) => None,
                Err(error) => {
                    tracing::warn!(code = error.code(), "a call that nobody has not taken over");
                    None
                }
            }
        };
        ctx.spawn(taking.into_actor(self).map(|taken, this, ctx| this.inherit(taken, ctx)));
    }

    /// We may have been thought dead: calls that are another's by now are dropped before anything is done with them.
    fn look_what_is_ours(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.presence.asking, true) {
            return;
        }
        let (db, me) = (self.db.clone(), self.cluster.id().clone());
        let open = self.roster.open();
        let doubts = self.presence.watch.doubts();
        let patience = self.settings.lease;
        let looking = async move {
            let mut lost = Vec::new();
            // What says that a call is ours may still wait to be written.
            tokio::time::timeout(patience, db.flush()).await.unwrap_or(Err(DbError::Overloaded))?;
            for (sid, epoch) in open {
                match db.owner_of(sid.clone()).await {
                    Ok(Some(owner)) if is_anothers(owner.replica.as_ref(), &me, owner.epoch, epoch) => {
                        lost.push((sid, epoch));
                    }
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(lost)
        };
        ctx.spawn(looking.into_actor(self).map(move |lost, this, ctx| {
            this.presence.asking = false;
            match lost {
                Ok(lost) => {
                    if this.presence.unlooked.ends() {
                        tracing::info!("whose our calls are is known again");
                    }
                    for (sid, epoch) in lost {
                        this.drop_fenced(&sid, epoch);
                    }
                    this.presence.watch.reassure(doubts);
                }
                Err(error) => {
                    let code = error.code();
                    if this.presence.unlooked.begins() {
                        tracing::warn!(code, "whose our calls are is not known");
                    } else {
                        tracing::debug!(code, "whose our calls are is still not known");
                    }
                    ctx.run_later(Duration::from_millis(500), |this, ctx| {
                        if this.presence.watch.is_doubtful() {
                            this.beat(ctx);
                        }
                    });
                }
            }
        }));
    }

    fn drop_fenced(&mut self, sid: &CallSid, epoch: Epoch) {
        let effects = self.roster.fenced(unix_now(), sid, epoch);
        self.gaps.forget(sid);
        if !effects.is_empty() {
            tracing::warn!(call.id = %sid, %epoch, "the call is another replica's: ours is dropped");
            self.perform(effects);
        }
    }

    /// From now on the process is about to end.
    pub(super) fn drain(&mut self, within: Duration, ctx: &mut Context<Self>) {
        self.presence.draining = Some(within);
        // The others are to know at once.
        self.beat(ctx);
        self.let_go(unix_now().after(Duration::from_millis(1)), within);
    }

    /// Has calls that were claimed before `then` let go of their streams, if somebody is there who goes on with them.
    fn let_go(&mut self, then: UnixMillis, within: Duration) {
        // What was last heard of the others may be long ago; then nobody could be asked, either, where our calls are.
        if !self.company().any(|peer| !peer.draining) || !self.can_be_found() {
            return;
        }
        for sid in self.roster.let_go_all(then) {
            // One that has not reported yet is told when it does.
            if let Some(lines) = self.lines.get(&sid) {
                lines.evict.do_send(StreamEvent::LetGo { within });
            }
        }
    }
}

/// Whether a call that we hold at `held` is not ours.
fn is_anothers(owner: Option<&ReplicaId>, me: &ReplicaId, current: Epoch, held: Epoch) -> bool {
    // One that we have raised and not yet written is newer than what is stored.
    owner.is_some_and(|owner| owner != me) && current >= held
}

impl StreamHandler<(CallSid, Epoch)> for Registry {
    fn handle(&mut self, (sid, epoch): (CallSid, Epoch), _: &mut Self::Context) {
        self.drop_fenced(&sid, epoch);
    }

    // The database is closed, we are not.
    fn finished(&mut self, _: &mut Self::Context) {}
}
