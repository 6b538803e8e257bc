//! `frontdesk demo`: a whole front desk without a key or a service, and a call to listen in on.

use super::stack::Stack;
use super::{DemoArgs, data};
use crate::api::secret::{hash_password, new_password};
use crate::config::server::ServerConfig;
use crate::db::DbHandle;
use crate::domain::ids::CallSid;
use crate::domain::profile::BusinessProfile;
use crate::domain::staff::Role;
use crate::domain::turn::{Speaker, StageLatencies, TurnRecord};
use crate::observe::clock::unix_now;
use crate::observe::feed::{FeedEvent, Watcher};
use crate::observe::log;
use crate::observe::secrets::Scrubber;
use crate::sim::caller::report::CallReport;
use crate::sim::caller::run_call;
use crate::sim::script::Script;
use crate::sim::vendors::VendorsConfig;
use anyhow::Context as _;
use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Where the demo keeps its files.
const FOLDER: &str = "data/demo";
/// Who signs in to the demo's dashboard.
const LOGIN: &str = "demo";
/// How long the summary may take after the call.
const SUMMARY: Duration = Duration::from_secs(10);

/// Runs the demo. With `--once` it ends after the call, with a failure if no appointment was booked.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let path = args.profile.as_deref().map(|path| path.to_string_lossy().into_owned());
    let business = data::business(path.as_deref())?;
    log::init(&ServerConfig { log: "warn".into(), ..ServerConfig::default() }, Scrubber::default())?;
    actix_web::rt::System::new().block_on(show(args.once, args.port, business))
}

async fn show(once: bool, port: Option<u16>, business: BusinessProfile) -> anyhow::Result<ExitCode> {
    // First the port: a demo that runs already keeps its database.
    let listener = listen(port)?;
    let database = fresh_database().await?;
    let name = business.name.clone();
    let zone = TimeZone::get(&business.timezone).unwrap_or(TimeZone::UTC);
    let stack =
        Stack::start(listener, &database, business, VendorsConfig::default().with_real_speech(), |_| {})
            .await?;
    println!("frontdesk demo: {name}");
    println!("  server    {}", stack.base_url);
    println!("  vendors   {} (simulated Deepgram, ElevenLabs, OpenAI, Twilio)", stack.vendors.deepgram_url);
    println!("  database  {}", database.display());
    let password = make_login(&stack.server.db).await?;
    println!("  sign in   {LOGIN} / {}", password.expose_secret());
    println!();
    println!("A caller rings: asks about prices, interrupts the answer, books a haircut.");
    println!();

    let script = Script::embedded("booking").context("the built-in call is missing")?;
    let feed = stack.server.feed.watch();
    let printer = actix_rt::spawn(print_call(feed));
    let report = run_call(&stack.caller(), &script).await;
    let sid = CallSid::from(report.call_sid.as_str());
    // The end of the call is told through the same feed; the printer stops there.
    if tokio::time::timeout(Duration::from_secs(5), printer).await.is_err() {
        println!("(the end of the call was not told)");
    }
    let booked = print_result(&stack.server.db, &sid, &report, &zone).await?;
    println!("Files: {} (open it with any SQLite tool)", database.display());
    let clean =
        report.failures.is_empty() && report.violations.count == 0 && stack.vendors.violations().is_empty();
    for failure in &report.failures {
        println!("Not as expected: {failure}");
    }
    for violation in stack.vendors.violations() {
        println!("A vendor objects: {violation:?}");
    }
    if !once {
        stack.answer_calls()?;
        println!();
        println!("The server stays up; Ctrl-C ends it. Call again with:");
        println!("  frontdesk simulate call booking --url {}", stack.base_url);
        tokio::signal::ctrl_c().await.context("no signal handler")?;
    }
    stack.stop().await;
    if !booked {
        println!("No appointment was booked.");
    }
    Ok(if booked && clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Listens on the port that was asked for, and on no other; on any free one if none was.
fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    let port = port.unwrap_or(0);
    TcpListener::bind(("127.0.0.1", port))
        .with_context(|| format!("cannot listen on 127.0.0.1:{port} (--port)"))
}

/// Makes a user who may do everything in the demo. Answers the password.
async fn make_login(db: &DbHandle) -> anyhow::Result<SecretString> {
    let password = new_password();
    let secret = password.clone();
    let hash =
        actix_web::web::block(move || hash_password(&secret)).await.context("the thread was stopped")?;
    let hash = hash.context("the password cannot be hashed")?;
    db.add_user(LOGIN.to_owned(), hash, Role::Admin, false, unix_now()).await?;
    Ok(password)
}

/// An empty database: the demo begins anew each time.
async fn fresh_database() -> anyhow::Result<PathBuf> {
    actix_web::web::block(|| {
        let folder = PathBuf::from(FOLDER);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {FOLDER}"))?;
        let path = folder.join("frontdesk.db");
        for suffix in ["", "-wal", "-shm", ".messages"] {
            let file = folder.join(format!("frontdesk.db{suffix}"));
            match std::fs::remove_file(&file) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {} (is a demo running?)", file.display()));
                }
            }
        }
        Ok(path)
    })
    .await
    .context("the file thread was stopped")?
}

