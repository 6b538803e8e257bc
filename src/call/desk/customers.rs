//! Who the caller is, and messages for a call-back.

use super::Inner;
use super::answers::{Refused, bad_phone};
use crate::booking::dates::region_of;
use crate::call::dialogue::messages::ToolOutcome;
use crate::db::{DbError, Kept, TakenMessage, Write};
use crate::domain::appointment::{Customer, CustomerPatch};
use crate::domain::call::Outcome;
use crate::domain::phone::PhoneNumber;
use serde_json::json;

/// What the caller said of themselves.
#[derive(Default)]
pub(super) struct SelfReport {
    pub(super) name: Option<String>,
    pub(super) phone: Option<PhoneNumber>,
    pub(super) email: Option<String>,
    /// Whether a name replaces the one on record: only what the caller says of themselves does, not the name an
    /// appointment is for.
    pub(super) corrects: bool,
}

impl Inner {
    pub(super) async fn collect(
        &self,
        name: Option<String>,
        phone: Option<String>,
        email: Option<String>,
    ) -> Result<ToolOutcome, Refused> {
        let phone = self.phone(phone.as_deref())?;
        let fact = match (&name, &phone) {
            (Some(name), Some(phone)) => {
                Some(format!("The caller is {name}; number ending {}.", ending(phone)))
            }
            (Some(name), None) => Some(format!("The caller is {name}.")),
            (None, Some(phone)) => Some(format!("The caller's number ends in {}.", ending(phone))),
            (None, None) => None,
        };
        let mut content = json!({"ok": true, "stored": true});
        if let (Some(own), Some(given)) = (self.facts.caller.number(), &phone)
            && own != given
            && let Some(object) = content.as_object_mut()
        {
            let note = "The caller's record stays under the number they ring from; the other number is noted for \
                        this call and goes with a message.";
            object.insert("note".into(), json!(note));
        }
        self.remember(SelfReport { name, phone, email, corrects: true }).await?;
        let achieved = Outcome { lead_captured: true, ..Outcome::default() };
        Ok(ToolOutcome { content, achieved, fact })
    }

    /// A number as it was said, in E.164.
    pub(super) fn phone(&self, text: Option<&str>) -> Result<Option<PhoneNumber>, Refused> {
        let Some(text) = text else { return Ok(None) };
        let region = region_of(&self.profile);
        PhoneNumber::parse(text, Some(&region)).map(Some).map_err(|error| bad_phone(&error))
    }

    /// The caller's record, if there is one.
    pub(super) async fn known_customer(&self) -> Result<Option<Customer>, DbError> {
        let known = self.state.borrow().customer.clone();
        match (known, self.facts.caller.number()) {
            (Some(known), _) => Ok(Some(known)),
            (None, Some(own)) => {
                let found = self.db.customer_by_phone(own.clone()).await?;
                if let (Some(found), Some(tell)) = (&found, &self.known) {
                    tell(found);
                }
                self.state.borrow_mut().customer.clone_from(&found);
                Ok(found)
            }
            (None, None) => Ok(None),
        }
    }

    /// Stores what the caller said of themselves in their own record, and nobody else's.
    pub(super) async fn remember(&self, said: SelfReport) -> Result<Option<Customer>, DbError> {
        let known = self.known_customer().await?;
        let own = self.facts.caller.number();
        if said.phone.is_some() && said.phone.as_ref() != own {
            self.state.borrow_mut().contact.clone_from(&said.phone);
        }
        let key = match (own, said.phone) {
            (Some(own), _) => Some(own.clone()),
            (None, None) => None,
            (None, Some(given)) => match self.db.customer_by_phone(given.clone()).await? {
                // To say a number is no proof that it is one's own.
                Some(other) if known.as_ref().is_none_or(|known| known.id != other.id) => None,
                _ => Some(given),
            },
        };
        let on_record = known.as_ref().and_then(|known| known.name.clone());
        let name = match (said.name, on_record) {
            (Some(said_name), on_record) if said.corrects || on_record.is_none() => Some(said_name),
            (_, on_record) => on_record,
        };
        let patch = CustomerPatch { name, phone: key, email: said.email };
        if patch == CustomerPatch::default() {
            return Ok(known);
        }
        let known_id = known.as_ref().map(|known| known.id);
        let customer = self.db.upsert_customer(patch, known_id, (self.now)()).await?;
        if known_id != Some(customer.id) {
            let write =
                Write::CallCustomer { sid: self.sid(), epoch: self.facts.epoch, customer_id: customer.id };
            if let Err(error) = self.db.record(write) {
                tracing::warn!(%error, "the call is not linked with its customer");
            }
        }
        if known.as_ref() != Some(&customer)
            && let Some(tell) = &self.known
        {
            tell(&customer);
        }
        self.state.borrow_mut().customer = Some(customer.clone());
        Ok(Some(customer))
    }

