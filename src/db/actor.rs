//! The writer: an actor on a thread of its own that keeps the order of writes and joins what waits into batches.
//!
//! While one batch is on the blocking pool, the next collects; and where nobody waits for a write, a moment is given to
//! others to join it, so that many calls' notes cost one transaction. The mailbox is not bounded; the permits are that every
//! queued write carries, taken before it is sent (`handle.rs`).

use super::batch::{self, Away, Done};
use super::connect::Pool;
use super::error::DbError;
use super::write::Write;
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::observe::metrics;
use actix::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// How often a write that fails for a passing reason is tried before it is given up.
const TRIES: u8 = 5;
/// First and longest pause after a failure that may pass.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where the answer to one write goes.
pub(super) type Reply = oneshot::Sender<Result<(), DbError>>;

/// A write in the queue.
pub(super) struct Queued {
    pub(super) write: Write,
    /// Who waits for it, if anybody does.
    pub(super) reply: Option<Reply>,
    /// Its place in the queue; freed when it is dropped.
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) tries: u8,
}

/// What the writer has done so far; read by anybody.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) written: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) batches: AtomicU64,
}

/// Queues a write.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Enqueue(pub(super) Queued);

/// Answers when everything queued before it is done.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Flush(pub(super) Reply);

/// Writes what is queued, then ends the writer and its thread.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Close(pub(super) Option<oneshot::Sender<()>>);

enum Item {
    Write(Queued),
    Flush(Reply),
}

impl Item {
    fn is_awaited(&self) -> bool {
        match self {
            Self::Write(queued) => queued.reply.is_some(),
            Self::Flush(_) => true,
        }
    }
}

pub(super) struct DbActor {
    pool: Pool,
    /// Who writes.
    me: ReplicaId,
    /// Where is told what was refused because somebody newer has the call.
    fenced: mpsc::Sender<(CallSid, Epoch)>,
    largest_batch: usize,
    /// How long writes nobody waits for are gathered.
    gather: Duration,
    /// The end of that time is on its way.
    gathering: bool,
    totals: Arc<Totals>,
    queue: VecDeque<Item>,
    /// How many in the queue somebody waits for, flushes included.
    awaited: usize,
    /// A batch is on the blocking pool, or the pause after a failure runs.
    busy: bool,
    pause: Duration,
    closing: bool,
    /// Told when the writer has ended.
    closed: Vec<oneshot::Sender<()>>,
}

impl DbActor {
    pub(super) fn new(
        pool: Pool,
        me: ReplicaId,
        fenced: mpsc::Sender<(CallSid, Epoch)>,
        largest_batch: usize,
        gather: Duration,
        totals: Arc<Totals>,
    ) -> Self {
        Self {
            pool,
            me,
            fenced,
            largest_batch: largest_batch.max(1),
            gather,
            gathering: false,
            totals,
            queue: VecDeque::new(),
            awaited: 0,
            busy: false,
            pause: PAUSE,
            closing: false,
            closed: Vec::new(),
        }
    }

    fn add(&mut self, item: Item, ctx: &mut Context<Self>) {
        self.awaited += usize::from(item.is_awaited());
        self.queue.push_back(item);
        self.next_in_time(ctx);
    }

