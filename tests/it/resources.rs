//! The business's resources over HTTP: lists and their pages, customers, the calendar, messages, search, numbers,
//! files.

use crate::support::database::on_both;
use crate::support::{Desk, barbershop};
use awc::http::{Method, StatusCode};
use frontdesk::api::secret::fingerprint;
use frontdesk::config::Config;
use frontdesk::db::open_connection;
use frontdesk::db::seed::{BulkPlan, bulk};
use frontdesk::db::{NewAppointment, StaffOutcome, Write};
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::recording::{Recording, RecordingState};
use frontdesk::domain::staff::Scope;
use frontdesk::domain::time::UnixMillis;
use frontdesk::sim::vendors::VendorsConfig;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

on_both!(
    lists_come_in_bounded_pages_and_a_bad_cursor_or_limit_is_named,
    customers_are_made_changed_and_removed_with_checked_numbers,
    the_calendar_takes_moves_and_calls_off_appointments_and_knows_time_off,
    messages_searches_numbers_and_files_say_the_same,
    an_appointment_of_somebody_who_has_left_can_be_found_and_changed,
    what_belongs_to_a_call_is_found_by_either_id_and_a_call_that_is_not_there_is_not,
    what_has_a_tag_may_be_kept_and_is_asked_for_before_it_is_used_again,
);

const DAY_MS: i64 = 86_400_000;

struct Api {
    http: awc::Client,
    base: String,
    key: String,
}

struct Answer {
    status: StatusCode,
    etag: Option<String>,
    /// What `Cache-Control` says.
    keeping: String,
    text: String,
    body: Value,
}

impl Answer {
    fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// The field of a refusal.
    fn refuses(self, status: u16, field: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.body["errors"][0]["field"], field, "{}", self.text);
    }
}

impl Api {
    async fn of(desk: &Desk) -> Self {
        let key = format!("fd_test_{:032x}", rand::random::<u128>());
        desk.db().add_key("test".into(), fingerprint(&key), Scope::Call, UnixMillis(1)).await.unwrap();
        let http = awc::Client::builder().timeout(Duration::from_secs(30)).finish();
        Self { http, base: desk.stack().base_url.clone(), key: format!("Bearer {key}") }
    }

    async fn send(&self, method: Method, path: &str, etag: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.insert_header(("authorization", self.key.as_str()));
        if let Some(etag) = etag {
            request = request.insert_header(("if-none-match", etag));
        }
        let sent = match body {
            Some(body) => request.send_json(&body).await,
            None => request.send().await,
        };
        let mut answer = sent.unwrap();
        let bytes = answer.body().limit(64 << 20).await.unwrap();
        let etag = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
        let keeping = answer.headers().get("cache-control").map(|value| value.to_str().unwrap().to_owned());
        Answer {
            status: answer.status(),
            etag,
            keeping: keeping.unwrap_or_default(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, None, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, None, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, None).await
    }

    /// The ids of a whole list, page by page.
    async fn ids(&self, path: &str, limit: usize) -> Vec<i64> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}limit={limit}{cursor}")).await.is(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            all.extend(items.iter().map(|item| item["id"].as_i64().unwrap()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }
}

/// A desk with sample data in it.
async fn filled(calls: u32, customers: u32) -> Desk {
    let mut profile = barbershop();
    profile.timezone = "America/New_York".into();
    let mut database = None;
    let desk = Desk::with(profile, VendorsConfig::default(), |config: &mut Config| {
        config.limits.who_per_minute = 100_000;
        database = Some(config.database.clone());
    })
    .await;
    let database = database.unwrap();
    let seeded = actix_web::web::block(move || {
        let now = frontdesk::observe::clock::unix_now();
        let opens = |ahead: i64| Some(UnixMillis(now.0 + ahead * DAY_MS + 3_600_000));
        let plan = BulkPlan {
            calls,
            customers,
            now,
            staff: vec!["Marcus".into()],
            services: vec!["Haircut".into()],
            opens: &opens,
        };
        bulk(&mut open_connection(&database).unwrap(), &plan).unwrap()
    });
    seeded.await.unwrap();
    desk
}

