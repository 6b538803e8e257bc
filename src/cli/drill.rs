//! `frontdesk simulate drill`: one call of a hundred meets a fault; it goes on or ends politely, the others notice
//! nothing. A small version of it, with every fault at once, is in the test suite.

use super::stack::Stack;
use super::{DrillArgs, data};
use crate::call::machine::Child;
use crate::call::messages::InjectFault;
use crate::config::server::ServerConfig;
use crate::domain::call::EndReason;
use crate::domain::ids::CallSid;
use crate::domain::turn::Speaker;
use crate::observe::feed::FeedEvent;
use crate::observe::log;
use crate::observe::secrets::Scrubber;
use crate::registry::messages::Inject;
use crate::sim::caller::phrase::Phrases;
use crate::sim::caller::report::CallReport;
use crate::sim::caller::{CallConfig, Line, run_rendered};
use crate::sim::faults::{After, Fault, FaultRule, Service};
use crate::sim::load::stats::Spread;
use crate::sim::script::Script;
use crate::sim::vendors::VendorsConfig;
use crate::sim::vendors::brain::BrainMode;
use anyhow::Context as _;
use futures_util::future::join_all;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The model of the drill: everybody is told the hours, a marked caller something of their own.
const BRAIN: &str = r#"
otherwise = "We are open from nine in the morning until seven in the evening."
[[rules]]
when_contains = "goodbye"
say = "Goodbye."
tools = [{ name = "end_call", arguments = {} }]
[[rules]]
when_contains = "broken arguments"
tools = [{ name = "check_availability", arguments = "{\"date\": \"tomorr" }]
then = "The piano is in tune again."
[[rules]]
when_contains = "for ever"
tools = [{ name = "get_business_info", arguments = { topic = "hours" } }]
endless = true
"#;
/// What the model says to whoever asks for an instrument.
const ABOUT: &str = r#"
[[rules]]
when_contains = "INSTRUMENT"
say = "About the INSTRUMENT: it is in the back room. It is a fine old INSTRUMENT. Come and see it any day."
"#;
/// What the marked caller does.
const VICTIM: &str = r#"
name = "the one"
limit_ms = 60000
[[step]]
wait_for = "greeting"
[[step]]
say = "WORDS"
[[step]]
wait_for = "reply"
[[step]]
say = "That is all, goodbye."
[[step]]
expect_end = "hangup"
within_ms = 30000
"#;
/// How long after one caller who meets a fault the next one rings, where all ring together.
const BETWEEN: Duration = Duration::from_millis(700);
/// How much the others' turns may take longer, ms (95th percentile; `decisions.md`).
const OTHERS_MS: f64 = 20.0;
/// How long the marked caller may wait without the bot's voice, ms.
const LONGEST_WAIT_MS: f64 = 4_000.0;

/// What goes wrong for one caller.
pub struct Drill {
    /// What it is called.
    pub name: &'static str,
    /// What the caller asks for, and nobody else: faults strike by it.
    instrument: &'static str,
    rules: Vec<FaultRule>,
    /// What the caller says instead of asking for the instrument.
    says: Option<&'static str>,
    breaks: Option<InjectFault>,
}

/// Every fault there is; the first is none at all.
pub fn drills() -> Vec<Drill> {
    let rule = |name, instrument, rules| Drill { name, instrument, rules, says: None, breaks: None };
    let words =
        |name, says| Drill { name, instrument: "piano", rules: Vec::new(), says: Some(says), breaks: None };
    let panic = |name, instrument, fault| Drill {
        name,
        instrument,
        rules: Vec::new(),
        says: None,
        breaks: Some(fault),
    };
    vec![
        rule("nothing", "xylophone", vec![]),
        rule(
            "primary voice cut mid-sentence",
            "trombone",
            vec![
                FaultRule::once(Service::Elevenlabs, Fault::Cut { after: After::bytes(6_000) })
                    .containing("fine old trombone"),
            ],
        ),
        rule(
            "recogniser cut mid-utterance",
            "mandolin",
            vec![FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(48_000) })],
        ),
        rule(
            "model rate-limited once",
            "clarinet",
            vec![
                FaultRule::once(Service::Openai, Fault::RateLimit { retry_after_ms: Some(400) })
                    .containing("clarinet"),
            ],
        ),
        rule(
            "model hangs",
            "accordion",
            vec![FaultRule::always(Service::Openai, Fault::Hang).containing("accordion")],
        ),
        words("malformed tool arguments", "Tell me about broken arguments"),
        words("endless tool calls", "Look it up for ever"),
        panic("the ear panics", "violin", InjectFault::Child(Child::Stt)),
        panic("the voice panics", "trumpet", InjectFault::Child(Child::Tts)),
        panic("the mind panics", "banjo", InjectFault::Child(Child::Dialogue)),
        panic("the call panics", "harp", InjectFault::Call),
    ]
}