/// Prints the conversation as it happens, until the call is over.
async fn print_call(mut feed: Watcher) {
    let mut open: BTreeMap<u32, TurnRecord> = BTreeMap::new();
    loop {
        match feed.recv().await {
            Ok(FeedEvent::Turn { turn, .. }) => {
                // A turn is told again as more of it is heard; it is printed once the next one begins.
                let begun: Vec<u32> = open.keys().copied().filter(|n| *n < turn.n).collect();
                for n in begun {
                    if let Some(done) = open.remove(&n) {
                        print_turn(&done);
                    }
                }
                open.insert(turn.n, turn);
            }
            Ok(FeedEvent::Ended { reason, .. }) => {
                for turn in open.values() {
                    print_turn(turn);
                }
                println!("  --        the call ends: {reason}");
                return;
            }
            Ok(FeedEvent::Event { code, detail, .. }) if code == "tool.finished" => {
                let tool = detail.get("tool").or_else(|| detail.get("name")).and_then(|t| t.as_str());
                println!("  --        looked up: {}", tool.unwrap_or("a tool"));
            }
            Ok(
                FeedEvent::Event { .. }
                | FeedEvent::Started { .. }
                | FeedEvent::Changed { .. }
                | FeedEvent::Missed
                | FeedEvent::Closing,
            ) => {}
            Err(RecvError::Lagged(missed)) => println!("  --        ({missed} events not shown)"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn print_turn(turn: &TurnRecord) {
    let at = format!("{:>2}:{:02}", turn.at_ms / 60_000, turn.at_ms / 1_000 % 60);
    match turn.speaker {
        Speaker::Caller => println!("{at}  caller  {}", turn.said),
        Speaker::Bot => {
            let cut = if turn.interrupted { "  [interrupted]" } else { "" };
            println!("{at}  bot     {}{cut}", turn.heard);
            let stages = stages(&turn.latency);
            if !stages.is_empty() {
                println!("               {stages}");
            }
        }
    }
}

/// The stages of an answer in one line, each from the end of the caller's turn.
fn stages(latency: &StageLatencies) -> String {
    [
        ("end of turn", latency.end_of_turn_ms),
        ("first token", latency.first_token_ms),
        ("first sentence", latency.first_sentence_ms),
        ("first audio", latency.first_audio_ms),
        ("on the line", latency.first_sent_ms),
    ]
    .iter()
    .filter_map(|(name, ms)| ms.map(|ms| format!("{name} {ms} ms")))
    .collect::<Vec<_>>()
    .join(" · ")
}

/// Prints what is now in the database. Answers whether an appointment is among it.
async fn print_result(
    db: &DbHandle,
    sid: &CallSid,
    report: &CallReport,
    zone: &TimeZone,
) -> anyhow::Result<bool> {
    let deadline = tokio::time::Instant::now() + SUMMARY;
    let call = loop {
        db.flush().await.ok();
        let call = db.call_overview(sid.clone()).await?;
        let done = call.as_ref().is_some_and(|c| c.summary.is_some());
        if done || tokio::time::Instant::now() >= deadline {
            break call;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    println!();
    println!(
        "The caller heard {} of {} replies; the longest wait without the bot's voice was {:.0} ms.",
        report.replies_delivered, report.replies_expected, report.longest_wait_ms
    );
    if let Some(call) = &call {
        println!("Call {sid}: {}, {} s", call.status, call.duration_s.unwrap_or_default());
        if let Some(summary) = &call.summary {
            println!("Summary: {summary}");
        }
    }
    let counts = db.counts().await?;
    println!(
        "Database: {} call, {} turns, {} audit rows, {} customers, {} appointments",
        counts.calls, counts.turns, counts.events, counts.customers, counts.appointments
    );
    let appointments = db.appointments(10).await?;
    for appointment in &appointments {
        let starts = jiff::Timestamp::from_millisecond(appointment.starts_at.0).unwrap_or_default();
        let starts = starts.to_zoned(zone.clone()).strftime("%A, %B %-d, %-I:%M %p");
        println!(
            "  appointment {}: {} with {}, {starts}, {} minutes",
            appointment.id, appointment.service, appointment.staff, appointment.minutes
        );
    }
    Ok(!appointments.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_asked_for_is_had_or_the_demo_says_so() {
        let taken = listen(None).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = listen(Some(port)).unwrap_err();
        assert!(
            format!("{error:#}").contains(&format!("cannot listen on 127.0.0.1:{port} (--port)")),
            "{error:#}"
        );
    }
}
