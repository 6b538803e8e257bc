//! `frontdesk simulate load`: many calls at once, for one number of calls or for several, one after the other.

use super::LoadArgs;
use super::cores::Split;
use super::own_server::{OwnServer, OwnServerConfig};
use super::simulate::{running, script};
use crate::sim::load::curve::Curve;
use crate::sim::load::report::LoadReport;
use crate::sim::load::{LoadConfig, run_load};
use crate::sim::script::Script;
use anyhow::Context as _;
use std::process::ExitCode;
use std::time::Duration;

/// Time between the beginnings of two calls.
const BETWEEN: Duration = Duration::from_millis(25);
/// Shortest time over which all calls begin.
const RAMP: Duration = Duration::from_secs(2);

/// Places many calls and prints what they met with.
pub fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let script = match &args.script {
        Some(path) => script(path)?,
        None => Script::embedded("load").context("the built-in script is missing")?,
    };
    let split = args.pin.then(Split::new).transpose()?;
    let mut reports = Vec::new();
    for &calls in &args.calls {
        let report = at_once(args, calls, split.clone(), &script)?;
        if args.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            println!("{report}");
        }
        reports.push(report);
    }
    if reports.len() > 1 && !args.json {
        println!("\n{}", Curve::of(&reports));
    }
    let passed = reports.iter().all(LoadReport::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// So many calls at once.
fn at_once(args: &LoadArgs, calls: u32, pin: Option<Split>, script: &Script) -> anyhow::Result<LoadReport> {
    let mut own = None;
    let mut config = match &args.url {
        Some(url) => {
            let mut config = LoadConfig::new(running(url)?, script.clone(), calls as usize);
            config.pid = args.pid;
            config.vendors_url = args.vendors_url.clone();
            config
        }
        None => {
            let wanted = OwnServerConfig { calls, tls: args.tls, record: args.record, pin };
            let server = OwnServer::start(&wanted)?;
            let mut config = LoadConfig::new(server.caller()?, script.clone(), calls as usize);
            config.pid = Some(server.pid());
            config.vendors_url = Some(server.vendors.deepgram_url.clone());
            config.vendors = server.times;
            own = Some(server);
            config
        }
    };
    config.ramp = BETWEEN.saturating_mul(calls).max(RAMP);
    // Whoever asks for calls at once wants to see them at once.
    config.duration = config.ramp.saturating_add(Duration::from_secs(u64::from(args.seconds)));
    eprintln!("{calls} calls at once for {} s against {} …", args.seconds, config.call.base_url);
    let report = run_load(&config)?;
    drop(own);
    Ok(report)
}
