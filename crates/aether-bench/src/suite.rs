//! What is measured, in which order, and the loop that does it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::distance;
use crate::job::{Outcome, Setup, Work};
use crate::report::{Fact, Measured};
use crate::runner::{Interrupted, Runner};
use crate::transports::OWN;

/// Ways that do the same work, in turns. The first is the limit that the others are compared with.
#[derive(Debug, Clone)]
pub struct Measure {
    pub group: Group,
    pub name: String,
    pub work: Work,
    /// So many times as long as others, where what matters is rare.
    pub times: u32,
    pub rows: Vec<Row>,
}

/// One measurement.
#[derive(Debug, Clone)]
pub struct Taken {
    pub outcome: Outcome,
    /// [`distance::now`], just before.
    pub distance_ns: f64,
}

#[derive(Debug, Clone)]
pub struct Row {
    /// What it is called in the report.
    pub label: String,
    /// Name of an [`Entry`](crate::Entry).
    pub transport: &'static str,
    pub setup: Setup,
    /// On the disk, not in memory.
    pub disk: bool,
}

macro_rules! groups {
    ($($variant:ident $name:literal $about:literal,)+) => {
        /// Measures that belong together.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Group {
            $(#[doc = $about] $variant,)+
        }

        impl Group {
            pub const ALL: &[Group] = &[$(Group::$variant,)+];

            pub fn name(self) -> &'static str {
                match self { $(Group::$variant => $name,)+ }
            }

            pub fn about(self) -> &'static str {
                match self { $(Group::$variant => $about,)+ }
            }
        }
    };
}

groups! {
    RoundTrip "round-trip" "A message there and the same back, both sides spinning.",
    WakeUp "wake-up" "The receiver sleeps in the kernel, a message wakes it.",
    Throughput "throughput" "One way as fast as it goes, each message published alone.",
    Batches "batches" "One way as fast as it goes, 256 messages published together.",
    Rate "rate" "At an even pace; latency from when a message was due.",
    Waiting "waiting" "Throughput by the way in which both sides wait.",
    Many "many" "Throughput of many producers on one processor, and to many consumers on the other.",
    Capacity "capacity" "Throughput by the size of the ring.",
    Layout "layout" "The layouts of the file.",
    Disk "disk" "A file on a disk beside one in memory, at an even pace.",
    Opening "opening" "What it takes to open rings, their memory, and claiming in place.",
}

/// Payloads of throughput.
pub const SIZES: [usize; 7] = [8, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20];
/// Sizes of a ring, the usual one first.
pub const CAPACITIES: [u64; 6] = [1 << 20, 4 << 10, 64 << 10, 16 << 20, 64 << 20, 1 << 30];
/// Messages of a batch.
pub const BATCH: usize = 256;

/// One to one, in memory.
pub fn row(transport: &'static str, setup: &Setup) -> Row {
    Row { label: transport.to_owned(), transport, setup: setup.clone(), disk: false }
}

