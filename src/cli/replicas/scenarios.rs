//! What is done to the replicas while callers talk, and what must hold afterwards.

use super::cable::Way;
use super::crowd::{Caller, Crowd};
use super::fleet::{Deed, Fleet, Judged};
use super::judge::{Gap, most_within_one};
use super::talk;
use crate::config::database::DatabaseConfig;
use crate::db;
use crate::domain::appointment::Appointment;
use crate::sim::caller::report::CallReport;
use crate::sim::faults::{Fault, FaultRule, Service};
use crate::sim::load::stats::Spread;
use anyhow::Context as _;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a caller may be alone when a replica is restarted (`decisions.md`).
pub const RESTART: Duration = Duration::from_secs(3);
/// When one is killed.
pub const KILL: Duration = Duration::from_secs(5);
/// When one freezes: the lease of 6 s and five more.
pub const FREEZE: Duration = Duration::from_secs(11);
/// How long a replica is frozen, and a wire cut.
const OUTAGE: Duration = Duration::from_secs(20);
/// How long callers talk before anything is done to anybody, and after it.
const BEFORE: Duration = Duration::from_secs(12);
/// Time after a disturbance for every caller to ask and be answered once more.
const AFTER: Duration = Duration::from_secs(15);
/// Time within which every caller must have a stream.
const BEGIN: Duration = Duration::from_secs(60);
/// How long after a deed a stream may still break because of it.
const AFTERMATH: Duration = Duration::from_secs(8);
/// A gap shorter than this is not heard, ms: a call lets go in a pause, and words are as far apart in any talk.
const HEARD_MS: f64 = 200.0;

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Nothing.
    Calm,
    /// All replicas are restarted one after the other, twice.
    Rolling,
    /// The same once, with a new version whose migration runs while the others still serve.
    Upgrade,
    /// One replica is killed (`kill -9`).
    Kill,
    /// One replica freezes for 20 s (SIGSTOP).
    Freeze,
    /// No replica reaches Redis for 20 s.
    RedisCut,
    /// One replica does not reach Redis for 20 s.
    RedisCutOne,
    /// No replica reaches PostgreSQL for 20 s.
    PostgresCut,
    /// One replica does not reach PostgreSQL for 20 s.
    PostgresCutOne,
    /// Pairs of callers on different replicas want the same slot at the same time.
    Race,
}

impl Scenario {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::Calm,
        Self::Rolling,
        Self::Upgrade,
        Self::Kill,
        Self::Freeze,
        Self::RedisCut,
        Self::RedisCutOne,
        Self::PostgresCut,
        Self::PostgresCutOne,
        Self::Race,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "nothing happens",
            Self::Rolling => "rolling restart, twice",
            Self::Upgrade => "rolling restart, new version",
            Self::Kill => "kill -9 of one",
            Self::Freeze => "SIGSTOP of one for 20 s",
            Self::RedisCut => "Redis away for all, 20 s",
            Self::RedisCutOne => "Redis away for one, 20 s",
            Self::PostgresCut => "PostgreSQL away for all, 20 s",
            Self::PostgresCutOne => "PostgreSQL away for one, 20 s",
            Self::Race => "two callers, one slot",
        }
    }
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was done.
    pub scenario: Scenario,
    /// Calls.
    pub calls: usize,
    /// Calls that changed their replica.
    pub moved: usize,
    /// Calls that were lost.
    pub lost: usize,
    /// Questions, answers or ends that came twice.
    pub doubled: usize,
    /// Questions or answers that were lost.
    pub missing: usize,
    /// Times alone, ms.
    pub gaps: Spread,
    /// What else there is to say; the first of them against it if it did not pass.
    pub complaints: Vec<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Whether everything held.
    pub const fn passed(&self) -> bool {
        self.complaints.is_empty()
    }

    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:<30} {:>5} {:>5} {:>4} {:>7} {:>7}  {:>7} {:>7} {:>7}  {}",
            "scenario", "calls", "moved", "lost", "doubled", "missing", "gap p50", "p95", "max ms", "verdict"
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<30} {:>5} {:>5} {:>4} {:>7} {:>7}  {:>7.0} {:>7.0} {:>7.0}  {}",
            self.scenario.name(),
            self.calls,
            self.moved,
            self.lost,
            self.doubled,
            self.missing,
            self.gaps.p50,
            self.gaps.p95,
            self.gaps.max,
            if self.passed() { "passed" } else { "FAILED" }
        )?;
        for note in &self.notes {
            write!(f, "\n    {note}")?;
        }
        for complaint in self.complaints.iter().take(12) {
            write!(f, "\n    ! {complaint}")?;
        }
        if self.complaints.len() > 12 {
            write!(f, "\n    ! and {} more", self.complaints.len() - 12)?;
        }
        Ok(())
    }
}

