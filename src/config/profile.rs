//! The business's profile: the prototype's JSON, read strictly. Pure.
//!
//! Every mistake is told at once and names its place in the file. What would book wrong hours (a missing time zone, a
//! day that closes before it opens, a key that is not understood) is an error, never a guess.

mod hours;
mod json;
mod write;

use crate::domain::phone::PhoneNumber;
use crate::domain::profile::{Break, BusinessProfile, OpenHours, Policies, Service, StaffMember};
pub use write::to_json;

use json::{Node, Reader};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The barbershop's profile, for `demo`, `chat` and `simulate`. `serve` wants the business's own.
pub const BARBERSHOP: &str = include_str!("../../profiles/barbershop.json");

/// Largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Weekdays as the file names them, Monday first.
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

const KEYS: &[&str] = &[
    "name",
    "type",
    "phone",
    "address",
    "hours",
    "services",
    "staff",
    "policies",
    "personality",
    "timezone",
    "locale",
    "greeting",
    "goodbye",
    "transfer_number",
    "recording_notice",
    "zero_asks_for_a_person",
    "closures",
    "breaks",
    "lead_minutes",
    "horizon_days",
    "buffer_minutes",
];

/// Longest name, in characters.
const NAME: usize = 100;
/// Longest text that is spoken or told to the model, in characters.
const TEXT: usize = 1_000;
/// Longest list.
const ITEMS: usize = 200;
/// Minutes of a day.
const DAY: u32 = 24 * 60;
/// Highest price.
const PRICE: f64 = 1_000_000.0;
/// Minutes ahead the earliest appointment must lie, unless the profile says otherwise.
const LEAD_MINUTES: u32 = 30;
/// Days ahead that can be booked, unless the profile says otherwise.
const HORIZON_DAYS: u32 = 60;

