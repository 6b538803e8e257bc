//! A profile as JSON, in the form in which it is read.

use super::WEEKDAYS;
use crate::domain::profile::{BusinessProfile, MinuteOfDay, OpenHours};
use serde_json::{Map, Value, json};

/// The profile's JSON, which [`super::parse`] reads as the same profile.
pub fn to_json(profile: &BusinessProfile) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    put("name", json!(profile.name));
    put("type", json!(profile.kind));
    put("phone", json!(profile.phone));
    put("address", json!(profile.address));
    put("timezone", json!(profile.timezone));
    put("locale", json!(profile.locale));
    put("hours", hours(profile));
    let services = profile.services.iter().map(
        |s| json!({ "name": s.name, "duration": s.minutes, "price": s.price, "description": s.description }),
    );
    put("services", services.collect());
    let staff =
        profile.staff.iter().map(|s| json!({ "name": s.name, "role": s.role, "specialties": s.specialties }));
    put("staff", staff.collect());
    let policies = &profile.policies;
    put(
        "policies",
        json!({
            "cancellation": policies.cancellation,
            "lateness": policies.lateness,
            "payment": policies.payment,
        }),
    );
    put("personality", json!(profile.personality));
    for (key, text) in [
        ("greeting", &profile.greeting),
        ("goodbye", &profile.goodbye),
        ("transfer_number", &profile.transfer_number),
        ("recording_notice", &profile.recording_notice),
    ] {
        put(key, json!(text));
    }
    put("zero_asks_for_a_person", json!(profile.zero_asks_for_a_person));
    let closures = profile.closures.iter().map(|(date, reason)| json!({ "date": date, "reason": reason }));
    put("closures", closures.collect());
    let breaks = profile.breaks.iter().map(|b| {
        let weekdays: Vec<&str> =
            b.weekdays.iter().filter_map(|day| WEEKDAYS.get(usize::from(*day)).copied()).collect();
        json!({ "weekdays": weekdays, "from": clock(b.hours.open), "to": clock(b.hours.close), "staff": b.staff })
    });
    put("breaks", breaks.collect());
    put("lead_minutes", json!(profile.lead_minutes));
    put("horizon_days", json!(profile.horizon_days));
    put("buffer_minutes", json!(profile.buffer_minutes));
    Value::Object(out)
}

fn hours(profile: &BusinessProfile) -> Value {
    let day = |hours: &Option<OpenHours>| match hours {
        Some(hours) => json!({ "open": clock(hours.open), "close": clock(hours.close) }),
        None => json!("closed"),
    };
    let days = WEEKDAYS.iter().zip(&profile.hours).map(|(name, hours)| ((*name).to_owned(), day(hours)));
    Value::Object(days.collect())
}

fn clock(minute: MinuteOfDay) -> String {
    format!("{:02}:{:02}", minute.0 / 60, minute.0 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::profile::{BARBERSHOP, parse};

    #[test]
    fn what_is_written_is_read_as_the_same_profile() {
        let mut profile = parse(BARBERSHOP).unwrap();
        assert_eq!(parse(&to_json(&profile).to_string()), Ok(profile.clone()));
        profile.transfer_number = Some("+12025550177".into());
        profile.recording_notice = Some("This call is recorded.".into());
        profile.greeting = None;
        profile.zero_asks_for_a_person = false;
        profile.hours = [Some(OpenHours { open: MinuteOfDay(0), close: MinuteOfDay(1440) }); 7];
        assert_eq!(parse(&to_json(&profile).to_string()), Ok(profile));
    }
}
