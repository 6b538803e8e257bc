//! What other replicas ask, and what they are told.

use super::actor::Registry;
use super::messages::{Command, Finish, GoOn, Placed, StatusCame};
use super::roster::Refusal;
use super::wire::{Ask, Say};
use crate::cluster::Question;
use crate::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId};
use crate::observe::clock::unix_now;
use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, StreamHandler, WrapFuture};
use std::time::Duration;
use tokio::time::Instant;

/// How long an owner that was told to leave is waited for before its call is handed over. Whoever asks waits longer.
const LAST_WORDS: Duration = Duration::from_millis(150);
/// How long the database may take to write what is queued.
const WRITTEN: Duration = Duration::from_millis(250);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(5);
/// So many times whether a call is ours by now.
const LOOKS: u32 = 60;

impl Registry {
    /// Hands a call over once all that its last owner had to say is written: from then on our writes are refused.
    fn hand_over(
        &mut self,
        sid: CallSid,
        admission: AdmissionId,
        epoch: Epoch,
        question: Question,
        ctx: &mut Context<Self>,
    ) {
        let patience = Instant::now() + LAST_WORDS;
        let mut leaving = self.is_leaving(&sid);
        let (db, waited, me) = (self.db.clone(), sid.clone(), ctx.address());
        let settled = async move {
            while leaving && Instant::now() < patience {
                tokio::time::sleep(LOOK).await;
                leaving = me.send(IsLeaving(waited.clone())).await.unwrap_or(false);
            }
            if tokio::time::timeout(WRITTEN, db.flush()).await.is_err() {
                tracing::warn!(call.id = %waited, "call handed over before all of it is written");
            }
        };
        ctx.spawn(settled.into_actor(self).map(move |(), this, _| {
            this.unwritten.offer();
            let say = match this.roster.hand_over(unix_now(), &sid, &admission, epoch, &question.from) {
                Ok(baggage) => {
                    this.lines.remove(&sid);
                    tracing::info!(call.id = %sid, to = %question.from, "call handed over");
                    this.gaps.forget(&sid);
                    Say::HandedOver { baggage }
                }
                Err(Refusal::Unknown) if !this.knows(&sid) => this.not_here(&sid),
                Err(why) => Say::Refused { why },
            };
            question.answer.give(say.encode());
        }));
    }

    /// Where a call is that is not here, if we know.
    fn not_here(&self, sid: &CallSid) -> Say {
        let to: Option<ReplicaId> = self.roster.moved(sid).flatten().cloned();
        Say::NotHere { to }
    }

    fn answer(&mut self, ask: Ask) -> Say {
        let now = unix_now();
        match ask {
            Ask::Admit { sid } => match self.roster.admit_again(now, &sid) {
                Some((admitted, effects)) => {
                    self.follow_up(&sid, effects);
                    admitted.into()
                }
                None => self.not_here(&sid),
            },
            Ask::GoOn { sid, status, dial, person } => match self.knows(&sid) {
                true => Say::Onward { to: self.go_on(&GoOn { sid, status, dial, person }) },
                false => self.not_here(&sid),
            },
            Ask::Status { sid, status } => match self.knows(&sid) {
                true => {
                    self.status_came(&StatusCame { sid, status });
                    Say::Done
                }
                false => self.not_here(&sid),
            },
            Ask::Finish { sid, reason } => match self.knows(&sid) {
                true => {
                    self.finish(&Finish { sid, reason });
                    Say::Done
                }
                false => self.not_here(&sid),
            },
            Ask::List => Say::Live { calls: self.roster.list().into_iter().map(Into::into).collect() },
            Ask::Claim { sid, .. } | Ask::Command { sid, .. } | Ask::Placed { sid, .. } => {
                self.not_here(&sid)
            }
            Ask::There => Say::Done,
            Ask::Unknown => Say::Unknown,
        }
    }
}

/// Whether a call's owner was told to leave and has not yet.
#[derive(Message)]
#[rtype(result = "bool")]
struct IsLeaving(CallSid);

impl Handler<IsLeaving> for Registry {
    type Result = bool;

    fn handle(&mut self, IsLeaving(sid): IsLeaving, _: &mut Self::Context) -> bool {
        self.is_leaving(&sid)
    }
}

impl Registry {
    /// Answers, once it is clear whether a call that we are taking over is ours.
    fn take_up(&mut self, ask: Ask, question: Question, looks: u32, ctx: &mut Context<Self>) {
        let taking = |sid: &CallSid| self.searches.borrow().get(sid) == Some(&true);
        if looks > 0 && ask.sid().is_some_and(taking) {
            ctx.run_later(LOOK, move |this, ctx| this.take_up(ask, question, looks.saturating_sub(1), ctx));
            return;
        }
        match ask {
            Ask::Claim { sid, admission, epoch } if self.knows(&sid) => {
                self.hand_over(sid, admission, epoch, question, ctx);
            }
            // With this token or a newer one it was claimed elsewhere.
            Ask::Claim { sid, .. } if self.roster.moved(&sid).is_some() => {
                question.answer.give(Say::Refused { why: Refusal::Spent }.encode());
            }
            Ask::Command { sid, order } if self.knows(&sid) => {
                let commanded = self.command(Command { sid, order });
                ctx.spawn(
                    commanded.map(move |commanded, _, _| question.answer.give(Say::from(commanded).encode())),
                );
            }
            Ask::Placed { admission, sid } => {
                if !self.placed(&Placed { admission, sid: sid.clone() }) && !self.knows(&sid) {
                    question.answer.give(self.not_here(&sid).encode());
                    return;
                }
                // Whoever asks looks for its row next.
                let written = tokio::time::timeout(WRITTEN, self.db.flush());
                ctx.spawn(
                    written.into_actor(self).map(move |_, _, _| question.answer.give(Say::Done.encode())),
                );
            }
            ask => {
                let say = self.answer(ask);
                question.answer.give(say.encode());
            }
        }
    }
}

impl StreamHandler<Question> for Registry {
    fn handle(&mut self, question: Question, ctx: &mut Self::Context) {
        self.take_up(Ask::decode(&question.body), question, LOOKS, ctx);
    }

    // The engine is gone, not we.
    fn finished(&mut self, _: &mut Self::Context) {}
}
