//! Jobs and processes: what a call is owed survives the process that owes it, and is done once.

use crate::support::database::on_both;
use crate::support::process::{Place, Process};
use frontdesk::db::{DbHandle, JobQuery, StoredJob};
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::job::JobState;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::faults::{Fault, FaultRule, Service};
use frontdesk::sim::script::Script;
use std::time::Duration;

on_both!(
    a_summary_that_keeps_failing_is_laid_aside_and_written_when_staff_ask_for_it,
    staff_see_the_dead_letters_and_have_one_tried_again_over_the_api,
    a_call_that_costs_more_than_it_may_ends_with_a_word,
    a_process_killed_between_a_calls_end_and_its_summary_owes_it_and_the_next_one_writes_it_once,
);

const ASK: &str = r#"
    name = "asked"
    limit_ms = 60000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "That is all, goodbye."
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

/// Strikes summaries and nothing else: only they have lines of a transcript for their last words.
fn summaries(fault: Fault) -> FaultRule {
    FaultRule { service: Service::Openai, fault, skip: 0, times: None, contains: Some("Caller:".into()) }
}

/// How often the model was asked for a summary.
fn summaries_asked(place: &Place) -> usize {
    let asked = place.vendors.faults.seen(Service::Openai);
    asked.iter().filter(|text| text.contains("You summarise phone calls")).count()
}

/// Waits for the job with a key to satisfy a condition.
async fn until(db: &DbHandle, key: &str, holds: impl Fn(&StoredJob) -> bool) -> StoredJob {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let jobs = db.jobs(JobQuery { limit: 100, ..JobQuery::default() }).await.unwrap_or_default();
        if let Some(job) = jobs.iter().find(|job| job.key == key && holds(job)) {
            return job.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "{key} does not come about: {jobs:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_process_killed_between_a_calls_end_and_its_summary_owes_it_and_the_next_one_writes_it_once() {
    let place = Place::new();
    place.vendors.faults.add(summaries(Fault::Hang));
    let server = Process::start(&place, &[]);
    let text = format!("CA{:032x}", rand::random::<u128>());
    let (sid, key) = (CallSid::from(text.as_str()), format!("summary:{text}"));
    run_call(&place.caller(&text), &Script::parse(ASK).unwrap()).await;
    let database = place.database().await;
    let job = until(&database, &key, |job| job.state == JobState::Leased).await;
    assert_eq!(job.attempts, 1);
    // The lease comes before the question; the process dies with the answer outstanding.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while summaries_asked(&place) == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the model is never asked");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let call = database.call_overview(sid.clone()).await.unwrap().unwrap();
    assert!(call.ended_at.is_some() && call.summary.is_none());

    place.vendors.faults.clear();
    let server = Process::start(&place, &[]);
    let job = until(&database, &key, |job| job.state == JobState::Done).await;
    assert_eq!(job.attempts, 2);
    let call = database.call_overview(sid.clone()).await.unwrap().unwrap();
    assert!(call.summary.as_ref().is_some_and(|text| text.contains("asked about")), "{:?}", call.summary);
    let outcome = database.call_outcome(call.id).await.unwrap().unwrap();
    assert_eq!(outcome.outcome["booked"], false);
    server.kill();

    // A further start finds nothing to do.
    let server = Process::start(&place, &[]);
    let again = until(&database, &key, |_| true).await;
    assert_eq!((again.state, again.attempts, again.done), (JobState::Done, 2, job.done));
    assert_eq!(
        summaries_asked(&place),
        2,
        "the one that died with its process, and the one that was written"
    );
    server.kill();
    database.shutdown().await;
}

async fn a_summary_that_keeps_failing_is_laid_aside_and_written_when_staff_ask_for_it() {
    let place = Place::new();
    place.vendors.faults.add(summaries(Fault::Refuse { status: 500, code: None }));
    let quick = [
        ("FRONTDESK_JOBS_ATTEMPTS", "3"),
        ("FRONTDESK_JOBS_RETRY_MS", "50"),
        ("FRONTDESK_JOBS_POLL_MS", "100"),
    ];
    let server = Process::start(&place, &quick);
    let text = format!("CA{:032x}", rand::random::<u128>());
    let key = format!("summary:{text}");
    run_call(&place.caller(&text), &Script::parse(ASK).unwrap()).await;
    let database = place.database().await;
    let job = until(&database, &key, |job| job.state == JobState::Dead).await;
    assert_eq!(job.attempts, 3);
    assert!(job.last_error.as_deref().is_some_and(|code| code.starts_with("openai.")), "{job:?}");

    place.vendors.faults.clear();
    database.retry_job(job.id, job.done.unwrap()).await.unwrap();
    let job = until(&database, &key, |job| job.state == JobState::Done).await;
    assert_eq!(job.attempts, 1);
    server.kill();
    database.shutdown().await;
}

/// What a request with a key is answered.
async fn ask(place: &Place, key: &str, method: awc::http::Method, path: &str) -> (u16, serde_json::Value) {
    let request = awc::Client::default()
        .request(method, format!("http://127.0.0.1:{}{path}", place.port))
        .insert_header(("Authorization", format!("Bearer {key}")));
    let mut answer = request.send().await.unwrap();
    let body = answer.body().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default())
}

