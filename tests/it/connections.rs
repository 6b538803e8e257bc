//! Connections to the vendors: made before they are needed, and kept.

use crate::support::{Desk, barbershop};
use frontdesk::domain::turn::Speaker;
use frontdesk::observe::feed::FeedEvent;
use frontdesk::sim::faults::Service;
use frontdesk::sim::vendors::VendorsConfig;

/// Counts what the vendors have seen so far: connections of model, voice, second voice, recogniser.
fn connections(desk: &Desk) -> [u64; 4] {
    let services = [Service::Openai, Service::Elevenlabs, Service::DeepgramSpeak, Service::DeepgramListen];
    services.map(|service| desk.stack().vendors.faults.service(service).connections)
}

#[actix::test]
async fn the_first_reply_finds_its_connections_open_and_later_ones_use_the_same() {
    let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
        // Vendors have hosts of their own: connections to one are never used for another.
        config.llm.primary.base_url = config.llm.primary.base_url.replace("127.0.0.1", "localhost");
    })
    .await;
    let mut feed = desk.stack().server.feed.watch();
    // What was open when the greeting was over, and after each reply.
    let count = async {
        let mut seen = Vec::new();
        while let Ok(event) = feed.recv().await {
            match event {
                FeedEvent::Turn { turn, .. } if turn.speaker == Speaker::Bot => seen.push(connections(&desk)),
                FeedEvent::Ended { .. } => break,
                _ => {}
            }
        }
        seen
    };
    let call = desk.call(
        r#"
        name = "connections"
        [[step]]
        wait_for = "greeting"
        [[step]]
        say = "What are your opening hours?"
        [[step]]
        wait_for = "reply"
        [[step]]
        say = "And where are you?"
        [[step]]
        wait_for = "reply"
        [[step]]
        hang_up = true
        "#,
    );
    let (call, seen) = tokio::join!(call, count);
    call.is_sound();
    assert!(seen.len() >= 3, "{seen:?}");
    let [model, voice, second_voice, recogniser] = seen[0];
    assert!(model >= 1, "the model's connection is open before the first question: {seen:?}");
    assert!(voice >= 1 && second_voice >= 1, "so are both voices': {seen:?}");
    assert_eq!(recogniser, 1, "{seen:?}");
    // Sentences are fetched ahead, beside the one that is spoken: the first reply may take one more of each.
    assert!(seen[1].iter().zip(seen[0]).all(|(then, before)| *then <= before + 1), "{seen:?}");
    assert!(seen[1..].iter().all(|later| *later == seen[1]), "no later reply opens another: {seen:?}");
    desk.close().await;
}
