//! The other replicas: questions to them, news for them, limits that all of them share.
//!
//! What lies here is fleeting. Nothing that a call cannot do without depends on it: the database is the truth. Bodies are
//! bytes that nobody here reads. A process without others is `Cluster::alone`, replicas within one process meet at a `Hub`,
//! all others at a Redis.

mod gcra;
mod hub;
mod redis;
mod waiting;
mod wire;

pub use self::redis::ClusterError;
pub use gcra::{Quota, Verdict};
pub use hub::Hub;

use self::redis::RedisEnd;
use crate::config::cluster::ClusterConfig;
use crate::domain::ids::ReplicaId;
use bytes::Bytes;
use hub::HubEnd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use waiting::Waiting;

/// Longest body of a question, an answer or news, in bytes.
/// A list of 5,000 live calls fits into it.
pub const MAX_BODY: usize = 2 * 1024 * 1024;
/// Questions of others that wait to be taken; further ones are refused.
const QUESTIONS: usize = 4_096;
/// News kept for a slow reader.
const NEWS: usize = 1_024;
/// How long a shared limit may take to be asked.
const SPEND: Duration = Duration::from_millis(50);

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there, or nothing came in time, or whoever was asked does not know how to answer.
    #[error("the replica does not answer")]
    Silent,
    /// What carries questions cannot be reached, or cannot take any more of them.
    #[error("the other replicas cannot be reached")]
    Away,
    /// The question is longer than `MAX_BODY`.
    #[error("the question is too long")]
    TooLong,
}

/// What news is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What happens in calls.
    Feed,
    /// Which replicas there are.
    Presence,
}

/// News of another replica.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whose.
    pub from: ReplicaId,
    /// About what.
    pub topic: Topic,
    /// What it says.
    pub body: Bytes,
}

/// A question of another replica.
#[derive(Debug)]
pub struct Question {
    /// Whose.
    pub from: ReplicaId,
    /// What is asked.
    pub body: Bytes,
    /// Where the answer goes.
    pub answer: Answer,
}

/// Where an answer goes; dropped, it says that there will be none, and nobody has to wait.
pub struct Answer(Option<Box<dyn FnOnce(Option<Bytes>) + Send>>);

impl Answer {
    fn new(give: impl FnOnce(Option<Bytes>) + Send + 'static) -> Self {
        Self(Some(Box::new(give)))
    }

