//! Runs one command after the other: shows it, times it, and says how to repeat the one that fails.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub(crate) struct Step {
    name: String,
    /// Words are split at blanks; none of the commands here needs quoting.
    command: String,
    env: Vec<(&'static str, String)>,
    unset: &'static [&'static str],
    needs: Option<(&'static str, &'static str)>,
}

impl Step {
    pub(crate) fn new(name: impl Into<String>, command: impl Into<String>) -> Step {
        Step { name: name.into(), command: command.into(), env: Vec::new(), unset: &[], needs: None }
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Step {
        self.env.push((name, value.into()));
        self
    }

    pub(crate) fn unset(mut self, names: &'static [&'static str]) -> Step {
        self.unset = names;
        self
    }

    /// `probe` succeeds where the tool is there; `get` is the command that brings it.
    pub(crate) fn needs(mut self, probe: &'static str, get: &'static str) -> Step {
        self.needs = Some((probe, get));
        self
    }

    fn run(&self, root: &Path) -> Result<()> {
        if let Some((probe, get)) = self.needs {
            let found = words(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                bail!("a tool is missing (`{probe}` failed); get it with `{get}`");
            }
        }
        let mut command = words(&self.command);
        command.current_dir(root).envs(self.env.iter().cloned());
        for name in self.unset {
            command.env_remove(name);
        }
        let status = command.status().with_context(|| format!("could not start `{}`", self.command))?;
        if !status.success() {
            bail!("{status}; repeat it with: {}", self.shown());
        }
        Ok(())
    }

    /// The command as one would type it.
    fn shown(&self) -> String {
        let mut shown = String::new();
        for (name, value) in &self.env {
            let quote = if value.contains(' ') { "'" } else { "" };
            shown += &format!("{name}={quote}{value}{quote} ");
        }
        shown + &self.command
    }
}

fn words(command: &str) -> Command {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Stops at the first step that fails; the table at the end shows them all.
pub(crate) fn run(root: &Path, steps: &[Step]) -> Result<()> {
    let mut times: Vec<Duration> = Vec::new();
    let mut outcome = Ok(());
    for step in steps {
        eprintln!("\n==> {}: {}", step.name, step.shown());
        let start = Instant::now();
        let result = step.run(root);
        times.push(start.elapsed());
        if let Err(error) = result {
            outcome = Err(error.context(format!("{} failed", step.name)));
            break;
        }
    }
    let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    eprintln!();
    for (index, step) in steps.iter().enumerate() {
        let last = index + 1 == times.len();
        let (result, time) = match times.get(index) {
            None => ("not run", String::new()),
            Some(time) if last && outcome.is_err() => ("FAILED", seconds(*time)),
            Some(time) => ("ok", seconds(*time)),
        };
        eprintln!("{:width$}  {result:7} {time:>9}", step.name);
    }
    eprintln!("{:width$}  {:7} {:>9}", "total", "", seconds(times.iter().sum()));
    outcome
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
