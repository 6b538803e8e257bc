//! What staff do with the dashboard.

use super::page::Page;
use super::{NAME, PASSWORD, browse, hire, hire_with, signed_in, turn};
use crate::support::{Desk, barbershop};
use frontdesk::audio::mulaw;
use frontdesk::config::Config;
use frontdesk::domain::call::EndReason;
use frontdesk::domain::ids::CallSid;
use frontdesk::domain::turn::Speaker;
use frontdesk::sim::vendors::VendorsConfig;
use headless_chrome::browser::tab::point::Point;
use serde_json::{Value, json};
use std::time::Duration;

/// Height of an hour in the calendar, pixels.
const HOUR: f64 = 60.0;

/// Modules of the page, for statements that need one.
const MODULES: &str = "const base = document.querySelector('script[type=module]').src;
    const words = await import(new URL('words.js', base)); const mulaw = await import(new URL('mulaw.js', base));";

#[actix::test]
async fn a_wrong_password_is_said_and_the_right_one_opens_the_desk() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    browse(&desk, |base| {
        let page = Page::open(base);
        page.go("/calls").wait("the form", "document.querySelector('input[name=password]')");
        page.fill("name", NAME).fill("password", "not the password").press_button("Sign in");
        page.wait("the refusal", "document.querySelector('.note.bad:not([hidden])')");
        page.shoot("story-sign-in-refused");
        page.fill("password", PASSWORD).press_button("Sign in");
        // Where one wanted to go.
        page.wait("the calls", "document.querySelector('h1')?.textContent === 'Calls'");
        page.run("document.querySelector('[aria-label=\"Sign out\"]').click()");
        page.wait("the form again", "document.querySelector('input[name=password]')");
        page.close();
    })
    .await;
    desk.close().await;
}

#[actix::test]
async fn whoever_has_a_password_that_was_made_for_them_chooses_their_own_before_anything_else() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire_with(desk.db(), true).await;
    browse(&desk, |base| {
        let page = Page::open(base);
        page.go("/calls").wait("the form", "document.querySelector('input[name=password]')");
        page.fill("name", NAME).fill("password", PASSWORD).press_button("Sign in");
        page.wait("the choice", "document.querySelector('input[name=new]')");
        page.shoot("story-choose-password");
        page.fill("current", PASSWORD)
            .fill("new", "a password of her own")
            .press_button("Choose this password");
        page.wait("an idle desk", "document.body.innerText.includes('Nobody is on the line')");
        page.close();
    })
    .await;
    desk.close().await;
}

#[actix::test]
async fn a_call_is_watched_live_then_opened_and_played() {
    let _turn = turn().await;
    let mut profile = barbershop();
    profile.recording_notice = Some("This call is recorded.".into());
    let desk = Desk::with(profile, VendorsConfig::default(), super::record).await;
    hire(&desk).await;
    let (ready, begin) = tokio::sync::oneshot::channel();
    let watching = browse(&desk, move |base| {
        let page = signed_in(base);
        page.wait("an idle desk", "document.body.innerText.includes('Nobody is on the line')");
        ready.send(()).unwrap();
        page.wait("the call's card", "document.querySelector('.live-card')");
        page.wait("the caller's words", "document.querySelector('.live-detail .turn.caller')");
        page.wait("the answer", "document.querySelectorAll('.live-detail .turn.bot').length > 1");
        page.shoot("story-live");
        let over =
            "[...document.querySelectorAll('button')].some(b => b.textContent.trim() === 'Open the call')";
        page.wait_longer("the end", over, Duration::from_secs(90));
        page.press_button("Open the call");
        page.wait("the transcript", "document.querySelectorAll('.call-grid .turn').length > 3");
        page.wait("what was cut", "document.querySelector('.turn del')?.textContent.length > 3");
        page.wait("the waveform", "document.querySelectorAll('.wave path').length === 2");
        page.wait("the waterfall", "document.querySelector('.waterfall li .bars i')");
        page.press_button("Play");
        page.wait("sound", "document.querySelector('audio').currentTime > 0.5");
        page.wait("the playhead", "parseFloat(document.querySelector('.playhead').style.left) > 0");
        page.shoot("story-call");
        page.close();
    });
    begin.await.unwrap();
    desk.call(
        r#"
        name = "interrupts"
        [[step]]
        wait_for = "greeting"
        [[step]]
        say = "What are your prices?"
        [[step]]
        interrupt_after_ms = 2500
        say = "Okay stop, that is all, goodbye."
        [[step]]
        expect_end = "hangup"
        within_ms = 20000
        "#,
    )
    .await
    .is_sound();
    watching.await;
    desk.close().await;
}

