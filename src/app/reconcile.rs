//! Compares our live calls with Twilio's own list, round by round. What follows from it is decided in
//! `registry/reaper.rs`; here questions are asked and orders carried out.

use crate::db::{DbError, DbHandle};
use crate::domain::call::CallKind;
use crate::domain::call::EndReason;
use crate::domain::ids::CallSid;
use crate::domain::phone::PhoneNumber;
use crate::observe::clock::unix_now;
use crate::registry::actor::Registry;
use crate::registry::messages::{Finish, ListLive, StatusCame};
use crate::registry::reaper::{Action, AtTwilio, Found, OpenHere, Questions, Reaper, Record, pause};
use crate::twilio::rest::{CallChange, RestError, RestErrorKind, TwilioRest};
use actix::{Addr, MailboxError};
use std::collections::BTreeSet;
use std::time::Duration;

/// Most pages of Twilio's list that a round reads for each end of a call.
const PAGES: usize = 20;

/// What a round asks and tells.
pub(super) struct Reconciler {
    /// Twilio.
    pub(super) rest: TwilioRest,
    /// Our live calls.
    pub(super) registry: Addr<Registry>,
    /// Our records.
    pub(super) db: DbHandle,
    /// Our number: calls without it are not looked at.
    pub(super) number: PhoneNumber,
    /// Where Twilio asks how to go on.
    pub(super) go_on: String,
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Twilio(#[from] RestError),
    #[error("{0}")]
    Database(#[from] DbError),
    #[error("the registry does not answer: {0}")]
    Registry(#[from] MailboxError),
}

impl Reconciler {
    /// Compares for ever, `every` so often.
    pub(super) async fn run(self, every: Duration) {
        let mut reaper = Reaper::new(every);
        let mut failures = 0;
        loop {
            tokio::time::sleep(pause(every, failures)).await;
            match self.round(&mut reaper).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let next_s = pause(every, failures).as_secs();
                    tracing::warn!(%error, next_s, "live calls not compared with Twilio's");
                }
            }
        }
    }

    async fn round(&self, reaper: &mut Reaper) -> Result<(), Failed> {
        let ours = self.open_here().await?;
        let list = self.rest.calls_in_progress(&self.number, PAGES).await?;
        if !list.whole {
            tracing::warn!(read = list.calls.len(), "Twilio's list of calls is longer than is read");
        }
        let up: Vec<CallSid> = list.calls.into_iter().map(|call| call.sid).collect();
        let all = reaper.begin(unix_now(), &ours, &up);
        let anothers = self.anothers(&all).await;
        let questions = reaper.choose(all, &anothers);
        let mut answers = Vec::with_capacity(questions.ours.len());
        for sid in questions.ours {
            let answer = self.at_twilio(&sid).await?;
            answers.push((sid, answer));
        }
        let mut found = Vec::new();
        for sid in questions.theirs {
            found.extend(self.look_up(sid).await?);
        }
        // As things stand after all those answers: what has come in or gone on meanwhile is left alone.
        let ours = self.open_here().await?;
        found.retain(|found| ours.iter().all(|call| call.sid != found.sid));
        answers.retain(|(sid, _)| ours.iter().any(|call| call.sid == *sid));
        for action in reaper.judge(unix_now(), &ours, &answers, &found) {
            self.perform(action).await?;
        }
        Ok(())
    }

    async fn open_here(&self) -> Result<Vec<OpenHere>, MailboxError> {
        let open = self.registry.send(ListLive).await?.into_iter();
        let by_telephone = open.filter(|call| call.facts.kind == CallKind::Twilio);
        Ok(by_telephone
            .map(|call| OpenHere {
                streaming: call.state == "live",
                admitted_at: call.facts.admitted_at,
                sid: call.facts.sid,
            })
            .collect())
    }

    /// Which of the calls in question are another replica's. Where that is not known, all are treated alike.
    async fn anothers(&self, all: &Questions) -> BTreeSet<CallSid> {
        let among: Vec<CallSid> = all.ours.iter().chain(&all.theirs).cloned().collect();
        if among.is_empty() {
            return BTreeSet::new();
        }
        self.db.anothers(among).await.unwrap_or_else(|error| {
            tracing::warn!(code = error.code(), "which calls are another replica's is not known");
            BTreeSet::new()
        })
    }

    async fn at_twilio(&self, sid: &CallSid) -> Result<AtTwilio, RestError> {
        match self.rest.fetch_call(sid).await {
            Ok(call) => Ok(call.status.map_or(AtTwilio::Unclear, AtTwilio::Stands)),
            Err(error) if error.kind == RestErrorKind::NotFound => Ok(AtTwilio::Unknown),
            Err(error) if error.kind == RestErrorKind::Protocol => Ok(AtTwilio::Unclear),
            Err(error) => Err(error),
        }
    }

    /// What we know of a call that Twilio holds; nothing further is asked about one of somebody else's.
    async fn look_up(&self, sid: CallSid) -> Result<Option<Found>, Failed> {
        let Some(call) = self.db.call_overview(sid.clone()).await? else { return Ok(None) };
        let record = match call.ended_at {
            _ if call.facts.kind != CallKind::Twilio => Record::None,
            Some(at) => Record::Ended { at },
            None if self.is_anothers(&sid).await? => Record::Owned,
            None => Record::Ownerless { admitted_at: call.facts.admitted_at },
        };
        let has_person = match record {
            Record::None | Record::Owned => false,
            Record::Ended { .. } | Record::Ownerless { .. } => self.rest.has_other_leg(&sid).await?,
        };
        Ok(Some(Found { sid, record, has_person }))
    }

    /// Whether the call is another replica's; what becomes of calls of a dead one is not decided here.
    async fn is_anothers(&self, sid: &CallSid) -> Result<bool, DbError> {
        let owner = self.db.owner_of(sid.clone()).await?.and_then(|owner| owner.replica);
        Ok(owner.is_some_and(|owner| owner != *self.db.replica()))
    }

    async fn perform(&self, action: Action) -> Result<(), Failed> {
        match action {
            Action::End { sid, status } => {
                tracing::warn!(call.id = %sid, status = %status, "Twilio has ended a call without our hearing of it");
                self.registry.send(StatusCame { sid, status }).await?;
            }
            Action::Lose { sid } => {
                tracing::warn!(call.id = %sid, "Twilio knows nothing of a call that is open here");
                self.registry.send(Finish { sid, reason: EndReason::Lost }).await?;
            }
            Action::HangUp { sid } => {
                tracing::warn!(call.id = %sid, "Twilio still holds a call that we have ended: hanging up");
                self.rest.hang_up(&sid).await?;
            }
            Action::Redirect { sid } => {
                tracing::warn!(call.id = %sid, "Twilio holds a call that nobody has: asking it to ask us");
                match self.rest.update_call(&sid, CallChange::Url(&self.go_on)).await {
                    Err(error) if error.kind != RestErrorKind::NotInProgress => return Err(error.into()),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        Ok(())
    }
}