/// How large it is to be.
#[derive(Clone, Debug)]
pub struct Size {
    /// Calls at once.
    pub calls: usize,
    /// Time over which they begin.
    pub ramp: Duration,
    /// The new version's program; the same if not given.
    pub next: Option<PathBuf>,
}

/// Does it, and judges every call.
pub async fn run(scenario: Scenario, fleet: &mut Fleet, size: &Size) -> anyhow::Result<Outcome> {
    fleet.mend().await?;
    match scenario {
        Scenario::Calm => calm(fleet, size).await,
        Scenario::Rolling => rolling(fleet, size, 2, false).await,
        Scenario::Upgrade => rolling(fleet, size, 1, true).await,
        Scenario::Kill => kill(fleet, size).await,
        Scenario::Freeze => freeze(fleet, size).await,
        Scenario::RedisCut | Scenario::RedisCutOne | Scenario::PostgresCut | Scenario::PostgresCutOne => {
            cut(fleet, size, scenario).await
        }
        Scenario::Race => race(fleet, size).await,
    }
}

/// Callers who talk, and how many of them are with whom.
async fn talking(fleet: &Fleet, callers: Vec<Caller>) -> anyhow::Result<Crowd> {
    let calls = callers.len();
    let crowd = fleet.ring(callers)?;
    crowd.until_talking(calls, BEGIN).await?;
    sleep(BEFORE).await;
    Ok(crowd)
}

/// Has the callers finish, and judges them.
async fn finish(
    scenario: Scenario,
    fleet: &Fleet,
    crowd: Crowd,
    deeds: &[Deed],
) -> anyhow::Result<(Outcome, Vec<Judged>)> {
    sleep(AFTER).await;
    crowd.enough();
    let placed = crowd.over().await?;
    let judged = fleet.judge(placed, deeds).await?;
    Ok((outcome(scenario, fleet, &judged), judged))
}

fn outcome(scenario: Scenario, fleet: &Fleet, judged: &[Judged]) -> Outcome {
    let count = |of: fn(&Judged) -> usize| judged.iter().map(of).sum::<usize>();
    let gaps: Vec<f64> = judged.iter().flat_map(|j| &j.verdict.gaps).map(|gap| gap.ms).collect();
    let mut complaints: Vec<String> = judged
        .iter()
        .flat_map(|j| {
            let sid = &j.placed.report.call_sid;
            j.verdict.complaints().map(move |what| format!("{sid}: {what}"))
        })
        .collect();
    // Who is frozen sends nothing, which a recogniser does not like.
    let frozen = |text: &str| scenario == Scenario::Freeze && text.contains("NET-0001");
    let objections = fleet.vendors.violations();
    let objections = objections.iter().filter(|violation| !frozen(&violation.text));
    complaints.extend(objections.map(|violation| format!("a vendor objects: {violation:?}")));
    let mut notes = Vec::new();
    let repeated: usize = judged.iter().map(|j| j.verdict.repeated).sum();
    if repeated > 0 {
        notes.push(format!("{repeated} answers of the last moment before were said again: nobody could know that they were heard"));
    }
    let lag = judged.iter().map(|j| j.placed.report.lag.p99_ms).fold(0.0, f64::max);
    if lag > 50.0 {
        notes.push(format!("the callers themselves were late by {lag:.0} ms (p99): the machine is full"));
    }
    Outcome {
        scenario,
        calls: judged.len(),
        moved: count(|j| usize::from(served_by(&j.placed.report).len() > 1)),
        lost: count(|j| usize::from(j.verdict.lost.is_some())),
        doubled: count(|j| j.verdict.doubled.len()),
        missing: count(|j| j.verdict.missing.len()),
        gaps: Spread::of(&gaps),
        complaints,
        notes,
    }
}

