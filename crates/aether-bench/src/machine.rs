//! What the figures were measured on.

use std::fs;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    /// How many this process may use.
    pub processors: usize,
    /// Those that were measured between.
    pub cpus: [usize; 2],
    /// They are two threads of one core, which share all caches.
    pub siblings: bool,
    pub kernel: String,
    pub architecture: String,
}

impl Machine {
    /// # Errors
    ///
    /// One that says what is missing, if two processors can't be had.
    pub fn look(cpus: Option<[usize; 2]>) -> Result<Machine> {
        let allowed = allowed()?;
        let cpus = match cpus {
            Some(cpus) => {
                for cpu in cpus {
                    ensure!(
                        allowed.contains(&cpu),
                        "processor {cpu} can't be used by this process; it may use {allowed:?}"
                    );
                }
                ensure!(cpus[0] != cpus[1], "expected two different processors, found {} twice", cpus[0]);
                cpus
            }
            None => choose(&allowed)?,
        };
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Machine {
            processor: processor.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            processors: allowed.len(),
            cpus,
            siblings: siblings(cpus[0]).contains(&cpus[1]),
            kernel: kernel.trim().to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
        })
    }

    pub fn describe(&self) -> String {
        let [first, second] = self.cpus;
        let share = if self.siblings { "two threads of one core" } else { "two cores" };
        format!(
            "{} ({}), Linux {}, processors {first} and {second} of {}: {share}",
            self.processor, self.architecture, self.kernel, self.processors
        )
    }
}

fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("can't ask which processors this process may use")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Two of different cores, where there are such.
fn choose(allowed: &[usize]) -> Result<[usize; 2]> {
    let [first, rest @ ..] = allowed else {
        anyhow::bail!("this process may use no processor");
    };
    let near = siblings(*first);
    let second = rest.iter().find(|cpu| !near.contains(cpu)).or(rest.first());
    let second = second.context("needs two processors, one for each side; this process may use one alone")?;
    Ok([*first, *second])
}

/// The threads of the core of `cpu`.
fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    list(&fs::read_to_string(path).unwrap_or_default())
}

/// As the kernel writes them: `0-2,7`.
fn list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read_as_the_kernel_writes_them() {
        assert_eq!(list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(list("3"), [3]);
        assert_eq!(list(""), [0; 0]);
    }

    #[test]
    fn a_processor_that_is_not_there_is_refused_by_name() {
        let error = Machine::look(Some([0, 99_999])).unwrap_err();
        assert!(error.to_string().contains("processor 99999"), "{error}");
    }
}
