//! What the rest of the program holds of the database: an owner, who closes it, and handles, which only use it.

use super::actor::{Close, DbActor, Enqueue, Flush, Queued, Totals};
use super::bookings::{self, BookOutcome, BookRequest, HoldRequest};
use super::calls::{self, CallOverview, Counts, StoredEvent, StoredMessage};
use super::connect::{AnyConnection, DbUrl, Pool, pool};
use super::customers;
use super::error::{DbError, DbRefused};
use super::migrate::open_url;
use super::replicas;
use super::scrub;
use super::spool::{self, Kept, Spool, TakenMessage};
use super::write::Write;
use crate::config::database::DatabaseConfig;
use crate::domain::appointment::{Appointment, Busy, Customer, CustomerPatch};
use crate::domain::ids::{CallSid, Epoch, ReplicaId};
use crate::domain::phone::PhoneNumber;
use crate::domain::time::UnixMillis;
use crate::domain::turn::{ResumeState, TurnRecord};
use actix::prelude::*;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How long the end waits for readers that still run.
const READERS_END: Duration = Duration::from_secs(10);

/// Connections that no reader has: one for heartbeats, one for a takeover that waits for a lock.
const STEADY: u32 = 2;
/// Refused writes of which the registry has not heard yet; what finds no room is told with the next one.
const FENCED: usize = 1_024;

/// The database's one owner. It lends [`DbHandle`]s, and only it can close the database: by [`Database::shutdown`],
/// or, without waiting, by being dropped.
pub struct Database {
    handle: DbHandle,
    arbiter: Option<Arbiter>,
}

/// A use of the database; cheap to clone, good on any thread, unable to close it.
#[derive(Clone)]
pub struct DbHandle(Arc<Shared>);

struct Shared {
    me: ReplicaId,
    fenced: mpsc::Sender<(CallSid, Epoch)>,
    told: Mutex<Option<mpsc::Receiver<(CallSid, Epoch)>>>,
    writer: Addr<DbActor>,
    /// Held while a write is put into the queue, so that whatever was accepted lies before the end.
    open: Mutex<bool>,
    places: Arc<Semaphore>,
    queue: usize,
    readers: Pool,
    /// For what must not wait for readers: whoever is late with it is taken for dead.
    steady: Pool,
    /// As many as there are connections: readers wait here and not on a thread.
    reading: Arc<Semaphore>,
    read_places: u32,
    wait: Duration,
    /// Held by whoever keeps sums of days: one does it for all.
    keeping: Arc<Semaphore>,
    refused: AtomicU64,
    totals: Arc<Totals>,
    /// Where messages wait for the database.
    spool: Arc<Spool>,
}

/// What the writer has done and has still to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Writes that wait or are being written.
    pub queued: usize,
    /// Writes that found the queue full and were lost.
    pub refused: u64,
    /// Writes that failed for good; not those of which whoever waited was told that the database is away, nor those of
    /// calls that are another replica's by now.
    pub failed: u64,
    /// Writes that stand.
    pub written: u64,
    /// Batches they were written in.
    pub batches: u64,
}

impl Database {
    /// Opens the database for the replica `me`: checks that it is ours, migrates it if that is allowed, and starts the
    /// writer on a thread of its own. Blocks; wants an actix system on this thread.
    ///
    /// A SQLite file is of one server at a time. Nothing enforces that, but whatever other server stands in it as present
    /// counts as dead from here on.
    pub fn open(config: &DatabaseConfig, me: ReplicaId) -> Result<Self, DbError> {
        if System::try_current().is_none() {
            return Err(DbError::NoSystem);
        }
        let url = DbUrl::parse(&config.url)?;
        // A first connection by hand tells what is wrong; a pool would only say that it waited.
        let mut first = open_url(&url, config.migrate)?;
        if matches!(url, DbUrl::Sqlite(_)) {
            replicas::bury_others(&mut first, &me)?;
        }
        drop(first);
        let wait = Duration::from_millis(config.wait_ms);
        let read_places = config.pool.max(1);
        let totals = Arc::new(Totals::default());
        let arbiter = Arbiter::try_new().map_err(DbError::Thread)?;
        let (fenced, told) = mpsc::channel(FENCED);
        let actor = DbActor::new(
            pool(&url, 1, wait),
            me.clone(),
            fenced.clone(),
            config.batch,
            Duration::from_millis(config.gather_ms),
            totals.clone(),
        );
        let writer = DbActor::start_in_arbiter(&arbiter.handle(), |_| actor);
        let queue = config.queue.clamp(1, Semaphore::MAX_PERMITS);
        let spool = Arc::new(Spool::new(config.spool_path(), config.spool_kb.saturating_mul(1_024)));
        let handle = DbHandle(Arc::new(Shared {
            me,
            fenced,
            told: Mutex::new(Some(told)),
            writer,
            open: Mutex::new(true),
            places: Arc::new(Semaphore::new(queue)),
            queue,
            readers: pool(&url, read_places, wait),
            steady: pool(&url, STEADY, wait),
            reading: Arc::new(Semaphore::new(read_places as usize)),
            read_places,
            wait,
            keeping: Arc::new(Semaphore::new(1)),
            refused: AtomicU64::new(0),
            totals,
            spool: Arc::clone(&spool),
        }));
        arbiter.spawn(spool::deliver(spool, handle.clone()));
        Ok(Self { handle, arbiter: Some(arbiter) })
    }

