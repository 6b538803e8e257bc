use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SETTINGS: Settings = Settings {
    at_once: 2,
    attempts: 4,
    retry: Duration::from_millis(1_000),
    retry_max: Duration::from_millis(3_000),
    lease: Duration::from_millis(60_000),
    poll: Duration::from_millis(5_000),
};

fn run(id: i64, attempt: u32) -> Run {
    Run { id, attempt }
}

fn failed(run: Run, again: Again) -> Event {
    Event::Ran { run, result: Err(Failure { code: "x".into(), again }), jitter: 1.0 }
}

fn done(run: Run) -> Event {
    Event::Ran { run, result: Ok(()), jitter: 0.0 }
}

fn leased(runs: &[Run], next_due: Option<i64>) -> Event {
    Event::Leased { runs: runs.to_vec(), next_due: next_due.map(UnixMillis) }
}

/// Without timers and the daily work.
fn acts(effects: Vec<Effect>) -> Vec<Effect> {
    effects.into_iter().filter(|e| !matches!(e, Effect::SetTimer(..) | Effect::Daily { .. })).collect()
}

#[test]
fn a_failure_is_followed_by_a_wait_that_doubles_until_the_job_is_laid_aside() {
    // attempt, again, jitter → wait ms, none to bury
    let second = Duration::from_secs(9);
    for (attempt, again, jitter, wait) in [
        (1, Again::Later, 1.0, Some(1_000)),
        (1, Again::Later, 0.0, Some(500)),
        (2, Again::Later, 1.0, Some(2_000)),
        (3, Again::Later, 1.0, Some(3_000)),
        (4, Again::Later, 1.0, None),
        (1, Again::NotBefore(second), 1.0, Some(9_000)),
        (2, Again::NotBefore(Duration::ZERO), 1.0, Some(2_000)),
        (4, Again::NotBefore(second), 1.0, None),
        (1, Again::Never, 1.0, None),
        (1, Again::Later, f64::NAN, Some(750)),
        (1, Again::Later, 7.0, Some(1_000)),
    ] {
        let failure = Failure { code: "x".into(), again };
        let expected = match wait {
            Some(ms) => Effect::Retry { run: run(1, attempt), at: UnixMillis(10_000 + ms), code: "x".into() },
            None => Effect::Bury { run: run(1, attempt), code: "x".into() },
        };
        assert_eq!(SETTINGS.after(UnixMillis(10_000), run(1, attempt), failure, jitter), expected);
    }
}

#[test]
fn no_more_jobs_are_taken_than_there_are_places_and_a_free_place_is_filled_at_once() {
    let mut m = Machine::new(SETTINGS);
    let lease = |limit, now: i64| Effect::Lease { limit, until: UnixMillis(now + 60_000) };
    assert_eq!(acts(m.on(UnixMillis(0), Event::Woken)), [lease(2, 0)]);
    // A second wish while the queue is looked at is remembered.
    assert_eq!(acts(m.on(UnixMillis(1), Event::Woken)), []);
    let both = acts(m.on(UnixMillis(2), leased(&[run(1, 1), run(2, 1)], None)));
    assert_eq!(both, [Effect::Run(run(1, 1)), Effect::Run(run(2, 1))]);
    assert_eq!(acts(m.on(UnixMillis(3), done(run(1, 1)))), [lease(1, 3)]);
    assert_eq!(acts(m.on(UnixMillis(4), leased(&[], None))), []);
    assert_eq!(acts(m.on(UnixMillis(5), done(run(2, 1)))), []);
    assert_eq!(acts(m.on(UnixMillis(6), Event::Timer(Timer::Poll))), [lease(2, 6)]);
}

#[test]
fn a_failed_job_keeps_its_place_until_its_failure_is_written() {
    let mut m = Machine::new(Settings { at_once: 1, ..SETTINGS });
    m.on(UnixMillis(0), Event::Woken);
    m.on(UnixMillis(0), leased(&[run(1, 1)], None));
    let fate = acts(m.on(UnixMillis(0), failed(run(1, 1), Again::Later)));
    assert_eq!(fate, [Effect::Retry { run: run(1, 1), at: UnixMillis(1_000), code: "x".into() }]);
    // The look after it also tells when its next attempt is due.
    let next = acts(m.on(UnixMillis(0), Event::Settled(run(1, 1))));
    assert_eq!(next, [Effect::Lease { limit: 1, until: UnixMillis(60_000) }]);
}

