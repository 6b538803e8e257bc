//! `frontdesk simulate replicas`: several replicas behind a real balancer, with a real PostgreSQL and a real Redis, while
//! callers talk: restarted, killed, frozen, cut off. Each caller must be answered once and only once. A small version of
//! it is in the test suite.

pub mod cable;
pub mod crowd;
pub mod fleet;
pub mod judge;
pub mod replica;
pub mod scenarios;
pub mod services;
pub mod talk;

use super::ReplicasArgs;
use crate::config::server::ServerConfig;
use crate::observe::log;
use crate::observe::secrets::Scrubber;
use anyhow::Context as _;
use fleet::{Fleet, FleetConfig};
use scenarios::{Outcome, Scenario, Size};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Milliseconds between two callers' beginnings.
const BETWEEN_MS: u64 = 100;

/// Runs the scenarios and prints a line for each.
pub fn run(args: &ReplicasArgs) -> anyhow::Result<ExitCode> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into());
    log::init(&ServerConfig { log: filter, ..ServerConfig::default() }, Scrubber::default())?;
    actix_web::rt::System::new().block_on(async {
        let mut term = signal(SignalKind::terminate()).context("no signal handler")?;
        let mut int = signal(SignalKind::interrupt()).context("no signal handler")?;
        // Whatever was started goes with the drill, also when it is told to stop.
        tokio::select! {
            done = drill(args) => done,
            _ = term.recv() => anyhow::bail!("told to stop"),
            _ = int.recv() => anyhow::bail!("interrupted"),
        }
    })
}

async fn drill(args: &ReplicasArgs) -> anyhow::Result<ExitCode> {
    let program = match &args.program {
        Some(program) => std::path::absolute(program).context("the program's path")?,
        None => std::env::current_exe().context("the path of this program is not known")?,
    };
    let config = FleetConfig {
        program,
        replicas: usize::from(args.replicas),
        database_url: args.database_url.clone(),
        redis_url: args.redis_url.clone(),
        environment: Vec::new(),
    };
    let calls = args.calls as usize;
    let ramp = Duration::from_millis(BETWEEN_MS.saturating_mul(u64::from(args.calls)));
    let size = Size { calls, ramp, next: args.next.clone() };
    let mut fleet = Fleet::start(&config).await?;
    println!("{} replicas, {calls} calls; a scenario takes one to three minutes", args.replicas);
    println!("{}", Outcome::head());
    let wanted = if args.only.is_empty() { Scenario::ALL.to_vec() } else { args.only.clone() };
    let mut outcomes = Vec::new();
    for scenario in wanted {
        let outcome = scenarios::run(scenario, &mut fleet, &size).await;
        if let Err(error) = &outcome {
            println!("{:<30} could not be done: {error:#}", scenario.name());
            if let Some(folder) = &args.logs {
                fleet.keep_logs(folder)?;
            }
        }
        let outcome = outcome?;
        println!("{outcome}");
        outcomes.push(outcome);
    }
    if let Some(folder) = &args.logs
        && scenarios::logs_of(&outcomes, &fleet, Path::new(folder))?
    {
        println!("what the programs have printed is in {}", folder.display());
    }
    fleet.stop().await;
    let passed = outcomes.iter().all(Outcome::passed);
    println!("{}", if passed { "passed" } else { "FAILED" });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
