use std::collections::HashMap;
use std::time::Instant;

use super::fake::{Bot, Fake, TOKEN};
use super::report::{EndCause, StreamEnd};
use super::*;

const TALK: &str = "<Response><Connect action=\"/voice/continue\">\
    <Stream url=\"{STREAM}\" statusCallback=\"/voice/stream-status\">\
    <Parameter name=\"token\" value=\"t-1\"/></Stream></Connect></Response>";
const HANG_UP: &str = "<Response><Hangup/></Response>";

fn documents<'a>(first: &'a str, then: &'a str) -> [(&'static str, &'a str); 3] {
    [("/voice/incoming", first), ("/voice/continue", then), ("/voice/stream-status", "<Response/>")]
}

async fn call(fake: &Fake, script: &str) -> CallReport {
    call_with(fake, script, |_| {}).await
}

async fn call_with(fake: &Fake, script: &str, change: impl FnOnce(&mut CallConfig)) -> CallReport {
    let mut config = CallConfig::new(&fake.url, TOKEN);
    config.voice = CallerVoice::Tone;
    config.ring_ms = 20;
    config.no_answer_ms = 20;
    config.person_talks_ms = 40;
    change(&mut config);
    let script = format!("settle_ms = 300\n{script}");
    run_call(&config, &Script::parse(&script).unwrap()).await
}

const GREETING: &str = "[[step]]\nwait_for = \"greeting\"\n";

#[actix_web::test]
async fn a_conversation_is_heard_word_by_word_and_follows_the_protocol() {
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot::default());
    let script = format!(
        "{GREETING}expect_heard = [\"hello there\"]\n\
         [[step]]\nsay = \"red cars\"\nexpect_heard = [\"you said red cars\"]\n\
         [[step]]\nsay = \"bye\"\n[[step]]\nexpect_end = \"hangup\""
    );
    let report = call(&fake, &script).await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.heard_text(), "Hello there You said red cars Goodbye");
    assert_eq!(report.end, EndCause::Hangup);
    assert_eq!(report.streams[0].end, StreamEnd::Closed(Some(1000)));
    assert_eq!((report.replies_expected, report.replies_delivered), (2, 2));
    let latency = report.turns[1].latency_ms().unwrap();
    assert!((280.0..2_000.0).contains(&latency), "{latency}");

    let seen = fake.seen();
    assert_eq!(seen.unsigned, 0);
    let paths: Vec<&str> = seen.requests.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths.iter().filter(|path| **path == "/voice/stream-status").count(), 2);
    let main: Vec<&&str> = paths.iter().filter(|path| **path != "/voice/stream-status").collect();
    assert_eq!(main, [&"/voice/incoming", &"/voice/continue", &"/voice/status"]);
    let of = |path: &str| seen.requests.iter().find(|(p, _)| p == path).map(|(_, params)| params).unwrap();
    assert_eq!(of("/voice/incoming")["CallStatus"], "ringing");
    assert_eq!(of("/voice/continue")["CallStatus"], "in-progress");
    assert_eq!(of("/voice/status")["CallStatus"], "completed");
    assert_eq!(of("/voice/incoming")["CallSid"], report.call_sid);

    let messages = &seen.messages;
    assert_eq!(messages[0]["event"], "connected");
    assert_eq!(messages[1]["event"], "start");
    assert_eq!(messages[1]["start"]["customParameters"]["token"], "t-1");
    let mut chunk = 0;
    for (n, message) in messages.iter().enumerate().skip(1) {
        assert_eq!(message["sequenceNumber"], n.to_string());
        if message["event"] == "media" {
            chunk += 1;
            assert_eq!(message["media"]["chunk"], chunk.to_string());
        }
    }
    let marks: Vec<&str> = messages.iter().filter_map(|message| message["mark"]["name"].as_str()).collect();
    assert_eq!(marks, ["reply 1", "reply 2", "reply 3"]);
    // 50 frames a second without a pause.
    let seconds = report.streams[0].sent_s;
    let open_s = (report.duration_ms - report.streams[0].at_ms) / 1_000.0;
    assert!((seconds - open_s).abs() < 0.5, "{seconds} of {open_s} s");
}

