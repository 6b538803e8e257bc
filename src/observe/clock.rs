//! The time of day, for records. Calls themselves run on their own clock.

use crate::domain::time::UnixMillis;
use std::time::SystemTime;

/// Now, in Unix milliseconds.
pub fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
