//! The tools the model may call: their schemas, and their arguments once validated.

/// A tool call whose arguments are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolRequest {
    /// `collect_customer_info(name?, phone?, email?)`: remembers who the caller is.
    CollectCustomerInfo {
        /// Name.
        name: Option<String>,
        /// Telephone number as spoken; normalised at the desk.
        phone: Option<String>,
        /// E-mail address.
        email: Option<String>,
    },
    /// `check_availability(date, staff?, service?)`: free slots on a day.
    CheckAvailability {
        /// The day as the caller said it ("tomorrow", "next Tuesday", "the 3rd", "2026-11-24").
        date: String,
        /// Wanted person.
        staff: Option<String>,
        /// Wanted service, for its duration.
        service: Option<String>,
    },
    /// `book_appointment(service, date, time, staff?, customer_name?, customer_phone?, slot_id?)`.
    BookAppointment {
        /// Service as said.
        service: String,
        /// Day as said.
        date: String,
        /// Time as said ("3 PM", "15:00", "half past two").
        time: String,
        /// Wanted person.
        staff: Option<String>,
        /// Name given for the booking.
        customer_name: Option<String>,
        /// Number given for the booking.
        customer_phone: Option<String>,
        /// The offered slot this is about.
        slot_id: Option<String>,
    },
    /// `get_business_info(topic)`: hours, services, prices, staff, location, policies.
    GetBusinessInfo {
        /// What about.
        topic: String,
    },
    /// `take_message(message, name?, phone?)`: for a call-back.
    TakeMessage {
        /// The message.
        message: String,
        /// Who left it.
        name: Option<String>,
        /// Where to call back.
        phone: Option<String>,
    },
    /// `transfer_to_human(reason?)`.
    TransferToHuman {
        /// Why.
        reason: Option<String>,
    },
    /// `end_call(reason?)`.
    EndCall {
        /// Why.
        reason: Option<String>,
    },
}
