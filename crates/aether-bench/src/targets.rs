//! What the ring wants to reach, and whether it does, figured out of a report.

use crate::claiming;
use crate::report::{Figures, Measured, Ratio, Report};
use crate::suite::{CAPACITIES, Group, bytes};

pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: String,
    /// Nothing if the report has no figures for it.
    pub(crate) reached: Option<Reached>,
}

pub(crate) struct Reached {
    pub(crate) shown: String,
    pub(crate) met: bool,
}

/// Ways that are limits, and no peers.
const BARE: &str = "bare ";
/// Ways of the ring itself.
const OWN: &str = "aether";

pub(crate) fn all(report: &Report) -> Vec<Target> {
    let report = Reader(report);
    [report.round_trips(), report.throughput(), report.large(), report.against(), report.shape(), report.memory()]
        .into_iter()
        .flatten()
        .collect()
}

struct Reader<'r>(&'r Report);

/// A ratio that has to be at least so much.
fn at_least(what: impl Into<String>, wanted: f64, ratio: Option<Ratio>) -> Target {
    compared(what, format!("at least {wanted}x"), ratio, |median| median >= wanted)
}

/// A ratio that has to be at most so much.
fn at_most(what: impl Into<String>, wanted: f64, ratio: Option<Ratio>) -> Target {
    compared(what, format!("at most {wanted}x"), ratio, |median| median <= wanted)
}

fn compared(what: impl Into<String>, wanted: String, ratio: Option<Ratio>, met: impl Fn(f64) -> bool) -> Target {
    let reached = ratio.map(|Ratio { median, lowest, highest }| {
        let shown = format!("{} ({} to {})", digits(median), digits(lowest), digits(highest));
        Reached { shown, met: met(median) }
    });
    Target { what: what.into(), wanted, reached }
}

fn digits(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn best(rows: impl Iterator<Item = Option<Ratio>>) -> Option<Ratio> {
    rows.flatten().max_by(|one, other| one.median.total_cmp(&other.median))
}

fn worst(rows: impl Iterator<Item = Ratio>) -> Option<Ratio> {
    rows.min_by(|one, other| one.median.total_cmp(&other.median))
}

/// Of two rows of one measure.
fn ratio(measured: Option<&Measured>, own: &str, other: &str) -> Option<Ratio> {
    let measured = measured?;
    Some(measured.row(own)?.to(measured.row(other)?))
}

/// How many times faster the first is than the second, where both are latencies.
fn times_faster(measured: Option<&Measured>, own: &str, other: &str) -> Option<Ratio> {
    ratio(measured, other, own)
}

/// Of the fastest own way to the fastest peer.
fn to_peers(measured: Option<&Measured>) -> Option<Ratio> {
    let measured = measured?;
    let fastest = |rows: &mut dyn Iterator<Item = &'_ Figures>| -> Option<Figures> {
        rows.max_by(|one, other| one.messages_per_second.total_cmp(&other.messages_per_second)).cloned()
    };
    let own = fastest(&mut measured.rows.iter().filter(|row| row.label.starts_with(OWN)))?;
    let peers = measured.rows.iter().filter(|row| !row.label.starts_with(OWN) && !row.label.starts_with(BARE));
    Some(own.to(&fastest(&mut peers.into_iter())?))
}

