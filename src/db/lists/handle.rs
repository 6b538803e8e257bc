//! What the staff's side asks of the database and does in it.

use super::{
    AppointmentFilter, CallFilter, CallHit, CustomerChange, CustomerDetail, CustomerHit, CustomerOutcome,
    Listed, MessageDetail, MessageFilter, Page, SearchWords, appointments, calls, customers, messages,
    search,
};
use crate::db::activity::{self, ActivityBucket, ActivityCounts, Run, days};
use crate::db::bookings::{self, AppointmentChange, AppointmentDetail, NewAppointment, StaffOutcome};
use crate::db::calls::{CallOverview, StoredEvent};
use crate::db::error::DbError;
use crate::db::handle::DbHandle;
use crate::db::time_off::{self, NewTimeOff, TimeOff};
use crate::domain::ids::CallSid;
use crate::domain::time::UnixMillis;
use crate::domain::turn::TurnRecord;
use crate::observe::clock::unix_now;
use std::collections::HashMap;

/// The numbers at the top of the dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DashboardNumbers {
    /// What happened in the time asked for.
    pub activity: ActivityCounts,
    /// Confirmed appointments that begin in it.
    pub appointments: i64,
    /// Customers there are.
    pub customers: i64,
}

impl DbHandle {
    /// Calls, newest first.
    pub async fn list_calls(&self, filter: CallFilter, page: Page) -> Result<Listed<CallOverview>, DbError> {
        self.read(move |conn| calls::list(conn, &filter, page)).await
    }

    /// A call by its id.
    pub async fn call_by_id(&self, id: i64) -> Result<Option<CallOverview>, DbError> {
        self.read(move |conn| calls::by_id(conn, id)).await
    }

    /// A call's turns, in order.
    pub async fn list_turns(&self, call_id: i64, page: Page) -> Result<Listed<TurnRecord>, DbError> {
        self.read(move |conn| calls::turns(conn, call_id, page)).await
    }

    /// A call's audit trail, in order.
    pub async fn list_events(&self, call: CallSid, page: Page) -> Result<Listed<StoredEvent>, DbError> {
        self.read(move |conn| calls::events(conn, &call, page)).await
    }

    /// Customers, newest first.
    pub async fn list_customers(&self, page: Page) -> Result<Listed<CustomerDetail>, DbError> {
        self.read(move |conn| customers::list(conn, page)).await
    }

    /// A customer with the times of the record.
    pub async fn customer_detail(&self, id: i64) -> Result<Option<CustomerDetail>, DbError> {
        self.read(move |conn| customers::by_id(conn, id)).await
    }

    /// Names of customers, of those that have one.
    pub async fn customer_names(&self, mut ids: Vec<i64>) -> Result<HashMap<i64, String>, DbError> {
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        self.read(move |conn| customers::names(conn, ids)).await
    }

    /// Ids of calls by Twilio's.
    pub async fn call_ids(&self, sids: Vec<CallSid>) -> Result<HashMap<CallSid, i64>, DbError> {
        if sids.is_empty() {
            return Ok(HashMap::new());
        }
        self.read(move |conn| calls::ids(conn, &sids)).await
    }

    /// Makes a customer; of the change, what is given counts.
    pub async fn create_customer(
        &self,
        new: CustomerChange,
        now: UnixMillis,
    ) -> Result<CustomerOutcome, DbError> {
        self.read(move |conn| customers::create(conn, &new, now)).await
    }

    /// Changes a customer.
    pub async fn change_customer(
        &self,
        id: i64,
        change: CustomerChange,
        now: UnixMillis,
    ) -> Result<CustomerOutcome, DbError> {
        self.read(move |conn| customers::change(conn, id, &change, now)).await
    }

    /// Removes a customer, unless appointments are still to come. Calls and past appointments stay without a name.
    pub async fn remove_customer(&self, id: i64, now: UnixMillis) -> Result<CustomerOutcome, DbError> {
        self.read(move |conn| customers::remove(conn, id, now)).await
    }

    /// Appointments: from a time on in the order of the calendar, else the latest first.
    pub async fn list_appointments(
        &self,
        filter: AppointmentFilter,
        page: Page,
    ) -> Result<Listed<AppointmentDetail>, DbError> {
        self.read(move |conn| appointments::list(conn, &filter, page)).await
    }

    /// How many confirmed appointments begin in a stretch of time, of one person or of all.
    pub async fn confirmed_between(
        &self,
        staff: Option<String>,
        from: UnixMillis,
        to: UnixMillis,
    ) -> Result<i64, DbError> {
        self.read(move |conn| appointments::confirmed(conn, staff.as_deref(), from, to)).await
    }

