//! Every page, light and dark, on a desk and on a phone: nothing is broken, nothing sticks out, everything has a name.

use super::page::{LOOKS, Look, Page};
use super::{alone, browse, hire, signed_in};
use crate::support::{Desk, barbershop};
use frontdesk::sim::vendors::VendorsConfig;
use serde_json::{Value, json};

/// The pages and what has to be on them before they are complete.
const PAGES: [(&str, &str, &str); 15] = [
    ("live", "/", "document.querySelector('.tile')"),
    ("calls", "/calls", "document.querySelector('.table tbody tr')"),
    ("call", "/calls/1", "document.querySelector('.call-grid .turn')"),
    ("calendar-day", "/calendar?date=TOMORROW", "document.querySelector('.cal-block')"),
    ("calendar-week", "/calendar?date=TOMORROW&view=week", "document.querySelector('.cal-block')"),
    ("customers", "/customers", "document.querySelector('.table tbody tr')"),
    ("customer", "/customers/1", "document.querySelector('input[name=phone]')"),
    ("messages", "/messages", "document.querySelector('.message')"),
    (
        "analytics",
        "/analytics",
        "[...document.querySelectorAll('img.chart')].length === 4 && [...document.querySelectorAll('img.chart')].every(i => i.complete && i.naturalWidth)",
    ),
    ("outbound", "/outbound", "document.querySelector('input[name=to]')"),
    ("test-call", "/test-call", "document.querySelector('.dial')"),
    ("search", "/search?q=umbrella", "document.querySelector('.hit')"),
    ("settings", "/settings", "document.querySelector('input[name=timezone]')"),
    ("settings-server", "/settings?tab=server", "document.querySelector('fieldset input')"),
    ("access", "/access", "document.querySelectorAll('.table').length === 2"),
];

/// Pages that may be empty.
const OTHERS: [(&str, &str, &str); 3] = [
    ("jobs", "/jobs", "document.querySelector('.table, .state')"),
    ("audit", "/audit", "document.querySelector('.table tbody tr')"),
    ("nothing-found", "/search?q=xylophone", "document.querySelector('.state')"),
];

/// What has no name for those who cannot see it, and what else is amiss on every page.
const FAULTS: &str = "
    const named = (e) => (e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim() || e.title || e.querySelector('img[alt]')?.alt);
    const faults = [];
    for (const e of document.querySelectorAll('button, a[href], input:not([type=hidden]), select, textarea'))
      if (!named(e)) faults.push('no name: ' + e.outerHTML.slice(0, 120));
    for (const e of document.querySelectorAll('img:not([alt])')) faults.push('no alt: ' + e.src);
    if (document.querySelectorAll('h1').length !== 1) faults.push('headings: ' + document.querySelectorAll('h1').length);
    if (!document.querySelector('main')) faults.push('no main');
    const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
    if (new Set(ids).size !== ids.length) faults.push('an id twice');
    if (document.documentElement.scrollWidth > innerWidth) faults.push('sticks out: ' + document.documentElement.scrollWidth);
    return faults;";

fn visit(page: &Page, look: &Look, (name, path, ready): (&str, &str, &str), date: &str) {
    page.look(look).go(&path.replace("TOMORROW", date));
    let settled = format!("document.querySelector('h1') && !document.querySelector('.bones') && ({ready})");
    page.wait(&format!("{name} ({})", look.name), &settled);
    page.shoot(&format!("{name}-{}", look.name));
    let faults = page.value(FAULTS);
    assert_eq!(faults, json!([]), "{name} ({})", look.name);
}

/// A desk with something on every page.
async fn furnished() -> Desk {
    let mut profile = barbershop();
    profile.recording_notice = Some("This call is recorded.".into());
    let desk = Desk::with(profile, VendorsConfig::default(), super::record).await;
    hire(&desk).await;
    desk.call(include_str!("../../../src/sim/scripts/booking.toml")).await.is_sound();
    desk.call(
        r#"
        name = "message"
        [[step]]
        wait_for = "greeting"
        [[step]]
        say = "Please take a message: I left my umbrella at your place, call me back."
        [[step]]
        wait_for = "reply"
        [[step]]
        say = "That is all, goodbye."
        [[step]]
        expect_end = "hangup"
        "#,
    )
    .await
    .is_sound();
    desk
}

/// Appointments for tomorrow, time off and a key, made as staff make them.
fn furnish(page: &Page) -> String {
    let date = page.value(
        "const words = await import(new URL('words.js', document.querySelector('script[type=module]').src));
         return words.addDays(words.isoDate(), 1)",
    );
    let date = date.as_str().unwrap().to_owned();
    let people = [
        ("Sarah Lindqvist", "+12025550131"),
        ("James Okafor", "+12025550118"),
        ("Priya Raman", "+12025550176"),
    ];
    let times = [
        ("Marcus", "09:30", "Skin Fade"),
        ("Elena", "10:30", "Haircut and Beard"),
        ("Theo", "11:00", "Beard Trim"),
    ];
    for ((name, phone), (staff, time, service)) in people.iter().zip(times) {
        let customer = page.api("POST", "/api/customers", &json!({"name": name, "phone": phone}));
        let body = json!({"customer_id": customer["id"], "service": service, "staff": staff, "date": date, "time": time});
        page.api("POST", "/api/appointments", &body);
    }
    let instant = |time: &str| {
        page.value(&format!(
            "const words = await import(new URL('words.js', document.querySelector('script[type=module]').src));
             return words.instant('{date}T{time}')"
        ))
    };
    let off =
        json!({"staff": "Marcus", "from": instant("13:00"), "to": instant("14:00"), "reason": "Dentist"});
    page.api("POST", "/api/time-off", &off);
    page.api("POST", "/api/keys", &json!({"name": "Website booking", "scope": "call"}));
    let listed = page.api("GET", "/api/customers", &Value::Null);
    assert!(listed["items"].as_array().is_some_and(|all| all.len() >= 3), "{listed}");
    date
}

#[actix::test]
async fn every_page_is_whole_in_every_light_and_size() {
    let _alone = alone().await;
    let desk = furnished().await;
    browse(&desk, |base| {
        let page = signed_in(base);
        let date = furnish(&page);
        for look in &LOOKS {
            for one in PAGES.iter().chain(&OTHERS) {
                visit(&page, look, *one, &date);
            }
        }
        page.close();
    })
    .await;
    desk.close().await;
}

#[actix::test]
async fn a_new_desk_says_what_is_missing_on_every_page() {
    let _alone = alone().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    browse(&desk, |base| {
        let page = Page::open(base, None);
        page.go("/").wait("the sign-in form", "document.querySelector('input[name=password]')");
        page.look(&LOOKS[2]).shoot("sign-in-phone-light").look(&LOOKS[0]).shoot("sign-in-desktop-light");
        page.sign_in(super::NAME, super::PASSWORD);
        for (name, path, words) in [
            ("live", "/", "Nobody is on the line"),
            ("calls", "/calls", "No calls yet"),
            ("customers", "/customers", "No customers yet"),
            ("messages", "/messages", "Nothing is waiting"),
            ("search", "/search", "What are you looking for?"),
        ] {
            let said = format!("document.body.innerText.includes('{words}')");
            page.go(path).wait(words, &said).shoot(&format!("empty-{name}"));
        }
        page.close();
    })
    .await;
    desk.close().await;
}
