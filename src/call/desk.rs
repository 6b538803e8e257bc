//! The desk of one call: carries out the tools with the business's calendar and the database.
//!
//! It knows the caller from the call, never from the model: a number that was only said aloud does not open somebody
//! else's record. What the model sends is resolved here (dates, times, names), and nothing is told as done before the
//! database has confirmed it.

mod answers;
mod booking;
mod calendar;
mod customers;
mod info;
mod offers;
#[cfg(test)]
mod tests;

use super::dialogue::messages::{Desk, ToolOutcome};
use crate::booking::availability::is_open;
use crate::booking::dates::{self, Calendar};
use crate::db::DbHandle;
use crate::dialogue::tools::ToolRequest;
use crate::domain::appointment::Customer;
use crate::domain::call::{CallFacts, Outcome};
use crate::domain::ids::CallSid;
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use crate::domain::time::UnixMillis;
use answers::{Refused, told};
use booking::BookingArguments;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use jiff::Zoned;
use jiff::tz::TimeZone;
use offers::Offers;
use serde_json::json;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// The desk of one call.
pub struct BookingDesk(Rc<Inner>);

struct Inner {
    profile: Arc<BusinessProfile>,
    zone: Option<TimeZone>,
    db: DbHandle,
    facts: CallFacts,
    transfer_number: Option<PhoneNumber>,
    now: Rc<dyn Fn() -> UnixMillis>,
    known: Option<Teller>,
    state: RefCell<State>,
}

/// Is told who is on the other end of the call, once that is known or known better.
pub type Teller = Rc<dyn Fn(&Customer)>;

/// What the desk remembers of its call.
#[derive(Default)]
struct State {
    /// The caller's record.
    customer: Option<Customer>,
    /// A number the caller told that is not the key of their record.
    contact: Option<PhoneNumber>,
    offers: Offers,
    /// Messages that are stored, so that none is stored twice: name, number, text.
    messages: Vec<(Option<String>, Option<String>, String)>,
}

/// The present on the business's clock.
struct Present {
    zone: TimeZone,
    now: UnixMillis,
    local: Zoned,
    calendar: Calendar,
}

impl BookingDesk {
    /// A desk for a call. `customer` is the record found by the call's number, if there is one; `transfer_number` is
    /// where a person can be reached.
    pub fn new(
        profile: Arc<BusinessProfile>,
        db: DbHandle,
        facts: CallFacts,
        customer: Option<Customer>,
        transfer_number: Option<PhoneNumber>,
        now: Rc<dyn Fn() -> UnixMillis>,
    ) -> Self {
        let zone = dates::zone_of(&profile);
        let state = RefCell::new(State { customer, ..State::default() });
        Self(Rc::new(Inner { profile, zone, db, facts, transfer_number, now, known: None, state }))
    }

    /// Has somebody told who calls.
    #[must_use]
    pub fn telling(mut self, known: Option<Teller>) -> Self {
        if let Some(inner) = Rc::get_mut(&mut self.0) {
            inner.known = known;
        }
        self
    }

    /// Gives back what the call still holds: for its end. Holds that are not given back lapse by themselves.
    pub fn leave(&self) -> LocalBoxFuture<'static, ()> {
        let inner = Rc::clone(&self.0);
        async move {
            if let Err(error) = inner.db.release_holds(inner.sid()).await {
                tracing::debug!(code = error.code(), "holds are left to lapse");
            }
        }
        .boxed_local()
    }
}

impl Desk for BookingDesk {
    fn run(&self, tool: ToolRequest) -> LocalBoxFuture<'static, ToolOutcome> {
        let inner = Rc::clone(&self.0);
        async move {
            match inner.run(tool).await {
                Ok(outcome) => outcome,
                Err(refused) => told(refused.0),
            }
        }
        .boxed_local()
    }
}

impl Inner {
    async fn run(&self, tool: ToolRequest) -> Result<ToolOutcome, Refused> {
        match tool {
            ToolRequest::CollectCustomerInfo { name, phone, email } => self.collect(name, phone, email).await,
            ToolRequest::CheckAvailability { date, staff, service } => {
                self.availability(&date, staff.as_deref(), service.as_deref()).await
            }
            ToolRequest::BookAppointment {
                service,
                date,
                time,
                staff,
                customer_name,
                customer_phone,
                slot_id,
            } => {
                let wanted =
                    BookingArguments { service, date, time, staff, customer_name, customer_phone, slot_id };
                self.book(wanted).await
            }
            ToolRequest::GetBusinessInfo { topic } => {
                let present = self.present()?;
                Ok(told(info::about(&self.profile, &topic, &present.local, self.is_open_now(&present))))
            }
            ToolRequest::TakeMessage { message, name, phone } => {
                self.take_message(message, name, phone).await
            }
            ToolRequest::TransferToHuman { .. } => self.transfer(),
            ToolRequest::EndCall { .. } => Ok(told(json!({"ok": true}))),
        }
    }

    fn sid(&self) -> CallSid {
        self.facts.sid.clone()
    }

    fn present(&self) -> Result<Present, Refused> {
        let now = (self.now)();
        let zone = self.zone.clone().ok_or_else(Refused::calendar)?;
        let local = dates::local(now, &zone).ok_or_else(Refused::calendar)?;
        let calendar = Calendar::of(&self.profile, &local);
        Ok(Present { zone, now, local, calendar })
    }

    fn is_open_now(&self, present: &Present) -> bool {
        is_open(&self.profile, &present.zone, present.now)
    }

    fn transfer(&self) -> Result<ToolOutcome, Refused> {
        let present = self.present()?;
        if self.transfer_number.is_some() && self.is_open_now(&present) {
            let achieved = Outcome { transferred: true, ..Outcome::default() };
            return Ok(ToolOutcome { content: json!({"ok": true}), achieved, fact: None });
        }
        Err(Refused(json!({
            "error": "nobody available",
            "suggestion": "take_message",
            "message": "Nobody can take the call now. Say so and offer to take a message for a call-back.",
        })))
    }
}