#[actix_web::test]
async fn a_caller_who_speaks_over_the_bot_is_cleared_for_and_hears_no_more_of_it() {
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot::default());
    let script = format!(
        "{GREETING}[[step]]\nsay = \"story\"\n[[step]]\ninterrupt_after_ms = 700\nsay = \"stop that\"\n\
         expect_heard = [\"you said stop that\"]\n[[step]]\nhang_up = true"
    );
    let report = call(&fake, &script).await;
    assert!(report.passed(), "{report}");
    let turn = &report.turns[2];
    assert!(turn.interrupts);
    let clear = turn.barge_in_ms().unwrap();
    assert!((100.0..1_500.0).contains(&clear), "{clear}");
    assert!(!report.heard_text().contains("ten"), "{report}");
    assert_eq!(report.end, EndCause::CallerHungUp);
    assert_eq!(report.streams[0].end, StreamEnd::Stopped);
    let seen = fake.seen();
    let marks: Vec<&str> =
        seen.messages.iter().filter_map(|message| message["mark"]["name"].as_str()).collect();
    assert_eq!(marks[1], "reply 2", "the flushed mark comes back");
    assert_eq!(seen.messages.last().unwrap()["event"], "stop");
    assert!(!seen.requests.iter().any(|(path, _)| path == "/voice/continue"));
}

#[actix_web::test]
async fn voice_of_the_old_reply_after_the_clear_is_noticed() {
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot { stale: true, ..Bot::default() });
    let script = format!(
        "{GREETING}[[step]]\nsay = \"story\"\n[[step]]\ninterrupt_after_ms = 500\nsay = \"stop that now please\""
    );
    let report = call(&fake, &script).await;
    assert!(report.turns[2].voice_after_clear_bytes > 0, "{report}");
    assert!(!report.passed());
}

#[actix_web::test]
async fn a_bot_that_is_spoken_over_and_does_not_clear_is_heard_to_its_end() {
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot { rude: true, ..Bot::default() });
    let script = format!(
        "{GREETING}[[step]]\nsay = \"story\"\n[[step]]\ninterrupt_after_ms = 500\nsay = \"stop\"\n\
         [[step]]\nwait_for = {{ heard = \"said stop\" }}"
    );
    let report = call(&fake, &script).await;
    assert_eq!(report.turns[2].barge_in_ms(), None);
    assert!(report.heard_text().contains("nine ten You said stop"), "{report}");
}

#[actix_web::test]
async fn a_mute_bot_fails_the_script_and_the_wait_is_measured() {
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot { mute: true, ..Bot::default() });
    let script =
        format!("{GREETING}[[step]]\nsay = \"hey\"\n[[step]]\nwait_for = \"reply\"\nwithin_ms = 900");
    let report = call(&fake, &script).await;
    assert_eq!((report.replies_expected, report.replies_delivered), (2, 1));
    assert_eq!(report.failures, ["step[2]: no reply within 900 ms"]);
    assert!(report.longest_wait_ms >= 880.0, "{}", report.longest_wait_ms);
}

#[actix_web::test]
async fn a_dropped_stream_goes_on_through_the_action() {
    let fake = Fake::start(&documents(TALK, TALK), Bot::default());
    let script = format!(
        "{GREETING}[[step]]\ndrop_socket = true\n[[step]]\nwait_for = \"reply\"\nexpect_heard = [\"hello there\"]\n\
         [[step]]\nsay = \"again\"\nexpect_heard = [\"said again\"]\n[[step]]\nhang_up = true"
    );
    let report = call(&fake, &script).await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.streams.len(), 2);
    assert_eq!(report.streams[0].end, StreamEnd::Dropped);
    assert_ne!(report.streams[0].sid, report.streams[1].sid);
    assert!(!fake.seen().messages.iter().take(150).any(|message| message["event"] == "stop"));
}

