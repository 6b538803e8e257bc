//! The table of all series: name, kind, labels, meaning. Nobody else writes a metric's name.

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// How values are spread; its buckets are named in [`Series::buckets`].
    Histogram,
}

/// One series.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// Its name, with its base unit.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels; the values of each are few and known beforehand.
    pub labels: &'static [&'static str],
    /// Upper ends of a histogram's buckets, in its unit.
    pub buckets: &'static [f64],
    /// What it tells.
    pub help: &'static str,
}

/// What a caller waits for, s. The bounds at which an answer is late are among them.
const WAITS: &[f64] =
    &[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 10.0];
/// How long calls last, s.
const CALLS: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0];
/// How long something in this process takes, s.
const SHORT: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

macro_rules! series {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $(in $buckets:ident)?, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: &str = $name;
        )*

        /// Every series there is.
        pub const SERIES: &[Series] = &[$(
            Series {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                buckets: series!(@buckets $($buckets)?),
                help: $help,
            }
        ),*];
    };
    (@buckets $buckets:ident) => { $buckets };
    (@buckets) => { &[] };
}

series! {
    // Calls.
    CALLS_LIVE: Gauge "frontdesk_calls_live" [], "Calls that are not over.";
    CALLS_LIMIT: Gauge "frontdesk_calls_limit" [], "Calls that are let in at once.";
    CALLS_ADMITTED: Counter "frontdesk_calls_admitted_total" ["kind", "direction"], "Calls that were let in or placed.";
    CALLS_REFUSED: Counter "frontdesk_calls_refused_total" ["reason"], "Calls that were not let in.";
    CALLS_ENDED: Counter "frontdesk_calls_ended_total" ["reason", "outcome"], "Calls that are over, by why they ended and the most that came of them.";
    CALL_DURATION: Histogram "frontdesk_call_duration_seconds" [] in CALLS, "From a call's admission to its end.";
    CALLS_SUSPENDED: Counter "frontdesk_calls_suspended_total" [], "Streams that broke, or were left, while their call went on.";
    CALLS_RESUMED: Counter "frontdesk_calls_resumed_total" [], "Conversations that went on over another stream.";
    CALL_GAP: Histogram "frontdesk_call_gap_seconds" [] in WAITS, "From the loss of a call's stream to the next stream; of a call that another process had, from its take-over.";
    CALLS_TAKEN_OVER: Counter "frontdesk_calls_taken_over_total" [], "Calls that an earlier or another process had.";
    CALL_EVENTS: Counter "frontdesk_call_events_total" ["code"], "Rows of the calls' audit trails.";

    // Turns.
    TURNS: Counter "frontdesk_turns_total" ["speaker"], "Turns that were recorded.";
    TURN_STAGE: Histogram "frontdesk_turn_stage_seconds" ["stage"] in WAITS, "How long each stage of an answer took; `end_of_turn` from the caller's last word to the decision that the turn is over, the others from that decision, `e2e` from the last word to the first sound of the answer.";
    BARGE_INS: Counter "frontdesk_barge_ins_total" [], "Times that a caller interrupted the bot.";
    SLOW_TURNS: Counter "frontdesk_turns_too_slow_total" [], "Answers that were given up because they took too long.";
    TOOL_RUNS: Counter "frontdesk_tool_runs_total" ["result"], "Runs of tools, by what came of them.";

    // Vendors.
    PROVIDER_REQUESTS: Counter "frontdesk_provider_requests_total" ["kind", "provider"], "Requests to a vendor; for speech recognition, connections.";
    PROVIDER_ERRORS: Counter "frontdesk_provider_errors_total" ["kind", "provider", "error"], "Requests or connections that failed.";
    PROVIDER_FIRST: Histogram "frontdesk_provider_first_answer_seconds" ["kind", "provider"] in WAITS, "From a request to the first piece of its answer; for speech recognition, to the open connection.";
    PROVIDER_RETRIES: Counter "frontdesk_provider_retries_total" ["kind"], "Requests that were sent again, and connections that were made again.";
    FALLBACKS: Counter "frontdesk_fallbacks_total" ["kind"], "Times that a second vendor or model stood in for the first.";
    BREAKERS_OPEN: Gauge "frontdesk_breakers_open" ["kind", "provider"], "Worker threads that leave a vendor alone because it kept failing.";
    STT_RECONNECTS: Counter "frontdesk_stt_reconnects_total" [], "Connections to the recogniser that were lost in a call and made anew.";
    AUDIO_DROPPED: Counter "frontdesk_audio_frames_dropped_total" ["where"], "Frames of 20 ms that were lost: the caller's on the way to the recogniser, or those of a recording.";

    // What is used.
    LLM_TOKENS: Counter "frontdesk_llm_tokens_total" ["model", "direction"], "Tokens, as the model's host counts them.";
    TTS_CHARACTERS: Counter "frontdesk_tts_characters_total" ["provider"], "Characters sent to a voice.";
    STT_AUDIO: Counter "frontdesk_stt_audio_seconds_total" [], "Audio sent to the recogniser.";
    CARRIER: Counter "frontdesk_carrier_seconds_total" [], "Time on the telephone network.";
    COST: Counter "frontdesk_cost_micros_total" ["item"], "What that cost by the price table, in millionths of its currency.";

    // Inside.
    CHILD_RESTARTS: Counter "frontdesk_child_restarts_total" ["child"], "Parts of a call that were started again.";
    CHILDREN_DOWN: Counter "frontdesk_children_down_total" ["child", "panicked"], "Parts of a call, and calls, that were lost.";
    ACTORS: Gauge "frontdesk_actors" ["kind"], "Actors of calls: sessions, calls, and their parts. What is left when no call is live was forgotten.";
    DB_REACHABLE: Gauge "frontdesk_database_reachable" [], "1 while the last sign of life of this replica stands in the database.";
    DB_QUEUE: Gauge "frontdesk_db_queue_writes" [], "Writes that wait for the database or are being written.";
    DB_WRITES: Counter "frontdesk_db_writes_total" ["result"], "Writes by what came of them: they stand, failed for good, or found the queue full. What is kept and tried again, refused to whoever waits for it, or not ours to write any more, is none of these.";
    DB_BATCH: Histogram "frontdesk_db_batch_seconds" [] in SHORT, "How long a transaction of the writer took.";
    UNWRITTEN: Gauge "frontdesk_unwritten_writes" [], "Writes of the registry that found the database's queue full and are kept.";
    SPOOL: Gauge "frontdesk_spool_bytes" [], "Messages that wait on the disk for the database.";
    RECORDER_QUEUE: Gauge "frontdesk_recorder_queue_blocks" [], "Blocks of audio that wait for the recorder.";
    JOB_RUNS: Counter "frontdesk_job_runs_total" ["kind", "result"], "Runs of jobs: done, to be tried again, or given up.";
    LOOP_LAG: Histogram "frontdesk_event_loop_lag_seconds" ["worker"] in SHORT, "How late a worker thread's timer was, its rests between frames not counted.";
    LOOP_LAG_LAST: Gauge "frontdesk_event_loop_lag_last_seconds" ["worker"], "The same, the last time.";
    LAGGING: Gauge "frontdesk_lagging" [], "1 while no new call is let in because a worker thread is late.";
    CLUSTER: Gauge "frontdesk_cluster_reachable" [], "1 while what replicas share beside the database is reachable; always for a server alone.";
    RESIDENT: Gauge "frontdesk_process_resident_memory_bytes" [], "Memory of the process that is in use.";
    OPEN_FDS: Gauge "frontdesk_process_open_fds" [], "Open file descriptors.";
    MAX_FDS: Gauge "frontdesk_process_max_fds" [], "File descriptors there may be.";
    THREADS: Gauge "frontdesk_process_threads" [], "Threads of the process.";
    CPU: Counter "frontdesk_process_cpu_seconds_total" [], "Time that the process has used of a processor.";
    UPTIME: Gauge "frontdesk_process_uptime_seconds" [], "Time since the server started.";
    READY: Gauge "frontdesk_ready" [], "1 while the server says that it can take calls, as far as it knows without asking the database.";
    BUILD: Gauge "frontdesk_build_info" ["version", "features"], "Always 1; what is running.";
}

