//! Programs that a drill runs beside the replicas: PostgreSQL, Redis, haproxy. Each belongs to the drill and goes with it.

use crate::cli::local::free_port;
use anyhow::Context as _;
use std::fmt::Write as _;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How long a program may take to come up.
const STARTUP: Duration = Duration::from_secs(60);
/// How long it may take to go when it is asked to.
const GOING: Duration = Duration::from_secs(5);
/// How often one is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// A running program. Dropping it ends it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    /// The signal that has it end.
    end: &'static str,
}

impl Daemon {
    /// Starts one; what it prints is appended to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path, end: &'static str) -> anyhow::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("the log cannot be shared")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} does not start: is it installed?"))?;
        Ok(Self { name: name.to_owned(), child, end })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, `TERM`, `STOP`, ….
    pub fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let told = Command::new("kill")
            .args([&format!("-{signal}"), &self.pid().to_string()])
            .stderr(Stdio::null())
            .status()
            .context("kill is missing")?;
        anyhow::ensure!(told.success(), "{} cannot be sent SIG{signal}", self.name);
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("{} cannot be watched", self.name))
    }

    /// As `kill -9` does.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("{} cannot be killed", self.name))?;
        self.child.wait().with_context(|| format!("{} cannot be watched", self.name))?;
        Ok(())
    }

    /// Waits until `is_up`; an error if it ends instead.
    pub async fn until(&mut self, log: &Path, is_up: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTUP;
        while !is_up() {
            if let Some(status) = self.ended()? {
                anyhow::bail!("{} ended at once ({status}):\n{}", self.name, tail(log));
            }
            anyhow::ensure!(Instant::now() < deadline, "{} does not come up:\n{}", self.name, tail(log));
            sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.signal(self.end).is_ok() {
            let deadline = Instant::now() + GOING;
            while Instant::now() < deadline {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                std::thread::sleep(LOOK);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}

/// Whether somebody listens there.
pub fn is_listening(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// PostgreSQL with an empty database. Nothing in it has to survive a crash of the machine.
#[derive(Debug)]
pub struct Postgres {
    /// Where it is.
    pub url: String,
    _daemon: Daemon,
}

impl Postgres {
    /// Starts one below `folder`.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let programs = postgres_programs()
            .context("PostgreSQL is missing: install it, or name a database with --database-url")?;
        let folder = folder.join("postgres");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // It refuses to work for root.
        let user = other_user()?;
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).context("the folder cannot be given away")?;
        }
        let run = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(&folder);
            if let Some((uid, gid)) = user {
                command.gid(gid).uid(uid);
            }
            command
        };
        let data = folder.join("data");
        let made = run("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", "frontdesk", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"])
            .output()
            .context("initdb cannot be run")?;
        anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port()?;
        let mut command = run("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(&folder).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ] {
            command.args(["-c", setting]);
        }
        let log = folder.join("log");
        let mut daemon = Daemon::spawn("postgres", &mut command, &log, "QUIT")?;
        let accepts = || {
            let mut ask = Command::new(programs.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            ask.status().is_ok_and(|status| status.success())
        };
        daemon.until(&log, accepts).await?;
        Ok(Self { url: format!("postgres://frontdesk@127.0.0.1:{port}/postgres"), _daemon: daemon })
    }
}

/// Where PostgreSQL's own programs are; Debian keeps them off the path.
fn postgres_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<PathBuf> =
        versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists()).collect();
    found.sort_by_key(|path| number(path));
    found.pop().map(|path| path.join("bin")).or_else(|| on_path("initdb"))
}

/// The folder of the path in which a program is.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|folder| folder.join(program).exists())
}

/// User and group of somebody without rights, if we are root.
fn other_user() -> anyhow::Result<Option<(u32, u32)>> {
    let own = std::fs::metadata("/proc/self").context("who we are is not known")?.uid();
    if own != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("the users are not known")?;
    let ids = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let known = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (known == name).then_some((uid, gid))
        })
    };
    let other = ids("postgres").or_else(|| ids("nobody"));
    Ok(Some(other.context("there is neither a user postgres nor nobody to run PostgreSQL")?))
}

