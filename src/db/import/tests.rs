use super::*;
use crate::db::tests::{TestDb, phone};
use crate::domain::ids::CallSid;

const OLD: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, phone TEXT UNIQUE, email TEXT,
        notes TEXT, created_at TEXT DEFAULT CURRENT_TIMESTAMP, updated_at TEXT DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE appointments (id INTEGER PRIMARY KEY AUTOINCREMENT, customer_id INTEGER, service TEXT, staff TEXT,
        date TEXT, time TEXT, duration INTEGER, status TEXT, notes TEXT, created_at TEXT, updated_at TEXT);
    CREATE TABLE calls (id INTEGER PRIMARY KEY AUTOINCREMENT, call_sid TEXT UNIQUE, phone_number TEXT,
        direction TEXT, duration INTEGER, transcript TEXT, summary TEXT, lead_captured INTEGER,
        appointment_booked INTEGER, customer_id INTEGER, status TEXT, started_at TEXT, ended_at TEXT);
    INSERT INTO customers VALUES
        (1, 'Maria', '+12025550143', 'm@example.com', NULL, '2026-01-05 09:00:00', '2026-01-06 09:00:00'),
        (2, 'Tom', 'ext. 12', NULL, 'likes tea', '2026-01-05 10:00:00', NULL);
    INSERT INTO appointments VALUES
        (1, 1, 'Haircut', 'Marcus', '2027-03-01', '14:30', 30, 'confirmed', NULL, '2026-01-05 09:01:00', NULL),
        (2, 2, 'Shave', 'any', '2027-03-01', '2:30 PM', '20', 'cancelled', NULL, '2026-01-05 09:02:00', NULL),
        (3, 2, 'Haircut', 'Marcus', '2027-03-01', '14:45', 30, 'confirmed', NULL, '2026-01-05 09:03:00', NULL),
        (4, 1, 'Haircut', 'Marcus', 'next week', '14:45', 30, 'confirmed', NULL, '2026-01-05 09:04:00', NULL),
        (5, 1, 'Haircut', 'Marcus', '2027-03-02', '02:30', 30, 'confirmed', NULL, '2026-01-05 09:05:00', NULL);
    INSERT INTO calls VALUES
        (1, 'CAold1', '+12025550143', 'inbound', 95, 'Caller: hi', 'Said hi.', 1, 0, 1, 'completed',
            '2026-01-05 09:00:00', '2026-01-05 09:01:35'),
        (2, 'CAold2', 'anonymous', 'inbound', NULL, NULL, NULL, 0, 0, NULL, 'in-progress', '2026-01-05 10:00:00', NULL);
";

fn old_file(test: &TestDb, sql: &str) -> std::path::PathBuf {
    let path = test.folder.join("prototype.db");
    SqliteConnection::establish(path.to_str().unwrap()).unwrap().batch_execute(sql).unwrap();
    path
}

/// The business lies at UTC, and half past two in the morning does not exist there.
fn local(time: DateTime) -> Option<UnixMillis> {
    if time.time() == Time::constant(2, 30, 0, 0) {
        return None;
    }
    utc(&time.to_string())
}

fn rules() -> ImportRules<'static> {
    ImportRules {
        local: &local,
        phone: &|text| PhoneNumber::from_e164(text).ok(),
        default_staff: "The team",
        now: UnixMillis(1_780_000_000_000),
    }
}

