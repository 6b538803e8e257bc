//! The runner of jobs: an actor on a thread of its own that carries out what its machine decides.

use super::machine::{Effect, Event, Failure, Machine, Run, Settings, Timer};
use super::messages::{Stop, Wake};
use super::work::{Work, db_failure};
use crate::config::jobs::JobsConfig;
use crate::db::{DbError, DbHandle, JobLease, LeasedJob, NewJob};
use crate::domain::job::JobKind;
use crate::observe::clock::unix_now;
use crate::observe::metrics::{self, JobResult};
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, SpawnHandle, WrapFuture,
};
use futures_util::FutureExt as _;
use serde_json::json;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

impl From<&JobsConfig> for Settings {
    fn from(config: &JobsConfig) -> Self {
        Self {
            at_once: config.at_once,
            attempts: config.attempts,
            retry: Duration::from_millis(config.retry_ms),
            retry_max: Duration::from_millis(config.retry_max_ms),
            lease: Duration::from_millis(config.lease_ms),
            poll: Duration::from_millis(config.poll_ms),
        }
    }
}

/// Runs jobs.
pub struct JobRunner {
    machine: Machine,
    work: Rc<Work>,
    db: DbHandle,
    /// Who we are, among those that share the database: whoever takes our calls over frees our jobs too.
    owner: String,
    held: HashMap<Run, LeasedJob>,
    timers: HashMap<Timer, SpawnHandle>,
    stopped: watch::Sender<bool>,
}

impl JobRunner {
    /// A runner that does `work`.
    pub fn new(settings: Settings, work: Work) -> Self {
        let db = work.db.clone();
        // By this name the jobs are found and given to others when this process is gone.
        let owner = db.replica().to_string();
        Self {
            machine: Machine::new(settings),
            work: Rc::new(work),
            db,
            owner,
            held: HashMap::new(),
            timers: HashMap::new(),
            stopped: watch::Sender::new(false),
        }
    }

    fn step(&mut self, event: Event, ctx: &mut Context<Self>) {
        for effect in self.machine.on(unix_now(), event) {
            self.perform(effect, ctx);
        }
    }

