//! The live feed across replicas: what is told here goes to the others, what they tell is told here.

use crate::cluster::{Cluster, Told, Topic};
use crate::observe::feed::{Feed, Outbound, PassOn};
use tokio::sync::broadcast::error::RecvError;

/// Passes events on to the other replicas.
struct ToOthers(Cluster);

impl PassOn for ToOthers {
    fn is_heard(&self) -> bool {
        self.0.is_heard()
    }

    fn pass_on(&self, what: Outbound<'_>) {
        match serde_json::to_vec(&what) {
            Ok(body) => self.0.tell(Topic::Feed, body.into()),
            Err(error) => tracing::warn!(%error, "other replicas do not hear of an event"),
        }
    }
}

/// Lets watchers at all replicas see the same from now on. Ends with the cluster; at once, if there cannot be others.
pub(super) fn share(feed: &Feed, cluster: &Cluster) -> impl Future<Output = ()> + Send + use<> {
    let (mut told, mut standing) = (cluster.told(), cluster.standing());
    let alone = cluster.is_alone();
    if !alone {
        feed.pass_on(ToOthers(cluster.clone()));
    }
    let feed = feed.clone();
    async move {
        if alone {
            return;
        }
        loop {
            tokio::select! {
                news = told.recv() => match news {
                    Ok(Told { from, topic: Topic::Feed, body }) => match serde_json::from_slice(&body) {
                        Ok(what) => feed.tell_of(from, what),
                        // A newer replica knows more events.
                        Err(error) => tracing::debug!(%from, %error, "an event of another replica is not known here"),
                    },
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => feed.missed(),
                    Err(RecvError::Closed) => return,
                },
                changed = standing.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *standing.borrow_and_update() {
                        feed.missed();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Hub;
    use crate::domain::call::EndReason;
    use crate::domain::ids::ReplicaId;
    use crate::domain::turn::{Speaker, StageLatencies, TurnRecord};
    use crate::observe::feed::{FeedEvent, Numbered, Watcher};

    struct Replica {
        cluster: Cluster,
        feed: Feed,
    }

    fn replica(hub: &Hub, n: u64) -> Replica {
        let (cluster, feed) = (hub.join(ReplicaId::from_bits(n)), Feed::default());
        actix_rt::spawn(share(&feed, &cluster));
        Replica { cluster, feed }
    }

    fn all_kinds() -> Vec<FeedEvent> {
        let sid = || "CA1".into();
        let turn = TurnRecord {
            n: 1,
            speaker: Speaker::Bot,
            said: "Good \u{1f44b} day".into(),
            heard: "Good".into(),
            interrupted: true,
            at_ms: 7,
            latency: StageLatencies { first_token_ms: Some(3), ..StageLatencies::default() },
        };
        vec![
            FeedEvent::Started { sid: sid() },
            FeedEvent::Changed { sid: sid() },
            FeedEvent::Turn { sid: sid(), turn },
            FeedEvent::Event {
                sid: sid(),
                code: "x.y".into(),
                detail: serde_json::json!({ "a": [1, null] }),
            },
            FeedEvent::Ended { sid: sid(), reason: EndReason::ALL[0] },
        ]
    }

    async fn next(watcher: &mut Watcher) -> Numbered {
        let waited = std::time::Duration::from_secs(10);
        tokio::time::timeout(waited, watcher.numbered()).await.expect("an event in time").unwrap()
    }

    #[actix::test]
    async fn what_happens_at_one_replica_is_seen_once_at_each() {
        let hub = Hub::new();
        let (a, b, c) = (replica(&hub, 1), replica(&hub, 2), replica(&hub, 3));
        let mut watchers = [a.feed.watch(), b.feed.watch(), c.feed.watch()];
        for event in all_kinds() {
            a.feed.tell(event);
        }
        b.feed.tell(FeedEvent::Started { sid: "CA2".into() });
        for (watcher, own) in watchers.iter_mut().zip([true, false, false]) {
            let (mut seen, mut others) = (Vec::new(), 0);
            for n in 1..=6 {
                let told = next(watcher).await;
                assert_eq!(told.n, n, "numbered here");
                match format!("{:?}", told.event) {
                    text if text.contains("CA2") => others += 1,
                    text => {
                        assert_eq!(told.from.is_none(), own, "{text}");
                        seen.push(text);
                    }
                }
            }
            let expected: Vec<String> = all_kinds().iter().map(|event| format!("{event:?}")).collect();
            assert_eq!((seen, others), (expected, 1));
            tokio::task::yield_now().await;
            assert!(watcher.try_recv().is_err(), "seen once");
        }
    }

    #[actix::test]
    async fn what_is_erased_at_one_replica_is_told_at_none() {
        let hub = Hub::new();
        let (a, b) = (replica(&hub, 1), replica(&hub, 2));
        let mut slow = b.feed.watch();
        let mut quick = b.feed.watch();
        for event in all_kinds() {
            a.feed.tell(event);
        }
        a.feed.forget(&["CA1".into()]);
        a.feed.tell(FeedEvent::Started { sid: "CA2".into() });
        while !format!("{:?}", next(&mut quick).await.event).contains("CA2") {}
        let kinds = [(); 5].map(|()| format!("{:?}", slow.try_recv().unwrap()));
        assert!(kinds[2].contains("Changed") && kinds[3].contains("Changed"), "{kinds:?}");
    }

    #[actix::test]
    async fn a_replica_that_was_cut_off_tells_its_watchers_that_something_is_missing() {
        let hub = Hub::new();
        let (a, b) = (replica(&hub, 1), replica(&hub, 2));
        let mut watcher = b.feed.watch();
        hub.cut(b.cluster.id());
        assert!(!b.feed.is_watched() || b.feed.watchers() == 1);
        a.feed.tell(FeedEvent::Started { sid: "CA1".into() });
        tokio::task::yield_now().await;
        hub.heal(b.cluster.id());
        assert!(matches!(next(&mut watcher).await.event, FeedEvent::Missed));
        a.feed.close();
        a.feed.tell(FeedEvent::Started { sid: "CA2".into() });
        let told = next(&mut watcher).await;
        assert!(format!("{:?}", told.event).contains("CA2"), "closing is nobody else's affair: {told:?}");
    }

    #[actix::test]
    async fn nothing_is_written_for_nobody() {
        let hub = Hub::new();
        let a = replica(&hub, 1);
        assert!(!a.feed.is_watched());
        let b = replica(&hub, 2);
        assert!(a.feed.is_watched(), "somebody may watch at the other");
        let mut told = b.cluster.told();
        b.cluster.tell(Topic::Feed, "no event".into());
        a.cluster.tell(Topic::Feed, "{\"event\":{\"vanished\":{}}}".into());
        let mut watcher = b.feed.watch();
        told.recv().await.unwrap();
        a.feed.tell(FeedEvent::Started { sid: "CA1".into() });
        assert!(matches!(next(&mut watcher).await.event, FeedEvent::Started { .. }));
        drop(b);
    }
}
