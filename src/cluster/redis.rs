//! Redis between the replicas: questions and news by publish and subscribe, limits by a script.
//!
//! It has a thread and an event loop of its own; callers leave orders in bounded queues and wait, if at all, with a limit.

mod link;

use super::gcra::{Quota, Verdict};
use super::wire::{Content, Message, topic_name};
use super::{Local, Question, Topic};
use crate::config::cluster::ClusterConfig;
use crate::domain::ids::ReplicaId;
use bytes::Bytes;
use link::Link;
use rand::Rng as _;
use redis::IntoConnectionInfo as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait; more are refused.
const ORDERS: usize = 4_096;
/// News that may wait; more is lost.
const NEWS: usize = 1_024;
/// The first wait before another attempt to connect; doubles up to the longest.
const RETRY: Duration = Duration::from_millis(50);
/// The longest wait before another attempt to connect.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long the start waits for Redis; it goes on without.
const START: Duration = Duration::from_secs(1);

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// What was given is no address of a Redis.
    #[error("REDIS_URL is no address like redis://name:password@host:6379/0")]
    Address,
    /// The operating system gives no thread.
    #[error("the thread for Redis cannot be started")]
    Thread(#[from] std::io::Error),
}

/// What is to be done at Redis.
enum Order {
    /// Sends a question; who it reached is told to whoever waits for its answer.
    Ask { channel: String, message: Vec<u8>, number: u64 },
    /// Sends an answer.
    Answer { channel: String, message: Vec<u8> },
    /// Takes one unit of a limit.
    Spend { key: String, per: Quota, verdict: oneshot::Sender<Verdict> },
    /// Gives one unit of a limit back, or all of it.
    GiveBack { key: String, one: Option<Quota> },
}

/// A replica's end.
pub(super) struct RedisEnd {
    local: Arc<Local>,
    names: Arc<Names>,
    orders: mpsc::Sender<Order>,
    news: mpsc::Sender<(Topic, Vec<u8>)>,
    lost: Arc<AtomicU64>,
    /// Dropped, it ends the thread.
    _alive: oneshot::Sender<()>,
}

/// The names of channels and keys.
struct Names {
    prefix: String,
    /// Questions to all.
    all: String,
    /// Questions to us.
    questions: String,
    /// Answers to us, and our own sign of life.
    answers: String,
}

impl Names {
    fn new(prefix: &str, id: &ReplicaId) -> Self {
        Self {
            prefix: prefix.to_owned(),
            all: format!("{prefix}:ask"),
            questions: format!("{prefix}:ask:{id}"),
            answers: format!("{prefix}:answer:{id}"),
        }
    }

    fn questions_of(&self, id: &ReplicaId) -> String {
        format!("{}:ask:{id}", self.prefix)
    }

    fn answers_of(&self, id: &ReplicaId) -> String {
        format!("{}:answer:{id}", self.prefix)
    }

    fn topic(&self, topic: Topic) -> String {
        format!("{}:tell:{}", self.prefix, topic_name(topic))
    }

    fn limit(&self, key: &str) -> String {
        format!("{}:limit:{key}", self.prefix)
    }
}

/// What the thread works with.
struct Work {
    client: redis::Client,
    local: Arc<Local>,
    names: Arc<Names>,
    orders: mpsc::Receiver<Order>,
    /// For answers.
    answers: mpsc::Sender<Order>,
    news: mpsc::Receiver<(Topic, Vec<u8>)>,
    lost: Arc<AtomicU64>,
}

