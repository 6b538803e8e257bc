//! The drills of `frontdesk simulate replicas`, made small: replicas in processes of their own behind haproxy, with
//! PostgreSQL and Redis, and a few callers who talk while replicas are restarted, killed, frozen and cut off.

use crate::support::database::{TestDatabase, use_postgres};
use frontdesk::cli::replicas::fleet::{Fleet, FleetConfig};
use frontdesk::cli::replicas::scenarios::{Outcome, Scenario, Size, run};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Calls at once.
const CALLS: usize = 9;

/// A fleet with a database of a test's own, which goes after it.
struct Drill {
    fleet: Fleet,
    _database: TestDatabase,
}

impl Drill {
    /// So many replicas; none where there is no PostgreSQL.
    async fn of(replicas: usize) -> Option<Self> {
        if !use_postgres() {
            return None;
        }
        let database = TestDatabase::new(Path::new(""));
        let config = FleetConfig {
            program: PathBuf::from(env!("CARGO_BIN_EXE_frontdesk")),
            replicas,
            database_url: Some(database.url.clone()),
            redis_url: None,
            environment: Vec::new(),
        };
        let fleet = Fleet::start(&config).await.expect("the fleet starts");
        Some(Self { fleet, _database: database })
    }

    async fn runs(&mut self, scenario: Scenario) -> Outcome {
        let size = Size { calls: CALLS, ramp: Duration::from_secs(2), next: None };
        let outcome = run(scenario, &mut self.fleet, &size).await.expect("the scenario can be played");
        eprintln!("{}\n{outcome}", Outcome::head());
        outcome
    }
}

#[actix::test]
async fn the_judge_passes_calls_that_nothing_happens_to_and_sees_those_that_are_lost() {
    let Some(mut drill) = Drill::of(1).await else { return };
    let calm = drill.runs(Scenario::Calm).await;
    assert!(calm.passed() && calm.calls == CALLS && calm.gaps.count == 0, "{calm}");
    // Nobody is left to take them over.
    let killed = drill.runs(Scenario::Kill).await;
    assert_eq!((killed.passed(), killed.lost), (false, CALLS), "{killed}");
    drill.fleet.stop().await;
}