    /// Answers. Too late is no error: nobody listens then.
    pub fn give(mut self, body: Bytes) {
        let fits = body.len() <= MAX_BODY;
        if !fits {
            tracing::error!(bytes = body.len(), "an answer to another replica is too long and is not given");
        }
        if let Some(give) = self.0.take() {
            give(fits.then_some(body));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(give) = self.0.take() {
            give(None);
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// The other replicas, as seen by this one. One a process; copies are the same.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    local: Arc<Local>,
    /// Until somebody takes them.
    questions: Mutex<Option<mpsc::Receiver<Question>>>,
    engine: Engine,
}

/// What brings things to others.
enum Engine {
    Alone,
    Hub(HubEnd),
    Redis(RedisEnd),
}

/// What others bring, and who waits for it.
struct Local {
    id: ReplicaId,
    standing: watch::Sender<bool>,
    asked: mpsc::Sender<Question>,
    told: broadcast::Sender<Told>,
    waiting: Waiting,
    /// Whether anybody else is known to listen.
    heard: AtomicBool,
}

impl Local {
    fn new(id: ReplicaId, standing: bool) -> (Arc<Self>, mpsc::Receiver<Question>) {
        let (asked, questions) = mpsc::channel(QUESTIONS);
        let local = Self {
            id,
            standing: watch::Sender::new(standing),
            asked,
            told: broadcast::Sender::new(NEWS),
            waiting: Waiting::default(),
            heard: AtomicBool::new(false),
        };
        (Arc::new(local), questions)
    }

    /// Hands a question to whoever answers here; one too many is answered by nobody, at once.
    fn ask(&self, from: ReplicaId, body: Bytes, answer: Answer) {
        if self.asked.try_send(Question { from, body, answer }).is_err() {
            tracing::warn!("a question of another replica is refused: too many wait");
        }
    }

    fn hear(&self, from: ReplicaId, topic: Topic, body: Bytes) {
        // Nobody reading is no error.
        let _ = self.told.send(Told { from, topic, body });
    }

    /// Notes whether the engine can be reached. Whoever waits for an answer learns at once that none will come.
    fn stands(&self, standing: bool) {
        self.standing.send_if_modified(|now| std::mem::replace(now, standing) != standing);
        if !standing {
            self.heard.store(false, Ordering::Relaxed);
            self.waiting.lose_all();
        }
    }

    fn is_standing(&self) -> bool {
        *self.standing.borrow()
    }
}

impl Cluster {
    /// Without others.
    pub fn alone(id: ReplicaId) -> Self {
        let (local, questions) = Local::new(id, true);
        Self::new(local, questions, Engine::Alone)
    }

    /// With the others at the Redis of these settings, which need not be there yet; without an address, alone.
    pub async fn connect(settings: &ClusterConfig, id: ReplicaId) -> Result<Self, ClusterError> {
        let Some(url) = settings.url.as_deref() else { return Ok(Self::alone(id)) };
        let (end, questions) = self::redis::start(url, settings, id).await?;
        Ok(Self::new(end.local(), questions, Engine::Redis(end)))
    }

    fn new(local: Arc<Local>, questions: mpsc::Receiver<Question>, engine: Engine) -> Self {
        Self(Arc::new(Inner { local, questions: Mutex::new(Some(questions)), engine }))
    }

    /// Which replica this is.
    pub fn id(&self) -> &ReplicaId {
        &self.0.local.id
    }

    /// Whether there cannot be others.
    pub fn is_alone(&self) -> bool {
        matches!(self.0.engine, Engine::Alone)
    }

    /// Whether another replica is known to listen right now: without one, what is told need not even be written.
    pub fn is_heard(&self) -> bool {
        match &self.0.engine {
            Engine::Alone => false,
            Engine::Hub(end) => end.is_heard(),
            Engine::Redis(_) => self.0.local.heard.load(Ordering::Relaxed),
        }
    }

    /// Whether what the replicas share can be reached. Always, if there cannot be others.
    pub fn standing(&self) -> watch::Receiver<bool> {
        self.0.local.standing.subscribe()
    }

    /// Asks one replica.
    pub async fn ask(&self, to: &ReplicaId, question: Bytes, within: Duration) -> Result<Bytes, AskError> {
        let Some(opened) = self.open(Some(to), question, within)? else { return Err(AskError::Silent) };
        let heard = opened.heard().await;
        match heard.answers.into_iter().next() {
            Some((_, body)) => Ok(body),
            None if heard.lost => Err(AskError::Away),
            None => Err(AskError::Silent),
        }
    }

    /// Asks all others. Whoever is heard in time is in the list; it ends early when all have answered.
    pub async fn ask_all(&self, question: Bytes, within: Duration) -> Vec<(ReplicaId, Bytes)> {
        match self.open(None, question, within) {
            Ok(Some(opened)) => opened.heard().await.answers,
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "the other replicas were not asked");
                Vec::new()
            }
        }
    }

    /// Sends a question on its way; none if there is nobody to ask.
    fn open(
        &self,
        to: Option<&ReplicaId>,
        question: Bytes,
        within: Duration,
    ) -> Result<Option<waiting::Opened<'_>>, AskError> {
        let local = &self.0.local;
        if question.len() > MAX_BODY {
            return Err(AskError::TooLong);
        }
        if self.is_alone() {
            return Ok(None);
        }
        if !local.is_standing() {
            return Err(AskError::Away);
        }
        let opened = local.waiting.open(to, within).ok_or(AskError::Away)?;
        // Between the two the engine may have gone, and have told those who waited then.
        if !local.is_standing() {
            return Err(AskError::Away);
        }
        match &self.0.engine {
            Engine::Alone => {}
            Engine::Hub(end) => end.ask(to, opened.number(), question),
            Engine::Redis(end) => end.ask(to, opened.number(), question),
        }
        Ok(Some(opened))
    }

    /// The questions of others; whoever takes them first answers them.
    pub fn questions(&self) -> Option<mpsc::Receiver<Question>> {
        self.0.questions.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Tells all others. What cannot be sent now is not sent at all; nobody waits.
    pub fn tell(&self, topic: Topic, body: Bytes) {
        if body.len() > MAX_BODY {
            tracing::warn!(?topic, bytes = body.len(), "news is too long for the other replicas");
            return;
        }
        match &self.0.engine {
            Engine::Alone => {}
            Engine::Hub(end) => end.tell(topic, body),
            Engine::Redis(end) => end.tell(topic, body),
        }
    }

    /// What others tell from now on.
    pub fn told(&self) -> broadcast::Receiver<Told> {
        self.0.local.told.subscribe()
    }

    /// Takes one unit of a limit that all replicas share. None if that cannot be found out soon: the caller's own limit
    /// decides then.
    pub async fn spend(&self, key: &str, per: Quota) -> Option<Verdict> {
        if !self.0.local.is_standing() {
            return None;
        }
        match &self.0.engine {
            Engine::Alone => None,
            Engine::Hub(end) => Some(end.spend(key, per)),
            Engine::Redis(end) => tokio::time::timeout(SPEND, end.spend(key, per)).await.ok().flatten(),
        }
    }

    /// Gives a unit of a shared limit back, or all of it if no quota is given. If that cannot be done, the limit recovers
    /// by itself.
    pub fn give_back(&self, key: &str, one: Option<Quota>) {
        match &self.0.engine {
            Engine::Alone => {}
            Engine::Hub(end) => end.give_back(key, one),
            Engine::Redis(end) => end.give_back(key, one),
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let engine = match &self.0.engine {
            Engine::Alone => "alone",
            Engine::Hub(_) => "hub",
            Engine::Redis(_) => "redis",
        };
        write!(f, "Cluster({}, {engine})", self.id())
    }
}

#[cfg(test)]
mod tests;