async fn lists_come_in_bounded_pages_and_a_bad_cursor_or_limit_is_named() {
    let desk = filled(120, 30).await;
    let api = Api::of(&desk).await;
    for (path, count) in [("/api/calls?", 120), ("/api/customers?", 30), ("/api/calls?status=no-answer&", 0)]
    {
        let whole = api.ids(path, 500).await;
        let pages = api.ids(path, 7).await;
        assert_eq!(whole, pages, "{path}");
        assert!(count == 0 || whole.len() == count, "{path}: {}", whole.len());
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), whole.len());
    }
    let customers = api.get("/api/customers?limit=1").await.is(200);
    let cursor = customers["next_cursor"].as_str().unwrap().to_owned();
    api.get(&format!("/api/calls?cursor={cursor}")).await.refuses(400, "cursor");
    for (query, field) in [
        ("cursor=nonsense", "cursor"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("offset=10", "offset"),
        ("status=gone", "status"),
        ("direction=up", "direction"),
        ("outcome=happy", "outcome"),
        ("from=yesterday", "from"),
        ("customer=maria", "customer"),
        ("phone=12", "phone"),
        ("q=%22%22%22", "q"),
    ] {
        api.get(&format!("/api/calls?{query}")).await.refuses(400, field);
    }
    let first = api.get("/api/calls?limit=5").await;
    let tag = first.etag.clone().unwrap();
    first.is(200);
    let again = api.send(Method::GET, "/api/calls?limit=5", Some(&tag), None).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::NOT_MODIFIED, ""));

    let call = api.get("/api/calls?outcome=message_taken&limit=1").await.is(200)["items"][0].clone();
    assert_eq!((&call["message_taken"], &call["status"]), (&json!(true), &json!("completed")));
    let id = call["id"].as_i64().unwrap();
    let one = api.get(&format!("/api/calls/{id}")).await.is(200);
    assert!(one["transcript"].as_str().unwrap().starts_with("Bot: Thanks for calling."), "{one}");
    let by_sid = api.get(&format!("/api/calls/{}", call["call_sid"].as_str().unwrap())).await.is(200);
    assert_eq!(by_sid, one);
    let turns = api.get(&format!("/api/calls/{id}/turns?limit=2")).await.is(200);
    assert_eq!(turns["items"][1]["n"], 2);
    let cursor = turns["next_cursor"].as_str().unwrap();
    let turns = api.get(&format!("/api/calls/{id}/turns?limit=2&cursor={cursor}")).await.is(200);
    assert_eq!(turns["items"][0]["n"], 3);
    let events = api.get(&format!("/api/calls/{id}/events")).await.is(200);
    assert_eq!(events["items"][0]["code"], "call.started");
    for path in ["/api/calls/0", "/api/calls/CAnone/turns", "/api/customers/0", "/api/appointments/0"] {
        api.get(path).await.is(404);
    }
    desk.close().await;
}

async fn customers_are_made_changed_and_removed_with_checked_numbers() {
    let desk = Desk::open().await;
    let api = Api::of(&desk).await;
    let maria = json!({"name": " Maria ", "phone": "(202) 555-0143", "email": "maria@example.com"});
    let made = api.post("/api/customers", maria.clone()).await.is(201);
    let id = made["id"].as_i64().unwrap();
    assert_eq!(
        (&made["name"], &made["phone"], &made["notes"]),
        (&json!("Maria"), &json!("+12025550143"), &Value::Null)
    );
    api.post("/api/customers", maria).await.is(409);
    for (body, field) in [
        (json!({"name": "x", "phone": "12"}), "phone"),
        (json!({"name": "x", "email": "nobody"}), "email"),
        (json!({"name": "x".repeat(201)}), "name"),
        (json!({"name": "x", "fone": "1"}), "fone"),
        (json!({"notes": "who?"}), "name"),
        (json!({"name": 7}), "name"),
    ] {
        api.post("/api/customers", body).await.refuses(400, field);
    }
    let path = format!("/api/customers/{id}");
    let changed = api.patch(&path, json!({"notes": "likes tea", "email": null})).await.is(200);
    assert_eq!((&changed["notes"], &changed["email"]), (&json!("likes tea"), &Value::Null));
    assert_eq!(api.get(&path).await.is(200), changed);
    let found = api.get("/api/customers?q=555-0143").await.is(200);
    assert_eq!(found["items"], json!([changed]));
    let hit = api.get("/api/search?kind=customer&q=tea").await.is(200)["items"][0].clone();
    assert_eq!((&hit["id"], &hit["snippet"]), (&json!(id), &json!("likes tea")));
    api.delete(&path).await.is(204);
    api.delete(&path).await.is(404);
    desk.close().await;
}

