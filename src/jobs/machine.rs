//! Decides which jobs are taken and run, and what follows a failure. Pure: times and random numbers come in.

use crate::domain::time::UnixMillis;
use std::collections::BTreeSet;
use std::time::Duration;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// How much at once, how patiently.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Jobs at once.
    pub at_once: usize,
    /// Attempts after which a job is given up.
    pub attempts: u32,
    /// Wait before the second attempt; doubles with each.
    pub retry: Duration,
    /// Longest wait of our own choosing.
    pub retry_max: Duration,
    /// How long a job is leased.
    pub lease: Duration,
    /// Longest wait between two looks at the queue.
    pub poll: Duration,
}

/// One attempt at one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The job.
    pub id: i64,
    /// Which attempt, from 1.
    pub attempt: u32,
}

/// Whether a failed job is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Yes, in a while.
    Later,
    /// Yes, but not before this long.
    NotBefore(Duration),
    /// No: it would fail the same way.
    Never,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable code, for logs and the list.
    pub code: String,
    /// Whether to try again.
    pub again: Again,
}

/// The timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// Look at the queue.
    Poll,
    /// Keep what is under way.
    Renew,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something may be due.
    Woken,
    /// A look at the queue brought these.
    Leased {
        /// Attempts that are ours now.
        runs: Vec<Run>,
        /// When the next of the other jobs is due.
        next_due: Option<UnixMillis>,
    },
    /// The queue could not be looked at.
    LeaseFailed,
    /// An attempt is over; what a successful one brought about is kept.
    Ran {
        /// Which.
        run: Run,
        /// How it went.
        result: Result<(), Failure>,
        /// A random number of 0..1.
        jitter: f64,
    },
    /// What became of a failed attempt is written, or cannot be.
    Settled(Run),
    /// A timer ran out.
    Timer(Timer),
    /// No more jobs.
    Stop,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Look at the queue; answered by `Leased` or `LeaseFailed`.
    Lease {
        /// At most so many jobs.
        limit: usize,
        /// How long they are to be ours.
        until: UnixMillis,
    },
    /// Make an attempt; answered by `Ran`.
    Run(Run),
    /// Have it tried again; answered by `Settled`.
    Retry {
        /// The attempt that failed.
        run: Run,
        /// When.
        at: UnixMillis,
        /// Why.
        code: String,
    },
    /// Give the job up; answered by `Settled`.
    Bury {
        /// The attempt that failed, or that is not made any more.
        run: Run,
        /// Why.
        code: String,
    },
    /// Keep what is under way.
    Renew {
        /// The attempts.
        runs: Vec<Run>,
        /// How long.
        until: UnixMillis,
    },
    /// Queue the work of a day (counted from 1970-01-01), unless somebody has.
    Daily {
        /// The day.
        day: i64,
    },
    /// Wake up later; replaces the timer of that name.
    SetTimer(Timer, Duration),
    /// Nothing is under way any more, and nothing will be.
    Stopped,
}

/// What an attempt stands at.
#[derive(Debug)]
pub struct Machine {
    settings: Settings,
    /// Attempts under way, those included whose failure is being written down.
    under_way: BTreeSet<Run>,
    /// Places asked for by the look at the queue that is under way.
    looking: Option<usize>,
    /// Something may have become due since that look began.
    again: bool,
    renewing: bool,
    day: Option<i64>,
    stopping: bool,
    stopped: bool,
}