#[actix_web::test]
async fn what_a_server_may_not_send_is_listed() {
    let bot = Bot {
        junk: vec![
            "hello".to_owned(),
            r#"{"event":"clear","streamSid":"MZ1"}"#.to_owned(),
            r#"{"event":"play","streamSid":"SID"}"#.to_owned(),
            r#"{"event":"mark","streamSid":"SID","mark":{"name":"a"},"x":1}"#.to_owned(),
            r#"{"event":"media","streamSid":"SID","media":{"payload":"%%"}}"#.to_owned(),
        ],
        binary: true,
        early: true,
        ..Bot::default()
    };
    let fake = Fake::start(&documents(TALK, HANG_UP), bot);
    let report = call(&fake, &format!("{GREETING}[[step]]\nhang_up = true")).await;
    assert!(report.violations.count >= 6, "{report}");
    assert!(!report.passed());
    for part in [
        "before start",
        "invalid message",
        "wrong streamSid",
        "unknown event",
        "unknown field `x`",
        "base64",
        "binary",
    ] {
        let found = report.violations.first.iter().any(|violation| violation.contains(part));
        assert!(found, "{part}: {:?}", report.violations.first);
    }
}

#[actix_web::test]
async fn keys_are_sent_and_a_person_who_is_busy_comes_back_to_the_server() {
    let dial = "<Response><Dial action=\"{BASE}/voice/dialled\" timeout=\"20\"><Number>+12025550177</Number></Dial></Response>";
    let mut all = documents(TALK, dial).to_vec();
    all.push(("/voice/dialled", "<Response><Say>Nobody there</Say><Hangup/></Response>"));
    let fake = Fake::start(&all, Bot::default());
    let script = format!(
        "person = \"busy\"\n{GREETING}[[step]]\ndtmf = \"5#\"\nexpect_heard = [\"key 5 key\"]\n\
         [[step]]\nsay = \"leave\"\n[[step]]\nwait_for = {{ heard = \"nobody there\" }}\n[[step]]\nexpect_end = \"hangup\""
    );
    let report = call(&fake, &script).await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.dials[0].status, "busy");
    assert_eq!(report.said_by_twilio, ["Nobody there"]);
    let seen = fake.seen();
    let keys: Vec<&str> =
        seen.messages.iter().filter_map(|message| message["dtmf"]["digit"].as_str()).collect();
    assert_eq!(keys, ["5", "#"]);
    let (_, params) = seen.requests.iter().find(|(path, _)| path == "/voice/dialled").unwrap();
    assert_eq!((params["DialCallStatus"].as_str(), params["DialBridged"].as_str()), ("busy", "false"));
}

#[actix_web::test]
async fn a_person_who_answers_ends_the_call_by_dial() {
    let dial = "<Response><Dial>+12025550177</Dial></Response>";
    let fake = Fake::start(&documents(dial, HANG_UP), Bot::default());
    let report = call(&fake, "[[step]]\nexpect_end = \"dial\"").await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.end, EndCause::Dialled);
    assert!(report.failures.is_empty());
}

#[actix_web::test]
async fn a_refused_stream_is_reported_and_the_action_decides() {
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot { refuse: true, ..Bot::default() });
    let report = call(&fake, "[[step]]\nexpect_end = \"hangup\"").await;
    assert!(matches!(&report.streams[0].end, StreamEnd::NotConnected(why) if why.contains("503")));
    let seen = fake.seen();
    let (_, params) = seen.requests.iter().find(|(path, _)| path == "/voice/stream-status").unwrap();
    assert_eq!(params["StreamEvent"], "stream-error");
    assert!(seen.requests.iter().any(|(path, _)| path == "/voice/continue"));
}

