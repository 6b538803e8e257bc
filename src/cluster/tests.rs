//! What replicas can count on, whatever lies between them.

mod server;

use super::*;
use server::RedisServer;
use std::time::Instant;

/// Time enough for anything that comes at all.
const LONG: Duration = Duration::from_secs(10);

/// What lies between the replicas of a test.
enum World {
    Hub(Hub),
    Redis(ClusterConfig),
}

impl World {
    fn hub() -> Self {
        Self::Hub(Hub::new())
    }

    /// At the Redis of the whole test run, under names of its own.
    fn redis() -> Self {
        let url = std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| {
            panic!("TEST_REDIS_URL is not set: run tests/run, which starts a Redis, or name one (redis://127.0.0.1:6379/)")
        });
        Self::Redis(settings(&url))
    }

    async fn join(&self) -> Cluster {
        match self {
            Self::Hub(hub) => hub.join(some_id()),
            Self::Redis(settings) => {
                let cluster = Cluster::connect(settings, some_id()).await.unwrap();
                stands(&cluster, true).await;
                cluster
            }
        }
    }
}

fn some_id() -> ReplicaId {
    ReplicaId::from_bits(rand::random())
}

fn settings(url: &str) -> ClusterConfig {
    let prefix = format!("test-{:016x}", rand::random::<u64>());
    ClusterConfig { url: Some(url.to_owned()), prefix, ..ClusterConfig::default() }
}

/// Waits until the engine is there, or away; says how long that took.
async fn stands(cluster: &Cluster, standing: bool) -> Duration {
    let (mut watch, began) = (cluster.standing(), Instant::now());
    let waited = tokio::time::timeout(LONG, watch.wait_for(|now| *now == standing)).await;
    assert!(waited.is_ok_and(|waited| waited.is_ok()), "never {standing}");
    began.elapsed()
}

/// Each case for each kind of engine.
macro_rules! on_both {
    ($(async fn $name:ident($world:ident: World) $case:block)*) => {$(
        mod $name {
            use super::*;

            async fn case($world: World) $case

            #[actix::test]
            async fn over_a_hub() {
                case(World::hub()).await;
            }

            #[actix::test]
            async fn over_redis() {
                case(World::redis()).await;
            }
        }
    )*};
}

