//! What every whole-call test needs: a stack of its own on free ports with a fresh database, and words to ask it with.

pub mod database;
mod postgres;
pub mod process;

use database::TestDatabase;
use frontdesk::cli::stack::Stack;
use frontdesk::config::Config;
use frontdesk::config::database::DatabaseConfig;
use frontdesk::config::profile;
use frontdesk::db::DbHandle;
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::profile::BusinessProfile;
use frontdesk::domain::turn::{Speaker, TurnRecord};
use frontdesk::sim::caller::report::CallReport;
use frontdesk::sim::caller::run_call;
use frontdesk::sim::faults::FaultRule;
use frontdesk::sim::script::Script;
use frontdesk::sim::vendors::VendorsConfig;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

/// The longest a caller may wait without the bot's voice (TALK-3, CALL-2), ms.
pub const LONGEST_WAIT_MS: f64 = 4_000.0;

/// The built-in barbershop, without a person to be transferred to.
pub fn barbershop() -> BusinessProfile {
    let mut profile = profile::parse(profile::BARBERSHOP).expect("the built-in profile is valid");
    profile.transfer_number = None;
    // Open at any time, so that no test depends on the hour it runs at.
    for day in &mut profile.hours {
        *day = Some(frontdesk::domain::profile::OpenHours {
            open: frontdesk::domain::profile::MinuteOfDay(0),
            close: frontdesk::domain::profile::MinuteOfDay(1440),
        });
    }
    profile.breaks.clear();
    profile.closures.clear();
    profile
}

/// Checks that nobody was kept waiting. What the simulated caller itself was late at most is left out: a machine that
/// stands still for so long says nothing of the server.
pub fn check_waits(report: &CallReport) {
    assert!(report.longest_wait_ms <= LONGEST_WAIT_MS + report.lag.max_ms, "{report}");
}

/// A time zone in which it is about noon now, so that no day ends while a test adds up what a day has cost.
pub fn zone_with_noon() -> String {
    let east = 12 - i32::from(jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour());
    // These count to the west.
    let sign = if east > 0 { '-' } else { '+' };
    format!("Etc/GMT{sign}{}", east.abs())
}

/// A front desk of a test's own. Its files go with it.
pub struct Desk {
    stack: Option<Stack>,
    folder: PathBuf,
    /// Its database.
    pub database: DatabaseConfig,
    // Held for its end.
    _own: TestDatabase,
}

impl Desk {
    /// The usual one.
    pub async fn open() -> Self {
        Self::with(barbershop(), VendorsConfig::default(), |_| {}).await
    }

    /// One of a special kind.
    pub async fn with(
        profile: BusinessProfile,
        vendors: VendorsConfig,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = std::env::temp_dir().join(format!("frontdesk-it-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let own = TestDatabase::new(&folder);
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let mut database = DatabaseConfig::default();
        let stack = Stack::start(listener, &folder.join("test.db"), profile, vendors, |config| {
            config.server.workers = 1;
            config.database.url.clone_from(&own.url);
            config.database.spool = Some(folder.join("messages").display().to_string());
            change(config);
            database = config.database.clone();
        })
        .await
        .expect("the stack starts");
        Self { stack: Some(stack), folder, database, _own: own }
    }

    /// One on SQLite, and one on PostgreSQL unless that is to be left out.
    pub async fn each(profile: &BusinessProfile, change: impl Fn(&mut Config)) -> Vec<Self> {
        let mut all = vec![Self::with(profile.clone(), VendorsConfig::default(), &change).await];
        if database::use_postgres() {
            all.push(Self::with(profile.clone(), VendorsConfig::default(), &change).await);
            database::use_sqlite();
        }
        all
    }

    pub fn stack(&self) -> &Stack {
        self.stack.as_ref().expect("not closed yet")
    }

    pub fn db(&self) -> &DbHandle {
        &self.stack().server.db
    }

    /// Has a fault strike.
    pub fn fault(&self, rule: FaultRule) {
        self.stack().vendors.faults.add(rule);
    }

    /// Adds sample calls and customers, as `frontdesk seed` does.
    pub async fn seed(&self, calls: u32, customers: u32) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_frontdesk"));
        command
            .args(["seed", "--calls", &calls.to_string(), "--customers", &customers.to_string()])
            .env_clear()
            .env("DATABASE_URL", &self.database.url)
            .current_dir(&self.folder);
        let done = actix_web::web::block(move || command.output()).await.unwrap().expect("it can be run");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// Places a call by a script in TOML.
    pub async fn call(&self, script: &str) -> Call {
        let script = Script::parse(script).unwrap_or_else(|error| panic!("bad script: {error}"));
        let report = run_call(&self.stack().caller(), &script).await;
        self.after(report).await
    }

    /// Places a call by a script in TOML, in the background.
    pub fn calling(&self, script: &str) -> actix_rt::task::JoinHandle<CallReport> {
        let script = Script::parse(script).unwrap_or_else(|error| panic!("bad script: {error}"));
        let caller = self.stack().caller();
        actix_rt::spawn(async move { run_call(&caller, &script).await })
    }

    /// What the database knows of a call that was placed.
    pub async fn after(&self, report: CallReport) -> Call {
        let sid = CallSid::from(report.call_sid.as_str());
        self.ended(&sid).await;
        let db = self.db();
        let overview = db.call_overview(sid.clone()).await.expect("readable").expect("the call is recorded");
        let turns = db.turns(sid.clone()).await.expect("readable");
        let events = db.events(sid).await.expect("readable").into_iter().map(|e| e.event.code).collect();
        Call { report, overview, turns, events }
    }

    /// Waits until the end of a call is recorded.
    pub async fn ended(&self, sid: &CallSid) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(45);
        loop {
            self.db().flush().await.expect("the database works");
            let call = self.db().call_overview(sid.clone()).await.expect("readable");
            if call.is_some_and(|c| c.ended_at.is_some()) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "the call {sid} does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops everything; no vendor may have anything to object.
    pub async fn close(mut self) {
        let stack = self.stack.take().expect("closed once");
        let violations = stack.vendors.violations();
        stack.stop().await;
        assert!(violations.is_empty(), "a vendor objects: {violations:?}");
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A call that was placed.
pub struct Call {
    pub report: CallReport,
    pub overview: frontdesk::db::CallOverview,
    pub turns: Vec<TurnRecord>,
    pub events: Vec<String>,
}

impl Call {
    /// What the caller said, as it was understood.
    pub fn caller_said(&self) -> String {
        let said: Vec<&str> =
            self.turns.iter().filter(|t| t.speaker == Speaker::Caller).map(|t| t.said.as_str()).collect();
        said.join(" | ")
    }

    /// Checks what holds for every call: no rule broken, nothing after a clear, nobody kept waiting.
    pub fn is_sound(&self) -> &Self {
        assert!(self.report.violations.count == 0, "{:?}", self.report.violations);
        assert!(self.report.failures.is_empty(), "{:?}\n{}", self.report.failures, self.report);
        assert!(self.report.turns.iter().all(|t| t.voice_after_clear_bytes == 0), "{}", self.report);
        check_waits(&self.report);
        self
    }

    pub fn has_event(&self, code: &str) -> &Self {
        assert!(self.events.iter().any(|e| e == code), "{code} is not among {:?}", self.events);
        self
    }

    /// How often the caller heard a text.
    pub fn times_heard(&self, text: &str) -> usize {
        let heard = normal(&self.report.heard_text());
        heard.matches(&normal(text)).count()
    }
}

fn normal(text: &str) -> String {
    text.to_lowercase()
        .split_whitespace()
        .map(|w| w.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