#[test]
fn a_job_that_took_its_processes_down_is_laid_aside_without_another_attempt() {
    let mut m = Machine::new(SETTINGS);
    m.on(UnixMillis(0), Event::Woken);
    let fate = acts(m.on(UnixMillis(0), leased(&[run(1, 5)], None)));
    assert_eq!(fate, [Effect::Bury { run: run(1, 5), code: "job.attempts_used_up".into() }]);
}

#[test]
fn the_next_look_is_when_the_next_job_is_due_but_not_later_than_usual() {
    for (next_due, wait) in
        [(None, 5_000), (Some(1_300), 300), (Some(1_000), 20), (Some(0), 20), (Some(99_000), 5_000)]
    {
        let mut m = Machine::new(SETTINGS);
        m.on(UnixMillis(1_000), Event::Woken);
        let effects = m.on(UnixMillis(1_000), leased(&[], next_due));
        assert_eq!(effects, [Effect::SetTimer(Timer::Poll, Duration::from_millis(wait))]);
    }
    let mut m = Machine::new(SETTINGS);
    m.on(UnixMillis(0), Event::Woken);
    let effects = m.on(UnixMillis(0), Event::LeaseFailed);
    assert_eq!(effects, [Effect::SetTimer(Timer::Poll, Duration::from_millis(5_000))]);
}

#[test]
fn what_is_under_way_is_kept_until_it_is_over() {
    let mut m = Machine::new(SETTINGS);
    m.on(UnixMillis(0), Event::Woken);
    let effects = m.on(UnixMillis(0), leased(&[run(1, 1)], None));
    assert!(effects.contains(&Effect::SetTimer(Timer::Renew, Duration::from_millis(20_000))));
    let effects = m.on(UnixMillis(20_000), Event::Timer(Timer::Renew));
    assert_eq!(effects.first(), Some(&Effect::Renew { runs: vec![run(1, 1)], until: UnixMillis(80_000) }));
    m.on(UnixMillis(21_000), done(run(1, 1)));
    assert_eq!(m.on(UnixMillis(40_000), Event::Timer(Timer::Renew)), []);
}

#[test]
fn the_work_of_a_day_is_queued_once_a_day() {
    let mut m = Machine::new(SETTINGS);
    let days = |effects: Vec<Effect>| {
        effects
            .into_iter()
            .filter_map(|e| if let Effect::Daily { day } = e { Some(day) } else { None })
            .collect::<Vec<_>>()
    };
    assert_eq!(days(m.on(UnixMillis(DAY_MS), Event::Woken)), [1]);
    assert_eq!(days(m.on(UnixMillis(DAY_MS + 9), Event::Timer(Timer::Poll))), [] as [i64; 0]);
    assert_eq!(days(m.on(UnixMillis(2 * DAY_MS), Event::Timer(Timer::Poll))), [2]);
}

#[test]
fn a_stop_waits_for_what_is_under_way_and_begins_nothing() {
    let mut m = Machine::new(SETTINGS);
    m.on(UnixMillis(0), Event::Woken);
    m.on(UnixMillis(0), leased(&[run(1, 1)], None));
    m.on(UnixMillis(0), Event::Timer(Timer::Poll));
    assert_eq!(m.on(UnixMillis(0), Event::Stop), []);
    assert_eq!(m.on(UnixMillis(0), leased(&[run(2, 1)], None)), []);
    assert_eq!(m.on(UnixMillis(0), Event::Woken), []);
    assert_eq!(m.on(UnixMillis(0), done(run(1, 1))), [Effect::Stopped]);
    assert_eq!(m.on(UnixMillis(0), Event::Stop), []);
}

#[derive(Clone, Debug)]
enum Op {
    Wake,
    Poll,
    Renew,
    Answer(usize, bool),
    Fail(usize, u8, f64),
    Done(usize),
    Settle(usize),
    Tick(u32),
    Stop,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Wake),
        4 => Just(Op::Poll),
        2 => Just(Op::Renew),
        8 => (0..5_usize, any::<bool>()).prop_map(|(n, ok)| Op::Answer(n, ok)),
        4 => (any::<usize>(), any::<u8>(), any::<f64>()).prop_map(|(n, again, jitter)| Op::Fail(n, again, jitter)),
        4 => any::<usize>().prop_map(Op::Done),
        6 => any::<usize>().prop_map(Op::Settle),
        3 => any::<u32>().prop_map(Op::Tick),
        1 => Just(Op::Stop),
    ]
}

