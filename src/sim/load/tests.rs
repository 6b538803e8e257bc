use super::*;
use crate::sim::caller::fake::{Bot, Fake, TOKEN};
use crate::sim::caller::phrase::CallerVoice;

const TALK: &str = "<Response><Connect><Stream url=\"{STREAM}\"/></Connect></Response>";
const SCRIPT: &str = "settle_ms = 300\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nsay = \"hey\"\n\
    [[step]]\nwait_for = \"reply\"\n[[step]]\nhang_up = true";

fn config(fake: &Fake, calls: usize) -> LoadConfig {
    let mut call = CallConfig::new(&fake.url, TOKEN);
    call.voice = CallerVoice::Tone;
    let mut config = LoadConfig::new(call, Script::parse(SCRIPT).unwrap(), calls);
    config.ramp = Duration::from_millis(200);
    config.duration = Duration::from_millis(400);
    config.settle = Duration::ZERO;
    config.listen_every = 0;
    config.vendors = VendorTimes::of(&VendorsConfig::immediate(), 300);
    config
}

#[test]
fn many_calls_are_measured() {
    let fake = Fake::start(&[("/voice/incoming", TALK)], Bot::default());
    let mut config = config(&fake, 6);
    config.threads = 2;
    config.pid = Some(std::process::id());
    let report = run_load(&config).unwrap();
    assert_eq!((report.begun, report.peak_calls, report.ended_well), (6, 6, 6), "{report}");
    assert_eq!((report.replies_expected, report.replies_delivered), (12, 12), "{report}");
    assert_eq!(report.stages.turn.count, 6, "{report}");
    assert!(report.stages.turn.p50 > 280.0, "{report}");
    let added = report.stages.turn.p50 - report.stages.turn_added.p50;
    assert!((added - 300.0).abs() < 0.001);
    assert_eq!((report.stages.webhook.count, report.stages.greeting.count), (6, 6));
    assert_eq!(report.violations, 0);
    assert!(report.lag.ticks > 100);
    assert!(report.server.is_some_and(|server| server.used.cpu_s > 0.0 && server.used.rss_peak_kb > 0));
    assert!(serde_json::to_string(&report).unwrap().contains("\"turn_added\""));
}

#[test]
fn replies_that_do_not_come_are_counted() {
    let fake = Fake::start(&[("/voice/incoming", TALK)], Bot { mute: true, ..Bot::default() });
    let mut config = config(&fake, 2);
    config.script = Script::parse(&SCRIPT.replace("\"reply\"", "\"reply\"\nwithin_ms = 500")).unwrap();
    let report = run_load(&config).unwrap();
    assert_eq!((report.replies_expected, report.replies_delivered), (4, 2), "{report}");
    assert!(!report.passed());
}

#[test]
fn a_server_that_never_clears_does_not_pass() {
    let script = "settle_ms = 300\n[[step]]\nwait_for = \"greeting\"\n[[step]]\nsay = \"story\"\n\
        [[step]]\ninterrupt_after_ms = 700\nsay = \"hey\"\n[[step]]\npause_ms = 500\n[[step]]\nhang_up = true";
    for rude in [false, true] {
        let fake = Fake::start(&[("/voice/incoming", TALK)], Bot { rude, ..Bot::default() });
        let mut config = config(&fake, 1);
        config.script = Script::parse(script).unwrap();
        let report = run_load(&config).unwrap();
        assert_eq!((report.interruptions, report.not_cleared), (1, usize::from(rude)), "{report}");
        // Nothing else speaks against the run. (That the machine is busy with other tests may void it.)
        let report = LoadReport { void: None, replies_delivered: report.replies_expected, ..report };
        assert_eq!(report.passed(), !rude, "{report}");
    }
}

#[test]
fn callers_for_whom_there_is_no_place_are_counted_by_what_they_hear_and_owe_nothing_else() {
    let busy = "<Response><Say>All lines are busy.</Say><Hangup/></Response>";
    let fake = Fake::start(&[("/voice/incoming", busy)], Bot::default());
    let mut config = config(&fake, 2);
    config.over = 1;
    let report = run_load(&config).unwrap();
    assert!(report.begun >= 3 && report.refused == report.begun, "{report}");
    assert_eq!((report.replies_expected, report.failures, report.stages.turn.count), (0, 0, 0), "{report}");
    assert_eq!(report.refusals.get("All lines are busy."), Some(&report.refused), "{report}");
    // (That the machine is busy with other tests may void it.)
    let report = LoadReport { void: None, ..report };
    assert!(report.passed(), "{report}");
    // Nobody may be turned away where there is a place for all, and somebody must be where there is not.
    assert!(!LoadReport { over: 0, ..report.clone() }.passed());
    assert!(!LoadReport { refused: 0, ..report }.passed());
}

#[test]
fn whoever_is_hung_up_on_without_a_word_is_not_refused_but_unanswered() {
    let fake = Fake::start(&[("/voice/incoming", "<Response><Hangup/></Response>")], Bot::default());
    let mut config = config(&fake, 1);
    config.over = 1;
    let report = run_load(&config).unwrap();
    assert!(report.refused == 0 && report.failures > 0 && !report.passed(), "{report}");
}

#[test]
fn calls_begin_over_the_ramp_or_at_the_rate() {
    let fake_config = CallConfig::new("http://127.0.0.1:1", TOKEN);
    let mut config = LoadConfig::new(fake_config, Script::parse(SCRIPT).unwrap(), 10);
    config.ramp = Duration::from_secs(5);
    assert_eq!(config.begin(4), Duration::from_secs(2));
    config.over = 10;
    assert_eq!(config.begin(4), Duration::from_secs(1));
    config.over = 0;
    config.rate = Some(4.0);
    assert_eq!(config.begin(4), Duration::from_secs(1));
}

#[test]
fn a_server_that_is_not_there_fails_every_call() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let fake = Fake { url: format!("http://{free}"), seen: Arc::default() };
    let mut config = config(&fake, 2);
    config.call.status_path = None;
    let report = run_load(&config).unwrap();
    assert_eq!(report.ended_well, 0);
    assert!(!report.passed(), "{report}");
}
