//! What the runner of jobs accepts.

use actix::Message;

/// Something may be due: a call's end was handed to the database, or staff want a job tried again.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Takes no more jobs, waits for those under way for as long as the asker likes, gives back the others. Answered when
/// nothing is under way any more.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Stop {
    /// How long to wait for what is under way.
    pub limit: std::time::Duration,
}
