//! Every page, light and dark, on a desk and on a phone: nothing is broken, nothing sticks out, everything has a name,
//! can be read, and can be reached with keys.

use super::page::{DESK, Look, PHONE, Page};
use super::{browse, hire, signed_in, turn};
use crate::support::{Desk, barbershop};
use frontdesk::sim::vendors::VendorsConfig;
use serde_json::{Value, json};

/// The pages and what has to be on them before they are complete.
const PAGES: [(&str, &str, &str); 18] = [
    ("calls", "/calls", "document.querySelector('.table tbody tr')"),
    ("calendar-day", "/calendar?date=DAY", "document.querySelector('.cal-block, .agenda-line')"),
    ("calendar-week", "/calendar?date=DAY&view=week", "document.querySelector('.cal-block, .agenda-line')"),
    ("customers", "/customers", "document.querySelector('.table tbody tr')"),
    ("customer", "/customers/CUSTOMER", "document.querySelector('input[name=phone]')"),
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
    ("jobs", "/jobs", "document.querySelector('.table, .state')"),
    ("audit", "/audit", "document.querySelector('.table tbody tr')"),
    ("nothing-found", "/search?q=xylophone", "document.querySelector('.state')"),
    ("no-such-page", "/calls/a/b", "document.querySelector('.state')"),
    ("not-loaded", "/customers/999999", "document.querySelector('.state[role=alert]')"),
];

/// What is amiss on a page.
const FAULTS: &str = include_str!("checks.js");

fn settle(page: &Page, name: &str, path: &str, ready: &str) {
    page.go(path);
    let settled = format!("document.querySelector('h1') && !document.querySelector('.bones') && ({ready})");
    page.wait(name, &settled);
}

/// Keeps pictures of what is shown, in every light, and looks for what is amiss.
fn inspect(page: &Page, looks: &[Look], name: &str, ready: &str) -> Vec<String> {
    let mut found = Vec::new();
    for look in looks {
        page.look(look).wait(name, ready);
        page.shoot_whole(&format!("{name}-{}", look.name), look);
        let faults = page.value(FAULTS);
        let faults = faults.as_array().expect("a list of faults");
        found.extend(faults.iter().map(|fault| format!("{name} ({}): {fault}", look.name)));
    }
    found
}

/// Presses Tab until the focus has been everywhere; what it did not reach, and where it could not be seen.
fn tab_through(page: &Page, name: &str) -> Vec<String> {
    let controls = page.value(
        "window.reached = new Set(); window.unseen = [];
         const controls = [...document.querySelectorAll('button, a[href], input:not([type=hidden]), select, textarea, summary')]
           .filter(e => e.checkVisibility({ visibilityProperty: true }) && !e.disabled && !e.closest('[aria-hidden=true], [inert]'));
         window.controls = controls;
         document.addEventListener('focusin', ({ target }) => {
           window.reached.add(target);
           const style = getComputedStyle(target);
           if (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2) window.unseen.push(target.outerHTML.slice(0, 120));
         });
         document.activeElement?.blur();
         return controls.length",
    );
    // A date has a stop for each of its parts.
    let most = controls.as_u64().unwrap_or_default() * 2 + 12;
    for _ in 0..most.div_ceil(8) {
        page.tab_on(8);
        let all = "return window.controls.every(e => !e.isConnected || window.reached.has(e))";
        if page.value(all) == json!(true) {
            break;
        }
    }
    let left = page.value(
        "return [...window.controls.filter(e => e.isConnected && !window.reached.has(e)).map(e => 'not reached by Tab: ' + e.outerHTML.slice(0, 120)),
                 ...window.unseen.map(e => 'no ring around the focus: ' + e)]",
    );
    left.as_array().expect("a list").iter().map(|fault| format!("{name}: {fault}")).collect()
}

/// Two callers who wait until somebody ends their calls.
const WAITING: [&str; 2] = [
    r#"
    name = "prices"
    from = "+12025550143"
    limit_ms = 150000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "What are your prices?"
    [[step]]
    interrupt_after_ms = 1500
    say = "Okay stop, please take a message: I left my umbrella at your place."
    [[step]]
    expect_end = "hangup"
    within_ms = 140000
    "#,
    r#"
    name = "hours"
    from = "+12025550118"
    limit_ms = 150000
    [[step]]
    wait_for = "greeting"
    [[step]]
    say = "When are you open on Saturday?"
    [[step]]
    expect_end = "hangup"
    within_ms = 140000
    "#,
];

/// Appointments, time off and a key, made as staff make them; answers the day and a customer.
fn furnish(page: &Page) -> (String, i64) {
    let module =
        "const words = await import(new URL('words.js', document.querySelector('script[type=module]').src));";
    let date = page.value(&format!("{module} return words.addDays(words.isoDate(), 1)"));
    let date = date.as_str().unwrap().to_owned();
    let people = [
        ("Sara Lindgren", "+12025550167"),
        ("James Okafor-Featherstonehaugh", "+12025550119"),
        ("Priya Raman", "+12025550177"),
    ];
    let times = [
        ("Marcus", "09:30", "Skin Fade"),
        ("Elena", "10:30", "Haircut and Beard"),
        ("Theo", "11:00", "Beard Trim"),
    ];
    let mut customer = 0;
    for ((name, phone), (staff, time, service)) in people.iter().zip(times) {
        let made = page.api("POST", "/api/customers", &json!({"name": name, "phone": phone}));
        customer = made["id"].as_i64().unwrap();
        let body =
            json!({"customer_id": customer, "service": service, "staff": staff, "date": date, "time": time});
        page.api("POST", "/api/appointments", &body);
    }
    let instant = |time: &str| page.value(&format!("{module} return words.instant('{date}T{time}')"));
    let off =
        json!({"staff": "Marcus", "from": instant("13:00"), "to": instant("14:00"), "reason": "Dentist"});
    page.api("POST", "/api/time-off", &off);
    page.api("POST", "/api/keys", &json!({"name": "Website booking", "scope": "call"}));
    page.api("POST", "/api/users", &json!({"name": "rosa", "role": "staff"}));
    (date, customer)
}

