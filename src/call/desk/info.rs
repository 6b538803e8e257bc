//! What the business tells of itself.

use super::answers::{day_json, join};
use crate::booking::availability::{Unavailable, hours_on};
use crate::booking::dates::days_between;
use crate::booking::speak::speak_minute;
use crate::domain::profile::{BusinessProfile, OpenHours};
use jiff::Zoned;
use jiff::civil::Date;
use serde_json::{Value, json};

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// How far ahead closures are told, in days.
const CLOSURES_DAYS: i64 = 60;

/// Facts about a topic; about everything, if the topic is not known.
pub(super) fn about(profile: &BusinessProfile, topic: &str, now: &Zoned, open_now: bool) -> Value {
    let topic = topic.to_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| topic.contains(word));
    let mut content = json!({"business": profile.name});
    let mut told = false;
    let mut add = |wanted: bool, facts: &dyn Fn() -> Value| {
        if wanted {
            told = true;
            content = join(std::mem::take(&mut content), facts());
        }
    };
    add(is(&["hour", "open", "clos", "when"]), &|| hours(profile, now, open_now));
    add(is(&["service", "price", "cost", "much", "menu", "offer"]), &|| services(profile));
    add(is(&["staff", "team", "who", "people", "barber", "stylist"]), &|| staff(profile));
    add(is(&["location", "address", "where", "direction", "phone", "number", "contact"]), &|| place(profile));
    add(is(&["polic", "cancel", "late", "rule", "resched"]), &|| policies(profile));
    add(is(&["pay", "card", "cash"]), &|| json!({"payment": profile.policies.payment}));
    if let Some(service) = profile.find_service(&topic) {
        add(true, &|| json!({"service": service_json(service)}));
    }
    if let Some(member) = profile.find_staff(&topic) {
        add(true, &|| json!({"person": member_json(member)}));
    }
    if !told {
        for facts in [hours(profile, now, open_now), services(profile), staff(profile), place(profile)] {
            content = join(content, facts);
        }
        content = join(content, policies(profile));
        content = join(content, json!({"kind": profile.kind}));
    }
    content
}

fn hours(profile: &BusinessProfile, now: &Zoned, open_now: bool) -> Value {
    let today = now.date();
    let week: serde_json::Map<String, Value> = WEEKDAYS
        .iter()
        .zip(&profile.hours)
        .map(|(day, hours)| ((*day).to_owned(), hours.map_or_else(|| json!("closed"), |h| json!(span(h)))))
        .collect();
    let of_today = match hours_on(profile, today) {
        Ok(hours) => json!({"hours": span(hours)}),
        Err(Unavailable::Closed { reason: Some(reason) }) => json!({"hours": "closed", "reason": reason}),
        Err(_) => json!({"hours": "closed"}),
    };
    let closures: Vec<Value> = profile
        .closures
        .iter()
        .filter_map(|(date, reason)| {
            let date: Date = date.parse().ok()?;
            (0..=CLOSURES_DAYS)
                .contains(&days_between(today, date))
                .then(|| join(day_json(date, today), json!({"reason": reason})))
        })
        .collect();
    json!({
        "today": join(day_json(today, today), of_today),
        "open_now": open_now,
        "week": week,
        "closed_on": closures,
    })
}

fn span(hours: OpenHours) -> String {
    format!("{} to {}", speak_minute(hours.open), speak_minute(hours.close))
}

fn service_json(service: &crate::domain::profile::Service) -> Value {
    json!({
        "name": service.name, "minutes": service.minutes, "price": service.price,
        "description": service.description,
    })
}

fn member_json(member: &crate::domain::profile::StaffMember) -> Value {
    json!({"name": member.name, "role": member.role, "specialties": member.specialties})
}

fn services(profile: &BusinessProfile) -> Value {
    json!({"services": profile.services.iter().map(service_json).collect::<Vec<_>>()})
}

fn staff(profile: &BusinessProfile) -> Value {
    json!({"staff": profile.staff.iter().map(member_json).collect::<Vec<_>>()})
}

fn place(profile: &BusinessProfile) -> Value {
    json!({"address": profile.address, "phone": profile.phone})
}

fn policies(profile: &BusinessProfile) -> Value {
    json!({"policies": {
        "cancellation": profile.policies.cancellation, "lateness": profile.policies.lateness,
    }, "payment": profile.policies.payment})
}
