mod conversation;

use super::*;
use crate::config::database::DatabaseConfig;
use crate::db::Database;
use crate::domain::appointment::{Appointment, AppointmentStatus, CustomerPatch};
use crate::domain::call::{CallKind, Direction};
use crate::domain::ids::{AdmissionId, Epoch, ReplicaId};
use crate::domain::phone::CallerId;
use crate::domain::profile::{MinuteOfDay, OpenHours, Policies, Service, StaffMember};
use futures_util::future::join;
use jiff::civil::date;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const ANN: &str = "+12025550143";
const BOB: &str = "+12025550177";

fn profile() -> BusinessProfile {
    let service =
        |name: &str, minutes, price| Service { name: name.into(), minutes, price, description: "".into() };
    let staff =
        |name: &str| StaffMember { name: name.into(), role: "barber".into(), specialties: Vec::new() };
    let mut hours = [Some(OpenHours { open: MinuteOfDay(9 * 60), close: MinuteOfDay(19 * 60) }); 7];
    hours[6] = None;
    BusinessProfile {
        name: "Downtown Barbers".into(),
        kind: "barbershop".into(),
        phone: "(202) 555-0100".into(),
        address: "1 Main Street".into(),
        hours,
        services: vec![
            service("Haircut", 30, 25.0),
            service("Beard Trim", 15, 15.0),
            service("Color", 120, 90.0),
        ],
        staff: vec![staff("Sam"), staff("Kim")],
        policies: Policies {
            cancellation: "A day ahead.".into(),
            lateness: "".into(),
            payment: vec!["cash".into()],
        },
        personality: String::new(),
        timezone: "America/New_York".into(),
        locale: "en-US".into(),
        greeting: None,
        goodbye: None,
        transfer_number: None,
        recording_notice: None,
        zero_asks_for_a_person: true,
        closures: BTreeMap::from([("2026-11-26".into(), "Thanksgiving".into())]),
        breaks: Vec::new(),
        lead_minutes: 60,
        horizon_days: 60,
        buffer_minutes: 0,
    }
}

/// One person, open from nine to ten: two haircuts and nothing else fit, three begin.
fn tiny() -> BusinessProfile {
    let mut profile = profile();
    profile.staff.truncate(1);
    profile.hours = [Some(OpenHours { open: MinuteOfDay(9 * 60), close: MinuteOfDay(10 * 60) }); 7];
    profile
}

struct World {
    db: Database,
    folder: PathBuf,
    profile: Arc<BusinessProfile>,
    now: Rc<Cell<UnixMillis>>,
}

impl World {
    /// Monday, November 23, 2026, ten o'clock in New York.
    fn new(profile: BusinessProfile) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("frontdesk_desk_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("sqlite://{}/data/desk.db", folder.display());
        let spool = Some(format!("{}/spool/messages", folder.display()));
        let db = Database::open(
            &DatabaseConfig { url, spool, ..DatabaseConfig::default() },
            ReplicaId::from_bits(rand::random()),
        )
        .unwrap();
        let now = Rc::new(Cell::new(at(23, 10, 0)));
        Self { db, folder, profile: Arc::new(profile), now }
    }

    fn desk(&self, sid: &str, caller: &str) -> BookingDesk {
        self.desk_for(sid, caller, None)
    }

    fn desk_for(&self, sid: &str, caller: &str, transfer: Option<&str>) -> BookingDesk {
        let now = Rc::clone(&self.now);
        let facts = CallFacts {
            sid: CallSid::from(sid),
            admission: AdmissionId::from("adm"),
            kind: CallKind::Twilio,
            direction: Direction::Inbound,
            caller: CallerId::classify(caller),
            business_number: "+12025550100".into(),
            admitted_at: self.now.get(),
            epoch: Epoch(1),
        };
        let transfer = transfer.map(|number| PhoneNumber::from_e164(number).unwrap());
        let clock = Rc::new(move || now.get());
        BookingDesk::new(Arc::clone(&self.profile), self.db.handle(), facts, None, transfer, clock)
    }

    fn later(&self, minutes: i64) {
        self.now.set(UnixMillis(self.now.get().0 + minutes * 60_000));
    }

    async fn confirmed(&self) -> Vec<Appointment> {
        let mut all = self.db.appointments(100).await.unwrap();
        all.retain(|row| row.status == AppointmentStatus::Confirmed);
        all
    }

