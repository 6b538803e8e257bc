//! How the databases go about the staff's and the jobs' queries when there is much to find: along an index, never through
//! a table.

use super::plans::{look, scans};
use super::tests::{NOW, fill};
use crate::db::connect::AnyConnection;
use crate::db::tests::TestDb;
use diesel::prelude::*;

#[test]
fn no_query_of_a_list_a_search_a_page_or_the_jobs_goes_through_a_large_table() {
    for test in TestDb::each() {
        fill(&test, 20_000, 5_000);
        let findings = look(&mut test.connection(), NOW).unwrap();
        assert!(findings.len() > 90, "{}", findings.len());
        for (verb, column) in [("SELECT", "next_run_ms"), ("UPDATE", "lease_owner")] {
            let asks =
                |query: &str| query.starts_with(verb) && query.contains("jobs") && query.contains(column);
            assert!(findings.iter().any(|finding| asks(&finding.query)), "{verb} {column}");
        }
        let bad: Vec<String> = findings
            .iter()
            .filter(|finding| finding.scans)
            .map(|finding| format!("{}\n    {}", finding.query, finding.plan.join("\n    ")))
            .collect();
        assert!(bad.is_empty(), "{}", bad.join("\n\n"));
    }
}

fn explained(conn: &mut AnyConnection, query: &str) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Line {
        #[diesel(sql_type = diesel::sql_types::Text)]
        detail: String,
    }
    #[derive(QueryableByName)]
    struct PostgresLine {
        #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
        detail: String,
    }
    match conn {
        AnyConnection::Sqlite(c) => {
            let lines: Vec<Line> = diesel::sql_query(format!("EXPLAIN QUERY PLAN {query}")).load(c).unwrap();
            lines.into_iter().map(|line| line.detail).collect()
        }
        AnyConnection::Postgres(c) => {
            let lines: Vec<PostgresLine> = diesel::sql_query(format!("EXPLAIN {query}")).load(c).unwrap();
            lines.into_iter().map(|line| line.detail).collect()
        }
    }
}

#[test]
fn a_scan_would_be_noticed() {
    for test in TestDb::each() {
        fill(&test, 3_000, 1_000);
        let mut conn = test.connection();
        for query in [
            "SELECT count(*) FROM calls",
            "SELECT id FROM calls WHERE summary = 'x' ORDER BY admission LIMIT 5",
            "SELECT call_id FROM turns WHERE said LIKE '%umbrella%'",
        ] {
            let lines = explained(&mut conn, query);
            assert!(
                lines.iter().any(|line| scans(line, query))
                    || lines.iter().any(|l| l.contains("Index Only Scan")),
                "{query}: {lines:?}"
            );
        }
    }
}
