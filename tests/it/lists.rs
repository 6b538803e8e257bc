//! What the lists tell and how they are chosen from, on either database; and requests that no server may fail at.

use crate::support::{Desk, barbershop};
use awc::http::{Method, StatusCode};
use frontdesk::api::secret::fingerprint;
use frontdesk::config::Config;
use frontdesk::db::seed::{BulkPlan, bulk};
use frontdesk::db::{Write, open_connection};
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::staff::Scope;
use frontdesk::domain::time::UnixMillis;
use frontdesk::domain::usage::{Item, Used};
use serde_json::{Value, json};
use std::time::Duration;

const DAY_MS: i64 = 86_400_000;

struct Api {
    http: awc::Client,
    base: String,
    key: String,
}

impl Api {
    async fn of(desk: &Desk) -> Self {
        let key = format!("fd_test_{:032x}", rand::random::<u128>());
        desk.db().add_key("test".into(), fingerprint(&key), Scope::Admin, UnixMillis(1)).await.unwrap();
        let http = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
        Self { http, base: desk.stack().base_url.clone(), key: format!("Bearer {key}") }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, String) {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = request.insert_header(("authorization", self.key.as_str()));
        let sent = match body {
            Some(body) => request.send_json(&body).await,
            None => request.send().await,
        };
        let mut answer = sent.unwrap();
        let bytes = answer.body().limit(64 << 20).await.unwrap();
        (answer.status(), String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, text) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// The field of a refusal.
    async fn refused(&self, method: Method, path: &str, body: Option<Value>) -> String {
        let (status, text) = self.ask(method, path, body).await;
        assert_eq!(status, 400, "{path}: {text}");
        let problem: Value = serde_json::from_str(&text).unwrap();
        problem["errors"][0]["field"].as_str().unwrap().to_owned()
    }
}

fn items(page: &Value) -> &Vec<Value> {
    page["items"].as_array().unwrap()
}

/// Sample data in a desk's database.
async fn fill(desk: &Desk, calls: u32) {
    let database = desk.database.clone();
    let seeded = actix_web::web::block(move || {
        let now = frontdesk::observe::clock::unix_now();
        let opens = |ahead: i64| Some(UnixMillis(now.0 + ahead * DAY_MS + 3_600_000));
        let plan = BulkPlan {
            calls,
            customers: 20,
            now,
            staff: vec!["Marcus".into()],
            services: vec!["Haircut".into()],
            opens: &opens,
        };
        bulk(&mut open_connection(&database).unwrap(), &plan).unwrap()
    });
    seeded.await.unwrap();
}

fn wide(config: &mut Config) {
    config.limits.who_per_minute = 100_000;
}

#[actix::test]
async fn messages_are_told_from_call_backs_and_chosen_by_either() {
    for desk in Desk::each(&barbershop(), wide).await {
        let api = Api::of(&desk).await;
        fill(&desk, 300).await;
        let all = api.get("/api/messages?limit=500").await;
        for kind in ["message", "call-back"] {
            let wanted: Vec<&Value> = items(&all).iter().filter(|item| item["kind"] == kind).collect();
            assert!(!wanted.is_empty(), "{kind}");
            let some = api.get(&format!("/api/messages?limit=500&kind={kind}")).await;
            assert_eq!(items(&some).iter().collect::<Vec<_>>(), wanted);
            let done = api.get(&format!("/api/messages?limit=500&kind={kind}&state=done")).await;
            assert!(items(&done).iter().all(|item| item["kind"] == kind && item["done"] == true));
        }
        assert_eq!(api.refused(Method::GET, "/api/messages?kind=letter", None).await, "kind");
        desk.close().await;
    }
}

#[actix::test]
async fn a_file_of_calls_is_chosen_like_their_list() {
    for desk in Desk::each(&barbershop(), wide).await {
        let api = Api::of(&desk).await;
        fill(&desk, 300).await;
        let calls = api.get("/api/calls?outcome=lead_captured").await;
        let number = items(&calls).iter().find_map(|call| call["customer_id"].as_i64()).unwrap();
        let mut found = 0;
        for filter in [
            "status=no-answer".to_owned(),
            "outcome=message_taken,follow_up".to_owned(),
            "direction=outbound".to_owned(),
            "q=appointment".to_owned(),
            format!("customer={number}"),
            "status=completed&direction=inbound&outcome=appointment_booked".to_owned(),
        ] {
            let listed = api.get(&format!("/api/calls?limit=500&{filter}")).await;
            let file = api.get(&format!("/api/export/calls.json?{filter}")).await;
            assert_eq!(file.as_array(), listed["items"].as_array(), "{filter}");
            found += items(&listed).len();
            let (_, text) = api.ask(Method::GET, &format!("/api/export/calls.csv?{filter}"), None).await;
            let rows = csv::Reader::from_reader(text.as_bytes()).records().map(Result::unwrap).count();
            assert_eq!(rows, items(&listed).len(), "{filter}");
        }
        assert!((60..1_500).contains(&found), "{found}");
        for (path, field) in [
            ("/api/export/calls.csv?status=gone", "status"),
            ("/api/export/customers.csv?phone=%2B12025550143", "phone"),
            ("/api/export/appointments.json?q=x", "q"),
        ] {
            assert_eq!(api.refused(Method::GET, path, None).await, field);
        }
        desk.close().await;
    }
}

#[actix::test]
async fn costs_are_told_by_the_business_s_days() {
    let mut profile = barbershop();
    profile.timezone = "America/New_York".into();
    for desk in Desk::each(&profile, wide).await {
        let api = Api::of(&desk).await;
        fill(&desk, 1).await;
        let sid = CallSid::new(format!("CA5eed{:028x}", 0));
        let at = |text: &str| UnixMillis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
        // Ten in the evening of the 9th in New York, and the first minute of the 11th there.
        for (at, micros) in [(at("2026-03-10T02:00:00Z"), 1_000_000), (at("2026-03-11T04:00:00Z"), 250_000)] {
            let used = vec![Used { item: Item::TtsChars, model: "x".into(), amount: 1, micros }];
            desk.db().write(Write::Usage { sid: sid.clone(), at, used }).await.unwrap();
        }
        let costs = api.get("/api/costs?from=2026-03-01&to=2026-03-31").await;
        let wanted = json!([{"date": "2026-03-09", "cost": 1.0}, {"date": "2026-03-11", "cost": 0.25}]);
        assert_eq!((&costs["days"], &costs["total"]), (&wanted, &json!(1.25)));
        assert_eq!(api.get("/api/costs?from=2026-03-10&to=2026-03-10").await["days"], json!([]));
        for (query, field) in [("from=x", "from"), ("to=9999-12-31", "to"), ("from=2020-01-01", "from")] {
            assert_eq!(api.refused(Method::GET, &format!("/api/costs?{query}"), None).await, field);
        }
        desk.close().await;
    }
}

#[actix::test]
async fn a_summary_that_was_given_up_shows_as_such() {
    for desk in Desk::each(&barbershop(), wide).await {
        let api = Api::of(&desk).await;
        fill(&desk, 1_000).await;
        let dead = api.get("/api/jobs?state=dead").await;
        let sid = dead["items"][0]["call_sid"].as_str().unwrap().to_owned();
        let call = api.get(&format!("/api/calls/{sid}")).await;
        assert_eq!((&call["summary_state"], &call["summary"]), (&json!("failed"), &Value::Null));
        let calls = api.get("/api/calls?limit=500").await;
        for state in ["none", "done"] {
            assert!(items(&calls).iter().any(|call| call["summary_state"] == state), "{state}");
        }
        desk.close().await;
    }
}

#[actix::test]
async fn what_cannot_be_is_refused_by_its_name_and_nothing_fails() {
    for desk in Desk::each(&barbershop(), wide).await {
        let api = Api::of(&desk).await;
        let mut profile = api.get("/api/profile").await;
        let services = profile["services"].as_array().unwrap().len();
        let put = |profile: &Value| api.ask(Method::PUT, "/api/profile", Some(profile.clone()));
        for (minutes, buffer, field) in [
            (json!(1_441), json!(0), "services[0].duration"),
            (json!(1_440), json!(5), "services[0].duration"),
            (json!(3_000_000_000_u64), json!(0), "services[0].duration"),
            (json!(30), json!(481), "buffer_minutes"),
        ] {
            let mut wrong = profile.clone();
            wrong["services"][0]["duration"] = minutes;
            wrong["buffer_minutes"] = buffer;
            assert_eq!(api.refused(Method::PUT, "/api/profile", Some(wrong)).await, field);
        }
        // As long as the longest day: it can be had by nobody, and booked by nobody.
        profile["services"][0]["duration"] = json!(1_440);
        profile["buffer_minutes"] = json!(0);
        let (status, text) = put(&profile).await;
        assert_eq!(status, 200, "{text}");
        let name = profile["services"][0]["name"].clone();
        let other = profile["services"][services - 1]["name"].clone();
        let zone = jiff::tz::TimeZone::get(profile["timezone"].as_str().unwrap()).unwrap();
        let day = jiff::Timestamp::now().to_zoned(zone).date().tomorrow().unwrap().to_string();
        let wanted = json!({"service": name, "date": day, "time": "10:00"});
        assert_eq!(api.refused(Method::POST, "/api/appointments", Some(wanted)).await, "duration");
        let wanted = json!({"service": other, "date": day, "time": "10:00", "duration": 30});
        let (status, text) = api.ask(Method::POST, "/api/appointments", Some(wanted)).await;
        assert_eq!(status, 201, "{text}");
        let id = serde_json::from_str::<Value>(&text).unwrap()["id"].clone();
        let path = format!("/api/appointments/{id}");
        for change in [json!({"service": name}), json!({"duration": 721}), json!({"duration": 0})] {
            assert_eq!(api.refused(Method::PATCH, &path, Some(change)).await, "duration");
        }
        for path in [
            "/api/charts/volume.svg?from=9999-12-31&to=9999-12-31",
            "/api/charts/latency.svg?from=-009999-01-01&to=2026-01-01",
            "/api/analytics?from=2199-12-31&to=2199-12-31T23:59:59Z&bucket=hour",
            "/api/analytics?from=1900-01-01&to=1900-02-01",
            "/api/calls?customer=9223372036854775807&from=1900-01-01&to=2199-12-31",
            "/api/calls?customer=9223372036854775808",
            "/api/calls?phone=%2B1%00",
            "/api/calls?q=%F0%9F%98%80%20%E0%A5%8D",
            "/api/calls?q=%FF%FE",
            "/api/calls/%FF",
            "/api/calls/-9223372036854775808",
            "/api/calls/9223372036854775807/turns?cursor=Aw",
            "/api/appointments?from=1900-01-01T00:00:00%2B14:00&to=2199-12-31",
            "/api/appointments?customer=-1&staff=%00",
            "/api/availability?service=x&date=2199-12-31",
            "/api/search?q=%27%27%3A*%20%26%20%7C&kind=call",
            "/api/search?q=1111111111111111111111111111111111111111111111111&kind=customer",
            "/api/jobs?cursor=f_________8",
            "/api/audit?cursor=gAAAAAAAAAA",
            "/api/messages?cursor=CAAAAAAAAAAAgAAAAAAAAAA",
            "/api/time-off?from=2199-12-31&to=1900-01-01",
            "/api/costs?from=-009999-01-01&to=-009999-01-02",
        ] {
            let (status, text) = api.ask(Method::GET, path, None).await;
            assert!(status.as_u16() < 500, "{path}: {status} {text}");
        }
        desk.close().await;
    }
}
