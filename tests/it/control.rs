//! What staff do to calls while they happen, and calls that they place.

use crate::support::database::on_both;
use crate::support::{Desk, barbershop, zone_with_noon};
use awc::http::{Method, StatusCode};
use bytes::Bytes;
use frontdesk::api::secret::fingerprint;
use frontdesk::db::Write;
use frontdesk::domain::call::{CallKind, CallStatus, Direction, EndReason};
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::staff::Scope;
use frontdesk::domain::time::UnixMillis;
use frontdesk::domain::turn::Speaker;
use frontdesk::domain::usage::{Item, Used};
use frontdesk::sim::caller::callee::{Reaction, Rung, ring};
use frontdesk::sim::faults::{Fault, FaultRule, Service};
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

on_both!(
    staff_watch_a_call_and_take_part_in_it,
    staff_put_a_caller_through_to_whom_they_name,
    a_watcher_is_told_what_it_cannot_know_and_when_to_go,
    a_placed_call_says_why_it_was_placed,
    nobody_answers_and_ceilings_hold,
    a_changed_profile_is_heard_in_the_next_call,
    a_changed_setting_holds_for_the_next_call,
    a_browser_calls_with_a_token_of_its_own,
    a_stream_ends_with_the_right_to_it_and_nobody_takes_all_of_them,
    a_live_call_shows_who_it_is_as_soon_as_that_is_known,
    nothing_is_placed_once_the_day_or_the_number_has_cost_what_it_may,
    a_placed_call_that_comes_to_nothing_ends_as_twilio_says,
);

/// Longer than anything here may take.
const LONG: Duration = Duration::from_secs(30);

/// Somebody with a key.
struct Staff {
    http: awc::Client,
    base: String,
    key: String,
}

impl Staff {
    async fn of(desk: &Desk, scope: Scope) -> Self {
        let key = format!("fd_test_{:032x}", rand::random::<u128>());
        desk.db().add_key("test".into(), fingerprint(&key), scope, UnixMillis(1)).await.expect("a key");
        let http = awc::Client::builder().timeout(LONG).finish();
        Self { http, base: desk.stack().base_url.clone(), key }
    }

    fn request(&self, method: Method, path: &str) -> awc::ClientRequest {
        self.http
            .request(method, format!("{}{path}", self.base))
            .insert_header(("Authorization", format!("Bearer {}", self.key)))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let (status, body, _) = self.ask_if(method, path, body, None).await;
        (status, body)
    }

    /// The status, the body and the tag.
    async fn ask_if(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        tag: Option<&str>,
    ) -> (StatusCode, Value, Option<String>) {
        let mut request = self.request(method, path);
        if let Some(tag) = tag {
            request = request.insert_header(("If-Match", tag));
        }
        let sent = match body {
            Some(body) => request.send_json(&body).await,
            None => request.send().await,
        };
        let mut answer = sent.expect("an answer");
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let bytes = answer.body().await.expect("a body");
        (answer.status(), serde_json::from_slice(&bytes).unwrap_or(Value::Null), tag)
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn order(&self, sid: &str, what: &str, body: Value) {
        let (status, answer) = self.post(&format!("/api/live/{sid}/{what}"), body).await;
        assert_eq!((status, &answer["callSid"]), (StatusCode::OK, &json!(sid)), "{answer}");
    }

    async fn watch(&self, last: Option<&str>) -> Events {
        let mut request = self.request(Method::GET, "/api/stream");
        if let Some(last) = last {
            request = request.insert_header(("Last-Event-ID", last));
        }
        let answer = request.send().await.expect("a stream");
        assert_eq!(answer.status(), StatusCode::OK);
        Events { body: Box::pin(answer), text: String::new() }
    }
}

/// Server-sent events as they come.
struct Events {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<Bytes, awc::error::PayloadError>>>>,
    text: String,
}

impl Events {
    /// The next event: id, name, data. None at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned())
                };
                let event = field("id:").zip(field("event:")).zip(field("data:"));
                self.text = rest.to_owned();
                if let Some(((id, event), data)) = event {
                    return Some((id, event, serde_json::from_str(&data).expect("JSON")));
                }
            }
            let bytes = timeout(LONG, self.body.next()).await.expect("an event in time")?.ok()?;
            self.text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
    }

    /// The next event of which this holds.
    async fn wait(&mut self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (_, event, data) = self.next().await.expect("the stream goes on");
            if event == name && holds(&data) {
                return data;
            }
        }
    }
}

