//! Counters by quarter of an hour, kept in the transaction of whatever they count, so that nobody has to count rows.
//!
//! What a call is and becomes counts in the quarter in which it began; a turn, an event, a booking in the quarter in
//! which it happened.

use super::cached::{Put, Value};
use super::connect::{AnyConnection, on_either};
use super::error::DbError;
use super::schema::totals;
use crate::domain::call::{Direction, EndReason};
use crate::domain::time::UnixMillis;
use crate::domain::turn::StageLatencies;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, OnceLock};

/// The length of one row's time, ms: every zone's hours and days are made of these.
pub const QUARTER_MS: i64 = 15 * 60_000;

/// Upper ends of the classes of latencies, ms; the last class is open.
pub const LATENCY_BOUNDS: [u32; 14] =
    [100, 200, 300, 400, 500, 600, 800, 1_000, 1_250, 1_500, 2_000, 2_500, 3_000, 5_000];

/// Classes of latencies.
pub const LATENCY_CLASSES: usize = LATENCY_BOUNDS.len() + 1;

/// The stages of an answer that are measured, as they are named in `StageLatencies`.
pub const STAGES: [&str; 5] =
    ["end_of_turn_ms", "first_token_ms", "first_sentence_ms", "first_audio_ms", "first_sent_ms"];

/// Processes that write at once write rows of their own as often as not.
const SHARDS: i64 = 16;

/// This process's rows.
pub(super) fn shard() -> i64 {
    static SHARD: OnceLock<i64> = OnceLock::new();
    *SHARD.get_or_init(|| i64::from(rand::random::<u8>()) % SHARDS)
}

/// The beginning of the quarter in which a time lies.
pub(super) const fn quarter(at: i64) -> i64 {
    at.div_euclid(QUARTER_MS).saturating_mul(QUARTER_MS)
}

/// A counter of the table `activity`: the column's name.
pub(super) type Counter = &'static str;

pub(super) const fn direction_counter(direction: Direction) -> Counter {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

pub(super) const fn end_counter(reason: EndReason) -> Counter {
    match reason {
        EndReason::Completed => "ended_completed",
        EndReason::Transferred => "ended_transferred",
        EndReason::MessageTaken => "ended_message_taken",
        EndReason::Apology => "ended_apology",
        EndReason::Silence => "ended_silence",
        EndReason::MaxDuration => "ended_max_duration",
        EndReason::Lost => "ended_lost",
        EndReason::SpendCap => "ended_spend_cap",
        EndReason::Ended => "ended_ended",
        EndReason::Shutdown => "ended_shutdown",
        EndReason::NeverStarted => "ended_never_started",
        EndReason::Failed => "ended_failed",
        EndReason::Busy => "ended_busy",
        EndReason::NoAnswer => "ended_no_answer",
        EndReason::Canceled => "ended_canceled",
    }
}

/// The counters of a call's outcome, in the order of `Flags`.
pub(super) const FLAG_COUNTERS: [Counter; 5] =
    ["leads", "calls_booked", "messages", "transfers", "follow_ups"];

/// What a call achieved, in the order of the table's columns.
pub(super) type Flags = [bool; 5];

/// How each flag's counter changes.
pub(super) fn flag_changes(before: Flags, after: Flags) -> impl Iterator<Item = (Counter, i64)> {
    FLAG_COUNTERS
        .into_iter()
        .zip(before.into_iter().zip(after))
        .map(|(counter, (before, after))| (counter, i64::from(after) - i64::from(before)))
}

/// The counter of a row of the audit trail, if it tells of a vendor's or a tool's failure.
pub(super) fn event_counter(code: &str) -> Option<Counter> {
    match code {
        "stt.reconnecting" | "stt.lost" => Some("errors_stt"),
        "tts.failed" | "tts.lost" => Some("errors_tts"),
        "llm.request_failed" | "llm.empty" | "llm.failed" => Some("errors_llm"),
        "tool.timeout" => Some("errors_tools"),
        _ => None,
    }
}

/// Adds to the counters of a time's quarter.
pub(super) fn count(
    conn: &mut AnyConnection,
    at: i64,
    changes: impl IntoIterator<Item = (Counter, i64)>,
) -> Result<(), DbError> {
    let mut tally = Tally::default();
    tally.count(at, changes);
    tally.write(conn)
}

/// The class of a latency.
pub(super) fn class_of(ms: u32) -> usize {
    LATENCY_BOUNDS.iter().position(|bound| ms <= *bound).unwrap_or(LATENCY_BOUNDS.len())
}

fn class_columns() -> Vec<String> {
    let bounded = LATENCY_BOUNDS.iter().map(|bound| format!("le_{bound}"));
    bounded.chain(std::iter::once("longer".to_owned())).collect()
}

/// How long one stage took, in one quarter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StageCount {
    n: i64,
    sum_ms: i64,
    classes: [i64; LATENCY_CLASSES],
}

