//! The dashboard in a real browser: headless Chromium, driven over its debugging protocol.
//!
//! What is seen is kept as pictures under `target/screenshots`. Whatever the page complains about (an exception, a
//! request that fails, a breach of the content security policy) fails the test.

mod page;
mod screens;
mod stories;
mod troubles;
mod wire;

use crate::support::Desk;
use frontdesk::config::Config;
use frontdesk::db::DbHandle;
use frontdesk::domain::staff::Role;
use page::Page;
use std::path::Path;
use std::sync::OnceLock;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The one who signs in.
const NAME: &str = "ada";
const PASSWORD: &str = "correct horse battery";

/// A few pages are open at once, in one browser: more would slow down the calls of other tests.
async fn turn() -> SemaphorePermit<'static> {
    static TURNS: Semaphore = Semaphore::const_new(4);
    TURNS.acquire().await.expect("never closed")
}

/// Adds an administrator.
async fn hire(desk: &Desk) {
    hire_with(desk.db(), false).await;
}

async fn hire_at(db: &DbHandle) {
    hire_with(db, false).await;
}

/// With a password of their own, or with one that was made for them.
async fn hire_with(db: &DbHandle, one_time: bool) {
    // Slow to make, as it should be: once for all tests.
    static HASH: OnceLock<String> = OnceLock::new();
    let hash = actix_web::web::block(|| {
        let make = || frontdesk::api::secret::hash_password(&secrecy::SecretString::from(PASSWORD));
        HASH.get_or_init(|| make().expect("hashed")).clone()
    })
    .await
    .unwrap();
    let now = frontdesk::observe::clock::unix_now();
    db.add_user(NAME.into(), hash, Role::Admin, one_time, now).await.unwrap().expect("a new name");
}

/// Has calls recorded, beside the test's database.
fn record(config: &mut Config) {
    let folder = Path::new(config.database.url.trim_start_matches("sqlite://")).parent().unwrap();
    config.recording.url = folder.join("recordings").display().to_string();
    config.recording.enabled = true;
}

/// Does something in a browser, away from this thread: the calls of the test go on meanwhile.
fn browse<W: FnOnce(&str) + Send + 'static>(desk: &Desk, work: W) -> impl Future<Output = ()> + use<W> {
    browse_at(desk.stack().base_url.clone(), work)
}

fn browse_at<W: FnOnce(&str) + Send + 'static>(base: String, work: W) -> impl Future<Output = ()> + use<W> {
    let done = actix_web::web::block(move || work(&base));
    async { done.await.expect("the browser's side did not fail") }
}

/// A page on which somebody is signed in.
fn signed_in(base: &str) -> Page {
    let page = Page::open(base);
    page.sign_in(NAME, PASSWORD);
    page
}
