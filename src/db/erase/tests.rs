use super::*;
use crate::db::tests::{TestDb, admitted, caller_turn, facts, phone};
use crate::db::{TollCeilings, Write};
use crate::domain::appointment::CustomerPatch;
use crate::domain::audit::AuditEvent;
use crate::domain::call::{EndReason, Outcome};
use crate::domain::ids::Epoch;
use crate::domain::phone::CallerId;
use crate::domain::recording::Recording;
use crate::domain::staff::{StaffAction, Who, WhoKind};
use crate::domain::time::UnixMillis;
use diesel::sql_types::Text;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// Columns of text that may hold something of a person, as the table above tells.
const PERSONAL: &[(&str, &[&str])] = &[
    ("customers", &["name", "phone", "email", "notes", "import_key"]),
    ("calls", &["phone_number", "transcript", "summary", "resume_json", "onward"]),
    ("turns", &["said", "heard"]),
    ("call_events", &["detail"]),
    ("call_outcomes", &["outcome"]),
    ("messages", &["name", "phone", "text"]),
    ("appointments", &["notes"]),
    ("staff_actions", &["detail"]),
    ("jobs", &["payload", "last_error"]),
    ("tolls", &["destination"]),
];

/// Columns of text with ids, words of our own, and what is the business's.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "calls",
        &[
            "call_sid",
            "admission",
            "kind",
            "direction",
            "caller_kind",
            "business_number",
            "status",
            "end_reason",
            "summary_state",
            "replica",
        ],
    ),
    ("turns", &["speaker", "latencies"]),
    ("call_events", &["call_sid", "code"]),
    ("call_outcomes", &["intent", "sentiment", "model"]),
    ("call_usage", &["item", "model"]),
    ("messages", &["call_sid", "kind", "done_by", "entry_key"]),
    ("appointments", &["service", "staff", "status", "call_sid", "import_key"]),
    ("appointment_slots", &["staff", "hold_call", "hold_id"]),
    ("recordings", &["call_sid", "location", "state"]),
    ("jobs", &["kind", "key", "state", "lease_owner", "place"]),
    ("staff_actions", &["who_kind", "who_name", "action", "target"]),
    ("api_keys", &["name", "hash", "scope"]),
    ("users", &["name", "hash", "role"]),
    ("login_sessions", &["hash", "csrf"]),
    ("settings", &["name", "value", "updated_by"]),
    ("time_off", &["staff", "reason", "created_by"]),
    ("latencies", &["stage"]),
    ("activity_days", &["counts"]),
    ("totals", &["name"]),
    ("replicas", &["id", "version"]),
];

/// Stands for whatever is the person's.
const MARK: &str = "zzmarkzz";
const NUMBER: &str = "+12025550143";

#[derive(QueryableByName)]
struct Cell {
    #[diesel(sql_type = Text)]
    text: String,
}

fn cells(conn: &mut AnyConnection, query: &str) -> Vec<String> {
    diesel::sql_query(query).load::<Cell>(conn).unwrap().into_iter().map(|cell| cell.text).collect()
}

/// Every column of text there is: `table.column`.
fn columns(conn: &mut AnyConnection) -> BTreeSet<String> {
    let query = match conn {
        AnyConnection::Sqlite(_) => {
            "SELECT m.name || '.' || c.name AS text FROM sqlite_schema m, pragma_table_info(m.name) c \
             WHERE m.type = 'table' AND c.type = 'TEXT' AND m.name NOT LIKE '%search%' AND m.name NOT LIKE 'sqlite%'"
        }
        AnyConnection::Postgres(_) => {
            "SELECT c.table_name || '.' || c.column_name AS text FROM information_schema.columns c \
             JOIN information_schema.tables t USING (table_schema, table_name) \
             WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type = 'text' \
             AND c.table_name NOT LIKE '%search%'"
        }
    };
    let all = cells(conn, query).into_iter();
    all.filter(|column| !column.starts_with("__diesel") && !column.starts_with("frontdesk_")).collect()
}

/// Everything that stands in the columns of text, all tables.
fn everything(test: &TestDb) -> String {
    let mut conn = test.connection();
    let mut all = String::new();
    for column in columns(&mut conn) {
        let (table, name) = column.split_once('.').unwrap();
        let query = format!("SELECT coalesce({name}, '') AS text FROM {table}");
        let rows = cells(&mut conn, &query).into_iter();
        all.extend(rows.filter(|cell| !cell.is_empty()).map(|cell| format!("{column}: {cell}\n")));
    }
    all
}