    /// A handle to pass on.
    pub fn handle(&self) -> DbHandle {
        self.handle.clone()
    }

    /// Closes the database: no new work is taken, what is queued is written, readers finish, the writer's thread ends.
    /// From then on every handle answers `Closed`.
    pub async fn shutdown(mut self) {
        let (done, ended) = oneshot::channel();
        self.handle.close(Some(done));
        // An error is an end as well: the writer is gone.
        let _ = ended.await;
        let all = self.handle.0.reading.acquire_many(self.handle.0.read_places);
        let _ = tokio::time::timeout(READERS_END, all).await;
        self.handle.0.reading.close();
        let readers = self.handle.0.readers.clone();
        let emptied = tokio::task::spawn_blocking(move || {
            let mut conn = readers.get().map_err(|error| DbError::Unavailable(Arc::new(error)))?;
            scrub::checkpoint(&mut conn)
        });
        if let Ok(Err(error)) = emptied.await {
            tracing::warn!(error.code = error.code(), %error, "the database's log could not be emptied");
        }
        if let Some(arbiter) = self.arbiter.take() {
            let _ = tokio::task::spawn_blocking(move || arbiter.join()).await;
        }
    }
}

impl Deref for Database {
    type Target = DbHandle;

    fn deref(&self) -> &DbHandle {
        &self.handle
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.handle.close(None);
        self.handle.0.reading.close();
    }
}

impl DbHandle {
    /// Which replica we are.
    pub fn replica(&self) -> &ReplicaId {
        &self.0.me
    }

    /// Calls of which we wrote something, or booked in, though somebody newer has them: what we hold of such a call is stale
    /// up to and with the epoch. Taken once, by whoever drops them; not every refusal is told, but the next one is.
    pub fn fenced(&self) -> Option<mpsc::Receiver<(CallSid, Epoch)>> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Queues a write and forgets it. Refused if the queue is full; an accepted write is written even if the database
    /// is closed or away for a while in between.
    pub fn record(&self, write: Write) -> Result<(), DbRefused> {
        let recorded = self.offer(write);
        if recorded == Err(DbRefused::Full) {
            self.lose(1);
        }
        recorded
    }

    /// The same for whoever keeps what is refused and offers it again: it counts as lost only when he gives it up.
    pub fn offer(&self, write: Write) -> Result<(), DbRefused> {
        self.enqueue(write, None)
    }

    /// Counts writes that were refused to whoever waited or offered them, and that he gives up.
    pub fn lose(&self, writes: u64) {
        self.0.refused.fetch_add(writes, Ordering::Relaxed);
    }