async fn the_calendar_takes_moves_and_calls_off_appointments_and_knows_time_off() {
    let desk = Desk::open().await;
    let api = Api::of(&desk).await;
    let profile = barbershop();
    let (service, staff) = (profile.services[0].name.clone(), profile.staff[0].name.clone());
    let zone = jiff::tz::TimeZone::get(&profile.timezone).unwrap();
    let day = jiff::Timestamp::now().to_zoned(zone).date().tomorrow().unwrap().to_string();
    let wanted = json!({"service": service, "staff": staff, "date": day, "time": "10:00", "duration": 30});
    let made = api.post("/api/appointments", wanted.clone()).await.is(201);
    assert_eq!(
        (&made["date"], &made["time"], &made["status"]),
        (&json!(day), &json!("10:00"), &json!("confirmed"))
    );
    let path = format!("/api/appointments/{}", made["id"]);
    api.post("/api/appointments", wanted.clone()).await.is(409);
    for (change, field) in [
        (json!({"date": "soon"}), "date"),
        (json!({"time": "25:00"}), "time"),
        (json!({"time": "10:03"}), "time"),
        (json!({"duration": 0}), "duration"),
        (json!({"staff": "Nobody At All"}), "staff"),
        (json!({"customer_id": 999}), "customer_id"),
        (json!({"status": "maybe"}), "status"),
    ] {
        api.patch(&path, change).await.refuses(400, field);
    }
    // The calendar has grains of five minutes, and that night the clocks skip an hour.
    for (date, time) in [(day.as_str(), "09:08"), ("2027-03-14", "02:30")] {
        let mut wrong = wanted.clone();
        wrong["date"] = json!(date);
        wrong["time"] = json!(time);
        api.post("/api/appointments", wrong).await.refuses(400, "time");
    }
    let mut other = wanted.clone();
    other["time"] = json!("12:00");
    let other = api.post("/api/appointments", other).await.is(201);
    api.patch(&path, json!({"time": "12:15"})).await.is(409);
    assert_eq!(api.get(&path).await.is(200)["time"], "10:00");
    let moved = api.patch(&path, json!({"time": "10:15", "notes": "late"})).await.is(200);
    assert_eq!(
        (&moved["time"], &moved["date"], &moved["notes"]),
        (&json!("10:15"), &json!(day), &json!("late"))
    );

    let off = json!({"staff": staff, "from": format!("{day}T14:00:00Z"), "to": day});
    let off = api.post("/api/time-off", off).await.is(201);
    let free = format!("/api/availability?service={}&date={day}&staff={staff}", service.replace(' ', "%20"));
    let times = |free: &Value| -> Vec<String> {
        free["items"].as_array().unwrap().iter().map(|t| t["time"].as_str().unwrap().to_owned()).collect()
    };
    let before = times(&api.get(&free).await.is(200));
    assert!(!before.contains(&"20:00".to_owned()), "{before:?}");
    let mut evening = wanted.clone();
    evening["time"] = json!("20:00");
    api.post("/api/appointments", evening.clone()).await.is(409);
    assert_eq!(api.get(&format!("/api/time-off?from={day}")).await.is(200)["items"][0]["id"], off["id"]);
    api.delete(&format!("/api/time-off/{}", off["id"])).await.is(204);
    assert!(times(&api.get(&free).await.is(200)).contains(&"20:00".to_owned()));
    api.post("/api/appointments", evening).await.is(201);
    for (body, field) in [
        (json!({"date": day, "from": day}), "date"),
        (json!({"from": day}), "to"),
        (json!({"from": "2027-01-02", "to": "2027-01-01"}), "to"),
        (json!({"date": day, "staff": "Nobody At All"}), "staff"),
    ] {
        api.post("/api/time-off", body).await.refuses(400, field);
    }

    api.delete(&format!("/api/appointments/{}", other["id"])).await.is(204);
    api.delete(&format!("/api/appointments/{}", other["id"])).await.is(204);
    let listed = api.get(&format!("/api/appointments?date={day}")).await.is(200);
    let rows: Vec<(&str, &str)> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["time"].as_str().unwrap(), row["status"].as_str().unwrap()))
        .collect();
    assert_eq!(rows, [("10:15", "confirmed"), ("12:00", "cancelled"), ("20:00", "confirmed")]);
    api.get("/api/availability?service=Surgery&date=2026-01-01").await.refuses(400, "service");
    api.get("/api/availability").await.refuses(400, "service");
    desk.close().await;
}