impl StageCount {
    fn add(&mut self, ms: u32) {
        self.n += 1;
        self.sum_ms = self.sum_ms.saturating_add(i64::from(ms));
        if let Some(class) = self.classes.get_mut(class_of(ms)) {
            *class += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        for (sum, n) in self.classes.iter_mut().zip(other.classes) {
            *sum += n;
        }
    }
}

/// The stages in the order of `STAGES`.
const fn stages(latency: &StageLatencies) -> [Option<u32>; 5] {
    [
        latency.end_of_turn_ms,
        latency.first_token_ms,
        latency.first_sentence_ms,
        latency.first_audio_ms,
        latency.first_sent_ms,
    ]
}

/// What is to be added to the counters, summed up until it is written: a batch of writes then costs one statement and
/// not one each.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    counters: BTreeMap<(i64, Counter), i64>,
    latencies: BTreeMap<(i64, &'static str), StageCount>,
}

impl Tally {
    /// Adds to the counters of a time's quarter.
    pub(super) fn count(&mut self, at: i64, changes: impl IntoIterator<Item = (Counter, i64)>) {
        for (counter, n) in changes.into_iter().filter(|(_, n)| *n != 0) {
            let sum = self.counters.entry((quarter(at), counter)).or_default();
            *sum = sum.saturating_add(n);
        }
    }

    /// Adds latencies to a time's quarter.
    pub(super) fn latency(&mut self, at: i64, latency: &StageLatencies) {
        self.new_latency(at, &StageLatencies::default(), latency);
    }

    fn new_latency(&mut self, at: i64, before: &StageLatencies, after: &StageLatencies) {
        for (stage, (known, new)) in STAGES.into_iter().zip(stages(before).into_iter().zip(stages(after))) {
            if let Some(ms) = new.filter(|_| known.is_none()) {
                self.latencies.entry((quarter(at), stage)).or_default().add(ms);
            }
        }
    }

    /// Counts what a turn's record newly says: latencies that were not known yet, an interruption.
    pub(super) fn turn(
        &mut self,
        at: i64,
        before: Option<(&StageLatencies, bool)>,
        after: (&StageLatencies, bool),
    ) {
        let nothing = StageLatencies::default();
        self.new_latency(at, before.map_or(&nothing, |(latency, _)| latency), after.0);
        let interrupted = after.1 && !before.is_some_and(|(_, interrupted)| interrupted);
        self.count(at, [("barge_ins", i64::from(interrupted))]);
    }

    /// Takes over what another one has.
    pub(super) fn add(&mut self, other: Self) {
        for ((at, counter), n) in other.counters {
            self.count(at, [(counter, n)]);
        }
        for (key, count) in other.latencies {
            self.latencies.entry(key).or_default().merge(&count);
        }
    }

