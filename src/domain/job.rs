//! A job as a fact: what is to be done, and how that stands.

use super::call::words;
use serde::{Deserialize, Serialize};

words!(
    /// What is to be done.
    JobKind {
        /// Write a call's summary and outcome.
        Summary = "summary",
        /// Put a conversation that was not finished on the staff's list.
        CallBack = "callback",
        /// Put a recording into the object store and delete it here.
        Upload = "upload",
        /// Delete what has been kept long enough.
        Retention = "retention",
    }
);

words!(
    /// How a job stands.
    JobState {
        /// It waits for its time.
        Queued = "queued",
        /// Somebody is at it.
        Leased = "leased",
        /// It is done.
        Done = "done",
        /// It was given up and waits for staff: the dead-letter list.
        Dead = "dead",
    }
);