    pub(super) async fn take_message(
        &self,
        text: String,
        name: Option<String>,
        phone: Option<String>,
    ) -> Result<ToolOutcome, Refused> {
        let given = self.phone(phone.as_deref())?;
        let told_self = name.is_some() || given.is_some();
        let (known, contact) = {
            let state = self.state.borrow();
            (state.customer.clone(), state.contact.clone())
        };
        let known_name = known.as_ref().and_then(|known| known.name.clone());
        let known_phone = known.and_then(|known| known.phone);
        let number =
            given.clone().or(contact).or_else(|| self.facts.caller.number().cloned()).or(known_phone);
        let ends = number.as_ref().map(ending);
        let number = number.map(|number| number.as_str().to_owned());
        let message = (name.clone().or(known_name), number, text);
        let achieved =
            Outcome { message_taken: true, follow_up: true, lead_captured: told_self, ..Outcome::default() };
        let mut kept = Kept::Written;
        if !self.state.borrow().messages.contains(&message) {
            let (name, number, text) = message.clone();
            let taken = TakenMessage::new(self.sid(), (self.now)(), name, number, text);
            kept = match self.db.keep_message(taken).await {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::error!(code = error.code(), "a message could not be stored");
                    return Ok(not_stored());
                }
            };
            self.state.borrow_mut().messages.push(message);
        }
        // The message stands; that the caller's record could not be brought up to date is no reason to deny it, and no
        // reason to wait for a database that is away.
        if told_self
            && kept == Kept::Written
            && let Err(error) =
                self.remember(SelfReport { name, phone: given, ..SelfReport::default() }).await
        {
            tracing::warn!(code = error.code(), "the caller's record was not brought up to date");
        }
        let mut notes = Vec::new();
        if kept == Kept::Spooled {
            notes.push(
                "The calendar and the records cannot be reached right now: say so. The message is kept safely all the \
                 same and will be passed on.",
            );
        }
        let mut content = json!({"ok": true, "stored": true});
        match (ends, content.as_object_mut()) {
            (Some(ends), Some(object)) => drop(object.insert("call_back_number_ends_in".into(), json!(ends))),
            _ => {
                notes.push("No number to call back is known. Ask for one and take the message again with it.")
            }
        }
        if let Some(object) = content.as_object_mut()
            && !notes.is_empty()
        {
            object.insert("note".into(), json!(notes.join(" ")));
        }
        Ok(ToolOutcome { content, achieved, fact: Some("A message was taken for a call-back.".into()) })
    }
}

/// A message that is neither in the database nor on the disk.
fn not_stored() -> ToolOutcome {
    let content = json!({
        "error": "the message could not be stored",
        "message": "Say honestly that the message could not be stored and ask the caller to ring again later.",
    });
    // Somebody should still look at this call.
    let achieved = Outcome { follow_up: true, ..Outcome::default() };
    ToolOutcome { content, achieved, fact: None }
}

/// The last four digits, which may be said and shown.
fn ending(number: &PhoneNumber) -> String {
    let digits: Vec<char> = number.as_str().chars().collect();
    digits.iter().skip(digits.len().saturating_sub(4)).collect()
}