    /// Starts the next batch: at once if anybody waits or there is enough for one, else when it has been gathered.
    fn next_in_time(&mut self, ctx: &mut Context<Self>) {
        let enough = self.queue.len() >= self.largest_batch;
        if self.awaited > 0 || enough || self.closing || self.gather.is_zero() {
            self.next(ctx);
        } else if !self.gathering && !self.busy && !self.queue.is_empty() {
            self.gathering = true;
            ctx.run_later(self.gather, |act, ctx| {
                act.gathering = false;
                act.next(ctx);
            });
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.awaited = self.awaited.saturating_sub(usize::from(item.is_awaited()));
        Some(item)
    }

    fn push_front(&mut self, item: Item) {
        self.awaited += usize::from(item.is_awaited());
        self.queue.push_front(item);
    }

    /// Starts the next batch, unless one runs.
    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            return;
        }
        let mut waiting = Vec::new();
        let mut writes = Vec::new();
        while waiting.len() < self.largest_batch {
            match self.pop() {
                Some(Item::Write(Queued { write, reply, permit, tries })) => {
                    writes.push(write);
                    waiting.push(Waiting { reply, permit, tries });
                }
                // Nothing before it is left.
                Some(Item::Flush(reply)) if waiting.is_empty() => drop(reply.send(Ok(()))),
                Some(flush @ Item::Flush(_)) => {
                    self.push_front(flush);
                    break;
                }
                None => break,
            }
        }
        if writes.is_empty() {
            if self.closing {
                ctx.stop();
            }
            return;
        }
        self.busy = true;
        self.totals.batches.fetch_add(1, Ordering::Relaxed);
        let (pool, me) = (self.pool.clone(), self.me.clone());
        let job = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let done = batch::run(&pool, &me, &writes);
            metrics::db_batch(began.elapsed());
            (writes, done)
        });
        ctx.spawn(job.into_actor(self).map(move |result, act, ctx| {
            act.busy = false;
            match result {
                Ok((writes, done)) => act.finish(writes, waiting, done, ctx),
                // The runtime is being torn down; `batch::run` itself catches what panics.
                Err(_) => waiting.into_iter().for_each(|w| act.answer("batch", w, Err(DbError::Panicked))),
            }
            act.next_in_time(ctx);
        }));
    }

    fn finish(
        &mut self,
        writes: Vec<Write>,
        waiting: Vec<Waiting>,
        done: Vec<Done>,
        ctx: &mut Context<Self>,
    ) {
        let mut again = Vec::new();
        let mut absence = None;
        for ((write, mut waiting), done) in writes.into_iter().zip(waiting).zip(done) {
            match done {
                Done::Answer(result) => {
                    if let Some(epoch) = result.as_ref().err().and_then(DbError::fenced) {
                        // Full: whoever writes again is told of again.
                        let _ = self.fenced.try_send((CallSid::from(write.sid()), epoch));
                    }
                    self.answer(write.kind(), waiting, result);
                }
                Done::Again(error) if waiting.tries + 1 >= TRIES => {
                    self.answer(write.kind(), waiting, Err(error));
                }
                Done::Again(_) => {
                    waiting.tries += 1;
                    again.push(waiting.queued(write));
                }
                Done::NotTried => again.push(waiting.queued(write)),
                // Who waits is told, to do without; what nobody waits for stays until the database is back.
                Done::Away(away) => {
                    if waiting.reply.is_some() || self.closing {
                        self.answer(write.kind(), waiting, Err(away.error()));
                    } else {
                        again.push(waiting.queued(write));
                    }
                    absence = Some(away);
                }
            }
        }
        let retry = !again.is_empty();
        for queued in again.into_iter().rev() {
            self.push_front(Item::Write(queued));
        }
        if let Some(away) = absence {
            self.fail_those_who_wait(&away);
        }
        if retry {
            self.busy = true;
            ctx.run_later(self.pause, |act, ctx| {
                act.busy = false;
                act.next(ctx);
            });
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else {
            self.pause = PAUSE;
        }
    }

    /// Without a database nobody is kept waiting for their turn in the queue only to be told so.
    fn fail_those_who_wait(&mut self, away: &Away) {
        self.awaited = 0;
        for item in std::mem::take(&mut self.queue) {
            match item {
                Item::Write(queued) if queued.reply.is_some() || self.closing => {
                    let (write, waiting) = queued.split();
                    self.answer(write.kind(), waiting, Err(away.error()));
                }
                Item::Write(queued) => self.queue.push_back(Item::Write(queued)),
                Item::Flush(reply) => drop(reply.send(Err(away.error()))),
            }
        }
    }

    fn answer(&self, kind: &'static str, waiting: Waiting, result: Result<(), DbError>) {
        match &result {
            Ok(()) => self.totals.written.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(error.code = error.code(), error = %error, write.kind = kind, "write failed");
                // Who waits is told that the database is away, and keeps it or says so: nothing is lost. Nor is what was
                // not ours to write any more.
                let kept = waiting.reply.is_some() && error.may_be_offered_again();
                self.totals.failed.fetch_add(u64::from(!kept && error.fenced().is_none()), Ordering::Relaxed)
            }
        };
        drop(waiting.permit);
        if let Some(reply) = waiting.reply {
            // Whoever asked may have gone; the write stands.
            let _ = reply.send(result);
        }
    }
}

/// A queued write without what is to be written.
struct Waiting {
    reply: Option<Reply>,
    permit: OwnedSemaphorePermit,
    tries: u8,
}

impl Waiting {
    fn queued(self, write: Write) -> Queued {
        Queued { write, reply: self.reply, permit: self.permit, tries: self.tries }
    }
}

impl Queued {
    fn split(self) -> (Write, Waiting) {
        (self.write, Waiting { reply: self.reply, permit: self.permit, tries: self.tries })
    }
}

impl Actor for DbActor {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        for closed in self.closed.drain(..) {
            let _ = closed.send(());
        }
        // The thread was started for this actor alone.
        if let Some(arbiter) = Arbiter::try_current() {
            arbiter.stop();
        }
    }
}

impl Handler<Enqueue> for DbActor {
    type Result = ();

    fn handle(&mut self, Enqueue(queued): Enqueue, ctx: &mut Self::Context) {
        self.add(Item::Write(queued), ctx);
    }
}

impl Handler<Flush> for DbActor {
    type Result = ();

    fn handle(&mut self, Flush(reply): Flush, ctx: &mut Self::Context) {
        self.add(Item::Flush(reply), ctx);
    }
}

impl Handler<Close> for DbActor {
    type Result = ();

    fn handle(&mut self, Close(reply): Close, ctx: &mut Self::Context) {
        self.closing = true;
        self.closed.extend(reply);
        self.next(ctx);
    }
}
