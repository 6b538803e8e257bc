//! One connection to Redis, from its beginning to its end: one for commands, one for what is subscribed to.
//!
//! It counts as alive as long as a message to ourselves comes back in time. That takes both connections and the server.

use super::{Names, Order, Work};
use crate::cluster::gcra::Verdict;
use crate::cluster::wire::{Content, Message};
use crate::cluster::{Answer, Topic};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{AsyncConnectionConfig, Msg, RedisError, Script};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How long connecting may take, and an answer of the server.
const CONNECT: Duration = Duration::from_secs(2);
/// How often a sign of life is sent.
const BEAT: Duration = Duration::from_millis(250);
/// How long it may take to come back.
const BEAT_BACK: Duration = Duration::from_millis(550);
/// How long it may take once more: if our own thread was held up, what came in time has not been read yet.
const GRACE: Duration = Duration::from_millis(100);
/// Orders that are sent together.
const TOGETHER: usize = 256;
/// Batches that are on their way at once.
const FLIGHT: usize = 64;

/// Takes a unit as `gcra` does; the time is the server's. Returns how long to wait, in microseconds.
const SPEND: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, ahead = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1])) or now
if full < now then full = now end
local wait = full - now - ahead
if wait > 0 then return wait end
full = full + interval
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return 0
";

/// Gives a unit back.
const GIVE_BACK: &str = "
local full = tonumber(redis.call('GET', KEYS[1]))
if not full then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
full = full - tonumber(ARGV[1])
if full <= now then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return 0
";

type Done = Result<(), String>;

/// An open connection.
pub(super) struct Link {
    commands: MultiplexedConnection,
    heard: PubSubStream,
    spend: Rc<Script>,
    give_back: Rc<Script>,
    /// The number of our last sign of life, and until when it has to be back.
    beat: u64,
    awaited: Option<Instant>,
    /// Whether it was given more time.
    graced: bool,
}

/// Why something failed. What the server says is left out: some repeat what they were sent, a password in it.
fn told(error: &RedisError) -> String {
    if error.is_io_error() {
        return error.to_string();
    }
    match error.code() {
        Some(code) => format!("{} ({code})", error.category()),
        None => error.category().to_owned(),
    }
}

