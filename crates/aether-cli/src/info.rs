//! `aether info`: what a ring is and how it stands.

use std::path::PathBuf;

use aether_ipc::{ConsumerInfo, Error, Format, Info, LaneInfo, Observer, Overflow};
use clap::Args;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::{
    consumers,
    exit::{Exit, Result},
    output,
};

const EXAMPLES: &str = "\
Examples:
  aether info quotes
  aether info quotes --json | jq .available_messages";

/// Show a ring's format, capacity, cursors, what waits in it, and who holds its roles
///
/// The cursors and process ids outside of `lanes` and `consumers` are those of the first lane and of the consumer that
/// is furthest behind. A process id is null where nobody holds the role, and 0 where the holder left none. It needs
/// read permission only.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Look {
    /// The ring's file
    path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    path: String,
    format: &'static str,
    version: u32,
    capacity: u64,
    data_offset: u64,
    file_size: u64,
    disk_size: u64,
    checksums: bool,
    sequence: bool,
    overflow: &'static str,
    write_cursor: u64,
    read_cursor: u64,
    available_bytes: u64,
    /// Null if they can't be counted, since a record can't be believed.
    available_messages: Option<u64>,
    producer_pid: Option<u32>,
    consumer_pid: Option<u32>,
    consumer_slots: u32,
    lanes: Vec<Lane>,
    consumers: Vec<consumers::Report<'a>>,
}

#[derive(Serialize)]
struct Lane {
    lane: u32,
    write_cursor: u64,
    oldest: u64,
    producer_pid: Option<u32>,
}

impl<'a> Report<'a> {
    fn new(info: &'a Info, available_messages: Option<u64>) -> Report<'a> {
        Report {
            path: info.path.display().to_string(),
            format: match info.format {
                Format::Classic => "classic",
                Format::Extended => "extended",
            },
            version: info.version,
            capacity: info.capacity,
            data_offset: info.data_offset,
            file_size: info.file_size,
            disk_size: info.disk_size,
            checksums: info.checksums,
            sequence: info.sequence,
            overflow: match info.overflow {
                Overflow::Wait => "wait",
                Overflow::DropOldest => "drop-oldest",
                _ => "unknown",
            },
            write_cursor: info.write_cursor(),
            read_cursor: info.read_cursor(),
            available_bytes: info.available_bytes(),
            available_messages,
            producer_pid: info.lanes.first().and_then(|lane| lane.producer),
            consumer_pid: slowest(info).and_then(|consumer| consumer.holder),
            consumer_slots: info.consumer_slots,
            lanes: info.lanes.iter().map(Lane::new).collect(),
            consumers: info.consumers.iter().map(consumers::Report::new).collect(),
        }
    }
}

impl Lane {
    fn new(info: &LaneInfo) -> Lane {
        Lane { lane: info.lane, write_cursor: info.write_cursor, oldest: info.oldest, producer_pid: info.producer }
    }
}

fn slowest(info: &Info) -> Option<&ConsumerInfo> {
    info.consumers.iter().max_by_key(|consumer| consumer.lag)
}

pub(crate) fn run(args: &Look) -> Result {
    let observer = Observer::open(&args.path)?;
    let info = observer.info()?;
    let (messages, fault) = match observer.count_messages() {
        Ok(messages) => (Some(messages), None),
        Err(fault @ Error::Corrupt { .. }) => (None, Some(fault)),
        Err(error) => return Err(error.into()),
    };
    let report = Report::new(&info, messages);
    if args.json {
        output::json(&report)?;
    } else {
        output::text(&in_words(&report, &info))?;
    }
    fault.map_or(Ok(Exit::Done), |fault| Err(fault.into()))
}

fn in_words(report: &Report<'_>, info: &Info) -> String {
    let size = |bytes| format!("{} ({bytes} bytes)", HumanBytes(bytes));
    let waiting = match report.available_messages {
        Some(messages) => format!("{messages} messages, {} bytes", report.available_bytes),
        None => format!("{} bytes", report.available_bytes),
    };
    let mut rows = vec![
        ("path", report.path.clone()),
        ("format", format!("{}, version {}", report.format, report.version)),
        ("capacity", size(report.capacity)),
        ("data offset", report.data_offset.to_string()),
        ("file size", size(report.file_size)),
        ("on disk", size(report.disk_size)),
        ("checksums", yes_or_no(report.checksums)),
        ("sequence", yes_or_no(report.sequence)),
        ("overflow", report.overflow.to_owned()),
        ("waiting", waiting),
    ];
    for lane in &info.lanes {
        rows.push(("producer", format!("lane {}: at {}, {}", lane.lane, lane.write_cursor, holder(lane.producer))));
    }
    for consumer in &info.consumers {
        rows.push(("consumer", consumers::in_words(consumer)));
    }
    if report.consumer_slots > 1 {
        let free = report.consumer_slots as usize - info.consumers.len();
        rows.push(("consumer", format!("{free} of {} places free", report.consumer_slots)));
    }
    rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}

pub(crate) fn holder(pid: Option<u32>) -> String {
    match pid {
        None => "nobody".to_owned(),
        Some(0) => "a process that left no id".to_owned(),
        Some(pid) => format!("process {pid}"),
    }
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
