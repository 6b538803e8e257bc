//! The business: what it is called, when it is open, what it offers, who works there.
//!
//! These are the validated types; the JSON file is read and checked in `config::profile`.

use std::collections::BTreeMap;

/// A minute of the day, 0..=1440 (1440 is midnight at the day's end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinuteOfDay(pub u16);

/// A stretch of opening time within one day; `open < close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHours {
    /// First minute open.
    pub open: MinuteOfDay,
    /// First minute closed again.
    pub close: MinuteOfDay,
}

/// A recurring pause within the day during which nobody is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// Weekdays it applies to, Monday = 0 … Sunday = 6.
    pub weekdays: Vec<u8>,
    /// When.
    pub hours: OpenHours,
    /// Whose break; everybody's if absent.
    pub staff: Option<String>,
}

/// A service that can be booked.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name, unique without regard to case.
    pub name: String,
    /// How long it takes, in minutes, at least 1.
    pub minutes: u32,
    /// Price in the business's currency.
    pub price: f64,
    /// What it is.
    pub description: String,
}

/// Somebody who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaffMember {
    /// Name, unique without regard to case.
    pub name: String,
    /// Role.
    pub role: String,
    /// What they are good at.
    pub specialties: Vec<String>,
}

/// House rules, spoken when asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Rule on cancelling.
    pub cancellation: String,
    /// Rule on being late.
    pub lateness: String,
    /// Accepted means of payment.
    pub payment: Vec<String>,
}

/// A validated business profile.
#[derive(Clone, Debug, PartialEq)]
pub struct BusinessProfile {
    /// The business's name.
    pub name: String,
    /// What kind of business it is ("barbershop").
    pub kind: String,
    /// Its public number as people say it.
    pub phone: String,
    /// Its address.
    pub address: String,
    /// Opening hours by weekday, Monday = 0 … Sunday = 6; `None` is closed.
    pub hours: [Option<OpenHours>; 7],
    /// What can be booked; at least one.
    pub services: Vec<Service>,
    /// Who serves; may be empty (then the business itself is the one resource).
    pub staff: Vec<StaffMember>,
    /// House rules.
    pub policies: Policies,
    /// How the bot should sound.
    pub personality: String,
    /// IANA time zone name, known to exist.
    pub timezone: String,
    /// BCP-47 tag of the language spoken ("en-US").
    pub locale: String,
    /// First words of the bot; `{name}` stands for a known caller's name, `{business}` for the business's.
    pub greeting: Option<String>,
    /// Last words of the bot.
    pub goodbye: Option<String>,
    /// Where a caller who asks for a person is sent, E.164.
    pub transfer_number: Option<String>,
    /// Spoken before anything is recorded.
    pub recording_notice: Option<String>,
    /// Whether the key `0` asks for a person.
    pub zero_asks_for_a_person: bool,
    /// Dates (ISO) on which the business is closed, with the reason said.
    pub closures: BTreeMap<String, String>,
    /// Recurring pauses.
    pub breaks: Vec<Break>,
    /// How many minutes ahead the earliest appointment must lie.
    pub lead_minutes: u32,
    /// How many days ahead can be booked.
    pub horizon_days: u32,
    /// Minutes kept free after each appointment.
    pub buffer_minutes: u32,
}

impl BusinessProfile {
    /// The service a caller means: exact name first, then a unique part of one, without regard to case.
    pub fn find_service(&self, wanted: &str) -> Option<&Service> {
        find_named(&self.services, wanted, |s| &s.name)
    }

    /// The person a caller means, found like a service.
    pub fn find_staff(&self, wanted: &str) -> Option<&StaffMember> {
        find_named(&self.staff, wanted, |s| &s.name)
    }
}

fn find_named<'a, T>(all: &'a [T], wanted: &str, name: impl Fn(&T) -> &str) -> Option<&'a T> {
    let wanted = wanted.trim().to_lowercase();
    if wanted.is_empty() {
        return None;
    }
    if let Some(exact) = all.iter().find(|t| name(t).to_lowercase() == wanted) {
        return Some(exact);
    }
    let mut partial = all.iter().filter(|t| {
        let name = name(t).to_lowercase();
        name.contains(&wanted) || wanted.contains(&name)
    });
    match (partial.next(), partial.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}