    /// Writes it down, in the transaction of what was counted. Rows are taken in rising order, so that two who write the
    /// same ones do not lock each other out.
    pub(super) fn write(self, conn: &mut AnyConnection) -> Result<(), DbError> {
        static ACTIVITY: LazyLock<String> =
            LazyLock::new(|| addition("activity", "at_ms, shard", &ActivityCounts::NAMES));
        static LATENCIES: LazyLock<String> = LazyLock::new(|| {
            let classes = class_columns();
            let columns: Vec<&str> =
                ["n", "sum_ms"].into_iter().chain(classes.iter().map(String::as_str)).collect();
            addition("latencies", "stage, at_ms, shard", &columns)
        });
        let mut quarters: BTreeMap<i64, HashMap<Counter, i64>> = BTreeMap::new();
        for ((at, counter), n) in self.counters {
            quarters.entry(at).or_default().insert(counter, n);
        }
        for (at, changes) in quarters {
            let counters = ActivityCounts::NAMES.iter().map(|name| changes.get(name).copied().unwrap_or(0));
            let values = [at, shard()].into_iter().chain(counters).map(Value::Number).collect();
            Put { sql: &ACTIVITY, values }.run(conn)?;
        }
        for ((at, stage), count) in self.latencies {
            let numbers = [at, shard(), count.n, count.sum_ms].into_iter().chain(count.classes);
            let values = std::iter::once(Value::Text(stage)).chain(numbers.map(Value::Number)).collect();
            Put { sql: &LATENCIES, values }.run(conn)?;
        }
        Ok(())
    }
}

/// A statement that adds to a row's columns, the key's values first.
fn addition(table: &str, key: &str, columns: &[&str]) -> String {
    let sums: Vec<String> =
        columns.iter().map(|column| format!("{column} = {table}.{column} + excluded.{column}")).collect();
    let values = vec!["?"; key.split(',').count().saturating_add(columns.len())];
    format!(
        "INSERT INTO {table} ({key}, {}) VALUES ({}) ON CONFLICT ({key}) DO UPDATE SET {}",
        columns.join(", "),
        values.join(", "),
        sums.join(", ")
    )
}

macro_rules! activity_counts {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What happened in a stretch of time.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, QueryableByName)]
        pub struct ActivityCounts {
            $($(#[$doc])* #[diesel(sql_type = BigInt)] pub $name: i64,)+
        }

        impl ActivityCounts {
            /// The columns.
            const NAMES: [&str; [$(stringify!($name)),+].len()] = [$(stringify!($name)),+];

            /// Sums of the columns, as SQL.
            fn sums() -> String {
                [$(concat!("CAST(coalesce(sum(", stringify!($name), "), 0) AS BIGINT) AS ", stringify!($name))),+]
                    .join(", ")
            }

            /// Adds another stretch's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
            }

            /// The numbers, in the order of declaration.
            pub(super) fn numbers(&self) -> Vec<i64> {
                vec![$(self.$name),+]
            }

            /// Reads what `numbers` gave.
            pub(super) fn read(numbers: &mut impl Iterator<Item = i64>) -> Option<Self> {
                Some(Self { $($name: numbers.next()?),+ })
            }
        }
    };
}

activity_counts!(
    /// Calls from outside that began.
    inbound,
    /// Calls to outside that began.
    outbound,
    /// Calls by why they ended.
    ended_completed,
    /// Handed to a person.
    ended_transferred,
    /// With a message for a call-back.
    ended_message_taken,
    /// With an apology.
    ended_apology,
    /// With nobody speaking.
    ended_silence,
    /// At the longest allowed.
    ended_max_duration,
    /// The connection broke.
    ended_lost,
    /// Ended at a limit of cost.
    ended_spend_cap,
    /// By staff.
    ended_ended,
    /// By a shutdown.
    ended_shutdown,
    /// Without a stream.
    ended_never_started,
    /// Not connected.
    ended_failed,
    /// Engaged.
    ended_busy,
    /// Not answered.
    ended_no_answer,
    /// Given up.
    ended_canceled,
    /// Calls in which a name, number or address was left.
    leads,
    /// Calls in which an appointment was booked.
    calls_booked,
    /// Calls in which a message was taken.
    messages,
    /// Calls handed to a person.
    transfers,
    /// Calls that leave something to do.
    follow_ups,
    /// Appointments booked, by whomever.
    appointments_made,
    /// Appointments called off.
    appointments_cancelled,
    /// Seconds of calls that have ended.
    duration_s,
    /// Replies that a caller cut short.
    barge_ins,
    /// Failures of the recogniser.
    errors_stt,
    /// Failures of the voice.
    errors_tts,
    /// Failures of the model.
    errors_llm,
    /// Tools that took too long.
    errors_tools,
);

