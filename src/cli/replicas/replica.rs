//! One replica: the server in a process of its own, with wires to the database and to Redis that can be cut.

use super::cable::{Way, Wire};
use super::services::{Daemon, tail};
use crate::cli::local::{free_port, get};
use anyhow::Context as _;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::time::sleep;
use url::Url;

/// How long a replica may take to leave after it was told to.
const LEAVING: Duration = Duration::from_secs(90);
/// How often one is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// What replicas share.
#[derive(Clone, Debug)]
pub struct Common {
    /// The program.
    pub program: PathBuf,
    /// Where all files are.
    pub folder: PathBuf,
    /// The database.
    pub database_url: String,
    /// Redis.
    pub redis_url: String,
    /// Settings of all.
    pub environment: Vec<(String, String)>,
}

/// One replica.
#[derive(Debug)]
pub struct Replica {
    /// What the balancer calls it.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Its wire to the database.
    pub database: Wire,
    /// Its wire to Redis.
    pub redis: Wire,
    common: Common,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    process: Option<Daemon>,
    /// Holds the port while it does not run, so that the balancer never finds somebody else's server behind it.
    place: Option<TcpSocket>,
}

impl Replica {
    /// Prepares one; it does not run yet.
    pub fn new(name: &str, common: &Common) -> anyhow::Result<Self> {
        let folder = common.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (database, database_url) = wire(&common.database_url, 5_432)?;
        let (redis, redis_url) = wire(&common.redis_url, 6_379)?;
        let port = free_port()?;
        let place = Some(hold(port)?);
        let own = [
            ("DATABASE_URL", database_url),
            ("REDIS_URL", redis_url),
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let environment = common.environment.iter().cloned().chain(own).collect();
        let common = common.clone();
        let (name, process) = (name.to_owned(), None);
        Ok(Self { name, port, database, redis, common, folder, environment, process, place })
    }

    /// What it has printed.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// From the next start on another program.
    pub fn upgrade(&mut self, program: &Path) {
        program.clone_into(&mut self.common.program);
    }

    /// Starts it.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.common.program);
        command
            .arg("serve")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder);
        self.place = None;
        self.process = Some(Daemon::spawn(&self.name, &mut command, &self.log(), "KILL")?);
        Ok(())
    }

    /// Waits until it is ready for calls.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        let (log, port) = (self.log(), self.port);
        let process = self.process.as_mut().with_context(|| format!("{} does not run", self.name))?;
        process.until(&log, || is_ready(port)).await
    }

    /// Tells it to stop (SIGTERM) and waits until it has; gives how long that took.
    pub async fn stop(&mut self) -> anyhow::Result<Duration> {
        let Some(mut process) = self.process.take() else { return Ok(Duration::ZERO) };
        let began = Instant::now();
        process.signal("TERM")?;
        loop {
            if let Some(status) = process.ended()? {
                anyhow::ensure!(
                    status.success(),
                    "{} ended badly ({status}):\n{}",
                    self.name,
                    tail(&self.log())
                );
                self.leave_place();
                return Ok(began.elapsed());
            }
            anyhow::ensure!(
                began.elapsed() < LEAVING,
                "{} does not leave:\n{}",
                self.name,
                tail(&self.log())
            );
            sleep(LOOK).await;
        }
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        self.leave_place();
        Ok(())
    }

    /// Holds the port again, now that nobody listens there.
    fn leave_place(&mut self) {
        self.place = hold(self.port)
            .inspect_err(|error| tracing::warn!(replica = self.name, %error, "a port cannot be held"))
            .ok();
    }

    /// Freezes it (SIGSTOP): its connections stay open, and nothing moves.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        self.process.as_ref().with_context(|| format!("{} does not run", self.name))?.signal(signal)
    }

    /// Cuts it off from the database, or mends that.
    pub fn set_database(&self, way: Way) {
        self.database.set(way);
    }

    /// Cuts it off from Redis, or mends that.
    pub fn set_redis(&self, way: Way) {
        self.redis.set(way);
    }
}

/// Holds a port: nobody else is given it, and whoever connects is refused.
fn hold(port: u16) -> anyhow::Result<TcpSocket> {
    let socket = TcpSocket::new_v4().context("a socket cannot be made")?;
    // What is left of a server that has just gone is nobody's.
    socket.set_reuseaddr(true).context("a port cannot be held")?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).with_context(|| format!("port {port} is taken"))?;
    Ok(socket)
}

/// A wire to where a URL points, and the URL through it.
fn wire(url: &str, usual_port: u16) -> anyhow::Result<(Wire, String)> {
    let mut url = Url::parse(url).with_context(|| format!("{url:?} is no URL"))?;
    let host = url.host_str().with_context(|| format!("{url} names no host"))?.to_owned();
    let port = url.port().unwrap_or(usual_port);
    let target: SocketAddr = (host.as_str(), port)
        .to_socket_addrs()
        .with_context(|| format!("{host} is not known"))?
        .next()
        .with_context(|| format!("{host} has no address"))?;
    let wire = Wire::to(target).context("a wire cannot be laid")?;
    let led = url.set_host(Some("127.0.0.1")).is_ok() && url.set_port(Some(wire.address().port())).is_ok();
    anyhow::ensure!(led, "{url} cannot be led through a wire");
    Ok((wire, url.to_string()))
}

/// Whether a server says that it takes calls.
pub fn is_ready(port: u16) -> bool {
    get(port, "/api/ready", Duration::from_secs(1)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_refuses_connections_and_is_free_again() {
        let port = free_port().unwrap();
        let held = hold(port).unwrap();
        assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        drop(held);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(hold(port).is_err(), "somebody listens there");
        drop(listener);
    }

    #[actix::test]
    async fn a_url_is_led_through_a_wire_with_everything_else_in_it() {
        let (wire, url) = wire("postgres://me:word@127.0.0.1:5433/desk?x=y", 5_432).unwrap();
        assert_eq!(url, format!("postgres://me:word@127.0.0.1:{}/desk?x=y", wire.address().port()));
        let (wire, url) = super::wire("redis://127.0.0.1/3", 6_379).unwrap();
        assert_eq!(url, format!("redis://127.0.0.1:{}/3", wire.address().port()));
        assert!(super::wire("no url", 1).is_err());
    }
}
