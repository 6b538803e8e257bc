//! `frontdesk simulate load`, made small: real processes, every reply, and nothing about time.

use crate::support::process::{Place, Process};
use frontdesk::config::profile::BARBERSHOP;
use frontdesk::sim::vendors::VendorsConfig;
use frontdesk::sim::vendors::brain::BrainMode;
use serde_json::Value;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long such a command may take on a machine that is busy with everything else.
const WITHIN: Duration = Duration::from_secs(240);

/// Runs `frontdesk simulate …` in a process of its own; gives how it ended and what it printed.
pub fn simulate(arguments: &[&str]) -> (ExitStatus, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
        .arg("simulate")
        .args(arguments)
        // Nothing of the tests' own environment reaches the server that it starts.
        .env_clear()
        .envs(std::env::var_os("TMPDIR").map(|folder| ("TMPDIR", folder)))
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .current_dir(std::env::temp_dir())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut out = child.stdout.take().unwrap();
    let printed = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + WITHIN;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be watched") {
            break status;
        }
        if Instant::now() > deadline {
            // With the server that it has started.
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = child.wait();
            panic!("{arguments:?} does not end; it printed {:?}", printed.join());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = printed.join().unwrap().expect("what it prints is text");
    eprintln!("{text}");
    (status, text)
}

/// Reports are printed one after the other.
fn reports(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// Every reply came, no rule was broken, no script failed. (That the machine is busy with other tests voids a run, which
/// says nothing of that.)
fn assert_well(report: &Value) {
    assert!(number(report, "replies_expected") > 0, "{report}");
    assert_eq!(report["replies_expected"], report["replies_delivered"], "{report}");
    for none in ["violations", "failures", "not_cleared", "voice_after_clear_bytes"] {
        assert_eq!(number(report, none), 0, "{none} {report}");
    }
    assert_eq!(report["ended_badly"], serde_json::json!({}), "{report}");
}

#[test]
fn a_load_hears_every_reply_of_a_server_in_a_process_of_its_own() {
    let (_, text) = simulate(&["load", "--calls", "6", "--seconds", "3", "--json"]);
    let all = reports(&text);
    let [report] = all.as_slice() else { panic!("{text}") };
    assert_well(report);
    assert_eq!((number(report, "peak_calls"), number(report, "refused")), (6, 0), "{report}");
    assert!(number(report, "interruptions") >= 6, "{report}");
    assert_eq!(number(&report["vendors"], "violations"), 0, "{report}");
    assert!(number(&report["server"], "rss_peak_kb") > 0, "{report}");
}

#[test]
fn loads_of_several_sizes_are_compared_as_a_curve() {
    let (_, text) = simulate(&["load", "--calls", "2,4", "--seconds", "1", "--script", "soak"]);
    let (_, curve) = text.split_once("\ncalls     cores").expect("the curve's head");
    let lines: Vec<Vec<&str>> =
        curve.lines().skip(1).take(2).map(|line| line.split_whitespace().collect()).collect();
    for (line, calls) in lines.iter().zip(["2", "4"]) {
        assert_eq!(line[0], calls, "{text}");
        let (came, due) = line[7].split_once('/').expect("the replies");
        assert!(came == due && came.parse::<u32>().is_ok_and(|came| came > 0), "{text}");
    }
    assert_eq!(lines.len(), 2, "{text}");
    assert!(!text.contains("VIOLATIONS") && !text.contains("FAILED"), "{text}");
}

#[test]
fn whoever_rings_when_all_lines_are_taken_is_told_so_and_costs_those_who_talk_no_reply() {
    const PLACES: &str = "4";
    let mut vendors = VendorsConfig::default();
    vendors.openai.brain = BrainMode::Fixed { text: "Until seven in the evening.".to_owned() };
    let place = Place::with(vendors);
    // Without anybody to be put through to.
    let mut business: Value = serde_json::from_str(BARBERSHOP).unwrap();
    business.as_object_mut().unwrap().remove("transfer_number");
    let profile = place.folder.join("nobody.json");
    std::fs::write(&profile, business.to_string()).unwrap();
    let server = Process::start(
        &place,
        &[("FRONTDESK_SERVER_MAX_CALLS", PLACES), ("BUSINESS_PROFILE", profile.to_str().unwrap())],
    );
    let url = format!("http://127.0.0.1:{}", place.port);
    let (_, text) = simulate(&[
        "load",
        "--calls",
        PLACES,
        "--over",
        "50",
        "--seconds",
        "3",
        "--script",
        "soak",
        "--json",
        "--url",
        &url,
        "--vendors-url",
        &place.vendors.deepgram_url,
    ]);
    let all = reports(&text);
    let [alone, over] = all.as_slice() else { panic!("{text}") };
    for report in [alone, over] {
        assert_well(report);
        assert!(number(report, "ended_well") >= 4, "{report}");
        assert_eq!(number(&report["vendors"], "violations"), 0, "{report}");
    }
    assert_eq!((number(alone, "over"), number(alone, "refused")), (0, 0), "{alone}");
    let refused = number(over, "refused");
    assert!(number(over, "over") == 2 && refused >= 2, "{over}");
    // Each call was either answered or told why not, in the same words.
    assert_eq!(number(over, "begun"), number(over, "ended_well") + refused, "{over}");
    let words = over["refusals"].as_object().unwrap();
    let (said, heard) = words.iter().next().unwrap();
    assert!(words.len() == 1 && heard.as_u64() == Some(refused) && said.contains("busy"), "{over}");
    server.kill();
}
