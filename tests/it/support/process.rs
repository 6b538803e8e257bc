//! The server as a process of its own, for what only a process can show: being killed, and what it prints.

use super::database::TestDatabase;
use frontdesk::cli::stack;
use frontdesk::config::database::DatabaseConfig;
use frontdesk::config::profile::BARBERSHOP;
use frontdesk::db::Database;
use frontdesk::sim::caller::CallConfig;
use frontdesk::sim::vendors::{Vendors, VendorsConfig, VendorsHandle};
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A port of 127.0.0.1 that is nobody else's as long as the value lives, whether somebody listens on it or not. A number
/// that was free a moment ago may be another test's listener by now, or the near end of any connection.
pub struct Port {
    number: u16,
    // Bound and not listening: the system gives the port to nobody, and lets who names it listen, as often as they come.
    _held: Socket,
}

impl Port {
    pub fn hold() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let number = held.local_addr().unwrap().as_socket().unwrap().port();
        Self { number, _held: held }
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    /// With the host.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// A server in a process of its own.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts one at `place`; what it prints goes to `place.log()`.
    pub fn start(place: &Place, more: &[(&str, &str)]) -> Self {
        let (folder, vendors, port) = (&place.folder, &place.vendors, place.port);
        let log = File::options().create(true).append(true).open(place.log()).unwrap();
        File::create(folder.join("profile.json")).unwrap().write_all(BARBERSHOP.as_bytes()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .arg("serve")
            .env_clear()
            .envs(stack::environment(vendors))
            .env("PORT", port.to_string())
            .env("BASE_URL", format!("http://127.0.0.1:{port}"))
            .env("DATABASE_URL", &place.database.url)
            .env("BUSINESS_PROFILE", folder.join("profile.json"))
            .env("RUST_LOG", "warn")
            // On PostgreSQL there may be several processes, which have to share one.
            .env("FRONTDESK_SECRET", "processes-of-one-place-share-this-secret")
            // So that the next one soon knows that this one is gone.
            .env("FRONTDESK_CLUSTER_HEARTBEAT_MS", "300")
            .env("FRONTDESK_CLUSTER_LEASE_MS", "2000")
            .envs(more.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let mut process = Self { child };
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let tls = more.iter().any(|(name, _)| *name == "TLS_CERT");
        while !(is_up(port) || tls && TcpStream::connect(("127.0.0.1", port)).is_ok()) {
            let told = || std::fs::read_to_string(place.log()).unwrap_or_default();
            let ended = process.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "the server ends with {ended:?}:\n{}", told());
            assert!(std::time::Instant::now() < deadline, "the server does not come up:\n{}", told());
            std::thread::sleep(Duration::from_millis(20));
        }
        process
    }

    /// As `kill -HUP` does.
    pub fn hang_up(&self) {
        let told = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(told.expect("kill is there").success());
    }

    /// As `kill -STOP` does.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// As `kill -CONT` does.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(told.expect("kill is there").success());
    }

    /// As `kill` does: waits until it has ended by itself.
    #[cfg(feature = "otel")]
    pub fn terminate(mut self) {
        self.signal("-TERM");
        assert!(self.child.wait().expect("it ends").success());
    }

    /// As `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is gone");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_up(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let mut answer = String::new();
    stream.write_all(b"GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Where a server's process lives: its files, its vendors, its port.
pub struct Place {
    pub folder: PathBuf,
    pub vendors: VendorsHandle,
    pub port: u16,
    database: TestDatabase,
    // Held for its end.
    _own: Port,
}

impl Place {
    pub fn new() -> Self {
        Self::with(VendorsConfig::default())
    }

    /// One with vendors of a special kind.
    pub fn with(vendors: VendorsConfig) -> Self {
        let folder = std::env::temp_dir().join(format!("frontdesk-it-{:032x}", rand::random::<u128>()));
        std::fs::create_dir_all(&folder).unwrap();
        let port = Port::hold();
        let database = TestDatabase::new(&folder);
        let vendors = Vendors::start(vendors, None).unwrap();
        Self { folder, vendors, port: port.number(), database, _own: port }
    }

    /// The address of its database.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// What the server has printed.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Where the server keeps messages while it has no database.
    pub fn spool(&self) -> PathBuf {
        self.folder.join("test.db.messages")
    }

    pub fn caller(&self, sid: &str) -> CallConfig {
        let mut call = stack::caller(&format!("http://127.0.0.1:{}", self.port));
        call.sid = Some(sid.to_owned());
        call
    }

    /// The server's database, opened beside it.
    pub async fn database(&self) -> Database {
        let config = DatabaseConfig {
            url: self.database.url.clone(),
            // What waits for the database is the server's business.
            spool: Some(self.folder.join("none").display().to_string()),
            ..Default::default()
        };
        let system = actix::System::current();
        actix_web::web::block(move || {
            actix::System::set_current(system);
            Database::open(&config, frontdesk::domain::ids::ReplicaId::from_bits(rand::random()))
                .expect("the database opens")
        })
        .await
        .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