fn script(text: &str) -> Script {
    Script::parse(text).unwrap_or_else(|error| panic!("bad script: {error}"))
}

fn is_turn(data: &Value, speaker: &str, words: &str) -> bool {
    data["speaker"] == speaker && data["heard"].as_str().is_some_and(|heard| heard.contains(words))
}

async fn staff_watch_a_call_and_take_part_in_it() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Call).await;
    let mut events = staff.watch(None).await;
    let call = desk.calling(
        r#"
        name = "watched"
        step = [
            { wait_for = "greeting" },
            { wait_for = { heard = "this is ann the owner" } },
            { wait_for = { heard = "go ahead please" } },
            { say = "What are your opening hours?" },
            { wait_for = { heard = "nine to five" } },
            { say = "And what are your prices?" },
            { wait_for = { heard = "see you soon" } },
            { expect_end = "hangup" },
        ]
        "#,
    );
    let began = events.wait("call", |data| data["state"] == "live").await;
    assert_eq!(began["phone_number"], "+12025550143");
    assert_eq!((&began["direction"], &began["muted"]), (&json!("inbound"), &json!(false)));
    let sid = began["call_sid"].as_str().unwrap().to_owned();
    let (_, list) = staff.ask(Method::GET, "/api/live", None).await;
    assert_eq!(list["items"][0]["call_sid"], sid.as_str());
    events.wait("turn", |turn| is_turn(turn, "bot", "Corner Cut")).await;

    staff.order(&sid, "say", json!({ "text": "This is Ann, the owner." })).await;
    events.wait("turn", |turn| is_turn(turn, "bot", "This is Ann, the owner.")).await;
    staff.order(&sid, "mute", json!({ "muted": true })).await;
    assert_eq!(events.wait("call", |call| call["muted"] == true).await["call_sid"], sid.as_str());
    // Silent is the bot, not the staff: they answer in its place. The model is not even asked.
    let thoughts = || desk.stack().vendors.stats().openai.requests;
    let before = thoughts();
    staff.order(&sid, "say", json!({ "text": "Go ahead, please." })).await;
    let asked = events.wait("turn", |turn| is_turn(turn, "caller", "opening hours")).await;
    staff.order(&sid, "say", json!({ "text": "From nine to five." })).await;
    let more = events.wait("turn", |turn| is_turn(turn, "caller", "prices")).await;
    assert_eq!(thoughts(), before);
    let turns = desk.db().turns(CallSid::from(sid.as_str())).await.unwrap();
    let since = turns.iter().filter(|turn| Some(u64::from(turn.n)) > asked["n"].as_u64());
    let told: Vec<&str> =
        since.filter(|turn| turn.speaker == Speaker::Bot).map(|t| t.said.as_str()).collect();
    assert_eq!(told, ["From nine to five."], "{turns:?}");
    staff.order(&sid, "mute", json!({ "muted": false })).await;
    let answer =
        events.wait("turn", |turn| turn["speaker"] == "bot" && turn["n"].as_u64() > more["n"].as_u64()).await;
    assert!(thoughts() > before);
    assert!(!answer["said"].as_str().unwrap().is_empty());

    staff.order(&sid, "end", json!({ "goodbye": true })).await;
    assert_eq!(events.wait("ended", |data| data["call_sid"] == sid.as_str()).await["end_reason"], "ended");
    let call = desk.after(call.await.unwrap()).await;
    assert!(call.report.violations.count == 0 && call.report.failures.is_empty(), "{}", call.report);
    assert_eq!(call.overview.end_reason, Some(EndReason::Ended));
    for code in ["staff.say", "staff.muted", "staff.unmuted", "staff.end"] {
        call.has_event(code);
    }
    for what in ["end", "transfer", "say", "mute"] {
        let body = match what {
            "say" => json!({ "text": "x" }),
            "mute" => json!({ "muted": true }),
            "transfer" => json!({ "number": "+12025550188" }),
            _ => json!({}),
        };
        let (status, problem) = staff.post(&format!("/api/live/{sid}/{what}"), body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{what}: {problem}");
    }
    desk.close().await;
}

