//! `aether bench`: the ring beside what the hardware allows.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use aether_bench::{
    html,
    machine::Machine,
    report::Report,
    runner::{self, Interrupted, Runner},
    suite::{self, Folders, Group},
    transports::OWN,
};
use clap::Args;
use indicatif::ProgressBar;

use crate::{
    exit::{Exit, Failure, Result},
    interrupt::Interrupt,
    output,
    progress::style,
    system,
};

const EXAMPLES: &str = "\
Examples:
  aether bench
  aether bench round-trip throughput --html report.html
  aether bench --json > before.json
  aether bench --compare before.json";

/// Measure rings beside what the hardware allows
///
/// Two processes, each on a processor of its own, do the same work in turns through a ring and through the least that
/// could move a message: bare atomics, a bare ring without any check, a bare futex. What counts are the ratios, because
/// absolute figures drift on a machine that others use too. Every byte is written on one side, and read and checked on
/// the other.
///
/// Takes about a minute. Let nothing else run meanwhile.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Bench {
    /// What to measure; all of it if nothing is named
    #[arg(value_name = "WORK", value_parser = group)]
    groups: Vec<Group>,
    /// Seconds of each measurement, in each round
    #[arg(long, value_name = "N", default_value_t = 0.12, value_parser = seconds)]
    seconds: f64,
    /// How often each measurement is taken; an odd number has a median
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// The processors of the two sides, otherwise two of different cores
    #[arg(long, value_name = "A,B", value_parser = cpus)]
    cpus: Option<[usize; 2]>,
    /// The folder of files that are to be on a disk
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with pictures to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Compare with what `--json` once printed
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    compare: Option<PathBuf>,
}

fn group(text: &str) -> Result<Group, String> {
    let names = || Group::ALL.iter().map(|group| group.name()).collect::<Vec<_>>().join(", ");
    let found = Group::ALL.iter().find(|group| group.name() == text);
    found.copied().ok_or_else(|| format!("expected one of {}", names()))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.001..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("expected from 0.001 to 3600".to_owned()) }
}

fn cpus(text: &str) -> Result<[usize; 2], String> {
    let numbers: Option<Vec<usize>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| "expected two numbers, as in 0,1".to_owned())
}

pub(crate) fn run(args: &Bench) -> Result {
    let before = args.compare.as_ref().map(read).transpose()?;
    let interrupt = Interrupt::catch()?;
    let interrupted = || interrupt.is_set();
    let machine = Machine::look(args.cpus).map_err(failure)?;
    let groups = if args.groups.is_empty() { Group::ALL } else { &args.groups };
    let measures = suite::own(groups);
    let rounds = usize::from(args.rounds);
    let duration = Duration::from_secs_f64(args.seconds);
    let runner = Runner::new(OWN, vec!["bench-side".into()], machine.cpus, &interrupted);
    let disk = args.disk.canonicalize().map_err(|error| at(&args.disk, error))?;
    let folders = Folders { memory: system::memory_folder(), disk };
    let steps = suite::steps(&measures, rounds) as u64;
    let bar = ProgressBar::new(steps).with_style(style("{wide_bar} {pos}/{len} {msg}"));
    let result = suite::run(&runner, &folders, &measures, rounds, duration, |step| {
        bar.set_message(step.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let suite::Found { distance_ns, measures, facts } = result.map_err(failure)?;
    let report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine,
        distance_ns,
        seconds: args.seconds,
        rounds,
        measures,
        facts,
        versions: Vec::new(),
    };
    if let Some(path) = &args.html {
        let page = html::page(&report).map_err(failure)?;
        fs::write(path, page).map_err(|error| at(path, error))?;
        eprintln!("aether: wrote {}", path.display());
    }
    match before {
        _ if args.json => output::json(&report)?,
        Some(before) => output::text(&report.compare(&before))?,
        None => output::text(&report.text())?,
    }
    Ok(Exit::Done)
}

/// One side of a measurement.
pub(crate) fn side() -> Result {
    runner::child(OWN).map_err(failure)?;
    Ok(Exit::Done)
}

fn read(path: &PathBuf) -> Result<Report> {
    let text = fs::read_to_string(path).map_err(|error| at(path, error))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::Words(format!("{}: expected what `aether bench --json` prints: {error}", path.display()))
    })
}

fn at(path: &Path, error: io::Error) -> Failure {
    Failure::Words(format!("{}: {error}", path.display()))
}

fn failure(error: anyhow::Error) -> Failure {
    if error.is::<Interrupted>() {
        return Failure::Interrupted("the measurements were not finished".to_owned());
    }
    Failure::Words(format!("{error:#}"))
}