    /// An appointment.
    pub async fn appointment(&self, id: i64) -> Result<Option<AppointmentDetail>, DbError> {
        self.read(move |conn| bookings::detail(conn, id)).await
    }

    /// Books for the staff, in a transaction of its own.
    pub async fn create_appointment(
        &self,
        new: NewAppointment,
        now: UnixMillis,
    ) -> Result<StaffOutcome, DbError> {
        self.read(move |conn| bookings::create(conn, &new, now)).await
    }

    /// Moves, alters, calls off or takes up again an appointment: its time changes as a whole or not at all.
    pub async fn change_appointment(
        &self,
        id: i64,
        change: AppointmentChange,
        now: UnixMillis,
    ) -> Result<StaffOutcome, DbError> {
        self.read(move |conn| bookings::change(conn, id, &change, now)).await
    }

    /// Time off that touches a stretch of time, in the order of its beginning.
    pub async fn list_time_off(
        &self,
        from: Option<UnixMillis>,
        to: Option<UnixMillis>,
        page: Page,
    ) -> Result<Listed<TimeOff>, DbError> {
        self.read(move |conn| time_off::list(conn, from, to, page)).await
    }

    /// Enters time off. Appointments that lie in it stay.
    pub async fn add_time_off(&self, new: NewTimeOff, now: UnixMillis) -> Result<TimeOff, DbError> {
        self.read(move |conn| time_off::add(conn, &new, now)).await
    }

    /// Takes time off back; false if there is none of that id.
    pub async fn remove_time_off(&self, id: i64) -> Result<bool, DbError> {
        self.read(move |conn| time_off::remove(conn, id)).await
    }

    /// Messages, newest first.
    pub async fn list_messages(
        &self,
        filter: MessageFilter,
        page: Page,
    ) -> Result<Listed<MessageDetail>, DbError> {
        self.read(move |conn| messages::list(conn, filter, page)).await
    }

    /// Marks a message as dealt with, or as open again; none if there is no such message.
    pub async fn set_message_done(
        &self,
        id: i64,
        done: bool,
        by: String,
        now: UnixMillis,
    ) -> Result<Option<MessageDetail>, DbError> {
        self.read(move |conn| messages::set_done(conn, id, done, &by, now)).await
    }

    /// Calls in which all of the words stand, newest first.
    pub async fn search_calls(&self, words: SearchWords, page: Page) -> Result<Listed<CallHit>, DbError> {
        self.read(move |conn| search::calls(conn, &words, page)).await
    }

    /// Customers known by all of the words, newest first.
    pub async fn search_customers(
        &self,
        words: SearchWords,
        page: Page,
    ) -> Result<Listed<CustomerHit>, DbError> {
        self.read(move |conn| search::customers(conn, &words, page)).await
    }

    /// What happened in each stretch of time, in order; nothing is left out.
    pub async fn activity(&self, runs: Vec<Run>) -> Result<Vec<ActivityBucket>, DbError> {
        let now = unix_now();
        let (buckets, missing) = self.read(move |conn| days::activity(conn, &runs, now)).await?;
        if let Some(turn) = Some(missing).filter(|missing| !missing.is_empty()).zip(self.keeps_days()) {
            let db = self.clone();
            // Nobody waits for it: who asks next is answered sooner.
            actix::spawn(async move {
                let (missing, _turn) = turn;
                if let Err(error) = db.read(move |conn| days::keep(conn, &missing)).await {
                    tracing::debug!(error.code = error.code(), "days are not kept");
                }
            });
        }
        Ok(buckets)
    }

    /// The numbers at the top of the dashboard, for a day that lies in `[from, to)`.
    pub async fn dashboard(&self, from: UnixMillis, to: UnixMillis) -> Result<DashboardNumbers, DbError> {
        self.read(move |conn| dashboard(conn, from, to)).await
    }
}

pub(super) fn dashboard(
    conn: &mut crate::db::AnyConnection,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<DashboardNumbers, DbError> {
    let run = Run { from, to, step_ms: to.0.saturating_sub(from.0) };
    let mut numbers = DashboardNumbers {
        appointments: appointments::confirmed(conn, None, from, to)?,
        customers: activity::customers(conn)?,
        ..DashboardNumbers::default()
    };
    for bucket in activity::sums(conn, &[run])? {
        numbers.activity.add(&bucket.counts);
    }
    Ok(numbers)
}