async fn an_appointment_of_somebody_who_has_left_can_be_found_and_changed() {
    let desk = Desk::open().await;
    let api = Api::of(&desk).await;
    let now = frontdesk::observe::clock::unix_now();
    let starts_at = UnixMillis((now.0 / 86_400_000 + 2) * 86_400_000);
    let zoes = NewAppointment {
        customer_id: None,
        service: "Shave".into(),
        staff: "Zoe".into(),
        starts_at,
        minutes: 30,
        buffer_minutes: 0,
        notes: None,
    };
    let StaffOutcome::Done(made) = desk.db().create_appointment(zoes, now).await.unwrap() else {
        panic!("the time is free")
    };
    let listed = api.get("/api/appointments?staff=Zoe").await.is(200);
    assert_eq!(listed["items"][0]["id"], made.id);
    assert_eq!(api.get("/api/appointments?staff=Nobody").await.is(200)["items"], json!([]));
    let path = format!("/api/appointments/{}", made.id);
    let changed = api.patch(&path, json!({"staff": "Zoe", "notes": "as ever"})).await.is(200);
    assert_eq!((&changed["staff"], &changed["notes"]), (&json!("Zoe"), &json!("as ever")));
    api.patch(&path, json!({"staff": "Nobody At All"})).await.refuses(400, "staff");
    let taken_over = barbershop().staff[0].name.clone();
    assert_eq!(api.patch(&path, json!({"staff": taken_over})).await.is(200)["staff"], taken_over.as_str());
    api.patch(&path, json!({"staff": "Zoe"})).await.refuses(400, "staff");
    desk.close().await;
}

async fn what_belongs_to_a_call_is_found_by_either_id_and_a_call_that_is_not_there_is_not() {
    let desk = filled(5, 2).await;
    let api = Api::of(&desk).await;
    let call = api.get("/api/calls?limit=1").await.is(200)["items"][0].clone();
    let sid = call["call_sid"].as_str().unwrap().to_owned();
    let by_id = api.get(&format!("/api/calls/{}/cost", call["id"])).await.is(200);
    assert_eq!(api.get(&format!("/api/calls/{sid}/cost")).await.is(200), by_id);
    for part in ["cost", "outcome", "recording", "waveform"] {
        for id in ["999999", "CAnone", "-1"] {
            api.get(&format!("/api/calls/{id}/{part}")).await.is(404);
        }
    }
    let recording = Recording {
        sid: CallSid::from(sid.as_str()),
        location: "2026/11/22/none.wav".into(),
        state: RecordingState::Stored,
        bytes: 1,
        ms: 1,
        started: UnixMillis(1),
        offset_ms: 0,
        dropped_frames: 0,
    };
    desk.db().write(Write::Recording { recording, upload_from: None, at: UnixMillis(1) }).await.unwrap();
    for id in [call["id"].to_string(), sid] {
        // It is looked for, by either id: that its file is not there is told by the store.
        let answer = api.get(&format!("/api/calls/{id}/recording")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["detail"]),
            (404, &json!("there is no such recording"))
        );
    }
    desk.close().await;
}

