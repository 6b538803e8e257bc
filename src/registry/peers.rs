//! Where a call is that is not here: the database says whose it is, and that replica is asked. Where it does not answer, or
//! nobody has the call, the call becomes ours.
//!
//! The database decides: of many who would have a call one gets it, and what the one before still writes of it is refused.
//! So a wrong guess about another replica costs a caller a moment, and never makes two of one call.

use super::roster::Kept;
use super::wire::{Ask, Say};
use crate::cluster::Cluster;
use crate::db::{CallOverview, DbError, DbHandle, Ownership};
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::domain::turn::ResumeState;
use actix::{Message, MessageResponse, Recipient};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// Turns loaded for a call that another process has left open.
const RESUME_TURNS: u32 = 48;
/// How often it is looked anew because somebody else was faster.
const ROUNDS: u32 = 4;
/// How long the database may take to give us a call.
const TAKING: Duration = Duration::from_secs(2);
/// Between two looks for a row that is perhaps still to be written.
const UNWRITTEN: Duration = Duration::from_millis(60);
/// Between two looks whether another search is over.
const OTHERS_TURN: Duration = Duration::from_millis(5);

/// When a call is taken from the replica that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// As soon as that one does not answer: the caller waits.
    Silent,
    /// If it was not heard of by the database either for a whole lease: the call may well go on there.
    Lapsed,
}

/// A call that is ours now.
#[derive(Debug)]
pub(super) struct Taken {
    /// The call as it is stored, with our epoch.
    pub(super) call: CallOverview,
    /// The epoch before.
    pub(super) before: Epoch,
    /// What was decided.
    pub(super) kept: Option<Kept>,
    /// What went before, if it could be read.
    pub(super) resume: Option<Box<ResumeState>>,
}

/// Where a call is, as far as the registry knows by now.
#[derive(Debug, Message)]
#[rtype(result = "Whereabouts")]
pub(super) struct Knows(pub(super) CallSid);

/// The answer.
#[derive(Debug, MessageResponse)]
pub(super) enum Whereabouts {
    /// Here.
    Here,
    /// It was given to another replica, which may not have written so yet.
    Given(ReplicaId),
    /// Nowhere that we know of.
    Unknown,
}

/// Calls that are being looked for, and whether they are just becoming ours. One search at a time for each: the second finds
/// what the first has made of it.
pub(super) type Searches = Rc<RefCell<HashMap<CallSid, bool>>>;

/// The turn to look for a call; over when it is dropped, which is to be after its result was put to use.
#[derive(Debug)]
pub(super) struct Turn {
    searches: Searches,
    sid: CallSid,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.searches.borrow_mut().remove(&self.sid);
    }
}

/// What a search has come to, and the turn it had.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) found: Found,
    _turn: Turn,
}

/// What the search for a call has come to.
#[derive(Debug)]
pub(super) enum Found {
    /// It is here: another search has brought it.
    Here,
    /// Whoever has it says so.
    Said(ReplicaId, Say),
    /// Nobody had it any more, or nobody who answered: it is ours.
    Ours(Box<Taken>),
    /// It is over; what was decided for Twilio's next question.
    Over(Option<Kept>),
    /// There is no such call.
    Nobody,
    /// Another replica has it and does not answer, and it was not to be taken.
    OutOfReach,
    /// Neither the database nor the others could be asked.
    Away,
}

/// Looks for calls.
#[derive(Clone)]
pub(super) struct Finder {
    pub(super) db: DbHandle,
    pub(super) cluster: Cluster,
    /// How long another replica is waited for.
    pub(super) ask: Duration,
    /// How long one may be silent before it counts as gone.
    pub(super) lease: Duration,
    /// Whether there are others, as far as we know.
    pub(super) company: bool,
    pub(super) searches: Searches,
    pub(super) registry: Recipient<Knows>,
}

impl Finder {
    /// Whose a call is; within the time of a question.
    async fn owner(&self, sid: &CallSid) -> Result<Option<Ownership>, DbError> {
        let looked = tokio::time::timeout(self.ask, self.db.owner_of(sid.clone())).await;
        looked.unwrap_or(Err(DbError::Overloaded))
    }

    /// Whether questions can reach anybody.
    fn can_ask(&self) -> bool {
        !self.cluster.is_alone() && *self.cluster.standing().borrow()
    }

    async fn turn(&self, sid: &CallSid) -> Turn {
        while self.searches.borrow().contains_key(sid) {
            tokio::time::sleep(OTHERS_TURN).await;
        }
        self.searches.borrow_mut().insert(sid.clone(), false);
        Turn { searches: Rc::clone(&self.searches), sid: sid.clone() }
    }

    /// Puts a question about a call to whoever has it.
    pub(super) async fn find(&self, sid: &CallSid, ask: &Ask, take: Take) -> Search {
        let turn = self.turn(sid).await;
        Search { found: self.look(sid, ask, take).await, _turn: turn }
    }

