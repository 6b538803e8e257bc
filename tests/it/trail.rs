//! The audit trails: whole calls and the rows they leave, in their order; what staff do, written before it is answered.

use crate::support::database::on_both;
use crate::support::{Desk, barbershop};
use awc::http::{Method, StatusCode};
use frontdesk::api::secret::fingerprint;
use frontdesk::db::StoredEvent;
use frontdesk::domain::audit::CODES;
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::staff::Scope;
use frontdesk::domain::time::UnixMillis;
use frontdesk::sim::faults::{Fault, FaultRule, Service};
use frontdesk::sim::vendors::VendorsConfig;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

on_both!(
    a_booked_call_leaves_each_step_with_what_the_tools_were_told_and_answered,
    whatever_was_answered_is_in_the_trail_already,
);

/// Rows that depend on how fast the machine is.
const BY_CHANCE: [&str; 3] = ["playback.mark_late", "stt.interrupted", "call.barge_in"];

/// The rows of a call.
async fn rows(desk: &Desk, sid: &str) -> Vec<StoredEvent> {
    desk.db().flush().await.unwrap();
    let rows = desk.db().events(CallSid::from(sid)).await.unwrap();
    for row in &rows {
        let known = CODES.iter().any(|(code, _)| *code == row.event.code);
        assert!(known, "{} is not in the table of codes", row.event.code);
        assert!(row.event.detail.is_object(), "{row:?}");
    }
    rows
}

fn codes(rows: &[StoredEvent]) -> Vec<&str> {
    let codes = rows.iter().map(|row| row.event.code.as_str());
    codes.filter(|code| !BY_CHANCE.contains(code)).collect()
}

fn detail<'r>(rows: &'r [StoredEvent], code: &str) -> &'r Value {
    let row = rows.iter().find(|row| row.event.code == code);
    &row.unwrap_or_else(|| panic!("{code} is not among {:?}", codes(rows))).event.detail
}

async fn a_booked_call_leaves_each_step_with_what_the_tools_were_told_and_answered() {
    let folder = std::env::temp_dir().join(format!("frontdesk-it-trail-{:032x}", rand::random::<u128>()));
    let place = folder.to_string_lossy().into_owned();
    let desk = Desk::with(barbershop(), VendorsConfig::default(), |config| {
        config.recording.enabled = true;
        config.recording.url = place;
    })
    .await;
    let call = desk.call(include_str!("../../src/sim/scripts/booking.toml")).await;
    let sid = CallSid::from(call.report.call_sid.as_str());
    // The recorder's thread completes the file after the call's end.
    let stopped = async {
        while !rows(&desk, sid.as_str()).await.iter().any(|row| row.event.code == "recording.stopped") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stopped).await.expect("the recording stops");
    let rows = rows(&desk, sid.as_str()).await;
    let told = codes(&rows);
    assert_eq!(told.first(), Some(&"call.admitted"), "{told:?}");
    for code in ["call.started", "recording.started", "recording.stopped", "call.leaving", "call.ended"] {
        assert_eq!(told.iter().filter(|one| **one == code).count(), 1, "{code}: {told:?}");
    }
    let at = |code: &str| told.iter().position(|one| *one == code).expect(code);
    assert!(at("call.started") < at("bot.said") && at("bot.said") < at("caller.said"), "{told:?}");
    assert!(at("call.leaving") < at("call.ended"), "{told:?}");
    assert_eq!(detail(&rows, "call.ended"), &json!({ "reason": "completed" }));
    assert_eq!(detail(&rows, "call.leaving"), &json!({ "next": "hang_up" }));
    assert_eq!(detail(&rows, "recording.stopped")["state"], "stored");
    // Every utterance, once, in both places.
    let mut said: Vec<u64> = rows
        .iter()
        .filter(|row| matches!(row.event.code.as_str(), "caller.said" | "bot.said"))
        .map(|row| row.event.detail["turn"].as_u64().unwrap())
        .collect();
    said.sort_unstable();
    let mut turns: Vec<u64> = call.turns.iter().map(|turn| u64::from(turn.n)).collect();
    turns.sort_unstable();
    assert_eq!(said, turns, "{told:?}");
    // Every tool, with what it was given and what it said.
    let ran = |code: &str| rows.iter().filter(|row| row.event.code == code).count();
    assert!(ran("tool.started") >= 1 && ran("tool.finished") >= ran("tool.started"), "{told:?}");
    for row in rows.iter().filter(|row| row.event.code == "tool.finished") {
        assert!(row.event.detail["arguments"].is_object(), "{row:?}");
        assert!(!row.event.detail["result"].is_null(), "{row:?}");
    }
    desk.close().await;
    let _ = std::fs::remove_dir_all(&folder);
}