impl ActivityCounts {
    /// Calls that began.
    pub fn calls(&self) -> i64 {
        self.inbound.saturating_add(self.outbound)
    }

    /// Ends by reason, in the order of `EndReason::ALL`.
    pub fn ends(&self) -> Vec<(EndReason, i64)> {
        EndReason::ALL.iter().map(|reason| (*reason, self.ended(*reason))).collect()
    }

    const fn ended(&self, reason: EndReason) -> i64 {
        match reason {
            EndReason::Completed => self.ended_completed,
            EndReason::Transferred => self.ended_transferred,
            EndReason::MessageTaken => self.ended_message_taken,
            EndReason::Apology => self.ended_apology,
            EndReason::Silence => self.ended_silence,
            EndReason::MaxDuration => self.ended_max_duration,
            EndReason::Lost => self.ended_lost,
            EndReason::SpendCap => self.ended_spend_cap,
            EndReason::Ended => self.ended_ended,
            EndReason::Shutdown => self.ended_shutdown,
            EndReason::NeverStarted => self.ended_never_started,
            EndReason::Failed => self.ended_failed,
            EndReason::Busy => self.ended_busy,
            EndReason::NoAnswer => self.ended_no_answer,
            EndReason::Canceled => self.ended_canceled,
        }
    }
}

/// How long a stage took in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyCounts {
    /// Answers measured.
    pub n: i64,
    /// Sum, ms.
    pub sum_ms: i64,
    /// How many lie in each class of `LATENCY_BOUNDS`, the last one open.
    pub classes: Vec<i64>,
}

impl LatencyCounts {
    /// Adds another stretch's.
    pub fn add(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        self.classes.resize(LATENCY_CLASSES, 0);
        for (sum, n) in self.classes.iter_mut().zip(&other.classes) {
            *sum = sum.saturating_add(*n);
        }
    }

    /// The latency, ms, that `share` (0 to 1) of the answers did not exceed, taken evenly within its class; none
    /// without answers.
    pub fn quantile(&self, share: f64) -> Option<u32> {
        if self.n <= 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let wanted = (self.n as f64 * share.clamp(0.0, 1.0)).max(1.0);
        let mut below = 0.0;
        let mut low = 0.0;
        for (i, n) in self.classes.iter().enumerate() {
            // Of the open class nothing is known but where it begins.
            let Some(bound) = LATENCY_BOUNDS.get(i) else { break };
            let high = f64::from(*bound);
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
            let n = *n as f64;
            if n > 0.0 && below + n >= wanted {
                let ms = low + (high - low) * (wanted - below) / n;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "between 0 and 5,000"
                )]
                return Some(ms.round() as u32);
            }
            below += n;
            low = high;
        }
        LATENCY_BOUNDS.last().copied()
    }
}

/// Equal stretches of time that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Beginning of the first.
    pub from: UnixMillis,
    /// End of the last.
    pub to: UnixMillis,
    /// Length of each, ms; more than 0.
    pub step_ms: i64,
}

/// What happened in one stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityBucket {
    /// Its beginning.
    pub from: UnixMillis,
    /// What happened.
    pub counts: ActivityCounts,
    /// How long each stage took, in the order of `STAGES`.
    pub latencies: [LatencyCounts; 5],
}

#[derive(QueryableByName)]
struct BucketRow {
    #[diesel(sql_type = BigInt)]
    bucket: i64,
    #[diesel(embed)]
    counts: ActivityCounts,
}

#[derive(QueryableByName)]
struct ClassRow {
    #[diesel(sql_type = BigInt)]
    bucket: i64,
    #[diesel(sql_type = BigInt)]
    stage: i64,
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = BigInt)]
    sum_ms: i64,
    #[diesel(sql_type = diesel::sql_types::Text)]
    classes: String,
}

