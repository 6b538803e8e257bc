//! `frontdesk simulate drill`: one call of a hundred meets a fault; it goes on or ends politely, the others notice
//! nothing. The small version of it is in the test suite.

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

/// A word only the caller who meets the fault says.
const MARK: &str = "xylophone";
/// The model of the drill: everybody is told the hours, the marked caller something of their own.
const BRAIN: &str = r#"
otherwise = "We are open from nine in the morning until seven in the evening."
[[rules]]
when_contains = "goodbye"
say = "Goodbye."
tools = [{ name = "end_call", arguments = {} }]
[[rules]]
when_contains = "broken arguments"
tools = [{ name = "check_availability", arguments = "{\"date\": \"tomorr" }]
then = "The xylophone is in tune again."
[[rules]]
when_contains = "for ever"
tools = [{ name = "get_business_info", arguments = { topic = "hours" } }]
endless = true
[[rules]]
when_contains = "xylophone"
say = "About the xylophone: it is in the back room. It is a fine old instrument. Come and see it any day."
"#;
/// What the marked caller does.
const VICTIM: &str = r#"
name = "the one"
limit_ms = 60000
[[step]]
wait_for = "greeting"
[[step]]
say = "Tell me about the xylophone"
[[step]]
wait_for = "reply"
[[step]]
say = "That is all, goodbye."
[[step]]
expect_end = "hangup"
within_ms = 30000
"#;
/// How much the others' turns may take longer, ms (95th percentile; `decisions.md`).
const OTHERS_MS: f64 = 20.0;
/// How long the marked caller may wait without the bot's voice, ms.
const LONGEST_WAIT_MS: f64 = 4_000.0;

/// What goes wrong for the marked caller.
struct Drill {
    name: &'static str,
    rules: Vec<FaultRule>,
    says: Option<&'static str>,
    breaks: Option<InjectFault>,
}

fn drills() -> Vec<Drill> {
    let rule = |name, rules| Drill { name, rules, says: None, breaks: None };
    let words = |name, says| Drill { name, rules: Vec::new(), says: Some(says), breaks: None };
    let panic = |name, fault| Drill { name, rules: Vec::new(), says: None, breaks: Some(fault) };
    let openai = |fault| FaultRule::always(Service::Openai, fault).containing(MARK);
    vec![
        rule("nothing", vec![]),
        rule(
            "primary voice cut mid-sentence",
            vec![
                FaultRule::once(Service::Elevenlabs, Fault::Cut { after: After::bytes(6_000) })
                    .containing("fine old"),
            ],
        ),
        rule(
            "recogniser cut mid-utterance",
            vec![FaultRule::once(Service::DeepgramListen, Fault::Cut { after: After::bytes(48_000) })],
        ),
        rule(
            "model rate-limited once",
            vec![
                FaultRule::once(Service::Openai, Fault::RateLimit { retry_after_ms: Some(400) })
                    .containing(MARK),
            ],
        ),
        rule("model hangs", vec![openai(Fault::Hang)]),
        words("malformed tool arguments", "Tell me about broken arguments"),
        words("endless tool calls", "Look it up for ever"),
        panic("the ear panics", InjectFault::Child(Child::Stt)),
        panic("the voice panics", InjectFault::Child(Child::Tts)),
        panic("the mind panics", InjectFault::Child(Child::Dialogue)),
        panic("the call panics", InjectFault::Call),
    ]
}

/// Runs every drill and prints a line for each.
pub fn run(args: &DrillArgs) -> anyhow::Result<ExitCode> {
    let brain = crate::sim::vendors::brain::Script::from_toml(BRAIN).map_err(anyhow::Error::msg)?;
    // The panics that are injected would print their traces over the table.
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".into());
    log::init(&ServerConfig { log: filter, ..ServerConfig::default() }, Scrubber::default())?;
    actix_web::rt::System::new().block_on(async {
        let folder = super::simulate::Scratch::new()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port on 127.0.0.1")?;
        let mut vendors = VendorsConfig::default();
        vendors.openai.brain = BrainMode::Script(brain);
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

async fn one(stack: &Stack, drill: &Drill, others: usize, usual: &mut Option<f64>) -> anyhow::Result<bool> {
    let load = Script::embedded("load").context("the built-in script is missing")?;
    let text = drill
        .says
        .map_or_else(|| VICTIM.to_owned(), |says| VICTIM.replace("Tell me about the xylophone", says));
    let script = Script::parse(&text).context("the drill's script")?;
    let line = Line::new();
    let crowd = join_all((0..others).map(|i| {
        let mut config = stack.caller();
        config.from = format!("+1202555{i:04}");
        config.listen = false;
        later(&line, config, &load, Duration::from_millis(i as u64 * 20))
    }));
    let mut config = stack.caller();
    let sid = format!("CA{:032x}", rand::random::<u128>());
    config.sid = Some(sid.clone());
    let sid = CallSid::from(sid.as_str());
    let start = Duration::from_millis(others as u64 * 20 + 500);
    let victim = later(&line, config, &script, start);
    let arm = async {
        tokio::time::sleep(start.saturating_sub(Duration::from_millis(200))).await;
        for rule in &drill.rules {
            stack.vendors.faults.add(rule.clone());
        }
        if let Some(fault) = drill.breaks {
            break_it(stack, &sid, fault).await;
        }
    };
    let (crowd, victim, ()) = tokio::join!(crowd, victim, arm);
    stack.vendors.faults.clear();

    let turns: Vec<f64> = crowd.iter().flat_map(|r| &r.turns).filter_map(|t| t.latency_ms()).collect();
    let p95 = Spread::of(&turns).p95;
    let baseline = *usual.get_or_insert(p95);
    let well =
        crowd.iter().filter(|r| r.violations.count == 0 && r.replies_delivered == r.replies_expected).count();
    let reason = end_of(stack, &sid).await;
    let polite = matches!(
        reason,
        Some(EndReason::Completed | EndReason::Transferred | EndReason::MessageTaken | EndReason::Apology)
    );
    let passed = polite
        && victim.longest_wait_ms <= LONGEST_WAIT_MS
        && victim.violations.count == 0
        && well == others
        && p95 - baseline < OTHERS_MS;
    println!(
        "{:<34} {:<16} {:>10.0} {:>14.0} {:>6}/{} {}",
        drill.name,
        reason.map_or("not at all", EndReason::as_str),
        victim.longest_wait_ms,
        p95,
        well,
        others,
        if passed { "" } else { "  <- FAILED" }
    );
    Ok(passed)
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