#[actix::test]
async fn a_broken_stream_and_a_failing_model_are_in_the_trail() {
    let desk = Desk::open().await;
    let call = desk.call(include_str!("../calls/resume.toml")).await;
    let told = rows(&desk, &call.report.call_sid).await;
    assert_eq!(detail(&told, "call.suspended"), &json!({ "breaks": 1 }));
    assert_eq!(detail(&told, "call.reserved")["epoch"], 2);
    let order: Vec<&str> = codes(&told).into_iter().filter(|code| code.starts_with("call.")).collect();
    assert_eq!(
        order,
        [
            "call.admitted",
            "call.started",
            "call.suspended",
            "call.reserved",
            "call.started",
            "call.resumed",
            "call.leaving",
            "call.ended"
        ]
    );
    desk.fault(
        FaultRule::once(Service::Openai, Fault::Refuse { status: 500, code: None })
            .containing("opening hours"),
    );
    let call = desk
        .call(
            r#"
            name = "ask once"
            limit_ms = 90000
            [[step]]
            wait_for = "greeting"
            [[step]]
            say = "What are your opening hours?"
            [[step]]
            wait_for = "reply"
            [[step]]
            hang_up = true
            "#,
        )
        .await;
    let told = rows(&desk, &call.report.call_sid).await;
    assert!(detail(&told, "llm.request_failed").is_object());
    assert_eq!(codes(&told).last(), Some(&"call.ended"));
    desk.close().await;
}

#[actix::test]
async fn a_transfer_is_in_the_trail_with_the_number_and_its_result() {
    for (person, result, end) in
        [("answers", "call.transferred", "transferred"), ("no-answer", "call.transfer_failed", "completed")]
    {
        let mut profile = barbershop();
        profile.transfer_number = Some("+12025550177".into());
        let desk = Desk::with(profile, VendorsConfig::default(), |_| {}).await;
        let rest = match person {
            "answers" => "[[step]]\nexpect_end = \"dial\"\n",
            _ => "[[step]]\nwait_for = { heard = \"nobody can take the call\" }\n[[step]]\nhang_up = true\n",
        };
        let script = format!(
            "name = \"transfer\"\nperson = \"{person}\"\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nsay = \"I want to \
             speak to a person.\"\n{rest}"
        );
        let call = desk.call(&script).await;
        let told = rows(&desk, &call.report.call_sid).await;
        let to = json!({ "to": "+12025550177" });
        assert_eq!(detail(&told, "call.leaving"), &json!({ "next": "dial" }));
        assert_eq!((detail(&told, "call.dialling"), detail(&told, result)), (&to, &to), "{:?}", codes(&told));
        assert_eq!(detail(&told, "call.ended"), &json!({ "reason": end }));
        desk.close().await;
    }
}

/// Somebody with a key.
async fn key(desk: &Desk) -> String {
    let key = format!("fd_test_{:032x}", rand::random::<u128>());
    desk.db().add_key("test".into(), fingerprint(&key), Scope::Admin, UnixMillis(1)).await.unwrap();
    format!("Bearer {key}")
}

async fn actions(desk: &Desk, action: &str) -> usize {
    // As they stand, without waiting for what is queued: as if the server had been killed now.
    let rows = desk.db().staff_actions(None, 500).await.unwrap();
    rows.iter().filter(|row| row.action == action).count()
}

async fn whatever_was_answered_is_in_the_trail_already() {
    let desk = Desk::open().await;
    let key = key(&desk).await;
    let http = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
    let url = |path: &str| format!("{}{path}", desk.stack().base_url);
    for n in 0..20 {
        let request = http.request(Method::POST, url("/api/customers"));
        let request = request.insert_header(("authorization", key.as_str()));
        let answer = request.send_json(&json!({ "name": format!("Customer {n}") })).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(actions(&desk, "customer.create").await, n + 1);
    }
    let request = http.get(url("/api/export/customers.csv"));
    let answer = request.insert_header(("authorization", key.as_str())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(actions(&desk, "data.export").await, 1);
    desk.close().await;
}

#[actix::test]
async fn who_hangs_up_before_the_answer_is_in_the_trail_too() {
    let desk = Desk::open().await;
    let key = key(&desk).await;
    let address = desk.stack().server.address;
    for n in 0..20 {
        let body = json!({ "name": format!("Customer {n}") }).to_string();
        let request = format!(
            "POST /api/customers HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        // At different moments of the work.
        tokio::time::sleep(Duration::from_micros(300 * n)).await;
        drop(socket);
    }
    // Whoever stays gets an answer, behind all of them on the one worker.
    let http = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
    let last = http
        .post(format!("{}/api/customers", desk.stack().base_url))
        .insert_header(("Authorization", key.as_str()))
        .send_json(&json!({ "name": "Customer who stays" }))
        .await
        .unwrap();
    assert_eq!(last.status(), StatusCode::CREATED);
    // However many were taken up, each that was done comes to be written down.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let made = desk.db().customers(100).await.unwrap().len();
        let written = actions(&desk, "customer.create").await;
        if made == written {
            assert!(made > 0);
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{made} customers and {written} rows");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    desk.close().await;
}