/// Answers every question with its own words, and `by` before them.
fn echo(cluster: &Cluster, by: &'static str) {
    let mut questions = cluster.questions().unwrap();
    actix_rt::spawn(async move {
        while let Some(Question { body, answer, .. }) = questions.recv().await {
            answer.give([by.as_bytes(), &body].concat().into());
        }
    });
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

on_both! {
    async fn a_question_is_answered_by_whom_it_is_for(world: World) {
        let (a, b, c) = (world.join().await, world.join().await, world.join().await);
        echo(&b, "b:");
        echo(&c, "c:");
        let binary = Bytes::from_static(b"\n\0\xff{\r\n");
        assert_eq!(a.ask(b.id(), binary.clone(), LONG).await.unwrap(), [b"b:", &binary[..]].concat());
        assert_eq!(a.ask(c.id(), Bytes::new(), LONG).await.unwrap(), "c:");
        // Both ways, and oneself like anybody else.
        echo(&a, "a:");
        assert_eq!(b.ask(a.id(), bytes("x"), LONG).await.unwrap(), "a:x");
        assert_eq!(b.ask(b.id(), bytes("x"), LONG).await.unwrap(), "b:x");
    }

    async fn whoever_is_not_there_is_silent_at_once(world: World) {
        let a = world.join().await;
        let began = Instant::now();
        let gone = some_id();
        assert_eq!(a.ask(&gone, bytes("x"), LONG).await, Err(AskError::Silent));
        assert_eq!(a.ask_all(bytes("x"), LONG).await, []);
        assert!(began.elapsed() < LONG / 2);
    }

    async fn whoever_does_not_answer_is_silent_in_the_end(world: World) {
        let (a, b) = (world.join().await, world.join().await);
        let mut questions = b.questions().unwrap();
        let began = Instant::now();
        let within = Duration::from_millis(100);
        assert_eq!(a.ask(b.id(), bytes("x"), within).await, Err(AskError::Silent));
        assert!(began.elapsed() >= within);
        // An answer that comes too late is nobody's, and no later question is answered by it.
        let late = questions.recv().await.unwrap();
        let (answer, ()) = tokio::join!(a.ask(b.id(), bytes("y"), LONG), async {
            late.answer.give(bytes("late"));
            questions.recv().await.unwrap().answer.give(bytes("in time"));
        });
        assert_eq!(answer.unwrap(), "in time");
        assert_eq!(a.0.local.waiting.count(), 0);
    }

    async fn whoever_refuses_to_answer_is_silent_at_once(world: World) {
        let (a, b) = (world.join().await, world.join().await);
        let mut questions = b.questions().unwrap();
        let began = Instant::now();
        let (answer, ()) = tokio::join!(a.ask(b.id(), bytes("x"), LONG), async {
            drop(questions.recv().await.unwrap());
        });
        assert_eq!(answer, Err(AskError::Silent));
        assert!(began.elapsed() < LONG / 2);
    }

    async fn a_question_that_nobody_waits_for_any_more_is_forgotten(world: World) {
        let (a, b) = (world.join().await, world.join().await);
        let mut questions = b.questions().unwrap();
        {
            let mut asking = Box::pin(a.ask(b.id(), bytes("x"), LONG));
            tokio::select! {
                _ = &mut asking => panic!("nobody answered"),
                question = questions.recv() => question.unwrap().answer.give(bytes("y")),
            }
        }
        assert_eq!(a.0.local.waiting.count(), 0);
    }

    async fn all_are_asked_and_one_that_is_dead_costs_no_answer(world: World) {
        let (a, b, c, dead) = (world.join().await, world.join().await, world.join().await, world.join().await);
        echo(&b, "b");
        echo(&c, "c");
        let within = Duration::from_millis(300);
        let began = Instant::now();
        let mut answers = a.ask_all(bytes("?"), within).await;
        assert!(began.elapsed() >= within, "the dead one could still have answered");
        let mut expected = [(b.id().clone(), bytes("b?")), (c.id().clone(), bytes("c?"))];
        answers.sort();
        expected.sort();
        assert_eq!(answers, expected);
        // With everybody alive, nobody waits for the time to pass.
        echo(&dead, "d");
        let began = Instant::now();
        assert_eq!(a.ask_all(bytes("?"), LONG).await.len(), 3);
        assert!(began.elapsed() < LONG / 2);
    }

    async fn a_thousand_questions_at_once_are_answered_each_by_its_own_answer(world: World) {
        let (a, b) = (world.join().await, world.join().await);
        echo(&b, "b");
        let asking = (0..1_000).map(|n| {
            let (a, b) = (&a, &b);
            async move {
                let answer = a.ask(b.id(), format!("{n}").into(), LONG).await.unwrap();
                assert_eq!(answer, format!("b{n}"));
            }
        });
        futures_util::future::join_all(asking).await;
    }

    async fn what_is_too_long_is_refused(world: World) {
        let (a, b) = (world.join().await, world.join().await);
        let long = Bytes::from(vec![b'x'; MAX_BODY + 1]);
        assert_eq!(a.ask(b.id(), long.clone(), LONG).await, Err(AskError::TooLong));
        assert_eq!(a.ask_all(long.clone(), LONG).await, []);
        let (mut told, mut questions) = (b.told(), b.questions().unwrap());
        a.tell(Topic::Feed, long.clone());
        a.tell(Topic::Feed, bytes("short"));
        assert_eq!(told.recv().await.unwrap().body, "short");
        assert!(questions.try_recv().is_err());
        let (answer, ()) = tokio::join!(a.ask(b.id(), long.slice(..MAX_BODY), LONG), async {
            let question = questions.recv().await.unwrap();
            assert_eq!(question.body.len(), MAX_BODY);
            question.answer.give(long.clone());
        });
        assert_eq!(answer, Err(AskError::Silent));
    }

    async fn all_others_are_told_and_oneself_is_not(world: World) {
        let (a, b, c) = (world.join().await, world.join().await, world.join().await);
        let (mut at_a, mut at_b, mut at_c) = (a.told(), b.told(), c.told());
        a.tell(Topic::Presence, bytes("1"));
        a.tell(Topic::Feed, bytes("2"));
        for told in [&mut at_b, &mut at_c] {
            let (first, second) = (told.recv().await.unwrap(), told.recv().await.unwrap());
            assert_eq!((first.from, first.topic, first.body), (a.id().clone(), Topic::Presence, bytes("1")));
            assert_eq!((second.topic, second.body), (Topic::Feed, bytes("2")));
        }
        b.tell(Topic::Feed, bytes("3"));
        assert_eq!(at_a.recv().await.unwrap().body, "3");
    }

    async fn a_shared_limit_is_shared_and_recovers(world: World) {
        let (a, b) = (world.join().await, world.join().await);
        let quota = Quota { units: 4, per: Duration::from_secs(8) };
        let mut granted = 0;
        let mut refused = Duration::ZERO;
        for replica in [&a, &b, &a, &b, &a, &b] {
            match spent(replica, "key", quota).await {
                Verdict::Granted => granted += 1,
                Verdict::Refused(wait) => refused = refused.max(wait),
            }
        }
        assert_eq!(granted, 4);
        assert!(refused > Duration::ZERO && refused <= quota.per / 4, "{refused:?}");
        assert_eq!(spent(&a, "another key", quota).await, Verdict::Granted);
        tokio::time::sleep(refused).await;
        assert_eq!(spent(&b, "key", quota).await, Verdict::Granted);
    }

    async fn what_is_given_back_can_be_spent_again(world: World) {
        let (a, b) = (world.join().await, world.join().await);
        let quota = Quota { units: 3, per: Duration::from_secs(600) };
        let spend_all = async || {
            let mut n = 0;
            while spent(&a, "key", quota).await == Verdict::Granted {
                n += 1;
            }
            n
        };
        assert_eq!(spend_all().await, 3);
        // It is on its way for a moment.
        let again = async || {
            let began = Instant::now();
            loop {
                let n = spend_all().await;
                if n > 0 || began.elapsed() > LONG {
                    return n;
                }
            }
        };
        b.give_back("key", Some(quota));
        assert_eq!(again().await, 1);
        b.give_back("key", None);
        assert_eq!(again().await, 3);
        b.give_back("never spent", Some(quota));
        assert_eq!(spent(&b, "never spent", quota).await, Verdict::Granted);
    }

    async fn replicas_know_whether_anybody_listens(world: World) {
        let a = world.join().await;
        assert!(!a.is_heard() && !a.is_alone());
        let b = world.join().await;
        until(|| a.is_heard() && b.is_heard()).await;
        drop(b);
        until(|| !a.is_heard()).await;
    }
}

/// Spends, however slow this machine is.
async fn spent(cluster: &Cluster, key: &str, per: Quota) -> Verdict {
    match &cluster.0.engine {
        Engine::Redis(end) => end.spend(key, per).await.unwrap(),
        _ => cluster.spend(key, per).await.unwrap(),
    }
}

/// Waits for something that has no event.
async fn until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[actix::test]
async fn one_that_is_alone_is_answered_by_nobody_and_never_waits() {
    let a = Cluster::alone(ReplicaId::from_bits(1));
    assert!(a.is_alone() && !a.is_heard() && *a.standing().borrow());
    assert_eq!(a.ask(&ReplicaId::from_bits(2), bytes("x"), LONG).await, Err(AskError::Silent));
    assert_eq!(a.ask_all(bytes("x"), LONG).await, []);
    assert_eq!(a.spend("key", Quota::per_minute(1)).await, None);
    a.tell(Topic::Feed, bytes("x"));
    let mut questions = a.questions().unwrap();
    assert!(a.questions().is_none(), "questions are taken once");
    assert!(questions.try_recv().is_err());
}

#[actix::test]
async fn one_that_is_cut_off_is_away_until_it_is_healed() {
    let hub = Hub::new();
    let (a, b) = (hub.join(ReplicaId::from_bits(1)), hub.join(ReplicaId::from_bits(2)));
    echo(&b, "b");
    let (mut standing, mut told) = (a.standing(), a.told());
    hub.cut(a.id());
    assert!(!*standing.borrow_and_update());
    assert_eq!(a.ask(b.id(), bytes("x"), LONG).await, Err(AskError::Away));
    assert_eq!(a.ask_all(bytes("x"), LONG).await, []);
    assert_eq!(a.spend("key", Quota::per_minute(1)).await, None);
    assert_eq!(b.ask(a.id(), bytes("x"), LONG).await, Err(AskError::Silent), "b hears nobody there");
    assert!(*b.standing().borrow() && !b.is_heard());
    b.tell(Topic::Feed, bytes("lost"));
    hub.heal(a.id());
    assert!(standing.has_changed().unwrap() && *standing.borrow());
    assert_eq!(a.ask(b.id(), bytes("x"), LONG).await.unwrap(), "bx");
    b.tell(Topic::Feed, bytes("heard"));
    assert_eq!(told.recv().await.unwrap().body, "heard");
}

#[actix::test]
async fn an_open_question_ends_when_the_engine_goes_away() {
    let hub = Hub::new();
    let (a, b) = (hub.join(ReplicaId::from_bits(1)), hub.join(ReplicaId::from_bits(2)));
    let mut questions = b.questions().unwrap();
    let (answer, late) = tokio::join!(a.ask(b.id(), bytes("x"), LONG), async {
        let question = questions.recv().await.unwrap();
        hub.cut(a.id());
        question
    });
    assert_eq!(answer, Err(AskError::Away));
    late.answer.give(bytes("too late"));
}

#[actix::test]
async fn questions_that_nobody_takes_are_refused_in_the_end() {
    let hub = Hub::new();
    let (a, b) = (hub.join(ReplicaId::from_bits(1)), hub.join(ReplicaId::from_bits(2)));
    let unheard = (0..QUESTIONS).map(|_| a.ask(b.id(), bytes("x"), Duration::ZERO));
    for answer in futures_util::future::join_all(unheard).await {
        assert_eq!(answer, Err(AskError::Silent));
    }
    let began = Instant::now();
    assert_eq!(a.ask(b.id(), bytes("x"), LONG).await, Err(AskError::Silent));
    assert!(began.elapsed() < LONG / 2);
}

/// How long it may take until an engine that went away is known to be away. Promised is a second; tests share a machine.
const NOTICED: Duration = Duration::from_secs(6);

#[actix::test]
async fn two_installations_at_one_redis_do_not_hear_each_other() {
    let (ours, theirs) = (World::redis(), World::redis());
    let (a, b, stranger) = (ours.join().await, ours.join().await, theirs.join().await);
    echo(&b, "b");
    echo(&stranger, "stranger");
    assert_eq!(a.ask(stranger.id(), bytes("x"), LONG).await, Err(AskError::Silent));
    assert_eq!(a.ask_all(bytes("x"), LONG).await, [(b.id().clone(), bytes("bx"))]);
    let (mut here, mut there) = (b.told(), stranger.told());
    a.tell(Topic::Feed, bytes("1"));
    assert_eq!(here.recv().await.unwrap().body, "1");
    let quota = Quota { units: 1, per: Duration::from_secs(60) };
    assert_eq!(spent(&a, "key", quota).await, Verdict::Granted);
    assert_eq!(spent(&stranger, "key", quota).await, Verdict::Granted);
    assert!(there.try_recv().is_err() && !stranger.is_heard());
}

#[actix::test]
async fn a_redis_that_is_killed_is_away_and_another_in_its_place_is_found() {
    let mut server = RedisServer::start();
    let world = World::Redis(settings(&server.url()));
    let (a, b) = (world.join().await, world.join().await);
    let mut questions = b.questions().unwrap();
    let quota = Quota { units: 1, per: Duration::from_secs(600) };
    assert_eq!(spent(&a, "key", quota).await, Verdict::Granted);
    until(|| a.is_heard()).await;
    // One question is open when it happens.
    let (open, away) = tokio::join!(a.ask(b.id(), bytes("open"), LONG), async {
        let question = questions.recv().await.unwrap();
        server.kill();
        let took = stands(&a, false).await;
        stands(&b, false).await;
        question.answer.give(bytes("into the void"));
        took
    });
    assert_eq!(open, Err(AskError::Away));
    assert!(away < NOTICED, "{away:?}");
    let began = Instant::now();
    assert_eq!(a.ask(b.id(), bytes("x"), LONG).await, Err(AskError::Away));
    assert_eq!(a.ask_all(bytes("x"), LONG).await, []);
    assert_eq!(a.spend("key", quota).await, None);
    a.tell(Topic::Feed, bytes("lost"));
    assert!(!a.is_heard() && began.elapsed() < LONG / 2);
    let mut told = b.told();
    server.restart();
    stands(&a, true).await;
    stands(&b, true).await;
    let (answer, ()) = tokio::join!(a.ask(b.id(), bytes("again"), LONG), async {
        let question = questions.recv().await.unwrap();
        assert_eq!(question.body, "again");
        question.answer.give(bytes("here"));
    });
    assert_eq!(answer.unwrap(), "here");
    a.tell(Topic::Feed, bytes("heard"));
    assert_eq!(told.recv().await.unwrap().body, "heard");
    // The script has to be given to the new one, too.
    assert_eq!(spent(&b, "key", quota).await, Verdict::Granted);
}

#[actix::test]
async fn a_redis_that_freezes_is_away_until_it_thaws() {
    let server = RedisServer::start();
    let world = World::Redis(settings(&server.url()));
    let (a, b) = (world.join().await, world.join().await);
    echo(&b, "b");
    let quota = Quota::per_minute(10);
    assert_eq!(spent(&a, "key", quota).await, Verdict::Granted);
    server.signal("STOP");
    let began = Instant::now();
    // Not known yet: a limit waits for a moment and then lets its caller decide.
    assert_eq!(a.spend("key", quota).await, None);
    let waited = began.elapsed();
    assert!(waited >= SPEND && waited < SPEND * 40, "{waited:?}");
    let took = stands(&a, false).await;
    assert!(took < NOTICED, "{took:?}");
    assert_eq!(a.ask(b.id(), bytes("x"), LONG).await, Err(AskError::Away));
    server.signal("CONT");
    stands(&a, true).await;
    stands(&b, true).await;
    assert_eq!(a.ask(b.id(), bytes("x"), LONG).await.unwrap(), "bx");
}

#[actix::test]
async fn whoever_starts_before_redis_finds_it_when_it_comes() {
    let mut server = RedisServer::start();
    server.kill();
    let settings = settings(&server.url());
    let began = Instant::now();
    let a = Cluster::connect(&settings, some_id()).await.unwrap();
    assert!(began.elapsed() < LONG / 2 && !*a.standing().borrow() && !a.is_alone());
    assert_eq!(a.ask(&some_id(), bytes("x"), LONG).await, Err(AskError::Away));
    server.restart();
    stands(&a, true).await;
    assert_eq!(a.ask(&some_id(), bytes("x"), LONG).await, Err(AskError::Silent));
}

#[actix::test]
async fn without_an_address_one_is_alone_and_with_a_wrong_one_there_is_none() {
    let alone = Cluster::connect(&ClusterConfig::default(), some_id()).await.unwrap();
    assert!(alone.is_alone());
    for url in ["http://name:geheim@h", "redis://name:geheim@h/x", "redis://name:geheim@"] {
        let error = Cluster::connect(&settings(url), some_id()).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
    }
}

#[actix::test]
async fn a_password_is_needed_and_never_told() {
    let server = RedisServer::with(&["--requirepass", "pass word/7"]);
    let right = server.url().replace("redis://", "redis://:pass%20word%2F7@");
    let a = World::Redis(settings(&right)).join().await;
    assert_eq!(a.ask(&some_id(), bytes("x"), LONG).await, Err(AskError::Silent));
    let wrong = server.url().replace("redis://", "redis://:geheim@");
    let why = super::redis::why_not(&wrong).await.unwrap();
    assert!(why.contains("authentication") && !why.contains("geheim"), "{why}");
    // Not even by a server that repeats what it was sent.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = [0; 512];
            let n = socket.read(&mut asked).await.unwrap_or_default();
            let said = String::from_utf8_lossy(&asked[..n]).replace("\r\n", " ");
            for _ in 0..5 {
                let _ =
                    socket.write_all(format!("-ERR unknown command, with args: {said}\r\n").as_bytes()).await;
            }
        }
    });
    let why = super::redis::why_not(&format!("redis://:geheim@{address}")).await.unwrap();
    assert!(!why.is_empty() && !why.contains("geheim"), "{why}");
    let why = super::redis::why_not(&format!("rediss://:geheim@{address}")).await.unwrap();
    assert!(!why.is_empty() && !why.contains("geheim"), "{why}");
}

