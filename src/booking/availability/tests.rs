use super::*;
use crate::domain::profile::{Break, Policies, StaffMember};
use jiff::civil::date;
use proptest::prelude::*;
use std::collections::BTreeMap;

const NINE_TO_SEVEN: OpenHours = OpenHours { open: MinuteOfDay(9 * 60), close: MinuteOfDay(19 * 60) };

fn service(minutes: u32) -> Service {
    Service { name: "Haircut".into(), minutes, price: 25.0, description: String::new() }
}

fn shop(staff: &[&str]) -> BusinessProfile {
    let staff = staff.iter().map(|name| StaffMember {
        name: (*name).into(),
        role: "barber".into(),
        specialties: Vec::new(),
    });
    let mut hours = [Some(NINE_TO_SEVEN); 7];
    hours[6] = None;
    BusinessProfile {
        name: "Downtown Barbers".into(),
        kind: "barbershop".into(),
        phone: String::new(),
        address: String::new(),
        hours,
        services: vec![service(30)],
        staff: staff.collect(),
        policies: Policies::default(),
        personality: String::new(),
        timezone: "America/New_York".into(),
        locale: "en-US".into(),
        greeting: None,
        goodbye: None,
        transfer_number: None,
        recording_notice: None,
        zero_asks_for_a_person: true,
        closures: BTreeMap::new(),
        breaks: Vec::new(),
        lead_minutes: 60,
        horizon_days: 60,
        buffer_minutes: 0,
    }
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(zone_name: &str, date: Date, hour: u16, minute: u16) -> UnixMillis {
    instant(&zone(zone_name), date, MinuteOfDay(hour * 60 + minute)).unwrap()
}

const NY: &str = "America/New_York";
/// A Tuesday.
const DAY: Date = date(2026, 11, 24);

fn early() -> UnixMillis {
    at(NY, date(2026, 11, 22), 12, 0)
}

fn starts(slots: &[Slot]) -> Vec<String> {
    slots
        .iter()
        .map(|slot| format!("{:02}:{:02} {}", slot.local.hour(), slot.local.minute(), slot.staff))
        .collect()
}

fn busy(staff: &str, from: (u16, u16), to: (u16, u16)) -> Busy {
    Busy { staff: staff.into(), from: at(NY, DAY, from.0, from.1), to: at(NY, DAY, to.0, to.1) }
}

#[test]
fn a_free_day_is_offered_from_opening_to_the_last_start_that_fits() {
    let profile = shop(&["Sam"]);
    let slots = free_slots(&profile, &zone(NY), &service(30), None, DAY, &[], early()).unwrap();
    assert_eq!(slots.len(), 39);
    assert_eq!(slots[0].starts_at, at(NY, DAY, 9, 0));
    assert_eq!(slots[38].ends_at, at(NY, DAY, 19, 0));
    let long = free_slots(&profile, &zone(NY), &service(600), None, DAY, &[], early()).unwrap();
    assert_eq!(starts(&long), ["09:00 Sam"]);
}

#[test]
fn what_is_taken_is_left_out_for_that_person_only_and_buffers_count() {
    let mut profile = shop(&["Sam", "Kim"]);
    profile.hours[1] = Some(OpenHours { open: MinuteOfDay(540), close: MinuteOfDay(630) });
    let taken = [busy("sam", (9, 30), (10, 0))];
    let slots = free_slots(&profile, &zone(NY), &service(30), None, DAY, &taken, early()).unwrap();
    let free = ["09:00 Sam", "09:00 Kim", "09:15 Kim", "09:30 Kim", "09:45 Kim", "10:00 Sam", "10:00 Kim"];
    assert_eq!(starts(&slots), free);
    profile.buffer_minutes = 10;
    let slots = free_slots(&profile, &zone(NY), &service(30), Some("Sam"), DAY, &taken, early()).unwrap();
    assert_eq!(starts(&slots), ["10:00 Sam"]);
}

#[test]
fn without_staff_the_business_itself_is_booked() {
    let profile = shop(&[]);
    let taken = [busy("Downtown Barbers", (9, 0), (18, 30))];
    let slots = free_slots(&profile, &zone(NY), &service(30), None, DAY, &taken, early()).unwrap();
    assert_eq!(starts(&slots), ["18:30 Downtown Barbers"]);
    assert_eq!(resources(&profile, Some("downtown barbers")), Ok(vec!["Downtown Barbers"]));
    assert_eq!(resources(&profile, Some("Sam")), Err(Unavailable::UnknownStaff));
}

#[test]
fn breaks_are_kept_by_whom_they_concern() {
    let mut profile = shop(&["Sam", "Kim"]);
    let pause = |from: u16, to: u16, staff: Option<&str>| Break {
        weekdays: vec![1],
        hours: OpenHours { open: MinuteOfDay(from * 60), close: MinuteOfDay(to * 60) },
        staff: staff.map(str::to_owned),
    };
    profile.breaks = vec![pause(9, 12, None), pause(12, 18, Some("Sam"))];
    let slots = free_slots(&profile, &zone(NY), &service(60), None, DAY, &[], early()).unwrap();
    assert_eq!(starts(&slots)[0], "12:00 Kim");
    assert_eq!(slots.iter().filter(|slot| slot.staff == "Sam").count(), 1);
    let wednesday = date(2026, 11, 25);
    let other = free_slots(&profile, &zone(NY), &service(60), None, wednesday, &[], early()).unwrap();
    assert_eq!(starts(&other)[0], "09:00 Sam");
}

#[test]
fn a_day_without_times_says_why() {
    let mut profile = shop(&["Sam"]);
    profile.closures.insert("2026-11-26".into(), "Thanksgiving".into());
    let ask =
        |minutes, staff, day, now| free_slots(&profile, &zone(NY), &service(minutes), staff, day, &[], now);
    let thanksgiving = Unavailable::Closed { reason: Some("Thanksgiving".into()) };
    assert_eq!(ask(30, None, date(2026, 11, 26), early()), Err(thanksgiving));
    assert_eq!(ask(30, None, date(2026, 11, 29), early()), Err(Unavailable::Closed { reason: None }));
    assert_eq!(ask(30, None, date(2026, 11, 21), early()), Err(Unavailable::Past));
    assert_eq!(
        ask(30, None, date(2027, 1, 22), early()),
        Err(Unavailable::TooFar { last: date(2027, 1, 21) })
    );
    assert!(ask(30, None, date(2027, 1, 21), early()).is_ok());
    assert_eq!(ask(601, None, DAY, early()), Err(Unavailable::TooLong));
    assert_eq!(ask(u32::MAX, None, DAY, early()), Err(Unavailable::TooLong));
    assert_eq!(ask(30, Some("Pat"), DAY, early()), Err(Unavailable::UnknownStaff));
    assert_eq!(ask(30, None, DAY, at(NY, DAY, 17, 31)), Err(Unavailable::TooLate));
    assert_eq!(ask(30, None, DAY, UnixMillis(i64::MAX)), Err(Unavailable::NoSuchTime));
    let full = [busy("Sam", (0, 0), (23, 0))];
    assert_eq!(free_slots(&profile, &zone(NY), &service(30), None, DAY, &full, early()), Ok(Vec::new()));
}

#[test]
fn the_lead_time_is_kept_to_the_minute() {
    let profile = shop(&["Sam"]);
    for (minute, first) in [(0, "11:00 Sam"), (1, "11:15 Sam"), (15, "11:15 Sam")] {
        let now = at(NY, DAY, 10, minute);
        let slots = free_slots(&profile, &zone(NY), &service(30), None, DAY, &[], now).unwrap();
        assert_eq!(starts(&slots)[0], first);
    }
}

#[test]
fn a_refused_time_says_why() {
    let profile = shop(&["Sam"]);
    let now = at(NY, DAY, 10, 0);
    for (hour, minute, why) in [
        (9, 0, Refusal::Past),
        (10, 30, Refusal::TooSoon),
        (18, 45, Refusal::OutsideHours),
        (22, 0, Refusal::OutsideHours),
        (15, 10, Refusal::OffGrid),
        (15, 0, Refusal::Taken),
    ] {
        let minute = MinuteOfDay(hour * 60 + minute);
        assert_eq!(refusal(&profile, &zone(NY), &service(30), DAY, minute, now), why, "{minute:?}");
    }
}

#[test]
fn days_on_which_the_clocks_change_are_as_long_as_they_are() {
    let midnight = OpenHours { open: MinuteOfDay(0), close: MinuteOfDay(1_440) };
    let noon = OpenHours { open: MinuteOfDay(9 * 60), close: MinuteOfDay(12 * 60) };
    for (name, day, elapsed_hours, offset_at_nine) in [
        (NY, date(2026, 3, 8), 23, -4),
        (NY, date(2026, 11, 1), 25, -5),
        ("Europe/Berlin", date(2026, 3, 29), 23, 2),
        ("Europe/Berlin", date(2026, 10, 25), 25, 1),
        ("Europe/Berlin", date(2026, 6, 1), 24, 2),
    ] {
        let mut profile = shop(&["Sam"]);
        let weekday = usize::from(day.weekday().to_monday_zero_offset().unsigned_abs());
        profile.hours[weekday] = Some(midnight);
        let now = at(name, plus_days(day, -2).unwrap(), 12, 0);
        let slots = free_slots(&profile, &zone(name), &service(60), None, day, &[], now).unwrap();
        assert_eq!(slots.len(), elapsed_hours * 4 - 3, "{name} {day}");
        assert!(slots.windows(2).all(|pair| pair[1].starts_at.0 - pair[0].starts_at.0 == STEP_MS));
        // Nobody is booked at a time that no clock shows.
        assert!(slots.iter().all(|slot| slot.local.date() == day));

        profile.hours[weekday] = Some(noon);
        let slots = free_slots(&profile, &zone(name), &service(30), None, day, &[], now).unwrap();
        assert_eq!(starts(&slots)[0], "09:00 Sam");
        let utc = day.to_zoned(TimeZone::UTC).unwrap().timestamp().as_millisecond();
        assert_eq!(slots[0].starts_at.0, utc + (9 - offset_at_nine) * 3_600_000, "{name} {day}");
    }
}

#[test]
fn an_hour_that_the_clocks_skip_is_not_offered() {
    let day = date(2026, 3, 8);
    let mut profile = shop(&["Sam"]);
    profile.hours[6] = Some(OpenHours { open: MinuteOfDay(60), close: MinuteOfDay(240) });
    let now = at(NY, date(2026, 3, 6), 12, 0);
    let slots = free_slots(&profile, &zone(NY), &service(30), None, day, &[], now).unwrap();
    assert_eq!(
        starts(&slots),
        ["01:00 Sam", "01:15 Sam", "01:30 Sam", "01:45 Sam", "03:00 Sam", "03:15 Sam", "03:30 Sam"]
    );
}

proptest! {
    #[test]
    fn every_slot_fits_into_the_hours_and_meets_nothing_that_is_taken(
        zone_name in proptest::sample::select(vec![NY, "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        day in 0i64..366,
        open in 0u16..1_200,
        length in 1u16..1_440,
        minutes in 1u32..300,
        buffer in 0u32..30,
        lead in 0u32..300,
        pause in 0u16..1_380,
        taken in proptest::collection::vec((0i64..300, 1i64..40, any::<bool>()), 0..12),
    ) {
        let zone = zone(zone_name);
        let day = plus_days(date(2026, 1, 1), day).unwrap();
        let hours = OpenHours { open: MinuteOfDay(open), close: MinuteOfDay((open + length).min(1_440)) };
        let mut profile = shop(&["Sam", "Kim"]);
        profile.hours = [Some(hours); 7];
        profile.buffer_minutes = buffer;
        profile.lead_minutes = lead;
        let off = OpenHours { open: MinuteOfDay(pause), close: MinuteOfDay(pause + 60) };
        profile.breaks = vec![Break { weekdays: (0..7).collect(), hours: off, staff: Some("Kim".into()) }];
        let now = instant(&zone, day, MinuteOfDay(300)).unwrap();
        let midnight = instant(&zone, day, MinuteOfDay(0)).unwrap().0;
        let busy: Vec<Busy> = taken
            .iter()
            .map(|(from, long, sam)| Busy {
                staff: if *sam { "Sam" } else { "Kim" }.into(),
                from: UnixMillis(midnight + from * 300_000),
                to: UnixMillis(midnight + (from + long) * 300_000),
            })
            .collect();
        let Ok(slots) = free_slots(&profile, &zone, &service(minutes), None, day, &busy, now) else { return Ok(()) };
        for slot in &slots {
            prop_assert_eq!(slot.ends_at.0 - slot.starts_at.0, i64::from(minutes) * 60_000);
            prop_assert!(slot.starts_at.0 >= now.0 + i64::from(lead) * 60_000);
            let start = local(slot.starts_at, &zone).unwrap().datetime();
            let end = local(slot.ends_at, &zone).unwrap().datetime();
            prop_assert_eq!(start, slot.local);
            prop_assert!(start >= wall(day, hours.open).unwrap() && end <= wall(day, hours.close).unwrap());
            let kept = slot.ends_at.0 + i64::from(buffer) * 60_000;
            for b in busy.iter().filter(|b| b.staff == slot.staff) {
                prop_assert!(kept <= b.from.0 || b.to.0 <= slot.starts_at.0);
            }
            if slot.staff == "Kim" {
                prop_assert!(end <= wall(day, off.open).unwrap() || start >= wall(day, off.close).unwrap()
                    || end < start);
            }
        }
    }
}