/// What happened in each stretch of each run, those without anything included, in order. Added up from the quarters.
pub(super) fn sums(conn: &mut AnyConnection, runs: &[Run]) -> Result<Vec<ActivityBucket>, DbError> {
    let mut all = Vec::new();
    for run in &parts(runs) {
        let step = run.step_ms.max(1);
        let length = run.to.0.saturating_sub(run.from.0).max(0);
        let first = all.len();
        let count = length / step + i64::from(length % step > 0);
        all.extend((0..count).map(|i| ActivityBucket {
            from: UnixMillis(run.from.0.saturating_add(i.saturating_mul(step))),
            counts: ActivityCounts::default(),
            latencies: Default::default(),
        }));
        let place = |bucket: i64| usize::try_from(bucket).ok().and_then(|bucket| first.checked_add(bucket));
        let within = format!("at_ms >= {} AND at_ms < {}", run.from.0, run.to.0);
        let bucket = format!("CAST((at_ms - {}) / {step} AS BIGINT)", run.from.0);
        let rows: Vec<BucketRow> = on_either!(conn, c => diesel::sql_query(format!(
            "SELECT {bucket} AS bucket, {} FROM activity WHERE {within} GROUP BY 1",
            ActivityCounts::sums()
        )).load(c))?;
        for row in rows {
            if let Some(bucket) = place(row.bucket).and_then(|i| all.get_mut(i)) {
                bucket.counts = row.counts;
            }
        }
        for row in class_rows(conn, &bucket, &within)? {
            let stage = usize::try_from(row.stage).unwrap_or(usize::MAX);
            let latencies =
                place(row.bucket).and_then(|i| all.get_mut(i)).map(|bucket| &mut bucket.latencies);
            if let Some(latency) = latencies.and_then(|all| all.get_mut(stage)) {
                let classes = row.classes.split(' ').map(|n| n.parse().unwrap_or(0)).collect();
                *latency = LatencyCounts { n: row.n, sum_ms: row.sum_ms, classes };
            }
        }
    }
    Ok(all)
}

/// Runs in parts of at most two months, as far as one stretch is no longer: what is put in order at once stays small.
pub(super) fn parts(runs: &[Run]) -> Vec<Run> {
    const LONGEST_MS: i64 = 62 * 86_400_000;
    let mut all = Vec::new();
    for run in runs {
        let step = run.step_ms.max(1);
        let part = step.saturating_mul((LONGEST_MS / step).max(1));
        let mut from = run.from.0;
        while from < run.to.0 {
            let to = from.saturating_add(part).min(run.to.0);
            all.push(Run { from: UnixMillis(from), to: UnixMillis(to), step_ms: run.step_ms });
            from = to;
        }
    }
    all
}

/// The classes come as one text: fifteen columns more would say nothing that a list does not.
fn class_rows(conn: &mut AnyConnection, bucket: &str, within: &str) -> Result<Vec<ClassRow>, DbError> {
    let sums: Vec<String> =
        class_columns().iter().map(|column| format!("CAST(CAST(sum({column}) AS BIGINT) AS TEXT)")).collect();
    let stages: Vec<String> =
        STAGES.iter().enumerate().map(|(i, stage)| format!("WHEN '{stage}' THEN {i}")).collect();
    let rows = on_either!(conn, c => diesel::sql_query(format!(
        "SELECT {bucket} AS bucket, CAST(CASE stage {} ELSE -1 END AS BIGINT) AS stage, \
         CAST(sum(n) AS BIGINT) AS n, CAST(sum(sum_ms) AS BIGINT) AS sum_ms, {} AS classes \
         FROM latencies WHERE {within} GROUP BY 1, 2",
        stages.join(" "),
        sums.join(" || ' ' || ")
    )).load(c))?;
    Ok(rows)
}

/// How many customers there are.
pub(super) fn customers(conn: &mut AnyConnection) -> Result<i64, DbError> {
    Ok(totals::table.find("customers").select(totals::n).first(conn).optional()?.unwrap_or(0))
}

pub(super) mod days;

#[cfg(test)]
mod tests;
