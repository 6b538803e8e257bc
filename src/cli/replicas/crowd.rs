//! The callers of a drill, on a thread of their own, so that nothing that is done to the replicas makes them late.

use crate::sim::caller::phrase::{CallerVoice, Phrases};
use crate::sim::caller::report::CallReport;
use crate::sim::caller::{CallConfig, Line, StreamUp, run_rendered};
use crate::sim::script::Script;
use anyhow::Context as _;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// One caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What they do.
    pub script: Arc<Script>,
    /// When they ring, after the crowd's beginning.
    pub after: Duration,
    /// Their number's last digits.
    pub number: usize,
    /// The call's identifier, `CA…`.
    pub sid: String,
}

/// A call that is over.
#[derive(Clone, Debug)]
pub struct Placed {
    /// When it was placed.
    pub began: Instant,
    /// What became of it.
    pub report: CallReport,
}

/// Where the calls are: the replica that has the stream, by the call's identifier.
type Whereabouts = Arc<Mutex<HashMap<String, String>>>;

/// Callers under way.
#[derive(Debug)]
pub struct Crowd {
    thread: JoinHandle<Vec<Placed>>,
    enough: Arc<AtomicBool>,
    at: Whereabouts,
}

impl Crowd {
    /// Has them ring. `call` says how the servers are reached.
    pub fn start(call: &CallConfig, callers: Vec<Caller>) -> anyhow::Result<Self> {
        let (enough, at) = (Arc::<AtomicBool>::default(), Whereabouts::default());
        let call = CallConfig { enough: Arc::clone(&enough), listen: true, ..call.clone() };
        let known = Arc::clone(&at);
        let thread = std::thread::Builder::new()
            .name("drill-callers".to_owned())
            .spawn(move || actix_web::rt::System::new().block_on(talk(call, callers, known)))
            .context("the callers have no thread")?;
        Ok(Self { thread, enough, at })
    }

    /// Where each call is that has had a stream: the replica's name, by the call's identifier.
    pub fn whereabouts(&self) -> HashMap<String, String> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many have a stream.
    pub async fn until_talking(&self, calls: usize, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while self.whereabouts().len() < calls {
            let talking = self.whereabouts().len();
            anyhow::ensure!(Instant::now() < deadline, "only {talking} of {calls} calls have a stream");
            anyhow::ensure!(!self.thread.is_finished(), "only {talking} of {calls} calls came to a stream");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Has them say goodbye after what they are at.
    pub fn enough(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }

    /// Waits for the last one.
    pub async fn over(self) -> anyhow::Result<Vec<Placed>> {
        let joined = actix_web::web::block(move || self.thread.join()).await;
        let joined = joined.context("the callers' end cannot be waited for")?;
        joined.map_err(|_| anyhow::anyhow!("the callers' thread has panicked"))
    }
}

/// All of them, to the end of the last call.
async fn talk(call: CallConfig, callers: Vec<Caller>, at: Whereabouts) -> Vec<Placed> {
    let line = Line::new(&call.trust);
    let (told, mut streams) = mpsc::unbounded_channel::<StreamUp>();
    actix_rt::spawn(async move {
        while let Some(up) = streams.recv().await {
            let mut at = at.lock().unwrap_or_else(PoisonError::into_inner);
            at.insert(up.call_sid, up.served_by.unwrap_or_default());
        }
    });
    // Each script is rendered once: before anybody rings, for it takes a while.
    let mut rendered: Vec<(Arc<Script>, Arc<Phrases>)> = Vec::new();
    let mut calls = Vec::new();
    for caller in &callers {
        let known = rendered.iter().find(|(script, _)| Arc::ptr_eq(script, &caller.script));
        let phrases = match known {
            Some((_, phrases)) => Arc::clone(phrases),
            None => {
                let phrases = Arc::new(Phrases::render(&caller.script, CallerVoice::Tone));
                rendered.push((Arc::clone(&caller.script), Arc::clone(&phrases)));
                phrases
            }
        };
        calls.push(phrases);
    }
    let all = callers.into_iter().zip(calls).map(|(caller, phrases)| {
        let mut call = call.clone();
        call.from = format!("+1{:010}", 2_025_000_000_u64.saturating_add(caller.number as u64));
        call.sid = Some(caller.sid);
        call.on_stream = Some(told.clone());
        let line = line.clone();
        // A task each, so that a frame wakes only its own call.
        actix_rt::spawn(async move {
            sleep(caller.after).await;
            let began = Instant::now();
            let report = run_rendered(&line, &call, caller.script, phrases).await;
            Placed { began, report }
        })
    });
    let placed = join_all(all.collect::<Vec<_>>()).await;
    // One that is missing was aborted, which nobody does.
    placed.into_iter().flatten().collect()
}