#[actix::test]
async fn what_is_ordered_during_the_goodbye_is_refused() {
    let mut profile = barbershop();
    // It lasts longer than all that is ordered meanwhile.
    profile.goodbye = Some("It was a pleasure to talk to you, and we hope to see you soon. ".repeat(3));
    let desk = Desk::with(profile, VendorsConfig::default(), |_| {}).await;
    let staff = Staff::of(&desk, Scope::Call).await;
    let mut events = staff.watch(None).await;
    let call = desk
        .calling("name = \"let go\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nexpect_end = \"hangup\"\n");
    let began = events.wait("call", |data| data["state"] == "live").await;
    let sid = began["call_sid"].as_str().unwrap().to_owned();
    events.wait("turn", |turn| is_turn(turn, "bot", "Corner Cut")).await;
    staff.order(&sid, "end", json!({ "goodbye": true })).await;
    for (what, body) in [
        ("say", json!({ "text": "One more thing." })),
        ("mute", json!({ "muted": true })),
        ("transfer", json!({ "number": "+12025550188" })),
    ] {
        let (status, problem) = staff.post(&format!("/api/live/{sid}/{what}"), body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{what}: {problem}");
    }
    staff.order(&sid, "end", json!({ "goodbye": true })).await;
    let call = desk.after(call.await.unwrap()).await;
    assert_eq!(call.overview.end_reason, Some(EndReason::Ended));
    assert!(
        !call.events.iter().any(|code| code == "staff.say" || code == "staff.transfer"),
        "{:?}",
        call.events
    );
    desk.close().await;
}

async fn a_stream_ends_with_the_right_to_it_and_nobody_takes_all_of_them() {
    let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
        config.limits.stream_pulse_s = 1;
        config.limits.streams_each = 2;
    })
    .await;
    let staff = Staff::of(&desk, Scope::Read).await;
    let other = Staff::of(&desk, Scope::Read).await;
    let (mut one, two) = (staff.watch(None).await, staff.watch(None).await);
    let refused = staff.request(Method::GET, "/api/stream").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let mut others = other.watch(None).await;
    drop(two);
    // The place of one that is gone is free once the server has noticed.
    let again = async {
        while staff.request(Method::GET, "/api/stream").send().await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(LONG, again).await.expect("a place is free again");
    let keys = desk.db().api_keys(None, 10).await.unwrap();
    let revoked = keys.last().unwrap().id;
    assert!(desk.db().revoke_key(revoked, UnixMillis(2)).await.unwrap());
    let (_, event, data) = one.next().await.expect("it is told");
    assert_eq!((event.as_str(), &data["reason"]), ("closing", &json!("signed_out")));
    assert!(one.next().await.is_none());
    desk.stack().server.feed.close();
    assert_eq!(others.next().await.unwrap().2, json!({}), "another key's goes on until the server stops");
    desk.close().await;
}

async fn a_live_call_shows_who_it_is_as_soon_as_that_is_known() {
    for desk in Desk::each(&barbershop(), |_| {}).await {
        let staff = Staff::of(&desk, Scope::Call).await;
        let maria = json!({ "name": "Maria Alvarez", "phone": "+12025550143" });
        let (_, maria) = staff.post("/api/customers", maria).await;
        let mut events = staff.watch(None).await;
        let call = desk.calling(
            "name = \"known\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nexpect_end = \"hangup\"\nwithin_ms = 30000\n",
        );
        let known = events.wait("call", |call| !call["customer_id"].is_null()).await;
        assert_eq!((&known["customer_id"], &known["customer_name"]), (&maria["id"], &maria["name"]));
        let (_, list) = staff.ask(Method::GET, "/api/live", None).await;
        assert_eq!(list["items"][0]["customer_name"], "Maria Alvarez", "{list}");
        let (_, board) = staff.ask(Method::GET, "/api/dashboard", None).await;
        let details = &board["activeCallDetails"][0];
        assert_eq!((&details["customerId"], &details["customerName"]), (&maria["id"], &maria["name"]));
        let sid = known["call_sid"].as_str().unwrap().to_owned();
        staff.order(&sid, "end", json!({ "goodbye": false })).await;
        call.await.unwrap();
        desk.ended(&CallSid::from(sid.as_str())).await;

        // Nobody knows this number until its caller says their name.
        let call = desk.calling(
            r#"
            name = "stranger"
            from = "+12025550177"
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "Hello, my name is Robin Doe."
            [[step]]
            expect_end = "hangup"
            within_ms = 30000
            "#,
        );
        let theirs = |call: &Value| call["phone_number"] == "+12025550177" && call["state"] == "live";
        let began = events.wait("call", theirs).await;
        assert_eq!(began["customer_id"], Value::Null, "{began}");
        let sid = began["call_sid"].as_str().unwrap().to_owned();
        let named = events.wait("call", |call| !call["customer_id"].is_null()).await;
        assert_eq!((&named["call_sid"], &named["customer_name"]), (&json!(sid), &json!("Robin Doe")));
        staff.order(&sid, "end", json!({ "goodbye": false })).await;
        call.await.unwrap();
        desk.close().await;
    }
}