#[actix::test]
async fn every_page_is_whole_legible_and_within_reach_in_every_light_and_size() {
    let _turn = turn().await;
    let mut profile = barbershop();
    profile.recording_notice = Some("This call is recorded.".into());
    let desk = Desk::with(profile, VendorsConfig::default(), |config| {
        super::record(config);
        // Until somebody ends their calls, however long it takes to look at them.
        config.call.idle_prompt_ms = 600_000;
    })
    .await;
    hire(&desk).await;
    desk.seed(40, 30).await;
    let (begin, begun) = tokio::sync::oneshot::channel();
    let walk = browse(&desk, move |base| {
        let desktop = signed_in(base);
        let (day, customer) = furnish(&desktop);
        let (phone, keys) = (signed_in(base), signed_in(base));
        phone.look(&PHONE[0]);
        keys.look(&DESK[0]);
        let mut faults = inspect(&desktop, &DESK, "live-idle", "document.querySelector('.state')");
        begin.send(()).unwrap();
        // Both calls, and one of them in full.
        let talking = "document.querySelectorAll('.live-card .latest').length === 2";
        desktop
            .wait("two calls", &format!("{talking} && document.querySelector('.live-detail .turn.caller')"));
        faults.extend(inspect(&desktop, &DESK, "live-two", talking));
        phone.wait("two calls", talking);
        faults.extend(inspect(&phone, &PHONE, "live-two", talking));
        let live = desktop.api("GET", "/api/live", &Value::Null);
        let live = live["items"].as_array().unwrap();
        let known =
            live.iter().find(|call| call["phone_number"] == "+12025550143").expect("the first caller");
        let known = known["call_sid"].as_str().unwrap();
        let one = "document.querySelector('.live-detail')?.innerText.includes('umbrella')";
        phone.go(&format!("/live/{known}")).wait("all that the caller says", one);
        faults.extend(inspect(&phone, &PHONE, "live-one", one));
        for call in live {
            let path = format!("/api/live/{}/end", call["call_sid"].as_str().unwrap());
            desktop.api("POST", &path, &json!({"goodbye": false}));
        }
        let of = |path: &str| path.replace("DAY", &day).replace("CUSTOMER", &customer.to_string());
        let recorded = format!("/calls/{known}");
        // Side by side: most of it is waiting.
        let more = std::thread::scope(|scope| {
            // A recorded one, with its answers' times.
            let whole = "document.querySelectorAll('.wave path').length === 2 && document.querySelector('.waterfall')";
            let (of, recorded) = (&of, recorded.as_str());
            let pages = move || {
                let all = PAGES.into_iter().map(|(name, path, ready)| (name, of(path), ready));
                all.chain([("call", recorded.to_owned(), whole)])
            };
            let visits = [(&desktop, Some(&DESK)), (&phone, Some(&PHONE)), (&keys, None)];
            let visits = visits.map(|(page, looks)| {
                scope.spawn(move || {
                    let mut faults = Vec::new();
                    for (name, path, ready) in pages() {
                        if let Some(looks) = looks {
                            page.look(&looks[0]);
                        }
                        settle(page, name, &path, ready);
                        faults.extend(match looks {
                            Some(looks) => inspect(page, looks, name, ready),
                            None => tab_through(page, name),
                        });
                    }
                    faults
                })
            });
            visits.map(|visit| visit.join().expect("the walk did not fail")).concat()
        });
        faults.extend(more);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        let missing = |complaint: &str| complaint.contains("/api/customers/999999");
        for page in [phone, keys, desktop] {
            page.close_with(missing);
        }
    });
    begun.await.unwrap();
    let config = desk.stack().caller();
    let [first, second] = WAITING.map(|script| frontdesk::sim::script::Script::parse(script).unwrap());
    let (first, second) = (
        frontdesk::sim::caller::run_call(&config, &first),
        frontdesk::sim::caller::run_call(&config, &second),
    );
    futures_util::future::join(first, second).await;
    walk.await;
    desk.close().await;
}

#[actix::test]
async fn a_new_desk_says_what_is_missing_on_every_page() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    browse(&desk, |base| {
        let page = Page::open(base);
        page.go("/");
        let form = "document.querySelector('input[name=password]')";
        page.wait("the sign-in form", form);
        let mut faults = inspect(&page, &PHONE, "sign-in", form);
        faults.extend(inspect(&page, &DESK, "sign-in", form));
        page.sign_in(super::NAME, super::PASSWORD);
        for (name, path, words) in [
            ("live", "/", "Nobody is on the line"),
            ("calls", "/calls", "No calls yet"),
            ("calendar", "/calendar", "0 appointments"),
            ("customers", "/customers", "No customers yet"),
            ("messages", "/messages", "Nothing is waiting"),
            ("search", "/search", "What are you looking for?"),
            ("jobs", "/jobs?state=dead", "Nothing has failed for good"),
            ("analytics", "/analytics", "Calls over time"),
        ] {
            let said = format!("document.body.innerText.includes('{words}')");
            page.go(path).wait(words, &said);
            faults.extend(inspect(&page, &PHONE, &format!("empty-{name}"), &said));
            page.look(&DESK[0]);
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        page.close();
    })
    .await;
    desk.close().await;
}