proptest! {
    /// A queue that answers in any order: jobs are run only when they were leased, never more at once than allowed, and
    /// nothing is begun after a stop, which is told once, when all is quiet.
    #[test]
    fn places_are_kept_and_every_attempt_has_one_fate(ops in prop::collection::vec(op(), 0..120)) {
        let mut m = Machine::new(SETTINGS);
        let mut now = UnixMillis(0);
        let mut asked: Option<usize> = None;
        let mut next_id = 0;
        let mut running: BTreeMap<Run, ()> = BTreeMap::new();
        let mut settling: BTreeMap<Run, ()> = BTreeMap::new();
        let (mut stop, mut stopped) = (false, 0);
        for op in ops {
            let event = match op {
                Op::Wake => Event::Woken,
                Op::Poll => Event::Timer(Timer::Poll),
                Op::Renew => Event::Timer(Timer::Renew),
                Op::Stop => { stop = true; Event::Stop }
                Op::Tick(ms) => { now = UnixMillis(now.0 + i64::from(ms)); continue }
                Op::Answer(n, ok) => {
                    let Some(limit) = asked.take() else { continue };
                    if ok {
                        let runs: Vec<Run> = (0..n.min(limit)).map(|_| { next_id += 1; run(next_id, 1 + (next_id % 6) as u32) }).collect();
                        Event::Leased { runs, next_due: None }
                    } else {
                        Event::LeaseFailed
                    }
                }
                Op::Fail(n, again, jitter) => {
                    let Some(which) = running.keys().nth(n % running.len().max(1)).copied() else { continue };
                    running.remove(&which);
                    let again = match again % 3 { 0 => Again::Later, 1 => Again::Never, _ => Again::NotBefore(Duration::from_secs(1)) };
                    Event::Ran { run: which, result: Err(Failure { code: "x".into(), again }), jitter }
                }
                Op::Done(n) => {
                    let Some(which) = running.keys().nth(n % running.len().max(1)).copied() else { continue };
                    running.remove(&which);
                    done(which)
                }
                Op::Settle(n) => {
                    let Some(which) = settling.keys().nth(n % settling.len().max(1)).copied() else { continue };
                    settling.remove(&which);
                    Event::Settled(which)
                }
            };
            let fated = matches!(event, Event::Ran { result: Err(_), .. });
            let mut fates = 0;
            for effect in m.on(now, event) {
                match effect {
                    Effect::Lease { limit, until } => {
                        prop_assert!(!stop && asked.is_none() && limit > 0);
                        prop_assert_eq!(until, now.after(SETTINGS.lease));
                        asked = Some(limit);
                    }
                    Effect::Run(which) => {
                        prop_assert!(!stop && which.attempt <= SETTINGS.attempts);
                        prop_assert!(running.insert(which, ()).is_none());
                    }
                    Effect::Retry { run, at, .. } => {
                        fates += 1;
                        prop_assert!(at > now && run.attempt < SETTINGS.attempts);
                        settling.insert(run, ());
                    }
                    Effect::Bury { run, .. } => { fates += 1; settling.insert(run, ()); }
                    Effect::Renew { runs, .. } => {
                        prop_assert!(runs.iter().all(|r| running.contains_key(r) || settling.contains_key(r)));
                    }
                    Effect::Stopped => {
                        stopped += 1;
                        prop_assert!(stop && running.is_empty() && settling.is_empty() && asked.is_none());
                    }
                    Effect::Daily { .. } => prop_assert!(!stop),
                    Effect::SetTimer(..) => {}
                }
            }
            prop_assert!(!fated || fates == 1);
            prop_assert!(running.len() + settling.len() + asked.unwrap_or(0) <= SETTINGS.at_once);
        }
        prop_assert!(stopped <= 1);
        prop_assert_eq!(stopped == 1, stop && running.is_empty() && settling.is_empty() && asked.is_none());
    }
}
