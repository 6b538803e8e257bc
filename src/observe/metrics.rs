//! What is counted and measured, each as one function. Whoever knows a fact calls it; where the numbers go is
//! `recorder.rs`'s business, and without a recorder nothing happens.
//!
//! Called for a call, a turn, a request: nothing of it happens for a frame of audio. Label values are words out of small
//! sets (a reason, a vendor of the configuration), never anything of a caller's.

use super::series as s;
use crate::domain::audit::CODES;
use crate::domain::call::{CallFacts, EndReason, Outcome};
use crate::domain::job::JobKind;
use crate::domain::turn::{Speaker, TurnRecord};
use crate::domain::usage::{Item, Used};
use metrics::{counter, gauge, histogram};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

pub use super::series::{Kind, SERIES, Series, find};

/// Frames of mu-law audio: 20 ms at 8 kHz (`twilio.md`, Media Streams).
const FRAME_BYTES: u64 = 160;
/// The same in time.
const FRAME_MS: u64 = 20;

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as may be.
    Full,
    /// The server was told to stop, whether or not it lets some in for the moment until its balancer knows.
    Draining,
    /// A worker thread is late.
    Lag,
    /// As much is spent as may be.
    Spend,
    /// Too many from one number, or to one of ours.
    Rate,
}

impl Refused {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Full, Self::Draining, Self::Lag, Self::Spend, Self::Rate];

    /// Why there is no room.
    pub const fn no_room(lagging: bool, draining: bool) -> Self {
        match (lagging, draining) {
            (true, _) => Self::Lag,
            (false, true) => Self::Draining,
            (false, false) => Self::Full,
        }
    }

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Draining => "draining",
            Self::Lag => "lag",
            Self::Spend => "spend",
            Self::Rate => "rate",
        }
    }
}

/// What a vendor is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Speech to text.
    Stt,
    /// Text to speech.
    Tts,
    /// The language model.
    Llm,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 3] = [Self::Stt, Self::Tts, Self::Llm];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Tts => "tts",
            Self::Llm => "llm",
        }
    }
}

/// How a run of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// It is done.
    Done,
    /// It failed and is tried again.
    Retried,
    /// It is on the dead-letter list.
    Dead,
}

impl JobResult {
    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Dead => "dead",
        }
    }
}

/// The stages of an answer, as they are labelled.
pub const STAGES: [&str; 6] =
    ["end_of_turn", "first_token", "first_sentence", "first_audio", "first_sent", "e2e"];

fn once(name: &'static str) {
    counter!(name).increment(1);
}

/// A call was let in, or placed.
pub fn call_admitted(facts: &CallFacts) {
    counter!(s::CALLS_ADMITTED, "kind" => facts.kind.as_str(), "direction" => facts.direction.as_str())
        .increment(1);
}

/// A call was not let in.
pub fn call_refused(why: Refused) {
    counter!(s::CALLS_REFUSED, "reason" => why.as_str()).increment(1);
}

/// A call is over, so long after it was let in.
pub fn call_ended(reason: EndReason, outcome: Outcome, lasted: Duration) {
    counter!(s::CALLS_ENDED, "reason" => reason.as_str(), "outcome" => most_of(outcome)).increment(1);
    histogram!(s::CALL_DURATION).record(lasted);
}

/// The words of [`most_of`].
const OUTCOMES: [&str; 6] =
    ["appointment_booked", "transferred", "message_taken", "follow_up", "lead_captured", "none"];

/// The most that a call achieved, in one word.
pub const fn most_of(outcome: Outcome) -> &'static str {
    if outcome.appointment_booked {
        "appointment_booked"
    } else if outcome.transferred {
        "transferred"
    } else if outcome.message_taken {
        "message_taken"
    } else if outcome.follow_up {
        "follow_up"
    } else if outcome.lead_captured {
        "lead_captured"
    } else {
        "none"
    }
}

