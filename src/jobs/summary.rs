//! The summary of a call, written right after its end.
//!
//! A call whose summary did not come about stays marked in the database and is taken up at the next start.

use crate::db::{DbError, DbHandle, Write};
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use crate::domain::turn::{Speaker, TurnRecord};
use crate::provider::llm::{ChatMessage, ChatModel, ChatRequest, ToolChoice};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// What the model is told.
const INSTRUCTIONS: &str = "You summarise phone calls for the staff of a business. In two or three sentences: who called, \
                            what they wanted, what was agreed, what is left to do. Plain text, no preamble.";
/// Attempts, and the wait before the second; doubles.
const ATTEMPTS: u32 = 3;
const WAIT: Duration = Duration::from_secs(2);
/// Summaries at once: live calls use the same vendor.
const AT_ONCE: usize = 4;
/// Summaries of earlier runs taken up at a start.
const TAKEN_UP: u32 = 1_000;

/// Writes summaries, on one thread.
#[derive(Clone)]
pub struct Summaries {
    db: DbHandle,
    model: Rc<dyn ChatModel>,
    places: Rc<Semaphore>,
    under_way: Rc<watch::Sender<usize>>,
    closing: watch::Receiver<bool>,
}

/// The other end of [`Summaries`], for whoever stops the server.
pub struct SummariesEnd {
    under_way: watch::Receiver<usize>,
    closing: watch::Sender<bool>,
}

impl SummariesEnd {
    /// Waits until no summary is under way, at most as long as `limit`. Those that would wait for another attempt are
    /// left to the next start.
    pub async fn finish(mut self, limit: Duration) {
        self.closing.send_replace(true);
        if tokio::time::timeout(limit, self.under_way.wait_for(|n| *n == 0)).await.is_err() {
            tracing::warn!(left = *self.under_way.borrow(), "summaries are left to the next start");
        }
    }
}

/// Counts one summary as under way while it lives.
struct UnderWay(Rc<watch::Sender<usize>>);

impl UnderWay {
    fn begin(count: &Rc<watch::Sender<usize>>) -> Self {
        count.send_modify(|n| *n = n.saturating_add(1));
        Self(Rc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// What passes from a server to its summaries and back; made before the thread that writes them.
pub struct Wires {
    under_way: watch::Sender<usize>,
    closing: watch::Receiver<bool>,
}

/// Both ends.
pub fn wires() -> (Wires, SummariesEnd) {
    let (count, under_way) = watch::channel(0);
    let (close, closing) = watch::channel(false);
    (Wires { under_way: count, closing }, SummariesEnd { under_way, closing: close })
}

impl Summaries {
    /// Writes summaries by `model` into `db`.
    pub fn new(db: DbHandle, model: Rc<dyn ChatModel>, wires: Wires) -> Self {
        Self {
            db,
            model,
            places: Rc::new(Semaphore::new(AT_ONCE)),
            under_way: Rc::new(wires.under_way),
            closing: wires.closing,
        }
    }

    /// Writes the summary of a call that has ended, in a task of its own.
    pub fn write(&self, sid: CallSid) {
        let this = self.clone();
        let under_way = UnderWay::begin(&self.under_way);
        actix_rt::spawn(async move {
            let _under_way = under_way;
            this.work(sid).await;
        });
    }

    /// Takes up what calls that ended before `started` are still owed.
    pub fn take_up(&self, started: UnixMillis) {
        let this = self.clone();
        actix_rt::spawn(async move {
            match this.db.pending_summaries(started, TAKEN_UP).await {
                Ok(sids) => sids.into_iter().for_each(|sid| this.write(sid)),
                Err(error) => tracing::error!(%error, "pending summaries not read"),
            }
        });
    }

    /// Waits before another attempt; false if there is to be none.
    async fn again(&mut self, attempt: u32) -> bool {
        if attempt + 1 >= ATTEMPTS {
            return false;
        }
        let wait = tokio::time::sleep(WAIT.saturating_mul(1 << attempt));
        tokio::select! {
            // An error is an end as well: the server is gone.
            _ = self.closing.wait_for(|closing| *closing) => false,
            () = wait => true,
        }
    }

    /// The call's turns, once all that was queued before its end is written.
    async fn turns(&mut self, sid: &CallSid) -> Result<Vec<TurnRecord>, DbError> {
        let mut attempt = 0;
        loop {
            let read = match self.db.flush().await {
                Ok(()) => self.db.turns(sid.clone()).await,
                Err(error) => Err(error),
            };
            match read {
                Err(error) if !matches!(error, DbError::Closed) && self.again(attempt).await => {
                    tracing::warn!(call.id = %sid, %error, attempt, "turns not read for the summary");
                    attempt += 1;
                }
                read => return read,
            }
        }
    }

    /// A call in which the caller said nothing needs none.
    async fn work(mut self, sid: CallSid) {
        let places = Rc::clone(&self.places);
        let Ok(_place) = places.acquire().await else { return };
        let turns = match self.turns(&sid).await {
            Ok(turns) => turns,
            Err(error) => {
                tracing::error!(call.id = %sid, %error, "turns not read for the summary");
                return;
            }
        };
        if !turns.iter().any(|t| t.speaker == Speaker::Caller) {
            return;
        }
        let request = request(&turns);
        for attempt in 0..ATTEMPTS {
            match self.model.complete(&request).await {
                Ok(done) if !done.text.trim().is_empty() => {
                    let text = done.text.trim().to_owned();
                    if let Err(error) = self.db.write(Write::Summary { sid: sid.clone(), text }).await {
                        tracing::error!(call.id = %sid, %error, "summary not stored");
                    }
                    return;
                }
                Ok(_) => {}
                Err(error) if !error.is_retryable() => {
                    tracing::warn!(call.id = %sid, code = %error.code, "summary refused");
                    return;
                }
                Err(error) => tracing::warn!(call.id = %sid, code = %error.code, attempt, "summary failed"),
            }
            if !self.again(attempt).await {
                break;
            }
        }
        tracing::error!(call.id = %sid, "no summary yet");
    }
}

fn request(turns: &[TurnRecord]) -> ChatRequest {
    let mut transcript = String::new();
    for turn in turns {
        let who = match turn.speaker {
            Speaker::Caller => "Caller",
            Speaker::Bot => "Receptionist",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(transcript, "{who}: {}", turn.heard);
    }
    ChatRequest {
        messages: vec![ChatMessage::System(INSTRUCTIONS.into()), ChatMessage::User(transcript)],
        tools: Vec::new(),
        tool_choice: ToolChoice::None,
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