impl Reader<'_> {
    fn measured(&self, group: Group, name: &str) -> Option<&Measured> {
        self.0.measured(group, name)
    }

    fn round_trips(&self) -> Vec<Target> {
        let eight = self.measured(Group::RoundTrip, "round trip, 8 bytes");
        let tail = eight.and_then(|measured| measured.row("aether")?.tail_to(measured.row("bare ring")?));
        vec![
            at_most("round trip of 8 bytes, mean, of the bare ring's", 1.1, ratio(eight, "aether", "bare ring")),
            at_most("round trip of 8 bytes, mean, of bare atomics'", 1.8, ratio(eight, "aether", "bare atomics")),
            at_most("round trip of 8 bytes, p99.9, of the bare ring's", 1.5, tail),
        ]
    }

    fn throughput(&self) -> Vec<Target> {
        let singly = self.measured(Group::Throughput, "8 bytes");
        let together = self.measured(Group::Batches, "8 bytes, 256 at once");
        let best_of = |measured, ways: &[&str]| best(ways.iter().map(|way| ratio(measured, way, "bare ring")));
        vec![
            at_least(
                "8 bytes published singly, of the bare ring",
                0.6,
                best_of(singly, &["aether", "aether in place"]),
            ),
            at_least("8 bytes published singly, of the fastest peer", 1.0, to_peers(singly)),
            at_least(
                "8 bytes in batches, of the bare ring",
                0.85,
                best_of(together, &["aether batch", "aether array"]),
            ),
            at_least(
                "8 bytes as an array, of rtrb's chunks with the header counted as payload",
                1.0,
                ratio(together, "aether array", "rtrb, chunks, items of 24 bytes"),
            ),
        ]
    }

    fn large(&self) -> Vec<Target> {
        let claims: Option<Vec<f64>> =
            claiming::sizes().iter().map(|&size| self.0.fact(&claiming::fact(size))).collect();
        let [smallest, .., largest] = claiming::sizes();
        let spread = claims.and_then(|claims| {
            let ratio = claims.last()? / claims.first()?;
            Some(Ratio { median: ratio, lowest: ratio, highest: ratio })
        });
        let what = format!("claim and commit of {} in place, of that of {}", bytes(largest), bytes(smallest));
        let mut targets = vec![at_most(what, 1.2, spread)];
        for name in ["64 KiB", "1 MiB"] {
            let measured = self.measured(Group::Throughput, name);
            let what = format!("{name} with `offer`, of memcpy through the bare ring");
            targets.push(at_least(what, 0.9, ratio(measured, "aether", "bare ring, copied")));
        }
        targets
    }

    fn against(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for size in ["8 bytes", "64 bytes", "1 KiB"] {
            let measured = self.measured(Group::RoundTrip, &format!("round trip, {size}"));
            let what = format!("round trip of {size}, times faster than iceoryx2");
            targets.push(at_least(what, 2.5, times_faster(measured, "aether", "iceoryx2")));
        }
        for size in ["8 bytes", "64 bytes"] {
            let measured = self.measured(Group::Throughput, size);
            let what = format!("messages of {size} a second, times those of iceoryx2");
            let ways = ["aether", "aether in place"];
            targets.push(at_least(what, 40.0, best(ways.iter().map(|way| ratio(measured, way, "iceoryx2")))));
        }
        let large = self.measured(Group::Throughput, "1 MiB");
        targets.push(at_least("1 MiB written in place, of iceoryx2", 1.0, ratio(large, "aether in place", "iceoryx2")));
        let eight = self.measured(Group::RoundTrip, "round trip, 8 bytes");
        let polled = times_faster(eight, "aether", "TCP loopback, polled");
        targets.push(at_least("round trip of 8 bytes, times faster than polled TCP", 100.0, polled));
        let singly = self.measured(Group::Throughput, "8 bytes");
        let ways = ["aether", "aether in place"];
        let tcp = best(ways.iter().map(|way| ratio(singly, way, "TCP loopback")));
        targets.push(at_least("messages of 8 bytes a second, times those of TCP", 100.0, tcp));
        targets
    }

    fn shape(&self) -> Vec<Target> {
        let capacities = self.measured(Group::Capacity, "64 bytes, by capacity");
        let flat = capacities.and_then(|measured| {
            let flat = CAPACITIES.iter().filter(|&&capacity| capacity <= 64 << 20);
            let rows = flat.map(|&capacity| measured.row(&format!("aether, {}", bytes(capacity as usize))));
            let rows: Vec<&Figures> = rows.collect::<Option<_>>()?;
            let fastest = rows.iter().max_by(|one, two| one.messages_per_second.total_cmp(&two.messages_per_second))?;
            worst(rows.iter().map(|row| row.to(fastest)))
        });
        let many = self.measured(Group::Many, "64 bytes, producers to consumers");
        let sum = many.and_then(|measured| {
            let one = measured.row("1 to 1")?;
            worst(["2 to 1", "4 to 1", "8 to 1"].iter().filter_map(|label| Some(measured.row(label)?.to(one))))
        });
        vec![
            at_least("slowest capacity from 4 KiB to 64 MiB, of the fastest", 0.9, flat),
            at_least("two to eight producers together, of one", 1.0, sum),
        ]
    }

    fn memory(&self) -> Vec<Target> {
        let facts = [
            ("resident memory beyond the capacity", "resident memory beyond a ring of 16 MiB, KiB", 1024.0, "KiB"),
            ("opening 1,000 buffers", "open 1000 rings with a producer and a consumer each, ms", 1000.0, "ms"),
            ("opening one, warm", "open and close one ring again, mean of 1000, us", 100.0, "us"),
        ];
        let targets = facts.iter().map(|&(what, fact, most, unit)| Target {
            what: what.to_owned(),
            wanted: format!("under {most} {unit}"),
            reached: self.0.fact(fact).map(|value| Reached { shown: format!("{value:.1} {unit}"), met: value < most }),
        });
        targets.collect()
    }
}
