//! What came out: figures, their ratios to the limit, as a table, as JSON, and compared with those of before.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::distance;
use crate::job::{Outcome, Work};
use crate::machine::Machine;
use crate::suite::{Group, Measure, Taken};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    pub machine: Machine,
    /// Nanoseconds that a cache line took between the two processors and back, most of the time.
    #[serde(default)]
    pub distance_ns: f64,
    /// Of each measurement, in each round.
    pub seconds: f64,
    pub rounds: usize,
    pub measures: Vec<Measured>,
    pub facts: Vec<Fact>,
    /// Of what was measured beside the ring, by name.
    #[serde(default)]
    pub versions: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    pub group: String,
    pub name: String,
    /// Bytes of a payload.
    pub size: usize,
    /// The first is the limit.
    pub rows: Vec<Figures>,
    /// What has no figures.
    #[serde(default)]
    pub absent: Vec<Absent>,
}

/// A way that could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absent {
    pub label: String,
    pub reason: String,
}

/// What one round found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// Messages a second, or the mean latency in nanoseconds.
    pub value: f64,
    pub p999_ns: Option<u64>,
    /// As [`Report::distance_ns`], just before.
    pub distance_ns: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub label: String,
    /// The median of the rounds.
    pub messages_per_second: f64,
    /// Of payload.
    pub bytes_per_second: f64,
    /// Of all rounds together.
    pub latency: Option<Latency>,
    /// To the first row of the measure, round by round: of messages a second, or of mean latencies.
    pub ratio: Ratio,
    /// Likewise, of the 99.9th percentiles.
    pub tail_ratio: Option<Ratio>,
    #[serde(default)]
    pub rounds: Vec<Round>,
}

impl Figures {
    /// Ratios to another row, round by round.
    pub fn to(&self, other: &Figures) -> Ratio {
        Ratio::of(self.rounds.iter().zip(&other.rounds).map(|(own, other)| own.value / other.value).collect())
    }

    /// Likewise, of the 99.9th percentiles.
    pub fn tail_to(&self, other: &Figures) -> Option<Ratio> {
        let rounds = self.rounds.iter().zip(&other.rounds);
        let tails = rounds.map(|(own, other)| Some(own.p999_ns? as f64 / other.p999_ns? as f64));
        Some(Ratio::of(tails.collect::<Option<_>>()?))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub mean_ns: f64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub p9999_ns: u64,
    pub max_ns: u64,
    /// Percentiles and their values in nanoseconds, denser towards the maximum.
    pub curve: Vec<(f64, u64)>,
}

/// Of the ratios of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// A figure that is no rate and no latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    pub name: String,
    pub value: f64,
}

impl Fact {
    /// Of what each round found.
    pub fn medians(taken: &[Taken]) -> Vec<Fact> {
        let Some(first) = taken.first() else { return Vec::new() };
        let of = |index: usize| taken.iter().filter_map(|taken| Some(taken.outcome.facts.get(index)?.1)).collect();
        let medians = first.outcome.facts.iter().enumerate();
        medians.map(|(index, (name, _))| Fact { name: name.clone(), value: Ratio::of(of(index)).median }).collect()
    }
}

impl Round {
    fn of(taken: &Taken, timed: bool) -> Result<Round> {
        let distance_ns = taken.distance_ns;
        if !timed {
            return Ok(Round { value: rate(&taken.outcome), p999_ns: None, distance_ns });
        }
        let all = histogram([&taken.outcome])?;
        Ok(Round { value: all.mean(), p999_ns: Some(all.value_at_quantile(0.999)), distance_ns })
    }
}

impl Ratio {
    fn of(mut values: Vec<f64>) -> Ratio {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Ratio { median: at(values.len() / 2), lowest: at(0), highest: at(values.len().saturating_sub(1)) }
    }
}

fn rate(outcome: &Outcome) -> f64 {
    outcome.messages as f64 * 1e9 / outcome.elapsed_ns.max(1) as f64
}

fn histogram<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> Result<Histogram<u64>> {
    let mut all = Histogram::new(3)?;
    for outcome in outcomes {
        for &(value, count) in &outcome.latencies {
            all.record_n(value, count)?;
        }
    }
    Ok(all)
}