async fn staff_put_a_caller_through_to_whom_they_name() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Call).await;
    let mut events = staff.watch(None).await;
    let call = desk.calling(
            "name = \"put through\"\nperson = \"answers\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nexpect_end = \"dial\"\n",
    );
    let began = events.wait("call", |data| data["state"] == "live").await;
    let path = format!("/api/live/{}/transfer", began["call_sid"].as_str().unwrap());
    events.wait("turn", |turn| is_turn(turn, "bot", "Corner Cut")).await;
    for (body, status) in [
        (json!({}), StatusCode::BAD_REQUEST),
        (json!({ "number": "+33142345678" }), StatusCode::BAD_REQUEST),
        (json!({ "number": "555" }), StatusCode::BAD_REQUEST),
        (json!({ "number": "+1 202 555 0188" }), StatusCode::OK),
    ] {
        let (got, answer) = staff.post(&path, body.clone()).await;
        assert_eq!(got, status, "{body}: {answer}");
        if status == StatusCode::BAD_REQUEST {
            assert_eq!(answer["errors"][0]["field"], "number");
        }
    }
    let call = desk.after(call.await.unwrap()).await;
    assert_eq!(call.report.dials[0].numbers, ["+12025550188"]);
    assert_eq!(call.overview.end_reason, Some(EndReason::Transferred));
    let rows = desk.db().events(CallSid::from(call.report.call_sid.as_str())).await.unwrap();
    let row = rows.iter().find(|row| row.event.code == "staff.transfer").unwrap();
    assert_eq!(row.event.detail, json!({ "to": "+12025550188" }));
    desk.close().await;
}

async fn a_watcher_is_told_what_it_cannot_know_and_when_to_go() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Read).await;
    let mut events = staff.watch(Some("00000000-17")).await;
    let (id, event, data) = events.next().await.unwrap();
    assert_eq!((event.as_str(), &data["reason"]), ("resync", &json!("gap")));
    let mut again = staff.watch(Some(&id)).await;
    desk.stack().server.feed.close();
    assert_eq!(again.next().await.unwrap().1, "closing", "no gap");
    assert!(again.next().await.is_none());
    let refused = staff.request(Method::GET, "/api/stream").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let stranger = staff.http.get(format!("{}/api/stream", staff.base)).send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let (status, _) = staff.post("/api/live/CA1/end", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    desk.close().await;
}

/// Places a call and lets the telephone ring.
async fn place(desk: &Desk, staff: &Staff, body: Value, reaction: Reaction) -> (String, Rung) {
    let mut created = desk.stack().vendors.calls.created();
    let caller = desk.stack().caller();
    let rung = actix_rt::spawn(async move {
        let call = timeout(LONG, created.recv()).await.expect("in time").expect("a call");
        ring(&caller, &call, reaction).await
    });
    let (status, answer) = staff.post("/api/calls/outbound", body).await;
    assert_eq!((status, &answer["success"]), (StatusCode::CREATED, &json!(true)), "{answer}");
    (answer["callSid"].as_str().unwrap().to_owned(), rung.await.unwrap())
}

