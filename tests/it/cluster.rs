//! Several servers at one Redis.

use crate::support::process::Port;
use crate::support::{Desk, barbershop};
use frontdesk::config::Config;
use frontdesk::observe::feed::{FeedEvent, Watcher};
use frontdesk::sim::vendors::VendorsConfig;
use std::time::Duration;

/// Time enough for anything that comes at all.
const LONG: Duration = Duration::from_secs(20);

const SHORT: &str = r#"
name = "short"
[[step]]
wait_for = "greeting"
[[step]]
say = "That is all, goodbye."
[[step]]
expect_end = "hangup"
"#;

async fn desk(url: &str, prefix: &str) -> Desk {
    Desk::with(barbershop(), VendorsConfig::default(), |config: &mut Config| {
        config.cluster.url = Some(url.to_owned());
        config.cluster.prefix = prefix.to_owned();
    })
    .await
}

/// What is told at two servers until a call is over, that included, in the order of its words, and what each event says
/// of where it comes from. What the call and the registry tell of its end comes in any order: whoever has been told more
/// than the other waits for it, and then for whatever is told twice.
async fn told(here: &mut Watcher, there: &mut Watcher) -> [(Vec<String>, Vec<bool>); 2] {
    let mut all = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    let mut ends = [0, 0];
    loop {
        let over = ends == [1, 1] && all[0].0.len() == all[1].0.len();
        let (at, told) = tokio::select! {
            told = here.numbered() => (0, told),
            told = there.numbered() => (1, told),
            () = tokio::time::sleep(if over { LONG / 10 } else { LONG }) => break,
        };
        let told = told.expect("nobody lags");
        if matches!(told.event, FeedEvent::Missed) {
            continue;
        }
        ends[at] += usize::from(matches!(told.event, FeedEvent::Ended { .. }));
        all[at].0.push(format!("{:?}", told.event));
        all[at].1.push(told.from.is_some());
    }
    assert_eq!(ends, [1, 1], "{all:?}");
    for (events, _) in &mut all {
        events.sort();
    }
    all
}

#[actix::test]
async fn what_happens_in_a_call_at_one_server_is_seen_once_at_the_other() {
    let url = std::env::var("TEST_REDIS_URL").unwrap_or_else(|_| {
        panic!("TEST_REDIS_URL is not set: run tests/run, which starts a Redis, or name one (redis://127.0.0.1:6379/)")
    });
    let prefix = format!("test-{:016x}", rand::random::<u64>());
    let (a, b) = (desk(&url, &prefix).await, desk(&url, &prefix).await);
    let (here, there) = (&a.stack().server, &b.stack().server);
    assert_ne!(here.cluster.id(), there.cluster.id());
    let deadline = tokio::time::Instant::now() + LONG;
    while !(here.cluster.is_heard() && there.cluster.is_heard()) {
        assert!(tokio::time::Instant::now() < deadline, "the servers do not find each other");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut at_a, mut at_b) = (here.feed.watch(), there.feed.watch());
    let (call, [own, passed]) = tokio::join!(a.call(SHORT), told(&mut at_a, &mut at_b));
    call.is_sound();
    assert!(own.0.iter().any(|event| event.starts_with("Turn")), "{:?}", own.0);
    assert_eq!(own.0, passed.0, "each once, and all of it");
    assert!(own.1.iter().all(|foreign| !foreign) && passed.1.iter().all(|foreign| *foreign));
    a.close().await;
    b.close().await;
}

#[actix::test]
async fn a_server_whose_redis_is_away_starts_and_takes_calls() {
    let closed = Port::hold();
    let desk = desk(&format!("redis://{}", closed.address()), "test").await;
    assert!(!*desk.stack().server.cluster.standing().borrow());
    desk.call(SHORT).await.is_sound();
    desk.close().await;
}