async fn what_has_a_tag_may_be_kept_and_is_asked_for_before_it_is_used_again() {
    let desk = filled(3, 2).await;
    let api = Api::of(&desk).await;
    for path in ["/api/calls", "/api/customers", "/api/profile", "/api/settings", "/api/openapi.json"] {
        let first = api.get(path).await;
        let tag = first.etag.clone().expect(path);
        assert_eq!((first.status.as_u16(), first.keeping.as_str()), (200, "private, no-cache"), "{path}");
        let again = api.send(Method::GET, path, Some(&tag), None).await;
        assert_eq!((again.status.as_u16(), again.keeping.as_str()), (304, "private, no-cache"), "{path}");
        assert_eq!(again.etag, Some(tag), "{path}");
    }
    assert_eq!(api.get("/api/live").await.keeping, "no-store");
    desk.close().await;
}

async fn messages_searches_numbers_and_files_say_the_same() {
    let desk = filled(200, 20).await;
    let api = Api::of(&desk).await;
    let write = Write::Message {
        key: None,
        sid: CallSid::from("CA5eed0000000000000000000000000003"),
        at: frontdesk::observe::clock::unix_now(),
        name: Some("Tom".into()),
        phone: None,
        text: "call me".into(),
    };
    desk.db().write(write).await.unwrap();
    let open = api.get("/api/messages?state=open&limit=1").await.is(200)["items"][0].clone();
    assert_eq!((&open["text"], &open["done"]), (&json!("call me"), &json!(false)));
    assert!(open["call_id"].is_i64(), "{open}");
    let path = format!("/api/messages/{}", open["id"]);
    let done = api.patch(&path, json!({"done": true})).await.is(200);
    assert_eq!((&done["done"], &done["done_by"]), (&json!(true), &json!("test")));
    api.patch(&path, json!({})).await.refuses(400, "done");
    api.patch("/api/messages/0", json!({"done": true})).await.is(404);
    api.get("/api/messages?state=lost").await.refuses(400, "state");

    let hits = api.get("/api/search?q=thanks%20for%20call&limit=3").await.is(200);
    assert_eq!(hits["items"].as_array().unwrap().len(), 3);
    assert_eq!(hits["items"][0]["turn"], 1);
    assert!(hits["items"][0]["snippet"].as_str().unwrap().contains("Thanks for calling"));
    api.get("/api/search").await.refuses(400, "q");
    api.get("/api/search?q=a&kind=bird").await.refuses(400, "kind");

    let all = api.ids("/api/calls?", 500).await.len();
    let days = api.get("/api/analytics?from=2000-01-01").await;
    days.refuses(400, "from");
    let from = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let from = from.checked_sub(jiff::Span::new().days(370)).unwrap();
    let numbers = api.get(&format!("/api/analytics?from={from}&bucket=day")).await.is(200);
    assert_eq!(numbers["total"]["calls"], all);
    let sum: i64 = numbers["buckets"].as_array().unwrap().iter().map(|b| b["calls"].as_i64().unwrap()).sum();
    assert_eq!(sum, all as i64);
    let p95 = numbers["total"]["latency"]["first_sent_ms"]["p95_ms"].as_i64().unwrap();
    assert!((300..5_000).contains(&p95), "{p95}");
    api.get("/api/analytics?bucket=hour").await.is(200);
    api.get("/api/analytics?bucket=year").await.refuses(400, "bucket");

    let board = api.get("/api/dashboard").await.is(200);
    assert_eq!((&board["totalCustomers"], &board["activeCalls"]), (&json!(20), &json!(0)));
    assert!(board["activeCallDetails"].as_array().unwrap().is_empty() && board["callsToday"].is_i64());

    for table in ["calls", "customers", "appointments"] {
        let rows = api.get(&format!("/api/export/{table}.json")).await.is(200);
        let count = rows.as_array().unwrap().len();
        assert_eq!(count, api.ids(&format!("/api/{table}?"), 500).await.len());
        let file = api.get(&format!("/api/export/{table}.csv")).await;
        assert_eq!(file.status, 200);
        let mut reader = csv::Reader::from_reader(file.text.as_bytes());
        assert_eq!(reader.headers().unwrap().get(0), Some("id"));
        assert_eq!(reader.records().map(Result::unwrap).count(), count);
    }
    api.get("/api/export/secrets.csv").await.is(404);
    desk.close().await;
}
