//! Which database a test runs on. What is to hold on both is a plain function and named in `on_both!`, which makes two
//! tests of it; the one on PostgreSQL fails where `TEST_POSTGRES_URL` does not say which server, or that there is none.

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection};
use std::cell::RefCell;
use std::path::Path;

thread_local! {
    /// The server for the test that runs on this thread, if it is to run on PostgreSQL.
    static SERVER: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes a test on SQLite and one on PostgreSQL of each function.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[actix::test]
            async fn $name() {
                super::$name().await;
            })+
        }
        mod postgres {
            $(#[actix::test]
            async fn $name() {
                if $crate::support::database::use_postgres() {
                    super::$name().await;
                }
            })+
        }
    };
}
pub(crate) use on_both;

/// Has this thread's test run on PostgreSQL; false if that is to be left out.
pub fn use_postgres() -> bool {
    let server = super::postgres::server();
    SERVER.with(|cell| cell.replace(server.clone()));
    server.is_some()
}

/// Has what this thread's test opens next run on SQLite.
pub fn use_sqlite() {
    SERVER.with(|cell| cell.replace(None));
}

/// A database of a test's own, gone with the value.
pub struct TestDatabase {
    pub url: String,
    /// Server and name of what is to be dropped.
    postgres: Option<(String, String)>,
}

impl TestDatabase {
    /// On SQLite a file in a folder, which whoever made it removes.
    pub fn new(folder: &Path) -> Self {
        let Some(server) = SERVER.with(|cell| cell.borrow().clone()) else {
            let url = format!("sqlite://{}", folder.join("test.db").display());
            return Self { url, postgres: None };
        };
        let name = format!("frontdesk_it_{:032x}", rand::random::<u128>());
        let mut conn = PgConnection::establish(&server).expect("the PostgreSQL server answers");
        conn.batch_execute(&format!("CREATE DATABASE {name}")).expect("a database may be made");
        let mut url = url::Url::parse(&server).expect("TEST_POSTGRES_URL is a URL");
        url.set_path(&name);
        Self { url: url.to_string(), postgres: Some((server, name)) }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.postgres
            && let Ok(mut conn) = PgConnection::establish(server)
        {
            let _ = conn.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}
