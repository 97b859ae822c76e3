//! What is measured, in which order, and the loop that does it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::job::{Outcome, Setup, Work};
use crate::report::{Fact, Measured};
use crate::runner::Runner;

/// Ways that do the same work, in turns. The first is the limit that the others are compared with.
#[derive(Debug, Clone)]
pub struct Measure {
    pub group: Group,
    pub name: String,
    pub work: Work,
    pub rows: Vec<Row>,
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
    WakeUp "wake-up" "The receiver sleeps in the kernel and is woken.",
    Throughput "throughput" "One way as fast as it goes, each message published alone.",
    Batches "batches" "One way as fast as it goes, 256 messages published together.",
    Rate "rate" "At an even pace; latency from when a message was due.",
    Waiting "waiting" "Throughput by the way in which both sides wait.",
    Many "many" "Throughput of many producers, and to many consumers, on the same two processors.",
    Capacity "capacity" "Throughput by the size of the ring.",
    Layout "layout" "The layouts of the file.",
    Disk "disk" "A file on a disk beside one in memory, at an even pace.",
    Opening "opening" "What it takes to open rings, and their memory.",
}

const SIZES: [usize; 7] = [8, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20];
const BATCH: usize = 256;

fn row(transport: &'static str, setup: &Setup) -> Row {
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
    let measure = |name: String, work, rows| Measure { group, name, work, rows };
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
            let rows = rows(&["bare futex", "aether"], &parked);
            vec![
                measure("asleep, round trip".to_owned(), Work::RoundTrip, rows.clone()),
                measure("asleep, 1,000 messages a second".to_owned(), Work::Rate { per_second: 1_000 }, rows),
            ]
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
            vec![measure("100,000 messages of 64 bytes a second".to_owned(), Work::Rate { per_second: 100_000 }, rows)]
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
        Group::Capacity => [4 << 10, 64 << 10, 1 << 20, 64 << 20, 1 << 30]
            .map(|capacity| {
                let rows = rows(&["bare ring, copied", "aether"], &Setup { capacity, ..Setup::of_size(64) });
                measure(format!("64 bytes through {}", bytes(capacity as usize)), Work::Throughput, rows)
            })
            .into(),
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
                Row { label: "aether, on the disk".to_owned(), disk: true, ..memory },
            ];
            vec![measure("100,000 messages of 1 KiB a second".to_owned(), Work::Rate { per_second: 100_000 }, rows)]
        }
        Group::Opening => {
            vec![measure("opening".to_owned(), Work::Opening, rows(&["opening"], &Setup::of_size(8)))]
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

/// All rows in turns, `rounds` times. `progress` is told of each step before it is taken.
pub fn run(
    runner: &Runner<'_>,
    folders: &Folders,
    measures: &[Measure],
    rounds: usize,
    mut progress: impl FnMut(&str),
) -> Result<(Vec<Measured>, Vec<Fact>)> {
    let mut measured = Vec::new();
    let mut facts = Vec::new();
    for measure in measures {
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); measure.rows.len()];
        for _ in 0..rounds {
            for (row, outcomes) in measure.rows.iter().zip(&mut outcomes) {
                progress(&format!("{}: {}", measure.name, row.label));
                let folder: &Path = if row.disk { &folders.disk } else { &folders.memory };
                outcomes.push(runner.run(row.transport, measure.work, &row.setup, folder)?);
            }
        }
        if measure.work == Work::Opening {
            facts.extend(outcomes.iter().flat_map(|outcomes| Fact::medians(outcomes)));
        } else {
            measured.push(Measured::of(measure, &outcomes)?);
        }
    }
    Ok((measured, facts))
}

/// How often `progress` will be told.
pub fn steps(measures: &[Measure], rounds: usize) -> usize {
    measures.iter().map(|measure| measure.rows.len()).sum::<usize>() * rounds
}
