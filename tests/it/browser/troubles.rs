//! What staff see when something is not as it should be: no server, no session, slow answers, impatient fingers.

use super::{NAME, PASSWORD, browse, browse_at, hire, hire_at, signed_in, turn};
use crate::support::Desk;
use crate::support::process::{Place, Process};
use serde_json::{Value, json};
use std::sync::mpsc::channel;
use std::time::Duration;

#[actix::test]
async fn a_server_that_is_gone_is_told_and_what_failed_is_loaded_when_it_is_back() {
    let _turn = turn().await;
    let place = Place::new();
    let server = Process::start(&place, &[]);
    let database = place.database().await;
    hire_at(&database.handle()).await;
    let (gone, kill) = tokio::sync::oneshot::channel();
    let (wanted, start) = tokio::sync::oneshot::channel();
    let (back, is_back) = channel();
    let seeing = browse_at(format!("http://127.0.0.1:{}", place.port), move |base| {
        let page = signed_in(base);
        page.go("/calls").wait("the list", "document.querySelector('.state')");
        gone.send(()).unwrap();
        let told = "[...document.querySelectorAll('[role=alert]')].some(e => !e.hidden && e.textContent.includes('cannot be reached'))";
        page.wait("that it is told", told).shoot("trouble-server-gone");
        // What was loaded before is known; what is asked for now is not.
        page.run("document.querySelector('a[href=\"/customers\"]').click()");
        page.wait("that this failed", "document.querySelector('main .state[role=alert]')");
        page.shoot("trouble-not-loaded");
        wanted.send(()).unwrap();
        is_back.recv().unwrap();
        page.wait("that it is over", &format!("!({told})"));
        page.wait("the customers", "document.body.innerText.includes('No customers yet')");
        // What failed is logged as an object, which has no words.
        page.close_with(|c| c.is_empty() || c.contains("ERR_") || c.contains("net::"));
    });
    kill.await.unwrap();
    server.kill();
    start.await.unwrap();
    let server = Process::start(&place, &[]);
    back.send(()).unwrap();
    seeing.await;
    drop(server);
    database.shutdown().await;
}

#[actix::test]
async fn who_is_signed_out_meanwhile_signs_in_again_and_goes_on_where_they_were() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    browse(&desk, |base| {
        let page = signed_in(base);
        let form = "document.querySelector('.sign-in input[name=password]')";
        page.go("/customers?q=maria")
            .wait("the page", "document.querySelector('h1')?.textContent === 'Customers'");
        page.press_button("New customer").wait("the form", "document.querySelector('dialog')");
        // The session ends without this page's doing.
        page.run(
            "const base = document.querySelector('script[type=module]').src;
             const { session } = await import(new URL('api.js', base));
             await fetch('/api/session', { method: 'DELETE', headers: { 'X-CSRF-Token': session.csrf } })",
        );
        page.fill("name", "Maria Alvarez").press_button("Add customer");
        page.wait("the sign-in form", form);
        page.wait("why", "document.body.innerText.includes('You have been signed out')");
        page.wait("nothing above it", "!document.querySelector('dialog')").shoot("trouble-signed-out");
        page.fill("name", NAME).fill("password", PASSWORD).press_button("Sign in");
        page.wait("where they were", "document.querySelector('h1')?.textContent === 'Customers'");
        assert_eq!(page.value("return location.search"), json!("?q=maria"));

        // Another page of the same browser leaves and comes with this one.
        let beside = page.beside();
        beside.go("/calls").wait("that it is signed in", "document.querySelector('.side')");
        beside.run("document.querySelector('[aria-label=\"Sign out\"]').click()");
        page.wait("that both are signed out", form);
        beside.wait("the form", form);
        beside.fill("name", NAME).fill("password", PASSWORD).press_button("Sign in");
        page.wait("that both are signed in", "document.querySelector('h1')?.textContent === 'Customers'");
        let refused = |complaint: &str| complaint.contains("401");
        beside.close_with(refused);
        page.close_with(refused);
    })
    .await;
    desk.close().await;
}

#[actix::test]
async fn what_is_pressed_twice_is_done_once_and_slow_answers_are_waited_for() {
    let _turn = turn().await;
    let desk = Desk::open().await;
    hire(&desk).await;
    browse(&desk, |base| {
        let page = signed_in(base);
        page.go("/customers").press_button("New customer");
        page.wait("the form", "document.querySelector('dialog')").slow(Duration::from_millis(600));
        page.fill("name", "Maria Alvarez").run(
            "const send = document.querySelector('dialog [type=submit]');
             send.click(); send.click(); send.closest('form').requestSubmit()",
        );
        page.wait("the customer", "document.querySelector('h1')?.textContent === 'Maria Alvarez'");
        // While the list is on its way, something moves where it will be.
        page.run("document.querySelector('a[href=\"/customers\"]').click()");
        page.wait("bones", "document.querySelector('.bones[role=status]')").shoot("trouble-slow");
        page.wait("the list", "document.querySelector('.table tbody tr')").slow(Duration::ZERO);
        let all = page.api("GET", "/api/customers", &Value::Null);
        assert_eq!(all["items"].as_array().map(Vec::len), Some(1), "{all}");

        // The menu of a phone takes the focus, keeps it, and gives it back.
        page.look(&super::page::PHONE[0]).run("document.querySelector('.tabs-bottom button').click()");
        page.wait("the menu", "document.activeElement.closest('.side.open')").shoot("phone-menu");
        for _ in 0..20 {
            page.key("Tab");
            let inside = page.value("return !document.activeElement.closest('.content, .tabs-bottom')");
            assert_eq!(inside, json!(true), "the focus leaves the open menu");
        }
        page.key("Escape").wait("its end", "!document.querySelector('.side.open')");
        assert_eq!(page.value("return document.activeElement.textContent"), json!("More"));
        page.close();
    })
    .await;
    desk.close().await;
}
