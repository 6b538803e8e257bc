//! What the brain reads in a tool's answer. Pure, and lenient about shapes: the tools are not its own.

use super::words::{SaidTime, time_in};
use serde_json::Value;

/// A time that was offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// As spoken.
    pub(super) label: String,
    /// When, if it can be told.
    pub(super) time: Option<SaidTime>,
    /// What the booking tool wants back.
    pub(super) slot_id: Option<String>,
    /// Who serves.
    pub(super) staff: Option<String>,
}

/// The times offered on one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offers {
    /// The times.
    pub(super) list: Vec<Offer>,
    /// The day, for tools.
    pub(super) date: Option<String>,
    /// The day, as spoken.
    pub(super) day: Option<String>,
    /// What the times are for.
    pub(super) service: Option<String>,
    /// Whether it is another day than the one asked for.
    pub(super) elsewhere: bool,
}

/// The first of these texts that is there and not blank.
pub(super) fn string<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| value.get(key).and_then(Value::as_str)).filter(|s| !s.trim().is_empty())
}

/// What the tool says went wrong, as a sentence's end. An error in words is told; one that is a code has a message.
pub(super) fn error_in(result: &Value) -> Option<String> {
    let error = result.get("error").filter(|e| !e.is_null() && **e != Value::Bool(false))?;
    let text = error
        .as_str()
        .filter(|text| text.trim().contains(' '))
        .or_else(|| {
            string(result, &["message", "say", "spoken", "explanation", "problem", "reason", "detail"])
        })
        .or_else(|| string(error, &["message", "say", "code"]))
        .or_else(|| error.as_str());
    Some(text.map_or_else(
        || "that did not work".to_owned(),
        |text| {
            let text = text.trim().trim_end_matches(['.', '!']);
            if text.contains(' ') { text.to_owned() } else { text.replace('_', " ") }
        },
    ))
}

/// The free times in an answer: those asked for, else those of the next day that has some.
pub(super) fn offers_in(result: &Value) -> Offers {
    let offers = offers_of(result);
    match result.get("next_free") {
        Some(next) if offers.list.is_empty() => Offers { elsewhere: true, ..offers_of(next) },
        _ => offers,
    }
}

fn offers_of(result: &Value) -> Offers {
    const LISTS: [&str; 8] =
        ["slots", "available_slots", "offers", "times", "available", "openings", "alternatives", "free"];
    let lists = LISTS.iter().filter_map(|key| result.get(key).and_then(Value::as_array));
    let list = lists.into_iter().find(|list| !list.is_empty()).map_or(&[][..], Vec::as_slice);
    let day = result.get("day").filter(|day| day.is_object()).unwrap_or(result);
    let text = |value: &Value, key: &str| string(value, &[key]).map(str::to_owned);
    Offers {
        list: list.iter().filter_map(offer).collect(),
        date: text(day, "date"),
        day: text(day, "spoken_date"),
        service: text(result, "service"),
        elsewhere: false,
    }
}

fn offer(slot: &Value) -> Option<Offer> {
    if let Some(label) = slot.as_str() {
        return Some(Offer { label: label.to_owned(), time: time_in(label), slot_id: None, staff: None });
    }
    let label = string(slot, &["spoken", "say", "label", "text", "time", "starts_at", "start"])?;
    let time = ["time", "start", "starts_at", "spoken", "label", "text"]
        .iter()
        .find_map(|key| slot.get(key).and_then(Value::as_str).and_then(time_in));
    Some(Offer {
        label: label.to_owned(),
        time,
        slot_id: string(slot, &["slot_id", "id"]).map(str::to_owned),
        staff: string(slot, &["staff", "with", "staff_name"]).map(str::to_owned),
    })
}

/// The names of the services in an answer.
pub(super) fn service_names(result: &Value) -> Vec<String> {
    names(result, "services")
}

/// The names in a list of texts or of objects with a name.
pub(super) fn names(result: &Value, key: &str) -> Vec<String> {
    let list = result.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|v| v.as_str().or_else(|| string(v, &["name"]))).map(str::to_owned).collect()
}

/// "A, B or C", three at most.
pub(super) fn spoken_offers(offers: &[Offer]) -> String {
    let labels: Vec<&str> = offers.iter().take(3).map(|o| o.label.as_str()).collect();
    listed(&labels, "or")
}

/// "A, B and C".
pub(super) fn listed<S: AsRef<str>>(items: &[S], last_word: &str) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {last_word} {last}", rest.join(", ")),
        Some((last, _)) => (*last).to_owned(),
        None => String::new(),
    }
}

/// With a full stop at its end.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn offers_are_read_from_strings_and_objects() {
        let plain = offers_in(&json!({"slots": ["3:00 PM", "4:00 PM"]}));
        assert_eq!(spoken_offers(&plain.list), "3:00 PM or 4:00 PM");
        let full = offers_in(&json!({"slots": [
            {"slot_id": "s1", "time": "15:00", "spoken": "three PM with Jay", "staff": "Jay"},
        ]}));
        assert_eq!(full.list[0].slot_id.as_deref(), Some("s1"));
        assert_eq!(full.list[0].label, "three PM with Jay");
        assert!(full.list[0].time.unwrap().matches(time_in("3 PM").unwrap()));
        assert_eq!(offers_in(&json!({"slots": []})).list, []);
        assert_eq!(offers_in(&json!(7)), Offers::default());
    }

    #[test]
    fn a_day_without_times_gives_those_of_the_next() {
        let next = json!({"date": "2026-11-24", "spoken_date": "Tuesday, November 24", "service": "Shave",
            "slots": [{"slot_id": "s1", "time": "9:00 AM"}]});
        for result in [
            json!({"error": "closed on that day", "day": {"date": "2026-11-23"}, "next_free": next}),
            json!({"date": "2026-11-23", "slots": [], "next_free": next}),
        ] {
            let offers = offers_in(&result);
            assert_eq!((offers.date.as_deref(), offers.list.len()), (Some("2026-11-24"), 1));
            assert_eq!(offers.service.as_deref(), Some("Shave"));
            assert!(offers.elsewhere);
        }
    }

    #[test]
    fn errors_are_spoken_in_words() {
        assert_eq!(error_in(&json!({"error": "slot_taken"})).as_deref(), Some("slot taken"));
        assert_eq!(
            error_in(&json!({"error": "closed", "message": "we are closed on Sunday."})).as_deref(),
            Some("we are closed on Sunday")
        );
        assert_eq!(
            error_in(&json!({"error": "that time is not free", "message": "Offer another time."})).as_deref(),
            Some("that time is not free")
        );
        assert_eq!(error_in(&json!({"ok": true})), None);
    }
}
