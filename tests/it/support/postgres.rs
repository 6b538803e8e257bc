//! The PostgreSQL server of the tests. The crate's own tests take this file in as well.

use std::io::Write as _;
use std::sync::Once;

/// The server on which databases may be made, or nothing if PostgreSQL is to be left out. Whoever says neither is told:
/// a test that passes because it did not run hides what it was written for.
pub(crate) fn server() -> Option<String> {
    match std::env::var("TEST_POSTGRES_URL") {
        Ok(url) if url == "none" => {
            static TOLD: Once = Once::new();
            // Not by `eprintln!`, which nobody sees of a test that passes.
            TOLD.call_once(|| {
                let _ = writeln!(std::io::stderr(), "TEST_POSTGRES_URL=none: PostgreSQL is left out");
            });
            None
        }
        Ok(url) if !url.is_empty() => Some(url),
        _ => panic!(
            "run tests/run, or set TEST_POSTGRES_URL to a server on which databases may be made; \
             TEST_POSTGRES_URL=none leaves PostgreSQL out"
        ),
    }
}
