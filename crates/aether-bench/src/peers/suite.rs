//! The measures of the project's own part, with peers beside it, and those that only a comparison needs.

use aether_bench::job::{Setup, Work};
use aether_bench::suite::{self, Group, Measure, Row, bytes, row};

/// Between processes, and both sides spin or poll.
const SPINNING: [&str; 3] = ["disruptor-mp", "iceoryx2", "shmem-ipc"];
/// Between two threads of one process.
const THREADS: [&str; 6] = ["rtrb", "rtrb, chunks", "disruptor", "crossbeam queue", "crossbeam channel", "kanal"];
/// Through the kernel, asking it again and again.
const POLLED: [&str; 2] = ["Unix socket, polled", "TCP loopback, polled"];
/// Between processes, asleep while there is nothing.
const SLEEPING: [&str; 7] = [
    "pipe",
    "Unix socket",
    "TCP loopback",
    "POSIX message queue",
    "ipc-channel",
    "ipc-channel, shared memory",
    "Redis",
];
/// Those that publish many messages together.
const BATCHING: [&str; 7] =
    ["disruptor-mp", "shmem-ipc", "rtrb, chunks", "disruptor", "Unix socket", "TCP loopback", "Redis"];
/// As much as a record's header.
const HEADER: usize = 16;

pub(crate) fn measures() -> Vec<Measure> {
    let mut measures = suite::own(Group::ALL);
    for measure in &mut measures {
        let Some(first) = measure.rows.first() else { continue };
        let setup = Setup { wait: "spin".to_owned(), ..first.setup.clone() };
        let mut add = |peers: &[&'static str]| {
            for &peer in peers {
                if measure.rows.iter().all(|row| row.transport != peer) {
                    measure.rows.push(row(peer, &setup));
                }
            }
        };
        match measure.group {
            Group::RoundTrip => {
                add(&SPINNING);
                add(&THREADS);
                add(&POLLED);
            }
            Group::WakeUp => {
                add(&SLEEPING);
            }
            Group::Throughput => {
                add(&SPINNING);
                add(&THREADS);
                add(&SLEEPING);
            }
            Group::Batches => {
                add(&BATCHING);
                if setup.size == 8 {
                    measure.rows.push(with_header(&setup));
                }
            }
            Group::Rate => {
                add(&SPINNING);
                add(&["rtrb", "disruptor", "pipe", "TCP loopback"]);
            }
            Group::Many => measure.rows.extend(many_to_one(&setup)),
            Group::Waiting | Group::Capacity | Group::Layout | Group::Disk | Group::Opening => {}
        }
    }
    measures.extend(large_round_trips());
    measures.push(sleeping_round_trips());
    measures
}

/// As many bytes of payload as a ring has of header and payload.
fn with_header(setup: &Setup) -> Row {
    let size = setup.size + HEADER;
    let row = row("rtrb, chunks", &Setup { size, ..setup.clone() });
    Row { label: format!("rtrb, chunks, items of {}", bytes(size)), ..row }
}

fn many_to_one(setup: &Setup) -> impl Iterator<Item = Row> {
    [1, 2, 4].into_iter().map(|producers| Row {
        label: format!("iceoryx2, {producers} to 1"),
        ..row("iceoryx2", &Setup { producers, consumers: 1, ..setup.clone() })
    })
}

fn large_round_trips() -> impl Iterator<Item = Measure> {
    [1 << 10, 64 << 10, 1 << 20].into_iter().map(|size| {
        let setup = Setup::of_size(size);
        let ways = ["bare ring", "aether in place", "aether", "iceoryx2", "disruptor-mp", "shmem-ipc"];
        Measure {
            group: Group::RoundTrip,
            name: format!("round trip, {}", bytes(size)),
            work: Work::RoundTrip,
            times: 1,
            rows: ways.iter().map(|way| row(way, &setup)).collect(),
        }
    })
}

fn sleeping_round_trips() -> Measure {
    let setup = Setup::of_size(8);
    let ways = ["bare futex"].iter().chain(&SLEEPING);
    Measure {
        group: Group::WakeUp,
        name: "both sides asleep, round trip, 8 bytes".to_owned(),
        work: Work::RoundTrip,
        times: 2,
        rows: ways.map(|way| row(way, &setup)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries;

    #[test]
    fn every_row_names_a_transport_and_every_transport_is_in_a_row() {
        let entries = entries();
        let measures = measures();
        let rows = || measures.iter().flat_map(|measure| &measure.rows);
        for row in rows() {
            assert!(entries.iter().any(|entry| entry.name == row.transport), "{}", row.transport);
        }
        for entry in &entries {
            assert!(rows().any(|row| row.transport == entry.name), "{} is never measured", entry.name);
        }
    }

    #[test]
    fn within_a_measure_every_label_is_there_once() {
        for measure in measures() {
            let mut labels: Vec<&str> = measure.rows.iter().map(|row| row.label.as_str()).collect();
            labels.sort_unstable();
            let count = labels.len();
            labels.dedup();
            assert_eq!(labels.len(), count, "{}", measure.name);
        }
    }
}
