//! What the server tells of itself: read by Prometheus, pushed as StatsD, and used to send callers away in time.

use crate::support::process::{Place, Port, Process};
use crate::support::{Desk, barbershop};
use frontdesk::cli::stack::Stack;
use frontdesk::observe::metrics::{Kind, SERIES, find};
use frontdesk::sim::caller::run_call;
use frontdesk::sim::faults::{Fault, FaultRule, Service};
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOKEN: &str = "the-token-of-this-test";

/// A caller who asks one thing.
const ASK: &str = r#"
    name = "measured"
    limit_ms = 60000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "That is all, goodbye."
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

/// A caller who is sent away.
const REFUSED: &str = r#"
    name = "refused"
    limit_ms = 30000
    [[step]]
    expect_end = "hangup"
    within_ms = 20000
"#;

/// What was answered at an address.
async fn get(url: &str, token: Option<&str>) -> (u16, String, String) {
    // The client makes a TLS configuration of its own, which is not used here.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = awc::Client::builder().timeout(Duration::from_secs(20)).finish();
    let mut request = client.get(url);
    if let Some(token) = token {
        request = request.insert_header(("authorization", format!("Bearer {token}")));
    }
    let mut answer = request.send().await.unwrap();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let body = answer.body().limit(8 << 20).await.unwrap();
    (answer.status().as_u16(), kind.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
}

type Labels = BTreeMap<String, String>;

/// A scrape, read by the rules of the text format 0.0.4 and no others.
#[derive(Debug, Default)]
struct Scrape(BTreeMap<(String, Labels), f64>);

impl Scrape {
    async fn read(address: &str) -> Self {
        let (status, kind, text) = get(&format!("http://{address}/metrics"), None).await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends too");
        let mut all = Self::default();
        let (mut types, mut helps) = (BTreeMap::new(), BTreeSet::new());
        let (mut current, mut done) = (String::new(), BTreeSet::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            let base = if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && helps.insert(name.to_owned()), "{line}");
                name.to_owned()
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}: twice");
                name.to_owned()
            } else {
                assert!(!line.starts_with('#'), "{line}");
                let (name, labels, value) = sample(line);
                let series = find(&name).unwrap_or_else(|| panic!("{name} is in no table"));
                let kind = types.get(series.name).unwrap_or_else(|| panic!("{line}: no type before it"));
                assert_eq!(kind == "histogram", series.kind == Kind::Histogram, "{line}");
                let known = |label: &str| label == "le" || series.labels.contains(&label);
                assert!(labels.keys().all(|label| known(label)), "{line}");
                assert!(all.0.insert((name, labels), value).is_none(), "{line}: twice");
                series.name.to_owned()
            };
            if base != current {
                assert!(done.insert(base.clone()), "{base}: its lines do not stand together");
                current = base;
            }
        }
        all.check_histograms();
        all
    }

    /// Buckets rise, and the last is all of them.
    fn check_histograms(&self) {
        let mut rows: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.0 {
            let Some(base) = name.strip_suffix("_bucket") else { continue };
            let mut labels = labels.clone();
            let le = labels.remove("le").unwrap();
            let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            rows.entry((base.to_owned(), labels)).or_default().push((le, *value));
        }
        assert!(!rows.is_empty());
        for ((base, labels), mut row) in rows {
            row.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(row.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{base}: {row:?}");
            let last = row.last().unwrap();
            let count = self.0.get(&(format!("{base}_count"), labels.clone())).copied();
            assert_eq!((last.0, Some(last.1)), (f64::INFINITY, count), "{base}");
            assert!(self.0.contains_key(&(format!("{base}_sum"), labels)), "{base}");
        }
    }

    /// The sum of a name's samples with these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |have: &Labels| labels.iter().all(|(k, v)| have.get(*k).is_some_and(|have| have == v));
        self.0.iter().filter(|((n, have), _)| n == name && fits(have)).map(|(_, value)| *value).sum()
    }
}

