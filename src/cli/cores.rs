//! Which cores this thread, and whatever it starts, may run on.

use anyhow::Context as _;

/// A machine's cores, split between a server under measurement and everything else.
#[derive(Clone, Debug)]
pub struct Split {
    #[cfg(target_os = "linux")]
    server: rustix::thread::CpuSet,
    #[cfg(target_os = "linux")]
    rest: rustix::thread::CpuSet,
}

#[cfg(target_os = "linux")]
impl Split {
    /// The first core for the server, the others for the rest.
    ///
    /// # Errors
    /// When this process may use one core only, or the kernel does not tell.
    pub fn new() -> anyhow::Result<Self> {
        use rustix::thread::{CpuSet, sched_getaffinity};
        let all = sched_getaffinity(None).context("the kernel does not say which cores there are")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core));
        let (mut server, mut rest) = (CpuSet::new(), CpuSet::new());
        server.set(cores.next().context("there is no core")?);
        cores.for_each(|core| rest.set(core));
        anyhow::ensure!(rest.count() > 0, "--pin needs two cores: one for the server, one for the simulator");
        Ok(Self { server, rest })
    }

    /// From now on this thread and those it starts leave the server's core alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn keep_to_rest(&self) -> anyhow::Result<()> {
        rustix::thread::sched_setaffinity(None, &self.rest).context("cannot keep to some of the cores")
    }

    /// Does this on the server's core; a process that it starts stays there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn on_servers_core<T>(&self, start: impl FnOnce() -> T) -> anyhow::Result<T> {
        rustix::thread::sched_setaffinity(None, &self.server).context("cannot keep to one core")?;
        let started = start();
        self.keep_to_rest()?;
        Ok(started)
    }
}

#[cfg(not(target_os = "linux"))]
impl Split {
    /// Only Linux lets a process be bound to a core.
    ///
    /// # Errors
    /// Always.
    pub fn new() -> anyhow::Result<Self> {
        Err(anyhow::anyhow!("--pin works on Linux only")).context("no core to be had")
    }

    /// Never called: there is none.
    ///
    /// # Errors
    /// None.
    pub fn keep_to_rest(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Never called: there is none.
    ///
    /// # Errors
    /// None.
    pub fn on_servers_core<T>(&self, start: impl FnOnce() -> T) -> anyhow::Result<T> {
        Ok(start())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::thread::sched_getaffinity;

    #[test]
    fn the_server_has_a_core_that_nobody_else_has() {
        // On a thread of its own, which nobody uses after it.
        std::thread::spawn(|| {
            let Ok(split) = Split::new() else {
                return assert!(sched_getaffinity(None).unwrap().count() < 2);
            };
            let on_it = split.on_servers_core(|| sched_getaffinity(None).unwrap()).unwrap();
            let after = sched_getaffinity(None).unwrap();
            assert_eq!(on_it.count(), 1);
            assert!((0..64).all(|core| !(on_it.is_set(core) && after.is_set(core))));
        })
        .join()
        .unwrap();
    }
}