#[actix_web::test]
async fn a_failed_webhook_ends_the_call_unless_its_url_asks_for_a_retry() {
    let failing =
        |path: &str| Bot { failures: HashMap::from([(path.to_owned(), vec![503])]), ..Bot::default() };
    let fake = Fake::start(&documents(TALK, HANG_UP), failing("/voice/incoming"));
    let report = call(&fake, "[[step]]\nexpect_end = \"failed\"").await;
    assert!(matches!(report.end, EndCause::Failed(_)), "{report}");
    assert!(report.failures.is_empty());

    let redirect = "<Response><Redirect>{BASE}/voice/continue#rc=2&amp;rp=5xx</Redirect></Response>";
    let fake = Fake::start(&documents(redirect, HANG_UP), failing("/voice/continue"));
    let report = call(&fake, "[[step]]\nexpect_end = \"hangup\"").await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.webhooks[1].attempts, 2);
}

#[actix_web::test]
async fn a_rejected_call_ends_and_the_status_comes_as_often_as_wanted() {
    let fake =
        Fake::start(&documents("<Response><Reject reason=\"busy\"/></Response>", HANG_UP), Bot::default());
    let report =
        call_with(&fake, "[[step]]\nexpect_end = \"rejected\"", |config| config.status_callbacks = 2).await;
    assert!(report.passed(), "{report}");
    let seen = fake.seen();
    let statuses: Vec<&str> = seen
        .requests
        .iter()
        .filter(|(path, _)| path == "/voice/status")
        .map(|(_, params)| params["CallStatus"].as_str())
        .collect();
    assert_eq!(statuses, ["busy", "busy"]);
}

#[actix_web::test]
async fn a_public_url_is_signed_and_the_base_url_is_reached() {
    // The fake server checks signatures over its own address, so it refuses what was signed for another name.
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot::default());
    let report = call_with(&fake, "[[step]]\nexpect_end = \"failed\"", |config| {
        config.public_url = Some("https://voice.example.com".to_owned());
        config.status_path = None;
    })
    .await;
    assert!(matches!(&report.end, EndCause::Failed(why) if why.contains("403")), "{report}");
    assert_eq!(fake.seen().unsigned, 1);
}

#[actix_web::test]
async fn a_bare_stream_needs_no_webhook() {
    let fake = Fake::start(&[], Bot::default());
    let stream = format!("{}/stream", fake.url.replacen("http", "ws", 1));
    let script = "[[step]]\nwait_for = \"greeting\"\n[[step]]\nhang_up = true";
    let report = call_with(&fake, script, |config| {
        config.stream_url = Some(stream);
        config.status_path = None;
    })
    .await;
    assert!(report.passed(), "{report}");
    assert_eq!(report.heard_text(), "Hello there");
}

#[actix_web::test]
async fn the_rest_api_takes_a_call_elsewhere_in_the_middle_of_its_stream() {
    let vendors =
        crate::sim::vendors::Vendors::start(crate::sim::vendors::VendorsConfig::immediate(), None).unwrap();
    let fake = Fake::start(&documents(TALK, HANG_UP), Bot::default());
    let calls = vendors.calls.clone();
    let seen = Arc::clone(&fake.seen);
    let updater = actix_web::rt::spawn(async move {
        // Half a second of the caller's audio has come.
        let deadline = Instant::now() + Duration::from_secs(20);
        while seen.lock().unwrap().messages.iter().filter(|message| message["event"] == "media").count() < 25
        {
            assert!(Instant::now() < deadline, "no audio comes");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let call = calls.all().into_iter().next().unwrap();
        let twiml = "<Response><Say>Moved on</Say></Response>".to_owned();
        calls.apply(&call.sid, &crate::sim::vendors::twilio_calls::CallUpdate::Twiml { twiml });
    });
    let url = vendors.twilio_url.clone();
    let report = call_with(&fake, "[[step]]\nexpect_end = \"hangup\"", |config| {
        config.rest_url = Some(url);
    })
    .await;
    updater.await.unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.said_by_twilio, ["Moved on"]);
    assert_eq!(report.streams[0].end, StreamEnd::Stopped);
    assert_eq!(fake.seen().messages.last().unwrap()["event"], "stop");
    assert_eq!(vendors.calls.get(&report.call_sid).unwrap().status, "completed");
    vendors.stop();
}