async fn a_placed_call_says_why_it_was_placed() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Call).await;
    let talk = script(
        r#"
        name = "rung"
        [[step]]
        wait_for = "greeting"
        expect_heard = ["calling about your appointment tomorrow"]
        [[step]]
        say = "Yes, what are your opening hours?"
        [[step]]
        wait_for = "reply"
        [[step]]
        say = "That is all, goodbye."
        [[step]]
        expect_end = "hangup"
        "#,
    );
    let body = json!({
        "to": "+1 (202) 555-0143", "purpose": "your appointment tomorrow", "context": "prefers mornings",
    });
    let (sid, rung) = place(&desk, &staff, body, Reaction::Answers(Box::new(talk))).await;
    assert_eq!(rung.failures, Vec::<String>::new());
    let report = rung.report.expect("somebody answered");
    assert_eq!(report.call_sid, sid);
    let call = desk.after(report).await;
    call.is_sound();
    assert_eq!(call.overview.facts.direction, Direction::Outbound);
    assert_eq!(call.overview.facts.caller.label(), "+12025550143");
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    let asked = desk.stack().vendors.faults.seen(Service::Openai);
    assert!(asked.iter().any(|seen| format!("{seen:?}").contains("prefers mornings")), "{asked:?}");
    desk.close().await;
}

#[actix::test]
async fn somebody_who_answers_before_twilio_does_has_their_conversation() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Call).await;
    // Twilio's answer to us comes when the conversation is long under way.
    desk.fault(FaultRule::once(Service::Twilio, Fault::Slow { ms: 3_000 }).containing("Calls.json"));
    let talk = script(
        r#"
        name = "quick"
        [[step]]
        wait_for = "greeting"
        expect_heard = ["calling about your order"]
        [[step]]
        say = "What are your opening hours?"
        [[step]]
        wait_for = "reply"
        [[step]]
        say = "That is all, goodbye."
        [[step]]
        expect_end = "hangup"
        "#,
    );
    let mut created = desk.stack().vendors.calls.created();
    let caller = desk.stack().caller();
    let asked = tokio::time::Instant::now();
    let rung = actix_rt::spawn(async move {
        let call = timeout(LONG, created.recv()).await.expect("in time").expect("a call");
        let rung = ring(&caller, &call, Reaction::Answers(Box::new(talk))).await;
        (call.sid, rung)
    });
    let body = json!({ "to": "+12025550143", "purpose": "your order" });
    let (status, answer) = staff.post("/api/calls/outbound", body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert!(asked.elapsed() >= Duration::from_secs(3), "the answer was late");
    let (sid, rung) = rung.await.unwrap();
    assert_eq!((&answer["callSid"], rung.failures), (&json!(sid), Vec::<String>::new()));
    let call = desk.after(rung.report.expect("somebody answered")).await;
    call.is_sound();
    assert_eq!(call.overview.end_reason, Some(EndReason::Completed));
    let all = desk.db().recent_calls(9).await.unwrap();
    assert_eq!(all.len(), 1, "one call, one record: {all:?}");
    assert_eq!(all[0].facts.direction, Direction::Outbound);
    assert!(
        desk.stack().server.registry.send(frontdesk::registry::messages::ListLive).await.unwrap().is_empty()
    );
    desk.close().await;
}

async fn a_placed_call_that_comes_to_nothing_ends_as_twilio_says() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Call).await;
    for (told, status, reason) in [
        ("busy", CallStatus::Busy, EndReason::Busy),
        ("no-answer", CallStatus::NoAnswer, EndReason::NoAnswer),
        ("failed", CallStatus::Failed, EndReason::Failed),
        ("canceled", CallStatus::Canceled, EndReason::Canceled),
    ] {
        let (sid, rung) = place(&desk, &staff, json!({ "to": "+12025550143" }), Reaction::Ends(told)).await;
        assert_eq!(rung.failures, Vec::<String>::new(), "{told}");
        let sid = CallSid::from(sid.as_str());
        desk.ended(&sid).await;
        let call = desk.db().call_overview(sid.clone()).await.unwrap().unwrap();
        assert_eq!(
            (call.status, call.end_reason, call.duration_s),
            (status, Some(reason), Some(0)),
            "{told}"
        );
        assert!(call.answered_at.is_none() && desk.db().turns(sid).await.unwrap().is_empty(), "{told}");
    }
    let (_, live) = staff.ask(Method::GET, "/api/live", None).await;
    assert_eq!(live["items"], json!([]));
    desk.close().await;
}

