//! `peers`: the project's own measurements with other libraries beside them, on the same work, and the page about it.
//! `cargo xtask bench` runs it.

mod crossbeam;
mod disruptor;
mod disruptor_mp;
mod iceoryx2;
mod ipc_channel;
mod item;
mod kanal;
mod names;
mod posix_queue;
mod redis;
mod rtrb;
mod shmem_ipc;
mod suite;
mod versions;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use aether_bench::machine::Machine;
use aether_bench::report::Report;
use aether_bench::runner::{self, Interrupted, Runner};
use aether_bench::suite::{Folders, Found};
use aether_bench::transports::OWN;
use aether_bench::{Entry, page};
use anyhow::{Context, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

/// What the program is called with to be one side of a measurement.
const SIDE: &str = "side";
/// As a shell says of what was ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// Measure rings beside what the hardware allows, and beside other libraries
///
/// Takes about five minutes. Let nothing else run meanwhile. A peer that fails is reported with the reason, and stops
/// nothing.
#[derive(Parser)]
struct Args {
    /// Only measures that have this in their name, and ways that have it in theirs; the first way is always there
    #[arg(value_name = "TEXT")]
    only: Vec<String>,
    /// As short as can be: whether all of it works, no figures to believe
    #[arg(long)]
    quick: bool,
    /// Seconds of each measurement, in each round
    #[arg(long, value_name = "N", default_value_t = 0.1)]
    seconds: f64,
    /// How often each measurement is taken; an odd number has a median
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// The folder of files that are to be on a disk
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write figures and pictures into `performance.md` of this folder
    #[arg(long, value_name = "DIR")]
    docs: Option<PathBuf>,
}

fn entries() -> Vec<Entry> {
    let mut entries = OWN.to_vec();
    for peers in [
        crossbeam::ENTRIES,
        disruptor::ENTRIES,
        disruptor_mp::ENTRIES,
        iceoryx2::ENTRIES,
        ipc_channel::ENTRIES,
        kanal::ENTRIES,
        posix_queue::ENTRIES,
        redis::ENTRIES,
        rtrb::ENTRIES,
        shmem_ipc::ENTRIES,
    ] {
        entries.extend(peers);
    }
    entries
}

fn main() -> ExitCode {
    let is_side = std::env::args().nth(1).is_some_and(|argument| argument == SIDE);
    let result = if is_side { runner::child(&entries()) } else { measure(&Args::parse()) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    let signal = Arc::new(AtomicBool::new(false));
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(number, Arc::clone(&signal))?;
    }
    let interrupted = || signal.load(Relaxed);
    let entries = entries();
    let machine = Machine::look(None)?;
    let runner = Runner::new(&entries, vec![SIDE.into()], machine.cpus, &interrupted);
    let mut measures = suite::measures();
    if !args.only.is_empty() {
        let wanted = |name: &str| args.only.iter().any(|text| name.contains(text.as_str()));
        for measure in &mut measures {
            if !wanted(&measure.name) {
                let limit = measure.rows.first().map(|row| row.label.clone());
                measure.rows.retain(|row| Some(&row.label) == limit.as_ref() || wanted(&row.label));
            }
        }
        measures.retain(|measure| wanted(&measure.name) || measure.rows.len() > 1);
    }
    ensure!(!measures.is_empty(), "nothing is called like {:?}", args.only);
    let (seconds, rounds) = if args.quick { (0.005, 1) } else { (args.seconds, args.rounds) };
    if args.quick {
        measures.iter_mut().for_each(|measure| measure.times = 1);
    }
    ensure!(seconds > 0.0 && seconds <= 60.0 && rounds > 0, "expected seconds up to 60, and rounds");
    let shared = PathBuf::from("/dev/shm");
    let folders = Folders {
        memory: if shared.is_dir() { shared } else { std::env::temp_dir() },
        disk: args.disk.canonicalize().with_context(|| format!("no folder {}", args.disk.display()))?,
    };
    let bar = ProgressBar::new(aether_bench::suite::steps(&measures, rounds) as u64);
    bar.set_style(ProgressStyle::with_template("{elapsed}/{duration} {wide_bar} {pos}/{len} {msg}")?);
    let duration = Duration::from_secs_f64(seconds);
    let found = aether_bench::suite::run(&runner, &folders, &measures, rounds, duration, |step| {
        bar.set_message(step.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let Found { distance_ns, measures, facts } = found?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let versions = versions::all();
    let report = Report { version, machine, distance_ns, seconds, rounds, measures, facts, versions };
    if let Some(path) = &args.report {
        page::save(&report, path)?;
        eprintln!("peers: wrote {}", path.display());
    }
    match &args.docs {
        Some(folder) => {
            fs::create_dir_all(folder)?;
            page::write(&report, folder)?;
            eprintln!("peers: wrote {}", folder.join(page::PAGE).display());
            Ok(())
        }
        None => print(&report.text()),
    }
}

fn print(text: &str) -> Result<()> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Who reads it has seen enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