#[actix::test]
async fn a_prototype_is_copied_once_and_its_file_stays_as_it_is() {
    for test in TestDb::each() {
        let path = old_file(&test, OLD);
        let before = std::fs::read(&path).unwrap();
        let mut conn = test.connection();
        let report = import(&path, &mut conn, &rules()).unwrap();
        assert_eq!((report.customers, report.customers_matched), (2, 0));
        assert_eq!((report.appointments, report.calls, report.copied_before), (3, 2, 0));
        let problems: Vec<_> = report.problems.iter().map(|p| (p.table, p.id.as_str())).collect();
        assert_eq!(
            problems,
            [("customers", "2"), ("appointments", "3"), ("appointments", "4"), ("appointments", "5")]
        );
        let again = import(&path, &mut conn, &rules()).unwrap();
        assert_eq!((again.customers, again.appointments, again.calls, again.copied_before), (0, 0, 0, 7));
        drop(conn);
        assert!(std::fs::read(&path).unwrap() == before);

        let db = test.open();
        let maria = db.customer_by_phone(phone("+12025550143")).await.unwrap().unwrap();
        assert_eq!((maria.name.as_deref(), maria.email.as_deref()), (Some("Maria"), Some("m@example.com")));
        let tom = db.customers(1).await.unwrap().remove(0);
        assert_eq!((tom.phone, tom.notes.as_deref()), (None, Some("likes tea\nPhone: ext. 12")));

        let appointments = db.appointments(10).await.unwrap();
        assert_eq!(appointments.len(), 3);
        let half_past_two = utc("2027-03-01 14:30:00").unwrap();
        let first =
            appointments.iter().find(|a| a.service == "Haircut" && a.starts_at == half_past_two).unwrap();
        assert_eq!((first.customer_id, first.staff.as_str(), first.minutes), (Some(maria.id), "Marcus", 30));
        let shave = appointments.iter().find(|a| a.service == "Shave").unwrap();
        assert_eq!((shave.starts_at, shave.staff.as_str()), (half_past_two, "The team"));
        assert_eq!(shave.status, AppointmentStatus::Cancelled);
        let busy =
            db.busy(half_past_two, UnixMillis(half_past_two.0 + 7_200_000), None, rules().now).await.unwrap();
        let minutes: i64 = busy.iter().map(|b| (b.to.0 - b.from.0) / 60_000).sum();
        assert_eq!(minutes, 45, "both overlapping appointments keep others out");

        let call = db.call_overview(CallSid::from("CAold1")).await.unwrap().unwrap();
        assert_eq!(call.facts.admitted_at, utc("2026-01-05T09:00:00Z").unwrap());
        assert_eq!((call.duration_s, call.customer_id), (Some(95), Some(maria.id)));
        assert_eq!(call.imported_transcript.as_deref(), Some("Caller: hi"));
        assert!(call.outcome.lead_captured && !call.outcome.appointment_booked);
        let lost = db.call_overview(CallSid::from("CAold2")).await.unwrap().unwrap();
        assert_eq!(lost.end_reason, Some(EndReason::Lost));
        assert!(db.open_calls().await.unwrap().is_empty(), "nothing imported still goes on");
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_customer_who_is_here_already_keeps_what_is_known() {
    let test = TestDb::sqlite();
    let path = old_file(&test, OLD);
    let db = test.open();
    let patch = crate::domain::appointment::CustomerPatch {
        name: Some("Maria Alvarez".into()),
        phone: Some(phone("+12025550143")),
        email: None,
    };
    let known = db.upsert_customer(patch, None, UnixMillis(1)).await.unwrap();
    let report = db.read(move |conn| import(&path, conn, &rules())).await.unwrap();
    assert_eq!((report.customers, report.customers_matched), (1, 1));
    let maria = db.customer(known.id).await.unwrap().unwrap();
    assert_eq!(
        (maria.name.as_deref(), maria.email.as_deref()),
        (Some("Maria Alvarez"), Some("m@example.com"))
    );
    db.shutdown().await;
}

#[test]
fn an_older_prototype_without_some_tables_and_columns_is_copied_too() {
    let test = TestDb::sqlite();
    let path = old_file(
        &test,
        "CREATE TABLE calls (id INTEGER PRIMARY KEY, call_sid TEXT, started_at TEXT);
         INSERT INTO calls VALUES (1, NULL, '2026-01-05T09:00:00.000Z'), (2, 'CAx', 'yesterday')",
    );
    let report = import(&path, &mut test.connection(), &rules()).unwrap();
    assert_eq!((report.calls, report.problems.len()), (1, 1));
}

#[test]
fn a_missing_file_is_an_error_and_is_not_made() {
    let test = TestDb::sqlite();
    let path = test.folder.join("nowhere.db");
    assert!(import(&path, &mut test.connection(), &rules()).is_err());
    assert!(!path.exists());
}

#[test]
fn times_of_day_are_read_as_they_are_written() {
    for (text, expected) in [
        ("14:30", Some((14, 30))),
        ("9:05", Some((9, 5))),
        ("14:30:00", Some((14, 30))),
        ("2:30 PM", Some((14, 30))),
        ("12:00 am", Some((0, 0))),
        ("12:15pm", Some((12, 15))),
        ("9 AM", Some((9, 0))),
        ("25:00", None),
        ("13:00 PM", None),
        ("", None),
        ("noon", None),
    ] {
        assert_eq!(clock(text), expected.map(|(h, m)| Time::constant(h, m, 0, 0)), "{text}");
    }
}