    async fn customer(&self, name: &str, phone: &str) -> Customer {
        let patch = CustomerPatch {
            name: Some(name.into()),
            phone: Some(PhoneNumber::from_e164(phone).unwrap()),
            email: Some("kept@example.com".into()),
        };
        self.db.upsert_customer(patch, None, self.now.get()).await.unwrap()
    }

    async fn end(self) {
        self.db.shutdown().await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A time in November 2026, in New York.
fn at(day: i8, hour: i8, minute: i8) -> UnixMillis {
    let zoned = date(2026, 11, day).at(hour, minute, 0, 0).in_tz("America/New_York").unwrap();
    UnixMillis(zoned.timestamp().as_millisecond())
}

fn check(date: &str, staff: Option<&str>, service: Option<&str>) -> ToolRequest {
    ToolRequest::CheckAvailability {
        date: date.into(),
        staff: staff.map(Into::into),
        service: service.map(Into::into),
    }
}

fn booking(
    date: &str,
    time: &str,
    staff: Option<&str>,
    name: Option<&str>,
    slot: Option<&str>,
) -> ToolRequest {
    ToolRequest::BookAppointment {
        service: "haircut".into(),
        date: date.into(),
        time: time.into(),
        staff: staff.map(Into::into),
        customer_name: name.map(Into::into),
        customer_phone: None,
        slot_id: slot.map(Into::into),
    }
}

fn collect(name: Option<&str>, phone: Option<&str>) -> ToolRequest {
    ToolRequest::CollectCustomerInfo { name: name.map(Into::into), phone: phone.map(Into::into), email: None }
}

fn message(phone: Option<&str>) -> ToolRequest {
    ToolRequest::TakeMessage {
        message: "Please ring back.".into(),
        name: Some("Ann".into()),
        phone: phone.map(Into::into),
    }
}

async fn ask(desk: &BookingDesk, tool: ToolRequest) -> Value {
    desk.run(tool).await.content
}

fn spoken(answer: &Value) -> Vec<String> {
    let text =
        |slot: &Value| format!("{} {}", slot["time"].as_str().unwrap(), slot["staff"].as_str().unwrap());
    answer["slots"].as_array().unwrap_or_else(|| panic!("no slots: {answer}")).iter().map(text).collect()
}

#[actix::test]
async fn an_offered_slot_is_booked_and_the_committed_row_is_read_back() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    let offer = ask(&desk, check("tomorrow", Some("sam"), Some("haircut"))).await;
    assert_eq!(offer["date"], "2026-11-24");
    assert_eq!(offer["spoken_date"], "Tuesday, November 24");
    assert_eq!(spoken(&offer), ["9:00 AM Sam", "1:45 PM Sam", "6:30 PM Sam"]);
    assert_eq!(offer["more"], 36);

    let id = offer["slots"][1]["slot_id"].as_str().unwrap();
    let outcome = desk.run(booking("2026-11-24", "1:45 PM", None, Some("Ann Lee"), Some(id))).await;
    let answer = &outcome.content;
    assert_eq!(answer["booked"], true, "{answer}");
    for (key, want) in [
        ("service", "Haircut"),
        ("staff", "Sam"),
        ("date", "2026-11-24"),
        ("time", "1:45 PM"),
        ("name", "Ann Lee"),
        ("weekday", "Tuesday"),
    ] {
        assert_eq!(answer[key], want);
    }
    assert_eq!(answer["price"], 25.0);
    assert!(outcome.achieved.appointment_booked);
    let rows = world.confirmed().await;
    assert_eq!(rows.len(), 1);
    let fact =
        format!("Booked: Haircut with Sam on Tuesday, November 24 at 1:45 PM (appointment {})", rows[0].id);
    assert_eq!(outcome.fact, Some(fact));
    assert_eq!((rows[0].starts_at, rows[0].staff.as_str()), (at(24, 13, 45), "Sam"));
    let customer = world.db.customer(rows[0].customer_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(customer.name.as_deref(), Some("Ann Lee"));
    assert_eq!(customer.phone.unwrap().as_str(), ANN);

    // What was offered beside it is free again for others.
    let other = ask(&world.desk("CA2", BOB), check("tomorrow", Some("sam"), None)).await;
    assert_eq!(spoken(&other)[0], "9:00 AM Sam");
    world.end().await;
}

#[actix::test]
async fn a_repeated_booking_is_one_appointment_and_gets_the_same_answer() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    let first = desk.run(booking("tomorrow", "3 PM", None, Some("Ann"), None)).await;
    assert_eq!(first.content["booked"], true);
    // The second barber is free at three, but nobody asked for a second appointment.
    for again in [
        booking("tomorrow", "3 PM", None, Some("Ann"), None),
        booking("2026-11-24", "15:00", Some("anyone"), None, None),
        booking("Tuesday", "three o'clock", Some("Sam"), Some("Ann"), Some("invented")),
    ] {
        assert_eq!(desk.run(again).await.content, first.content);
    }
    assert_eq!(world.confirmed().await.len(), 1);
    // The call may go on elsewhere, with a desk that remembers nothing.
    let resumed = world.desk("CA1", ANN);
    assert_eq!(ask(&resumed, booking("tomorrow", "3 PM", None, None, None)).await["booked"], true);
    assert_eq!(world.confirmed().await.len(), 1);
    // With somebody else it is another appointment.
    assert_eq!(ask(&desk, booking("tomorrow", "3 PM", Some("Kim"), None, None)).await["staff"], "Kim");
    assert_eq!(world.confirmed().await.len(), 2);
    world.end().await;
}

#[actix::test]
async fn of_two_calls_that_want_one_slot_one_gets_it_and_the_other_hears_of_others() {
    let world = World::new(profile());
    let (one, two) = (world.desk("CA1", ANN), world.desk("CA2", BOB));
    let want = || booking("tomorrow", "3 PM", Some("Sam"), Some("Somebody"), None);
    let (a, b) = join(one.run(want()), two.run(want())).await;
    let (won, lost) = if a.content["booked"] == true { (a, b) } else { (b, a) };
    assert_eq!(won.content["booked"], true);
    assert_eq!(lost.content["error"], "that time is not free", "{}", lost.content);
    assert!(!lost.achieved.appointment_booked);
    assert_eq!(spoken(&lost.content), ["2:15 PM Sam", "2:30 PM Sam", "3:30 PM Sam"]);
    assert_eq!(world.confirmed().await.len(), 1);
    world.end().await;
}

#[actix::test]
async fn without_a_wish_for_a_person_the_second_is_booked_when_the_first_is_taken() {
    let world = World::new(profile());
    for (sid, staff) in [("CA1", "Sam"), ("CA2", "Kim")] {
        let answer = ask(&world.desk(sid, ANN), booking("tomorrow", "3 PM", None, Some("Ann"), None)).await;
        assert_eq!(answer["staff"], staff);
    }
    let third = ask(&world.desk("CA3", BOB), booking("tomorrow", "3 PM", None, Some("Bob"), None)).await;
    assert_eq!(third["error"], "that time is not free");
    world.end().await;
}

#[actix::test]
async fn a_weekday_that_contradicts_the_date_is_handed_back_with_both_days() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    for tool in [
        check("Tuesday, November 25", None, None),
        booking("Tuesday, November 25", "3 PM", None, Some("Ann"), None),
    ] {
        let answer = ask(&desk, tool).await;
        assert_eq!(answer["error"], "the weekday contradicts the date");
        assert_eq!(answer["by_weekday"]["date"], "2026-11-24");
        assert_eq!(answer["by_date"]["spoken_date"], "Wednesday, November 25");
        assert_eq!(answer["today"]["date"], "2026-11-23");
    }
    assert!(world.confirmed().await.is_empty());
    world.end().await;
}