/// The replicas that had the call.
fn served_by(report: &CallReport) -> BTreeSet<&str> {
    report.streams.iter().filter_map(|stream| stream.served_by.as_deref()).collect()
}

async fn calm(fleet: &mut Fleet, size: &Size) -> anyhow::Result<Outcome> {
    let callers = fleet.askers(size.calls, size.ramp);
    let crowd = talking(fleet, callers).await?;
    Ok(finish(Scenario::Calm, fleet, crowd, &[]).await?.0)
}

async fn rolling(fleet: &mut Fleet, size: &Size, rounds: usize, upgrade: bool) -> anyhow::Result<Outcome> {
    let scenario = if upgrade { Scenario::Upgrade } else { Scenario::Rolling };
    let callers = fleet.askers(size.calls, size.ramp);
    let crowd = talking(fleet, callers).await?;
    let (mut deeds, mut left, mut begun) = (Vec::new(), Vec::new(), Vec::new());
    // New ones ring all the while.
    let more = fleet.askers((size.calls / 10).max(3), Duration::from_secs(30));
    let newcomers = fleet.ring(more)?;
    for round in 0..rounds {
        begun.push(Instant::now());
        for index in 0..fleet.replicas.len() {
            if upgrade && round == 0 && index == 0 {
                migrate(&fleet.database).await?;
            }
            let gone = fleet.replace(index, size.next.as_deref().filter(|_| upgrade)).await?;
            left.push(gone.took.as_secs_f64());
            deeds.push(Deed {
                replica: Some(gone.replica),
                from: gone.told,
                until: Instant::now() + Duration::from_secs(1),
                silent: false,
                abrupt: false,
                allowed: RESTART,
            });
        }
    }
    newcomers.enough();
    let (mut outcome, judged) = finish(scenario, fleet, crowd, &deeds).await?;
    let came = fleet.judge(newcomers.over().await?, &deeds).await?;
    let why = came.iter().flat_map(|j| j.verdict.complaints());
    outcome.complaints.extend(why.map(|why| format!("a call that came meanwhile: {why}")));
    outcome.notes.push(format!("{} more rang meanwhile", came.len()));
    let longest = left.iter().copied().fold(0.0, f64::max);
    outcome.notes.push(format!("{} restarts, each gone within {longest:.1} s of SIGTERM", left.len()));
    let (note, complaint) = moved_again(&judged, &begun);
    outcome.notes.push(note);
    outcome.complaints.extend(complaint);
    if upgrade {
        outcome.notes.push(match &size.next {
            Some(next) => format!("new version: {}", next.display()),
            None => "same binary; name the next one with --next".to_owned(),
        });
    }
    if outcome.moved == 0 {
        outcome.complaints.push("no call was moved: nothing is shown".to_owned());
    }
    Ok(outcome)
}

/// How many callers were moved more than once: in all, and within one of the rounds that began then. A successor is there
/// before a replica goes and is the emptiest of all, so most are moved once; the balancer may still send one who comes late
/// to a replica that has yet to go. What no caller is to have is more than one gap in a round that can be heard.
fn moved_again(judged: &[Judged], rounds: &[Instant]) -> (String, Option<String>) {
    let most = judged.iter().map(|j| j.verdict.gaps.len()).max().unwrap_or_default();
    let more = judged.iter().filter(|j| j.verdict.gaps.len() > 1).count();
    let within = |j: &Judged, least_ms: f64| {
        let began = j.placed.began;
        let spans = rounds.iter().map(|at| at.saturating_duration_since(began).as_secs_f64() * 1_000.0);
        let gaps: Vec<Gap> = j.verdict.gaps.iter().filter(|gap| gap.ms >= least_ms).cloned().collect();
        most_within_one(&gaps, &spans.collect::<Vec<_>>())
    };
    let again = |least_ms: f64| judged.iter().filter(|j| within(j, least_ms) > 1).count();
    let (moved, heard) = (again(0.0), again(HEARD_MS));
    let note = format!(
        "{more} of {} callers were moved more than once ({most} times at most), {moved} within one round; {heard} heard more \
         than one gap (from {HEARD_MS} ms on) within one round",
        judged.len(),
    );
    (note, (heard > 0).then(|| format!("{heard} callers heard more than one gap within one round")))
}