/// The simulated vendors of a drill.
pub fn vendors() -> anyhow::Result<VendorsConfig> {
    let mut brain = BRAIN.to_owned();
    for drill in drills() {
        brain.push_str(&ABOUT.replace("INSTRUMENT", drill.instrument));
    }
    let brain = crate::sim::vendors::brain::Script::from_toml(&brain).map_err(anyhow::Error::msg)?;
    let mut vendors = VendorsConfig::default();
    vendors.openai.brain = BrainMode::Script(brain);
    Ok(vendors)
}

/// How it went for the caller who met a fault.
#[derive(Debug)]
pub struct Met {
    /// The fault.
    pub name: &'static str,
    /// Why the call ended, if it did.
    pub reason: Option<EndReason>,
    /// The longest the caller waited without the bot's voice, ms.
    pub longest_wait_ms: f64,
    /// Rules of Twilio's that were broken.
    pub violations: u64,
}

impl Met {
    /// Whether the call went on or ended politely, and the caller was never left alone.
    pub fn is_well(&self) -> bool {
        let polite = matches!(
            self.reason,
            Some(
                EndReason::Completed | EndReason::Transferred | EndReason::MessageTaken | EndReason::Apology
            )
        );
        polite && self.longest_wait_ms <= LONGEST_WAIT_MS && self.violations == 0
    }
}

/// How it went for those beside them.
#[derive(Debug)]
pub struct Others {
    /// How many there were.
    pub calls: usize,
    /// How many heard every reply, by the rules.
    pub well: usize,
    /// Their turns, ms.
    pub turns: Spread,
}