    async fn look(&self, sid: &CallSid, ask: &Ask, take: Take) -> Found {
        let question = ask.encode();
        for round in 1..=ROUNDS {
            let owner = match self.owner(sid).await {
                Ok(Some(owner)) => owner,
                // Perhaps it is so new that its row waits to be written.
                Ok(None) if self.can_ask() => return self.ask_everybody(question, Found::Nobody).await,
                Ok(None) if !self.company => return Found::Nobody,
                Ok(None) if round == ROUNDS => return Found::Away,
                Ok(None) => {
                    tokio::time::sleep(UNWRITTEN).await;
                    continue;
                }
                Err(error) => {
                    tracing::error!(call.id = %sid, code = error.code(), "unknown call not looked up");
                    return self.ask_everybody(question, Found::Away).await;
                }
            };
            let kept = owner.onward.clone().and_then(|kept| serde_json::from_value::<Kept>(kept).ok());
            if owner.ended {
                return Found::Over(kept);
            }
            let mut whom = owner.replica.clone();
            if whom.as_ref() == Some(self.cluster.id()) {
                whom = match self.registry.send(Knows(sid.clone())).await {
                    Ok(Whereabouts::Here) => return Found::Here,
                    Ok(Whereabouts::Given(to)) => Some(to),
                    Ok(Whereabouts::Unknown) | Err(_) => None,
                };
            }
            if let Some(whom) = whom
                && let Some((by, say)) = self.ask_owner(whom, &question).await
            {
                return Found::Said(by, say);
            }
            if take == Take::Lapsed && self.is_others(&owner) {
                return Found::OutOfReach;
            }
            if let Some(taking) = self.searches.borrow_mut().get_mut(sid) {
                *taking = true;
            }
            match self.take(sid, owner.epoch, kept).await {
                Ok(Some(taken)) => return Found::Ours(Box::new(taken)),
                // Somebody was faster, or it has ended: look again.
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(call.id = %sid, code = error.code(), "call not taken over");
                    return Found::Away;
                }
            }
        }
        Found::OutOfReach
    }

    /// The same for a call that is most likely new: where the database does not know it, nobody is asked.
    pub(super) async fn find_known(&self, sid: &CallSid, ask: &Ask) -> Search {
        let turn = self.turn(sid).await;
        let found = match self.owner(sid).await {
            Ok(Some(_)) => self.look(sid, ask, Take::Silent).await,
            Ok(None) => Found::Nobody,
            Err(error) => {
                tracing::warn!(code = error.code(), "whether a call is let in already is not known");
                Found::Away
            }
        };
        Search { found, _turn: turn }
    }

    /// Has whoever placed a call take note of its identifier, if nobody has yet.
    pub(super) async fn tell_placer(&self, sid: &CallSid, ask: &Ask) {
        if let Ok(None) = self.owner(sid).await {
            self.ask_everybody(ask.encode(), Found::Nobody).await;
        }
    }

    /// Whether another replica has a call and is there.
    fn is_others(&self, owner: &Ownership) -> bool {
        owner.replica.as_ref().is_some_and(|replica| replica != self.cluster.id())
            && owner.age.is_some_and(|age| age <= self.lease)
    }

    /// Whether a replica that the database has not heard of is there all the same.
    pub(super) async fn is_there(&self, whom: &ReplicaId) -> bool {
        self.can_ask() && self.cluster.ask(whom, Ask::There.encode(), self.ask).await.is_ok()
    }

    /// Asks the owner, and whoever it has given the call to.
    async fn ask_owner(&self, mut whom: ReplicaId, question: &Bytes) -> Option<(ReplicaId, Say)> {
        for _ in 0..2 {
            if whom == *self.cluster.id() || self.cluster.is_alone() {
                return None;
            }
            match self.cluster.ask(&whom, question.clone(), self.ask).await {
                Ok(answer) => match Say::decode(&answer) {
                    Say::NotHere { to: Some(to) } => whom = to,
                    Say::NotHere { to: None } | Say::Unknown => return None,
                    say => return Some((whom, say)),
                },
                Err(error) => {
                    tracing::warn!(replica = %whom, %error, "the replica that has a call does not answer");
                    return None;
                }
            }
        }
        None
    }

    /// Asks all others; `else_` if none of them has the call.
    async fn ask_everybody(&self, question: Bytes, else_: Found) -> Found {
        if !self.can_ask() {
            return else_;
        }
        let answers = self.cluster.ask_all(question, self.ask).await;
        let mut said = answers.into_iter().map(|(by, answer)| (by, Say::decode(&answer)));
        match said.find(|(_, say)| say.is_definite()) {
            Some((by, say)) => Found::Said(by, say),
            None => else_,
        }
    }

    /// Takes a call over, if it is still as it was.
    pub(super) async fn take(
        &self,
        sid: &CallSid,
        from: Epoch,
        kept: Option<Kept>,
    ) -> Result<Option<Taken>, DbError> {
        let taking = tokio::time::timeout(TAKING, self.db.take_over(sid.clone(), from)).await;
        let Some(call) = taking.unwrap_or(Err(DbError::Overloaded))? else { return Ok(None) };
        tracing::warn!(call.id = %sid, epoch = %call.facts.epoch, "call taken over");
        Ok(Some(self.with_state(call, from, kept).await))
    }

    /// What there is of a call that was taken.
    async fn with_state(&self, call: CallOverview, before: Epoch, kept: Option<Kept>) -> Taken {
        let sid = call.facts.sid.clone();
        let state = tokio::time::timeout(self.ask, self.db.resume_state(sid, RESUME_TURNS)).await;
        // Without it the call's actor looks for itself.
        let resume = state.ok().and_then(Result::ok).flatten().map(Box::new);
        Taken { call, before, kept, resume }
    }

    /// The same for a call that came with all the others of its replica. None if somebody has taken it from us meanwhile:
    /// whoever was asked how to go on with it did not know yet that it is ours.
    pub(super) async fn inherited(&self, call: CallOverview) -> Option<Taken> {
        let (sid, before) = (call.facts.sid.clone(), call.facts.epoch);
        let mut taken = self.with_state(call, before, None).await;
        // Last of all, so that what was true then is true for long enough.
        if let Ok(Some(owner)) = self.owner(&sid).await {
            if owner.epoch != before || owner.replica.as_ref() != Some(self.cluster.id()) {
                return None;
            }
            taken.kept = owner.onward.and_then(|kept| serde_json::from_value(kept).ok());
        }
        Some(taken)
    }
}