/// Reads one line: name, labels, value.
fn sample(line: &str) -> (String, Labels, f64) {
    let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap();
    let (name, mut rest) = line.split_at(name_end);
    assert!(!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").unwrap();
            assert!(label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("{line}: \\{c}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = after.split_at(end + 1).1.trim_start_matches(',');
        }
        rest = rest.split_at(1).1;
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}: {value} is no number")))
}

/// Reads until it is as wanted.
async fn until(address: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let scrape = Scrape::read(address).await;
        if wanted(&scrape) {
            return scrape;
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not come to that: {scrape:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A DogStatsD line, read strictly.
fn dog(line: &str) -> (String, f64, String, Labels) {
    let (name, rest) = line.split_once(':').unwrap();
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.'), "{line}");
    let mut parts = rest.split('|');
    let value = parts.next().unwrap().parse().unwrap();
    let kind = parts.next().unwrap();
    assert!(["c", "g", "d"].contains(&kind), "{line}");
    let mut labels = Labels::new();
    for part in parts {
        if let Some(rate) = part.strip_prefix('@') {
            assert!(rate.parse::<f64>().is_ok_and(|rate| rate > 0.0 && rate < 1.0) && kind == "d", "{line}");
        } else {
            for tag in part.strip_prefix('#').unwrap_or_else(|| panic!("{line}")).split(',') {
                let (key, value) = tag.split_once(':').unwrap();
                assert!(!value.contains(':'), "{line}");
                labels.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    (name.to_owned(), value, kind.to_owned(), labels)
}

/// Receives packets, on a thread of its own: what is not read soon would be lost.
fn receiver() -> (String, Arc<Mutex<Vec<Vec<u8>>>>) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let packets = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::downgrade(&packets);
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Some(kept) = kept.upgrade() {
            if let Ok(bytes) = socket.recv(&mut buffer) {
                kept.lock().unwrap().push(buffer[..bytes].to_vec());
            }
        }
    });
    (address, packets)
}

#[actix::test]
async fn a_whole_call_moves_its_series_wherever_they_are_read() {
    let place = Place::new();
    let refuse = Fault::Refuse { status: 500, code: None };
    place.vendors.faults.add(FaultRule::once(Service::Elevenlabs, refuse).containing("calling"));
    let (statsd, packets) = receiver();
    let scraped = Port::hold();
    let address = scraped.address();
    let server = Process::start(
        &place,
        &[
            ("METRICS_ADDR", &address),
            ("METRICS_TOKEN", TOKEN),
            ("STATSD_ADDR", &statsd),
            ("FRONTDESK_OBSERVE_STATSD_MS", "100"),
            ("FRONTDESK_OBSERVE_STATSD_PREFIX", "test."),
        ],
    );
    let before = Scrape::read(&address).await;
    assert_eq!(before.sum("frontdesk_calls_admitted_total", &[]), 0.0);
    assert_eq!(before.sum("frontdesk_calls_limit", &[]), 500.0);
    for name in ["frontdesk_barge_ins_total", "frontdesk_call_duration_seconds_count"] {
        let there = before.0.keys().any(|(have, _)| have == name);
        assert!(there, "{name} begins at zero, not with its first event");
    }
    let sid = format!("CA{:032x}", rand::random::<u128>());
    let report = run_call(&place.caller(&sid), &Script::parse(ASK).unwrap()).await;
    assert!(report.failures.is_empty(), "{report}");

    let after = until(&address, |scrape| {
        scrape.sum("frontdesk_calls_ended_total", &[]) > 0.0
            && scrape.sum("frontdesk_db_queue_writes", &[]) == 0.0
            && scrape.sum("frontdesk_calls_live", &[]) == 0.0
            && scrape.sum("frontdesk_job_runs_total", &[]) > 0.0
    })
    .await;
    let is = |name: &str, labels: &[(&str, &str)], want: f64| {
        assert_eq!(after.sum(name, labels), want, "{name} {labels:?} of {after:#?}");
    };
    is("frontdesk_calls_admitted_total", &[("kind", "twilio"), ("direction", "inbound")], 1.0);
    is("frontdesk_calls_ended_total", &[("reason", "completed")], 1.0);
    is("frontdesk_call_duration_seconds_count", &[], 1.0);
    is("frontdesk_turns_total", &[("speaker", "caller")], 2.0);
    is("frontdesk_barge_ins_total", &[], 0.0);
    is("frontdesk_fallbacks_total", &[("kind", "tts")], 1.0);
    is(
        "frontdesk_provider_errors_total",
        &[("kind", "tts"), ("provider", "elevenlabs"), ("error", "server")],
        1.0,
    );
    is("frontdesk_call_events_total", &[("code", "call.started")], 1.0);
    is("frontdesk_calls_refused_total", &[], 0.0);
    is("frontdesk_ready", &[], 1.0);
    is("frontdesk_cluster_reachable", &[], 1.0);
    is("frontdesk_build_info", &[], 1.0);
    let at_least = |name: &str, labels: &[(&str, &str)], least: f64| {
        let have = after.sum(name, labels);
        assert!(have >= least, "{name} {labels:?}: {have} of {after:#?}");
    };
    for stage in ["end_of_turn", "first_token", "first_sentence", "first_audio", "first_sent", "e2e"] {
        at_least("frontdesk_turn_stage_seconds_count", &[("stage", stage)], 1.0);
    }
    at_least("frontdesk_provider_requests_total", &[("kind", "stt"), ("provider", "deepgram")], 1.0);
    at_least("frontdesk_provider_requests_total", &[("kind", "tts"), ("provider", "deepgram")], 1.0);
    at_least("frontdesk_provider_requests_total", &[("kind", "llm")], 2.0);
    at_least("frontdesk_provider_first_answer_seconds_count", &[("kind", "llm")], 2.0);
    at_least("frontdesk_llm_tokens_total", &[("direction", "input")], 10.0);
    at_least("frontdesk_tts_characters_total", &[], 20.0);
    at_least("frontdesk_stt_audio_seconds_total", &[], 1.0);
    at_least("frontdesk_cost_micros_total", &[], 1.0);
    at_least("frontdesk_db_writes_total", &[("result", "written")], 10.0);
    at_least("frontdesk_db_batch_seconds_count", &[], 1.0);
    at_least("frontdesk_job_runs_total", &[("result", "done")], 1.0);
    at_least("frontdesk_event_loop_lag_seconds_count", &[("worker", "0")], 5.0);
    at_least("frontdesk_process_resident_memory_bytes", &[], 1e6);
    at_least("frontdesk_process_open_fds", &[], 5.0);
    at_least("frontdesk_process_uptime_seconds", &[], 1.0);
    assert!(after.sum("frontdesk_cost_micros_total", &[]) < 1e6, "a call of seconds costs no dollar");
    let sum = after.sum("frontdesk_call_duration_seconds_sum", &[]);
    assert!((2.0..60.0).contains(&sum), "{sum} s");
    // Nothing of a call's own stands in a label.
    let told = format!("{after:?}");
    assert!(!told.contains(&sid) && !told.contains("+1202"), "{told}");

    // At the server's own port for whoever has the token.
    let own = format!("http://127.0.0.1:{}/metrics", place.port);
    assert_eq!(get(&own, None).await.0, 401);
    assert_eq!(get(&own, Some("the-token-of-this-tes")).await.0, 401);
    let (status, _, text) = get(&own, Some(TOKEN)).await;
    assert_eq!(status, 200);
    assert_eq!(Scrape::parse(&text).sum("frontdesk_call_duration_seconds_count", &[]), 1.0);
    assert_eq!(get(&format!("http://{address}/api/health"), None).await.0, 404, "metrics and nothing else");

    // The same, pushed: counters as what they rose by, what was measured value by value. What is on its way is waited for.
    let stages = after.sum("frontdesk_turn_stage_seconds_count", &[]);
    let wanted = [
        ("frontdesk_calls_admitted_total", 1.0),
        ("frontdesk_calls_ended_total", 1.0),
        ("frontdesk_fallbacks_total", 1.0),
        ("frontdesk_turns_total", after.sum("frontdesk_turns_total", &[])),
    ];
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let (counted, measured) = pushed(&packets.lock().unwrap());
        let has = |name: &str| counted.get(name).copied().unwrap_or_default();
        for (name, want) in wanted {
            assert!(has(name) <= want, "{name}: {want} of {counted:?}");
        }
        assert!(measured <= stages, "{measured} of {stages}");
        let all = wanted.iter().all(|(name, want)| has(name) == *want) && measured == stages;
        if all && has("frontdesk_job_runs_total") >= 1.0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{measured} of {stages} and {counted:?} are pushed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.kill();
}

/// What was pushed by counters, each with all that it rose by, and how many times of stages of turns.
fn pushed(packets: &[Vec<u8>]) -> (BTreeMap<String, f64>, f64) {
    let (mut counted, mut measured) = (BTreeMap::<String, f64>::new(), 0.0);
    for packet in packets {
        assert!(packet.len() <= 1_432, "{} bytes in one packet", packet.len());
        for line in std::str::from_utf8(packet).unwrap().split('\n') {
            let (name, value, kind, _) = dog(line);
            let name = name.strip_prefix("test.").unwrap_or_else(|| panic!("{line}"));
            assert!(SERIES.iter().any(|series| series.name == name), "{line}");
            if kind == "c" {
                *counted.entry(name.to_owned()).or_default() += value;
            }
            measured += f64::from(u8::from(kind == "d" && name == "frontdesk_turn_stage_seconds"));
        }
    }
    (counted, measured)
}

#[actix::test]
async fn servers_of_one_process_share_their_metrics_in_peace_and_a_port_that_is_taken_is_named() {
    let open = || async {
        Desk::with(barbershop(), VendorsConfig::default(), |config| {
            config.observe.metrics_addr = "127.0.0.1:0".into();
        })
        .await
    };
    let (one, other) = (open().await, open().await);
    let address = |desk: &Desk| desk.stack().server.metrics_address().unwrap();
    assert_ne!(address(&one), address(&other));
    let call = one.call(ASK).await;
    call.is_sound();
    for desk in [&one, &other] {
        let scrape = until(&address(desk).to_string(), |scrape| {
            scrape.sum("frontdesk_call_duration_seconds_count", &[]) >= 1.0
        })
        .await;
        assert!(scrape.sum("frontdesk_calls_limit", &[]) >= 1_000.0, "of both servers together");
    }
    let taken = address(&one).to_string();
    let folder = std::env::temp_dir().join(format!("frontdesk-it-{:032x}", rand::random::<u128>()));
    std::fs::create_dir_all(&folder).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let refused =
        Stack::start(listener, &folder.join("x.db"), barbershop(), VendorsConfig::default(), |config| {
            config.observe.metrics_addr.clone_from(&taken);
        })
        .await;
    let told = format!("{:#}", refused.err().expect("the port is taken"));
    assert!(told.contains("METRICS_ADDR") && told.contains(&taken), "{told}");
    std::fs::remove_dir_all(&folder).unwrap();
    one.close().await;
    other.close().await;
}

#[actix::test]
async fn while_a_thread_is_late_new_callers_are_sent_away_and_running_calls_go_on() {
    let place = Place::new();
    let scraped = Port::hold();
    let address = scraped.address();
    let server = Process::start(
        &place,
        &[
            ("METRICS_ADDR", &address),
            ("FRONTDESK_SERVER_WORKERS", "1"),
            // High enough that only what the test does is that late.
            ("FRONTDESK_SERVER_MAX_LAG_MS", "400"),
        ],
    );
    let ready = format!("http://127.0.0.1:{}/api/ready", place.port);
    assert_eq!(get(&ready, None).await.0, 200);
    let sid = |n: u128| format!("CA{n:032x}");
    let caller = place.caller(&sid(rand::random()));
    let running = actix_rt::spawn(async move { run_call(&caller, &Script::parse(ASK).unwrap()).await });
    until(&address, |scrape| scrape.sum("frontdesk_turns_total", &[("speaker", "bot")]) >= 1.0).await;

    server.freeze();
    // Asked while it stands still. Its timer is found late at once; what was asked meanwhile is answered after that.
    let asked = actix_rt::spawn({
        let ready = ready.clone();
        async move { get(&ready, None).await.0 }
    });
    let caller = place.caller(&sid(rand::random()));
    let refused = actix_rt::spawn(async move { run_call(&caller, &Script::parse(REFUSED).unwrap()).await });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.thaw();
    assert_eq!(asked.await.unwrap(), 503);
    let refused = refused.await.unwrap();
    assert!(refused.failures.is_empty() && refused.streams.is_empty(), "{refused}");
    let scrape = Scrape::read(&address).await;
    assert_eq!(scrape.sum("frontdesk_calls_refused_total", &[("reason", "lag")]), 1.0);
    assert_eq!(scrape.sum("frontdesk_calls_admitted_total", &[]), 1.0);

    // It keeps up again: callers are let in, and the call that was in has not noticed.
    until(&address, |scrape| scrape.sum("frontdesk_ready", &[]) == 1.0).await;
    assert_eq!(get(&ready, None).await.0, 200);
    let report = running.await.unwrap();
    assert!(report.failures.is_empty(), "{report}");
    let again = run_call(&place.caller(&sid(rand::random())), &Script::parse(ASK).unwrap()).await;
    assert!(again.failures.is_empty(), "{again}");
    server.kill();
}