fn latency(all: &Histogram<u64>) -> Latency {
    let mut curve: Vec<(f64, u64)> =
        all.iter_quantiles(4).map(|step| (step.quantile_iterated_to() * 100.0, step.value_iterated_to())).collect();
    curve.dedup_by_key(|point| point.1);
    Latency {
        mean_ns: all.mean(),
        p50_ns: all.value_at_quantile(0.5),
        p99_ns: all.value_at_quantile(0.99),
        p999_ns: all.value_at_quantile(0.999),
        p9999_ns: all.value_at_quantile(0.9999),
        max_ns: all.max(),
        curve,
    }
}

impl Measured {
    /// `taken` is by row, then by round, or says why there is nothing.
    pub fn of(measure: &Measure, taken: &[Result<Vec<Taken>, String>]) -> Result<Measured> {
        let timed = measure.work != Work::Throughput;
        let mut rows: Vec<Figures> = Vec::new();
        let mut absent = Vec::new();
        for (row, taken) in measure.rows.iter().zip(taken) {
            let taken = match taken {
                Ok(taken) => taken,
                Err(reason) => {
                    ensure!(!rows.is_empty(), "{}: {reason}", row.label);
                    absent.push(Absent { label: row.label.clone(), reason: reason.clone() });
                    continue;
                }
            };
            let messages_per_second = Ratio::of(taken.iter().map(|taken| rate(&taken.outcome)).collect()).median;
            let rounds = taken.iter().map(|taken| Round::of(taken, timed)).collect::<Result<_>>()?;
            let mut figures = Figures {
                label: row.label.clone(),
                messages_per_second,
                bytes_per_second: messages_per_second * row.setup.size as f64,
                latency: None,
                ratio: Ratio::of(vec![1.0]),
                tail_ratio: None,
                rounds,
            };
            if timed {
                figures.latency = Some(latency(&histogram(taken.iter().map(|taken| &taken.outcome))?));
            }
            let limit = rows.first().unwrap_or(&figures);
            (figures.ratio, figures.tail_ratio) = (figures.to(limit), figures.tail_to(limit));
            rows.push(figures);
        }
        let size = measure.rows.first().map_or(0, |row| row.setup.size);
        Ok(Measured { group: measure.group.name().to_owned(), name: measure.name.clone(), size, rows, absent })
    }

    pub fn row(&self, label: &str) -> Option<&Figures> {
        self.rows.iter().find(|row| row.label == label)
    }

    pub fn is_timed(&self) -> bool {
        self.rows.iter().any(|row| row.latency.is_some())
    }

    /// The heads of the columns, and a line of them for each row; words first, figures to the right of them.
    pub fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let limit = self.rows.first().map_or("", |row| row.label.as_str());
        let timed = self.is_timed();
        let mut heads = vec![self.name.clone()];
        let names: &[&str] =
            if timed { &["mean", "p50", "p99", "p99.9", "p99.99", "max"] } else { &["messages/s", "payload/s"] };
        heads.extend(names.iter().map(|name| (*name).to_owned()));
        heads.push(format!("of {limit}"));
        heads.push("lowest to highest".to_owned());
        if timed {
            heads.push("p99.9 of it".to_owned());
        }
        let lines = self.rows.iter().map(|row| {
            let mut line = vec![row.label.clone()];
            match &row.latency {
                Some(latency) => {
                    line.push(time(latency.mean_ns));
                    for value in [latency.p50_ns, latency.p99_ns, latency.p999_ns, latency.p9999_ns, latency.max_ns] {
                        line.push(time(value as f64));
                    }
                }
                None => line.extend([amount(row.messages_per_second), format!("{}B", amount(row.bytes_per_second))]),
            }
            line.push(format!("{:.2}", row.ratio.median));
            line.push(format!("{:.2} to {:.2}", row.ratio.lowest, row.ratio.highest));
            line.extend(row.tail_ratio.map(|tail| format!("{:.2}", tail.median)));
            line
        });
        (heads, lines.collect())
    }
}

/// Nanoseconds, in the unit that fits.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1e3 => format!("{nanoseconds:.0} ns"),
        ..1e4 => format!("{:.2} us", nanoseconds / 1e3),
        ..1e6 => format!("{:.0} us", nanoseconds / 1e3),
        _ => format!("{:.1} ms", nanoseconds / 1e6),
    }
}

