use crate::config::database::DatabaseConfig;
use crate::db::{Database, Write};
use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, ReplicaId};
use crate::domain::phone::{CallerId, PhoneNumber};
use crate::domain::time::UnixMillis;
use crate::domain::turn::{Speaker, StageLatencies, TurnRecord};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

#[path = "../../../tests/it/support/postgres.rs"]
mod postgres;

/// A database of a test's own, removed with the value.
pub(crate) struct TestDb {
    pub(crate) config: DatabaseConfig,
    pub(crate) folder: PathBuf,
    /// Server and name of a PostgreSQL database to drop.
    postgres: Option<(String, String)>,
}

impl TestDb {
    pub(crate) fn sqlite() -> Self {
        let name = unique();
        let folder = std::env::temp_dir().join(&name);
        let url = format!("sqlite://{}/data/frontdesk.db", folder.display());
        std::fs::create_dir_all(&folder).unwrap();
        let spool = Some(folder.join("spool").display().to_string());
        Self { config: DatabaseConfig { url, spool, ..DatabaseConfig::default() }, folder, postgres: None }
    }

    /// One on SQLite, and one on PostgreSQL unless that is to be left out.
    pub(crate) fn each() -> Vec<Self> {
        let mut all = vec![Self::sqlite()];
        if let Some(server) = postgres::server() {
            let name = unique();
            PgConnection::establish(&server)
                .unwrap()
                .batch_execute(&format!("CREATE DATABASE {name}"))
                .unwrap();
            let mut url = url::Url::parse(&server).unwrap();
            url.set_path(&name);
            let mut db = Self::sqlite();
            db.config.url = url.to_string();
            db.postgres = Some((server, name));
            all.push(db);
        }
        all
    }

    pub(crate) fn open(&self) -> Database {
        self.open_as(replica())
    }

    /// As a certain replica.
    pub(crate) fn open_as(&self, me: ReplicaId) -> Database {
        Database::open(&self.config, me).unwrap()
    }

    pub(crate) fn open_with(&self, change: impl FnOnce(&mut DatabaseConfig)) -> Database {
        let mut config = self.config.clone();
        change(&mut config);
        Database::open(&config, replica()).unwrap()
    }

    pub(crate) fn connection(&self) -> crate::db::AnyConnection {
        crate::db::open_connection(&self.config).unwrap()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Some((server, name)) = &self.postgres
            && let Ok(mut conn) = PgConnection::establish(server)
        {
            let _ = conn.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("frontdesk_test_{}_{}_{time}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Some replica.
pub(crate) fn replica() -> ReplicaId {
    ReplicaId::from_bits(rand::random())
}

pub(crate) fn phone(text: &str) -> PhoneNumber {
    PhoneNumber::from_e164(text).unwrap()
}

pub(crate) fn facts(sid: &str, epoch: u32) -> CallFacts {
    CallFacts {
        sid: CallSid::from(sid),
        admission: AdmissionId::from("adm-1"),
        kind: CallKind::Twilio,
        direction: Direction::Inbound,
        caller: CallerId::Number(phone("+12025550143")),
        business_number: "+12025550100".into(),
        admitted_at: UnixMillis(1_000_000),
        epoch: Epoch(epoch),
    }
}

pub(crate) fn admitted(sid: &str, epoch: u32) -> Write {
    Write::CallAdmitted { facts: facts(sid, epoch) }
}

pub(crate) fn caller_turn(n: u32, said: &str) -> TurnRecord {
    TurnRecord {
        n,
        speaker: Speaker::Caller,
        said: said.into(),
        heard: said.into(),
        interrupted: false,
        at_ms: u64::from(n) * 1_000,
        latency: StageLatencies::default(),
    }
}
