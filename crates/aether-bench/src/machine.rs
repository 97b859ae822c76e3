//! What the figures were measured on.

use std::fs;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Each with its level and size.
    #[serde(default)]
    pub caches: String,
    #[serde(default)]
    pub memory: String,
    /// Of the frequency of the first processor.
    #[serde(default)]
    pub governor: String,
    #[serde(default)]
    pub virtual_machine: bool,
    /// That made the program.
    #[serde(default)]
    pub compiler: String,
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
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Machine {
            processor: processor.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            processors: allowed.len(),
            cpus,
            siblings: siblings(cpus[0]).contains(&cpus[1]),
            kernel: kernel.trim().to_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            caches: caches(cpus[0]),
            memory: memory(),
            governor: governor(cpus[0]),
            virtual_machine: flags.split_whitespace().any(|flag| flag == "hypervisor"),
            compiler: env!("AETHER_BENCH_COMPILER").to_owned(),
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

fn first_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.trim().to_owned())
}

fn caches(cpu: usize) -> String {
    let cache = |index: usize| {
        let of = |what: &str| first_line(&format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}/{what}"));
        let kind = of("type")?;
        // Instructions are few here.
        if kind == "Instruction" { Some(None) } else { Some(Some(format!("L{} {}", of("level")?, of("size")?))) }
    };
    let caches: Vec<String> = (0..8).map_while(cache).flatten().collect();
    if caches.is_empty() { "unknown".to_owned() } else { caches.join(", ") }
}

fn memory() -> String {
    let kibibytes = first_line("/proc/meminfo").and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.map_or_else(|| "unknown".to_owned(), |kibibytes| format!("{} GiB", kibibytes.div_ceil(1 << 20)))
}

fn governor(cpu: usize) -> String {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    first_line(&path).unwrap_or_else(|| "not visible".to_owned())
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