#[actix::test]
async fn what_cannot_be_booked_says_why_and_offers_what_can() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    for (day, time, error) in [
        ("today", "9 AM", "that time has passed"),
        ("today", "10:30 AM", "that is too soon"),
        ("tomorrow", "6:45 PM", "that is outside the opening hours"),
        ("tomorrow", "3:10 PM", "appointments begin at other minutes"),
    ] {
        let answer = ask(&desk, booking(day, time, None, Some("Ann"), None)).await;
        assert_eq!(answer["error"], error, "{answer}");
        assert_eq!(spoken(&answer).len(), 3);
    }
    for (day, time, error) in [
        ("yesterday", "3 PM", "that day is past"),
        ("next week", "3 PM", "that is more than one day"),
        ("whenever", "3 PM", "the date is not understood"),
        ("February 30", "3 PM", "there is no such day in the calendar"),
        ("tomorrow", "soon", "the time is not understood"),
        ("tomorrow", "eight", "the time can be read in two ways"),
        ("2027-06-01", "3 PM", "that is too far ahead"),
    ] {
        assert_eq!(
            ask(&desk, booking(day, time, None, Some("Ann"), None)).await["error"],
            error,
            "{day} {time}"
        );
    }
    let closed = ask(&desk, check("Thursday", None, None)).await;
    assert_eq!(closed["error"], "closed on that day");
    assert_eq!(closed["reason"], "Thanksgiving");
    assert_eq!(closed["next_free"]["date"], "2026-11-27");
    assert_eq!(spoken(&closed["next_free"]).len(), 3);
    assert!(world.confirmed().await.is_empty());
    world.end().await;
}

