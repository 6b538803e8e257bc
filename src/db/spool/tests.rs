use super::*;
use crate::db::tests::TestDb;
use diesel::connection::SimpleConnection as _;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt as _;

fn message(text: &str) -> TakenMessage {
    let phone = Some("+12025550143".into());
    TakenMessage::new(CallSid::from("CA1"), UnixMillis(7), Some("Ann".into()), phone, text.into())
}

/// A file of a test's own, removed with the value.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("frontdesk-spool-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("deeper/messages")
    }

    fn refused(&self) -> PathBuf {
        self.0.join("deeper/messages.refused")
    }

    fn spool(&self) -> Spool {
        Spool::new(self.path(), 4_096)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn messages_are_read_back_in_order_and_only_their_owner_may_read_them() {
    let place = Place::new();
    let spool = place.spool();
    assert_eq!(spool.read().unwrap().length, 0);
    let all = [message("one\nwith two lines"), message("two")];
    all.iter().for_each(|message| spool.append(message).unwrap());
    let contents = place.spool().read().unwrap();
    assert_eq!(contents.messages, all);
    assert!(contents.unreadable.is_empty());
    assert_eq!(std::fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_has_grown_is_not_emptied() {
    let place = Place::new();
    let spool = place.spool();
    spool.append(&message("one")).unwrap();
    let before = spool.read().unwrap();
    place.spool().append(&message("two")).unwrap();
    spool.settle(&before, &HashSet::new()).unwrap();
    assert_eq!(spool.read().unwrap().messages.len(), 2);
    let all = spool.read().unwrap();
    spool.settle(&all, &HashSet::new()).unwrap();
    assert_eq!(spool.read().unwrap().length, 0);
    assert!(!place.refused().exists());
}

#[test]
fn what_would_make_the_file_too_long_is_refused_and_the_rest_stays() {
    let place = Place::new();
    let spool = place.spool();
    spool.append(&message("first")).unwrap();
    let error = spool.append(&message(&"x".repeat(5_000))).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert_eq!(spool.read().unwrap().messages.len(), 1);
}

#[test]
fn a_message_that_can_never_be_written_is_kept_aside() {
    let place = Place::new();
    let spool = place.spool();
    let (good, bad) = (message("good"), message("bad"));
    spool.append(&good).unwrap();
    spool.append(&bad).unwrap();
    let contents = spool.read().unwrap();
    spool.settle(&contents, &HashSet::from([bad.key.clone()])).unwrap();
    assert_eq!(spool.read().unwrap().length, 0);
    let aside = std::fs::read_to_string(place.refused()).unwrap();
    assert!(aside.contains(&bad.key) && !aside.contains(&good.key), "{aside}");
    assert_eq!(std::fs::metadata(place.refused()).unwrap().permissions().mode() & 0o777, 0o600);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_was_killed_in_the_middle_of_a_line_spoils_no_other(cut in 0_usize..400, text in "\\PC{0,40}") {
        let place = Place::new();
        let spool = place.spool();
        let (first, torn, last) = (message("first"), message(&text), message("last"));
        spool.append(&first).unwrap();
        let whole = serde_json::to_vec(&torn).unwrap();
        let cut = cut.min(whole.len() - 1);
        OpenOptions::new().append(true).open(place.path()).unwrap().write_all(&whole[..cut]).unwrap();
        spool.append(&last).unwrap();
        let contents = spool.read().unwrap();
        prop_assert_eq!(&contents.messages, &[first, last]);
        prop_assert_eq!(contents.unreadable.len(), usize::from(cut > 0));
        spool.settle(&contents, &HashSet::new()).unwrap();
        prop_assert_eq!(place.refused().exists(), cut > 0);
    }
}

/// Waits until nothing is on the disk any more.
async fn until_delivered(path: &Path) {
    let empty = async {
        while std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), empty).await.expect("the messages reach the database");
}

/// What the database has. It is asked again where it gives no connection within the little time that these tests allow it.
async fn texts(db: &DbHandle) -> Vec<String> {
    let there = async {
        loop {
            match db.messages(100).await {
                Err(DbError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                messages => return messages.unwrap(),
            }
        }
    };
    let there = tokio::time::timeout(Duration::from_secs(30), there).await.expect("the database answers");
    let mut all: Vec<_> = there.into_iter().map(|message| message.text).collect();
    all.sort();
    all
}

#[actix::test]
async fn a_message_taken_while_the_database_is_away_is_there_once_when_it_is_back() {
    let mut test = TestDb::sqlite();
    // Long enough for a message to be written once the database is back.
    test.config.wait_ms = 1_000;
    let spool = test.folder.join("spool");
    test.config.spool = Some(spool.display().to_string());
    let db = test.open();
    // The writer makes its connection at its first write, and there is no such folder then.
    let (here, away) = (test.folder.join("data"), test.folder.join("away"));
    std::fs::rename(&here, &away).unwrap();
    for n in 0..3 {
        assert_eq!(db.keep_message(message(&format!("message {n}"))).await.unwrap(), Kept::Spooled);
    }
    std::fs::rename(&away, &here).unwrap();
    until_delivered(&spool).await;
    assert_eq!(texts(&db).await, ["message 0", "message 1", "message 2"]);
    assert_eq!(db.keep_message(message("message 3")).await.unwrap(), Kept::Written);
    assert_eq!(texts(&db).await.len(), 4);
    db.shutdown().await;
}

#[actix::test]
async fn a_database_that_is_slow_to_take_a_message_has_it_once() {
    for mut test in TestDb::each() {
        test.config.wait_ms = 50;
        let db = test.open();
        // Another process is in the middle of a write: the message waits behind it, and is put on the disk meanwhile.
        let mut other = test.connection();
        let lock = match &other {
            crate::db::AnyConnection::Sqlite(_) => "BEGIN IMMEDIATE",
            crate::db::AnyConnection::Postgres(_) => {
                "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE messages"
            }
        };
        other.batch_execute(lock).unwrap();
        assert_eq!(db.keep_message(message("patience")).await.unwrap(), Kept::Spooled);
        other.batch_execute("COMMIT").unwrap();
        until_delivered(&test.config.spool_path()).await;
        db.flush().await.unwrap();
        assert_eq!(texts(&db).await, ["patience"]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn what_a_process_left_on_the_disk_is_written_at_the_next_start_and_only_once() {
    for test in TestDb::each() {
        let path = test.config.spool_path();
        let spool = Spool::new(path.clone(), 1 << 20);
        let left = message("left behind");
        spool.append(&left).unwrap();
        let db = test.open();
        until_delivered(&path).await;
        assert_eq!(texts(&db).await, ["left behind"]);
        db.shutdown().await;

        // As if it had been killed after the database had the message and before the file was emptied.
        spool.append(&left).unwrap();
        spool.append(&message("another")).unwrap();
        let db = test.open();
        until_delivered(&path).await;
        assert_eq!(texts(&db).await, ["another", "left behind"]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_message_taken_from_a_closed_database_waits_for_the_next_start() {
    for test in TestDb::each() {
        let db = test.open();
        let handle = db.handle();
        db.shutdown().await;
        assert_eq!(handle.keep_message(message("late")).await.unwrap(), Kept::Spooled);
        let db = test.open();
        until_delivered(&test.config.spool_path()).await;
        assert_eq!(texts(&db).await, ["late"]);
        db.shutdown().await;
    }
}

#[actix::test]
async fn a_message_the_database_does_not_take_holds_up_no_other_and_is_not_lost() {
    let test = TestDb::sqlite();
    let db = test.open();
    let mut other = test.connection();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON messages WHEN NEW.text = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.batch_execute(trigger).unwrap();
    assert_eq!(db.keep_message(message("bad")).await.unwrap(), Kept::Spooled);
    // As if the database had been away for this one.
    let spool = Spool::new(test.config.spool_path(), 1 << 20);
    spool.append(&message("good")).unwrap();
    let good = async {
        while texts(&db).await != ["good"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), good).await.expect("the good one is not held up");
    assert_eq!(spool.read().unwrap().messages.len(), 2);
    other.batch_execute("DROP TRIGGER no").unwrap();
    until_delivered(&test.config.spool_path()).await;
    assert_eq!(texts(&db).await, ["bad", "good"]);
    db.shutdown().await;
}