#[actix::test]
async fn staff_speak_through_the_bot_and_end_a_call() {
    let _turn = turn().await;
    // The caller listens only: nobody is to ask whether they are still there, and let them go.
    let patient = |config: &mut Config| config.call.idle_prompt_ms = 600_000;
    let desk = Desk::with(barbershop(), VendorsConfig::default(), patient).await;
    hire(&desk).await;
    let (ready, begin) = tokio::sync::oneshot::channel();
    let watching = browse(&desk, move |base| {
        let page = signed_in(base);
        ready.send(()).unwrap();
        page.wait("the greeting", "document.querySelector('.live-detail .turn.bot')");
        page.fill("text", "The owner will be with you in a minute.").press_button("Say");
        let said = "[...document.querySelectorAll('.turn.bot')].some(t => t.textContent.includes('The owner will be'))";
        page.wait("the sentence", said);
        page.press_button("Mute the receptionist");
        page.wait("that it is muted", "document.querySelector('.controls [aria-pressed=true]')");
        page.press_button("Unmute the receptionist");
        page.wait("that it speaks again", "document.querySelector('.controls [aria-pressed=false]')");
        page.press_button("End call");
        page.wait("the question", "document.querySelector('dialog')");
        page.shoot("story-end-call");
        page.run("document.querySelector('dialog .button.danger').click()");
        page.wait("the end", "document.body.innerText.includes('The call is over')");
        page.close();
    });
    begin.await.unwrap();
    let call = desk
        .call(
            r#"
            name = "patient"
            limit_ms = 60000
            [[step]]
            wait_for = "greeting"
            [[step]]
            expect_end = "hangup"
            within_ms = 50000
            "#,
        )
        .await;
    watching.await;
    assert_eq!(call.overview.end_reason, Some(EndReason::Ended));
    assert_eq!(call.times_heard("The owner will be with you in a minute"), 1);
    desk.close().await;
}

fn tomorrow(page: &Page) -> String {
    let date = page.value(&format!("{MODULES} return words.addDays(words.isoDate(), 1)"));
    date.as_str().unwrap().to_owned()
}

#[actix::test]
async fn an_appointment_is_made_moved_with_the_mouse_and_with_keys_and_cancelled() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    browse(&desk, |base| {
        let page = signed_in(base);
        let date = tomorrow(&page);
        let customer =
            page.api("POST", "/api/customers", &json!({"name": "Maria Alvarez", "phone": "+12025550143"}));
        page.go(&format!("/calendar?date={date}&customer={}", customer["id"]));
        page.wait("the form", "document.querySelector('dialog [name=service]')");
        page.fill("staff", "Marcus").fill("time", "10:00").press_button("Make appointment");
        page.wait("the appointment", "document.querySelector('.cal-block')");
        page.wait("the form's end", "!document.querySelector('dialog')");
        let listed = |page: &Page| {
            let all =
                page.api("GET", &format!("/api/appointments?from={date}&to={date}&limit=10"), &Value::Null);
            all["items"][0].clone()
        };
        let made = listed(&page);
        assert_eq!((&made["staff"], &made["time"]), (&json!("Marcus"), &json!("10:00")), "{made}");

        // An hour later, with Elena.
        let block = format!("document.querySelector('[data-appointment=\"{}\"] .cal-inside')", made["id"]);
        let from = page.middle_of(&block);
        let column = page.middle_of(
            "[...document.querySelectorAll('.cal-track')].find(t => t.firstChild.textContent === 'Elena')",
        );
        page.drag(from, Point { x: column.x, y: from.y + HOUR });
        page.wait("that it is kept", "document.querySelector('.toast')?.textContent.includes('Elena')");
        let moved = listed(&page);
        assert_eq!((&moved["staff"], &moved["time"]), (&json!("Elena"), &json!("11:00")), "{moved}");
        page.wait("the new place", "!document.querySelector('.moving, .saving')");
        page.shoot("story-moved");

        // Half an hour earlier, with Theo, by keys alone.
        page.wait("the block", &block).run(&format!("{block}.focus()"));
        page.key("m").key("ArrowUp").key("ArrowUp").key("ArrowRight");
        page.wait("that it moves", "document.querySelector('.moving')");
        page.key("Enter");
        page.wait(
            "that it is kept",
            "[...document.querySelectorAll('.toast')].some(t => t.textContent.includes('Theo'))",
        );
        let moved = listed(&page);
        assert_eq!((&moved["staff"], &moved["time"]), (&json!("Theo"), &json!("10:30")), "{moved}");

        // Left where it was.
        page.wait("the block", &block).run(&format!("{block}.focus()"));
        page.key("m").key("ArrowDown").key("Escape");
        page.wait("its old place", "!document.querySelector('.moving')");
        assert_eq!(listed(&page)["time"], json!("10:30"));

        // Where somebody else is, it cannot go.
        let body = json!({"customer_id": customer["id"], "service": made["service"], "staff": "Theo", "date": date, "time": "12:30"});
        page.api("POST", "/api/appointments", &body);
        page.go(&format!("/calendar?date={date}")).wait("both", "document.querySelectorAll('.cal-block').length === 2");
        let from = page.middle_of(&block);
        page.drag(from, Point { x: from.x, y: from.y + 2.0 * HOUR });
        page.wait("the refusal", "document.querySelector('.toast.bad')");
        page.wait("its old place", "!document.querySelector('.moving, .saving')").shoot("story-taken");
        assert_eq!(listed(&page)["time"], json!("10:30"));

        page.wait("the block", &block).run(&format!("{block}.click()"));
        page.press_button("Cancel appointment");
        page.wait("the question", "document.querySelectorAll('dialog').length === 2");
        page.run("[...document.querySelectorAll('dialog')].at(-1).querySelector('.button.danger').click()");
        page.wait("the free time", "document.querySelectorAll('.cal-block').length === 1");
        page.close_with(|complaint| complaint.contains("409"));
    })
    .await;
    desk.close().await;
}

