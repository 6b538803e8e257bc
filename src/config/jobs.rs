//! Work that follows calls: how much at once, how patiently.

use super::setting::settings;
use super::validate::within;

settings! {
    /// Work that follows calls: summaries, call-backs, clean-up.
    pub struct JobsConfig {
        /// Jobs at once in this process; live calls use the same vendors.
        at_once: usize = 4, check within(1, 100);
        /// Attempts after which a job is laid aside for staff to look at.
        attempts: u32 = 12, check within(1, 100);
        /// Wait before the second attempt, ms; doubles with each.
        retry_ms: u64 = 5_000, check within(1, 3_600_000);
        /// Longest wait between two attempts, ms.
        retry_max_ms: u64 = 3_600_000, check within(1, 604_800_000);
        /// How long a job belongs to the process that took it, unless it says again that it is at it, ms.
        lease_ms: u64 = 60_000, check within(1_000, 3_600_000);
        /// How often to look for jobs that other processes left, ms.
        poll_ms: u64 = 5_000, check within(50, 600_000);
    }
}