#[actix::test]
async fn unknown_names_are_answered_with_the_known_ones() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    let answer = ask(&desk, check("tomorrow", None, Some("massage"))).await;
    assert_eq!(answer["services"], json!(["Haircut", "Beard Trim", "Color"]));
    let answer = ask(&desk, check("tomorrow", Some("Pat"), None)).await;
    assert_eq!(answer["staff"], json!(["Sam", "Kim"]));
    let answer = ask(&desk, check("tomorrow", Some("Any available"), None)).await;
    assert_eq!(answer["service"], "Beard Trim");
    assert_eq!(spoken(&answer).len(), 3);
    world.end().await;
}

#[actix::test]
async fn offered_slots_are_kept_from_others_and_lapse() {
    let world = World::new(tiny());
    let (one, two) = (world.desk("CA1", ANN), world.desk("CA2", BOB));
    let first = ask(&one, check("tomorrow", None, Some("haircut"))).await;
    assert_eq!(spoken(&first), ["9:00 AM Sam", "9:15 AM Sam", "9:30 AM Sam"]);
    let second = ask(&two, check("tomorrow", None, Some("haircut"))).await;
    assert_eq!(spoken(&second), [""; 0]);
    assert_eq!(second["next_free"]["date"], "2026-11-25");
    let refused = ask(&two, booking("tomorrow", "9 AM", None, Some("Bob"), None)).await;
    assert_eq!(refused["error"], "that time is not free");
    assert_eq!(refused["next_free"]["date"], "2026-11-25");

    // Its own offers do not stand in a call's way, and what it looks at next frees the rest.
    assert_eq!(spoken(&ask(&one, check("tomorrow", None, Some("haircut"))).await).len(), 3);
    ask(&one, check("Friday", None, Some("haircut"))).await;
    assert_eq!(spoken(&ask(&two, check("tomorrow", None, Some("haircut"))).await).len(), 3);
    two.leave().await;
    assert_eq!(spoken(&ask(&one, check("tomorrow", None, Some("haircut"))).await).len(), 3);
    world.later(3);
    assert_eq!(spoken(&ask(&two, check("tomorrow", None, Some("haircut"))).await).len(), 3);

    // A lapsed offer can still be had as long as nobody else took it.
    two.leave().await;
    let id = first["slots"][0]["slot_id"].as_str().unwrap();
    let late = ask(&one, booking("tomorrow", "9 AM", None, Some("Ann"), Some(id))).await;
    assert_eq!(late["booked"], true, "{late}");
    world.end().await;
}

#[actix::test]
async fn a_slot_id_counts_in_its_own_call_only_and_only_for_its_own_time() {
    let world = World::new(profile());
    let (one, two) = (world.desk("CA1", ANN), world.desk("CA2", BOB));
    let offer = ask(&one, check("tomorrow", Some("Sam"), Some("Haircut"))).await;
    let id = offer["slots"][0]["slot_id"].as_str().unwrap();
    for wrong in [
        booking("tomorrow", "3 PM", None, Some("Ann"), Some(id)),
        booking("Friday", "9 AM", None, Some("Ann"), Some(id)),
        booking("tomorrow", "9 AM", Some("Kim"), Some("Ann"), Some(id)),
    ] {
        let answer = ask(&one, wrong).await;
        assert_eq!(answer["error"], "the slot_id belongs to another time");
        assert_eq!(answer["slot"]["slot_id"], id);
    }
    // In another call the identifier says nothing: what was said counts, and Sam is held by the first call.
    let other = ask(&two, booking("tomorrow", "9 AM", Some("Sam"), Some("Bob"), Some(id))).await;
    assert_eq!(other["error"], "that time is not free");
    assert!(world.confirmed().await.is_empty());
    world.end().await;
}