/// Starts the engine. Redis need not be there.
pub(super) async fn start(
    url: &str,
    settings: &ClusterConfig,
    id: ReplicaId,
) -> Result<(RedisEnd, mpsc::Receiver<Question>), ClusterError> {
    // One provider for all TLS of the process; another one may have been there first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (local, questions) = Local::new(id, false);
    let names = Arc::new(Names::new(&settings.prefix, &local.id));
    let (orders, order_queue) = mpsc::channel(ORDERS);
    let (news, news_queue) = mpsc::channel(NEWS);
    let (alive, ended) = oneshot::channel();
    let lost = Arc::new(AtomicU64::new(0));
    let work = Work {
        client: client(url)?,
        local: Arc::clone(&local),
        names: Arc::clone(&names),
        orders: order_queue,
        answers: orders.clone(),
        news: news_queue,
        lost: Arc::clone(&lost),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("cluster".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = work.run() => {}
                _ = ended => {}
            }
        });
        // A name may still be looked up.
        runtime.shutdown_background();
    })?;
    let mut standing = local.standing.subscribe();
    if tokio::time::timeout(START, standing.wait_for(|standing| *standing)).await.is_err() {
        tracing::warn!("Redis cannot be reached yet: other replicas are asked once it can");
    }
    Ok((RedisEnd { local, names, orders, news, lost, _alive: alive }, questions))
}

fn client(url: &str) -> Result<redis::Client, ClusterError> {
    // The library's own words might repeat what was given, a password in it.
    let info = url.into_connection_info().map_err(|_| ClusterError::Address)?;
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    redis::Client::open(info.set_tcp_settings(tcp)).map_err(|_| ClusterError::Address)
}

impl RedisEnd {
    /// What others bring.
    pub fn local(&self) -> Arc<Local> {
        Arc::clone(&self.local)
    }

    /// Sends a question to one, or to all.
    pub fn ask(&self, to: Option<&ReplicaId>, number: u64, question: Bytes) {
        let channel = to.map_or_else(|| self.names.all.clone(), |to| self.names.questions_of(to));
        let message =
            Message { from: self.local.id.clone(), number, content: Content::Question(question) }.encode();
        if self.orders.try_send(Order::Ask { channel, message, number }).is_err() {
            self.local.waiting.lost(number);
        }
    }

    /// Sends news, if there is room for it.
    pub fn tell(&self, topic: Topic, body: Bytes) {
        if !self.local.is_standing() {
            return;
        }
        let content = Content::News(topic, body);
        let message = Message { from: self.local.id.clone(), number: 0, content }.encode();
        if self.news.try_send((topic, message)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes one unit of a limit; none if the engine cannot say.
    pub async fn spend(&self, key: &str, per: Quota) -> Option<Verdict> {
        let (tell, verdict) = oneshot::channel();
        let order = Order::Spend { key: self.names.limit(key), per, verdict: tell };
        self.orders.try_send(order).ok()?;
        verdict.await.ok()
    }

    /// Gives one unit of a limit back, or all of it.
    pub fn give_back(&self, key: &str, one: Option<Quota>) {
        // Refused, it comes back by itself.
        let _ = self.orders.try_send(Order::GiveBack { key: self.names.limit(key), one });
    }
}

impl Work {
    /// Connects, again and again. Never ends.
    async fn run(mut self) {
        let mut wait = RETRY;
        let mut told = false;
        loop {
            let why = match Link::open(&self.client, &self.names).await {
                Ok(link) => {
                    let ended = link.serve(&mut self).await;
                    if self.local.is_standing() {
                        (wait, told) = (RETRY, false);
                    }
                    ended
                }
                Err(error) => error,
            };
            self.local.stands(false);
            if told {
                tracing::debug!(%why, "Redis is still away");
            } else {
                tracing::warn!(%why, "Redis is away: other replicas cannot be asked");
                told = true;
            }
            self.drop_orders();
            // Not all replicas at the same moment.
            let spread = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(wait.mul_f64(spread)).await;
            wait = wait.saturating_mul(2).min(RETRY_MAX);
        }
    }

    /// What waits is out of date: nobody counts on it any more.
    fn drop_orders(&mut self) {
        while self.orders.try_recv().is_ok() {}
        while self.news.try_recv().is_ok() {}
    }
}

/// Why nothing can be done at that address.
#[cfg(test)]
pub(super) async fn why_not(url: &str) -> Option<String> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let names = Names::new("test", &ReplicaId::from_bits(1));
    Link::open(&client(url).ok()?, &names).await.err()
}