async fn nothing_is_placed_once_the_day_or_the_number_has_cost_what_it_may() {
    let mut profile = barbershop();
    profile.timezone = zone_with_noon();
    let desk = Desk::with(profile, VendorsConfig::default(), |config| {
        config.prices.day_cap = Some(1.0);
        config.prices.number_cap = Some(0.25);
    })
    .await;
    let staff = Staff::of(&desk, Scope::Call).await;
    let (sid, _) = place(&desk, &staff, json!({ "to": "+12025550143" }), Reaction::Ends("busy")).await;
    let now = frontdesk::observe::clock::unix_now();
    let spend = |micros| {
        let used = vec![Used { item: Item::TtsChars, model: "m".into(), amount: 1, micros }];
        desk.db().write(Write::Usage { sid: CallSid::from(sid.as_str()), at: now, used })
    };
    for (micros, to, why) in [
        (250_000, "+12025550143", Some("prices.number_cap")),
        (0, "+12025550144", None),
        (750_000, "+12025550145", Some("prices.day_cap")),
    ] {
        spend(micros).await.unwrap();
        if why.is_none() {
            place(&desk, &staff, json!({ "to": to }), Reaction::Ends("busy")).await;
            continue;
        }
        let mut answer =
            staff.request(Method::POST, "/api/calls/outbound").send_json(&json!({ "to": to })).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let wait = answer.headers().get("retry-after").unwrap().to_str().unwrap().parse::<u64>().unwrap();
        assert!((1..=90_000).contains(&wait), "until the business's midnight: {wait} s");
        let problem = answer.body().await.unwrap();
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(why.unwrap()), "{problem}");
    }
    let (status, problem) = staff.post("/api/test-calls", json!({})).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
    assert_eq!(desk.stack().vendors.calls.all().len(), 2, "nothing else was placed");
    desk.close().await;
}

async fn nobody_answers_and_ceilings_hold() {
    let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
        config.outbound.per_destination = 1;
    })
    .await;
    let staff = Staff::of(&desk, Scope::Call).await;
    let (sid, rung) = place(&desk, &staff, json!({ "to": "+12025550143" }), Reaction::Ends("busy")).await;
    assert_eq!(rung.failures, Vec::<String>::new());
    let sid = CallSid::from(sid.as_str());
    desk.ended(&sid).await;
    let call = desk.db().call_overview(sid).await.unwrap().unwrap();
    assert_eq!((call.status, call.end_reason), (CallStatus::Busy, Some(EndReason::Busy)));
    assert_eq!(call.facts.direction, Direction::Outbound);

    let mut again = staff
        .request(Method::POST, "/api/calls/outbound")
        .send_json(&json!({ "to": "+12025550143" }))
        .await
        .unwrap();
    assert_eq!(again.status(), StatusCode::TOO_MANY_REQUESTS, "{:?}", again.body().await);
    assert!(again.headers().contains_key("retry-after"));
    for to in ["+33142345678", "+19002345678", "+12025550100", "2025550143", "nobody"] {
        let (status, problem) = staff.post("/api/calls/outbound", json!({ "to": to })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{to}: {problem}");
        assert_eq!(problem["errors"][0]["field"], "to");
    }
    assert_eq!(desk.stack().vendors.calls.all().len(), 1, "nothing else was placed");
    desk.close().await;
}

async fn a_changed_profile_is_heard_in_the_next_call() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Admin).await;
    let talk = "name = \"greeted\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nhang_up = true\n";
    assert_eq!(desk.call(talk).await.times_heard("welcome to the new shop"), 0);
    let (_, mut profile, tag) = staff.ask_if(Method::GET, "/api/profile", None, None).await;
    profile["hours"]["monday"] = json!({ "open": "25:00", "close": "26:00" });
    let (status, problem) = staff.ask(Method::PUT, "/api/profile", Some(profile.clone())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(problem["errors"][0]["field"], "hours.monday.open", "{problem}");
    profile["hours"]["monday"] = json!("closed");
    profile["greeting"] = json!("Welcome to the new shop.");
    let put = |tag: Option<String>| {
        let (staff, profile) = (&staff, profile.clone());
        async move { staff.ask_if(Method::PUT, "/api/profile", Some(profile), tag.as_deref()).await }
    };
    let (status, answer, new_tag) = put(tag.clone()).await;
    assert_eq!((status, &answer["greeting"]), (StatusCode::OK, &profile["greeting"]), "{answer}");
    assert_eq!(put(tag).await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put(new_tag).await.0, StatusCode::OK);
    assert_eq!(desk.call(talk).await.times_heard("welcome to the new shop"), 1);
    desk.close().await;
}