/// A migration of a version to come: it adds, and takes nothing away.
const MIGRATION: &str = "\
ALTER TABLE calls ADD COLUMN drill_note TEXT;
ALTER TABLE turns ADD COLUMN drill_note TEXT NOT NULL DEFAULT '';
ALTER TABLE appointments ADD COLUMN drill_note TEXT;
CREATE INDEX drill_notes ON calls (drill_note);
CREATE TABLE drill_of_calls (call_id BIGINT NOT NULL REFERENCES calls (id) ON DELETE CASCADE);
";

/// Runs that migration as a new version's start does, under the same lock.
async fn migrate(database: &DatabaseConfig) -> anyhow::Result<()> {
    let database = database.clone();
    let done = actix_web::web::block(move || {
        let folder = crate::cli::simulate::Scratch::new()?;
        let migration = folder.path().join("9999-12-31-235959_drill");
        std::fs::create_dir_all(&migration).context("the migration's folder")?;
        std::fs::write(migration.join("up.sql"), MIGRATION).context("the migration's text")?;
        std::fs::write(migration.join("down.sql"), "SELECT 1;").context("the migration's text")?;
        db::migrate_from(&database, folder.path()).context("the new version's migration")
    });
    done.await.context("the migration's thread was stopped")?
}

async fn kill(fleet: &mut Fleet, size: &Size) -> anyhow::Result<Outcome> {
    let callers = fleet.askers(size.calls, size.ramp);
    let crowd = talking(fleet, callers).await?;
    let name = busiest(&crowd)?;
    let from = Instant::now();
    fleet.named(&name)?.kill()?;
    let deed = Deed {
        replica: Some(name.clone()),
        from,
        until: Instant::now() + Duration::from_secs(2),
        silent: false,
        abrupt: true,
        allowed: KILL,
    };
    let (mut outcome, judged) = finish(Scenario::Kill, fleet, crowd, &[deed]).await?;
    must_have_left(&mut outcome, &judged, &name);
    Ok(outcome)
}

/// The replica with the most calls.
fn busiest(crowd: &Crowd) -> anyhow::Result<String> {
    let mut calls: HashMap<String, usize> = HashMap::new();
    for name in crowd.whereabouts().into_values() {
        *calls.entry(name).or_default() += 1;
    }
    let most = calls.into_iter().max_by_key(|(_, calls)| *calls);
    Ok(most.context("nobody talks")?.0)
}

/// Calls of this replica must have gone on elsewhere.
fn must_have_left(outcome: &mut Outcome, judged: &[Judged], name: &str) {
    let gaps = judged.iter().flat_map(|j| &j.verdict.gaps).filter(|gap| gap.from == name);
    let (left, stayed) =
        gaps.fold(
            (0, 0),
            |(left, stayed), gap| {
                if gap.to == name { (left, stayed + 1) } else { (left + 1, stayed) }
            },
        );
    outcome.notes.push(format!("{left} calls of {name} went on at another"));
    if left == 0 {
        outcome.complaints.push(format!("no call of {name} went on elsewhere: nothing is shown"));
    }
    if stayed > 0 {
        outcome.complaints.push(format!("{stayed} calls came back to {name}"));
    }
}

