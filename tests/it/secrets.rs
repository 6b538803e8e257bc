//! What a server prints at its most talkative, in calls that fail: no key, no number, no spoken word (SEC-4).

use crate::support::database::on_both;
use crate::support::process::{Place, Process};
use frontdesk::domain::ids::CallSid;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::faults::{After, Fault, FaultRule, Service};
use frontdesk::sim::script::Script;
use std::time::Duration;

on_both!(no_log_line_tells_a_key_a_number_or_what_was_said,);

const SECRET: &str = "a-secret-of-at-least-thirty-two-characters";

async fn no_log_line_tells_a_key_a_number_or_what_was_said() {
    let place = Place::new();
    let strike = |rule| place.vendors.faults.add(rule);
    strike(FaultRule::always(Service::Elevenlabs, Fault::Refuse { status: 401, code: None }));
    strike(FaultRule::once(Service::DeepgramListen, Fault::Refuse { status: 429, code: None }));
    strike(FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(60_000) }).skipping(1));
    strike(
        FaultRule::once(Service::Openai, Fault::Refuse { status: 500, code: None }).containing("xylophone"),
    );
    strike(FaultRule::once(Service::DeepgramSpeak, Fault::Malformed).skipping(2));
    let server = Process::start(&place, &[("RUST_LOG", "trace"), ("FRONTDESK_SECRET", SECRET)]);
    let script = Script::parse(
        r#"
        name = "failing"
        from = "+12025550143"
        limit_ms = 60000
        [[step]]
        wait_for = "greeting"
        [[step]]
        say = "Please take a message about my xylophone, my number is 202 555 0143."
        [[step]]
        wait_for = "reply"
        [[step]]
        hang_up = true
        "#,
    )
    .unwrap();
    let sid = format!("CA{:032x}", rand::random::<u128>());
    let mut caller = place.caller(&sid);
    run_call(&caller, &script).await;
    // A forged request is refused and told about, too.
    caller.auth_token = secrecy::SecretString::from("not-the-token-of-this-account".to_owned());
    caller.sid = Some(format!("CA{:032x}", rand::random::<u128>()));
    run_call(&caller, &script).await;

    let database = place.database().await;
    let sid = CallSid::from(sid.as_str());
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while database.call_overview(sid.clone()).await.unwrap().is_none_or(|c| c.ended_at.is_none()) {
        assert!(tokio::time::Instant::now() < deadline, "the call does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.kill();
    database.shutdown().await;

    let log = std::fs::read_to_string(place.log()).unwrap();
    assert!(log.contains("call admitted") && log.contains("webhook refused"), "the log is there:\n{log}");
    assert!(log.contains("elevenlabs"), "failures are told:\n{log}");
    for forbidden in [
        "sim-key",
        "00112233445566778899aabbccddeeff",
        SECRET,
        "2025550143",
        "2025550100",
        "202 555 0143",
        "xylophone",
    ] {
        let line = log.lines().find(|line| line.contains(forbidden));
        assert!(line.is_none(), "{forbidden} is printed: {line:?}");
    }
}
