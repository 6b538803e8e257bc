//! The dashboard in a real browser: headless Chromium, driven over its debugging protocol.
//!
//! What is seen is kept as pictures under `target/screenshots`. Whatever the page complains about (an exception, a
//! request that fails, a breach of the content security policy) fails the test.

mod page;
mod screens;
mod stories;

use crate::support::Desk;
use frontdesk::config::Config;
use frontdesk::domain::staff::Role;
use page::Page;
use std::path::Path;
use tokio::sync::{Mutex, MutexGuard};

/// The one who signs in.
const NAME: &str = "ada";
const PASSWORD: &str = "correct horse battery";

/// Browsers take turns: several at once would slow down the calls of other tests.
async fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

/// Adds an administrator.
async fn hire(desk: &Desk) {
    let hash = actix_web::web::block(|| {
        frontdesk::api::secret::hash_password(&secrecy::SecretString::from(PASSWORD)).expect("hashed")
    })
    .await
    .unwrap();
    let now = frontdesk::observe::clock::unix_now();
    desk.db().add_user(NAME.into(), hash, Role::Admin, false, now).await.unwrap().expect("a new name");
}

/// Has calls recorded, beside the test's database.
fn record(config: &mut Config) {
    let folder = Path::new(config.database.url.trim_start_matches("sqlite://")).parent().unwrap();
    config.recording.url = folder.join("recordings").display().to_string();
    config.recording.enabled = true;
}

/// Does something in a browser, away from this thread: the calls of the test go on meanwhile.
fn browse(desk: &Desk, work: impl FnOnce(&str) + Send + 'static) -> impl Future<Output = ()> {
    let base = desk.stack().base_url.clone();
    let done = actix_web::web::block(move || work(&base));
    async { done.await.expect("the browser's side did not fail") }
}

/// A browser in which somebody is signed in.
fn signed_in(base: &str) -> Page {
    let page = Page::open(base, None);
    page.sign_in(NAME, PASSWORD);
    page
}