#[actix::test]
async fn a_test_call_from_the_microphone_is_heard_and_answered() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    browse(&desk, move |base| {
        let page = Page::open(base);
        page.sign_in(NAME, PASSWORD).go("/test-call");
        page.wait("the page", "document.querySelector('[name=clean]')");
        // The words of the simulated voice are tones, which a browser takes for noise.
        page.run("document.querySelector('[name=clean]').click()");
        page.press_button("Start the call");
        page.wait("the greeting", "document.querySelector('.test-call .turn.bot')");
        page.wait("its sound", "Number(document.querySelector('[data-heard]')?.dataset.heard) > 50");
        page.wait("my words", "document.querySelector('.test-call .turn.caller')?.textContent.includes('prices')");
        page.wait("the answer", "document.querySelectorAll('.test-call .turn.bot').length > 1");
        page.shoot("story-test-call");
        page.press_button("Hang up");
        page.press_button("See this call");
        page.wait("the call", "document.querySelector('.call-grid .turn.caller')");
        let sid = "[...document.querySelectorAll('.facts dd')].map(d => d.textContent).find(t => t.startsWith('test-'))";
        let sid = page.wait("its facts", sid).value(&format!("return {sid}"));
        tell.send(sid.as_str().unwrap().to_owned()).unwrap();
        page.close();
    })
    .await;
    let sid = CallSid::new(told.await.unwrap());
    desk.ended(&sid).await;
    let turns = desk.db().turns(sid).await.unwrap();
    let greeting = turns.first().unwrap();
    assert_eq!(
        (greeting.speaker, &greeting.said),
        (Speaker::Bot, &greeting.heard),
        "its marks came back: {turns:?}"
    );
    assert!(turns.iter().any(|t| t.speaker == Speaker::Caller && t.said.contains("prices")), "{turns:?}");
    desk.close().await;
}

#[actix::test]
async fn the_browsers_mu_law_is_ours() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    browse(&desk, |base| {
        let page = signed_in(base);
        let decoded = page.value(&format!(
            "{MODULES} return [...mulaw.decode(Uint8Array.from({{ length: 256 }}, (_, i) => i))].map(s => Math.round(s * 32768))"
        ));
        let ours: Vec<i64> = (0..=255).map(|byte| i64::from(mulaw::decode(byte))).collect();
        assert_eq!(decoded, json!(ours));
        let encoded = page.value(&format!(
            "{MODULES} return Array.from({{ length: 4001 }}, (_, i) => mulaw.encode((i - 2000) * 16 / 32767))"
        ));
        let samples: Vec<i16> = (-2_000..=2_000).map(|i| i * 16).collect();
        assert_eq!(encoded, json!(mulaw::encode_slice(&samples)));
        page.close();
    })
    .await;
    desk.close().await;
}
