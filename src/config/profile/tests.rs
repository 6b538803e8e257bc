use super::*;
use crate::domain::profile::MinuteOfDay;
use proptest::prelude::*;
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "name": "Corner",
        "timezone": "Europe/Berlin",
        "hours": {"monday": {"open": "9:00 AM", "close": "5:00 PM"}, "tuesday": "closed"},
        "services": [{"name": "Cut", "duration": 30, "price": 35.5, "description": "A cut"}]
    })
}

fn problems(profile: &Value) -> Vec<String> {
    match parse(&profile.to_string()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_barbershops_profile_is_read_whole() {
    let shop = parse(BARBERSHOP).unwrap();
    assert_eq!((shop.kind.as_str(), shop.timezone.as_str()), ("barbershop", "America/New_York"));
    assert_eq!(shop.hours[0], None);
    let tuesday = OpenHours { open: MinuteOfDay(540), close: MinuteOfDay(1140) };
    assert_eq!(shop.hours[1], Some(tuesday));
    assert!((4..=6).contains(&shop.services.len()) && shop.staff.len() == 3);
    assert!(shop.find_service("skin fade").is_some() && shop.find_staff("elena").is_some());
    assert_eq!(shop.breaks[0].weekdays, [1, 2, 3, 4]);
    assert_eq!(shop.breaks[0].staff.as_deref(), Some("Marcus"));
    assert!(shop.closures.contains_key("2026-12-25"));
    assert_eq!(shop.policies.payment.len(), 3);
}

#[test]
fn what_is_not_given_has_its_default() {
    let profile = parse(&good().to_string()).unwrap();
    assert_eq!(profile.kind, "business");
    assert_eq!(profile.hours[0], Some(OpenHours { open: MinuteOfDay(540), close: MinuteOfDay(1020) }));
    assert!(profile.hours[1..].iter().all(Option::is_none));
    assert_eq!(profile.services[0].minutes, 30);
    assert!((profile.services[0].price - 35.5).abs() < 1e-9);
    assert_eq!((profile.lead_minutes, profile.horizon_days, profile.buffer_minutes), (30, 60, 0));
    assert_eq!((profile.locale.as_str(), profile.zero_asks_for_a_person), ("en-US", true));
    assert_eq!((profile.greeting, profile.transfer_number), (None, None));
}

/// One change to a good profile, and the problem it makes.
#[test]
fn every_mistake_names_its_path() {
    for (pointer, value, wanted) in [
        ("", json!([]), ".: expected an object"),
        ("/nme", json!("x"), "nme: is no key that is known: did you mean name?"),
        ("/name", json!(null), "name: is missing"),
        ("/name", json!("  "), "name: is empty"),
        ("/name", json!(5), "name: expected a text"),
        ("/name", json!("a\u{7}b"), "name: has control characters"),
        ("/name", json!("x".repeat(101)), "name: is longer than 100 characters"),
        ("/timezone", json!(null), "timezone: is missing, and a wrong one books wrong hours: expected"),
        ("/timezone", json!("Europe/Atlantis"), "timezone: \"Europe/Atlantis\" is no time zone"),
        ("/timezone", json!("EST"), "timezone: \"EST\" is no time zone"),
        ("/timezone", json!("../etc/passwd"), "timezone: \"../etc/passwd\" is no time zone"),
        ("/hours", json!(null), "hours: is missing"),
        ("/hours", json!("closed"), "hours: expected an object"),
        ("/hours", json!({}), "hours: is closed every day"),
        ("/hours/Monday", json!("closed"), "hours.Monday: is no key that is known: did you mean monday?"),
        ("/hours/monday", json!("open"), "hours.monday: expected {\"open\""),
        ("/hours/monday", json!(["9", "5"]), "hours.monday: expected {\"open\""),
        ("/hours/monday/till", json!("5 PM"), "hours.monday.till: is no key that is known"),
        ("/hours/monday/open", json!("9"), "hours.monday.open: \"9\" is no time"),
        ("/hours/monday/open", json!(9), "hours.monday.open: expected a text"),
        ("/hours/monday/open", json!(null), "hours.monday.open: is missing"),
        ("/hours/monday/close", json!("25:00"), "hours.monday.close: \"25:00\" is no time"),
        ("/hours/monday/close", json!("8:00 AM"), "hours.monday.close: \"8:00 AM\" is not after \"9:00 AM\""),
        ("/hours/monday/close", json!("9:00"), "hours.monday.close: \"9:00\" is not after"),
        ("/services", json!(null), "services: expected at least one service"),
        ("/services", json!([]), "services: expected at least one service"),
        ("/services", json!("Cut"), "services: expected a list"),
        ("/services/0", json!("Cut"), "services[0]: expected an object"),
        ("/services/0/minutes", json!(30), "services[0].minutes: is no key that is known"),
        ("/services/0/name", json!(null), "services[0].name: is missing"),
        ("/services/0/duration", json!(null), "services[0].duration: is missing"),
        ("/services/0/duration", json!(0), "services[0].duration: expected a whole number from 1 to 1440"),
        ("/services/0/duration", json!(30.5), "services[0].duration: expected a whole number"),
        ("/services/0/duration", json!("30"), "services[0].duration: expected a whole number"),
        ("/services/0/duration", json!(481), "services[0].duration: 481 minutes fit into no day"),
        ("/services/0/price", json!(-1), "services[0].price: expected a number from 0"),
        ("/services/0/price", json!("35"), "services[0].price: expected a number from 0"),
        ("/services/0/price", json!(null), "services[0].price: is missing"),
        (
            "/services/1",
            json!({"name": "CUT", "duration": 5, "price": 0}),
            "services[1].name: \"CUT\" is there twice",
        ),
        ("/staff", json!([{"name": "A"}, {"name": "a"}]), "staff[1].name: \"a\" is there twice"),
        ("/staff", json!([{"name": "A", "specialties": [1]}]), "staff[0].specialties[0]: expected a text"),
        ("/staff", json!([{"name": "A", "specialties": "all"}]), "staff[0].specialties: expected a list"),
        (
            "/policies",
            json!({"payments": []}),
            "policies.payments: is no key that is known: did you mean payment?",
        ),
        ("/policies", json!({"payment": "cash"}), "policies.payment: expected a list"),
        ("/locale", json!("english please"), "locale: \"english please\" is no language tag"),
        ("/greeting", json!("Hi {nmae}"), "greeting: has braces that stand for nothing"),
        ("/goodbye", json!(""), "goodbye: is empty"),
        ("/transfer_number", json!("555-0143"), "transfer_number: expected a number in E.164"),
        ("/zero_asks_for_a_person", json!("no"), "zero_asks_for_a_person: expected true or false"),
        ("/closures", json!([{"date": "2026-02-30"}]), "closures[0].date: \"2026-02-30\" is no date"),
        ("/closures", json!([{"date": "25.12.2026"}]), "closures[0].date: \"25.12.2026\" is no date"),
        ("/closures", json!([{"reason": "x"}]), "closures[0].date: is missing"),
        (
            "/closures",
            json!([{"date": "2026-12-25"}, {"date": "2026-12-25"}]),
            "closures[1].date: \"2026-12-25\" is there twice",
        ),
        ("/closures", json!(["2026-12-25"]), "closures[0]: expected an object"),
        (
            "/breaks",
            json!([{"weekdays": [], "from": "12:00", "to": "13:00"}]),
            "breaks[0].weekdays: expected at least one",
        ),
        (
            "/breaks",
            json!([{"weekdays": ["monday"], "from": "13:00", "to": "12:00"}]),
            "breaks[0].to: \"12:00\" is not after",
        ),
        (
            "/breaks",
            json!([{"weekdays": ["mon"], "from": "12:00", "to": "13:00"}]),
            "breaks[0].weekdays[0]: \"mon\" is no weekday",
        ),
        (
            "/breaks",
            json!([{"weekdays": ["monday", "monday"], "from": "12:00", "to": "13:00"}]),
            "breaks[0].weekdays[1]: \"monday\" is there twice",
        ),
        (
            "/breaks",
            json!([{"weekdays": ["monday"], "from": "12:00", "to": "13:00", "staff": "Zoe"}]),
            "breaks[0].staff: \"Zoe\" is nobody",
        ),
        ("/lead_minutes", json!(-5), "lead_minutes: expected a whole number from 0"),
        ("/lead_minutes", json!(99_999), "lead_minutes: expected a whole number from 0"),
        ("/horizon_days", json!(0), "horizon_days: expected a whole number from 1 to 730"),
        ("/buffer_minutes", json!(481), "buffer_minutes: expected a whole number from 0 to 480"),
    ] {
        let mut profile = good();
        match pointer.rsplit_once('/') {
            None => profile = value.clone(),
            Some((above, key)) => match profile.pointer_mut(above).unwrap() {
                Value::Array(items) => {
                    items.truncate(key.parse().unwrap());
                    items.push(value.clone());
                }
                object => object[key] = value.clone(),
            },
        }
        let told = problems(&profile);
        assert!(told.iter().any(|message| message.starts_with(wanted)), "{pointer} = {value}: {told:#?}");
        let most = if value == json!([]) && pointer.is_empty() { 5 } else { 1 };
        assert!(told.len() <= most, "one mistake, one message: {pointer} = {value}: {told:#?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut profile = good();
    profile["nme"] = json!(1);
    profile["timezone"] = json!("Mars/Olympus");
    profile["hours"]["monday"]["close"] = json!("8:00 AM");
    profile["services"][0]["price"] = json!(-1);
    profile["lead_minutes"] = json!(3_000);
    profile["horizon_days"] = json!(2);
    let told = problems(&profile);
    assert_eq!(told.len(), 5, "{told:#?}");
    assert!(
        told.iter().any(|message| message.starts_with("lead_minutes: lies beyond horizon_days (2)")),
        "{told:#?}"
    );
}

#[test]
fn text_that_is_no_json_or_has_a_key_twice_is_refused_with_its_place() {
    for (text, wanted) in [
        ("", ".: is no valid JSON: EOF"),
        ("{\"name\": }", "name: is no valid JSON: expected value at line 1 column 10"),
        ("{} {}", ".: is no valid JSON: trailing characters"),
        (
            "{\"hours\": {\"monday\": \"closed\", \"monday\": \"closed\"}}",
            "hours: is no valid JSON: the key \"monday\" is there twice at line 1",
        ),
    ] {
        let told = parse(text).unwrap_err();
        assert_eq!(told.len(), 1);
        assert!(told[0].to_string().starts_with(wanted), "{text}: {}", told[0]);
    }
    assert!(parse(&" ".repeat(MAX_BYTES + 1)).unwrap_err()[0].message.contains("larger"));
    assert!(parse(&format!("\u{feff}{}", good())).is_ok());
}

#[test]
fn a_business_open_past_midnight_ends_its_day_at_midnight() {
    let mut profile = good();
    profile["hours"]["monday"]["close"] = json!("12:00 AM");
    let hours = parse(&profile.to_string()).unwrap().hours;
    assert_eq!(hours[0].map(|day| day.close), Some(MinuteOfDay(1440)));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}|closed|[0-9]{1,2}:[0-9]{2} (AM|PM)|monday".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let key = proptest::sample::select(
            [KEYS, &WEEKDAYS, &["open", "close", "price", "duration", "date"]].concat(),
        );
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..6).prop_map(|object| {
                Value::Object(object.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_a_profile_or_has_problems(value in any_json()) {
        if let Err(problems) = parse(&value.to_string()) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn any_change_to_a_good_profile_leaves_one_that_holds_or_has_problems(
        key in proptest::sample::select(KEYS.to_vec()),
        value in any_json(),
    ) {
        let mut profile = good();
        profile[key] = value;
        if let Ok(profile) = parse(&profile.to_string()) {
            prop_assert!(!profile.name.is_empty() && !profile.services.is_empty());
            prop_assert!(profile.hours.iter().flatten().all(|day| day.open < day.close && day.close.0 <= 1440));
            prop_assert!(jiff::tz::TimeZone::get(&profile.timezone).is_ok());
        }
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}|[\\[\\]{}\":, a-z0-9]{0,80}") {
        let _ = parse(&text);
    }
}