/// With three digits and a letter for thousands, millions, and so on.
pub fn amount(value: f64) -> String {
    let (value, letter) = match value {
        ..1e3 => (value, ""),
        ..1e6 => (value / 1e3, " k"),
        ..1e9 => (value / 1e6, " M"),
        _ => (value / 1e9, " G"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}{letter}")
}

impl Report {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}\n{} rounds of {} s; ratios within a round, their median; rates the median, latencies of all rounds\n{}\n",
            self.machine.describe(),
            self.rounds,
            self.seconds,
            self.distance(),
        );
        for (group, measures) in self.groups() {
            // Writing into a string can't fail, here and below.
            let _ = writeln!(text, "\n{}", group.about());
            for measured in measures {
                text.push('\n');
                text += &aligned(&measured.table());
                for Absent { label, reason } in &measured.absent {
                    let _ = writeln!(text, "  {label}: {reason}");
                }
            }
        }
        if !self.facts.is_empty() {
            text += "\nOpening, claiming, and memory\n\n";
            for fact in &self.facts {
                let _ = writeln!(text, "  {}: {:.1}", fact.name, fact.value);
            }
        }
        text
    }

    /// How far apart the processors were.
    pub fn distance(&self) -> String {
        let rounds = self.measures.iter().flat_map(|measured| &measured.rows).flat_map(|row| &row.rounds);
        let all = rounds.clone().count();
        let alike = rounds.filter(|round| distance::alike(round.distance_ns, self.distance_ns)).count();
        format!(
            "a cache line to the other processor and back: {}, in {alike} of {all} measurements",
            time(self.distance_ns)
        )
    }

    pub fn fact(&self, name: &str) -> Option<f64> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value)
    }

    pub fn measured(&self, group: Group, name: &str) -> Option<&Measured> {
        self.measures.iter().find(|measured| measured.group == group.name() && measured.name == name)
    }

    /// The groups that were measured, in order.
    pub fn groups(&self) -> impl Iterator<Item = (Group, Vec<&Measured>)> {
        Group::ALL.iter().filter_map(|&group| {
            let measures: Vec<&Measured> =
                self.measures.iter().filter(|measured| measured.group == group.name()).collect();
            (!measures.is_empty()).then_some((group, measures))
        })
    }

    /// Ratios beside those of `old`. They, and no absolute figures, because those drift.
    pub fn compare(&self, old: &Report) -> String {
        let mut text = String::new();
        if old.machine != self.machine {
            let _ = writeln!(text, "Measured on another machine before: {}\n", old.machine.describe());
        }
        let heads = ["measure", "way", "ratio before", "ratio now", "change"].map(str::to_owned).to_vec();
        let mut lines = Vec::new();
        for measured in &self.measures {
            for row in measured.rows.iter().skip(1) {
                let before = old.measures.iter().find(|before| before.name == measured.name);
                let before = before.and_then(|before| before.rows.iter().find(|before| before.label == row.label));
                let now = row.ratio.median;
                let (was, change) = match before {
                    Some(before) => {
                        let change = (now / before.ratio.median - 1.0) * 100.0;
                        (format!("{:.2}", before.ratio.median), format!("{change:+.0} %"))
                    }
                    None => ("not measured".to_owned(), String::new()),
                };
                lines.push(vec![measured.name.clone(), row.label.clone(), was, format!("{now:.2}"), change]);
            }
        }
        text + &aligned(&(heads, lines))
    }
}