#[actix::test]
async fn a_question_of_another_version_is_refused_at_once_and_nonsense_does_no_harm() {
    use futures_util::StreamExt as _;
    let World::Redis(settings) = World::redis() else { return };
    let a = World::Redis(settings.clone()).join().await;
    echo(&a, "a");
    let client = ::redis::Client::open(settings.url.as_deref().unwrap()).unwrap();
    let mut commands = client.get_multiplexed_async_connection().await.unwrap();
    let mut heard = client.get_async_pubsub().await.unwrap();
    let prefix = &settings.prefix;
    heard.subscribe(format!("{prefix}:answer:aa")).await.unwrap();
    let mut heard = heard.into_on_message();
    for (version, want) in [(1, "answer"), (2, "none")] {
        for nonsense in ["", "nonsense", "{\"v\":1}\n"] {
            let _: i64 = ::redis::cmd("PUBLISH")
                .arg(format!("{prefix}:ask:{}", a.id()))
                .arg(nonsense)
                .query_async(&mut commands)
                .await
                .unwrap();
        }
        let question = format!("{{\"v\":{version},\"k\":\"ask\",\"f\":\"aa\",\"n\":5,\"more\":[]}}\nx");
        let listeners: i64 = ::redis::cmd("PUBLISH")
            .arg(format!("{prefix}:ask:{}", a.id()))
            .arg(question)
            .query_async(&mut commands)
            .await
            .unwrap();
        assert_eq!(listeners, 1);
        let answer = tokio::time::timeout(LONG, heard.next()).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(answer.get_payload_bytes()).into_owned();
        assert!(answer.contains(&format!("\"k\":\"{want}\"")) && answer.contains("\"n\":5"), "{answer}");
    }
}

#[actix::test]
async fn a_replica_that_has_left_is_silent_and_its_thread_has_ended() {
    let world = World::redis();
    let (a, b) = (world.join().await, world.join().await);
    until(|| a.is_heard()).await;
    let gone = b.id().clone();
    drop(b);
    until(|| !a.is_heard()).await;
    assert_eq!(a.ask(&gone, bytes("x"), LONG).await, Err(AskError::Silent));
}