async fn call_of(db: &DbHandle, sid: &str, number: &str, words: &str) {
    let at = UnixMillis(1_500_000);
    let mut facts = facts(sid, 1);
    facts.caller = CallerId::Number(phone(number));
    let id = CallSid::from(sid);
    let recording = Recording {
        sid: id.clone(),
        location: format!("2026/11/22/{sid}.wav"),
        state: RecordingState::Stored,
        bytes: 1,
        ms: 1,
        started: at,
        offset_ms: 0,
        dropped_frames: 0,
    };
    let who = Who { kind: WhoKind::User, id: 1, name: "ann".into() };
    let said = StaffAction { who, action: "call.say", target: sid.into(), detail: json!({ "text": words }) };
    for write in [
        Write::CallAdmitted { facts },
        Write::Turn { sid: id.clone(), epoch: Epoch(1), turn: caller_turn(1, words) },
        Write::Event { sid: id.clone(), at, event: AuditEvent::new("x.y", json!({ "w": words })) },
        Write::Message {
            key: None,
            sid: id.clone(),
            at,
            name: Some(words.into()),
            phone: None,
            text: words.into(),
        },
        Write::Recording { recording, upload_from: Some("disk".into()), at },
        Write::StaffAction { at, action: Box::new(said) },
        Write::CallEnded { sid: id.clone(), at, reason: EndReason::Lost, outcome: Outcome::default() },
        Write::Summary { sid: id, text: words.into() },
    ] {
        db.write(write).await.unwrap();
    }
}

async fn person(db: &DbHandle, name: &str, number: &str) -> i64 {
    let patch = CustomerPatch {
        name: Some(name.into()),
        phone: Some(phone(number)),
        email: Some(format!("{name}@example.com")),
    };
    db.upsert_customer(patch, None, UnixMillis(1_000_000)).await.unwrap().id
}

