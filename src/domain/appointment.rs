//! Customers and appointments as the rest of the program sees them.

use super::ids::CallSid;
use super::phone::PhoneNumber;
use super::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// A person the business knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Database id.
    pub id: i64,
    /// Name, if known.
    pub name: Option<String>,
    /// Number in E.164, if known; unique among customers.
    pub phone: Option<PhoneNumber>,
    /// E-mail address, if known.
    pub email: Option<String>,
    /// Free notes of the staff.
    pub notes: Option<String>,
}

/// What is to be remembered of a customer. Absent fields leave what is known untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomerPatch {
    /// Name.
    pub name: Option<String>,
    /// Number; the key by which a customer is recognised.
    pub phone: Option<PhoneNumber>,
    /// E-mail address.
    pub email: Option<String>,
}

/// How an appointment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppointmentStatus {
    /// Agreed.
    Confirmed,
    /// Called off.
    Cancelled,
}

/// A stored appointment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appointment {
    /// Database id.
    pub id: i64,
    /// Whose it is.
    pub customer_id: Option<i64>,
    /// The service's name, as in the profile.
    pub service: String,
    /// Who serves; never empty ("anyone" was resolved when the slot was offered).
    pub staff: String,
    /// When it begins.
    pub starts_at: UnixMillis,
    /// How long it lasts, in minutes.
    pub minutes: u32,
    /// How it stands.
    pub status: AppointmentStatus,
    /// The call it was booked in.
    pub call: Option<CallSid>,
}

/// A stretch of a person's time that is taken: an appointment, a hold of another call, or time off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Whose time; everybody's, if empty.
    pub staff: String,
    /// First millisecond taken.
    pub from: UnixMillis,
    /// First millisecond free again.
    pub to: UnixMillis,
}
