//! How long data is kept.

use super::setting::settings;
use super::validate::within;

/// A century.
const LONGEST_DAYS: u32 = 36_500;

settings! {
    /// How long data is kept, in days; 0 is for ever. What is older goes once a day.
    pub struct RetentionConfig {
        /// Ended calls with their turns, outcome and messages.
        calls_days: u32 = 0, check within(0, LONGEST_DAYS);
        /// The audit trail of calls.
        audit_days: u32 = 0, check within(0, LONGEST_DAYS);
        /// Recordings.
        recordings_days: u32 = 90, check within(0, LONGEST_DAYS);
        /// Jobs that are done.
        jobs_days: u32 = 30, check within(0, LONGEST_DAYS);
    }
}