async fn a_changed_setting_holds_for_the_next_call() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Admin).await;
    for (wrong, field) in [
        (json!({ "call.idle_prompt_ms": 1 }), "call.idle_prompt_ms"),
        (json!({ "call.filler_ms": 50_000 }), "call.filler_ms"),
        (json!({ "twilio.auth_token": "x" }), "twilio.auth_token"),
        (json!({ "call.nothing": null }), "call.nothing"),
    ] {
        let (status, problem) = staff.ask(Method::PATCH, "/api/settings", Some(wrong.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let change = json!({ "call.idle_prompt_ms": 1_200, "call.idle_prompts": 1 });
    let (status, settings) = staff.ask(Method::PATCH, "/api/settings", Some(change)).await;
    assert_eq!(status, StatusCode::OK, "{settings}");
    let of = |settings: &Value, name: &str| {
        settings["items"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone()
    };
    let prompts = of(&settings, "call.idle_prompts");
    assert_eq!((&prompts["value"], &prompts["configured"]), (&json!(1), &json!(2)));
    assert_eq!(prompts["source"], "staff");
    let silent = desk
        .call("name = \"silent\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nexpect_end = \"hangup\"\nwithin_ms = 12000\n")
        .await;
    assert_eq!(silent.overview.end_reason, Some(EndReason::Silence));
    let back = json!({ "call.idle_prompts": null });
    let (_, settings) = staff.ask(Method::PATCH, "/api/settings", Some(back)).await;
    assert_eq!(of(&settings, "call.idle_prompts")["source"], "configuration");
    desk.close().await;
}

async fn a_browser_calls_with_a_token_of_its_own() {
    let desk = Desk::open().await;
    let staff = Staff::of(&desk, Scope::Call).await;
    let (status, test) = staff.post("/api/test-calls", json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "{test}");
    let field = |name: &str| test[name].as_str().unwrap().to_owned();
    let (token, url, sid) = (field("token"), field("stream_url"), field("call_sid"));
    let start = json!({
        "event": "start", "sequenceNumber": "1", "streamSid": "MZtest",
        "start": {
            "accountSid": "browser", "callSid": sid, "streamSid": "MZtest", "tracks": ["inbound"],
            "customParameters": { "token": token },
            "mediaFormat": { "encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1 },
        },
    });
    let silence = json!({
        "event": "media", "streamSid": "MZtest", "sequenceNumber": "2",
        "media": { "track": "inbound", "chunk": "1", "timestamp": "0", "payload": "/".repeat(213) + "w==" },
    });
    // Somebody without a credential, and another site's page.
    let other = Staff::of(&desk, Scope::Call).await;
    assert!(staff.http.ws(&url).connect().await.is_err());
    let page = staff.http.ws(&url).set_header("Authorization", format!("Bearer {}", staff.key));
    assert!(page.set_header("Origin", "https://evil.example").connect().await.is_err());
    // Somebody else's token, the right one, and the same one again.
    for (who, heard) in [(&other, false), (&staff, true), (&staff, false)] {
        let ws = who.http.ws(&url).set_header("Authorization", format!("Bearer {}", who.key));
        let (_, mut socket) = ws.connect().await.expect("the handshake");
        let text = |value: &Value| awc::ws::Message::Text(value.to_string().into());
        socket
            .send(text(&json!({ "event": "connected", "protocol": "Call", "version": "1.0.0" })))
            .await
            .unwrap();
        socket.send(text(&start)).await.unwrap();
        let mut got = false;
        let deadline = tokio::time::Instant::now() + LONG;
        while tokio::time::Instant::now() < deadline && !got {
            if socket.send(text(&silence)).await.is_err() {
                break;
            }
            match timeout(Duration::from_millis(20), socket.next()).await {
                Ok(Some(Ok(awc::ws::Frame::Text(text)))) => {
                    got = text.windows(7).any(|w| w == b"\"media\"");
                }
                Ok(Some(Ok(awc::ws::Frame::Close(_))) | None | Some(Err(_))) => break,
                Ok(Some(Ok(_))) | Err(_) => {}
            }
        }
        assert_eq!(got, heard);
    }
    // The page is gone, and so is the call: nobody asks how to go on.
    let sid = CallSid::from(sid.as_str());
    desk.ended(&sid).await;
    let call = desk.db().call_overview(sid).await.unwrap().unwrap();
    assert_eq!((call.facts.kind, call.end_reason), (CallKind::Browser, Some(EndReason::Completed)));
    desk.close().await;
}
