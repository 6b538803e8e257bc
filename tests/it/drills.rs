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

/// Plays these one after the other; every call of each has to be well. Gives what was noted of each, nothing where there is no
/// PostgreSQL.
async fn all_pass(scenarios: &[Scenario]) -> Vec<String> {
    let Some(mut drill) = Drill::of(3).await else { return Vec::new() };
    let mut notes = Vec::new();
    for scenario in scenarios {
        let outcome = drill.runs(*scenario).await;
        assert!(outcome.passed(), "{outcome}");
        notes.push(outcome.notes.join("\n"));
    }
    drill.fleet.stop().await;
    notes
}

#[actix::test]
async fn a_rolling_restart_of_three_replicas_loses_no_call_and_doubles_no_answer() {
    let notes = all_pass(&[Scenario::Rolling, Scenario::Upgrade]).await;
    let same = |notes: &String| notes.contains("same binary; name the next one with --next");
    assert!(notes.iter().all(|notes| notes.contains("0 heard more than one gap")), "{notes:?}");
    assert_eq!(
        notes.iter().map(same).collect::<Vec<_>>(),
        [false, true].split_at(notes.len()).0,
        "{notes:?}"
    );
}

#[actix::test]
async fn calls_of_a_replica_that_is_killed_or_frozen_go_on_at_another_and_what_it_writes_later_is_refused() {
    all_pass(&[Scenario::Kill, Scenario::Freeze]).await;
}

#[actix::test]
async fn calls_go_on_while_redis_or_postgresql_cannot_be_reached() {
    all_pass(&[Scenario::RedisCut, Scenario::PostgresCut]).await;
}

#[actix::test]
async fn calls_go_on_while_one_replica_alone_cannot_reach_redis_or_postgresql() {
    all_pass(&[Scenario::RedisCutOne, Scenario::PostgresCutOne]).await;
}

#[actix::test]
async fn two_callers_on_two_replicas_who_want_one_slot_have_one_appointment() {
    all_pass(&[Scenario::Race]).await;
}