/// A call had no stream for so long.
pub fn call_gap(gap: Duration) {
    histogram!(s::CALL_GAP).record(gap);
}

/// A row of a call's audit trail: what it tells is counted under its code, and where that has a series of its own, there.
pub fn call_event(code: &str, detail: &Value) {
    let Some((code, _)) = CODES.iter().find(|(known, _)| *known == code) else { return };
    counter!(s::CALL_EVENTS, "code" => *code).increment(1);
    match *code {
        "call.barge_in" => once(s::BARGE_INS),
        "call.suspended" => once(s::CALLS_SUSPENDED),
        "call.resumed" => once(s::CALLS_RESUMED),
        "call.taken_over" => once(s::CALLS_TAKEN_OVER),
        "turn.too_slow" => once(s::SLOW_TURNS),
        "tts.fallback" => fallback(Service::Tts),
        "llm.fallback" => fallback(Service::Llm),
        "stt.reconnecting" => {
            once(s::STT_RECONNECTS);
            counter!(s::PROVIDER_RETRIES, "kind" => Service::Stt.as_str()).increment(1);
        }
        "tool.finished" => tool_run("finished"),
        "tool.refused" => tool_run("refused"),
        "tool.timeout" => tool_run("timeout"),
        // The ear knows how long, the buffer how many bytes.
        "stt.audio_dropped" => {
            let number = |key| detail.get(key).and_then(Value::as_u64).unwrap_or(0);
            frames_dropped(
                "stt",
                (number("ms") / FRAME_MS).saturating_add(number("bytes").div_ceil(FRAME_BYTES)),
            );
        }
        _ => {}
    }
}

fn fallback(service: Service) {
    counter!(s::FALLBACKS, "kind" => service.as_str()).increment(1);
}

fn tool_run(result: &'static str) {
    counter!(s::TOOL_RUNS, "result" => result).increment(1);
}

/// Frames of 20 ms were lost.
pub fn frames_dropped(place: &'static str, frames: u64) {
    if frames > 0 {
        counter!(s::AUDIO_DROPPED, "where" => place).increment(frames);
    }
}

/// A turn was recorded for the first time. Its latencies are known by then: an answer is recorded when it is heard.
pub fn turn(turn: &TurnRecord) {
    counter!(s::TURNS, "speaker" => turn.speaker.as_str()).increment(1);
    if turn.speaker != Speaker::Bot {
        return;
    }
    let l = turn.latency;
    let e2e = l.end_of_turn_ms.zip(l.first_sent_ms).map(|(until, after)| until.saturating_add(after));
    let all =
        [l.end_of_turn_ms, l.first_token_ms, l.first_sentence_ms, l.first_audio_ms, l.first_sent_ms, e2e];
    for (stage, ms) in STAGES.into_iter().zip(all) {
        if let Some(ms) = ms {
            histogram!(s::TURN_STAGE, "stage" => stage).record(f64::from(ms) / 1_000.0);
        }
    }
}

/// A vendor is asked.
pub fn provider_asked(service: Service, provider: &str) {
    counter!(s::PROVIDER_REQUESTS, "kind" => service.as_str(), "provider" => provider.to_owned())
        .increment(1);
}

/// A vendor's first answer came so long after it was asked.
pub fn provider_answered(service: Service, provider: &str, after: Duration) {
    histogram!(s::PROVIDER_FIRST, "kind" => service.as_str(), "provider" => provider.to_owned())
        .record(after);
}

/// A vendor failed; `error` is the word for its kind.
pub fn provider_failed(service: Service, provider: &str, error: &'static str) {
    counter!(s::PROVIDER_ERRORS, "kind" => service.as_str(), "provider" => provider.to_owned(), "error" => error)
        .increment(1);
}

/// A request is sent again.
pub fn provider_retried(service: Service) {
    counter!(s::PROVIDER_RETRIES, "kind" => service.as_str()).increment(1);
}

