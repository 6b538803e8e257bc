//! The desk: carries out the tools of one call.

use crate::call::dialogue::messages::{Desk, ToolOutcome};
use crate::db::DbHandle;
use crate::dialogue::tools::ToolRequest;
use crate::domain::appointment::Customer;
use crate::domain::call::{CallFacts, Outcome};
use crate::domain::phone::PhoneNumber;
use crate::domain::profile::BusinessProfile;
use crate::domain::time::UnixMillis;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;

/// The desk of one call.
pub struct BookingDesk;

impl BookingDesk {
    /// A desk.
    pub fn new(
        _: Arc<BusinessProfile>,
        _: DbHandle,
        _: CallFacts,
        _: Option<Customer>,
        _: Option<PhoneNumber>,
        _: Rc<dyn Fn() -> UnixMillis>,
    ) -> Self {
        Self
    }
}

impl Desk for BookingDesk {
    fn run(&self, _: ToolRequest) -> LocalBoxFuture<'static, ToolOutcome> {
        async {
            ToolOutcome {
                content: serde_json::json!({"error": "the calendar cannot be reached"}),
                achieved: Outcome::default(),
                fact: None,
            }
        }
        .boxed_local()
    }
}