/// Redis that keeps nothing on the disk.
#[derive(Debug)]
pub struct Redis {
    /// Where it is.
    pub url: String,
    _daemon: Daemon,
}

impl Redis {
    /// Starts one below `folder`.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("redis");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(&folder);
        let log = folder.join("log");
        let mut daemon = Daemon::spawn("redis-server", &mut command, &log, "TERM")?;
        daemon.until(&log, || is_listening(port)).await?;
        Ok(Self { url: format!("redis://127.0.0.1:{port}/"), _daemon: daemon })
    }
}

/// What haproxy is told: what we ship, so that the drills show that it holds.
const HAPROXY: &str = include_str!("../../../docker/haproxy/haproxy.cfg");

/// The shipped settings for these servers, names and ports, on loopback. Answers say which server gave them.
fn haproxy_settings(port: u16, servers: &[(String, u16)]) -> String {
    let mut out = String::new();
    let mut resolving = false;
    for line in HAPROXY.lines() {
        let words = line.trim_start();
        if !line.starts_with(' ') && !words.is_empty() {
            // Names are not looked up here.
            resolving = words.starts_with("resolvers ");
        }
        if resolving || words.starts_with("server b ") {
            continue;
        }
        if words.starts_with("bind ") {
            let _ = writeln!(out, "    bind 127.0.0.1:{port}\n    http-response set-header x-served-by %s");
        } else if let Some(rest) = words.strip_prefix("server a ") {
            let how = rest.split_once(' ').map_or("", |(_, how)| how);
            for (name, port) in servers {
                let tracked = how.strip_suffix("/a").map(|backend| format!("{backend}/{name}"));
                let how = tracked.as_deref().unwrap_or(how);
                let _ = writeln!(out, "    server {name} 127.0.0.1:{port} {how}");
            }
        } else {
            out.push_str(line.split(" resolvers ").next().unwrap_or(line));
            out.push('\n');
        }
    }
    out
}

/// haproxy before the replicas.
#[derive(Debug)]
pub struct Balancer {
    /// Where it is: the public address of all.
    pub url: String,
    _daemon: Daemon,
}

impl Balancer {
    /// Starts it before servers with these names and ports.
    pub async fn start(folder: &Path, port: u16, servers: &[(String, u16)]) -> anyhow::Result<Self> {
        let folder = folder.join("haproxy");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let text = haproxy_settings(port, servers);
        let file = folder.join("haproxy.cfg");
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let log = folder.join("log");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let mut daemon = Daemon::spawn("haproxy", &mut command, &log, "TERM")?;
        daemon.until(&log, || is_listening(port)).await?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), _daemon: daemon })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_balancer_stands_before_the_drills_replicas() {
        let servers = [("r1".to_owned(), 4_001), ("r2".to_owned(), 4_002), ("r3".to_owned(), 4_003)];
        let text = haproxy_settings(4_000, &servers);
        let count = |what: &str| text.lines().filter(|line| line.trim_start().starts_with(what)).count();
        let backends = count("backend ");
        assert_eq!(count("server "), 3 * backends, "{text}");
        assert_eq!(count("bind 127.0.0.1:4000"), 1, "{text}");
        assert!(text.contains("    server r2 127.0.0.1:4002 check\n"), "{text}");
        assert!(text.contains("    server r3 127.0.0.1:4003 track replicas/r3\n"), "{text}");
        for gone in ["frontdesk-", "resolv", ":8080", "/a\n"] {
            assert!(!text.contains(gone), "{gone:?} in {text}");
        }
        let shipped = |what: &str| HAPROXY.lines().filter(|line| line.trim_start().starts_with(what)).count();
        for kept in ["timeout ", "retry-on ", "backend ", "option ", "acl ", "use_backend ", "http-check "] {
            assert_eq!(count(kept), shipped(kept), "{kept}");
        }
    }
}