async fn freeze(fleet: &mut Fleet, size: &Size) -> anyhow::Result<Outcome> {
    let mut callers = fleet.askers(size.calls.saturating_sub(1), size.ramp);
    // The model is slow about the booking: the replica is frozen while it waits for the answer, and wakes up to it.
    let slow = Fault::Slow { ms: 3_000 };
    fleet.vendors.faults.add(FaultRule::once(Service::Openai, slow).containing(talk::BOOKING));
    let books = Arc::new(talk::books(&fleet.items));
    let booker = fleet.caller(&books, size.ramp);
    let sid = booker.sid.clone();
    callers.push(booker);
    let calls = callers.len();
    let crowd = fleet.ring(callers)?;
    crowd.until_talking(calls, BEGIN).await?;
    let deadline = Instant::now() + BEGIN;
    while !fleet.vendors.faults.rules().is_empty() {
        anyhow::ensure!(Instant::now() < deadline, "nobody wants to book");
        sleep(Duration::from_millis(20)).await;
    }
    let name = crowd.whereabouts().remove(&sid).context("where the one who books is is not known")?;
    let from = Instant::now();
    fleet.named(&name)?.freeze()?;
    sleep(OUTAGE).await;
    fleet.named(&name)?.thaw()?;
    let deed = Deed {
        replica: Some(name.clone()),
        from,
        until: Instant::now(),
        silent: true,
        abrupt: true,
        allowed: FREEZE,
    };
    let (mut outcome, judged) = finish(Scenario::Freeze, fleet, crowd, &[deed]).await?;
    must_have_left(&mut outcome, &judged, &name);
    let booked = appointments(fleet).await?;
    let of_booker = booked.get(&sid).map_or(0, Vec::len);
    outcome.notes.push(format!("who booked while it froze has {of_booker} appointment"));
    if of_booker != 1 {
        outcome.complaints.push(format!("who booked while it froze has {of_booker} appointments"));
    }
    Ok(outcome)
}

/// All appointments that stand, by the call they were booked in.
async fn appointments(fleet: &Fleet) -> anyhow::Result<HashMap<String, Vec<Appointment>>> {
    let all = fleet.db.appointments(10_000).await.context("the appointments cannot be read")?;
    let mut by_call: HashMap<String, Vec<Appointment>> = HashMap::new();
    for appointment in all {
        if let Some(call) = &appointment.call {
            by_call.entry(call.to_string()).or_default().push(appointment.clone());
        }
    }
    Ok(by_call)
}

/// Cuts wires for a while: half of the time no byte passes, half of it connections are refused.
async fn cut(fleet: &mut Fleet, size: &Size, scenario: Scenario) -> anyhow::Result<Outcome> {
    let one = matches!(scenario, Scenario::RedisCutOne | Scenario::PostgresCutOne);
    let redis = matches!(scenario, Scenario::RedisCut | Scenario::RedisCutOne);
    let mut callers = fleet.askers(size.calls, size.ramp);
    let leaves = Arc::new(talk::leaves_a_message(&fleet.items, BEFORE.as_millis() as u64));
    if scenario == Scenario::PostgresCut {
        callers.push(fleet.caller(&leaves, size.ramp));
    }
    let crowd = talking(fleet, callers).await?;
    let name = if one { Some(busiest(&crowd)?) } else { None };
    let set = |fleet: &Fleet, way: Way| {
        for replica in &fleet.replicas {
            if name.as_ref().is_some_and(|name| *name != replica.name) {
                continue;
            }
            if redis { replica.set_redis(way) } else { replica.set_database(way) }
        }
    };
    let from = Instant::now();
    set(fleet, Way::Held);
    sleep(OUTAGE / 10).await;
    // Who rings meanwhile.
    let more = fleet.askers((size.calls / 10).max(2), OUTAGE / 4);
    let later = more.len();
    let newcomers = fleet.ring(more)?;
    sleep(OUTAGE * 4 / 10).await;
    set(fleet, Way::Cut);
    sleep(OUTAGE / 2).await;
    newcomers.enough();
    set(fleet, Way::Open);
    // Who is cut off from Redis is cut off from nobody's call; from the database, others go on with the calls of one.
    let allowed = if scenario == Scenario::PostgresCutOne { FREEZE } else { Duration::ZERO };
    let deed = Deed {
        replica: name.clone(),
        from,
        until: Instant::now() + AFTERMATH,
        silent: false,
        abrupt: false,
        allowed,
    };
    let deeds = [deed];
    let (mut outcome, judged) = finish(scenario, fleet, crowd, &deeds).await?;
    let came = fleet.judge(newcomers.over().await?, &deeds).await?;
    // Whoever rings meanwhile is greeted and answered; they may need a second stream for it.
    let well = came.iter().filter(|j| j.verdict.harm().next().is_none()).count();
    let breaks: Vec<f64> = came.iter().flat_map(|j| &j.verdict.gaps).map(|gap| gap.ms).collect();
    outcome.notes.push(format!(
        "{well} of {later} calls that came meanwhile were greeted and answered, with {} streams more than needed (gaps up to {:.0} ms)",
        breaks.len(),
        Spread::of(&breaks).max
    ));
    for judged in &came {
        let heard = judged.placed.report.heard_text();
        let harm = judged.verdict.harm();
        let told = harm.map(|why| format!("a call that came meanwhile: {why}; it heard {heard:?}"));
        outcome.complaints.extend(told);
    }
    if scenario == Scenario::PostgresCut {
        message_is_kept(fleet, &mut outcome, &judged).await?;
    }
    Ok(outcome)
}

