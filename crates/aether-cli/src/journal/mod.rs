//! `aether journal`: what a journal holds, whether it is sound, and its messages for other programs.

mod export;
mod prune;
mod read;
pub(crate) mod record;
pub(crate) mod replay;
mod selection;

use std::{
    io,
    ops::ControlFlow,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aether_journal::{Error, Problem, Reader, Segment};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde::Serialize;

use crate::{
    exit::{Exit, Failure, Result},
    interrupt::Interrupt,
    output,
    progress::Progress,
};

const EXAMPLES: &str = "\
Examples:
  aether journal info quotes.journal
  aether journal read quotes.journal --last 10 --follow
  aether journal verify quotes.journal && echo sound
  aether journal export quotes.journal -o quotes.parquet --from-time 2026-01-31T09:30:00Z";

/// Look into a journal that `aether record` has written: read, follow, check or export its messages, remove old ones
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Journal {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Read(read::Read),
    Info(Info),
    Verify(Verify),
    Export(export::Export),
    Prune(prune::Prune),
}

/// Show its files: how many messages, which ids, from when to when
///
/// That is what the indexes and the headers of blocks say; `verify` reads the messages themselves. It also works while
/// the journal is being recorded.
#[derive(Args)]
#[command(after_help = "Examples:\n  aether journal info quotes.journal --json | jq .messages")]
struct Info {
    /// The journal
    file: PathBuf,
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
}

/// Read and check all of it
///
/// Every checksum, every record, and that the messages of each lane follow each other. Messages that passed through the
/// ring without being recorded are counted, and no damage; nor is a block at the end that was torn when the recorder was
/// killed: what it held is still in the ring. Exits with 3 if anything can't be believed.
#[derive(Args)]
#[command(after_help = "Examples:\n  aether journal verify quotes.journal --json | jq .problems")]
struct Verify {
    /// The journal
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Since 1970; 0 for what is before, and the most for what is beyond 2554.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn time_in_words(nanoseconds: u64) -> String {
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string()
}

fn in_words(problem: &Problem) -> String {
    let Problem { path, offset, damage } = problem.clone();
    Error::Corrupt { path, offset, damage }.to_string()
}

#[derive(Serialize)]
struct FileReport {
    path: String,
    /// The index of its first message.
    first_index: u64,
    messages: u64,
    blocks: usize,
    bytes: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    min_id: Option<i64>,
    max_id: Option<i64>,
    /// Whether it ends with an index.
    sealed: bool,
    torn_bytes: u64,
}

impl FileReport {
    fn new(segment: &Segment) -> FileReport {
        FileReport {
            path: segment.path().display().to_string(),
            first_index: segment.first_index(),
            messages: segment.messages(),
            blocks: segment.blocks(),
            bytes: segment.bytes(),
            first_time: segment.times().map(|(first, _)| time_in_words(first)),
            last_time: segment.times().map(|(_, last)| time_in_words(last)),
            min_id: segment.ids().map(|(min, _)| min),
            max_id: segment.ids().map(|(_, max)| max),
            sealed: segment.is_sealed(),
            torn_bytes: segment.torn(),
        }
    }

    fn in_words(&self) -> String {
        let mut words = format!("{}: {} messages in {}", self.path, self.messages, HumanBytes(self.bytes));
        if let (Some(min), Some(max)) = (self.min_id, self.max_id) {
            words += &format!(", ids {min} to {max}");
        }
        if let (Some(first), Some(last)) = (&self.first_time, &self.last_time) {
            words += &format!(", {first} to {last}");
        }
        words += if self.sealed { ", with index" } else { ", no index yet" };
        if self.torn_bytes > 0 {
            words += &format!(", {} bytes at the end are torn or being written", self.torn_bytes);
        }
        words + "\n"
    }
}

#[derive(Serialize)]
struct VerifyReport {
    segments: usize,
    blocks: usize,
    messages: u64,
    payload_bytes: u64,
    gaps: u64,
    missing_bytes: u64,
    torn_bytes: u64,
    problems: Vec<String>,
}

pub(crate) fn run(args: &Journal) -> Result {
    match &args.action {
        Action::Read(args) => read::run(args),
        Action::Info(args) => info(args),
        Action::Verify(args) => verify(args),
        Action::Export(args) => export::run(args),
        Action::Prune(args) => prune::run(args),
    }
}

fn info(args: &Info) -> Result {
    for segment in Reader::open(&args.file)?.segments() {
        let report = FileReport::new(segment);
        match args.json {
            true => output::json(&report)?,
            false => output::text(&report.in_words())?,
        }
    }
    Ok(Exit::Done)
}

fn verify(args: &Verify) -> Result {
    let interrupt = Interrupt::catch()?;
    let mut progress = Progress::new(&io::stdout(), None);
    let report = aether_journal::verify_with(&args.file, |payload| {
        progress.add(1, payload as u64);
        if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    drop(progress);
    if interrupt.is_set() {
        return Err(Failure::Interrupted(format!("{} messages were checked", report.messages)));
    }
    let report = VerifyReport {
        segments: report.segments,
        blocks: report.blocks,
        messages: report.messages,
        payload_bytes: report.payload_bytes,
        gaps: report.gaps,
        missing_bytes: report.missing_bytes,
        torn_bytes: report.torn_bytes,
        problems: report.problems.iter().map(in_words).collect(),
    };
    if args.json {
        output::json(&report)?;
    } else {
        let VerifyReport { segments, blocks, messages, gaps, missing_bytes, torn_bytes, .. } = report;
        let mut words = format!("{messages} messages in {blocks} blocks of {segments} files\n");
        if gaps > 0 {
            words += &format!("{gaps} gaps: {missing_bytes} bytes passed through the ring without being recorded\n");
        }
        if torn_bytes > 0 {
            words +=
                &format!("{torn_bytes} bytes at the end are torn or being written; nothing in them was committed\n");
        }
        output::text(&words)?;
        for problem in &report.problems {
            eprintln!("aether: {problem}");
        }
    }
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Corrupt })
}
