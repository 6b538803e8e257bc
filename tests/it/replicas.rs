//! Several servers on one PostgreSQL database, behind a balancer that sends each request where the test wants it. They reach
//! each other over Redis where `TEST_REDIS_URL` names one, else within the process.

use crate::support::database::{TestDatabase, use_postgres};
use crate::support::{barbershop, check_waits};
use frontdesk::app::{Server, run_among};
use frontdesk::cli::stack::{caller, knowing_the_account, local_config, use_vendors};
use frontdesk::cluster::{Cluster, Hub};
use frontdesk::db::Database;
use frontdesk::domain::call::EndReason;
use frontdesk::domain::ids::{CallSid, ReplicaId};
use frontdesk::domain::turn::{Speaker, TurnRecord};
use frontdesk::registry::messages::{CountLive, ListLive};
use frontdesk::sim::caller::report::CallReport;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::{Vendors, VendorsConfig, VendorsHandle};
use secrecy::SecretString;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Which server a request goes to, by its path.
type Route = Box<dyn FnMut(&str) -> usize + Send>;

/// Sends each request to a server, over a connection of its own.
struct Balancer {
    address: SocketAddr,
    route: Arc<Mutex<Route>>,
    accepting: actix_rt::task::JoinHandle<()>,
}

impl Balancer {
    async fn start(route: Route) -> (Self, Arc<Mutex<Vec<SocketAddr>>>) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let servers: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let route = Arc::new(Mutex::new(route));
        let (known, by) = (Arc::clone(&servers), Arc::clone(&route));
        let accepting = actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (known, by) = (Arc::clone(&known), Arc::clone(&by));
                actix_rt::spawn(async move {
                    // A peer that goes away in between is what tests are about.
                    let _ = pass(stream, &known, &by).await;
                });
            }
        });
        (Self { address, route, accepting }, servers)
    }

    fn send_to(&self, route: impl FnMut(&str) -> usize + Send + 'static) {
        *self.route.lock().unwrap() = Box::new(route);
    }
}

async fn pass(
    mut from: TcpStream,
    servers: &Mutex<Vec<SocketAddr>>,
    route: &Mutex<Route>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if from.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let at = (route.lock().unwrap())(path.split('?').next().unwrap_or("/"));
    let server = servers.lock().unwrap()[at];
    let mut to = TcpStream::connect(server).await?;
    if !path.contains("/stream") || path.contains("status") {
        // The next request may go elsewhere.
        let end = head.windows(2).position(|w| w == b"\r\n").unwrap_or(0);
        head.splice(end..end, b"\r\nConnection: close".iter().copied());
    }
    to.write_all(&head).await?;
    tokio::io::copy_bidirectional(&mut from, &mut to).await?;
    Ok(())
}

struct Replicas {
    servers: Vec<Option<Server>>,
    vendors: VendorsHandle,
    balancer: Balancer,
    database: Database,
    folder: PathBuf,
    // Held for its end.
    _own: TestDatabase,
}

