//! What a replica says of what is away for a while: when it begins and when it is over, and no more.

use super::*;
use crate::observe::log::{Captured, capture};
use std::sync::Mutex;

/// How often that was logged.
fn count(log: &Captured, words: &str) -> usize {
    log.text().matches(words).count()
}

/// Keeps everybody from writing to a SQLite file until the sender is dropped; returns once it is so.
async fn hold_up(db: &DbHandle) -> std::sync::mpsc::Sender<()> {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (started, start) = tokio::sync::oneshot::channel();
    let inside = Mutex::new((Some(started), released));
    let busy = Write::Test(Arc::new(move |_| {
        let mut inside = inside.lock().unwrap();
        if let Some(started) = inside.0.take() {
            let _ = started.send(());
            let _ = inside.1.recv();
        }
        Ok(())
    }));
    db.record(busy).unwrap();
    start.await.unwrap();
    release
}

#[actix::test]
async fn one_that_is_about_to_end_while_all_is_away_warns_once() {
    const UNHEARD: [&str; 3] = [
        "the others cannot be told that we are there",
        "the others still cannot be told",
        "the others can be told again",
    ];
    const UNLOOKED: [&str; 3] =
        ["whose our calls are is not known", "whose our calls are is still not known", "is known again"];
    let (log, _guard) = capture("debug").unwrap();
    let world = World::new(TestDb::sqlite(), 2, SOON).await;
    let a = &world.replicas[0];
    let (_live, _told) = a.live(&a.new_call("CA1").await).await;
    a.db().flush().await.unwrap();
    let before = [UNHEARD[0], UNLOOKED[0]].map(|words| count(&log, words));
    let release = hold_up(&a.db()).await;
    world.cut(0);
    a.registry.send(CloseDoor { handover: Duration::from_secs(7) }).await.unwrap();
    until(async || count(&log, UNHEARD[1]) >= 4 && count(&log, UNLOOKED[1]) >= 2).await;
    let warned = [UNHEARD[0], UNLOOKED[0]].map(|words| count(&log, words));
    assert!(warned[0] - before[0] <= 2, "one of each replica: {}", log.text());
    assert!(warned[1] - before[1] <= 1, "{}", log.text());
    assert!(warned[0] >= 2 && warned[1] >= 1, "{}", log.text());
    drop(release);
    until(async || count(&log, UNHEARD[2]) >= 2 && count(&log, UNLOOKED[2]) >= 1).await;
    world.close().await;
}

#[actix::test]
async fn one_that_only_fails_to_reach_the_database_keeps_its_calls_which_is_told_once() {
    for test in TestDb::each() {
        let (log, _guard) = capture("debug").unwrap();
        let world = World::new(test, 2, SOON).await;
        let [a, b] = &world.replicas[..] else { panic!() };
        let (_live, _told) = a.live(&a.new_call("CA1").await).await;
        a.db().flush().await.unwrap();
        a.registry.send(Freeze(true)).await.unwrap();
        until(async || count(&log, "is still not heard of in the database, and answers") >= 3).await;
        assert_eq!(count(&log, "and answers: it keeps its calls"), 1, "{}", log.text());
        assert_eq!(count(&log, "another replica is there"), 2, "it never went: {}", log.text());
        assert_eq!((a.here().await, b.here().await), (1, 0));
        world.close().await;
    }
}