/// Whether a text stands anywhere in the files of a folder, in any case.
fn lies_in_files(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(lies_in_files(&path, text));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap().to_ascii_lowercase();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[actix::test]
async fn a_person_is_erased_everywhere_and_nobody_else() {
    for test in TestDb::each() {
        let db = test.open();
        let secret = person(&db, "secretperson", NUMBER).await;
        let other = person(&db, "otherperson", "+12025550144").await;
        call_of(&db, "CA1", NUMBER, "secretwords one").await;
        call_of(&db, "CA2", NUMBER, "secretwords two").await;
        call_of(&db, "CA3", "+12025550144", "otherwords").await;
        db.flush().await.unwrap();
        let before = everything(&test);

        let Erasure::Traces(dry) = db.traces_of(secret).await.unwrap() else { panic!("there are traces") };
        assert_eq!((dry.calls, dry.turns, dry.events, dry.messages), (2, 2, 4, 2));
        assert_eq!((dry.staff_actions, dry.jobs), (2, 4));
        assert_eq!(dry.recordings, ["2026/11/22/CA1.wav", "2026/11/22/CA2.wav"]);
        assert_eq!(dry.sids, ["CA1".into(), "CA2".into()]);
        assert_eq!(everything(&test), before, "a look changes nothing");

        assert_eq!(db.erase_customer(secret).await.unwrap(), Erasure::Traces(dry));
        let after = everything(&test);
        assert!(!after.contains("secret") && !after.contains(NUMBER), "{after}");
        let kept = ["otherperson", "+12025550144", "otherwords", "summary:CA3", "upload:2026/11/22/CA1.wav"];
        assert!(kept.iter().all(|kept| after.contains(kept)), "{after}");
        assert_eq!(after.matches("recordings.state: stored").count(), 1, "{after}");
        // The calls are still counted.
        assert_eq!(db.counts().await.unwrap().calls, 3);
        assert_eq!(db.erase_customer(secret).await.unwrap(), Erasure::Unknown);

        // A call that is up is not pulled from under its owner.
        db.write(admitted("CA4", 1)).await.unwrap();
        db.write(Write::CallCustomer { sid: CallSid::from("CA4"), epoch: Epoch(1), customer_id: other })
            .await
            .unwrap();
        assert_eq!(db.erase_customer(other).await.unwrap(), Erasure::Live);
        db.shutdown().await;
    }
}

#[actix::test]
async fn nothing_of_a_person_is_left_in_any_column_or_file() {
    for test in TestDb::each() {
        let db = test.open();
        let mut conn = test.connection();
        let listed = |list: &[(&str, &[&str])]| -> BTreeSet<String> {
            let names = |(table, names): &(&str, &[&str])| {
                names.iter().map(|name| format!("{table}.{name}")).collect::<Vec<_>>()
            };
            list.iter().flat_map(names).collect()
        };
        let (personal, others) = (listed(PERSONAL), listed(OTHERS));
        let all: BTreeSet<String> = personal.union(&others).cloned().collect();
        assert_eq!(columns(&mut conn), all, "each column of text is one or the other: see the table above");

        // Each personal column of a person's is filled, by us or by hand.
        let customer = person(&db, MARK, NUMBER).await;
        call_of(&db, "CA1", NUMBER, &format!("{MARK} one")).await;
        call_of(&db, "CA3", "+12025550144", "otherwords").await;
        let ceilings = TollCeilings { per_hour: 9, per_day: 9, per_destination: 9 };
        assert_eq!(db.take_toll(phone(NUMBER), ceilings, UnixMillis(5)).await.unwrap(), None);
        let who = Who { kind: WhoKind::User, id: 1, name: "ann".into() };
        // Somebody else was put through to this person.
        let detail = json!({ "number": NUMBER });
        let action = Box::new(StaffAction { who, action: "call.transfer", target: "CA3".into(), detail });
        db.write(Write::StaffAction { at: UnixMillis(5), action }).await.unwrap();
        let json = format!("{{\"w\":\"{MARK} {NUMBER}\"}}");
        for by_hand in [
            format!("UPDATE customers SET notes = '{MARK}', import_key = '{MARK}'"),
            format!(
                "UPDATE calls SET transcript = '{MARK}', resume_json = '{json}', onward = '{json}' WHERE call_sid = 'CA1'"
            ),
            format!("UPDATE messages SET phone = '{NUMBER}' WHERE call_sid = 'CA1'"),
            format!(
                "INSERT INTO messages (call_sid, phone, text, created_ms) VALUES ('CA9', '{NUMBER}', '{MARK}', 1)"
            ),
            format!(
                "INSERT INTO appointments (customer_id, service, staff, starts_ms, minutes, status, notes, created_ms, \
                 updated_ms) VALUES ({customer}, 'cut', 'Ann', 1, 30, 'confirmed', '{MARK}', 1, 1)"
            ),
            format!(
                "INSERT INTO appointments (service, staff, starts_ms, minutes, status, notes, call_sid, created_ms, \
                 updated_ms) VALUES ('cut', 'Ann', 2, 30, 'confirmed', 'for {MARK}', 'CA1', 1, 1)"
            ),
            format!(
                "INSERT INTO call_outcomes (call_id, outcome, model, created_ms) \
                 SELECT id, '{json}', 'm', 1 FROM calls WHERE call_sid = 'CA1'"
            ),
            format!("UPDATE jobs SET payload = '{json}', last_error = '{MARK}' WHERE key = 'callback:CA1'"),
        ] {
            diesel::sql_query(by_hand).execute(&mut conn).unwrap();
        }
        let full = everything(&test);
        for column in &personal {
            let mark = |line: &str| line.contains(MARK) || line.contains(NUMBER);
            let filled = full.lines().any(|line| line.starts_with(&format!("{column}:")) && mark(line));
            assert!(filled, "{column} is not filled: {full}");
        }
        drop(conn);

        assert!(matches!(db.erase_customer(customer).await.unwrap(), Erasure::Traces(_)));
        let after = everything(&test).to_lowercase();
        assert!(!after.contains(MARK) && !after.contains("2025550143"), "{after}");
        assert!(after.contains("otherwords") && after.contains("+12025550144"), "{after}");
        db.shutdown().await;
        // SQLite's file and log; PostgreSQL's are its own.
        for text in [MARK, "2025550143"] {
            assert_eq!(lies_in_files(&test.folder, text), Vec::<String>::new(), "{text}");
        }
    }
}