#[actix::test]
async fn what_was_offered_decides_which_nine_is_meant() {
    let mut late = profile();
    late.hours[1] = Some(OpenHours { open: MinuteOfDay(8 * 60), close: MinuteOfDay(22 * 60) });
    let world = World::new(late);
    let desk = world.desk("CA1", ANN);
    let answer = ask(&desk, booking("tomorrow", "nine", None, Some("Ann"), None)).await;
    assert_eq!(answer["readings"], json!(["9:00 AM", "9:00 PM"]));
    ask(&desk, check("tomorrow around 9 PM", None, None)).await;
    assert_eq!(ask(&desk, booking("tomorrow", "nine", None, Some("Ann"), None)).await["time"], "9:00 PM");
    world.end().await;
}

#[actix::test]
async fn a_caller_without_a_number_books_under_their_name_and_opens_nobody_elses_record() {
    let world = World::new(profile());
    let bob = world.customer("Bob", BOB).await;
    let desk = world.desk("CA1", "anonymous");
    let nameless = ask(&desk, booking("tomorrow", "3 PM", None, None, None)).await;
    assert_eq!(nameless["error"], "a name is missing");
    assert!(world.confirmed().await.is_empty());

    ask(&desk, collect(Some("Mallory"), Some("202 555 0177"))).await;
    let booked = ask(&desk, booking("tomorrow", "3 PM", None, None, None)).await;
    assert_eq!(booked["name"], "Mallory");
    let row = world.confirmed().await.remove(0);
    assert_ne!(row.customer_id, Some(bob.id));
    assert_eq!(world.db.customer(bob.id).await.unwrap(), Some(bob));
    // A number of which nothing is known becomes that of the caller's own record.
    ask(&desk, collect(None, Some("+1 202 555 0188"))).await;
    let mallory = world.db.customer(row.customer_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(mallory.phone.unwrap().as_str(), "+12025550188");
    assert_eq!(mallory.name.as_deref(), Some("Mallory"));
    world.end().await;
}

#[actix::test]
async fn a_caller_changes_their_own_record_and_wipes_nothing() {
    let world = World::new(profile());
    let (ann, bob) = (world.customer("Ann", ANN).await, world.customer("Bob", BOB).await);
    let desk = world.desk("CA1", ANN);
    let outcome = desk.run(collect(Some("Ann Lee"), Some("(202) 555-0177"))).await;
    assert!(outcome.achieved.lead_captured);
    assert_eq!(outcome.content["ok"], true);
    let stored = world.db.customer(ann.id).await.unwrap().unwrap();
    assert_eq!(stored, Customer { name: Some("Ann Lee".into()), ..ann.clone() });
    assert_eq!(world.db.customer(bob.id).await.unwrap(), Some(bob));

    // The name an appointment is for does not rename the caller.
    let booked = desk.run(booking("tomorrow", "3 PM", None, Some("Tim"), None)).await;
    assert_eq!(booked.content["name"], "Tim");
    assert!(booked.fact.unwrap().starts_with("Booked: Haircut for Tim with Sam on Tuesday"));
    assert_eq!(world.db.customer(ann.id).await.unwrap().unwrap().name.as_deref(), Some("Ann Lee"));
    assert_eq!(world.confirmed().await[0].customer_id, Some(ann.id));

    let wrong = ask(&desk, collect(None, Some("12345"))).await;
    assert_eq!(wrong["error"], "the telephone number is not valid");
    world.end().await;
}

#[actix::test]
async fn a_message_is_stored_once_with_a_number_to_call_back() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    for _ in 0..2 {
        let outcome = desk.run(message(None)).await;
        assert_eq!(outcome.content["call_back_number_ends_in"], "0143");
        assert!(outcome.achieved.message_taken && outcome.achieved.follow_up);
    }
    let refused = desk.run(message(Some("555"))).await;
    assert_eq!(refused.content["error"], "the telephone number is not valid");
    assert!(!refused.achieved.message_taken);
    let stored = world.db.messages(10).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].phone.as_deref(), Some(ANN));
    assert_eq!(stored[0].text, "Please ring back.");
    world.end().await;
}