/// A mistake in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileProblem {
    /// Where: `hours.monday.close`, `services[2].name`; `.` is the whole file.
    pub path: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl ProfileProblem {
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl fmt::Display for ProfileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Reads a profile, or tells everything that is wrong with it.
pub fn parse(text: &str) -> Result<BusinessProfile, Vec<ProfileProblem>> {
    if text.len() > MAX_BYTES {
        return Err(vec![ProfileProblem::new(".", format!("is larger than {MAX_BYTES} bytes"))]);
    }
    let value = json::parse(text).map_err(|problem| vec![problem])?;
    let mut reader = Reader::default();
    let profile = read(&mut reader, &Node::root(&value));
    if reader.problems.is_empty() { Ok(profile) } else { Err(reader.problems) }
}

/// Reads what can be read. The result counts only if the reader has met no problem.
fn read(r: &mut Reader, root: &Node<'_>) -> BusinessProfile {
    r.object(root, KEYS);
    let hours = read_hours(r, &root.get("hours"));
    let services = read_services(r, &root.get("services"), &hours);
    let staff = read_staff(r, &root.get("staff"));
    let breaks = read_breaks(r, &root.get("breaks"), &staff);
    let lead_minutes = r.number(&root.get("lead_minutes"), 0, 30 * DAY).unwrap_or(LEAD_MINUTES);
    let horizon_days = r.number(&root.get("horizon_days"), 1, 730).unwrap_or(HORIZON_DAYS);
    if lead_minutes >= horizon_days.saturating_mul(DAY) {
        r.problem(
            "lead_minutes",
            format!("lies beyond horizon_days ({horizon_days}): nothing could be booked"),
        );
    }
    let buffer_minutes = r.number(&root.get("buffer_minutes"), 0, 480).unwrap_or(0);
    for (n, service) in services.iter().enumerate() {
        // No appointment's time is longer than a day.
        if service.minutes.saturating_add(buffer_minutes) > DAY && service.minutes <= DAY {
            r.problem(
                &format!("services[{n}].duration"),
                format!(
                    "{} minutes and buffer_minutes ({buffer_minutes}) are longer than a day",
                    service.minutes
                ),
            );
        }
    }
    BusinessProfile {
        name: r.required(&root.get("name"), NAME),
        kind: r.text(&root.get("type"), NAME).unwrap_or_else(|| "business".to_owned()),
        phone: r.text(&root.get("phone"), NAME).unwrap_or_default(),
        address: r.text(&root.get("address"), TEXT).unwrap_or_default(),
        hours,
        services,
        staff,
        policies: read_policies(r, &root.get("policies")),
        personality: r.text(&root.get("personality"), 4 * TEXT).unwrap_or_default(),
        timezone: read_timezone(r, &root.get("timezone")),
        locale: read_locale(r, &root.get("locale")),
        greeting: spoken(r, &root.get("greeting")),
        goodbye: spoken(r, &root.get("goodbye")),
        transfer_number: read_number(r, &root.get("transfer_number")),
        recording_notice: spoken(r, &root.get("recording_notice")),
        zero_asks_for_a_person: r.switch(&root.get("zero_asks_for_a_person")).unwrap_or(true),
        closures: read_closures(r, &root.get("closures")),
        breaks,
        lead_minutes,
        horizon_days,
        buffer_minutes,
    }
}

fn read_hours(r: &mut Reader, node: &Node<'_>) -> [Option<OpenHours>; 7] {
    let mut hours = [None; 7];
    if node.is_absent() {
        r.problem(&node.path, "is missing: expected an object of weekdays, like {\"monday\": {\"open\": \"9:00 AM\", \"close\": \"5:00 PM\"}}");
        return hours;
    }
    if !r.object(node, &WEEKDAYS) {
        return hours;
    }
    let before = r.problems.len();
    for (day, name) in hours.iter_mut().zip(WEEKDAYS) {
        let node = node.get(name);
        if node.is_absent() || node.as_str().is_some_and(|word| word.trim().eq_ignore_ascii_case("closed")) {
            continue;
        }
        if node.as_str().is_some() || !node.is_object() {
            r.problem(&node.path, "expected {\"open\": …, \"close\": …} or \"closed\"");
            continue;
        }
        r.object(&node, &["open", "close"]);
        *day = read_stretch(r, &node, "open", "close");
    }
    if r.problems.len() == before && hours.iter().all(Option::is_none) {
        r.problem(&node.path, "is closed every day: expected at least one day with opening hours");
    }
    hours
}

/// A stretch of a day, given by two times.
fn read_stretch(r: &mut Reader, node: &Node<'_>, from: &str, to: &str) -> Option<OpenHours> {
    let (from, to) = (node.get(from), node.get(to));
    let open = read_time(r, &from, false);
    let close = read_time(r, &to, true);
    let stretch = OpenHours { open: open?, close: close? };
    if stretch.open >= stretch.close {
        let (first, last) = (from.as_str().unwrap_or_default(), to.as_str().unwrap_or_default());
        r.problem(
            &to.path,
            format!("{last:?} is not after {first:?}: expected a later time of the same day"),
        );
        return None;
    }
    Some(stretch)
}

fn read_time(r: &mut Reader, node: &Node<'_>, ends: bool) -> Option<crate::domain::profile::MinuteOfDay> {
    if node.is_absent() {
        r.problem(&node.path, "is missing: expected a time like \"9:00 AM\" or \"09:00\"");
        return None;
    }
    let text = r.text(node, NAME)?;
    let minute = hours::minute_of_day(&text, ends);
    if minute.is_none() {
        r.problem(&node.path, format!("{text:?} is no time: expected one like \"9:00 AM\" or \"09:00\""));
    }
    minute
}

fn read_services(r: &mut Reader, node: &Node<'_>, hours: &[Option<OpenHours>; 7]) -> Vec<Service> {
    let items = r.items(node, ITEMS);
    if node.is_absent() || (node.is_array() && items.is_empty()) {
        r.problem(&node.path, "expected at least one service");
    }
    let longest = hours.iter().flatten().map(|day| u32::from(day.close.0 - day.open.0)).max();
    let mut names = BTreeSet::new();
    let mut services = Vec::new();
    for item in &items {
        if !r.object(item, &["name", "duration", "price", "description"]) {
            continue;
        }
        let name = unique_name(r, item, &mut names);
        let duration = item.get("duration");
        if duration.is_absent() {
            r.problem(&duration.path, "is missing: expected the minutes it takes");
        }
        let minutes = r.number(&duration, 1, DAY).unwrap_or(1);
        if let Some(longest) = longest.filter(|longest| minutes > *longest) {
            r.problem(
                &duration.path,
                format!("{minutes} minutes fit into no day: the longest is open for {longest}"),
            );
        }
        let price = item.get("price");
        if price.is_absent() {
            r.problem(&price.path, "is missing: expected a number, 0 if it is free");
        }
        services.push(Service {
            name,
            minutes,
            price: r.amount(&price, PRICE).unwrap_or(0.0),
            description: r.text(&item.get("description"), TEXT).unwrap_or_default(),
        });
    }
    services
}

fn read_staff(r: &mut Reader, node: &Node<'_>) -> Vec<StaffMember> {
    let mut names = BTreeSet::new();
    let mut staff = Vec::new();
    for item in &r.items(node, ITEMS) {
        if !r.object(item, &["name", "role", "specialties"]) {
            continue;
        }
        staff.push(StaffMember {
            name: unique_name(r, item, &mut names),
            role: r.text(&item.get("role"), NAME).unwrap_or_default(),
            specialties: r.texts(&item.get("specialties"), NAME),
        });
    }
    staff
}

/// The item's name, which no other item may have in whatever case.
fn unique_name(r: &mut Reader, item: &Node<'_>, names: &mut BTreeSet<String>) -> String {
    let node = item.get("name");
    let name = r.required(&node, NAME);
    if !name.is_empty() && !names.insert(name.to_lowercase()) {
        r.problem(&node.path, format!("{name:?} is there twice: expected a name of its own"));
    }
    name
}

fn read_policies(r: &mut Reader, node: &Node<'_>) -> Policies {
    if node.is_absent() || !r.object(node, &["cancellation", "lateness", "payment"]) {
        return Policies::default();
    }
    Policies {
        cancellation: r.text(&node.get("cancellation"), TEXT).unwrap_or_default(),
        lateness: r.text(&node.get("lateness"), TEXT).unwrap_or_default(),
        payment: r.texts(&node.get("payment"), NAME),
    }
}

fn read_timezone(r: &mut Reader, node: &Node<'_>) -> String {
    const EXAMPLE: &str =
        "expected the place whose clock the hours follow, like \"America/New_York\" or \"Europe/Berlin\"";
    if node.is_absent() {
        r.problem(&node.path, format!("is missing, and a wrong one books wrong hours: {EXAMPLE}"));
        return String::new();
    }
    let name = r.required(node, NAME);
    // Names with a place only: abbreviations and fixed offsets know no daylight saving time.
    let known = name == "UTC" || (name.contains('/') && jiff::tz::TimeZone::get(&name).is_ok());
    if !name.is_empty() && !known {
        r.problem(&node.path, format!("{name:?} is no time zone: {EXAMPLE}"));
    }
    name
}

fn read_locale(r: &mut Reader, node: &Node<'_>) -> String {
    let Some(locale) = r.text(node, NAME) else { return "en-US".to_owned() };
    let mut parts = locale.split('-');
    let letters = |part: &str| part.bytes().all(|b| b.is_ascii_alphabetic());
    let language = parts.next().is_some_and(|part| matches!(part.len(), 2 | 3) && letters(part));
    let rest =
        parts.all(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if !(language && rest) {
        r.problem(&node.path, format!("{locale:?} is no language tag: expected one like \"en-US\""));
    }
    locale
}

fn read_number(r: &mut Reader, node: &Node<'_>) -> Option<String> {
    let number = r.text(node, NAME)?;
    if let Err(error) = PhoneNumber::from_e164(&number) {
        r.problem(&node.path, error.to_string());
    }
    Some(number)
}

/// Words that are spoken. `{name}` and `{business}` are filled in; other braces would be read out.
fn spoken(r: &mut Reader, node: &Node<'_>) -> Option<String> {
    let text = r.text(node, TEXT)?;
    if text.is_empty() {
        r.problem(&node.path, "is empty: expected words to be spoken, or no such key");
    }
    if text.replace("{name}", "").replace("{business}", "").contains(['{', '}']) {
        r.problem(&node.path, "has braces that stand for nothing: expected {name} and {business} only");
    }
    Some(text)
}

fn read_closures(r: &mut Reader, node: &Node<'_>) -> BTreeMap<String, String> {
    let mut closures = BTreeMap::new();
    for item in &r.items(node, 5 * ITEMS) {
        if !r.object(item, &["date", "reason"]) {
            continue;
        }
        let date_node = item.get("date");
        let date = r.required(&date_node, NAME);
        let reason = r.text(&item.get("reason"), TEXT).unwrap_or_default();
        let real = date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok();
        if !date.is_empty() && !real {
            r.problem(&date_node.path, format!("{date:?} is no date: expected one like \"2026-12-25\""));
        } else if closures.insert(date.clone(), reason).is_some() {
            r.problem(&date_node.path, format!("{date:?} is there twice"));
        }
    }
    closures
}

fn read_breaks(r: &mut Reader, node: &Node<'_>, staff: &[StaffMember]) -> Vec<Break> {
    let mut breaks = Vec::new();
    for item in &r.items(node, ITEMS) {
        if !r.object(item, &["weekdays", "from", "to", "staff"]) {
            continue;
        }
        let weekdays = read_weekdays(r, &item.get("weekdays"));
        let hours = read_stretch(r, item, "from", "to");
        let staff_node = item.get("staff");
        let wanted = r.text(&staff_node, NAME);
        let whose = wanted
            .as_ref()
            .and_then(|name| staff.iter().find(|person| person.name.to_lowercase() == name.to_lowercase()));
        if let (Some(name), None) = (&wanted, whose) {
            r.problem(&staff_node.path, format!("{name:?} is nobody of the staff"));
        }
        if let Some(hours) = hours {
            breaks.push(Break { weekdays, hours, staff: whose.map(|person| person.name.clone()) });
        }
    }
    breaks
}

fn read_weekdays(r: &mut Reader, node: &Node<'_>) -> Vec<u8> {
    let names = r.items(node, WEEKDAYS.len());
    if node.is_absent() || (node.is_array() && names.is_empty()) {
        r.problem(&node.path, "expected at least one weekday, like [\"monday\", \"friday\"]");
    }
    let mut weekdays = BTreeSet::new();
    for name in &names {
        let Some(text) = r.text(name, NAME) else { continue };
        match (0..).zip(WEEKDAYS).find(|(_, weekday)| *weekday == text) {
            Some((number, _)) if weekdays.insert(number) => {}
            Some(_) => r.problem(&name.path, format!("{text:?} is there twice")),
            None => r.problem(
                &name.path,
                format!("{text:?} is no weekday: expected one of {}", WEEKDAYS.join(", ")),
            ),
        }
    }
    weekdays.into_iter().collect()
}

#[cfg(test)]
mod tests;