impl Link {
    /// Connects and subscribes.
    pub async fn open(client: &redis::Client, names: &Names) -> Result<Self, String> {
        let opened = tokio::time::timeout(CONNECT, async {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT))
                .set_response_timeout(Some(CONNECT));
            let commands = client.get_multiplexed_async_connection_with_config(&config).await?;
            let mut heard = client.get_async_pubsub().await?;
            heard
                .subscribe(&[
                    names.all.clone(),
                    names.questions.clone(),
                    names.answers.clone(),
                    names.topic(Topic::Feed),
                    names.topic(Topic::Presence),
                ])
                .await?;
            Ok((commands, heard.into_on_message()))
        });
        match opened.await {
            Ok(Ok((commands, heard))) => {
                let (spend, give_back) = (Rc::new(Script::new(SPEND)), Rc::new(Script::new(GIVE_BACK)));
                Ok(Self { commands, heard, spend, give_back, beat: 0, awaited: None, graced: false })
            }
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    /// Carries orders and messages until the connection fails; says why it did.
    pub async fn serve(mut self, work: &mut Work) -> String {
        let mut flight: FuturesUnordered<LocalBoxFuture<'static, Done>> = FuturesUnordered::new();
        let mut clock = tokio::time::interval(BEAT);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut orders, mut news) = (Vec::new(), Vec::new());
        loop {
            let late = self.awaited.unwrap_or_else(|| Instant::now() + CONNECT);
            let room = flight.len() < FLIGHT;
            tokio::select! {
                message = self.heard.next() => match message {
                    Some(message) => self.hear(&message, work),
                    None => return "the subscriptions ended".to_owned(),
                },
                Some(done) = flight.next() => {
                    if let Err(why) = done {
                        return why;
                    }
                }
                n = work.orders.recv_many(&mut orders, TOGETHER), if room => {
                    // Nobody is left: the thread is about to end.
                    if n == 0 {
                        return "nobody needs it any more".to_owned();
                    }
                    self.carry(orders.drain(..), work, &mut flight);
                }
                n = work.news.recv_many(&mut news, TOGETHER), if room => {
                    if n == 0 {
                        return "nobody needs it any more".to_owned();
                    }
                    flight.push(self.spread(news.drain(..), &work.names));
                }
                _ = clock.tick(), if self.awaited.is_none() => {
                    flight.push(self.beat(work));
                    let lost = work.lost.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        tracing::warn!(lost, "news for other replicas was lost: too much at once");
                    }
                }
                () = tokio::time::sleep_until(late), if self.awaited.is_some() => {
                    if self.graced {
                        return "no sign of life".to_owned();
                    }
                    self.graced = true;
                    self.awaited = Some(Instant::now() + GRACE);
                }
            }
        }
    }

    /// Sends ourselves a sign of life, and looks who else listens.
    fn beat(&mut self, work: &Work) -> LocalBoxFuture<'static, Done> {
        self.beat = self.beat.wrapping_add(1);
        self.awaited = Some(Instant::now() + BEAT_BACK);
        self.graced = false;
        let beat = Message { from: work.local.id.clone(), number: self.beat, content: Content::Beat };
        let mut pipe = redis::pipe();
        pipe.cmd("PUBLISH").arg(&work.names.answers).arg(beat.encode());
        pipe.cmd("PUBSUB").arg("NUMSUB").arg(work.names.topic(Topic::Feed));
        let (mut commands, local) = (self.commands.clone(), Arc::clone(&work.local));
        Box::pin(async move {
            let answer: Result<(i64, (String, i64)), RedisError> = pipe.query_async(&mut commands).await;
            let (_, (_, listeners)) = answer.map_err(|error| told(&error))?;
            // We are one of them.
            local.heard.store(listeners > 1 && local.is_standing(), Ordering::Relaxed);
            Ok(())
        })
    }

    /// Sends news, all of it in its order.
    fn spread(
        &self,
        news: impl Iterator<Item = (Topic, Vec<u8>)>,
        names: &Names,
    ) -> LocalBoxFuture<'static, Done> {
        let mut pipe = redis::pipe();
        for (topic, message) in news {
            pipe.cmd("PUBLISH").arg(names.topic(topic)).arg(message).ignore();
        }
        let mut commands = self.commands.clone();
        Box::pin(async move { pipe.query_async::<()>(&mut commands).await.map_err(|error| told(&error)) })
    }

    /// Carries out orders: what is published goes together.
    fn carry(
        &self,
        orders: impl Iterator<Item = Order>,
        work: &Work,
        flight: &mut FuturesUnordered<LocalBoxFuture<'static, Done>>,
    ) {
        let mut pipe = redis::pipe();
        let mut asked = Vec::new();
        for order in orders {
            match order {
                // Whoever asked may have given up while it waited here.
                Order::Ask { number, .. } if !work.local.waiting.is_open(number) => {}
                Order::Ask { channel, message, number } => {
                    pipe.cmd("PUBLISH").arg(channel).arg(message);
                    asked.push(Some(number));
                }
                Order::Answer { channel, message } => {
                    pipe.cmd("PUBLISH").arg(channel).arg(message);
                    asked.push(None);
                }
                Order::GiveBack { key, one: None } => {
                    pipe.cmd("DEL").arg(key);
                    asked.push(None);
                }
                Order::GiveBack { key, one: Some(quota) } => {
                    let (mut commands, script) = (self.commands.clone(), Rc::clone(&self.give_back));
                    flight.push(Box::pin(async move {
                        let mut call = script.key(key);
                        let call = call.arg(quota.interval_us());
                        if let Err(error) = call.invoke_async::<i64>(&mut commands).await {
                            tracing::debug!(why = told(&error), "a shared limit is not given back");
                        }
                        Ok(())
                    }));
                }
                Order::Spend { verdict, .. } if verdict.is_closed() => {}
                Order::Spend { key, per, verdict } => {
                    let (mut commands, script) = (self.commands.clone(), Rc::clone(&self.spend));
                    flight.push(Box::pin(async move {
                        let mut call = script.key(key);
                        let answer: Result<u64, RedisError> =
                            call.arg(per.interval_us()).arg(per.ahead_us()).invoke_async(&mut commands).await;
                        match answer {
                            Ok(0) => drop(verdict.send(Verdict::Granted)),
                            Ok(wait) => drop(verdict.send(Verdict::Refused(Duration::from_micros(wait)))),
                            // Whether the connection is gone shows by the sign of life.
                            Err(error) => tracing::debug!(why = told(&error), "a shared limit is not known"),
                        }
                        Ok(())
                    }));
                }
            }
        }
        if asked.is_empty() {
            return;
        }
        let (mut commands, local) = (self.commands.clone(), Arc::clone(&work.local));
        flight.push(Box::pin(async move {
            let reached: Result<Vec<i64>, RedisError> = pipe.query_async(&mut commands).await;
            let reached = reached.map_err(|error| told(&error))?;
            for (number, listeners) in asked.into_iter().zip(reached) {
                if let Some(number) = number {
                    local.waiting.reached(number, usize::try_from(listeners).unwrap_or_default());
                }
            }
            Ok(())
        }));
    }

    /// Takes what was published.
    fn hear(&mut self, message: &Msg, work: &Work) {
        let local = &work.local;
        let Some(Message { from, number, content }) =
            Message::decode(Bytes::copy_from_slice(message.get_payload_bytes()))
        else {
            tracing::debug!("a message of another replica cannot be read");
            return;
        };
        let own = from == local.id;
        match content {
            Content::Beat if own && number == self.beat => {
                self.awaited = None;
                if !local.is_standing() {
                    tracing::info!("Redis is there: other replicas can be asked");
                    local.stands(true);
                }
            }
            Content::Beat => {}
            Content::Answer(body) => local.waiting.answered(number, &from, body),
            Content::News(..) if own => {}
            Content::News(topic, body) => local.hear(from, topic, body),
            Content::Question(_) | Content::Foreign
                if own && message.get_channel_name() == work.names.all =>
            {
                local.waiting.echoed(number);
            }
            Content::Question(body) => {
                let answer = answer(&from, number, work);
                local.ask(from, body, answer);
            }
            Content::Foreign => drop(answer(&from, number, work)),
        }
    }
}

/// Where the answer to a question goes.
fn answer(to: &crate::domain::ids::ReplicaId, number: u64, work: &Work) -> Answer {
    let (channel, orders) = (work.names.answers_of(to), work.answers.clone());
    let id = work.local.id.clone();
    Answer::new(move |body| {
        let message = Message { from: id, number, content: Content::Answer(body) }.encode();
        if orders.try_send(Order::Answer { channel, message }).is_err() {
            tracing::warn!("an answer to another replica is lost: too many wait");
        }
    })
}