async fn staff_see_the_dead_letters_and_have_one_tried_again_over_the_api() {
    let place = Place::new();
    place.vendors.faults.add(summaries(Fault::Refuse { status: 500, code: None }));
    // Only the wish itself has the runner look within the time of this test.
    let once = [("FRONTDESK_JOBS_ATTEMPTS", "1"), ("FRONTDESK_JOBS_POLL_MS", "600000")];
    let server = Process::start(&place, &once);
    let text = format!("CA{:032x}", rand::random::<u128>());
    run_call(&place.caller(&text), &Script::parse(ASK).unwrap()).await;
    let database = place.database().await;
    until(&database, &format!("summary:{text}"), |job| job.state == JobState::Dead).await;
    let key = format!("fd_test_{:032x}", rand::random::<u128>());
    let now = frontdesk::domain::time::UnixMillis(1);
    let scope = frontdesk::domain::staff::Scope::Admin;
    let hash = frontdesk::api::secret::fingerprint(&key);
    database.add_key("test".into(), hash, scope, now).await.unwrap();
    use awc::http::Method;

    let (status, list) = ask(&place, &key, Method::GET, "/api/jobs?state=dead").await;
    assert_eq!((status, list["items"][0]["call_sid"].as_str()), (200, Some(text.as_str())), "{list}");
    let id = list["items"][0]["id"].as_i64().unwrap();
    place.vendors.faults.clear();
    let (status, job) = ask(&place, &key, Method::POST, &format!("/api/jobs/{id}/retry")).await;
    assert_eq!(status, 200, "{job}");
    until(&database, &format!("summary:{text}"), |job| job.state == JobState::Done).await;
    assert_eq!(ask(&place, &key, Method::POST, &format!("/api/jobs/{id}/retry")).await.0, 409);
    assert_eq!(ask(&place, &key, Method::GET, "/api/jobs?state=lost").await.0, 400);

    let call = database.call_overview(CallSid::from(text.as_str())).await.unwrap().unwrap().id;
    let (status, outcome) = ask(&place, &key, Method::GET, &format!("/api/calls/{call}/outcome")).await;
    assert_eq!((status, outcome["outcome"]["intent"].as_str()), (200, Some("question")), "{outcome}");
    let (status, cost) = ask(&place, &key, Method::GET, &format!("/api/calls/{call}/cost")).await;
    assert_eq!(status, 200);
    let items: Vec<&str> =
        cost["items"].as_array().unwrap().iter().filter_map(|i| i["item"].as_str()).collect();
    for item in ["stt_ms", "llm_input_tokens", "llm_output_tokens", "tts_chars"] {
        assert!(items.contains(&item), "{item}: {cost}");
    }
    assert!(cost["total"].as_f64().unwrap() > 0.0, "{cost}");
    let (_, costs) = ask(&place, &key, Method::GET, "/api/costs").await;
    assert_eq!(costs["total"], cost["total"]);
    assert_eq!(ask(&place, &key, Method::DELETE, &format!("/api/jobs/{id}")).await.0, 204);
    assert_eq!(ask(&place, &key, Method::DELETE, &format!("/api/jobs/{id}")).await.0, 404);
    server.kill();
    database.shutdown().await;
}

async fn a_call_that_costs_more_than_it_may_ends_with_a_word() {
    let place = Place::new();
    let server = Process::start(&place, &[("FRONTDESK_PRICES_CALL_CAP", "0.0001")]);
    let text = format!("CA{:032x}", rand::random::<u128>());
    let script = r#"
        name = "dear"
        limit_ms = 60000
        [[step]]
        wait_for = "greeting"
        [[step]]
        expect_end = "hangup"
        within_ms = 30000
    "#;
    let report = run_call(&place.caller(&text), &Script::parse(script).unwrap()).await;
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.heard_text().contains("end this call now"), "{report}");
    let database = place.database().await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let reason = loop {
        let call = database.call_overview(CallSid::from(text.as_str())).await.unwrap();
        if let Some(reason) = call.and_then(|call| call.end_reason) {
            break reason;
        }
        assert!(tokio::time::Instant::now() < deadline, "the call does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(reason, frontdesk::domain::call::EndReason::SpendCap);
    server.kill();
    database.shutdown().await;
}