    fn perform(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Lease { limit, until } => {
                let limit = u32::try_from(limit).unwrap_or(u32::MAX);
                let (db, owner, place) = (self.db.clone(), self.owner.clone(), self.work.place.clone());
                let looking = async move { db.lease_jobs(owner, place, limit, unix_now(), until).await };
                ctx.spawn(looking.into_actor(self).map(move |found, this, ctx| match found {
                    Ok(found) => {
                        let mut runs = Vec::new();
                        for job in found.jobs {
                            let run = Run { id: job.lease.id, attempt: job.lease.attempt };
                            runs.push(run);
                            this.held.insert(run, job);
                        }
                        this.step(Event::Leased { runs, next_due: found.next_due }, ctx);
                    }
                    Err(error) => {
                        if !matches!(error, DbError::Closed) {
                            tracing::warn!(code = error.code(), %error, "jobs not looked for");
                        }
                        this.step(Event::LeaseFailed, ctx);
                    }
                }));
            }
            Effect::Run(run) => self.run(run, ctx),
            Effect::Retry { run, at, code } => {
                let Some(job) = self.held.get(&run) else { return };
                tracing::warn!(job = %job.key, attempt = run.attempt, %code, "job failed and is tried again");
                metrics::job_ran(job.kind.as_str(), JobResult::Retried);
                let (db, lease) = (self.db.clone(), job.lease.clone());
                let settling = async move { db.requeue_job(lease, at, code).await };
                self.settle(run, settling, ctx);
            }
            Effect::Bury { run, code } => {
                let Some(job) = self.held.get(&run) else { return };
                tracing::error!(job = %job.key, attempt = run.attempt, %code, "job is given up");
                metrics::job_ran(job.kind.as_str(), JobResult::Dead);
                let (db, lease) = (self.db.clone(), job.lease.clone());
                let settling = async move { db.bury_job(lease, code, unix_now()).await };
                self.settle(run, settling, ctx);
            }
            Effect::Renew { runs, until } => {
                let leases: Vec<JobLease> =
                    runs.iter().filter_map(|run| self.held.get(run)).map(|job| job.lease.clone()).collect();
                let db = self.db.clone();
                let renewing = async move { db.renew_jobs(leases, until).await };
                ctx.spawn(renewing.into_actor(self).map(|renewed, _, _| {
                    if let Err(error) = renewed {
                        tracing::warn!(code = error.code(), "jobs under way not kept");
                    }
                }));
            }
            Effect::Daily { day } => {
                let now = unix_now();
                let job = NewJob {
                    kind: JobKind::Retention,
                    key: format!("retention:{day}"),
                    payload: json!({}),
                    due: now,
                    now,
                    place: None,
                };
                let db = self.db.clone();
                let queueing = async move { db.enqueue_job(job).await };
                ctx.spawn(queueing.into_actor(self).map(|queued, this, ctx| match queued {
                    Ok(true) => this.step(Event::Woken, ctx),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(code = error.code(), "the day's clean-up not queued"),
                }));
            }
            Effect::SetTimer(timer, after) => {
                let handle = ctx.run_later(after, move |this, ctx| {
                    this.timers.remove(&timer);
                    this.step(Event::Timer(timer), ctx);
                });
                if let Some(old) = self.timers.insert(timer, handle) {
                    ctx.cancel_future(old);
                }
            }
            Effect::Stopped => {
                self.stopped.send_replace(true);
            }
        }
    }

    /// Does a job and keeps what comes of it, and its end, together.
    fn run(&mut self, run: Run, ctx: &mut Context<Self>) {
        let Some(job) = self.held.get(&run).cloned() else { return };
        let (work, db) = (Rc::clone(&self.work), self.db.clone());
        let doing = async move {
            let effect = match AssertUnwindSafe(work.run(&job)).catch_unwind().await {
                Ok(effect) => effect?,
                Err(_) => return Err(panicked()),
            };
            match db.complete_job(job.lease.clone(), effect, unix_now()).await {
                Ok(true) => {
                    tracing::debug!(job = %job.key, "job done");
                    metrics::job_ran(job.kind.as_str(), JobResult::Done);
                }
                Ok(false) => {
                    tracing::warn!(job = %job.key, "job was taken over meanwhile; nothing is kept twice")
                }
                Err(error) => return Err(db_failure(&error)),
            }
            Ok(())
        };
        ctx.spawn(doing.into_actor(self).map(move |result, this, ctx| {
            let over = result.is_ok();
            this.step(Event::Ran { run, result, jitter: rand::random() }, ctx);
            if over {
                this.held.remove(&run);
            }
        }));
    }

    fn settle(
        &mut self,
        run: Run,
        settling: impl Future<Output = Result<bool, DbError>> + 'static,
        ctx: &mut Context<Self>,
    ) {
        ctx.spawn(settling.into_actor(self).map(move |settled, this, ctx| {
            if let Err(error) = settled {
                // Its lease lapses, and somebody takes it again.
                tracing::warn!(code = error.code(), "a job's failure not written");
            }
            this.held.remove(&run);
            this.step(Event::Settled(run), ctx);
        }));
    }
}

fn panicked() -> Failure {
    Failure { code: "job.panicked".to_owned(), again: super::machine::Again::Later }
}

impl Actor for JobRunner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.step(Event::Woken, ctx);
    }
}

impl Handler<Wake> for JobRunner {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        // What causes a job may still be queued.
        let written = self.db.flush();
        ctx.spawn(written.into_actor(self).map(|_, this, ctx| this.step(Event::Woken, ctx)));
    }
}

impl Handler<Stop> for JobRunner {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Stop { limit }: Stop, ctx: &mut Self::Context) -> Self::Result {
        self.step(Event::Stop, ctx);
        let mut stopped = self.stopped.subscribe();
        let (db, owner) = (self.db.clone(), self.owner.clone());
        Box::pin(
            async move {
                if tokio::time::timeout(limit, stopped.wait_for(|stopped| *stopped)).await.is_err() {
                    tracing::warn!("jobs under way are left to the next start");
                }
                match db.release_jobs(owner, unix_now()).await {
                    Ok(_) => {}
                    Err(error) => tracing::warn!(code = error.code(), "jobs under way not given back"),
                }
            }
            .into_actor(self),
        )
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