/// The series with this name, if there is one. A histogram is known by the names of its parts too.
pub fn find(name: &str) -> Option<&'static Series> {
    let exact = SERIES.iter().find(|series| series.name == name);
    exact.or_else(|| {
        let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| name.strip_suffix(part))?;
        SERIES.iter().find(|series| series.kind == Kind::Histogram && series.name == base)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_rules_of_the_format_and_of_this_project() {
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        for series in SERIES {
            let name = series.name;
            assert!(name.starts_with("frontdesk_") && plain(name), "{name}");
            assert_eq!(name.ends_with("_total"), series.kind == Kind::Counter, "{name}");
            assert_eq!(series.kind == Kind::Histogram, !series.buckets.is_empty(), "{name}");
            assert!(series.buckets.is_sorted() && series.help.ends_with('.'), "{name}");
            if series.kind == Kind::Histogram {
                assert!(name.ends_with("_seconds"), "{name}: base units");
            }
            for label in series.labels {
                assert!(plain(label) && *label != "le", "{name}: {label}");
                // What tells calls or people apart would make a series of each.
                for word in ["id", "sid", "number", "phone", "caller", "name"] {
                    assert!(!label.split('_').any(|part| part == word), "{name}: {label}");
                }
            }
        }
        let names: BTreeSet<&str> = SERIES.iter().map(|series| series.name).collect();
        assert_eq!(names.len(), SERIES.len());
    }

    #[test]
    fn a_histogram_is_found_by_its_parts_and_nothing_else_is() {
        assert_eq!(find("frontdesk_call_duration_seconds_bucket").map(|s| s.name), Some(CALL_DURATION));
        assert_eq!(find("frontdesk_call_duration_seconds_count").map(|s| s.name), Some(CALL_DURATION));
        assert!(find("frontdesk_calls_live_sum").is_none());
        assert!(find("frontdesk_calls").is_none());
    }
}