fn aligned((heads, lines): &(Vec<String>, Vec<Vec<String>>)) -> String {
    let width = |column: usize| {
        lines
            .iter()
            .chain([heads])
            .map(|line| line.get(column).map_or(0, |cell| cell.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    for line in [heads].into_iter().chain(lines) {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            text += &if column == 0 { format!("  {cell}{padding}") } else { format!("  {padding}{cell}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Setup;
    use crate::suite::Row;

    fn outcome(messages: u64, latencies: &[(u64, u64)]) -> Taken {
        let latencies = latencies.to_vec();
        let outcome = Outcome { messages, elapsed_ns: 1_000_000_000, latencies, ..Outcome::default() };
        Taken { outcome, distance_ns: 60.0 }
    }

    fn measure(work: Work) -> Measure {
        let row =
            |label: &str| Row { label: label.to_owned(), transport: "aether", setup: Setup::of_size(8), disk: false };
        Measure {
            group: Group::Throughput,
            name: "eight".to_owned(),
            work,
            times: 1,
            rows: vec![row("limit"), row("own")],
        }
    }

    fn report(measured: Measured) -> Report {
        let machine = Machine {
            processor: "P".to_owned(),
            processors: 2,
            cpus: [0, 1],
            siblings: false,
            kernel: "K".to_owned(),
            architecture: "A".to_owned(),
            ..Machine::default()
        };
        Report {
            version: "1".to_owned(),
            machine,
            distance_ns: 60.0,
            seconds: 1.0,
            rounds: 3,
            measures: vec![measured],
            facts: vec![],
            versions: vec![],
        }
    }

    #[test]
    fn ratios_are_formed_within_a_round_and_their_median_is_told() {
        let limits = [100, 1_000, 10_000].map(|messages| outcome(messages, &[])).to_vec();
        let own = [50, 600, 9_000].map(|messages| outcome(messages, &[])).to_vec();
        let measured = Measured::of(&measure(Work::Throughput), &[Ok(limits), Ok(own)]).unwrap();
        let ratio = measured.rows[1].ratio;
        assert_eq!((ratio.lowest, ratio.median, ratio.highest), (0.5, 0.6, 0.9));
        assert_eq!(measured.rows[1].messages_per_second, 600.0);
        assert_eq!(measured.rows[1].bytes_per_second, 4800.0);
    }

    #[test]
    fn percentiles_and_the_maximum_are_those_of_all_rounds() {
        let limit = outcome(1, &[(100, 1)]);
        let first = outcome(1, &[(200, 998)]);
        let second = outcome(1, &[(200, 1), (5_000, 1)]);
        let outcomes = [Ok(vec![limit.clone(), limit]), Ok(vec![first, second])];
        let measured = Measured::of(&measure(Work::RoundTrip), &outcomes).unwrap();
        let latency = measured.rows[1].latency.as_ref().unwrap();
        assert_eq!((latency.p50_ns, latency.p999_ns), (200, 200));
        assert!((5_000..5_010).contains(&latency.max_ns), "{}", latency.max_ns);
        assert_eq!(latency.curve.last().unwrap().1, latency.max_ns);
    }

    #[test]
    fn a_report_comes_back_from_json_as_it_was_and_a_comparison_shows_the_change() {
        let of = |messages| {
            let outcomes = [Ok(vec![outcome(100, &[])]), Ok(vec![outcome(messages, &[])])];
            report(Measured::of(&measure(Work::Throughput), &outcomes).unwrap())
        };
        let (old, new) = (of(50), of(75));
        let json = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), new);
        let compared = new.compare(&old);
        assert!(compared.contains("0.50") && compared.contains("0.75") && compared.contains("+50 %"), "{compared}");
    }

    #[test]
    fn what_has_no_figures_is_named_with_the_reason_and_a_limit_without_them_is_an_error() {
        let mut measure = measure(Work::Throughput);
        measure.rows.push(Row { label: "peer".to_owned(), ..measure.rows[1].clone() });
        let figures = || Ok(vec![outcome(100, &[])]);
        let absent = Err("it takes no more than 7 bytes".to_owned());
        let measured = Measured::of(&measure, &[figures(), figures(), absent.clone()]).unwrap();
        assert_eq!((measured.rows.len(), measured.absent.len()), (2, 1));
        let text = report(measured).text();
        assert!(text.contains("peer: it takes no more than 7 bytes"), "{text}");
        let error = Measured::of(&measure, &[absent, figures(), figures()]).unwrap_err();
        assert!(error.to_string().contains("no more than 7 bytes"), "{error}");
    }

    #[test]
    fn measurements_at_another_distance_are_counted() {
        let mut far = outcome(100, &[]);
        far.distance_ns = 300.0;
        let taken = [Ok(vec![outcome(100, &[]), outcome(100, &[])]), Ok(vec![outcome(100, &[]), far])];
        let report = report(Measured::of(&measure(Work::Throughput), &taken).unwrap());
        assert!(report.distance().ends_with("60 ns, in 3 of 4 measurements"), "{}", report.distance());
    }

    #[test]
    fn tables_are_aligned() {
        let outcomes = [Ok(vec![outcome(100, &[])]), Ok(vec![outcome(31_000_000, &[])])];
        let text = report(Measured::of(&measure(Work::Throughput), &outcomes).unwrap()).text();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(text.contains("31.0 M"), "{text}");
    }
}