/// What a call has used since the last time.
pub fn used(used: &[Used]) {
    // A counter of whole seconds would lose what is left of each.
    static STT_MS: AtomicU64 = AtomicU64::new(0);
    static CARRIER_MS: AtomicU64 = AtomicU64::new(0);
    let seconds = |name: &'static str, total: &AtomicU64, ms: u64| {
        let before = total.fetch_add(ms, Ordering::Relaxed);
        counter!(name).increment((before.wrapping_add(ms) / 1_000).saturating_sub(before / 1_000));
    };
    for Used { item, model, amount, micros } in used {
        match item {
            Item::SttMs => seconds(s::STT_AUDIO, &STT_MS, *amount),
            Item::CarrierMs => seconds(s::CARRIER, &CARRIER_MS, *amount),
            Item::LlmInput => tokens(model, "input", *amount),
            Item::LlmOutput => tokens(model, "output", *amount),
            Item::TtsChars => {
                counter!(s::TTS_CHARACTERS, "provider" => model.clone()).increment(*amount);
            }
        }
        if let Ok(micros) = u64::try_from(*micros) {
            counter!(s::COST, "item" => item.as_str()).increment(micros);
        }
    }
}

fn tokens(model: &str, direction: &'static str, amount: u64) {
    counter!(s::LLM_TOKENS, "model" => model.to_owned(), "direction" => direction).increment(amount);
}

/// A part of a call, or a call, is gone without having been asked to.
pub fn child_down(child: &'static str, panicked: bool) {
    let panicked = if panicked { "true" } else { "false" };
    counter!(s::CHILDREN_DOWN, "child" => child, "panicked" => panicked).increment(1);
}

/// A part of a call was started again.
pub fn child_restarted(child: &'static str) {
    counter!(s::CHILD_RESTARTS, "child" => child).increment(1);
}

/// This replica's sign of life stands in the database, or could not be put there.
pub fn database_reachable(is: bool) {
    gauge!(s::DB_REACHABLE).set(if is { 1.0 } else { 0.0 });
}

/// The writer's transaction took so long.
pub fn db_batch(took: Duration) {
    histogram!(s::DB_BATCH).record(took);
}

/// So many writes stand, failed for good, or found the queue full.
pub fn db_writes(written: u64, failed: u64, refused: u64) {
    for (result, n) in [("written", written), ("failed", failed), ("refused", refused)] {
        counter!(s::DB_WRITES, "result" => result).increment(n);
    }
}

/// A run of a job ended.
pub fn job_ran(kind: &'static str, result: JobResult) {
    counter!(s::JOB_RUNS, "kind" => kind, "result" => result.as_str()).increment(1);
}

/// An actor of a call, counted for as long as this is held.
#[derive(Debug)]
pub struct Alive(&'static str);

impl Alive {
    /// One more of a kind.
    pub fn new(kind: &'static str) -> Self {
        gauge!(s::ACTORS, "kind" => kind).increment(1.0);
        Self(kind)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        gauge!(s::ACTORS, "kind" => self.0).decrement(1.0);
    }
}

/// A worker thread's timer was so late.
pub fn loop_lag(worker: &str, late: Duration) {
    histogram!(s::LOOP_LAG, "worker" => worker.to_owned()).record(late);
    gauge!(s::LOOP_LAG_LAST, "worker" => worker.to_owned()).set(late.as_secs_f64());
}

/// What the operating system says of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Memory in use, bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// As many there may be.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// Time used of a processor, ms.
    pub cpu_ms: u64,
}