    /// Queues a write, at once and not when the future is first polled; the future waits until it stands.
    pub fn write(&self, write: Write) -> impl Future<Output = Result<(), DbError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let queued = self.enqueue(write, Some(reply));
        async move {
            queued?;
            answer.await.unwrap_or(Err(DbError::Closed))
        }
    }

    /// Takes a message for a call-back: into the database or, where that does not take it within the time of a reader,
    /// into a file, from which it is written when the database is back. An error means that it is nowhere.
    pub async fn keep_message(&self, message: TakenMessage) -> Result<Kept, DbError> {
        let code = match tokio::time::timeout(self.0.wait, self.write(message.write())).await {
            Ok(Ok(())) => return Ok(Kept::Written),
            Ok(Err(error)) => error.code(),
            // It may yet be written: then the one in the file is the same.
            Err(_) => "db.slow",
        };
        self.0.spool.keep(message).await?;
        tracing::warn!(code, "a message is kept on the disk until the database takes it");
        Ok(Kept::Spooled)
    }

    /// Waits until everything queued before this call is written.
    pub fn flush(&self) -> impl Future<Output = Result<(), DbError>> + use<> {
        let (reply, answer) = oneshot::channel();
        {
            let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
            if *open {
                self.0.writer.do_send(Flush(reply));
            }
            // Else the reply is dropped here, and that is the answer.
        }
        async move { answer.await.unwrap_or(Err(DbError::Closed)) }
    }

    /// Counters.
    pub fn stats(&self) -> DbStats {
        let totals = &self.0.totals;
        DbStats {
            queued: self.0.queue.saturating_sub(self.0.places.available_permits()),
            refused: self.0.refused.load(Ordering::Relaxed),
            failed: totals.failed.load(Ordering::Relaxed),
            written: totals.written.load(Ordering::Relaxed),
            batches: totals.batches.load(Ordering::Relaxed),
        }
    }

    /// Bytes of messages that wait on the disk for the database. Asks the file system.
    pub fn spooled_bytes(&self) -> u64 {
        self.0.spool.length()
    }

    fn enqueue(
        &self,
        write: Write,
        reply: Option<oneshot::Sender<Result<(), DbError>>>,
    ) -> Result<(), DbRefused> {
        let open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Err(DbRefused::Closed);
        }
        let Ok(permit) = self.0.places.clone().try_acquire_owned() else { return Err(DbRefused::Full) };
        // The permit is the bound; the mailbox has none.
        self.0.writer.do_send(Enqueue(Queued { write, reply, permit, tries: 0 }));
        Ok(())
    }

    fn close(&self, done: Option<oneshot::Sender<()>>) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *open, false) {
            self.0.writer.do_send(Close(done));
        }
    }

    /// Runs work of any length on the blocking pool with a connection of its own. At most as many run at once as there
    /// are connections; the others wait, no longer than a reader may.
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        if !*self.0.open.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(DbError::Closed);
        }
        let place = match self.0.reading.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(tokio::sync::TryAcquireError::Closed) => return Err(DbError::Closed),
            Err(tokio::sync::TryAcquireError::NoPermits) => {
                match tokio::time::timeout(self.0.wait, self.0.reading.clone().acquire_owned()).await {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) => return Err(DbError::Closed),
                    Err(_) => return Err(DbError::Overloaded),
                }
            }
        };
        let readers = self.0.readers.clone();
        let job = tokio::task::spawn_blocking(move || {
            // Held by the work itself: who waits for it may give up, the connection stays in use.
            let _place = place;
            let mut conn = readers.get().map_err(|error| DbError::Unavailable(Arc::new(error)))?;
            work(&mut conn)
        });
        job.await.unwrap_or(Err(DbError::Panicked))
    }

    /// The same with a connection that no reader ever has. Whoever comes meanwhile waits for it on a thread.
    pub(super) async fn steadily<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        if !*self.0.open.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(DbError::Closed);
        }
        let steady = self.0.steady.clone();
        let job = tokio::task::spawn_blocking(move || {
            let mut conn = steady.get().map_err(|error| DbError::Unavailable(Arc::new(error)))?;
            work(&mut conn)
        });
        job.await.unwrap_or(Err(DbError::Panicked))
    }

    /// What is done in a call; a refusal because somebody newer has it is told.
    async fn in_call<T: Send + 'static>(
        &self,
        call: CallSid,
        work: impl FnOnce(&mut AnyConnection, &ReplicaId) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let me = self.0.me.clone();
        let done = self.read(move |conn| work(conn, &me)).await;
        if let Some(epoch) = done.as_ref().err().and_then(DbError::fenced) {
            let _ = self.0.fenced.try_send((call, epoch));
        }
        done
    }

    /// The turn to keep sums of days, if nobody has it.
    pub(super) fn keeps_days(&self) -> Option<OwnedSemaphorePermit> {
        self.0.keeping.clone().try_acquire_owned().ok()
    }

    /// The customer with a number.
    pub async fn customer_by_phone(&self, phone: PhoneNumber) -> Result<Option<Customer>, DbError> {
        self.read(move |conn| customers::by_phone(conn, &phone)).await
    }

    /// The customer with an id.
    pub async fn customer(&self, id: i64) -> Result<Option<Customer>, DbError> {
        self.read(move |conn| customers::by_id(conn, id)).await
    }

    /// The newest customers.
    pub async fn customers(&self, limit: u32) -> Result<Vec<Customer>, DbError> {
        self.read(move |conn| customers::recent(conn, limit)).await
    }

    /// Remembers what is said of a customer, found by the number, else by `known` (the customer of the call), else made.
    /// What the patch does not say stays as it is.
    pub async fn upsert_customer(
        &self,
        patch: CustomerPatch,
        known: Option<i64>,
        at: UnixMillis,
    ) -> Result<Customer, DbError> {
        self.read(move |conn| customers::upsert(conn, &patch, known, at)).await
    }

    /// What is taken in `[from, to)`, each rounded outward to five minutes: appointments with their buffers, and holds
    /// that have not lapsed by `now`, except those of one call.
    pub async fn busy(
        &self,
        from: UnixMillis,
        to: UnixMillis,
        except: Option<CallSid>,
        now: UnixMillis,
    ) -> Result<Vec<Busy>, DbError> {
        self.read(move |conn| bookings::busy(conn, from, to, except.as_ref(), now)).await
    }

    /// Holds a slot for a call; false if somebody else has a part of it. Refused where somebody newer has the call.
    pub async fn hold(&self, request: HoldRequest) -> Result<bool, DbError> {
        self.in_call(request.call.clone(), move |conn, me| bookings::hold(conn, me, &request)).await
    }

    /// Frees whatever a call of ours, or of nobody, holds; says how many rows that were.
    pub async fn release_holds(&self, call: CallSid) -> Result<usize, DbError> {
        self.in_call(call.clone(), move |conn, me| bookings::release_holds(conn, me, &call)).await
    }

    /// Books in a transaction of its own. Holds of the same call and lapsed ones give way. Refused where somebody newer has
    /// the call.
    pub async fn book(&self, request: BookRequest) -> Result<BookOutcome, DbError> {
        self.in_call(request.call.clone(), move |conn, me| bookings::book(conn, me, &request)).await
    }

    /// Calls an appointment off and frees its time; false if there is none that is confirmed.
    pub async fn cancel_appointment(&self, id: i64, now: UnixMillis) -> Result<bool, DbError> {
        self.read(move |conn| bookings::cancel(conn, id, now)).await
    }

    /// Appointments that begin in `[from, to)`, cancelled ones too, by start.
    pub async fn appointments_between(
        &self,
        from: UnixMillis,
        to: UnixMillis,
    ) -> Result<Vec<Appointment>, DbError> {
        self.read(move |conn| bookings::between(conn, from, to)).await
    }

    /// A customer's appointments, latest start first.
    pub async fn appointments_of(&self, customer: i64, limit: u32) -> Result<Vec<Appointment>, DbError> {
        self.read(move |conn| bookings::of_customer(conn, customer, limit)).await
    }

    /// Appointments, latest start first.
    pub async fn appointments(&self, limit: u32) -> Result<Vec<Appointment>, DbError> {
        self.read(move |conn| bookings::recent(conn, limit)).await
    }

    /// What a call needs to go on, with its last turns; none if it is unknown or has ended.
    pub async fn resume_state(&self, sid: CallSid, max_turns: u32) -> Result<Option<ResumeState>, DbError> {
        self.read(move |conn| calls::resume_state(conn, &sid, max_turns)).await
    }

    /// Calls that have not ended, oldest first.
    pub async fn open_calls(&self) -> Result<Vec<CallOverview>, DbError> {
        self.read(calls::open_calls).await
    }

    /// A call.
    pub async fn call_overview(&self, sid: CallSid) -> Result<Option<CallOverview>, DbError> {
        self.read(move |conn| calls::call_overview(conn, &sid)).await
    }

    /// Calls, newest first.
    pub async fn recent_calls(&self, limit: u32) -> Result<Vec<CallOverview>, DbError> {
        self.read(move |conn| calls::recent_calls(conn, limit)).await
    }

    /// A call's turns, in order.
    pub async fn turns(&self, sid: CallSid) -> Result<Vec<TurnRecord>, DbError> {
        self.read(move |conn| calls::turns_of(conn, &sid)).await
    }

    /// A call's audit trail, in order.
    pub async fn events(&self, sid: CallSid) -> Result<Vec<StoredEvent>, DbError> {
        self.read(move |conn| calls::events_of(conn, &sid)).await
    }

    /// Messages for a call-back, newest first.
    pub async fn messages(&self, limit: u32) -> Result<Vec<StoredMessage>, DbError> {
        self.read(move |conn| calls::recent_messages(conn, limit)).await
    }

    /// How many rows there are.
    pub async fn counts(&self) -> Result<Counts, DbError> {
        self.read(calls::counts).await
    }
}