#[actix::test]
async fn without_the_database_nothing_is_told_as_done() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    let World { db, folder, .. } = world;
    db.shutdown().await;
    for tool in [
        check("tomorrow", None, None),
        booking("tomorrow", "3 PM", None, Some("Ann"), None),
        collect(Some("Ann"), None),
    ] {
        let outcome = desk.run(tool).await;
        assert_eq!(outcome.content["error"], "the calendar cannot be reached");
        assert_eq!(outcome.achieved, Outcome::default());
        assert_eq!(outcome.fact, None);
    }
    let hours = desk.run(ToolRequest::GetBusinessInfo { topic: "hours".into() }).await;
    assert_eq!(hours.content["open_now"], true);
    // With the disk gone as well a message is nowhere, and the caller is told so.
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let outcome = desk.run(message(None)).await;
    assert_eq!(outcome.content["error"], "the message could not be stored");
    assert_eq!(outcome.achieved, Outcome { follow_up: true, ..Outcome::default() });
    std::fs::remove_file(folder).unwrap();
}

#[actix::test]
async fn without_the_database_a_message_is_taken_all_the_same_and_is_there_when_it_is_back() {
    let world = World::new(profile());
    // No folder, no database: the writer makes its connection when it first writes. The disk is still there.
    let (here, away) = (world.folder.join("data"), world.folder.join("away"));
    std::fs::rename(&here, &away).unwrap();
    let desk = world.desk("CA1", ANN);
    let booked = desk.run(booking("tomorrow", "3 PM", None, Some("Ann"), None)).await;
    assert_eq!(booked.content["error"], "the calendar cannot be reached");
    for _ in 0..2 {
        let outcome = desk.run(message(None)).await;
        assert_eq!(outcome.content["stored"], true, "{}", outcome.content);
        assert_eq!(outcome.content["call_back_number_ends_in"], "0143");
        assert!(outcome.achieved.message_taken && outcome.achieved.follow_up);
    }
    std::fs::rename(&away, &here).unwrap();
    let stored = async {
        loop {
            match world.db.messages(10).await {
                Ok(stored) if !stored.is_empty() => return stored,
                _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    };
    let stored = tokio::time::timeout(std::time::Duration::from_secs(30), stored).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].phone.as_deref(), stored[0].text.as_str()), (Some(ANN), "Please ring back."));
    assert_eq!((stored[0].name.as_deref(), stored[0].at), (Some("Ann"), world.now.get()));
    world.end().await;
}

#[actix::test]
async fn a_person_is_there_within_opening_hours_and_with_a_number_only() {
    let world = World::new(profile());
    let ask_for = || ToolRequest::TransferToHuman { reason: None };
    let desk = world.desk_for("CA1", ANN, Some(BOB));
    let outcome = desk.run(ask_for()).await;
    assert!(outcome.achieved.transferred);
    assert_eq!(outcome.content, json!({"ok": true}));
    let nobody = world.desk("CA2", ANN).run(ask_for()).await;
    assert_eq!(nobody.content["suggestion"], "take_message");
    world.later(10 * 60);
    let closed = desk.run(ask_for()).await;
    assert_eq!(closed.content["error"], "nobody available");
    assert!(!closed.achieved.transferred);
    assert_eq!(ask(&desk, ToolRequest::EndCall { reason: None }).await, json!({"ok": true}));
    world.end().await;
}

#[actix::test]
async fn the_business_tells_of_itself_by_topic() {
    let world = World::new(profile());
    let desk = world.desk("CA1", ANN);
    let about = |topic: &str| ask(&desk, ToolRequest::GetBusinessInfo { topic: topic.into() });
    let hours = about("Opening hours").await;
    assert_eq!(hours["today"]["hours"], "9:00 AM to 7:00 PM");
    assert_eq!(hours["week"]["Sunday"], "closed");
    assert_eq!(hours["closed_on"][0]["reason"], "Thanksgiving");
    assert!(hours.get("services").is_none());
    assert_eq!(about("prices").await["services"][0]["price"], 25.0);
    assert_eq!(about("beard trim").await["service"]["minutes"], 15);
    assert_eq!(about("Kim").await["person"]["role"], "barber");
    assert_eq!(about("where are you").await["address"], "1 Main Street");
    assert_eq!(about("cancellation").await["policies"]["cancellation"], "A day ahead.");
    assert_eq!(about("payment").await["payment"][0], "cash");
    let everything = about("general").await;
    for key in ["week", "services", "staff", "address", "policies", "payment", "kind"] {
        assert!(everything.get(key).is_some(), "{key}");
    }
    world.end().await;
}
