//! `cargo xtask torture`: kills producers and consumers at random moments, and checks what is left.
//!
//! Every process keeps a journal outside of the ring, in a pipe to its parent, of what it is about to commit, what it
//! committed, what it received and what it released. The parent knows from these what the ring has to hold.

#[cfg(feature = "aimed")]
mod aimed;
mod child;
mod journal;
mod ledger;
mod trial;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use child::{Child, Kind, Ring};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use trial::{Figures, Trial};

/// Kills producers and consumers at random moments, and checks that nothing committed is lost, repeated or torn
#[derive(Parser)]
#[command(name = "cargo xtask torture", bin_name = "cargo xtask torture", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    child: Option<Job>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(clap::Args)]
struct Plan {
    /// How many processes to kill
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// What the random choices grow from; the moments themselves are not repeatable
    #[arg(long)]
    seed: Option<u64>,
    /// Bytes in each lane [default: from 1 KiB to 1 MiB in turn]
    #[arg(long)]
    capacity: Option<u64>,
    /// The largest payload in bytes, 8 or more [default: what the ring takes]
    #[arg(long, value_parser = clap::value_parser!(u64).range(8..))]
    payload_max: Option<u64>,
    /// Producers x consumers; of two and more consumers the last has no name and keeps no place [default: in turn]
    #[arg(long, value_name = "PxC", value_parser = shape)]
    shape: Option<(u32, u32)>,
    /// What ring to use [default: in turn]
    #[arg(long)]
    kind: Option<Kind>,
    /// Die between two steps of the protocol, at each of them, instead of at random moments
    #[arg(long)]
    aimed: bool,
}

impl Plan {
    /// The rings to go through, again and again.
    fn rings(&self) -> Result<Vec<Ring>> {
        let mut rings = Vec::new();
        for (kind, producers, consumers, capacity) in RINGS {
            let kind = self.kind.unwrap_or(kind);
            let (producers, consumers) = self.shape.unwrap_or((producers, consumers));
            // A classic ring has no place for more, and a loss is not told by lane.
            if (producers, consumers) == (1, 1) || !matches!(kind, Kind::Classic | Kind::Lossy) {
                let capacity = self.capacity.unwrap_or(capacity);
                rings.push(Ring { path: PathBuf::new(), capacity, producers, consumers, kind });
            }
        }
        if rings.is_empty() {
            bail!("classic and lossy rings are tortured as 1x1 only");
        }
        Ok(rings)
    }
}

#[derive(Subcommand)]
enum Job {
    #[command(hide = true)]
    Produce(Child),
    #[command(hide = true)]
    Consume(Child),
}

fn shape(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once('x').and_then(|(p, c)| Some((p.parse().ok()?, c.parse().ok()?)));
    numbers.filter(|&(p, c)| p > 0 && c > 0).ok_or_else(|| "expected two numbers, such as 2x3".to_owned())
}

/// What is gone through if nothing else is asked for: kind, producers, consumers, capacity.
const RINGS: [(Kind, u32, u32, u64); 10] = [
    (Kind::Extended, 1, 1, 64 << 10),
    (Kind::Classic, 1, 1, 4 << 10),
    (Kind::Checksums, 1, 1, 1 << 10),
    (Kind::Extended, 2, 1, 8 << 10),
    (Kind::Extended, 1, 2, 16 << 10),
    (Kind::Sequence, 3, 2, 32 << 10),
    (Kind::Lossy, 1, 1, 64 << 10),
    (Kind::Classic, 1, 1, 1 << 20),
    (Kind::Checksums, 2, 3, 4 << 10),
    (Kind::Extended, 1, 1, 1 << 20),
];

/// Kills in one ring before the next.
const KILLS: u64 = 20;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.child {
        Some(Job::Produce(child)) => child::produce(&child),
        Some(Job::Consume(child)) => child::consume(&child),
        None if cli.plan.aimed => aimed(&cli.plan),
        None => torture(&cli.plan),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("torture: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All that one run of trials has in common.
struct Run {
    seed: u64,
    start: Instant,
    bar: ProgressBar,
    figures: Figures,
    serial: u32,
    payload_max: u64,
}

impl Run {
    fn new(plan: &Plan) -> Result<Run> {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} kills, {elapsed} of about {duration}")?;
        Ok(Run {
            seed: plan.seed.unwrap_or_else(|| fastrand::u64(..)),
            start: Instant::now(),
            bar: ProgressBar::new(plan.kills).with_style(style),
            figures: Figures::default(),
            serial: 0,
            payload_max: plan.payload_max.unwrap_or(u64::MAX),
        })
    }

    /// Makes the ring in a folder of its own, which stays if a promise is broken.
    fn trial(&mut self, ring: &Ring, work: impl FnOnce(&mut Trial<'_>) -> Result<()>) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("aether-torture-").tempdir()?;
        let ring = Ring { path: folder.path().join("ring"), ..ring.clone() };
        let description = format!("{ring:?}");
        let mut trial = Trial::new(ring, self.payload_max, self.seed, &mut self.serial, &mut self.figures);
        let done = work(&mut trial).map_err(|error| anyhow!("{error:#}{}", trial.standing()));
        drop(trial);
        self.bar.set_position(self.figures.kills());
        done.map_err(|error| {
            self.bar.abandon();
            let (seed, kills, kept) = (self.seed, self.figures.kills(), folder.keep());
            error.context(format!("seed {seed}, kill {kills}, {description}, kept in {}", kept.display()))
        })
    }

    fn report(&self) -> Result<()> {
        self.bar.finish_and_clear();
        let figures = &self.figures;
        let rows = [
            ("rings", figures.rings),
            ("kills of producers", figures.producer_kills),
            ("kills of consumers", figures.consumer_kills),
            ("  of both, before they had their role", figures.early_kills),
            ("pauses", figures.pauses),
            ("second holders refused", figures.refusals),
            ("messages committed and received", figures.committed),
            ("bytes through the rings", figures.bytes),
            ("laps", figures.laps),
            ("under way at a kill: committed", figures.survived),
            ("under way at a kill: vanished whole", figures.vanished),
            ("received again after a kill", figures.redelivered),
            ("overwritten and reported (lossy rings)", figures.dropped),
        ];
        let mut out = std::io::stdout().lock();
        for (name, value) in rows {
            writeln!(out, "{name:40} {value:>14}")?;
        }
        writeln!(out, "no promise broken; seed {}, {:.1} s", self.seed, self.start.elapsed().as_secs_f64())?;
        Ok(())
    }
}

fn torture(plan: &Plan) -> Result<()> {
    let mut run = Run::new(plan)?;
    for ring in plan.rings()?.iter().cycle() {
        let left = plan.kills.saturating_sub(run.figures.kills());
        if left == 0 {
            break;
        }
        run.trial(ring, |trial| trial.run(KILLS.min(left)))?;
    }
    run.report()
}

#[cfg(feature = "aimed")]
fn aimed(plan: &Plan) -> Result<()> {
    let mut run = Run::new(plan)?;
    let mut deaths = aimed::Deaths::default();
    let rings = plan.rings()?;
    // Each ring at least once.
    for (count, ring) in rings.iter().cycle().enumerate() {
        if count >= rings.len() && run.figures.kills() >= plan.kills {
            break;
        }
        run.trial(ring, |trial| aimed::every_step(trial, ring, &mut deaths))?;
    }
    run.report()?;
    deaths.report()
}

#[cfg(not(feature = "aimed"))]
fn aimed(_: &Plan) -> Result<()> {
    bail!("built without the steps to die at; run it as `cargo xtask torture --aimed`")
}