fn rows(transports: &[&'static str], setup: &Setup) -> Vec<Row> {
    transports.iter().map(|transport| row(transport, setup)).collect()
}

/// The project's own part.
pub fn own(groups: &[Group]) -> Vec<Measure> {
    groups.iter().flat_map(|&group| of(group)).collect()
}

fn of(group: Group) -> Vec<Measure> {
    let measure = |name: String, work, rows| Measure { group, name, work, times: 1, rows };
    let parked = Setup { wait: "park".to_owned(), ..Setup::of_size(8) };
    match group {
        Group::RoundTrip => vec![
            measure(
                "round trip, 8 bytes".to_owned(),
                Work::RoundTrip,
                rows(&["bare ring", "aether", "bare atomics"], &Setup::of_size(8)),
            ),
            measure(
                "round trip, 64 bytes".to_owned(),
                Work::RoundTrip,
                rows(&["bare ring", "aether", "Unix socket"], &Setup::of_size(64)),
            ),
        ],
        Group::WakeUp => {
            let rows = rows(&["bare futex", "aether", "Unix socket"], &parked);
            let work = Work::Rate { per_second: 1_000 };
            vec![Measure { times: 3, ..measure("asleep, 1,000 messages a second".to_owned(), work, rows) }]
        }
        Group::Throughput => SIZES
            .iter()
            .map(|&size| {
                let transports = ["bare ring", "aether in place", "bare ring, copied", "aether"];
                measure(bytes(size), Work::Throughput, rows(&transports, &Setup::of_size(size)))
            })
            .collect(),
        Group::Batches => [8, 64]
            .map(|size| {
                let setup = Setup { batch: BATCH, ..Setup::of_size(size) };
                let transports = ["bare ring", "aether batch", "aether array"];
                measure(format!("{}, {BATCH} at once", bytes(size)), Work::Throughput, rows(&transports, &setup))
            })
            .into(),
        Group::Rate => {
            let rows = rows(&["bare ring", "aether", "Unix socket"], &Setup::of_size(64));
            let work = Work::Rate { per_second: 100_000 };
            vec![Measure { times: 2, ..measure("100,000 messages of 64 bytes a second".to_owned(), work, rows) }]
        }
        Group::Waiting => {
            let rows = ["spin", "yield", "backoff", "park"]
                .map(|wait| Row {
                    label: format!("aether, {wait}"),
                    ..row("aether", &Setup { wait: wait.to_owned(), ..Setup::of_size(64) })
                })
                .into();
            vec![measure("64 bytes, by strategy".to_owned(), Work::Throughput, rows)]
        }
        Group::Many => {
            let rows = [(1, 1), (2, 1), (4, 1), (8, 1), (1, 2), (1, 4), (1, 8), (8, 8)]
                .map(|(producers, consumers)| {
                    let setup = Setup { producers, consumers, wait: "backoff".to_owned(), ..Setup::of_size(64) };
                    Row { label: format!("{producers} to {consumers}"), ..row("aether", &setup) }
                })
                .into();
            vec![measure("64 bytes, producers to consumers".to_owned(), Work::Throughput, rows)]
        }
        Group::Capacity => {
            // All in one measure, so that they are taken in turns.
            let rows = CAPACITIES.iter().flat_map(|&capacity| {
                ["bare ring, copied", "aether"].map(|transport| {
                    let setup = Setup { capacity, ..Setup::of_size(64) };
                    Row { label: format!("{transport}, {}", bytes(capacity as usize)), ..row(transport, &setup) }
                })
            });
            vec![measure("64 bytes, by capacity".to_owned(), Work::Throughput, rows.collect())]
        }
        Group::Layout => {
            let extended = Setup::of_size(64);
            let classic = Setup { classic: true, ..extended.clone() };
            let rows = vec![
                Row { label: "aether, extended".to_owned(), ..row("aether", &extended) },
                Row { label: "aether, classic".to_owned(), ..row("aether", &classic) },
            ];
            vec![
                measure("64 bytes, by layout".to_owned(), Work::Throughput, rows.clone()),
                measure("64 bytes, by layout, round trip".to_owned(), Work::RoundTrip, rows),
            ]
        }
        Group::Disk => {
            let memory = row("aether", &Setup { capacity: 64 << 20, ..Setup::of_size(1 << 10) });
            let rows = vec![
                Row { label: "aether, in memory".to_owned(), ..memory.clone() },
                Row { label: "aether, on the disk".to_owned(), disk: true, ..memory.clone() },
                Row {
                    label: "aether, on the disk, written back".to_owned(),
                    disk: true,
                    setup: Setup { written_back: true, ..memory.setup },
                    ..memory
                },
            ];
            let work = Work::Rate { per_second: 100_000 };
            vec![Measure { times: 4, ..measure("100,000 messages of 1 KiB a second".to_owned(), work, rows) }]
        }
        Group::Opening => {
            let rows = rows(&["opening", "claiming"], &Setup::of_size(8));
            vec![measure("opening".to_owned(), Work::Facts, rows)]
        }
    }
}

/// A size, as people write it.
pub fn bytes(size: usize) -> String {
    match size {
        0..0x400 => format!("{size} bytes"),
        0x400..0x10_0000 => format!("{} KiB", size >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", size >> 20),
        _ => format!("{} GiB", size >> 30),
    }
}

/// Where files are made.
pub struct Folders {
    pub memory: PathBuf,
    pub disk: PathBuf,
}

/// Everything that was found.
pub struct Found {
    pub distance_ns: f64,
    pub measures: Vec<Measured>,
    pub facts: Vec<Fact>,
}

/// All rows in turns, `rounds` times, for `duration` each. `progress` is told of each step before it is taken.
///
/// # Errors
///
/// If a measurement of the ring itself, or of a limit, fails, and when it is interrupted. Where a peer fails, the report
/// says so.
pub fn run(
    runner: &Runner<'_>,
    folders: &Folders,
    measures: &[Measure],
    rounds: usize,
    duration: Duration,
    mut progress: impl FnMut(&str),
) -> Result<Found> {
    let cpus = runner.cpus();
    let again = steps(measures, rounds) / 2;
    let mut distances = Distances { cpus, usual: distance::usual(cpus)?, again, elsewhere: (0, 0.0) };
    let mut seen = Vec::new();
    let mut found = Found { distance_ns: 0.0, measures: Vec::new(), facts: Vec::new() };
    for measure in measures {
        let mut taken: Vec<Result<Vec<Taken>, String>> = vec![Ok(Vec::new()); measure.rows.len()];
        for _ in 0..rounds {
            for (row, taken) in measure.rows.iter().zip(&mut taken) {
                progress(&format!("{}: {}", measure.name, row.label));
                let Ok(rounds) = taken else { continue };
                if let Some(reason) = runner.refuses(row.transport, measure.work, &row.setup)? {
                    *taken = Err(reason);
                    continue;
                }
                let folder: &Path = if row.disk { &folders.disk } else { &folders.memory };
                let take = || runner.run(row.transport, measure.work, &row.setup, folder, duration * measure.times);
                match distances.at_usual(take) {
                    Ok(one) => {
                        seen.push(one.distance_ns);
                        rounds.push(one);
                    }
                    Err(error) if is_own(row.transport) || error.is::<Interrupted>() => return Err(error),
                    Err(error) => *taken = Err(format!("failed: {error:#}")),
                }
            }
        }
        if measure.work == Work::Facts {
            found.facts.extend(taken.iter().flatten().flat_map(|taken| Fact::medians(taken)));
        } else {
            found.measures.push(Measured::of(measure, &taken)?);
        }
    }
    seen.sort_by(f64::total_cmp);
    found.distance_ns = seen.get(seen.len() / 2).copied().unwrap_or(distances.usual);
    Ok(found)
}

fn is_own(transport: &str) -> bool {
    OWN.iter().any(|entry| entry.name == transport)
}

/// Has measurements taken at one distance of the processors, where that can be had.
struct Distances {
    cpus: [usize; 2],
    usual: f64,
    /// So many measurements may still be taken again: it shall end even if the processors never come to rest.
    again: usize,
    /// Measurements in a row that were taken elsewhere, and where.
    elsewhere: (usize, f64),
}

/// After so many measurements in a row at another distance, that one is the usual one.
const MOVED: usize = 5;

impl Distances {
    /// Again until the processors are as far apart as they usually are, before and after.
    fn at_usual(&mut self, mut take: impl FnMut() -> Result<Outcome>) -> Result<Taken> {
        loop {
            let distance_ns = distance::now(self.cpus)?;
            let outcome = take()?;
            let after = distance::now(self.cpus)?;
            let alike = distance::alike(distance_ns, self.usual) && distance::alike(after, self.usual);
            if alike {
                self.elsewhere = (0, 0.0);
            }
            if alike || self.again == 0 {
                return Ok(Taken { outcome, distance_ns });
            }
            self.again -= 1;
            let (count, place) = self.elsewhere;
            let stayed = distance::alike(after, place) && distance::alike(after, distance_ns);
            self.elsewhere = (if stayed { count + 1 } else { 1 }, after);
            if self.elsewhere.0 >= MOVED {
                self.usual = after;
            }
        }
    }
}

/// How often `progress` will be told.
pub fn steps(measures: &[Measure], rounds: usize) -> usize {
    measures.iter().map(|measure| measure.rows.len()).sum::<usize>() * rounds
}
