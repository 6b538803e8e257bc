//! What SQLite keeps of deleted rows, and how it is got rid of: words of the search's indexes, and the write-ahead log.
//!
//! Every connection overwrites what it deletes (`secure_delete`). PostgreSQL's own upkeep removes dead rows.

use super::connect::AnyConnection;
use super::error::DbError;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};
use diesel::sqlite::SqliteConnection;

/// The indexes of words.
const INDEXES: [&str; 2] = ["call_search", "customer_search"];

/// Pages of an index that are merged in one transaction: few enough that nobody who writes waits for long.
const PAGES: u32 = 500;

#[derive(QueryableByName)]
struct Changes {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Checkpoint {
    #[diesel(sql_type = Integer)]
    busy: i32,
}

/// Makes what was deleted unreadable in the file and its log, once and for all.
pub(super) fn scrub(conn: &mut AnyConnection) -> Result<(), DbError> {
    if let AnyConnection::Sqlite(c) = conn {
        for index in INDEXES {
            merge(c, index)?;
        }
    }
    checkpoint(conn)
}

/// Merges an index into one piece. One without content of its own marks what is deleted and keeps the words until then.
fn merge(conn: &mut SqliteConnection, index: &str) -> Result<(), DbError> {
    let changes = "SELECT total_changes() AS n";
    // The first step decides what is merged, the others go on with it.
    let mut pages = format!("-{PAGES}");
    loop {
        let before = diesel::sql_query(changes).get_result::<Changes>(conn)?.n;
        conn.batch_execute(&format!("INSERT INTO {index} ({index}, rank) VALUES ('merge', {pages})"))?;
        // The order itself counts as a change.
        if diesel::sql_query(changes).get_result::<Changes>(conn)?.n - before < 2 {
            return Ok(());
        }
        pages = PAGES.to_string();
    }
}

/// Moves what stands in the write-ahead log to the file and empties the log.
pub(super) fn checkpoint(conn: &mut AnyConnection) -> Result<(), DbError> {
    let AnyConnection::Sqlite(c) = conn else { return Ok(()) };
    let done: Checkpoint = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result(c)?;
    if done.busy != 0 {
        // Somebody reads what the log holds; the next erasure or the end of the process empties it.
        tracing::warn!("the database's log could not be emptied");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::db::Write;
    use crate::db::erase::Erasure;
    use crate::db::tests::{TestDb, admitted, caller_turn};
    use crate::db::{Page, SearchWords};
    use crate::domain::appointment::CustomerPatch;
    use crate::domain::call::{EndReason, Outcome};
    use crate::domain::ids::{CallSid, Epoch};
    use crate::domain::time::UnixMillis;

    /// Whether a word stands in the database's file or its log. The index leaves out how a word begins if the one before
    /// it begins so too.
    fn stands(test: &TestDb, word: &str) -> bool {
        ["frontdesk.db", "frontdesk.db-wal"].iter().any(|name| {
            let bytes = std::fs::read(test.folder.join("data").join(name)).unwrap_or_default();
            bytes.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
        })
    }

    #[actix::test]
    async fn after_an_erasure_neither_the_file_nor_its_log_holds_a_word_of_it() {
        let test = TestDb::sqlite();
        let db = test.open();
        let now = UnixMillis(1_000_000);
        let mut ids = Vec::new();
        // So much that the index has several pieces, and pages are given up.
        for n in 0..40_u32 {
            let said =
                if n == 20 { "the xylophonist Quuxington".into() } else { format!("haircut{n} please") };
            let sid = CallSid::from(format!("CA{n}").as_str());
            let patch = CustomerPatch { name: Some(said.clone()), phone: None, email: None };
            let customer = db.upsert_customer(patch, None, now).await.unwrap();
            ids.push(customer.id);
            let mut admission = admitted(sid.as_str(), 1);
            if let Write::CallAdmitted { facts } = &mut admission {
                facts.caller = crate::domain::phone::CallerId::Withheld;
            }
            for write in [
                admission,
                Write::CallCustomer { sid: sid.clone(), epoch: Epoch(1), customer_id: customer.id },
                Write::Turn { sid: sid.clone(), epoch: Epoch(1), turn: caller_turn(1, &said.repeat(50)) },
                Write::CallEnded {
                    sid: sid.clone(),
                    at: now,
                    reason: EndReason::Completed,
                    outcome: Outcome::default(),
                },
                Write::Summary { sid, text: said.clone() },
            ] {
                db.write(write).await.unwrap();
            }
        }
        assert!(stands(&test, "uuxington") && stands(&test, "ylophonist"));
        assert!(matches!(db.erase_customer(ids[20]).await.unwrap(), Erasure::Traces(_)));
        assert!(!stands(&test, "uuxington") && !stands(&test, "ylophonist"));

        let found = SearchWords::parse("haircut21").unwrap();
        assert_eq!(db.search_calls(found.clone(), Page::new(9, None)).await.unwrap().items.len(), 1);
        assert_eq!(db.search_customers(found, Page::new(9, None)).await.unwrap().items.len(), 1);
        db.shutdown().await;
    }

    #[actix::test]
    async fn the_log_is_empty_after_an_orderly_end() {
        let test = TestDb::sqlite();
        let db = test.open();
        // Somebody beside us, without whom the last connection would remove the log anyway.
        let beside = test.connection();
        db.write(admitted("CA1", 1)).await.unwrap();
        let log = test.folder.join("data/frontdesk.db-wal");
        assert!(std::fs::metadata(&log).unwrap().len() > 0);
        db.shutdown().await;
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        drop(beside);
    }
}