impl Replicas {
    async fn start(n: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("frontdesk-it-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let own = TestDatabase::new(&folder);
        let vendors = Vendors::start(knowing_the_account(VendorsConfig::default()), None).expect("vendors");
        let (balancer, addresses) = Balancer::start(Box::new(|_| 0)).await;
        let (hub, prefix) = (Hub::new(), format!("it-{:016x}", rand::random::<u64>()));
        let mut servers = Vec::new();
        for i in 0..n {
            let mut config = local_config(&balancer.address.to_string(), &folder.join("none"));
            use_vendors(&mut config, &vendors);
            config.database.url.clone_from(&own.url);
            config.database.spool = Some(folder.join(format!("messages-{i}")).display().to_string());
            config.server.secret = Some(SecretString::from("all replicas know this secret".to_owned()));
            config.server.workers = 1;
            config.server.handover_ms = 4_000;
            config.cluster.heartbeat_ms = 300;
            // None is taken for dead here because the machine is busy.
            config.cluster.lease_ms = 30_000;
            config.cluster.url = std::env::var("TEST_REDIS_URL").ok();
            config.cluster.prefix.clone_from(&prefix);
            let id = ReplicaId::from_bits(rand::random());
            let cluster = match &config.cluster.url {
                Some(_) => Cluster::connect(&config.cluster, id).await.expect("Redis is there"),
                None => hub.join(id),
            };
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
            let mut profile = barbershop();
            profile.transfer_number = None;
            let server = run_among(cluster, config, profile, listener).await.expect("it starts");
            addresses.lock().unwrap().push(server.address);
            servers.push(Some(server));
        }
        let config = frontdesk::config::database::DatabaseConfig {
            url: own.url.clone(),
            spool: Some(folder.join("spool").display().to_string()),
            ..Default::default()
        };
        let system = actix::System::current();
        let database = actix_web::web::block(move || {
            actix::System::set_current(system);
            Database::open(&config, ReplicaId::from_bits(rand::random())).expect("the database opens")
        });
        let database = database.await.unwrap();
        Self { servers, vendors, balancer, database, folder, _own: own }
    }

    fn server(&self, i: usize) -> &Server {
        self.servers[i].as_ref().expect("it is there")
    }

    /// Places a call in the background.
    fn place(&self, script: &str) -> (CallSid, actix_rt::task::JoinHandle<CallReport>) {
        let script = Script::parse(script).unwrap_or_else(|error| panic!("bad script: {error}"));
        let sid = format!("CA{:032x}", rand::random::<u128>());
        let mut config = caller(&format!("http://{}", self.balancer.address));
        config.sid = Some(sid.clone());
        config.rest_url = Some(self.vendors.twilio_url.clone());
        let calling = actix_rt::spawn(async move { run_call(&config, &script).await });
        (CallSid::from(sid.as_str()), calling)
    }

    async fn turns(&self, sid: &CallSid) -> Vec<TurnRecord> {
        self.database.turns(sid.clone()).await.unwrap_or_default()
    }

    async fn until(&self, sid: &CallSid, what: &str, holds: impl Fn(&[TurnRecord]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let turns = self.turns(sid).await;
            if holds(&turns) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} does not come about: {turns:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end_of(&self, sid: &CallSid) -> EndReason {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let call = self.database.call_overview(sid.clone()).await.unwrap();
            if let Some(reason) = call.and_then(|call| call.end_reason) {
                return reason;
            }
            assert!(Instant::now() < deadline, "the call does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn events(&self, sid: &CallSid) -> Vec<String> {
        let events = self.database.events(sid.clone()).await.unwrap();
        events.into_iter().map(|row| row.event.code).collect()
    }

    async fn close(mut self) {
        for server in self.servers.iter_mut().filter_map(Option::take) {
            server.stop().await;
        }
        self.balancer.accepting.abort();
        self.database.shutdown().await;
        let violations = self.vendors.violations();
        self.vendors.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
        assert!(violations.is_empty(), "a vendor objects: {violations:?}");
    }
}

/// Each thing that was said is in the transcript, once.
fn check_transcript(turns: &[TurnRecord], said: &[&str]) {
    for words in said {
        let count = turns.iter().filter(|t| t.speaker == Speaker::Caller && t.said.contains(words)).count();
        assert_eq!(count, 1, "{words:?} in {turns:?}");
    }
    let numbers: Vec<u32> = turns.iter().map(|t| t.n).collect();
    assert!(numbers.windows(2).all(|w| w[0] < w[1]), "{numbers:?}");
}

fn check_report(report: &CallReport) {
    assert_eq!(report.violations.count, 0, "{:?}", report.violations);
    assert!(report.failures.is_empty(), "{:?}\n{report}", report.failures);
    check_waits(report);
}

const BREAKS: &str = r#"
    name = "breaks"
    limit_ms = 90000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    drop_socket = true
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "And where are you?"
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "That is all, goodbye."
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

#[actix::test]
async fn each_request_about_a_call_may_come_to_another_replica() {
    if !use_postgres() {
        return;
    }
    let replicas = Replicas::start(3).await;
    // The webhook comes to the first; each stream, question and callback to whoever is next.
    let mut next = 0;
    replicas.balancer.send_to(move |path| {
        if path.ends_with("/incoming") {
            return 0;
        }
        next += 1;
        next % 3
    });
    let (sid, calling) = replicas.place(BREAKS);
    let report = calling.await.unwrap();
    check_report(&report);
    assert_eq!(report.streams.len(), 2, "{report}");
    assert_eq!(replicas.end_of(&sid).await, EndReason::Completed);
    let turns = replicas.turns(&sid).await;
    check_transcript(&turns, &["opening hours", "where are you", "goodbye"]);
    let events = replicas.events(&sid).await;
    for code in ["call.moved", "call.resumed"] {
        assert!(events.iter().any(|event| event == code), "{code} is not among {events:?}");
    }
    assert!(!events.iter().any(|event| event == "call.taken_over"), "{events:?}");
    assert_eq!(events.iter().filter(|code| *code == "call.ended").count(), 1, "{events:?}");
    replicas.close().await;
}

const LONG: &str = r#"
    name = "long"
    limit_ms = 90000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your opening hours?"
    [[step]]
    wait_for = "reply"
    [[step]]
    pause_ms = 6000
    [[step]]
    say = "And where are you?"
    [[step]]
    wait_for = "reply"
    [[step]]
    say = "That is all, goodbye."
    [[step]]
    expect_end = "hangup"
    within_ms = 30000
"#;

fn is_answered(turns: &[TurnRecord]) -> bool {
    let asked = turns.iter().position(|t| t.said.contains("opening hours"));
    asked.is_some_and(|at| turns.iter().skip(at).any(|t| t.speaker == Speaker::Bot && !t.heard.is_empty()))
}

#[actix::test]
async fn a_call_of_a_replica_that_is_about_to_end_goes_on_at_another_with_nothing_lost_or_doubled() {
    if !use_postgres() {
        return;
    }
    let mut replicas = Replicas::start(2).await;
    let (sid, calling) = replicas.place(LONG);
    replicas.until(&sid, "an answer", is_answered).await;
    // Staff see it from anywhere.
    let list = replicas.server(1).registry.send(ListLive).await.unwrap();
    assert_eq!(list.iter().map(|call| &call.facts.sid).collect::<Vec<_>>(), [&sid]);
    replicas.balancer.send_to(|_| 1);
    let ending = replicas.servers[0].take().expect("it is there");
    let began = Instant::now();
    ending.drain(std::future::pending()).await;
    assert!(began.elapsed() < Duration::from_secs(30), "it waits for nobody");
    let deadline = Instant::now() + Duration::from_secs(30);
    while replicas.server(1).registry.send(CountLive).await.unwrap().here != 1 {
        assert!(Instant::now() < deadline, "the call is not there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = calling.await.unwrap();
    check_report(&report);
    assert_eq!(report.streams.len(), 2, "{report}");
    assert_eq!(replicas.end_of(&sid).await, EndReason::Completed);
    let turns = replicas.turns(&sid).await;
    check_transcript(&turns, &["opening hours", "where are you", "goodbye"]);
    let events = replicas.events(&sid).await;
    assert!(events.iter().any(|event| event == "call.moved"), "{events:?}");
    assert_eq!(replicas.database.call_overview(sid).await.unwrap().unwrap().breaks, 0);
    replicas.close().await;
}
