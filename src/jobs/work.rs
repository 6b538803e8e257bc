//! What is done for a job of each kind. What comes of it is kept by the runner, together with the job's end.

use super::callback;
use super::machine::{Again, Failure};
use super::recordings;
use super::retention::{Retention, Unfinished};
use super::summary::Writers;
use crate::config::prices::PricesConfig;
use crate::db::{DbError, DbHandle, JobEffect, LeasedJob};
use crate::domain::ids::CallSid;
use crate::domain::job::JobKind;
use crate::domain::turn::Speaker;
use crate::domain::usage::{Item, Used};
use crate::observe::clock::unix_now;
use crate::storage::store::Store;
use serde_json::Value;

/// Everything that jobs are done with.
pub struct Work {
    /// The database.
    pub db: DbHandle,
    /// Who writes summaries.
    pub writers: Writers,
    /// What is kept how long.
    pub retention: Retention,
    /// What the models cost.
    pub prices: PricesConfig,
    /// The recordings.
    pub recordings: Store,
    /// The place whose recordings are uploaded from here.
    pub place: Option<String>,
}

impl Work {
    /// Does a job, as far as it goes without keeping anything of it.
    pub async fn run(&self, job: &LeasedJob) -> Result<JobEffect, Failure> {
        match job.kind {
            JobKind::Summary => self.summary(call_of(&job.payload)?).await,
            JobKind::CallBack => self.call_back(call_of(&job.payload)?).await,
            JobKind::Upload => {
                recordings::upload(&self.db, &self.recordings, location_of(&job.payload)?).await
            }
            JobKind::Retention => match self.retention.run(&self.db, unix_now()).await {
                Ok(()) => Ok(JobEffect::Nothing),
                Err(Unfinished::Db(error)) => Err(db_failure(&error)),
                Err(Unfinished::Recordings(code)) => Err(Failure { code, again: Again::Later }),
            },
        }
    }

    async fn summary(&self, sid: CallSid) -> Result<JobEffect, Failure> {
        let turns = self.db.turns(sid.clone()).await.map_err(|error| db_failure(&error))?;
        // The call is gone, or was emptied since.
        if !turns.iter().any(|turn| turn.speaker == Speaker::Caller) {
            return Ok(JobEffect::Nothing);
        }
        let signed = self.writers.write(&turns).await?;
        let usage = signed.usage.unwrap_or_default();
        let used = [(Item::LlmInput, usage.input_tokens), (Item::LlmOutput, usage.output_tokens)]
            .into_iter()
            .filter(|(_, tokens)| *tokens > 0)
            .map(|(item, tokens)| {
                let (model, amount) = (signed.model.clone(), u64::from(tokens));
                let micros = self.prices.micros(item, &model, amount);
                Used { item, model, amount, micros }
            })
            .collect();
        Ok(JobEffect::Summary {
            sid,
            text: signed.written.summary,
            insight: signed.written.insight,
            model: signed.model,
            used,
        })
    }

    async fn call_back(&self, sid: CallSid) -> Result<JobEffect, Failure> {
        let call = self.db.call_overview(sid.clone()).await.map_err(|error| db_failure(&error))?;
        let Some(call) = call else { return Ok(JobEffect::Nothing) };
        let turns = self.db.turns(sid.clone()).await.map_err(|error| db_failure(&error))?;
        Ok(JobEffect::CallBack {
            sid,
            text: callback::note(call.end_reason, &turns),
            quotes: turns.iter().any(|turn| turn.speaker == Speaker::Caller),
        })
    }
}

fn call_of(payload: &Value) -> Result<CallSid, Failure> {
    match payload.get("call_sid").and_then(Value::as_str) {
        Some(sid) => Ok(CallSid::from(sid)),
        None => Err(Failure { code: "job.payload".to_owned(), again: Again::Never }),
    }
}

fn location_of(payload: &Value) -> Result<String, Failure> {
    let location = payload.get("location").and_then(Value::as_str).map(str::to_owned);
    location.ok_or_else(|| Failure { code: "job.payload".to_owned(), again: Again::Never })
}

/// A failure of the database.
pub(super) fn db_failure(error: &DbError) -> Failure {
    Failure { code: error.code().to_owned(), again: Again::Later }
}
