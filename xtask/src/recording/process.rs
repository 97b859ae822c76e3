//! Processes that end with their owner, and waits that end.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Nothing here takes a tenth of it.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Killed when dropped.
pub(crate) struct Process {
    child: Child,
    what: String,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Process> {
        let what = format!("{command:?}");
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("could not start {what}"))?;
        Ok(Process { child, what })
    }

    /// It must not have ended before.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.check()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// An error if it has ended, where it has to be there.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{status}, too early: {}", self.what),
            None => Ok(()),
        }
    }

    pub(crate) fn interrupt(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::INT)?)
    }

    /// It must end with this code.
    pub(crate) fn end(mut self, code: i32) -> Result<()> {
        let mut status = None;
        until(&format!("the end of {}", self.what), || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        match status.and_then(|status| status.code()) {
            Some(found) if found == code => Ok(()),
            found => bail!("exit code {found:?} instead of {code}: {}", self.what),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be over.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks every millisecond, so that looking takes nothing from who works.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > WATCHDOG {
            bail!("waited in vain for {what}");
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}