impl Machine {
    /// Nothing is under way.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            under_way: BTreeSet::new(),
            looking: None,
            again: false,
            renewing: false,
            day: None,
            stopping: false,
            stopped: false,
        }
    }

    /// Takes an event at a time.
    pub fn on(&mut self, now: UnixMillis, event: Event) -> Vec<Effect> {
        let mut fx = Vec::new();
        match event {
            Event::Woken | Event::Timer(Timer::Poll) => {
                self.daily(now, &mut fx);
                self.look(now, &mut fx);
            }
            Event::Leased { runs, next_due } => self.leased(now, runs, next_due, &mut fx),
            Event::LeaseFailed => {
                self.looking = None;
                self.again = false;
                self.wait(self.settings.poll, &mut fx);
            }
            Event::Ran { run, result: Ok(()), .. } => self.over(now, run, self.again, &mut fx),
            Event::Ran { run, result: Err(failure), jitter } => {
                if self.under_way.contains(&run) {
                    fx.push(self.settings.after(now, run, failure, jitter));
                }
            }
            // Another look finds out when its next attempt is due.
            Event::Settled(run) => self.over(now, run, true, &mut fx),
            Event::Timer(Timer::Renew) => {
                self.renewing = false;
                if !self.under_way.is_empty() {
                    let runs = self.under_way.iter().copied().collect();
                    fx.push(Effect::Renew { runs, until: now.after(self.settings.lease) });
                    self.keep(&mut fx);
                }
            }
            Event::Stop => self.stopping = true,
        }
        if self.stopping && !self.stopped && self.under_way.is_empty() && self.looking.is_none() {
            self.stopped = true;
            fx.push(Effect::Stopped);
        }
        fx
    }

    fn daily(&mut self, now: UnixMillis, fx: &mut Vec<Effect>) {
        let day = now.0.div_euclid(DAY_MS);
        if !self.stopping && self.day != Some(day) {
            self.day = Some(day);
            fx.push(Effect::Daily { day });
        }
    }

    fn look(&mut self, now: UnixMillis, fx: &mut Vec<Effect>) {
        if self.stopping {
            return;
        }
        let free = self.settings.at_once.saturating_sub(self.under_way.len());
        if self.looking.is_some() || free == 0 {
            // Looked at again when the look is over, or a place is free.
            self.again = true;
            return;
        }
        self.again = false;
        self.looking = Some(free);
        fx.push(Effect::Lease { limit: free, until: now.after(self.settings.lease) });
    }

    fn leased(
        &mut self,
        now: UnixMillis,
        runs: Vec<Run>,
        next_due: Option<UnixMillis>,
        fx: &mut Vec<Effect>,
    ) {
        let asked = self.looking.take().unwrap_or(0);
        // What came after the wish to stop is given back with all the rest that is leased.
        if self.stopping {
            return;
        }
        let full = asked > 0 && runs.len() >= asked;
        for run in runs {
            if !self.under_way.insert(run) {
                continue;
            }
            // Each attempt counts when it is begun: a job that takes its process down with it ends here.
            if run.attempt > self.settings.attempts {
                fx.push(Effect::Bury { run, code: "job.attempts_used_up".to_owned() });
            } else {
                fx.push(Effect::Run(run));
            }
        }
        self.keep(fx);
        self.again |= full;
        if self.again {
            self.look(now, fx);
        }
        let due = next_due.map(|due| Duration::from_millis(due.millis_since(now)));
        self.wait(due.unwrap_or(self.settings.poll).min(self.settings.poll), fx);
    }

    fn over(&mut self, now: UnixMillis, run: Run, look: bool, fx: &mut Vec<Effect>) {
        if self.under_way.remove(&run) && look {
            self.look(now, fx);
        }
    }

    fn wait(&self, wait: Duration, fx: &mut Vec<Effect>) {
        if !self.stopping {
            // A job whose time has come and that somebody else holds is no reason to spin.
            fx.push(Effect::SetTimer(Timer::Poll, wait.max(Duration::from_millis(20))));
        }
    }

    fn keep(&mut self, fx: &mut Vec<Effect>) {
        if !self.renewing && !self.under_way.is_empty() {
            self.renewing = true;
            fx.push(Effect::SetTimer(Timer::Renew, self.settings.lease / 3));
        }
    }
}

impl Settings {
    fn after(&self, now: UnixMillis, run: Run, failure: Failure, jitter: f64) -> Effect {
        let code = failure.code;
        let asked = match failure.again {
            Again::Never => return Effect::Bury { run, code },
            _ if run.attempt >= self.attempts => return Effect::Bury { run, code },
            Again::Later => Duration::ZERO,
            Again::NotBefore(wait) => wait,
        };
        Effect::Retry { run, at: now.after(self.back_off(run.attempt, jitter).max(asked)), code }
    }

    /// Between half and all of `retry · 2^(attempt - 1)`.
    fn back_off(&self, attempt: u32, jitter: f64) -> Duration {
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let full = self.retry.saturating_mul(factor).min(self.retry_max);
        let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
        full.mul_f64(0.5 + jitter / 2.0)
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
