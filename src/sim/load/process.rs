//! CPU time and memory of a process, read from `/proc`. On other systems there is nothing to read.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// How often memory is read.
const EVERY: Duration = Duration::from_millis(100);
/// The kernel counts CPU time for user space in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds that a process has used, all threads together.
#[must_use]
pub fn cpu_s(pid: u32) -> Option<f64> {
    cpu_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident memory of a process in kB.
#[must_use]
pub fn rss_kb(pid: u32) -> Option<u64> {
    number_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// Files and sockets that a process has open.
#[must_use]
pub fn open_files(pid: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64)
}

/// Threads of a process.
#[must_use]
pub fn threads(pid: u32) -> Option<u64> {
    number_in(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "Threads:")
}

fn cpu_in(stat: &str) -> Option<f64> {
    // The name in brackets may hold blanks and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_S)
}

fn number_in(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Watches the memory of a process from a thread of its own.
pub struct Watch {
    pid: u32,
    cpu_before: f64,
    rss_before: u64,
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Used {
    /// CPU seconds.
    pub cpu_s: f64,
    /// Resident memory before, in kB.
    pub rss_before_kb: u64,
    /// The most it was, in kB.
    pub rss_peak_kb: u64,
    /// Resident memory after, in kB.
    pub rss_after_kb: u64,
}

impl Watch {
    /// Begins; `None` if there is no such process.
    #[must_use]
    pub fn start(pid: u32) -> Option<Self> {
        let (cpu_before, rss_before) = (cpu_s(pid)?, rss_kb(pid)?);
        let peak = Arc::new(AtomicU64::new(rss_before));
        let stop = Arc::new(AtomicBool::new(false));
        let (highest, stopped) = (Arc::clone(&peak), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("sim-watch".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    if let Some(now) = rss_kb(pid) {
                        highest.fetch_max(now, Ordering::Relaxed);
                    }
                    sleep(EVERY);
                }
            })
            .ok()?;
        Some(Self { pid, cpu_before, rss_before, peak, stop, thread: Some(thread) })
    }

    /// CPU seconds so far.
    #[must_use]
    pub fn cpu_so_far(&self) -> Option<f64> {
        cpu_s(self.pid).map(|now| now - self.cpu_before)
    }

    /// Ends; `cpu_s` as measured when the calls were over. `None` if the process is gone.
    #[must_use]
    pub fn end(mut self, cpu_s: Option<f64>) -> Option<Used> {
        let after = rss_kb(self.pid);
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        Some(Used {
            cpu_s: cpu_s?,
            rss_before_kb: self.rss_before,
            rss_peak_kb: self.peak.load(Ordering::Relaxed),
            rss_after_kb: after?,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1 2";
        assert_eq!(cpu_in(stat), Some(3.0));
        assert_eq!(cpu_in("nonsense"), None);
        assert_eq!(number_in("Name:\tx\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1_234));
        assert_eq!(number_in("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn a_process_that_does_not_exist_is_not_watched() {
        assert!(Watch::start(u32::MAX).is_none());
    }
}