/// The message of who wanted to book stands there once.
async fn message_is_kept(fleet: &Fleet, outcome: &mut Outcome, judged: &[Judged]) -> anyhow::Result<()> {
    let sids: BTreeSet<&str> = judged
        .iter()
        .filter(|j| j.placed.report.script == "leaves a message")
        .map(|j| j.placed.report.call_sid.as_str())
        .collect();
    let messages = fleet.db.messages(10_000).await.context("the messages cannot be read")?;
    let kept = messages
        .iter()
        .filter(|message| sids.contains(message.call.as_str()) && message.text.contains(talk::MESSAGE))
        .count();
    outcome.notes.push(format!("who could not book left {kept} message"));
    if kept != 1 {
        outcome.complaints.push(format!("who could not book left {kept} messages"));
    }
    Ok(())
}

async fn race(fleet: &mut Fleet, size: &Size) -> anyhow::Result<Outcome> {
    let pairs = (size.calls / 2).clamp(1, 50);
    let mut callers = Vec::new();
    for pair in 0..pairs {
        let script = Arc::new(talk::races(pair));
        // The two ring at the same moment and say the same.
        let at = size.ramp.mul_f64(pair as f64 / pairs as f64);
        callers.extend([fleet.caller(&script, at), fleet.caller(&script, at)]);
    }
    let crowd = fleet.ring(callers)?;
    let placed = crowd.over().await?;
    let judged = fleet.judge(placed, &[]).await?;
    let mut outcome = outcome(Scenario::Race, fleet, &judged);
    let booked = appointments(fleet).await?;
    let mut apart = 0;
    for pair in 0..pairs {
        let words = talk::race_words(pair);
        let of_pair: Vec<&Judged> =
            judged.iter().filter(|j| j.placed.report.turns.iter().any(|turn| turn.said == words)).collect();
        let stand: usize =
            of_pair.iter().map(|j| booked.get(&j.placed.report.call_sid).map_or(0, Vec::len)).sum();
        let told = of_pair.iter().filter(|j| j.placed.report.heard_text().contains("is booked")).count();
        if (of_pair.len(), stand, told) != (2, 1, 1) {
            let heard: Vec<String> = of_pair.iter().map(|j| j.placed.report.heard_text()).collect();
            outcome.complaints.push(format!(
                "race {pair}: {} callers, {stand} appointments, {told} were told that they have it: {heard:?}",
                of_pair.len()
            ));
        }
        let replicas: BTreeSet<&str> = of_pair.iter().flat_map(|j| served_by(&j.placed.report)).collect();
        apart += usize::from(replicas.len() > 1);
    }
    outcome.notes.push(format!("{pairs} races, {apart} of them between two replicas"));
    if apart == 0 {
        outcome.complaints.push("no race was between two replicas: nothing is shown".to_owned());
    }
    Ok(outcome)
}

/// Where what went wrong is kept for a look, if anything did.
pub fn logs_of(outcomes: &[Outcome], fleet: &Fleet, to: &Path) -> anyhow::Result<bool> {
    if outcomes.iter().all(Outcome::passed) {
        return Ok(false);
    }
    fleet.keep_logs(to)?;
    Ok(true)
}