/// Runs every drill and prints a line for each.
pub fn run(args: &DrillArgs) -> anyhow::Result<ExitCode> {
    // The panics that are injected would print their traces over the table.
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into());
    log::init(&ServerConfig { log: filter, ..ServerConfig::default() }, Scrubber::default())?;
    actix_web::rt::System::new().block_on(async {
        let folder = super::simulate::Scratch::new()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port on 127.0.0.1")?;
        let mut vendors = vendors()?;
        if args.tls {
            vendors = vendors.with_tls(folder.path()).context("no authority for TLS")?;
        }
        let mut business = data::business(None)?;
        business.transfer_number = None;
        let stack =
            Stack::start(listener, &folder.path().join("frontdesk.db"), business, vendors, |_| {}).await?;
        println!("{} calls beside the one; every fault takes about forty seconds", args.calls);
        println!(
            "{:<34} {:<16} {:>10} {:>14} {:>10}",
            "fault", "ends", "waits ms", "others p95 ms", "others"
        );
        let mut passed = true;
        let mut usual = None;
        let mut wanted = drills();
        if let Some(only) = &args.only {
            let usual = wanted.first().map(|drill| drill.name);
            wanted.retain(|drill| Some(drill.name) == usual || drill.name.contains(only.as_str()));
            anyhow::ensure!(wanted.len() > 1, "no fault has {only:?} in its name");
        }
        for drill in wanted {
            passed &= one(&stack, &drill, args.calls as usize, &mut usual).await?;
        }
        let violations = stack.vendors.violations();
        for violation in &violations {
            println!("a vendor objects: {violation:?}");
        }
        stack.stop().await;
        println!("{}", if passed && violations.is_empty() { "passed" } else { "FAILED" });
        Ok(if passed && violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// One fault, and a line about it.
async fn one(stack: &Stack, drill: &Drill, others: usize, usual: &mut Option<f64>) -> anyhow::Result<bool> {
    let line = Line::new(&stack.caller().trust);
    let (beside, met) =
        tokio::join!(crowd(stack, &line, others), meet(stack, &line, drill, after_crowd(others)));
    stack.vendors.faults.clear();
    let (beside, met) = (beside?, met?);
    let baseline = *usual.get_or_insert(beside.turns.p95);
    let passed = met.is_well() && beside.well == others && beside.turns.p95 - baseline < OTHERS_MS;
    println!(
        "{:<34} {:<16} {:>10.0} {:>14.0} {:>6}/{} {}",
        met.name,
        met.reason.map_or("not at all", EndReason::as_str),
        met.longest_wait_ms,
        beside.turns.p95,
        beside.well,
        others,
        if passed { "" } else { "  <- FAILED" }
    );
    Ok(passed)
}

/// Every one of `drills` at the same time, each with a caller of its own, beside so many others.
pub async fn all_at_once(
    stack: &Stack,
    drills: &[Drill],
    others: usize,
) -> anyhow::Result<(Vec<Met>, Others)> {
    let line = Line::new(&stack.caller().trust);
    // One after the other, so that a fault of the next connection finds its caller.
    let met = drills.iter().zip(0_u32..).map(|(drill, n)| {
        let start = after_crowd(others).saturating_add(BETWEEN.saturating_mul(n));
        meet(stack, &line, drill, start)
    });
    let (beside, met) = tokio::join!(crowd(stack, &line, others), join_all(met));
    Ok((met.into_iter().collect::<anyhow::Result<_>>()?, beside?))
}

/// When all others have begun.
fn after_crowd(others: usize) -> Duration {
    Duration::from_millis(others as u64 * 20 + 500)
}

/// Places the calls that meet nothing.
async fn crowd(stack: &Stack, line: &Line, calls: usize) -> anyhow::Result<Others> {
    let load = Script::embedded("load").context("the built-in script is missing")?;
    let reports = join_all((0..calls).map(|i| {
        let mut config = stack.caller();
        config.from = format!("+1202555{i:04}");
        config.listen = false;
        later(line, config, &load, Duration::from_millis(i as u64 * 20))
    }))
    .await;
    let turns: Vec<f64> = reports.iter().flat_map(|r| &r.turns).filter_map(|t| t.latency_ms()).collect();
    let is_well = |r: &&CallReport| r.violations.count == 0 && r.replies_delivered == r.replies_expected;
    let well = reports.iter().filter(is_well).count();
    Ok(Others { calls, well, turns: Spread::of(&turns) })
}

/// Places the call that meets a fault, after a while.
async fn meet(stack: &Stack, line: &Line, drill: &Drill, start: Duration) -> anyhow::Result<Met> {
    let words = drill.says.map_or_else(|| format!("Tell me about the {}", drill.instrument), str::to_owned);
    let script = Script::parse(&VICTIM.replace("WORDS", &words)).context("the drill's script")?;
    let mut config = stack.caller();
    let sid = format!("CA{:032x}", rand::random::<u128>());
    config.sid = Some(sid.clone());
    let sid = CallSid::from(sid.as_str());
    let arm = async {
        tokio::time::sleep(start.saturating_sub(Duration::from_millis(200))).await;
        for rule in &drill.rules {
            stack.vendors.faults.add(rule.clone());
        }
        if let Some(fault) = drill.breaks {
            break_it(stack, &sid, fault).await;
        }
    };
    let (report, ()) = tokio::join!(later(line, config, &script, start), arm);
    Ok(Met {
        name: drill.name,
        reason: end_of(stack, &sid).await,
        longest_wait_ms: report.longest_wait_ms,
        violations: report.violations.count,
    })
}

/// Places a call after a while. Its phrases are rendered off this thread.
async fn later(line: &Line, config: CallConfig, script: &Script, after: Duration) -> CallReport {
    let script = Arc::new(script.clone());
    let (rendered, voice) = (Arc::clone(&script), config.voice);
    let phrases = actix_web::web::block(move || Phrases::render(&rendered, voice)).await.unwrap_or_default();
    tokio::time::sleep(after).await;
    run_rendered(line, &config, script, Arc::new(phrases)).await
}

/// Breaks a call once its first turn is on record.
async fn break_it(stack: &Stack, sid: &CallSid, fault: InjectFault) {
    let mut feed = stack.server.feed.watch();
    loop {
        match feed.recv().await {
            Ok(FeedEvent::Turn { sid: of, turn }) if of == *sid && turn.speaker == Speaker::Caller => break,
            Ok(_) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
    }
    stack.server.registry.send(Inject { sid: sid.clone(), fault }).await.ok();
}

/// Why a call ended, once that is recorded.
async fn end_of(stack: &Stack, sid: &CallSid) -> Option<EndReason> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
    loop {
        let call = stack.server.db.call_overview(sid.clone()).await.ok().flatten();
        if let Some(reason) = call.and_then(|c| c.end_reason) {
            return Some(reason);
        }
        if tokio::time::Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