/// How the process stands.
pub fn process(facts: ProcessFacts, up: Duration) {
    static CPU_S: AtomicU64 = AtomicU64::new(0);
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and bytes are far below 2^53")]
    let set = |name: &'static str, value: u64| gauge!(name).set(value as f64);
    set(s::RESIDENT, facts.resident);
    set(s::OPEN_FDS, facts.open_fds);
    set(s::MAX_FDS, facts.max_fds);
    set(s::THREADS, facts.threads);
    let cpu = facts.cpu_ms / 1_000;
    counter!(s::CPU).increment(cpu.saturating_sub(CPU_S.fetch_max(cpu, Ordering::Relaxed)));
    gauge!(s::UPTIME).set(up.as_secs_f64());
}

/// Which of the gauges that several servers of one process share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Calls that are not over.
    CallsLive,
    /// Calls at once.
    CallsLimit,
    /// Writes that wait for the database.
    DbQueue,
    /// Writes that the registry keeps.
    Unwritten,
    /// Bytes of messages on the disk.
    Spool,
    /// Blocks that wait for the recorder.
    RecorderQueue,
    /// Whether a worker is late.
    Lagging,
    /// Whether calls can be taken.
    Ready,
    /// Whether what replicas share is reachable.
    Cluster,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::CallsLive => s::CALLS_LIVE,
            Self::CallsLimit => s::CALLS_LIMIT,
            Self::DbQueue => s::DB_QUEUE,
            Self::Unwritten => s::UNWRITTEN,
            Self::Spool => s::SPOOL,
            Self::RecorderQueue => s::RECORDER_QUEUE,
            Self::Lagging => s::LAGGING,
            Self::Ready => s::READY,
            Self::Cluster => s::CLUSTER,
        }
    }
}

/// One server's share of a gauge. The gauge is the sum of all shares, and a share that is dropped is taken out: two servers
/// in one process neither overwrite each other nor leave anything behind.
#[derive(Debug)]
pub struct Share {
    level: Level,
    value: AtomicI64,
}

impl Share {
    /// Nothing yet.
    pub const fn new(level: Level) -> Self {
        Self { level, value: AtomicI64::new(0) }
    }

    /// The share is so much now.
    pub fn set(&self, value: usize) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.change(value - self.value.swap(value, Ordering::Relaxed));
    }

    fn change(&self, by: i64) {
        if by != 0 {
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts are far below 2^53")]
            gauge!(self.level.name()).increment(by as f64);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.change(-self.value.load(Ordering::Relaxed));
    }
}

/// How one thread's breaker of a vendor stands.
#[derive(Debug)]
pub struct BreakerGauge {
    service: Service,
    provider: Arc<str>,
    open: std::cell::Cell<bool>,
}

impl BreakerGauge {
    /// A breaker that is closed.
    pub fn new(service: Service, provider: &str) -> Self {
        Self { service, provider: provider.into(), open: std::cell::Cell::new(false) }
    }

    /// It is open, or half open, or not.
    pub fn tell(&self, open: bool) {
        if self.open.replace(open) != open {
            let gauge = gauge!(s::BREAKERS_OPEN, "kind" => self.service.as_str(), "provider" => self.provider.to_string());
            gauge.increment(if open { 1.0 } else { -1.0 });
        }
    }
}

impl Drop for BreakerGauge {
    fn drop(&mut self) {
        self.tell(false);
    }
}

/// Makes every series without labels, and those whose label values are known, begin at zero: a rate over a counter that
/// is not there yet misses its first event.
pub(super) fn begin() {
    for series in SERIES.iter().filter(|series| series.labels.is_empty()) {
        match series.kind {
            Kind::Counter => counter!(series.name).increment(0),
            Kind::Gauge => gauge!(series.name).increment(0.0),
            Kind::Histogram => drop(histogram!(series.name)),
        }
    }
    for why in Refused::ALL {
        counter!(s::CALLS_REFUSED, "reason" => why.as_str()).increment(0);
    }
    for reason in EndReason::ALL {
        for outcome in OUTCOMES {
            counter!(s::CALLS_ENDED, "reason" => reason.as_str(), "outcome" => outcome).increment(0);
        }
    }
    for child in ["call", "stt", "tts", "dialogue"] {
        for panicked in ["true", "false"] {
            counter!(s::CHILDREN_DOWN, "child" => child, "panicked" => panicked).increment(0);
        }
    }
    for kind in JobKind::ALL {
        for result in [JobResult::Done, JobResult::Retried, JobResult::Dead] {
            counter!(s::JOB_RUNS, "kind" => kind.as_str(), "result" => result.as_str()).increment(0);
        }
    }
    for service in Service::ALL {
        counter!(s::FALLBACKS, "kind" => service.as_str()).increment(0);
        counter!(s::PROVIDER_RETRIES, "kind" => service.as_str()).increment(0);
    }
    for place in ["stt", "recording"] {
        counter!(s::AUDIO_DROPPED, "where" => place).increment(0);
    }
    for child in ["stt", "tts", "dialogue"] {
        counter!(s::CHILD_RESTARTS, "child" => child).increment(0);
    }
    for stage in STAGES {
        drop(histogram!(s::TURN_STAGE, "stage" => stage));
    }
    for result in ["written", "failed", "refused"] {
        counter!(s::DB_WRITES, "result" => result).increment(0);
    }
    let features = [("s3", cfg!(feature = "s3")), ("otel", cfg!(feature = "otel"))];
    let features: Vec<&str> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    gauge!(s::BUILD, "version" => env!("CARGO_PKG_VERSION"), "features" => features.join(",")).set(1.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::turn::StageLatencies;
    use metrics::with_local_recorder;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use serde_json::json;

    /// What is recorded while `what` runs on this thread.
    fn recorded(what: impl FnOnce()) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, what);
        recorder.handle().render()
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }

    #[test]
    fn rows_of_the_audit_trail_move_the_series_that_they_tell_of() {
        let text = recorded(|| {
            call_event("call.barge_in", &json!({ "words": 3 }));
            call_event("tts.fallback", &json!({}));
            call_event("stt.reconnecting", &json!({}));
            call_event("stt.audio_dropped", &json!({ "ms": 60, "voice": true }));
            call_event("stt.audio_dropped", &json!({ "bytes": 330 }));
            call_event("tool.timeout", &json!({}));
            call_event("no.such_code", &json!({}));
        });
        has(&text, "frontdesk_barge_ins_total 1");
        has(&text, "frontdesk_fallbacks_total{kind=\"tts\"} 1");
        has(&text, "frontdesk_stt_reconnects_total 1");
        has(&text, "frontdesk_provider_retries_total{kind=\"stt\"} 1");
        has(&text, "frontdesk_audio_frames_dropped_total{where=\"stt\"} 6");
        has(&text, "frontdesk_tool_runs_total{result=\"timeout\"} 1");
        has(&text, "frontdesk_call_events_total{code=\"stt.audio_dropped\"} 2");
        assert!(!text.contains("no.such_code"), "{text}");
    }

    #[test]
    fn a_bots_turn_is_measured_stage_by_stage_and_a_callers_only_counted() {
        let latency = StageLatencies {
            end_of_turn_ms: Some(300),
            first_token_ms: Some(400),
            first_sentence_ms: None,
            first_audio_ms: Some(700),
            first_sent_ms: Some(720),
        };
        let record = |speaker| TurnRecord {
            n: 1,
            speaker,
            said: "x".into(),
            heard: "x".into(),
            interrupted: false,
            at_ms: 0,
            latency,
        };
        let text = recorded(|| {
            turn(&record(Speaker::Bot));
            turn(&record(Speaker::Caller));
        });
        has(&text, "frontdesk_turns_total{speaker=\"bot\"} 1");
        has(&text, "frontdesk_turns_total{speaker=\"caller\"} 1");
        has(&text, "frontdesk_turn_stage_seconds_sum{stage=\"e2e\"} 1.02");
        has(&text, "frontdesk_turn_stage_seconds_count{stage=\"first_token\"} 1");
        assert!(!text.contains("first_sentence"), "a stage that did not happen is not measured: {text}");
    }

    #[test]
    fn shares_of_several_servers_add_up_and_go_with_them() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = || recorder.handle().render();
        with_local_recorder(&recorder, || {
            let (one, other) = (Share::new(Level::CallsLive), Share::new(Level::CallsLive));
            one.set(3);
            other.set(4);
            one.set(2);
            has(&shown(), "frontdesk_calls_live 6");
            drop(other);
            has(&shown(), "frontdesk_calls_live 2");
            let breaker = BreakerGauge::new(Service::Tts, "elevenlabs");
            breaker.tell(true);
            breaker.tell(true);
            has(&shown(), "frontdesk_breakers_open{kind=\"tts\",provider=\"elevenlabs\"} 1");
            drop(breaker);
            has(&shown(), "frontdesk_breakers_open{kind=\"tts\",provider=\"elevenlabs\"} 0");
        });
    }

    #[test]
    fn an_outcome_is_told_by_the_most_that_came_of_it() {
        let none = Outcome::default();
        for (outcome, word) in [
            (none, "none"),
            (Outcome { lead_captured: true, ..none }, "lead_captured"),
            (Outcome { lead_captured: true, appointment_booked: true, ..none }, "appointment_booked"),
            (Outcome { message_taken: true, follow_up: true, ..none }, "message_taken"),
            (Outcome { transferred: true, message_taken: true, ..none }, "transferred"),
        ] {
            assert_eq!(most_of(outcome), word);
            assert!(OUTCOMES.contains(&word));
        }
    }

    #[test]
    fn a_refusal_while_the_server_is_about_to_stop_is_not_one_for_want_of_room() {
        for (lagging, draining, why) in [
            (false, false, Refused::Full),
            (false, true, Refused::Draining),
            (true, false, Refused::Lag),
            (true, true, Refused::Lag),
        ] {
            assert_eq!(Refused::no_room(lagging, draining), why);
        }
        let text = recorded(begin);
        for why in Refused::ALL {
            has(&text, &format!("frontdesk_calls_refused_total{{reason=\"{}\"}} 0", why.as_str()));
        }
    }

    #[test]
    fn what_alerts_wait_for_is_there_before_it_happens() {
        // A rate over a counter that begins with its first event misses that event.
        let text = recorded(begin);
        for (name, labels) in [
            (s::CHILDREN_DOWN, "child=\"dialogue\",panicked=\"true\""),
            (s::JOB_RUNS, "kind=\"summary\",result=\"dead\""),
            (s::CALLS_ENDED, "reason=\"lost\",outcome=\"follow_up\""),
        ] {
            assert!(text.contains(&format!("{name}{{{labels}}} 0")), "{name}{{{labels}}} in {text}");
        }
    }

    #[test]
    fn nothing_is_recorded_with_a_label_that_the_table_does_not_name() {
        let text = recorded(|| {
            begin();
            call_refused(Refused::Lag);
            provider_asked(Service::Llm, "h/m");
            provider_failed(Service::Llm, "h/m", "timeout");
            provider_answered(Service::Llm, "h/m", Duration::from_millis(5));
            child_down("stt", true);
            job_ran("summary", JobResult::Dead);
            loop_lag("0", Duration::from_millis(3));
            used(&[Used { item: Item::LlmInput, model: "m".into(), amount: 7, micros: 9 }]);
            process(ProcessFacts::default(), Duration::from_secs(1));
        });
        let mut seen = 0;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let series = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            let labels =
                line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(l, _)| l);
            for label in labels.split("\",").filter(|part| !part.is_empty()) {
                let label = label.split('=').next().unwrap();
                let known = series.labels.contains(&label) || ["le", "quantile"].contains(&label);
                assert!(known, "{name}: {label}");
            }
            seen += 1;
        }
        assert!(seen > 60, "{seen}\n{text}");
    }
}
